/**
 * The page of latencies: percentiles of the fleet, and a heat strip for each replica, which shows
 * how its requests spread over the buckets of the histogram from poll to poll.
 * @module
 */

import { haveSameBounds } from "./histogram.ts";
import { LATENCY_KEYS, LATENCY_NAMES, type LatencyFigures, type LatencyKey } from "./model.ts";
import type { Reading } from "./reading.ts";
import type { State } from "./state.ts";
import type { Fleet, Row } from "./state_fleet.ts";
import { NO_FIGURES } from "./stats_aggregate.ts";
import { countPackedUpTo, type PackedSample, type SamplePoint } from "./stats_samples.ts";
import { LONG_WINDOW } from "./stats_window.ts";
import { cutText, measureWidth, padText } from "./text.ts";
import type { Ratio, Seconds } from "./units.ts";
import { chooseStatusColor, isInTrouble } from "./view_columns.ts";
import { formatBoundary, formatQuantile, formatReading, formatSamples } from "./view_format.ts";
import type { PanelSpace } from "./view_layout.ts";
import { describeUnmerged } from "./view_words.ts";
import type { Meaning, Paint } from "./view_theme.ts";

// ---- Percentiles of the fleet.

const NAME_WIDTH = 8;
const QUANTILE_WIDTH = 9;
const COUNT_WIDTH = 8;
const WINDOW_WIDTH = 3 * QUANTILE_WIDTH + COUNT_WIDTH;

/** The title of a window begins above its first P50. */
const WINDOW_INDENT = " ".repeat(QUANTILE_WIDTH - 3);

function formatWindow({ p50, p95, p99, samples }: LatencyFigures): string {
  const unmerged = describeUnmerged(p95);
  if (unmerged !== null) return padText(WINDOW_INDENT + unmerged, WINDOW_WIDTH);
  const quantiles = [p50, p95, p99].map((quantile) =>
    padText(formatReading(quantile, formatQuantile), QUANTILE_WIDTH, "right")
  );
  return quantiles.join("") + padText(formatReading(samples, formatSamples), COUNT_WIDTH, "right");
}

interface TableWindow {
  readonly title: string;
  readonly latency: Readonly<Record<LatencyKey, LatencyFigures>>;
  readonly meaning: Meaning;
}

/** A narrow screen has no room for all three. */
function listWindows({ fleet: { total }, mark }: State, width: number): readonly TableWindow[] {
  const { lastMinute, sinceMark, lifetime } = total.shown;
  const all: readonly (TableWindow | null)[] = [
    { title: "last minute", latency: lastMinute.latency, meaning: "plain" },
    mark === null ? null : {
      title: "since the mark",
      latency: (sinceMark ?? NO_FIGURES.lastPoll).latency,
      meaning: "plain",
    },
    { title: "since start", latency: lifetime.latency, meaning: "dim" },
  ];
  const room = Math.floor((width - 1 - NAME_WIDTH) / WINDOW_WIDTH);
  return all.filter((window) => window !== null).slice(0, Math.max(2, room));
}

function renderTable(state: State, width: number, paint: Paint): string[] {
  const titles = ["P50", "P95", "P99"].map((title) => padText(title, QUANTILE_WIDTH, "right"));
  const columns = titles.join("") + padText("n", COUNT_WIDTH, "right");
  const windows = listWindows(state, width);
  const headings = windows.map(({ title }) => padText(WINDOW_INDENT + title, WINDOW_WIDTH));
  return [
    paint(` ${padText("Latency", NAME_WIDTH)}${headings.join("")}`.trimEnd(), "heading"),
    paint(" ".repeat(1 + NAME_WIDTH) + columns.repeat(windows.length), "dim"),
    ...LATENCY_KEYS.map((key) => {
      const name = paint(padText(LATENCY_NAMES[key].title, NAME_WIDTH), "dim");
      const cells = windows.map(({ latency, meaning }) =>
        paint(formatWindow(latency[key]), meaning)
      );
      return ` ${name}${cells.join("")}`;
    }),
  ];
}

