import { assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Check, evaluateImbalance, formGroups, type Member } from "../lib/rules_imbalance.ts";
import { computeMediansOfOthers } from "../lib/rules_latency.ts";
import { DEFAULT_RULES, IMBALANCE_RULE_IDS, type ImbalanceRuleId } from "../lib/rules_table.ts";
import { computeBinomialTail, computeMedian } from "../lib/stats_significance.ts";
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

Deno.test("formGroups() compares no kinds of servers, nor a replica with what all count together", () => {
  const vllm = createMember("vllm", [writeEngine(IDLE, { model: "m" })]);
  const sglang = createMember("sglang", ['sglang:num_running_reqs{model_name="m"} 0']);
  const rank = createMember("rank", ['sglang:num_running_reqs{model_name="m",dp_rank="0"} 0']);
  const { sample } = sglang.replica;
  const shared = {
    ...sglang,
    replica: { ...sglang.replica, sample: { ...sample, isShared: true } },
  };
  const groups = formGroups([vllm, sglang, rank, { ...shared, key: "shared" } as Member]);
  assertEquals(groups.map((group) => group.map(({ key }) => key)), [
    ["vllm"],
    ["sglang", "rank"],
    ["shared"],
  ]);
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
      evaluateImbalance(members, DEFAULT_RULES).checks.map((
        { rule, compared },
      ) => [rule, compared]),
    );
  const whole = createMember("a", steady);
  const second = createMember("b", steady);
  const joined = createMember("c", steady.slice(4));
  const { checks } = evaluateImbalance([whole, second], DEFAULT_RULES);
  assertEquals(checks.map(({ rule }) => rule), [...IMBALANCE_RULE_IDS]);
  assertEquals(count([whole, second, joined]), {
    ...{ slow_prefill: 0, slow_decode: 0, sticky_skew: 2, running_skew: 2, kv_skew: 2 },
    ...{ token_share: 2, request_share: 3 },
  });
  // A replica without gauges is in no comparison of gauges.
  const blind = createMember("d", steady.map((text) => text.replace(/^vllm:(num|kv).*\n/gm, "")));
  assertEquals(count([whole, blind]).running_skew, 1);
  assertEquals(count([whole, blind]).sticky_skew, 2);
  assertEquals(evaluateImbalance([], DEFAULT_RULES).checks.map(({ compared }) => compared), [
    0,
    0,
    0,
    0,
    0,
    0,
    0,
  ]);
});

/** A minute of a replica, scraped every 10 s: its gauges, and its counters per second. */
function createSteady(
  key: string,
  options: {
    readonly running?: number;
    readonly kv?: number;
    readonly waiting?: number;
    readonly tokensPerSecond?: number;
    readonly requestsPerSecond?: number;
    readonly seconds?: number;
    /** Of ten requests each second, in seconds. */
    readonly ttft?: number;
  } = {},
): Member {
  const { running = 2, kv = 0.2, waiting = 0, seconds = 60, ttft } = options;
  const { tokensPerSecond = 100, requestsPerSecond = 1 } = options;
  const texts = Array.from({ length: seconds / 10 + 1 }, (_, i) => {
    const count = 100 * i;
    return writeEngine([
      ["num_requests_running", running],
      ["num_requests_waiting", waiting],
      ["kv_cache_usage_perc", kv],
      ["generation_tokens_total", 10 * i * tokensPerSecond],
      ['request_success_total{finished_reason="stop"}', 10 * i * requestsPerSecond],
      ...(ttft === undefined ? [] : writeHistogram("time_to_first_token_seconds", [0.001, 1000], {
        counts: [0, count, count],
        sum: count * ttft,
      })),
    ]);
  });
  return createMember(key, texts);
}

function findCheck(members: readonly Member[], rule: ImbalanceRuleId): Check {
  const check = evaluateImbalance(members, DEFAULT_RULES).checks.find((one) => one.rule === rule);
  if (check === undefined) throw new Error(`No check of "${rule}"`);
  return check;
}

Deno.test("evaluateImbalance() finds a large share of requests, with its p-value", () => {
  const members = [3, 1, 1].map((requestsPerSecond, i) =>
    createSteady(`${i}`, { requestsPerSecond })
  );
  const { findings } = findCheck(members, "sticky_skew");
  assertEquals(findings.map(({ key, samples, span }) => [key, samples, span]), [["0", 300, 60]]);
  const [{ value, baseline, ratio, probability }] = findings;
  assertAlmostEquals(value, 0.6);
  assertAlmostEquals(baseline, 1 / 3);
  assertAlmostEquals(ratio, 1.8);
  const expected = computeBinomialTail(180, { trials: 300, probability: 1 / 3 });
  assertAlmostEquals((probability ?? NaN) / expected, 1, 1e-9);
  // The last poll, without a test of significance.
  assertEquals(
    findCheck(members, "request_share").findings.map((
      { key, samples, span, probability },
    ) => [key, samples, span, probability]),
    [["0", 50, 10, null]],
  );
});

Deno.test("evaluateImbalance() finds no share among few requests, or one that chance explains", () => {
  const find = (...rates: readonly number[]) =>
    findCheck(
      rates.map((requestsPerSecond, i) => createSteady(`${i}`, { requestsPerSecond })),
      "sticky_skew",
    ).findings.map(({ key }) => key);
  assertEquals(find(2, 0.1, 0.1), ["0"]);
  assertEquals(find(1, 1, 1), []);
  assertEquals(find(0, 0), []);
  // 48 of 60: p = 2e-6, above the significance level.
  assertEquals(find(0.8, 0.2), []);
  assertEquals(find(0.9, 0.1), ["0"]);
});

