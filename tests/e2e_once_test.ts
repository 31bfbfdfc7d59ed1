import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import {
  type EndpointDocument,
  findFreePort,
  readDocument,
  type ReportDocument,
  runProgram,
} from "./program_runs.ts";
import {
  listSeries,
  measureGrowth,
  type RecordedServer,
  startRecordedServer,
  sum,
  sumSeries,
} from "./recorded_server.ts";
import { measureWidth } from "../lib/text.ts";
import { COLUMN_IDS } from "../lib/view_column_table.ts";
import { startVllmServer, type VllmServerOptions } from "./vllm_server.ts";

/** The 95th percentile of what was observed between the scrapes, all engines and servers merged. */
function mergeP95(servers: readonly RecordedServer[], name: string): number {
  const counts = new Map<number, number>();
  for (const { said } of servers) {
    for (const [sign, { text }] of [[-1, said[0]], [1, said[1]]] as const) {
      for (const [labels, value] of listSeries(text, `${name}_bucket`)) {
        const bound = Number(/le="([^"]*)"/.exec(labels)?.[1].replace("+Inf", "Infinity"));
        counts.set(bound, (counts.get(bound) ?? 0) + sign * value);
      }
    }
  }
  const buckets = [...counts].sort(([a], [b]) => a - b);
  const rank = 0.95 * buckets[buckets.length - 1][1];
  const index = buckets.findIndex(([, count]) => count >= rank);
  const [upper, above] = buckets[index];
  const [lower, below] = index === 0 ? [0, 0] : buckets[index - 1];
  assert(Number.isFinite(upper), "the test wants a percentile inside the buckets");
  return lower + (upper - lower) * (rank - below) / (above - below);
}

/** The span of the server's rates, by the program's clock; about what it was for the server. */
function readSpan({ replicas }: ReportDocument, { server, said }: RecordedServer): number {
  const row = replicas.find(({ url }) => url === `${server.url}/metrics`);
  const span = row?.figures?.lastPoll.spanSeconds;
  assert(typeof span === "number");
  // A busy machine lets either of them wait.
  assertAlmostEquals(span, said[1].at - said[0].at, 1);
  return span;
}

/** Whether all that the document says in total is what the scrapes say. */
function checkTotals(document: ReportDocument, servers: readonly RecordedServer[]): void {
  const { total } = document;
  const texts = servers.map(({ said }) => said[1].text);
  assertEquals(
    total.running,
    sum(texts.map((text) => sumSeries(text, "vllm:num_requests_running"))),
  );
  assertEquals(
    total.waiting,
    sum(texts.map((text) => sumSeries(text, "vllm:num_requests_waiting"))),
  );
  const usages = texts.flatMap((text) => listSeries(text, "vllm:kv_cache_usage_perc"));
  assertEquals(total.kvCacheUsageRatioMax, Math.max(...usages.map(([, value]) => value)));

  const rates = [
    ["generationTokensPerSecond", "vllm:generation_tokens_total"],
    ["promptTokensPerSecond", "vllm:prompt_tokens_total"],
    ["requestsPerSecond", "vllm:request_success_total"],
  ] as const;
  for (const [key, name] of rates) {
    const perServer = servers.map((recorded) =>
      measureGrowth(recorded, name) / readSpan(document, recorded)
    );
    const wanted = sum(perServer);
    assert(wanted > 0, `${name} does not grow`);
    const got = total.lastPoll[key];
    assert(got !== null, `${key} is null: ${JSON.stringify(total.lastPoll.reasons)}`);
    assertAlmostEquals(got / wanted, 1, 1e-9, `${key}: ${got}, not ${wanted}`);
    assertEquals(total.lastMinute[key], got, "the minute has only this poll in it");
  }
  const latencies = [
    ["ttft", "vllm:time_to_first_token_seconds"],
    ["itl", "vllm:inter_token_latency_seconds"],
  ] as const;
  for (const [key, name] of latencies) {
    const wanted = mergeP95(servers, name);
    const got = total.lastPoll.latency[key].p95;
    assert(got !== null, `${key} is null`);
    assertEquals(got.bound, "");
    assertAlmostEquals(got.seconds / wanted, 1, 1e-9, `${key}: ${got.seconds}, not ${wanted}`);
    assertEquals(
      total.lastPoll.latency[key].samples,
      sum(servers.map((recorded) => measureGrowth(recorded, `${name}_count`))),
    );
  }
}

