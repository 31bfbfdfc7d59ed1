/**
 * The state into what is shown: a frame for the screen, or lines of plain text.
 *
 * Decides which view is shown and shares out the height. The
 * title stands at the top, and the keys at the bottom where they are wanted. In
 * between a table has its heading, a row and ALL first, then verdict and
 * summary above, then what is wrong and panels below. Details and a panel on
 * the whole screen have the verdict above; help and column menu have nothing.
 * Nothing is wider than the screen or drawn below it. Drawing changes nothing.
 *
 * @module
 */

import type { TerminalSize } from "./platform.ts";
import { getSceneState, type State } from "./state.ts";
import type { Fleet, Row } from "./state_fleet.ts";
import {
  type ClickTarget,
  type Command,
  findSelected,
  type Ui,
  type UiContext,
} from "./state_ui.ts";
import type { Frame } from "./terminal.ts";
import { measureWidth, sanitizeText, wrapText } from "./text.ts";
import { BINDINGS } from "./view_bindings.ts";
import { startSort } from "./view_columns.ts";
import { type DetailOptions, renderDetail } from "./view_detail.ts";
import { convertToAscii } from "./view_format.ts";
import { type Header, renderHeader, renderProblems } from "./view_header.ts";
import { renderColumnMenu, renderHelp } from "./view_help.ts";
import { joinSideBySide, layOutPanels, TWO_COLUMN_WIDTH, zoomPanel } from "./view_layout.ts";
import { createPanels, listPanelIds, summarizeEvents } from "./view_panels.ts";
import { listVisibleRows, parseFilter, type VisibleRow } from "./view_rows.ts";
import { countGroupTotals, listWanted, renderTable } from "./view_table.ts";
import { type ColorDepth, createPaint, cutStyledLine, type Paint } from "./view_theme.ts";

/** How things are to be shown. */
export interface ViewOptions {
  readonly output: "auto" | "table" | "detail";
  readonly depth: ColorDepth;
  /** Whether only ASCII may be drawn. */
  readonly ascii: boolean;
  /** Whether the last line of a screen shows the keys; it does where this is left out. */
  readonly hasKeyLine?: boolean;
}

/** Width of plain text that goes to no terminal: wide enough for every column. */
const PLAIN_WIDTH = 320;

/** Lines from which there is room for what is wrong below the table. */
const ROOM_FOR_PROBLEMS = 8;

/** Lines from which there is room for a line of each model before ALL, and for the newest event. */
const ROOM_FOR_GROUPS = 12;

/** Verdict, summary, a blank line, heading and ALL. */
const LINES_AROUND_ROWS = 5;

/** Whether figures are shown replica by replica and not as a table. */
function choosesDetail(fleet: Fleet, ui: Ui, output: ViewOptions["output"]): boolean {
  if (ui.screen === "detail") return true;
  if (ui.prefersTable || ui.zoomedPanel !== null) return false;
  return output === "detail" || (output === "auto" && fleet.rows.length < 2);
}

/** Every replica's details, one after the other. */
function renderAllDetails(state: State, options: DetailOptions): string[] {
  const { fleet, paint } = options;
  return fleet.rows.flatMap((row) => [
    ...(fleet.rows.length > 1 ? [paint(row.name, "title")] : []),
    ...renderDetail(row, state, options).flat().map((line) => " " + line),
  ]);
}

/**
 * The state as lines of text: what of the filter is not understood, every row
 * that it lets pass, and every column that fits `width`; below them the GPUs
 * and what it costs, where there is something to say.
 *
 * @param options.width Columns of the terminal; all columns fit where it is left out.
 */
