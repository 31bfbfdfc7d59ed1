/**
 * The tables on the page of one replica. Columns and lines do not depend on the values.
 * @module
 */

import { summarizeGpus } from "./gpu_outliers.ts";
import { computeQuantile, type Histogram, type Quantile } from "./histogram.ts";
import { drawRule } from "./view_areas.ts";
import {
  type CountsByLabel,
  type EngineSample,
  LATENCY_KEYS,
  LATENCY_NAMES,
  type LatencyKey,
  sumCounts,
  type WindowFigures,
} from "./model.ts";
import { absent, isExported, isPresent, present, type Reading } from "./reading.ts";
import { getLargestRequest } from "./rules_advice.ts";
import type { State } from "./state.ts";
import type { Row } from "./state_fleet.ts";
import { getHost } from "./state_gpus.ts";
import { getHistogram, NO_FIGURES } from "./stats_aggregate.ts";
import { findWorstObjective } from "./stats_slo.ts";
import { PEAK_KEYS } from "./stats_series.ts";
import { measureWidth, padText } from "./text.ts";
import { type Cell, chooseAttainmentColor, chooseMeaning } from "./view_columns.ts";
import {
  DASH,
  formatAttainment,
  formatBoundary,
  formatCount,
  formatElapsed,
  formatLatency,
  formatPercent,
  formatPower,
  formatQuantile,
  formatQuantity,
  formatRange,
  formatReading,
  formatSamples,
  formatTemperature,
} from "./view_format.ts";
import { formatPeak } from "./view_panels.ts";
import type { Meaning, Paint } from "./view_theme.ts";
import {
  describeWindow,
  formatGpuReading,
  formatMemory,
  formatOutlier,
  nameFinish,
  NOT_AVAILABLE,
  shortenGpuName,
} from "./view_words.ts";

/** The row's engine is known. */
export interface Subject {
  readonly row: Row;
  readonly sample: EngineSample;
  readonly state: State;
  readonly paint: Paint;
}

export function createCell<T>(
  reading: Reading<T>,
  format: (value: T) => string,
  meaning: Meaning = "plain",
): Cell {
  const judge = (): Meaning => isPresent(reading) ? meaning : "dim";
  return { text: formatReading(reading, format), meaning: chooseMeaning(reading, judge) };
}

/** Cells are aligned right in columns that do not depend on them. */
function drawRow(
  title: string,
  cells: readonly Cell[],
  { widths, paint }: { readonly widths: readonly number[]; readonly paint: Paint },
): string {
  const [first, ...rest] = widths;
  const drawn = cells.map(({ text, meaning }, i) =>
    " ".repeat(Math.max(1, rest[i] - measureWidth(text))) + paint(text, meaning)
  );
  return ` ${paint(padText(title, first), "dim")}${drawn.join("")}`;
}

function createHeading(titles: readonly string[]): readonly Cell[] {
  return titles.map((text) => ({ text, meaning: "dim" }));
}

const RATE_WIDTHS = [18, 10, 10, 13];
/** With a mark, in the same room. */
const MARKED_RATE_WIDTHS = [17, 9, 9, 11, 12];

export function renderThroughput({ row, sample, state, paint }: Subject, width: number): string[] {
  const { lastPoll, lastMinute, sinceMark, lifetime } = row.shown;
  const isMarked = state.mark !== null;
  const windows = [lastPoll, lastMinute, ...isMarked ? [sinceMark ?? NO_FIGURES.lastPoll] : []];
  const style = { widths: isMarked ? MARKED_RATE_WIDTHS : RATE_WIDTHS, paint };
  const draw = (
    title: string,
    read: (window: WindowFigures) => Reading,
    total: Reading | null,
    format: (value: number) => string = formatQuantity,
  ): string => {
    const last = total === null
      ? []
      : [createCell(total, format === formatPercent ? formatPercent : formatCount)];
    return drawRow(title, [...windows.map((one) => createCell(read(one), format)), ...last], style);
  };
  const { prefixCacheHitRatio: hit, prefixCacheQueries: queries } = lifetime;
  // The figures of a server that is DOWN are absent, and no line may go for that.
  const { counters, gauges } = sample;
  const spans = [lastPoll, lastMinute].map(describeWindow);
  const titles = isMarked
    ? [...spans.map((span) => span.replace("last ", "")), "since mark", "since start"]
    : [...spans, "since start"];
  return [
    drawRule(paint("throughput", "heading"), width, paint),
    drawRow("", createHeading(titles), style),
    draw("Output tok/s", (one) => one.generationTokensPerSecond, lifetime.generationTokens),
    draw("Prompt tok/s", (one) => one.promptTokensPerSecond, lifetime.promptTokens),
    draw("  computed", (one) => one.computedPromptTokensPerSecond, null),
    draw("  from cache", (one) => one.cachedPromptTokensPerSecond, lifetime.cachedPromptTokens),
    draw("Requests /s", (one) => one.requestsPerSecond, lifetime.finishedRequests),
    draw("Preemptions /s", (one) => one.preemptionsPerSecond, lifetime.preemptions),
    ...[counters.prefixCacheQueries, gauges.prefixCacheHitRatioReported].some(isExported)
      ? [
        draw("Prefix cache hits", (one) => one.prefixCacheHitRatio, hit, formatPercent),
        draw(
          `  of ${sample.prefixCacheUnit}`,
          (one) => one.prefixCacheQueries,
          queries,
          formatCount,
        ),
      ]
      : [],
    ...isExported(counters.draftTokens)
      ? [
        draw(
          "Drafts accepted",
          (one) => one.draftAcceptanceRatio,
          lifetime.draftAcceptanceRatio,
          formatPercent,
        ),
      ]
      : [],
  ];
}

