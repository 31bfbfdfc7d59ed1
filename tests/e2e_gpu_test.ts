import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { PERMISSIONS } from "../.ci/permissions.ts";
import { type Behaviour, type StandIns, withStandIns } from "./gpu_stand_in.ts";
import {
  listCommand,
  type Outcome,
  readDocument,
  type ReportDocument,
  runProgram,
} from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { checkReturn, startLive, withScreens } from "./tmux_screens.ts";
import { startVllmServer, type VllmServer } from "./vllm_server.ts";

/** Shell scripts stand in for the programs. */
const onUnix = { ignore: Deno.build.os === "windows" };

const JSON_ONCE = ["--once", "--interval", "0.5", "--output", "json"];

/** What these tests look at in a document. */
interface HostDocument {
  readonly name: string;
  readonly gpus:
    | readonly {
      readonly name: string;
      readonly utilizationRatio: number | null;
      readonly memoryTotalBytes: number | null;
      readonly reasons?: Readonly<Record<string, string>>;
      readonly migInstances: readonly unknown[];
      readonly processes: readonly {
        readonly pid: number;
        readonly owner: { readonly replica: string | null; readonly evidence: string } | null;
      }[];
    }[]
    | null;
  readonly gpuFailure: { readonly kind: string; readonly message: string } | null;
  readonly gpuSample: { readonly program: string } | null;
}

interface GpuDocument {
  readonly hosts: readonly HostDocument[];
  readonly cost: {
    readonly basis: string;
    readonly isHint: boolean;
    readonly gpuCount: number;
    readonly rate: { readonly compute: { readonly usdPerHour: number | null } };
    readonly session: { readonly tokensUsd: number | null; readonly computeUsd: number | null };
  };
  readonly replicas: readonly { readonly gpuIndexes: readonly number[] | null }[];
}

/** The document, with the GPUs of its one host. */
function readGpus(outcome: Outcome): GpuDocument & HostDocument & ReportDocument {
  assertEquals(outcome.stderr, "");
  const document: GpuDocument & ReportDocument = JSON.parse(
    JSON.stringify(readDocument(outcome.stdout)),
  );
  const [host, ...others] = document.hosts;
  assertEquals(others, []);
  return { ...host, ...document };
}

/** Runs with stand-ins and a server. */
async function withMachine(
  test: (
    machine: {
      readonly standIns: StandIns;
      readonly server: VllmServer;
      readonly run: (...args: readonly string[]) => Promise<Outcome>;
      readonly path: string;
    },
  ) => Promise<void>,
): Promise<void> {
  await withStandIns(async (standIns) => {
    const server = await startVllmServer({ warmUp: 30 });
    const path = `${standIns.folder}:${Deno.env.get("PATH") ?? ""}`;
    const run = (...args: readonly string[]) => runProgram(args, { environment: { PATH: path } });
    try {
      await test({ standIns, server, run, path });
    } finally {
      await server.close();
    }
  });
}

/** nvidia-smi that finds its library only by `LD_LIBRARY_PATH`, as in some containers. */
const NEEDS_PATH = `behaviour=ok
case "$LD_LIBRARY_PATH" in
  /nvidia) ;;
  *) echo "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system."; exit 12 ;;
esac
`;

