import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  addHistograms,
  type Bound,
  computeQuantile,
  countObservations,
  countWithin,
  createHistogram,
  haveSameBounds,
  type Histogram,
  subtractHistogram,
} from "../lib/histogram.ts";

type Buckets = readonly (readonly [le: number, count: number])[];

/** The result of `histogram_quantile`; NaN for no value. */
function evaluatePromQl(buckets: Buckets, q: number): number {
  return computeQuantile(createHistogram(buckets, NaN), q)?.interpolated ?? NaN;
}

// Cases of Prometheus' promql/promqltest/testdata/histograms.test (main, read 2026-11). Its series
// grow by a constant step, so increases over any window are these buckets times a factor, with the
// same quantiles.

const POSITIVE: Buckets = [[0.1, 50], [0.2, 70], [1, 110], [Infinity, 120]];
const NEGATIVE: Buckets = [[-0.2, 10], [-0.1, 20], [0.3, 20], [Infinity, 30]];
const MIDDLES: Buckets = [[0, 0], [2, 1], [4, 2], [6, 3], [Infinity, 3]];
const FULL_POSITIVE: Buckets = [[0, 0], [0.1, 50], [0.2, 70], [1, 110], [Infinity, 110]];
const FULL_NEGATIVE: Buckets = [[-0.25, 0], [-0.2, 10], [-0.1, 20], [0.3, 20], [Infinity, 20]];
const JOB1_INS1: Buckets = [[0.1, 1], [0.2, 3], [Infinity, 4]];
const JOB1_INS2: Buckets = [[0.1, 2], [0.2, 5], [Infinity, 6]];
const JOB2_INS1: Buckets = [[0.1, 3], [0.2, 4], [Infinity, 6]];
const JOB2_INS2: Buckets = [[0.1, 4], [0.2, 7], [Infinity, 9]];
const MIXED: Buckets = [
  ...[["0.1", 1], ["0.2", 1], ["2e-1", 1], ["2.0e-1", 1]].map(([le, count]) =>
    [Number(le), Number(count)] as const
  ),
  [Infinity, 4],
];
const FALLING: Buckets = [[0.1, 20], [1, 10], [10, 50], [100, 40], [1000, 90], [Infinity, 80]];
const EMPTY: Buckets = [[0.1, 0], [0.2, 0], [Infinity, 0]];

const PROMETHEUS_FACTS: readonly (readonly [string, Buckets, (readonly [number, number])[]])[] = [
  ["first bucket positive", POSITIVE, [[0, 0], [0.2, 0.048], [0.5, 0.15], [0.8, 0.72], [1, 1]]],
  ["first bucket negative", NEGATIVE, [[0, -0.2], [0.2, -0.2], [0.5, -0.15], [0.8, 0.3], [1, 0.3]]],
  ["middles of buckets", MIDDLES, [[1 / 6, 1], [0.5, 3], [5 / 6, 5]]],
  ["nothing beyond the last bound", FULL_POSITIVE, [
    ...[[0, 0], [0.25, 0.055], [0.5, 0.125], [0.75, 0.45], [1, 1]] as const,
  ]],
  ["nothing beyond it, negative", FULL_NEGATIVE, [
    ...[[0, -0.25], [0.25, -0.225], [0.5, -0.2], [0.75, -0.15], [1, -0.1]] as const,
  ]],
  ["job1, ins1", JOB1_INS1, [[0.3, 0.11], [0.5, 0.15]]],
  ["job1, ins2", JOB1_INS2, [[0.3, 0.09], [0.5, 0.1333333333333333]]],
  ["job2, ins1", JOB2_INS1, [[0.3, 0.06], [0.5, 0.1]]],
  ["job2, ins2", JOB2_INS2, [[0.3, 0.0675], [0.5, 0.1166666666666667]]],
  ["four spellings of two bounds", MIXED, [[0.5, 0.15], [0.75, 0.2], [1, 0.2]]],
  ["two spellings of +Inf alone", [[Infinity, 0], [Infinity, 0]], [[0.5, NaN], [1, NaN]]],
  ["counts that fall", FALLING, [[0.01, 0.0045], [0.5, 8.5], [0.99, 979.75]]],
  ["no observations", EMPTY, [[0.2, NaN]]],
];

for (const [name, buckets, facts] of PROMETHEUS_FACTS) {
  Deno.test(`computeQuantile() matches Prometheus: ${name}`, () => {
    for (const [q, expected] of facts) {
      const actual = evaluatePromQl(buckets, q);
      if (Number.isNaN(expected)) assertEquals(actual, NaN);
      else assertAlmostEquals(actual, expected, 1e-12);
    }
  });
}

