/**
 * Whether a figure of two spans differs beyond chance. Each figure is a quotient of sums: tokens by
 * seconds, hits by queries, seconds by requests. Polls are no independent samples, as a request
 * lasts for many of them: a span is cut into a few long blocks, and blocks are compared (method of
 * batch means; Schmeiser, Operations Research 30, 1982). The error of a quotient is that of its
 * linear approximation (Cochran, Sampling Techniques, 2.11), means are compared by Welch's test, and
 * several figures at once by Holm's procedure.
 * @module
 */

import { computeBinomialTail, computeStudentTail } from "./stats_significance.ts";
import { type Ratio, type Seconds, SECONDS_PER_MINUTE } from "./units.ts";

/** What one block adds to a quotient. */
export interface Part {
  readonly amount: number;
  /** 0 or more. */
  readonly base: number;
}

/** Fewer tell nothing of their spread; more would be shorter, and more alike. */
export const MIN_BLOCKS = 10;
const MAX_BLOCKS = 20;
const MIN_BLOCK_SPAN: Seconds = 10;
/** Longer than most requests last. */
const GOOD_BLOCK_SPAN: Seconds = SECONDS_PER_MINUTE;
/** The shortest span that is compared. */
export const MIN_COMPARED_SPAN: Seconds = MIN_BLOCKS * MIN_BLOCK_SPAN;
/** The chance that any difference is claimed where there is none. */
export const COMPARE_ALPHA = 0.05;
/** Blocks of equal weight that are worth as much. */
const MIN_EFFECTIVE_BLOCKS = 5;
const MAX_CORRELATION = 0.9;
/** Smaller differences are of rounding. */
const SAME = 1e-9;

/** How many blocks a span of so many seconds is cut into; 0 if it is too short. */
export function chooseBlockCount(span: Seconds): number {
  if (span < MIN_COMPARED_SPAN) return 0;
  return Math.min(MAX_BLOCKS, Math.max(MIN_BLOCKS, Math.floor(span / GOOD_BLOCK_SPAN)));
}

/** `null` without a base. */
export function divideParts(parts: readonly Part[]): number | null {
  const base = parts.reduce((sum, part) => sum + part.base, 0);
  return base > 0 ? parts.reduce((sum, part) => sum + part.amount, 0) / base : null;
}

interface Estimate {
  readonly value: number;
  readonly variance: number;
  readonly degreesOfFreedom: number;
  /** Of a block with the next one. */
  readonly correlation: number;
}

/** `null` if too few blocks have a base. */
function estimate(all: readonly Part[]): Estimate | null {
  const parts = all.filter(({ base }) => base > 0);
  const count = parts.length;
  const sum = parts.reduce((total, { base }) => total + base, 0);
  const squares = parts.reduce((total, { base }) => total + base * base, 0);
  const effective = sum * sum / squares;
  const value = divideParts(parts);
  if (value === null || !(effective >= MIN_EFFECTIVE_BLOCKS)) return null;
  const errors = parts.map(({ amount, base }) => amount - value * base);
  const spread = errors.reduce((total, error) => total + error * error, 0);
  const shared = errors.slice(1).reduce((total, error, i) => total + error * errors[i], 0);
  return {
    value,
    variance: count / (count - 1) * spread / (sum * sum),
    degreesOfFreedom: effective - 1,
    // The mean is that of the same blocks, which makes them seem opposed.
    correlation: (spread > 0 ? shared / spread : 0) + 1 / count,
  };
}

/**
 * Probability of a difference as large as that of the two quotients if both spans are alike; `null`
 * if there is too little to tell.
 */
export function testQuotients(one: readonly Part[], other: readonly Part[]): number | null {
  const [a, b] = [estimate(one), estimate(other)];
  if (a === null || b === null) return null;
  const difference = Math.abs(a.value - b.value);
  if (difference <= SAME * Math.max(Math.abs(a.value), Math.abs(b.value))) return 1;
  const whole = a.variance + b.variance;
  const variance = raiseVariance(whole, (a.correlation + b.correlation) / 2);
  if (variance === 0) return 0;
  const degreesOfFreedom = whole * whole /
    (a.variance ** 2 / a.degreesOfFreedom + b.variance ** 2 / b.degreesOfFreedom);
  return Math.min(1, 2 * computeStudentTail(difference / Math.sqrt(variance), degreesOfFreedom));
}

/** By what is left of the likeness of neighbours. */
function raiseVariance(variance: number, correlation: number): number {
  const likeness = Math.min(MAX_CORRELATION, Math.max(0, correlation));
  return variance * (1 + likeness) / (1 - likeness);
}

/**
 * Probability of a share as far from the expected one if that is the true one; `null` if there is
 * too little to tell. Parts are whole numbers of observations. No less than if they were independent,
 * as a share of 1 shows no spread.
 */
export function testShare(parts: readonly Part[], expected: Ratio): number | null {
  const found = estimate(parts);
  if (found === null) return null;
  const { value, variance, degreesOfFreedom, correlation } = found;
  const deviation = Math.sqrt(raiseVariance(variance, correlation));
  const tail = computeStudentTail(Math.abs(value - expected) / deviation, degreesOfFreedom);
  const [successes, trials] = (["amount", "base"] as const)
    .map((key) => parts.reduce((sum, part) => sum + part[key], 0));
  const options = { trials, probability: expected };
  const independent = value >= expected
    ? computeBinomialTail(successes, options)
    : 1 - computeBinomialTail(successes + 1, options);
  return Math.min(1, 2 * Math.max(tail, independent));
}

/**
 * Raises probabilities so that those below `alpha` are, all together, wrong with no more than that
 * probability. `null` was not tested.
 */
export function adjustProbabilities(all: readonly (number | null)[]): readonly (number | null)[] {
  const tested = all.filter((p) => p !== null).toSorted((p, q) => p - q);
  let least = 0;
  const adjusted = new Map<number, number>();
  tested.forEach((p, i) => {
    least = Math.min(1, Math.max(least, (tested.length - i) * p));
    if (!adjusted.has(p)) adjusted.set(p, least);
  });
  return all.map((p) => p === null ? null : adjusted.get(p) ?? null);
}
