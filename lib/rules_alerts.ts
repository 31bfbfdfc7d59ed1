/**
 * Turns findings into alerts (pending, firing, resolved) and an event log. `hold` and `release` are
 * times: the evaluation rate depends on the size of the fleet.
 * @module
 */

import type { GpuOutlier } from "./gpu_model.ts";
import type { RuleStatus } from "./model.ts";
import type { Finding } from "./rules_finding.ts";
import { getRule, type RuleId, type Rules } from "./rules_table.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

export interface Alert {
  /** When its condition became true, as far as that is known. */
  readonly since: Seconds;
  readonly lastAt: Seconds;
  /** False while pending. */
  readonly isFiring: boolean;
  readonly first: Finding;
  readonly newest: Finding;
  /** Highest ratio. */
  readonly worst: Finding;
}

function identifyAlert({ rule, key }: Finding): string {
  return `${rule} ${key}`;
}

function isWorse(one: Finding, other: Finding): boolean {
  if (one.level !== other.level) return one.level === "critical";
  return one.ratio > other.ratio;
}

function extendAlert(known: Alert, finding: Finding, { at, hold }: Held): Alert {
  const since = known.isFiring ? known.since : finding.since ?? known.since;
  return {
    ...known,
    since,
    lastAt: at,
    isFiring: known.isFiring || at - since >= hold,
    newest: finding,
    worst: isWorse(finding, known.worst) ? finding : known.worst,
  };
}

interface Held {
  readonly at: Seconds;
  readonly hold: Seconds;
}

function startAlert(finding: Finding, { at, hold }: Held): Alert {
  const since = finding.since ?? at;
  const isFiring = at - since >= hold;
  return { since, lastAt: at, isFiring, first: finding, newest: finding, worst: finding };
}

/**
 * Returns the alerts after one more evaluation.
 * @param evaluation.isSingleEvaluation None follows (`--once`), so findings fire at once.
 * @param evaluation.isEvaluated False for a replica that is gone: its alerts resolve at once.
 */
export function updateAlerts(
  alerts: readonly Alert[],
  evaluation: {
    readonly findings: readonly Finding[];
    readonly rules: Rules;
    readonly at: Seconds;
    readonly isEvaluated: (key: string) => boolean;
    readonly isSingleEvaluation?: boolean;
  },
): readonly Alert[] {
  const { findings, rules, at, isEvaluated, isSingleEvaluation = false } = evaluation;
  const getHeld = ({ rule }: Finding): Held => {
    return { at, hold: isSingleEvaluation ? 0 : getRule(rules, rule).hold };
  };
  const given = new Map(findings.map((finding) => [identifyAlert(finding), finding]));
  const continued = alerts.flatMap((known): Alert[] => {
    const identity = identifyAlert(known.first);
    const finding = given.get(identity);
    given.delete(identity);
    if (finding !== undefined) return [extendAlert(known, finding, getHeld(finding))];
    const isOver = !known.isFiring || !isEvaluated(known.first.key) ||
      at - known.lastAt >= getRule(rules, known.first.rule).release;
    return isOver ? [] : [known];
  });
  return [
    ...continued,
    ...[...given.values()].map((finding) => startAlert(finding, getHeld(finding))),
  ];
}

/** Ended lines that are kept. */
export const MAX_EVENTS = 200;
/** A recurrence within this time continues the line (vllm-htop 0.5.0). */
export const MERGE_WINDOW: Seconds = 60;

/** An `alert` keeps the fleet DEGRADED for `RECENT_ALERT_SPAN`. */
export const EVENT_KINDS = {
  STALLED: "alert",
  COLLAPSE: "alert",
  OVERLOAD: "alert",
  HOT: "alert",
  FULL: "alert",
  FAILING: "alert",
  SLO: "alert",
  QUEUING: "alert",
  PREEMPTS: "alert",
  REFUSING: "alert",
  TRANSFER: "alert",
  SHARED: "alert",
  SLOW: "alert",
  STICKY: "alert",
  SKEW: "alert",
  DOWN: "alert",
  REJECT: "notice",
  UP: "notice",
  STALE: "notice",
  LOAD: "notice",
  RESTART: "notice",
  NEW: "notice",
  GONE: "notice",
  SLEEP: "notice",
  PREEMPT: "notice",
  GPU: "notice",
  HOOK: "notice",
} as const;
export type EventKind = keyof typeof EVENT_KINDS;

/** The event and the status of a replica for which it fires. */
export const STATUS_OF_RULE: Readonly<Record<RuleId, RuleStatus>> = {
  collapse: "COLLAPSE",
  stalled: "STALLED",
  overloaded: "OVERLOAD",
  hot: "HOT",
  full: "FULL",
  failing: "FAILING",
  slo: "SLO",
  queuing: "QUEUING",
  preempting: "PREEMPTS",
  refusing: "REFUSING",
  transfer: "TRANSFER",
  two_servers: "SHARED",
  slow_prefill: "SLOW",
  slow_decode: "SLOW",
  sticky_skew: "STICKY",
  running_skew: "SKEW",
  kv_skew: "SKEW",
  token_share: "SKEW",
  request_share: "SKEW",
};

