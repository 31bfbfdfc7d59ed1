import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { TGI } from "../lib/dialect_tgi.ts";
import { type EngineSample, listMetrics } from "../lib/model.ts";
import { absent, present } from "../lib/reading.ts";
import {
  answerFrom,
  assertLatency,
  assertRates,
  runRound,
  watchComposed,
} from "./fixtures/engines.ts";
import {
  expectScrape,
  listPaths,
  readText,
  scrapeKind,
  startKind,
  UNKNOWN_LAUNCH,
} from "./fixtures/kinds.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

const INFO = readText("engines/tgi-3.3.7/info.json");
const MODEL = "meta-llama/Llama-3.1-8B-Instruct";

async function read(text: string): Promise<EngineSample> {
  const round = TGI.createRound?.(UNKNOWN_LAUNCH);
  assert(round !== undefined);
  const { engines } = parseEngineMetrics(
    await runRound(round, { "/metrics": text, "/info": INFO }),
  );
  assertEquals(engines.length, 1);
  return engines[0];
}

Deno.test("computeFigures() of TGI equals the figures of its requests", async () => {
  const { createRound } = TGI;
  const watched = await watchComposed("tgi-3.3.7", {
    createRound,
    files: { "/info": "info.json" },
  });
  const { figures, replicas: [{ sample, lastPoll }], expected } = watched;
  assertEquals([sample.server.name, sample.modelName], ["TGI", expected.modelName]);
  assertEquals(figures.running.value, expected.running);
  assertEquals(figures.waiting.value, expected.waiting);
  // A budget of reserved tokens is no usage of the KV cache.
  assertEquals(figures.kvCache.maxRatio, absent("unsupported"));
  assertEquals(figures.kvCache.capacityTokens, absent("unsupported"));
  assertRates(watched);
  for (const key of ["ttft", "itl", "tpot", "e2e", "queue"] as const) {
    assertLatency(watched, key, expected[key]);
  }
  assertEquals(figures.lastPoll.preemptionsPerSecond, absent("unsupported"));
  assertEquals(figures.lastPoll.prefixCacheHitRatio, absent("unsupported"));
  assertEquals(figures.lastPoll.generationTokensPerSecond, {
    value: expected.generationTokensPerSecond,
    isOverMinute: true,
  });
  // Two overloads; the other failure is the client's.
  assertEquals(sample.counters.failedRequests, present(2));
  assertEquals(lastPoll.value?.counters.failedRequests, present(2));
  assertEquals(sample.configuration.get("max_total_tokens"), String(expected.contextLength));
  const listed = listMetrics(sample.metrics);
  const find = (name: string) => listed.filter((metric) => metric.name === `tgi_${name}`);
  assertEquals(find("batch_max_total_tokens")[0].value, expected.tokenBudget);
  const [prefill, decode] = find("batch_inference_duration");
  assertEquals([prefill.labels, prefill.value], ["method=prefill", 112]);
  assertEquals([decode.labels, decode.value], ["method=decode", 6579]);
  assertAlmostEquals(prefill.sum ?? NaN, 7.277, 1e-9);
});

Deno.test("parseEngineMetrics() of TGI: a server that has served nothing is idle, and counts from 0", async () => {
  const idle = await read("");
  assertEquals([idle.modelName, idle.modelState], [MODEL, "loaded"]);
  assertEquals(idle.gauges.running, present(0));
  assertEquals(idle.gauges.waiting, present(0));
  assertEquals(idle.counters.generationTokens, absent("initializing"));
  assertEquals(idle.counters.failedRequests, absent("initializing"));
  assert(idle.initializing.has("e2e") && idle.initializing.has("finishedByReason"));
});

Deno.test("parseEngineMetrics() of TGI: what is renamed or no number is no figure", async () => {
  const engine = await read(
    [
      "tgi_queue_size NaN",
      "tgi_batch_size 4",
      "tgi_request_successes 5",
      'tgi_request_generated_tokens_bucket{le="+Inf"} 1',
      "tgi_request_input_length_sum 7",
    ].map((line) => `${line}\n`).join("\n"),
  );
  assertEquals(engine.gauges.running, absent("missing"));
  assertEquals(engine.gauges.waiting, absent("not_finite"));
  assertEquals(engine.labelled.finishedByReason, undefined);
  assertEquals(engine.counters.generationTokens, absent("not_finite"));
  // Without its buckets, a histogram is cut.
  assertEquals(engine.counters.promptTokens, absent("initializing"));
  // The first failure counts in full when it appears.
  assertEquals(engine.counters.failedRequests, absent("initializing"));
});

Deno.test("createRound() of TGI asks who it is once, and never what makes it generate", async () => {
  const server = startKind(() => ({
    "/v1/models": readText("engines/tgi-3.3.7/models.json"),
    "/info": INFO,
    "/metrics": "tgi_batch_current_size 3\n",
  }));
  const outcomes = await scrapeKind(server, { count: 3 });
  assertEquals(outcomes.map((outcome) => expectScrape(outcome).engines[0].gauges.running.value), [
    3,
    3,
    3,
  ]);
  assertEquals(listPaths(server), [
    ...["/v1/models", "/info", "/metrics", "/info", "/metrics", "/metrics"],
  ]);
  await server.close();
});

Deno.test("createRound() of TGI returns what refused: nothing else names the model", async () => {
  const round = TGI.createRound?.(UNKNOWN_LAUNCH);
  const refused = await round?.(answerFrom({ "/metrics": "tgi_queue_size 1\n" }), 0);
  assert(typeof refused === "object");
  assertEquals([refused.path, refused.status], ["/info", 404]);
});
