/**
 * Parses Prometheus text format 0.0.4 and OpenMetrics 1.0, told apart by content (`# EOF`), as
 * servers label them wrongly. Bad lines are skipped and reported. Samples go to a visitor, and what
 * repeats the previous line is compared, not parsed again; timestamps and exemplars are skipped.
 * Label values may hold `}` and `,`. Sources: prometheus/docs exposition_formats.md, OpenMetrics
 * 1.0, Prometheus model/textparse, VictoriaMetrics lib/protoparser/prometheus (leniency).
 * @module
 */

import type { BadLine } from "./model.ts";
import { finishSteps, type Steps } from "./platform.ts";
import {
  areSameBytes,
  METRIC_NAME,
  type NumberScan,
  parseComment,
  parseNumber,
  scanNumber,
  type TypeVisitor,
} from "./prometheus_tokens.ts";
import { quote } from "./text.ts";
import { type Bytes, BYTES_PER_KIBIBYTE } from "./units.ts";

/** Called in the order of the exposition. */
interface ExpositionVisitor {
  /**
   * `labels` alternates names and non-empty values; copy it, as the array is reused. The value
   * begins at byte `valueStart`.
   */
  readonly onSample: (
    name: string,
    labels: readonly string[],
    value: number,
    valueStart: number,
  ) => void;
  /** A `# TYPE` line. OpenMetrics omits `_total` from the name. */
  readonly onType?: TypeVisitor;
}

export interface ExpositionSummary {
  readonly dialect: "prometheus" | "openmetrics";
  readonly sampleCount: number;
  readonly badLineCount: number;
  /** The first `MAX_REPORTED_LINES`. */
  readonly badLines: readonly BadLine[];
  /** Whether the last line has its newline; without it, the body may be truncated. */
  readonly endsComplete: boolean;
  readonly lastLineIsBad: boolean;
}

