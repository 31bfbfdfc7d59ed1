/**
 * The last minutes of one replica, and of all together, point by point, for
 * sparklines.
 *
 * Each scrape adds a point, and a failed one adds a gap: what
 * was not measured is not drawn. Replicas are asked at paces of their own, so
 * all together have a point for each interval: the sum at one moment. Only what
 * a screen shows is kept, `MAX_SERIES_POINTS` of it. Figures are those of the last
 * poll, in base units; instants are monotonic seconds.
 *
 * @module
 */

import type { Figures } from "./model.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { Ratio, Seconds } from "./units.ts";

/** Points that are kept: two minutes at the default interval. */
export const MAX_SERIES_POINTS = 60;

/** The figures that have a trend, in the order in which they are shown. */
export const SERIES_KEYS = [
  "running",
  "waiting",
  "kvCacheUsageRatio",
  "promptTokensPerSecond",
  "generationTokensPerSecond",
  "ttftP95Seconds",
  "itlP95Seconds",
] as const;
export type SeriesKey = typeof SERIES_KEYS[number];

/** One moment. `null` is a gap. */
export type SeriesPoint = Readonly<Record<SeriesKey, number | null>>;

/** Points, oldest first, at most `MAX_SERIES_POINTS`. */
export type Series = readonly SeriesPoint[];

const GAP: SeriesPoint = Object.freeze({
  running: null,
  waiting: null,
  kvCacheUsageRatio: null,
  promptTokensPerSecond: null,
  generationTokensPerSecond: null,
  ttftP95Seconds: null,
  itlP95Seconds: null,
});

function getPointValue(reading: Reading): number | null {
  return isPresent(reading) ? reading.value : null;
}

function append(trend: Series, point: SeriesPoint): Series {
  return [...trend.slice(-(MAX_SERIES_POINTS - 1)), point];
}

/** The trend with the figures of one more scrape. */
export function appendFigures(trend: Series, figures: Figures): Series {
  const { lastPoll } = figures;
  const { ttft, itl } = lastPoll.latency;
  return append(trend, {
    running: getPointValue(figures.running),
    waiting: getPointValue(figures.waiting),
    kvCacheUsageRatio: getPointValue(figures.kvCache.maxRatio),
    promptTokensPerSecond: getPointValue(lastPoll.promptTokensPerSecond),
    generationTokensPerSecond: getPointValue(lastPoll.generationTokensPerSecond),
    ttftP95Seconds: isPresent(ttft.p95) ? ttft.p95.value.value : null,
    itlP95Seconds: isPresent(itl.p95) ? itl.p95.value.value : null,
  });
}

/** The trend with a scrape that failed. */
export function appendGap(trend: Series): Series {
  return append(trend, GAP);
}

/** One figure of the trend, oldest first. */
export function getSeries(trend: Series, key: SeriesKey): readonly (number | null)[] {
  return trend.map((point) => point[key]);
}

/** The figures that may be added up over replicas, in the order in which they are shown. */
export const SUMMABLE_SERIES_KEYS = [
  "running",
  "waiting",
  "promptTokensPerSecond",
  "generationTokensPerSecond",
] as const satisfies readonly SeriesKey[];

/** What several have at one moment, added up. Of what nobody has a value there is none, nor of what is no sum. */
function sumPoints(points: readonly SeriesPoint[]): SeriesPoint {
  const sum = (key: SeriesKey): number | null =>
    points.reduce<number | null>((known, point) => {
      const value = point[key];
      return value === null ? known : (known ?? 0) + value;
    }, null);
  return { ...GAP, ...Object.fromEntries(SUMMABLE_SERIES_KEYS.map((key) => [key, sum(key)])) };
}

/** The last minutes of all replicas together: a point for each interval. */
export interface TotalSeries {
  readonly points: Series;
  /** When the interval of the newest point began; −∞ where the next moment begins one. */
  readonly begunAt: Seconds;
}

/** Nothing was measured yet. */
export const NO_TOTAL_SERIES: TotalSeries = { points: [], begunAt: -Infinity };

/** A poll may come this share of the interval too soon, and belongs to the next nevertheless. */
const EARLY_SHARE: Ratio = 0.1;

/**
 * The trend with what all have now. While its interval lasts, the newest point
 * is brought up to date; what stands before it never changes. Rejected: adding
 * up the trends of the replicas, which have their points at different moments.
 *
 * @param newest The newest point of each replica that counts in totals.
 */
export function recordTotal(
  trend: TotalSeries,
  newest: readonly SeriesPoint[],
  moment: { readonly at: Seconds; readonly interval: Seconds },
): TotalSeries {
  const { points, begunAt } = trend;
  const { at, interval } = moment;
  const intervals = (at - begunAt) / interval + EARLY_SHARE;
  const point = sumPoints(newest);
  if (intervals < 1) return { points: [...points.slice(0, -1), point], begunAt };
  // Intervals keep their places, unless one was left out.
  return { points: append(points, point), begunAt: intervals < 2 ? begunAt + interval : at };
}

/** The trend with a gap at its end, in which nobody has watched. */
export function interruptTotal({ points }: TotalSeries): TotalSeries {
  return { points: append(points, GAP), begunAt: -Infinity };
}
