/**
 * Simulated vLLM servers on real loopback sockets, for end-to-end tests and by hand.
 *
 * By hand, on consecutive ports, until the seconds are over:
 *
 * deno run -A tests/vllm_server.ts --port 18000 --servers 4 --engines 2 --slow 2 --seconds 600
 *
 * In a test a server has a free port and real time, or the test's own clock,
 * and can be told to fail in each of the ways in which servers fail. It counts
 * what it is asked; anything but a GET of the four paths that a monitor may
 * read is a violation.
 *
 * @module
 */

import { createSimulatedServer, type SimulatedServerOptions } from "../lib/demo.ts";
import type { Seconds } from "../lib/units.ts";
import { waitFor } from "./program_runs.ts";

/** Answers a GET of `/metrics` instead of the server; `body` is what the server would have said. */
export type MetricsHandler = (
  request: Request,
  body: Uint8Array<ArrayBuffer>,
) => Response | Promise<Response>;

/**
 * How the server behaves.
 *
 * - `up`: as vLLM does.
 * - `refusing`: nothing listens on the port; open connections are closed.
 * - `failing`: status 500. `loading`: status 503.
 * - `hanging`: accepts, and never answers.
 * - `dripping`: sends the body at 640 bytes per second.
 * - `html`: a login page with status 200. `empty`: no body with status 200.
 * - `cut`: the body ends in the middle of a line, HTTP ends well.
 * - `reset`: the connection breaks in the middle of the body.
 *
 * All but `refusing` concern `/metrics` only.
 */
export type ServerState =
  | "up"
  | "refusing"
  | "failing"
  | "loading"
  | "hanging"
  | "dripping"
  | "html"
  | "empty"
  | "cut"
  | "reset"
  | MetricsHandler;

export interface VllmServerOptions extends Partial<SimulatedServerOptions> {
  /** 0, unless given: any free port. */
  readonly port?: number;
  /** The simulation's clock, which may not go back; real time since the start unless given. */
  readonly elapsed?: () => Seconds;
  readonly state?: ServerState;
  /** What `/version` says. */
  readonly version?: string;
  /** The `Authorization` header without which everything is answered with 401. */
  readonly authorization?: string;
  /** PEM texts, for HTTPS. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

export interface VllmServer {
  readonly url: string;
  readonly port: number;
  /** Requests so far, as `GET /metrics`. */
  readonly requests: readonly string[];
  /** Those of them that a monitor must never send. */
  readonly violations: readonly string[];
  /** Resolves when the server behaves like that. */
  readonly setState: (state: ServerState) => Promise<void>;
  /** Closes all connections, also those that hang. */
  readonly close: () => Promise<void>;
}

/** Paths that a monitor may read. */
const READABLE_PATHS = ["/metrics", "/health", "/version", "/v1/models"];

/** How often it is looked whether an outage of the simulation begins or ends, in milliseconds. */
const OUTAGE_CHECK_INTERVAL = 20;

const DRIP_BYTES = 32;
const DRIP_INTERVAL = 50;

/** Time for the first half of a body to arrive before the connection breaks, in milliseconds. */
const BREAK_DELAY = 30;

/** A body of which each `send` comes that many milliseconds after the one before. */
function createSlowBody(
  interval: number,
  send: (controller: ReadableStreamDefaultController<Uint8Array>) => void,
): ReadableStream<Uint8Array> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return new ReadableStream({
    pull: (controller) =>
      new Promise<void>((resolve) => {
        timer = setTimeout(() => {
          try {
            send(controller);
          } catch (error) {
            // The reader may go between two pieces, before `cancel` is called.
            if (!(error instanceof TypeError)) throw error;
          }
          resolve();
        }, interval);
      }),
    cancel: () => clearTimeout(timer),
  });
}

function dripBody(body: Uint8Array): ReadableStream<Uint8Array> {
  let offset = 0;
  return createSlowBody(DRIP_INTERVAL, (controller) => {
    controller.enqueue(body.subarray(offset, offset += DRIP_BYTES));
    if (offset >= body.length) controller.close();
  });
}

