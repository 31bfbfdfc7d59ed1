/**
 * How often an endpoint may be asked without being a burden to it.
 *
 * A scrape of 64 engines takes half a second of vLLM's API
 * process, so the time that scrapes take is held to a share of all time. It is
 * kept as a credit: time earns some, a scrape spends what it took, and while
 * the account is overdrawn nobody asks. So the share holds for scrapes that are
 * always slow and for those that are slow now and then, and one hiccup costs
 * one pause. An endpoint that fails is asked less and less often. What of it
 * is to be told on the screen is decided here, too. Spans are in seconds. Rejected: a mean of recent durations, which lets a slow scrape in
 * ten exceed the share, or a fast one in two.
 *
 * @module
 */

import { createBackOff } from "./back_off.ts";
import type { Ratio, Seconds } from "./units.ts";

/** The share of all time that an endpoint may spend in scrapes. */
export const MAX_SCRAPE_SHARE: Ratio = 0.05;

/** The longest pause after failures, where the interval is not longer anyway. */
export const MAX_BACK_OFF: Seconds = 30;

/** An interval that is so much longer is another one. */
const INTERVAL_TOLERANCE = 1.2;

/** What is that much older than an interval was not seen at the newest poll: answers take their time, too. */
const RESPONSE_GRACE: Seconds = 1;

/** What may be spent at once: the first two scrapes of the largest servers come at the interval. */
const MAX_TOKENS: Seconds = 0.5;

/** What is known of an endpoint's past scrapes. */
export interface Schedule {
  /** Time that scrapes may take; negative where they took more. As of the start of the last one. */
  readonly credit: Seconds;
  /** When the last good scrape began; `null` before the first. */
  readonly startedAt: Seconds | null;
  /** Attempts that failed since the last good one. */
  readonly failures: number;
}

/** The pace of an endpoint that was never asked. */
export function startSchedule(): Schedule {
  return { credit: MAX_TOKENS, startedAt: null, failures: 0 };
}

/** The pace after one more attempt. What fails costs nothing but patience: it may never have arrived. */
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
  return { credit: credit - poll.duration, startedAt, failures: 0 };
}

/**
 * Time from the start of a good scrape to that of the next: the interval, or
 * longer where scrapes take too much of it.
 */
export function getInterval({ credit }: Schedule, interval: Seconds): Seconds {
  return Math.max(interval, -credit / MAX_SCRAPE_SHARE);
}

/** Whether an endpoint is asked so much less often than was wanted that it is to be told. */
export function isNotablySlower(schedule: Schedule, interval: Seconds): boolean {
  return getInterval(schedule, interval) > interval * INTERVAL_TOLERANCE;
}

/** Whether what is that old is as new as can be where servers are asked at the interval. */
export function isOfNewestPoll(age: Seconds, interval: Seconds): boolean {
  return age <= interval + RESPONSE_GRACE;
}

/** Time from the end of a failed attempt to the next: the interval, and twice as long after each more. */
export function computeBackOff({ failures }: Schedule, interval: Seconds): Seconds {
  const max = Math.max(interval, MAX_BACK_OFF);
  return createBackOff({ initial: interval, max })(failures);
}
