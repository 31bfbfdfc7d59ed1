/**
 * SGLang. From 0.5.9 on, schedulers count tokens at each step, but for the first one of a request;
 * before, tokens are counted when a request finishes. Requests and latencies are counted for all
 * data-parallel ranks together. `/v1/loads` says what runs and waits now, where the gauges are of
 * the last report, and stands for metrics that are off. Sources: SGLang 0.4.1 to 0.5.23, read
 * 2026-11; scrapes of 0.5.23.
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
  type ProcessRanks,
  USUAL_CONCLUSIONS,
} from "./dialect_model.ts";
import {
  createLoadsRound,
  LOADS_PATH,
  MODELS_PATH,
  SGLANG_PREFIX,
} from "./dialect_sglang_loads.ts";
import { METRICS_PATH } from "./endpoint.ts";
import type { EngineSample, GaugeKey } from "./model.ts";
import { absent, checkReading, isPresent, present, type Reading, sumWhole } from "./reading.ts";

const KV_CAPACITY_NAME = "max_total_num_tokens";
const STEP_NAME = "realtime_tokens_total";
const PROMPT_NAME = "prompt_tokens_total";
const CACHED_NAME = "cached_tokens_total";
const OUTPUT_NAME = "generation_tokens_total";
const ABORTED_NAME = "num_aborted_requests_total";
const FIRST_NAME = "time_to_first_token_seconds_count";

// deno-fmt-ignore
const ROWS: readonly MetricRow[] = [
  gauge("num_running_reqs", "requests", "Running", "Written every 40 decode steps; 0 right after a prefill batch.", { key: "running" }),
  gauge("num_queue_reqs", "requests", "Waiting", "Without those that wait for a grammar or for another stage.", { key: "waiting" }),
  gauge("num_grammar_queue_reqs", "requests", "Waiting for a grammar", "", { since: "0.4.10" }),
  gauge("token_usage", "ratio", "KV-cache usage", "Cached tokens that may be evicted count as free.", { key: "kvCacheUsageRatio" }),
  gauge(KV_CAPACITY_NAME, "tokens", "KV-cache capacity", "Of one data-parallel rank.", { since: "0.5.6" }),
  gauge("loads_running_reqs", "requests", "Running now", "From /v1/loads.", { role: "presence", since: "0.5.9" }),
  gauge("loads_waiting_reqs", "requests", "Waiting now", "From /v1/loads.", { since: "0.5.9" }),
  gauge("loads_token_usage", "ratio", "KV-cache usage now", "From /v1/loads.", { since: "0.5.9" }),
  gauge("loads_total_tokens", "tokens", "KV-cache capacity", "Of one data-parallel rank; from /v1/loads.", { since: "0.5.9" }),
  gauge("loads_max_running_reqs", "requests", "Most running", "The limit; from /v1/loads.", { since: "0.5.9" }),
  gauge("metrics_off", "state", "Metrics off", "1 without --enable-metrics.", {}),
  gauge("gen_throughput", "tokens per second", "Generation throughput", "Of the last 40 decode steps.", {}),
  gauge("cache_hit_rate", "ratio", "Prefix-cache hit ratio", "Of the last prefill batch alone.", { overEngines: "none" }),

  // Per step, by scheduler; requests and latencies are counted for all schedulers together.
  counter(STEP_NAME, "tokens", "Generated tokens", "At each step, without the first token of a request.", { key: "generationTokens", requires: ["mode", "decode"], since: "0.5.9" }),
  counter(STEP_NAME, "tokens", "Computed prompt tokens", "At each step.", { key: "computedPromptTokens", requires: ["mode", "prefill_compute"], since: "0.5.9" }),
  counter(STEP_NAME, "tokens", "Cached prompt tokens", "At each step.", { key: "cachedPromptTokens", requires: ["mode", "prefill_cache"], since: "0.5.9" }),
  counter("prefill_effective_tokens_total", "tokens", "Computed prompt tokens of new requests", "Without repetitions after a retraction.", { key: "prefixCacheQueries", requires: ["mode", "input"], since: "0.5.23" }),
  counter("prefill_effective_tokens_total", "tokens", "Cached prompt tokens of new requests", "Without repetitions after a retraction.", { key: "prefixCacheHits", requires: ["mode", "device_hit", "host_hit", "storage_hit"], since: "0.5.23" }),
  counter(PROMPT_NAME, "tokens", "Prompt tokens at finish", "Cached ones included.", { key: "promptTokens" }),
  counter(CACHED_NAME, "tokens", "Cached prompt tokens at finish", "From all caches.", { since: "0.4.4" }),
  counter(OUTPUT_NAME, "tokens", "Generated tokens at finish", "", {}),
  counter("num_requests_total", "requests", "Finished requests", "Without aborted ones; the reason is not counted.", { key: "finishedByReason", since: "0.4.4" }),
  counter(ABORTED_NAME, "requests", "Aborted requests", "Ended by the client or by the server.", { since: "0.4.10" }),
  counter(["num_retracted_requests_total", "total_retracted_reqs"], "preemptions", "Retractions", "Requests put back into the queue because KV tokens ran out.", { key: "preemptions", since: "0.4.10" }),

  // Without streaming the first output is up to 50 tokens long.
  histogram("time_to_first_token_seconds", "seconds", "TTFT", "Of streamed requests where the server tells them apart.", { key: "ttft", only: ["is_streaming", "true"] }),
  counter(FIRST_NAME, "tokens", "First tokens", "Of all requests, streamed or not.", {}),
  histogram(["inter_token_latency_seconds", "time_per_output_token_seconds"], "seconds", "ITL", "One observation per token: an output of several shares its gap among them.", { key: "itl" }),
  histogram("request_time_per_output_token_seconds", "seconds", "TPOT", "Per finished request.", { key: "tpot", since: "0.5.23" }),
  histogram("e2e_request_latency_seconds", "seconds", "E2E latency", "From arrival to the end.", { key: "e2e" }),
  histogram(["queue_time_seconds", "queue_time_s"], "seconds", "Queue time", "Before the first schedule.", { key: "queue", since: "0.5.2" }),
];

/** From 0.5.9: tokens of one scheduler at each step; first tokens are counted for all. */
function countSteps(facts: EngineFacts): Partial<EngineFacts["counters"]> {
  const { counters, isShared, hasShared, getValue } = facts;
  const counted = getValue(FIRST_NAME);
  // Tokens after the first ones prove that there were some.
  const hasDecoded = (counters.generationTokens.value ?? 0) > 0;
  const first = counted === null && (isShared || hasDecoded)
    ? absent("missing")
    : checkReading(counted ?? 0);
  if (isShared) {
    const none = absent("unsupported");
    return { promptTokens: none, generationTokens: first };
  }
  const { computedPromptTokens, cachedPromptTokens, generationTokens } = counters;
  const isAnyCounted = [computedPromptTokens, cachedPromptTokens, generationTokens].some(isPresent);
  // Its children appear when they first count something.
  const orZero = (reading: Reading): Reading =>
    isAnyCounted && !isPresent(reading) && reading.reason === "initializing" ? present(0) : reading;
  const computed = orZero(computedPromptTokens);
  const cached = orZero(cachedPromptTokens);
  const prompt = sumWhole([computed, cached]);
  const decoded = orZero(generationTokens);
  const { prefixCacheHits: hits, prefixCacheQueries: misses } = counters;
  const isNew = facts.isDeclared("prefill_effective_tokens_total");
  const effective = [hits, misses].some(isPresent) ? [hits, misses].map(orZero) : [hits, misses];
  return {
    promptTokens: prompt,
    computedPromptTokens: computed,
    cachedPromptTokens: cached,
    generationTokens: hasShared ? decoded : sumWhole([decoded, first]),
    prefixCacheHits: isNew ? effective[0] : cached,
    prefixCacheQueries: isNew ? sumWhole(effective) : prompt,
  };
}

