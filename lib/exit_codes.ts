/**
 * The codes that the program ends with, and when.
 *
 * Layer 1, pure. The one list: `app` and `targets` end with these, the help and
 * the manual page show them, and a test holds the README's table to it. A signal
 * n ends the program with 128 + n, as it does other programs.
 *
 * @module
 */

export const EXIT_OK = 0;
export const EXIT_ENDPOINT_DOWN = 1;
export const EXIT_USAGE = 2;
export const EXIT_CONFIGURATION = 3;
export const EXIT_INTERNAL = 70;

/** Each code as people write it, and when the program ends with it. */
export const EXIT_CODES: readonly (readonly [code: string, help: string])[] = [
  [String(EXIT_OK), "every endpoint answered"],
  [
    String(EXIT_ENDPOINT_DOWN),
    "with --once, an endpoint failed; nothing was found with --auto, or on the host or ports " +
    "that were named",
  ],
  [String(EXIT_USAGE), "the command line or a variable is wrong"],
  [
    String(EXIT_CONFIGURATION),
    "a file of settings, with credentials or with prices cannot be used, or output or state " +
    "cannot be written",
  ],
  [String(EXIT_INTERNAL), "internal error"],
  ["128+n", "ended by signal n"],
];
