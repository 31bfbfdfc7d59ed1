import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import type { Json } from "../lib/json.ts";
import type { Endpoint, ServerInfo } from "../lib/model.ts";
import { createReport, SCHEMA_VERSION, serializeReport } from "../lib/report.ts";
import { type State, update } from "../lib/state.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  MODEL,
  type Series,
  startState,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import { assertGolden } from "./fixtures/goldens.ts";
import { failGpus, loadHost, readMigGpus, sampleGpus } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const ENDPOINT = createEndpoint(8000);

type JsonObject = { readonly [key: string]: Json };

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseReport(state: State): JsonObject {
  const text = serializeReport(createReport(state, "1.2.3"));
  assert(!text.includes("\n"), "one line");
  const parsed: Json = JSON.parse(text);
  assert(isObject(parsed));
  return parsed;
}

/** What stands at a path such as `replicas.0.figures.running`. */
function pick(report: Json, path: string): Json | undefined {
  return path.split(".").reduce<Json | undefined>((value, key) => {
    if (Array.isArray(value)) return value[Number(key)];
    return isObject(value) ? value[key] : undefined;
  }, report);
}

/** The state of one endpoint after it said the texts, two seconds apart. */
function follow(...texts: string[]): State {
  return texts.reduce(
    (state, text, i) => advance(state, 2 * i + 0.1, [createScraped(ENDPOINT, 2 * i, encode(text))]),
    startState([ENDPOINT]),
  );
}

/** Two scrapes of one server, with something to say of everything. */
function followSmall(): State {
  const write = (step: number): string =>
    `process_start_time_seconds ${1_795_300_000 - 600}\n` +
    writeEngine([
      ["num_requests_running", 2 + step],
      ["num_requests_waiting", 1],
      ['num_requests_waiting_by_reason{reason="capacity"}', 1],
      ["gpu_cache_usage_perc", 0.25],
      ["prompt_tokens_total", 1000 * (1 + step)],
      ["generation_tokens_total", 400 * (1 + step)],
      ["num_preemptions_total", 0],
      ["prefix_cache_queries_total", 800 * (1 + step)],
      ["prefix_cache_hits_total", 200 * (1 + step)],
      ['request_success_total{finished_reason="stop"}', 4 * (1 + step)],
      ['request_success_total{finished_reason="abort"}', step],
      ["spec_decode_num_drafts_total", 100 * (1 + step)],
      ["spec_decode_num_draft_tokens_total", 300 * (1 + step)],
      ["spec_decode_num_accepted_tokens_total", 150 * (1 + step)],
      ['spec_decode_num_accepted_tokens_per_pos_total{position="0"}', 100 * (1 + step)],
      ['spec_decode_num_accepted_tokens_per_pos_total{position="1"}', 50 * (1 + step)],
      ...writeHistogram("time_to_first_token_seconds", [0.25, 0.5, 1], {
        counts: [1, 3, 4, 4].map((count) => count * (1 + step)),
        sum: 2 * (1 + step),
      }),
      ...writeHistogram("inter_token_latency_seconds", [0.01], {
        counts: [90, 100].map((count) => count * (1 + step)),
        sum: 1 + step,
      }),
    ]) +
    'vllm:cache_config_info{engine="0",kv_cache_size_tokens="43648",block_size="16"} 1.0\n' +
    writeEngine([['admission_rejections_total{reason="max_num_queued_reqs"}', 3]], {
      engine: null,
    }) +
    'vllm:lora_requests_info{max_lora="2",running_lora_adapters="sql",waiting_lora_adapters=""} 1\n' +
    `http_requests_total{status="2xx"} ${9 * (1 + step)}\nbroken{\n`;
  return follow(write(0), write(1));
}

Deno.test("createReport() is as in goldens/report.json", () => {
  assertGolden("report.json", JSON.stringify(parseReport(followSmall()), null, 2) + "\n");
});

Deno.test("createReport() calls what has gone what it was", () => {
  const write = (engines: readonly string[]): Uint8Array =>
    encode(
      engines.map((engine) => writeEngine([["num_requests_running", 1]], { engine })).join(""),
    );
  let state = startState([ENDPOINT]);
  for (let at = 0; at <= 60; at += 2) {
    state = advance(state, at + 0.1, [createScraped(ENDPOINT, at, write(["0", "1"]))]);
  }
  const names = state.fleet.rows.map(({ name }) => name);
  const gone = advance(state, 62.1, [createScraped(ENDPOINT, 62, write(["0"]))]);
  const causes = pick(parseReport(gone), "verdict.causes");
  assert(Array.isArray(causes));
  assertEquals(
    causes.map((cause) => isObject(cause) ? [cause.displayName, cause.signal] : []),
    [[names[0], "stalled"], [names[1], "recent"]],
  );
});

