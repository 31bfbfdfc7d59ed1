import { assert, assertEquals, assertMatch } from "@std/assert";
import { listBlocks, readBlock } from "../lib/record_file.ts";
import { openBytes } from "./memory_files.ts";
import {
  inFolder,
  listCommand,
  type Outcome,
  type ProgramRun,
  readDocuments,
  runProgram,
  startProgram,
} from "./program_runs.ts";
import { runBriskly } from "./brisk_runs.ts";
import { listRouteArguments, needsProgram } from "./programs.ts";
import { checkReturn, startLive, withScreens } from "./tmux_screens.ts";
import { startVllmServer } from "./vllm_server.ts";

const INTERVAL = ["--interval", "0.5"];

/** A compiled program has no permission to write, and is given none from outside. */
const needsFlags = { ignore: Deno.env.has("VLLM_HTOP_BINARY") };

/** With the permission to write into the folder. */
function startWriting(folder: string, args: readonly string[]): ProgramRun {
  const [program, run, ...rest] = listCommand(...args);
  return startProgram([], { command: [program, run, `--allow-write=${folder}`, ...rest] });
}

function countLines(run: ProgramRun): number {
  return run.stdout().split("\n").length - 1;
}

function replay(path: string, ...more: readonly string[]): Promise<Outcome> {
  return runProgram(["replay", path, "--output", "json", ...more]);
}

/** All that the file holds, as gzip reads it. */
async function unpack(path: string): Promise<string> {
  const { code, stdout } = await runProgram([], { command: ["gzip", "-dc", path] });
  assertEquals(code, 0);
  return stdout;
}

const SECRET = "tr0ub4dor-and-3";

Deno.test(
  "--record writes what replay shows, document for document, and no secret",
  needsFlags,
  async () => {
    const authorization = `Basic ${btoa(`operator:${SECRET}`)}`;
    const servers = await Promise.all([
      startVllmServer({ warmUp: 60, authorization }),
      startVllmServer({ seed: 2, warmUp: 60, engines: [{ model: "m" }, { model: "m" }] }),
    ]);
    const urls = [servers[0].url.replace("//", `//operator:${SECRET}@`), servers[1].url];
    try {
      await inFolder(async (folder) => {
        const path = `${folder}/r`;
        const run = startWriting(folder, [
          "--record",
          path,
          "--output",
          "json",
          ...INTERVAL,
          ...urls,
        ]);
        await run.waitFor(() => countLines(run) >= 3);
        await servers[1].setState("refusing");
        const isRefused = (): boolean =>
          readDocuments(run.stdout()).at(-1)?.endpoints[1].failure?.kind === "refused";
        await run.waitFor(isRefused);
        await servers[1].setState("up");
        await run.waitFor(() => !isRefused());
        run.signal("SIGTERM");
        const { code, stdout, stderr } = await run.ended;
        assertEquals([code, stderr], [143, ""]);
        const again = await replay(path);
        assertEquals([again.code, again.stderr], [0, ""]);
        assertEquals(readDocuments(again.stdout), readDocuments(stdout));
        assertEquals(again.stdout, stdout);
        const text = await unpack(path);
        assert(text.includes("vllm:num_requests_running"), "it is readable by gzip");
        for (const part of [SECRET, "operator", authorization.slice(6)]) {
          assert(!text.includes(part), `${part} is recorded`);
        }
        assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
      });
    } finally {
      await Promise.all(servers.map((server) => server.close()));
    }
  },
);

Deno.test("--record writes what Prometheus has of its targets", needsFlags, async () => {
  const labels = 'job="vllm",instance="gpu1:8000"';
  let requests = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    const own = `model_name="m",engine="0",${labels}`;
    const time = 1000 * Math.floor(Date.now() / 1000);
    const lines = [`up{${labels}} 1`, `vllm:num_requests_running{${own}} ${requests++}`];
    return new Response(lines.map((line) => `${line} ${time}\n`).join(""));
  });
  try {
    await inFolder(async (folder) => {
      const path = `${folder}/r`;
      const url = `http://127.0.0.1:${server.addr.port}/federate`;
      const args = ["--prometheus", url, "--record", path, "--output", "json", "--no-gpu"];
      const run = startWriting(folder, [...args, ...INTERVAL]);
      await run.waitFor(() => countLines(run) >= 3);
      run.signal("SIGTERM");
      const { stdout } = await run.ended;
      const again = await replay(path);
      assertEquals([again.code, again.stderr], [0, ""]);
      assertEquals(again.stdout, stdout);
      assert(stdout.includes('"model":"m"'), stdout);
    });
  } finally {
    await server.shutdown();
  }
});

Deno.test(
  "record goes on in a file whose recorder was killed, and tells its size",
  needsFlags,
  async () => {
    await inFolder(async (folder) => {
      const path = `${folder}/r`;
      const args = ["record", path, "--demo", "vllm", ...INTERVAL];
      const killed = startWriting(folder, args);
      await killed.waitFor(() => killed.stderr().includes("5 replicas"));
      killed.signal("SIGKILL");
      await killed.ended;
      const { size } = await Deno.stat(path);
      assert(size > 0, "the first block is written at once");
      await Deno.truncate(path, size - 3);
      const run = startWriting(folder, args);
      await run.waitFor(() => run.stderr().includes("5 replicas"));
      run.signal("SIGTERM");
      const { code, stdout, stderr } = await run.ended;
      assertEquals([code, stdout], [143, ""]);
      assertMatch(stderr, /^vllm-htop: recording into .*\/r: 5 replicas, [\d.]+ KiB in \d+s\n$/);
      const shown = await replay(path);
      assertEquals(shown.code, 0);
      assertMatch(shown.stderr, /: \d+ bytes of it are cut off or damaged, and left out\n$/);
      assert(readDocuments(shown.stdout).length >= 1);
    });
  },
);

