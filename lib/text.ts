/**
 * Foreign text made safe, and text measured in terminal cells.
 *
 * Text from elsewhere may hold escape sequences that drive the terminal (CWE-150), bidirectional
 * controls that reorder what is read, or floods of combining marks. It passes `sanitizeText` once,
 * in the codec that reads it. Widths are per grapheme cluster. Styled text is not measured here:
 * measure first, paint last.
 *
 * @module
 */

import { unicodeWidth } from "@std/cli/unicode-width";

/** Cells that a sanitised text may take unless the caller says otherwise. */
const DEFAULT_MAX_WIDTH = 256;

/** Combining marks kept on one base character; more would climb over the lines above. */
const MAX_MARKS_PER_GRAPHEME = 4;

/** Characters of foreign text that are looked at; the rest is cut off unread. */
const MAX_INPUT_LENGTH = 4096;

// C0, DEL, C1; soft hyphen; Arabic letter mark; zero-width and bidirectional controls; line and
// paragraph separators; word joiner and invisible operators; byte-order mark; interlinear
// annotations; tags; lone surrogates; private use.
const UNSAFE =
  // deno-lint-ignore no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e007f}]|\p{Cs}|\p{Co}/gu;
const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;
// ASCII and what the views draw: dashes, quotes, the ellipsis, blocks, bars and small shapes. Most
// lines have nothing else, and cutting text into graphemes is slow.
const SINGLE_WIDTH = /^[\x20-\x7e\u00b7\u2013\u2014\u2018\u2019\u2026\u2580-\u259f\u25b2-\u25cf]*$/;
// What a variation selector 16 or a pair of regional indicators makes wide.
const WIDE_GRAPHEME = /\p{Emoji}\ufe0f|^\p{Regional_Indicator}{2}$/u;
// Emoji that are drawn as one: a family is as wide as one of its members. The parts of any other
// cluster stand side by side, as the spacing vowels of Indic scripts do.
const ONE_GLYPH = /\u200d|\p{Emoji_Modifier_Base}\p{Emoji_Modifier}/u;
/** Made when it is needed first: making it takes a seventh of the time to the first frame. */
let segmenter: Intl.Segmenter | null = null;

/** What a reader takes for single characters, whatever they are made of. */
export function splitGraphemes(text: string): string[] {
  segmenter ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** A visible stand-in for a character that must not reach the terminal. */
function showCodePoint(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code >= 0xd800 && code <= 0xdfff) return "\ufffd";
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
}

/** One grapheme with no more combining marks than a line has room for. */
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
 * Text from elsewhere, safe to print: control, bidirectional and invisible
 * characters become visible escapes such as `\x1b`, floods of combining marks
 * are thinned, and what is wider than `maxWidth` cells is cut.
 */
export function sanitizeText(text: string, maxWidth: number = DEFAULT_MAX_WIDTH): string {
  if (text.length <= maxWidth && PRINTABLE_ASCII.test(text)) return text;
  const shown = text.slice(0, MAX_INPUT_LENGTH).replace(UNSAFE, showCodePoint);
  let safe = "";
  for (const segment of splitGraphemes(shown)) {
    safe += segment.length > MAX_MARKS_PER_GRAPHEME ? limitMarks(segment) : segment;
  }
  return cutText(safe, maxWidth);
}

/** Foreign text in quotes, safe to print and at most `maxWidth` cells wide between them. */
export function quote(text: string, maxWidth: number = DEFAULT_MAX_WIDTH): string {
  return `"${sanitizeText(text, maxWidth)}"`;
}

/** Terminal cells that one grapheme cluster takes. */
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

/** Terminal cells that a sanitised text takes: wide characters 2, combining ones 0, ambiguous ones 1. */
export function measureWidth(text: string): number {
  if (SINGLE_WIDTH.test(text)) return text.length;
  let width = 0;
  for (const segment of splitGraphemes(text)) width += measureGrapheme(segment);
  return width;
}

/**
 * The text cut to `width` cells, with a `…` at its end where something was cut.
 * A wide character is never halved, so the result may be one cell narrower.
 */
export function cutText(text: string, width: number): string {
  if (measureWidth(text) <= width) return text;
  if (width <= 0) return "";
  if (SINGLE_WIDTH.test(text)) return text.slice(0, width - 1) + "…";
  let kept = "";
  let used = 0;
  for (const segment of splitGraphemes(text)) {
    const next = measureGrapheme(segment);
    if (used + next > width - 1) break;
    kept += segment;
    used += next;
  }
  return kept + "…";
}

