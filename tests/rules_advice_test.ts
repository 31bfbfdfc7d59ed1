import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { DIALECTS } from "../lib/dialect.ts";
import { SGLANG } from "../lib/dialect_sglang.ts";
import { VLLM } from "../lib/dialect_vllm.ts";
import { type Delta, FLAG_KEYS, type ServerFlags } from "../lib/model.ts";
import { present } from "../lib/reading.ts";
import {
  ADVICE_ROWS,
  type AdviceFacts,
  describeAdvice,
  findCutShare,
  listAdvice,
  pickAdvice,
} from "../lib/rules_advice.ts";
import { type Limit, LIMIT_KINDS, type LimitKind, NO_LIMIT } from "../lib/rules_limits.ts";
import { createFinding } from "../lib/rules_finding.ts";
import { DEFAULT_RULES, type RuleId } from "../lib/rules_table.ts";
import { appendSample, computeReplicas, startHistory } from "../lib/stats_window.ts";
import { readPoint, type Series, writeEngine, writeHistogram } from "./fixtures/expositions.ts";

const USUAL: readonly Series[] = [["num_requests_running", 16], ["num_requests_waiting", 31]];

/** The replica after these two scrapes. */
function watch(before: readonly Series[], after: readonly Series[]): AdviceFacts["replica"] {
  let history = startHistory();
  [before, after].forEach((series, i) => {
    history = appendSample(history, readPoint(30 * i, writeEngine([...USUAL, ...series])));
  });
  return computeReplicas(history)[0];
}

const REPLICA = watch([], []);

function limit(kind: LimitKind, evidence: Limit["evidence"] = {}): Limit {
  return { kind, span: 60, evidence: { running: 16, waiting: 31, ...evidence } };
}

function find(rule: RuleId): AdviceFacts["findings"] {
  const finding = { key: "a", value: 0.6, baseline: 0.25, samples: 90, span: 60 };
  return [createFinding(DEFAULT_RULES[rule], finding)];
}

function preempt(): AdviceFacts["findings"] {
  const conditions = [{ signal: "preemptions", value: 12, limit: 0 }] as const;
  return find("preempting").map((finding) => ({ ...finding, conditions }));
}

const NOTHING: AdviceFacts = {
  ...{ limit: NO_LIMIT, flags: VLLM.flags, replica: REPLICA, findings: [] },
  ...{ maxLength: null, apiServer: null, clockRatio: null },
};

function advise(more: Partial<AdviceFacts>): readonly string[] {
  return listAdvice({ ...NOTHING, ...more }).map(({ text }) => text);
}

function speculate(drafts: number, accepted: number): AdviceFacts["replica"] {
  const write = (factor: number): readonly Series[] => [
    ["spec_decode_num_drafts_total", 5 + factor * drafts],
    ["spec_decode_num_draft_tokens_total", 15 + factor * 3 * drafts],
    ["spec_decode_num_accepted_tokens_total", 15 + factor * accepted],
  ];
  return watch(write(0), write(1));
}

/** Each row: what is its evidence, what is a little less, and what it then advises. */
const JUDGED: Readonly<
  Record<
    string,
    { enough: Partial<AdviceFacts>; less: Partial<AdviceFacts>; text: string; flag: string | null }
  >
> = {
  throttled_gpu: {
    enough: { limit: limit("gpu", { gpuIndex: 3 }) },
    less: { limit: limit("unknown", { gpuIndex: 3 }) },
    text: "cool GPU 3 or check its power, and drain the replica meanwhile",
    flag: null,
  },
  preempting: {
    enough: { findings: preempt() },
    less: { findings: find("full") },
    text: "lower --max-num-seqs, or raise --gpu-memory-utilization",
    flag: "--max-num-seqs",
  },
  kv_cache: {
    enough: { limit: limit("kv_cache") },
    less: { limit: limit("unknown") },
    text: "raise --gpu-memory-utilization, set --kv-cache-dtype fp8, or add a replica",
    flag: "--gpu-memory-utilization",
  },
  concurrency: {
    enough: { limit: limit("concurrency") },
    less: { limit: limit("demand") },
    text: "raise --max-num-seqs",
    flag: "--max-num-seqs",
  },
  prefill: {
    enough: { limit: limit("prefill") },
    less: { limit: limit("idle") },
    text: "raise --max-num-batched-tokens, use the prefix cache, or add a replica",
    flag: "--max-num-batched-tokens",
  },
  api_server: {
    enough: { apiServer: { cpuCores: 0.9, span: 20 } },
    less: { apiServer: { cpuCores: 0.99, span: 19 } },
    text: "raise --api-server-count (its API server uses 90 % of a core), or add a replica",
    flag: "--api-server-count",
  },
  alike_gpu: {
    enough: { findings: find("slow_decode"), clockRatio: 0.9 },
    less: { findings: find("slow_decode"), clockRatio: 0.89 },
    text: "check other processes on its GPU, PCIe width, NUMA",
    flag: null,
  },
  sticky: {
    enough: { findings: find("sticky_skew") },
    less: { findings: find("running_skew"), clockRatio: 1 },
    text: "check the balancer: session affinity, or prefix routing without a load term",
    flag: null,
  },
  drafts: {
    enough: { replica: speculate(20, 23) },
    less: { replica: speculate(20, 24) },
    text: "lower num_speculative_tokens, or use another draft model",
    flag: "num_speculative_tokens",
  },
};

