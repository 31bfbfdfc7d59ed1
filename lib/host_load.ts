/**
 * CPU, memory and load of a machine, and the CPU of its servers' processes, as means of the last
 * half minute: cumulative times are differenced between samples. Deno opens `/proc` only with all
 * permissions; else `ps` gives the times, on Linux in whole seconds.
 * @module
 */

import type { ProcessRole } from "./dialect_model.ts";
import type { Machine } from "./host.ts";
import { parseSpan } from "./host_processes.ts";
import type { ProcessorTimes, SystemMemory } from "./platform.ts";
import { absent, present, type Reading } from "./reading.ts";
import { type Bytes, BYTES_PER_MEBIBYTE, type Ratio, type Seconds } from "./units.ts";

export interface ServerProcess {
  readonly pid: number;
  /** Command line or title, sanitized, secrets masked. */
  readonly name: string;
  readonly user: string;
  readonly role: ProcessRole;
  readonly endpointKey: string;
  /** `null` if it works for several. */
  readonly engine: string | null;
}

/** CPU time since each process started, by pid. */
export interface CpuTimes {
  readonly at: Seconds;
  /** Times are cut to multiples of this. */
  readonly resolution: Seconds;
  readonly byPid: ReadonlyMap<number, Seconds>;
}

/** `null` is unknown. */
export interface HostSample {
  readonly at: Seconds;
  readonly processors: ProcessorTimes | null;
  readonly memory: SystemMemory | null;
  readonly loadAverage: number | null;
  readonly processes: readonly ServerProcess[];
  readonly cpuTimes: CpuTimes | null;
}

interface ProcessLoad extends ServerProcess {
  /** CPU seconds per second: 1 is a core. */
  readonly cpuCores: Reading;
  /** That the mean is taken over; 0 if it is absent. */
  readonly span: Seconds;
}

export interface HostLoad {
  readonly processorCount: Reading;
  /** Of all processors. */
  readonly cpuRatio: Reading<Ratio>;
  readonly memoryUsedBytes: Reading<Bytes>;
  readonly memoryTotalBytes: Reading<Bytes>;
  readonly loadAverage: Reading;
  readonly processes: readonly ProcessLoad[];
}

/** Times of Linux are in this unit. */
const TICKS_PER_SECOND = 100;
const PROC_RESOLUTION: Seconds = 1 / TICKS_PER_SECOND;
const CPU_WINDOW: Seconds = 30;
/** Coarse times need a window of this many units: then the error is at most 5 % of a core. */
const MIN_UNITS = 20;
/** A listing of a few processes takes milliseconds. */
const PS_LIMITS = { timeout: 3, maxOutputBytes: BYTES_PER_MEBIBYTE };

/** CPU time of `/proc/PID/stat`; the name in brackets may hold anything. `null` if unreadable. */
export function parseProcStat(text: string): Seconds | null {
  // utime and stime are the fields 14 and 15, of which the first two end with the name.
  const [userTicks, systemTicks] = text.slice(text.lastIndexOf(")") + 2).split(" ").slice(11, 13);
  const ticks = Number(userTicks) + Number(systemTicks ?? NaN);
  return Number.isFinite(ticks) ? ticks / TICKS_PER_SECOND : null;
}

export function listCpuTimeArguments(pids: readonly number[]): readonly string[] {
  return ["-o", "pid=", "-o", "time=", "-p", pids.join(",")];
}

export function parsePsCpuTimes(text: string): Pick<CpuTimes, "byPid" | "resolution"> {
  const byPid = new Map<number, Seconds>();
  for (const line of text.split("\n")) {
    const [, pid, time = ""] = /^\s*(\d+)\s+(\S+)\s*$/.exec(line) ?? [];
    const seconds = parseSpan(time);
    if (seconds !== null) byPid.set(Number(pid), seconds);
  }
  return { byPid, resolution: text.includes(".") ? PROC_RESOLUTION : 1 };
}

type LoadMachine = Pick<
  Machine,
  | ("monotonicSeconds" | "readTextFile" | "runProgram")
  | ("processorTimes" | "systemMemory" | "loadAverage")
>;

