/**
 * Renders one replica's details in sections. A section without values is left out; an absent value
 * is a dash.
 * @module
 */

import { LATENCY_KEYS, LATENCY_NAMES, type LatencyFigures, type WindowFigures } from "./model.ts";
import { isExported, isPresent, type Reading } from "./reading.ts";
import { findCutShare } from "./rules_advice.ts";
import { FLAG_OF_LIMIT } from "./rules_limits.ts";
import { describeRule } from "./rules_table.ts";
import { getInterval, isNotablySlower, MAX_SCRAPE_SHARE } from "./scrape_schedule.ts";
import type { State } from "./state.ts";
import { type EndpointState, getUptime } from "./state_endpoint.ts";
import type { Row } from "./state_fleet.ts";
import { getHost } from "./state_gpus.ts";
import { NO_FIGURES } from "./stats_aggregate.ts";
import { countPoints, PEAK_KEYS, SERIES_KEYS } from "./stats_series.ts";
import { wrapText } from "./text.ts";
import type { Ratio } from "./units.ts";
import {
  chooseAttainmentColor,
  chooseKvCacheColor,
  chooseMeaning,
  chooseWaitingColor,
} from "./view_columns.ts";
import {
  formatAttainment,
  formatBytes,
  formatCount,
  formatDuration,
  formatElapsed,
  formatLatency,
  formatPercent,
  formatQuantile,
  formatQuantity,
  formatReading,
} from "./view_format.ts";
import { describeWay } from "./view_host.ts";
import { drawRatio } from "./view_gauge.ts";
import { layOut } from "./view_layout.ts";
import { renderLog } from "./view_log.ts";
import { listPlaceRows } from "./view_pod.ts";
import { drawGpus } from "./view_panel_gpu.ts";
import { fillWithTrends } from "./view_page_trends.ts";
import { formatPeak } from "./view_panels.ts";
import type { Meaning, Paint } from "./view_theme.ts";
import {
  chooseLevelColor,
  describeWindow,
  formatAlert,
  formatEvent,
  formatLimit,
  formatObjective,
  formatTarget,
} from "./view_words.ts";

const KV_GAUGE_WIDTH = 24;
const MAX_EVENT_LINES = 6;

export interface DetailOptions {
  readonly paint: Paint;
  readonly width: number;
}

interface Subject extends DetailOptions {
  readonly row: Row;
  readonly state: State;
}

type Cells = string[];

/** `undefined` without a mark. */
function listMarked({ row, state }: Subject): readonly WindowFigures[] {
  return state.mark === null ? [] : [row.shown.sinceMark ?? NO_FIGURES.lastPoll];
}

function createWindowHeading(subject: Subject): Cells {
  const marked = listMarked(subject).map(() => "since mark");
  return ["", "last poll", "@1m", ...marked, "since start"];
}

export function renderSection(
  title: string,
  rows: readonly Cells[],
  options: { readonly paint: Paint; readonly align?: "left" | "right" },
): string[] {
  if (rows.length === 0) return [];
  const lines = layOut(rows, options.align ?? "left");
  return [options.paint(title, "heading"), ...lines.map((line) => "  " + line), ""];
}

function show<T>(
  { paint }: Subject,
  reading: Reading<T>,
  convert: (value: T) => string,
  meaning: Meaning = "plain",
): string {
  const judge = (): Meaning => isPresent(reading) ? meaning : "dim";
  return paint(formatReading(reading, convert), chooseMeaning(reading, judge));
}

