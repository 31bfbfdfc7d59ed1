/**
 * Terminals for tests, by tmux: a shell in each, keys in, the screen out.
 *
 * Each set of screens is a tmux server of its own on a private socket, which is
 * killed at the end with all that runs in it. The shell's prompt is `$ `, and
 * there is no status line: a screen has all of its rows. Waits look again and
 * again until their condition holds, and have a limit.
 *
 * @module
 */

import { createEnvironment } from "./program_runs.ts";

/** How long a wait goes on, and the pause between two looks, in milliseconds. */
const TIME_LIMIT = 20_000;
const LOOK_INTERVAL = 40;

export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

export interface Screen {
  /** The rows as text, without blanks at their ends. */
  readonly read: () => Promise<readonly string[]>;
  /** The rows with the escape sequences of their styles. */
  readonly readStyled: () => Promise<string>;
  /** How many lines the rows are when those that were wrapped are put together. */
  readonly countUnwrapped: () => Promise<number>;
  /** Whether the alternate screen is shown, and whether the cursor is visible. */
  readonly readModes: () => Promise<{ readonly isAlternate: boolean; readonly hasCursor: boolean }>;
  /** The rows as soon as the condition holds. Rejects with the rows when it does not. */
  readonly waitFor: (condition: (rows: readonly string[]) => boolean) => Promise<readonly string[]>;
  /** Types text, then Enter. */
  readonly enter: (text: string) => Promise<void>;
  /** Presses a key, by tmux's name. */
  readonly press: (key: string) => Promise<void>;
  readonly resize: (size: ScreenSize) => Promise<void>;
  /** Takes the terminal away. */
  readonly destroy: () => Promise<void>;
}

export interface Screens {
  /** Opens a terminal with a shell in it. */
  readonly open: (size: ScreenSize) => Promise<Screen>;
  /** Ends everything that runs in the terminals. */
  readonly close: () => Promise<void>;
}

/** A tmux server without screens; it starts with the first. `folder` holds its socket, and is the caller's to remove. */
export function createScreens(folder: string): Screens {
  const environment = createEnvironment();
  delete environment.TMUX;
  delete environment.ENV;
  let screenCount = 0;

  const runTmux = async (...args: readonly string[]): Promise<string> => {
    const { success, stdout, stderr } = await new Deno.Command("tmux", {
      args: ["-S", `${folder}/tmux`, "-f", "/dev/null", ...args],
      env: environment,
      clearEnv: true,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).output();
    const decoder = new TextDecoder();
    if (!success) throw new Error(`tmux ${args.join(" ")}: ${decoder.decode(stderr)}`);
    return decoder.decode(stdout);
  };

  const createScreen = (target: string): Screen => {
    const capture = async (...flags: readonly string[]): Promise<string> =>
      (await runTmux("capture-pane", "-p", ...flags, "-t", target)).replace(/\n$/, "");
    const read = async (): Promise<readonly string[]> => (await capture()).split("\n");
    return {
      read,
      readStyled: () => capture("-e"),
      countUnwrapped: async () => (await capture("-J")).split("\n").length,
      readModes: async () => {
        const format = "#{alternate_on}#{cursor_flag}";
        const flags = (await runTmux("display-message", "-p", "-t", target, format)).trim();
        return { isAlternate: flags[0] === "1", hasCursor: flags[1] === "1" };
      },
      waitFor: async (condition) => {
        const giveUpAt = performance.now() + TIME_LIMIT;
        for (;;) {
          const rows = await read();
          if (condition(rows)) return rows;
          if (performance.now() > giveUpAt) {
            throw new Error(`Waited in vain for ${condition}:\n${rows.join("\n")}`);
          }
          await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL));
        }
      },
      enter: async (text) => {
        await runTmux("send-keys", "-t", target, "-l", text);
        await runTmux("send-keys", "-t", target, "Enter");
      },
      press: async (key) => {
        await runTmux("send-keys", "-t", target, key);
      },
      resize: async ({ columns, rows }) => {
        await runTmux("resize-window", "-t", target, "-x", `${columns}`, "-y", `${rows}`);
      },
      destroy: async () => {
        await runTmux("kill-session", "-t", target);
      },
    };
  };

  return {
    open: async ({ columns, rows }) => {
      const target = `screen-${++screenCount}`;
      await runTmux(
        ...["start-server", ";", "set-option", "-g", "status", "off", ";"],
        ...["new-session", "-d", "-s", target, "-x", `${columns}`, "-y", `${rows}`, "sh"],
      );
      const screen = createScreen(target);
      await screen.waitFor((lines) => lines[0] !== "");
      // Shells have prompts of their own, and some do not take one from their environment.
      await screen.enter("PS1='$ '");
      await screen.waitFor((lines) => lines.includes("$"));
      return screen;
    },
    close: async () => {
      if (screenCount > 0) await runTmux("kill-server").catch(() => {});
    },
  };
}
