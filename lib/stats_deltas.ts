/**
 * Packs vectors of numbers that change little from one to the next, such as the values of scrape
 * after scrape. Each number is predicted: of whole numbers, to grow as their neighbour did, since
 * one request raises all buckets above it alike; of others, to stay. An adaptive arithmetic coder
 * writes whether it did, and how large the difference is if not: what is often so takes a fraction
 * of a bit. All digits of a difference are equally likely, so they are stored without coding.
 * @module
 */

import type { Bytes } from "./units.ts";

/** Grows by `appendVector`. A vector of another length starts a new list. */
export interface VectorLog {
  /** Of the coder. */
  codes: ByteList;
  digits: ByteList;
  /** Digits that do not fill a byte yet, and how many. */
  rest: number;
  restCount: number;
  /** Of the coder (`createInterval`). */
  interval: Uint32Array;
  model: Model;
}

interface ByteList {
  bytes: Uint8Array;
  length: number;
}

/** What was learnt of the vectors until now. Reader and writer learn alike. */
interface Model {
  last: Float64Array;
  /** By context, the probability of a 1 in parts of 2^16, and how often it was met. */
  readonly odds: Uint16Array;
  readonly counts: Uint8Array;
  /** Digits of the last difference, by place. */
  readonly sizes: Uint8Array;
}

/** Writes, or reads and ignores what it is given. */
interface Coder {
  readonly codeBit: (model: Model, context: number, bit: number) => number;
  /** At most 32 binary digits. */
  readonly codeDigits: (value: number, count: number) => number;
}

const FIRST_ROOM = 128;
const WORD = 32;
/** Larger differences are written as other numbers, as they may lose digits. */
const MAX_SIZE = 40;
/** Of two. */
const POWERS = Float64Array.from({ length: MAX_SIZE + 1 }, (_, i) => 2 ** i);
const ONE = 0xffff;
/** Odds beyond it would cost more, if wrong, than they save. */
const MIN_ODDS = 16;
/** Old vectors count less. */
const MAX_COUNT = 30;

// Contexts after those of the places.
const IS_WHOLE = 0;
const IS_NEGATIVE = 1;
const FIRST_SIZE = 2;
const SIZES = MAX_SIZE + 1;
/** Larger ones are told apart by their digits alone. */
const MAX_KNOWN_SIZE = 15;
const FIRST_LEADING = FIRST_SIZE + (MAX_KNOWN_SIZE + 1) * SIZES;
const LEADING_DIGITS = 7;
const CONTEXTS = FIRST_LEADING + 2 ** LEADING_DIGITS;

function createModel(length: number): Model {
  return {
    last: new Float64Array(length),
    odds: new Uint16Array(length === 0 ? 0 : length + CONTEXTS).fill(ONE >> 1),
    counts: new Uint8Array(length === 0 ? 0 : length + CONTEXTS),
    sizes: new Uint8Array(length),
  };
}

// Indexes into an interval, after its lower and upper bound. Local variables would cost an
// allocation for each bit: most values exceed V8's small integers.
/** Upper bound of the part that is for 1. */
const MIDDLE = 2;
/** Where within the interval the written bits lead. */
const POSITION = 3;

function createInterval(): Uint32Array {
  return Uint32Array.of(0, 0xffffffff, 0, 0);
}

// Of closed logs, of which there are thousands.
const NO_MODEL = createModel(0);
const NO_INTERVAL = createInterval();

export function createVectorLog(): VectorLog {
  const createList = () => ({ bytes: new Uint8Array(FIRST_ROOM), length: 0 });
  return {
    ...{ codes: createList(), digits: createList(), rest: 0, restCount: 0 },
    ...{ interval: createInterval(), model: NO_MODEL },
  };
}

// ---- Bits.

function writeByte(list: ByteList, byte: number): void {
  if (list.length === list.bytes.length) {
    const grown = new Uint8Array(2 * list.length);
    grown.set(list.bytes);
    list.bytes = grown;
  }
  list.bytes[list.length++] = byte;
}

/** Sets `MIDDLE`. */
function split(interval: Uint32Array, odds: number): void {
  const share = odds < MIN_ODDS ? MIN_ODDS : odds > ONE - MIN_ODDS ? ONE - MIN_ODDS : odds;
  const low = interval[0];
  interval[MIDDLE] = low + Math.floor((interval[1] - low) / (ONE + 1) * share);
}

