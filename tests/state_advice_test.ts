import { assert, assertEquals } from "@std/assert";
import { createSimulatedServer } from "../lib/demo.ts";
import type { SimulatedEngineOptions } from "../lib/demo_engine.ts";
import type { GpuSample } from "../lib/gpu_model.ts";
import { present } from "../lib/reading.ts";
import { type State, update } from "../lib/state.ts";
import { adviseVerdict } from "../lib/state_advice.ts";
import type { Row } from "../lib/state_fleet.ts";
import { renderDetail } from "../lib/view_detail.ts";
import { renderHeader } from "../lib/view_header.ts";
import { createPaint } from "../lib/view_theme.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  START_EPOCH,
  startState,
} from "./fixtures/expositions.ts";
import { createGpuReport, createMachine, heatGpu, loadHost } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const ENDPOINT = createEndpoint(8000);

/** Polls a simulated engine every two seconds. */
function simulate(
  options: Partial<SimulatedEngineOptions>,
  { seconds = 90, gpus = (_at: number): readonly GpuSample[] => [] } = {},
): State {
  const engines = [{ model: "m", ...options }];
  const server = createSimulatedServer({
    ...{ seed: 3, startEpoch: START_EPOCH, engines, warmUp: 20, speculative: false },
  });
  let state = startState([ENDPOINT]);
  for (let at = 0; at <= seconds; at += 2) {
    const body = server.expositionAt(at);
    const message = body === null ? createFailed(ENDPOINT, at) : createScraped(ENDPOINT, at, body);
    const cards = gpus(at);
    state = advance(state, at + 0.1, [message]);
    if (cards.length === 0) continue;
    const { processes, machine } = createMachine([{ port: 8000, gpus: [3], model: "m" }]);
    const report = createGpuReport(cards, { sampledAt: at, processes: present(processes) });
    state = update(state, { kind: "gpus_sampled", host: "localhost", report, machine });
    state = advance(state, at + 0.2);
  }
  return state;
}

function getRow({ fleet: { rows: [row] } }: State): Row {
  return row;
}

const plain = createPaint(null);

function readDetail(state: State): string {
  return renderDetail(getRow(state), state, { paint: plain, width: 120 })
    .flat().filter((line) => /Limited|→|max_tokens/.test(line)).join("\n");
}

function readVerdict(state: State, width: number): string {
  return renderHeader(state, { width, paint: plain })[1].trim();
}

/** More requests than it may run. */
const PLATEAU = simulate({ maxRunning: 16, requestsPerSecond: 12, promptTokens: 100 });
const FULL = simulate({ kvCacheTokens: 9000, requestsPerSecond: 8 });
const BUSY_GPUS = readGpus("h100x8.tsv");

Deno.test("createFleet() names the limit of a simulated plateau, and the flag that moves it", () => {
  const { limit, advice } = getRow(PLATEAU);
  assertEquals([limit.kind, limit.evidence.runningPeak], ["concurrency", 16]);
  assertEquals(advice.map(({ text, flag }) => [text, flag]), [
    ["raise --max-num-seqs", "--max-num-seqs"],
  ]);
  const [first, second] = readDetail(PLATEAU).trim().split(/\n\s*/);
  assert(
    /^Limited by {3}--max-num-seqs: running stands at 16 for \S+( \S+)? while \d+ wait, KV at most \d+ %$/
      .test(first),
    first,
  );
  assertEquals(second, "→ raise --max-num-seqs");
});

Deno.test("createFleet() names a KV cache that is too small", () => {
  const { limit, advice } = getRow(FULL);
  assertEquals([limit.kind, advice[0].flag], ["kv_cache", "--gpu-memory-utilization"]);
});

