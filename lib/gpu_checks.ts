/**
 * Figures of GPUs that cannot be: a limit of 0 W, a clock of 0, more memory in use than there is
 * (the driver's counter fell below 0, ROCm #5750). They are `invalid`, never shown.
 * @module
 */

import type { GpuProcess, GpuProgram, GpuReport, GpuSample } from "./gpu_model.ts";
import { absent, isPresent, mapReading, type Reading } from "./reading.ts";

const POSITIVE_KEYS = [
  ...["memoryTotalBytes", "powerLimitWatts", "smClockHertz", "smClockMaxHertz"] as const,
  ...["memoryClockHertz", "pcieGeneration", "pcieGenerationMax", "pcieWidth"] as const,
  "pcieWidthMax",
] as const satisfies readonly (keyof GpuSample)[];

type Memory = Pick<GpuSample, "memoryUsedBytes" | "memoryTotalBytes">;

function keepIf(reading: Reading, isPossible: (value: number) => boolean): Reading {
  return !isPresent(reading) || isPossible(reading.value) ? reading : absent("invalid");
}

function isPositive(value: number): boolean {
  return value > 0;
}

/** Between 0 and the total, if that is known. */
function checkUsed(used: Reading, total: Reading): Reading {
  return keepIf(used, (bytes) => bytes >= 0 && bytes <= (total.value ?? Infinity));
}

function checkMemory({ memoryUsedBytes, memoryTotalBytes }: Memory): Memory {
  const total = keepIf(memoryTotalBytes, isPositive);
  return { memoryUsedBytes: checkUsed(memoryUsedBytes, total), memoryTotalBytes: total };
}

function checkGpu(gpu: GpuSample): GpuSample {
  const positive = Object.fromEntries(
    POSITIVE_KEYS.map((key) => [key, keepIf(gpu[key], isPositive)]),
  );
  return {
    ...gpu,
    ...positive,
    ...checkMemory(gpu),
    utilizationRatio: keepIf(gpu.utilizationRatio, (ratio) => ratio >= 0 && ratio <= 1),
    memoryActivityRatio: keepIf(gpu.memoryActivityRatio, (ratio) => ratio >= 0 && ratio <= 1),
    powerWatts: keepIf(gpu.powerWatts, (watts) => watts >= 0),
    migInstances: gpu.migInstances.map((one) => ({ ...one, ...checkMemory(one) })),
  };
}

/** Drops figures that cannot be; a warning names GPUs whose memory in use is one. */
export function dropImpossibleFigures(
  program: GpuProgram,
  { gpus, processes, warnings }: Pick<GpuReport, "gpus" | "processes" | "warnings">,
): Pick<GpuReport, "gpus" | "processes" | "warnings"> {
  const checked = gpus.map(checkGpu);
  const checkProcess = (process: GpuProcess): GpuProcess => {
    const gpu = checked.find(({ index }) => index === process.gpuIndex);
    const total = gpu?.memoryTotalBytes ?? absent("missing");
    return { ...process, memoryBytes: checkUsed(process.memoryBytes, total) };
  };
  const broken = checked.filter(({ memoryUsedBytes }, i) =>
    isPresent(gpus[i].memoryUsedBytes) && !isPresent(memoryUsedBytes)
  );
  return {
    gpus: checked,
    processes: mapReading(processes, (list) => list.map(checkProcess)),
    warnings: [
      ...warnings,
      ...broken.map(({ index }) =>
        `${program} reports impossible memory in use on GPU ${index}: it is n/a`
      ),
    ],
  };
}
