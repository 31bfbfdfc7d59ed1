/**
 * The columns of the table as data: what each shows, sorts by and is colored by. They apply to
 * replicas, groups and totals alike.
 * @module
 */

import { cutText, measureWidth } from "./text.ts";
import type { GpuSample } from "./gpu_model.ts";
import { computeMemoryRatio, findRange } from "./gpu_outliers.ts";
import type { Quantile } from "./histogram.ts";
import {
  type Figures,
  LATENCY_NAMES,
  type LatencyKey,
  type ReplicaStatus,
  RULE_STATUSES,
  type WindowFigures,
} from "./model.ts";
import { absent, isPresent, mapReading, type Reading } from "./reading.ts";
import type { Alert } from "./rules_alerts.ts";
import { judgeSignal } from "./rules_status.ts";
import type { ModelGroup, Row } from "./state_fleet.ts";
import type { Sort } from "./state_ui.ts";
import { getSeries, getSeriesTimes, NO_SERIES, type Series } from "./stats_series.ts";
import {
  type Attainment,
  findWorstObjective,
  judgeAttainment,
  type ObjectiveFigures,
} from "./stats_slo.ts";
import { type Ratio, type Seconds, SECONDS_PER_MINUTE } from "./units.ts";
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
} from "./view_format.ts";
import { drawGauge } from "./view_gauge.ts";
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

export interface Column {
  /** For `--sort` and `--columns`. */
  readonly id: string;
  readonly title: string;
  /** In the menu, where the heading is blank. */
  readonly menuTitle?: string;
  readonly help: string;
  readonly align: "left" | "right";
  /** The highest number is dropped first on a narrow screen; 0 never is. */
  readonly priority: number;
  /** In cells, whatever the values; of `replica`, at least. */
  readonly minWidth: number;
  /** Shown in percent. */
  readonly isRatio?: true;
  /** Left out until its figures can be, or tell rows apart: see `getOffer`. */
  readonly needs?: "objectives" | "gpus" | "kinds";
  /** Sorted ascending at first, as names are; other columns start with the worst. */
  readonly risesFirst?: true;
  readonly formatCell: (line: TableLine) => Cell;
  /** `null` if there is no value. */
  readonly getSortValue: (line: TableLine) => number | string | null;
}

export function createRowLine(row: Row): TableLine {
  const { label, status, shown: figures, age, requestShare, serviceLevels, trend, alerts, gpus } =
    row;
  return {
    ...{ name: label, kind: row.replica?.sample.server.name ?? "", status, alerts, figures, age },
    ...{ requestShare, serviceLevels, trend, gpus, hasSlowGpu: row.slowGpus.length > 0 },
    ...{ note: describeInstead(row), logged: getLoggedFigures(row) },
  };
}

export function createGroupLine(group: ModelGroup, name: string): TableLine {
  const requestShare = absent("unsupported");
  const { shown: figures, alerts, serviceLevels, gpus } = group;
  const none = { kind: "", status: null, age: null, trend: NO_SERIES };
  const rest = { hasSlowGpu: false, note: "", logged: null };
  return { name, ...none, alerts, figures, requestShare, serviceLevels, gpus, ...rest };
}

/** As in vllm-htop 0.5.0 (PyPI). Red is what the verdict counts. */
export const KV_WARN_RATIO: Ratio = 0.65;
const KV_GAUGE_WIDTH = 7;
const TREND_WIDTH = 9;
const TREND_SPAN: Seconds = 2 * SECONDS_PER_MINUTE;
/** Of the span, at the shortest interval. */
const TREND_POINTS = 240;
/** In cells, for `1.50M`, `<300 ms`, `>99 %`, `STALE 29s`, `9999`, `TTFT 97–99 %`. */
const RATE_WIDTH = 5;
const LATENCY_WIDTH = 7;
const PERCENT_WIDTH = 5;
const STATE_WIDTH = 9;
const COUNT_WIDTH = 4;
const KIND_WIDTH = 9;
const SERVICE_LEVEL_WIDTH = 12;
const COUNT = { minWidth: COUNT_WIDTH, format: formatCount } as const;
const RATIO = { minWidth: PERCENT_WIDTH, isRatio: true, format: formatPercent } as const;

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