Deno.test("createFleet() names prefill where long prompts fill each step", () => {
  const load = { requestsPerSecond: 20, promptTokens: 2000, cachedShare: 0, outputTokens: 60 };
  const { limit, advice } = getRow(simulate({ ...load, kvCacheTokens: 900_000, maxRunning: 256 }));
  assertEquals([limit.kind, advice[0].flag], ["prefill", "--max-num-batched-tokens"]);
});

Deno.test("createFleet() names a GPU that was throttled for 30 s, only of its own engine", () => {
  const options = { requestsPerSecond: 3 };
  const heat = (index: number, from: number) => (at: number) =>
    at < from ? BUSY_GPUS : heatGpu(BUSY_GPUS, index);
  const judge = (gpus: (at: number) => readonly GpuSample[]) =>
    getRow(simulate(options, { gpus })).limit;
  const limited = judge(heat(3, 50));
  assertEquals([limited.kind, limited.evidence.gpuIndex], ["gpu", 3]);
  assertEquals(judge(heat(3, 70)).kind, "demand");
  assertEquals(judge(heat(4, 50)).kind, "demand");
  const state = simulate(options, { gpus: heat(3, 50) });
  assertEquals(
    readDetail(state).split("\n").map((line) => line.trim().split(/ for |:/)[0]),
    ["Limited by   GPU 3", "→ cool GPU 3 or check its power, and drain the replica meanwhile"],
  );
});

Deno.test("createFleet() forgets the limit of an engine that is stale", () => {
  const later = advance(PLATEAU, 100, [createFailed(ENDPOINT, 99)]);
  assertEquals([getRow(later).limit.kind, getRow(later).advice], ["unknown", []]);
});

Deno.test("createFleet() advises on the first cause, and renderHeader() shows it at 80 columns", () => {
  const [cause] = FULL.fleet.verdict.causes;
  assertEquals(cause.advice?.flag, "--gpu-memory-utilization");
  const alone = "→ raise --gpu-memory-utilization";
  const whole = `${alone}, set --kv-cache-dtype fp8, or add a replica`;
  assert(readVerdict(FULL, 80).endsWith(alone), readVerdict(FULL, 80));
  assert(readVerdict(FULL, 120).endsWith(whole), readVerdict(FULL, 120));
  assert(readVerdict(FULL, 200).includes(": "), readVerdict(FULL, 200));
  assert(readVerdict(FULL, 200).endsWith(whole), readVerdict(FULL, 200));
});

Deno.test("adviseVerdict() advises on a cause that concerns a whole endpoint", () => {
  const { verdict, rows } = FULL.fleet;
  const [cause] = verdict.causes;
  const judge = (key: string, signal: typeof cause.signal) =>
    adviseVerdict({ ...verdict, causes: [{ ...cause, key, signal }] }, rows)
      .causes.map(({ advice }) => advice?.id ?? null);
  assertEquals(judge(ENDPOINT.key, "refusing"), ["kv_cache"]);
  assertEquals(judge(ENDPOINT.key, "down"), [null]);
  assertEquals(judge("another", "refusing"), [null]);
});

Deno.test("adviseEngine() advises more API servers where one lacks a core, and the engine is another process", () => {
  const state = simulate({ requestsPerSecond: 1 }, { seconds: 40 });
  const advise = (known: State): readonly string[] => getRow(known).advice.map(({ id }) => id);
  assertEquals(advise(state), []);
  const full = loadHost(state, 1.5);
  assertEquals(getRow(full).advice[0].evidence, { apiServerCpuCores: 1.5, spanSeconds: 30 });
  assert(
    readDetail(full).includes("→ raise --api-server-count (its API server uses 150 % of a core)"),
  );
  assertEquals(advise(loadHost(state, 0.75)), []);
  const hosts = [...full.hosts].map(([name, host]) => {
    const processes = host.load?.processes.filter(({ role }) => role === "api_server") ?? [];
    return [name, { ...host, load: host.load && { ...host.load, processes } }] as const;
  });
  assertEquals(advise(advance({ ...full, hosts: new Map(hosts) }, 41)), []);
});
