/**
 * Exponential back-off: what fails is tried less and less often.
 * @module
 */

import type { Seconds } from "./units.ts";

/** The pause after the first failure, and the longest. */
interface BackOffLimits {
  readonly initial: Seconds;
  readonly max: Seconds;
}

/** Gives the pause after so many failures in a row: `initial`, then twice as long each time, up to `max`. */
export function createBackOff({ initial, max }: BackOffLimits): (failures: number) => Seconds {
  return (failures) => Math.min(max, initial * 2 ** Math.max(0, failures - 1));
}
