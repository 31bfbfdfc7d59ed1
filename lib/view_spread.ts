/**
 * How latencies spread, in one line on a logarithmic scale that is the same for all, so that lines
 * compare and nothing moves. Within a bucket it is not known where observations lie: they are drawn
 * evenly over its part of the scale.
 * @module
 */

import type { Histogram } from "./histogram.ts";
import { padText } from "./text.ts";
import type { Seconds } from "./units.ts";
import { drawStrip } from "./view_graph.ts";

const FROM: Seconds = 1e-3;
const TICKS = ["1 ms", "10 ms", "100 ms", "1 s", "10 s"];
const LAST_TICK = "100 s";
const DECADES = TICKS.length;
/** Of a decade whose tick is named. */
const MIN_NAMED_WIDTH = 7;
const MAX_WIDTH = 12 * DECADES;
/** Two cells for a decade, and room for the ticks at the ends. */
const MIN_SPREAD_WIDTH = 2 * DECADES;

/** Whole decades; 0 if there is no room. */
export function fitSpread(room: number): number {
  const width = DECADES * Math.floor(Math.min(room, MAX_WIDTH) / DECADES);
  return width < MIN_SPREAD_WIDTH ? 0 : width;
}

/** The scale over the lines: `1 ms   10 ms …`, or its ends. */
export function drawScale(width: number): string {
  const perDecade = width / DECADES;
  if (perDecade >= MIN_NAMED_WIDTH) {
    return TICKS.map((tick) => padText(tick, perDecade)).join("").trimEnd();
  }
  return TICKS[0] + padText(LAST_TICK, width - TICKS[0].length, "right");
}

/** The column of a bound; those beyond the scale are at its ends. */
function findPlace(seconds: Seconds, columns: number): number {
  const place = Math.log10(Math.max(seconds, FROM) / FROM) * columns / DECADES;
  return Math.min(columns, Math.round(place));
}

/** Columns without observations are blank; the highest is of full height. */
export function drawSpread({ bounds, counts }: Histogram, width: number): string {
  const columns = 2 * width;
  const values: (number | null)[] = Array(columns).fill(null);
  counts.forEach((count, i) => {
    const own = count - (i === 0 ? 0 : counts[i - 1]);
    if (!(own > 0)) return;
    const from = Math.min(columns - 1, i === 0 ? 0 : findPlace(bounds[i - 1], columns));
    const to = Math.max(from + 1, findPlace(bounds[i], columns));
    for (let at = from; at < to; at++) values[at] = (values[at] ?? 0) + own / (to - from);
  });
  return drawStrip(values, width);
}
