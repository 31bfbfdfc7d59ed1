import { assert, assertEquals } from "@std/assert";
import type { State } from "../lib/state.ts";
import { createUi, type Ui } from "../lib/state_ui.ts";
import { COLUMN_IDS } from "../lib/view_column_table.ts";
import { COLUMNS, createRowLine } from "../lib/view_columns.ts";
import {
  type FilterSubject,
  listLabelNames,
  listVisibleRows,
  parseFilter,
  type VisibleRow,
} from "../lib/view_rows.ts";
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

function list(state: State, more: Partial<Ui> = {}): readonly VisibleRow[] {
  return listVisibleRows(state.fleet, { ...createUi(), ...more });
}

const placesOf = (lines: readonly VisibleRow[]): string[] =>
  lines.map((line) => line.kind === "row" ? line.row.place : `(${line.group.modelName})`);

/** Endpoints from port 8000 on with so many running requests; `null` is one that failed. */
function watchRunning(counts: readonly (number | null)[]): State {
  const endpoints = counts.map((_, i) => createEndpoint(8000 + i));
  const messages = counts.map((count, i) =>
    count === null
      ? createFailed(endpoints[i], 0.5)
      : createScraped(endpoints[i], 0.5, encode(writeEngine([["num_requests_running", count]])))
  );
  return advance(startState(endpoints), 1, messages);
}

Deno.test("listVisibleRows() keeps the order of endpoints", () => {
  const expected = [":8000", ":8001", ":8002", ":8003"];
  assertEquals(placesOf(list(watchRunning([3, 1, 2, 0]))), expected);
  assertEquals(placesOf(list(watchRunning([0, 9, null, 4]))), expected);
  // An unknown column is no order.
  const sort = { columnId: "nonsense", isDescending: true };
  assertEquals(placesOf(list(watchRunning([3, 1, 2, 0]), { sort })), expected);
});

Deno.test("listVisibleRows() sorts both ways, rows without a value last", () => {
  const state = watchRunning([3, null, 10, 2]);
  const sorted = (isDescending: boolean): string[] =>
    placesOf(list(state, { sort: { columnId: "running", isDescending } }));
  assertEquals(sorted(true), [":8002", ":8000", ":8003", ":8001"]);
  assertEquals(sorted(false), [":8003", ":8000", ":8002", ":8001"]);
});

Deno.test("listVisibleRows() sorts stably", () => {
  const state = watchRunning([5, 7, 5, 7, null, 5, null]);
  const sorted = (isDescending: boolean): string =>
    placesOf(list(state, { sort: { columnId: "running", isDescending } })).join(" ");
  assertEquals(sorted(true), ":8001 :8003 :8000 :8002 :8005 :8004 :8006");
  assertEquals(sorted(false), ":8000 :8002 :8005 :8001 :8003 :8004 :8006");
});

Deno.test("listVisibleRows() sorts names by number, and states from best to worst", () => {
  const endpoint = createEndpoint(8000);
  const engines = ["10", "9", "0"].map((engine) =>
    writeEngine([["num_requests_running", 1]], { engine })
  );
  const scraped = createScraped(endpoint, 0.5, encode(engines.join("")));
  const state = advance(startState([endpoint]), 1, [scraped]);
  const byName = list(state, { sort: { columnId: "replica", isDescending: false } });
  assertEquals(placesOf(byName), [":8000.e0", ":8000.e9", ":8000.e10"]);
  const byState = list(watchTroubledFleet(), {
    sort: { columnId: "state", isDescending: true },
    isGrouped: false,
  });
  const states = byState.map((line) => line.kind === "row" ? line.row.status : "");
  assertEquals(states, ["DOWN", "DOWN", "STALE", "OK", "OK", "OK"]);
});

Deno.test("listVisibleRows() sorts by every column, and loses no row", () => {
  const state = watchTroubledFleet();
  const all = placesOf(list(state)).toSorted();
  for (const columnId of COLUMN_IDS) {
    for (const isDescending of [false, true]) {
      const sorted = list(state, { sort: { columnId, isDescending } });
      assertEquals(placesOf(sorted).toSorted(), all, columnId);
    }
  }
});