Deno.test("evaluateImbalance() compares replicas from half a minute of watching on", () => {
  const compare = (seconds: number) =>
    findCheck([createSteady("a"), createSteady("b", { seconds })], "sticky_skew").compared;
  assertEquals([compare(20), compare(30), compare(40)], [1, 2, 2]);
});

Deno.test("evaluateImbalance() compares polls of less than a second", () => {
  const poll = (key: string, requests: number): Member => {
    const history = [0, 1].reduce<EndpointHistory>((known, i) => {
      const text = writeEngine([
        ["num_requests_running", 1],
        ['request_success_total{finished_reason="stop"}', i * requests],
      ]);
      return appendSample(known, readPoint(0.5 * i, text));
    }, startHistory());
    return { key, replica: computeReplicas(history)[0], maxModelLength: null };
  };
  const { findings } = findCheck([poll("a", 9), poll("b", 1), poll("c", 1)], "request_share");
  assertEquals(findings.map(({ key, samples, span }) => [key, samples, span]), [["a", 11, 0.5]]);
});

Deno.test("evaluateImbalance() finds a skew of running requests, KV cache and tokens, with p-values", () => {
  const busy = { requestsPerSecond: 10, running: 40, kv: 0.6, tokensPerSecond: 400 };
  const calm = { requestsPerSecond: 10, running: 4, kv: 0.05, tokensPerSecond: 40 };
  const members = [createSteady("a", busy), createSteady("b", calm), createSteady("c", calm)];
  const requests = 3 * 600 + 48;
  /** Requests of different lengths count as a fraction of their number. */
  const expect = (share: number, dispersion: number): number => {
    const trials = Math.floor(requests / dispersion);
    return computeBinomialTail(Math.floor(share * trials + 1e-9), { trials, probability: 1 / 3 });
  };
  const [running] = findCheck(members, "running_skew").findings;
  assertEquals([running.key, running.value, running.baseline, running.ratio], ["a", 40, 4, 10]);
  assertEquals([running.samples, running.span], [requests, 60]);
  assertAlmostEquals((running.probability ?? NaN) / expect(40 / 48, 4), 1, 1e-9);
  const [kv] = findCheck(members, "kv_skew").findings;
  assertEquals([kv.key, kv.value, kv.baseline], ["a", 0.6, 0.05]);
  assertAlmostEquals((kv.probability ?? NaN) / expect(0.6 / 0.7, 8), 1, 1e-9);
  const [tokens] = findCheck(members, "token_share").findings;
  assertEquals(tokens.key, "a");
  assertAlmostEquals(tokens.value, 400 / 480);
  assertAlmostEquals((tokens.probability ?? NaN) / expect(400 / 480, 4), 1, 1e-9);
});

Deno.test("evaluateImbalance() finds no skew of running requests among a few", () => {
  const find = (highest: number, lowest: number) =>
    findCheck(
      [highest, lowest, lowest].map((running, i) =>
        createSteady(`${i}`, { running, requestsPerSecond: 30 })
      ),
      "running_skew",
    ).findings.length;
  assertEquals([find(4, 0), find(3, 0)], [1, 0]);
  assertEquals([find(40, 26), find(40, 27)], [1, 0]);
});

Deno.test("evaluateImbalance() finds no skew of KV-cache usage within 15 points", () => {
  const find = (highest: number, lowest: number) =>
    findCheck(
      [highest, lowest, lowest].map((kv, i) =>
        createSteady(`${i}`, { kv, requestsPerSecond: 100 })
      ),
      "kv_skew",
    ).findings.map(({ key }) => key);
  assertEquals([find(0.6, 0.44), find(0.6, 0.46)], [["0"], []]);
});

Deno.test("evaluateImbalance() blames only the slow replica, and returns the ratio of each", () => {
  const slow = { ttft: 10, running: 40 };
  const calm = { ttft: 0.1, requestsPerSecond: 1 };
  // The others get what a balancer keeps from the slow one.
  const group = [
    createSteady("a", { ...calm, requestsPerSecond: 10 }),
    createSteady("b", slow),
    createSteady("c", calm),
  ];
  const { checks, latencyRatios } = evaluateImbalance(group, DEFAULT_RULES);
  assertEquals(
    checks.flatMap(({ findings }) => findings.map(({ rule, key }) => `${rule} ${key}`)),
    ["slow_prefill b", "running_skew b"],
  );
  assertEquals([...latencyRatios.keys()], ["a", "b", "c"]);
  assertEquals(latencyRatios.get("a"), { ttft: 1, itl: 1 });
  assertEquals(latencyRatios.get("c"), { ttft: 1, itl: 1 });
  assertAlmostEquals(latencyRatios.get("b")?.ttft ?? NaN, 100, 1e-6);
  assertEquals(latencyRatios.get("b")?.itl, 1);
});

Deno.test("evaluateImbalance() blames no replica for the latency of a long queue", () => {
  const count = (waiting: number) => {
    const slow = createSteady("a", { ttft: 10, waiting });
    const others = ["b", "c"].map((key) => createSteady(key, { ttft: 0.1 }));
    return findCheck([slow, ...others], "slow_prefill").findings.length;
  };
  assertEquals([
    count(DEFAULT_RULES.slow_prefill.waiting),
    count(DEFAULT_RULES.slow_prefill.waiting + 1),
  ], [1, 0]);
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
