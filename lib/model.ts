/**
 * Domain types. An endpoint is one URL; a scrape of it yields one sample per engine; a replica is
 * one engine followed over time; a model group is all replicas of one model.
 * @module
 */

import type { Histogram, Quantile } from "./histogram.ts";
import type { PodFacts } from "./pod.ts";
import { type Absent, absent, type Reading } from "./reading.ts";
import type { Bytes, EpochSeconds, Ratio, Seconds } from "./units.ts";

/** A watched URL, without user information. */
export interface Endpoint {
  /** Canonical base URL; identifies the endpoint. */
  readonly key: string;
  readonly metricsUrl: string;
  /** `host:port`, or the path of the socket. */
  readonly address: string;
  /** The user's name for it; sanitized. */
  readonly label?: string;
  /** Those of its target, such as `pod`; sanitized. */
  readonly targetLabels?: ReadonlyMap<string, string>;
  readonly unixSocketPath?: string;
  /** Behind ssh: the name of its host. */
  readonly sshHost?: string;
  /** In Kubernetes, as last listed. */
  readonly pod?: PodFacts;
  /** Least time between two scrapes: many go the same way. */
  readonly pace?: Seconds;
  /** The kind of server: forced by the user, or recognised by a scan. */
  readonly serverName?: string;
  /** Of its process, if a scan found it. */
  readonly commandLine?: string;
  /** The default address: neither named nor found by a scan. */
  readonly isGuess?: true;
  /** Permanent warnings, such as certificate checks that are off. */
  readonly warnings: readonly string[];
}

/** Requests; ratios 0 to 1. */
export const GAUGE_KEYS = [
  ...["running", "waiting", "swapped", "kvCacheUsageRatio", "prefixCacheHitRatioReported"] as const,
] as const;
export type GaugeKey = typeof GAUGE_KEYS[number];

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
  "failedRequests",
  "corruptedRequests",
  "failedTransfers",
] as const;
export type CounterKey = typeof COUNTER_KEYS[number];

/** Figures split by one label; keyed by its value. */
export const LABELLED_KEYS = [
  "finishedByReason",
  "waitingByReason",
  "promptTokensBySource",
  "acceptedTokensByPosition",
  "rejectedByReason",
] as const;
export type LabelledKey = typeof LABELLED_KEYS[number];
export const LABELLED_GAUGES: ReadonlySet<LabelledKey> = new Set(["waitingByReason"]);
/** In the order of a request's life. Seconds. */
export const LATENCY_KEYS = ["ttft", "itl", "tpot", "e2e", "queue", "prefill", "decode"] as const;
export type LatencyKey = typeof LATENCY_KEYS[number];
export const LATENCY_NAMES: Readonly<
  Record<LatencyKey, { readonly title: string; readonly words: string }>
> = {
  ttft: { title: "TTFT", words: "time to first token" },
  itl: { title: "ITL", words: "inter-token latency" },
  tpot: { title: "TPOT", words: "time per output token of finished requests" },
  e2e: { title: "E2E", words: "end-to-end latency" },
  queue: { title: "Queue", words: "queue time" },
  prefill: { title: "Prefill", words: "prefill time" },
  decode: { title: "Decode", words: "decode time" },
};
/** Latencies that an objective can limit. */
export const OBJECTIVE_KEYS = [
  "ttft",
  "itl",
  "tpot",
  "e2e",
  "queue",
] as const satisfies readonly LatencyKey[];
export const HISTOGRAM_KEYS = [
  ...LATENCY_KEYS,
  "iterationTokens",
  "promptLength",
  "outputLength",
] as const;
export type HistogramKey = typeof HISTOGRAM_KEYS[number];
/** `info` is always 1; its labels hold the content. */
export type MetricKind = "gauge" | "counter" | "histogram" | "info";

export interface MetricInfo {
  /** Without prefix, newest first. */
  readonly names: readonly string[];
  readonly kind: MetricKind;
  /** Base unit (`seconds`, `bytes`, `ratio`, `tokens`, …); empty for infos. */
  readonly unit: string;
  readonly title: string;
  readonly help: string;
  /** First and last version that exports it. */
  readonly since?: string;
  readonly until?: string;
  /** The label that splits it. */
  readonly label?: string;
  /** How to combine engines. */
  readonly overEngines: "sum" | "max" | "none";
}

/** A series in the list of all metrics. */
export interface MetricEntry {
  /** With prefix. */
  readonly name: string;
  /** `null`: unknown to this program. */
  readonly info: MetricInfo | null;
  readonly kind: MetricKind;
  /** The child of a family, or all labels of an info. */
  readonly labels: string;
  /** Indices of its values, or of a histogram's counts. */
  readonly samples: readonly number[];
  /** Indices of a histogram's sums. */
  readonly sums: readonly number[];
  readonly scale: number;
}

