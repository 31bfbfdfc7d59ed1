/**
 * Lines into the table: one for each replica, one for ALL.
 *
 * Chooses the columns that fit the width, by their priority, and
 * has `@cliffy/table` lay out the lines in sight. Group lines stand before ALL
 * where several models are served, or before their rows where the user groups.
 * The text is safe already: foreign text was sanitised where it was read.
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

/** What marks a row that needs a look, in the left margin, and what stands there otherwise. */
const MARK = "▌";
const NO_MARK = " ";

/** The name is never cut to less than this. */
const MIN_NAME_WIDTH = 8;

/** What stands beside the heading of the column by which rows are sorted, in the gap if need be. */
const ASCENDING = "▴";
const DESCENDING = "▾";

/** The models that have a line of their own before ALL: of one replica, its row says all. */
function listMerged({ groups }: Fleet): readonly ModelGroup[] {
  return groups.length > 1 ? groups.filter(({ figures }) => figures.replicaCount > 1) : [];
}

/** How many lines of models the table has before ALL where it is asked for them. */
export function countGroupTotals(fleet: Fleet): number {
  return listMerged(fleet).length;
}

/** The lines that merge several replicas: one for each model where there are several, then ALL. */
function describeTotals(fleet: Fleet, hasGroupTotals: boolean): TableLine[] {
  const groups = hasGroupTotals ? listMerged(fleet) : [];
  return [
    ...groups.map((group) => createGroupLine(group, `ALL ${group.label}`)),
    createGroupLine(fleet.total, "ALL"),
  ];
}

/** The columns that the user wants, in the user's order. */
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

/** The columns that have something to say and fit into `width` cells; the name's is cut if it must be. */
export function chooseColumns(
  lines: readonly TableLine[],
  width: number,
  ui: Ui,
): readonly TableLayout[] {
  const wanted = listWanted(ui).map((column) => getTableLayout(column, lines))
    .filter(({ column, cells }) => hasContent(column, cells));
  // Where the user has hidden all that has content, names are better than nothing.
  const layouts = wanted.length > 0 ? wanted : [getTableLayout(COLUMNS[0], lines)];
  const nameWidth = layouts.find(({ column }) => column.id === "replica")?.width ?? 0;
  // What is not essential goes first, then the name is cut, then the rest goes.
  const spare = Math.max(0, nameWidth - MIN_NAME_WIDTH);
  const room = width - NO_MARK.length;
  const kept = fitColumnLayouts(layouts, ({ column }) => column.isEssential ? room + spare : room);
  const excess = Math.min(spare, Math.max(0, measureColumnLayouts(kept) - room));
  return kept.map((layout) =>
    layout.column.id === "replica" ? { ...layout, width: layout.width - excess } : layout
  );
}

const CONDITIONS_TO_LOOK_AT: ReadonlySet<unknown> = new Set(["HOT", "STALLED", "STALE", "DOWN"]);

function needsLook({ status, complaint }: TableLine): boolean {
  return complaint !== null || CONDITIONS_TO_LOOK_AT.has(status);
}

/** What the table is drawn with. */
interface TableOptions {
  readonly width: number;
  /** Lines that fit, without heading and totals. */
  readonly maxLines: number;
  /** Whether the lines of models stand before ALL. */
  readonly hasGroupTotals: boolean;
  /** Whether there is room to tell which lines are in sight. */
  readonly hasNote: boolean;
  readonly paint: Paint;
  readonly ui: Ui;
  /** Whether a line can be selected. */
  readonly isLive: boolean;
}

/** A table without its selection. Rows of the targets count from the heading. */
export interface DrawnTable {
  readonly lines: readonly string[];
  readonly targets: readonly ClickTarget[];
  /** The index of the first line in sight, and how many are. */
  readonly top: number;
  readonly shown: number;
}

/** The index of the first line in sight, of `room` lines. On a screen the selected line is always in sight. */
export function findTop(
  ui: Ui,
  keys: readonly string[],
  { room, isLive }: { readonly room: number; readonly isLive: boolean },
): number {
  const selected = findSelected(ui, keys);
  const wanted = isLive ? Math.max(selected - room + 1, Math.min(ui.top, selected)) : ui.top;
  return Math.max(0, Math.min(wanted, keys.length - room));
}

/** The heading. The sign of the sorted column stands where it moves nothing: in the gap or the margin. */
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

/** The cells of a column are cut at their ends, names at their front. */
function fitCell({ column, width }: TableLayout, text: string): string {
  return column.id === "replica" ? cutTextStart(text, width) : cutText(text, width);
}

/** The cells of the table, painted: a row for each line. */
function paintCells(
  layouts: readonly TableLayout[],
  lines: readonly TableLine[],
  paint: Paint,
): string[][] {
  return lines.map((line, row) =>
    layouts.map((layout, index) => {
      const { text, meaning } = layout.cells[row];
      const isOld = line.status === "STALE" && layout.column.id !== "state";
      const mark = index > 0 ? "" : needsLook(line) ? paint(MARK, "alert") : NO_MARK;
      return mark + paint(fitCell(layout, text), isOld ? "dim" : meaning);
    })
  );
}

/** Where the headings stand, so that a click on one sorts by it. */
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

/** Draws the table: heading, the lines in sight, totals. */
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
      // The mark stands before the first cell.
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
