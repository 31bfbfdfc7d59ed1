import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { NO_PRICING, type Pricing } from "../lib/cost.ts";
import type { ModelState } from "../lib/model.ts";
import type { GpuRequest, PodFacts } from "../lib/pod.ts";
import { isPresent, type Reading } from "../lib/reading.ts";
import { type State, update } from "../lib/state.ts";
import type { Bill } from "../lib/state_cost.ts";
import {
  advance,
  createEndpoint,
  createScraped,
  encode,
  type Series,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { failGpus, type Holder, sampleGpus } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

/** By the hints an H100 80GB HBM3 costs 3.39 USD per hour. */
const EIGHT = readGpus("h100x8.tsv");
const H100_PRICE = 3.39;

const TOLD: Pricing = {
  ...NO_PRICING,
  tokenPrices: { input: 1, cachedInput: null, output: 4 },
};

/** What a server has counted at a time. */
interface Counters {
  readonly prompt: number;
  readonly output: number;
  readonly running?: number;
  readonly startedAt?: number;
}

interface Server {
  readonly pod?: PodFacts;
  readonly host?: string;
  readonly port?: number;
  readonly model?: string;
  /** At 0 s, 10 s, 20 s, … */
  readonly counters: readonly Counters[];
}

function write({ prompt, output, running = 1, startedAt }: Counters, model: string): Uint8Array {
  const series: readonly Series[] = [
    ["num_requests_running", running],
    ["num_requests_waiting", 0],
    ["prompt_tokens_total", prompt],
    ["generation_tokens_total", output],
  ];
  const start = startedAt === undefined ? "" : `process_start_time_seconds ${startedAt}\n`;
  return encode(writeEngine(series, { model }) + start);
}

/** The state after all servers were scraped every ten seconds. */
function watch(servers: readonly Server[], pricing: Pricing = TOLD): State {
  const endpoints = servers.map(({ host, port, pod }, i) => ({
    ...createEndpoint(port ?? 8000 + i, host),
    ...(pod === undefined ? {} : { pod }),
  }));
  const rounds = Math.max(...servers.map(({ counters }) => counters.length));
  let state = startState(endpoints, { pricing });
  for (let round = 0; round < rounds; round++) {
    const messages = servers.flatMap(({ counters, model = "m" }, i) =>
      counters[round] === undefined
        ? []
        : [createScraped(endpoints[i], 10 * round, write(counters[round], model))]
    );
    state = advance(state, 10 * round, messages);
  }
  return state;
}

const bill = (state: State): Bill => state.bill;

const SERVING: Server = {
  counters: [{ prompt: 1000, output: 500 }, { prompt: 3000, output: 1500 }],
};
const ON_TWO: readonly Holder[] = [{ port: 8000, gpus: [0, 1] }];

Deno.test("createBill() bills the GPUs of watched servers at their list price", () => {
  const { basis, compute, isAbout, rate, session } = bill(
    sampleGpus(watch([SERVING]), [EIGHT], ON_TWO),
  );
  assertEquals([basis, compute.gpuCount, isAbout], ["serving", 2, true]);
  assertAlmostEquals(compute.usdPerHour.value ?? NaN, 2 * H100_PRICE);
  // 2000 prompt tokens at 1 USD and 1000 output tokens at 4 USD per million, in 10 s.
  assertAlmostEquals(session.tokens.total.value ?? NaN, 0.006);
  assertAlmostEquals(rate.tokens.perHour.value ?? NaN, 0.006 * 360);
  assertAlmostEquals(session.computeUsd.value ?? NaN, 2 * H100_PRICE / 360);
  assertAlmostEquals(session.marginRatio.value ?? NaN, 0.006 * 360 / (2 * H100_PRICE));
  // 6.78 USD an hour for 300 tokens a second.
  assertAlmostEquals(rate.usdPerMillionTokens.value ?? NaN, 2 * H100_PRICE / 1.08);
});

Deno.test("createBill() bills all GPUs of this machine if their owners are unknown", () => {
  const state = sampleGpus(watch([SERVING]), [EIGHT]);
  assertEquals([bill(state).basis, bill(state).compute.gpuCount], ["machine", 8]);
  // They cost while their driver hangs, too.
  const failed = bill(failGpus(state, "timeout", "it hangs"));
  assertEquals([failed.basis, failed.compute.gpuCount], ["machine", 8]);
});

Deno.test("createBill() bills no GPU if servers are remote or detection is off", () => {
  const remote = bill(sampleGpus(watch([{ ...SERVING, host: "gpu1" }]), [EIGHT]));
  assertEquals([remote.basis, remote.compute.usdPerHour.value], ["none", null]);
  assertEquals(remote.session.tokens.total.value, 0.006);
  const off = bill(sampleGpus(watch([SERVING], { ...TOLD, detectsGpus: false }), [EIGHT]));
  assertEquals([off.basis, off.compute.usdPerHour.value], ["none", null]);
});

Deno.test("createBill() counts tokens of other machines only with the user's GPU count", () => {
  const both = [SERVING, { ...SERVING, host: "gpu1", port: 8000 }];
  const here = bill(sampleGpus(watch(both), [EIGHT], ON_TWO));
  assertEquals([here.isLocalOnly, here.session.tokens.total.value], [true, 0.006]);
  const told = { ...TOLD, gpuCount: 4, usdPerGpuHour: 2 };
  const all = bill(sampleGpus(watch(both, told), [EIGHT], ON_TWO));
  assertEquals([all.isLocalOnly, all.session.tokens.total.value], [false, 0.012]);
  assertEquals([all.basis, all.compute.usdPerHour.value, all.isAbout], ["told", 8, false]);
});

Deno.test("createBill() keeps the session of servers that are gone", () => {
  const both = [SERVING, { ...SERVING, host: "gpu1", port: 8000 }];
  const leave = (state: State): State =>
    state.endpoints.reduce(
      (known, { endpoint: { key } }) => update(known, { kind: "endpoint_gone", endpointKey: key }),
      state,
    );
  const read = (state: State) => {
    const { session } = bill(state);
    return [session.span.value, session.tokens.total.value];
  };
  assertEquals(read(watch(both)), [10, 0.012]);
  assertEquals(read(leave(watch(both))), [10, 0.012]);
  // What pays for this machine alone counts no other's tokens, gone or not.
  const here = sampleGpus(watch([...both, SERVING]), [EIGHT], ON_TWO);
  assertEquals(bill(here).session.tokens.total.value, 0.012);
  const [first, second] = here.endpoints;
  const left = [first, second].reduce(
    (known, { endpoint: { key } }) => update(known, { kind: "endpoint_gone", endpointKey: key }),
    here,
  );
  assertEquals(read(left), [10, 0.012]);
});

Deno.test("createBill() counts tokens once over a restart", () => {
  const counters = [
    { prompt: 1000, output: 0, startedAt: 100 },
    { prompt: 3000, output: 0, startedAt: 100 },
    { prompt: 500, output: 0, startedAt: 200 },
    { prompt: 800, output: 0, startedAt: 200 },
  ];
  const { session, lifetime } = bill(watch([{ counters }]));
  assertAlmostEquals(session.tokens.total.value ?? NaN, (2000 + 800) / 1e6);
  assertAlmostEquals(lifetime.tokens.total.value ?? NaN, 800 / 1e6);
});

Deno.test("createBill() has no lifetime cost if a start time is unknown", () => {
  const known = sampleGpus(watch([SERVING]), [EIGHT], ON_TWO);
  const { lifetime } = bill(known);
  assertEquals([lifetime.span.value, lifetime.computeUsd.value, lifetime.marginRatio.value], [
    ...[null, null, null],
  ]);
  const startedAt = known.nowEpoch - 3600;
  const counters = SERVING.counters.map((one) => ({ ...one, startedAt }));
  const started = bill(sampleGpus(watch([{ counters }]), [EIGHT], ON_TWO));
  assertAlmostEquals(started.lifetime.computeUsd.value ?? NaN, 2 * H100_PRICE);
});

Deno.test("createBill() weighs idle time by GPU cost", () => {
  const rests = Array.from({ length: 4 }, () => ({ prompt: 9, output: 9, running: 0 }));
  const works = [0, 1, 2, 3].map((i) => ({ prompt: 0, output: 1000 * i }));
  const servers = [{ counters: rests }, { counters: works }];
  const holders = [{ port: 8000, gpus: [0, 1, 2] }, { port: 8001, gpus: [3] }];
  const known = bill(sampleGpus(watch(servers), [EIGHT], holders));
  assertAlmostEquals(known.idle.ratio.value ?? NaN, 0.75);
  assertAlmostEquals(known.idle.usd.value ?? NaN, 0.75 * 4 * H100_PRICE / 120);
  const alike = bill(sampleGpus(watch(servers), [EIGHT]));
  assertAlmostEquals(alike.idle.ratio.value ?? NaN, 0.5);
  const once = bill(sampleGpus(watch([{ counters: rests.slice(0, 1) }]), [EIGHT], ON_TWO));
  assertEquals(once.idle.ratio.value, null);
});

Deno.test("createBill() divides a GPU between models by memory", () => {
  const servers = [{ ...SERVING, model: "a" }, { ...SERVING, model: "b" }];
  const holders = [
    { port: 8000, gpus: [0, 1], memoryBytes: 60 * 2 ** 30 },
    { port: 8001, gpus: [1], memoryBytes: 20 * 2 ** 30 },
  ];
  const { groups } = bill(sampleGpus(watch(servers), [EIGHT], holders));
  assertEquals(groups.map(({ modelName }) => modelName), ["a", "b"]);
  assertAlmostEquals(groups[0].usdPerHour.value ?? NaN, 1.75 * H100_PRICE);
  assertAlmostEquals(groups[1].usdPerHour.value ?? NaN, 0.25 * H100_PRICE);
});

Deno.test("createBill() gives a GPU to the one model of its server that is loaded", () => {
  const endpoint = createEndpoint(8000);
  const divide = (others: readonly ModelState[]): Bill => {
    const { scrape } = createScraped(endpoint, 1, write(SERVING.counters[0], "a"));
    const [loaded] = scrape.engines;
    const rest = others.map((modelState, i) => ({ ...loaded, modelName: `b${i}`, modelState }));
    const state = advance(startState([endpoint], { pricing: TOLD }), 1, [
      { kind: "scraped", scrape: { ...scrape, engines: [loaded, ...rest] } },
    ]);
    return bill(sampleGpus(state, [EIGHT], ON_TWO));
  };
  const { groups, unusedUsdPerHour } = divide(["unloaded", "unloaded"]);
  assertAlmostEquals(groups[0].usdPerHour.value ?? NaN, 2 * H100_PRICE);
  assertEquals([groups[1].usdPerHour.value, unusedUsdPerHour.value], [null, 0]);
  const unknown = divide(["loaded"]);
  assertEquals(unknown.groups[0].usdPerHour.value, null);
  assertAlmostEquals(unknown.unusedUsdPerHour.value ?? NaN, 2 * H100_PRICE);
});

Deno.test("createBill() is priced if a price is known or given", () => {
  assertEquals(bill(watch([SERVING], NO_PRICING)).isPriced, false);
  assertEquals(
    bill(sampleGpus(watch([SERVING], NO_PRICING), [readGpus("gb10.tsv")])).isPriced,
    false,
  );
  assertEquals(bill(sampleGpus(watch([SERVING], NO_PRICING), [EIGHT])).isPriced, true);
  assertEquals(bill(watch([SERVING], { ...NO_PRICING, usdPerGpuHour: 2 })).isPriced, true);
  assertEquals(bill(watch([SERVING], TOLD)).isPriced, true);
});

/** Up to four servers of two models, and which GPUs they hold. */
const fleets = fc.record({
  models: fc.array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 4 }),
  gpus: fc.array(fc.nat({ max: 3 }), { minLength: 8, maxLength: 8 }),
  steps: fc.array(fc.nat({ max: 100_000 }), { minLength: 2, maxLength: 4 }),
  hasGpus: fc.boolean(),
  usdPerGpuHour: fc.option(fc.double({ min: 0, max: 10, noNaN: true })),
  gpuCount: fc.option(fc.integer({ min: 1, max: 9 })),
  output: fc.option(fc.double({ min: 0, max: 10, noNaN: true })),
});

