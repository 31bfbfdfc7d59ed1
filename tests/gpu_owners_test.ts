import { assertEquals } from "@std/assert";
import { areOwnersKnown, listGpus, listGpusOf, readGpuShares } from "../lib/gpu_owners.ts";
import { createOverview } from "../lib/overview.ts";
import type { State } from "../lib/state.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { failGpus, sampleGpus } from "./fixtures/gpu_states.ts";
import { createGpuProcess, readGpus } from "./fixtures/gpus.ts";

const EIGHT = readGpus("h100x8.tsv");
const RUNNING = encode(writeEngine([["num_requests_running", 1]]));

function watch(ports: readonly number[], host = "localhost", more: Partial<State> = {}): State {
  const endpoints = ports.map((port) => createEndpoint(port, host));
  const scraped = endpoints.map((endpoint) => createScraped(endpoint, 1, RUNNING));
  return advance(startState(endpoints, more), 2, scraped);
}

const tellGpus = (state: State) =>
  createOverview(state).rows.map(({ gpus }) => gpus.map(({ index }) => index));

Deno.test("listGpusOf() gives each replica its own GPUs", () => {
  const holders = [{ port: 8000, gpus: [0, 1, 2, 3] }, { port: 8001, gpus: [6, 4] }];
  const state = sampleGpus(watch([8000, 8001]), [EIGHT], holders);
  assertEquals(tellGpus(state), [[0, 1, 2, 3], [4, 6]]);
  assertEquals(areOwnersKnown(state), true);
  assertEquals(createOverview(state).total.gpus.length, 6);
  const [known] = createOverview(state).rows;
  assertEquals(
    listGpusOf(state, { endpointKey: known.state.endpoint.key, engine: "7" }),
    [],
  );
});

Deno.test("readGpuShares() follows the endpoints: those sampled first are found with their first scrape", () => {
  const endpoint = createEndpoint(8000);
  const before = sampleGpus(startState([endpoint]), [EIGHT], [{ port: 8000, gpus: [2] }]);
  assertEquals(tellGpus(before), [[]]);
  assertEquals(areOwnersKnown(before), false);
  const after = advance(before, 2, [createScraped(endpoint, 1, RUNNING)]);
  assertEquals(tellGpus(after), [[2]]);
  assertEquals(readGpuShares(after), readGpuShares({ ...after }));
});

Deno.test("areOwnersKnown() needs GPUs for each server that answers", () => {
  const one = sampleGpus(watch([8000, 8001]), [EIGHT], [{ port: 8000, gpus: [0] }]);
  assertEquals(areOwnersKnown(one), false);
  const silent = createEndpoint(8001);
  const endpoints = [createEndpoint(8000), silent];
  const state = advance(startState(endpoints), 2, [
    createScraped(endpoints[0], 1, RUNNING),
    createFailed(silent, 1),
  ]);
  const known = sampleGpus(state, [EIGHT], [{ port: 8000, gpus: [0] }]);
  assertEquals(areOwnersKnown(known), true);
  // One that has gone holds nothing any more.
  const both = advance(known, 4, [createScraped(silent, 3, RUNNING)]);
  assertEquals(areOwnersKnown(both), false);
  assertEquals(areOwnersKnown(advance(both, 6, [createFailed(silent, 5)])), true);
});

Deno.test("readGpuShares() gives nobody what is a stranger's, another machine's or simulated", () => {
  const holders = [{ port: 8000, gpus: [0] }];
  const stranger = sampleGpus(watch([8000]), [EIGHT], [], [createGpuProcess(77)]);
  assertEquals(readGpuShares(stranger).map(({ owner }) => owner), [null]);
  const remote = sampleGpus(watch([8000], "gpu1"), [EIGHT], holders);
  assertEquals(readGpuShares(remote).map(({ owner }) => owner), [null]);
  const demo = sampleGpus(watch([8000], "localhost", { isDemo: true }), [EIGHT], holders);
  assertEquals(readGpuShares(demo).map(({ owner }) => owner), [null]);
});

Deno.test("listGpus() has none while samples fail", () => {
  const state = sampleGpus(watch([8000]), [EIGHT], [{ port: 8000, gpus: [0] }]);
  assertEquals(listGpus(state).length, 8);
  const failed = failGpus(state, "timeout", "it hangs");
  assertEquals([listGpus(failed), tellGpus(failed)], [[], [[]]]);
});
