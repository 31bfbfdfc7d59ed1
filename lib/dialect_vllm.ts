/**
 * vLLM: its labels, states and processes. Sources: metrics loggers and command line from v0.2.3 on,
 * read 2026-08; scrapes of servers up to 0.32.0.
 * @module
 */

import type { Dialect, EngineConclusions, EngineFacts, ProcessRanks } from "./dialect_model.ts";
import {
  BLOCK_COUNTING_NAMES,
  CREATED_NAME,
  VLLM_METRIC_ROWS,
  VLLM_PREFIXES,
} from "./dialect_vllm_metrics.ts";
import { DEFAULT_PORT, METRICS_PATH } from "./endpoint.ts";
import { type CountsByLabel, sumCounts } from "./model.ts";
import { absent, checkReading, present, type Reading } from "./reading.ts";

/** All other sources are caches. */
const COMPUTED_SOURCE = "local_compute";

/** Derives tokens by source from cached ones, for servers without the former. */
function readTokensBySource({ counters, labelled, initializing }: EngineFacts): {
  readonly cachedPromptTokens: Reading;
  readonly computedPromptTokens: Reading;
} {
  const bySource: CountsByLabel | undefined = labelled.promptTokensBySource;
  if (bySource === undefined) {
    const isInitializing = initializing.has("promptTokensBySource");
    return {
      cachedPromptTokens: counters.cachedPromptTokens,
      computedPromptTokens: absent(isInitializing ? "initializing" : "missing"),
    };
  }
  const computed = bySource.get(COMPUTED_SOURCE) ?? 0;
  return {
    cachedPromptTokens: present(sumCounts(bySource) - computed),
    computedPromptTokens: present(computed),
  };
}

/** In tokens. */
function readCapacity(
  { configuration }: EngineFacts,
): Pick<EngineConclusions, "kvCacheCapacity" | "kvCacheCapacityIsEstimate"> {
  const read = (name: string): number => Number(configuration.get(name) ?? NaN);
  const stated = read("kv_cache_size_tokens");
  if (stated > 0) return { kvCacheCapacity: present(stated), kvCacheCapacityIsEstimate: false };
  const computed = read("num_gpu_blocks") * read("block_size");
  const isComputed = computed > 0;
  return {
    kvCacheCapacity: isComputed ? present(computed) : absent("missing"),
    kvCacheCapacityIsEstimate: isComputed,
  };
}

/** Failed notifications are part of failed transfers since 0.33. */
const FAILED_TRANSFER_NAMES: readonly string[] = [
  "nixl_num_failed_transfers_total",
  "nixl_num_kv_expired_reqs_total",
  "mooncake_num_failed_transfers_total",
  "mooncake_num_failed_recvs_total",
  "mooncake_num_kv_expired_reqs_total",
];

function readFailures({ getValue, labelled, initializing }: EngineFacts): {
  readonly failedRequests: Reading;
  readonly failedTransfers: Reading;
} {
  const { finishedByReason } = labelled;
  const isInitializing = initializing.has("finishedByReason");
  const transfers = FAILED_TRANSFER_NAMES.flatMap((name) => getValue(name) ?? []);
  return {
    failedRequests: finishedByReason === undefined
      ? absent(isInitializing ? "initializing" : "missing")
      : checkReading(finishedByReason.get("error") ?? 0),
    failedTransfers: transfers.length === 0
      ? absent("missing")
      : checkReading(transfers.reduce((sum, value) => sum + value, 0)),
  };
}

function conclude(facts: EngineFacts): EngineConclusions {
  const sleep = facts.getFamily("engine_sleep_state");
  const queriesName = facts.getName("prefix_cache_queries_total");
  const reportedRatio = facts.getValue("gpu_prefix_cache_hit_rate");
  const prefixCaching = facts.configuration.get("enable_prefix_caching");
  return {
    counters: { ...readTokensBySource(facts), ...readFailures(facts) },
    modelState: sleep.get("weights_offloaded") === 1 || sleep.get("discard_all") === 1
      ? "asleep"
      : "loaded",
    prefixCacheUnit: queriesName !== null && BLOCK_COUNTING_NAMES.has(queriesName)
      ? "blocks or tokens"
      : "tokens",
    // V0 reports -1.
    prefixCacheIsOff: prefixCaching === "False" || (reportedRatio !== null && reportedRatio < 0),
    ...readCapacity(facts),
  };
}

