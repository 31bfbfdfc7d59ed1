/**
 * Packs vectors of numbers that change little from one to the next, such as the values of scrape
 * after scrape. Each is written as its difference from the one before: of whole numbers as the
 * difference from that of their neighbour, since one request raises all buckets above it alike;
 * other numbers in full. What is as expected takes no room but a count.
 * @module
 */

/** Grows by `appendVector`. A vector of another length starts a new list. */
export interface VectorLog {
  bytes: Uint8Array;
  length: number;
  /** The newest vector. */
  last: Float64Array;
}

const FIRST_ROOM = 512;
/** Of one number: the run before it, and its code or all its digits. */
const MAX_BYTES = 8 + 9;
const NUMBER_BYTES = 8;
/** Larger differences are written in full, as they may lose digits. */
const MAX_DIFFERENCE = 2 ** 40;

export function createVectorLog(): VectorLog {
  return { bytes: new Uint8Array(FIRST_ROOM), length: 0, last: new Float64Array() };
}

function reserve(log: VectorLog, count: number): void {
  if (log.length + count <= log.bytes.length) return;
  const grown = new Uint8Array(Math.max(2 * log.bytes.length, log.length + count));
  grown.set(log.bytes.subarray(0, log.length));
  log.bytes = grown;
}

/** Seven bits a byte, least first. */
function writeWhole(log: VectorLog, value: number): void {
  let rest = value;
  while (rest >= 128) {
    log.bytes[log.length++] = rest % 128 + 128;
    rest = Math.floor(rest / 128);
  }
  log.bytes[log.length++] = rest;
}

/** The difference that the next whole number is expected to have. */
function predict(before: number, difference: number): number {
  return Number.isInteger(before) ? before + difference : before;
}

/** Difference for the next number. */
function follow(value: number, before: number, difference: number): number {
  if (!Number.isInteger(before)) return difference;
  return Number.isInteger(value) ? value - before : 0;
}

/** An integer difference that can be written short; NaN if there is none. */
function getSurprise(value: number, before: number, expected: number): number {
  if (!Number.isInteger(value) || !Number.isInteger(before)) return NaN;
  const surprise = value - expected;
  const isExact = surprise !== 0 && Math.abs(surprise) < MAX_DIFFERENCE &&
    expected + surprise === value && !Object.is(value, -0);
  return isExact ? surprise : NaN;
}

export function appendVector(log: VectorLog, vector: Float64Array): void {
  const before = log.last.length === vector.length ? log.last : new Float64Array(vector.length);
  let difference = 0;
  // As expected since the last number that was written.
  let run = 0;
  for (let i = 0; i < vector.length; i++) {
    const value = vector[i];
    const expected = predict(before[i], difference);
    difference = follow(value, before[i], difference);
    if (Object.is(value, expected)) {
      run++;
      continue;
    }
    reserve(log, MAX_BYTES);
    writeWhole(log, run);
    run = 0;
    const surprise = getSurprise(value, before[i], expected);
    if (Number.isNaN(surprise)) {
      log.bytes[log.length++] = 0;
      new DataView(log.bytes.buffer).setFloat64(log.length, value);
      log.length += NUMBER_BYTES;
    } else writeWhole(log, surprise > 0 ? 2 * surprise : -2 * surprise - 1);
  }
  reserve(log, MAX_BYTES);
  if (run > 0) writeWhole(log, run);
  log.last = vector;
}

/** Ends the log, and frees the room for more vectors. */
export function trimLog(log: VectorLog): void {
  log.bytes = log.bytes.slice(0, log.length);
  log.last = new Float64Array();
}

/** Unpacks all vectors, oldest first. @param lengths Theirs. */
export function readVectors(log: VectorLog, lengths: readonly number[]): Float64Array[] {
  const { bytes } = log;
  const view = new DataView(bytes.buffer);
  let at = 0;
  let last = new Float64Array();
  const readWhole = (): number => {
    let value = 0;
    let factor = 1;
    for (; bytes[at] >= 128; at++, factor *= 128) value += (bytes[at] - 128) * factor;
    return value + bytes[at++] * factor;
  };
  return lengths.map((length) => {
    const before = last.length === length ? last : new Float64Array(length);
    const vector = new Float64Array(length);
    let difference = 0;
    for (let i = 0, next = -1; i < length; i++) {
      if (next < i) next = i + readWhole();
      const expected = predict(before[i], difference);
      const code = i < next ? -1 : readWhole();
      if (code < 0) vector[i] = expected;
      else if (code > 0) vector[i] = expected + (code % 2 === 0 ? code / 2 : -(code + 1) / 2);
      else {
        vector[i] = view.getFloat64(at);
        at += NUMBER_BYTES;
      }
      difference = follow(vector[i], before[i], difference);
    }
    return last = vector;
  });
}
