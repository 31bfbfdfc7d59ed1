/**
 * Graphs: how a figure was until now, newest on the right. They are drawn in braille, whose cells
 * have 2 × 4 dots; `view_signs` redraws them for screens without it. 0 is visible, and where there
 * is no value the graph is blank.
 *
 * A single series is filled. Several are lines with their letters on them, so that they can be told
 * apart without color.
 * @module
 */

import { measureWidth, padText } from "./text.ts";
import { type Seconds, SECONDS_PER_MINUTE } from "./units.ts";
import { DASH, formatCount, formatRange } from "./view_format.ts";
import { BRAILLE_DOTS, FIRST_BRAILLE } from "./view_signs.ts";
import { cutStyledLine, type Meaning, type Paint } from "./view_theme.ts";

/** Oldest first; `null` is a gap. */
type Values = readonly (number | null)[];

interface Style {
  /** One cell, drawn on the line if there are several series. */
  readonly mark: string;
  readonly meaning: Meaning;
}

interface Timed {
  readonly values: Values;
  /** Of each value. */
  readonly times: readonly Seconds[];
}

export interface GraphSeries extends Style, Timed {}

export interface Graph {
  readonly title: string;
  readonly series: readonly GraphSeries[];
  readonly format: (value: number) => string;
  /** Top of the scale; else the highest value shown, rounded up. */
  readonly highest?: number;
  /** Of polls: the span of a column of dots. */
  readonly interval: Seconds;
  /** Draw all values, several polls in a column of dots if there is no room for each. */
  readonly isWhole?: boolean;
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

/** The column of dots of a moment. Counted from the clock's origin, so that a picture only moves. */
function findColumn(at: Seconds, interval: Seconds): number {
  return Math.floor(at / interval);
}

/** The column of the newest point of all series; `null` without any. */
function findNewestColumn({ series, interval }: Graph): number | null {
  const newest = series.flatMap(({ times }) => times.at(-1) ?? []);
  return newest.length === 0 ? null : findColumn(Math.max(...newest), interval);
}

/**
 * One value for each of the newest columns of dots. A value reaches back to the poll before, or
 * for an interval if that has none; of two in one column the higher one is drawn.
 */
function spreadValues({ values, times }: Timed, columns: {
  readonly count: number;
  readonly newest: number;
  readonly interval: Seconds;
}): Values {
  const { count, newest, interval } = columns;
  const first = newest - count + 1;
  const spread: (number | null)[] = Array(count).fill(null);
  values.forEach((value, i) => {
    if (value === null) return;
    const to = findColumn(times[i], interval);
    const from = i === 0 || values[i - 1] === null ? to : findColumn(times[i - 1], interval) + 1;
    for (let column = Math.max(first, Math.min(from, to)); column <= to; column++) {
      spread[column - first] = Math.max(value, spread[column - first] ?? 0);
    }
  });
  // Others were polled a moment later.
  const isNext = findColumn(times.at(-1) ?? NaN, interval) === newest - 1;
  if (isNext) spread[count - 1] = values.at(-1) ?? null;
  return spread;
}

/** Polls in a column of dots. */
const STEPS = [1, 2, 3, 5, 10, 15, 20, 30, 60];

/** The span of a column, so that all values fit if the graph is to be whole. */
function chooseSpan({ series, interval, isWhole = false }: Graph, count: number): Seconds {
  const times = series.flatMap((one) => one.times);
  if (!isWhole || times.length === 0) return interval;
  const spans = STEPS.map((step) => step * interval);
  const reach = (span: Seconds): number =>
    findColumn(Math.max(...times), span) - findColumn(Math.min(...times), span) + 1;
  return spans.find((span) => reach(span) <= count) ?? spans[spans.length - 1];
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
  let before: number | null = null;
  values.forEach((value, i) => {
    if (value === null) {
      before = null;
      return;
    }
    const x = 2 * width - values.length + i;
    const level = computeLevel(value, highest, height);
    // A line rises or falls where the value changes.
    const other = isFilled ? 0 : before ?? level;
    setDots(canvas, { x, low: Math.min(level, other), high: Math.max(level, other), owner });
    const fromRight = width - 1 - (x >> 1);
    if (!isFilled && x % 2 === 1 && fromRight % MARK_DISTANCE === 2 * owner % MARK_DISTANCE) {
      marks[findCell(canvas, x, level)] = owner;
    }
    before = level;
  });
}

function drawCell({ dots, marks }: Canvas, cell: number, series: readonly Style[]): string {
  if (marks[cell] >= 0) return series[marks[cell]].mark;
  return dots[cell] === 0 ? " " : String.fromCharCode(FIRST_BRAILLE + dots[cell]);
}

function drawRow(
  canvas: Canvas,
  row: number,
  { series, paint }: { readonly series: readonly Style[]; readonly paint: Paint },
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

/** @param all The values of each series, one for each column of dots; newest on the right. */
function drawPlot(
  series: readonly Style[],
  all: readonly Values[],
  { width, height, highest, paint }: PlotSize & {
    readonly highest: number;
    readonly paint: Paint;
  },
): string[] {
  const canvas = createCanvas({ width, height });
  const isFilled = series.length === 1;
  all.forEach((values, owner) => plot(canvas, values, { owner, highest, isFilled }));
  return Array.from({ length: height }, (_, row) => drawRow(canvas, row, { series, paint }));
}

function findHighest(all: readonly Values[]): number {
  return Math.max(0, ...all.flat().map((value) => value ?? 0));
}

/** Draws the newest values in one line, a column of dots each. The top is `highest`, or theirs. */
export function drawStrip(values: Values, width: number, highest?: number): string {
  const shown = width === 0 ? [] : values.slice(-2 * width);
  const top = highest ?? findHighest([shown]);
  const options = { width, height: 1, highest: top, paint: (text: string) => text };
  return drawPlot([{ mark: "", meaning: "plain" }], [shown], options)[0];
}

/** Draws the span up to the newest value in one line; a column of dots has the highest of its time. */
export function drawSpan(
  series: Timed,
  { width, span }: { readonly width: number; readonly span: Seconds },
): string {
  const count = 2 * width;
  const interval = span / count;
  const newest = findColumn(series.times.at(-1) ?? 0, interval);
  return drawStrip(spreadValues(series, { count, newest, interval }), width);
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

function renderTitle(
  graph: Graph,
  { width, columns, span, paint }: {
    readonly width: number;
    readonly columns: number;
    /** Of a column. */
    readonly span: Seconds;
    readonly paint: Paint;
  },
): string {
  const now = `now ${formatNow(graph)}`;
  const { title, interval } = graph;
  const reach = formatSpan(columns * span);
  const details = span === interval
    ? [""]
    : [", max of ", ", max/"].map((words) => words + formatSpan(span));
  const room = width - measureWidth(title) - measureWidth(now);
  const fits = (text: string): boolean => measureWidth(text) + 2 <= room;
  const choices = [
    `  last ${reach}${details[0]}`,
    ...details.map((detail) => `  ${reach}${detail}`),
    `  ${reach}`,
  ];
  const shown = !Number.isFinite(columns) ? "" : choices.find(fits) ?? "";
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
  const span = chooseSpan(graph, 2 * size.width);
  const newest = findNewestColumn({ ...graph, interval: span });
  const columns = { count: 2 * size.width, newest: newest ?? 0, interval: span };
  const all = graph.series.map((one) => spreadValues(one, columns));
  const firsts = all.map((values) => values.findIndex((value) => value !== null));
  const first = Math.min(...firsts.filter((column) => column >= 0));
  const highest = graph.highest ?? roundUpScale(findHighest(all));
  const plotted = drawPlot(graph.series, all, { ...size, highest, paint });
  const scale = drawScale(Number.isFinite(first) ? highest : null, size.height, graph.format);
  return [
    renderTitle(graph, { width, columns: columns.count - first, span, paint }),
    ...plotted.map((line, row) => paint(scale[row], "dim") + line),
  ];
}
