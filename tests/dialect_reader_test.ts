import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { createSimulatedServer } from "../lib/demo.ts";
import {
  createLayout,
  createReaderFactory,
  createVllmReader,
  type ExpositionLayout,
  parseVllmMetrics,
  rescanValues,
  type VllmExposition,
} from "../lib/dialect_reader.ts";
import { MAX_PARTS } from "../lib/dialect_sample.ts";
import { MAX_ENGINES } from "../lib/dialect_vllm.ts";
import { METRIC_ROWS, type MetricRow } from "../lib/dialect_vllm_metrics.ts";
import { countObservations } from "../lib/histogram.ts";
import type { EngineSample } from "../lib/model.ts";
import { finishSteps } from "../lib/platform.ts";
import { parseExposition } from "../lib/prometheus.ts";
import { isPresent } from "../lib/reading.ts";
import { CONFORMANCE_BODIES, listScenarioBodies } from "./fixtures/bodies.ts";
import {
  encode,
  MODEL,
  readEngine,
  readGzip,
  type Series,
  START_EPOCH,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";

function read(text: string, metricPrefix?: string): VllmExposition {
  return parseVllmMetrics(encode(text), { metricPrefix });
}

/** What makes an engine of an exposition, whatever else it says. */
const RUNNING: Series = ["num_requests_running", 3];

function readOne(...series: Series[]): EngineSample {
  return readEngine(writeEngine([RUNNING, ...series]));
}

/** All figures that an engine has a value of, as `kind.key`. */
function listFigures(engine: EngineSample): Map<string, unknown> {
  const found = new Map<string, unknown>();
  for (const kind of ["gauges", "counters"] as const) {
    for (const [key, reading] of Object.entries(engine[kind])) {
      if (isPresent(reading)) found.set(key, reading.value);
    }
  }
  for (const [key, family] of Object.entries(engine.labelled)) found.set(key, [...family]);
  for (const [key, histogram] of Object.entries(engine.histograms)) {
    found.set(key, [...histogram.bounds]);
  }
  return found;
}

// ---- Names.

/** The series of one family, under that name. */
function writeFamily(row: MetricRow, name: string): Series[] {
  switch (row.kind) {
    case "histogram":
      return writeHistogram(name, [0.5, 2], { counts: [1, 2, 4], sum: 7 });
    case "labelled":
      return [[`${name}{${row.label}="x"}`, 5]];
    default:
      return [[name, 5]];
  }
}

function expectFigure(row: MetricRow): unknown {
  const scale = row.scale ?? 1;
  switch (row.kind) {
    case "histogram":
      return [0.5 * scale, 2 * scale, Infinity];
    case "labelled":
      return [["x", 5]];
    default:
      return 5;
  }
}

Deno.test("parseVllmMetrics() gives every name of the table a value under its key", () => {
  for (const row of METRIC_ROWS) {
    for (const name of row.names) {
      const others = row.key === "running" ? [["prompt_tokens_total", 1] as const] : [RUNNING];
      const { engines } = read(writeEngine([...others, ...writeFamily(row, name)]));
      assertEquals(engines.length, 1, name);
      const found = listFigures(engines[0]);
      assertEquals(found.get(row.key), expectFigure(row), name);
      assertEquals(found.size, 2, `${name} feeds ${[...found.keys()]}`);
    }
  }
});

Deno.test("parseVllmMetrics() knows every name of the table by its TYPE line alone", () => {
  for (const row of METRIC_ROWS) {
    for (const name of row.names) {
      // Prometheus' format declares a counter with `_total`, OpenMetrics without.
      for (const family of new Set([name, name.replace(/_total$/, "")])) {
        if (row.kind === "histogram" && family !== name) continue;
        const { vllmFamilyCount, engines } = read(`# TYPE vllm:${family} ${row.kind}\n`);
        assertEquals([vllmFamilyCount, engines.length], [1, 0], family);
      }
    }
  }
});

// Typed from the list of vLLM's metrics: name, further labels, and what it means.
const KNOWN_NAMES: readonly (readonly [kind: "value" | "histogram", ...string[]])[] = [
  ["value", "num_requests_running", "running"],
  ["value", "num_requests_waiting", "waiting"],
  ["value", 'num_requests_waiting_by_reason{reason="capacity"}', "waitingByReason"],
  ["value", "num_requests_swapped", "swapped"],
  ["value", "gpu_cache_usage_perc", "kvCacheUsageRatio"],
  ["value", "kv_cache_usage_perc", "kvCacheUsageRatio"],
  ["value", "cpu_cache_usage_perc", "cpuCacheUsageRatio"],
  ["value", "gpu_prefix_cache_hit_rate", "prefixCacheHitRatioReported"],
  ["value", "cpu_prefix_cache_hit_rate", "cpuPrefixCacheHitRatioReported"],
  ["value", "gpu_prefix_cache_queries_total", "prefixCacheQueries"],
  ["value", "gpu_prefix_cache_hits_total", "prefixCacheHits"],
  ["value", "prefix_cache_queries_total", "prefixCacheQueries"],
  ["value", "prefix_cache_hits_total", "prefixCacheHits"],
  ["value", "external_prefix_cache_queries_total", "externalPrefixCacheQueries"],
  ["value", "external_prefix_cache_hits_total", "externalPrefixCacheHits"],
  ["value", "mm_cache_queries_total", "multimodalCacheQueries"],
  ["value", "mm_cache_hits_total", "multimodalCacheHits"],
  ["value", 'engine_sleep_state{sleep_state="awake"}', "sleepState"],
  ["histogram", "kv_block_lifetime_seconds", "kvBlockLifetime"],
  ["histogram", "kv_block_idle_before_evict_seconds", "kvBlockIdleBeforeEvict"],
  ["histogram", "kv_block_reuse_gap_seconds", "kvBlockReuseGap"],
  ["value", 'admission_rejections_total{reason="max_num_queued_reqs"}', "rejectedByReason"],
  ["value", "prompt_tokens_total", "promptTokens"],
  ["value", 'prompt_tokens_by_source_total{source="local_compute"}', "promptTokensBySource"],
  ["value", "prompt_tokens_cached_total", "cachedPromptTokens"],
  [
    "value",
    'prompt_tokens_cached_by_source_total{source="device"}',
    "cachedPromptTokensBySource",
  ],
  ["value", "prompt_tokens_recomputed_total", "recomputedPromptTokens"],
  ["value", "generation_tokens_total", "generationTokens"],
  ["value", "tokens_total", "totalTokens"],
  ["value", "num_preemptions_total", "preemptions"],
  ["value", 'request_success_total{finished_reason="stop"}', "finishedByReason"],
  ["value", "corrupted_requests_total", "corruptedRequests"],
  ["histogram", "iteration_tokens_total", "iterationTokens"],
  ["histogram", "request_prompt_tokens", "requestPromptTokens"],
  ["histogram", "request_generation_tokens", "requestGenerationTokens"],
  ["histogram", "request_prefill_kv_computed_tokens", "requestPrefillComputedTokens"],
  ["histogram", "request_max_num_generation_tokens", "requestMaxGenerationTokens"],
  ["histogram", "request_params_n", "requestParamN"],
  ["histogram", "request_params_max_tokens", "requestParamMaxTokens"],
  ["histogram", "request_params_best_of", "requestParamBestOf"],
  ["histogram", "request_num_preemptions", "requestPreemptions"],
  ["value", "avg_prompt_throughput_toks_per_s", "promptTokensPerSecondReported"],
  ["value", "avg_generation_throughput_toks_per_s", "generationTokensPerSecondReported"],
  ["histogram", "time_to_first_token_seconds", "ttft"],
  ["histogram", "time_per_output_token_seconds", "itl"],
  ["histogram", "inter_token_latency_seconds", "itl"],
  ["histogram", "request_time_per_output_token_seconds", "tpot"],
  ["histogram", "e2e_request_latency_seconds", "e2e"],
  ["histogram", "request_queue_time_seconds", "queue"],
  ["histogram", "time_in_queue_requests", "queue"],
  ["histogram", "request_prefill_time_seconds", "prefill"],
  ["histogram", "request_decode_time_seconds", "decode"],
  ["histogram", "request_inference_time_seconds", "inference"],
  ["histogram", "model_forward_time_milliseconds", "modelForward"],
  ["histogram", "model_execute_time_milliseconds", "modelExecute"],
  ["value", "spec_decode_draft_acceptance_rate", "draftAcceptanceRatioReported"],
  ["value", "spec_decode_efficiency", "speculativeEfficiencyRatioReported"],
  ["value", "spec_decode_num_accepted_tokens_total", "acceptedTokens"],
  ["value", "spec_decode_num_draft_tokens_total", "draftTokens"],
  ["value", "spec_decode_num_emitted_tokens_total", "emittedTokens"],
  ["value", "spec_decode_num_drafts_total", "drafts"],
  [
    "value",
    'spec_decode_num_accepted_tokens_per_pos_total{position="0"}',
    "acceptedTokensByPosition",
  ],
  ["value", "diffusion_num_denoising_steps_total", "diffusionDenoisingSteps"],
  ["value", "diffusion_num_canvas_positions_total", "diffusionCanvasPositions"],
  ["value", "diffusion_num_committed_tokens_total", "diffusionCommittedTokens"],
  ["value", "estimated_flops_per_gpu_total", "estimatedFlopsPerGpu"],
  ["value", "estimated_read_bytes_per_gpu_total", "estimatedReadBytesPerGpu"],
  ["value", "estimated_write_bytes_per_gpu_total", "estimatedWriteBytesPerGpu"],
  ["histogram", "nixl_xfer_time_seconds", "nixlTransfer"],
  ["histogram", "nixl_post_time_seconds", "nixlPost"],
  ["histogram", "nixl_bytes_transferred", "nixlBytes"],
  ["histogram", "nixl_num_descriptors", "nixlDescriptors"],
  ["value", "nixl_num_failed_transfers_total", "nixlFailedTransfers"],
  ["value", "nixl_num_failed_notifications_total", "nixlFailedNotifications"],
  ["value", "nixl_num_kv_expired_reqs_total", "nixlExpiredRequests"],
  ["value", 'kv_offload_total_bytes_total{transfer_type="CPU_to_GPU"}', "offloadBytesByDirection"],
  ["value", 'kv_offload_total_time_total{transfer_type="CPU_to_GPU"}', "offloadSecondsByDirection"],
  ["histogram", "kv_offload_size", "offloadSize"],
  ["value", "kv_offload_load_bytes_total", "offloadLoadBytes"],
  ["value", "kv_offload_load_time_total", "offloadLoadSeconds"],
  ["histogram", "kv_offload_load_size", "offloadLoadSize"],
  ["value", "kv_offload_store_bytes_total", "offloadStoreBytes"],
  ["value", "kv_offload_store_time_total", "offloadStoreSeconds"],
  ["histogram", "kv_offload_store_size", "offloadStoreSize"],
  ["value", "kv_offload_stores_skipped_total", "offloadStoresSkipped"],
  ["value", "kv_offload_cpu_cache_usage_perc", "offloadCpuCacheUsageRatio"],
  ["value", "kv_offload_cpu_cache_write_usage_perc", "offloadCpuCacheWriteUsageRatio"],
  ["value", "kv_offload_cpu_cache_read_usage_perc", "offloadCpuCacheReadUsageRatio"],
  ["histogram", "kv_offload_lookup_sync_delay_seconds", "offloadLookupSyncDelay"],
  ["histogram", "kv_offload_lookup_async_delay_seconds", "offloadLookupAsyncDelay"],
  ["value", "kv_offload_allocation_failure_total", "offloadAllocationFailures"],
  ["histogram", "kv_offload_cpu_allocation_size", "offloadCpuAllocationSize"],
  [
    "value",
    'mooncake_store_operation_total{operation="load_get",status="ok"}',
    "mooncakeOperations",
  ],
  [
    "value",
    'mooncake_store_operation_keys_total{operation="load_get",status="ok"}',
    "mooncakeKeys",
  ],
  [
    "value",
    'mooncake_store_operation_bytes_total{operation="load_get",status="ok"}',
    "mooncakeBytes",
  ],
  [
    "value",
    'mooncake_store_operation_failed_keys_total{operation="load_get",status="ok"}',
    "mooncakeFailedKeys",
  ],
  ["histogram", "mooncake_store_operation_time_seconds", "mooncakeOperationTime"],
  ["histogram", "hf3fs_save_duration_seconds", "hf3fsSave"],
  ["histogram", "hf3fs_load_duration_seconds", "hf3fsLoad"],
  ["value", "hf3fs_num_failed_save_total", "hf3fsFailedSaves"],
  ["value", "hf3fs_num_failed_load_total", "hf3fsFailedLoads"],
  ["value", "websocket_connections_active", "websocketConnectionsActive"],
  ["value", "websocket_connections_total", "websocketConnections"],
  ["histogram", "websocket_connection_duration_seconds", "websocketConnectionTime"],
  [
    "value",
    'tool_call_parser_invocations_total{mode="auto",outcome="ok",request_type="chat"}',
    "toolCallsByOutcome",
  ],
];

Deno.test("parseVllmMetrics() knows every metric of vLLM by its exact name", () => {
  for (const [kind, name, key] of KNOWN_NAMES) {
    const series: Series[] = kind === "value"
      ? [[name, 1]]
      : writeHistogram(name, [0.5], { counts: [1, 2], sum: 1 });
    const other: Series = key === "running" ? ["prompt_tokens_total", 1] : RUNNING;
    const found = listFigures(readEngine(writeEngine([other, ...series])));
    assert(found.has(key), `${name} gives ${[...found.keys()]}`);
    assertEquals(found.size, 2, name);
  }
});

// ---- Fragments of names that other metrics share (the false hits of a substring match).

Deno.test("parseVllmMetrics() takes nothing for what only resembles it", () => {
  const others: readonly string[] = [
    ...["request_prompt_tokens", "prompt_tokens_created", "my_prompt_tokens_total"],
    ...["prompt_tokens_total_created", "generation_tokens_created", "Prompt_tokens_total"],
    ...["num_requests_waiting_created", "kv_offload_tiering_primary_write_usage_perc"],
    ...["time_per_output_token_seconds", "inter_token_latency_seconds", "iteration_tokens_total"],
    ...["prefix_cache_hits_created", "request_success_created", "num_requests"],
  ];
  const found = listFigures(readOne(...others.map((name): Series => [name, 1.78e9])));
  assertEquals([...found.keys()], ["running"]);
});

Deno.test("parseVllmMetrics() leaves other servers' metrics alone", async () => {
  for (const name of ["sglang-docs-sample", "llamacpp-b10298"]) {
    const exposition = parseVllmMetrics(await readGzip(`fixtures/${name}.prom.gz`));
    assertEquals(exposition.engines, []);
    assertEquals(exposition.vllmFamilyCount, 0);
    assertEquals(exposition.badLineCount, 0);
    assert(exposition.sampleCount > 5);
  }
  const { familyNames } = parseVllmMetrics(await readGzip("fixtures/llamacpp-b10298.prom.gz"));
  assert(familyNames.has("llamacpp:prompt_tokens_total"));
});

Deno.test("parseVllmMetrics() sees a server whose statistics are off", () => {
  const { engines, vllmFamilyCount, familyNames } = read(
    '# TYPE http_requests_total counter\nhttp_requests_total{status="2xx"} 4\n' +
      "process_start_time_seconds 1795300000\n",
  );
  assertEquals([engines.length, vllmFamilyCount], [0, 0]);
  assertEquals([...familyNames], ["http_requests_total", "process_start_time_seconds"]);
});

// ---- Aliases: the newest name counts, and two are never added.

Deno.test("parseVllmMetrics() prefers the newer name, in whichever order the two stand", () => {
  const old: Series = ["gpu_cache_usage_perc", 0.5];
  const young: Series = ["kv_cache_usage_perc", 0.25];
  for (const series of [[old, young], [young, old]]) {
    const { engines: [engine], aliases } = read(writeEngine([RUNNING, ...series]));
    assertEquals(engine.gauges.kvCacheUsageRatio, { value: 0.25 });
    assertEquals([...aliases], [], "the newest name was there");
  }
  const { engines: [engine], aliases } = read(writeEngine([RUNNING, old]));
  assertEquals(engine.gauges.kvCacheUsageRatio, { value: 0.5 });
  assertEquals([...aliases], [["kvCacheUsageRatio", "gpu_cache_usage_perc"]]);
});

Deno.test("parseVllmMetrics() never adds inter-token latency and its former name", () => {
  const bounds = [0.01, 0.025];
  const same = { counts: [4, 6, 7], sum: 0.125 };
  const young = writeHistogram("inter_token_latency_seconds", bounds, same);
  const old = writeHistogram("time_per_output_token_seconds", bounds, same);
  // Per request, and something else.
  const perRequest = writeHistogram("request_time_per_output_token_seconds", bounds, {
    counts: [1, 1, 2],
    sum: 0.03,
  });
  for (const series of [[...young, ...old, ...perRequest], [...perRequest, ...old, ...young]]) {
    const { histograms } = readOne(...series);
    assertEquals([...histograms.itl?.counts ?? []], [4, 6, 7]);
    assertEquals(histograms.itl?.sum, 0.125);
    assertEquals([...histograms.tpot?.counts ?? []], [1, 1, 2]);
  }
});

Deno.test("parseVllmMetrics() knows when prefix-cache counters may count blocks", () => {
  const old: Series[] = [["gpu_prefix_cache_queries_total", 8], ["gpu_prefix_cache_hits_total", 3]];
  const young: Series[] = [["prefix_cache_queries_total", 128], ["prefix_cache_hits_total", 48]];
  const only = readOne(...old);
  assertEquals(only.counters.prefixCacheQueries, { value: 8 });
  assertEquals(only.counters.prefixCacheHits, { value: 3 });
  assertEquals(only.prefixCacheUnit, "blocks or tokens");
  const both = readOne(...old, ...young);
  assertEquals(both.counters.prefixCacheQueries, { value: 128 });
  assertEquals(both.counters.prefixCacheHits, { value: 48 });
  // The newer name came with tokens.
  assertEquals(both.prefixCacheUnit, "tokens");
});

Deno.test("parseVllmMetrics() takes counters without _total, as Ray has them, last of all", () => {
  const alone = read(
    'ray_vllm_num_requests_running{engine="0",model_name="m"} 1\n' +
      'ray_vllm_prompt_tokens{engine="0",model_name="m"} 5\n',
  ).engines[0];
  assertEquals(alone.counters.promptTokens, { value: 5 });
  const both = readOne(["prompt_tokens", 5], ["prompt_tokens_total", 7]);
  assertEquals(both.counters.promptTokens, { value: 7 });
  const older = readOne(["prefix_cache_hits", 5], ["gpu_prefix_cache_hits_total", 7]);
  assertEquals(older.counters.prefixCacheHits, { value: 7 });
});

// ---- Engines.

Deno.test("parseVllmMetrics() takes an exposition without engine labels as one engine", async () => {
  const { engines } = parseVllmMetrics(await readGzip("scenarios/v0/head.prom.gz"));
  assertEquals(engines.map(({ modelName, engine }) => [modelName, engine]), [
    ["meta-llama/Llama-3.1-8B-Instruct", ""],
  ]);
  const [{ gauges, cacheConfig, labelled }] = engines;
  assertEquals(gauges.swapped, { value: 0 });
  assertEquals(gauges.prefixCacheHitRatioReported, { value: -1 });
  assertEquals(gauges.kvCacheUsageRatio, { value: 0 });
  // The configuration has no engine label either.
  assertEquals(cacheConfig.get("num_gpu_blocks"), "2375");
  // A child of it appears at its first use.
  assertEquals(labelled.finishedByReason, undefined);
});

Deno.test("parseVllmMetrics() orders engines by number, within models as they come", () => {
  const text = ["10", "2", "0", "1"].map((engine) => writeEngine([RUNNING], { engine })).join("") +
    writeEngine([RUNNING], { engine: "0", model: "A" });
  assertEquals(read(text).engines.map(({ modelName, engine }) => `${modelName} ${engine}`), [
    ...["0", "1", "2", "10"].map((engine) => `${MODEL} ${engine}`),
    "A 0",
  ]);
});

Deno.test("parseVllmMetrics() reads two engines of one process", async () => {
  const body = await readGzip("fixtures/generated-v1-dp2-single-process.prom.gz");
  const { engines, processStart, countersCreated, server } = parseVllmMetrics(body);
  assertEquals(engines.map(({ engine }) => engine), ["0", "1"]);
  const [first, second] = engines;
  assertEquals([first.gauges.running, second.gauges.running], [{ value: 5 }, { value: 3 }]);
  assertEquals(second.counters.promptTokens, { value: 9001 });
  assertEquals(second.labelled.promptTokensBySource?.get("local_cache_hit"), 3001);
  assertEquals(first.labelled.waitingByReason?.get("capacity"), 2);
  assertEquals(first.labelled.finishedByReason?.get("stop"), 8);
  const { itl } = first.histograms;
  assert(itl !== undefined);
  assertEquals([countObservations(itl), itl.sum], [1990, 42.735000000000184]);
  assertEquals(processStart, { value: 1_795_299_425.22 });
  assertEquals(countersCreated, { value: 1_795_299_425.649586 });
  assertEquals(server, null);
});

Deno.test("parseVllmMetrics() shares the bounds of equal histograms", () => {
  const series = writeHistogram("time_to_first_token_seconds", [1, 2], {
    counts: [1, 2, 3],
    sum: 4,
  });
  const { engines } = read(
    ["0", "1"].map((engine) => writeEngine([RUNNING, ...series], { engine })).join(""),
  );
  assert(engines[0].histograms.ttft?.bounds === engines[1].histograms.ttft?.bounds);
});

Deno.test("parseVllmMetrics() takes the largest of a gauge that every process exports", async () => {
  const body = await readGzip("scenarios/kv-cache-by-pid/by-pid.prom.gz");
  const { engines } = parseVllmMetrics(body);
  assertEquals(engines.map(({ gauges }) => gauges.kvCacheUsageRatio), [
    { value: 0.45 },
    { value: 0.32 },
  ]);
  const pids = (values: readonly (number | string)[]): EngineSample =>
    readOne(...values.map((value, i): Series => [`kv_cache_usage_perc{pid="${i}"}`, value]));
  assertEquals(pids([0, 0.5, 0.2]).gauges.kvCacheUsageRatio, { value: 0.5 });
  // A process that knows nothing hides none that does.
  assertEquals(pids(["NaN", 0.5]).gauges.kvCacheUsageRatio, { value: 0.5 });
  assertEquals(pids([0.5, "NaN"]).gauges.kvCacheUsageRatio, { value: 0.5 });
});

Deno.test("parseVllmMetrics() finds gauges of a cold server initializing, not 0 and not missing", async () => {
  const { engines, processStart, countersCreated } = parseVllmMetrics(
    await readGzip("scenarios/multiprocess-cold/cold.prom.gz"),
  );
  assertEquals(engines.map(({ engine }) => engine), ["0", "1"]);
  for (const { gauges, labelled, initializing, counters } of engines) {
    for (const key of ["running", "waiting", "kvCacheUsageRatio"] as const) {
      assertEquals(gauges[key], { value: null, reason: "initializing" });
    }
    assertEquals(gauges.swapped, { value: null, reason: "missing" });
    assertEquals(counters.promptTokens, { value: 0 });
    assertEquals(counters.drafts, { value: null, reason: "missing" });
    assertEquals(labelled.waitingByReason, undefined);
    assert(initializing.has("waitingByReason"));
  }
  assertEquals(processStart, { value: null, reason: "missing" });
  assertEquals(countersCreated, { value: null, reason: "missing" });
});

Deno.test("parseVllmMetrics() finds what has no sample at all without an engine", () => {
  const { engines, vllmFamilyCount } = read(
    "# TYPE vllm:num_requests_running gauge\n# TYPE vllm:prompt_tokens_total counter\n",
  );
  assertEquals([engines.length, vllmFamilyCount], [0, 2]);
});

Deno.test("parseVllmMetrics() tells histograms that are declared from those that are not", () => {
  const { initializing, histograms } = readEngine(
    "# TYPE vllm:time_to_first_token_seconds histogram\n" + writeEngine([RUNNING]),
  );
  assertEquals(histograms.ttft, undefined);
  assert(initializing.has("ttft"));
  assert(!initializing.has("itl"));
});

// ---- What belongs to no engine.

Deno.test("parseVllmMetrics() gives what has no engine to the server", () => {
  const { engines, server } = read(
    ["0", "1"].map((engine) => writeEngine([RUNNING], { engine })).join("") +
      writeEngine([
        ['admission_rejections_total{reason="max_num_queued_reqs"}', 7],
        ['admission_rejections_total{reason="max_num_queued_tokens"}', 2],
        ['tool_call_parser_invocations_total{mode="auto",outcome="ok",request_type="chat"}', 3],
        ['tool_call_parser_invocations_total{mode="any",outcome="ok",request_type="chat"}', 4],
        ['tool_call_parser_invocations_total{mode="any",outcome="bad",request_type="chat"}', 1],
      ], { engine: null }),
  );
  assertEquals(engines.map(({ engine }) => engine), ["0", "1"]);
  assertEquals([...server?.labelled.rejectedByReason ?? []], [
    ["max_num_queued_reqs", 7],
    ["max_num_queued_tokens", 2],
  ]);
  assertEquals([...server?.labelled.toolCallsByOutcome ?? []], [["ok", 7], ["bad", 1]]);
  assertEquals(engines[0].labelled.rejectedByReason, undefined);
});

Deno.test("parseVllmMetrics() makes no engine of what only a server has", () => {
  const { engines, server } = read(
    'vllm:websocket_connections_active 2\nvllm:admission_rejections_total{reason="x"} 1\n',
  );
  assertEquals(engines, []);
  assertEquals(server?.gauges.websocketConnectionsActive, { value: 2 });
});

Deno.test("parseVllmMetrics() takes a series without engine beside numbered ones for no engine", () => {
  const { engines, server } = read(
    writeEngine([RUNNING]) + writeEngine([["prompt_tokens_total", 5]], { engine: null }),
  );
  assertEquals(engines.map(({ engine }) => engine), ["0"]);
  assertEquals(server?.counters.promptTokens, { value: 5 });
});

Deno.test("parseVllmMetrics() loses nothing of a server that speaks with and without a model", () => {
  const duration = (count: number): Series[] =>
    writeHistogram("websocket_connection_duration_seconds", [1], {
      counts: [count, count],
      sum: count / 2,
    });
  const { engines, server } = read(
    writeEngine([RUNNING]) +
      writeEngine([['admission_rejections_total{reason="x"}', 7], ...duration(4)], {
        engine: null,
      }) +
      'vllm:websocket_connections_active 2\nvllm:admission_rejections_total{reason="x"} 1\n' +
      'vllm:admission_rejections_total{reason="y"} 5\nvllm:websocket_connections_total 9\n' +
      writeEngine([["websocket_connections_total", 3], ...duration(6)], {
        engine: null,
        model: "other",
      }),
  );
  assertEquals(engines.length, 1);
  assert(server !== null);
  assertEquals([...server.labelled.rejectedByReason ?? []], [["x", 8], ["y", 5]]);
  assertEquals(server.gauges.websocketConnectionsActive, { value: 2 });
  assertEquals(server.counters.websocketConnections, { value: 12 });
  assertEquals([...server.histograms.websocketConnectionTime?.counts ?? []], [10, 10]);
  assertEquals(server.histograms.websocketConnectionTime?.sum, 5);
});

// ---- The configuration.

function writeConfig(engine: string | null, blocks: number): string {
  const label = engine === null ? "" : `engine="${engine}",`;
  return `vllm:cache_config_info{block_size="16",${label}num_gpu_blocks="${blocks}"} 1.0\n`;
}

Deno.test("parseVllmMetrics() joins the cache configuration on the engine", () => {
  const engines = ["0", "1"].map((engine) => writeEngine([RUNNING], { engine })).join("");
  const blocksOf = (text: string) =>
    read(text).engines.map(({ cacheConfig }) => cacheConfig.get("num_gpu_blocks"));
  const both = writeConfig("1", 200) + writeConfig("0", 100);
  assertEquals(blocksOf(both + engines), ["100", "200"]);
  assertEquals(blocksOf(engines + both), ["100", "200"]);
  // Without an engine it is that of all.
  assertEquals(blocksOf(engines + writeConfig(null, 300)), ["300", "300"]);
  assertEquals(blocksOf(engines + writeConfig("0", 100)), ["100", undefined]);
  const { cacheConfig } = read(engines + both).engines[0];
  assertEquals([...cacheConfig], [["block_size", "16"], ["num_gpu_blocks", "100"]]);
});

Deno.test("parseVllmMetrics() keeps label names of any kind apart from objects' own", () => {
  const { cacheConfig } = readEngine(
    writeEngine([RUNNING]) +
      'vllm:cache_config_info{__proto__="x",_block_size_resolved="16",constructor="None"} 1\n',
  );
  assertEquals([...cacheConfig], [
    ["__proto__", "x"],
    ["_block_size_resolved", "16"],
    ["constructor", "None"],
  ]);
  const split = readOne(
    ['request_success_total{finished_reason="__proto__"}', 2],
    ['request_success_total{finished_reason="constructor"}', 3],
  );
  assertEquals([...split.labelled.finishedByReason ?? []], [["__proto__", 2], ["constructor", 3]]);
});

// ---- LoRA, sleep, waiting.

Deno.test("parseVllmMetrics() takes LoRA's newest series, whose value is a time", () => {
  const series = (running: string, waiting: string, at: string): string =>
    `vllm:lora_requests_info{max_lora="4",running_lora_adapters="${running}",` +
    `waiting_lora_adapters="${waiting}"} ${at}\n`;
  const text = writeEngine([RUNNING]) + series("a", "", "1.7953e+09") +
    series("b,c", "d", "1.7953001e+09") + series("", "", "1.7952e+09");
  assertEquals(read(text).lora, {
    runningAdapters: ["b", "c"],
    waitingAdapters: ["d"],
    maxAdapters: { value: 4 },
  });
  assertEquals(read(writeEngine([RUNNING])).lora, null);
  const idle = read('vllm:lora_requests_info{running_lora_adapters="",x="y"} 5\n').lora;
  assertEquals(idle?.runningAdapters, []);
  assertEquals(idle?.maxAdapters, { value: null, reason: "missing" });
});

Deno.test("parseVllmMetrics() reads the sleep state and waiting by reason beside the total", () => {
  const { gauges, labelled } = readOne(
    ["num_requests_waiting", 5],
    ['num_requests_waiting_by_reason{reason="capacity"}', 3],
    ['num_requests_waiting_by_reason{reason="deferred"}', 2],
    ['engine_sleep_state{sleep_state="awake"}', 0],
    ['engine_sleep_state{sleep_state="weights_offloaded"}', 1],
    ['engine_sleep_state{sleep_state="discard_all"}', 0],
  );
  assertEquals(gauges.waiting, { value: 5 });
  assertEquals([...labelled.waitingByReason ?? []], [["capacity", 3], ["deferred", 2]]);
  assertEquals(labelled.sleepState?.get("weights_offloaded"), 1);
});

// ---- Prefixes, Ray, other dialects.

Deno.test("parseVllmMetrics() finds the known prefixes, and the one that is asked for", () => {
  for (const prefix of ["vllm:", "ray_vllm_", "ray_vllm:", "kserve_vllm:"]) {
    const { engines, metricPrefix } = read(
      `${prefix}num_requests_running{model_name="m"} 2\n${prefix}prompt_tokens_total{model_name="m"} 9\n`,
    );
    assertEquals(metricPrefix, prefix);
    assertEquals(engines[0].gauges.running, { value: 2 });
    assertEquals(engines[0].counters.promptTokens, { value: 9 });
  }
  const own =
    'my_num_requests_running{model_name="m"} 2\nvllm:num_requests_running{model_name="m"} 3\n';
  assertEquals(read(own, "my_").engines[0].gauges.running, { value: 2 });
  assertEquals(read(own, "my_").metricPrefix, "my_");
  assertEquals(read(own).engines[0].gauges.running, { value: 3 });
  assertEquals(read("up 1\n").metricPrefix, "vllm:");
});

Deno.test("parseVllmMetrics() tells Ray's workers apart and joins their configuration", () => {
  const labels = (worker: string): string =>
    `Component="core_worker",NodeAddress="10.0.0.1",SessionName="s",Version="2.5",` +
    `WorkerId="${worker}",engine="0",model_name="m"`;
  const text = ["aaaaaaaaaaaa", "bbbbbbbbbbbb"].map((worker, i) =>
    `ray_vllm_num_requests_running{${labels(worker)}} ${i + 1}\n` +
    `ray_vllm_prompt_tokens_total{${labels(worker)}} ${10 * (i + 1)}\n` +
    `ray_vllm_cache_config_info{${labels(worker)},num_gpu_blocks="${i}"} 1\n`
  ).join("");
  const { engines } = read(text);
  assertEquals(engines.map(({ engine }) => engine), ["0@aaaaaaaa", "0@bbbbbbbb"]);
  assertEquals(engines.map(({ gauges }) => gauges.running.value), [1, 2]);
  assertEquals(engines.map(({ counters }) => counters.promptTokens.value), [10, 20]);
  assertEquals(engines.map(({ cacheConfig }) => cacheConfig.get("num_gpu_blocks")), ["0", "1"]);
  // A replica of Serve is what a worker is for.
  const serve = read(
    'ray_vllm_num_requests_running{ReplicaId="r1",WorkerId="w",model_name="m"} 1\n',
  );
  assertEquals(serve.engines[0].engine, "@r1");
});

Deno.test("parseVllmMetrics() reads the Rust front end's OpenMetrics", () => {
  const own = (engine: number): string => `model_name="m",engine="${engine}"`;
  const text =
    [0, 1].map((engine) => `vllm:prompt_tokens_total{${own(engine)}} ${100 + engine}\n`).join("") +
    "# TYPE vllm:num_requests_running gauge\n" +
    `vllm:num_requests_running{${own(0)}} 4\n` +
    "# TYPE vllm:time_to_first_token_seconds histogram\n" +
    "# UNIT vllm:time_to_first_token_seconds seconds\n" +
    `vllm:time_to_first_token_seconds_sum{${own(0)}} 1.5\n` +
    `vllm:time_to_first_token_seconds_count{${own(0)}} 3\n` +
    `vllm:time_to_first_token_seconds_bucket{le="0.5",${own(0)}} 1 # {id="x"} 0.3\n` +
    `vllm:time_to_first_token_seconds_bucket{le="+Inf",${own(0)}} 3\n`;
  const { engines, dialect, endsComplete, badLineCount } = read(
    `# TYPE vllm:prompt_tokens counter\n${text}# TYPE vllm:request_success counter\n# EOF\n`,
  );
  assertEquals([dialect, endsComplete, badLineCount], ["openmetrics", true, 0]);
  const [first, second] = engines;
  assertEquals([first.counters.promptTokens, second.counters.promptTokens], [
    { value: 100 },
    { value: 101 },
  ]);
  assertEquals(first.gauges.running, { value: 4 });
  // Families are made at their first use: engine 1 has not run anything yet.
  assertEquals(second.gauges.running, { value: null, reason: "initializing" });
  assertEquals([...first.histograms.ttft?.counts ?? []], [1, 3]);
  assertEquals(first.histograms.ttft?.sum, 1.5);
  assert(second.initializing.has("ttft"));
  assert(first.initializing.has("finishedByReason"));
});

// ---- Values.

Deno.test("parseVllmMetrics() reads exponents of three digits", async () => {
  assertEquals(readOne(["prompt_tokens_total", "3.5786276864e+010"]).counters.promptTokens, {
    value: 35_786_276_864,
  });
  const { processStart } = parseVllmMetrics(await readGzip("scenarios/real-v0.2x/idle.prom.gz"));
  assertEquals(processStart, { value: 1_781_802_846.91 });
});

Deno.test("parseVllmMetrics() takes the largest of a split gauge by pid, and adds no two", () => {
  const { labelled } = readOne(
    ['num_requests_waiting_by_reason{pid="1",reason="capacity"}', 4],
    ['num_requests_waiting_by_reason{pid="2",reason="capacity"}', 6],
  );
  assertEquals([...labelled.waitingByReason ?? []], [["capacity", 6]]);
});

Deno.test("parseVllmMetrics() has no value where the server says NaN", () => {
  const { gauges, counters } = readOne(["num_requests_waiting", "NaN"], [
    "prompt_tokens_total",
    "NaN",
  ]);
  assertEquals(gauges.waiting, { value: null, reason: "not_finite" });
  assertEquals(counters.promptTokens, { value: null, reason: "not_finite" });
});

Deno.test("parseVllmMetrics() reads the sums of V0's milliseconds in seconds", () => {
  const { histograms } = readOne(
    ...writeHistogram("model_forward_time_milliseconds", [1, 500], {
      counts: [1, 3, 4],
      sum: 2500,
    }),
  );
  const { modelForward } = histograms;
  assertEquals([...modelForward?.bounds ?? []], [0.001, 0.5, Infinity]);
  assertEquals([...modelForward?.counts ?? []], [1, 3, 4]);
  assertEquals(modelForward?.sum, 2.5);
});

Deno.test("parseVllmMetrics() skips _created, but for the age of the counters", () => {
  const { engines, countersCreated } = read(
    writeEngine([
      RUNNING,
      ["generation_tokens_total", 5],
      ["generation_tokens_created", "1.7953e+09"],
      ["prompt_tokens_created", "1.7952e+09"],
      ['request_success_created{finished_reason="stop"}', "1.7952e+09"],
    ]),
  );
  const found = listFigures(engines[0]);
  assertEquals([...found.keys()].sort(), ["generationTokens", "running"]);
  assertEquals(countersCreated, { value: 1_795_300_000 });
});

Deno.test("parseVllmMetrics() counts a series once that is given twice", () => {
  const series: Series[] = [
    RUNNING,
    ["prompt_tokens_total", 5],
    ['request_success_total{finished_reason="stop"}', 2],
    ...writeHistogram("time_to_first_token_seconds", [1], { counts: [1, 3], sum: 2 }),
  ];
  const once = readEngine(writeEngine(series));
  assertEquals(readEngine(writeEngine([...series, ...series])), once);
});

Deno.test("parseVllmMetrics() adds up bounds that are spelled differently", () => {
  const name = "time_to_first_token_seconds_bucket";
  const { histograms } = readOne(
    [`${name}{le="0.1"}`, 1],
    [`${name}{le="0.2"}`, 1],
    [`${name}{le="2e-1"}`, 1],
    [`${name}{le="2.0e-1"}`, 1],
    [`${name}{le="+Inf"}`, 4],
    [`${name}{le="nonsense"}`, 9],
  );
  assertEquals([...histograms.ttft?.bounds ?? []], [0.1, 0.2, Infinity]);
  assertEquals([...histograms.ttft?.counts ?? []], [1, 3, 4]);
  assertEquals(histograms.ttft?.sum, NaN);
});

Deno.test("parseVllmMetrics() reads answers to HTTP requests by status", () => {
  const { httpResponsesByStatus } = read(
    'http_requests_total{handler="/v1/a",method="POST",status="2xx"} 5\n' +
      'http_requests_total{handler="/v1/b",method="POST",status="2xx"} 2\n' +
      'http_requests_total{handler="/v1/a",method="POST",status="5xx"} 1\n',
  );
  assertEquals([...httpResponsesByStatus], [["2xx", 7], ["5xx", 1]]);
});

// ---- Text from elsewhere.

Deno.test("parseVllmMetrics() makes every text safe that it keeps", () => {
  const evil = "a\x1b]0;pwn\x07\x9b31m\u202eb\\nc";
  const { engines, lora, familyNames, httpResponsesByStatus } = read(
    writeEngine([
      RUNNING,
      [`request_success_total{finished_reason="${evil}"}`, 1],
      ["generation_tokens_total", 1],
    ], { model: evil, engine: evil }) +
      `vllm:cache_config_info{engine="${evil}",cache_dtype="${evil}"} 1\n` +
      `vllm:lora_requests_info{running_lora_adapters="${evil}"} 1\n` +
      `http_requests_total{status="${evil}"} 1\n{"${evil}"} 1\n`,
  );
  const [engine] = engines;
  const texts = [
    engine.modelName,
    engine.engine,
    ...engine.labelled.finishedByReason?.keys() ?? [],
    ...engine.cacheConfig.values(),
    ...lora?.runningAdapters ?? [],
    ...familyNames,
    ...httpResponsesByStatus.keys(),
  ];
  assertEquals(texts.length, 5 + familyNames.size + 1);
  // deno-lint-ignore no-control-regex
  for (const text of texts) assert(!/[\x00-\x1f\x7f-\x9f\u202e]/.test(text), JSON.stringify(text));
  assertMatch(engine.modelName, /^a\\x1b\]0;pwn\\x07/);
  // It was joined on the safe name.
  assertEquals(engine.cacheConfig.size, 1);
});

