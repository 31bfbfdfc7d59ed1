/**
 * What the user has chosen, and how commands change it.
 *
 * Which screen, which row, which order, filter, columns, theme.
 * A row is selected by its identity (endpoint, model, engine) and never by its
 * line: when the order changes the selection goes with the replica. Nothing
 * here knows figures; what is on the screen comes in as a context.
 * @module
 */

/** What a click on a part of the screen asks for. */
export type ClickAction =
  | { readonly kind: "command"; readonly command: Command }
  /** The order is that of the first click; the next one turns it round. */
  | { readonly kind: "sort"; readonly columnId: string; readonly isDescending: boolean }
  | { readonly kind: "line"; readonly key: string };

/** A part of the screen that can be clicked. Rows and columns from 0, ends excluded. */
export interface ClickTarget {
  readonly row: number;
  readonly fromColumn: number;
  readonly toColumn: number;
  readonly action: ClickAction;
}

/** What a key or a click can ask for. */
export type Command =
  | "quit"
  | "pause"
  | "slower"
  | "faster"
  | "poll_now"
  | "toggle_detail"
  | "up"
  | "down"
  | "page_up"
  | "page_down"
  | "first"
  | "last"
  | "open"
  | "back"
  | "sort_next"
  | "sort_previous"
  | "invert_sort"
  | "filter"
  | "group"
  | "fold"
  | "unfold"
  | "zoom"
  | "next_panel"
  | "next_theme"
  | "columns"
  | "help"
  | "redraw";

/** The themes, in the order in which a key steps through them. */
export const THEME_NAMES = ["default", "light", "mono", "high-contrast", "colorblind"] as const;
export type ThemeName = typeof THEME_NAMES[number];

/** The screens. */
type Screen = "overview" | "detail" | "help" | "columns";

/** The panels below the table, in the order of their importance. Those without anything to show are left out. */
export const PANEL_IDS = [
  "events",
  "balance",
  "gpus",
  "latency",
  "cost",
  "trend",
  "totals",
] as const;
export type PanelId = typeof PANEL_IDS[number];

/** By which column rows are sorted. */
export interface Sort {
  readonly columnId: string;
  readonly isDescending: boolean;
}

/** Everything that the user has chosen. */
export interface Ui {
  readonly screen: Screen;
  /** Whether the table is wanted where the overview would show details: with one replica. */
  readonly prefersTable: boolean;
  /** Identity of the selected line; `null` for the first one. */
  readonly selectedKey: string | null;
  /** First line of the table that is shown. */
  readonly top: number;
  /** First line of the help or of a detail view that is shown. */
  readonly scroll: number;
  /** `null`: as the endpoints were given. */
  readonly sort: Sort | null;
  readonly filter: string;
  /** Whether what is typed goes to the filter. */
  readonly isTyping: boolean;
  readonly isGrouped: boolean;
  readonly foldedModels: ReadonlySet<string>;
  /** The panel that has the whole screen, or `null`. */
  readonly zoomedPanel: PanelId | null;
  readonly focusedPanel: PanelId;
  readonly theme: ThemeName;
  /** All columns in the user's order. */
  readonly columnIds: readonly string[];
  readonly hiddenColumnIds: ReadonlySet<string>;
  readonly columnCursor: number;
}

/** What is on the screen when a command comes. */
export interface UiContext {
  /** Identities of the table's lines in their order. */
  readonly lineKeys: readonly string[];
  /** The group of the selected line, which is its own or the one above; `null` where there is none. */
  readonly selectedGroup: { readonly modelName: string; readonly key: string } | null;
  /** Identities of the groups' lines whose rows stand below them. */
  readonly openGroupKeys: ReadonlySet<string>;
  /** Lines of the table, or of a scrolled text, that are in sight. */
  readonly pageLines: number;
  /** Whether what is shown is a text that scrolls and not the table. */
  readonly isText: boolean;
  /** The first line that is in sight when such a text is scrolled to its end. */
  readonly lastScroll: number;
  /** How one begins to sort by each column that is not hidden, from left to right. */
  readonly sorts: readonly Sort[];
  /** The panels that have something to show, in their order; at least one. */
  readonly panelIds: readonly PanelId[];
}

/** What the user starts with. `columnIds` are all columns in their order; a menu without them is empty. */
export function createUi(
  chosen: Partial<Pick<Ui, "theme" | "filter" | "sort" | "columnIds" | "hiddenColumnIds">> = {},
): Ui {
  return {
    screen: "overview",
    prefersTable: false,
    selectedKey: null,
    top: 0,
    scroll: 0,
    sort: null,
    filter: "",
    isTyping: false,
    isGrouped: false,
    foldedModels: new Set(),
    zoomedPanel: null,
    focusedPanel: "events",
    theme: "default",
    columnIds: [],
    hiddenColumnIds: new Set(),
    columnCursor: 0,
    ...chosen,
  };
}

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}

