/**
 * Routers: requests, errors and workers, as they see them, for all models together. They know no
 * KV cache and mostly no tokens, and their request times end with the first bytes of a streamed
 * answer: those are listed, and are no latency. Sources: sglang-router 0.3.2, SMG 1.13.0 and
 * vllm-router 0.1.17, scraped; production-stack, read 2026-11.
 * @module
 */

import {
  counter,
  type Dialect,
  type EngineFacts,
  gauge,
  histogram,
  type MetricRow,
  UNDESCRIBED,
  UNTITLED,
  USUAL_CONCLUSIONS,
} from "./dialect_model.ts";
import { METRICS_PATH } from "./endpoint.ts";
import { ALL_MODELS, type EngineSample } from "./model.ts";
import { absent, checkReading } from "./reading.ts";

/** Families that are added up; names without prefix. */
interface RouterTraits
  extends Pick<Dialect, "name" | "prefixes" | "rows" | "defaultPort" | "marks"> {
  readonly command: RegExp;
  /** Option with the port of the metrics. */
  readonly portOption?: string;
  readonly running?: string;
  readonly waiting?: string;
  readonly requests: string;
  readonly failures?: string;
  /** Which of their children count. */
  readonly isRequest?: (child: string) => boolean;
  readonly isFailure?: (child: string) => boolean;
}

function createRouter(traits: RouterTraits): Dialect {
  const { name, prefixes, rows, defaultPort, marks, command, portOption } = traits;
  const { running, waiting, requests, failures, isRequest = () => true } = traits;
  const { isFailure = isRequest } = traits;
  const sum = (
    { getFamily }: EngineFacts,
    family: string,
    isWanted: (child: string) => boolean,
  ) => {
    const children = [...getFamily(family)].filter(([child]) => isWanted(child));
    return children.reduce((total, [, value]) => total + value, 0);
  };
  return {
    ...{ name, prefixes, rows, defaultPort, marks },
    isRouter: true,
    paths: [{ path: METRICS_PATH, when: "each_round" }],
    modelOwner: "",
    familiesAppear: () => true,
    derivedGauges: [
      ...running === undefined ? [] : ["running" as const],
      ...waiting === undefined ? [] : ["waiting" as const],
    ],
    derivedKeys: [
      ...failures === undefined ? [] : ["failedRequests" as const],
      "finishedByReason",
    ],
    answersVersion: false,
    labels: {
      ...{ model: "", defaultModel: ALL_MODELS, engine: "", workers: [], parts: [] },
      aliases: new Map(),
    },
    tokensAreBooked: "finish",
    ...UNDESCRIBED,
    processes: {
      ...UNTITLED,
      command,
      shortOptions: new Map(portOption === undefined ? [] : [[portOption, "port"]]),
    },
    conclude: (facts) => {
      const readGauge = (
        key: "running" | "waiting",
        family = "",
      ): Partial<EngineSample["gauges"]> =>
        facts.getFamily(family).size === 0
          ? {}
          : { [key]: checkReading(sum(facts, family, () => true)) };
      const isAny = [...facts.getFamily(requests).keys()].some(isRequest);
      const finished = sum(facts, requests, isRequest);
      return {
        gauges: { ...readGauge("running", running), ...readGauge("waiting", waiting) },
        // A family appears with its first request.
        labelled: isAny ? { finishedByReason: new Map([["all", finished]]) } : {},
        counters: failures === undefined ? {} : {
          failedRequests: facts.isDeclared(failures)
            ? checkReading(sum(facts, failures, isFailure))
            : absent("missing"),
        },
        ...USUAL_CONCLUSIONS,
      };
    },
  };
}

