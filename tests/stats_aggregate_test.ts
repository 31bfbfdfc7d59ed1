import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { createHistogram, type Histogram } from "../lib/histogram.ts";
import type { Figures, MetricTable, WindowFigures } from "../lib/model.ts";
import { absent, isPresent, present, type Reading } from "../lib/reading.ts";
import {
  computeFigures,
  computeLatency,
  computeLifetime,
  computeSinceStart,
  joinMetrics,
} from "../lib/stats_aggregate.ts";
import {
  appendSample,
  computeReplicas,
  type ReplicaSample,
  startHistory,
} from "../lib/stats_window.ts";
import {
  readEngine,
  readPoint,
  type Series,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";

/** The replicas of one endpoint after it said the texts, `span` seconds apart. */
function follow(texts: readonly string[], span = 2): readonly ReplicaSample[] {
  const history = texts.reduce(
    (known, text, i) => appendSample(known, readPoint(i * span, text)),
    startHistory(),
  );
  return computeReplicas(history);
}

/** A replica that has said one thing. */
function sayOnce(series: readonly Series[], more = ""): ReplicaSample {
  return follow([writeEngine(series) + more])[0];
}

/** A replica that has said two things, so many seconds apart. */
function sayTwice(
  before: readonly Series[],
  after: readonly Series[],
  options: { readonly span?: number; readonly more?: string } = {},
): ReplicaSample {
  const { span = 2, more = "" } = options;
  return follow([writeEngine(before) + more, writeEngine(after) + more], span)[0];
}

const PARTIAL = true;
const value = (number: number): Reading => ({ value: number });

function reasonOf(reading: Reading<unknown>): string {
  return isPresent(reading) ? "" : reading.reason;
}

/** Every reading in the figures, by its path. */
function listReadings(figures: unknown, path = ""): [string, Reading<unknown>][] {
  if (typeof figures !== "object" || figures === null) return [];
  if ("value" in figures) return [[path, figures as Reading<unknown>]];
  return Object.entries(figures).flatMap(([key, part]) => listReadings(part, `${path}.${key}`));
}

// ---- Since the start.

Deno.test("computeSinceStart() gives rates over uptimes, and quantiles and ratios of all time", () => {
  const counts = (tokens: number): Series[] => [
    ["generation_tokens_total", tokens],
    ["prompt_tokens_total", 4 * tokens],
    ["prefix_cache_queries_total", 400],
    ["prefix_cache_hits_total", 100],
    ...writeHistogram("time_to_first_token_seconds", [0.1, 0.2], { counts: [0, 10, 10], sum: 1.5 }),
  ];
  const replicas = [sayOnce(counts(1000)), sayOnce(counts(3000)), sayOnce(counts(9))];
  const uptimes = [present(100), present(300), absent("missing")] as const;
  const watch = (count: number) => {
    const some = replicas.slice(0, count);
    return computeSinceStart(some, { lifetime: computeLifetime(some), uptimes });
  };
  const two = watch(2);
  const SINCE_START = { isSinceStart: true } as const;
  assertEquals(two.span, { value: 300, ...SINCE_START });
  assertEquals(two.generationTokensPerSecond, { value: 20, ...SINCE_START });
  assertEquals(two.promptTokensPerSecond, { value: 80, ...SINCE_START });
  assertEquals(two.prefixCacheHitRatio, { value: 0.25, ...SINCE_START });
  // 0.1 + 0.1 × 0.95
  const { p95, mean, samples } = two.latency.ttft;
  assertAlmostEquals(p95.value?.value ?? NaN, 0.195);
  assertAlmostEquals(mean.value ?? NaN, 0.15);
  assertEquals([samples, p95.value?.bound], [{ value: 20, ...SINCE_START }, ""]);
  assertEquals(reasonOf(two.latency.itl.p95), "missing");
  // Without an uptime there is no rate, but the rest.
  const three = watch(3);
  assertEquals(three.generationTokensPerSecond, { value: 20, partial: PARTIAL, ...SINCE_START });
  assertEquals(three.latency.ttft.samples, { value: 30, ...SINCE_START });
});

// ---- Sums.

Deno.test("computeFigures() has no figures without replicas", () => {
  const figures = computeFigures([]);
  assertEquals(figures.replicaCount, 0);
  for (const [path, reading] of listReadings(figures)) {
    assertEquals(reasonOf(reading), "missing", path);
  }
});

Deno.test("computeFigures() sums gauges, rates and counters", () => {
  const one = sayOnce([
    ["num_requests_running", 3],
    ["num_requests_waiting", 2],
    ['num_requests_waiting_by_reason{reason="capacity"}', 2],
    ["generation_tokens_total", 100],
    ['request_success_total{finished_reason="stop"}', 4],
    ['request_success_total{finished_reason="abort"}', 1],
    ["num_preemptions_total", 7],
  ]);
  const other = sayOnce([
    ["num_requests_running", 5],
    ["num_requests_waiting", 0],
    ['num_requests_waiting_by_reason{reason="deferred"}', 1],
    ["generation_tokens_total", 50],
    ['request_success_total{finished_reason="stop"}', 6],
    ["num_preemptions_total", 0],
  ]);
  const { running, waiting, waitingByReason, lifetime, replicaCount } = computeFigures([
    one,
    other,
  ]);
  assertEquals(replicaCount, 2);
  assertEquals([running, waiting], [value(8), value(2)]);
  assertEquals([...waitingByReason], [["capacity", 2], ["deferred", 1]]);
  assertEquals(lifetime.generationTokens, value(150));
  assertEquals(lifetime.finishedRequests, value(11));
  assertEquals([...lifetime.finishedByReason], [["stop", 10], ["abort", 1]]);
  assertEquals(lifetime.preemptions, value(7));
});

Deno.test("computeFigures() marks sums that lack a replica as partial", () => {
  const known = sayOnce([["num_requests_running", 3], ["num_preemptions_total", 2]]);
  const unknown = sayOnce([["num_requests_waiting", 1]]);
  const { running, waiting, lifetime } = computeFigures([known, unknown]);
  assertEquals(running, { value: 3, partial: PARTIAL });
  assertEquals(waiting, { value: 1, partial: PARTIAL });
  assertEquals(lifetime.preemptions, { value: 2, partial: PARTIAL });
  assertEquals(lifetime.generationTokens, { value: null, reason: "missing" });
});

Deno.test("computeFigures() divides each increase by its replica's own span", () => {
  const slow = sayTwice([["generation_tokens_total", 0]], [["generation_tokens_total", 40]], {
    span: 4,
  });
  const fast = sayTwice([["generation_tokens_total", 5]], [["generation_tokens_total", 65]]);
  const { lastPoll, lastMinute } = computeFigures([slow, fast]);
  assertEquals(lastPoll.generationTokensPerSecond, value(10 + 30));
  assertEquals(lastMinute.generationTokensPerSecond, value(40));
  assertEquals(lastPoll.span, value(4));
});

Deno.test("computeFigures() marks rates and counts that lack a new replica as partial", () => {
  const queries = (count: number): Series[] => [
    ["generation_tokens_total", count],
    ["prefix_cache_queries_total", count],
    ["prefix_cache_hits_total", count / 2],
  ];
  const known = sayTwice(queries(0), queries(40));
  const fresh = sayOnce(queries(1000));
  const { lastPoll, lifetime } = computeFigures([known, fresh]);
  assertEquals(lastPoll.generationTokensPerSecond, { value: 20, partial: PARTIAL });
  assertEquals(lastPoll.prefixCacheQueries, { value: 40, partial: PARTIAL });
  assertEquals(lastPoll.prefixCacheHitRatio, value(0.5));
  assertEquals(lifetime.prefixCacheQueries, value(1040));
  const alone = computeFigures([fresh]).lastPoll;
  assertEquals(reasonOf(alone.generationTokensPerSecond), "first_scrape");
  assertEquals(reasonOf(alone.prefixCacheQueries), "first_scrape");
  assertEquals(reasonOf(alone.prefixCacheHitRatio), "first_scrape");
  assertEquals(reasonOf(alone.span), "first_scrape");
  assertEquals(reasonOf(alone.latency.ttft.p95), "first_scrape");
});

Deno.test("computeFigures() has no rate after a restart, and says so", () => {
  const replica = sayTwice([["generation_tokens_total", 10]], [["generation_tokens_total", 3]]);
  const { lastPoll, lifetime } = computeFigures([replica]);
  for (const [path, reading] of listReadings(lastPoll)) {
    assertEquals(reasonOf(reading), "restarted", path);
  }
  assertEquals(lifetime.generationTokens, value(3));
});

// ---- The KV cache.

function useKvCache(ratio: number | null, config = ""): ReplicaSample {
  const series: Series[] = [["num_requests_running", 1]];
  if (ratio !== null) series.push(["kv_cache_usage_perc", ratio]);
  return sayOnce(series, config === "" ? "" : `vllm:cache_config_info{${config}} 1.0\n`);
}

Deno.test("computeFigures() gives the fullest KV cache, its owner and a weighted mean", () => {
  const { kvCache } = computeFigures([
    useKvCache(0.2, 'kv_cache_size_tokens="1000"'),
    useKvCache(0.9, 'kv_cache_size_tokens="3000"'),
    useKvCache(0.4, 'kv_cache_size_tokens="1000"'),
  ]);
  assertEquals(kvCache.maxRatio, value(0.9));
  assertEquals(kvCache.maxOwner, 1);
  assertAlmostEquals(kvCache.meanRatio.value ?? NaN, (200 + 2700 + 400) / 5000, 1e-12);
  assertEquals(kvCache.capacityTokens, value(5000));
  assertEquals(kvCache.capacityIsEstimate, false);
});

Deno.test("computeFigures() names the first of equally full KV caches", () => {
  const { kvCache } = computeFigures([useKvCache(0.2), useKvCache(0.7), useKvCache(0.7)]);
  assertEquals(kvCache.maxOwner, 1);
});

Deno.test("computeFigures() uses the plain mean if a capacity is unknown", () => {
  const { kvCache } = computeFigures([
    useKvCache(0.2, 'kv_cache_size_tokens="1000"'),
    useKvCache(0.9, 'num_gpu_blocks="None",block_size="16"'),
  ]);
  assertAlmostEquals(kvCache.meanRatio.value ?? NaN, 0.55, 1e-12);
  assertEquals(kvCache.capacityTokens, { value: 1000, partial: PARTIAL });
});

Deno.test("computeFigures() prefers the stated capacity to blocks × block size", () => {
  const blocks = 'block_size="16",num_gpu_blocks="100"';
  const stated = computeFigures([useKvCache(0.5, `${blocks},kv_cache_size_tokens="900"`)]).kvCache;
  assertEquals(stated.capacityTokens, value(900));
  assertEquals(stated.capacityIsEstimate, false);
  const estimated = computeFigures([useKvCache(0.5, blocks)]).kvCache;
  assertEquals(estimated.capacityTokens, value(1600));
  assertEquals(estimated.capacityIsEstimate, true);
});

Deno.test("computeFigures() has no KV cache if none is exported", () => {
  const { kvCache } = computeFigures([useKvCache(null), useKvCache(null)]);
  assertEquals(kvCache.maxRatio, { value: null, reason: "missing" });
  assertEquals(kvCache.meanRatio, { value: null, reason: "missing" });
  assertEquals(kvCache.maxOwner, -1);
  const one = computeFigures([useKvCache(null), useKvCache(0)]).kvCache;
  assertEquals([one.maxRatio, one.maxOwner, one.meanRatio], [value(0), 1, value(0)]);
  const other = computeFigures([useKvCache(0.4), useKvCache(null)]).kvCache;
  assertEquals([other.maxRatio, other.maxOwner, other.meanRatio], [value(0.4), 0, value(0.4)]);
});

// ---- Prefix cache.

function queryCache(queries: number, hits: number): Series[] {
  return [
    ["num_requests_running", 1],
    ["prefix_cache_queries_total", queries],
    ["prefix_cache_hits_total", hits],
  ];
}

Deno.test("computeFigures() weighs hit ratios by their queries", () => {
  const busy = sayTwice(queryCache(0, 0), queryCache(900, 90));
  const quiet = sayTwice(queryCache(500, 0), queryCache(600, 100));
  const { lastPoll, lifetime } = computeFigures([busy, quiet]);
  assertEquals(lastPoll.prefixCacheHitRatio, value(190 / 1000));
  assertEquals(lastPoll.prefixCacheQueries, value(1000));
  assertEquals(lifetime.prefixCacheHitRatio, value(190 / 1500));
});

Deno.test("computeFigures() leaves replicas with only half of a ratio out of it", () => {
  const half = sayOnce([["num_requests_running", 1], ["prefix_cache_queries_total", 800]]);
  const whole = sayOnce(queryCache(100, 50));
  assertEquals(computeFigures([half, whole]).lifetime.prefixCacheHitRatio, value(0.5));
});

Deno.test("computeFigures() has no hit ratio without queries", () => {
  const idle = sayTwice(queryCache(500, 50), queryCache(500, 50));
  const { lastPoll, lifetime } = computeFigures([idle]);
  assertEquals(lastPoll.prefixCacheHitRatio, { value: null, reason: "no_samples" });
  assertEquals(lifetime.prefixCacheHitRatio, value(0.1));
});

Deno.test("computeFigures() reports that prefix caching is off", () => {
  const off = 'vllm:cache_config_info{enable_prefix_caching="False"} 1.0\n';
  const on = 'vllm:cache_config_info{enable_prefix_caching="True"} 1.0\n';
  const ratioOf = (...replicas: ReplicaSample[]) =>
    reasonOf(computeFigures(replicas).lifetime.prefixCacheHitRatio);
  assertEquals(ratioOf(sayOnce(queryCache(0, 0), off)), "off");
  assertEquals(ratioOf(sayOnce(queryCache(0, 0), on)), "no_samples");
  assertEquals(
    ratioOf(sayOnce(queryCache(0, 0), off), sayOnce(queryCache(0, 0), on)),
    "no_samples",
  );
});

Deno.test("computeFigures() uses V0's own hit ratio; -1 means off", () => {
  const report = (ratio: number) =>
    sayOnce([["num_requests_running", 1], ["gpu_prefix_cache_hit_rate", ratio]]);
  const ratioOf = (...replicas: ReplicaSample[]) =>
    computeFigures(replicas).lifetime.prefixCacheHitRatio;
  assertEquals(ratioOf(report(0.25)), value(0.25));
  assertEquals(ratioOf(report(0)), value(0));
  assertEquals(ratioOf(report(-1)), { value: null, reason: "off" });
  // Of two it cannot be told.
  assertEquals(ratioOf(report(0.25), report(0.75)), { value: null, reason: "missing" });
});

Deno.test("computeFigures() keeps the external cache separate", () => {
  const external = (queries: number, hits: number): Series[] => [
    ...queryCache(100, 10),
    ["external_prefix_cache_queries_total", queries],
    ["external_prefix_cache_hits_total", hits],
  ];
  const { lifetime } = computeFigures([sayOnce(external(50, 20)), sayOnce(external(150, 20))]);
  assertEquals(lifetime.externalPrefixCacheHitRatio, value(0.2));
  assertEquals(lifetime.prefixCacheHitRatio, value(0.1));
});

// ---- What was computed and what came from a cache.

Deno.test("computeFigures() splits prompt tokens by their source", () => {
  const sources = (compute: number, local: number, external: number): Series[] => [
    ["prompt_tokens_total", compute + local + external],
    ['prompt_tokens_by_source_total{source="local_compute"}', compute],
    ['prompt_tokens_by_source_total{source="local_cache_hit"}', local],
    ['prompt_tokens_by_source_total{source="external_kv_transfer"}', external],
    // Another count of the same: not to be added.
    ["prompt_tokens_cached_total", local + external],
  ];
  const replica = sayTwice(sources(10, 20, 30), sources(16, 28, 34));
  const { lastPoll, lifetime } = computeFigures([replica]);
  assertEquals(lastPoll.promptTokensPerSecond, value(9));
  assertEquals(lastPoll.computedPromptTokensPerSecond, value(3));
  assertEquals(lastPoll.cachedPromptTokensPerSecond, value(6));
  assertEquals(lifetime.cachedPromptTokens, value(62));
  assertEquals([...lifetime.promptTokensBySource], [
    ["local_compute", 16],
    ["local_cache_hit", 28],
    ["external_kv_transfer", 34],
  ]);
});

Deno.test("computeFigures() subtracts cached prompt tokens if sources are not exported", () => {
  const tokens = (prompt: number, cached: number): Series[] => [
    ["prompt_tokens_total", prompt],
    ["prompt_tokens_cached_total", cached],
  ];
  const { lastPoll, lifetime } = computeFigures([sayTwice(tokens(100, 40), tokens(120, 50))]);
  assertEquals(lastPoll.computedPromptTokensPerSecond, value(5));
  assertEquals(lastPoll.cachedPromptTokensPerSecond, value(5));
  assertEquals(lifetime.cachedPromptTokens, value(50));
});

Deno.test("computeFigures() has no negative computed tokens", () => {
  // The exposition was written while a request was booked: the one counter before, the other after.
  const tokens = (prompt: number, cached: number): Series[] => [
    ["prompt_tokens_total", prompt],
    ["prompt_tokens_cached_total", cached],
  ];
  const { lastPoll } = computeFigures([sayTwice(tokens(100, 40), tokens(100, 50))]);
  assertEquals(lastPoll.computedPromptTokensPerSecond, value(0));
});

Deno.test("computeFigures() does not guess computed tokens", () => {
  const tokens = (prompt: number): Series[] => [["prompt_tokens_total", prompt]];
  const { lastPoll } = computeFigures([sayTwice(tokens(100), tokens(120))]);
  assertEquals(lastPoll.promptTokensPerSecond, value(10));
  assertEquals(reasonOf(lastPoll.computedPromptTokensPerSecond), "missing");
  assertEquals(reasonOf(lastPoll.cachedPromptTokensPerSecond), "missing");
});

// ---- Speculation.

function speculate(drafts: number, tokens: number, accepted: readonly number[]): Series[] {
  return [
    ["num_requests_running", 1],
    ["spec_decode_num_drafts_total", drafts],
    ["spec_decode_num_draft_tokens_total", tokens],
    ["spec_decode_num_accepted_tokens_total", accepted.reduce((a, b) => a + b, 0)],
    ...accepted.map((count, position): Series => [
      `spec_decode_num_accepted_tokens_per_pos_total{position="${position}"}`,
      count,
    ]),
  ];
}

Deno.test("computeFigures() gives the figures of speculative decoding", () => {
  const one = sayTwice(speculate(100, 300, [50, 30, 10]), speculate(140, 420, [80, 50, 20]));
  const { lastPoll, lifetime } = computeFigures([one]);
  assertEquals(lastPoll.draftAcceptanceRatio, value(60 / 120));
  assertEquals(lastPoll.meanAcceptanceLength, value(1 + 60 / 40));
  assertEquals([...lastPoll.acceptanceRatioByPosition], [["0", 0.75], ["1", 0.5], ["2", 0.25]]);
  assertEquals(lifetime.draftAcceptanceRatio, value(150 / 420));
  assertEquals(lifetime.meanAcceptanceLength, value(1 + 150 / 140));
  const idle = sayTwice(speculate(100, 300, [50]), speculate(100, 300, [50]));
  const idleWindow = computeFigures([idle]).lastPoll;
  assertEquals(reasonOf(idleWindow.draftAcceptanceRatio), "no_samples");
  assertEquals(reasonOf(idleWindow.meanAcceptanceLength), "no_samples");
  assertEquals(idleWindow.acceptanceRatioByPosition.size, 0);
  const without = computeFigures([sayOnce([["num_requests_running", 1]])]).lifetime;
  assertEquals(reasonOf(without.draftAcceptanceRatio), "missing");
});

Deno.test("computeFigures() sums drafts of replicas before dividing", () => {
  const one = sayTwice(speculate(0, 0, [0, 0]), speculate(10, 20, [10, 10]));
  const two = sayTwice(speculate(0, 0, [0, 0]), speculate(30, 60, [0, 0]));
  const { lastPoll } = computeFigures([one, two]);
  assertEquals(lastPoll.draftAcceptanceRatio, value(20 / 80));
  assertEquals([...lastPoll.acceptanceRatioByPosition], [["0", 0.25], ["1", 0.25]]);
});

// ---- Latencies.

function answer(counts: readonly number[], bounds: readonly number[] = [1, 2]): Series[] {
  return [
    ["num_requests_running", 1],
    ...writeHistogram("time_to_first_token_seconds", bounds, { counts, sum: counts[0] }),
  ];
}

Deno.test("computeFigures() merges the latencies of a window", () => {
  const one = sayTwice(answer([5, 5, 5]), answer([5, 15, 15]));
  const two = sayTwice(answer([0, 0, 0]), answer([30, 30, 30]));
  const { ttft } = computeFigures([one, two]).lastPoll.latency;
  assertEquals(ttft.samples, value(40));
  assertEquals(ttft.p50.value?.bound, "<");
  assertAlmostEquals(ttft.p95.value?.value ?? NaN, 1 + (38 - 30) / 10, 1e-12);
});

Deno.test("computeFigures() merges no latencies of different bounds", () => {
  const old = sayOnce(answer([1, 2, 3]));
  const young = sayOnce(answer([1, 2, 3], [1, 4]));
  const { latency } = computeFigures([old, young]).lifetime;
  assertEquals(reasonOf(latency.ttft.p95), "bounds_differ");
  assertEquals(reasonOf(latency.ttft.samples), "bounds_differ");
  assertEquals(reasonOf(latency.e2e.p95), "missing");
});

// ---- Properties.

const replicaTexts = fc.record({
  running: fc.integer({ min: 0, max: 300 }),
  before: fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 6, maxLength: 6 }),
  more: fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 6, maxLength: 6 }),
}).map(({ running, before, more }) => {
  const write = (counts: readonly number[]): Series[] => [
    ["num_requests_running", running],
    ["generation_tokens_total", counts[0]],
    ["prefix_cache_queries_total", counts[1] + counts[2]],
    ["prefix_cache_hits_total", counts[2]],
    ['request_success_total{finished_reason="stop"}', counts[3]],
    ...answer([counts[4], counts[4] + counts[5], counts[4] + counts[5]]).slice(1),
  ];
  return sayTwice(write(before), write(before.map((count, i) => count + more[i])));
});

