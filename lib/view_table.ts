/**
 * Draws the table of replicas with its totals. Which columns are shown, and how wide, depends on the
 * width and the user alone, never on the values. Text must be sanitized already.
 * @module
 */

import { unicodeWidth } from "@std/cli/unicode-width";
import type { Fleet } from "./state_fleet.ts";
import { type ClickTarget, findSelected, type Ui } from "./state_ui.ts";
import { cutText, cutTextStart, measureWidth } from "./text.ts";
import { startSort } from "./view_column_table.ts";
import {
  type Column,
  COLUMNS,
  createGroupLine,
  isInTrouble,
  renderCell,
  type TableLine,
} from "./view_columns.ts";
import { formatCount, formatLatency, formatPercent, formatRange } from "./view_format.ts";
import { fitColumnLayouts, GAP } from "./view_layout.ts";
import type { VisibleRow } from "./view_rows.ts";
import type { Paint } from "./view_theme.ts";

/** In the left margin of a row in trouble, in the color of its state. */
const MARK = "▌";
const MARGIN = 1;
const ASCENDING = "▴";
const DESCENDING = "▾";

interface TableLayout {
  readonly column: Column;
  readonly width: number;
}

/** Which columns can have figures at all. */
export type Offer = Readonly<Record<NonNullable<Column["needs"]>, boolean>>;

/** Lists the columns not hidden, in the user's order. */
export function listWanted(ui: Ui): readonly Column[] {
  const wanted = ui.columnIds.length === 0
    ? COLUMNS
    : ui.columnIds.flatMap((id) => COLUMNS.find((column) => column.id === id) ?? []);
  return wanted.filter(({ id }) => !ui.hiddenColumnIds.has(id));
}

const MAX_NAME_SHARE = 0.3;
/** For names of models, which go on where their line has no state. */
const GROUP_WIDTH = 13;
const ROOM_FOR_GROUPS = 100;

/** Names of replicas, which differ at the end, set the width of the first column. */
function measureNames(lines: readonly TableLine[], width: number): number {
  const names = lines.flatMap(({ name, status }) => status === null ? [] : measureWidth(name));
  const hasGroups = names.length < lines.length && width >= ROOM_FOR_GROUPS;
  const widest = Math.max(hasGroups ? GROUP_WIDTH : 0, ...names);
  return Math.min(widest, Math.floor(width * MAX_NAME_SHARE));
}

/** Chooses columns that fit `width`. */
export function chooseColumns(
  lines: readonly TableLine[],
  { width, ui, offer }: { readonly width: number; readonly ui: Ui; readonly offer: Offer },
): readonly TableLayout[] {
  const wanted = listWanted(ui).filter(({ needs }) => needs === undefined || offer[needs]);
  const nameWidth = measureNames(lines, width);
  const layouts = (wanted.length > 0 ? wanted : [COLUMNS[0]]).map((column): TableLayout => {
    const least = column.id === "replica" ? nameWidth : 0;
    return { column, width: Math.max(column.minWidth, least, measureWidth(column.title)) };
  });
  return fitColumnLayouts(layouts, width - MARGIN);
}

interface TableOptions {
  readonly width: number;
  /** Excludes heading and totals. */
  readonly maxLines: number;
  readonly offer: Offer;
  readonly paint: Paint;
  readonly ui: Ui;
  /** Rows can be selected. */
  readonly isLive: boolean;
}

/** A table without selection. Target rows count from the heading. */
export interface DrawnTable {
  readonly lines: readonly string[];
  readonly targets: readonly ClickTarget[];
  /** Indexes of the rows drawn. */
  readonly shown: readonly number[];
}

/** Returns the first of a window of `room` among `count`, which begins at `top` and has `selected`. */
function findTop(top: number, selected: number, { room, count }: Record<"room" | "count", number>) {
  const wanted = selected < 0 ? top : Math.max(selected - room + 1, Math.min(top, selected));
  return Math.max(0, Math.min(wanted, count - room));
}

/**
 * Chooses `room` rows: those in trouble, the lines of groups if there is room for them too, and a
 * window over the others that has the selected one.
 */
export function chooseRows(
  lines: readonly VisibleRow[],
  ui: Ui,
  { room, isLive }: { readonly room: number; readonly isLive: boolean },
): readonly number[] {
  const all = lines.map((_, index) => index);
  if (lines.length <= room) return all;
  const isTroubled = (index: number): boolean => isInTrouble(lines[index].cells);
  const troubled = all.filter(isTroubled);
  const withGroups = all.filter((index) => lines[index].kind === "group" || isTroubled(index));
  // At least one row besides, so that the selection can move.
  const pinned = new Set([withGroups, troubled].find(({ length }) => length < room));
  const others = all.filter((index) => !pinned.has(index));
  const left = room - pinned.size;
  const selected = isLive ? others.indexOf(findSelected(ui, lines.map(({ key }) => key))) : -1;
  const top = findTop(others.filter((index) => index < ui.top).length, selected, {
    room: left,
    count: others.length,
  });
  const window = others.slice(top, top + left);
  return [...pinned, ...window].sort((a, b) => a - b);
}

