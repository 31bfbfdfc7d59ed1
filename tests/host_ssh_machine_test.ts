import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  createSshMachine,
  parseLoadAverage,
  parseProcessorTimes,
  parseSystemMemory,
} from "../lib/host_ssh_machine.ts";
import { startSshSession } from "../lib/host_ssh_session.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";

/** `cat /proc/loadavg /proc/meminfo /proc/stat`, cut. */
const LOAD = `0.42 1.11 1.92 3/159 23320
MemTotal:       24684084 kB
MemFree:        20000000 kB
MemAvailable:   22542072 kB
cpu  100 20 30 4000 50 6 7 8 0 0
cpu0 50 10 15 2000 25 3 4 4 0 0
cpu1 50 10 15 2000 25 3 3 4 0 0
intr 1 2 3
`;

Deno.test("parseProcessorTimes() counts waiting for disks as idle, and time that was stolen as busy", () => {
  assertEquals(parseProcessorTimes(LOAD), { busy: 171, idle: 4050, count: 2 });
  assertEquals(parseProcessorTimes("cpu0 1 2 3 4\\n"), null);
  assertEquals(parseProcessorTimes(""), null);
});

Deno.test("parseSystemMemory() and parseLoadAverage() take what is there, and nothing else", () => {
  const memory = { totalBytes: 24_684_084 * 1024, availableBytes: 22_542_072 * 1024 };
  assertEquals(parseSystemMemory(LOAD), memory);
  assertEquals(parseSystemMemory("MemTotal:       24684084 kB\n"), null);
  assertEquals(parseLoadAverage(LOAD), 0.42);
  assertEquals(parseLoadAverage("cat: /proc/loadavg: No such file or directory\n"), null);
});

Deno.test({
  name: "createSshMachine() asks a shell for what the platform tells of this machine",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    // What is read stays new on a machine that is busy.
    const platform = { ...createDenoPlatform(), monotonicSeconds: () => 0 };
    const program = platform.startProgram({ name: "sh", arguments: ["-s"], variables: ["PATH"] });
    if ("kind" in program) throw new Error(program.kind);
    const session = startSshSession(platform, program, "nonce");
    const commands: string[] = [];
    const machine = createSshMachine(platform, (call) => {
      commands.push(call.command);
      return session.call(call);
    }, () => "Linux");
    assertEquals(machine.operatingSystem, "linux");
    const [processors, memory, load] = await Promise.all([
      machine.processorTimes(),
      machine.systemMemory(),
      machine.loadAverage(),
    ]);
    assertEquals(commands.length, 1, "one program reads all three");
    assertEquals(processors?.count, (await platform.processorTimes())?.count);
    assertEquals(memory?.totalBytes, Deno.systemMemoryInfo().total);
    assert(load !== null && load >= 0);
    const path = `/proc/${Deno.pid}/cmdline`;
    const name = Deno.makeTempFileSync({ prefix: "it's a $HOME " });
    Deno.writeTextFileSync(name, " a\\b\nlast");
    assertEquals(await machine.readTextFile(name), " a\\b\nlast\n");
    Deno.removeSync(name);
    await assertRejects(() => machine.readTextFile(`${path}-not-there`));
    session.end();
    await session.ended;
    assertEquals(await machine.loadAverage(), load, "of half a second ago");
    assertEquals(
      await machine.runProgram({ name: "ps", arguments: [], timeout: 1, maxOutputBytes: 1 }),
      { kind: "aborted" },
    );
  },
});