Deno.test("ADVICE_ROWS are all judged", () => {
  assertEquals(ADVICE_ROWS.map(({ id }) => id), Object.keys(JUDGED));
});

for (const [id, { enough, less, text, flag }] of Object.entries(JUDGED)) {
  Deno.test(`listAdvice() gives ${id} with its evidence, and not with less`, () => {
    const [advice, ...others] = listAdvice({ ...NOTHING, ...enough });
    assertEquals([advice.id, advice.text, advice.flag, others], [id, text, flag, []]);
    assert(Object.keys(advice.evidence).length > 0);
    assertEquals(advise(less), []);
  });
}

Deno.test("listAdvice() needs some drafts, and no slow replica for the clocks of its GPUs", () => {
  assertEquals(advise({ replica: speculate(19, 0) }), []);
  assertEquals(advise({ clockRatio: 1 }), []);
  assertEquals(advise({ findings: find("slow_prefill") }), []);
});

Deno.test("listAdvice() names the largest request where the longest context is twice as long", () => {
  const sizes = (prompt: number[], output: number[]) =>
    watch([], [
      ...writeHistogram("request_prompt_tokens", [200, 500], { counts: prompt, sum: 9 }),
      ...writeHistogram("request_generation_tokens", [50, 100], { counts: output, sum: 9 }),
    ]);
  const judge = (replica: AdviceFacts["replica"], maxLength: number | null) =>
    advise({ limit: limit("kv_cache"), replica, maxLength })[0];
  const lower = "lower --max-model-len (largest request seen: at most 600 of 2048 tokens)";
  const seen = sizes([3, 9, 9], [0, 9, 9]);
  assertEquals(
    judge(seen, 2048),
    `raise --gpu-memory-utilization, set --kv-cache-dtype fp8, ${lower}, or add a replica`,
  );
  for (
    const [replica, maxLength] of [
      ...[[seen, 1199], [seen, null], [sizes([0, 0, 0], [0, 0, 0]), 2048]] as const,
      // Beyond the last bound, it may be of any size.
      [sizes([3, 9, 10], [0, 9, 9]), 2048] as const,
    ]
  ) assert(!judge(replica, maxLength).includes("largest"), String(maxLength));
});

Deno.test("listAdvice() advises no smaller type for a KV cache that has one", () => {
  const judge = (type: string) =>
    advise({
      limit: limit("kv_cache"),
      replica: watch([], [[`cache_config_info{cache_dtype="${type}",block_size="16"}`, 1]]),
    })[0];
  assertEquals(judge("fp8_e4m3"), "raise --gpu-memory-utilization, or add a replica");
  assert(judge("auto").includes("--kv-cache-dtype fp8"));
});

Deno.test("listAdvice() speaks of the flags of the server, and in words where it has none", () => {
  const say = (flags: ServerFlags) => advise({ limit: limit("concurrency"), flags });
  assertEquals(say(SGLANG.flags), ["raise --max-running-requests"]);
  assertEquals(say({}), ["raise the limit of concurrent requests"]);
  for (const { flags } of [VLLM, SGLANG]) assertEquals(Object.keys(flags), [...FLAG_KEYS]);
  for (const row of ADVICE_ROWS) {
    const { text } = describeAdvice(row, SGLANG.flags, {});
    for (const flag of Object.values(VLLM.flags)) {
      assert(!text.split(/[ ,]+/).includes(flag), `${text} has ${flag}`);
    }
  }
});

