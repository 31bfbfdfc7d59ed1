import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { State } from "../lib/state.ts";
import { createUi, type Ui } from "../lib/state_ui.ts";
import { measureWidth } from "../lib/text.ts";
import { COLUMN_IDS } from "../lib/view_column_table.ts";
import { COLUMNS, createRowLine, type TableLine } from "../lib/view_columns.ts";
import { listVisibleRows } from "../lib/view_rows.ts";
import { chooseColumns, type DrawnTable, renderTable } from "../lib/view_table.ts";
import { createPaint, type Paint } from "../lib/view_theme.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import { watchServers } from "./fixtures/screens.ts";

const plain = createPaint(null);

const OFFER = { objectives: false, gpus: false, kinds: false };

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
    offer: OFFER,
  });
}

function render(state: State, width = 320, maxLines = 100): readonly string[] {
  return draw(state, { width, maxLines }).lines;
}

function readLines(state: State): readonly TableLine[] {
  return state.fleet.rows.map(createRowLine);
}

function chooseIds(lines: readonly TableLine[], width: number, offer = OFFER): string[] {
  return chooseColumns(lines, { width, ui: createUi(), offer }).map(({ column }) => column.id);
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

Deno.test("renderTable() has room for the age of a stale row until it is down", () => {
  const endpoint = createEndpoint(8000);
  const body = encode(writeEngine([["num_requests_running", 1]]));
  const answered = advance(startState([endpoint]), 1, [createScraped(endpoint, 0, body)]);
  const state = advance(answered, 29, [createFailed(endpoint, 29)]);
  for (const width of [60, 80, 120]) {
    assertMatch(render(state, width)[1], /:8000 +STALE 29s /, `${width}`);
  }
});

Deno.test("chooseColumns() shows service levels, GPUs and kinds only if there can be any", () => {
  const lines = readLines(watchFleet(4));
  const all = chooseIds(lines, 400, { objectives: true, gpus: true, kinds: true });
  const extra = all.filter((id) => !chooseIds(lines, 400).includes(id));
  assertEquals(extra, ["slo", "gpu", "gpu_memory", "kind"]);
});

Deno.test("chooseColumns() takes no notice of values", () => {
  const silent = readLines(startState([createEndpoint(8000)]));
  for (const width of [60, 80, 110, 120, 160, 200]) {
    assertEquals(chooseIds(silent, width), chooseIds(readLines(watchFleet(1)), width));
  }
});

Deno.test("chooseColumns() shows what matters most at 80 columns, and more at 120", () => {
  const lines = readLines(watchFleet(2));
  const narrow = [
    "replica",
    "state",
    "running",
    "waiting",
    "kv_bar",
    "kv",
    "output",
    "ttft_p95_1m",
    "itl_p95_1m",
  ];
  const ids = chooseIds(lines, 80);
  assertEquals(narrow.filter((id) => !ids.includes(id)), []);
  const wide = chooseIds(lines, 120);
  const more = ["prompt", "requests", "cache", "trend"];
  assertEquals(more.filter((id) => !wide.includes(id)), []);
});

Deno.test("renderTable() aligns headings wider than their cells", () => {
  const [heading, first] = render(watchFleet(2));
  assertEquals(first.indexOf("OK"), heading.indexOf("STATE"));
  assertEquals(first.indexOf(":"), heading.indexOf("REPLICA"));
  assert(heading.startsWith(" REPLICA   STATE"), "names are shorter than the least width");
});

Deno.test("renderTable() has one line per row, and ALL", () => {
  const lines = render(watchFleet(2));
  assertEquals(lines.length, 1 + 2 + 1);
  assertMatch(lines[0], /^ REPLICA +STATE +RUN +WAIT +KV +OUT\/S +IN\/S +REQ\/S +TTFT@1m +ITL@1m/);
  // The title has the model's name where there is one model.
  assertMatch(lines[1], /^ :8000 +OK +\d+/);
  assertMatch(lines[3], /^ ALL +\d+/);
});

Deno.test("renderTable() groups several models, each with its totals", () => {
  const lines = render(watchFleet(4));
  assertEquals(lines.length, 1 + 2 + 5 + 1);
  assertMatch(lines[1], /^ ▾ Llama-3\.1-8B-\S* /);
  assertMatch(lines[2], /^ {3}:8000 +OK /);
  assert(lines.some((line) => /^ ▾ Qwen3-32B +\d/.test(line)), lines.join("\n"));
  assertMatch(lines.at(-1) ?? "", /^ ALL +\d/);
});

Deno.test("renderTable() marks rows in trouble", () => {
  const rows = render(watchTroubledFleet()).filter((line) => /:800\d/.test(line));
  assertEquals(rows.map((line) => line[0]), [" ", "▌", "▌", " ", " ", "▌"]);
});

Deno.test("renderTable() marks a folded group that has a row in trouble", () => {
  const state = watchTroubledFleet();
  const marks = (...models: readonly string[]): readonly string[] => {
    const ui = { ...createUi(), foldedGroups: new Set(models.map((model) => `${model}\nvLLM`)) };
    return draw(state, { ui }).lines.filter((line) => /^.[▸▾]/.test(line)).map((line) => line[0]);
  };
  assertEquals(marks(), [" ", " "], "the rows are marked");
  assertEquals(marks("Qwen/Qwen3-32B"), [" ", "▌"]);
  const well = watchFleet(4);
  const ui = { ...createUi(), foldedGroups: new Set(["Qwen/Qwen3-32B\nvLLM"]) };
  assertEquals(draw(well, { ui }).lines.filter((line) => /^.▸/.test(line)).map((line) => line[0]), [
    " ",
  ]);
});

Deno.test("renderTable() folds well rows into one line, and never one in trouble", () => {
  const flat = createUi();
  const many = watchServers(Array.from({ length: 12 }, () => [{ model: "m" }]), 40);
  const lines = render(many, 120, 6);
  assertEquals(lines.length, 1 + 6 + 1);
  assertMatch(lines[6], /^ … 7 more ok: RUN \d+–\d+, KV .* %, ITL .* ms$/);
  const rows = many.fleet.rows.map((row, i) => i < 10 ? row : { ...row, status: "HOT" as const });
  const troubled = { ...many, fleet: { ...many.fleet, rows } };
  const shown = render(troubled, 120, 6).filter((line) => / HOT /.test(line));
  assertEquals(shown.length, 2);
  assertMatch(render(troubled, 120, 6)[6], /^ … 7 more ok: /);
  // A selected row is in sight, too.
  const [key] = many.fleet.rows.slice(9, 10).map((row) => row.key);
  const drawn = draw(troubled, { maxLines: 6, ui: { ...flat, selectedKey: key }, isLive: true });
  assertEquals([drawn.shown.includes(9), drawn.shown.slice(-2)], [true, [10, 11]]);
});

Deno.test("renderTable() shows rows in trouble before the lines of groups where room is short", () => {
  const well = watchFleet(4);
  const rows = well.fleet.rows.map((row, i) => i === 4 ? { ...row, status: "HOT" } : row);
  const state = { ...well, fleet: { ...well.fleet, rows } } as State;
  // Two groups and two in trouble leave no row for the selection.
  const lines = render(state, 120, 5);
  assertEquals(lines.filter((line) => / HOT /.test(line)).length, 2, lines.join("\n"));
  assertMatch(lines[5], /^ … \d+ more ok: /);
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
  for (const meaning of ["title", "ok", "warn", "alert", "dim", "plain"]) {
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
  assertMatch(row, /PENDING( +—)+$/);
  assertMatch(all, /^ ALL( +—)+$/);
});
