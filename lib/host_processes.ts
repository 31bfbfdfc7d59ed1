/**
 * Lists the processes and listening ports of a machine with `ps`, `ss` and `lsof`. Deno opens
 * `/proc` only with all permissions.
 * @module
 */

import { identifyCommand } from "./dialect.ts";
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

/** No heading, listening TCP sockets, numeric, with processes. */
export const SS_ARGUMENTS: readonly string[] = ["-Hltnp"];
/** Numeric, listening TCP sockets, process and name fields. */
export const LSOF_ARGUMENTS: readonly string[] = ["-nP", "-iTCP", "-sTCP:LISTEN", "-Fpn"];

export interface ListeningPort {
  readonly port: number;
  /** `*`, `0.0.0.0` and `::` mean all interfaces. */
  readonly addresses: readonly string[];
  /** Empty if hidden, such as another user's. */
  readonly ownerPids: readonly number[];
}

const MAX_PORTS = 4096;
/** `0.0.0.0:80`, `*:80`, `[::1]:80`, `127.0.0.53%lo:53`. */
const SOCKET_ADDRESS = /^(?:\[([^\]]*)\]|([^\s]*)):(\d{1,5})$/;

type Socket = readonly [name: string, pids: readonly number[]];

/** Sorted by port. */
function collectPorts(sockets: readonly Socket[]): readonly ListeningPort[] {
  const ports = new Map<number, { addresses: Set<string>; ownerPids: Set<number> }>();
  for (const [name, pids] of sockets) {
    const match = SOCKET_ADDRESS.exec(name);
    const port = Number(match?.[3]);
    if (match === null || !(port >= 1 && port <= 65_535)) continue;
    if (!ports.has(port) && ports.size >= MAX_PORTS) continue;
    const entry = ports.get(port) ?? { addresses: new Set(), ownerPids: new Set() };
    ports.set(port, entry);
    entry.addresses.add((match[1] ?? match[2]).replace(/%.*$/, ""));
    for (const pid of pids) entry.ownerPids.add(pid);
  }
  return [...ports].sort(([a], [b]) => a - b).map(([port, { addresses, ownerPids }]) => (
    { port, addresses: [...addresses], ownerPids: [...ownerPids] }
  ));
}

export function parseSsPorts(text: string): readonly ListeningPort[] {
  return collectPorts(
    text.split("\n").flatMap((line): readonly Socket[] => {
      const [state, , , local] = line.trim().split(/\s+/);
      const pids = [...line.matchAll(/\bpid=(\d+)/g)].map(([, pid]) => Number(pid));
      return state !== "LISTEN" || local === undefined ? [] : [[local, pids]];
    }),
  );
}

export function parseLsofPorts(text: string): readonly ListeningPort[] {
  let pid = NaN;
  return collectPorts(
    text.split("\n").flatMap((line): readonly Socket[] => {
      const value = line.slice(1).trimEnd();
      if (line[0] === "p") pid = Number(value);
      return line[0] === "n" && Number.isSafeInteger(pid) ? [[value, [pid]]] : [];
    }),
  );
}

/** As the kernel writes them: words of 32 bits, the lowest byte first. */
function parseHexAddress(hex: string): string {
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) => (word.match(/../g) ?? []).reverse());
  if (bytes.length === 4) return bytes.map((byte) => parseInt(byte, 16)).join(".");
  return new URL(`http://[${(bytes.join("").match(/.{4}/g) ?? []).join(":")}]`).hostname;
}

/** Of `/proc/net/tcp` and `tcp6`, whose state 0A listens; owners are not in them. */
export function parseProcPorts(text: string): readonly ListeningPort[] {
  const sockets = text.matchAll(/^ *\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ 0A /gm);
  return collectPorts(
    [...sockets].map(([, address, port]) => [
      `${parseHexAddress(address)}:${parseInt(port, 16)}`,
      [],
    ]),
  );
}

const LOCALHOST_ADDRESSES: ReadonlySet<string> = new Set([
  "*",
  "0.0.0.0",
  "127.0.0.1",
  "::ffff:127.0.0.1",
  "::",
  "::1",
]);

