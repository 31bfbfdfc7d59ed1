/**
 * One thing to do, by evidence, as a table. Without its evidence a row gives nothing. Flags are
 * those of the engine's server.
 * @module
 */

import type { Histogram } from "./histogram.ts";
import type { DeathCause } from "./log.ts";
import { type EngineSample, type FLAG_KEYS, type ServerFlags, sumCounts } from "./model.ts";
import {
  AMPLE_KV_RATIO,
  BELOW_PEAK_RATIO,
  type Evidence,
  FLAG_OF_LIMIT,
  type Limit,
  type LimitKind,
  NEAR_PEAK_RATIO,
  SCARCE_KV_RATIO,
} from "./rules_limits.ts";
import { MIN_SPAN, type RuleId } from "./rules_table.ts";
import type { Finding } from "./rules_finding.ts";
import type { ReplicaSample } from "./stats_window.ts";
import type { Ratio, Seconds } from "./units.ts";

/** Accepted share of draft tokens, below which drafts cost more than they give. */
const LOW_ACCEPTANCE_RATIO: Ratio = 0.4;
/** Fewer drafts, or finished requests, show no share. */
const MIN_DRAFTS = 20;
const MIN_FINISHED = 20;
/** Clock as a share of the peers', from which on the GPU is not what is slow. */
const LIKE_PEERS_RATIO: Ratio = 0.9;
/** A maximum length this much above the largest request is worth lowering. */
const LENGTH_EXCESS = 2;
/** CPU of an API server, from which on its one core is what it lacks, over at least this time. */
export const FULL_CORE = 0.9;
const API_SERVER_SPAN: Seconds = 20;
/** Share of requests whose answers are cut, from which on it is worth a note. */
const CUT_RATIO: Ratio = 0.2;
/** `finish_reason` of the OpenAI API for an answer that `max_tokens` cut. */
const CUT_REASON = "length";

/** Types of a byte or less per cached value, among the options that a server exports. */
const SMALL_TYPE = /^(?:fp8|int8|nvfp4|fp4)/;

export interface Advice {
  readonly id: string;
  /** After "→"; the part before the first comma is enough by itself. */
  readonly text: string;
  /** What the text advises to change first; `null` if that is no flag. */
  readonly flag: string | null;
  readonly evidence: Evidence;
}

export interface ApiServerLoad {
  /** CPU seconds per second. */
  readonly cpuCores: number;
  readonly span: Seconds;
}

export interface AdviceFacts {
  readonly limit: Limit;
  readonly flags: ServerFlags;
  readonly replica: Pick<ReplicaSample, "sample" | "lastMinute">;
  /** Of firing alerts. */
  readonly findings: readonly Finding[];
  /** In tokens; `null` if unknown. */
  readonly maxLength: number | null;
  /** The busiest API server of its endpoint; `null` if unknown, or if it also runs the engine. */
  readonly apiServer: ApiServerLoad | null;
  /** Lowest clock of its GPUs as a share of their busy peers'; `null` if unknown. */
  readonly clockRatio: Ratio | null;
}

type FlagKey = typeof FLAG_KEYS[number];

interface AdviceRow {
  readonly id: string;
  /** For the documentation. */
  readonly when: string;
  /** Findings that it answers. */
  readonly rules: readonly RuleId[];
  readonly flag: FlagKey | null;
  /** `null`: not enough evidence. */
  readonly getEvidence: (facts: AdviceFacts) => Evidence | null;
  readonly describe: (flags: Readonly<Record<FlagKey, string>>, evidence: Evidence) => string;
}

/** Rules that more capacity answers. */
const CAPACITY_RULES: readonly RuleId[] = [
  ...["collapse", "overloaded", "hot", "full", "queuing", "refusing"] as const,
];
const SLOW_RULES: readonly RuleId[] = ["slow_prefill", "slow_decode"];

/** For servers that lack a flag. */
export const FLAG_WORDS: Readonly<Record<FlagKey, string>> = {
  kvCacheMemory: "the memory of the KV cache",
  kvCacheType: "a smaller type of the KV cache",
  maxLength: "the longest context",
  concurrentRequests: "the limit of concurrent requests",
  tokenBudget: "the token budget of a step",
  speculativeTokens: "the number of draft tokens",
  apiServers: "the number of API servers",
};

function expectLimit(kind: LimitKind): AdviceRow["getEvidence"] {
  return ({ limit }) => limit.kind === kind ? { spanSeconds: limit.span, ...limit.evidence } : null;
}

function findFinding({ findings }: AdviceFacts, rules: readonly RuleId[]): Finding | undefined {
  return findings.find(({ rule }) => rules.includes(rule));
}

/** Bound of the largest observation; NaN without observations. */
function getLargest(histogram: Histogram | undefined): number {
  if (histogram === undefined) return NaN;
  const { bounds, counts } = histogram;
  const total = counts[counts.length - 1];
  return total > 0 ? bounds[counts.indexOf(total)] : NaN;
}

