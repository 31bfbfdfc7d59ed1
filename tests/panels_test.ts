import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createOverview } from "../lib/overview.ts";
import { createPanels, LATENCY_TITLES, type Panel, renderTrends } from "../lib/panels.ts";
import type { Paint } from "../lib/frame.ts";
import type { State } from "../lib/state.ts";
import { measureWidth } from "../lib/text.ts";
import { PANEL_IDS } from "../lib/ui.ts";
import { createEndpoint, startState } from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";

const plain: Paint = (text) => text;

/** The panels, each drawn in as few lines as it needs. */
function draw(state: State): readonly (Panel & { readonly lines: readonly string[] })[] {
  return createPanels(createOverview(state), plain).map((panel) => ({
    ...panel,
    lines: panel.draw({ width: 84, lines: panel.minLines }),
  }));
}

Deno.test("createPanels() has every panel, in the order of importance", () => {
  for (const state of [startState([]), watchFleet(1), watchTroubledFleet()]) {
    assertEquals(draw(state).map(({ id }) => id), [...PANEL_IDS]);
  }
});

Deno.test("createPanels() shows the latency of all with the counts behind it", () => {
  const [latency] = draw(watchFleet(2));
  assertMatch(latency.lines[0], /P50 +P95 +P99 +n +P95@1m +n@1m$/);
  assertEquals(latency.lines.length, 1 + Object.keys(LATENCY_TITLES).length);
  for (const [i, title] of Object.values(LATENCY_TITLES).entries()) {
    assert(latency.lines[i + 1].startsWith(title), latency.lines[i + 1]);
    assertStringIncludes(latency.summary, title);
  }
  // As wide as each other: figures stand below their headings.
  assertEquals(new Set(latency.lines.map(measureWidth)).size, 1);
});

Deno.test("createPanels() draws trends of what may be added up, larger where there is room", () => {
  const [, trend] = createPanels(createOverview(watchFleet(2)), plain);
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

Deno.test("createPanels() shows what became of requests, in shares of all", () => {
  const [, , requests] = draw(watchFleet(2));
  const shares = requests.lines.map((line) => Number(line.match(/(\d+) %$/)?.[1]));
  assertMatch(requests.lines[0], /^stop +\d+ +\d+ %$/);
  const sum = shares.reduce((a, b) => a + b, 0);
  assert(Math.abs(sum - 100) <= 2, `${sum}`);
  assertMatch(requests.summary, /^stop \d+ {2}length \d+/);
});

Deno.test("createPanels() has dashes and no zero before the first answer", () => {
  const [latency, trend, requests] = draw(startState([createEndpoint(8000)]));
  for (const line of latency.lines.slice(1)) assertMatch(line, /^\S+( +—){6}$/);
  for (const line of trend.lines) assertMatch(line, /—$/);
  assertEquals(requests.lines, ["—"]);
  for (const { summary } of [latency, trend, requests]) assert(summary.endsWith("—"), summary);
  const all = [latency, trend, requests].flatMap(({ lines, summary }) => [...lines, summary]);
  for (const line of all) assert(!/\d/.test(line.replace(/P\d+|@1m|E2E/g, "")), line);
});
