import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  appendHostSample,
  computeHostLoad,
  type CpuTimes,
  type HostSample,
  listCpuTimeArguments,
  parseProcStat,
  parsePsCpuTimes,
  sampleHost,
  type ServerProcess,
} from "../lib/host_load.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { absent, present } from "../lib/reading.ts";
import { needsProgram } from "./programs.ts";

const PROCESS: ServerProcess = {
  ...{
    pid: 7,
    name: "vllm serve m",
    user: "root",
    role: "api_server",
    endpointKey: "http://localhost:8000",
  },
  engine: null,
};

const EMPTY: HostSample = {
  ...{ at: 0, processors: null, memory: null, loadAverage: null },
  ...{ processes: [PROCESS], cpuTimes: null },
};

/** Samples of one process, each with its CPU time at that moment. */
function sample(times: readonly (readonly [at: number, cpu: number])[], resolution = 0.01) {
  return times.map(([at, cpu]): HostSample => {
    const cpuTimes: CpuTimes = { at, resolution, byPid: new Map([[PROCESS.pid, cpu]]) };
    return { ...EMPTY, at, cpuTimes };
  });
}

function computeCores(samples: readonly HostSample[]) {
  const [{ cpuCores, span }] = computeHostLoad(samples).processes;
  return { cpuCores, span };
}

// Recorded (Linux): a shell whose file is called `a) R 1 (b`.
const STAT_WITH_BRACKETS =
  "29528 (a) R 1 (b) S 29524 29524 5899 0 -1 4194304 88 0 0 0 95 7 0 0 20 0 1 0 445335 2654208 " +
  "367 18446744073709551615 94065342119936 94065342196665 140721499878048 0 0 0 0 0 65538 1 0 0 " +
  "17 0 0 0 0 0 0 94065342225968 94065342231104 94065522085888 140721499880031 140721499880142\n";

Deno.test("parseProcStat() adds the time in user and kernel mode, whatever the process is called", () => {
  assertEquals(parseProcStat(STAT_WITH_BRACKETS), 1.02);
  assertEquals(parseProcStat("1 (init) S 0 1"), null);
  assertEquals(parseProcStat(""), null);
});

Deno.test("parsePsCpuTimes() parses whole seconds of procps, and hundredths of macOS", () => {
  assertEquals(parsePsCpuTimes("      1 00:00:14\n   9123 1-02:00:03\n"), {
    byPid: new Map([[1, 14], [9123, 93_603]]),
    resolution: 1,
  });
  assertEquals(parsePsCpuTimes("    1   0:04.17\n  501 100:00.50\n"), {
    byPid: new Map([[1, 4.17], [501, 6000.5]]),
    resolution: 0.01,
  });
  assertEquals(parsePsCpuTimes("error: process ID list syntax error\n").byPid.size, 0);
});

Deno.test("computeHostLoad() gives the CPU of a process as a mean of its samples", () => {
  assertEquals(computeCores(sample([[0, 50], [5, 54.5], [30, 72.5]])), {
    cpuCores: present(0.75),
    span: 30,
  });
  assertEquals(computeCores(sample([[0, 50], [1, 54]])).cpuCores, present(4));
});

Deno.test("computeHostLoad() waits until whole seconds tell a twentieth of a core", () => {
  const early = sample([[0, 50], [5, 55], [19.9, 69]], 1);
  assertEquals(computeCores(early), { cpuCores: absent("first_scrape"), span: 0 });
  assertEquals(computeCores([...early, ...sample([[20, 70]], 1)]).cpuCores, present(1));
});

Deno.test("computeHostLoad() gives no CPU of a new, a gone and another process", () => {
  const [first] = sample([[0, 50]]);
  assertEquals(computeCores([first]).cpuCores, absent("first_scrape"));
  assertEquals(computeCores([EMPTY]).cpuCores, absent("first_scrape"));
  assertEquals(computeCores([EMPTY, { ...EMPTY, at: 1 }]).cpuCores, absent("missing"));
  assertEquals(computeCores(sample([[0, 50], [5, 0.1]])).cpuCores, absent("restarted"));
});

