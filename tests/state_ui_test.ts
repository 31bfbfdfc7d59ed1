import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  applyCommand,
  type Command,
  createUi,
  editFilter,
  findPreset,
  findSelected,
  findSelectedEvent,
  PAGE_IDS,
  selectKey,
  selectLine,
  sortByColumn,
  THEME_NAMES,
  type Ui,
  type UiContext,
} from "../lib/state_ui.ts";
import { BINDINGS } from "../lib/view_bindings.ts";

const KEYS = Array.from({ length: 20 }, (_, i) => `row ${i}`);
const IDS = ["replica", "running", "waiting", "kv"];

function createContext(more: Partial<UiContext> = {}): UiContext {
  return {
    lineKeys: KEYS,
    selectedGroup: null,
    openGroupKeys: new Set(),
    pageLines: 5,
    isText: false,
    eventKeys: [],
    presets: [],
    lastScroll: 0,
    sorts: IDS.map((columnId) => ({ columnId, isDescending: columnId !== "replica" })),
    troubledKeys: new Set(),
    ...more,
  };
}

/** What is chosen after the commands. */
function run(ui: Ui, commands: readonly Command[], context = createContext()): Ui {
  return commands.reduce((now, command) => applyCommand(now, command, context), ui);
}

const selectedOf = (ui: Ui): string => KEYS[findSelected(ui, KEYS)];

Deno.test("applyCommand() moves the selection up to both ends", () => {
  const start = createUi();
  assertEquals(selectedOf(start), "row 0");
  assertEquals(selectedOf(run(start, ["up"])), "row 0");
  assertEquals(selectedOf(run(start, ["down", "down", "up"])), "row 1");
  assertEquals(selectedOf(run(start, ["page_down"])), "row 5");
  assertEquals(selectedOf(run(start, ["page_down", "page_down", "page_up"])), "row 5");
  assertEquals(selectedOf(run(start, ["last"])), "row 19");
  assertEquals(selectedOf(run(start, ["last", "page_down", "down"])), "row 19");
  assertEquals(selectedOf(run(start, ["last", "first"])), "row 0");
  const empty = createContext({ lineKeys: [] });
  for (const { command } of BINDINGS) run(start, [command], empty);
});

Deno.test("applyCommand() moves among the events, and keeps the one it has when others come", () => {
  const events = Array.from({ length: 9 }, (_, i) => `event ${i}`);
  const context = createContext({ isText: true, eventKeys: events });
  const on = createUi();
  assertEquals(run(on, ["down", "down", "up"], context).selectedEvent, "event 1");
  assertEquals(run(on, ["page_down"], context).selectedEvent, "event 5");
  assertEquals(run(on, ["last", "down"], context).selectedEvent, "event 8");
  assertEquals(run(on, ["last", "first", "up"], context).selectedEvent, "event 0");
  const chosen = run(on, ["down"], context);
  const later = createContext({ isText: true, eventKeys: ["event new", ...events] });
  assertEquals(findSelectedEvent(chosen, later.eventKeys), 2);
  assertEquals(run(chosen, ["down"], later).selectedEvent, "event 2");
  assertEquals(findSelectedEvent(chosen, ["event new"]), 0);
  assertEquals([chosen.selectedKey, chosen.scroll], [null, 0]);
});

Deno.test("applyCommand() shows one preset after the other, and all again", () => {
  const presets = [IDS, ["kv", "replica"], ["replica", "waiting"]];
  const context = createContext({ presets });
  const all = createUi({ columnIds: IDS });
  const shown = (ui: Ui) => ui.columnIds.filter((id) => !ui.hiddenColumnIds.has(id));
  const kv = run(all, ["preset"], context);
  assertEquals([shown(kv), kv.columnIds.toSorted()], [presets[1], IDS.toSorted()]);
  assertEquals(shown(run(kv, ["preset"], context)), presets[2]);
  assertEquals(shown(run(kv, ["preset", "preset"], context)), IDS);
  // The user's own choice gives way to all.
  const own = run(kv, ["columns", "open"], context);
  assertEquals([findPreset(own, presets), shown(own)], [-1, ["replica"]]);
  assertEquals(shown(run(own, ["preset"], context)), IDS);
});

