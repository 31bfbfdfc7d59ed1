/**
 * The page of trends: graphs of the fleet, and of its replicas over each other.
 * @module
 */

import type { State } from "./state.ts";
import type { Row } from "./state_fleet.ts";
import {
  getSeries,
  getSeriesTimes,
  MAX_LONG_POINTS,
  type Series,
  SERIES_KEYS,
  type SeriesKey,
  SUMMABLE_SERIES_KEYS,
} from "./stats_series.ts";
import { cutText, measureWidth, padText } from "./text.ts";
import { isInTrouble } from "./view_columns.ts";
import type { Seconds } from "./units.ts";
import { DASH, formatCount, formatLatency, formatPercent, formatQuantity } from "./view_format.ts";
import { drawStrip, type Graph, type GraphSeries, renderGraph } from "./view_graph.ts";
import { joinSideBySide, layOut, type PanelSpace } from "./view_layout.ts";
import type { Meaning, Paint } from "./view_theme.ts";

const TITLES: Readonly<Record<SeriesKey, readonly [string, (value: number) => string]>> = {
  running: ["Running", formatCount],
  waiting: ["Waiting", formatCount],
  kvCacheUsageRatio: ["KV cache", formatPercent],
  promptTokensPerSecond: ["Prompt tok/s", formatQuantity],
  generationTokensPerSecond: ["Output tok/s", formatQuantity],
  ttftP95Seconds: ["TTFT P95@1m", formatLatency],
  itlP95Seconds: ["ITL P95@1m", formatLatency],
};

/** In the order of the series meanings; at most that many are legible over each other. */
const SERIES_MEANINGS: readonly Meaning[] = [
  ...["series1", "series2", "series3", "series4"] as const,
  ...["series5", "series6", "series7", "series8"] as const,
];
const MARKS = "abcdefgh";
/** Two for each cell of a wide screen. */
const MAX_GRAPH_POINTS = 400;

interface TrendOptions {
  readonly paint: Paint;
  readonly interval: Seconds;
  /** All that is kept, up to 900 polls; else as many polls as there are columns of dots. */
  readonly isWhole?: boolean;
}

function createGraph(
  key: SeriesKey,
  series: readonly GraphSeries[],
  { title = TITLES[key][0], ...span }:
    & Pick<Graph, "interval" | "isWhole">
    & { readonly title?: string },
): Graph {
  const graph = { title, series, format: TITLES[key][1], ...span };
  return key === "kvCacheUsageRatio" ? { ...graph, highest: 1 } : graph;
}

function createSeries(
  series: Series,
  key: SeriesKey,
  { place, isWhole }: { readonly place: number; readonly isWhole: boolean },
): GraphSeries {
  const count = isWhole ? MAX_LONG_POINTS : MAX_GRAPH_POINTS;
  return {
    values: getSeries(series, key, count),
    times: getSeriesTimes(series, count),
    mark: MARKS[place],
    meaning: SERIES_MEANINGS[place],
  };
}

// ---- Trends in panels and details.

/** Formats minimum, maximum and newest value. */
function summarize(values: readonly (number | null)[], format: (value: number) => string): string {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return DASH;
  const newest = values.at(-1) ?? null;
  const now = newest === null ? DASH : format(newest);
  return `min ${format(Math.min(...known))}  max ${format(Math.max(...known))}  now ${now}`;
}

const STRIP_WIDTH = 30;
const MIN_STRIP_WIDTH = 10;
/** Cells for title and gaps. */
const STRIP_MARGIN = 18;

/** One line for each series, with its title and range. */
export function renderTrendStrips(
  series: Series,
  keys: readonly SeriesKey[],
  { width, paint }: { readonly width: number; readonly paint: Paint },
): string[] {
  const ranges = keys.map((key) => summarize(getSeries(series, key), TITLES[key][1]));
  const room = width - STRIP_MARGIN - Math.max(...ranges.map(measureWidth));
  const stripWidth = Math.max(MIN_STRIP_WIDTH, Math.min(STRIP_WIDTH, room));
  const highest = (key: SeriesKey) => key === "kvCacheUsageRatio" ? 1 : undefined;
  return layOut(
    keys.map((key, i) => [
      TITLES[key][0],
      paint(drawStrip(getSeries(series, key), stripWidth, highest(key)), "series1"),
      ranges[i],
    ]),
    "left",
  );
}

/** Title, three lines of plot and more. */
export const MIN_GRAPH_LINES = 4;
export const MAX_GRAPH_LINES = 7;

/** Draws graphs if there is room for all, else strips. */
export function fillWithTrends(
  series: Series,
  keys: readonly SeriesKey[],
  { width, lines, paint, interval, isWhole = false, maxGraphLines = MAX_GRAPH_LINES }:
    & PanelSpace
    & TrendOptions
    & { readonly maxGraphLines?: number },
): string[] {
  const perGraph = Math.min(maxGraphLines, Math.floor(lines / keys.length));
  if (perGraph < MIN_GRAPH_LINES) return renderTrendStrips(series, keys, { width, paint });
  return keys.flatMap((key) =>
    renderGraph(
      createGraph(key, [createSeries(series, key, { place: 0, isWhole })], {
        ...{ interval, isWhole },
      }),
      {
        ...{ width, lines: perGraph, paint },
      },
    )
  );
}

