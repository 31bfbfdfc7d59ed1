/**
 * A recording -> the messages of its session, applied to a state as they were when it was made:
 * bodies are parsed again, all else was recorded as it was. A recording may come from anyone, so
 * entries that are not our messages are skipped.
 * @module
 */

import { isRecorded } from "./app_record.ts";
import { apply, type Session } from "./app_session.ts";
import { NO_PRICING, type Pricing } from "./cost.ts";
import { describeFileError } from "./files.ts";
import type { EngineReader } from "./dialect_reader.ts";
import { isRecord } from "./json.ts";
import type { Moment } from "./cli_values.ts";
import type { Endpoint } from "./model.ts";
import { finishSteps, type Platform, type ReadableFile } from "./platform.ts";
import { START_STREAM } from "./record.ts";
import type { BlockTimes } from "./record_block.ts";
import { type FoundBlock, listBlocks, readBlock, type ReadEntry } from "./record_file.ts";
import { decodeValue } from "./record_values.ts";
import { composeScrape, createReader, type ScrapeFrame } from "./scrape.ts";
import { createState, type Message, type State } from "./state.ts";
import { quote } from "./text.ts";
import { type EpochSeconds, SECONDS_PER_DAY } from "./units.ts";
import { VERSION } from "./version.ts";

/** What a state is made of. */
type TapeStart = Parameters<typeof createState>[1] & {
  readonly version: string;
  readonly endpoints: readonly Endpoint[];
  readonly metricPrefix: string | null;
  /** Which it goes on with, in a file before this one. */
  readonly previousSession: string | null;
};

export interface Tape {
  readonly path: string;
  readonly span: BlockTimes;
  readonly start: TapeStart;
  readonly files: readonly ReadableFile[];
  readonly blocks: readonly FoundBlock[];
  /** What is missing of it; grows while it is read. Safe texts. */
  readonly remarks: string[];
}

const TEXT_MEMBERS = ["version"] as const;
const NUMBER_MEMBERS = ["interval", "now", "nowEpoch", "utcOffset"] as const;
const LIST_MEMBERS = ["endpoints", "notices", "objectives"] as const;
const OBJECT_MEMBERS = ["pricing", "rules"] as const;

/** `null` if the entry does not begin a recording. */
export function parseStart({ stream, value }: ReadEntry): TapeStart | null {
  if (stream !== START_STREAM) return null;
  const start = decodeValue(value);
  if (!isRecord(start)) return null;
  const isWhole = TEXT_MEMBERS.every((name) => typeof start[name] === "string") &&
    NUMBER_MEMBERS.every((name) => typeof start[name] === "number") &&
    LIST_MEMBERS.every((name) => Array.isArray(start[name])) &&
    OBJECT_MEMBERS.every((name) => isRecord(start[name]));
  // The rest is as `describeStart` writes it, or `update` refuses it.
  return isWhole ? start as unknown as TapeStart : null;
}

function parseMessage({ value, text }: ReadEntry): Message | null {
  const message = decodeValue(text === undefined ? value : JSON.parse(text));
  return isRecord(message) && isRecorded(message) ? message as unknown as Message : null;
}

/** The message of an entry; `null` if it is none that this version knows. */
type EntryReader = (entry: ReadEntry) => Message | null;

function encodeBody(text: string, isBinary: boolean): Uint8Array {
  return isBinary
    ? Uint8Array.from(text, (character) => character.charCodeAt(0))
    : new TextEncoder().encode(text);
}

/** Keeps the layouts of bodies, so that only numbers are read of most. */
export function createEntryReader(
  { pool }: Pick<Session, "pool">,
  { metricPrefix }: Pick<TapeStart, "metricPrefix">,
): EntryReader {
  const readers = new Map<string, EngineReader>();
  return (entry) => {
    if (!entry.stream.startsWith("scraped ")) return parseMessage(entry);
    const frame = decodeValue(entry.value);
    if (!isRecord(frame) || typeof frame.endpointKey !== "string") return null;
    const { isBinary, ...rest } = frame;
    const body = encodeBody(entry.text ?? "", isBinary === true);
    const reader = readers.get(frame.endpointKey) ?? createReader(pool, { metricPrefix });
    readers.set(frame.endpointKey, reader);
    const known = { ...rest, bytes: body.length } as unknown as ScrapeFrame;
    return { kind: "scraped", scrape: composeScrape(known, finishSteps(reader(body))) };
  };
}

