import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Objective } from "../lib/model.ts";
import type { State } from "../lib/state.ts";
import { createUi, type Ui } from "../lib/state_ui.ts";
import { measureWidth } from "../lib/text.ts";
import { COLUMN_IDS, COLUMNS, createRowLine, type TableLine } from "../lib/view_columns.ts";
import { listVisibleRows } from "../lib/view_rows.ts";
import {
  chooseColumns,
  countGroupTotals,
  type DrawnTable,
  renderTable,
} from "../lib/view_table.ts";
import { createPaint, type Paint } from "../lib/view_theme.ts";
import { createEndpoint, startState } from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";

const plain = createPaint(null);

interface Drawing {
  readonly width?: number;
  readonly maxLines?: number;
  readonly paint?: Paint;
  readonly ui?: Ui;
  readonly isLive?: boolean;
}

function draw(state: State, drawing: Drawing = {}): DrawnTable {
  const { width = 320, maxLines = 100, paint = plain, ui = createUi(), isLive = false } = drawing;
  const fleet = state.fleet;
  return renderTable(fleet, listVisibleRows(fleet, ui), {
    width,
    maxLines,
    paint,
    ui,
    isLive,
    hasGroupTotals: true,
    hasNote: true,
  });
}

function render(state: State, width = 320, maxLines = 100): readonly string[] {
  return draw(state, { width, maxLines }).lines;
}

function readLines(state: State): readonly TableLine[] {
  return state.fleet.rows.map(createRowLine);
}

function chooseIds(lines: readonly TableLine[], width: number): string[] {
  return chooseColumns(lines, width, createUi()).map(({ column }) => column.id);
}

Deno.test("renderTable() puts the sort mark of a numeric first column in the margin", () => {
  for (const { id } of COLUMNS) {
    const others = COLUMN_IDS.filter((other) => other !== id);
    const ui = createUi({
      columnIds: [id, ...others],
      sort: { columnId: id, isDescending: true },
    });
    const [heading] = draw(watchFleet(4), { ui }).lines;
    const [plainHeading] = draw(watchFleet(4), { ui: { ...ui, sort: null } }).lines;
    assertEquals(heading.replace("▾", " ").trimEnd(), plainHeading.trimEnd());
  }
});

Deno.test("chooseColumns() drops columns by priority", () => {
  const lines = readLines(watchFleet(4));
  let last = chooseIds(lines, 400);
  for (let width = 400; width >= 1; width--) {
    const ids = chooseIds(lines, width);
    assert(ids.length <= last.length, `${width}`);
    const gone = last.filter((id) => !ids.includes(id));
    const lowest = Math.min(
      ...gone.map((id) => COLUMNS.find((column) => column.id === id)?.priority ?? NaN),
    );
    for (const { id, priority } of COLUMNS) {
      if (ids.includes(id)) assert(gone.length === 0 || priority < lowest, `${width}: ${id}`);
    }
    last = ids;
  }
  assertEquals(last, ["replica"]);
});

Deno.test("chooseColumns() makes room for service levels only if there are objectives", () => {
  const objectives: readonly Objective[] = [
    { model: null, latency: "ttft", limit: 1, target: 0.95 },
  ];
  const without = chooseIds(readLines(watchFleet(4)), 80);
  assert(!without.includes("slo"));
  const ids = chooseIds(readLines(watchFleet(4, { more: { objectives } })), 80);
  assertEquals(ids.filter((id) => id !== "slo"), without.filter((id) => ids.includes(id)));
  assert(ids.includes("slo") && ids.includes("running") && ids.includes("kv"));
});

Deno.test("chooseColumns() cuts the name before dropping essential columns", () => {
  const lines = readLines(watchFleet(4));
  const measure = (width: number): number => chooseColumns(lines, width, createUi())[0].width;
  const full = measure(400);
  assertEquals(full, "Llama-3.1-8B-Instruct :8000".length);
  const essential = COLUMNS.filter(({ isEssential }) => isEssential).map(({ id }) => id);
  const narrowest = Array.from({ length: 400 }, (_, i) => i + 1)
    .find((width) => chooseIds(lines, width).length === essential.length) ?? 0;
  assertEquals(chooseIds(lines, narrowest), essential);
  assertEquals(measure(narrowest), 8);
  // Cell by cell, as far as the name allows.
  for (let width = narrowest; width <= narrowest + full - 8; width++) {
    assertEquals(chooseIds(lines, width), essential);
    assertEquals(measure(width), 8 + width - narrowest);
  }
  assert(chooseIds(lines, narrowest - 1).length < essential.length);
  assertEquals(measure(1), 8);
});