function renderSaturation(subject: Subject): string[] {
  const { shown: figures, replica, state } = subject.row;
  const { kvCache } = figures;
  const rows: Cells[] = [
    ["Running", show(subject, figures.running, formatCount)],
    [
      "Waiting",
      show(
        subject,
        figures.waiting,
        formatCount,
        chooseWaitingColor(figures.waiting, subject.row.alerts),
      ),
    ],
  ];
  const reasons = [...figures.waitingByReason]
    .map(([reason, count]) => `${reason} ${formatCount(count)}`);
  if (reasons.length > 0) rows[1].push(reasons.join(", "));
  const usage = kvCache.maxRatio;
  const gauge = drawRatio(usage, KV_GAUGE_WIDTH);
  rows.push([
    "KV cache",
    show(subject, usage, formatPercent, chooseKvCacheColor(usage, subject.row.alerts)),
    subject.paint(gauge, chooseKvCacheColor(usage, subject.row.alerts)),
  ]);
  if (isPresent(kvCache.capacityTokens)) {
    const about = kvCache.capacityIsEstimate ? "≈ " : "";
    rows.push(["KV capacity", `${about}${formatCount(kvCache.capacityTokens.value)} tokens`]);
  }
  rows.push([
    "Preemptions",
    `${show(subject, figures.lastPoll.preemptionsPerSecond, formatQuantity)} /s`,
    `${show(subject, figures.lifetime.preemptions, formatCount)} since start`,
  ]);
  const swapped = replica?.sample.gauges.swapped;
  if (swapped !== undefined && isPresent(swapped)) {
    rows.push(["Swapped", formatCount(swapped.value)]);
  }
  const lora = state.scrape?.lora;
  if (lora) {
    const { value: names } = lora.runningAdapters;
    const known = names?.join(", ") || "none running";
    rows.push([
      "LoRA adapters",
      names === null ? "n/a: the engines overwrite each other's state" : known,
    ]);
  }
  return [...renderSection("Saturation", rows, subject).slice(0, -1), ...renderLimit(subject), ""];
}

/** Not in the section's columns, which long lines would push apart. */
function renderLimit({ row: { replica, limit, advice }, paint, width }: Subject): string[] {
  if (replica === null) return [];
  const share = findCutShare(replica);
  const text = formatLimit(limit, replica.sample.server.flags);
  const isLimited = limit.kind in FLAG_OF_LIMIT || limit.kind === "gpu";
  const lines: readonly (readonly [string, Meaning])[] = [
    [`Limited by   ${text}`, isLimited ? "warn" : "dim"],
    ...advice.map(({ text }) => [`→ ${text}`, "name"] as const),
    ...share === null
      ? []
      : [[`max_tokens cuts answers: ${formatPercent(share)} in the last minute`, "dim"] as const],
  ];
  return lines.flatMap(([line, meaning]) =>
    wrapText(line, width - 2, "  ").map((part) => "  " + paint(part, meaning))
  );
}

function renderEventLines({ row, state, paint }: Subject): string[] {
  const findings = row.alerts.map((alert): Cells => [
    paint(describeRule(alert.newest.rule).title, chooseLevelColor(alert.newest.level)),
    formatElapsed("for ", state.now - alert.since),
    formatAlert(alert, state),
  ]);
  const keys = [row.key, row.state.endpoint.key];
  const lines = state.evaluation.events.lines.filter(({ subject }) => keys.includes(subject.key));
  // Without the name, which is this replica's.
  const events = lines.slice(-MAX_EVENT_LINES).reverse()
    .map((line) => formatEvent(line, state).toSpliced(2, 1));
  return [
    ...renderSection("Alerts", findings, { paint }),
    ...renderSection("Events", events, { paint }),
  ];
}

function renderSession({ row, state, paint }: Subject): string[] {
  const { total, peaks } = row;
  if (total === null) return [];
  const { counted } = total;
  const rows = PEAK_KEYS.map((key): Cells => [...formatPeak(key, peaks, state.utcOffset)]);
  const sums: readonly (readonly [string, Reading])[] = [
    ["Requests", counted.requests],
    ["Prompt tokens", counted.promptTokens],
    ["Output tokens", counted.generationTokens],
    ["Preemptions", counted.preemptions],
  ];
  sums.forEach(([title, reading], index) => {
    rows[index].push(title, formatReading(reading, formatCount));
  });
  const span = state.now - total.since;
  const title = span < 1 ? "Session" : `Session (${formatDuration(span)})`;
  return renderSection(title, rows, { paint, align: "right" });
}

