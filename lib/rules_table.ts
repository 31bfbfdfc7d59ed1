/**
 * Rules and thresholds. Most of those of vllm-htop 0.5.0 (the Python program) are met by chance
 * many times an hour among equal replicas, so a finding must also be significant (`ALPHA`) and
 * persist (`ALERT_FOR`). `tests/simulate.ts` measures both.
 * @module
 */

import type { Ratio, Seconds } from "./units.ts";

/** Factor over the peers (vllm-htop 0.5.0). */
export const SKEW_RATIO = 1.5;

/**
 * Significance level. A group of 8 makes 30,000 independent comparisons a day, so chance alone
 * causes about one finding a month.
 */
export const ALPHA = 1e-6;
/** A finding must last this long before its alert fires: two polls at the default interval. */
export const ALERT_FOR: Seconds = 4;
/** An alert resolves this long after its last finding. */
export const ALERT_KEEP_FIRING_FOR: Seconds = 30;
/** Shorter, because HOT comes from gauges and is shown as a status. */
const HOT_KEEP_FIRING_FOR: Seconds = 10;
/** A replica watched for less may have just started: leave it out of one-minute comparisons. */
export const MIN_SPAN: Seconds = 30;
/** Difference of KV-cache usage (vllm-htop 0.5.0). */
export const KV_SKEW: Ratio = 0.15;
/** Difference of running requests (vllm-htop 0.5.0). */
export const RUNNING_SKEW = 3;
/** On each side of a comparison. The P95 of fewer samples is their maximum. */
export const MIN_SAMPLES = 20;
/** Requests per second of a group, for shares of the last poll (vllm-htop 0.5.0). */
export const MIN_REQUESTS_PER_SECOND = 0.5;
/** Finished requests of a group, for shares of the last minute. */
export const MIN_REQUESTS = 20;
/** Tokens per second of a group, for token shares (vllm-htop 0.5.0). */
export const MIN_TOKENS_PER_SECOND = 1;

/**
 * Divides request counts, because lengths vary: 1 + squared coefficient of variation. 4 is a
 * log-normal length with σ = 1.18; KV-cache usage, length × duration, varies more.
 */
export const LENGTH_DISPERSION = 4;
export const KV_DISPERSION = 8;
/** Condition of HOT (vllm-htop 0.5.0). */
export const HOT_KV_RATIO: Ratio = 0.85;
/** Condition of HOT (vllm-htop 0.5.0). */
export const HOT_WAITING = 5;
/** Condition of HOT: factor over the others (vllm-htop 0.5.0). */
export const HOT_LATENCY_RATIO = 2;
/** Conditions needed for HOT (vllm-htop 0.5.0). */
export const HOT_CONDITIONS = 2;
/** An engine with work that makes no progress for this long is stalled. */
export const MIN_STALL: Seconds = 15;
/** An ended alert keeps the fleet DEGRADED this long (vllm-htop 0.5.0). */
export const RECENT_ALERT_SPAN: Seconds = 60;

/** Rules that compare a replica with the rest of its group. */
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

export interface HotCondition {
  readonly signal: "kv_cache" | "waiting" | "preemptions" | "ttft" | "itl";
  /** Ratio 0–1, requests, preemptions, or factor over the others. */
  readonly value: number;
  /** In the same unit. */
  readonly limit: number;
}

/** A replica violates a rule, with the evidence. */
export interface Finding {
  readonly rule: RuleId;
  /** Replica key. */
  readonly key: string;
  /** Seconds, requests, number of conditions, or ratio 0–1. */
  readonly value: number;
  /**
   * Median of the others; for running requests and KV cache the lowest; for shares an even one;
   * for HOT and STALLED the limit.
   */
  readonly baseline: number;
  /** `Infinity` if the baseline is 0. */
  readonly ratio: number;
  /** Observations or requests; 0 for gauges. */
  readonly samples: number;
  readonly span: Seconds;
  /** `null` unless the figure is a latency. */
  readonly statistic: "mean" | "p95" | null;
  /** Bound of the p-value; `null` if not tested. */
  readonly probability: number | null;
  /** Only of HOT. */
  readonly conditions: readonly HotCondition[];
}

/** Derives the ratio; other fields default to none. */
export function createFinding(
  finding:
    & Pick<Finding, "rule" | "key" | "value" | "baseline" | "samples" | "span">
    & Partial<Finding>,
): Finding {
  const ratio = finding.value / finding.baseline;
  return { ratio, statistic: null, probability: null, conditions: [], ...finding };
}

interface Rule {
  readonly id: RuleId;
  readonly title: string;
  readonly threshold: string;
  /** Origin of the threshold. */
  readonly source: string;
  /** Of `Finding.value` and `Finding.baseline`; ratios are 0–1. */
  readonly unit: "seconds" | "requests" | "ratio" | "conditions";
  /** Effect on the fleet's status. */
  readonly effect: "critical" | "degraded" | "none";
  readonly for: Seconds;
  readonly keepFiringFor: Seconds;
}

