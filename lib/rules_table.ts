/**
 * The rules by which replicas are judged: what each compares, from where on it
 * speaks up, and whose threshold that is.
 *
 * data. Every threshold stands here once, as a constant; `RULES`
 * puts them into words for the help and the README, and `imbalance`, `slowness`
 * and `health` apply them. Seconds, requests, ratios from 0 to 1.
 *
 * Thresholds marked vllm-htop 0.5.0 are those of the Python program of that
 * name. Most of them were met by chance alone many times an hour, with every
 * replica as good as the other; so each also has to be more than chance
 * (`ALPHA`), and to last (`HOLD`). The simulation that measures both stands in
 * `tests/simulate.ts`, its result in the README.
 *
 * @module
 */

import type { Ratio, Seconds } from "./units.ts";

/** How much higher than its peers' a figure must be (vllm-htop 0.5.0). */
export const SKEW_RATIO = 1.5;

/**
 * How probable a comparison's outcome may at most be where all replicas are
 * alike. A group of 8 is compared some 30,000 times a day in ways that do not
 * overlap, by a handful of rules: a thousand times rarer than one a day is
 * still enough for the worst case that the tests' assumptions miss.
 */
export const ALPHA = 1e-6;

/** How long a verdict must have stood without a break before it counts: two polls at the default interval. */
export const HOLD: Seconds = 4;

/** How long it must have been gone before it is over: half a minute without a relapse. */
export const RELEASE: Seconds = 30;

/** The same for HOT, which is read off gauges and shown as the state of a replica. */
const HOT_RELEASE: Seconds = 10;

/** Watched for less, a replica is in no comparison of the last minute: it may have just joined or started. */
export const MIN_SPAN: Seconds = 30;

/** How far apart KV-cache usages must be, as a difference of ratios (vllm-htop 0.5.0). */
export const KV_SKEW: Ratio = 0.15;

/** How many more requests must run on one replica than on another (vllm-htop 0.5.0). */
export const RUNNING_SKEW = 3;

/** Observations that each side of a comparison of latencies must have. A P95 of fewer is their maximum. */
export const MIN_SAMPLES = 20;

/** Rate of a group from which the last poll's shares say something, in requests per second (vllm-htop 0.5.0). */
export const MIN_REQUESTS_PER_SECOND = 0.5;

/** Requests that a group must have finished for its shares of a minute to say something. */
export const MIN_REQUESTS = 20;

/** Rate of a group from which its token shares say something, in tokens per second (vllm-htop 0.5.0). */
export const MIN_TOKENS_PER_SECOND = 1;

/**
 * Requests differ in length, so that sums over them vary as much as if there
 * were so many times fewer of equal length: 1 plus the squared coefficient of
 * variation. 4 is a log-normal length with a spread of 1.18; KV-cache usage is
 * length times duration, and varies as the product of two.
 */
export const LENGTH_DISPERSION = 4;
export const KV_DISPERSION = 8;

/** KV-cache usage from which a replica is short of it (vllm-htop 0.5.0). */
export const HOT_KV_RATIO: Ratio = 0.85;

/** Waiting requests above which a queue is long (vllm-htop 0.5.0). */
export const HOT_WAITING = 5;

/** How many times the others' latency is hot (vllm-htop 0.5.0). */
export const HOT_LATENCY_RATIO = 2;

/** Conditions that must come together for HOT (vllm-htop 0.5.0). */
export const HOT_CONDITIONS = 2;

/** How long an engine with work may count nothing. */
export const MIN_STALL: Seconds = 15;

/** How long an event makes the verdict DEGRADED after it is over (vllm-htop 0.5.0). */
export const RECENT: Seconds = 60;

/** The rules that compare a replica with the others of its group. */
export const IMBALANCE_RULE_IDS = [
  "slow_prefill",
  "slow_decode",
  "sticky_skew",
  "running_skew",
  "kv_skew",
  "token_share",
  "request_share",
] as const;
export type ImbalanceRuleId = typeof IMBALANCE_RULE_IDS[number];

export type RuleId = ImbalanceRuleId | "hot" | "stalled";

/** One of the conditions of HOT that a replica meets. */
export interface HotCondition {
  readonly signal: "kv_cache" | "waiting" | "preemptions" | "ttft" | "itl";
  /** A ratio from 0 to 1, requests, preemptions, or how many times the others' latency. */
  readonly value: number;
  /** What it is above, in the same unit. */
  readonly limit: number;
}

/** What a rule says of one replica: its evidence, as numbers in the units of the rule's figure. */
export interface Verdict {
  readonly rule: RuleId;
  /** The replica's identity. */
  readonly key: string;
  /** Its figure: seconds of a latency or without progress, requests, conditions, or a ratio from 0 to 1. */
  readonly value: number;
  /**
   * What it is compared with: the median of the others; for running requests and KV cache the lowest;
   * for shares an even one; for HOT and STALLED the limit.
   */
  readonly baseline: number;
  /** value ÷ baseline; `Infinity` where the baseline is 0. */
  readonly ratio: number;
  /** Observations or requests that it rests on; 0 where it rests on gauges. */
  readonly samples: number;
  readonly span: Seconds;
  /** Which figure of a latency; `null` for others. */
  readonly statistic: "mean" | "p95" | null;
  /** How probable it is at most where all are alike; `null` where that is not asked. */
  readonly probability: number | null;
  /** Of HOT; empty for other rules. */
  readonly conditions: readonly HotCondition[];
}

