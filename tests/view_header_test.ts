import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Objective } from "../lib/model.ts";
import { type State, update } from "../lib/state.ts";
import { measureWidth } from "../lib/text.ts";
import { type Header, renderHeader, renderProblems } from "../lib/view_header.ts";
import { createPaint, type Meaning, type Paint } from "../lib/view_theme.ts";
import { watchToTheEnd } from "./fixtures/described_fleet.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  type Series,
  startState,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";

const plain = createPaint(null);

function render(state: State, width = 200, paint = plain): Header {
  return renderHeader(state, { width, paint });
}

const readVerdict = (state: State): string => render(state)[1].trim();

/** So many endpoints, of which each says the same. */
function say(count: number, series: readonly Series[]): State {
  const endpoints = Array.from({ length: count }, (_, i) => createEndpoint(8000 + i));
  const body = encode(writeEngine(series));
  return advance(startState(endpoints), 1, endpoints.map((one) => createScraped(one, 0.5, body)));
}

const SERVES = "serves 2 req/s, 100 tokens, ttft 0.2, itl 0.02, running 5, kv 0.3";

/** Four replicas of which one, `c`, takes twice as long for each token. */
const SLOW = watchToTheEnd(`0 a b c d ${SERVES}\n60 c itl 0.04\nuntil 180`);

/** So many endpoints, none of which ever answered. */
function fail(count: number): State {
  const endpoints = Array.from({ length: count }, (_, i) => createEndpoint(8000 + i));
  return advance(startState(endpoints), 1, endpoints.map((one) => createFailed(one, 0.5)));
}

Deno.test("renderHeader() shows replicas, models, time and interval", () => {
  const [title] = render(watchFleet(2));
  assertMatch(
    title,
    /^ vllm-htop {2}2 replicas · Llama-3\.1-8B-Instruct · \d\d:\d\d:\d\d · every 2 s$/,
  );
  assertStringIncludes(render(watchFleet(4))[0], " 5 replicas · 2 models · ");
  assertStringIncludes(render({ ...watchFleet(1), interval: 0 })[0], "one scrape");
  assertStringIncludes(render(watchFleet(1))[0], "1 replica ");
  assertStringIncludes(render({ ...watchFleet(1), isDemo: true })[0], "demo");
});

Deno.test("renderHeader() shows the window of --once", () => {
  const once = { ...watchFleet(2), isOnce: true };
  assertMatch(render(once)[0], / · over [\d.]+ s$/);
  assertStringIncludes(
    render({ ...say(1, [["num_requests_running", 1]]), isOnce: true })[0],
    "every",
  );
});

Deno.test("renderHeader() shows PAUSED", () => {
  const state = watchFleet(2);
  assert(!render(state)[0].includes("PAUSED"));
  assertStringIncludes(render({ ...state, held: state })[0], "PAUSED");
});

Deno.test("renderHeader() shows a range of intervals if a server is slow", () => {
  const state = watchFleet(2);
  const [first, second] = state.endpoints;
  const slow = { ...second, schedule: { ...second.schedule, credit: -0.5 } };
  assertStringIncludes(render(state)[0], "every 2 s");
  assertStringIncludes(render({ ...state, endpoints: [first, slow] })[0], "every 2 s to 10 s");
});

Deno.test("renderHeader() shows the age of data older than a poll", () => {
  const state = watchFleet(2);
  assert(!render(state)[0].includes("oldest"));
  const later = update(state, { kind: "clock", now: state.now + 9, nowEpoch: state.nowEpoch + 9 });
  assertStringIncludes(render(later)[0], "oldest data 9s ago");
});

Deno.test("renderHeader() starts the verdict with the level", () => {
  const meanings = new Map<string, Meaning>();
  const paint: Paint = (text, meaning) => {
    meanings.set(text, meaning);
    return text;
  };
  const cases: readonly (readonly [State, string, Meaning])[] = [
    [startState([createEndpoint(8000)]), "● STARTING: waiting for the first answer", "dim"],
    [say(1, [["num_requests_running", 1]]), "● WATCHING (0 of 30 s)", "dim"],
    [watchToTheEnd(`0 a ${SERVES}\nuntil 32`), "● HEALTHY", "ok"],
    [SLOW, "● DEGRADED", "warn"],
    [fail(1), "● CRITICAL", "alert"],
  ];
  for (const [state, word, meaning] of cases) {
    assert(render(state, 200, paint)[1].startsWith(` ${word}`), word);
    assertEquals(meanings.get(word), meaning);
  }
});

