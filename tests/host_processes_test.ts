import { assert, assertEquals, assertMatch } from "@std/assert";
import { findServerPorts } from "../lib/discovery_ports.ts";
import {
  createProcessLister,
  getLocalHost,
  listAncestors,
  LSOF_ARGUMENTS,
  parseLsofPorts,
  parseProcessTable,
  parseProcPorts,
  parseSsPorts,
  type ProcessListing,
  PS_ARGUMENTS,
  SS_ARGUMENTS,
} from "../lib/host_processes.ts";
import type { Platform, ProgramCall, ProgramOutcome } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { needsProgram } from "./programs.ts";

const SS = 'LISTEN 0 5 0.0.0.0:31337 0.0.0.0:* users:(("python3",pid=7,fd=3))\n';
const LSOF = "p7\nn*:31337\n";
const PS = "7 1 7 00:10 root vllm serve m --port 31337\n";

const print = (stdout: string, code = 0): ProgramOutcome => ({
  kind: "exited",
  code,
  stdout,
  stderr: "",
});

/** A machine with these program outcomes, and the programs run on it. */
function createMachine(
  outcomes: Readonly<Record<string, ProgramOutcome>>,
  operatingSystem = "linux",
): { readonly platform: Platform; readonly calls: ProgramCall[] } {
  const calls: ProgramCall[] = [];
  const runProgram = (call: ProgramCall): Promise<ProgramOutcome> => {
    calls.push(call);
    return Promise.resolve(outcomes[call.name] ?? { kind: "missing" });
  };
  return { platform: { ...createDenoPlatform(), operatingSystem, runProgram }, calls };
}

async function list(
  outcomes: Readonly<Record<string, ProgramOutcome>>,
  operatingSystem?: string,
): Promise<ProcessListing> {
  const lister = createProcessLister(createMachine(outcomes, operatingSystem).platform);
  if (lister === null) throw new Error("No lister on this system");
  return await lister();
}

const describe = ({ listening, processes }: ProcessListing): unknown =>
  findServerPorts(listening, processes).map(({ port, serverName }) => [port, serverName]);

Deno.test("createProcessLister() uses ss and ps on Linux, lsof and ps on macOS", async () => {
  const linux = await list({ ss: print(SS), ps: print(PS) });
  assertEquals([describe(linux), linux.problems], [[[31337, "vLLM"]], []]);
  const mac = await list({ lsof: print(LSOF, 1), ps: print(PS), ss: print("") }, "darwin");
  assertEquals([describe(mac), mac.problems], [[[31337, "vLLM"]], []]);
  assertEquals(createProcessLister(createMachine({}, "windows").platform), null);
});

Deno.test("createProcessLister() reports missing tools and works without them", async () => {
  const withoutSs = await list({ lsof: print(LSOF), ps: print(PS) });
  assertEquals([describe(withoutSs), withoutSs.problems], [[[31337, "vLLM"]], []]);

  const withoutPs = await list({ ss: print(SS) });
  assertEquals(describe(withoutPs), [[31337, null]]);
  assertEquals(withoutPs.problems, ["processes are unknown: ps is not installed"]);

  const failures: Readonly<Record<string, ProgramOutcome>> = {
    ss: { kind: "refused", message: "\x1b[2J" },
    lsof: print("", 2),
    ps: { kind: "timeout" },
  };
  const { listening, problems } = await list(failures);
  assertEquals(listening, []);
  assertEquals(problems.length, 2);
  assertMatch(problems[0], /ss may not be run: .*--allow-run=ss, lsof failed with code 2\)/);
  assertMatch(problems[1], /ps took longer than/);
});

Deno.test("createProcessLister() shares one listing among concurrent callers", async () => {
  const { platform, calls } = createMachine({ ss: print(SS), ps: print(PS) });
  const lister = createProcessLister(platform);
  await Promise.all([lister?.(), lister?.(), lister?.()]);
  assertEquals(calls.map(({ name }) => name).toSorted(), ["ps", "ss"]);
  for (const { timeout, maxOutputBytes } of calls) {
    assert(timeout <= 5 && maxOutputBytes <= 2 ** 24);
  }
});

