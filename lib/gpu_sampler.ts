/**
 * Runs nvidia-smi, or amd-smi where nvidia-smi is absent or finds no GPU, and samples the GPUs.
 *
 * Programs run one after the other, each killed after its time limit. After a failure none is
 * started for a while. Rejected: one nvidia-smi that runs on with `-l`. Its silence cannot be told
 * from a slow driver, it outlives a killed parent, and the processes need a second one. It would
 * save 1.3 ms of CPU time a sample (Deno 2.9, Xeon).
 * @module
 */

import { createBackOff } from "./back_off.ts";
import { dropImpossibleFigures } from "./gpu_checks.ts";
import type { GpuFailure, GpuFailureKind, GpuProgram, GpuReport, GpuSample } from "./gpu_model.ts";
import type { GpuQuery } from "./gpu_nvidia_smi.ts";
import type { Machine } from "./host.ts";
import type { ProgramOutcome } from "./platform.ts";
import { absent, present } from "./reading.ts";
import { quote } from "./text.ts";
import {
  type Bytes,
  BYTES_PER_GIBIBYTE,
  BYTES_PER_MEBIBYTE,
  type Seconds,
  SECONDS_PER_MINUTE,
} from "./units.ts";

/** A pattern in the output, its meaning, and a message to follow the program's name. */
type FailureRow = readonly [pattern: RegExp, kind: GpuFailureKind, message: string];

const FAILURE_ROWS: readonly FailureRow[] = [
  [
    /driver\/library version mismatch/i,
    "driver_mismatch",
    "does not match the loaded driver, as after an update: reboot, or reload the nvidia modules",
  ],
  [
    /GPU is lost|fallen off the bus/i,
    "gpu_lost",
    'reports a lost GPU: look for "Xid" in the kernel log, and reboot',
  ],
  [
    /no devices (?:were )?found|no AMD GPUs? (?:were )?found|no such device/i,
    "no_devices",
    "finds no GPU: check that one is installed and visible to this container or virtual machine",
  ],
  [
    /couldn't communicate with the NVIDIA driver|driver (?:is )?not (?:loaded|initialized)|amdgpu .*not (?:found|loaded|initialized)/i,
    "driver_missing",
    "cannot reach the driver: check that its kernel module is loaded and built for this kernel",
  ],
  [
    /libnvidia-ml|NVML shared library|libamd_smi/i,
    "driver_missing",
    "does not find its library: install the driver's library package, in the driver's version, " +
    "or make its folder known to ldconfig (LD_LIBRARY_PATH is passed on only by deno run -A)",
  ],
  [
    /missing the following required groups|required groups:/i,
    "forbidden",
    "may not open the GPUs: add this user to the groups render and video (sudo usermod -aG " +
    "render,video USER), and log in again",
  ],
  [
    /insufficient permission|permission denied|not permitted/i,
    "forbidden",
    "has no access to the driver: run it as a user who can open the GPU devices",
  ],
  [
    /failed to initialize NVML: unknown error/i,
    "failed",
    "lost its GPUs, as happens in containers when the host reloads systemd: restart the container",
  ],
];

const QUOTED_WIDTH = 100;

/** Empty if there is no such line. */
function quoteFirstLine(text: string): string {
  const line = text.split("\n").map((line) => line.trim()).find((line) => line !== "");
  return line === undefined ? "" : quote(line, QUOTED_WIDTH);
}

/** Explains why a program that exited gave no figures. */
export function describeGpuExit(
  program: GpuProgram,
  exit: { readonly code: number; readonly stdout: string; readonly stderr: string },
): GpuFailure {
  const text = `${exit.stdout}\n${exit.stderr}`;
  for (const [pattern, kind, message] of FAILURE_ROWS) {
    if (pattern.test(text)) return { kind, message: `${program} ${message}` };
  }
  const said = quoteFirstLine(text);
  if (exit.code !== 0) {
    const output = said && ` and printed ${said}`;
    const message = `${program} failed with code ${exit.code}${output}: run it by hand`;
    return { kind: "failed", message };
  }
  return {
    kind: "unreadable",
    message: said === ""
      ? `${program} printed nothing: run it by hand to see what it says`
      : `${program} printed ${said}, which cannot be parsed: run it by hand, and report it`,
  };
}