/** How many observations between the scrapes were in buckets up to the bound, all engines and servers. */
function countUpTo(servers: readonly RecordedServer[], name: string, bound: string): number {
  const counts = servers.flatMap(({ said }) =>
    ([[-1, said[0]], [1, said[1]]] as const).flatMap(([sign, { text }]) =>
      listSeries(text, `${name}_bucket`)
        .filter(([labels]) => labels.includes(`le="${bound}"`))
        .map(([, value]) => sign * value)
    )
  );
  return sum(counts);
}

const OBJECTIVES = "ttft=0.2s@p90,itl=50ms";

/** Whether the objectives are what the buckets around their limits say. */
function checkServiceLevels({ total }: ReportDocument, servers: readonly RecordedServer[]): void {
  const [ttft, itl] = total.serviceLevels;
  const between = (name: string, lower: string, upper: string) => {
    const [least, most, samples] = [lower, upper, "+Inf"]
      .map((bound) => countUpTo(servers, name, bound));
    assert(samples > 0, `${name} has no samples`);
    const ratios = { withinLimitRatioMin: least / samples, withinLimitRatioMax: most / samples };
    return { ...ratios, samples };
  };
  assertEquals([ttft.latency, ttft.limitSeconds, ttft.targetRatio], ["ttft", 0.2, 0.9]);
  const ofTtft = between("vllm:time_to_first_token_seconds", "0.1", "0.25");
  assertEquals([ttft.lastMinute, ttft.session], [ofTtft, ofTtft]);
  const ofItl = between("vllm:inter_token_latency_seconds", "0.05", "0.05");
  assertEquals([itl.lastMinute, itl.session], [ofItl, ofItl]);
}

/** Whether each replica's rates are its own engine's growth over its own span. */
function checkReplicas(document: ReportDocument, servers: readonly RecordedServer[]): void {
  for (const { server, said } of servers) {
    const rows = document.replicas.filter(({ url }) => url === `${server.url}/metrics`);
    const growth = (engine: string): number => {
      const [before, after] = said.map(({ text }) =>
        listSeries(text, "vllm:generation_tokens_total")
          .find(([labels]) => labels.includes(`engine="${engine}"`))?.[1] ?? NaN
      );
      return after - before;
    };
    for (const { engine, figures } of rows) {
      const { generationTokensPerSecond, spanSeconds } = figures?.lastPoll ?? {};
      assert(typeof generationTokensPerSecond === "number" && typeof spanSeconds === "number");
      assertAlmostEquals(generationTokensPerSecond * spanSeconds, growth(engine ?? ""), 1e-6);
    }
  }
}

const LLAMA = { model: "meta-llama/Llama-3.1-8B-Instruct" };
const SLOW_LLAMA = { ...LLAMA, slowness: 3 };

Deno.test("--once --output json gives the figures of the two raw scrapes", async () => {
  const fleets = await Promise.all([
    Promise.all([startRecordedServer({ engines: [LLAMA] })]),
    Promise.all([startRecordedServer({ engines: [LLAMA, SLOW_LLAMA] })]),
    Promise.all(
      [1, 2, 3, 4].map((seed) =>
        startRecordedServer({ seed, engines: [seed === 3 ? SLOW_LLAMA : LLAMA] })
      ),
    ),
  ]);
  try {
    await Promise.all(fleets.map(async (fleet, index) => {
      const urls = fleet.map(({ server }) => server.url);
      const outcome = await runProgram([
        ...urls,
        "--once",
        "--interval",
        "1.5",
        "--output",
        "json",
        "--slo",
        OBJECTIVES,
        // A slow one may miss them.
        "--rule",
        "slo=off",
      ]);
      assertEquals([outcome.code, outcome.stderr], [0, ""]);
      const document = readDocument(outcome.stdout);
      const engineCount = [1, 2, 4][index];
      assertEquals(document.replicas.length, engineCount);
      assertEquals(document.total.replicas, engineCount);
      // The slow one may be full.
      const statuses = new Set(document.replicas.map(({ status }) => status));
      for (const status of statuses) assert(["OK", "HOT"].includes(status), status);
      assertEquals(
        new Set(document.replicas.map(({ displayName }) => displayName)).size,
        engineCount,
      );
      checkTotals(document, fleet);
      checkServiceLevels(document, fleet);
      checkReplicas(document, fleet);
      for (const { server } of fleet) {
        assertEquals(server.requests.toSorted(), [
          ...["GET /metrics", "GET /metrics"],
          ...["GET /v1/models", "GET /version"],
        ]);
      }
    }));
  } finally {
    await Promise.all(fleets.flat().map(({ server }) => server.close()));
  }
});

