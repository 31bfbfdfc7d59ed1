import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { createSimulatedServer } from "../lib/demo.ts";
import {
  createLayout,
  createReaderFactory,
  type EngineExposition,
  type ExpositionLayout,
  rescanValues,
} from "../lib/dialect_reader.ts";
import { MAX_PARTS } from "../lib/dialect_sample.ts";
import { MAX_ENGINES } from "../lib/dialect_series.ts";
import type { MetricRow } from "../lib/dialect_model.ts";
import { VLLM_METRIC_ROWS } from "../lib/dialect_vllm_metrics.ts";
import { countObservations } from "../lib/histogram.ts";
import { type EngineSample, listMetrics, type MetricValue } from "../lib/model.ts";
import { finishSteps } from "../lib/platform.ts";
import { parseExposition } from "../lib/prometheus.ts";
import { absent, isPresent } from "../lib/reading.ts";
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
import { createEngineReader, parseEngineMetrics } from "./fixtures/readers.ts";

function read(text: string, metricPrefix?: string): EngineExposition {
  return parseEngineMetrics(encode(text), { metricPrefix });
}

/** What makes an engine of an exposition, whatever else it says. */
const RUNNING: Series = ["num_requests_running", 3];

function readOne(...series: Series[]): EngineSample {
  return readEngine(writeEngine([RUNNING, ...series]));
}

/** All figures that an engine has a value of, as `kind.key`. */
function listFigures(engine: EngineSample): Map<string, unknown> {
  const found = new Map<string, unknown>();
  // They are derived from others.
  const derived = new Set(["failedRequests", "failedTransfers"]);
  for (const kind of ["gauges", "counters"] as const) {
    for (const [key, reading] of Object.entries(engine[kind])) {
      if (isPresent(reading) && !derived.has(key)) found.set(key, reading.value);
    }
  }
  for (const [key, family] of Object.entries(engine.labelled)) found.set(key, [...family]);
  for (const [key, histogram] of Object.entries(engine.histograms)) {
    found.set(key, [...histogram.bounds]);
  }
  return found;
}

// ---- Names.

/** What is listed of the engine: name -> value, and the child or the sum. */
function listListed(engine: EngineSample): Map<string, readonly unknown[]> {
  return new Map(
    listMetrics(engine.metrics).map(({ name, value, labels, sum }) => [name, [value, labels, sum]]),
  );
}

/** The series of one family, under that name. */
function writeFamily(row: MetricRow, name: string): Series[] {
  if (row.kind === "histogram") {
    return writeHistogram(name, [0.5, 2], { counts: [1, 2, 4], sum: 7 });
  }
  return [[row.label === undefined ? name : `${name}{${row.label}="x"}`, chooseValue(row)]];
}

function chooseValue({ unit }: MetricRow): number {
  return unit === "ratio" ? 0.5 : 5;
}

function expectListed(row: MetricRow): readonly unknown[] {
  const { kind, scale = 1, label } = row;
  if (kind === "histogram") return [4, "", 7 * scale];
  return [chooseValue(row), label === undefined ? "" : "x", null];
}

function expectFigure(row: MetricRow): unknown {
  const { kind, label } = row;
  if (kind === "histogram") return [0.5, 2, Infinity];
  return label === undefined ? chooseValue(row) : [["x", 5]];
}

Deno.test("parseEngineMetrics() lists every name of the table, and gives it under its key", () => {
  for (const row of VLLM_METRIC_ROWS) {
    for (const name of row.names) {
      const others = row.key === "running" ? [["prompt_tokens_total", 1] as const] : [RUNNING];
      const { engines } = read(writeEngine([...others, ...writeFamily(row, name)]));
      assertEquals(engines.length, 1, name);
      const listed = listListed(engines[0]);
      assertEquals(listed.get(`vllm:${name}`), expectListed(row), name);
      assertEquals(listed.size, 2, `${name} feeds ${[...listed.keys()]}`);
      const figures = listFigures(engines[0]);
      if (row.key !== undefined) assertEquals(figures.get(row.key), expectFigure(row), name);
      else assertEquals(figures.size, 1, `${name} feeds ${[...figures.keys()]}`);
    }
  }
});

Deno.test("parseEngineMetrics() knows every name of the table by its TYPE line alone", () => {
  for (const row of VLLM_METRIC_ROWS) {
    for (const name of row.names) {
      // Prometheus' format declares a counter with `_total`, OpenMetrics without.
      for (const family of new Set([name, name.replace(/_total$/, "")])) {
        if (row.kind === "histogram" && family !== name) continue;
        const type = row.kind === "info" ? "gauge" : row.kind;
        const { engineFamilyCount, engines } = read(`# TYPE vllm:${family} ${type}\n`);
        assertEquals([engineFamilyCount, engines.length], [1, 0], family);
      }
    }
  }
});

