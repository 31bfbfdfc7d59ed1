import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { isPresent } from "../lib/reading.ts";
import type { PodFacts } from "../lib/pod.ts";
import { type Message, type State, update } from "../lib/state.ts";
import { SESSION_KEYS } from "../lib/stats_totals.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";

const ENDPOINTS = [createEndpoint(8000), createEndpoint(8001), createEndpoint(8002)];

function say(running: number, requests: number): Uint8Array {
  return encode(
    writeEngine([
      ["num_requests_running", running],
      ["num_requests_waiting", 0],
      ["generation_tokens_total", requests * 10],
      ['request_success_total{finished_reason="stop"}', requests],
    ]),
  );
}

Deno.test("evaluateRules() returns the same object if nothing changed", () => {
  const known = advance(startState(ENDPOINTS), 2, [createScraped(ENDPOINTS[0], 1.9, say(1, 1))]);
  const later = advance(known, 2.5);
  assert(later.evaluation === known.evaluation, "the same object");
  // Until an answer is overdue.
  const asked = update(later, { kind: "asked", endpointKey: ENDPOINTS[0].key, at: 4 });
  const overdue = advance(asked, 9);
  assertEquals(overdue.evaluation.verdict.level, "DEGRADED");
});

Deno.test("evaluateRules() is PENDING until every endpoint has answered", () => {
  const start = startState(ENDPOINTS);
  assertEquals(start.evaluation.verdict.level, "PENDING");
  assertEquals(advance(start, 1).evaluation.verdict.level, "PENDING");
  const answers = ENDPOINTS.map((endpoint, i) => createScraped(endpoint, 0.9 + i / 100, say(0, 0)));
  const first = advance(start, 1, answers.slice(0, 1));
  assertEquals(first.evaluation.verdict, { level: "PENDING", watched: 0, causes: [] });
  const answered = advance(first, 1, answers.slice(1));
  assertEquals(answered.evaluation.verdict, { level: "WATCHING", watched: 0, causes: [] });
});

Deno.test("evaluateRules() is not HEALTHY while a server's load is no number", () => {
  const [endpoint] = ENDPOINTS;
  const watch = (load: number): string => {
    const body = encode(
      writeEngine([
        ["num_requests_running", load],
        ["num_requests_waiting", load],
        ["generation_tokens_total", 10],
      ]),
    );
    const scrapes = Array.from({ length: 21 }, (_, i) => createScraped(endpoint, 2 * i, body));
    const state = scrapes.reduce(
      (state, scrape, i) => advance(state, 2 * i + 0.1, [scrape]),
      startState([endpoint]),
    );
    return state.evaluation.verdict.level;
  };
  assertEquals(watch(0), "HEALTHY");
  assertEquals(watch(NaN), "WATCHING");
  assertEquals(watch(-1), "WATCHING");
});

Deno.test("evaluateRules() names the endpoint that never answered", () => {
  const state = advance(startState(ENDPOINTS), 1, [createFailed(ENDPOINTS[1], 0.9)]);
  const { verdict, events } = state.evaluation;
  assertEquals(verdict.level, "CRITICAL");
  assertEquals(verdict.causes.map(({ key, signal }) => [key, signal]), [
    [ENDPOINTS[1].key, "down"],
  ]);
  assertEquals(events.lines.map(({ kind }) => kind), ["DOWN"]);
});

Deno.test("evaluateRules() announces engines of later endpoints only", () => {
  let state = advance(startState(ENDPOINTS.slice(0, 2)), 1);
  state = advance(state, 2, [createScraped(ENDPOINTS[0], 1.9, say(0, 0))]);
  const [late] = startState([ENDPOINTS[2]]).endpoints;
  state = advance({ ...state, endpoints: [...state.endpoints, late] }, 3);
  state = advance(state, 5, [
    createScraped(ENDPOINTS[1], 4.8, say(0, 0)),
    createScraped(ENDPOINTS[2], 4.9, say(0, 0)),
  ]);
  const describe = ({ evaluation: { events } }: State) =>
    events.lines.map(({ kind, subject }) => `${kind} ${subject.address}`);
  assertEquals(describe(state), ["NEW localhost:8002"]);
  state = advance({ ...state, endpoints: state.endpoints.slice(0, 2) }, 7);
  assertEquals(describe(state), ["NEW localhost:8002", "GONE localhost:8002"]);
  assertEquals(state.evaluation.statuses.size, 2);
});

