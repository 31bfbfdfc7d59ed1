import { assertEquals } from "@std/assert";
import { absent, present, type Reading } from "../lib/reading.ts";
import { assertLatency, assertRates, watchComposed } from "./fixtures/engines.ts";
import { readEngine, type Series, writeEngine } from "./fixtures/expositions.ts";

const RUNNING: Series = ["num_requests_running", 0];

/** Cached and computed prompt tokens. */
function readTokens(...series: readonly Series[]): readonly Reading[] {
  const { counters } = readEngine(writeEngine([RUNNING, ...series]));
  return [counters.cachedPromptTokens, counters.computedPromptTokens];
}

Deno.test("conclude() counts as cached what was not computed, else uses the counter", () => {
  const bySource = (source: string, tokens: number): Series => [
    `prompt_tokens_by_source_total{source="${source}"}`,
    tokens,
  ];
  assertEquals(
    readTokens(
      ["prompt_tokens_cached_total", 5],
      bySource("local_compute", 70),
      bySource("local_cache_hit", 20),
      bySource("external_kv_transfer", 10),
    ),
    [present(30), present(70)],
  );
  assertEquals(readTokens(bySource("local_cache_hit", 7)), [present(7), present(0)]);
  assertEquals(readTokens(["prompt_tokens_cached_total", 5]), [present(5), absent("missing")]);
  assertEquals(readTokens(), [absent("missing"), absent("missing")]);
});

Deno.test("conclude() reports both depths of sleep", () => {
  const say = (state: string, value: number): boolean =>
    readEngine(writeEngine([RUNNING, [`engine_sleep_state{sleep_state="${state}"}`, value]]))
      .modelState === "asleep";
  assertEquals(
    [say("weights_offloaded", 1), say("discard_all", 1), say("discard_all", 0), say("awake", 1)],
    [true, true, false, false],
  );
});

Deno.test("conclude() uses the stated capacity, else blocks × block size", () => {
  const read = (labels: string): readonly unknown[] => {
    const text = writeEngine([RUNNING, [`cache_config_info{${labels}}`, 1]]);
    const { kvCacheCapacity, kvCacheCapacityIsEstimate } = readEngine(text);
    return [kvCacheCapacity, kvCacheCapacityIsEstimate];
  };
  const blocks = 'block_size="16",num_gpu_blocks="100"';
  assertEquals(read(`${blocks},kv_cache_size_tokens="900"`), [present(900), false]);
  assertEquals(read(blocks), [present(1600), true]);
  assertEquals(read('block_size="16",num_gpu_blocks="None"'), [absent("missing"), false]);
});

Deno.test("computeFigures() of NVIDIA NIM equals the figures of its requests", async () => {
  const watched = await watchComposed("nim-1.8");
  const { figures, replicas: [{ sample }], expected } = watched;
  assertEquals([sample.server.name, sample.modelName], ["vLLM", "meta/llama-3.1-8b-instruct"]);
  assertEquals(figures.running.value, expected.running);
  assertEquals(figures.waiting.value, expected.waiting);
  assertEquals(figures.kvCache.maxRatio.value, expected.kvCacheUsageRatio);
  assertRates(watched);
  for (const key of ["ttft", "itl", "e2e"] as const) assertLatency(watched, key, expected[key]);
});
