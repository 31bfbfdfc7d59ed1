/**
 * Every metric name of vLLM, old and new, and the figure that each one feeds.
 *
 * data. One row per figure, its names newest first: the first
 * that a scrape has is taken, and two names of one figure are never added.
 * Names stand without the prefix (`vllm:` and its variants), and as they stand
 * in the text: counters with `_total`, histograms without `_bucket`. Matching
 * is exact. Matching by fragments would take `request_prompt_tokens` for
 * `prompt_tokens` and count a cache twice. Source: vLLM's
 * vllm/engine/metrics.py and vllm/v1/metrics/loggers.py with those of its KV
 * connectors, from tag v0.2.3 on, read 2026-08; 0.32.0 seen on a server.
 *
 * @module
 */

import type { CounterKey, GaugeKey, HistogramKey, LabelledKey } from "./model.ts";

/** One figure of an engine, and where it comes from. */
export type MetricRow =
  & {
    /** Names without prefix, newest first. */
    readonly names: readonly string[];
    /** What the exported value is multiplied by to get the base unit. */
    readonly scale?: number;
  }
  & (
    | { readonly kind: "gauge"; readonly key: GaugeKey }
    | { readonly kind: "counter"; readonly key: CounterKey }
    | { readonly kind: "histogram"; readonly key: HistogramKey }
    /** A family that is split by `label`. */
    | { readonly kind: "labelled"; readonly key: LabelledKey; readonly label: string }
  );

/** Prefixes that are tried in this order: vLLM's own, Ray's since V1 and before, KServe's. */
export const KNOWN_PREFIXES: readonly string[] = [
  "vllm:",
  "ray_vllm_",
  "ray_vllm:",
  "kserve_vllm:",
];

/** Metrics whose labels or stamps are what they say; they are read apart. */
export const CACHE_CONFIG_NAME = "cache_config_info";
export const LORA_NAME = "lora_requests_info";
/** The counter whose `_created` stamp tells when an engine's counters began: every engine has it from its start. */
export const CREATED_NAME = "generation_tokens_created";

/** Names under which the prefix-cache counters may count blocks (vLLM up to 0.8.5) instead of tokens. */
export const BLOCK_COUNTING_NAMES: ReadonlySet<string> = new Set([
  "gpu_prefix_cache_queries_total",
  "gpu_prefix_cache_hits_total",
]);

function gauge(key: GaugeKey, ...names: readonly string[]): MetricRow {
  return { kind: "gauge", key, names };
}

function counter(key: CounterKey, ...names: readonly string[]): MetricRow {
  return { kind: "counter", key, names };
}

function histogram(key: HistogramKey, ...names: readonly string[]): MetricRow {
  return { kind: "histogram", key, names };
}

function labelled(key: LabelledKey, label: string, ...names: readonly string[]): MetricRow {
  return { kind: "labelled", key, label, names };
}

