/**
 * The panel of the latencies of all replicas together.
 *
 * Layer 4, pure. Quantiles of the last poll with the number of observations
 * behind them, and the P95 of the last minute.
 *
 * @module
 */

import { formatCount, formatQuantile, formatReading } from "./format.ts";
import { LATENCY_KEYS, type LatencyKey } from "./model.ts";
import type { Overview } from "./overview.ts";
import { createFixedPanel, layOut, type Panel } from "./panel.ts";

/** How latencies are called. */
export const LATENCY_TITLES: Readonly<Record<LatencyKey, string>> = {
  ttft: "TTFT",
  itl: "ITL",
  tpot: "TPOT",
  e2e: "E2E",
  queue: "Queue",
  prefill: "Prefill",
  decode: "Decode",
};

/** The latencies of all replicas that count, merged. */
export function createLatencyPanel(overview: Overview): Panel {
  const { lastPoll, lastMinute } = overview.total.figures;
  const rows = LATENCY_KEYS.map((key) => {
    const { p50, p95, p99, samples } = lastPoll.latency[key];
    const minute = lastMinute.latency[key];
    return [
      LATENCY_TITLES[key],
      ...[p50, p95, p99].map((quantile) => formatReading(quantile, formatQuantile)),
      formatReading(samples, formatCount),
      formatReading(minute.p95, formatQuantile),
      formatReading(minute.samples, formatCount),
    ];
  });
  const heading = ["", "P50", "P95", "P99", "n", "P95@1m", "n@1m"];
  const p95 = LATENCY_KEYS.map((key) =>
    `${LATENCY_TITLES[key]} ${formatReading(lastMinute.latency[key].p95, formatQuantile)}`
  );
  return createFixedPanel({
    id: "latency",
    title: "LATENCY of all",
    lines: layOut([heading, ...rows], "right"),
    summary: `P95@1m  ${p95.join("  ")}`,
  });
}