Deno.test("createProcessLister() sees what has changed since the listing before", async () => {
  const outcomes: Record<string, ProgramOutcome> = { ss: print(SS), ps: print(PS) };
  const lister = createProcessLister(createMachine(outcomes).platform, -1);
  const look = async () => (await lister?.())?.processes.get(7);
  const before = await look();
  outcomes.ps = print("7 1 7 01:10 other vllm serve m --port 31337\n");
  const later = await look();
  assertEquals([later?.user, later?.startedSecondsAgo], ["other", 70]);
  assert(later?.arguments === before?.arguments, "parsed once");
  outcomes.ps = print("7 1 7 00:01 root sleep 9\n");
  const [{ serverName = "", commandLine = "" } = {}] = [await look()];
  assertEquals([serverName, commandLine], [null, "sleep 9"]);
});

Deno.test("createProcessLister() lists this machine", needsProgram("ps"), async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const listing = await createProcessLister(createDenoPlatform())?.();
  listener.close();
  assertEquals(listing?.problems, []);
  // This test is not a model server.
  const servers = findServerPorts(listing?.listening ?? [], listing?.processes ?? new Map());
  assertEquals(servers.filter(({ port }) => port === listener.addr.port), []);
});

// Recorded with procps-ng 4.0.2, shortened; process titles of vLLM 0.11.
const LINUX = `
      1       0       0  3-02:01:00 root /sbin/init
      2       0       0  3-02:01:00 root [kthreadd]
   4711       1    4711       10:07 root /usr/bin/python3 /usr/local/bin/vllm serve Qwen/Qwen3-8B --port 31337 --api-key s3cr3t -tp 2
   4720    4711    4711       09:58 root VLLM::EngineCore_DP0
   4731    4720    4711    01:09:58 root VLLM::Worker_TP0
   4800       1    4800           - root [python3] <defunct>
`;

// macOS ps(1): same columns, other widths.
const MACOS = `
    1     0     1 02-11:10:31 root /sbin/launchd
  612     1   612    00:03 root /opt/homebrew/bin/ollama serve
`;

Deno.test("parseProcessTable() parses procps output", () => {
  const table = parseProcessTable(LINUX);
  assertEquals([...table.keys()], [1, 2, 4711, 4720, 4731, 4800]);
  assertEquals(table.get(4711), {
    pid: 4711,
    parentPid: 1,
    groupId: 4711,
    startedSecondsAgo: 607,
    user: "root",
    commandLine:
      "/usr/bin/python3 /usr/local/bin/vllm serve Qwen/Qwen3-8B --port 31337 --api-key *** -tp 2",
    serverName: "vLLM",
    arguments: [
      ...["/usr/bin/python3", "/usr/local/bin/vllm", "serve", "Qwen/Qwen3-8B"],
      ...["--port", "31337", "--api-key", "***", "-tp", "2"],
    ],
  });
  assertEquals(table.get(1)?.startedSecondsAgo, 3 * 86_400 + 2 * 3600 + 60);
  assertEquals(table.get(4731)?.startedSecondsAgo, 4198);
  assertEquals(table.get(4800)?.startedSecondsAgo, null);
});

Deno.test("parseProcessTable() takes no kernel thread or zombie for a server", () => {
  const line = (args: string) => `    9     2     0  01:00:00 root     ${args}\n`;
  const name = (args: string) => parseProcessTable(line(args)).get(9)?.serverName;
  assertEquals(name("/usr/bin/ollama serve"), "Ollama");
  assertEquals(name("[kworker/0:1-ollama serve]"), null);
});

Deno.test("parseProcessTable() parses macOS output", () => {
  const table = parseProcessTable(MACOS);
  assertEquals(table.get(612)?.arguments, ["/opt/homebrew/bin/ollama", "serve"]);
  assertEquals(table.get(1)?.startedSecondsAgo, 2 * 86_400 + 11 * 3600 + 10 * 60 + 31);
});

Deno.test("parseProcessTable() sanitizes titles and limits their length", () => {
  const title = `\x1b]0;pwn\x07${"x".repeat(50_000)}`;
  const process = parseProcessTable(`1 0 0 00:01 root ${title}`).get(1);
  const shown = process?.commandLine ?? "";
  assert(shown.startsWith("\\x1b]0;pwn\\x07xxx"));
  assert(shown.length <= 4096);
});

