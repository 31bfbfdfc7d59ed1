import { assertEquals } from "@std/assert";
import { computeFigures } from "../lib/stats_aggregate.ts";
import {
  appendFigures,
  appendGap,
  countPoints,
  getNewestPoint,
  getSeries,
  getSeriesTimes,
  interruptTotal,
  MAX_LONG_POINTS,
  MAX_SERIES_POINTS,
  NO_SERIES,
  NO_TOTAL_SERIES,
  recordTotal,
  SERIES_KEYS,
  type SeriesPoint,
  SUMMABLE_SERIES_KEYS,
  type TotalSeries,
} from "../lib/stats_series.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const [ROW] = watchFleet(1).fleet.rows;

Deno.test("appendFigures() keeps figures in base units", () => {
  const trend = appendFigures(NO_SERIES, ROW.figures, 7);
  const { figures } = ROW;
  assertEquals(getNewestPoint(trend), {
    at: 7,
    running: figures.running.value,
    waiting: figures.waiting.value,
    kvCacheUsageRatio: figures.kvCache.maxRatio.value,
    promptTokensPerSecond: figures.lastPoll.promptTokensPerSecond.value,
    generationTokensPerSecond: figures.lastPoll.generationTokensPerSecond.value,
    ttftP95Seconds: figures.lastMinute.latency.ttft.p95.value?.value ?? null,
    itlP95Seconds: figures.lastMinute.latency.itl.p95.value?.value ?? null,
  });
});

Deno.test("appendFigures() and appendGap() leave gaps for absent figures", () => {
  const trend = appendGap(appendFigures(NO_SERIES, computeFigures([]), 1), 3);
  for (const key of SERIES_KEYS) assertEquals(getSeries(trend, key), [null, null], key);
  assertEquals(getSeriesTimes(trend), [1, 3]);
});

Deno.test("appendFigures() and appendGap() keep only the newest points", () => {
  const first = appendFigures(NO_SERIES, ROW.figures, 0);
  let trend = first;
  for (let i = 1; i < MAX_LONG_POINTS; i++) trend = appendGap(trend, i);
  const list = (maxPoints?: number) => getSeries(trend, "running", maxPoints);
  assertEquals(countPoints(trend), MAX_LONG_POINTS);
  assertEquals(list(MAX_LONG_POINTS)[0], ROW.figures.running.value);
  assertEquals(list().length, MAX_SERIES_POINTS);
  assertEquals(getSeriesTimes(trend, 2), [MAX_LONG_POINTS - 2, MAX_LONG_POINTS - 1]);
  trend = appendFigures(trend, ROW.figures, MAX_LONG_POINTS);
  assertEquals(list(MAX_LONG_POINTS)[0], null);
  assertEquals([list().at(-1), list(1)], [ROW.figures.running.value, [ROW.figures.running.value]]);
  for (let i = 0; i < 3 * MAX_LONG_POINTS; i++) trend = appendGap(trend, 1000 + i);
  assertEquals(countPoints(trend) < MAX_LONG_POINTS + 60, true);
  // What an earlier series held stays.
  assertEquals(getSeries(first, "running"), [ROW.figures.running.value]);
});

/** A point with this number of running requests. */
function createPoint(running: number | null): SeriesPoint {
  return { ...getNewestPoint(NO_SERIES), running };
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

Deno.test("recordTotal() sums summable figures and takes the fullest KV cache, with a gap if no replica has a value", () => {
  assertEquals(readRunning(record([0, 1, 10], [2, 2, null], [4, null, null], [6], [8, 0])), [
    ...[11, 2, null, null, 0],
  ]);
  const figures = getNewestPoint(appendFigures(NO_SERIES, ROW.figures, 0));
  const { points } = recordTotal(NO_TOTAL_SERIES, [figures, figures], { at: 0, interval: 2 });
  for (const key of SERIES_KEYS) {
    const isSum = SUMMABLE_SERIES_KEYS.some((one) => one === key);
    const wanted = isSum ? 2 * (figures[key] ?? NaN) : null;
    const fullest = key === "kvCacheUsageRatio" ? figures[key] : wanted;
    assertEquals(getNewestPoint(points)[key], fullest, key);
  }
  const usages = [0.25, 0.75, null].map((ratio) => ({ ...figures, kvCacheUsageRatio: ratio }));
  const { points: fullest } = recordTotal(NO_TOTAL_SERIES, usages, { at: 0, interval: 2 });
  assertEquals(getNewestPoint(fullest).kvCacheUsageRatio, 0.75);
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

Deno.test("recordTotal() updates the newest point at any place in a block", () => {
  const moments = Array.from({ length: 70 }, (_, i) => [2 * i, i] as const);
  const trend = record(...moments.flatMap(([at, i]) => [[at, -1], [at + 0.5, i]] as const));
  assertEquals(
    getSeries(trend.points, "running", MAX_LONG_POINTS),
    moments.map(([, i]) => i),
  );
});

Deno.test("interruptTotal() adds a gap, after which a new interval starts", () => {
  const trend = interruptTotal(record([0, 1], [2, 2]), 2.2);
  const later = recordTotal(trend, [createPoint(3)], { at: 2.5, interval: 2 });
  assertEquals(readRunning(later), [1, 2, null, 3]);
  assertEquals(getSeriesTimes(later.points), [0, 2, 2.2, 2.5]);
});
