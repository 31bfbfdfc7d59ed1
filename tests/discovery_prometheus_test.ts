/**
 * A real Prometheus scrapes servers that play recordings: what we make of its samples must be what we
 * make of the bodies themselves.
 *
 * @module
 */

import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { createSimulatedServer } from "../lib/demo.ts";
import { createPrometheusSource } from "../lib/discovery_prometheus.ts";
import { NOTHING_WATCHED, type Source, type TargetChange } from "../lib/discovery_source.ts";
import { parsePrometheusUrl } from "../lib/cli_values.ts";
import type { TypedEndpoint } from "../lib/endpoint.ts";
import type { Json } from "../lib/json.ts";
import { listMetrics, type Scrape, type ScrapeFailure } from "../lib/model.ts";
import type { Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { isPresent } from "../lib/reading.ts";
import { createReport } from "../lib/report.ts";
import { isScrapeFailure } from "../lib/scrape_pool.ts";
import { ANONYMOUS_ACCESS } from "../lib/scrape_credentials.ts";
import { createPageClient, type PageClient } from "../lib/scrape_page.ts";
import { type State, update } from "../lib/state.ts";
import { startState } from "./fixtures/expositions.ts";
import { createEngineReader } from "./fixtures/readers.ts";
import { readRecording } from "./fixtures/recordings.ts";
import { readDocument, runProgram, waitFor } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { type PlayedServer, startPlayedServer, startPrometheus } from "./prometheus_server.ts";

const PLATFORM = createDenoPlatform();

/** Each body says which of them it is. */
function number(bodies: readonly string[]): readonly string[] {
  return bodies.map((body, i) => {
    const [labels] = /(?<=vllm:num_requests_running)\{.*\}/.exec(body) ?? [];
    return `${body}# TYPE vllm:played gauge\nvllm:played${labels} ${i}\n`;
  });
}

function simulate(): readonly string[] {
  const server = createSimulatedServer(
    {
      seed: 7,
      startEpoch: Date.now() / 1000 - 1000,
      engines: [{ model: "big/Llama" }, { model: "big/Llama" }],
      warmUp: 60,
      speculative: true,
    } as Parameters<typeof createSimulatedServer>[0],
  );
  return Array.from(
    { length: 60 },
    (_, i) => new TextDecoder().decode(server.expositionAt(2 * i) ?? new Uint8Array()),
  );
}

function createSource(
  url: string,
  client: PageClient,
  { matcher = "", platform = PLATFORM }: {
    readonly matcher?: string;
    readonly platform?: Platform;
  } = {},
): Source {
  const typed = parsePrometheusUrl({ level: "option", origin: "--prometheus", text: url });
  if ("problem" in typed) throw new Error(typed.problem);
  return createPrometheusSource(platform, typed, { client, matcher, metricPrefix: null });
}

const look = (source: Source): Promise<TargetChange> =>
  source.look({ ...NOTHING_WATCHED, interval: 1 });

type Outcome = Scrape | ScrapeFailure;

function readPlayed({ engines }: Scrape): number {
  const played = listMetrics(engines[0].metrics).find(({ name }) => name === "vllm:played");
  assert(played !== undefined, "the body is not numbered");
  return played.value;
}

/** The scrapes that direct ones would have given at the same times. */
function createDirect(
  outcomes: readonly Outcome[],
  bodies: ReadonlyMap<string, readonly string[]>,
): readonly Outcome[] {
  const readers = new Map<string, ReturnType<typeof createEngineReader>>();
  return outcomes.map((outcome): Outcome => {
    if (isScrapeFailure(outcome)) return outcome;
    const { endpointKey } = outcome;
    const pod = new URL(endpointKey).searchParams.get("pod") ?? "";
    const read = readers.get(endpointKey) ?? createEngineReader();
    readers.set(endpointKey, read);
    const body = bodies.get(pod)?.[readPlayed(outcome)] ?? "";
    return { ...outcome, ...read(new TextEncoder().encode(body)) };
  });
}

interface Moment {
  readonly now: number;
  readonly nowEpoch: number;
}

/** That of the newest scrape: on a busy machine its figures may be too old by now. */
function getMoment(outcomes: readonly Outcome[]): Moment {
  const scrapes = outcomes.filter((one): one is Scrape => !isScrapeFailure(one));
  return {
    now: Math.max(...scrapes.map(({ receivedAt }) => receivedAt)),
    nowEpoch: Math.max(...scrapes.map(({ receivedAtEpoch }) => receivedAtEpoch)),
  };
}

function replay(change: TargetChange, outcomes: readonly Outcome[], moment: Moment): State {
  const endpoints = change.found.map(({ endpoint }) => endpoint);
  let state = update(startState([]), { kind: "endpoints_found", endpoints });
  for (const outcome of outcomes) {
    state = isScrapeFailure(outcome)
      ? update(state, { kind: "scrape_failed", failure: outcome })
      : update(state, { kind: "scraped", scrape: outcome });
  }
  return update(state, { kind: "clock", ...moment });
}

/** What a scrape itself is, and what only `# TYPE` lines tell. */
const NOT_COMPARED = /scrape\.(?:bodyBytes|samples)$|\.metrics$/;

/** Numbers to 1e-9 of their size, all else exactly. */
function assertSame(one: Json, other: Json, path = ""): void {
  if (typeof one === "number" && typeof other === "number") {
    return assertAlmostEquals(one, other, 1e-9 * Math.max(1, Math.abs(other)), path);
  }
  if (typeof one !== "object" || one === null || typeof other !== "object" || other === null) {
    return assertEquals(one, other, path);
  }
  assertEquals(Object.keys(one).sort(), Object.keys(other).sort(), path);
  for (const [key, value] of Object.entries(one)) {
    const name = `${path}.${key}`;
    if (!NOT_COMPARED.test(name)) assertSame(value, Object(other)[key], name);
  }
}

function assertSameFigures(
  change: TargetChange,
  bodies: ReadonlyMap<string, readonly string[]>,
): State {
  const outcomes = change.outcomes ?? [];
  const moment = getMoment(outcomes);
  const state = replay(change, outcomes, moment);
  const direct = replay(change, createDirect(outcomes, bodies), moment);
  assertSame(createReport(state, ""), createReport(direct, ""));
  return state;
}

/** A server of so many engines, of which only what a table shows is of use. */
function writeManyEngines(count: number, step: number): string {
  const lines = Array.from({ length: count }, (_, i) => {
    const labels = `engine="${i}",model_name="m"`;
    const buckets = (name: string) =>
      [0.1, 0.5, 1, "+Inf"].map((le, at) =>
        `vllm:${name}_bucket{${labels},le="${le}"} ${step * (i + 7 * at)}`
      );
    return [
      `vllm:num_requests_running{${labels}} ${i}`,
      `vllm:generation_tokens_total{${labels}} ${step * 100 * i}`,
      ...[
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
        "e2e_request_latency_seconds",
      ]
        .flatMap(buckets),
    ];
  });
  return lines.flat().map((line) => `${line}\n`).join("");
}

/** Looks until it has found so many targets, and that many scrapes of each. */
async function gather(
  source: Source,
  goal: { readonly targets: number; readonly scrapes: number },
): Promise<TargetChange> {
  const found: TypedEndpoint[] = [];
  const outcomes: Outcome[] = [];
  const isReached = (): boolean => {
    const scrapes = outcomes.filter((one) => !isScrapeFailure(one));
    const counts = [...Map.groupBy(scrapes, (one) => one.endpointKey).values()];
    return counts.length >= goal.targets && counts.every(({ length }) => length >= goal.scrapes);
  };
  let notices: readonly string[] | null = [];
  await waitFor(async () => {
    const change = await look(source);
    notices = change.notices;
    found.push(...change.found);
    outcomes.push(...change.outcomes ?? []);
    return isReached();
  }, () => `enough scrapes: ${notices}`);
  return { found, outcomes, notices, goneKeys: [] };
}

/** Of many engines, only what a table shows is asked for; its figures are the same. */
async function checkManyEngines(source: Source): Promise<void> {
  const change = await gather(source, { targets: 1, scrapes: 3 });
  assertEquals(change.notices, []);
  const scrapes = (change.outcomes ?? []).filter((one): one is Scrape => !isScrapeFailure(one));
  const state = replay(change, scrapes, getMoment(scrapes));
  assertEquals(state.fleet.rows.length, 70);
  const readStep = ({ engines }: Scrape): number => {
    const { generationTokens } = engines[1].counters;
    return isPresent(generationTokens) ? generationTokens.value / 100 : NaN;
  };
  // A busy machine misses scrapes.
  const steps = readStep(scrapes[scrapes.length - 1]) - readStep(scrapes[0]);
  for (const [i, { figures }] of state.fleet.rows.entries()) {
    const { span, latency: { ttft, itl, e2e }, generationTokensPerSecond } = figures.lastMinute;
    assert(isPresent(span) && isPresent(generationTokensPerSecond));
    assertAlmostEquals(generationTokensPerSecond.value * span.value, 100 * i * steps, 1e-6);
    assertEquals([ttft.samples.value, itl.samples.value], [(i + 21) * steps, (i + 21) * steps]);
    assertEquals(e2e.samples.value, null, "not asked for");
  }
}

/** The program has a window at once, from one look. */
async function checkProgram(url: string, matcher: string): Promise<void> {
  const { stdout, stderr } = await runProgram([
    ...["--prometheus", url, "--prometheus-matcher", matcher, "--once", "--output", "json"],
  ]);
  assertEquals(stderr, "");
  const { replicas } = readDocument(stdout);
  const pods = [...new Set(replicas.map(({ displayName }) => displayName.split(".")[0]))];
  assertEquals(pods, ["overload", "sim", "usual"]);
  for (const { figures } of replicas) {
    assert(figures !== null && figures !== undefined);
    assert((figures.lastMinute.spanSeconds ?? 0) > 0.5, "several samples");
  }
}

/** One server ends, another restarts. */
async function checkEnd({ source, servers, change, bodies }: {
  readonly source: Source;
  readonly servers: readonly PlayedServer[];
  readonly change: TargetChange;
  readonly bodies: ReadonlyMap<string, readonly string[]>;
}): Promise<void> {
  await servers[1].close();
  servers[0].play(bodies.get("sim")?.slice(0, 9) ?? []);
  const later: Outcome[] = [];
  // It may have played its last body before, too.
  const hasPlayedAgain = (): boolean => {
    const played = [...change.outcomes ?? [], ...later].flatMap((one) =>
      !isScrapeFailure(one) && one.endpointKey.includes("pod=sim") ? readPlayed(one) : []
    );
    return played.some((body, i) => i > 0 && body < played[i - 1]) && played.at(-1) === 8;
  };
  await waitFor(async () => {
    const { found, goneKeys, notices, outcomes = [] } = await look(source);
    assertEquals([found, goneKeys, notices], [[], [], []]);
    later.push(...outcomes);
    return later.some(isScrapeFailure) && hasPlayedAgain();
  });
  const outcomes = [...change.outcomes ?? [], ...later];
  const state = assertSameFigures({ ...change, outcomes }, bodies);
  const find = (pod: string) => {
    const known = state.endpoints.find(({ endpoint }) => endpoint.label === pod);
    assert(known !== undefined);
    return known;
  };
  assertEquals(find("sim").history.restartCount, 1);
  assertEquals(find("overload").history.restartCount, 0);
  const { failure } = find("usual");
  assertMatch(
    failure?.message ?? "",
    /^Prometheus cannot scrape "usual" \("dial tcp .*: connection refused"\): check that the server runs$/,
  );
  assertEquals(state.fleet.rows.find(({ label }) => label === "usual")?.status, "STALE");
  const times = later.filter(isScrapeFailure).map(({ failedAtEpoch }) => failedAtEpoch);
  assertEquals(new Set(times).size, times.length, "each failed scrape is told once");
}

Deno.test({
  name: "createPrometheusSource() gives the figures of direct scrapes, by query and by federation",
  ...needsProgram("prometheus"),
  fn: async () => {
    const bodies = new Map([
      ["sim", number(simulate())],
      ["usual", number((await readRecording("usual")).map(({ body }) => body))],
      ["overload", number((await readRecording("overload")).map(({ body }) => body))],
    ]);
    const servers = [...bodies.values()].map((some) => startPlayedServer(some));
    const many = startPlayedServer(Array.from({ length: 60 }, (_, i) => writeManyEngines(70, i)));
    const prometheus = await startPrometheus(() => [
      {
        job_name: "vllm",
        static_configs: [...bodies.keys()].map((pod, i) => ({
          targets: [servers[i].address],
          labels: { pod, namespace: "llm" },
        })),
      },
      { job_name: "many", static_configs: [{ targets: [many.address] }] },
    ], "200ms");
    const client = await createPageClient(PLATFORM, { access: ANONYMOUS_ACCESS, timeout: 30 });

    const matcher = 'job="vllm"';
    const federation = createSource(`${prometheus.url}/federate`, client, { matcher });
    const federated = await gather(federation, { targets: 3, scrapes: 3 });
    assertSameFigures(federated, bodies);
    const source = createSource(prometheus.url, client, { matcher });
    const change = await gather(source, { targets: 3, scrapes: 6 });
    assertEquals([change.notices, change.found.length], [[], 3]);
    assertEquals([source.getInterval(2), source.getInterval(0)].map(Math.round), [2, 0]);
    const { lastMinute } = assertSameFigures(change, bodies).fleet.total.figures;
    assert(isPresent(lastMinute.latency.ttft.p95), "there is something to compare");
    assert(isPresent(lastMinute.generationTokensPerSecond));

    await checkProgram(prometheus.url, matcher);
    await checkManyEngines(createSource(prometheus.url, client, { matcher: 'job="many"' }));
    await checkEnd({ source, servers, change, bodies });

    client.close();
    await prometheus.close();
    await many.close();
    await Promise.all(servers.map((server) => server.close()));
  },
});

const SCALAR = { status: "success", data: { resultType: "scalar", result: [1000, "1000"] } };
const NOTHING = { status: "success", data: { resultType: "vector", result: [] } };

Deno.test("createPrometheusSource() says in one sentence what is wrong, and goes on", async () => {
  let answer: (query: string) => Response = () => new Response();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    return answer(new URL(request.url).searchParams.get("query") ?? "");
  });
  const { port } = server.addr;
  const client = await createPageClient(PLATFORM, { access: ANONYMOUS_ACCESS, timeout: 10 });
  const source = createSource(`http://localhost:${port}/prom`, client);
  const ask = async (): Promise<string> => {
    const { found, goneKeys, notices, outcomes } = await look(source);
    assertEquals([found, goneKeys, outcomes], [[], [], []]);
    return (notices ?? []).join(" | ");
  };
  const base = `"http://localhost:${port}/prom"`;
  const page = `"http://localhost:${port}/prom/api/v1/query"`;
  assertEquals(source.getInterval(2), 2, "nothing is known yet");
  const cases: readonly (readonly [Response | ((query: string) => Response), string])[] = [
    [
      new Response("", { status: 401 }),
      `${page} answered 401 (credentials required): give them with --token-file or --basic-auth-file`,
    ],
    [
      new Response("", { status: 404 }),
      `${page} answered 404 (no such page): check the path, and that this is the server's own port`,
    ],
    [
      new Response("<html>login"),
      `${base} does not answer as Prometheus: check the URL and its path`,
    ],
    [
      Response.json({ status: "success", data: null }),
      `${base} does not answer as Prometheus: check the URL and its path`,
    ],
    [
      Response.json({ status: "error", error: "query timed out" }, { status: 503 }),
      `${base} refused the query: "query timed out"`,
    ],
    [
      (query) =>
        Response.json(query === "time()" ? SCALAR : { ...NOTHING, warnings: ["no store"] }),
      `${base} answered in part: no store | ${base} has no samples of model servers: check its ` +
      "scrape configuration",
    ],
  ];
  for (const [response, words] of cases) {
    answer = typeof response === "function" ? response : () => response;
    assertEquals(await ask(), words);
  }
  await server.shutdown();
  // On Deno 2.6 the first question meets the connection that was kept.
  await ask();
  assert((await ask()).includes("refused the connection"), "it is gone");
  client.close();
});

