/**
 * Lays out the state as a scene, then draws frames of it; selecting and scrolling reuse the scene.
 * If the height is short, the table's heading, one row and ALL come first, then the verdict, which
 * takes the title's line if there is no other, then summary, problems and panels.
 * @module
 */

import type { TerminalSize } from "./platform.ts";
import { getSceneState, type State } from "./state.ts";
import { type Fleet, getSectionKey, type Row } from "./state_fleet.ts";
import {
  type ClickTarget,
  findSelected,
  findSelectedEvent,
  type Ui,
  type UiContext,
} from "./state_ui.ts";
import type { Frame } from "./terminal.ts";
import { sanitizeText } from "./text.ts";
import { choosesDetail, getOffer, type ViewOptions } from "./view.ts";
import { drawRule, renderAreas, reserveLines, TWO_COLUMN_WIDTH } from "./view_areas.ts";
import { renderVerdict } from "./view_verdict.ts";
import { startSort } from "./view_column_table.ts";
import { isInTrouble, PRESETS } from "./view_columns.ts";
import { type Header, renderHeader, renderProblems } from "./view_header.ts";
import { renderColumnMenu, renderColumnNote, renderHelp } from "./view_help.ts";
import { renderKeyLine } from "./view_key_line.ts";
import { renderDetailPage } from "./view_page_detail.ts";
import { renderFactsPage } from "./view_page_facts.ts";
import { renderLogPage } from "./view_log.ts";
import { PAGES, renderTabs } from "./view_pages.ts";
import { renderEventsPage } from "./view_panels.ts";
import {
  type Filter,
  listLabelNames,
  listVisibleRows,
  parseFilter,
  type VisibleRow,
} from "./view_rows.ts";
import { convertSigns } from "./view_signs.ts";
import { chooseColumns, chooseRows, listWanted, renderTable } from "./view_table.ts";
import {
  createPaint,
  cutStyledLine,
  padStyledLine,
  type Paint,
  repaintLine,
} from "./view_theme.ts";

/** Verdict, heading, one row and ALL. */
const ROOM_FOR_VERDICT = 4;

interface Stage {
  readonly state: State;
  readonly listed: readonly VisibleRow[];
  readonly filter: Filter;
  readonly width: number;
  readonly paint: Paint;
  readonly size: TerminalSize;
  readonly options: ViewOptions;
}

/** A screen laid out, to be drawn with any selection and scroll. */
export interface Scene extends Stage {
  readonly title: Part;
  readonly keys: Part;
  readonly body: Body;
}

/** The lines between title and keys. */
type Body = { readonly kind: "menu" } | LongText | TableBody;

/** Scrolls in `room` lines; those `above` stay. */
interface LongText {
  readonly kind: "text";
  /** Of the lines, if one of them is selected. */
  readonly eventKeys?: readonly string[];
  readonly above: readonly string[];
  readonly lines: readonly string[];
  readonly room: number;
}

interface TableBody extends Part {
  readonly kind: "table";
  /** Line of the table's first row. */
  readonly firstRow: number;
  /** Indexes of the rows drawn. */
  readonly shown: readonly number[];
}

export interface ScreenFrame extends Frame {
  readonly targets: readonly ClickTarget[];
}

/** Target rows count from the first line. */
interface Part {
  readonly lines: readonly string[];
  readonly targets?: readonly ClickTarget[];
}

/** The filter stands in the rule above the table, so that no line moves. */
function renderTableTitle({ state, listed, filter: { remarks }, paint }: Stage): string {
  const { filter, isTyping } = state.ui;
  if (filter === "" && !isTyping) return "replicas";
  const shown = listed.filter(({ kind }) => kind === "row").length;
  const [remark] = remarks;
  const hint = remark === undefined ? "" : `   ${remark}`;
  const note = paint(`   ${shown} of ${state.fleet.rows.length} rows`, "dim") + paint(hint, "warn");
  return `${paint("Filter:", "title")} ${sanitizeText(filter)}${isTyping ? "_" : ""}${note}`;
}

/** Heading and ALL. */
const LINES_AROUND_ROWS = 2;
/** Two of a narrow screen, pulse and rule. */
const LINES_WITH_VERDICT = 4;

