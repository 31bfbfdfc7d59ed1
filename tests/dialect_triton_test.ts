import { assertAlmostEquals, assertEquals } from "@std/assert";
import { identifyServer } from "../lib/dialect.ts";
import { listMetrics } from "../lib/model.ts";
import { absent, present } from "../lib/reading.ts";
import { watchComposed } from "./fixtures/engines.ts";
import { encode, readGzip } from "./fixtures/expositions.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

Deno.test("computeFigures() of Triton equals the figures of its requests", async () => {
  const watched = await watchComposed("triton-trtllm-25.10");
  const { figures, replicas, expected } = watched;
  assertEquals(replicas.length, 1);
  const [{ sample, lastPoll }] = replicas;
  assertEquals([sample.server.name, sample.modelName, sample.engine], [
    "Triton",
    "tensorrt_llm",
    "",
  ]);
  // Active requests contain the waiting ones: neither is their sum.
  assertEquals(figures.running.value, expected.running);
  assertEquals(figures.waiting.value, expected.waiting);
  assertEquals(figures.kvCache.maxRatio.value, expected.kvCacheUsageRatio);
  assertEquals(figures.kvCache.capacityTokens.value, expected.kvCapacityTokens);
  assertAlmostEquals(
    figures.lastPoll.requestsPerSecond.value ?? NaN,
    expected.finishedPerSecond,
    1e-9,
  );
  assertEquals(lastPoll.value?.counters.failedRequests, present(expected.failedByReason.BACKEND));
  assertEquals(figures.lastPoll.generationTokensPerSecond, absent("unsupported"));
  for (const key of ["ttft", "itl", "e2e", "queue"] as const) {
    assertEquals(figures.lastPoll.latency[key].p50, absent("unsupported"));
  }
  const listed = listMetrics(sample.metrics);
  const find = (name: string) => listed.find((metric) => metric.name === `nv_inference_${name}`);
  // In seconds, of 112 requests.
  assertAlmostEquals(
    find("request_duration_us")?.value ?? NaN,
    112 * expected.e2eMeanSeconds,
    1e-9,
  );
  assertAlmostEquals(
    find("queue_duration_us")?.value ?? NaN,
    112 * expected.queueMeanSeconds,
    1e-9,
  );
  assertEquals(
    listed.filter(({ name }) => name === "nv_trt_llm_request_metrics")
      .map(({ labels, value }) => [labels, value]),
    [
      ["waiting", 3],
      ["context", 1],
      ["scheduled", 9],
      ["max", 64],
      ["active", 12],
    ].map(([label, value]) =>
      label === "waiting" || label === "scheduled"
        ? [`request_type=${label}`, value]
        : [label, value]
    ),
  );
});

Deno.test("parseEngineMetrics() of Triton: models of a pipeline beside the engine are no engines", () => {
  const { engines } = parseEngineMetrics(encode(
    ["ensemble", "preprocessing", "tensorrt_llm"].map((model) =>
      `nv_inference_request_success{model="${model}",version="1"} 5\n`
    ).join("") + 'nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled"} 2\n',
  ));
  assertEquals(
    engines.map(({ modelName, gauges, labelled }) => [
      modelName,
      gauges.running.value,
      labelled.finishedByReason?.get("success"),
    ]),
    [["tensorrt_llm", 2, 5]],
  );
  // Not exported: whether more are possible is not known either.
  assertEquals(engines[0].kvCacheCapacity, absent("missing"));
  assertEquals(engines[0].counters.failedRequests, absent("missing"));
});

Deno.test("parseEngineMetrics() of Triton without TensorRT-LLM has no engine, and is named", () => {
  const body = 'nv_inference_request_success{model="resnet",version="1"} 5\n';
  const { engines, engineFamilyCount, familyNames } = parseEngineMetrics(encode(body));
  assertEquals([engines, engineFamilyCount], [[], 0]);
  assertEquals(identifyServer(familyNames)?.name, "Triton Inference Server");
});

Deno.test("parseEngineMetrics() reads an engine of Triton by its own families, whichever come first", async () => {
  const own = new TextDecoder().decode(await readGzip("fixtures/field/triton/000.prom.gz"));
  const gpus = 'nv_inference_count{model="llm_model",version="1"} 5\n';
  for (const body of [gpus + own, own + gpus]) {
    const { engines: [{ server, counters }, ...others] } = parseEngineMetrics(encode(body));
    assertEquals(others, []);
    assertEquals([server.name, counters.promptTokens.value], ["vLLM", 8652]);
  }
});
