/**
 * The state into what is shown: a frame for the screen, or lines of plain text.
 *
 * Layer 4, pure. Decides which view is shown and shares out the height: title,
 * verdict, summary and key line always stand, then the table or the detail
 * view, then what is wrong. Nothing is wider than the screen and nothing is
 * drawn below it. Drawing changes nothing.
 *
 * @module
 */

import { judgeKvCache, judgeWaiting, KV_ALERT_RATIO, LONG_QUEUE } from "./columns.ts";
import { renderDetail } from "./detail_view.ts";
import {
  formatClock,
  formatCount,
  formatInterval,
  formatPercent,
  formatQuantity,
  formatReading,
} from "./format.ts";
import { cutStyledLine, type Frame, type Meaning, type Paint } from "./frame.ts";
import { convertToAscii } from "./glyphs.ts";
import { judgeEndpoint } from "./health.ts";
import {
  createOverview,
  describeAddress,
  type Overview,
  readRecord,
  type Row,
  shortenModelName,
} from "./overview.ts";
import type { TerminalSize } from "./platform.ts";
import { divideReadings, isPresent } from "./reading.ts";
import type { EndpointState, State } from "./state.ts";
import { renderTable } from "./table_view.ts";
import { cutText, measureWidth } from "./text.ts";

/** How things are to be shown. */
export interface ViewOptions {
  readonly output: "auto" | "table" | "detail";
  readonly paint: Paint;
  /** Whether only ASCII may be drawn. */
  readonly ascii: boolean;
}

/** Width of plain text that goes to no terminal: wide enough for every column. */
const PLAIN_WIDTH = 320;

const KEY_LINE = " q Quit";

/** Places that are named one by one where several rows share a condition. */
const MAX_PLACES = 3;

/** Lines of a frame besides the table's rows: title, verdict, summary, blank, heading, totals, blank, keys. */
const FIXED_LINES = 8;

interface Piece {
  readonly text: string;
  readonly meaning: Meaning;
}

/** Pieces side by side; one that does not fit any more is left out. The first is cut. */
function joinPieces(
  pieces: readonly Piece[],
  options: { readonly width: number; readonly gap: string; readonly paint: Paint },
): string {
  const { width, gap, paint } = options;
  let line = "";
  let used = 0;
  for (const { text, meaning } of pieces) {
    if (text === "") continue;
    const before = used === 0 ? " " : gap;
    const room = width - used - before.length;
    if (measureWidth(text) > room) {
      if (used > 0) continue;
      line += before + paint(cutText(text, Math.max(0, room)), meaning);
      break;
    }
    line += before + paint(text, meaning);
    used += before.length + measureWidth(text);
  }
  return line;
}

function describeModels(overview: Overview): string {
  const names = overview.groups.map(({ modelName }) => shortenModelName(modelName));
  return names.join(", ");
}

function createTitle(state: State, overview: Overview): readonly Piece[] {
  const { total } = overview.counts;
  return [
    { text: "vllm-htop", meaning: "title" },
    { text: state.isDemo ? "demo: a simulated fleet" : "", meaning: "warn" },
    { text: `${total} ${total === 1 ? "replica" : "replicas"}`, meaning: "plain" },
    { text: describeModels(overview), meaning: "name" },
    { text: formatClock(state.nowEpoch, state.utcOffset), meaning: "dim" },
    {
      text: state.interval === 0 ? "one scrape" : `every ${formatInterval(state.interval)}`,
      meaning: "dim",
    },
  ];
}

/** The places of the rows: all of a few, else the first ones and how many more. */
function listPlaces(rows: readonly Row[]): string {
  const shown = rows.slice(0, MAX_PLACES).map(({ place }) => place).join(", ");
  const more = rows.length - MAX_PLACES;
  return more > 0 ? `${shown} and ${more} more` : shown;
}

function describeRows(rows: readonly Row[], condition: string): string {
  if (rows.length === 0) return "";
  return `${listPlaces(rows)} ${rows.length === 1 ? "is" : "are"} ${condition}`;
}

/** Why the rows are down, in brackets, where it is the same for all. */
function describeCause(rows: readonly Row[]): string {
  const kinds = new Set(rows.map(({ state }) => state.failure?.kind));
  const [kind] = kinds;
  return kinds.size === 1 && kind !== undefined ? ` (${kind.replaceAll("_", " ")})` : "";
}

