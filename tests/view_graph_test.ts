import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { measureWidth } from "../lib/text.ts";
import { formatCount, formatLatency, formatPercent, formatQuantity } from "../lib/view_format.ts";
import {
  drawStrip,
  formatSpan,
  type Graph,
  type GraphSeries,
  renderGraph,
  roundUpScale,
} from "../lib/view_graph.ts";
import { convertSigns } from "../lib/view_signs.ts";
import { createPaint } from "../lib/view_theme.ts";
import { assertGolden } from "./fixtures/goldens.ts";

const plain = createPaint(null);
const value = fc.oneof(fc.constant(null), fc.double({ min: 0, max: 1e9, noNaN: true }));

/** Of polls every two seconds, the newest at 200. */
function createSeries(values: readonly (number | null)[], mark = "a"): GraphSeries {
  const times = values.map((_, i) => 200 - 2 * (values.length - 1 - i));
  return { values, times, mark, meaning: mark === "a" ? "series1" : "series2" };
}

function createGraph(series: readonly GraphSeries[], more: Partial<Graph> = {}): Graph {
  return { title: "Running", series, format: formatCount, interval: 2, ...more };
}

Deno.test("drawStrip() draws the newest values over 0, with gaps", () => {
  assertEquals(drawStrip([0, 1, 2, 3], 2), "⣠⣾");
  assertEquals(drawStrip([9, 9, 1, 2], 1), "⣾");
  assertEquals(drawStrip([1], 3), "  ⢸");
  assertEquals(drawStrip([1, null, 1], 3), " ⢸⢸");
  assertEquals(drawStrip([], 3), "   ");
  assertEquals(drawStrip([null, null], 2), "  ");
  // Nothing is running: a line on the floor, and not the ceiling.
  assertEquals(drawStrip([0, 0], 1), "⣀");
  assertEquals(drawStrip([-1, 5], 1), "⣸");
});

Deno.test("drawStrip() compares strips of one scale", () => {
  assertEquals(drawStrip([0.3, 0.3, 1, 1], 2, 1), "⣤⣿");
  // A driver that rounds may say more than all.
  assertEquals(drawStrip([1.01, -0.1], 1, 1), "⣇");
});

Deno.test("drawStrip() has its width, and is blank only where there is no value", () => {
  fc.assert(
    fc.property(fc.array(value, { maxLength: 70 }), fc.integer({ min: 1, max: 30 }), (all, n) => {
      const cells = [...drawStrip(all, n)];
      assertEquals(cells.length, n);
      const shown = [...Array(2 * n).fill(null), ...all].slice(-2 * n);
      cells.forEach((cell, i) => {
        const pair = shown.slice(2 * i, 2 * i + 2);
        assertEquals(cell === " ", pair.every((one) => one === null));
      });
    }),
  );
});

Deno.test("roundUpScale() rounds up to 1, 2 or 5", () => {
  const cases = [[0, 1], [1, 1], [1.01, 2], [2.1, 5], [5.1, 10], [85, 100], [0.2, 0.2], [
    0.03,
    0.05,
  ]];
  for (const [given, expected] of cases) assert(Math.abs(roundUpScale(given) - expected) < 1e-9);
  fc.assert(fc.property(fc.double({ min: 1e-6, max: 1e12, noNaN: true }), (given) => {
    const top = roundUpScale(given);
    assert(top >= given * (1 - 1e-9) && top <= given * 2.5 * (1 + 1e-9));
    assertMatch(top.toExponential(3), /^[125]\.000e/);
  }));
});

Deno.test("formatSpan() counts seconds, then minutes", () => {
  assertEquals([40, 119, 120, 150, 1800].map(formatSpan), [
    "40 s",
    "119 s",
    "2 min",
    "2.5 min",
    "30 min",
  ]);
});

Deno.test("renderGraph() shows scale, span and the value now", () => {
  const graph = createGraph([createSeries([0, 20, 40, 60, 85])]);
  const lines = renderGraph(graph, { width: 40, lines: 6, paint: plain });
  assertEquals(lines, [
    "Running  last 10 s                now 85",
    "   100┤                                ⢀",
    "      │                                ⢸",
    "    50┤                               ⢀⣿",
    "      │                               ⣸⣿",
    "     0┤                              ⢀⣿⣿",
  ]);
});

Deno.test("renderGraph() names no middle that is no whole number of requests", () => {
  const scale = (highest: number, more: Partial<Graph> = {}) =>
    renderGraph(createGraph([createSeries([highest])], more), { width: 20, lines: 6, paint: plain })
      .slice(1).map((line) => line.slice(0, 6).trim());
  assertEquals(scale(1), ["1", "", "", "", "0"]);
  assertEquals(scale(5), ["5", "", "", "", "0"]);
  assertEquals(scale(2), ["2", "", "1", "", "0"]);
  assertEquals(scale(0.5, { format: formatPercent, highest: 1 }), ["100 %", "", "50 %", "", "0"]);
  assertEquals(scale(1800, { format: formatQuantity }), ["2k", "", "1k", "", "0"]);
  assertEquals(scale(0.4, { format: formatLatency }), ["500 ms", "", "250 ms", "", "0"]);
});

Deno.test("renderGraph() invents no value", () => {
  const none = renderGraph(createGraph([createSeries([null, null])]), {
    ...{ width: 30, lines: 3, paint: plain },
  });
  assertMatch(none[0], /now —$/);
  for (const line of none.slice(1)) assertMatch(line, /^ +│ +$/);
  // The last value known is not the value now, and a line does not bridge a gap.
  const gap = createGraph([
    createSeries([5, 5, null, null, 5, 5, null]),
    createSeries([null], "b"),
  ]);
  const lines = renderGraph(gap, { width: 30, lines: 2, paint: plain });
  assertMatch(lines[0], /now —$/);
  assertEquals(lines[1], "     5┤                   ⠈⠁⠈⠁".padEnd(30).slice(0, 30));
});

