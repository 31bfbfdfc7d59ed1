/**
 * Graphs: how a figure was until now, newest on the right. They are drawn in braille, whose cells
 * have 2 × 4 dots; `view_signs` redraws them for screens without it. 0 is visible, and where there
 * is no value the graph is blank.
 *
 * A single series is filled. Several are lines with their letters on them, so that they can be told
 * apart without color.
 * @module
 */

import { MAX_SERIES_POINTS } from "./stats_series.ts";
import { measureWidth, padText } from "./text.ts";
import { type Seconds, SECONDS_PER_MINUTE } from "./units.ts";
import { DASH, formatCount, formatRange } from "./view_format.ts";
import { BRAILLE_DOTS, FIRST_BRAILLE } from "./view_signs.ts";
import { cutStyledLine, type Meaning, type Paint } from "./view_theme.ts";

/** Oldest first; `null` is a gap. */
type Values = readonly (number | null)[];

export interface GraphSeries {
  readonly values: Values;
  /** One cell, drawn on the line if there are several series. */
  readonly mark: string;
  readonly meaning: Meaning;
}

export interface Graph {
  readonly title: string;
  readonly series: readonly GraphSeries[];
  readonly format: (value: number) => string;
  /** Top of the scale; else the highest value shown, rounded up. */
  readonly highest?: number;
  /** Between values. */
  readonly interval: Seconds;
}

interface PlotSize {
  /** In cells. */
  readonly width: number;
  readonly height: number;
}

// ---- Dots.

const DOTS_PER_COLUMN = 4;
/** Cells between two letters of a line. */
const MARK_DISTANCE = 16;

interface Canvas extends PlotSize {
  readonly dots: Uint8Array;
  /** Which series drew last on each cell. */
  readonly owners: Int8Array;
  /** Whose letter stands in each cell; −1 for none. */
  readonly marks: Int8Array;
}

function createCanvas({ width, height }: PlotSize): Canvas {
  const count = width * height;
  return {
    ...{ width, height, dots: new Uint8Array(count), owners: new Int8Array(count) },
    marks: new Int8Array(count).fill(-1),
  };
}

/** Columns of dots per value: whole numbers, so that a picture only moves. */
function measureStep(width: number): number {
  return Math.max(1, Math.floor(2 * width / MAX_SERIES_POINTS));
}

function chooseShown(values: Values, width: number): Values {
  const count = Math.floor(2 * width / measureStep(width));
  return count === 0 ? [] : values.slice(-count);
}

/** 0 is the lowest row of dots. */
function computeLevel(value: number, highest: number, height: number): number {
  const share = highest === 0 ? 0 : Math.min(1, Math.max(0, value / highest));
  return Math.round(share * (height * DOTS_PER_COLUMN - 1));
}

function findCell({ width, height }: Canvas, x: number, level: number): number {
  return (height - 1 - Math.floor(level / DOTS_PER_COLUMN)) * width + (x >> 1);
}

function setDots(
  canvas: Canvas,
  { x, low, high, owner }: {
    readonly x: number;
    readonly low: number;
    readonly high: number;
    readonly owner: number;
  },
): void {
  for (let level = low; level <= high; level++) {
    const cell = findCell(canvas, x, level);
    canvas.dots[cell] |= BRAILLE_DOTS[x & 1][level % DOTS_PER_COLUMN];
    canvas.owners[cell] = owner;
  }
}

function plot(
  canvas: Canvas,
  values: Values,
  { owner, highest, isFilled }: {
    readonly owner: number;
    readonly highest: number;
    readonly isFilled: boolean;
  },
): void {
  const { width, height, marks } = canvas;
  const step = measureStep(width);
  const shown = chooseShown(values, width);
  let x = 2 * width - step * shown.length;
  let before: number | null = null;
  for (const value of shown) {
    const level: number | null = value === null ? null : computeLevel(value, highest, height);
    const until = x + step;
    for (const first = x; x < until; x++) {
      if (level === null) continue;
      // A line rises or falls where the value changes.
      const other: number = isFilled ? 0 : x === first ? before ?? level : level;
      setDots(canvas, { x, low: Math.min(level, other), high: Math.max(level, other), owner });
      const fromRight = width - 1 - (x >> 1);
      if (!isFilled && x % 2 === 1 && fromRight % MARK_DISTANCE === 2 * owner % MARK_DISTANCE) {
        marks[findCell(canvas, x, level)] = owner;
      }
    }
    before = level;
  }
}

function drawCell({ dots, marks }: Canvas, cell: number, series: readonly GraphSeries[]): string {
  if (marks[cell] >= 0) return series[marks[cell]].mark;
  return dots[cell] === 0 ? " " : String.fromCharCode(FIRST_BRAILLE + dots[cell]);
}

