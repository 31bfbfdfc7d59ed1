/**
 * The simulated fleet of `--demo`, as a Platform whose HTTP client it answers, on a simulated machine.
 * @module
 */

import {
  advanceEngine,
  createSimulatedEngine,
  type SimulatedEngine,
  type SimulatedEngineOptions,
} from "./demo_engine.ts";
import { writeExposition } from "./demo_exposition.ts";
import { ANSWER_WRITERS } from "./demo_kinds.ts";
import { createDemoMachine, type MachineServer } from "./demo_machine.ts";
import { parseEndpointUrl, type TypedEndpoint } from "./endpoint.ts";
import type { HttpClient, HttpResponse, Platform } from "./platform.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** Down while `from <= elapsed < to`; counters then restart at 0. */
interface Outage {
  readonly from: Seconds;
  readonly to: Seconds;
  /** Period, longer than the outage; once if not given. */
  readonly every?: Seconds;
}

export interface SimulatedServerOptions {
  readonly seed: number;
  /** Wall-clock time at `elapsed` 0. */
  readonly startEpoch: EpochSeconds;
  /** At least one. */
  readonly engines: readonly SimulatedEngineOptions[];
  /** Uptime at `elapsed` 0; default 0. */
  readonly warmUp?: Seconds;
  /** In order, not overlapping. */
  readonly outages?: readonly Outage[];
  /** As of several API servers: no `process_*`, no `python_*`, no `_created`. */
  readonly multiprocess?: boolean;
  /** Three drafted tokens per step. */
  readonly speculative?: boolean;
}

export interface SimulatedServer {
  /**
   * Returns the body of `/metrics`; `null` while down. Costs about 0.05 ms per second and engine.
   * @throws {RangeError} If the time is not a number from 0, or earlier than in the last call.
   */
  readonly expositionAt: (elapsed: Seconds) => Uint8Array | null;
  /** Its engines as of then; otherwise as `expositionAt`. */
  readonly enginesAt: (elapsed: Seconds) => readonly SimulatedEngine[] | null;
  /** Has no side effects. */
  readonly isUpAt: (elapsed: Seconds) => boolean;
}

/** Loading weights and capturing graphs; less after a short outage. */
const START_UP_TIME: Seconds = 14;

/** From a start to the next outage. */
interface Life {
  readonly start: Seconds;
  readonly processStart: Seconds;
}

/** Returns the outage's last occurrence begun by then, if any. */
function findOccurrence(outage: Outage, elapsed: Seconds): { from: Seconds; to: Seconds } | null {
  if (elapsed < outage.from) return null;
  const { from, to, every } = outage;
  const shift = every === undefined ? 0 : every * Math.floor((elapsed - from) / every);
  return { from: from + shift, to: to + shift };
}

/** Returns `null` while down. */
function findLife(options: SimulatedServerOptions, elapsed: Seconds): Life | null {
  const start = -(options.warmUp ?? 0);
  let life: Life = { start, processStart: start - START_UP_TIME };
  for (const outage of options.outages ?? []) {
    const last = findOccurrence(outage, elapsed);
    if (last === null) continue;
    if (elapsed < last.to) return null;
    if (last.to > life.start) {
      life = { start: last.to, processStart: Math.max(last.from, last.to - START_UP_TIME) };
    }
  }
  return life;
}

/** Each life has its own sequence of requests. */
function startEngines(options: SimulatedServerOptions, life: Life): SimulatedEngine[] {
  const { speculative = false } = options;
  return options.engines.map((engine, index) => {
    const seed = Math.imul(options.seed + 1, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b) ^
      Math.imul(Math.round(life.start), 0xc2b2ae35);
    return createSimulatedEngine({ speculative, engine: String(index), ...engine }, seed);
  });
}

/** @throws {RangeError} If there is no engine. */
export function createSimulatedServer(options: SimulatedServerOptions): SimulatedServer {
  if (options.engines.length === 0) throw new RangeError("Cannot simulate a server of 0 engines");
  let latest: Seconds = 0;
  let current: { readonly life: Life; readonly engines: SimulatedEngine[] } | null = null;
  const advance = (elapsed: Seconds): typeof current => {
    if (!(elapsed >= latest)) {
      throw new RangeError(`Cannot simulate "${elapsed}" s: time was at "${latest}" s already`);
    }
    latest = elapsed;
    const life = findLife(options, elapsed);
    if (life === null) return null;
    if (current?.life.start !== life.start) {
      current = { life, engines: startEngines(options, life) };
    }
    for (const engine of current.engines) advanceEngine(engine, elapsed - life.start);
    return current;
  };
  const expositionAt = (elapsed: Seconds): Uint8Array | null => {
    const known = advance(elapsed);
    if (known === null) return null;
    const { life, engines } = known;
    return writeExposition({
      processStart: options.startEpoch + life.processStart,
      created: options.startEpoch + life.start,
      uptime: elapsed - life.start,
      multiprocess: options.multiprocess ?? false,
      speculative: options.speculative ?? false,
    }, engines);
  };
  return {
    expositionAt,
    enginesAt: (elapsed) => advance(elapsed)?.engines ?? null,
    isUpAt: (elapsed) => findLife(options, elapsed) !== null,
  };
}

const LLAMA: SimulatedEngineOptions = {
  model: "meta-llama/Llama-3.1-8B-Instruct",
  maxModelLength: 131_072,
  requestsPerSecond: 3.2,
  maxWaiting: 40,
};

