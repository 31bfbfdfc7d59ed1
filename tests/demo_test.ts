import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  createDemoFleet,
  createSimulatedServer,
  type SimulatedServer,
  type SimulatedServerOptions,
} from "../lib/demo.ts";
import type { SimulatedEngineOptions } from "../lib/demo_engine.ts";
import { formatGoFloat } from "../lib/demo_exposition.ts";
import { readGzip } from "./fixtures/expositions.ts";
import { checkMetrics, needsProgram } from "./programs.ts";
import { startVllmServer } from "./vllm_server.ts";

const MODEL = "Qwen/Qwen2.5-7B-Instruct";
const START_EPOCH = 1_795_300_000.25;

function createServer(
  engine: Partial<SimulatedEngineOptions> = {},
  options: Partial<SimulatedServerOptions> = {},
): SimulatedServer {
  const engines = [{ model: MODEL, ...engine }];
  return createSimulatedServer({ seed: 7, startEpoch: START_EPOCH, engines, ...options });
}

function readText(server: SimulatedServer, elapsed: number): string {
  const body = server.expositionAt(elapsed);
  assert(body !== null, `down at ${elapsed} s`);
  return new TextDecoder().decode(body);
}

/** Every series with its value, in the order of the text. */
function readSeries(text: string): Map<string, number> {
  const series = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const match = line.match(/^([a-zA-Z_:][\w:]*(?:\{.*\})?) (\S+)$/);
    assert(match !== null, `not a sample: ${line}`);
    assert(!series.has(match[1]), `twice: ${match[1]}`);
    series.set(match[1], Number(match[2].replace("+Inf", "Infinity")));
  }
  return series;
}

/** The sum of all series of that exact name, with a piece of their labels if given. */
function sumSeries(series: ReadonlyMap<string, number>, name: string, label = ""): number {
  let sum = 0;
  let count = 0;
  for (const [key, value] of series) {
    if (key.split("{")[0] !== name || !key.includes(label)) continue;
    sum += value;
    count++;
  }
  assert(count > 0, `no series ${name} ${label}`);
  return sum;
}

/** Short of everything: requests wait, are preempted and are rejected. */
const OVERLOADED = { slowness: 3, requestsPerSecond: 6, kvCacheTokens: 30_000, maxWaiting: 20 };

const REQUEST_HISTOGRAMS = [
  "vllm:request_prompt_tokens",
  "vllm:request_generation_tokens",
  "vllm:request_max_num_generation_tokens",
  "vllm:request_params_n",
  "vllm:request_params_max_tokens",
  "vllm:request_prefill_kv_computed_tokens",
  "vllm:request_num_preemptions",
  "vllm:request_time_per_output_token_seconds",
  "vllm:e2e_request_latency_seconds",
  "vllm:request_queue_time_seconds",
  "vllm:request_inference_time_seconds",
  "vllm:request_prefill_time_seconds",
  "vllm:request_decode_time_seconds",
];

