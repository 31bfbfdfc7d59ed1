/** A server that loads, serves and dies, told by its log, on a real screen with the real program. */

import { assert, assertEquals } from "@std/assert";
import { quoteForShell } from "../lib/host_ssh_session.ts";
import { findFreePorts, readDocument, runProgram } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { checkReturn, isDrawn, startLive, withScreens } from "./tmux_screens.ts";
import { withSshServer } from "./ssh_server.ts";
import { startVllmServer } from "./vllm_server.ts";

const START: readonly string[] = Deno.readTextFileSync(
  new URL("fixtures/log/vllm-0.32.0-start.log", import.meta.url),
).split("\n");

/** A process that `ps` shows as a server that loads, with its output in the file. It ends with its input. */
async function startLoading(folder: string, port: number) {
  const path = `${folder}/server.log`;
  await Deno.writeTextFile(`${folder}/serve`, "read line\n");
  const command = `cd "$0" && exec -a vllm sh serve some/model --port ${port} >>"$1" 2>&1`;
  const child = new Deno.Command("bash", {
    args: ["-c", command, folder, path],
    stdin: "piped",
  }).spawn();
  const write = async (lines: readonly string[]): Promise<void> => {
    await Deno.writeTextFile(path, lines.map((line) => `${line}\n`).join(""), { append: true });
  };
  const end = async (): Promise<void> => {
    await child.stdin.close();
    await child.status;
  };
  return { path, write, end };
}

Deno.test(
  "a server is followed from its first line to its last words",
  needsProgram("tmux"),
  async () => {
    await withScreens(async (screens, folder) => {
      // Nothing listens on the next: a table has two.
      const port = findFreePorts(2);
      const server = await startLoading(folder, port);
      let hasEnded = false;
      try {
        await server.write(START.slice(0, 20));
        const args = [`localhost:${port}`, `localhost:${port + 1}`, "--interval", "0.5"];
        const run = await startLive(screens, { folder, args });
        const { screen } = run;
        const shows = (pattern: RegExp) =>
          screen.waitFor((rows) => isDrawn(rows) && rows.some((row) => pattern.test(row)));
        await shows(/LOAD +starting/);
        await screen.press("l");
        await shows(new RegExp(`^ ${server.path}$|^ \\(EngineCore pid=28613\\)`));
        // It follows the end.
        await server.write([...START.slice(20, 41), "non-default args: {'api_key': ['hunter2']}"]);
        const rows = await shows(/^ non-default args: \{'api_key': \*\*\*\}$/);
        assert(rows[1].includes("1 loading"), rows[1]);
        // A scan finds it, too, before its port is open.
        const scan = runProgram(["--once", "--interval", "0", "--output", "json"]);
        await screen.press("Home");
        await shows(new RegExp(`^ ${server.path}$`));
        await screen.press("Escape");
        await shows(/LOAD +weights 0\/1 shards/);
        const found = readDocument((await scan).stdout).endpoints.find(({ url }) =>
          url.includes(`:${port}/`)
        );
        assertEquals(found?.status, "LOAD");

        await server.write(START.slice(41));
        const ready = await startVllmServer({ port });
        await shows(new RegExp(`:${port} +OK `));
        await ready.close();
        await server.end();
        hasEnded = true;
        await server.write([
          "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.",
        ]);
        await shows(/(?:DOWN|died:) .*torch\.OutOfMemoryError/);
        await screen.press("q");
        await checkReturn(run, 0);
      } finally {
        if (!hasEnded) await server.end();
      }
    });
  },
);

/** A stand-in for `docker logs`: containers write to both streams. */
async function writeDocker(folder: string, lines: readonly string[]): Promise<void> {
  const print = (line: string, index: number) => {
    const time = new Date(Date.UTC(2026, 10, 28, 12, 0, index)).toISOString();
    return `echo ${quoteForShell(`${time} ${line}`)}${index % 2 === 0 ? "" : " >&2"}\n`;
  };
  const usage = `test "$*" = 'logs --timestamps --tail 1000 engine' || exit 1\n`;
  const script = `#!/bin/sh\n${usage}${lines.map(print).join("")}`;
  await Deno.writeTextFile(`${folder}/docker`, script, { mode: 0o755 });
}

Deno.test(
  "the logs of servers on a host behind ssh are read there",
  needsProgram("sshd"),
  async () => {
    const folder = await Deno.makeTempDir();
    await Deno.mkdir(`${folder}/contained`);
    const port = findFreePorts(2);
    const server = await startLoading(folder, port);
    const contained = await startLoading(`${folder}/contained`, port + 1);
    try {
      await server.write(START.slice(0, 41));
      await writeDocker(folder, START.slice(0, 41));
      await withSshServer(folder, async ({ config, runtime }) => {
        const other = `other,ports=${port + 1},log=docker:engine`;
        const args = ["--ssh", "plain", "--ssh", other, "--ssh-config", config, "--timeout", "20"];
        const outcome = await runProgram(
          [...args, "--once", "--interval", "0", "--output", "json"],
          {
            environment: { XDG_RUNTIME_DIR: runtime },
          },
        );
        const { endpoints } = readDocument(outcome.stdout);
        assertEquals(endpoints.filter(({ url }) => url.startsWith("http://other:")).length, 1);
        [server.path, "docker logs engine"].forEach((place, index) => {
          const url = `http://${["plain", "other"][index]}:${port + index}/metrics`;
          const found = endpoints.find((one) => one.url === url);
          const { source, problem, load } = found?.log ?? {};
          assertEquals([found?.status, source, problem], ["LOAD", place, null]);
          assertEquals([load?.phase, load?.done, load?.total], ["weights", 0, 1]);
        });
      });
    } finally {
      await server.end();
      await contained.end();
      await Deno.remove(folder, { recursive: true });
    }
  },
);
