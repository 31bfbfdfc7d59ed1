import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { GpuFailure, GpuFailureKind, GpuReport } from "../lib/gpu_model.ts";
import {
  createGpuSampler,
  describeGpuExit,
  describeGpuOutcome,
  describeSlowSample,
  isGpuFailure,
} from "../lib/gpu_sampler.ts";
import type { Platform, ProgramCall, ProgramOutcome } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { absent, present } from "../lib/reading.ts";
import { readGpuFixture } from "./fixtures/gpus.ts";
import { type StandIns, withStandIns } from "./gpu_stand_in.ts";

/** Shell scripts stand in for the programs. */
const onUnix = { ignore: Deno.build.os === "windows" };

/** Of the second instance of the recorded H100. */
const MIG_UUID = "MIG-00000001-0000-0000-0000-000000000001";

type SamplerPlatform = Parameters<typeof createGpuSampler>[0];

/** The real platform, with a clock that the test moves and stand-ins on the PATH. */
function withSampler(
  run: (
    standIns: StandIns,
    tools: {
      readonly platform: SamplerPlatform;
      readonly passTime: (seconds: number) => void;
      readonly mostAtOnce: () => number;
    },
  ) => Promise<void>,
): Promise<void> {
  return withStandIns(async (standIns) => {
    const path = Deno.env.get("PATH") ?? "";
    const real = createDenoPlatform();
    let now = 1000;
    let running = 0;
    let most = 0;
    const runProgram = async (call: ProgramCall): Promise<ProgramOutcome> => {
      most = Math.max(most, ++running);
      try {
        return await real.runProgram(call);
      } finally {
        running--;
      }
    };
    const platform = { ...real, runProgram, monotonicSeconds: () => now };
    Deno.env.set("PATH", `${standIns.folder}:${path}`);
    try {
      await run(standIns, {
        platform,
        passTime: (seconds) => now += seconds,
        mostAtOnce: () => most,
      });
    } finally {
      Deno.env.set("PATH", path);
    }
  });
}

function takeReport(outcome: GpuReport | GpuFailure): GpuReport {
  if (isGpuFailure(outcome)) throw new Error(`${outcome.kind}: ${outcome.message}`);
  return outcome;
}

function takeFailure(outcome: GpuReport | GpuFailure): GpuFailure {
  if (!isGpuFailure(outcome)) throw new Error(`${outcome.program} answered`);
  return outcome;
}

Deno.test("sample() asks for the help once, then for GPUs and processes", onUnix, async () => {
  await withSampler(async (standIns, { platform }) => {
    standIns.setNvidia({ gpus: "h100x8.tsv" });
    const sampler = createGpuSampler(platform);
    const report = takeReport(await sampler.sample());
    assertEquals([report.program, report.gpus.length], ["nvidia-smi", 8]);
    assertEquals(report.processes, present([]));
    assertEquals(report.warnings, []);
    assertEquals([report.sampledAt, report.duration], [1000, 0]);
    assertMatch(
      standIns.takeStarts().join("\n"),
      /^nvidia-smi --help-query-gpu\nnvidia-smi --query-gpu=index,.*,name --format=csv,noheader,nounits\nnvidia-smi --query-compute-apps=\S+ --format=csv,noheader,nounits$/,
    );
    takeReport(await sampler.sample());
    assertEquals(standIns.takeStarts().length, 1);
  });
});