/** What the user gives takes the place of what was recorded. */
export type OwnChoices = Partial<Omit<State, "pricing">> & { readonly pricing: Partial<Pricing> };

/** The state in which the recorded session began, with the user's own choices where given. */
export function createTapeState(
  { endpoints, version: _, metricPrefix: __, previousSession: ___, ...start }: TapeStart,
  own: OwnChoices,
): State {
  const pricing = { ...NO_PRICING, ...start.pricing, ...own.pricing };
  return createState(endpoints, { ...start, ...own, pricing });
}

// ---- Files.

async function openFiles(platform: Platform, path: string): Promise<readonly ReadableFile[]> {
  const newest = await platform.openFile(path);
  const [first] = (await listBlocks([newest])).blocks;
  const [entry] = first === undefined ? [] : await readBlock(first) ?? [];
  const previous = entry === undefined ? null : parseStart(entry)?.previousSession ?? null;
  if (previous === null) return [newest];
  try {
    const older = await platform.openFile(`${path}.1`);
    const last = (await listBlocks([older])).blocks.at(-1);
    const [there] = last === undefined ? [] : await readBlock(last) ?? [];
    if (there?.session === previous) return [older, newest];
    older.close();
  } catch {
    // It was removed: the newest file can be read without.
  }
  return [newest];
}

function describeLoss(bytes: number): string {
  return `${bytes} ${bytes === 1 ? "byte" : "bytes"} of it are cut off or damaged, and left out`;
}

/** Returns what is wrong with the file, to follow its name. */
async function readTape(path: string, files: readonly ReadableFile[]): Promise<Tape | string> {
  const { blocks, lostBytes } = await listBlocks(files);
  const remarks = lostBytes > 0 ? [describeLoss(lostBytes)] : [];
  for (const [index, block] of blocks.entries()) {
    const entries = await readBlock(block);
    const start = entries?.map(parseStart).find((found) => found !== null);
    if (start === undefined) continue;
    if (index > 0) remarks.push("its beginning is missing");
    if (start.version !== VERSION) {
      remarks.push(`it was made by vllm-htop ${start.version}; this is ${VERSION}`);
    }
    const rest = blocks.slice(index);
    const from = rest.reduce((least, one) => Math.min(least, one.from), Infinity);
    const to = rest.reduce((most, one) => Math.max(most, one.to), -Infinity);
    return { path, span: { from, to }, start, files, blocks: rest, remarks };
  }
  return "is not a recording: make one with vllm-htop record FILE";
}

/** The caller closes it. Returns an error message if the file cannot be read. */
export async function openTape(platform: Platform, path: string): Promise<Tape | string> {
  let files: readonly ReadableFile[] = [];
  try {
    files = await openFiles(platform, path);
    const tape = await readTape(path, files);
    if (typeof tape !== "string") return tape;
    for (const file of files) file.close();
    return `the recording ${quote(path)} ${tape}`;
  } catch (error) {
    for (const file of files) file.close();
    return `the recording ${quote(path)} ${describeFileError(error)}`;
  }
}

export function closeTape({ files }: Tape): void {
  for (const file of files) file.close();
}

/** In order. What is damaged becomes a remark. */
export async function* readEntries({ blocks, remarks }: Tape): AsyncGenerator<ReadEntry> {
  let damaged = 0;
  for (const block of blocks) {
    const entries = await readBlock(block);
    if (entries === null) {
      if (damaged++ === 0) remarks.push("some of its blocks are damaged, and left out");
      continue;
    }
    yield* entries;
  }
}

/** Applies it, and tells the past. Returns whether documents follow it. */
export function applyEntry(session: Session, entry: ReadEntry, read: EntryReader): boolean {
  const message = read(entry);
  if (message === null) return false;
  apply(session, message);
  return entry.stream === "round";
}

/**
 * The time that the user means, in the recording's own zone: without a date, that of the day on which
 * it begins, or of the next if only that is within it.
 */
export function resolveMoment({ day, time }: Moment, { span, start }: Tape): EpochSeconds {
  const { utcOffset } = start;
  if (day !== null) return day + time - utcOffset;
  const local = span.from + utcOffset;
  const first = local - local % SECONDS_PER_DAY + time - utcOffset;
  return first < span.from && first + SECONDS_PER_DAY <= span.to ? first + SECONDS_PER_DAY : first;
}
