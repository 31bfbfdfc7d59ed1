/**
 * Rows into the comparison table: one line for each replica, one for ALL.
 *
 * Layer 4, pure. Chooses the columns that fit the width, by their priority, and
 * has `@cliffy/table` lay out the rows in sight. Group lines stand between the
 * rows and ALL where several models are served. The text is safe already:
 * foreign text was sanitised where it was read.
 *
 * @module
 */

import { Table } from "@cliffy/table";
import { type Column, COLUMNS, hasContent, type TableLine } from "./columns.ts";
import type { Paint } from "./frame.ts";
import { type ModelGroup, type Overview, type Row, shortenModelName } from "./overview.ts";
import { absent } from "./reading.ts";
import { cutText, measureWidth } from "./text.ts";

/** Blanks between columns. */
const GAP = 2;

/** What marks a row that needs a look, in the left margin, and what stands there otherwise. */
const MARK = "▌";
const NO_MARK = " ";

/** The name is never cut to less than this. */
const MIN_NAME_WIDTH = 12;

/** The line of a row. Where only one model is served, the title names it and not each row. */
function describeRow(row: Row, overview: Overview): TableLine {
  const { status, figures, age, requestShare } = row;
  const name = overview.groups.length > 1 ? row.name : row.place;
  return { name, status, figures, age, requestShare };
}

function describeGroup(group: ModelGroup, name: string): TableLine {
  return {
    name,
    status: null,
    figures: group.figures,
    age: null,
    requestShare: absent("unsupported"),
  };
}

/** The lines that merge several replicas: one for each model where there are several, then ALL. */
function describeTotals(overview: Overview): TableLine[] {
  const groups = overview.groups.length > 1
    ? overview.groups.filter(({ figures }) => figures.replicaCount > 1)
      .map((group) => describeGroup(group, `ALL ${shortenModelName(group.modelName)}`))
    : [];
  return [...groups, describeGroup(overview.total, "ALL")];
}

function measureColumn(column: Column, lines: readonly TableLine[]): number {
  const widths = lines.map((line) => measureWidth(column.readCell(line).text));
  return Math.max(column.minWidth, measureWidth(column.title), ...widths);
}

/** The columns that have something to say and fit into `width` cells, and how wide the name may be. */
export function chooseColumns(
  lines: readonly TableLine[],
  width: number,
): { readonly columns: readonly Column[]; readonly nameWidth: number } {
  const columns = COLUMNS.filter((column) => hasContent(column, lines));
  const widths = new Map(columns.map((column) => [column, measureColumn(column, lines)]));
  const total = (): number =>
    columns.reduce((sum, column) => sum + (widths.get(column) ?? 0) + GAP, NO_MARK.length - GAP);
  const [nameColumn] = columns;
  const nameWidth = widths.get(nameColumn) ?? 0;
  while (total() > width) {
    const last = columns.reduce((worst, column) =>
      column.priority > worst.priority ? column : worst
    );
    if (last.priority === 0) break;
    columns.splice(columns.indexOf(last), 1);
  }
  const excess = Math.max(0, total() - width);
  return { columns, nameWidth: Math.min(nameWidth, Math.max(MIN_NAME_WIDTH, nameWidth - excess)) };
}

function needsLook(line: TableLine): boolean {
  return line.status === "DOWN" || line.status === "STALE";
}

function paintTitle(column: Column, lines: readonly TableLine[], paint: Paint): string {
  // The library aligns columns but not headings: those are padded here.
  const blanks = " ".repeat(Math.max(0, measureColumn(column, lines) - measureWidth(column.title)));
  return paint(column.align === "right" ? blanks + column.title : column.title, "heading");
}

/** What the table is drawn with. */
export interface TableOptions {
  readonly width: number;
  /** Rows that fit; more are told as a number. */
  readonly maxRows: number;
  readonly paint: Paint;
}

/** The lines of the table: heading, rows, totals. */
export function renderTable(overview: Overview, options: TableOptions): readonly string[] {
  const { width, paint } = options;
  const shown = overview.rows.slice(0, Math.max(1, options.maxRows)).map((row) =>
    describeRow(row, overview)
  );
  const totals = describeTotals(overview);
  const lines = [...shown, ...totals];
  const { columns, nameWidth } = chooseColumns(lines, width);
  const cells = lines.map((line) =>
    columns.map((column, index) => {
      const { text, meaning } = column.readCell(line);
      const isOld = line.status === "STALE" && column.id !== "state";
      return paint(index === 0 ? cutText(text, nameWidth) : text, isOld ? "dim" : meaning);
    })
  );
  const marked = cells.map((row, index) => {
    const mark = needsLook(lines[index]) ? paint(MARK, "alert") : NO_MARK;
    return [mark + row[0], ...row.slice(1)];
  });
  const heading = columns.map((column, index) =>
    (index === 0 ? NO_MARK : "") + paintTitle(column, lines, paint)
  );
  const table = new Table()
    .body([heading, ...marked])
    .columns(columns.map(({ align, minWidth }) => ({ align, minWidth })))
    .padding(GAP)
    .border(false);
  const laidOut = table.toString().split("\n").map((line) => line.trimEnd());
  const hidden = overview.rows.length - shown.length;
  if (hidden === 0) return laidOut;
  const note = paint(` … ${hidden} more rows`, "dim");
  return [...laidOut.slice(0, 1 + shown.length), note, ...laidOut.slice(1 + shown.length)];
}
