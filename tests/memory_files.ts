/**
 * Files in memory, for tests of what is appended to and read.
 *
 * @module
 */

import type { Platform, ReadableFile } from "../lib/platform.ts";

type Bytes = Uint8Array<ArrayBuffer>;

function join(one: Uint8Array, other: Uint8Array): Bytes {
  const whole = new Uint8Array(one.length + other.length);
  whole.set(one);
  whole.set(other, one.length);
  return whole;
}

export function openBytes(bytes: Bytes): ReadableFile {
  return {
    size: bytes.length,
    read: (offset, length) => Promise.resolve(bytes.slice(offset, offset + length)),
    close: () => {},
  };
}

function createMissing(path: string): Error {
  const error = new Error(`No such file: ${path}`);
  error.name = "NotFound";
  return error;
}

/** The functions of a platform on `files`, which a test may look into and change. */
export function createMemoryFiles(
  files: Map<string, Bytes>,
): Pick<Platform, "openFile" | "openGrowingFile" | "renameFile"> {
  const get = (path: string): Bytes => {
    const bytes = files.get(path);
    if (bytes === undefined) throw createMissing(path);
    return bytes;
  };
  return {
    openFile: async (path) => openBytes(await Promise.resolve(path).then(get)),
    openGrowingFile: (path) => {
      if (!files.has(path)) files.set(path, new Uint8Array());
      return Promise.resolve({
        size: () => get(path).length,
        append: (bytes) => {
          files.set(path, join(get(path), bytes));
          return Promise.resolve();
        },
        close: () => {},
      });
    },
    renameFile: (from, to) => {
      files.set(to, get(from));
      files.delete(from);
      return Promise.resolve();
    },
  };
}