function narrow(interval: Uint32Array, bit: number): void {
  if (bit === 1) interval[1] = interval[MIDDLE];
  else interval[0] = interval[MIDDLE] + 1;
}

function hasCommonByte(interval: Uint32Array): boolean {
  return interval[0] >>> 24 === interval[1] >>> 24;
}

function dropByte(interval: Uint32Array): void {
  interval[0] <<= 8;
  interval[1] = interval[1] << 8 | 0xff;
}

function learn({ odds, counts }: Model, context: number, bit: number): void {
  odds[context] += ((bit === 1 ? ONE : 0) - odds[context]) / (counts[context] + 2);
  if (counts[context] < MAX_COUNT) counts[context]++;
}

function createWriter(log: VectorLog): Coder {
  const { interval, codes, digits } = log;
  return {
    codeBit: (model, context, bit) => {
      split(interval, model.odds[context]);
      narrow(interval, bit);
      learn(model, context, bit);
      for (; hasCommonByte(interval); dropByte(interval)) writeByte(codes, interval[1] >>> 24);
      return bit;
    },
    codeDigits: (value, count) => {
      for (let left = count, digits16 = value; left > 0; left -= 16) {
        const part = left < 16 ? left : 16;
        log.rest |= (digits16 & (1 << part) - 1) << log.restCount;
        digits16 >>>= part;
        log.restCount += part;
        for (; log.restCount >= 8; log.restCount -= 8, log.rest >>>= 8) {
          writeByte(digits, log.rest & 0xff);
        }
      }
      return value;
    },
  };
}

function closeList({ bytes, length }: ByteList, ends: readonly number[]): Uint8Array {
  const closed = new Uint8Array(length + ends.length);
  closed.set(bytes.subarray(0, length));
  closed.set(ends, length);
  return closed;
}

/** With the bytes that put a reader within the interval, and the digits that fill no byte. */
function closeLog({ codes, digits, interval, rest }: VectorLog) {
  const ends = [24, 16, 8, 0].map((shift) => interval[0] >>> shift & 0xff);
  return { codes: closeList(codes, ends), digits: closeList(digits, [rest & 0xff]) };
}

function createReader(log: VectorLog): Coder {
  const { codes, digits } = closeLog(log);
  const interval = createInterval();
  let [codesRead, digitsRead, rest, restCount] = [0, 0, 0, 0];
  const shift = (): void => {
    interval[POSITION] = interval[POSITION] << 8 | (codes[codesRead++] ?? 0);
  };
  for (let i = 0; i < 4; i++) shift();
  return {
    codeBit: (model, context) => {
      split(interval, model.odds[context]);
      const bit = interval[POSITION] <= interval[MIDDLE] ? 1 : 0;
      narrow(interval, bit);
      learn(model, context, bit);
      for (; hasCommonByte(interval); dropByte(interval)) shift();
      return bit;
    },
    codeDigits: (_, count) => {
      let value = 0;
      for (let read = 0; read < count; read += 16) {
        const part = count - read < 16 ? count - read : 16;
        for (; restCount < part; restCount += 8) rest |= digits[digitsRead++] << restCount;
        value += (rest & (1 << part) - 1) * POWERS[read];
        rest >>>= part;
        restCount -= part;
      }
      return value;
    },
  };
}

// ---- Numbers.

/** The difference that the next whole number is expected to have. */
function predict(before: number, difference: number): number {
  return Number.isInteger(before) ? before + difference : before;
}

/** Difference for the next number. */
function follow(value: number, before: number, difference: number): number {
  if (!Number.isInteger(before)) return difference;
  return Number.isInteger(value) ? value - before : 0;
}

/** Whether the difference can be written as a whole number. */
function isWholeSurprise(value: number, before: number, expected: number): boolean {
  if (!Number.isInteger(value) || !Number.isInteger(before)) return false;
  const surprise = value - expected;
  return surprise !== 0 && Math.abs(surprise) < 2 ** MAX_SIZE && expected + surprise === value &&
    !Object.is(value, -0);
}

/** Binary digits after the first. */
function countDigits(amount: number): number {
  if (amount === 0) return 0;
  return amount < POWERS[WORD]
    ? WORD - 1 - Math.clz32(amount)
    : 2 * WORD - 1 - Math.clz32(amount / POWERS[WORD]);
}

/** More digits than a word has. */
function codeLong(coder: Coder, value: number, size: number): number {
  return coder.codeDigits(value % POWERS[WORD], WORD) +
    POWERS[WORD] * coder.codeDigits(Math.floor(value / POWERS[WORD]), size - WORD);
}

