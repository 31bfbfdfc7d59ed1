import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { absent, present } from "../lib/reading.ts";
import { computeFigures } from "../lib/stats_aggregate.ts";
import { appendSample, computeReplicas, startHistory } from "../lib/stats_window.ts";
import { encode, readGzip } from "./fixtures/expositions.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

const BODY = await readGzip("fixtures/routers/dynamo-1.6.1-frontend.prom.gz");

// 60 chat requests of 300 and 60 tokens; quantiles by Prometheus' rule over the text.
Deno.test("parseEngineMetrics() counts Dynamo's tokens and latencies as its client did", () => {
  const { engines } = parseEngineMetrics(BODY);
  const [engine, ...others] = engines;
  assertEquals(others, []);
  assertEquals([engine.server.name, engine.modelName], ["Dynamo", "small-llama"]);
  assertEquals(engine.server.isRouter, true);
  const { lifetime, running, waiting, kvCache } = computeFigures(computeReplicas(
    appendSample(startHistory(), { at: 0, engines, processStart: absent("missing") }),
  ));
  assertEquals([lifetime.promptTokens, lifetime.generationTokens].map(({ value }) => value), [
    18_000,
    3_600,
  ]);
  assertEquals(lifetime.cachedPromptTokens, present(7_552));
  assertAlmostEquals(lifetime.prefixCacheHitRatio.value ?? NaN, 7_552 / 18_000, 1e-9);
  assertEquals(lifetime.finishedByReason, new Map([["success", 60]]));
  assertEquals(engine.counters.failedRequests, present(0));
  const expected = {
    ttft: [60, 2.3122304749999993, 0.03769767441860465, 0.08864285714285715],
    itl: [3540, 48.861233209000005, 0.012723747016706444, 0.030347826086956527],
    e2e: [60, 51.23120785000001, 1, 1.9],
  } as const;
  for (const [key, [count, sum, ...quantiles]] of Object.entries(expected)) {
    const { p50, p95, mean, samples } = lifetime.latency[key as keyof typeof expected];
    assertEquals(samples, present(count));
    assertAlmostEquals(mean.value ?? NaN, sum / count, 1e-9);
    [p50, p95].forEach(({ value }, i) => {
      assertEquals(value?.bound, "");
      assertAlmostEquals(value?.value ?? NaN, quantiles[i], 1e-9);
    });
  }
  // `queued_requests` are mostly in prefill, and the capacity is that of one worker.
  assertEquals([running, waiting], [present(0), absent("unsupported")]);
  assertEquals([kvCache.maxRatio, kvCache.capacityTokens], [
    absent("unsupported"),
    absent("unsupported"),
  ]);
});

Deno.test("parseEngineMetrics() of Dynamo: errors of the server fail, those of clients do not", () => {
  const write = (status: string, error: string, count: number) =>
    `dynamo_frontend_requests_total{model="m",endpoint="completions",request_type="unary",` +
    `status="${status}",error_type="${error}"} ${count}\n`;
  const [{ counters, labelled, initializing }] = parseEngineMetrics(encode(
    'dynamo_frontend_model_ready{model="m"} 1\n' + write("success", "", 7) +
      write("error", "internal", 2) + write("error", "validation", 3) +
      write("error", "overload", 1),
  )).engines;
  assertEquals(counters.failedRequests, present(3));
  assertEquals(
    labelled.finishedByReason,
    new Map([
      ["success", 7],
      ["internal", 2],
      ["validation", 3],
      ["overload", 1],
    ]),
  );
  // Before the first chat request there are no tokens: they will count from 0.
  assertEquals(counters.promptTokens, absent("initializing"));
  assert(initializing.has("ttft"));
});

Deno.test("parseEngineMetrics() of Dynamo without a worker has no engine, and is no other server", () => {
  const { engines, engineFamilyCount, hasUnnamedEngines } = parseEngineMetrics(encode(
    "# TYPE dynamo_frontend_disconnected_clients gauge\ndynamo_frontend_disconnected_clients 0\n",
  ));
  assertEquals([engines, engineFamilyCount, hasUnnamedEngines], [[], 1, false]);
});

Deno.test("a worker of Dynamo is watched as the engine that it runs", async () => {
  const body = await readGzip("fixtures/routers/dynamo-1.6.1-worker.prom.gz");
  const { engines: [engine, ...others] } = parseEngineMetrics(body);
  assertEquals(others, []);
  const { server, modelName, histograms, counters } = engine;
  assertEquals([server.name, server.isRouter, modelName], ["vLLM", undefined, "small-llama"]);
  // 60 requests; a simulated worker, which counts no tokens.
  assertEquals(histograms.ttft?.counts.at(-1), 60);
  assertEquals(counters.generationTokens, absent("missing"));
});
