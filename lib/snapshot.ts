/**
 * One scrape as typed metrics, differences of two, and quantiles: the library
 * for other programs, `@vllm-htop/vllm-htop/snapshot`.
 *
 * Layer 2, pure. Gives from outside, of any server that exports vLLM's metrics,
 * what vLLM's own `get_metrics_snapshot` gives inside its process, and what one
 * does with it: differences over a span, rates, quantiles. Reading is
 * `snapshot_reader`'s part. The program itself reads with `vllm_metrics`, which
 * merges what belongs to one engine and keeps only what it shows; this keeps
 * every series. Fetching is the caller's. Values are in the metric's own unit,
 * spans in seconds.
 *
 * @example What happened on a server in the last ten seconds
 * ```ts
 * import {
 *   computeQuantile,
 *   computeRate,
 *   findMetrics,
 *   readSnapshot,
 *   type Snapshot,
 *   subtractSnapshots,
 * } from "@vllm-htop/vllm-htop/snapshot";
 *
 * async function scrape(url: string): Promise<Snapshot> {
 *   const response = await fetch(url);
 *   const body = await response.bytes();
 *   return readSnapshot(body, { at: performance.now() / 1000 });
 * }
 *
 * async function watch(url: string): Promise<void> {
 *   const earlier = await scrape(url);
 *   await new Promise((resolve) => setTimeout(resolve, 10_000));
 *   const window = subtractSnapshots(await scrape(url), earlier);
 *   if (window.kind === "restarted") return;
 *   console.log(computeRate(window, "vllm:generation_tokens"), "tokens per second");
 *   const ttft = findMetrics(window, "vllm:time_to_first_token_seconds");
 *   console.log(computeQuantile(ttft, 0.95)); // of all engines, e.g. { value: 0.21, bound: "", … }
 * }
 * ```
 *
 * @module
 */

import {
  addHistograms,
  type Bound,
  computeQuantile as computeBucketQuantile,
  createHistogram,
  type Histogram as Buckets,
  type Quantile,
} from "./histogram.ts";
import {
  dropTotal,
  findPrefix,
  type Histogram,
  identify,
  type Metric,
  type Snapshot,
} from "./snapshot_reader.ts";
import { isSameStart } from "./units.ts";
import { KNOWN_PREFIXES, METRIC_ROWS } from "./vllm_names.ts";

export type { BadLine } from "./model.ts";
export {
  type Counter,
  type Gauge,
  type Histogram,
  type Labels,
  type Metric,
  readSnapshot,
  type Series,
  type Snapshot,
  type Vector,
} from "./snapshot_reader.ts";
export type { Bound, Quantile };

/** What happened between two snapshots. */
export interface Window {
  /** Tells it from `Restarted`. */
  readonly kind: "window";
  /** Seconds between the two receipts; more than 0. */
  readonly spanSeconds: number;
  /** Those of the later snapshot, as increases. */
  readonly metrics: readonly Metric[];
  /** The prefix that the later snapshot was read with; `null` where none was given. */
  readonly prefix: string | null;
}

/** The counters began anew between two snapshots: what happened cannot be told. */
export interface Restarted {
  /** Tells it from `Window`. */
  readonly kind: "restarted";
}

/** Names of one figure, without `_total`, newest first. */
const ALIASES: readonly (readonly string[])[] = METRIC_ROWS
  .filter((row) => row.names.length > 1)
  .map((row) => row.names.map(dropTotal));

function subtractBuckets(later: Histogram, earlier: Histogram): Histogram | null {
  const sameBounds = later.buckets.size === earlier.buckets.size &&
    [...later.buckets.keys()].every((bound) => earlier.buckets.has(bound));
  if (!sameBounds) return null;
  const buckets = new Map<number, number>();
  for (const [bound, count] of later.buckets) {
    const increase = count - (earlier.buckets.get(bound) ?? 0);
    if (!(increase >= 0)) return null;
    buckets.set(bound, increase);
  }
  const { kind, name, labels } = later;
  const [count, sum] = [later.count - earlier.count, later.sum - earlier.sum];
  return { kind, name, labels, count, sum, buckets };
}

/** What a metric did; `null` where it fell. One that was not there before counts from 0. */
function subtractMetric(later: Metric, earlier: Metric | undefined): Metric | null {
  if (later.kind === "gauge" || earlier === undefined) return later;
  if (later.kind === "counter" && earlier.kind === "counter") {
    const value = later.value - earlier.value;
    return value >= 0 ? { ...later, value } : null;
  }
  if (later.kind === "histogram" && earlier.kind === "histogram") {
    return subtractBuckets(later, earlier);
  }
  if (later.kind === "vector" && earlier.kind === "vector") {
    const values = later.values.map((value, i) => value - (earlier.values[i] ?? 0));
    return values.every((value) => value >= 0) ? { ...later, values } : null;
  }
  return null;
}

