import { assert, assertEquals, assertMatch } from "@std/assert";
import { createPaint } from "../lib/frame.ts";
import { createOverview } from "../lib/overview.ts";
import { measureWidth } from "../lib/text.ts";
import { createTrendPanel, renderTrends } from "../lib/trend_panel.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const plain = createPaint(null);

Deno.test("createTrendPanel() draws trends of what may be added up, larger where there is room", () => {
  const trend = createTrendPanel(createOverview(watchFleet(2)), plain);
  for (const [width, lines, height] of [[84, 4, 1], [84, 10, 1], [120, 11, 2], [60, 99, 6]]) {
    const drawn = trend.draw({ width, lines });
    const charts = drawn.filter((line) => line !== "");
    assertEquals(charts.length, 4 * height);
    // A blank line parts what has several.
    assertEquals(drawn.length - charts.length, height === 1 ? 0 : 3);
    assert(drawn.length <= lines, `${drawn.length}`);
    for (const line of drawn) assert(measureWidth(line) <= width, line);
    const floors = charts.filter((_, index) => index % height === height - 1);
    const titles = floors.map((line) => line.split(/ {2,}/)[0]);
    assertEquals(titles, ["Running", "Waiting", "Prompt tok/s", "Output tok/s"]);
    for (const line of floors) assertMatch(line, /[▁-█] {2}min \S+ {2}max \S+ {2}now \S+$/);
  }
  // The fleet was watched for 33 polls; rates begin with the second.
  const widths = trend.draw({ width: 120, lines: 4 }).map((line) =>
    line.match(/[▁-█]+/)?.[0].length
  );
  assertEquals(widths, [33, 33, 32, 32]);
});

Deno.test("renderTrends() keeps gaps, and tells the extremes of what was measured", () => {
  const [running, kv, empty] = renderTrends(
    [
      ["running", [4, null, 8, 0]],
      ["kvCacheUsageRatio", [0.5, 0.25, null]],
      ["waiting", [null, null]],
    ],
    { width: 6, height: 1 },
    plain,
  );
  assertEquals(running, "Running     ▅ █▁  min 0  max 8  now 0");
  // What is not known now is not what was known last.
  assertEquals(kv, "KV cache     █▅   min 25 %  max 50 %  now —");
  assertEquals(empty, "Waiting           —");
});
