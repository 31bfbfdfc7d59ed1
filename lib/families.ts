/**
 * Families of counters that are split by a label, as one figure.
 *
 * Layer 0, pure. A family is a map from the label's value to the count of that
 * child; which families there are, `model` lists. Tokens.
 *
 * @module
 */

import { present, type Reading } from "./reading.ts";

/** A family, by the value of the label that splits it. */
export type Family = ReadonlyMap<string, number>;

/** The source of prompt tokens whose prefill was computed (vLLM's `prompt_tokens_by_source`); all others are caches. */
const COMPUTED_SOURCE = "local_compute";

/**
 * All children of the family together; 0 where there is no family.
 *
 * @example
 * ```ts
 * import { sumFamily } from "./families.ts";
 * sumFamily(new Map([["stop", 3], ["length", 1]])); // 4
 * ```
 */
export function sumFamily(family: Family | undefined): number {
  let sum = 0;
  for (const count of family?.values() ?? []) sum += count;
  return sum;
}

/** Prompt tokens whose prefill was computed, of those that are told by their source. */
export function countComputedTokens(bySource: Family): number {
  return bySource.get(COMPUTED_SOURCE) ?? 0;
}

/**
 * Prompt tokens that came from a cache, local or external.
 *
 * @param bySource Prompt tokens by their source. Servers that have no such family have the counter.
 */
export function readCachedTokens(bySource: Family | undefined, counter: Reading): Reading {
  if (bySource === undefined) return counter;
  return present(sumFamily(bySource) - countComputedTokens(bySource));
}