Deno.test("parseVllmMetrics() does not keep a flood of names", () => {
  const text = Array.from({ length: 3000 }, (_, i) => `metric_${i} 1\n`).join("");
  assertEquals(read(text).familyNames.size, 1000);
});

Deno.test("parseVllmMetrics() leaves out figures that are floods, and keeps the others", () => {
  const readFlood = (count: number) =>
    readOne(
      ["prompt_tokens_total", 7],
      ...Array.from({ length: count }, (_, i): Series[] => [
        [`request_success_total{finished_reason="r${i}"}`, 1],
        [`time_to_first_token_seconds_bucket{le="${count - i}"}`, 1],
        [`e2e_request_latency_seconds_bucket{le="${i % MAX_PARTS}",pid="${i}"}`, 1],
      ]).flat(),
    );
  const { labelled, histograms } = readFlood(MAX_PARTS);
  assertEquals(labelled.finishedByReason?.size, MAX_PARTS);
  assertEquals(histograms.ttft?.bounds.length, MAX_PARTS);
  assertEquals(histograms.e2e?.bounds.length, MAX_PARTS);
  const flooded = readFlood(MAX_PARTS + 1);
  assertEquals([flooded.labelled, flooded.histograms], [{}, {}]);
  assertEquals(flooded.counters.promptTokens, { value: 7 });
});

