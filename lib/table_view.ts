/**
 * Lines into the table: one for each replica, one for ALL.
 *
 * Layer 4, pure. Chooses the columns that fit the width, by their priority, and
 * has `@cliffy/table` lay out the lines in sight. Group lines stand before ALL
 * where several models are served, or before their rows where the user groups.
 * The text is safe already: foreign text was sanitised where it was read.
 *
 * @module
 */

import { Table } from "@cliffy/table";
import { type Column, COLUMNS, describeGroup, hasContent, type TableLine } from "./columns.ts";
import { type ClickTarget, type Paint, repaintLine } from "./frame.ts";
import type { ListLine } from "./listing.ts";
import { type Overview, shortenModelName } from "./overview.ts";
import { cutText, measureWidth } from "./text.ts";
import { findSelected, type Ui } from "./ui.ts";

/** Blanks between columns. */
const GAP = 2;

/** What marks a row that needs a look, in the left margin, and what stands there otherwise. */
const MARK = "▌";
const NO_MARK = " ";

/** The name is never cut to less than this. */
const MIN_NAME_WIDTH = 12;

/** What follows the heading of the column by which rows are sorted. */
const ASCENDING = "▴";
const DESCENDING = "▾";

/** The lines that merge several replicas: one for each model where there are several, then ALL. */
function describeTotals(overview: Overview, hasGroupTotals: boolean): TableLine[] {
  const groups = hasGroupTotals && overview.groups.length > 1
    ? overview.groups.filter(({ figures }) => figures.replicaCount > 1)
      .map((group) => describeGroup(group, `ALL ${shortenModelName(group.modelName)}`))
    : [];
  return [...groups, describeGroup(overview.total, "ALL")];
}

function titleOf(column: Column, ui: Ui): string {
  if (ui.sort?.columnId !== column.id) return column.title;
  return column.title + (ui.sort.isDescending ? DESCENDING : ASCENDING);
}

function measureColumn(column: Column, lines: readonly TableLine[], ui: Ui): number {
  const widths = lines.map((line) => measureWidth(column.readCell(line).text));
  return Math.max(column.minWidth, measureWidth(titleOf(column, ui)), ...widths);
}

/** The columns that the user wants, in the user's order. */
function listWanted(ui: Ui): readonly Column[] {
  const wanted = ui.columnIds.length === 0
    ? COLUMNS
    : ui.columnIds.flatMap((id) => COLUMNS.find((column) => column.id === id) ?? []);
  return wanted.filter(({ id }) => !ui.hiddenColumnIds.has(id));
}

/** The columns that have something to say and fit into `width` cells, and how wide the name may be. */
export function chooseColumns(
  lines: readonly TableLine[],
  width: number,
  ui: Ui,
): { readonly columns: readonly Column[]; readonly nameWidth: number } {
  const columns = listWanted(ui).filter((column) => hasContent(column, lines));
  const widths = new Map(columns.map((column) => [column, measureColumn(column, lines, ui)]));
  const total = (): number =>
    columns.reduce((sum, column) => sum + (widths.get(column) ?? 0) + GAP, NO_MARK.length - GAP);
  const nameColumn = columns.find(({ id }) => id === "replica");
  const nameWidth = nameColumn === undefined ? 0 : widths.get(nameColumn) ?? 0;
  // What is not essential goes first, then the name is cut, then the rest goes.
  const spare = Math.max(0, nameWidth - MIN_NAME_WIDTH);
  for (;;) {
    const last = columns.reduce((worst, column) =>
      column.priority > worst.priority ? column : worst
    );
    const room = last.isEssential === true ? width + spare : width;
    if (total() <= room || columns.length === 1) break;
    columns.splice(columns.indexOf(last), 1);
  }
  const excess = Math.max(0, total() - width);
  return { columns, nameWidth: Math.min(nameWidth, Math.max(MIN_NAME_WIDTH, nameWidth - excess)) };
}

function needsLook(line: TableLine): boolean {
  return line.status === "DOWN" || line.status === "STALE";
}

