/**
 * What a server's log and process tell where its metrics do not: how far its load is, why it died,
 * and the figures that it logs.
 * @module
 */

import type { LoadPhase, LoadProgress, LogDeath, LogStatistics, LogValues } from "./log.ts";
import { getStart, isLoading } from "./rules_status.ts";
import type { EndpointState } from "./state_endpoint.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

export interface LoadStepSpan {
  readonly phase: LoadPhase;
  /** Until the next one, or now; `null` if unknown. */
  readonly span: Seconds | null;
}

export interface Load {
  /** Since its process started. */
  readonly span: Seconds;
  /** `null` if no log tells. */
  readonly phase: LoadPhase | null;
  readonly progress: LoadProgress | null;
  readonly steps: readonly LoadStepSpan[];
  readonly values: LogValues;
  /** How long the load before took: as watched, else by its log; `null` if neither tells. */
  readonly lastSpan: Seconds | null;
}

export interface LogFigures extends Omit<LogStatistics, "atEpoch"> {
  /** Of the line. */
  readonly age: Seconds;
}

/** Of a replica. */
export interface LogFacts {
  /** `null` unless its server loads. */
  readonly load: Load | null;
  /** Why its server ended; `null` while it does not, or if its log does not say. */
  readonly death: LogDeath | null;
  /** What its server logs, if its metrics cannot be had. */
  readonly logFigures: readonly LogFigures[];
}

interface Moment {
  readonly now: Seconds;
  readonly nowEpoch: EpochSeconds;
}

/** Clocks of a log may be ahead of ours by so much. */
const MAX_AHEAD: Seconds = 5;
/** A server logs its figures every 5 or 10 s: beyond twice that, they are old. */
export const MAX_FIGURES_AGE: Seconds = 25;

/** Returns `null` for times that cannot be: the log has another clock. */
function checkSpan(span: Seconds, most: Seconds): Seconds | null {
  return span < -MAX_AHEAD || span > most + MAX_AHEAD ? null : Math.max(0, span);
}

/** Returns `null` unless the server loads. */
function findLoad(known: EndpointState, { now, nowEpoch }: Moment): Load | null {
  const startedAt = getStart(known);
  if (startedAt === null || known.failure?.kind === "pod" || !isLoading(known, now)) return null;
  const span = Math.max(0, now - startedAt);
  const load = known.log?.log?.load ?? null;
  const steps = load?.steps ?? [];
  return {
    span,
    phase: load?.phase ?? null,
    progress: load?.progress ?? null,
    steps: steps.map(({ phase, beganAtEpoch }, i) => {
      const endEpoch = steps[i + 1] === undefined ? nowEpoch : steps[i + 1].beganAtEpoch;
      const isKnown = beganAtEpoch !== null && endEpoch !== null;
      return { phase, span: isKnown ? checkSpan(endEpoch - beganAtEpoch, span) : null };
    }),
    values: load?.values ?? {},
    lastSpan: known.loadSpan ?? load?.earlierSpan ?? null,
  };
}

/** Returns why the server ended; `null` while it answers or loads, or if its log does not say. */
function findDeath(known: EndpointState, now: Seconds): LogDeath | null {
  const { failure, log } = known;
  const death = log?.log?.death ?? null;
  if (failure === null || death === null || isLoading(known, now)) return null;
  // What still runs has not died of an error that it logged.
  return log?.processStartedAt === null || death.isEnd ? death : null;
}

/** Returns the figures of a server whose metrics cannot be had, as it averaged them. */
function listLogFigures(
  { failure, log }: EndpointState,
  { nowEpoch }: Moment,
): readonly LogFigures[] {
  if (failure === null || log?.log === null || log?.processStartedAt === null) return [];
  return (log?.log.statistics ?? []).flatMap(({ atEpoch, ...statistics }): LogFigures[] => {
    const age = atEpoch === null ? null : checkSpan(nowEpoch - atEpoch, Infinity);
    return age === null ? [] : [{ ...statistics, age }];
  });
}

/** @param engine Its number; `null` if no engine is known. */
export function readLogFacts(
  known: EndpointState,
  engine: string | null,
  moment: Moment,
): LogFacts {
  return {
    load: findLoad(known, moment),
    death: findDeath(known, moment.now),
    logFigures: listLogFigures(known, moment).filter((figures) =>
      engine === null || figures.engine === null || String(figures.engine) === engine
    ),
  };
}