Deno.test("parseVllmMetrics() tells of more engines than it keeps", () => {
  const readMany = (count: number) =>
    read(
      Array.from({ length: count }, (_, i) =>
        writeEngine([RUNNING], { engine: `${i % 10}`, model: `m${i}` })).join(""),
    );
  const most = readMany(MAX_ENGINES);
  assertEquals([most.engines.length, most.hasTooManyEngines], [MAX_ENGINES, false]);
  const more = readMany(MAX_ENGINES + 5);
  assertEquals([more.engines.length, more.hasTooManyEngines], [MAX_ENGINES, true]);
});

Deno.test("parseVllmMetrics() passes on what the parser found wrong", () => {
  const exposition = read(writeEngine([RUNNING]) + "broken{\nvllm:num_requests_waiting 1");
  assertEquals(exposition.badLineCount, 1);
  assertEquals(exposition.badLines[0].line, 2);
  assert(!exposition.endsComplete);
  assert(!exposition.lastLineIsBad);
});

// ---- Properties.

Deno.test("parseVllmMetrics() does not depend on the order of the lines", () => {
  const lines = [
    ...["0", "1"].map((engine) =>
      writeEngine([
        RUNNING,
        ["prompt_tokens_total", 7],
        ["gpu_cache_usage_perc", 0.5],
        ["kv_cache_usage_perc", 0.25],
        ['request_success_total{finished_reason="stop"}', 2],
        ...writeHistogram("inter_token_latency_seconds", [1, 2], { counts: [1, 2, 3], sum: 4 }),
        ...writeHistogram("time_per_output_token_seconds", [1, 2], { counts: [1, 2, 3], sum: 4 }),
      ], { engine })
    ),
    writeConfig("0", 100),
    writeConfig("1", 200),
  ].join("").split(/(?<=\n)/);
  const expected = read(lines.join("")).engines;
  const all = fc.shuffledSubarray(lines, { minLength: lines.length });
  fc.assert(
    fc.property(all, (shuffled) => {
      assertEquals(read(shuffled.join("")).engines, expected);
    }),
    { numRuns: 300 },
  );
});

