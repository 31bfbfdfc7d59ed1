/**
 * The nouns of the domain: readonly types that cross modules.
 *
 * and the names of figures only. An endpoint is one URL; a
 * scrape of it yields one sample per engine; a replica is one engine of one
 * endpoint, followed over time; a model group is all replicas that serve the
 * same model. Which Prometheus metric feeds which figure is `dialect_vllm_metrics`'
 * knowledge, and stands nowhere else.
 *
 * @module
 */

import type { Histogram, Quantile } from "./histogram.ts";
import { type Absent, present, type Reading } from "./reading.ts";
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

/** Gauges of an engine. Counts are requests, ratios 0 to 1. */
export const GAUGE_KEYS = [
  "running",
  "waiting",
  "swapped",
  "kvCacheUsageRatio",
  "cpuCacheUsageRatio",
  "prefixCacheHitRatioReported",
  "cpuPrefixCacheHitRatioReported",
  "promptTokensPerSecondReported",
  "generationTokensPerSecondReported",
  "draftAcceptanceRatioReported",
  "speculativeEfficiencyRatioReported",
  "offloadCpuCacheUsageRatio",
  "offloadCpuCacheWriteUsageRatio",
  "offloadCpuCacheReadUsageRatio",
  "websocketConnectionsActive",
] as const;
export type GaugeKey = typeof GAUGE_KEYS[number];

/** Counters of an engine since its start. */
export const COUNTER_KEYS = [
  "promptTokens",
  "cachedPromptTokens",
  "recomputedPromptTokens",
  "generationTokens",
  "totalTokens",
  "preemptions",
  "corruptedRequests",
  "prefixCacheQueries",
  "prefixCacheHits",
  "externalPrefixCacheQueries",
  "externalPrefixCacheHits",
  "multimodalCacheQueries",
  "multimodalCacheHits",
  "drafts",
  "draftTokens",
  "acceptedTokens",
  "emittedTokens",
  "diffusionDenoisingSteps",
  "diffusionCanvasPositions",
  "diffusionCommittedTokens",
  "estimatedFlopsPerGpu",
  "estimatedReadBytesPerGpu",
  "estimatedWriteBytesPerGpu",
  "nixlFailedTransfers",
  "nixlFailedNotifications",
  "nixlExpiredRequests",
  "offloadLoadBytes",
  "offloadLoadSeconds",
  "offloadStoreBytes",
  "offloadStoreSeconds",
  "offloadStoresSkipped",
  "offloadAllocationFailures",
  "hf3fsFailedSaves",
  "hf3fsFailedLoads",
  "websocketConnections",
] as const;
export type CounterKey = typeof COUNTER_KEYS[number];

/** Counters and gauges that come split by one label; the map goes from the label's value to the figure. */
export const LABELLED_KEYS = [
  "finishedByReason",
  "waitingByReason",
  "promptTokensBySource",
  "cachedPromptTokensBySource",
  "acceptedTokensByPosition",
  "sleepState",
  "rejectedByReason",
  "offloadBytesByDirection",
  "offloadSecondsByDirection",
  "mooncakeOperations",
  "mooncakeKeys",
  "mooncakeBytes",
  "mooncakeFailedKeys",
  "toolCallsByOutcome",
] as const;
export type LabelledKey = typeof LABELLED_KEYS[number];

/** Those of them that are gauges: they may fall. */
export const LABELLED_GAUGES: ReadonlySet<LabelledKey> = new Set(["waitingByReason", "sleepState"]);

/** The latencies that are shown, in the order in which a request goes through them. Seconds. */
export const LATENCY_KEYS = ["ttft", "itl", "tpot", "e2e", "queue", "prefill", "decode"] as const;
export type LatencyKey = typeof LATENCY_KEYS[number];

/** Histograms of an engine since its start. Latencies are in seconds. */
export const HISTOGRAM_KEYS = [
  ...LATENCY_KEYS,
  "inference",
  "modelForward",
  "modelExecute",
  "iterationTokens",
  "requestPromptTokens",
  "requestGenerationTokens",
  "requestPrefillComputedTokens",
  "requestMaxGenerationTokens",
  "requestParamN",
  "requestParamMaxTokens",
  "requestParamBestOf",
  "requestPreemptions",
  "kvBlockLifetime",
  "kvBlockIdleBeforeEvict",
  "kvBlockReuseGap",
  "nixlTransfer",
  "nixlPost",
  "nixlBytes",
  "nixlDescriptors",
  "offloadSize",
  "offloadLoadSize",
  "offloadStoreSize",
  "offloadLookupSyncDelay",
  "offloadLookupAsyncDelay",
  "offloadCpuAllocationSize",
  "mooncakeOperationTime",
  "hf3fsSave",
  "hf3fsLoad",
  "websocketConnectionTime",
] as const;
export type HistogramKey = typeof HISTOGRAM_KEYS[number];

/** The unit of the prefix-cache counters: blocks up to vLLM 0.8.5, tokens from 0.9.0 on. The ratio is the same. */
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
  /** The labels of `cache_config_info`, made safe to print. */
  readonly cacheConfig: ReadonlyMap<string, string>;
}

/** The adapters that `lora_requests_info` names, as of its newest series. */
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
  /** In the order of the exposition. Empty when it declares vLLM's metrics but has no sample of an engine yet. */
  readonly engines: readonly EngineSample[];
  readonly lora: LoraSample | null;
  /** Metrics that were found under an older of their names: figure -> that name. */
  readonly aliases: ReadonlyMap<string, string>;
  /** The prefix of vLLM's metrics here, such as `vllm:` or `ray_vllm_`. */
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
  /** Of vLLM; `null` where `/version` did not say. */
  readonly version: string | null;
  /** Empty where `/v1/models` did not say. */
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
  | "not_vllm"
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

/** The source of prompt tokens whose prefill was computed (vLLM's `prompt_tokens_by_source`); all others are caches. */
const COMPUTED_SOURCE = "local_compute";

/**
 * All children of the family together; 0 where there is no family.
 */
export function sumCounts(family: CountsByLabel | undefined): number {
  let sum = 0;
  for (const count of family?.values() ?? []) sum += count;
  return sum;
}

/** Prompt tokens whose prefill was computed, of those that are told by their source. */
export function countComputedTokens(bySource: CountsByLabel): number {
  return bySource.get(COMPUTED_SOURCE) ?? 0;
}

/**
 * Prompt tokens that came from a cache, local or external.
 *
 * @param bySource Prompt tokens by their source. Servers that have no such family have the counter.
 */
export function getCachedTokens(bySource: CountsByLabel | undefined, counter: Reading): Reading {
  if (bySource === undefined) return counter;
  return present(sumCounts(bySource) - countComputedTokens(bySource));
}
