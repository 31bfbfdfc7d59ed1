/**
 * Points for sparklines, of each replica and of the fleet: figures of the last poll, and
 * latencies of the last minute, as a poll has few. A failed
 * scrape leaves a gap.
 * @module
 */

import { createRecord, type Figures } from "./model.ts";
import type { Ratio, Seconds } from "./units.ts";

/** Two minutes at the default interval. */
export const MAX_SERIES_POINTS = 60;

/** Series whose peak is kept. In display order, like the next ones. */
export const PEAK_KEYS = [
  "running",
  "waiting",
  "kvCacheUsageRatio",
  "promptTokensPerSecond",
  "generationTokensPerSecond",
] as const;
export type PeakKey = typeof PEAK_KEYS[number];
export const SERIES_KEYS = [...PEAK_KEYS, "ttftP95Seconds", "itlP95Seconds"] as const;
export type SeriesKey = typeof SERIES_KEYS[number];
/** `null` is a gap. */
export type SeriesPoint = Readonly<Record<SeriesKey, number | null>>;
/** Oldest first, at most `MAX_SERIES_POINTS`. */
export type Series = readonly SeriesPoint[];
const GAP: SeriesPoint = Object.freeze(createRecord(SERIES_KEYS, () => null));

function append(series: Series, point: SeriesPoint): Series {
  return [...series.slice(-(MAX_SERIES_POINTS - 1)), point];
}

export function appendFigures(series: Series, figures: Figures): Series {
  const { lastPoll, lastMinute: { latency: { ttft, itl } } } = figures;
  return append(series, {
    running: figures.running.value,
    waiting: figures.waiting.value,
    kvCacheUsageRatio: figures.kvCache.maxRatio.value,
    promptTokensPerSecond: lastPoll.promptTokensPerSecond.value,
    generationTokensPerSecond: lastPoll.generationTokensPerSecond.value,
    ttftP95Seconds: ttft.p95.value?.value ?? null,
    itlP95Seconds: itl.p95.value?.value ?? null,
  });
}

export function appendGap(series: Series): Series {
  return append(series, GAP);
}

export function getSeries(series: Series, key: SeriesKey): readonly (number | null)[] {
  return series.map((point) => point[key]);
}

export const SUMMABLE_SERIES_KEYS = [
  "running",
  "waiting",
  "promptTokensPerSecond",
  "generationTokensPerSecond",
] as const satisfies readonly SeriesKey[];

/**
 * Sums points. A key is null if no replica has it, or if it cannot be summed (a ratio, a
 * percentile).
 */
function sumPoints(points: readonly SeriesPoint[]): SeriesPoint {
  const sum = (key: SeriesKey): number | null =>
    points.reduce<number | null>((known, point) => {
      const value = point[key];
      return value === null ? known : (known ?? 0) + value;
    }, null);
  return { ...GAP, ...createRecord(SUMMABLE_SERIES_KEYS, sum) };
}

/** The fleet has one point per interval, because replicas are scraped at different times. */
export interface TotalSeries {
  readonly points: Series;
  /** Start of the newest point's interval; −∞ if the next moment starts one. */
  readonly startedAt: Seconds;
}

export const NO_TOTAL_SERIES: TotalSeries = { points: [], startedAt: -Infinity };
/** Share of the interval by which a poll may be early and still count for the next one. */
const EARLY_TOLERANCE: Ratio = 0.1;

/**
 * Adds the current sum, or updates the newest point within its interval. Summing the replicas'
 * series would mix moments.
 * @param newest Newest point of each replica in totals.
 */
export function recordTotal(
  series: TotalSeries,
  newest: readonly SeriesPoint[],
  moment: { readonly at: Seconds; readonly interval: Seconds },
): TotalSeries {
  const { points, startedAt } = series;
  const { at, interval } = moment;
  const intervals = (at - startedAt) / interval + EARLY_TOLERANCE;
  const point = sumPoints(newest);
  if (intervals < 1) return { points: [...points.slice(0, -1), point], startedAt };
  // Keep the grid unless an interval was skipped.
  return { points: append(points, point), startedAt: intervals < 2 ? startedAt + interval : at };
}

export function interruptTotal({ points }: TotalSeries): TotalSeries {
  return { points: append(points, GAP), startedAt: -Infinity };
}
