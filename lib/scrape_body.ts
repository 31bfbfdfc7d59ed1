/**
 * Reads a response's body into one piece. Streams write into a few reused buffers where they can:
 * the runtime's own 64 KiB chunks would waste several times the bodies, and the process would keep
 * that memory. Sizes are in bytes.
 * @module
 */

import { type Bytes, BYTES_PER_KIBIBYTE, BYTES_PER_MEBIBYTE } from "./units.ts";

interface Body {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** False if cut at the limit. */
  readonly isWhole: boolean;
}

/** Initial size, before a body's size is known. */
const FIRST_BUFFER_BYTES: Bytes = 64 * BYTES_PER_KIBIBYTE;

interface BufferPool {
  /** Returns a buffer of more than `bytes`. The caller owns it until `give`. */
  readonly take: (bytes: Bytes) => Uint8Array<ArrayBuffer>;
  readonly give: (buffer: Uint8Array<ArrayBuffer>) => void;
}

/** More only as a single buffer: after the first polls few bodies arrive together. */
const MAX_SPARE_BYTES: Bytes = 8 * BYTES_PER_MEBIBYTE;

/** Keeps the largest buffers. */
export function createBufferPool(): BufferPool {
  let spare: readonly Uint8Array<ArrayBuffer>[] = [];
  return {
    take: (bytes) => {
      const taken = spare.find(({ length }) => length > bytes);
      spare = spare.filter((buffer) => buffer !== taken);
      // Powers of two serve bodies that grow, and other endpoints.
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

/** The buffer may be a new one; `count` is `null` at the end. */
interface Filled {
  readonly buffer: Uint8Array<ArrayBuffer>;
  readonly count: Bytes | null;
}

/** Reads into the buffer from `at` on. */
interface ByteReader {
  readonly fill: (buffer: Uint8Array<ArrayBuffer>, at: number) => Promise<Filled>;
  readonly cancel: () => Promise<void>;
}

/** Reads without a copy; the stream owns the buffer meanwhile. */
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

/** Copies chunks, in parts if they exceed the free room. */
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
    return createCopyingReader(stream.getReader()); // Not a byte stream: undici's, or an inflating one.
  }
}

/**
 * Reads up to `limit` bytes; a flood of tiny chunks costs only its bytes.
 * @param options.buffer A whole buffer to read into; it is consumed.
 * @param options.onBytes Told the number of bytes so far.
 */
export async function readBody(
  stream: ReadableStream<Uint8Array> | null,
  limit: Bytes,
  options: {
    readonly buffer?: Uint8Array<ArrayBuffer>;
    readonly onBytes?: (count: Bytes) => void;
  } = {},
): Promise<Body> {
  // One byte beyond the limit shows that a body is too large.
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

/**
 * Inflates a whole gzip body, up to `limit` bytes; others stay as they are. Some proxies compress
 * unasked, and runtimes differ in what they inflate.
 */
export async function inflateBody(body: Body, limit: Bytes): Promise<Body> {
  const { bytes, isWhole } = body;
  if (!isWhole || bytes[0] !== 0x1f || bytes[1] !== 0x8b) return body;
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return await readBody(inflated, limit);
}
