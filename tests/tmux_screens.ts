/**
 * Terminals for tests, by tmux: a shell in each, keys in, the screen out; and
 * the program started in one, watched until the shell has it back.
 *
 * Each set of screens is a tmux server of its own on a private socket, which is
 * killed at the end with all that runs in it. The shell's prompt is `$ `, and
 * there is no status line: a screen has all of its rows. Waits look again and
 * again until their condition holds, and have a limit.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { createEnvironment, listCommand, waitUntil } from "./program_runs.ts";

export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

/** What a program has asked of its terminal. */
export interface ScreenModes {
  readonly isAlternate: boolean;
  readonly hasCursor: boolean;
  /** Whether any of the mouse modes is on. */
  readonly hasMouse: boolean;
  /** Whether a line that is too long goes on in the next. */
  readonly wraps: boolean;
}

/** The modes in which a shell expects its terminal, and those of the live screen. */
export const SHELL_MODES: ScreenModes = {
  isAlternate: false,
  hasCursor: true,
  hasMouse: false,
  wraps: true,
};
export const LIVE_MODES: ScreenModes = {
  isAlternate: true,
  hasCursor: false,
  hasMouse: true,
  wraps: false,
};

export interface Screen {
  /** The rows as text, without blanks at their ends. */
  readonly read: () => Promise<readonly string[]>;
  /** The rows with the escape sequences of their styles. */
  readonly readStyled: () => Promise<string>;
  /** How many lines the rows are when those that were wrapped are put together. */
  readonly countUnwrapped: () => Promise<number>;
  readonly readModes: () => Promise<ScreenModes>;
  /** The row that is selected, which is shown inverse; `null` where none is. */
  readonly readSelected: () => Promise<string | null>;
  /** Waits until the row that is selected matches, and gives its place. */
  readonly waitForSelected: (pattern: RegExp) => Promise<number>;
  /** The rows as soon as the condition holds. Rejects with the rows when it does not. */
  readonly waitFor: (condition: (rows: readonly string[]) => boolean) => Promise<readonly string[]>;
  /** Types text, then Enter. */
  readonly enter: (text: string) => Promise<void>;
  /** Presses a key, by tmux's name. */
  readonly press: (...keys: readonly string[]) => Promise<void>;
  /** Types text as it is, escape sequences too. */
  readonly type: (text: string) => Promise<void>;
  /** Presses and lets go the left button. Rows and columns from 0. */
  readonly click: (row: number, column: number) => Promise<void>;
  /** Pastes: with brackets around where the program has asked for them. */
  readonly paste: (text: string) => Promise<void>;
  readonly resize: (size: ScreenSize) => Promise<void>;
  /** Takes the terminal away. */
  readonly destroy: () => Promise<void>;
}