export function renderText(
  state: State,
  options: ViewOptions & { readonly width?: number },
): readonly string[] {
  const { ui, fleet } = state;
  const paint = createPaint(options.depth, ui.theme);
  const width = options.width ?? PLAIN_WIDTH;
  const problems = renderProblems(state, { width, paint });
  const isDetail = choosesDetail(fleet, ui, options.output);
  const listed = listVisibleRows(fleet, ui);
  const table = {
    ...{ width, paint, ui, maxLines: Infinity },
    ...{ hasGroupTotals: !ui.isGrouped, hasNote: false, isLive: false },
  };
  const remarks = parseFilter(ui.filter).remarks.flatMap((remark) =>
    wrapText(`Filter: ${remark}`, width - 2, "  ").map((line) => " " + paint(line, "warn"))
  );
  const body = isDetail
    ? [
      ...renderAllDetails(state, { fleet, paint, width }),
      ...problems,
    ]
    : [
      ...remarks,
      ...renderTable(fleet, listed, table).lines,
      ...(problems.length > 0 ? ["", ...problems] : []),
    ];
  const panels = createPanels(state, paint)
    .filter(({ id }) => id === "gpus" || id === "cost")
    .flatMap((panel) => ["", ...zoomPanel(panel, { width, paint })]);
  const lines = [...renderHeader(state, { width, paint }), "", ...body, ...panels];
  return lines.map((line) => (options.ascii ? convertToAscii(line) : line).trimEnd());
}

/** What is left behind where the screen was; empty where nothing has happened. */
export function renderSummary(state: State, { ascii }: ViewOptions): readonly string[] {
  const lines = summarizeEvents(state.fleet, state);
  return ascii ? lines.map(convertToAscii) : lines;
}

/** What a screen is made from. */
interface Scene {
  readonly state: State;
  readonly fleet: Fleet;
  readonly listed: readonly VisibleRow[];
  readonly width: number;
  readonly paint: Paint;
  readonly output: ViewOptions["output"];
}

/** A scene with what stands above it. */
interface SceneWithHeader extends Scene {
  readonly head: Header;
}

/** A frame, and the parts of it that can be clicked. */
export interface ScreenFrame extends Frame {
  readonly targets: readonly ClickTarget[];
}

/** Part of a screen. Rows of its targets and of the selected line count from its first line. */
interface Part {
  readonly lines: readonly string[];
  readonly targets?: readonly ClickTarget[];
  readonly cursorRow?: number | null;
}

/** A key of the last line: what it is called, what it does. */
type KeyPiece = readonly [key: string, label: string, command: Command | null];

const KEYS: readonly KeyPiece[] = BINDINGS.flatMap(({ keys, label, command }): KeyPiece[] =>
  label === undefined ? [] : [[keys[0], label, command]]
);

const BACK: KeyPiece = ["Esc", "Back", "back"];
const TYPING_KEYS: readonly KeyPiece[] = [
  ["Enter", "Keep filter", null],
  ["Esc", "Clear", null],
  ["Ctrl-W", "Delete word", null],
  ["Ctrl-U", "Delete all", null],
];
const MENU_KEYS: readonly KeyPiece[] = [
  ["Space", "Show or hide", "pause"],
  ["Left", "Move left", "fold"],
  ["Right", "Move right", "unfold"],
];

/** The labelled keys without those commands, with `more` after help and quit. */
function mixKeys(more: readonly KeyPiece[], without: readonly Command[]): readonly KeyPiece[] {
  const [help, quit, ...others] = KEYS.filter(([, , command]) =>
    command === null || !without.includes(command)
  );
  return [help, quit, ...more, ...others];
}

/** The keys that there is something to do with, the most useful first. */
function listKeys({ state: { ui }, fleet, output }: Scene): readonly KeyPiece[] {
  const { screen, isTyping, zoomedPanel, filter } = ui;
  if (isTyping) return TYPING_KEYS;
  if (screen === "columns") return [...KEYS.slice(0, 2), BACK, ...MENU_KEYS];
  if (screen === "help") return [...KEYS.slice(0, 2), BACK];
  if (screen === "detail") {
    return mixKeys([BACK, ["Right", "Next", "unfold"]], ["open", "filter", "sort_next", "group"]);
  }
  if (zoomedPanel !== null) {
    return mixKeys([BACK, ["Tab", "Next panel", "next_panel"]], ["open", "next_panel"]);
  }
  if (choosesDetail(fleet, ui, output)) {
    return mixKeys([["d", "Table", "toggle_detail"]], ["open", "toggle_detail", "sort_next"]);
  }
  return filter === "" ? KEYS : mixKeys([["Esc", "Clear filter", "back"]], []);
}

