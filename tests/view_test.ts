import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { stripAnsiCode } from "@std/fmt/colors";
import fc from "fast-check";
import { createSimulatedServer } from "../lib/demo.ts";
import type { TerminalSize } from "../lib/platform.ts";
import { type State, update } from "../lib/state.ts";
import { listEngines } from "../lib/state_endpoint.ts";
import {
  type ClickTarget,
  type Command,
  createUi,
  findSelected,
  THEME_NAMES,
  type Ui,
} from "../lib/state_ui.ts";
import { measureWidth } from "../lib/text.ts";
import { choosePlainWidth, renderText, type ViewOptions } from "../lib/view.ts";
import { getUiContext, layOutScene, renderFrame, type ScreenFrame } from "../lib/view_scene.ts";
import { BINDINGS } from "../lib/view_bindings.ts";
import { COLUMN_IDS } from "../lib/view_column_table.ts";
import { COLUMNS } from "../lib/view_columns.ts";
import { PAGES } from "../lib/view_pages.ts";
import { listVisibleRows } from "../lib/view_rows.ts";
import { type ColorDepth, createPaint } from "../lib/view_theme.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  type Series,
  START_EPOCH,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import { assertGolden } from "./fixtures/goldens.ts";
import { showLines, watchServers } from "./fixtures/screens.ts";

const PLAIN: ViewOptions = { output: "auto", depth: null, ascii: false };
const ENDPOINT = createEndpoint(8000);

