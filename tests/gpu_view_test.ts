import { assertEquals } from "@std/assert";
import type { GpuOutlier } from "../lib/gpu_peers.ts";
import {
  describeMemory,
  describeOutlier,
  describeOwners,
  describeReasons,
  judgeTemperature,
  shortenGpuName,
} from "../lib/gpu_view.ts";
import { readGpuShares } from "../lib/gpu_owners.ts";
import { createOverview } from "../lib/overview.ts";
import { absent, present } from "../lib/reading.ts";
import { watchFleet } from "./fixtures/fleets.ts";
import { sampleGpus } from "./fixtures/gpu_states.ts";
import { createGpuProcess, readGpus } from "./fixtures/gpus.ts";

const GIB = 2 ** 30;

Deno.test("shortenGpuName() leaves the maker out", () => {
  const names = [
    ["NVIDIA H100 80GB HBM3", "H100 80GB HBM3"],
    ["Tesla T4", "T4"],
    ["NVIDIA GeForce RTX 4090", "RTX 4090"],
    ["AMD Instinct MI300X", "MI300X"],
    ["NVIDIA", "NVIDIA"],
  ];
  for (const [name, short] of names) assertEquals(shortenGpuName(name), short);
});

Deno.test("describeMemory() says what is not there, and what is shared", () => {
  const [used, total] = [present(71.5 * GIB), present(80 * GIB)];
  const none = absent("unsupported");
  const tell = (
    memoryUsedBytes: typeof used | typeof none,
    memoryTotalBytes: typeof memoryUsedBytes,
  ) => describeMemory({ memoryUsedBytes, memoryTotalBytes });
  assertEquals(tell(used, total), "71.5/80.0 GiB");
  assertEquals(tell(used, none), "71.5/n/a GiB");
  assertEquals(tell(none, total), "n/a/80.0 GiB");
  assertEquals(tell(none, none), "n/a");
  const shared = { memoryUsedBytes: used, memoryTotalBytes: total, isMemoryUnified: true };
  assertEquals(describeMemory(shared), "71.5/80.0 GiB unified");
});

Deno.test("describeReasons() has words for what slows a GPU, and none for idleness", () => {
  assertEquals(describeReasons(present(["idle"])), "");
  assertEquals(
    describeReasons(present(["power_cap", "idle", "thermal_hardware"])),
    "power cap, too hot (hardware)",
  );
  assertEquals(describeReasons(absent("unsupported")), "");
});

Deno.test("describeOutlier() has the evidence that there is", () => {
  const outlier: GpuOutlier = {
    gpuIndex: 3,
    kind: "slow_clock",
    reasons: ["power_cap"],
    smClockHertz: present(1.2e9),
    peersClockHertz: present(1.98e9),
    peerCount: 1,
    temperatureCelsius: present(61),
  };
  assertEquals(
    describeOutlier(outlier),
    "slower than its peers, 1200 MHz against 1980 MHz of 1 busy peer, 61 °C, power cap",
  );
  const none = absent("missing");
  assertEquals(
    describeOutlier({
      ...outlier,
      ...{ kind: "throttled", reasons: ["thermal_software"], smClockHertz: none },
      ...{ peersClockHertz: none, temperatureCelsius: none },
    }),
    "throttled: too hot (driver)",
  );
});

Deno.test("judgeTemperature() goes by what is left until the GPU slows down", () => {
  const judge = (margin: number | null, celsius: number | null = 70) =>
    judgeTemperature({
      temperatureCelsius: celsius === null ? absent("unreadable") : present(celsius),
      temperatureMarginCelsius: margin === null ? absent("unsupported") : present(margin),
    });
  assertEquals([16, 15, 6, 5, -1].map((margin) => judge(margin)), [
    ...["plain", "warn", "warn", "alert", "alert"] as const,
  ]);
  assertEquals([judge(null), judge(null, null)], ["plain", "dim"]);
});

Deno.test("describeOwners() names each once, strangers last, and not too many", () => {
  const holders = [
    { port: 8000, gpus: [0, 1] },
    { port: 8001, gpus: [0] },
    { port: 8002, gpus: [0] },
  ];
  const strangers = [createGpuProcess(9, { memoryBytes: absent("unreadable") })];
  const state = sampleGpus(watchFleet(3), [readGpus("h100x8.tsv")], holders, strangers);
  const overview = createOverview(state);
  const shares = readGpuShares(state);
  const tell = (some: typeof shares, hasMemory: boolean) =>
    describeOwners(some, overview, { hasMemory });
  assertEquals(tell(shares, false), ":8000, :8001, :8002 and 1 more");
  assertEquals(tell(shares.slice(0, 2), true), ":8000 140 GiB");
  assertEquals(tell([shares[4], shares[0]], true), ":8000 70.0 GiB, other");
  assertEquals(tell([], true), "");
});
