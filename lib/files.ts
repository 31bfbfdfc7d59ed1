/**
 * Explains why a file cannot be read: the runtime's message may quote anything and names no next
 * step. Error names are those of Deno 2.6 to 2.9.
 * @module
 */

export function isMissingFile(error: unknown): boolean {
  return error instanceof Error && (error.name === "NotFound" || error.name === "NotADirectory");
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
    default:
      return "cannot be read: check that it is a text file";
  }
}
