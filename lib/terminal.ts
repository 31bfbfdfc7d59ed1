/**
 * Draws frames on a terminal. Enters the alternate screen once and leaves it exactly once. Writes
 * only changed cells, in one write, inside a synchronized update (`CSI ? 2026`) if supported.
 * @module
 */

import {
  cursorHide,
  cursorShow,
  cursorTo,
  eraseLineEnd,
  eraseScreen,
} from "@cliffy/ansi/ansi-escapes";
import type { Stdio, TerminalSize } from "./platform.ts";

/** One screen. */
export interface Frame {
  /** Styled; no line wider than the screen. */
  readonly lines: readonly string[];
  /** Row of the selected line, from 0. */
  readonly cursorRow: number | null;
}

const ALTERNATE_SCREEN_ON = "\x1b[?1049h";
const ALTERNATE_SCREEN_OFF = "\x1b[?1049l";
const AUTOWRAP_OFF = "\x1b[?7l";
const AUTOWRAP_ON = "\x1b[?7h";
/** Synchronized updates: drawn at once. */
export const SYNCHRONIZED_MODE = 2026;
// DECRQM; the answer arrives among the keys.
const QUERY_SYNCHRONIZED = `\x1b[?${SYNCHRONIZED_MODE}$p`;
const SYNCHRONIZED_ON = "\x1b[?2026h";
const SYNCHRONIZED_OFF = "\x1b[?2026l";
const STYLE_RESET = "\x1b[0m";
const PASTE_ON = "\x1b[?2004h";
const PASTE_OFF = "\x1b[?2004l";
// Buttons and wheel (1000), decimal coordinates (1006).
const MOUSE_ON = "\x1b[?1000h\x1b[?1006h";
// Motion too: another program may have left it on.
const MOUSE_OFF = "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l";

export interface Terminal {
  /** Skips the frame while the previous one is being written. */
  readonly draw: (frame: Frame, size: TerminalSize) => Promise<void>;
  /** Tells whether synchronized updates are supported. */
  readonly setSynchronized: (isKnown: boolean) => void;
  /** Redraws the next frame whole. */
  readonly forget: () => void;
  /** Restores the terminal while the program is stopped, after the current write. */
  readonly suspend: () => Promise<void>;
  readonly resume: () => void;
  /** Restores the terminal after the current write. Idempotent. */
  readonly finish: () => Promise<void>;
  /**
   * Leaves a terminal that no longer accepts output as it is. Changing its input mode would wait for
   * that output; Deno restores the mode when the program ends.
   */
  readonly abandon: () => void;
}

/** Lines whose every character surely takes one cell; of others the place of a cell is unsure. */
const SINGLE_WIDTH =
  // deno-lint-ignore no-control-regex
  /^[\x1b\x20-\x7e\u00b0\u00b7\u00d7\u2013\u2014\u2018\u2019\u2026\u2190-\u2193\u2248\u2264\u2265\u2500-\u259f\u25b2-\u25cf\u2800-\u28ff]*$/;
