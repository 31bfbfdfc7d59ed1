/**
 * Sanitizes, masks, measures and wraps text. Foreign text may hold escape sequences (CWE-150),
 * bidirectional controls or floods of combining marks: it passes `sanitizeText` once, where it is
 * parsed. Measure before styling.
 * @module
 */

import { unicodeWidth } from "@std/cli/unicode-width";

const DEFAULT_MAX_WIDTH = 256;
const MAX_MARKS_PER_GRAPHEME = 4;
const MAX_INPUT_LENGTH = 4096;

// C0, DEL, C1; soft hyphen; Arabic letter mark; zero-width and bidirectional controls; line and
// paragraph separators; word joiner and invisible operators; byte-order mark; interlinear
// annotations; tags; lone surrogates; private use.
const UNSAFE =
  // deno-lint-ignore no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e007f}]|\p{Cs}|\p{Co}/gu;
const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;
// ASCII and the characters that views draw: most lines need no slow segmentation.
const SINGLE_WIDTH =
  /^[\x20-\x7e\u00a0-\u00ac\u00ae-\u00ff\u2013\u2014\u2018\u2019\u2026\u20ac\u2190-\u2193\u2212\u2219\u221e\u2248\u2264\u2265\u23ce\u2423\u2500-\u259f\u25b2-\u25cf\u2800-\u28ff]*$/;
// Variation selector 16 and regional-indicator pairs are wide.
const WIDE_GRAPHEME = /\p{Emoji}\ufe0f|^\p{Regional_Indicator}{2}$/u;
// Joined emoji take the width of one member; parts of other clusters (Indic vowels) add up.
const ONE_GLYPH = /\u200d|\p{Emoji_Modifier_Base}\p{Emoji_Modifier}/u;
/** Created lazily: it costs a seventh of the time to the first frame. */
let segmenter: Intl.Segmenter | null = null;

export function splitGraphemes(text: string): string[] {
  segmenter ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** Created lazily: it costs 5 ms of a start. */
let collator: Intl.Collator | null = null;
const SHORT_NUMBER = /^\d{1,15}$/;

/** Orders names by the numbers in them: `e2` before `e10`. */
export function compareNames(a: string, b: string): number {
  // Most ranks of engines are numbers.
  if (SHORT_NUMBER.test(a) && SHORT_NUMBER.test(b)) return Number(a) - Number(b);
  collator ??= new Intl.Collator("en", { numeric: true });
  return collator.compare(a, b);
}

function showCodePoint(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code >= 0xd800 && code <= 0xdfff) return "\ufffd";
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
}

function limitMarks(grapheme: string): string {
  let marks = 0;
  let kept = "";
  for (const character of grapheme) {
    if (/\p{M}/u.test(character) && ++marks > MAX_MARKS_PER_GRAPHEME) continue;
    kept += character;
  }
  return kept;
}

/**
 * Makes foreign text safe to print: escapes control, bidirectional and invisible characters visibly
 * (`\x1b`), thins combining marks, and cuts to `maxWidth` cells.
 */
export function sanitizeText(text: string, maxWidth: number = DEFAULT_MAX_WIDTH): string {
  if (text.length <= maxWidth && PRINTABLE_ASCII.test(text)) return text;
  const shown = text.slice(0, MAX_INPUT_LENGTH).replace(UNSAFE, showCodePoint);
  // Characters of single width never combine.
  if (SINGLE_WIDTH.test(shown)) return cutText(shown, maxWidth);
  let safe = "";
  for (const segment of splitGraphemes(shown)) {
    safe += segment.length > MAX_MARKS_PER_GRAPHEME ? limitMarks(segment) : segment;
  }
  return cutText(safe, maxWidth);
}

/** Sanitizes a name in full: names may differ at the end of a deep path. */
export function sanitizeName(text: string): string {
  // One less than is read, so that a cut shows.
  return sanitizeText(text, MAX_INPUT_LENGTH - 1);
}

/** Quotes sanitized text. */
export function quote(text: string, maxWidth: number = DEFAULT_MAX_WIDTH): string {
  return `"${sanitizeText(text, maxWidth)}"`;
}

function measureGrapheme(grapheme: string): number {
  if (WIDE_GRAPHEME.test(grapheme)) return 2;
  const isOneGlyph = ONE_GLYPH.test(grapheme);
  let width = 0;
  for (const character of grapheme) {
    const own = unicodeWidth(character);
    width = isOneGlyph ? Math.max(width, own) : width + own;
  }
  return width;
}

/** Measures terminal cells of sanitized text: wide characters 2, combining 0, ambiguous 1. */
export function measureWidth(text: string): number {
  if (SINGLE_WIDTH.test(text)) return text.length;
  let width = 0;
  for (const segment of splitGraphemes(text)) width += measureGrapheme(segment);
  return width;
}

/** The first graphemes that fit into `width` cells. */
function fitGraphemes(graphemes: readonly string[], width: number): readonly string[] {
  let left = width;
  const end = graphemes.findIndex((grapheme) => (left -= measureGrapheme(grapheme)) < 0);
  return end < 0 ? graphemes : graphemes.slice(0, end);
}

/**
 * Cuts to `width` cells, ending in `…`. May be one cell narrower: wide characters are never halved.
 */
