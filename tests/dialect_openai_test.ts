import { assert, assertEquals } from "@std/assert";
import { absent } from "../lib/reading.ts";
import { isScrapeFailure } from "../lib/scrape_pool.ts";
import { VLLM_BODY } from "./hostile_server.ts";
import { expectScrape, listPaths, scrapeKind, startKind } from "./fixtures/kinds.ts";

const list = (owner: string | undefined, ...ids: readonly string[]): string =>
  JSON.stringify({
    object: "list",
    data: ids.map((id) => ({ id, object: "model", owned_by: owner })),
  });

// mlx_lm names no owner.
for (const owner of ["organization_owner", "tabbyAPI", undefined]) {
  Deno.test(`a server without metrics, whose models are of ${owner}, is watched by its models`, async () => {
    const server = startKind(() => ({ "/v1/models": list(owner, "a", "b") }));
    const outcomes = await scrapeKind(server, { count: 2 });
    const { engines } = expectScrape(outcomes[1]);
    assertEquals(
      engines.map(({ server, modelName, modelState }) => [server.name, modelName, modelState]),
      [
        ["OpenAI API", "a", "loaded"],
        ["OpenAI API", "b", "loaded"],
      ],
    );
    const [{ gauges, counters, kvCacheCapacity }] = engines;
    for (const reading of [...Object.values(gauges), ...Object.values(counters), kvCacheCapacity]) {
      assertEquals(reading, absent("unsupported"));
    }
    assertEquals(listPaths(server), ["/v1/models", "/metrics", "/v1/models", "/v1/models"]);
    await server.close();
  });
}

Deno.test("a server without metrics or models is not watched", async () => {
  // As mlx_lm without a model: 200 and nothing.
  for (const models of ["", "{}", list("x"), "<html></html>"]) {
    const server = startKind(() => ({ "/v1/models": models }));
    const [outcome] = await scrapeKind(server);
    assert(isScrapeFailure(outcome));
    assertEquals(outcome.kind, "not_found");
    await server.close();
  }
});

Deno.test("a server with models and metrics is watched by its metrics, and known again after another", async () => {
  let answers: Record<string, string> = { "/v1/models": list("x", "a") };
  const server = startKind(() => answers);
  const kinds = async () =>
    (await scrapeKind(server, { count: 3 })).map((outcome) =>
      isScrapeFailure(outcome) ? outcome.kind : outcome.engines[0].server.name
    );
  assertEquals(await kinds(), ["OpenAI API", "OpenAI API", "OpenAI API"]);
  answers = { "/v1/models": list("vllm", "a"), "/metrics": VLLM_BODY };
  assertEquals(await kinds(), ["vLLM", "vLLM", "vLLM"]);
  await server.close();
});

Deno.test("a round of models notices another owner: the kind of server is then asked again", async () => {
  let owner = "x";
  let count = 0;
  const server = startKind(() => {
    // After the first scrape another server stands there.
    if (++count > 3) owner = "vllm";
    const models = { "/v1/models": list(owner, "a") };
    return owner === "x" ? models : { ...models, "/metrics": VLLM_BODY };
  });
  const outcomes = await scrapeKind(server, { count: 3 });
  assertEquals(
    outcomes.map((outcome) =>
      isScrapeFailure(outcome) ? outcome.kind : outcome.engines[0].server.name
    ),
    ["OpenAI API", "not_found", "vLLM"],
  );
  await server.close();
});