/** Returns the host, as written in a URL, that reaches the port locally. */
export function getLocalHost({ addresses }: ListeningPort): string {
  if (addresses.some((address) => LOCALHOST_ADDRESSES.has(address))) return "localhost";
  const [address] = addresses;
  return address.includes(":") ? `[${address}]` : address;
}

export const PS_ARGUMENTS: readonly string[] = [
  "-A",
  "-ww",
  ...["pid=", "ppid=", "pgid=", "etime=", "user=", "args="].flatMap((column) => ["-o", column]),
];

export interface ProcessInfo {
  readonly pid: number;
  /** 0 if started by the kernel. */
  readonly parentPid: number;
  readonly groupId: number;
  /** To the second; `null` if `ps` does not say. */
  readonly startedSecondsAgo: Seconds | null;
  /** Name, or number if that is long; sanitized. */
  readonly user: string;
  /** Arguments joined by blanks, or the process title; sanitized, secrets masked. */
  readonly commandLine: string;
  /** The kind of server that the command line or title names; `null` if none. */
  readonly serverName: string | null;
  /** `commandLine` split at blanks, including those within an argument. */
  readonly arguments: readonly string[];
}

/** Keyed by pid. */
export type ProcessTable = ReadonlyMap<number, ProcessInfo>;
/** In characters; a server with long JSON options has about 2,000. */
const MAX_COMMAND_LENGTH = 16_384;
const MAX_COMMAND_WIDTH = 4096;
/** Worker, server, shell, and what started that: a handful. */
const MAX_ANCESTORS = 64;
const LINE = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(\S+)\s+(.*)$/;
const SPAN = /^(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+(?:\.\d+)?)$/;

/** `[[dd-]hh:]mm:ss`, or `mm:ss.cc` of CPU times on macOS. */
export function parseSpan(text: string): Seconds | null {
  const match = SPAN.exec(text);
  if (match === null) return null;
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0));
  return days * SECONDS_PER_DAY + hours * SECONDS_PER_HOUR + minutes * SECONDS_PER_MINUTE + seconds;
}

type Command = Pick<ProcessInfo, "commandLine" | "serverName" | "arguments">;

function parseCommand(text: string): Command {
  const masked = maskSecrets(text.slice(0, MAX_COMMAND_LENGTH).trim());
  const commandLine = sanitizeText(masked, MAX_COMMAND_WIDTH);
  return {
    commandLine,
    // Once: what follows asks this of every process and its ancestors. Names in brackets are those
    // of kernel threads, of which a large machine has thousands.
    serverName: commandLine.startsWith("[") ? null : identifyCommand(commandLine),
    arguments: commandLine.split(/\s+/),
  };
}

/** Parses listings of one machine: most commands are those of the listing before. */
function createProcessParser(): (text: string) => ProcessTable {
  let known = new Map<string, Command>();
  return (text) => {
    const processes = new Map<number, ProcessInfo>();
    const commands = new Map<string, Command>();
    for (const line of text.split("\n")) {
      const match = LINE.exec(line);
      if (match === null) continue;
      const [, pid, parentPid, groupId, elapsed, user, text] = match;
      const command = known.get(text) ?? parseCommand(text);
      commands.set(text, command);
      processes.set(Number(pid), {
        pid: Number(pid),
        parentPid: Number(parentPid),
        groupId: Number(groupId),
        startedSecondsAgo: parseSpan(elapsed),
        user: sanitizeText(user),
        ...command,
      });
    }
    known = commands;
    return processes;
  };
}

/** Parses the output of `ps`, in its order. */
export function parseProcessTable(text: string): ProcessTable {
  return createProcessParser()(text);
}

/** Returns the process itself, then its ancestors; empty if the pid is unknown. */
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

export interface ProcessListing {
  /** Of all users. */
  readonly listening: readonly ListeningPort[];
  readonly processes: ProcessTable;
  /** One sanitized sentence each, without a full stop. */
  readonly problems: readonly string[];
}

/** Never rejects. */
export type ProcessLister = () => Promise<ProcessListing>;
type Asked = Pick<Platform, "operatingSystem" | "runProgram" | "monotonicSeconds">;