/** In tokens. */
function formatLength({ bound, value }: Quantile): string {
  return bound + formatCount(value);
}

function describeLengths(sample: EngineSample, key: "promptLength" | "outputLength") {
  const histogram = getHistogram(sample, key);
  if (!isPresent(histogram)) {
    return [histogram, histogram, histogram].map((reading) => createCell(reading, formatCount));
  }
  const find = (q: number): Reading<Quantile> => {
    const quantile = computeQuantile(histogram.value, q);
    return quantile === null ? absent("no_samples") : present(quantile);
  };
  return [
    ...[0.5, 0.95].map((q) => createCell(find(q), formatLength)),
    createCell(computeMean(histogram.value), formatCount),
  ];
}

function computeMean({ sum, counts }: Histogram): Reading {
  const mean = sum / counts[counts.length - 1];
  return Number.isFinite(mean) ? present(mean) : absent("no_samples");
}

/** The bounds of its buckets tell at most how long it was. */
function describeLargest({ row, sample }: Subject): string {
  const largest = getLargestRequest(sample);
  const longest = row.state.server?.models.find(({ id }) => id === sample.modelName)
    ?.maxModelLength ?? null;
  const context = longest === null ? "" : ` of ${formatCount(longest)} context`;
  if (Number.isNaN(largest)) return DASH + context;
  if (largest === Infinity) return `beyond the last bucket${context}`;
  const share = longest === null ? "" : ` (${formatPercent(Math.min(1, largest / longest))})`;
  return `≤${formatCount(largest)}${context}${share}`;
}

function formatShares(counts: CountsByLabel | undefined): string {
  const sum = sumCounts(counts);
  if (counts === undefined || sum === 0) return DASH;
  return [...counts].filter(([, count]) => count > 0)
    .map(([reason, count]) => `${nameFinish(reason)} ${formatPercent(count / sum)}`).join("  ");
}

const LENGTH_WIDTHS = [18, 10, 10, 13];

export function renderRequests(subject: Subject, width: number): string[] {
  const { row, sample, paint } = subject;
  const style = { widths: LENGTH_WIDTHS, paint };
  const line = (title: string, text: string): string =>
    ` ${paint(padText(title, LENGTH_WIDTHS[0]), "dim")}${text}`;
  const finished = row.replica?.lastMinute.value?.labelled.finishedByReason;
  return [
    drawRule(paint("requests", "heading"), width, paint),
    drawRow("Since start", createHeading(["P50", "P95", "mean"]), style),
    drawRow("Prompt tokens", describeLengths(sample, "promptLength"), style),
    drawRow("Output tokens", describeLengths(sample, "outputLength"), style),
    line("Largest, tokens", describeLargest(subject)),
    line("Finished @1m", formatShares(finished)),
    line("  since start", formatShares(row.shown.lifetime.finishedByReason)),
  ];
}

interface LatencyColumn {
  readonly title: string;
  readonly width: number;
  /** The highest number is left out first. */
  readonly priority: number;
  readonly read: (key: LatencyKey, row: Row) => Cell;
}

const LATENCY_TITLE_WIDTH = 8;
const SLO_COLUMN: LatencyColumn = {
  title: "SLO@1m",
  width: 16,
  priority: 1,
  read: (key, { serviceLevels, alerts }) => {
    const worst = findWorstObjective(
      serviceLevels.filter(({ objective }) => objective.latency === key),
    );
    if (worst === null) return { text: "", meaning: "dim" };
    const share = formatReading(worst.lastMinute.ratio, formatAttainment);
    return {
      text: `≤${formatBoundary(worst.objective.limit)} ${share}`,
      meaning: chooseAttainmentColor(worst, alerts),
    };
  },
};

/** In place of columns of less use. */
const MARK_COLUMNS: readonly LatencyColumn[] = [
  {
    title: "P95 mark",
    width: 10,
    priority: 1,
    read: (key, { shown }) =>
      createCell((shown.sinceMark ?? NO_FIGURES.lastPoll).latency[key].p95, formatQuantile),
  },
  {
    title: "n mark",
    width: 8,
    priority: 3,
    read: (key, { shown }) => {
      const { samples } = (shown.sinceMark ?? NO_FIGURES.lastPoll).latency[key];
      return createCell(samples, formatSamples, "dim");
    },
  },
];

