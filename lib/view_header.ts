/**
 * Renders title, verdict, pulse and problems. Lines consist of pieces; one that does not fit is
 * left out.
 * @module
 */

import type { GpuOutlier } from "./gpu_model.ts";
import { divideReadings, isPresent, mapReading, type Reading } from "./reading.ts";
import { EVENT_KINDS, type EventKind, STATUS_OF_RULE } from "./rules_alerts.ts";
import {
  type Cause,
  computeEndpointStatus,
  type FleetVerdict,
  getScrapeRecord,
} from "./rules_status.ts";
import { describeRule, MIN_SPAN } from "./rules_table.ts";
import { getInterval, isNotablySlower, isOfNewestPoll } from "./scrape_schedule.ts";
import type { State } from "./state.ts";
import type { Fleet, Row } from "./state_fleet.ts";
import { findWorstObjective, isOfModel } from "./stats_slo.ts";
import { getHost } from "./state_gpus.ts";
import { cutText, cutTextMiddle, measureWidth, padText, quote, wrapText } from "./text.ts";
import { formatClock } from "./units.ts";
import { chooseAttainmentColor, chooseKvCacheColor, chooseWaitingColor } from "./view_columns.ts";
import {
  formatAttainment,
  formatCount,
  formatDuration,
  formatElapsed,
  formatInterval,
  formatPercent,
  formatQuantile,
  formatQuantity,
  formatReading,
  formatTemperature,
  SINCE_START,
} from "./view_format.ts";
import { drawGauge } from "./view_gauge.ts";
import { countUp, describeDeath, describeLoads, listDeaths } from "./view_log.ts";
import { cutStyledLine, type Meaning, type Paint } from "./view_theme.ts";
import { isConnecting, listDownHosts } from "./view_host.ts";
import { formatAlert, formatBurnRate, formatFinding, formatObjective } from "./view_words.ts";

/** Indent of wrapped lines. */
const CONTINUED = "    ";
const MAX_PLACES = 3;
/** Between pieces. */
const GAP = "   ";

export interface Piece {
  /** Before the text, dim. */
  readonly label?: string;
  readonly text: string;
  /** Default `plain`. */
  readonly meaning?: Meaning;
  readonly canBeCut?: true;
  /** Added only if no piece is dropped for it. */
  readonly extra?: string;
}

/** Shorter parts are left out. */
const MIN_PIECE_WIDTH = 12;

/** Drops extras, last first, until the most pieces fit. */
function settleExtras(pieces: readonly Piece[], width: number, gap: string): readonly Piece[] {
  const wanted = pieces.filter(({ text }) => text !== "");
  const extras = wanted.filter(({ extra = "" }) => extra !== "");
  const choices = extras.map((_, gone) => extras.slice(0, extras.length - gone)).concat([[]])
    .map((kept) =>
      wanted.map((piece) =>
        kept.includes(piece) ? { ...piece, text: piece.text + piece.extra } : piece
      )
    );
  const countFitting = (choice: readonly Piece[]): number => {
    let used = 1 - gap.length;
    const over = choice.findIndex((piece) => (used += gap.length + measurePiece(piece)) > width);
    return over < 0 ? choice.length : over;
  };
  return choices.reduce((a, b) => countFitting(b) > countFitting(a) ? b : a);
}

function measurePiece({ label = "", text }: Piece): number {
  return measureWidth(text) + (label === "" ? 0 : measureWidth(label) + 1);
}

/** Joins pieces, most important first, leaving out or cutting those that do not fit. */
function joinPieces(
  pieces: readonly Piece[],
  options: { readonly width: number; readonly gap: string; readonly paint: Paint },
): string {
  const { width, gap, paint } = options;
  let line = "";
  let used = 0;
  for (const piece of settleExtras(pieces, width, gap)) {
    const { label = "", text, meaning = "plain", canBeCut } = piece;
    const before = used === 0 ? " " : gap;
    const room = width - used - before.length;
    if (measurePiece(piece) > room) {
      if (used > 0 && (canBeCut !== true || room < MIN_PIECE_WIDTH)) continue;
      line += before + paint(cutText(text, Math.max(0, room)), meaning);
      break;
    }
    line += before + (label === "" ? "" : paint(label, "dim") + " ") + paint(text, meaning);
    used += before.length + measurePiece(piece);
  }
  return line;
}

/** Empty while every replica has data of the newest poll. */
function describeAge(state: State): string {
  const ages = state.fleet.rows.flatMap(({ age, status }) =>
    age === null || status === "DOWN" ? [] : [age]
  );
  const oldest = Math.max(0, ...ages);
  return isOfNewestPoll(oldest, state.interval) ? "" : `oldest data ${formatDuration(oldest)} ago`;
}

