/**
 * The columns of the table, as descriptors: what each shows, of which figure.
 *
 * Layer 4, pure. A column is data: heading, alignment, how soon it gives way on
 * a narrow screen, and a function from a line to its cell. The same columns
 * read a replica, a group and the total, since all three are `Figures`. Cells
 * are text with a meaning; `table_view` paints and lays them out.
 *
 * @module
 */

import {
  DASH,
  formatCount,
  formatDuration,
  formatPercent,
  formatQuantile,
  formatQuantity,
  formatReading,
} from "./format.ts";
import type { Meaning } from "./frame.ts";
import { drawBar } from "./glyphs.ts";
import type { Figures, LatencyKey, ReplicaStatus, WindowFigures } from "./model.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { Ratio, Seconds } from "./units.ts";

/** A text with a meaning. */
export interface Cell {
  readonly text: string;
  readonly meaning: Meaning;
}

/** What one line of the table is about: a replica, or several merged. */
export interface TableLine {
  readonly name: string;
  /** `null` for lines that are about several replicas. */
  readonly status: ReplicaStatus | null;
  readonly figures: Figures;
  readonly age: Seconds | null;
  readonly requestShare: Reading;
}

/** One column. */
export interface Column {
  readonly id: string;
  readonly title: string;
  readonly align: "left" | "right";
  /** The column with the highest number goes first when the screen is narrow; 0 never goes. */
  readonly priority: number;
  /** Cells that it takes at the least, so that columns do not move with each figure. */
  readonly minWidth: number;
  /** Whether it stands even where no line has a figure for it. */
  readonly isEssential?: true;
  readonly readCell: (line: TableLine) => Cell;
}

/** KV-cache usage above which it is coloured as filling, and as full (vllm-htop 0.5.0). */
export const KV_WARN_RATIO: Ratio = 0.65;
export const KV_ALERT_RATIO: Ratio = 0.85;

/** Hit ratio from which prefix caching is good, and from which it is fair (vllm-htop 0.5.0). */
export const HIT_GOOD_RATIO: Ratio = 0.6;
export const HIT_FAIR_RATIO: Ratio = 0.3;

/** Waiting requests above which a queue is long (vllm-htop 0.5.0). */
export const LONG_QUEUE = 5;

const KV_BAR_WIDTH = 8;

/** Widths that nearly all figures of their kind fit: `1.50M`, `<300 ms`, `>99 %`, `STALE 9s`, `999`. */
const RATE_WIDTH = 5;
const LATENCY_WIDTH = 7;
const PERCENT_WIDTH = 5;
const STATE_WIDTH = 7;
const COUNT_WIDTH = 3;

const STATUS_MEANINGS: Readonly<Record<ReplicaStatus, Meaning>> = {
  PENDING: "dim",
  OK: "ok",
  INIT: "dim",
  SLEEP: "dim",
  STALE: "warn",
  DOWN: "alert",
};

/** How a KV-cache usage is coloured. */
export function judgeKvCache(ratio: Reading<Ratio>): Meaning {
  if (!isPresent(ratio)) return "dim";
  return ratio.value > KV_ALERT_RATIO ? "alert" : ratio.value > KV_WARN_RATIO ? "warn" : "ok";
}

/** How a prefix-cache hit ratio is coloured. */
export function judgeHitRatio(ratio: Reading<Ratio>): Meaning {
  if (!isPresent(ratio)) return "dim";
  return ratio.value >= HIT_GOOD_RATIO ? "ok" : ratio.value >= HIT_FAIR_RATIO ? "warn" : "alert";
}

/** How a number of waiting requests is coloured. */
export function judgeWaiting(waiting: Reading): Meaning {
  if (!isPresent(waiting)) return "dim";
  return waiting.value > LONG_QUEUE ? "alert" : waiting.value > 0 ? "warn" : "plain";
}

function plain<T>(reading: Reading<T>, convert: (value: T) => string): Cell {
  return {
    text: formatReading(reading, convert),
    meaning: isPresent(reading) ? "plain" : "dim",
  };
}

function statusCell(line: TableLine): Cell {
  if (line.status === null) return { text: "", meaning: "plain" };
  const age = line.status === "STALE" && line.age !== null ? ` ${formatDuration(line.age)}` : "";
  return { text: line.status + age, meaning: STATUS_MEANINGS[line.status] };
}

function kvBarCell({ figures, status }: TableLine): Cell {
  const ratio = figures.kvCache.maxRatio;
  if (!isPresent(ratio)) return { text: "", meaning: "dim" };
  // For several replicas the figure is a maximum, which a bar would show as a level.
  if (status === null) return { text: "max", meaning: "dim" };
  return { text: drawBar(ratio.value, KV_BAR_WIDTH), meaning: judgeKvCache(ratio) };
}

