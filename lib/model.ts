/**
 * The nouns of the domain: readonly types that cross modules.
 *
 * An endpoint is one URL; a scrape of it yields one sample per engine; a replica
 * is one engine of one endpoint, followed over time; a model group is all
 * replicas that serve the same model. Dialects know which metric feeds which figure.
 *
 * @module
 */

import type { Histogram, Quantile } from "./histogram.ts";
import { type Absent, absent, type Reading } from "./reading.ts";
import type { Bytes, EpochSeconds, Ratio, Seconds } from "./units.ts";

/** One URL that is watched. Holds no secret: user information is stripped before it gets here. */
export interface Endpoint {
  /** The canonical base URL: the identity of the endpoint. Two spellings of the same place have the same key. */
  readonly key: string;
  /** Where the exposition is: the base URL with its path to the metrics. */
  readonly metricsUrl: string;
  /** `host:port`, or the path of the socket: what tells it apart for a person. */
  readonly address: string;
  /** What the user calls it. Safe text. */
  readonly label?: string;
  /** Path of a Unix socket, for `unix:` endpoints. */
  readonly unixSocketPath?: string;
  /** Whether nobody named it and no scan found it: it is watched for want of anything. */
  readonly isGuess?: true;
  /** Standing remarks about how it is reached, such as certificate checks that are off. */
  readonly warnings: readonly string[];
}

/** Gauges of an engine that figures are computed from. Counts are requests, ratios 0 to 1. */
export const GAUGE_KEYS = [
  "running",
  "waiting",
  "swapped",
  "kvCacheUsageRatio",
  "prefixCacheHitRatioReported",
] as const;
export type GaugeKey = typeof GAUGE_KEYS[number];

/** Counters of an engine since its start. */
export const COUNTER_KEYS = [
  "promptTokens",
  "cachedPromptTokens",
  "computedPromptTokens",
  "generationTokens",
  "preemptions",
  "prefixCacheQueries",
  "prefixCacheHits",
  "externalPrefixCacheQueries",
  "externalPrefixCacheHits",
  "drafts",
  "draftTokens",
  "acceptedTokens",
] as const;
export type CounterKey = typeof COUNTER_KEYS[number];

/** Counters and gauges that come split by one label; the map goes from the label's value to the figure. */
export const LABELLED_KEYS = [
  "finishedByReason",
  "waitingByReason",
  "promptTokensBySource",
  "acceptedTokensByPosition",
  "rejectedByReason",
] as const;
export type LabelledKey = typeof LABELLED_KEYS[number];

/** Those of them that are gauges: they may fall. */
export const LABELLED_GAUGES: ReadonlySet<LabelledKey> = new Set(["waitingByReason"]);

/** The latencies that are shown, in the order in which a request goes through them. Seconds. */
export const LATENCY_KEYS = ["ttft", "itl", "tpot", "e2e", "queue", "prefill", "decode"] as const;
export type LatencyKey = typeof LATENCY_KEYS[number];

/** Histograms of an engine since its start. Latencies are in seconds. */
export const HISTOGRAM_KEYS = [...LATENCY_KEYS, "iterationTokens"] as const;
export type HistogramKey = typeof HISTOGRAM_KEYS[number];

/** `info`: always 1, what it says stands in its labels. */
export type MetricKind = "gauge" | "counter" | "histogram" | "info";

/** A metric as a kind of server may export it. */
export interface MetricInfo {
  /** Without prefix, as they stand in the text, newest first. */
  readonly names: readonly string[];
  readonly kind: MetricKind;
  /** The base unit: `seconds`, `bytes`, `ratio`, `tokens` and other things that are counted. Empty for infos. */
  readonly unit: string;
  readonly title: string;
  readonly help: string;
  /** Versions of the server that export it: the first, and the last. */
  readonly since?: string;
  readonly until?: string;
  /** The label that splits it. */
  readonly label?: string;
  /** How engines are taken together: a usage is not summed, and a ratio of two figures not even compared. */
  readonly overEngines: "sum" | "max" | "none";
}

/** A series of a body in the list of all metrics: which of the body's samples it is. */
export interface MetricEntry {
  /** As exported, with prefix. */
  readonly name: string;
  /** `null`: exported by a server that is newer than this program. */
  readonly info: MetricInfo | null;
  readonly kind: MetricKind;
  /** The child of a family, or all labels of an info. */
  readonly labels: string;
  /** The samples of its value, or of a histogram's count. Counts are summed, of gauges the largest counts. */
  readonly samples: readonly number[];
  /** Of a histogram's sum. */
  readonly sums: readonly number[];
  readonly scale: number;
}

/** All series of one engine in one body. Bodies of the same series share the entries. */
export interface MetricTable {
  readonly entries: readonly MetricEntry[];
  /** Of all samples of the body. */
  readonly values: Float64Array;
}

