/**
 * Formats figures with units. The only place that rounds and knows percent: at most three
 * significant digits and two decimals. An absent reading is a dash, a partial sum ends in `+`, a
 * figure since the server started in `*`, a quantile beyond a bound shows the bound.
 * @module
 */

import type { Quantile } from "./histogram.ts";
import { isPresent, type Reading } from "./reading.ts";
import {
  type Bytes,
  BYTES_PER_GIBIBYTE,
  BYTES_PER_KIBIBYTE,
  BYTES_PER_MEBIBYTE,
  type Hertz,
  HERTZ_PER_MEGAHERTZ,
  MILLISECONDS_PER_SECOND,
  type Ratio,
  type Seconds,
  SECONDS_PER_DAY,
  SECONDS_PER_HOUR,
  SECONDS_PER_MINUTE,
} from "./units.ts";

export const DASH = "—";
/** Marks a partial sum. */
const OR_MORE = "+";
/** Marks what is since the server started, for want of a window. */
export const SINCE_START = "*";
export const OVER_MINUTE = "~";

const SI_STEPS: readonly (readonly [number, string])[] = [
  [1e15, "P"],
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/** At most two decimals, no exponent. */
function roundToThree(value: number): string {
  const magnitude = Math.abs(value);
  if (magnitude >= 99.95) return value.toFixed(0);
  if (magnitude >= 9.995) return value.toFixed(1);
  return value.toFixed(2);
}

export function formatReading<T>(reading: Reading<T>, convert: (value: T) => string): string {
  if (!isPresent(reading)) return DASH;
  const { partial, isSinceStart, isOverMinute } = reading;
  return convert(reading.value) + (partial ? OR_MORE : "") +
    (isSinceStart ? SINCE_START : isOverMinute ? OVER_MINUTE : "");
}

/** `12345`, `1.23M`. */
export function formatCount(count: number): string {
  if (!Number.isFinite(count)) return String(count);
  const whole = Math.round(count);
  return Math.abs(whole) < 1e6 ? String(whole) : formatQuantity(count);
}

/** `999`, `76.1k`. */
export function formatSamples(count: number): string {
  return count < 1000 ? formatCount(count) : formatQuantity(count);
}

/** `0.25`, `29.7`, `6.24k`, `1.50M`. */
export function formatQuantity(quantity: number): string {
  // Rounding may carry: 999.96 is 1.00k, not 1000.
  for (const [step, prefix] of SI_STEPS) {
    if (Math.abs(quantity) >= step * 0.9995) return roundToThree(quantity / step) + prefix;
  }
  return quantity === 0 ? "0" : roundToThree(quantity);
}

/** Rounded down, as a partial sum must stay a lower bound: `1.5k` with a decimal, `1k`, `126k`. */
export function formatShort(quantity: number, decimals: 0 | 1): string {
  const [step, prefix] = SI_STEPS.find(([step]) => quantity >= step) ?? [1, ""];
  const scaled = quantity / step;
  const parts = scaled < 10 ? 10 ** decimals : 1;
  return `${Math.floor(scaled * parts) / parts}${prefix}`;
}

/** `47 %`; `<1 %` and `>99 %` keep 0 and 100 exact. */
export function formatPercent(ratio: Ratio): string {
  const percent = ratio * 100;
  if (percent > 0 && percent < 0.5) return "<1 %";
  if (percent < 100 && percent >= 99.5) return ">99 %";
  return `${percent.toFixed(0)} %`;
}

/**
 * `96.4 %` if it is exact, else `95–98 %`. Rounded outward, and an exact share downward, so that
 * none is shown as met that is not.
 */
export function formatAttainment(
  { min, max }: { readonly min: Ratio; readonly max: Ratio },
): string {
  // 0.29 × 100 is below 29 in binary.
  const slack = 1e-9;
  if (min !== max) return `${Math.floor(min * 100 + slack)}–${Math.ceil(max * 100 - slack)} %`;
  return min === 1 ? "100 %" : `${(Math.floor(min * 1000 + slack) / 10).toFixed(1)} %`;
}

/** `92–98 %`, `640–690 W`, `<1–3 %`. One value if both read alike, two units if they differ. */
export function formatRange(
  { min, max }: { readonly min: number; readonly max: number },
  convert: (value: number) => string,
): string {
  const [low, high] = [convert(min), convert(max)];
  if (low === high) return low;
  const [unit] = / ?[^\d.<>]*$/.exec(high) ?? [""];
  const bare = low.endsWith(unit) ? low.slice(0, low.length - unit.length) : low;
  return `${bare}–${high}`;
}

/** `0.45 ms`, `46.2 ms`, `438 ms`, `1.68 s`, `95.0 s`. */
export function formatLatency(latency: Seconds): string {
  const milliseconds = latency * MILLISECONDS_PER_SECOND;
  return Math.abs(milliseconds) < 999.5
    ? `${roundToThree(milliseconds)} ms`
    : `${roundToThree(latency)} s`;
}

/** `10 ms`, `2.5 s`, `80 s`. */
export function formatBoundary(latency: Seconds): string {
  const [value, unit] = latency < 1 ? [latency * MILLISECONDS_PER_SECOND, "ms"] : [latency, "s"];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

/** `438 ms`, or a bound: `<10 ms`, `>80 s`. */
export function formatQuantile(quantile: Quantile): string {
  return quantile.bound === ""
    ? formatLatency(quantile.value)
    : quantile.bound + formatBoundary(quantile.value);
}

/** `58s`, `1m 05s`, `3h 07m`, `3d 04h`. */
export function formatDuration(span: Seconds): string {
  const whole = Math.max(0, Math.floor(span));
  const pad = (value: number): string => String(Math.floor(value)).padStart(2, "0");
  if (whole < SECONDS_PER_MINUTE) return `${whole}s`;
  if (whole < SECONDS_PER_HOUR) {
    return `${Math.floor(whole / SECONDS_PER_MINUTE)}m ${pad(whole % SECONDS_PER_MINUTE)}s`;
  }
  if (whole < SECONDS_PER_DAY) {
    const minutes = (whole % SECONDS_PER_HOUR) / SECONDS_PER_MINUTE;
    return `${Math.floor(whole / SECONDS_PER_HOUR)}h ${pad(minutes)}m`;
  }
  const hours = (whole % SECONDS_PER_DAY) / SECONDS_PER_HOUR;
  return `${Math.floor(whole / SECONDS_PER_DAY)}d ${pad(hours)}h`;
}

/** A duration after `words`, as in `for 58s`; empty below a second. */
export function formatElapsed(words: string, span: Seconds): string {
  return span < 1 ? "" : words + formatDuration(span);
}

/** `512 B`, `61.2 KiB`, `2.61 MiB`. */
export function formatBytes(bytes: Bytes): string {
  const whole = Math.round(bytes);
  if (whole < BYTES_PER_KIBIBYTE) return `${whole} B`;
  // Rounding may carry: 1048575 B are 1.00 MiB, not 1024 KiB.
  return Math.round(bytes / BYTES_PER_KIBIBYTE) < BYTES_PER_KIBIBYTE
    ? `${roundToThree(bytes / BYTES_PER_KIBIBYTE)} KiB`
    : `${roundToThree(bytes / BYTES_PER_MEBIBYTE)} MiB`;
}

/** GiB without its unit: `71.9`, `8.00`. */
export function formatGibibytes(bytes: Bytes): string {
  return roundToThree(bytes / BYTES_PER_GIBIBYTE);
}

export function formatPower(watts: number): string {
  return `${watts.toFixed(0)} W`;
}

export function formatTemperature(celsius: number): string {
  return `${celsius.toFixed(0)} °C`;
}

export function formatClockRate(clock: Hertz): string {
  return `${(clock / HERTZ_PER_MEGAHERTZ).toFixed(0)} MHz`;
}

/**
 * `$13.56`, `$0.041`, `$574`, `$17.2k`, `USD 13.56`. Cents below 100; two significant digits below
 * 0.1.
 */
export function formatMoney(amount: number, currency: string): string {
  const size = Math.abs(amount);
  const digits = size >= 999.995
    ? formatQuantity(size)
    : size >= 99.995
    ? size.toFixed(0)
    : size >= 0.0995 || size === 0
    ? size.toFixed(2)
    : String(Number(size.toPrecision(2)));
  const sign = amount < 0 ? "-" : "";
  return `${sign}${currency}${/[A-Za-z]$/.test(currency) ? " " : ""}${digits}`;
}

/** `2 s`, `0.5 s`. */
export function formatInterval(interval: Seconds): string {
  return `${Number(interval.toFixed(3))} s`;
}