/** The state of one server that says so. */
function say(
  series: readonly Series[],
  { model, isOnce = false }: { readonly model?: string; readonly isOnce?: boolean } = {},
): State {
  const body = encode(writeEngine(series, { model }));
  const start = startState([ENDPOINT], { isOnce });
  return advance(start, 1, [createScraped(ENDPOINT, 0.5, body)]);
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

Deno.test("renderText() shows the worst first", () => {
  assertEquals(findVerdict(startState([ENDPOINT])), "● STARTING: waiting for the first answer");
  assertEquals(
    findVerdict(say([["num_requests_running", 1]])),
    "● WATCHING (0 of 30 s)   1 of 1 up",
  );
  assertEquals(
    findVerdict(watchTroubledFleet()),
    "● CRITICAL   3 of 6 up   :8002, :8004 down   :8001 stale (was HOT)",
  );
  assertEquals(
    findVerdict(watchFleet(2, { failures: { 1: 58 } })),
    "● CRITICAL   1 of 2 up   :8001 stale (was HOT)",
  );
  const full = [["num_requests_waiting", 6], ["kv_cache_usage_perc", 0.9]] as const;
  // On the live screen it has to last; with --once nothing can.
  assertEquals(findVerdict(say(full)), "● WATCHING (0 of 30 s)   1 of 1 up");
  assertEquals(
    findVerdict(say(full, { isOnce: true })),
    "● CRITICAL   1 of 1 up   :8000 hot: KV cache 90 %, 6 waiting",
  );
  // At the limits all is well.
  const limits = [["num_requests_waiting", 5], ["kv_cache_usage_perc", 0.85]] as const;
  assertEquals(findVerdict(say(limits, { isOnce: true })), "● WATCHING (0 of 30 s)   1 of 1 up");
});

Deno.test("renderText() shows problems and warnings in full", () => {
  const state = advance(startState([ENDPOINT], { notices: ["Port 8001 is no vLLM server."] }), 1, [
    createFailed(ENDPOINT, 0.5),
  ]);
  const lines = renderText({ ...state, isDemo: true }, PLAIN);
  assertStringIncludes(lines[0], "demo");
  const text = lines.join("\n");
  assertStringIncludes(text, 'Cannot reach "http://localhost:8000/metrics": nothing listens');
  assertStringIncludes(text, "Port 8001 is no vLLM server.");
});

Deno.test("renderText() uses the view asked for", () => {
  const isTable = (state: State, output: ViewOptions["output"]): boolean =>
    renderText(state, { ...PLAIN, output }).some((line) => line.startsWith(" REPLICA"));
  assertEquals([isTable(watchFleet(1), "auto"), isTable(watchFleet(2), "auto")], [false, true]);
  assertEquals([isTable(watchFleet(1), "table"), isTable(watchFleet(2), "detail")], [true, false]);
});

Deno.test("renderText() shows filter errors above the table", () => {
  const filtered = (filter: string, output: ViewOptions["output"] = "table"): readonly string[] =>
    renderText({ ...watchFleet(2), ui: createUi({ filter }) }, { ...PLAIN, output });
  const findRemarks = (lines: readonly string[]): readonly string[] =>
    lines.filter((line) => line.startsWith(" Filter:"));
  const lines = filtered("foo>3 | ttft>5xs");
  const remarks = [' Filter: no column "foo"', ' Filter: cannot parse "ttft>5xs"'];
  assertEquals(findRemarks(lines), remarks);
  assert(lines[lines.indexOf(remarks[1]) + 1].startsWith(" REPLICA"), lines.join("\n"));
  // What is understood hides what it is to hide; details are not filtered.
  assertEquals(findRemarks(filtered("kv>99%")), []);
  assertEquals(findRemarks(filtered("foo>3", "detail")), []);
});

Deno.test("renderFrame() shows filter errors in the filter line", () => {
  for (
    const [filter, shown, remark] of [
      [":8000 | ttft>5xs", 1, 'cannot parse "ttft>5xs"'],
      ["foo>3", 0, 'no column "foo"'],
      ["state>0", 0, '"state" is not a number'],
    ] as const
  ) {
    const ui = createUi({ columnIds: COLUMN_IDS, filter });
    const { lines } = renderFrame({ ...watchFleet(2), ui }, SMALL, PLAIN);
    const line = `─ Filter: ${filter}   ${shown} of 2 rows   ${remark} ─`;
    assert(lines.some((one) => one.startsWith(line)), lines.join("\n"));
  }
});

Deno.test("choosePlainWidth() takes COLUMNS, else 120, or room for the columns named", () => {
  const choose = (columns: string | undefined, namesColumns = false): number =>
    choosePlainWidth((name) => name === "COLUMNS" ? columns : undefined, { namesColumns });
  assertEquals(["80", " 231 ", "99999"].map((columns) => choose(columns)), [80, 231, 99_999]);
  for (const columns of [undefined, "", "0", "-1", "wide", "100000"]) {
    assertEquals(choose(columns), 120);
  }
  assertEquals(choose("80", true), 80);
  const width = choose(undefined, true);
  const heading = renderText(watchFleet(2), { ...PLAIN, width })
    .find((line) => line.startsWith(" REPLICA"));
  for (const title of ["SHARE@1m", "COMPUTED/S", "E2E P95", "QUEUE P95", "PREEMPT/S"]) {
    assertStringIncludes(heading ?? "", title);
  }
});

Deno.test("renderText() and renderFrame() say nothing by color alone", () => {
  const state = watchTroubledFleet();
  const painted = renderText(state, { ...PLAIN, depth: 16 });
  assertEquals(painted.map((line) => stripAnsiCode(line).trimEnd()), [...renderText(state, PLAIN)]);
});

Deno.test("renderText() never exceeds the width", () => {
  for (const width of [60, 80, 120, 200]) {
    for (const line of renderText(watchTroubledFleet(), { ...PLAIN, width })) {
      assert(measureWidth(line) <= width, `${width}: ${line}`);
    }
  }
});

Deno.test("renderFrame() shows every replica, or how many more there are", () => {
  const state = { ...watchFleet(4), ui: createUi({ columnIds: COLUMN_IDS }) };
  const countRows = (rows: number): number =>
    renderFrame(state, { columns: 120, rows }, PLAIN).lines
      .filter((line) => /^[ ▌] {2}:800\d/.test(line)).length;
  assertEquals([40, 24].map(countRows), [5, 5]);
  for (const rows of [11, 12]) {
    const small = renderFrame(state, { columns: 120, rows }, PLAIN).lines.join("\n");
    const shown = countRows(rows);
    assert(shown >= 1 && shown < 5, small);
    // One line is kept for ALL and for the heading, always.
    assertMatch(small, /\n REPLICA /);
    assertMatch(small, /\n ALL /);
    assertMatch(small, new RegExp(`\\n … ${5 - shown} more ok: RUN `));
  }
});

Deno.test("renderFrame() shows rows, verdict, pulse and ALL of a fleet of many models", () => {
  for (const [servers, models] of [[10, 10], [20, 10], [20, 20], [40, 10], [40, 16], [40, 20]]) {
    const engines = Array.from(
      { length: servers },
      (_, i) => [{ model: `a/model-${i % models}x` }],
    );
    const state = watchServers(engines, 4);
    for (const [columns, rows] of [[80, 24], [120, 40]]) {
      const { lines } = renderFrame(state, { columns, rows }, PLAIN);
      const about = `${servers} of ${models} models\n${lines.join("\n")}`;
      assertMatch(lines[1], /^ ● /, about);
      assertMatch(lines[2], /^ RUN +\d+ /, about);
      assert(lines.some((line) => /^ ALL +\d/.test(line)), about);
      const count = (pattern: RegExp): number => lines.filter((line) => pattern.test(line)).length;
      const shown = count(/^[ ▌].*:80\d\d /);
      assert(shown >= 1, about);
      if (shown < servers) {
        assertEquals(count(new RegExp(`^ … ${servers - shown} more ok`)), 1, about);
      }
    }
  }
});

Deno.test("renderFrame() draws only ASCII if asked", () => {
  for (const state of [watchFleet(1), watchTroubledFleet(), say([], { model: "模型" })]) {
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
    ["num_requests_running", "9e18"],
    ["num_requests_waiting", "+Inf"],
    ["kv_cache_usage_perc", "12345678"],
    ["generation_tokens_total", "9e18"],
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

Deno.test("renderFrame() fills the screen exactly, at any size", () => {
  const options = fc.record({
    output: fc.constantFrom("auto" as const, "table" as const, "detail" as const),
    depth: fc.constantFrom<ColorDepth>(null, 0, 16, 256, "truecolor"),
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

// ---- What is chosen.

const SMALL = { columns: 80, rows: 24 };

function command(state: State, one: Command, size: TerminalSize = SMALL, options = PLAIN): State {
  const context = getUiContext(layOutScene(state, size, options));
  return update(state, { kind: "command", command: one, context });
}

Deno.test("renderFrame() shows the verdict on the smallest screens", () => {
  const states = [[watchTroubledFleet(), /^ ● CRITICAL/], [watchFleet(1), /^ ● HEALTHY/]] as const;
  for (const [state, verdict] of states) {
    for (const size of [{ columns: 40, rows: 10 }, { columns: 20, rows: 5 }]) {
      for (const output of ["table", "detail"] as const) {
        const { lines } = renderFrame(state, size, { ...PLAIN, output });
        assert(lines.some((line) => verdict.test(line)), lines.join("\n"));
      }
    }
    for (const rows of [4, 3, 2, 1]) {
      const { lines } = renderFrame(state, { columns: 20, rows }, { ...PLAIN, output: "table" });
      assertMatch(lines[0], verdict);
    }
  }
});

Deno.test("renderFrame() keeps the paused screen, and shows PAUSED", () => {
  const before = { ...watchFleet(2), ui: createUi({ columnIds: COLUMN_IDS }) };
  const paused = command(before, "pause");
  const later = advance(paused, 200, [createFailed(before.endpoints[0].endpoint, 199)]);
  const { lines } = renderFrame(later, SMALL, PLAIN);
  assertStringIncludes(lines[0], "PAUSED");
  assertStringIncludes(lines.at(-1) ?? "", "Space Resume");
  assertEquals(lines.slice(1, -1), renderFrame(before, SMALL, PLAIN).lines.slice(1, -1));
  const released = renderFrame(command(later, "pause"), SMALL, PLAIN).lines;
  assert(!released[0].includes("PAUSED") && released.join("").includes("DOWN"), released[0]);
});

Deno.test("renderFrame() shows the filter while it is typed, on any screen", () => {
  const ui = createUi({ columnIds: COLUMN_IDS });
  const befores: readonly (readonly Command[])[] = [[], ["help"], ["show_cost"], ["open", "last"]];
  for (const servers of [1, 2]) {
    for (const output of ["auto", "detail"] as const) {
      for (const before of befores) {
        const commands = [...before, "filter" as const];
        const start: State = { ...watchFleet(servers), ui };
        const typing = commands.reduce((state, one) => command(state, one), start);
        const typed = update(typing, { kind: "filter", edit: { kind: "insert", text: ":8000" } });
        const { lines } = renderFrame(typed, SMALL, { ...PLAIN, output });
        const line = `─ Filter: :8000_   1 of ${servers} rows ─`;
        assert(lines.some((one) => one.startsWith(line)), `${before}\n${lines.join("\n")}`);
      }
    }
  }
});

Deno.test("renderFrame() scrolls to the last line and back without a lost key", () => {
  const cases: readonly (readonly [State, Command])[] = [
    [watchFleet(4), "help"],
    [watchFleet(4), "toggle_detail"],
  ];
  for (const [start, open] of cases) {
    for (const rows of [6, 24, 40]) {
      for (const hasKeyLine of [true, false]) {
        const size = { columns: 100, rows };
        const options = { ...PLAIN, hasKeyLine };
        const about = `${open} at ${rows}, keys ${hasKeyLine}`;
        const press = (state: State, ...commands: readonly Command[]): State =>
          commands.reduce((now, one) => command(now, one, size, options), state);
        const show = (state: State): readonly string[] => renderFrame(state, size, options).lines;
        const end = press(start, open, "last");
        assert(!show(end).join("\n").includes("more lines"), about);
        assertEquals(show(press(end, "page_down")), show(end), about);
        assert(show(press(end, "up")).join("\n").includes("… 2 more lines"), about);
        assert(show(press(end, "down", "up")).join("\n").includes("… 2 more lines"), about);
      }
    }
  }
});

Deno.test("renderFrame() shows names if every column is hidden", () => {
  const ui = createUi({ columnIds: COLUMN_IDS, hiddenColumnIds: new Set(COLUMN_IDS) });
  const { lines } = renderFrame({ ...watchFleet(2), ui }, SMALL, PLAIN);
  assert(lines.some((line) => line.trim() === "REPLICA") && lines.includes("▌:8001"), lines.join());
});

Deno.test("renderFrame() folds the selected row's group, and shows its line", () => {
  const ui = createUi({ columnIds: COLUMN_IDS });
  const grouped = { ...watchTroubledFleet(), ui };
  const press = (...commands: readonly Command[]): string => {
    const state = commands.reduce((now, one) => command(now, one), grouped);
    const { lines, cursorRow } = renderFrame(state, SMALL, PLAIN);
    return lines[cursorRow ?? 0].replace(/^[ ▌]+/, "").split(/ {2,}/)[0].replace(/…$/, "");
  };
  assertEquals(press("down", "down"), ":8001");
  assertEquals(press("down", "down", "fold"), "▸ Llama-3.1-8B-Instr");
  assertEquals(press("down", "down", "fold", "unfold", "down"), ":8000");
  assertEquals(press("down", "down", "down", "fold"), "▸ Qwen3-32B");
  // A row that is in no group, and a table without groups.
  assertEquals(press("last"), ":8004");
  assertEquals(press("last", "fold"), ":8004");
  assertEquals(press("group", "down", "fold"), "…a-3.1-8B-Instruct :8001");
});

Deno.test("renderFrame() shows another replica at each step through details, grouped too", () => {
  const ui = createUi({ columnIds: COLUMN_IDS });
  let state: State = { ...watchTroubledFleet(), ui };
  for (const one of ["down", "open"] as const) state = command(state, one);
  const nameOf = (now: State): string =>
    renderFrame(now, SMALL, PLAIN).lines[2].trim().split("   ")[0];
  const names = state.fleet.rows.map(({ place }) => place);
  const walk = (one: Command): string[] =>
    names.map(() => {
      const shown = nameOf(state);
      state = command(state, one);
      return shown;
    });
  const there = walk("unfold");
  assertEquals(there.toSorted(), names.toSorted());
  assertEquals(walk("fold"), there.toReversed());
});

// ---- What can be clicked.

/** The text that the target stands on. All cells must be of one character. */
function readTarget(frame: ScreenFrame, { row, fromColumn, toColumn }: ClickTarget): string {
  return frame.lines[row].slice(fromColumn, toColumn).replace(/^[ ▌]+|[ ]+$/g, "");
}

Deno.test("renderFrame() places click targets on their text", () => {
  const base = createUi({ columnIds: COLUMN_IDS });
  const moved = ["kv", "replica", ...COLUMN_IDS.filter((id) => id !== "kv" && id !== "replica")];
  const chosen: readonly Partial<Ui>[] = [
    {},
    { sort: { columnId: "running", isDescending: true } },
    { isGrouped: false, sort: { columnId: "replica", isDescending: false } },
    { columnIds: moved },
    { filter: "800", isTyping: true },
  ];
  for (const state of [watchFleet(2), watchFleet(4), watchTroubledFleet()]) {
    for (const more of chosen) {
      for (const size of [[100, 12], [120, 40], [200, 50]]) {
        const [columns, rows] = size;
        const ui = { ...base, ...more };
        const frame = renderFrame({ ...state, ui }, { columns, rows }, PLAIN);
        const listed = listVisibleRows(state.fleet, ui);
        const kinds = new Set(frame.targets.map(({ action }) => action.kind));
        assert(kinds.has("sort") && kinds.has("line"), [...kinds].join());
        for (const target of frame.targets) {
          const { action } = target;
          const text = readTarget(frame, target);
          if (action.kind === "command") {
            const binding = BINDINGS.find(({ command }) => command === action.command);
            const page = PAGES.find(({ key }) => key === binding?.keys[0]);
            const label = binding?.label ?? page?.title;
            assert([binding?.keys[0], `${binding?.keys[0]} ${label}`].includes(text), text);
          } else if (action.kind === "sort") {
            const title = COLUMNS.find(({ id }) => id === action.columnId)?.title;
            assertEquals(text.replace(/[▴▾]/, "").trim(), title);
          } else {
            const line = listed.find(({ key }) => key === action.key);
            // A long name of a model is cut.
            assertStringIncludes(text, line?.cells.name.trim().slice(0, 17) ?? "no such line");
          }
        }
      }
    }
  }
});

Deno.test("renderFrame() sorts by a click on a heading as by a key", () => {
  // Columns moved: the direction is of the column and not of its place.
  const ui = createUi({ columnIds: [...COLUMN_IDS].reverse() });
  const state = { ...watchFleet(4), ui };
  const size = { columns: 320, rows: 24 };
  const clicked = new Map(
    renderFrame(state, size, PLAIN).targets.flatMap(({ action }) =>
      action.kind === "sort" ? [[action.columnId, update(state, action).ui.sort]] : []
    ),
  );
  assert(clicked.size > 10, [...clicked.keys()].join());
  let now: State = state;
  for (const columnId of ui.columnIds) {
    now = command(now, "sort_next", size);
    assertEquals(now.ui.sort, {
      columnId,
      isDescending: !["replica", "kind", "slo"].includes(columnId),
    });
    if (clicked.has(columnId)) assertEquals(now.ui.sort, clicked.get(columnId));
  }
});

// ---- Any size, any choice.

/** What a user may do. */
type Deed =
  | { readonly kind: "command"; readonly command: Command }
  | { readonly kind: "type"; readonly text: string }
  | { readonly kind: "click"; readonly at: number }
  | { readonly kind: "wait"; readonly span: number };

const DEED: fc.Arbitrary<Deed> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom(...BINDINGS.map(({ command }) => command))
      .map((command): Deed => ({ kind: "command", command })),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom("8", "o", "模", "|", "\x1b[2J", "zz")
      .map((text): Deed => ({ kind: "type", text })),
  },
  { weight: 2, arbitrary: fc.nat(200).map((at): Deed => ({ kind: "click", at })) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(0, 2, 40, 1e6).map((span): Deed => ({ kind: "wait", span })),
  },
);

/** The state after the deed, as the live screen would have it. */
function act(state: State, deed: Deed, size: TerminalSize, options: ViewOptions): State {
  const context = getUiContext(layOutScene(state, size, options));
  if (deed.kind === "command") return update(state, { ...deed, context });
  if (deed.kind === "wait") return advance(state, state.now + deed.span);
  if (deed.kind === "type") {
    return update(state, { kind: "filter", edit: { kind: "insert", text: deed.text } });
  }
  const { targets } = renderFrame(state, size, options);
  if (targets.length === 0) return state;
  const { action } = targets[deed.at % targets.length];
  if (action.kind === "sort") return update(state, action);
  if (action.kind === "command") return update(state, { ...action, context });
  const selected = update(state, { kind: "select", key: action.key, context });
  return update(selected, { kind: "command", command: "open", context });
}

/** Whether the table is what is shown. */
function showsTable({ ui, endpoints }: State, { output }: ViewOptions): boolean {
  const isAlone = endpoints.flatMap((known) => [1, ...listEngines(known).slice(1)]).length < 2;
  return ui.screen === "overview" && ui.page === "fleet" &&
    (output === "table" || (output === "auto" && !isAlone));
}

function assertFrame(state: State, size: TerminalSize, options: ViewOptions): void {
  const { columns, rows } = size;
  const { lines, targets } = renderFrame(state, size, options);
  assertEquals(lines.length, rows);
  const texts = lines.map((line) => line.replace(SGR, ""));
  for (const text of texts) {
    assert(!CONTROL.test(text), JSON.stringify(text));
    assert(measureWidth(text) <= columns, `${measureWidth(text)} of ${columns}: ${text}`);
  }
  if (columns >= 10) assertMatch(texts[0], rows < 6 ? /^ (vllm-htop|[●*o] )/ : /^ vllm-htop/);
  if (rows >= 2 && columns >= 24) {
    assertMatch(texts[rows - 1], state.ui.isTyping ? /^ Enter Keep/ : /^ \? Help {2}q Quit /);
  }
  for (const { row, fromColumn, toColumn } of targets) {
    const isInside = row >= 0 && row < rows && fromColumn >= 0 && fromColumn < toColumn &&
      toColumn <= columns;
    assert(isInside, `${row} ${fromColumn} ${toColumn}`);
  }
  const { lineKeys } = getUiContext(layOutScene(state, size, options));
  if (!showsTable(state, options) || lineKeys.length === 0 || rows < 5) return;
  const selected = lineKeys[findSelected(state.ui, lineKeys)];
  const isInSight = targets.some(({ action }) => action.kind === "line" && action.key === selected);
  assert(isInSight, `${selected} is not in sight:\n${texts.join("\n")}`);
}

Deno.test("the key of trouble finds a folded group that has a row in trouble", () => {
  const foldedGroups = new Set(["Qwen/Qwen3-32B\nvLLM"]);
  const ui = { ...createUi({ columnIds: COLUMN_IDS }), foldedGroups };
  const state: State = { ...watchTroubledFleet(), ui };
  const { troubledKeys } = getUiContext(layOutScene(state, SMALL, PLAIN));
  assert(troubledKeys.has("group Qwen/Qwen3-32B\nvLLM"), [...troubledKeys].join(", "));
  const open = { ...state, ui: { ...ui, foldedGroups: new Set<string>() } };
  const keys = [...getUiContext(layOutScene(open, SMALL, PLAIN)).troubledKeys];
  assert(!keys.some((key) => key.startsWith("group ")), keys.join(", "));
});

Deno.test("renderFrame() is valid for any settings and size", () => {
  const many = watchServers(
    Array.from({ length: 16 }, () => [{ model: "a/b" }, { model: "c" }]),
    4,
  );
  const states = [...ANY_STATE, many];
  const options = fc.record({
    output: fc.constantFrom("auto" as const, "table" as const, "detail" as const),
    depth: fc.constantFrom<ColorDepth>(null, 0, 16, 256, "truecolor"),
    ascii: fc.boolean(),
  });
  const size = fc.record({
    columns: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 60 })),
    rows: fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 16 })),
  });
  const index = fc.nat(states.length - 1);
  const theme = fc.constantFrom(...THEME_NAMES);
  fc.assert(
    fc.property(
      index,
      theme,
      options,
      fc.array(fc.tuple(DEED, size), { minLength: 1, maxLength: 12 }),
      (chosen, theme, how, deeds) => {
        const ui = createUi({ columnIds: COLUMN_IDS, theme });
        let state: State = { ...states[chosen], ui };
        for (const [deed, now] of deeds) {
          // The screen may have another size at each key.
          state = act(state, deed, now, how);
          assertFrame(state, now, how);
        }
      },
    ),
    { numRuns: 300 },
  );
});

