/**
 * How fast a body of /metrics is read, beside the npm package
 * `parse-prometheus-text-format` in the same run. Bodies are the simulator's,
 * of 1, 8 and 64 engines; the time of one iteration and the body's size give
 * MB/s, which the last lines print.
 *
 * @module
 */

import parsePrometheusTextFormat from "parse-prometheus-text-format";
import { parseExposition } from "../lib/prometheus.ts";
import { createSimulatedServer } from "../lib/simulator.ts";
import { createVllmReader, readVllmMetrics } from "../lib/vllm_metrics.ts";

const MODEL = "Qwen/Qwen2.5-7B-Instruct";

/** The bodies of four polls, two seconds apart. */
function createBodies(engineCount: number): readonly Uint8Array[] {
  const engines = Array.from({ length: engineCount }, () => ({ model: MODEL }));
  const server = createSimulatedServer({ seed: 1, startEpoch: 1_795_000_000, engines, warmUp: 30 });
  return [2, 4, 6, 8].map((at) => {
    const body = server.expositionAt(at);
    if (body === null) throw new Error("Cannot bench: the simulated server is down");
    return body.slice();
  });
}

const decoder = new TextDecoder();

for (const engineCount of [1, 8, 64]) {
  const bodies = createBodies(engineCount);
  const [body] = bodies;
  const group = `${engineCount} engines, ${(body.length / 1e6).toFixed(3)} MB`;
  let sum = 0;

  Deno.bench(`parseExposition, ${engineCount}`, { group, baseline: true }, () => {
    parseExposition(body, { onSample: (_name, _labels, value) => sum += value });
  });

  Deno.bench(`readVllmMetrics, ${engineCount}`, { group }, () => {
    readVllmMetrics(body);
  });

  const reader = createVllmReader();
  let poll = 0;
  Deno.bench(`createVllmReader, ${engineCount}`, { group }, () => {
    reader(bodies[poll++ % bodies.length]);
  });

  Deno.bench(`parse-prometheus-text-format, ${engineCount}`, { group }, () => {
    parsePrometheusTextFormat(decoder.decode(body));
  });
}
