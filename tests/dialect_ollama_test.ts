import { assertEquals } from "@std/assert";
import { OLLAMA } from "../lib/dialect_ollama.ts";
import { listMetrics } from "../lib/model.ts";
import { expectScrape, readText, scrapeKind, startKind } from "./fixtures/kinds.ts";

const PS = readText("ollama/ps.json");
const TAGS = readText("ollama/tags.json");
const ANSWERS = {
  "/v1/models": readText("ollama/models.json"),
  "/": "Ollama is running",
  "/api/version": '{"version":"0.20.0"}',
  "/api/ps": PS,
  "/api/tags": TAGS,
};

Deno.test("OLLAMA shows loaded models, and others as asleep", async () => {
  const server = startKind(() => ANSWERS);
  const [outcome] = await scrapeKind(server);
  await server.close();
  const { engines } = expectScrape(outcome);
  assertEquals(engines.map(({ modelName, isAsleep }) => [modelName, isAsleep]), [
    ["small-llama:latest", false],
    ["second-llama:latest", true],
    ["third-llama:latest", true],
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
  const text = await OLLAMA.createRound?.({ commandLine: null })(
    (path) => Promise.resolve({ path, status: 200, text: answers[path], serverHeader: null }),
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