// ---- Names from outside.

const HOSTILE_NAMES: readonly string[] = [
  "plain",
  "👍🏽 🇩🇪 👨‍👩‍👧‍👦 ❤️ 1️⃣",
  "नमस्ते-각",
  "模型/语言模型-七十亿",
  "한국어-모델",
  "😀😀/🦙llama🦙",
  "e\u0301te\u0301-" + "z\u0335\u0321\u0322\u0323\u0324\u0325",
  "\u202egnp.exe\u202c",
  "שלום-عربي",
  "\x1b[31mred\x1b[0m\x1b]0;pwn\x07",
  "tab\there\r\bback",
  "ｆｕｌｌｗｉｄｔｈ",
  "zero\u200bwidth\u200djoined\ufeff",
  "ไทย-ที่นี่",
  "a".repeat(300),
  "模".repeat(300),
];

Deno.test("renderFrame() keeps columns aligned for any model name", async () => {
  const endpoints = HOSTILE_NAMES.map((_, i) => createEndpoint(8000 + i));
  const messages = HOSTILE_NAMES.map((model, i) => {
    const escaped = model.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
    const series: Series[] = [["num_requests_running", 7], ["num_requests_waiting", 0]];
    return createScraped(endpoints[i], 0.5, encode(writeEngine(series, { model: escaped })));
  });
  const state = advance(
    startState(endpoints, { ui: createUi({ columnIds: COLUMN_IDS }) }),
    1,
    messages,
  );
  for (const columns of [60, 80, 81, 120, 200, 300]) {
    const size = { columns, rows: 60 };
    for (const depth of [null, 256] as const) {
      const frame = renderFrame(state, size, { ...PLAIN, depth });
      const { cells, rows } = await showLines(frame.lines, size);
      const heading = rows.findIndex((row) => row.startsWith(" REPLICA"));
      const end = cells[heading].join("").indexOf(" RUN ") + 3;
      assert(end > 3, rows[heading]);
      const shown = cells.slice(heading + 1, heading + 1 + HOSTILE_NAMES.length);
      for (const [i, row] of shown.entries()) {
        const about = `${columns}: ${rows[heading + 1 + i]}`;
        assertEquals([row[end - 1], row[end], row[end + 1]], [" ", "7", " "], about);
      }
    }
  }
});

