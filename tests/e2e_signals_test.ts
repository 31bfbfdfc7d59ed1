import { assertEquals, assertMatch } from "@std/assert";
import { listCommand, waitFor, waitUntil } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import {
  checkReturn,
  checkShell,
  isDrawn,
  isPrompting,
  LIVE_MODES,
  type LiveRun,
  startLive,
  withScreens,
} from "./tmux_screens.ts";
import { startVllmServer } from "./vllm_server.ts";

interface Ending {
  readonly name: string;
  readonly code: number;
  readonly end: (run: LiveRun) => Promise<void>;
}

function pressToEnd(...keys: readonly string[]): Ending {
  return { name: keys.join(" "), code: 0, end: ({ screen }) => screen.press(...keys) };
}

function signalToEnd(signal: Deno.Signal, code: number): Ending {
  return { name: signal, code, end: async ({ readPid }) => Deno.kill(await readPid(), signal) };
}

const ENDINGS: readonly Ending[] = [
  pressToEnd("q"),
  pressToEnd("F10"),
  pressToEnd("C-c"),
  pressToEnd("/", "x", "C-c"),
  pressToEnd("C-\\"),
  signalToEnd("SIGINT", 130),
  signalToEnd("SIGTERM", 143),
  signalToEnd("SIGHUP", 129),
  signalToEnd("SIGQUIT", 131),
];

Deno.test("every key and signal that ends the program gives the terminal back", {
  ...needsProgram("tmux"),
}, async () => {
  await withScreens(async (screens, folder) => {
    const args = ["--demo", "vllm", "--interval", "0.5"];
    const runs: LiveRun[] = [];
    for (const _ of ENDINGS) runs.push(await startLive(screens, { folder, args }));
    await Promise.all(ENDINGS.map(async ({ code, end }, index) => {
      await runs[index].screen.waitFor(isDrawn);
      assertEquals(await runs[index].screen.readModes(), LIVE_MODES);
      await end(runs[index]);
      await checkReturn(runs[index], code);
    }));
  });
});

/** Whether a process may stop itself without permission to run others. A compiled program cannot be asked. */
async function canStopItself(): Promise<boolean | null> {
  if (Deno.env.has("VLLM_HTOP_BINARY")) return null;
  const code = 'Deno.kill(Deno.pid, "SIGCONT")';
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", `data:text/javascript,${code}`],
    stderr: "null",
  }).output();
  return success;
}

const STOPS_ITSELF = await canStopItself();

Deno.test("Ctrl-Z changes nothing where Deno lets no process stop itself", {
  ignore: needsProgram("tmux").ignore || STOPS_ITSELF === true,
}, async () => {
  await withScreens(async (screens, folder) => {
    const run = await startLive(screens, { folder, args: ["--demo", "vllm", "--interval", "0.5"] });
    const { screen } = run;
    await screen.waitFor(isDrawn);
    await screen.press("C-z");
    await screen.press("?");
    await screen.waitFor((rows) => rows.some((row) => row === " Rows"));
    assertEquals(await screen.readModes(), LIVE_MODES);
    await screen.press("q");
    await checkReturn(run, 0);
  });
});

Deno.test("Ctrl-Z gives the shell its terminal, and fg goes on as before", {
  ignore: needsProgram("tmux").ignore || STOPS_ITSELF !== true,
}, async () => {
  await withScreens(async (screens, folder) => {
    const run = await startLive(screens, { folder, args: ["--demo", "vllm", "--interval", "0.5"] });
    const { screen } = run;
    await screen.waitFor(isDrawn);
    for (let times = 0; times < 2; times++) {
      await screen.press("C-z");
      await screen.waitFor((rows) => rows.some((row) => /^\[1\].*Stopped/.test(row)));
      await screen.waitFor(isPrompting);
      await checkShell(run);
      await screen.enter("clear; fg");
      await screen.waitFor(isDrawn);
      assertEquals(await screen.readModes(), LIVE_MODES);
      await screen.press("?");
      await screen.waitFor((rows) => rows.some((row) => row === " Rows"));
      await screen.press("?");
      await screen.waitFor((rows) => rows.some((row) => row.startsWith(" ALL ")));
    }
    await screen.press("q");
    await screen.waitFor(isPrompting);
    await checkShell(run);
  });
});

Deno.test("a signal that comes while the program is stopped ends it when it goes on", {
  ignore: needsProgram("tmux").ignore || STOPS_ITSELF !== true,
}, async () => {
  await withScreens(async (screens, folder) => {
    const run = await startLive(screens, { folder, args: ["--demo", "vllm"] });
    const { screen } = run;
    await screen.waitFor(isDrawn);
    await screen.press("C-z");
    await screen.waitFor((rows) => rows.some((row) => /Stopped/.test(row)));
    Deno.kill(await run.readPid(), "SIGTERM");
    await screen.enter("clear; fg; echo over=$?");
    await screen.waitFor((rows) => rows.includes("over=143"));
    await checkShell(run);
  });
});

/** The program with a module before it that runs `code` when the terminal changes its size. */
async function listFailingCommand(folder: string, code: string): Promise<readonly string[]> {
  const preload = `${folder}/preload.ts`;
  await Deno.writeTextFile(
    preload,
    `const addSignalListener = Deno.addSignalListener;
    Deno.addSignalListener = (signal, handler) => {
      const fail = () => setTimeout(() => { ${code} });
      addSignalListener(signal, signal === "SIGWINCH" ? fail : handler);
    };\n`,
  );
  const command = [...listCommand("--demo", "vllm")];
  command.splice(command.indexOf("--quiet"), 0, `--preload=${preload}`);
  return command;
}

