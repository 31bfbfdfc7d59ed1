import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Platform, ProgramCall, ProgramOutcome } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { createProcessLister, type Listing } from "../lib/process_lister.ts";
import { needsProgram } from "./programs.ts";

const SS = 'LISTEN 0 5 0.0.0.0:31337 0.0.0.0:* users:(("python3",pid=7,fd=3))\n';
const LSOF = "p7\nn*:31337\n";
const PS = "7 1 7 00:10 vllm serve m --port 31337\n";

const print = (stdout: string, code = 0): ProgramOutcome => ({
  kind: "exited",
  code,
  stdout,
  stderr: "",
});

/** A machine on which the programs end so, and what was run there. */
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
): Promise<Listing> {
  const lister = createProcessLister(createMachine(outcomes, operatingSystem).platform);
  if (lister === null) throw new Error("There is no lister");
  return await lister();
}

const describe = ({ ports }: Listing): unknown =>
  ports.map(({ port, serverName }) => [port, serverName]);

Deno.test("createProcessLister() finds servers by ss and ps on Linux, by lsof and ps on macOS", async () => {
  const linux = await list({ ss: print(SS), ps: print(PS) });
  assertEquals([describe(linux), linux.problems], [[[31337, "vLLM"]], []]);
  const mac = await list({ lsof: print(LSOF, 1), ps: print(PS), ss: print("") }, "darwin");
  assertEquals([describe(mac), mac.problems], [[[31337, "vLLM"]], []]);
  assertEquals(createProcessLister(createMachine({}, "windows").platform), null);
});

Deno.test("createProcessLister() goes on without what is missing, and says so", async () => {
  const withoutSs = await list({ lsof: print(LSOF), ps: print(PS) });
  assertEquals([describe(withoutSs), withoutSs.problems], [[[31337, "vLLM"]], []]);

  const withoutPs = await list({ ss: print(SS) });
  assertEquals(describe(withoutPs), [[31337, null]]);
  assertEquals(withoutPs.problems, ["processes are not known: ps is not installed"]);

  const failures: Readonly<Record<string, ProgramOutcome>> = {
    ss: { kind: "refused", message: "\x1b[2J" },
    lsof: print("", 2),
    ps: { kind: "timeout" },
  };
  const { ports, problems } = await list(failures);
  assertEquals(ports, []);
  assertEquals(problems.length, 2);
  assertMatch(problems[0], /ss may not be run: .*--allow-run=ss, lsof failed with code 2$/);
  assertMatch(problems[1], /ps took longer than/);
});

Deno.test("createProcessLister() runs each program once for all who ask together", async () => {
  const { platform, calls } = createMachine({ ss: print(SS), ps: print(PS) });
  const lister = createProcessLister(platform);
  await Promise.all([lister?.(), lister?.(), lister?.()]);
  assertEquals(calls.map(({ name }) => name).toSorted(), ["ps", "ss"]);
  for (const { timeout, maxOutputBytes } of calls) {
    assert(timeout <= 5 && maxOutputBytes <= 2 ** 24);
  }
});

Deno.test("createProcessLister() reads this machine", needsProgram("ps"), async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const listing = await createProcessLister(createDenoPlatform())?.();
  listener.close();
  assertEquals(listing?.problems, []);
  // This test is no model server.
  assertEquals(listing?.ports.filter(({ port }) => port === listener.addr.port), []);
});
