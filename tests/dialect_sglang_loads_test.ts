import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Round } from "../lib/dialect_model.ts";
import { SGLANG } from "../lib/dialect_sglang.ts";
import type { ServerSample } from "../lib/model.ts";
import { absent, present } from "../lib/reading.ts";
import { isScrapeFailure } from "../lib/scrape_pool.ts";
import { computeFigures } from "../lib/stats_aggregate.ts";
import { appendSample, computeReplicas, startHistory } from "../lib/stats_window.ts";
import { answerFrom, runRound } from "./fixtures/engines.ts";
import { readGzip } from "./fixtures/expositions.ts";
import {
  expectScrape,
  listPaths,
  readText,
  scrapeKind,
  startKind,
  UNKNOWN_LAUNCH,
} from "./fixtures/kinds.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

const FOLDER = "sglang-0.5.23";
const MODELS = readText(`${FOLDER}/models.json`);

function start(): Round {
  const round = SGLANG.createRound?.(UNKNOWN_LAUNCH);
  assert(round !== undefined);
  return round;
}

const readMetrics = async (name: string): Promise<string> =>
  new TextDecoder().decode(await readGzip(`fixtures/${FOLDER}/${name}.prom.gz`));

/** What a round makes of a recorded pair of answers. */
async function readPair(name: string, round = start()): Promise<ServerSample> {
  const answers = {
    "/metrics": await readMetrics(name),
    "/v1/loads": readText(`${FOLDER}/${name}.loads.json`),
    "/v1/models": MODELS,
  };
  return parseEngineMetrics(await runRound(round, answers));
}

function showGauges({ engines }: ServerSample) {
  return engines.map(({ modelName, engine, gauges, kvCacheCapacity }) => {
    const { running, waiting, kvCacheUsageRatio } = gauges;
    const figures = [running, waiting, kvCacheUsageRatio, kvCacheCapacity];
    return [modelName, engine, ...figures.map(({ value }) => value)];
  });
}

// 24 requests at once, of which 8 run: the gauges say 0 right after a prefill.
Deno.test("createLoadsRound() counts what runs now, where the metrics say 0", async () => {
  const metrics = await readGzip(`fixtures/${FOLDER}/overload-005.prom.gz`);
  assertEquals(showGauges(parseEngineMetrics(metrics)), [["small-llama", "", 0, 8, 0.2, 16_384]]);
  assertEquals(showGauges(await readPair("overload-005")), [
    ["small-llama", "", 8, 8, 0.2025, 16_384],
  ]);
});

Deno.test("createLoadsRound() gives each data-parallel rank its own", async () => {
  assertEquals(showGauges(await readPair("dp2-010")), [
    ["small-llama", "all ranks", null, null, null, null],
    ["small-llama", "0", 4, 0, 0.5857, 3000],
    ["small-llama", "1", 4, 0, 0.7183, 3000],
  ]);
});

Deno.test("createLoadsRound() knows a server before its first request, which then counts in full", async () => {
  const round = start();
  const idle = await readPair("idle", round);
  assertEquals(showGauges(idle), [["small-llama", "", 0, 0, 0, 16_384]]);
  const [{ counters, initializing }] = idle.engines;
  assertEquals(counters.generationTokens, absent("initializing"));
  assertEquals(counters.preemptions, absent("initializing"));
  assertEquals(counters.failedRequests, absent("initializing"));
  assert(initializing.has("ttft") && initializing.has("finishedByReason"));
  const busy = await readPair("overload-005", round);
  const history = [idle, busy].reduce(
    (known, { engines, processStart }, i) =>
      appendSample(known, { at: 10 * i, engines, processStart }),
    startHistory(),
  );
  const { lastPoll } = computeFigures(computeReplicas(history));
  const [{ counters: { generationTokens } }] = busy.engines;
  assertEquals(lastPoll.generationTokensPerSecond, present((generationTokens.value ?? NaN) / 10));
  assert(isFinite(lastPoll.latency.ttft.samples.value ?? NaN));
});

