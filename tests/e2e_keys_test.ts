import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { BINDINGS } from "../lib/view_bindings.ts";
import { COLUMN_IDS } from "../lib/view_column_table.ts";
import { runProgram, waitFor } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import {
  checkReturn,
  isDrawn,
  LIVE_MODES,
  type Screen,
  type ScreenSize,
  startLive,
  withScreens,
} from "./tmux_screens.ts";
import { startVllmServer, type VllmServer, type VllmServerOptions } from "./vllm_server.ts";

const MIDDLE: ScreenSize = { columns: 120, rows: 40 };

const LLAMA = { model: "meta-llama/Llama-3.1-8B-Instruct" };
const QWEN = { model: "Qwen/Qwen3-32B", slowness: 3 };

/** Runs the test against the screen of a program that watches one server of some engines. */
async function withLive(
  options: {
    readonly args?: readonly string[];
    readonly size?: ScreenSize;
    readonly engines?: VllmServerOptions["engines"];
  },
  test: (screen: Screen, server: VllmServer) => Promise<void>,
): Promise<void> {
  const { args = ["--interval", "0.5"], size = MIDDLE } = options;
  const engines = options.engines ?? [LLAMA, LLAMA, QWEN, QWEN];
  const server = await startVllmServer({ engines, warmUp: 30 });
  try {
    await withScreens(async (screens, folder) => {
      const run = await startLive(screens, { folder, size, args: [server.url, ...args] });
      await run.screen.waitFor((rows) => isDrawn(rows) && hasTotals(rows));
      await test(run.screen, server);
      await run.screen.press("q");
      await checkReturn(run, 0);
    });
    assertEquals(server.violations, []);
  } finally {
    await server.close();
  }
}

function hasTotals(rows: readonly string[]): boolean {
  return rows.some((row) => /^ ALL  +\d/.test(row));
}

/** The row of headings, and where it stands. */
function findHeading(rows: readonly string[]): { readonly row: number; readonly text: string } {
  const row = rows.findIndex((text) => /^ .*\bSTATE\b/.test(text));
  return { row, text: rows[row] ?? "" };
}

/** The engines of the table's rows, from the top. */
function listEngines(rows: readonly string[]): string[] {
  return rows.flatMap((row) => /\.e(\d+) +[A-Z]/.exec(row)?.[1] ?? []);
}

function hasHeading(pattern: RegExp): (rows: readonly string[]) => boolean {
  return (rows) => pattern.test(findHeading(rows).text);
}

Deno.test("keys select a replica, open it and go back; the selection stays with it", {
  ...needsProgram("tmux"),
}, async () => {
  await withLive({}, async (screen) => {
    await screen.press("g");
    await screen.waitFor((rows) => !rows.some((row) => row.includes("▾ ")));
    await screen.waitForSelected(/\.e0 /);
    await screen.press("j");
    const line = await screen.waitForSelected(/\.e1 /);
    await screen.press("Down");
    await screen.waitForSelected(/\.e2 /);
    await screen.press("k", "Up");
    await screen.waitForSelected(/\.e0 /);
    await screen.press("End");
    await screen.waitForSelected(/\.e3 /);
    await screen.press("Home", "j");
    assertEquals(await screen.waitForSelected(/\.e1 /), line);

    // By name, then the other way round: another line, the same replica.
    await screen.press(">");
    await screen.waitFor(hasHeading(/REPLICA▴/));
    await screen.press("I");
    await screen.waitFor((rows) => listEngines(rows).join("") === "3210");
    await screen.waitForSelected(/\.e1 /);
    await screen.press(">");
    await screen.waitFor(hasHeading(/STATE▾/));
    await screen.press("<", "<");
    await screen.waitFor((rows) => listEngines(rows).join("") === "0123");
    assertEquals(await screen.waitForSelected(/\.e1 /), line);

    await screen.press("Enter");
    const rows = await screen.waitFor((rows) => !hasTotals(rows));
    assertMatch(rows.join("\n"), /\n \S+\.e1 {3}/);
    await screen.press("Escape");
    await screen.waitFor(hasTotals);
    await screen.waitForSelected(/\.e1 /);
    for (const key of ["d", "d", "e", "Escape"]) {
      const wasTable = hasTotals(await screen.read());
      await screen.press(key);
      await screen.waitFor((rows) => hasTotals(rows) !== wasTable);
    }
    await screen.press("F6");
    await screen.waitFor(hasHeading(/REPLICA▴/));
    await screen.press("C-l");
    await screen.waitFor((rows) => isDrawn(rows) && hasTotals(rows));
  });
});