export function cutText(text: string, width: number): string {
  if (measureWidth(text) <= width) return text;
  if (width <= 0) return "";
  if (SINGLE_WIDTH.test(text)) return text.slice(0, width - 1) + "…";
  return fitGraphemes(splitGraphemes(text), width - 1).join("") + "…";
}

/** Cuts from the front, for names that differ at the end. May be one cell narrower. */
export function cutTextStart(text: string, width: number): string {
  if (measureWidth(text) <= width) return text;
  if (width <= 0) return "";
  if (SINGLE_WIDTH.test(text)) return "…" + text.slice(text.length - width + 1);
  return "…" + fitGraphemes(splitGraphemes(text).reverse(), width - 1).toReversed().join("");
}

/** Cuts in the middle, for names that differ at either end. May be one or two cells narrower. */
export function cutTextMiddle(text: string, width: number): string {
  if (width < 3 || measureWidth(text) <= width) return cutText(text, width);
  const head = Math.ceil(width / 2);
  return cutText(text, head) + cutTextStart(text, width - head + 1).slice(1);
}

export function padText(text: string, width: number, align: "left" | "right" = "left"): string {
  const blanks = " ".repeat(Math.max(0, width - measureWidth(text)));
  return align === "left" ? text + blanks : blanks + text;
}

/** Breaks at blanks; all lines but the first start with `indent`. */
export function wrapText(text: string, width: number, indent = ""): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line.trim() !== "" && measureWidth(line) + 1 + measureWidth(word) > width) {
      lines.push(cutText(line, width));
      line = indent;
    }
    line += (line.trim() === "" ? "" : " ") + word;
  }
  return [...lines, cutText(line, width)];
}

/** Prints as `***`. */
export interface Secret {
  readonly toString: () => string;
  readonly toJSON: () => string;
}

const MASK = "***";
const texts = new WeakMap<Secret, string>();

export function createSecret(text: string): Secret {
  const secret: Secret = Object.freeze({
    toString: () => MASK,
    toJSON: () => MASK,
    [Symbol.for("Deno.customInspect")]: () => MASK,
  });
  texts.set(secret, text);
  return secret;
}

/** Reveals the text. Only for the request that needs it. */
export function revealSecret(secret: Secret): string {
  return texts.get(secret) ?? "";
}

/** Quick test: most command lines match no rule below. */
const SUSPICIOUS =
  /key|token|secret|passw|passphrase|pwd|credential|auth|bearer|cookie|:\/\/|\s-(?:u|-user)[\s=]|hf_|sk-|gh[a-z]_|github_pat|glpat-|nvapi-|xox|AKIA|eyJ/i;

/** These words anywhere, or at the end before a number. */
const SECRET_NAME =
  /secret|passw|passphrase|pwd|credential|authorization|bearer|cookie|(?:api|auth|access)[-_.]?(?:key|token)|(?:keys?|token|auth)(?:[-_.]?\d+)?$/i;

/** Names of files that hold a secret. */
const FILE_NAME = /(?:file|path|dir)$/i;

/** `name=value`, `name: value`, `"name": "value"`; quotes and lists extend to their end. */
const ASSIGNMENT =
  /([A-Za-z_][\w.-]*)(["']?\s*[=:]\s*)(?!\/\/)("[^"]*"?|'[^']*'?|\[[^\]]*\]?|(?:(?:Bearer|Basic)\s+)?[^\s,;"'}\]]+)/g;

/** A lone user may be a token. */
const USER_INFO = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi;
const CURL_USER = /(\s(?:-u|--user)[\s=]\S+?:)\S+/g;
const BEARER = /\b(Bearer|Basic)\s+[^\s"']+/gi;

/** Tokens of Hugging Face, OpenAI, GitHub, GitLab, NVIDIA, Slack, AWS; JSON web tokens. */
const TOKEN_SHAPE =
  /\b(?:hf_[A-Za-z0-9]{8,}|sk-[\w-]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}|nvapi-[\w-]{8,}|xox[abeoprs]-[\w-]{8,}|AKIA[A-Z0-9]{8,}|eyJ[\w-]{8,}(?:\.[\w-]*)*)/g;

function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name) && !FILE_NAME.test(name);
}

/** Masks the values of secret-sounding options, up to the next option. */
function maskOptions(words: readonly string[]): string[] {
  let isSecret = false;
  return words.map((word) => {
    if (!/^-+[A-Za-z]/.test(word)) return isSecret && word !== "" ? MASK : word;
    const equals = word.indexOf("=");
    const name = equals < 0 ? word : word.slice(0, equals);
    isSecret = isSecretName(name);
    return isSecret && equals >= 0 ? `${name}=${MASK}` : word;
  });
}

/** Replaces possible secrets in a command line by `***`. */
export function maskSecrets(commandLine: string): string {
  if (!SUSPICIOUS.test(commandLine)) return commandLine;
  const withoutOptions = maskOptions(commandLine.split(" ")).join(" ");
  return withoutOptions.replace(USER_INFO, `$1${MASK}@`).replace(BEARER, `$1 ${MASK}`)
    .replace(
      ASSIGNMENT,
      (whole, name: string, sign: string) => isSecretName(name) ? `${name}${sign}${MASK}` : whole,
    )
    .replace(CURL_USER, `$1${MASK}`)
    .replace(TOKEN_SHAPE, MASK);
}
