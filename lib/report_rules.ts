/**
 * What the report says of rules: their settings, checks, causes of the verdict and events.
 * @module
 */

import { type Objective, OBJECTIVE_KEYS } from "./model.ts";
import { present } from "./reading.ts";
import {
  BOOLEAN,
  count,
  COUNTS,
  EPOCH,
  extend,
  type Field,
  field,
  figure,
  list,
  number,
  object,
  oneOf,
  optional,
  orNull,
  RATIO,
  SECONDS,
  TEXT,
  TEXTS,
  type ValueType,
} from "./report_fields.ts";
import { OUTLIER } from "./report_gpu_cost.ts";
import type { Advice } from "./rules_advice.ts";
import { EVENT_KINDS, type EventLine } from "./rules_alerts.ts";
import type { GroupChecks } from "./rules_evaluate.ts";
import type { Evidence } from "./rules_limits.ts";
import type { Check } from "./rules_imbalance.ts";
import type { Condition, Finding } from "./rules_finding.ts";
import { VERDICT_LEVELS } from "./rules_status.ts";
import {
  describeRule,
  describeThreshold,
  getRule,
  RULE_IDS,
  RULE_LEVELS,
  RULE_SETTINGS,
  type RuleId,
  type Rules,
} from "./rules_table.ts";
import type { State } from "./state.ts";
import type { AdvisedCause } from "./state_advice.ts";

const RULE = oneOf(RULE_IDS);
const LEVEL = oneOf(RULE_LEVELS);

const CONDITIONS = list(object<Condition>([
  field("signal", TEXT, "which figure"),
  field("value", number(), "the figure"),
  field("limit", number(), "threshold that it meets"),
]));

export const OBJECTIVE_FIELDS: readonly Field<Objective>[] = [
  field("latency", oneOf(OBJECTIVE_KEYS), "latency that is limited"),
  field("limitSeconds", SECONDS, "its limit", "limit"),
  field("targetRatio", RATIO, "share that should be within the limit", "target"),
];

const EVIDENCE_FIELDS: readonly Field<Finding>[] = [
  field("rule", RULE, "rule that fires"),
  field("level", LEVEL, "effect on the verdict"),
  field("unit", TEXT, "of value and baseline"),
  figure("value", number(), "figure of the replica", ({ value }) => present(value)),
  figure("baseline", number(), "what it is compared with", ({ baseline }) => present(baseline)),
  figure(
    "ratio",
    number(),
    "value ÷ baseline; of slo, how fast the budget burns",
    ({ ratio }) => present(ratio),
  ),
  figure("samples", number(), "observations; 0 for gauges", ({ samples }) => present(samples)),
  figure("spanSeconds", SECONDS, "time it covers", ({ span }) => present(span)),
  optional("statistic", TEXT, "of a latency: mean or p95"),
  optional("probability", RATIO, "p-value, upper bound"),
  optional("conditions", CONDITIONS, "the figures that meet it", ({ conditions }) => {
    return conditions.length === 0 ? null : conditions;
  }),
  optional("objective", object(OBJECTIVE_FIELDS), "of slo: the objective that is missed most"),
];

const EVIDENCE = object(EVIDENCE_FIELDS, "evidence");
/** Display names by key. */
export type Names = (key: string) => string;

export function createNames({ fleet: { rows }, evaluation: { events, memory } }: State): Names {
  // Removed endpoints keep their names.
  const subjects = [...events.lines.map(({ subject }) => subject), ...memory.engines.values()];
  const names = new Map([
    ...subjects.map(({ key, name }) => [key, name] as const),
    ...rows.toReversed().map(({ state, place }) => [state.endpoint.key, place] as const),
    ...rows.map(({ key, name }) => [key, name] as const),
  ]);
  return (key) => names.get(key) ?? key;
}

export type Named<T> = T & { readonly names: Names };

export const NUMBERS: ValueType<Evidence> = {
  ...COUNTS,
  write: (evidence) =>
    COUNTS.write(new Map(Object.entries(evidence).map(([key, value = NaN]) => [key, value]))),
};

export const ADVICE = object<Advice>([
  field("text", TEXT, "one thing to do"),
  field("flag", orNull(TEXT), "flag of the server that it changes first"),
  field("evidence", NUMBERS, "figures that support it, in base units"),
], "advice");

type TimedCause = Named<AdvisedCause> & { readonly now: number; readonly nowEpoch: number };