Deno.test("applyCommand() keeps the selection visible with least scrolling", () => {
  const command = fc.constantFrom<Command>(
    ...["up", "down", "page_up", "page_down", "first", "last"] as const,
  );
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), fc.integer({ min: 1, max: 25 }), (all, n) => {
      const context = createContext({ pageLines: n });
      let ui = createUi();
      for (const one of all) {
        const before = ui;
        ui = applyCommand(ui, one, context);
        const selected = findSelected(ui, KEYS);
        assert(ui.top >= 0 && selected >= ui.top && selected < ui.top + n, `${ui.top} ${selected}`);
        const wasInSight = selected >= before.top && selected < before.top + n;
        if (wasInSight) assertEquals(ui.top, before.top);
      }
    }),
  );
});

Deno.test("findSelected() follows the row key", () => {
  const ui = run(createUi(), ["down", "down", "down"]);
  assertEquals(ui.selectedKey, "row 3");
  const reversed = KEYS.toReversed();
  assertEquals(reversed[findSelected(ui, reversed)], "row 3");
  // Others went: it is still the same one.
  assertEquals(findSelected(ui, ["row 3", "row 9"]), 0);
  // It went itself: the first, until it comes back.
  assertEquals(findSelected(ui, ["row 5", "row 6"]), 0);
  assertEquals(findSelected(ui, KEYS), 3);
  assertEquals(findSelected(ui, []), 0);
});

Deno.test("applyCommand() moves from the selected row's current line", () => {
  const ui = run(createUi(), ["down", "down", "down"]);
  const context = createContext({ lineKeys: KEYS.toReversed() });
  assertEquals(applyCommand(ui, "down", context).selectedKey, "row 2");
  assertEquals(applyCommand(ui, "up", context).selectedKey, "row 4");
});

Deno.test("selectKey() and selectLine() select existing lines", () => {
  const context = createContext();
  const ui = selectKey(createUi(), "row 12", context);
  assertEquals([ui.selectedKey, ui.top], ["row 12", 8]);
  assertEquals(selectKey(ui, "row 99", context), ui);
  assertEquals(selectLine(ui, 99, context).selectedKey, "row 19");
  assertEquals(selectLine(ui, -1, context).selectedKey, "row 0");
});

Deno.test("applyCommand() scrolls a text to its end and back", () => {
  const context = createContext({ isText: true, lastScroll: 12 });
  const help = run(createUi(), ["help"]);
  assertEquals(run(help, ["down", "down", "up"], context).scroll, 1);
  assertEquals(run(help, ["up"], context).scroll, 0);
  const end = run(help, ["last", "page_down", "down"], context);
  assertEquals(end.scroll, 12);
  // No key is lost for what was pressed at the end.
  assertEquals(run(end, ["up"], context).scroll, 11);
  assertEquals(run(end, ["first"], context).scroll, 0);
  // The screen grew: the next key moves what is seen.
  assertEquals(run(end, ["up"], createContext({ isText: true, lastScroll: 4 })).scroll, 3);
  // Nothing is selected meanwhile.
  assertEquals(end.selectedKey, null);
});

Deno.test("applyCommand() steps through sort columns and the original order", () => {
  let ui = createUi();
  const seen = Array.from({ length: 5 }, () => {
    ui = run(ui, ["sort_next"]);
    return ui.sort === null ? null : `${ui.sort.columnId} ${ui.sort.isDescending}`;
  });
  // Names rise, figures fall: what is worst comes first.
  assertEquals(seen, ["replica false", "running true", "waiting true", "kv true", null]);
  const back = Array.from({ length: 5 }, () => {
    ui = run(ui, ["sort_previous"]);
    return ui.sort?.columnId ?? null;
  });
  assertEquals(back, ["kv", "waiting", "running", "replica", null]);
  // Whatever place it has.
  const last = createContext({
    sorts: [{ columnId: "kv", isDescending: true }, { columnId: "replica", isDescending: false }],
  });
  const kinds = [["sort_next"], ["sort_next", "sort_next"], ["sort_previous"]] as const;
  assertEquals(kinds.map((keys) => run(createUi(), keys, last).sort), [
    { columnId: "kv", isDescending: true },
    { columnId: "replica", isDescending: false },
    { columnId: "replica", isDescending: false },
  ]);
  // A column that is gone is left for the first or the last.
  const gone = createUi({ sort: { columnId: "gone", isDescending: true } });
  assertEquals(run(gone, ["sort_next"]).sort?.columnId, "replica");
});

