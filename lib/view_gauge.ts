/**
 * Gauges: how full something is now. Histories are drawn by `view_graph`, never with these signs.
 * @module
 */

import { isPresent, type Reading } from "./reading.ts";
import type { Ratio } from "./units.ts";

const FULL = "▓";
const EMPTY = "░";

/** Draws `▓▓▓░░`. More than 0 fills at least one cell; less than 1 leaves at least one empty. */
export function drawGauge(ratio: Ratio, width: number): string {
  let full = Math.round(ratio * width);
  if (ratio > 0) full = Math.max(1, full);
  if (ratio < 1) full = Math.min(width - 1, full);
  full = Math.min(width, Math.max(0, full));
  return FULL.repeat(full) + EMPTY.repeat(width - full);
}

/** Nothing of what is absent. */
export function drawRatio(ratio: Reading<Ratio>, width: number): string {
  return isPresent(ratio) ? drawGauge(ratio.value, width) : "";
}