/** The one thing to read first: the word, and what it rests on. */
function createVerdict(overview: Overview): readonly Piece[] {
  const { counts, rows, total } = overview;
  const down = rows.filter(({ status }) => status === "DOWN");
  const stale = rows.filter(({ status }) => status === "STALE");
  const { waiting, kvCache } = total.figures;
  const reasons = [
    describeRows(down, `down${describeCause(down)}`),
    describeRows(stale, "stale"),
    isPresent(kvCache.maxRatio) && kvCache.maxRatio.value > KV_ALERT_RATIO
      ? `KV cache of ${total.kvCacheMaxOwner?.place ?? "one"} at ${
        formatPercent(kvCache.maxRatio.value)
      }`
      : "",
    isPresent(waiting) && waiting.value > LONG_QUEUE ? `${formatCount(waiting.value)} waiting` : "",
  ].filter((reason) => reason !== "");
  if (reasons.length === 0 && counts.up === 0) {
    return [{ text: "● STARTING: waiting for the first answer", meaning: "dim" }];
  }
  const isCritical = down.length > 0 || (counts.up === 0 && stale.length > 0);
  const [word, meaning]: readonly [string, Meaning] = isCritical
    ? ["● CRITICAL", "alert"]
    : reasons.length > 0
    ? ["● DEGRADED", "warn"]
    : ["● HEALTHY", "ok"];
  return [
    { text: word, meaning },
    ...reasons.map((text): Piece => ({ text, meaning: "plain" })),
    { text: `${counts.up} of ${counts.total} up`, meaning: "dim" },
  ];
}

/** The totals of what is up; nothing where nothing is. */
function createSummary(overview: Overview): readonly Piece[] {
  if (overview.counts.up === 0) return [];
  const { figures, kvCacheMaxOwner } = overview.total;
  const { lastPoll, kvCache } = figures;
  const cached = divideReadings(
    lastPoll.cachedPromptTokensPerSecond,
    lastPoll.promptTokensPerSecond,
  );
  const cachedText = isPresent(cached) ? `, ${formatPercent(cached.value)} cached` : "";
  const owner = kvCacheMaxOwner === null || figures.replicaCount < 2
    ? ""
    : ` (${kvCacheMaxOwner.place})`;
  const several = figures.replicaCount > 1 ? "max " : "";
  const quantity = formatQuantity;
  return [
    { text: `running ${formatReading(figures.running, formatCount)}`, meaning: "plain" },
    {
      text: `waiting ${formatReading(figures.waiting, formatCount)}`,
      meaning: judgeWaiting(figures.waiting),
    },
    {
      text: `KV ${several}${formatReading(kvCache.maxRatio, formatPercent)}${owner}`,
      meaning: judgeKvCache(kvCache.maxRatio),
    },
    {
      text: `prompt ${formatReading(lastPoll.promptTokensPerSecond, quantity)} tok/s${cachedText}`,
      meaning: "plain",
    },
    {
      text: `output ${formatReading(lastPoll.generationTokensPerSecond, quantity)} tok/s`,
      meaning: "plain",
    },
    { text: `${formatReading(lastPoll.requestsPerSecond, quantity)} req/s`, meaning: "plain" },
  ];
}

/** Endpoints that fail in the same way, by their kind of failure. */
function groupFailures(state: State): readonly (readonly EndpointState[])[] {
  const groups = new Map<string, EndpointState[]>();
  for (const known of state.endpoints) {
    if (known.failure === null) continue;
    const status = judgeEndpoint(readRecord(known, state.now));
    const group = `${status} ${known.failure.kind}`;
    groups.set(group, [...groups.get(group) ?? [], known]);
  }
  return [...groups.values()];
}

/** One line for those that fail alike: the message of the first says what to do about each. */
function describeFailures(state: State, failing: readonly EndpointState[]): Piece {
  const [first] = failing;
  const status = judgeEndpoint(readRecord(first, state.now));
  const places = failing.map((known) => describeAddress(state, known.endpoint));
  const shown = places.slice(0, MAX_PLACES).join(", ");
  const more = places.length > MAX_PLACES ? ` and ${places.length - MAX_PLACES} more` : "";
  const text = `${status}  ${shown}${more}  ${first.failure?.message ?? ""}`;
  return { text, meaning: status === "DOWN" ? "alert" : "warn" };
}