/** What a filter sees of a replica with those figures. */
function createSubject(texts: readonly string[] = []): FilterSubject {
  const figures = [["num_requests_running", 12], ["kv_cache_usage_perc", 0.815]] as const;
  const scraped = createScraped(createEndpoint(8000), 0.5, encode(writeEngine(figures)));
  const state = advance(startState([createEndpoint(8000)]), 1, [scraped]);
  return { texts, cells: createRowLine(state.fleet.rows[0]) };
}

Deno.test("parseFilter() ignores case; | is or, & is and", () => {
  const subject = createSubject(["Llama-3.1-8B :8000", "OK"]);
  for (
    const filter of [
      ...["", " ", "|", "llama", "LLAMA", "8000|9000", "x|ok", " ok ", "3.1-8b"],
      ...["llama & ok", "x | llama&8000", "&"],
    ]
  ) {
    assert(parseFilter(filter).matches(subject), filter);
  }
  // A dot is a dot, and parts are not joined across texts.
  for (const filter of ["x", "x|y", "3x1", ".*", "8000 ok", "llama & x"]) {
    assert(!parseFilter(filter).matches(subject), filter);
  }
});

Deno.test("parseFilter() compares values by column name, with units", () => {
  const subject = createSubject(["a>b"]);
  for (
    const filter of [
      ...["running>11", "running >= 12", "running=12", "RUNNING<12.5", "running<=0.012k"],
      ...["kv>81%", "kv<0.82", "kv > 81% & running > 10", "kv>90% | running>10"],
      // By its heading, too; and a ratio is read as people say it.
      ...["run>11", "kv>80", "kv<82", "kv>0.8"],
      // What is not typed to its end lets everything pass; what is no column is text.
      ...["running>", "kv >", "a>b"],
    ]
  ) {
    assert(parseFilter(filter).matches(subject), filter);
  }
  for (
    const filter of [
      ...["running>12", "running<12", "kv>82%", "kv>82", "running=1", "running=12ms"],
      // No figure is neither above nor below, and a state is none.
      ...["ttft_p95>0", "ttft_p95<1s", "ttft_p95>=0ms", "state>0", "state<9", "replica>0"],
      ...["running", ">12", "running>x", "foo>3"],
    ]
  ) {
    assert(!parseFilter(filter).matches(subject), filter);
  }
});

Deno.test("parseFilter() accepts every numeric column's heading", () => {
  const rows = watchTroubledFleet().fleet.rows.map(createRowLine);
  for (const { id, title, align } of COLUMNS) {
    if (align === "left") continue;
    for (const heading of [title, title.toLowerCase(), ` ${title.replace(" ", "  ")} `]) {
      for (const rest of [">0", " <= 50ms", ">20%", "> "]) {
        const byHeading = parseFilter(heading + rest);
        const byName = parseFilter(id + rest);
        assertEquals(byHeading.remarks, [], heading + rest);
        for (const cells of rows) {
          const subject: FilterSubject = { texts: [], cells };
          assertEquals(byHeading.matches(subject), byName.matches(subject), heading + rest);
        }
      }
    }
  }
  const count = (filter: string): number => {
    const { matches } = parseFilter(filter);
    return rows.filter((cells) => matches({ texts: [], cells })).length;
  };
  for (const filter of ["TTFT@1m>1ms", "ttft p95 > 1ms", "OUT/S>1", "SHARE@1m>1%"]) {
    assert(count(filter) > 0, filter);
    assertEquals(count(filter.replace(/>\s*/, ">99999")), 0, filter);
  }
  assertEquals(count("output>1"), count("OUT/S>1"));
});

