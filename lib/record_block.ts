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

/** Passes the bytes through a stream of the runtime; `null` if they are damaged or too many. */
async function transform(
  bytes: Uint8Array<ArrayBuffer>,
  stream: CompressionStream | DecompressionStream,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  try {
    for await (const part of new Blob([bytes]).stream().pipeThrough(stream)) {
      parts.push(part);
      length += part.length;
      if (length > MAX_TEXT_BYTES) return null;
    }
  } catch {
    return null;
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** @throws {RangeError} If the text is larger than a block may be. */
export async function packBlock(
  text: string,
  { from, to }: BlockTimes,
): Promise<Uint8Array<ArrayBuffer>> {
  const packed = await transform(new TextEncoder().encode(text), new CompressionStream("gzip"));
  if (packed === null) throw new RangeError("Cannot pack a block of this size");
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

const CHECKSUMS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? 0xedb88320 ^ (rest >>> 1) : rest >>> 1;
  return rest;
});

/** CRC-32 of gzip, which Deno's stream does not check (2.6 to 2.9). */
function computeChecksum(bytes: Uint8Array): number {
  let rest = 0xffffffff;
  for (const byte of bytes) rest = CHECKSUMS[(rest ^ byte) & 0xff] ^ (rest >>> 8);
  return ~rest >>> 0;
}

/** Of checksum and length, at the end of a gzip member. */
const TRAILER_BYTES: Bytes = 8;

/** `null` if the block is damaged. */
export async function unpackBlock(block: Uint8Array<ArrayBuffer>): Promise<string | null> {
  const plain = new Uint8Array(block.length - BLOCK_HEADER_BYTES + GZIP_HEADER.length);
  plain.set(GZIP_HEADER);
  plain[3] = 0;
  plain.set(block.subarray(BLOCK_HEADER_BYTES), GZIP_HEADER.length);
  const text = await transform(plain, new DecompressionStream("gzip"));
  if (text === null) return null;
  const trailer = new DataView(block.buffer, block.byteOffset + block.length - TRAILER_BYTES);
  const isWhole = trailer.getUint32(0, true) === computeChecksum(text) &&
    trailer.getUint32(4, true) === text.length;
  return isWhole ? new TextDecoder().decode(text) : null;
}
