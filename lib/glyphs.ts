/**
 * Ratios as bars, series as charts and sparklines, and drawn characters for
 * terminals that have only ASCII.
 *
 * Layer 1, pure. Every character that is not ASCII and that the views draw has
 * a stand-in of the same width here, so that a frame keeps its columns when the
 * locale is not UTF-8. Foreign text that has none becomes `?`, cell by cell.
 *
 * @module
 */

import { measureWidth, splitGraphemes } from "./text.ts";
import type { Ratio } from "./units.ts";

const FULL = "▇";
const EMPTY = "░";

/** The levels of a sparkline, from the lowest. */
const LEVELS = "▁▂▃▄▅▆▇█";

const ASCII_STAND_INS: Readonly<Record<string, string>> = {
  "▁": "_",
  "▂": ".",
  "▃": "-",
  "▄": "=",
  "▅": "+",
  "▆": "*",
  "█": "@",
  "▸": ">",
  "▾": "v",
  "▴": "^",
  "↑": "^",
  "↓": "v",
  "⏎": "<",
  "␣": "_",
  "▇": "#",
  "░": ".",
  "—": "-",
  "–": "-",
  "…": "~",
  "·": "|",
  "●": "*",
  "▌": ">",
  "≈": "~",
  "≥": ">",
  "∞": "!",
  "×": "x",
  "÷": "/",
  "−": "-",
  "‘": "'",
  "’": "'",
  "°": " ",
};

// deno-lint-ignore no-control-regex
const ASCII_WITH_STYLES = /^[\x20-\x7e\x1b]*$/;

/**
 * A bar of `width` cells of which the ratio's share is full. More than 0 fills
 * at least one cell, less than 1 leaves at least one empty.
 *
 * @example
 * ```ts
 * import { drawBar } from "./glyphs.ts";
 * drawBar(0.5, 8); // "▇▇▇▇░░░░"
 * ```
 */
export function drawBar(ratio: Ratio, width: number): string {
  let full = Math.round(ratio * width);
  if (ratio > 0) full = Math.max(1, full);
  if (ratio < 1) full = Math.min(width - 1, full);
  full = Math.min(width, Math.max(0, full));
  return FULL.repeat(full) + EMPTY.repeat(width - full);
}

/** The line with nothing but ASCII in it, as wide as it was. Styles stay. */
export function convertToAscii(line: string): string {
  if (ASCII_WITH_STYLES.test(line)) return line;
  let converted = "";
  for (const segment of splitGraphemes(line)) {
    converted += ASCII_WITH_STYLES.test(segment)
      ? segment
      : ASCII_STAND_INS[segment] ?? "?".repeat(measureWidth(segment));
  }
  return converted;
}

/**
 * The newest `width` values as columns over 0, in `height` lines from the top,
 * blanks for gaps, newest on the right. The highest value shown has the highest
 * level, or `highest` where that is given; every value that is no gap has some.
 *
 * @example
 * ```ts
 * import { drawChart } from "./glyphs.ts";
 * drawChart([0, 1, null, 2], { width: 4, height: 2 }); // [" ▁ █", "▁█ █"]
 * ```
 */
export function drawChart(
  values: readonly (number | null)[],
  { width, height, highest: top }: {
    readonly width: number;
    readonly height: number;
    readonly highest?: number;
  },
): string[] {
  const shown = values.slice(-width);
  const highest = top ?? Math.max(0, ...shown.map((value) => value ?? 0));
  const steps = height * LEVELS.length - 1;
  const levels = shown.map((value) => {
    if (value === null) return 0;
    const share = highest === 0 ? 0 : Math.min(1, Math.max(0, value / highest));
    return 1 + Math.round(share * steps);
  });
  return Array.from({ length: height }, (_, line) => {
    const below = (height - 1 - line) * LEVELS.length;
    const cells = levels.map((level) =>
      level <= below ? " " : LEVELS[Math.min(level - below, LEVELS.length) - 1]
    );
    return cells.join("").padStart(width);
  });
}

/**
 * The newest `width` values as a sparkline: a chart of one line.
 *
 * @example
 * ```ts
 * import { drawSparkline } from "./glyphs.ts";
 * drawSparkline([0, 1, null, 2], 4); // "▁▅ █"
 * ```
 */
export function drawSparkline(values: readonly (number | null)[], width: number): string {
  return drawChart(values, { width, height: 1 })[0];
}

/** The newest `width` ratios as a sparkline whose highest level is 1, so that the level itself can be read. */
export function drawRatioSparkline(ratios: readonly (Ratio | null)[], width: number): string {
  return drawChart(ratios, { width, height: 1, highest: 1 })[0];
}