Deno.test(
  "sample() asks for processes every 10 s, and where the memory in use changes",
  onUnix,
  async () => {
    await withSampler(async (standIns, { platform, passTime }) => {
      const sampler = createGpuSampler(platform);
      const sample = async () => {
        const report = takeReport(await sampler.sample());
        const pattern = /--query-compute-apps|^amd-smi process/;
        const hasAsked = standIns.takeStarts().some((start) => pattern.test(start));
        return { count: report.processes.value?.length, hasAsked };
      };
      standIns.setNvidia({ gpus: "h100x8.tsv" });
      assertEquals(await sample(), { count: 0, hasAsked: true });
      passTime(9);
      assertEquals(await sample(), { count: 0, hasAsked: false });
      passTime(1);
      assertEquals(await sample(), { count: 0, hasAsked: true });
      standIns.setNvidia({ gpus: "l4.tsv" });
      assertEquals(await sample(), { count: 0, hasAsked: true });
      standIns.setAmd("amd-26");
      standIns.remove("nvidia-smi");
      assertEquals(await sample(), { count: 1, hasAsked: true });
      passTime(9);
      assertEquals(await sample(), { count: 1, hasAsked: false });
    });
  },
);

Deno.test(
  "sample() gives an old driver's figures, and asks for no field it lacks",
  onUnix,
  async () => {
    await withSampler(async (standIns, { platform }) => {
      standIns.setNvidia({ gpus: "t4-old-driver.tsv", help: "help-418.txt" });
      const { gpus: [gpu] } = takeReport(await createGpuSampler(platform).sample());
      assertEquals(gpu.utilizationRatio, present(0.42));
      assertEquals(gpu.isMigEnabled, absent("missing"));
    });
  },
);

Deno.test("sample() lists MIG instances, by two more starts", onUnix, async () => {
  await withSampler(async (standIns, { platform }) => {
    standIns.setNvidia({
      gpus: "h100-mig.tsv",
      apps: "h100-mig-apps.csv",
      list: "h100-mig-list.txt",
      detail: "h100-mig-detail.txt",
    });
    const report = takeReport(await createGpuSampler(platform).sample());
    assertEquals(report.gpus[0].migInstances.length, 4);
    assertEquals(report.processes.value?.map(({ gpuInstanceId }) => gpuInstanceId.value), [
      2,
      2,
      2,
    ]);
    assertEquals(standIns.takeStarts().slice(2, 4), ["nvidia-smi -L", "nvidia-smi -q"]);
  });
});

Deno.test(
  "sample() finds processes that are listed by their MIG instance's UUID",
  onUnix,
  async () => {
    await withSampler(async (standIns, { platform }) => {
      standIns.setNvidia({
        gpus: "h100-mig.tsv",
        apps: "h100-mig-apps.csv",
        list: "h100-mig-list.txt",
        detail: "h100-mig-detail.txt",
      });
      const path = `${standIns.folder}/apps`;
      const apps = Deno.readTextFileSync(path).replaceAll(/^GPU-\S+/gm, `${MIG_UUID},`);
      Deno.writeTextFileSync(path, apps);
      const report = takeReport(await createGpuSampler(platform).sample());
      assertEquals(report.processes.value?.map(({ gpuInstanceId }) => gpuInstanceId.value), [
        3,
        3,
        3,
      ]);
    });
  },
);

Deno.test("sample() gives unified memory as the system's", onUnix, async () => {
  await withSampler(async (standIns, { platform }) => {
    standIns.setNvidia({ gpus: "gb10.tsv", apps: "gb10-apps.csv" });
    const memory = { totalBytes: 100, availableBytes: 30 };
    const sampler = createGpuSampler({ ...platform, systemMemory: () => memory });
    let { gpus: [gpu], processes } = takeReport(await sampler.sample());
    assertEquals([gpu.isMemoryUnified, gpu.memoryUsedBytes], [true, present(70)]);
    // On a busy machine the list of processes may come too late.
    for (let i = 0; i < 5 && processes.value === undefined; i++) {
      ({ processes } = takeReport(await sampler.sample()));
    }
    assertEquals(processes.value?.length, 2);
  });
});

