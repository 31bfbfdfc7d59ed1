import { assert, assertEquals } from "@std/assert";
import { listAncestors, PS_ARGUMENTS, readProcessTable } from "../lib/process_table.ts";
import { needsProgram } from "./programs.ts";

// Recorded with procps-ng 4.0.2, and shortened; titles as vLLM 0.11 gives them to its processes.
const LINUX = `
      1       0       0  3-02:01:00 /sbin/init
      2       0       0  3-02:01:00 [kthreadd]
   4711       1    4711       10:07 /usr/bin/python3 /usr/local/bin/vllm serve Qwen/Qwen3-8B --port 31337 --api-key s3cr3t -tp 2
   4720    4711    4711       09:58 VLLM::EngineCore_DP0
   4731    4720    4711    01:09:58 VLLM::Worker_TP0
   4800       1    4800           - [python3] <defunct>
`;

// The shape of macOS' ps(1): the same columns, other widths.
const MACOS = `
    1     0     1 02-11:10:31 /sbin/launchd
  612     1   612    00:03 /opt/homebrew/bin/ollama serve
`;

Deno.test("readProcessTable() reads what procps prints", () => {
  const table = readProcessTable(LINUX);
  assertEquals([...table.keys()], [1, 2, 4711, 4720, 4731, 4800]);
  assertEquals(table.get(4711), {
    pid: 4711,
    parentPid: 1,
    groupId: 4711,
    startedSecondsAgo: 607,
    commandLine:
      "/usr/bin/python3 /usr/local/bin/vllm serve Qwen/Qwen3-8B --port 31337 --api-key *** -tp 2",
    arguments: [
      ...["/usr/bin/python3", "/usr/local/bin/vllm", "serve", "Qwen/Qwen3-8B"],
      ...["--port", "31337", "--api-key", "***", "-tp", "2"],
    ],
  });
  assertEquals(table.get(1)?.startedSecondsAgo, 3 * 86_400 + 2 * 3600 + 60);
  assertEquals(table.get(4731)?.startedSecondsAgo, 4198);
  assertEquals(table.get(4800)?.startedSecondsAgo, null);
});

Deno.test("readProcessTable() reads what macOS prints", () => {
  const table = readProcessTable(MACOS);
  assertEquals(table.get(612)?.arguments, ["/opt/homebrew/bin/ollama", "serve"]);
  assertEquals(table.get(1)?.startedSecondsAgo, 2 * 86_400 + 11 * 3600 + 10 * 60 + 31);
});

Deno.test("readProcessTable() makes titles safe to print and keeps them short", () => {
  const title = `\x1b]0;pwn\x07${"x".repeat(50_000)}`;
  const process = readProcessTable(`1 0 0 00:01 ${title}`).get(1);
  const shown = process?.commandLine ?? "";
  assert(shown.startsWith("\\x1b]0;pwn\\x07xxx"));
  assert(shown.length <= 4096);
});

Deno.test("readProcessTable() passes over what it cannot read", () => {
  assertEquals(readProcessTable("").size, 0);
  assertEquals(readProcessTable("error: unsupported option\n PID PPID\n1 2 x 00:01 y").size, 0);
});

Deno.test("listAncestors() goes up to the first process, and round no loop", () => {
  const list = (text: string, pid: number) =>
    listAncestors(readProcessTable(text), pid).map((process) => process.pid);
  assertEquals(list(LINUX, 4731), [4731, 4720, 4711, 1]);
  assertEquals(list(LINUX, 9), []);
  assertEquals(list("7 8 7 00:01 a\n8 7 7 00:01 b\n", 7), [7, 8]);
});

Deno.test("PS_ARGUMENTS give the table of this machine", needsProgram("ps"), async () => {
  const ps = new Deno.Command("ps", { args: [...PS_ARGUMENTS] });
  const { code, stdout } = await ps.output();
  assertEquals(code, 0);
  const own = readProcessTable(new TextDecoder().decode(stdout)).get(Deno.pid);
  assertEquals(own?.parentPid, Deno.ppid);
  assert(own?.arguments.includes("test"), own?.commandLine);
  assert((own?.startedSecondsAgo ?? Infinity) < 3600);
});
