/**
 * The page of one replica: what it does now, what limits it, throughput, latencies, the shape of
 * its requests and graphs. Each line keeps its place whatever the values. The rest of what is known
 * of the replica is on the page of `view_detail`.
 * @module
 */

import { isPresent, mapReading } from "./reading.ts";
import { FLAG_OF_LIMIT } from "./rules_limits.ts";
import { describeRule } from "./rules_table.ts";
import type { State } from "./state.ts";
import { getUptime } from "./state_endpoint.ts";
import type { Row } from "./state_fleet.ts";
import type { SeriesKey } from "./stats_series.ts";
import type { PeakKey } from "./stats_series.ts";
import { cutText, cutTextMiddle, measureWidth, padText } from "./text.ts";
import { isRule, TWO_COLUMN_WIDTH } from "./view_areas.ts";
import {
  type Cell,
  chooseKvCacheColor,
  chooseWaitingColor,
  createRowLine,
  formatStateCell,
} from "./view_columns.ts";
import {
  DASH,
  formatCount,
  formatDuration,
  formatElapsed,
  formatPercent,
  formatQuantile,
  formatQuantity,
} from "./view_format.ts";
import { drawGauge } from "./view_gauge.ts";
import { describeWay } from "./view_host.ts";
import { fillWithTrends } from "./view_page_trends.ts";
import { cutStyledLine, padStyledLine, type Paint } from "./view_theme.ts";
import { chooseLevelColor, formatAlert, formatEvent, formatLimit } from "./view_words.ts";
import { renderDetail } from "./view_detail.ts";
import {
  createCell,
  renderGpus,
  renderLatency,
  renderRequests,
  renderSession,
  renderThroughput,
  type Subject,
} from "./view_detail_tables.ts";

interface DetailSpace {
  readonly width: number;
  readonly lines: number;
  readonly paint: Paint;
}

const GAP = "   ";

/** Leaves out what does not fit; the first piece is cut. */
function joinPieces(pieces: readonly Cell[], width: number, paint: Paint): string {
  let line = "";
  let used = 1;
  for (const { text, meaning } of pieces.filter((piece) => piece.text !== "")) {
    const gap = used === 1 ? "" : GAP;
    const needed = gap.length + measureWidth(text);
    if (used > 1 && used + needed > width) continue;
    line += gap + paint(cutText(text, Math.max(0, width - used)), meaning);
    used += needed;
  }
  return ` ${line}`;
}

// ---- Above the columns.

/** In cells. */
const MAX_NAME_WIDTH = 44;

/** Who it is, in two lines if the screen is narrow. */
function renderIdentity({ row, sample, state, paint }: Subject, width: number): string[] {
  const { state: known } = row;
  const version = known.server?.version ?? "";
  const { engine } = sample;
  const pieces: readonly Cell[] = [
    { text: cutTextMiddle(row.place, MAX_NAME_WIDTH), meaning: "title" },
    formatStateCell(createRowLine(row)),
    { text: cutTextMiddle(sample.modelName, MAX_NAME_WIDTH), meaning: "name" },
    { text: `${sample.server.name} ${version}`.trim(), meaning: "plain" },
    nameCell(createCell(getUptime(known, state), formatDuration), (uptime) => `up ${uptime}`),
    { text: describeWay(known.endpoint, state), meaning: "dim" },
    { text: engine === "" ? "" : `engine ${engine}`, meaning: "dim" },
  ];
  const lines = width < TWO_COLUMN_WIDTH ? [pieces.slice(0, 3), pieces.slice(3)] : [pieces];
  return lines.map((some) => joinPieces(some, width, paint));
}

/** Adds name or unit to a figure, which may be a dash. */
function nameCell({ text, meaning }: Cell, name: (figure: string) => string): Cell {
  return { text: name(text), meaning };
}

