import { assertEquals } from "@std/assert";
import { absent, present } from "../lib/reading.ts";
import { assertLatency, assertRates, watchComposed } from "./fixtures/engines.ts";
import { encode } from "./fixtures/expositions.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

Deno.test("computeFigures() of LMDeploy equals the figures of its requests", async () => {
  const watched = await watchComposed("lmdeploy-0.18");
  const { figures, replicas, expected } = watched;
  const [{ sample, lastPoll }] = replicas;
  assertEquals([sample.server.name, sample.modelName, sample.engine], [
    "LMDeploy",
    expected.modelName,
    "0",
  ]);
  assertEquals(figures.running.value, expected.running);
  assertEquals(figures.waiting.value, expected.waiting);
  assertEquals(figures.kvCache.maxRatio.value, expected.kvCacheUsageRatio);
  assertEquals(figures.kvCache.capacityTokens, absent("unsupported"));
  assertRates(watched);
  for (const key of ["ttft", "itl", "e2e", "queue"] as const) {
    assertLatency(watched, key, expected[key]);
  }
  assertEquals(figures.lastPoll.preemptionsPerSecond, absent("unsupported"));
  const finished = [...lastPoll.value?.labelled.finishedByReason ?? []];
  assertEquals(
    Object.fromEntries(finished.filter(([, count]) => count > 0)),
    expected.finishedByReason,
  );
  // Those that clients cancel are no failures.
  assertEquals(sample.counters.failedRequests, present(0));
});

Deno.test("parseEngineMetrics() of LMDeploy: what is renamed, cut or no number is no figure", () => {
  const read = (...lines: readonly string[]) =>
    parseEngineMetrics(encode(lines.map((line) => `lmdeploy:${line}\n`).join(""))).engines;
  const running = 'num_requests_running{model_name="m",engine="0"} 1';
  const [bad] = read(
    running,
    'gpu_cache_usage_perc{model_name="m",engine="0"} NaN',
    'tokens_generated_total{model_name="m",engine="0"} 5',
    'prompt_tokens_total{model_name="m",engine="0"} 7',
  );
  assertEquals(bad.gauges.kvCacheUsageRatio, absent("not_finite"));
  assertEquals(bad.counters.generationTokens, absent("missing"));
  assertEquals(bad.counters.prefixCacheQueries, absent("missing"));
  assertEquals(bad.counters.failedRequests, absent("missing"));
  // Without the reason nothing can be said of failures.
  const [unlabelled] = read(running, 'request_success_total{model_name="m",engine="0"} 5');
  assertEquals(unlabelled.labelled.finishedByReason, undefined);
  assertEquals(read('num_requests_running{engine="0"} 1'), []);
});
