import { assert, assertEquals } from "@std/assert";
import type { Endpoint } from "../lib/model.ts";
import type { Message, State } from "../lib/state.ts";
import { listEngines } from "../lib/state_endpoint.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  encode,
  START_EPOCH,
  startState,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";
import { createEngineReader } from "./fixtures/readers.ts";

const ENDPOINTS = Number(Deno.env.get("SOAK_ENDPOINTS") ?? 8);
const INTERVAL = 30;
const STEPS = 24 * 3600 / INTERVAL;

/** How often the state is measured. */
const SIZES = 16;

/** Nothing changes in the last steps, so that windows hold one rate. */
const QUIET_STEPS = 10;

/** A server that is simulated by what it would have counted. */
interface Server {
  readonly index: number;
  readonly endpoint: Endpoint;
  readonly read: ReturnType<typeof createEngineReader>;
  /** When its process began. */
  startedAt: number;
}

/** Tokens per second of an engine; whole, so that sums are exact. */
function rateOf({ index }: Server, engine: number): number {
  return 10 + index % 100 + engine;
}

function isDown({ index }: Server, step: number): boolean {
  return step < STEPS - QUIET_STEPS && (step + 7 * index) % 97 < 3;
}

function restartsAt({ index }: Server, step: number): boolean {
  return step > 0 && step < STEPS - QUIET_STEPS && (step + 13 * index) % 401 === 0;
}

function countEngines({ index }: Server, step: number): number {
  const phase = Math.min(step, STEPS - QUIET_STEPS - 1) + 31 * index;
  return 1 + Math.floor(phase / 300) % 3;
}

/** Server 0 names its model anew each time; the others keep theirs. */
function nameModel({ index }: Server, step: number): string {
  return index === 0 ? `model-${step}` : `model-${index % 3}`;
}

function writeBody(server: Server, step: number): Uint8Array {
  const age = step * INTERVAL - server.startedAt;
  const model = nameModel(server, step);
  const engines = Array.from({ length: countEngines(server, step) }, (_, engine) => {
    const rate = rateOf(server, engine);
    const requests = age;
    return writeEngine([
      ["num_requests_running", rate % 7],
      ["num_requests_waiting", 0],
      ["kv_cache_usage_perc", 0.25],
      ["prompt_tokens_total", 2 * rate * age],
      ["generation_tokens_total", rate * age],
      ['request_success_total{finished_reason="stop"}', requests],
      ...writeHistogram("time_to_first_token_seconds", [0.1, 0.5], {
        counts: [0, requests, requests],
        sum: requests / 4,
      }),
    ], { engine: `${engine}`, model });
  });
  return encode(
    `${engines.join("")}process_start_time_seconds ${START_EPOCH + server.startedAt}\n`,
  );
}

function pollServer(server: Server, step: number): Message {
  const { endpoint, read } = server;
  const at = step * INTERVAL;
  if (restartsAt(server, step)) server.startedAt = at - 5;
  if (isDown(server, step)) return createFailed(endpoint, at);
  const body = writeBody(server, step);
  return {
    kind: "scraped",
    scrape: {
      ...read(body),
      endpointKey: endpoint.key,
      receivedAt: at,
      receivedAtEpoch: START_EPOCH + at,
      duration: 0.01,
      bytes: body.length,
      redirectedTo: null,
    },
  };
}

/** How many objects, entries and characters hang on a value: what memory is made of. */
function countParts(value: unknown, seen = new Set<unknown>()): number {
  if (typeof value === "string") return value.length / 8;
  if (typeof value !== "object" || value === null || seen.has(value)) return 1;
  seen.add(value);
  if (ArrayBuffer.isView(value)) return value.byteLength / 8;
  const children = value instanceof Map
    ? [...value].flat()
    : value instanceof Set
    ? [...value]
    : Object.values(value);
  return children.reduce<number>((sum, child) => sum + countParts(child, seen), 1);
}

Deno.test("update() stays the same size through a day, and right to its end", () => {
  const servers = Array.from({ length: ENDPOINTS }, (_, index): Server => ({
    index,
    endpoint: createEndpoint(8000 + index),
    read: createEngineReader(),
    startedAt: -3600,
  }));
  let state: State = startState(servers.map(({ endpoint }) => endpoint), { interval: INTERVAL });
  const sizes: number[] = [];
  for (let step = 0; step < STEPS; step++) {
    const messages = servers.map((server) => pollServer(server, step));
    state = advance(state, step * INTERVAL, messages);
    if ((step + 1) % (STEPS / SIZES) === 0) sizes.push(countParts(state));
  }
  // Engines come and go, but nothing piles up: the second half is no larger than the first.
  const mean = (some: readonly number[]) => some.reduce((sum, size) => sum + size) / some.length;
  const half = sizes.length / 2;
  assert(mean(sizes.slice(half)) < 1.25 * mean(sizes.slice(0, half)), `${sizes.map(Math.round)}`);

  for (const server of servers.slice(1)) {
    const known = state.endpoints[server.index];
    const last = (STEPS - 1) * INTERVAL;
    assertEquals(known.failure, null);
    const engines = countEngines(server, STEPS - 1);
    assertEquals(
      listEngines(known).map(({ replica }) => replica.sample.engine),
      ["0", "1", "2"].slice(0, engines),
    );
    listEngines(known).forEach(({ key, figures: { lastMinute, lifetime } }, engine) => {
      const rate = rateOf(server, engine);
      assertEquals(lastMinute.span, { value: 60 });
      assertEquals(lastMinute.generationTokensPerSecond, { value: rate });
      assertEquals(lastMinute.promptTokensPerSecond, { value: 2 * rate });
      assertEquals(lastMinute.requestsPerSecond, { value: 1 });
      assertEquals(lifetime.generationTokens, { value: rate * (last - server.startedAt) });
      assertEquals(lastMinute.latency.ttft.samples, { value: 60 });
      assertEquals(state.evaluation.statuses.get(key), "OK");
    });
    const restarts = Array.from({ length: STEPS }, (_, step) => restartsAt(server, step));
    assertEquals(known.history.restartCount, restarts.filter((is) => is).length);
  }
});
