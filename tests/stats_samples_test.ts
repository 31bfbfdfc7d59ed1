import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { createSimulatedServer } from "../lib/demo.ts";
import { COUNTER_KEYS, type EngineSample, LATENCY_KEYS, MEAN_KEYS } from "../lib/model.ts";
import {
  countPacked,
  countPackedUpTo,
  createSamplePoint,
  getMovement,
  LABELLED_COUNTERS,
  packSamples,
  sumPacked,
  unpackSample,
} from "../lib/stats_samples.ts";
import { listScenarioBodies } from "./fixtures/bodies.ts";
import {
  readEngine,
  readGzip,
  type Series,
  START_EPOCH,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

/** What windows compare of a sample. */
function listCounted(sample: EngineSample): unknown {
  const { counters, labelled, histograms, initializing, created } = sample;
  const pick = (all: object, keys: readonly string[]) =>
    Object.entries(all).filter(([key]) => keys.includes(key));
  return {
    counters,
    labelled: Object.fromEntries(pick(labelled, LABELLED_COUNTERS)),
    histograms: Object.fromEntries(pick(histograms, LATENCY_KEYS)),
    initializing,
    created,
  };
}

function checkUnpacked(samples: readonly EngineSample[]): void {
  const packed = packSamples(samples, []);
  packed.forEach((one, i) => {
    assertEquals(unpackSample(one), listCounted(samples[i]));
    for (const key of LATENCY_KEYS) {
      const { counts, sum } = samples[i].histograms[key] ?? { counts: [], sum: NaN };
      assertEquals(sumPacked(one, key), sum);
      assertEquals(countPacked(one, key), counts[counts.length - 1] ?? NaN);
      counts.forEach((count, bucket) => assertEquals(countPackedUpTo(one, key, bucket), count));
    }
  });
}

Deno.test("packSamples() and unpackSample() lose nothing that windows compare", async () => {
  for (const path of [...(await listScenarioBodies()).values()].flat()) {
    checkUnpacked(parseEngineMetrics(await readGzip(path)).engines);
  }
});

/** Series of an engine that may be there or not, and be a number or not. */
const seriesOf = fc.tuple(
  fc.subarray(["prompt_tokens_total", "generation_tokens_total", "num_preemptions_total"]),
  fc.subarray(["stop", "length", "abort", "error"]),
  fc.option(fc.subarray([0.5, 1, 2], { minLength: 1 })),
  fc.constantFrom<number | string>(0, 3, 2 ** 53, "NaN"),
).map(([scalars, reasons, bounds, value]): readonly Series[] => [
  ["num_requests_running", 1],
  ...scalars.map((name): Series => [name, value]),
  ...reasons.map((reason): Series => [`request_success_total{finished_reason="${reason}"}`, 7]),
  ...(bounds === null ? [] : writeHistogram("time_to_first_token_seconds", bounds, {
    counts: [...bounds.map((_, i) => i), 9],
    sum: 2.5,
  })),
]);

Deno.test("packSamples() packs differing engines, after others or the same", () => {
  fc.assert(
    fc.property(fc.array(seriesOf, { minLength: 1, maxLength: 4 }), seriesOf, (all, next) => {
      const samples = all.map((series) => readEngine(writeEngine(series)));
      checkUnpacked(samples);
      const forms = packSamples(samples, []).map(({ form }) => form);
      const later = readEngine(writeEngine(next));
      const [packed] = packSamples([later], [forms[0]]);
      assertEquals(unpackSample(packed), listCounted(later));
    }),
  );
});

Deno.test("packSamples() shares the form of similar engines and scrapes", () => {
  const server = createSimulatedServer({
    ...{ seed: 1, startEpoch: START_EPOCH, warmUp: 60 },
    engines: Array.from({ length: 3 }, () => ({ model: "m" })),
  });
  const read = (at: number) =>
    parseEngineMetrics(new Uint8Array(server.expositionAt(at) ?? [])).engines;
  const first = packSamples(read(0), []);
  const second = packSamples(read(2), first.map(({ form }) => form));
  const forms = new Set([...first, ...second].map(({ form }) => form));
  assertEquals(forms.size, 1);
  assertEquals(new Set(second.map(({ numbers }) => numbers)).size, 1);
  // Fewer numbers than series, and nothing else but them.
  const [{ length }] = forms;
  assertEquals(second[0].numbers.length, 3 * length);
  assert(length < 300, `${length}`);
  assert(COUNTER_KEYS.length + MEAN_KEYS.length < length);
});

Deno.test("createSamplePoint() detects progress of any kind", () => {
  const calm: readonly Series[] = [["num_requests_running", 1], ["generation_tokens_total", 5]];
  const before = readEngine(writeEngine(calm));
  const hasProgressed = (series: readonly Series[]) => {
    const sample = readEngine(writeEngine(series));
    const [packed] = packSamples([sample], []);
    return createSamplePoint({ at: 1, sample, packed }, { sample: before, movedAt: 0 }).movedAt ===
      1;
  };
  assertEquals(hasProgressed(calm), false);
  assertEquals(hasProgressed([["num_requests_running", 0], ["generation_tokens_total", 5]]), true);
  assertEquals(hasProgressed([["num_requests_running", 1], ["generation_tokens_total", 6]]), true);
  assertEquals(hasProgressed([...calm, ["kv_cache_usage_perc", 0.2]]), true);
  const steps = { counts: [3, 3], sum: 3 };
  assertEquals(
    hasProgressed([...calm, ...writeHistogram("iteration_tokens_total", [1], steps)]),
    true,
  );
  // What it did while it was away, nobody knows.
  const sample = readEngine(writeEngine(calm));
  const [packed] = packSamples([sample], []);
  assertEquals(createSamplePoint({ at: 1, sample, packed }, undefined).movedAt, 1);
});

Deno.test("getMovement() counts neither progress nor sleep as a standstill of the other", () => {
  const [packed] = packSamples([readEngine(writeEngine([["num_requests_running", 1]]))], []);
  const trace = ([[0, 0, false], [2, 2, true], [4, 4, true], [9, 9, false]] as const)
    .map(([at, movedAt, isAsleep]) => ({ at, packed, movedAt, isAsleep }));
  assertEquals(getMovement(trace), { movedAt: 9, standstill: 9 });
  assertEquals(getMovement(trace.slice(0, 1)), { movedAt: 0, standstill: 0 });
});