/** `VLLM::Worker_DP0_TP1`, `…multiprocessing-fork_TP0`, `VllmWorker TP0`. */
const RANKED_TITLE =
  /(?:^VLLM::\w*?|^\(?VllmWorker|multiprocessing-fork)((?:[_ ](?:DP|PP|PCP|TP|DCP|EP)\d+)+)/;
const ENGINE_TITLE = /^VLLM::EngineCore(?:Proc)?_(\d+)/;
const OLD_WORKER_TITLE = /VllmWorker(?:Process)?(?:[- ]|\s+rank=)(\d+)/;

function parseRanks(title: string): ProcessRanks {
  const ranks = new Map<string, number>();
  for (const [, kind, rank] of (RANKED_TITLE.exec(title)?.[1] ?? "").matchAll(/([A-Z]+)(\d+)/g)) {
    ranks.set(kind, Number(rank));
  }
  const engine = ENGINE_TITLE.exec(title)?.[1];
  const worker = OLD_WORKER_TITLE.exec(title)?.[1];
  const data = ranks.get("DP") ?? (engine === undefined ? undefined : Number(engine));
  const tensor = ranks.get("TP") ?? (worker === undefined ? undefined : Number(worker));
  const pipeline = ranks.get("PP");
  return {
    ...(data === undefined ? {} : { data }),
    ...(tensor === undefined ? {} : { tensor }),
    ...(pipeline === undefined ? {} : { pipeline }),
  };
}

const SHORT_OPTIONS: ReadonlyMap<string, string> = new Map([
  ["tp", "tensor-parallel-size"],
  ["pp", "pipeline-parallel-size"],
  ["dp", "data-parallel-size"],
  ["dpl", "data-parallel-size-local"],
  ["dcp", "decode-context-parallel-size"],
  ["pcp", "prefill-context-parallel-size"],
]);

/** Families of the API server. */
const API_SERVER_FAMILY = /^(http|python|process)_/;
/** The API server's one family that always has a sample. */
const API_SERVER_MARK = "http_request_duration_highr_seconds";

/** Without engine statistics only families of the API server remain. */
function findDisablingOption(familyNames: Iterable<string>): string | null {
  let marked = false;
  for (const family of familyNames) {
    if (!API_SERVER_FAMILY.test(family)) return null;
    marked ||= family.startsWith(API_SERVER_MARK);
  }
  return marked ? "--disable-log-stats" : null;
}

export const VLLM: Dialect = {
  name: "vLLM",
  // The last is NVIDIA NIM's.
  prefixes: [...VLLM_PREFIXES, ""],
  rows: VLLM_METRIC_ROWS,
  defaultPort: DEFAULT_PORT,
  paths: [
    { path: METRICS_PATH, when: "each_round" },
    { path: "/version", when: "once" },
    // Counted in http_requests_total.
    { path: "/v1/models", when: "once" },
  ],
  modelOwner: "vllm",
  answersVersion: true,
  labels: {
    model: "model_name",
    engine: "engine",
    // Ray workers.
    workers: ["ReplicaId", "WorkerId"],
    // API servers.
    parts: ["pid"],
    // Triton's vLLM backend and llm-d's simulator.
    aliases: new Map([["model", "model_name"], ["finish_reason", "finished_reason"]]),
  },
  createdName: CREATED_NAME,
  tokensAreBooked: "step",
  mainOptions: [
    "kv_cache_size_tokens",
    "kv_cache_max_concurrency",
    "num_gpu_blocks",
    "block_size",
    "cache_dtype",
    "gpu_memory_utilization",
    "enable_prefix_caching",
    "sliding_window",
    "cpu_offload_gb",
  ],
  flags: {
    kvCacheMemory: "--gpu-memory-utilization",
    kvCacheType: "--kv-cache-dtype fp8",
    maxLength: "--max-model-len",
    concurrentRequests: "--max-num-seqs",
    tokenBudget: "--max-num-batched-tokens",
    // Part of --speculative-config.
    speculativeTokens: "num_speculative_tokens",
    apiServers: "--api-server-count",
  },
  // The others wait for a LoRA slot, a KV transfer or a grammar.
  capacityReason: "capacity",
  processes: {
    command:
      /^VLLM::|(?:^|[\s/])vllm serve(?:\s|$)|\bvllm\.entrypoints\.(?:openai\.)?api_server\b|(?:^|[\s/])vllm\/entrypoints\/(?:openai\/)?api_server\.py(?:\s|$)/,
    image: /vllm[^/]*$/,
    title: /^VLLM::/,
    innerTitle: /^VLLM::(?!APIServer)/i,
    roles: [
      [/^VLLM::APIServer/i, "api_server"],
      [/^VLLM::EngineCore/, "engine_core"],
      [/^VLLM::Worker/, "worker"],
    ],
    parseRanks,
    modelOptions: ["served-model-name", "model"],
    tlsOptions: ["ssl-certfile", "ssl-keyfile"],
    headlessOption: "headless",
    shortOptions: SHORT_OPTIONS,
    sizeOptions: new Set([...SHORT_OPTIONS.values(), "api-server-count", "nnodes"]),
  },
  conclude,
  loadLogGrammar: async () => (await import("./dialect_vllm_log.ts")).VLLM_LOG,
  findDisablingOption,
};
