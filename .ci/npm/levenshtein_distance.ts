/**
 * `@std/text/levenshtein-distance` over `fastest-levenshtein`.
 *
 * @module
 */

import { distance } from "npm:fastest-levenshtein@1.0.16";

/** Insertions, deletions and substitutions that lead from one text to the other. */
export function levenshteinDistance(a: string, b: string): number {
  return distance(a, b);
}