/** The table comes first, then verdict, pulse and rule, then the areas. */
function layOutOverview(scene: Stage, [, line, pulse]: Header, room: number): TableBody {
  const { state, listed, width, paint } = scene;
  const { ui, fleet } = state;
  const isTyped = ui.filter !== "" || ui.isTyping;
  const rule = drawRule(renderTableTitle(scene), width, paint);
  // One row, at least.
  const most = Math.max(0, room - LINES_AROUND_ROWS - 1);
  // By the whole fleet: a filter moves nothing.
  const rowCount = Math.max(fleet.rows.length, listed.length);
  const mostRows = fleet.rows.length + fleet.groups.length;
  const reserved = ui.isZoomed ? 0 : reserveLines(room, width);
  const hasTwo = width < TWO_COLUMN_WIDTH && !ui.isZoomed &&
    room >= LINES_WITH_VERDICT + mostRows + LINES_AROUND_ROWS + reserved;
  const verdict = hasTwo ? renderVerdict(state, { width, lines: 2, paint }) : [line];
  const above = [...verdict, ...(isTyped ? [rule, pulse] : [pulse, rule])].slice(0, most);
  const ordered = [...verdict, pulse, rule].filter((line) => above.includes(line));
  const left = room - ordered.length - LINES_AROUND_ROWS;
  const wanted = ui.isZoomed ? left : rowCount;
  const maxLines = Math.max(1, Math.min(wanted, left - reserved));
  const table = renderTable(fleet, listed, {
    ...{ width, paint, ui, maxLines, offer: getOffer(state), isLive: true },
  });
  const blank = Array.from({ length: maxLines + LINES_AROUND_ROWS - table.lines.length }, () => "");
  const below = left - maxLines;
  const areas = ui.isZoomed || below < 2 ? [] : renderAreas(state, { width, lines: below, paint });
  const targets = table.targets.map((target) => ({ ...target, row: target.row + ordered.length }));
  return {
    kind: "table",
    lines: [...ordered, ...table.lines, ...blank, ...areas],
    targets,
    firstRow: ordered.length + 1,
    shown: table.shown,
  };
}

function scrollLines(
  lines: readonly string[],
  scroll: number,
  { room, paint }: { readonly room: number; readonly paint: Paint },
): string[] {
  const top = Math.max(0, Math.min(scroll, lines.length - room));
  return cutLines(lines.slice(top), room, paint);
}

/** The last line says how many lines are cut. */
function cutLines(lines: readonly string[], room: number, paint: Paint): string[] {
  if (lines.length <= room) return [...lines];
  const kept = lines.slice(0, Math.max(0, room - 1));
  const note = paint(` … ${lines.length - kept.length} more lines`, "dim");
  return [...kept, note].slice(0, Math.max(0, room));
}

function listRows(line: VisibleRow, { rows }: Fleet, ui: Ui): readonly Row[] {
  return line.kind === "row"
    ? [line.row]
    : rows.filter((row) => getSectionKey(row, ui.grouping) === line.group.key);
}

/** Of the selected replica or group, or of all replicas if none was opened. */
function renderDetails(scene: Stage, room: number): string[] {
  const { state, listed, paint, width } = scene;
  const { ui, fleet } = state;
  const problems = renderProblems(state, scene);
  const line = listed[findSelected(ui, listed.map(({ key }) => key))];
  const rows = ui.screen === "detail" && line !== undefined
    ? listRows(line, fleet, ui)
    : fleet.rows;
  // Graphs grow only if there is one replica; the last line is for what else is wrong.
  const lines = rows.length === 1 ? room - 1 : 0;
  const draw = ui.screen === "detail" && ui.showsFacts ? renderFactsPage : renderDetailPage;
  return [...draw(rows, state, { width, lines, paint }), ...problems];
}

function layOutBody(scene: Stage, header: Header, room: number): Body {
  const { state, paint, options, width } = scene;
  const { ui } = state;
  if (ui.screen === "help") {
    return {
      kind: "text",
      above: [],
      lines: renderHelp(ui, { width, paint, isReplay: state.replay !== undefined }),
      room,
    };
  }
  if (ui.screen === "columns") return { kind: "menu" };
  if (ui.screen === "log") {
    const line = scene.listed[findSelected(ui, scene.listed.map(({ key }) => key))];
    const lines = renderLogPage(line?.kind === "row" ? line.row : null, state, { width, paint });
    return { kind: "text", above: [header[1]], lines, room: room - 1 };
  }
  const common = { kind: "text", above: [header[1]], room: room - 1 } as const;
  if (choosesDetail(state, options.output)) {
    return { ...common, lines: renderDetails(scene, room - 1) };
  }
  if (ui.page === "events") {
    const { title, lines, keys } = renderEventsPage(state, paint);
    return { kind: "text", above: [header[1], title], lines, eventKeys: keys, room: room - 2 };
  }
  const page = PAGES.find(({ id }) => id === ui.page)?.render ?? null;
  if (page !== null) return { ...common, lines: page(state, { width, lines: room - 1, paint }) };
  return layOutOverview(scene, header, room);
}

/** The settings besides the filter that decide which rows are listed. */
const LISTING_KEYS = ["sort", "isGrouped", "foldedGroups"] as const;