function assertIdentities(series: ReadonlyMap<string, number>, speculative: boolean): void {
  const sum = (name: string, label?: string) => sumSeries(series, name, label);
  const computed = sum("vllm:prompt_tokens_by_source_total", 'source="local_compute"');
  const cached = sum("vllm:prompt_tokens_by_source_total", 'source="local_cache_hit"');
  const generated = sum("vllm:generation_tokens_total");
  const running = sum("vllm:num_requests_running");
  const waiting = sum("vllm:num_requests_waiting");
  const finished = sum("vllm:request_success_total");
  const answered = sum("vllm:time_to_first_token_seconds_count");
  assertEquals(computed + cached, sum("vllm:prompt_tokens_total"));
  assertEquals(cached, sum("vllm:prompt_tokens_cached_total"));
  assertEquals(
    sum("vllm:prompt_tokens_cached_by_source_total"),
    sum("vllm:prefix_cache_hits_total"),
  );
  assert(sum("vllm:prefix_cache_queries_total") >= sum("vllm:prompt_tokens_total"));
  assertEquals(sum("vllm:num_requests_waiting_by_reason"), waiting);
  assertEquals(sum("vllm:engine_sleep_state"), 1);

  const accepted = speculative ? sum("vllm:spec_decode_num_accepted_tokens_total") : 0;
  const gaps = sum("vllm:inter_token_latency_seconds_count");
  assertEquals(generated, answered + gaps + accepted);
  assertEquals(sum("vllm:iteration_tokens_total_sum"), computed + generated);
  if (speculative) {
    assertEquals(sum("vllm:spec_decode_num_accepted_tokens_per_pos_total"), accepted);
    const drafts = sum("vllm:spec_decode_num_drafts_total");
    assertEquals(sum("vllm:spec_decode_num_draft_tokens_total"), 3 * drafts);
    assert(accepted <= 3 * drafts);
  }

  for (const name of REQUEST_HISTOGRAMS) assertEquals(sum(`${name}_count`), finished, name);
  assert(answered >= finished && answered <= finished + running + waiting);
  assertEquals(sum("vllm:request_params_n_sum"), finished);
  // A value that equals a bound is in that bound's bucket.
  assertEquals(sum("vllm:request_params_n_bucket", 'le="1.0"'), finished);
  const times = (name: string) => sum(`vllm:request_${name}_time_seconds_sum`);
  assertAlmostEquals(times("inference"), times("prefill") + times("decode"), 1e-6);
  assertAlmostEquals(
    sum("vllm:e2e_request_latency_seconds_sum"),
    times("queue") + times("inference"),
    1e-6,
  );

  const kvCacheUsage = sum("vllm:kv_cache_usage_perc");
  assert(kvCacheUsage >= 0 && kvCacheUsage <= 1);
  assertEquals(kvCacheUsage > 0, running > 0);
  const rejected = sum("vllm:admission_rejections_total");
  assertEquals(sum("http_request_duration_highr_seconds_count"), finished + rejected);
}

Deno.test("expositionAt() gives the same bytes for the same seed and time, however often called", () => {
  // With speculation both arrivals and steps draw random numbers, in whatever order they are asked for.
  const options = { speculative: true };
  const often = createServer(OVERLOADED, options);
  for (let elapsed = 0; elapsed < 40; elapsed += 0.037) often.expositionAt(elapsed);
  const once = createServer(OVERLOADED, options);
  assertEquals(readText(often, 40), readText(once, 40));
  const otherSeed = createServer(OVERLOADED, { ...options, seed: 8 });
  assert(readText(otherSeed, 40) !== readText(once, 40));
});

