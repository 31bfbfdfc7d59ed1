/**
 * How long a replica had nothing to do while it was watched.
 *
 * Layer 2, pure. The time between two scrapes was idle where nothing ran or
 * waited at either, and no token and no finished request was counted between
 * them. Over a restart nobody knows, and a server whose gauges are absent does
 * not say: such time counts as not watched. Seconds.
 *
 * @module
 */

import type { EngineSample } from "./model.ts";
import { isPresent, type Reading } from "./reading.ts";
import { readEngineCounters } from "./tally.ts";
import type { Seconds } from "./units.ts";

/** What is known of a replica's time. */
export interface Idleness {
  /** Of which it is known whether it was idle. */
  readonly watched: Seconds;
  readonly idle: Seconds;
}

export const NO_IDLENESS: Idleness = { watched: 0, idle: 0 };

function isZero(reading: Reading): boolean {
  return isPresent(reading) && reading.value === 0;
}

function isResting({ gauges }: EngineSample): boolean {
  // Servers without a queue of their own do not say how long it is.
  return isZero(gauges.running) && (isZero(gauges.waiting) || !isPresent(gauges.waiting));
}

/**
 * What is known after one more scrape.
 *
 * @param step.before The replica's sample of the scrape before; `undefined` for none that can be compared.
 * @param step.span Between the two.
 */
export function continueIdleness(
  known: Idleness,
  step: {
    readonly before: EngineSample | undefined;
    readonly now: EngineSample;
    readonly span: Seconds;
  },
): Idleness {
  const { before, now, span } = step;
  if (before === undefined || span <= 0 || !isPresent(now.gauges.running)) return known;
  const [first, last] = [before, now].map(readEngineCounters);
  const isSame = (["requests", "promptTokens", "generationTokens"] as const).every((key) =>
    first[key].value === last[key].value
  );
  const isIdle = isSame && isResting(before) && isResting(now);
  return { watched: known.watched + span, idle: known.idle + (isIdle ? span : 0) };
}