function drawRow(
  canvas: Canvas,
  row: number,
  { series, paint }: { readonly series: readonly GraphSeries[]; readonly paint: Paint },
): string {
  const { width, owners, marks } = canvas;
  let line = "";
  let run = "";
  let runOwner = 0;
  for (let cell = row * width; cell < (row + 1) * width; cell++) {
    const owner = marks[cell] >= 0 ? marks[cell] : owners[cell];
    if (owner !== runOwner) {
      line += paint(run, series[runOwner].meaning);
      run = "";
      runOwner = owner;
    }
    run += drawCell(canvas, cell, series);
  }
  return line + paint(run, series[runOwner].meaning);
}

function listShown(series: readonly GraphSeries[], width: number): number[] {
  return series.flatMap(({ values }) =>
    chooseShown(values, width).filter((value) => value !== null)
  );
}

function drawPlot(
  series: readonly GraphSeries[],
  size: PlotSize,
  { highest, paint }: { readonly highest: number; readonly paint: Paint },
): string[] {
  const canvas = createCanvas(size);
  const isFilled = series.length === 1;
  series.forEach(({ values }, owner) => plot(canvas, values, { owner, highest, isFilled }));
  return Array.from({ length: size.height }, (_, row) => drawRow(canvas, row, { series, paint }));
}

/** Draws the newest values in one line. The top is `highest`, or the highest value shown. */
export function drawStrip(values: Values, width: number, highest?: number): string {
  const series = [{ values, mark: "", meaning: "plain" }] as const;
  const top = highest ?? Math.max(0, ...listShown(series, width));
  return drawPlot(series, { width, height: 1 }, { highest: top, paint: (text) => text })[0];
}

// ---- Scale, span and value now.

/** 1, 2 or 5 times a power of ten; 1 for 0. */
export function roundUpScale(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  // 0.2 is 0.2 × 1, not a little more.
  const fits = (factor: number): boolean => factor * power >= value * (1 - 1e-9);
  return ([1, 2, 5].find(fits) ?? 10) * power;
}

/** `2k`, not `2.00k`; `0` without a unit. */
function formatTick(value: number, format: Graph["format"]): string {
  return value === 0
    ? "0"
    : format(value).replace(/(\.\d*?)0+(?!\d)/, "$1").replace(/\.(?!\d)/, "");
}

/** `40 s`, `2 min`, `2.5 min`. */
export function formatSpan(span: Seconds): string {
  return span < 2 * SECONDS_PER_MINUTE
    ? `${Math.round(span)} s`
    : `${Number((span / SECONDS_PER_MINUTE).toFixed(1))} min`;
}

/** The value now, or the range of several. */
function formatNow({ series, format }: Graph): string {
  const newest = series.map(({ values }) => values.at(-1) ?? null).filter((one) => one !== null);
  if (newest.length === 0) return DASH;
  return formatRange({ min: Math.min(...newest), max: Math.max(...newest) }, format);
}

/** In cells, of the scale without its line: `500 ms`. */
const SCALE_WIDTH = 6;
/** From this height on, the middle of the scale is named. */
const MIN_LINES_WITH_MIDDLE = 5;

function drawScale(highest: number | null, height: number, format: Graph["format"]): string[] {
  const isNameable = height >= MIN_LINES_WITH_MIDDLE && height % 2 === 1 &&
    (format !== formatCount || highest === null || Number.isInteger(highest / 2));
  const middle = isNameable ? (height - 1) / 2 : -1;
  return Array.from({ length: height }, (_, row) => {
    const share = row === 0 ? 1 : row === height - 1 ? 0 : row === middle ? 0.5 : null;
    if (share === null || highest === null) return `${" ".repeat(SCALE_WIDTH)}│`;
    return `${padText(formatTick(share * highest, format), SCALE_WIDTH, "right")}┤`;
  });
}

function renderTitle(graph: Graph, width: number, points: number, paint: Paint): string {
  const now = `now ${formatNow(graph)}`;
  const { title, interval } = graph;
  const span = formatSpan(points * interval);
  const room = width - measureWidth(title) - measureWidth(now);
  const fits = (text: string): boolean => measureWidth(text) + 2 <= room;
  const shown = points === 0 ? "" : [`  last ${span}`, `  ${span}`].find(fits) ?? "";
  const blanks = " ".repeat(Math.max(1, room - measureWidth(shown)));
  return cutStyledLine(paint(title, "heading") + paint(shown, "dim") + blanks + now, width);
}

/** Draws a title with the span and the value now, and below it the plot with its scale. */
export function renderGraph(
  graph: Graph,
  { width, lines, paint }: {
    readonly width: number;
    /** At least 2. */
    readonly lines: number;
    readonly paint: Paint;
  },
): string[] {
  const size = { width: Math.max(1, width - SCALE_WIDTH - 1), height: lines - 1 };
  const shown = listShown(graph.series, size.width);
  const points = Math.max(
    0,
    ...graph.series.map(({ values }) => chooseShown(values, size.width).length),
  );
  const highest = graph.highest ?? roundUpScale(Math.max(0, ...shown));
  const plotted = drawPlot(graph.series, size, { highest, paint });
  const scale = drawScale(shown.length === 0 ? null : highest, size.height, graph.format);
  return [
    renderTitle(graph, width, points, paint),
    ...plotted.map((line, row) => paint(scale[row], "dim") + line),
  ];
}
