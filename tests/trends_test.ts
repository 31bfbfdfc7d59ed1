import { assertEquals } from "@std/assert";
import { computeFigures } from "../lib/aggregate.ts";
import { createOverview } from "../lib/overview.ts";
import {
  appendFigures,
  appendGap,
  readTrend,
  sumTrends,
  type Trend,
  TREND_KEYS,
  TREND_POINTS,
} from "../lib/trends.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const [ROW] = createOverview(watchFleet(1)).rows;

Deno.test("appendFigures() keeps what was measured, in base units", () => {
  const trend = appendFigures([], ROW.figures);
  const { figures } = ROW;
  assertEquals(trend, [{
    running: figures.running.value,
    waiting: figures.waiting.value,
    kvCacheUsageRatio: figures.kvCache.maxRatio.value,
    promptTokensPerSecond: figures.lastPoll.promptTokensPerSecond.value,
    generationTokensPerSecond: figures.lastPoll.generationTokensPerSecond.value,
    ttftP95Seconds: figures.lastPoll.latency.ttft.p95.value?.value ?? null,
    itlP95Seconds: figures.lastPoll.latency.itl.p95.value?.value ?? null,
  }]);
});

Deno.test("appendFigures() and appendGap() leave gaps where nothing was measured", () => {
  const trend = appendGap(appendFigures([], computeFigures([])));
  for (const key of TREND_KEYS) assertEquals(readTrend(trend, key), [null, null], key);
});

Deno.test("appendFigures() and appendGap() keep the newest points only", () => {
  let trend: Trend = [];
  for (let i = 0; i < TREND_POINTS; i++) trend = appendGap(trend);
  trend = appendFigures(trend, ROW.figures);
  assertEquals(trend.length, TREND_POINTS);
  assertEquals(readTrend(trend, "running").at(-1), ROW.figures.running.value);
  for (let i = 1; i < TREND_POINTS; i++) trend = appendGap(trend);
  assertEquals(readTrend(trend, "running")[0], ROW.figures.running.value);
  assertEquals(readTrend(appendGap(trend), "running").every((value) => value === null), true);
});

Deno.test("sumTrends() adds up at the newest points, with gaps where all have one", () => {
  const point = { ...appendGap([])[0] };
  const trendOf = (values: readonly (number | null)[]): Trend =>
    values.map((running) => ({ ...point, running }));
  const sum = (...trends: readonly (number | null)[][]): readonly (number | null)[] =>
    sumTrends(trends.map(trendOf), "running");
  assertEquals(sum([1, 2, 3], [10, 20, 30]), [11, 22, 33]);
  // The shorter one began later.
  assertEquals(sum([1, 2, 3], [30]), [1, 2, 33]);
  assertEquals(sum([1, null, 3], [null, null, 0]), [1, null, 3]);
  assertEquals(sum([0], [0]), [0]);
  assertEquals(sum([], []), []);
  assertEquals(sum(), []);
});
