import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import {
  getHostAndPort,
  isLocal,
  nameEndpoints,
  nameModel,
  parseEndpointUrl,
  quoteUrl,
  shortenModelName,
  type TypedEndpoint,
} from "../lib/endpoint.ts";
import type { Endpoint } from "../lib/model.ts";
import { type State, update } from "../lib/state.ts";
import { revealSecret } from "../lib/text.ts";
import { createScraped, encode, MODEL, startState, writeEngine } from "./fixtures/expositions.ts";

function parse(text: string): TypedEndpoint {
  const typed = parseEndpointUrl(text);
  if ("error" in typed) throw new Error(typed.error);
  return typed;
}

function getError(text: string): string {
  const typed = parseEndpointUrl(text);
  if (!("error" in typed)) throw new Error(`accepted as ${typed.endpoint.key}`);
  return typed.error;
}

/** Typed URL, key, metrics URL, address. */
const ACCEPTED: readonly (readonly [string, string, string, string])[] = [
  ["gpu1", "http://gpu1:8000", "http://gpu1:8000/metrics", "gpu1:8000"],
  ["gpu1:9000", "http://gpu1:9000", "http://gpu1:9000/metrics", "gpu1:9000"],
  ["gpu1:80", "http://gpu1", "http://gpu1/metrics", "gpu1:80"],
  ["gpu1/a", "http://gpu1:8000/a", "http://gpu1:8000/a/metrics", "gpu1:8000"],
  ["8000", "http://localhost:8000", "http://localhost:8000/metrics", "localhost:8000"],
  [":8001", "http://localhost:8001", "http://localhost:8001/metrics", "localhost:8001"],
  [":8001/a/", "http://localhost:8001/a", "http://localhost:8001/a/metrics", "localhost:8001"],
  ["http://:8001", "http://localhost:8001", "http://localhost:8001/metrics", "localhost:8001"],
  ["10.0.0.7", "http://10.0.0.7:8000", "http://10.0.0.7:8000/metrics", "10.0.0.7:8000"],
  ["[::1]:8000", "http://[::1]:8000", "http://[::1]:8000/metrics", "[::1]:8000"],
  ["[::1]", "http://[::1]:8000", "http://[::1]:8000/metrics", "[::1]:8000"],
  ["http://[0:0::1]", "http://[::1]", "http://[::1]/metrics", "[::1]:80"],
  ["http://gpu1", "http://gpu1", "http://gpu1/metrics", "gpu1:80"],
  ["https://gpu1", "https://gpu1", "https://gpu1/metrics", "gpu1:443"],
  ["https://gpu1:8443", "https://gpu1:8443", "https://gpu1:8443/metrics", "gpu1:8443"],
  ["http://h/prefix", "http://h/prefix", "http://h/prefix/metrics", "h:80"],
  ["http://h/v1/metrics", "http://h/v1", "http://h/v1/metrics", "h:80"],
  ["http://h/prometheus/metrics/", "http://h/prometheus", "http://h/prometheus/metrics", "h:80"],
  ["http://h/metrics/metrics", "http://h/metrics", "http://h/metrics/metrics", "h:80"],
  ["http://h/my-metrics", "http://h/my-metrics", "http://h/my-metrics", "h:80"],
  ["http://h/my-metrics/metrics", "http://h/my-metrics", "http://h/my-metrics/metrics", "h:80"],
  ["http://vllm_0:8000", "http://vllm_0:8000", "http://vllm_0:8000/metrics", "vllm_0:8000"],
  [
    "http://bücher:1",
    "http://xn--bcher-kva:1",
    "http://xn--bcher-kva:1/metrics",
    "xn--bcher-kva:1",
  ],
];

for (const [text, key, metricsUrl, address] of ACCEPTED) {
  Deno.test(`parseEndpointUrl() parses ${text}`, () => {
    const expected = { endpoint: { key, metricsUrl, address, warnings: [] }, basicAuth: null };
    assertEquals(parse(text), expected);
  });
}

Deno.test("parseEndpointUrl() gives all spellings of a place the same key", () => {
  const spellings = [
    "HTTP://GPU1:80",
    "http://gpu1",
    "http://gpu1/",
    "http://gpu1///",
    "http://Gpu1:80/metrics",
    "http://gpu1/metrics/",
    "http://gpu1//metrics",
    "http://gpu1/a/../metrics",
    "http://me:pass@gpu1",
    " gpu1:80 ",
  ];
  assertEquals([...new Set(spellings.map((text) => parse(text).endpoint.key))], ["http://gpu1"]);
  assert(parse("https://gpu1:80").endpoint.key !== parse("http://gpu1:80").endpoint.key);
});