Deno.test("parseProcessTable() skips lines that are not processes", () => {
  assertEquals(parseProcessTable("").size, 0);
  assertEquals(parseProcessTable("error: unsupported option\n PID PPID\n1 2 x 00:01 y").size, 0);
});

Deno.test("listAncestors() stops at the first process and at loops", () => {
  const list = (text: string, pid: number) =>
    listAncestors(parseProcessTable(text), pid).map((process) => process.pid);
  assertEquals(list(LINUX, 4731), [4731, 4720, 4711, 1]);
  assertEquals(list(LINUX, 9), []);
  assertEquals(list("7 8 7 00:01 root a\n8 7 7 00:01 root b\n", 7), [7, 8]);
});

Deno.test("PS_ARGUMENTS list the processes of this machine", needsProgram("ps"), async () => {
  const ps = new Deno.Command("ps", { args: [...PS_ARGUMENTS] });
  const { code, stdout } = await ps.output();
  assertEquals(code, 0);
  const own = parseProcessTable(new TextDecoder().decode(stdout)).get(Deno.pid);
  assertEquals(own?.parentPid, Deno.ppid);
  assert(own?.arguments.includes("test"), own?.commandLine);
  assert((own?.startedSecondsAgo ?? Infinity) < 3600);
});

// Recorded with iproute2 6.1.0 as root; no local process owns port 2024. Docker's two lines follow
// its documentation.
const SS_LISTENING = `
LISTEN 0      5        0.0.0.0:31337 0.0.0.0:* users:(("python3",pid=7894,fd=3))
LISTEN 0      128    127.0.0.1:31341 0.0.0.0:* users:(("python3",pid=7977,fd=5),("python3",pid=7895,fd=5))
LISTEN 0      128      0.0.0.0:2024  0.0.0.0:*
LISTEN 0      128            *:31339       *:* users:(("python3",pid=7977,fd=3),("python3",pid=7895,fd=3))
LISTEN 0      128        [::1]:31340    [::]:* users:(("python3",pid=7977,fd=4),("python3",pid=7895,fd=4))
LISTEN 0      4096       0.0.0.0:8080       0.0.0.0:*    users:(("docker-proxy",pid=910,fd=7))
LISTEN 0      4096          [::]:8080          [::]:*    users:(("docker-proxy",pid=917,fd=7))
LISTEN 0      4096  127.0.0.53%lo:53         0.0.0.0:*
`;

// The same machine, as the user `nobody`.
const SS_UNPRIVILEGED = `
LISTEN 0      5        0.0.0.0:31337 0.0.0.0:*
LISTEN 0      128        [::1]:31340    [::]:*
`;

// Recorded with lsof 4.95.0 on Linux; macOS also prints file descriptors.
const LSOF_LISTENING = `p7894
n*:31337
p7895
f3
n*:31339
f4
n[::1]:31340
f5
n127.0.0.1:31341
p7977
n*:31339
n[::1]:31340
n127.0.0.1:31341
`;

Deno.test("parseSsPorts() parses ports, addresses and owners", () => {
  assertEquals(parseSsPorts(SS_LISTENING), [
    { port: 53, addresses: ["127.0.0.53"], ownerPids: [] },
    { port: 2024, addresses: ["0.0.0.0"], ownerPids: [] },
    { port: 8080, addresses: ["0.0.0.0", "::"], ownerPids: [910, 917] },
    { port: 31337, addresses: ["0.0.0.0"], ownerPids: [7894] },
    { port: 31339, addresses: ["*"], ownerPids: [7977, 7895] },
    { port: 31340, addresses: ["::1"], ownerPids: [7977, 7895] },
    { port: 31341, addresses: ["127.0.0.1"], ownerPids: [7977, 7895] },
  ]);
  assertEquals(parseSsPorts(SS_UNPRIVILEGED).map(({ port, ownerPids }) => [port, ownerPids]), [
    [31337, []],
    [31340, []],
  ]);
});