Deno.test("createBill() sums models and unused GPUs to the whole, and needs every input", () => {
  fc.assert(
    fc.property(fleets, ({ models, gpus, steps, hasGpus, usdPerGpuHour, gpuCount, output }) => {
      const tokenPrices = { input: null, cachedInput: null, output };
      const pricing = { ...NO_PRICING, tokenPrices, usdPerGpuHour, gpuCount };
      const counters = steps.map((_, i) => ({
        prompt: 0,
        output: steps.slice(0, i + 1).reduce((a, b) => a + b, 0),
      }));
      const holders = models.map((_, i) => ({
        port: 8000 + i,
        gpus: gpus.flatMap((owner, index) => owner === i ? [index] : []),
      }));
      const watched = watch(models.map((model) => ({ model, counters })), pricing);
      const state = hasGpus ? sampleGpus(watched, [EIGHT], holders) : watched;
      const { compute, groups, unusedUsdPerHour, rate, session, lifetime, idle } = bill(state);
      const figures: readonly Reading[] = [
        compute.usdPerHour,
        ...[rate.tokens.perHour, rate.compute.perDay, rate.usdPerMillionTokens, rate.marginRatio],
        ...[session.tokens.total, session.computeUsd, session.marginRatio],
        ...[lifetime.tokens.total, lifetime.computeUsd, idle.usd, idle.ratio],
        ...groups.map(({ usdPerHour }) => usdPerHour),
      ];
      for (const { value } of figures) {
        assert(value === null || value >= 0, JSON.stringify(figures));
      }
      const isPriced = isPresent(compute.usdPerHour);
      if (!isPriced) {
        for (const one of [session.computeUsd, rate.marginRatio, idle.usd, idle.ratio]) {
          assertEquals(one.value, null);
        }
      }
      if (output === null) {
        for (const one of [session.tokens.total, session.marginRatio, lifetime.tokens.total]) {
          assertEquals(one.value, null);
        }
      }
      if (!isPriced || !groups.every(({ usdPerHour }) => isPresent(usdPerHour))) return;
      const parts = groups.reduce((sum, { usdPerHour }) => sum + (usdPerHour.value ?? 0), 0);
      assertAlmostEquals(parts + (unusedUsdPerHour.value ?? 0), compute.usdPerHour.value, 1e-9);
      // A steady rate over the session is its sum.
      if (session.tokens.total.value !== null && steps.length > 1) {
        const hours = (session.span.value ?? NaN) / 3600;
        assertAlmostEquals(
          (rate.tokens.perHour.value ?? NaN) * hours,
          session.tokens.total.value,
          1e-9,
        );
        assertAlmostEquals(compute.usdPerHour.value * hours, session.computeUsd.value ?? NaN, 1e-9);
      }
    }),
    { numRuns: 150 },
  );
});