Deno.test("parseEndpointUrl() parses the path of a Unix socket", () => {
  for (const text of ["unix:/run/vllm.sock", "unix:///run/vllm.sock", "UNIX:/run//vllm.sock/"]) {
    assertEquals(parse(text).endpoint, {
      key: "unix:/run/vllm.sock",
      metricsUrl: "http://localhost/metrics",
      address: "/run/vllm.sock",
      unixSocketPath: "/run/vllm.sock",
      warnings: [],
    });
  }
});

Deno.test("parseEndpointUrl() extracts and decodes user and password", () => {
  const secrets: readonly (readonly [string, string])[] = [
    ["http://me:pass@gpu1:8000", "me:pass"],
    ["me:pass@gpu1:8000", "me:pass"],
    ["me@gpu1:8000", "me:"],
    [":pass@gpu1:8000", ":pass"],
    ["http://me:a%2Fb%40c%3A%25@gpu1:8000", "me:a/b@c:%"],
    ["http://me:a:b@c@gpu1:8000/metrics", "me:a:b@c"],
    ["http://m%C3%BC:ü@gpu1:8000", "mü:ü"],
  ];
  for (const [text, expected] of secrets) {
    const { endpoint, basicAuth } = parse(text);
    assert(basicAuth !== null);
    assertEquals(revealSecret(basicAuth), expected);
    assertEquals(endpoint, parse("gpu1:8000").endpoint);
  }
  assertEquals(parse("http://@gpu1").basicAuth, null);
  assertEquals(parse("http://:@gpu1").basicAuth, null);
});

/** Typed URL, error. */
const REJECTED: readonly (readonly [string, string])[] = [
  ["", 'the URL "" is empty'],
  ["   ", 'the URL "" is empty'],
  ["ftp://gpu1", '"ftp://gpu1" has an unsupported scheme: use http, https or unix'],
  ["ftp://me:hunter2@gpu1", '"ftp://gpu1" has an unsupported scheme'],
  ["file:/etc/passwd", '"file:/etc/passwd" is not the URL of a server'],
  ["http:gpu1", '"http:gpu1" is not the URL'],
  ["http:8000", '"http:8000" is not the URL'],
  ["http:/gpu1", '"http:/gpu1" is not the URL'],
  ["http://", '"http://" is not the URL'],
  ["http:///metrics", '"http:///metrics" is not the URL'],
  ["http://8000", '"http://8000" is not the URL'],
  ["8000:8001", '"8000:8001" is not the URL'],
  ["http://gpu1:", '"http://gpu1:" is not the URL'],
  ["gpu1:abc", '"gpu1:abc" is not the URL'],
  ["gpu1:{8000", '"gpu1:{8000" is not the URL'],
  ["8001}", '"8001}" is not the URL'],
  ["/metrics", '"/metrics" is not the URL'],
  ["two words", '"two words" is not the URL'],
  ["0", '"0" has an invalid port'],
  ["65536", '"65536" has an invalid port'],
  ["http://gpu1:99999", '"http://gpu1:99999" has an invalid port'],
  ["http://me:hunter2@gpu1:0", '"http://gpu1:0" has an invalid port'],
  ["::1", '"::1" needs brackets'],
  ["fe80::1:8000", '"fe80::1:8000" needs brackets'],
  ["http://::1/metrics", '"http://::1/metrics" needs brackets'],
  ["http://h/metrics?key=hunter2", '"http://h/metrics?…" has a query or fragment'],
  ["http://h?key=hunter2", '"http://h?…" has a query or fragment'],
  ["h#hunter2", '"h#…" has a query or fragment'],
  ["http://me:hunter2/b@gpu1", '"http://gpu1" has an "@" in its path'],
  ["http://me:a?hunter2@gpu1", '"http://gpu1" has an "@" in its path'],
  ["http://me:12\\hunter2@gpu1", '"http://gpu1" has an "@" in its path'],
  ["http://me:hunter2%@gpu1", 'of "http://gpu1" has a "%" that must be written as "%25"'],
  ["http://gpu1\x1b[2J", '"http://gpu1\\x1b[2J" has control'],
  ["http://gpu1\n:8000", "has control"],
  ["http://gpu1/\u202egnp", "has control"],
  ["unix:/run/\x07", "has control"],
  ["unix:vllm.sock", '"unix:vllm.sock" needs an absolute path'],
  ["unix://vllm.sock", '"unix://vllm.sock" needs an absolute path'],
  ["unix:/", '"unix:/" needs an absolute path'],
  ["unix:", '"unix:" needs an absolute path'],
  ["unix:/run/a?b", '"unix:/run/a?…" has a query'],
  ["http://h/" + "a".repeat(3000), "is longer than 2048 characters"],
];