Deno.test("--once --interval 0 asks once and says why there are no rates", async () => {
  const server = await startVllmServer({ warmUp: 60, engines: [LLAMA, SLOW_LLAMA] });
  try {
    const { code, stdout } = await runProgram(
      [server.url, "--once", "--interval", "0", "--output", "json"],
    );
    assertEquals(code, 0);
    const { replicas, total } = readDocument(stdout);
    assertEquals(server.requests, [
      "GET /v1/models",
      "GET /metrics",
      "GET /version",
    ]);
    for (const figures of [total, ...replicas.map((replica) => replica.figures)]) {
      assert(figures !== null);
      assert(figures.running !== null, "gauges need one scrape only");
      for (const window of [figures.lastPoll, figures.lastMinute]) {
        assertEquals(window.generationTokensPerSecond, null);
        assertEquals(window.reasons?.generationTokensPerSecond, "first_scrape");
        assertEquals(window.requestsPerSecond, null);
        assertEquals(window.reasons?.requestsPerSecond, "first_scrape");
        assertEquals(window.latency.ttft.p95, null);
        assertEquals(window.latency.ttft.reasons?.p95, "first_scrape");
      }
    }
  } finally {
    await server.close();
  }
});

/** What a server that fails is, and the kind of failure that the program must see. */
const FAULTS: Readonly<
  Record<string, { readonly kind: string; readonly server: VllmServerOptions }>
> = {
  refusing: { kind: "refused", server: { state: "refusing" } },
  failing: { kind: "server_error", server: { state: "failing" } },
  loading: { kind: "server_error", server: { state: "loading" } },
  hanging: { kind: "timeout", server: { state: "hanging" } },
  dripping: { kind: "timeout", server: { state: "dripping" } },
  html: { kind: "html", server: { state: "html" } },
  empty: { kind: "empty", server: { state: "empty" } },
  cut: { kind: "truncated", server: { state: "cut" } },
  reset: { kind: "truncated", server: { state: "reset" } },
  locked: { kind: "unauthorized", server: { authorization: "Bearer other" } },
  missing: { kind: "not_found", server: { state: () => new Response("no", { status: 404 }) } },
  moved: {
    kind: "redirect",
    server: { state: () => Response.redirect("http://127.0.0.2:9/metrics", 307) },
  },
};

/** Time limit of one scrape in the test below, in seconds: what waits for one that hangs can be told from what is slow. */
const TIMEOUT = 5;
const INTERVAL = 0.5;

/** Whether the message is one sentence that begins with what was asked and says what to do. */
function checkMessage({ url, failure }: EndpointDocument): void {
  const message = failure?.message ?? "";
  assert(message.includes(`"${url}"`), `${message} lacks the URL ${url}`);
  assertMatch(message, /^.+: .+[^.]$/, "a failure and a next step");
  assert(!/\n/.test(message) && message.length < 250, message);
}