Deno.test("renderHeader() says that a scan found no server, while it waits for one", () => {
  const guess = { ...createEndpoint(8000), isGuess: true } as const;
  const start = startState([guess]);
  assertStringIncludes(render(start)[1], "● STARTING: waiting for the first answer");
  const refused = advance(start, 2, [createFailed(guess, 1, "refused")]);
  assertStringIncludes(render(refused)[1], "● NO SERVER FOUND: waiting for one at :8000");
  assert(!/replica/.test(render(refused)[0]), "a place to wait at is no replica");
  const named = advance(startState([createEndpoint(8000)]), 2, [createFailed(guess, 1, "refused")]);
  assertStringIncludes(render(named)[0], "1 replica");
});

Deno.test("renderHeader() names causes and replicas", () => {
  assertEquals(readVerdict(fail(1)), "● CRITICAL   0 of 1 up   :8000 down (refused)");
  assertEquals(
    readVerdict(fail(5)),
    "● CRITICAL   0 of 5 up   :8000, :8001, :8002 and 2 more down (refused)",
  );
  assertMatch(
    readVerdict(SLOW),
    /^● DEGRADED {3}4 of 4 up {3}c:8002 slow in decode for \d+m \d\ds: ITL mean 40\.0 ms vs 20\.0 ms \(2× · \d+(\.\d+)?k? samples\)$/,
  );
  const hot = watchToTheEnd(`0 a b c ${SERVES}\n40 a b kv 0.95, waiting 9\nuntil 60`);
  assertStringIncludes(readVerdict(hot), "● CRITICAL   3 of 3 up   a:8000, b:8001 hot");
  const over = watchToTheEnd(
    `0 a b c ${SERVES}\n40 a kv 0.95, waiting 9\n80 a waiting 0\nuntil 110`,
  );
  assertStringIncludes(readVerdict(over), "● DEGRADED   3 of 3 up   a:8000 was hot");
  // What has happened since and is no alarm does not hide it, and each is named by its own.
  const several = watchToTheEnd(
    `0 a b c ${SERVES}\n40 a kv 0.95, waiting 9\n60 b down\n80 a waiting 0\n100 b up\nuntil 112`,
  );
  assertEquals(
    readVerdict(several),
    "● DEGRADED   3 of 3 up   a:8000 was hot   b:8001 was down",
  );
  const turns = [40, 46, 52].map((at) => `${at} a down\n${at + 3} a up\n`).join("");
  assertEquals(
    readVerdict(watchToTheEnd(`0 a b ${SERVES}\n${turns}until 58`)),
    "● DEGRADED   2 of 2 up   a:8000 was stale again and again",
  );
  // Of one that is down now nobody needs to know that it was hot.
  const worse = watchToTheEnd(
    `0 a b c ${SERVES}\n40 a kv 0.95, waiting 9\n60 a waiting 0\n80 a down\nuntil 114`,
  );
  assertEquals(readVerdict(worse), "● CRITICAL   2 of 3 up   a:8000 down (refused)");
  // Two that fail in different ways are down for no common reason.
  assertStringIncludes(readVerdict(watchTroubledFleet()), ":8002, :8004 down");
});

Deno.test("renderHeader() sums over replicas that are up", () => {
  const [, , summary] = render(say(2, [["num_requests_running", 4], ["kv_cache_usage_perc", 0.5]]));
  assertMatch(summary, /^ RUN {4}8 {5}⢸ {2}WAIT {4}— {2}KV max {2}50 % ▓▓▓▓░░░░ {2}OUT /);
  assertEquals(render(fail(2))[2], "");
  // Of one there is no maximum.
  assertStringIncludes(render(say(1, [["kv_cache_usage_perc", 0.5]]))[2], "KV  50 % ▓▓▓▓░░░░");
});

Deno.test("renderHeader() drops the hit share before a value", () => {
  const state = watchFleet(4);
  // The histories go first.
  assertMatch(
    render(state, 130)[2],
    /RUN +62 [\u2800-\u28ff]{5} .* OUT 1.39k\/s [\u2800-\u28ff]{5} .* cached/,
  );
  const whole = render(state, 99)[2].replace(/ [\u2800-\u28ff]{5}/g, "");
  const [hit] = / +\d+ % cached/.exec(whole) ?? [];
  assert(hit !== undefined, whole);
  assertEquals(render(state, measureWidth(whole))[2], whole);
  assertEquals(render(state, measureWidth(whole) - 1)[2], whole.replace(hit, ""));
  // A narrow screen has a short gauge.
  assertStringIncludes(render(state, 80)[2], "  KV  98 % ▓▓▓░  OUT 1.39k/s  IN 6.40k/s  TTFT@1m ");
});

