/**
 * The last lines of a server's log -> what it does, how far its load is, why it died, and the
 * figures that it writes.
 * @module
 */

import {
  cutRewritten,
  DEATH_CAUSES,
  type DeathCause,
  LOAD_PHASES,
  type LoadPhase,
  type LoadProgress,
  type LoadReport,
  type LogDeath,
  type LogEntry,
  type LogGrammar,
  type LogMessage,
  type LogStatistics,
  type LogValues,
  type ServerLog,
  stripEscapes,
} from "./log.ts";
import { maskSecrets, sanitizeText } from "./text.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** Of a server's log, for the screen. */
const MAX_SHOWN_LINES = 500;
const MAX_SHOWN_WIDTH = 1000;
const MAX_SHOWN_LENGTH = 4096;
/** A longer line is cut. */
const MAX_LINE_LENGTH = 16_384;
/** A clock that is ahead by more shows the year before. */
const MAX_AHEAD: Seconds = 86_400;

interface LogClock {
  readonly nowEpoch: EpochSeconds;
  /** Of the clock in the log's lines minus UTC. */
  readonly utcOffset: Seconds;
}

/** Returns when a line was written, by its wrapper, else by the server's clock. */
function getEpoch(
  { epoch, clock }: LogEntry,
  { nowEpoch, utcOffset }: LogClock,
): EpochSeconds | null {
  if (epoch !== null || clock === null) return epoch;
  const year = new Date((nowEpoch + utcOffset) * 1000).getUTCFullYear();
  const parse = (someYear: number): number =>
    new Date(`${someYear}-${clock.replace(" ", "T")}Z`).getTime() / 1000 - utcOffset;
  const parsed = parse(year) > nowEpoch + MAX_AHEAD ? parse(year - 1) : parse(year);
  return Number.isFinite(parsed) ? parsed : null;
}

/** What one start has shown so far. */
interface Start {
  readonly steps: Map<LoadPhase, EpochSeconds | null>;
  readonly values: Record<string, LoadReport["values"][string]>;
  /** Phase of each engine's newest line, by data-parallel rank; "" of the API server and of bars. */
  readonly phases: Map<string, LoadPhase>;
  /** Bars of the newest phase that shows any, with their processes. */
  bars: { readonly process: string; readonly progress: LoadProgress }[];
  barPhase: LoadPhase | null;
}

interface Reading {
  start: Start | null;
  isReady: boolean;
  /** From the first line of the start to readiness; `null` if either is missing or has no time. */
  loadSpan: Seconds | null;
  death: LogDeath | null;
  readonly statistics: Map<string, LogStatistics>;
  statisticsAreOff: boolean;
}

function createReading(): Reading {
  return {
    ...{ start: null, isReady: false, loadSpan: null, death: null },
    ...{ statistics: new Map(), statisticsAreOff: false },
  };
}

const ENGINE_PROCESS = /^(?:EngineCore|\w*Worker)/i;

/** Names the engine of a process; "" of none. */
function getEngine({ process }: LogEntry): string {
  if (process === null || !ENGINE_PROCESS.test(process)) return "";
  return `DP${/DP(\d+)/.exec(process)?.[1] ?? 0}`;
}

function listEngines({ phases }: Start): readonly string[] {
  return [...phases.keys()].filter((engine) => engine !== "");
}

/** The phase of the engine that is furthest behind; what all share counts if it is newest. */
function getPhase(start: Start, newest: LoadPhase): LoadPhase {
  const engines = listEngines(start);
  if (engines.length < 2 || newest === "server") return newest;
  const rank = (engine: string): number => LOAD_PHASES.indexOf(start.phases.get(engine) ?? newest);
  return LOAD_PHASES[Math.min(...engines.map(rank))];
}

/** Of the slowest of several engines: of each process's newest bar, or of as many bars as engines. */
function getProgress(start: Start, phase: LoadPhase): LoadProgress | null {
  if (start.barPhase !== phase) return null;
  const byProcess = new Map(start.bars.map(({ process, progress }) => [process, progress]));
  const newest = byProcess.size > 1
    ? [...byProcess.values()]
    : start.bars.slice(-Math.max(1, listEngines(start).length)).map(({ progress }) => progress);
  const share = ({ done, total }: LoadProgress): number => total > 0 ? done / total : 0;
  return newest.reduce<LoadProgress | null>(
    (least, one) => least === null || share(one) < share(least) ? one : least,
    null,
  );
}

type Loading = Extract<LogMessage, { readonly kind: "loading" }>;

const MAX_VALUE_WIDTH = 64;

/** Names and texts are foreign, too; a number may be cut or doubled. */
function cleanValues(values: LogValues): LogValues {
  const isNumber = (value: LogValues[string]): boolean =>
    typeof value === "string" || [value].flat().every(Number.isFinite);
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => isNumber(value)).map(([key, value]) => [
      sanitizeText(key, MAX_VALUE_WIDTH),
      typeof value === "string" ? sanitizeText(value, MAX_VALUE_WIDTH) : value,
    ]),
  );
}

