/**
 * What the user has chosen, and how commands change it. The selection is a row key, not a line, so
 * it follows the replica when the order changes.
 * @module
 */

export type ClickAction =
  | { readonly kind: "command"; readonly command: Command }
  /** `isDescending` is for the first click; the next one inverts it. */
  | { readonly kind: "sort"; readonly columnId: string; readonly isDescending: boolean }
  | { readonly kind: "line"; readonly key: string };

/** Rows and columns from 0, ends excluded. */
export interface ClickTarget {
  readonly row: number;
  readonly fromColumn: number;
  readonly toColumn: number;
  readonly action: ClickAction;
}

export type Command =
  | ("quit" | "pause" | "slower" | "faster" | "poll_now" | "toggle_detail" | "up" | "down")
  | ("page_up" | "page_down" | "first" | "last" | "open" | "back" | "sort_next")
  | ("sort_previous" | "invert_sort" | "sort_severity" | "filter" | "group" | "fold")
  | ("unfold" | "zoom" | "next_trouble" | "previous_trouble" | "next_page" | "next_theme")
  | ("columns" | "help" | "redraw" | "suspend" | "diagnose" | "facts" | "mark" | "unmark")
  | ("preset" | "log")
  | LookCommand
  | PageCommand;

/** Which moment is shown. */
export type LookCommand =
  | "look_back"
  | "look_forward"
  | "look_back_minute"
  | "look_forward_minute"
  | "look_now";

/** In the order of their keys, from 1. */
export const PAGE_IDS = ["fleet", "latency", "gpus", "trends", "cost", "events"] as const;
export type PageId = typeof PAGE_IDS[number];
type PageCommand = `show_${PageId}`;

/** In the order of the theme key. */
export const THEME_NAMES = ["default", "light", "mono", "high-contrast", "colorblind"] as const;
export type ThemeName = typeof THEME_NAMES[number];
/** What rows of one group share: the model, the machine, or a label of their targets. */
export const GROUPINGS = ["model", "host", "pod", "node", "namespace", "job", "role"] as const;
export type Grouping = typeof GROUPINGS[number];
type Screen = "overview" | "detail" | "log" | "help" | "columns";

export interface Sort {
  readonly columnId: string;
  readonly isDescending: boolean;
}

export interface Ui {
  readonly screen: Screen;
  /** Shown on the overview screen. */
  readonly page: PageId;
  /** Show the table even with one replica, which shows details by default. */
  readonly prefersTable: boolean;
  /** `null` selects the first line. */
  readonly selectedKey: string | null;
  /** In detail: configuration, scrape and all metrics, in place of the figures. */
  readonly showsFacts: boolean;
  /** In help: the columns, in place of keys and signs. */
  readonly showsColumnHelp: boolean;
  /** As `identifyLine` gives it; `null` selects the first event. */
  readonly selectedEvent: string | null;
  /** First visible line of the table. */
  readonly top: number;
  /** First visible line of help or details. */
  readonly scroll: number;
  /** `null`: in the order of the endpoints. */
  readonly sort: Sort | null;
  readonly filter: string;
  /** Typing edits the filter. */
  readonly isTyping: boolean;
  readonly grouping: Grouping;
  /** If there are several groups. */
  readonly isGrouped: boolean;
  readonly foldedGroups: ReadonlySet<string>;
  /** The table fills its page. */
  readonly isZoomed: boolean;
  readonly theme: ThemeName;
  /** All, in the user's order. */
  readonly columnIds: readonly string[];
  readonly hiddenColumnIds: ReadonlySet<string>;
  readonly columnCursor: number;
}

export interface UiContext {
  /** Of the table, in order. */
  readonly lineKeys: readonly string[];
  /** Group of the selected line; `null` if there is none. */
  readonly selectedGroup: { readonly groupKey: string; readonly key: string } | null;
  /** Groups that are not folded. */
  readonly openGroupKeys: ReadonlySet<string>;
  /** Visible lines of the table or text. */
  readonly pageLines: number;
  /** A scrolling text is shown, not the table. */
  readonly isText: boolean;
  /** Of the events on screen, in order. */
  readonly eventKeys: readonly string[];
  /** Maximum of `scroll`. */
  readonly lastScroll: number;
  /** First sort by each visible column, from left to right. */
  readonly sorts: readonly Sort[];
  /** Sets of columns, all of them first. */
  readonly presets: readonly (readonly string[])[];
  /** Lines of replicas in trouble, and of folded groups that have any. */
  readonly troubledKeys: ReadonlySet<string>;
}

