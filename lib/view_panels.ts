/**
 * The panels, most important first.
 * @module
 */

import { LATENCY_KEYS, LATENCY_NAMES, sumCounts } from "./model.ts";
import { isPresent, present, type Reading, sumReadings } from "./reading.ts";
import { EVENT_KINDS, type EventLine } from "./rules_alerts.ts";
import { describeRule } from "./rules_table.ts";
import type { State } from "./state.ts";
import { type Fleet, getUptime, type ModelGroup, type Row } from "./state_fleet.ts";
import { getHost } from "./state_gpus.ts";
import { PANEL_IDS, type PanelId } from "./state_ui.ts";
import { getSeries, type PeakKey, SUMMABLE_SERIES_KEYS } from "./stats_series.ts";
import type { Peaks } from "./stats_totals.ts";
import { formatClock } from "./units.ts";
import {
  DASH,
  formatCount,
  formatDuration,
  formatElapsed,
  formatPercent,
  formatQuantile,
  formatQuantity,
  formatRange,
  formatReading,
} from "./view_format.ts";
import { drawStrip } from "./view_graph.ts";
import { createFixedPanel, layOut, type Panel } from "./view_layout.ts";
import { fillWithTrends, MAX_GRAPH_LINES } from "./view_page_trends.ts";
import { createCostPanel } from "./view_panel_cost.ts";
import { createGpuPanel, shouldShowGpus } from "./view_panel_gpu.ts";
import { createPaint, type Meaning, type Paint } from "./view_theme.ts";
import { chooseLevelColor, formatAlert, formatEvent, formatOutlier } from "./view_words.ts";

const PREFERRED_LINES = 4;
const SUMMARY_STRIP_WIDTH = 30;
const NONE = "none";
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
export function createEventsPanel(state: State, paint: Paint): Panel {
  const { events } = state.fleet;
  const byBegin = events.toSorted((a, b) => b.beganAt - a.beganAt);
  const active = byBegin.filter(({ endedAt }) => endedAt === null);
  const newest = [...active, ...byBegin.filter(({ endedAt }) => endedAt !== null)];
  const open = active.length;
  return {
    id: "events",
    title: open > 0 ? `EVENTS (${open} active)` : "EVENTS",
    minLines: Math.min(PREFERRED_LINES, events.length),
    maxLines: Math.max(1, events.length),
    draw: ({ lines }) =>
      newest.length === 0
        ? [paint(NO_EVENTS, "dim")]
        : renderEvents(newest.slice(0, lines), { state, paint }),
    summary: newest.length === 0
      ? paint(NONE, "dim")
      : formatEvent(newest[0], state).filter((piece) => piece !== "").join("  "),
  };
}

/** Empty if there is no value. */
function formatRatioRange(readings: readonly Reading[]): string {
  const known = readings.flatMap((reading) => isPresent(reading) ? [reading.value] : []);
  if (known.length === 0) return "";
  return formatRange({ min: Math.min(...known), max: Math.max(...known) }, formatPercent);
}

/** Counts replicas compared over the last minute; `request_share` compares the last poll only. */
function countCompared({ checks }: ModelGroup): number {
  const ofMinute = checks.map(({ checks: rules }) =>
    rules.filter(({ rule }) => rule !== "request_share").map(({ compared }) => compared)
  );
  // A single replica has no peer.
  const counts = ofMinute.map((compared) => Math.max(0, ...compared)).filter((n) => n > 1);
  return counts.reduce((sum, count) => sum + count, 0);
}

function formatHealthy(groups: readonly ModelGroup[], rows: readonly Row[]): string {
  const compared = groups.reduce((sum, group) => sum + countCompared(group), 0);
  const who = groups.length > 1 ? `${groups.length} models` : groups[0].label;
  if (compared === 0) return `${who}   nothing to compare yet`;
  const names = new Set(groups.map(({ modelName }) => modelName));
  const own = rows.filter(({ replica }) => names.has(replica?.sample.modelName ?? ""));
  const shares = formatRatioRange(own.map(({ requestShare }) => requestShare));
  const usage = formatRatioRange(own.map(({ figures }) => figures.kvCache.maxRatio));
  const said = `${compared} compared, no significant skew`;
  // Ranges across models mean nothing.
  if (groups.length > 1) return `${who}   ${said}`;
  return [
    who,
    said,
    shares === "" ? "" : `requests@1m ${shares}`,
    usage === "" ? "" : `KV ${usage}`,
  ].filter((text) => text !== "").join("   ");
}

/** Whether some model has two replicas to compare. */
function hasPeers({ groups }: Fleet): boolean {
  return groups.some(({ figures }) => figures.replicaCount > 1);
}

