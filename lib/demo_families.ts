/**
 * The metric families of a simulated vLLM server, and where their figures come from.
 *
 * What an engine has counted -> names, help texts, labels and
 * buckets, as data in the order of the exposition. `simulator_text` writes
 * them, `simulator_engine` fills the figures. Seconds and tokens. Source of truth:
 * bodies of real vLLM 0.32.0 servers, recorded 2026-11. Deliberately apart from
 * the names in `vllm_names`: one table for both sides would make
 * every misspelt name agree with itself.
 *
 * @module
 */

import type { Ratio } from "./units.ts";

/** Why a request ended, in vLLM's order. */
export const FINISH_REASONS = ["stop", "length", "abort", "error", "repetition"] as const;
export type FinishReason = typeof FINISH_REASONS[number];

/** A histogram that is being filled. */
export interface TallyHistogram {
  /** Upper bounds, ascending, without `+Inf`. */
  readonly bounds: readonly number[];
  /** Observations in each bucket alone, not cumulative; one longer than `bounds`. */
  readonly counts: Float64Array;
  sum: number;
}

const TTFT_BOUNDS = [
  ...[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
  ...[20, 40, 80, 160, 640, 2560],
];
const TOKEN_GAP_BOUNDS = [
  ...[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20],
  ...[40, 80],
];
const REQUEST_TIME_BOUNDS = [
  ...[0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920],
  7680,
];
const ITERATION_BOUNDS = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
const HTTP_FINE_BOUNDS = [
  ...[0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5],
  ...[10, 30, 60],
];
const HTTP_COARSE_BOUNDS = [0.1, 0.5, 1];

/** 1, 2, 5, 10, 20, 50 … up to and including the longest context. */
function listTokenBounds(maxModelLength: number): number[] {
  const bounds = [];
  for (let scale = 1; scale <= maxModelLength; scale *= 10) {
    for (const digit of [1, 2, 5]) if (digit * scale <= maxModelLength) bounds.push(digit * scale);
  }
  return bounds;
}

function createTally(bounds: readonly number[]): TallyHistogram {
  return { bounds, counts: new Float64Array(bounds.length + 1), sum: 0 };
}

/** An engine's histograms; `http*` are those of its requests at the API server. */
export interface Tallies {
  readonly requestPromptTokens: TallyHistogram;
  readonly requestGenerationTokens: TallyHistogram;
  readonly iterationTokens: TallyHistogram;
  readonly requestMaxGenerationTokens: TallyHistogram;
  readonly requestParamN: TallyHistogram;
  readonly requestParamMaxTokens: TallyHistogram;
  readonly ttft: TallyHistogram;
  readonly itl: TallyHistogram;
  readonly tpot: TallyHistogram;
  readonly e2e: TallyHistogram;
  readonly queue: TallyHistogram;
  readonly inference: TallyHistogram;
  readonly prefill: TallyHistogram;
  readonly decode: TallyHistogram;
  readonly requestPreemptions: TallyHistogram;
  readonly requestComputedTokens: TallyHistogram;
  readonly httpFine: TallyHistogram;
  readonly httpCoarse: TallyHistogram;
}

/** Empty histograms for an engine whose longest context is `maxModelLength` tokens. */
export function createTallies(maxModelLength: number): Tallies {
  const tokenBounds = listTokenBounds(maxModelLength);
  return {
    requestPromptTokens: createTally(tokenBounds),
    requestGenerationTokens: createTally(tokenBounds),
    iterationTokens: createTally(ITERATION_BOUNDS),
    requestMaxGenerationTokens: createTally(tokenBounds),
    requestParamN: createTally([1, 2, 5, 10, 20]),
    requestParamMaxTokens: createTally(tokenBounds),
    ttft: createTally(TTFT_BOUNDS),
    itl: createTally(TOKEN_GAP_BOUNDS),
    tpot: createTally(TOKEN_GAP_BOUNDS),
    e2e: createTally(REQUEST_TIME_BOUNDS),
    queue: createTally(REQUEST_TIME_BOUNDS),
    inference: createTally(REQUEST_TIME_BOUNDS),
    prefill: createTally(REQUEST_TIME_BOUNDS),
    decode: createTally(REQUEST_TIME_BOUNDS),
    requestPreemptions: createTally([1, 2, 3, 4, 5, 10, 20]),
    requestComputedTokens: createTally(tokenBounds),
    httpFine: createTally(HTTP_FINE_BOUNDS),
    httpCoarse: createTally(HTTP_COARSE_BOUNDS),
  };
}

/** What an engine has counted since its server started. Tokens, requests, seconds. */
export interface EngineFigures {
  readonly model: string;
  /** The data-parallel rank. */
  readonly engine: string;
  readonly maxModelLength: number;
  readonly blockSize: number;
  readonly blockCount: number;
  readonly running: number;
  readonly waiting: number;
  readonly kvCacheUsage: Ratio;
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  readonly generationTokens: number;
  readonly prefixCacheQueries: number;
  readonly prefixCacheHits: number;
  readonly preemptions: number;
  readonly rejected: number;
  readonly finished: Readonly<Record<FinishReason, number>>;
  readonly drafts: number;
  readonly draftTokens: number;
  readonly acceptedByPosition: readonly number[];
  readonly totals: Tallies;
}

/** A histogram of each engine. */
interface HistogramFamily {
  readonly key: keyof Tallies;
  readonly name: string;
  readonly help: string;
}

/** In the order of the exposition. */
export const HISTOGRAM_FAMILIES: readonly HistogramFamily[] = [
  {
    key: "requestPromptTokens",
    name: "vllm:request_prompt_tokens",
    help: "Number of prefill tokens processed.",
  },
  {
    key: "requestGenerationTokens",
    name: "vllm:request_generation_tokens",
    help: "Number of generation tokens processed.",
  },
  {
    key: "iterationTokens",
    name: "vllm:iteration_tokens_total",
    help: "Histogram of number of tokens per engine_step.",
  },
  {
    key: "requestMaxGenerationTokens",
    name: "vllm:request_max_num_generation_tokens",
    help: "Histogram of maximum number of requested generation tokens.",
  },
  {
    key: "requestParamN",
    name: "vllm:request_params_n",
    help: "Histogram of the n request parameter.",
  },
  {
    key: "requestParamMaxTokens",
    name: "vllm:request_params_max_tokens",
    help: "Histogram of the max_tokens request parameter.",
  },
  {
    key: "ttft",
    name: "vllm:time_to_first_token_seconds",
    help: "Histogram of time to first token in seconds.",
  },
  {
    key: "itl",
    name: "vllm:inter_token_latency_seconds",
    help: "Histogram of inter-token latency in seconds.",
  },
  {
    key: "tpot",
    name: "vllm:request_time_per_output_token_seconds",
    help: "Histogram of time_per_output_token_seconds per request.",
  },
  {
    key: "e2e",
    name: "vllm:e2e_request_latency_seconds",
    help: "Histogram of e2e request latency in seconds.",
  },
  {
    key: "queue",
    name: "vllm:request_queue_time_seconds",
    help: "Histogram of time spent in WAITING phase for request.",
  },
  {
    key: "inference",
    name: "vllm:request_inference_time_seconds",
    help: "Histogram of time spent in RUNNING phase for request.",
  },
  {
    key: "prefill",
    name: "vllm:request_prefill_time_seconds",
    help: "Histogram of time spent in PREFILL phase for request.",
  },
  {
    key: "decode",
    name: "vllm:request_decode_time_seconds",
    help: "Histogram of time spent in DECODE phase for request.",
  },
  {
    key: "requestPreemptions",
    name: "vllm:request_num_preemptions",
    help: "Histogram of the number of times a request was preempted.",
  },
  {
    key: "requestComputedTokens",
    name: "vllm:request_prefill_kv_computed_tokens",
    help: "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
  },
];

/** Reads one figure of an engine. */
export type ReadFigure = (engine: EngineFigures) => number;

/** A counter or gauge of each engine. Counters are named without their `_total`. */
export interface ScalarFamily {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge";
  /** The label that tells the children apart, beside `engine` and `model_name`. */
  readonly label?: string;
  /** Values of that label with what to read; one child with the value `""` where there is no label. */
  readonly children: readonly (readonly [string, ReadFigure])[];
}

const readZero: ReadFigure = () => 0;

function defineGauge(name: string, help: string, read: ReadFigure): ScalarFamily {
  return { name, help, type: "gauge", children: [["", read]] };
}

function defineCounter(name: string, help: string, read: ReadFigure): ScalarFamily {
  return { name, help, type: "counter", children: [["", read]] };
}

/** The families of speculative decoding, with one child for each position that is drafted. */
export function listSpeculativeFamilies(positionCount: number): readonly ScalarFamily[] {
  const positions = Array.from({ length: positionCount }, (_, position) => position);
  return [
    defineCounter(
      "vllm:spec_decode_num_drafts",
      "Number of spec decoding drafts.",
      (e) => e.drafts,
    ),
    defineCounter(
      "vllm:spec_decode_num_draft_tokens",
      "Number of draft tokens.",
      (e) => e.draftTokens,
    ),
    defineCounter(
      "vllm:spec_decode_num_accepted_tokens",
      "Number of accepted tokens.",
      (e) => e.acceptedByPosition.reduce((sum, count) => sum + count, 0),
    ),
    {
      name: "vllm:spec_decode_num_accepted_tokens_per_pos",
      help: "Accepted tokens per draft position.",
      type: "counter",
      label: "position",
      children: positions.map((i) => [String(i), (e) => e.acceptedByPosition[i] ?? 0]),
    },
  ];
}

const ESTIMATE_NOTE = "per GPU (for Model Flops Utilization calculations).";
/** Always there, and 0 unless the server is asked to estimate: as on most servers. */
export const ESTIMATE_FAMILIES: readonly ScalarFamily[] = [
  defineCounter(
    "vllm:estimated_flops_per_gpu",
    `Estimated number of floating point operations ${ESTIMATE_NOTE}`,
    readZero,
  ),
  defineCounter(
    "vllm:estimated_read_bytes_per_gpu",
    `Estimated number of bytes read from memory ${ESTIMATE_NOTE}`,
    readZero,
  ),
  defineCounter(
    "vllm:estimated_write_bytes_per_gpu",
    `Estimated number of bytes written to memory ${ESTIMATE_NOTE}`,
    readZero,
  ),
];

/** In the order of the exposition, as the next. */
export const GAUGE_FAMILIES: readonly ScalarFamily[] = [
  defineGauge(
    "vllm:num_requests_running",
    "Number of requests in model execution batches.",
    (e) => e.running,
  ),
  defineGauge(
    "vllm:num_requests_waiting",
    "Number of requests waiting to be processed.",
    (e) => e.waiting,
  ),
  {
    name: "vllm:num_requests_waiting_by_reason",
    help: "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for " +
      "scheduling capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV " +
      "transfer, blocked status). Sum of all reasons equals vllm:num_requests_waiting.",
    type: "gauge",
    label: "reason",
    children: [["capacity", (e) => e.waiting], ["deferred", readZero]],
  },
  {
    name: "vllm:engine_sleep_state",
    help: "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is " +
      "awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
    type: "gauge",
    label: "sleep_state",
    children: [["awake", () => 1], ["weights_offloaded", readZero], ["discard_all", readZero]],
  },
  defineGauge(
    "vllm:kv_cache_usage_perc",
    "KV-cache usage. 1 means 100 percent usage.",
    (e) => e.kvCacheUsage,
  ),
];

/** Families of the two counters that every cache has. */
function defineCache(
  name: string,
  options: {
    readonly title: string;
    readonly unit: string;
    readonly reads: readonly [ReadFigure, ReadFigure];
  },
): readonly ScalarFamily[] {
  const { title, unit, reads } = options;
  return [
    defineCounter(
      `vllm:${name}_queries`,
      `${title} queries, in terms of number of queried ${unit}.`,
      reads[0],
    ),
    defineCounter(
      `vllm:${name}_hits`,
      `${title} hits, in terms of number of cached ${unit}.`,
      reads[1],
    ),
  ];
}

const EXTERNAL_NOTE = "from KV connector cross-instance cache sharing, in terms of number of";

/** Without rejections, which are counted for the whole server. */
export const COUNTER_FAMILIES: readonly ScalarFamily[] = [
  ...defineCache("prefix_cache", {
    title: "Prefix cache",
    unit: "tokens",
    reads: [(e) => e.prefixCacheQueries, (e) => e.prefixCacheHits],
  }),
  defineCounter(
    "vllm:external_prefix_cache_queries",
    `External prefix cache queries ${EXTERNAL_NOTE} queried tokens.`,
    readZero,
  ),
  defineCounter(
    "vllm:external_prefix_cache_hits",
    `External prefix cache hits ${EXTERNAL_NOTE} cached tokens.`,
    readZero,
  ),
  ...defineCache("mm_cache", {
    title: "Multi-modal cache",
    unit: "items",
    reads: [readZero, readZero],
  }),
  defineCounter(
    "vllm:num_preemptions",
    "Cumulative number of preemption from the engine.",
    (e) => e.preemptions,
  ),
  defineCounter("vllm:prompt_tokens", "Number of prefill tokens processed.", (e) => e.promptTokens),
  {
    name: "vllm:prompt_tokens_by_source",
    help: "Number of prompt tokens by source.",
    type: "counter",
    label: "source",
    children: [
      ["local_compute", (e) => e.promptTokens - e.cachedPromptTokens],
      ["local_cache_hit", (e) => e.cachedPromptTokens],
      ["external_kv_transfer", readZero],
    ],
  },
  defineCounter(
    "vllm:prompt_tokens_cached",
    "Number of cached prompt tokens (local + external).",
    (e) => e.cachedPromptTokens,
  ),
  {
    name: "vllm:prompt_tokens_cached_by_source",
    help:
      "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host " +
      "(offloaded to DRAM), disk, p2p (transferred from another vLLM instance) or " +
      "external_unspecified. Counted at admission; sums to vllm:prefix_cache_hits + " +
      "vllm:external_prefix_cache_hits.",
    type: "counter",
    label: "source",
    children: [
      ["device", (e) => e.prefixCacheHits],
      ["host", readZero],
      ["p2p", readZero],
      ["disk", readZero],
      ["external_unspecified", readZero],
    ],
  },
  defineCounter(
    "vllm:generation_tokens",
    "Number of generation tokens processed.",
    (e) => e.generationTokens,
  ),
  {
    name: "vllm:request_success",
    help: "Count of successfully processed requests.",
    type: "counter",
    label: "finished_reason",
    children: FINISH_REASONS.map((reason) => [reason, (e: EngineFigures) => e.finished[reason]]),
  },
];
