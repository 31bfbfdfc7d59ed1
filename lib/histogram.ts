/**
 * Cumulative histograms: check, add, subtract, quantile.
 *
 * A histogram is what a Prometheus exposition says: for each
 * upper bound how many observations were at or below it, and their sum. The
 * algebra stands here once: windows subtract an earlier histogram from a later
 * one, groups add those of their members, and quantiles are taken last, from
 * the result. Quantiles follow `histogram_quantile` step by step (Prometheus
 * 3.x, promql/quantile.go, BucketQuantile), read 2026-11. Averaging quantiles
 * instead of merging buckets would be shorter and wrong: the mean of two P95s
 * is not the P95 of both.
 *
 * @module
 */

/** A cumulative histogram. */
export interface Histogram {
  /** Upper bounds, ascending, in the metric's base unit; the last is `Infinity` in a well-formed one. */
  readonly bounds: Float64Array;
  /** For each bound, the number of observations at or below it. Non-decreasing in a well-formed one. */
  readonly counts: Float64Array;
  /** The sum of all observations, in the metric's base unit. `NaN` where the exposition has none. */
  readonly sum: number;
}

/**
 * Which side of `Quantile.value` the true quantile lies on: `<` in the first
 * bucket (only its upper bound is known), `>` in the last (only its lower one),
 * `` where the value is an interpolation between two known bounds.
 */
export type Bound = "" | "<" | ">";

/** A quantile of a histogram. */
export interface Quantile {
  /** The interpolated value, or the bound that the quantile lies below or above. In the metric's base unit. */
  readonly value: number;
  /** Where the true quantile lies. */
  readonly bound: Bound;
  /** Exactly what PromQL's `histogram_quantile` returns for these buckets: in the first bucket, an interpolation from 0. */
  readonly interpolated: number;
}

/** Relative difference up to which two adjacent counts are the same but for rounding (quantile.go, smallDeltaTolerance). */
const SMALL_DELTA_TOLERANCE = 1e-12;

/** The number of observations: the count of the last bucket, 0 for a histogram without buckets. */
export function countObservations(histogram: Histogram): number {
  return histogram.counts.length === 0 ? 0 : histogram.counts[histogram.counts.length - 1];
}

/** Whether both have exactly the same upper bounds. */
export function haveSameBounds(
  a: Pick<Histogram, "bounds">,
  b: Pick<Histogram, "bounds">,
): boolean {
  if (a.bounds === b.bounds) return true;
  if (a.bounds.length !== b.bounds.length) return false;
  for (let i = 0; i < a.bounds.length; i++) {
    if (a.bounds[i] !== b.bounds[i]) return false;
  }
  return true;
}

/** Upper bounds in order, each once, and where the bucket of each bound that was given belongs. */
export interface BucketOrder {
  readonly bounds: Float64Array;
  /** For each bound as it was given, its index in `bounds`. */
  readonly slots: Int32Array;
}

/** The order of buckets whose upper bounds come in any order, the same bound more than once among them. */
export function orderBuckets(given: readonly number[]): BucketOrder {
  const isOrdered = given.every((bound, i) => i === 0 || bound > given[i - 1]);
  const bounds = isOrdered ? given : [...new Set(given)].sort((a, b) => a - b);
  const slots = isOrdered ? given.map((_, i) => i) : given.map((bound) => bounds.indexOf(bound));
  return { bounds: new Float64Array(bounds), slots: new Int32Array(slots) };
}

/**
 * A histogram of buckets in any order: sorted by bound, and buckets of the same
 * bound added up, as `histogram_quantile` does with `le="0.1"` and `le="1e-1"`.
 *
 * @param buckets Pairs of upper bound and cumulative count.
 */
export function createHistogram(
  buckets: readonly (readonly [number, number])[],
  sum: number,
): Histogram {
  const { bounds, slots } = orderBuckets(buckets.map(([bound]) => bound));
  const counts = new Float64Array(bounds.length);
  buckets.forEach(([, count], i) => counts[slots[i]] += count);
  return { bounds, counts, sum };
}

