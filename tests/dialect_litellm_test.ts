import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { listMetrics } from "../lib/model.ts";
import { absent, present } from "../lib/reading.ts";
import { computeFigures } from "../lib/stats_aggregate.ts";
import { appendSample, computeReplicas, startHistory } from "../lib/stats_window.ts";
import { encode, readGzip } from "./fixtures/expositions.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

// 20 chat requests, 1,998 and 600 tokens; quantiles by Prometheus' rule over the text.
Deno.test("parseEngineMetrics() counts LiteLLM's requests and tokens as its client did", async () => {
  const body = await readGzip("fixtures/routers/litellm-1.80.0.prom.gz");
  const { engines, server } = parseEngineMetrics(body);
  const [engine, ...others] = engines;
  assertEquals(others, []);
  assertEquals([engine.server.name, engine.modelName, engine.engine], [
    "LiteLLM",
    "small-llama",
    "",
  ]);
  const { lifetime, running } = computeFigures(computeReplicas(
    appendSample(startHistory(), { at: 0, engines, processStart: absent("missing") }),
  ));
  assertEquals([lifetime.promptTokens, lifetime.generationTokens].map(({ value }) => value), [
    1998,
    600,
  ]);
  assertEquals(lifetime.finishedRequests, present(20));
  const expected = {
    ttft: [1.422126, 0.078125, 0.3666666666666667],
    e2e: [4.9999579999999995, 0.31052631578947365, 0.5],
  } as const;
  for (const [key, [sum, ...quantiles]] of Object.entries(expected)) {
    const { p50, p95, mean } = lifetime.latency[key as keyof typeof expected];
    assertAlmostEquals(mean.value ?? NaN, sum / 20, 1e-9);
    [p50, p95].forEach(({ value }, i) =>
      assertAlmostEquals(value?.value ?? NaN, quantiles[i], 1e-9)
    );
  }
  assertEquals(running, absent("unsupported"));
  const listed = listMetrics(server?.metrics ?? engine.metrics);
  const requests = listed.find(({ name }) => name === "litellm_proxy_total_requests_metric_total");
  assertEquals([requests?.labels, requests?.value], ["200", 20]);
});

Deno.test("parseEngineMetrics() of LiteLLM adds users up, and keeps none of their names", () => {
  const write = (user: string, tokens: number): string =>
    ["input_tokens_metric_total", "spend_metric_total", "new_family"].map((name) =>
      `litellm_${name}{model="m",user="${user}",user_email="${user}@x",team="t-${user}"} ${tokens}\n`
    ).join("");
  const sample = parseEngineMetrics(encode(write("ann", 5) + write("ben", 7)));
  assertEquals(sample.engines.map(({ counters }) => counters.promptTokens), [present(12)]);
  const { engines, server } = sample;
  const kept = JSON.stringify([engines, server].flat().map((one) => one?.metrics.entries));
  assert(kept.includes("input_tokens") && !/ann|ben|t-|spend|new_family/.test(kept), kept);
});