Deno.test("--once leaves the others alone when servers fail in every way", async () => {
  let askedAt = Infinity;
  const answer = (_request: Request, body: Uint8Array<ArrayBuffer>): Response => {
    askedAt = Math.min(askedAt, performance.now());
    return new Response(body, { headers: { "cache-control": "no-transform" } });
  };
  const good = await Promise.all([
    startVllmServer({ warmUp: 60, engines: [LLAMA, LLAMA], state: answer }),
    startVllmServer({ warmUp: 60, seed: 2, engines: [LLAMA] }),
  ]);
  const bad = await Promise.all(
    Object.values(FAULTS).map(({ server }) => startVllmServer({ warmUp: 20, ...server })),
  );
  try {
    const [first, ...rest] = good.map(({ url }) => url);
    const { code, stdout, stderr } = await runProgram([
      ...[first, ...bad.map(({ url }) => url), ...rest],
      ...["--once", "--output", "json", "--timeout", `${TIMEOUT}`, "--interval", `${INTERVAL}`],
    ]);
    // Several hang, and all at the same time.
    const span = (performance.now() - askedAt) / 1000;
    assert(span < 2 * TIMEOUT, `took ${span} s`);
    assertEquals([code, stderr], [1, ""]);
    const { endpoints, replicas, total } = readDocument(stdout);

    const kinds = Object.keys(FAULTS).map((name, index) => {
      const endpoint = endpoints.find(({ url }) => url === `${bad[index].url}/metrics`);
      assert(endpoint?.failure, `${name} has not failed`);
      checkMessage(endpoint);
      assertEquals(endpoint.status, "DOWN");
      return [name, endpoint.failure.kind];
    });
    assertEquals(kinds, Object.entries(FAULTS).map(([name, { kind }]) => [name, kind]));

    const up = replicas.filter(({ status }) => status === "OK");
    assertEquals(up.map(({ url }) => new URL(url).origin), [first, first, rest[0]]);
    for (const { figures } of up) {
      const span = figures?.lastPoll.spanSeconds ?? Infinity;
      assert(span < TIMEOUT - 1, `its rates are over ${span} s: it waited for the others`);
    }
    assertEquals(total.replicaCounts, {
      total: up.length + bad.length,
      countedElsewhere: 0,
      up: up.length,
      stale: 0,
      down: bad.length,
      loading: 0,
      unloaded: 0,
      pending: 0,
    });
    assertEquals(total.replicas, up.length);
    assertEquals(total.running, sum(up.map(({ figures }) => figures?.running ?? NaN)));
    const rates = up.map(({ figures }) => figures?.lastPoll.generationTokensPerSecond ?? NaN);
    assertAlmostEquals(total.lastPoll.generationTokensPerSecond ?? NaN, sum(rates), 1e-6);
    assert(replicas.every(({ status, figures }) => status === "OK" || figures === null));
    for (const server of [...good, ...bad]) assertEquals(server.violations, []);
  } finally {
    await Promise.all([...good, ...bad].map((server) => server.close()));
  }
});

Deno.test("--once shows failures in words in every other form too", async () => {
  const server = await startVllmServer({ warmUp: 60 });
  const dead = `127.0.0.1:${findFreePort()}`;
  try {
    const outcomes = await Promise.all(
      ["--table", "--detail"].map((form) =>
        runProgram([server.url, dead, "--once", "--interval", "0.5", form])
      ),
    );
    for (const { code, stdout } of outcomes) {
      assertEquals(code, 1);
      assertMatch(stdout, /CRITICAL .*1 of 2 up/);
      assert(stdout.includes(`"http://${dead}/metrics" refused the connection: `), stdout);
    }
  } finally {
    await server.close();
  }
});

Deno.test("--once takes two spellings of one URL for one server", async () => {
  const server = await startVllmServer({ warmUp: 60 });
  const { port } = server;
  try {
    const { code, stdout } = await runProgram([
      ...[`http://127.0.0.1:${port}`, `127.0.0.1:${port}/`, `HTTP://127.0.0.1:${port}/metrics`],
      ...["--once", "--interval", "0", "--output", "json"],
    ]);
    assertEquals(code, 0);
    const { endpoints, replicas, total } = readDocument(stdout);
    assertEquals([endpoints.length, replicas.length, total.replicas], [1, 1, 1]);
    assertEquals(server.requests, [
      "GET /v1/models",
      "GET /metrics",
      "GET /version",
    ]);
  } finally {
    await server.close();
  }
});

