// The live screen of the real program, in real terminals: what is on it at which size, and that the
// shell has its terminal back whatever ended the program.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { findFreePorts, listCommand } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { createScreens, type Screen, type Screens, type ScreenSize } from "./tmux_screens.ts";
import { startVllmServer } from "./vllm_server.ts";

const SMALL: ScreenSize = { columns: 80, rows: 24 };
const MIDDLE: ScreenSize = { columns: 120, rows: 40 };
const LARGE: ScreenSize = { columns: 200, rows: 50 };

/** Runs the test with a set of terminals and a folder for scripts, and removes both. */
async function withScreens(
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

/** A program in a terminal. */
interface LiveRun {
  readonly screen: Screen;
  readonly readPid: () => Promise<number>;
}

let scriptCount = 0;

/** Opens a terminal and types a command that runs the program and then tells its exit code. */
async function startLive(
  screens: Screens,
  options: {
    readonly folder: string;
    readonly args: readonly string[];
    readonly size?: ScreenSize;
    /** Variables, as one types them in front of a command. */
    readonly variables?: string;
    /** In place of the program. */
    readonly command?: readonly string[];
  },
): Promise<LiveRun> {
  const { folder, args, size = SMALL, variables = "", command = listCommand(...args) } = options;
  const script = `${folder}/run${++scriptCount}`;
  const quoted = command.map((part) => `'${part.replaceAll("'", "'\\''")}'`);
  await Deno.writeTextFile(script, `echo $$ >${script}.pid\nexec ${quoted.join(" ")}\n`);
  const screen = await screens.open(size);
  await screen.enter(`${variables} sh ${script}; echo "status=$?"`);
  return {
    screen,
    readPid: async () => Number(await Deno.readTextFile(`${script}.pid`)),
  };
}

/** Waits until the shell tells the exit code, and checks that its terminal is as it was. */
async function checkReturn({ screen }: LiveRun, code: number): Promise<void> {
  const isOver = (rows: readonly string[]) => rows.some((row) => /^status=\d+$/.test(row));
  const rows = await screen.waitFor(isOver);
  assertEquals(rows.filter((row) => /^status=/.test(row)), [`status=${code}`]);
  assert(rows.some((row) => row.startsWith("$ ")), "the shell's own screen is back");
  assertEquals(await screen.readModes(), { isAlternate: false, hasCursor: true });
  // Both what is typed and what comes of it can be seen: echo and line input work.
  await screen.enter("echo by''e");
  await screen.waitFor((lines) =>
    lines.some((line) => line.includes("echo by''e")) && lines.includes("bye")
  );
}

/** Whether the whole picture is there, of a fleet that has answered twice. */
function isWholePicture(rows: readonly string[], { rows: height }: ScreenSize): boolean {
  return rows.length === height && /^ vllm-htop .*\d replicas/.test(rows[0]) &&
    /^ ● (HEALTHY|DEGRADED|CRITICAL) /.test(rows[1]) &&
    /^ running \d+ .*output [\d.]+k? tok\/s/.test(rows[2]) &&
    rows.some((row) => /^ REPLICA +STATE/.test(row)) && rows.some((row) => /^ ALL +\d/.test(row)) &&
    rows[height - 1].startsWith(" q Quit");
}

Deno.test("the live screen has all its parts at every size, and q gives it back", {
  ...needsProgram("tmux"),
}, async () => {
  const engines = Array.from({ length: 4 }, () => ({ model: "meta-llama/Llama-3.1-8B-Instruct" }));
  const servers = await Promise.all(
    [1, 2, 3, 4].map((seed) => startVllmServer({ seed, engines, warmUp: 30 })),
  );
  const fleets = [["--demo"], servers.map(({ url }) => url)];
  try {
    await withScreens(async (screens, folder) => {
      const cases = fleets.flatMap((fleet) =>
        [SMALL, MIDDLE, LARGE].map((size) => ({ fleet, size }))
      );
      // One after the other a first time: the shells of all, then all at once.
      const runs: LiveRun[] = [];
      for (const { fleet, size } of cases) {
        runs.push(
          await startLive(screens, { folder, size, args: [...fleet, "--interval", "0.5"] }),
        );
      }
      await Promise.all(runs.map(async (run, index) => {
        const { size, fleet } = cases[index];
        const { screen } = run;
        const rows = await screen.waitFor((lines) => isWholePicture(lines, size));
        assertEquals(await screen.readModes(), { isAlternate: true, hasCursor: false });
        assertEquals(await screen.countUnwrapped(), size.rows, "no line is wrapped");
        assert(rows.every((row) => row.length <= size.columns));
        const replicaCount = fleet[0] === "--demo" ? 5 : 16;
        assertMatch(rows[0], new RegExp(` ${replicaCount} replicas`));
        const shown = rows.filter((row) => /^.\S* ?:\d+( e\d)? .*OK/.test(row)).length;
        const hidden = Number(/… (\d+) more/.exec(rows.join("\n"))?.[1] ?? 0);
        assertEquals(shown + hidden, replicaCount, rows.join("\n"));
        await screen.press("q");
        await checkReturn(run, 0);
      }));
      for (const server of servers) assertEquals(server.violations, []);
    });
  } finally {
    await Promise.all(servers.map((server) => server.close()));
  }
});

Deno.test("Ctrl-C and signals give the terminal back and end with their codes", {
  ...needsProgram("tmux"),
}, async () => {
  await withScreens(async (screens, folder) => {
    const signals = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;
    const codes = [130, 143, 129, 131, 130];
    const runs: LiveRun[] = [];
    for (const _ of codes) runs.push(await startLive(screens, { folder, args: ["--demo"] }));
    await Promise.all(runs.map(async (run, index) => {
      await run.screen.waitFor((rows) => rows[0].startsWith(" vllm-htop"));
      const signal = signals[index];
      if (signal === undefined) await run.screen.press("C-c");
      else Deno.kill(await run.readPid(), signal);
      await checkReturn(run, codes[index]);
    }));
  });
});

Deno.test("a terminal that is gone ends the program", {
  ignore: needsProgram("tmux").ignore || Deno.build.os !== "linux",
}, async () => {
  await withScreens(async (screens, folder) => {
    const keeper = await screens.open(SMALL);
    const { screen, readPid } = await startLive(screens, { folder, args: ["--demo"] });
    await screen.waitFor((rows) => rows[0].startsWith(" vllm-htop"));
    const pid = await readPid();
    await screen.destroy();
    await keeper.enter(`while kill -0 ${pid}; do sleep 0.1; done; echo "it is" gone`);
    await keeper.waitFor((rows) => rows.includes("it is gone"));
  });
});

Deno.test("a resized screen is drawn anew at once, however small", {
  ...needsProgram("tmux"),
}, async () => {
  await withScreens(async (screens, folder) => {
    const args = ["--demo", "--interval", "30"];
    const run = await startLive(screens, { folder, args, size: MIDDLE });
    const { screen } = run;
    const isFramed = (rows: readonly string[], height: number) =>
      rows.length === height && rows[0].startsWith(" vllm-htop") &&
      rows[height - 1].startsWith(" q Quit") &&
      rows.filter((row) => row.startsWith(" q Quit")).length === 1 &&
      rows.filter((row) => row.startsWith(" vllm-htop")).length === 1;
    const hasAll = (rows: readonly string[]) => rows.some((row) => /^ ALL +\d/.test(row));
    await screen.waitFor((rows) => isFramed(rows, MIDDLE.rows) && hasAll(rows));
    for (const size of [SMALL, LARGE]) {
      await screen.resize(size);
      await screen.waitFor((rows) => isFramed(rows, size.rows) && hasAll(rows));
      assertEquals(await screen.countUnwrapped(), size.rows);
    }
    const detail = await startLive(screens, { folder, args: [...args, "--detail"] });
    await detail.screen.waitFor((rows) => /^ … \d+ more lines$/.test(rows[SMALL.rows - 2]));
    for (const size of [{ columns: 30, rows: 6 }, { columns: 2, rows: 1 }]) {
      await screen.resize(size);
      await screen.waitFor((rows) => rows.length === size.rows && rows.some((row) => row !== ""));
    }
    await screen.resize(SMALL);
    await screen.waitFor((rows) => isFramed(rows, SMALL.rows) && hasAll(rows));
    await screen.press("q");
    await checkReturn(run, 0);
  });
});

Deno.test("q does not wait for a server that hangs", { ...needsProgram("tmux") }, async () => {
  const servers = [
    await startVllmServer({ state: "hanging" }),
    await startVllmServer({ warmUp: 30 }),
  ];
  try {
    await withScreens(async (screens, folder) => {
      const urls = servers.map(({ url }) => url);
      for (const fleet of [urls, urls.slice(0, 1)]) {
        const args = [...fleet, "--timeout", "60", "--interval", "0.5"];
        const run = await startLive(screens, { folder, args });
        // One that hangs does not keep the others from being shown.
        await run.screen.waitFor((rows) =>
          rows.some((row) => /PENDING/.test(row)) &&
          (fleet.length === 1 || rows.some((row) => / OK /.test(row)))
        );
        const pressedAt = performance.now();
        await run.screen.press("q");
        await run.screen.waitFor((rows) => rows.some((row) => /^status=/.test(row)));
        const wall = performance.now() - pressedAt;
        assert(wall < 1000, `took ${wall} ms`);
        await checkReturn(run, 0);
      }
    });
  } finally {
    await Promise.all(servers.map((server) => server.close()));
  }
});

/** SGR sequences that choose a colour. */
// deno-lint-ignore no-control-regex
const COLOR = /\x1b\[[\d;]*\b(3[0-7]|38|4[0-7]|48|9[0-7])[\d;]*m/;

Deno.test(
  "a terminal gets what its environment asks for",
  { ...needsProgram("tmux") },
  async () => {
    await withScreens(async (screens, folder) => {
      const args = ["--demo", "--interval", "0.5"];
      const start = (variables: string, more: readonly string[] = []) =>
        startLive(screens, { folder, variables, args: [...args, ...more] });
      const colored = await start("NO_COLOR=");
      const plain = await start("NO_COLOR=1");
      const ascii = await start("LC_ALL=C");
      const dumb = await start("TERM=dumb");
      const once = await start("", ["--once"]);
      const isDrawn = (rows: readonly string[]) => rows.some((row) => row.startsWith(" ALL  "));
      await Promise.all([colored, plain, ascii].map(({ screen }) => screen.waitFor(isDrawn)));

      assertMatch(await colored.screen.readStyled(), COLOR);
      assert(!COLOR.test(await plain.screen.readStyled()), "no colours");
      const asciiRows = await ascii.screen.waitFor((rows) =>
        rows.some((row) => / ALL +\d/.test(row))
      );
      assertMatch(asciiRows.join("\n"), /^[\x20-\x7e\n]*$/);

      await dumb.screen.waitFor((rows) => rows.some((row) => row.startsWith(" vllm-htop")));
      assertEquals(await dumb.screen.readModes(), { isAlternate: false, hasCursor: true });
      // deno-lint-ignore no-control-regex
      assert(!/\x1b/.test(await dumb.screen.readStyled()), "no styles");

      const picture = await once.screen.waitFor((rows) =>
        rows.some((row) => /^status=0/.test(row))
      );
      assert(picture.some((row) => row.startsWith(" ALL  ")), picture.join("\n"));
      assertEquals(await once.screen.countUnwrapped(), SMALL.rows, "--once fits the width");

      await Promise.all([colored, plain, ascii].map(async (run) => {
        await run.screen.press("q");
        await checkReturn(run, 0);
      }));
      await dumb.screen.press("C-c");
      await dumb.screen.waitFor((rows) => rows.some((row) => /status=130/.test(row)));
    });
  },
);

Deno.test("deno task start shows the demo where there is no server, and gives the terminal back", {
  ...needsProgram("tmux"),
}, async () => {
  const first = findFreePorts(2);
  const range = `${first}-${first + 1}`;
  const task = [
    Deno.execPath(),
    "task",
    "--quiet",
    "--cwd",
    new URL("../", import.meta.url).pathname,
  ];
  await withScreens(async (screens, folder) => {
    const command = [...task, "start", "--port-range", range];
    const runs = [
      await startLive(screens, { folder, args: [], command }),
      await startLive(screens, { folder, args: [], command }),
    ];
    await Promise.all(runs.map(async (run, index) => {
      await run.screen.waitFor((rows) => /^ vllm-htop +demo: /.test(rows[0]));
      await run.screen.press(index === 0 ? "q" : "C-c");
      await checkReturn(run, index === 0 ? 0 : 130);
      const rows = await run.screen.read();
      assert(rows.some((row) => row.startsWith("vllm-htop: no vLLM server answers on localhost")));
    }));
  });
});