function createColumn<T extends number | Quantile>(
  column: Omit<Column, "align" | "formatCell" | "getSortValue"> & {
    readonly read: (line: TableLine) => Reading<T>;
    readonly format: (value: T) => string;
    readonly judge?: (reading: Reading<T>, alerts: readonly Alert[]) => Meaning;
  },
): Column {
  const { read, format, judge = choosePlain, ...rest } = column;
  return {
    ...rest,
    align: "right",
    formatCell: (line) => {
      const reading = read(line);
      const meaning = chooseMeaning(reading, (one) => judge(one, line.alerts));
      const text = formatReading(reading, format);
      const isTooWide = measureWidth(text) > Math.max(rest.minWidth, measureWidth(rest.title));
      // Rather without its mark, as it is dim, than without its end.
      return { text: isTooWide ? formatReading(unmark(reading), format) : text, meaning };
    },
    getSortValue: (line) => {
      const { value } = read(line);
      return typeof value === "object" ? value?.value ?? null : value;
    },
  };
}

function createRateColumn(
  id: string,
  title: string,
  options: {
    readonly priority: number;
    readonly help: string;
    readonly read: (window: WindowFigures) => Reading;
  },
): Column {
  const { read, ...rest } = options;
  return createColumn({
    ...rest,
    id,
    title,
    minWidth: RATE_WIDTH,
    read: ({ figures }) => read(figures.lastPoll),
    format: formatQuantity,
  });
}

