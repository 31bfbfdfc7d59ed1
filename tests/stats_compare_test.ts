import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { createHistogram, type Histogram } from "../lib/histogram.ts";
import type { Objective } from "../lib/model.ts";
import { absent, present, type Reading } from "../lib/reading.ts";
import { adjustProbabilities, COMPARE_ALPHA } from "../lib/stats_blocks.ts";
import { compareSides, type FigurePair } from "../lib/stats_compare.ts";
import { closeTally, type Side, type SpanTally, startTally } from "../lib/stats_tally.ts";
import { simulateSpans } from "./fixtures/compared_spans.ts";

const OBJECTIVE: Objective = { model: null, latency: "ttft", limit: 0.1, target: 0.95 };

function listClaims(
  sides: readonly [Side, Side],
): { readonly keys: readonly string[]; readonly pairs: ReadonlyMap<string, FigurePair> } {
  const pairs = compareSides(sides, [OBJECTIVE]);
  const adjusted = adjustProbabilities(pairs.map(({ probability }) => probability));
  return {
    keys: pairs.filter((_, i) => (adjusted[i] ?? 1) < COMPARE_ALPHA).map(({ key }) => key),
    pairs: new Map(pairs.map((pair) => [pair.key, pair])),
  };
}

const TRAFFIC = [
  { replicas: 1, requestsPerSecond: 1 },
  { replicas: 2, requestsPerSecond: 5 },
  { replicas: 1, requestsPerSecond: 8, lengthSpread: 1.2, burst: 3 },
] as const;
const RUNS = 40;
const SPAN = 300;

Deno.test("compareSides() claims no difference between halves of a steady run, but for 5 %", () => {
  const claims = TRAFFIC.flatMap((traffic, i) =>
    Array.from({ length: RUNS }, (_, run) => {
      const sides = simulateSpans({ ...traffic, seed: 1000 * i + run }, { span: SPAN });
      return { traffic, run, keys: listClaims(sides).keys };
    })
  ).filter(({ keys }) => keys.length > 0);
  const share = claims.length / TRAFFIC.length / RUNS;
  assert(share <= COMPARE_ALPHA, JSON.stringify(claims));
});

Deno.test("compareSides() finds a server that takes half as long again for each step", () => {
  for (const traffic of TRAFFIC) {
    for (const seed of [1, 2, 3]) {
      const sides = simulateSpans({ ...traffic, replicas: 1, seed }, {
        span: SPAN,
        slowness: 1.5,
      });
      const { keys, pairs } = listClaims(sides);
      assert(keys.includes("itl_mean"), `${seed} ${keys}`);
      // What arrives in bursts waits for a prefill now and then.
      if (!("burst" in traffic)) assert(keys.includes("ttft_mean"), `${seed} ${keys}`);
      for (const key of ["arrivals", "prompt_length", "output_length", "requests"]) {
        assert(!keys.includes(key), `${seed} ${key}`);
      }
      const { a, b } = pairs.get("itl_mean") ?? {};
      // Slower steps have more requests in them.
      assertAlmostEquals((b?.value?.value ?? 0) / (a?.value?.value ?? 0), 1.6, 0.2);
    }
  }
});

Deno.test("compareSides() tells another load apart: more requests, or longer ones", () => {
  const [calm] = simulateSpans({ replicas: 1, requestsPerSecond: 4, seed: 1 }, { span: SPAN });
  const [busy] = simulateSpans({ replicas: 1, requestsPerSecond: 6, seed: 2 }, { span: SPAN });
  const { keys, pairs } = listClaims([calm, busy]);
  assert(keys.includes("arrivals") && keys.includes("requests"), keys.join());
  assert(!keys.includes("prompt_length") && !keys.includes("output_length"), keys.join());
  assertEquals(pairs.get("arrivals")?.part, "load");
  const long = simulateSpans({ replicas: 1, requestsPerSecond: 4, seed: 3, lengthSpread: 1.4 }, {
    span: SPAN,
  });
  assert(listClaims([calm, long[0]]).keys.includes("output_length"));
});

Deno.test("compareSides() shows figures of a short span, and tests none", () => {
  const sides = simulateSpans({ replicas: 1, requestsPerSecond: 8, seed: 1 }, { span: 60 });
  const pairs = compareSides(sides, [OBJECTIVE]);
  assert(sides.every(({ isTested }) => !isTested));
  assert(pairs.every(({ probability }) => probability === null));
  const rate = pairs.find(({ key }) => key === "arrivals")?.a.value?.value ?? 0;
  assertAlmostEquals(rate, 8, 2);
});

// ---- Made by hand: ten blocks of a minute, each with the same counts.

const BOUNDS = [0.1, 0.2, 0.5, 1, Infinity];

function createSide(
  counts: readonly number[],
  { bounds = BOUNDS, sum = 10, usdPerHour = present(3) as Reading, isOff = false } = {},
): Side {
  const tally: SpanTally = startTally(0, 600);
  const histogram: Histogram = createHistogram(bounds.map((bound, i) => [bound, counts[i]]), sum);
  const none = absent("missing");
  for (let i = 0; i < 10; i++) {
    tally.bins.set(i, {
      spans: new Map([["r", 60]]),
      sums: {
        requests: present(counts[counts.length - 1]),
        arrivals: none,
        prompts: present(counts[counts.length - 1]),
        promptTokens: present(6000),
        outputTokens: present(600),
        cacheHits: isOff ? absent("off") : present(30),
        cacheQueries: isOff ? absent("off") : present(40),
        ...{ inFlightSeconds: none, kvSeconds: present(30), kvSpan: present(60) },
      },
      latencies: {
        ...{ ttft: present(histogram), itl: none, e2e: none, tpot: none, queue: none },
      },
    });
  }
  const side = closeTally(tally, usdPerHour);
  if (side === null) throw new Error("Nothing was counted");
  return side;
}

