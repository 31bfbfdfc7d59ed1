import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { PERMISSIONS } from "../.ci/permissions.ts";
import type { HttpClient, ProgramCall, ProgramOutcome, RunningProgram } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { createTestCertificates, formatResponse, startRawServer } from "./hostile_server.ts";
import { waitFor } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";

const platform = createDenoPlatform();
const PLATFORM_URL = import.meta.resolve("../lib/platform_deno.ts");
const IMPORT_MAP = new URL("../.ci/npm/import_map.json", import.meta.url).pathname;

interface Child {
  readonly env?: Record<string, string>;
  readonly permissions?: readonly string[];
  readonly stdin?: "null" | "piped";
}

/** Runs a module that has `platform` in a process of its own. */
function startChild(code: string, { env = {}, permissions = ["-A"], stdin = "null" }: Child = {}) {
  const module = `import { createDenoPlatform } from ${JSON.stringify(PLATFORM_URL)};
    const platform = createDenoPlatform();\n${code}`;
  return new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-lock", "--import-map", IMPORT_MAP],
      ...permissions,
      `data:text/typescript,${encodeURIComponent(module)}`,
    ],
    env: { NO_COLOR: "1", ...env },
    stdin,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function runChild(code: string, options?: Child) {
  const { code: exitCode, signal, stdout, stderr } = await startChild(code, options).output();
  const decoder = new TextDecoder();
  return { exitCode, signal, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("monotonicSeconds() and epochSeconds() count seconds", async () => {
  // The outer span is as long as the inner ones or longer, however busy the machine is.
  const startOuter = performance.now() / 1000;
  const startEpoch = platform.epochSeconds();
  const start = platform.monotonicSeconds();
  await platform.sleep(0.05);
  const span = platform.monotonicSeconds() - start;
  const spanEpoch = platform.epochSeconds() - startEpoch;
  const outer = performance.now() / 1000 - startOuter;
  assert(span >= 0.045 && span <= outer + 0.005, `${span} of ${outer}`);
  assert(spanEpoch >= span - 0.005 && spanEpoch <= outer + 0.005, `${spanEpoch} of ${outer}`);
  assert(platform.epochSeconds() > 1.7e9 && platform.epochSeconds() < 1e10);
});

Deno.test("sleep() ends when the signal aborts, at once if it has", async () => {
  const controller = new AbortController();
  const start = platform.monotonicSeconds();
  const sleeping = platform.sleep(600, controller.signal);
  controller.abort();
  await sleeping;
  await platform.sleep(600, controller.signal);
  assert(platform.monotonicSeconds() - start < 60);
});

Deno.test("startTimer() calls back once after its span, and not when it is cancelled", async () => {
  const calls: string[] = [];
  const cancel = platform.startTimer(0, () => calls.push("cancelled"));
  const called = new Promise<void>((resolve) => {
    platform.startTimer(0.01, () => resolve(void calls.push("called")));
  });
  cancel();
  await called;
  cancel();
  assertEquals(calls, ["called"]);
});

Deno.test("nextTurn() lets one caller go on in each turn, in their order", async () => {
  const order: string[] = [];
  const work = async (name: string): Promise<void> => {
    await platform.nextTurn();
    order.push(name);
    // What another turn brings comes before the next caller.
    await new Promise((resolve) => setTimeout(resolve, 0));
    order.push(`after ${name}`);
  };
  await Promise.all([work("a"), work("b")]);
  assertEquals(order, ["a", "after a", "b", "after b"]);
});

Deno.test("deadline() aborts after its span", async () => {
  const limit = platform.deadline(0.02);
  assertEquals([limit.signal.aborted, limit.expired()], [false, false]);
  await new Promise((resolve) => limit.signal.addEventListener("abort", resolve));
  assertEquals([limit.signal.aborted, limit.expired()], [true, true]);
});

Deno.test("deadline() aborts with its parent, but has not expired then", () => {
  const parent = new AbortController();
  const limit = platform.deadline(10, parent.signal);
  parent.abort();
  assertEquals([limit.signal.aborted, limit.expired()], [true, false]);
  const late = platform.deadline(10, parent.signal);
  assertEquals([late.signal.aborted, late.expired()], [true, false]);
});

Deno.test("deadline() frees its timer when it is cancelled", async () => {
  const limit = platform.deadline(0.02);
  limit.cancel();
  await platform.sleep(0.05);
  assertEquals([limit.signal.aborted, limit.expired()], [false, false]);
});

Deno.test("writeTextFile() puts a whole file in the place of another, and keeps its mode", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/a b.json`;
    await Deno.writeTextFile(path, "before", { mode: 0o644 });
    const before = await Deno.open(path);
    await platform.writeTextFile(path, "after");
    assertEquals(await platform.readTextFile(path), "after");
    // Who reads the one before still has it whole.
    assertEquals(await new Response(before.readable).text(), "before");
    if (Deno.build.os !== "windows") {
      assertEquals((await platform.fileMode(path) ?? 0) & 0o777, 0o644);
      await platform.writeTextFile(`${folder}/new`, "its owner's alone");
      assertEquals((await platform.fileMode(`${folder}/new`) ?? 0) & 0o777, 0o600);
      await Deno.remove(`${folder}/new`);
      await platform.writeTextFile(`${folder}/new`, "everybody's", 0o644);
      assertEquals((await platform.fileMode(`${folder}/new`) ?? 0) & 0o777, 0o644);
      await Deno.remove(`${folder}/new`);
    }
    await Deno.mkdir(`${folder}/taken/inside`, { recursive: true });
    await assertRejects(() => platform.writeTextFile(`${folder}/taken`, "x"));
    await assertRejects(
      () => platform.writeTextFile(`${folder}/none/file`, "x"),
      Deno.errors.NotFound,
    );
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    assertEquals(names, ["a b.json", "taken"], "nothing is left over");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("writeTextFile() writes the target of a symbolic link, and leaves the link", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/link`;
  try {
    await Deno.mkdir(`${folder}/data`);
    await Deno.writeTextFile(`${folder}/data/file`, "before");
    await Deno.chmod(`${folder}/data/file`, 0o640);
    await Deno.symlink("data/second", path);
    await Deno.symlink("file", `${folder}/data/second`);
    await platform.writeTextFile(path, "after");
    assertEquals(await Deno.readTextFile(`${folder}/data/file`), "after");
    assertEquals((await platform.fileMode(path) ?? 0) & 0o777, 0o640);
    // Dangling: the target is made.
    await Deno.remove(`${folder}/data/file`);
    await platform.writeTextFile(path, "again");
    assertEquals(await Deno.readTextFile(`${folder}/data/file`), "again");
    for (const link of [path, `${folder}/data/second`]) {
      assert((await Deno.lstat(link)).isSymlink, link);
    }
    assertEquals([...Deno.readDirSync(`${folder}/data`)].length, 2, "nothing is left over");
    // Loops, dangling links, and links to devices.
    await Deno.symlink("circle", `${folder}/circle`);
    await Deno.symlink("/nowhere/file", `${folder}/nowhere`);
    await Deno.symlink("/dev/null", `${folder}/null`);
    for (const name of ["circle", "nowhere", "null"]) {
      await assertRejects(() => platform.writeTextFile(`${folder}/${name}`, "x"), Error, "", name);
      assert((await Deno.lstat(`${folder}/${name}`)).isSymlink, name);
    }
    assert((await Deno.stat("/dev/null")).isCharDevice);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("writeTextFile() of many at once leaves the text of one", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const texts = Array.from({ length: 20 }, (_, i) => `${i}`.repeat(50_000));
    await Promise.all(texts.map((text) => platform.writeTextFile(`${folder}/f`, text)));
    assert(texts.includes(await Deno.readTextFile(`${folder}/f`)));
    assertEquals([...Deno.readDirSync(folder)].length, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("acceptsConnections() tells open ports from closed ones", async () => {
  const server = startRawServer(() => {});
  assertEquals(await platform.acceptsConnections("127.0.0.1", server.port, 1), true);
  await server.close();
  assertEquals(await platform.acceptsConnections("127.0.0.1", server.port, 1), false);
});

Deno.test("createHttpClient() does not follow redirects", async () => {
  const server = startRawServer(async ({ send }) => {
    await send(formatResponse("", { status: 302, headers: { location: "/elsewhere" } }));
  });
  const folder = await Deno.makeTempDir();
  const path = `${folder}/socket`;
  const socket = startRawServer(async ({ send }) => {
    await send(formatResponse("", { status: 302, headers: { location: "/elsewhere" } }));
  }, { unixPath: path });
  for (const transport of [{}, { insecure: true }, { unixSocketPath: path }]) {
    const client = await platform.createHttpClient(transport);
    const { signal } = new AbortController();
    const origin = transport.unixSocketPath === undefined ? server.origin : "http://localhost";
    const response = await client.get({ url: `${origin}/metrics`, headers: {}, signal });
    assertEquals([response.status, response.header("location")], [302, "/elsewhere"]);
    assertEquals(response.header("x-absent"), null);
    await response.body?.cancel();
    client.close();
  }
  assertEquals([server.requests.length, socket.requests.length], [2, 1]);
  await server.close();
  await socket.close();
  await Deno.remove(folder, { recursive: true });
});

/** A connection whose streams are a program's, as those of `ssh -W`. */
function openTunnel(port: number): RunningProgram {
  const [input, output] = [new TransformStream(), new TransformStream()];
  const connection = Deno.connect({ hostname: "127.0.0.1", port });
  const exitCode = connection.then((open) =>
    Promise.allSettled([
      input.readable.pipeTo(open.writable),
      open.readable.pipeTo(output.writable),
    ]).then(() => 0), () => 255);
  const stderr = ReadableStream.from((async function* () {
    if (await exitCode === 255) yield new TextEncoder().encode("Connection refused\n");
  })());
  connection.catch(() => output.writable.close());
  const end = (): void => void input.writable.abort().catch(() => {});
  return { stdin: input.writable, stdout: output.readable, stderr, exitCode, end };
}

Deno.test("createHttpClient() asks once more if a connection that it kept was closed meanwhile", async () => {
  for (const transport of [{ insecure: true }, { openTunnel }]) {
    let answers = ["one", "two", null, "three", null, null];
    const server = startRawServer(async ({ send, close }) => {
      const [answer = null, ...rest] = answers;
      answers = rest;
      if (answer === null) close();
      else await send(formatResponse(answer));
    });
    const get = async ({ get }: HttpClient): Promise<string> => {
      const { signal } = new AbortController();
      const { body } = await get({ url: server.origin, headers: {}, signal });
      const text = await new Response(body).text();
      // Until then it counts the connection as busy.
      await platform.nextTurn();
      return text;
    };
    const count = () => [server.requests.length, server.connectionCount()];
    const client = await platform.createHttpClient(transport);
    assertEquals([await get(client), await get(client), count()], ["one", "two", [2, 1]]);
    assertEquals([await get(client), count()], ["three", [4, 2]]);
    await assertRejects(() => get(client), Error);
    assertEquals(count(), [6, 3], "once more, not twice");
    await assertRejects(() => get(client), Error);
    assertEquals(count(), [7, 4], "a new connection fails for all");
    answers = ["four"];
    assertEquals([await get(client), count()], ["four", [8, 5]]);
    await server.close();
    // One that is on its way when the port closes is reset.
    await waitFor(async () =>
      /refused/i.test((await assertRejects(() => get(client), Error)).message)
    );
    client.close();
  }
});

Deno.test({
  name:
    "createHttpClient() rejects a pair that cannot be used, also where servers' are not checked",
  ...needsProgram("openssl"),
  fn: async () => {
    const { client, server, folder } = await createTestCertificates();
    const pair = { clientCertificate: client.cert, clientKey: client.key };
    const breakPem = (pem: string) => pem.replace(/^[\w+/=]+$/gm, "AAAA");
    const broken = [
      { ...pair, clientCertificate: breakPem(client.cert) },
      { ...pair, clientKey: breakPem(client.key) },
    ];
    for (const insecure of [false, true]) {
      const mixed = { ...pair, clientKey: server.key, insecure };
      await assertRejects(() => platform.createHttpClient(mixed), Error, "does not belong");
      for (const one of broken) {
        await assertRejects(() => platform.createHttpClient({ ...one, insecure }), Error);
      }
      (await platform.createHttpClient({ ...pair, insecure })).close();
    }
    await Deno.remove(folder, { recursive: true });
  },
});

Deno.test({
  name: "createHttpClient() reaches insecure servers with the program's own permissions",
  ...needsProgram("openssl"),
  fn: async () => {
    const { server: tls, folder } = await createTestCertificates();
    const server = startRawServer(({ send }) => send(formatResponse("hello")), { tls });
    const code = `
      const client = await platform.createHttpClient({ insecure: true });
      const signal = AbortSignal.timeout(30_000);
      const { body } = await client.get({ url: "${server.origin}", headers: {}, signal });
      console.log(await new Response(body).text());
      platform.exit(0);`;
    const { stdout, stderr } = await runChild(code, { permissions: PERMISSIONS });
    assertEquals(stdout, "hello\n", stderr);
    await server.close();
    await Deno.remove(folder, { recursive: true });
  },
});

Deno.test("createHttpClient() uses the proxy given, and none of the environment", async () => {
  const proxy = startRawServer(async ({ send }) => {
    await send(formatResponse("proxied", { headers: { connection: "close" } }));
  });
  const target = startRawServer(async ({ send }) => {
    await send(formatResponse("direct", { headers: { connection: "close" } }));
  });
  const code = `
    const proxy = {
      ...{ url: "${proxy.origin}", name: "", variable: "" },
      basicAuth: { username: "me", password: "s3cr3t" },
    };
    for (const [transport, url] of [
      [{}, "http://127.0.0.1:${target.port}/"],
      [{}, "http://remote.invalid/"],
      [{ proxy }, "http://remote.invalid/"],
    ]) {
      const client = await platform.createHttpClient(transport);
      const signal = AbortSignal.timeout(30_000);
      const text = await client.get({ url, headers: {}, signal })
        .then((response) => new Response(response.body).text(), () => "unreachable");
      console.log(text);
    }
    console.log(platform.environment("http_proxy"), platform.environment("NO_PROXY"));
    platform.exit(0);`;
  const proxies = { http_proxy: proxy.origin, ALL_PROXY: proxy.origin, HTTP_PROXY: proxy.origin };
  const env = { ...proxies, NO_PROXY: "excluded.invalid", no_proxy: "" };
  for (const permissions of [["-A"], PERMISSIONS]) {
    const { stdout, stderr } = await runChild(code, { env, permissions });
    assertEquals(
      stdout.trim().split("\n"),
      ["direct", "unreachable", "proxied", `${proxy.origin} excluded.invalid`],
      stderr,
    );
  }
  assertMatch(proxy.requests[0], /^proxy-authorization: Basic bWU6czNjcjN0\r$/im);
  await proxy.close();
  await target.close();
});

Deno.test("createDenoPlatform() does without permission for the environment", async () => {
  const code = `console.log(String(platform.environment("HOME")));`;
  const { stdout, stderr } = await runChild(code, { permissions: ["--no-prompt", "--allow-read"] });
  assertEquals(stdout, "undefined\n", stderr);
});

Deno.test("writeStdout() writes all, and isBrokenPipe() tells that the reader has gone", async () => {
  const whole = await runChild(`
    await platform.stdio.writeStdout(new Uint8Array(3_000_000).fill(97));
    platform.exit(0);`);
  assertEquals(whole.stdout.length, 3_000_000);

  const child = startChild(`
    const block = new Uint8Array(100_000).fill(97);
    try {
      for (;;) await platform.stdio.writeStdout(block);
    } catch (error) {
      platform.stdio.writeStderr(String(platform.isBrokenPipe(error)));
      platform.exit(platform.isBrokenPipe(new Error("other")) ? 1 : 7);
    }`);
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  assertEquals(await new Response(child.stderr).text(), "true");
  assertEquals((await child.status).code, 7);
});

Deno.test("readStdin() gives what is typed, then null at the end", async () => {
  const child = startChild(
    `
    for (;;) {
      const bytes = await platform.stdio.readStdin();
      console.log(bytes === null ? "end" : new TextDecoder().decode(bytes));
      if (bytes === null) platform.exit(0);
    }`,
    { stdin: "piped" },
  );
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("q"));
  await writer.close();
  const { stdout } = await child.output();
  assertEquals(new TextDecoder().decode(stdout), "q\nend\n");
});

Deno.test("closeStdin() ends a read that is waiting", async () => {
  const child = startChild(
    `
    setTimeout(() => platform.stdio.closeStdin(), 50);
    console.log(await platform.stdio.readStdin(), await platform.stdio.readStdin());
    platform.exit(3);`,
    { stdin: "piped" },
  );
  const [stdout, status] = await Promise.all([new Response(child.stdout).text(), child.status]);
  await child.stderr.cancel();
  await child.stdin.close().catch(() => {});
  assertEquals([stdout, status.code], ["null null\n", 3]);
});

Deno.test("stdio knows that a pipe is no terminal", async () => {
  const { stdout } = await runChild(`
    const { stdinIsTerminal, stdoutIsTerminal, stderrIsTerminal } = platform.stdio;
    platform.stdio.setRawInput(true);
    platform.stdio.writeStdoutSync(new TextEncoder().encode(
      JSON.stringify([stdinIsTerminal, stdoutIsTerminal, stderrIsTerminal])));`);
  assertEquals(stdout, "[false,false,false]");
});

Deno.test({
  name: "onSignal() calls the handler until it is stopped",
  ignore: Deno.build.os === "windows", // Windows has no such signals.
  fn: async () => {
    const { signal, stdout } = await runChild(`
      let count = 0;
      let receive;
      const received = new Promise((resolve) => receive = resolve);
      const stop = platform.onSignal("SIGTERM", () => {
        console.log(++count);
        receive();
      });
      Deno.kill(Deno.pid, "SIGTERM");
      await received;
      stop();
      Deno.kill(Deno.pid, "SIGTERM");
      await platform.sleep(30);`);
    assertEquals([stdout, signal], ["1\n", "SIGTERM"]);
  },
});

for (
  const [what, code] of [
    ["an error", `setTimeout(() => { throw new Error("boom"); }, 0);`],
    ["a rejection", `Promise.reject(new Error("boom"));`],
  ]
) {
  Deno.test(`onFatalError() hears of ${what} that nobody caught`, async () => {
    const { exitCode, stderr } = await runChild(`
      platform.onFatalError((error) => {
        platform.stdio.writeStderr("heard " + error.message);
        platform.exit(70);
      });
      ${code}
      await platform.sleep(30);`);
    assertEquals(exitCode, 70);
    assertMatch(stderr, /heard boom/);
  });
}

const SHELL_CALL = { name: "sh", timeout: 10, maxOutputBytes: 100_000 };

function runShell(script: string, options: Partial<ProgramCall> = {}): Promise<ProgramOutcome> {
  return platform.runProgram({ ...SHELL_CALL, ...options, arguments: ["-c", script] });
}

Deno.test("runProgram() gives what a program printed and how it ended", async () => {
  assertEquals(await runShell("printf 'a\\303\\274b'; printf e >&2; exit 18"), {
    kind: "exited",
    code: 18,
    stdout: "aüb",
    stderr: "e",
  });
  assertEquals(await platform.runProgram({ ...SHELL_CALL, name: "no-such", arguments: [] }), {
    kind: "missing",
  });
});

Deno.test("runProgram() writes the input, and does not wait until it is read", async () => {
  const input = "a line\n".repeat(100_000);
  const counted = await runShell("wc -c", { input });
  assertEquals(counted.kind === "exited" && counted.stdout.trim(), String(input.length));
  assertEquals(await runShell("exit 3", { input }), {
    ...{ kind: "exited", code: 3, stdout: "", stderr: "" },
  });
  assertEquals(await runShell("exec sleep 60", { input, timeout: 0.1 }), { kind: "timeout" });
});

Deno.test("runProgram() passes no variable on but the search path of libraries, if permitted", async () => {
  for (
    const [permissions, ...variables] of [
      ["--allow-run=env", "LC_ALL=C"],
      ["--allow-run=env --allow-env", "LC_ALL=C"],
      ["-A", "LC_ALL=C", "LD_LIBRARY_PATH=/cuda"],
    ]
  ) {
    const child = await runChild(
      `console.log((await platform.runProgram({
         name: "env", arguments: [], timeout: 10, maxOutputBytes: 1000 })).stdout);`,
      {
        env: { LD_LIBRARY_PATH: "/cuda", LD_OTHER: "y", TOKEN: "x" },
        permissions: permissions.split(" "),
      },
    );
    assertEquals(child.stdout.trim().split("\n").sort(), variables, permissions);
  }
});

Deno.test("runProgram() and startProgram() pass all variables on, without those of the loader", async () => {
  const env = {
    ...{ LD_LIBRARY_PATH: "/cuda", TOKEN: "x", HTTPS_PROXY: "http://proxy:1" },
    DYLD_INSERT_LIBRARIES: "y",
  };
  const started = `
    const running = platform.startProgram({ name: "env", arguments: [], variables: "all" });
    console.log(await new Response(running.stdout).text());`;
  const run = `
    console.log((await platform.runProgram({
      name: "env", arguments: [], variables: "all", timeout: 10, maxOutputBytes: 100_000 })).stdout);`;
  for (const code of [started, run]) {
    const permissions = ["--allow-run=env", "--allow-env=HTTPS_PROXY"];
    const { stdout } = await runChild(code, { env, permissions });
    const lines = stdout.trim().split("\n");
    const get = (name: string) => lines.find((line) => line.startsWith(`${name}=`));
    assertEquals(["TOKEN", "HTTPS_PROXY"].map(get), ["TOKEN=x", "HTTPS_PROXY=http://proxy:1"]);
    assertEquals(get("LD_LIBRARY_PATH"), "LD_LIBRARY_PATH=");
    assertEquals(get("DYLD_INSERT_LIBRARIES"), "DYLD_INSERT_LIBRARIES=");
  }
});

Deno.test("runProgram() says so where it may not", async () => {
  const child = await runChild(
    `console.log((await platform.runProgram({
       name: "env", arguments: [], timeout: 10, maxOutputBytes: 1000 })).kind);`,
    { permissions: ["--no-prompt"] },
  );
  assertEquals(child.stdout, "refused\n");
});

Deno.test("systemMemory() tells the memory of the machine, with the program's own permissions", async () => {
  const child = await runChild(
    `const { totalBytes, availableBytes } = platform.systemMemory();
     console.log(totalBytes > 2 ** 20, availableBytes > 0 && availableBytes <= totalBytes);`,
    { permissions: PERMISSIONS },
  );
  assertEquals([child.stdout, child.stderr], ["true true\n", ""]);
});

Deno.test("processorTimes() and loadAverage() tell the load, with the program's own permissions", async () => {
  const source = `const { busy, idle, count } = await platform.processorTimes();
     console.log(busy > 0, idle >= 0, count >= 1, platform.loadAverage() >= 0);`;
  const child = await runChild(source, { permissions: PERMISSIONS });
  assertEquals([child.stdout, child.stderr], ["true true true true\n", ""]);
  const asking = "console.log(await platform.processorTimes(), platform.loadAverage());";
  assertEquals((await runChild(asking, { permissions: ["--no-prompt"] })).stdout, "null null\n");
});

Deno.test("systemMemory() is null where it may not be asked", async () => {
  const child = await runChild("console.log(platform.systemMemory());", {
    permissions: ["--no-prompt"],
  });
  assertEquals(child.stdout, "null\n");
});

Deno.test("runProgram() kills what hangs, floods or is given up", async () => {
  const start = platform.monotonicSeconds();
  // The grandchild keeps the streams open.
  assertEquals(await runShell("sleep 60 & wait", { timeout: 0.1 }), { kind: "timeout" });
  assertEquals(await runShell("yes"), { kind: "flooded" });
  const controller = new AbortController();
  const running = runShell("sleep 60", { signal: controller.signal });
  controller.abort();
  assertEquals(await running, { kind: "aborted" });
  assertEquals(await runShell("sleep 60", { signal: controller.signal }), { kind: "aborted" });
  // Less than any of them sleeps.
  assert(platform.monotonicSeconds() - start < 50);
});