/** The dots of the lowest line, two to a cell. */
function drawLow(series: readonly GraphSeries[], width = 27): string {
  const [, line] = renderGraph(createGraph(series), { width, lines: 2, paint: plain });
  return line.slice(7);
}

Deno.test("renderGraph() places values by their times", () => {
  const at = (times: readonly number[], values: readonly (number | null)[]): GraphSeries => ({
    ...{ values, times, mark: "a", meaning: "series1" },
  });
  // Polled every six seconds: each value reaches back to the poll before.
  assertEquals(drawLow([at([188, 194, 200], [1, 1, 1])]).trimStart(), "⢸⣿⣿⣿");
  // After a failure or a pause it does not.
  assertEquals(drawLow([at([188, 190, 200], [1, null, 1])]).trimEnd().slice(-4), "⢸  ⢸");
  // Two polls in one step: the higher one is seen.
  assertEquals(drawLow([at([200, 200.5], [5, 1])]).slice(-1), "⢸");
  // Who is polled a moment before the others has a value now, too; who failed has none.
  const early = (value: number | null) => [at([196, 198, 199.9], [1, 1, value])];
  const others = { ...at([196, 198, 200.1], [1, 1, 1]), mark: "b" };
  assertEquals(drawLow([...early(1), others]).slice(-1), "a");
  assertEquals(drawLow([...early(null), others]).slice(-1), "⠉");
});

Deno.test("renderGraph() draws half an hour, and says of how many seconds a column is the highest", () => {
  const draw = (count: number, width: number) => {
    const values = Array.from({ length: count }, (_, i) => i === 5 ? 10 : 1);
    const graph = createGraph([createSeries(values)], { isWhole: true });
    return renderGraph(graph, { width, lines: 6, paint: plain });
  };
  const columns = (line: string): number =>
    [...line.slice(7)].filter((cell) => cell !== " ").length;
  for (
    const [count, width, title] of [
      [60, 60, /^Running {2}last 2 min {2}/],
      [105, 60, /^Running {2}last 3\.5 min {2}/],
      [107, 60, /^Running {2}last 3\.6 min, max of 4 s {2}/],
      [900, 60, /^Running {2}last 30(\.\d)? min, max of 20 s {2}/],
      [900, 120, /^Running {2}last 30(\.\d)? min, max of 10 s {2}/],
      [900, 36, /^Running {2}30(\.\d)? min, max\/40 s /],
    ] as const
  ) {
    const [heading, top, ...rest] = draw(count, width);
    assertMatch(heading, title);
    // One poll of 900 is as high as ever.
    assertEquals(columns(top), 1, `${count} ${width}\n${top}`);
    const drawn = columns(rest[rest.length - 1]);
    assert(drawn > (width - 7) / 2.2 && drawn <= width - 7, `${count} ${width} ${drawn}`);
  }
});

Deno.test("renderGraph() tells a span by the clock, not by the number of polls", () => {
  const values = Array.from({ length: 11 }, () => 1);
  const times = values.map((_, i) => 100 + 10 * i);
  const series: GraphSeries = { values, times, mark: "a", meaning: "series1" };
  const [title] = renderGraph(createGraph([series]), { width: 79, lines: 2, paint: plain });
  assertMatch(title, /^Running {2}last 102 s /);
});

Deno.test("renderGraph() has its size, with or without styles", () => {
  const all = fc.array(fc.array(value, { maxLength: 70 }), { minLength: 1, maxLength: 8 });
  const size = fc.record({
    width: fc.integer({ min: 20, max: 150 }),
    lines: fc.integer({ min: 2, max: 9 }),
  });
  fc.assert(fc.property(all, size, (series, { width, lines }) => {
    const graph = createGraph(series.map((values, i) => createSeries(values, "abcdefgh"[i])), {
      format: formatQuantity,
    });
    const drawn = renderGraph(graph, { width, lines, paint: plain });
    assertEquals(drawn.length, lines);
    for (const line of drawn) assertEquals(measureWidth(line), width, line);
    // deno-lint-ignore no-control-regex
    const unstyled = (line: string) => line.replace(/\x1b\[[0-9;]*m/g, "");
    const styled = renderGraph(graph, { width, lines, paint: createPaint(256) });
    assertEquals(styled.map(unstyled), drawn);
  }));
});

/** Rises, has a gap, and falls. */
const HILL = Array.from({ length: 60 }, (_, i) => i > 20 && i < 26 ? null : 40 - Math.abs(i - 30));
const FLAT = Array.from({ length: 60 }, (_, i) => i < 10 ? null : 20 + (i % 3));

Deno.test("renderGraph() draws every form as in goldens/graphs.txt", () => {
  const graphs = [
    createGraph([createSeries(HILL)]),
    createGraph([createSeries(HILL), createSeries(FLAT, "b")], { title: "Running, each" }),
  ];
  const forms = [
    ["braille", { ascii: false }],
    ["half blocks", { ascii: false, hasBraille: false }],
    ["ASCII", { ascii: true }],
  ] as const;
  const drawn = forms.flatMap(([name, signs]) =>
    graphs.flatMap((graph) =>
      [
        `== ${name}`,
        ...renderGraph(graph, { width: 48, lines: 6, paint: plain }),
        drawStrip(graph.series[0].values, 12),
      ].map((line) => convertSigns(line, signs).trimEnd())
    )
  );
  assertGolden("graphs.txt", drawn.join("\n") + "\n");
});
