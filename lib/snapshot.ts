/**
 * One scrape as typed metrics, differences of two, and quantiles: the library for other programs,
 * `@vllm-htop/vllm-htop/snapshot`. It gives from outside what vLLM's `get_metrics_snapshot` gives
 * inside its process, for any server that exports vLLM's metrics. Fetching is left to the caller.
 * Values are in the metric's own unit, spans in seconds.
 *
 * @example What happened on a server in the last ten seconds
 * ```ts
 * import {
 * computeQuantile,
 * computeRate,
 * findMetrics,
 * readSnapshot,
 * type Snapshot,
 * subtractSnapshots,
 * } from "@vllm-htop/vllm-htop/snapshot";
 *
 * async function scrape(url: string): Promise<Snapshot> {
 * const response = await fetch(url);
 * const body = await response.bytes();
 * return readSnapshot(body, { at: performance.now() / 1000 });
 * }
 *
 * async function watch(url: string): Promise<void> {
 * const earlier = await scrape(url);
 * await new Promise((resolve) => setTimeout(resolve, 10_000));
 * const window = subtractSnapshots(await scrape(url), earlier);
 * if (window.kind === "restarted") return;
 * console.log(computeRate(window, "vllm:generation_tokens"), "tokens per second");
 * const ttft = findMetrics(window, "vllm:time_to_first_token_seconds");
 * console.log(computeQuantile(ttft, 0.95)); // of all engines, e.g. { value: 0.21, bound: "", … }
 * }
 * ```
 * @module
 */

import { VLLM_METRIC_ROWS, VLLM_PREFIXES } from "./dialect_vllm_metrics.ts";
import {
  addHistograms,
  computeQuantile as computeBucketQuantile,
  createHistogram,
  type Histogram as Buckets,
  type Quantile,
} from "./histogram.ts";
import type { BadLine } from "./model.ts";
import { parseExposition } from "./prometheus.ts";
import { parseBound } from "./prometheus_tokens.ts";
import { sanitizeText } from "./text.ts";
import { isSameStart } from "./units.ts";

/** Label names and values, made safe to print. */
export type Labels = ReadonlyMap<string, string>;

/** What all metrics have. */
export interface Series {
  /** With its prefix, without `_total`: `vllm:generation_tokens`. */
  readonly name: string;
  /** Without the label that tells apart the parts of the metric: `le`, `position`. */
  readonly labels: Labels;
}

/** A count that only rises, since the server's start; in a window, its increase. */
export interface Counter extends Series {
  /** Tells the types of metrics apart. */
  readonly kind: "counter";
  /** At least 0. */
  readonly value: number;
}

/** A value that rises and falls; in a window, the later one. */
export interface Gauge extends Series {
  /** Tells the types of metrics apart. */
  readonly kind: "gauge";
  /** As exported; ratios from 0 to 1, even under `_perc` names. May be NaN. */
  readonly value: number;
}

/** Observations in buckets, since the server's start; in a window, those of the window. */
export interface Histogram extends Series {
  /** Tells the types of metrics apart. */
  readonly kind: "histogram";
  /** All observations, the count of the bucket `Infinity`. */
  readonly count: number;
  /** In the metric's unit. NaN if not exported. */
  readonly sum: number;
  /** Upper bound -> observations at or below it. Ascending; the last is `Infinity`. */
  readonly buckets: ReadonlyMap<number, number>;
}

/** Counters by index, such as accepted draft tokens by position. */
export interface Vector extends Series {
  /** Tells the types of metrics apart. */
  readonly kind: "vector";
  /** By position, from 0. */
  readonly values: readonly number[];
}

/** A metric of a snapshot or window. */
export type Metric = Counter | Gauge | Histogram | Vector;

/** One scrape. */
export interface Snapshot {
  /** Time of receipt, in seconds of the caller's monotonic clock. */
  readonly at: number;
  /** In the order of the exposition. */
  readonly metrics: readonly Metric[];
  /** Start of the server's process, as epoch seconds; `null` if not exported. */
  readonly processStart: number | null;
  /** The first few lines that could not be parsed. */
  readonly badLines: readonly BadLine[];
  /** The prefix given in place of the known ones, or `null`. */
  readonly prefix: string | null;
}

const VECTOR_NAME = "spec_decode_num_accepted_tokens_per_pos";
type Kind = "counter" | "gauge" | "histogram";

interface Draft {
  readonly kind: Kind | "vector";
  readonly name: string;
  readonly labels: Labels;
  value: number;
  sum: number;
  /** `0.1` and `1e-1` are two series of one bound, and add up. */
  readonly buckets: Map<string, number>;
  readonly values: number[];
}

