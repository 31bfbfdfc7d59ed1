import { assert, assertEquals, assertMatch } from "@std/assert";
import denoConfig from "../deno.json" with { type: "json" };
import {
  CONTROL_CHARACTER,
  createEnvironment,
  findFreePort,
  findFreePorts,
  listCommand,
  type Outcome,
  runProgram,
  TIME_LIMIT,
} from "./program_runs.ts";

/** Arguments, the exit code, and what standard error must match; standard output stays empty. */
const REFUSED: readonly (readonly [args: readonly string[], code: number, message: RegExp])[] = [
  [["--intervall", "2"], 2, /"--intervall": did you mean --interval\?/],
  [["--onse"], 2, /"--onse": did you mean --once\?/],
  [["--bogus"], 2, /unknown option "--bogus"/],
  [["-x"], 2, /unknown option "-x"/],
  [["ftp://gpu1"], 2, /"ftp:\/\/gpu1" .*http/],
  [["http://gpu1:99999"], 2, /"http:\/\/gpu1:99999" .*65535/],
  [["--url", ""], 2, /--url/],
  [["gpu1/metrics?x=1"], 2, /"gpu1\/metrics/],
  [["--interval", "0", "gpu1"], 2, /"0" .*--once/],
  [["--interval", "-1", "gpu1"], 2, /"-1" .*0\.5 to 3600/],
  [["--interval", "0.1", "gpu1"], 2, /"0\.1" .*0\.5 to 3600/],
  [["--interval", "99999", "gpu1"], 2, /"99999" .*0\.5 to 3600/],
  [["--interval", "two", "gpu1"], 2, /"two" is not a number/],
  [["--timeout", "0", "gpu1"], 2, /"0" .*0\.1 to 120/],
  [["--output", "xml", "gpu1"], 2, /"xml" .*json/],
  [["--slo", "ttft=1", "gpu1"], 2, /--slo "ttft=1" .*did you mean "ttft=1s" or "ttft=1ms"\?/],
  [["--slo", "tftt=1s", "gpu1"], 2, /"tftt=1s" .*did you mean "ttft=1s"\?/],
  [["--rule", "queing=off", "gpu1"], 2, /--rule "queing=off" .*did you mean "queuing"\?/],
  [["--auto", "gpu1"], 2, /--auto and a URL/],
  [["--port-range", "9-1"], 2, /"9-1"/],
  [["--token", "s3cr3t", "gpu1"], 2, /"--token" .*--token-file/],
  [["gpu1", "--token-file", "/nowhere/token"], 3, /"\/nowhere\/token" does not exist/],
  [["gpu1", "--token-file", "/"], 3, /"\/" is a directory/],
  [["gpu1", "--header-file", "/dev/null"], 3, /"\/dev\/null" is empty/],
  [["https://gpu1", "--ca-file", "/nowhere/ca.pem"], 3, /"\/nowhere\/ca\.pem" does not exist/],
  [["\x1b[2Jgpu1"], 2, /"\\x1b\[2Jgpu1"/],
  [["--\x1b[2J"], 2, /unknown option/],
];

/** Runs that may go on at the same time. */
const PARALLEL_RUNS = 4;

/** Runs each list of arguments, a few at a time. */
async function runEach(lists: readonly (readonly string[])[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (let start = 0; start < lists.length; start += PARALLEL_RUNS) {
    const some = lists.slice(start, start + PARALLEL_RUNS);
    outcomes.push(...await Promise.all(some.map((args) => runProgram(args))));
  }
  return outcomes;
}

Deno.test("a wrong command line is refused in one sentence with the value in quotes", async () => {
  const outcomes = await runEach(REFUSED.map(([args]) => args));
  for (const [index, [args, wantedCode, wanted]] of REFUSED.entries()) {
    const { code, stdout, stderr } = outcomes[index];
    assertEquals([args, code, stdout], [args, wantedCode, ""]);
    assertMatch(stderr, wanted);
    const [first, ...rest] = stderr.split("\n");
    assertMatch(first, /^vllm-htop: .*[^.]$/);
    assertEquals(rest, wantedCode === 2 ? ["Try 'vllm-htop --help'.", ""] : [""]);
    assert(!CONTROL_CHARACTER.test(stderr), JSON.stringify(stderr));
    assert(!stderr.includes("s3cr3t"), stderr);
  }
});

Deno.test("the exit code tells what is wrong though no message can be written", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  const { code } = await runProgram([], {
    command: ["sh", "-c", 'exec "$@" 2> /dev/full', "sh", ...listCommand("--bogus")],
  });
  assertEquals(code, 2);
});

Deno.test("a wrong variable is refused by its name", async () => {
  const { code, stdout, stderr } = await runProgram(["gpu1"], {
    environment: { VLLM_HTOP_INTERVAL: "soon" },
  });
  assertEquals([code, stdout], [2, ""]);
  assertMatch(stderr, /^vllm-htop: VLLM_HTOP_INTERVAL "soon" is not a number of seconds\n/);
});

Deno.test("--help and --version print to standard output, whatever else is given", async () => {
  const outcomes = await runEach([["--help"], ["-h", "--bogus"], ["--version"], ["-V", "gpu1"]]);
  for (const { code, stderr } of outcomes) assertEquals([code, stderr], [0, ""]);
  const [help, sameHelp, version, sameVersion] = outcomes.map(({ stdout }) => stdout);
  assertMatch(help, /^Usage: vllm-htop .*\n\n.*\n\nExamples:\n/);
  assert(help.split("\n").every((line) => line.length <= 80), "help fits 80 columns");
  assertEquals(sameHelp, help);
  assertEquals([version, sameVersion], Array(2).fill(`vllm-htop ${denoConfig.version}\n`));
});

Deno.test("deno task start says where it looked and names the demo, without a terminal", async () => {
  const first = findFreePorts(2);
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["task", "--quiet", "start", "--port-range", `${first}-${first + 1}`],
      ...["--once", "--interval", "0", "--timeout", "0.5"],
    ],
    cwd: new URL("../", import.meta.url),
    env: createEnvironment(),
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), TIME_LIMIT);
  const { code, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const [said, shown] = [stderr, stdout].map((bytes) => new TextDecoder().decode(bytes));
  assertEquals(
    said,
    `vllm-htop: no model server answers on localhost, ports ${first} to ${first + 1}; ` +
      "give one with --url, or try --demo\n",
  );
  assertEquals([code, shown], [1, ""]);
});

Deno.test("a scan of another host or range does not fall back to this machine's server", async () => {
  const range = ["--port-range", `${findFreePort()}`];
  const { code, stdout, stderr } = await runProgram([...range, "--once", "--interval", "0"]);
  assertEquals([code, stdout], [1, ""]);
  assertMatch(stderr, /no model server answers on localhost, ports/);
});
