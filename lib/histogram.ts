/**
 * Cumulative Prometheus histograms. Quantiles follow `histogram_quantile` step by step (Prometheus
 * 3.x, promql/quantile.go). Buckets are merged, quantiles never averaged: the mean of two P95s is
 * not the P95 of both.
 * @module
 */

/** A cumulative histogram. */
export interface Histogram {
  /** Upper bounds, ascending, in the metric's unit; a valid histogram ends with `Infinity`. */
  readonly bounds: Float64Array;
  /** Observations at or below each bound. */
  readonly counts: Float64Array;
  /** Sum of all observations, in the metric's unit; `NaN` if not exported. */
  readonly sum: number;
}

/**
 * Where the true quantile lies: below `value` (first bucket), above (last bucket), or interpolated
 * (empty).
 */
export type Bound = "" | "<" | ">";

/** A quantile of a histogram. */
export interface Quantile {
  /** Interpolated, or the known bound. */
  readonly value: number;
  /** Side of `value` on which the quantile lies. */
  readonly bound: Bound;
  /** The result of `histogram_quantile`, which interpolates from 0 in the first bucket. */
  readonly interpolated: number;
}

/** Counts this close are equal but for rounding (quantile.go, smallDeltaTolerance). */
const SMALL_DELTA_TOLERANCE = 1e-12;

/** Number of observations; 0 without buckets. */
export function countObservations(histogram: Histogram): number {
  return histogram.counts.length === 0 ? 0 : histogram.counts[histogram.counts.length - 1];
}

/** False if a count is NaN or infinite. */
export function hasNumbers({ counts }: Histogram): boolean {
  for (let i = 0; i < counts.length; i++) if (!Number.isFinite(counts[i])) return false;
  return true;
}

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

/** Sorted unique bounds. */
export interface BucketOrder {
  readonly bounds: Float64Array;
  /** Index in `bounds` of each given bound. */
  readonly slots: Int32Array;
}

export function orderBuckets(given: readonly number[]): BucketOrder {
  const isOrdered = given.every((bound, i) => i === 0 || bound > given[i - 1]);
  const bounds = isOrdered ? given : [...new Set(given)].sort((a, b) => a - b);
  const slots = isOrdered ? given.map((_, i) => i) : given.map((bound) => bounds.indexOf(bound));
  return { bounds: new Float64Array(bounds), slots: new Int32Array(slots) };
}

/**
 * Takes buckets in any order and adds counts of equal bounds (`le="0.1"`, `le="1e-1"`), as
 * `histogram_quantile` does.
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

/** Merges histograms; `null` if there are none or their bounds differ. */
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

/** Whether any count fell; false if the bounds differ. */
export function isBelow(later: Histogram, earlier: Histogram): boolean {
  if (!haveSameBounds(later, earlier)) return false;
  for (let i = 0; i < later.counts.length; i++) {
    if (later.counts[i] < earlier.counts[i]) return true;
  }
  return false;
}

/** Observations between two samples; `restarted` if any count fell. */
export function subtractHistogram(
  later: Histogram,
  earlier: Histogram,
): Histogram | "restarted" | "bounds_differ" {
  if (!haveSameBounds(later, earlier)) return "bounds_differ";
  if (isBelow(later, earlier)) return "restarted";
  const counts = new Float64Array(later.counts.length);
  for (let i = 0; i < counts.length; i++) counts[i] = later.counts[i] - earlier.counts[i];
  return { bounds: later.bounds, counts, sum: later.sum - earlier.sum };
}

/** Makes counts non-decreasing; the same array if they are. */
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

/** How many observations are within a limit: at least, at most, and of how many. */
export interface Within {
  readonly least: number;
  readonly most: number;
  readonly total: number;
}

/**
 * Counts observations of at most `limit`, in the metric's unit: exactly at the bound of a bucket,
 * else all or none of the bucket around it. `null` without a `+Inf` bucket or finite counts.
 */
export function countWithin(histogram: Histogram, limit: number): Within | null {
  const { bounds } = histogram;
  const last = bounds.length - 1;
  if (last < 0 || bounds[last] !== Infinity) return null;
  const counts = repairMonotonicity(histogram.counts);
  const total = counts[last];
  if (!Number.isFinite(total)) return null;
  const above = bounds.findIndex((bound) => bound > limit);
  const least = above === 0 ? 0 : counts[above - 1];
  const isExact = above > 0 && bounds[above - 1] === limit;
  return { least, most: isExact ? least : counts[above], total };
}

/**
 * Returns the lower bound of the bucket that holds the `q`-quantile: it is certainly as much. 0 in
 * the first bucket; `null` if there is no quantile.
 */
export function computeQuantileFloor(histogram: Histogram, q: number): number | null {
  const quantile = computeQuantile(histogram, q);
  if (quantile === null) return null;
  const { bounds } = histogram;
  if (quantile.bound !== "") return quantile.bound === ">" ? quantile.value : 0;
  return bounds[bounds.findIndex((bound) => quantile.value <= bound) - 1];
}

/**
 * Computes the `q`-quantile; `null` where PromQL returns NaN: no observations, fewer than two
 * buckets, or no `+Inf` bucket.
 * @throws {RangeError} If `q` is outside 0–1.
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
