/** What a server's process and log say where its metrics do not: in state, on screen, in the report. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { VLLM } from "../lib/dialect_vllm.ts";
import { VLLM_LOG } from "../lib/dialect_vllm_log.ts";
import { parseServerLog } from "../lib/host_log.ts";
import type { WatchedLog } from "../lib/log.ts";
import type { FailureKind } from "../lib/model.ts";
import { createReport } from "../lib/report.ts";
import { type Message, type State, update } from "../lib/state.ts";
import { renderText, type ViewOptions } from "../lib/view.ts";
import { renderCheck } from "../lib/view_check.ts";
import { renderLogPage } from "../lib/view_log.ts";
import { createPaint } from "../lib/view_theme.ts";
import {
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";

const START: readonly string[] = Deno.readTextFileSync(
  new URL("fixtures/log/vllm-0.32.0-start.log", import.meta.url),
).split("\n");
/** A second after the recorded server began to load weights; its process is a minute old. */
const NOW_EPOCH = Date.parse("2026-11-28T17:10:39Z") / 1000;
const NOW = 60;
const WEIGHTS = START.slice(0, 41);
const SERVER = createEndpoint(8000);
const OTHER = createEndpoint(8001);
const GOOD = encode(writeEngine([["num_requests_running", 0], ["kv_cache_usage_perc", 0]]));
const TEXT: ViewOptions = { output: "auto", depth: null, ascii: false, hasBraille: true };

function readLog(lines: readonly string[], more: Partial<WatchedLog> = {}): Message {
  const clock = { nowEpoch: NOW_EPOCH, utcOffset: 0 };
  const log: WatchedLog = {
    readyAt: null,
    processStartedAt: 0,
    source: "/var/log/vllm.log",
    problem: null,
    log: parseServerLog(lines.join("\n"), { grammar: VLLM_LOG, ...clock }),
    flags: VLLM.flags,
    ...more,
  };
  return { kind: "log_read", endpointKey: SERVER.key, log };
}

function tick(state: State, now = NOW): State {
  return update(state, { kind: "clock", now, nowEpoch: NOW_EPOCH + now - NOW });
}

/** Each message at its own clock, then now. */
function watch(...messages: readonly Message[]): State {
  const state = startState([SERVER]);
  return tick(messages.reduce((known, message) => tick(update(known, message)), state));
}

function fail(kind: FailureKind = "refused"): Message {
  return createFailed(SERVER, NOW - 1, kind);
}

const getStatus = ({ fleet: { rows } }: State): string => rows[0].status;
const getText = (state: State): string => renderText(state, TEXT).join("\n");

Deno.test("a server that loads is LOAD, with phase, progress and times", () => {
  const state = watch(readLog(WEIGHTS), fail());
  assertEquals(getStatus(state), "LOAD");
  const { counts, verdict, rows: [{ load }] } = state.fleet;
  assertEquals([counts.up, counts.down, counts.loading], [0, 0, 1]);
  assertEquals([verdict.level, verdict.causes], ["PENDING", []]);
  assertEquals(load?.steps, [{ phase: "starting", span: 41 }, { phase: "weights", span: 1 }]);
  const text = getText(state);
  assertStringIncludes(text, "● LOADING   :8000: weights 0/1 shards for 1s, 1m 00s in all");
  assertMatch(text, /Loading for 1m 00s\n +starting +41s\n +weights 0\/1 shards +1s\n/);
  const { line, code } = renderCheck(state);
  assertEquals(code, 3);
  assertMatch(
    line,
    /^VLLM-HTOP UNKNOWN - 0 of 1 up, :8000: weights 0\/1 shards for 1s, 1m 00s in all /,
  );
  const table = renderText(state, { ...TEXT, output: "table" });
  assertEquals(
    table.filter((line) => line.startsWith(" :8000")),
    [" :8000     LOAD       weights 0/1 shards for 1s, 1m 00s in all"],
  );
});

Deno.test("a server that loads without a log is LOAD for as long as its port is closed", () => {
  const silent = { log: null, source: null, problem: "where it logs is not known" };
  assertEquals(getStatus(watch(readLog([], silent), fail())), "LOAD");
  assertEquals(getStatus(watch(readLog([], silent), fail("timeout"))), "DOWN");
  assertEquals(getStatus(tick(watch(readLog([], silent), fail()), 3700)), "DOWN");
  // Its log is enough where a proxy holds the port open.
  assertEquals(getStatus(watch(readLog(WEIGHTS), fail("reset"))), "LOAD");
  assertEquals(getStatus(watch(readLog(WEIGHTS), fail("unauthorized"))), "DOWN");
});

