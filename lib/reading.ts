/**
 * A figure, or the reason why there is none.
 *
 * Absence is a value here and never 0: a server that has not
 * exported a gauge yet, a rate before the second scrape and a quantile of no
 * samples are all different from zero, and each says why it is absent.
 * `format` prints an absent reading as a dash, `report` as `null` with the
 * reason. This module owns the words of absence.
 *
 * @module
 */

/**
 * Why a reading has no value.
 *
 * - `initializing`: the server has declared the metric but has no sample yet.
 * - `missing`: the server does not export the metric.
 * - `stale`: the last scrape failed, so what was known is no longer current.
 * - `unsupported`: the feature is off, or the figure makes no sense here.
 * - `first_scrape`: a rate needs two scrapes, and there has been one.
 * - `restarted`: the counters started anew, so this window has no rate.
 * - `no_samples`: nothing was observed in the window (0 divided by 0).
 * - `not_finite`: the server exported NaN or an infinity.
 * - `bounds_differ`: histograms whose buckets differ cannot be merged.
 * - `unreadable`: the driver failed to read it, or printed what cannot be understood.
 * - `forbidden`: only a user with more rights may read it.
 */
export type AbsenceReason =
  | "initializing"
  | "missing"
  | "stale"
  | "unsupported"
  | "first_scrape"
  | "restarted"
  | "no_samples"
  | "not_finite"
  | "bounds_differ"
  | "unreadable"
  | "forbidden";

/** A reading that has a value. */
export interface Present<T> {
  readonly value: T;
  /** True when the value is a sum that some of its parts could not contribute to: a lower bound. */
  readonly partial?: true;
}

/** A reading without a value. */
export interface Absent {
  readonly value: null;
  readonly reason: AbsenceReason;
}

/** A value of type `T`, or why there is none. */
export type Reading<T = number> = Present<T> | Absent;

const ABSENT: Readonly<Record<AbsenceReason, Absent>> = {
  initializing: { value: null, reason: "initializing" },
  missing: { value: null, reason: "missing" },
  stale: { value: null, reason: "stale" },
  unsupported: { value: null, reason: "unsupported" },
  first_scrape: { value: null, reason: "first_scrape" },
  restarted: { value: null, reason: "restarted" },
  no_samples: { value: null, reason: "no_samples" },
  not_finite: { value: null, reason: "not_finite" },
  bounds_differ: { value: null, reason: "bounds_differ" },
  unreadable: { value: null, reason: "unreadable" },
  forbidden: { value: null, reason: "forbidden" },
};

/** All reasons that there are. */
export const ABSENCE_REASONS: readonly string[] = Object.keys(ABSENT);

/** A reading with the given value. */
export function present<T>(value: T): Present<T> {
  return { value };
}

/** A reading without a value, for the given reason. */
export function absent(reason: AbsenceReason): Absent {
  return ABSENT[reason];
}

/** Whether the reading has a value. */
export function isPresent<T>(reading: Reading<T>): reading is Present<T> {
  return reading.value !== null;
}

/**
 * The reading with its value replaced by `convert(value)`; absence and
 * partiality carry over.
 */
export function mapReading<T, U>(reading: Reading<T>, convert: (value: T) => U): Reading<U> {
  if (!isPresent(reading)) return reading;
  const value = convert(reading.value);
  return reading.partial ? { value, partial: true } : { value };
}

/**
 * `numerator / denominator`, absent where either is absent, and `no_samples`
 * where the denominator is 0.
 */
export function divideReadings(numerator: Reading, denominator: Reading): Reading {
  if (!isPresent(denominator)) return denominator;
  if (!isPresent(numerator)) return numerator;
  if (denominator.value === 0) return absent("no_samples");
  return present(numerator.value / denominator.value);
}

/**
 * The sum of the readings that have a value, marked `partial` (a lower bound)
 * when some have none. Absent, with the first reason, when none has a value.
 * A part that is `unsupported` contributes nothing by nature and does not make
 * the sum partial.
 */
export function sumReadings(readings: readonly Reading[]): Reading {
  let sum = 0;
  let count = 0;
  let partial = false;
  let firstAbsent: Absent | null = null;
  for (const reading of readings) {
    if (isPresent(reading)) {
      sum += reading.value;
      count++;
      partial ||= reading.partial === true;
    } else {
      firstAbsent ??= reading;
      partial ||= reading.reason !== "unsupported";
    }
  }
  if (count === 0) return firstAbsent ?? absent("missing");
  return partial ? { value: sum, partial: true } : { value: sum };
}
