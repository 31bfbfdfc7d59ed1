/**
 * What a panel is: a title, and lines that it draws into the room it is given.
 *
 * Layer 4, pure. Each panel says how many lines it needs at the least and at
 * the most; `panel_layout` decides which are shown, and where; `panels` lists
 * them.
 *
 * @module
 */

import { Table } from "@cliffy/table";
import { GAP } from "./strips.ts";
import type { PanelId } from "./ui.ts";

/** What a panel is given: cells across, and lines without its title. */
export interface PanelSpace {
  readonly width: number;
  readonly lines: number;
}

/** A panel's content. */
export interface Panel {
  readonly id: PanelId;
  readonly title: string;
  /** Lines without which it is not shown in full; 0 where its summary says all. */
  readonly minLines: number;
  /** Lines beyond which more are of no use to it. */
  readonly maxLines: number;
  /** Draws itself into at least `minLines` lines; wider than the space it is cut. */
  readonly draw: (space: PanelSpace) => readonly string[];
  /** What stands in its place where there is room for one line. */
  readonly summary: string;
}

/** A panel whose lines do not depend on its space. */
export function createFixedPanel(
  panel: Pick<Panel, "id" | "title" | "summary"> & { readonly lines: readonly string[] },
): Panel {
  const { lines, ...rest } = panel;
  return { ...rest, minLines: lines.length, maxLines: lines.length, draw: () => lines };
}

/** Rows as lines of aligned cells. The first column is aligned to the left. */
export function layOut(rows: readonly (readonly string[])[], align: "left" | "right"): string[] {
  const count = Math.max(...rows.map((row) => row.length));
  const table = new Table()
    .body(rows.map((row) => [...row]))
    .columns(Array.from({ length: count }, (_, i) => ({ align: i === 0 ? "left" : align })))
    .padding(GAP)
    .border(false);
  return table.toString().split("\n").map((line) => line.trimEnd());
}
