import { assert, assertEquals, assertMatch } from "@std/assert";
import type { State } from "../lib/state.ts";
import {
  appendPoint,
  getNewestPoint,
  NO_SERIES,
  type Series,
  SERIES_KEYS,
} from "../lib/stats_series.ts";
import { measureWidth } from "../lib/text.ts";
import { fillWithTrends, renderTrendsPage, renderTrendStrips } from "../lib/view_page_trends.ts";
import { createPaint } from "../lib/view_theme.ts";
import { createEndpoint, startState } from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import { createChosenUi, watchServers } from "./fixtures/screens.ts";

const plain = createPaint(null);
const LLAMA = { model: "meta-llama/Llama-3.1-8B-Instruct" };

function watchMany(): State {
  return watchServers(Array.from({ length: 3 }, () => [LLAMA, LLAMA, LLAMA, LLAMA]), 10);
}

function render(state: State, width = 120, lines = 38): readonly string[] {
  return renderTrendsPage(state, { width, lines, paint: plain });
}

function follow(...points: readonly (readonly (number | null)[])[]): Series {
  const point = getNewestPoint(watchFleet(1).fleet.rows[0].trend);
  return points.reduce(
    (series, [running, kvCacheUsageRatio]) =>
      appendPoint(series, { ...point, running, kvCacheUsageRatio }),
    NO_SERIES,
  );
}

Deno.test("renderTrendStrips() keeps gaps, and shows the range of the values", () => {
  const series = follow([4, 0.5], [null, null], [8, 0.25], [0, null]);
  const strips = renderTrendStrips(series, ["running", "kvCacheUsageRatio"], {
    ...{ width: 60, paint: plain },
  });
  assertEquals(strips.map((line) => line.replace(/ +/g, " ")), [
    "Running ⡆⣇ min 0 max 8 now 0",
    // A missing value is not replaced by the last known one.
    "KV cache ⡆⡄ min 25 % max 50 % now —",
  ]);
  const [none] = renderTrendStrips(follow([null, null]), ["running"], { width: 60, paint: plain });
  assertMatch(none, /^Running +—$/);
});

Deno.test("fillWithTrends() draws graphs only if there is room for all", () => {
  const options = { width: 90, paint: plain, interval: 2 };
  const { trend } = watchFleet(1).fleet.rows[0];
  const count = SERIES_KEYS.length;
  const draw = (lines: number) => fillWithTrends(trend, SERIES_KEYS, { ...options, lines });
  assertEquals(draw(4 * count - 1).length, count);
  assertEquals(draw(4 * count).length, 4 * count);
  assertEquals(draw(99 * count).length, 7 * count);
});

Deno.test("renderTrendsPage() draws total and replicas of each figure, and whose letter is whose", () => {
  const lines = render(watchFleet(4));
  const text = lines.join("\n");
  for (const title of ["Running", "Waiting", "Prompt tok/s", "Output tok/s"]) {
    assertMatch(text, new RegExp(`^ ${title}, all  .*now .*  ${title}, each  .*now `, "m"));
  }
  for (const title of ["KV cache", "TTFT P95@1m", "ITL P95@1m"]) {
    // Latencies begin with the second poll.
    assertMatch(text, new RegExp(`${title}, each  last 6[46] s`));
    // Neither a ratio nor a percentile can be summed.
    assert(!text.includes(`${title}, all`), title);
  }
  for (const entry of ["a :8000", "b :8001", "c :8002", "d :8003.e0", "e :8003.e1"]) {
    assert(text.includes(`${entry} `) || text.includes(`${entry}\n`), entry);
  }
});

Deno.test("renderTrendsPage() draws one replica without letters", () => {
  const text = render(watchFleet(1)).join("\n");
  assertMatch(text, /^ Running {2}last 66 s +now \d+ {2}Waiting {2}last 66 s/m);
  assert(!/, all|, each|a :8000/.test(text));
});

Deno.test("renderTrendsPage() draws at most eight replicas: selected, in trouble, the first", () => {
  const many = watchMany();
  const listPlaces = (state: State): string[] =>
    [...render(state).join("\n").matchAll(/\b[a-h] (:\d+\.e\d)/g)].map(([, place]) => place);
  assertEquals(
    listPlaces(many),
    [0, 1].flatMap((i) => [0, 1, 2, 3].map((engine) => `:800${i}.e${engine}`)),
  );
  assert(render(many).join("\n").includes("Running, 8 of 12"));
  const selectedKey = many.fleet.rows[10].key;
  const chosen = listPlaces({ ...many, ui: createChosenUi({ selectedKey }) });
  assertEquals([chosen.length, chosen.at(-1)], [8, ":8002.e2"]);
  const rows = many.fleet.rows.map((row, i) => i === 9 ? { ...row, status: "HOT" as const } : row);
  const troubled = listPlaces({ ...many, fleet: { ...many.fleet, rows } });
  assertEquals([troubled.length, troubled.at(-1)], [8, ":8002.e1"]);
});

Deno.test("renderTrendsPage() says that no replica has answered", () => {
  assertEquals(render(startState([createEndpoint(8000)])), [" no replica has answered yet"]);
});

Deno.test("renderTrendsPage() keeps its size and its titles, whatever the values", () => {
  for (const [width, lines] of [[80, 21], [120, 37], [200, 47]]) {
    const findTitles = (state: State): number[] =>
      render(state, width, lines).flatMap((line, i) => /(all|each) /.test(line) ? [i] : []);
    const well = watchFleet(4);
    assertEquals(findTitles(watchTroubledFleet()), findTitles(well));
    const drawn = render(well, width, lines);
    assertEquals(drawn.length, lines);
    for (const line of drawn) assert(measureWidth(line) <= width, line);
  }
});
