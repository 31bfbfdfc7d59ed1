/**
 * What stands above the table and what is wrong: title, verdict, summary,
 * problems.
 *
 * The verdict is the one thing to read first: a word, and the
 * replicas and figures that it rests on. Endpoints that fail alike are named
 * together, with the next step of the first. Lines are joined from pieces; a
 * piece that does not fit the width is left out.
 * @module
 */

import { divideReadings, isPresent } from "./reading.ts";
import { EVENT_KINDS, EVENT_OF_RULE, type EventKind } from "./rules_alerts.ts";
import {
  type Cause,
  computeEndpointStatus,
  type FleetVerdict,
  getScrapeRecord,
} from "./rules_status.ts";
import { getInterval, isNotablySlower, isOfNewestPoll } from "./scrape_schedule.ts";
import type { State } from "./state.ts";
import type { Bill } from "./state_cost.ts";
import type { EndpointState } from "./state_endpoint.ts";
import type { Fleet, Row } from "./state_fleet.ts";
import { cutText, measureWidth, wrapText } from "./text.ts";
import { formatClock } from "./units.ts";
import { chooseKvCacheColor, chooseWaitingColor } from "./view_columns.ts";
import {
  formatCount,
  formatDuration,
  formatInterval,
  formatPercent,
  formatQuantity,
  formatReading,
} from "./view_format.ts";
import type { Meaning, Paint } from "./view_theme.ts";
import { formatAlert, formatBurnRate, formatFinding, formatRuleName } from "./view_words.ts";

/** What the lines begin with on which a message goes on. */
const CONTINUED = "    ";

/** Places that are named one by one where several rows share a condition. */
const MAX_PLACES = 3;

interface Piece {
  readonly text: string;
  readonly meaning: Meaning;
  /** Whether a part of it is better than nothing. */
  readonly canBeCut?: true;
  /** What follows the text where no whole piece is left out for it. */
  readonly extra?: string;
}

/** A part of a text that is shorter says nothing. */
const MIN_PIECE_WIDTH = 12;

/**
 * The pieces with as many of their extras as leave the most room to pieces:
 * the last extra goes first. Pieces stand in the order of their importance.
 */
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
    const over = choice.findIndex(({ text }) => (used += gap.length + measureWidth(text)) > width);
    return over < 0 ? choice.length : over;
  };
  return choices.reduce((a, b) => countFitting(b) > countFitting(a) ? b : a);
}

/** Pieces side by side; one that does not fit any more is left out, or cut. The first is cut. */
function joinPieces(
  pieces: readonly Piece[],
  options: { readonly width: number; readonly gap: string; readonly paint: Paint },
): string {
  const { width, gap, paint } = options;
  let line = "";
  let used = 0;
  for (const { text, meaning, canBeCut } of settleExtras(pieces, width, gap)) {
    const before = used === 0 ? " " : gap;
    const room = width - used - before.length;
    if (measureWidth(text) > room) {
      if (used > 0 && (canBeCut !== true || room < MIN_PIECE_WIDTH)) continue;
      line += before + paint(cutText(text, Math.max(0, room)), meaning);
      break;
    }
    line += before + paint(text, meaning);
    used += before.length + measureWidth(text);
  }
  return line;
}

function describeModels(fleet: Fleet): string {
  const names = fleet.groups.map(({ label }) => label);
  return names.join(", ");
}

/** Age of the oldest figures that count as current; nothing while they are as fresh as can be. */
function describeAge(state: State, fleet: Fleet): string {
  const ages = fleet.rows.flatMap(({ age, status }) =>
    age === null || status === "DOWN" ? [] : [age]
  );
  const oldest = Math.max(0, ...ages);
  return isOfNewestPoll(oldest, state.interval) ? "" : `oldest data ${formatDuration(oldest)} ago`;
}

/** How often endpoints are asked, slow ones less often than was wanted; of a single look, what it is over. */
function describeInterval(
  { interval, endpoints, isOnce = false }: State,
  { total: { figures: { lastPoll: { span } } } }: Fleet,
): string {
  if (isOnce && isPresent(span)) return `over ${formatQuantity(span.value)} s`;
  if (interval === 0) return "one scrape";
  const slower = endpoints.map(({ schedule }) => schedule).filter((schedule) =>
    isNotablySlower(schedule, interval)
  );
  if (slower.length === 0) return `every ${formatInterval(interval)}`;
  const longest = Math.max(...slower.map((schedule) => getInterval(schedule, interval)));
  return `every ${formatInterval(interval)} to ${formatInterval(Math.round(longest))}`;
}

function createTitle(state: State, fleet: Fleet): readonly Piece[] {
  const { total } = fleet.counts;
  return [
    { text: "vllm-htop", meaning: "title" },
    { text: state.held === null ? "" : "PAUSED", meaning: "alert" },
    { text: state.isDemo ? "demo: simulated fleet" : "", meaning: "warn" },
    { text: `${total} ${total === 1 ? "replica" : "replicas"}`, meaning: "plain" },
    { text: formatClock(state.nowEpoch, state.utcOffset), meaning: "dim" },
    { text: describeInterval(state, fleet), meaning: "dim" },
    { text: describeAge(state, fleet), meaning: "warn" },
    { text: describeModels(fleet), meaning: "name", canBeCut: true },
  ];
}

