/**
 * Finds replicas with a higher latency than the rest of their group.
 *
 * The last minute is cut into blocks; a one-sided t-test over the blocks compares a replica with
 * the median of the others. Single observations are not independent (requests of one batch are
 * slow together), blocks of several seconds are.
 *
 * Means are exact and tell replicas apart within a bucket: vLLM's bucket from 10 to 25 ms holds
 * most token latencies. P95s find a slow tail. Only their bucket is known, so their ratio is the
 * least that the bounds allow, and the test is of the share of observations above the others'
 * bucket.
 * @module
 */

import { computeQuantile, countObservations, type Histogram } from "./histogram.ts";
import type { LatencyKey } from "./model.ts";
import { isPresent } from "./reading.ts";
import { ALPHA, type Rule } from "./rules_table.ts";
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

/** Shorter blocks of a busy replica are not independent. */
const MIN_BLOCK: Seconds = 5;
/** Longest first. Short spans find a slow replica sooner, long ones with less traffic. */
const SPANS: readonly Seconds[] = [LONG_WINDOW, 45, LONG_WINDOW / 2];
const MIN_BLOCKS = 4;
/** Minimum standard deviation of log means, and of shares. */
const MIN_LOG_SPREAD = 0.05;
const MIN_SHARE_SPREAD = 0.02;

export interface LatencyOutlier {
  /** Position in the group. */
  readonly index: number;
  readonly statistic: "mean" | "p95";
  readonly value: Seconds;
  readonly baseline: Seconds;
  /** For P95s the least that the buckets allow. */
  readonly ratio: number;
  readonly samples: number;
  readonly span: Seconds;
  /** Bound of the p-value. */
  readonly probability: number;
}

export interface LatencyCheck {
  /** Replicas with enough observations. */
  readonly compared: number;
  /** The largest outlier of each slow replica. */
  readonly slow: readonly LatencyOutlier[];
}

/** Samples at the block boundaries, oldest first. */
type Boundaries = readonly (PackedSample | undefined)[];

/** Observations between two boundaries. */
interface Observations {
  readonly count: number;
  readonly sum: number;
}

const NO_OBSERVATIONS: Observations = { count: 0, sum: 0 };

/** Returns the mean interval of the replica scraped least often. */
function findLongestInterval(replicas: readonly ReplicaSample[]): Seconds {
  let longest = 0;
  for (const { trace } of replicas) {
    const span = trace[trace.length - 1].at - trace[0].at;
    if (trace.length > 1) longest = Math.max(longest, span / (trace.length - 1));
  }
  return longest;
}

/** Returns the last sample at or before each instant `at − i · length`. */
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

function subtract(
  later: PackedSample | undefined,
  earlier: PackedSample | undefined,
  key: LatencyKey,
): Observations {
  if (later === undefined || earlier === undefined) return NO_OBSERVATIONS;
  const count = countPacked(later, key) - countPacked(earlier, key);
  const sum = sumPacked(later, key) - sumPacked(earlier, key);
  return count > 0 && sum >= 0 ? { count, sum } : NO_OBSERVATIONS;
}

/** Returns for each position the median of the other values; NaN if there is none. */
export function computeMediansOfOthers(values: readonly number[]): readonly number[] {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const median = computeMedian(sorted);
  const others = sorted.length - 1;
  return values.map((own) => {
    if (Number.isNaN(own)) return median;
    if (others === 0) return NaN;
    // Skips the own value, or an equal one.
    const read = (i: number): number => sorted[sorted[i] < own ? i : i + 1];
    return (read((others - 1) >> 1) + read(others >> 1)) / 2;
  });
}

function computePValue(differences: readonly number[], minSpread: number): number {
  const known = differences.filter(Number.isFinite);
  const { length } = known;
  if (length < MIN_BLOCKS) return 1;
  const mean = known.reduce((sum, value) => sum + value, 0) / length;
  const squares = known.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const spread = Math.max(minSpread, Math.sqrt(squares / (length - 1)));
  return computeStudentTail(mean * Math.sqrt(length) / spread, length - 1);
}