Deno.test("parseVllmMetrics() never throws, whatever the samples", () => {
  const names = METRIC_ROWS.flatMap((row) => [
    ...row.names,
    ...row.names.map((name) => `${name}_bucket`),
  ]);
  const line = fc.record({
    prefix: fc.constantFrom("vllm:", "ray_vllm_", ""),
    name: fc.constantFrom(...names, "cache_config_info", "lora_requests_info", "x_created"),
    labels: fc.array(
      fc.tuple(
        fc.constantFrom("model_name", "engine", "le", "reason", "pid", "WorkerId", "max_lora"),
        fc.constantFrom("", "0", "1", "+Inf", "nan", "-1", "1e400", "m"),
      ),
      { maxLength: 4 },
    ),
    value: fc.constantFrom("0", "1", "-5", "NaN", "+Inf", "-Inf", "1e308"),
  }).map(({ prefix, name, labels, value }) => {
    const pairs = [...new Map(labels)].map(([label, of]) => `${label}="${of}"`);
    return `${prefix}${name}{${pairs.join(",")}} ${value}\n`;
  });
  fc.assert(
    fc.property(fc.array(line, { maxLength: 30 }), (lines) => {
      const { engines } = read(lines.join(""));
      for (const { gauges, counters } of engines) {
        for (const { value } of [...Object.values(gauges), ...Object.values(counters)]) {
          assert(value === null || !Number.isNaN(value));
        }
      }
    }),
    { numRuns: 1000 },
  );
});

