import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { STALE_INTERVALS, STALE_LIMIT } from "../lib/rules_status.ts";
import { DEFAULT_RULES } from "../lib/rules_table.ts";
import { createUi } from "../lib/state_ui.ts";
import { LONG_WINDOW } from "../lib/stats_window.ts";
import { BINDINGS } from "../lib/view_bindings.ts";
import { COLUMN_IDS, COLUMNS, KV_WARN_RATIO } from "../lib/view_columns.ts";
import { formatDuration, formatPercent } from "../lib/view_format.ts";
import { renderColumnMenu, renderHelp } from "../lib/view_help.ts";
import { createPaint, type Meaning, type Paint } from "../lib/view_theme.ts";

const plain = createPaint(null);
const HELP = renderHelp(DEFAULT_RULES, plain);

function findLine(text: string): string {
  const line = HELP.find((candidate) => candidate.includes(text));
  assert(line !== undefined, `"${text}" is not in the help`);
  return line;
}

Deno.test("renderHelp() lists every binding with all its keys", () => {
  for (const { keys, help } of BINDINGS) {
    const line = HELP.find((candidate) => candidate.trim().endsWith(help)) ?? "";
    assert(line !== "", help);
    assertEquals(line.trim().slice(0, -help.length).trim().split(" "), [...keys]);
  }
});

Deno.test("renderHelp() explains every column", () => {
  for (const { id, title, help } of COLUMNS) {
    assertStringIncludes(findLine(help), title === "" ? id : title);
  }
});

Deno.test("renderHelp() shows the number of every threshold", () => {
  const kv = findLine("KV   ");
  const limits: readonly (readonly [string, readonly string[]])[] = [
    ["yellow above " + formatPercent(KV_WARN_RATIO), ["KV"]],
    [`more than ${DEFAULT_RULES.queuing.threshold} waiting`, ["degraded:"]],
    [`more than ${DEFAULT_RULES.overloaded.threshold} waiting`, ["critical:"]],
    [`after the longer of ${formatDuration(STALE_LIMIT)} and ${STALE_INTERVALS} intervals`, [
      "STALE",
    ]],
    [`over the last ${formatDuration(LONG_WINDOW)}`, ["@1m"]],
  ];
  assert(kv !== "");
  for (const [limit, others] of limits) {
    for (const other of others) assertStringIncludes(findLine(limit), other);
  }
});

Deno.test("renderHelp() fits 80 columns in the list of keys", () => {
  const columns = HELP.findIndex((line) => line.includes("Columns"));
  for (const line of HELP.slice(0, columns)) assert([...line].length <= 80, line);
});

Deno.test("renderColumnMenu() marks visible columns and the cursor", () => {
  const marked: string[] = [];
  const paint: Paint = (text, meaning: Meaning) => {
    if (meaning === "selected") marked.push(text);
    return text;
  };
  const ui = createUi({ columnIds: COLUMN_IDS, hiddenColumnIds: new Set(["kv"]) });
  const [heading, ...lines] = renderColumnMenu({ ...ui, columnCursor: 3 }, paint);
  for (const key of ["Space", "Left", "Right", "Esc"]) assertStringIncludes(heading, key);
  assertEquals(lines.length, COLUMN_IDS.length);
  const hidden = lines.filter((line) => line.startsWith(" [ ] "));
  assertEquals(hidden.map((line) => line.split(/ +/)[3]), ["kv"]);
  assertEquals(marked, [lines[3]]);
  for (const [i, { help }] of COLUMNS.entries()) assertStringIncludes(lines[i], help);
});