Deno.test("createPrometheusSource() asks VictoriaMetrics for what is newest, by its own clock", async () => {
  const asked: URLSearchParams[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { searchParams } = new URL(request.url);
    asked.push(searchParams);
    // It computes as of 30 s ago, and says when it was asked (VictoriaMetrics 1.79).
    const result = [{ metric: {}, value: [1_795_951_776, "1795951746.285"] }];
    const isClock = searchParams.get("query") === "time()";
    return Response.json(
      isClock ? { status: "success", data: { resultType: "vector", result } } : NOTHING,
    );
  });
  const client = await createPageClient(PLATFORM, { access: ANONYMOUS_ACCESS, timeout: 10 });
  await look(createSource(`http://localhost:${server.addr.port}`, client));
  assertEquals(asked.map((parameters) => parameters.get("time")), [null, "1795951776"]);
  assertEquals(
    new Set(asked.map((parameters) => parameters.get("latency_offset"))),
    new Set(["1ms"]),
  );
  client.close();
  await server.shutdown();
});

Deno.test("createPrometheusSource() tells the newest error of a target that stays down", async () => {
  let lastError = "connection refused";
  let pages = 0;
  let now = 1000;
  const labels = { job: "llm", instance: "gpu1:8000" };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/api/v1/targets") {
      pages++;
      const activeTargets = [{ labels, health: "down", lastError }];
      return Response.json({ status: "success", data: { activeTargets } });
    }
    const query = searchParams.get("query") ?? "";
    const answer = (resultType: string, result: Json) =>
      Response.json({ status: "success", data: { resultType, result } });
    if (query === "time()") return answer("scalar", [now, `${now}`]);
    if (query.startsWith("count by")) {
      return answer("vector", [{ metric: { job: "llm" }, value: [now, "1"] }]);
    }
    const up = { metric: { __name__: "up", ...labels }, values: [[now, "0"]] };
    return answer("matrix", query.includes('"up|') ? [up] : []);
  });
  const client = await createPageClient(PLATFORM, { access: ANONYMOUS_ACCESS, timeout: 10 });
  const platform = { ...PLATFORM, monotonicSeconds: () => now };
  const source = createSource(`http://localhost:${server.addr.port}`, client, { platform });
  const explain = async (): Promise<string> => {
    const [outcome] = (await look(source)).outcomes ?? [];
    return outcome !== undefined && isScrapeFailure(outcome) ? outcome.message : "no failure";
  };
  assertMatch(await explain(), /\("connection refused"\)/);
  lastError = "server returned HTTP status 404 Not Found";
  now += 10;
  assertMatch(await explain(), /\("connection refused"\)/);
  assertEquals(pages, 1, "not in each round");
  now += 60;
  assertMatch(await explain(), /\("server returned HTTP status 404 Not Found"\)/);
  client.close();
  await server.shutdown();
});
