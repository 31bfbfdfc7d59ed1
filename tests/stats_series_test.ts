import { assertEquals } from "@std/assert";
import { computeFigures } from "../lib/stats_aggregate.ts";
import {
  appendFigures,
  appendGap,
  getSeries,
  interruptTotal,
  MAX_SERIES_POINTS,
  NO_TOTAL_SERIES,
  recordTotal,
  type Series,
  SERIES_KEYS,
  type SeriesPoint,
  SUMMABLE_SERIES_KEYS,
  type TotalSeries,
} from "../lib/stats_series.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const [ROW] = watchFleet(1).fleet.rows;

Deno.test("appendFigures() keeps figures in base units", () => {
  const trend = appendFigures([], ROW.figures);
  const { figures } = ROW;
  assertEquals(trend, [{
    running: figures.running.value,
    waiting: figures.waiting.value,
    kvCacheUsageRatio: figures.kvCache.maxRatio.value,
    promptTokensPerSecond: figures.lastPoll.promptTokensPerSecond.value,
    generationTokensPerSecond: figures.lastPoll.generationTokensPerSecond.value,
    ttftP95Seconds: figures.lastMinute.latency.ttft.p95.value?.value ?? null,
    itlP95Seconds: figures.lastMinute.latency.itl.p95.value?.value ?? null,
  }]);
});

Deno.test("appendFigures() and appendGap() leave gaps for absent figures", () => {
  const trend = appendGap(appendFigures([], computeFigures([])));
  for (const key of SERIES_KEYS) assertEquals(getSeries(trend, key), [null, null], key);
});

Deno.test("appendFigures() and appendGap() keep only the newest points", () => {
  let trend: Series = [];
  for (let i = 0; i < MAX_SERIES_POINTS; i++) trend = appendGap(trend);
  trend = appendFigures(trend, ROW.figures);
  assertEquals(trend.length, MAX_SERIES_POINTS);
  assertEquals(getSeries(trend, "running").at(-1), ROW.figures.running.value);
  for (let i = 1; i < MAX_SERIES_POINTS; i++) trend = appendGap(trend);
  assertEquals(getSeries(trend, "running")[0], ROW.figures.running.value);
  assertEquals(getSeries(appendGap(trend), "running").every((value) => value === null), true);
});

/** A point with this number of running requests. */
function createPoint(running: number | null): SeriesPoint {
  return { ...appendGap([])[0], running };
}

/** The fleet's series after these moments, at an interval of 2 s. */
function record(
  ...moments: readonly (readonly [at: number, ...running: readonly (number | null)[]])[]
): TotalSeries {
  return moments.reduce<TotalSeries>(
    (trend, [at, ...running]) => recordTotal(trend, running.map(createPoint), { at, interval: 2 }),
    NO_TOTAL_SERIES,
  );
}

const readRunning = ({ points }: TotalSeries) => getSeries(points, "running");

Deno.test("recordTotal() sums summable figures, with a gap if no replica has a value", () => {
  assertEquals(readRunning(record([0, 1, 10], [2, 2, null], [4, null, null], [6], [8, 0])), [
    ...[11, 2, null, null, 0],
  ]);
  const figures = appendFigures([], ROW.figures);
  const { points } = recordTotal(NO_TOTAL_SERIES, [...figures, ...figures], { at: 0, interval: 2 });
  for (const key of SERIES_KEYS) {
    const isSum = SUMMABLE_SERIES_KEYS.some((one) => one === key);
    assertEquals(points[0][key], isSum ? 2 * (figures[0][key] ?? NaN) : null, key);
  }
});

Deno.test("recordTotal() has one point per interval and updates the newest", () => {
  assertEquals(readRunning(record([0, 1], [0.5, 2], [1.7, 3])), [3]);
  // A poll a little early or late belongs to its interval.
  const polls = [0, 2.1, 3.9, 6.1, 7.9, 10].map((at, i) => [at, i] as const);
  assertEquals(readRunning(record(...polls)), [0, 1, 2, 3, 4, 5]);
  // Evaluations between polls neither add nor move points.
  const frames = Array.from({ length: 201 }, (_, i) => [i / 10, Math.floor(i / 20)] as const);
  assertEquals(readRunning(record(...frames)), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  // After a pause, a new grid of intervals.
  assertEquals(readRunning(record([0, 1], [9.5, 2], [11.4, 3])), [1, 2, 3]);
});

Deno.test("recordTotal() begins an interval up to a tenth of it early", () => {
  assertEquals(readRunning(record([0, 1], [1.79, 2])), [2]);
  assertEquals(readRunning(record([0, 1], [1.8, 2])), [1, 2]);
  // A tenth before the second interval ends, one was skipped.
  assertEquals(readRunning(record([0, 1], [3.79, 2], [5.8, 3])), [1, 2, 3]);
  assertEquals(readRunning(record([0, 1], [3.8, 2], [5.5, 3])), [1, 3]);
});

Deno.test("recordTotal() keeps only the newest points", () => {
  const moments = Array.from({ length: MAX_SERIES_POINTS + 5 }, (_, i) => [2 * i, i] as const);
  const trend = record(...moments);
  assertEquals(trend.points.length, MAX_SERIES_POINTS);
  assertEquals(readRunning(trend)[0], 5);
});

Deno.test("interruptTotal() adds a gap, after which a new interval starts", () => {
  const trend = interruptTotal(record([0, 1], [2, 2]));
  const later = recordTotal(trend, [createPoint(3)], { at: 2.5, interval: 2 });
  assertEquals(readRunning(later), [1, 2, null, 3]);
});