/** Reuses the rows of the previous scene if they cannot have changed. */
function listRowsOf(state: State, before: Scene | null): Pick<Stage, "filter" | "listed"> {
  const { fleet, ui } = state;
  const known = before?.state;
  const filter = before !== null && known?.ui.filter === ui.filter && fleet === known.fleet
    ? before.filter
    : parseFilter(ui.filter, listLabelNames(fleet));
  const isSame = before !== null && filter === before.filter &&
    LISTING_KEYS.every((key) => ui[key] === known?.ui[key]);
  return { filter, listed: isSame ? before.listed : listVisibleRows(fleet, ui, filter) };
}

/** `before` is the previous scene, whose rows may be reused. */
export function layOutScene(
  state: State,
  size: TerminalSize,
  options: ViewOptions,
  before: Scene | null = null,
): Scene {
  const picture = getSceneState(state);
  const paint = createPaint(options.depth, picture.ui.theme);
  const rows = listRowsOf(picture, before);
  const stage: Stage = { state: picture, ...rows, width: size.columns, paint, size, options };
  const tabs = renderTabs(picture.ui.page, { width: Math.floor(size.columns / 2), paint });
  const titleWidth = size.columns - tabs.width;
  const header = renderHeader(picture, {
    ...stage,
    titleWidth: titleWidth - (tabs.width > 0 ? 1 : 0),
  });
  const fit = (line: string): string => fitLine(line, stage);
  const keys = options.hasKeyLine === false ? { lines: [] } : renderKeyLine({
    ...{ state: picture, output: options.output, width: size.columns, paint },
  });
  const body = layOutBody(stage, header, measureRoom(stage));
  const [title, verdict] = header;
  const targets = tabs.targets.map((target) => ({
    ...target,
    fromColumn: target.fromColumn + titleWidth,
    toColumn: target.toColumn + titleWidth,
  }));
  const isShort = body.kind === "table" && measureRoom(stage) < ROOM_FOR_VERDICT;
  return {
    ...stage,
    // Only the title tells that the screen is frozen.
    title: isShort && picture.held === null
      ? { lines: [fit(verdict)] }
      : { lines: [fit(padStyledLine(title, titleWidth) + tabs.text)], targets },
    keys: { ...keys, lines: keys.lines.map(fit) },
    body: body.kind === "table" ? { ...body, lines: body.lines.map(fit) } : body,
  };
}

function fitLine(line: string, { width, options }: Stage): string {
  return convertSigns(cutStyledLine(line, width), options);
}

/** What changes without a new layout. */
const PLACE_KEYS: ReadonlySet<string> = new Set<keyof Ui>([
  "selectedKey",
  "selectedEvent",
  "top",
  "scroll",
  "columnCursor",
]);

function areSameBut<T extends object>(one: T, other: T, isLeftOut: (key: string) => boolean) {
  return one === other ||
    (Object.keys(one) as (keyof T & string)[]).every((key) =>
      isLeftOut(key) || one[key] === other[key]
    );
}

/** Whether only selection and scroll differ. */
export function isSameScene(scene: Scene, state: State, size: TerminalSize): boolean {
  const picture = getSceneState(state);
  const { ui } = picture;
  const before = scene.state;
  return areSameBut(picture, before, (key) => key === "ui") &&
    areSameBut(ui, before.ui, (key) => PLACE_KEYS.has(key)) &&
    // The detail screen shows the selected line.
    ((ui.screen !== "detail" && ui.screen !== "log") || ui.selectedKey === before.ui.selectedKey) &&
    areSameBut(size, scene.size, () => false);
}

/** Whether the scene shows the selected row without a new layout. */
export function hasInSight({ body, listed }: Scene, ui: Ui): boolean {
  if (body.kind !== "table") return true;
  const shown = chooseRows(listed, ui, { room: Math.max(1, body.shown.length), isLive: true });
  return shown.every((index, i) => index === body.shown[i]);
}

/** The selected group, or that of the selected row. */
function findSelectedGroup(listed: Scene["listed"], ui: Ui): UiContext["selectedGroup"] {
  const selected = listed[findSelected(ui, listed.map(({ key }) => key))];
  if (selected === undefined) return null;
  const group = selected.kind === "group"
    ? selected
    : listed.find((line) =>
      line.kind === "group" && line.group.key === getSectionKey(selected.row, ui.grouping)
    );
  return group?.kind === "group" ? { groupKey: group.group.key, key: group.key } : null;
}

function measureRoom({ size, options: { hasKeyLine = true } }: Stage): number {
  return Math.max(0, size.rows - 1 - (hasKeyLine ? 1 : 0));
}

