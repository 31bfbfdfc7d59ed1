import { assert, assertEquals, assertMatch } from "@std/assert";
import { type SshSession, startSshSession, writeProgram } from "../lib/host_ssh_session.ts";
import type { RunningProgram } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { createClock } from "./fixtures/clock.ts";
import { needsProgram } from "./programs.ts";

const LIMITS = { timeout: 5, maxOutputBytes: 100_000 };
const platform = createDenoPlatform();

/** A session with a shell of this machine in place of the one behind ssh. */
function startShell(words: readonly string[] = ["sh", "-s"], nonce = "n0nce"): SshSession {
  const [name, ...args] = words;
  const program = platform.startProgram({ name, arguments: args, variables: ["PATH"] });
  if ("kind" in program) throw new Error(`No ${name}: ${program.kind}`);
  return startSshSession(platform, program, nonce);
}

function run(session: SshSession, name: string, ...args: readonly string[]) {
  const program = { name, arguments: args, ...LIMITS };
  return session.call({ ...LIMITS, command: writeProgram(program) });
}

async function end(session: SshSession) {
  session.end();
  return await session.ended;
}

for (const shell of [["sh", "-s"], ["bash", "-s"], ["busybox", "sh", "-s"]]) {
  Deno.test(`startSshSession() keeps output, errors and codes apart in ${shell.join(" ")}`, {
    ...needsProgram(shell[0]),
  }, async () => {
    const session = startShell(shell);
    assertEquals(await session.hello, Deno.build.os === "darwin" ? "Darwin" : "Linux");
    const script = 'printf "a\\nb"; echo wrong >&2; exit 3';
    const [first, second, third] = await Promise.all([
      run(session, "sh", "-c", script),
      run(session, "printf", "%s|", "a b", "it's", '$HOME `id` "x" \\'),
      run(session, "cat"),
    ]);
    assertEquals(first, { kind: "exited", code: 3, stdout: "a\nb", stderr: "wrong" });
    assertEquals(second, {
      ...{ kind: "exited", code: 0, stderr: "" },
      stdout: 'a b|it\'s|$HOME `id` "x" \\|',
    });
    assertEquals(third, { kind: "exited", code: 0, stdout: "", stderr: "" }, "no script to eat");
    assertEquals(await run(session, "no-such-program"), { kind: "missing" });
    assertEquals((await run(session, "/etc/passwd")).kind, "refused");
    assertEquals((await end(session)).hasAnswered, true);
  });
}

Deno.test(
  "writeProgram() limits the time of a program there",
  needsProgram("timeout"),
  async () => {
    const session = startShell();
    const slow = { name: "sleep", arguments: ["20"], timeout: 0.1, maxOutputBytes: 10 };
    assertEquals(await session.call({ ...LIMITS, command: writeProgram(slow) }), {
      kind: "timeout",
    });
    await end(session);
  },
);

Deno.test("startSshSession() is not fooled by output that looks like its marks", async () => {
  const session = startShell();
  const forged = "n0nc3 end 1 0\nn0nc3 done 1\n";
  const outcome = await run(session, "printf", "%s", forged);
  assertEquals(outcome, { kind: "exited", code: 0, stdout: forged, stderr: "" });
  await end(session);
});

Deno.test("startSshSession() drops noise before the first mark, and keeps it where no shell answers", async () => {
  const noisy = startShell(["sh", "-c", "echo Welcome; echo err >&2; exec sh -s"]);
  assertEquals(await run(noisy, "echo", "x"), {
    ...{ kind: "exited", code: 0, stdout: "x\n", stderr: "" },
  });
  await end(noisy);
  const refusing = startShell(["sh", "-c", "echo No shell here; exit 1"]);
  assertEquals(await refusing.hello, null);
  const { code, head, hasAnswered } = await refusing.ended;
  assertEquals([code, head, hasAnswered], [1, "No shell here", false]);
  assertEquals(await run(refusing, "echo"), { kind: "aborted" });
});

Deno.test("startSshSession() ends itself when a program prints too much", async () => {
  const session = startShell();
  const command = "yes </dev/null";
  const outcome = await session.call({ command, timeout: 20, maxOutputBytes: 1000 });
  assertEquals(outcome, { kind: "aborted" });
  assertEquals((await session.ended).cause, "flood");
});

Deno.test("startSshSession() gives up an aborted call, and answers the next ones", async () => {
  const session = startShell();
  await session.hello;
  const abort = new AbortController();
  const aborted = session.call({ ...LIMITS, command: "sleep 0.1", signal: abort.signal });
  const next = run(session, "echo", "next");
  abort.abort();
  assertEquals(await aborted, { kind: "aborted" });
  assertEquals(await next, { kind: "exited", code: 0, stdout: "next\n", stderr: "" });
  await end(session);
});

/** A program that says only what the test says. */
function createSilentProgram() {
  const stdout = new TransformStream<Uint8Array, Uint8Array>();
  const stderr = new TransformStream<Uint8Array, Uint8Array>();
  const stdin = new TransformStream<Uint8Array, Uint8Array>();
  const writer = stdout.writable.getWriter();
  const exit = Promise.withResolvers<number>();
  let ends = 0;
  // The session aborts it at its end.
  stdin.readable.pipeTo(new WritableStream()).catch(() => {});
  const program: RunningProgram = {
    ...{ stdin: stdin.writable, stdout: stdout.readable, stderr: stderr.readable },
    exitCode: exit.promise,
    end: () => {
      if (ends++ > 0) return;
      void writer.close();
      void stderr.writable.close();
      exit.resolve(143);
    },
  };
  const say = (text: string) => writer.write(new TextEncoder().encode(text));
  return { program, say };
}

Deno.test("startSshSession() ends a session that is silent: after the login, and in a call", async () => {
  const clock = createClock();
  const early = createSilentProgram();
  const first = startSshSession(clock.platform, early.program, "n");
  await clock.runUntil(14);
  await clock.runUntil(16);
  assertEquals([(await first.ended).cause, await first.hello], ["silence", null]);

  const frozen = createSilentProgram();
  const second = startSshSession(clock.platform, frozen.program, "n");
  await frozen.say("\nn hello Linux\n");
  assertEquals(await second.hello, "Linux");
  const calls = [1, 2].map(() => second.call({ command: ":", timeout: 1, maxOutputBytes: 10 }));
  await frozen.say("\nn begin 1\n\nn end 1 0\n\nn done 1\n");
  assertEquals(await calls[0], { kind: "exited", code: 0, stdout: "", stderr: "" });
  await clock.runUntil(60);
  assertEquals(await calls[1], { kind: "aborted" });
  assertEquals((await second.ended).cause, "silence");
});

Deno.test("startSshSession() ends by itself when its program does, and so does the shell without it", async () => {
  const session = startShell(["sh", "-s"]);
  await session.hello;
  // A broken line: the shell there sees the end of its input.
  const outcome = await session.call({ ...LIMITS, command: "kill $$" });
  assertEquals(outcome, { kind: "aborted" });
  const { code, stderr } = await session.ended;
  assert(code !== 0);
  assertMatch(stderr, /^$|Terminated/);
});