const QWEN: SimulatedEngineOptions = {
  model: "Qwen/Qwen3-32B",
  maxModelLength: 40_960,
  requestsPerSecond: 1.4,
  promptTokens: 1400,
  outputTokens: 260,
  cachedShare: 0.6,
  stepTime: 0.027,
  stepTimePerRequest: 0.000_15,
  prefillTimePerToken: 0.000_14,
  kvCacheTokens: 110_000,
  maxWaiting: 40,
};

const GEMMA: SimulatedEngineOptions = {
  model: "gemma-3-12b-it-Q4_K_M",
  maxModelLength: 8192,
  requestsPerSecond: 0.7,
  promptTokens: 600,
  outputTokens: 180,
  stepTime: 0.019,
  stepTimePerRequest: 0.001_5,
  prefillTimePerToken: 0.000_3,
  kvCacheTokens: 65_536,
  maxRunning: 8,
};

interface DemoServer extends Omit<MachineServer, "isUpAt"> {
  readonly url: string;
  readonly server: SimulatedServer;
}

/** The word after `--demo`; without it, there is one server of each kind. */
const VLLM_FLEET = "vllm";
type DemoOptions = Omit<SimulatedServerOptions, "seed" | "startEpoch"> & {
  /** vLLM if not given. */
  readonly kind?: string;
  readonly port?: number;
};

const MIXED_SERVERS: readonly DemoOptions[] = [
  { engines: [LLAMA] },
  { kind: "SGLang", port: 30_000, engines: [QWEN] },
  { kind: "llama.cpp", port: 8080, engines: [GEMMA] },
  {
    kind: "Ollama",
    port: 11_434,
    engines: [{ model: "mistral-small3.2:24b", maxModelLength: 16_384, requestsPerSecond: 0.1 }],
  },
];

const VLLM_SERVERS: readonly DemoOptions[] = [
  { engines: [LLAMA] },
  { engines: [LLAMA] },
  { engines: [{ ...LLAMA, slowness: 3 }] },
  { engines: [QWEN], speculative: true },
  { engines: [QWEN], speculative: true, outages: [{ from: 40, to: 60, every: 150 }] },
];

const DEMO_WARM_UP: Seconds = 300;
const DEMO_FIRST_PORT = 8000;

/**
 * `vllm`: three servers of one model, the last three times slower on a hot GPU, and two of another
 * with speculative decoding, the last of which is down for 20 s every 150 s.
 */
export function createDemoFleet(
  seed: number,
  startEpoch: EpochSeconds,
  fleet = VLLM_FLEET,
): readonly DemoServer[] {
  const servers = fleet === VLLM_FLEET ? VLLM_SERVERS : MIXED_SERVERS;
  return servers.map(({ kind = "", port, ...server }, index) => ({
    kind,
    port: port ?? DEMO_FIRST_PORT + index,
    url: `http://localhost:${port ?? DEMO_FIRST_PORT + index}`,
    model: server.engines[0].model,
    isHot: server.engines[0].slowness !== undefined,
    server: createSimulatedServer({
      ...server,
      warmUp: DEMO_WARM_UP,
      startEpoch,
      seed: Math.imul(seed, 31) + index,
    }),
  }));
}

const encoder = new TextEncoder();

function createResponse(body: Uint8Array): HttpResponse {
  const headers = new Headers({
    "content-type": "text/plain; version=1.0.0; charset=utf-8",
    "content-length": String(body.length),
  });
  return { status: 200, header: (name) => headers.get(name), body: ReadableStream.from([body]) };
}

/** The same seed gives the same fleet. */
export function createDemo(
  platform: Platform,
  seed: number,
  name = VLLM_FLEET,
): { readonly platform: Platform; readonly endpoints: readonly TypedEndpoint[] } {
  const startedAt = platform.monotonicSeconds();
  const fleet = createDemoFleet(seed, platform.epochSeconds(), name);
  const endpoints = fleet.map(({ url, kind }): TypedEndpoint => {
    const typed = parseEndpointUrl(url);
    if ("error" in typed) throw new Error(`Cannot simulate "${url}": ${typed.error}`);
    return kind === "" ? typed : { ...typed, endpoint: { ...typed.endpoint, serverName: kind } };
  });
  const answer = (url: string): Uint8Array | null => {
    const asked = fleet.find((one) => url.startsWith(`${one.url}/`));
    if (asked === undefined) return null;
    const path = url.slice(asked.url.length);
    const elapsed = platform.monotonicSeconds() - startedAt;
    const write = ANSWER_WRITERS.get(asked.kind);
    if (write === undefined) return path === "/metrics" ? asked.server.expositionAt(elapsed) : null;
    const [engine] = asked.server.enginesAt(elapsed) ?? [];
    const text = engine === undefined ? null : write(engine, path, platform.epochSeconds());
    return text === null ? null : encoder.encode(text);
  };
  const client: HttpClient = {
    get: ({ url }) => {
      const body = answer(url);
      return body
        ? Promise.resolve(createResponse(body))
        : Promise.reject(new Error("tcp connect error: Connection refused (os error 111)"));
    },
    close: () => {},
  };
  const machine = createDemoMachine(
    platform,
    fleet.map((one) => ({ ...one, isUpAt: one.server.isUpAt })),
  );
  const createHttpClient = () => Promise.resolve(client);
  return { endpoints, platform: { ...platform, ...machine, createHttpClient } };
}