/** Sign, number of digits after the first, and those. */
function codeWhole(coder: Coder, model: Model, surprise: number, at: number): number {
  const { sizes } = model;
  const first = sizes.length;
  const isNegative = coder.codeBit(model, first + IS_NEGATIVE, surprise < 0 ? 1 : 0) === 1;
  const amount = Math.abs(surprise);
  const wanted = countDigits(amount);
  const context = first + FIRST_SIZE + SIZES * sizes[at];
  let size = 0;
  while (coder.codeBit(model, context + size, size < wanted ? 1 : 0) === 1) size++;
  sizes[at] = Math.min(size, MAX_KNOWN_SIZE);
  const rest = amount - POWERS[size];
  const value = POWERS[size] +
    (size <= WORD ? coder.codeDigits(rest, size) : codeLong(coder, rest, size));
  return isNegative ? -value : value;
}

const FLOATS = new Float64Array(2);
const WORDS = new Uint32Array(FLOATS.buffer);
/** Of the word with sign and exponent. */
const HIGH = new Uint8Array(Uint32Array.of(1).buffer)[0];
const LOW = 1 - HIGH;

/** How many digits it shares with the one before, from the sign on, and the digits after them. */
function codeFloat(coder: Coder, model: Model, value: number, before: number): number {
  const context = model.sizes.length + FIRST_LEADING;
  FLOATS[0] = value;
  FLOATS[1] = before;
  const [high, low] = [WORDS[2 + HIGH], WORDS[2 + LOW]];
  const [changedHigh, changedLow] = [(WORDS[HIGH] ^ high) >>> 0, (WORDS[LOW] ^ low) >>> 0];
  const wanted = changedHigh === 0 ? WORD + Math.clz32(changedLow) : Math.clz32(changedHigh);
  let leading = 0;
  for (let i = LEADING_DIGITS - 1, node = 1; i >= 0; i--) {
    const bit = coder.codeBit(model, context + node, wanted >> i & 1);
    node = 2 * node + bit;
    leading = 2 * leading + bit;
  }
  WORDS[HIGH] = high ^ coder.codeDigits(changedHigh, Math.max(0, WORD - leading));
  WORDS[LOW] = low ^ coder.codeDigits(changedLow, Math.min(WORD, 2 * WORD - leading));
  return FLOATS[0];
}

/** Writes the vector, or reads it. */
function codeVector(coder: Coder, model: Model, vector: Float64Array): void {
  const { last } = model;
  let difference = 0;
  for (let at = 0; at < vector.length; at++) {
    const before = last[at];
    const expected = predict(before, difference);
    const value = vector[at];
    if (coder.codeBit(model, at, Object.is(value, expected) ? 0 : 1) === 0) vector[at] = expected;
    else {
      const isWhole = Number.isInteger(before) &&
        coder.codeBit(
            model,
            vector.length + IS_WHOLE,
            isWholeSurprise(value, before, expected) ? 1 : 0,
          ) === 1;
      vector[at] = isWhole
        ? expected + codeWhole(coder, model, value - expected, at)
        : codeFloat(coder, model, value, before);
    }
    difference = follow(vector[at], before, difference);
  }
}

export function appendVector(log: VectorLog, vector: Float64Array): void {
  if (log.model.last.length !== vector.length) log.model = createModel(vector.length);
  codeVector(createWriter(log), log.model, vector);
  log.model.last = vector;
}

/** Ends the log, and frees the room for more vectors. */
export function trimLog(log: VectorLog): void {
  const { codes, digits } = closeLog(log);
  Object.assign(log, {
    codes: { bytes: codes, length: codes.length },
    digits: { bytes: digits, length: digits.length },
    ...{ interval: NO_INTERVAL, model: NO_MODEL },
  });
}

/** Bytes of memory. */
export function measureLog({ codes, digits, model: { odds, counts, last } }: VectorLog): Bytes {
  const written = codes.bytes.length + digits.bytes.length;
  return written + odds.byteLength + counts.length + last.byteLength;
}

/** Unpacks all vectors, oldest first. @param lengths Theirs. */
export function readVectors(log: VectorLog, lengths: readonly number[]): Float64Array[] {
  const reader = createReader(log);
  let model = NO_MODEL;
  return lengths.map((length) => {
    const vector = new Float64Array(length);
    if (model.last.length !== length) model = createModel(length);
    codeVector(reader, model, vector);
    return model.last = vector;
  });
}