Deno.test("createReport() has the figures of the state, in base units", () => {
  const report = parseReport(followSmall());
  const expected: readonly (readonly [string, Json])[] = [
    ["schema", SCHEMA_VERSION],
    ["program", "vllm-htop 1.2.3"],
    ["intervalSeconds", 2],
    ["replicas.0.status", "OK"],
    ["replicas.0.model", MODEL],
    ["replicas.0.engine", "0"],
    ["replicas.0.figures.running", 3],
    ["replicas.0.figures.kvCacheUsageRatioMax", 0.25],
    ["replicas.0.figures.lastPoll.spanSeconds", 2],
    ["replicas.0.figures.lastPoll.promptTokensPerSecond", 500],
    ["replicas.0.figures.lastPoll.requestsPerSecond", 2.5],
    ["replicas.0.figures.lastPoll.prefixCacheHitRatio", 0.25],
    ["replicas.0.figures.lastPoll.draftAcceptanceRatio", 0.5],
    ["replicas.0.figures.lastPoll.acceptanceRatioByPosition.0", 1],
    ["replicas.0.figures.lastPoll.latency.ttft.p50.seconds", 0.375],
    ["replicas.0.figures.lastPoll.latency.ttft.p50.bound", ""],
    ["replicas.0.figures.lastPoll.latency.ttft.samples", 4],
    ["replicas.0.figures.lastPoll.latency.itl.p50.bound", "<"],
    ["replicas.0.figures.lastPoll.latency.itl.p50.seconds", 0.01],
    ["replicas.0.figures.lastPoll.latency.itl.p99.bound", ">"],
    ["replicas.0.figures.sinceStart.generationTokens", 800],
    ["replicas.0.figures.sinceStart.finishedByReason.abort", 1],
    ["total.running", 3],
    ["total.replicaCounts.up", 1],
    ["total.kvCacheUsageRatioMaxReplica", "Llama-3.1-8B-Instruct"],
    ["endpoints.0.scrape.olderNames.kvCacheUsageRatio", "gpu_cache_usage_perc"],
    ["endpoints.0.scrape.badLines", 1],
    ["endpoints.0.scrape.lora.running.0", "sql"],
    ["endpoints.0.scrape.rejectedRequestsByReason.max_num_queued_reqs", 3],
  ];
  for (const [path, value] of expected) assertEquals(pick(report, path), value, path);
});

Deno.test("createReport() says how a server was started, as far as that is known", () => {
  const card = (id: string, parent: string | null, maxModelLength: number | null) => ({
    id,
    parent,
    maxModelLength,
  });
  const report = (server: ServerInfo): unknown => {
    const state = update(followSmall(), {
      kind: "launch_read",
      endpointKey: ENDPOINT.key,
      server,
    });
    return pick(parseReport(state), "endpoints.0.server");
  };
  const launch = {
    commandLine: "vllm serve m -tp 2 --api-key ***",
    parallelSizes: new Map([["tensor-parallel-size", 2]]),
  };
  const models = [card("m", null, 4096), card("m-too", null, 4096), card("sql", "m", null)];
  assertEquals(report({ version: "0.32.0", models, launch }), {
    version: "0.32.0",
    maxModelLenTokens: 4096,
    servedModels: ["m", "m-too"],
    loraAdapters: ["sql"],
    parallelism: { "tensor-parallel-size": 2 },
    commandLine: "vllm serve m -tp 2 --api-key ***",
  });
  assertEquals(report({ version: null, models: [], launch: null }), {
    version: null,
    maxModelLenTokens: null,
    servedModels: [],
    loraAdapters: [],
    parallelism: null,
    commandLine: null,
  });
});

// ---- Validity on every path.

/** Keys that are null where there is nothing that they could say, and need no reason. */
const MAY_BE_NULL: ReadonlySet<string> = new Set([
  ...[
    "model",
    "modelState",
    "modelFault",
    "engine",
    "ageSeconds",
    "figures",
    "cacheConfig",
    "failure",
    "scrape",
    "lora",
  ],
  ...["session", "advice", "flag", "log"],
  ...["redirectedTo", "kvCacheUsageRatioMaxReplica"],
  ...["server", "version", "maxModelLenTokens", "parallelism", "commandLine"],
  ...["gpus", "gpuFailure", "gpuSample", "processesReason", "gpuIndexes", "outlier", "hint"],
  ...["owner", "replica", "tensorRank", "pipelineRank", "load"],
  ...["ssh", "sshHost", "latencySeconds", "metricsBy", "retryInSeconds", "pod"],
]);

