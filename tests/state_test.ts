import { assert, assertEquals } from "@std/assert";
import { absent } from "../lib/reading.ts";
import { getSceneState, type Message, type State, update } from "../lib/state.ts";
import { type EndpointState, getServerTotals, listEngines } from "../lib/state_endpoint.ts";
import { type Command, createUi, type UiContext } from "../lib/state_ui.ts";
import { getSeries } from "../lib/stats_series.ts";
import type { ReplicaSample } from "../lib/stats_window.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  START_EPOCH,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";

const FIRST = createEndpoint(8000);
const SECOND = createEndpoint(8001);

function say(tokens: number): Uint8Array {
  return encode(writeEngine([["generation_tokens_total", tokens]]));
}

function readReplicas(known: EndpointState): readonly ReplicaSample[] {
  return listEngines(known).map(({ replica }) => replica);
}

/** The same state, such that a change of it throws. */
function freeze(state: State): State {
  const freezeAll = (value: unknown): void => {
    const isOpen = typeof value === "object" && value !== null && !Object.isFrozen(value);
    if (!isOpen || ArrayBuffer.isView(value)) return;
    Object.freeze(value);
    Object.values(value).forEach(freezeAll);
  };
  freezeAll(state);
  return state;
}

Deno.test("createState() starts endpoints without figures", () => {
  const { endpoints } = startState([FIRST, SECOND]);
  assertEquals(endpoints.map(({ endpoint }) => endpoint.key), [FIRST.key, SECOND.key]);
  for (const known of endpoints) {
    const { scrape, failure, history } = known;
    const replicas = readReplicas(known);
    assertEquals([scrape, failure, replicas, history.newest], [null, null, [], null]);
  }
});

Deno.test("update() keeps scrapes with their windows", () => {
  const start = freeze(startState([FIRST, SECOND]));
  const once = freeze(update(start, createScraped(FIRST, 1, say(10))));
  const twice = update(once, createScraped(FIRST, 3, say(30)));
  const [first, second] = twice.endpoints;
  assertEquals(first.scrape?.receivedAt, 3);
  assertEquals(readReplicas(first).length, 1);
  assertEquals(readReplicas(first)[0].lastPoll.value?.counters.generationTokens, { value: 20 });
  assertEquals(second, start.endpoints[1]);
  assert(second === start.endpoints[1], "what did not change is the same object");
});

Deno.test("update() takes peaks of rates at every interval, never of an instant", () => {
  const tokens = [[1, 0], [1.98, 98], [2.48, 198], [2.5, 298]] as const;
  const peaks = tokens.map((_, i) => {
    const messages = tokens.slice(0, i + 1).map(([at, sum]) => createScraped(FIRST, at, say(sum)));
    const state = messages.reduce(update, startState([FIRST]));
    const [{ peaks }] = state.endpoints[0].engines.values();
    return peaks.generationTokensPerSecond?.value ?? null;
  });
  // 98 in 0.98 s, 100 in 0.5 s; 100 in 0.02 s are no rate.
  assertEquals(peaks.map((peak) => peak === null ? null : Math.round(peak)), [null, 100, 200, 200]);
});

Deno.test("update() keeps figures over a failed scrape, and clears the failure after", () => {
  const known = update(startState([FIRST]), createScraped(FIRST, 1, say(10)));
  const failed = update(known, createFailed(FIRST, 3, "timeout"));
  assertEquals(failed.endpoints[0].failure?.kind, "timeout");
  assertEquals(failed.endpoints[0].scrape?.receivedAt, 1);
  assertEquals(readReplicas(failed.endpoints[0]).length, 1);
  const back = update(failed, createScraped(FIRST, 5, say(50)));
  assertEquals(back.endpoints[0].failure, null);
  // Over the gap, by the time that really passed.
  assertEquals(readReplicas(back.endpoints[0])[0].lastPoll.value?.span, 4);
});

/** What a run before has kept of the first endpoint. */
function recall(at: number, tokens: number): Message {
  const message = createScraped(FIRST, at, say(tokens));
  if (message.kind !== "scraped") throw new Error(message.kind);
  return { kind: "recalled", scrape: message.scrape };
}

Deno.test("update() compares the first scrape with the previous run", () => {
  const recalled = advance(startState([FIRST]), 1, [recall(-299, 100)]);
  const [before] = recalled.endpoints;
  const { level } = recalled.evaluation.verdict;
  assertEquals([before.scrape, readReplicas(before), level], [null, [], "PENDING"]);
  const [known] = advance(recalled, 1, [createScraped(FIRST, 1, say(700))]).endpoints;
  const [{ lastPoll, lastMinute }] = readReplicas(known);
  const totals = getServerTotals(known);
  assertEquals([lastPoll.value?.span, lastMinute.value?.span], [300, 300]);
  assertEquals(lastPoll.value?.counters.generationTokens, { value: 600 });
  const [total] = totals.engines.values();
  assertEquals([total.since, total.counted.generationTokens.value], [-299, 600]);
});

