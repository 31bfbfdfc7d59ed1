/**
 * The last minutes of one replica, point by point, for sparklines.
 *
 * Layer 2, pure. Each scrape adds a point, and a failed one adds a gap: what
 * was not measured is not drawn. Only what a screen shows is kept, `TREND_POINTS`
 * of it. Figures are those of the last poll, in base units.
 *
 * @module
 */

import type { Figures } from "./model.ts";
import { isPresent, type Reading } from "./reading.ts";

/** Points that are kept: two minutes at the default interval. */
export const TREND_POINTS = 60;

/** The figures that have a trend, in the order in which they are shown. */
export const TREND_KEYS = [
  "running",
  "waiting",
  "kvCacheUsageRatio",
  "promptTokensPerSecond",
  "generationTokensPerSecond",
  "ttftP95Seconds",
  "itlP95Seconds",
] as const;
export type TrendKey = typeof TREND_KEYS[number];

/** One moment. `null` is a gap. */
export type TrendPoint = Readonly<Record<TrendKey, number | null>>;

/** Points, oldest first, at most `TREND_POINTS`. */
export type Trend = readonly TrendPoint[];

const GAP: TrendPoint = Object.freeze({
  running: null,
  waiting: null,
  kvCacheUsageRatio: null,
  promptTokensPerSecond: null,
  generationTokensPerSecond: null,
  ttftP95Seconds: null,
  itlP95Seconds: null,
});

function readValue(reading: Reading): number | null {
  return isPresent(reading) ? reading.value : null;
}

function append(trend: Trend, point: TrendPoint): Trend {
  return [...trend.slice(-(TREND_POINTS - 1)), point];
}

/** The trend with the figures of one more scrape. */
export function appendFigures(trend: Trend, figures: Figures): Trend {
  const { lastPoll } = figures;
  const { ttft, itl } = lastPoll.latency;
  return append(trend, {
    running: readValue(figures.running),
    waiting: readValue(figures.waiting),
    kvCacheUsageRatio: readValue(figures.kvCache.maxRatio),
    promptTokensPerSecond: readValue(lastPoll.promptTokensPerSecond),
    generationTokensPerSecond: readValue(lastPoll.generationTokensPerSecond),
    ttftP95Seconds: isPresent(ttft.p95) ? ttft.p95.value.value : null,
    itlP95Seconds: isPresent(itl.p95) ? itl.p95.value.value : null,
  });
}

/** The trend with a scrape that failed. */
export function appendGap(trend: Trend): Trend {
  return append(trend, GAP);
}

/** One figure of the trend, oldest first. */
export function readTrend(trend: Trend, key: TrendKey): readonly (number | null)[] {
  return trend.map((point) => point[key]);
}

/** How each figure is read: a property by a name that is known is read many times faster. */
const READERS: Readonly<Record<TrendKey, (point: TrendPoint) => number | null>> = {
  running: (point) => point.running,
  waiting: (point) => point.waiting,
  kvCacheUsageRatio: (point) => point.kvCacheUsageRatio,
  promptTokensPerSecond: (point) => point.promptTokensPerSecond,
  generationTokensPerSecond: (point) => point.generationTokensPerSecond,
  ttftP95Seconds: (point) => point.ttftP95Seconds,
  itlP95Seconds: (point) => point.itlP95Seconds,
};

/**
 * The sum of one figure over several trends, aligned at their newest points. A
 * moment at which no trend has a value is a gap.
 */
export function sumTrends(trends: readonly Trend[], key: TrendKey): readonly (number | null)[] {
  const read = READERS[key];
  const length = Math.max(0, ...trends.map((trend) => trend.length));
  const sums = new Float64Array(length);
  const counts = new Uint32Array(length);
  for (const trend of trends) {
    const offset = length - trend.length;
    for (let i = 0; i < trend.length; i++) {
      const value = read(trend[i]);
      if (value === null) continue;
      sums[offset + i] += value;
      counts[offset + i]++;
    }
  }
  return Array.from(sums, (sum, i) => counts[i] === 0 ? null : sum);
}
