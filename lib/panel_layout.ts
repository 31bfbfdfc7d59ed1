/**
 * Panels into the room that the table leaves.
 *
 * Layer 4, pure. On a wide screen panels stand in two columns. Each is shown in
 * full where it fits, else as one line, else not at all; the focused one claims
 * its room first, the others in the order of their importance. Lines that are
 * left over go to the panels that can use them.
 *
 * @module
 */

import { cutStyledLine, padStyledLine, type Paint } from "./frame.ts";
import type { Panel } from "./panel.ts";
import type { PanelId } from "./ui.ts";

/** Width from which panels, or sections of a text, stand in two columns. */
export const TWO_COLUMN_WIDTH = 160;

/** Cells by which a panel's lines stand behind its title. */
const INDENT = 2;

/** What panels are laid out in. */
export interface PanelRoom {
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
type Strip = readonly Placed[];

/** Blocks of lines side by side, each `width` cells wide. */
export function joinSideBySide(blocks: readonly (readonly string[])[], width: number): string[] {
  const height = Math.max(...blocks.map((block) => block.length));
  return Array.from(
    { length: height },
    (_, row) => blocks.map((block) => padStyledLine(block[row] ?? "", width)).join("").trimEnd(),
  );
}

/** Lines that the column takes, or would like to have: a blank line stands before the first panel and each full one. */
function measureStrip(strip: Strip, count: "minLines" | "maxLines" = "minLines"): number {
  return strip.reduce(
    (sum, { panel, isFull }, index) => sum + (isFull ? 2 + panel[count] : index === 0 ? 2 : 1),
    0,
  );
}

/** Gives each panel a place in one of the columns, as long as there is room. */
function placePanels(panels: readonly Panel[], room: PanelRoom, columnCount: number): Strip[] {
  const strips: Strip[] = Array.from({ length: columnCount }, () => []);
  const isFocused = ({ id }: Panel): boolean => id === room.focusedPanel;
  const claims = [...panels.filter(isFocused), ...panels.filter((panel) => !isFocused(panel))];
  claims.forEach((panel, claim) => {
    const wanted = strips.map((strip) => measureStrip(strip, "maxLines"));
    const index = wanted.indexOf(Math.min(...wanted));
    // One line is kept for each panel that is still to come into this column.
    const others = Math.ceil((claims.length - 1 - claim) / columnCount);
    const forms = panel.minLines > 0
      ? [[true, others], [false, 0]] as const
      : [[false, 0]] as const;
    for (const [isFull, kept] of forms) {
      const strip = [...strips[index], { panel, isFull }]
        .sort((a, b) => panels.indexOf(a.panel) - panels.indexOf(b.panel));
      if (measureStrip(strip) + kept > room.lines) continue;
      strips[index] = strip;
      break;
    }
  });
  return strips;
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

function drawStrip(strip: Strip, width: number, room: PanelRoom): string[] {
  const { paint, focusedPanel } = room;
  let left = room.lines - measureStrip(strip);
  return strip.flatMap(({ panel, isFull }, index) => {
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
  const strips = placePanels(panels, room, columnCount);
  const columns = strips.map((strip) => drawStrip(strip, width, room));
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