Deno.test("a server is not LOAD that is ready, has answered before, ended, or has no process", () => {
  assertEquals(getStatus(watch(readLog(START), fail())), "DOWN");
  const answered = createScraped(SERVER, 10, GOOD);
  assertEquals(getStatus(watch(answered, readLog(WEIGHTS), fail())), "DOWN");
  assertEquals(
    getStatus(watch(answered, readLog(WEIGHTS, { processStartedAt: 50 }), fail())),
    "LOAD",
  );
  const ended = [
    ...WEIGHTS,
    "(EngineCore pid=1) ERROR 11-28 17:10:39 [core.py:9] EngineCore failed to start.",
  ];
  assertEquals(getStatus(watch(readLog(ended), fail())), "DOWN");
  assertEquals(getStatus(watch(readLog(WEIGHTS, { processStartedAt: null }), fail())), "DOWN");
});

Deno.test("a load tells what the one before took: as watched, else by its log", () => {
  const again = [...START, ...WEIGHTS];
  const byLog = watch(readLog(again), fail());
  assertEquals(byLog.fleet.rows[0].load?.lastSpan, 44);
  assertStringIncludes(getText(byLog), "1m 00s in all (last time 44s)");
  assertEquals(watch(readLog(WEIGHTS), fail()).fleet.rows[0].load?.lastSpan, null);
  const watched = [
    ...[readLog(WEIGHTS, { processStartedAt: 10 }), createFailed(SERVER, 20)],
    ...[createScraped(SERVER, 30, GOOD), createFailed(SERVER, 40)],
    readLog(again, { processStartedAt: 35 }),
  ].reduce(update, startState([SERVER]));
  assertEquals(tick(watched).fleet.rows[0].load?.lastSpan, 20);
});

Deno.test("a server that has just said that it is ready is LOAD until it is asked again", () => {
  const readyAt = (at: number | null) => watch(readLog(START, { readyAt: at }), fail());
  assertEquals(getStatus(readyAt(NOW - 0.5)), "LOAD");
  assertEquals(getStatus(readyAt(NOW - 2.5)), "LOAD");
  assertEquals(getStatus(readyAt(NOW - 3.5)), "DOWN");
  assertEquals(getStatus(readyAt(null)), "DOWN");
});

Deno.test("a server whose engine died is DOWN at once, not STALE", () => {
  const answered = createScraped(SERVER, 50, GOOD);
  const line = "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.";
  assertEquals(getStatus(watch(answered, readLog(START), fail())), "STALE");
  assertEquals(getStatus(watch(answered, readLog([...START, line]), fail())), "DOWN");
});

Deno.test("a server that loads does not hide that the others are well", () => {
  const state = [
    readLog(WEIGHTS),
    fail(),
    createScraped(OTHER, 1, GOOD),
    createScraped(OTHER, 59, GOOD),
  ]
    .reduce(update, startState([SERVER, OTHER]));
  const { fleet: { verdict } } = tick(state);
  assertEquals(verdict.level, "HEALTHY");
  assertStringIncludes(getText(tick(state)), "● HEALTHY   1 of 2 up, 1 loading");
});

Deno.test("a server that loaded again came UP after all the time that it was away", () => {
  const answered = createScraped(SERVER, 10, GOOD);
  let state = startState([SERVER]);
  const at = (now: number, ...messages: readonly Message[]): void => {
    state = tick(messages.reduce(update, state), now);
  };
  at(10, answered);
  at(50, createFailed(SERVER, 50), readLog(WEIGHTS, { processStartedAt: null }));
  at(52, createFailed(SERVER, 52), readLog(WEIGHTS, { processStartedAt: 51 }));
  assertEquals(getStatus(state), "LOAD");
  at(60, createScraped(SERVER, 60, GOOD));
  const events = state.fleet.events.map(({ kind, beganAt, endedAt, amount }) =>
    kind === "UP" ? [kind, amount] : [kind, beganAt, endedAt]
  );
  assertEquals(events, [["DOWN", 50, 52], ["LOAD", 52, 60], ["UP", 10]]);
});

Deno.test("a server that died while it loaded is DOWN, with its last words and advice", () => {
  const line = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.";
  const state = watch(readLog([...WEIGHTS, line], { processStartedAt: null }), fail());
  assertEquals(getStatus(state), "DOWN");
  const [cause] = state.fleet.verdict.causes;
  assertEquals(cause.advice?.id, "out_of_memory");
  assertEquals(cause.advice?.flag, "--max-num-seqs");
  const text = getText(state);
  assertStringIncludes(
    text,
    "● CRITICAL   :8000 down (out of GPU memory)   → lower --max-num-seqs",
  );
  assertStringIncludes(text, `:8000  died: ${line}`);
  const table = renderText(state, { ...TEXT, output: "table" });
  assertEquals(table.filter((one) => one.includes("DOWN       torch.OutOfMemoryError")).length, 1);
  // An error of a server that still runs is not its end.
  assertEquals(watch(readLog([...START, line]), fail()).fleet.rows[0].death, null);
});