/** The keys, as many as fit, each to be clicked. */
function renderKeyLine(scene: Scene): Part {
  const { width, paint } = scene;
  const pieces = listKeys(scene);
  let line = "";
  let used = 0;
  const targets: ClickTarget[] = [];
  for (const [key, label, command] of pieces) {
    const needed = 1 + measureWidth(key) + 1 + measureWidth(label) + 1;
    if (used + needed > width) continue;
    line += ` ${paint(key, "key")} ${label} `;
    if (command !== null) {
      const action = { kind: "command", command } as const;
      targets.push({ row: 0, fromColumn: used, toColumn: used + needed, action });
    }
    used += needed;
  }
  return { lines: [line], targets };
}

/** The filter, how many rows it lets pass, and what of it is not understood. */
function renderFilterLine({ state, listed, fleet, paint }: Scene): string[] {
  const { filter, isTyping } = state.ui;
  if (filter === "" && !isTyping) return [];
  const shown = listed.filter(({ kind }) => kind === "row").length;
  const [remark] = parseFilter(filter).remarks;
  const hint = remark === undefined ? "" : `   ${remark}`;
  const note = paint(`   ${shown} of ${fleet.rows.length} rows`, "dim") + paint(hint, "warn");
  return [` ${paint("Filter:", "heading")} ${sanitizeText(filter)}${isTyping ? "_" : ""}${note}`];
}

/** The panels, or the one that has the whole screen, in `lines` lines. */
function renderPanels(scene: Scene, lines: number): string[] {
  const { fleet, paint, width, state } = scene;
  const { ui } = state;
  // Of nothing there are only dashes.
  if (fleet.counts.up === 0 && ui.zoomedPanel === null) return [];
  const panels = createPanels(state, paint);
  const room = { width, lines, focusedPanel: ui.focusedPanel, paint };
  const zoomed = panels.find(({ id }) => id === ui.zoomedPanel);
  return zoomed === undefined ? layOutPanels(panels, room) : zoomPanel(zoomed, room);
}

/**
 * Whether the lines of models leave at least half of the room to rows. It does
 * not ask how many rows there are: a filter takes nothing from the totals.
 */
function hasRoomForGroups(fleet: Fleet, room: number): boolean {
  return room >= ROOM_FOR_GROUPS &&
    countGroupTotals(fleet) <= (room - LINES_AROUND_ROWS) / 2;
}

/** The table and all that stands around it, in `room` lines. */
function renderOverview(scene: SceneWithHeader, room: number): Part {
  const { state, fleet, listed, width, paint, head: [, verdict, summary] } = scene;
  const { ui } = state;
  const problems = renderProblems(state, scene);
  const hasGroupTotals = !ui.isGrouped && hasRoomForGroups(fleet, room);
  const forTotals = 2 + (hasGroupTotals ? countGroupTotals(fleet) : 0);
  // Heading, one row and ALL come first, then the verdict, the filter and the summary.
  const above: string[] = [];
  for (const line of [verdict, ...renderFilterLine(scene), summary, ""]) {
    const wanted = forTotals + (line === "" ? listed.length : 1);
    if (above.length + 1 + wanted <= room) above.push(line);
  }
  const left = room - above.length;
  const forProblems = Math.min(problems.length, left > ROOM_FOR_PROBLEMS ? 2 : 0);
  const forEvents = fleet.events.length > 0 && left > ROOM_FOR_GROUPS ? 2 : 0;
  const forRows = left - forTotals - forProblems - forEvents;
  const hasNote = listed.length > forRows && forRows > 1;
  const table = renderTable(fleet, listed, {
    width,
    paint,
    ui,
    maxLines: Math.min(listed.length, hasNote ? forRows - 1 : forRows),
    hasGroupTotals,
    hasNote,
    isLive: true,
  });
  const below = left - table.lines.length;
  // Where there is no room for a blank line, the reason is worth more.
  const spaced = problems.length > 0 && below > problems.length ? ["", ...problems] : problems;
  const shownProblems = cutLines(spaced, Math.max(0, below), paint);
  const panels = renderPanels(scene, below - shownProblems.length);
  const targets = table.targets.map((target) => ({ ...target, row: target.row + above.length }));
  const cursorRow = table.cursorRow === null ? null : above.length + table.cursorRow;
  return { lines: [...above, ...table.lines, ...shownProblems, ...panels], targets, cursorRow };
}