Deno.test("the filter takes what is typed and pasted, and Esc alone clears it", {
  ...needsProgram("tmux"),
}, async () => {
  await withLive({}, async (screen) => {
    const waitForFilter = (text: string, engines: string) =>
      screen.waitFor((rows) =>
        rows.some((row) => row.startsWith(`─ ${text}`)) &&
        listEngines(rows).join("") === engines
      );
    const waitForNone = () =>
      screen.waitFor((rows) =>
        !rows.some((row) => row.startsWith("─ Filter:")) && listEngines(rows).join("") === "0123"
      );
    await screen.press("/");
    await waitForFilter("Filter: _", "0123");
    // Keys of commands are letters here.
    await screen.type("Qwenq");
    await waitForFilter("Filter: Qwenq_   0 of 4 rows", "");
    await screen.press("BSpace");
    await waitForFilter("Filter: Qwen_   2 of 4 rows", "23");
    await screen.press("Enter");
    await waitForFilter("Filter: Qwen   2 of 4 rows", "23");
    assert(hasTotals(await screen.read()), "a filter takes nothing from the totals' line");
    await screen.press("Escape");
    await waitForNone();

    await screen.press("F4");
    await screen.paste("e1|\x1b[31me3\r\n");
    await waitForFilter("Filter: e1|[31me3_", "1");
    await screen.press("C-u");
    await waitForFilter("Filter: _", "0123");
    await screen.type("e1 Qwen");
    await screen.press("C-w");
    await waitForFilter("Filter: e1 _", "1");
    await screen.press("Escape");
    await waitForNone();
    await screen.press("/");
    await screen.type("down");
    await waitForFilter("Filter: down_", "");
    await screen.press("Escape");
    await waitForNone();
  });
});

Deno.test("clicks sort, open and press; the wheel moves", { ...needsProgram("tmux") }, async () => {
  await withLive({}, async (screen) => {
    assertEquals(await screen.readModes(), LIVE_MODES);
    await screen.press("g");
    await screen.waitFor((rows) => !rows.some((row) => row.includes("▾ ")));
    const rows = await screen.read();
    const heading = findHeading(rows);
    const run = heading.text.indexOf("RUN");
    await screen.click(heading.row, run + 1);
    const sorted = await screen.waitFor(hasHeading(/ ▾RUN/));
    const readRun = (text: string) => Number(/ (?:OK|INIT) +(\d+)/.exec(text)?.[1]);
    const values = sorted.filter((row) => /\.e\d /.test(row)).map(readRun);
    assertEquals(values, [...values].sort((a, b) => b - a));
    await screen.click(heading.row, run + 1);
    await screen.waitFor(hasHeading(/ ▴RUN/));
    for (const title of [/REPLICA▴/, /REPLICA▾/, /REPLICA▴/]) {
      await screen.click(heading.row, 2);
      await screen.waitFor(hasHeading(title));
    }

    const third = (await screen.read()).findIndex((row) => /\.e2 /.test(row));
    await screen.click(third, 20);
    await screen.waitForSelected(/\.e2 /);
    assert(hasTotals(await screen.read()), "the first click selects");
    await screen.click(third, 20);
    await screen.waitFor((rows) =>
      !hasTotals(rows) && rows.some((row) => /^ \S+\.e2 {3}/.test(row))
    );
    await screen.press("Escape");
    await screen.waitFor(hasTotals);
    await screen.waitForSelected(/\.e2 /);

    await screen.type("\x1b[<64;5;5M");
    await screen.waitForSelected(/\.e0 /);
    await screen.type("\x1b[<65;5;5M");
    await screen.waitForSelected(/\.e3 /);

    const keyLine = (await screen.read()).at(-1) ?? "";
    for (const title of ["Help", "Help"]) {
      const wasTable = hasTotals(await screen.read());
      await screen.click(MIDDLE.rows - 1, keyLine.indexOf(title));
      await screen.waitFor((rows) => hasTotals(rows) !== wasTable);
    }
    await screen.click(MIDDLE.rows - 1, keyLine.indexOf("Pause"));
    await screen.waitFor(([title]) => / PAUSED /.test(title));
  });
});

