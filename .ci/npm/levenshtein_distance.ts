/**
 * `@std/text/levenshtein-distance` over `leven`. (A CommonJS package would cost each start 20 ms.)
 *
 * @module
 */

import leven from "npm:leven@4.1.0";

/** Insertions, deletions and substitutions that lead from one text to the other. */
export function levenshteinDistance(a: string, b: string): number {
  return leven(a, b);
}
