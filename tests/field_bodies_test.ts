/**
 * Bodies of servers that others met in the field, and what is right for each.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { EngineExposition } from "../lib/dialect_reader.ts";
import type { EngineSample, Figures } from "../lib/model.ts";
import { computeFigures } from "../lib/stats_aggregate.ts";
import { appendSample, computeReplicas, startHistory } from "../lib/stats_window.ts";
import { encode, readGzip } from "./fixtures/expositions.ts";
import { createEngineReader, parseEngineMetrics } from "./fixtures/readers.ts";

/** The first and the last body of a case. */
async function readCase(name: string): Promise<readonly [EngineExposition, EngineExposition]> {
  const read = createEngineReader();
  const first = read(await readGzip(`fixtures/field/${name}/000.prom.gz`));
  return [first, read(await readGzip(`fixtures/field/${name}/001.prom.gz`))];
}

/** The figures of one second between two bodies. */
function measure([first, last]: readonly [EngineExposition, EngineExposition]): Figures {
  const history = [first, last].reduce(
    (known, { engines, processStart }, at) =>
      appendSample(known, { at: at + 1, engines, processStart }),
    startHistory(),
  );
  return computeFigures(computeReplicas(history));
}

function list(
  { engines }: EngineExposition,
  read: (engine: EngineSample) => unknown,
): readonly unknown[] {
  return engines.map((engine) => [engine.engine, read(engine)]);
}

const MISSING = { value: null, reason: "missing" };

function readText(lines: readonly string[]): EngineExposition {
  return parseEngineMetrics(encode(lines.map((line) => `vllm:${line}\n`).join("")));
}

// ---- Which engine a series is of.

Deno.test("each stage and replica of a pipeline is an engine", async () => {
  const bodies = await readCase("omni");
  assertEquals(list(bodies[1], ({ gauges }) => gauges.running.value), [
    ["stage 0 replica 0", 4],
    ["stage 1 replica 0", 2],
    ["stage 1 replica 1", 3],
    ["stage 2 replica 0", 1],
  ]);
  const { running, waiting } = measure(bodies);
  assertEquals([running.value, waiting.value], [10, 7]);
  const [first] = bodies[1].engines;
  assertEquals(first.configuration.get("block_size"), "64");
  assertEquals([first.configuration.has("stage"), first.modelState], [false, "loaded"]);
});

Deno.test("each pod of a federation is an engine, named by the pod alone", async () => {
  const bodies = await readCase("fed");
  assertEquals(list(bodies[1], ({ gauges }) => gauges.running.value), [
    ["pod qwen3-a-5c9f7", 3],
    ["pod qwen3-b-7d2kx", 8],
  ]);
  const ratios = bodies[1].engines.map(({ gauges }) => gauges.kvCacheUsageRatio.value ?? NaN);
  assertEquals(ratios.map((ratio) => ratio.toFixed(2)), ["0.03", "0.06"]);
  assertEquals(measure(bodies).running.value, 11);
});

Deno.test("the process starts of several pods are the start of none", () => {
  const read = (pods: readonly string[]): unknown =>
    parseEngineMetrics(encode(
      pods.map((pod, i) => `process_start_time_seconds{pod="${pod}"} ${i + 1}\n`).join(""),
    )).processStart;
  assertEquals(read(["a"]), { value: 1 });
  assertEquals([read(["a", "b"]), read(["a", "b", "c"])], Array(2).fill(MISSING));
});

Deno.test("an unknown label without which two gauges would be one makes engines", () => {
  const text = readText([
    'num_requests_running{engine="0",model_name="m",shard="a",zone="x"} 1',
    'num_requests_running{engine="0",model_name="m",shard="b",zone="x"} 2',
    'num_requests_running{engine="1",model_name="m",shard="a",zone="x"} 4',
    'num_requests_running{engine="1",model_name="m",shard="b",zone="x"} 8',
    'generation_tokens_total{engine="0",model_name="m",shard="a",zone="x"} 10',
    'request_success_total{engine="0",finished_reason="stop",model_name="m",shard="a"} 5',
    'agents{engine="0",model_name="m",shard="a",kind="k"} 5',
    // The total of all, which must not count twice.
    'num_requests_running{model_name="m"} 15',
  ]);
  assertEquals(list(text, ({ gauges }) => gauges.running.value), [
    ["engine 0 shard a", 1],
    ["engine 0 shard b", 2],
    ["engine 1 shard a", 4],
    ["engine 1 shard b", 8],
  ]);
  const [first] = text.engines;
  assertEquals(first.counters.generationTokens.value, 10);
  assertEquals([...first.labelled.finishedByReason ?? []], [["stop", 5]]);
  const listed = first.metrics.entries.map(({ name, labels }) => [name, labels]);
  assertEquals(listed.find(([name]) => name === "vllm:agents"), ["vllm:agents", "kind=k"]);
});

Deno.test("labels that split only a counter, processes and ranks make no engines", () => {
  const text = readText([
    'num_requests_running{engine="0",model_name="m"} 3',
    'prompt_tokens_total{engine="0",model_name="m",tenant="a"} 10',
    'prompt_tokens_total{engine="0",model_name="m",tenant="b"} 20',
    'kv_cache_usage_perc{engine="0",model_name="m",pid="1"} 0',
    'kv_cache_usage_perc{engine="0",model_name="m",pid="2"} 0.5',
  ]);
  assertEquals(
    list(text, (engine) => [
      engine.counters.promptTokens.value,
      engine.gauges.kvCacheUsageRatio.value,
    ]),
    [["0", [30, 0.5]]],
  );
});