// `sum(rate(…)) by (le)` and its variants in the same file.
const MERGED_FACTS: readonly (readonly [string, Buckets[], (readonly [number, number])[]])[] = [
  ["all", [JOB1_INS1, JOB1_INS2, JOB2_INS1, JOB2_INS2], [[0.3, 0.075], [0.5, 0.1277777777777778]]],
  ["ins1", [JOB1_INS1, JOB2_INS1], [[0.3, 0.075], [0.5, 0.1333333333333333]]],
  ["ins2", [JOB1_INS2, JOB2_INS2], [[0.3, 0.075], [0.5, 0.125]]],
  ["job1", [JOB1_INS1, JOB1_INS2], [[0.3, 0.1], [0.5, 0.14]]],
  ["job2", [JOB2_INS1, JOB2_INS2], [[0.3, 0.0642857142857143], [0.5, 0.1125]]],
];

Deno.test("addHistograms() matches Prometheus' sums by le", () => {
  for (const [name, parts, facts] of MERGED_FACTS) {
    const merged = addHistograms(parts.map((buckets) => createHistogram(buckets, NaN)));
    assert(merged !== null);
    for (const [q, expected] of facts) {
      assertAlmostEquals(computeQuantile(merged, q)?.interpolated ?? NaN, expected, 1e-12, name);
    }
  }
});

// Steps of the algorithm

Deno.test("computeQuantile() throws outside 0–1", () => {
  // PromQL returns -Inf, +Inf and NaN; here it is a programming error.
  const histogram = createHistogram(JOB1_INS1, NaN);
  for (const q of [-0.1, 1.01, NaN, Infinity]) {
    assertThrows(() => computeQuantile(histogram, q), RangeError, `"${q}"`);
  }
});

Deno.test("computeQuantile() needs +Inf as the highest bound", () => {
  assertEquals(computeQuantile(createHistogram([[1, 5], [2, 9]], 3), 0.5), null);
  assertEquals(computeQuantile(createHistogram([], NaN), 0.5), null);
});

Deno.test("computeQuantile() needs two buckets and an observation", () => {
  assertEquals(computeQuantile(createHistogram([[Infinity, 5]], 3), 0.5), null);
  assertEquals(computeQuantile(createHistogram(EMPTY, 0), 0), null);
  assertEquals(computeQuantile(createHistogram([[1, NaN], [Infinity, NaN]], 0), 0.5), null);
});

Deno.test("createHistogram() sorts numerically and adds counts of equal bounds", () => {
  const histogram = createHistogram([[Infinity, 4], [10, 3], [2, 1], [10, 2], [0.5, 0]], 7);
  assertEquals([...histogram.bounds], [0.5, 2, 10, Infinity]);
  assertEquals([...histogram.counts], [0, 1, 5, 4]);
  assertEquals(histogram.sum, 7);
});

Deno.test("computeQuantile() repairs falling counts and rounding differences", () => {
  // Repaired to 2, 2, 5, 5, 9, 9 of ten.
  assertEquals(computeQuantile(createHistogram(FALLING, NaN), 0.5)?.value, 8.5);
  // Relative differences below 1e-12 count as none, in both directions.
  const almost = createHistogram([[1, 1000], [2, 1000 + 1e-10], [3, 2000], [Infinity, 2000]], 0);
  assertEquals(computeQuantile(almost, 0.75)?.value, 2.5);
  const rising = createHistogram([[1, 1000], [2, 1000.001], [3, 2000], [Infinity, 2000]], 0);
  assertAlmostEquals(computeQuantile(rising, 1000.0005 / 2000)?.value ?? NaN, 1.5, 1e-6);
});

Deno.test("computeQuantile() does not change the histogram", () => {
  const histogram = createHistogram(FALLING, NaN);
  computeQuantile(histogram, 0.5);
  assertEquals([...histogram.counts], FALLING.map(([, count]) => count));
});

Deno.test("computeQuantile() returns the bound in the first and last bucket", () => {
  const histogram = createHistogram([[1, 50], [3, 90], [80, 95], [Infinity, 100]], NaN);
  assertEquals(computeQuantile(histogram, 0.25), { value: 1, bound: "<", interpolated: 0.5 });
  assertEquals(computeQuantile(histogram, 0.7), { value: 2, bound: "", interpolated: 2 });
  assertEquals(computeQuantile(histogram, 0.96), { value: 80, bound: ">", interpolated: 80 });
  // A value exactly at a bound belongs to the bucket below it.
  assertEquals(computeQuantile(histogram, 0.5)?.bound, "<");
  assertEquals(computeQuantile(histogram, 0.95)?.bound, "");
  assertEquals(computeQuantile(histogram, 0.95)?.value, 80);
});

Deno.test("computeQuantile() of 0 starts at 0 if the first bucket is empty", () => {
  const histogram = createHistogram([[1, 0], [2, 5], [Infinity, 5]], NaN);
  assertEquals(computeQuantile(histogram, 0), { value: 1, bound: "<", interpolated: 0 });
});

