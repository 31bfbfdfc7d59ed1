import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import type { GpuSample } from "../lib/gpu_model.ts";
import { absent, present } from "../lib/reading.ts";
import type { State } from "../lib/state.ts";
import { advance, createEndpoint, createFailed } from "./fixtures/expositions.ts";
import { watchFleet } from "./fixtures/fleets.ts";
import { failGpus, type Holder, readMigGpus, sampleGpus } from "./fixtures/gpu_states.ts";
import { createGpuProcess, readGpus } from "./fixtures/gpus.ts";

const H100X8 = readGpus("h100x8.tsv");
const FLEET = watchFleet(2);
const HOLDERS: readonly Holder[] = [{ port: 8000, gpus: [0, 1] }, { port: 8001, gpus: [2] }];

function draw(watts: readonly (number | null)[]): readonly GpuSample[] {
  return H100X8.map((gpu, i) => {
    const value = watts[i % watts.length];
    return { ...gpu, powerWatts: value === null ? absent("unsupported") : present(value) };
  });
}

function getPower({ fleet: { energy } }: State, place = 0) {
  return energy.servers[place].powerWatts;
}

Deno.test("computeEnergy() relates the last minute's output tokens to the mean power of the GPUs", () => {
  const state = sampleGpus(FLEET, [draw([500, 600, 300]), draw([700, 600, 300])], HOLDERS);
  const { energy: { servers, total }, rows } = state.fleet;
  assertEquals(
    servers.map(({ endpointKey, gpuCount, powerWatts }) => [
      ...[endpointKey, gpuCount, powerWatts],
    ]),
    [
      ["http://localhost:8000", 2, present(1200)],
      ["http://localhost:8001", 1, present(300)],
    ],
  );
  const [first, second] = rows.map(({ figures }) =>
    figures.lastMinute.generationTokensPerSecond.value ?? NaN
  );
  assert(first > 0);
  assertEquals(servers[0].outputTokensPerSecond, present(first));
  assertAlmostEquals(servers[0].joulesPerToken.value ?? NaN, 1200 / first);
  assertAlmostEquals(servers[0].tokensPerSecondPerWatt.value ?? NaN, first / 1200);
  assertEquals([total.gpuCount, total.powerWatts], [3, present(1500)]);
  assertAlmostEquals(total.joulesPerToken.value ?? NaN, 1500 / (first + second));
});

Deno.test("computeEnergy() knows no power of GPUs that are shared, divided, partly known or silent", () => {
  const busy = draw([600]);
  const foreign = createGpuProcess(9, { gpuIndex: 1 });
  const shared = sampleGpus(FLEET, [busy], HOLDERS, [foreign]);
  assertEquals(getPower(shared), absent("unsupported"));
  assertEquals(getPower(shared, 1), present(600));
  assertEquals(shared.fleet.energy.total.powerWatts, present(600));
  const mig = sampleGpus(FLEET, [readMigGpus()], [{ port: 8000, gpus: [0], gpuInstanceId: 1 }]);
  assertEquals(getPower(mig), absent("unsupported"));
  assertEquals(getPower(sampleGpus(FLEET, [draw([600, null])], HOLDERS)), absent("missing"));
  assertEquals(
    getPower(failGpus(sampleGpus(FLEET, [busy], HOLDERS), "timeout", "")),
    absent("stale"),
  );
});

Deno.test("computeEnergy() knows no power of a server with GPUs on another machine", () => {
  const sampled = sampleGpus(FLEET, [draw([600])], HOLDERS);
  const withSizes = (...sizes: readonly (readonly [string, number])[]): State =>
    advance(sampled, sampled.now, [{
      kind: "launch_read",
      endpointKey: "http://localhost:8000",
      server: {
        ...{ version: null, models: [] },
        launch: { commandLine: "vllm serve m", parallelSizes: new Map(sizes) },
      },
    }]);
  assertEquals(getPower(withSizes(["tensor-parallel-size", 2])), present(1200));
  const two = withSizes(["tensor-parallel-size", 2], ["pipeline-parallel-size", 2]);
  assertEquals(getPower(two), absent("missing"));
});

Deno.test("computeEnergy() counts no tokens of a server that does not answer", () => {
  const state = sampleGpus(FLEET, [draw([600])], HOLDERS);
  const endpoint = createEndpoint(8000);
  const silent = advance(state, state.now + 60, [
    ...[20, 40, 60].map((later) => createFailed(endpoint, state.now + later)),
  ]);
  const [server] = silent.fleet.energy.servers;
  assertEquals(server.outputTokensPerSecond, absent("stale"));
  assertEquals(server.joulesPerToken, absent("stale"));
});

Deno.test("computeEnergy() has no server without known GPUs", () => {
  const { servers, total } = sampleGpus(FLEET, [draw([600])]).fleet.energy;
  assertEquals([servers, total.gpuCount, total.joulesPerToken], [[], 0, absent("missing")]);
});
