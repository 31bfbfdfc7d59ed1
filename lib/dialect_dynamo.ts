/**
 * NVIDIA Dynamo's frontend: what it hands on to its workers, as it sees it. A worker's page has its
 * engine's families, and is read as that engine. Source: Dynamo 1.6.1, scraped with its mock worker.
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
  UNDESCRIBED,
  UNTITLED,
  USUAL_CONCLUSIONS,
} from "./dialect_model.ts";
import { METRICS_PATH } from "./endpoint.ts";
import { absent, checkReading, type Reading } from "./reading.ts";

const REQUESTS_NAME = "requests_total";
/** Errors of requests refused or ended by the client. */
const CLIENT_FAULTS: ReadonlySet<string> = new Set(["validation", "not_found", "cancelled"]);

// deno-fmt-ignore
const ROWS: readonly MetricRow[] = [
  gauge("model_ready", "state", "Ready", "1 if a worker can serve the model.", { role: "presence" }),
  gauge(["active_requests", "inflight_requests"], "requests", "Running", "Those that wait included.", { key: "running" }),
  gauge("queued_requests", "requests", "Without a first token", "Most of them are in prefill: this is no queue.", {}),
  gauge("disconnected_clients", "clients", "Clients that left", "", {}),
  gauge("model_total_kv_blocks", "blocks", "KV-cache blocks", "Of one worker.", { overEngines: "none" }),
  gauge("model_kv_cache_block_size", "tokens", "Tokens per block", "", { overEngines: "max" }),
  gauge("model_context_length", "tokens", "Context", "Of one request; 0 if unknown.", { overEngines: "max" }),
  gauge("model_max_num_seqs", "requests", "Most running", "Of one worker.", { overEngines: "none" }),
  gauge("model_max_num_batched_tokens", "tokens", "Tokens per step", "The limit of one worker.", { overEngines: "none" }),
  // The first is for all but successes.
  counter(REQUESTS_NAME, "requests", "Failed requests", "By type of error.", { label: "error_type" }),
  counter(REQUESTS_NAME, "requests", "Successful requests", "", { key: "finishedByReason", requires: ["status", "success"] }),
  counter("requests_started_total", "requests", "Accepted requests", "", {}),
  counter("model_rejection_total", "requests", "Rejected requests", "", {}),
  counter("model_migration_total", "requests", "Migrations", "Requests moved to another worker.", {}),
  // Of chat requests: completions book neither tokens nor latencies per token.
  counter("output_tokens_total", "tokens", "Generated tokens", "Of chat requests, at each step.", { key: "generationTokens" }),
  counter("cached_tokens_sum", "tokens", "Cached prompt tokens", "Of chat requests.", { key: "cachedPromptTokens" }),
  histogram("input_sequence_tokens", "tokens", "Prompt length", "Its sum is the prompt tokens.", { key: "promptLength" }),
  histogram("output_sequence_tokens", "tokens", "Output length", "", { key: "outputLength" }),
  histogram("time_to_first_token_seconds", "seconds", "TTFT", "Of chat requests.", { key: "ttft" }),
  histogram("inter_token_latency_seconds", "seconds", "ITL", "Of chat requests.", { key: "itl" }),
  histogram("request_duration_seconds", "seconds", "E2E latency", "", { key: "e2e" }),
];

function countRequests({ labelled, getFamily }: EngineFacts): EngineConclusions {
  const failures = [...getFamily(REQUESTS_NAME)];
  const failed = failures.filter(([error]) => !CLIENT_FAULTS.has(error))
    .reduce((total, [, count]) => total + count, 0);
  const succeeded = labelled.finishedByReason?.values().next().value;
  const finished = [
    ...succeeded === undefined ? [] : [["success", succeeded] as const],
    ...failures,
  ];
  return {
    ...USUAL_CONCLUSIONS,
    counters: {
      failedRequests: finished.length === 0 ? absent("initializing") : checkReading(failed),
    },
    labelled: finished.length === 0 ? {} : { finishedByReason: new Map(finished) },
  };
}

function conclude(facts: EngineFacts): EngineConclusions {
  const { histograms: { promptLength }, counters: { cachedPromptTokens } } = facts;
  const promptTokens: Reading = promptLength === undefined
    ? absent("initializing")
    : checkReading(promptLength.sum);
  const requests = countRequests(facts);
  return {
    ...requests,
    counters: {
      ...requests.counters,
      promptTokens,
      prefixCacheHits: cachedPromptTokens,
      prefixCacheQueries: promptTokens,
    },
  };
}

export const DYNAMO: Dialect = {
  name: "Dynamo",
  isRouter: true,
  // The second is NVIDIA NIM's.
  prefixes: ["dynamo_frontend_", "nv_llm_http_service_"],
  rows: ROWS,
  defaultPort: 8000,
  paths: [
    { path: METRICS_PATH, when: "each_round" },
    { path: "/v1/models", when: "once" },
  ],
  modelOwner: "nvidia",
  familiesAppear: () => true,
  derivedKeys: ["promptTokens", "prefixCacheHits", "prefixCacheQueries"],
  answersVersion: false,
  labels: { model: "model", engine: "engine", workers: [], parts: [], aliases: new Map() },
  tokensAreBooked: "step",
  ...UNDESCRIBED,
  processes: {
    ...UNTITLED,
    command: /\bdynamo\.frontend\b/,
    shortOptions: new Map([["http-port", "port"]]),
  },
  conclude,
};
