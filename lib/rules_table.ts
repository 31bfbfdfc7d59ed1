/**
 * Rules as data: what each says, its numbers, its level and its times. Every number is a setting;
 * `resolveRules` applies those of the user. Comparisons with peers must also be significant
 * (`ALPHA`), as chance alone meets most thresholds many times an hour among equal replicas.
 * `tests/simulate.ts` measures both.
 * @module
 */

import type { Ratio, Seconds } from "./units.ts";

/** Effect on the verdict. `off`: evaluated for `checks`, but never alerted. */
export const RULE_LEVELS = ["critical", "degraded", "off"] as const;
export type Level = typeof RULE_LEVELS[number];

/**
 * Significance level. A group of 8 makes 30,000 independent comparisons a day, so chance alone
 * causes about one finding a month.
 */
export const ALPHA = 1e-6;
/** A replica watched for less may have just started: too little is known of it. */
export const MIN_SPAN: Seconds = 30;
/**
 * Divides request counts, because lengths vary: 1 + squared coefficient of variation. 4 is a
 * log-normal length with σ = 1.18; KV-cache usage, length × duration, varies more.
 */
export const LENGTH_DISPERSION = 4;
export const KV_DISPERSION = 8;
/** An ended alert keeps the fleet DEGRADED this long (vllm-htop 0.5.0). */
export const RECENT_ALERT_SPAN: Seconds = 60;
/** A server that is stale so often in a row, as one of two behind a balancer, keeps it so for a while. */
export const FLAP_COUNT = 3;
export const RECENT_FLAP_SPAN: Seconds = 10;

/** Ratios are 0–1. */
export type RuleUnit =
  | "requests"
  | "seconds"
  | "ratio"
  | "times"
  | "conditions"
  | "preemptions"
  | "preemptions per second"
  | "transfers"
  | "tokens per second"
  | "requests per second"
  | "samples"
  | "scrapes";

interface RuleNumber {
  readonly value: number;
  readonly unit: RuleUnit;
  readonly help: string;
  /** Smallest allowed, 0 if absent. A ratio is at most 1. */
  readonly min?: number;
}

interface RuleRow<Name extends string> {
  readonly title: string;
  readonly level: Level;
  /** When a finding has another level, unless the user set the level. */
  readonly exception?: { readonly level: Exclude<Level, "off">; readonly when: string };
  /** Time for which it must be true before it counts. */
  readonly hold: Seconds;
  /** Time for which it must be false before it ends. */
  readonly release: Seconds;
  /** `threshold` is the main one. */
  readonly numbers: Readonly<Record<Name, RuleNumber>>;
  /** What is true when it fires, from the numbers in force. */
  readonly describe: (numbers: Readonly<Record<Name, number>>) => string;
  /** Origin of the numbers. */
  readonly source: string;
  /** Of `Finding.value` and `Finding.baseline`, unless the finding says otherwise. */
  readonly unit: RuleUnit;
}

function defineRule<Name extends string>(row: RuleRow<Name>): RuleRow<Name> {
  return row;
}

const PYTHON_VLLM_HTOP = "vllm-htop 0.5.0";
const HEALTH_CHECK = "the health check in vLLM's documentation";
const SIGNIFICANT = `p<${ALPHA.toExponential(0)}`;

/** `95 %`; without binary fractions. */
function percent(ratio: Ratio): string {
  return `${Number((ratio * 100).toPrecision(6))} %`;
}

/** Two polls at the default interval, and a release that covers pauses between requests. */
const COMPARED = { level: "degraded", hold: 4, release: 30 } as const;
/** Figures of a minute need no hold: one bad second does not meet their minima. */
const OF_A_MINUTE = { level: "degraded", hold: 0, release: 10 } as const;
const FACTOR = { value: 1.5, unit: "times", min: 1 } as const;

function describeLatencyRule(
  latency: string,
  { threshold, samples }: { readonly threshold: number; readonly samples: number },
): string {
  return `mean ${latency} over 30, 45 or 60 s, or its P95 over 60 s (by bucket bounds), is above ` +
    `${threshold}× the median of the others; at least ${samples} samples on each side; ` +
    `${SIGNIFICANT} over blocks of 5 s`;
}

const LATENCY_NUMBERS = {
  threshold: { ...FACTOR, help: "factor over the median of the others" },
  samples: { value: 20, unit: "samples", help: "minimum on each side", min: 2 },
} as const;

function describeQueue(
  { threshold, latency, samples }: Readonly<Record<"threshold" | "latency" | "samples", number>>,
): string {
  return `more than ${threshold} requests wait in most samples, and some in all; or the P95 of ` +
    `queue time over 60 s is surely ${latency} s or more (by bucket bounds; at least ${samples} ` +
    "samples)";
}

