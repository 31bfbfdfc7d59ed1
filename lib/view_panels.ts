/**
 * The panels, most important first.
 * @module
 */

import { sumCounts } from "./model.ts";
import { isPresent, present, type Reading, sumReadings } from "./reading.ts";
import { EVENT_KINDS, type EventLine, identifyLine } from "./rules_alerts.ts";
import type { State } from "./state.ts";
import { getUptime } from "./state_endpoint.ts";
import type { PeakKey } from "./stats_series.ts";
import type { Peaks } from "./stats_totals.ts";
import { formatClock } from "./units.ts";
import {
  DASH,
  formatCount,
  formatDuration,
  formatPercent,
  formatQuantity,
  formatReading,
} from "./view_format.ts";
import { createFixedPanel, layOut, type Panel } from "./view_layout.ts";
import { createPaint, type Meaning, type Paint } from "./view_theme.ts";
import { chooseLevelColor, formatEvent, nameFinish } from "./view_words.ts";

const NO_EVENTS = "no events yet";

function chooseEventColor({ kind, endedAt, worst }: EventLine): Meaning {
  if (endedAt !== null) return EVENT_KINDS[kind] === "alert" ? "plain" : "dim";
  return kind === "DOWN" ? "alert" : chooseLevelColor(worst?.level ?? "degraded");
}

export function renderEvents(
  lines: readonly EventLine[],
  { state, paint }: { readonly state: State; readonly paint: Paint },
): string[] {
  if (lines.length === 0) return [];
  return layOut(
    lines.map((line) =>
      formatEvent(line, state).map((piece) => paint(piece, chooseEventColor(line)))
    ),
    "left",
  );
}

const MAX_SUMMARY_LINES = 40;

/** Lists the events of this session on exit, newest last; empty if there are none. */
export function summarizeEvents(state: State): readonly string[] {
  const { events } = state.fleet;
  if (events.length === 0) return [];
  const shown = events.toSorted((a, b) => a.beganAt - b.beganAt).slice(-MAX_SUMMARY_LINES);
  const earlier = events.length - shown.length;
  const paint = createPaint(null);
  return [
    "vllm-htop: events of this session",
    ...(earlier > 0 ? [`  … ${earlier} earlier`] : []),
    ...renderEvents(shown, { state, paint }).map((line) => `  ${line}`),
  ];
}

/** Active events first, then newest first. */
function orderEvents({ fleet: { events } }: State): readonly EventLine[] {
  const byBegin = events.toSorted((a, b) => b.beganAt - a.beganAt);
  return [...byBegin.filter(isActive), ...byBegin.filter((line) => !isActive(line))];
}

function isActive({ endedAt }: EventLine): boolean {
  return endedAt === null;
}

/** The log: a title, and a line for each event, of which `keys` tells which. */
export function renderEventsPage(
  state: State,
  paint: Paint,
): { readonly title: string; readonly lines: readonly string[]; readonly keys: readonly string[] } {
  const ordered = orderEvents(state);
  const open = ordered.filter(isActive).length;
  const title = paint(open > 0 ? `EVENTS (${open} active)` : "EVENTS", "title");
  const hint = paint("   Enter shows the moment, up to half an hour ago", "dim");
  if (ordered.length === 0) return { title: ` ${title}`, lines: [`  ${NO_EVENTS}`], keys: [] };
  return {
    title: ` ${title}${hint}`,
    lines: renderEvents(ordered, { state, paint }).map((line) => `  ${line}`),
    keys: ordered.map(identifyLine),
  };
}

const PEAK_TITLES: Readonly<Record<PeakKey, readonly [string, (value: number) => string]>> = {
  running: ["Peak running", formatCount],
  waiting: ["Peak waiting", formatCount],
  kvCacheUsageRatio: ["Peak KV", formatPercent],
  promptTokensPerSecond: ["Peak prompt tok/s", formatQuantity],
  generationTokensPerSecond: ["Peak output tok/s", formatQuantity],
};

/** Returns title, value and time; a peak of 0 has no time. */
export function formatPeak(key: PeakKey, peaks: Peaks, utcOffset: number): readonly string[] {
  const [title, format] = PEAK_TITLES[key];
  const peak = peaks[key];
  return peak === null
    ? [title, DASH, ""]
    : [title, format(peak.value), peak.value === 0 ? "" : formatClock(peak.atEpoch, utcOffset)];
}

/** `3h 07m`, or a range. */
function formatAges(state: State): string {
  const ages = state.endpoints.filter(({ failure }) => failure === null)
    .map((known) => getUptime(known, state))
    .flatMap((uptime) => isPresent(uptime) ? [uptime.value] : []);
  if (ages.length === 0) return DASH;
  const [low, high] = [Math.min(...ages), Math.max(...ages)].map(formatDuration);
  return low === high ? low : `${low} to ${high}`;
}

function sumRejections({ endpoints }: State): Reading {
  const known = endpoints.flatMap(({ scrape }) => scrape?.server?.labelled.rejectedByReason ?? []);
  return sumReadings(known.map((family) => present(sumCounts(family))));
}

export function createTotalsPanel(state: State): Panel {
  const { total: { figures: { lifetime } }, counted, totalPeaks } = state.fleet;
  const peak = (key: PeakKey) => formatPeak(key, totalPeaks, state.utcOffset);
  const count = (reading: Reading): string => formatReading(reading, formatCount);
  const row = (title: string, sinceStart: Reading, session: Reading, key: PeakKey) => [
    title,
    count(sinceStart),
    count(session),
    ...peak(key),
  ];
  const reasons = [...lifetime.finishedByReason].filter(([, n]) => n > 0)
    .map(([reason, n]) => `${nameFinish(reason)} ${formatCount(n)}`);
  const table = layOut([
    ["", "since start", "session", "", "", ""],
    row("Requests", lifetime.finishedRequests, counted.requests, "running"),
    row("Prompt tokens", lifetime.promptTokens, counted.promptTokens, "waiting"),
    row("Output tokens", lifetime.generationTokens, counted.generationTokens, "kvCacheUsageRatio"),
    row("Preemptions", lifetime.preemptions, counted.preemptions, "promptTokensPerSecond"),
    row("Rejected", sumRejections(state), counted.rejections, "generationTokensPerSecond"),
  ], "right");
  return createFixedPanel({
    title: `TOTALS (servers up ${formatAges(state)})`,
    lines: [...table, ...(reasons.length === 0 ? [] : [`Finished by: ${reasons.join("  ")}`])],
  });
}
