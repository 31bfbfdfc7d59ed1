/**
 * Triton with the TensorRT-LLM backend: gauges of the batcher, and counters of requests and their
 * microseconds, but no token and no histogram. Other backends may put their own families on the
 * same page. Sources: Triton 25.10 and its backend, read 2026-11.
 * @module
 */

import {
  counter,
  type Dialect,
  type EngineConclusions,
  type EngineFacts,
  gauge,
  type MetricRow,
  UNTITLED,
  USUAL_CONCLUSIONS,
} from "./dialect_model.ts";
import { METRICS_PATH } from "./endpoint.ts";
import { absent, checkReading } from "./reading.ts";
import { MICROSECONDS_PER_SECOND } from "./units.ts";

const REQUESTS_NAME = "trt_llm_request_metrics";
const REQUESTS_LABEL = "request_type";
const BLOCKS_NAME = "trt_llm_kv_cache_block_metrics";
const BLOCKS_LABEL = "kv_cache_block_type";
const SUCCESS_NAME = "inference_request_success";
const FAILURE_NAME = "inference_request_failure";
/** The client's own doing. */
const CANCELED = "CANCELED";
const scale = 1 / MICROSECONDS_PER_SECOND;

// deno-fmt-ignore
const ROWS: readonly MetricRow[] = [
  gauge(REQUESTS_NAME, "requests", "Requests by state", "Active ones contain those that wait.", { label: REQUESTS_LABEL }),
  gauge(REQUESTS_NAME, "requests", "Running", "Scheduled requests.", { key: "running", requires: [REQUESTS_LABEL, "scheduled"] }),
  gauge(REQUESTS_NAME, "requests", "Waiting", "", { key: "waiting", requires: [REQUESTS_LABEL, "waiting"] }),
  gauge(BLOCKS_NAME, "blocks", "KV-cache blocks", "And tokens per block.", { label: BLOCKS_LABEL }),
  gauge(BLOCKS_NAME, "ratio", "KV-cache usage", "Used blocks ÷ all blocks.", { key: "kvCacheUsageRatio", requires: [BLOCKS_LABEL, "fraction"] }),
  gauge("trt_llm_inflight_batcher_metrics", "", "Batcher", "Of the last step.", { label: "inflight_batcher_specific_metric" }),
  gauge("trt_llm_runtime_memory_metrics", "bytes", "Runtime memory", "", { label: "memory_type" }),
  gauge("trt_llm_general_metrics", "", "Steps and time", "", { label: "general_type", overEngines: "none" }),
  gauge("inference_pending_request_count", "requests", "Requests before the backend", "", {}),
  counter(SUCCESS_NAME, "requests", "Successful requests", "", {}),
  counter(FAILURE_NAME, "requests", "Failed requests", "By reason.", { label: "reason" }),
  counter("inference_count", "requests", "Inferences", "Without answers from the response cache.", {}),
  counter("inference_exec_count", "steps", "Executions", "Batches of inferences.", {}),
  counter("inference_request_duration_us", "seconds", "Request time", "Of all requests together.", { scale }),
  counter("inference_queue_duration_us", "seconds", "Queue time", "Of all requests together.", { scale }),
  counter("inference_compute_infer_duration_us", "seconds", "Compute time", "Of all requests together.", { scale }),
];

function conclude({ getValue, getFamily, isDeclared }: EngineFacts): EngineConclusions {
  const blocks = getFamily(BLOCKS_NAME);
  const count = blocks.get("max");
  const size = blocks.get("tokens_per");
  const failures = [...getFamily(FAILURE_NAME)];
  const failed = failures.filter(([reason]) => reason !== CANCELED)
    .reduce((total, [, requests]) => total + requests, 0);
  const succeeded = getValue(SUCCESS_NAME);
  // Failures that do not say why cannot be told from none.
  const isKnown = succeeded !== null && (failures.length > 0 || !isDeclared(FAILURE_NAME));
  return {
    ...USUAL_CONCLUSIONS,
    kvCacheCapacity: count === undefined || size === undefined
      ? absent("missing")
      : checkReading(count * size),
    counters: {
      failedRequests: failures.length === 0 ? absent("missing") : checkReading(failed),
    },
    labelled: isKnown ? { finishedByReason: new Map([["success", succeeded], ...failures]) } : {},
  };
}

export const TRITON: Dialect = {
  name: "Triton",
  prefixes: ["nv_"],
  carriesOthers: true,
  rows: ROWS,
  defaultPort: 8002,
  paths: [{ path: METRICS_PATH, when: "each_round" }],
  modelOwner: "",
  derivedKeys: ["finishedByReason"],
  answersVersion: false,
  labels: {
    model: "model",
    engine: "engine",
    workers: [],
    parts: ["version", REQUESTS_LABEL, BLOCKS_LABEL],
    aliases: new Map(),
  },
  tokensAreBooked: "finish",
  mainOptions: [],
  flags: {
    kvCacheMemory: "kv_cache_free_gpu_mem_fraction",
    concurrentRequests: "max_batch_size",
  },
  capacityReason: "",
  processes: {
    ...UNTITLED,
    command: /(?:^|[\s/])tritonserver(?:\s|$)/,
    image: /(?:^|\/)tritonserver$/,
    // The API has no metrics.
    shortOptions: new Map([["metrics-port", "port"]]),
  },
  conclude,
};