Deno.test("renderHeader() moves no figure of the pulse with its values", () => {
  const places = [1, 2, 3, 4].map((count) =>
    ["WAIT", "OUT", "IN", "TTFT@1m"].map((label) =>
      render(watchFleet(count))[2].indexOf(` ${label} `)
    )
  );
  assertEquals(places[3], places[1]);
});

Deno.test("renderHeader() drops or cuts pieces that do not fit", () => {
  for (const state of [watchFleet(2), watchTroubledFleet(), fail(9)]) {
    for (let width = 1; width <= 200; width++) {
      const whole = render(state, width < 100 ? 99 : 400);
      for (const [i, line] of render(state, width).entries()) {
        assert(measureWidth(line) <= width, `${width}: ${line}`);
        if (width < 14) continue;
        for (const piece of line.trim().split(/ {2,}| · /)) {
          assertStringIncludes(whole[i], piece.replace(/…$/, ""));
        }
      }
    }
  }
});

Deno.test("renderProblems() groups endpoints by failure, with the next step", () => {
  const lines = renderProblems(fail(5), { width: 200, paint: plain });
  assertEquals(lines.length, 1);
  assertStringIncludes(lines[0], "DOWN  :8000, :8001, :8002 and 2 more  Cannot reach");
  assertStringIncludes(lines[0], "start the server");
  assertEquals(renderProblems(watchFleet(2), { width: 200, paint: plain }), []);
});

Deno.test("renderProblems() wraps at spaces and loses no word", () => {
  const [whole] = renderProblems(fail(1), { width: 400, paint: plain });
  for (const width of [40, 60, 80, 120]) {
    const lines = renderProblems(fail(1), { width, paint: plain });
    for (const line of lines) assert(measureWidth(line) <= width, line);
    if (width >= 60) assertEquals(lines.join(" ").split(/ +/), whole.split(/ +/));
  }
});

Deno.test("renderProblems() counts metric lines that cannot be parsed", () => {
  const endpoint = createEndpoint(8000);
  const describe = (badLines: string): string => {
    const body = encode(writeEngine([["num_requests_running", 1]]) + badLines);
    const state = advance(startState([endpoint]), 1, [createScraped(endpoint, 0.5, body)]);
    return renderProblems(state, { width: 200, paint: plain })[0];
  };
  assertEquals(describe("broken{\nworse{\n"), " :8000  2 metric lines could not be parsed");
  assertEquals(describe("broken{\n"), " :8000  1 metric line could not be parsed");
});

const OBJECTIVES: readonly Objective[] = [
  { model: null, latency: "ttft", limit: 0.5, target: 0.95 },
  { model: "b/Chat", latency: "e2e", limit: 10, target: 0.9 },
];

Deno.test("renderHeader() shows the objective that the fleet misses most", () => {
  const endpoint = createEndpoint(8000);
  const write = (counts: readonly number[]) =>
    encode(writeEngine([
      ["num_requests_running", 1],
      ...writeHistogram("time_to_first_token_seconds", [0.25, 0.5], { counts, sum: 1 }),
    ]));
  const watch = (counts: readonly number[]): string =>
    render(advance(startState([endpoint], { objectives: OBJECTIVES }), 2.5, [
      createScraped(endpoint, 0, write([0, 0, 0])),
      createScraped(endpoint, 2, write(counts)),
    ]))[2];
  assertStringIncludes(watch([40, 45, 50]), "  SLO TTFT ≤500 ms 90.0 %");
  assertStringIncludes(watch([0, 0, 0]), "  SLO TTFT ≤500 ms —");
  assert(!render(watchFleet(2))[2].includes("SLO"));
});

Deno.test("renderProblems() names models of objectives that no server serves, once all have answered", () => {
  const endpoints = [createEndpoint(8000), createEndpoint(8001)];
  const body = encode(writeEngine([["num_requests_running", 1]]));
  const problems = (answering: number, model?: string) => {
    const say = encode(writeEngine([["num_requests_running", 1]], { model }));
    const state = advance(startState(endpoints, { objectives: OBJECTIVES }), 1, [
      createScraped(endpoints[0], 0.5, body),
      ...endpoints.slice(1, answering).map((one) => createScraped(one, 0.5, say)),
    ]);
    return renderProblems(state, { width: 100, paint: plain });
  };
  assertEquals(problems(1), []);
  assertEquals(problems(2), [' no server serves "b/Chat", for which --slo sets an objective']);
  assertEquals(problems(2, "b/Chat"), []);
});
