/**
 * The verdict: how the fleet is, why, and one thing to do about it.
 * @module
 */

import { isPresent } from "./reading.ts";
import { type EventKind, STATUS_OF_RULE } from "./rules_alerts.ts";
import { type Cause, type FleetVerdict, isAwaited } from "./rules_status.ts";
import { describeRule, MIN_SPAN } from "./rules_table.ts";
import type { State } from "./state.ts";
import type { Fleet, Row } from "./state_fleet.ts";
import { formatElapsed, formatTemperature } from "./view_format.ts";
import { isConnecting } from "./view_host.ts";
import { countUp, describeDeath, describeLoads } from "./view_log.ts";
import { joinPieces, measurePiece, type Piece } from "./view_pieces.ts";
import type { Meaning, Paint } from "./view_theme.ts";
import { formatAlert, formatFinding } from "./view_words.ts";

const MAX_PLACES = 3;

/** `:8000, :8001, :8002 and 4 more`. */
export function joinPlaces(places: readonly string[]): string {
  const shown = places.slice(0, MAX_PLACES).join(", ");
  const more = places.length - MAX_PLACES;
  return more > 0 ? `${shown} and ${more} more` : shown;
}

/** The failure in brackets, if it is the same for all. */
function describeCause(rows: readonly Row[]): string {
  const kinds = new Set(rows.map(({ fault }) => fault?.kind));
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
  STALE: "stale again and again",
};

/** What the recent cause that ended last was; causes are of one replica. */
function findPast(causes: readonly Cause[], { evaluation: { events } }: State): string {
  const [{ key }] = causes;
  const last = Math.max(...causes.map(({ since }) => since ?? -Infinity));
  const line = events.lines.find(({ kind, subject, endedAt }) =>
    subject.key === key && endedAt === last && PAST[kind] !== undefined
  );
  return (line && PAST[line.kind]) ?? "in trouble";
}

/** ` ← GPU 2 throttled 84 °C`; empty if no GPU of it is slow. */
function nameSlowGpu({ slowGpus: [outlier] }: Row): string {
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
  if (signal === "recent") return `${places} ${were} ${findPast(causes, state)}`;
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
  return `${summary}${span}${nameSlowGpu(rows[0])}: ${formatAlert(alert, state)}`;
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
      own[0].signal === "recent"
        ? findPast(own, state)
        : own.map(({ signal, level }) => `${level} ${signal}`).join(" "),
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

/** Between pieces. */
const GAP = "   ";

function say(advice: string): Piece {
  return { text: advice === "" ? "" : `→ ${advice}`, canBeCut: true };
}

/** Alternatives are separated by commas. */
function shorten(advice: string): string {
  return advice.split(", ")[0];
}

function fitsIn(width: number, pieces: readonly Piece[]): boolean {
  const needed = pieces.filter(({ text }) => text !== "")
    .reduce((sum, piece) => sum + measurePiece(piece) + GAP.length, 1 - GAP.length);
  return needed <= width;
}

/** A scan that finds no server leaves a guess, which refuses until a server starts there. */
function describeWait({ endpoints }: State): string {
  return endpoints.every(isAwaited)
    ? `● NO SERVER FOUND: waiting for one at ${joinPlaces(endpoints.map((one) => one.displayName))}`
    : "● STARTING: waiting for the first answer";
}

type VerdictPieces = readonly [level: Piece, up: Piece, ...reasons: Piece[]];

/** Drops evidence, count, duration, then alternatives of the advice, until it fits. */
function placeAdvice(pieces: VerdictPieces, advice: string, width: number): readonly Piece[] {
  const [level, up, first, ...others] = pieces;
  if (advice === "" || first === undefined) return pieces;
  const brief = { ...first, text: first.text.split(": ")[0] };
  const briefest = { ...first, text: brief.text.replace(/ for [^←]*?(?= ←|$)/, "") };
  const choices: readonly (readonly Piece[])[] = [
    [level, up, first, say(advice)],
    [level, up, brief, say(advice)],
    [level, brief, say(advice)],
    [level, briefest, say(advice)],
    ...[[level, up, brief], [level, brief], [level, briefest]]
      .map((some) => [...some, say(shorten(advice))]),
  ];
  const fitting = choices.find((choice) => fitsIn(width, choice));
  return [...fitting ?? choices[choices.length - 1], ...others];
}

/** The cause with its evidence comes before the advice; the second line may be empty. */
function placeInTwoLines(
  pieces: VerdictPieces,
  advice: string,
  width: number,
): readonly (readonly Piece[])[] {
  const [level, up, first, ...others] = pieces;
  const all = [level, up, first, say(advice), ...others].filter((piece) => piece !== undefined);
  if (first === undefined || fitsIn(width, all)) return [all, []];
  if (fitsIn(width, [level, up, first])) return [[level, up, first], [say(advice), ...others]];
  const [brief, ...rest] = first.text.split(": ");
  const evidence: Piece = { text: rest.join(": "), canBeCut: true };
  const cause = { ...first, text: brief };
  const above = fitsIn(width, [level, up, cause]) ? [level, up, cause] : [level, cause];
  const isLong = !fitsIn(width, [evidence, say(advice)]);
  return [above, [evidence, say(isLong ? shorten(advice) : advice), ...others]];
}

function listPieces(state: State): VerdictPieces {
  const { counts, verdict: { level, watched } } = state.fleet;
  const reasons = listReasons(state).map((text): Piece => ({ text, canBeCut: true }));
  const progress = level === "WATCHING" ? ` (${Math.floor(watched)} of ${MIN_SPAN} s)` : "";
  return [
    { text: `● ${level}${progress}`, meaning: VERDICT_MEANINGS[level] },
    { text: countUp(counts), meaning: "dim" },
    ...reasons,
  ];
}

/** Level, cause, evidence and one thing to do, in one line, or in two with more of it. */
export function renderVerdict(
  state: State,
  { width, lines, paint }: {
    readonly width: number;
    readonly lines: 1 | 2;
    readonly paint: Paint;
  },
): readonly string[] {
  const { verdict, verdict: { level }, counts } = state.fleet;
  const draw = (pieces: readonly Piece[]): string => joinPieces(pieces, { width, gap: GAP, paint });
  const blank = lines === 1 ? [] : [""];
  if (level === "NONE") {
    const text = isConnecting(state) ? "● CONNECTING" : "● NO SERVER FOUND";
    return [draw([{ text, meaning: VERDICT_MEANINGS[level] }]), ...blank];
  }
  const pieces = listPieces(state);
  if (level === "PENDING") {
    const load = describeLoads(state);
    const start: readonly Piece[] = load === ""
      ? [{ text: describeWait(state), meaning: "dim" }]
      : [{ text: "● LOADING", meaning: "name" }, { text: load, canBeCut: true }];
    return [draw([...start, ...counts.up > 0 ? [pieces[1]] : []]), ...blank];
  }
  const advice = findAdviceText(verdict);
  return lines === 1
    ? [draw(placeAdvice(pieces, advice, width))]
    : placeInTwoLines(pieces, advice, width).map(draw);
}