Deno.test("applyCommand() inverts the order", () => {
  const sorted = run(createUi(), ["sort_next", "sort_next", "invert_sort"]);
  assertEquals(sorted.sort, { columnId: "running", isDescending: false });
  assertEquals(run(sorted, ["invert_sort"]).sort, { columnId: "running", isDescending: true });
  assertEquals(run(createUi(), ["invert_sort"]).sort, null);
});

Deno.test("sortByColumn() inverts the order at the second click", () => {
  const kv = { columnId: "kv", isDescending: true };
  const replica = { columnId: "replica", isDescending: false };
  const once = sortByColumn(createUi(), kv);
  assertEquals(once.sort, kv);
  assertEquals(sortByColumn(once, kv).sort, { ...kv, isDescending: false });
  assertEquals(sortByColumn(once, replica).sort, replica);
  assertEquals(sortByColumn(sortByColumn(once, replica), replica).sort?.isDescending, true);
});

Deno.test("applyCommand() hides, shows and moves columns in their menu", () => {
  const menu = run(createUi({ columnIds: IDS }), ["columns"]);
  assertEquals(menu.screen, "columns");
  const second = run(menu, ["down"]);
  assertEquals(second.columnCursor, 1);
  const hidden = run(second, ["pause"]);
  assertEquals([...hidden.hiddenColumnIds], ["running"]);
  assertEquals([...run(hidden, ["open"]).hiddenColumnIds], []);
  const moved = run(second, ["unfold"]);
  assertEquals(moved.columnIds, ["replica", "waiting", "running", "kv"]);
  assertEquals(moved.columnCursor, 2, "the cursor goes with the column");
  assertEquals(run(moved, ["fold"]).columnIds, IDS);
  // At the ends nothing moves, and no column is lost.
  assertEquals(run(menu, ["fold"]).columnIds, IDS);
  assertEquals(run(menu, ["last", "unfold"]).columnIds, IDS);
  assertEquals(run(menu, ["up"]).columnCursor, 0);
  assertEquals(run(menu, ["last", "down"]).columnCursor, 3);
  // The table's selection stays as it was.
  assertEquals(run(menu, ["down", "open", "unfold"]).selectedKey, null);
  const empty = run(createUi(), ["columns", "down", "unfold", "up"]);
  assertEquals(empty.screen, "columns");
});

Deno.test("applyCommand() folds the selected group and selects its line", () => {
  const context = createContext({ selectedGroup: { groupKey: "m", key: "row 2" } });
  const inGroup = selectKey(createUi(), "row 9", context);
  assertEquals(selectedOf(run(inGroup, ["unfold"], context)), "row 9");
  const left = run(inGroup, ["fold"], context);
  assertEquals([selectedOf(left), left.top, [...left.foldedGroups]], ["row 2", 2, ["m"]]);
  const folded = run(createUi(), ["fold"], context);
  assertEquals([...folded.foldedGroups], ["m"]);
  assertEquals([...run(folded, ["fold"], context).foldedGroups], ["m"]);
  assertEquals([...run(folded, ["unfold"], context).foldedGroups], []);
  assertEquals([...run(createUi(), ["fold"]).foldedGroups], []);
  assertEquals(run(inGroup, ["fold"], { ...context, isText: true }), inGroup);
  assertEquals(run(createUi(), ["group"]).isGrouped, false);
  assertEquals(run(createUi(), ["group", "group"]).isGrouped, true);
});

Deno.test("applyCommand() does not sort a hidden table", () => {
  const detail = run(createUi({ sort: { columnId: "kv", isDescending: true } }), ["open"]);
  for (const command of ["sort_next", "sort_previous", "invert_sort"] as const) {
    assertEquals(run(detail, [command]), detail, command);
    const alone = createContext({ isText: true });
    assertEquals(run(createUi(), [command], alone), createUi(), command);
  }
});

