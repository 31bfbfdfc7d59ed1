/**
 * Frames onto a real terminal: the escape sequences that go out.
 *
 * Enters
 * the alternate screen once and leaves it exactly once, whatever the way out.
 * Only lines that changed are written, all in one write, inside a synchronised
 * update (`CSI ? 2026`) where the terminal says that it knows them. Sequences
 * for the cursor are those of `@cliffy/ansi`; modes have no function there and
 * stand here. Nothing else in the program knows that a terminal exists.
 *
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

/** One picture of the whole screen. */
export interface Frame {
  /** From the top; styled; no line wider than the screen it was made for. */
  readonly lines: readonly string[];
  /** The row of the selected line, from 0; `null` where none is shown. */
  readonly cursorRow: number | null;
}

const ALTERNATE_SCREEN_ON = "\x1b[?1049h";
const ALTERNATE_SCREEN_OFF = "\x1b[?1049l";
const AUTOWRAP_OFF = "\x1b[?7l";
const AUTOWRAP_ON = "\x1b[?7h";
/** The mode of synchronised updates: what is drawn in it appears at once. */
export const SYNCHRONIZED_MODE = 2026;
// DECRQM: the answer comes with the keys.
const QUERY_SYNCHRONIZED = `\x1b[?${SYNCHRONIZED_MODE}$p`;
const SYNCHRONIZED_ON = "\x1b[?2026h";
const SYNCHRONIZED_OFF = "\x1b[?2026l";
const STYLE_RESET = "\x1b[0m";
const PASTE_ON = "\x1b[?2004h";
const PASTE_OFF = "\x1b[?2004l";
// Buttons and wheel (1000), with coordinates in decimal (1006).
const MOUSE_ON = "\x1b[?1000h\x1b[?1006h";
// Off whatever was on, motion too: another program may have left it.
const MOUSE_OFF = "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l";

/** A terminal that has been taken over. */
export interface Terminal {
  /** Shows the frame. Skipped while the one before is still being written: a slow terminal gets fewer frames. */
  readonly draw: (frame: Frame, size: TerminalSize) => Promise<void>;
  /** Says what the terminal answered of synchronised updates. Before, frames are written without. */
  readonly setSynchronized: (isKnown: boolean) => void;
  /** Forgets what is shown: the next frame is drawn whole. */
  readonly forget: () => void;
  /** Gives the terminal back for a while, for a program that is stopped, once the frame that is being written is out. */
  readonly suspend: () => Promise<void>;
  /** Takes it over again. */
  readonly resume: () => void;
  /** Gives the terminal back as it was, once the frame that is being written is out. */
  readonly finish: () => Promise<void>;
  /** Gives it back at once, for ends that cannot wait: a frame that is being written may follow. Does nothing the second time. */
  readonly leave: () => void;
  /** Puts the input mode back and writes nothing: for a terminal that takes nothing any more. */
  readonly abandon: () => void;
}

/** What must be written to turn the shown lines into the wanted ones. Nothing when they are the same. */
export function encodeFrame(shown: readonly string[] | null, wanted: readonly string[]): string {
  let changes = shown === null ? eraseScreen : "";
  wanted.forEach((line, index) => {
    if (shown?.[index] === line) return;
    // Erased first: after a full line the cursor stands on its last cell, which would go too.
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

/** Makes the terminal anybody's again, whatever was on. */
function restoreScreen(stdio: Stdio): void {
  const restored = SYNCHRONIZED_OFF + MOUSE_OFF + PASTE_OFF + STYLE_RESET + AUTOWRAP_ON +
    cursorShow + ALTERNATE_SCREEN_OFF;
  stdio.writeStdoutSync(new TextEncoder().encode(restored));
  stdio.setRawInput(false);
}

/** An update with its end: the cursor, which nobody sees, on the selected line, where screen readers look for it. */
function wrapChanges(
  changes: string,
  options: { readonly cursorRow: number | null; readonly isSynchronized: boolean },
): string {
  const { cursorRow, isSynchronized } = options;
  const cursor = cursorRow === null ? "" : cursorTo(1, cursorRow + 1);
  return isSynchronized ? SYNCHRONIZED_ON + changes + cursor + SYNCHRONIZED_OFF : changes + cursor;
}

/** Takes the terminal over: alternate screen, no cursor, keys as they are typed, and the mouse if wanted. */
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
      // A terminal that is gone wants nothing back.
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
