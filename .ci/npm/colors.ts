/**
 * `@std/fmt/colors` over `ansi-styles` and `strip-ansi`.
 *
 * `ansi-styles` is data only. Packages that paint (`picocolors`, `kleur`,
 * `chalk`) look at the environment and the terminal; the original looks at
 * `NO_COLOR` alone, by way of `Deno.noColor`.
 *
 * @module
 */

import styles from "npm:ansi-styles@7.0.0";
import stripAnsi from "npm:strip-ansi@7.2.0";

let enabled = !Deno.noColor;

/** Turns painting on or off. Where `NO_COLOR` is set it stays off. */
export function setColorEnabled(value: boolean): void {
  if (!Deno.noColor) enabled = value;
}

/** Whether texts are painted. */
export function getColorEnabled(): boolean {
  return enabled;
}

/** A painter that opens its style again wherever the text closes it. */
function createPainter(style: { open: string; close: string }): (text: string) => string {
  return (text) =>
    enabled ? style.open + text.replaceAll(style.close, style.open) + style.close : text;
}

export const bold: (text: string) => string = createPainter(styles.bold);
export const dim: (text: string) => string = createPainter(styles.dim);
export const inverse: (text: string) => string = createPainter(styles.inverse);
export const red: (text: string) => string = createPainter(styles.red);
export const green: (text: string) => string = createPainter(styles.green);
export const yellow: (text: string) => string = createPainter(styles.yellow);
export const blue: (text: string) => string = createPainter(styles.blue);
export const magenta: (text: string) => string = createPainter(styles.magenta);
export const cyan: (text: string) => string = createPainter(styles.cyan);

/** The text without its escape sequences. */
export function stripAnsiCode(text: string): string {
  return stripAnsi(text);
}
