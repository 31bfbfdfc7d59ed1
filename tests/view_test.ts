import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { stripAnsiCode } from "@std/fmt/colors";
import fc from "fast-check";
import { createPaint, type Paint } from "../lib/frame.ts";
import type { State } from "../lib/state.ts";
import { measureWidth } from "../lib/text.ts";
import { renderFrame, renderText, type ViewOptions } from "../lib/view.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  type Series,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import { assertGolden } from "./fixtures/goldens.ts";

const plain: Paint = (text) => text;
const PLAIN: ViewOptions = { output: "auto", paint: plain, ascii: false };
const ENDPOINT = createEndpoint(8000);

/** The state of one server that says so. */
function say(series: readonly Series[], model?: string): State {
  const body = encode(writeEngine(series, { model }));
  return advance(startState([ENDPOINT]), 1, [createScraped(ENDPOINT, 0.5, body)]);
}

// ---- Goldens.

const GOLDEN_STATES: readonly (readonly [string, () => State])[] = [
  ["one", () => watchFleet(1)],
  ["two", () => watchFleet(2)],
  ["five", () => watchFleet(4)],
  ["troubled", watchTroubledFleet],
];

for (const [name, createState] of GOLDEN_STATES) {
  Deno.test(`renderFrame() is as in goldens/view_${name}.txt`, () => {
    const frames = [[80, 24], [120, 40], [200, 50]].map(([columns, rows]) => {
      const { lines } = renderFrame(createState(), { columns, rows }, PLAIN);
      const rule = `== ${columns} x ${rows} `.padEnd(columns, "=");
      return [rule, ...lines.map((line) => line.trimEnd())].join("\n");
    });
    assertGolden(`view_${name}.txt`, frames.join("\n") + "\n");
  });
}

Deno.test("renderText() is as in goldens/view_text.txt", () => {
  const texts = [watchFleet(1), watchTroubledFleet(), startState([ENDPOINT])].map((state) =>
    renderText(state, PLAIN).join("\n")
  );
  assertGolden("view_text.txt", texts.join(`\n${"=".repeat(80)}\n`) + "\n");
});

// ---- What is said.

const findVerdict = (state: State): string => renderText(state, PLAIN)[1].trim();

Deno.test("renderText() says first what is worst", () => {
  assertEquals(findVerdict(startState([ENDPOINT])), "● STARTING: waiting for the first answer");
  assertEquals(findVerdict(say([["num_requests_running", 1]])), "● HEALTHY   1 of 1 up");
  assertEquals(
    findVerdict(watchTroubledFleet()),
    "● CRITICAL   :8002, :8004 are down   :8001 is stale   3 of 6 up",
  );
  assertEquals(
    findVerdict(watchFleet(2, { failures: { 1: 58 } })),
    "● DEGRADED   :8001 is stale   1 of 2 up",
  );
  assertEquals(
    findVerdict(say([["num_requests_waiting", 6], ["kv_cache_usage_perc", 0.9]])),
    "● DEGRADED   KV cache of :8000 at 90 %   6 waiting   1 of 1 up",
  );
  // At the limits all is well.
  assertEquals(
    findVerdict(say([["num_requests_waiting", 5], ["kv_cache_usage_perc", 0.85]])),
    "● HEALTHY   1 of 1 up",
  );
});

Deno.test("renderText() tells what is wrong, and remarks, in full", () => {
  const state = advance(startState([ENDPOINT], { notices: ["Port 8001 is no vLLM server."] }), 1, [
    createFailed(ENDPOINT, 0.5),
  ]);
  const lines = renderText({ ...state, isDemo: true }, PLAIN);
  assertStringIncludes(lines[0], "demo");
  const text = lines.join("\n");
  assertStringIncludes(text, 'Cannot reach "http://localhost:8000/metrics": nothing listens');
  assertStringIncludes(text, "Port 8001 is no vLLM server.");
});

Deno.test("renderText() keeps to the view that was asked for", () => {
  const isTable = (state: State, output: ViewOptions["output"]): boolean =>
    renderText(state, { ...PLAIN, output }).some((line) => line.startsWith(" REPLICA"));
  assertEquals([isTable(watchFleet(1), "auto"), isTable(watchFleet(2), "auto")], [false, true]);
  assertEquals([isTable(watchFleet(1), "table"), isTable(watchFleet(2), "detail")], [true, false]);
});

Deno.test("renderText() has every column where there is no terminal", () => {
  const heading = renderText(watchFleet(2), PLAIN).find((line) => line.startsWith(" REPLICA"));
  for (const title of ["SHARE@1m", "COMPUTED tok/s", "E2E P95", "QUEUE P95", "PREEMPT/S"]) {
    assertStringIncludes(heading ?? "", title);
  }
});

Deno.test("renderText() and renderFrame() say nothing with colour alone", () => {
  const state = watchTroubledFleet();
  const painted = renderText(state, { ...PLAIN, paint: createPaint("color") });
  assertEquals(painted.map(stripAnsiCode), [...renderText(state, PLAIN)]);
});