/** All series of one engine. Bodies with the same series share `entries`. */
export interface MetricTable {
  readonly entries: readonly MetricEntry[];
  /** All values of the body. */
  readonly values: Float64Array;
}

/** What users change of a server. */
export const FLAG_KEYS = [
  ...["kvCacheMemory", "kvCacheType", "maxLength", "concurrentRequests", "tokenBudget"] as const,
  ...["speculativeTokens", "apiServers"] as const,
] as const;
/** As the server spells them; without those that it lacks. */
export type ServerFlags = Readonly<Partial<Record<typeof FLAG_KEYS[number], string>>>;

/** The model's name of a router that counts all models together. */
export const ALL_MODELS = "all models";

/** Meaning of the figures of one kind of server. */
export interface ServerTraits {
  readonly name: string;
  /** It passes requests on to engines, which count them as well. */
  readonly isRouter?: true;
  /** It answers between batches: what takes long is the batch. */
  readonly answersLate?: true;
  /** When tokens are counted: at each step, or when the request finishes. */
  readonly tokensAreBooked: "step" | "finish";
  /** Whether TTFT may leave out requests that are not streamed. */
  readonly ttftIsOfStreamed?: true;
  /** Whether only other pages than its metrics are read. */
  readonly metricsAreOff?: true;
  /** Whether failed requests are not among the finished ones. */
  readonly failuresAreApart?: true;
  /** Configuration entries to show first. */
  readonly mainOptions: readonly string[];
  readonly flags: ServerFlags;
  /** The child of `waitingByReason` that more capacity would serve; empty if there is none. */
  readonly capacityReason: string;
  /** Never exported by this kind of server. */
  readonly noSuchFigures: ReadonlySet<HistogramKey | LabelledKey>;
}

export const UNKNOWN_SERVER: ServerTraits = {
  ...{ name: "", mainOptions: [], flags: {}, capacityReason: "" },
  tokensAreBooked: "step",
  noSuchFigures: new Set(),
};

export const NO_METRICS: MetricTable = { entries: [], values: new Float64Array() };
/** Old servers do not say which; the ratio is the same. */
type CacheUnit = "tokens" | "blocks or tokens";

/**
 * `asleep`: it gives memory back until a request wakes it. `unloaded`: its server can load it.
 * `failed`: its process ended.
 */
export const MODEL_STATES = ["loaded", "loading", "asleep", "unloaded", "failed"] as const;
export type ModelState = typeof MODEL_STATES[number];

/** One engine of one model, as of one scrape. */
export interface EngineSample {
  /** First served name; sanitized. */
  readonly modelName: string;
  /** What all engines of the server count together: no replica. */
  readonly isShared?: true;
  /** Data-parallel rank; `""` without an `engine` label. */
  readonly engine: string;
  readonly gauges: Readonly<Record<GaugeKey, Reading>>;
  readonly counters: Readonly<Record<CounterKey, Reading>>;
  readonly labelled: Readonly<Partial<Record<LabelledKey, ReadonlyMap<string, number>>>>;
  readonly histograms: Readonly<Partial<Record<HistogramKey, Histogram>>>;
  /** Declared, but without samples yet. */
  readonly initializing: ReadonlySet<HistogramKey | LabelledKey>;
  /** When the counters began. `missing` with several API servers. */
  readonly created: Reading<EpochSeconds>;
  readonly prefixCacheUnit: CacheUnit;
  readonly prefixCacheIsOff: boolean;
  readonly modelState: ModelState;
  /** Why it failed; absent unless it did. Sanitized. */
  readonly modelFault?: string;
  readonly kvCacheCapacity: Reading;
  /** Whether capacity is blocks × block size, which is wrong for hybrid models. */
  readonly kvCacheCapacityIsEstimate: boolean;
  /** Exported options; sanitized. */
  readonly configuration: ReadonlyMap<string, string>;
  readonly server: ServerTraits;
  /** Everything it exports. */
  readonly metrics: MetricTable;
}

/** LoRA adapters. `unsupported` if several engines write one state: the last may be idle. */
export interface LoraSample {
  readonly runningAdapters: Reading<readonly string[]>;
  readonly waitingAdapters: Reading<readonly string[]>;
  readonly maxAdapters: Reading;
}

/** A line of the exposition that could not be parsed. */
export interface BadLine {
  /** From 1. */
  readonly line: number;
  /** Sanitized. */
  readonly message: string;
}

