import { assert, assertEquals, assertMatch } from "@std/assert";
import { isScrapeFailure } from "../lib/scrape_pool.ts";
import {
  type Answers,
  expectScrape,
  listPaths,
  readText,
  scrapeKind,
  startKind,
} from "./fixtures/kinds.ts";
import { VLLM_BODY } from "./hostile_server.ts";

const list = (owner: string): string =>
  JSON.stringify({ object: "list", data: [{ id: "m", owned_by: owner }] });

Deno.test("identifyKind() asks for models first, and once", async () => {
  const server = startKind(() => ({ "/metrics": VLLM_BODY, "/v1/models": list("vllm") }));
  await scrapeKind(server, { count: 3 });
  assertEquals(listPaths(server), ["/v1/models", "/metrics", "/metrics", "/metrics"]);
  await server.close();
});

Deno.test("identifyKind() asks nothing of a server that is known", async () => {
  const server = startKind(() => ({ "/metrics": VLLM_BODY }));
  await scrapeKind(server, { serverName: "vLLM" });
  assertEquals(listPaths(server), ["/metrics"]);
  await server.close();
});

Deno.test("identifyKind() neither wakes a sleeping llama.cpp nor asks more of it", async () => {
  const props = readText("llamacpp/props-asleep.json").replace("b11434", "b10434");
  const server = startKind(
    () => ({ "/v1/models": list("llamacpp"), "/props": props, "/metrics": 500, "/slots": 500 }),
    "llama.cpp",
  );
  const outcomes = await scrapeKind(server, { count: 2 });
  assertEquals(listPaths(server), ["/v1/models", "/props", "/props"]);
  assertEquals(
    outcomes.map((outcome) => expectScrape(outcome).engines[0].modelState),
    ["asleep", "asleep"],
  );
  await server.close();
});

Deno.test("identifyKind() takes nothing for Ollama that only answers some of its paths", async () => {
  const tags = readText("ollama/tags.json");
  const models = readText("ollama/models.json");
  const real = { "/v1/models": models, "/api/ps": '{"models":[]}', "/api/tags": tags };
  const cases: readonly (readonly [Answers, readonly string[]])[] = [
    [real, ["/v1/models", "/", "/metrics", "/v1/models"]],
    [{ ...real, "/": "Ollama is running" }, [
      "/v1/models",
      "/",
      "/api/version",
      "/metrics",
      "/v1/models",
    ]],
    // A page that answers everything.
    [
      { ...real, "/": "<html></html>", "/api/version": "<html></html>" },
      ["/v1/models", "/", "/metrics", "/v1/models"],
    ],
    [
      { ...real, "/": "Ollama is running", "/api/version": '{"version":"0.32.0"}' },
      ["/v1/models", "/", "/api/version", "/api/ps", "/api/tags"],
    ],
    // Ollama without a model.
    [
      {
        "/v1/models": '{"object":"list","data":null}',
        "/": "Ollama is running",
        "/api/version": '{"version":"0.32.0"}',
        "/api/ps": '{"models":[]}',
      },
      ["/v1/models", "/", "/api/version", "/api/ps", "/api/tags"],
    ],
  ];
  for (const [answers, paths] of cases) {
    const server = startKind(() => answers);
    await scrapeKind(server);
    assertEquals(listPaths(server), [...paths]);
    await server.close();
  }
});

Deno.test("identifyKind() takes a refusal for no proof, and names the option of what is off", async () => {
  const locked = startKind(() => ({ "/v1/models": 401, "/metrics": 401 }));
  const [refused] = await scrapeKind(locked);
  assert(isScrapeFailure(refused));
  assertEquals([refused.kind, refused.serverName], ["unauthorized", undefined]);
  await locked.close();
  const off = startKind(() => ({ "/v1/models": list("sglang") }));
  const [disabled] = await scrapeKind(off);
  assert(isScrapeFailure(disabled));
  assertMatch(disabled.message, /404 \(metrics are off\): start SGLang with --enable-metrics$/);
  await off.close();
});

Deno.test("identifyKind() asks again who it is when another server may stand there", async () => {
  let answers: Record<string, string> = {};
  const server = startKind(() => answers);
  await scrapeKind(server, { count: 1 });
  answers = { "/v1/models": list("vllm"), "/metrics": VLLM_BODY };
  const outcomes = await scrapeKind(server, { count: 2 });
  assert(outcomes.every((outcome) => !isScrapeFailure(outcome)));
  assertEquals(listPaths(server).slice(2), ["/v1/models", "/metrics", "/metrics"]);
  await server.close();
});