Deno.test("sample() tells each failure, pauses, and finds what comes back", onUnix, async () => {
  await withSampler(async (standIns, { platform, passTime }) => {
    standIns.setNvidia({ gpus: "h100.tsv" });
    const sampler = createGpuSampler(platform);
    takeReport(await sampler.sample());
    standIns.behave("nvidia-smi", {
      code: 18,
      stdout: "Failed to initialize NVML: Driver/library version mismatch\n",
    });
    assertEquals(takeFailure(await sampler.sample()).kind, "driver_mismatch");
    standIns.takeStarts();
    assertEquals(takeFailure(await sampler.sample()).kind, "driver_mismatch");
    assertEquals(standIns.takeStarts(), []);
    standIns.behave("nvidia-smi", "ok");
    passTime(5.1);
    assertEquals(takeReport(await sampler.sample()).gpus.length, 1);
    assertMatch(standIns.takeStarts()[0], /help-query-gpu/);
  });
});

Deno.test("sample() pauses longer with each failure, up to a minute", onUnix, async () => {
  await withSampler(async (standIns, { platform, passTime }) => {
    standIns.setNvidia({ gpus: "h100.tsv" });
    standIns.behave("nvidia-smi", "crash");
    const sampler = createGpuSampler(platform);
    assertEquals(takeFailure(await sampler.sample()).kind, "failed");
    for (const pause of [5, 10, 20, 40, 60, 60]) {
      standIns.takeStarts();
      passTime(pause - 0.1);
      await sampler.sample();
      assertEquals(standIns.takeStarts(), [], `within ${pause} s`);
      passTime(0.1);
      await sampler.sample();
      assert(standIns.takeStarts().length > 0, `after ${pause} s`);
    }
  });
});

Deno.test("sample() kills a program that hangs or floods", onUnix, async () => {
  await withSampler(async (standIns, { platform, passTime }) => {
    standIns.setNvidia({ gpus: "h100.tsv" });
    standIns.behave("nvidia-smi", "hang");
    const sampler = createGpuSampler(platform);
    const failure = takeFailure(await sampler.sample());
    assertEquals(failure.kind, "timeout");
    assertStringIncludes(failure.message, "within 2 s");
    standIns.behave("nvidia-smi", "flood");
    passTime(6);
    assertEquals(takeFailure(await sampler.sample()).kind, "flooded");
    standIns.behave("nvidia-smi", "ok");
    passTime(11);
    takeReport(await sampler.sample());
  });
});

Deno.test("sample() gives the GPUs where only the processes cannot be had", onUnix, async () => {
  await withSampler(async (standIns, { platform }) => {
    standIns.setNvidia({ gpus: "h100.tsv" });
    const runProgram: Platform["runProgram"] = (call) =>
      call.arguments[0].startsWith("--query-compute-apps")
        ? Promise.resolve({ kind: "timeout" })
        : platform.runProgram(call);
    const report = takeReport(await createGpuSampler({ ...platform, runProgram }).sample());
    assertEquals([report.gpus.length, report.processes], [1, absent("unreadable")]);
  });
});

Deno.test("sample() takes amd-smi where nvidia-smi is absent or finds no GPU", onUnix, async () => {
  await withSampler(async (standIns, { platform }) => {
    standIns.setAmd("amd-26");
    const report = takeReport(await createGpuSampler(platform).sample());
    assertEquals([report.program, report.gpus.length], ["amd-smi", 2]);
    assertEquals(report.processes.value?.map(({ pid }) => pid), [4242]);
    standIns.setNvidia({ gpus: "h100.tsv" });
    standIns.takeStarts();
    const sampler = createGpuSampler(platform);
    assertEquals(takeReport(await sampler.sample()).program, "nvidia-smi");
    assert(standIns.takeStarts().every((start) => start.startsWith("nvidia-smi")));
    standIns.behave("nvidia-smi", { code: 6, stdout: "No devices were found\n" });
    assertEquals(takeReport(await sampler.sample()).program, "amd-smi");
  });
});

