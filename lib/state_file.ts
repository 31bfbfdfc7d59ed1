/**
 * The newest scrapes as the text of a file, and back: what one run of the
 * program leaves for the next to compare with.
 *
 * What is counted is kept, with what tells a restart; how the
 * scrape went and what else the server said are not, and no secret is: an
 * endpoint is named by its key. Between two runs only the wall clock goes on:
 * `recallScrapes` turns it into the monotonic instants of this run. A clock
 * that was set in between by less than the time that passed cannot be told from
 * time; a scrape that would be from the future, or is too old to compare with,
 * counts as none, with a remark. A text that is not whole, or of another
 * version, says nothing at all. Metrics that a file does not have are `missing`
 * there, so that a newer program can go on from the file of an older one.
 * @module
 */

import { describeFileError, isMissingFile } from "./files.ts";
import { createHistogram, type Histogram } from "./histogram.ts";
import { isRecord, type JsonRecord } from "./json.ts";
import {
  COUNTER_KEYS,
  createRecord,
  type EngineSample,
  GAUGE_KEYS,
  HISTOGRAM_KEYS,
  type HistogramKey,
  type KeptScrape,
  LABELLED_KEYS,
  type LabelledKey,
  NO_METRICS,
  UNKNOWN_SERVER,
} from "./model.ts";
import type { Platform } from "./platform.ts";
import {
  ABSENCE_REASONS,
  type AbsenceReason,
  absent,
  isPresent,
  present,
  type Reading,
} from "./reading.ts";
import { quote, sanitizeText } from "./text.ts";
import { type EpochSeconds, type Seconds, SECONDS_PER_DAY } from "./units.ts";

/** Changes when a file of before can no longer be read. */
const VERSION = 1;

/** Rates over a longer time say nothing of today. */
const MAX_AGE: Seconds = 7 * SECONDS_PER_DAY;

/** What is kept of each endpoint that is asked for, and what there is to say of the others. */
export interface RestoredScrapes {
  readonly scrapes: readonly KeptScrape[];
  /** Sentences without a full stop, to follow the name of the file. */
  readonly remarks: readonly string[];
}

