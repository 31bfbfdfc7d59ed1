/**
 * TensorRT-LLM's own server, trtllm-serve: figures of finished requests, and gauges of the last
 * step. Sources: TensorRT-LLM 1.3, read 2026-11.
 * @module
 */

import {
  counter,
  type Dialect,
  type EngineConclusions,
  type EngineFacts,
  gauge,
  histogram,
  type MetricRow,
  UNTITLED,
  USUAL_CONCLUSIONS,
} from "./dialect_model.ts";
import { absent, checkReading, isPresent } from "./reading.ts";

const BLOCKS_NAME = "kv_cache_max_blocks";
const BLOCK_SIZE_NAME = "kv_cache_tokens_per_block";

/** In the file of its options. */
const STATS_FLAG = "enable_iter_perf_stats: true";

// deno-fmt-ignore
const ROWS: readonly MetricRow[] = [
  gauge("num_requests_running", "requests", "Running", "Of the last step that had requests.", { key: "running", since: "1.3.0", flag: STATS_FLAG }),
  gauge("num_requests_waiting", "requests", "Waiting", "Of the last step that had requests.", { key: "waiting", since: "1.3.0", flag: STATS_FLAG }),
  gauge("num_paused_requests", "requests", "Paused", "For want of KV blocks.", { since: "1.3.0" }),
  gauge("max_num_active_requests", "requests", "Most running", "The limit.", { since: "1.3.0" }),
  gauge("kv_cache_utilization", "ratio", "KV-cache usage", "Used blocks.", { key: "kvCacheUsageRatio", since: "1.3.0", flag: STATS_FLAG }),
  gauge(BLOCKS_NAME, "blocks", "KV-cache blocks", "", { since: "1.3.0" }),
  gauge(BLOCK_SIZE_NAME, "tokens", "Tokens per block", "", { since: "1.3.0", overEngines: "max" }),
  gauge("kv_cache_hit_rate", "ratio", "Prefix-cache hit ratio", "Since the start, as the server computes it.", { since: "1.3.0", overEngines: "none" }),
  counter("prompt_tokens_total", "tokens", "Prompt tokens", "Of finished requests, cached ones included.", { key: "promptTokens", since: "1.3.0" }),
  counter("prompt_cached_tokens_total", "tokens", "Cached prompt tokens", "Of finished requests.", { key: "cachedPromptTokens", since: "1.3.0" }),
  counter("generation_tokens_total", "tokens", "Generated tokens", "Of finished requests.", { key: "generationTokens", since: "1.3.0" }),
  counter("request_success_total", "requests", "Finished requests", "By the reason why they finished.", { key: "finishedByReason", label: "finished_reason" }),
  counter("request_error_total", "requests", "Refused requests", "By HTTP status.", { label: "http_code", since: "1.3.0" }),
  counter("spec_decode_num_draft_tokens_total", "tokens", "Draft tokens", "Proposed.", { key: "draftTokens", since: "1.3.0" }),
  counter("spec_decode_num_accepted_tokens_total", "tokens", "Accepted tokens", "Of those proposed.", { key: "acceptedTokens", since: "1.3.0" }),
  histogram("time_to_first_token_seconds", "seconds", "TTFT", "Booked at finish.", { key: "ttft" }),
  histogram("time_per_output_token_seconds", "seconds", "TPOT", "Per finished request.", { key: "tpot" }),
  histogram("e2e_request_latency_seconds", "seconds", "E2E latency", "", { key: "e2e" }),
  histogram("request_queue_time_seconds", "seconds", "Queue time", "", { key: "queue" }),
  histogram("request_prefill_time_seconds", "seconds", "Prefill time", "", { key: "prefill", since: "1.3.0" }),
  histogram("request_decode_time_seconds", "seconds", "Decode time", "", { key: "decode", since: "1.3.0" }),
];

function conclude({ counters, getValue, getFamily }: EngineFacts): EngineConclusions {
  const { cachedPromptTokens: cached, promptTokens } = counters;
  const blocks = getValue(BLOCKS_NAME);
  const blockSize = getValue(BLOCK_SIZE_NAME);
  const errors = [...getFamily("request_error_total")];
  const ofServer = errors.filter(([status]) => status.startsWith("5"));
  return {
    ...USUAL_CONCLUSIONS,
    kvCacheCapacity: blocks === null || blockSize === null
      ? absent("missing")
      : checkReading(blocks * blockSize),
    counters: {
      prefixCacheHits: cached,
      prefixCacheQueries: isPresent(cached) ? promptTokens : cached,
      failedRequests: errors.length === 0
        ? absent("missing")
        : checkReading(ofServer.reduce((sum, [, count]) => sum + count, 0)),
    },
  };
}

export const TRTLLM: Dialect = {
  name: "trtllm-serve",
  prefixes: ["trtllm_"],
  rows: ROWS,
  defaultPort: 8000,
  paths: [
    { path: "/prometheus/metrics", when: "each_round" },
    { path: "/v1/models", when: "once" },
    { path: "/version", when: "once" },
    // They take statistics away from other readers, or generate.
    { path: "/metrics", when: "never" },
    { path: "/perf_metrics", when: "never" },
    { path: "/kv_cache_events", when: "never" },
    { path: "/health_generate", when: "never" },
  ],
  modelOwner: "tensorrt_llm",
  derivedKeys: ["prefixCacheHits", "prefixCacheQueries"],
  answersVersion: false,
  enablingOption: "return_perf_metrics: true",
  labels: {
    model: "model_name",
    engine: "engine",
    workers: [],
    parts: ["pid", "engine_type"],
    aliases: new Map(),
  },
  tokensAreBooked: "finish",
  failuresAreApart: true,
  mainOptions: [],
  flags: {
    kvCacheMemory: "--kv_cache_free_gpu_memory_fraction",
    kvCacheType: "kv_cache_config.dtype: fp8",
    maxLength: "--max_seq_len",
    concurrentRequests: "--max_batch_size",
    tokenBudget: "--max_num_tokens",
  },
  capacityReason: "",
  processes: {
    ...UNTITLED,
    command: /(?:^|[\s/])trtllm-serve(?:\s|$)|\btensorrt_llm\.commands\.serve\b/,
    image: /(?:^|\/)tensorrt-llm(?:\/|$)/,
    modelOptions: ["served-model-name"],
  },
  conclude,
};
