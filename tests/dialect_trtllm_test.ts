import { assertAlmostEquals, assertEquals } from "@std/assert";
import { absent } from "../lib/reading.ts";
import { assertLatency, assertRates, watchComposed } from "./fixtures/engines.ts";
import { encode } from "./fixtures/expositions.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

Deno.test("computeFigures() of trtllm-serve equals the figures of its requests", async () => {
  const watched = await watchComposed("trtllm-serve-1.3");
  const { figures, replicas: [{ sample }], expected } = watched;
  assertEquals([sample.server.name, sample.modelName], ["trtllm-serve", "Llama-3.1-8B-Instruct"]);
  assertEquals(figures.running.value, expected.running);
  assertEquals(figures.waiting.value, expected.waiting);
  assertAlmostEquals(figures.kvCache.maxRatio.value ?? NaN, expected.kvCacheUsageRatio, 1e-6);
  assertEquals(figures.kvCache.capacityTokens.value, expected.kvCapacityTokens);
  assertRates(watched);
  for (const key of ["ttft", "tpot", "itl", "e2e", "queue", "prefill"] as const) {
    assertLatency(watched, key, expected[key]);
  }
  assertEquals(figures.lastPoll.preemptionsPerSecond, absent("unsupported"));
  assertEquals(figures.lastPoll.generationTokensPerSecond, {
    value: expected.generationTokensPerSecond,
    isOverMinute: true,
  });
  // A 400 is the client's fault.
  assertEquals(sample.counters.failedRequests.value, 0);
});

Deno.test("parseEngineMetrics() of trtllm-serve: what is renamed or no number is no figure", () => {
  const [engine] = parseEngineMetrics(encode(
    [
      'num_requests_running{model_name="m"} NaN',
      'kv_cache_utilization{model_name="m"} 1.5',
      'kv_cache_max_blocks{model_name="m"} 10',
      'prompt_tokens_total{model_name="m"} 5',
    ].map((line) => `trtllm_${line}\n`).join(""),
  )).engines;
  assertEquals(engine.gauges.running, absent("not_finite"));
  assertEquals(engine.gauges.kvCacheUsageRatio, absent("invalid"));
  // The size of a block is not known.
  assertEquals(engine.kvCacheCapacity, absent("missing"));
  assertEquals(engine.counters.generationTokens, absent("missing"));
  assertEquals(engine.counters.prefixCacheQueries, absent("missing"));
});

Deno.test("parseEngineMetrics() of trtllm-serve believes no names without its prefix", () => {
  const old = 'request_success_total{model_name="undefined",engine_type="undefined"} 5\n';
  assertEquals(parseEngineMetrics(encode(old)).engines, []);
});
