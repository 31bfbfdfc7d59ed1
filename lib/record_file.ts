/**
 * Files of blocks -> what happened, in order. Whatever is cut, damaged or no block is passed over and
 * counted.
 * @module
 */

import { isRecord, type Json, parseUntrustedJson } from "./json.ts";
import type { ReadableFile } from "./platform.ts";
import {
  BLOCK_HEADER_BYTES,
  type BlockHeader,
  findBlock,
  parseBlockHeader,
  unpackBlock,
} from "./record_block.ts";
import { type BlockTitle, type Entry, RECORDING_FORMAT } from "./record.ts";
import { changeLines, type LineChanges } from "./record_delta.ts";
import {
  type Bytes,
  BYTES_PER_MEBIBYTE,
  type EpochSeconds,
  MILLISECONDS_PER_SECOND,
} from "./units.ts";

export interface FoundBlock extends BlockHeader {
  readonly file: ReadableFile;
  readonly offset: Bytes;
}

interface BlockList {
  readonly blocks: readonly FoundBlock[];
  /** That belong to no whole block. */
  readonly lostBytes: Bytes;
}

export interface ReadEntry extends Entry {
  readonly session: string;
}

/** While looking for the next block after damage. */
const SEARCH_BYTES: Bytes = BYTES_PER_MEBIBYTE;

/** `null` if no whole block is there. */
async function getBlock(file: ReadableFile, offset: Bytes): Promise<FoundBlock | null> {
  const header = parseBlockHeader(await file.read(offset, BLOCK_HEADER_BYTES));
  return header === null || offset + header.size > file.size ? null : { ...header, file, offset };
}

async function searchBlock(file: ReadableFile, from: Bytes): Promise<FoundBlock | null> {
  for (let at = from; at < file.size; at += SEARCH_BYTES) {
    const bytes = await file.read(at, SEARCH_BYTES + BLOCK_HEADER_BYTES);
    for (let i = findBlock(bytes, 0); i >= 0 && i < SEARCH_BYTES; i = findBlock(bytes, i + 1)) {
      const block = await getBlock(file, at + i);
      if (block !== null) return block;
    }
  }
  return null;
}

/** The next block at or after `from`; `null` if there is none. */
async function findNext(file: ReadableFile, from: Bytes): Promise<FoundBlock | null> {
  const block = await getBlock(file, from);
  if (block === null) return await searchBlock(file, from + 1);
  const end = from + block.size;
  const isFollowed = end === file.size || await getBlock(file, end) !== null;
  if (isFollowed) return block;
  // A block that was cut off seems to reach into the one that was appended later.
  const next = await searchBlock(file, from + 1);
  return next !== null && next.offset < end ? next : block;
}

/** In the order of the files. */
export async function listBlocks(files: readonly ReadableFile[]): Promise<BlockList> {
  const blocks: FoundBlock[] = [];
  let lostBytes: Bytes = 0;
  for (const file of files) {
    for (let at: Bytes = 0; at < file.size;) {
      const block = await findNext(file, at);
      lostBytes += (block?.offset ?? file.size) - at;
      if (block === null) break;
      blocks.push(block);
      at = block.offset + block.size;
    }
  }
  return { blocks, lostBytes };
}

function parseTitle(line: string): BlockTitle & { readonly from: EpochSeconds } | null {
  const value = parseUntrustedJson(line);
  if (!isRecord(value) || value.recording !== RECORDING_FORMAT) return null;
  const { session, block, from } = value;
  if (typeof session !== "string" || typeof block !== "number" || typeof from !== "number") {
    return null;
  }
  return { recording: RECORDING_FORMAT, session, block, from };
}

function isChanges(value: readonly unknown[]): value is [number, ...LineChanges] {
  const [base, gaps, changes] = value;
  return typeof base === "number" && Array.isArray(gaps) && Array.isArray(changes);
}

/** @throws {TypeError} If the line is none of ours. */
function parseLine(line: string, from: EpochSeconds, texts: (readonly string[])[]): Entry {
  const value: unknown = JSON.parse(line);
  if (!Array.isArray(value)) throw new TypeError("Not an entry");
  const [elapsed, stream, json, stored] = value;
  if (typeof elapsed !== "number" || typeof stream !== "string") {
    throw new TypeError("Not an entry");
  }
  const epoch = from + elapsed / MILLISECONDS_PER_SECOND;
  const entry = { epoch, stream, value: json as Json };
  if (stored === undefined) return entry;
  let lines: readonly string[];
  if (typeof stored === "string") lines = stored.split("\n");
  else if (Array.isArray(stored) && isChanges(stored)) {
    const [base, ...changes] = stored;
    lines = changeLines(texts[base] ?? [], changes);
  } else throw new TypeError("Not a text");
  texts.push(lines);
  return { ...entry, text: lines.join("\n") };
}

/** `null` if the block is damaged or another program's. */
export async function readBlock(
  { file, offset, size }: FoundBlock,
): Promise<readonly ReadEntry[] | null> {
  const text = await unpackBlock(await file.read(offset, size));
  if (text === null) return null;
  const [first, ...lines] = text.trimEnd().split("\n");
  const title = parseTitle(first);
  if (title === null) return null;
  const texts: (readonly string[])[] = [];
  try {
    return lines.map((line) => ({
      ...parseLine(line, title.from, texts),
      session: title.session,
    }));
  } catch {
    return null;
  }
}
