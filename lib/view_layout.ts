/**
 * Panels into the room that the table leaves.
 *
 * On a wide screen panels stand in two columns. Each is shown in
 * full where it fits, else as one line, else not at all; the focused one claims
 * its room first, the others in the order of their importance. Lines that are
 * left over go to the panels that can use them.
 *
 * @module
 */

import { Table } from "@cliffy/table";
import type { PanelId } from "./state_ui.ts";
import { measureWidth } from "./text.ts";
import { cutStyledLine, padStyledLine, type Paint } from "./view_theme.ts";

/** Blanks between columns, wherever there are any. */
export const GAP = 2;

/** What a strip asks of its column. */
export interface LayoutColumn {
  readonly title: string;
  /** The column with the highest number goes first where there is no room. */
  readonly priority: number;
  /** Cells that it takes at the least. */
  readonly minWidth?: number;
}

/** A column with its cells, formatted once. */
export interface ColumnLayout<Column extends LayoutColumn, Cell> {
  readonly column: Column;
  /** One for each line. */
  readonly cells: readonly Cell[];
  readonly width: number;
}

/** The column with those cells. */
export function createColumnLayout<Column extends LayoutColumn, Cell>(
  column: Column,
  cells: readonly Cell[],
  readText: (cell: Cell) => string,
): ColumnLayout<Column, Cell> {
  const widths = [column.title, ...cells.map(readText)].map(measureWidth);
  return { column, cells, width: Math.max(column.minWidth ?? 0, ...widths) };
}

/** Cells across of the strips side by side. */
export function measureColumnLayouts(layouts: readonly { readonly width: number }[]): number {
  return layouts.reduce((sum, { width }) => sum + width + GAP, -GAP);
}

/**
 * The strips without those that give way until the rest fits; one stays in any
 * case. `readRoom` says how many cells all may take for the strip that would be
 * the next to go: more where another can be cut before.
 */
export function fitColumnLayouts<One extends ColumnLayout<LayoutColumn, unknown>>(
  layouts: readonly One[],
  readRoom: (next: One) => number,
): readonly One[] {
  const kept = [...layouts];
  while (kept.length > 1) {
    const next = kept.reduce((worst, layout) =>
      layout.column.priority > worst.column.priority ? layout : worst
    );
    if (measureColumnLayouts(kept) <= readRoom(next)) break;
    kept.splice(kept.indexOf(next), 1);
  }
  return kept;
}

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

/** Width from which panels, or sections of a text, stand in two columns. */
export const TWO_COLUMN_WIDTH = 160;

/** Cells by which a panel's lines stand behind its title. */
const INDENT = 2;

/** What panels are laid out in. */
interface PanelRoom {
  readonly width: number;
  readonly lines: number;
  readonly focusedPanel: PanelId;
  readonly paint: Paint;
}

/** A panel with its place. */
interface Placed {
  readonly panel: Panel;
  readonly isFull: boolean;
}

/** One column of panels, from the top. */
type PanelColumn = readonly Placed[];

/** Blocks of lines side by side, each `width` cells wide. */
export function joinSideBySide(blocks: readonly (readonly string[])[], width: number): string[] {
  const height = Math.max(...blocks.map((block) => block.length));
  return Array.from(
    { length: height },
    (_, row) => blocks.map((block) => padStyledLine(block[row] ?? "", width)).join("").trimEnd(),
  );
}

/** Lines that the column takes, or would like to have: a blank line stands before the first panel and each full one. */
function measurePanelColumn(
  layout: PanelColumn,
  count: "minLines" | "maxLines" = "minLines",
): number {
  return layout.reduce(
    (sum, { panel, isFull }, index) => sum + (isFull ? 2 + panel[count] : index === 0 ? 2 : 1),
    0,
  );
}

/** Gives each panel a place in one of the columns, as long as there is room. */
function placePanels(
  panels: readonly Panel[],
  room: PanelRoom,
  columnCount: number,
): PanelColumn[] {
  const layouts: PanelColumn[] = Array.from({ length: columnCount }, () => []);
  const isFocused = ({ id }: Panel): boolean => id === room.focusedPanel;
  const claims = [...panels.filter(isFocused), ...panels.filter((panel) => !isFocused(panel))];
  claims.forEach((panel, claim) => {
    const wanted = layouts.map((layout) => measurePanelColumn(layout, "maxLines"));
    const index = wanted.indexOf(Math.min(...wanted));
    // One line is kept for each panel that is still to come into this column.
    const others = Math.ceil((claims.length - 1 - claim) / columnCount);
    const forms = panel.minLines > 0
      ? [[true, others], [false, 0]] as const
      : [[false, 0]] as const;
    for (const [isFull, kept] of forms) {
      const layout = [...layouts[index], { panel, isFull }]
        .sort((a, b) => panels.indexOf(a.panel) - panels.indexOf(b.panel));
      if (measurePanelColumn(layout) + kept > room.lines) continue;
      layouts[index] = layout;
      break;
    }
  });
  return layouts;
}

/** The title and as many of the summary's items, two blanks apart, as fit whole; the first is cut. */
function joinWhole(title: string, summary: string, width: number): string {
  const fits = (line: string): boolean => cutStyledLine(line, width) === line;
  const [first, ...items] = summary.split(/ {2,}/);
  let line = `${title}  ${first}`;
  for (const item of items) {
    if (!fits(`${line}  ${item}`)) break;
    line += `  ${item}`;
  }
  return cutStyledLine(line, width);
}

function drawPanelColumn(layout: PanelColumn, width: number, room: PanelRoom): string[] {
  const { paint, focusedPanel } = room;
  let left = room.lines - measurePanelColumn(layout);
  return layout.flatMap(({ panel, isFull }, index) => {
    const meaning = panel.id === focusedPanel ? "title" : "heading";
    if (!isFull) {
      const title = ` ${paint(panel.title.split(/[ ,]/)[0], meaning)}`;
      const line = joinWhole(title, panel.summary, width);
      return index === 0 ? ["", line] : [line];
    }
    const extra = Math.min(left, panel.maxLines - panel.minLines);
    const lines = panel.draw({ width: width - INDENT, lines: panel.minLines + extra });
    left -= lines.length - panel.minLines;
    const indent = " ".repeat(INDENT);
    return ["", ` ${paint(panel.title, meaning)}`, ...lines.map((line) => indent + line)];
  });
}

/** The panels, as many as fit, in at most so many lines as the room has. */
export function layOutPanels(panels: readonly Panel[], room: PanelRoom): string[] {
  const columnCount = room.width >= TWO_COLUMN_WIDTH ? 2 : 1;
  const width = Math.floor(room.width / columnCount);
  const layouts = placePanels(panels, room, columnCount);
  const columns = layouts.map((layout) => drawPanelColumn(layout, width, room));
  return columnCount === 1 ? columns[0] : joinSideBySide(columns, width);
}

/** One panel with its title on the whole screen, or in as many lines as it wants. */
export function zoomPanel(
  panel: Panel,
  room: Pick<PanelRoom, "width" | "paint"> & { readonly lines?: number },
): string[] {
  const { width, paint, lines = Infinity } = room;
  const indent = " ".repeat(INDENT);
  const drawn = panel.draw({
    width: width - INDENT,
    lines: Math.max(panel.minLines, Math.min(lines - 1, panel.maxLines)),
  });
  return [` ${paint(panel.title, "title")}`, ...drawn.map((line) => indent + line)];
}