/** One rule, for people. */
interface Rule {
  readonly id: RuleId;
  readonly title: string;
  /** When it speaks up. */
  readonly threshold: string;
  /** Where the threshold is from, and what was added to it. */
  readonly source: string;
  /** Unit of `Verdict.value` and `Verdict.baseline`; a ratio is from 0 to 1. */
  readonly unit: "seconds" | "requests" | "ratio" | "conditions";
  /** What it does to the verdict: `critical`, `degraded`, or nothing but be shown. */
  readonly effect: "critical" | "degraded" | "none";
  /** How long it must have stood before it counts, and have been gone before it is over. */
  readonly hold: Seconds;
  readonly release: Seconds;
}

/** The Python program of the same name. */
const OLD_VLLM_HTOP = "vllm-htop 0.5.0";

/** In thousands with a comma; the runtime's own words for it would take a tenth of the time to the first frame. */
const ALPHA_TEXT = `chance would do it less than once in ${
  String(Math.round(1 / ALPHA)).replace(/\B(?=(?:\d{3})+$)/g, ",")
}`;

function describeLatencyRule(latency: string): string {
  return `mean of ${latency} over 30, 45 or 60 s, or P95 over 60 s by the bounds of its bucket, ` +
    `above ${SKEW_RATIO}× the median of the others, ${MIN_SAMPLES} samples on each side, ` +
    `so consistently from one 5 s to the next that ${ALPHA_TEXT}`;
}

/** All rules, in the order in which they are shown. */
export const RULES: readonly Rule[] = [
  {
    id: "hot",
    title: "HOT",
    threshold: `${HOT_CONDITIONS} or more of: KV cache above ${HOT_KV_RATIO * 100} %, more than ` +
      `${HOT_WAITING} waiting, preemptions in the last minute, TTFT above ${HOT_LATENCY_RATIO}× ` +
      `the others', ITL above ${HOT_LATENCY_RATIO}× the others' (as slow prefill, slow decode)`,
    source:
      `${OLD_VLLM_HTOP}, with preemptions for swapped requests, which vLLM has had none of since V1`,
    unit: "conditions",
    effect: "critical",
    hold: HOLD,
    release: HOT_RELEASE,
  },
  {
    id: "stalled",
    title: "STALLED",
    threshold: "requests run or wait, and no token, finished request or step was counted and " +
      `no KV cache filled for ${MIN_STALL} s`,
    source: "own: gauges of an engine that hangs stay as they are",
    unit: "seconds",
    effect: "critical",
    hold: 0,
    release: 0,
  },
  {
    id: "slow_prefill",
    title: "slow prefill",
    threshold: `${describeLatencyRule("TTFT")}; not where more than ${HOT_WAITING} wait, ` +
      "which explains it",
    source: `${OLD_VLLM_HTOP}: P95 ÷ median of all > ${SKEW_RATIO}, of one poll`,
    unit: "seconds",
    effect: "degraded",
    hold: HOLD,
    release: RELEASE,
  },
  {
    id: "slow_decode",
    title: "slow decode",
    threshold: describeLatencyRule("ITL"),
    source: `${OLD_VLLM_HTOP}, likewise`,
    unit: "seconds",
    effect: "degraded",
    hold: HOLD,
    release: RELEASE,
  },
  {
    id: "sticky_skew",
    title: "sticky",
    threshold: `share of the requests of a minute above ${SKEW_RATIO}× the median share and ` +
      `${SKEW_RATIO}× an even one, ${MIN_REQUESTS} requests or more, and ${ALPHA_TEXT} ` +
      "(binomial test of an even balancer)",
    source: `${OLD_VLLM_HTOP}: 5 requests, and no test`,
    unit: "ratio",
    effect: "degraded",
    hold: HOLD,
    release: RELEASE,
  },
  {
    id: "running_skew",
    title: "running skew",
    threshold: `means of a minute more than ${RUNNING_SKEW} apart, the highest above ` +
      `${SKEW_RATIO}× max(1, median), and ${ALPHA_TEXT}`,
    source: `${OLD_VLLM_HTOP}: the same at one moment, and no test`,
    unit: "requests",
    effect: "degraded",
    hold: HOLD,
    release: RELEASE,
  },
  {
    id: "kv_skew",
    title: "KV skew",
    threshold: `means of a minute more than ${KV_SKEW * 100} percentage points apart, ` +
      `and ${ALPHA_TEXT}`,
    source: `${OLD_VLLM_HTOP}: the same at one moment, and no test`,
    unit: "ratio",
    effect: "degraded",
    hold: HOLD,
    release: RELEASE,
  },
  {
    id: "token_share",
    title: "token share",
    threshold: `share of the output tokens of a minute above ${SKEW_RATIO}× the median share and ` +
      `${SKEW_RATIO}× an even one, ${MIN_TOKENS_PER_SECOND} token/s or more, and ${ALPHA_TEXT}`,
    source: `${OLD_VLLM_HTOP}: of one poll, and no test`,
    unit: "ratio",
    effect: "degraded",
    hold: HOLD,
    release: RELEASE,
  },
  {
    id: "request_share",
    title: "request share now",
    threshold: `share of the requests of the last poll above ${SKEW_RATIO}× the median share and ` +
      `${SKEW_RATIO}× an even one, ${MIN_REQUESTS_PER_SECOND} requests/s or more`,
    source: `${OLD_VLLM_HTOP}; chance does it often: shown, and no alarm`,
    unit: "ratio",
    effect: "none",
    hold: 0,
    release: 0,
  },
];

const RULE_OF: ReadonlyMap<RuleId, Rule> = new Map(RULES.map((rule) => [rule.id, rule]));

/** The rule of that identity. */
export function findRule(id: RuleId): Rule {
  const rule = RULE_OF.get(id);
  if (rule === undefined) throw new RangeError(`There is no rule "${id}"`);
  return rule;
}
