/**
 * Columns with their cells, and which of them fit the width.
 *
 * Layer 4, pure. A strip is as wide as its widest text. Where there is no room
 * for all, whole columns give way by their priority: half a figure is none.
 * Widths are in cells of the terminal. What a column is of, how its cells are
 * painted and how they are aligned is decided by those who draw.
 *
 * @module
 */

import { measureWidth } from "./text.ts";

/** Blanks between columns, wherever there are any. */
export const GAP = 2;

/** What a strip asks of its column. */
export interface StripColumn {
  readonly title: string;
  /** The column with the highest number goes first where there is no room. */
  readonly priority: number;
  /** Cells that it takes at the least. */
  readonly minWidth?: number;
}

/** A column with its cells, formatted once. */
export interface Strip<Column extends StripColumn, Cell> {
  readonly column: Column;
  /** One for each line. */
  readonly cells: readonly Cell[];
  readonly width: number;
}

/** The column with those cells. */
export function createStrip<Column extends StripColumn, Cell>(
  column: Column,
  cells: readonly Cell[],
  readText: (cell: Cell) => string,
): Strip<Column, Cell> {
  const widths = [column.title, ...cells.map(readText)].map(measureWidth);
  return { column, cells, width: Math.max(column.minWidth ?? 0, ...widths) };
}

/** Cells across of the strips side by side. */
export function measureStrips(strips: readonly { readonly width: number }[]): number {
  return strips.reduce((sum, { width }) => sum + width + GAP, -GAP);
}

/**
 * The strips without those that give way until the rest fits; one stays in any
 * case. `readRoom` says how many cells all may take for the strip that would be
 * the next to go: more where another can be cut before.
 */
export function fitStrips<One extends Strip<StripColumn, unknown>>(
  strips: readonly One[],
  readRoom: (next: One) => number,
): readonly One[] {
  const kept = [...strips];
  while (kept.length > 1) {
    const next = kept.reduce((worst, strip) =>
      strip.column.priority > worst.column.priority ? strip : worst
    );
    if (measureStrips(kept) <= readRoom(next)) break;
    kept.splice(kept.indexOf(next), 1);
  }
  return kept;
}