/** What an exposition says. */
export interface ServerSample {
  readonly sampleCount: number;
  readonly dialect: "prometheus" | "openmetrics";
  readonly badLineCount: number;
  /** The first few. */
  readonly badLines: readonly BadLine[];
  /** By model, then engine. Empty if metrics are declared but have no samples yet. */
  readonly engines: readonly EngineSample[];
  /** Figures without an engine, such as rejections. */
  readonly server: EngineSample | null;
  readonly lora: LoraSample | null;
  /** Figure -> the older name it was found under. */
  readonly aliases: ReadonlyMap<string, string>;
  readonly metricPrefix: string;
  /** `missing` with several API servers. */
  readonly processStart: Reading<EpochSeconds>;
  /** Oldest `_created` stamp. `missing` with several API servers. */
  readonly countersCreated: Reading<EpochSeconds>;
  /** By status class such as `2xx`. */
  readonly httpResponsesByStatus: ReadonlyMap<string, number>;
}

/** A successful scrape. */
export interface Scrape extends ServerSample {
  /** Its numbers; bodies that differ only in them have the same `read`. */
  readonly body: { values: Float64Array; read: (values: Float64Array) => ServerSample };
  readonly endpointKey: string;
  /** Monotonic, at the last byte. */
  readonly receivedAt: Seconds;
  readonly receivedAtEpoch: EpochSeconds;
  /** From request to last byte. */
  readonly duration: Seconds;
  /** Inflated. */
  readonly bytes: Bytes;
  /** Between two scrapes, if another program decides that. */
  readonly interval?: Seconds;
  /** Target of a same-origin redirect. */
  readonly redirectedTo: string | null;
}

/** What later scrapes are compared with. */
export type KeptScrape = Pick<
  Scrape,
  "endpointKey" | "receivedAt" | "receivedAtEpoch" | "processStart" | "engines" | "server"
>;

/** A served model or LoRA adapter. */
export interface ModelCard {
  readonly id: string;
  /** The base model of an adapter. */
  readonly parent: string | null;
  /** Prompt and output tokens together. */
  readonly maxModelLength: number | null;
}

/** The command line of a server's process. */
export interface LaunchInfo {
  /** Sanitized, secrets masked. */
  readonly commandLine: string;
  /** By option name, such as `tensor-parallel-size`. */
  readonly parallelSizes: ReadonlyMap<string, number>;
  /** Known ports of the server that started it for one of its models, if one did. */
  readonly outerPorts?: readonly number[];
}

export interface ServerInfo {
  readonly version: string | null;
  readonly models: readonly ModelCard[];
  /** `null` if the process is remote or unreadable. */
  readonly launch: LaunchInfo | null;
}

export type FailureKind =
  | ("refused" | "dns" | "tls" | "timeout" | "reset" | "unauthorized" | "not_found")
  | ("server_error" | "http_status" | "redirect" | "html" | "empty" | "not_exposition")
  | ("other_server" | "stats_disabled" | "truncated" | "too_large" | "credentials" | "network")
  | ("proxy" | "ssh" | "cluster" | "pod" | "loading");

export interface ScrapeFailure {
  readonly endpointKey: string;
  readonly failedAt: Seconds;
  readonly failedAtEpoch: EpochSeconds;
  readonly duration: Seconds;
  readonly kind: FailureKind;
  /** What failed and the next step; sanitized. */
  readonly message: string;
  /** How long the server asks to wait; bounded. */
  readonly retryAfter?: Seconds;
}

/** Counter increases over a span. */
export interface Delta {
  /** Between two receipts; monotonic. */
  readonly span: Seconds;
  readonly counters: Readonly<Record<CounterKey, Reading>>;
  /** Without gauges, and without families missing at either end. */
  readonly labelled: Readonly<Partial<Record<LabelledKey, ReadonlyMap<string, number>>>>;
  readonly latencies: Readonly<Record<LatencyKey, Reading<Histogram>>>;
}

/** Gauges averaged over time. */
export const MEAN_KEYS = ["running", "waiting", "kvCacheUsageRatio"] as const;
export type MeanKey = typeof MEAN_KEYS[number];
/** Index into an engine's numbers, or why there is none. */
export type PackedSlot = number | Absent;

/** Seconds, and the number of samples, of the histogram; `null` if there is none. */
export interface LatencyFigures extends Readonly<Record<"p50" | "p95" | "p99", Reading<Quantile>>> {
  readonly mean: Reading<Seconds>;
  readonly samples: Reading;
  readonly histogram: Histogram | null;
}

export interface RatioFigures {
  readonly prefixCacheHitRatio: Reading<Ratio>;
  readonly prefixCacheQueries: Reading;
  readonly externalPrefixCacheHitRatio: Reading<Ratio>;
  readonly draftAcceptanceRatio: Reading<Ratio>;
  /** 1 + accepted ÷ drafts. */
  readonly meanAcceptanceLength: Reading;
}

