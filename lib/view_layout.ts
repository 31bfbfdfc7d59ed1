/**
 * Fits columns into a line, and panels into the rest of the screen: in full, as one line, or not at
 * all. The focused panel gets its space first, then the others in order; spare lines go to panels
 * that can use them.
 * @module
 */

import { Table } from "@cliffy/table";
import { measureWidth } from "./text.ts";
import { padStyledLine, type Paint } from "./view_theme.ts";

/** Cells between columns. */
export const GAP = 2;

export interface LayoutColumn {
  readonly title: string;
  /** The highest number is dropped first. */
  readonly priority: number;
  /** In cells. */
  readonly minWidth?: number;
}

export interface ColumnLayout<Column extends LayoutColumn, Cell> {
  readonly column: Column;
  /** One per line. */
  readonly cells: readonly Cell[];
  readonly width: number;
}

export function createColumnLayout<Column extends LayoutColumn, Cell>(
  column: Column,
  cells: readonly Cell[],
  getText: (cell: Cell) => string,
): ColumnLayout<Column, Cell> {
  const widths = [column.title, ...cells.map(getText)].map(measureWidth);
  return { column, cells, width: Math.max(column.minWidth ?? 0, ...widths) };
}

export function measureColumnLayouts(layouts: readonly { readonly width: number }[]): number {
  return layouts.reduce((sum, { width }) => sum + width + GAP, -GAP);
}

/** Drops columns until the rest fits; at least one stays. */
export function fitColumnLayouts<
  One extends { readonly column: { readonly priority: number }; readonly width: number },
>(layouts: readonly One[], width: number): readonly One[] {
  const kept = [...layouts];
  while (kept.length > 1 && measureColumnLayouts(kept) > width) {
    const next = kept.reduce((worst, layout) =>
      layout.column.priority > worst.column.priority ? layout : worst
    );
    kept.splice(kept.indexOf(next), 1);
  }
  return kept;
}

/** `lines` excludes the title. */
export interface PanelSpace {
  readonly width: number;
  readonly lines: number;
}

export interface Panel {
  readonly title: string;
  readonly minLines: number;
  /** More are of no use. */
  readonly maxLines: number;
  /** Returns at least `minLines` lines; too wide ones are cut. */
  readonly draw: (space: PanelSpace) => readonly string[];
}

export function createFixedPanel(
  panel: Pick<Panel, "title"> & { readonly lines: readonly string[] },
): Panel {
  const { lines, ...rest } = panel;
  return { ...rest, minLines: lines.length, maxLines: lines.length, draw: () => lines };
}

type Alignment = "left" | "right";

/** Aligns cells; with one alignment, that of all columns but the first, which is left-aligned. */
export function layOut(
  rows: readonly (readonly string[])[],
  align: Alignment | readonly Alignment[],
): string[] {
  const choose = (i: number): Alignment =>
    typeof align !== "string" ? align[i] : i === 0 ? "left" : align;
  const count = Math.max(...rows.map((row) => row.length));
  const table = new Table()
    .body(rows.map((row) => [...row]))
    .columns(Array.from({ length: count }, (_, i) => ({ align: choose(i) })))
    .padding(GAP)
    .border(false);
  return table.toString().split("\n").map((line) => line.trimEnd());
}

const INDENT = 2;

export function joinSideBySide(blocks: readonly (readonly string[])[], width: number): string[] {
  const height = Math.max(...blocks.map((block) => block.length));
  return Array.from(
    { length: height },
    (_, row) => blocks.map((block) => padStyledLine(block[row] ?? "", width)).join("").trimEnd(),
  );
}

/** Draws one panel with its title, in `lines` lines or as many as it wants. */
export function zoomPanel(
  panel: Panel,
  room: { readonly width: number; readonly paint: Paint; readonly lines?: number },
): string[] {
  const { width, paint, lines = Infinity } = room;
  const indent = " ".repeat(INDENT);
  const drawn = panel.draw({
    width: width - INDENT,
    lines: Math.max(panel.minLines, Math.min(lines - 1, panel.maxLines)),
  });
  return [` ${paint(panel.title, "title")}`, ...drawn.map((line) => indent + line)];
}
