import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseEndpointUrl } from "../lib/endpoint_url.ts";
import type { Endpoint } from "../lib/model.ts";
import { nameEndpoints, nameModel, shortenModelName } from "../lib/names.ts";
import { type State, update } from "../lib/state.ts";
import { createScraped, encode, MODEL, startState, writeEngine } from "./fixtures/expositions.ts";

function readEndpoint(url: string, label?: string): Endpoint {
  const typed = parseEndpointUrl(url);
  if ("error" in typed) throw new Error(typed.error);
  return label === undefined ? typed.endpoint : { ...typed.endpoint, label };
}

const name = (...urls: readonly string[]): readonly string[] =>
  nameEndpoints(urls.map((url) => readEndpoint(url)), []);

Deno.test("nameEndpoints() leaves out what all have in common", () => {
  assertEquals(name("localhost:8000"), [":8000"]);
  assertEquals(name("localhost:8000", "localhost:8001"), [":8000", ":8001"]);
  assertEquals(name("gpu1:8000", "gpu2:8000"), ["gpu1", "gpu2"]);
  assertEquals(name("gpu1:8000", "gpu2:8001"), ["gpu1:8000", "gpu2:8001"]);
  assertEquals(name("gpu1:8000", "gpu1:8001", "gpu2:8000"), [
    "gpu1:8000",
    "gpu1:8001",
    "gpu2:8000",
  ]);
  assertEquals(name("http://proxy:80/a", "http://proxy:80/b"), [":80/a", ":80/b"]);
  assertEquals(name("http://p:80/a", "http://q:80/a", "http://q:80/b"), [
    "p:80/a",
    "q:80/a",
    "q:80/b",
  ]);
  // This machine has several names: its ports tell its servers apart.
  assertEquals(name("localhost:8000", "http://[::1]:8001"), [":8000", ":8001"]);
  assertEquals(name("localhost:8000", "http://[::1]:8000"), ["localhost", "[::1]"]);
  assertEquals(name("unix:/run/vllm.sock"), ["/run/vllm.sock"]);
  assertEquals(name("http://h:80", "https://h:80"), ["http://h", "https://h:80"]);
});

Deno.test("nameEndpoints() numbers what is too long to read", () => {
  const long = `gpu-node-17.${"cluster.".repeat(4)}example.com`;
  assertEquals(name("gpu1:8000", `${long}:8001`), ["gpu1:8000", "#2"]);
});

Deno.test("nameEndpoints() takes labels as they are, and names no other so", () => {
  const endpoints = [
    readEndpoint("gpu1:8000"),
    readEndpoint("gpu2:8000", "gpu1"),
    readEndpoint("gpu3:8000"),
  ];
  assertEquals(nameEndpoints(endpoints, []), ["gpu1:8000", "gpu1", "gpu3:8000"]);
});

Deno.test("nameEndpoints() gives newcomers names that differ", () => {
  const known = [{ endpoint: readEndpoint("localhost:8000"), handle: ":8000" }];
  assertEquals(nameEndpoints([readEndpoint("localhost:8001")], known), [":8001"]);
  assertEquals(nameEndpoints([readEndpoint("gpu2:8000")], known), ["gpu2"]);
  assertEquals(nameEndpoints([readEndpoint("gpu2:8001")], known), ["gpu2:8001"]);
  assertEquals(nameEndpoints([], known), []);
});

Deno.test("shortenModelName() takes the last part, and the name out of a hub's cache", () => {
  assertEquals(shortenModelName(MODEL), "Llama-3.1-8B-Instruct");
  assertEquals(shortenModelName("/models/qwen/"), "qwen");
  assertEquals(shortenModelName("plain"), "plain");
  assertEquals(shortenModelName("/"), "/");
  const cached = "/root/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/0123abcd";
  assertEquals(shortenModelName(cached), "Qwen3-8B");
});

Deno.test("nameModel() gives the whole name where another model has the short one", () => {
  assertEquals(nameModel("a/Chat", new Set()), "Chat");
  assertEquals(nameModel("b/Chat", new Set(["Chat"])), "b/Chat");
  assertEquals(nameModel("Chat", new Set(["Chat"])), "Chat#2");
});

// ---- Of replicas, through the state that keeps them.

/** The endpoint answers with engines of models. */
function answer(
  state: State,
  endpoint: Endpoint,
  options: { readonly at: number; readonly models: readonly string[]; readonly engines: number },
): State {
  const { at, models, engines } = options;
  const text = models.flatMap((model) =>
    Array.from(
      { length: engines },
      (_, i) => writeEngine([["num_requests_running", 1]], { model, engine: String(i) }),
    )
  ).join("");
  return update(state, createScraped(endpoint, at, encode(text)));
}

/** All names by the identities of their replicas. */
function readNames(state: State): ReadonlyMap<string, string> {
  return new Map(
    state.endpoints.flatMap(({ endpoint, names }) =>
      [...names].map(([engine, given]) => [`${endpoint.key} ${engine}`, given.name] as const)
    ),
  );
}

const ONE = { at: 1, models: [MODEL], engines: 1 };
const namesOf = (state: State): string[] => [...readNames(state).values()];

