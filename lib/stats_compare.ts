/**
 * Two spans of a model's replicas -> figures side by side, and whether each differs beyond chance.
 * Each is a quotient of sums. A quantile is known to the bucket. Two differ if a bound of a bucket is
 * between them beyond chance: the share of observations at or below it, which is exact, is above the
 * quantile's on one side, and below it on the other.
 * @module
 */

import {
  computeQuantile,
  computeQuantileFloor,
  countObservations,
  countWithin,
  type Histogram,
} from "./histogram.ts";
import type { Objective } from "./model.ts";
import { type Absent, absent, isPresent, mapReading, present, type Reading } from "./reading.ts";
import { divideParts, type Part, testQuotients, testShare } from "./stats_blocks.ts";
import { type Bin, getSpan, type Side, type SumKey } from "./stats_tally.ts";
import { MILLISECONDS_PER_SECOND, SECONDS_PER_HOUR, TOKENS_PER_MILLION } from "./units.ts";

const COMPARED_LATENCIES = ["ttft", "itl", "e2e"] as const;
const COMPARED_QUANTILES = [0.5, 0.95, 0.99] as const;
/** Fewer observations tell nothing of their spread. */
const MIN_OBSERVATIONS = 20;
type LatencyKey = Objective["latency"];

/** A figure of one side. */
export interface FigureValue {
  /** `null` if only the bounds are known. */
  readonly value: number | null;
  /** It is certainly as much. */
  readonly least: number;
  /** It is certainly no more; may be infinite. */
  readonly most: number;
}

/** Of what kind its numbers are. */
export type FigureUnit = "per_second" | "seconds" | "ratio" | "count" | "usd";

export interface FigurePair {
  /** The same in each run. */
  readonly key: string;
  readonly title: string;
  readonly unit: FigureUnit;
  /** What comes from outside, or how it is served. */
  readonly part: "load" | "service";
  readonly better: "higher" | "lower" | null;
  readonly a: Reading<FigureValue>;
  readonly b: Reading<FigureValue>;
  /** Of a difference as large by chance; `null` if it was not tested. */
  readonly probability: number | null;
  /** Both quantiles are in one bucket. */
  readonly isInOneBucket?: true;
}

/** Of B against A: the difference, and as a part of A. `null` if unknown. */
export function computeChange(
  { a, b }: FigurePair,
): { readonly difference: number | null; readonly ratio: number | null } {
  const [before, after] = [a.value?.value ?? null, b.value?.value ?? null];
  if (before === null || after === null) return { difference: null, ratio: null };
  const difference = after - before;
  return { difference, ratio: before > 0 ? difference / before : null };
}

type Sides = readonly [a: Side, b: Side];
/** The parts of a block; absent if the figure is. */
type ReadPart = (block: Bin, side: Side) => Reading<Part>;

function exact(value: number): FigureValue {
  return { value, least: value, most: value };
}

function listParts({ blocks, ...side }: Side, read: ReadPart): readonly Part[] {
  return blocks.flatMap((block) => read(block, { blocks, ...side }).value ?? []);
}

function test([a, b]: Sides, read: ReadPart): number | null {
  return a.isTested && b.isTested ? testQuotients(listParts(a, read), listParts(b, read)) : null;
}

function divide(side: Side, read: ReadPart): Reading {
  const whole = read(side.whole, side);
  if (!isPresent(whole)) return whole;
  const value = divideParts([whole.value]);
  return value === null ? absent("no_samples") : present(value);
}

type Description = Pick<FigurePair, "key" | "title" | "unit" | "part" | "better">;

function compareQuotients(sides: Sides, description: Description, read: ReadPart): FigurePair {
  const [a, b] = sides.map((side) => mapReading(divide(side, read), exact));
  return { ...description, a, b, probability: test(sides, read) };
}

function readQuotient(amount: SumKey, base: SumKey | "span"): ReadPart {
  return (bin) => {
    const sum: Reading = base === "span" ? present(getSpan(bin)) : bin.sums[base];
    const added = bin.sums[amount];
    if (!isPresent(added)) return added;
    return isPresent(sum) ? present({ amount: added.value, base: sum.value }) : sum;
  };
}

function readCost(tokens: readonly SumKey[]): ReadPart {
  return (bin, { usdPerHour }) => {
    const counts = tokens.map((key) => bin.sums[key]);
    const missing = counts.find((count) => !isPresent(count));
    if (missing !== undefined && !isPresent(missing)) return missing;
    if (!isPresent(usdPerHour) || usdPerHour.partial) return absent("missing");
    const base = counts.reduce((sum, { value }) => sum + (value ?? 0), 0) / TOKENS_PER_MILLION;
    return present({ amount: usdPerHour.value * getSpan(bin) / SECONDS_PER_HOUR, base });
  };
}