function sumOf(parts: readonly Figures[], read: (figures: Figures) => Reading): number {
  return parts.reduce((sum, figures) => sum + (read(figures).value ?? NaN), 0);
}

Deno.test("computeFigures() is the sum of its parts, in any order", () => {
  const sums: readonly ((figures: Figures) => Reading)[] = [
    (figures) => figures.running,
    (figures) => figures.lifetime.generationTokens,
    (figures) => figures.lifetime.finishedRequests,
    (figures) => figures.lastPoll.generationTokensPerSecond,
    (figures) => figures.lastPoll.requestsPerSecond,
    (figures) => figures.lastPoll.prefixCacheQueries,
    (figures) => figures.lifetime.latency.ttft.samples,
  ];
  const ratios: readonly ((window: WindowFigures) => Reading<unknown>)[] = [
    (window) => window.prefixCacheHitRatio,
    (window) => window.latency.ttft.p95,
  ];
  const replicas = fc.array(replicaTexts, { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(replicas, (all) => {
      const merged = computeFigures(all);
      const parts = all.map((replica) => computeFigures([replica]));
      for (const read of sums) {
        assertAlmostEquals(read(merged).value ?? NaN, sumOf(parts, read), 1e-9);
      }
      const reversed = computeFigures([...all].reverse());
      for (const read of ratios) assertEquals(read(reversed.lastPoll), read(merged.lastPoll));
      const hits = merged.lastPoll.prefixCacheHitRatio.value;
      const partsHit = parts.map(({ lastPoll }) => lastPoll.prefixCacheHitRatio.value)
        .filter((ratio) => ratio !== null);
      if (hits === null) assertEquals(partsHit, []);
      else assert(hits >= Math.min(...partsHit) - 1e-12 && hits <= Math.max(...partsHit) + 1e-12);
    }),
    { numRuns: 200 },
  );
});

Deno.test("joinMetrics() sums counts and running requests, and uses the fullest cache", () => {
  const write = (running: number, kv: number): MetricTable =>
    readEngine(writeEngine([
      ["num_requests_running", running],
      ["kv_cache_usage_perc", kv],
      ["corrupted_requests_total", 2],
      ["gpu_prefix_cache_hit_rate", 0.5],
      ...writeHistogram("request_prompt_tokens", [10], { counts: [1, 3], sum: 40 }),
    ])).metrics;
  const joined = joinMetrics([write(1, 0.25), write(4, 0.75)]);
  assertEquals(joined.map(({ name, value, sum }) => [name.slice(5), value, sum]), [
    ["num_requests_running", 5, null],
    ["kv_cache_usage_perc", 0.75, null],
    ["corrupted_requests_total", 4, null],
    ["request_prompt_tokens", 6, 80],
  ]);
});

Deno.test("computeFigures() of two kinds of servers sums counts, and merges no latency", () => {
  const histogram = (prefix: string) =>
    ["1", "+Inf"].map((le) =>
      `${prefix}:e2e_request_latency_seconds_bucket{model_name="m",le="${le}"} 2\n`
    ).join("");
  const [vllm] = follow([`vllm:num_requests_running{model_name="m"} 3\n${histogram("vllm")}`]);
  const [sglang] = follow([`sglang:num_running_reqs{model_name="m"} 4\n${histogram("sglang")}`]);
  const { running, lifetime } = computeFigures([vllm, sglang]);
  assertEquals(running, present(7));
  assertEquals(lifetime.latency.e2e.samples, absent("definitions_differ"));
  for (const one of [vllm, sglang]) {
    assertEquals(computeFigures([one]).lifetime.latency.e2e.samples.value, 2);
  }
});

function createCumulative(counts: readonly number[], sum: number, bounds = [1, 2, 4]): Histogram {
  return createHistogram([...bounds, Infinity].map((bound, i) => [bound, counts[i]] as const), sum);
}

Deno.test("computeLatency() returns quantiles, mean and count", () => {
  const { p50, p95, p99, mean, samples } = computeLatency([
    present(createCumulative([10, 60, 99, 100], 180)),
  ]);
  assertEquals(p50, { value: { value: 1.8, bound: "", interpolated: 1.8 } });
  assertAlmostEquals(p95.value?.value ?? NaN, 2 + 2 * 35 / 39, 1e-12);
  assertEquals(p99, { value: { value: 4, bound: "", interpolated: 4 } });
  assertEquals(mean, { value: 1.8 });
  assertEquals(samples, { value: 100 });
});

Deno.test("computeLatency() merges buckets instead of averaging quantiles", () => {
  const fast = createCumulative([90, 100, 100, 100], 60);
  const slow = createCumulative([0, 0, 10, 10], 30);
  const { p95, samples, mean } = computeLatency([present(fast), present(slow)]);
  // 110 observations: 90, 100, 110. Rank 104.5 is 4.5 tenths into the third bucket.
  assertAlmostEquals(p95.value?.value ?? NaN, 2 + 2 * 0.45, 1e-12);
  const own = [fast, slow].map((one) => computeLatency([present(one)]).p95.value?.value ?? NaN);
  assert(Math.abs((own[0] + own[1]) / 2 - 2.9) > 0.1, "the mean of both is another figure");
  assertEquals(samples, { value: 110 });
  assertEquals(mean, { value: 90 / 110 });
});

Deno.test("computeLatency() refuses to merge different bounds", () => {
  const one = present(createCumulative([1, 2, 3, 4], 5));
  const other = present(createCumulative([1, 2, 3, 4], 5, [1, 2, 8]));
  const { histogram, ...figures } = computeLatency([one, other]);
  assertEquals(histogram, null);
  for (const reading of Object.values(figures)) assertEquals(reading, absent("bounds_differ"));
});

Deno.test("computeLatency() is no_samples without observations", () => {
  const figures = computeLatency([present(createCumulative([0, 0, 0, 0], 0))]);
  assertEquals(figures, {
    p50: absent("no_samples"),
    p95: absent("no_samples"),
    p99: absent("no_samples"),
    mean: absent("no_samples"),
    samples: { value: 0 },
    histogram: null,
  });
});

Deno.test("computeLatency() skips absent histograms, and is absent with their reason if all are", () => {
  const known = present(createCumulative([1, 2, 3, 4], 5));
  const whole = computeLatency([known]);
  // A lower bound: the observations that are present.
  const part = computeLatency([absent("restarted"), known]);
  assertEquals(part.samples, { value: 4, partial: true });
  const list = (
    { p50, p95, p99, mean, histogram }: typeof whole,
  ) => [p50, p95, p99, mean, histogram];
  assertEquals(list(part), list(whole));
  assertEquals(computeLatency([absent("missing"), known]), whole);
  assertEquals(computeLatency([absent("restarted"), absent("missing")]).p95, absent("restarted"));
  assertEquals(computeLatency([]).p95, absent("missing"));
});

Deno.test("computeLatency() needs a sum for the mean and +Inf for quantiles", () => {
  const { p50, mean } = computeLatency([present(createCumulative([1, 2, 3, 4], NaN))]);
  assertEquals(mean, absent("missing"));
  assert(p50.value !== null);
  const open = createHistogram([[1, 4], [2, 9]], 12);
  assertEquals(computeLatency([present(open)]).p50, absent("unsupported"));
});

Deno.test("computeLatency() of several replicas equals that of their pooled observations", () => {
  const bounds = [0.01, 0.1, 1, 10];
  const observations = fc.array(
    fc.array(fc.double({ min: 0.001, max: 100, noNaN: true }), { minLength: 1, maxLength: 20 }),
    { minLength: 1, maxLength: 4 },
  );
  const observe = (all: readonly number[]): Histogram =>
    createCumulative(
      [...bounds, Infinity].map((bound) => all.filter((one) => one <= bound).length),
      0,
      bounds,
    );
  fc.assert(fc.property(observations, (parts) => {
    const merged = computeLatency(parts.map((part) => present(observe(part))));
    assertEquals(merged, computeLatency([present(observe(parts.flat()))]));
  }));
});