/** Fails on a null without a reason, a reason without a null, and a number that is not finite. */
function assertSound(value: Json, path = ""): void {
  if (typeof value === "number") assert(Number.isFinite(value), path);
  if (Array.isArray(value)) value.forEach((item, i) => assertSound(item, `${path}.${i}`));
  if (!isObject(value)) return;
  const { reasons } = value;
  for (const [key, item] of Object.entries(value)) {
    if (item === null && !MAY_BE_NULL.has(key)) {
      const reason = isObject(reasons) ? reasons[key] : undefined;
      assert(typeof reason === "string" && reason !== "", `${path}.${key} is null`);
    }
    assertSound(item, `${path}.${key}`);
  }
  if (isObject(reasons)) {
    for (const key of Object.keys(reasons)) assertEquals(value[key], null, `${path}.${key}`);
  }
}

const STATES: readonly (readonly [string, () => State])[] = [
  ["no endpoints", () => startState([])],
  ["no answer yet", () => startState([ENDPOINT])],
  ["no answer at all", () => advance(startState([ENDPOINT]), 9, [createFailed(ENDPOINT, 8)])],
  ["one scrape", () => follow(writeEngine([["num_requests_running", 1]]))],
  ["no engine yet", () => follow("# TYPE vllm:num_requests_running gauge\n")],
  ["a restart", () =>
    follow(
      writeEngine([["generation_tokens_total", 9]]),
      writeEngine([["generation_tokens_total", 1]]),
    )],
  ["a small server", followSmall],
  ["a fleet", () => watchFleet(4, { more: { isDemo: true, notices: ["one", "two"] } })],
  ["a fleet in trouble", watchTroubledFleet],
  [
    "eight GPUs",
    () => sampleGpus(watchFleet(4), [readGpus("h100x8.tsv")], [{ port: 8000, gpus: [0, 1] }]),
  ],
  ["a loaded host", () => loadHost(watchFleet(1), 0.98)],
  ["divided GPUs", () => sampleGpus(watchFleet(1), [readMigGpus()])],
  ["GPUs that do not answer", () => failGpus(watchFleet(1), "timeout", "it hangs")],
];

for (const [name, createState] of STATES) {
  Deno.test(`createReport() is sound with ${name}`, () => {
    const state = createState();
    const report = parseReport(state);
    assertSound(report);
    assertEquals(pick(report, "schema"), 1);
    assertEquals((report.endpoints as Json[]).length, state.endpoints.length);
    for (const key of ["replicas", "groups", "notices"]) assert(Array.isArray(report[key]), key);
  });
}

Deno.test("createReport() has null, and why, for what is not finite", () => {
  const write = (step: number): string =>
    writeEngine([
      ["num_requests_running", "+Inf"],
      ["num_requests_waiting", "NaN"],
      ["kv_cache_usage_perc", "-Inf"],
      ["generation_tokens_total", step === 0 ? 0 : "1e308"],
      ["prompt_tokens_total", "+Inf"],
      ['request_success_total{finished_reason="stop"}', "+Inf"],
      ["time_to_first_token_seconds_sum", "NaN"],
      ['time_to_first_token_seconds_bucket{le="-Inf"}', 1],
      ['time_to_first_token_seconds_bucket{le="+Inf"}', 3],
    ]) +
    'vllm:cache_config_info{engine="0",kv_cache_size_tokens="1e400"} 1\n' +
    "process_start_time_seconds NaN\n" +
    'vllm:lora_requests_info{max_lora="Infinity"} NaN\n';
  const report = parseReport(follow(write(0), write(1)));
  const figures = pick(report, "replicas.0.figures");
  assert(isObject(figures) && isObject(figures.reasons));
  assertEquals([figures.running, figures.reasons.running], [null, "not_finite"]);
  assertEquals([figures.waiting, figures.reasons.waiting], [null, "not_finite"]);
  assertEquals(figures.reasons.kvCacheUsageRatioMax, "not_finite");
  assertEquals(figures.reasons.kvCacheCapacityTokens, "not_finite");
});

Deno.test("createReport() names sums that are lower bounds", () => {
  const endpoints: Endpoint[] = [ENDPOINT, createEndpoint(8001)];
  const state = advance(startState(endpoints), 1, [
    createScraped(endpoints[0], 0.5, encode(writeEngine([["num_requests_running", 3]]))),
    createScraped(endpoints[1], 0.5, encode(writeEngine([["prompt_tokens_total", 3]]))),
  ]);
  const total = pick(parseReport(state), "total");
  assert(isObject(total));
  assertEquals([total.running, total.partial], [3, ["running"]]);
});

