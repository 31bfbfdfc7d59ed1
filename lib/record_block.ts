/**
 * Blocks of a recording: lines of text <-> gzip members of a known size. The size and the times
 * stand in an extra field of gzip's header (RFC 1952, 2.3.1.1), so that blocks can be listed, passed
 * over and found again after damage, and `gunzip` reads the whole file.
 * @module
 */

import { type Bytes, BYTES_PER_MEBIBYTE, type EpochSeconds } from "./units.ts";

/** When its first and its last line were written. */
export interface BlockTimes {
  readonly from: EpochSeconds;
  readonly to: EpochSeconds;
}

export interface BlockHeader extends BlockTimes {
  /** With the header. */
  readonly size: Bytes;
}

/** Gzip's header with the flag of the extra field, and no time, so that equal lines give equal bytes. */
const GZIP_HEADER = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/** Size, first and last time. */
const FIELD_BYTES: Bytes = 4 + 8 + 8;
const START = new Uint8Array([
  ...GZIP_HEADER,
  ...[FIELD_BYTES + 4, 0, ...new TextEncoder().encode("VH"), FIELD_BYTES, 0],
]);
export const BLOCK_HEADER_BYTES: Bytes = START.length + FIELD_BYTES;
/** Sixty times what 30 s of the largest fleet take; more is no recording of ours. */
const MAX_TEXT_BYTES: Bytes = 256 * BYTES_PER_MEBIBYTE;

/** Its streams do not check the checksum (Deno 2.6 to 2.9), this does. Loaded late: it is large. */
function loadZlib(): Promise<typeof import("node:zlib")> {
  return import("node:zlib");
}

/** @throws {RangeError} If the text is larger than a block may be. */
export async function packBlock(
  text: string,
  { from, to }: BlockTimes,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > MAX_TEXT_BYTES) throw new RangeError("Cannot pack a block of this size");
  const { gzip } = await loadZlib();
  const packed = await new Promise<Uint8Array>((resolve, reject) => {
    gzip(bytes, (error, result) => error === null ? resolve(result) : reject(error));
  });
  const body = packed.subarray(GZIP_HEADER.length);
  const block = new Uint8Array(BLOCK_HEADER_BYTES + body.length);
  block.set(START);
  const view = new DataView(block.buffer);
  view.setUint32(START.length, block.length, true);
  view.setFloat64(START.length + 4, from, true);
  view.setFloat64(START.length + 12, to, true);
  block.set(body, BLOCK_HEADER_BYTES);
  return block;
}

/** `null` if no block begins there. */
export function parseBlockHeader(bytes: Uint8Array): BlockHeader | null {
  if (bytes.length < BLOCK_HEADER_BYTES) return null;
  if (START.some((byte, i) => byte !== bytes[i])) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset + START.length);
  const size = view.getUint32(0, true);
  const [from, to] = [view.getFloat64(4, true), view.getFloat64(12, true)];
  return size > BLOCK_HEADER_BYTES && from <= to ? { size, from, to } : null;
}

/** The first place at or after `from` where a block may begin; -1 if there is none. */
export function findBlock(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(START[0], from); at >= 0; at = bytes.indexOf(START[0], at + 1)) {
    if (START.every((byte, i) => byte === bytes[at + i])) return at;
  }
  return -1;
}

/** Of the length of the text, at the end of a gzip member. */
const LENGTH_BYTES: Bytes = 4;

/** `null` if the block is damaged. */
export async function unpackBlock(block: Uint8Array<ArrayBuffer>): Promise<string | null> {
  const plain = new Uint8Array(block.length - BLOCK_HEADER_BYTES + GZIP_HEADER.length);
  plain.set(GZIP_HEADER);
  plain[3] = 0;
  plain.set(block.subarray(BLOCK_HEADER_BYTES), GZIP_HEADER.length);
  const { gunzip } = await loadZlib();
  const text = await new Promise<Uint8Array | null>((resolve) => {
    const limit = { maxOutputLength: MAX_TEXT_BYTES };
    gunzip(plain, limit, (error, result) => resolve(error === null ? result : null));
  });
  if (text === null) return null;
  // `gunzip` ignores other bytes behind the member, and appends the text of a second member.
  const end = new DataView(block.buffer, block.byteOffset + block.length - LENGTH_BYTES);
  return end.getUint32(0, true) === text.length ? new TextDecoder().decode(text) : null;
}