/** What the figures of one kind of server mean. */
export interface ServerTraits {
  /** As people call it. */
  readonly name: string;
  /** When a token is counted: at the step that made it, or with all others of its request when that ends. */
  readonly tokensAreBooked: "step" | "finish";
  /** What is measured, where kinds of servers differ in it. Only equal ones are merged. */
  readonly latencyDefinitions: Readonly<Partial<Record<LatencyKey, string>>>;
  /** Entries of the configuration that people look for, in this order. */
  readonly mainOptions: readonly string[];
  /** What this kind of server never exports. */
  readonly noSuchFigures: ReadonlySet<HistogramKey | LabelledKey>;
}

/** Of a server of which nothing is known. */
export const UNKNOWN_SERVER: ServerTraits = {
  name: "",
  tokensAreBooked: "step",
  latencyDefinitions: {},
  mainOptions: [],
  noSuchFigures: new Set(),
};

/** A list without metrics. */
export const NO_METRICS: MetricTable = { entries: [], values: new Float64Array() };

/** The unit of the prefix-cache counters; old servers do not say which. The ratio is the same. */
type CacheUnit = "tokens" | "blocks or tokens";

/** What one engine of one model said in one scrape. */
export interface EngineSample {
  /** The first served name, made safe to print. */
  readonly modelName: string;
  /** The data-parallel rank, or `""` where the exposition has no `engine` label. */
  readonly engine: string;
  readonly gauges: Readonly<Record<GaugeKey, Reading>>;
  readonly counters: Readonly<Record<CounterKey, Reading>>;
  readonly labelled: Readonly<Partial<Record<LabelledKey, ReadonlyMap<string, number>>>>;
  readonly histograms: Readonly<Partial<Record<HistogramKey, Histogram>>>;
  /** Histograms and split families that are declared but have no sample yet: nothing was counted in them. */
  readonly initializing: ReadonlySet<HistogramKey | LabelledKey>;
  /** When its counters began. `missing` with several API servers. */
  readonly created: Reading<EpochSeconds>;
  readonly prefixCacheUnit: CacheUnit;
  readonly prefixCacheIsOff: boolean;
  /** Whether it has given its memory back, and answers no request until it is woken. */
  readonly isAsleep: boolean;
  /** Tokens. */
  readonly kvCacheCapacity: Reading;
  /** True when the capacity is blocks × block size, which is wrong for hybrid models. */
  readonly kvCacheCapacityIsEstimate: boolean;
  /** Its options as it exports them, made safe to print. */
  readonly configuration: ReadonlyMap<string, string>;
  readonly server: ServerTraits;
  /** All that it exports, with what no figure is computed from. */
  readonly metrics: MetricTable;
}

/** The LoRA adapters, as of their newest state. */
export interface LoraSample {
  readonly runningAdapters: readonly string[];
  readonly waitingAdapters: readonly string[];
  readonly maxAdapters: Reading;
}

/** A line of the exposition that could not be read as it stands. */
export interface BadLine {
  /** Counted from 1. */
  readonly line: number;
  /** What is wrong with it, safe to print. */
  readonly message: string;
}

/** What one successful scrape of an endpoint said. */
export interface Scrape {
  readonly endpointKey: string;
  /** The monotonic instant at which the last byte was received. */
  readonly receivedAt: Seconds;
  /** Wall-clock time of the same instant. */
  readonly receivedAtEpoch: EpochSeconds;
  /** From asking to the last byte. */
  readonly duration: Seconds;
  /** Size of the body, inflated. */
  readonly bytes: Bytes;
  /** Samples read. */
  readonly sampleCount: number;
  readonly dialect: "prometheus" | "openmetrics";
  readonly badLineCount: number;
  /** The first few of them. */
  readonly badLines: readonly BadLine[];
  /** In the order of the exposition. Empty when it declares metrics of engines but has no sample of one yet. */
  readonly engines: readonly EngineSample[];
  readonly lora: LoraSample | null;
  /** Metrics that were found under an older of their names: figure -> that name. */
  readonly aliases: ReadonlyMap<string, string>;
  /** The prefix of the server's metrics here. */
  readonly metricPrefix: string;
  /** When the serving process started. `missing` with several API servers, which do not export it. */
  readonly processStart: Reading<EpochSeconds>;
  /** Oldest `_created` stamp of the engines' counters. `missing` with several API servers. */
  readonly countersCreated: Reading<EpochSeconds>;
  /** What the exposition says of no engine in particular, such as rejected admissions; `null` when nothing. */
  readonly server: EngineSample | null;
  /** Requests that HTTP answered, by status class such as `2xx`. Empty where not exported. */
  readonly httpResponsesByStatus: ReadonlyMap<string, number>;
  /** Where a same-origin redirect led, if one did. */
  readonly redirectedTo: string | null;
}