/** The line that is selected: the one with the identity, or the first. */
export function findSelected(ui: Ui, lineKeys: readonly string[]): number {
  return Math.max(0, ui.selectedKey === null ? 0 : lineKeys.indexOf(ui.selectedKey));
}

/** Selects a line and brings it into sight. */
export function selectLine(ui: Ui, index: number, context: UiContext): Ui {
  const { lineKeys, pageLines } = context;
  if (lineKeys.length === 0) return ui;
  const selected = clamp(index, 0, lineKeys.length - 1);
  const top = clamp(ui.top, selected - pageLines + 1, selected);
  return { ...ui, selectedKey: lineKeys[selected], top: Math.max(0, top) };
}

/** Selects the line with the identity. */
export function selectKey(ui: Ui, key: string, context: UiContext): Ui {
  const index = context.lineKeys.indexOf(key);
  return index < 0 ? ui : selectLine(ui, index, context);
}

/** How far a command moves, in lines; `null` for other commands. */
function computeMove(command: Command, pageLines: number): number | null {
  switch (command) {
    case "up":
      return -1;
    case "down":
      return 1;
    case "page_up":
      return -pageLines;
    case "page_down":
      return pageLines;
    case "first":
      return -Infinity;
    case "last":
      return Infinity;
    default:
      return null;
  }
}

function move(ui: Ui, lines: number, context: UiContext): Ui {
  if (ui.screen === "columns") {
    const columnCursor = clamp(ui.columnCursor + lines, 0, ui.columnIds.length - 1);
    return { ...ui, columnCursor };
  }
  if (context.isText) {
    // What is in sight counts: the text may have become shorter since.
    const now = Math.min(ui.scroll, context.lastScroll);
    return { ...ui, scroll: clamp(now + lines, 0, context.lastScroll) };
  }
  return selectLine(ui, findSelected(ui, context.lineKeys) + lines, context);
}

function sortBy(ui: Ui, steps: number, { sorts }: UiContext): Ui {
  // One place before the first column stands for the order as given.
  const now = sorts.findIndex(({ columnId }) => columnId === ui.sort?.columnId);
  const count = sorts.length + 1;
  const next = ((now + 1 + steps) % count + count) % count - 1;
  return { ...ui, sort: next < 0 ? null : sorts[next] };
}

/** Begins to sort by a column, or turns the order round where it is sorted by it already. */
export function sortByColumn(ui: Ui, { columnId, isDescending }: Sort): Ui {
  const isSame = ui.sort?.columnId === columnId;
  return { ...ui, sort: { columnId, isDescending: isSame ? !ui.sort.isDescending : isDescending } };
}

function goBack(ui: Ui): Ui {
  if (ui.screen !== "overview") return { ...ui, screen: "overview", scroll: 0 };
  if (ui.zoomedPanel !== null) return { ...ui, zoomedPanel: null };
  return { ...ui, filter: "", isTyping: false };
}

/** The details before or after. What stands in an open group is shown row by row; a folded one is shown whole. */
function step(ui: Ui, isBack: boolean, context: UiContext): Ui {
  const { lineKeys, openGroupKeys } = context;
  const selected = findSelected(ui, lineKeys);
  const ahead = isBack ? lineKeys.slice(0, selected).reverse() : lineKeys.slice(selected + 1);
  const steps = ahead.findIndex((key) => !openGroupKeys.has(key)) + 1;
  return { ...selectLine(ui, selected + (isBack ? -steps : steps), context), scroll: 0 };
}

function fold(ui: Ui, isFolded: boolean, context: UiContext): Ui {
  const { selectedGroup, isText } = context;
  if (ui.screen === "detail") return step(ui, isFolded, context);
  // Where no table is seen, none is changed.
  if (selectedGroup === null || isText) return ui;
  const { modelName, key } = selectedGroup;
  const foldedModels = new Set(ui.foldedModels);
  if (!isFolded) {
    foldedModels.delete(modelName);
    return { ...ui, foldedModels };
  }
  // What was selected in the group goes out of sight: the group's line stands for it.
  foldedModels.add(modelName);
  return selectKey({ ...ui, foldedModels }, key, context);
}

function moveColumn(ui: Ui, steps: number): Ui {
  const to = clamp(ui.columnCursor + steps, 0, ui.columnIds.length - 1);
  const columnIds = [...ui.columnIds];
  const [moved] = columnIds.splice(ui.columnCursor, 1);
  columnIds.splice(to, 0, moved);
  return { ...ui, columnIds, columnCursor: to };
}

