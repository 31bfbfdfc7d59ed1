/**
 * What happened, in order -> blocks of a file. A block holds half a minute and needs no other: its
 * first text of each stream is whole, or the changes to a similar one, and the next are changes.
 * Blocks are appended one after the other, so that what is cut off is the last one.
 * @module
 */

import type { Json } from "./json.ts";
import { packBlock } from "./record_block.ts";
import { compareLines, type LineChanges } from "./record_delta.ts";
import {
  type Bytes,
  BYTES_PER_MEBIBYTE,
  type EpochSeconds,
  MILLISECONDS_PER_SECOND,
  type Seconds,
} from "./units.ts";

/** Raise it when older programs cannot read what is written. */
export const RECORDING_FORMAT = 1;
/** The stream whose entries begin a recording. */
export const START_STREAM = "start";

export interface Entry {
  readonly epoch: EpochSeconds;
  /** Texts of one stream are alike. */
  readonly stream: string;
  readonly value: Json;
  readonly text?: string;
}

/** The first line of each block. */
export interface BlockTitle {
  readonly recording: typeof RECORDING_FORMAT;
  /** Differs from one recording to the next. */
  readonly session: string;
  /** From 0. */
  readonly block: number;
}

/** A whole text, or the number of an earlier one of the block and the changes to it. */
type StoredText = string | readonly [base: number, ...LineChanges];
/** Any further line; milliseconds since the block began come first. */
type StoredEntry = readonly [number, string, Json, StoredText?];

/** Where blocks go. */
export interface RecordSink {
  readonly append: (block: Uint8Array) => Promise<void>;
  /** Begins a new file; `null` if there can be only one. */
  readonly rotate: (() => Promise<void>) | null;
  readonly close: () => void;
}

interface RecordLimits {
  /** Of all files together; both halves are kept in a file of their own. */
  readonly bytes: Bytes;
  readonly age: Seconds;
}

export interface RecorderStatus {
  /** Of the newest file. */
  readonly bytes: Bytes;
  /** Why nothing more is recorded, to follow the file's name; `null` while it works. */
  readonly problem: string | null;
}

export interface Recorder {
  /** Resolves when all full blocks are written, for which the caller need not wait. */
  readonly note: (entry: Entry) => Promise<void>;
  /** Writes the last block. */
  readonly close: () => Promise<void>;
}

export const BLOCK_SPAN: Seconds = 30;
const MAX_BLOCK_TEXT: Bytes = 8 * BYTES_PER_MEBIBYTE;
/** Blocks that wait for a slow disk or reader. */
const MAX_WAITING_BLOCKS = 8;

interface Block {
  readonly startedAt: EpochSeconds;
  readonly lines: string[];
  /** In which its texts were given, by stream and in order. */
  readonly streams: Map<string, number>;
  readonly texts: (readonly string[])[];
  length: number;
  endedAt: EpochSeconds;
}

function startBlock(title: BlockTitle, epoch: EpochSeconds): Block {
  const lines = [JSON.stringify({ ...title, from: epoch })];
  return { startedAt: epoch, lines, streams: new Map(), texts: [], length: 0, endedAt: epoch };
}

function storeText(block: Block, stream: string, text: string): StoredText {
  const { streams, texts } = block;
  const lines = text.split("\n");
  const own = streams.get(stream);
  streams.set(stream, texts.length);
  texts.push(lines);
  const base = own ?? texts.findIndex(({ length }) => length === lines.length);
  const changes = base === texts.length - 1 ? null : compareLines(texts[base], lines);
  return changes === null ? text : [base, ...changes];
}

function addEntry(block: Block, { epoch, stream, value, text }: Entry): void {
  const elapsed = Math.round((epoch - block.startedAt) * MILLISECONDS_PER_SECOND);
  const head: StoredEntry = [elapsed, stream, value];
  const line = JSON.stringify(
    text === undefined ? head : [...head, storeText(block, stream, text)],
  );
  block.lines.push(line);
  block.length += line.length;
  block.endedAt = Math.max(block.endedAt, epoch);
}