// Typed from the list of vLLM's metrics: name, further labels, and what it means.
const KNOWN_NAMES: readonly (readonly [kind: "value" | "histogram", name: string, key?: string])[] =
  [
    ["value", "num_requests_running", "running"],
    ["value", "num_requests_waiting", "waiting"],
    ["value", 'num_requests_waiting_by_reason{reason="capacity"}', "waitingByReason"],
    ["value", "num_requests_swapped", "swapped"],
    ["value", "gpu_cache_usage_perc", "kvCacheUsageRatio"],
    ["value", "kv_cache_usage_perc", "kvCacheUsageRatio"],
    ["value", "cpu_cache_usage_perc"],
    ["value", "gpu_prefix_cache_hit_rate", "prefixCacheHitRatioReported"],
    ["value", "cpu_prefix_cache_hit_rate"],
    ["value", "gpu_prefix_cache_queries_total", "prefixCacheQueries"],
    ["value", "gpu_prefix_cache_hits_total", "prefixCacheHits"],
    ["value", "prefix_cache_queries_total", "prefixCacheQueries"],
    ["value", "prefix_cache_hits_total", "prefixCacheHits"],
    ["value", "external_prefix_cache_queries_total", "externalPrefixCacheQueries"],
    ["value", "external_prefix_cache_hits_total", "externalPrefixCacheHits"],
    ["value", "mm_cache_queries_total"],
    ["value", "mm_cache_hits_total"],
    ["value", 'engine_sleep_state{sleep_state="awake"}'],
    ["histogram", "kv_block_lifetime_seconds"],
    ["histogram", "kv_block_idle_before_evict_seconds"],
    ["histogram", "kv_block_reuse_gap_seconds"],
    ["value", 'admission_rejections_total{reason="max_num_queued_reqs"}', "rejectedByReason"],
    ["value", "prompt_tokens_total", "promptTokens"],
    ["value", 'prompt_tokens_by_source_total{source="local_compute"}', "promptTokensBySource"],
    ["value", "prompt_tokens_cached_total", "cachedPromptTokens"],
    [
      "value",
      'prompt_tokens_cached_by_source_total{source="device"}',
    ],
    ["value", "prompt_tokens_recomputed_total"],
    ["value", "generation_tokens_total", "generationTokens"],
    ["value", "tokens_total"],
    ["value", "num_preemptions_total", "preemptions"],
    ["value", 'request_success_total{finished_reason="stop"}', "finishedByReason"],
    ["value", "corrupted_requests_total", "corruptedRequests"],
    ["histogram", "iteration_tokens_total", "iterationTokens"],
    ["histogram", "request_prompt_tokens", "promptLength"],
    ["histogram", "request_generation_tokens", "outputLength"],
    ["histogram", "request_prefill_kv_computed_tokens"],
    ["histogram", "request_max_num_generation_tokens"],
    ["histogram", "request_params_n"],
    ["histogram", "request_params_max_tokens"],
    ["histogram", "request_params_best_of"],
    ["histogram", "request_num_preemptions"],
    ["value", "avg_prompt_throughput_toks_per_s"],
    ["value", "avg_generation_throughput_toks_per_s"],
    ["histogram", "time_to_first_token_seconds", "ttft"],
    ["histogram", "time_per_output_token_seconds", "itl"],
    ["histogram", "inter_token_latency_seconds", "itl"],
    ["histogram", "request_time_per_output_token_seconds", "tpot"],
    ["histogram", "e2e_request_latency_seconds", "e2e"],
    ["histogram", "request_queue_time_seconds", "queue"],
    ["histogram", "time_in_queue_requests", "queue"],
    ["histogram", "request_prefill_time_seconds", "prefill"],
    ["histogram", "request_decode_time_seconds", "decode"],
    ["histogram", "request_inference_time_seconds"],
    ["histogram", "model_forward_time_milliseconds"],
    ["histogram", "model_execute_time_milliseconds"],
    ["value", "spec_decode_draft_acceptance_rate"],
    ["value", "spec_decode_efficiency"],
    ["value", "spec_decode_num_accepted_tokens_total", "acceptedTokens"],
    ["value", "spec_decode_num_draft_tokens_total", "draftTokens"],
    ["value", "spec_decode_num_emitted_tokens_total"],
    ["value", "spec_decode_num_drafts_total", "drafts"],
    [
      "value",
      'spec_decode_num_accepted_tokens_per_pos_total{position="0"}',
      "acceptedTokensByPosition",
    ],
    ["value", "diffusion_num_denoising_steps_total"],
    ["value", "diffusion_num_canvas_positions_total"],
    ["value", "diffusion_num_committed_tokens_total"],
    ["value", "estimated_flops_per_gpu_total"],
    ["value", "estimated_read_bytes_per_gpu_total"],
    ["value", "estimated_write_bytes_per_gpu_total"],
    ["histogram", "nixl_xfer_time_seconds"],
    ["histogram", "nixl_post_time_seconds"],
    ["histogram", "nixl_bytes_transferred"],
    ["histogram", "nixl_num_descriptors"],
    ["value", "nixl_num_failed_transfers_total"],
    ["value", "nixl_num_failed_notifications_total"],
    ["value", "nixl_num_kv_expired_reqs_total"],
    ["value", 'kv_offload_total_bytes_total{transfer_type="CPU_to_GPU"}'],
    ["value", 'kv_offload_total_time_total{transfer_type="CPU_to_GPU"}'],
    ["histogram", "kv_offload_size"],
    ["value", "kv_offload_load_bytes_total"],
    ["value", "kv_offload_load_time_total"],
    ["histogram", "kv_offload_load_size"],
    ["value", "kv_offload_store_bytes_total"],
    ["value", "kv_offload_store_time_total"],
    ["histogram", "kv_offload_store_size"],
    ["value", "kv_offload_stores_skipped_total"],
    ["value", "kv_offload_cpu_cache_usage_perc"],
    ["value", "kv_offload_cpu_cache_write_usage_perc"],
    ["value", "kv_offload_cpu_cache_read_usage_perc"],
    ["histogram", "kv_offload_lookup_sync_delay_seconds"],
    ["histogram", "kv_offload_lookup_async_delay_seconds"],
    ["value", "kv_offload_allocation_failure_total"],
    ["histogram", "kv_offload_cpu_allocation_size"],
    [
      "value",
      'mooncake_store_operation_total{operation="load_get",status="ok"}',
    ],
    [
      "value",
      'mooncake_store_operation_keys_total{operation="load_get",status="ok"}',
    ],
    [
      "value",
      'mooncake_store_operation_bytes_total{operation="load_get",status="ok"}',
    ],
    [
      "value",
      'mooncake_store_operation_failed_keys_total{operation="load_get",status="ok"}',
    ],
    ["histogram", "mooncake_store_operation_time_seconds"],
    ["histogram", "hf3fs_save_duration_seconds"],
    ["histogram", "hf3fs_load_duration_seconds"],
    ["value", "hf3fs_num_failed_save_total"],
    ["value", "hf3fs_num_failed_load_total"],
    ["value", "websocket_connections_active"],
    ["value", "websocket_connections_total"],
    ["histogram", "websocket_connection_duration_seconds"],
    [
      "value",
      'tool_call_parser_invocations_total{mode="auto",outcome="ok",request_type="chat"}',
    ],
  ];

