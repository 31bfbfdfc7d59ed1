/**
 * Verdicts as they come and go -> alarms that have lasted.
 *
 * Layer 2, pure. A verdict is raised when it has stood without a break for its
 * rule's `hold`, and is over when it has been gone for its `release`: what
 * flickers round a threshold is one alarm and not twenty. Instants are
 * monotonic seconds. Time and not the number of evaluations counts: how often
 * a fleet is judged depends on how many endpoints it has.
 *
 * @module
 */

import { findRule, type Verdict } from "./rules.ts";
import type { Seconds } from "./units.ts";

/** A verdict over time. */
export interface Alarm {
  /** When the verdict was first given; for STALLED, since when nothing moved. */
  readonly since: Seconds;
  /** When it was given last. */
  readonly lastAt: Seconds;
  /** Whether it has lasted long enough to count. */
  readonly isRaised: boolean;
  readonly first: Verdict;
  readonly newest: Verdict;
  /** The one with the highest ratio. */
  readonly worst: Verdict;
}

function identify({ rule, key }: Verdict): string {
  return `${rule} ${key}`;
}

/** How long a verdict must have stood: where there is but one look, what it shows counts at once. */
function readHold({ rule }: Verdict, isOnlyLook: boolean): Seconds {
  return isOnlyLook ? 0 : findRule(rule).hold;
}

function extend(known: Alarm, verdict: Verdict, at: Seconds): Alarm {
  return {
    ...known,
    lastAt: at,
    isRaised: known.isRaised || at - known.since >= findRule(verdict.rule).hold,
    newest: verdict,
    worst: verdict.ratio > known.worst.ratio ? verdict : known.worst,
  };
}

function begin(verdict: Verdict, at: Seconds, isOnlyLook: boolean): Alarm {
  const since = verdict.rule === "stalled" ? at - verdict.value : at;
  const isRaised = readHold(verdict, isOnlyLook) === 0;
  return { since, lastAt: at, isRaised, first: verdict, newest: verdict, worst: verdict };
}

/**
 * The alarms after one more evaluation.
 *
 * @param evaluation.verdicts All that the rules say now.
 * @param evaluation.isOnlyLook Whether there will be no later one, in which it could be seen whether a verdict lasts.
 * @param evaluation.isJudged Whether that replica can still be judged: alarms of one that went are over at once.
 */
export function followVerdicts(
  alarms: readonly Alarm[],
  evaluation: {
    readonly verdicts: readonly Verdict[];
    readonly at: Seconds;
    readonly isJudged: (key: string) => boolean;
    readonly isOnlyLook?: boolean;
  },
): readonly Alarm[] {
  const { verdicts, at, isJudged, isOnlyLook = false } = evaluation;
  const given = new Map(verdicts.map((verdict) => [identify(verdict), verdict]));
  const followed = alarms.flatMap((known): Alarm[] => {
    const identity = identify(known.first);
    const verdict = given.get(identity);
    given.delete(identity);
    if (verdict !== undefined) return [extend(known, verdict, at)];
    const isOver = !known.isRaised || !isJudged(known.first.key) ||
      at - known.lastAt >= findRule(known.first.rule).release;
    return isOver ? [] : [known];
  });
  return [...followed, ...[...given.values()].map((verdict) => begin(verdict, at, isOnlyLook))];
}
