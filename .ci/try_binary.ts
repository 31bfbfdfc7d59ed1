/**
 * Tries the compiled program as a user would, and what it is permitted:
 * `try_binary.ts PATH PROBE`.
 *
 * Against a server on loopback that gives one small exposition, and against a
 * port that nobody listens to, and with a stand-in for nvidia-smi. The
 * permissions are read out of the program's own file, tried by a program that
 * was compiled with them (`deno task compile --probe`), and seen from outside by
 * `strace`, where it is there. Prints one line per trial and a summary in the
 * form of `deno test`; exits 1 when a trial failed.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { withStandIns } from "../tests/gpu_stand_in.ts";
import { findFreePort } from "../tests/program_runs.ts";
import { needsProgram } from "../tests/programs.ts";
import { PERMISSIONS } from "./permissions.ts";

/** How long one run of the program may take, in milliseconds. */
const TIME_LIMIT = 20_000;

/** Requests that the server says are running. */
const RUNNING = 37;

const EXPOSITION = `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} ${RUNNING}.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 0.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="tiny"} 1000.0
`;

if (Deno.args.length < 2) throw new TypeError("Cannot try a binary: give its path and the probe's");
const suffix = Deno.build.os === "windows" ? ".exe" : "";
const [path, probePath] = Deno.args.map((name) => Deno.realPathSync(name + suffix));

interface Outcome {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

interface Surroundings {
  /** First on the PATH. */
  readonly folders?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

function runBinary(...parts: readonly string[]): Promise<Outcome> {
  return runCommand(path, parts);
}

async function runCommand(
  program: string,
  parts: readonly string[],
  { folders = [], environment = {} }: Surroundings = {},
): Promise<Outcome> {
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args: [...parts],
    env: { PATH: [...folders, Deno.env.get("PATH") ?? ""].join(":"), ...environment },
    stdin: "null",
    signal: AbortSignal.timeout(TIME_LIMIT),
  }).output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout), errors: decoder.decode(stderr) };
}

/** The values of a permission flag such as `--allow-run=ps,ss`; none where it is not given. */
function listAllowed(name: string): readonly string[] {
  const prefix = `--allow-${name}=`;
  const flag = PERMISSIONS.find((flag) => flag.startsWith(prefix));
  return flag === undefined ? [] : flag.slice(prefix.length).split(",");
}

/** The permissions that stand in the compiled program, as Deno wrote them at its end. */
async function readBakedPermissions(): Promise<Record<string, unknown>> {
  const text = new TextDecoder().decode(await Deno.readFile(path));
  // Variables and hosts have no braces.
  const [, json] = /^\{"argv":[^]*?"permissions":(\{[^{}]*\})/m.exec(
    text.slice(text.lastIndexOf('{"argv":')),
  ) ?? [];
  assert(json !== undefined, "no permissions in the file");
  return JSON.parse(json);
}

/** System calls that change a file, folder or link. */
const CHANGING_CALLS =
  "creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat," +
  "symlink,symlinkat,truncate,ftruncate,chmod,fchmod,fchmodat,chown,fchown,fchownat,lchown";

/** What the program does to files and which programs it starts, seen from outside. */
async function traceBinary(...parts: readonly string[]): Promise<readonly string[]> {
  const log = await Deno.makeTempFile();
  try {
    const { code, errors } = await runCommand("strace", [
      ...["-f", "-qq", "-o", log, "-e", `trace=open,openat,execve,${CHANGING_CALLS}`],
      ...[path, ...parts],
    ]);
    assertEquals(code, 0, errors);
    return (await Deno.readTextFile(log)).trim().split("\n");
  } finally {
    await Deno.remove(log);
  }
}

/** Whether a line of strace is a file read, a device, or one of the programs that may be run. */
function isHarmless(line: string): boolean {
  const [, call, rest = ""] = /^\d+ +(\w+)\((.*)$/.exec(line) ?? [];
  if (call === undefined) return true; // The second half of a call, or the end of a thread.
  if (/ENOENT/.test(rest) && call === "execve") return true; // A name that is looked up.
  if (call === "execve") {
    const [, program = ""] = /^"([^"]*)"/.exec(rest) ?? [];
    const name = program.slice(program.lastIndexOf("/") + 1);
    return program === path || listAllowed("run").some((one) => one === program || one === name);
  }
  const isDevice = /"\/dev\/(null|tty|urandom|pts\/\d+)"/.test(rest);
  const isRead = /O_RDONLY/.test(rest) && !/O_CREAT|O_TRUNC/.test(rest);
  return (call === "openat" || call === "open") && (isRead || isDevice);
}