Deno.test("computeQuantile() does not interpolate in a first bucket below 0", () => {
  const histogram = createHistogram([[-3, 10], [-2, 12], [Infinity, 12]], NaN);
  assertEquals(computeQuantile(histogram, 0.5), { value: -3, bound: "<", interpolated: -3 });
});

Deno.test("countObservations() is the count of the last bucket", () => {
  assertEquals(countObservations(createHistogram(POSITIVE, 1)), 120);
  assertEquals(countObservations(createHistogram([], 1)), 0);
});

Deno.test("haveSameBounds() compares every bound", () => {
  const of = (...bounds: number[]): Histogram =>
    createHistogram(bounds.map((bound) => [bound, 1] as const), 0);
  assert(haveSameBounds(of(1, 2, Infinity), of(1, 2, Infinity)));
  assert(!haveSameBounds(of(1, 2, Infinity), of(1, 3, Infinity)));
  assert(!haveSameBounds(of(1, 2, Infinity), of(1, 2)));
  assert(!haveSameBounds(of(1, 2), of(1, 2, Infinity)));
});

Deno.test("addHistograms() returns null for different bounds and for no histogram", () => {
  const a = createHistogram([[1, 1], [Infinity, 2]], 3);
  const b = createHistogram([[2, 1], [Infinity, 2]], 3);
  assertEquals(addHistograms([a, b]), null);
  assertEquals(addHistograms([a, a, b]), null);
  assertEquals(addHistograms([]), null);
});

Deno.test("subtractHistogram() distinguishes a reset from different bounds", () => {
  const earlier = createHistogram([[1, 5], [2, 7], [Infinity, 9]], 12);
  const later = createHistogram([[1, 6], [2, 9], [Infinity, 9]], 14.5);
  const delta = subtractHistogram(later, earlier);
  assert(typeof delta !== "string");
  assertEquals([...delta.counts], [1, 2, 0]);
  assertEquals(delta.sum, 2.5);
  assertEquals(subtractHistogram(earlier, later), "restarted");
  // One falling bucket is enough, even if the total rose.
  const oneFell = createHistogram([[1, 4], [2, 9], [Infinity, 20]], 40);
  assertEquals(subtractHistogram(oneFell, earlier), "restarted");
  const others = createHistogram([[1, 6], [Infinity, 9]], 14);
  assertEquals(subtractHistogram(others, earlier), "bounds_differ");
});

// Properties

const BOUNDS = [0.001, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 1, 2.5, 5, 10, 80];

/** vLLM-like buckets: ascending bounds above 0, cumulative counts. */
const histogram: fc.Arbitrary<Histogram> = fc.record({
  size: fc.integer({ min: 1, max: BOUNDS.length }),
  increments: fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 1e6 })), {
    minLength: BOUNDS.length + 1,
    maxLength: BOUNDS.length + 1,
  }),
  sum: fc.integer({ min: 0, max: 1e6 }),
}).map(({ size, increments, sum }) => {
  let count = 0;
  const bounds = [...BOUNDS.slice(0, size), Infinity];
  return createHistogram(bounds.map((bound, i) => [bound, count += increments[i]] as const), sum);
});

/** Several histograms with the same bounds. */
const histograms = (count: number): fc.Arbitrary<Histogram[]> =>
  fc.array(histogram, { minLength: count, maxLength: count }).map((all) =>
    all.map((one) =>
      createHistogram(
        [...all[0].bounds].map((bound, i) =>
          [bound, one.counts[Math.min(i, one.counts.length - 1)]] as const
        ),
        one.sum,
      )
    )
  );

const quantile = fc.oneof(
  fc.double({ min: 0, max: 1, noNaN: true }),
  fc.constantFrom(0, 0.5, 0.95, 0.99, 1),
);

Deno.test("computeQuantile() rises with q", () => {
  fc.assert(
    fc.property(histogram, quantile, quantile, (of, p, q) => {
      const low = computeQuantile(of, Math.min(p, q));
      const high = computeQuantile(of, Math.max(p, q));
      if (low === null || high === null) return assertEquals(low, high);
      assert(low.interpolated <= high.interpolated, `${low.interpolated} > ${high.interpolated}`);
      assert(low.value <= high.value, `${low.value} > ${high.value}`);
    }),
    { numRuns: 2000 },
  );
});

/** Index of the bucket that holds this rank. */
function findBucket({ counts }: Histogram, rank: number): number {
  const found = [...counts].findIndex((count) => count >= rank);
  return found < 0 ? counts.length - 1 : found;
}