Deno.test("update() leaves known GPUs behind ssh to the next clock, and bills new ones at once", () => {
  const link = { kind: "up", latency: null, way: "forwarding" } as const;
  const linked = update(startState([]), { kind: "host_linked", host: "gpu1", link });
  const first = sampleGpus(linked, [EIGHT], [], [], "gpu1");
  assert(first.bill !== linked.bill);
  const next = sampleGpus(first, [EIGHT.slice(1)], [], [], "gpu1");
  assert(next.bill === first.bill);
  assertEquals(next.hosts.get("gpu1")?.report?.gpus.length, 7);
  assert(advance(next, 1).bill !== first.bill);
});

// Pods: their GPUs are those that they request.

const NVIDIA: GpuRequest = { resource: "nvidia.com/gpu", count: 1, product: null };

function createPod(name: string, gpus: readonly GpuRequest[], more: Partial<PodFacts> = {}) {
  const facts = { namespace: "n", node: `of-${name}`, container: "vllm", state: "ready" } as const;
  return { ...facts, ...{ name, gpus, reason: null, restarts: [], startedAt: null }, ...more };
}

function serveInPod(
  name: string,
  gpus: readonly GpuRequest[],
  more: Partial<PodFacts> = {},
): Server {
  return { ...SERVING, host: name, pod: createPod(name, gpus, more) };
}

