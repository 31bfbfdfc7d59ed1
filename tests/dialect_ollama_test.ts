import { assertEquals } from "@std/assert";
import { OLLAMA } from "../lib/dialect_ollama.ts";
import { listMetrics } from "../lib/model.ts";
import type { RawServer } from "./hostile_server.ts";
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

const PS = readText("ollama/ps.json");
const TAGS = readText("ollama/tags.json");
const ANSWERS = {
  "/v1/models": readText("ollama/models.json"),
  "/": "Ollama is running",
  "/api/version": '{"version":"0.20.0"}',
  "/api/ps": PS,
  "/api/tags": TAGS,
};

Deno.test("OLLAMA lists what is on disk once, and again when another model is loaded", async () => {
  let answers: Answers = ANSWERS;
  const server = startKind(() => answers);
  const paths: (readonly string[])[] = [];
  for await (const _ of scrapeInTurn(server, 6)) {
    paths.push(listPaths(server).slice(paths.flat().length));
    if (paths.length === 2) answers = { ...ANSWERS, "/api/ps": '{"models":[]}' };
    if (paths.length === 4) answers = { ...ANSWERS, "/api/ps": 500 };
    if (paths.length === 5) answers = ANSWERS;
  }
  await server.close();
  assertEquals(paths.map((asked) => asked.filter((path) => path.startsWith("/api/"))), [
    ["/api/version", "/api/ps", "/api/tags"],
    ["/api/ps"],
    ["/api/ps", "/api/tags"],
    ["/api/ps"],
    ["/api/ps"],
    ["/api/ps", "/api/tags"],
  ]);
});

Deno.test("OLLAMA shows loaded models, and others as unloaded", async () => {
  const server = startKind(() => ANSWERS);
  const [outcome] = await scrapeKind(server);
  await server.close();
  const { engines } = expectScrape(outcome);
  assertEquals(engines.map(({ modelName, modelState }) => [modelName, modelState]), [
    ["small-llama:latest", "loaded"],
    ["second-llama:latest", "unloaded"],
    ["third-llama:latest", "unloaded"],
  ]);
  const [{ gauges, counters, server: { noSuchFigures }, metrics }] = engines;
  assertEquals(gauges.running, { value: null, reason: "unsupported" });
  assertEquals(gauges.kvCacheUsageRatio, { value: null, reason: "unsupported" });
  assertEquals(counters.generationTokens, { value: null, reason: "unsupported" });
  assertEquals(noSuchFigures.has("ttft"), true);
  const values = new Map(listMetrics(metrics).map(({ name, value }) => [name, value]));
  assertEquals(values.get("ollama:model_bytes"), 92_385_280);
  // On a CPU.
  assertEquals(values.get("ollama:model_gpu_ratio"), 0);
  assertEquals(values.get("ollama:model_context_tokens"), 4096);
});

async function readUnload(expiresAt: string): Promise<number | null> {
  const ps = PS.replace("2026-11-28T18:09:41.415973113Z", expiresAt);
  const answers: Readonly<Record<string, string>> = { "/api/ps": ps, "/api/tags": TAGS };
  const now = new Date("2026-11-28T18:09:21Z").getTime() / 1000;
  const text = await OLLAMA.createRound?.(UNKNOWN_LAUNCH)(
    (path) => Promise.resolve({ path, status: 200, text: answers[path], header: () => null }),
    now,
  );
  const found = /model_unload_seconds\{.*\} (\S+)/.exec(String(text))?.[1];
  return found === undefined ? null : Number(found);
}

Deno.test("OLLAMA says when a model unloads", async () => {
  assertEquals(await readUnload("2026-11-28T18:09:41Z"), 20);
  // A request runs longer than the keep-alive.
  assertEquals(await readUnload("2026-11-28T18:09:11Z"), 0);
  // keep_alive: -1.
  assertEquals(await readUnload("2318-11-28T18:09:11Z"), null);
});

const BLOB = "/usr/share/ollama/.ollama/models/blobs/sha256-d61e40e3e935";

interface Facts {
  readonly parameters: number;
  readonly context?: number;
  readonly path?: string;
}

