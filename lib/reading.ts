/**
 * A figure, or the reason why it is absent. Absence is never 0.
 * @module
 */

/** Why a reading has no value. */
export const ABSENCE_REASONS = [
  "initializing", // declared, but no sample yet
  "missing", // not exported
  "stale", // the last scrape failed
  "unsupported", // this kind of server has no such figure, or it makes no sense here; never a fault
  "off", // the feature is switched off
  "first_scrape", // a rate needs two scrapes
  "restarted", // a counter was reset in this window
  "no_samples", // nothing was observed in the window (0 ÷ 0)
  "not_finite", // NaN or an infinity
  "invalid", // a value that cannot be, such as a count below 0
  "bounds_differ", // different buckets cannot be merged
  "definitions_differ", // kinds of servers measure different things by that name
  "unreadable", // it cannot be parsed
  "forbidden", // reading it needs more rights
] as const;

/** Why a reading has no value. */
export type AbsenceReason = typeof ABSENCE_REASONS[number];

/** A reading that has a value. */
export interface Present<T> {
  readonly value: T;
  /** A lower bound: some parts of the sum are absent. */
  readonly partial?: true;
  /** Since the server started: there is no window yet. */
  readonly isSinceStart?: true;
  /** Over the last minute: the server counts tokens when requests finish, not at each step. */
  readonly isOverMinute?: true;
}

/** A reading without a value. */
export interface Absent {
  readonly value: null;
  readonly reason: AbsenceReason;
}

/** A value, or why there is none. */
export type Reading<T = number> = Present<T> | Absent;

/** One object for each reason. */
const ABSENT = Object.fromEntries(
  ABSENCE_REASONS.map((reason): [AbsenceReason, Absent] => [reason, { value: null, reason }]),
) as Readonly<Record<AbsenceReason, Absent>>;

export function present<T>(value: T): Present<T> {
  return { value };
}

export function absent(reason: AbsenceReason): Absent {
  return ABSENT[reason];
}

export function isPresent<T>(reading: Reading<T>): reading is Present<T> {
  return reading.value !== null;
}

/** Whether it is exported at all, if perhaps without a value now. */
export function isExported(reading: Reading<unknown>): boolean {
  return isPresent(reading) || (reading.reason !== "missing" && reading.reason !== "unsupported");
}

/** Converts the value; all else carries over. */
export function mapReading<T, U>(reading: Reading<T>, convert: (value: T) => U): Reading<U> {
  return isPresent(reading) ? { ...reading, value: convert(reading.value) } : reading;
}

/** Above 1 by rounding. */
const RATIO_TOLERANCE = 0.01;
/** From here on it is a negative number that was written without its sign. */
const MAX_COUNT = 2 ** 63;

/** `not_finite`, or `invalid` for a figure that cannot be. */
export function checkReading(
  value: number,
  { isRatio = false }: { readonly isRatio?: boolean } = {},
): Reading {
  if (!Number.isFinite(value)) return absent("not_finite");
  if (value < 0 || value >= MAX_COUNT) return absent("invalid");
  if (!isRatio) return present(value);
  return value > 1 + RATIO_TOLERANCE ? absent("invalid") : present(Math.min(value, 1));
}

/** Divides; absent if either is, `no_samples` if the denominator is 0. */
export function divideReadings(numerator: Reading, denominator: Reading): Reading {
  if (!isPresent(denominator)) return denominator;
  if (!isPresent(numerator)) return numerator;
  if (denominator.value === 0) return absent("no_samples");
  return present(numerator.value / denominator.value);
}

/**
 * Sums the present readings; `partial` if others are absent, except `unsupported` ones. Absent,
 * with the first reason, if all are.
 */
export function sumReadings(readings: readonly Reading[]): Reading {
  let sum = 0;
  let count = 0;
  let partial = false;
  let isOverMinute = false;
  let firstAbsent: Absent | null = null;
  for (const reading of readings) {
    if (isPresent(reading)) {
      sum += reading.value;
      count++;
      partial ||= reading.partial === true;
      isOverMinute ||= reading.isOverMinute === true;
    } else {
      firstAbsent ??= reading;
      partial ||= reading.reason !== "unsupported" && reading.reason !== "off";
    }
  }
  if (count === 0) return firstAbsent ?? absent("missing");
  return {
    value: sum,
    ...(partial ? { partial: true } : {}),
    ...(isOverMinute ? { isOverMinute: true } : {}),
  };
}

/** Sums readings; absent, with the first reason, if any is. */
export function sumWhole(readings: readonly Reading[]): Reading {
  return readings.find((reading) => !isPresent(reading)) ?? sumReadings(readings);
}

/**
 * Mean of the present readings by weight. Absent, with the first reason, if none is present or has
 * a weight.
 */
export function averageReadings(
  readings: readonly Reading[],
  getWeight: (index: number) => number,
): Reading {
  let sum = 0;
  let whole = 0;
  readings.forEach(({ value }, i) => {
    if (value === null) return;
    sum += value * getWeight(i);
    whole += getWeight(i);
  });
  if (whole > 0) return present(sum / whole);
  return readings.find((reading) => !isPresent(reading)) ?? absent("missing");
}
