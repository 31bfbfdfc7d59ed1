import { assertEquals } from "@std/assert";
import type { GpuSample } from "../lib/gpu_model.ts";
import {
  appendGpuReport,
  averagePower,
  compareClocks,
  findGpuOutliers,
  findRange,
  summarizeGpus,
} from "../lib/gpu_outliers.ts";
import { absent, present } from "../lib/reading.ts";
import { MAX_SERIES_POINTS } from "../lib/stats_series.ts";
import { createGpuReport } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const GPUS = readGpus("h100x8.tsv");

/** The busy machine with one GPU changed. */
function changeGpu(index: number, more: Partial<GpuSample>): readonly GpuSample[] {
  return GPUS.map((gpu) => gpu.index === index ? { ...gpu, ...more } : gpu);
}

Deno.test("findGpuOutliers() finds nothing on a healthy machine, busy or idle", () => {
  assertEquals(findGpuOutliers(GPUS), []);
  assertEquals(findGpuOutliers(readGpus("rtx2080super-idle.tsv")), []);
  assertEquals(findGpuOutliers([]), []);
});

Deno.test("findGpuOutliers() finds a clock more than 20 % below its busy peers, and none above that", () => {
  const slow = changeGpu(5, { smClockHertz: present(1.98e9 * 0.8 - 1e6) });
  assertEquals(findGpuOutliers(slow), [{
    gpuIndex: 5,
    kind: "slow_clock",
    reasons: [],
    smClockHertz: present(1.98e9 * 0.8 - 1e6),
    peersClockHertz: present(1.98e9),
    peerCount: 7,
    temperatureCelsius: present(64),
  }]);
  assertEquals(findGpuOutliers(changeGpu(5, { smClockHertz: present(1.98e9 * 0.8) })), []);
});

Deno.test("findGpuOutliers() finds a GPU throttled by heat or hardware, even without peers", () => {
  const hot = { throttleReasons: present(["power_cap", "thermal_hardware"] as const) };
  const [outlier] = findGpuOutliers(changeGpu(2, hot));
  assertEquals([outlier.gpuIndex, outlier.kind, outlier.reasons], [
    2,
    "throttled",
    ["thermal_hardware"],
  ]);
  const alone = findGpuOutliers([{ ...GPUS[0], ...hot }]);
  assertEquals(alone.map(({ kind, peerCount }) => [kind, peerCount]), [["throttled", 0]]);
  assertEquals(alone[0].peersClockHertz, absent("no_samples"));
});

Deno.test("findGpuOutliers() ignores power caps and idle GPUs", () => {
  assertEquals(findGpuOutliers(changeGpu(1, { throttleReasons: present(["power_cap"]) })), []);
  const idle = {
    utilizationRatio: present(0),
    smClockHertz: present(3.45e8),
    throttleReasons: present(["idle", "thermal_software"] as const),
  };
  assertEquals(findGpuOutliers(changeGpu(3, idle)), []);
});

Deno.test("findGpuOutliers() counts a GPU at 50 % utilization as busy", () => {
  const find = (utilization: number) =>
    findGpuOutliers(
      changeGpu(5, { utilizationRatio: present(utilization), smClockHertz: present(1e9) }),
    ).map(({ gpuIndex }) => gpuIndex);
  assertEquals([find(0.5), find(0.499)], [[5], []]);
});

Deno.test("findGpuOutliers() compares only with busy GPUs of the same name", () => {
  const idlePeers = GPUS.map((gpu) =>
    gpu.index === 0
      ? { ...gpu, smClockHertz: present(1e9) }
      : { ...gpu, utilizationRatio: present(0.1) }
  );
  assertEquals(findGpuOutliers(idlePeers), []);
  const mixed = [{ ...GPUS[0], name: "NVIDIA L4", smClockHertz: present(1e9) }, ...GPUS.slice(1)];
  assertEquals(findGpuOutliers(mixed), []);
});

Deno.test("findGpuOutliers() ignores absent figures", () => {
  assertEquals(findGpuOutliers(changeGpu(4, { smClockHertz: absent("unreadable") })), []);
  const unknown = {
    utilizationRatio: absent("unsupported"),
    throttleReasons: absent("missing"),
    smClockHertz: present(1e9),
  };
  assertEquals(findGpuOutliers(changeGpu(4, unknown)), []);
});

