/**
 * Explains why a file cannot be read. The runtime's own message may quote anything and names no
 * next step. Source: error names of Deno 2.6 to 2.9.
 *
 * @module
 */

export function isMissingFile(error: unknown): boolean {
  return error instanceof Error && (error.name === "NotFound" || error.name === "NotADirectory");
}

/** Returns the end of a message that starts with the file: why, and the next step. */
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
