/**
 * GPU samples, in which each figure can be absent on its own.
 * @module
 */

import type { Reading } from "./reading.ts";
import type { Bytes, EpochSeconds, Hertz, Ratio, Seconds } from "./units.ts";

/** A GPU that is slower than its peers. */
export interface GpuOutlier {
  readonly gpuIndex: number;
  readonly kind: "throttled" | "slow_clock";
  /** Faults of a throttled GPU; all reasons of a slow one. */
  readonly reasons: readonly ThrottleReason[];
  readonly smClockHertz: Reading<Hertz>;
  /** Median of the busy peers. */
  readonly peersClockHertz: Reading<Hertz>;
  readonly peerCount: number;
  readonly temperatureCelsius: Reading;
}

export type ThrottleReason =
  | ("power_cap" | "hardware_slowdown" | "thermal_software" | "thermal_hardware" | "power_brake")
  | ("sync_boost" | "application_clocks" | "display_clocks" | "idle" | "other");

export interface MigInstance {
  /** On its GPU, from 0. */
  readonly index: number;
  /** For example `3g.40gb`. */
  readonly profile: Reading<string>;
  readonly uuid: Reading<string>;
  /** Matches `GpuProcess.gpuInstanceId`. */
  readonly gpuInstanceId: Reading;
  readonly memoryUsedBytes: Reading<Bytes>;
  readonly memoryTotalBytes: Reading<Bytes>;
}

export interface GpuSample {
  /** As the tool counts, from 0. */
  readonly index: number;
  readonly vendor: "nvidia" | "amd";
  /** As the tool prints it, sanitized. */
  readonly name: string;
  readonly uuid: Reading<string>;
  /** Share of the last sampling period with a kernel running; `unsupported` under MIG. */
  readonly utilizationRatio: Reading<Ratio>;
  /** Share of the last sampling period in which memory was read or written. */
  readonly memoryActivityRatio: Reading<Ratio>;
  readonly memoryUsedBytes: Reading<Bytes>;
  readonly memoryTotalBytes: Reading<Bytes>;
  /** CPU and GPU share memory; both figures are of what the GPU can use of the system's. */
  readonly isMemoryUnified: boolean;
  readonly powerWatts: Reading;
  /** The limit in force. */
  readonly powerLimitWatts: Reading;
  readonly temperatureCelsius: Reading;
  /** Degrees below the slowdown temperature; may be negative. */
  readonly temperatureMarginCelsius: Reading;
  readonly smClockHertz: Reading<Hertz>;
  readonly smClockMaxHertz: Reading<Hertz>;
  readonly memoryClockHertz: Reading<Hertz>;
  /** Share of the maximum speed. */
  readonly fanRatio: Reading<Ratio>;
  /** Empty if not throttled. */
  readonly throttleReasons: Reading<readonly ThrottleReason[]>;
  /** Since the driver was loaded. */
  readonly eccErrorsCorrected: Reading;
  /** Since the driver was loaded. */
  readonly eccErrorsUncorrected: Reading;
  readonly pcieGeneration: Reading;
  readonly pcieGenerationMax: Reading;
  /** Lanes. */
  readonly pcieWidth: Reading;
  readonly pcieWidthMax: Reading;
  readonly isPersistent: Reading<boolean>;
  readonly isMigEnabled: Reading<boolean>;
  readonly migInstances: readonly MigInstance[];
}

export interface GpuProcess {
  readonly pid: number;
  /** As the tool prints it, sanitized. */
  readonly name: string;
  /** `GpuSample.index` of its GPU. */
  readonly gpuIndex: number;
  readonly memoryBytes: Reading<Bytes>;
  readonly gpuInstanceId: Reading;
}

export interface GpuReport {
  readonly program: GpuProgram;
  /** Monotonic end of the last program. */
  readonly sampledAt: Seconds;
  readonly sampledAtEpoch: EpochSeconds;
  /** From the start of the first program. */
  readonly duration: Seconds;
  readonly gpus: readonly GpuSample[];
  readonly processes: Reading<readonly GpuProcess[]>;
  /** Sanitized, one sentence each, such as a lost GPU. */
  readonly warnings: readonly string[];
}

export type GpuProgram = "nvidia-smi" | "amd-smi";

export type GpuFailureKind =
  | ("absent" | "refused" | "timeout" | "flooded" | "aborted" | "no_devices" | "driver_mismatch")
  | ("driver_missing" | "gpu_lost" | "forbidden" | "unreadable" | "failed" | "unreachable");

export interface GpuFailure {
  readonly kind: GpuFailureKind;
  /** What failed and the next step; sanitized, without a full stop. */
  readonly message: string;
}
