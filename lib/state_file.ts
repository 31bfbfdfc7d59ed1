/**
 * Keeps the newest scrapes for the next run (`--state`), which compares with them. Counters
 * are kept, and what tells a restart; no secret. The wall clock links the runs: `restoreScrapes`
 * drops scrapes from the future and old ones. Metrics that the file lacks are `missing`, so that a
 * newer version can read it.
 * @module
 */

import { describeFileError, describeWriteError, isMissingFile } from "./files.ts";
import { createHistogram, type Histogram } from "./histogram.ts";
import { isRecord, type JsonRecord } from "./json.ts";
import {
  COUNTER_KEYS,
  createRecord,
  type EngineSample,
  GAUGE_KEYS,
  HISTOGRAM_KEYS,
  type KeptScrape,
  LABELLED_KEYS,
  NO_METRICS,
  UNKNOWN_SERVER,
} from "./model.ts";
import type { Platform } from "./platform.ts";
import { ABSENCE_REASONS, absent, isPresent, present, type Reading } from "./reading.ts";
import { quote, sanitizeText } from "./text.ts";
import { type EpochSeconds, type Seconds, SECONDS_PER_DAY } from "./units.ts";

/** Raise it when older files become unreadable. */
const VERSION = 1;
/** Rates over more time say nothing about today. */
const MAX_AGE: Seconds = 7 * SECONDS_PER_DAY;

export interface RestoredScrapes {
  readonly scrapes: readonly KeptScrape[];
  /** To follow the file's name; no full stop. */
  readonly remarks: readonly string[];
}

/** True even if truncated. Other files are never overwritten. */
function isSavedText(text: string): boolean {
  return /^\{"version":\d+,"scrapes":\[/.test(text);
}

/** The text is not what `writeScrapes` writes. */
class FormError extends Error {}

/** JSON has no NaN or Infinity. */
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

function expect<T>(value: unknown, isExpected: (value: unknown) => value is T): T {
  if (!isExpected(value)) throw new FormError();
  return value;
}

function parseList<T>(value: unknown, parseItem: (item: unknown) => T): readonly T[] {
  return expect(value, Array.isArray).map(parseItem);
}

function isPair(value: unknown): value is readonly [unknown, unknown] {
  return Array.isArray(value) && value.length === 2;
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

function parseReading(value: unknown): Reading {
  if (value === undefined) return absent("missing");
  const reason = ABSENCE_REASONS.find((one) => one === value);
  return reason === undefined ? present(parseNumberMember(value)) : absent(reason);
}

function parseReadings<Key extends string>(
  value: unknown,
  keys: readonly Key[],
): Readonly<Record<Key, Reading>> {
  const given = expect(value, isRecord);
  return createRecord(keys, (key) => parseReading(given[key]));
}

/** Ignores keys of newer versions. */
function parseHistogramParts<Key extends string, Part>(
  value: unknown,
  keys: readonly Key[],
  read: (part: unknown) => Part,
): Partial<Record<Key, Part>> {
  const given = expect(value, isRecord);
  const parts: Partial<Record<Key, Part>> = {};
  for (const key of keys) if (given[key] !== undefined) parts[key] = read(given[key]);
  return parts;
}

function parseCounts(value: unknown): ReadonlyMap<string, number> {
  return new Map(parseList(value, (item) => {
    const [child, count] = expect(item, isPair);
    return [parseText(child), parseNumberMember(count)];
  }));
}

function parseHistogram(value: unknown): Histogram {
  const { buckets, sum } = expect(value, isRecord);
  const pairs = parseList(buckets, (item) => {
    const [bound, count] = expect(item, isPair);
    return [parseNumberMember(bound), parseNumberMember(count)] as const;
  });
  return createHistogram(pairs, parseNumberMember(sum));
}

function parseEngine(value: unknown): EngineSample {
  const given = expect(value, isRecord);
  const initializing = new Set(expect(given.initializing, Array.isArray));
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
    initializing: new Set(
      [...HISTOGRAM_KEYS, ...LABELLED_KEYS].filter((key) => initializing.has(key)),
    ),
    prefixCacheIsOff: false,
    modelState: "loaded",
    kvCacheCapacity: absent("missing"),
    kvCacheCapacityIsEstimate: false,
    configuration: new Map(),
    server: UNKNOWN_SERVER,
    metrics: NO_METRICS,
  };
}

function parseScrape(value: unknown): Omit<KeptScrape, "receivedAt"> {
  const given = expect(value, isRecord);
  const receivedAtEpoch = parseNumberMember(given.receivedAtEpochSeconds);
  if (!Number.isFinite(receivedAtEpoch)) throw new FormError();
  return {
    endpointKey: parseText(given.endpoint),
    receivedAtEpoch,
    processStart: parseReading(given.processStart),
    engines: parseList(given.engines, parseEngine),
    server: given.server === null ? null : parseEngine(given.server),
  };
}

/** Returns an error message if the text is invalid. */
function parseStateFile(text: string): readonly Omit<KeptScrape, "receivedAt">[] | string {
  try {
    const { version, scrapes } = expect(JSON.parse(text), isRecord);
    if (typeof version !== "number") throw new FormError();
    if (version !== VERSION) {
      return `it is of version "${version}", and this program knows ${VERSION}`;
    }
    return parseList(scrapes, parseScrape);
  } catch (error) {
    if (!(error instanceof FormError) && !(error instanceof SyntaxError)) throw error;
    return "it is broken, or no file of scrapes";
  }
}

/** `null` if the scrape is usable. */
function findFault(age: Seconds): string | null {
  if (age <= 0) return "is from the future: the clock was set back";
  return age > MAX_AGE ? `is more than ${MAX_AGE / SECONDS_PER_DAY} days old` : null;
}

/** One remark per fault. */
function describeFaults(faults: ReadonlyMap<string, readonly string[]>): readonly string[] {
  return [...faults].map(([fault, keys]) => {
    const others = keys.length > 1 ? ` and ${keys.length - 1} more` : "";
    return `its scrape of ${sanitizeText(keys[0])}${others} ${fault}`;
  });
}

/** Returns the usable scrapes, with monotonic times of this run. */
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
    const age = run.nowEpoch - (scrape?.receivedAtEpoch ?? 0);
    const fault = scrape === undefined ? "is not there" : findFault(age);
    if (fault !== null) faults.set(fault, [...faults.get(fault) ?? [], key]);
    else if (scrape) scrapes.push({ ...scrape, receivedAt: run.now - age });
  }
  return { scrapes, remarks: describeFaults(faults) };
}

const CONSEQUENCE = "rates come with the next run";

/** `remarks` are sentences without a full stop. */
export async function loadScrapes(
  platform: Pick<Platform, "readTextFile" | "monotonicSeconds" | "epochSeconds">,
  path: string,
  endpointKeys: readonly string[],
): Promise<RestoredScrapes> {
  const file = `the state file ${quote(path)}`;
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

/** A mistyped path must not destroy another file. */
async function isForeign(platform: Pick<Platform, "readTextFile">, path: string): Promise<boolean> {
  try {
    const text = await platform.readTextFile(path);
    return text !== "" && !isSavedText(text);
  } catch {
    return false; // Writing will report the error.
  }
}

/** Returns an error sentence, or `null`. */
export async function saveScrapes(
  platform: Pick<Platform, "readTextFile" | "writeTextFile">,
  path: string,
  scrapes: readonly KeptScrape[],
): Promise<string | null> {
  const file = `the state file ${quote(path)}`;
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