// ---- Heat strips.

/** At least half of a step's observations, or its P50 and P95. */
const FULL = "█";
/** Shares of a step's observations from which each sign is used. */
const SHADES: readonly (readonly [Ratio, string])[] = [[0.5, FULL], [0.1, "▒"], [0, "∙"]];
const P50_MARK = "o";
const P95_MARK = "^";
const LEGEND = [
  `Replicas, last ${LONG_WINDOW} s`,
  `∙ <10 %  ▒ <50 %  ${FULL} more, or P50 and P95`,
  `${P50_MARK} P50  ${P95_MARK} P95`,
].join("   ");
const STRIP_KEYS = ["ttft", "itl"] as const satisfies readonly LatencyKey[];

/** Lower and upper limit of what was observed, in seconds. */
interface Extent {
  readonly from: Seconds;
  readonly to: Seconds;
}

function getBounds({ form }: PackedSample, key: LatencyKey): Float64Array | undefined {
  return form.latencies[key]?.bounds;
}

/** The samples whose buckets are those of the newest one. */
function listComparable(trace: readonly SamplePoint[], key: LatencyKey): readonly SamplePoint[] {
  const bounds = trace.length === 0 ? undefined : getBounds(trace[trace.length - 1].packed, key);
  if (bounds === undefined) return [];
  return trace.filter(({ packed }) => {
    const own = getBounds(packed, key);
    return own !== undefined && haveSameBounds({ bounds: own }, { bounds });
  });
}

/** `null` if nothing was observed. */
function findExtent(points: readonly SamplePoint[], key: LatencyKey): Extent | null {
  if (points.length < 2) return null;
  const [earliest, newest] = [points[0].packed, points[points.length - 1].packed];
  const bounds = getBounds(newest, key) ?? new Float64Array();
  const count = (bucket: number): number =>
    countPackedUpTo(newest, key, bucket) - countPackedUpTo(earliest, key, bucket);
  const total = count(bounds.length - 1);
  if (!(total > 0)) return null;
  const first = bounds.findIndex((_, bucket) => count(bucket) > 0);
  let last = first;
  while (count(last) < total) last++;
  return { from: first === 0 ? 0 : bounds[first - 1], to: bounds[last] };
}

function joinExtents(extents: readonly (Extent | null)[]): Extent | null {
  const known = extents.filter((extent) => extent !== null);
  if (known.length === 0) return null;
  return {
    from: Math.min(...known.map(({ from }) => from)),
    to: Math.max(...known.map(({ to }) => to)),
  };
}

/** The highest bucket of each line, lowest line first; neighbours share a line if there are many. */
function chooseBuckets(bounds: Float64Array, { from, to }: Extent, lines: number): number[] {
  const first = bounds.findIndex((bound) => bound > from);
  const last = bounds.findIndex((bound) => bound >= to);
  const count = last - first + 1;
  const used = Math.min(lines, count);
  return Array.from({ length: used }, (_, i) => first + Math.floor((i + 1) * count / used) - 1);
}

/** Columns are spans of time since the clock's origin, so that the picture only moves. */
interface Steps {
  readonly span: Seconds;
  /** The newest that every replica has been polled in. */
  readonly last: number;
  readonly count: number;
}

function chooseSteps({ now, interval }: State, width: number): Steps {
  const polls = LONG_WINDOW / interval;
  const span = interval * Math.max(1, Math.ceil(polls / width));
  const count = Math.min(width, Math.max(1, Math.floor(LONG_WINDOW / span)));
  return { span, last: Math.floor((now - interval) / span), count };
}

/**
 * Counts of observations at or below each line's highest bucket, step after step. What is between
 * two polls counts in each step that it reaches into.
 */
