/**
 * A model group and one of its latencies -> the replicas that are slow.
 *
 * Seconds. The last minute is cut into blocks of time, the same
 * for all replicas; in each block a replica is compared with the median of the
 * others, and the differences of the blocks must be so large and so much alike
 * that chance has no part in them (one-sided t-test). That suits what is
 * measured: requests of one burst or batch are slow together, so single
 * observations are not independent and a test of them sees slowness
 * everywhere; blocks of several seconds are.
 *
 * Two figures are compared. The mean is exact, from the histogram's sum, and
 * tells replicas apart that fall into the same bucket: vLLM's bucket from 10 to
 * 25 ms holds all of what most models need for a token. The P95 finds a tail
 * that a mean hides. Of it only the bucket is known: between 24 and 26 ms,
 * interpolation makes a difference of two times. So the ratio is that of the
 * bounds, the least that it can be, and the test is of the share of
 * observations above the others' bucket. Means are compared over several spans:
 * a short one names a replica sooner, a long one with less traffic.
 *
 * @module
 */

import { computeQuantile, countObservations, type Histogram } from "./histogram.ts";
import type { LatencyKey } from "./model.ts";
import { isPresent } from "./reading.ts";
import { ALPHA, MIN_SAMPLES, SKEW_RATIO } from "./rules_table.ts";
import {
  countPacked,
  countPackedUpTo,
  type PackedSample,
  type SamplePoint,
  sumPacked,
} from "./stats_samples.ts";
import { computeMedian, computeStudentTail } from "./stats_significance.ts";
import { LONG_WINDOW, type ReplicaSample } from "./stats_window.ts";
import type { Seconds } from "./units.ts";

/** A block is at least so long: shorter ones of a busy replica are not independent. */
const MIN_BLOCK: Seconds = 5;

/** Spans over which replicas are compared, the longest first. */
const SPANS: readonly Seconds[] = [LONG_WINDOW, 45, LONG_WINDOW / 2];

/** Blocks that a comparison needs. */
const MIN_BLOCKS = 4;

/** Spread of the differences that is taken to be there at the least: of logarithms of means, and of shares. */
const MIN_LOG_SPREAD = 0.05;
const MIN_SHARE_SPREAD = 0.02;

/** How one replica is slow. */
export interface LatencyOutlier {
  /** Its place in the group. */
  readonly index: number;
  readonly statistic: "mean" | "p95";
  readonly value: Seconds;
  readonly baseline: Seconds;
  /** value ÷ baseline; of P95s the least that it can be. */
  readonly ratio: number;
  /** Its observations in the span. */
  readonly samples: number;
  readonly span: Seconds;
  /** How probable this is at most where all are alike. */
  readonly probability: number;
}

/** What a comparison found. */
export interface LatencyCheck {
  /** Replicas that had enough observations to be compared. */
  readonly compared: number;
  /** Slow ones; of each the figure that differs most. */
  readonly slow: readonly LatencyOutlier[];
}

/** What one replica said at each boundary of the blocks, oldest first; the same twice where nothing came between. */
type Boundaries = readonly (PackedSample | undefined)[];

/** What was observed between two boundaries, or over several blocks. */
interface Observed {
  readonly count: number;
  readonly sum: number;
}

const NOTHING: Observed = { count: 0, sum: 0 };

/** Mean distance of the samples of the replica that was asked least often. */
function findLongestInterval(replicas: readonly ReplicaSample[]): Seconds {
  let longest = 0;
  for (const { trace } of replicas) {
    const span = trace[trace.length - 1].at - trace[0].at;
    if (trace.length > 1) longest = Math.max(longest, span / (trace.length - 1));
  }
  return longest;
}

/** What was said of the latency at the instants `at − i · length`, the newest not after each. */
function findBoundaries(
  trace: readonly SamplePoint[],
  key: LatencyKey,
  grid: { readonly at: Seconds; readonly length: Seconds; readonly blocks: number },
): Boundaries {
  const boundaries: (PackedSample | undefined)[] = [];
  let next = 0;
  for (let i = grid.blocks; i >= 0; i--) {
    const instant = grid.at - i * grid.length;
    while (next < trace.length && trace[next].at <= instant) next++;
    const packed = next === 0 ? undefined : trace[next - 1].packed;
    boundaries.push(packed?.form.latencies[key] === undefined ? undefined : packed);
  }
  return boundaries;
}