/** What later scrapes are compared with. */
export type KeptScrape = Pick<
  Scrape,
  "endpointKey" | "receivedAt" | "receivedAtEpoch" | "processStart" | "engines" | "server"
>;

/** A model that a server offers: one that it was started with, or a LoRA adapter of one. */
export interface ModelCard {
  readonly id: string;
  /** The model of which it is an adapter; `null` for a model of its own. */
  readonly parent: string | null;
  /** Tokens of prompt and answer together; `null` where the server does not say. */
  readonly maxModelLength: number | null;
}

/** How a server's process was started, as its command line says. */
export interface LaunchInfo {
  /** The arguments with blanks between them. Safe text, without secrets. */
  readonly commandLine: string;
  /** Sizes by their option's name, such as `tensor-parallel-size`; those not given are left out. */
  readonly parallelSizes: ReadonlyMap<string, number>;
}

/** How a server was started, as far as it says so itself and its process can be read. */
export interface ServerInfo {
  /** `null` where it did not say. */
  readonly version: string | null;
  /** Empty where it did not say. */
  readonly models: readonly ModelCard[];
  /** `null` where the process is elsewhere or may not be read. */
  readonly launch: LaunchInfo | null;
}

/** Why a scrape failed. Each is a state of its own for a person who has to mend it. */
export type FailureKind =
  | "refused"
  | "dns"
  | "tls"
  | "timeout"
  | "reset"
  | "unauthorized"
  | "not_found"
  | "server_error"
  | "http_status"
  | "redirect"
  | "html"
  | "empty"
  | "not_exposition"
  | "other_server"
  | "stats_disabled"
  | "truncated"
  | "too_large"
  | "credentials"
  | "network";

/** A failed scrape. */
export interface ScrapeFailure {
  readonly endpointKey: string;
  readonly failedAt: Seconds;
  readonly failedAtEpoch: EpochSeconds;
  readonly duration: Seconds;
  readonly kind: FailureKind;
  /** What failed and the next step, in one safe sentence. */
  readonly message: string;
}

/** A span of time and the counters' increases over it. */
export interface Delta {
  /** Measured between two receipts, on the monotonic clock. */
  readonly span: Seconds;
  readonly counters: Readonly<Record<CounterKey, Reading>>;
  /** Families that are not there at either end are left out, gauges too. */
  readonly labelled: Readonly<Partial<Record<LabelledKey, ReadonlyMap<string, number>>>>;
  readonly latencies: Readonly<Record<LatencyKey, Reading<Histogram>>>;
}

/** Gauges whose mean over time says more than their value at one moment. */
export const MEAN_KEYS = ["running", "waiting", "kvCacheUsageRatio"] as const;
export type MeanKey = typeof MEAN_KEYS[number];

/** Where a reading stands among an engine's numbers, from 0; or why there is none. */
export type PackedSlot = number | Absent;

/** Quantiles of one latency over one window. Seconds. */
export interface LatencyFigures {
  readonly p50: Reading<Quantile>;
  readonly p95: Reading<Quantile>;
  readonly p99: Reading<Quantile>;
  readonly mean: Reading<Seconds>;
  /** How many observations these rest on. */
  readonly samples: Reading;
}

/** What happened in one window. Rates are per second, of the window's measured span. */
export interface WindowFigures {
  /** The longest span of those that were merged. */
  readonly span: Reading<Seconds>;
  readonly requestsPerSecond: Reading;
  readonly promptTokensPerSecond: Reading;
  /** Prompt tokens whose prefill was computed here, per second. */
  readonly computedPromptTokensPerSecond: Reading;
  /** Prompt tokens that came from a cache, per second. */
  readonly cachedPromptTokensPerSecond: Reading;
  readonly generationTokensPerSecond: Reading;
  readonly preemptionsPerSecond: Reading;
  readonly prefixCacheHitRatio: Reading<Ratio>;
  readonly prefixCacheQueries: Reading;
  readonly externalPrefixCacheHitRatio: Reading<Ratio>;
  readonly draftAcceptanceRatio: Reading<Ratio>;
  /** Tokens per decode step: 1 + accepted ÷ drafts. */
  readonly meanAcceptanceLength: Reading;
  /** Share of drafts whose token at that position (from 0) was accepted. */
  readonly acceptanceRatioByPosition: ReadonlyMap<string, Ratio>;
  readonly latency: Readonly<Record<LatencyKey, LatencyFigures>>;
}

/** The KV cache of one replica or of many. */
export interface KvCacheFigures {
  readonly maxRatio: Reading<Ratio>;
  /** Index, among the replicas that were aggregated, of the one with the maximum; −1 where there is none. */
  readonly maxOwner: number;
  /** Mean weighted by capacity where every capacity is known, else the plain mean. */
  readonly meanRatio: Reading<Ratio>;
  readonly capacityTokens: Reading;
  /** True when the capacity is blocks × block size, which is wrong for hybrid models. */
  readonly capacityIsEstimate: boolean;
}

