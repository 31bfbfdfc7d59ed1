/**
 * Attainment of service-level objectives. Buckets tell the share of observations within a limit
 * exactly if the limit is the bound of a bucket, else only an interval. Counts are merged over
 * replicas, whose buckets may differ; shares are never averaged.
 * @module
 */

import { countWithin, type Histogram, type Within } from "./histogram.ts";
import { createRecord, type EngineSample, type Objective } from "./model.ts";
import { absent, isPresent, present, type Reading, sumReadings } from "./reading.ts";
import { getHistogram, keepDefinition } from "./stats_aggregate.ts";
import type { ReplicaSample } from "./stats_window.ts";
import type { Ratio } from "./units.ts";

export const WITHIN_KEYS = ["least", "most", "total"] as const satisfies readonly (keyof Within)[];
type WithinCounts = Readonly<Record<keyof Within, Reading>>;

/** Share of the observations that are within the limit. */
export interface Attainment {
  /** `min` equals `max` if it is exact. `no_samples` without observations. */
  readonly ratio: Reading<{ readonly min: Ratio; readonly max: Ratio }>;
  /** Number of observations. */
  readonly samples: Reading;
}

export interface ObjectiveFigures {
  readonly objective: Objective;
  readonly lastMinute: Attainment;
  readonly session: Attainment;
  readonly sinceStart: Attainment;
}

export function isOfModel({ model }: Objective, modelName: string): boolean {
  return model !== null && (model === modelName || modelName.endsWith(`/${model}`));
}

/** Those of the model, and those for all models of latencies for which it has none. */
export function chooseObjectives(
  objectives: readonly Objective[],
  modelName: string,
): readonly Objective[] {
  const own = objectives.filter((objective) => isOfModel(objective, modelName));
  const isOwn = ({ latency }: Objective): boolean => own.some((one) => one.latency === latency);
  return objectives.filter((one) => own.includes(one) || (one.model === null && !isOwn(one)));
}

const STALE: Attainment = { ratio: absent("stale"), samples: absent("stale") };

function readWithin(histogram: Reading<Histogram>, objective: Objective): WithinCounts {
  if (!isPresent(histogram)) return createRecord(WITHIN_KEYS, () => histogram);
  const counts = countWithin(histogram.value, objective.limit);
  return createRecord(
    WITHIN_KEYS,
    (key) => counts === null ? absent("unsupported") : present(counts[key]),
  );
}

/** Since the server's start. */
export function countSample(sample: EngineSample, objective: Objective): WithinCounts {
  return readWithin(getHistogram(sample, objective.latency), objective);
}

function mergeCounts(all: readonly WithinCounts[]): Attainment {
  const { least, most, total } = createRecord(
    WITHIN_KEYS,
    (key) => sumReadings(all.map((counts) => counts[key])),
  );
  if (!isPresent(total) || !isPresent(least) || !isPresent(most)) {
    return { ratio: total.value === null ? total : absent("missing"), samples: total };
  }
  const ratio = total.value === 0
    ? absent("no_samples")
    : present({ min: least.value / total.value, max: most.value / total.value });
  return { ratio, samples: total };
}

function mergeHistograms(
  replicas: readonly ReplicaSample[],
  objective: Objective,
  getOne: (replica: ReplicaSample) => Reading<Histogram>,
): Attainment {
  const histograms = keepDefinition(replicas, replicas.map(getOne));
  return mergeCounts(histograms.map((histogram) => readWithin(histogram, objective)));
}

export function computeMinuteAttainment(
  replicas: readonly ReplicaSample[],
  objective: Objective,
): Attainment {
  return mergeHistograms(
    replicas,
    objective,
    ({ lastMinute }) =>
      isPresent(lastMinute) ? lastMinute.value.latencies[objective.latency] : lastMinute,
  );
}

interface ObjectiveSubject {
  readonly replica: ReplicaSample;
  /** Of this session, in the order of `chooseObjectives`. */
  readonly counted: readonly WithinCounts[];
  /** Whether its last minute counts. */
  readonly isCurrent: boolean;
}

/** One for each objective of any of the replicas, merged over those that have it. */
export function computeObjectives(
  subjects: readonly ObjectiveSubject[],
  objectives: readonly Objective[],
): readonly ObjectiveFigures[] {
  const chosen = subjects.map((subject) => ({
    ...subject,
    own: chooseObjectives(objectives, subject.replica.sample.modelName),
  }));
  return objectives.flatMap((objective): ObjectiveFigures[] => {
    const having = chosen.filter(({ own }) => own.includes(objective));
    if (having.length === 0) return [];
    const current = having.filter(({ isCurrent }) => isCurrent).map(({ replica }) => replica);
    const all = having.map(({ replica }) => replica);
    const sinceStart = mergeHistograms(
      all,
      objective,
      ({ sample }) => getHistogram(sample, objective.latency),
    );
    const session = mergeCounts(having.map(({ own, counted }) => counted[own.indexOf(objective)]));
    const { ratio } = sinceStart;
    return [{
      objective,
      lastMinute: current.length === 0 ? STALE : computeMinuteAttainment(current, objective),
      session: !isPresent(ratio) && ratio.reason === "definitions_differ" ? sinceStart : session,
      sinceStart,
    }];
  });
}

/** `unknown`: the buckets do not tell. */
type Judgement = "met" | "missed" | "unknown";

export function judgeAttainment({ ratio }: Attainment, { target }: Objective): Judgement {
  if (!isPresent(ratio)) return "unknown";
  return ratio.value.min >= target ? "met" : ratio.value.max < target ? "missed" : "unknown";
}

/**
 * How fast the objective's budget burns: the share over the limit ÷ the share that may be. Above 1,
 * the target is missed. Of the least and most favourable reading of the buckets.
 */
export function computeBurnRates(
  { min, max }: { readonly min: Ratio; readonly max: Ratio },
  { target }: Objective,
): { readonly least: number; readonly most: number } {
  // With a target of 100 % there is no budget.
  const burn = (ratio: Ratio): number => ratio === 1 ? 0 : (1 - ratio) / (1 - target);
  return { least: burn(max), most: burn(min) };
}

/** The objective that is missed most in the last minute; `null` if there is none. */
export function findWorstObjective(all: readonly ObjectiveFigures[]): ObjectiveFigures | null {
  const rate = ({ objective, lastMinute: { ratio } }: ObjectiveFigures) =>
    isPresent(ratio) ? computeBurnRates(ratio.value, objective) : { least: -1, most: -1 };
  const isWorse = (one: ObjectiveFigures, other: ObjectiveFigures): boolean => {
    const [a, b] = [rate(one), rate(other)];
    return a.least > b.least || (a.least === b.least && a.most > b.most);
  };
  return all.reduce<ObjectiveFigures | null>(
    (worst, one) => worst === null || isWorse(one, worst) ? one : worst,
    null,
  );
}