Deno.test("parseLsofPorts() parses ports, addresses and owners", () => {
  const expected = parseSsPorts(SS_LISTENING).filter(({ port }) => port > 30_000)
    .map(({ port, ownerPids }) => [port, ownerPids.toSorted()]);
  const ports = parseLsofPorts(LSOF_LISTENING);
  assertEquals(ports.map(({ port, ownerPids }) => [port, ownerPids.toSorted()]), expected);
  assertEquals(ports[1].addresses, ["*"]);
  assertEquals(ports[2].addresses, ["::1"]);
});

Deno.test("parseSsPorts() and parseLsofPorts() skip malformed lines", () => {
  for (const read of [parseSsPorts, parseLsofPorts]) {
    for (
      const text of [
        "",
        "State Recv-Q Send-Q Local Address:Port Peer Address:PortProcess",
        "LISTEN 0 5",
        "LISTEN 0 5 0.0.0.0:0 *:*",
        "LISTEN 0 5 0.0.0.0:99999 *:*",
        "LISTEN 0 5 somewhere *:*",
        "ESTAB 0 0 127.0.0.1:80 127.0.0.1:81",
        "n*:80",
        "p1\nnsomewhere",
        "px\nn*:80",
      ]
    ) {
      assertEquals(read(text), [], text);
    }
  }
});

Deno.test("getLocalHost() returns a host that reaches the port", () => {
  const host = (...addresses: readonly string[]): string =>
    getLocalHost({ port: 80, addresses, ownerPids: [] });
  assertEquals(host("0.0.0.0"), "localhost");
  assertEquals(host("10.0.0.5", "127.0.0.1"), "localhost");
  assertEquals(host("::1"), "localhost");
  assertEquals(host("10.0.0.5"), "10.0.0.5");
  assertEquals(host("fd00::5"), "[fd00::5]");
  assertEquals(host("127.0.0.53"), "127.0.0.53");
});

for (
  const [program, args, read] of [
    ["ss", SS_ARGUMENTS, parseSsPorts],
    ["lsof", LSOF_ARGUMENTS, parseLsofPorts],
  ] as const
) {
  Deno.test(`${program} lists the port of this test`, needsProgram(program), async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { stdout } = await new Deno.Command(program, { args: [...args] }).output();
    const { port } = listener.addr;
    listener.close();
    const found = read(new TextDecoder().decode(stdout)).find((one) => one.port === port);
    assertEquals(found?.addresses, ["127.0.0.1"]);
    assert(found?.ownerPids.includes(Deno.pid));
  });
}

// Recorded (Linux 6.1), with a connection that is not listening.
const PROC_TCP =
  `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 55826 1
   1: 00000000:7A69 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 55827 1
   2: 0100007F:1F40 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 55828 1
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000001000000:2382 00000000000000000000000000000000:0000 0A 00000000:0
   1: 00000000000000000000000000000000:7A69 00000000000000000000000000000000:0000 0A 00000000:0
   2: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:0
`;

Deno.test("parseProcPorts() reads what listens, with the bytes of addresses in order", () => {
  assertEquals(parseProcPorts(PROC_TCP).map(({ port, addresses }) => [port, ...addresses]), [
    [80, "2001:db8::1"],
    [8000, "127.0.0.1"],
    [9090, "::1"],
    [31337, "0.0.0.0", "::"],
  ]);
  assertEquals(parseProcPorts("cat: /proc/net/tcp6: No such file or directory\n"), []);
});

Deno.test({
  name: "parseProcPorts() finds a port of this machine",
  ignore: Deno.build.os !== "linux",
  fn: () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const ports = parseProcPorts(Deno.readTextFileSync("/proc/net/tcp"));
    const found = ports.find(({ port }) => port === listener.addr.port);
    listener.close();
    assertEquals(found?.addresses, ["127.0.0.1"]);
  },
});

Deno.test("createProcessLister() reads the kernel's table where there is neither ss nor lsof", async () => {
  const there = await list({ cat: print(PROC_TCP, 1), ps: print("") });
  assertEquals(there.listening.map(({ port }) => port), [80, 8000, 9090, 31337]);
  assertEquals(there.problems, []);
  const here = await list({ cat: { kind: "refused", message: "" }, ps: print("") });
  assertEquals(here.problems.length, 1);
  assertEquals(here.problems[0].includes("cat"), false, "nobody is to permit that");
});
