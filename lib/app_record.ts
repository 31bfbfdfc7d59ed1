/**
 * Records a session: every message to its state but those of keys, with the raw bodies of scrapes.
 * No header and no credential is in them, and command lines are masked. Processes are those that
 * tell whose a GPU is.
 * @module
 */

import { dispatch, pollForever, type Session } from "./app_session.ts";
import { watchHosts } from "./app_hosts.ts";
import { EXIT_CONFIGURATION } from "./cli_exit.ts";
import type { DiscoveryError } from "./discovery.ts";
import { describeFileError, describeWriteError, isMissingFile } from "./files.ts";
import { identifyForwarder } from "./host_commands.ts";
import { listAncestors } from "./host_processes.ts";
import type { GrowingFile, Platform } from "./platform.ts";
import {
  createRecorder,
  type Entry,
  type Recorder,
  type RecordSink,
  START_STREAM,
} from "./record.ts";
import { BLOCK_HEADER_BYTES, parseBlockHeader } from "./record_block.ts";
import { encodeValue } from "./record_values.ts";
import type { Message } from "./state.ts";
import type { MachineProcesses } from "./state_gpus.ts";
import type { Command } from "./state_ui.ts";
import { quote, sanitizeText } from "./text.ts";
import { type Bytes, BYTES_PER_MEBIBYTE } from "./units.ts";
import { VERSION } from "./version.ts";
import { formatBytes, formatCount, formatDuration } from "./view_format.ts";

const STANDARD_OUTPUT = "-";
/** Between two lines of progress, if no terminal shows one that changes. */
const PROGRESS_STEP: Bytes = 10 * BYTES_PER_MEBIBYTE;

/** Follows a file's name. */
function describeProblem(error: unknown): string {
  const isRefused = error instanceof Error && error.name === "NotCapable";
  const advice = isRefused ? "; or write to standard output: vllm-htop record - > FILE" : "";
  return `cannot be written: ${describeWriteError(error)}${advice}`;
}

/** `null` if a recording may begin or go on there; else what the file is, to follow its name. */
async function findFault({ openFile }: Platform, path: string): Promise<string | null> {
  try {
    const file = await openFile(path);
    const head = await file.read(0, BLOCK_HEADER_BYTES);
    file.close();
    return head.length === 0 || parseBlockHeader(head) !== null
      ? null
      : "is not a recording: give another name, as it would be spoilt";
  } catch (error) {
    return isMissingFile(error) ? null : describeFileError(error);
  }
}

async function openSink(platform: Platform, path: string): Promise<RecordSink & { size: Bytes }> {
  if (path === STANDARD_OUTPUT) {
    return { append: platform.stdio.writeStdout, rotate: null, close: () => {}, size: 0 };
  }
  let file: GrowingFile = await platform.openGrowingFile(path);
  return {
    size: file.size(),
    append: (block) => file.append(block),
    rotate: async () => {
      await platform.renameFile(path, `${path}.1`);
      file.close();
      file = await platform.openGrowingFile(path);
    },
    close: () => file.close(),
  };
}

/** Those by which the owners of GPU processes are found, with their ancestors. */
function reduceMachine(
  { processes, listeners }: MachineProcesses,
  gpuPids: readonly number[],
): MachineProcesses {
  const forwarders = processes.values().filter((one) => identifyForwarder(one) === "container");
  const pids = [
    ...gpuPids,
    ...listeners.values().toArray().flat(),
    ...forwarders.map((one) => one.pid),
  ];
  const wanted = new Set(
    pids.flatMap((pid) => listAncestors(processes, pid).map((process) => process.pid)),
  );
  return { processes: new Map(processes.entries().filter(([pid]) => wanted.has(pid))), listeners };
}

const BODY_DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes that are no UTF-8 become characters of the same codes. */
function decodeBody(body: Uint8Array): { readonly text: string; readonly isBinary: boolean } {
  try {
    return { text: BODY_DECODER.decode(body), isBinary: false };
  } catch {
    return { text: Array.from(body, (byte) => String.fromCharCode(byte)).join(""), isBinary: true };
  }
}