for (
  const [name, engine, speculative] of [
    ["a calm engine", {}, false],
    ["an overloaded engine", OVERLOADED, false],
    ["an overloaded engine with speculation", OVERLOADED, true],
  ] as const
) {
  Deno.test(`expositionAt() keeps the identities of ${name}`, () => {
    const server = createServer(engine, { speculative });
    let earlier = new Map<string, number>();
    for (let elapsed = 0; elapsed <= 60; elapsed += 1.7) {
      const series = readSeries(readText(server, elapsed));
      assertIdentities(series, speculative);
      for (const [key, value] of series) {
        if (!/(_total|_bucket|_count|_sum)[{ ]/.test(`${key} `)) continue;
        assert(value >= (earlier.get(key) ?? 0), `${key} fell`);
      }
      earlier = series;
    }
    assert(sumSeries(earlier, "vllm:request_success_total") > 30);
  });
}

Deno.test("expositionAt() shows an overloaded engine waiting, preempting, rejecting, with a full KV cache", () => {
  const server = createServer(OVERLOADED);
  let highestUsage = 0;
  for (let elapsed = 0; elapsed < 60; elapsed++) {
    const usage = sumSeries(readSeries(readText(server, elapsed)), "vllm:kv_cache_usage_perc");
    highestUsage = Math.max(highestUsage, usage);
  }
  const series = readSeries(readText(server, 60));
  assert(highestUsage > 0.97);
  assert(sumSeries(series, "vllm:num_requests_waiting") > 5);
  assert(sumSeries(series, "vllm:num_preemptions_total") > 5);
  assert(sumSeries(series, "vllm:admission_rejections_total") > 5);
  assert(sumSeries(series, "http_requests_total", 'status="5xx"') > 5);
});

Deno.test("expositionAt() accounts for every request until the last one is done", () => {
  const server = createServer({ ...OVERLOADED, requestLimit: 100 });
  let earlier = 0;
  const countArrived = (series: ReadonlyMap<string, number>): number =>
    sumSeries(series, "vllm:num_requests_running") +
    sumSeries(series, "vllm:num_requests_waiting") +
    sumSeries(series, "vllm:request_success_total") +
    sumSeries(series, "vllm:admission_rejections_total");
  for (let elapsed = 0; elapsed < 30; elapsed += 0.5) {
    const arrived = countArrived(readSeries(readText(server, elapsed)));
    assert(arrived >= earlier && arrived <= 100, `${earlier}, then ${arrived}`);
    earlier = arrived;
  }
  const idle = readSeries(readText(server, 600));
  assertEquals(countArrived(idle), 100);
  assertEquals(sumSeries(idle, "vllm:num_requests_running"), 0);
  assertEquals(sumSeries(idle, "vllm:num_requests_waiting"), 0);
  assertEquals(sumSeries(idle, "vllm:kv_cache_usage_perc"), 0);
  assertEquals(
    sumSeries(idle, "vllm:prefix_cache_queries_total"),
    sumSeries(idle, "vllm:prompt_tokens_total"),
  );
});

Deno.test("expositionAt() writes cumulative buckets whose last is the count", () => {
  const series = readSeries(readText(createServer(OVERLOADED), 30));
  let previous = 0;
  let histogramCount = 0;
  for (const [key, value] of series) {
    if (!key.includes('le="')) continue;
    assert(value >= previous, key);
    previous = value;
    if (!key.includes('le="+Inf"')) continue;
    const count = key.replace("_bucket{", "_count{").replace(
      /,?le="\+Inf",?/,
      (text) => text.startsWith(",") && text.endsWith(",") ? "," : "",
    ).replace("{}", "");
    assertEquals(series.get(count), value, count);
    previous = 0;
    histogramCount++;
  }
  assertEquals(histogramCount, 18);
});

Deno.test("expositionAt() declares and labels as vLLM does", () => {
  const text = readText(createServer({ model: "m" }), 0);
  const excerpts = [
    `# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 0.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 0.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="m"} 0.0
vllm:request_success_total{engine="0",finished_reason="error",model_name="m"} 0.0
vllm:request_success_total{engine="0",finished_reason="repetition",model_name="m"} 0.0
# HELP vllm:request_success_created Count of successfully processed requests.
# TYPE vllm:request_success_created gauge
vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.7953000002`,
    `# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="m"} 0.0
`,
    `
vllm:admission_rejections_total{model_name="m",reason="max_num_queued_reqs"} 0.0
vllm:admission_rejections_total{model_name="m",reason="max_num_queued_tokens"} 0.0
`,
    `
vllm:cache_config_info{_block_size_resolved="True",block_size="16",cache_dtype="auto",`,
    `kv_cache_size_tokens="60000",`,
    `num_gpu_blocks="3750",`,
  ];
  for (const excerpt of excerpts) assert(text.includes(excerpt), excerpt);
});

/** The lines of a body without what a simulation cannot know: values, names, and routes other than one. */
function maskLines(text: string): string[] {
  const lines = text.trimEnd().split("\n").filter((line) =>
    line.startsWith("#") || !/handler="\/(?!v1\/(?:chat\/)?completions)|status="[^2]/.test(line)
  );
  return lines.map((line) =>
    line.startsWith("#") ? line : line.replace(/ \S+$/, "").replace(
      /\b(model_name|patchlevel|version|handler|\w*block_size|num_gpu_blocks|kv_cache_(?:memory_bytes|size_tokens|max_concurrency))="[^"]*"/g,
      '$1="*"',
    )
  );
}