for (const [text, message] of REJECTED) {
  Deno.test(`parseEndpointUrl() rejects ${JSON.stringify(text.slice(0, 40))}`, () => {
    const error = getError(text);
    assertStringIncludes(error, message);
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x1f]|hunter2/.test(error), error);
  });
}

const anyHost = fc.oneof(
  fc.constantFrom("gpu1", "GPU-2.example.org", "127.0.0.1", "[::1]", "vllm_0", "localhost"),
  fc.domain(),
);
const anyPort = fc.oneof(
  fc.constant(""),
  fc.constantFrom(":1", ":80", ":443", ":8000", ":65535"),
  fc.integer({ min: 1, max: 65_535 }).map((port) => `:${port}`),
);
const anyPath = fc.oneof(
  fc.constantFrom(
    "",
    "/",
    "//",
    "/metrics",
    "/metrics/",
    "/v1/metrics",
    "/metrics/metrics",
    "/a//",
  ),
  fc.array(fc.constantFrom("/", "a", "metrics", "%20", "..", ".", "ü", "="))
    .map((parts) => `/${parts.join("")}`),
);
const anyUrl = fc.tuple(
  fc.constantFrom("", "http://", "https://", "HTTP://"),
  anyHost,
  anyPort,
  anyPath,
)
  .map((parts) => parts.join(""));

Deno.test("parseEndpointUrl() maps the metrics URL to the same key", () => {
  fc.assert(fc.property(anyUrl, (text) => {
    const { endpoint } = parse(text);
    assertEquals(parse(endpoint.metricsUrl).endpoint, endpoint);
    assert(/:\d+$/.test(endpoint.address));
    assert(
      endpoint.metricsUrl.startsWith(endpoint.key) && endpoint.metricsUrl.endsWith("/metrics"),
    );
  }));
});

Deno.test("parseEndpointUrl() leaks no part of user or password into fields or errors", () => {
  const mark = "Zq9Xw";
  const piece = fc.oneof(
    fc.string({ maxLength: 8, unit: "binary" }),
    fc.string({ maxLength: 8, unit: fc.constantFrom(..."/\\?#@:%,[] 012a") }),
  );
  const userinfo = fc.tuple(piece, piece, piece).map((
    [user, before, after],
  ) => [`${user}:${before}${mark}${after}`, `${mark}${user}:${before}`, `${user}${mark}`]);
  fc.assert(
    fc.property(userinfo, anyHost, anyPort, anyPath, (spellings, host, port, path) => {
      for (const spelling of spellings) {
        for (const scheme of ["http://", "https://", "ftp://"]) {
          const text = `${scheme}${spelling}@${host}${port}${path}`;
          const printed = JSON.stringify(parseEndpointUrl(text)) + quoteUrl(text);
          assert(!printed.toLowerCase().includes(mark.toLowerCase()), printed);
        }
      }
    }),
    { numRuns: 1000 },
  );
});

Deno.test("parseEndpointUrl() decodes any encoded credentials", () => {
  const text = fc.string({ unit: "grapheme", minLength: 1 });
  fc.assert(fc.property(text, text, (user, password) => {
    const encoded = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
    const { basicAuth } = parse(`https://${encoded}@gpu1`);
    assert(basicAuth !== null);
    assertEquals(revealSecret(basicAuth), `${user}:${password}`);
  }));
});