type Note = Pick<Entry, "stream" | "value" | "text">;

/** The others change only what the user sees. */
const COMMANDS_THAT_COUNT: ReadonlySet<Command> = new Set(["faster", "slower", "mark", "unmark"]);

/** Those of keys change only what the user sees; `recalled` comes with `--once`. */
const IS_RECORDED: Readonly<Record<Message["kind"], boolean>> = {
  ...{ asked: true, scraped: true, scrape_failed: true, recalled: false },
  ...{ gpus_sampled: true, gpus_failed: true, host_sampled: true, host_linked: true },
  ...{ launch_read: true, endpoints_found: true, endpoint_gone: true, noticed: true },
  ...{ hook_failed: true, log_read: true },
  ...{ resumed: true, clock: true, command: true },
  ...{ filter: false, select: false, look: false, sort: false, tape: false },
};

/** Whether a message of a recording is one that we record. */
export function isRecorded(
  { kind, command }: { readonly kind?: unknown; readonly command?: unknown },
): boolean {
  if (typeof kind !== "string" || !Object.hasOwn(IS_RECORDED, kind)) return false;
  if (kind === "command") return COMMANDS_THAT_COUNT.has(command as Command);
  return IS_RECORDED[kind as Message["kind"]];
}

/** Of a message that is recorded. */
function describeMessage(
  message: Message,
  bodies: ReadonlyMap<string, ReturnType<typeof decodeBody>>,
  isRound: boolean,
): Note {
  switch (message.kind) {
    case "scraped": {
      const { endpointKey, receivedAt, receivedAtEpoch, duration, redirectedTo } = message.scrape;
      const { text, isBinary } = bodies.get(endpointKey) ?? { text: "", isBinary: false };
      const { interval } = message.scrape;
      const frame = { endpointKey, receivedAt, receivedAtEpoch, duration, interval, redirectedTo };
      return { stream: `scraped ${endpointKey}`, value: encodeValue({ ...frame, isBinary }), text };
    }
    case "gpus_sampled": {
      const { report, machine } = message;
      const pids = (report.processes.value ?? []).map(({ pid }) => pid);
      return describeLong({ ...message, machine: reduceMachine(machine, pids) }, message.host);
    }
    case "host_sampled":
      return describeLong(message, message.host);
    case "command": {
      const { kind, command } = message;
      return { stream: kind, value: { kind, command, context: {} } };
    }
    case "clock":
      return { stream: isRound ? "round" : "clock", value: encodeValue(message) };
    default:
      return { stream: message.kind, value: encodeValue(message) };
  }
}

/** A value a line: most stay as they were. */
function describeLong(message: Message & { readonly host: string }, host: string): Note {
  const text = JSON.stringify(encodeValue(message), null, 1);
  return { stream: `${message.kind} ${host}`, value: null, text };
}

/** What a state is made of, when a file begins. */
function describeStart(session: Session, previousSession: string | null): readonly Note[] {
  const { state, options: { metricPrefix } } = session;
  const { endpoints, interval, utcOffset, isDemo, asksForGpus, notices } = state;
  const { now, nowEpoch, pricing, objectives, rules, hosts } = state;
  const start = {
    ...{ version: VERSION, previousSession, metricPrefix },
    ...{ interval, now, nowEpoch, utcOffset, isDemo, asksForGpus, notices },
    ...{ pricing, objectives, rules, endpoints: endpoints.map(({ endpoint }) => endpoint) },
  };
  return [
    { stream: START_STREAM, value: encodeValue(start) },
    ...[...hosts].flatMap(([host, { link }]): readonly Note[] => {
      const message = { kind: "host_linked", host, link };
      return link === null ? [] : [{ stream: message.kind, value: encodeValue(message) }];
    }),
    ...endpoints.flatMap(({ endpoint, server }): readonly Note[] => {
      const message = { kind: "launch_read", endpointKey: endpoint.key, server };
      return server === null ? [] : [{ stream: message.kind, value: encodeValue(message) }];
    }),
  ];
}