/** What was observed of the latency between two boundaries. */
function subtract(
  later: PackedSample | undefined,
  earlier: PackedSample | undefined,
  key: LatencyKey,
): Observed {
  if (later === undefined || earlier === undefined) return NOTHING;
  const count = countPacked(later, key) - countPacked(earlier, key);
  const sum = sumPacked(later, key) - sumPacked(earlier, key);
  return count > 0 && sum >= 0 ? { count, sum } : NOTHING;
}

/** The median of the others, for each place. NaN where there is no other. */
export function computeMediansOfOthers(values: readonly number[]): readonly number[] {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const median = computeMedian(sorted);
  const others = sorted.length - 1;
  return values.map((own) => {
    if (Number.isNaN(own)) return median;
    if (others === 0) return NaN;
    // Without one's own, what does not stand before it moves up a place. Of equal ones any may go.
    const read = (i: number): number => sorted[sorted[i] < own ? i : i + 1];
    return (read((others - 1) >> 1) + read(others >> 1)) / 2;
  });
}

/** How probable it is that differences of this size come from replicas that are alike. */
function testDifferences(differences: readonly number[], smallestSpread: number): number {
  const known = differences.filter(Number.isFinite);
  const { length } = known;
  if (length < MIN_BLOCKS) return 1;
  const mean = known.reduce((sum, value) => sum + value, 0) / length;
  const squares = known.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const spread = Math.max(smallestSpread, Math.sqrt(squares / (length - 1)));
  return computeStudentTail(mean * Math.sqrt(length) / spread, length - 1);
}

/** What all comparisons of one group and latency are made of. */
interface Comparison {
  readonly key: LatencyKey;
  readonly boundaries: readonly Boundaries[];
  /** Blocks that the span has, counted from the newest. */
  readonly blocks: number;
  readonly span: Seconds;
}

/** Of each replica, what it observed in the whole span. */
function observeSpan({ key, boundaries, blocks }: Comparison): readonly Observed[] {
  return boundaries.map((known) => {
    const last = known.length - 1;
    // One that was not watched for the whole span is compared over what there is.
    let first = last - blocks;
    while (first < last && known[first] === undefined) first++;
    return subtract(known[last], known[first], key);
  });
}

/** For each replica, its figure in each block less the median of the others'. */
function compareBlocks(
  { key, boundaries, blocks }: Comparison,
  measure: (later: PackedSample, earlier: PackedSample, observed: Observed) => number,
): readonly (readonly number[])[] {
  const differences: number[][] = boundaries.map(() => []);
  const last = boundaries[0].length - 1;
  for (let block = last - blocks; block < last; block++) {
    const values = boundaries.map((known) => {
      const later = known[block + 1];
      const earlier = known[block];
      if (later === undefined || earlier === undefined) return NaN;
      const observed = subtract(later, earlier, key);
      return observed.count === 0 ? NaN : measure(later, earlier, observed);
    });
    const others = computeMediansOfOthers(values);
    values.forEach((value, i) => differences[i].push(value - others[i]));
  }
  return differences;
}

function compareMeans(comparison: Comparison): readonly LatencyOutlier[] {
  const observed = observeSpan(comparison);
  const means = observed.map(({ count, sum }) => count === 0 ? NaN : sum / count);
  const baselines = computeMediansOfOthers(means);
  const all = observed.reduce((sum, { count }) => sum + count, 0);
  /** Whether both sides have enough observations. */
  const hasEnough = (own: number): boolean => own >= MIN_SAMPLES && all - own >= MIN_SAMPLES;
  const suspects = means.flatMap((mean, index) =>
    mean > SKEW_RATIO * baselines[index] && hasEnough(observed[index].count) ? [index] : []
  );
  if (suspects.length === 0) return [];
  const differences = compareBlocks(
    comparison,
    (_later, _earlier, { count, sum }) => Math.log(sum / count),
  );
  return suspects.map((index) => ({
    index,
    statistic: "mean",
    value: means[index],
    baseline: baselines[index],
    ratio: means[index] / baselines[index],
    samples: observed[index].count,
    span: comparison.span,
    probability: testDifferences(differences[index], MIN_LOG_SPREAD),
  }));
}

