/**
 * A finding: a replica or endpoint violates a rule, with the evidence.
 * @module
 */

import type { Objective } from "./model.ts";
import { describeRule, type Level, type Rule, type RuleId, type RuleUnit } from "./rules_table.ts";
import type { Seconds } from "./units.ts";

/** The level of a finding that may be the rule's exception. */
export function chooseLevel(
  { id, level, isLevelSet }: Pick<Rule, "id" | "level" | "isLevelSet">,
  isException: boolean,
): Level {
  const { exception } = describeRule(id);
  return isException && !isLevelSet && exception !== undefined ? exception.level : level;
}

/** A figure that meets a condition of a rule. */
export interface Condition {
  readonly signal:
    | ("kv_cache" | "waiting" | "preemptions" | "preempted_share")
    | ("ttft" | "itl" | "queue_time" | "output" | "failed_share" | "corrupted")
    | ("refused_share" | "failed_transfers" | "long_prefill");
  /** Ratio 0–1, requests, preemptions, seconds, factor over the others, or tokens per second. */
  readonly value: number;
  /** In the same unit. */
  readonly limit: number;
}

/** A replica or endpoint violates a rule, with the evidence. */
export interface Finding {
  readonly rule: RuleId;
  /** Replica key; endpoint key for rules of whole servers. */
  readonly key: string;
  readonly level: Level;
  /** When it began, if that is known. */
  readonly since: Seconds | null;
  readonly value: number;
  readonly unit: RuleUnit;
  /**
   * Median of the others; for running requests and KV cache the lowest; for shares an even one;
   * for the rules of one server the limit; for `slo` the target.
   */
  readonly baseline: number;
  /** `Infinity` if the baseline is 0. For `slo`, the burn rate of the objective's budget. */
  readonly ratio: number;
  /** Observations or requests; 0 for gauges. */
  readonly samples: number;
  readonly span: Seconds;
  /** `null` unless the figure is a latency. */
  readonly statistic: "mean" | "p95" | null;
  /** Bound of the p-value; `null` if not tested. */
  readonly probability: number | null;
  /** Of the rules of one server: the figures that meet them. */
  readonly conditions: readonly Condition[];
  /** Only of `slo`. */
  readonly objective: Objective | null;
}

/** Derives rule, level, unit and ratio; other fields default to none. */
export function createFinding(
  { id, level }: Pick<Rule, "id" | "level">,
  finding:
    & Pick<Finding, "key" | "value" | "baseline" | "samples" | "span">
    & Partial<Finding>,
): Finding {
  return {
    ...{ rule: id, level, since: null, unit: describeRule(id).unit },
    ratio: finding.value / finding.baseline,
    ...{ statistic: null, probability: null, conditions: [], objective: null },
    ...finding,
  };
}