/** Returns what commands need to know about the screen. */
export function getUiContext(scene: Scene, ui: Ui = scene.state.ui): UiContext {
  const { listed, body } = scene;
  const isText = body.kind === "text";
  const room = isText ? body.room : measureRoom(scene);
  const pageLines = Math.max(1, body.kind === "table" ? body.shown.length : room);
  return {
    lineKeys: listed.map(({ key }) => key),
    selectedGroup: findSelectedGroup(listed, ui),
    openGroupKeys: new Set(
      listed.flatMap((line) => line.kind === "group" && !line.isFolded ? line.key : []),
    ),
    pageLines,
    isText,
    eventKeys: isText ? body.eventKeys ?? [] : [],
    lastScroll: isText ? Math.max(0, body.lines.length - pageLines) : 0,
    sorts: listWanted(ui).map(startSort),
    presets: PRESETS.map(([, ids]) => ids),
    troubledKeys: new Set(
      listed.flatMap(({ key, cells }) => isInTrouble(cells) ? key : []),
    ),
  };
}

function cutTargets(targets: readonly ClickTarget[], size: TerminalSize): readonly ClickTarget[] {
  return targets.map((target) => ({ ...target, toColumn: Math.min(target.toColumn, size.columns) }))
    .filter(({ row, fromColumn, toColumn }) => row < size.rows && fromColumn < toColumn);
}

/** With the set of columns that the table would have; scrolls in `room` lines. */
function renderMenu(
  { state, listed, width, paint }: Scene,
  ui: Ui,
  room: number,
): readonly string[] {
  const lines = listed.map(({ cells }) => cells);
  const offer = getOffer(state);
  const layouts = chooseColumns(lines, { width, ui, offer });
  const selected = lines[findSelected(ui, listed.map(({ key }) => key))] ?? null;
  const shownIds = new Set(layouts.map(({ column }) => column.id));
  const menu = renderColumnMenu(ui, { selected, shownIds, offer, paint });
  const note = renderColumnNote(menu, ui, { width, paint });
  // At least half is for the columns.
  const below = 2 * note.length > room ? [] : note;
  const left = room - below.length;
  const scrolled = scrollLines(menu, ui.columnCursor - Math.floor(left / 2), { room: left, paint });
  const blank = Array.from({ length: left - scrolled.length }, () => "");
  return [...scrolled, ...blank, ...below];
}

/** With the selected event in the middle, if there is one. */
function drawText({ paint, width }: Scene, body: LongText, ui: Ui): readonly string[] {
  const { lines, room, eventKeys = [] } = body;
  if (eventKeys.length === 0) return scrollLines(lines, ui.scroll, { room, paint });
  const selected = findSelectedEvent(ui, eventKeys);
  const drawn = repaintLine(lines[selected], width, (text) => paint(text, "selected"));
  const top = selected - Math.floor(room / 2);
  return scrollLines(lines.with(selected, drawn), top, { room, paint });
}

function drawBody(
  scene: Scene,
  ui: Ui,
): { readonly lines: readonly string[]; readonly cursorRow: number | null } {
  const { body, listed, paint, width } = scene;
  if (body.kind !== "table") {
    const room = measureRoom(scene);
    const lines = body.kind === "menu"
      ? renderMenu(scene, ui, room)
      : [...body.above, ...drawText(scene, body, ui)];
    return { lines: lines.map((line) => fitLine(line, scene)), cursorRow: null };
  }
  const selected = body.shown.indexOf(findSelected(ui, listed.map(({ key }) => key)));
  if (selected < 0) return { lines: body.lines, cursorRow: null };
  const cursorRow = body.firstRow + selected;
  const line = repaintLine(body.lines[cursorRow], width, (text) => paint(text, "selected"));
  return { lines: body.lines.with(cursorRow, line), cursorRow };
}

/** Draws a frame of exactly the scene's size. */
export function drawScene(scene: Scene, ui: Ui = scene.state.ui): ScreenFrame {
  const { size, title, keys, body } = scene;
  const room = measureRoom(scene);
  const { lines, cursorRow } = drawBody(scene, ui);
  const content = lines.slice(0, room);
  while (content.length < room) content.push("");
  const targets = body.kind === "table" ? body.targets ?? [] : [];
  return {
    lines: [...title.lines, ...content, ...keys.lines].slice(0, size.rows),
    targets: cutTargets([
      ...(title.targets ?? []),
      ...targets.filter(({ row }) => row < room).map((one) => ({ ...one, row: one.row + 1 })),
      ...(keys.targets ?? []).map((target) => ({ ...target, row: room + 1 })),
    ], size),
    cursorRow: cursorRow === null || cursorRow >= room ? null : cursorRow + 1,
  };
}

/** Lays out and draws a frame of exactly `size`. */
export function renderFrame(state: State, size: TerminalSize, options: ViewOptions): ScreenFrame {
  return drawScene(layOutScene(state, size, options));
}
