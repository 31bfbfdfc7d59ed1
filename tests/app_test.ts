import { assertEquals } from "@std/assert";
import { runApp } from "../lib/app.ts";
import type { Platform, Stdio } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";

/** A terminal that stops reading after the first frame, and then sends `key`. */
function createStuckTerminal(key: string): Stdio {
  const isRead = Promise.withResolvers<Uint8Array>();
  const never = new Promise<null>(() => {});
  let frames = 0;
  let keys = 0;
  return {
    ...createDenoPlatform().stdio,
    ...{ stdinIsTerminal: true, stdoutIsTerminal: true, stderrIsTerminal: true },
    writeStdout: async () => {
      if (++frames === 1) return;
      isRead.resolve(new TextEncoder().encode(key));
      await never;
    },
    writeStdoutSync: () => {},
    readStdin: () => keys++ === 0 ? isRead.promise : never,
    closeStdin: () => {},
    setRawInput: () => {},
    terminalSize: () => ({ columns: 80, rows: 24 }),
  };
}

Deno.test({
  name: "runApp() exits with 0 on q and Ctrl-C even if nobody reads its terminal",
  // The write that hangs is never over, and what waits for it is not either.
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    for (const key of ["q", "\x03"]) {
      const ended = Promise.withResolvers<number>();
      const platform: Platform = {
        ...createDenoPlatform(),
        environment: (name) => name === "TERM" ? "xterm" : undefined,
        stdio: createStuckTerminal(key),
        onSignal: () => () => {},
        onFatalError: () => {},
        exit: ended.resolve as Platform["exit"],
      };
      const app = runApp(platform, ["--demo", "vllm", "--interval", "0.5"]);
      assertEquals(await Promise.race([ended.promise, app]), 0, JSON.stringify(key));
    }
  },
});

Deno.test("runApp() logs in to a host once for a check that watches for a while", async () => {
  const sessions: string[] = [];
  const platform: Platform = {
    ...createDenoPlatform(),
    environment: () => undefined,
    startProgram: ({ arguments: words }) => {
      if (words.includes("sh -s")) sessions.push(words.at(-2) ?? "");
      return { kind: "missing" };
    },
    onSignal: () => () => {},
    onFatalError: () => {},
    stdio: { ...createDenoPlatform().stdio, writeStdout: () => Promise.resolve() },
  };
  await runApp(platform, ["--check", "--for", "1s", "--ssh", "gpu1", "--no-gpu"]);
  assertEquals(sessions, ["gpu1"]);
});
