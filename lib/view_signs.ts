/**
 * Redraws lines for screens that lack some signs: the Linux console has no braille, and other
 * locales only ASCII. Width and styles stay.
 * @module
 */

import { measureWidth, splitGraphemes } from "./text.ts";

/** The signs that views draw, and their ASCII stand-ins in the same order. */
const SIGNS = "◀▸▾▴↑↓→←⏎␣▓░─│┤├┬┼—–…·●▌≈≥≤∞×÷−‘’°∙▒█";
const STAND_INS = "<>v^^v><<_#--|||++--~|*>~><!x/-'' .+@";

export const FIRST_BRAILLE = 0x2800;
/** The bits of a cell's left and right dots, from the bottom (Unicode, block Braille Patterns). */
export const BRAILLE_DOTS = [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]] as const;
const BRAILLE = /[\u2800-\u28ff]/g;

/** Rows of dots in use, as bits: 1 is the lowest. */
function listRows(pattern: number): number {
  return [0, 1, 2, 3].reduce(
    (rows, row) => rows | (pattern & (BRAILLE_DOTS[0][row] | BRAILLE_DOTS[1][row]) ? 1 << row : 0),
    0,
  );
}

/** Half blocks: the kernel's console font has no other heights (cp437.uni). */
function drawBlock(rows: number): string {
  return " ▄▀█"[(rows & 0b0011 ? 1 : 0) + (rows & 0b1100 ? 2 : 0)];
}

/** Columns get `.`, `:`, `!` or `|` by their height; lines `.`, `'` or `:`. */
function drawCharacter(rows: number): string {
  const height = [0b0000, 0b0001, 0b0011, 0b0111, 0b1111].indexOf(rows);
  if (height >= 0) return " .:!|"[height];
  return rows & 0b0011 ? (rows & 0b1100 ? ":" : ".") : "'";
}

function convertBraille(line: string, draw: (rows: number) => string): string {
  return line.replace(BRAILLE, (cell) => draw(listRows(cell.charCodeAt(0) - FIRST_BRAILLE)));
}

/** Replaces braille by half blocks. */
function convertToBlocks(line: string): string {
  return convertBraille(line, drawBlock);
}

// deno-lint-ignore no-control-regex
const ASCII_WITH_STYLES = /^[\x20-\x7e\x1b]*$/;
const NON_ASCII = /[^\0-\x7f]/g;

/** Replaces non-ASCII characters. */
export function convertToAscii(line: string): string {
  if (ASCII_WITH_STYLES.test(line)) return line;
  const known = convertBraille(line, drawCharacter);
  const plain = known.replace(
    NON_ASCII,
    (sign) => STAND_INS[SIGNS.indexOf(sign)] ?? sign,
  );
  // Most lines need no slow segmentation.
  if (ASCII_WITH_STYLES.test(plain)) return plain;
  let converted = "";
  for (const segment of splitGraphemes(known)) {
    converted += ASCII_WITH_STYLES.test(segment)
      ? segment
      : STAND_INS[SIGNS.indexOf(segment)] ?? "?".repeat(measureWidth(segment));
  }
  return converted;
}

/** What a screen can show. */
export interface SignSet {
  readonly ascii: boolean;
  /** Default true. */
  readonly hasBraille?: boolean;
}

/** Replaces what the screen cannot show. */
export function convertSigns(line: string, { ascii, hasBraille = true }: SignSet): string {
  if (ascii) return convertToAscii(line);
  return hasBraille ? line : convertToBlocks(line);
}

/** `linux` is the console, whose fonts have no room for braille. */
export function chooseBraille(environment: (name: string) => string | undefined): boolean {
  return environment("TERM") !== "linux";
}
