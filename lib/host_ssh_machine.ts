/**
 * A machine behind a session of ssh: its programs, files and load, asked as this machine's are.
 * @module
 */

import type { Machine } from "./host.ts";
import { quoteForShell, type ShellCall, writeProgram } from "./host_ssh_session.ts";
import type { Platform, ProcessorTimes, ProgramOutcome, SystemMemory } from "./platform.ts";
import { type Bytes, BYTES_PER_KIBIBYTE, BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

const FILE_LIMITS = { timeout: 3, maxOutputBytes: BYTES_PER_MEBIBYTE } as const;
/** Callers within this time share one reading. */
const LOAD_LIFETIME: Seconds = 0.5;
/** One program reads all three. */
const LOAD_COMMAND = "limit 3 cat /proc/loadavg /proc/meminfo /proc/stat </dev/null";

/** `user nice system idle iowait irq softirq steal`, of all processors; `null` if it is not there. */
export function parseProcessorTimes(text: string): ProcessorTimes | null {
  const match = /^cpu +(\d.*)$/m.exec(text);
  if (match === null) return null;
  const [user, nice, system, idle, waiting = 0, irq = 0, softIrq = 0, stolen = 0] = match[1]
    .split(" ").map(Number);
  return {
    busy: user + nice + system + irq + softIrq + stolen,
    idle: idle + waiting,
    count: text.match(/^cpu\d+ /gm)?.length ?? 1,
  };
}

/** Of `/proc/meminfo`, in KiB. */
export function parseSystemMemory(text: string): SystemMemory | null {
  const read = (name: string): Bytes | null => {
    const match = new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(text);
    return match === null ? null : Number(match[1]) * BYTES_PER_KIBIBYTE;
  };
  const [totalBytes, availableBytes] = [read("MemTotal"), read("MemAvailable")];
  return totalBytes === null || availableBytes === null ? null : { totalBytes, availableBytes };
}

/** The first figure of `/proc/loadavg`. */
export function parseLoadAverage(text: string): number | null {
  const match = /^(\d+\.\d+) \d+\.\d+ \d+\.\d+ \d+\/\d+ \d+$/m.exec(text);
  return match === null ? null : Number(match[1]);
}

/** Names of `uname -s` -> Deno's. */
const SYSTEMS: ReadonlyMap<string, string> = new Map([["Linux", "linux"], ["Darwin", "darwin"]]);

/**
 * @param call Answers `aborted` while there is no session.
 * @param getSystem The name that `uname -s` gave.
 */
export function createSshMachine(
  { monotonicSeconds, epochSeconds }: Pick<Platform, "monotonicSeconds" | "epochSeconds">,
  call: (call: ShellCall) => Promise<ProgramOutcome>,
  getSystem: () => string,
): Machine {
  let load: { readonly text: Promise<string>; readonly at: Seconds } | null = null;
  const print = async (command: string): Promise<string> => {
    const outcome = await call({ command, ...FILE_LIMITS });
    return outcome.kind === "exited" ? outcome.stdout : "";
  };
  const readLoad = (): Promise<string> => {
    const at = monotonicSeconds();
    if (load === null || at - load.at > LOAD_LIFETIME) load = { text: print(LOAD_COMMAND), at };
    return load.text;
  };
  return {
    ...{ monotonicSeconds, epochSeconds },
    get operatingSystem() {
      return SYSTEMS.get(getSystem()) ?? getSystem();
    },
    runProgram: (program) => call({ ...program, command: writeProgram(program) }),
    readTextFile: async (path) => {
      // By the shell itself: a process for each small file would cost more than reading it.
      const command = `while IFS= read -r l || [ -n "$l" ]; do printf '%s\\n' "$l"; done ` +
        `<${quoteForShell(path)}`;
      const outcome = await call({ command, ...FILE_LIMITS });
      if (outcome.kind === "exited" && outcome.code === 0) return outcome.stdout;
      throw new Error(`cannot read the file there: ${outcome.kind}`);
    },
    processorTimes: async () => parseProcessorTimes(await readLoad()),
    systemMemory: async () => parseSystemMemory(await readLoad()),
    loadAverage: async () => parseLoadAverage(await readLoad()),
  };
}