for (
  const [body, options] of [
    ["scenarios/one-engine/014.prom.gz", {}],
    ["scenarios/speculative/027.prom.gz", { speculative: true }],
    ["scenarios/two-engines/026.prom.gz", {}],
    ["scenarios/two-engines-two-api-servers/033.prom.gz", { multiprocess: true }],
  ] as const
) {
  Deno.test(`expositionAt() has the families and series of ${body}, in their order`, async () => {
    const recorded = maskLines(new TextDecoder().decode(await readGzip(body)));
    const engineCount = new Set(recorded.join("").match(/engine="\d+"/g)).size;
    const engine = { model: MODEL, maxModelLength: 2048 };
    const engines = Array.from({ length: engineCount }, () => engine);
    assertEquals(maskLines(readText(createServer({}, { ...options, engines }), 30)), recorded);
  });
}

Deno.test("expositionAt() has vLLM's bucket bounds", () => {
  const text = readText(createServer({ maxModelLength: 2048 }), 0);
  const listBounds = (name: string) =>
    [...text.matchAll(new RegExp(`^${name}_bucket\\{.*?le="([^"]+)"`, "gm"))].map((m) => m[1])
      .join(" ");
  assertEquals(
    listBounds("vllm:time_to_first_token_seconds"),
    "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0 " +
      "160.0 640.0 2560.0 +Inf",
  );
  const gaps = "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 " +
    "40.0 80.0 +Inf";
  assertEquals(listBounds("vllm:inter_token_latency_seconds"), gaps);
  assertEquals(listBounds("vllm:request_time_per_output_token_seconds"), gaps);
  for (const name of ["e2e_request_latency", "request_queue_time", "request_decode_time"]) {
    assertEquals(
      listBounds(`vllm:${name}_seconds`),
      "0.3 0.5 0.8 1.0 1.5 2.0 2.5 5.0 10.0 15.0 20.0 30.0 40.0 50.0 60.0 120.0 240.0 480.0 " +
        "960.0 1920.0 7680.0 +Inf",
    );
  }
  assertEquals(
    listBounds("vllm:request_prompt_tokens"),
    "1.0 2.0 5.0 10.0 20.0 50.0 100.0 200.0 500.0 1000.0 2000.0 +Inf",
  );
});

Deno.test("expositionAt() is null in an outage, after which counters restart", () => {
  const server = createServer({}, { outages: [{ from: 20, to: 25, every: 30 }] });
  const before = readSeries(readText(server, 19.9));
  assert(sumSeries(before, "vllm:prompt_tokens_total") > 0);
  assertEquals([20, 24.9, 25, 49.9, 50, 55].map(server.isUpAt), [
    ...[false, false, true, true, false, true],
  ]);
  assertEquals(server.expositionAt(20), null);
  assertEquals(server.expositionAt(24.9), null);
  const after = readSeries(readText(server, 25));
  assertEquals(sumSeries(after, "vllm:prompt_tokens_total"), 0);
  assertEquals(sumSeries(before, "process_start_time_seconds"), START_EPOCH - 14);
  assertEquals(sumSeries(after, "process_start_time_seconds"), START_EPOCH + 20);
  const created = sumSeries(after, "vllm:generation_tokens_created");
  assertAlmostEquals(created, START_EPOCH + 25, 0.01);
  const later = readSeries(readText(server, 40));
  assert(sumSeries(later, "vllm:prompt_tokens_total") > 0);
  assertEquals(sumSeries(later, "vllm:generation_tokens_created"), created);
  assertEquals(server.expositionAt(51), null);
});