/** Records the session from now on. The caller closes the recorder. */
export async function startRecording(session: Session): Promise<Recorder | DiscoveryError> {
  const { platform, options: { recordFile, recordLimits }, pool } = session;
  if (recordFile === null) throw new Error("There is no file to record into");
  const isFile = recordFile !== STANDARD_OUTPUT;
  const name = isFile ? `the recording ${quote(recordFile)}` : "standard output";
  const refuse = (words: string): DiscoveryError => (
    { message: `${name} ${words}`, exitCode: EXIT_CONFIGURATION }
  );
  const fault = isFile ? await findFault(platform, recordFile) : null;
  if (fault !== null) return refuse(fault);
  let sink: Awaited<ReturnType<typeof openSink>>;
  try {
    sink = await openSink(platform, recordFile);
  } catch (error) {
    return refuse(describeProblem(error));
  }
  const stamp = (note: Note): Entry => ({ epoch: platform.epochSeconds(), ...note });
  const bodies = new Map<string, ReturnType<typeof decodeBody>>();
  pool.onBody = (key, body) => void bodies.set(key, decodeBody(body));
  const recorder = createRecorder(sink, {
    limits: recordLimits,
    size: sink.size,
    describeStart: (previous) => describeStart(session, previous).map(stamp),
    describeError: describeProblem,
    onChange: ({ bytes, problem }) => {
      const words = problem === null ? null : `${name} ${problem}`;
      dispatch(session, { kind: "tape", changes: { tape: { bytes, problem: words } } });
    },
  });
  session.record = (message, isRound = false) => {
    if (isRecorded(message)) void recorder.note(stamp(describeMessage(message, bodies, isRound)));
    if (message.kind === "scraped") bodies.delete(message.scrape.endpointKey);
  };
  return recorder;
}

function describeProgress({ state: { fleet, tape, now } }: Session, startedAt: number): string {
  const { total } = fleet.counts;
  const bytes = tape?.bytes ?? 0;
  const replicas = `${formatCount(total)} ${total === 1 ? "replica" : "replicas"}`;
  return `${replicas}, ${formatBytes(bytes)} in ${formatDuration(now - startedAt)}`;
}

/** Polls without a screen until a signal or a full disk ends it; the progress goes to standard error. */
export async function runRecorder(session: Session): Promise<void> {
  const { platform: { stdio }, stop, options: { recordFile }, state } = session;
  const startedAt = state.now;
  const place = recordFile === STANDARD_OUTPUT ? "standard output" : recordFile ?? "";
  const lead = `vllm-htop: recording into ${sanitizeText(place)}`;
  let shownBytes = -PROGRESS_STEP;
  const report = (): Promise<void> => {
    const { tape } = session.state;
    if (tape === undefined) return Promise.resolve();
    if (tape.problem !== null) stop.abort();
    const line = `${lead}: ${describeProgress(session, startedAt)}`;
    if (stdio.stderrIsTerminal) stdio.writeStderr(`\r\x1b[K${line}; Ctrl-C ends it`);
    else if (Math.abs(tape.bytes - shownBytes) >= PROGRESS_STEP) {
      shownBytes = tape.bytes;
      stdio.writeStderr(`${line}\n`);
    }
    return Promise.resolve();
  };
  watchHosts(session).catch((error) => stop.abort(error));
  await pollForever(session, report);
  if (stdio.stderrIsTerminal) stdio.writeStderr("\n");
}

/** Writes the last block. Returns why not all is recorded, or `null`. */
export async function finishRecording(
  session: Session,
  recorder: Recorder,
): Promise<DiscoveryError | null> {
  session.record = null;
  await recorder.close();
  const { tape } = session.state;
  const problem = tape?.problem ?? null;
  return problem === null ? null : { message: problem, exitCode: EXIT_CONFIGURATION };
}
