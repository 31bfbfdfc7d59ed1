/**
 * Vocabulary of a model server's log: what one line says.
 * @module
 */

import type { ServerFlags } from "./model.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** In order. `server`: the engine is ready, the API opens its port. */
export const LOAD_PHASES = [
  ...["starting", "download", "weights", "compile", "memory", "graphs", "server"] as const,
] as const;
export type LoadPhase = typeof LOAD_PHASES[number];

/** Steps of a bar, or bytes of a download. */
export interface LoadProgress {
  readonly done: number;
  readonly total: number;
}

/** The most telling first. */
export const DEATH_CAUSES = [
  ...["out_of_memory", "memory_taken", "no_memory_for_kv_cache"] as const,
  ...["model_not_found", "port_taken", "exception"] as const,
  ...["failed_to_start", "worker_died", "engine_died"] as const,
] as const;
export type DeathCause = typeof DEATH_CAUSES[number];

/** By key with its unit, such as `promptTokensPerSecond`; what the line lacks is absent. */
export type LogValues = Readonly<Record<string, number | string | readonly number[]>>;

export const LOG_SUBJECTS = [
  ...["requests", "prefix_cache", "drafts", "kv_transfer", "mfu", "iteration"] as const,
] as const;

interface Statistics {
  readonly kind: "statistics";
  /** What is counted. */
  readonly subject: typeof LOG_SUBJECTS[number];
  /** `null` if the line names none. */
  readonly engine: number | null;
  /** How many it sums; `null` if it does not say. */
  readonly engines: number | null;
  readonly values: LogValues;
}

export type LogMessage =
  | Statistics
  | {
    readonly kind: "loading";
    readonly phase: LoadPhase;
    readonly progress: LoadProgress | null;
    readonly values: LogValues;
    /** The first line of a start. */
    readonly isFirst: boolean;
  }
  | { readonly kind: "ready" }
  | { readonly kind: "fatal"; readonly cause: DeathCause }
  | {
    readonly kind: "notice";
    readonly notice: "statistics_off" | "preemption" | "asleep" | "awake";
    readonly values: LogValues;
  };

/** A line without escape sequences, taken apart; not sanitized. */
export interface LogEntry {
  /** Of a container's or journal's timestamp, which has a zone; `null` without one. */
  readonly epoch: EpochSeconds | null;
  /** `11-28 15:04:05` by the server's own clock, of no year and no zone; `null` without one. */
  readonly clock: string | null;
  /** `null` for a line that no logger wrote. */
  readonly level: string | null;
  /** `loggers.py:335`, or a logger's name; `null` if unknown. */
  readonly file: string | null;
  /** Such as `EngineCore_DP0`; `null` if the line names none. */
  readonly process: string | null;
  readonly pid: number | null;
  readonly text: string;
}

/** How one kind of server writes its log. */
export interface LogGrammar {
  /** @param line May hold escape sequences and carriage returns. */
  readonly parseEntry: (line: string) => LogEntry;
  /** Returns `null` for a line that tells nothing. */
  readonly parseMessage: (entry: LogEntry) => LogMessage | null;
}

/** A line of figures, which the server averaged over its own interval. */
export interface LogStatistics
  extends Pick<Statistics, "subject" | "engine" | "engines" | "values"> {
  /** When it was written; `null` if unknown. */
  readonly atEpoch: EpochSeconds | null;
}

interface LoadStep {
  readonly phase: LoadPhase;
  /** Of its first line; `null` if unknown. */
  readonly beganAtEpoch: EpochSeconds | null;
}

/** A start of the server, as far as the lines read tell. */
export interface LoadReport {
  readonly phase: LoadPhase;
  /** Of the phase; `null` if it shows none. */
  readonly progress: LoadProgress | null;
  /** Those begun, in the order of their first lines. */
  readonly steps: readonly LoadStep[];
  /** What the lines said, newest first choice: tokens of the KV cache, version, … */
  readonly values: LogValues;
  /** How long the start before took, from its first line on; `null` if the lines do not tell. */
  readonly earlierSpan: Seconds | null;
}

export interface LogDeath {
  readonly cause: DeathCause;
  /** The line that says why; safe to print. */
  readonly text: string;
  /** The server says that it ends; else only that something went wrong. */
  readonly isEnd: boolean;
}

/** What the last lines of a server's log say. */
export interface ServerLog {
  /** The newest; safe to print, secrets masked. */
  readonly lines: readonly string[];
  /** `null` if they show no start. */
  readonly load: LoadReport | null;
  readonly isReady: boolean;
  readonly death: LogDeath | null;
  /** The newest of each engine and subject. */
  readonly statistics: readonly LogStatistics[];
  readonly statisticsAreOff: boolean;
}

/** Where a log is: a container's, a systemd unit's, or a file. */
export type LogPlace =
  | { readonly kind: "docker" | "podman"; readonly container: string }
  | { readonly kind: "journal"; readonly unit: string; readonly isUser: boolean }
  | { readonly kind: "file"; readonly path: string };

const CONTAINER_NAME = /^[A-Za-z0-9][\w.-]*$/;
const UNIT_NAME = /^[A-Za-z0-9_][\w:.@\\-]*$/;

/** Parses `docker:NAME`, `podman:NAME`, `journal:UNIT`, or an absolute path. */
export function parseLogPlace(text: string): LogPlace | null {
  const [, kind, name = ""] = /^(docker|podman|journal):(.*)$/s.exec(text) ?? [];
  if (kind === "docker" || kind === "podman") {
    return CONTAINER_NAME.test(name) ? { kind, container: name } : null;
  }
  if (kind === "journal") {
    return UNIT_NAME.test(name) ? { kind, unit: name, isUser: false } : null;
  }
  return text.startsWith("/") ? { kind: "file", path: text } : null;
}

/** A start writes some hundred lines; some thousand with many workers. */
export const MAX_LOG_LINES = 1000;

/** The last lines of a log. */
export type LogText = { readonly text: string } | {
  /** Why it cannot be read; safe to print, without a full stop. */
  readonly problem: string;
};

/** A server's process and log, as last seen. */
export interface WatchedLog {
  /** When its log began to say that it is ready, as far as watched; `null` if it does not. */
  readonly readyAt: Seconds | null;
  /** When its process started; `null` if none is seen. */
  readonly processStartedAt: Seconds | null;
  /** The command that reads the log, or the file's path; `null` if it is not known. */
  readonly source: string | null;
  /** Why it cannot be read, safe to print; `null` if it can. */
  readonly problem: string | null;
  /** `null` until it is read. */
  readonly log: ServerLog | null;
  /** Of the server, for the advice. */
  readonly flags: ServerFlags;
}

// deno-lint-ignore no-control-regex
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)/g;

export function stripEscapes(line: string): string {
  return line.replace(ESCAPES, "");
}

/** Returns what a terminal shows at last of a line that is rewritten in place, such as a bar. */
export function cutRewritten(line: string): string {
  const end = line.replace(/\r+$/, "");
  return end.slice(end.lastIndexOf("\r") + 1);
}