Deno.test("createRecorder() keeps all whole blocks, whenever it is killed", async () => {
  await inFolder(async (folder) => {
    for (let round = 0; round < 8; round++) {
      const path = `${folder}/${round}`;
      const script = new URL("record_writer.ts", import.meta.url).pathname;
      const options = [...listRouteArguments(), "-A", "--quiet"];
      const run = startProgram([], {
        command: [Deno.execPath(), "run", ...options, script, path],
      });
      // After so many blocks, at whatever moment of the next ones.
      await run.waitFor(() => countLines(run) > 3 * round);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
      run.signal("SIGKILL");
      const { stdout } = await run.ended;
      const told = stdout.split("\n").slice(0, -1).length;
      const { blocks, lostBytes } = await listBlocks([openBytes(await Deno.readFile(path))]);
      const entries = (await Promise.all(blocks.map(readBlock))).flatMap((block) => block ?? []);
      const values = entries.map(({ value }) => value);
      assertEquals(values, values.map((_, i) => i), "none is missing, and none is twice");
      assert(values.length >= told, `${values.length} of ${told} blocks; ${lostBytes} bytes lost`);
    }
  });
});

Deno.test("record - writes to standard output, and needs no permission", async () => {
  const run = startProgram([], {
    command: [
      "sh",
      "-c",
      'exec "$@" > /dev/null',
      "sh",
      ...listCommand("record", "-", "--demo", "vllm"),
    ],
  });
  await run.waitFor(() => run.stderr().includes("5 replicas"));
  run.signal("SIGKILL");
  await run.ended;
  const full = await runProgram([], {
    command: [
      "sh",
      "-c",
      'exec "$@" > /dev/full',
      "sh",
      ...listCommand("record", "-", "--demo", "vllm"),
    ],
  });
  assertEquals(full.code, 3);
  assertMatch(
    full.stderr,
    /\nvllm-htop: standard output cannot be written: no space is left there\n$/,
  );
});

Deno.test("record says what is missing where it may not write, and exits 3", async () => {
  await inFolder(async (folder) => {
    const { code, stderr } = await runProgram(["record", `${folder}/r`, "--demo"]);
    assertEquals(code, 3);
    assertMatch(
      stderr,
      / cannot be written: this program may not .*--allow-write=.*vllm-htop record - > FILE/,
    );
    assertEquals([...Deno.readDirSync(folder)], []);
  });
});

Deno.test("record keeps the file whole where the disk takes but a part of a block", {
  ignore: needsFlags.ignore || Deno.build.os !== "linux",
}, async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/r`;
    const [program, flag, ...rest] = listCommand("record", path, "--demo", "vllm", ...INTERVAL);
    // A limit of the size of files, which fails as a full disk does, after a part was written.
    const limited = startProgram([], {
      command: [
        ...["bash", "-c", 'trap "" XFSZ; ulimit -f 2; exec "$@"', "bash"] as const,
        ...[program, flag, `--allow-write=${folder}`, ...rest],
      ],
    });
    await limited.waitFor(() => limited.stderr().includes("5 replicas"));
    limited.signal("SIGTERM");
    const { code, stderr } = await limited.ended;
    assertEquals(code, 3);
    assertMatch(stderr, /\nvllm-htop: the recording ".*\/r" cannot be written: .*\n$/);
    const { size } = await Deno.stat(path);
    assert(size > 0 && size < 2048, `${size} bytes`);
    const shown = await replay(path, "--once");
    assertEquals(shown.stderr, "", "the first block is whole, and nothing follows it");
  });
});

Deno.test("replay plays, pauses, steps and seeks on the screen", needsProgram("tmux"), async () => {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  // A quarter of an hour: it does not end by itself, however slow the machine is.
  const args = ["--demo", "--record", "r", "--output", "json", "--interval", "30"];
  const { lines } = await runBriskly(args, { files, maxLines: 30 });
  const { timeEpochSeconds } = JSON.parse(lines[lines.length - 1]);
  const endsAt = new Date(1000 * (timeEpochSeconds + 3600)).toISOString().slice(11, 19);
  await withScreens(async (screens, folder) => {
    const path = `${folder}/r`;
    await Deno.writeFile(path, files.get("r") ?? new Uint8Array());
    const live = await startLive(screens, {
      folder,
      size: { columns: 120, rows: 40 },
      args: ["replay", path, "--from", "23:27:00"],
    });
    const { screen } = live;
    const isTitle = (pattern: RegExp) => (rows: readonly string[]) => pattern.test(rows[0]);
    await screen.waitFor(isTitle(/▸ replay 1x, 23:2/));
    await screen.press("Space");
    const [paused] = await screen.waitFor(isTitle(/replay paused/));
    await screen.press("]", "]", "]");
    await screen.waitFor((rows) => isTitle(/replay paused/)(rows) && rows[0] !== paused);
    await screen.press("[");
    await screen.waitFor(isTitle(/◀ /));
    await screen.press("\\");
    await screen.waitFor((rows) => !rows[0].includes("◀"));
    await screen.press("+", "Space");
    await screen.waitFor(isTitle(/▸ replay 2x/));
    await screen.press("\\");
    await screen.waitFor(isTitle(new RegExp(`end of replay, ${endsAt}`)));
    await screen.press("q");
    await checkReturn(live, 0);
  });
});
