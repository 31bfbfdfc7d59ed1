/**
 * Number types in base units, conversion factors, and times of day as text.
 * @module
 */

/** Formats local time as `14:02:11`. */
export function formatClock(time: EpochSeconds, utcOffset: Seconds): string {
  return formatLocalTime(time, utcOffset).slice("2026-11-22T".length);
}

/** Formats local time as `2026-11-22T14:02:11`. */
export function formatLocalTime(time: EpochSeconds, utcOffset: Seconds): string {
  return formatTimestamp(time + utcOffset).slice(0, "2026-11-22T14:02:11".length);
}

/** Formats UTC as `2026-11-22T14:02:11.250Z` (RFC 3339). */
export function formatTimestamp(time: EpochSeconds): string {
  // Round first: 1795300000.001 is slightly less in binary.
  return new Date(Math.round(time * MILLISECONDS_PER_SECOND)).toISOString();
}

/** Monotonic instant, or a span. */
export type Seconds = number;
/** Seconds since 1970. For display and start times only. */
export type EpochSeconds = number;
export type Bytes = number;
export type Hertz = number;
/** 0 to 1. */
export type Ratio = number;
export const MILLISECONDS_PER_SECOND = 1000;
export const MICROSECONDS_PER_SECOND = 1_000_000;
export const SECONDS_PER_MINUTE = 60;
export const SECONDS_PER_HOUR = 3600;
export const SECONDS_PER_DAY = 86_400;
export const BYTES_PER_KIBIBYTE = 1024;
export const BYTES_PER_MEBIBYTE = 1_048_576;
export const BYTES_PER_GIBIBYTE = 1_073_741_824;
export const HERTZ_PER_MEGAHERTZ = 1_000_000;
export const HOURS_PER_DAY = 24;
export const TOKENS_PER_MILLION = 1_000_000;
/** Rounding of one start time. */
const SAME_START_TOLERANCE: Seconds = 0.5;

/** Whether two start times mean the same start. NaN (unknown) never counts as a restart. */
export function isSameStart(one: EpochSeconds, other: EpochSeconds): boolean {
  return !(Math.abs(one - other) > SAME_START_TOLERANCE);
}
