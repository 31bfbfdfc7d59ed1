import { assert, assertEquals, assertMatch } from "@std/assert";
import { computeQuantile, type Histogram } from "../lib/histogram.ts";
import { LATENCY_KEYS, LATENCY_NAMES, type LatencyKey } from "../lib/model.ts";
import type { State } from "../lib/state.ts";
import { unpackSample } from "../lib/stats_samples.ts";
import { measureWidth } from "../lib/text.ts";
import { createRowLine, formatStateCell } from "../lib/view_columns.ts";
import { renderLatencyPage } from "../lib/view_page_latency.ts";
import { convertSigns } from "../lib/view_signs.ts";
import { createPaint, type Meaning } from "../lib/view_theme.ts";
import { watchToTheEnd } from "./fixtures/described_fleet.ts";
import { createEndpoint, startState } from "./fixtures/expositions.ts";
import { watchFleet, watchPair, watchTroubledFleet } from "./fixtures/fleets.ts";

const plain = createPaint(null);
const SERVES = "serves 5 req/s, 100 tokens, ttft 0.2, itl 0.02, running 5, kv 0.3";

function render(state: State, width = 80, lines = 60): readonly string[] {
  return renderLatencyPage(state, { width, lines, paint: plain });
}

interface Strip {
  /** Lowest bucket last. */
  readonly labels: readonly string[];
  readonly signs: readonly string[];
}

/** The strips of a replica on a page of two columns. */
function readStrips(lines: readonly string[], place: string): readonly Strip[] {
  const title = lines.findIndex((line) => line.startsWith(` ${place}`));
  assert(title >= 0, lines.join("\n"));
  const body: string[] = [];
  for (let i = title + 1; i < lines.length && !/^ \S*:/.test(lines[i]); i++) body.push(lines[i]);
  return [0, 1].map((column) => {
    const cells = body.map((line) => line.padEnd(80).slice(1 + 39 * column, 39 * (column + 1)))
      .filter((cell) => cell.includes("│"));
    return {
      labels: cells.map((cell) => cell.slice(0, 7).trim()),
      signs: cells.map((cell) => cell.slice(8)),
    };
  });
}

Deno.test("renderLatencyPage() shows the last minute and since the start", () => {
  const state = watchFleet(1);
  const lines = render(state);
  assertMatch(lines[0], /^ Latency +last minute +since start$/);
  assertEquals(lines[1].trim().split(/ +/), [..."12"].flatMap(() => ["P50", "P95", "P99", "n"]));
  LATENCY_KEYS.forEach((key, i) =>
    assert(lines[2 + i].startsWith(` ${LATENCY_NAMES[key].title} `))
  );
  const { shown, figures } = state.fleet.total;
  const minute = shown.lastMinute.latency.ttft.samples.value ?? 0;
  const start = figures.lifetime.latency.ttft.samples.value ?? 0;
  assert(minute < 1000 && start >= 1000, "one as it is, one in thousands");
  assertMatch(lines[2], new RegExp(` ${minute} .* ${(start / 1000).toFixed(2)}k$`));
});

Deno.test("renderLatencyPage() has dashes and no strips before the first scrape", () => {
  const lines = render(startState([createEndpoint(8000)]));
  assertEquals(lines.length, 2 + LATENCY_KEYS.length);
  for (const line of lines.slice(2)) assertMatch(line, /^ \S+( +—){8}$/);
});

Deno.test("renderLatencyPage() says why quantiles of servers are not merged", () => {
  for (const width of [80, 120]) {
    const find = (prefix: "vllm" | "sglang", bound: string): string =>
      render(watchPair(prefix, bound), width).find((line) => line.startsWith(" E2E ")) ?? "";
    assertMatch(find("vllm", "1"), /^ E2E( +<1 s){3} +14\b/);
    assertMatch(
      find("vllm", "2"),
      /^ E2E +buckets of servers differ +buckets of servers differ *$/,
    );
    assertMatch(find("sglang", "1"), /^ E2E +servers define it differently\b/);
  }
});

Deno.test("renderLatencyPage() has no strip of a server without buckets", () => {
  const hasStrips = (state: State, place: string) =>
    render(state).some((line) => line.startsWith(` ${place} `));
  const fleet = watchFleet(2);
  assertEquals([":8000", ":8001"].map((place) => hasStrips(fleet, place)), [true, true]);
  const rows = fleet.fleet.rows.map((row, i) =>
    i > 0 || row.replica === null ? row : { ...row, replica: { ...row.replica, trace: [] } }
  );
  const mixed = { ...fleet, fleet: { ...fleet.fleet, rows } };
  assertEquals([":8000", ":8001"].map((place) => hasStrips(mixed, place)), [false, true]);
  const legend = render(watchPair("vllm", "1")).find((line) => line.startsWith(" Replicas, "));
  assertEquals(legend, undefined, "neither has TTFT or ITL");
});

Deno.test("renderLatencyPage() draws a figure that does not change as one line", () => {
  const lines = render(watchToTheEnd(`0 a ${SERVES}\nuntil 100`));
  const [ttft, itl] = readStrips(lines, ":8000");
  assertEquals([ttft.labels, itl.labels], [["250 ms"], ["25 ms"]]);
  for (const [line] of [ttft.signs, itl.signs]) {
    assertEquals(line.trim().length, 29);
    assertMatch(line, /^ ?█+ *$/);
  }
});

Deno.test("renderLatencyPage() shows when a figure changed", () => {
  const lines = render(watchToTheEnd(`0 a ${SERVES}\n80 a ttft 2\nuntil 100`));
  const [{ labels, signs }] = readStrips(lines, ":8000");
  assertEquals([labels[0], labels.at(-1)], ["2.5 s", "250 ms"]);
  const slow = [...signs[0]].map((sign) => sign !== " ");
  const fast = [...signs[signs.length - 1]].map((sign) => sign !== " ");
  const turn = slow.indexOf(true);
  assert(turn >= 17 && turn <= 22, `${turn}`);
  assert(fast.lastIndexOf(true) <= turn && fast.filter(Boolean).length >= 17, signs.join("\n"));
});

