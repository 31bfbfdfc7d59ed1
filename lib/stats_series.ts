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
/** Half an hour at the default interval. */
export const MAX_LONG_POINTS = 900;
/** Full blocks are shared by all later series. */
const BLOCK_POINTS = 30;

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

/** At least the newest `MAX_LONG_POINTS`, oldest first. As objects they would be most of the memory. */
export interface Series {
  /** Numbers of `BLOCK_POINTS` points each, in the order of `SERIES_KEYS`; NaN is a gap. */
  readonly blocks: readonly Float64Array[];
  /** Numbers of the points after them, fewer than a block. */
  readonly newest: Float64Array;
}

export const NO_SERIES: Series = { blocks: [], newest: new Float64Array() };
const GAP: SeriesPoint = Object.freeze(createRecord(SERIES_KEYS, () => null));

export function appendPoint({ blocks, newest }: Series, point: SeriesPoint): Series {
  const numbers = new Float64Array(newest.length + SERIES_KEYS.length);
  numbers.set(newest);
  SERIES_KEYS.forEach((key, i) => numbers[newest.length + i] = point[key] ?? NaN);
  if (numbers.length < BLOCK_POINTS * SERIES_KEYS.length) return { blocks, newest: numbers };
  const kept = blocks.slice(1 - MAX_LONG_POINTS / BLOCK_POINTS);
  return { blocks: [...kept, numbers], newest: NO_SERIES.newest };
}

export function appendFigures(series: Series, figures: Figures): Series {
  const { lastPoll, lastMinute: { latency: { ttft, itl } } } = figures;
  return appendPoint(series, {
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
  return appendPoint(series, GAP);
}

export function countPoints({ blocks, newest }: Series): number {
  return blocks.length * BLOCK_POINTS + newest.length / SERIES_KEYS.length;
}

/** The newest values, oldest first; fewer if the series is shorter. */
export function getSeries(
  { blocks, newest }: Series,
  key: SeriesKey,
  maxPoints = MAX_SERIES_POINTS,
): readonly (number | null)[] {
  const values: (number | null)[] = [];
  const place = SERIES_KEYS.indexOf(key);
  for (const numbers of [...blocks.slice(-Math.ceil(maxPoints / BLOCK_POINTS)), newest]) {
    for (let i = place; i < numbers.length; i += SERIES_KEYS.length) {
      values.push(Number.isNaN(numbers[i]) ? null : numbers[i]);
    }
  }
  return values.slice(-maxPoints);
}

/** A gap if the series is empty. */
export function getNewestPoint({ blocks, newest }: Series): SeriesPoint {
  const numbers = newest.length > 0 ? newest : blocks.at(-1) ?? NO_SERIES.newest;
  const values = numbers.subarray(-SERIES_KEYS.length);
  return createRecord(SERIES_KEYS, (key) => {
    const value = values[SERIES_KEYS.indexOf(key)] ?? NaN;
    return Number.isNaN(value) ? null : value;
  });
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

/** Without the newest point, of which there is at least one. */
function dropNewest({ blocks, newest }: Series): Series {
  if (newest.length > 0) return { blocks, newest: newest.slice(0, -SERIES_KEYS.length) };
  return {
    blocks: blocks.slice(0, -1),
    newest: blocks[blocks.length - 1].slice(0, -SERIES_KEYS.length),
  };
}

/** The fleet has one point per interval, because replicas are scraped at different times. */
export interface TotalSeries {
  readonly points: Series;
  /** Start of the newest point's interval; −∞ if the next moment starts one. */
  readonly startedAt: Seconds;
}

export const NO_TOTAL_SERIES: TotalSeries = { points: NO_SERIES, startedAt: -Infinity };
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
  if (intervals < 1) return { points: appendPoint(dropNewest(points), point), startedAt };
  // Keep the grid unless an interval was skipped.
  return {
    points: appendPoint(points, point),
    startedAt: intervals < 2 ? startedAt + interval : at,
  };
}

export function interruptTotal({ points }: TotalSeries): TotalSeries {
  return { points: appendPoint(points, GAP), startedAt: -Infinity };
}