/** The sort mark stands in the gap or margin, so that no column moves. */
function drawHeading(layouts: readonly TableLayout[], ui: Ui, paint: Paint): string {
  let line = "";
  let used = 0;
  let fromColumn = MARGIN;
  for (const { column: { id, title, align }, width } of layouts) {
    const isSorted = ui.sort?.columnId === id;
    const sign = !isSorted ? "" : ui.sort.isDescending ? DESCENDING : ASCENDING;
    const label = align === "left" ? title + sign : sign + title;
    const start = align === "left" ? fromColumn : fromColumn + width - measureWidth(label);
    line += " ".repeat(start - used) + paint(label, "dim");
    used = start + measureWidth(label);
    fromColumn += width + GAP;
  }
  return line;
}

/** Cuts names at the start, as replicas differ at the end. */
function fitCell({ column, width }: TableLayout, text: string, line: TableLine): string {
  return column.id === "replica" && line.status !== null
    ? cutTextStart(text, width)
    : cutText(text, width);
}

function drawLine(
  layouts: readonly TableLayout[],
  line: TableLine,
  { width, paint }: Pick<TableOptions, "width" | "paint">,
): string {
  let used = MARGIN;
  const state = layouts.find(({ column }) => column.id === "state")?.column
    .formatCell({ ...line, status: line.foldedTrouble ?? line.status });
  let drawn = isInTrouble(line) ? paint(MARK, state?.meaning ?? "alert") : " ".repeat(MARGIN);
  for (let i = 0; i < layouts.length; i++) {
    let layout = layouts[i];
    const { text, meaning } = renderCell(layout.column, line);
    // The line of a group has no state.
    if (line.status === null && layout.column.id === "replica") {
      const next = layouts[i + 1];
      if (next?.column.id === "state" && measureWidth(text) > layout.width) {
        layout = { ...layout, width: layout.width + GAP + next.width };
        i++;
      }
    }
    const cell = fitCell(layout, text, line);
    const isOld = line.status === "STALE" && layout.column.id !== "state";
    // As terminals without emoji presentation count, which are the more common.
    const padding = " ".repeat(Math.max(0, layout.width - unicodeWidth(cell)));
    const painted = paint(cell, isOld ? "dim" : meaning);
    drawn += layout.column.align === "left" ? painted + padding : padding + painted;
    used += layout.width + GAP;
    if (line.note !== "" && layout.column.id === "state") {
      return drawn + " ".repeat(GAP) + paint(cutText(line.note, width - used), "plain");
    }
    if (i < layouts.length - 1) drawn += " ".repeat(GAP);
  }
  return drawn.trimEnd();
}

/** `… 18 more ok: RUN 20–24, KV 40–50 %, ITL 46–47 ms`. */
function describeHidden(hidden: readonly TableLine[]): string {
  const isCalm = !hidden.some(isInTrouble);
  const range = (
    title: string,
    read: (line: TableLine) => number | null | undefined,
    format: (value: number) => string,
  ): string => {
    const known = hidden.flatMap((line) => read(line) ?? []);
    if (known.length === 0) return "";
    return `${title} ${formatRange({ min: Math.min(...known), max: Math.max(...known) }, format)}`;
  };
  const ranges = [
    range("RUN", ({ figures }) => figures.running.value, formatCount),
    range("KV", ({ figures }) => figures.kvCache.maxRatio.value, formatPercent),
    range("ITL", ({ figures }) => figures.lastMinute.latency.itl.p95.value?.value, formatLatency),
  ].filter((text) => text !== "");
  const said = `… ${hidden.length} more${isCalm ? " ok" : ""}`;
  return ranges.length === 0 ? said : `${said}: ${ranges.join(", ")}`;
}

/** A click on a heading sorts by it. */
function listHeadingTargets(layouts: readonly TableLayout[]): ClickTarget[] {
  let fromColumn = 0;
  return layouts.map(({ column, width }, index): ClickTarget => {
    const toColumn = fromColumn + width + (index === 0 ? MARGIN : 0);
    const action = { kind: "sort", ...startSort(column) } as const;
    const target = { row: 0, fromColumn, toColumn, action };
    fromColumn = toColumn + GAP;
    return target;
  });
}

/** Draws heading, rows, a line about rows left out, and totals. */
export function renderTable(
  fleet: Fleet,
  lines: readonly VisibleRow[],
  options: TableOptions,
): DrawnTable {
  const { width, paint, ui, isLive, offer, maxLines } = options;
  const isCut = lines.length > maxLines;
  // A line about the others, if there is room for two.
  const room = Math.max(1, isCut && maxLines > 1 ? maxLines - 1 : maxLines);
  const shown = chooseRows(lines, ui, { room, isLive });
  const layouts = chooseColumns(lines.map(({ cells }) => cells), { width, ui, offer });
  const draw = (line: TableLine): string => drawLine(layouts, line, options);
  const rows = shown.map((index) => draw(lines[index].cells));
  const hidden = isCut && maxLines > 1 ? lines.filter((_, index) => !shown.includes(index)) : [];
  const hiddenRows = hidden.filter(({ kind }) => kind === "row").map(({ cells }) => cells);
  const note = hiddenRows.length === 0 ? [] : [paint(` ${describeHidden(hiddenRows)}`, "dim")];
  const lineTargets = shown.map((index, place): ClickTarget => ({
    row: 1 + place,
    fromColumn: 0,
    toColumn: width,
    action: { kind: "line", key: lines[index].key },
  }));
  return {
    lines: [
      drawHeading(layouts, ui, paint),
      ...rows,
      ...note,
      draw(createGroupLine(fleet.total, "ALL")),
    ],
    targets: [...listHeadingTargets(layouts), ...lineTargets],
    shown,
  };
}