// ---- The page.

/** At most eight: the selected one, those in trouble and the first others, in their order. */
function chooseReplicas({ fleet, ui }: State): readonly Row[] {
  const rows = fleet.rows.filter(({ replica }) => replica !== null);
  const rank = (row: Row): number => row.key === ui.selectedKey ? 0 : isInTrouble(row) ? 1 : 2;
  const chosen = rows.toSorted((a, b) => rank(a) - rank(b)).slice(0, MARKS.length);
  return rows.filter((row) => chosen.includes(row));
}

type DrawCell = (space: PanelSpace) => readonly string[];

function formatEntry(row: Row, place: number): string {
  const state = isInTrouble(row) ? ` ${row.status}` : "";
  return `${MARKS[place]} ${row.place}${state}`;
}

/** Tells whose letter is whose. */
function renderLegend(
  chosen: readonly Row[],
  count: number,
  { width, lines, paint }: PanelSpace & { readonly paint: Paint },
): string[] {
  const title = chosen.length < count ? "Selected, in trouble, then the first" : "Replicas";
  const perLine = Math.ceil(chosen.length / Math.max(1, lines - 1));
  const entryWidth = Math.floor(width / perLine);
  const entries = chosen.map((row, place) =>
    paint(
      padText(cutText(formatEntry(row, place), entryWidth - 1), entryWidth),
      SERIES_MEANINGS[place],
    )
  );
  return [
    paint(cutText(title, width), "heading"),
    ...Array.from(
      { length: Math.ceil(entries.length / perLine) },
      (_, i) => entries.slice(i * perLine, (i + 1) * perLine).join(""),
    ),
  ];
}

/** Total and replicas beside each other; the legend comes last. */
function listCells(state: State, paint: Paint): readonly DrawCell[] {
  const { fleet: { rows, totalTrend }, interval } = state;
  const chosen = chooseReplicas(state);
  const count = rows.filter(({ replica }) => replica !== null).length;
  const each = chosen.length < count ? `${chosen.length} of ${count}` : "each";
  const draw = (key: SeriesKey, all: readonly Series[], whose: string): DrawCell => {
    const series = all.map((one, place) => createSeries(one, key, { place, isWhole: true }));
    const title = TITLES[key][0] + (chosen.length > 1 ? `, ${whose}` : "");
    const graph = createGraph(key, series, { title, interval, isWhole: true });
    return (space) => renderGraph(graph, { ...space, paint });
  };
  const drawEach = (key: SeriesKey): DrawCell => draw(key, chosen.map(({ trend }) => trend), each);
  if (chosen.length < 2) return SERIES_KEYS.map(drawEach);
  const summable: readonly SeriesKey[] = SUMMABLE_SERIES_KEYS;
  return [
    ...summable.flatMap((key) => [draw(key, [totalTrend], "all"), drawEach(key)]),
    ...SERIES_KEYS.filter((key) => !summable.includes(key)).map(drawEach),
    (space) => renderLegend(chosen, count, { ...space, paint }),
  ];
}

const MIN_TWO_COLUMN_WIDTH = 76;
/** Title and one line of plot. */
const MIN_CELL_LINES = 2;
/** From this height on, a blank line separates graphs. */
const MIN_SPACED_LINES = 6;

export function renderTrendsPage(
  state: State,
  { width, lines, paint }: PanelSpace & { readonly paint: Paint },
): readonly string[] {
  if (state.fleet.rows.every(({ replica }) => replica === null)) {
    return [paint(" no replica has answered yet", "dim")];
  }
  const cells = listCells(state, paint);
  const columnCount = width < MIN_TWO_COLUMN_WIDTH ? 1 : 2;
  const columnWidth = Math.floor((width - 1) / columnCount);
  const rowCount = Math.ceil(cells.length / columnCount);
  const perRow = Math.max(MIN_CELL_LINES, Math.floor(lines / rowCount));
  const spare = Math.max(0, lines - perRow * rowCount);
  return Array.from({ length: rowCount }, (_, row) => {
    const height = perRow + (row < spare ? 1 : 0);
    const cellLines = perRow >= MIN_SPACED_LINES ? height - 1 : height;
    const inRow = cells.slice(row * columnCount, (row + 1) * columnCount)
      .map((draw) => draw({ width: columnWidth - 2, lines: cellLines }));
    const joined = joinSideBySide(inRow, columnWidth).map((line) => ` ${line}`);
    return [...joined, ...Array(Math.max(0, height - joined.length)).fill("")];
  }).flat();
}
