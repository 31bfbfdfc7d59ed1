import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { addMigInstances } from "../lib/nvidia_mig.ts";
import { readComputeApps } from "../lib/nvidia_smi.ts";
import { absent, present } from "../lib/reading.ts";
import { readGpuFixture, readGpus } from "./fixtures/gpus.ts";

const MIB = 2 ** 20;

function readMig(outputs: { readonly list: string; readonly detail: string }) {
  const gpus = readGpus("h100-mig.tsv");
  const processes = readComputeApps(readGpuFixture("h100-mig-apps.csv"), gpus);
  return addMigInstances({ gpus, processes }, outputs);
}

const LIST = readGpuFixture("h100-mig-list.txt");
const DETAIL = readGpuFixture("h100-mig-detail.txt");

Deno.test("addMigInstances() lists the instances of a recorded GPU with their memory", () => {
  const [gpu] = readMig({ list: LIST, detail: DETAIL }).gpus;
  assertEquals(gpu.isMigEnabled, present(true));
  assertEquals(gpu.utilizationRatio, absent("unsupported"));
  assertEquals(
    gpu.migInstances.map(({ index, profile, gpuInstanceId, memoryUsedBytes, memoryTotalBytes }) => [
      index,
      profile.value,
      gpuInstanceId.value,
      (memoryUsedBytes.value ?? NaN) / MIB,
      (memoryTotalBytes.value ?? NaN) / MIB,
    ]),
    [
      [0, "3g.40gb", 2, 11_091, 40_448],
      [1, "2g.20gb", 3, 17, 20_096],
      [2, "1g.10gb", 9, 9, 9984],
      [3, "1g.10gb", 10, 9, 9984],
    ],
  );
  assertEquals(gpu.migInstances[1].uuid, present("MIG-00000001-0000-0000-0000-000000000001"));
});

Deno.test("addMigInstances() tells the instance of each process", () => {
  const { processes } = readMig({ list: LIST, detail: DETAIL });
  assertEquals(processes.map(({ pid, gpuInstanceId }) => [pid, gpuInstanceId]), [
    [21_180, present(2)],
    [21_181, present(2)],
    [21_198, present(2)],
  ]);
});

Deno.test("addMigInstances() gives what one output says where the other is not there", () => {
  const named = readMig({ list: LIST, detail: "" });
  assertEquals(named.gpus[0].migInstances.map(({ profile }) => profile.value), [
    "3g.40gb",
    "2g.20gb",
    "1g.10gb",
    "1g.10gb",
  ]);
  assertEquals(named.gpus[0].migInstances[0].memoryTotalBytes, absent("missing"));
  assertEquals(named.processes[0].gpuInstanceId, absent("missing"));
  const detailed = readMig({ list: "", detail: DETAIL });
  assertEquals(detailed.gpus[0].migInstances.length, 4);
  assertEquals(detailed.gpus[0].migInstances[3].uuid, absent("missing"));
  assertEquals(readMig({ list: "", detail: "" }).gpus[0].migInstances, []);
});

Deno.test("addMigInstances() leaves GPUs alone that are not divided", () => {
  const gpus = readGpus("h100x8.tsv");
  assertEquals(addMigInstances({ gpus, processes: [] }, { list: LIST, detail: DETAIL }).gpus, gpus);
});

Deno.test("addMigInstances() never throws, wherever the outputs break off", () => {
  fc.assert(fc.property(fc.nat(DETAIL.length), fc.nat(LIST.length), (detailEnd, listEnd) => {
    const { gpus } = readMig({ list: LIST.slice(0, listEnd), detail: DETAIL.slice(0, detailEnd) });
    assertEquals(gpus.length, 1);
  }));
});
