/**
 * How often to scrape an endpoint without burdening it. A scrape of 64 engines takes half a second
 * of vLLM's API process, so scrapes are held to a share of all time by a token bucket: time earns
 * tokens, a scrape spends its duration, and none starts while the balance is negative. Failing
 * endpoints back off.
 *
 * Rejected: a mean of recent durations, which lets one slow scrape in ten exceed the share.
 * @module
 */

import { createBackOff } from "./back_off.ts";
import type { Ratio, Seconds } from "./units.ts";

export const MAX_SCRAPE_SHARE: Ratio = 0.05;
/** The interval counts if it is longer. */
export const MAX_BACK_OFF: Seconds = 30;
/** From this factor on, an interval is shown as changed. */
const INTERVAL_TOLERANCE = 1.2;
/** Grace for the response time. */
const RESPONSE_GRACE: Seconds = 1;
/** Lets the first two scrapes of the largest servers keep the interval. */
const MAX_TOKENS: Seconds = 0.5;

export interface Schedule {
  /** Scrape time left in the bucket as of the last start; negative if overdrawn. */
  readonly credit: Seconds;
  readonly startedAt: Seconds | null;
  readonly failures: number;
  /** Least time between two scrapes. */
  readonly pace: Seconds;
}

export function startSchedule(pace: Seconds = 0): Schedule {
  return { credit: MAX_TOKENS, startedAt: null, failures: 0, pace };
}

/** The schedule after one more attempt. Failures cost no tokens: they may never have arrived. */
export function notePoll(
  schedule: Schedule,
  poll: { readonly endedAt: Seconds; readonly duration: Seconds; readonly hasFailed: boolean },
): Schedule {
  if (poll.hasFailed) return { ...schedule, failures: schedule.failures + 1 };
  const startedAt = poll.endedAt - poll.duration;
  const earned = schedule.startedAt === null
    ? 0
    : MAX_SCRAPE_SHARE * (startedAt - schedule.startedAt);
  const credit = Math.min(MAX_TOKENS, schedule.credit + Math.max(0, earned));
  return { ...schedule, credit: credit - poll.duration, startedAt, failures: 0 };
}

/**
 * Time between the starts of good scrapes: longer than the interval if scrapes take too much of it,
 * or if there are many.
 */
export function getInterval({ credit, pace }: Schedule, interval: Seconds): Seconds {
  return Math.max(interval, pace, -credit / MAX_SCRAPE_SHARE);
}

export function isNotablySlower(schedule: Schedule, interval: Seconds): boolean {
  return getInterval(schedule, interval) > interval * INTERVAL_TOLERANCE;
}

export function isOfNewestPoll(age: Seconds, interval: Seconds): boolean {
  return age <= interval + RESPONSE_GRACE;
}

/** Time from a failed attempt to the next: the interval, doubled for each further failure. */
export function computeBackOff({ failures }: Schedule, interval: Seconds): Seconds {
  const max = Math.max(interval, MAX_BACK_OFF);
  return createBackOff({ initial: interval, max })(failures);
}