Deno.test("expositionAt() starts warm if wanted", () => {
  const series = readSeries(readText(createServer({}, { warmUp: 60 }), 0));
  assert(sumSeries(series, "vllm:request_success_total") > 100);
  assertEquals(sumSeries(series, "process_start_time_seconds"), START_EPOCH - 74);
});

Deno.test("expositionAt() of several API servers has no process figures and no creation stamps", () => {
  const text = readText(createServer({}, { multiprocess: true }), 10);
  assertEquals(text.match(/^(# (HELP|TYPE) )?(process_|python_|\S*_created\b).*$/gm), null);
  assertIdentities(readSeries(text), false);
  assert(/^vllm:e2e_request_latency_seconds_sum\{.*\n\S*_bucket\{/m.test(text));
  const single = readText(createServer(), 10);
  assertEquals(
    [...readSeries(single).keys()].filter((key) =>
      !/^(process_|python_|\w*:?\w*_created)/.test(key)
    )
      .sort(),
    [...readSeries(text).keys()].sort(),
  );
});

Deno.test("expositionAt() escapes label values", () => {
  const text = readText(createServer({ model: 'a"b\\c\nd' }), 0);
  assert(text.includes('vllm:num_requests_running{engine="0",model_name="a\\"b\\\\c\\nd"} 0.0\n'));
});

Deno.test("expositionAt() gives 64 engines the size of a real server's body", () => {
  const engines = Array.from({ length: 64 }, () => ({ model: MODEL }));
  const server = createServer({}, { engines });
  server.expositionAt(20);
  const body = server.expositionAt(30);
  assert(body !== null);
  assert(body.length > 2.6e6 && body.length < 2.8e6, `${body.length} bytes`);
  const series = readSeries(new TextDecoder().decode(body));
  assertEquals(series.size, 24_700);
  const running = [...series.keys()].filter((key) => key.startsWith("vllm:num_requests_running"));
  assertEquals(running.length, 64);
});

Deno.test("expositionAt() refuses to go back, and invalid times", () => {
  const server = createServer();
  server.expositionAt(5);
  server.expositionAt(5);
  for (const elapsed of [4.9, -1, NaN]) {
    assertThrows(() => server.expositionAt(elapsed), RangeError, `"${elapsed}"`);
  }
});

Deno.test("createSimulatedServer() refuses invalid options", () => {
  assertThrows(() => createServer({}, { engines: [] }), RangeError, "0 engines");
  assertThrows(() => readText(createServer({ kvCacheTokens: 100 }), 0), RangeError, '"100"');
});

Deno.test("expositionAt() is accepted by promtool", needsProgram("promtool"), async () => {
  for (const multiprocess of [false, true]) {
    const server = createServer(OVERLOADED, { multiprocess, speculative: true });
    const { code, errors } = await checkMetrics(readText(server, 30));
    // 3: nothing but remarks on style, all of them about vLLM's names.
    assertEquals(code, 3);
    const others = errors.trim().split("\n").filter((line) =>
      !/should not contain ':'|non-counter metrics should not have "_total" suffix/.test(line)
    );
    assertEquals(others, []);
  }
});

Deno.test("formatGoFloat() prints as prometheus_client does", () => {
  const cases: [number, string][] = [
    [0, "0.0"],
    [2, "2.0"],
    [0.25, "0.25"],
    [123456, "123456.0"],
    [999999.5, "999999.5"],
    [1e6, "1e+06"],
    [8128902, "8.128902e+06"],
    [1234567.5, "1.2345675e+06"],
    [1795300000.25, "1.79530000025e+09"],
    [35786276864, "3.5786276864e+010"],
    [-1234567.5, "-1234567.5"],
    [0.0001, "0.0001"],
    [0.00001, "1e-05"],
    [1.5e-7, "1.5e-07"],
    [1e21, "1e+21"],
    [Infinity, "+Inf"],
    [-Infinity, "-Inf"],
    [NaN, "NaN"],
  ];
  for (const [value, text] of cases) assertEquals(formatGoFloat(value), text);
});

Deno.test("createDemoFleet() has two models, a slow server, and one that restarts", () => {
  const fleet = createDemoFleet(3, START_EPOCH);
  assertEquals(
    fleet.map(({ url }) => url),
    [8000, 8001, 8002, 8003, 8004].map((port) => `http://localhost:${port}`),
  );
  const first = fleet.map(({ server }) => readSeries(readText(server, 0)));
  const models = first.map((series) => {
    const [key] = [...series.keys()].filter((name) => name.startsWith("vllm:num_requests_running"));
    return key.replace(/^.*model_name="([^"]+)".*$/, "$1");
  });
  assertEquals(models, [
    ...["meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"],
    ...["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-32B", "Qwen/Qwen3-32B"],
  ]);
  const meanGaps = first.map((series) =>
    sumSeries(series, "vllm:inter_token_latency_seconds_sum") /
    sumSeries(series, "vllm:inter_token_latency_seconds_count")
  );
  assert(meanGaps[2] > 2.5 * Math.max(meanGaps[0], meanGaps[1]), meanGaps.join(" "));
  for (const series of first) assert(sumSeries(series, "vllm:request_success_total") > 200);
  assertEquals(fleet.map(({ server }) => server.isUpAt(50)), [true, true, true, true, false]);
  assertEquals(fleet[4].server.expositionAt(50), null);
  const restarted = readSeries(readText(fleet[4].server, 60));
  assertEquals(sumSeries(restarted, "vllm:request_success_total"), 0);
});

Deno.test("startVllmServer() answers as vLLM does, and counts requests a monitor must not send", async () => {
  const server = await startVllmServer({ elapsed: () => 3, startEpoch: START_EPOCH, seed: 7 });
  try {
    const metrics = await fetch(`${server.url}/metrics`);
    const engines = [{ model: "meta-llama/Llama-3.1-8B-Instruct" }];
    assertEquals(await metrics.text(), readText(createServer({}, { engines }), 3));
    const models = await (await fetch(`${server.url}/v1/models`)).json();
    assertEquals(models.data[0].id, engines[0].model);
    assertEquals(await (await fetch(`${server.url}/version`)).json(), { version: "0.32.0" });
    assertEquals(await (await fetch(`${server.url}/health`)).text(), "");
    assertEquals(server.violations, []);
    const posted = await fetch(`${server.url}/metrics`, { method: "POST" });
    await posted.body?.cancel();
    assertEquals(server.violations, ["POST /metrics"]);
    assertEquals(server.requests.length, 5);
  } finally {
    await server.close();
  }
});

Deno.test("startVllmServer() fails in each way on request", async () => {
  const server = await startVllmServer({ elapsed: () => 3 });
  const get = async (limit = 60_000) => {
    const response = await fetch(`${server.url}/metrics`, { signal: AbortSignal.timeout(limit) });
    return { status: response.status, text: await response.text() };
  };
  try {
    const whole = await get();
    await server.setState("cut");
    const cut = await get();
    assert(whole.text.startsWith(cut.text) && !cut.text.endsWith("\n") && cut.text.length > 1000);
    await server.setState("failing");
    assertEquals((await get()).status, 500);
    await server.setState("html");
    assert((await get()).text.startsWith("<!DOCTYPE html>"));
    await server.setState("empty");
    assertEquals(await get(), { status: 200, text: "" });
    for (const state of ["reset", "hanging", "dripping", "refusing"] as const) {
      await server.setState(state);
      await assertRejects(() => get(250));
    }
    await server.setState(() => new Response("mine", { status: 418 }));
    assertEquals(await get(), { status: 418, text: "mine" });
    await server.setState("up");
    assertEquals(await get(), whole);
  } finally {
    await server.close();
  }
});
