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
    readCell: ({ name, status }) => ({ text: name, meaning: status === null ? "heading" : "name" }),
  },
  { id: "state", title: "STATE", align: "left", priority: 0, readCell: statusCell },
  {
    id: "running",
    title: "RUN",
    align: "right",
    priority: 0,
    readCell: ({ figures }) => plain(figures.running, formatCount),
  },
  {
    id: "waiting",
    title: "WAIT",
    align: "right",
    priority: 0,
    readCell: ({ figures }) => ({
      text: formatReading(figures.waiting, formatCount),
      meaning: judgeWaiting(figures.waiting),
    }),
  },
  rateColumn("requests", "REQ/S", { priority: 4, read: (window) => window.requestsPerSecond }),
  {
    id: "share",
    title: "SHARE@1m",
    align: "right",
    priority: 10,
    readCell: (line) =>
      line.status === null
        ? { text: "", meaning: "plain" }
        : plain(line.requestShare, formatPercent),
  },
  { id: "kv_bar", title: "", align: "left", priority: 9, readCell: kvBarCell },
  {
    id: "kv",
    title: "KV",
    align: "right",
    priority: 0,
    readCell: ({ figures }) => ({
      text: formatReading(figures.kvCache.maxRatio, formatPercent),
      meaning: judgeKvCache(figures.kvCache.maxRatio),
    }),
  },
  {
    id: "cache",
    title: "CACHE",
    align: "right",
    priority: 5,
    readCell: ({ figures }) => ({
      text: formatReading(figures.lastPoll.prefixCacheHitRatio, formatPercent),
      meaning: judgeHitRatio(figures.lastPoll.prefixCacheHitRatio),
    }),
  },
  rateColumn("prompt", "PROMPT tok/s", {
    priority: 6,
    read: (window) => window.promptTokensPerSecond,
  }),
  rateColumn("computed", "COMPUTED tok/s", {
    priority: 11,
    read: (window) => window.computedPromptTokensPerSecond,
  }),
  rateColumn("output", "OUTPUT tok/s", {
    priority: 3,
    read: (window) => window.generationTokensPerSecond,
  }),
  latencyColumn("ttft", "TTFT P95", { priority: 2 }),
  latencyColumn("ttft", "@1m", { priority: 7, window: "lastMinute" }),
  latencyColumn("itl", "ITL P95", { priority: 1 }),
  latencyColumn("itl", "@1m", { priority: 8, window: "lastMinute" }),
  latencyColumn("e2e", "E2E P95", { priority: 12 }),
  latencyColumn("queue", "QUEUE P95", { priority: 13 }),
  latencyColumn("tpot", "TPOT P95", { priority: 14 }),
  rateColumn("preemptions", "PREEMPT/S", {
    priority: 15,
    read: (window) => window.preemptionsPerSecond,
  }),
];

/** Whether any line has something to say in the column. */
export function hasContent(column: Column, lines: readonly TableLine[]): boolean {
  return column.priority === 0 || lines.some((line) => {
    const { text } = column.readCell(line);
    return text !== "" && text !== DASH;
  });
}