/** The first bucket whose bound is the value or above. */
function findBucket({ bounds }: Histogram, value: number): number {
  const found = bounds.findIndex((bound) => value <= bound);
  return found < 0 ? bounds.length - 1 : found;
}

/** For each replica, its share of observations above the bucket in each block, less the median of the others'. */
function compareShares(comparison: Comparison, bucket: number): readonly (readonly number[])[] {
  const { key } = comparison;
  return compareBlocks(comparison, (later, earlier, { count }) => {
    const below = countPackedUpTo(later, key, bucket) - countPackedUpTo(earlier, key, bucket);
    return 1 - below / count;
  });
}

function compareTails(
  replicas: readonly ReplicaSample[],
  comparison: Comparison,
): readonly LatencyOutlier[] {
  const { key } = comparison;
  const histograms = replicas.map(({ lastMinute }) => {
    const histogram = isPresent(lastMinute) ? lastMinute.value.latencies[key].value : null;
    const hasMany = histogram !== null && countObservations(histogram) >= MIN_SAMPLES;
    return hasMany ? histogram : null;
  });
  const quantiles = histograms.map((histogram) =>
    histogram === null ? NaN : computeQuantile(histogram, 0.95)?.value ?? NaN
  );
  const baselines = computeMediansOfOthers(quantiles);
  // The others of one replica are nearly those of the next, and so is their bucket.
  const sharesAbove = new Map<number, ReturnType<typeof compareShares>>();
  return quantiles.flatMap((value, index): LatencyOutlier[] => {
    const histogram = histograms[index];
    const baseline = baselines[index];
    if (histogram === null || !(value > SKEW_RATIO * baseline)) return [];
    const bucket = findBucket(histogram, baseline);
    // In the last bucket a P95 is given as the lower bound already.
    const lowest = histogram.bounds[findBucket(histogram, value) - 1];
    const ratio = lowest / histogram.bounds[bucket];
    if (!(ratio > SKEW_RATIO)) return [];
    const shares = sharesAbove.get(bucket) ?? compareShares(comparison, bucket);
    sharesAbove.set(bucket, shares);
    return [{
      index,
      statistic: "p95",
      value,
      baseline,
      ratio,
      samples: countObservations(histogram),
      span: comparison.span,
      probability: testDifferences(shares[index], MIN_SHARE_SPREAD),
    }];
  });
}

/**
 * The replicas whose latency is higher than the others', beyond chance. Judged
 * at the instant of the newest sample of any of them.
 *
 * @param replicas Of one group, with the same bounds.
 */
export function findLatencyOutliers(
  replicas: readonly ReplicaSample[],
  key: LatencyKey,
): LatencyCheck {
  const length = Math.max(MIN_BLOCK, findLongestInterval(replicas));
  const at = Math.max(...replicas.map(({ trace }) => trace[trace.length - 1].at));
  const all = Math.floor(LONG_WINDOW / length);
  const boundaries = replicas.map(({ trace }) =>
    findBoundaries(trace, key, { at, length, blocks: all })
  );
  const found = SPANS.flatMap((span): readonly LatencyOutlier[] => {
    const blocks = Math.floor(span / length);
    if (blocks < MIN_BLOCKS) return [];
    const comparison = { key, boundaries, blocks, span };
    const tails = span === LONG_WINDOW ? compareTails(replicas, comparison) : [];
    return [...compareMeans(comparison), ...tails];
  });
  const slow = new Map<number, LatencyOutlier>();
  // Each figure of each span is a chance of its own to be wrong.
  const limit = ALPHA / (SPANS.length + 1);
  for (const candidate of found) {
    const known = slow.get(candidate.index);
    const isBetter = known === undefined || candidate.ratio > known.ratio;
    if (candidate.probability < limit && isBetter) slow.set(candidate.index, candidate);
  }
  const longest = observeSpan({ key, boundaries, blocks: all, span: LONG_WINDOW });
  const compared = longest.filter(({ count }) => count >= MIN_SAMPLES).length;
  return { compared, slow: [...slow.values()] };
}
