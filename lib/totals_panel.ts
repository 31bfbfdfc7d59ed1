/**
 * The panel of sums and peaks: what was counted since the servers started and
 * since they are watched, and the highest values of this session.
 *
 * Layer 4, pure.
 *
 * @module
 */

import { sumFamily } from "./families.ts";
import {
  DASH,
  formatClock,
  formatCount,
  formatDuration,
  formatPercent,
  formatQuantity,
  formatReading,
} from "./format.ts";
import { type Overview, readUptime } from "./overview.ts";
import { createFixedPanel, layOut, type Panel } from "./panel.ts";
import { isPresent, present, type Reading, sumReadings } from "./reading.ts";
import type { State } from "./state.ts";
import type { PeakKey, Peaks } from "./tally.ts";

/** How peaks are called, and how their values read. */
const PEAK_TITLES: Readonly<Record<PeakKey, readonly [string, (value: number) => string]>> = {
  running: ["Peak running", formatCount],
  waiting: ["Peak waiting", formatCount],
  kvCacheUsageRatio: ["Peak KV", formatPercent],
  promptTokensPerSecond: ["Peak prompt tok/s", formatQuantity],
  generationTokensPerSecond: ["Peak output tok/s", formatQuantity],
};

/** A peak in three cells: what, how high, when. What was never more than 0 has no time. */
export function describePeak(key: PeakKey, peaks: Peaks, utcOffset: number): readonly string[] {
  const [title, format] = PEAK_TITLES[key];
  const peak = peaks[key];
  return peak === null
    ? [title, DASH, ""]
    : [title, format(peak.value), peak.value === 0 ? "" : formatClock(peak.atEpoch, utcOffset)];
}

/** Ages of the servers: `3h 07m`, or the youngest and the oldest. */
function describeAges(state: State): string {
  const ages = state.endpoints.filter(({ failure }) => failure === null)
    .map((known) => readUptime(known, state))
    .flatMap((uptime) => isPresent(uptime) ? [uptime.value] : []);
  if (ages.length === 0) return DASH;
  const [low, high] = [Math.min(...ages), Math.max(...ages)].map(formatDuration);
  return low === high ? low : `${low} to ${high}`;
}

/** Requests that the servers have rejected, as far as they have told. */
function sumRejections({ endpoints }: State): Reading {
  const known = endpoints.flatMap(({ scrape }) => scrape?.server?.labelled.rejectedByReason ?? []);
  return sumReadings(known.map((family) => present(sumFamily(family))));
}

/** Sums and peaks of all. */
export function createTotalsPanel(overview: Overview, state: State): Panel {
  const { total: { figures: { lifetime } }, counted, totalPeaks } = overview;
  const peak = (key: PeakKey) => describePeak(key, totalPeaks, state.utcOffset);
  const count = (reading: Reading): string => formatReading(reading, formatCount);
  const row = (title: string, started: Reading, watched: Reading, key: PeakKey) => [
    title,
    count(started),
    count(watched),
    ...peak(key),
  ];
  const reasons = [...lifetime.finishedByReason].map(([reason, n]) =>
    `${reason} ${formatCount(n)}`
  );
  const table = layOut([
    ["", "since start", "watched", "", "", ""],
    row("Requests", lifetime.finishedRequests, counted.requests, "running"),
    row("Prompt tokens", lifetime.promptTokens, counted.promptTokens, "waiting"),
    row("Output tokens", lifetime.generationTokens, counted.generationTokens, "kvCacheUsageRatio"),
    row("Preemptions", lifetime.preemptions, counted.preemptions, "promptTokensPerSecond"),
    row("Rejected", sumRejections(state), counted.rejections, "generationTokensPerSecond"),
  ], "right");
  return createFixedPanel({
    id: "totals",
    title: `TOTALS of servers up for ${describeAges(state)}`,
    lines: [...table, ...(reasons.length === 0 ? [] : [`Finished by: ${reasons.join("  ")}`])],
    summary: `since start: requests ${count(lifetime.finishedRequests)}, output tokens ${
      count(lifetime.generationTokens)
    }   ${peak("running").slice(0, 2).join(" ").toLowerCase()}`,
  });
}