Deno.test("parseEngineMetrics() knows every metric of vLLM by its exact name", () => {
  for (const [kind, name, key] of KNOWN_NAMES) {
    const series: Series[] = kind === "value"
      ? [[name, 1]]
      : writeHistogram(name, [0.5], { counts: [1, 2], sum: 1 });
    const other: Series = key === "running" ? ["prompt_tokens_total", 1] : RUNNING;
    const engine = readEngine(writeEngine([other, ...series]));
    const listed = [...listListed(engine).keys()];
    assert(listed.includes(`vllm:${name.split("{")[0]}`), `${name} gives ${listed}`);
    assertEquals(listed.length, 2, name);
    const found = listFigures(engine);
    if (key !== undefined) assert(found.has(key), `${name} gives ${[...found.keys()]}`);
    else assertEquals(found.size, 1, name);
  }
});

// ---- Fragments of names that other metrics share (the false hits of a substring match).

Deno.test("parseEngineMetrics() matches names exactly", () => {
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

Deno.test("parseEngineMetrics() finds no engine in metrics that name no model", async () => {
  const exposition = parseEngineMetrics(await readGzip("fixtures/llamacpp-b10298.prom.gz"));
  assertEquals(exposition.engines, []);
  assert(exposition.hasUnnamedEngines);
  assertEquals(exposition.badLineCount, 0);
  assert(exposition.familyNames.has("llamacpp:prompt_tokens_total"));
});

Deno.test("parseEngineMetrics() recognises a server with statistics off", () => {
  const { engines, engineFamilyCount, familyNames } = read(
    '# TYPE http_requests_total counter\nhttp_requests_total{status="2xx"} 4\n' +
      "process_start_time_seconds 1795300000\n",
  );
  assertEquals([engines.length, engineFamilyCount], [0, 0]);
  assertEquals([...familyNames], ["http_requests_total", "process_start_time_seconds"]);
});

// ---- Aliases: the newest name counts, and two are never added.

Deno.test("parseEngineMetrics() prefers the newer name, in any order", () => {
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

Deno.test("parseEngineMetrics() never adds inter-token latency and its former name", () => {
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

Deno.test("parseEngineMetrics() knows when prefix-cache counters may count blocks", () => {
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

Deno.test("parseEngineMetrics() accepts counters without _total, as of Ray, last of all", () => {
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

Deno.test("parseEngineMetrics() treats an exposition without engine labels as one engine", async () => {
  const { engines } = parseEngineMetrics(await readGzip("scenarios/v0/head.prom.gz"));
  assertEquals(engines.map(({ modelName, engine }) => [modelName, engine]), [
    ["meta-llama/Llama-3.1-8B-Instruct", ""],
  ]);
  const [{ gauges, configuration, labelled }] = engines;
  assertEquals(gauges.swapped, { value: 0 });
  assertEquals(gauges.prefixCacheHitRatioReported, { value: null, reason: "invalid" });
  assertEquals(gauges.kvCacheUsageRatio, { value: 0 });
  // The configuration has no engine label either.
  assertEquals(configuration.get("num_gpu_blocks"), "2375");
  // A child of it appears at its first use.
  assertEquals(labelled.finishedByReason, undefined);
});

Deno.test("parseEngineMetrics() orders engines by number within each model", () => {
  const text = ["10", "2", "0", "1"].map((engine) => writeEngine([RUNNING], { engine })).join("") +
    writeEngine([RUNNING], { engine: "0", model: "A" });
  assertEquals(read(text).engines.map(({ modelName, engine }) => `${modelName} ${engine}`), [
    ...["0", "1", "2", "10"].map((engine) => `${MODEL} ${engine}`),
    "A 0",
  ]);
});

Deno.test("parseEngineMetrics() parses two engines of one process", async () => {
  const body = await readGzip("fixtures/generated-v1-dp2-single-process.prom.gz");
  const { engines, processStart, countersCreated, server } = parseEngineMetrics(body);
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

Deno.test("parseEngineMetrics() shares the bounds of equal histograms", () => {
  const series = writeHistogram("time_to_first_token_seconds", [1, 2], {
    counts: [1, 2, 3],
    sum: 4,
  });
  const { engines } = read(
    ["0", "1"].map((engine) => writeEngine([RUNNING, ...series], { engine })).join(""),
  );
  assert(engines[0].histograms.ttft?.bounds === engines[1].histograms.ttft?.bounds);
});

Deno.test("parseEngineMetrics() uses the largest of a gauge that every process exports", async () => {
  const body = await readGzip("scenarios/kv-cache-by-pid/by-pid.prom.gz");
  const { engines } = parseEngineMetrics(body);
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

Deno.test("parseEngineMetrics() finds gauges of a cold server initializing, not 0 and not missing", async () => {
  const { engines, processStart, countersCreated } = parseEngineMetrics(
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

Deno.test("parseEngineMetrics() finds what has no sample at all without an engine", () => {
  const { engines, engineFamilyCount } = read(
    "# TYPE vllm:num_requests_running gauge\n# TYPE vllm:prompt_tokens_total counter\n",
  );
  assertEquals([engines.length, engineFamilyCount], [0, 2]);
});

Deno.test("parseEngineMetrics() distinguishes declared histograms from missing ones", () => {
  const { initializing, histograms } = readEngine(
    "# TYPE vllm:time_to_first_token_seconds histogram\n" + writeEngine([RUNNING]),
  );
  assertEquals(histograms.ttft, undefined);
  assert(initializing.has("ttft"));
  assert(!initializing.has("itl"));
});

// ---- What belongs to no engine.

Deno.test("parseEngineMetrics() assigns figures without an engine to the server", () => {
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
  assert(server !== null);
  assertEquals(
    listMetrics(server.metrics).filter(({ name }) => name.startsWith("vllm:tool"))
      .map(({ labels, value }) => [labels, value]),
    [["ok", 7], ["bad", 1]],
  );
  assertEquals(engines[0].labelled.rejectedByReason, undefined);
});

Deno.test("parseEngineMetrics() makes no engine of server figures", () => {
  const { engines, server } = read(
    'vllm:websocket_connections_active 2\nvllm:admission_rejections_total{reason="x"} 1\n',
  );
  assertEquals(engines, []);
  assert(server !== null);
  assertEquals(listListed(server).get("vllm:websocket_connections_active"), [2, "", null]);
});

Deno.test("parseEngineMetrics() makes no engine of a series without engine beside numbered ones", () => {
  const { engines, server } = read(
    writeEngine([RUNNING]) + writeEngine([["prompt_tokens_total", 5]], { engine: null }),
  );
  assertEquals(engines.map(({ engine }) => engine), ["0"]);
  assertEquals(server?.counters.promptTokens, { value: 5 });
});

Deno.test("parseEngineMetrics() merges figures of a server with and without a model", () => {
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
  const sumOf = (name: string, read: (metric: MetricValue) => number | null): number =>
    listMetrics(server.metrics).filter((metric) => metric.name === `vllm:${name}`)
      .reduce((sum, metric) => sum + (read(metric) ?? 0), 0);
  assertEquals(sumOf("websocket_connections_active", ({ value }) => value), 2);
  assertEquals(sumOf("websocket_connections_total", ({ value }) => value), 12);
  assertEquals(sumOf("websocket_connection_duration_seconds", ({ value }) => value), 10);
  assertEquals(sumOf("websocket_connection_duration_seconds", ({ sum }) => sum), 5);
});

// ---- The configuration.

function writeConfig(engine: string | null, blocks: number): string {
  const label = engine === null ? "" : `engine="${engine}",`;
  return `vllm:cache_config_info{block_size="16",${label}num_gpu_blocks="${blocks}"} 1.0\n`;
}

Deno.test("parseEngineMetrics() joins the cache configuration on the engine", () => {
  const engines = ["0", "1"].map((engine) => writeEngine([RUNNING], { engine })).join("");
  const blocksOf = (text: string) =>
    read(text).engines.map(({ configuration }) => configuration.get("num_gpu_blocks"));
  const both = writeConfig("1", 200) + writeConfig("0", 100);
  assertEquals(blocksOf(both + engines), ["100", "200"]);
  assertEquals(blocksOf(engines + both), ["100", "200"]);
  // Without an engine it is that of all.
  assertEquals(blocksOf(engines + writeConfig(null, 300)), ["300", "300"]);
  assertEquals(blocksOf(engines + writeConfig("0", 100)), ["100", undefined]);
  const { configuration } = read(engines + both).engines[0];
  assertEquals([...configuration], [["block_size", "16"], ["num_gpu_blocks", "100"]]);
});

Deno.test("parseEngineMetrics() accepts label names such as __proto__", () => {
  const { configuration } = readEngine(
    writeEngine([RUNNING]) +
      'vllm:cache_config_info{__proto__="x",_block_size_resolved="16",constructor="None"} 1\n',
  );
  assertEquals([...configuration], [
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

Deno.test("parseEngineMetrics() uses LoRA's newest series, whose value is a time", () => {
  const series = (running: string, waiting: string, at: string): string =>
    `vllm:lora_requests_info{max_lora="4",running_lora_adapters="${running}",` +
    `waiting_lora_adapters="${waiting}"} ${at}\n`;
  const text = writeEngine([RUNNING]) + series("a", "", "1.7953e+09") +
    series("b,c", "d", "1.7953001e+09") + series("", "", "1.7952e+09");
  assertEquals(read(text).lora, {
    runningAdapters: { value: ["b", "c"] },
    waitingAdapters: { value: ["d"] },
    maxAdapters: { value: 4 },
  });
  assertEquals(read(writeEngine([RUNNING])).lora, null);
  const idle = read('vllm:lora_requests_info{running_lora_adapters="",x="y"} 5\n').lora;
  assertEquals(idle?.runningAdapters.value, []);
  assertEquals(idle?.maxAdapters, { value: null, reason: "missing" });
});

Deno.test("parseEngineMetrics() parses the sleep state, and waiting by reason besides the total", () => {
  const { gauges, labelled, modelState } = readOne(
    ["num_requests_waiting", 5],
    ['num_requests_waiting_by_reason{reason="capacity"}', 3],
    ['num_requests_waiting_by_reason{reason="deferred"}', 2],
    ['engine_sleep_state{sleep_state="awake"}', 0],
    ['engine_sleep_state{sleep_state="weights_offloaded"}', 1],
    ['engine_sleep_state{sleep_state="discard_all"}', 0],
  );
  assertEquals(gauges.waiting, { value: 5 });
  assertEquals([...labelled.waitingByReason ?? []], [["capacity", 3], ["deferred", 2]]);
  assertEquals(modelState, "asleep");
});

// ---- Prefixes, Ray, other dialects.

Deno.test("parseEngineMetrics() finds the known prefixes, and a given one", () => {
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

Deno.test("parseEngineMetrics() distinguishes Ray's workers and joins their configuration", () => {
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
  assertEquals(engines.map(({ configuration }) => configuration.get("num_gpu_blocks")), ["0", "1"]);
  // A replica of Serve is what a worker is for.
  const serve = read(
    'ray_vllm_num_requests_running{ReplicaId="r1",WorkerId="w",model_name="m"} 1\n',
  );
  assertEquals(serve.engines[0].engine, "@r1");
});

Deno.test("parseEngineMetrics() parses the Rust front end's OpenMetrics", () => {
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

Deno.test("parseEngineMetrics() parses exponents of three digits", async () => {
  assertEquals(readOne(["prompt_tokens_total", "3.5786276864e+010"]).counters.promptTokens, {
    value: 35_786_276_864,
  });
  const { processStart } = parseEngineMetrics(await readGzip("scenarios/real-v0.2x/idle.prom.gz"));
  assertEquals(processStart, { value: 1_781_802_846.91 });
});

Deno.test("parseEngineMetrics() uses the largest of a split gauge by pid", () => {
  const { labelled } = readOne(
    ['num_requests_waiting_by_reason{pid="1",reason="capacity"}', 4],
    ['num_requests_waiting_by_reason{pid="2",reason="capacity"}', 6],
  );
  assertEquals([...labelled.waitingByReason ?? []], [["capacity", 6]]);
});

Deno.test("parseEngineMetrics() has no value for NaN", () => {
  const { gauges, counters } = readOne(["num_requests_waiting", "NaN"], [
    "prompt_tokens_total",
    "NaN",
  ]);
  assertEquals(gauges.waiting, { value: null, reason: "not_finite" });
  assertEquals(counters.promptTokens, { value: null, reason: "not_finite" });
});

Deno.test("parseEngineMetrics() has no histogram whose counts are no numbers", () => {
  for (const count of [NaN, Infinity]) {
    const { histograms } = readOne(
      RUNNING,
      ...writeHistogram("time_to_first_token_seconds", [1], { counts: [1, count], sum: 2 }),
    );
    assertEquals(histograms.ttft, undefined, `${count}`);
  }
});

Deno.test("parseEngineMetrics() converts the sums of V0's milliseconds to seconds", () => {
  const engine = readOne(
    ...writeHistogram("model_forward_time_milliseconds", [1, 500], {
      counts: [1, 3, 4],
      sum: 2500,
    }),
  );
  assertEquals(listListed(engine).get("vllm:model_forward_time_milliseconds"), [4, "", 2.5]);
});

Deno.test("parseEngineMetrics() skips _created, but for the age of the counters", () => {
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

Deno.test("parseEngineMetrics() counts a repeated series once", () => {
  const series: Series[] = [
    RUNNING,
    ["prompt_tokens_total", 5],
    ['request_success_total{finished_reason="stop"}', 2],
    ...writeHistogram("time_to_first_token_seconds", [1], { counts: [1, 3], sum: 2 }),
  ];
  const [once, twice] = [series, [...series, ...series]].map((series) => {
    const { metrics, ...figures } = readEngine(writeEngine(series));
    return [figures, listMetrics(metrics)];
  });
  assertEquals(twice, once);
});

Deno.test("parseEngineMetrics() adds bounds that are spelled differently", () => {
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

Deno.test("parseEngineMetrics() counts HTTP responses by status", () => {
  const { httpResponsesByStatus } = read(
    'http_requests_total{handler="/v1/a",method="POST",status="2xx"} 5\n' +
      'http_requests_total{handler="/v1/b",method="POST",status="2xx"} 2\n' +
      'http_requests_total{handler="/v1/a",method="POST",status="5xx"} 1\n',
  );
  assertEquals([...httpResponsesByStatus], [["2xx", 7], ["5xx", 1]]);
});

// ---- Text from elsewhere.

Deno.test("parseEngineMetrics() sanitizes every text it keeps", () => {
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
    ...engine.configuration.values(),
    ...lora?.runningAdapters.value ?? [],
    ...familyNames,
    ...httpResponsesByStatus.keys(),
  ];
  assertEquals(texts.length, 5 + familyNames.size + 1);
  // deno-lint-ignore no-control-regex
  for (const text of texts) assert(!/[\x00-\x1f\x7f-\x9f\u202e]/.test(text), JSON.stringify(text));
  assertMatch(engine.modelName, /^a\\x1b\]0;pwn\\x07/);
  // It was joined on the safe name.
  assertEquals(engine.configuration.size, 1);
});

Deno.test("parseEngineMetrics() does not keep a flood of names", () => {
  const text = Array.from({ length: 3000 }, (_, i) => `metric_${i} 1\n`).join("");
  assertEquals(read(text).familyNames.size, 1000);
});

Deno.test("parseEngineMetrics() drops flooded figures, and keeps the others", () => {
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

Deno.test("parseEngineMetrics() reports more engines than it keeps", () => {
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

Deno.test("parseEngineMetrics() reports the parser's bad lines", () => {
  const exposition = read(writeEngine([RUNNING]) + "broken{\nvllm:num_requests_waiting 1");
  assertEquals(exposition.badLineCount, 1);
  assertEquals(exposition.badLines[0].line, 2);
  assert(!exposition.endsComplete);
  assert(!exposition.lastLineIsBad);
});

// ---- Properties.

Deno.test("parseEngineMetrics() does not depend on the order of the lines", () => {
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
  const readFigures = (text: string) =>
    read(text).engines.map((engine) => {
      const { metrics: _, ...figures } = engine;
      return [figures, [...listListed(engine)].toSorted()];
    });
  const expected = readFigures(lines.join(""));
  const all = fc.shuffledSubarray(lines, { minLength: lines.length });
  fc.assert(
    fc.property(all, (shuffled) => {
      assertEquals(readFigures(shuffled.join("")), expected);
    }),
    { numRuns: 300 },
  );
});

Deno.test("a failed transfer that is no number makes no figure", () => {
  const { failedTransfers } = readOne(["mooncake_num_failed_transfers_total", NaN]).counters;
  assertEquals(failedTransfers, absent("not_finite"));
});

Deno.test("parseEngineMetrics() never throws, whatever the samples", () => {
  const names = VLLM_METRIC_ROWS.flatMap((row) => [
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

/** What a body says, and its numbers as an array: NaN has several bit patterns. */
function withoutReader({ body: { values, read }, ...said }: EngineExposition) {
  const { body: _, ...again } = read(values) as EngineExposition;
  assertEquals(again, said);
  return { ...said, values: [...values] };
}

function assertSame(one: EngineExposition, other: EngineExposition, name?: string): void {
  assertEquals(withoutReader(one), withoutReader(other), name);
}

Deno.test("createEngineReader() parses each scenario's bodies as if each were the first", async () => {
  for (const [name, paths] of await listScenarioBodies()) {
    const bodies = await Promise.all(paths.map(readGzip));
    const reader = createEngineReader();
    // In their order and back, so that each follows another of its kind, and itself.
    for (const body of [...bodies, ...bodies.toReversed()]) {
      assertSame(reader(body), parseEngineMetrics(body), name);
    }
  }
});

Deno.test("createEngineReader() parses any server's successive bodies as if each were the first", async () => {
  const paths = [...CONFORMANCE_BODIES, ...[...(await listScenarioBodies()).values()].flat()];
  const bodies = await Promise.all(paths.map(readGzip));
  const reader = createEngineReader();
  for (const body of bodies) assertSame(reader(body), parseEngineMetrics(body));
});

Deno.test("createReaderFactory() readers parse any servers' bodies in turn as if each were the first", async () => {
  const servers = [...(await listScenarioBodies()).values()];
  const createReader = createReaderFactory();
  const readers = servers.map(() => createReader());
  for (let poll = 0; poll < 2; poll++) {
    for (const [i, paths] of servers.entries()) {
      const body = await readGzip(paths[poll % paths.length]);
      assertSame(finishSteps(readers[i](body)), parseEngineMetrics(body));
    }
  }
});

Deno.test("createReaderFactory() readers parse a large body in steps, and a known one at once", () => {
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

Deno.test("createReaderFactory() readers share the text of similar servers only", () => {
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

Deno.test("createEngineReader() does not change what it returned", () => {
  const write = (value: number) =>
    writeEngine([
      ["num_requests_running", value],
      ["prompt_tokens_total", value],
      [`request_success_total{finished_reason="stop"}`, value],
      ...writeHistogram("time_to_first_token_seconds", [1], { counts: [value, value], sum: value }),
    ]);
  const reader = createEngineReader();
  const given = [1, 2, 3].map((value) => reader(encode(write(value))));
  given.forEach((exposition, i) => assertSame(exposition, read(write(i + 1))));
});

Deno.test("createEngineReader() uses the given prefix", () => {
  const text = 'x_num_requests_running{model_name="m"} 3\n';
  const reader = createEngineReader({ metricPrefix: "x_" });
  for (let i = 0; i < 2; i++) {
    assertEquals(reader(encode(text)).engines[0].gauges.running, { value: 3 });
  }
});

Deno.test("createEngineReader() finds the newest adapters among unchanged series", () => {
  const write = (first: number, second: number) =>
    encode(
      `${writeEngine([RUNNING])}` +
        `vllm:lora_requests_info{running_lora_adapters="a"} ${first}\n` +
        `vllm:lora_requests_info{running_lora_adapters="b"} ${second}\n`,
    );
  const reader = createEngineReader();
  const found = [[1, 2], [3, 2], [3, 3]]
    .map(([a, b]) => reader(write(a, b)).lora?.runningAdapters.value);
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

Deno.test("rescanValues() parses the values of the same series, whatever their length", () => {
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

Deno.test("rescanValues() continues from body to body, and keeps none", () => {
  const body = encode(BODY);
  const layout = layOut(body);
  body.fill(0);
  for (const value of ["9", "NaN", "12.25", "9"]) {
    const next = BODY.replace("2.5", value);
    assertEquals([...rescanValues(layout, encode(next)) ?? []], [1, Number(value), 7]);
  }
});

Deno.test("rescanValues() refuses every other change", () => {
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
    ["a number of 50 digits", BODY.replace("2.5", "1".repeat(50))],
    ["nothing", ""],
    ["all of it twice", BODY + BODY],
    ["half of it", BODY.slice(0, BODY.length / 2)],
    ["bytes that are no text", BODY.replace("2.5", "\xff")],
  ];
  for (const [what, second] of surprises) assertEquals(reread(BODY, second), null, what);
});

Deno.test("rescanValues() accepts unchanged timestamps, exemplars and bad lines", () => {
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

Deno.test("rescanValues() refuses the first negative value", () => {
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

Deno.test("createLayout() refuses a flood of very short lines", () => {
  const flood = encode("a 1\n".repeat(10_000));
  assertEquals(createLayout(flood, parse(flood)), null);
  const { body, starts, ends, values } = layOut(encode(BODY));
  assert(starts.byteLength + ends.byteLength + values.byteLength <= body.byteLength);
});

// ---- Properties: whatever the fast road reads, the strict one reads too.

/** A body with new values in all its samples. */
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
  Deno.test(`rescanValues() equals the full parser on ${path}`, async () => {
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

Deno.test("rescanValues() equals the full parser or refuses, whatever changes", () => {
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

// ---- What no row describes.

Deno.test("parseEngineMetrics() lists unknown families as exported", () => {
  const engine = readEngine(
    "# TYPE vllm:brand_new_things counter\n# TYPE vllm:brand_new_time histogram\n" +
      writeEngine([
        RUNNING,
        ['brand_new_things_total{kind="a"}', 4],
        ["brand_new_things_created", 1.78e9],
        ...writeHistogram("brand_new_time", [1], { counts: [1, 3], sum: 9 }),
        ["brand_new_level", 0.5],
      ]),
  );
  const unknown = listMetrics(engine.metrics).filter(({ info }) => info === null);
  assertEquals(
    unknown.map(({ name, kind, labels, value, sum }) => [name, kind, labels, value, sum]),
    [
      ["vllm:brand_new_things_total", "counter", "kind=a", 4, null],
      ["vllm:brand_new_time", "histogram", "", 3, 9],
      ["vllm:brand_new_level", "gauge", "", 0.5, null],
    ],
  );
});

Deno.test("parseEngineMetrics() lists infos by their labels, and no flood of series", () => {
  const engine = readEngine(
    writeEngine([
      RUNNING,
      ['simple_kv_offload_info{backend="disk",capacity_blocks="7"}', 1],
      ...Array.from({ length: 3000 }, (_, i): Series => [`made_up{id="${i}"}`, i]),
    ]),
  );
  const listed = listMetrics(engine.metrics);
  assertEquals(
    listed.find(({ kind }) => kind === "info")?.labels,
    "backend=disk, capacity_blocks=7",
  );
  assertEquals(listed.length, 501);
});

Deno.test("createEngineReader() lists the values of the newest body under the same entries", () => {
  const readMetrics = createEngineReader();
  const body = (value: number) =>
    encode(writeEngine([RUNNING, ["corrupted_requests_total", value]]));
  const [first, second] = [3, 8].map((value) => readMetrics(body(value)).engines[0].metrics);
  assertEquals([first, second].map((table) => listMetrics(table)[1].value), [3, 8]);
  assertEquals(first.entries, second.entries);
  assert(first.entries === second.entries);
});