/** For servers that declare no types. Without prefix and `_total`. */
const KNOWN_KINDS: ReadonlyMap<string, Kind> = new Map(
  VLLM_METRIC_ROWS.flatMap((row) =>
    row.names.map((name): [string, Kind] => [
      row.kind === "histogram" ? name : dropTotal(name),
      row.kind === "info" ? "gauge" : row.kind,
    ])
  ),
);

function dropTotal(name: string): string {
  return name.replace(/_total$/, "");
}

function findPrefix(name: string, prefixes: readonly string[]): string | null {
  return prefixes.find((prefix) => name.startsWith(prefix)) ?? null;
}

interface ResolvedName {
  readonly family: string;
  readonly kind: Kind;
  readonly part: "value" | "bucket" | "sum" | "count";
}

/** Splits a sample's name into family, kind and part; `null` for other names. */
function resolveName(
  name: string,
  types: ReadonlyMap<string, string>,
  prefixLength: number,
): ResolvedName | null {
  const kindOf = (family: string): string | undefined =>
    types.get(family) ?? KNOWN_KINDS.get(family.slice(prefixLength));
  const [, stem, part] = /^(.*)_(bucket|sum|count)$/.exec(name) ?? [];
  if (stem !== undefined && kindOf(stem) === "histogram") {
    return { family: stem, kind: "histogram", part: part as "bucket" | "sum" | "count" };
  }
  const family = dropTotal(name);
  if (family !== name && (types.get(name) ?? kindOf(family)) === "counter") {
    return { family, kind: "counter", part: "value" };
  }
  if (name.endsWith("_created")) {
    const stamped = name.slice(0, -"_created".length);
    if (kindOf(stamped) !== undefined || types.has(`${stamped}_total`)) return null;
  }
  const kind = kindOf(name);
  return kind === "counter" || kind === "gauge" ? { family: name, kind, part: "value" } : null;
}

function describeLabels(labels: Labels): string {
  return JSON.stringify([...labels].toSorted(([a], [b]) => a < b ? -1 : 1));
}

function identify({ kind, name, labels }: Metric | Draft): string {
  return `${kind} ${name} ${describeLabels(labels)}`;
}

function finishDraft(draft: Draft): Metric | null {
  const { kind, name, labels, value, values } = draft;
  switch (kind) {
    case "vector":
      return { kind, name, labels, values: Array.from(values, (count) => count ?? 0) };
    case "histogram": {
      const buckets = [...draft.buckets].map(([le, count]) => [parseBound(le), count] as const);
      const { bounds, counts } = createHistogram(
        buckets.filter(([bound]) => !Number.isNaN(bound)),
        draft.sum,
      );
      if (bounds.at(-1) !== Infinity) return null;
      const counted = new Map(Array.from(bounds, (bound, i) => [bound, counts[i]]));
      const count = counts[counts.length - 1];
      return { kind, name, labels, count, sum: draft.sum, buckets: counted };
    }
    default:
      return { kind, name, labels, value };
  }
}

/** Separates the label named `without`. */
function collectLabels(pairs: readonly string[], without: string): { labels: Labels; own: string } {
  const labels = new Map<string, string>();
  let own = "";
  for (let i = 0; i < pairs.length; i += 2) {
    if (pairs[i] === without) own = pairs[i + 1];
    else labels.set(sanitizeText(pairs[i]), sanitizeText(pairs[i + 1]));
  }
  return { labels, own };
}

/** In draft tokens. */
const MAX_POSITION = 1000;

function createCollector() {
  const known = new Map<string, Draft>();
  return {
    add: (
      { family, kind, part }: ResolvedName,
      isVector: boolean,
      { pairs, value }: { readonly pairs: readonly string[]; readonly value: number },
    ): void => {
      const { labels, own } = collectLabels(
        pairs,
        kind === "histogram" ? "le" : isVector ? "position" : "",
      );
      const fresh: Draft = {
        kind: isVector ? "vector" : kind,
        name: sanitizeText(family),
        labels,
        value,
        sum: NaN,
        buckets: new Map(),
        values: [],
      };
      const key = identify(fresh);
      const draft = known.get(key) ?? fresh;
      // Of a repeated series the first counts, as in Prometheus.
      if (draft === fresh) known.set(key, fresh);
      if (part === "bucket") draft.buckets.set(own, draft.buckets.get(own) ?? value);
      else if (part === "sum" && Number.isNaN(draft.sum)) draft.sum = value;
      else if (isVector && /^\d+$/.test(own) && Number(own) <= MAX_POSITION) {
        draft.values[Number(own)] ??= value;
      }
    },
    finish: () => [...known.values()].map(finishDraft).filter((metric) => metric !== null),
  };
}