Deno.test("editFilter() edits the filter, and Escape clears it", () => {
  const typing = run(createUi(), ["filter"]);
  assertEquals([typing.isTyping, typing.filter], [true, ""]);
  const typed = editFilter(editFilter(typing, { kind: "insert", text: "ab" }), {
    kind: "insert",
    text: "😀",
  });
  assertEquals(typed.filter, "ab😀");
  assertEquals(editFilter(typed, { kind: "delete" }).filter, "ab");
  assertEquals(editFilter(createUi(), { kind: "delete" }).filter, "");
  const accepted = editFilter(typed, { kind: "accept" });
  assertEquals([accepted.filter, accepted.isTyping], ["ab😀", false]);
  const cleared = editFilter(typed, { kind: "clear" });
  assertEquals([cleared.filter, cleared.isTyping], ["", false]);
  assertEquals(run(accepted, ["back"]).filter, "");
});

Deno.test("editFilter() deletes the last word, or all, and keeps typing", () => {
  const type = (text: string): Ui => ({ ...run(createUi(), ["filter"]), filter: text, top: 3 });
  const cases: readonly (readonly [string, string])[] = [
    ["llama & kv>80%", "llama & "],
    ["llama & ", "llama "],
    [" 😀é  ", " "],
    ["one", ""],
    ["", ""],
  ];
  for (const [before, after] of cases) {
    const { filter, isTyping, top } = editFilter(type(before), { kind: "delete_word" });
    assertEquals([filter, isTyping, top], [after, true, 0], before);
    const none = editFilter(type(before), { kind: "delete_all" });
    assertEquals([none.filter, none.isTyping, none.top], ["", true, 0], before);
  }
});

Deno.test("editFilter() limits the length to whole characters", () => {
  const long = editFilter(createUi(), { kind: "insert", text: "x".repeat(199) + "😀😀" });
  assertEquals([...long.filter].length, 200);
  assert(long.filter.isWellFormed());
});

Deno.test("applyCommand() stops typing when another screen opens", () => {
  const typing = run(createUi({ filter: "a" }), ["filter"]);
  for (const command of ["help", "columns", "toggle_detail", "open"] as const) {
    const next = run(typing, [command]);
    assertEquals([next.isTyping, next.filter], [false, "a"], command);
  }
});

Deno.test("applyCommand() shows the table for the filter", () => {
  const befores: readonly (readonly Command[])[] = [[], ["help"], ["open"], ["next_page"]];
  for (const before of befores) {
    const { screen, page, prefersTable, isTyping } = run(createUi(), [...before, "filter"]);
    const expected = ["overview", "fleet", true, true];
    assertEquals([screen, page, prefersTable, isTyping], expected, before.join());
  }
});

Deno.test("applyCommand() shows a page, and the fleet again by its key, by 1 and by Esc", () => {
  const text = createContext({ isText: true, lastScroll: 9 });
  const latency = run(createUi({ filter: "a" }), ["help", "show_latency", "down"], text);
  assertEquals([latency.screen, latency.page, latency.scroll], ["overview", "latency", 1]);
  const gpus = run(latency, ["show_gpus"], text);
  assertEquals([gpus.page, gpus.scroll], ["gpus", 0]);
  for (const command of ["show_gpus", "show_fleet", "back", "filter"] as const) {
    const { page, filter, scroll } = run(gpus, [command], text);
    assertEquals([page, filter, scroll], ["fleet", "a", 0], command);
  }
});

Deno.test("applyCommand() zooms the table, and steps through the pages", () => {
  const zoomed = run(createUi(), ["zoom"]);
  assertEquals([zoomed.isZoomed, run(zoomed, ["zoom"]).isZoomed], [true, false]);
  const pages = PAGE_IDS.map((_, i) => run(createUi(), Array(i + 1).fill("next_page")).page);
  assertEquals(pages, [...PAGE_IDS.slice(1), PAGE_IDS[0]]);
});

