/**
 * Draws the table of replicas with its totals, in the columns that fit. Text must be sanitized
 * already.
 * @module
 */

import { Table } from "@cliffy/table";
import type { Fleet, ModelGroup } from "./state_fleet.ts";
import { type ClickTarget, findSelected, type Ui } from "./state_ui.ts";
import { cutText, cutTextStart, measureWidth } from "./text.ts";
import {
  type Cell,
  type Column,
  COLUMNS,
  createGroupLine,
  hasContent,
  startSort,
  type TableLine,
} from "./view_columns.ts";
import {
  type ColumnLayout,
  createColumnLayout,
  fitColumnLayouts,
  GAP,
  measureColumnLayouts,
} from "./view_layout.ts";
import type { VisibleRow } from "./view_rows.ts";
import type { Paint } from "./view_theme.ts";

/** In the left margin of a row that needs attention. */
const MARK = "▌";
const NO_MARK = " ";
const MIN_NAME_WIDTH = 8;
const ASCENDING = "▴";
const DESCENDING = "▾";

/** Groups of several replicas, if there are several groups. */
function listMerged({ groups }: Fleet): readonly ModelGroup[] {
  return groups.length > 1 ? groups.filter(({ figures }) => figures.replicaCount > 1) : [];
}

/** Counts the group totals that `hasGroupTotals` adds. */
export function countGroupTotals(fleet: Fleet): number {
  return listMerged(fleet).length;
}

function describeTotals(fleet: Fleet, hasGroupTotals: boolean): TableLine[] {
  const groups = hasGroupTotals ? listMerged(fleet) : [];
  return [
    ...groups.map((group) => createGroupLine(group, `ALL ${group.label}`)),
    createGroupLine(fleet.total, "ALL"),
  ];
}

/** Lists the columns not hidden, in the user's order. */
export function listWanted(ui: Ui): readonly Column[] {
  const wanted = ui.columnIds.length === 0
    ? COLUMNS
    : ui.columnIds.flatMap((id) => COLUMNS.find((column) => column.id === id) ?? []);
  return wanted.filter(({ id }) => !ui.hiddenColumnIds.has(id));
}

type TableLayout = ColumnLayout<Column, Cell>;

function getTableLayout(column: Column, lines: readonly TableLine[]): TableLayout {
  return createColumnLayout(column, lines.map(column.formatCell), ({ text }) => text);
}

/** Chooses columns that have values and fit `width`; the name may be cut. */
export function chooseColumns(
  lines: readonly TableLine[],
  width: number,
  ui: Ui,
): readonly TableLayout[] {
  const wanted = listWanted(ui).map((column) => getTableLayout(column, lines))
    .filter(({ column, cells }) => hasContent(column, cells));
  const layouts = wanted.length > 0 ? wanted : [getTableLayout(COLUMNS[0], lines)];
  const nameWidth = layouts.find(({ column }) => column.id === "replica")?.width ?? 0;
  // Drop other columns, then cut the name, then drop essential columns.
  const spare = Math.max(0, nameWidth - MIN_NAME_WIDTH);
  const room = width - NO_MARK.length;
  const kept = fitColumnLayouts(layouts, ({ column }) => column.isEssential ? room + spare : room);
  const excess = Math.min(spare, Math.max(0, measureColumnLayouts(kept) - room));
  return kept.map((layout) =>
    layout.column.id === "replica" ? { ...layout, width: layout.width - excess } : layout
  );
}

function needsAttention({ status, alerts }: TableLine): boolean {
  return status !== null && (alerts.length > 0 || status === "STALE" || status === "DOWN");
}

interface TableOptions {
  readonly width: number;
  /** Excludes heading and totals. */
  readonly maxLines: number;
  /** One line per group before ALL. */
  readonly hasGroupTotals: boolean;
  /** Add a line that says which rows are drawn. */
  readonly hasNote: boolean;
  readonly paint: Paint;
  readonly ui: Ui;
  /** Rows can be selected. */
  readonly isLive: boolean;
}

/** A table without selection. Target rows count from the heading. */
export interface DrawnTable {
  readonly lines: readonly string[];
  readonly targets: readonly ClickTarget[];
  /** Index of the first row drawn, and how many are drawn. */
  readonly top: number;
  readonly shown: number;
}

