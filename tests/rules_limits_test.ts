import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { VLLM } from "../lib/dialect_vllm.ts";
import type { GpuOutlier } from "../lib/gpu_model.ts";
import { absent, present } from "../lib/reading.ts";
import {
  computeLimit,
  getLimitPeakValues,
  type Limit,
  limitByGpu,
  NO_LIMIT,
} from "../lib/rules_limits.ts";
import { computeFigures } from "../lib/stats_aggregate.ts";
import { NO_PEAKS, type Peaks, recordPeaks } from "../lib/stats_totals.ts";
import {
  appendSample,
  computeReplicas,
  type ReplicaSample,
  startHistory,
} from "../lib/stats_window.ts";
import {
  advance,
  createEndpoint,
  createScraped,
  encode,
  readPoint,
  type Series,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { readRecording } from "./fixtures/recordings.ts";

/** What an engine says at one poll; tokens are those since the poll before. */
interface Said {
  readonly running: number;
  readonly waiting: number;
  readonly kv?: number;
  readonly prompt?: number;
  readonly output?: number;
  readonly more?: readonly Series[];
}

interface Watched {
  readonly limit: Limit;
  readonly replica: ReplicaSample;
  readonly peaks: Peaks;
}

/** Polls every two seconds. */
function watch(polls: readonly Said[], every = 2): Watched {
  let history = startHistory();
  let peaks = NO_PEAKS;
  let [prompt, output] = [0, 0];
  polls.forEach((said, i) => {
    prompt += said.prompt ?? 0;
    output += said.output ?? 100;
    const text = writeEngine([
      ["num_requests_running", said.running],
      ["num_requests_waiting", said.waiting],
      ["kv_cache_usage_perc", said.kv ?? 0.2],
      ["prompt_tokens_total", prompt],
      ["generation_tokens_total", output],
      ...said.more ?? [],
    ]);
    history = appendSample(history, readPoint(i * every, text));
    const [replica] = computeReplicas(history);
    const moment = { at: i * every, epoch: i * every };
    peaks = recordPeaks(peaks, getLimitPeakValues(computeFigures([replica])), moment);
  });
  const [replica] = computeReplicas(history);
  return { limit: computeLimit(replica, peaks), replica, peaks };
}

function repeat(count: number, said: Said): readonly Said[] {
  return Array.from({ length: count }, () => said);
}

const name = (polls: readonly Said[], every = 2) => watch(polls, every).limit.kind;
const PLATEAU: Said = { running: 16, waiting: 31, kv: 0.22 };
const FULL: Said = { running: 9, waiting: 4, kv: 0.95 };
/** It has run more, so that a plateau of 12 is none. */
const PAST: Said = { running: 40, waiting: 0, prompt: 2000 };
const PREFILL: Said = { running: 12, waiting: 20, kv: 0.3, prompt: 1900 };

Deno.test("computeLimit() takes a plateau of running requests for the limit of their number", () => {
  const { kind, span, evidence } = watch(repeat(31, PLATEAU)).limit;
  assertEquals([kind, span, evidence.running, evidence.runningPeak], ["concurrency", 60, 16, 16]);
  assertEquals([evidence.waiting, evidence.kvCacheUsagePeakRatio], [31, 0.22]);
  // A finished request has left before the next has come.
  const dips = repeat(31, PLATEAU).map((said, i) => i % 2 === 1 ? { ...said, running: 11 } : said);
  assertEquals(name(dips), "concurrency");
  const waves = repeat(31, PLATEAU).map((said, i) => i % 2 === 0 ? { ...said, running: 11 } : said);
  assertEquals(name(waves), "unknown");
});

Deno.test("computeLimit() knows nothing for 30 s, and of few samples", () => {
  assertEquals([name(repeat(15, PLATEAU)), name(repeat(16, PLATEAU))], ["unknown", "concurrency"]);
  assertEquals([name(repeat(15, FULL)), name(repeat(16, FULL))], ["unknown", "kv_cache"]);
  assertEquals([name(repeat(4, PLATEAU), 15), name(repeat(5, PLATEAU), 15)], [
    "unknown",
    "concurrency",
  ]);
  assertEquals(watch(repeat(1, PLATEAU)).limit, NO_LIMIT);
});

Deno.test("computeLimit() wants requests to wait without a break", () => {
  const broken = [...repeat(20, PLATEAU), { ...PLATEAU, waiting: 0 }, ...repeat(10, PLATEAU)];
  assertEquals(name(broken), "unknown");
  assertEquals(name([...broken, ...repeat(6, PLATEAU)]), "concurrency");
});

Deno.test("computeLimit() names the KV cache where half of the samples have it at 90 %", () => {
  const { kind, evidence } = watch(repeat(31, FULL)).limit;
  assertEquals([kind, evidence.kvCacheUsageRatio, evidence.waiting], ["kv_cache", 0.95, 4]);
  assertEquals(name(repeat(31, { ...FULL, kv: 0.89 })), "unknown");
  const half = repeat(31, FULL).map((said, i) => i % 2 === 1 ? { ...said, kv: 0.2 } : said);
  assertEquals(name(half), "kv_cache");
  const less = repeat(31, FULL).map((said, i) => i % 2 === 0 ? { ...said, kv: 0.2 } : said);
  assertEquals(name(less), "unknown");
});

Deno.test("computeLimit() names no number of requests where the KV cache came above 70 %", () => {
  assertEquals(name([...repeat(30, PLATEAU), { ...PLATEAU, kv: 0.7 }]), "unknown");
  assertEquals(name([...repeat(30, PLATEAU), { ...PLATEAU, kv: 0.69 }]), "concurrency");
});

Deno.test("computeLimit() names prefill where prompts come as fast as ever, and fewer run", () => {
  const after = (more: Partial<Said>) => [
    ...repeat(20, PAST),
    ...repeat(31, { ...PREFILL, ...more }),
  ];
  const { kind, evidence } = watch(after({})).limit;
  assertEquals([kind, evidence.running, evidence.runningPeak], ["prefill", 12, 40]);
  assertEquals([evidence.promptTokensPerSecond, evidence.promptTokensPerSecondPeak], [950, 1000]);
  assertEquals([name(after({ prompt: 1600 })), name(after({ prompt: 1590 }))], [
    ...["prefill", "unknown"],
  ]);
  assertEquals([name(after({ running: 35 })), name(after({ running: 36 }))], [
    ...["prefill", "unknown"],
  ]);
  assertEquals(name(after({ kv: 0.8 })), "unknown");
  const { replica, peaks } = watch(after({}));
  assertEquals(computeLimit(replica, { ...peaks, promptTokensPerSecond: null }).kind, "unknown");
  // Whole batches end at once: the number of requests may be the limit.
  const waves = after({}).map((said, i) => i % 3 === 0 ? { ...said, running: 40 } : said);
  assertEquals(name(waves), "unknown");
});

Deno.test("computeLimit() blames no limit for a hung engine, or for requests that are deferred", () => {
  const hung = { ...PLATEAU, output: 0 };
  assertEquals(name([...repeat(22, PLATEAU), ...repeat(8, hung)]), "unknown");
  assertEquals(name([...repeat(24, PLATEAU), ...repeat(7, hung)]), "concurrency");
  const wait = (capacity: number): Said => ({
    ...PLATEAU,
    more: [
      [`num_requests_waiting_by_reason{reason="${VLLM.capacityReason}"}`, capacity],
      ['num_requests_waiting_by_reason{reason="deferred"}', 31 - capacity],
    ],
  });
  assertEquals([name(repeat(31, wait(16))), name(repeat(31, wait(15)))], [
    "concurrency",
    "unknown",
  ]);
});

Deno.test("computeLimit() tells an engine without a queue from an idle one", () => {
  const served: Said = { running: 3, waiting: 0 };
  assertEquals(name(repeat(31, served)), "demand");
  // Requests so short that no poll sees one.
  assertEquals(name(repeat(31, { running: 0, waiting: 0 })), "demand");
  assertEquals(name(repeat(31, { running: 0, waiting: 0, output: 0 })), "idle");
});

Deno.test("computeLimit() takes no queue that comes and goes for a limit", () => {
  const flicker = (every: number) =>
    repeat(31, PLATEAU).map((said, i) => i % every === 0 ? said : { ...said, waiting: 0 });
  const { kind, evidence } = watch(flicker(5)).limit;
  assertEquals([kind, evidence.queuedRatio], ["demand", 7 / 31]);
  assertEquals([name(flicker(4)), name(flicker(3))], ["unknown", "unknown"]);
  // A queue of 4 s is one.
  const served = repeat(25, { ...PLATEAU, waiting: 0 });
  assertEquals(name([...served, ...repeat(2, PLATEAU)]), "demand");
  assertEquals(name([...served, ...repeat(3, PLATEAU)]), "unknown");
});

Deno.test("computeLimit() is right about recorded servers", async () => {
  const judge = async (recording: string) => {
    const endpoint = createEndpoint(8000);
    const kinds = new Map<string, number[]>();
    let state = startState([endpoint]);
    for (const { at, body } of await readRecording(recording)) {
      state = advance(state, at, [createScraped(endpoint, at, encode(body))]);
      const { kind } = state.fleet.rows[0].limit;
      kinds.set(kind, [...kinds.get(kind) ?? [], Math.round(at)]);
    }
    kinds.delete("unknown");
    return Object.fromEntries(kinds);
  };
  assertEquals(await judge("overload"), { kv_cache: [72, 75, 76, 78] });
  assertEquals(await judge("queue-low-kv"), { concurrency: [46] });
  assertEquals(await judge("speculative"), {
    demand: [50, 52, 54, 56, 58, 60, 62, 64, 66, 68],
  });
});

const HOT_GPU: GpuOutlier = {
  ...{ gpuIndex: 3, kind: "throttled", reasons: ["thermal_software"], peerCount: 0 },
  ...{ smClockHertz: present(1.1e9), peersClockHertz: absent("no_samples") },
  temperatureCelsius: present(87),
};

Deno.test("limitByGpu() names a GPU throttled for 30 s, of an engine with work", () => {
  const { limit, replica } = watch(repeat(31, PLATEAU));
  const judge = (outlier: GpuOutlier, span: number) =>
    limitByGpu(limit, replica, { outlier, span });
  const limited = judge(HOT_GPU, 30);
  assertEquals([limited.kind, limited.span, limited.evidence.gpuIndex], ["gpu", 30, 3]);
  assertEquals(judge(HOT_GPU, 29), limit);
  assertEquals(judge({ ...HOT_GPU, kind: "slow_clock" }, 60), limit);
  const idle = watch(repeat(31, { running: 0, waiting: 0, output: 0 }));
  assertEquals(limitByGpu(idle.limit, idle.replica, { outlier: HOT_GPU, span: 60 }), idle.limit);
  const young = watch(repeat(10, PLATEAU));
  assertEquals(limitByGpu(young.limit, young.replica, { outlier: HOT_GPU, span: 60 }), young.limit);
});

Deno.test("computeLimit() names a limit only with its evidence", () => {
  const said = fc.record({
    running: fc.constantFrom(0, 11, 16),
    waiting: fc.constantFrom(0, 1, 31),
    kv: fc.constantFrom(0.22, 0.69, 0.7, 0.89, 0.9, 1),
    prompt: fc.constantFrom(0, 1500, 2000),
    output: fc.constantFrom(0, 100),
  });
  const part = fc.tuple(said, fc.integer({ min: 1, max: 20 }));
  fc.assert(fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), (parts) => {
    const polls = parts.flatMap(([one, count]) => repeat(count, one));
    const { kind, span, evidence } = watch(polls).limit;
    const waits = polls.slice(-16).every(({ waiting }) => waiting > 0);
    const serves = polls.slice(-16).every(({ waiting }) => waiting === 0);
    if (kind === "unknown") return;
    if (evidence.queuedRatio !== undefined) {
      assert(kind === "demand" && evidence.queuedRatio <= 0.25 && span >= 30);
      return;
    }
    assert(span >= 30 && polls.length >= 16, `${kind} after ${span} s`);
    assert(kind === "idle" || kind === "demand" ? serves : waits, kind);
    const roomy = (evidence.kvCacheUsagePeakRatio ?? 1) < 0.7;
    assert(kind === "kv_cache" ? !roomy : serves || roomy, kind);
  }));
});