/** Before: tokens of finished requests, of all schedulers. */
function countFinished({ counters, getValue }: EngineFacts): Partial<EngineFacts["counters"]> {
  const find = (name: string): Reading => {
    const value = getValue(name);
    return value === null ? absent("missing") : checkReading(value);
  };
  const cached = find(CACHED_NAME);
  return {
    cachedPromptTokens: cached,
    generationTokens: find(OUTPUT_NAME),
    prefixCacheHits: cached,
    prefixCacheQueries: isPresent(cached) ? counters.promptTokens : cached,
  };
}

/** Those of `/v1/loads`; the others may be up to 40 steps old. */
function readLoads({ getValue }: EngineFacts): Partial<EngineSample["gauges"]> {
  const read = (key: GaugeKey, name: string, isRatio = false): Partial<EngineSample["gauges"]> => {
    const value = getValue(name);
    return value === null ? {} : { [key]: checkReading(value, { isRatio }) };
  };
  return {
    ...read("running", "loads_running_reqs"),
    ...read("waiting", "loads_waiting_reqs"),
    ...read("kvCacheUsageRatio", "loads_token_usage", true),
  };
}

/** It appears with the first aborted request, and before 0.5.9 it may not be there at all. */
function countAborted({ getValue, isDeclared }: EngineFacts): Reading {
  const aborted = getValue(ABORTED_NAME);
  if (aborted !== null) return checkReading(aborted);
  return absent(isDeclared(STEP_NAME) ? "initializing" : "missing");
}

