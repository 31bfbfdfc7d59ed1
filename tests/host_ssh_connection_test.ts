import { assert, assertEquals } from "@std/assert";
import { createSshHost, type HostLink, MAX_LOGINS } from "../lib/host_ssh_connection.ts";
import { createGate } from "../lib/platform.ts";
import type { NotStarted, ProgramStart, RunningProgram } from "../lib/platform.ts";
import { createClock } from "./fixtures/clock.ts";

const SETTINGS = { configFile: null, acceptsNewKeys: false };

/** A program that ends as it is told, after so many seconds. */
function createProgram(
  sleep: (span: number) => Promise<void>,
  { stderr = "", stdout = "", after = 0 },
): RunningProgram {
  const over = Promise.withResolvers<void>();
  void sleep(after).then(over.resolve);
  const say = (text: string) =>
    new ReadableStream<Uint8Array>({
      start: (controller) => {
        controller.enqueue(new TextEncoder().encode(text));
        // It may have been cancelled.
        void over.promise.then(() => controller.close()).catch(() => {});
      },
    });
  return {
    stdin: new WritableStream(),
    ...{ stdout: say(stdout), stderr: say(stderr) },
    exitCode: over.promise.then(() => 255),
    end: () => over.resolve(),
  };
}

/** Programs in place of ssh: each login ends so. */
function createHosts(
  count: number,
  { login, environment = () => undefined, folders = [] }: {
    readonly login: { readonly stderr?: string; readonly stdout?: string; readonly after?: number };
    readonly environment?: (name: string) => string | undefined;
    readonly folders?: readonly string[];
  },
) {
  const clock = createClock();
  const { sleep } = clock.platform;
  const starts: { readonly at: number; readonly words: readonly string[] }[] = [];
  const startProgram = ({ arguments: words }: ProgramStart): RunningProgram | NotStarted => {
    // There is no master of the user's own.
    if (words.includes("-O")) return createProgram(sleep, {});
    starts.push({ at: clock.platform.monotonicSeconds(), words });
    return createProgram(sleep, login);
  };
  const platform = {
    ...clock.platform,
    ...{ startProgram, environment, processId: 7, operatingSystem: "linux" },
    fileMode: (path: string) => Promise.resolve(folders.includes(path) ? 0o700 : null),
  };
  const gate = createGate(MAX_LOGINS);
  const stop = new AbortController();
  const hosts = Array.from({ length: count }, (_, index) => {
    const target = { name: `gpu${index}`, destination: `gpu${index}` };
    const ssh = createSshHost({ platform, target, settings: SETTINGS, gate, index });
    const links: HostLink[] = [];
    const kept = ssh.keep(stop.signal, (link) => links.push(link));
    return { ssh, links, kept };
  });
  const end = async () => {
    stop.abort();
    await clock.runUntil(1e6);
    await Promise.all(hosts.map(({ kept }) => kept));
  };
  return { clock, starts, hosts, end };
}

Deno.test("createSshHost() logs in to at most eight hosts at once", async () => {
  const { clock, starts, end } = createHosts(20, {
    login: { stderr: "Connection refused", after: 2 },
  });
  await clock.runUntil(1);
  assertEquals(starts.length, 8);
  await clock.runUntil(2.7);
  assertEquals(starts.length, 16);
  await end();
});

Deno.test("createSshHost() tries again after ever longer pauses, and at once when asked", async () => {
  const { clock, starts, hosts: [{ ssh, links }], end } = createHosts(1, {
    login: { stderr: "ssh: connect to host gpu0 port 22: Connection refused\r\n" },
  });
  await clock.runUntil(20);
  const [first, second, third] = starts.map(({ at }) => at);
  assertEquals(first, 0);
  assert(second >= 0.8 && second <= 2.3, String(second));
  assert(third - second >= 1.6 && third - second <= 3.5, String(third - second));
  const link = links.at(-1);
  assertEquals([link?.kind, link?.kind === "down" && link.failures], ["down", starts.length]);
  const kinds = new Set(links.slice(1).map(({ kind }) => kind));
  assertEquals([...kinds], ["down"], "also while it tries again");
  const before = starts.length;
  ssh.retry();
  await clock.runUntil(20.1);
  assertEquals(starts.length, before + 1);
  await end();
});

Deno.test("createSshHost() leaves a refused key alone until the user says so", async () => {
  const { clock, starts, hosts: [{ ssh, links }], end } = createHosts(1, {
    login: { stderr: "me@gpu0: Permission denied (publickey).\r\n" },
  });
  await clock.runUntil(200);
  assertEquals(starts.length, 1);
  const link = links.at(-1);
  assert(link?.kind === "down" && link.failure.kind === "key");
  ssh.retry();
  await clock.runUntil(201);
  assertEquals(starts.length, 2);
  await end();
});

Deno.test("createSshHost() gives up a login that says nothing for 15 s", async () => {
  const { clock, hosts: [{ ssh, links }], end } = createHosts(1, { login: { after: 100 } });
  await clock.runUntil(15.5);
  const link = links.at(-1);
  assert(link?.kind === "down" && /no answer in time/.test(link.failure.message));
  assertEquals(
    await ssh.call({ command: ":", timeout: 1, maxOutputBytes: 1 }),
    { kind: "aborted" },
    "without a session",
  );
  await end();
});

Deno.test("createSshHost() lets ssh put its socket into a folder of the user's own, or shares nothing", async () => {
  const findPath = async (
    variables: Readonly<Record<string, string>>,
    folders: readonly string[],
  ): Promise<string | undefined> => {
    const { clock, starts, end } = createHosts(1, {
      login: {},
      environment: (name) => variables[name],
      folders,
    });
    await clock.runUntil(0.6);
    await end();
    return starts[0].words.find((word) => word.startsWith("ControlPath="));
  };
  const both = { XDG_RUNTIME_DIR: "/run/user/1", HOME: "/home/me" };
  const folders = ["/run/user/1", "/home/me/.ssh"];
  assertEquals(await findPath(both, folders), "ControlPath=/run/user/1/vllm-htop-7-0");
  assertEquals(await findPath(both, ["/home/me/.ssh"]), "ControlPath=/home/me/.ssh/vllm-htop-7-0");
  assertEquals(await findPath(both, []), "ControlPath=none");
  const long = `/${"x".repeat(90)}`;
  assertEquals(await findPath({ XDG_RUNTIME_DIR: long }, [long]), "ControlPath=none");
  assertEquals(await findPath({ XDG_RUNTIME_DIR: "/a %C" }, ["/a %C"]), "ControlPath=none");
});