function noteLoading(
  reading: Reading,
  message: Loading,
  { entry, at }: { readonly entry: LogEntry; readonly at: EpochSeconds | null },
): LoadPhase {
  const { phase, progress, values } = message;
  const start: Start = reading.start ??
    { steps: new Map(), values: {}, phases: new Map(), bars: [], barPhase: null };
  reading.start = start;
  if (!start.steps.has(phase)) start.steps.set(phase, at);
  start.phases.set(getEngine(entry), phase);
  for (const [key, value] of Object.entries(cleanValues(values))) {
    // Each phase has seconds and sizes of its own.
    start.values[key === "seconds" || key === "gibibytes" ? `${phase}.${key}` : key] = value;
  }
  if (progress !== null && Number.isFinite(progress.done + progress.total)) {
    if (start.barPhase !== phase) start.bars = [];
    start.barPhase = phase;
    start.bars.push({ process: entry.process ?? "", progress });
  }
  return phase;
}

function rank(cause: DeathCause): number {
  return DEATH_CAUSES.indexOf(cause);
}

const END_CAUSES: ReadonlySet<DeathCause> = new Set([
  ...["failed_to_start", "worker_died", "engine_died"] as const,
]);

/** The most telling line counts: of exceptions the first, of what has a name the last. */
function noteDeath(reading: Reading, cause: DeathCause, entry: LogEntry): void {
  const { death } = reading;
  const isEnd = death?.isEnd === true || END_CAUSES.has(cause);
  const isBetter = death === null || rank(cause) < rank(death.cause) ||
    (cause === death.cause && cause !== "exception");
  const text = isBetter ? sanitizeText(maskSecrets(entry.text.trim())) : death.text;
  reading.death = { cause: isBetter ? cause : death.cause, text, isEnd };
}

/** Whether the line begins another start: what stood before is of an earlier life. */
function beginsAnew({ start, isReady, death, statistics }: Reading, message: Loading): boolean {
  if (!message.isFirst) return false;
  const hasBegun = start !== null && [...start.steps.keys()].some((phase) => phase !== "starting");
  return isReady || death !== null || hasBegun || statistics.size > 0;
}

/** Some servers write this line without a time: then that of the line before counts. */
function noteReady(reading: Reading, at: EpochSeconds | null): void {
  const [first] = reading.start?.steps ?? [];
  const beganAt = first?.[0] === "starting" ? first[1] : null;
  if (!reading.isReady && beganAt !== null && at !== null && at >= beganAt) {
    reading.loadSpan = at - beganAt;
  }
  reading.isReady = true;
  reading.death = null;
}

function showLine(line: string): string {
  const text = cutRewritten(stripEscapes(line)).slice(0, MAX_SHOWN_LENGTH)
    .replaceAll("\t", "    ");
  return sanitizeText(maskSecrets(text), MAX_SHOWN_WIDTH);
}

/** Of a bar that is rewritten in place, the end counts. */
function cutLine(line: string): string {
  if (line.length <= MAX_LINE_LENGTH) return line;
  return line.includes("\r") ? line.slice(-MAX_LINE_LENGTH) : line.slice(0, MAX_LINE_LENGTH);
}

/** Parses the last lines of a log; without a grammar they are only shown. */
export function parseServerLog(
  text: string,
  { grammar, ...clock }: LogClock & { readonly grammar: LogGrammar | null },
): ServerLog {
  const lines = text.split("\n").filter((line) => line.trim() !== "").map(cutLine);
  let reading = createReading();
  let newest: LoadPhase = "starting";
  let newestAt: EpochSeconds | null = null;
  let earlierSpan: Seconds | null = null;
  for (const line of lines) {
    const entry = grammar?.parseEntry(line);
    const message = entry === undefined ? null : grammar?.parseMessage(entry) ?? null;
    if (entry === undefined || message === null) continue;
    const at = getEpoch(entry, clock);
    newestAt = at ?? newestAt;
    if (message.kind === "loading") {
      if (beginsAnew(reading, message)) {
        earlierSpan = reading.loadSpan ?? earlierSpan;
        reading = createReading();
      }
      newest = noteLoading(reading, message, { entry, at });
    } else if (message.kind === "ready") noteReady(reading, newestAt);
    else if (message.kind === "fatal") noteDeath(reading, message.cause, entry);
    else if (message.kind === "statistics") {
      const { subject, engine, engines, values } = message;
      const key = `${subject} ${engine ?? ""}`;
      const counted = { subject, engine, engines, values: cleanValues(values), atEpoch: at };
      reading.statistics.set(key, counted);
      reading.isReady = true;
    } else if (message.notice === "statistics_off") reading.statisticsAreOff = true;
  }
  const { start, isReady, death, statistics, statisticsAreOff } = reading;
  const phase = start === null ? null : getPhase(start, newest);
  return {
    lines: lines.slice(-MAX_SHOWN_LINES).map(showLine),
    load: start === null || phase === null ? null : {
      phase,
      progress: getProgress(start, phase),
      steps: [...start.steps].map(([one, beganAtEpoch]) => ({ phase: one, beganAtEpoch })),
      ...{ values: start.values, earlierSpan },
    },
    ...{ isReady, death, statistics: [...statistics.values()], statisticsAreOff },
  };
}