function breakBody(body: Uint8Array): ReadableStream<Uint8Array> {
  let hasSent = false;
  return createSlowBody(BREAK_DELAY, (controller) => {
    if (hasSent) controller.error(new Error("cut off on purpose"));
    else controller.enqueue(body.subarray(0, body.length / 2));
    hasSent = true;
  });
}

function describeModels(options: SimulatedServerOptions, createdEpoch: Seconds): unknown {
  const models = new Map(options.engines.map((engine) => [engine.model, engine.maxModelLength]));
  return {
    object: "list",
    data: [...models].map(([id, maxModelLength]) => ({
      id,
      object: "model",
      created: Math.floor(createdEpoch),
      owned_by: "vllm",
      root: id,
      parent: null,
      max_model_len: maxModelLength ?? 32_768,
      permission: [],
    })),
  };
}

// Deno would compress the body; vLLM does not.
const HEADERS = {
  "content-type": "text/plain; version=1.0.0; charset=utf-8",
  "cache-control": "no-transform",
};

/** The answer to a GET of `/metrics`; `text` is `null` where the simulated server is down. */
function answerMetrics(
  request: Request,
  answer: {
    readonly state: ServerState;
    readonly text: Uint8Array | null;
    /** Aborts when the port is closed. */
    readonly closing: AbortSignal;
  },
): Response | Promise<Response> {
  const { state, text, closing } = answer;
  if (text === null) return new Response("down", { status: 503 });
  const body = new Uint8Array(text);
  if (typeof state === "function") return state(request, body);
  switch (state) {
    case "failing":
      return new Response("Internal Server Error", { status: 500 });
    case "loading":
      return Response.json({ error: "Service Unavailable" }, { status: 503 });
    case "hanging":
      return new Promise((resolve) => {
        closing.addEventListener("abort", () => resolve(new Response(null)));
      });
    case "dripping":
      return new Response(dripBody(body), { headers: HEADERS });
    case "html":
      return new Response("<!DOCTYPE html><html><title>Log in</title></html>\n", {
        headers: { "content-type": "text/html; charset=utf-8" },
      });
    case "empty":
      return new Response("", { headers: HEADERS });
    case "cut":
      return new Response(body.subarray(0, body.lastIndexOf(0x22, body.length / 2)), {
        headers: HEADERS,
      });
    case "reset":
      return new Response(breakBody(body), { headers: HEADERS });
    case "up":
    case "refusing":
      return new Response(body, { headers: HEADERS });
  }
}

/** Starts a server on 127.0.0.1. Its engines are one, unless given. */
export async function startVllmServer(options: VllmServerOptions = {}): Promise<VllmServer> {
  const startedAt = performance.now();
  const elapsed = options.elapsed ?? (() => (performance.now() - startedAt) / 1000);
  const simulation: SimulatedServerOptions = {
    seed: 1,
    startEpoch: Date.now() / 1000,
    engines: [{ model: "meta-llama/Llama-3.1-8B-Instruct" }],
    ...options,
  };
  const simulated = createSimulatedServer(simulation);
  const requests: string[] = [];
  const violations: string[] = [];
  let state: ServerState = options.state ?? "up";
  let port = options.port ?? 0;
  let isClosed = false;
  let listening: { readonly server: Deno.HttpServer; readonly abort: AbortController } | null;

  const answer = (request: Request, closing: AbortSignal): Response | Promise<Response> => {
    const { pathname } = new URL(request.url);
    requests.push(`${request.method} ${pathname}`);
    if (request.method !== "GET" || !READABLE_PATHS.includes(pathname)) {
      violations.push(`${request.method} ${pathname}`);
      return Response.json({ detail: "Not Found" }, { status: 404 });
    }
    const { authorization } = options;
    if (authorization !== undefined && request.headers.get("authorization") !== authorization) {
      return Response.json({ error: "Unauthorized" }, { status: 401 });
    }
    if (pathname === "/metrics") {
      return answerMetrics(request, { state, closing, text: simulated.expositionAt(elapsed()) });
    }
    if (pathname === "/version") return Response.json({ version: options.version ?? "0.32.0" });
    if (pathname === "/health") return new Response(null);
    return Response.json(describeModels(simulation, Date.now() / 1000));
  };

  const listen = (abort: AbortController) =>
    Deno.serve({
      hostname: "127.0.0.1",
      port,
      signal: abort.signal,
      onListen: () => {},
      onError: () => new Response(null, { status: 500 }),
      ...options.tls,
    }, (request) => answer(request, abort.signal));

  /** A port that was closed may be another program's for a while. */
  const open = async (): Promise<void> => {
    const abort = new AbortController();
    await waitFor(() => {
      try {
        const server = listen(abort);
        port = server.addr.port;
        listening = { server, abort };
        return true;
      } catch (error) {
        if (!(error instanceof Deno.errors.AddrInUse)) throw error;
        return false;
      }
    }, () => `port ${port}`);
  };

  /** Opens or closes the port, as the state and the simulated outages want it. */
  const adjust = async (): Promise<void> => {
    const isWanted = !isClosed && state !== "refusing" && simulated.isUpAt(elapsed());
    if (isWanted && listening === null) {
      await open();
    } else if (!isWanted && listening !== null) {
      const { server, abort } = listening;
      listening = null;
      abort.abort();
      await server.finished;
    }
  };
  let adjusted: Promise<void> = Promise.resolve();
  const adjustInTurn = (): Promise<void> => adjusted = adjusted.then(adjust);

  await open();
  await adjustInTurn();
  const timer = options.outages ? setInterval(adjustInTurn, OUTAGE_CHECK_INTERVAL) : undefined;
  return {
    url: `${options.tls ? "https" : "http"}://127.0.0.1:${port}`,
    port,
    requests,
    violations,
    setState: (wanted) => {
      state = wanted;
      return adjustInTurn();
    },
    close: () => {
      clearInterval(timer);
      isClosed = true;
      return adjustInTurn();
    },
  };
}