Deno.test("createLoadsRound() stands for metrics that are off, and marks the rest as off", async () => {
  const round = start();
  const loads = readText(`${FOLDER}/overload-005.loads.json`);
  const sample = parseEngineMetrics(
    await runRound(round, { "/v1/loads": loads, "/v1/models": MODELS }),
  );
  assertEquals(showGauges(sample), [["small-llama", "", 8, 8, 0.2025, 16_384]]);
  const { lifetime } = computeFigures(computeReplicas(
    appendSample(startHistory(), {
      at: 0,
      engines: sample.engines,
      processStart: absent("missing"),
    }),
  ));
  assertEquals(lifetime.generationTokens, absent("off"));
  assertEquals(lifetime.latency.ttft.p50, absent("off"));
  assertEquals(lifetime.finishedRequests, absent("off"));
  // No switch gives what SGLang never exports.
  assertEquals(lifetime.latency.prefill.p50, absent("unsupported"));
});

Deno.test("createLoadsRound() takes no figure from loads that are cut, renamed or no numbers", async () => {
  const metrics =
    'sglang:num_running_reqs{model_name="m"} 3\nsglang:num_queue_reqs{model_name="m"} 1\n';
  const read = async (loads: string) =>
    showGauges(parseEngineMetrics(
      await runRound(start(), { "/metrics": metrics, "/v1/loads": loads }),
    ));
  const own = [["m", "", 3, 1, null, null]];
  const whole = readText(`${FOLDER}/overload-005.loads.json`);
  assertEquals(await read(whole.slice(0, 200)), own);
  assertEquals(await read('{"loads":[]}'), own);
  assertEquals(await read('{"loads":[3]}'), own);
  assertEquals(await read('{"loads":[{"dp_rank":0,"running":8,"num_waiting_reqs":null}]}'), own);
  assertEquals(
    await read('{"loads":[{"dp_rank":0,"num_running_reqs":-1,"token_usage":1.5}]}'),
    [["m", "", null, 1, null, null]],
  );
});

Deno.test("createLoadsRound() asks for loads until a server has none, and names the option that gives metrics", async () => {
  const loads = readText(`${FOLDER}/overload-005.loads.json`);
  const answers = { "/v1/models": MODELS, "/metrics": await readMetrics("overload-005") };
  const server = startKind(() => ({ ...answers, "/v1/loads": loads }));
  const outcomes = await scrapeKind(server, { count: 2 });
  assertEquals(outcomes.map((one) => expectScrape(one).engines[0].gauges.running.value), [8, 8]);
  assertEquals(listPaths(server), [
    ...["/v1/models", "/metrics", "/v1/loads", "/metrics", "/v1/loads"],
  ]);
  await server.close();
  const old = startKind(() => ({ ...answers, "/v1/loads": 401 }));
  await scrapeKind(old, { count: 2 });
  assertEquals(listPaths(old), ["/v1/models", "/metrics", "/v1/loads", "/metrics"]);
  await old.close();
  const off = startKind(() => ({ "/v1/models": MODELS }));
  const [disabled] = await scrapeKind(off);
  assert(isScrapeFailure(disabled));
  assertMatch(disabled.message, /start SGLang with --enable-metrics$/);
  await off.close();
});

Deno.test("createLoadsRound() passes on what refuses metrics", async () => {
  const refused = await start()(
    (path) => Promise.resolve({ path, status: 503, text: "", header: () => null }),
    0,
  );
  assert(typeof refused === "object");
  assertEquals([refused.path, refused.status], ["/metrics", 503]);
  assertEquals(typeof await start()(answerFrom({ "/metrics": "" }), 0), "string");
});

Deno.test("createLoadsRound() reads answers that a proxy compresses unasked", async () => {
  const bodies: Readonly<Record<string, Uint8Array<ArrayBuffer> | string>> = {
    "/metrics": Deno.readFileSync(
      new URL(`fixtures/${FOLDER}/overload-005.prom.gz`, import.meta.url),
    ),
    "/v1/loads": readText(`${FOLDER}/overload-005.loads.json`),
    "/v1/models": MODELS,
  };
  const server = Deno.serve(
    { port: 0, hostname: "localhost", onListen: () => {} },
    (request) => new Response(bodies[new URL(request.url).pathname], {}),
  );
  const origin = `http://localhost:${server.addr.port}`;
  const [outcome] = await scrapeKind({ origin }, { serverName: "SGLang" });
  assertEquals(showGauges(expectScrape(outcome))[0].slice(2, 4), [8, 8]);
  await server.shutdown();
});