// ---- Readers, which remember the body before.

Deno.test("createVllmReader() reads each scenario's bodies as if each were the first", async () => {
  for (const [name, paths] of await listScenarioBodies()) {
    const bodies = await Promise.all(paths.map(readGzip));
    const reader = createVllmReader();
    // In their order and back, so that each follows another of its kind, and itself.
    for (const body of [...bodies, ...bodies.toReversed()]) {
      assertEquals(reader(body), parseVllmMetrics(body), name);
    }
  }
});

Deno.test("createVllmReader() reads any server's bodies in turn as if each were the first", async () => {
  const paths = [...CONFORMANCE_BODIES, ...[...(await listScenarioBodies()).values()].flat()];
  const bodies = await Promise.all(paths.map(readGzip));
  const reader = createVllmReader();
  for (const body of bodies) assertEquals(reader(body), parseVllmMetrics(body));
});

Deno.test("readers of one factory read any servers' bodies in turn as if each were the first", async () => {
  const servers = [...(await listScenarioBodies()).values()];
  const createReader = createReaderFactory();
  const readers = servers.map(() => createReader());
  for (let poll = 0; poll < 2; poll++) {
    for (const [i, paths] of servers.entries()) {
      const body = await readGzip(paths[poll % paths.length]);
      assertEquals(finishSteps(readers[i](body)), parseVllmMetrics(body));
    }
  }
});