Deno.test("an uncaught error gives the terminal back, and can be read", {
  // A compiled program takes no module before its own.
  ignore: needsProgram("tmux").ignore || Deno.env.has("VLLM_HTOP_BINARY"),
}, async () => {
  const faults = [
    'throw new Error("on purpose");',
    'void Promise.reject(new Error("on purpose"));',
  ];
  await withScreens(async (screens, folder) => {
    for (const fault of faults) {
      const command = await listFailingCommand(folder, fault);
      const run = await startLive(screens, { folder, args: [], command });
      await run.screen.waitFor(isDrawn);
      await run.screen.resize({ columns: 100, rows: 30 });
      await checkReturn(run, 70);
      assertMatch((await run.screen.read()).join("\n"), /internal error.*on purpose/);
    }
  });
});

Deno.test("a terminal that is gone ends the program", {
  ignore: needsProgram("tmux").ignore || Deno.build.os !== "linux",
}, async () => {
  await withScreens(async (screens, folder) => {
    // Without another screen the tmux server would end, too.
    await screens.open({ columns: 80, rows: 24 });
    const { screen, readPid } = await startLive(screens, { folder, args: ["--demo", "vllm"] });
    await screen.waitFor(isDrawn);
    const pid = await readPid();
    await screen.destroy();
    await waitFor(async () => !await isRunning(pid));
  });
});

async function isRunning(pid: number): Promise<boolean> {
  return await Deno.lstat(`/proc/${pid}/exe`).then(() => true, () => false);
}

Deno.test("an output or input that is gone ends the program and gives its own terminal back", {
  ignore: needsProgram("tmux").ignore || Deno.build.os !== "linux",
}, async () => {
  await withScreens(async (screens, folder) => {
    for (const stream of [">", "<"]) {
      const other = await screens.open({ columns: 80, rows: 24 });
      await other.enter(`tty >${folder}/tty; sleep 1000`);
      const name = await waitForText(`${folder}/tty`);
      await Deno.remove(`${folder}/tty`);
      const redirections = `${stream}${name}`;
      const args = ["--demo", "vllm", "--interval", "0.5"];
      const run = await startLive(screens, { folder, args, redirections });
      await (stream === ">" ? other : run.screen).waitFor(isDrawn);
      await other.destroy();
      await checkReturn(run, 0);
    }
  });
});

/** The text of a file that is being written, as soon as it has a whole line. */
function waitForText(path: string): Promise<string> {
  return waitUntil(async () => {
    const text = await Deno.readTextFile(path).catch(() => "");
    return text.endsWith("\n") ? text.trim() : null;
  }, () => `a line in ${path}`);
}

Deno.test("q and Ctrl-C, once or twice, do not wait for a server that hangs", {
  ...needsProgram("tmux"),
}, async () => {
  const servers = [
    await startVllmServer({ state: "hanging" }),
    await startVllmServer({ warmUp: 30 }),
  ];
  const keys = [["q"], ["C-c"], ["C-c", "C-c"]];
  try {
    await withScreens(async (screens, folder) => {
      const urls = servers.map(({ url }) => url);
      for (const fleet of [urls, urls.slice(0, 1)]) {
        for (const pressed of keys) {
          // The longest that there is: no wait of these tests is as long.
          const args = [...fleet, "--timeout", "120", "--interval", "0.5"];
          const run = await startLive(screens, { folder, args });
          // One that hangs does not keep the others from being shown.
          await run.screen.waitFor((rows) =>
            rows.some((row) => /PENDING/.test(row)) &&
            (fleet.length === 1 || rows.some((row) => / OK /.test(row)))
          );
          await run.screen.press(...pressed);
          await checkReturn(run, 0);
        }
      }
    });
  } finally {
    await Promise.all(servers.map((server) => server.close()));
  }
});

Deno.test("a signal ends the program though nobody reads its terminal", {
  ignore: needsProgram("tmux").ignore || Deno.build.os !== "linux",
}, async () => {
  await withScreens(async (screens, folder) => {
    const size = { columns: 300, rows: 100 };
    const args = ["--demo", "vllm", "--interval", "0.5"];
    const { screen, readPid } = await startLive(screens, { folder, args, size });
    await screen.waitFor(isDrawn);
    const pid = await readPid();
    const thaw = await screens.freeze();
    try {
      // Frames fill what the system keeps for a reader; then a write hangs.
      await waitUntilBlocked(pid);
      Deno.kill(pid, "SIGTERM");
      await waitFor(async () => !await isRunning(pid));
    } finally {
      thaw();
    }
    // The shell reads as before. The last frame is cut off: half an escape sequence swallows the next
    // character.
    await screen.waitFor((rows) => rows.some((row) => row.includes("tatus=143")));
  });
});

/** Resolves when a thread of the process waits for its terminal to take bytes. */
function waitUntilBlocked(pid: number): Promise<void> {
  const read = (path: string): Promise<string> => Deno.readTextFile(path).catch(() => "");
  return waitFor(async () => {
    for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
      const thread = `/proc/${pid}/task/${name}`;
      // Another waits in the same place to read. The first argument of a call is its file.
      const waits = /tty_write|wait_woken/.test(await read(`${thread}/wchan`));
      if (waits && /^\d+ 0x1 /.test(await read(`${thread}/syscall`))) return true;
    }
    return false;
  }, () => "the program to wait for its terminal");
}
