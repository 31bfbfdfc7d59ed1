/**
 * How a GPU program ended -> why there are no figures, and the next step.
 *
 * Layer 1, pure. All wording of failed GPU samples stands here. What the
 * programs print about a failure is on either stream, with any exit code:
 * nvidia-smi tells a driver mismatch on standard output with code 18. So the
 * words decide, and the first row that fits counts. Sources: public reports of
 * each message, and the codes in the manual page of nvidia-smi. Whether an
 * output has figures in spite of it all is `nvidia_smi`'s and `amd_smi`'s
 * matter.
 *
 * @module
 */

import type { GpuFailure, GpuFailureKind, GpuProgram } from "./gpu_model.ts";
import type { ProgramOutcome } from "./platform.ts";
import { quote } from "./text.ts";
import type { Seconds } from "./units.ts";

/** A pattern in what a program printed, what it means, and what is said after the program's name. */
type FailureRow = readonly [pattern: RegExp, kind: GpuFailureKind, message: string];

const FAILURE_ROWS: readonly FailureRow[] = [
  [
    /driver\/library version mismatch/i,
    "driver_mismatch",
    "is newer than the driver that is loaded, as after an update: reboot, or reload the nvidia " +
    "modules",
  ],
  [
    /GPU is lost|fallen off the bus/i,
    "gpu_lost",
    'says that a GPU is lost: look for "Xid" in the kernel log, and reboot',
  ],
  [
    /no devices (?:were )?found|no AMD GPUs? (?:were )?found|no such device/i,
    "no_devices",
    "finds no GPU: check that one is there, and that this container or virtual machine may see it",
  ],
  [
    /couldn't communicate with the NVIDIA driver|driver (?:is )?not (?:loaded|initialized)|amdgpu .*not (?:found|loaded|initialized)/i,
    "driver_missing",
    "cannot reach the driver: check that its kernel module is loaded, and that it was built for " +
    "this kernel",
  ],
  [
    /libnvidia-ml|NVML shared library|libamd_smi/i,
    "driver_missing",
    "lacks its library: install the package of the driver's libraries, in the version of the driver",
  ],
  [
    /insufficient permission|permission denied|not permitted/i,
    "forbidden",
    "may not ask the driver: run it as a user who may open the GPU's devices",
  ],
  [
    /failed to initialize NVML: unknown error/i,
    "failed",
    "has lost its GPUs, as containers do when the host reloads systemd: restart the container",
  ],
];

/** Lines of a program's output that a sentence quotes. */
const QUOTED_WIDTH = 100;

/** The first line that says something, in quotes; empty where none does. */
function quoteFirstLine(text: string): string {
  const line = text.split("\n").map((line) => line.trim()).find((line) => line !== "");
  return line === undefined ? "" : quote(line, QUOTED_WIDTH);
}

/**
 * Why a program that ran to its end has given no figures.
 *
 * @example
 * ```ts
 * import { describeGpuExit } from "./gpu_failures.ts";
 * describeGpuExit("nvidia-smi", { code: 6, stdout: "No devices were found\n", stderr: "" }).kind; // "no_devices"
 * ```
 */
export function describeGpuExit(
  program: GpuProgram,
  exit: { readonly code: number; readonly stdout: string; readonly stderr: string },
): GpuFailure {
  const text = `${exit.stdout}\n${exit.stderr}`;
  for (const [pattern, kind, message] of FAILURE_ROWS) {
    if (pattern.test(text)) return { kind, message: `${program} ${message}` };
  }
  const said = quoteFirstLine(text);
  if (exit.code === 0) {
    return {
      kind: "unreadable",
      message: said === ""
        ? `${program} printed nothing: run it by hand to see what it says`
        : `${program} printed ${said}, which is not understood: run it by hand, and report it`,
    };
  }
  return {
    kind: "failed",
    message: `${program} failed with code ${exit.code}${said && ` and ${said}`}: run it by hand`,
  };
}

/** What to do where figures come late. Only NVIDIA's driver may be loaded anew for each sample, and kept. */
const SLOWNESS_ADVICE: Readonly<Record<GpuProgram, string>> = {
  "nvidia-smi": "turn persistence mode on (nvidia-smi -pm 1)",
  "amd-smi": "run amd-smi by hand to see how long it takes",
};

/** That a sample took long. */
export function describeSlowSample(program: GpuProgram, duration: Seconds): string {
  return `${program} took ${duration.toFixed(1)} s: ${SLOWNESS_ADVICE[program]}`;
}

/** Why a program has not run to its end, which is after `timeout`, or as soon as nobody waits any longer. */
export function describeGpuOutcome(
  program: GpuProgram,
  outcome: Exclude<ProgramOutcome, { readonly kind: "exited" }>,
  timeout: Seconds,
): GpuFailure {
  switch (outcome.kind) {
    case "missing":
      return { kind: "absent", message: `${program} is not on the PATH` };
    case "refused":
      return {
        kind: "refused",
        message: `${program} may not be started: check that it can be executed, or, where it was ` +
          "installed after this program was started, start this anew",
      };
    case "timeout":
      return {
        kind: "timeout",
        message: `${program} did not answer within ${timeout} s and was ended: the driver may ` +
          `hang; see the kernel log, and ${SLOWNESS_ADVICE[program]}`,
      };
    case "flooded":
      return {
        kind: "flooded",
        message: `${program} printed without end and was ended: check which program has that name`,
      };
    case "aborted":
      return {
        kind: "aborted",
        message: `${program} did not tell its figures in time: the driver may be slow; ` +
          SLOWNESS_ADVICE[program],
      };
  }
}