Deno.test("update() names a replica by its model, its endpoint and its engine, as far as they tell", () => {
  const [first, second] = ["localhost:8000", "localhost:8001"].map((url) => readEndpoint(url));
  const alone = startState([first]);
  assertEquals(namesOf(answer(alone, first, ONE)), ["Llama-3.1-8B-Instruct"]);
  assertEquals(namesOf(answer(alone, first, { ...ONE, engines: 2 })), [
    "Llama-3.1-8B-Instruct.e0",
    "Llama-3.1-8B-Instruct.e1",
  ]);
  const both = startState([first, second]);
  assertEquals(namesOf(answer(both, second, ONE)), ["Llama-3.1-8B-Instruct :8001"]);
  assertEquals(namesOf(answer(both, second, { ...ONE, engines: 2 })), [
    "Llama-3.1-8B-Instruct :8001.e0",
    "Llama-3.1-8B-Instruct :8001.e1",
  ]);
  // Behind a balancer each endpoint has one engine, of a rank of its own.
  const ranked = encode(writeEngine([["num_requests_running", 1]], { engine: "3" }));
  assertEquals(namesOf(update(both, createScraped(first, 1, ranked))), [
    "Llama-3.1-8B-Instruct :8000.e3",
  ]);
});

Deno.test("update() calls a replica by the label of its endpoint", () => {
  const labelled = readEndpoint("gpu1:8000", "prod");
  const state = startState([labelled, readEndpoint("gpu2:8000")]);
  assertEquals(namesOf(answer(state, labelled, ONE)), ["prod"]);
  assertEquals(namesOf(answer(state, labelled, { ...ONE, engines: 2 })), ["prod.e0", "prod.e1"]);
  assertEquals(namesOf(answer(state, labelled, { ...ONE, models: ["a", "b"] })), [
    "prod",
    "b prod",
  ]);
});

Deno.test("update() keeps the name of an engine that goes and comes back", () => {
  const endpoint = readEndpoint("localhost:8000");
  const one = answer(startState([endpoint]), endpoint, ONE);
  const two = answer(one, endpoint, { ...ONE, at: 2, engines: 2 });
  const names = ["Llama-3.1-8B-Instruct", "Llama-3.1-8B-Instruct.e1"];
  assertEquals(namesOf(two), names);
  const less = answer(two, endpoint, { ...ONE, at: 3 });
  assertEquals(namesOf(answer(less, endpoint, { ...ONE, at: 4, engines: 2 })), names);
});

const url = fc.tuple(
  fc.constantFrom("localhost", "gpu1", "10.0.0.1", "[::1]"),
  fc.constantFrom(8000, 8001),
  fc.constantFrom("", "/a", "/b", "/a/b"),
).map(([host, port, path]) => `http://${host}:${port}${path}`);
const anyUrl = fc.oneof(
  { weight: 8, arbitrary: url },
  { weight: 1, arbitrary: fc.constantFrom("unix:/run/a.sock", "unix:/run/b.sock", "https://gpu1") },
);
const endpoint = fc.tuple(anyUrl, fc.constantFrom(undefined, undefined, undefined, "x", ":8000"))
  .map(([text, label]) => readEndpoint(text, label));
const endpoints = fc.uniqueArray(endpoint, {
  minLength: 1,
  maxLength: 6,
  selector: ({ key }) => key,
});

/** What happens: an endpoint is found, answers or goes. Numbers choose among those that there are. */
const happening = fc.record({
  kind: fc.constantFrom("find", "answer", "answer", "answer", "go"),
  which: fc.nat({ max: 5 }),
  models: fc.uniqueArray(fc.constantFrom("a/Chat", "b/Chat", "Chat", "x", "Chat :8000"), {
    minLength: 1,
    maxLength: 2,
  }),
  engines: fc.integer({ min: 0, max: 3 }),
});

Deno.test("update() gives each replica a name of its own that never changes, whatever comes", () => {
  fc.assert(
    fc.property(
      endpoints,
      endpoints,
      fc.array(happening, { maxLength: 20 }),
      (first, others, happenings) => {
        let state = startState(first);
        happenings.forEach(({ kind, which, models, engines }, index) => {
          const before = readNames(state);
          const known = state.endpoints[which % Math.max(1, state.endpoints.length)]?.endpoint;
          if (kind === "find") {
            const found = others.slice(which % others.length);
            state = update(state, { kind: "endpoints_found", endpoints: found });
          } else if (known !== undefined && kind === "go") {
            state = update(state, { kind: "endpoint_gone", endpointKey: known.key });
          } else if (known !== undefined) {
            state = answer(state, known, { at: index + 1, models, engines });
          }
          const after = readNames(state);
          const names = [...after.values()];
          assertEquals(new Set(names).size, names.length, names.join(", "));
          const handles = state.endpoints.map(({ handle }) => handle);
          assertEquals(new Set(handles).size, handles.length, handles.join(", "));
          for (const [key, given] of before) {
            if (after.has(key)) assertEquals(after.get(key), given);
          }
        });
      },
    ),
    { numRuns: 400 },
  );
});

Deno.test("update() names endpoints the same in whatever order they answer", () => {
  fc.assert(
    fc.property(
      endpoints.chain((all) =>
        fc.tuple(
          fc.constant(all),
          fc.shuffledSubarray([...all.keys()], {
            minLength: all.length,
          }),
        )
      ),
      ([all, order]) => {
        const answerAll = (indices: readonly number[]): ReadonlyMap<string, string> =>
          readNames(indices.reduce(
            (state, index) => answer(state, all[index], { at: 1, models: [MODEL], engines: 2 }),
            startState(all),
          ));
        const sorted = [...all.keys()];
        assertEquals(new Map([...answerAll(order)].sort()), new Map([...answerAll(sorted)].sort()));
      },
    ),
  );
});