function renderThroughput(subject: Subject): string[] {
  const { shown: figures } = subject.row;
  const line = (
    title: string,
    read: (window: WindowFigures) => Reading,
    lifetime: Reading | null,
  ): Cells => [
    title,
    ...[figures.lastPoll, figures.lastMinute, ...listMarked(subject)].map((one) =>
      show(subject, read(one), formatQuantity)
    ),
    lifetime === null ? "" : show(subject, lifetime, formatCount),
  ];
  const { lifetime, lifetime: { cachedPromptTokens: cached } } = figures;
  return renderSection("Throughput", [
    [
      ...["", describeWindow(figures.lastPoll), describeWindow(figures.lastMinute)],
      ...listMarked(subject).map(() => "since mark"),
      "total since start",
    ],
    line("Requests /s", (window) => window.requestsPerSecond, lifetime.finishedRequests),
    line("Prompt tok/s", (window) => window.promptTokensPerSecond, lifetime.promptTokens),
    line("  computed", (window) => window.computedPromptTokensPerSecond, null),
    line("  from cache", (window) => window.cachedPromptTokensPerSecond, cached),
    line("Output tok/s", (window) => window.generationTokensPerSecond, lifetime.generationTokens),
  ], { paint: subject.paint, align: "right" });
}

const QUANTILE_HEADING: Cells = ["P50", "P95", "P99", "mean", "n"];

function showLatency(subject: Subject, { p50, p95, p99, mean, samples }: LatencyFigures): Cells {
  return [
    ...[p50, p95, p99].map((quantile) => show(subject, quantile, formatQuantile)),
    show(subject, mean, formatLatency),
    show(subject, samples, formatCount, "dim"),
  ];
}

function renderLatency(subject: Subject): string[] {
  const { lastPoll, lastMinute } = subject.row.shown;
  const rows = LATENCY_KEYS.map((key): Cells => [
    LATENCY_NAMES[key].title,
    ...showLatency(subject, lastPoll.latency[key]),
    show(subject, lastMinute.latency[key].p95, formatQuantile),
    show(subject, lastMinute.latency[key].samples, formatCount, "dim"),
  ]);
  const heading = ["", ...QUANTILE_HEADING, "P95@1m", "n@1m"];
  const options = { paint: subject.paint, align: "right" } as const;
  const marked = listMarked(subject).flatMap(({ latency }) => [
    ["", ...QUANTILE_HEADING],
    ...LATENCY_KEYS.map((key) => [
      LATENCY_NAMES[key].title,
      ...showLatency(subject, latency[key]),
    ]),
  ]);
  return [
    ...renderSection("Latency", [heading, ...rows], options),
    ...renderSection("Latency since the mark", marked, options),
  ];
}

function renderServiceLevels(subject: Subject): string[] {
  const { serviceLevels, alerts } = subject.row;
  if (serviceLevels.length === 0) return [];
  const rows = serviceLevels.map((one): Cells => {
    const { objective, lastMinute, session, sinceStart } = one;
    const cells = [lastMinute, session, sinceStart].flatMap((attainment, i) => {
      const color = chooseAttainmentColor(one, alerts, i === 0 ? null : attainment);
      const share = show(subject, attainment.ratio, formatAttainment, color);
      return [share, show(subject, attainment.samples, formatCount, "dim")];
    });
    return [`${formatObjective(objective)} for ${formatTarget(objective)}`, ...cells];
  });
  const heading: Cells = ["", "@1m", "n", "session", "n", "since start", "n"];
  const options = { paint: subject.paint, align: "right" } as const;
  return renderSection("Service levels", [heading, ...rows], options);
}

function renderTrend({ row, state, paint, width }: Subject): string[] {
  if (countPoints(row.trend) === 0) return [];
  const space = { width, lines: SERIES_KEYS.length, interval: state.interval };
  const lines = fillWithTrends(row.trend, SERIES_KEYS, { ...space, paint });
  return [paint("Trend", "heading"), ...lines.map((line) => "  " + line), ""];
}

function renderPrefixCache(subject: Subject): string[] {
  const { lastPoll, lastMinute, lifetime } = subject.row.shown;
  const { prefixCacheHitRatio: ratio, prefixCacheQueries: queries } = lifetime;
  if (![ratio, queries].some(isExported)) return [];
  const windows = [lastPoll, lastMinute, ...listMarked(subject), lifetime];
  const hit = (ratio: Reading<Ratio>): string => show(subject, ratio, formatPercent);
  const rows: Cells[] = [
    createWindowHeading(subject),
    ["Hit ratio", ...windows.map(({ prefixCacheHitRatio }) => hit(prefixCacheHitRatio))],
    [
      `Queries (${subject.row.replica?.sample.prefixCacheUnit ?? "tokens"})`,
      ...windows.map((window) => show(subject, window.prefixCacheQueries, formatCount)),
    ],
  ];
  if (isPresent(lifetime.externalPrefixCacheHitRatio)) {
    const ratios = windows.map((window) => window.externalPrefixCacheHitRatio);
    rows.push(["External hit ratio", ...ratios.map(hit)]);
  }
  return renderSection("Prefix cache", rows, { paint: subject.paint, align: "right" });
}