Deno.test("computeHostLoad() gives CPU, memory and load of the machine, or why not", () => {
  const processors = (busy: number, idle: number) => ({ processors: { busy, idle, count: 4 } });
  const memory = { totalBytes: 128, availableBytes: 87 };
  const { processes: _, ...load } = computeHostLoad([
    { ...EMPTY, ...processors(100, 1000) },
    { ...EMPTY, ...processors(134, 1066), at: 5, memory, loadAverage: 3.25 },
  ]);
  assertEquals(load, {
    processorCount: present(4),
    cpuRatio: present(0.34),
    memoryUsedBytes: present(41),
    memoryTotalBytes: present(128),
    loadAverage: present(3.25),
  });
  const { processes: _processes, ...unknown } = computeHostLoad([EMPTY]);
  const unsupported = absent("unsupported");
  assertEquals(unknown, {
    processorCount: unsupported,
    cpuRatio: unsupported,
    memoryUsedBytes: unsupported,
    memoryTotalBytes: unsupported,
    loadAverage: unsupported,
  });
  const cpuOf = (...samples: readonly Partial<HostSample>[]) =>
    computeHostLoad(samples.map((one) => ({ ...EMPTY, ...one }))).cpuRatio;
  assertEquals(cpuOf(processors(1, 1)), absent("first_scrape"));
  assertEquals(cpuOf(processors(9, 9), processors(1, 10)), absent("restarted"));
});

Deno.test("appendHostSample() keeps the last half minute", () => {
  const samples = [0, 5, 10, 15, 20, 25, 30, 35].reduce<readonly HostSample[]>(
    (known, at) => appendHostSample(known, { ...EMPTY, at }),
    [],
  );
  assertEquals(samples.map(({ at }) => at), [5, 10, 15, 20, 25, 30, 35]);
});

const isLinux = Deno.build.os === "linux";

/** Nanoseconds on a processor, as seconds: what the kernel itself counts. */
function readRunTime(pid: number): number {
  return Number(Deno.readTextFileSync(`/proc/${pid}/schedstat`).split(" ")[0]) / 1e9;
}

/** A busy loop that ends by itself. */
async function withBusyLoop(run: (pid: number) => Promise<void>): Promise<void> {
  const loop = new Deno.Command("timeout", { args: ["60", "sh", "-c", "while :; do :; done"] });
  const timeout = loop.spawn();
  try {
    const path = `/proc/${timeout.pid}/task/${timeout.pid}/children`;
    let pid = 0;
    while (pid === 0) {
      pid = Number(Deno.readTextFileSync(path).trim());
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await run(pid);
  } finally {
    timeout.kill("SIGTERM");
    await timeout.status;
  }
}

async function waitForRunTime(pid: number, seconds: number): Promise<void> {
  while (readRunTime(pid) < seconds) await new Promise((resolve) => setTimeout(resolve, 20));
}

Deno.test({
  name: "sampleHost() gives the CPU of a busy loop, by /proc and by ps, as the kernel counts it",
  ...needsProgram("ps"),
  ignore: !isLinux,
  fn: async () => {
    const platform = createDenoPlatform();
    // As with the program's own permissions.
    const restricted = { ...platform, readTextFile: () => Promise.reject(new Error("denied")) };
    await withBusyLoop(async (pid) => {
      for (const [one, tolerance] of [[platform, 0.03], [restricted, 1.03]] as const) {
        const processes = [{ ...PROCESS, pid }];
        const before = readRunTime(pid);
        const first = await sampleHost(one, processes);
        const afterFirst = readRunTime(pid);
        await waitForRunTime(pid, afterFirst + 1.2);
        const beforeSecond = readRunTime(pid);
        const second = await sampleHost(one, processes);
        const after = readRunTime(pid);
        const read = ({ cpuTimes }: HostSample) => cpuTimes?.byPid.get(pid) ?? NaN;
        const spent = read(second) - read(first);
        assert(spent >= beforeSecond - afterFirst - tolerance, `${spent} s is too little`);
        assert(spent <= after - before + tolerance, `${spent} s is too much`);
      }
    });
  },
});

Deno.test("sampleHost() looks at the machine itself, and starts nothing without processes", async () => {
  const platform = createDenoPlatform();
  const runProgram = () => Promise.reject(new Error("nothing to ask"));
  const taken = await sampleHost({ ...platform, runProgram }, []);
  assertEquals(taken.processors?.count, navigator.hardwareConcurrency);
  assert((taken.processors?.busy ?? 0) > 0);
  assertEquals(taken.memory?.totalBytes, Deno.systemMemoryInfo().total);
  assertAlmostEquals(taken.loadAverage ?? NaN, Deno.loadavg()[0], 1);
  assertEquals(taken.cpuTimes, null);
});

Deno.test("listCpuTimeArguments() name processes that ps knows", needsProgram("ps"), async () => {
  const ps = new Deno.Command("ps", { args: [...listCpuTimeArguments([Deno.pid, 1])] });
  const { byPid } = parsePsCpuTimes(new TextDecoder().decode((await ps.output()).stdout));
  assertEquals([...byPid.keys()].toSorted((a, b) => a - b), [1, Deno.pid]);
});
