/**
 * The processes of this machine, and the model servers among them.
 *
 * What they print is read by the codecs; a tool that is missing
 * or refused is something to say and no failure, and what the others tell is
 * used. Several who ask within moments get one listing. Rejected: `/proc`, which
 * Deno opens to programs with all permissions only.
 *
 * @module
 */

import type { Platform, ProgramOutcome } from "./platform.ts";
import { maskSecrets, sanitizeText } from "./text.ts";
import {
  type Bytes,
  BYTES_PER_MEBIBYTE,
  type Seconds,
  SECONDS_PER_DAY,
  SECONDS_PER_HOUR,
  SECONDS_PER_MINUTE,
} from "./units.ts";

/** What `ss` is called with: no heading, listening, TCP, numbers, processes. */
export const SS_ARGUMENTS: readonly string[] = ["-Hltnp"];

/** What `lsof` is called with: numbers, listening TCP sockets, process and name fields. */
export const LSOF_ARGUMENTS: readonly string[] = ["-nP", "-iTCP", "-sTCP:LISTEN", "-Fpn"];

/** A port that is listened on. */
export interface ListeningPort {
  readonly port: number;
  /** Addresses that it is bound to; `*`, `0.0.0.0` and `::` stand for all of this machine. */
  readonly addresses: readonly string[];
  /** Processes that hold it, as far as they may be seen. */
  readonly ownerPids: readonly number[];
}

/** Ports that are kept: a machine with more is no host of a few model servers. */
const MAX_PORTS = 4096;

/** `0.0.0.0:80`, `*:80`, `[::1]:80`, `127.0.0.53%lo:53`. */
const SOCKET_ADDRESS = /^(?:\[([^\]]*)\]|([^\s]*)):(\d{1,5})$/;

/** Collects sockets of the same port. */
function createCollector(): {
  readonly add: (name: string, pids: readonly number[]) => void;
  readonly list: () => readonly ListeningPort[];
} {
  const ports = new Map<number, { addresses: Set<string>; ownerPids: Set<number> }>();
  const add = (name: string, pids: readonly number[]): void => {
    const match = SOCKET_ADDRESS.exec(name);
    const port = Number(match?.[3]);
    if (match === null || !(port >= 1 && port <= 65_535)) return;
    if (!ports.has(port) && ports.size >= MAX_PORTS) return;
    const known = ports.get(port) ?? { addresses: new Set(), ownerPids: new Set() };
    ports.set(port, known);
    known.addresses.add((match[1] ?? match[2]).replace(/%.*$/, ""));
    for (const pid of pids) known.ownerPids.add(pid);
  };
  const list = (): readonly ListeningPort[] =>
    [...ports].sort(([a], [b]) => a - b).map(([port, { addresses, ownerPids }]) => ({
      port,
      addresses: [...addresses],
      ownerPids: [...ownerPids],
    }));
  return { add, list };
}

/**
 * The ports in `ss`'s output, in rising order.
 */
export function parseSsPorts(text: string): readonly ListeningPort[] {
  const collector = createCollector();
  for (const line of text.split("\n")) {
    const [state, , , local] = line.trim().split(/\s+/);
    if (state !== "LISTEN" || local === undefined) continue;
    collector.add(local, [...line.matchAll(/\bpid=(\d+)/g)].map(([, pid]) => Number(pid)));
  }
  return collector.list();
}

/** The ports in `lsof`'s output, in rising order. */
export function parseLsofPorts(text: string): readonly ListeningPort[] {
  const collector = createCollector();
  let pid: number | null = null;
  for (const line of text.split("\n")) {
    const value = line.slice(1).trimEnd();
    if (line[0] === "p") pid = Number(value);
    else if (line[0] === "n" && pid !== null && Number.isSafeInteger(pid)) {
      collector.add(value, [pid]);
    }
  }
  return collector.list();
}

/** Addresses that `localhost` leads to: those of this machine's loopback, and all of its own. */
const LOCALHOST_ADDRESSES: ReadonlySet<string> = new Set([
  "*",
  "0.0.0.0",
  "127.0.0.1",
  "::ffff:127.0.0.1",
  "::",
  "::1",
]);

/** The host by which a port of this machine is reached, as it stands in a URL. */
export function getLocalHost({ addresses }: ListeningPort): string {
  if (addresses.some((address) => LOCALHOST_ADDRESSES.has(address))) return "localhost";
  const [address] = addresses;
  return address.includes(":") ? `[${address}]` : address;
}

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
function parseElapsed(text: string): Seconds | null {
  const match = ELAPSED.exec(text);
  if (match === null) return null;
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0));
  return days * SECONDS_PER_DAY + hours * SECONDS_PER_HOUR + minutes * SECONDS_PER_MINUTE + seconds;
}