const PRICED: Pricing = { ...TOLD, usdPerGpuHour: 2 };

Deno.test("createBill() bills the GPUs that pods request, from when they have a node", () => {
  const state = watch([
    serveInPod("a", [{ ...NVIDIA, count: 4 }]),
    serveInPod("b", [NVIDIA]),
    { counters: [], pod: createPod("loading", [NVIDIA], { state: "crashing" }) },
    { counters: [], pod: createPod("waiting", [NVIDIA], { state: "pending", node: null }) },
    { counters: [], pod: createPod("evicted", [NVIDIA], { state: "failed" }) },
  ], PRICED);
  const { basis, compute, isAbout, hosts, session } = bill(state);
  assertEquals([basis, compute.gpuCount, compute.usdPerHour.value, isAbout], [
    ...["requested", 6, 12, false],
  ]);
  assertEquals(hosts.map(({ host, gpuCount }) => [host, gpuCount]), [
    ["of-a", 4],
    ["of-b", 1],
    ["of-loading", 1],
  ]);
  assertAlmostEquals(session.tokens.total.value ?? NaN, 0.012);
  assertAlmostEquals(session.computeUsd.value ?? NaN, 12 / 360);
});

Deno.test("createBill() prices pods by the product of their GPUs, or not at all", () => {
  const product = "NVIDIA H100 80GB HBM3";
  const known = bill(watch([serveInPod("a", [{ ...NVIDIA, count: 2, product }])]));
  assertEquals([known.isAbout, known.compute.gpus[0].name], [true, product]);
  assertAlmostEquals(known.compute.usdPerHour.value ?? NaN, 2 * H100_PRICE);
  const unknown = bill(watch([serveInPod("a", [NVIDIA])]));
  assertEquals([unknown.compute.gpuCount, unknown.compute.usdPerHour], [1, {
    ...{ value: null, reason: "missing" },
  }]);
  assertEquals(unknown.session.marginRatio.value, null);
  const told = bill(watch([serveInPod("a", [NVIDIA])], { ...PRICED, gpuCount: 3 }));
  assertEquals([told.basis, told.compute.usdPerHour.value], ["told", 6]);
  const off = bill(watch([serveInPod("a", [NVIDIA])], { ...PRICED, detectsGpus: false }));
  assertEquals([off.basis, off.compute.gpuCount], ["none", 0]);
});

