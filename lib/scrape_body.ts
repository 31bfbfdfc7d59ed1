/**
 * The bytes of a response's body, in one piece.
 *
 * Where a stream can
 * write into memory of ours it does, and a few buffers serve all scrapes: the
 * runtime's own chunks are of 64 KiB each, a hundred scrapes a second throw away
 * several times their bodies, and the memory of the process stays at what that
 * took. Sizes are in bytes. What may be read, and what it means, is `scraper`'s
 * part.
 *
 * @module
 */

import { type Bytes, BYTES_PER_KIBIBYTE, BYTES_PER_MEBIBYTE } from "./units.ts";

/** A body, or as much of it as may be read. */
interface Body {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Whether this is all of it, and not cut at the limit. */
  readonly isWhole: boolean;
}

/** Bytes for which room is made before the size of a body is known. */
const FIRST_BUFFER_BYTES: Bytes = 64 * BYTES_PER_KIBIBYTE;

/** Buffers that nobody reads into, for bodies to come. */
interface BufferPool {
  /** A buffer with room for so many bytes and more. It is whoever takes it's. */
  readonly take: (bytes: Bytes) => Uint8Array<ArrayBuffer>;
  readonly give: (buffer: Uint8Array<ArrayBuffer>) => void;
}

/** What is kept, or one buffer that is larger: after the first polls few bodies come at the same time. */
const MAX_SPARE_BYTES: Bytes = 8 * BYTES_PER_MEBIBYTE;

/** A pool without buffers. Of those that it is given it keeps the largest. */
export function createBufferPool(): BufferPool {
  let spare: readonly Uint8Array<ArrayBuffer>[] = [];
  return {
    take: (bytes) => {
      const taken = spare.find(({ length }) => length > bytes);
      spare = spare.filter((buffer) => buffer !== taken);
      // Bodies grow a little, and one that has another size would be of no use to others.
      return taken ??
        new Uint8Array(Math.max(FIRST_BUFFER_BYTES, 2 ** Math.ceil(Math.log2(bytes + 1))));
    },
    give: (buffer) => {
      let bytes = 0;
      spare = [buffer, ...spare].toSorted((a, b) => b.length - a.length)
        .filter(({ length }, i) => (bytes += length) <= MAX_SPARE_BYTES || i === 0)
        .reverse();
    },
  };
}

/** A buffer after a read, which may be another one, and how many bytes came; `null` at the end. */
interface Filled {
  readonly buffer: Uint8Array<ArrayBuffer>;
  readonly count: Bytes | null;
}

/** Reads what comes next into the buffer, from `at` on. */
interface ByteReader {
  readonly fill: (buffer: Uint8Array<ArrayBuffer>, at: number) => Promise<Filled>;
  readonly cancel: () => Promise<void>;
}

/** Reads into the buffer itself: the stream has it meanwhile. */
function createDirectReader(reader: ReadableStreamBYOBReader): ByteReader {
  return {
    fill: async (buffer, at) => {
      const { value, done } = await reader.read(new Uint8Array(buffer.buffer, at));
      if (value === undefined) return { buffer: new Uint8Array(), count: null };
      return { buffer: new Uint8Array(value.buffer), count: done ? null : value.length };
    },
    cancel: () => reader.cancel(),
  };
}

/** Copies chunks into the buffer, in parts where they are larger than the room that is left. */
function createCopyingReader(reader: ReadableStreamDefaultReader<Uint8Array>): ByteReader {
  let rest: Uint8Array = new Uint8Array();
  return {
    fill: async (buffer, at) => {
      while (rest.length === 0) {
        const { value, done } = await reader.read();
        if (done) return { buffer, count: null };
        rest = value;
      }
      const part = rest.subarray(0, buffer.length - at);
      buffer.set(part, at);
      rest = rest.subarray(part.length);
      return { buffer, count: part.length };
    },
    cancel: () => reader.cancel(),
  };
}

function openReader(stream: ReadableStream<Uint8Array>): ByteReader {
  try {
    return createDirectReader(stream.getReader({ mode: "byob" }));
  } catch {
    return createCopyingReader(stream.getReader()); // Not a stream of bytes: undici's, or what inflates.
  }
}

/**
 * Reads up to `limit` bytes into one buffer, so that a flood of tiny chunks
 * costs only its bytes.
 *
 * @param options.buffer What to read into first, a whole buffer; it is used up.
 * @param options.onBytes Told how many bytes have come so far.
 */
export async function readBody(
  stream: ReadableStream<Uint8Array> | null,
  limit: Bytes,
  options: {
    readonly buffer?: Uint8Array<ArrayBuffer>;
    readonly onBytes?: (count: Bytes) => void;
  } = {},
): Promise<Body> {
  // One byte more than may come tells a body that is too large.
  const most = limit + 1;
  let buffer = options.buffer ?? new Uint8Array(Math.min(FIRST_BUFFER_BYTES, most));
  let length = 0;
  const reader = stream === null ? null : openReader(stream);
  while (reader !== null && length < most) {
    if (length === buffer.length) {
      const larger = new Uint8Array(Math.min(2 * buffer.length, most));
      larger.set(buffer);
      buffer = larger;
    }
    const filled = await reader.fill(buffer, length);
    buffer = filled.buffer;
    if (filled.count === null) return { bytes: buffer.subarray(0, length), isWhole: true };
    length += filled.count;
    options.onBytes?.(length);
  }
  await reader?.cancel().catch(() => {});
  return { bytes: buffer.subarray(0, Math.min(length, limit)), isWhole: reader === null };
}
