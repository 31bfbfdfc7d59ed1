import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Objective } from "../lib/model.ts";
import { resolveRules, type Rules } from "../lib/rules_table.ts";
import type { State } from "../lib/state.ts";
import { chooseAttainmentColor, createGroupLine, createRowLine } from "../lib/view_columns.ts";
import { formatFinding } from "../lib/view_words.ts";
import {
  advance,
  createEndpoint,
  createScraped,
  encode,
  startState,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";

/** Requests of the last minute, by TTFT. */
interface Load {
  readonly model?: string;
  readonly upTo500ms: number;
  readonly upTo1s: number;
  readonly above: number;
}

const TTFT: Objective = { model: null, latency: "ttft", limit: 0.5, target: 0.95 };

/** The state after two scrapes of each replica, half a minute apart. */
function watch(
  loads: readonly Load[],
  settings: { readonly objectives: readonly Objective[]; readonly rules?: Rules },
): State {
  const endpoints = loads.map((_, i) => createEndpoint(8000 + i));
  const write = ({ model = "a/Chat", upTo500ms, upTo1s, above }: Load, share: 0 | 1) => {
    const counts = [upTo500ms, upTo500ms + upTo1s, upTo500ms + upTo1s + above]
      .map((count) => count * share);
    const histogram = writeHistogram("time_to_first_token_seconds", [0.5, 1], { counts, sum: 1 });
    return encode(writeEngine([["num_requests_running", 0], ...histogram], { model }));
  };
  return ([0, 1] as const).reduce(
    (state, share) =>
      advance(
        state,
        40 * share + 0.5,
        loads.map((load, i) => createScraped(endpoints[i], 40 * share, write(load, share))),
      ),
    startState(endpoints, settings),
  );
}

function listMisses({ evaluation: { alerts } }: State) {
  return alerts.filter(({ isFiring, newest }) => isFiring && newest.rule === "slo")
    .map(({ newest }) => newest);
}

const load = (upTo500ms: number, upTo1s: number, above = 0): Load => {
  return { upTo500ms, upTo1s, above };
};

Deno.test("evaluateObjectives() fires below the target, from 20 samples on", () => {
  const judge = (one: Load, objective = TTFT) => {
    const [miss] = listMisses(watch([one], { objectives: [objective] }));
    return miss?.level;
  };
  assertEquals(judge(load(95, 5)), undefined);
  assertEquals(judge(load(94, 6)), "degraded");
  assertEquals(judge(load(48, 52)), "degraded");
  assertEquals(judge(load(47, 53)), "critical");
  assertEquals(judge(load(0, 19)), undefined);
  assertEquals(judge(load(0, 20)), "critical");
  assertEquals(judge(load(0, 0)), undefined);
  // The bucket from 0.5 to 1 s may be within 0.7 s.
  assertEquals(judge(load(0, 100), { ...TTFT, limit: 0.7 }), undefined);
  assertEquals(judge(load(0, 90, 10), { ...TTFT, limit: 0.7 }), "degraded");
});

Deno.test("evaluateObjectives() names the objective whose budget burns fastest, with its evidence", () => {
  const objectives = [TTFT, { ...TTFT, limit: 1, target: 0.999 }];
  const [miss, ...others] = listMisses(watch([load(80, 10, 10)], { objectives }));
  assertEquals(others, []);
  assertEquals(
    formatFinding(miss),
    "TTFT ≤1 s for 90.0 % at most, target 99.9 % (100 samples)",
  );
});

Deno.test("evaluateObjectives() obeys the settings of the rule", () => {
  const count = (name: string, value: number | "off" | "critical") => {
    const rules = resolveRules([{ rule: "slo", name, value }]);
    return listMisses(watch([load(90, 10)], { objectives: [TTFT], rules })).map(({ level }) =>
      level
    );
  };
  assertEquals(count("threshold", 1), ["degraded"]);
  // Twice what the target allows, and no more.
  assertEquals(count("threshold", 2.1), []);
  assertEquals(count("samples", 101), []);
  assertEquals(count("critical", 0.96), ["critical"]);
  assertEquals(count("level", "critical"), ["critical"]);
  assertEquals(count("level", "off"), []);
});

const LOAD = fc.record({
  model: fc.constantFrom("a/Chat", "b/Code"),
  upTo500ms: fc.nat(30),
  upTo1s: fc.nat(12),
  above: fc.nat(6),
});
const OBJECTIVE: fc.Arbitrary<Objective> = fc.record({
  model: fc.constantFrom(null, "Chat"),
  latency: fc.constant("ttft"),
  limit: fc.constantFrom(0.5, 0.7, 1),
  target: fc.constantFrom(0.5, 0.9, 0.95, 1),
});

Deno.test("evaluateObjectives() fires if any line, or all together, certainly misses an objective with enough samples", () => {
  const loads = fc.array(LOAD, { minLength: 1, maxLength: 4 });
  fc.assert(fc.property(loads, fc.array(OBJECTIVE, { maxLength: 3 }), (fleet, objectives) => {
    const { fleet: { rows, groups, total, verdict } } = watch(fleet, { objectives });
    const lines = [
      ...rows.map(createRowLine),
      ...groups.map((group) => createGroupLine(group, "")),
      createGroupLine(total, "ALL"),
    ];
    const figures = lines.flatMap(({ serviceLevels, alerts }) =>
      serviceLevels.map((one) => ({ ...one, color: chooseAttainmentColor(one, alerts) }))
    );
    const isMissed = figures.some(({ objective: { target }, lastMinute: { ratio, samples } }) =>
      ratio.value !== null && ratio.value.max < target && (samples.value ?? 0) >= 20
    );
    assertEquals(verdict.causes.some(({ signal }) => signal === "slo"), isMissed);
    if (figures.some(({ color }) => color === "alert")) assert(isMissed);
  }));
});
