import { assert, assertEquals, assertThrows } from "@std/assert";
import { ALERT_FOR, findRule, IMBALANCE_RULE_IDS, type RuleId, RULES } from "../lib/rules_table.ts";

Deno.test("RULES list each rule once, each with its own title", () => {
  const ids: readonly RuleId[] = ["hot", "stalled", ...IMBALANCE_RULE_IDS];
  assertEquals(RULES.map(({ id }) => id).sort(), [...ids].sort());
  assertEquals(new Set(RULES.map(({ title }) => title)).size, RULES.length);
  for (const id of ids) assertEquals(findRule(id).id, id);
  const unknown: string = "cold";
  assertThrows(() => findRule(unknown as RuleId), RangeError, '"cold"');
});

Deno.test("RULES that chance can trigger must persist", () => {
  for (const { id, effect, for: delay, keepFiringFor } of RULES) {
    assert(keepFiringFor >= delay, id);
    // STALLED waits 15 s by itself.
    if (effect !== "none" && id !== "stalled") assert(delay >= ALERT_FOR, id);
  }
});

Deno.test("RULES each fire in a described fleet and stay silent in a similar one", () => {
  const folder = new URL("./judged/", import.meta.url);
  const fleets = [...Deno.readDirSync(folder)].map(({ name }) => {
    const [, evaluation = ""] = Deno.readTextFileSync(new URL(name, folder)).split("\n---\n");
    return { name, expected: evaluation.slice(0, evaluation.indexOf("\ncompared")) };
  });
  /** For each rule that degrades the verdict, a fleet that just misses it. */
  const near: Readonly<Record<string, string>> = {
    hot: "hot.txt",
    stalled: "idle_is_not_stalled.txt",
    slow_prefill: "slow_prefill_by_a_little_less_than_1.5.txt",
    slow_decode: "slow_decode_by_a_little_less_than_1.5.txt",
    sticky_skew: "sticky_by_few_requests.txt",
    running_skew: "running_a_little_uneven.txt",
    kv_skew: "kv_a_little_uneven.txt",
    token_share: "token_share_a_little_uneven.txt",
  };
  for (const { id, effect } of RULES) {
    if (effect === "none") continue;
    const fires = fleets.some(({ expected }) => expected.includes(` ${id}`));
    assert(fires, `no fleet in which ${id} fires`);
    const silent = fleets.find(({ name }) => name === near[id]);
    assert(silent !== undefined, `no fleet that is close to ${id}`);
    // HOT's own fleet meets one condition for 40 s before it fires.
    if (id !== "hot") assert(!silent.expected.includes(` ${id}`), `${id} in ${silent.name}`);
    else assert(silent.expected.includes("0:00      HEALTHY\n1:24"), silent.name);
  }
});
