/**
 * The columns of the table as data: names, words and widths. `view_columns` draws them.
 * @module
 */

import { LATENCY_NAMES, type LatencyKey } from "./model.ts";
import type { Sort } from "./state_ui.ts";

type LatencyWindow = "lastPoll" | "lastMinute";

export interface ColumnRow {
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
  /** Shows its 95th percentile. */
  readonly latency?: readonly [key: LatencyKey, window: LatencyWindow];
}

export const KV_GAUGE_WIDTH = 7;
export const TREND_WIDTH = 9;
/** In cells, for `1.50M`, `<300 ms`, `>99 %`, `STALE 29s`, `9999`, `TTFT 97–99 %`, `0–7 97%↓`. */
const RATE_WIDTH = 5;
const LATENCY_WIDTH = 7;
const PERCENT_WIDTH = 5;
const STATE_WIDTH = 9;
const COUNT_WIDTH = 4;
export const KIND_WIDTH = 9;
const SERVICE_LEVEL_WIDTH = 12;
export const GPU_WIDTH = 8;
const COUNT = { align: "right", minWidth: COUNT_WIDTH } as const;
const RATIO = { align: "right", minWidth: PERCENT_WIDTH, isRatio: true } as const;

function createRate(id: string, title: string, priority: number, help: string): ColumnRow {
  return { id, title, help, align: "right", priority, minWidth: RATE_WIDTH };
}

function createLatency(key: LatencyKey, priority: number, window: LatencyWindow): ColumnRow {
  const isMinute = window === "lastMinute";
  const { title, words } = LATENCY_NAMES[key];
  return {
    id: `${key}_p95${isMinute ? "_1m" : ""}`,
    title: title.toUpperCase() + (isMinute ? "@1m" : " P95"),
    help: `${words}, 95th percentile of the last ${isMinute ? "minute" : "poll"}`,
    align: "right",
    priority,
    minWidth: LATENCY_WIDTH,
    latency: [key, window],
  };
}

/** From left to right. */
export const COLUMN_ROWS: readonly ColumnRow[] = [
  {
    id: "replica",
    title: "REPLICA",
    help: "address, and engine if the endpoint has several; below the name of its model",
    align: "left",
    priority: 0,
    minWidth: 8,
    risesFirst: true,
  },
  {
    id: "state",
    title: "STATE",
    help: "OK, PENDING, LOAD, INIT, SLEEP, UNLOADED, STALE, DOWN, or the rule that fires",
    align: "left",
    priority: 1,
    minWidth: STATE_WIDTH,
  },
  {
    id: "running",
    title: "RUN",
    help: "running requests",
    priority: 2,
    ...COUNT,
  },
  {
    id: "waiting",
    title: "WAIT",
    help: "waiting requests",
    priority: 3,
    ...COUNT,
  },
  {
    id: "kv_bar",
    title: "",
    menuTitle: "KV gauge",
    help: "KV-cache usage as a gauge; of several replicas, of the fullest",
    align: "left",
    priority: 9,
    minWidth: KV_GAUGE_WIDTH,
  },
  {
    id: "kv",
    title: "KV",
    help: "share of the KV cache held by running requests; of several replicas, the maximum",
    priority: 4,
    ...RATIO,
  },
  createRate("output", "OUT/S", 5, "generated tokens per second"),
  createRate("prompt", "IN/S", 10, "prompt tokens per second, cached ones included"),
  createRate("requests", "REQ/S", 11, "requests finished per second"),
  createLatency("ttft", 6, "lastMinute"),
  createLatency("itl", 7, "lastMinute"),
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
  },
  {
    id: "cache",
    title: "HIT",
    help: "prefix-cache hit ratio of the last poll",
    priority: 12,
    ...RATIO,
  },
  {
    id: "gpu",
    title: "GPU",
    help: "its GPUs, and the utilization of the busiest; ↓ if one is throttled or slow",
    align: "right",
    priority: 13,
    minWidth: GPU_WIDTH,
    isRatio: true,
    needs: "gpus",
  },
  {
    id: "trend",
    title: "RUN 2 MIN",
    help: "running requests over the last two minutes, newest on the right",
    align: "left",
    priority: 14,
    minWidth: TREND_WIDTH,
  },
  {
    id: "share",
    title: "SHARE@1m",
    help: "share of its model's requests finished in the last minute",
    priority: 15,
    ...RATIO,
  },
  createRate("computed", "COMPUTED/S", 16, "prompt tokens per second, cached ones excluded"),
  createLatency("e2e", 17, "lastMinute"),
  createLatency("queue", 18, "lastMinute"),
  createLatency("ttft", 19, "lastPoll"),
  createLatency("itl", 20, "lastPoll"),
  {
    id: "gpu_memory",
    title: "GPU MEM",
    help: "memory usage of its fullest GPU, if known",
    priority: 21,
    needs: "gpus",
    ...RATIO,
  },
  createLatency("tpot", 22, "lastPoll"),
  createLatency("e2e", 23, "lastPoll"),
  createLatency("queue", 24, "lastPoll"),
  createRate("preemptions", "PREEMPT/S", 25, "preemptions per second"),
  {
    id: "kind",
    title: "KIND",
    help: "kind of server, if there are several",
    align: "left",
    priority: 7.5,
    minWidth: KIND_WIDTH,
    needs: "kinds",
    risesFirst: true,
  },
];

export const COLUMN_IDS: readonly string[] = COLUMN_ROWS.map(({ id }) => id);

export function startSort({ id, risesFirst }: ColumnRow): Sort {
  return { columnId: id, isDescending: risesFirst !== true };
}