/** Only NVIDIA's driver may be reloaded for each sample, which persistence mode avoids. */
const SLOWNESS_ADVICE: Readonly<Record<GpuProgram, string>> = {
  "nvidia-smi": "turn persistence mode on (nvidia-smi -pm 1)",
  "amd-smi": "run amd-smi by hand to see how long it takes",
};

export function describeSlowSample(program: GpuProgram, duration: Seconds): string {
  return `${program} took ${duration.toFixed(1)} s: ${SLOWNESS_ADVICE[program]}`;
}

/** Explains why a program did not finish. */
export function describeGpuOutcome(
  program: GpuProgram,
  outcome: Exclude<ProgramOutcome, { readonly kind: "exited" }>,
  timeout: Seconds,
): GpuFailure {
  const { kind } = outcome;
  if (kind === "missing") return { kind: "absent", message: `${program} is not on the PATH` };
  const advice = SLOWNESS_ADVICE[program];
  if (kind === "refused" && outcome.message.includes("--allow-run")) {
    const message =
      `${program} may not be started: run Deno with --allow-run=${program},ps,ss,lsof`;
    return { kind, message };
  }
  const messages = {
    refused: "cannot be started: check that it is executable; if it was installed after " +
      "vllm-htop started, restart vllm-htop",
    timeout: `did not answer within ${timeout} s and was killed: the driver may hang; see the ` +
      `kernel log, and ${advice}`,
    flooded: "printed without end and was killed: check which program has that name",
    aborted: `sent no data in time: the driver may be slow; ${advice}`,
  };
  return { kind, message: `${program} ${messages[kind]}` };
}

export interface GpuSampler {
  /**
   * Never rejects. Concurrent calls share a sample. During the back-off after a failure it returns
   * that failure.
   */
  readonly sample: (signal?: AbortSignal) => Promise<GpuReport | GpuFailure>;
  readonly close: () => void;
}

/** amd-smi is written in Python and starts slowly. */
const TIME_LIMITS: Readonly<Record<GpuProgram, Seconds>> = { "nvidia-smi": 2, "amd-smi": 5 };
/** `-q` prints 200 KiB for eight GPUs with MIG. */
const MAX_OUTPUT_BYTES: Bytes = 2 * BYTES_PER_MEBIBYTE;
/** More often where the memory in use changes. */
const PROCESS_INTERVAL: Seconds = 10;
const getPause = createBackOff({ initial: 5, max: SECONDS_PER_MINUTE });
/** Warn beyond this; amd-smi needs as long to start. */
const SLOW_SAMPLE: Seconds = 1;
/** After these failures of nvidia-smi, try amd-smi. */
const TRY_NEXT: ReadonlySet<GpuFailureKind> = new Set(["absent", "no_devices", "driver_missing"]);

export function isGpuFailure(outcome: GpuReport | GpuFailure): outcome is GpuFailure {
  return "kind" in outcome;
}

type SampleFindings = Pick<GpuReport, "gpus" | "processes" | "warnings">;
type Exit = Extract<ProgramOutcome, { readonly kind: "exited" }>;

type SamplerMachine = Pick<
  Machine,
  "runProgram" | "systemMemory" | "monotonicSeconds" | "epochSeconds"
>;

/** Returns a failure unless the program exits. */
type Run = (arguments_: readonly string[]) => Promise<Exit | GpuFailure>;

function createRun(machine: SamplerMachine, name: GpuProgram, signal: AbortSignal): Run {
  const timeout = TIME_LIMITS[name];
  return async (arguments_) => {
    const call = { name, arguments: arguments_, timeout, maxOutputBytes: MAX_OUTPUT_BYTES, signal };
    const outcome = await machine.runProgram(call);
    return outcome.kind === "exited" ? outcome : describeGpuOutcome(name, outcome, timeout);
  };
}