const CAUSE = object<TimedCause>([
  field("displayName", TEXT, "of the replica or endpoint", ({ key, names }) => names(key)),
  field("signal", TEXT, "a rule, or down, stale, recent"),
  field("level", LEVEL, "effect on the verdict"),
  field("beganAtEpochSeconds", orNull(EPOCH), "when it began; if recent, ended", (cause) => {
    return cause.since === null ? null : cause.nowEpoch - (cause.now - cause.since);
  }),
  field("durationSeconds", orNull(SECONDS), "how long it is since then", ({ since, now }) => {
    return since === null ? null : Math.max(0, now - since);
  }),
  optional("evidence", EVIDENCE, "of a rule", "verdict"),
  field("advice", orNull(ADVICE), "null without evidence for any"),
]);

export const VERDICT = object<Named<State>>([
  field("status", oneOf(VERDICT_LEVELS), "whether all is well", ({ fleet }) => fleet.verdict.level),
  field(
    "watchedSeconds",
    SECONDS,
    "for how long the newest replica has been watched, up to 30",
    (all) => {
      return all.fleet.verdict.watched;
    },
  ),
  field("causes", list(CAUSE), "why it is not HEALTHY", ({ fleet, names, now, nowEpoch }) => {
    return fleet.verdict.causes.map((cause) => ({ ...cause, names, now, nowEpoch }));
  }),
], "verdict");

const FINDING = object<Named<Finding>>([
  field("replica", TEXT, "displayName", ({ key, names }) => names(key)),
  ...EVIDENCE_FIELDS,
], "finding");

export const RULE_CHECK = object<Named<Check>>([
  field("rule", RULE, "which rule"),
  field("compared", count("replicas"), "that had the figure"),
  field("findings", list(FINDING), "replicas concerned", ({ findings, names }) => {
    return extend(findings, { names });
  }),
], "check");

export const CHECKS = object<Named<GroupChecks>>([
  field("replicas", TEXTS, "displayName of each", ({ keys, names }) => keys.map(names)),
  field("rules", list(RULE_CHECK), "findings of the rules", ({ checks, names }) => {
    return extend(checks, { names });
  }),
], "checks");

type TimedEvent = EventLine & { readonly now: number };

export const EVENT = object<TimedEvent>([
  field("kind", oneOf(Object.keys(EVENT_KINDS)), "what happened"),
  field("displayName", TEXT, "to whom", ({ subject }) => subject.name),
  field("endpoint", TEXT, "key of the endpoint", ({ subject }) => subject.endpointKey),
  field("beganAtEpochSeconds", EPOCH, "when it began", "beganAtEpoch"),
  field("isOver", BOOLEAN, "whether it has ended", ({ endedAt }) => endedAt !== null),
  field("durationSeconds", SECONDS, "how long so far", ({ beganAt, endedAt, now }) => {
    return (endedAt ?? now) - beganAt;
  }),
  field("occurrences", count(), "how often, in a row"),
  optional("amount", number(), "how much"),
  optional("first", EVIDENCE, "when it began"),
  optional("worst", EVIDENCE, "with the highest ratio"),
  optional(
    "message",
    TEXT,
    "of a hook, what failed; of a pod, how it ended",
    ({ message }) => message,
  ),
  optional("gpu", OUTLIER, "of a GPU slower than its peers", ({ outlier }) => outlier),
], "event");

interface NamedRule {
  readonly id: RuleId;
  readonly rules: Rules;
}

const RULE_FIELDS = object<NamedRule>([
  field("rule", RULE, "which rule", "id"),
  field("title", TEXT, "in words", ({ id }) => describeRule(id).title),
  field("level", LEVEL, "effect on the verdict", ({ id, rules }) => rules[id].level),
  field("numbers", COUNTS, "threshold and other numbers", ({ id, rules }) => {
    const rule: Readonly<Record<string, unknown>> = getRule(rules, id);
    const settings = RULE_SETTINGS.get(id) ?? [];
    return new Map(
      settings.filter(({ name, unit }) => unit !== null && name !== "hold" && name !== "release")
        .map(({ name }) => [name, Number(rule[name])]),
    );
  }),
  field("holdSeconds", SECONDS, "true for so long before it counts", ({ id, rules }) => {
    return rules[id].hold;
  }),
  field("releaseSeconds", SECONDS, "false for so long before it ends", ({ id, rules }) => {
    return rules[id].release;
  }),
  field("description", TEXT, "when it fires", ({ id, rules }) => {
    return describeThreshold(getRule(rules, id));
  }),
], "rule");

export const RULE_LIST = list(RULE_FIELDS);

export function listRules(rules: Rules): readonly NamedRule[] {
  return RULE_IDS.map((id) => ({ id, rules }));
}