function createLatencyColumn(
  key: LatencyKey,
  { priority, window = "lastPoll" }: {
    readonly priority: number;
    readonly window?: "lastPoll" | "lastMinute";
  },
): Column {
  const isMinute = window === "lastMinute";
  const { title, words } = LATENCY_NAMES[key];
  return createColumn<Quantile>({
    id: `${key}_p95${isMinute ? "_1m" : ""}`,
    title: title.toUpperCase() + (isMinute ? "@1m" : " P95"),
    help: `${words}, 95th percentile of the last ${isMinute ? "minute" : "poll"}`,
    priority,
    minWidth: LATENCY_WIDTH,
    read: ({ figures }) => figures[window].latency[key].p95,
    format: formatQuantile,
  });
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
  if (!isPresent(ratio)) return { text: "", meaning: "dim" };
  return {
    text: drawGauge(ratio.value, KV_GAUGE_WIDTH),
    meaning: chooseKvCacheColor(ratio, alerts),
  };
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

const GPU_WIDTH = 8;

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

/** From left to right. */
export const COLUMNS: readonly Column[] = [
  {
    id: "replica",
    title: "REPLICA",
    help: "address, and engine if the endpoint has several; below the name of its model",
    align: "left",
    priority: 0,
    minWidth: 8,
    risesFirst: true,
    formatCell: ({ name, status }) => ({
      text: name,
      meaning: status === null ? "title" : "plain",
    }),
    getSortValue: ({ name }) => name,
  },
  {
    id: "state",
    title: "STATE",
    help: "OK, PENDING, LOAD, INIT, SLEEP, UNLOADED, STALE, DOWN, or the rule that fires",
    align: "left",
    priority: 1,
    minWidth: STATE_WIDTH,
    formatCell: formatStateCell,
    getSortValue: ({ status }) => status === null ? null : STATUS_ORDER.indexOf(status),
  },
  createColumn({
    id: "running",
    title: "RUN",
    help: "running requests",
    priority: 2,
    ...COUNT,
    read: ({ figures }) => figures.running,
  }),
  createColumn({
    id: "waiting",
    title: "WAIT",
    help: "waiting requests",
    priority: 3,
    ...COUNT,
    read: ({ figures }) => figures.waiting,
    judge: chooseWaitingColor,
  }),
  {
    id: "kv_bar",
    title: "",
    menuTitle: "KV gauge",
    help: "KV-cache usage as a gauge; of several replicas, of the fullest",
    align: "left",
    priority: 9,
    minWidth: KV_GAUGE_WIDTH,
    formatCell: formatKvBarCell,
    getSortValue: ({ figures }) => figures.kvCache.maxRatio.value,
  },
  createColumn({
    id: "kv",
    title: "KV",
    help: "share of the KV cache held by running requests; of several replicas, the maximum",
    priority: 4,
    ...RATIO,
    read: ({ figures }) => figures.kvCache.maxRatio,
    judge: chooseKvCacheColor,
  }),
  createRateColumn("output", "OUT/S", {
    priority: 5,
    help: "generated tokens per second",
    read: (window) => window.generationTokensPerSecond,
  }),
  createRateColumn("prompt", "IN/S", {
    priority: 10,
    help: "prompt tokens per second, cached ones included",
    read: (window) => window.promptTokensPerSecond,
  }),
  createRateColumn("requests", "REQ/S", {
    priority: 11,
    help: "requests finished per second",
    read: (window) => window.requestsPerSecond,
  }),
  createLatencyColumn("ttft", { priority: 6, window: "lastMinute" }),
  createLatencyColumn("itl", { priority: 7, window: "lastMinute" }),
  {
    id: "slo",
    title: "SLO@1m",
    help: "share within the limit (--slo) in the last minute, of the objective missed most",
    align: "right",
    priority: 8,
    minWidth: SERVICE_LEVEL_WIDTH,
    needs: "objectives",
    isRatio: true,
    risesFirst: true,
    formatCell: formatServiceLevelCell,
    getSortValue: ({ serviceLevels }) =>
      findWorstObjective(serviceLevels)?.lastMinute.ratio.value?.min ?? null,
  },
  createColumn({
    id: "cache",
    title: "HIT",
    help: "prefix-cache hit ratio of the last poll",
    priority: 12,
    ...RATIO,
    read: ({ figures }) => figures.lastPoll.prefixCacheHitRatio,
  }),
  {
    id: "gpu",
    title: "GPU",
    help: "its GPUs, and the utilization of the busiest; ↓ if one is throttled or slow",
    align: "right",
    priority: 13,
    minWidth: GPU_WIDTH,
    isRatio: true,
    needs: "gpus",
    formatCell: formatGpuCell,
    getSortValue: (line) => getGpuMax(line, ({ utilizationRatio }) => utilizationRatio).value,
  },
  {
    id: "trend",
    title: "RUN 2 MIN",
    help: "running requests over the last two minutes, newest on the right",
    align: "left",
    priority: 14,
    minWidth: TREND_WIDTH,
    formatCell: formatTrendCell,
    getSortValue: ({ figures }) => figures.running.value,
  },
  {
    id: "share",
    title: "SHARE@1m",
    help: "share of its model's requests finished in the last minute",
    align: "right",
    priority: 15,
    isRatio: true,
    minWidth: PERCENT_WIDTH,
    formatCell: formatShareCell,
    getSortValue: ({ requestShare }) => requestShare.value,
  },
  createRateColumn("computed", "COMPUTED/S", {
    priority: 16,
    help: "prompt tokens per second, cached ones excluded",
    read: (window) => window.computedPromptTokensPerSecond,
  }),
  createLatencyColumn("e2e", { priority: 17, window: "lastMinute" }),
  createLatencyColumn("queue", { priority: 18, window: "lastMinute" }),
  createLatencyColumn("ttft", { priority: 19 }),
  createLatencyColumn("itl", { priority: 20 }),
  createColumn({
    id: "gpu_memory",
    title: "GPU MEM",
    help: "memory usage of its fullest GPU, if known",
    priority: 21,
    needs: "gpus",
    ...RATIO,
    read: (line) => getGpuMax(line, computeMemoryRatio),
  }),
  createLatencyColumn("tpot", { priority: 22 }),
  createLatencyColumn("e2e", { priority: 23 }),
  createLatencyColumn("queue", { priority: 24 }),
  createRateColumn("preemptions", "PREEMPT/S", {
    priority: 25,
    help: "preemptions per second",
    read: (window) => window.preemptionsPerSecond,
  }),
  {
    id: "kind",
    title: "KIND",
    help: "kind of server, if there are several",
    align: "left",
    priority: 7.5,
    minWidth: KIND_WIDTH,
    needs: "kinds",
    risesFirst: true,
    formatCell: ({ kind }) => ({ text: cutText(kind, KIND_WIDTH), meaning: "dim" }),
    getSortValue: ({ kind }) => kind === "" ? null : kind,
  },
];

export function startSort({ id, risesFirst }: Column): Sort {
  return { columnId: id, isDescending: risesFirst !== true };
}

export const COLUMN_IDS: readonly string[] = COLUMNS.map(({ id }) => id);

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
