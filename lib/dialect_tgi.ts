/**
 * Text Generation Inference. Its metrics name no model, and appear with the first request: `/info`
 * names it. Tokens are the sums of histograms of requests. Sources: TGI 1.0 to 3.3.7, read 2026-11.
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
  OWNED_BY_ITSELF,
  type Round,
  UNTITLED,
  USUAL_CONCLUSIONS,
} from "./dialect_model.ts";
import { createSampleWriter, labelSeries, writeInfo } from "./dialect_rounds.ts";
import { METRICS_PATH } from "./endpoint.ts";
import { isRecord, type JsonRecord, parseUntrustedJson } from "./json.ts";
import { absent, checkReading, type Reading } from "./reading.ts";

const PREFIX = "tgi_";
const INFO_PATH = "/info";
const FAILURE_NAME = "request_failure";
/** Requests refused for their own fault. */
const CLIENT_FAULT = "validation";

// deno-fmt-ignore
const ROWS: readonly MetricRow[] = [
  gauge("server_ready", "state", "Ready", "1 while /info answers.", { role: "presence" }),
  gauge("batch_current_size", "requests", "Running", "Requests in the batch.", { key: "running" }),
  gauge("queue_size", "requests", "Waiting", "", { key: "waiting" }),
  gauge("batch_current_max_tokens", "tokens", "Reserved tokens", "Prompts and the longest outputs of all running requests.", {}),
  gauge("batch_max_total_tokens", "tokens", "Token budget", "The limit of reserved tokens.", { since: "2.4.0" }),
  counter("request_count", "requests", "Arrived requests", "Refused ones too.", {}),
  counter("request_success", "requests", "Finished requests", "Without failed ones.", { key: "finishedByReason" }),
  counter(FAILURE_NAME, "requests", "Failed requests", "By the error.", { label: "err" }),
  counter("batch_inference_count", "steps", "Prefill steps", "", { requires: ["method", "prefill"] }),
  counter("batch_inference_count", "steps", "Decode steps", "", { requires: ["method", "decode"] }),
  counter("batch_inference_success", "steps", "Successful prefill steps", "", { requires: ["method", "prefill"] }),
  counter("batch_inference_success", "steps", "Successful decode steps", "", { requires: ["method", "decode"] }),
  // All of finished requests; the first when it was validated.
  histogram("request_input_length", "tokens", "Prompt length", "Its sum is the prompt tokens.", { key: "promptLength" }),
  histogram("request_generated_tokens", "tokens", "Output length", "Its sum is the generated tokens.", { key: "outputLength" }),
  histogram("request_max_new_tokens", "tokens", "Longest output allowed", "", {}),
  histogram("request_mean_time_per_token_duration", "seconds", "Time per token", "Inference ÷ tokens of a request: the prefill is part of it.", { key: "tpot" }),
  histogram("request_duration", "seconds", "E2E latency", "", { key: "e2e" }),
  histogram("request_queue_duration", "seconds", "Queue time", "", { key: "queue" }),
  histogram("request_inference_duration", "seconds", "Inference time", "Prefill and decode.", {}),
  histogram("request_validation_duration", "seconds", "Validation time", "", {}),
  histogram("batch_next_size", "requests", "Size of the next batch", "", {}),
  histogram("batch_inference_duration", "seconds", "Prefill time of a batch", "", { requires: ["method", "prefill"] }),
  histogram("batch_inference_duration", "seconds", "Decode time of a batch", "One step.", { requires: ["method", "decode"] }),
  info("server_info", "", "Server", "Limits and version; from /info.", { role: "configuration" }),
];

const MAIN_OPTIONS = [
  "max_total_tokens",
  "max_input_tokens",
  "max_concurrent_requests",
  "version",
] as const;

const writeSample = createSampleWriter(PREFIX);

/** A server that has served nothing exports nothing. */
function writeUnused(model: string): string {
  return writeSample("batch_current_size", model, 0) + writeSample("queue_size", model, 0);
}

function createRound(): Round {
  let info: JsonRecord | null = null;
  return async (ask) => {
    const metrics = await ask(METRICS_PATH);
    if (metrics.status !== 200) return metrics;
    if (info === null) {
      const answer = await ask(INFO_PATH);
      const value = answer.status === 200 ? parseUntrustedJson(answer.text) : undefined;
      if (!isRecord(value) || typeof value.model_id !== "string") return answer;
      info = value;
    }
    const model = String(info.model_id);
    const options = Object.fromEntries(MAIN_OPTIONS.map((name) => [name, info?.[name]]));
    const body = metrics.text.trim() === ""
      ? writeUnused(model)
      : labelSeries(metrics.text, model, { keepsComments: true });
    return writeSample("server_ready", model, 1) + writeInfo(`${PREFIX}server_info`, options) +
      body;
  };
}

function conclude({ histograms, initializing, getFamily }: EngineFacts): EngineConclusions {
  const sum = (key: "promptLength" | "outputLength"): Reading => {
    const found = histograms[key];
    if (found !== undefined) return checkReading(found.sum);
    return absent(initializing.has(key) ? "initializing" : "missing");
  };
  const failures = [...getFamily(FAILURE_NAME)];
  const failed = failures.filter(([error]) => error !== CLIENT_FAULT)
    .reduce((total, [, count]) => total + count, 0);
  return {
    ...USUAL_CONCLUSIONS,
    counters: {
      promptTokens: sum("promptLength"),
      generationTokens: sum("outputLength"),
      // It appears with the first failure.
      failedRequests: failures.length === 0 ? absent("initializing") : checkReading(failed),
    },
  };
}

export const TGI: Dialect = {
  name: "TGI",
  prefixes: [PREFIX],
  rows: ROWS,
  defaultPort: 3000,
  paths: [
    { path: METRICS_PATH, when: "each_round" },
    { path: INFO_PATH, when: "once" },
    { path: "/v1/models", when: "once" },
    // They may generate a token.
    { path: "/health", when: "never" },
    { path: "/", when: "never" },
    { path: "/ping", when: "never" },
  ],
  modelOwner: OWNED_BY_ITSELF,
  proofs: [{ path: INFO_PATH, pattern: /"router"\s*:\s*"text-generation-router/ }],
  createRound,
  familiesAppear: () => true,
  derivedKeys: ["promptTokens", "generationTokens"],
  answersVersion: false,
  labels: { model: "model", engine: "engine", workers: [], parts: [], aliases: new Map() },
  tokensAreBooked: "finish",
  failuresAreApart: true,
  mainOptions: MAIN_OPTIONS,
  flags: {
    kvCacheMemory: "--max-batch-total-tokens",
    kvCacheType: "--kv-cache-dtype fp8_e4m3fn",
    maxLength: "--max-total-tokens",
    concurrentRequests: "--max-batch-total-tokens",
    tokenBudget: "--max-batch-prefill-tokens",
  },
  capacityReason: "",
  processes: {
    ...UNTITLED,
    command: /(?:^|[\s/])text-generation-(?:launcher|router(?:-v2|-llamacpp)?|server)(?:\s|$)/,
    image: /text-generation-inference[^/]*$/,
    modelOptions: ["model-id"],
    shortOptions: new Map([["p", "port"]]),
    sizeOptions: new Set(["num-shard"]),
  },
  conclude,
};