Deno.test("parseEndpointUrl() never throws, and every error quotes the URL", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const typed = parseEndpointUrl(text);
      if ("error" in typed) assert(/"[^\n]*"/.test(typed.error) && !typed.error.endsWith("."));
      else assertEquals(parse(typed.endpoint.key).endpoint.address, typed.endpoint.address);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("getHostAndPort() and isLocal() derive host, port and locality", () => {
  const read = (url: string): unknown => {
    const { endpoint } = parse(url);
    const place = getHostAndPort(endpoint);
    return [place?.host ?? null, place?.port ?? null, isLocal(endpoint)];
  };
  const cases = {
    "localhost": ["localhost", 8000, true],
    "127.0.0.1:80": ["127.0.0.1", 80, true],
    "http://127.8.8.8": ["127.8.8.8", 80, true],
    "https://[::1]/prefix": ["[::1]", 443, true],
    "gpu1:8001": ["gpu1", 8001, false],
    "192.168.1.2:1": ["192.168.1.2", 1, false],
    "http://[fe80::1]:9": ["[fe80::1]", 9, false],
    "unix:/run/vllm.sock": [null, null, true],
  };
  for (const [url, expected] of Object.entries(cases)) assertEquals(read(url), expected, url);
});

function parseEndpoint(url: string, label?: string): Endpoint {
  const typed = parseEndpointUrl(url);
  if ("error" in typed) throw new Error(typed.error);
  return label === undefined ? typed.endpoint : { ...typed.endpoint, label };
}

const name = (...urls: readonly string[]): readonly string[] =>
  nameEndpoints(urls.map((url) => parseEndpoint(url)), []);

Deno.test("nameEndpoints() omits what all have in common", () => {
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
  // All are names of this machine: ports tell the servers apart.
  assertEquals(name("localhost:8000", "http://[::1]:8001"), [":8000", ":8001"]);
  assertEquals(name("localhost:8000", "http://[::1]:8000"), ["localhost", "[::1]"]);
  assertEquals(name("unix:/run/vllm.sock"), ["/run/vllm.sock"]);
  assertEquals(name("http://h:80", "https://h:80"), ["http://h", "https://h:80"]);
});

Deno.test("nameEndpoints() names host and port behind ssh, where more may follow", () => {
  const behind = (url: string) => ({ ...parseEndpoint(url), sshHost: "gpu1" });
  const first = behind("http://gpu1:8000");
  const known = [{ endpoint: first, displayName: "gpu1:8000" }];
  assertEquals(nameEndpoints([first], []), ["gpu1:8000"]);
  assertEquals(nameEndpoints([behind("http://gpu2:8000")], known), ["gpu2:8000"]);
});

Deno.test("nameEndpoints() numbers long addresses", () => {
  const long = `gpu-node-17.${"cluster.".repeat(4)}example.com`;
  assertEquals(name("gpu1:8000", `${long}:8001`), ["gpu1:8000", "#2"]);
});

Deno.test("nameEndpoints() keeps labels and gives them to no other endpoint", () => {
  const endpoints = [
    parseEndpoint("gpu1:8000"),
    parseEndpoint("gpu2:8000", "gpu1"),
    parseEndpoint("gpu3:8000"),
  ];
  assertEquals(nameEndpoints(endpoints, []), ["gpu1:8000", "gpu1", "gpu3:8000"]);
});

Deno.test("nameEndpoints() gives new endpoints distinct names", () => {
  const known = [{ endpoint: parseEndpoint("localhost:8000"), displayName: ":8000" }];
  assertEquals(nameEndpoints([parseEndpoint("localhost:8001")], known), [":8001"]);
  assertEquals(nameEndpoints([parseEndpoint("gpu2:8000")], known), ["gpu2"]);
  assertEquals(nameEndpoints([parseEndpoint("gpu2:8001")], known), ["gpu2:8001"]);
  assertEquals(nameEndpoints([], known), []);
});

Deno.test("shortenModelName() takes the last part, and the name from a hub cache path", () => {
  assertEquals(shortenModelName(MODEL), "Llama-3.1-8B-Instruct");
  assertEquals(shortenModelName("/models/qwen/"), "qwen");
  assertEquals(shortenModelName("plain"), "plain");
  assertEquals(shortenModelName("/"), "/");
  const cached = "/root/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/0123abcd";
  assertEquals(shortenModelName(cached), "Qwen3-8B");
});

Deno.test("nameModel() returns the full name if the short one is taken", () => {
  assertEquals(nameModel("a/Chat", new Set()), "Chat");
  assertEquals(nameModel("b/Chat", new Set(["Chat"])), "b/Chat");
  assertEquals(nameModel("Chat", new Set(["Chat"])), "Chat#2");
});

// Replica names, through the state that keeps them

/** The endpoint answers with engines of these models. */
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

/** Names by replica key. */
function collectNames(state: State): ReadonlyMap<string, string> {
  return new Map(
    state.endpoints.flatMap(({ endpoint, engines }) =>
      [...engines].flatMap(([engine, { name }]) =>
        name === null ? [] : [[`${endpoint.key} ${engine}`, name.name] as const]
      )
    ),
  );
}

const ONE = { at: 1, models: [MODEL], engines: 1 };
const namesOf = (state: State): string[] => [...collectNames(state).values()];

Deno.test("update() names a replica by model, endpoint and engine, as far as needed", () => {
  const [first, second] = ["localhost:8000", "localhost:8001"].map((url) => parseEndpoint(url));
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
  // Behind a load balancer each endpoint has one engine with a rank of its own.
  const ranked = encode(writeEngine([["num_requests_running", 1]], { engine: "3" }));
  assertEquals(namesOf(update(both, createScraped(first, 1, ranked))), [
    "Llama-3.1-8B-Instruct :8000.e3",
  ]);
});

Deno.test("update() names a replica by the label of its endpoint", () => {
  const labelled = parseEndpoint("gpu1:8000", "prod");
  const state = startState([labelled, parseEndpoint("gpu2:8000")]);
  assertEquals(namesOf(answer(state, labelled, ONE)), ["prod"]);
  assertEquals(namesOf(answer(state, labelled, { ...ONE, engines: 2 })), ["prod.e0", "prod.e1"]);
  assertEquals(namesOf(answer(state, labelled, { ...ONE, models: ["a", "b"] })), [
    "prod",
    "b prod",
  ]);
});

Deno.test("update() keeps the name of an engine that disappears and returns", () => {
  const endpoint = parseEndpoint("localhost:8000");
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
const anyEndpointUrl = fc.oneof(
  { weight: 8, arbitrary: url },
  { weight: 1, arbitrary: fc.constantFrom("unix:/run/a.sock", "unix:/run/b.sock", "https://gpu1") },
);
const endpoint = fc.tuple(
  anyEndpointUrl,
  fc.constantFrom(undefined, undefined, undefined, "x", ":8000"),
)
  .map(([text, label]) => parseEndpoint(text, label));
const endpoints = fc.uniqueArray(endpoint, {
  minLength: 1,
  maxLength: 6,
  selector: ({ key }) => key,
});

/** An endpoint is found, answers or disappears. Numbers choose among the existing ones. */
const happening = fc.record({
  kind: fc.constantFrom("find", "answer", "answer", "answer", "go"),
  which: fc.nat({ max: 5 }),
  models: fc.uniqueArray(fc.constantFrom("a/Chat", "b/Chat", "Chat", "x", "Chat :8000"), {
    minLength: 1,
    maxLength: 2,
  }),
  engines: fc.integer({ min: 0, max: 3 }),
});

Deno.test("update() gives each replica a unique name that never changes", () => {
  fc.assert(
    fc.property(
      endpoints,
      endpoints,
      fc.array(happening, { maxLength: 20 }),
      (first, others, happenings) => {
        let state = startState(first);
        happenings.forEach(({ kind, which, models, engines }, index) => {
          const before = collectNames(state);
          const known = state.endpoints[which % Math.max(1, state.endpoints.length)]?.endpoint;
          if (kind === "find") {
            const found = others.slice(which % others.length);
            state = update(state, { kind: "endpoints_found", endpoints: found });
          } else if (known !== undefined && kind === "go") {
            state = update(state, { kind: "endpoint_gone", endpointKey: known.key });
          } else if (known !== undefined) {
            state = answer(state, known, { at: index + 1, models, engines });
          }
          const after = collectNames(state);
          const names = [...after.values()];
          assertEquals(new Set(names).size, names.length, names.join(", "));
          const displayNames = state.endpoints.map(({ displayName }) => displayName);
          assertEquals(new Set(displayNames).size, displayNames.length, displayNames.join(", "));
          for (const [key, given] of before) {
            if (after.has(key)) assertEquals(after.get(key), given);
          }
        });
      },
    ),
    { numRuns: 400 },
  );
});

Deno.test("update() names endpoints independently of the order of their answers", () => {
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
          collectNames(indices.reduce(
            (state, index) => answer(state, all[index], { at: 1, models: [MODEL], engines: 2 }),
            startState(all),
          ));
        const sorted = [...all.keys()];
        assertEquals(new Map([...answerAll(order)].sort()), new Map([...answerAll(sorted)].sort()));
      },
    ),
  );
});