function rateColumn(
  id: string,
  title: string,
  options: { readonly priority: number; readonly read: (window: WindowFigures) => Reading },
): Column {
  return {
    id,
    title,
    align: "right",
    priority: options.priority,
    minWidth: RATE_WIDTH,
    readCell: ({ figures }) => plain(options.read(figures.lastPoll), formatQuantity),
  };
}

function latencyColumn(
  key: LatencyKey,
  title: string,
  options: {
    readonly priority: number;
    readonly window?: "lastPoll" | "lastMinute";
    readonly quantile?: "p50" | "p95" | "p99";
  },
): Column {
  const { priority, window = "lastPoll", quantile = "p95" } = options;
  return {
    id: `${key}_${quantile}${window === "lastMinute" ? "_1m" : ""}`,
    title,
    align: "right",
    priority,
    minWidth: LATENCY_WIDTH,
    readCell: ({ figures }) => plain(figures[window].latency[key][quantile], formatQuantile),
  };
}

/** All columns, from left to right. */
export const COLUMNS: readonly Column[] = [
  {
    id: "replica",
    title: "REPLICA",
    align: "left",
    priority: 0,
    minWidth: 0,
    isEssential: true,
    readCell: ({ name, status }) => ({ text: name, meaning: status === null ? "heading" : "name" }),
  },
  {
    id: "state",
    title: "STATE",
    align: "left",
    priority: 1,
    minWidth: STATE_WIDTH,
    isEssential: true,
    readCell: statusCell,
  },
  {
    id: "running",
    title: "RUN",
    align: "right",
    priority: 3,
    minWidth: COUNT_WIDTH,
    isEssential: true,
    readCell: ({ figures }) => plain(figures.running, formatCount),
  },
  {
    id: "waiting",
    title: "WAIT",
    align: "right",
    priority: 4,
    minWidth: COUNT_WIDTH,
    isEssential: true,
    readCell: ({ figures }) => ({
      text: formatReading(figures.waiting, formatCount),
      meaning: judgeWaiting(figures.waiting),
    }),
  },
  rateColumn("requests", "REQ/S", { priority: 8, read: (window) => window.requestsPerSecond }),
  {
    id: "share",
    title: "SHARE@1m",
    align: "right",
    priority: 14,
    minWidth: PERCENT_WIDTH,
    readCell: (line) =>
      line.status === null
        ? { text: "", meaning: "plain" }
        : plain(line.requestShare, formatPercent),
  },
  {
    id: "kv_bar",
    title: "",
    align: "left",
    priority: 13,
    minWidth: KV_BAR_WIDTH,
    readCell: kvBarCell,
  },
  {
    id: "kv",
    title: "KV",
    align: "right",
    priority: 2,
    minWidth: PERCENT_WIDTH,
    isEssential: true,
    readCell: ({ figures }) => ({
      text: formatReading(figures.kvCache.maxRatio, formatPercent),
      meaning: judgeKvCache(figures.kvCache.maxRatio),
    }),
  },
  {
    id: "cache",
    title: "CACHE",
    align: "right",
    priority: 9,
    minWidth: PERCENT_WIDTH,
    readCell: ({ figures }) => ({
      text: formatReading(figures.lastPoll.prefixCacheHitRatio, formatPercent),
      meaning: judgeHitRatio(figures.lastPoll.prefixCacheHitRatio),
    }),
  },
  rateColumn("prompt", "PROMPT tok/s", {
    priority: 12,
    read: (window) => window.promptTokensPerSecond,
  }),
  rateColumn("computed", "COMPUTED tok/s", {
    priority: 15,
    read: (window) => window.computedPromptTokensPerSecond,
  }),
  rateColumn("output", "OUTPUT tok/s", {
    priority: 7,
    read: (window) => window.generationTokensPerSecond,
  }),
  latencyColumn("ttft", "TTFT P95", { priority: 6 }),
  latencyColumn("ttft", "@1m", { priority: 10, window: "lastMinute" }),
  latencyColumn("itl", "ITL P95", { priority: 5 }),
  latencyColumn("itl", "@1m", { priority: 11, window: "lastMinute" }),
  latencyColumn("e2e", "E2E P95", { priority: 16 }),
  latencyColumn("queue", "QUEUE P95", { priority: 17 }),
  latencyColumn("tpot", "TPOT P95", { priority: 18 }),
  rateColumn("preemptions", "PREEMPT/S", {
    priority: 19,
    read: (window) => window.preemptionsPerSecond,
  }),
];

/** Whether any line has something to say in the column. */
export function hasContent(column: Column, lines: readonly TableLine[]): boolean {
  return column.isEssential === true || lines.some((line) => {
    const { text } = column.readCell(line);
    return text !== "" && text !== DASH;
  });
}