function renderPulse({ row, paint }: Subject, width: number): string {
  const { shown: { running, waiting, waitingByReason, lastPoll, lastMinute }, peaks } = row;
  const peak = (key: PeakKey, format: (value: number) => string): string => {
    const known = peaks[key];
    return known === null ? "" : ` (peak ${format(known.value)})`;
  };
  const reasons = [...waitingByReason].filter(([, count]) => count > 0)
    .map(([reason, count]) => `${reason} ${formatCount(count)}`);
  const why = reasons.length === 0 ? "" : ` (${reasons.join(", ")})`;
  const mostOutput = peak("generationTokensPerSecond", formatQuantity);
  const queue = createCell(waiting, formatCount, chooseWaitingColor(waiting, row.alerts));
  const { generationTokensPerSecond, promptTokensPerSecond, requestsPerSecond } = lastPoll;
  return joinPieces(
    [
      nameCell(
        createCell(generationTokensPerSecond, formatQuantity),
        (rate) => `${rate} tok/s${mostOutput}`,
      ),
      nameCell(
        createCell(running, formatCount),
        (count) => `running ${count}${peak("running", formatCount)}`,
      ),
      nameCell(queue, (count) => `waiting ${count}${why}`),
      nameCell(createCell(promptTokensPerSecond, formatQuantity), (rate) => `prompt ${rate} tok/s`),
      nameCell(createCell(requestsPerSecond, formatQuantity), (rate) => `${rate} req/s`),
      nameCell(
        createCell(lastMinute.latency.ttft.p95, formatQuantile),
        (p95) => `TTFT P95@1m ${p95}`,
      ),
    ],
    width,
    paint,
  );
}

/** Fills the width; what follows the gauge has a fixed place. */
const KV_TEXT_WIDTH = 50;

function renderKvCache({ row, paint }: Subject, width: number): string {
  const { maxRatio, capacityTokens, capacityIsEstimate } = row.shown.kvCache;
  const meaning = chooseKvCacheColor(maxRatio, row.alerts);
  const title = paint(" KV cache ", "dim");
  if (!isPresent(maxRatio)) return title + paint(DASH, "dim");
  const gauge = drawGauge(maxRatio.value, Math.max(8, width - KV_TEXT_WIDTH));
  const about = capacityIsEstimate ? "≈ " : "";
  const tokens = mapReading(
    capacityTokens,
    (capacity) =>
      `${about}${formatQuantity(capacity * maxRatio.value)} / ${formatQuantity(capacity)} tok`,
  );
  const peak = row.peaks.kvCacheUsageRatio;
  const most = peak === null ? "" : `peak ${formatPercent(peak.value)}`;
  return `${title}${paint(gauge, meaning)} ${
    paint(padText(formatPercent(maxRatio.value), 5, "right"), meaning)
  }  ${padText(tokens.value ?? "", 19)} ${paint(most, "dim")}`;
}

function renderLimit({ row: { limit, advice }, sample, paint }: Subject): string[] {
  const isLimited = limit.kind in FLAG_OF_LIMIT || limit.kind === "gpu";
  const [first] = advice;
  return [
    ` ${paint("Limited by", "dim")} ${
      paint(formatLimit(limit, sample.server.flags), isLimited ? "warn" : "dim")
    }`,
    first === undefined ? "" : ` ${paint(`→ ${first.text}`, "name")}`,
  ];
}

/** Why it cannot be scraped, its alerts, then what is over, newest first. */
function renderProblems({ row, state, paint }: Subject, lines: number): string[] {
  const { fault, state: { endpoint } } = row;
  const failing = fault === null ? [] : [` ${paint(fault.message, "warn")}`];
  const firing = row.alerts.map((alert) => {
    const { title } = describeRule(alert.newest.rule);
    const span = formatElapsed("for ", state.now - alert.since);
    const meaning = chooseLevelColor(alert.newest.level);
    return ` ${paint(padText(title, 24), meaning)} ${padText(span, 13)} ${
      formatAlert(alert, state)
    }`;
  });
  const keys = [row.key, endpoint.key];
  const events = state.fleet.events.filter(({ subject, endedAt }) =>
    keys.includes(subject.key) && endedAt !== null
  );
  const past = events.toReversed().slice(0, lines).map((event) => {
    const [time, kind, , span, details] = formatEvent(event, state);
    return paint(` ${padText(`${time} ${kind}`, 24)} ${padText(span, 13)} ${details}`, "dim");
  });
  const shown = [...failing, ...firing, ...past].slice(0, lines);
  return [...shown, ...Array.from({ length: lines - shown.length }, () => "")];
}

// ---- The page.

function fill(lines: readonly string[], count: number): readonly string[] {
  return [...lines, ...Array.from({ length: Math.max(0, count - lines.length) }, () => "")];
}

