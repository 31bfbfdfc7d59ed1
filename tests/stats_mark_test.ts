import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Endpoint, WindowFigures } from "../lib/model.ts";
import { finishSteps } from "../lib/platform.ts";
import { absent, isPresent } from "../lib/reading.ts";
import { type Message, type State, update } from "../lib/state.ts";
import { createPast } from "../lib/state_past.ts";
import type { Command, Ui } from "../lib/state_ui.ts";
import { getUiContext, layOutScene, renderFrame } from "../lib/view_scene.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  startState,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";
import { watchFleet } from "./fixtures/fleets.ts";
import { createChosenUi } from "./fixtures/screens.ts";

const SIZE = { columns: 120, rows: 40 };
const VIEW = { output: "auto", depth: null, ascii: false } as const;
const [ONE, TWO] = [8000, 8001].map((port) => createEndpoint(port));

/** So many requests have finished, each with 10 tokens; `slow` of them after 0.5 to 1 s. */
function write(requests: number, slow: number, engine = "0"): string {
  const counts = [requests - slow, requests, requests];
  return writeEngine([
    ["num_requests_running", 1],
    ["generation_tokens_total", 10 * requests],
    [`request_success_total{finished_reason="stop"}`, requests],
    ...writeHistogram("time_to_first_token_seconds", [0.5, 1], { counts, sum: requests / 2 }),
  ], { engine });
}

function answer(endpoint: Endpoint, at: number, ...texts: readonly string[]): Message {
  return createScraped(endpoint, at, encode(texts.join("")));
}

function press(state: State, command: Command): State {
  const context = getUiContext(layOutScene(state, SIZE, VIEW));
  return update(state, { kind: "command", command, context });
}

function readMark(state: State): WindowFigures {
  const { sinceMark } = state.fleet.total.figures;
  assert(sinceMark !== null);
  return sinceMark;
}

/** Tokens and requests per second, span, observations of TTFT and the slow ones among them. */
function summarize(state: State): readonly (number | null)[] {
  const { generationTokensPerSecond: tokens, requestsPerSecond, span, latency } = readMark(state);
  return [tokens.value, requestsPerSecond.value, span.value, latency.ttft.samples.value];
}

Deno.test("a mark gives rates and quantiles of what was counted since", () => {
  let state = startState([ONE], { ui: createChosenUi() });
  state = advance(state, 2, [answer(ONE, 1, write(1000, 0))]);
  assertEquals(state.fleet.total.figures.sinceMark, null);
  state = press(state, "mark");
  assertEquals(state.mark?.at, 2);
  assertEquals(readMark(state).span, { value: null, reason: "first_scrape" });
  state = advance(state, 12, [answer(ONE, 11, write(1040, 0))]);
  state = advance(state, 101, [answer(ONE, 101, write(1100, 60))]);
  assertEquals(summarize(state), [10, 1, 100, 100]);
  // By linear interpolation within 0.5 to 1 s: the 95th of 100 is the 55th of its 60.
  const { p95, p50 } = readMark(state).latency.ttft;
  assertEquals(isPresent(p95) && p95.value.value.toFixed(4), (0.5 + 0.5 * 55 / 60).toFixed(4));
  assertEquals(isPresent(p50) && p50.value.value > 0.5, true);
  // Again: from here on.
  const moved = advance(press(state, "mark"), 106, [answer(ONE, 106, write(1110, 60))]);
  assertEquals(summarize(moved), [20, 2, 5, 10]);
  const removed = press(moved, "unmark");
  assertEquals([removed.mark, removed.fleet.total.figures.sinceMark], [null, null]);
});

Deno.test("a mark goes on across restarts, failures and absences, as session totals do", () => {
  let state = startState([ONE, TWO], { ui: createChosenUi() });
  const both = (at: number, first: string, second: string) =>
    advance(state, at, [answer(ONE, at, first), answer(TWO, at, second)]);
  state = both(2, write(1000, 0), write(50, 0, "0") + write(70, 0, "1"));
  state = press(state, "mark");
  state = both(12, write(1010, 0), write(60, 0, "0") + write(80, 0, "1"));
  // The first restarts: 10 before, 5 since. An engine of the second is away, and is back.
  state = both(22, write(5, 0), write(60, 0, "0"));
  state = advance(state, 32, [createFailed(ONE, 32), answer(TWO, 32, write(60, 0, "0"))]);
  state = both(52, write(20, 0), write(60, 0, "0") + write(100, 0, "1"));
  // 30 + 10 + 30 requests in 50 s.
  assertEquals(summarize(state), [14, 1.4, 50, 70]);
  // Totals of the session agree.
  assertEquals(state.fleet.counted.requests.value, 70);
});