/**
 * Parses an exposition in Prometheus' text format or OpenMetrics.
 *
 * Keeps metrics with the prefix `vllm:` or one that Ray or KServe gives vLLM's metrics. Summaries
 * and metrics of unknown type are omitted, as by vLLM's reader. Lines that cannot be parsed are
 * skipped and listed in `badLines`; no body makes it throw.
 *
 * @param options.at Time of receipt, in seconds of a monotonic clock.
 * @param options.prefix Replaces the known prefixes.
 */
export function readSnapshot(
  body: string | Uint8Array,
  options: { readonly at: number; readonly prefix?: string },
): Snapshot {
  const { at, prefix = null } = options;
  const prefixes = prefix === null ? VLLM_PREFIXES : [prefix];
  const types = new Map<string, string>();
  const collector = createCollector();
  let processStart: number | null = null;
  let lastName = "";
  let resolved: ResolvedName | null = null;
  let isVector = false;
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const { badLines } = parseExposition(bytes, {
    onType: (family, type) => types.set(family, type),
    onSample: (name, pairs, value) => {
      if (name === "process_start_time_seconds") processStart ??= value;
      if (name !== lastName) {
        lastName = name;
        const own = findPrefix(name, prefixes);
        resolved = own === null ? null : resolveName(name, types, own.length);
        isVector = resolved?.kind === "counter" &&
          resolved.family.slice(own?.length) === VECTOR_NAME;
      }
      if (resolved !== null) collector.add(resolved, isVector, { pairs, value });
    },
  });
  return { at, metrics: collector.finish(), processStart, badLines, prefix };
}

export type { BadLine } from "./model.ts";
export type { Bound, Quantile } from "./histogram.ts";

/** The difference of two snapshots. */
export interface Window {
  /** Distinguishes it from `Restarted`. */
  readonly kind: "window";
  /** Between the two receipts; more than 0. */
  readonly spanSeconds: number;
  /** The later snapshot's, as increases. */
  readonly metrics: readonly Metric[];
  /** The later snapshot's prefix. */
  readonly prefix: string | null;
}

/** The server restarted between two snapshots: increases are unknown. */
export interface Restarted {
  /** Distinguishes it from `Window`. */
  readonly kind: "restarted";
}

/** Without `_total`, newest first. */
const ALIASES: readonly (readonly string[])[] = VLLM_METRIC_ROWS
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

/** `null` if it fell. New series count from 0. */
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
 * Computes what happened between two snapshots of one server: increases of counters and vectors,
 * observations of histograms, and the later gauges. A new series counts from 0: vLLM exports some
 * only after their first use.
 *
 * `restarted` if any of them fell, a histogram has other buckets, or the process has another start
 * time: increases are then unknown.
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

/** Returns other names of the same figure, the given one first. */
function listNames(name: string, given: string | null): readonly string[] {
  const prefix = findPrefix(name, given === null ? VLLM_PREFIXES : [given]) ?? "";
  const bare = dropTotal(name.slice(prefix.length));
  const others = ALIASES.find((names) => names.includes(bare)) ?? [];
  // As typed first: one histogram of vLLM's ends in `_total`.
  return [name, ...[bare, ...others].map((other) => prefix + other)];
}

/**
 * Returns the metrics of a name that have all of the labels.
 *
 * The name may be with or without `_total`. If nothing has it, other vLLM versions' names of the
 * figure are tried, newest first: `vllm:inter_token_latency_seconds` finds
 * `vllm:time_per_output_token_seconds`, under any prefix.
 *
 * @returns In the order of the exposition; empty if there are none.
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
 * Increase per second of a counter, or of a histogram's count, summed over all series with the
 * labels; `null` if there are none. Divides by the measured span, without extrapolation.
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

/** `null` if there are none, or bounds differ. */
function mergeHistograms(metrics: readonly Metric[]): Buckets | null {
  const histograms = metrics.filter((metric) => metric.kind === "histogram");
  return addHistograms(histograms.map(({ buckets, sum }) => createHistogram([...buckets], sum)));
}

/**
 * The `q`-quantile of all histograms among the metrics, as PromQL's `histogram_quantile` of their
 * sum. In the first and last bucket only a bound is known, which `bound` tells. `null` if nothing
 * was observed, or bounds differ.
 *
 * @throws {RangeError} If `q` is not between 0 and 1.
 */
export function computeQuantile(metrics: readonly Metric[], q: number): Quantile | null {
  const merged = mergeHistograms(metrics);
  return merged === null ? null : computeBucketQuantile(merged, q);
}

/** Mean of all observations; `null` as for `computeQuantile`. */
export function computeMean(metrics: readonly Metric[]): number | null {
  const merged = mergeHistograms(metrics);
  if (merged === null) return null;
  const mean = merged.sum / merged.counts[merged.counts.length - 1];
  return Number.isFinite(mean) ? mean : null;
}