function describeShareRule(share: string, threshold: number, minimum: string): string {
  return `its share of ${share} is above ${threshold}× the median and ${threshold}× an even ` +
    `share; at least ${minimum}`;
}

/** In order of urgency. */
const ROWS = {
  collapse: defineRule({
    title: "collapsed",
    level: "critical",
    ...{ hold: 0, release: 10, unit: "tokens per second" },
    numbers: {
      threshold: { value: 0.1, unit: "ratio", help: "share of its earlier output" },
    },
    describe: ({ threshold }) =>
      `over 60 s, the queue grows, no request finishes, and output is below ` +
      `${percent(threshold)} of that of the minute before`,
    source: "vLLM issue 53130",
  }),
  stalled: defineRule({
    title: "stalled",
    level: "critical",
    exception: { level: "degraded", when: "one request runs alone: its prefill may be long" },
    ...{ hold: 0, release: 0, unit: "seconds" },
    numbers: { threshold: { value: 15, unit: "seconds", help: "without progress", min: 1 } },
    describe: ({ threshold }) =>
      `requests run or wait, but for ${threshold} s there is no token, finished request, step or ` +
      "change of the KV cache",
    source: "the gauges of a hung engine do not change",
  }),
  overloaded: defineRule({
    title: "overloaded",
    level: "critical",
    ...{ hold: 10, release: 10, unit: "requests" },
    numbers: {
      threshold: { value: 50, unit: "requests", help: "waiting" },
      latency: { value: 10, unit: "seconds", help: "P95 of queue time" },
      samples: { value: 5, unit: "samples", help: "minimum for the P95", min: 1 },
    },
    describe: describeQueue,
    source: HEALTH_CHECK,
  }),
  hot: defineRule({
    title: "hot",
    level: "critical",
    ...{ hold: 4, release: 10, unit: "conditions" },
    numbers: {
      threshold: { value: 2, unit: "conditions", help: "how many must be met", min: 1 },
      kv: { value: 0.85, unit: "ratio", help: "KV-cache usage" },
      waiting: { value: 5, unit: "requests", help: "waiting" },
      latency: { value: 2, unit: "times", help: "factor over the others", min: 1 },
    },
    describe: ({ threshold, kv, waiting, latency }) =>
      `${threshold} or more of: KV cache above ${percent(kv)}, more than ${waiting} waiting, ` +
      `preemptions in the last minute, TTFT above ${latency}× the others, ITL above ${latency}× ` +
      "the others (tested as for slow prefill and decode)",
    source: `${PYTHON_VLLM_HTOP}, which counted swapped requests; vLLM V1 preempts instead`,
  }),
  full: defineRule({
    title: "full",
    level: "degraded",
    exception: { level: "critical", when: "requests wait or were preempted" },
    ...{ hold: 10, release: 10, unit: "ratio" },
    numbers: { threshold: { value: 0.95, unit: "ratio", help: "KV-cache usage" } },
    describe: ({ threshold }) => `KV cache above ${percent(threshold)}`,
    source: HEALTH_CHECK,
  }),
  failing: defineRule({
    title: "failing",
    ...OF_A_MINUTE,
    exception: { level: "critical", when: "the share reaches `failing.critical`" },
    unit: "ratio",
    numbers: {
      threshold: { value: 0.01, unit: "ratio", help: "share of finished requests" },
      critical: { value: 0.1, unit: "ratio", help: "share from which it is CRITICAL" },
      samples: { value: 3, unit: "requests", help: "minimum that failed", min: 1 },
    },
    describe: ({ threshold, samples }) =>
      `over 60 s, ${percent(threshold)} or more of the finished requests failed, and at least ` +
      `${samples}; or a request was corrupted`,
    source: "vLLM's finish reason `error`, and its counter of corrupted requests",
  }),
  slo: defineRule({
    title: "missing its service level",
    ...OF_A_MINUTE,
    exception: {
      level: "critical",
      when: "the share within the limit is below `slo.critical` × the target",
    },
    unit: "ratio",
    numbers: {
      threshold: { value: 1, unit: "times", help: "share over the limit ÷ share allowed" },
      critical: { value: 0.5, unit: "ratio", help: "part of the target" },
      samples: { value: 20, unit: "samples", help: "minimum, of a replica or of several" },
    },
    describe: ({ threshold, samples }) =>
      `over 60 s, the share over the limit of an objective (--slo) is surely more than ` +
      `${threshold}× what its target allows (by bucket bounds; at least ${samples} samples)`,
    source: "the objectives given",
  }),
  queuing: defineRule({
    title: "queuing",
    level: "degraded",
    ...{ hold: 10, release: 10, unit: "requests" },
    numbers: {
      threshold: { value: 5, unit: "requests", help: "waiting" },
      latency: { value: 2, unit: "seconds", help: "P95 of queue time" },
      samples: { value: 5, unit: "samples", help: "minimum for the P95", min: 1 },
    },
    describe: describeQueue,
    source: `${PYTHON_VLLM_HTOP}, which showed such a queue in red`,
  }),
  preempting: defineRule({
    title: "preempting",
    ...OF_A_MINUTE,
    unit: "preemptions per second",
    numbers: {
      threshold: { value: 1, unit: "preemptions per second", help: "over the minute" },
      share: { value: 0.05, unit: "ratio", help: "preemptions per request" },
      samples: { value: 3, unit: "preemptions", help: "minimum for the share", min: 1 },
    },
    describe: ({ threshold, share, samples }) =>
      `over 60 s, ${threshold} or more preemptions per second, or for ${percent(share)} or more ` +
      `of the requests (at least ${samples})`,
    source: "vllm-htop",
  }),
  refusing: defineRule({
    title: "refusing requests",
    ...OF_A_MINUTE,
    unit: "ratio",
    numbers: {
      threshold: { value: 0.01, unit: "ratio", help: "share of requests" },
      samples: { value: 3, unit: "requests", help: "minimum that were refused", min: 1 },
    },
    describe: ({ threshold, samples }) =>
      `over 60 s, ${percent(threshold)} or more of the requests were rejected or answered with ` +
      `HTTP 5xx, and at least ${samples}`,
    source: "vllm-htop",
  }),
  transfer: defineRule({
    title: "losing KV transfers",
    ...OF_A_MINUTE,
    unit: "transfers",
    numbers: { threshold: { value: 1, unit: "transfers", help: "in 60 s", min: 1 } },
    describe: ({ threshold }) =>
      `over 60 s, ${threshold} or more KV transfers between servers failed or expired`,
    source: "vllm-htop",
  }),
  two_servers: defineRule({
    title: "two servers answer at this address",
    level: "degraded",
    ...{ hold: 0, release: 30, unit: "scrapes" },
    numbers: { threshold: { value: 3, unit: "scrapes", help: "changes in a row", min: 2 } },
    describe: ({ threshold }) =>
      `start time or counters alternate between two values ${threshold} times or more`,
    source: "a load balancer stands in front of two servers",
  }),
  slow_prefill: defineRule({
    title: "slow in prefill",
    ...COMPARED,
    unit: "seconds",
    numbers: {
      ...LATENCY_NUMBERS,
      waiting: { value: 5, unit: "requests", help: "a longer queue explains it" },
    },
    describe: (numbers) =>
      `${describeLatencyRule("TTFT", numbers)}; not with more than ${numbers.waiting} waiting: ` +
      "then the queue explains it",
    source: `${PYTHON_VLLM_HTOP}, which compared the P95 of one poll with the median of all`,
  }),
  slow_decode: defineRule({
    title: "slow in decode",
    ...COMPARED,
    unit: "seconds",
    numbers: LATENCY_NUMBERS,
    describe: (numbers) => describeLatencyRule("ITL", numbers),
    source: `${PYTHON_VLLM_HTOP}, which compared the P95 of one poll with the median of all`,
  }),
  sticky_skew: defineRule({
    title: "taking too many requests",
    ...COMPARED,
    unit: "ratio",
    numbers: {
      threshold: { ...FACTOR, help: "factor over the median and an even share" },
      samples: { value: 20, unit: "requests", help: "minimum of the group", min: 1 },
    },
    describe: ({ threshold, samples }) =>
      describeShareRule("the last minute's requests", threshold, `${samples} requests`) +
      `; ${SIGNIFICANT} (binomial test against a fair balancer)`,
    source: `${PYTHON_VLLM_HTOP}, with 5 requests or more, without a significance test`,
  }),
  running_skew: defineRule({
    title: "running more than peers",
    ...COMPARED,
    unit: "requests",
    numbers: {
      threshold: { value: 3, unit: "requests", help: "highest mean less the lowest" },
      ratio: { ...FACTOR, help: "factor over the median" },
    },
    describe: ({ threshold, ratio }) =>
      `one-minute means differ by more than ${threshold}, and the highest is above ` +
      `${ratio}× max(1, median); ${SIGNIFICANT}`,
    source: `${PYTHON_VLLM_HTOP}, on one sample, without a significance test`,
  }),
  kv_skew: defineRule({
    title: "KV fuller than peers",
    ...COMPARED,
    unit: "ratio",
    numbers: { threshold: { value: 0.15, unit: "ratio", help: "highest mean less the lowest" } },
    describe: ({ threshold }) =>
      `one-minute means differ by more than ` +
      `${percent(threshold).replace("%", "percentage points")}; ${SIGNIFICANT}`,
    source: `${PYTHON_VLLM_HTOP}, on one sample, without a significance test`,
  }),
  token_share: defineRule({
    title: "generating more than peers",
    ...COMPARED,
    unit: "ratio",
    numbers: {
      threshold: { ...FACTOR, help: "factor over the median and an even share" },
      rate: { value: 1, unit: "tokens per second", help: "minimum of the group" },
    },
    describe: ({ threshold, rate }) =>
      describeShareRule("the last minute's output tokens", threshold, `${rate} token/s`) +
      `; ${SIGNIFICANT}`,
    source: `${PYTHON_VLLM_HTOP}, on one poll, without a significance test`,
  }),
  request_share: defineRule({
    title: "taking more requests now",
    level: "off",
    ...{ hold: 0, release: 0, unit: "ratio" },
    numbers: {
      threshold: { ...FACTOR, help: "factor over the median and an even share" },
      rate: { value: 0.5, unit: "requests per second", help: "minimum of the group" },
    },
    describe: ({ threshold, rate }) =>
      describeShareRule("the last poll's requests", threshold, `${rate} requests/s`),
    source: `${PYTHON_VLLM_HTOP}; chance alone often does it, so it raises no alert`,
  }),
};