/**
 * The text cut to `width` cells from its front, with a `…` where something was
 * cut: of names the end tells them apart. It may be one cell narrower.
 */
export function cutTextStart(text: string, width: number): string {
  let excess = measureWidth(text) - width;
  if (excess <= 0) return text;
  if (width <= 0) return "";
  excess++; // For the sign.
  if (SINGLE_WIDTH.test(text)) return "…" + text.slice(excess);
  const segments = splitGraphemes(text);
  const first = segments.findIndex((segment) => {
    if (excess <= 0) return true;
    excess -= measureGrapheme(segment);
    return false;
  });
  return "…" + (first < 0 ? "" : segments.slice(first).join(""));
}

/** The text filled up with blanks to `width` cells; unchanged where it is as wide already. */
export function padText(text: string, width: number, align: "left" | "right" = "left"): string {
  const blanks = " ".repeat(Math.max(0, width - measureWidth(text)));
  return align === "left" ? text + blanks : blanks + text;
}

/** A text on as many lines as it needs, broken at blanks. Lines but the first begin with `indent`. */
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

/** A text that prints as `***`. */
export interface Secret {
  readonly toString: () => string;
  readonly toJSON: () => string;
}

const MASK = "***";
const texts = new WeakMap<Secret, string>();

/** Wraps a text so that it prints as `***`. */
export function createSecret(text: string): Secret {
  const secret: Secret = Object.freeze({
    toString: () => MASK,
    toJSON: () => MASK,
    [Symbol.for("Deno.customInspect")]: () => MASK,
  });
  texts.set(secret, text);
  return secret;
}

/** The text behind a secret. For the request that needs it, and nothing else. */
export function revealSecret(secret: Secret): string {
  return texts.get(secret) ?? "";
}

/** Whether any of the rules below can apply: most command lines of a machine have nothing of the kind. */
const SUSPICIOUS =
  /key|token|secret|passw|passphrase|pwd|credential|auth|bearer|cookie|:\/\/|\s-(?:u|-user)[\s=]|hf_|sk-|gh[a-z]_|github_pat|glpat-|nvapi-|xox|AKIA|eyJ/i;

/** Names of secrets: these words anywhere, or at the end, where a number may follow them. */
const SECRET_NAME =
  /secret|passw|passphrase|pwd|credential|authorization|bearer|cookie|(?:api|auth|access)[-_.]?(?:key|token)|(?:keys?|token|auth)(?:[-_.]?\d+)?$/i;

/** Names that end so are of files, which hold the secret and are none. */
const FILE_NAME = /(?:file|path|dir)$/i;

/** `name=value`, `name: value` and `"name": "value"`; a value in quotes goes up to the closing one. */
const ASSIGNMENT =
  /([A-Za-z_][\w.-]*)(["']?\s*[=:]\s*)(?!\/\/)("[^"]*"?|'[^']*'?|(?:(?:Bearer|Basic)\s+)?[^\s,;"'}\]]+)/g;

/** A password between user and host, and a user that stands alone, which may be a token. */
const USER_INFO = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi;

/** curl's user and password. */
const CURL_USER = /(\s(?:-u|--user)[\s=]\S+?:)\S+/g;

/** A header's scheme and what follows it. */
const BEARER = /\b(Bearer|Basic)\s+[^\s"']+/gi;

/** Tokens of Hugging Face, OpenAI, GitHub, GitLab, NVIDIA, Slack, AWS; JSON web tokens. */
const TOKEN_SHAPE =
  /\b(?:hf_[A-Za-z0-9]{8,}|sk-[\w-]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}|nvapi-[\w-]{8,}|xox[abeoprs]-[\w-]{8,}|AKIA[A-Z0-9]{8,}|eyJ[\w-]{8,}(?:\.[\w-]*)*)/g;

/** Whether a value under this name must not be shown. Dashes in front do not matter. */
function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name) && !FILE_NAME.test(name);
}

/** Masks what follows options whose names sound like secrets, up to the next option. */
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

/**
 * The command line with `***` in place of whatever may be a secret.
 */
export function maskSecrets(commandLine: string): string {
  if (!SUSPICIOUS.test(commandLine)) return commandLine;
  const withoutOptions = maskOptions(commandLine.split(" ")).join(" ");
  return withoutOptions
    .replace(USER_INFO, `$1${MASK}@`)
    .replace(BEARER, `$1 ${MASK}`)
    .replace(
      ASSIGNMENT,
      (whole, name: string, sign: string) => isSecretName(name) ? `${name}${sign}${MASK}` : whole,
    )
    .replace(CURL_USER, `$1${MASK}`)
    .replace(TOKEN_SHAPE, MASK);
}