Deno.test("parseFilter() explains invalid comparisons", () => {
  const list = (filter: string): readonly string[] => parseFilter(filter).remarks;
  assertEquals(list("llama | foo>3 & kv>80%"), ['no column "foo"']);
  assertEquals(list("bar>"), ['no column "bar"']);
  assertEquals(list("Foo>1 & bar < 2 | kv>"), ['no column "foo"', 'no column "bar"']);
  assertEquals(list("foo  bar > 3"), ['no column "foo bar"']);
  for (
    const filter of [
      ...["ttft>5xs", "kv>abc", "run!=3", "a b>c", ">12", "=", "kv==1", "kv=>1", "kv>1.2.3"],
      ...["kv>-1", "ttft p95>5xs", "1<kv<2"],
    ]
  ) {
    assertEquals(list(`llama & ${filter}`), [`cannot parse "${filter}"`], filter);
  }
  // Such a column there is, but it has no figures.
  for (const [filter, words] of [["state>0", "state"], ["REPLICA=", "replica"]]) {
    assertEquals(list(filter), [`"${words}" is not a number`], filter);
  }
  assertEquals(list("kv_bar>80%"), ['"kv_bar" is not a number']);
  assertEquals(list("State = OK"), ['"state" is not a number: type only "ok"']);
  for (const filter of ["", "llama", "kv>80%", "run>5|wait>0", "kv>", "kv > .", "kv>5.", "!"]) {
    assertEquals(list(filter), [], filter);
  }
});

Deno.test("listVisibleRows() filters by name, model, address and state", () => {
  const state = watchTroubledFleet();
  const filtered = (filter: string): string =>
    placesOf(list(state, { filter, isGrouped: false })).join(" ");
  assertEquals(filtered("llama"), ":8000 :8001");
  assertEquals(filtered("qwen/"), ":8002 :8003.e0 :8003.e1");
  assertEquals(filtered("down"), ":8002 :8004");
  assertEquals(filtered("stale|8003"), ":8001 :8003.e0 :8003.e1");
  assertEquals(filtered("http://localhost:8004"), ":8004");
  assertEquals(filtered("e1"), ":8003.e1");
  assertEquals(filtered("nothing"), "");
});

/** A fleet of labelled targets, the last of which is down. */
function watchLabelled(ui: Partial<Ui>): State {
  const rows = [["prod", "n1"], ["prod", "n2"], ["test", "n1"], [null, "n1"], ["prod", "n2"]];
  const endpoints = rows.map(([namespace, node], i) => ({
    ...createEndpoint(8000 + i),
    targetLabels: new Map([
      ...(namespace === null ? [] : [["namespace", namespace] as const]),
      ...(node === null ? [] : [["node", node] as const]),
    ]),
  }));
  const running = encode(writeEngine([["num_requests_running", 3]]));
  return advance(startState(endpoints, { ui: createUi(ui) }), 1, [
    ...endpoints.slice(0, 4).map((endpoint) => createScraped(endpoint, 0.5, running)),
    createFailed(endpoints[4], 0.5),
  ]);
}

Deno.test("listVisibleRows() filters by labels of targets, by name or by text", () => {
  const state = watchLabelled({});
  const filtered = (filter: string): string => placesOf(list(state, { filter })).join(" ");
  assertEquals(filtered("ns=prod"), ":8000 :8001 :8004");
  assertEquals(filtered("Namespace = Prod & node=n2"), ":8001 :8004");
  assertEquals(filtered("ns=prod & run>2"), ":8000 :8001");
  assertEquals(filtered("ns=test | node=n2"), ":8001 :8002 :8004");
  assertEquals(filtered("ns="), ":8000 :8001 :8002 :8003 :8004", "the value is not typed yet");
  assertEquals(filtered("ns=pro"), "");
  assertEquals(filtered("n2"), ":8001 :8004");
  const remarks = (filter: string) =>
    parseFilter(filter, listLabelNames(state.fleet)).remarks.join();
  assertEquals([remarks("ns=1"), remarks("rack=1")], ["", 'no column "rack"']);
});