Deno.test("--once in a pipe is as wide as COLUMNS says, 120 without it, and as its columns are", async () => {
  const server = await startVllmServer({ engines: [LLAMA, LLAMA], warmUp: 60 });
  const run = async (more: readonly string[], COLUMNS = "") => {
    const { stdout } = await runProgram([server.url, "--once", "--interval", "1", ...more], {
      environment: { COLUMNS },
    });
    const lines = stdout.split("\n");
    return { heading: lines.find((line) => /REPLICA/.test(line)), widths: lines.map(measureWidth) };
  };
  try {
    for (const [columns, width] of [["", 120], ["80", 80], ["300", 300]] as const) {
      const { heading = "", widths } = await run([], columns);
      assert(Math.max(...widths) <= width, `${columns}: ${widths}`);
      assertMatch(heading, /STATE +RUN +WAIT/);
    }
    const named = await run(["--columns", COLUMN_IDS.join(",")]);
    assertMatch(named.heading ?? "", /SHARE@1m/);
    assert(Math.max(...named.widths) > 120);
  } finally {
    await server.close();
  }
});

Deno.test("--once --interval 0 shows figures since the start with a mark, and JSON keeps them apart", async () => {
  const server = await startVllmServer({ engines: [LLAMA, LLAMA], warmUp: 60 });
  const args = [server.url, "--once", "--interval", "0"];
  try {
    const text = await runProgram(args);
    assertMatch(text.stdout, / · \* since start · .* · one scrape\n/);
    assertMatch(text.stdout, / OUT +[\d.]+k?\*\/s /);
    const { stdout } = await runProgram([...args, "--output", "json"]);
    const { total, replicas } = readDocument(stdout);
    for (const figures of [total, ...replicas.map(({ figures }) => figures)]) {
      assert(figures !== null);
      for (const window of [figures.lastPoll, figures.lastMinute]) {
        assertEquals(window.spanSeconds, null);
        assertEquals(window.generationTokensPerSecond, null);
        assertEquals(window.latency.ttft.p95, null);
        assertEquals(window.reasons?.spanSeconds, "first_scrape");
      }
      assert((figures.sinceStart.latency.ttft.p95?.seconds ?? 0) > 0);
      assert((figures.sinceStart.generationTokens ?? 0) > 0);
    }
    assert(!/isSinceStart|"\d[^"]*\*"/.test(stdout));
  } finally {
    await server.close();
  }
});

Deno.test("--once ends with 1 if a service level is missed", async () => {
  const server = await startVllmServer({ engines: [LLAMA] });
  try {
    const args = [server.url, "--once", "--interval", "1", "--output", "json", "--slo"];
    // No token comes within 0.1 ms, each within 80 s.
    const [missed, met] = await Promise.all(
      ["itl=0.1ms@p100", "itl=80s"].map((slo) => runProgram([...args, slo])),
    );
    const { status, causes } = readDocument(missed.stdout).verdict;
    assertEquals([missed.code, missed.stderr, status], [1, "", "CRITICAL"]);
    assertMatch(JSON.stringify(causes), /"signal":"slo".*"latency":"itl","limitSeconds":0.0001/);
    assertEquals([met.code, met.stderr], [0, ""]);
  } finally {
    await server.close();
  }
});

Deno.test("--diagnose prints the card after two scrapes, with the exit code of --once", async () => {
  const server = await startVllmServer({ warmUp: 60 });
  try {
    const args = ["--diagnose", "--interval", "0.5"];
    const well = await runProgram([server.url, ...args]);
    assertEquals([well.code, well.stderr], [0, ""]);
    assertMatch(well.stdout, /^vllm-htop .*\nWATCHING .* 1 of 1 up\n\nProblems\n {2}none\n/);
    assertEquals(server.requests.filter((path) => path.endsWith("/metrics")).length, 2);
    const down = await runProgram([server.url, `localhost:${findFreePort()}`, ...args]);
    assertEquals(down.code, 1);
    assertMatch(down.stdout, /\n {2}CRITICAL .*: down since /);
  } finally {
    await server.close();
  }
});