/**
 * The processes by their ids, in the order of the output.
 */
export function parseProcessTable(text: string): ProcessTable {
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
      startedSecondsAgo: parseElapsed(elapsed),
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

/** What was found, and what could not be found out. */
export interface ProcessListing {
  /** All that are listened on, whoever does. */
  readonly listening: readonly ListeningPort[];
  /** All processes by their ids. */
  readonly processes: ProcessTable;
  /** What is missing, and what to do about it; safe text, without a full stop. */
  readonly problems: readonly string[];
}

/** Lists the processes and model servers of this machine; never rejects. */
export type ProcessLister = () => Promise<ProcessListing>;

/** How long a program may take; on a busy machine with thousands of sockets they take a second. */
const PROGRAM_TIMEOUT: Seconds = 3;

/** What a program may print: ten thousand processes with long command lines. */
const MAX_OUTPUT: Bytes = 8 * BYTES_PER_MEBIBYTE;

/** How long a listing serves all who ask. */
const LISTING_LIFETIME: Seconds = 2;

/** Programs that list ports, the better one first. `lsof` ends with 1 where there are none. */
const PORT_PROGRAMS = [
  { name: "ss", systems: ["linux"], arguments: SS_ARGUMENTS, read: parseSsPorts, codes: [0] },
  {
    name: "lsof",
    systems: ["linux", "darwin"],
    arguments: LSOF_ARGUMENTS,
    read: parseLsofPorts,
    codes: [0, 1],
  },
] as const;

/** Why a program told nothing. */
function describeOutcome(name: string, outcome: ProgramOutcome): string {
  switch (outcome.kind) {
    case "missing":
      return `${name} is not installed`;
    case "refused":
      return `${name} may not be run: allow it with --allow-run=${name}`;
    case "exited":
      return `${name} failed with code ${outcome.code}`;
    case "timeout":
      return `${name} took longer than ${PROGRAM_TIMEOUT} s`;
    case "flooded":
      return `${name} printed too much`;
    case "aborted":
      return `${name} was ended`;
  }
}

async function runTool(
  platform: Platform,
  tool: { readonly name: string; readonly arguments: readonly string[] },
): Promise<ProgramOutcome> {
  return await platform.runProgram({
    name: tool.name,
    arguments: tool.arguments,
    timeout: PROGRAM_TIMEOUT,
    maxOutputBytes: MAX_OUTPUT,
  });
}

/** The ports that are listened on, or why they are not known. */
async function listPorts(platform: Platform): Promise<readonly ListeningPort[] | string> {
  const reasons: string[] = [];
  for (const program of PORT_PROGRAMS) {
    const systems: readonly string[] = program.systems;
    if (!systems.includes(platform.operatingSystem)) continue;
    const outcome = await runTool(platform, program);
    const codes: readonly number[] = program.codes;
    if (outcome.kind === "exited" && codes.includes(outcome.code)) {
      return program.read(outcome.stdout);
    }
    reasons.push(describeOutcome(program.name, outcome));
  }
  return reasons.join(", ");
}

async function listAll(platform: Platform): Promise<ProcessListing> {
  const [ports, processes] = await Promise.all([
    listPorts(platform),
    runTool(platform, { name: "ps", arguments: PS_ARGUMENTS }),
  ]);
  const problems: string[] = [];
  if (typeof ports === "string") {
    problems.push(`only the range of ports is scanned, as others are not known: ${ports}`);
  }
  const isRead = processes.kind === "exited" && processes.code === 0;
  if (!isRead) problems.push(`processes are not known: ${describeOutcome("ps", processes)}`);
  const table = parseProcessTable(isRead ? processes.stdout : "");
  const listening = typeof ports === "string" ? [] : ports;
  return { listening, processes: table, problems };
}

/** A lister for this machine; `null` on systems whose tools are not known, such as Windows. */
export function createProcessLister(platform: Platform): ProcessLister | null {
  const isKnown = PORT_PROGRAMS.some(({ systems }) =>
    (systems as readonly string[]).includes(platform.operatingSystem)
  );
  if (!isKnown) return null;
  let newest: { readonly listing: Promise<ProcessListing>; readonly at: Seconds } | null = null;
  return () => {
    const at = platform.monotonicSeconds();
    if (newest === null || at - newest.at > LISTING_LIFETIME) {
      newest = { listing: listAll(platform), at };
    }
    return newest.listing;
  };
}