/** Counters since the servers started. */
export interface LifetimeFigures {
  readonly promptTokens: Reading;
  readonly cachedPromptTokens: Reading;
  readonly generationTokens: Reading;
  readonly finishedRequests: Reading;
  readonly preemptions: Reading;
  readonly finishedByReason: ReadonlyMap<string, number>;
  readonly promptTokensBySource: ReadonlyMap<string, number>;
  readonly prefixCacheHitRatio: Reading<Ratio>;
  readonly prefixCacheQueries: Reading;
  readonly externalPrefixCacheHitRatio: Reading<Ratio>;
  readonly draftAcceptanceRatio: Reading<Ratio>;
  readonly meanAcceptanceLength: Reading;
  readonly latency: Readonly<Record<LatencyKey, LatencyFigures>>;
}

/** All figures of a replica, or of many merged: the same computation for one and for all. */
export interface Figures {
  readonly replicaCount: number;
  readonly running: Reading;
  readonly waiting: Reading;
  readonly waitingByReason: ReadonlyMap<string, number>;
  readonly kvCache: KvCacheFigures;
  readonly lastPoll: WindowFigures;
  readonly lastMinute: WindowFigures;
  readonly lifetime: LifetimeFigures;
}

/** The condition of a replica. */
export type ReplicaStatus =
  | "PENDING"
  | "OK"
  | "HOT"
  | "STALLED"
  | "INIT"
  | "SLEEP"
  | "STALE"
  | "DOWN";

/** What tokens are sold for: USD per million, 0 or more; `null` where nobody has said. */
export interface TokenPrices {
  readonly input: number | null;
  readonly output: number | null;
  /** Of prompt tokens that came from a cache; where `null` they cost what the others do. */
  readonly cachedInput: number | null;
}

/** A family, by the value of the label that splits it. */
export type CountsByLabel = ReadonlyMap<string, number>;

/**
 * All children of the family together; 0 where there is no family.
 */
export function sumCounts(family: CountsByLabel | undefined): number {
  let sum = 0;
  for (const count of family?.values() ?? []) sum += count;
  return sum;
}

/** Why a split family or a histogram is not there. */
export function getAbsence(
  { initializing, server }: Pick<EngineSample, "initializing" | "server">,
  key: HistogramKey | LabelledKey,
): Absent {
  if (initializing.has(key)) return absent("initializing");
  return absent(server.noSuchFigures.has(key) ? "unsupported" : "missing");
}

/** The samples of one figure in one: their sum, or the largest of those that are a number. */
export function combineSamples(
  samples: readonly number[],
  { values, isGauge }: { readonly values: Float64Array; readonly isGauge: boolean },
): number {
  let figure = values[samples[0]];
  for (let i = 1; i < samples.length; i++) {
    const value = values[samples[i]];
    if (!isGauge) figure += value;
    else if (!(value <= figure) && !Number.isNaN(value)) figure = value;
  }
  return figure;
}

/** The entries of a table by name and labels. */
function indexEntries({ entries }: MetricTable): ReadonlyMap<string, MetricEntry> {
  return new Map(entries.map((entry) => [`${entry.name}\n${entry.labels}`, entry]));
}

/** Whether a counter of the table, or the count of a histogram, is lower than before. */
export function hasAnyFallen(later: MetricTable, earlier: MetricTable): boolean {
  const isSame = later.entries === earlier.entries;
  const before = isSame ? null : indexEntries(earlier);
  return later.entries.some(({ name, labels, kind, samples }) => {
    if (kind !== "counter" && kind !== "histogram") return false;
    const known = before === null ? samples : before.get(`${name}\n${labels}`)?.samples;
    if (known === undefined) return false;
    return combineSamples(samples, { values: later.values, isGauge: false }) <
      combineSamples(known, { values: earlier.values, isGauge: false });
  });
}

/** A metric of an engine, or of several. */
export interface MetricValue extends Pick<MetricEntry, "name" | "info" | "kind" | "labels"> {
  /** In the base unit; the count of a histogram. */
  readonly value: number;
  /** Of the observations of a histogram. */
  readonly sum: number | null;
}

/** The values of the table, in the order of the exposition. */
export function listMetrics({ entries, values }: MetricTable): readonly MetricValue[] {
  return entries.map(({ name, info, kind, labels, samples, sums, scale }) => {
    const value = combineSamples(samples, { values, isGauge: kind === "gauge" || kind === "info" });
    const isHistogram = kind === "histogram";
    const sum = isHistogram && sums.length > 0
      ? combineSamples(sums, { values, isGauge: false }) * scale
      : null;
    return { name, info, kind, labels, value: isHistogram ? value : value * scale, sum };
  });
}