/** Rates are per second of the measured span. */
export interface WindowFigures extends RatioFigures {
  /** The longest of the merged spans. */
  readonly span: Reading<Seconds>;
  readonly requestsPerSecond: Reading;
  readonly promptTokensPerSecond: Reading;
  readonly computedPromptTokensPerSecond: Reading;
  readonly cachedPromptTokensPerSecond: Reading;
  readonly generationTokensPerSecond: Reading;
  readonly preemptionsPerSecond: Reading;
  /** Position (from 0) -> accepted share of drafts. */
  readonly acceptanceRatioByPosition: ReadonlyMap<string, Ratio>;
  readonly latency: Readonly<Record<LatencyKey, LatencyFigures>>;
}

export interface KvCacheFigures {
  readonly maxRatio: Reading<Ratio>;
  /** Index of the replica with the maximum; -1 if none. */
  readonly maxOwner: number;
  /** Weighted by capacity if every capacity is known. */
  readonly meanRatio: Reading<Ratio>;
  readonly capacityTokens: Reading;
  readonly capacityIsEstimate: boolean;
}

/** Counters since the servers started. */
export interface LifetimeFigures extends RatioFigures {
  readonly promptTokens: Reading;
  readonly cachedPromptTokens: Reading;
  readonly generationTokens: Reading;
  readonly finishedRequests: Reading;
  readonly preemptions: Reading;
  readonly finishedByReason: ReadonlyMap<string, number>;
  readonly promptTokensBySource: ReadonlyMap<string, number>;
  readonly latency: Readonly<Record<LatencyKey, LatencyFigures>>;
}

/** Figures of one replica, or of several merged. */
export interface Figures {
  readonly replicaCount: number;
  readonly running: Reading;
  readonly waiting: Reading;
  readonly waitingByReason: ReadonlyMap<string, number>;
  readonly kvCache: KvCacheFigures;
  readonly lastPoll: WindowFigures;
  readonly lastMinute: WindowFigures;
  /** `null` without a mark of the user. */
  readonly sinceMark: WindowFigures | null;
  readonly lifetime: LifetimeFigures;
}

/** A rule that fires, in a word of at most eight letters. */
export const RULE_STATUSES = [
  ...["STALLED", "COLLAPSE", "OVERLOAD", "HOT", "FULL", "FAILING", "SLO"] as const,
  ...["QUEUING", "PREEMPTS", "REFUSING", "TRANSFER", "SHARED", "SLOW", "STICKY", "SKEW"] as const,
] as const;
export type RuleStatus = typeof RULE_STATUSES[number];

/** What its scrapes say. */
export type ScrapeStatus =
  | ("PENDING" | "OK" | "LOAD" | "INIT" | "SLEEP" | "UNLOADED")
  | ("STALE" | "DOWN");
/** A rule that fires takes the place of OK. */
export type ReplicaStatus = ScrapeStatus | RuleStatus;

/** A service-level objective: `target` of the observations are at most `limit`. */
export interface Objective {
  /** Full name, or its last part; `null` for all models without an own one for this latency. */
  readonly model: string | null;
  readonly latency: typeof OBJECTIVE_KEYS[number];
  readonly limit: Seconds;
  readonly target: Ratio;
}

export type CountsByLabel = ReadonlyMap<string, number>;

export function createRecord<Key extends string, T>(
  keys: readonly Key[],
  compute: (key: Key) => T,
): Record<Key, T> {
  const record: Partial<Record<Key, T>> = {};
  for (const key of keys) record[key] = compute(key);
  return record as Record<Key, T>;
}

export function sumCounts(family: CountsByLabel | undefined): number {
  let sum = 0;
  for (const count of family?.values() ?? []) sum += count;
  return sum;
}

/** Explains why a family or histogram is absent. */
export function getAbsence(
  { initializing, server }: Pick<EngineSample, "initializing" | "server">,
  key: HistogramKey | LabelledKey,
): Absent {
  if (initializing.has(key)) return absent("initializing");
  if (server.noSuchFigures.has(key)) return absent("unsupported");
  return absent(server.metricsAreOff ? "off" : "missing");
}

/** Sums the samples of a figure; of gauges, takes the largest. */
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

export interface MetricValue extends Pick<MetricEntry, "name" | "info" | "kind" | "labels"> {
  /** In the base unit; the count of a histogram. */
  readonly value: number;
  /** Sum of a histogram's observations. */
  readonly sum: number | null;
}

/** In exposition order. */
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