Deno.test("update() detects a restart since the previous run", () => {
  const messages = [recall(-299, 100), createScraped(FIRST, 1, say(7))];
  const [known] = advance(startState([FIRST]), 1, messages).endpoints;
  const { history } = known;
  const replicas = readReplicas(known);
  const totals = getServerTotals(known);
  assertEquals([history.restartCount, replicas[0].lastPoll], [1, absent("restarted")]);
  const [total] = totals.engines.values();
  assertEquals(total.counted.generationTokens.value, 7);
});

Deno.test("update() shows no restored scrape of a server that does not answer", () => {
  const messages = [recall(-5, 100), createFailed(FIRST, 1)];
  const state = advance(startState([FIRST]), 1, messages);
  assertEquals(readReplicas(state.endpoints[0]), []);
  assertEquals([...state.evaluation.statuses.values()], ["DOWN"]);
});

Deno.test("update() restores only unscraped, watched endpoints", () => {
  const state = advance(startState([FIRST]), 2, [createScraped(FIRST, 2, say(7))]);
  assertEquals(update(state, recall(-5, 3)), state);
  const other = startState([SECOND]);
  assertEquals(update(other, recall(-5, 3)), other);
});

Deno.test("update() ignores unknown endpoints", () => {
  const state = freeze(startState([FIRST]));
  const other = createEndpoint(9999);
  assertEquals(update(state, createScraped(other, 1, say(1))), state);
  assertEquals(update(state, createFailed(other, 1)), state);
});

Deno.test("update() takes the time from messages only", () => {
  const state = startState([FIRST]);
  const scraped = update(state, createScraped(FIRST, 5, say(1)));
  assertEquals([scraped.now, scraped.nowEpoch], [0, START_EPOCH]);
  const later = advance(scraped, 7);
  assertEquals([later.now, later.nowEpoch], [7, START_EPOCH + 7]);
  assertEquals(later.endpoints, scraped.endpoints);
});

const CONTEXT: UiContext = {
  lineKeys: [],
  selectedGroup: null,
  openGroupKeys: new Set(),
  pageLines: 5,
  isText: false,
  eventKeys: [],
  presets: [],
  lastScroll: 0,
  sorts: [],
  troubledKeys: new Set(),
};

/** The state after the commands. */
function run(state: State, ...commands: readonly Command[]): State {
  return commands.reduce(
    (known, command) => update(known, { kind: "command", command, context: CONTEXT }),
    state,
  );
}

Deno.test("update() pauses the screen while polling continues, and resumes", () => {
  const before = freeze(update(startState([FIRST]), createScraped(FIRST, 1, say(10))));
  const held = freeze(run(before, "pause"));
  const later = advance(held, 5, [createScraped(FIRST, 3, say(30)), createFailed(FIRST, 5)]);
  const picture = getSceneState(later);
  assertEquals(picture.endpoints, before.endpoints);
  assertEquals([picture.now, picture.nowEpoch], [before.now, before.nowEpoch]);
  // What came meanwhile is known.
  assertEquals(later.endpoints[0].scrape?.receivedAt, 3);
  const released = run(later, "pause");
  assertEquals(released.held, null);
  assertEquals(getSceneState(released), released);
  assertEquals(released.endpoints[0].failure?.failedAt, 5);
});

Deno.test("update() lets the user move, sort and filter while paused", () => {
  const held = run(startState([FIRST]), "pause");
  const changed = run(held, "next_theme", "slower", "help");
  const picture = getSceneState(changed);
  assertEquals(picture.ui.theme, "light");
  assertEquals(picture.ui.screen, "help");
  assertEquals(picture.interval, 3);
  assert(picture.held !== null, "the title says that it is held");
  assertEquals(getSceneState(picture), picture);
  // Held once, whatever comes: no chain of states grows.
  assertEquals(run(changed, "pause", "pause").held?.held, null);
});

Deno.test("update() does not pause in the column menu", () => {
  const menu = run(startState([FIRST], { ui: createUi({ columnIds: ["a", "b"] }) }), "columns");
  const chosen = run(menu, "pause");
  assertEquals(chosen.held, null);
  assertEquals([...chosen.ui.hiddenColumnIds], ["a"]);
});