// deno-fmt-ignore
const SMG_ROWS: readonly MetricRow[] = [
  gauge("worker_health", "state", "Worker is healthy", "By worker.", { label: "worker", role: "presence" }),
  gauge("worker_requests_active", "requests", "Running", "By worker.", { label: "worker" }),
  gauge("worker_pool_size", "workers", "Workers", "By model.", { label: "model" }),
  gauge("worker_cb_state", "state", "Circuit breaker", "0 closed, 1 open, 2 half open; by worker.", { label: "worker" }),
  gauge("http_connections_active", "connections", "Connections", "", {}),
  counter(["router_requests_total", "requests_total"], "requests", "Requests", "By model.", { label: "model" }),
  counter("worker_requests_total", "requests", "Requests to a worker", "By worker.", { label: "worker" }),
  counter("http_responses_total", "responses", "Answers", "By HTTP status; to questions about the router, too.", { label: "status_code" }),
  counter("router_upstream_responses_total", "responses", "Answers of workers", "By HTTP status.", { label: "status_code" }),
  counter("worker_retries_total", "requests", "Retries", "By kind of request.", { label: "endpoint" }),
  histogram("router_request_duration_seconds", "seconds", "Time to the answer's headers", "Of a streamed answer only its beginning.", {}),
  histogram("router_ttft_seconds", "seconds", "TTFT", "Of gRPC workers alone.", { key: "ttft" }),
  histogram("router_tpot_seconds", "seconds", "TPOT", "Of gRPC workers alone.", { key: "tpot" }),
];

// deno-fmt-ignore
const VLLM_ROUTER_ROWS: readonly MetricRow[] = [
  gauge("active_workers", "workers", "Workers", "", { role: "presence" }),
  gauge("worker_health", "state", "Worker is healthy", "By worker.", { label: "worker" }),
  gauge("cb_state", "state", "Circuit breaker", "0 closed, 1 open, 2 half open; by worker.", { label: "worker" }),
  counter("requests_total", "requests", "Requests", "By path.", { label: "route" }),
  counter("request_errors_total", "requests", "Failed requests", "By path.", { label: "route" }),
  counter("processed_requests_total", "requests", "Requests to a worker", "By worker; questions about the worker, too.", { label: "worker" }),
  histogram("generate_duration_seconds", "seconds", "Time to the answer's headers", "Of a streamed answer only its beginning.", {}),
];

// deno-fmt-ignore
const STACK_ROWS: readonly MetricRow[] = [
  gauge("healthy_pods_total", "state", "Server is healthy", "By server.", { label: "server", role: "presence" }),
  gauge("num_requests_running", "requests", "Running", "By server.", { label: "server" }),
  gauge("num_requests_waiting", "requests", "Waiting", "By server.", { label: "server" }),
  gauge("num_prefill_requests", "requests", "In prefill", "By server.", { label: "server" }),
  gauge("num_decoding_requests", "requests", "In decode", "By server.", { label: "server" }),
  gauge("current_qps", "requests per second", "Requests per second", "As the router computes it; by server.", { label: "server", role: "presence" }),
  gauge("avg_latency", "seconds", "Mean E2E latency", "As the router computes it; by server.", { label: "server", overEngines: "none" }),
  gauge("avg_itl", "seconds", "Mean ITL", "As the router computes it; by server.", { label: "server", overEngines: "none" }),
  counter("num_incoming_requests_total", "requests", "Requests", "By model; those without a server, too.", { label: "model" }),
];

/** Paths that clients ask for text. */
function isInference(route: string): boolean {
  return route === "/generate" || (route.startsWith("/v1/") && route !== "/v1/models");
}

export const ROUTERS: readonly Dialect[] = [
  createRouter({
    name: "SGLang router",
    prefixes: ["smg_", "sgl_router_"],
    rows: SMG_ROWS,
    defaultPort: 29_000,
    command:
      /^(?:sglang|smg)::router|sglang_router\.launch_(?:router|server)|(?:^|[\s/])(?:sglang-router|smg)(?:\s|$)/,
    portOption: "prometheus-port",
    running: "worker_requests_active",
    requests: "router_requests_total",
    failures: "http_responses_total",
    isFailure: (status) => status.startsWith("5"),
  }),
  createRouter({
    name: "vLLM router",
    prefixes: ["vllm_router_"],
    rows: VLLM_ROUTER_ROWS,
    defaultPort: 29_000,
    command: /^vllm::router/,
    portOption: "prometheus-port",
    requests: "requests_total",
    failures: "request_errors_total",
    isRequest: isInference,
  }),
  createRouter({
    name: "production-stack router",
    prefixes: ["vllm:"],
    marks: ["healthy_pods_total", "current_qps"],
    rows: STACK_ROWS,
    defaultPort: 8001,
    command: /(?:^|[\s/])vllm_router[./]|(?:^|[\s/])vllm-router(?:\s|$)/,
    running: "num_requests_running",
    waiting: "num_requests_waiting",
    requests: "num_incoming_requests_total",
  }),
];
