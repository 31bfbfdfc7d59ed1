import { assertEquals } from "@std/assert";
import {
  describeAlarm,
  describeEvent,
  describeRule,
  describeVerdict,
} from "../lib/judgement_view.ts";
import type { EventLine } from "../lib/events.ts";
import { createOverview } from "../lib/overview.ts";
import { RULES, type Verdict } from "../lib/rules.ts";
import { startState } from "./fixtures/expositions.ts";

const VERDICT: Verdict = {
  rule: "slow_prefill",
  key: "k",
  value: 1.68,
  baseline: 0.44,
  ratio: 1.68 / 0.44,
  samples: 212,
  span: 60,
  statistic: "p95",
  probability: 1e-9,
  conditions: [],
};

Deno.test("describeVerdict() says the evidence in the units that people read", () => {
  const said = (more: Partial<Verdict>) => describeVerdict({ ...VERDICT, ...more });
  assertEquals(said({}), "TTFT P95 1.68 s against 440 ms (≥3.8×, n 212)");
  assertEquals(said({ statistic: "mean" }), "TTFT mean 1.68 s against 440 ms (3.8×, n 212)");
  assertEquals(
    said({ rule: "slow_decode", value: 0.25, baseline: 0.01, ratio: 25 }),
    "ITL P95 250 ms against 10.0 ms (≥25×, n 212)",
  );
  const share = { value: 0.53, baseline: 0.25 };
  assertEquals(
    said({ rule: "sticky_skew", ...share }),
    "53 % of the requests against 25 % (n 212)",
  );
  assertEquals(
    said({ rule: "token_share", ...share, samples: 0 }),
    "53 % of the output tokens against 25 %",
  );
  assertEquals(said({ rule: "kv_skew", ...share }), "KV cache 53 % against 25 %");
  const running = { rule: "running_skew", value: 65.25, baseline: 12 } as const;
  assertEquals(said(running), "65.3 running against 12.0");
  assertEquals(said({ rule: "stalled", value: 75 }), "nothing counted for 1m 15s");
  const conditions = [
    { signal: "kv_cache", value: 0.95, limit: 0.85 },
    { signal: "waiting", value: 12, limit: 5 },
    { signal: "preemptions", value: 1, limit: 0 },
    { signal: "ttft", value: 4.04, limit: 2 },
    { signal: "itl", value: Infinity, limit: 2 },
  ] as const;
  assertEquals(
    said({ rule: "hot", conditions }),
    "KV cache 95 %, 12 waiting, preempted 1×@1m, TTFT ≥4× the others', ITL ≥∞× the others'",
  );
});

Deno.test("describeAlarm() says how old evidence is that is no longer there", () => {
  const say = (now: number) => describeAlarm({ newest: VERDICT, lastAt: 10 }, { now, interval: 2 });
  assertEquals(say(12), describeVerdict(VERDICT));
  assertEquals(say(18), `8s ago ${describeVerdict(VERDICT)}`);
});

Deno.test("describeRule() has a word for every rule, each its own", () => {
  assertEquals(new Set(RULES.map(({ id }) => describeRule(id))).size, RULES.length);
});

Deno.test("describeEvent() tells when, what, of whom, how much and how long", () => {
  const state = startState([]);
  const line: EventLine = {
    id: 1,
    kind: "SLOW",
    subject: {
      ...{ key: "k", endpointKey: "e", address: "gpu1:8000", name: "m gpu1:8000.e3" },
      ...{ modelName: "org/m", engine: "3" },
    },
    beganAt: 10,
    beganAtEpoch: 3610,
    endedAt: null,
    occurrences: 2,
    first: VERDICT,
    worst: VERDICT,
    amount: null,
  };
  const say = (more: Partial<EventLine>, now = 75) =>
    describeEvent({ ...line, ...more }, createOverview(state), { now, utcOffset: 0 });
  // It has gone, and its name is known still.
  assertEquals(say({}), [
    "01:00:10",
    "SLOW   ",
    "m gpu1:8000.e3",
    "since 1m 05s",
    "TTFT P95 1.68 s against 440 ms (≥3.8×, n 212), 2 times",
  ]);
  const none = { first: null, worst: null, occurrences: 1 };
  const details = (more: Partial<EventLine>) => say({ ...none, endedAt: 10, ...more }).slice(3);
  assertEquals(details({ kind: "UP", amount: 34 }), ["", "after 34s"]);
  assertEquals(details({ kind: "RESTART", amount: 1 }), ["", ""]);
  assertEquals(details({ kind: "RESTART", amount: 3 }), ["", "3 times"]);
  assertEquals(details({ kind: "REJECT", amount: 12 }), ["", "12 requests rejected"]);
  assertEquals(details({ kind: "PREEMPT", amount: 7, endedAt: 44 }), ["for 34s", "7×"]);
  assertEquals(details({ kind: "DOWN", endedAt: 44 }), ["for 34s", ""]);
});