function renderRequests(subject: Subject): string[] {
  const { lifetime } = subject.row.figures;
  const rows = [...lifetime.finishedByReason]
    .map(([reason, count]): Cells => [reason, formatCount(count)]);
  for (const [reason, count] of subject.row.state.scrape?.server?.labelled.rejectedByReason ?? []) {
    rows.push([`rejected: ${reason}`, formatCount(count), "all engines"]);
  }
  return renderSection("Requests finished since start", rows, subject);
}

function renderSpeculation(subject: Subject): string[] {
  const { lastPoll, lastMinute, lifetime } = subject.row.shown;
  if (!isPresent(lifetime.draftAcceptanceRatio)) return [];
  const windows = [lastPoll, lastMinute, ...listMarked(subject), lifetime];
  const ratios = windows.map((window) => window.draftAcceptanceRatio);
  const lengths = windows.map((window) => window.meanAcceptanceLength);
  const section = renderSection("Speculative decoding", [
    createWindowHeading(subject),
    ["Draft tokens accepted", ...ratios.map((ratio) => show(subject, ratio, formatPercent))],
    ["Tokens per step", ...lengths.map((length) => show(subject, length, formatQuantity))],
  ], { paint: subject.paint, align: "right" });
  const byPosition = [...lastMinute.acceptanceRatioByPosition];
  if (byPosition.length === 0) return section;
  const text = byPosition.map(([position, ratio]) => `${position}: ${formatPercent(ratio)}`);
  return [...section.slice(0, -1), `  By position @1m  ${text.join("  ")}`, ""];
}

function listServerRows({ server }: EndpointState, serverName: string): readonly Cells[] {
  if (server === null) return [];
  const { version, models, launch } = server;
  const own = models.filter(({ parent }) => parent === null);
  const adapters = models.filter(({ parent }) => parent !== null);
  const rows: Cells[] = [];
  if (version !== null) rows.push([serverName, version]);
  const [first] = own;
  if (first !== undefined && first.maxModelLength !== null) {
    rows.push(["longest context", `${formatCount(first.maxModelLength)} tokens`]);
  }
  if (own.length > 0) rows.push(["served as", own.map(({ id }) => id).join(", ")]);
  if (adapters.length > 0) rows.push(["LoRA adapters", adapters.map(({ id }) => id).join(", ")]);
  for (const [name, size] of launch?.parallelSizes ?? []) rows.push([name, String(size)]);
  if (launch !== null) rows.push(["command line", launch.commandLine]);
  return rows;
}

/** Rounds a number to three decimals; other text stays. */
function shortenNumber(text: string): string {
  return /^\d+\.\d{4,}$/.test(text) ? String(Number(Number(text).toFixed(3))) : text;
}

function renderConfiguration(subject: Subject): string[] {
  const { replica } = subject.row;
  if (replica === null) return [];
  const { modelName, engine, configuration, server } = replica.sample;
  const rows: Cells[] = [["model", modelName]];
  if (engine !== "") rows.push(["engine", engine]);
  for (const key of server.mainOptions) {
    const value = configuration.get(key);
    if (value !== undefined && value !== "None") rows.push([key, shortenNumber(value)]);
  }
  rows.push(...listServerRows(subject.row.state, server.name));
  return renderSection("Configuration", rows, subject);
}

/** Figures that the server exports with values that cannot be. */
function listInvalid({ figures: { running, waiting, kvCache, lastPoll } }: Row): string[] {
  const readings: readonly (readonly [string, Reading<unknown>])[] = [
    ["running", running],
    ["waiting", waiting],
    ["KV cache", kvCache.maxRatio],
    ["hit ratio", lastPoll.prefixCacheHitRatio],
    ...LATENCY_KEYS.map((key) =>
      [`mean of ${LATENCY_NAMES[key].title}`, lastPoll.latency[key].mean] as const
    ),
  ];
  return readings.filter(([, reading]) => !isPresent(reading) && reading.reason === "invalid")
    .map(([title]) => title);
}