Deno.test("each kind of server is advised in its own words", () => {
  // More at once, more KV cache, smaller KV cache, prefill. Source: the options of each server.
  const expected: Readonly<Record<string, readonly (string | undefined)[]>> = {
    "vLLM": [
      "--max-num-seqs",
      "--gpu-memory-utilization",
      "--kv-cache-dtype fp8",
      "--max-num-batched-tokens",
    ],
    "SGLang": [
      "--max-running-requests",
      "--mem-fraction-static",
      "--kv-cache-dtype fp8_e4m3",
      "--chunked-prefill-size",
    ],
    "llama.cpp": ["-np", "-c", "-ctk q8_0 -ctv q8_0", "-b"],
    "Ollama": ["OLLAMA_NUM_PARALLEL", "num_ctx", "OLLAMA_KV_CACHE_TYPE=q8_0", undefined],
    "TGI": [
      "--max-batch-total-tokens",
      "--max-batch-total-tokens",
      "--kv-cache-dtype fp8_e4m3fn",
      "--max-batch-prefill-tokens",
    ],
    "trtllm-serve": [
      "--max_batch_size",
      "--kv_cache_free_gpu_memory_fraction",
      "kv_cache_config.dtype: fp8",
      "--max_num_tokens",
    ],
    "LMDeploy": [
      "--max-batch-size",
      "--cache-max-entry-count",
      "--quant-policy 8",
      "--max-prefill-token-num",
    ],
  };
  const known = DIALECTS.filter(({ name }) => name in expected).map((
    { name, flags: { concurrentRequests, kvCacheMemory, kvCacheType, tokenBudget } },
  ) => [name, [concurrentRequests, kvCacheMemory, kvCacheType, tokenBudget]]);
  assertEquals(Object.fromEntries(known), expected);
});

Deno.test("pickAdvice() answers a finding with what its rule can mean, the best first", () => {
  const both = listAdvice({
    ...NOTHING,
    limit: limit("gpu", { gpuIndex: 1 }),
    findings: [...find("slow_decode"), ...find("sticky_skew")],
    clockRatio: 1,
  });
  assertEquals(both.map(({ id }) => id), ["throttled_gpu", "alike_gpu", "sticky"]);
  const pick = (rule: string) => pickAdvice(both, rule)?.id ?? null;
  assertEquals(["hot", "slow_decode", "sticky_skew", "down", "kv_skew"].map(pick), [
    ...["throttled_gpu", "throttled_gpu", "sticky"],
    ...[null, null],
  ]);
});

Deno.test("pickAdvice() gives nothing without evidence, whatever is wrong", () => {
  const facts = fc.record({
    kind: fc.constantFrom(...LIMIT_KINDS),
    rules: fc.subarray<RuleId>(["hot", "slow_prefill", "slow_decode", "sticky_skew", "kv_skew"]),
    clockRatio: fc.constantFrom(null, 0.5, 0.9, 1),
    accepted: fc.constantFrom(0, 23, 24, 60),
  });
  fc.assert(fc.property(facts, ({ kind, rules, clockRatio, accepted }) => {
    const advice = listAdvice({
      ...{ ...NOTHING, limit: limit(kind), findings: rules.flatMap(find), clockRatio },
      replica: speculate(20, accepted),
    });
    for (const { evidence, text } of advice) {
      const values = Object.values(evidence);
      assert(values.length > 0 && values.every(Number.isFinite), text);
    }
    const isLimited = ["gpu", "kv_cache", "concurrency", "prefill"].includes(kind);
    assertEquals(pickAdvice(advice, "hot") !== null, isLimited);
    assertEquals(pickAdvice(advice, "sticky_skew") !== null, rules.includes("sticky_skew"));
    assertEquals(pickAdvice(advice, "kv_skew"), null);
  }));
});

Deno.test("findCutShare() is the share of answers cut, above a fifth of enough requests", () => {
  const finish = (length: number, stop: number) => {
    const { lastMinute } = watch([], []);
    const value: Delta = {
      ...(lastMinute.value as Delta),
      labelled: { finishedByReason: new Map([["length", length], ["stop", stop]]) },
    };
    return findCutShare({ lastMinute: present(value) });
  };
  assertEquals([finish(5, 15), finish(4, 16), finish(19, 0), finish(20, 0), finish(0, 0)], [
    ...[0.25, null, null, 1, null],
  ]);
  assertEquals(findCutShare(REPLICA), null);
});