Deno.test(
  "sample() asks amd-smi again for what does not change until it has told it",
  onUnix,
  async () => {
    await withSampler(async (standIns, { platform }) => {
      standIns.setAmd("amd-26");
      let isFailing = true;
      const runProgram: Platform["runProgram"] = (call) =>
        isFailing && call.arguments[0] === "static"
          ? Promise.resolve({ kind: "exited", code: 1, stdout: "busy\n", stderr: "" })
          : platform.runProgram(call);
      const sampler = createGpuSampler({ ...platform, runProgram });
      const readName = async () => takeReport(await sampler.sample()).gpus[0].name;
      assertEquals(await readName(), "AMD GPU");
      isFailing = false;
      assertEquals(await readName(), "AMD Instinct MI300X");
      standIns.takeStarts();
      assertEquals(await readName(), "AMD Instinct MI300X");
      assert(!standIns.takeStarts().some((start) => start.startsWith("amd-smi static")));
    });
  },
);

Deno.test(
  "sample() says that neither program is there, and finds one that is installed",
  onUnix,
  async () => {
    await withSampler(async (standIns, { platform, passTime }) => {
      const sampler = createGpuSampler(platform);
      assertEquals(await sampler.sample(), {
        kind: "absent",
        message: "neither nvidia-smi nor amd-smi is on the PATH",
      });
      standIns.setNvidia({ gpus: "l4.tsv" });
      passTime(6);
      assertEquals(takeReport(await sampler.sample()).gpus[0].name, "NVIDIA L4");
      standIns.remove("nvidia-smi");
      assertEquals(takeFailure(await sampler.sample()).kind, "absent");
    });
  },
);

Deno.test(
  "sample() never runs two programs at once, however often it is called",
  onUnix,
  async () => {
    await withSampler(async (standIns, { platform, mostAtOnce }) => {
      standIns.setNvidia({ gpus: "h100x8.tsv" });
      const sampler = createGpuSampler(platform);
      const reports = await Promise.all([sampler.sample(), sampler.sample(), sampler.sample()]);
      assertEquals(new Set(reports).size, 1);
      assertEquals(standIns.takeStarts().length, 3);
      assertEquals(mostAtOnce(), 1);
    });
  },
);

Deno.test(
  "sample() ends when it is given up, without a pause; close() ends it, too",
  onUnix,
  async () => {
    await withSampler(async (standIns, { platform }) => {
      standIns.setNvidia({ gpus: "h100.tsv" });
      standIns.behave("nvidia-smi", "hang");
      const sampler = createGpuSampler(platform);
      const stop = new AbortController();
      const given = sampler.sample(stop.signal);
      stop.abort();
      assertEquals(takeFailure(await given).kind, "aborted");
      const closed = sampler.sample();
      sampler.close();
      assertEquals(takeFailure(await closed).kind, "aborted");
    });
  },
);

Deno.test("sample() remarks a slow nvidia-smi", async () => {
  let now = 100;
  const help = readGpuFixture("help-418.txt");
  const platform: SamplerPlatform = {
    monotonicSeconds: () => now,
    epochSeconds: () => 1e9,
    systemMemory: () => null,
    runProgram: ({ arguments: [first] }) => {
      now += 0.7;
      const stdout = first.startsWith("--help")
        ? help
        : first.startsWith("--query-gpu")
        ? `${"0, ".repeat(first.split(",").length - 1)}GPU\n`
        : "";
      return Promise.resolve({ kind: "exited", code: 0, stdout, stderr: "" });
    },
  };
  const { warnings, duration } = takeReport(await createGpuSampler(platform).sample());
  assert(duration > 2);
  assertMatch(warnings.join(), /^nvidia-smi took 2\.1 s: turn persistence mode on/);
});

