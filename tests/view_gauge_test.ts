import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { measureWidth } from "../lib/text.ts";
import { drawGauge } from "../lib/view_gauge.ts";
import { drawStrip } from "../lib/view_graph.ts";
import { convertSigns } from "../lib/view_signs.ts";

Deno.test("drawGauge() draws the share", () => {
  assertEquals(drawGauge(0, 8), "░░░░░░░░");
  assertEquals(drawGauge(0.5, 8), "▓▓▓▓░░░░");
  assertEquals(drawGauge(1, 8), "▓▓▓▓▓▓▓▓");
  assertEquals(drawGauge(0.5, 0), "");
});

Deno.test("drawGauge() is full only at 1 and empty only at 0", () => {
  assertEquals(drawGauge(1e-9, 8), "▓░░░░░░░");
  assertEquals(drawGauge(0.999_999, 8), "▓▓▓▓▓▓▓░");
});

Deno.test("drawGauge() keeps its width beyond 0 and 1", () => {
  assertEquals(drawGauge(-0.5, 4), "░░░░");
  assertEquals(drawGauge(1.5, 4), "▓▓▓▓");
  assertEquals(drawGauge(Infinity, 4), "▓▓▓▓");
  fc.assert(fc.property(
    fc.double({ noNaN: true }),
    fc.integer({ min: 0, max: 60 }),
    (ratio, width) => {
      const gauge = drawGauge(ratio, width);
      assertEquals(measureWidth(gauge), width);
      assert(/^▓*░*$/.test(gauge));
    },
  ));
});

Deno.test("drawGauge() rises with the ratio", () => {
  const ratio = fc.double({ min: 0, max: 1, noNaN: true });
  const full = (gauge: string): number => gauge.replaceAll("░", "").length;
  fc.assert(fc.property(ratio, ratio, (a, b) => {
    const [low, high] = [Math.min(a, b), Math.max(a, b)];
    assert(full(drawGauge(low, 24)) <= full(drawGauge(high, 24)));
  }));
});

Deno.test("drawGauge() uses no sign of a history, in any form", () => {
  const gauge = drawGauge(0.4, 5);
  for (const options of [{ ascii: true }, { ascii: false, hasBraille: false }, { ascii: false }]) {
    const history = convertSigns(drawStrip([0, 1, 2, 3, 4, 5, 6, 7, 8], 9), options);
    const signs = new Set(convertSigns(gauge, options));
    assertEquals([...history].filter((sign) => signs.has(sign)), [], history);
  }
  assertEquals(convertSigns(gauge, { ascii: true }), "##---");
});
