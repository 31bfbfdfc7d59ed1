/**
 * Verdicts as they come and go -> alarms that have lasted.
 *
 * A verdict is raised when it has stood without a break for its
 * rule's `hold`, and is over when it has been gone for its `release`: what
 * flickers round a threshold is one alarm and not twenty. Instants are
 * monotonic seconds. Time and not the number of evaluations counts: how often
 * a fleet is judged depends on how many endpoints it has.
 *
 * @module
 */

import type { GpuOutlier } from "./gpu_model.ts";
import { findRule, type RuleId, type Verdict } from "./rules_table.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** A verdict over time. */
export interface Alert {
  /** When the verdict was first given; for STALLED, since when nothing moved. */
  readonly since: Seconds;
  /** When it was given last. */
  readonly lastAt: Seconds;
  /** Whether it has lasted long enough to count. */
  readonly isFiring: boolean;
  readonly first: Verdict;
  readonly newest: Verdict;
  /** The one with the highest ratio. */
  readonly worst: Verdict;
}

function identifyAlert({ rule, key }: Verdict): string {
  return `${rule} ${key}`;
}

/** How long a verdict must have stood: where there is but one look, what it shows counts at once. */
function getHold({ rule }: Verdict, isOnlyLook: boolean): Seconds {
  return isOnlyLook ? 0 : findRule(rule).hold;
}

function extendAlert(known: Alert, verdict: Verdict, at: Seconds): Alert {
  return {
    ...known,
    lastAt: at,
    isFiring: known.isFiring || at - known.since >= findRule(verdict.rule).hold,
    newest: verdict,
    worst: verdict.ratio > known.worst.ratio ? verdict : known.worst,
  };
}

function startAlert(verdict: Verdict, at: Seconds, isOnlyLook: boolean): Alert {
  const since = verdict.rule === "stalled" ? at - verdict.value : at;
  const isFiring = getHold(verdict, isOnlyLook) === 0;
  return { since, lastAt: at, isFiring, first: verdict, newest: verdict, worst: verdict };
}

/**
 * The alarms after one more evaluation.
 *
 * @param evaluation.verdicts All that the rules say now.
 * @param evaluation.isOnlyLook Whether there will be no later one, in which it could be seen whether a verdict lasts.
 * @param evaluation.isJudged Whether that replica can still be judged: alarms of one that went are over at once.
 */
export function updateAlerts(
  alerts: readonly Alert[],
  evaluation: {
    readonly verdicts: readonly Verdict[];
    readonly at: Seconds;
    readonly isJudged: (key: string) => boolean;
    readonly isOnlyLook?: boolean;
  },
): readonly Alert[] {
  const { verdicts, at, isJudged, isOnlyLook = false } = evaluation;
  const given = new Map(verdicts.map((verdict) => [identifyAlert(verdict), verdict]));
  const followed = alerts.flatMap((known): Alert[] => {
    const identity = identifyAlert(known.first);
    const verdict = given.get(identity);
    given.delete(identity);
    if (verdict !== undefined) return [extendAlert(known, verdict, at)];
    const isOver = !known.isFiring || !isJudged(known.first.key) ||
      at - known.lastAt >= findRule(known.first.rule).release;
    return isOver ? [] : [known];
  });
  return [
    ...followed,
    ...[...given.values()].map((verdict) => startAlert(verdict, at, isOnlyLook)),
  ];
}

/** Lines that are kept of what is over. */
export const MAX_EVENTS = 200;

/** How soon the same again is the same line (vllm-htop 0.5.0). */
export const MERGE_SPAN: Seconds = 60;

/** Kinds, and whether one of them is an alert: it keeps the verdict DEGRADED for a while. */
export const EVENT_KINDS = {
  HOT: "alert",
  STALLED: "alert",
  SLOW: "alert",
  STICKY: "alert",
  SKEW: "alert",
  DOWN: "alert",
  REJECT: "alert",
  UP: "notice",
  STALE: "notice",
  RESTART: "notice",
  NEW: "notice",
  GONE: "notice",
  SLEEP: "notice",
  PREEMPT: "notice",
  GPU: "notice",
} as const;
export type EventKind = keyof typeof EVENT_KINDS;

/** Which events tell of which rule. `null`: none. */
export const EVENT_OF_RULE: Readonly<Record<RuleId, EventKind | null>> = {
  hot: "HOT",
  stalled: "STALLED",
  slow_prefill: "SLOW",
  slow_decode: "SLOW",
  sticky_skew: "STICKY",
  running_skew: "SKEW",
  kv_skew: "SKEW",
  token_share: "SKEW",
  request_share: null,
};

/** Whom an event is about: a replica, an endpoint with all of its engines, or a GPU. Outlives them. */
export interface EventSubject {
  /** The replica's identity, or the endpoint's, or the GPU's. */
  readonly key: string;
  /** Empty for a GPU. */
  readonly endpointKey: string;
  /** `host:port`, or `GPU 3`. */
  readonly address: string;
  /** What it was called, as it still is if it lives. */
  readonly name: string;
  /** `null` for an endpoint. */
  readonly modelName: string | null;
  /** `null` for an endpoint, and where the exposition names no engine. */
  readonly engine: string | null;
}