/** The alias table. */
export const METRIC_ROWS: readonly MetricRow[] = [
  // Scheduler and caches.
  gauge("running", "num_requests_running"),
  gauge("waiting", "num_requests_waiting"),
  labelled("waitingByReason", "reason", "num_requests_waiting_by_reason"),
  gauge("swapped", "num_requests_swapped"),
  gauge("kvCacheUsageRatio", "kv_cache_usage_perc", "gpu_cache_usage_perc"),
  gauge("cpuCacheUsageRatio", "cpu_cache_usage_perc"),
  gauge("prefixCacheHitRatioReported", "gpu_prefix_cache_hit_rate"),
  gauge("cpuPrefixCacheHitRatioReported", "cpu_prefix_cache_hit_rate"),
  counter("prefixCacheQueries", "prefix_cache_queries_total", "gpu_prefix_cache_queries_total"),
  counter("prefixCacheHits", "prefix_cache_hits_total", "gpu_prefix_cache_hits_total"),
  counter("externalPrefixCacheQueries", "external_prefix_cache_queries_total"),
  counter("externalPrefixCacheHits", "external_prefix_cache_hits_total"),
  counter("multimodalCacheQueries", "mm_cache_queries_total"),
  counter("multimodalCacheHits", "mm_cache_hits_total"),
  labelled("rejectedByReason", "reason", "admission_rejections_total"),
  labelled("sleepState", "sleep_state", "engine_sleep_state"),
  histogram("kvBlockLifetime", "kv_block_lifetime_seconds"),
  histogram("kvBlockIdleBeforeEvict", "kv_block_idle_before_evict_seconds"),
  histogram("kvBlockReuseGap", "kv_block_reuse_gap_seconds"),

  // Tokens and requests.
  counter("promptTokens", "prompt_tokens_total"),
  labelled("promptTokensBySource", "source", "prompt_tokens_by_source_total"),
  counter("cachedPromptTokens", "prompt_tokens_cached_total"),
  labelled("cachedPromptTokensBySource", "source", "prompt_tokens_cached_by_source_total"),
  counter("recomputedPromptTokens", "prompt_tokens_recomputed_total"),
  counter("generationTokens", "generation_tokens_total"),
  counter("totalTokens", "tokens_total"),
  counter("preemptions", "num_preemptions_total"),
  labelled("finishedByReason", "finished_reason", "request_success_total"),
  counter("corruptedRequests", "corrupted_requests_total"),
  histogram("iterationTokens", "iteration_tokens_total"),
  histogram("requestPromptTokens", "request_prompt_tokens"),
  histogram("requestGenerationTokens", "request_generation_tokens"),
  histogram("requestPrefillComputedTokens", "request_prefill_kv_computed_tokens"),
  histogram("requestMaxGenerationTokens", "request_max_num_generation_tokens"),
  histogram("requestParamN", "request_params_n"),
  histogram("requestParamMaxTokens", "request_params_max_tokens"),
  histogram("requestParamBestOf", "request_params_best_of"),
  histogram("requestPreemptions", "request_num_preemptions"),
  gauge("promptTokensPerSecondReported", "avg_prompt_throughput_toks_per_s"),
  gauge("generationTokensPerSecondReported", "avg_generation_throughput_toks_per_s"),

  // Latencies. time_per_output_token holds the very samples of inter_token_latency.
  histogram("ttft", "time_to_first_token_seconds"),
  histogram("itl", "inter_token_latency_seconds", "time_per_output_token_seconds"),
  histogram("tpot", "request_time_per_output_token_seconds"),
  histogram("e2e", "e2e_request_latency_seconds"),
  histogram("queue", "request_queue_time_seconds", "time_in_queue_requests"),
  histogram("prefill", "request_prefill_time_seconds"),
  histogram("decode", "request_decode_time_seconds"),
  histogram("inference", "request_inference_time_seconds"),
  { ...histogram("modelForward", "model_forward_time_milliseconds"), scale: 1e-3 },
  { ...histogram("modelExecute", "model_execute_time_milliseconds"), scale: 1e-3 },

  // Speculative decoding, diffusion, estimated work.
  gauge("draftAcceptanceRatioReported", "spec_decode_draft_acceptance_rate"),
  gauge("speculativeEfficiencyRatioReported", "spec_decode_efficiency"),
  counter("drafts", "spec_decode_num_drafts_total"),
  counter("draftTokens", "spec_decode_num_draft_tokens_total"),
  counter("acceptedTokens", "spec_decode_num_accepted_tokens_total"),
  counter("emittedTokens", "spec_decode_num_emitted_tokens_total"),
  labelled(
    "acceptedTokensByPosition",
    "position",
    "spec_decode_num_accepted_tokens_per_pos_total",
  ),
  counter("diffusionDenoisingSteps", "diffusion_num_denoising_steps_total"),
  counter("diffusionCanvasPositions", "diffusion_num_canvas_positions_total"),
  counter("diffusionCommittedTokens", "diffusion_num_committed_tokens_total"),
  counter("estimatedFlopsPerGpu", "estimated_flops_per_gpu_total"),
  counter("estimatedReadBytesPerGpu", "estimated_read_bytes_per_gpu_total"),
  counter("estimatedWriteBytesPerGpu", "estimated_write_bytes_per_gpu_total"),

  // KV connectors and offloading.
  histogram("nixlTransfer", "nixl_xfer_time_seconds"),
  histogram("nixlPost", "nixl_post_time_seconds"),
  histogram("nixlBytes", "nixl_bytes_transferred"),
  histogram("nixlDescriptors", "nixl_num_descriptors"),
  counter("nixlFailedTransfers", "nixl_num_failed_transfers_total"),
  counter("nixlFailedNotifications", "nixl_num_failed_notifications_total"),
  counter("nixlExpiredRequests", "nixl_num_kv_expired_reqs_total"),
  labelled("offloadBytesByDirection", "transfer_type", "kv_offload_total_bytes_total"),
  labelled("offloadSecondsByDirection", "transfer_type", "kv_offload_total_time_total"),
  histogram("offloadSize", "kv_offload_size"),
  counter("offloadLoadBytes", "kv_offload_load_bytes_total"),
  counter("offloadLoadSeconds", "kv_offload_load_time_total"),
  histogram("offloadLoadSize", "kv_offload_load_size"),
  counter("offloadStoreBytes", "kv_offload_store_bytes_total"),
  counter("offloadStoreSeconds", "kv_offload_store_time_total"),
  histogram("offloadStoreSize", "kv_offload_store_size"),
  counter("offloadStoresSkipped", "kv_offload_stores_skipped_total"),
  gauge("offloadCpuCacheUsageRatio", "kv_offload_cpu_cache_usage_perc"),
  gauge("offloadCpuCacheWriteUsageRatio", "kv_offload_cpu_cache_write_usage_perc"),
  gauge("offloadCpuCacheReadUsageRatio", "kv_offload_cpu_cache_read_usage_perc"),
  histogram("offloadLookupSyncDelay", "kv_offload_lookup_sync_delay_seconds"),
  histogram("offloadLookupAsyncDelay", "kv_offload_lookup_async_delay_seconds"),
  counter("offloadAllocationFailures", "kv_offload_allocation_failure_total"),
  histogram("offloadCpuAllocationSize", "kv_offload_cpu_allocation_size"),
  labelled("mooncakeOperations", "operation", "mooncake_store_operation_total"),
  labelled("mooncakeKeys", "operation", "mooncake_store_operation_keys_total"),
  labelled("mooncakeBytes", "operation", "mooncake_store_operation_bytes_total"),
  labelled("mooncakeFailedKeys", "operation", "mooncake_store_operation_failed_keys_total"),
  histogram("mooncakeOperationTime", "mooncake_store_operation_time_seconds"),
  histogram("hf3fsSave", "hf3fs_save_duration_seconds"),
  histogram("hf3fsLoad", "hf3fs_load_duration_seconds"),
  counter("hf3fsFailedSaves", "hf3fs_num_failed_save_total"),
  counter("hf3fsFailedLoads", "hf3fs_num_failed_load_total"),

  // The API server's own.
  gauge("websocketConnectionsActive", "websocket_connections_active"),
  counter("websocketConnections", "websocket_connections_total"),
  histogram("websocketConnectionTime", "websocket_connection_duration_seconds"),
  labelled("toolCallsByOutcome", "outcome", "tool_call_parser_invocations_total"),
];