Deno.test("renderText() has no line beyond the width of a terminal that it is for", () => {
  for (const width of [60, 80, 120, 200]) {
    for (const line of renderText(watchTroubledFleet(), { ...PLAIN, width })) {
      assert(measureWidth(line) <= width, `${width}: ${line}`);
    }
  }
});

Deno.test("renderFrame() shows every replica where there is room, and how many more where not", () => {
  const state = watchFleet(4);
  const countRows = (rows: number): number =>
    renderFrame(state, { columns: 120, rows }, PLAIN).lines.filter((line) => /:800\d/.test(line))
      .filter((line) => /^[ ▌]\S+ :800\d/.test(line)).length;
  assertEquals(countRows(40), 5);
  assertEquals(countRows(24), 5);
  const small = renderFrame(state, { columns: 120, rows: 13 }, PLAIN).lines.join("\n");
  assertMatch(small, /… \d more (rows|lines)/);
});

Deno.test("renderFrame() draws in ASCII where nothing else can be shown", () => {
  for (const state of [watchFleet(1), watchTroubledFleet(), say([], "模型")]) {
    for (const columns of [20, 80, 200]) {
      const size = { columns, rows: 40 };
      const wide = renderFrame(state, size, PLAIN).lines;
      const { lines } = renderFrame(state, size, { ...PLAIN, ascii: true });
      for (const [i, line] of lines.entries()) {
        assert(/^[\x20-\x7e]*$/.test(line), line);
        assertEquals(line.length, measureWidth(wide[i]), line);
      }
    }
  }
});

// ---- Any size.

/** Names, notices and messages that are long, wide, or of one piece. */
function createHostileState(): State {
  const endpoints = [ENDPOINT, createEndpoint(8001, "h".repeat(90)), createEndpoint(8002)];
  const series: Series[] = [
    ["num_requests_running", "9e300"],
    ["num_requests_waiting", "+Inf"],
    ["kv_cache_usage_perc", "12345678"],
    ["generation_tokens_total", "1e308"],
    [`request_success_total{finished_reason="${"理".repeat(60)}"}`, 3],
  ];
  const bodies = ["模".repeat(120) + "/" + "型".repeat(100), "a\x1b[2J" + "\u0301".repeat(99)].map(
    (model) => encode(writeEngine(series, { model })),
  );
  const notices = ["x".repeat(500), "語".repeat(300), "short words ".repeat(40)];
  const warned = endpoints.map((endpoint) => ({ ...endpoint, warnings: ["w".repeat(150)] }));
  return advance(startState(warned, { notices, isDemo: true }), 2, [
    createScraped(warned[0], 0.5, bodies[0]),
    createScraped(warned[2], 0.5, bodies[1]),
    createFailed(warned[1], 1),
    createFailed(warned[2], 1.5, "tls"),
  ]);
}

const ANY_STATE: readonly State[] = [
  startState([]),
  startState([ENDPOINT]),
  watchFleet(1),
  watchFleet(2),
  watchFleet(4),
  watchTroubledFleet(),
  createHostileState(),
];

// deno-lint-ignore no-control-regex
const SGR = /\x1b\[[0-9;]*m/g;
// deno-lint-ignore no-control-regex
const CONTROL = /[\x00-\x1f\x7f-\x9f]/;

Deno.test("renderFrame() fills exactly the screen, at any size", () => {
  const options = fc.record({
    output: fc.constantFrom("auto" as const, "table" as const, "detail" as const),
    paint: fc.constantFrom(plain, createPaint("color"), createPaint("monochrome")),
    ascii: fc.boolean(),
  });
  const size = fc.record({
    columns: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 60 })),
    rows: fc.integer({ min: 1, max: 100 }),
  });
  const state = fc.integer({ min: 0, max: ANY_STATE.length - 1 });
  fc.assert(
    fc.property(state, size, options, (index, { columns, rows }, how) => {
      const { lines } = renderFrame(ANY_STATE[index], { columns, rows }, how);
      assertEquals(lines.length, rows);
      for (const line of lines) {
        const text = line.replace(SGR, "");
        assertEquals(text, stripAnsiCode(line));
        assert(!CONTROL.test(text), JSON.stringify(line));
        assert(measureWidth(text) <= columns, `${measureWidth(text)} of ${columns}: ${text}`);
      }
    }),
    { numRuns: 400 },
  );
});

Deno.test("renderFrame() changes nothing", () => {
  const state = watchTroubledFleet();
  const before = JSON.stringify(state.endpoints.map(({ failure, scrape }) => [failure, scrape]));
  const size = { columns: 120, rows: 40 };
  const first = renderFrame(state, size, PLAIN);
  assertEquals(renderFrame(state, size, PLAIN), first);
  const after = JSON.stringify(state.endpoints.map(({ failure, scrape }) => [failure, scrape]));
  assertEquals(after, before);
});