/** The fleet with one replica that runs most requests, watched every 10 s until the end. */
function watchSkewed(end: number): State {
  let state = startState(ENDPOINTS, { interval: 10 });
  for (let at = 0; at <= end; at += 10) {
    state = advance(
      state,
      at + 1,
      ENDPOINTS.map((endpoint, i) =>
        createScraped(endpoint, at + i / 10, say(i === 0 ? 40 : 4, at * 10))
      ),
    );
  }
  return state;
}

const listAlerts = ({ evaluation: { alerts } }: State) =>
  alerts.filter(({ isFiring }) => isFiring).map(({ first }) => `${first.rule} ${first.key}`);

const listStatuses = ({ evaluation: { statuses } }: State) => [...statuses.values()];

Deno.test("evaluateRules() sets the status of the worst rule that fires", () => {
  const state = watchSkewed(90);
  assertEquals(listAlerts(state).map((alert) => alert.split(" ")[0]), ["running_skew"]);
  assertEquals(listStatuses(state), ["SKEW", "OK", "OK"]);
  assertEquals(state.evaluation.events.lines.map(({ kind }) => kind), ["SKEW"]);
});

Deno.test("evaluateRules() keeps a STALE replica's alert and resolves a DOWN one's", () => {
  const state = watchSkewed(90);
  const stale = advance(state, 95, [createFailed(ENDPOINTS[0], 94)]);
  assertEquals(listStatuses(stale), ["STALE", "OK", "OK"]);
  assertEquals(listAlerts(stale), listAlerts(state));
  const gone = advance(state, 91.5, [createFailed(ENDPOINTS[0], 91.4)]);
  const down = advance(gone, 140, [
    createFailed(ENDPOINTS[0], 139),
    ...ENDPOINTS.slice(1).map((endpoint) => createScraped(endpoint, 139.5, say(4, 1390))),
  ]);
  assertEquals(listStatuses(down), ["DOWN", "OK", "OK"]);
  assertEquals(listAlerts(down), []);
});

Deno.test("evaluateRules() announces UP with the time down", () => {
  const [endpoint, other] = ENDPOINTS;
  let state = startState([endpoint, other]);
  const listEvents = () =>
    state.evaluation.events.lines.map(({ kind, amount }) => `${kind} ${amount}`);
  for (const at of [2, 4, 6]) {
    state = advance(state, at, [
      createFailed(endpoint, at - 0.1),
      createScraped(other, at - 0.2, say(0, 0)),
    ]);
    assertEquals(listEvents(), ["DOWN null"]);
  }
  state = advance(state, 12, [createScraped(endpoint, 11.9, say(0, 0))]);
  assertEquals(listEvents(), ["DOWN null", "UP 10"]);
});

Deno.test("evaluateRules() announces each restart", () => {
  const [endpoint] = ENDPOINTS;
  let state = startState([endpoint]);
  [50, 60, 10, 20].forEach((requests, i) => {
    state = advance(state, 2 * i + 1, [createScraped(endpoint, 2 * i + 0.5, say(1, requests))]);
  });
  const { lines } = state.evaluation.events;
  assertEquals(lines.map(({ kind, amount }) => `${kind} ${amount}`), ["RESTART 1"]);
});

