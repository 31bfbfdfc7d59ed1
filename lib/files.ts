/**
 * Why a file cannot be read, in the words of every message about one.
 *
 * The runtime's own message is not passed on: it may quote
 * anything, and has no next step. Which file it is, and what follows from it, is
 * for the caller to say. Source: the names of Deno's errors, 2.6 to 2.9.
 *
 * @module
 */

/** Whether an error says that there is no such file. */
export function isMissingFile(error: unknown): boolean {
  return error instanceof Error && (error.name === "NotFound" || error.name === "NotADirectory");
}

/**
 * What follows the name of a file that cannot be read: why, and the next step.
 */
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