/** What the table is drawn with. */
export interface TableOptions {
  readonly width: number;
  /** Lines that fit, without heading and totals. */
  readonly maxLines: number;
  /** Whether the lines of models stand before ALL. */
  readonly hasGroupTotals: boolean;
  /** Whether there is room to tell which lines are in sight. */
  readonly hasNote: boolean;
  readonly paint: Paint;
  readonly ui: Ui;
  /** Whether a line is selected on the screen. */
  readonly isLive: boolean;
}

/** A drawn table. Rows of the targets count from the heading. */
export interface DrawnTable {
  readonly lines: readonly string[];
  readonly targets: readonly ClickTarget[];
}

/** The lines in sight, and the index of the first of them. */
function cutToSight(
  lines: readonly ListLine[],
  options: TableOptions,
): { readonly shown: readonly ListLine[]; readonly top: number } {
  const room = Math.max(1, options.maxLines);
  const top = Math.max(0, Math.min(options.ui.top, lines.length - room));
  return { shown: lines.slice(top, top + room), top };
}

/** The cells of the table, painted: heading, lines, totals. */
function paintCells(
  lines: readonly TableLine[],
  chosen: { readonly columns: readonly Column[]; readonly nameWidth: number },
  options: TableOptions,
): string[][] {
  const { columns, nameWidth } = chosen;
  const { paint, ui } = options;
  const heading = columns.map((column, index) => {
    const title = titleOf(column, ui);
    // The library aligns columns but not headings: those are padded here.
    const blanks = " ".repeat(
      column.align === "left"
        ? 0
        : Math.max(0, measureColumn(column, lines, ui) - measureWidth(title)),
    );
    return (index === 0 ? NO_MARK : "") + paint(blanks + title, "heading");
  });
  const rows = lines.map((line) =>
    columns.map((column, index) => {
      const { text, meaning } = column.readCell(line);
      const isOld = line.status === "STALE" && column.id !== "state";
      const shown = column.id === "replica" ? cutText(text, nameWidth) : text;
      const mark = index > 0 ? "" : needsLook(line) ? paint(MARK, "alert") : NO_MARK;
      return mark + paint(shown, isOld ? "dim" : meaning);
    })
  );
  return [heading, ...rows];
}

/** Where the headings stand, so that a click on one sorts by it. */
function listHeadingTargets(
  columns: readonly Column[],
  lines: readonly TableLine[],
  options: TableOptions & { readonly nameWidth: number },
): ClickTarget[] {
  let fromColumn = 0;
  return columns.map((column, index): ClickTarget => {
    const width = column.id === "replica"
      ? options.nameWidth
      : measureColumn(column, lines, options.ui);
    const toColumn = fromColumn + width + (index === 0 ? NO_MARK.length : 0);
    const action = { kind: "sort", columnId: column.id } as const;
    const target = { row: 0, fromColumn, toColumn, action };
    fromColumn = toColumn + GAP;
    return target;
  });
}

/** Draws the table: heading, the lines in sight, totals. */
export function renderTable(
  overview: Overview,
  lines: readonly ListLine[],
  options: TableOptions,
): DrawnTable {
  const { width, paint, ui, isLive } = options;
  const { shown, top } = cutToSight(lines, options);
  const all = [
    ...shown.map(({ cells }) => cells),
    ...describeTotals(overview, options.hasGroupTotals),
  ];
  const chosen = chooseColumns(all, width, ui);
  const table = new Table()
    .body(paintCells(all, chosen, options))
    .columns(chosen.columns.map(({ align, minWidth }) => ({ align, minWidth })))
    .padding(GAP)
    .border(false);
  const laidOut = table.toString().split("\n").map((line) => line.trimEnd());
  const selected = isLive ? findSelected(ui, lines.map(({ key }) => key)) - top : -1;
  if (selected >= 0 && selected < shown.length) {
    laidOut[1 + selected] = repaintLine(
      laidOut[1 + selected],
      width,
      (text) => paint(text, "selected"),
    );
  }
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
  const headings = listHeadingTargets(chosen.columns, all, { ...options, ...chosen });
  return { lines: laidOut, targets: [...headings, ...lineTargets] };
}
