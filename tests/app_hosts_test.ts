import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  createGpuWatch,
  sampleGpus,
  sampleGpusOnce,
  sampleHostsOnce,
  watchGpus,
  watchHosts,
} from "../lib/app_hosts.ts";
import { type Session, startSession } from "../lib/app_session.ts";
import { planGpuQuery } from "../lib/gpu_nvidia_smi.ts";
import { parseProcessTable, type ProcessListing } from "../lib/host_processes.ts";
import type { ProgramCall, ProgramOutcome } from "../lib/platform.ts";
import { createHost, type Host, LOCAL_HOST } from "../lib/host.ts";
import { getHost } from "../lib/state_gpus.ts";
import { parseArguments } from "./fixtures/arguments.ts";
import { type Clock, createClock } from "./fixtures/clock.ts";
import { createEndpoint, startState } from "./fixtures/expositions.ts";
import { readGpuFixture, renderGpuQuery } from "./fixtures/gpus.ts";

const HELP = readGpuFixture("help-590.txt");
const QUERY = renderGpuQuery("h100.tsv", planGpuQuery(HELP));
const UUID = /GPU-[0-9a-f-]+/.exec(QUERY)?.[0] ?? "";
const LISTING: ProcessListing = {
  listening: [{ port: 8000, addresses: ["*"], ownerPids: [7] }],
  processes: parseProcessTable(
    "7 1 7 01:00 root vllm serve m\n8 7 7 00:59 root VLLM::EngineCore\n",
  ),
  problems: [],
};

/** The programs of a machine, and what was asked of it. */
interface Machine {
  readonly session: Session;
  readonly clock: Clock;
  readonly starts: string[];
  readonly listings: number[];
  /** Arguments of `ps`. */
  readonly psStarts: string[];
  /** Processes on the GPU. */
  pids: readonly number[];
  /** How long each start takes; `null` for one that hangs. */
  duration: number | null;
  isThere: boolean;
  /** Whether nvidia-smi is missing, and amd-smi is not. */
  isAmd: boolean;
}

function createMachine(
  argv: readonly string[],
  hosts: readonly string[] = ["localhost"],
): Machine {
  const parsed = parseArguments([...argv], () => undefined);
  if (parsed.kind !== "run") throw new Error("Cannot parse the arguments");
  const clock = createClock();
  const starts: string[] = [];
  const listings: number[] = [];
  const psStarts: string[] = [];
  const print = (stdout: string): ProgramOutcome => ({
    kind: "exited",
    code: 0,
    stdout,
    stderr: "",
  });
  const runProgram = async (call: ProgramCall): Promise<ProgramOutcome> => {
    const [first] = call.arguments;
    // The API server needs a core, the engine half of one.
    const cpu = Math.floor(platform.monotonicSeconds());
    const format = (time: number) => `00:00:${String(Math.floor(time)).padStart(2, "0")}`;
    if (call.name === "ps") {
      psStarts.push(call.arguments.join(" "));
      return print(`7 ${format(cpu)}\n8 ${format(cpu / 2)}\n`);
    }
    starts.push(`${call.name} ${first.replace(/=.*/, "")}`);
    const isMissing = machine.isAmd && call.name === "nvidia-smi";
    if (isMissing || !machine.isThere) return { kind: "missing" };
    await clock.platform.sleep(machine.duration ?? Infinity, call.signal);
    if (call.signal?.aborted) return { kind: "aborted" };
    if (first === "--help-query-gpu") return print(HELP);
    if (first.startsWith("--query-gpu")) return print(QUERY);
    return print(machine.pids.map((pid) => `${UUID}, ${pid}, 1000, VLLM::EngineCore\n`).join(""));
  };
  let busy = 0;
  const platform = {
    ...clock.platform,
    runProgram,
    readTextFile: () => Promise.reject(new Error("denied")),
    processorTimes: () => {
      busy += 34;
      return Promise.resolve({ busy, idle: 66 * busy / 34, count: 4 });
    },
    loadAverage: () => 3.25,
    systemMemory: () => ({ totalBytes: 128, availableBytes: 87 }),
  };
  const endpoints = hosts.map((host) => createEndpoint(8000, host));
  const host: Host = {
    ...createHost(LOCAL_HOST, platform),
    listProcesses: () => {
      listings.push(platform.monotonicSeconds());
      return Promise.resolve(LISTING);
    },
  };
  const session = startSession({
    platform,
    options: parsed.options,
    view: { output: "auto", depth: null, ascii: false },
    state: startState(endpoints),
    hosts: new Map([[LOCAL_HOST, host]]),
  });
  const machine: Machine = {
    ...{ session, clock, starts, listings, psStarts },
    ...{ pids: [8], duration: 0, isThere: true, isAmd: false },
  };
  return machine;
}