/** Whether the text is one of these, whole or not: others are not to be written over. */
function isSavedText(text: string): boolean {
  return /^\{"version":\d+,"scrapes":\[/.test(text);
}

/** A part of the text that is not as `writeScrapes` writes it. */
class FormError extends Error {}

/** A number; JSON has no word for those that are not finite. */
function writeNumber(value: number): number | string {
  return Number.isFinite(value) ? value : String(value);
}

function writeReading(reading: Reading): number | string | undefined {
  if (isPresent(reading)) return writeNumber(reading.value);
  return reading.reason === "missing" ? undefined : reading.reason;
}

function writeReadings(readings: Readonly<Record<string, Reading>>): JsonRecord {
  return Object.fromEntries(
    Object.entries(readings).map(([key, reading]) => [key, writeReading(reading)]),
  );
}

function writeHistogram({ bounds, counts, sum }: Histogram): JsonRecord {
  return {
    buckets: Array.from(bounds, (bound, i) => [writeNumber(bound), writeNumber(counts[i])]),
    sum: writeNumber(sum),
  };
}

function writeEngine(sample: EngineSample): JsonRecord {
  const { modelName, engine, gauges, counters, labelled, histograms, initializing } = sample;
  return {
    modelName,
    engine,
    created: writeReading(sample.created),
    prefixCacheUnit: sample.prefixCacheUnit,
    gauges: writeReadings(gauges),
    counters: writeReadings(counters),
    labelled: Object.fromEntries(
      Object.entries(labelled).map(([key, family]) => [
        key,
        [...family].map(([child, value]) => [child, writeNumber(value)]),
      ]),
    ),
    histograms: Object.fromEntries(
      Object.entries(histograms).map(([key, histogram]) => [key, writeHistogram(histogram)]),
    ),
    initializing: [...initializing],
  };
}

/** The text of a file of these scrapes: JSON, one line for each. */
export function writeScrapes(scrapes: readonly KeptScrape[]): string {
  const lines = scrapes.map((scrape) =>
    JSON.stringify({
      endpoint: scrape.endpointKey,
      receivedAtEpochSeconds: scrape.receivedAtEpoch,
      processStart: writeReading(scrape.processStart),
      engines: scrape.engines.map(writeEngine),
      server: scrape.server === null ? null : writeEngine(scrape.server),
    })
  );
  return `{"version":${VERSION},"scrapes":[\n${lines.join(",\n")}\n]}\n`;
}

function parseObjectMember(value: unknown): JsonRecord {
  if (!isRecord(value)) throw new FormError();
  return value;
}

function parseList(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new FormError();
  return value;
}

function parsePair(value: unknown): readonly unknown[] {
  const pair = parseList(value);
  if (pair.length !== 2) throw new FormError();
  return pair;
}

function parseText(value: unknown): string {
  if (typeof value !== "string") throw new FormError();
  return sanitizeText(value, Infinity);
}

function parseNumberMember(value: unknown): number {
  if (typeof value === "number") return value;
  if (value === "NaN" || value === "Infinity" || value === "-Infinity") return Number(value);
  throw new FormError();
}

function isReason(value: unknown): value is AbsenceReason {
  return typeof value === "string" && ABSENCE_REASONS.includes(value);
}

function parseReading(value: unknown): Reading {
  if (value === undefined) return absent("missing");
  return isReason(value) ? absent(value) : present(parseNumberMember(value));
}

function parseReadings<Key extends string>(
  value: unknown,
  keys: readonly Key[],
): Readonly<Record<Key, Reading>> {
  const given = parseObjectMember(value);
  return createRecord(keys, (key) => parseReading(given[key]));
}

/** What the object has under each of the keys; others are of a newer program. */
function parseHistogramParts<Key extends string, Part>(
  value: unknown,
  keys: readonly Key[],
  read: (part: unknown) => Part,
): Partial<Record<Key, Part>> {
  const given = parseObjectMember(value);
  const parts: Partial<Record<Key, Part>> = {};
  for (const key of keys) if (given[key] !== undefined) parts[key] = read(given[key]);
  return parts;
}

function parseCounts(value: unknown): ReadonlyMap<string, number> {
  return new Map(
    parseList(value).map((item) => {
      const [child, count] = parsePair(item);
      return [parseText(child), parseNumberMember(count)];
    }),
  );
}

function parseHistogram(value: unknown): Histogram {
  const { buckets, sum } = parseObjectMember(value);
  const pairs = parseList(buckets).map((item) => {
    const [bound, count] = parsePair(item);
    return [parseNumberMember(bound), parseNumberMember(count)] as const;
  });
  return createHistogram(pairs, parseNumberMember(sum));
}

const INITIALIZING_KEYS: readonly (HistogramKey | LabelledKey)[] = [
  ...HISTOGRAM_KEYS,
  ...LABELLED_KEYS,
];

function parseEngine(value: unknown): EngineSample {
  const given = parseObjectMember(value);
  const initializing = new Set(parseList(given.initializing));
  const { prefixCacheUnit: unit } = given;
  if (unit !== "tokens" && unit !== "blocks or tokens") throw new FormError();
  return {
    modelName: parseText(given.modelName),
    engine: parseText(given.engine),
    created: parseReading(given.created),
    prefixCacheUnit: unit,
    gauges: parseReadings(given.gauges, GAUGE_KEYS),
    counters: parseReadings(given.counters, COUNTER_KEYS),
    labelled: parseHistogramParts(given.labelled, LABELLED_KEYS, parseCounts),
    histograms: parseHistogramParts(given.histograms, HISTOGRAM_KEYS, parseHistogram),
    initializing: new Set(INITIALIZING_KEYS.filter((key) => initializing.has(key))),
    prefixCacheIsOff: false,
    isAsleep: false,
    kvCacheCapacity: absent("missing"),
    kvCacheCapacityIsEstimate: false,
    configuration: new Map(),
    server: UNKNOWN_SERVER,
    metrics: NO_METRICS,
  };
}

/** A scrape of the file. Its monotonic instant is the caller's to say. */
function parseScrape(value: unknown): Omit<KeptScrape, "receivedAt"> {
  const given = parseObjectMember(value);
  const receivedAtEpoch = parseNumberMember(given.receivedAtEpochSeconds);
  if (!Number.isFinite(receivedAtEpoch)) throw new FormError();
  return {
    endpointKey: parseText(given.endpoint),
    receivedAtEpoch,
    processStart: parseReading(given.processStart),
    engines: parseList(given.engines).map(parseEngine),
    server: given.server === null ? null : parseEngine(given.server),
  };
}

/** The scrapes of the text, or what is wrong with it. */
function parseStateFile(text: string): readonly Omit<KeptScrape, "receivedAt">[] | string {
  try {
    const { version, scrapes } = parseObjectMember(JSON.parse(text));
    if (typeof version !== "number") throw new FormError();
    if (version !== VERSION) {
      return `it is of version "${version}", and this program knows ${VERSION}`;
    }
    return parseList(scrapes).map(parseScrape);
  } catch (error) {
    if (!(error instanceof FormError) && !(error instanceof SyntaxError)) throw error;
    return "it is broken, or no file of scrapes";
  }
}

/** Why a scrape of that age is not to be compared with; `null` where it is. */
function findFault(age: Seconds): string | null {
  if (age <= 0) return "is from the future: the clock was set back";
  return age > MAX_AGE ? `is more than ${MAX_AGE / SECONDS_PER_DAY} days old` : null;
}

/** One remark for all endpoints with the same fault. */
function describeFaults(faults: ReadonlyMap<string, readonly string[]>): readonly string[] {
  return [...faults].map(([fault, keys]) => {
    const others = keys.length > 1 ? ` and ${keys.length - 1} more` : "";
    return `its scrape of ${sanitizeText(keys[0])}${others} ${fault}`;
  });
}

/**
 * The scrapes of the text that those of this run can be compared with, as of
 * its clocks.
 *
 * @param run Both clocks at one moment, and the endpoints that are watched.
 */
export function restoreScrapes(
  text: string,
  run: {
    readonly now: Seconds;
    readonly nowEpoch: EpochSeconds;
    readonly endpointKeys: readonly string[];
  },
): RestoredScrapes {
  const kept = parseStateFile(text);
  if (typeof kept === "string") return { scrapes: [], remarks: [kept] };
  const byKey = new Map(kept.map((scrape) => [scrape.endpointKey, scrape]));
  const scrapes: KeptScrape[] = [];
  const faults = new Map<string, string[]>();
  for (const key of run.endpointKeys) {
    const scrape = byKey.get(key);
    const age = scrape === undefined ? 0 : run.nowEpoch - scrape.receivedAtEpoch;
    const fault = scrape === undefined ? "is not there" : findFault(age);
    if (scrape !== undefined && fault === null) {
      scrapes.push({ ...scrape, receivedAt: run.now - age });
    } else if (fault !== null) {
      faults.set(fault, [...faults.get(fault) ?? [], key]);
    }
  }
  return { scrapes, remarks: describeFaults(faults) };
}

function nameFile(path: string): string {
  return `the state file ${quote(path)}`;
}

/** What a remark about the file means for the figures. */
const CONSEQUENCE = "rates come with the next run";

/**
 * The scrapes of the run before that those of this one can be compared with.
 *
 * @returns `remarks`: whole sentences without a full stop.
 */
export async function loadScrapes(
  platform: Pick<Platform, "readTextFile" | "monotonicSeconds" | "epochSeconds">,
  path: string,
  endpointKeys: readonly string[],
): Promise<RestoredScrapes> {
  const file = nameFile(path);
  const describe = (problem: string): string => `${file}: ${problem}: ${CONSEQUENCE}`;
  let text: string;
  try {
    text = await platform.readTextFile(path);
  } catch (error) {
    const remark = isMissingFile(error)
      ? describe("it is not there yet")
      : `${file} ${describeFileError(error)}; ${CONSEQUENCE}`;
    return { scrapes: [], remarks: [remark] };
  }
  const clocks = { now: platform.monotonicSeconds(), nowEpoch: platform.epochSeconds() };
  const { scrapes, remarks } = restoreScrapes(text, { ...clocks, endpointKeys });
  return { scrapes, remarks: remarks.map(describe) };
}

function describeWriteError(error: unknown): string {
  switch (error instanceof Error ? error.name : "") {
    case "NotCapable":
      return "this program may not write there: run it by Deno, or compile it, with " +
        "--allow-write=FOLDER (docs/cron.md)";
    case "PermissionDenied":
      return "its folder may not be written to: check its permissions";
    case "NotFound":
      return "its folder does not exist: make it";
    default:
      return sanitizeText(error instanceof Error ? error.message : String(error));
  }
}

/** Whether a file of somebody else's stands there: a path that was mistyped must destroy nothing. */
async function isForeign(platform: Pick<Platform, "readTextFile">, path: string): Promise<boolean> {
  try {
    const text = await platform.readTextFile(path);
    return text !== "" && !isSavedText(text);
  } catch {
    return false; // What cannot be read is the matter of who writes.
  }
}

/** Puts the scrapes in the place of what the file says. What went wrong in one safe sentence, or `null`. */
export async function saveScrapes(
  platform: Pick<Platform, "readTextFile" | "writeTextFile">,
  path: string,
  scrapes: readonly KeptScrape[],
): Promise<string | null> {
  const file = nameFile(path);
  if (await isForeign(platform, path)) {
    return `${file} is none, and is left as it is: name another, or remove it`;
  }
  const text = writeScrapes(scrapes);
  try {
    await platform.writeTextFile(path, text);
    return null;
  } catch (error) {
    return `${file} cannot be written: ${describeWriteError(error)}`;
  }
}