/** `null` unless it exited with code 0. */
function takeOutput(exit: Exit | GpuFailure): string | null {
  return exit.kind === "exited" && exit.code === 0 ? exit.stdout : null;
}

/** Runs two more programs if a GPU is in MIG mode. */
async function askForMig(
  run: Run,
  gpus: readonly GpuSample[],
  questions: Readonly<Record<"list" | "detail", readonly string[]>>,
): Promise<{ readonly list: string; readonly detail: string }> {
  if (!gpus.some((gpu) => gpu.isMigEnabled.value === true)) return { list: "", detail: "" };
  const list = takeOutput(await run(questions.list)) ?? "";
  return { list, detail: takeOutput(await run(questions.detail)) ?? "" };
}

/** What does not change while the program works, and what seldom does. */
interface SamplerMemory {
  query: GpuQuery | null;
  fixed: string | null;
  /** What a program printed of processes. */
  listed: {
    readonly arguments: readonly string[];
    readonly text: string;
    readonly memory: string;
    readonly at: Seconds;
  } | null;
}

/** In whole GiB. */
function describeMemory(gpus: readonly GpuSample[]): string {
  return gpus.map(({ memoryUsedBytes: { value } }) => Math.round((value ?? 0) / BYTES_PER_GIBIBYTE))
    .join(" ");
}

/**
 * Processes come and go seldom, and with their memory; a start of the program costs as much as all
 * figures. `null` if it fails.
 */
async function listGpuProcesses(
  run: Run,
  arguments_: readonly string[],
  { memory, machine, gpus }: {
    readonly memory: SamplerMemory;
    readonly machine: SamplerMachine;
    readonly gpus: readonly GpuSample[];
  },
): Promise<string | null> {
  const at = machine.monotonicSeconds();
  const inUse = describeMemory(gpus);
  const { listed } = memory;
  const isSame = listed?.arguments === arguments_ && listed.memory === inUse;
  if (isSame && at - listed.at < PROCESS_INTERVAL) return listed.text;
  const text = takeOutput(await run(arguments_));
  memory.listed = text === null ? null : { arguments: arguments_, text, memory: inUse, at };
  return text;
}

/** Asked first: where the program is not installed, its parser is not loaded. */
const NVIDIA_HELP_ARGUMENTS: readonly string[] = ["--help-query-gpu"];
/** Likewise: names and limits. */
const AMD_STATIC_ARGUMENTS: readonly string[] = ["static", "--json"];

async function sampleNvidia(
  run: Run,
  machine: SamplerMachine,
  memory: SamplerMemory,
): Promise<SampleFindings | GpuFailure> {
  const help = memory.query === null ? await run(NVIDIA_HELP_ARGUMENTS) : null;
  if (help !== null && help.kind !== "exited") return help;
  const smi = await import("./gpu_nvidia_smi.ts");
  memory.query ??= smi.planGpuQuery(help === null ? "" : takeOutput(help) ?? "");
  const answer = await run(smi.listGpuQueryArguments(memory.query));
  if (answer.kind !== "exited") return answer;
  const { gpus, warnings } = smi.parseGpuTable(answer.stdout, memory.query);
  if (gpus.length === 0) return describeGpuExit("nvidia-smi", answer);
  const mig = await askForMig(run, gpus, smi.MIG_ARGUMENTS);
  const found = smi.addMigInstances(gpus, mig);
  const whole = found.some(smi.sharesMemory)
    ? smi.completeUnifiedMemory(found, await machine.systemMemory())
    : found;
  const context = { memory, machine, gpus: found };
  const apps = await listGpuProcesses(run, smi.COMPUTE_APPS_ARGUMENTS, context);
  return {
    gpus: whole,
    processes: apps === null
      ? absent("unreadable")
      : present(smi.parseComputeApps(apps, whole, mig.detail)),
    warnings,
  };
}