/** The scrape interval, a range if slow endpoints have a longer one; with `--once`, the window. */
function describeInterval({ interval, endpoints, fleet, isOnce = false }: State): string {
  const { span } = fleet.total.figures.lastPoll;
  if (isOnce && isPresent(span)) return `over ${formatQuantity(span.value)} s`;
  if (interval === 0) return "one scrape";
  const slower = endpoints.map(({ schedule }) => schedule).filter((schedule) =>
    isNotablySlower(schedule, interval)
  );
  if (slower.length === 0) return `every ${formatInterval(interval)}`;
  const longest = Math.max(...slower.map((schedule) => getInterval(schedule, interval)));
  return `every ${formatInterval(interval)} to ${formatInterval(Math.round(longest))}`;
}

/** In cells. */
const MAX_MODEL_WIDTH = 26;

/** `◀ 16:41:05 (15m 02s ago)`, and whether polls of that time were left out. */
function describePast({ now, nowEpoch, utcOffset, seenAt = now }: State, step: number): string {
  const kept = step === 1 ? "" : `, 1 of ${step} polls kept`;
  return `◀ ${formatClock(nowEpoch, utcOffset)} (${formatDuration(seenAt - now)} ago${kept})`;
}

function createTitle(state: State): readonly Piece[] {
  const { fleet, held, pastStep, noted, isDemo, now, nowEpoch, utcOffset, mark } = state;
  const { total, countedElsewhere } = fleet.counts;
  const models = fleet.groups.map(({ label }) => cutTextMiddle(label, MAX_MODEL_WIDTH));
  const hasSinceStart = fleet.rows.some(({ shown, figures }) => shown !== figures);
  return [
    {
      text: pastStep === null ? held === null ? "" : "PAUSED" : describePast(state, pastStep),
      meaning: "alert",
    },
    { text: noted === null ? "" : "diagnosis on exit", meaning: "ok" },
    { text: mark === null ? "" : `mark ${formatDuration(now - mark.at)}`, meaning: "name" },
    { text: isDemo ? "demo: simulated fleet" : "", meaning: "warn" },
    {
      text: `${total} ${total === 1 ? "replica" : "replicas"}`,
      extra: countedElsewhere === 0 ? "" : `, ${countedElsewhere} in no total`,
    },
    { text: hasSinceStart ? `${SINCE_START} since start` : "", meaning: "dim" },
    { text: models.length < 2 ? models.join() : `${models.length} models`, canBeCut: true },
    { text: pastStep === null ? formatClock(nowEpoch, utcOffset) : "", meaning: "dim" },
    { text: describeInterval(state), meaning: "dim" },
    { text: describeAge(state), meaning: "warn" },
  ];
}

/** GPUs of the replica that fall behind. */
export function listOutliers({ gpus, host }: Row, state: State): readonly GpuOutlier[] {
  return getHost(state.hosts, host).outliers.filter(({ gpuIndex }) =>
    gpus.some(({ index }) => index === gpuIndex)
  );
}

/** `:8000, :8001, :8002 and 4 more`. */
function joinPlaces(places: readonly string[]): string {
  const shown = places.slice(0, MAX_PLACES).join(", ");
  const more = places.length - MAX_PLACES;
  return more > 0 ? `${shown} and ${more} more` : shown;
}

/** The failure in brackets, if it is the same for all. */
function describeCause(rows: readonly Row[]): string {
  const kinds = new Set(rows.map(({ state }) => state.failure?.kind));
  const [kind] = kinds;
  return kinds.size === 1 && kind !== undefined ? ` (${kind.replaceAll("_", " ")})` : "";
}

/** Per replica; a critical one explains the others. */
const MAX_FINDINGS = 2;

/** After `was` or `were`. */
const PAST: Readonly<Partial<Record<EventKind, string>>> = {
  STALLED: "stalled",
  COLLAPSE: "collapsed",
  OVERLOAD: "overloaded",
  HOT: "hot",
  FULL: "full",
  FAILING: "failing",
  SLO: "missing a service level",
  QUEUING: "queuing",
  PREEMPTS: "preempting",
  REFUSING: "refusing requests",
  TRANSFER: "losing KV transfers",
  SHARED: "shared by two servers",
  SLOW: "slow",
  STICKY: "taking too many requests",
  SKEW: "skewed",
  DOWN: "down",
};

