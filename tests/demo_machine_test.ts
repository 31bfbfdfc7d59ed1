import { assert, assertEquals } from "@std/assert";
import { createDemoMachine } from "../lib/demo_machine.ts";
import { listServerProcesses } from "../lib/gpu_attribution.ts";
import { findGpuOutliers } from "../lib/gpu_outliers.ts";
import { createGpuSampler, isGpuFailure } from "../lib/gpu_sampler.ts";
import {
  appendHostSample,
  computeHostLoad,
  type HostSample,
  sampleHost,
} from "../lib/host_load.ts";
import { createProcessLister } from "../lib/host_processes.ts";
import type { Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { isPresent } from "../lib/reading.ts";

const SERVERS = [8000, 8001, 8002].map((port) => ({
  ...{ kind: "", model: "org/m", port, isHot: port === 8001 },
  isUpAt: (elapsed: number) => port !== 8002 || elapsed < 50,
}));

/** The machine at moments that the test chooses. */
function createMachine(): { readonly platform: Platform; readonly goTo: (at: number) => void } {
  let now = 0;
  const real = { ...createDenoPlatform(), operatingSystem: "linux", monotonicSeconds: () => now };
  return {
    platform: { ...real, ...createDemoMachine(real, SERVERS) },
    goTo: (at) => now = at,
  };
}

Deno.test("createDemoMachine() has a GPU for each server, one of them too hot, for the real sampler", async () => {
  const { platform, goTo } = createMachine();
  const sampler = createGpuSampler(platform);
  const sample = async (at: number) => {
    goTo(at);
    const report = await sampler.sample();
    if (isGpuFailure(report)) throw new Error(report.message);
    return report;
  };
  for (let at = 0; at < 40; at++) {
    const { gpus, processes, warnings } = await sample(at);
    assertEquals(gpus.length, 3);
    assertEquals(findGpuOutliers(gpus).map(({ gpuIndex, kind }) => [gpuIndex, kind]), [
      [1, "throttled"],
    ]);
    assertEquals(processes.value?.map(({ gpuIndex }) => gpuIndex), [0, 1, 2]);
    for (const { utilizationRatio, powerWatts, powerLimitWatts } of gpus) {
      assert(isPresent(utilizationRatio) && utilizationRatio.value <= 1);
      assert((powerWatts.value ?? Infinity) <= (powerLimitWatts.value ?? 0));
    }
    assertEquals(warnings, []);
  }
  // The server that is down has left its GPU.
  const { gpus, processes } = await sample(60);
  assertEquals(processes.value?.length, 2);
  assertEquals(gpus[2].utilizationRatio.value, 0);
  sampler.close();
});

Deno.test("createDemoMachine() has servers that listen, and whose processes use CPU", async () => {
  const { platform, goTo } = createMachine();
  const listing = await createProcessLister(platform)?.();
  assertEquals(listing?.problems, []);
  const endpoints = SERVERS.map(({ port }) => ({
    ...{ endpointKey: `http://localhost:${port}`, port, engines: ["0"], modelNames: ["org/m"] },
    listenerPids: listing?.listening.find((one) => one.port === port)?.ownerPids ?? [],
  }));
  const processes = listServerProcesses(listing?.processes ?? new Map(), endpoints);
  assertEquals(processes.map(({ role }) => role), [
    ...["api_server", "engine_core", "api_server", "engine_core"],
    ...["api_server", "engine_core"],
  ]);
  let samples: readonly HostSample[] = [];
  for (const at of [0, 1, 6, 11]) {
    goTo(at);
    samples = appendHostSample(samples, await sampleHost(platform, processes));
  }
  const load = computeHostLoad(samples);
  const cores = load.processes.map(({ cpuCores }) => Math.round((cpuCores.value ?? NaN) * 100));
  assertEquals(cores, [34, 100, 39, 100, 44, 100]);
  assert((load.cpuRatio.value ?? NaN) > 0.1 && (load.cpuRatio.value ?? NaN) < 0.25);
  assert((load.memoryUsedBytes.value ?? 0) > 0);
});

Deno.test("createDemoMachine() shows nothing of the real machine", async () => {
  const { platform } = createMachine();
  const call = { arguments: [], timeout: 1, maxOutputBytes: 1 };
  assertEquals(await platform.runProgram({ name: "amd-smi", ...call }), { kind: "missing" });
  const read = await platform.readTextFile("/proc/self/stat").catch(({ message }) => message);
  assertEquals(read, "the machine is simulated");
});