/** Shows which replicas differ from their peers; `null` without peers. */
export function createBalancePanel(state: State, paint: Paint): Panel | null {
  const { fleet } = state;
  if (!hasPeers(fleet)) return null;
  const groups = fleet.groups.filter(({ figures }) => figures.replicaCount > 1);
  const belongsTo = (group: ModelGroup, row: Row): boolean =>
    row.replica?.sample.modelName === group.modelName;
  const flagged = fleet.rows.filter(({ alerts, status }) => status !== "DOWN" && alerts.length > 0);
  const findings = flagged.flatMap(({ place, alerts }) =>
    alerts.map((alert) => [
      paint(place, "name"),
      paint(describeRule(alert.newest.rule).title, chooseLevelColor(alert.newest.level)),
      formatElapsed("since ", state.now - alert.since),
      formatAlert(alert, state),
    ])
  );
  const slowGpus = flagged.flatMap(({ place, gpus, host }) =>
    getHost(state.hosts, host).outliers.filter(({ gpuIndex }) =>
      gpus.some(({ index }) => index === gpuIndex)
    )
      .map((outlier) =>
        `${paint(place, "name")} on GPU ${outlier.gpuIndex}: ${formatOutlier(outlier)}`
      )
  );
  const healthy = groups.filter((group) => !flagged.some((row) => belongsTo(group, row)));
  const rest = healthy.length === 0 ? "" : formatHealthy(healthy, fleet.rows);
  const lines = [
    ...(findings.length === 0 ? [] : layOut(findings, "left")),
    ...slowGpus,
    ...(rest === "" ? [] : [rest]),
  ];
  const panel = createFixedPanel({
    id: "balance",
    title: "BALANCE",
    lines,
    summary: flagged.length > 0
      ? flagged.map(({ place, alerts }) => `${place} ${describeRule(alerts[0].newest.rule).title}`)
        .join(", ")
      : rest,
  });
  // The summary says it all.
  return findings.length === 0 ? { ...panel, minLines: 0 } : panel;
}

export function createLatencyPanel(fleet: Fleet): Panel {
  const { lastPoll, lastMinute } = fleet.total.shown;
  const rows = LATENCY_KEYS.map((key) => {
    const { p50, p95, p99, samples } = lastPoll.latency[key];
    const minute = lastMinute.latency[key];
    return [
      LATENCY_NAMES[key].title,
      ...[p50, p95, p99].map((quantile) => formatReading(quantile, formatQuantile)),
      formatReading(samples, formatCount),
      formatReading(minute.p95, formatQuantile),
      formatReading(minute.samples, formatCount),
    ];
  });
  const heading = ["", "P50", "P95", "P99", "n", "P95@1m", "n@1m"];
  const p95 = LATENCY_KEYS.map((key) =>
    `${LATENCY_NAMES[key].title} ${formatReading(lastMinute.latency[key].p95, formatQuantile)}`
  );
  return createFixedPanel({
    id: "latency",
    title: "LATENCY (all)",
    lines: layOut([heading, ...rows], "right"),
    summary: `P95@1m  ${p95.join("  ")}`,
  });
}

export function createTrendPanel({ fleet, interval }: State, paint: Paint): Panel {
  const { totalTrend } = fleet;
  const running = drawStrip(getSeries(totalTrend, "running"), SUMMARY_STRIP_WIDTH).trimStart();
  return {
    id: "trend",
    title: "TREND (all)",
    minLines: SUMMABLE_SERIES_KEYS.length,
    maxLines: SUMMABLE_SERIES_KEYS.length * MAX_GRAPH_LINES,
    draw: (space) =>
      fillWithTrends(totalTrend, SUMMABLE_SERIES_KEYS, { ...space, paint, interval }),
    summary: `running  ${running === "" ? DASH : paint(running, "series1")}`,
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
  const reasons = [...lifetime.finishedByReason].map(([reason, n]) =>
    `${reason} ${formatCount(n)}`
  );
  const table = layOut([
    ["", "since start", "session", "", "", ""],
    row("Requests", lifetime.finishedRequests, counted.requests, "running"),
    row("Prompt tokens", lifetime.promptTokens, counted.promptTokens, "waiting"),
    row("Output tokens", lifetime.generationTokens, counted.generationTokens, "kvCacheUsageRatio"),
    row("Preemptions", lifetime.preemptions, counted.preemptions, "promptTokensPerSecond"),
    row("Rejected", sumRejections(state), counted.rejections, "generationTokensPerSecond"),
  ], "right");
  return createFixedPanel({
    id: "totals",
    title: `TOTALS (servers up ${formatAges(state)})`,
    lines: [...table, ...(reasons.length === 0 ? [] : [`Finished by: ${reasons.join("  ")}`])],
    summary: `since start: requests ${count(lifetime.finishedRequests)}, output tokens ${
      count(lifetime.generationTokens)
    }   ${peak("running").slice(0, 2).join(" ").toLowerCase()}`,
  });
}

export function listPanelIds(state: State): readonly PanelId[] {
  return PANEL_IDS.filter((id) => {
    if (id === "gpus") return shouldShowGpus(state);
    if (id === "balance") return hasPeers(state.fleet);
    return id !== "cost" || state.bill.isPriced;
  });
}

export function createPanels(state: State, paint: Paint): readonly Panel[] {
  const { fleet } = state;
  const panels = [
    createEventsPanel(state, paint),
    createBalancePanel(state, paint),
    createGpuPanel(state, paint),
    createLatencyPanel(fleet),
    createCostPanel(state, paint),
    createTrendPanel(state, paint),
    createTotalsPanel(state),
  ];
  return panels.filter((panel) => panel !== null);
}
