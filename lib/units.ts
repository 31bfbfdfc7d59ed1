/**
 * Named number types, conversions between units, and times of day as text.
 *
 * The program computes in base units (seconds, bytes, ratios from 0 to 1).
 *
 * @module
 */

/** Wall-clock time as `14:02:11`, in a time zone given as its distance from UTC. */
export function formatClock(time: EpochSeconds, utcOffset: Seconds): string {
  return formatTimestamp(time + utcOffset).slice(
    "2026-11-22T".length,
    "2026-11-22T14:02:11".length,
  );
}

/** Wall-clock time in UTC as `2026-11-22T14:02:11.250Z` (RFC 3339). */
export function formatTimestamp(time: EpochSeconds): string {
  // 1795300000.001 is a little less in binary: to whole milliseconds first.
  return new Date(Math.round(time * MILLISECONDS_PER_SECOND)).toISOString();
}

/** A span or an instant on the monotonic clock, in seconds. */
export type Seconds = number;

/** Wall-clock time in seconds since 1970-01-01T00:00:00Z. For display and start times only. */
export type EpochSeconds = number;

/** A number of bytes, 0 or more. */
export type Bytes = number;

/** A frequency in cycles per second, 0 or more. */
export type Hertz = number;

/** A share, from 0 to 1. */
export type Ratio = number;

/** Milliseconds in a second. */
export const MILLISECONDS_PER_SECOND = 1000;

/** Seconds in a minute. */
export const SECONDS_PER_MINUTE = 60;

/** Seconds in an hour. */
export const SECONDS_PER_HOUR = 3600;

/** Seconds in a day. */
export const SECONDS_PER_DAY = 86_400;

/** Bytes in a kibibyte (IEC 80000-13). */
export const BYTES_PER_KIBIBYTE = 1024;

/** Bytes in a mebibyte (IEC 80000-13). */
export const BYTES_PER_MEBIBYTE = 1_048_576;

/** Bytes in a gibibyte (IEC 80000-13). */
export const BYTES_PER_GIBIBYTE = 1_073_741_824;

/** Hertz in a megahertz. */
export const HERTZ_PER_MEGAHERTZ = 1_000_000;

/** Hours in a day. */
export const HOURS_PER_DAY = 24;

/** Tokens in a million: the amount that prices are quoted for. */
export const TOKENS_PER_MILLION = 1_000_000;

/** Start times that differ by no more are those of one start, rounded differently. */
const SAME_START_TOLERANCE: Seconds = 0.5;

/**
 * Whether two start times of a process or of its counters are those of one
 * start. NaN, which says nothing of a start, differs from none.
 */
export function isSameStart(one: EpochSeconds, other: EpochSeconds): boolean {
  return !(Math.abs(one - other) > SAME_START_TOLERANCE);
}
