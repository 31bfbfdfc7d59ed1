/**
 * What each column of the table shows, sorts by and is colored by. They apply to replicas, groups
 * and totals alike.
 * @module
 */

import { cutText, measureWidth } from "./text.ts";
import type { GpuSample } from "./gpu_model.ts";
import { computeMemoryRatio, findRange } from "./gpu_outliers.ts";
import type { Quantile } from "./histogram.ts";
import {
  type Figures,
  LATENCY_NAMES,
  type ReplicaStatus,
  RULE_STATUSES,
  type WindowFigures,
} from "./model.ts";
import { absent, isPresent, mapReading, type Reading } from "./reading.ts";
import type { Alert } from "./rules_alerts.ts";
import { judgeSignal } from "./rules_status.ts";
import type { ModelGroup, Row } from "./state_fleet.ts";
import { getSeries, getSeriesTimes, NO_SERIES, type Series } from "./stats_series.ts";
import {
  type Attainment,
  findWorstObjective,
  judgeAttainment,
  type ObjectiveFigures,
} from "./stats_slo.ts";
import { type Ratio, type Seconds, SECONDS_PER_MINUTE } from "./units.ts";
import {
  COLUMN_IDS,
  COLUMN_ROWS,
  type ColumnRow,
  GPU_WIDTH,
  KIND_WIDTH,
  KV_GAUGE_WIDTH,
  TREND_WIDTH,
} from "./view_column_table.ts";
import {
  DASH,
  formatAttainment,
  formatCount,
  formatDuration,
  formatElapsed,
  formatPercent,
  formatQuantile,
  formatQuantity,
  formatReading,
  formatShort,
} from "./view_format.ts";
import { drawRatio } from "./view_gauge.ts";
import { drawSpan } from "./view_graph.ts";
import { describeInstead, getLoggedFigures, type LoggedFigures } from "./view_log.ts";
import type { Meaning } from "./view_theme.ts";

export interface Cell {
  readonly text: string;
  readonly meaning: Meaning;
}

/** A replica, or several merged. */
export interface TableLine {
  readonly name: string;
  /** Of server; empty for several replicas, or if unknown. */
  readonly kind: string;
  /** `null` for several replicas. */
  readonly status: ReplicaStatus | null;
  /** The worst of a folded group; `null` if none of it is in trouble, and for other lines. */
  readonly foldedTrouble: ReplicaStatus | null;
  /** Firing ones, worst first; of several replicas, in any order. */
  readonly alerts: readonly Alert[];
  readonly figures: Figures;
  readonly age: Seconds | null;
  readonly requestShare: Reading;
  readonly serviceLevels: readonly ObjectiveFigures[];
  /** Empty for several replicas. */
  readonly trend: Series;
  /** Empty if unknown. */
  readonly gpus: readonly GpuSample[];
  /** In place of figures, which it has not; empty if it has, or nothing else is known. */
  readonly note: string;
  /** Stand in for figures; `null` if none do. */
  readonly logged: LoggedFigures | null;
  readonly hasSlowGpu: boolean;
}

export interface Column extends ColumnRow {
  readonly formatCell: (line: TableLine) => Cell;
  /** `null` if there is no value. */
  readonly getSortValue: (line: TableLine) => number | string | null;
}

export function createRowLine(row: Row): TableLine {
  const { label, status, shown: figures, age, requestShare, serviceLevels, trend, alerts, gpus } =
    row;
  return {
    ...{ name: label, kind: row.replica?.sample.server.name ?? "", status, alerts, figures, age },
    foldedTrouble: null,
    ...{ requestShare, serviceLevels, trend, gpus, hasSlowGpu: row.slowGpus.length > 0 },
    ...{ note: describeInstead(row), logged: getLoggedFigures(row) },
  };
}

export function createGroupLine(group: ModelGroup, name: string): TableLine {
  const requestShare = absent("unsupported");
  const { shown: figures, alerts, serviceLevels, gpus } = group;
  const none = { kind: "", status: null, foldedTrouble: null, age: null, trend: NO_SERIES };
  const rest = { hasSlowGpu: false, note: "", logged: null };
  return { name, ...none, alerts, figures, requestShare, serviceLevels, gpus, ...rest };
}

/** As in vllm-htop 0.5.0 (PyPI). Red is what the verdict counts. */
export const KV_WARN_RATIO: Ratio = 0.65;
const TREND_SPAN: Seconds = 2 * SECONDS_PER_MINUTE;
/** Of the span, at the shortest interval. */
const TREND_POINTS = 240;