Deno.test("renderLatencyPage() is blank before a restart", () => {
  const lines = render(watchToTheEnd(`0 a ${SERVES}\n80 a restarts\nuntil 100`));
  const [{ signs }] = readStrips(lines, ":8000");
  const first = signs[0].search(/\S/);
  assert(first >= 18 && first <= 23, `${first}: ${signs[0]}`);
});

/** Seconds. */
function parseLabel(label: string): number {
  const [, sign, value, unit] = /^(>?)([\d.]+) (m?s)$/.exec(label) ?? [];
  return sign === ">" ? Infinity : Number(value) * (unit === "ms" ? 0.001 : 1);
}

/** Observations of each step of two seconds, from the samples of the only replica. */
function sumSteps({ fleet: { rows } }: State, key: LatencyKey): ReadonlyMap<number, Histogram> {
  const trace = rows[0].replica?.trace ?? [];
  const steps = new Map<number, Histogram>();
  for (let i = 1; i < trace.length; i++) {
    const [earlier, later] = [trace[i - 1], trace[i]].map(({ packed }) =>
      unpackSample(packed).histograms[key]
    );
    if (earlier === undefined || later === undefined) continue;
    const counts = later.counts.map((count, bucket) => count - earlier.counts[bucket]);
    steps.set(Math.floor(trace[i].at / 2), { bounds: later.bounds, counts, sum: NaN });
  }
  return steps;
}

Deno.test("renderLatencyPage() marks P50 and P95 in the line that holds them", () => {
  const state = watchFleet(1);
  const strips = readStrips(render(state), ":8000");
  let marks = 0;
  (["ttft", "itl"] as const).forEach((key, i) => {
    const { labels, signs } = strips[i];
    const tops = labels.map(parseLabel);
    const last = Math.floor((state.now - state.interval) / 2);
    const steps = sumSteps(state, key);
    for (let column = 0; column < 30; column++) {
      const histogram = steps.get(last - 29 + column);
      const drawn = signs.map((line) => line[column] ?? " ");
      const find = (q: number): number => {
        const quantile = histogram === undefined ? null : computeQuantile(histogram, q);
        if (quantile === null) return -1;
        return tops.findLastIndex((top) => quantile.value <= top * (1 + 1e-9));
      };
      const [p50, p95] = [find(0.5), find(0.95)];
      if (p50 < 0) assertEquals(drawn.join("").trim(), "");
      else if (p50 === p95) assertEquals([drawn[p50], drawn.includes("o")], ["█", false]);
      else assertEquals([drawn[p50], drawn[p95]], ["o", "^"], `${key} ${column}`);
      marks += p50 >= 0 && p50 !== p95 ? 1 : 0;
    }
  });
  assert(marks >= 10, `${marks}`);
});

Deno.test("renderLatencyPage() keeps the order of replicas if all have room, else those in trouble come first", () => {
  const listPlaces = (lines: number): string[] =>
    render(watchTroubledFleet(), 80, lines).flatMap((line) =>
      /^ (:\S+)(?: (STALE|DOWN))? TTFT/.exec(line)?.[1] ?? []
    );
  const room = 3 + LATENCY_KEYS.length + 1 + 5 * 5;
  assertEquals(listPlaces(room), [":8000", ":8001", ":8002", ":8003.e0", ":8003.e1"]);
  assertEquals(listPlaces(room - 1), [":8001", ":8002", ":8000", ":8003.e0", ":8003.e1"]);
});

Deno.test("renderLatencyPage() keeps to its width, and its strips to one height", () => {
  for (const state of [watchFleet(1), watchFleet(4), watchTroubledFleet()]) {
    for (const [width, lines] of [[40, 12], [80, 21], [120, 37], [200, 47]]) {
      const drawn = render(state, width, lines);
      const strips = drawn.slice(3 + LATENCY_KEYS.length);
      for (const line of strips.slice(1)) assert(measureWidth(line) <= width, line);
      const titles = strips.flatMap((line, i) => / (TTFT|ITL)/.test(line) ? [i] : []);
      const heights = titles.slice(1).map((at, i) => at - titles[i]);
      assertEquals(new Set(heights).size, titles.length > 1 ? 1 : 0);
      for (const line of drawn) assertMatch(convertSigns(line, { ascii: true }), /^[\x20-\x7e]*$/);
    }
  }
});

Deno.test("renderLatencyPage() paints a replica's name in the color of its state in the table", () => {
  const state = watchFleet(4);
  const meanings = new Map<string, Meaning>();
  renderLatencyPage(state, {
    width: 120,
    lines: 37,
    paint: (text, meaning) => {
      meanings.set(text, meaning);
      return text;
    },
  });
  const { rows: [well, troubled] } = state.fleet;
  const line = createRowLine(troubled);
  assertEquals(troubled.alerts[0].newest.level, "critical");
  assertEquals(formatStateCell(line).meaning, "alert");
  assertEquals(meanings.get(`${troubled.place} ${troubled.status}`), "alert");
  assertEquals(meanings.get(well.place), "name");
});

Deno.test("renderLatencyPage() paints what it draws plainly", () => {
  const state = watchFleet(4);
  const styled = renderLatencyPage(state, { width: 120, lines: 37, paint: createPaint(256) });
  // deno-lint-ignore no-control-regex
  assertEquals(styled.map((line) => line.replace(/\x1b\[[0-9;]*m/g, "")), render(state, 120, 37));
});