export const MAX_REPORTED_LINES = 10;
/** Per sample. vLLM has up to 40; checking for repeats is quadratic. */
export const MAX_LABELS = 256;
const TAB = 9, SPACE = 32, QUOTE = 34, HASH = 35, COMMA = 44, EQUALS = 61;
const BACKSLASH = 92, OPEN = 123, CLOSE = 125, CARRIAGE_RETURN = 13, NEWLINE = 10;
const LOWER_N = 110;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];
const TIMESTAMP = /^[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
/** A piece of a body may begin with a byte-order mark of its own. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The parser's position, and the parts of the previous line. */
type Cursor = ReturnType<typeof createCursor>;

function createCursor(body: Uint8Array) {
  const text = decoder.decode(body);
  const scan: NumberScan = { value: 0, end: 0 };
  return {
    /** Bytes are several times faster to read than a string. */
    codes: body,
    view: new DataView(body.buffer, body.byteOffset, body.byteLength),
    /** `null` unless ASCII, where positions in text and bytes agree. */
    text: text.length === body.length ? text : null,
    end: 0,
    position: 0,
    name: "",
    nameStart: 0,
    labels: [] as string[],
    /** The previous line's label pairs: start, length, and length of `name="`. */
    pairStarts: [] as number[],
    pairLengths: [] as number[],
    prefixLengths: [] as number[],
    /** Their names and values, unescaped. */
    pairLabels: [] as string[],
    valueStart: 0,
    scan,
    /** A quoted name never starts a line. */
    nameWasQuoted: false,
    problem: "",
  };
}

function sliceText(reader: Cursor, start: number, end: number): string {
  return reader.text?.slice(start, end) ?? decoder.decode(reader.codes.subarray(start, end));
}

function findLineEnd({ text, codes }: Cursor, start: number): number {
  const newline = text === null ? codes.indexOf(NEWLINE, start) : text.indexOf("\n", start);
  return newline < 0 ? codes.length : newline;
}

/** Whether the text repeats `length` bytes from `start`. */
function repeats({ view, position, end }: Cursor, start: number, length: number): boolean {
  return position + length <= end &&
    areSameBytes({ view, at: position }, { view, at: start }, length);
}

function forgetPairs(reader: Cursor, index: number): void {
  reader.pairLengths.length = Math.min(reader.pairLengths.length, index);
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

function skipBlanks(reader: Cursor): void {
  while (reader.position < reader.end && isBlank(reader.codes[reader.position])) {
    reader.position++;
  }
}

function fail(reader: Cursor, problem: string): false {
  reader.problem = problem;
  return false;
}

/** Parses from the opening quote; `null` if unterminated. */
function parseQuoted(reader: Cursor): string | null {
  const start = reader.position + 1;
  const { codes, end } = reader;
  let isEscaped = false;
  for (let i = start; i < end; i++) {
    const code = codes[i];
    if (code === QUOTE) {
      reader.position = i + 1;
      return isEscaped ? unescapeText(codes.subarray(start, i)) : sliceText(reader, start, i);
    }
    if (code === BACKSLASH) {
      isEscaped = true;
      i++;
    }
  }
  return null;
}

/** Unescapes backslashes, quotes and newlines; keeps other backslashes. */
function unescapeText(raw: Uint8Array): string {
  const bytes = raw.slice();
  let length = 0;
  for (let i = 0; i < raw.length; i++) {
    const next = raw[i] === BACKSLASH ? raw[i + 1] : undefined;
    if (next === BACKSLASH || next === QUOTE) bytes[length++] = raw[++i];
    else if (next === LOWER_N) {
      bytes[length++] = NEWLINE;
      i++;
    } else bytes[length++] = raw[i];
  }
  return decoder.decode(bytes.subarray(0, length));
}

/** Ends at a blank or one of `{ } = , "`. */
function parseBareName(reader: Cursor): string {
  const start = reader.position;
  const { codes, end } = reader;
  let i = start;
  for (; i < end; i++) {
    const code = codes[i];
    if (
      isBlank(code) || code === OPEN || code === CLOSE || code === EQUALS || code === COMMA ||
      code === QUOTE
    ) break;
  }
  reader.position = i;
  return sliceText(reader, start, i);
}

function parseMetricName(reader: Cursor): boolean {
  if (reader.nameWasQuoted) {
    reader.name = "";
    reader.nameWasQuoted = false;
  }
  const { codes, position } = reader;
  const { length } = reader.name;
  if (length > 0 && repeats(reader, reader.nameStart, length)) {
    const next = codes[position + length];
    if (next === OPEN || next === SPACE) {
      reader.position = position + length;
      return true;
    }
  }
  if (codes[position] === OPEN) {
    reader.name = "";
    return true;
  }
  reader.nameStart = position;
  reader.name = parseBareName(reader);
  return METRIC_NAME.test(reader.name) || fail(reader, "not a metric name");
}

/** Parses a label name and `=`. `null` for a quoted metric name, or a problem. */
function parseLabelName(reader: Cursor, index: number): string | null {
  const { codes } = reader;
  const isQuoted = codes[reader.position] === QUOTE;
  const name = isQuoted ? parseQuoted(reader) : parseBareName(reader);
  if (name === null) return noLabel(reader, "an unterminated label name");
  skipBlanks(reader);
  const hasValue = reader.position < reader.end && codes[reader.position] === EQUALS;
  if (isQuoted && !hasValue) {
    if (reader.name !== "") return noLabel(reader, "a second metric name");
    reader.name = name;
    reader.nameWasQuoted = true;
    forgetPairs(reader, 0);
    return noLabel(reader, name === "" ? "not a metric name" : "");
  }
  if (isQuoted ? name === "" : !LABEL_NAME.test(name)) return noLabel(reader, "not a label name");
  if (name === "__name__") return noLabel(reader, "the label name __name__ is reserved");
  if (!hasValue) return noLabel(reader, "a label without a value");
  if (reader.labels.length >= 2 * MAX_LABELS) {
    return noLabel(reader, `more than ${MAX_LABELS} labels`);
  }
  for (let i = 0; i < reader.labels.length; i += 2) {
    if (reader.labels[i] === name) return noLabel(reader, "a label given twice");
  }
  // Later pairs may repeat the changed name.
  if (reader.pairLabels[2 * index] !== name) forgetPairs(reader, index);
  reader.position++;
  skipBlanks(reader);
  return name;
}

function noLabel(reader: Cursor, problem: string): null {
  reader.problem = problem;
  return null;
}

function parseLabel(reader: Cursor, index: number): boolean {
  const { codes, pairStarts, pairLengths, prefixLengths, pairLabels } = reader;
  const start = reader.position;
  let name: string | null;
  if (index < pairLengths.length && repeats(reader, pairStarts[index], prefixLengths[index])) {
    // The previous line's name with another value, as in buckets.
    name = pairLabels[2 * index];
    reader.position += prefixLengths[index] - 1;
  } else {
    name = parseLabelName(reader, index);
    if (name === null) return reader.problem === "";
  }
  if (reader.position >= reader.end || codes[reader.position] !== QUOTE) {
    return fail(reader, "a label value without quotes");
  }
  const prefixLength = reader.position + 1 - start;
  const value = parseQuoted(reader);
  if (value === null) return fail(reader, "an unterminated label value");
  if (index <= pairLengths.length) {
    pairStarts[index] = start;
    pairLengths[index] = reader.position - start;
    prefixLengths[index] = prefixLength;
    pairLabels[2 * index] = name;
    pairLabels[2 * index + 1] = value;
  }
  // An empty label is not remembered, so that repeats are seen.
  if (value === "") forgetPairs(reader, index);
  else reader.labels.push(name, value);
  return true;
}

function parseLabels(reader: Cursor): boolean {
  const { codes, labels, pairStarts, pairLengths, pairLabels } = reader;
  reader.position++;
  for (let index = 0;; index++) {
    // The previous line's pair again? The closing quote makes the match exact.
    if (index < pairLengths.length && repeats(reader, pairStarts[index], pairLengths[index])) {
      reader.position += pairLengths[index];
      labels.push(pairLabels[2 * index], pairLabels[2 * index + 1]);
    } else {
      skipBlanks(reader);
      if (reader.position >= reader.end) return fail(reader, "unterminated labels");
      if (codes[reader.position] === CLOSE) {
        reader.position++;
        return true;
      }
      if (!parseLabel(reader, index)) return false;
    }
    skipBlanks(reader);
    if (reader.position >= reader.end) return fail(reader, "unterminated labels");
    const code = codes[reader.position++];
    if (code === CLOSE) return true;
    if (code !== COMMA) return fail(reader, "a label without a comma after it");
  }
}

function parseSampleValue(reader: Cursor): boolean {
  const { codes, position, scan } = reader;
  reader.valueStart = position;
  if (
    scanNumber(codes, position, scan) && scan.end <= reader.end &&
    (scan.end === reader.end || isBlank(codes[scan.end]))
  ) {
    reader.position = scan.end;
    return true;
  }
  let end = position;
  while (end < reader.end && !isBlank(codes[end])) end++;
  const token = sliceText(reader, position, end);
  const value = parseNumber(token);
  if (value === null) {
    return fail(reader, token === "" ? "no value" : `not a number: ${quote(token, 40)}`);
  }
  scan.value = value;
  reader.position = end;
  return true;
}

/** Skips a timestamp, and an exemplar after `#`. */
function parseTrailer(reader: Cursor): boolean {
  let rest = sliceText(reader, reader.position, reader.end).trim();
  const exemplar = rest.search(/(?:^|\s)#\s*\{/);
  if (exemplar >= 0) rest = rest.slice(0, exemplar).trim();
  if (rest === "" || TIMESTAMP.test(rest)) return true;
  return fail(reader, `not a timestamp: ${quote(rest, 40)}`);
}

function parseSample(reader: Cursor): boolean {
  const { codes, labels } = reader;
  labels.length = 0;
  if (!parseMetricName(reader)) return false;
  skipBlanks(reader);
  if (reader.position < reader.end && codes[reader.position] === OPEN && !parseLabels(reader)) {
    return false;
  }
  if (reader.name === "") return fail(reader, "no metric name");
  skipBlanks(reader);
  if (!parseSampleValue(reader)) return false;
  return reader.position === reader.end || parseTrailer(reader);
}

/** Whether a histogram or summary has a negative count. */
function isNegativeCount(reader: Cursor, types: ReadonlyMap<string, string>): boolean {
  if (!(reader.scan.value < 0)) return false;
  const family = reader.name.replace(/_(?:count|bucket)$/, "");
  const type = types.get(family);
  return family !== reader.name && (type === "histogram" || type === "summary");
}

/** Skips a byte-order mark. */
function findStart(body: Uint8Array): number {
  return BYTE_ORDER_MARK.every((code, i) => body[i] === code) ? BYTE_ORDER_MARK.length : 0;
}

/** A few milliseconds in a cold program. */
const STEP_BYTES: Bytes = 128 * BYTES_PER_KIBIBYTE;

/** Parses in steps of `STEP_BYTES`. The body must not change meanwhile. */
export function* parseInSteps(
  body: Uint8Array,
  visitor: ExpositionVisitor,
): Steps<ExpositionSummary> {
  const reader = createCursor(body);
  const { codes } = reader;
  const types = new Map<string, string>();
  const badLines: BadLine[] = [];
  let badLineCount = 0;
  let sampleCount = 0;
  let endsInEof = false;
  let lastLineIsBad = false;

  const logBadLine = (line: number, message: string): void => {
    if (badLineCount++ < MAX_REPORTED_LINES) badLines.push({ line, message });
  };
  const start = findStart(body);
  let stepEnd = start + STEP_BYTES;
  for (let line = 1, next = start; next < body.length; line++) {
    if (next > stepEnd) {
      stepEnd = next + STEP_BYTES;
      yield;
    }
    reader.position = next;
    reader.end = findLineEnd(reader, next);
    next = reader.end + 1;
    if (reader.end > reader.position && codes[reader.end - 1] === CARRIAGE_RETURN) {
      reader.end--;
    }
    skipBlanks(reader);
    if (reader.position >= reader.end) continue;
    lastLineIsBad = false;

    if (codes[reader.position] === HASH) {
      const comment = sliceText(reader, reader.position, reader.end);
      const outcome = parseComment(comment, types, visitor.onType);
      endsInEof = outcome.eof === true;
      lastLineIsBad = outcome.bad !== undefined;
      if (outcome.bad !== undefined) logBadLine(line, outcome.bad);
      continue;
    }
    endsInEof = false;
    if (!parseSample(reader) || isNegativeCount(reader, types)) {
      logBadLine(line, reader.problem === "" ? "a negative count" : reader.problem);
      reader.problem = "";
      reader.name = "";
      forgetPairs(reader, 0);
      lastLineIsBad = true;
      continue;
    }
    sampleCount++;
    visitor.onSample(reader.name, reader.labels, reader.scan.value, reader.valueStart);
  }
  return {
    dialect: endsInEof ? "openmetrics" : "prometheus",
    sampleCount,
    badLineCount,
    badLines,
    endsComplete: body.length === start || codes[body.length - 1] === NEWLINE || endsInEof,
    lastLineIsBad,
  };
}

/**
 * Parses an exposition. Replaces invalid UTF-8 by U+FFFD; drops a leading byte-order mark and
 * trailing carriage returns.
 */
export function parseExposition(body: Uint8Array, visitor: ExpositionVisitor): ExpositionSummary {
  return finishSteps(parseInSteps(body, visitor));
}
