import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { evaluateImbalance, formGroups, type Member } from "../lib/rules_imbalance.ts";
import { computeMediansOfOthers } from "../lib/rules_latency.ts";
import { IMBALANCE_RULE_IDS } from "../lib/rules_table.ts";
import { computeMedian } from "../lib/stats_significance.ts";
import {
  appendSample,
  computeReplicas,
  type EndpointHistory,
  startHistory,
} from "../lib/stats_window.ts";
import { readPoint, type Series, writeEngine, writeHistogram } from "./fixtures/expositions.ts";

/** A member with these scrapes, 10 s apart. */
function createMember(key: string, texts: readonly string[], maxModelLength: number | null = null) {
  const history = texts.reduce<EndpointHistory>(
    (known, text, i) => appendSample(known, readPoint(10 * i, text)),
    startHistory(),
  );
  return { key, replica: computeReplicas(history)[0], maxModelLength } satisfies Member;
}

const IDLE: readonly Series[] = [["num_requests_running", 0]];

function writeLatency(bounds: readonly number[]): readonly Series[] {
  return writeHistogram("time_to_first_token_seconds", bounds, {
    counts: [...bounds.map(() => 1), 1],
    sum: 1,
  });
}

Deno.test("formGroups() groups by model, context length and bucket bounds", () => {
  const member = (
    key: string,
    model: string,
    options: { readonly more?: readonly Series[]; readonly length?: number } = {},
  ) => {
    const { more = [], length = null } = options;
    return createMember(key, [writeEngine([...IDLE, ...more], { model })], length);
  };
  const groups = formGroups([
    member("a", "m"),
    member("b", "other"),
    member("c", "m"),
    member("d", "m", { length: 8192 }),
    member("e", "m", { more: writeLatency([1, 2]) }),
    member("f", "m", { more: writeLatency([1, 2, 3]) }),
    member("g", "m", { length: 8192 }),
  ]);
  // A replica without the histogram can still be compared.
  assertEquals(groups.map((group) => group.map(({ key }) => key)), [
    ["a", "c", "e", "f"],
    ["b"],
    ["d", "g"],
  ]);
  const bounded = formGroups([
    member("e", "m", { more: writeLatency([1, 2]) }),
    member("f", "m", { more: writeLatency([1, 2, 3]) }),
  ]);
  assertEquals(bounded.length, 2);
});

Deno.test("evaluateImbalance() reports how many replicas it compared", () => {
  const steady = Array.from({ length: 7 }, (_, i) =>
    writeEngine([
      ["num_requests_running", 2],
      ["kv_cache_usage_perc", 0.2],
      ["generation_tokens_total", 100 * i],
      ['request_success_total{finished_reason="stop"}', 10 * i],
    ]));
  const count = (members: readonly Member[]) =>
    Object.fromEntries(
      evaluateImbalance(members).checks.map(({ rule, compared }) => [rule, compared]),
    );
  const whole = createMember("a", steady);
  const second = createMember("b", steady);
  const joined = createMember("c", steady.slice(4));
  const { checks } = evaluateImbalance([whole, second]);
  assertEquals(checks.map(({ rule }) => rule), [...IMBALANCE_RULE_IDS]);
  assertEquals(count([whole, second, joined]), {
    ...{ slow_prefill: 0, slow_decode: 0, sticky_skew: 2, running_skew: 2, kv_skew: 2 },
    ...{ token_share: 2, request_share: 3 },
  });
  // A replica without gauges is in no comparison of gauges.
  const blind = createMember("d", steady.map((text) => text.replace(/^vllm:(num|kv).*\n/gm, "")));
  assertEquals(count([whole, blind]).running_skew, 1);
  assertEquals(count([whole, blind]).sticky_skew, 2);
  assertEquals(evaluateImbalance([]).checks.map(({ compared }) => compared), [0, 0, 0, 0, 0, 0, 0]);
});

Deno.test("computeMediansOfOthers() excludes the own value", () => {
  assertEquals(computeMediansOfOthers([5]), [NaN]);
  assertEquals(computeMediansOfOthers([5, 9]), [9, 5]);
  assertEquals(computeMediansOfOthers([1, 2, 30]), [16, 15.5, 1.5]);
  assertEquals(computeMediansOfOthers([1, NaN, 3]), [3, 2, 1]);
  fc.assert(fc.property(
    fc.array(fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constant(NaN)), { maxLength: 9 }),
    (values) => {
      const expected = values.map((_, i) => computeMedian(values.filter((_, j) => j !== i)));
      assertEquals(computeMediansOfOthers(values), expected);
    },
  ));
});