/**
 * What happened between two snapshots of one server: increases of its counters
 * and vectors, the observations of its histograms, and its later gauges.
 *
 * `restarted` when any of them fell, when a histogram has other buckets, or
 * when the process has another start time: then no increase is known, and an
 * invented one would be a spike. A series that is new counts from 0: vLLM
 * exports some only once something was counted.
 *
 * @throws {RangeError} If `later` is not later.
 */
export function subtractSnapshots(later: Snapshot, earlier: Snapshot): Window | Restarted {
  const spanSeconds = later.at - earlier.at;
  if (!(spanSeconds > 0)) {
    throw new RangeError(`Cannot subtract snapshots: ${later.at} is not after ${earlier.at}`);
  }
  const isOtherProcess = later.processStart !== null && earlier.processStart !== null &&
    !isSameStart(later.processStart, earlier.processStart);
  if (isOtherProcess) return { kind: "restarted" };
  const before = new Map(earlier.metrics.map((metric) => [identify(metric), metric]));
  const metrics: Metric[] = [];
  for (const metric of later.metrics) {
    const increase = subtractMetric(metric, before.get(identify(metric)));
    if (increase === null) return { kind: "restarted" };
    metrics.push(increase);
  }
  return { kind: "window", spanSeconds, metrics, prefix: later.prefix };
}

/** The names under which a figure may stand, the one that was asked for first. */
function listNames(name: string, given: string | null): readonly string[] {
  const prefix = findPrefix(name, given === null ? KNOWN_PREFIXES : [given]) ?? "";
  const bare = dropTotal(name.slice(prefix.length));
  const others = ALIASES.find((names) => names.includes(bare)) ?? [];
  // As typed first: one histogram of vLLM's ends in `_total`.
  return [name, ...[bare, ...others].map((other) => prefix + other)];
}

/**
 * The metrics of a name that have all of the labels.
 *
 * The name is the exported one, with or without `_total`. Where nothing has it,
 * the other names count that vLLM's versions have given the figure, newest
 * first: `vllm:inter_token_latency_seconds` is found on servers that call it
 * `vllm:time_per_output_token_seconds`, with whatever prefix the source was read.
 *
 * @returns In the order of the exposition; empty where there is none.
 */
export function findMetrics(
  source: Pick<Snapshot, "metrics"> & Partial<Pick<Snapshot, "prefix">>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): readonly Metric[] {
  const wanted = Object.entries(labels);
  for (const one of listNames(name, source.prefix ?? null)) {
    const named = source.metrics.filter((metric) => metric.name === one);
    if (named.length === 0) continue;
    return named.filter((metric) =>
      wanted.every(([label, value]) => metric.labels.get(label) === value)
    );
  }
  return [];
}

/**
 * Increase per second of a counter, or of a histogram's number of observations,
 * summed over all series with the labels: `null` where there is none. Divides by
 * the window's measured span, without extrapolation.
 */
export function computeRate(
  window: Window,
  name: string,
  labels?: Readonly<Record<string, string>>,
): number | null {
  let sum: number | null = null;
  for (const metric of findMetrics(window, name, labels)) {
    if (metric.kind === "counter") sum = (sum ?? 0) + metric.value;
    else if (metric.kind === "histogram") sum = (sum ?? 0) + metric.count;
  }
  return sum === null ? null : sum / window.spanSeconds;
}

/** The observations of all histograms among the metrics; `null` for none, or where bounds differ. */
function mergeHistograms(metrics: readonly Metric[]): Buckets | null {
  const histograms = metrics.filter((metric) => metric.kind === "histogram");
  return addHistograms(
    histograms.map(({ buckets, sum }) => createHistogram([...buckets], sum)),
  );
}

/**
 * The `q`-quantile of the observations of all histograms among the metrics, as
 * PromQL's `histogram_quantile` computes it of their sum: buckets are merged,
 * quantiles never averaged. In the first and the last bucket only a bound is
 * known, and `bound` says so. `null` where nothing was observed, and where the
 * histograms' bounds differ.
 *
 * @throws {RangeError} If `q` is not between 0 and 1.
 */
export function computeQuantile(metrics: readonly Metric[], q: number): Quantile | null {
  const merged = mergeHistograms(metrics);
  return merged === null ? null : computeBucketQuantile(merged, q);
}

/** The mean of all observations in the histograms among the metrics; `null` as for `computeQuantile`. */
export function computeMean(metrics: readonly Metric[]): number | null {
  const merged = mergeHistograms(metrics);
  if (merged === null) return null;
  const mean = merged.sum / merged.counts[merged.counts.length - 1];
  return Number.isFinite(mean) ? mean : null;
}
