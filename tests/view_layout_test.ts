import { assertEquals } from "@std/assert";
import {
  createColumnLayout,
  fitColumnLayouts,
  GAP,
  type LayoutColumn,
  measureColumnLayouts,
  type Panel,
  zoomPanel,
} from "../lib/view_layout.ts";
import { createPaint } from "../lib/view_theme.ts";

const plain = createPaint(null);

/** Fills its space with its own name. */
function createPanel(name: string, minLines: number, maxLines = minLines): Panel {
  return {
    title: `${name.toUpperCase()} (all)`,
    minLines,
    maxLines,
    draw: ({ lines }) => Array.from({ length: lines }, (_, i) => `${name} ${i + 1}`),
  };
}

Deno.test("zoomPanel() gives one panel the whole screen", () => {
  const room = { width: 80, lines: 5, paint: plain };
  assertEquals(zoomPanel(createPanel("trend", 2, 6), room), [
    " TREND (all)",
    "  trend 1",
    "  trend 2",
    "  trend 3",
    "  trend 4",
  ]);
  // It keeps its minimum, and the screen scrolls.
  assertEquals(zoomPanel(createPanel("latency", 3), { ...room, lines: 2 }).length, 4);
});

const keep = (text: string): string => text;

const layout = (title: string, priority: number, text = "") =>
  createColumnLayout<LayoutColumn, string>({ title, priority }, [text], keep);

Deno.test("createColumnLayout() is as wide as its widest text", () => {
  const column = { title: "NAME", priority: 0 };
  const widthOf = (column: LayoutColumn, ...cells: readonly string[]): number =>
    createColumnLayout(column, cells, keep).width;
  assertEquals(widthOf(column), 4);
  assertEquals(widthOf(column, "a", "模型模型"), 8);
  assertEquals(widthOf({ ...column, minWidth: 12 }, "a"), 12);
});

Deno.test("measureColumnLayouts() counts the gaps", () => {
  assertEquals(measureColumnLayouts([layout("abc", 0)]), 3);
  assertEquals(
    measureColumnLayouts([layout("abc", 0), layout("d", 1), layout("ef", 2)]),
    6 + 2 * GAP,
  );
});

Deno.test("fitColumnLayouts() drops columns by priority, but not the last one", () => {
  const all = [layout("aaaa", 0), layout("bb", 3), layout("c", 1), layout("dddddd", 2)];
  const titles = (width: number): string =>
    fitColumnLayouts(all, width).map(({ column }) => column.title[0]).join("");
  assertEquals(titles(19), "abcd");
  assertEquals([18, 15].map(titles), ["acd", "acd"]);
  // A narrow column is dropped before a wide, more important one.
  assertEquals([14, 7].map(titles), ["ac", "ac"]);
  assertEquals([6, 4, 1, 0].map(titles), ["a", "a", "a", "a"]);
  assertEquals(all.length, 4, "what is given stays as it is");
  assertEquals(fitColumnLayouts([], 0), []);
});