export interface Screens {
  /** Opens a terminal with a shell in it. */
  readonly open: (size: ScreenSize) => Promise<Screen>;
  /** Stops tmux, so that nobody reads the terminals; gives what lets it go on. */
  readonly freeze: () => Promise<() => void>;
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
    const readStyled = (): Promise<string> => capture("-e");
    const findSelected = async (): Promise<{ readonly row: number; readonly text: string }> => {
      const styled = (await readStyled()).split("\n");
      // The title has the tab of the page inverse.
      // deno-lint-ignore no-control-regex
      const row = styled.findIndex((line, i) => i > 0 && /\x1b\[(?:\d+;)*7m/.test(line));
      // deno-lint-ignore no-control-regex
      return { row, text: (styled[row] ?? "").replace(/\x1b\[[\d;]*m|\x0e|\x0f/g, "").trimEnd() };
    };
    const type = async (text: string): Promise<void> => {
      await runTmux("send-keys", "-t", target, "-l", text);
    };
    const press = async (...keys: readonly string[]): Promise<void> => {
      await runTmux("send-keys", "-t", target, ...keys);
    };
    return {
      read,
      readStyled,
      readSelected: async () => {
        const { row, text } = await findSelected();
        return row < 0 ? null : text;
      },
      waitForSelected: (pattern) =>
        waitUntil(async () => {
          const { row, text } = await findSelected();
          return row >= 0 && pattern.test(text) ? row : null;
        }, async () => `a selected row like ${pattern}:\n${(await read()).join("\n")}`),
      countUnwrapped: async () => (await capture("-J")).split("\n").length,
      readModes: async () => {
        const names = ["alternate_on", "cursor_flag", "mouse_any_flag", "wrap_flag"];
        const format = names.map((name) => `#{${name}}`).join(" ");
        const flags = (await runTmux("display-message", "-p", "-t", target, format)).trim();
        const [isAlternate, hasCursor, hasMouse, wraps] = flags.split(" ").map((flag) =>
          flag === "1"
        );
        return { isAlternate, hasCursor, hasMouse, wraps };
      },
      waitFor: (condition) =>
        waitUntil(async () => {
          const rows = await read();
          return condition(rows) ? rows : null;
        }, async () => `${condition}:\n${(await read()).join("\n")}`),
      enter: async (text) => {
        await type(text);
        await press("Enter");
      },
      press,
      type,
      click: (row, column) =>
        type(["M", "m"].map((end) => `\x1b[<0;${column + 1};${row + 1}${end}`).join("")),
      paste: async (text) => {
        await runTmux("set-buffer", text, ";", "paste-buffer", "-p", "-t", target);
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
    freeze: async () => {
      const server = Number(await runTmux("display-message", "-p", "#{pid}"));
      Deno.kill(server, "SIGSTOP");
      return () => Deno.kill(server, "SIGCONT");
    },
    close: async () => {
      if (screenCount > 0) await runTmux("kill-server").catch(() => {});
    },
  };
}

/** Runs the test with a set of terminals and a folder for its files, and removes both. */
export async function withScreens(
  test: (screens: Screens, folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "vllm-htop-test-" });
  const screens = createScreens(folder);
  try {
    await test(screens, folder);
  } finally {
    await screens.close();
    await Deno.remove(folder, { recursive: true });
  }
}

/** The program in a terminal. */
export interface LiveRun {
  readonly screen: Screen;
  readonly readPid: () => Promise<number>;
  /** The settings of the terminal's line but for its size, by `stty -a`, before the program; and after it, once it has ended. */
  readonly readSettings: () => Promise<{ readonly before: string; readonly after: string }>;
}

let scriptCount = 0;

/** Opens a terminal and types a command that runs the program and then tells its exit code. */
export async function startLive(
  screens: Screens,
  options: {
    readonly folder: string;
    readonly args: readonly string[];
    readonly size?: ScreenSize;
    /** Variables, as one types them in front of a command. */
    readonly variables?: string;
    /** Redirections, as one types them after a command. */
    readonly redirections?: string;
    /** In place of the program. */
    readonly command?: readonly string[];
  },
): Promise<LiveRun> {
  const { folder, args, size = { columns: 80, rows: 24 }, variables = "" } = options;
  const { command = listCommand(...args), redirections = "" } = options;
  const script = `${folder}/run${++scriptCount}`;
  const quoted = command.map((part) => `'${part.replaceAll("'", "'\\''")}'`);
  await Deno.writeTextFile(
    script,
    `echo $$ >${script}.pid\nstty -a >${script}.before </dev/tty\nexec ${quoted.join(" ")}\n`,
  );
  const screen = await screens.open(size);
  // The line below is to fit the screen.
  await screen.enter(`s=${script}`);
  await screen.waitFor(isPrompting);
  const run = `${variables} sh $s ${redirections}`;
  await screen.enter(`${run}; echo "status=$?"; stty -a >$s.after`);
  const readSettings = async (when: string): Promise<string> =>
    (await Deno.readTextFile(`${script}.${when}`)).replace(/rows \d+; columns \d+;/, "");
  return {
    screen,
    readPid: async () => Number(await Deno.readTextFile(`${script}.pid`)),
    readSettings: async () => ({
      before: await readSettings("before"),
      after: await readSettings("after"),
    }),
  };
}

/** Whether the title line of the program stands where it must. */
export function isDrawn(rows: readonly string[]): boolean {
  return rows[0].startsWith(" vllm-htop");
}

/** Whether the shell waits for a command. */
export function isPrompting(rows: readonly string[]): boolean {
  return rows.filter((row) => row !== "").at(-1) === "$";
}

/** Waits until the shell tells the exit code, and checks that its terminal is as it was. */
export async function checkReturn(run: LiveRun, code: number): Promise<void> {
  const { screen } = run;
  // A prompt may stand before it, where Control-C reached the shell as well.
  const readStatuses = (rows: readonly string[]) =>
    rows.flatMap((row) => /^(?:\$ )?(status=\d+)$/.exec(row)?.[1] ?? []);
  const rows = await screen.waitFor((lines) => readStatuses(lines).length > 0);
  assertEquals(readStatuses(rows), [`status=${code}`]);
  // The stack of an internal error may have scrolled the command away.
  const isScrolled = rows.some((row) => row.includes("internal error"));
  assert(isScrolled || rows.some((row) => row.startsWith("$ ")), "the shell's own screen is back");
  await checkShell(run);
}

/** Checks that the terminal is as a shell expects it: its modes, its line, echo, and pastes without brackets. */
export async function checkShell({ screen, readSettings }: LiveRun): Promise<void> {
  // What is typed before the prompt stands is shown twice.
  await screen.waitFor(isPrompting);
  assertEquals(await screen.readModes(), SHELL_MODES);
  // Both what is typed and what comes of it can be seen: echo and line input work.
  await screen.enter("echo by''e");
  await screen.waitFor((lines) =>
    lines.some((line) => line.includes("echo by''e")) && lines.includes("bye")
  );
  const { before, after } = await readSettings();
  assertEquals(after, before);
  await screen.enter("cat -v");
  await screen.paste("pas''ted");
  await screen.press("Enter");
  // Once by the terminal, and once by cat: only then does it run, and can be interrupted.
  const isPasted = (line: string): boolean => line.includes("pas''ted");
  const pasted = await screen.waitFor((lines) => lines.filter(isPasted).length === 2);
  for (const line of pasted.filter(isPasted)) {
    assertEquals(line, "pas''ted", "no brackets around what is pasted");
  }
  await screen.press("C-c");
  await screen.waitFor(isPrompting);
}
