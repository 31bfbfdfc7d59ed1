/**
 * Frames onto a real terminal: the escape sequences that go out.
 *
 * Layer 5, effects: writes to standard output and sets the input mode. Enters
 * the alternate screen once and leaves it exactly once, whatever the way out.
 * Only lines that changed are written, all in one write, inside a synchronised
 * update (`CSI ? 2026`), which terminals that do not know it ignore. Sequences
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
import type { Frame } from "./frame.ts";
import type { Stdio, TerminalSize } from "./platform.ts";

const ALTERNATE_SCREEN_ON = "\x1b[?1049h";
const ALTERNATE_SCREEN_OFF = "\x1b[?1049l";
const AUTOWRAP_OFF = "\x1b[?7l";
const AUTOWRAP_ON = "\x1b[?7h";
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
}

/** What must be written to turn the shown lines into the wanted ones. Nothing when they are the same. */
export function encodeFrame(shown: readonly string[] | null, wanted: readonly string[]): string {
  let changes = shown === null ? eraseScreen : "";
  wanted.forEach((line, index) => {
    if (shown?.[index] === line) return;
    // Erased first: after a full line the cursor stands on its last cell, which would go too.
    changes += cursorTo(1, index + 1) + eraseLineEnd + line + STYLE_RESET;
  });
  return changes === "" ? "" : SYNCHRONIZED_ON + changes + SYNCHRONIZED_OFF;
}

/** Takes the terminal over: alternate screen, no cursor, keys as they are typed, and the mouse if wanted. */
export function enterTerminal(stdio: Stdio, options: { readonly mouse: boolean }): Terminal {
  const encoder = new TextEncoder();
  let shown: readonly string[] | null = null;
  let shownSize: TerminalSize | null = null;
  let writing: Promise<void> | null = null;
  let isForgotten = false;
  let isSuspended = false;
  let isOver = false;
  let hasLeft = false;

  const takeOver = (): void => {
    stdio.setRawInput(true);
    const modes = ALTERNATE_SCREEN_ON + AUTOWRAP_OFF + cursorHide + PASTE_ON;
    stdio.writeStdoutSync(encoder.encode(modes + (options.mouse ? MOUSE_ON : "")));
  };
  const giveBack = (): void => {
    const restored = SYNCHRONIZED_OFF + MOUSE_OFF + PASTE_OFF + STYLE_RESET + AUTOWRAP_ON +
      cursorShow + ALTERNATE_SCREEN_OFF;
    stdio.writeStdoutSync(encoder.encode(restored));
    stdio.setRawInput(false);
  };
  takeOver();

  const draw = async (frame: Frame, size: TerminalSize): Promise<void> => {
    if (writing !== null || isSuspended || isOver) return;
    const sameSize = shownSize?.columns === size.columns && shownSize.rows === size.rows;
    const bytes = encodeFrame(sameSize ? shown : null, frame.lines);
    if (bytes === "") return;
    isForgotten = false;
    writing = stdio.writeStdout(encoder.encode(bytes));
    try {
      await writing;
      shown = isForgotten ? null : frame.lines;
      shownSize = size;
    } finally {
      writing = null;
    }
  };
  const leave = (): void => {
    if (hasLeft) return;
    isOver = hasLeft = true;
    try {
      giveBack();
    } catch {
      // A terminal that is gone wants nothing back.
    }
  };
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
    if (!hasLeft) giveBack();
  };
  const resume = (): void => {
    if (hasLeft) return;
    isSuspended = false;
    takeOver();
    forget();
  };
  return { draw, forget, suspend, resume, finish, leave };
}