export type RuleId = keyof typeof ROWS;
type NumberName<Id extends RuleId> = keyof typeof ROWS[Id]["numbers"] & string;

/** A rule with the settings in force. */
export type Rule<Id extends RuleId = RuleId> = Id extends RuleId ?
    & {
      readonly id: Id;
      readonly level: Level;
      /** The user set it: no finding has another. */
      readonly isLevelSet: boolean;
      readonly hold: Seconds;
      readonly release: Seconds;
    }
    & Readonly<Record<NumberName<Id>, number>>
  : never;

export type Rules = { readonly [Id in RuleId]: Rule<Id> };

/** In order of urgency. */
export const RULE_IDS = Object.keys(ROWS) as readonly RuleId[];

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
/** Rules of one server, without peers. */
export const SERVER_RULE_IDS: readonly RuleId[] = RULE_IDS.filter((id) =>
  !IMBALANCE_RULE_IDS.some((one) => one === id)
);

/** One setting of one rule: what it is, and its default. */
export interface RuleSetting {
  readonly rule: RuleId;
  /** `level`, `hold`, `release`, `threshold` or another number's name. */
  readonly name: string;
  readonly value: number | Level;
  /** `null` for a level. */
  readonly unit: RuleUnit | null;
  readonly help: string;
  readonly min: number;
  readonly max: number;
}