/** Returns the kind of the alert that ended last. */
function findPast(key: string, { evaluation: { events } }: State): EventKind {
  const over = events.lines.filter(({ kind, subject, endedAt }) =>
    subject.key === key && endedAt !== null && EVENT_KINDS[kind] === "alert"
  );
  const last = over.reduce((a, b) => (b.endedAt ?? 0) > (a.endedAt ?? 0) ? b : a);
  return last.kind;
}

/** ` ← GPU 2 throttled 84 °C`; empty if no GPU of it is slow. */
function nameSlowGpu(row: Row, state: State): string {
  const [outlier] = listOutliers(row, state);
  if (outlier === undefined) return "";
  const { gpuIndex, kind, temperatureCelsius } = outlier;
  const what = kind === "throttled" ? "throttled" : "slow";
  const heat = isPresent(temperatureCelsius)
    ? ` ${formatTemperature(temperatureCelsius.value)}`
    : "";
  return ` ← GPU ${gpuIndex} ${what}${heat}`;
}

/** Describes rows with the same causes; the evidence only of a single row. */
function describeCauses(causes: readonly Cause[], rows: readonly Row[], state: State): string {
  const [{ signal, verdict, key, level }] = causes;
  const places = joinPlaces(rows.map(({ place }) => place));
  if (signal === "down") {
    const death = rows.length === 1 ? rows[0].death : null;
    return `${places} down${death === null ? describeCause(rows) : describeDeath(death)}`;
  }
  const were = rows.length === 1 ? "was" : "were";
  if (signal === "recent") return `${places} ${were} ${PAST[findPast(key, state)] ?? "in trouble"}`;
  const findings = causes.flatMap((cause) => cause.verdict === null ? [] : [cause.verdict.rule]);
  if (causes.some((cause) => cause.signal === "stale")) {
    const [rule] = findings;
    const before = rule === undefined ? "" : ` (was ${STATUS_OF_RULE[rule]})`;
    return `${places} stale${before}`;
  }
  const summary = `${places} ${
    findings.slice(0, level === "critical" ? 1 : MAX_FINDINGS).map((rule) =>
      describeRule(rule).title
    ).join(" and ")
  }`;
  if (rows.length > 1 || verdict === null) return summary;
  const alert = state.evaluation.alerts.find(({ first }) =>
    first.key === key && first.rule === signal
  );
  if (alert === undefined) return `${summary}: ${formatFinding(verdict)}`;
  const span = formatElapsed(" for ", state.now - alert.since);
  return `${summary}${span}${nameSlowGpu(rows[0], state)}: ${formatAlert(alert, state)}`;
}

/** One text per set of causes; each replica is named once. */
function listReasons(state: State): readonly string[] {
  const { fleet } = state;
  const { causes } = fleet.verdict;
  const current = new Set(causes.flatMap(({ key, signal }) => signal === "recent" ? [] : [key]));
  // A current cause hides past ones.
  const inTrouble = new Set(current);
  for (const { key, state: { endpoint } } of fleet.rows) {
    if (current.has(key)) inTrouble.add(endpoint.key);
    if (current.has(endpoint.key)) inTrouble.add(key);
  }
  const shown = causes.filter(({ key, signal }) => signal !== "recent" || !inTrouble.has(key));
  const groups = Map.groupBy(
    Map.groupBy(shown, ({ key }) => key),
    ([, own]) =>
      own.map(({ signal, key, level }) =>
        signal === "recent" ? `was ${findPast(key, state)}` : `${level} ${signal}`
      ).join(" "),
  );
  return [...groups.values()].flatMap((group) => {
    const keys = new Set(group.map(([key]) => key));
    const rows = fleet.rows.filter((row) => keys.has(row.key) || keys.has(row.state.endpoint.key));
    const [[, own]] = group;
    return rows.length === 0 ? [] : [describeCauses(own, rows, state)];
  });
}

const VERDICT_MEANINGS: Readonly<Record<FleetVerdict["level"], Meaning>> = {
  NONE: "warn",
  PENDING: "dim",
  WATCHING: "dim",
  HEALTHY: "ok",
  DEGRADED: "warn",
  CRITICAL: "alert",
};

/** Returns the advice of the replica whose cause comes first; empty without evidence for any. */
function findAdviceText({ causes }: Fleet["verdict"]): string {
  const advised = causes.find(({ key, advice }) => key === causes[0].key && advice !== null);
  return advised?.advice?.text ?? "";
}