/** Prompt and output tokens together, at most, by the bounds of buckets; NaN without requests. */
export function getLargestRequest({ histograms }: Pick<EngineSample, "histograms">): number {
  return getLargest(histograms.promptLength) + getLargest(histograms.outputLength);
}

/** Empty if the maximum fits. */
function compareLengths({ replica: { sample }, maxLength }: AdviceFacts): Evidence {
  const largest = getLargestRequest(sample);
  return maxLength !== null && LENGTH_EXCESS * largest <= maxLength
    ? { largestRequestMaxTokens: largest, maxLengthTokens: maxLength }
    : {};
}

/** In order of preference. */
export const ADVICE_ROWS: readonly AdviceRow[] = [
  {
    id: "throttled_gpu",
    when: `one of its GPUs has been throttled by heat or power for ${MIN_SPAN} s or more`,
    rules: [...SLOW_RULES, ...CAPACITY_RULES],
    flag: null,
    getEvidence: expectLimit("gpu"),
    describe: (_, { gpuIndex }) =>
      `cool GPU ${gpuIndex ?? "n"} or check its power, and drain the replica meanwhile`,
  },
  {
    id: "preempting",
    when: "it preempts requests",
    rules: ["preempting"],
    flag: "concurrentRequests",
    getEvidence: (facts) => {
      const finding = findFinding(facts, ["preempting"]);
      if (finding === undefined) return null;
      const { conditions, samples, span } = finding;
      const preemptions = conditions.find(({ signal }) => signal === "preemptions")?.value ?? NaN;
      return { preemptions, requests: samples, spanSeconds: span };
    },
    describe: ({ concurrentRequests, kvCacheMemory }) =>
      `lower ${concurrentRequests}, or raise ${kvCacheMemory}`,
  },
  {
    id: "kv_cache",
    when: `requests have waited for ${MIN_SPAN} s or more, and the KV cache is at ` +
      `${SCARCE_KV_RATIO * 100} % or more in half of the samples`,
    rules: CAPACITY_RULES,
    flag: FLAG_OF_LIMIT.kv_cache ?? null,
    getEvidence: (facts) => {
      const evidence = expectLimit("kv_cache")(facts);
      const { configuration } = facts.replica.sample;
      const isSmall = [...configuration.values()].some((value) => SMALL_TYPE.test(value));
      return evidence === null
        ? null
        : { ...evidence, ...compareLengths(facts), ...(isSmall ? { cachedValueMaxBytes: 1 } : {}) };
    },
    describe: (flags, evidence) => {
      const { largestRequestMaxTokens: largest, maxLengthTokens: longest } = evidence;
      const seen = `(largest request seen: at most ${largest} of ${longest} tokens)`;
      return [
        `raise ${flags.kvCacheMemory}`,
        ...(evidence.cachedValueMaxBytes === undefined ? [`set ${flags.kvCacheType}`] : []),
        ...(largest === undefined ? [] : [`lower ${flags.maxLength} ${seen}`]),
        "or add a replica",
      ].join(", ");
    },
  },
  {
    id: "concurrency",
    when: `requests have waited for ${MIN_SPAN} s or more, the KV cache is below ` +
      `${AMPLE_KV_RATIO * 100} %, and as many run as ever in half of the samples`,
    rules: CAPACITY_RULES,
    flag: FLAG_OF_LIMIT.concurrency ?? null,
    getEvidence: expectLimit("concurrency"),
    describe: ({ concurrentRequests }) => `raise ${concurrentRequests}`,
  },
  {
    id: "prefill",
    when: `requests have waited for ${MIN_SPAN} s or more, the KV cache is below ` +
      `${AMPLE_KV_RATIO * 100} %, fewer than ${BELOW_PEAK_RATIO * 100} % of the peak run, and ` +
      `prompt tokens come at ${NEAR_PEAK_RATIO * 100} % or more of the best minute`,
    rules: CAPACITY_RULES,
    flag: FLAG_OF_LIMIT.prefill ?? null,
    getEvidence: expectLimit("prefill"),
    describe: ({ tokenBudget }) => `raise ${tokenBudget}, use the prefix cache, or add a replica`,
  },
  {
    id: "api_server",
    when: `an API server on this machine has used ${FULL_CORE * 100} % or more of a core for ` +
      `${API_SERVER_SPAN} s or more`,
    rules: [...CAPACITY_RULES, ...SLOW_RULES],
    flag: "apiServers",
    getEvidence: ({ apiServer }) =>
      apiServer !== null && apiServer.cpuCores >= FULL_CORE && apiServer.span >= API_SERVER_SPAN
        ? { apiServerCpuCores: apiServer.cpuCores, spanSeconds: apiServer.span }
        : null,
    describe: ({ apiServers }, { apiServerCpuCores: cores }) => {
      const used = cores === undefined ? "a whole core" : `${Math.round(cores * 100)} % of a core`;
      return `raise ${apiServers} (its API server uses ${used}), or add a replica`;
    },
  },
  {
    id: "alike_gpu",
    when: `it is slow without preemptions, and its GPUs run at ${LIKE_PEERS_RATIO * 100} % or ` +
      "more of the clock of their busy peers",
    rules: SLOW_RULES,
    flag: null,
    getEvidence: (facts) => {
      const { clockRatio, replica: { lastMinute } } = facts;
      const preemptions = lastMinute.value?.counters.preemptions.value ?? 0;
      const isSlow = findFinding(facts, SLOW_RULES) !== undefined && preemptions === 0;
      return isSlow && clockRatio !== null && clockRatio >= LIKE_PEERS_RATIO
        ? { gpuClockRatio: clockRatio }
        : null;
    },
    describe: () => "check other processes on its GPU, PCIe width, NUMA",
  },
  {
    id: "sticky",
    when: "it takes too many requests",
    rules: ["sticky_skew"],
    flag: null,
    getEvidence: (facts) => {
      const finding = findFinding(facts, ["sticky_skew"]);
      if (finding === undefined) return null;
      const { value, baseline, samples } = finding;
      return { requestShareRatio: value, evenShareRatio: baseline, requests: samples };
    },
    describe: () => "check the balancer: session affinity, or prefix routing without a load term",
  },
  {
    id: "drafts",
    when: `less than ${LOW_ACCEPTANCE_RATIO * 100} % of the last minute's draft tokens were ` +
      `accepted, of at least ${MIN_DRAFTS} drafts`,
    rules: ["slow_decode"],
    flag: "speculativeTokens",
    getEvidence: ({ replica: { lastMinute } }) => {
      const counters = lastMinute.value?.counters;
      const drafts = counters?.drafts.value ?? 0;
      const tokens = counters?.draftTokens.value ?? NaN;
      const draftAcceptanceRatio = (counters?.acceptedTokens.value ?? NaN) / tokens;
      return drafts >= MIN_DRAFTS && draftAcceptanceRatio < LOW_ACCEPTANCE_RATIO
        ? { draftAcceptanceRatio, drafts }
        : null;
    },
    describe: ({ speculativeTokens }) => `lower ${speculativeTokens}, or use another draft model`,
  },
];