/** Returns the index of the first row drawn. If `isLive`, the selected row is among the `room` rows. */
export function findTop(
  ui: Ui,
  keys: readonly string[],
  { room, isLive }: { readonly room: number; readonly isLive: boolean },
): number {
  const selected = findSelected(ui, keys);
  const wanted = isLive ? Math.max(selected - room + 1, Math.min(ui.top, selected)) : ui.top;
  return Math.max(0, Math.min(wanted, keys.length - room));
}

/** The sort mark stands in the gap or margin, so that no column moves. */
function drawHeading(layouts: readonly TableLayout[], ui: Ui, paint: Paint): string {
  let line = "";
  let used = 0;
  let fromColumn = NO_MARK.length;
  for (const { column: { id, title, align }, width } of layouts) {
    const isSorted = ui.sort?.columnId === id;
    const sign = !isSorted ? "" : ui.sort.isDescending ? DESCENDING : ASCENDING;
    const label = align === "left" ? title + sign : sign + title;
    const start = align === "left" ? fromColumn : fromColumn + width - measureWidth(label);
    line += " ".repeat(start - used) + paint(label, "heading");
    used = start + measureWidth(label);
    fromColumn += width + GAP;
  }
  return line;
}

/** Cuts names at the start, as replicas differ at the end. */
function fitCell({ column, width }: TableLayout, text: string): string {
  return column.id === "replica" ? cutTextStart(text, width) : cutText(text, width);
}

function paintCells(
  layouts: readonly TableLayout[],
  lines: readonly TableLine[],
  paint: Paint,
): string[][] {
  return lines.map((line, row) =>
    layouts.map((layout, index) => {
      const { text, meaning } = layout.cells[row];
      const isStale = line.status === "STALE" && layout.column.id !== "state";
      const mark = index > 0 ? "" : needsAttention(line) ? paint(MARK, "alert") : NO_MARK;
      return mark + paint(fitCell(layout, text), isStale ? "dim" : meaning);
    })
  );
}

/** A click on a heading sorts by it. */
function listHeadingTargets(layouts: readonly TableLayout[]): ClickTarget[] {
  let fromColumn = 0;
  return layouts.map(({ column, width }, index): ClickTarget => {
    const toColumn = fromColumn + width + (index === 0 ? NO_MARK.length : 0);
    const action = { kind: "sort", ...startSort(column) } as const;
    const target = { row: 0, fromColumn, toColumn, action };
    fromColumn = toColumn + GAP;
    return target;
  });
}

export function renderTable(
  fleet: Fleet,
  lines: readonly VisibleRow[],
  options: TableOptions,
): DrawnTable {
  const { width, paint, ui, isLive } = options;
  const room = Math.max(1, options.maxLines);
  const top = findTop(ui, lines.map(({ key }) => key), { room, isLive });
  const shown = lines.slice(top, top + room);
  const all = [
    ...shown.map(({ cells }) => cells),
    ...describeTotals(fleet, options.hasGroupTotals),
  ];
  const layouts = chooseColumns(all, width, ui);
  const table = new Table()
    .body(paintCells(layouts, all, paint))
    .columns(layouts.map(({ column, width }, index) => ({
      align: column.align,
      // Room for the mark.
      minWidth: width + (index === 0 ? NO_MARK.length : 0),
    })))
    .padding(GAP)
    .border(false);
  const laidOut = [
    drawHeading(layouts, ui, paint),
    ...table.toString().split("\n").map((line) => line.trimEnd()),
  ];
  const hidden = lines.length - shown.length;
  if (hidden > 0 && options.hasNote) {
    const note = `${top + 1}–${top + shown.length} of ${lines.length}`;
    laidOut.splice(1 + shown.length, 0, paint(` ${note}`, "dim"));
  }
  const lineTargets = shown.map(({ key }, index): ClickTarget => ({
    row: 1 + index,
    fromColumn: 0,
    toColumn: width,
    action: { kind: "line", key },
  }));
  const targets = [...listHeadingTargets(layouts), ...lineTargets];
  return { lines: laidOut, targets, top, shown: shown.length };
}