/** Those without rules. */
const STATUS_MEANINGS: Readonly<Partial<Record<ReplicaStatus, Meaning>>> = {
  OK: "ok",
  SLEEP: "dim",
  UNLOADED: "dim",
  INIT: "dim",
  PENDING: "dim",
  LOAD: "name",
  STALE: "warn",
  DOWN: "alert",
};
/** From best to worst. */
const STATUS_ORDER: readonly ReplicaStatus[] = [
  ...["OK", "SLEEP", "UNLOADED", "INIT", "PENDING", "LOAD"] as const,
  ...RULE_STATUSES.toReversed(),
  ...["STALE", "DOWN"] as const,
];

const CALM_STATUSES: ReadonlySet<ReplicaStatus | null> = new Set([
  ...["OK", "SLEEP", "UNLOADED", "INIT", "PENDING", "LOAD"] as const,
  null,
]);

/** Such rows are marked, and never left out for want of room. */
export function isInTrouble(
  { status, foldedTrouble = null }: Partial<Pick<TableLine, "foldedTrouble">> & {
    readonly status: ReplicaStatus | null;
  },
): boolean {
  return foldedTrouble !== null || !CALM_STATUSES.has(status);
}

/** Returns the worst status of replicas in trouble; `null` if none is. */
export function findTrouble(statuses: readonly ReplicaStatus[]): ReplicaStatus | null {
  return STATUS_ORDER.findLast((status) => isInTrouble({ status }) && statuses.includes(status)) ??
    null;
}

export function chooseKvCacheColor(ratio: Reading<Ratio>, alerts: readonly Alert[]): Meaning {
  if (!isPresent(ratio)) return "dim";
  if (judgeSignal(alerts, "kv_cache") !== null) return "alert";
  return ratio.value > KV_WARN_RATIO ? "warn" : "ok";
}

export function chooseWaitingColor(waiting: Reading, alerts: readonly Alert[]): Meaning {
  if (!isPresent(waiting)) return "dim";
  if (judgeSignal(alerts, "waiting") !== null) return "alert";
  return waiting.value > 0 ? "warn" : "plain";
}

/** Of the last minute, or of `past`. Red only if the verdict counts it, which never counts the past. */
export function chooseAttainmentColor(
  { objective, lastMinute }: ObjectiveFigures,
  alerts: readonly Alert[],
  past: Attainment | null = null,
): Meaning {
  const attainment = past ?? lastMinute;
  if (!isPresent(attainment.ratio)) return "dim";
  const isCause = past === null && alerts.some(({ newest }) => newest.rule === "slo");
  switch (judgeAttainment(attainment, objective)) {
    case "met":
      return "ok";
    case "missed":
      return isCause ? "alert" : "warn";
    case "unknown":
      return "plain";
  }
}

function unmark<T>(reading: Reading<T>): Reading<T> {
  if (!isPresent(reading)) return reading;
  const { isSinceStart: _, isOverMinute: __, ...unmarked } = reading;
  return unmarked;
}

/** Figures of longer than the poll are no news: dim. */
export function chooseMeaning<T>(
  reading: Reading<T>,
  judge: (reading: Reading<T>) => Meaning,
): Meaning {
  return isPresent(reading) && (reading.isSinceStart || reading.isOverMinute)
    ? "dim"
    : judge(reading);
}

function choosePlain(reading: Reading<unknown>): Meaning {
  return isPresent(reading) ? "plain" : "dim";
}

/** How a column is drawn and sorted by. */
type Drawing = (row: ColumnRow) => Pick<Column, "formatCell" | "getSortValue">;

function drawReading<T extends number | Quantile>(
  read: (line: TableLine) => Reading<T>,
  format: (value: T) => string,
  { judge = choosePlain, shorter = [] }: {
    readonly judge?: (reading: Reading<T>, alerts: readonly Alert[]) => Meaning;
    readonly shorter?: readonly ((value: T) => string)[];
  } = {},
): Drawing {
  return ({ minWidth, title }) => ({
    formatCell: (line) => {
      const reading = read(line);
      const meaning = chooseMeaning(reading, (one) => judge(one, line.alerts));
      const room = Math.max(minWidth, measureWidth(title));
      let text = formatReading(reading, format);
      // Rather without its mark, as it is dim, and with fewer digits, than without its end.
      for (const form of [format, ...shorter]) {
        if (measureWidth(text) <= room) break;
        text = formatReading(unmark(reading), form);
      }
      return { text, meaning };
    },
    getSortValue: (line) => {
      const { value } = read(line);
      return typeof value === "object" ? value?.value ?? null : value;
    },
  });
}