Deno.test("update() steps the interval through round values, up to both ends", () => {
  const intervals = (interval: number, command: Command, count: number): number[] => {
    let state = startState([FIRST], { interval });
    return Array.from({ length: count }, () => (state = run(state, command)).interval);
  };
  assertEquals(intervals(2, "slower", 4), [3, 5, 10, 15]);
  assertEquals(intervals(2, "faster", 4), [1, 0.5, 0.5, 0.5]);
  assertEquals(intervals(120, "slower", 3), [300, 300, 300]);
  // From an odd one to the next round one.
  assertEquals(intervals(2.75, "slower", 1), [3]);
  assertEquals(intervals(2.75, "faster", 1), [2]);
  assertEquals(intervals(3600, "faster", 1), [300]);
});

Deno.test("update() keeps a series per engine, with gaps for failed scrapes", () => {
  const write = (running: number): Uint8Array =>
    encode(writeEngine([["num_requests_running", running]]));
  const state = advance(startState([FIRST, SECOND]), 9, [
    createScraped(FIRST, 1, write(4)),
    createFailed(FIRST, 3),
    createScraped(FIRST, 5, write(6)),
    createFailed(SECOND, 5),
  ]);
  const [first, second] = state.endpoints;
  const [{ series: trend }] = first.engines.values();
  assertEquals(getSeries(trend, "running"), [4, null, 6]);
  // An endpoint that never answered has no engine to have a trend.
  assertEquals(second.engines.size, 0);
});

Deno.test("update() keeps a total series of sums", () => {
  const write = (running: number): Uint8Array =>
    encode(writeEngine([["num_requests_running", running]]));
  let state = startState([FIRST, SECOND]);
  const totals: (number | null)[] = [];
  for (let at = 0; at <= 40; at += 2) {
    // The second one is heavy, and asked five times less often; then it fails.
    const answers = at % 10 === 0 && at < 30;
    const messages = [
      createScraped(FIRST, at, write(at)),
      ...(answers ? [createScraped(SECOND, at, write(100))] : []),
      ...(at === 30 ? [createFailed(SECOND, at)] : []),
    ];
    state = advance(state, at + 0.1, messages);
    const { totalTrend, total } = state.fleet;
    totals.push(total.figures.running.value);
    assertEquals(getSeries(totalTrend, "running"), totals);
  }
  assertEquals(totals.slice(0, 3), [100, 102, 104]);
  assertEquals(totals.slice(14, 17), [128, 30, 32]);
  const resumed = advance(update(state, { kind: "resumed" }), 60);
  assertEquals(getSeries(resumed.totalTrend.points, "running").slice(-3), [40, null, null]);
});

/** The scrape with a wall clock that is so many seconds ahead. */
function shiftWallClock(message: Message, by: number): Message {
  if (message.kind !== "scraped") throw new Error("Only scrapes have a wall clock");
  const { scrape } = message;
  return { kind: "scraped", scrape: { ...scrape, receivedAtEpoch: scrape.receivedAtEpoch + by } };
}

Deno.test("update() restarts windows after SIGCONT", () => {
  const twice = advance(startState([FIRST]), 3, [
    createScraped(FIRST, 1, say(10)),
    createScraped(FIRST, 3, say(30)),
  ]);
  const resumed = update(freeze(twice), { kind: "resumed" });
  const later = update(resumed, createScraped(FIRST, 3603, say(90_000)));
  const [known] = later.endpoints;
  assertEquals(readReplicas(known)[0].lastPoll, { value: null, reason: "first_scrape" });
  assertEquals(known.history.restartCount, 0);
  const [{ series: trend }] = known.engines.values();
  assertEquals(getSeries(trend, "generationTokensPerSecond"), [null, 10, null, null]);
});

Deno.test("update() drops spans on which the two clocks disagree", () => {
  const once = update(startState([FIRST]), createScraped(FIRST, 1, say(10)));
  const ahead = (by: number): State =>
    update(once, shiftWallClock(createScraped(FIRST, 3, say(9000)), by));
  // A laptop slept for an hour: its monotonic clock did not count that, the server did.
  assertEquals(readReplicas(ahead(3600).endpoints[0])[0].lastPoll.value, null);
  assertEquals(readReplicas(ahead(-60).endpoints[0])[0].lastPoll.value, null);
  assertEquals(readReplicas(ahead(0.4).endpoints[0])[0].lastPoll.value?.span, 2);
});

Deno.test("update() handles select, sort and filter messages", () => {
  const state = startState([FIRST]);
  const context = { ...CONTEXT, lineKeys: ["a", "b"] };
  assertEquals(update(state, { kind: "select", key: "b", context }).ui.selectedKey, "b");
  const sort = { kind: "sort", columnId: "kv", isDescending: true } as const;
  assertEquals(update(state, sort).ui.sort, {
    columnId: "kv",
    isDescending: true,
  });
  const edit = { kind: "insert", text: "x" } as const;
  assertEquals(update(state, { kind: "filter", edit }).ui.filter, "x");
});
