import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { STALE_INTERVALS, STALE_LIMIT } from "../lib/rules_status.ts";
import { createUi } from "../lib/state_ui.ts";
import { LONG_WINDOW } from "../lib/stats_window.ts";
import { BINDINGS } from "../lib/view_bindings.ts";
import { COLUMN_IDS } from "../lib/view_column_table.ts";
import { COLUMNS, createRowLine, KV_WARN_RATIO } from "../lib/view_columns.ts";
import { formatDuration, formatPercent } from "../lib/view_format.ts";
import { renderColumnMenu, renderColumnNote, renderHelp } from "../lib/view_help.ts";
import { watchFleet } from "./fixtures/fleets.ts";
import { createPaint, type Meaning, type Paint } from "../lib/view_theme.ts";

const plain = createPaint(null);
const WIDE = { width: 120, paint: plain };
const HELP = renderHelp(createUi(), { width: 400, paint: plain });

function findLine(text: string): string {
  const line = HELP.find((candidate) => candidate.includes(text));
  assert(line !== undefined, `"${text}" is not in the help`);
  return line;
}

Deno.test("renderHelp() lists every binding with all its keys, pages in one line", () => {
  for (const { command, keys, help, isToldElsewhere = false } of BINDINGS) {
    if (command.startsWith("show_")) continue;
    if (isToldElsewhere) {
      for (const key of keys) assert(HELP.some((line) => line.includes(key)), key);
      continue;
    }
    const key = keys.join(" ").padEnd(16);
    assert(HELP.some((line) => line.includes(` ${key} ${help}`)), help);
  }
  findLine("123456           page: fleet, latency, GPUs, trends, cost, events");
});

Deno.test("renderHelp() fits on one page of 120 × 40, and 80 columns", () => {
  const lines = renderHelp(createUi(), WIDE);
  assert(lines.length <= 38, `${lines.length} lines`);
  for (const line of lines) assert([...line].length <= 120, line);
  const narrow = renderHelp(createUi(), { ...WIDE, width: 80 });
  for (const line of narrow) assert([...line].length <= 80, line);
  // Wrapped, not cut.
  const words = (some: readonly string[]) => some.join(" ").split(/\s+/).filter((w) => w !== "");
  assertEquals(words(lines).toSorted(), words(narrow).toSorted());
});

Deno.test("renderHelp() explains every column", () => {
  const lines = renderHelp({ showsColumnHelp: true }, { ...WIDE, width: 200 });
  for (const { id, title, help } of COLUMNS) {
    const line = lines.find((candidate) => candidate.endsWith(` ${help}`)) ?? "";
    assertStringIncludes(line, title === "" ? id : title);
  }
});

Deno.test("renderHelp() shows the number of every threshold", () => {
  findLine("yellow above " + formatPercent(KV_WARN_RATIO));
  findLine(`after the longer of ${formatDuration(STALE_LIMIT)} and ${STALE_INTERVALS} intervals`);
  findLine(`over the last ${formatDuration(LONG_WINDOW)}`);
});

Deno.test("renderColumnMenu() shows headings, what is on screen, values and the cursor", () => {
  const marked: string[] = [];
  const paint: Paint = (text, meaning: Meaning) => {
    if (meaning === "selected") marked.push(text);
    return text;
  };
  const ui = createUi({ columnIds: COLUMN_IDS, hiddenColumnIds: new Set(["kv"]) });
  const selected = createRowLine(watchFleet(1).fleet.rows[0]);
  const shownIds = new Set(["replica", "state"]);
  const offer = { objectives: false, gpus: true, kinds: false };
  const [heading, ...lines] = renderColumnMenu({ ...ui, columnCursor: 3 }, {
    selected,
    shownIds,
    offer,
    paint,
  });
  for (const key of ["Space", "Left", "Right", "Esc", "p presets", "(your choice)"]) {
    assertStringIncludes(heading, key);
  }
  assertEquals(lines.length, COLUMN_IDS.length);
  assertEquals(marked, [lines[3]]);
  for (const [i, { id, title, help, formatCell }] of COLUMNS.entries()) {
    assertStringIncludes(lines[i], help);
    const isOn = id !== "kv";
    const wanted = id === "slo" || id === "kind" ? "no data" : isOn ? "no room" : "";
    const presence = shownIds.has(id) ? "shown" : wanted;
    assert(lines[i].startsWith(` [${isOn ? "x" : " "}] ${title}`), lines[i]);
    assertEquals(/ (shown|no room|no data) /.exec(lines[i])?.[1] ?? "", presence);
    assertStringIncludes(lines[i], formatCell(selected).text.slice(0, 12));
  }
  // A heading for people, not the name for `--columns`.
  assert(!lines.some((line) => line.includes("kv_bar")));
  assert(lines.some((line) => line.startsWith(" [x] KV gauge ")));
  const empty = renderColumnMenu(ui, { selected: null, shownIds, offer, paint });
  assertEquals(empty.length, lines.length + 1);
});

Deno.test("renderColumnNote() has the whole help of a column where the menu is cut", () => {
  const offer = { objectives: false, gpus: true, kinds: false };
  const note = (columnCursor: number, width: number): readonly string[] => {
    const ui = { ...createUi({ columnIds: COLUMN_IDS }), columnCursor };
    const menu = renderColumnMenu(ui, { selected: null, shownIds: new Set(), offer, paint: plain });
    return renderColumnNote(menu, ui, { width, paint: plain });
  };
  for (const width of [40, 80, 120]) {
    const lineCount = note(0, width).length;
    for (const [i, { title, menuTitle = title, help }] of COLUMNS.entries()) {
      const lines = note(i, width);
      assertEquals(lines.map((line) => line.trim()).join(" ").trim(), `${menuTitle}: ${help}`);
      assertEquals(lines.length, lineCount, "nothing moves");
    }
  }
  assertEquals(note(0, 200), []);
});