function get(pairs: readonly FigurePair[], key: string): FigurePair {
  const found = pairs.find((pair) => pair.key === key);
  if (found === undefined) throw new Error(`No figure ${key}`);
  return found;
}

Deno.test("compareSides() computes figures from sums over the whole span", () => {
  const side = createSide([0, 10, 19, 20, 20]);
  const pairs = compareSides([side, side], []);
  const read = (key: string) => get(pairs, key).a.value?.value;
  assertEquals(read("requests"), 20 / 60);
  assertEquals(read("prompt_tokens"), 100);
  assertEquals(read("output_length"), 30);
  assertEquals(read("hit_ratio"), 0.75);
  assertEquals(read("kv_cache"), 0.5);
  assertEquals(read("ttft_mean"), 0.5);
  // $3 an hour are $0.05 a minute, for 600 and 6600 tokens.
  assertAlmostEquals(read("usd_per_million_output_tokens") ?? NaN, 0.05 / 600e-6, 1e-9);
  assertAlmostEquals(read("usd_per_million_tokens") ?? NaN, 0.05 / 6600e-6, 1e-9);
  assertEquals(get(pairs, "arrivals").a, absent("missing"));
  assertEquals(get(pairs, "goodput").a, absent("off"));
  assert(pairs.every(({ probability }) => probability === null || probability === 1));
});

Deno.test("compareSides() knows quantiles to the bucket, and tells none apart within one", () => {
  const a = createSide([0, 10, 19, 20, 20]);
  // P95 is higher in the same bucket, P50 is in another.
  const b = createSide([0, 4, 19, 20, 20]);
  const pairs = compareSides([a, b], []);
  const p95 = get(pairs, "ttft_p95");
  assertEquals([p95.isInOneBucket, p95.probability], [true, null]);
  assertEquals([p95.a.value?.least, p95.a.value?.most], [0.2, 0.5]);
  const p50 = get(pairs, "ttft_p50");
  assertEquals([p50.a.value?.most, p50.b.value?.least], [0.2, 0.2]);
  // 50 % of A are at the bound itself: that it is no more is not sure.
  assertEquals(p50.probability, 1);
  const c = createSide([0, 16, 19, 20, 20]);
  assert((get(compareSides([c, b], []), "ttft_p50").probability ?? 1) < 0.001);
});

Deno.test("compareSides() compares quantiles by bounds that both have, and those beyond the last", () => {
  const old = createSide([0, 18, 20, 20], { bounds: [0.1, 0.2, 1, Infinity] });
  const now = createSide([0, 1, 2, 3, 20], { bounds: [0.05, 0.1, 0.3, 1, Infinity] });
  const p50 = get(compareSides([old, now], []), "ttft_p50");
  assertEquals(p50.b.value, { value: null, least: 1, most: Infinity });
  assert((p50.probability ?? 1) < 0.001);
  const apart = createSide([0, 1, 2, 3, 20], { bounds: [0.05, 0.11, 0.3, 0.9, Infinity] });
  assertEquals(get(compareSides([old, apart], []), "ttft_p50").probability, null);
});

Deno.test("compareSides() needs more requests for the last percent of them", () => {
  // Sixty requests: P99 can be no surer than 0.99^60.
  const [fast, slow] = [createSide([0, 6, 6, 6, 6]), createSide([0, 0, 0, 6, 6])];
  assert((get(compareSides([fast, slow], []), "ttft_p99").probability ?? 0) > 0.5);
  assert((get(compareSides([fast, slow], []), "ttft_p50").probability ?? 1) < 1e-9);
  // Ten requests tell nothing.
  const few = createSide([0, 1, 1, 1, 1]);
  assertEquals(get(compareSides([few, slow], []), "ttft_mean").probability, null);
});

Deno.test("compareSides() bounds goodput by the buckets, and claims what holds for all readings", () => {
  const objective: Objective = { ...OBJECTIVE, limit: 0.3 };
  const a = createSide([0, 10, 19, 20, 20]);
  const pairs = compareSides([a, createSide([0, 12, 18, 20, 20])], [objective]);
  const goodput = get(pairs, "goodput_ttft_0.3s");
  assertEquals(goodput.a.value, { value: null, least: 10 / 60, most: 19 / 60 });
  // More are surely within, and fewer may be.
  assertEquals(goodput.probability, 1);
  const better = compareSides([a, createSide([0, 20, 20, 20, 20])], [objective]);
  assertEquals(get(better, "share_ttft_0.3s").probability, 0);
  const exact = compareSides([a, a], [{ ...objective, limit: 0.5 }]);
  assertEquals(get(exact, "share_ttft_0.5s").a.value?.value, 0.95);
});

Deno.test("compareSides() gives a reason for what one side lacks", () => {
  const a = createSide([0, 10, 19, 20, 20]);
  const b = createSide([0, 10, 19, 20, 20], { usdPerHour: absent("missing"), isOff: true });
  const pairs = compareSides([a, b], []);
  assertEquals(get(pairs, "hit_ratio").b, absent("off"));
  assertEquals(get(pairs, "usd_per_million_tokens").b, absent("missing"));
  assertEquals(get(pairs, "hit_ratio").probability, null);
  const spoilt = createSide([0, 10, 19, 20, 20], { sum: -4 });
  assertEquals(get(compareSides([a, spoilt], []), "ttft_mean").b, absent("missing"));
});
