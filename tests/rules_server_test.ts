import { assertEquals } from "@std/assert";
import { evaluateReplica } from "../lib/rules_server.ts";
import { DEFAULT_RULES } from "../lib/rules_table.ts";
import {
  appendSample,
  computeReplicas,
  type EndpointHistory,
  startHistory,
} from "../lib/stats_window.ts";
import { readPoint, type Series, writeEngine } from "./fixtures/expositions.ts";

/** What is said of the load after the series were said, 20 s apart. */
function load(steps: readonly (readonly Series[])[], ratios = { ttft: 1, itl: 1 }) {
  return loadTexts(steps.map((series) => writeEngine(series)), ratios);
}

function loadTexts(texts: readonly string[], ratios = { ttft: 1, itl: 1 }) {
  const history = texts.reduce<EndpointHistory>(
    (known, text, i) => appendSample(known, readPoint(20 * i, text)),
    startHistory(),
  );
  const replica = computeReplicas(history)[0];
  const patient = { key: "a", replica, ratios, earlierOutput: null, isSingleEvaluation: false };
  return evaluateReplica(patient, DEFAULT_RULES);
}

Deno.test("evaluateReplica() is hot if two conditions hold", () => {
  const say = (kv: number, waiting: number, preemptions: number, tokens: number): Series[] => [
    ["num_requests_running", 3],
    ["num_requests_waiting", waiting],
    ["kv_cache_usage_perc", kv],
    ["num_preemptions_total", preemptions],
    ["generation_tokens_total", tokens],
  ];
  const signals = (
    after: readonly [kv: number, waiting: number, preemptions: number],
    ratios?: { ttft: number; itl: number },
  ) =>
    load([say(0, 0, 0, 1), say(...after, 2)], ratios).find(({ rule }) => rule === "hot")?.conditions
      .map(({ signal }) => signal);
  assertEquals(signals([0.85, 5, 0]), undefined);
  assertEquals(signals([0.86, 5, 0]), undefined);
  assertEquals(signals([0.86, 6, 0]), ["kv_cache", "waiting"]);
  assertEquals(signals([0.5, 6, 1]), ["waiting", "preemptions"]);
  assertEquals(signals([0.5, 0, 0], { ttft: 2, itl: 2 }), undefined);
  assertEquals(signals([0.5, 0, 0], { ttft: 2.1, itl: 2.1 }), ["ttft", "itl"]);
  assertEquals(signals([0.9, 0, 0], { ttft: 1, itl: 2.1 }), ["kv_cache", "itl"]);
});

Deno.test("evaluateReplica() is stalled after 15 s without progress", () => {
  const say = (tokens: number): Series[] => [
    ["num_requests_running", 3],
    ["generation_tokens_total", tokens],
  ];
  assertEquals(load([say(1), say(1)]).map(({ rule, value }) => [rule, value]), [["stalled", 20]]);
  assertEquals(load([say(1), say(2)]), []);
});

Deno.test("evaluateReplica() finds failures that a server counts apart from what finished", () => {
  const servers = [
    (finished: number, failed: number) => [
      `trtllm_request_success_total{model_name="m",finished_reason="stop"} ${finished}`,
      `trtllm_request_error_total{model_name="m",http_code="500"} ${failed}`,
      'trtllm_num_requests_running{model_name="m"} 0',
    ],
    (finished: number, aborted: number) => [
      `sglang:num_requests_total{model_name="m"} ${finished}`,
      `sglang:num_aborted_requests_total{model_name="m"} ${aborted}`,
      'sglang:num_running_reqs{model_name="m"} 0',
    ],
  ];
  for (const write of servers) {
    const evaluate = (finished: number, failed: number) =>
      loadTexts([write(1, 0), write(1 + finished, failed)].map((lines) => `${lines.join("\n")}\n`))
        .map(({ rule, value }) => [rule, value]);
    assertEquals(evaluate(0, 40), [["failing", 1]]);
    assertEquals(evaluate(30, 10), [["failing", 0.25]]);
    assertEquals(evaluate(40, 0), []);
  }
});

Deno.test("evaluateReplica() calls a server stalled only if it counts tokens at each step", () => {
  const running = 'sglang:num_running_reqs{model_name="m"} 3\n';
  const evaluate = (line: string) =>
    loadTexts([running + line, running + line]).map(({ rule }) => rule);
  const atSteps = 'sglang:realtime_tokens_total{mode="decode",model_name="m"} 1\n';
  assertEquals(evaluate(atSteps), ["stalled"]);
  assertEquals(evaluate('sglang:generation_tokens_total{model_name="m"} 1\n'), []);
});