Deno.test("renderFrame() does not change the state", () => {
  const state = watchTroubledFleet();
  const before = JSON.stringify(state.endpoints.map(({ failure, scrape }) => [failure, scrape]));
  const size = { columns: 120, rows: 40 };
  const first = renderFrame(state, size, PLAIN);
  assertEquals(renderFrame(state, size, PLAIN), first);
  const after = JSON.stringify(state.endpoints.map(({ failure, scrape }) => [failure, scrape]));
  assertEquals(after, before);
});

// ---- Before there is a window.

/** The state after the first polls of three servers that have run for a while. */
function poll(count: number, more: Partial<State> = {}): State {
  const endpoints = [8000, 8001, 8002].map((port) => createEndpoint(port));
  const servers = endpoints.map((_, i) =>
    createSimulatedServer({
      seed: i + 1,
      startEpoch: START_EPOCH,
      engines: [{ model: "meta-llama/Llama-3.1-8B-Instruct" }],
      warmUp: 300,
    })
  );
  let state = startState(endpoints, more);
  for (let at = 0; at < count; at++) {
    const messages = endpoints.map((endpoint, i) =>
      createScraped(endpoint, at, servers[i].expositionAt(at) ?? new Uint8Array())
    );
    state = advance(state, at + 0.1, messages);
  }
  return state;
}