Deno.test("evaluateRules() announces a pod's restart once, with its end, whoever tells it first", () => {
  const pod: PodFacts = {
    ...{ namespace: "prod", name: "llama-0", node: "gpu1", container: "vllm", state: "ready" },
    ...{ reason: null, restarts: [], gpus: [], startedAt: null },
  };
  const endpoint = { ...createEndpoint(8000, "llama-0.prod.pod"), pod };
  const restarts = { container: "vllm", lastReason: "OOMKilled", lastExitCode: 137 };
  const sidecar = { ...restarts, container: "proxy", count: 9, lastFinishedAt: null };
  /** As Kubernetes counts them at that time. */
  const list = (count: number): Message => {
    const serving = { ...restarts, count, lastFinishedAt: null };
    return {
      kind: "endpoints_found",
      endpoints: [{ ...endpoint, pod: { ...pod, restarts: [sidecar, serving] } }],
    };
  };
  const scrape = (at: number, requests: number): Message =>
    createScraped(endpoint, at, say(1, requests));
  const watch = (...rounds: readonly (readonly [at: number, ...Message[]])[]) => {
    const first = advance(startState([endpoint]), 1, [list(0), scrape(0.9, 50)]);
    const state = rounds.reduce((now, [at, ...messages]) => advance(now, at, messages), first);
    return state.evaluation.events.lines.filter(({ kind }) => kind === "RESTART")
      .map(({ beganAt, amount, message }) => [beganAt, amount, message]);
  };
  const end = "OOMKilled, exit code 137";
  assertEquals(watch([3, scrape(2.9, 60)]), []);
  // It loads for longer than lines are continued.
  assertEquals(watch([3, list(1)], [200, scrape(199.9, 10)]), [[3, 1, end]]);
  assertEquals(watch([3, scrape(2.9, 10)], [9, list(1)]), [[3, 1, end]]);
  assertEquals(watch([3, scrape(2.9, 10), list(1)]), [[3, 1, end]]);
  assertEquals(watch([3, list(1)], [20, list(3)], [200, scrape(199.9, 10)]), [[3, 3, end]]);
  assertEquals(
    watch([3, list(1)], [100, scrape(99.9, 10)], [200, scrape(199.9, 5)]),
    [[3, 1, end], [200, 1, undefined]],
    "its process may restart without its container",
  );
  assertEquals(watch([3, list(2)], [90, list(0)], [200, list(1)]).length, 2, "another of its name");
});

Deno.test("evaluateRules() is DEGRADED for a minute after an endpoint was down", () => {
  const [endpoint] = ENDPOINTS;
  const start = advance(startState([endpoint]), 1000, [createFailed(endpoint, 999.9)]);
  let state = advance(start, 1002, [createScraped(endpoint, 1001.9, say(0, 0))]);
  const listCauses = () => state.evaluation.verdict.causes.map(({ signal }) => signal);
  for (const at of [1030, 1061.9]) {
    state = advance(state, at, [createScraped(endpoint, at - 0.1, say(0, 0))]);
    assertEquals([state.evaluation.verdict.level, listCauses()], ["DEGRADED", ["recent"]]);
  }
  state = advance(state, 1062, [createScraped(endpoint, 1061.95, say(0, 0))]);
  assertEquals([state.evaluation.verdict.level, listCauses()], ["HEALTHY", []]);
});

Deno.test("evaluateRules() stays DEGRADED between the failures of an endpoint that fails by turns", () => {
  const [endpoint] = ENDPOINTS;
  const scraped = (at: number) => createScraped(endpoint, at - 0.1, say(0, 0));
  const begin = () => advance(startState([endpoint]), 1000, [scraped(1000)]);
  let state = begin();
  const verdicts: string[] = [];
  for (let at = 1002; at < 1040; at += 4) {
    state = advance(state, at, [createFailed(endpoint, at - 0.1)]);
    state = advance(state, at + 2, [scraped(at + 2)]);
    verdicts.push(state.evaluation.verdict.level);
  }
  assertEquals(verdicts, ["WATCHING", "WATCHING", ...Array(8).fill("DEGRADED")]);
  const listCauses = () => state.evaluation.verdict.causes.map(({ signal }) => signal);
  assertEquals(listCauses(), ["recent"]);
  for (let at = 1042; at <= 1050; at += 2) state = advance(state, at, [scraped(at)]);
  assertEquals([state.evaluation.verdict.level, listCauses()], ["HEALTHY", []]);
  // Answers that are missed now and then are nothing.
  state = begin();
  for (let at = 1010; at < 1400; at += 2) {
    const isMissed = at % 100 === 0;
    state = advance(state, at, [isMissed ? createFailed(endpoint, at - 0.1) : scraped(at)]);
    assert(isMissed || state.evaluation.verdict.level !== "DEGRADED", `${at}`);
  }
});