async function readProcTimes(
  machine: LoadMachine,
  pids: readonly number[],
): Promise<CpuTimes["byPid"]> {
  const times = await Promise.all(pids.map(async (pid) => {
    const text = await machine.readTextFile(`/proc/${pid}/stat`).catch(() => "");
    return [pid, parseProcStat(text)] as const;
  }));
  return new Map(times.flatMap(([pid, time]) => time === null ? [] : [[pid, time] as const]));
}

async function readCpuTimes(
  machine: LoadMachine,
  pids: readonly number[],
): Promise<CpuTimes | null> {
  if (pids.length === 0) return null;
  const byPid = await readProcTimes(machine, pids);
  const at = machine.monotonicSeconds();
  if (byPid.size > 0) return { at, byPid, resolution: PROC_RESOLUTION };
  const call = { name: "ps", arguments: listCpuTimeArguments(pids), ...PS_LIMITS };
  const outcome = await machine.runProgram(call);
  if (outcome.kind !== "exited" || outcome.code !== 0) return null;
  return { at: machine.monotonicSeconds(), ...parsePsCpuTimes(outcome.stdout) };
}

/**
 * Never rejects.
 * @param options.readsTimes Default true: reads the CPU times of the processes.
 */
export async function sampleHost(
  machine: LoadMachine,
  processes: readonly ServerProcess[],
  { readsTimes = true } = {},
): Promise<HostSample> {
  const [processors, memory, loadAverage, cpuTimes] = await Promise.all([
    machine.processorTimes(),
    machine.systemMemory(),
    machine.loadAverage(),
    readCpuTimes(machine, readsTimes ? processes.map(({ pid }) => pid) : []),
  ]);
  return {
    ...{ at: machine.monotonicSeconds(), processors, memory, loadAverage },
    processes,
    cpuTimes,
  };
}

/** Oldest first; drops what is older than the window. */
export function appendHostSample(
  samples: readonly HostSample[],
  sample: HostSample,
): readonly HostSample[] {
  return [...samples.filter(({ at }) => sample.at - at <= CPU_WINDOW), sample];
}

function computeCpuRatio(samples: readonly HostSample[]): Reading<Ratio> {
  const times = samples.flatMap(({ processors }) => processors ?? []);
  const [first, last] = [times[0], times[times.length - 1]];
  if (last === undefined) return absent("unsupported");
  const busy = last.busy - first.busy;
  const all = busy + last.idle - first.idle;
  if (times.length < 2 || all === 0) return absent("first_scrape");
  // Processors come and go, and some counters fall.
  return busy < 0 || busy > all ? absent("restarted") : present(busy / all);
}

function computeProcessLoad(
  process: ServerProcess,
  samples: readonly HostSample[],
): ProcessLoad {
  const { pid } = process;
  const known = samples.flatMap(({ cpuTimes }) => cpuTimes?.byPid.has(pid) ? cpuTimes : []);
  const [first, last] = [known[0], known[known.length - 1]];
  if (last === undefined) {
    const kind = samples.length < 2 ? "first_scrape" : "missing";
    return { ...process, cpuCores: absent(kind), span: 0 };
  }
  const span = last.at - first.at;
  const resolution = Math.max(first.resolution, last.resolution);
  if (span === 0 || span < MIN_UNITS * resolution) {
    return { ...process, cpuCores: absent("first_scrape"), span: 0 };
  }
  const spent = (last.byPid.get(pid) ?? NaN) - (first.byPid.get(pid) ?? NaN);
  // Another process has that pid now.
  if (spent < 0) return { ...process, cpuCores: absent("restarted"), span: 0 };
  return { ...process, cpuCores: present(spent / span), span };
}

/** @param samples Oldest first, at least one. */
export function computeHostLoad(samples: readonly HostSample[]): HostLoad {
  const { processors, memory, loadAverage, processes } = samples[samples.length - 1];
  const toReading = (value: number | null = null): Reading =>
    value === null ? absent("unsupported") : present(value);
  return {
    processorCount: toReading(processors?.count),
    cpuRatio: computeCpuRatio(samples),
    memoryUsedBytes: toReading(memory && memory.totalBytes - memory.availableBytes),
    memoryTotalBytes: toReading(memory?.totalBytes),
    loadAverage: toReading(loadAverage),
    processes: processes.map((process) => computeProcessLoad(process, samples)),
  };
}
