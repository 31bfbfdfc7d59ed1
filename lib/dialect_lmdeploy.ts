/**
 * LMDeploy: vLLM's figures, mostly under vLLM's names. Sources: LMDeploy 0.10 to 0.18, read 2026-11.
 * @module
 */

import {
  counter,
  type Dialect,
  type EngineConclusions,
  type EngineFacts,
  gauge,
  histogram,
  info,
  type MetricRow,
  UNTITLED,
  USUAL_CONCLUSIONS,
} from "./dialect_model.ts";
import { METRICS_PATH } from "./endpoint.ts";
import { absent, isPresent, present } from "./reading.ts";

// deno-fmt-ignore
const ROWS: readonly MetricRow[] = [
  gauge("num_requests_running", "requests", "Running", "Requests in the batch.", { key: "running" }),
  gauge("num_requests_waiting", "requests", "Waiting", "In the engine; those before it are not counted.", { key: "waiting" }),
  gauge("num_api_requests_waiting", "requests", "Waiting before the engine", "Not in the engine yet.", { since: "0.13.0" }),
  gauge("gpu_cache_usage_perc", "ratio", "KV-cache usage", "", { key: "kvCacheUsageRatio" }),
  gauge("prefix_cache_hit_rate", "ratio", "Prefix-cache hit ratio", "Since the start, as the server computes it.", { overEngines: "none" }),
  // They only grow.
  gauge(["num_requests_succeeded", "num_requests_finished"], "requests", "Succeeded requests", "A counter by its nature.", {}),
  gauge(["num_requests_failed", "num_requests_unfinished"], "requests", "Failed requests", "A counter by its nature.", {}),
  counter("prompt_tokens_total", "tokens", "Prompt tokens", "Cached ones included.", { key: "promptTokens" }),
  counter("cached_tokens_total", "tokens", "Cached prompt tokens", "", { key: "cachedPromptTokens", since: "0.13.0" }),
  counter("generation_tokens_total", "tokens", "Generated tokens", "Counted at each step.", { key: "generationTokens" }),
  counter("request_success_total", "requests", "Finished requests", "By the type of the last response; failures too.", { key: "finishedByReason", label: "finished_reason" }),
  counter("spec_decode_num_drafts_total", "drafts", "Drafts", "Steps with a draft.", { key: "drafts" }),
  counter("spec_decode_num_draft_tokens_total", "tokens", "Draft tokens", "Proposed.", { key: "draftTokens" }),
  counter("spec_decode_num_accepted_tokens_total", "tokens", "Accepted tokens", "Of those proposed.", { key: "acceptedTokens" }),
  histogram("iteration_tokens_total", "tokens", "Tokens per step", "Of one step of the engine.", { key: "iterationTokens" }),
  histogram("request_prompt_tokens", "tokens", "Prompt length", "Of finished requests.", { key: "promptLength" }),
  histogram("request_generation_tokens", "tokens", "Output length", "Of finished requests.", { key: "outputLength" }),
  histogram("time_to_first_token_seconds", "seconds", "TTFT", "", { key: "ttft" }),
  histogram("iter_token_latency", "seconds", "ITL", "Between outputs of a request: one observation per step.", { key: "itl" }),
  histogram("time_per_output_token_seconds", "seconds", "Time per output token", "One observation per step, as the ITL.", {}),
  histogram("e2e_request_latency_seconds", "seconds", "E2E latency", "", { key: "e2e" }),
  histogram("request_queue_time_seconds", "seconds", "Queue time", "", { key: "queue" }),
  histogram("request_prefill_time_seconds", "seconds", "Prefill time", "", { key: "prefill" }),
  histogram("request_decode_time_seconds", "seconds", "Decode time", "", { key: "decode" }),
  info("backend_config_info", "", "Configuration", "Options of the engine.", { role: "configuration" }),
];

/** Before the name of a reason: a Python enumeration. */
const REASON_CLASS = "ResponseType.";
/** All other reasons are failures of the server. */
const GOOD_REASONS: ReadonlySet<string> = new Set(["SUCCESS", "FINISH", "CANCEL"]);

function conclude({ counters, labelled, initializing }: EngineFacts): EngineConclusions {
  const { cachedPromptTokens: cached, promptTokens } = counters;
  const finished = [...labelled.finishedByReason ?? []].map(([reason, count]) =>
    [reason.replace(REASON_CLASS, ""), count] as const
  );
  const failed = finished.reduce(
    (sum, [reason, count]) => GOOD_REASONS.has(reason) ? sum : sum + count,
    0,
  );
  return {
    ...USUAL_CONCLUSIONS,
    counters: {
      prefixCacheHits: cached,
      prefixCacheQueries: isPresent(cached) ? promptTokens : cached,
      failedRequests: labelled.finishedByReason === undefined
        ? absent(initializing.has("finishedByReason") ? "initializing" : "missing")
        : present(failed),
    },
    // Most reasons never occur.
    labelled: labelled.finishedByReason === undefined
      ? {}
      : { finishedByReason: new Map(finished) },
  };
}

export const LMDEPLOY: Dialect = {
  name: "LMDeploy",
  prefixes: ["lmdeploy:"],
  rows: ROWS,
  defaultPort: 23_333,
  paths: [
    { path: METRICS_PATH, when: "each_round" },
    { path: "/v1/models", when: "once" },
  ],
  modelOwner: "lmdeploy",
  derivedKeys: ["prefixCacheHits", "prefixCacheQueries"],
  answersVersion: false,
  labels: {
    model: "model_name",
    engine: "engine",
    workers: [],
    parts: ["pid"],
    aliases: new Map(),
  },
  tokensAreBooked: "step",
  mainOptions: [
    "cache_max_entry_count",
    "max_batch_size",
    "block_size",
    "quant_policy",
    "tp",
    "dp",
  ],
  flags: {
    kvCacheMemory: "--cache-max-entry-count",
    kvCacheType: "--quant-policy 8",
    maxLength: "--session-len",
    concurrentRequests: "--max-batch-size",
    tokenBudget: "--max-prefill-token-num",
  },
  capacityReason: "",
  processes: {
    ...UNTITLED,
    command: /(?:^|[\s/])lmdeploy serve\b|\blmdeploy\.serve\.openai\.api_server\b/,
    image: /lmdeploy[^/]*$/,
    modelOptions: ["model-name", "api_server"],
    tlsOptions: ["ssl"],
    shortOptions: new Map([["tp", "tensor-parallel-size"], ["dp", "data-parallel-size"]]),
    sizeOptions: new Set(["tensor-parallel-size", "data-parallel-size"]),
  },
  conclude,
};
