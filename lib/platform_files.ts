/**
 * The part of `Platform` that reads and appends to files of bytes, made of Deno's own functions.
 * @module
 */

import type { GrowingFile, Platform, ReadableFile } from "./platform.ts";
import type { Bytes } from "./units.ts";

async function openFile(path: string): Promise<ReadableFile> {
  const file = await Deno.open(path);
  const { size, isFile, isDirectory } = await file.stat();
  if (!isFile) {
    file.close();
    throw isDirectory ? new Deno.errors.IsADirectory() : new Deno.errors.NotSupported();
  }
  return {
    size,
    read: async (offset, length) => {
      const bytes = new Uint8Array(Math.max(0, Math.min(length, size - offset)));
      await file.seek(offset, Deno.SeekMode.Start);
      let filled = 0;
      while (filled < bytes.length) {
        const count = await file.read(bytes.subarray(filled));
        if (count === null) break;
        filled += count;
      }
      return bytes.subarray(0, filled);
    },
    close: () => file.close(),
  };
}

async function openGrowingFile(path: string): Promise<GrowingFile> {
  const file = await Deno.open(path, { append: true, create: true, mode: 0o600 });
  let size: Bytes = (await file.stat()).size;
  return {
    size: () => size,
    append: async (bytes) => {
      try {
        await writeAll(file, bytes);
        size += bytes.length;
      } catch (error) {
        // On a full disk part of it may have been written.
        await file.truncate(size).catch(() => {});
        throw error;
      }
    },
    close: () => file.close(),
  };
}

/** Writes all bytes: the runtime may take fewer at a time. */
export async function writeAll(
  target: { readonly write: (bytes: Uint8Array) => Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await target.write(rest));
}

export const FILE_FUNCTIONS: Pick<Platform, "openFile" | "openGrowingFile" | "renameFile"> = {
  openFile,
  openGrowingFile,
  renameFile: (from, to) => Deno.rename(from, to),
};