/** `columnIds` must list all columns; without it the column menu is empty. */
export function createUi(
  chosen: Partial<
    Pick<Ui, "theme" | "filter" | "sort" | "grouping" | "columnIds" | "hiddenColumnIds">
  > = {},
): Ui {
  return {
    screen: "overview",
    page: "fleet",
    prefersTable: false,
    showsFacts: false,
    showsColumnHelp: false,
    selectedKey: null,
    selectedEvent: null,
    top: 0,
    scroll: 0,
    sort: null,
    filter: "",
    isTyping: false,
    grouping: "model",
    isGrouped: true,
    foldedGroups: new Set(),
    isZoomed: false,
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

/** Returns the index of the selected line; 0 if it is gone. */
export function findSelected(ui: Ui, lineKeys: readonly string[]): number {
  return Math.max(0, ui.selectedKey === null ? 0 : lineKeys.indexOf(ui.selectedKey));
}

/** Returns the index of the selected event; 0 if it is gone. */
export function findSelectedEvent({ selectedEvent }: Ui, eventKeys: readonly string[]): number {
  return Math.max(0, selectedEvent === null ? 0 : eventKeys.indexOf(selectedEvent));
}

/** Scrolls the line into view. */
export function selectLine(ui: Ui, index: number, context: UiContext): Ui {
  const { lineKeys, pageLines } = context;
  if (lineKeys.length === 0) return ui;
  const selected = clamp(index, 0, lineKeys.length - 1);
  const top = clamp(ui.top, selected - pageLines + 1, selected);
  return { ...ui, selectedKey: lineKeys[selected], top: Math.max(0, top) };
}

export function selectKey(ui: Ui, key: string, context: UiContext): Ui {
  const index = context.lineKeys.indexOf(key);
  return index < 0 ? ui : selectLine(ui, index, context);
}

/** In lines; `null` for other commands. */
function computeMove(command: Command, pageLines: number): number | null {
  const moves: Partial<Record<Command, number>> = {
    ...{ up: -1, down: 1, page_up: -pageLines, page_down: pageLines },
    ...{ first: -Infinity, last: Infinity },
  };
  return moves[command] ?? null;
}

function move(ui: Ui, lines: number, context: UiContext): Ui {
  if (ui.screen === "columns") {
    const columnCursor = clamp(ui.columnCursor + lines, 0, ui.columnIds.length - 1);
    return { ...ui, columnCursor };
  }
  if (context.eventKeys.length > 0) {
    const to = findSelectedEvent(ui, context.eventKeys) + lines;
    return { ...ui, selectedEvent: context.eventKeys[clamp(to, 0, context.eventKeys.length - 1)] };
  }
  if (context.isText) {
    // The text may have become shorter since.
    const now = Math.min(ui.scroll, context.lastScroll);
    return { ...ui, scroll: clamp(now + lines, 0, context.lastScroll) };
  }
  return selectLine(ui, findSelected(ui, context.lineKeys) + lines, context);
}

function sortBy(ui: Ui, steps: number, { sorts }: UiContext): Ui {
  // Index −1 is the original order.
  const now = sorts.findIndex(({ columnId }) => columnId === ui.sort?.columnId);
  const count = sorts.length + 1;
  const next = ((now + 1 + steps) % count + count) % count - 1;
  return { ...ui, sort: next < 0 ? null : sorts[next] };
}

/** Inverts the order if already sorted by the column. */
export function sortByColumn(ui: Ui, { columnId, isDescending }: Sort): Ui {
  const isSame = ui.sort?.columnId === columnId;
  return { ...ui, sort: { columnId, isDescending: isSame ? !ui.sort.isDescending : isDescending } };
}

function goBack(ui: Ui): Ui {
  if (ui.screen === "detail" && ui.showsFacts) return { ...ui, showsFacts: false, scroll: 0 };
  if (ui.screen !== "overview") return { ...ui, screen: "overview", scroll: 0 };
  if (ui.page !== "fleet") return { ...ui, page: "fleet", scroll: 0 };
  if (ui.isZoomed) return { ...ui, isZoomed: false };
  return { ...ui, filter: "", isTyping: false };
}

/** The page on screen gives way to the fleet. */
function togglePage(ui: Ui, page: PageId): Ui {
  const isShown = ui.screen === "overview" && ui.page === page;
  const next = isShown ? "fleet" : page;
  return { ...ui, screen: "overview", page: next, scroll: 0, isTyping: false };
}

const SEVERITY: Sort = { columnId: "state", isDescending: true };

/** Selects the nearest line in trouble, around the end. */
function findTrouble(ui: Ui, isBack: boolean, context: UiContext): Ui {
  const { lineKeys, troubledKeys } = context;
  const selected = findSelected(ui, lineKeys);
  const around = [...lineKeys.slice(selected + 1), ...lineKeys.slice(0, selected + 1)];
  // Back: the selected line comes last, too.
  const ahead = isBack ? [...around.slice(0, -1).reverse(), ...around.slice(-1)] : around;
  const key = ahead.find((one) => troubledKeys.has(one));
  return key === undefined ? ui : { ...selectKey(ui, key, context), scroll: 0 };
}

/** Skips the lines of open groups: their rows follow. */
function step(ui: Ui, isBack: boolean, context: UiContext): Ui {
  const { lineKeys, openGroupKeys } = context;
  const selected = findSelected(ui, lineKeys);
  const ahead = isBack ? lineKeys.slice(0, selected).reverse() : lineKeys.slice(selected + 1);
  const steps = ahead.findIndex((key) => !openGroupKeys.has(key)) + 1;
  return { ...selectLine(ui, selected + (isBack ? -steps : steps), context), scroll: 0 };
}

function fold(ui: Ui, isFolded: boolean, context: UiContext): Ui {
  const { selectedGroup, isText } = context;
  if (ui.screen === "help") return { ...ui, showsColumnHelp: !isFolded, scroll: 0 };
  if (ui.screen === "log") return { ...step(ui, isFolded, context), scroll: Infinity };
  if (ui.screen === "detail") return step(ui, isFolded, context);
  // The table is hidden.
  if (selectedGroup === null || isText) return ui;
  const { groupKey, key } = selectedGroup;
  const foldedGroups = new Set(ui.foldedGroups);
  if (!isFolded) {
    foldedGroups.delete(groupKey);
    return { ...ui, foldedGroups };
  }
  // The selected row is hidden now: select its group.
  foldedGroups.add(groupKey);
  return selectKey({ ...ui, foldedGroups }, key, context);
}

function moveColumn(ui: Ui, steps: number): Ui {
  const to = clamp(ui.columnCursor + steps, 0, ui.columnIds.length - 1);
  const columnIds = [...ui.columnIds];
  const [moved] = columnIds.splice(ui.columnCursor, 1);
  columnIds.splice(to, 0, moved);
  return { ...ui, columnIds, columnCursor: to };
}

/** Returns the index of the preset that is shown; −1 for the user's own choice. */
export function findPreset(
  { columnIds, hiddenColumnIds }: Ui,
  presets: readonly (readonly string[])[],
): number {
  const shown = columnIds.filter((id) => !hiddenColumnIds.has(id));
  return presets.findIndex((ids) =>
    ids.length === shown.length && ids.every((id, i) => id === shown[i])
  );
}

/** The columns of the next preset, in its order; the others are hidden behind them. */
function choosePreset(ui: Ui, { presets }: UiContext): Ui {
  if (presets.length === 0) return ui;
  const chosen = presets[(findPreset(ui, presets) + 1) % presets.length];
  const others = ui.columnIds.filter((id) => !chosen.includes(id));
  const columnIds = [...chosen, ...others];
  return { ...ui, columnIds, hiddenColumnIds: new Set(others), columnCursor: 0 };
}

function toggleColumn(ui: Ui): Ui {
  const id = ui.columnIds[ui.columnCursor];
  const hiddenColumnIds = new Set(ui.hiddenColumnIds);
  if (!hiddenColumnIds.delete(id)) hiddenColumnIds.add(id);
  return { ...ui, hiddenColumnIds };
}

/** Wraps around. */
function cycle<T>(names: readonly T[], name: T): T {
  return names[(names.indexOf(name) + 1) % names.length];
}

function toggleScreen(ui: Ui, screen: Screen): Ui {
  const next = ui.screen === screen ? "overview" : screen;
  // The filter is hidden: stop typing.
  return { ...ui, screen: next, showsColumnHelp: false, scroll: 0, isTyping: false };
}

function openDetail(ui: Ui, showsFacts: boolean): Ui {
  return { ...ui, screen: "detail", showsFacts, scroll: 0, isTyping: false };
}

/** Opens at the end, and follows it. */
function toggleLog(ui: Ui, { lineKeys }: UiContext): Ui {
  const selectedKey = lineKeys[findSelected(ui, lineKeys)] ?? null;
  return { ...toggleScreen({ ...ui, selectedKey }, "log"), scroll: Infinity };
}

/** Opened, or of the only replica. */
function showsDetail(ui: Ui, { isText }: UiContext): boolean {
  return ui.screen === "detail" ||
    (isText && ui.screen === "overview" && ui.page === "fleet");
}

function toggleDetail(ui: Ui, context: UiContext): Ui {
  const isDetail = showsDetail(ui, context);
  return {
    ...ui,
    screen: isDetail ? "overview" : "detail",
    prefersTable: isDetail,
    showsFacts: false,
    scroll: 0,
    isTyping: false,
  };
}

/** The filter line is above the table: show the table. */
function startFilter(ui: Ui): Ui {
  const table = { screen: "overview", page: "fleet", prefersTable: true } as const;
  return { ...ui, ...table, scroll: 0, isTyping: true };
}

export function applyCommand(ui: Ui, command: Command, context: UiContext): Ui {
  const lines = computeMove(command, context.pageLines);
  if (lines !== null) return move(ui, lines, context);
  const isMenu = ui.screen === "columns";
  const isDetail = showsDetail(ui, context);
  switch (command) {
    case "open":
      return isMenu ? toggleColumn(ui) : openDetail(ui, false);
    case "facts":
      return openDetail(ui, ui.screen !== "detail" || !ui.showsFacts);
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
    case "log":
      return toggleLog(ui, context);
    case "help":
      return toggleScreen(ui, "help");
    case "columns":
      return toggleScreen(ui, "columns");
    case "preset":
      return choosePreset(ui, context);
    // The hidden table stays as it is.
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
    case "sort_severity":
      return isDetail
        ? ui
        : { ...ui, sort: ui.sort?.columnId === SEVERITY.columnId ? null : SEVERITY };
    case "next_trouble":
      return findTrouble(ui, false, context);
    case "previous_trouble":
      return findTrouble(ui, true, context);
    case "next_page":
      return { ...ui, screen: "overview", page: cycle(PAGE_IDS, ui.page), scroll: 0 };
    case "zoom":
      return { ...ui, isZoomed: !ui.isZoomed };
    case "next_theme":
      return { ...ui, theme: cycle(THEME_NAMES, ui.theme) };
    case "show_fleet":
    case "show_latency":
    case "show_gpus":
    case "show_trends":
    case "show_cost":
    case "show_events":
      return togglePage(ui, command.slice("show_".length) as PageId);
    default:
      return ui;
  }
}

export type FilterEdit =
  | { readonly kind: "insert"; readonly text: string }
  | { readonly kind: "delete" | "delete_word" | "delete_all" | "accept" | "clear" };

const MAX_FILTER_LENGTH = 200;

export function editFilter(ui: Ui, edit: FilterEdit): Ui {
  switch (edit.kind) {
    case "insert": {
      // By code points: not half a surrogate pair.
      const filter = [...ui.filter + edit.text].slice(0, MAX_FILTER_LENGTH).join("");
      return { ...ui, filter, top: 0 };
    }
    case "delete":
      return { ...ui, filter: [...ui.filter].slice(0, -1).join(""), top: 0 };
    case "delete_word":
      // The word and blanks after it.
      return { ...ui, filter: ui.filter.replace(/\S*\s*$/u, ""), top: 0 };
    case "delete_all":
      return { ...ui, filter: "", top: 0 };
    case "accept":
      return { ...ui, isTyping: false };
    case "clear":
      return { ...ui, filter: "", isTyping: false, top: 0 };
  }
}
