/**
 * Trends as charts: of all replicas together in a panel, and of one in its
 * details.
 *
 * Layer 4, pure. Charts are as large as the room allows; gaps stay gaps.
 *
 * @module
 */

import { DASH, formatCount, formatLatency, formatPercent, formatQuantity } from "./format.ts";
import type { Paint } from "./frame.ts";
import { drawChart, drawSparkline } from "./glyphs.ts";
import type { Overview } from "./overview.ts";
import { layOut, type Panel, type PanelSpace } from "./panel.ts";
import { measureWidth } from "./text.ts";
import { readTrend, SUMMABLE_TREND_KEYS, TREND_POINTS, type TrendKey } from "./trends.ts";

/** How a trend is called, and how its values read. */
const TREND_TITLES: Readonly<Record<TrendKey, readonly [string, (value: number) => string]>> = {
  running: ["Running", formatCount],
  waiting: ["Waiting", formatCount],
  kvCacheUsageRatio: ["KV cache", formatPercent],
  promptTokensPerSecond: ["Prompt tok/s", formatQuantity],
  generationTokensPerSecond: ["Output tok/s", formatQuantity],
  ttftP95Seconds: ["TTFT P95", formatLatency],
  itlP95Seconds: ["ITL P95", formatLatency],
};

/** Smallest, largest and newest of the values that are no gaps. */
function summarize(values: readonly (number | null)[], format: (value: number) => string): string {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return DASH;
  const newest = values.at(-1) ?? null;
  const now = newest === null ? DASH : format(newest);
  return `min ${format(Math.min(...known))}  max ${format(Math.max(...known))}  now ${now}`;
}

/** A figure's values, oldest first. */
export type NamedTrend = readonly [TrendKey, readonly (number | null)[]];

/**
 * Each of the trends as a chart: title, `size`, and the extremes of what is
 * drawn. Charts of several lines are parted by a blank one.
 */
export function renderTrends(
  trends: readonly NamedTrend[],
  size: { readonly width: number; readonly height: number },
  paint: Paint,
): string[] {
  const rows = trends.flatMap(([key, values], place) => {
    const [title, format] = TREND_TITLES[key];
    const chart = drawChart(values, size).map((line) => ["", paint(line, "ok"), ""]);
    // The figures stand on the floor of their chart.
    chart[size.height - 1][0] = title;
    chart[size.height - 1][2] = summarize(values.slice(-size.width), format);
    return place === 0 || size.height === 1 ? chart : [["", "", ""], ...chart];
  });
  return layOut(rows, "left");
}

/** Cells of a chart at the least, and lines of one at the most. */
const MIN_CHART_WIDTH = 10;
const MAX_CHART_HEIGHT = 6;

/** Cells beside a chart: its title, and the blanks before, behind and after its extremes. */
const BESIDE_CHART = 18;

/** The charts of the trends, as large as the space allows: a line each at the least. */
export function fillWithTrends(
  trends: readonly NamedTrend[],
  space: PanelSpace,
  paint: Paint,
): string[] {
  const perChart = Math.floor((space.lines + 1) / trends.length);
  const extremes = trends.map(([key, values]) =>
    measureWidth(summarize(values, TREND_TITLES[key][1]))
  );
  const room = space.width - BESIDE_CHART - Math.max(...extremes);
  return renderTrends(trends, {
    width: Math.max(MIN_CHART_WIDTH, Math.min(TREND_POINTS, room)),
    // One line of several parts a chart from the next.
    height: Math.min(MAX_CHART_HEIGHT, perChart > 2 ? perChart - 1 : 1),
  }, paint);
}

/** The trends of all replicas together. */
export function createTrendPanel(overview: Overview, paint: Paint): Panel {
  const trends = SUMMABLE_TREND_KEYS.map((key) =>
    [key, readTrend(overview.totalTrend, key)] as const
  );
  const running = drawSparkline(trends[0][1], TREND_POINTS / 2).trimStart();
  return {
    id: "trend",
    title: "TREND of all",
    minLines: trends.length,
    maxLines: trends.length * (MAX_CHART_HEIGHT + 1) - 1,
    draw: (space) => fillWithTrends(trends, space, paint),
    summary: `running  ${running === "" ? DASH : paint(running, "ok")}`,
  };
}