/** Where a line begins with a title: of the table, a panel, a section or a trend. */
function listTitles(lines: readonly string[]): readonly string[] {
  return lines.flatMap((line, row) => {
    const title = /^(?:─| {1,3})([A-Za-z/ ,]*?)(?: {2}| ─|$)/.exec(line)?.[1];
    return title === undefined || title === "" ? [] : [`${row} ${title}`];
  });
}

Deno.test("renderFrame() marks figures since the start, and moves no line when the window comes", () => {
  const detail = { ...createUi(), screen: "detail" } as const;
  for (const [columns, rows] of [[80, 24], [120, 40], [200, 60]]) {
    for (const ui of [createUi(), detail]) {
      const [first, second] = [1, 2].map((count) =>
        renderFrame(poll(count, { ui }), { columns, rows }, PLAIN).lines
      );
      assertMatch(first[0], /\* since start/);
      assertMatch(first.slice(1).join("\n"), /\d \w*s\*/);
      assertEquals(second.filter((line) => /\d\*|since start {3}L/.test(line)), []);
      assertEquals(listTitles(first), listTitles(second));
    }
  }
});

Deno.test("renderText() of one scrape marks means and quantiles since the start, dim in color", () => {
  const state = poll(1, { interval: 0, isOnce: true });
  const lines = renderText(state, { ...PLAIN, width: 200 });
  assertMatch(lines[0], / · \* since start · .* · one scrape$/);
  assertMatch(lines[2], / OUT [\d.]+k?\*\/s +IN [\d.]+k?\*\/s +\d+ %\* cached /);
  assertMatch(lines.at(-1) ?? "", /^ ALL .* [\d.]+\* .* \d+ %\* .* [\d.]+ ms\*/);
  const [latency] = /[\d.]+ ms\*/.exec(lines.at(-1) ?? "") ?? [""];
  const painted = renderText(state, { ...PLAIN, depth: 16, width: 200 });
  assertStringIncludes(painted.at(-1) ?? "", createPaint(16)(latency, "dim"));
});