Deno.test(
  "LD_LIBRARY_PATH keeps no program from starting, and is passed on by -A",
  onUnix,
  async () => {
    await withMachine(async ({ standIns, server, path }) => {
      standIns.setNvidia({ gpus: "h100x8.tsv" });
      const args = [server.url, "--once", "--interval", "0", "--output", "json"];
      const environment = { PATH: path, LD_LIBRARY_PATH: "/nvidia", DYLD_LIBRARY_PATH: "/nvidia" };
      const run = async (command = listCommand(...args)) =>
        readGpus(await runProgram([], { command, environment }));
      const usual = await run();
      assertEquals([usual.gpus?.length, usual.gpuFailure], [8, null]);

      Deno.writeTextFileSync(`${standIns.folder}/nvidia-smi.behaviour`, NEEDS_PATH);
      const { gpuFailure } = await run();
      assertEquals(gpuFailure?.kind, "driver_missing");
      assertMatch(gpuFailure?.message ?? "", /ldconfig \(LD_LIBRARY_PATH is passed on only by/);
      if (Deno.env.has("VLLM_HTOP_BINARY")) return;
      const [deno, word, ...rest] = listCommand(...args);
      const others = rest.filter((part) => !PERMISSIONS.includes(part));
      assertEquals((await run([deno, word, "-A", ...others])).gpus?.length, 8);
      // Deno without permission to start it.
      const narrow = PERMISSIONS.filter((flag) => !flag.startsWith("--allow-run"));
      const refused = await run([deno, word, ...narrow, ...others, "--gpus"]);
      assertEquals(refused.gpuFailure?.kind, "refused");
      assertMatch(refused.gpuFailure?.message ?? "", /--allow-run=nvidia-smi,/);
    });
  },
);

Deno.test("--once has the GPUs of each recorded machine, and what they cost", onUnix, async () => {
  await withMachine(async ({ standIns, server, run }) => {
    standIns.setNvidia({ gpus: "h100x8.tsv" });
    const eight = readGpus(await run(server.url, ...JSON_ONCE, "--cost-out", "2"));
    assertEquals(eight.gpus?.length, 8);
    assertEquals(eight.gpus?.[1].utilizationRatio, 0.98);
    assertEquals([eight.gpuFailure, eight.gpuSample?.program], [null, "nvidia-smi"]);
    assertEquals([eight.cost.basis, eight.cost.gpuCount, eight.cost.isHint], ["machine", 8, true]);
    assertAlmostEquals(eight.cost.rate.compute.usdPerHour ?? NaN, 8 * 3.39);
    assert((eight.cost.session.tokensUsd ?? 0) > 0);

    standIns.setNvidia({ gpus: "t4-old-driver.tsv", help: "help-418.txt" });
    const t4 = readGpus(await run(server.url, ...JSON_ONCE));
    assertEquals(t4.gpus?.[0].reasons?.fanRatio, "unsupported");
    standIns.setNvidia({ gpus: "gb10.tsv", apps: "gb10-apps.csv" });
    const gb10 = readGpus(await run(server.url, ...JSON_ONCE, "--gpu-cost-hour", "0.5"));
    assertEquals(gb10.gpus?.[0].memoryTotalBytes, Deno.systemMemoryInfo().total);
    assertEquals([gb10.cost.rate.compute.usdPerHour, gb10.cost.isHint], [0.5, false]);
    standIns.setNvidia({
      ...{ gpus: "h100-mig.tsv", apps: "h100-mig-apps.csv" },
      ...{ list: "h100-mig-list.txt", detail: "h100-mig-detail.txt" },
    });
    const mig = readGpus(await run(server.url, ...JSON_ONCE));
    assertEquals([mig.gpus?.[0].utilizationRatio, mig.gpus?.[0].migInstances.length], [null, 4]);

    standIns.behave("nvidia-smi", { code: 6, stdout: "No devices were found\n" });
    standIns.setAmd("amd-26");
    const amd = readGpus(await run(server.url, ...JSON_ONCE));
    assertEquals(amd.gpuSample?.program, "amd-smi");
    assertEquals(amd.gpus?.map(({ name }) => name.includes("MI300X")), [true, true]);
  });
});

Deno.test("--once tells whose memory it is", needsProgram("ss"), async () => {
  await withMachine(async ({ standIns, server, run }) => {
    standIns.setNvidia({ gpus: "h100x8.tsv" });
    // The server is this very process: what it starts is a worker of it.
    const worker = new Deno.Command("sleep", { args: ["60"] }).spawn();
    const uuidOf = (index: number) => `GPU-0000000${index}-0000-0000-0000-00000000000${index}`;
    Deno.writeTextFileSync(
      `${standIns.folder}/apps`,
      `${uuidOf(2)}, ${worker.pid}, 70000, VLLM::Worker_TP0\n` +
        `${uuidOf(3)}, ${worker.pid}, 70000, VLLM::Worker_TP1\n` +
        `${uuidOf(6)}, 1, 9000, /sbin/train\n`,
    );
    try {
      const known = readGpus(await run(server.url, ...JSON_ONCE));
      assertEquals(known.replicas[0].gpuIndexes, [2, 3]);
      assertEquals([known.cost.basis, known.cost.gpuCount], ["serving", 2]);
      const owners = known.gpus?.map(({ processes }) => processes[0]?.owner?.evidence ?? null);
      assertEquals(owners, [null, null, "listener", "listener", null, null, null, null]);
      assertEquals(known.gpus?.[6].processes[0].owner, null);
    } finally {
      worker.kill("SIGKILL");
      await worker.status;
    }
  });
});

Deno.test("--once is as good as ever where GPU programs fail", onUnix, async () => {
  const failures: readonly (readonly [Behaviour, string])[] = [
    ["hang", "timeout"],
    ["crash", "failed"],
    [
      { code: 18, stdout: "Failed to initialize NVML: Driver/library version mismatch\n" },
      "driver_mismatch",
    ],
  ];
  await withMachine(async ({ standIns, server, run }) => {
    standIns.setNvidia({ gpus: "h100.tsv" });
    const fail = async (behaviour: Behaviour): Promise<string | undefined> => {
      standIns.behave("nvidia-smi", behaviour);
      const outcome = await run(server.url, ...JSON_ONCE);
      const document = readGpus(outcome);
      assertEquals([outcome.code, document.gpus], [0, null]);
      assert((document.total.lastPoll.generationTokensPerSecond ?? 0) > 0);
      assertEquals(document.cost.rate.compute.usdPerHour, null);
      return document.gpuFailure?.kind;
    };
    for (const [behaviour, kind] of failures) assertEquals(await fail(behaviour), kind);
    // A busy machine may take longer for too much output than a sample may.
    assertMatch(await fail("flood") ?? "", /^(?:flooded|timeout)$/);
  });
});

Deno.test(
  "GPU programs are started where a server is on this machine, or as told",
  onUnix,
  async () => {
    await withMachine(async ({ standIns, server, run }) => {
      standIns.setNvidia({ gpus: "l4.tsv" });
      const remote = "http://gpu1.invalid:8000";
      const starts = async (...args: readonly string[]): Promise<boolean> => {
        await run(...args, "--once", "--interval", "0", "--output", "json");
        return standIns.takeStarts().length > 0;
      };
      assertEquals(await starts(server.url), true);
      assertEquals(await starts(server.url, "--no-gpu"), false);
      assertEquals(await starts(remote), false);
      assertEquals(await starts(remote, "--gpus"), true);
      assertEquals(await starts("--demo", "vllm"), false);
    });
  },
);

Deno.test("the live screen has the GPUs, and goes on when their driver hangs", {
  ...needsProgram("tmux"),
}, async () => {
  await withMachine(async ({ standIns, server, path }) => {
    standIns.setNvidia({ gpus: "h100x8.tsv" });
    await withScreens(async (screens, folder) => {
      const run = await startLive(screens, {
        folder,
        args: [server.url, "--interval", "0.5", "--output", "table"],
        size: { columns: 120, rows: 40 },
        variables: `PATH='${path}'`,
      });
      const { screen } = run;
      const shows = (pattern: RegExp) => (rows: readonly string[]) =>
        rows.some((row) => pattern.test(row));
      await screen.waitFor(shows(/^ 0 {2}▓+░* +\d+ % mem ▓+░* +\d+ % +\d+ W +\d+°/));
      await screen.waitFor(shows(/≈ \$27\.12/));
      standIns.behave("nvidia-smi", "hang");
      const rows = await screen.waitFor(shows(/nvidia-smi did not answer within 2 s/));
      const readClock = (lines: readonly string[]) => /\d\d:\d\d:\d\d/.exec(lines[0])?.[0];
      const clock = readClock(rows);
      await screen.waitFor((lines) => readClock(lines) !== clock);
      standIns.behave("nvidia-smi", "ok");
      await screen.waitFor(shows(/^ 0 {2}▓+░* +\d+ % mem ▓+░* +\d+ % +\d+ W +\d+°/));
      standIns.behave("nvidia-smi", "hang");
      await screen.press("q");
      await checkReturn(run, 0);
    });
  });
});

Deno.test("--list-prices lists the hints, those of --prices first", async () => {
  const hints = await runProgram(["--list-prices"]);
  assertEquals([hints.code, hints.stderr], [0, ""]);
  assertMatch(hints.stdout, /^GPU .*\n(?:.*\n)*H100 +3\.39 /);
  const file = await Deno.makeTempFile({ prefix: "prices-" });
  try {
    await Deno.writeTextFile(file, "H100\t2.10\tmy lease\n");
    const own = await runProgram(["--list-prices", "--prices", file]);
    assertMatch(own.stdout, /^GPU .*\nH100 +2\.10 {2}my lease\n/);
    await Deno.writeTextFile(file, "H100\tcheap\n");
    const wrong = await runProgram(["--demo", "vllm", "--once", "--prices", file]);
    assertEquals([wrong.code, wrong.stdout], [3, ""]);
    assertMatch(wrong.stderr, /^vllm-htop: the price file ".*" line 1 has "cheap"/);
  } finally {
    await Deno.remove(file);
  }
});
