/**
 * LiteLLM's proxy. Its labels name users, teams and keys: figures are added up over them, and what
 * no row describes is not kept. Source: LiteLLM 1.80.0, scraped; its documentation, read 2026-11.
 * @module
 */

import {
  counter,
  type Dialect,
  gauge,
  histogram,
  type MetricRow,
  UNDESCRIBED,
  UNTITLED,
  USUAL_CONCLUSIONS,
} from "./dialect_model.ts";
import { countObservations } from "./histogram.ts";

// deno-fmt-ignore
const ROWS: readonly MetricRow[] = [
  counter("input_tokens_metric_total", "tokens", "Prompt tokens", "Of finished requests.", { key: "promptTokens" }),
  counter("output_tokens_metric_total", "tokens", "Generated tokens", "Of finished requests.", { key: "generationTokens" }),
  counter("proxy_total_requests_metric_total", "requests", "Requests of clients", "By HTTP status, under the clients' names of models.", { label: "status_code" }),
  counter("deployment_success_responses_total", "responses", "Successful answers", "Of all deployments.", {}),
  counter("deployment_failure_responses_total", "responses", "Failed answers", "Of all deployments, by HTTP status.", { label: "exception_status" }),
  gauge("in_flight_requests", "requests", "Running", "Of all models.", {}),
  gauge("deployment_state", "state", "Worst deployment", "0 healthy, 1 partial outage, 2 outage.", { overEngines: "max" }),
  histogram("llm_api_time_to_first_token_metric", "seconds", "TTFT", "Of streamed requests.", { key: "ttft" }),
  histogram("request_total_latency_metric", "seconds", "E2E latency", "Its count is the finished requests.", { key: "e2e" }),
  histogram("llm_api_latency_metric", "seconds", "Time in the server behind", "", {}),
  histogram("overhead_latency_metric", "seconds", "Time in the proxy", "", {}),
  histogram("deployment_latency_per_output_token", "seconds", "Time per output token", "Of the server behind, with the prefill.", {}),
];

export const LITELLM: Dialect = {
  name: "LiteLLM",
  isRouter: true,
  prefixes: ["litellm_"],
  rows: ROWS,
  defaultPort: 4000,
  paths: [
    { path: "/metrics/", when: "each_round" },
    { path: "/v1/models", when: "once" },
    // It calls every configured model, for money.
    { path: "/health", when: "never" },
  ],
  modelOwner: "",
  familiesAppear: () => true,
  hidesUnknown: true,
  derivedKeys: ["finishedByReason"],
  answersVersion: false,
  enablingOption: 'callbacks: ["prometheus"]',
  labels: { model: "model", engine: "", workers: [], parts: [], aliases: new Map() },
  tokensAreBooked: "finish",
  ...UNDESCRIBED,
  processes: { ...UNTITLED, command: /(?:^|[\s/])litellm(?:\s|$)/ },
  conclude: ({ histograms: { e2e } }) => ({
    labelled: e2e === undefined
      ? {}
      : { finishedByReason: new Map([["all", countObservations(e2e)]]) },
    ...USUAL_CONCLUSIONS,
  }),
};