/** Drops evidence, count, duration, then alternatives of the advice, until it fits. */
function placeAdvice(
  pieces: readonly [level: Piece, up: Piece, ...reasons: Piece[]],
  advice: string,
  width: number,
): readonly Piece[] {
  const [level, up, first, ...others] = pieces;
  if (advice === "" || first === undefined) return pieces;
  const say = (text: string): Piece => ({ text: `→ ${text}`, canBeCut: true });
  const brief = { ...first, text: first.text.split(": ")[0] };
  const briefest = { ...first, text: brief.text.replace(/ for [^←]*?(?= ←|$)/, "") };
  const [alone] = advice.split(", ");
  const choices: readonly (readonly Piece[])[] = [
    [level, up, first, say(advice)],
    [level, up, brief, say(advice)],
    [level, brief, say(advice)],
    [level, briefest, say(advice)],
    [level, up, brief, say(alone)],
    [level, brief, say(alone)],
    [level, briefest, say(alone)],
  ];
  const fits = (choice: readonly Piece[]): boolean =>
    choice.reduce((sum, { text }) => sum + measureWidth(text) + GAP.length, 1 - GAP.length) <=
      width;
  return [...choices.find(fits) ?? choices[choices.length - 1], ...others];
}

function createVerdict(state: State, width: number): readonly Piece[] {
  const { counts, verdict } = state.fleet;
  const { level, watched } = verdict;
  const up: Piece = { text: countUp(counts), meaning: "dim" };
  if (level === "NONE") {
    const text = isConnecting(state) ? "● CONNECTING" : "● NO SERVER FOUND";
    return [{ text, meaning: VERDICT_MEANINGS[level] }];
  }
  if (level === "PENDING") {
    const load = describeLoads(state);
    const start: readonly Piece[] = load === ""
      ? [{ text: "● STARTING: waiting for the first answer", meaning: "dim" }]
      : [{ text: "● LOADING", meaning: "name" }, { text: load, canBeCut: true }];
    return [...start, ...(counts.up > 0 ? [up] : [])];
  }
  const reasons = listReasons(state).map((text): Piece => ({ text, canBeCut: true }));
  const progress = level === "WATCHING" ? ` (${Math.floor(watched)} of ${MIN_SPAN} s)` : "";
  const said: Piece = { text: `● ${level}${progress}`, meaning: VERDICT_MEANINGS[level] };
  return placeAdvice([said, up, ...reasons], findAdviceText(verdict), width);
}

/** Describes the objective that the fleet misses most. */
function createServiceLevel({ total }: State["fleet"]): Piece {
  const worst = findWorstObjective(total.serviceLevels);
  if (worst === null) return { text: "", meaning: "plain" };
  const share = formatReading(worst.lastMinute.ratio, formatAttainment);
  return {
    label: "SLO",
    text: `${formatObjective(worst.objective)} ${share}`,
    meaning: chooseAttainmentColor(worst, total.alerts),
  };
}

/** Narrower screens have a short gauge. */
const WIDE_PULSE = 100;
/** In cells, so that no figure moves another. */
const COUNT_WIDTH = 4;
const RATE_WIDTH = 5;
const LATENCY_WIDTH = 7;
const HIT_WIDTH = 5;

function createPulse({ fleet, bill, pricing }: State, width: number): readonly Piece[] {
  if (fleet.counts.up === 0) return [];
  const { shown: figures, alerts } = fleet.total;
  const { lastPoll, lastMinute, kvCache } = figures;
  const { cachedPromptTokensPerSecond: cachedRate, promptTokensPerSecond: rate } = lastPoll;
  const cached = divideReadings(cachedRate, rate);
  // A ratio of partial sums would be wrong.
  const isWhole = [cachedRate, rate].every((one) => isPresent(one) && one.partial !== true);
  const hit = isWhole && isPresent(cached)
    ? formatReading(mapReading(cachedRate, () => cached.value), formatPercent)
    : "";
  const isWide = width >= WIDE_PULSE;
  const gauge = isPresent(kvCache.maxRatio)
    ? drawGauge(kvCache.maxRatio.value, isWide ? 8 : 4)
    : "";
  const pad = (text: string, width: number): string => padText(text, width, "right");
  const perSecond = (reading: Reading): string =>
    pad(formatReading(reading, formatQuantity), RATE_WIDTH) + "/s";
  return [
    { label: "RUN", text: pad(formatReading(figures.running, formatCount), COUNT_WIDTH) },
    {
      label: "WAIT",
      text: pad(formatReading(figures.waiting, formatCount), COUNT_WIDTH),
      meaning: chooseWaitingColor(figures.waiting, alerts),
    },
    {
      label: figures.replicaCount > 1 && isWide ? "KV max" : "KV",
      text: `${pad(formatReading(kvCache.maxRatio, formatPercent), HIT_WIDTH)} ${gauge}`.trimEnd(),
      meaning: chooseKvCacheColor(kvCache.maxRatio, alerts),
    },
    { label: "OUT", text: perSecond(lastPoll.generationTokensPerSecond) },
    {
      label: "IN",
      text: perSecond(rate),
      extra: hit === "" ? "" : ` ${pad(hit, HIT_WIDTH)} cached`,
    },
    {
      label: "TTFT@1m",
      text: pad(formatReading(lastMinute.latency.ttft.p95, formatQuantile), LATENCY_WIDTH),
    },
    createServiceLevel(fleet),
    { text: formatBurnRate(bill, pricing.currency) },
  ];
}