Deno.test("evaluateRules() reports preemptions once, also of an engine that was away", () => {
  const [endpoint] = ENDPOINTS;
  const write = (...preemptions: readonly number[]): Uint8Array =>
    encode(
      preemptions.map((count, engine) =>
        writeEngine([["num_requests_running", 1], ["num_preemptions_total", count]], {
          engine: `${engine}`,
        })
      ).join(""),
    );
  const told = (...counts: readonly (readonly number[])[]): number | null => {
    const state = counts.reduce(
      (known, each, i) =>
        advance(known, 2 * i + 1, [createScraped(endpoint, 2 * i + 0.5, write(...each))]),
      startState([endpoint]),
    );
    const { lines } = state.evaluation.events;
    return lines.find(({ kind }) => kind === "PREEMPT")?.amount ?? null;
  };
  assertEquals(told([3, 10], [3, 17]), 7);
  assertEquals(told([3, 10], [3, 17], [3], [3, 17], [3, 17]), 7);
  // What it did while it was away is news.
  assertEquals(told([3, 10], [3, 17], [3], [3, 19]), 9);
  assertEquals(told([3, 10], [3], [3], [3, 10]), null);
});

Deno.test("evaluateRules() compares a large fleet at most twice a second, and misses no status change", () => {
  const many = Array.from({ length: 20 }, (_, i) => createEndpoint(9000 + i));
  let state = advance(startState(many), 1, many.map((one) => createScraped(one, 0.9, say(0, 0))));
  const { groups } = state.evaluation;
  state = advance(state, 1.2, [createScraped(many[0], 1.1, say(1, 1))]);
  assert(state.evaluation.groups === groups, "not yet");
  state = advance(state, 1.3, [createFailed(many[1], 1.25)]);
  assertEquals(state.evaluation.verdict.level, "DEGRADED");
  state = advance(state, 2, [createScraped(many[0], 1.9, say(2, 2))]);
  assert(state.evaluation.groups !== groups);
});

Deno.test("evaluateRules() and update() keep totals equal to the replicas' sums, which never fall", () => {
  const arbitraryStep = fc.array(
    fc.record({
      kind: fc.constantFrom("answers", "answers", "answers", "fails", "restarts"),
      requests: fc.nat(20),
      running: fc.nat(9),
    }),
    { minLength: 3, maxLength: 3 },
  );
  fc.assert(
    fc.property(fc.array(arbitraryStep, { minLength: 1, maxLength: 25 }), (steps) => {
      let state = startState(ENDPOINTS);
      const counters = [50, 0, 1000];
      const last = new Map<string, number>();
      steps.forEach((step, i) => {
        const at = 2 * i;
        const messages = step.map(({ kind, requests, running }, e) => {
          if (kind === "restarts") counters[e] = 0;
          counters[e] += requests;
          return kind === "fails"
            ? createFailed(ENDPOINTS[e], at + e / 8)
            : createScraped(ENDPOINTS[e], at + e / 8, say(running, counters[e]));
        });
        state = advance(state, at + 1, messages);
        const { rows, counted, totalPeaks } = state.fleet;
        for (const key of SESSION_KEYS) {
          const sum = counted[key];
          if (!isPresent(sum)) continue;
          assert(sum.value >= (last.get(key) ?? 0), `${key} fell`);
          last.set(key, sum.value);
          const parts = rows.map(({ total }) => total?.counted[key].value ?? 0);
          assertEquals(sum.value, parts.reduce((a, b) => a + b, 0));
        }
        const highest = rows.map(({ peaks }) => peaks.running?.value ?? 0);
        const peak = totalPeaks.running?.value ?? 0;
        assert(peak <= highest.reduce((a, b) => a + b, 0));
        assert(peak >= (last.get("peak") ?? 0));
        last.set("peak", peak);
      });
    }),
    { numRuns: 60 },
  );
});
