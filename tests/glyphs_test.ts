import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { createPaint } from "../lib/frame.ts";
import {
  convertToAscii,
  drawBar,
  drawChart,
  drawRatioSparkline,
  drawSparkline,
} from "../lib/glyphs.ts";
import { measureWidth, sanitizeText } from "../lib/text.ts";

Deno.test("drawBar() draws the share", () => {
  assertEquals(drawBar(0, 8), "░░░░░░░░");
  assertEquals(drawBar(0.5, 8), "▇▇▇▇░░░░");
  assertEquals(drawBar(1, 8), "▇▇▇▇▇▇▇▇");
  assertEquals(drawBar(0.5, 0), "");
});

Deno.test("drawBar() is full only at 1 and empty only at 0", () => {
  assertEquals(drawBar(1e-9, 8), "▇░░░░░░░");
  assertEquals(drawBar(0.999_999, 8), "▇▇▇▇▇▇▇░");
});

Deno.test("drawBar() keeps its width beyond 0 and 1", () => {
  assertEquals(drawBar(-0.5, 4), "░░░░");
  assertEquals(drawBar(1.5, 4), "▇▇▇▇");
  assertEquals(drawBar(Infinity, 4), "▇▇▇▇");
  fc.assert(fc.property(
    fc.double({ noNaN: true }),
    fc.integer({ min: 0, max: 60 }),
    (ratio, width) => {
      const bar = drawBar(ratio, width);
      assertEquals(measureWidth(bar), width);
      assert(/^▇*░*$/.test(bar));
    },
  ));
});

Deno.test("drawBar() rises with the ratio", () => {
  const ratio = fc.double({ min: 0, max: 1, noNaN: true });
  const full = (bar: string): number => bar.replaceAll("░", "").length;
  fc.assert(fc.property(ratio, ratio, (a, b) => {
    const [low, high] = [Math.min(a, b), Math.max(a, b)];
    assert(full(drawBar(low, 24)) <= full(drawBar(high, 24)));
  }));
});

Deno.test("convertToAscii() has a stand-in for everything that is drawn", () => {
  assertEquals(
    convertToAscii("● OK … KV ▇▇░ — a–b · ≈ 1 × 2 ÷ 3 −1 ‘x’ ▌"),
    "* OK ~ KV ##. - a-b | ~ 1 x 2 / 3 -1 'x' >",
  );
  assertEquals(convertToAscii("plain"), "plain");
});

Deno.test("convertToAscii() keeps styles and the width of foreign text", () => {
  const paint = createPaint(16);
  const line = paint("模型", "alert") + paint(" é 😀 … ", "dim");
  const expected = paint("????", "alert") + paint(" ? ?? ~ ", "dim");
  assertEquals(convertToAscii(line), expected);
});

Deno.test("convertToAscii() gives ASCII of the same width", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 30 }), (text) => {
      const safe = sanitizeText(text) + "▇░—…";
      const ascii = convertToAscii(safe);
      assert(/^[\x20-\x7e]*$/.test(ascii), ascii);
      assertEquals(measureWidth(ascii), measureWidth(safe));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("drawSparkline() draws the newest values over 0, with gaps", () => {
  assertEquals(drawSparkline([0, 1, null, 2], 4), "▁▅ █");
  assertEquals(drawSparkline([9, 9, 1, 2], 2), "▅█");
  assertEquals(drawSparkline([1], 4), "   █");
  assertEquals(drawSparkline([], 3), "   ");
  assertEquals(drawSparkline([null, null], 2), "  ");
  // Nothing is running: a line on the floor, and not the ceiling.
  assertEquals(drawSparkline([0, 0], 2), "▁▁");
  assertEquals(drawSparkline([-1, 5], 2), "▁█");
});

Deno.test("drawSparkline() has its width, rises with values and is highest at the highest", () => {
  const value = fc.oneof(fc.constant(null), fc.double({ min: 0, max: 1e9, noNaN: true }));
  fc.assert(
    fc.property(fc.array(value, { maxLength: 40 }), fc.integer({ min: 1, max: 30 }), (all, n) => {
      const cells = [...drawSparkline(all, n)];
      assertEquals(cells.length, n);
      const shown = all.slice(-n);
      const highest = Math.max(0, ...shown.map((one) => one ?? 0));
      for (const [i, one] of shown.entries()) {
        const cell = cells[n - shown.length + i];
        assertEquals(cell === " ", one === null);
        if (one === highest && one > 0) assertEquals(cell, "█");
      }
      const levels = shown.map((one, i) => [one, cells[n - shown.length + i]] as const)
        .filter(([one]) => one !== null)
        .toSorted(([a], [b]) => (a ?? 0) - (b ?? 0)).map(([, cell]) => cell);
      assertEquals(levels, levels.toSorted());
    }),
  );
});

Deno.test("drawRatioSparkline() draws ratios by their level, and not by their highest", () => {
  assertEquals(drawRatioSparkline([0, 0.5, null, 1], 5), " ▁▅ █");
  assertEquals(drawRatioSparkline([0.1, 0.1], 2), "▂▂");
  // A driver that rounds may say more than all.
  assertEquals(drawRatioSparkline([1.01, -0.1], 2), "█▁");
});

Deno.test("drawChart() stacks its lines to what one line of as many levels would show", () => {
  assertEquals(drawChart([0, 1, null, 2], { width: 5, height: 2 }), ["  ▁ █", " ▁█ █"]);
  const value = fc.oneof(fc.constant(null), fc.double({ min: 0, max: 1e9, noNaN: true }));
  const size = fc.record({
    width: fc.integer({ min: 1, max: 20 }),
    height: fc.integer({ min: 1, max: 6 }),
  });
  fc.assert(
    fc.property(fc.array(value, { maxLength: 30 }), size, (all, { width, height }) => {
      const lines = drawChart(all, { width, height }).map((line) => [...line]);
      assertEquals(lines.map((line) => line.length), Array(height).fill(width));
      const shown = all.slice(-width);
      const highest = Math.max(0, ...shown.map((one) => one ?? 0));
      for (const [i, one] of shown.entries()) {
        const column = lines.map((line) => line[width - shown.length + i]).reverse().join("");
        // Full cells below, a level or none above them, then nothing.
        assertMatch(column, one === null ? /^ *$/ : /^█*[▁-█] *$/);
        if (one === highest && one > 0) assertEquals(column, "█".repeat(height));
      }
    }),
  );
});

Deno.test("convertToAscii() has a stand-in for every level of a sparkline, and for every sign", () => {
  const levels = convertToAscii("▁▂▃▄▅▆▇█");
  assertEquals(new Set(levels).size, 8);
  for (const sign of "▸▾▴↑↓⏎␣●▌") assert(/^[\x21-\x3e\x40-\x7e]$/.test(convertToAscii(sign)), sign);
});