/** The lines that are in sight of a text that is scrolled; the last says what follows. */
function scrollLines(lines: readonly string[], scroll: number, options: {
  readonly room: number;
  readonly paint: Paint;
}): string[] {
  const { room, paint } = options;
  const top = Math.max(0, Math.min(scroll, lines.length - room));
  return cutLines(lines.slice(top), room, paint);
}

/** The lines that fit, the last of which says how many do not. */
function cutLines(lines: readonly string[], room: number, paint: Paint): string[] {
  if (lines.length <= room) return [...lines];
  const kept = lines.slice(0, Math.max(0, room - 1));
  const note = paint(` … ${lines.length - kept.length} more lines`, "dim");
  return [...kept, note].slice(0, Math.max(0, room));
}

/** Sections in two columns as short as can be, where the screen is wide enough for two. */
function arrangeSections(sections: readonly (readonly string[])[], width: number): string[] {
  // Without the blank line after the last of a column.
  const join = (some: typeof sections): string[] => some.flat().slice(0, -1);
  if (width < TWO_COLUMN_WIDTH) return join(sections);
  const columnsAt = (split: number): readonly string[][] =>
    [sections.slice(0, split), sections.slice(split)].map(join);
  const heightAt = (split: number): number => Math.max(...columnsAt(split).map((c) => c.length));
  const splits = sections.map((_, index) => index + 1);
  const split = splits.reduce((a, b) => heightAt(b) < heightAt(a) ? b : a);
  return joinSideBySide(columnsAt(split), Math.floor(width / 2));
}

/** The rows that a line of the table is about. */
function listRows(line: VisibleRow, { rows }: Fleet): readonly Row[] {
  return line.kind === "row"
    ? [line.row]
    : rows.filter(({ replica }) => replica?.sample.modelName === line.group.modelName);
}

/** One replica in full. What is left of the room its charts fill. */
function renderReplica(row: Row, { state, fleet, paint, width }: Scene, room: number): string[] {
  const draw = (extraLines: number): string[] => {
    const columnWidth = width < TWO_COLUMN_WIDTH ? width : Math.floor(width / 2);
    // A blank on each side, and the indent of a section.
    const options = { fleet, paint, width: columnWidth - 4, extraLines };
    const sections = renderDetail(row, state, options)
      .map((lines) => lines.map((line) => " " + line));
    return [` ${paint(row.name, "title")}`, ...arrangeSections(sections, width)];
  };
  const small = draw(0);
  if (small.length >= room) return small;
  const large = draw(room - small.length);
  return large.length <= room ? large : small;
}

/** The selected replica, or all of the selected group, in full; every replica where the output is `detail` and none was opened. */
function renderDetails(scene: Scene, room: number): string[] {
  const { state, fleet, listed } = scene;
  const { ui } = state;
  const problems = renderProblems(state, scene);
  const line = listed[findSelected(ui, listed.map(({ key }) => key))];
  const rows = ui.screen === "detail" && line !== undefined ? listRows(line, fleet) : fleet.rows;
  // Charts grow where one replica is looked at, and not where many follow each other.
  const forProblems = problems.length > 0 ? 1 + problems.length : 0;
  const left = rows.length === 1 ? room - forProblems : 0;
  const details = rows.flatMap((row) => [...renderReplica(row, scene, left), ""]);
  return [...details.slice(0, problems.length > 0 ? undefined : -1), ...problems];
}

/** A text that scrolls, and the lines that there are for it. */
interface LongText {
  readonly lines: readonly string[];
  readonly room: number;
}

/** What stands in `room` lines where no table is shown: the help, details, or the panel that fills them. */
function renderLongText(scene: Scene, room: number): LongText | null {
  const { state: { ui }, fleet, paint, output } = scene;
  if (ui.screen === "help") return { lines: renderHelp(paint), room };
  if (ui.screen === "columns") return null;
  // The verdict stands above.
  const left = room - 1;
  if (choosesDetail(fleet, ui, output)) {
    return { lines: renderDetails(scene, left), room: left };
  }
  return ui.zoomedPanel === null ? null : { lines: renderPanels(scene, left), room: left };
}

