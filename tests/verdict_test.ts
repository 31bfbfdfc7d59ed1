/**
 * What is said of one server in trouble, from the text that it serves: recorded, or rebuilt from
 * reports of users.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { DEFAULT_RULES, resolveRules, type Rules } from "../lib/rules_table.ts";
import { type State, update } from "../lib/state.ts";
import { renderText } from "../lib/view.ts";
import {
  createEndpoint,
  createScraped,
  encode,
  type Series,
  START_EPOCH,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { readRecording } from "./fixtures/recordings.ts";

const ENDPOINT = createEndpoint(8000);

/** The state after each body. */
function* watch(
  bodies: Iterable<{ readonly at: number; readonly body: string }>,
  rules: Rules = DEFAULT_RULES,
): Generator<{ readonly at: number; readonly state: State }> {
  let state = startState([ENDPOINT], { rules });
  for (const { at, body } of bodies) {
    state = update(state, createScraped(ENDPOINT, at, encode(body)));
    state = update(state, { kind: "clock", now: at + 0.01, nowEpoch: START_EPOCH + at });
    yield { at, state };
  }
}

/** Bodies every 2 s. */
function* serve(
  seconds: number,
  describe: (at: number, poll: number) => string,
): Generator<{ readonly at: number; readonly body: string }> {
  for (let poll = 0; 2 * poll <= seconds; poll++) {
    yield { at: 1 + 2 * poll, body: describe(2 * poll, poll) };
  }
}

function getVerdict({ fleet: { verdict } }: State): string {
  return [verdict.level, ...verdict.causes.map(({ signal }) => signal)].join(" ");
}

/** Verdicts as they change, each with the second from which it stands. */
function listVerdicts(
  states: Iterable<{ readonly at: number; readonly state: State }>,
): readonly string[] {
  const said: string[] = [];
  let last = "";
  for (const { at, state } of states) {
    const verdict = getVerdict(state);
    if (verdict !== last) said.push(`${at - 1} ${verdict}`);
    last = verdict;
  }
  return said;
}

Deno.test("a recorded overload is queuing within 12 s, and never HEALTHY while it waits", async () => {
  const bodies = await readRecording("overload");
  let queuedAt = Infinity;
  let namedAt = Infinity;
  for (const { at, state } of watch(bodies)) {
    const waiting = state.fleet.total.figures.waiting.value ?? 0;
    if (waiting > 5) queuedAt = Math.min(queuedAt, at);
    const isNamed = state.evaluation.alerts.some(({ isFiring, newest }) =>
      isFiring && newest.rule === "queuing"
    );
    if (isNamed) namedAt = Math.min(namedAt, at);
    const { level } = state.fleet.verdict;
    assert(waiting <= 5 || level !== "HEALTHY", `${level} at ${at} s`);
    if (at >= queuedAt + 12) {
      assert(level === "CRITICAL" || level === "DEGRADED", `${level} at ${at} s`);
      assert(state.fleet.rows[0].status !== "OK");
    }
  }
  assert(namedAt - queuedAt <= 12, `${namedAt - queuedAt} s`);
});

/** vLLM issue 53130: it recomputes and finishes nothing. */
function describeCollapsed(t: number): readonly Series[] {
  return [
    ["num_requests_running", 3],
    ["num_requests_waiting", 227 + 2 * t],
    ["kv_cache_usage_perc", 0.209],
    ["prompt_tokens_total", 24_133 + 1946 * t],
    ["generation_tokens_total", 7141 + Math.floor(0.48 * t)],
    ['request_success_total{finished_reason="stop"}', 40],
  ];
}

Deno.test("a server that has collapsed before it is watched is overloaded", () => {
  const said = listVerdicts(watch(serve(60, (t) => writeEngine(describeCollapsed(t)))));
  assertEquals(said, ["0 WATCHING", "10 CRITICAL overloaded"]);
});