Deno.test("readers of one factory read a large body in steps, and one that is known at once", () => {
  const engines = Array.from({ length: 16 }, () => ({ model: "m" }));
  const server = createSimulatedServer({ seed: 1, startEpoch: START_EPOCH, engines });
  const body = new Uint8Array(server.expositionAt(0) ?? []);
  const read = createReaderFactory()();
  const countSteps = (): number => {
    const steps = read(body);
    let count = 1;
    while (!steps.next().done) count++;
    return count;
  };
  const steps = countSteps();
  assert(steps >= 4 && steps <= Math.ceil(body.length / (128 * 1024)), `${steps}`);
  assertEquals(countSteps(), 1);
});

Deno.test("readers of one factory share the text of servers that are alike, and of no others", () => {
  const createReader = createReaderFactory();
  const write = (value: number, prefix = "vllm:") =>
    encode(`${prefix}prompt_tokens_total{model_name="m",engine="0"} ${value}\n`);
  const families = (body: Uint8Array, metricPrefix: string | null = null) =>
    finishSteps(createReader({ metricPrefix })(body)).familyNames;
  const first = createReader();
  const known = finishSteps(first(write(1))).familyNames;
  assert(families(write(22)) === known);
  assert(families(write(22), "vllm:") !== known);
  assert(families(write(3, "ray_vllm:")) !== known);
  assertEquals(finishSteps(first(write(4))).engines[0].counters.promptTokens, { value: 4 });
});