const SHORTER: readonly ((quantity: number) => string)[] = [
  (quantity) => formatShort(quantity, 1),
  (quantity) => formatShort(quantity, 0),
];

function drawRate(read: (window: WindowFigures) => Reading): Drawing {
  const options = { shorter: SHORTER };
  return drawReading(({ figures }) => read(figures.lastPoll), formatQuantity, options);
}

function drawLatency([key, window]: NonNullable<ColumnRow["latency"]>): Drawing {
  return drawReading(({ figures }) => figures[window].latency[key].p95, formatQuantile);
}

/** Of the same state everywhere: red for what the verdict counts as critical. */
export function chooseStatusColor(
  { status, alerts }: { readonly status: ReplicaStatus; readonly alerts: readonly Alert[] },
): Meaning {
  const isCritical = alerts[0]?.newest.level === "critical";
  return STATUS_MEANINGS[status] ?? (isCritical ? "alert" : "warn");
}

export function formatStateCell(line: TableLine): Cell {
  if (line.status === null) return { text: "", meaning: "plain" };
  const age = line.status === "STALE" && line.age !== null ? formatElapsed(" ", line.age) : "";
  const logAge = line.logged === null ? "" : ` ${LOG_MARK}${formatDuration(line.logged.age)}`;
  const meaning = chooseStatusColor({ status: line.status, alerts: line.alerts });
  return { text: line.status + age + logAge, meaning };
}

/** Of figures that are not the server's metrics. */
const LOG_MARK = "≈";

/** Marks what a server logs, in place of a figure that it does not give. */
export function renderCell({ id, minWidth, title, formatCell }: Column, line: TableLine): Cell {
  const text = line.logged?.texts.get(id);
  if (text === undefined) return formatCell(line);
  const marked = LOG_MARK + text;
  // Rather without its mark, as it is dim, than without its end.
  const isTooWide = measureWidth(marked) > Math.max(minWidth, measureWidth(title));
  return { text: isTooWide ? text : marked, meaning: "dim" };
}

/** Of several replicas, of the fullest. */
function formatKvBarCell({ figures, alerts }: TableLine): Cell {
  const ratio = figures.kvCache.maxRatio;
  return { text: drawRatio(ratio, KV_GAUGE_WIDTH), meaning: chooseKvCacheColor(ratio, alerts) };
}

function formatShareCell({ status, requestShare }: TableLine): Cell {
  // A group has no meaningful share.
  const text = status === null ? "" : formatReading(requestShare, formatPercent);
  return { text, meaning: choosePlain(requestShare) };
}

function formatServiceLevelCell({ serviceLevels, alerts }: TableLine): Cell {
  const worst = findWorstObjective(serviceLevels);
  if (worst === null) return { text: DASH, meaning: "dim" };
  const { objective: { latency }, lastMinute: { ratio } } = worst;
  const share = formatReading(ratio, formatAttainment);
  return {
    text: isPresent(ratio) ? `${LATENCY_NAMES[latency].title} ${share}` : share,
    meaning: chooseAttainmentColor(worst, alerts),
  };
}

function formatTrendCell({ trend }: TableLine): Cell {
  const series = {
    values: getSeries(trend, "running", TREND_POINTS),
    times: getSeriesTimes(trend, TREND_POINTS),
  };
  const text = drawSpan(series, { width: TREND_WIDTH, span: TREND_SPAN });
  return { text: text.trim() === "" ? "" : text, meaning: "dim" };
}

/** Returns the maximum over the replica's GPUs. */
function getGpuMax({ gpus }: TableLine, read: (gpu: GpuSample) => Reading<Ratio>): Reading<Ratio> {
  return mapReading(findRange(gpus.map(read)), ({ max }) => max);
}

/** `2`, `0–7`; how many they are, if they are not in a row. */
function formatIndexes(gpus: readonly GpuSample[]): string {
  const indexes = [...new Set(gpus.map(({ index }) => index))].sort((a, b) => a - b);
  const [first, last] = [indexes[0], indexes[indexes.length - 1]];
  if (indexes.length === 1) return String(first);
  return last - first === indexes.length - 1 ? `${first}–${last}` : `${indexes.length}×`;
}

