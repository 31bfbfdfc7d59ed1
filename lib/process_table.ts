/**
 * What `ps` prints into the processes of this machine.
 *
 * Layer 1, pure. The same arguments work with procps (Linux) and with the `ps`
 * of macOS and the BSDs: POSIX names of columns, each with an option and an
 * empty heading of its own, as in `pid=,ppid=` BSD takes all after the first
 * `=` for a heading; arguments last, as they contain blanks. Elapsed times are
 * `[[dd-]hh:]mm:ss` (POSIX `ps`, `etime`). A process may have written anything
 * over its arguments: they are made safe to print, and secrets are masked, here
 * and once. Lines that cannot be read are passed over. Rejected: `/proc`, which
 * Deno opens to programs with all permissions only.
 *
 * @module
 */

import { maskSecrets } from "./command_secrets.ts";
import { sanitizeText } from "./text.ts";
import { type Seconds, SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE } from "./units.ts";

/** What `ps` is called with. */
export const PS_ARGUMENTS: readonly string[] = [
  "-A",
  "-ww",
  ...["pid=", "ppid=", "pgid=", "etime=", "args="].flatMap((column) => ["-o", column]),
];

/** A process. */
export interface ProcessInfo {
  readonly pid: number;
  /** 0 for those that the kernel started. */
  readonly parentPid: number;
  readonly groupId: number;
  /** How long ago it started, to the second; `null` where `ps` does not say. */
  readonly startedSecondsAgo: Seconds | null;
  /** Its arguments with blanks between them, or the title that it has given itself. Safe, without secrets. */
  readonly commandLine: string;
  /** The same, cut at blanks: those inside of an argument cannot be told from those between two. */
  readonly arguments: readonly string[];
}

/** Processes by their ids. */
export type ProcessTable = ReadonlyMap<number, ProcessInfo>;

/** Characters of a command line that are looked at: that of a server with long JSON options has about 2,000. */
const MAX_COMMAND_LENGTH = 16_384;

/** Cells of a command line that are kept. */
const MAX_COMMAND_WIDTH = 4096;

/** Processes above another that are looked at: workers, their server, its shell, and what started that. */
const MAX_ANCESTORS = 64;

const LINE = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/;
const ELAPSED = /^(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)$/;

/** Seconds of `[[dd-]hh:]mm:ss`, or `null` where it is none. */
function readElapsed(text: string): Seconds | null {
  const match = ELAPSED.exec(text);
  if (match === null) return null;
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0));
  return days * SECONDS_PER_DAY + hours * SECONDS_PER_HOUR + minutes * SECONDS_PER_MINUTE + seconds;
}

/**
 * The processes by their ids, in the order of the output.
 *
 * @example
 * ```ts
 * import { readProcessTable } from "./process_table.ts";
 * readProcessTable("  7     1     7    01:05 vllm serve m").get(7)?.arguments; // ["vllm", "serve", "m"]
 * ```
 */
export function readProcessTable(text: string): ProcessTable {
  const processes = new Map<number, ProcessInfo>();
  for (const line of text.split("\n")) {
    const match = LINE.exec(line);
    if (match === null) continue;
    const [, pid, parentPid, groupId, elapsed, command] = match;
    const masked = maskSecrets(command.slice(0, MAX_COMMAND_LENGTH).trim());
    const commandLine = sanitizeText(masked, MAX_COMMAND_WIDTH);
    processes.set(Number(pid), {
      pid: Number(pid),
      parentPid: Number(parentPid),
      groupId: Number(groupId),
      startedSecondsAgo: readElapsed(elapsed),
      commandLine,
      arguments: commandLine.split(/\s+/),
    });
  }
  return processes;
}

/** A process and those above it, itself first; none where it is not in the table. */
export function listAncestors(table: ProcessTable, pid: number): readonly ProcessInfo[] {
  const chain: ProcessInfo[] = [];
  for (
    let process = table.get(pid);
    process !== undefined && chain.length < MAX_ANCESTORS && !chain.includes(process);
    process = table.get(process.parentPid)
  ) {
    chain.push(process);
  }
  return chain;
}