Deno.test("a mark has no quantiles over buckets that differ, however often the server restarts", () => {
  const withBounds = (requests: number, bound: number) =>
    writeEngine([
      ["num_requests_running", 1],
      ["generation_tokens_total", 10 * requests],
      ...writeHistogram("time_to_first_token_seconds", [bound, 1], {
        ...{ counts: [requests, requests, requests], sum: requests / 2 },
      }),
    ]);
  let state = startState([ONE], { ui: createChosenUi() });
  state = press(advance(state, 2, [answer(ONE, 1, withBounds(1000, 0.5))]), "mark");
  const bodies = [[1100, 0.5], [50, 0.25], [60, 0.25], [20, 0.25]] as const;
  bodies.forEach(([requests, bound], i) => {
    state = advance(state, 2 * i + 4, [answer(ONE, 2 * i + 3, withBounds(requests, bound))]);
  });
  assertEquals(readMark(state).latency.ttft.samples, absent("bounds_differ"));
});

Deno.test("a mark begins for new servers, and those that fail, with their first answer", () => {
  let state = startState([ONE, TWO], { ui: createChosenUi() });
  state = advance(state, 2, [answer(ONE, 2, write(1000, 0)), answer(TWO, 2, write(10, 0))]);
  state = advance(state, 4, [createFailed(ONE, 4), createFailed(TWO, 4)]);
  state = press(state, "mark");
  state = advance(state, 12, [answer(ONE, 12, write(5000, 0)), createFailed(TWO, 12)]);
  assertEquals(readMark(state).span, { value: null, reason: "first_scrape" });
  state = advance(state, 22, [answer(ONE, 22, write(5010, 0)), createFailed(TWO, 22)]);
  assertEquals(readMark(state).requestsPerSecond, { value: 1 });
});

Deno.test("a mark follows a server whose windows were forgotten", () => {
  let state = startState([ONE], { ui: createChosenUi() });
  state = press(advance(state, 2, [answer(ONE, 2, write(1000, 0))]), "mark");
  state = advance(state, 12, [answer(ONE, 12, write(1010, 0))]);
  // Stopped for an hour, in which the server was restarted.
  state = update(state, { kind: "resumed" });
  state = advance(state, 3612, [answer(ONE, 3612, write(26, 0))]);
  assertEquals(readMark(state).latency.ttft.samples, { value: 36 });
});

function draw(state: State, ui: Partial<Ui>, columns = SIZE.columns): readonly string[] {
  return renderFrame({ ...state, ui: { ...state.ui, ...ui } }, { ...SIZE, columns }, VIEW).lines;
}

Deno.test("renderFrame() shows figures since the mark beside the other windows", () => {
  const watched = { ...watchFleet(1), ui: createChosenUi() };
  const marked = press(watched, "mark");
  const later = advance(marked, marked.now + 65);
  assertMatch(draw(later, {})[0], /mark 1m 05s · /);
  const latency = (state: State, columns?: number) =>
    draw(state, { page: "latency" }, columns).slice(2, 5);
  assertMatch(latency(later)[0], /last minute +since the mark +since start/);
  assertMatch(latency(later)[2], / TTFT .*( +—){4} /);
  assertMatch(latency(later, 80)[0], /last minute +since the mark *$/);
  assertMatch(latency(watched)[0], /last minute +since start *$/);
  const detail = (state: State, columns: number) => draw(state, { screen: "detail" }, columns);
  for (const columns of [80, 120]) {
    const lines = detail(later, columns);
    assert(
      lines.some((line) => / 2\.00 s +60\.0 s +since mark +since start/.test(line)),
      lines.join("\n"),
    );
    assert(lines.some((line) => /P50 .*P95 mark/.test(line)), lines.join("\n"));
    assert(!detail(watched, columns).some((line) => /P95 mark|since mark/.test(line)));
  }
  const facts = draw(later, { screen: "detail", showsFacts: true }, 160);
  assert(facts.some((line) => line.includes("Latency since the mark")), facts.join("\n"));
});

Deno.test("a mark cannot be set on a screen that is held", () => {
  const paused = press({ ...watchFleet(1), ui: createChosenUi() }, "pause");
  assertEquals(press(paused, "mark"), paused);
});

Deno.test("createPast() shows figures since the mark as they were", () => {
  let state = startState([ONE], { ui: createChosenUi() });
  const past = createPast(state);
  const send = (message: Message) => {
    state = update(state, message);
    past.note(message);
  };
  const states: State[] = [];
  for (let at = 2; at < 300; at += 2) {
    // It restarts at second 200.
    const requests = at < 200 ? 1000 + at : at - 199;
    send(answer(ONE, at, write(requests, 0)));
    if (at === 100 || at === 240) {
      const context = getUiContext(layOutScene(state, SIZE, VIEW));
      send({ kind: "command", command: at === 100 ? "mark" : "unmark", context });
    }
    state = advance(state, at + 0.5);
    past.keep(state);
    states.push(state);
  }
  for (const known of states.filter((_, i) => i % 7 === 0)) {
    const moment = past.findBefore(known.now);
    const found = moment === null ? null : finishSteps(moment.compute()).state;
    assertEquals(found?.mark, known.mark);
    const then = known.fleet.total.figures.sinceMark;
    assertEquals(found?.fleet.total.figures.sinceMark, then, `${known.now}`);
  }
});
