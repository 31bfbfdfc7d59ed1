/**
 * `@std/fmt/colors` over `strip-ansi`, as far as it is used: nothing is painted by it.
 *
 * @module
 */

import stripAnsi from "npm:strip-ansi@7.2.0";

/** The text without its escape sequences. */
export function stripAnsiCode(text: string): string {
  return stripAnsi(text);
}
