/**
 * Numbers read, and pieces compared, in the bytes of an exposition.
 *
 * apart from the record it is given. Numbers are what Go's
 * `strconv.ParseFloat` takes for one. Nearly all have few digits, `123.0` or
 * `1.5e+06`: they are read from their bytes without making a string, and only
 * where that is exact: a mantissa below 2^53 times or divided by a power of ten
 * up to 10^22 is rounded once (Clinger, "How to read floating point numbers
 * accurately", 1990). All others take the long way over `Number`. Where a number
 * stands, and what may follow it, is `prometheus`' part.
 *
 * @module
 */

/** A number that was read from bytes, and where it ended. */
export interface NumberScan {
  value: number;
  /** The first position after it. */
  end: number;
}

const ZERO = 48, NINE = 57, POINT = 46, PLUS = 43, MINUS = 45;
const UPPER_E = 69, LOWER_E = 101;

/** A mantissa above this may exceed 2^53 with its next digit. */
const MAX_MANTISSA = Math.floor((2 ** 53 - 10) / 10);
/** The powers of ten that a double holds exactly. */
const POWERS_OF_TEN = Float64Array.from({ length: 23 }, (_, i) => Number(`1e${i}`));
const MAX_POWER = POWERS_OF_TEN.length - 1;

/**
 * Without hexadecimal and underscores. `Number` alone would take "", "0x1" and
 * "0b1". The digits before the point are matched in one way only: `\d+\.?\d*`
 * tries every way to part a million of them.
 */
const DECIMAL = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
const INFINITY = /^([+-]?)inf(?:inity)?$/i;
const NOT_A_NUMBER = /^nan$/i;

/**
 * Reads the digits, point and exponent from `start` on, as far as they go.
 * False where there is no number without a sign there, or none that can be read
 * exactly this way; `scan` then means nothing.
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

/** The value of a whole token, or `null` when it is no number. */
export function parseNumber(token: string): number | null {
  if (DECIMAL.test(token)) return Number(token);
  const infinity = INFINITY.exec(token);
  if (infinity !== null) return infinity[1] === "-" ? -Infinity : Infinity;
  return NOT_A_NUMBER.test(token) ? NaN : null;
}

/**
 * The upper bound of a bucket as its label `le` says it; NaN where it says none.
 * −∞ is none: nothing lies below it, and it would be a figure that is not finite.
 */
export function parseBound(le: string): number {
  const bound = parseNumber(le) ?? NaN;
  return bound === -Infinity ? NaN : bound;
}

/** Whether both have the same `length` bytes from their positions on. Four are compared at a time. */
export function areSameBytes(
  a: { readonly view: DataView; readonly at: number },
  b: { readonly view: DataView; readonly at: number },
  length: number,
): boolean {
  if (a.at + length > a.view.byteLength || b.at + length > b.view.byteLength) return false;
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    if (a.view.getInt32(a.at + i) !== b.view.getInt32(b.at + i)) return false;
  }
  for (; i < length; i++) {
    if (a.view.getUint8(a.at + i) !== b.view.getUint8(b.at + i)) return false;
  }
  return true;
}

/** A metric name that needs no quotes. */
export const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/** Receives each TYPE line: the family as the dialect names it, and its type. */
export type TypeVisitor = (family: string, type: string) => void;

/** What a comment line turned out to be. */
type CommentOutcome = {
  readonly bad?: string;
  readonly eof?: true;
};

const PLAIN_COMMENT: CommentOutcome = {};
const METADATA = /^#[ \t]+(HELP|TYPE)(?:[ \t]+("(?:[^"\\]|\\.)*"|[^ \t]+))?(?:[ \t]+(.*))?$/;

/**
 * Reads a comment: HELP, TYPE and EOF mean something, all else is skipped.
 *
 * @param types Family -> the type that it was declared with; grows.
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