/** Outlives the replica, endpoint or GPU it names. */
export interface EventSubject {
  readonly key: string;
  /** Empty for a GPU or a hook. */
  readonly endpointKey: string;
  /** `host:port`, or `GPU 3`. */
  readonly address: string;
  /** Display name; the last one if the subject is gone. */
  readonly name: string;
  /** `null` for an endpoint. */
  readonly modelName: string | null;
  /** `null` for an endpoint, or if the metrics name no engine. */
  readonly engine: string | null;
}

export interface Occurrence {
  readonly kind: EventKind;
  readonly subject: EventSubject;
  /** Start, if before now. */
  readonly since?: Seconds;
  /** Evidence at the start and the worst; only from rules. */
  readonly first?: Finding;
  readonly worst?: Finding;
  /** Preemptions or rejected requests; for UP, seconds down. */
  readonly amount?: number;
  /** Only for GPUs. */
  readonly outlier?: GpuOutlier;
  /** Of a hook, what failed; of a pod's restart, how it ended before. Safe text. */
  readonly message?: string;
}

export interface EventLine {
  /** From 1, unique. */
  readonly id: number;
  readonly kind: EventKind;
  readonly subject: EventSubject;
  readonly beganAt: Seconds;
  readonly beganAtEpoch: EpochSeconds;
  /** `null` while active. */
  readonly endedAt: Seconds | null;
  readonly occurrences: number;
  readonly first: Finding | null;
  readonly worst: Finding | null;
  /** Sum, or the last one for UP; `null` if the kind has none. */
  readonly amount: number | null;
  /** Newest; only for GPUs. */
  readonly outlier?: GpuOutlier;
  /** Newest; only of hooks. */
  readonly message?: string;
}

/** Oldest first. */
export interface EventLog {
  readonly lines: readonly EventLine[];
  /** Lines ever added. */
  readonly count: number;
}

export const EMPTY_LOG: EventLog = { lines: [], count: 0 };

function identifyEvent(kind: EventKind, { key }: EventSubject): string {
  return `${kind} ${key}`;
}

/** Tells the lines of a log apart. */
export function identifyLine({ kind, subject: { key }, beganAt }: EventLine): string {
  return `${kind} ${key} ${beganAt}`;
}

function pickWorse(one: Finding | null, other: Finding | null): Finding | null {
  if (one === null || other === null) return one ?? other;
  return isWorse(other, one) ? other : one;
}

function addAmount(known: number | null, { kind, amount }: Occurrence): number | null {
  if (amount === undefined) return known;
  return kind === "UP" ? amount : (known ?? 0) + amount;
}

function pickNewest({ outlier, message }: Occurrence): Pick<EventLine, "outlier" | "message"> {
  return {
    ...(outlier === undefined ? {} : { outlier }),
    ...(message === undefined ? {} : { message }),
  };
}

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
    worst: pickWorse(line.worst, occurrence.worst ?? null),
    amount: addAmount(line.amount, occurrence),
    ...pickNewest(occurrence),
  };
}

/** Drops the oldest ended lines. */
function trimEvents(lines: readonly EventLine[]): readonly EventLine[] {
  if (lines.length <= MAX_EVENTS) return lines;
  let excess = lines.filter(({ endedAt }) => endedAt !== null).length - MAX_EVENTS;
  return lines.filter(({ endedAt }) => endedAt === null || excess-- <= 0);
}

export interface Moment {
  readonly at: Seconds;
  readonly epoch: EpochSeconds;
}

/**
 * Returns the log after one more evaluation.
 * @param now.lasting All conditions that hold; other active lines end.
 * @param now.instants What happened since the last evaluation.
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
    const worst = pickWorse(known?.worst ?? null, occurrence.worst ?? null);
    lasting.set(identity, { ...(known ?? occurrence), ...(worst === null ? {} : { worst }) });
  }
  const instants = new Map(
    now.instants.map((one) => [identifyEvent(one.kind, one.subject), one]),
  );
  if (lasting.size + instants.size === 0 && log.lines.every(({ endedAt }) => endedAt !== null)) {
    return log;
  }
  let { count } = log;
  const lines = log.lines.map((line): EventLine => {
    const identity = identifyEvent(line.kind, line.subject);
    const isRecent = line.endedAt === null || at - line.endedAt <= MERGE_WINDOW;
    const active = lasting.get(identity);
    const incident = instants.get(identity);
    if (active !== undefined && isRecent) {
      lasting.delete(identity);
      return continueEvent(line, active, null);
    }
    if (incident !== undefined && isRecent) {
      instants.delete(identity);
      return continueEvent(line, incident, at);
    }
    return line.endedAt === null ? { ...line, endedAt: at } : line;
  });
  const createLine = (occurrence: Occurrence, endedAt: Seconds | null): EventLine => {
    const { kind, subject, since = at, first = null, worst = null, amount = null } = occurrence;
    const beganAtEpoch = epoch - (at - since);
    const begun = { id: ++count, kind, subject, beganAt: since, beganAtEpoch, endedAt };
    return { ...begun, occurrences: 1, first, worst, amount, ...pickNewest(occurrence) };
  };
  const added = [
    ...[...lasting.values()].map((occurrence) => createLine(occurrence, null)),
    ...[...instants.values()].map((occurrence) => createLine(occurrence, at)),
  ];
  return { lines: trimEvents([...lines, ...added]), count };
}