/** Something that is the case, or has just happened. */
export interface Occurrence {
  readonly kind: EventKind;
  readonly subject: EventSubject;
  /** When it began, where that was before now. */
  readonly since?: Seconds;
  /** The evidence at its begin, and the worst so far; of kinds that rules tell of. */
  readonly first?: Verdict;
  readonly worst?: Verdict;
  /** How many: preemptions, rejected requests; for UP, the seconds that it was down. */
  readonly amount?: number;
  /** Of a GPU: what it was found by, as of now. */
  readonly outlier?: GpuOutlier;
}

/** One line of the log. */
export interface EventLine {
  /** Counted from 1; tells lines apart. */
  readonly id: number;
  readonly kind: EventKind;
  readonly subject: EventSubject;
  readonly beganAt: Seconds;
  readonly beganAtEpoch: EpochSeconds;
  /** `null` while it lasts. */
  readonly endedAt: Seconds | null;
  /** How often it began. */
  readonly occurrences: number;
  readonly first: Verdict | null;
  readonly worst: Verdict | null;
  /** Sum of the occurrences' amounts; the last one for UP. `null` where the kind has none. */
  readonly amount: number | null;
  /** The newest evidence of a GPU; absent for other kinds. */
  readonly outlier?: GpuOutlier;
}

/** Lines, oldest first. */
export interface EventLog {
  readonly lines: readonly EventLine[];
  /** Lines that have ever been begun. */
  readonly count: number;
}

export const EMPTY_LOG: EventLog = { lines: [], count: 0 };

function identifyEvent(kind: EventKind, { key }: EventSubject): string {
  return `${kind} ${key}`;
}

function worseOf(one: Verdict | null, other: Verdict | null): Verdict | null {
  if (one === null || other === null) return one ?? other;
  return other.ratio > one.ratio ? other : one;
}

function addAmount(known: number | null, { kind, amount }: Occurrence): number | null {
  if (amount === undefined) return known;
  return kind === "UP" ? amount : (known ?? 0) + amount;
}

/** The line that goes on with what occurred. */
function continueEvent(
  line: EventLine,
  occurrence: Occurrence,
  endedAt: Seconds | null,
): EventLine {
  return {
    ...line,
    endedAt,
    occurrences: line.occurrences + (line.endedAt === null ? 0 : 1),
    first: line.first ?? occurrence.first ?? null,
    worst: worseOf(line.worst, occurrence.worst ?? null),
    amount: addAmount(line.amount, occurrence),
    ...(occurrence.outlier === undefined ? {} : { outlier: occurrence.outlier }),
  };
}

/** All lines that are open, and of those that are over the newest `MAX_EVENTS`. */
function trimEvents(lines: readonly EventLine[]): readonly EventLine[] {
  if (lines.length <= MAX_EVENTS) return lines;
  let excess = lines.filter(({ endedAt }) => endedAt !== null).length - MAX_EVENTS;
  return lines.filter(({ endedAt }) => endedAt === null || excess-- <= 0);
}

/** A moment, on both clocks. */
export interface Moment {
  readonly at: Seconds;
  readonly epoch: EpochSeconds;
}

/**
 * The log after one more look.
 *
 * @param now.lasting All that is the case now: lines of what is not among it end.
 * @param now.instants What has happened since the last look.
 */
export function recordEvents(
  log: EventLog,
  now: Moment & {
    readonly lasting: readonly Occurrence[];
    readonly instants: readonly Occurrence[];
  },
): EventLog {
  const { at, epoch } = now;
  const lasting = new Map<string, Occurrence>();
  for (const occurrence of now.lasting) {
    const identity = identifyEvent(occurrence.kind, occurrence.subject);
    const known = lasting.get(identity);
    const worst = worseOf(known?.worst ?? null, occurrence.worst ?? null);
    lasting.set(identity, { ...(known ?? occurrence), ...(worst === null ? {} : { worst }) });
  }
  const instants = new Map(
    now.instants.map((
      occurrence,
    ) => [identifyEvent(occurrence.kind, occurrence.subject), occurrence]),
  );
  if (lasting.size + instants.size === 0 && log.lines.every(({ endedAt }) => endedAt !== null)) {
    return log;
  }
  let { count } = log;
  const lines = log.lines.map((line): EventLine => {
    const identity = identifyEvent(line.kind, line.subject);
    const isRecent = line.endedAt === null || at - line.endedAt <= MERGE_SPAN;
    const lasts = lasting.get(identity);
    const happened = instants.get(identity);
    if (lasts !== undefined && isRecent) {
      lasting.delete(identity);
      return continueEvent(line, lasts, null);
    }
    if (happened !== undefined && isRecent) {
      instants.delete(identity);
      return continueEvent(line, happened, at);
    }
    return line.endedAt === null ? { ...line, endedAt: at } : line;
  });
  const begin = (occurrence: Occurrence, endedAt: Seconds | null): EventLine => {
    const { kind, subject, since = at, first = null, worst = null, amount = null } = occurrence;
    const beganAtEpoch = epoch - (at - since);
    const begun = { id: ++count, kind, subject, beganAt: since, beganAtEpoch, endedAt };
    const evidence = occurrence.outlier === undefined ? {} : { outlier: occurrence.outlier };
    return { ...begun, occurrences: 1, first, worst, amount, ...evidence };
  };
  const added = [
    ...[...lasting.values()].map((occurrence) => begin(occurrence, null)),
    ...[...instants.values()].map((occurrence) => begin(occurrence, at)),
  ];
  return { lines: trimEvents([...lines, ...added]), count };
}