Deno.test("renderTable() aligns headings wider than their cells", () => {
  const [heading, first] = render(watchFleet(2));
  assertEquals(first.indexOf("OK"), heading.indexOf("STATE"));
  assertEquals(first.indexOf(":"), heading.indexOf("REPLICA"));
  assert(heading.startsWith(" REPLICA  STATE"), "names are shorter than their heading");
});

Deno.test("renderTable() has one line per row, and ALL", () => {
  const lines = render(watchFleet(2));
  assertEquals(lines.length, 1 + 2 + 1);
  assertMatch(lines[0], /^ REPLICA +STATE +RUN +WAIT +REQ\/S/);
  // The title has the model's name where there is one model.
  assertMatch(lines[1], /^ :8000 +OK +\d+/);
  assertMatch(lines[3], /^ ALL +\d+/);
});

Deno.test("renderTable() has one total per model with several replicas", () => {
  const lines = render(watchFleet(4));
  assertEquals(lines.length, 1 + 5 + 3);
  assertMatch(lines[6], /^ ALL Llama-3\.1-8B-Instruct /);
  assertMatch(lines[7], /^ ALL Qwen3-32B /);
  assertMatch(lines[8], /^ ALL +\d/);
  // Not for one that has a single replica.
  const three = render(watchFleet(3));
  assertEquals(three.length, 1 + 3 + 2);
});

Deno.test("countGroupTotals() counts the group totals drawn", () => {
  for (const servers of [1, 2, 3, 4]) {
    const state = watchFleet(servers);
    const fleet = state.fleet;
    const besides = 1 + fleet.rows.length + 1;
    assertEquals(countGroupTotals(fleet), render(state).length - besides, `${servers}`);
  }
});

Deno.test("renderTable() marks rows that need attention", () => {
  const marks = render(watchTroubledFleet()).map((line) => line[0]).slice(1, 7);
  assertEquals(marks, [" ", "▌", "▌", " ", " ", "▌"]);
});

Deno.test("renderTable() shows which rows are drawn", () => {
  const lines = render(watchFleet(4), 320, 2);
  assertEquals(lines.filter((line) => /:800\d/.test(line)).length, 2);
  assertEquals(lines[3], " 1–2 of 5");
  // The totals are of all rows, whatever is in sight.
  assertEquals(lines.at(-1), render(watchFleet(4)).at(-1));
  assertEquals(render(watchFleet(4), 320, 0).filter((line) => /:800\d/.test(line)).length, 1);
});

Deno.test("renderTable() aligns cells with headings", () => {
  const lines = render(watchFleet(4), 200);
  // A column that is aligned to the right ends where its heading ends.
  for (const title of ["RUN", "WAIT", "REQ/S", "KV"]) {
    const end = lines[0].indexOf(` ${title} `) + title.length;
    assert(end > title.length, title);
    for (const line of lines.slice(1)) {
      assertMatch(line[end], /[\d%—+]/, `${title}: ${line}`);
      assertEquals(line[end + 1] ?? " ", " ", `${title}: ${line}`);
    }
  }
});

Deno.test("renderTable() ignores styles when it measures cells", () => {
  const painted: string[] = [];
  const paint: Paint = (text, meaning) => {
    painted.push(meaning);
    return text === "" ? "" : `\x1b[1m${text}\x1b[22m`;
  };
  const state = watchTroubledFleet();
  const styled = draw(state, { width: 160, paint }).lines;
  // deno-lint-ignore no-control-regex
  const stripped = styled.map((line) => line.replace(/\x1b\[\d+m/g, "").trimEnd());
  assertEquals(stripped, [...render(state, 160)]);
  for (const meaning of ["heading", "ok", "warn", "alert", "dim", "name"]) {
    assert(painted.includes(meaning), meaning);
  }
});

Deno.test("renderTable() fits widths from 60 on", () => {
  for (const state of [watchFleet(1), watchFleet(4), watchTroubledFleet()]) {
    for (const width of [60, 80, 100, 120, 160, 200, 320]) {
      for (const line of render(state, width)) assert(measureWidth(line) <= width, line);
    }
  }
});

Deno.test("renderTable() shows dashes before the first scrape", () => {
  const [, row, all] = render(startState([createEndpoint(8000)]));
  assertStringIncludes(row, "PENDING");
  assertMatch(row, /— +— +—$/);
  assertMatch(all, /^ ALL +— +— +—$/);
});
