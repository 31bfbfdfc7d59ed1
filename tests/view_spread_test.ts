import { assert, assertEquals } from "@std/assert";
import { drawScale, drawSpread, fitSpread } from "../lib/view_spread.ts";
import { convertSigns } from "../lib/view_signs.ts";

function createHistogram(bounds: readonly number[], counts: readonly number[]) {
  return { bounds: new Float64Array(bounds), counts: new Float64Array(counts), sum: NaN };
}

const draw = (bounds: readonly number[], counts: readonly number[], width: number): string =>
  convertSigns(drawSpread(createHistogram(bounds, counts), width), { ascii: true });

Deno.test("fitSpread() takes whole decades, and none without room for two cells each", () => {
  assertEquals([0, 9, 10, 14, 15, 53, 200].map(fitSpread), [0, 0, 10, 10, 15, 50, 60]);
});

Deno.test("drawScale() names each decade, or the ends if they are narrow", () => {
  assertEquals(drawScale(50), "1 ms      10 ms     100 ms    1 s       10 s");
  assertEquals(drawScale(10), "1 ms 100 s");
  assertEquals(drawScale(30), `1 ms${" ".repeat(21)}100 s`);
});

Deno.test("drawSpread() draws observations where their buckets lie on the scale", () => {
  const bounds = [0.01, 0.1, 1, 10, Infinity];
  assertEquals(draw(bounds, [0, 10, 10, 10, 10], 20), `    ||||${" ".repeat(12)}`);
  assertEquals(draw(bounds, [0, 0, 0, 7, 7], 20), `${" ".repeat(12)}||||    `);
  // Half as many over as much of the scale are lower.
  assertEquals(draw(bounds, [0, 10, 15, 15, 15], 20), `    ||||!!!!${" ".repeat(8)}`);
  // As many over twice as much are lower, too.
  assertEquals(draw([0.01, 0.1, 10, Infinity], [0, 4, 8, 8], 20), "    ||||!!!!!!!!    ");
});

Deno.test("drawSpread() puts what is beyond the scale at its ends", () => {
  assertEquals(draw([0.0001, 0.001, 1, Infinity], [1, 2, 2, 2], 10).trimEnd().length, 1);
  const high = draw([1, 200, 500, Infinity], [0, 0, 0, 3], 10);
  assert(high.startsWith(" ".repeat(9)) && high.trim() !== "", high);
});
