/**
 * Points for graphs, of each replica and of the fleet: figures of the last poll, and latencies of
 * the last minute, as a poll has few. A failed scrape leaves a gap.
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
export type SeriesPoint = Readonly<Record<SeriesKey, number | null>> & {
  /** Monotonic. */
  readonly at: Seconds;
};

/** At least the newest `MAX_LONG_POINTS`, oldest first. As objects they would be most of the memory. */
export interface Series {
  /** Numbers of `BLOCK_POINTS` points each, their times and `SERIES_KEYS`; NaN is a gap. */
  readonly blocks: readonly Float64Array[];
  /** Numbers of the points after them, fewer than a block. */
  readonly newest: Float64Array;
}

export const NO_SERIES: Series = { blocks: [], newest: new Float64Array() };
const GAP = Object.freeze(createRecord(SERIES_KEYS, () => null));
/** Numbers of a point. */
const POINT_LENGTH = 1 + SERIES_KEYS.length;

export function appendPoint({ blocks, newest }: Series, point: SeriesPoint): Series {
  const numbers = new Float64Array(newest.length + POINT_LENGTH);
  numbers.set(newest);
  numbers[newest.length] = point.at;
  SERIES_KEYS.forEach((key, i) => numbers[newest.length + 1 + i] = point[key] ?? NaN);
  if (numbers.length < BLOCK_POINTS * POINT_LENGTH) return { blocks, newest: numbers };
  const kept = blocks.slice(1 - MAX_LONG_POINTS / BLOCK_POINTS);
  return { blocks: [...kept, numbers], newest: NO_SERIES.newest };
}

export function appendFigures(series: Series, figures: Figures, at: Seconds): Series {
  const { lastPoll, lastMinute: { latency: { ttft, itl } } } = figures;
  return appendPoint(series, {
    at,
    running: figures.running.value,
    waiting: figures.waiting.value,
    kvCacheUsageRatio: figures.kvCache.maxRatio.value,
    promptTokensPerSecond: lastPoll.promptTokensPerSecond.value,
    generationTokensPerSecond: lastPoll.generationTokensPerSecond.value,
    ttftP95Seconds: ttft.p95.value?.value ?? null,
    itlP95Seconds: itl.p95.value?.value ?? null,
  });
}

export function appendGap(series: Series, at: Seconds): Series {
  return appendPoint(series, { ...GAP, at });
}

export function countPoints({ blocks, newest }: Series): number {
  return blocks.length * BLOCK_POINTS + newest.length / POINT_LENGTH;
}

/** The newest numbers at a place of their points, oldest first; fewer if the series is shorter. */
function listNewest({ blocks, newest }: Series, place: number, maxPoints: number): number[] {
  const numbers: number[] = [];
  for (const block of [...blocks.slice(-Math.ceil(maxPoints / BLOCK_POINTS)), newest]) {
    for (let i = place; i < block.length; i += POINT_LENGTH) numbers.push(block[i]);
  }
  return numbers.slice(-maxPoints);
}

/** The newest values, oldest first; fewer if the series is shorter. */
export function getSeries(
  series: Series,
  key: SeriesKey,
  maxPoints = MAX_SERIES_POINTS,
): readonly (number | null)[] {
  return listNewest(series, 1 + SERIES_KEYS.indexOf(key), maxPoints)
    .map((value) => Number.isNaN(value) ? null : value);
}

/** When each of the newest values was polled. */
export function getSeriesTimes(series: Series, maxPoints = MAX_SERIES_POINTS): readonly Seconds[] {
  return listNewest(series, 0, maxPoints);
}

/** A gap of no time if the series is empty. */
export function getNewestPoint({ blocks, newest }: Series): SeriesPoint {
  const numbers = newest.length > 0 ? newest : blocks.at(-1) ?? NO_SERIES.newest;
  const [at = NaN, ...values] = numbers.subarray(-POINT_LENGTH);
  const point = createRecord(SERIES_KEYS, (key) => {
    const value = values[SERIES_KEYS.indexOf(key)] ?? NaN;
    return Number.isNaN(value) ? null : value;
  });
  return { ...point, at };
}

export const SUMMABLE_SERIES_KEYS = [
  "running",
  "waiting",
  "promptTokensPerSecond",
  "generationTokensPerSecond",
] as const satisfies readonly SeriesKey[];

/**
 * Sums points; of KV caches the fullest counts. A key is null if no replica has it, or if it cannot
 * be summed (a percentile).
 */
function sumPoints(points: readonly SeriesPoint[], at: Seconds): SeriesPoint {
  const sum = (key: SeriesKey): number | null =>
    points.reduce<number | null>((known, point) => {
      const value = point[key];
      return value === null ? known : (known ?? 0) + value;
    }, null);
  const usages = points.flatMap(({ kvCacheUsageRatio }) => kvCacheUsageRatio ?? []);
  const kvCacheUsageRatio = usages.length === 0 ? null : Math.max(...usages);
  return { ...GAP, ...createRecord(SUMMABLE_SERIES_KEYS, sum), kvCacheUsageRatio, at };
}

/** Without the newest point, of which there is at least one. */
function dropNewest({ blocks, newest }: Series): Series {
  if (newest.length > 0) return { blocks, newest: newest.slice(0, -POINT_LENGTH) };
  return {
    blocks: blocks.slice(0, -1),
    newest: blocks[blocks.length - 1].slice(0, -POINT_LENGTH),
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
  if (intervals < 1) {
    return { points: appendPoint(dropNewest(points), sumPoints(newest, startedAt)), startedAt };
  }
  // Keep the grid unless an interval was skipped.
  const start = intervals < 2 ? startedAt + interval : at;
  return { points: appendPoint(points, sumPoints(newest, start)), startedAt: start };
}

export function interruptTotal({ points }: TotalSeries, at: Seconds): TotalSeries {
  return { points: appendGap(points, at), startedAt: -Infinity };
}
