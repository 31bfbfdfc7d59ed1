import { assertEquals } from "@std/assert";
import type { GpuSample } from "../lib/gpu_model.ts";
import { present } from "../lib/reading.ts";
import { acceptGpuFailure, acceptGpuReport, type HostState, NO_HOST } from "../lib/state_gpus.ts";
import { MAX_SERIES_POINTS } from "../lib/stats_series.ts";
import { createGpuReport } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const EIGHT = readGpus("h100x8.tsv");
const HOT: readonly GpuSample[] = EIGHT.map((gpu) =>
  gpu.index === 5 ? { ...gpu, throttleReasons: present(["thermal_hardware"]) } : gpu
);
const FAILURE = { kind: "timeout", message: "it hangs" } as const;

/** What is known after samples two seconds apart; `null` is one that failed. */
function follow(samples: readonly (readonly GpuSample[] | null)[]): HostState {
  return samples.reduce<HostState>(
    (known, gpus, index) =>
      gpus === null
        ? acceptGpuFailure(known, FAILURE)
        : acceptGpuReport(known, createGpuReport(gpus, { sampledAt: 2 * index }), NO_HOST.machine),
    NO_HOST,
  );
}

const tellEvents = ({ events }: HostState) =>
  events.lines.map(({ kind, subject, beganAt, endedAt, occurrences, outlier }) => [
    ...[kind, subject.name, beganAt, endedAt, occurrences, outlier?.kind],
  ]);

Deno.test("acceptGpuReport() logs an outlier after two samples", () => {
  assertEquals(follow([HOT]).outliers.map(({ gpuIndex }) => gpuIndex), [5]);
  assertEquals(tellEvents(follow([HOT])), []);
  assertEquals(tellEvents(follow([HOT, HOT])), [["GPU", "GPU 5", 2, null, 1, "throttled"]]);
  assertEquals(tellEvents(follow([HOT, EIGHT, HOT, EIGHT])), []);
});

Deno.test("acceptGpuReport() ends the event when the GPU recovers, and continues it later", () => {
  assertEquals(tellEvents(follow([HOT, HOT, EIGHT])), [["GPU", "GPU 5", 2, 4, 1, "throttled"]]);
  assertEquals(tellEvents(follow([HOT, HOT, EIGHT, HOT, HOT])), [
    ["GPU", "GPU 5", 2, null, 2, "throttled"],
  ]);
});

Deno.test("acceptGpuFailure() keeps report and events, and leaves gaps", () => {
  const known = follow([HOT, HOT, null, null]);
  assertEquals(known.report?.gpus.length, 8);
  assertEquals(known.failure, FAILURE);
  assertEquals(known.outliers, []);
  assertEquals(tellEvents(known), [["GPU", "GPU 5", 2, null, 1, "throttled"]]);
  const utilization = known.series.get(0)?.map((point) => point.utilizationRatio);
  assertEquals(utilization, [0.97, 0.97, null, null]);
  // The samples before and after a failure do not follow each other.
  assertEquals(tellEvents(follow([HOT, null, HOT])), []);
});

Deno.test("acceptGpuReport() leaves gaps for a missing GPU, then forgets it", () => {
  const known = follow([EIGHT, EIGHT.slice(1), EIGHT]);
  assertEquals(known.series.get(0)?.map(({ memoryRatio }) => memoryRatio !== null), [
    ...[true, false, true],
  ]);
  const long = follow(Array.from({ length: MAX_SERIES_POINTS + 9 }, () => EIGHT.slice(0, 1)));
  assertEquals([...long.series].map(([index, trend]) => [index, trend.length]), [
    [0, MAX_SERIES_POINTS],
  ]);
});