Deno.test("counters alone are told apart as gauges are", () => {
  const text = readText(
    ["a", "b"].map((pod) => `generation_tokens_total{model_name="m",pod="${pod}"} 1`),
  );
  assertEquals(list(text, ({ counters }) => counters.generationTokens.value), [
    ["pod a", 1],
    ["pod b", 1],
  ]);
});

// ---- Other names.

Deno.test("llm-d's simulator calls finished_reason finish_reason", async () => {
  assertEquals(measure(await readCase("llmd_sim")).lastPoll.requestsPerSecond.value, 25);
});

Deno.test("Triton names the model by the label model", async () => {
  const bodies = await readCase("triton");
  assertEquals(bodies[1].engines.map(({ modelName, engine }) => [modelName, engine]), [
    ["llm_model", ""],
  ]);
  assertEquals(measure(bodies).running.value, 1);
});

Deno.test("NIM's names without a prefix are read, and only those that are known", async () => {
  const bodies = await readCase("nim");
  assertEquals([bodies[1].metricPrefix, bodies[1].serverName], ["", "vLLM"]);
  const { lastPoll } = measure(bodies);
  assertEquals(lastPoll.requestsPerSecond.value, 25);
  const [{ metrics }] = bodies[1].engines;
  assertEquals(metrics.entries.filter(({ info }) => info === null), []);
  assertEquals([...bodies[1].httpResponsesByStatus.keys()].length > 0, true);
});

Deno.test("a body with both keeps the prefix", () => {
  const text = parseEngineMetrics(encode(
    'num_requests_running{model_name="m"} 1\nkv_cache_usage_perc{model_name="m"} 0\n' +
      'vllm:num_requests_running{model_name="m"} 2\n',
  ));
  assertEquals([text.metricPrefix, text.engines[0].gauges.running.value], ["vllm:", 2]);
});

// ---- Impossible and unknown values.

Deno.test("a KV-cache usage below 0 or above 1 is no usage, but rounding is", async () => {
  const bodies = await readCase("neg_kv");
  assertEquals(measure(bodies).kvCache.maxRatio, { value: null, reason: "invalid" });
  const read = (value: number): unknown =>
    readText([`kv_cache_usage_perc{model_name="m"} ${value}`]).engines[0].gauges.kvCacheUsageRatio;
  assertEquals([read(1.0000000000000002), read(1)], [{ value: 1 }, { value: 1 }]);
  assertEquals([read(1.5), read(-1)], Array(2).fill({ value: null, reason: "invalid" }));
});

Deno.test("counts below 0 are none", () => {
  const [{ gauges, counters, labelled }] = readText([
    'num_requests_running{model_name="m"} -1',
    'generation_tokens_total{model_name="m"} -5',
    'request_success_total{finished_reason="stop",model_name="m"} -5',
    'request_success_total{finished_reason="abort",model_name="m"} 2',
  ]).engines;
  assertEquals(gauges.running, { value: null, reason: "invalid" });
  assertEquals(counters.generationTokens, { value: null, reason: "invalid" });
  // What finished in all is then unknown.
  assertEquals(labelled.finishedByReason, undefined);
});

Deno.test("a negative mean is no mean, and quantiles stay", async () => {
  const { queue, decode } = measure(await readCase("uptime_hist")).lastPoll.latency;
  assertEquals(queue.mean, { value: null, reason: "invalid" });
  assertEquals([queue.p95.value?.bound, queue.samples.value], ["<", 26]);
  assertEquals(Math.round(decode.mean.value ?? NaN), 13_457);
});

Deno.test("more hits than queries are no ratio", () => {
  const write = (step: number) =>
    readText([
      'num_requests_running{model_name="m"} 1',
      `prefix_cache_queries_total{model_name="m"} ${10 * step}`,
      `prefix_cache_hits_total{model_name="m"} ${20 * step}`,
    ]);
  const { prefixCacheHitRatio } = measure([write(0), write(1)]).lastPoll;
  assertEquals(prefixCacheHitRatio, { value: null, reason: "invalid" });
});

Deno.test("which adapters run is unknown if several engines write one state", async () => {
  const [, { lora }] = await readCase("lora_dp");
  assertEquals(lora?.runningAdapters, { value: null, reason: "unsupported" });
  const ofEach = readText([
    ...["0", "1"].map((engine) => `num_requests_running{engine="${engine}",model_name="m"} 1`),
    'lora_requests_info{engine="0",max_lora="2",running_lora_adapters="a"} 5',
    'lora_requests_info{engine="1",max_lora="2",running_lora_adapters="b"} 6',
    'lora_requests_info{engine="1",max_lora="2",running_lora_adapters=""} 7',
  ]);
  assertEquals(ofEach.lora?.runningAdapters.value, ["a"]);
});

Deno.test("long names of models that differ at the end stay apart", async () => {
  const names = await Promise.all(["l330", "l330b", "long"].map(async (file) => {
    const body = await readGzip(`fixtures/field/long-names/${file}.prom.gz`);
    return parseEngineMetrics(body).engines[0].modelName;
  }));
  assertEquals(names.map((name) => name.split("/").at(-1)), [
    "Qwen3-235B-A22B",
    "Llama-70B",
    "model-q4",
  ]);
  const long = ["a", "b"].map((end) => "x".repeat(1999) + end);
  const { engines } = readText(long.map((name) => `num_requests_running{model_name="${name}"} 1`));
  assertEquals(engines.map(({ modelName }) => modelName), long);
});