/** Joins the rules of either side. */
function chooseBorder(row: number, [left, right]: readonly [boolean, boolean]): string {
  if (left && right) return row === 0 ? "┬" : "┼";
  if (left) return "┤";
  return right ? "├" : "│";
}

/** Beside each other, with a line between them. */
function pair(
  columns: readonly [readonly string[], readonly string[]],
  { width, leftWidth, paint }: {
    readonly width: number;
    readonly leftWidth: number;
    readonly paint: Paint;
  },
): string[] {
  const height = Math.max(...columns.map((column) => column.length));
  const [left, right] = columns.map((column) => fill(column, height));
  return left.map((line, i) => {
    const border = chooseBorder(i, [isRule(line, paint), isRule(right[i], paint)]);
    return padStyledLine(line, leftWidth) + paint(border, "dim") +
      cutStyledLine(right[i], width - leftWidth - 1);
  });
}

/** In the order in which graphs get room, for either column. */
const GRAPHS: readonly (readonly SeriesKey[])[] = [
  ["generationTokensPerSecond", "promptTokensPerSecond", "ttftP95Seconds"],
  ["running", "waiting", "kvCacheUsageRatio"],
];
const GRAPH_LINES = 5;

function renderGraphs(
  { row, state, paint }: Subject,
  keys: readonly SeriesKey[],
  { width, lines }: { readonly width: number; readonly lines: number },
): string[] {
  const options = { width: width - 2, lines, paint, interval: state.interval, isWhole: true };
  return fillWithTrends(row.trend, keys, options).map((line) => ` ${line}`);
}

const PROBLEM_LINES = { narrow: 2, wide: 3 } as const;

/** Draws what there is to say, and graphs in the lines that are left. */
function renderReplica(subject: Subject, { width, lines, paint }: DetailSpace): readonly string[] {
  const isWide = width >= TWO_COLUMN_WIDTH;
  const above = [
    ...renderIdentity(subject, width),
    renderPulse(subject, width),
    renderKvCache(subject, width),
    ...renderLimit(subject),
    ...renderProblems(subject, isWide ? PROBLEM_LINES.wide : PROBLEM_LINES.narrow),
  ];
  const cut = (drawn: readonly string[]): string[] =>
    drawn.map((line) => cutStyledLine(line, width));
  if (!isWide) {
    const graphs = GRAPHS.map(([first]) => first);
    return cut([
      ...above,
      ...renderLatency(subject, width),
      ...renderThroughput(subject, width),
      ...renderRequests(subject, width),
      renderGpus(subject),
      ...renderSession(subject, width),
      ...renderGraphs(subject, graphs, { width, lines: GRAPH_LINES * graphs.length }),
    ]);
  }
  const leftWidth = Math.floor((width - 1) / 2);
  const rightWidth = width - leftWidth - 1;
  const columns = pair([
    [...renderThroughput(subject, leftWidth), ...renderRequests(subject, leftWidth)],
    [
      ...renderLatency(subject, rightWidth),
      ...renderSession(subject, rightWidth),
      renderGpus(subject),
    ],
  ], { width, leftWidth, paint });
  const left = Math.max(GRAPH_LINES, lines - above.length - columns.length);
  const count = Math.min(GRAPHS[0].length, Math.floor(left / GRAPH_LINES));
  const [leftGraphs, rightGraphs] = [leftWidth, rightWidth].map((columnWidth, i) =>
    renderGraphs(subject, GRAPHS[i].slice(0, count), { width: columnWidth, lines: left })
  );
  return [
    ...cut(above),
    ...columns,
    ...pair([leftGraphs, rightGraphs], { width, leftWidth, paint }),
  ];
}

/** The pages of the rows below each other; of an engine that is not known, why it is not. */
export function renderDetailPage(
  rows: readonly Row[],
  state: State,
  space: DetailSpace,
): readonly string[] {
  const { paint, width } = space;
  return rows.flatMap((row, i) => [
    ...i === 0 ? [] : [""],
    ...row.replica === null
      ? [
        ` ${paint(row.name, "title")}`,
        ...renderDetail(row, state, { paint, width: width - 4 }).flat().map((line) => ` ${line}`),
      ]
      : renderReplica({ row, sample: row.replica.sample, state, paint }, space),
  ]);
}
