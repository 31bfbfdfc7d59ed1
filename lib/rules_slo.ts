/**
 * The rule `slo`: a replica's share within the limit of an objective is certainly below its target.
 * If each replica has too few samples, they are judged together, by model and then all, and those
 * that miss the objective are named: the totals are never red under a HEALTHY verdict.
 * @module
 */

import type { Objective } from "./model.ts";
import { isPresent } from "./reading.ts";
import { chooseLevel, createFinding, type Finding } from "./rules_finding.ts";
import type { Rule } from "./rules_table.ts";
import { chooseObjectives, computeBurnRates, computeMinuteAttainment } from "./stats_slo.ts";
import type { ReplicaSample } from "./stats_window.ts";

interface Served {
  readonly key: string;
  readonly replica: ReplicaSample;
}

type Miss = Pick<Finding, "value" | "ratio" | "samples">;

/** The evidence that replicas together miss the objective; `null` unless that is certain. */
function findMiss(
  some: readonly Served[],
  objective: Objective,
  { threshold }: Rule<"slo">,
): Miss | null {
  const replicas = some.map(({ replica }) => replica);
  const { ratio, samples } = computeMinuteAttainment(replicas, objective);
  if (!isPresent(ratio)) return null;
  const { least: burn } = computeBurnRates(ratio.value, objective);
  if (!(burn > threshold)) return null;
  return { value: ratio.value.max, ratio: burn, samples: samples.value ?? 0 };
}

function evaluateObjective(
  models: readonly (readonly Served[])[],
  objective: Objective,
  rule: Rule<"slo">,
): readonly Finding[] {
  /** @param judged What it misses together with others, or alone: that needs enough samples. */
  const createMiss = (one: Served, judged: Miss | null): readonly Finding[] => {
    const miss = findMiss([one], objective, rule);
    if (miss === null || judged === null || judged.samples < rule.samples) return [];
    const span = one.replica.lastMinute.value?.span ?? 0;
    const level = chooseLevel(rule, judged.value < rule.critical * objective.target);
    const evidence = { ...miss, key: one.key, baseline: objective.target, span, objective, level };
    return [createFinding(rule, evidence)];
  };
  const widen = (found: readonly Finding[], some: readonly Served[]): readonly Finding[] => {
    if (found.length > 0) return found;
    const judged = findMiss(some, objective, rule);
    return some.flatMap((one) => createMiss(one, judged));
  };
  const ofModels = models.map((own) =>
    widen(own.flatMap((one) => createMiss(one, findMiss([one], objective, rule))), own)
  );
  return widen(ofModels.flat(), models.flat());
}

/** One finding per replica, of the objective whose budget burns fastest. */
export function evaluateObjectives(
  awake: readonly Served[],
  objectives: readonly Objective[],
  rule: Rule<"slo">,
): readonly Finding[] {
  const models = [...Map.groupBy(awake, ({ replica }) => replica.sample.modelName)];
  const findings = objectives.flatMap((objective) => {
    const having = models.filter(([modelName]) =>
      chooseObjectives(objectives, modelName).includes(objective)
    );
    return evaluateObjective(having.map(([, own]) => own), objective, rule);
  });
  return [...Map.groupBy(findings, ({ key }) => key).values()].map((own) =>
    own.reduce((worst, one) => one.ratio > worst.ratio ? one : worst)
  );
}