/** A busy machine with thousands of sockets takes a second. */
const PROGRAM_TIMEOUT: Seconds = 3;
/** Room for ten thousand processes with long command lines. */
const MAX_OUTPUT: Bytes = 8 * BYTES_PER_MEBIBYTE;
const LIMITS = { timeout: PROGRAM_TIMEOUT, maxOutputBytes: MAX_OUTPUT };

const LISTING_LIFETIME: Seconds = 2;

/** In order of preference. `lsof` exits with 1 if there is no socket. */
const PORT_PROGRAMS = [
  { name: "ss", systems: ["linux"], arguments: SS_ARGUMENTS, parse: parseSsPorts, exitCodes: [0] },
  {
    name: "lsof",
    systems: ["linux", "darwin"],
    arguments: LSOF_ARGUMENTS,
    parse: parseLsofPorts,
    exitCodes: [0, 1],
  },
  {
    // Behind ssh, in containers without either. This program may not start it here.
    name: "cat",
    systems: ["linux"],
    arguments: ["/proc/net/tcp", "/proc/net/tcp6"],
    parse: parseProcPorts,
    exitCodes: [0, 1],
  },
] as const;

export function describeFailure(name: string, outcome: ProgramOutcome): string {
  if (outcome.kind === "exited") return `${name} failed with code ${outcome.code}`;
  return {
    missing: `${name} is not installed`,
    refused: `${name} may not be run: allow it with --allow-run=${name}`,
    timeout: `${name} took longer than ${PROGRAM_TIMEOUT} s`,
    flooded: `${name} printed too much`,
    aborted: `${name} was cancelled`,
  }[outcome.kind];
}

/** Returns the ports, or why no tool could list them. */
async function listPorts(machine: Asked): Promise<readonly ListeningPort[] | string> {
  const reasons: string[] = [];
  for (const program of PORT_PROGRAMS) {
    const systems: readonly string[] = program.systems;
    if (!systems.includes(machine.operatingSystem)) continue;
    const { name, arguments: arguments_ } = program;
    const outcome = await machine.runProgram({ name, arguments: arguments_, ...LIMITS });
    const exitCodes: readonly number[] = program.exitCodes;
    if (outcome.kind === "exited" && exitCodes.includes(outcome.code)) {
      return program.parse(outcome.stdout);
    }
    if (name !== "cat") reasons.push(describeFailure(name, outcome));
  }
  return reasons.join(", ");
}

async function listAll(
  machine: Asked,
  parse: ReturnType<typeof createProcessParser>,
): Promise<ProcessListing> {
  const [ports, processes] = await Promise.all([
    listPorts(machine),
    machine.runProgram({ name: "ps", arguments: PS_ARGUMENTS, ...LIMITS }),
  ]);
  const problems: string[] = [];
  if (typeof ports === "string") {
    problems.push(`listening ports are unknown (${ports}): scanning only the port range`);
  }
  const hasTable = processes.kind === "exited" && processes.code === 0;
  if (!hasTable) problems.push(`processes are unknown: ${describeFailure("ps", processes)}`);
  const table = parse(hasTable ? processes.stdout : "");
  const listening = typeof ports === "string" ? [] : ports;
  return { listening, processes: table, problems };
}

/**
 * Returns `null` on systems without these tools, such as Windows.
 * @param lifetime Callers within this time share one listing.
 */
export function createProcessLister(
  machine: Asked,
  lifetime = LISTING_LIFETIME,
): ProcessLister | null {
  const isKnown = PORT_PROGRAMS.some(({ systems }) =>
    (systems as readonly string[]).includes(machine.operatingSystem)
  );
  if (!isKnown) return null;
  const parse = createProcessParser();
  let newest: { readonly listing: Promise<ProcessListing>; readonly at: Seconds } | null = null;
  return () => {
    const at = machine.monotonicSeconds();
    if (newest === null || at - newest.at > lifetime) {
      newest = { listing: listAll(machine, parse), at };
    }
    return newest.listing;
  };
}
