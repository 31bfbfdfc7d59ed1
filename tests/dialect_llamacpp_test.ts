import { assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { LLAMACPP } from "../lib/dialect_llamacpp.ts";
import type { EngineSample } from "../lib/model.ts";
import { isScrapeFailure } from "../lib/scrape_pool.ts";
import { formatResponse, startRawServer } from "./hostile_server.ts";
import { readDocument, runProgram } from "./program_runs.ts";
import {
  type Answers,
  expectScrape,
  listPaths,
  readText,
  scrapeInTurn,
  scrapeKind,
  startKind,
  UNKNOWN_LAUNCH,
} from "./fixtures/kinds.ts";

const METRICS = readText("llamacpp/load-010.prom");
const SLOTS = readText("llamacpp/load-010.slots.json");
const PROPS = readText("llamacpp/props.json");
const LOADED: Answers = { "/props": PROPS, "/metrics": METRICS, "/slots": SLOTS };

async function scrapeEngines(answers: Answers): Promise<readonly EngineSample[]> {
  const server = startKind(() => answers, "llama.cpp");
  const [outcome] = await scrapeKind(server);
  await server.close();
  return expectScrape(outcome).engines;
}

Deno.test("LLAMACPP reads the figures of a loaded b11434", async () => {
  const [engine, ...others] = await scrapeEngines(LOADED);
  assertEquals(others, []);
  assertEquals([engine.modelName, engine.server.name, engine.modelState], [
    "small-llama",
    "llama.cpp",
    "loaded",
  ]);
  assertEquals(engine.gauges.running.value, 4);
  assertEquals(engine.gauges.waiting.value, 6);
  // Four busy slots: 358 + 300 + 299 + 300 of 4 x 2048 tokens.
  assertAlmostEquals(engine.gauges.kvCacheUsageRatio.value ?? NaN, 1257 / 8192, 1e-9);
  assertEquals(engine.kvCacheCapacity.value, 8192);
  // 660 counted + 58 + 0 + 0 + 1 by busy slots.
  assertEquals(engine.counters.generationTokens.value, 719);
  assertEquals(engine.counters.computedPromptTokens.value, 2545);
  assertEquals(engine.counters.cachedPromptTokens.value, 1654);
  assertEquals(engine.counters.promptTokens.value, 2545 + 1654);
  assertEquals(engine.counters.prefixCacheHits.value, 1654);
  assertEquals(engine.configuration.get("slots"), "4");
});

Deno.test("LLAMACPP says which figures there never are", async () => {
  const [{ counters, histograms, server }] = await scrapeEngines(LOADED);
  assertEquals(counters.preemptions, { value: null, reason: "unsupported" });
  assertEquals(Object.keys(histograms), []);
  assertEquals(server.noSuchFigures.has("ttft"), true);
});

Deno.test("LLAMACPP counts no prompt tokens for clients where the build omits cached ones", async () => {
  const old = METRICS.replaceAll(/^.*prompt_tokens_cached_total.*\n/gm, "");
  const [{ counters }] = await scrapeEngines({ ...LOADED, "/metrics": old });
  assertEquals(counters.computedPromptTokens.value, 2545);
  assertEquals(counters.promptTokens.value, null);
  assertEquals(counters.prefixCacheHits.value, null);
});

Deno.test("LLAMACPP never lets generated tokens fall between a slot's release and its count", async () => {
  const tokens: number[] = [];
  // 719; then the slot with 58 tokens is released but not counted; then counted with 2 more.
  const idle = SLOTS.replace('"is_processing": true', '"is_processing": false');
  const counted = METRICS.replace("tokens_predicted_total 660", "tokens_predicted_total 720");
  const restarted = METRICS.replace("tokens_predicted_total 660", "tokens_predicted_total 5");
  const rounds: readonly Answers[] = [
    LOADED,
    { ...LOADED, "/slots": idle },
    { ...LOADED, "/slots": idle, "/metrics": counted },
    { ...LOADED, "/slots": idle, "/metrics": restarted },
  ];
  const ask = LLAMACPP.createRound?.(UNKNOWN_LAUNCH);
  for (const answers of rounds) {
    const text = await ask?.((path) => {
      const answer = answers[path];
      const [status, text] = typeof answer === "string" ? [200, answer] : [404, ""];
      return Promise.resolve({ path, status, text, header: () => null });
    }, 0);
    tokens.push(Number(/tokens_generated_total\{.*\} (\d+)/.exec(String(text))?.[1] ?? NaN));
  }
  assertEquals(tokens, [719, 719, 721, 6]);
});

Deno.test("LLAMACPP without --metrics gives what slots say, and marks the rest as off", async () => {
  const [engine] = await scrapeEngines({ ...LOADED, "/metrics": 501 });
  assertEquals(engine.gauges.running.value, 4);
  assertEquals(engine.gauges.waiting, { value: null, reason: "off" });
  assertEquals(engine.counters.generationTokens, { value: null, reason: "off" });
  assertEquals(engine.counters.preemptions, { value: null, reason: "unsupported" });
  const server = startKind(
    () => ({ "/props": PROPS, "/metrics": 501, "/slots": 501 }),
    "llama.cpp",
  );
  const [outcome] = await scrapeKind(server);
  assertEquals(isScrapeFailure(outcome), true);
  assertMatch("message" in outcome ? outcome.message : "", /start llama\.cpp with --metrics$/);
  await server.close();
});

Deno.test("LLAMACPP without slots counts tokens when a request finishes", async () => {
  const [engine] = await scrapeEngines({ ...LOADED, "/slots": 501 });
  assertEquals(engine.counters.generationTokens.value, 660);
  assertEquals(engine.server.tokensAreBooked, "finish");
  const [smooth] = await scrapeEngines(LOADED);
  assertEquals(smooth.server.tokensAreBooked, "step");
});

Deno.test("LLAMACPP asks no slots of a server that can sleep", async () => {
  const awake = startKind(() => LOADED, "llama.cpp");
  await scrapeKind(awake, { commandLine: "llama-server -m m.gguf --sleep-idle-seconds 60" });
  assertEquals(listPaths(awake), ["/v1/models", "/props", "/metrics"]);
  await awake.close();
});

Deno.test("LLAMACPP asks a router for loaded models alone, without loading one", async () => {
  const query = "?model=small-llama&autoload=false";
  const server = startKind(() => ({
    "/props": readText("llamacpp/router-props.json"),
    "/models": readText("llamacpp/router-models.json"),
    [`/metrics${query}`]: METRICS,
    [`/slots${query}`]: SLOTS,
  }), "llama.cpp");
  const [outcome] = await scrapeKind(server);
  assertEquals(listPaths(server), [
    "/v1/models",
    "/props",
    "/models",
    `/metrics${query}`,
    `/slots${query}`,
  ]);
  assertEquals(
    expectScrape(outcome).engines.map((
      { modelName, modelState, gauges },
    ) => [modelName, modelState, gauges.running.value]),
    [
      ["second-llama", "unloaded", null],
      ["small-llama", "loaded", 4],
      ["third-llama", "unloaded", null],
    ],
  );
  await server.close();
});

Deno.test("LLAMACPP tells the states of a router's models, and why one failed", async () => {
  const query = "?model=a&autoload=false";
  const list = (...models: readonly (readonly [id: string, status: object])[]): string =>
    JSON.stringify({ data: models.map(([id, status]) => ({ id, status })) });
  const server = startKind(() => ({
    "/props": readText("llamacpp/router-props.json"),
    "/models": list(
      ["a", { value: "loaded", args: ["--port", "1"] }],
      ["b", { value: "loading" }],
      ["c", { value: "downloading" }],
      ["d", { value: "sleeping" }],
      ["e", { value: "unloaded" }],
      ["f", { value: "unloaded", failed: true, exit_code: 137 }],
      ["g", { value: "unloaded", failed: true }],
      ["h", { value: "loaded" }],
      ["i", { value: "loaded" }],
    ),
    [`/metrics${query}`]: METRICS,
    [`/slots${query}`]: SLOTS,
    // Since the list: one has been unloaded, one loads again.
    "/metrics?model=h&autoload=false": 400,
    "/metrics?model=i&autoload=false": 503,
  }), "llama.cpp");
  const { engines } = expectScrape((await scrapeKind(server))[0]);
  assertEquals(
    engines.map(({ modelName, modelState, modelFault }) => [modelName, modelState, modelFault]),
    [
      ["a", "loaded", undefined],
      ["b", "loading", undefined],
      ["c", "loading", undefined],
      ["d", "asleep", undefined],
      ["e", "unloaded", undefined],
      ["f", "failed", "its process ended with exit code 137: see the log of the router"],
      ["g", "failed", "its process ended: see the log of the router"],
      ["h", "unloaded", undefined],
      ["i", "loading", undefined],
    ],
  );
  await server.close();
});

Deno.test("LLAMACPP asks a router for no slots of a model that can sleep", async () => {
  const ask = async (status: object, build: string): Promise<readonly string[]> => {
    const server = startKind(() => ({
      "/props": readText("llamacpp/router-props.json").replace("b11434", build),
      "/models": JSON.stringify({ data: [{ id: "a", status }] }),
      "/metrics?model=a&autoload=false": METRICS,
    }), "llama.cpp");
    await scrapeKind(server);
    await server.close();
    return listPaths(server).slice(3);
  };
  const sleeps = { value: "loaded", args: ["--port", "1", "--sleep-idle-seconds", "60"] };
  assertEquals(await ask(sleeps, "b11434"), ["/metrics?model=a&autoload=false"]);
  assertEquals(await ask(sleeps, "b10434"), []);
});

Deno.test("LLAMACPP is asked for its properties once, after a restart and after a failure", async () => {
  let answers: Answers = LOADED;
  let start: number | null = 1;
  const server = startKind(
    () => answers,
    "llama.cpp",
    () => start === null ? "" : `Process-Start-Time-Unix: ${start}\r\n`,
  );
  const other = { ...LOADED, "/props": PROPS.replaceAll("small-llama", "other-llama") };
  const scrapes = scrapeInTurn(server, 10, {
    serverName: "llama.cpp",
    commandLine: "llama-server -m m.gguf",
  });
  const round = async (): Promise<readonly string[]> => {
    const before = server.requests.length;
    const { value: outcome } = await scrapes.next();
    if (outcome === undefined) throw new Error("no scrape is left");
    const name = isScrapeFailure(outcome) ? outcome.kind : outcome.engines[0].modelName;
    return [name, ...listPaths(server).slice(before)];
  };
  const usual = ["/metrics", "/slots"] as const;
  assertEquals(await round(), ["small-llama", "/props", ...usual]);
  assertEquals(await round(), ["small-llama", ...usual]);
  assertEquals(await round(), ["small-llama", ...usual]);
  [answers, start] = [other, 2];
  assertEquals(await round(), ["other-llama", ...usual, "/props", ...usual]);
  assertEquals(await round(), ["other-llama", ...usual]);
  answers = { "/props": 503, "/metrics": 503 };
  assertEquals(await round(), ["server_error", "/metrics"]);
  assertEquals(await round(), ["server_error", "/props"]);
  answers = LOADED;
  assertEquals(await round(), ["small-llama", "/props", ...usual]);
  // Without --metrics nothing else tells of a restart.
  [answers, start] = [{ ...LOADED, "/metrics": 501 }, null];
  await round();
  assertEquals(await round(), ["small-llama", "/props", ...usual]);
  await scrapes.next();
  await server.close();
});

Deno.test("LLAMACPP says that it loads, and is then neither down nor another server", async () => {
  const loading = formatResponse(
    '{"error":{"message":"Loading model","type":"unavailable_error","code":503}}',
    { status: 503, headers: { server: "llama.cpp" } },
  );
  const server = startRawServer(({ send }) => send(loading));
  const outcomes = await scrapeKind(server, { count: 2 });
  assertEquals(outcomes.map((outcome) => isScrapeFailure(outcome) && outcome.kind), [
    "loading",
    "loading",
  ]);
  assertEquals(listPaths(server), ["/v1/models", "/props", "/props"]);
  const { stdout } = await runProgram([server.origin, "--once", "--json", "--no-gpu"]);
  const { endpoints, replicas, verdict } = readDocument(stdout);
  assertEquals([endpoints[0].status, replicas[0].status, verdict.status], [
    "LOAD",
    "LOAD",
    "PENDING",
  ]);
  await server.close();
});

Deno.test("LLAMACPP that is not ready for another reason is not another server", async () => {
  const server = startKind(() => ({ "/v1/models": 503, "/props": 503 }), "llama.cpp");
  const [outcome] = await scrapeKind(server);
  assertMatch(
    "message" in outcome ? outcome.message : "",
    /503 \(not ready\): wait while it loads/,
  );
  await server.close();
});
