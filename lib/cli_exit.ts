/**
 * The exit codes of the program.
 * @module
 */

export const EXIT_OK = 0;
export const EXIT_ENDPOINT_DOWN = 1;
export const EXIT_USAGE = 2;
export const EXIT_CONFIGURATION = 3;
export const EXIT_INTERNAL = 70;

export const EXIT_CODES: readonly (readonly [code: string, help: string])[] = [
  [String(EXIT_OK), "every endpoint answered; the live screen was left by a key (q, Ctrl-C)"],
  [
    String(EXIT_ENDPOINT_DOWN),
    "an endpoint or SLO failed (--once); no server found (--once, --auto, --host, --port-range)",
  ],
  [String(EXIT_USAGE), "an argument or environment variable is wrong"],
  [
    String(EXIT_CONFIGURATION),
    "a configuration, credential or price file cannot be used, or output or state " +
    "cannot be written",
  ],
  [String(EXIT_INTERNAL), "internal error"],
  ["128+n", "ended by signal n, as by Ctrl-C without the live screen"],
];