function compareMeans(sides: Sides, latency: LatencyKey, description: Description): FigurePair {
  const read: ReadPart = ({ latencies }) => {
    const reading = latencies[latency];
    if (!isPresent(reading)) return reading;
    const { sum } = reading.value;
    // A clock that jumps makes durations below 0.
    if (!(sum >= 0)) return absent("missing");
    return present({ amount: sum, base: countObservations(reading.value) });
  };
  return withEnough(sides, latency, compareQuotients(sides, description, read));
}

/** Without a probability if one of the sides has few observations. */
function withEnough(sides: Sides, latency: LatencyKey, pair: FigurePair): FigurePair {
  const isFew = sides.some(({ whole }) =>
    (mapReading(whole.latencies[latency], countObservations).value ?? 0) < MIN_OBSERVATIONS
  );
  return isFew ? { ...pair, probability: null } : pair;
}

/** `bound` is that of a bucket. */
function countUpTo({ bounds, counts }: Histogram, bound: number): number {
  return counts[bounds.indexOf(bound)];
}

function readShare(latency: LatencyKey, bound: number): ReadPart {
  return ({ latencies }) =>
    mapReading(latencies[latency], (histogram) => ({
      amount: countUpTo(histogram, bound),
      base: countObservations(histogram),
    }));
}

function locateQuantile(histogram: Histogram, q: number): FigureValue | null {
  const quantile = computeQuantile(histogram, q);
  const least = computeQuantileFloor(histogram, q);
  if (quantile === null || least === null) return null;
  const { value, bound } = quantile;
  const most = histogram.bounds.find((one) => bound === "" ? value <= one : one > least) ??
    Infinity;
  return { value: bound === "" ? value : null, least, most };
}

function compareQuantiles(
  sides: Sides,
  { latency, q, description }: {
    readonly latency: LatencyKey;
    readonly q: number;
    readonly description: Description;
  },
): FigurePair {
  const readings = sides.map(({ whole }) => whole.latencies[latency]);
  const values = readings.map((reading): Reading<FigureValue> => {
    if (!isPresent(reading)) return reading;
    const place = locateQuantile(reading.value, q);
    return place === null ? absent("no_samples") : present(place);
  });
  const pair: FigurePair = { ...description, a: values[0], b: values[1], probability: null };
  const [one, other] = readings.map(({ value }) => value);
  if (one === null || other === null || !values.every(isPresent)) return pair;
  // Only a bound between both tells which is larger.
  const between = [...one.bounds].filter((bound) => {
    if (!other.bounds.includes(bound)) return false;
    const [first, second] = [one, other].map((histogram) =>
      countUpTo(histogram, bound) >= q * countObservations(histogram)
    );
    return first !== second;
  });
  if (between.length === 0) return { ...pair, isInOneBucket: true };
  if (sides.some(({ isTested }) => !isTested)) return pair;
  const found = between.flatMap((bound) => {
    const [a, b] = sides.map((side) => testShare(listParts(side, readShare(latency, bound)), q));
    return a === null || b === null ? [] : Math.max(a, b);
  });
  const probability = found.length === 0 ? null : Math.min(...found);
  return withEnough(sides, latency, { ...pair, probability });
}

// ---- Service levels.

/** Of the buckets, the least or the most that may be within the limit. */
function readWithin(
  { latency, limit }: Objective,
  { way, isRate }: { readonly way: "least" | "most"; readonly isRate: boolean },
): ReadPart {
  return (bin) => {
    const histogram = bin.latencies[latency];
    if (!isPresent(histogram)) return histogram;
    const within = countWithin(histogram.value, limit);
    if (within === null) return absent("unsupported");
    return present({ amount: within[way], base: isRate ? getSpan(bin) : within.total });
  };
}

function compareObjective(
  sides: Sides,
  objective: Objective,
  { isRate, ...description }: Description & { readonly isRate: boolean },
): FigurePair {
  const [readLeast, readMost] = (["least", "most"] as const)
    .map((way) => readWithin(objective, { way, isRate }));
  const [a, b] = sides.map((side): Reading<FigureValue> => {
    const [least, most] = [divide(side, readLeast), divide(side, readMost)];
    if (!isPresent(least)) return least;
    if (!isPresent(most)) return most;
    const value = least.value === most.value ? least.value : null;
    return present({ value, least: least.value, most: most.value });
  });
  const found = [test(sides, readLeast), test(sides, readMost)];
  const signs = (["least", "most"] as const)
    .map((way) => Math.sign((b.value?.[way] ?? 0) - (a.value?.[way] ?? 0)));
  // It differs only if it does however the buckets are read.
  const probability = found[0] === null || found[1] === null
    ? null
    : signs[0] === signs[1]
    ? Math.max(found[0], found[1])
    : 1;
  return withEnough(sides, objective.latency, { ...description, a, b, probability });
}