/** A server that Ollama has started for a model. */
function startInner(
  { parameters, context = 4096, path = BLOB }: Facts,
  more: Answers = { "/metrics": readText("ollama/inner.prom") },
): RawServer {
  return startKind(() => ({
    "/props": JSON.stringify({
      default_generation_settings: { n_ctx: context },
      model_path: path,
      total_slots: 2,
    }),
    "/v1/models": JSON.stringify({ data: [{ id: "m", meta: { n_params: parameters } }] }),
    "/slots": readText("ollama/inner.slots.json"),
    ...more,
  }));
}

function listPs(...models: readonly (readonly [name: string, size: string, context: number])[]) {
  return JSON.stringify({
    models: models.map(([name, size, context]) => {
      return { name, details: { parameter_size: size }, context_length: context };
    }),
  });
}

async function scrapeWithInner(
  ps: string,
  inner: readonly RawServer[],
  count = 1,
): Promise<ReturnType<typeof expectScrape>> {
  const server = startKind(() => ({ ...ANSWERS, "/api/ps": ps, "/api/tags": '{"models":[]}' }));
  const listInner = () =>
    Promise.resolve(inner.map(({ origin }) => {
      const port = Number(new URL(origin).port);
      return { port, commandLine: `/opt/ollama/llama-server --model ${BLOB} --port ${port}` };
    }));
  const outcomes = await scrapeKind(server, { listInner, count });
  await Promise.all([server, ...inner].map((one) => one.close()));
  return expectScrape(outcomes[count - 1]);
}

Deno.test("OLLAMA shows the figures of the server that it has started for a model", async () => {
  const inner = startInner({ parameters: 23_929_344 });
  const { engines: [engine, ...others] } = await scrapeWithInner(PS, [inner], 2);
  assertEquals(others, []);
  const { modelName, server, gauges, counters, kvCacheCapacity } = engine;
  assertEquals([modelName, server.name], ["small-llama:latest", "Ollama"]);
  assertEquals(gauges.running.value, 1);
  assertEquals(gauges.kvCacheUsageRatio.value, 232 / 8192);
  assertEquals(kvCacheCapacity.value, 8192);
  // 80 counted and 32 of the busy slot.
  assertEquals(counters.generationTokens.value, 112);
  // Ollama holds the queue.
  assertEquals(gauges.waiting, { value: null, reason: "unsupported" });
  assertEquals(listPaths(inner), [
    ...["/props", "/v1/models"],
    ...["/metrics", "/slots", "/metrics", "/slots"],
  ]);
});

Deno.test("OLLAMA without metrics of that server shows what slots say", async () => {
  const inner = startInner({ parameters: NaN }, { "/metrics": 501 });
  const { engines: [{ gauges, counters }] } = await scrapeWithInner(PS, [inner], 2);
  assertEquals(gauges.running.value, 1);
  assertEquals(counters.generationTokens, { value: null, reason: "off" });
  // Asked once, as it stays off.
  assertEquals(listPaths(inner).filter((path) => path === "/metrics").length, 1);
});

Deno.test("OLLAMA joins a model and its server only where no other fits", async () => {
  const read = async (ps: string, facts: readonly Facts[]): Promise<unknown> => {
    const { engines } = await scrapeWithInner(ps, facts.map((one) => startInner(one)));
    return engines.map(({ gauges }) => gauges.running.value);
  };
  const two = listPs(["small", "1.5B", 4096], ["large", "8.0B", 4096]);
  assertEquals(await read(two, [{ parameters: 8_030_261_312 }]), [null, 1]);
  const [small, large] = [{ parameters: 1_543_714_304 }, { parameters: 8_030_261_312 }];
  assertEquals(await read(two, [large, small]), [1, 1]);
  // Equal in size: by context, if that differs.
  const equal = listPs(["one", "8.0B", 4096], ["other", "8.0B", 8192]);
  assertEquals(await read(equal, [{ ...large, context: 8192 }]), [null, 1]);
  const twins = listPs(["one", "8.0B", 4096], ["other", "8.0B", 4096]);
  assertEquals(await read(twins, [large, large]), [null, null]);
  // Another server at the port of a container's process.
  assertEquals(await read(PS, [{ ...large, path: "/models/other.gguf" }]), [null]);
});

Deno.test("OLLAMA is not down when a model's server is gone", async () => {
  const gone = startInner({ parameters: NaN });
  await gone.close();
  const { engines: [{ gauges, modelState }] } = await scrapeWithInner(PS, [
    { ...gone, close: () => Promise.resolve() },
  ], 2);
  assertEquals([gauges.running.value, modelState], [null, "loaded"]);
});
