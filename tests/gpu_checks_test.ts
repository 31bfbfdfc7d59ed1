import { assertEquals, assertMatch } from "@std/assert";
import { parseAmdGpus } from "../lib/gpu_amd_smi.ts";
import { dropImpossibleFigures } from "../lib/gpu_checks.ts";
import type { GpuProcess, GpuSample } from "../lib/gpu_model.ts";
import { absent, present } from "../lib/reading.ts";
import { readMigGpus } from "./fixtures/gpu_states.ts";
import { createGpuProcess, readGpuFixture, readGpus } from "./fixtures/gpus.ts";

const [H100] = readGpus("h100.tsv");
const INVALID = absent("invalid");

function check(gpus: readonly GpuSample[], processes: readonly GpuProcess[] = []) {
  return dropImpossibleFigures("nvidia-smi", {
    gpus,
    processes: present(processes),
    warnings: ["before"],
  });
}

Deno.test("dropImpossibleFigures() changes nothing of the recorded machines", () => {
  for (const name of ["h100x8.tsv", "gb10.tsv", "rtx2080super-idle.tsv"]) {
    assertEquals(check(readGpus(name)).gpus, readGpus(name), name);
  }
  assertEquals(check(readMigGpus()), {
    gpus: readMigGpus(),
    processes: present([]),
    warnings: ["before"],
  });
});

Deno.test("dropImpossibleFigures() drops zeros that no GPU has", () => {
  const zero = present(0);
  const keys = [
    ...["memoryTotalBytes", "powerLimitWatts", "smClockHertz", "smClockMaxHertz"] as const,
    ...["memoryClockHertz", "pcieGeneration", "pcieGenerationMax", "pcieWidth"] as const,
  ] as const;
  for (const key of keys) {
    const [gpu] = check([{ ...H100, [key]: zero }]).gpus;
    assertEquals(gpu[key], INVALID, key);
  }
  // These may well be 0.
  const idle = { utilizationRatio: zero, memoryUsedBytes: zero, powerWatts: zero, fanRatio: zero };
  assertEquals(check([{ ...H100, ...idle }]).gpus, [{ ...H100, ...idle }]);
  const [odd] = check([{ ...H100, utilizationRatio: present(655.35), powerWatts: present(-1) }])
    .gpus;
  assertEquals([odd.utilizationRatio, odd.powerWatts], [INVALID, INVALID]);
});

Deno.test("dropImpossibleFigures() drops more memory in use than there is, and says so", () => {
  const metric = readGpuFixture("amd-apu-metric.txt")
    .replace('"used_vram":{"value":412', '"used_vram":{"value":17592186044391');
  const gpus = parseAmdGpus({ metric, fixed: readGpuFixture("amd-apu-static.txt") }) ?? [];
  const { gpus: [gpu], warnings } = check(gpus);
  assertEquals(gpu.memoryUsedBytes, INVALID);
  assertEquals(gpu.memoryTotalBytes, present(100 * 2 ** 30));
  assertEquals(warnings.length, 2);
  assertMatch(warnings[1], /memory in use on GPU 0/);
  const negative = check([{ ...H100, memoryUsedBytes: present(-26_214_400) }]).gpus[0];
  assertEquals(negative.memoryUsedBytes, INVALID);
});

Deno.test("dropImpossibleFigures() checks processes and MIG instances", () => {
  const tooMuch = createGpuProcess(1, { memoryBytes: present(2 ** 60) });
  const elsewhere = createGpuProcess(2, { gpuIndex: 7 });
  const { processes } = check([H100], [tooMuch, elsewhere]);
  assertEquals(processes.value?.map(({ memoryBytes }) => memoryBytes), [
    INVALID,
    elsewhere.memoryBytes,
  ]);
  const [mig] = readMigGpus();
  const [first, ...others] = mig.migInstances;
  const broken = { ...first, memoryTotalBytes: present(0) };
  const [gpu] = check([{ ...mig, migInstances: [broken, ...others] }]).gpus;
  assertEquals(gpu.migInstances[0].memoryTotalBytes, INVALID);
  assertEquals(gpu.migInstances.slice(1), others);
});
