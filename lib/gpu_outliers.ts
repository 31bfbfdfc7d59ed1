/**
 * Finds GPUs slower than their peers, those of the same name. A power cap is not a fault: many
 * cards run at it whenever busy.
 * @module
 */

import type { GpuOutlier, GpuReport, GpuSample, ThrottleReason } from "./gpu_model.ts";
import { createRecord } from "./model.ts";
import { absent, divideReadings, isPresent, present, type Reading } from "./reading.ts";
import { MAX_SERIES_POINTS } from "./stats_series.ts";
import { computeMedian } from "./stats_significance.ts";
import type { Hertz, Ratio, Seconds } from "./units.ts";

const BUSY_RATIO: Ratio = 0.5;
/** Share of the peers' median clock. */
const SLOW_CLOCK_RATIO: Ratio = 0.8;

const FAULT_REASONS: ReadonlySet<ThrottleReason> = new Set([
  "hardware_slowdown",
  "thermal_software",
  "thermal_hardware",
  "power_brake",
]);

/** MIG hides utilization: any GPU that is not idle counts as busy. */
function isBusy(gpu: GpuSample): boolean {
  if (isPresent(gpu.utilizationRatio)) return gpu.utilizationRatio.value >= BUSY_RATIO;
  return isPresent(gpu.throttleReasons) && !gpu.throttleReasons.value.includes("idle");
}

function listPeers(gpu: GpuSample, gpus: readonly GpuSample[]): readonly GpuSample[] {
  return gpus.filter((peer) => peer !== gpu && peer.name === gpu.name);
}

function listBusyClocks(gpus: readonly GpuSample[]): readonly Hertz[] {
  return gpus.filter(isBusy).map(({ smClockHertz }) => smClockHertz).filter(isPresent)
    .map(({ value }) => value);
}

function checkGpu(gpu: GpuSample, peers: readonly GpuSample[]): GpuOutlier | null {
  if (!isBusy(gpu)) return null;
  const clocks = listBusyClocks(peers);
  const peersClock = clocks.length === 0 ? absent("no_samples") : present(computeMedian(clocks));
  const reasons = isPresent(gpu.throttleReasons) ? gpu.throttleReasons.value : [];
  const faults = reasons.filter((reason) => FAULT_REASONS.has(reason));
  const evidence = {
    gpuIndex: gpu.index,
    smClockHertz: gpu.smClockHertz,
    peersClockHertz: peersClock,
    peerCount: clocks.length,
    temperatureCelsius: gpu.temperatureCelsius,
  };
  if (faults.length > 0) return { ...evidence, kind: "throttled", reasons: faults };
  const isSlow = isPresent(gpu.smClockHertz) && isPresent(peersClock) &&
    gpu.smClockHertz.value < SLOW_CLOCK_RATIO * peersClock.value;
  return isSlow ? { ...evidence, kind: "slow_clock", reasons } : null;
}

/** Skips idle GPUs: their clocks are low by design. */
export function findGpuOutliers(gpus: readonly GpuSample[]): readonly GpuOutlier[] {
  return gpus.flatMap((gpu) => checkGpu(gpu, listPeers(gpu, gpus)) ?? []);
}

/**
 * Returns the lowest clock of these GPUs as a share of the median of the others' with that name;
 * `null` unless each is busy and has busy peers.
 */
export function compareClocks(own: readonly GpuSample[], gpus: readonly GpuSample[]): Ratio | null {
  const others = gpus.filter((gpu) => !own.includes(gpu));
  const ratios = own.map((gpu) => {
    const [clock = NaN] = listBusyClocks([gpu]);
    return clock / computeMedian(listBusyClocks(listPeers(gpu, others)));
  });
  const lowest = Math.min(...ratios);
  return Number.isFinite(lowest) ? lowest : null;
}

export interface Range {
  readonly min: number;
  readonly max: number;
}

const SUMMARY_KEYS = [
  "utilizationRatio",
  "memoryUsedBytes",
  "memoryTotalBytes",
  "powerWatts",
  "temperatureCelsius",
  "smClockHertz",
] as const;

/** Ranges are partial if a GPU lacks the figure. */
export interface GpuSummary extends Readonly<Record<typeof SUMMARY_KEYS[number], Reading<Range>>> {
  readonly name: string;
  readonly count: number;
}

/** Returns a partial range if some readings are absent, the first reason if all are. */
export function findRange(readings: readonly Reading[]): Reading<Range> {
  const values = readings.flatMap((reading) => isPresent(reading) ? [reading.value] : []);
  if (values.length === 0) {
    const first = readings[0];
    return first === undefined || isPresent(first) ? absent("missing") : first;
  }
  const value = { min: Math.min(...values), max: Math.max(...values) };
  return values.length < readings.length ? { value, partial: true } : { value };
}

/** Groups GPUs by name, in order of appearance. */
export function summarizeGpus(gpus: readonly GpuSample[]): readonly GpuSummary[] {
  return [...Map.groupBy(gpus, ({ name }) => name)].map(([name, members]) => ({
    name,
    count: members.length,
    ...createRecord(SUMMARY_KEYS, (key) => findRange(members.map((gpu) => gpu[key]))),
  }));
}

/** `null` is a gap. */
interface GpuSeriesPoint {
  readonly at: Seconds | null;
  readonly utilizationRatio: Ratio | null;
  readonly memoryRatio: Ratio | null;
  readonly powerWatts: number | null;
}

/** Oldest first. */
export type GpuSeries = readonly GpuSeriesPoint[];
const GAP: GpuSeriesPoint = Object.freeze({
  ...{ at: null, utilizationRatio: null, memoryRatio: null, powerWatts: null },
});

/** Used ÷ total, 0–1. */
export function computeMemoryRatio(
  { memoryUsedBytes, memoryTotalBytes }: Pick<GpuSample, "memoryUsedBytes" | "memoryTotalBytes">,
): Reading<Ratio> {
  return divideReadings(memoryUsedBytes, memoryTotalBytes);
}

/** Returns the mean power since then; absent without a sample of it. */
export function averagePower(series: GpuSeries, since: Seconds): Reading {
  const watts = series.flatMap(({ at, powerWatts }) =>
    at !== null && at >= since && powerWatts !== null ? [powerWatts] : []
  );
  return watts.length === 0
    ? absent("missing")
    : present(watts.reduce((sum, one) => sum + one, 0) / watts.length);
}

/** Adds a point per GPU index; a gap if report or GPU is missing. */
export function appendGpuReport(
  seriesByGpu: ReadonlyMap<number, GpuSeries>,
  report: GpuReport | null,
): ReadonlyMap<number, GpuSeries> {
  const gpus = new Map((report?.gpus ?? []).map((gpu) => [gpu.index, gpu]));
  const indexes = new Set([...seriesByGpu.keys(), ...gpus.keys()]);
  return new Map([...indexes].map((index) => {
    const gpu = gpus.get(index);
    const point = report === null || gpu === undefined ? GAP : {
      at: report.sampledAt,
      powerWatts: gpu.powerWatts.value,
      utilizationRatio: gpu.utilizationRatio.value,
      memoryRatio: computeMemoryRatio(gpu).value,
    };
    return [index, [...(seriesByGpu.get(index) ?? []).slice(-(MAX_SERIES_POINTS - 1)), point]];
  }));
}