Deno.test("computeQuantile() returns a bound in the first and last bucket, else a value within the bucket", () => {
  fc.assert(
    fc.property(histogram, quantile, (of, q) => {
      const found = computeQuantile(of, q);
      const total = countObservations(of);
      if (found === null) return assertEquals(total, 0);
      const bucket = findBucket(of, q * total);
      const last = of.bounds.length - 1;
      const expected: Bound = bucket === last ? ">" : bucket === 0 ? "<" : "";
      assertEquals(found.bound, expected);
      const lower = bucket === 0 ? 0 : of.bounds[bucket - 1];
      const upper = bucket === last ? lower : of.bounds[bucket];
      assert(found.interpolated >= lower && found.interpolated <= upper * (1 + 1e-15));
      if (expected === "") assertEquals(found.value, found.interpolated);
      if (expected === "<") assertEquals(found.value, of.bounds[0]);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("addHistograms() is commutative and associative", () => {
  fc.assert(fc.property(histograms(3), ([a, b, c]) => {
    const all = addHistograms([a, b, c]);
    assert(all !== null);
    assertEquals(addHistograms([c, a, b]), all);
    const first = addHistograms([a, b]);
    assert(first !== null);
    assertEquals(addHistograms([first, c]), all);
    assertEquals(addHistograms([a]), a);
  }));
});

Deno.test("subtractHistogram() undoes addHistograms()", () => {
  fc.assert(fc.property(histograms(2), ([a, b]) => {
    const both = addHistograms([a, b]);
    assert(both !== null);
    assertEquals(subtractHistogram(both, b), a);
  }));
});

Deno.test("computeQuantile() does not change if all counts double", () => {
  fc.assert(fc.property(histogram, quantile, (of, q) => {
    const twice = addHistograms([of, of]);
    assert(twice !== null);
    assertEquals(computeQuantile(twice, q)?.bound, computeQuantile(of, q)?.bound);
    const one = computeQuantile(of, q)?.value ?? NaN;
    assertAlmostEquals(computeQuantile(twice, q)?.value ?? NaN, one, Math.abs(one) * 1e-12);
  }));
});

/** Cumulative counts of samples in buckets that end with `+Inf`. */
function fillBuckets(bounds: readonly number[], samples: readonly number[]): Histogram {
  const buckets = [...bounds, Infinity]
    .map((bound) => [bound, samples.filter((sample) => sample <= bound).length] as const);
  return createHistogram(buckets, samples.reduce((sum, sample) => sum + sample, 0));
}

Deno.test("countWithin() is exact at the bound of a bucket, else counts its bucket or not", () => {
  const histogram = createHistogram([[0.1, 50], [0.2, 70], [1, 110], [Infinity, 120]], NaN);
  assertEquals(countWithin(histogram, 0.2), { least: 70, most: 70, total: 120 });
  assertEquals(countWithin(histogram, 0.3), { least: 70, most: 110, total: 120 });
  assertEquals(countWithin(histogram, 0.05), { least: 0, most: 50, total: 120 });
  // Beyond the last bound, nothing is known of those above it.
  assertEquals(countWithin(histogram, 1), { least: 110, most: 110, total: 120 });
  assertEquals(countWithin(histogram, 2), { least: 110, most: 120, total: 120 });
});

Deno.test("countWithin() gives nothing without a last bucket, and repairs counts that fall", () => {
  assertEquals(countWithin(createHistogram([[1, 5]], NaN), 1), null);
  assertEquals(countWithin(createHistogram([], NaN), 1), null);
  assertEquals(countWithin(createHistogram([[1, 5], [Infinity, NaN]], NaN), 1), null);
  const falling = createHistogram([[1, 5], [2, 4], [Infinity, 3]], NaN);
  assertEquals(countWithin(falling, 2), { least: 5, most: 5, total: 5 });
});

Deno.test("countWithin() holds the true count, however samples and limits lie to the bounds", () => {
  const value = fc.integer({ min: 1, max: 12 });
  const bounds = fc.uniqueArray(value, { minLength: 1, maxLength: 6 });
  fc.assert(fc.property(bounds, fc.array(value, { maxLength: 30 }), value, (given, samples, at) => {
    const sorted = given.toSorted((a, b) => a - b);
    const counts = countWithin(fillBuckets(sorted, samples), at);
    assert(counts !== null);
    const truth = samples.filter((sample) => sample <= at).length;
    assert(counts.least <= truth && truth <= counts.most && counts.most <= samples.length);
    assertEquals(counts.total, samples.length);
    if (sorted.includes(at)) assertEquals(counts.least, counts.most);
    // As wide as the bucket around the limit, and no wider.
    const [below, above] = [
      Math.max(0, ...sorted.filter((bound) => bound <= at)),
      Math.min(Infinity, ...sorted.filter((bound) => bound > at)),
    ];
    const inBucket = samples.filter((sample) => sample > below && sample <= above).length;
    if (!sorted.includes(at)) assertEquals(counts.most - counts.least, inBucket);
  }));
});
