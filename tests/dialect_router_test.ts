import { assertEquals } from "@std/assert";
import { ALL_MODELS, type EngineSample, listMetrics } from "../lib/model.ts";
import { absent, present } from "../lib/reading.ts";
import { computeFigures } from "../lib/stats_aggregate.ts";
import { appendSample, computeReplicas, startHistory } from "../lib/stats_window.ts";
import { encode, readGzip } from "./fixtures/expositions.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

function parseOne(body: Uint8Array): EngineSample {
  const { engines: [engine, ...others], server } = parseEngineMetrics(body);
  assertEquals([others, server], [[], null]);
  return engine;
}

const readRecorded = async (name: string): Promise<EngineSample> =>
  parseOne(await readGzip(`fixtures/routers/${name}.prom.gz`));

function list({ metrics }: EngineSample, name: string) {
  return Object.fromEntries(
    listMetrics(metrics).filter((metric) => metric.name === name)
      .map(({ labels, value }) => [labels, value]),
  );
}

// 24 requests to two workers, which were asked for themselves, too.
for (
  const [recording, server, running, failed, perWorker] of [
    ["smg-1.13.0", "SGLang router", present(0), 0, "smg_worker_requests_total"],
    ["sglang-router-0.3.2", "SGLang router", absent("missing"), 0, ""],
    [
      "vllm-router-0.1.17",
      "vLLM router",
      absent("unsupported"),
      0,
      "vllm_router_processed_requests_total",
    ],
  ] as const
) {
  Deno.test(`${recording}: one row with requests and workers, and no figure of an engine`, async () => {
    const engine = await readRecorded(recording);
    assertEquals([engine.server.name, engine.modelName], [server, ALL_MODELS]);
    assertEquals(engine.server.isRouter, true);
    assertEquals(engine.gauges.running, running);
    assertEquals(engine.labelled.finishedByReason, new Map([["all", 24]]));
    assertEquals(engine.counters.failedRequests, present(failed));
    const { lifetime, kvCache } = computeFigures(computeReplicas(
      appendSample(startHistory(), { at: 0, engines: [engine], processStart: absent("missing") }),
    ));
    const never = [lifetime.generationTokens, lifetime.latency.e2e.p50, kvCache.maxRatio];
    assertEquals(never, never.map(() => absent("unsupported")));
    const prefix = recording.startsWith("vllm") ? "vllm_router_" : "smg_";
    const workers = ["http://127.0.0.1:8111", "http://127.0.0.1:8112"];
    assertEquals(
      list(engine, `${prefix}worker_health`),
      Object.fromEntries(workers.map((url) => [url, 1])),
    );
    if (perWorker !== "") assertEquals(Object.keys(list(engine, perWorker)).sort(), workers);
  });
}

Deno.test("parseEngineMetrics() of a router: running requests of all workers, failures by status", () => {
  const engine = parseOne(encode(
    [
      'smg_worker_health{worker="a"} 1',
      'smg_worker_requests_active{worker="a"} 3',
      'smg_worker_requests_active{worker="b"} 4',
      'smg_router_requests_total{model="x",endpoint="chat"} 6',
      'smg_router_requests_total{model="y",endpoint="chat"} 5',
      'smg_http_responses_total{path="/v1/chat/completions",status_code="200"} 9',
      'smg_http_responses_total{path="/v1/chat/completions",status_code="503"} 2',
      'smg_http_responses_total{path="/v1/chat/completions",status_code="404"} 1',
    ].map((line) => `${line}\n`).join("\n"),
  ));
  assertEquals(engine.gauges.running, present(7));
  assertEquals(engine.labelled.finishedByReason, new Map([["all", 11]]));
  assertEquals(engine.counters.failedRequests, present(2));
  assertEquals(list(engine, "smg_router_requests_total"), { x: 6, y: 5 });
});

Deno.test("parseEngineMetrics() takes production-stack's router for no vLLM, in any order", () => {
  const lines = [
    'vllm:num_requests_running{server="http://a"} 2',
    'vllm:num_requests_running{server="http://b"} 3',
    'vllm:num_requests_waiting{server="http://a"} 1',
    'vllm:healthy_pods_total{server="http://a"} 1',
    'vllm:current_qps{server="http://a"} 0.5',
    'vllm:num_incoming_requests_total{model="m"} 8',
  ];
  for (const order of [lines, lines.toReversed()]) {
    const engine = parseOne(encode(order.map((line) => `${line}\n`).join("")));
    assertEquals([engine.server.name, engine.modelName], ["production-stack router", ALL_MODELS]);
    const { running, waiting, kvCacheUsageRatio } = engine.gauges;
    assertEquals([running, waiting], [present(5), present(1)]);
    assertEquals(kvCacheUsageRatio, absent("unsupported"));
    assertEquals(engine.labelled.finishedByReason, new Map([["all", 8]]));
    assertEquals(engine.counters.failedRequests, absent("unsupported"));
  }
});

Deno.test("parseEngineMetrics() of a router: what is renamed or no number is no figure", () => {
  const engine = parseOne(encode(
    [
      'smg_worker_health{worker="a"} 1',
      'smg_worker_requests_active{worker="a"} NaN',
      'smg_requests_routed_total{model="x"} 6',
      "smg_http_responses_total 9",
    ].map((line) => `${line}\n`).join(""),
  ));
  assertEquals(engine.gauges.running.value, null);
  assertEquals(engine.labelled.finishedByReason, undefined);
  // A family that has not appeared counts from 0 when it does.
  assertEquals(engine.initializing.has("finishedByReason"), true);
});