/** The places of the rows: all of a few, else the first ones and how many more. */
function listPlaces(rows: readonly Row[]): string {
  const shown = rows.slice(0, MAX_PLACES).map(({ place }) => place).join(", ");
  const more = rows.length - MAX_PLACES;
  return more > 0 ? `${shown} and ${more} more` : shown;
}

/** Why the rows are down, in brackets, where it is the same for all. */
function describeCause(rows: readonly Row[]): string {
  const kinds = new Set(rows.map(({ state }) => state.failure?.kind));
  const [kind] = kinds;
  return kinds.size === 1 && kind !== undefined ? ` (${kind.replaceAll("_", " ")})` : "";
}

/** Findings that are named of one replica: the worst ones, which explain the others. */
const MAX_FINDINGS = 2;

/** What is said of a replica whose alarm is over; after `was` or `were`. */
const PAST: Readonly<Partial<Record<EventKind, string>>> = {
  HOT: "hot",
  STALLED: "stalled",
  SLOW: "slow",
  STICKY: "taking too many requests",
  SKEW: "skewed",
  DOWN: "down",
  REJECT: "rejecting requests",
};

/** The kind of the alarm of that replica or endpoint that was over last. */
function findPast(key: string, { evaluation: { events } }: State): EventKind {
  const over = events.lines.filter(({ kind, subject, endedAt }) =>
    subject.key === key && endedAt !== null && EVENT_KINDS[kind] === "alert"
  );
  const last = over.reduce((a, b) => (b.endedAt ?? 0) > (a.endedAt ?? 0) ? b : a);
  return last.kind;
}

/** What is said of rows that have the same causes: whom, what, and of one alone the evidence. */
function describeCauses(causes: readonly Cause[], rows: readonly Row[], state: State): string {
  const [{ signal, verdict, key }] = causes;
  const places = listPlaces(rows);
  if (signal === "down") return `${places} down${describeCause(rows)}`;
  const were = rows.length === 1 ? "was" : "were";
  if (signal === "recent") return `${places} ${were} ${PAST[findPast(key, state)] ?? "in trouble"}`;
  const findings = causes.flatMap((cause) => cause.verdict === null ? [] : [cause.verdict.rule]);
  if (causes.some((cause) => cause.signal === "stale")) {
    const [rule] = findings;
    const before = rule === undefined
      ? ""
      : ` (was ${EVENT_OF_RULE[rule] ?? formatRuleName(rule)})`;
    return `${places} stale${before}`;
  }
  const said = `${places} ${findings.slice(0, MAX_FINDINGS).map(formatRuleName).join(" and ")}`;
  if (rows.length > 1 || verdict === null) return said;
  const alert = state.evaluation.alerts.find(({ first }) =>
    first.key === key && first.rule === signal
  );
  if (alert === undefined) return `${said}: ${formatFinding(verdict)}`;
  const span = formatDuration(state.now - alert.since);
  return `${said} for ${span}: ${formatAlert(alert, state)}`;
}

/** The causes, each replica once, those with the same causes together. */
function listReasons(state: State, fleet: Fleet): readonly string[] {
  const { causes } = fleet.verdict;
  const standing = new Set(causes.flatMap(({ key, signal }) => signal === "recent" ? [] : [key]));
  // Of one that is in trouble now nobody needs to know that it was.
  const inTrouble = new Set(standing);
  for (const { key, state: { endpoint } } of fleet.rows) {
    if (standing.has(key)) inTrouble.add(endpoint.key);
    if (standing.has(endpoint.key)) inTrouble.add(key);
  }
  const told = causes.filter(({ key, signal }) => signal !== "recent" || !inTrouble.has(key));
  const groups = Map.groupBy(
    Map.groupBy(told, ({ key }) => key),
    ([, own]) =>
      own.map(({ signal, key }) => signal === "recent" ? `was ${findPast(key, state)}` : signal)
        .join(" "),
  );
  return [...groups.values()].flatMap((group) => {
    const keys = new Set(group.map(([key]) => key));
    const rows = fleet.rows.filter((row) => keys.has(row.key) || keys.has(row.state.endpoint.key));
    const [[, own]] = group;
    return rows.length === 0 ? [] : [describeCauses(own, rows, state)];
  });
}

const VERDICT_MEANINGS: Readonly<Record<FleetVerdict["level"], Meaning>> = {
  PENDING: "dim",
  HEALTHY: "ok",
  DEGRADED: "warn",
  CRITICAL: "alert",
};