function createQuantileColumn(key: "p50" | "p95" | "p99", priority: number): LatencyColumn {
  return {
    title: key.toUpperCase(),
    width: 9,
    priority,
    read: (latency, { shown }) =>
      createCell(shown.lastMinute.latency[latency][key], formatQuantile),
  };
}

const LATENCY_COLUMNS: readonly LatencyColumn[] = [
  createQuantileColumn("p50", 0),
  createQuantileColumn("p95", 0),
  createQuantileColumn("p99", 0),
  {
    title: "mean",
    width: 9,
    priority: 4,
    read: (key, { shown }) => createCell(shown.lastMinute.latency[key].mean, formatLatency),
  },
  {
    title: "n",
    width: 8,
    priority: 2,
    read: (key, { shown }) =>
      createCell(shown.lastMinute.latency[key].samples, formatSamples, "dim"),
  },
  SLO_COLUMN,
  {
    title: "P95 now",
    width: 9,
    priority: 5,
    read: (key, { shown }) => createCell(shown.lastPoll.latency[key].p95, formatQuantile),
  },
];

/** The set depends on the width, on whether the model has objectives, and on whether there is a mark. */
function chooseLatencyColumns({ row, state }: Subject, width: number): readonly LatencyColumn[] {
  const usual = LATENCY_COLUMNS.filter((one) => one !== SLO_COLUMN || row.serviceLevels.length > 0);
  const kept = [...usual, ...state.mark === null ? [] : MARK_COLUMNS];
  const measure = (): number =>
    kept.reduce((sum, column) => sum + column.width, 1 + LATENCY_TITLE_WIDTH);
  while (kept.length > 1 && measure() > width) {
    const worst = kept.reduce((a, b) => b.priority > a.priority ? b : a);
    kept.splice(kept.indexOf(worst), 1);
  }
  return kept;
}

export function renderLatency(subject: Subject, width: number): string[] {
  const { row, paint } = subject;
  const columns = chooseLatencyColumns(subject, width);
  const style = { widths: [LATENCY_TITLE_WIDTH, ...columns.map((one) => one.width)], paint };
  return [
    drawRule(paint("latency, last minute", "heading"), width, paint),
    drawRow("", createHeading(columns.map(({ title }) => title)), style),
    ...LATENCY_KEYS.map((key) =>
      drawRow(LATENCY_NAMES[key].title, columns.map(({ read }) => read(key, row)), style)
    ),
  ];
}

const SESSION_WIDTHS = [17, 8, 10];

/** Peaks with their times, and counts, since it was first watched. */
export function renderSession(
  { row: { total, peaks }, state, paint }: Subject,
  width: number,
): string[] {
  const counted = total?.counted;
  const sums: readonly (readonly [string, Reading | undefined])[] = [
    ["Requests", counted?.requests],
    ["Prompt tokens", counted?.promptTokens],
    ["Output tokens", counted?.generationTokens],
    ["Preemptions", counted?.preemptions],
  ];
  const span = formatElapsed(", ", state.now - (total?.since ?? state.now));
  return [
    drawRule(paint(`session${span}`, "heading"), width, paint),
    ...PEAK_KEYS.map((key, i) => {
      const [title, value, time] = formatPeak(key, peaks, state.utcOffset);
      const [name, sum] = sums[i] ?? ["", undefined];
      const text = sum === undefined ? "" : formatReading(sum, formatCount);
      return `${
        drawRow(title, [{ text: value, meaning: "plain" }, { text: time, meaning: "dim" }], {
          widths: SESSION_WIDTHS,
          paint,
        })
      }   ${paint(padText(name, 14), "dim")}${padText(text, 7, "right")}`;
    }),
  ];
}

/** One line, ranges over several. */
export function renderGpus({ row, state, paint }: Subject): string {
  const { gpus, host } = row;
  const title = paint(" GPU ", "dim");
  if (gpus.length === 0) return title + paint(NOT_AVAILABLE, "dim");
  const indexes = new Set(gpus.map(({ index }) => index));
  const { outliers } = getHost(state.hosts, host);
  const outlier = outliers.find(({ gpuIndex }) => indexes.has(gpuIndex));
  const [summary] = summarizeGpus(gpus);
  const range = (
    key: "utilizationRatio" | "powerWatts" | "temperatureCelsius",
    format: (value: number) => string,
  ) => formatGpuReading(summary[key], (known) => formatRange(known, format));
  const pieces = [
    `${[...indexes].join(", ")}  ${shortenGpuName(gpus[0].name)}`,
    range("utilizationRatio", formatPercent),
    gpus.length === 1 ? formatMemory(gpus[0]) : "",
    range("powerWatts", formatPower),
    range("temperatureCelsius", formatTemperature),
  ].filter((text) => text !== "" && text !== NOT_AVAILABLE);
  const slow = outlier === undefined ? "" : `  ${paint(formatOutlier(outlier), "warn")}`;
  return `${title}${pieces.join("  ")}${slow}`;
}