Deno.test("a server that collapses while it is watched has collapsed, within two minutes", () => {
  const said = listVerdicts(watch(serve(300, (t) => {
    const [running, waiting, kv, prompt, output, finished] = describeCollapsed(t - 120);
    const before: readonly Series[] = [
      ["num_requests_waiting", 0],
      ["generation_tokens_total", 7141 - 100 * (120 - t)],
      ['request_success_total{finished_reason="stop"}', 40 - Math.floor((120 - t) / 3)],
    ];
    const after = [waiting, output, finished];
    return writeEngine([running, kv, prompt, ...(t < 120 ? before : after)]);
  })));
  assertEquals(said.slice(0, 3), ["0 WATCHING", "30 HEALTHY", "130 CRITICAL overloaded"]);
  // It stays so, although the minute before is soon no better.
  const [at, ...rest] = said[3].split(" ");
  assert(Number(at) <= 240, at);
  assertEquals(rest.join(" "), "CRITICAL collapse");
  assertEquals(said.length, 4);
});

Deno.test("a server whose gauges are frozen with 106 running is stalled", () => {
  const stuck = writeEngine([
    ["num_requests_running", 106],
    ["kv_cache_usage_perc", 0.9],
    ["generation_tokens_total", 7141],
  ]);
  assertEquals(listVerdicts(watch(serve(40, () => stuck))), [
    "0 WATCHING",
    "16 CRITICAL stalled",
  ]);
});

Deno.test("one request without progress may be a long prefill: said, and not CRITICAL", () => {
  const prefill = (running: number) =>
    writeEngine([
      ["num_requests_running", running],
      ["num_requests_waiting", 0],
      ["kv_cache_usage_perc", 0.02],
      ["generation_tokens_total", 7141],
    ]);
  const states = [...watch(serve(40, (t) => prefill(t < 4 ? 0 : 1)))];
  assertEquals(listVerdicts(states), ["0 WATCHING", "18 DEGRADED stalled"]);
  const [{ verdict }] = states[states.length - 1].state.fleet.verdict.causes;
  assertEquals(verdict?.conditions.map(({ signal }) => signal), ["long_prefill"]);
  // The user's level has no exception.
  const strict = resolveRules([{ rule: "stalled", name: "level", value: "critical" }]);
  const said = listVerdicts(watch(serve(40, (t) => prefill(t < 4 ? 0 : 1)), strict));
  assertEquals(said[1], "18 CRITICAL stalled");
});

/** Two servers of different age. */
function describeOneOfTwo(t: number, poll: number, hasStart = true): string {
  const isOther = poll % 2 === 1;
  const start = isOther ? 1.795e9 : START_EPOCH - 600;
  const engine = writeEngine([
    ["num_requests_running", 3],
    ["prompt_tokens_total", (isOther ? 9000 : 24_133) + 100 * t],
    ["generation_tokens_total", (isOther ? 3000 : 7141) + 50 * t],
  ]);
  return hasStart ? `process_start_time_seconds ${start}\n${engine}` : engine;
}

for (const hasStart of [true, false]) {
  const by = hasStart ? "start times" : "counters alone";
  Deno.test(`two servers behind one address are told by ${by}, once, and counted for none`, () => {
    const bodies = serve(60, (t, poll) => describeOneOfTwo(t, poll, hasStart));
    const states = [...watch(bodies)];
    assertEquals(listVerdicts(states), ["0 WATCHING", "6 DEGRADED two_servers"]);
    const { fleet } = states[states.length - 1].state;
    assertEquals(fleet.events.map(({ kind, occurrences }) => [kind, occurrences]), [
      ["RESTART", 1],
      ["SHARED", 1],
    ]);
    assertEquals(fleet.rows[0].status, "SHARED");
    // The first change looks like a restart, whose counts are new; the others do not.
    assertEquals(fleet.counted.promptTokens.value, 9200);
    assertEquals(fleet.rows[0].figures.lastPoll.generationTokensPerSecond.value, null);
  });
}

Deno.test("one restart is no second server", () => {
  const bodies = serve(60, (t, poll) => describeOneOfTwo(t, poll < 10 ? 0 : 1));
  assertEquals(listVerdicts(watch(bodies)), ["0 WATCHING", "50 HEALTHY"]);
});

