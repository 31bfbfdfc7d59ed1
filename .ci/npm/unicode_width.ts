/**
 * `@std/cli/unicode-width` over `get-east-asian-width`.
 *
 * The package says how wide a character is drawn; that combining marks, control
 * and ignorable characters take no cell is added here. Like the original it
 * adds up code points and knows nothing of escape sequences or grapheme
 * clusters. `string-width` knows both, and would thus measure other widths.
 *
 * @module
 */

import { eastAsianWidth } from "npm:get-east-asian-width@1.7.0";

// Marks; controls; ignorable characters; vowels and finals of conjoining Hangul.
const ZERO_WIDTH = /^[\p{Mn}\p{Me}\p{Cc}\p{Default_Ignorable_Code_Point}\u1160-\u11ff]$/u;

/** Terminal cells that the code points of a text take, one by one. */
export function unicodeWidth(text: string): number {
  let width = 0;
  for (const character of text) {
    const codePoint = character.codePointAt(0) ?? 0;
    if (codePoint >= 0x20 && codePoint < 0x7f) width++;
    else if (!ZERO_WIDTH.test(character)) width += eastAsianWidth(codePoint);
  }
  return width;
}
