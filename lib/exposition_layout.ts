/**
 * Where the values of an exposition stand, to read the next of the same series.
 *
 * Layer 1, pure. From one scrape to the
 * next a server changes values and little else. A layout keeps a body that
 * `prometheus` has read, and the place of each value in it; of the next body
 * everything between the values is compared byte for byte, and only the values
 * are read. At the first surprise, whatever it is, the new body has to be read
 * as if it were the first. What may follow a value (a timestamp, an exemplar)
 * and lines that cannot be read lie between values: they must not change.
 * After the idea of Prometheus' scrape cache and VictoriaMetrics' comparison of
 * series; hashes of the lines would be shorter and could be wrong.
 *
 * @module
 */

import { areSameBytes, type NumberScan, parseNumber, scanNumber } from "./exposition_bytes.ts";

/** A body of which all but the values is to be found again in the next. */
export interface ExpositionLayout {
  /** The body, in memory of its own, where words of four bytes can be read. */
  readonly body: DataView;
  /** For each value, where it begins in the body, and where it ends. */
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  /** The values of the body. */
  readonly values: Float64Array;
}

const TAB = 9, NEWLINE = 10, CARRIAGE_RETURN = 13, SPACE = 32;

/** Numbers that are longer are nobody's, and are left to the strict road. */
const MAX_NUMBER_LENGTH = 40;

/** Where the value that begins at `start` ends. */
function findValueEnd(bytes: Uint8Array, start: number): number {
  let end = start;
  for (; end < bytes.length; end++) {
    const code = bytes[end];
    if (code === SPACE || code === NEWLINE || code === TAB || code === CARRIAGE_RETURN) break;
  }
  return end;
}

/**
 * The layout of a body, or `null` where it would be much larger than the body:
 * lines of a few bytes are no server's, and a flood of them is not remembered.
 *
 * @param samples The value of each sample, in order, and where it begins.
 */
export function createLayout(
  body: Uint8Array,
  { values, valueStarts }: {
    readonly values: Float64Array;
    readonly valueStarts: Int32Array;
  },
): ExpositionLayout | null {
  const bytesPerSample = values.BYTES_PER_ELEMENT + 2 * valueStarts.BYTES_PER_ELEMENT;
  if (values.length * bytesPerSample > body.length) return null;
  const ends = valueStarts.map((start) => findValueEnd(body, start));
  return { body: new DataView(body.slice().buffer), starts: valueStarts, ends, values };
}

/** Reads a number that is written in an uncommon way; false where it is a surprise. */
function readUncommon(
  bytes: Uint8Array,
  start: number,
  { scan, before }: { readonly scan: NumberScan; readonly before: number },
): boolean {
  const end = findValueEnd(bytes, start);
  if (end - start > MAX_NUMBER_LENGTH) return false;
  const value = parseNumber(String.fromCharCode(...bytes.subarray(start, end)));
  // A count that turns negative makes its line a bad one; what was negative before may be so.
  if (value === null || (value < 0 && !(before < 0))) return false;
  scan.value = value;
  scan.end = end;
  return true;
}

/** The values of a body that is the layout's but for its values; `null` at the first surprise. */
export function rereadValues(layout: ExpositionLayout, body: Uint8Array): Float64Array | null {
  const { body: known, starts, ends } = layout;
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const values = new Float64Array(starts.length);
  const scan: NumberScan = { value: 0, end: 0 };
  let from = 0;
  let at = 0;
  for (let i = 0; i < values.length; i++) {
    const length = starts[i] - from;
    if (!areSameBytes({ view: known, at: from }, { view, at }, length)) return null;
    at += length;
    const isRead = scanNumber(body, at, scan) ||
      readUncommon(body, at, { scan, before: layout.values[i] });
    if (!isRead) return null;
    values[i] = scan.value;
    at = scan.end;
    from = ends[i];
  }
  const length = known.byteLength - from;
  const endsAlike = at + length === view.byteLength &&
    areSameBytes({ view: known, at: from }, { view, at }, length);
  return endsAlike ? values : null;
}
