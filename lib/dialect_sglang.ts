/**
 * SGLang: running, waiting, token usage and latencies. Token counters are omitted: they are booked
 * when a request finishes. Sources: SGLang 0.4.1 to 0.5.23, read 2026-11; scrapes of 0.5.23.
 * @module
 */

import {
  createRowFactory,
  type Dialect,
  type MetricRow,
  type ProcessRanks,
} from "./dialect_model.ts";
import { METRICS_PATH } from "./endpoint.ts";
import { absent, present } from "./reading.ts";

const KV_CAPACITY_NAME = "max_total_num_tokens";
const gauge = createRowFactory("gauge");
const histogram = createRowFactory("histogram");

// deno-fmt-ignore
const ROWS: readonly MetricRow[] = [
  gauge("num_running_reqs", "requests", "Running", "Written every 40 decode steps; 0 right after a prefill batch.", { key: "running" }),
  gauge("num_queue_reqs", "requests", "Waiting", "Without those that wait for a grammar or for another stage.", { key: "waiting" }),
  gauge("token_usage", "ratio", "KV-cache usage", "Cached tokens that may be evicted count as free.", { key: "kvCacheUsageRatio" }),
  gauge(KV_CAPACITY_NAME, "tokens", "KV-cache capacity", "Of one data-parallel rank.", { since: "0.5.6" }),
  // Without streaming the first output is up to 50 tokens long.
  histogram("time_to_first_token_seconds", "seconds", "TTFT", "Of streamed requests where the server tells them apart.", { key: "ttft", only: ["is_streaming", "true"] }),
  histogram(["inter_token_latency_seconds", "time_per_output_token_seconds"], "seconds", "ITL", "One observation per token: an output of several shares its gap among them.", { key: "itl" }),
];

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
  prefixes: ["sglang:"],
  rows: ROWS,
  defaultPort: 30_000,
  paths: [
    { path: METRICS_PATH, when: "each_round" },
    { path: "/v1/models", when: "once" },
    // They generate a token.
    { path: "/health", when: "never" },
    { path: "/health_generate", when: "never" },
  ],
  modelOwner: "sglang",
  answersVersion: false,
  enablingOption: "--enable-metrics",
  // Ranks repeat each other's gauges but for the data-parallel one: the largest counts.
  labels: {
    model: "model_name",
    engine: "dp_rank",
    workers: [],
    // A gauge without `priority` is the total of those with it.
    parts: ["tp_rank", "pp_rank", "moe_ep_rank", "engine_type", "priority", "pid"],
    aliases: new Map(),
  },
  tokensAreBooked: "finish",
  latencyDefinitions: { itl: "per token" },
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
  conclude: ({ getValue }) => {
    const capacity = getValue(KV_CAPACITY_NAME);
    return {
      isAsleep: false,
      prefixCacheUnit: "tokens",
      prefixCacheIsOff: false,
      kvCacheCapacity: capacity === null ? absent("missing") : present(capacity),
      kvCacheCapacityIsEstimate: false,
    };
  },
};
