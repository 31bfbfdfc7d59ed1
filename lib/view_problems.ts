/**
 * The list of what is wrong: one entry per replica and chain of causes, the same trouble of three or
 * more replicas as one, then what else to know, then what is past.
 * @module
 */

import { EVENT_KINDS, type EventLine, STATUS_OF_RULE } from "./rules_alerts.ts";
import type { State } from "./state.ts";
import type { AdvisedCause } from "./state_advice.ts";
import type { Row } from "./state_fleet.ts";
import { cutText, measureWidth, padText, wrapText } from "./text.ts";
import { formatDuration, formatElapsed } from "./view_format.ts";
import { listRemarks } from "./view_header.ts";
import { describeLoad } from "./view_log.ts";
import { cutStyledLine, type Meaning, type Paint } from "./view_theme.ts";
import { formatAlert, formatEvent, formatOutlier } from "./view_words.ts";

interface Problem {
  /** `SLOW`, or empty for a further line of the same. */
  readonly kind: string;
  readonly place: string;
  readonly text: string;
  /** `1m 08s`; empty if unknown. */
  readonly span: string;
  readonly meaning: Meaning;
}

/** From so many replicas on, the same trouble is one entry. */
const MIN_FOLDED = 3;
const MAX_PLACES = 6;
const KIND_WIDTH = 8;

function listPlaces(rows: readonly Row[]): string {
  const shown = rows.slice(0, MAX_PLACES).map(({ place }) => place).join(", ");
  return rows.length > MAX_PLACES ? `${shown}, …` : shown;
}

function nameCause({ signal }: AdvisedCause): string {
  switch (signal) {
    case "down":
      return "DOWN";
    case "stale":
      return "STALE";
    case "recent":
      return "";
    default:
      return STATUS_OF_RULE[signal];
  }
}

function describeCause(cause: AdvisedCause, row: Row, state: State): string {
  const { signal, verdict, key } = cause;
  if (signal === "down" || signal === "stale") {
    const { fault } = row;
    if (fault === null) return "has not answered";
    if (row.death !== null) return `died: ${row.death.text}`;
    // Its place stands before it.
    return fault.message.replace(/^"[^"]*" /, "");
  }
  const alert = state.evaluation.alerts.find(({ first }) =>
    first.key === key && first.rule === signal
  );
  return alert === undefined || verdict === null ? "" : formatAlert(alert, state);
}

function formatSince(since: number | null, state: State): string {
  return since === null ? "" : formatDuration(state.now - since);
}

function getMeaning({ level }: AdvisedCause): Meaning {
  return level === "critical" ? "alert" : "warn";
}

function describeRow(row: Row, causes: readonly AdvisedCause[], state: State): Problem[] {
  const [first] = causes;
  const said = causes.map((cause) => describeCause(cause, row, state));
  const meaning = getMeaning(first);
  return [
    {
      kind: nameCause(first),
      place: row.place,
      text: [...new Set(said)].filter((text) => text !== "").join("; "),
      span: formatSince(first.since, state),
      meaning,
    },
    ...row.slowGpus.map((outlier): Problem => ({
      ...{ kind: "", place: "", span: "" },
      text: `← GPU ${outlier.gpuIndex} ${formatOutlier(outlier)}`,
      meaning,
    })),
  ];
}

function foldRows(
  entries: readonly (readonly [Row, readonly AdvisedCause[]])[],
  state: State,
): Problem {
  const [[, [first]]] = entries;
  const rows = entries.map(([row]) => row);
  const times = entries.flatMap(([, [{ since }]]) => since ?? []);
  const kinds = new Set(rows.map(({ fault }) => fault?.kind));
  const [kind] = kinds;
  const why = kinds.size === 1 && kind !== undefined ? ` ${kind.replaceAll("_", " ")}` : "";
  return {
    kind: nameCause(first),
    place: "",
    text: `${rows.length} of ${state.fleet.rows.length} replicas${why} (${listPlaces(rows)})`,
    span: times.length === 0 ? "" : formatSince(Math.min(...times), state),
    meaning: getMeaning(first),
  };
}

/** The current causes of the verdict. */
function listCauses(state: State): Problem[] {
  const { fleet } = state;
  const current = fleet.verdict.causes.filter(({ signal }) => signal !== "recent");
  const ofRows = fleet.rows.flatMap((row): (readonly [Row, readonly AdvisedCause[]])[] => {
    const own = current.filter(({ key }) => key === row.key || key === row.state.endpoint.key);
    return own.length === 0 ? [] : [[row, own]];
  });
  const chains = Map.groupBy(
    ofRows,
    ([, own]) => own.map(({ signal, level }) => `${level} ${signal}`).join(" "),
  );
  const order = (own: readonly AdvisedCause[]): number => current.indexOf(own[0]);
  return [...chains.values()].sort(([[, a]], [[, b]]) => order(a) - order(b)).flatMap((chain) =>
    chain.length >= MIN_FOLDED
      ? [foldRows(chain, state)]
      : chain.flatMap(([row, own]) => describeRow(row, own, state))
  );
}