const PYTHON_VLLM_HTOP = "vllm-htop 0.5.0";
const SIGNIFICANT = `p<${ALPHA.toExponential(0)}`;

function describeLatencyRule(latency: string): string {
  return `mean ${latency} over 30, 45 or 60 s, or P95 over 60 s (by bucket bounds), above ` +
    `${SKEW_RATIO}× the median of the others; at least ${MIN_SAMPLES} samples per side; ` +
    `${SIGNIFICANT} over 5 s blocks`;
}

function describeShareRule(share: string, minimum: string): string {
  return `share of ${share} above ${SKEW_RATIO}× the median and ${SKEW_RATIO}× an even share; ` +
    `at least ${minimum}`;
}

const DEGRADED: Pick<Rule, "effect" | "for" | "keepFiringFor"> = {
  effect: "degraded",
  for: ALERT_FOR,
  keepFiringFor: ALERT_KEEP_FIRING_FOR,
};

/** In display order. */
export const RULES: readonly Rule[] = [
  {
    id: "hot",
    title: "hot",
    threshold: `${HOT_CONDITIONS} or more of: KV cache above ${HOT_KV_RATIO * 100} %, more than ` +
      `${HOT_WAITING} waiting, preemptions in the last minute, TTFT above ${HOT_LATENCY_RATIO}× ` +
      `the others, ITL above ${HOT_LATENCY_RATIO}× the others (with the tests for slow prefill and decode)`,
    source: `${PYTHON_VLLM_HTOP}, which counted swapped requests; vLLM V1 preempts instead`,
    unit: "conditions",
    effect: "critical",
    for: ALERT_FOR,
    keepFiringFor: HOT_KEEP_FIRING_FOR,
  },
  {
    id: "stalled",
    title: "stalled",
    threshold: "requests run or wait, but no token, finished request, step or KV-cache growth " +
      `for ${MIN_STALL} s`,
    source: "vllm-htop: the gauges of a hung engine do not change",
    unit: "seconds",
    effect: "critical",
    for: 0,
    keepFiringFor: 0,
  },
  {
    id: "slow_prefill",
    title: "slow in prefill",
    threshold: `${describeLatencyRule("TTFT")}; not with more than ${HOT_WAITING} waiting: ` +
      "then the queue explains it",
    source: `${PYTHON_VLLM_HTOP}, which compared the P95 of one poll with the median of all`,
    unit: "seconds",
    ...DEGRADED,
  },
  {
    id: "slow_decode",
    title: "slow in decode",
    threshold: describeLatencyRule("ITL"),
    source: `${PYTHON_VLLM_HTOP}, which compared the P95 of one poll with the median of all`,
    unit: "seconds",
    ...DEGRADED,
  },
  {
    id: "sticky_skew",
    title: "taking too many requests",
    threshold: describeShareRule("the last minute's requests", `${MIN_REQUESTS} requests`) +
      `; ${SIGNIFICANT} (binomial test against a fair balancer)`,
    source: `${PYTHON_VLLM_HTOP}, with 5 requests or more, without a significance test`,
    unit: "ratio",
    ...DEGRADED,
  },
  {
    id: "running_skew",
    title: "running more than peers",
    threshold: `one-minute means more than ${RUNNING_SKEW} apart, the highest above ` +
      `${SKEW_RATIO}× max(1, median); ${SIGNIFICANT}`,
    source: `${PYTHON_VLLM_HTOP}, on one sample, without a significance test`,
    unit: "requests",
    ...DEGRADED,
  },
  {
    id: "kv_skew",
    title: "KV fuller than peers",
    threshold: `one-minute means more than ${KV_SKEW * 100} percentage points apart; ` +
      SIGNIFICANT,
    source: `${PYTHON_VLLM_HTOP}, on one sample, without a significance test`,
    unit: "ratio",
    ...DEGRADED,
  },
  {
    id: "token_share",
    title: "generating more than peers",
    threshold: describeShareRule(
      "the last minute's output tokens",
      `${MIN_TOKENS_PER_SECOND} token/s`,
    ) + `; ${SIGNIFICANT}`,
    source: `${PYTHON_VLLM_HTOP}, on one poll, without a significance test`,
    unit: "ratio",
    ...DEGRADED,
  },
  {
    id: "request_share",
    title: "taking more requests now",
    threshold: describeShareRule(
      "the last poll's requests",
      `${MIN_REQUESTS_PER_SECOND} requests/s`,
    ),
    source: `${PYTHON_VLLM_HTOP}; chance alone often does it, so it raises no alert`,
    unit: "ratio",
    effect: "none",
    for: 0,
    keepFiringFor: 0,
  },
];

const RULES_BY_ID: ReadonlyMap<RuleId, Rule> = new Map(RULES.map((rule) => [rule.id, rule]));

export function findRule(id: RuleId): Rule {
  const rule = RULES_BY_ID.get(id);
  if (rule === undefined) throw new RangeError(`Unknown rule "${id}"`);
  return rule;
}
