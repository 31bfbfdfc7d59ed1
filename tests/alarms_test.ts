import { assert, assertEquals } from "@std/assert";
import { type Alarm, followVerdicts } from "../lib/alarms.ts";
import { HOLD, RELEASE, type RuleId, type Verdict } from "../lib/rules.ts";

function createVerdict(rule: RuleId, key: string, ratio = 2): Verdict {
  return {
    ...{ rule, key, value: ratio, baseline: 1, ratio, samples: 100, span: 60 },
    ...{ statistic: null, probability: null, conditions: [] },
  };
}

/** The alarms after looks at those moments, at each of which the verdicts are given. */
function follow(
  looks: readonly (readonly [at: number, verdicts: readonly Verdict[]])[],
  isJudged: (key: string) => boolean = () => true,
): readonly Alarm[] {
  return looks.reduce<readonly Alarm[]>(
    (alarms, [at, verdicts]) => followVerdicts(alarms, { verdicts, at, isJudged }),
    [],
  );
}

const SLOW = createVerdict("slow_decode", "a");

Deno.test("followVerdicts() raises what has lasted, and not before", () => {
  const raised = (...at: number[]) => follow(at.map((moment) => [moment, [SLOW]]))[0].isRaised;
  assert(!raised(10));
  assert(!raised(10, 10 + HOLD - 0.1));
  assert(raised(10, 10 + HOLD));
  assertEquals(follow([[10, [SLOW]], [14, [SLOW]]])[0].since, 10);
});

Deno.test("followVerdicts() raises at once what will not be looked at again", () => {
  const verdicts = [createVerdict("hot", "a")];
  const look = { verdicts, at: 0, isJudged: () => true };
  assertEquals(followVerdicts([], look)[0].isRaised, false);
  assertEquals(followVerdicts([], { ...look, isOnlyLook: true })[0].isRaised, true);
});

Deno.test("followVerdicts() counts time and not evaluations", () => {
  const often = Array.from({ length: 100 }, (_, i) => [10 + i / 100, [SLOW]] as const);
  assert(!follow(often)[0].isRaised);
});

Deno.test("followVerdicts() forgets at once what was not raised and is gone", () => {
  assertEquals(follow([[10, [SLOW]], [12, []]]), []);
  // It begins anew.
  assert(!follow([[10, [SLOW]], [12, []], [13, [SLOW]], [15, [SLOW]]])[0].isRaised);
});

Deno.test("followVerdicts() keeps what was raised over a break", () => {
  const looks = [[10, [SLOW]], [14, [SLOW]]] as const;
  const [kept] = follow([...looks, [14 + RELEASE - 0.1, []]]);
  assert(kept.isRaised);
  assertEquals(follow([...looks, [14 + RELEASE, []]]), []);
  const [back] = follow([...looks, [30, []], [40, [SLOW]], [40 + RELEASE - 0.1, []]]);
  assertEquals([back.since, back.lastAt], [10, 40]);
});

Deno.test("followVerdicts() ends the alarms of what went", () => {
  const looks = [[10, [SLOW]], [14, [SLOW]], [15, []]] as const;
  assertEquals(follow(looks, (key) => key !== "a"), []);
  assertEquals(follow(looks, (key) => key !== "b").length, 1);
});

Deno.test("followVerdicts() keeps the first evidence, the newest and the worst", () => {
  const [alarm] = follow([2, 5, 3].map((ratio, i) => [i, [createVerdict("hot", "a", ratio)]]));
  assertEquals([alarm.first.ratio, alarm.worst.ratio, alarm.newest.ratio], [2, 5, 3]);
});

Deno.test("followVerdicts() follows each rule and replica on its own", () => {
  const verdicts = [SLOW, createVerdict("slow_decode", "b"), createVerdict("kv_skew", "a")];
  const alarms = follow([[10, verdicts], [14, [SLOW]]]);
  assertEquals(alarms.map(({ first }) => `${first.rule} ${first.key}`), ["slow_decode a"]);
});

Deno.test("followVerdicts() dates a stall back to the last movement", () => {
  const stalled = { ...createVerdict("stalled", "a"), value: 16 };
  const [alarm] = follow([[100, [stalled]]]);
  assertEquals([alarm.since, alarm.isRaised], [84, true]);
  assertEquals(follow([[100, [stalled]], [102, []]]), []);
});
