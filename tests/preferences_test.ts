import { assert, assertEquals } from "@std/assert";
import { COLUMN_IDS } from "../lib/columns.ts";
import { parseArguments } from "../lib/options.ts";
import {
  listColumns,
  parseSort,
  type PreferenceFault,
  readPreferences,
} from "../lib/preferences.ts";
import type { Ui } from "../lib/ui.ts";

function read(...argv: readonly string[]): Ui | PreferenceFault {
  const parsed = parseArguments(["--demo", ...argv], () => undefined);
  assert(parsed.kind === "run", parsed.kind);
  return readPreferences(parsed.options);
}

/** What the user begins with, where nothing is refused. */
function accept(...argv: readonly string[]): Ui {
  const ui = read(...argv);
  assert(!("error" in ui), JSON.stringify(ui));
  return ui;
}

Deno.test("parseSort() takes a column and a direction", () => {
  assertEquals(parseSort("kv:asc"), { columnId: "kv", isDescending: false });
  assertEquals(parseSort("replica:desc"), { columnId: "replica", isDescending: true });
  // Names rise, figures fall: as a click begins.
  assertEquals(parseSort("replica"), { columnId: "replica", isDescending: false });
  for (const columnId of COLUMN_IDS.filter((id) => id !== "replica")) {
    assertEquals(parseSort(columnId), { columnId, isDescending: true });
  }
});

Deno.test("parseSort() refuses what is no column and no direction", () => {
  for (
    const text of [
      ...["", ":", "nope", "KV", " kv", ":asc", "nope:asc"],
      ...["kv:", "kv:up", "kv:ASC", "kv:asc:", "ttft_p95:asc:junk"],
    ]
  ) {
    assertEquals(parseSort(text), null, text);
  }
});

Deno.test("readPreferences() begins with every column and the order as given", () => {
  const { sort, columnIds, hiddenColumnIds, filter, theme } = accept();
  assertEquals([sort, filter, theme], [null, "", "default"]);
  assertEquals([columnIds, hiddenColumnIds.size], [COLUMN_IDS, 0]);
});

Deno.test("readPreferences() shows the columns that are named, in that order", () => {
  const { columnIds, hiddenColumnIds } = accept("--columns", " kv, replica,,state ");
  assertEquals(columnIds.slice(0, 3), ["kv", "replica", "state"]);
  assertEquals(columnIds.toSorted(), COLUMN_IDS.toSorted());
  assertEquals([...hiddenColumnIds], columnIds.slice(3));
  assertEquals(accept("--columns", " , ").hiddenColumnIds.size, 0);
});

Deno.test("readPreferences() takes order, filter and theme", () => {
  const { sort, filter, theme } = accept(
    ...["--sort", "kv:asc", "--filter", "a|b", "--theme", "mono"],
  );
  assertEquals(sort, { columnId: "kv", isDescending: false });
  assertEquals([filter, theme], ["a|b", "mono"]);
});

Deno.test("readPreferences() says what is wrong, and the next step", () => {
  assertEquals(read("--sort", "nope"), {
    error: '--sort "nope" is not a column: see --sort help',
    origin: "--sort",
  });
  assertEquals(read("--columns", "kv,n\x1bope"), {
    error: '--columns "n\\x1bope" is not a column: see --columns help',
    origin: "--columns",
  });
});

Deno.test("readPreferences() names the variable that a wrong column comes from", () => {
  for (const name of ["sort", "columns"]) {
    const variable = `VLLM_HTOP_${name.toUpperCase()}`;
    const parsed = parseArguments(["--demo"], (asked) => asked === variable ? "foo" : undefined);
    assert(parsed.kind === "run", parsed.kind);
    assertEquals(readPreferences(parsed.options), {
      error: `${variable} "foo" is not a column: see --${name} help`,
      origin: variable,
    });
  }
});

Deno.test("listColumns() has a line for each column", () => {
  const lines = listColumns();
  assertEquals(lines.map((line) => line.split(" ")[0]), COLUMN_IDS);
  for (const line of lines) assert(/^\w+ +\S.{3}/.test(line), line);
});
