/**
 * Every metric of vLLM. One row per figure, newest name first: the first that a scrape has counts,
 * never the sum of two. Names are exact and without prefix: fragments would take
 * `request_prompt_tokens` for `prompt_tokens`. Sources: vLLM's metrics.py, loggers.py and KV
 * connectors from v0.2.3 on, read 2026-08; a 0.32.0 server; documentation and code of 0.33.0, read
 * 2026-11.
 * @module
 */

import {
  counter,
  gauge,
  histogram,
  info as createInfo,
  type MetricRow,
  type RowOptions,
} from "./dialect_model.ts";

/** In order of trial: vLLM's own, Ray's since V1 and before, KServe's. */
export const VLLM_PREFIXES: readonly string[] = ["vllm:", "ray_vllm_", "ray_vllm:", "kserve_vllm:"];
/** Every engine has this counter from its start. */
export const CREATED_NAME = "generation_tokens_created";

/** Counters that may count blocks (vLLM up to 0.8.5). */
export const BLOCK_COUNTING_NAMES: ReadonlySet<string> = new Set([
  "gpu_prefix_cache_queries_total",
  "gpu_prefix_cache_hits_total",
]);

function info(name: string, title: string, help: string, options: RowOptions): MetricRow {
  return createInfo(name, "", title, help, options);
}

const SPECULATION_FLAG = "--speculative-config";