function conclude(facts: EngineFacts): EngineConclusions {
  const capacity = facts.getValue("loads_total_tokens") ?? facts.getValue(KV_CAPACITY_NAME);
  const isBookedAtSteps = facts.isDeclared(STEP_NAME);
  return {
    ...USUAL_CONCLUSIONS,
    metricsAreOff: facts.isDeclared("metrics_off"),
    kvCacheCapacity: capacity === null ? absent("missing") : checkReading(capacity),
    gauges: readLoads(facts),
    counters: {
      ...(isBookedAtSteps ? countSteps(facts) : countFinished(facts)),
      failedRequests: countAborted(facts),
    },
    tokensAreBooked: isBookedAtSteps ? "step" : "finish",
  };
}

/** `sglang::scheduler_DP0_TP1`. */
function parseRanks(title: string): ProcessRanks {
  if (!title.startsWith("sglang::scheduler")) return {};
  const find = (kind: string): number | null => {
    const rank = new RegExp(`_${kind}(\\d+)(?:_|$)`).exec(title)?.[1];
    return rank === undefined ? null : Number(rank);
  };
  const [data, tensor, pipeline] = [find("DP"), find("TP"), find("PP")];
  return {
    ...(data === null ? {} : { data }),
    ...(tensor === null ? {} : { tensor }),
    ...(pipeline === null ? {} : { pipeline }),
  };
}

export const SGLANG: Dialect = {
  name: "SGLang",
  prefixes: [SGLANG_PREFIX],
  rows: ROWS,
  defaultPort: 30_000,
  paths: [
    { path: METRICS_PATH, when: "each_round" },
    { path: LOADS_PATH, when: "same_round" },
    { path: MODELS_PATH, when: "once" },
    // They generate a token.
    { path: "/health", when: "never" },
    { path: "/health_generate", when: "never" },
  ],
  modelOwner: "sglang",
  createRound: createLoadsRound,
  // Known where there are loads: older versions lack some families.
  familiesAppear: (isDeclared) => isDeclared("loads_running_reqs") && !isDeclared("metrics_off"),
  answersVersion: false,
  enablingOption: "--enable-metrics",
  labels: {
    model: "model_name",
    engine: "dp_rank",
    workers: [],
    // A gauge without `priority` is the total of those with it.
    parts: ["tp_rank", "pp_rank", "moe_ep_rank", "engine_type", "priority", "pid"],
    repeating: ["tp_rank", "pp_rank", "moe_ep_rank"],
    areShared: true,
    aliases: new Map(),
  },
  tokensAreBooked: "finish",
  ttftIsOfStreamed: true,
  failuresAreApart: true,
  mainOptions: [],
  flags: {
    kvCacheMemory: "--mem-fraction-static",
    kvCacheType: "--kv-cache-dtype fp8_e4m3",
    maxLength: "--context-length",
    concurrentRequests: "--max-running-requests",
    tokenBudget: "--chunked-prefill-size",
    speculativeTokens: "--speculative-num-draft-tokens",
    apiServers: "--tokenizer-worker-num",
  },
  capacityReason: "",
  processes: {
    command: /^sglang::|\bsglang\.launch_server\b|(?:^|[\s/])sglang serve(?:\s|$)/,
    image: /sglang[^/]*$/,
    title: /^sglang::/,
    innerTitle: /^sglang::/,
    roles: [[/^sglang::scheduler/, "engine_core"]],
    parseRanks,
    modelOptions: ["served-model-name", "model-path", "model"],
    tlsOptions: ["ssl-certfile", "ssl-keyfile"],
    shortOptions: new Map([
      ["tp", "tensor-parallel-size"],
      ["tp-size", "tensor-parallel-size"],
      ["pp", "pipeline-parallel-size"],
      ["pp-size", "pipeline-parallel-size"],
      ["dp", "data-parallel-size"],
      ["dp-size", "data-parallel-size"],
    ]),
    sizeOptions: new Set([
      "tensor-parallel-size",
      "pipeline-parallel-size",
      "data-parallel-size",
      "nnodes",
    ]),
  },
  conclude,
};