function getOnlyHost({ hosts }: Session): Host {
  const [host] = hosts.values();
  return host;
}

Deno.test("sampleGpus() looks at this machine's GPUs where a server on it is watched, or as told", async () => {
  const looks = async (argv: readonly string[], hosts: readonly string[]): Promise<boolean> => {
    const { session, clock, starts } = createMachine(argv, hosts);
    const done = sampleGpus(createGpuWatch(session, getOnlyHost(session)));
    await clock.runUntil(1);
    await done;
    assertEquals(getHost(session.state.hosts, LOCAL_HOST).report !== null, starts.length > 0);
    return starts.length > 0;
  };
  assertEquals(await looks([], ["localhost"]), true);
  assertEquals(await looks([], ["gpu1", "127.0.0.1"]), true);
  assertEquals(await looks([], ["gpu1", "gpu2"]), false);
  assertEquals(await looks(["--gpus"], ["gpu1"]), true);
  assertEquals(await looks(["--no-gpu"], ["localhost"]), false);
});

Deno.test("watchGpus() samples at the interval, but for no more than half of the time, until the session ends", async () => {
  const watch = async (interval: string, duration: number): Promise<readonly number[]> => {
    const machine = createMachine(["--interval", interval]);
    const { session, clock } = machine;
    machine.duration = duration;
    const times: number[] = [];
    session.record = () => {
      const { report } = getHost(session.state.hosts, LOCAL_HOST);
      if (report !== null) times.push(Number((report.sampledAt - report.duration).toFixed(6)));
    };
    session.state = { ...session.state, interval: Number(interval) };
    const done = watchGpus(session, getOnlyHost(session));
    await clock.runUntil(8.5);
    session.stop.abort();
    await clock.runUntil(9);
    await done;
    return times;
  };
  // The first sample takes three starts, the others one, or two after 10 s.
  assertEquals(await watch("2", 0.2), [0, 2, 4, 6, 8]);
  assertEquals(await watch("0.5", 0.01), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
  assertEquals(await watch("2", 0.75), [0, 4.5, 6.5]);
});

Deno.test("watchGpus() has its first sample drawn at once, the others with the next round unless that is far", async () => {
  const count = async (interval: string): Promise<number> => {
    const { session, clock } = createMachine(["--interval", interval]);
    session.state = { ...session.state, interval: Number(interval) };
    let changes = 0;
    session.onChange = () => changes++;
    const done = watchGpus(session, getOnlyHost(session));
    await clock.runUntil(35);
    session.stop.abort();
    await clock.runUntil(36);
    await done;
    return changes;
  };
  assertEquals(await count("2"), 1);
  assertEquals(await count("10"), 4);
});

Deno.test("sampleGpus() lists processes again for new GPU processes, and after 30 s", async () => {
  const machine = createMachine(["--interval", "2"]);
  const { session, clock, listings } = machine;
  const done = watchGpus(session, getOnlyHost(session));
  await clock.runUntil(11);
  machine.pids = [8, 9];
  await clock.runUntil(51);
  machine.pids = [];
  await clock.runUntil(80);
  session.stop.abort();
  await clock.runUntil(81);
  await done;
  // GPU processes are asked for every 10 s.
  assertEquals(listings, [0, 20, 50]);
});

Deno.test("sampleGpus() tells once that there is no GPU, and goes on looking", async () => {
  const machine = createMachine(["--interval", "2"]);
  const { session, clock, starts } = machine;
  machine.isThere = false;
  let changes = 0;
  session.onChange = () => changes++;
  const done = watchGpus(session, getOnlyHost(session));
  await clock.runUntil(4.9);
  assertEquals([changes, getHost(session.state.hosts, LOCAL_HOST).failure?.kind], [1, "absent"]);
  assertEquals(starts, ["nvidia-smi --help-query-gpu", "amd-smi static"]);
  machine.isThere = true;
  await clock.runUntil(20);
  session.stop.abort();
  await clock.runUntil(21);
  await done;
  assertEquals([
    getHost(session.state.hosts, LOCAL_HOST).failure,
    getHost(session.state.hosts, LOCAL_HOST).report?.gpus.length,
  ], [null, 1]);
});

Deno.test("sampleGpusOnce() waits two seconds for the GPUs, or as long as the scrapes take", async () => {
  const endOf = async (scrape: number, duration: number | null) => {
    const machine = createMachine(["--once"]);
    const { session, clock } = machine;
    machine.duration = duration;
    const done = sampleGpusOnce(session, getOnlyHost(session), clock.platform.sleep(scrape))
      .then(() => clock.platform.monotonicSeconds());
    await clock.runUntil(60);
    return [await done, getHost(session.state.hosts, LOCAL_HOST).failure?.kind ?? null];
  };
  // A sample takes three starts.
  assertEquals(await endOf(1, 0.1), [1, null]);
  assertEquals(await endOf(0.1, 0.5), [1.5, null]);
  assertEquals(await endOf(0.1, null), [2, "timeout"]);
  assertEquals(await endOf(0.1, 1), [2, "timeout"]);
  assertEquals(await endOf(5, 1), [5, null]);
});

Deno.test("sampleGpusOnce() advises on the program that was too slow", async () => {
  for (const isAmd of [false, true]) {
    const machine = createMachine(["--once"]);
    const { session, clock } = machine;
    Object.assign(machine, { duration: null, isAmd });
    const done = sampleGpusOnce(session, getOnlyHost(session), Promise.resolve());
    await clock.runUntil(10);
    await done;
    const { message = "" } = getHost(session.state.hosts, LOCAL_HOST).failure ?? {};
    assertMatch(message, isAmd ? /^amd-smi sent no data/ : /^nvidia-smi sent no data .* -pm 1/);
    assert(!isAmd || !message.includes("nvidia"), message);
  }
});

Deno.test("watchHosts() samples the load after a second, then every five, and lists processes every 30 s", async () => {
  const { session, clock, listings, psStarts } = createMachine(["--interval", "2", "--no-gpu"]);
  const times: number[] = [];
  const drawn: number[] = [];
  session.record = () => void times.push(session.platform.monotonicSeconds());
  session.onChange = () => drawn.push(session.platform.monotonicSeconds());
  const done = watchHosts(session);
  await clock.runUntil(32);
  assertEquals(times, [0, 1, 6, 11, 16, 21, 26, 31]);
  assertEquals(drawn, [0, 1], "the others with the next round");
  assertEquals(listings, [0, 31]);
  assertEquals([...new Set(psStarts)], ["-o pid= -o time= -p 7,8"]);
  const { load } = getHost(session.state.hosts, LOCAL_HOST);
  assertEquals(load?.cpuRatio, { value: 0.34 });
  assertEquals(load?.processes.map(({ role, cpuCores, span }) => [role, cpuCores, span]), [
    ["api_server", { value: 1 }, 30],
    ["engine_core", { value: 0.5 }, 30],
  ]);
  session.stop.abort();
  await clock.runUntil(40);
  await done;
});

Deno.test("watchHosts() leaves this machine alone where no server on it is watched", async () => {
  const { session, clock, listings, psStarts } = createMachine([], ["gpu1"]);
  const done = watchHosts(session);
  await clock.runUntil(10);
  assertEquals([listings, psStarts, getHost(session.state.hosts, LOCAL_HOST).load], [[], [], null]);
  session.stop.abort();
  await clock.runUntil(20);
  await done;
});

Deno.test("sampleHostsOnce() tells the load of the time that the scrapes took", async () => {
  const { session, clock } = createMachine(["--once"]);
  const done = sampleHostsOnce(session, session.platform.sleep(2), { hasInterval: true });
  await clock.runUntil(3);
  await done;
  const { load, report } = getHost(session.state.hosts, LOCAL_HOST);
  assertEquals([load?.cpuRatio, load?.loadAverage], [{ value: 0.34 }, { value: 3.25 }]);
  // Whole seconds tell nothing in two of them.
  assertEquals(load?.processes[0].cpuCores, { value: null, reason: "first_scrape" });
  assert(report !== null);
});

Deno.test("sampleHostsOnce() looks at the load once, and at no CPU times, without an interval", async () => {
  const { session, clock, psStarts } = createMachine(["--once", "--interval", "0"]);
  const done = sampleHostsOnce(session, session.platform.sleep(2), { hasInterval: false });
  await clock.runUntil(3);
  await done;
  const { load } = getHost(session.state.hosts, LOCAL_HOST);
  const unknown = { value: null, reason: "first_scrape" };
  assertEquals(load?.loadAverage, { value: 3.25 });
  assertEquals([load?.cpuRatio, load?.processes[0].cpuCores], [unknown, unknown]);
  assertEquals(psStarts, []);
});
