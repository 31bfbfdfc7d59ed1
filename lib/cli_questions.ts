/**
 * Finds the flags that are answered whatever else is on the command line.
 * @module
 */

/** `--help` comes first. */
export function findQuestion(argv: readonly string[]): "help" | "version" | null {
  const end = argv.indexOf("--");
  const flags = end < 0 ? argv : argv.slice(0, end);
  if (flags.includes("-h") || flags.includes("--help")) return "help";
  return flags.includes("-V") || flags.includes("--version") ? "version" : null;
}
