/**
 * The last minutes of each GPU, point by point, for sparklines.
 *
 * Layer 2, pure. Each sample adds a point for each GPU that was ever seen; a
 * sample that failed, a GPU that is not in it and a figure that it lacks add a
 * gap. Ratios from 0 to 1.
 *
 * @module
 */

import type { GpuReport, GpuSample } from "./gpu_model.ts";
import { divideReadings, type Reading } from "./reading.ts";
import { TREND_POINTS } from "./trends.ts";
import type { Ratio } from "./units.ts";

/** One moment of a GPU. `null` is a gap. */
export interface GpuTrendPoint {
  readonly utilizationRatio: Ratio | null;
  readonly memoryRatio: Ratio | null;
}

/** Points, oldest first, at most `TREND_POINTS`. */
export type GpuTrend = readonly GpuTrendPoint[];

const GAP: GpuTrendPoint = Object.freeze({ utilizationRatio: null, memoryRatio: null });

/** How full its memory is. */
export function readMemoryRatio(
  { memoryUsedBytes, memoryTotalBytes }: Pick<GpuSample, "memoryUsedBytes" | "memoryTotalBytes">,
): Reading<Ratio> {
  return divideReadings(memoryUsedBytes, memoryTotalBytes);
}

/** The trends of all GPUs, by their index, after one more sample; `null` for one that failed. */
export function appendGpuReport(
  trends: ReadonlyMap<number, GpuTrend>,
  report: GpuReport | null,
): ReadonlyMap<number, GpuTrend> {
  const gpus = new Map((report?.gpus ?? []).map((gpu) => [gpu.index, gpu]));
  const indexes = new Set([...trends.keys(), ...gpus.keys()]);
  return new Map([...indexes].map((index) => {
    const gpu = gpus.get(index);
    const point = gpu === undefined ? GAP : {
      utilizationRatio: gpu.utilizationRatio.value,
      memoryRatio: readMemoryRatio(gpu).value,
    };
    return [index, [...(trends.get(index) ?? []).slice(-(TREND_POINTS - 1)), point]];
  }));
}