Deno.test("compareClocks() returns the lowest clock as a share of the busy peers'", () => {
  assertEquals(compareClocks(GPUS.slice(0, 2), GPUS), 1);
  const slow = changeGpu(5, { smClockHertz: present(1.98e9 * 0.75) });
  assertEquals([compareClocks([slow[4], slow[5]], slow), compareClocks([slow[4]], slow)], [
    0.75,
    1,
  ]);
  const idle = changeGpu(5, { utilizationRatio: present(0.1) });
  assertEquals(compareClocks([idle[4], idle[5]], idle), null);
  const others = GPUS.map((gpu, i) => i === 0 ? gpu : { ...gpu, utilizationRatio: present(0.1) });
  assertEquals([compareClocks([others[0]], others), compareClocks([], GPUS)], [null, null]);
});

Deno.test("summarizeGpus() returns ranges per GPU name", () => {
  const [fold, ...others] = summarizeGpus(GPUS);
  assertEquals(others, []);
  assertEquals([fold.name, fold.count], ["NVIDIA H100 80GB HBM3", 8]);
  assertEquals(fold.utilizationRatio, present({ min: 0.92, max: 0.98 }));
  assertEquals(fold.powerWatts, present({ min: 640.02, max: 690.4 }));
  assertEquals(fold.temperatureCelsius, present({ min: 61, max: 72 }));
  const mixed = summarizeGpus([...GPUS, ...readGpus("gb10.tsv"), ...readGpus("h100-mig.tsv")]);
  assertEquals(mixed.map(({ name, count }) => [name, count]), [
    ["NVIDIA H100 80GB HBM3", 9],
    ["NVIDIA GB10", 1],
  ]);
  assertEquals(mixed[0].utilizationRatio.value, { min: 0.92, max: 0.98 });
  assertEquals(mixed[1].powerWatts, present({ min: 10.8, max: 10.8 }));
});

Deno.test("findRange() is partial if some figures are absent, and absent if all are", () => {
  assertEquals(findRange([present(3), absent("missing"), present(1)]), {
    value: { min: 1, max: 3 },
    partial: true,
  });
  assertEquals(findRange([absent("forbidden"), absent("missing")]), absent("forbidden"));
  assertEquals(findRange([]), absent("missing"));
});

Deno.test("appendGpuReport() keeps the newest points of each GPU, with gaps where it is missing", () => {
  const point = { at: 0, utilizationRatio: 0.25, memoryRatio: 0.5, powerWatts: 650 };
  const gpu = {
    ...GPUS[3],
    utilizationRatio: present(0.25),
    powerWatts: present(650),
    memoryUsedBytes: present(5e9),
    memoryTotalBytes: present(1e10),
  };
  let series: ReturnType<typeof appendGpuReport> = new Map();
  series = appendGpuReport(series, createGpuReport([gpu]));
  assertEquals(series, new Map([[3, [point]]]));
  series = appendGpuReport(series, null);
  series = appendGpuReport(series, createGpuReport([{ ...gpu, index: 4 }]));
  const gap = { at: null, utilizationRatio: null, memoryRatio: null, powerWatts: null };
  assertEquals(series, new Map([[3, [point, gap, gap]], [4, [point]]]));
  for (let i = 3; i < MAX_SERIES_POINTS; i++) series = appendGpuReport(series, null);
  assertEquals(series.get(3)?.[0], point);
  series = appendGpuReport(series, null);
  assertEquals([series.get(3)?.length, series.get(3)?.[0]], [MAX_SERIES_POINTS, gap]);
});

Deno.test("averagePower() is the mean since then, of the samples that have it", () => {
  const [gpu] = GPUS;
  const powers = [100, 200, null, 400] as const;
  const series = powers.reduce<ReturnType<typeof appendGpuReport>>((known, watts, i) => {
    const powerWatts = watts === null ? absent("unsupported") : present(watts);
    return appendGpuReport(known, createGpuReport([{ ...gpu, powerWatts }], { sampledAt: 10 * i }));
  }, new Map()).get(gpu.index) ?? [];
  assertEquals(averagePower(series, 10), present(300));
  assertEquals(averagePower(series, 0), present(700 / 3));
  assertEquals(averagePower(series, 31), absent("missing"));
});