/** One line per status and kind of failure, with the message of the first endpoint. */
function describeFailures(state: State): Piece[] {
  const failing = state.endpoints.flatMap((known) => {
    const { failure, displayName } = known;
    if (failure === null) return [];
    const status = computeEndpointStatus(getScrapeRecord(known, state));
    // Its row says more.
    return status === "LOAD" ? [] : [{ failure, displayName, status }];
  });
  const groups = Map.groupBy(failing, ({ failure, status }) => `${status} ${failure.kind}`);
  return [...groups.values()].map((group) => {
    const [{ failure, status }] = group;
    const places = joinPlaces(group.map(({ displayName }) => displayName));
    const text = `${status}  ${places}  ${failure.message}`;
    return { text, meaning: status === "DOWN" ? "alert" : "warn" };
  });
}

/** Names of models in objectives that no server serves, once all have answered. */
function describeUnservedModels({ objectives, fleet: { rows } }: State): readonly Piece[] {
  const served = rows.flatMap(({ replica }) => replica?.sample.modelName ?? []);
  if (served.length < rows.length) return [];
  const unserved = objectives.filter((objective) =>
    objective.model !== null && !served.some((modelName) => isOfModel(objective, modelName))
  );
  return [...new Set(unserved.map(({ model }) => model ?? ""))].map((model) => ({
    text: `no server serves ${quote(model)}, for which --slo sets an objective`,
    meaning: "warn",
  }));
}

/** What the verdict does not count; notices last. */
export function listRemarks(state: State): readonly Piece[] {
  const problems = [...describeUnservedModels(state), ...listDownHosts(state)];
  for (const known of state.endpoints) {
    const { endpoint, displayName, failure, scrape, askedAt } = known;
    if (failure === null && askedAt !== null && getScrapeRecord(known, state).hasFailed) {
      const span = formatElapsed(" for ", state.now - askedAt);
      const text = `${displayName}  has not answered${span}`;
      problems.push({ text, meaning: "warn" });
    }
    if (failure === null && scrape !== null && scrape.badLineCount > 0) {
      const count = formatCount(scrape.badLineCount);
      const text = `${displayName}  ${count} metric lines could not be parsed`;
      problems.push({ text, meaning: "warn" });
    }
    for (const warning of endpoint.warnings) {
      problems.push({ text: `${displayName}  ${warning}`, meaning: "warn" });
    }
  }
  return [...problems, ...state.notices.map((text): Piece => ({ text, meaning: "dim" }))];
}

/** Renders problems of endpoints, then notices, wrapped to `width` cells. */
export function renderProblems(
  state: State,
  options: { readonly width: number; readonly paint: Paint },
): string[] {
  const deaths = listDeaths(state).map((text): Piece => ({ text, meaning: "alert" }));
  const pieces = [...describeFailures(state), ...deaths, ...listRemarks(state)];
  return pieces.flatMap(({ text, meaning = "plain" }) =>
    wrapText(text, options.width - 2, CONTINUED).map((line) => " " + options.paint(line, meaning))
  );
}

const NAME_WIDTH = " vllm-htop ".length;

export type Header = readonly [title: string, verdict: string, pulse: string];

export function renderHeader(
  state: State,
  options: { readonly width: number; readonly titleWidth?: number; readonly paint: Paint },
): Header {
  const { width, titleWidth = width, paint } = options;
  const name = " " + paint("vllm-htop", "title");
  const title = joinPieces(createTitle(state), {
    ...{ width: titleWidth - NAME_WIDTH, gap: " · ", paint },
  });
  return [
    cutStyledLine(title.trim() === "" ? name : `${name} ${title}`, titleWidth),
    joinPieces(createVerdict(state, width), { width, gap: GAP, paint }),
    joinPieces(createPulse(state, width), { width, gap: "  ", paint }),
  ];
}
