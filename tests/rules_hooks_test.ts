import { assertEquals } from "@std/assert";
import { createFinding } from "../lib/rules_finding.ts";
import { DEFAULT_RULES, getRule } from "../lib/rules_table.ts";
import {
  type HookMemory,
  type HookTrigger,
  listTroubles,
  planHookCalls,
  type Trouble,
} from "../lib/rules_hooks.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const ANY: HookTrigger = { signals: null, level: "degraded", repeat: null };

function createTrouble(more: Partial<Trouble> = {}): Trouble {
  const { key = "a", signal = "queuing", level = "degraded" } = more;
  const rule = getRule(DEFAULT_RULES, "queuing");
  const finding = createFinding(rule, { key, value: 9, baseline: 5, samples: 0, span: 60 });
  return { key, signal, level, since: 0, finding, ...more };
}

/** Plans at each of the moments; returns the calls as `hook event repeats signal key`. */
function plan(
  hooks: readonly HookTrigger[],
  moments: readonly (readonly [at: number, troubles: readonly Trouble[]])[],
): readonly (readonly string[])[] {
  let memory: HookMemory = new Map();
  return moments.map(([at, troubles]) => {
    const planned = planHookCalls(memory, { hooks, troubles, at });
    memory = planned.memory;
    return planned.calls.map(({ hook, event, repeats, trouble: { signal, key } }) =>
      `${hook} ${event} ${repeats} ${signal} ${key}`
    );
  });
}

Deno.test("planHookCalls() tells once that a rule fires, and once that it is over", () => {
  const [a, b] = [createTrouble(), createTrouble({ key: "b" })];
  assertEquals(plan([ANY, ANY], [[0, []], [1, [a]], [2, [a, b]], [3, [a, b]], [4, [b]], [5, []]]), [
    [],
    ["0 firing 0 queuing a", "1 firing 0 queuing a"],
    ["0 firing 0 queuing b", "1 firing 0 queuing b"],
    [],
    ["0 resolved 0 queuing a", "1 resolved 0 queuing a"],
    ["0 resolved 0 queuing b", "1 resolved 0 queuing b"],
  ]);
});

Deno.test("planHookCalls() calls a hook for its rules and levels alone", () => {
  const hooks: readonly HookTrigger[] = [
    { ...ANY, signals: new Set(["down", "full"]) },
    { ...ANY, level: "critical" },
  ];
  const down = createTrouble({ signal: "down", level: "critical", finding: null });
  const full = createTrouble({ signal: "full" });
  const worse = createTrouble({ signal: "full", level: "critical" });
  assertEquals(
    plan(hooks, [[0, [createTrouble()]], [1, [full]], [2, [worse, down]], [3, [full]]]),
    [
      [],
      ["0 firing 0 full a"],
      // What gets worse is told again.
      ["0 firing 1 full a", "0 firing 0 down a", "1 firing 0 full a", "1 firing 0 down a"],
      ["0 resolved 0 down a", "1 resolved 0 full a", "1 resolved 0 down a"],
    ],
  );
});

Deno.test("planHookCalls() repeats what lasts, at most so often", () => {
  const a = [createTrouble()];
  const moments = [0, 29, 30, 31, 59, 60, 90].map((at) => [at, a] as const);
  assertEquals(plan([{ ...ANY, repeat: 30 }], moments), [
    ["0 firing 0 queuing a"],
    [],
    ["0 firing 1 queuing a"],
    [],
    [],
    ["0 firing 2 queuing a"],
    ["0 firing 3 queuing a"],
  ]);
});

Deno.test("planHookCalls() tells what comes and goes at most once a minute", () => {
  const a = [createTrouble()];
  assertEquals(plan([ANY], [[0, a], [10, []], [20, a], [30, []], [50, a], [61, a], [62, []]]), [
    ["0 firing 0 queuing a"],
    ["0 resolved 0 queuing a"],
    [],
    [],
    [],
    ["0 firing 0 queuing a"],
    ["0 resolved 0 queuing a"],
  ]);
});

Deno.test("listTroubles() has firing rules, and servers that are stale or down", () => {
  const { evaluation } = watchFleet(2, { failures: { 0: 60 } });
  const troubles = listTroubles(evaluation);
  const stale = troubles.find(({ signal }) => signal === "stale");
  assertEquals([stale?.level, stale?.finding], ["degraded", null]);
  const firing = evaluation.alerts.filter(({ isFiring, newest }) =>
    isFiring && newest.level !== "off"
  );
  assertEquals(troubles.length, firing.length + 1);
  const down = listTroubles(watchFleet(1, { failures: { 0: 20 } }).evaluation);
  assertEquals(down.map(({ signal, level }) => [signal, level]), [["down", "critical"]]);
});
