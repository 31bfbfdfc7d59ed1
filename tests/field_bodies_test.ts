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
  assertEquals([first.configuration.has("stage"), first.isAsleep], [false, false]);
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
