/**
 * How fast a body of /metrics is read, beside the npm package
 * `parse-prometheus-text-format` in the same run. Bodies are the simulator's, of
 * 1, 8 and 64 engines at four polls: `cold` is a reader's first body, `steady`
 * one whose series are those of the body before. MB/s are the body's size by the
 * mean time of an iteration.
 *
 * Two cores of an Intel Xeon VM, otherwise idle, Deno 2.9.6, 2026-11:
 *
 * | body             | steady            | cold             | grammar alone    | npm package     |
 * |------------------|-------------------|------------------|------------------|-----------------|
 * | 1 engine, 60 kB  | 52 µs, 1160 MB/s  | 461 µs, 130 MB/s | 221 µs, 270 MB/s | 886 µs, 68 MB/s |
 * | 8, 352 kB        | 290 µs, 1210 MB/s | 2.2 ms, 160 MB/s | 1.0 ms, 350 MB/s | 5.9 ms, 60 MB/s |
 * | 64, 2.7 MB       | 2.5 ms, 1080 MB/s | 15 ms, 178 MB/s  | 7.1 ms, 381 MB/s | 62 ms, 44 MB/s  |
 * | Prometheus' own  | 144 µs, 1320 MB/s | –                | 767 µs, 248 MB/s | 3.5 ms, 54 MB/s |
 *
 * SGLang's recorded 81 kB are read as fast as vLLM's 60 kB in the same run, on a
 * busy AMD EPYC: 62 µs, 0.76 µs/kB, and 53 µs, 0.88 µs/kB (the fastest of 1500).
 * With joining the answers of a round it is 0.12 ms.
 *
 * On a machine that others use as well all of it takes half as long again. Whole
 * processes that read the 64 engines once, Python 3.11: `prometheus_client`
 * 0.26.0 takes 0.77 s to parse, `vllm-htop` 0.5.0 from PyPI 0.19 s for the few
 * families that it looks for; the first body of a fresh process takes us 50 to
 * 60 ms, while V8 has compiled nothing yet.
 *
 * @module
 */

import parsePrometheusTextFormat from "parse-prometheus-text-format";
import { createSimulatedServer } from "../lib/demo.ts";
import { createLayout, rescanValues } from "../lib/dialect_reader.ts";
import { createLoadsRound } from "../lib/dialect_sglang_loads.ts";
import { parseExposition } from "../lib/prometheus.ts";
import { runRound } from "./fixtures/engines.ts";
import { readGzip } from "./fixtures/expositions.ts";
import { createEngineReader } from "./fixtures/readers.ts";

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

/** What the first body costs, one after another of the same series, and others' readers. */
function benchBodies(name: string, bodies: readonly Uint8Array[]): void {
  const [body] = bodies;
  const group = `${name}, ${(body.length / 1e6).toFixed(3)} MB`;
  let sum = 0;
  let poll = 0;

  Deno.bench(
    `steady createEngineReader, ${name}`,
    { group, baseline: true },
    (() => {
      const read = createEngineReader();
      return () => void read(bodies[poll++ % bodies.length]);
    })(),
  );

  Deno.bench(`cold createEngineReader, ${name}`, { group }, () => {
    createEngineReader()(body);
  });

  Deno.bench(`parseExposition alone, ${name}`, { group }, () => {
    parseExposition(body, { onSample: (_name, _labels, value) => sum += value });
  });

  Deno.bench(`parse-prometheus-text-format, ${name}`, { group }, () => {
    parsePrometheusTextFormat(decoder.decode(body));
  });
}

for (const engineCount of [1, 8, 64]) {
  benchBodies(`${engineCount} engines`, createBodies(engineCount));
}

// Recorded, with the loads that are asked in the same round.
const metrics = await readGzip("fixtures/sglang-0.5.23/overload-005.prom.gz");
const loads = Deno.readTextFileSync(
  new URL("fixtures/sglang-0.5.23/overload-005.loads.json", import.meta.url),
);
const round = createLoadsRound();
const answers = { "/metrics": decoder.decode(metrics), "/v1/loads": loads };
benchBodies("SGLang", [await runRound(round, answers)]);
const readRound = createEngineReader();

Deno.bench("steady createLoadsRound and createEngineReader, SGLang", {
  group: "SGLang's round",
}, async () => {
  readRound(await runRound(round, { "/metrics": decoder.decode(metrics), "/v1/loads": loads }));
});

// Prometheus' own body: no vLLM server's, so that only its numbers are read again.
const foreign = await readGzip("conformance/alltypes.237mfs.prom.txt.gz");
const values: number[] = [];
const valueStarts: number[] = [];
parseExposition(foreign, {
  onSample: (_name, _labels, value, valueStart) => {
    values.push(value);
    valueStarts.push(valueStart);
  },
});
const layout = createLayout(foreign, {
  values: new Float64Array(values),
  valueStarts: new Int32Array(valueStarts),
});
if (layout === null) throw new Error("Cannot bench: there is no layout");
const group = `Prometheus' 237 families, ${(foreign.length / 1e6).toFixed(3)} MB`;

Deno.bench("steady rereadValues, 237 families", { group, baseline: true }, () => {
  rescanValues(layout, foreign);
});

Deno.bench("parseExposition alone, 237 families", { group }, () => {
  parseExposition(foreign, { onSample: () => {} });
});

Deno.bench("parse-prometheus-text-format, 237 families", { group }, () => {
  parsePrometheusTextFormat(decoder.decode(foreign));
});
