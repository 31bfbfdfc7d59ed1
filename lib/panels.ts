/**
 * The panels below the table: more about all replicas, as far as there is room.
 *
 * Layer 4, pure. Latency of all, trends of all, what became of requests. Each
 * panel says how many lines it needs, and draws itself into those it is given;
 * `panel_layout` decides which are shown, and where.
 *
 * @module
 */

import { Table } from "@cliffy/table";
import {
  DASH,
  formatCount,
  formatLatency,
  formatPercent,
  formatQuantile,
  formatQuantity,
  formatReading,
} from "./format.ts";
import type { Paint } from "./frame.ts";
import { drawChart, drawSparkline } from "./glyphs.ts";
import { LATENCY_KEYS, type LatencyKey } from "./model.ts";
import type { Overview } from "./overview.ts";
import { isPresent } from "./reading.ts";
import { measureWidth } from "./text.ts";
import { sumTrends, TREND_POINTS, type TrendKey } from "./trends.ts";
import type { PanelId } from "./ui.ts";

/** What a panel is given: cells across, and lines without its title. */
export interface PanelSpace {
  readonly width: number;
  readonly lines: number;
}

/** A panel's content. */
export interface Panel {
  readonly id: PanelId;
  readonly title: string;
  /** Lines without which it is not shown in full. */
  readonly minLines: number;
  /** Lines beyond which more are of no use to it. */
  readonly maxLines: number;
  /** Draws itself into at least `minLines` lines; wider than the space it is cut. */
  readonly draw: (space: PanelSpace) => readonly string[];
  /** What stands in its place where there is room for one line. */
  readonly summary: string;
}

/** A panel whose lines do not depend on its space. */
function createFixedPanel(
  panel: Pick<Panel, "id" | "title" | "summary"> & { readonly lines: readonly string[] },
): Panel {
  const { lines, ...rest } = panel;
  return { ...rest, minLines: lines.length, maxLines: lines.length, draw: () => lines };
}

/** How latencies are called. */
export const LATENCY_TITLES: Readonly<Record<LatencyKey, string>> = {
  ttft: "TTFT",
  itl: "ITL",
  tpot: "TPOT",
  e2e: "E2E",
  queue: "Queue",
  prefill: "Prefill",
  decode: "Decode",
};

function layOut(rows: readonly (readonly string[])[], align: "left" | "right"): string[] {
  const count = Math.max(...rows.map((row) => row.length));
  const table = new Table()
    .body(rows.map((row) => [...row]))
    .columns(Array.from({ length: count }, (_, i) => ({ align: i === 0 ? "left" : align })))
    .padding(2)
    .border(false);
  return table.toString().split("\n").map((line) => line.trimEnd());
}

function createLatencyPanel(overview: Overview): Panel {
  const { lastPoll, lastMinute } = overview.total.figures;
  const rows = LATENCY_KEYS.map((key) => {
    const { p50, p95, p99, samples } = lastPoll.latency[key];
    const minute = lastMinute.latency[key];
    return [
      LATENCY_TITLES[key],
      ...[p50, p95, p99].map((quantile) => formatReading(quantile, formatQuantile)),
      formatReading(samples, formatCount),
      formatReading(minute.p95, formatQuantile),
      formatReading(minute.samples, formatCount),
    ];
  });
  const heading = ["", "P50", "P95", "P99", "n", "P95@1m", "n@1m"];
  const p95 = LATENCY_KEYS.map((key) =>
    `${LATENCY_TITLES[key]} ${formatReading(lastMinute.latency[key].p95, formatQuantile)}`
  );
  return createFixedPanel({
    id: "latency",
    title: "LATENCY of all",
    lines: layOut([heading, ...rows], "right"),
    summary: `P95@1m  ${p95.join("  ")}`,
  });
}

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

/** Trends that may be added up over replicas. */
const SUMMABLE_TRENDS: readonly TrendKey[] = [
  "running",
  "waiting",
  "promptTokensPerSecond",
  "generationTokensPerSecond",
];

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

function createTrendPanel(overview: Overview, paint: Paint): Panel {
  const all = overview.rows.map(({ trend }) => trend);
  const trends = SUMMABLE_TRENDS.map((key) => [key, sumTrends(all, key)] as const);
  const running = drawSparkline(sumTrends(all, "running"), TREND_POINTS / 2);
  return {
    id: "trend",
    title: "TREND of all",
    minLines: trends.length,
    maxLines: trends.length * (MAX_CHART_HEIGHT + 1) - 1,
    draw: (space) => fillWithTrends(trends, space, paint),
    summary: `running  ${running.trim() === "" ? DASH : paint(running, "ok")}`,
  };
}

function createRequestsPanel(overview: Overview): Panel {
  const { lifetime } = overview.total.figures;
  const total = lifetime.finishedRequests;
  const rows = [...lifetime.finishedByReason].map(([reason, count]) => [
    reason,
    formatCount(count),
    isPresent(total) && total.value > 0 ? formatPercent(count / total.value) : DASH,
  ]);
  return createFixedPanel({
    id: "requests",
    title: "REQUESTS finished since start",
    lines: rows.length === 0 ? [DASH] : layOut(rows, "right"),
    summary: rows.map(([reason, count]) => `${reason} ${count}`).join("  ") || DASH,
  });
}

/** All panels, in the order of their importance. */
export function createPanels(overview: Overview, paint: Paint): readonly Panel[] {
  return [
    createLatencyPanel(overview),
    createTrendPanel(overview, paint),
    createRequestsPanel(overview),
  ];
}