/** Returns the advice of a row in the words of a server. */
export function describeAdvice(row: AdviceRow, flags: ServerFlags, evidence: Evidence): Advice {
  const flag = row.flag === null ? null : flags[row.flag] ?? null;
  const text = row.describe({ ...FLAG_WORDS, ...flags }, evidence);
  return { id: row.id, text, flag, evidence };
}

type Describe = (flags: Readonly<Record<FlagKey, string>>) => string;

/** What to change first, and what to do, about what a server's log says it died of. */
const DEATH_ADVICE: Readonly<
  Partial<Record<DeathCause, readonly [flag: FlagKey | null, describe: Describe]>>
> = {
  out_of_memory: [
    "concurrentRequests",
    ({ concurrentRequests, kvCacheMemory }) =>
      `lower ${concurrentRequests}, lower ${kvCacheMemory}, or use more GPUs`,
  ],
  memory_taken: [
    "kvCacheMemory",
    ({ kvCacheMemory }) => `end what else uses the GPU, or lower ${kvCacheMemory}`,
  ],
  no_memory_for_kv_cache: [
    "kvCacheMemory",
    ({ kvCacheMemory, maxLength }) => `raise ${kvCacheMemory}, or lower ${maxLength}`,
  ],
  model_not_found: [null, () => "check the name of the model, and the token if it is gated"],
  port_taken: [null, () => "choose another port, or end the process that has it"],
};

/** Returns `null` if only the line itself can help. */
export function describeDeathAdvice(cause: DeathCause, flags: ServerFlags): Advice | null {
  const known = DEATH_ADVICE[cause];
  if (known === undefined) return null;
  const [key, describe] = known;
  const flag = key === null ? null : flags[key] ?? null;
  return { id: cause, text: describe({ ...FLAG_WORDS, ...flags }), flag, evidence: {} };
}

/** Returns all that the evidence supports, in order of preference. */
export function listAdvice(facts: AdviceFacts): readonly Advice[] {
  return ADVICE_ROWS.flatMap((row) => {
    const evidence = row.getEvidence(facts);
    return evidence === null ? [] : [describeAdvice(row, facts.flags, evidence)];
  });
}

/** Returns the first advice that answers a finding of this rule. */
export function pickAdvice(advice: readonly Advice[], rule: string): Advice | null {
  const ids = new Set(
    ADVICE_ROWS.filter(({ rules }) => rules.some((one) => one === rule)).map(({ id }) => id),
  );
  return advice.find(({ id }) => ids.has(id)) ?? null;
}

/** Share of the last minute's requests whose answers `max_tokens` cut; `null` below the limit. */
export function findCutShare({ lastMinute }: Pick<ReplicaSample, "lastMinute">): Ratio | null {
  const finished = lastMinute.value?.labelled.finishedByReason;
  const count = sumCounts(finished);
  const share = (finished?.get(CUT_REASON) ?? 0) / count;
  return count >= MIN_FINISHED && share > CUT_RATIO ? share : null;
}
