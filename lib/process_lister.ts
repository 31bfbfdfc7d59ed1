/**
 * The processes of this machine, and the model servers among them.
 *
 * Layer 5, effects: runs `ss` (Linux) or `lsof` (macOS, or where there is no
 * `ss`), and `ps`. What they print is read by the codecs; a tool that is missing
 * or refused is something to say and no failure, and what the others tell is
 * used. Several who ask within moments get one listing. Rejected: `/proc`, which
 * Deno opens to programs with all permissions only.
 *
 * @module
 */

import {
  type ListeningPort,
  LSOF_ARGUMENTS,
  readLsofPorts,
  readSsPorts,
  SS_ARGUMENTS,
} from "./listening_ports.ts";
import type { Platform, ProgramOutcome } from "./platform.ts";
import { type ProcessTable, PS_ARGUMENTS, readProcessTable } from "./process_table.ts";
import { findServerPorts, type ServerPort } from "./server_processes.ts";
import { type Bytes, BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

/** What was found, and what could not be found out. */
export interface Listing {
  /** In rising order. */
  readonly ports: readonly ServerPort[];
  /** All that are listened on, whoever does. */
  readonly listening: readonly ListeningPort[];
  /** All processes by their ids. */
  readonly processes: ProcessTable;
  /** What is missing, and what to do about it; safe text, without a full stop. */
  readonly problems: readonly string[];
}

/** Lists the processes and model servers of this machine; never rejects. */
export type ProcessLister = () => Promise<Listing>;

/** How long a program may take; on a busy machine with thousands of sockets they take a second. */
const PROGRAM_TIMEOUT: Seconds = 3;

/** What a program may print: ten thousand processes with long command lines. */
const MAX_OUTPUT: Bytes = 8 * BYTES_PER_MEBIBYTE;

/** How long a listing serves all who ask. */
const FRESH_SPAN: Seconds = 2;

/** Programs that list ports, the better one first. `lsof` ends with 1 where there are none. */
const PORT_PROGRAMS = [
  { name: "ss", systems: ["linux"], arguments: SS_ARGUMENTS, read: readSsPorts, codes: [0] },
  {
    name: "lsof",
    systems: ["linux", "darwin"],
    arguments: LSOF_ARGUMENTS,
    read: readLsofPorts,
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

async function listAll(platform: Platform): Promise<Listing> {
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
  const table = readProcessTable(isRead ? processes.stdout : "");
  const listening = typeof ports === "string" ? [] : ports;
  return { ports: findServerPorts(listening, table), listening, processes: table, problems };
}

/** A lister for this machine; `null` on systems whose tools are not known, such as Windows. */
export function createProcessLister(platform: Platform): ProcessLister | null {
  const isKnown = PORT_PROGRAMS.some(({ systems }) =>
    (systems as readonly string[]).includes(platform.operatingSystem)
  );
  if (!isKnown) return null;
  let newest: { readonly listing: Promise<Listing>; readonly at: Seconds } | null = null;
  return () => {
    const at = platform.monotonicSeconds();
    if (newest === null || at - newest.at > FRESH_SPAN) newest = { listing: listAll(platform), at };
    return newest.listing;
  };
}
