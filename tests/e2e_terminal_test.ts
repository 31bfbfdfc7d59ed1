import { assert, assertEquals, assertMatch } from "@std/assert";
import { findFreePorts } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import {
  checkReturn,
  LIVE_MODES,
  type LiveRun,
  type ScreenSize,
  SHELL_MODES,
  startLive,
  withScreens,
} from "./tmux_screens.ts";
import { startVllmServer } from "./vllm_server.ts";

const SMALL: ScreenSize = { columns: 80, rows: 24 };
const MIDDLE: ScreenSize = { columns: 120, rows: 40 };
const LARGE: ScreenSize = { columns: 200, rows: 50 };

/** Whether the line of keys stands at the bottom, and there alone. */
function hasKeyLine(rows: readonly string[]): boolean {
  const isKeyLine = (row: string) => row.startsWith(" ? Help");
  return rows.findIndex(isKeyLine) === rows.length - 1;
}

/** Whether the whole picture is there, of a fleet that has answered twice. */
function isWholePicture(rows: readonly string[], { rows: height }: ScreenSize): boolean {
  return rows.length === height && /^ vllm-htop .*\d replicas/.test(rows[0]) &&
    /^ ● (WATCHING|HEALTHY|DEGRADED|CRITICAL) /.test(rows[1]) &&
    // Which rates fit depends on how large they are; a long verdict has two lines.
    rows.slice(2, 4).some((row) => /^ RUN +\d+ .* OUT +[\d.]+k?\/s/.test(row)) &&
    rows.some((row) => /^ REPLICA +STATE/.test(row)) && rows.some((row) => /^ ALL +\d/.test(row)) &&
    hasKeyLine(rows);
}

Deno.test("the live screen has all its parts at every size, and q gives it back", {
  ...needsProgram("tmux"),
}, async () => {
  const engines = Array.from({ length: 4 }, () => ({ model: "meta-llama/Llama-3.1-8B-Instruct" }));
  const servers = await Promise.all(
    [1, 2, 3, 4].map((seed) => startVllmServer({ seed, engines, warmUp: 30 })),
  );
  const fleets = [["--demo", "vllm"], servers.map(({ url }) => url)];
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
        assertEquals(await screen.readModes(), LIVE_MODES);
        assertEquals(await screen.countUnwrapped(), size.rows, "no line is wrapped");
        assert(rows.every((row) => row.length <= size.columns));
        const replicaCount = fleet[0] === "--demo" ? 5 : 16;
        assertMatch(rows[0], new RegExp(` ${replicaCount} replicas`));
        // One that is full is hot at once.
        const isReplica = /^. *\S* ?:\d+(\.e\d)? .*(OK|HOT|INIT|FULL|QUEUING) /;
        const shown = rows.filter((row) => isReplica.test(row)).length;
        // Where there is no room for all, a line says how many more there are.
        const [, more] = /^ … (\d+) more.* RUN /m.exec(rows.join("\n")) ?? ["", 0];
        assertEquals(shown + Number(more), replicaCount, rows.join("\n"));
        await screen.press("q");
        await checkReturn(run, 0);
      }));
      for (const server of servers) assertEquals(server.violations, []);
    });
  } finally {
    await Promise.all(servers.map((server) => server.close()));
  }
});

Deno.test("a resized screen is drawn anew at once, however small", {
  ...needsProgram("tmux"),
}, async () => {
  await withScreens(async (screens, folder) => {
    const args = ["--demo", "vllm", "--interval", "30"];
    const run = await startLive(screens, { folder, args, size: MIDDLE });
    const { screen } = run;
    const isFramed = (rows: readonly string[], height: number) =>
      rows.length === height && rows[0].startsWith(" vllm-htop") &&
      hasKeyLine(rows) &&
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
    const tinySizes = [[30, 6], [20, 5], [40, 10], [2, 1], [1, 1]]
      .map(([columns, rows]) => ({ columns, rows }));
    for (const size of tinySizes) {
      await screen.resize(size);
      await screen.waitFor((rows) =>
        rows.length === size.rows && (size.rows < 5 || hasKeyLine(rows))
      );
    }
    await screen.resize(SMALL);
    await screen.waitFor((rows) => isFramed(rows, SMALL.rows) && hasAll(rows));
    await screen.press("q");
    await checkReturn(run, 0);
  });
});

/** SGR sequences that choose a colour. */
// deno-lint-ignore no-control-regex
const COLOR = /\x1b\[[\d;]*\b(3[0-7]|38|4[0-7]|48|9[0-7])[\d;]*m/;

Deno.test(
  "a terminal gets what its environment asks for",
  { ...needsProgram("tmux") },
  async () => {
    await withScreens(async (screens, folder) => {
      // Without GPUs, plain text fits the screen.
      const args = ["--demo", "vllm", "--interval", "0.5", "--no-gpu"];
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

      await dumb.screen.waitFor((rows) => rows.some((row) => row.startsWith(" ALL  ")));
      assertEquals(await dumb.screen.readModes(), SHELL_MODES);
      // deno-lint-ignore no-control-regex
      assert(!/\x1b/.test(await dumb.screen.readStyled()), "no styles");

      const picture = await once.screen.waitFor((rows) =>
        rows.some((row) => /^(?:\$ )?status=0/.test(row))
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
      await checkReturn(run, 0);
      const rows = await run.screen.read();
      assert(rows.some((row) => row.startsWith("vllm-htop: no model server answers on localhost")));
    }));
  });
});

Deno.test("what has happened is left behind on the ordinary screen", {
  ...needsProgram("tmux"),
}, async () => {
  const [lasting, failing] = await Promise.all([
    startVllmServer({ warmUp: 30 }),
    startVllmServer({}),
  ]);
  try {
    await withScreens(async (screens, folder) => {
      const args = [lasting.url, failing.url, "--interval", "0.5"];
      const run = await startLive(screens, { folder, size: MIDDLE, args });
      await run.screen.waitFor((rows) =>
        rows.filter((row) => / OK | INIT /.test(row)).length === 2
      );
      await failing.close();
      await run.screen.waitFor((rows) => rows.some((row) => /^ STALE +:\d+ /.test(row)));
      await run.screen.press("q");
      const rows = await run.screen.waitFor((lines) => lines.some((row) => /^status=0/.test(row)));
      const title = rows.indexOf("vllm-htop: events of this session");
      assert(title >= 0, rows.join("\n"));
      assertMatch(rows[title + 1], /^ {2}\d\d:\d\d:\d\d {2}STALE +:\d+( +for \d+s)?$/);
    });
  } finally {
    await lasting.close();
  }
});