const COMMAND_LINE_DEFAULTS = {
  /** The first port; the others follow. */
  port: 18_000,
  servers: 1,
  /** Engines behind each server. */
  engines: 1,
  /** Which server is three times slower, counted from 0; −1: none. */
  slow: -1,
  /** Arrivals per second at each engine. */
  rate: 3.2,
  seed: 1,
  /** 1: speculative decoding. */
  speculative: 0,
  /** 1: the exposition of several API servers. */
  multiprocess: 0,
  /** The servers stop by themselves. */
  seconds: 600,
};

function readCommandLine(argv: readonly string[]): typeof COMMAND_LINE_DEFAULTS {
  const values: Record<string, number> = { ...COMMAND_LINE_DEFAULTS };
  for (let i = 0; i < argv.length; i += 2) {
    const name = argv[i].replace(/^--/, "");
    const value = Number(argv[i + 1]);
    if (!Object.hasOwn(COMMAND_LINE_DEFAULTS, name) || !Number.isFinite(value)) {
      const known = Object.entries(COMMAND_LINE_DEFAULTS).map(([key, n]) => `--${key} ${n}`);
      console.error(
        `Unknown: "${argv[i]} ${argv[i + 1]}". Known, with defaults: ${known.join(" ")}`,
      );
      Deno.exit(2);
    }
    values[name] = value;
  }
  return { ...COMMAND_LINE_DEFAULTS, ...values };
}

if (import.meta.main) {
  const wanted = readCommandLine(Deno.args);
  const servers: VllmServer[] = [];
  for (let index = 0; index < wanted.servers; index++) {
    const engine = {
      model: wanted.speculative ? "Qwen/Qwen3-32B" : "meta-llama/Llama-3.1-8B-Instruct",
      requestsPerSecond: wanted.rate,
      slowness: index === wanted.slow ? 3 : 1,
      maxWaiting: 40,
    };
    const server = await startVllmServer({
      port: wanted.port + index,
      seed: wanted.seed + index,
      engines: Array.from({ length: wanted.engines }, () => engine),
      warmUp: 60,
      speculative: wanted.speculative !== 0,
      multiprocess: wanted.multiprocess !== 0,
    });
    servers.push(server);
    console.log(`${server.url}/metrics${index === wanted.slow ? " (slow)" : ""}`);
  }
  await new Promise((resolve) => setTimeout(resolve, wanted.seconds * 1000));
  await Promise.all(servers.map((server) => server.close()));
}