Deno.test("listVisibleRows() groups by a label or the host, rows without it last", () => {
  const byNamespace = watchLabelled({ grouping: "namespace" });
  const lines = list(byNamespace, { grouping: "namespace" });
  assertEquals(lines.map(({ cells }) => cells.name), [
    ...["▾ prod", "  :8000", "  :8001", "  :8004"],
    ...[":8002", ":8003"],
  ]);
  const [prod] = byNamespace.fleet.sections;
  assertEquals(prod.figures.running.value, 6, "without the one that is down");
  assertEquals(byNamespace.fleet.groups.length, 1, "models are compared as before");
  const folded = list(byNamespace, { grouping: "namespace", foldedGroups: new Set(["prod"]) });
  assertEquals(folded.map(({ cells }) => cells.name), ["▸ prod", ":8002", ":8003"]);
  const byHost = watchLabelled({ grouping: "host" });
  assertEquals(list(byHost, { grouping: "host" }).length, 5, "one host needs no line");
});

Deno.test("listVisibleRows() hides rows without changing totals", () => {
  const state = watchFleet(2);
  const before = state.fleet.total;
  listVisibleRows(state.fleet, createUi({ filter: ":8000" }));
  assertEquals(state.fleet.total.figures, before.figures);
});

Deno.test("listVisibleRows() groups by model, rows without a model last", () => {
  const state = watchTroubledFleet();
  const lines = list(state, { isGrouped: true });
  assertEquals(placesOf(lines), [
    "(meta-llama/Llama-3.1-8B-Instruct)",
    ...[":8000", ":8001"],
    "(Qwen/Qwen3-32B)",
    ...[":8002", ":8003.e0", ":8003.e1", ":8004"],
  ]);
  assertEquals(lines.map(({ cells }) => cells.name), [
    "▾ Llama-3.1-8B-Instruct",
    ...["  :8000", "  :8001"],
    "▾ Qwen3-32B",
    ...["  :8002", "  :8003.e0", "  :8003.e1", ":8004"],
  ]);
  assertEquals(new Set(lines.map(({ key }) => key)).size, lines.length);
});

Deno.test("listVisibleRows() gives a model no line of its own if it has one replica, or is alone", () => {
  assertEquals(placesOf(list(watchFleet(3))), [
    "(meta-llama/Llama-3.1-8B-Instruct)",
    ...[":8000", ":8001", ":8002"],
  ]);
  assertEquals(placesOf(list(watchFleet(2))), [":8000", ":8001"]);
});

Deno.test("listVisibleRows() folds groups, sorts within them and hides empty ones", () => {
  const state = watchTroubledFleet();
  const folded = list(state, {
    isGrouped: true,
    foldedGroups: new Set(["Qwen/Qwen3-32B\nvLLM"]),
    sort: { columnId: "replica", isDescending: true },
  });
  assertEquals(placesOf(folded), [
    "(meta-llama/Llama-3.1-8B-Instruct)",
    ":8001",
    ":8000",
    "(Qwen/Qwen3-32B)",
    ":8004",
  ]);
  assertEquals(folded[3].cells.name, "▸ Qwen3-32B");
  // A fold is remembered for the next time, and does nothing until then.
  const open = list(state, { foldedGroups: new Set(["Qwen/Qwen3-32B\nvLLM"]), isGrouped: false });
  assertEquals(open.length, 6);
  const filtered = list(state, { isGrouped: true, filter: "llama" });
  assertEquals(placesOf(filtered)[0], "(meta-llama/Llama-3.1-8B-Instruct)");
  assertEquals(filtered.length, 3);
});

Deno.test("listVisibleRows() gives a group the figures of all its replicas, filtered or not", () => {
  const state = watchTroubledFleet();
  const [group] = list(state, { isGrouped: true, filter: ":8000" });
  assert(group.kind === "group");
  assertEquals(group.group.figures, state.fleet.groups[0].figures);
  assertEquals(group.cells.status, null);
});