/** `2 99%`, `0–7 97%↓` if one of them is slow; of several replicas, only the utilization. */
function formatGpuCell(line: TableLine): Cell {
  const { gpus, status, hasSlowGpu } = line;
  const ratio = getGpuMax(line, ({ utilizationRatio }) => utilizationRatio);
  if (gpus.length === 0) return { text: DASH, meaning: "dim" };
  const percent = formatReading(ratio, formatPercent).replace(" ", "");
  const sign = hasSlowGpu ? "↓" : " ";
  const text = percent + sign;
  const whole = `${formatIndexes(gpus)} ${text}`;
  const hasIndexes = status !== null && measureWidth(whole) <= GPU_WIDTH;
  return { text: hasIndexes ? whole : text, meaning: hasSlowGpu ? "warn" : "plain" };
}

/** Of all columns but those of latencies. */
const DRAWINGS: Readonly<Record<string, Drawing>> = {
  replica: () => ({
    formatCell: ({ name, status }) => ({
      text: name,
      meaning: status === null ? "title" : "plain",
    }),
    getSortValue: ({ name }) => name,
  }),
  state: () => ({
    formatCell: formatStateCell,
    getSortValue: ({ status }) => status === null ? null : STATUS_ORDER.indexOf(status),
  }),
  running: drawReading(({ figures }) => figures.running, formatCount, { shorter: SHORTER }),
  waiting: drawReading(({ figures }) => figures.waiting, formatCount, {
    judge: chooseWaitingColor,
    shorter: SHORTER,
  }),
  kv_bar: () => ({
    formatCell: formatKvBarCell,
    getSortValue: ({ figures }) => figures.kvCache.maxRatio.value,
  }),
  kv: drawReading(({ figures }) => figures.kvCache.maxRatio, formatPercent, {
    judge: chooseKvCacheColor,
  }),
  output: drawRate((window) => window.generationTokensPerSecond),
  prompt: drawRate((window) => window.promptTokensPerSecond),
  requests: drawRate((window) => window.requestsPerSecond),
  slo: () => ({
    formatCell: formatServiceLevelCell,
    getSortValue: ({ serviceLevels }) =>
      findWorstObjective(serviceLevels)?.lastMinute.ratio.value?.min ?? null,
  }),
  cache: drawReading(({ figures }) => figures.lastPoll.prefixCacheHitRatio, formatPercent),
  gpu: () => ({
    formatCell: formatGpuCell,
    getSortValue: (line) => getGpuMax(line, ({ utilizationRatio }) => utilizationRatio).value,
  }),
  trend: () => ({
    formatCell: formatTrendCell,
    getSortValue: ({ figures }) => figures.running.value,
  }),
  share: () => ({
    formatCell: formatShareCell,
    getSortValue: ({ requestShare }) => requestShare.value,
  }),
  computed: drawRate((window) => window.computedPromptTokensPerSecond),
  gpu_memory: drawReading((line) => getGpuMax(line, computeMemoryRatio), formatPercent),
  preemptions: drawRate((window) => window.preemptionsPerSecond),
  kind: () => ({
    formatCell: ({ kind }) => ({ text: cutText(kind, KIND_WIDTH), meaning: "dim" }),
    getSortValue: ({ kind }) => kind === "" ? null : kind,
  }),
};

/** From left to right. */
export const COLUMNS: readonly Column[] = COLUMN_ROWS.map((row) => {
  const draw = row.latency === undefined ? DRAWINGS[row.id] : drawLatency(row.latency);
  return { ...row, ...draw(row) };
});

/** Sets of columns for a question, in their order. */
export const PRESETS: readonly (readonly [name: string, columnIds: readonly string[]])[] = [
  ["all", COLUMN_IDS],
  ["serving", [
    ...["replica", "state", "kind", "running", "waiting", "kv_bar", "kv", "output", "prompt"],
    ...["requests", "ttft_p95_1m", "itl_p95_1m", "slo", "trend"],
  ]],
  ["latency", [
    ...["replica", "state", "running", "waiting", "ttft_p95_1m", "itl_p95_1m", "e2e_p95_1m"],
    ...["queue_p95_1m", "slo", "ttft_p95", "itl_p95", "tpot_p95", "e2e_p95", "queue_p95"],
  ]],
  ["cache", [
    ...["replica", "state", "running", "kv_bar", "kv", "preemptions", "cache", "prompt"],
    ...["computed", "ttft_p95_1m"],
  ]],
  ["GPU", [
    ...["replica", "state", "running", "gpu", "gpu_memory", "output", "prompt", "itl_p95_1m"],
    "trend",
  ]],
  ["cost", [
    ...["replica", "state", "share", "requests", "output", "prompt", "computed", "cache", "gpu"],
    "gpu_memory",
  ]],
];