const straceTrials: Record<string, (port: number) => Promise<void>> = {
  "no file is written and no other program started, seen by strace": async (port) => {
    for (
      const parts of [
        ["--url", `127.0.0.1:${port}`, "--once", "--interval", "0", "--output", "json"],
        ["--demo", "vllm", "--once", "--interval", "0.5"],
        ["--help"],
      ]
    ) {
      const calls = await traceBinary(...parts);
      assert(calls.some((call) => call.includes("execve(")), "strace saw nothing");
      assertEquals(calls.filter((call) => !isHarmless(call)), []);
      // Others can write there: nothing of it may become code. The program itself may stand there.
      const isOfOthers = (call: string): boolean =>
        /"\/(var\/)?tmp\//.test(call) && !call.includes(`"${path}"`);
      assertEquals(calls.filter(isOfOthers), []);
    }
  },
};

const permissionTrials: Record<string, (port: number) => Promise<void>> = {
  "the permissions in the file are those of the list": async () => {
    const baked = await readBakedPermissions();
    const {
      allow_net,
      allow_read,
      allow_env,
      allow_run,
      allow_sys,
      allow_import,
      deny_import,
      prompt,
      ...others
    } = baked;
    assertEquals([allow_net, allow_read], [[], []], "all addresses, all files");
    assertEquals(allow_env, listAllowed("env"));
    assertEquals(allow_run ?? [], listAllowed("run"));
    assertEquals(allow_sys ?? [], listAllowed("sys"));
    // Denied to all, or allowed to hosts named when it was compiled, which leaves no denial.
    if (deny_import === null) assert(Array.isArray(allow_import) && allow_import.length > 0);
    else assertEquals(deny_import, [], "no host to import from");
    assertEquals(prompt, false);
    const granted = Object.entries(others).filter(([, value]) => value !== null && value !== false);
    assertEquals(granted, [], "neither write nor ffi nor all, and nothing else denied");
  },
  "what is not permitted is refused without a question": async () => {
    const folder = await Deno.makeTempDir();
    try {
      const { code, output, errors } = await runCommand(probePath, [folder]);
      assertEquals(errors, "");
      assertEquals(code, 0);
      const { "ask for more": asked, ...acts } = JSON.parse(output);
      assertEquals(asked, "denied");
      assert(Object.keys(acts).length > 10, output);
      assertEquals(Object.entries(acts).filter(([, outcome]) => outcome !== "NotCapable"), []);
      assertEquals([...Deno.readDirSync(folder)], []);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
};

const usageTrials: Record<string, (port: number) => Promise<void>> = {
  "--version prints the version of deno.json": async () => {
    const { default: config } = await import("../deno.json", { with: { type: "json" } });
    const { code, output } = await runBinary("--version");
    assertStringIncludes(output, config.version);
    assertEquals(code, 0);
  },
  "--help shows how to name a server": async () => {
    const { code, output } = await runBinary("--help");
    assertStringIncludes(output, "--url");
    assertEquals(code, 0);
  },
  "--once --output json gives the server's figures on one line": async (port) => {
    const { code, output, errors } = await runBinary(
      "--url",
      `127.0.0.1:${port}`,
      "--once",
      "--interval",
      "0",
      "--output",
      "json",
    );
    assertMatch(output, /^\{.*\}\n$/, errors);
    const report = JSON.parse(output);
    assertEquals(report.schema, 1);
    assertEquals(report.total.running, RUNNING);
    assertEquals(report.replicas[0].figures.kvCacheUsageRatioMax, 0.25);
    assertEquals(report.total.lastPoll.reasons.generationTokensPerSecond, "first_scrape");
    assertEquals(code, 0, errors);
  },
  "a port that nobody listens to gives exit code 1": async () => {
    const url = `127.0.0.1:${findFreePort()}`;
    const { code, output } = await runBinary("--url", url, "--once", "--interval", "0");
    assertEquals(code, 1, output);
  },
  "the package of sockets and tunnels loads, and says which permission a socket needs":
    async () => {
      const { code, output } = await runBinary("--once", "--interval", "0", "unix:/nonexistent");
      assertMatch(output, /cannot be reached without\s+permission/);
      assertEquals(code, 1);
    },
  "--demo needs no server and measures rates": async () => {
    const { code, output, errors } = await runBinary(
      ...["--demo", "vllm", "--once", "--interval", "0.5", "--output", "json"],
    );
    assertEquals(code, 0, errors);
    const { total } = JSON.parse(output);
    assertEquals(total.replicaCounts.up, 5);
    assert(total.lastPoll.generationTokensPerSecond > 0, output);
  },
  "GPUs of a stand-in for nvidia-smi are shown, and a hanging one is told": async (port) => {
    if (Deno.build.os === "windows") return;
    await withStandIns(async ({ folder, setNvidia, behave }) => {
      const once = ["--url", `127.0.0.1:${port}`, "--once", "--interval", "0", "--output", "json"];
      setNvidia({ gpus: "h100x8.tsv" });
      // The variable that GPU machines set, at which Deno is careful.
      for (const libraries of ["", "/usr/local/cuda/lib64"]) {
        const environment = { LD_LIBRARY_PATH: libraries };
        const good = await runCommand(path, once, { folders: [folder], environment });
        const { hosts: [{ gpus }], cost } = JSON.parse(good.output);
        assertEquals([gpus.length, cost.gpuCount, cost.isHint], [8, 8, true], good.errors);
      }
      behave("nvidia-smi", "hang");
      const bad = await runCommand(path, once, { folders: [folder] });
      const { hosts: [{ gpuFailure }], total } = JSON.parse(bad.output);
      assertEquals([bad.code, gpuFailure.kind, total.running], [0, "timeout", RUNNING], bad.errors);
    });
  },
  "--list-prices lists the hints": async () => {
    const { code, output } = await runBinary("--list-prices");
    assertMatch(output, /^H100 +\d+\.\d\d/m);
    assertEquals(code, 0);
  },
  "a wrong flag gives exit code 2 and a word on stderr": async () => {
    const { code, errors } = await runBinary("--no-such-flag");
    assertStringIncludes(errors, "no-such-flag");
    assertEquals(code, 2);
  },
};

const server = Deno.serve(
  { hostname: "127.0.0.1", port: 0, onListen: () => {} },
  () => new Response(EXPOSITION, { headers: { "content-type": "text/plain; version=0.0.4" } }),
);
const trials = {
  ...usageTrials,
  ...permissionTrials,
  ...(needsProgram("strace").ignore ? {} : straceTrials),
};
let passed = 0;
let failed = 0;
for (const [name, run] of Object.entries(trials)) {
  try {
    await run(server.addr.port);
    passed++;
    console.log(`${name} ... ok`);
  } catch (error) {
    failed++;
    console.log(`${name} ... FAILED\n${error instanceof Error ? error.message : error}`);
  }
}
await server.shutdown();
console.log(`${failed === 0 ? "ok" : "FAILED"} | ${passed} passed | ${failed} failed`);
Deno.exit(failed === 0 ? 0 : 1);