function isFull({ startedAt, length }: Block, epoch: EpochSeconds): boolean {
  return epoch - startedAt >= BLOCK_SPAN || epoch < startedAt || length >= MAX_BLOCK_TEXT;
}

interface RecorderOptions {
  readonly limits: RecordLimits;
  /** Of the file that is continued. */
  readonly size: Bytes;
  /** What a reader must know first, when a file begins after that of another session. */
  readonly describeStart: (previousSession: string | null) => readonly Entry[];
  /** A failed write; continues a sentence about the file. */
  readonly describeError: (error: unknown) => string;
  readonly onChange: (status: RecorderStatus) => void;
}

function startWriting({ size }: RecorderOptions) {
  return {
    status: { bytes: size, problem: null } as RecorderStatus,
    session: null as string | null,
    blockCount: 0,
    fileStartedAt: 0 as EpochSeconds,
    block: null as Block | null,
    lastBytes: 0 as Bytes,
    waiting: 0,
    writing: Promise.resolve(),
  };
}

export function createRecorder(sink: RecordSink, options: RecorderOptions): Recorder {
  const { limits, describeStart, describeError, onChange } = options;
  const own = startWriting(options);
  const stop = (problem: string): void => {
    own.block = null;
    if (own.status.problem === null) onChange(own.status = { ...own.status, problem });
  };

  const write = async ({ lines, startedAt, endedAt }: Block, rotates: boolean): Promise<void> => {
    if (own.status.problem !== null) return;
    try {
      const block = await packBlock(lines.join("\n") + "\n", { from: startedAt, to: endedAt });
      if (rotates) await sink.rotate?.();
      await sink.append(block);
      own.lastBytes = block.length;
      const bytes = (rotates ? 0 : own.status.bytes) + block.length;
      onChange(own.status = { ...own.status, bytes });
    } catch (error) {
      stop(describeError(error));
    }
  };
  const seal = (block: Block | null, rotates = false): void => {
    if (block === null) return;
    own.waiting++;
    own.writing = own.writing.then(() => write(block, rotates)).finally(() => own.waiting--);
    if (own.waiting > MAX_WAITING_BLOCKS) stop("cannot be written as fast as servers answer");
  };

  const startNext = (session: string, epoch: EpochSeconds): Block =>
    startBlock({ recording: RECORDING_FORMAT, session, block: own.blockCount++ }, epoch);
  /** A file begins with a block of its own, so that one that cannot be written is noticed at once. */
  const startFile = (epoch: EpochSeconds, rotates: boolean): void => {
    const previous = own.session;
    own.session = String(epoch);
    own.blockCount = 0;
    own.fileStartedAt = epoch;
    const first = startNext(own.session, epoch);
    for (const entry of describeStart(previous)) addEntry(first, entry);
    seal(first, rotates);
  };
  const beginBlock = (epoch: EpochSeconds): Block | null => {
    const bytes = own.status.bytes + (own.waiting + 1) * own.lastBytes;
    if (sink.rotate === null && bytes > limits.bytes) {
      stop("has reached its limit of size");
      return null;
    }
    const isOld = own.session !== null && epoch - own.fileStartedAt >= limits.age / 2;
    const rotates = sink.rotate !== null && (isOld || bytes > limits.bytes / 2);
    if (own.session === null || rotates) startFile(epoch, rotates && own.status.bytes > 0);
    return startNext(own.session ?? "", epoch);
  };

  return {
    note: (entry) => {
      if (own.block !== null && isFull(own.block, entry.epoch)) {
        seal(own.block);
        own.block = null;
      }
      if (own.status.problem === null) own.block ??= beginBlock(entry.epoch);
      if (own.block !== null) addEntry(own.block, entry);
      return own.writing;
    },
    close: async () => {
      seal(own.block);
      own.block = null;
      await own.writing;
      sink.close();
    },
  };
}