/** What nvidia-smi prints, and with which code. */
const EXITS: readonly (readonly [kind: GpuFailureKind, code: number, stdout: string])[] = [
  [
    "driver_mismatch",
    18,
    "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 570.124\n",
  ],
  ["no_devices", 6, "No devices were found\n"],
  [
    "gpu_lost",
    15,
    "Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.  Reboot the system " +
    "to recover this GPU\n",
  ],
  [
    "driver_missing",
    9,
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that " +
    "the latest NVIDIA driver is installed and running.\n",
  ],
  ["driver_missing", 9, "Failed to initialize NVML: Driver Not Loaded\n"],
  [
    "driver_missing",
    12,
    "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the " +
    "NVIDIA Display Driver is properly installed and present in your system.\n",
  ],
  ["forbidden", 4, "Failed to initialize NVML: Insufficient Permissions\n"],
  [
    "forbidden",
    1,
    "RuntimeError: WARNING: User is missing the following required groups: render, video. Please " +
    "add user to these groups.\n",
  ],
  ["failed", 255, "Failed to initialize NVML: Unknown Error\n"],
  ["failed", 2, 'Field "mig.mode.current" is not a valid field to query.\n'],
  ["failed", 139, ""],
  ["unreadable", 0, ""],
  ["unreadable", 0, "hello\n"],
];

Deno.test("describeGpuExit() knows every failure by its words, with a next step", () => {
  for (const [kind, code, stdout] of EXITS) {
    for (const exit of [{ code, stdout, stderr: "" }, { code, stdout: "", stderr: stdout }]) {
      const failure = describeGpuExit("nvidia-smi", exit);
      assertEquals([failure.kind, stdout], [kind, stdout]);
      assertMatch(failure.message, /^nvidia-smi .*: .*[^.]$/);
    }
  }
});

Deno.test(
  "sample() tells a user without the groups of AMD GPUs which they are",
  onUnix,
  async () => {
    await withSampler(async (standIns, { platform }) => {
      standIns.setAmd("amd-26");
      const words = "WARNING: User is missing the following required groups: render, video.";
      standIns.behave("amd-smi", { code: 1, stdout: words });
      const failure = takeFailure(await createGpuSampler(platform).sample());
      assertEquals(failure.kind, "forbidden");
      assertMatch(failure.message, /render,video/);
    });
  },
);

Deno.test("describeGpuExit() quotes what it does not know, safe and short", () => {
  const stdout = `\n  \x1b[2J${"x".repeat(500)}\n`;
  const { message } = describeGpuExit("amd-smi", { code: 3, stdout, stderr: "" });
  assertStringIncludes(message, 'amd-smi failed with code 3 and printed "\\x1b[2Jxxx');
  assert(message.length < 250, message);
});

Deno.test("describeGpuOutcome() says why a program did not end by itself", () => {
  const kinds = {
    missing: "absent",
    timeout: "timeout",
    flooded: "flooded",
    aborted: "aborted",
  } as const;
  for (const [outcome, kind] of Object.entries(kinds)) {
    const failure = describeGpuOutcome("nvidia-smi", { kind: outcome as keyof typeof kinds }, 2);
    assertEquals(failure.kind, kind);
    assertMatch(failure.message, /^nvidia-smi .*[^.]$/);
  }
  const refused = describeGpuOutcome("nvidia-smi", { kind: "refused", message: "secret" }, 2);
  assertEquals(refused.kind, "refused");
  assert(!refused.message.includes("secret"), refused.message);
  assertStringIncludes(describeGpuOutcome("amd-smi", { kind: "timeout" }, 5).message, "within 5 s");
});

Deno.test("describeGpuOutcome() and describeSlowSample() advise what the program can do", () => {
  for (const kind of ["timeout", "aborted"] as const) {
    assertStringIncludes(describeGpuOutcome("nvidia-smi", { kind }, 2).message, "nvidia-smi -pm 1");
    const { message } = describeGpuOutcome("amd-smi", { kind }, 5);
    assert(!/persistence|nvidia/.test(message), message);
  }
  assertMatch(describeSlowSample("nvidia-smi", 2.12), /^nvidia-smi took 2\.1 s: .* -pm 1/);
  assert(!/persistence|nvidia/.test(describeSlowSample("amd-smi", 7)));
});