function listLoading({ fleet: { rows } }: State): Problem[] {
  return rows.flatMap(({ load, place }): Problem[] =>
    load === null
      ? []
      : [{ kind: "LOAD", place, text: describeLoad(load), span: "", meaning: "name" }]
  );
}

/** What the verdict does not count. */
function describeRemarks(state: State): Problem[] {
  return listRemarks(state).map(({ text, meaning = "plain" }) => {
    return { kind: "NOTE", place: "", text, span: "", meaning };
  });
}

/** Newest first. */
function listPast(state: State): Problem[] {
  const ended = state.fleet.events.filter((line): line is EventLine & { endedAt: number } =>
    line.endedAt !== null && EVENT_KINDS[line.kind] === "alert"
  );
  return ended.toSorted((a, b) => b.endedAt - a.endedAt).map((line): Problem => {
    const [clock, , place, , details] = formatEvent(line, state);
    const span = formatElapsed(" for ", line.endedAt - line.beganAt);
    const text = `from ${clock}${span} ${details}`.trimEnd();
    return { kind: line.kind, place, text, span: "", meaning: "dim" };
  });
}

/** Counts troubled replicas, folded ones included. */
export function countProblems({ fleet: { verdict } }: State): number {
  return new Set(verdict.causes.flatMap(({ key, signal }) => signal === "recent" ? [] : key)).size;
}

/** At most `most` lines, the last one cut. */
function wrapProblem(text: string, width: number, most: number): string[] {
  const lines = wrapText(text, width, "  ");
  if (lines.length <= most) return lines;
  const rest = [lines[most - 1], ...lines.slice(most).map((line) => line.trimStart())].join(" ");
  return [...lines.slice(0, most - 1), cutText(rest, width)];
}

function renderProblem(
  { kind, place, text, span, meaning }: Problem,
  placeWidth: number,
  { width, most, paint }: { readonly width: number; readonly most: number; readonly paint: Paint },
): string[] {
  const name = cutText(place, placeWidth);
  const start = ` ${padText(kind, KIND_WIDTH)} ${
    placeWidth > 0 ? padText(name, placeWidth) + "  " : ""
  }`;
  const indent = measureWidth(start);
  const room = Math.max(0, width - indent - (span === "" ? 0 : measureWidth(span) + 2) - 1);
  const tail = meaning === "dim" ? "dim" : "plain";
  const [first, ...others] = wrapProblem(text, room, most);
  return [
    paint(start, meaning) + paint(padText(first, room), tail) +
    (span === "" ? "" : "  " + paint(span, "dim")),
    ...others.map((line) => " ".repeat(indent) + paint(line, tail)),
  ];
}

/**
 * At most `lines` lines; the last one tells how many entries are left out. What is wrong now is
 * written in full before more than one line goes to what is past.
 */
export function renderProblemList(
  state: State,
  space: { readonly width: number; readonly lines: number; readonly paint: Paint },
): string[] {
  const { width, lines, paint } = space;
  const now = [...listCauses(state), ...listLoading(state), ...describeRemarks(state)];
  const past = listPast(state);
  const all = [...now, ...past];
  const placeWidth = Math.min(
    Math.floor(width / 4),
    Math.max(0, ...all.slice(0, lines).map(({ place }) => measureWidth(place))),
  );
  const drawn: string[] = [];
  for (const [index, one] of all.entries()) {
    const left = lines - drawn.length;
    const after = all.length - index - 1;
    if (left <= 1 && after > 0) {
      if (left > 0) drawn.push(paint(` … ${after + 1} more: key 6`, "dim"));
      break;
    }
    const kept = index < now.length ? now.length - index - 1 + Math.min(1, past.length) : after;
    drawn.push(...renderProblem(one, placeWidth, { width, most: Math.max(1, left - kept), paint }));
  }
  if (all.length === 0) drawn.push(paint(` ${describeCalm(state)}`, "dim"));
  return drawn.slice(0, Math.max(0, lines)).map((line) => cutStyledLine(line, width));
}

/** `comparing from 30 s on (12 s watched)`, `4 replicas, even`. */
function describeCalm(state: State): string {
  const { fleet } = state;
  const { level, watched } = fleet.verdict;
  if (level === "PENDING" || level === "NONE") return "nothing known yet";
  if (level === "WATCHING") return `comparing from 30 s on (${Math.floor(watched)} s watched)`;
  const compared = fleet.groups.filter(({ figures }) => figures.replicaCount > 1)
    .map(({ figures }) => figures.replicaCount).reduce((a, b) => a + b, 0);
  return compared === 0 ? "nothing wrong" : `nothing wrong: ${compared} replicas, even`;
}