Deno.test("createBill() leaves out pods with a share of a GPU, and their tokens", () => {
  const shares: readonly GpuRequest[] = [
    { ...NVIDIA, resource: "nvidia.com/mig-1g.10gb" },
    { ...NVIDIA, resource: "nvidia.com/gpu.shared" },
    { ...NVIDIA, product: "NVIDIA A10 SHARED" },
    { ...NVIDIA, product: "NVIDIA A100 SXM4 80GB MIG 1g.10gb" },
    { ...NVIDIA, resource: "google.com/tpu" },
  ];
  for (const share of shares) {
    const { compute, isLocalOnly, session } = bill(
      watch([serveInPod("a", [NVIDIA]), serveInPod("b", [share])], PRICED),
    );
    assertEquals([compute.gpuCount, isLocalOnly], [1, true], share.resource);
    assertAlmostEquals(session.tokens.total.value ?? NaN, 0.006);
  }
});

Deno.test("createBill() counts a pod of two servers once, and divides pods among their models", () => {
  const two = [{ ...serveInPod("a", [NVIDIA]), port: 1 }, {
    ...serveInPod("a", [NVIDIA]),
    port: 2,
  }];
  assertEquals(bill(watch(two, PRICED)).compute.gpuCount, 1);
  const { groups } = bill(watch([
    serveInPod("a", [{ ...NVIDIA, count: 4 }]),
    { ...serveInPod("b", [NVIDIA]), model: "other" },
  ], PRICED));
  assertEquals(groups.map(({ modelName, usdPerHour }) => [modelName, usdPerHour.value]), [
    ["m", 8],
    ["other", 2],
  ]);
});

Deno.test("createBill() adds pods to the GPUs of this machine", () => {
  const servers = [SERVING, serveInPod("a", [NVIDIA])];
  const { basis, compute, isLocalOnly, session } = bill(
    sampleGpus(watch(servers, PRICED), [EIGHT], ON_TWO),
  );
  assertEquals([basis, compute.gpuCount, isLocalOnly], ["serving", 3, false]);
  assertAlmostEquals(session.tokens.total.value ?? NaN, 0.012);
});
