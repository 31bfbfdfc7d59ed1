/**
 * `@cliffy/ansi/ansi-escapes`, as far as it is used.
 *
 * Sequences of ECMA-48 and of DEC's cursor mode, written out: `ansi-escapes`
 * reads the variable `TERM_PROGRAM` when it is imported, which the program's
 * permissions refuse, and `sisteransi` cannot go to the first line.
 *
 * @module
 */

const CSI = "\x1b[";

/** Goes to a column and line. Both count from 1. */
export function cursorTo(x: number, y: number): string {
  return `${CSI}${y};${x}H`;
}

export const cursorHide: string = `${CSI}?25l`;
export const cursorShow: string = `${CSI}?25h`;
export const eraseLineEnd: string = `${CSI}0K`;
export const eraseScreen: string = `${CSI}2J`;