const FIGURES = [
  "(APIServer pid=1) INFO 11-28 17:10:32 [loggers.py:335] Engine 000: Avg prompt throughput: 512.0 " +
  "tokens/s, Avg generation throughput: 64.5 tokens/s, Running: 8 reqs, Waiting: 6 reqs, " +
  "GPU KV cache usage: 88.0%, Prefix cache hit rate: 12.0%",
];

Deno.test("a server without metrics shows the figures that it logs, marked, with their age", () => {
  const state = watch(readLog([...START, ...FIGURES]), fail("not_found"));
  assertEquals(getStatus(state), "DOWN");
  const table = renderText(state, { ...TEXT, output: "table" });
  const [heading, row] = ["REPLICA", "DOWN ≈7s"].map((text) =>
    table.find((one) => one.includes(text))?.trim().split(/ {2,}/) ?? []
  );
  const read = (column: string) => row[heading.indexOf(column)];
  const figures = ["RUN", "WAIT", "KV", "OUT/S", "IN/S"].map(read);
  assertEquals(figures, ["≈8", "≈6", "≈88 %", "≈64.5", "≈512"]);
  assertMatch(
    getText(state),
    /By its log.*\n +requests of engine 0 +prompt tokens per second +≈ 512 +7s ago\n/,
  );
  // They count in no total.
  const { total } = state.fleet;
  assertEquals([total.figures.replicaCount, total.figures.running.value], [0, null]);
});

Deno.test("figures of a log are not shown as current when they are old, or when it has another clock", () => {
  const later = tick(watch(readLog([...START, ...FIGURES]), fail("not_found")), NOW + 60);
  assertEquals(
    renderText(later, { ...TEXT, output: "table" }).filter((one) => one.includes("≈")),
    [],
  );
  assertEquals(later.fleet.rows[0].logFigures.map(({ age }) => age), [67]);
  const early = tick(watch(readLog([...START, ...FIGURES]), fail("not_found")), NOW - 60);
  assertEquals(early.fleet.rows[0].logFigures, []);
});

Deno.test("the report has load, death and figures of a log while the server fails", () => {
  const getLog = (state: State) =>
    // deno-lint-ignore no-explicit-any
    (createReport(state, "1") as any).endpoints[0].log;
  const { load, ...rest } = getLog(watch(readLog(WEIGHTS), fail()));
  assertEquals(rest, { source: "/var/log/vllm.log", problem: null, death: null, figures: [] });
  assertEquals([load.phase, load.done, load.total, load.spanSeconds], ["weights", 0, 1, 60]);
  assertEquals(load.steps[0], { phase: "starting", spanSeconds: 41 });
  assertEquals(load.values.version, "0.32.0");
  const [figures] = getLog(watch(readLog([...START, ...FIGURES]), fail("not_found"))).figures;
  assertEquals([figures.subject, figures.engine, figures.ageSeconds], ["requests", 0, 7]);
  assertEquals(figures.values.generationTokensPerSecond, 64.5);
  assertEquals(getLog(watch(readLog(START), createScraped(SERVER, 59, GOOD))), null);
});

Deno.test("renderLogPage() shows where the lines are from, the lines, and why there are none", () => {
  const draw = (state: State, width = 60): readonly string[] =>
    renderLogPage(state.fleet.rows[0], state, { width, paint: createPaint(null) });
  assertEquals(draw(watch(readLog(["one", `two ${"word ".repeat(14)}end`]), fail())), [
    " /var/log/vllm.log",
    " one",
    ` two ${"word ".repeat(11).trimEnd()}`,
    "   word word word end",
  ]);
  const denied = { log: null, problem: "permission denied", source: "docker logs c" };
  assertEquals(draw(watch(readLog([], denied), fail())), [" docker logs c", " permission denied"]);
  assertEquals(draw(watch(fail())), [" reading the log of :8000 …"]);
  const far = { ...createEndpoint(8000, "gpu1"), key: SERVER.key };
  assertEquals(draw(tick(startState([far])), 99), [
    " the log of another machine is read through ssh: vllm-htop --ssh gpu1",
  ]);
  assertEquals(draw(watch(readLog([]), fail())), [" /var/log/vllm.log", " no lines yet"]);
});