Deno.test("[ shows an earlier poll while polling goes on, ] a later one, and \\ and Space now", {
  ...needsProgram("tmux"),
}, async () => {
  const readPast = ([title]: readonly string[]) => /\u25c0 (\d\d:\d\d:\d\d) \(/.exec(title)?.[1];
  await withLive({}, async (screen, server) => {
    const polls = server.requests.length;
    await waitFor(() => server.requests.length >= polls + 6);
    await screen.press("[");
    const first = readPast(await screen.waitFor((rows) => readPast(rows) !== undefined));
    await screen.press("[");
    await screen.press("[");
    const earlier = readPast(
      await screen.waitFor((rows) => (readPast(rows) ?? "") < (first ?? "")),
    );
    await screen.press("]");
    await screen.press("]");
    await screen.waitFor((rows) => (readPast(rows) ?? "") > (earlier ?? ""));
    for (const now of ["\\", "Space"]) {
      await screen.press("[");
      await screen.waitFor((rows) => readPast(rows) !== undefined);
      await screen.press(now);
      await screen.waitFor((rows) => readPast(rows) === undefined && !/ PAUSED /.test(rows[0]));
    }
    // What is over is shown as it was when it began.
    const hasState = (word: string) => (rows: readonly string[]) =>
      rows.some((row) => new RegExp(`\\.e1 +${word} `).test(row));
    await server.setState("failing");
    await screen.waitFor(hasState("STALE"));
    await server.setState("up");
    await screen.waitFor(hasState("OK"));
    await screen.press("6");
    await screen.waitForSelected(/ STALE /);
    await screen.press("Enter");
    const shown = await screen.waitFor((rows) => readPast(rows) !== undefined);
    assert(hasState("STALE")(shown), shown.join("\n"));
  });
});

Deno.test("Space holds the picture while polling goes on; +, - and r change when", {
  ...needsProgram("tmux"),
}, async () => {
  const readClock = ([title]: readonly string[]) => /\d\d:\d\d:\d\d/.exec(title)?.[0];
  const countPolls = ({ requests }: VllmServer) =>
    requests.filter((request) => request === "GET /metrics").length;
  await withLive({}, async (screen, server) => {
    await screen.press("g");
    await screen.waitFor((rows) => !rows.some((row) => row.includes("▾ ")));
    await screen.press("Space");
    const held = await screen.waitFor(([title]) => / PAUSED /.test(title));
    const polls = countPolls(server);
    await waitFor(() => countPolls(server) >= polls + 4);
    assertEquals(await screen.read(), held, "not a character has changed");
    // What does not need new figures is answered.
    await screen.press("j");
    await screen.waitForSelected(/\.e1 /);
    await screen.press("Space");
    await screen.waitFor((rows) =>
      !/ PAUSED /.test(rows[0]) && readClock(rows) !== readClock(held)
    );

    const waitForInterval = (text: string) =>
      screen.waitFor(([title]) => new RegExp(`every ${text}(?: |$)`).test(title));
    await screen.press("-");
    await waitForInterval("1 s");
    await screen.press("_", "-");
    await waitForInterval("3 s");
    await screen.press("+");
    await waitForInterval("2 s");
    await screen.press("=", "+", "+", "+");
    await waitForInterval("0.5 s");
  });
  await withLive({ args: ["--interval", "300"] }, async (screen, server) => {
    for (let times = 0; times < 2; times++) {
      const polls = countPolls(server);
      const readTotals = (rows: readonly string[]) => rows.find((row) => row.startsWith(" ALL "));
      const before = readTotals(await screen.read());
      await screen.press("r");
      await screen.waitFor(() => countPolls(server) > polls);
      // A key that comes while a poll is under way has what it asks for.
      await screen.waitFor((rows) => readTotals(rows) !== before);
    }
  });
});

Deno.test("g groups and arrows fold; z, Tab and digits show pages; t steps through the themes", {
  ...needsProgram("tmux"),
}, async () => {
  await withLive({}, async (screen) => {
    await screen.press("Home");
    await screen.waitForSelected(/▾ Llama/);
    await screen.press("Left");
    await screen.waitForSelected(/▸ Llama/);
    await screen.waitFor((rows) => listEngines(rows).join("") === "23");
    await screen.press("Right");
    await screen.waitForSelected(/▾ Llama/);
    await screen.waitFor((rows) => listEngines(rows).join("") === "0123");
    // From a row one gets to its group, as in a tree.
    await screen.press("j", "j");
    await screen.waitForSelected(/\.e1 /);
    await screen.press("Left");
    await screen.waitForSelected(/▸ Llama/);
    await screen.press("Right", "Home");
    await screen.waitFor((rows) => listEngines(rows).join("") === "0123");
    await screen.press("g");
    await screen.waitFor((rows) => !rows.some((row) => row.includes("▾")));

    const hasAreas = (rows: readonly string[]) => rows.some((row) => row.startsWith("─ problems"));
    await screen.press("z");
    await screen.waitFor((rows) => hasTotals(rows) && !hasAreas(rows));
    await screen.press("z");
    await screen.waitFor(hasAreas);
    for (const key of ["Tab", "Tab", "Tab", "Tab", "Tab", "1", "6"]) {
      const before = (await screen.read()).slice(1).join("\n");
      await screen.press(key);
      await screen.waitFor((rows) =>
        rows.slice(1).join("\n") !== before && hasTotals(rows) === (key === "1")
      );
    }
    await screen.press("6");
    await screen.waitFor(hasTotals);

    await screen.press("Space");
    const held = await screen.waitFor(([title]) => / PAUSED /.test(title));
    const seen = new Set([await screen.readStyled()]);
    for (let times = 1; times < 5; times++) {
      await screen.press("t");
      await waitFor(async () => !seen.has(await screen.readStyled()));
      seen.add(await screen.readStyled());
      assertEquals(await screen.read(), held, "only colours change");
    }
  });
});

Deno.test("the column menu shows, hides and moves columns", {
  ...needsProgram("tmux"),
}, async () => {
  await withLive({}, async (screen) => {
    const hasMenu = (rows: readonly string[]) =>
      rows.some((row) => / \[x\] REPLICA +shown /.test(row));
    await screen.press("c");
    await screen.waitFor(hasMenu);
    await screen.press("Down", "Down", "Space");
    await screen.waitFor((rows) => rows.some((row) => / \[ \] RUN /.test(row)));
    await screen.press("Escape");
    await screen.waitFor((rows) => hasHeading(/STATE +WAIT/)(rows));
    await screen.press("F2");
    await screen.waitFor(hasMenu);
    await screen.press("Space", "Right");
    await screen.press("c");
    await screen.waitFor((rows) => hasHeading(/STATE +WAIT +RUN/)(rows));
  });
});

Deno.test("the help lists keys and signs on one page, and columns on the next", {
  ...needsProgram("tmux"),
}, async () => {
  await withLive({}, async (screen) => {
    for (const key of ["?", "h", "F1"]) {
      await screen.press(key);
      const shown = BINDINGS.filter(({ command, isToldElsewhere = false }) =>
        !command.startsWith("show_") && !isToldElsewhere
      ).map(({ keys }) => ` ${keys.join(" ")} `);
      const rows = await screen.waitFor((lines) =>
        lines.some((row) => /^ Rows /.test(row)) &&
        lines.some((row) => / STALE +the last scrape failed/.test(row)) &&
        shown.every((keys) => lines.some((row) => row.includes(keys)))
      );
      assert(!rows.some((row) => row.includes("more lines")), rows.join("\n"));
      await screen.press("Right");
      await screen.waitFor((lines) => lines.some((row) => /^ RUN +running requests/.test(row)));
      await screen.press("Left");
      await screen.waitFor((lines) => lines.some((row) => /^ Rows /.test(row)));
      await screen.press(key);
      await screen.waitFor(hasTotals);
    }
  });
});

Deno.test("a long table scrolls under its heading, and ALL stays", {
  ...needsProgram("tmux"),
}, async () => {
  const engines = Array.from({ length: 64 }, () => LLAMA);
  const size = { columns: 80, rows: 24 };
  await withLive({ engines, size, args: ["--interval", "1"] }, async (screen) => {
    const before = await screen.read();
    const heading = findHeading(before).row;
    const all = before.findIndex((row) => /^ ALL +\d/.test(row));
    const check = async (pattern: RegExp) => {
      await screen.waitForSelected(pattern);
      const rows = await screen.read();
      assertEquals(findHeading(rows).row, heading);
      assertEquals(rows.findIndex((row) => /^ ALL +\d/.test(row)), all, rows.join("\n"));
      assertEquals(await screen.countUnwrapped(), size.rows);
      return listEngines(rows).map(Number);
    };
    const first = await check(/\.e0 /);
    assert(first.length >= 10, "most of the screen is for rows");
    await screen.press("PageDown");
    await screen.press("PageDown");
    const [top] = await check(/\.e(?!0)\d/);
    assert(top > 0, "the table has moved");
    await screen.press("End");
    assertEquals((await check(/\.e63 /)).at(-1), 63);
    await screen.press("PageUp");
    await check(/\.e(?!63)\d/);
    await screen.press("G");
    await check(/\.e63 /);
    await screen.press("Home");
    assertEquals(await check(/\.e0 /), first);
  });
});

Deno.test("options choose order, rows, columns and looks", {
  ...needsProgram("tmux"),
}, async () => {
  const engines = [LLAMA, LLAMA, QWEN];
  const server = await startVllmServer({ engines, warmUp: 30 });
  /** SGR sequences that choose a colour. */
  // deno-lint-ignore no-control-regex
  const color = /\x1b\[[\d;]*\b(3[0-7]|38|4[0-7]|48|9[0-7])[\d;]*m/;
  try {
    await withScreens(async (screens, folder) => {
      const start = async (...args: readonly string[]) => {
        const all = [server.url, "--interval", "0.5", ...args];
        return await startLive(screens, { folder, size: MIDDLE, args: all });
      };
      const sorted = await start("--sort", "replica:desc", "--no-mouse");
      const filtered = await start("--filter", "qwen|nothing", "--ascii");
      const chosen = await start("--columns", "state,replica,itl_p95", "--theme", "mono");
      const plain = await start("--no-color");
      await sorted.screen.waitFor((rows) => listEngines(rows).join("") === "102");
      assertMatch(findHeading(await sorted.screen.read()).text, /REPLICA▾/);
      assertEquals(await sorted.screen.readModes(), { ...LIVE_MODES, hasMouse: false });

      const rows = await filtered.screen.waitFor((rows) => listEngines(rows).join("") === "2");
      assertMatch(rows.join("\n"), /^[\x20-\x7e\n]*$/);

      await chosen.screen.waitFor((rows) =>
        rows.some((row) => /^ STATE +REPLICA +ITL P95$/.test(row))
      );
      for (const { screen } of [chosen, plain]) {
        await screen.waitFor((rows) =>
          rows.some((row) => row.startsWith(" ALL ") || / ALL /.test(row))
        );
        assert(!color.test(await screen.readStyled()), "no colours");
      }
      for (const run of [sorted, filtered, chosen, plain]) {
        await run.screen.press("q");
        await checkReturn(run, 0);
      }
    });
  } finally {
    await server.close();
  }
});

Deno.test("--sort and --columns list the columns, and refuse others", async () => {
  for (const option of ["--sort", "--columns"]) {
    const help = await runProgram([option, "help"]);
    assertEquals(help.code, 0);
    for (const id of COLUMN_IDS) assertMatch(help.stdout, new RegExp(`^${id} +\\w`, "m"));
    const wrong = await runProgram(["--demo", "vllm", option, "nope"]);
    assertEquals([wrong.code, wrong.stdout], [2, ""]);
    assertStringIncludes(wrong.stderr, `${option} "nope"`);
    assertStringIncludes(wrong.stderr, `${option} help`);
  }
});

Deno.test("y prints a diagnosis of its moment after the screen is left", {
  ...needsProgram("tmux"),
}, async () => {
  const server = await startVllmServer({ engines: [LLAMA], warmUp: 30 });
  try {
    await withScreens(async (screens, folder) => {
      const size = { columns: 120, rows: 60 };
      const run = await startLive(screens, { folder, size, args: [server.url] });
      await run.screen.waitFor((rows) =>
        isDrawn(rows) && rows.some((row) => /Output tok/.test(row))
      );
      await run.screen.press("y");
      await run.screen.waitFor((rows) => rows[0].includes("diagnosis on exit"));
      await run.screen.press("q");
      await run.screen.waitFor((rows) =>
        rows.includes("Problems") && rows.some((row) => /^ {2}:\d+ {2}vLLM\b/.test(row))
      );
      await checkReturn(run, 0);
    });
  } finally {
    await server.close();
  }
});
