/**
 * Parses numbers in the bytes of an exposition, accepting what Go's `strconv.ParseFloat` does.
 * Short decimals are read without a string where that is exact: a mantissa below 2^53 times or
 * divided by a power of ten up to 10^22 rounds once (Clinger, "How to read floating point numbers
 * accurately", 1990). Others go through `Number`.
 * @module
 */

/** A parsed number and its end. */
export interface NumberScan {
  value: number;
  /** Exclusive. */
  end: number;
}

const ZERO = 48, NINE = 57, POINT = 46, PLUS = 43, MINUS = 45;
const UPPER_E = 69, LOWER_E = 101;
/** Another digit may exceed 2^53. */
const MAX_MANTISSA = Math.floor((2 ** 53 - 10) / 10);
/** Exact in a double. */
const POWERS_OF_TEN = Float64Array.from({ length: 23 }, (_, i) => Number(`1e${i}`));
const MAX_POWER = POWERS_OF_TEN.length - 1;

/**
 * Excludes hexadecimal and underscores, which `Number` accepts, as it does "". No nested
 * quantifiers: a million digits must not backtrack.
 */
const DECIMAL = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
const INFINITY = /^([+-]?)inf(?:inity)?$/i;
const NOT_A_NUMBER = /^nan$/i;

/**
 * Parses unsigned digits, point and exponent. Returns false if there is no number, or it cannot be
 * parsed exactly this way; `scan` is then undefined.
 */
export function scanNumber(bytes: Uint8Array, start: number, scan: NumberScan): boolean {
  let mantissa = 0;
  let position = start;
  let code = bytes[position];
  for (; code >= ZERO && code <= NINE; code = bytes[++position]) {
    if (mantissa > MAX_MANTISSA) return false;
    mantissa = mantissa * 10 + (code - ZERO);
  }
  let digits = position - start;
  let power = 0;
  if (code === POINT) {
    const fraction = ++position;
    code = bytes[position];
    for (; code >= ZERO && code <= NINE; code = bytes[++position]) {
      if (mantissa > MAX_MANTISSA) return false;
      mantissa = mantissa * 10 + (code - ZERO);
    }
    power = fraction - position;
    digits -= power;
  }
  if (digits === 0) return false;
  if (code === LOWER_E || code === UPPER_E) {
    code = bytes[++position];
    const isNegative = code === MINUS;
    if (isNegative || code === PLUS) code = bytes[++position];
    const first = position;
    let exponent = 0;
    for (; code >= ZERO && code <= NINE; code = bytes[++position]) {
      exponent = Math.min(exponent * 10 + (code - ZERO), 10_000);
    }
    if (position === first) return false;
    power += isNegative ? -exponent : exponent;
  }
  if (power > MAX_POWER || power < -MAX_POWER) return false;
  scan.value = power < 0 ? mantissa / POWERS_OF_TEN[-power] : mantissa * POWERS_OF_TEN[power];
  scan.end = position;
  return true;
}

/** Parses a whole token. */
export function parseNumber(token: string): number | null {
  if (DECIMAL.test(token)) return Number(token);
  const infinity = INFINITY.exec(token);
  if (infinity !== null) return infinity[1] === "-" ? -Infinity : Infinity;
  return NOT_A_NUMBER.test(token) ? NaN : null;
}

/** Parses `le`; NaN if invalid. −∞ is invalid: it would be a figure that is not finite. */
export function parseBound(le: string): number {
  const bound = parseNumber(le) ?? NaN;
  return bound === -Infinity ? NaN : bound;
}

/** Compares eight bytes at a time, as numbers: equal ones have equal bytes, except 0 and −0. */
export function areSameBytes(
  a: { readonly view: DataView; readonly at: number },
  b: { readonly view: DataView; readonly at: number },
  length: number,
): boolean {
  if (a.at + length > a.view.byteLength || b.at + length > b.view.byteLength) return false;
  let i = 0;
  for (; i + 8 <= length; i += 8) {
    const number = a.view.getFloat64(a.at + i, true);
    if (number !== b.view.getFloat64(b.at + i, true) || number === 0) break;
  }
  for (; i < length; i++) {
    if (a.view.getUint8(a.at + i) !== b.view.getUint8(b.at + i)) return false;
  }
  return true;
}

/** Needs no quotes. */
export const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
/** Called for each TYPE line. */
export type TypeVisitor = (family: string, type: string) => void;
type CommentOutcome = { readonly bad?: string; readonly eof?: true };
const PLAIN_COMMENT: CommentOutcome = {};
const METADATA = /^#[ \t]+(HELP|TYPE)(?:[ \t]+("(?:[^"\\]|\\.)*"|[^ \t]+))?(?:[ \t]+(.*))?$/;

/**
 * Parses HELP, TYPE and EOF; ignores other comments.
 * @param types Declared types by family; extended.
 */
export function parseComment(
  line: string,
  types: Map<string, string>,
  onType?: TypeVisitor,
): CommentOutcome {
  if (line === "# EOF") return { eof: true };
  const match = METADATA.exec(line);
  if (match === null) return PLAIN_COMMENT;
  const [, keyword, token = "", rest = ""] = match;
  const isQuoted = token.startsWith('"');
  const family = isQuoted ? token.slice(1, -1).replace(/\\(["\\])/g, "$1") : token;
  if (!isQuoted && !METRIC_NAME.test(family)) return { bad: `${keyword} without a metric name` };
  if (keyword === "HELP") return PLAIN_COMMENT;
  const type = rest.trim();
  if (type === "") return { bad: "TYPE without a type" };
  types.set(family, type);
  onType?.(family, type);
  return PLAIN_COMMENT;
}