Deno.test("createVllmReader() leaves what it gave as it was", () => {
  const write = (value: number) =>
    writeEngine([
      ["num_requests_running", value],
      ["prompt_tokens_total", value],
      [`request_success_total{finished_reason="stop"}`, value],
      ...writeHistogram("time_to_first_token_seconds", [1], { counts: [value, value], sum: value }),
    ]);
  const reader = createVllmReader();
  const given = [1, 2, 3].map((value) => reader(encode(write(value))));
  given.forEach((exposition, i) => assertEquals(exposition, read(write(i + 1))));
});

Deno.test("createVllmReader() has the prefix looked for that it is given", () => {
  const text = 'x_num_requests_running{model_name="m"} 3\n';
  const reader = createVllmReader({ metricPrefix: "x_" });
  for (let i = 0; i < 2; i++) {
    assertEquals(reader(encode(text)).engines[0].gauges.running, { value: 3 });
  }
});

Deno.test("createVllmReader() finds the newest adapters though the series stay", () => {
  const write = (first: number, second: number) =>
    encode(
      `${writeEngine([RUNNING])}` +
        `vllm:lora_requests_info{running_lora_adapters="a"} ${first}\n` +
        `vllm:lora_requests_info{running_lora_adapters="b"} ${second}\n`,
    );
  const reader = createVllmReader();
  const found = [[1, 2], [3, 2], [3, 3]].map(([a, b]) => reader(write(a, b)).lora?.runningAdapters);
  assertEquals(found, [["b"], ["a"], ["b"]]);
});

/** What the strict road reads. */
function parse(body: Uint8Array) {
  const values: number[] = [];
  const valueStarts: number[] = [];
  const series: string[] = [];
  const summary = parseExposition(body, {
    onSample: (name, labels, value, valueStart) => {
      values.push(value);
      valueStarts.push(valueStart);
      series.push(JSON.stringify([name, ...labels]));
    },
  });
  return {
    values: new Float64Array(values),
    valueStarts: new Int32Array(valueStarts),
    series,
    summary,
  };
}

function layOut(body: Uint8Array): ExpositionLayout {
  const layout = createLayout(body, parse(body));
  if (layout === null) throw new Error("There is no layout");
  return layout;
}

/** The values of the second body by the layout of the first; `null` where it is a surprise. */
function reread(first: string, second: string): readonly number[] | null {
  const values = rescanValues(layOut(encode(first)), encode(second));
  return values === null ? null : [...values];
}

/** Lines are long enough to be remembered. */
const NAME = "a_name_that_is_as_long_as_real_ones";
const BODY = `# TYPE ${NAME} gauge
${NAME}{le="0.1"} 1
${NAME}{le="+Inf"} 2.5
# a comment
${NAME}_total 7
`;

Deno.test("rescanValues() reads the values of the same series, however long they are", () => {
  for (const values of [["1", "2.5", "7"], ["123456.0", "0", "1e+06"], ["NaN", "+Inf", "1.0"]]) {
    const [a, b, c] = values;
    const second = BODY.replace(" 1\n", ` ${a}\n`).replace(" 2.5\n", ` ${b}\n`)
      .replace(" 7\n", ` ${c}\n`);
    const expected = [...parse(encode(second)).values];
    assertEquals(reread(BODY, second), expected);
    assertEquals(expected.length, 3);
  }
  const long = "0.1234567890123456789";
  assertEquals(reread(BODY, BODY.replace("2.5", long)), [1, Number(long), 7]);
});