function renderScreen(scene: SceneWithHeader, room: number): Part {
  const { state: { ui }, paint, head: [, verdict] } = scene;
  if (ui.screen === "columns") {
    const menu = renderColumnMenu(ui, paint);
    return { lines: scrollLines(menu, ui.columnCursor - Math.floor(room / 2), { room, paint }) };
  }
  const text = renderLongText(scene, room);
  if (text === null) return renderOverview(scene, room);
  const lines = scrollLines(text.lines, ui.scroll, { room: text.room, paint });
  return { lines: ui.screen === "help" ? lines : [verdict, ...lines] };
}

function createScene(state: State, width: number, options: ViewOptions): Scene {
  const picture = getSceneState(state);
  const { fleet } = picture;
  const paint = createPaint(options.depth, picture.ui.theme);
  const listed = listVisibleRows(fleet, picture.ui);
  return { state: picture, fleet, listed, width, paint, output: options.output };
}

/** The group whose line is selected, or below whose line the selected row stands. */
function findSelectedGroup({ listed, state: { ui } }: Scene): UiContext["selectedGroup"] {
  const selected = listed[findSelected(ui, listed.map(({ key }) => key))];
  if (selected === undefined) return null;
  const group = selected.kind === "group"
    ? selected
    : listed.find((line) =>
      line.kind === "group" && line.group.modelName === selected.row.replica?.sample.modelName
    );
  return group?.kind === "group" ? { modelName: group.group.modelName, key: group.key } : null;
}

/** The lines between title and keys. */
function measureRoom({ rows }: TerminalSize, { hasKeyLine = true }: ViewOptions): number {
  return Math.max(0, rows - 1 - (hasKeyLine ? 1 : 0));
}

/** What commands need to know of the screen of the given size. */
export function getUiContext(state: State, size: TerminalSize, options: ViewOptions): UiContext {
  const scene = createScene(state, size.columns, options);
  const { listed, state: { ui } } = scene;
  const room = measureRoom(size, options);
  const text = renderLongText(scene, room);
  // Of a table a note tells which rows are in sight.
  const pageLines = Math.max(1, text?.room ?? room - LINES_AROUND_ROWS - 1);
  return {
    lineKeys: listed.map(({ key }) => key),
    selectedGroup: findSelectedGroup(scene),
    openGroupKeys: new Set(
      listed.flatMap((line) => line.kind === "group" && !line.isFolded ? line.key : []),
    ),
    pageLines,
    isText: text !== null,
    lastScroll: Math.max(0, (text?.lines.length ?? 0) - pageLines),
    sorts: listWanted(ui).map(startSort),
    panelIds: listPanelIds(scene.state),
  };
}

/** The targets that are on the screen, cut to it. */
function cutTargets(targets: readonly ClickTarget[], size: TerminalSize): readonly ClickTarget[] {
  return targets
    .map((target) => ({ ...target, toColumn: Math.min(target.toColumn, size.columns) }))
    .filter(({ row, fromColumn, toColumn }) => row < size.rows && fromColumn < toColumn);
}

/** The state as a frame of exactly the given size. */
export function renderFrame(state: State, size: TerminalSize, options: ViewOptions): ScreenFrame {
  const { columns: width, rows: height } = size;
  const bare = createScene(state, width, options);
  const head = renderHeader(bare.state, bare);
  const scene: SceneWithHeader = { ...bare, head };
  const keys = options.hasKeyLine === false ? { lines: [] } : renderKeyLine(scene);
  const room = measureRoom(size, options);
  const screen = renderScreen(scene, room);
  const content = screen.lines.slice(0, room);
  while (content.length < room) content.push("");
  const lines = [head[0], ...content, ...keys.lines].slice(0, height)
    .map((line) => cutStyledLine(line, width));
  const targets = [
    ...(screen.targets ?? []).filter(({ row }) => row < room)
      .map((target) => ({ ...target, row: target.row + 1 })),
    ...(keys.targets ?? []).map((target) => ({ ...target, row: room + 1 })),
  ];
  const cursorRow = screen.cursorRow ?? null;
  return {
    lines: options.ascii ? lines.map(convertToAscii) : lines,
    targets: cutTargets(targets, size),
    cursorRow: cursorRow === null || cursorRow >= room ? null : cursorRow + 1,
  };
}
