import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { createDemo, createDemoFleet } from "../lib/demo.ts";
import { findServerPorts } from "../lib/discovery_ports.ts";
import { createGpuSampler, isGpuFailure } from "../lib/gpu_sampler.ts";
import { createProcessLister } from "../lib/host_processes.ts";
import type { Scrape } from "../lib/model.ts";
import type { Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { absent } from "../lib/reading.ts";
import { createScraper } from "../lib/scrape.ts";
import { ANONYMOUS_ACCESS } from "../lib/scrape_credentials.ts";
import { expectScrape } from "./fixtures/kinds.ts";

const START = 1_795_300_000;

/** Scrapes each server of the mixed fleet at those moments, in seconds. */
async function scrapeMixed(moments: readonly number[]) {
  let now = 0;
  const real: Platform = {
    ...createDenoPlatform(),
    ...{ operatingSystem: "linux", monotonicSeconds: () => now, epochSeconds: () => START + now },
  };
  const { platform, endpoints } = createDemo(real, 1, "");
  const scrapers = await Promise.all(
    endpoints.map(({ endpoint }) =>
      createScraper(platform, endpoint, {
        access: ANONYMOUS_ACCESS,
        timeout: 30,
        metricPrefix: null,
        identifies: endpoint.serverName !== undefined,
      })
    ),
  );
  const scrapes: Scrape[][] = [];
  for (const at of moments) {
    now = at;
    scrapes.push(
      await Promise.all(scrapers.map(async ({ scrape }) => expectScrape(await scrape()))),
    );
  }
  for (const scraper of scrapers) scraper.close();
  return { scrapes, platform };
}

Deno.test("ANSWER_WRITERS answer as each kind of server, with the figures of the simulation", async () => {
  const { scrapes: [, latest] } = await scrapeMixed([20, 60]);
  assertEquals(
    latest.flatMap(({ engines }) =>
      engines.map(({ server, modelName, modelState }) => [server.name, modelName, modelState])
    ),
    [
      ["vLLM", "meta-llama/Llama-3.1-8B-Instruct", "loaded"],
      ["SGLang", "Qwen/Qwen3-32B", "loaded"],
      ["llama.cpp", "gemma-3-12b-it-Q4_K_M", "loaded"],
      ["Ollama", "mistral-small3.2:24b", "loaded"],
      ["Ollama", "nomic-embed-text:latest", "unloaded"],
    ],
  );
  const [, { server: sglang }, { server: llama }] = createDemoFleet(1, START, "");
  const [engine] = sglang.enginesAt(60) ?? [];
  const [slots] = llama.enginesAt(60) ?? [];
  const [, { engines: [counted] }, { engines: [busy] }, { engines: [loaded] }] = latest;
  assertEquals(counted.gauges.running.value, engine.figures.running);
  assertEquals(counted.counters.promptTokens.value, engine.figures.promptTokens);
  assertEquals(counted.counters.generationTokens.value, engine.figures.generationTokens);
  assertEquals(counted.histograms.ttft?.sum, engine.figures.tallies.ttft.sum);
  assertEquals(counted.server.tokensAreBooked, "step");
  assertEquals(busy.gauges.running.value, slots.figures.running);
  assertEquals(busy.counters.generationTokens.value, slots.figures.generationTokens);
  assertAlmostEquals(
    busy.gauges.kvCacheUsageRatio.value ?? NaN,
    slots.figures.kvCacheUsage,
    1 / slots.settings.kvCacheTokens,
  );
  assert(slots.figures.running > 0 && engine.figures.running > 0);
  assertEquals(loaded.gauges.running, absent("unsupported"));
});

Deno.test("the simulated machine runs each kind of server, with a GPU for each", async () => {
  const { platform } = await scrapeMixed([]);
  const listing = await createProcessLister(platform)?.();
  assert(listing !== undefined);
  const ports = findServerPorts(listing.listening, listing.processes);
  assertEquals(ports.map(({ port, serverName }) => [port, serverName]), [
    [8000, "vLLM"],
    [8080, "llama.cpp"],
    [11_434, "Ollama"],
    [30_000, "SGLang"],
  ]);
  const sampler = createGpuSampler(platform);
  const report = await sampler.sample();
  sampler.close();
  assert(!isGpuFailure(report));
  assertEquals(report.processes.value?.map(({ gpuIndex }) => gpuIndex), [0, 1, 2, 3]);
  const used = report.gpus.map(({ memoryUsedBytes }) => memoryUsedBytes.value ?? NaN);
  assert(used[0] === used[1] && used[2] < used[0] / 2 && used[3] < used[0] / 2, String(used));
  // Ollama has a model loaded and no requests.
  const busy = report.gpus.map(({ utilizationRatio }) => (utilizationRatio.value ?? NaN) > 0.5);
  assertEquals(busy, [true, true, true, false]);
});

Deno.test("the simulated llama.cpp serves most requests without a queue", async () => {
  const moments = Array.from({ length: 120 }, (_, i) => 10 * i + 10);
  const { scrapes } = await scrapeMixed(moments);
  const waiting = scrapes.map(([, , { engines: [{ gauges }] }]) => gauges.waiting.value ?? NaN);
  const queued = waiting.filter((count) => count > 0).length;
  assert(queued < 30, `${queued} of ${waiting.length} polls have a queue`);
});