Deno.test("rescanValues() goes on from body to body, and keeps none that it is given", () => {
  const body = encode(BODY);
  const layout = layOut(body);
  body.fill(0);
  for (const value of ["9", "NaN", "12.25", "9"]) {
    const next = BODY.replace("2.5", value);
    assertEquals([...rescanValues(layout, encode(next)) ?? []], [1, Number(value), 7]);
  }
});

Deno.test("rescanValues() takes every other change for a surprise", () => {
  const surprises: readonly (readonly [what: string, body: string])[] = [
    ["a label's value", BODY.replace("0.1", "0.2")],
    ["a label more", BODY.replace('{le="0.1"}', '{le="0.1",x="y"}')],
    ["a name", BODY.replace("_total", "_totax")],
    ["a line more", BODY + `${NAME}_more 1\n`],
    ["a line less", BODY.replace(/.*\+Inf.*\n/, "")],
    ["lines in another order", BODY.replace(/(.*0\.1.*\n)(.*Inf.*\n)/, "$2$1")],
    ["a comment", BODY.replace("a comment", "A comment")],
    ["a type", BODY.replace("gauge", "gauges")],
    ["a timestamp", BODY.replace("2.5", "2.5 1795300000")],
    ["an exemplar", BODY.replace("2.5", '2.5 # {id="1"} 1')],
    ["a blank", BODY.replace("2.5", "2.5 ")],
    ["a blank before the value", BODY.replace("2.5", " 2.5")],
    ["a carriage return", BODY.replace("2.5", "2.5\r")],
    ["a newline more", BODY.replace("2.5", "2.5\n")],
    ["no newline at the end", BODY.slice(0, -1)],
    ["no number", BODY.replace("2.5", "x")],
    ["no value", BODY.replace("2.5", "")],
    ["two points", BODY.replace("2.5", "2.5.5")],
    ["hexadecimal", BODY.replace("2.5", "0x25")],
    ["underscores", BODY.replace("2.5", "2_5")],
    ["a negative number, which may be a bad line", BODY.replace("2.5", "-2.5")],
    ["a number that nobody writes", BODY.replace("2.5", "1".repeat(50))],
    ["nothing", ""],
    ["all of it twice", BODY + BODY],
    ["half of it", BODY.slice(0, BODY.length / 2)],
    ["bytes that are no text", BODY.replace("2.5", "\xff")],
  ];
  for (const [what, second] of surprises) assertEquals(reread(BODY, second), null, what);
});

Deno.test("rescanValues() reads again where a timestamp, an exemplar or a bad line stays", () => {
  const rest = [' # {id="1"} 0.1', " 1795300000", "\r", "  "];
  for (const after of rest) {
    const body = BODY.replace("2.5", `2.5${after}`);
    assertEquals(reread(body, body.replace("2.5", "3")), [1, 3, 7], JSON.stringify(after));
  }
  const bad = `${BODY}${NAME}{ 5\n`;
  assertEquals(reread(bad, bad.replace("2.5", "3")), [1, 3, 7]);
  assertEquals(reread(bad, bad.replace("{ 5", "{ 6")), null);
  const negative = BODY.replace("2.5", "-2.5");
  assertEquals(reread(negative, negative.replace("-2.5", "-3")), [1, -3, 7]);
});

Deno.test("rescanValues() leaves the first negative value to the strict road, which may refuse it", () => {
  const counts = `# TYPE ${NAME} histogram\n${NAME}_bucket{le="+Inf"} -0\n`;
  assertEquals(reread(counts, counts.replace("-0", "-5")), null);
  assertEquals(parse(encode(counts.replace("-0", "-5"))).summary.badLineCount, 1);
  assertEquals(reread(counts, counts.replace("-0", "5")), [5]);
});

Deno.test("rescanValues() works in text of any script, and behind a byte-order mark", () => {
  const body = `\ufeff${BODY}${NAME}{model_name="通义千问",x="é😀"} 8\n`;
  assertEquals(reread(body, body.replace(" 8\n", " 80\n")), [1, 2.5, 7, 80]);
  assertEquals(reread(body, body.replace("é", "è")), null);
});

Deno.test("createLayout() does not remember a flood of lines that are shorter than their place", () => {
  const flood = encode("a 1\n".repeat(10_000));
  assertEquals(createLayout(flood, parse(flood)), null);
  const { body, starts, ends, values } = layOut(encode(BODY));
  assert(starts.byteLength + ends.byteLength + values.byteLength <= body.byteLength);
});

// ---- Properties: whatever the fast road reads, the strict one reads too.

/** The values of a body, all written anew. */
function rewriteValues(body: Uint8Array, write: (index: number) => string): Uint8Array {
  const pieces: number[] = [];
  let at = 0;
  parse(body).valueStarts.forEach((start, i) => {
    pieces.push(...body.subarray(at, start), ...encode(write(i)));
    at = start;
    while (at < body.length && !" \t\r\n".includes(String.fromCharCode(body[at]))) at++;
  });
  return new Uint8Array([...pieces, ...body.subarray(at)]);
}

const WRITTEN = [
  "0",
  "1.0",
  "123456789.0",
  "0.1234567890123456",
  "1.5e+06",
  "NaN",
  "+Inf",
  "1e300",
];

for (const path of CONFORMANCE_BODIES) {
  Deno.test(`rescanValues() reads what the strict road reads of ${path}`, async () => {
    const body = await readGzip(path);
    const strict = parse(body);
    const layout = createLayout(body, strict);
    assert(layout !== null);
    for (let round = 0; round < WRITTEN.length; round++) {
      const next = rewriteValues(body, (i) => WRITTEN[(i + round) % WRITTEN.length]);
      const values = rescanValues(layout, next);
      assert(values !== null, `round ${round}`);
      const expected = parse(next);
      assertEquals([...values], [...expected.values]);
      assertEquals(expected.series, strict.series);
      assertEquals(expected.summary, strict.summary);
    }
  });
}

/** A change of a body: a piece of text in place of some bytes, near a value or anywhere. */
const edit = fc.record({
  at: fc.nat(),
  isAtValue: fc.boolean(),
  length: fc.nat(3),
  text: fc.oneof(
    fc.constantFrom(
      "",
      "1",
      "9.5",
      "-",
      "e",
      "\n",
      " ",
      "\r",
      "#",
      "NaN",
      "{",
      "}",
      '"',
      "é",
      "\0",
    ),
    fc.stringMatching(/^[0-9.e+-]{1,4}$/),
  ),
});

Deno.test("rescanValues() reads what the strict road reads, or nothing, whatever changes", () => {
  const start = encode(`${BODY}${NAME}{x="-"} -5 # {id="1"} 1\n${NAME}{ bad\n`);
  const starts = parse(start).valueStarts;
  let readCount = 0;
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
      let body = start;
      for (const { at, isAtValue, length, text } of edits) {
        const position = isAtValue ? starts[at % starts.length] : at % (body.length + 1);
        body = new Uint8Array([
          ...body.subarray(0, position),
          ...encode(text),
          ...body.subarray(position + length),
        ]);
      }
      const values = rescanValues(layOut(start), body);
      if (values === null) return;
      readCount++;
      const before = parse(start);
      const strict = parse(body);
      assertEquals([...values], [...strict.values]);
      assertEquals(strict.series, before.series);
      assertEquals(strict.summary, before.summary);
    }),
    { numRuns: 5000 },
  );
  assert(readCount > 50, `${readCount} bodies took the fast road`);
});