/** What is wrong with endpoints, and remarks about them. */
function listProblems(state: State): readonly Piece[] {
  const problems = groupFailures(state).map((failing) => describeFailures(state, failing));
  for (const { endpoint, failure, scrape } of state.endpoints) {
    const address = describeAddress(state, endpoint);
    if (failure === null && scrape !== null && scrape.badLineCount > 0) {
      const count = formatCount(scrape.badLineCount);
      const text = `${address}  ${count} lines of its metrics could not be read`;
      problems.push({ text, meaning: "warn" });
    }
    for (const warning of endpoint.warnings) {
      problems.push({ text: `${address}  ${warning}`, meaning: "warn" });
    }
  }
  return [...problems, ...state.notices.map((text): Piece => ({ text, meaning: "dim" }))];
}

/** A text on as many lines as it needs, broken at blanks. */
function wrapText(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && measureWidth(line) + 1 + measureWidth(word) > width) {
      lines.push(cutText(line, width));
      line = "    ";
    }
    line += (line.trim() === "" ? "" : " ") + word;
  }
  return [...lines, cutText(line, width)];
}

function renderProblems(
  state: State,
  options: { readonly width: number; readonly paint: Paint },
): string[] {
  return listProblems(state).flatMap(({ text, meaning }) =>
    wrapText(text, options.width - 2).map((line) => " " + options.paint(line, meaning))
  );
}

function choosesDetail(overview: Overview, output: ViewOptions["output"]): boolean {
  return output === "detail" || (output === "auto" && overview.rows.length < 2);
}

function renderBody(
  state: State,
  overview: Overview,
  options: ViewOptions & { readonly width: number; readonly maxRows: number },
): string[] {
  const problems = renderProblems(state, options);
  if (!choosesDetail(overview, options.output)) {
    const table = renderTable(overview, options);
    return [...table, ...(problems.length > 0 ? ["", ...problems] : [])];
  }
  const several = overview.rows.length > 1;
  const details = overview.rows.flatMap((row) => [
    ...(several ? [options.paint(row.name, "title")] : []),
    ...renderDetail(row, state, options.paint).map((line) => " " + line),
  ]);
  return [...details, ...problems];
}

function renderHead(
  state: State,
  overview: Overview,
  options: { readonly width: number; readonly paint: Paint },
): string[] {
  const join = (pieces: readonly Piece[]): string => joinPieces(pieces, { ...options, gap: "   " });
  return [
    join(createTitle(state, overview)),
    join(createVerdict(overview)),
    join(createSummary(overview)),
    "",
  ];
}

/**
 * The state as lines of text: every row, and every column that fits `width`.
 *
 * @param options.width Columns of the terminal; all columns fit where it is left out.
 */
export function renderText(
  state: State,
  options: ViewOptions & { readonly width?: number },
): readonly string[] {
  const overview = createOverview(state);
  const all = { ...options, width: options.width ?? PLAIN_WIDTH, maxRows: Infinity };
  const lines = [...renderHead(state, overview, all), ...renderBody(state, overview, all)];
  return lines.map((line) => (options.ascii ? convertToAscii(line) : line).trimEnd());
}

/** The lines that fit, the last of which says how many do not. */
function cutLines(lines: readonly string[], room: number, paint: Paint): string[] {
  if (lines.length <= room) return [...lines];
  const kept = lines.slice(0, Math.max(0, room - 1));
  const note = paint(` … ${lines.length - kept.length} more lines`, "dim");
  return [...kept, note].slice(0, room);
}

/** The state as a frame of exactly the given size. */
export function renderFrame(state: State, size: TerminalSize, options: ViewOptions): Frame {
  const { columns: width, rows: height } = size;
  const overview = createOverview(state);
  const problemLines = renderProblems(state, { ...options, width }).length;
  const groupLines = overview.groups.length > 1 ? overview.groups.length : 0;
  const roomForRows = height - FIXED_LINES - groupLines - problemLines;
  const all = { ...options, width, maxRows: Math.max(3, roomForRows) };
  const head = renderHead(state, overview, all);
  const body = renderBody(state, overview, all);
  const content = cutLines([...head, ...body], Math.max(0, height - 1), options.paint);
  while (content.length < height - 1) content.push("");
  const lines = [...content, options.paint(KEY_LINE, "dim")].slice(-height)
    .map((line) => cutStyledLine(line, width));
  return { lines: options.ascii ? lines.map(convertToAscii) : lines };
}