// ---- All of them.

type QuotientRow = Description & { readonly amount: SumKey; readonly base: SumKey | "span" };

const LOAD_ROWS: readonly QuotientRow[] = [
  ["arrivals", "Requests arriving", "per_second", "arrivals", "span"],
  ["prompt_length", "Prompt tokens a request", "count", "promptTokens", "prompts"],
  ["output_length", "Output tokens a request", "count", "outputTokens", "requests"],
].map(([key, title, unit, amount, base]) => (
  { key, title, unit, amount, base, part: "load", better: null } as QuotientRow
));

const SERVICE_ROWS: readonly QuotientRow[] = [
  ["requests", "Requests finished", "per_second", "requests", "span", "higher"],
  ["prompt_tokens", "Prompt tokens", "per_second", "promptTokens", "span", "higher"],
  ["output_tokens", "Output tokens", "per_second", "outputTokens", "span", "higher"],
  ["hit_ratio", "Prefix-cache hit ratio", "ratio", "cacheHits", "cacheQueries", "higher"],
  ["kv_cache", "KV-cache usage, mean", "ratio", "kvSeconds", "kvSpan", null],
  ["in_flight", "Running and waiting", "count", "inFlightSeconds", "span", null],
].map(([key, title, unit, amount, base, better]) => (
  { key, title, unit, amount, base, part: "service", better } as QuotientRow
));

const COST_ROWS: readonly (readonly [key: string, title: string, tokens: readonly SumKey[]])[] = [
  ["usd_per_million_output_tokens", "Cost of 1M output tokens", ["outputTokens"]],
  ["usd_per_million_tokens", "Cost of 1M tokens", ["promptTokens", "outputTokens"]],
];

function compareLatency(
  sides: Sides,
  latency: typeof COMPARED_LATENCIES[number],
): readonly FigurePair[] {
  const title = latency.toUpperCase();
  const common = { unit: "seconds", part: "service", better: "lower" } as const;
  const mean = { key: `${latency}_mean`, title: `${title} mean`, ...common };
  return [
    compareMeans(sides, latency, mean),
    ...COMPARED_QUANTILES.map((q) => {
      const name = `p${100 * q}`;
      const key = `${latency}_${name}`;
      const description = { key, title: `${title} ${name.toUpperCase()}`, ...common };
      return compareQuantiles(sides, { latency, q, description });
    }),
  ];
}

const NO_GOODPUT: Absent = absent("off");

function compareObjectives(
  sides: Sides,
  objectives: readonly Objective[],
): readonly FigurePair[] {
  const common = { part: "service", better: "higher" } as const;
  if (objectives.length === 0) {
    const none = { a: NO_GOODPUT, b: NO_GOODPUT, probability: null };
    return [{ key: "goodput", title: "Goodput", unit: "per_second", ...common, ...none }];
  }
  return objectives.flatMap((objective) => {
    const { latency, limit } = objective;
    const words = limit < 1
      ? `${Number((limit * MILLISECONDS_PER_SECOND).toPrecision(6))} ms`
      : `${limit} s`;
    const name = `${latency.toUpperCase()} within ${words}`;
    const key = `${latency}_${limit}s`;
    const [rate, share] = ["per_second", "ratio"] as const;
    return [
      compareObjective(sides, objective, {
        ...{ key: `goodput_${key}`, title: `Goodput: ${name}`, unit: rate, ...common },
        isRate: true,
      }),
      compareObjective(sides, objective, {
        ...{ key: `share_${key}`, title: `Share: ${name}`, unit: share, ...common },
        isRate: false,
      }),
    ];
  });
}

/** Probabilities are those of each figure alone. */
export function compareSides(
  sides: Sides,
  objectives: readonly Objective[],
): readonly FigurePair[] {
  const compareRow = ({ amount, base, ...row }: QuotientRow): FigurePair =>
    compareQuotients(sides, row, readQuotient(amount, base));
  const cost = { unit: "usd", part: "service", better: "lower" } as const;
  return [
    ...LOAD_ROWS.map(compareRow),
    ...SERVICE_ROWS.map(compareRow),
    ...COMPARED_LATENCIES.flatMap((latency) => compareLatency(sides, latency)),
    ...compareObjectives(sides, objectives),
    ...COST_ROWS.map(([key, title, tokens]) =>
      compareQuotients(sides, { key, title, ...cost }, readCost(tokens))
    ),
  ];
}
