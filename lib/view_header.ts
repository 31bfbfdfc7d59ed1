/**
 * Renders title, verdict, pulse and problems.
 * @module
 */

import { divideReadings, isPresent, mapReading, type Reading } from "./reading.ts";
import { computeEndpointStatus, getScrapeRecord, isGuessed } from "./rules_status.ts";
import { getInterval, isNotablySlower, isOfNewestPoll } from "./scrape_schedule.ts";
import type { State } from "./state.ts";
import { getSeries, type SeriesKey } from "./stats_series.ts";
import { findWorstObjective, isOfModel } from "./stats_slo.ts";
import { cutTextMiddle, padText, quote, wrapText } from "./text.ts";
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
  SINCE_START,
} from "./view_format.ts";
import { drawRatio } from "./view_gauge.ts";
import { drawStrip } from "./view_graph.ts";
import { listDownHosts } from "./view_host.ts";
import { listDeaths } from "./view_log.ts";
import { joinPieces, type Piece } from "./view_pieces.ts";
import { describeClock, describeTape, listTapeRemarks } from "./view_tape.ts";
import { cutStyledLine, type Paint } from "./view_theme.ts";
import { joinPlaces, renderVerdict } from "./view_verdict.ts";
import { formatBurnRate, formatObjective } from "./view_words.ts";

/** Indent of wrapped lines. */
const CONTINUED = "    ";

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

function describeCount(
  { fleet: { counts: { total, countedElsewhere } }, endpoints }: State,
): Piece {
  // A place at which a scan waits for a server is none.
  if (endpoints.some(isGuessed)) return { text: "" };
  return {
    text: `${total} ${total === 1 ? "replica" : "replicas"}`,
    extra: countedElsewhere === 0 ? "" : `, ${countedElsewhere} in no total`,
  };
}

function createTitle(state: State): readonly Piece[] {
  const { fleet, held, pastStep, noted, isDemo, now, mark } = state;
  const models = fleet.groups.map(({ label }) => cutTextMiddle(label, MAX_MODEL_WIDTH));
  const hasSinceStart = fleet.rows.some(({ shown, figures }) => shown !== figures);
  return [
    {
      text: pastStep === null ? held === null ? "" : "PAUSED" : describePast(state, pastStep),
      meaning: "alert",
    },
    { text: noted === null ? "" : "diagnosis on exit", meaning: "ok" },
    { text: mark === null ? "" : `mark ${formatDuration(now - mark.at)}`, meaning: "name" },
    describeTape(state),
    { text: isDemo ? "demo: simulated fleet" : "", meaning: "warn" },
    describeCount(state),
    { text: hasSinceStart ? `${SINCE_START} since start` : "", meaning: "dim" },
    { text: models.length < 2 ? models.join() : `${models.length} models`, canBeCut: true },
    describeClock(state),
    { text: describeInterval(state), meaning: "dim" },
    { text: describeAge(state), meaning: "warn" },
  ];
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
const HISTORY_WIDTH = 5;

function createPulse(
  { fleet, bill, pricing, isOnce = false }: State,
  width: number,
): readonly Piece[] {
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
  const gauge = drawRatio(kvCache.maxRatio, isWide ? 8 : 4);
  const pad = (text: string, width: number): string => padText(text, width, "right");
  const perSecond = (reading: Reading): string =>
    pad(formatReading(reading, formatQuantity), RATE_WIDTH) + "/s";
  const history = (key: SeriesKey): string =>
    isOnce
      ? ""
      : ` ${drawStrip(getSeries(fleet.totalTrend, key, 2 * HISTORY_WIDTH), HISTORY_WIDTH)}`;
  return [
    {
      label: "RUN",
      text: pad(formatReading(figures.running, formatCount), COUNT_WIDTH),
      extra: history("running"),
      dropsFirst: true,
    },
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
    {
      label: "OUT",
      text: perSecond(lastPoll.generationTokensPerSecond),
      extra: history("generationTokensPerSecond"),
      dropsFirst: true,
    },
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
  const ofModels = state.fleet.rows.flatMap(({ place, status, fault }): Piece[] =>
    status === "DOWN" && fault?.kind === "model_failed"
      ? [{ text: `DOWN  ${place}  ${fault.message}`, meaning: "alert" }]
      : []
  );
  const ofEndpoints = [...groups.values()].map((group): Piece => {
    const [{ failure, status }] = group;
    const places = joinPlaces(group.map(({ displayName }) => displayName));
    const text = `${status}  ${places}  ${failure.message}`;
    return { text, meaning: status === "DOWN" ? "alert" : "warn" };
  });
  return [...ofEndpoints, ...ofModels];
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
  const problems = [
    ...listTapeRemarks(state),
    ...describeUnservedModels(state),
    ...listDownHosts(state),
  ];
  for (const known of state.endpoints) {
    const { endpoint, displayName, failure, scrape, askedAt } = known;
    if (failure === null && askedAt !== null && getScrapeRecord(known, state).hasFailed) {
      const span = formatElapsed(" for ", state.now - askedAt);
      const text = `${displayName}  has not answered${span}`;
      problems.push({ text, meaning: "warn" });
    }
    if (failure === null && scrape !== null && scrape.badLineCount > 0) {
      const { badLineCount } = scrape;
      const lines = `metric ${badLineCount === 1 ? "line" : "lines"}`;
      const text = `${displayName}  ${formatCount(badLineCount)} ${lines} could not be parsed`;
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
    renderVerdict(state, { width, lines: 1, paint })[0],
    joinPieces(createPulse(state, width), { width, gap: "  ", paint }),
  ];
}