// deno-lint-ignore no-control-regex
const STYLE_OR_CHARACTER = /(\x1b\[[0-9;]*m)|[^\x1b]/g;
/** Unchanged cells between two changes: writing them is shorter than moving the cursor. */
const MAX_UNCHANGED = 8;

interface Cells {
  readonly styles: readonly string[];
  readonly characters: readonly string[];
}

function readCells(line: string): Cells {
  const styles: string[] = [];
  const characters: string[] = [];
  let style = "";
  for (const [text, sequence] of line.matchAll(STYLE_OR_CHARACTER)) {
    if (sequence !== undefined) style = sequence === STYLE_RESET ? "" : sequence;
    else {
      styles.push(style);
      characters.push(text);
    }
  }
  return { styles, characters };
}

function writeCells({ styles, characters }: Cells, from: number, to: number): string {
  let text = "";
  let style = "";
  for (let i = from; i < to; i++) {
    if (styles[i] !== style) {
      text += (style === "" ? "" : STYLE_RESET) + styles[i];
      style = styles[i];
    }
    text += characters[i];
  }
  return style === "" ? text : text + STYLE_RESET;
}

/** Encodes the changed cells of a line. */
function encodeCells(before: Cells, after: Cells, row: number): string {
  const { styles, characters } = after;
  const count = characters.length;
  const isSame = (i: number): boolean =>
    characters[i] === before.characters[i] && styles[i] === before.styles[i];
  let changes = "";
  for (let from = 0; from < count; from++) {
    if (isSame(from)) continue;
    let to = from + 1;
    for (let i = to; i < count && i - to < MAX_UNCHANGED; i++) if (!isSame(i)) to = i + 1;
    changes += cursorTo(from + 1, row + 1) + writeCells(after, from, to);
    from = to;
  }
  const isShorter = count < before.characters.length;
  return changes + (isShorter ? cursorTo(count + 1, row + 1) + eraseLineEnd : "");
}

function encodeLine(shown: string | undefined, wanted: string, row: number): string {
  // Erase first: after a full line the cursor is on its last cell, which would be erased.
  const whole = cursorTo(1, row + 1) + eraseLineEnd + wanted + STYLE_RESET;
  if (shown === undefined || !SINGLE_WIDTH.test(shown) || !SINGLE_WIDTH.test(wanted)) return whole;
  const changes = encodeCells(readCells(shown), readCells(wanted), row);
  return changes.length < whole.length ? changes : whole;
}

/** Encodes the changes between two screens; `""` if equal. */
export function encodeFrame(shown: readonly string[] | null, wanted: readonly string[]): string {
  let changes = shown === null ? eraseScreen : "";
  wanted.forEach((line, index) => {
    if (shown?.[index] !== line) changes += encodeLine(shown?.[index], line, index);
  });
  return changes;
}

function openScreen(stdio: Stdio, options: { readonly mouse: boolean }): void {
  stdio.setRawInput(true);
  const modes = ALTERNATE_SCREEN_ON + AUTOWRAP_OFF + cursorHide + PASTE_ON;
  const mouse = options.mouse ? MOUSE_ON : "";
  stdio.writeStdoutSync(new TextEncoder().encode(modes + mouse + QUERY_SYNCHRONIZED));
}

function restoreScreen(stdio: Stdio): void {
  const restored = SYNCHRONIZED_OFF + MOUSE_OFF + PASTE_OFF + STYLE_RESET + AUTOWRAP_ON +
    cursorShow + ALTERNATE_SCREEN_OFF;
  stdio.writeStdoutSync(new TextEncoder().encode(restored));
  stdio.setRawInput(false);
}

/** Ends with the hidden cursor on the selected line, for screen readers. */
function wrapChanges(
  changes: string,
  options: { readonly cursorRow: number | null; readonly isSynchronized: boolean },
): string {
  const { cursorRow, isSynchronized } = options;
  const cursor = cursorRow === null ? "" : cursorTo(1, cursorRow + 1);
  return isSynchronized ? SYNCHRONIZED_ON + changes + cursor + SYNCHRONIZED_OFF : changes + cursor;
}

export function enterTerminal(stdio: Stdio, options: { readonly mouse: boolean }): Terminal {
  const encoder = new TextEncoder();
  let shown: readonly string[] | null = null;
  let shownSize: TerminalSize | null = null;
  let writing: Promise<void> | null = null;
  let isForgotten = false;
  let isSynchronized = false;
  let isSuspended = false;
  let isOver = false;
  let hasLeft = false;

  openScreen(stdio, options);

  const draw = async (frame: Frame, size: TerminalSize): Promise<void> => {
    if (writing !== null || isSuspended || isOver) return;
    const sameSize = shownSize?.columns === size.columns && shownSize.rows === size.rows;
    const changes = encodeFrame(sameSize ? shown : null, frame.lines);
    if (changes === "") return;
    isForgotten = false;
    const { cursorRow } = frame;
    const update = wrapChanges(changes, { cursorRow, isSynchronized });
    writing = stdio.writeStdout(encoder.encode(update));
    try {
      await writing;
      shown = isForgotten ? null : frame.lines;
      shownSize = size;
    } finally {
      writing = null;
    }
  };
  const end = (restore: () => void): void => {
    if (hasLeft) return;
    isOver = hasLeft = true;
    try {
      restore();
    } catch {
      // The terminal is gone.
    }
  };
  const abandon = (): void => end(() => {});
  const finish = async (): Promise<void> => {
    isOver = true;
    await writing?.catch(() => {});
    end(() => restoreScreen(stdio));
  };
  const forget = (): void => {
    shown = null;
    isForgotten = true;
  };
  const suspend = async (): Promise<void> => {
    isSuspended = true;
    await writing?.catch(() => {});
    if (!hasLeft) restoreScreen(stdio);
  };
  const resume = (): void => {
    if (hasLeft) return;
    isSuspended = false;
    openScreen(stdio, options);
    forget();
  };
  const setSynchronized = (isKnown: boolean): void => void (isSynchronized = isKnown);
  return { draw, setSynchronized, forget, suspend, resume, finish, abandon };
}