function toggleColumn(ui: Ui): Ui {
  const id = ui.columnIds[ui.columnCursor];
  const hiddenColumnIds = new Set(ui.hiddenColumnIds);
  if (!hiddenColumnIds.delete(id)) hiddenColumnIds.add(id);
  return { ...ui, hiddenColumnIds };
}

/** The next of the names, after the last the first. */
function cycle<T>(names: readonly T[], name: T): T {
  return names[(names.indexOf(name) + 1) % names.length];
}

function toggleScreen(ui: Ui, screen: Screen): Ui {
  const next = ui.screen === screen ? "overview" : screen;
  // Keys go to what is seen, and no longer to a filter that is not.
  return { ...ui, screen: next, scroll: 0, isTyping: false };
}

/** Whether details are seen: those that were opened, or those of the only replica. */
function showsDetail(ui: Ui, { isText }: UiContext): boolean {
  return ui.screen === "detail" ||
    (isText && ui.screen === "overview" && ui.zoomedPanel === null);
}

/** From details to the table, and from the table to details. */
function toggleDetail(ui: Ui, context: UiContext): Ui {
  const isDetail = showsDetail(ui, context);
  return {
    ...ui,
    screen: isDetail ? "overview" : "detail",
    prefersTable: isDetail,
    scroll: 0,
    isTyping: false,
  };
}

/** The filter's line stands above the table: whatever is shown, the table takes its place. */
function startFilter(ui: Ui): Ui {
  const table = { screen: "overview", prefersTable: true, zoomedPanel: null, scroll: 0 } as const;
  return { ...ui, ...table, isTyping: true };
}

/** What the user has chosen after a command. Commands that are not about that change nothing. */
export function applyCommand(ui: Ui, command: Command, context: UiContext): Ui {
  const lines = computeMove(command, context.pageLines);
  if (lines !== null) return move(ui, lines, context);
  const isMenu = ui.screen === "columns";
  const isDetail = showsDetail(ui, context);
  switch (command) {
    case "open":
      return isMenu ? toggleColumn(ui) : { ...ui, screen: "detail", scroll: 0, isTyping: false };
    case "pause":
      return isMenu ? toggleColumn(ui) : ui;
    case "fold":
      return isMenu ? moveColumn(ui, -1) : fold(ui, true, context);
    case "unfold":
      return isMenu ? moveColumn(ui, 1) : fold(ui, false, context);
    case "back":
      return goBack(ui);
    case "toggle_detail":
      return toggleDetail(ui, context);
    case "help":
      return toggleScreen(ui, "help");
    case "columns":
      return toggleScreen(ui, "columns");
    // The table behind details stays as it is.
    case "sort_next":
      return isDetail ? ui : sortBy(ui, 1, context);
    case "sort_previous":
      return isDetail ? ui : sortBy(ui, -1, context);
    case "invert_sort":
      return isDetail || ui.sort === null
        ? ui
        : { ...ui, sort: { ...ui.sort, isDescending: !ui.sort.isDescending } };
    case "filter":
      return startFilter(ui);
    case "group":
      return { ...ui, isGrouped: !ui.isGrouped };
    case "next_panel": {
      const focusedPanel = cycle(context.panelIds, ui.focusedPanel);
      return { ...ui, focusedPanel, zoomedPanel: ui.zoomedPanel === null ? null : focusedPanel };
    }
    case "zoom":
      return { ...ui, zoomedPanel: ui.zoomedPanel === null ? ui.focusedPanel : null };
    case "next_theme":
      return { ...ui, theme: cycle(THEME_NAMES, ui.theme) };
    default:
      return ui;
  }
}

/** What typing does to the filter. */
export type FilterEdit =
  | { readonly kind: "insert"; readonly text: string }
  | { readonly kind: "delete" }
  | { readonly kind: "delete_word" }
  | { readonly kind: "delete_all" }
  | { readonly kind: "accept" }
  | { readonly kind: "clear" };

/** Characters that a filter may have. */
const MAX_FILTER_LENGTH = 200;

/** The text without what is too much, and without half of a character. */
function limitFilter(text: string): string {
  return [...text].slice(0, MAX_FILTER_LENGTH).join("");
}

/** The filter after one edit. */
export function editFilter(ui: Ui, edit: FilterEdit): Ui {
  switch (edit.kind) {
    case "insert":
      return { ...ui, filter: limitFilter(ui.filter + edit.text), top: 0 };
    case "delete":
      return { ...ui, filter: [...ui.filter].slice(0, -1).join(""), top: 0 };
    case "delete_word":
      // The word and the blanks after it.
      return { ...ui, filter: ui.filter.replace(/\S*\s*$/u, ""), top: 0 };
    case "delete_all":
      return { ...ui, filter: "", top: 0 };
    case "accept":
      return { ...ui, isTyping: false };
    case "clear":
      return { ...ui, filter: "", isTyping: false, top: 0 };
  }
}
