/**
 * Fits columns into a line, and panels into the rest of the screen: in full, as one line, or not at
 * all. The focused panel gets its space first, then the others in order; spare lines go to panels
 * that can use them.
 * @module
 */

import { Table } from "@cliffy/table";
import type { PanelId } from "./state_ui.ts";
import { measureWidth } from "./text.ts";
import { cutStyledLine, padStyledLine, type Paint } from "./view_theme.ts";

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

/**
 * Drops columns until the rest fits; at least one stays. `getRoom` returns the width available if
 * `next` is the next to be dropped: more if another column can be cut first.
 */
export function fitColumnLayouts<One extends ColumnLayout<LayoutColumn, unknown>>(
  layouts: readonly One[],
  getRoom: (next: One) => number,
): readonly One[] {
  const kept = [...layouts];
  while (kept.length > 1) {
    const next = kept.reduce((worst, layout) =>
      layout.column.priority > worst.column.priority ? layout : worst
    );
    if (measureColumnLayouts(kept) <= getRoom(next)) break;
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
  readonly id: PanelId;
  readonly title: string;
  /** Fewer, and only the summary is shown; 0 if the summary is enough. */
  readonly minLines: number;
  /** More are of no use. */
  readonly maxLines: number;
  /** Returns at least `minLines` lines; too wide ones are cut. */
  readonly draw: (space: PanelSpace) => readonly string[];
  /** Replaces the panel if there is room for one line. */
  readonly summary: string;
}

export function createFixedPanel(
  panel: Pick<Panel, "id" | "title" | "summary"> & { readonly lines: readonly string[] },
): Panel {
  const { lines, ...rest } = panel;
  return { ...rest, minLines: lines.length, maxLines: lines.length, draw: () => lines };
}

/** Aligns cells; the first column is left-aligned. */
export function layOut(rows: readonly (readonly string[])[], align: "left" | "right"): string[] {
  const count = Math.max(...rows.map((row) => row.length));
  const table = new Table()
    .body(rows.map((row) => [...row]))
    .columns(Array.from({ length: count }, (_, i) => ({ align: i === 0 ? "left" : align })))
    .padding(GAP)
    .border(false);
  return table.toString().split("\n").map((line) => line.trimEnd());
}

/** From this width on there are two columns of panels. */
export const TWO_COLUMN_WIDTH = 160;
const INDENT = 2;

interface PanelRoom {
  readonly width: number;
  readonly lines: number;
  readonly focusedPanel: PanelId;
  readonly paint: Paint;
}

interface PlacedPanel {
  readonly panel: Panel;
  readonly isFull: boolean;
}

/** From top to bottom. */
type PanelColumn = readonly PlacedPanel[];

export function joinSideBySide(blocks: readonly (readonly string[])[], width: number): string[] {
  const height = Math.max(...blocks.map((block) => block.length));
  return Array.from(
    { length: height },
    (_, row) => blocks.map((block) => padStyledLine(block[row] ?? "", width)).join("").trimEnd(),
  );
}

/** A blank line precedes the first panel and each full one. */
function measurePanelColumn(
  layout: PanelColumn,
  count: "minLines" | "maxLines" = "minLines",
): number {
  return layout.reduce(
    (sum, { panel, isFull }, index) => sum + (isFull ? 2 + panel[count] : index === 0 ? 2 : 1),
    0,
  );
}

function placePanels(
  panels: readonly Panel[],
  room: PanelRoom,
  columnCount: number,
): PanelColumn[] {
  const layouts: PanelColumn[] = Array.from({ length: columnCount }, () => []);
  const isFocused = ({ id }: Panel): boolean => id === room.focusedPanel;
  const queue = [...panels.filter(isFocused), ...panels.filter((panel) => !isFocused(panel))];
  queue.forEach((panel, position) => {
    const wanted = layouts.map((layout) => measurePanelColumn(layout, "maxLines"));
    const index = wanted.indexOf(Math.min(...wanted));
    // Reserve one line for each panel still to be placed in this column.
    const others = Math.ceil((queue.length - 1 - position) / columnCount);
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

/** Adds the summary items that fit whole; the first is cut. */
function formatSummaryLine(title: string, summary: string, width: number): string {
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
  let spare = room.lines - measurePanelColumn(layout);
  return layout.flatMap(({ panel, isFull }, index) => {
    const meaning = panel.id === focusedPanel ? "title" : "heading";
    if (!isFull) {
      const title = ` ${paint(panel.title.split(/[ ,]/)[0], meaning)}`;
      const line = formatSummaryLine(title, panel.summary, width);
      return index === 0 ? ["", line] : [line];
    }
    const extra = Math.min(spare, panel.maxLines - panel.minLines);
    const lines = panel.draw({ width: width - INDENT, lines: panel.minLines + extra });
    spare -= lines.length - panel.minLines;
    const indent = " ".repeat(INDENT);
    return ["", ` ${paint(panel.title, meaning)}`, ...lines.map((line) => indent + line)];
  });
}

/** Draws the panels that fit into `room.lines`. */
export function layOutPanels(panels: readonly Panel[], room: PanelRoom): string[] {
  const columnCount = room.width >= TWO_COLUMN_WIDTH ? 2 : 1;
  const width = Math.floor(room.width / columnCount);
  const layouts = placePanels(panels, room, columnCount);
  const columns = layouts.map((layout) => drawPanelColumn(layout, width, room));
  return columnCount === 1 ? columns[0] : joinSideBySide(columns, width);
}

/** Draws one panel with its title, in `lines` lines or as many as it wants. */
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
