import { assert, assertEquals } from "@std/assert";
import type { Objective } from "../lib/model.ts";
import { absent, present, type Reading } from "../lib/reading.ts";
import type { Alert } from "../lib/rules_alerts.ts";
import { type Condition, createFinding } from "../lib/rules_finding.ts";
import { DEFAULT_RULES } from "../lib/rules_table.ts";
import type { State } from "../lib/state.ts";
import { COLUMN_IDS } from "../lib/view_column_table.ts";
import {
  type Cell,
  chooseKvCacheColor,
  chooseWaitingColor,
  type Column,
  COLUMNS,
  createGroupLine,
  createRowLine,
  PRESETS,
  type TableLine,
} from "../lib/view_columns.ts";
import type { Meaning } from "../lib/view_theme.ts";
import { getOffer } from "../lib/view.ts";
import {
  advance,
  createEndpoint,
  createScraped,
  encode,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import { readGpus } from "./fixtures/gpus.ts";

function readLines(state: State): readonly TableLine[] {
  return state.fleet.rows.map(createRowLine);
}

function findColumn(id: string): Column {
  const column = COLUMNS.find((candidate) => candidate.id === id);
  assert(column !== undefined, id);
  return column;
}

const readCells = (id: string, lines: readonly TableLine[]): string[] =>
  lines.map((line) => findColumn(id).formatCell(line).text);

Deno.test("PRESETS begin with all columns, and name each once, replica and state first", () => {
  assertEquals(PRESETS.map(([name]) => name), [
    "all",
    "serving",
    "latency",
    "cache",
    "GPU",
    "cost",
  ]);
  assertEquals(PRESETS[0][1], COLUMN_IDS);
  for (const [name, ids] of PRESETS) {
    assertEquals(new Set(ids).size, ids.length, name);
    assertEquals(ids.filter((id) => !COLUMN_IDS.includes(id)), [], name);
    assertEquals(ids.slice(0, 2), ["replica", "state"], name);
  }
});

Deno.test("COLUMNS have unique ids and priorities", () => {
  const ids = COLUMNS.map(({ id }) => id);
  assertEquals(new Set(ids).size, ids.length);
  const priorities = COLUMNS.map(({ priority }) => priority).filter((priority) => priority > 0);
  assertEquals(new Set(priorities).size, priorities.length);
  assertEquals(COLUMNS[0].id, "replica");
});

Deno.test("COLUMNS format lines of every status", () => {
  for (const state of [startState([createEndpoint(8000)]), watchFleet(1), watchTroubledFleet()]) {
    for (const line of readLines(state)) {
      for (const { id, formatCell } of COLUMNS) {
        const { text } = formatCell(line);
        assert(!/undefined|null|NaN|Infinity/.test(text), `${id}: ${text}`);
      }
    }
  }
});

Deno.test("formatCell() shows the status, with the age of a stale one", () => {
  const lines = readLines(watchTroubledFleet());
  assertEquals(readCells("state", lines), ["OK", "STALE 8s", "DOWN", "OK", "OK", "DOWN"]);
  const meanings = lines.map((line) => findColumn("state").formatCell(line).meaning);
  assertEquals(meanings, ["ok", "warn", "alert", "ok", "ok", "alert"]);
});

Deno.test("formatCell() shows dashes and no bar without values", () => {
  const [, , down] = readLines(watchTroubledFleet());
  for (const { id, formatCell } of COLUMNS) {
    if (["replica", "state", "kind", "kv_bar", "trend"].includes(id)) continue;
    assertEquals(formatCell(down).text, "—", id);
  }
  assertEquals(findColumn("kv_bar").formatCell(down).text, "");
  const [pending] = readLines(startState([createEndpoint(8000)]));
  assertEquals(findColumn("trend").formatCell(pending).text, "");
});

Deno.test("formatCell() draws a bar for a replica, and for a group that of the fullest", () => {
  const { rows, total } = watchFleet(2).fleet;
  assertEquals([...findColumn("kv_bar").formatCell(createRowLine(rows[0])).text].length, 7);
  const line = createGroupLine(total, "ALL");
  assertEquals(findColumn("kv_bar").formatCell(line).text, "▓▓▓▓▓▓░");
  assertEquals(findColumn("share").formatCell(line).text, "");
});

Deno.test("formatCell() names the GPUs of a replica, and marks a slow one", () => {
  const row = createRowLine(watchFleet(1).fleet.rows[0]);
  const [gpu] = readGpus("h100x8.tsv");
  const show = (indexes: readonly number[], utilization: number, more: Partial<TableLine> = {}) => {
    const gpus = indexes.map((index) => ({
      ...gpu,
      index,
      utilizationRatio: present(utilization),
    }));
    return findColumn("gpu").formatCell({ ...row, gpus, ...more });
  };
  assertEquals(show([2], 0.97), { text: "2 97% ", meaning: "plain" });
  assertEquals(show([2], 0.97, { hasSlowGpu: true }), { text: "2 97%↓", meaning: "warn" });
  assertEquals(show([3, 0, 2, 1], 0.5).text, "0–3 50% ");
  assertEquals(show([0, 2], 1).text, "2× 100% ");
  assertEquals(show([10, 11], 0.5).text, "50% ", "rather without the GPUs than cut");
  assertEquals(show([0, 1], 0.5, { status: null }).text, "50% ");
});

function alertOf(rule: "full" | "queuing" | "slo", signal: Condition["signal"]): Alert {
  const conditions = [{ signal, value: 2, limit: 1 }];
  const finding = { key: "a", value: 2, baseline: 1, samples: 0, span: 60, conditions };
  const newest = createFinding(DEFAULT_RULES[rule], finding);
  return { since: 0, lastAt: 0, isFiring: true, first: newest, newest, worst: newest };
}

/** The cell of a line whose TTFT was so far within its limit in the last minute. */
function formatServiceLevel(
  ratio: Reading<{ readonly min: number; readonly max: number }>,
  alerts: readonly Alert[] = [],
): Cell {
  const [line] = readLines(startState([createEndpoint(8000)]));
  const objective: Objective = { model: null, latency: "ttft", limit: 1, target: 0.95 };
  const attainment = { ratio, samples: present(100) };
  const figures = { lastMinute: attainment, session: attainment, sinceStart: attainment };
  const serviceLevels = [{ objective, ...figures }];
  return findColumn("slo").formatCell({ ...line, alerts, serviceLevels });
}

Deno.test("formatCell() shows what is certain of a service level, and colors only that", () => {
  const expected: readonly (readonly [min: number, max: number, text: string, Meaning])[] = [
    [1, 1, "TTFT 100 %", "ok"],
    [0.95, 0.95, "TTFT 95.0 %", "ok"],
    // Rounded, it would be 95.0 %.
    [0.9499, 0.9499, "TTFT 94.9 %", "alert"],
    [0.9999, 0.9999, "TTFT 99.9 %", "ok"],
    [0.29, 0.29, "TTFT 29.0 %", "alert"],
    [0.955, 1, "TTFT 95–100 %", "ok"],
    [0.9, 0.9401, "TTFT 90–95 %", "alert"],
    [0.9, 0.96, "TTFT 90–96 %", "plain"],
    [0, 1, "TTFT 0–100 %", "plain"],
    [0, 0, "TTFT 0.0 %", "alert"],
  ];
  for (const [min, max, text, meaning] of expected) {
    const cell = formatServiceLevel(present({ min, max }), [alertOf("slo", "ttft")]);
    assertEquals([cell.text, cell.meaning], [text, meaning]);
    // Red is only what the verdict counts.
    const other = formatServiceLevel(present({ min, max }), [alertOf("queuing", "waiting")]);
    assertEquals([other.text, other.meaning], [text, meaning === "alert" ? "warn" : meaning]);
  }
});

Deno.test("chooseKvCacheColor() and chooseWaitingColor() change at their thresholds", () => {
  const kv: readonly (readonly [number, Meaning])[] = [
    [0, "ok"],
    [0.65, "ok"],
    [0.66, "warn"],
    [1, "warn"],
  ];
  for (const [ratio, meaning] of kv) assertEquals(chooseKvCacheColor(present(ratio), []), meaning);
  assertEquals(chooseKvCacheColor(present(0.2), [alertOf("full", "kv_cache")]), "alert");
  assertEquals(chooseKvCacheColor(present(0.2), [alertOf("queuing", "waiting")]), "ok");
  const waiting: readonly (readonly [number, Meaning])[] = [
    [0, "plain"],
    [1, "warn"],
    [60, "warn"],
  ];
  for (const [count, meaning] of waiting) {
    assertEquals(chooseWaitingColor(present(count), []), meaning);
  }
  assertEquals(chooseWaitingColor(present(6), [alertOf("queuing", "waiting")]), "alert");
  for (const judge of [chooseKvCacheColor, chooseWaitingColor]) {
    assertEquals(judge(absent("missing"), []), "dim");
  }
});

Deno.test("formatCell() leaves out the mark of a dim figure rather than the end of its number", () => {
  const [line] = readLines(watchFleet(1));
  const format = (value: number, mark: object) => {
    const { lastPoll } = line.figures;
    const generationTokensPerSecond = { value, ...mark };
    const figures = { ...line.figures, lastPoll: { ...lastPoll, generationTokensPerSecond } };
    return findColumn("output").formatCell({ ...line, figures });
  };
  assertEquals(format(549, { isOverMinute: true }), { text: "549~", meaning: "dim" });
  assertEquals(format(1130, { isOverMinute: true }), { text: "1.13k", meaning: "dim" });
  assertEquals(format(1130, { isSinceStart: true }), { text: "1.13k", meaning: "dim" });
  const plain = (value: number, mark: object) => format(value, mark).text;
  assertEquals(plain(549, { partial: true }), "549+");
  assertEquals(plain(1190, { partial: true }), "1.1k+");
  assertEquals(plain(12_990, { partial: true }), "12k+");
});

Deno.test("formatCell() shortens a count that is too long, and cuts none", () => {
  const [line] = readLines(watchFleet(1));
  const format = (value: number, mark = {}) => {
    const figures = { ...line.figures, waiting: { value, ...mark } };
    return findColumn("waiting").formatCell({ ...line, figures }).text;
  };
  assertEquals([9999, 12_990, 126_455].map((value) => format(value)), ["9999", "12k", "126k"]);
  assertEquals(format(999, { partial: true }), "999+");
  assertEquals(format(1990, { partial: true }), "1k+");
  assertEquals(format(12_990, { partial: true }), "12k+");
});

Deno.test("the column of kinds is there where kinds differ, and short", () => {
  const [first, second] = [8000, 8001].map((port) => createEndpoint(port));
  const vllm = encode(writeEngine([["num_requests_running", 1]]));
  const watch = (other: Uint8Array): State =>
    advance(startState([first, second]), 1, [
      createScraped(first, 0.5, vllm),
      createScraped(second, 0.6, other),
    ]);
  const alike = watch(vllm);
  assertEquals(getOffer(alike).kinds, false);
  const mixed = watch(encode('trtllm_num_requests_running{model_name="m"} 1\n'));
  assertEquals(getOffer(mixed).kinds, true);
  assertEquals(readCells("kind", readLines(mixed)), ["vLLM", "trtllm-s…"]);
  // A group has the kind in its name where it needs one.
  assertEquals(findColumn("kind").formatCell(createGroupLine(mixed.fleet.total, "ALL")).text, "");
});