function renderScrape(subject: Subject): string[] {
  const { state: known, status } = subject.row;
  const { scrape, history } = known;
  const { endpoint } = known;
  const rows: Cells[] = [["URL", describeWay(endpoint, subject.state)], ...listPlaceRows(endpoint)];
  if (scrape !== null) {
    const size = `${formatBytes(scrape.bytes)}, ${formatCount(scrape.sampleCount)} samples`;
    rows.push(["Took", `${formatLatency(scrape.duration)} for ${size}, ${scrape.dialect} format`]);
    if (scrape.badLineCount > 0) {
      const [first] = scrape.badLines;
      const example = first && `, the first at line ${first.line}: ${first.message}`;
      rows.push(["Bad lines", subject.paint(`${scrape.badLineCount}${example ?? ""}`, "warn")]);
    }
    const invalid = listInvalid(subject.row).join(", ");
    if (invalid !== "") {
      const text = `${invalid}: the exported value is impossible`;
      rows.push(["Left out", subject.paint(text, "warn")]);
    }
    if (scrape.aliases.size > 0) {
      rows.push(["Old metric names", [...scrape.aliases.values()].join(", ")]);
    }
    if (scrape.redirectedTo !== null) rows.push(["Redirected to", scrape.redirectedTo]);
    rows.push(["Uptime", formatReading(getUptime(known, subject.state), formatDuration)]);
  }
  const { interval } = subject.state;
  if (scrape !== null && isNotablySlower(known.schedule, interval)) {
    const every = getInterval(known.schedule, interval);
    const reason = every === known.schedule.pace
      ? "to spare the API server"
      : `so that scrapes take at most ${formatPercent(MAX_SCRAPE_SHARE)} of its time`;
    rows.push(["Polled", subject.paint(`every ${formatDuration(every)}, ${reason}`, "warn")]);
  }
  if (history.restartCount > 0) rows.push(["Restarts seen", String(history.restartCount)]);
  if (subject.row.isCountedElsewhere) {
    rows.push(["In no total", "other watched servers count the same requests"]);
  }
  for (const warning of endpoint.warnings) {
    rows.push(["Warning", subject.paint(warning, "warn")]);
  }
  return renderSection(`Scrape (${status})`, rows, subject);
}

function renderGpus({ row, state, paint, width }: Subject): string[] {
  if (row.gpus.length === 0) return [];
  const host = getHost(state.hosts, row.host);
  const lines = drawGpus({ gpus: row.gpus, host, fleet: state.fleet, paint }, width - 2);
  return [paint("GPUs", "heading"), ...lines.map((line) => "  " + line), ""];
}

function renderSections(
  sections: readonly ((subject: Subject) => string[])[],
  subject: Subject,
): readonly (readonly string[])[] {
  const all = subject.row.replica === null ? [renderLog, renderScrape] : sections;
  return all.map((render) => render(subject)).filter((lines) => lines.length > 0);
}

/** What the page of a replica has no room for, in sections; each ends with a blank line. */
export function renderFacts(
  row: Row,
  state: State,
  options: DetailOptions,
): readonly (readonly string[])[] {
  return renderSections([
    renderConfiguration,
    renderScrape,
    renderSaturation,
    renderGpus,
    renderServiceLevels,
    renderLatency,
    renderPrefixCache,
    renderRequests,
    renderSpeculation,
  ], { row, state, ...options });
}

/** Returns sections, each with a blank line at its end. */
export function renderDetail(
  row: Row,
  state: State,
  options: DetailOptions,
): readonly (readonly string[])[] {
  return renderSections([
    renderSaturation,
    renderLog,
    renderEventLines,
    renderGpus,
    renderServiceLevels,
    renderLatency,
    renderThroughput,
    renderTrend,
    renderPrefixCache,
    renderSession,
    renderRequests,
    renderSpeculation,
    renderConfiguration,
    renderScrape,
  ], { row, state, ...options });
}