Deno.test("applyCommand() selects the next and the previous line in trouble, around the end", () => {
  const context = createContext({ troubledKeys: new Set(["row 3", "row 7"]) });
  const select = (from: string, command: Command): string | null =>
    run({ ...createUi(), selectedKey: from }, [command], context).selectedKey;
  assertEquals(["row 0", "row 3", "row 7"].map((from) => select(from, "next_trouble")), [
    ...["row 3", "row 7", "row 3"],
  ]);
  assertEquals(["row 0", "row 3", "row 7"].map((from) => select(from, "previous_trouble")), [
    ...["row 7", "row 7", "row 3"],
  ]);
  assertEquals(run(createUi(), ["next_trouble"]).selectedKey, null);
});

Deno.test("applyCommand() sorts by severity, and back", () => {
  const sorted = run(createUi(), ["sort_severity"]);
  assertEquals(sorted.sort, { columnId: "state", isDescending: true });
  assertEquals(run(sorted, ["sort_severity"]).sort, null);
});

Deno.test("applyCommand() goes back one level at a time", () => {
  const start = createUi({ filter: "a" });
  const deep = run(start, ["zoom", "help", "down"], createContext({ isText: true, lastScroll: 9 }));
  const levels = [deep];
  for (let i = 0; i < 4; i++) levels.push(run(levels[i], ["back"]));
  assertEquals(levels.map(({ screen, isZoomed, filter }) => [screen, isZoomed, filter]), [
    ["help", true, "a"],
    ["overview", true, "a"],
    ["overview", false, "a"],
    ["overview", false, ""],
    ["overview", false, ""],
  ]);
  assertEquals(levels[1].scroll, 0);
});

Deno.test("applyCommand() opens and closes screens, and steps through the themes", () => {
  assertEquals(run(createUi(), ["open"]).screen, "detail");
  for (
    const [command, screen] of [
      ["toggle_detail", "detail"],
      ["help", "help"],
      ["columns", "columns"],
    ] as const
  ) {
    assertEquals(run(createUi(), [command]).screen, screen);
    assertEquals(run(createUi(), [command, command]).screen, "overview");
  }
  let ui = createUi();
  const seen = THEME_NAMES.map(() => (ui = run(ui, ["next_theme"])).theme);
  assertEquals(seen, [...THEME_NAMES.slice(1), THEME_NAMES[0]]);
});

Deno.test("applyCommand() reaches the table from a single replica's details", () => {
  const text = createContext({ isText: true });
  const table = run(createUi(), ["toggle_detail"], text);
  assertEquals([table.screen, table.prefersTable], ["overview", true]);
  const detail = run(table, ["toggle_detail"]);
  assertEquals([detail.screen, detail.prefersTable], ["detail", false]);
  // A page is a text that is no detail.
  assertEquals(run(createUi(), ["show_gpus", "toggle_detail"], text).screen, "detail");
});

Deno.test("applyCommand() steps between details", () => {
  const second = run(
    createUi(),
    ["open", "down", "unfold"],
    createContext({ isText: true, lastScroll: 9 }),
  );
  assertEquals([second.screen, selectedOf(second), second.scroll], ["detail", "row 1", 0]);
  assertEquals(selectedOf(run(second, ["fold", "fold"])), "row 0");
});

Deno.test("applyCommand() skips open groups' lines between details", () => {
  const openGroupKeys = new Set(["row 0", "row 3", "row 4"]);
  const context = createContext({ isText: true, openGroupKeys });
  const details = run(createUi(), ["open"], context);
  const press = (...commands: readonly Command[]): string =>
    selectedOf(run(details, commands, context));
  assertEquals(press("unfold"), "row 1");
  assertEquals(press("unfold", "unfold", "unfold"), "row 5");
  assertEquals(press("unfold", "unfold", "unfold", "fold"), "row 2");
  // Before the first row there is nothing.
  assertEquals(press("unfold", "fold", "fold"), "row 1");
  assertEquals(press("fold"), "row 0");
});

Deno.test("applyCommand() ignores other commands", () => {
  const ui = createUi();
  for (const command of ["quit", "slower", "faster", "poll_now", "redraw", "pause"] as const) {
    assertEquals(run(ui, [command]), ui, command);
  }
});