function countSteps(
  points: readonly SamplePoint[],
  buckets: readonly number[],
  { key, steps }: { readonly key: LatencyKey; readonly steps: Steps },
): Float64Array {
  const lines = buckets.length;
  const counts = new Float64Array(steps.count * lines);
  const first = steps.last - steps.count + 1;
  const before = new Float64Array(lines);
  points.forEach(({ at, packed }, i) => {
    const to = Math.floor(at / steps.span);
    const from = i === 0 ? Infinity : Math.min(to, Math.floor(points[i - 1].at / steps.span) + 1);
    for (let line = 0; line < lines; line++) {
      const now = countPackedUpTo(packed, key, buckets[line]);
      for (let step = Math.max(from, first); step <= Math.min(to, steps.last); step++) {
        counts[(step - first) * lines + line] += now - before[line];
      }
      before[line] = now;
    }
  });
  return counts;
}

function chooseSign(counts: Float64Array, from: number, line: number, lines: number): string {
  const total = counts[from + lines - 1];
  const upTo = counts[from + line];
  const below = line === 0 ? 0 : counts[from + line - 1];
  // Also if there are no observations.
  if (!(upTo > below)) return " ";
  const holdsP50 = upTo >= 0.5 * total && below < 0.5 * total;
  const holdsP95 = upTo >= 0.95 * total && below < 0.95 * total;
  // No line below one with both holds half.
  if (holdsP50) return holdsP95 ? FULL : P50_MARK;
  if (holdsP95) return P95_MARK;
  return SHADES.find(([least]) => (upTo - below) / total >= least)?.[1] ?? " ";
}

/** Percentiles are bright, and what is not half of a step is dim. */
function chooseSignMeaning(sign: string): Meaning {
  if (sign === P50_MARK || sign === P95_MARK) return "title";
  return sign === FULL ? "plain" : "dim";
}

/** One line of signs, a step each. */
function drawSigns(
  counts: Float64Array,
  [line, lines]: readonly [number, number],
  paint: Paint,
): string {
  let drawn = "";
  let run = "";
  let meaning: Meaning = "dim";
  for (let from = 0; from < counts.length; from += lines) {
    const sign = chooseSign(counts, from, line, lines);
    // A blank needs no style of its own.
    const next: Meaning = sign === " " ? meaning : chooseSignMeaning(sign);
    if (next !== meaning) {
      drawn += paint(run, meaning);
      run = "";
      meaning = next;
    }
    run += sign;
  }
  return drawn + paint(run, meaning);
}

const LABEL_WIDTH = 7;

function formatLabel(bounds: Float64Array, bucket: number): string {
  const text = bounds[bucket] === Infinity
    ? `>${formatBoundary(bounds[bucket - 1])}`
    : formatBoundary(bounds[bucket]);
  return padText(text, LABEL_WIDTH, "right");
}

interface StripSource {
  readonly row: Row;
  readonly key: LatencyKey;
  readonly points: readonly SamplePoint[];
  /** Of all replicas, so that their strips can be compared. */
  readonly extent: Extent | null;
}

function renderStripTitle({ row, key }: StripSource, width: number, paint: Paint): string {
  const { p50, p95, samples } = row.shown.lastMinute.latency[key];
  const show = <T>(reading: Reading<T>, format: (value: T) => string) =>
    formatReading(reading, format);
  const isBad = isInTrouble(row);
  const name = cutText(isBad ? `${row.place} ${row.status}` : row.place, width);
  const pieces = [
    ` ${LATENCY_NAMES[key].title} P95 ${show(p95, formatQuantile)}`,
    `  P50 ${show(p50, formatQuantile)}`,
    `  n ${show(samples, formatSamples)}`,
  ];
  let text = "";
  let used = measureWidth(name);
  for (const piece of pieces) {
    if (used + measureWidth(piece) > width) break;
    text += piece;
    used += measureWidth(piece);
  }
  return paint(name, isBad ? chooseStatusColor(row) : "name") + text + " ".repeat(width - used);
}