/** Threshold: factor over the median of the others. Samples: least on each side. */
type LatencyRule = Pick<Rule<"slow_prefill" | "slow_decode">, "threshold" | "samples">;

interface Comparison {
  readonly key: LatencyKey;
  readonly rule: LatencyRule;
  readonly boundaries: readonly Boundaries[];
  /** Counted back from the newest. */
  readonly blocks: number;
  readonly span: Seconds;
}

function observeSpan({ key, boundaries, blocks }: Comparison): readonly Observations[] {
  return boundaries.map((known) => {
    const last = known.length - 1;
    // A replica watched for less is compared over what there is.
    let first = last - blocks;
    while (first < last && known[first] === undefined) first++;
    return subtract(known[last], known[first], key);
  });
}

/** Returns per replica and block: its figure less the median of the others. */
function compareBlocks(
  { key, boundaries, blocks }: Comparison,
  measure: (later: PackedSample, earlier: PackedSample, observed: Observations) => number,
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
  const { threshold, samples } = comparison.rule;
  const observed = observeSpan(comparison);
  const means = observed.map(({ count, sum }) => count === 0 ? NaN : sum / count);
  const baselines = computeMediansOfOthers(means);
  const all = observed.reduce((sum, { count }) => sum + count, 0);
  const hasEnough = (own: number): boolean => own >= samples && all - own >= samples;
  const suspects = means.flatMap((mean, index) =>
    mean > threshold * baselines[index] && hasEnough(observed[index].count) ? [index] : []
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
    probability: computePValue(differences[index], MIN_LOG_SPREAD),
  }));
}

function findBucket({ bounds }: Histogram, value: number): number {
  const found = bounds.findIndex((bound) => value <= bound);
  return found < 0 ? bounds.length - 1 : found;
}

/** As `compareBlocks`: share of observations above the bucket. */
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
  const { key, rule } = comparison;
  const histograms = replicas.map(({ lastMinute }) => {
    const histogram = isPresent(lastMinute) ? lastMinute.value.latencies[key].value : null;
    const hasMany = histogram !== null && countObservations(histogram) >= rule.samples;
    return hasMany ? histogram : null;
  });
  const quantiles = histograms.map((histogram) =>
    histogram === null ? NaN : computeQuantile(histogram, 0.95)?.value ?? NaN
  );
  const baselines = computeMediansOfOthers(quantiles);
  // Replicas mostly share a bucket.
  const sharesAbove = new Map<number, ReturnType<typeof compareShares>>();
  return quantiles.flatMap((value, index): LatencyOutlier[] => {
    const histogram = histograms[index];
    const baseline = baselines[index];
    if (histogram === null || !(value > rule.threshold * baseline)) return [];
    const bucket = findBucket(histogram, baseline);
    // In the last bucket the P95 is the lower bound already.
    const lowest = histogram.bounds[findBucket(histogram, value) - 1];
    const ratio = lowest / histogram.bounds[bucket];
    if (!(ratio > rule.threshold)) return [];
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
      probability: computePValue(shares[index], MIN_SHARE_SPREAD),
    }];
  });
}

/**
 * Finds significant outliers as of the group's newest sample.
 * @param replicas One group with equal bucket bounds.
 */
export function findLatencyOutliers(
  replicas: readonly ReplicaSample[],
  key: LatencyKey,
  rule: LatencyRule,
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
    const comparison = { key, rule, boundaries, blocks, span };
    const tails = span === LONG_WINDOW ? compareTails(replicas, comparison) : [];
    return [...compareMeans(comparison), ...tails];
  });
  const slow = new Map<number, LatencyOutlier>();
  // Bonferroni: one test per span's mean, and the P95.
  const limit = ALPHA / (SPANS.length + 1);
  for (const candidate of found) {
    const known = slow.get(candidate.index);
    const isLarger = known === undefined || candidate.ratio > known.ratio;
    if (candidate.probability < limit && isLarger) slow.set(candidate.index, candidate);
  }
  const longest = observeSpan({ key, rule, boundaries, blocks: all, span: LONG_WINDOW });
  const compared = longest.filter(({ count }) => count >= rule.samples).length;
  return { compared, slow: [...slow.values()] };
}