/**
 * The histogram of the observations of all. `null` when there are none or when
 * any two differ in bounds: such buckets say nothing about each other.
 */
export function addHistograms(histograms: readonly Histogram[]): Histogram | null {
  if (histograms.length === 0) return null;
  const [first] = histograms;
  if (histograms.length === 1) return first;
  const counts = new Float64Array(first.bounds.length);
  let sum = 0;
  for (const histogram of histograms) {
    if (!haveSameBounds(first, histogram)) return null;
    for (let i = 0; i < counts.length; i++) counts[i] += histogram.counts[i];
    sum += histogram.sum;
  }
  return { bounds: first.bounds, counts, sum };
}

/** Whether any bucket of `later` has fewer observations than in `earlier`. False where their bounds differ. */
export function isBelow(later: Histogram, earlier: Histogram): boolean {
  if (!haveSameBounds(later, earlier)) return false;
  for (let i = 0; i < later.counts.length; i++) {
    if (later.counts[i] < earlier.counts[i]) return true;
  }
  return false;
}

/**
 * What was observed after `earlier` and up to `later`, or why that cannot be
 * told: `restarted` when any bucket fell (the counters began anew, or a scrape
 * was torn), `bounds_differ` when the buckets are not the same.
 */
export function subtractHistogram(
  later: Histogram,
  earlier: Histogram,
): Histogram | "restarted" | "bounds_differ" {
  if (!haveSameBounds(later, earlier)) return "bounds_differ";
  if (isBelow(later, earlier)) return "restarted";
  const counts = later.counts.map((count, i) => count - earlier.counts[i]);
  return { bounds: later.bounds, counts, sum: later.sum - earlier.sum };
}

/** The counts made non-decreasing from left to right; the same array where they already are. */
function repairMonotonicity(counts: Float64Array): Float64Array {
  let repaired: Float64Array | null = null;
  let previous = counts[0];
  for (let i = 1; i < counts.length; i++) {
    const current = counts[i];
    if (current === previous) continue;
    const nearlySame = Math.abs(current - previous) <=
      SMALL_DELTA_TOLERANCE * Math.max(Math.abs(current), Math.abs(previous));
    if (nearlySame || current < previous) {
      repaired ??= counts.slice();
      repaired[i] = previous;
    } else {
      previous = current;
    }
  }
  return repaired ?? counts;
}

/**
 * The `q`-quantile, `0 <= q <= 1`, as PromQL's `histogram_quantile` computes it,
 * with the bound beside it. `null` where PromQL returns NaN: no observations,
 * fewer than two buckets, or no `+Inf` bucket.
 *
 * @throws {RangeError} If `q` is not between 0 and 1.
 */
export function computeQuantile(histogram: Histogram, q: number): Quantile | null {
  if (!(q >= 0 && q <= 1)) throw new RangeError(`Cannot compute the quantile "${q}": not in 0..1`);
  const { bounds } = histogram;
  const last = bounds.length - 1;
  if (last < 1 || bounds[last] !== Infinity) return null;
  const counts = repairMonotonicity(histogram.counts);
  const total = counts[last];
  if (!(total > 0)) return null;

  const rank = q * total;
  let bucket = 0;
  while (bucket < last && counts[bucket] < rank) bucket++;

  if (bucket === last) {
    const lowerBound = bounds[last - 1];
    return { value: lowerBound, bound: ">", interpolated: lowerBound };
  }
  const upper = bounds[bucket];
  if (bucket === 0 && upper <= 0) return { value: upper, bound: "<", interpolated: upper };
  const lower = bucket === 0 ? 0 : bounds[bucket - 1];
  const below = bucket === 0 ? 0 : counts[bucket - 1];
  const inBucket = counts[bucket] - below;
  const interpolated = inBucket === 0
    ? lower
    : lower + (upper - lower) * ((rank - below) / inBucket);
  return bucket === 0
    ? { value: upper, bound: "<", interpolated }
    : { value: interpolated, bound: "", interpolated };
}
