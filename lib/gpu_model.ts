/**
 * The nouns of GPUs: readonly types that cross modules.
 *
 * only. A report is what the driver's program said once: a
 * sample of each GPU, in which each figure can be absent on its own, and the
 * processes that hold memory. Bytes, watts, hertz, degrees Celsius.
 *
 * @module
 */

import type { Reading } from "./reading.ts";
import type { Bytes, EpochSeconds, Hertz, Ratio, Seconds } from "./units.ts";

/** A GPU that falls behind, and by what. */
export interface GpuOutlier {
  readonly gpuIndex: number;
  readonly kind: "throttled" | "slow_clock";
  /** The faults of a throttled GPU; all reasons of a slow one. */
  readonly reasons: readonly ThrottleReason[];
  readonly smClockHertz: Reading<Hertz>;
  /** The median clock of its busy peers. */
  readonly peersClockHertz: Reading<Hertz>;
  /** How many busy peers it was compared with. */
  readonly peerCount: number;
  readonly temperatureCelsius: Reading;
}

/** Why a GPU runs slower than it could. */
export type ThrottleReason =
  | "power_cap"
  | "hardware_slowdown"
  | "thermal_software"
  | "thermal_hardware"
  | "power_brake"
  | "sync_boost"
  | "application_clocks"
  | "display_clocks"
  | "idle"
  | "other";

/** A part of a GPU that MIG has set aside. */
export interface MigInstance {
  /** Counted from 0 on its GPU: what `CUDA_VISIBLE_DEVICES` calls the device. */
  readonly index: number;
  /** Such as `3g.40gb`. */
  readonly profile: Reading<string>;
  readonly uuid: Reading<string>;
  /** What ties processes to it. */
  readonly gpuInstanceId: Reading;
  readonly memoryUsedBytes: Reading<Bytes>;
  readonly memoryTotalBytes: Reading<Bytes>;
}

/** What a GPU said of itself at one moment. Each figure can be absent on its own. */
export interface GpuSample {
  /** As the driver's program counts, from 0. */
  readonly index: number;
  readonly vendor: "nvidia" | "amd";
  /** As the driver's program prints it, made safe. */
  readonly name: string;
  readonly uuid: Reading<string>;
  /** Share of the last sampling period in which a kernel ran. `unsupported` under MIG. */
  readonly utilizationRatio: Reading<Ratio>;
  readonly memoryUsedBytes: Reading<Bytes>;
  readonly memoryTotalBytes: Reading<Bytes>;
  /** True where CPU and GPU share one memory: the two figures above are then the system's. */
  readonly isMemoryUnified: boolean;
  readonly powerWatts: Reading;
  /** The limit that is in force. */
  readonly powerLimitWatts: Reading;
  readonly temperatureCelsius: Reading;
  /** Degrees that are left until the GPU slows itself down; may be negative. */
  readonly temperatureMarginCelsius: Reading;
  readonly smClockHertz: Reading<Hertz>;
  readonly smClockMaxHertz: Reading<Hertz>;
  readonly memoryClockHertz: Reading<Hertz>;
  /** Share of the fan's highest speed. */
  readonly fanRatio: Reading<Ratio>;
  /** Empty where nothing slows it. */
  readonly throttleReasons: Reading<readonly ThrottleReason[]>;
  /** Memory errors that were mended, since the driver was loaded. */
  readonly eccErrorsCorrected: Reading;
  /** Memory errors that could not be mended, since the driver was loaded. */
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

/** A process that holds memory of a GPU. */
export interface GpuProcess {
  readonly pid: number;
  /** As the driver's program prints it, made safe. */
  readonly name: string;
  /** The `index` of its GPU. */
  readonly gpuIndex: number;
  readonly memoryBytes: Reading<Bytes>;
  /** The MIG instance that it runs in. */
  readonly gpuInstanceId: Reading;
}

/** What the driver's program said once. */
export interface GpuReport {
  readonly program: GpuProgram;
  /** The monotonic instant at which its last word was there. */
  readonly sampledAt: Seconds;
  readonly sampledAtEpoch: EpochSeconds;
  /** From starting the first program to the end of the last one. */
  readonly duration: Seconds;
  readonly gpus: readonly GpuSample[];
  readonly processes: Reading<readonly GpuProcess[]>;
  /** What it said besides, such as a GPU that is lost; each one safe sentence. */
  readonly warnings: readonly string[];
}

/** The programs that know of GPUs. */
export type GpuProgram = "nvidia-smi" | "amd-smi";

/** Why there is no report. */
export type GpuFailureKind =
  | "absent"
  | "refused"
  | "timeout"
  | "flooded"
  | "aborted"
  | "no_devices"
  | "driver_mismatch"
  | "driver_missing"
  | "gpu_lost"
  | "forbidden"
  | "unreadable"
  | "failed";

/** A sample that failed. */
export interface GpuFailure {
  readonly kind: GpuFailureKind;
  /** What failed and the next step, in one safe sentence without a full stop. */
  readonly message: string;
}
