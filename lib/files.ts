/**
 * Explains why a file cannot be read or written: the runtime's message may quote anything and names no next
 * step. Error names are those of Deno 2.6 to 2.9.
 * @module
 */

import { sanitizeText } from "./text.ts";

export function isMissingFile(error: unknown): boolean {
  return error instanceof Error && (error.name === "NotFound" || error.name === "NotADirectory");
}

export function isFullDisk(error: unknown): boolean {
  return error instanceof Error && /no space left|os error (28|112)\b/i.test(error.message);
}

export function isAbsolutePath(path: string): boolean {
  return /^(?:[/\\]|[a-z]:[/\\])/i.test(path);
}

/** Continues a message that names the file. */
export function describeFileError(error: unknown): string {
  if (isMissingFile(error)) return "does not exist: check the path";
  switch (error instanceof Error ? error.name : "") {
    case "PermissionDenied":
    case "NotCapable":
      return "may not be read: check its permissions";
    case "IsADirectory":
      return "is a directory: name a file in it";
    case "NotSupported":
      return "is a device or a pipe: name a regular file";
    default:
      return "cannot be read: check that it is a text file";
  }
}

/** Ends a message that names the file. */
export function describeWriteError(error: unknown): string {
  if (isFullDisk(error)) return "no space is left there";
  switch (error instanceof Error ? error.name : "") {
    case "NotCapable":
      return "this program may not write there: run it by Deno, or compile it, with " +
        "--allow-write=FOLDER (docs/cron.md)";
    case "PermissionDenied":
      return "its folder may not be written to: check its permissions";
    case "NotFound":
      return "its folder does not exist: make it";
    default:
      return sanitizeText(error instanceof Error ? error.message : String(error));
  }
}