const MAX_TIME: Seconds = 3600;

function listRuleSettings(rule: RuleId): readonly RuleSetting[] {
  const { level, hold, release, numbers } = ROWS[rule];
  const time = { rule, unit: "seconds", min: 0, max: MAX_TIME } as const;
  const entries: readonly (readonly [string, RuleNumber])[] = Object.entries(numbers);
  return [
    {
      rule,
      name: "level",
      value: level,
      unit: null,
      help: "effect on the verdict",
      min: 0,
      max: 0,
    },
    ...entries.map(([name, { value, unit, help, min = 0 }]): RuleSetting => {
      return { rule, name, value, unit, help, min, max: unit === "ratio" ? 1 : Infinity };
    }),
    { ...time, name: "hold", value: hold, help: "true for so long before it counts" },
    { ...time, name: "release", value: release, help: "false for so long before it ends" },
  ];
}

/** By rule. */
export const RULE_SETTINGS: ReadonlyMap<RuleId, readonly RuleSetting[]> = new Map(
  RULE_IDS.map((id) => [id, listRuleSettings(id)]),
);

/** A setting that the user changed; later ones win. */
export interface RuleChange {
  readonly rule: RuleId;
  readonly name: string;
  readonly value: number | Level;
}

export function resolveRules(changes: readonly RuleChange[] = []): Rules {
  const rules: Record<string, unknown> = {};
  for (const [id, settings] of RULE_SETTINGS) {
    const own = changes.filter(({ rule }) => rule === id);
    rules[id] = {
      id,
      isLevelSet: own.some(({ name }) => name === "level"),
      ...Object.fromEntries(settings.map(({ name, value }) => [name, value])),
      ...Object.fromEntries(own.map(({ name, value }) => [name, value])),
    };
  }
  // Built from the rows from which `Rules` is derived.
  return rules as Rules;
}

export const DEFAULT_RULES: Rules = resolveRules();

export function getRule(rules: Rules, id: RuleId): Rule {
  return rules[id];
}

/** What does not depend on settings. */
export function describeRule(
  id: RuleId,
): Pick<RuleRow<string>, "title" | "source" | "unit" | "exception"> {
  return ROWS[id];
}

/** What is true when it fires. */
export function describeThreshold<Id extends RuleId>(rule: Rule<Id>): string {
  // The row's own numbers.
  return (ROWS[rule.id] as RuleRow<string>).describe(rule as Readonly<Record<string, number>>);
}