/** One line per row. */
// deno-fmt-ignore
export const VLLM_METRIC_ROWS: readonly MetricRow[] = [
  // Scheduler and caches.
  gauge("num_requests_running", "requests", "Running", "Requests in the batch.", { key: "running", since: "0.2.3" }),
  gauge("num_requests_waiting", "requests", "Waiting", "Waiting requests, deferred ones included.", { key: "waiting", since: "0.2.3" }),
  gauge("num_requests_waiting_by_reason", "requests", "Waiting by reason", "Parts of the waiting ones.", { key: "waitingByReason", label: "reason", since: "0.20.0" }),
  gauge("num_requests_kv_fetch_by_stage", "requests", "Remote KV fetches", "Requests that fetch KV from another server, by stage.", { label: "stage", since: "0.33.0" }),
  gauge("watermark_requests", "requests", "Watermark requests", "Requests held back by the watermark of free blocks.", { since: "0.33.0" }),
  gauge("num_requests_swapped", "requests", "Swapped", "Requests whose KV is in CPU memory (V0).", { key: "swapped", since: "0.2.3", until: "0.9.0" }),
  gauge(["kv_cache_usage_perc", "gpu_cache_usage_perc"], "ratio", "KV-cache usage", "Used blocks; cached ones that may be evicted count as free.", { key: "kvCacheUsageRatio", since: "0.2.3" }),
  gauge("cpu_cache_usage_perc", "ratio", "CPU KV-cache usage", "Of the swap space (V0).", { since: "0.2.3", until: "0.9.0" }),
  gauge("gpu_prefix_cache_hit_rate", "ratio", "Prefix-cache hit ratio", "As the server computes it (V0); below 0: caching is off.", { key: "prefixCacheHitRatioReported", since: "0.5.5", until: "0.9.0", overEngines: "none" }),
  gauge("cpu_prefix_cache_hit_rate", "ratio", "CPU prefix-cache hit ratio", "As the server computes it (V0).", { since: "0.5.5", until: "0.9.0", overEngines: "none" }),
  counter(["prefix_cache_queries_total", "gpu_prefix_cache_queries_total"], "tokens", "Prefix-cache queries", "Tokens looked up; blocks up to 0.8.5.", { key: "prefixCacheQueries", since: "0.7.3" }),
  counter(["prefix_cache_hits_total", "gpu_prefix_cache_hits_total"], "tokens", "Prefix-cache hits", "Of the tokens looked up.", { key: "prefixCacheHits", since: "0.7.3" }),
  counter("external_prefix_cache_queries_total", "tokens", "External prefix-cache queries", "Tokens looked up through a KV connector.", { key: "externalPrefixCacheQueries", since: "0.11.1" }),
  counter("external_prefix_cache_hits_total", "tokens", "External prefix-cache hits", "Of the tokens looked up through a KV connector.", { key: "externalPrefixCacheHits", since: "0.11.1" }),
  counter("mm_cache_queries_total", "items", "Multimodal-cache queries", "Images and other items looked up.", { since: "0.11.1" }),
  counter("mm_cache_hits_total", "items", "Multimodal-cache hits", "Of the items looked up.", { since: "0.11.1" }),
  counter("admission_rejections_total", "requests", "Rejected", "Admissions refused with 503, by the limit that was reached.", { key: "rejectedByReason", label: "reason", since: "0.32.0" }),
  gauge("engine_sleep_state", "state", "Sleep state", "1 for the state that the engine is in.", { label: "sleep_state", since: "0.11.1", overEngines: "none" }),
  histogram("sleep_mode_operation_duration_seconds", "seconds", "Sleep-mode operations", "Duration of sleep, wake and release.", { since: "0.33.0" }),
  gauge("sleep_mode_operations_in_flight", "operations", "Sleep-mode operations running", "Not finished yet, by operation.", { label: "operation", since: "0.33.0" }),
  histogram("kv_block_lifetime_seconds", "seconds", "KV-block lifetime", "From allocation to eviction, sampled.", { since: "0.12.0" }),
  histogram("kv_block_idle_before_evict_seconds", "seconds", "KV-block idle time", "From the last use to eviction, sampled.", { since: "0.12.0" }),
  histogram("kv_block_reuse_gap_seconds", "seconds", "KV-block reuse gap", "Between two uses, sampled.", { since: "0.12.0" }),
  info("cache_config_info", "Cache configuration", "Options of the KV cache.", { role: "configuration", since: "0.3.3" }),
  info("lora_requests_info", "LoRA adapters", "Running and waiting adapters; the value is the time of the change.", { role: "adapters", since: "0.6.4" }),

  // Tokens and requests.
  counter("prompt_tokens_total", "tokens", "Prompt tokens", "Counted at the first token, cached ones included.", { key: "promptTokens", since: "0.3.1" }),
  counter("prompt_tokens_by_source_total", "tokens", "Prompt tokens by source", "Computed, or from which cache.", { key: "promptTokensBySource", label: "source", since: "0.16.0" }),
  counter("prompt_tokens_cached_total", "tokens", "Cached prompt tokens", "From a local or an external cache.", { key: "cachedPromptTokens", since: "0.16.0" }),
  counter("prompt_tokens_cached_by_source_total", "tokens", "Cached prompt tokens by source", "By the storage that they came from.", { label: "source", since: "0.32.0" }),
  counter("prompt_tokens_recomputed_total", "tokens", "Recomputed prompt tokens", "Cached tokens that were computed again.", { since: "0.16.0", until: "0.19.1" }),
  counter("generation_tokens_total", "tokens", "Generated tokens", "Counted at each step.", { key: "generationTokens", since: "0.3.1" }),
  counter("tokens_total", "tokens", "Tokens", "Always 0 (V0).", { since: "0.6.4", until: "0.7.3" }),
  counter("num_preemptions_total", "preemptions", "Preemptions", "Requests put back into the queue because KV blocks ran out.", { key: "preemptions", since: "0.4.3" }),
  counter("request_success_total", "requests", "Finished requests", "By the reason why they finished; aborts and errors too.", { key: "finishedByReason", label: "finished_reason", since: "0.4.2" }),
  counter("corrupted_requests_total", "requests", "Corrupted requests", "With NaN among the logits; only with VLLM_COMPUTE_NANS_IN_LOGITS=1.", { key: "corruptedRequests", since: "0.11.1", flag: "VLLM_COMPUTE_NANS_IN_LOGITS=1" }),
  histogram("iteration_tokens_total", "tokens", "Tokens per step", "Of one step of the engine.", { key: "iterationTokens", since: "0.6.4" }),
  histogram("request_prompt_tokens", "tokens", "Prompt length", "Of finished requests.", { key: "promptLength", since: "0.4.2" }),
  histogram("request_generation_tokens", "tokens", "Output length", "Of finished requests.", { key: "outputLength", since: "0.4.2" }),
  histogram("request_prefill_kv_computed_tokens", "tokens", "Computed prompt length", "Prompt without cached tokens, of finished requests.", { since: "0.13.0" }),
  histogram("request_max_num_generation_tokens", "tokens", "Longest output", "Of the sequences of a request.", { since: "0.6.4" }),
  histogram("request_params_n", "sequences", "Parameter n", "Of finished requests.", { since: "0.4.2" }),
  histogram("request_params_max_tokens", "tokens", "Parameter max_tokens", "Of finished requests.", { since: "0.6.4" }),
  histogram("request_params_best_of", "sequences", "Parameter best_of", "Of finished requests (V0).", { since: "0.4.2", until: "0.6.3" }),
  histogram("request_num_preemptions", "preemptions", "Preemptions per request", "Of finished requests.", { since: "0.32.0" }),
  gauge("avg_prompt_throughput_toks_per_s", "tokens per second", "Prompt throughput", "Of the last log interval (V0).", { since: "0.2.3", until: "0.6.6" }),
  gauge("avg_generation_throughput_toks_per_s", "tokens per second", "Generation throughput", "Of the last log interval (V0).", { since: "0.2.3", until: "0.6.6" }),

  // Latencies. time_per_output_token holds the very samples of inter_token_latency.
  histogram("time_to_first_token_seconds", "seconds", "TTFT", "From arrival to the first token.", { key: "ttft", since: "0.3.1" }),
  histogram(["inter_token_latency_seconds", "time_per_output_token_seconds"], "seconds", "ITL", "Between outputs of a request: one observation per step.", { key: "itl", since: "0.3.1" }),
  histogram("request_time_per_output_token_seconds", "seconds", "TPOT", "Per finished request; 0 with one token.", { key: "tpot", since: "0.11.0" }),
  histogram("e2e_request_latency_seconds", "seconds", "E2E latency", "From arrival to the end.", { key: "e2e", since: "0.3.1" }),
  histogram(["request_queue_time_seconds", "time_in_queue_requests"], "seconds", "Queue time", "From arrival in the queue to the first schedule.", { key: "queue", since: "0.6.4" }),
  histogram("request_prefill_time_seconds", "seconds", "Prefill time", "From the first schedule to the first token.", { key: "prefill", since: "0.6.4" }),
  histogram("request_decode_time_seconds", "seconds", "Decode time", "From the first to the last token.", { key: "decode", since: "0.6.4" }),
  histogram("request_inference_time_seconds", "seconds", "Inference time", "From the first schedule to the last token.", { since: "0.6.4" }),
  histogram("model_forward_time_milliseconds", "seconds", "Model forward time", "Only with detailed tracing (V0).", { since: "0.6.4", until: "0.9.0", scale: 1e-3 }),
  histogram("model_execute_time_milliseconds", "seconds", "Model execute time", "Only with detailed tracing (V0).", { since: "0.6.4", until: "0.9.0", scale: 1e-3 }),

  // Speculative decoding, diffusion, estimated work.
  gauge("spec_decode_draft_acceptance_rate", "ratio", "Draft acceptance ratio", "As the server computes it (V0).", { since: "0.5.3", until: "0.9.2", overEngines: "none" }),
  gauge("spec_decode_efficiency", "ratio", "Speculation efficiency", "As the server computes it (V0).", { since: "0.5.3", until: "0.9.2", overEngines: "none" }),
  counter("spec_decode_num_drafts_total", "drafts", "Drafts", "Steps with a draft.", { key: "drafts", since: "0.8.5", flag: SPECULATION_FLAG }),
  counter("spec_decode_num_draft_tokens_total", "tokens", "Draft tokens", "Proposed.", { key: "draftTokens", since: "0.5.3", flag: SPECULATION_FLAG }),
  counter("spec_decode_num_accepted_tokens_total", "tokens", "Accepted tokens", "Of those proposed.", { key: "acceptedTokens", since: "0.5.3", flag: SPECULATION_FLAG }),
  counter("spec_decode_num_emitted_tokens_total", "tokens", "Emitted tokens", "Of steps with a draft (V0).", { since: "0.5.3", until: "0.9.2" }),
  counter("spec_decode_num_accepted_tokens_per_pos_total", "tokens", "Accepted tokens by position", "A token counts at its position of the draft.", { key: "acceptedTokensByPosition", label: "position", since: "0.8.5" }),
  counter("diffusion_num_denoising_steps_total", "steps", "Denoising steps", "Of diffusion models.", { since: "0.24.0" }),
  counter("diffusion_num_canvas_positions_total", "positions", "Canvas positions", "Of diffusion models.", { since: "0.24.0" }),
  counter("diffusion_num_committed_tokens_total", "tokens", "Committed tokens", "Of diffusion models.", { since: "0.24.0" }),
  counter("estimated_flops_per_gpu_total", "operations", "Estimated FLOPs", "Per GPU; 0 without --enable-mfu-metrics.", { since: "0.17.0" }),
  counter("estimated_read_bytes_per_gpu_total", "bytes", "Estimated bytes read", "Per GPU; 0 without --enable-mfu-metrics.", { since: "0.17.0" }),
  counter("estimated_write_bytes_per_gpu_total", "bytes", "Estimated bytes written", "Per GPU; 0 without --enable-mfu-metrics.", { since: "0.17.0" }),

  // KV connectors: NIXL, Mooncake, HF3FS, UMBP.
  histogram("nixl_xfer_time_seconds", "seconds", "NIXL transfer time", "Of one transfer.", { since: "0.11.1" }),
  histogram("nixl_post_time_seconds", "seconds", "NIXL post time", "Of one transfer.", { since: "0.11.1" }),
  histogram("nixl_bytes_transferred", "bytes", "NIXL transfer size", "Of one transfer.", { since: "0.11.1" }),
  histogram("nixl_num_descriptors", "descriptors", "NIXL descriptors", "Of one transfer.", { since: "0.11.1" }),
  counter("nixl_num_failed_transfers_total", "transfers", "NIXL failed transfers", "", { since: "0.11.1" }),
  counter("nixl_num_failed_notifications_total", "notifications", "NIXL failed notifications", "", { since: "0.11.1" }),
  counter("nixl_num_kv_expired_reqs_total", "requests", "NIXL expired requests", "Whose KV expired before it was fetched.", { since: "0.15.0" }),
  counter("nixl_num_notifications_after_expiry_total", "notifications", "NIXL late notifications", "That came after the KV had expired.", { since: "0.33.0" }),
  counter("mooncake_store_operation_total", "operations", "Mooncake store operations", "By operation.", { label: "operation", since: "0.23.0" }),
  counter("mooncake_store_operation_keys_total", "keys", "Mooncake store keys", "By operation.", { label: "operation", since: "0.23.0" }),
  counter("mooncake_store_operation_bytes_total", "bytes", "Mooncake store bytes", "By operation.", { label: "operation", since: "0.23.0" }),
  counter("mooncake_store_operation_failed_keys_total", "keys", "Mooncake store failed keys", "By operation.", { label: "operation", since: "0.23.0" }),
  histogram("mooncake_store_operation_time_seconds", "seconds", "Mooncake store operation time", "", { since: "0.23.0" }),
  histogram("mooncake_xfer_time_seconds", "seconds", "Mooncake transfer time", "Of one transfer.", { since: "0.33.0" }),
  histogram("mooncake_bytes_transferred", "bytes", "Mooncake transfer size", "Of one transfer.", { since: "0.33.0" }),
  histogram("mooncake_num_descriptors", "descriptors", "Mooncake descriptors", "Of one transfer.", { since: "0.33.0" }),
  counter("mooncake_num_failed_transfers_total", "transfers", "Mooncake failed transfers", "", { since: "0.33.0" }),
  counter("mooncake_num_failed_recvs_total", "transfers", "Mooncake failed receives", "", { since: "0.33.0" }),
  counter("mooncake_num_kv_expired_reqs_total", "requests", "Mooncake expired requests", "Whose KV expired before it was fetched.", { since: "0.33.0" }),
  histogram("hf3fs_save_duration_seconds", "seconds", "HF3FS save time", "", { since: "0.20.0" }),
  histogram("hf3fs_load_duration_seconds", "seconds", "HF3FS load time", "", { since: "0.20.0" }),
  counter("hf3fs_num_failed_save_total", "operations", "HF3FS failed saves", "", { since: "0.20.0" }),
  counter("hf3fs_num_failed_load_total", "operations", "HF3FS failed loads", "", { since: "0.20.0" }),
  counter("umbp_transfer_submitted_total", "objects", "UMBP objects submitted", "By operation.", { label: "operation", since: "0.33.0" }),
  counter("umbp_transfer_completed_total", "objects", "UMBP objects completed", "By operation.", { label: "operation", since: "0.33.0" }),
  counter("umbp_transfer_failed_total", "objects", "UMBP objects failed", "By operation.", { label: "operation", since: "0.33.0" }),
  counter("umbp_transfer_bytes_total", "bytes", "UMBP bytes", "By operation.", { label: "operation", since: "0.33.0" }),

  // KV offloading.
  counter("kv_offload_total_bytes_total", "bytes", "Offload bytes", "By direction.", { label: "transfer_type", since: "0.16.0" }),
  counter("kv_offload_total_time_total", "seconds", "Offload time", "By direction.", { label: "transfer_type", since: "0.16.0" }),
  histogram("kv_offload_size", "bytes", "Offload size", "Of one transfer.", { since: "0.16.0" }),
  counter("kv_offload_load_bytes_total", "bytes", "Offload bytes loaded", "", { since: "0.24.0" }),
  counter("kv_offload_load_time_total", "seconds", "Offload load time", "", { since: "0.24.0" }),
  histogram("kv_offload_load_size", "bytes", "Offload load size", "Of one load.", { since: "0.24.0" }),
  counter("kv_offload_store_bytes_total", "bytes", "Offload bytes stored", "", { since: "0.24.0" }),
  counter("kv_offload_store_time_total", "seconds", "Offload store time", "", { since: "0.24.0" }),
  histogram("kv_offload_store_size", "bytes", "Offload store size", "Of one store.", { since: "0.24.0" }),
  counter("kv_offload_stores_skipped_total", "stores", "Offload stores skipped", "", { since: "0.24.0" }),
  gauge("kv_offload_cpu_cache_usage_perc", "ratio", "Offload CPU cache pinned", "Space pinned by transfers in flight, not occupancy.", { since: "0.25.0" }),
  gauge("kv_offload_cpu_cache_write_usage_perc", "ratio", "Offload CPU cache pinned by writes", "", { since: "0.25.0" }),
  gauge("kv_offload_cpu_cache_read_usage_perc", "ratio", "Offload CPU cache pinned by reads", "", { since: "0.25.0" }),
  histogram("kv_offload_lookup_sync_delay_seconds", "seconds", "Offload lookup delay", "While the request waits.", { since: "0.25.0" }),
  histogram("kv_offload_lookup_async_delay_seconds", "seconds", "Offload deferred lookup delay", "Of lookups that were deferred.", { since: "0.25.0" }),
  counter("kv_offload_allocation_failure_total", "failures", "Offload allocation failures", "", { since: "0.25.0" }),
  histogram("kv_offload_cpu_allocation_size", "chunks", "Offload CPU allocation", "Of one allocation.", { since: "0.25.0" }),
  info("kv_offload_config_info", "Offload configuration", "", { since: "0.33.0" }),

  // KV offloading in tiers.
  counter("kv_offload_tiering_chunk_queries_total", "chunks", "Tier queries", "By tier.", { label: "tier", since: "0.33.0" }),
  counter("kv_offload_tiering_chunk_hits_total", "chunks", "Tier hits", "By tier.", { label: "tier", since: "0.33.0" }),
  counter("kv_offload_tiering_read_bytes_total", "bytes", "Tier bytes read", "By tier.", { label: "tier", since: "0.33.0" }),
  counter("kv_offload_tiering_read_time_total", "seconds", "Tier read time", "By tier.", { label: "tier", since: "0.33.0" }),
  gauge("kv_offload_tiering_primary_read_usage_perc", "ratio", "Primary tier pinned by reads", "By tier.", { label: "tier", since: "0.33.0" }),
  counter("kv_offload_tiering_write_bytes_total", "bytes", "Tier bytes written", "By tier.", { label: "tier", since: "0.33.0" }),
  counter("kv_offload_tiering_write_time_total", "seconds", "Tier write time", "By tier.", { label: "tier", since: "0.33.0" }),
  gauge("kv_offload_tiering_primary_write_usage_perc", "ratio", "Primary tier pinned by writes", "By tier.", { label: "tier", since: "0.33.0" }),
  gauge("kv_offload_tiering_active_promotion_jobs", "jobs", "Tier promotions running", "By tier.", { label: "tier", since: "0.33.0" }),
  gauge("kv_offload_tiering_active_cascade_jobs", "jobs", "Tier cascades running", "By tier.", { label: "tier", since: "0.33.0" }),
  counter("kv_offload_tiering_promotion_job_failures_total", "jobs", "Tier promotions failed", "By tier.", { label: "tier", since: "0.33.0" }),
  counter("kv_offload_tiering_cascade_job_failures_total", "jobs", "Tier cascades failed", "By tier.", { label: "tier", since: "0.33.0" }),
  counter("kv_offload_tiering_promotion_allocation_failures_total", "failures", "Tier promotions without room", "By tier.", { label: "tier", since: "0.33.0" }),
  histogram("kv_offload_tiering_promotion_latency_seconds", "seconds", "Tier promotion latency", "All tiers.", { since: "0.33.0" }),
  histogram("kv_offload_tiering_lookup_sync_delay_seconds", "seconds", "Tier lookup delay", "While the request waits; all tiers.", { since: "0.33.0" }),
  histogram("kv_offload_tiering_lookup_async_delay_seconds", "seconds", "Tier deferred lookup delay", "Of lookups that were deferred; all tiers.", { since: "0.33.0" }),
  counter("kv_offload_tiering_backpressure_stores_dropped_total", "stores", "Tier stores dropped", "By tier, under back-pressure.", { label: "tier", since: "0.33.0" }),
  counter("kv_offload_tiering_backpressure_blocks_dropped_total", "blocks", "Tier blocks dropped", "By tier, under back-pressure.", { label: "tier", since: "0.33.0" }),
  gauge("kv_offload_tiering_backpressure_store_latency_ema", "", "Tier store latency", "Moving average by tier, in the unit of the server.", { label: "tier", since: "0.33.0", overEngines: "max" }),

  // Simple KV offloading.
  counter("simple_kv_offload_save_outcomes_total", "blocks", "Simple offload saves", "By outcome.", { label: "outcome", since: "0.33.0" }),
  counter("simple_kv_offload_load_blocks_total", "blocks", "Simple offload loads", "By phase.", { label: "phase", since: "0.33.0" }),
  gauge("simple_kv_offload_used_blocks", "blocks", "Simple offload blocks used", "", { since: "0.33.0" }),
  gauge("simple_kv_offload_pending_store_blocks", "blocks", "Simple offload stores pending", "", { since: "0.33.0" }),
  info("simple_kv_offload_info", "Simple offload configuration", "", { since: "0.33.0" }),

  // HiSparse.
  counter("hisparse_cache_hits_total", "lookups", "HiSparse hits", "Of the hot buffer on the GPU.", { since: "0.33.0" }),
  counter("hisparse_cache_misses_total", "lookups", "HiSparse misses", "Of the hot buffer on the GPU.", { since: "0.33.0" }),
  counter("hisparse_host_to_device_bytes_total", "bytes", "HiSparse bytes to the GPU", "From the host into the hot buffer.", { since: "0.33.0" }),
  gauge("hisparse_host_cache_usage_perc", "ratio", "HiSparse host cache usage", "Cached blocks that may be evicted count as free.", { since: "0.33.0" }),
  gauge("hisparse_pending_page_transfers", "pages", "HiSparse transfers pending", "", { since: "0.33.0" }),
  histogram("hisparse_host_block_lifetime_seconds", "seconds", "HiSparse host-block lifetime", "Sampled.", { since: "0.33.0" }),
  histogram("hisparse_host_block_idle_before_evict_seconds", "seconds", "HiSparse host-block idle time", "From the last use to eviction, sampled.", { since: "0.33.0" }),
  histogram("hisparse_host_block_reuse_gap_seconds", "seconds", "HiSparse host-block reuse gap", "Between two uses, sampled.", { since: "0.33.0" }),

  // The API server's own.
  gauge("websocket_connections_active", "connections", "WebSocket connections open", "", { since: "0.18.0" }),
  counter("websocket_connections_total", "connections", "WebSocket connections", "", { since: "0.18.0" }),
  histogram("websocket_connection_duration_seconds", "seconds", "WebSocket connection time", "", { since: "0.18.0" }),
  counter("tool_call_parser_invocations_total", "calls", "Tool-call parser calls", "By outcome; streamed ones count at each delta.", { label: "outcome", since: "0.24.0" }),
  histogram("rl_weight_update_operation_duration_seconds", "seconds", "Weight updates", "Duration of their operations.", { since: "0.33.0" }),
  gauge("rl_weight_update_operations_in_flight", "operations", "Weight updates running", "By operation.", { label: "operation", since: "0.33.0" }),
];