Deno.test("createReport() has no figures of what is down, and an age of what is stale", () => {
  const report = parseReport(watchTroubledFleet());
  const statuses = (report.replicas as JsonObject[]).map(({ status, figures, ageSeconds }) => [
    status,
    figures === null,
    typeof ageSeconds,
  ]);
  assertEquals(statuses, [
    ["OK", false, "number"],
    ["STALE", false, "number"],
    ["DOWN", true, "number"],
    ["OK", false, "number"],
    ["OK", false, "number"],
    ["DOWN", true, "object"],
  ]);
  assertEquals(pick(report, "endpoints.4.failure.kind"), "timeout");
  assertEquals(pick(report, "endpoints.4.scrape"), null);
  assertEquals(pick(report, "total.replicas"), 3);
});

// ---- Text from elsewhere.

// deno-lint-ignore no-control-regex
const RAW = /[\x00-\x1f\x7f-\x9f\u2028\u2029]/;

Deno.test("serializeReport() leaves nothing raw that a terminal obeys", () => {
  const text = serializeReport({ a: "\x9b31m\x7f\x85\u2028\u2029\x1b\0\n", "\x9b": 1 });
  assert(!RAW.test(text), JSON.stringify(text));
  assertEquals(JSON.parse(text), { a: "\x9b31m\x7f\x85\u2028\u2029\x1b\0\n", "\x9b": 1 });
  assertMatch(text, /\\u009b31m\\u007f\\u0085\\u2028\\u2029\\u001b\\u0000\\n/);
});

Deno.test("serializeReport() is read back as it was, whatever the text", () => {
  const anyText = fc.string({ unit: "binary" });
  fc.assert(fc.property(fc.dictionary(anyText, anyText, { noNullPrototype: true }), (object) => {
    const text = serializeReport(object);
    assert(!RAW.test(text));
    assertEquals(JSON.stringify(JSON.parse(text)), JSON.stringify(object));
  }));
});

Deno.test("createReport() takes any text for a key", () => {
  const names = ["__proto__", "constructor", "toString", "reasons"];
  const report = parseReport(follow(
    writeEngine([
      ["num_requests_running", 1],
      ...names.map((name): Series => [`request_success_total{finished_reason="${name}"}`, 1]),
    ]) + `vllm:cache_config_info{engine="0",${names.map((name) => `${name}="x"`).join(",")}} 1\n`,
  ));
  const finished = pick(report, "replicas.0.figures.sinceStart.finishedByReason");
  const config = pick(report, "replicas.0.cacheConfig");
  assert(isObject(finished) && isObject(config));
  assertEquals([Object.keys(finished), Object.values(finished)], [names, [1, 1, 1, 1]]);
  assertEquals([Object.keys(config), Object.values(config)], [names, ["x", "x", "x", "x"]]);
});

Deno.test("createReport() has service levels, and none of what was not observed", () => {
  const write = (counts: readonly number[]) =>
    encode(writeEngine([
      ["num_requests_running", 1],
      ...writeHistogram("time_to_first_token_seconds", [0.25, 0.5], { counts, sum: 1 }),
      ...writeHistogram("e2e_request_latency_seconds", [1], { counts: [0, 0], sum: 0 }),
    ]));
  const state = advance(
    startState([ENDPOINT], {
      objectives: [
        { model: null, latency: "ttft", limit: 0.3, target: 0.95 },
        { model: MODEL, latency: "e2e", limit: 1, target: 0.5 },
      ],
    }),
    2.5,
    [[5, 6, 10], [45, 56, 60]].map((counts, i) => createScraped(ENDPOINT, 2 * i, write(counts))),
  );
  const report = parseReport(state);
  assertSound(report);
  const [ttft, e2e] = pick(report, "replicas.0.serviceLevels") as JsonObject[];
  assertEquals(ttft, {
    ...{ latency: "ttft", limitSeconds: 0.3, targetRatio: 0.95, model: null },
    lastMinute: { withinLimitRatioMin: 0.8, withinLimitRatioMax: 1, samples: 50 },
    session: { withinLimitRatioMin: 0.8, withinLimitRatioMax: 1, samples: 50 },
    sinceStart: { withinLimitRatioMin: 0.75, withinLimitRatioMax: 56 / 60, samples: 60 },
  });
  const reasons = { withinLimitRatioMin: "no_samples", withinLimitRatioMax: "no_samples" };
  const none = { withinLimitRatioMin: null, withinLimitRatioMax: null, samples: 0, reasons };
  assertEquals([e2e.model, e2e.lastMinute, e2e.session, e2e.sinceStart], [MODEL, none, none, none]);
  assertEquals(pick(report, "total.serviceLevels"), pick(report, "groups.0.serviceLevels"));
});