async function sampleAmd(
  run: Run,
  machine: SamplerMachine,
  memory: SamplerMemory,
): Promise<SampleFindings | GpuFailure> {
  if (memory.fixed === null) {
    const fixed = await run(AMD_STATIC_ARGUMENTS);
    if (fixed.kind !== "exited") return fixed;
    memory.fixed = takeOutput(fixed);
  }
  const smi = await import("./gpu_amd_smi.ts");
  const metric = await run(smi.AMD_METRIC_ARGUMENTS);
  if (metric.kind !== "exited") return metric;
  const gpus = smi.parseAmdGpus({ metric: metric.stdout, fixed: memory.fixed ?? "" });
  if (gpus === null) return describeGpuExit("amd-smi", metric);
  const context = { memory, machine, gpus };
  const listed = await listGpuProcesses(run, smi.AMD_PROCESS_ARGUMENTS, context);
  const processes = smi.parseAmdProcesses(listed ?? "", gpus);
  return {
    gpus,
    processes: processes === null ? absent("unreadable") : present(processes),
    warnings: [],
  };
}

/** Prefers the program that is installed. */
function chooseFailure(nvidia: GpuFailure, amd: GpuFailure): GpuFailure {
  if (amd.kind !== "absent") return nvidia.kind === "absent" ? amd : nvidia;
  if (nvidia.kind !== "absent") return nvidia;
  return { kind: "absent", message: "neither nvidia-smi nor amd-smi is on the PATH" };
}

async function sampleOnce(
  machine: SamplerMachine,
  memory: SamplerMemory,
  signal: AbortSignal,
): Promise<GpuReport | GpuFailure> {
  const startedAt = machine.monotonicSeconds();
  const finish = (program: GpuProgram, findings: SampleFindings): GpuReport => {
    const sampledAt = machine.monotonicSeconds();
    const duration = sampledAt - startedAt;
    const checked = dropImpossibleFigures(program, findings);
    const isSlow = program === "nvidia-smi" && duration > SLOW_SAMPLE;
    const slowness = isSlow ? [describeSlowSample(program, duration)] : [];
    const warnings = [...checked.warnings, ...slowness];
    const sampledAtEpoch = machine.epochSeconds();
    return { program, sampledAt, sampledAtEpoch, duration, ...checked, warnings };
  };
  const nvidia = await sampleNvidia(createRun(machine, "nvidia-smi", signal), machine, memory);
  if (!("kind" in nvidia)) return finish("nvidia-smi", nvidia);
  memory.query = null;
  if (!TRY_NEXT.has(nvidia.kind)) return nvidia;
  const amd = await sampleAmd(createRun(machine, "amd-smi", signal), machine, memory);
  if (!("kind" in amd)) return finish("amd-smi", amd);
  memory.fixed = memory.listed = null;
  return chooseFailure(nvidia, amd);
}

/** Starts no program until `sample` is called. */
export function createGpuSampler(machine: SamplerMachine): GpuSampler {
  const closed = new AbortController();
  const memory: SamplerMemory = { query: null, fixed: null, listed: null };
  let running: Promise<GpuReport | GpuFailure> | null = null;
  let failure: GpuFailure | null = null;
  let failures = 0;
  let nextAt = -Infinity;
  const take = async (signal?: AbortSignal): Promise<GpuReport | GpuFailure> => {
    const signals = signal === undefined ? [closed.signal] : [closed.signal, signal];
    const outcome = await sampleOnce(machine, memory, AbortSignal.any(signals));
    if (!isGpuFailure(outcome)) {
      failure = null;
      failures = 0;
    } else if (outcome.kind !== "aborted") {
      failure = outcome;
      nextAt = machine.monotonicSeconds() + getPause(++failures);
    }
    return outcome;
  };
  return {
    sample: (signal) => {
      if (running !== null) return running;
      if (failure !== null && machine.monotonicSeconds() < nextAt) return Promise.resolve(failure);
      running = take(signal).finally(() => running = null);
      return running;
    },
    close: () => closed.abort(),
  };
}
