/**
 * Draws frames on a terminal. Enters the alternate screen once and leaves it exactly once. Writes
 * only changed lines, in one write, inside a synchronized update (`CSI ? 2026`) if supported.
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
  /** Restores the terminal after the current write. */
  readonly finish: () => Promise<void>;
  /** Restores it at once, for exits that cannot wait. Idempotent. */
  readonly leave: () => void;
  /** Restores only the input mode, for a terminal that no longer accepts output. */
  readonly abandon: () => void;
}

/** Encodes the changes between two screens; `""` if equal. */
export function encodeFrame(shown: readonly string[] | null, wanted: readonly string[]): string {
  let changes = shown === null ? eraseScreen : "";
  wanted.forEach((line, index) => {
    if (shown?.[index] === line) return;
    // Erase first: after a full line the cursor is on its last cell, which would be erased.
    changes += cursorTo(1, index + 1) + eraseLineEnd + line + STYLE_RESET;
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
  const leave = (): void => end(() => restoreScreen(stdio));
  const abandon = (): void => end(() => stdio.setRawInput(false));
  const finish = async (): Promise<void> => {
    isOver = true;
    await writing?.catch(() => {});
    leave();
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
  return { draw, setSynchronized, forget, suspend, resume, finish, leave, abandon };
}
