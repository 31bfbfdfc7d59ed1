import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { PANEL_IDS, type PanelId } from "../lib/state_ui.ts";
import { measureWidth } from "../lib/text.ts";
import {
  createColumnLayout,
  fitColumnLayouts,
  GAP,
  type LayoutColumn,
  layOutPanels,
  measureColumnLayouts,
  type Panel,
  TWO_COLUMN_WIDTH,
  zoomPanel,
} from "../lib/view_layout.ts";
import { createPaint } from "../lib/view_theme.ts";

const plain = createPaint(null);

/** Fills its space with its own name. */
function createPanel(id: PanelId, minLines: number, maxLines = minLines): Panel {
  return {
    id,
    title: `${id.toUpperCase()} (all)`,
    minLines,
    maxLines,
    draw: ({ lines }) => Array.from({ length: lines }, (_, i) => `${id} ${i + 1}`),
    summary: `in short`,
  };
}

const PANELS = [createPanel("latency", 3), createPanel("trend", 2, 6), createPanel("totals", 2)];

function layOut(lines: number, options: { width?: number; focusedPanel?: PanelId } = {}): string[] {
  const { width = 80, focusedPanel = "latency" } = options;
  return layOutPanels(PANELS, { width, lines, focusedPanel, paint: plain });
}

Deno.test("layOutPanels() shows panels in full, else as one line, else not at all", () => {
  const titles = (lines: number): string[] =>
    layOut(lines).filter((line) => /^ [A-Z]/.test(line)).map((line) => line.trim());
  assertEquals(titles(13), ["LATENCY (all)", "TREND (all)", "TOTALS (all)"]);
  assertEquals(titles(10), ["LATENCY (all)", "TREND (all)", "TOTALS  in short"]);
  assertEquals(titles(8), ["LATENCY (all)", "TREND  in short", "TOTALS  in short"]);
  assertEquals(titles(4), ["LATENCY  in short", "TREND  in short", "TOTALS  in short"]);
  assertEquals(titles(2), ["LATENCY  in short"]);
  assertEquals(titles(1), []);
  assertEquals(layOut(0), []);
});

Deno.test("layOutPanels() drops items of a summary that do not fit", () => {
  const panel = { ...createPanel("latency", 3), summary: "P95@1m  TTFT 6.56 s  ITL 90.0 ms" };
  const lineAt = (width: number): string =>
    layOutPanels([panel], { width, lines: 2, focusedPanel: "latency", paint: plain })[1];
  assertEquals(lineAt(80), " LATENCY  P95@1m  TTFT 6.56 s  ITL 90.0 ms");
  assertEquals(lineAt(41), " LATENCY  P95@1m  TTFT 6.56 s");
  assertEquals(lineAt(20), " LATENCY  P95@1m");
  assertEquals(lineAt(12), " LATENCY  P…");
});

Deno.test("layOutPanels() gives the focused panel its space first, without moving it", () => {
  const drawn = layOut(7, { focusedPanel: "totals" });
  assertEquals(drawn.filter((line) => line !== "").map((line) => line.trim()), [
    "LATENCY  in short",
    "TREND  in short",
    "TOTALS (all)",
    "totals 1",
    "totals 2",
  ]);
});

Deno.test("layOutPanels() gives spare lines to a panel that can use them", () => {
  const lengthOf = (lines: number): number =>
    layOut(lines).filter((line) => line.startsWith("  trend")).length;
  assertEquals([13, 14, 17, 40].map(lengthOf), [2, 3, 6, 6]);
});

Deno.test("layOutPanels() uses two columns on a wide screen", () => {
  const drawn = layOut(20, { width: TWO_COLUMN_WIDTH });
  assertMatch(drawn[1], /^ LATENCY \(all\) {2,}TREND \(all\)$/);
  assertEquals(drawn[1].indexOf("TREND"), TWO_COLUMN_WIDTH / 2 + 1);
  // The third panel goes to the shorter column.
  assert(drawn.some((line) => line.startsWith(" TOTALS (all)")), drawn.join("\n"));
});

Deno.test("layOutPanels() never exceeds its space", () => {
  const space = fc.record({
    width: fc.integer({ min: 1, max: 300 }),
    lines: fc.integer({ min: 0, max: 60 }),
    focusedPanel: fc.constantFrom(...PANEL_IDS),
  });
  const panels = fc.array(
    fc.tuple(fc.constantFrom(...PANEL_IDS), fc.nat({ max: 9 }), fc.nat({ max: 9 })),
    { minLength: 1, maxLength: 6 },
  );
  fc.assert(
    fc.property(space, panels, (room, kinds) => {
      const made = kinds.map(([id, lines, more]) => createPanel(id, lines, lines + more));
      const drawn = layOutPanels(made, { ...room, paint: plain });
      assert(drawn.length <= room.lines, `${drawn.length} of ${room.lines}`);
      if (room.width >= TWO_COLUMN_WIDTH) {
        for (const line of drawn) assert(measureWidth(line) <= room.width, line);
      }
    }),
  );
});

Deno.test("zoomPanel() gives one panel the whole screen", () => {
  const room = { width: 80, lines: 5, focusedPanel: "trend", paint: plain } as const;
  assertEquals(zoomPanel(PANELS[1], room), [
    " TREND (all)",
    "  trend 1",
    "  trend 2",
    "  trend 3",
    "  trend 4",
  ]);
  // It keeps its minimum, and the screen scrolls.
  assertEquals(zoomPanel(PANELS[0], { ...room, lines: 2 }).length, 4);
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
    fitColumnLayouts(all, () => width).map(({ column }) => column.title[0]).join("");
  assertEquals(titles(19), "abcd");
  assertEquals([18, 15].map(titles), ["acd", "acd"]);
  // A narrow column is dropped before a wide, more important one.
  assertEquals([14, 7].map(titles), ["ac", "ac"]);
  assertEquals([6, 4, 1, 0].map(titles), ["a", "a", "a", "a"]);
  assertEquals(all.length, 4, "what is given stays as it is");
  assertEquals(fitColumnLayouts([], () => 0), []);
});

Deno.test("fitColumnLayouts() asks for the room for the next column to drop", () => {
  const all = [layout("aaaa", 0), layout("bb", 1), layout("cc", 2)];
  const asked: string[] = [];
  const kept = fitColumnLayouts(all, ({ column: { title } }) => {
    asked.push(title);
    return title === "bb" ? 8 : 0;
  });
  assertEquals([kept.map(({ column }) => column.title), asked], [["aaaa", "bb"], ["cc", "bb"]]);
});