Deno.test("a cold start is PENDING, INIT and WATCHING, but never HEALTHY before it is known", () => {
  const declared =
    "# TYPE vllm:num_requests_running gauge\n# TYPE vllm:prompt_tokens_total counter\n";
  const first = startState([ENDPOINT]);
  assertEquals(first.fleet.verdict.level, "PENDING");
  const idle = writeEngine([["num_requests_running", 0], ["num_requests_waiting", 0]]);
  const said = listVerdicts(watch(serve(60, (t) => t < 10 ? declared : idle)));
  assertEquals(said, ["0 WATCHING", "40 HEALTHY"]);
});

const RED = "\x1b[1;31m";
const VIEW = { depth: 16, ascii: false, hasKeyLine: true, width: 160 } as const;

/** Gauges and increases that lie about the thresholds. */
const LOAD = fc.record({
  waiting: fc.constantFrom(0, 0, 0, 0, 1, 5, 6, 51, 300),
  kv: fc.constantFrom(0, 0.5, 0.66, 0.86, 0.96, 1),
  running: fc.constantFrom(0, 1, 3, 16),
  preemptions: fc.constantFrom(0, 0, 0, 0, 0, 1, 5),
  tokens: fc.constantFrom(0, 100, 100),
  requests: fc.constantFrom(0, 2),
  failed: fc.constantFrom(0, 0, 0, 0, 1),
  hits: fc.constantFrom(0, 10, 90),
});
const CALM = { waiting: 0, kv: 0.5, running: 3, preemptions: 0, failed: 0, hits: 90 };
const CHANGES = fc.array(
  fc.oneof(
    fc.record({
      rule: fc.constantFrom("queuing", "overloaded", "full", "hot", "stalled", "preempting"),
      name: fc.constant("level"),
      value: fc.constantFrom("off", "degraded", "critical"),
    }),
    fc.record({
      rule: fc.constantFrom("queuing", "overloaded"),
      name: fc.constant("threshold"),
      value: fc.constantFrom(0, 2, 20, 200),
    }),
    fc.constantFrom(
      { rule: "full", name: "threshold", value: 0.4 } as const,
      { rule: "hot", name: "threshold", value: 1 } as const,
      { rule: "queuing", name: "hold", value: 0 } as const,
    ),
  ),
  { maxLength: 3 },
);

Deno.test("HEALTHY and WATCHING never stand above a figure in red, whatever the load and the rules", () => {
  let healthy = 0;
  let red = 0;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(LOAD, fc.integer({ min: 1, max: 20 })), { minLength: 1, maxLength: 4 }),
      CHANGES,
      (phases, changes) => {
        const calm = { ...CALM, tokens: 100, requests: 2 };
        const loads = [[calm, 18] as const, ...phases]
          .flatMap(([load, polls]) => Array<typeof calm>(polls).fill(load));
        const sum = { preemptions: 0, tokens: 0, requests: 0, failed: 0, hits: 0 };
        const bodies = serve(2 * (loads.length - 1), (_, poll) => {
          const load = loads[poll];
          for (const key of ["preemptions", "tokens", "requests", "failed", "hits"] as const) {
            sum[key] += load[key];
          }
          return writeEngine([
            ["num_requests_running", load.running],
            ["num_requests_waiting", load.waiting],
            ["kv_cache_usage_perc", load.kv],
            ["num_preemptions_total", sum.preemptions],
            ["generation_tokens_total", sum.tokens],
            ["prefix_cache_queries_total", 100 * (poll + 1)],
            ["prefix_cache_hits_total", sum.hits],
            ['request_success_total{finished_reason="stop"}', sum.requests],
            ['request_success_total{finished_reason="error"}', sum.failed],
          ]);
        });
        for (const { state } of watch(bodies, resolveRules(changes))) {
          const { level } = state.fleet.verdict;
          const isWell = level === "HEALTHY" || level === "WATCHING";
          for (const output of ["table", "detail"] as const) {
            const lines = renderText(state, { ...VIEW, output });
            const line = lines.find((one) => one.includes(RED));
            assert(!isWell || line === undefined, `${level} above ${line}`);
            if (line !== undefined) red++;
          }
          if (level === "HEALTHY") healthy++;
        }
      },
    ),
    { numRuns: 30 },
  );
  assert(healthy > 50 && red > 50, `${healthy} states are HEALTHY, ${red} pictures have red`);
});