/** The one thing to read first: the word, and what it rests on. */
function createVerdict(state: State, fleet: Fleet): readonly Piece[] {
  const { counts, verdict: { level } } = fleet;
  const up: Piece = { text: `${counts.up} of ${counts.total} up`, meaning: "dim" };
  if (level === "PENDING") {
    const text = "● STARTING: waiting for the first answer";
    return [{ text, meaning: "dim" }, ...(counts.up > 0 ? [up] : [])];
  }
  const reasons = listReasons(state, fleet);
  return [
    { text: `● ${level}`, meaning: VERDICT_MEANINGS[level] },
    up,
    ...reasons.map((text): Piece => ({ text, meaning: "plain", canBeCut: true })),
  ];
}

/** The totals of what is up; nothing where nothing is. */
function createSummary(state: State, fleet: Fleet, bill: Bill): readonly Piece[] {
  if (fleet.counts.up === 0) return [];
  const { figures, kvCacheMaxOwner } = fleet.total;
  const { lastPoll, kvCache } = figures;
  const cached = divideReadings(
    lastPoll.cachedPromptTokensPerSecond,
    lastPoll.promptTokensPerSecond,
  );
  // A part that not all replicas report is no share of what all did.
  const isWhole = [lastPoll.cachedPromptTokensPerSecond, lastPoll.promptTokensPerSecond].every(
    (rate) => isPresent(rate) && rate.partial !== true,
  );
  const cachedText = isWhole && isPresent(cached) ? `, ${formatPercent(cached.value)} cached` : "";
  const owner = kvCacheMaxOwner === null || figures.replicaCount < 2
    ? ""
    : ` (${kvCacheMaxOwner.place})`;
  const several = figures.replicaCount > 1 ? "max " : "";
  const quantity = formatQuantity;
  return [
    { text: `running ${formatReading(figures.running, formatCount)}`, meaning: "plain" },
    {
      text: `waiting ${formatReading(figures.waiting, formatCount)}`,
      meaning: chooseWaitingColor(figures.waiting),
    },
    {
      text: `KV ${several}${formatReading(kvCache.maxRatio, formatPercent)}`,
      extra: owner,
      meaning: chooseKvCacheColor(kvCache.maxRatio),
    },
    {
      text: `prompt ${formatReading(lastPoll.promptTokensPerSecond, quantity)} tok/s`,
      extra: cachedText,
      meaning: "plain",
    },
    {
      text: `output ${formatReading(lastPoll.generationTokensPerSecond, quantity)} tok/s`,
      meaning: "plain",
    },
    { text: `${formatReading(lastPoll.requestsPerSecond, quantity)} req/s`, meaning: "plain" },
    { text: formatBurnRate(bill, state.pricing.currency), meaning: "plain" },
  ];
}

/** Endpoints that fail in the same way, by their kind of failure. */
function groupFailures(state: State): readonly (readonly EndpointState[])[] {
  const groups = new Map<string, EndpointState[]>();
  for (const known of state.endpoints) {
    if (known.failure === null) continue;
    const status = computeEndpointStatus(getScrapeRecord(known, state));
    const group = `${status} ${known.failure.kind}`;
    groups.set(group, [...groups.get(group) ?? [], known]);
  }
  return [...groups.values()];
}

/** One line for those that fail alike: the message of the first says what to do about each. */
function describeFailures(state: State, failing: readonly EndpointState[]): Piece {
  const [first] = failing;
  const status = computeEndpointStatus(getScrapeRecord(first, state));
  const places = failing.map(({ displayName }) => displayName);
  const shown = places.slice(0, MAX_PLACES).join(", ");
  const more = places.length > MAX_PLACES ? ` and ${places.length - MAX_PLACES} more` : "";
  const text = `${status}  ${shown}${more}  ${first.failure?.message ?? ""}`;
  return { text, meaning: status === "DOWN" ? "alert" : "warn" };
}

/** What is wrong with endpoints, and remarks about them. */
function listProblems(state: State): readonly Piece[] {
  const problems = groupFailures(state).map((failing) => describeFailures(state, failing));
  for (const known of state.endpoints) {
    const { endpoint, displayName, failure, scrape, askedAt } = known;
    if (failure === null && askedAt !== null && getScrapeRecord(known, state).hasFailed) {
      const text = `${displayName}  has not answered for ${formatDuration(state.now - askedAt)}`;
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

/** What is wrong, in lines of at most `width` cells. */
export function renderProblems(
  state: State,
  options: { readonly width: number; readonly paint: Paint },
): string[] {
  return listProblems(state).flatMap(({ text, meaning }) =>
    wrapText(text, options.width - 2, CONTINUED).map((line) => " " + options.paint(line, meaning))
  );
}

/** Title, verdict and summary, one line each. */
export type Header = readonly [title: string, verdict: string, summary: string];

/** What stands above the table. */
export function renderHeader(
  state: State,
  options: { readonly width: number; readonly paint: Paint },
): Header {
  const { fleet, bill } = state;
  const join = (pieces: readonly Piece[]): string => joinPieces(pieces, { ...options, gap: "   " });
  return [
    join(createTitle(state, fleet)),
    join(createVerdict(state, fleet)),
    join(createSummary(state, fleet, bill)),
  ];
}