/** A title and `lines` of signs, the highest bucket first, all of them `width` wide. */
function renderStrip(
  source: StripSource,
  { width, lines, steps, paint }: PanelSpace & { readonly steps: Steps; readonly paint: Paint },
): string[] {
  const { key, points, extent } = source;
  const bounds = points.length === 0 ? undefined : getBounds(points[points.length - 1].packed, key);
  const buckets = bounds === undefined || extent === null
    ? []
    : chooseBuckets(bounds, extent, lines);
  const counts = countSteps(points, buckets, { key, steps });
  const end = " ".repeat(width - LABEL_WIDTH - 1 - steps.count);
  const drawn = buckets.map((bucket, line) => {
    const label = formatLabel(bounds ?? new Float64Array(), bucket);
    return paint(`${label}│`, "dim") + drawSigns(counts, [line, buckets.length], paint) + end;
  });
  const blanks: string[] = Array(lines - drawn.length).fill(" ".repeat(width));
  return [renderStripTitle(source, width, paint), ...blanks, ...drawn.toReversed()];
}

// ---- The page.

/** For a strip of a minute at the default interval. */
const MIN_STRIP_WIDTH = 39;
const MIN_STRIP_LINES = 4;
const MAX_STRIP_LINES = 8;

/** Some kinds of servers have no buckets. */
function hasStrip({ replica }: Row): boolean {
  const newest = replica?.trace.at(-1);
  return newest !== undefined &&
    STRIP_KEYS.some((key) => getBounds(newest.packed, key) !== undefined);
}

/** @param hasTroubledFirst For a screen that does not show all; else no strip changes its place. */
function listSources({ rows }: Fleet, hasTroubledFirst: boolean): readonly StripSource[] {
  const known = rows.filter(hasStrip);
  const replicas = hasTroubledFirst
    ? known.toSorted((a, b) => Number(isInTrouble(b)) - Number(isInTrouble(a)))
    : known;
  const byKey = STRIP_KEYS.map((key) => {
    const points = replicas.map(({ replica }) => listComparable(replica?.trace ?? [], key));
    const extent = joinExtents(points.map((some) => findExtent(some, key)));
    return replicas.map((row, i): StripSource => ({ row, key, points: points[i], extent }));
  });
  return replicas.flatMap((_, i) => byKey.map((sources) => sources[i]));
}

/** Draws the table, and below it a strip of TTFT and one of ITL for each replica that has buckets. */
export function renderLatencyPage(
  state: State,
  { width, lines, paint }: PanelSpace & { readonly paint: Paint },
): readonly string[] {
  const table = renderTable(state, width, paint);
  const count = STRIP_KEYS.length * state.fleet.rows.filter(hasStrip).length;
  if (count === 0) return table;
  const pairs = Math.floor(width / (2 * MIN_STRIP_WIDTH));
  const columnCount = pairs === 0 ? 1 : Math.min(2 * pairs, count);
  // A narrower screen cuts them.
  const columnWidth = Math.max(MIN_STRIP_WIDTH, Math.floor((width - 1) / columnCount));
  const rowCount = Math.ceil(count / columnCount);
  // A blank line, the legend, and a title for each row of strips.
  const room = Math.floor((lines - table.length - 2) / rowCount) - 1;
  const stripLines = Math.max(MIN_STRIP_LINES, Math.min(MAX_STRIP_LINES, room));
  const sources = listSources(state.fleet, room < MIN_STRIP_LINES);
  const steps = chooseSteps(state, columnWidth - LABEL_WIDTH - 2);
  const strips = Array.from({ length: rowCount }, (_, row) => {
    const inRow = sources.slice(row * columnCount, (row + 1) * columnCount).map((source) =>
      renderStrip(source, { width: columnWidth - 1, lines: stripLines, steps, paint })
    );
    return inRow[0].map((_, line) => ` ${inRow.map((strip) => strip[line]).join(" ")}`);
  });
  return [...table, "", paint(` ${LEGEND}`, "heading"), ...strips.flat()];
}
