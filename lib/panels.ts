/**
 * The panels below the table: more about all replicas, as far as there is room.
 *
 * Layer 4, pure. Latency of all, trends of all, what became of requests. Each
 * panel is a title and lines; `view` decides which are shown, and whether side
 * by side or one on the whole screen.
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
import { drawSparkline } from "./glyphs.ts";
import { LATENCY_KEYS, type LatencyKey } from "./model.ts";
import type { Overview } from "./overview.ts";
import { isPresent } from "./reading.ts";
import { sumTrends, TREND_POINTS, type TrendKey } from "./trends.ts";
import type { PanelId } from "./ui.ts";

/** A panel's content. */
export interface Panel {
  readonly id: PanelId;
  readonly title: string;
  readonly lines: readonly string[];
  /** What stands in its place where there is room for one line. */
  readonly summary: string;
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
  return {
    id: "latency",
    title: "LATENCY of all",
    lines: layOut([heading, ...rows], "right"),
    summary: `P95@1m  ${p95.join("  ")}`,
  };
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

/** One line for each of the trends: title, sparkline of `width` cells, extremes. */
export function renderTrends(
  trends: readonly (readonly [TrendKey, readonly (number | null)[]])[],
  width: number,
  paint: Paint,
): string[] {
  return layOut(
    trends.map(([key, values]) => {
      const [title, format] = TREND_TITLES[key];
      return [title, paint(drawSparkline(values, width), "ok"), summarize(values, format)];
    }),
    "left",
  );
}

function createTrendPanel(overview: Overview, paint: Paint, width: number): Panel {
  const all = overview.rows.map(({ trend }) => trend);
  const trends = SUMMABLE_TRENDS.map((key) => [key, sumTrends(all, key)] as const);
  const running = drawSparkline(sumTrends(all, "running"), width);
  return {
    id: "trend",
    title: `TREND of all, last ${TREND_POINTS} polls`,
    lines: renderTrends(trends, width, paint),
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
  return {
    id: "requests",
    title: "REQUESTS finished since start",
    lines: rows.length === 0 ? [DASH] : layOut(rows, "right"),
    summary: rows.map(([reason, count]) => `${reason} ${count}`).join("  ") || DASH,
  };
}

/** Cells of a sparkline in a panel, and on the whole screen. */
const NARROW_TREND = 30;

/** All panels, in the order of their importance. */
export function createPanels(
  overview: Overview,
  paint: Paint,
  isZoomed: boolean,
): readonly Panel[] {
  const trendWidth = isZoomed ? TREND_POINTS : NARROW_TREND;
  return [
    createLatencyPanel(overview),
    createTrendPanel(overview, paint, trendWidth),
    createRequestsPanel(overview),
  ];
}
