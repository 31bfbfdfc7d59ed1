import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import {
  isLocal,
  parseEndpointUrl,
  quoteUrl,
  readPlace,
  type TypedEndpoint,
} from "../lib/endpoint_url.ts";
import { revealSecret } from "../lib/secret.ts";

function parse(text: string): TypedEndpoint {
  const typed = parseEndpointUrl(text);
  if ("error" in typed) throw new Error(typed.error);
  return typed;
}

function readError(text: string): string {
  const typed = parseEndpointUrl(text);
  if (!("error" in typed)) throw new Error(`accepted as ${typed.endpoint.key}`);
  return typed.error;
}

/** What is typed, the key, the metrics URL and the address. */
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
  ["http://h/my-metrics", "http://h/my-metrics", "http://h/my-metrics/metrics", "h:80"],
  ["http://vllm_0:8000", "http://vllm_0:8000", "http://vllm_0:8000/metrics", "vllm_0:8000"],
  [
    "http://bücher:1",
    "http://xn--bcher-kva:1",
    "http://xn--bcher-kva:1/metrics",
    "xn--bcher-kva:1",
  ],
];

for (const [text, key, metricsUrl, address] of ACCEPTED) {
  Deno.test(`parseEndpointUrl() reads ${text}`, () => {
    const expected = { endpoint: { key, metricsUrl, address, warnings: [] }, basicAuth: null };
    assertEquals(parse(text), expected);
  });
}

Deno.test("parseEndpointUrl() gives spellings of the same place the same key", () => {
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

Deno.test("parseEndpointUrl() reads the path of a Unix socket", () => {
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

Deno.test("parseEndpointUrl() takes user and password out of the URL, decoded", () => {
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

/** What is typed, and what the error says. */
const REFUSED: readonly (readonly [string, string])[] = [
  ["", 'the URL "" is empty'],
  ["   ", 'the URL "" is empty'],
  ["ftp://gpu1", '"ftp://gpu1" cannot be watched: the scheme must be http, https or unix'],
  ["ftp://me:hunter2@gpu1", '"ftp://gpu1" cannot'],
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
  ["0", '"0" has no valid port'],
  ["65536", '"65536" has no valid port'],
  ["http://gpu1:99999", '"http://gpu1:99999" has no valid port'],
  ["http://me:hunter2@gpu1:0", '"http://gpu1:0" has no valid port'],
  ["::1", '"::1" needs brackets'],
  ["fe80::1:8000", '"fe80::1:8000" needs brackets'],
  ["http://::1/metrics", '"http://::1/metrics" needs brackets'],
  ["http://h/metrics?key=hunter2", '"http://h/metrics?…" has a query or fragment'],
  ["http://h?key=hunter2", '"http://h?…" has a query or fragment'],
  ["h#hunter2", '"h#…" has a query or fragment'],
  ["http://me:hunter2/b@gpu1", '"http://gpu1" follows an "@" in a path'],
  ["http://me:a?hunter2@gpu1", '"http://gpu1" follows an "@" in a path'],
  ["http://me:12\\hunter2@gpu1", '"http://gpu1" follows an "@" in a path'],
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

for (const [text, message] of REFUSED) {
  Deno.test(`parseEndpointUrl() refuses ${JSON.stringify(text.slice(0, 40))}`, () => {
    const error = readError(text);
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

Deno.test("parseEndpointUrl() gives the metrics URL the same key as what was typed", () => {
  fc.assert(fc.property(anyUrl, (text) => {
    const { endpoint } = parse(text);
    assertEquals(parse(endpoint.metricsUrl).endpoint, endpoint);
    assert(/:\d+$/.test(endpoint.address));
    assert(
      endpoint.metricsUrl.startsWith(endpoint.key) && endpoint.metricsUrl.endsWith("/metrics"),
    );
  }));
});

Deno.test("parseEndpointUrl() shows no part of user or password in any field or error", () => {
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

Deno.test("parseEndpointUrl() decodes whatever was encoded for it", () => {
  const text = fc.string({ unit: "grapheme", minLength: 1 });
  fc.assert(fc.property(text, text, (user, password) => {
    const encoded = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
    const { basicAuth } = parse(`https://${encoded}@gpu1`);
    assert(basicAuth !== null);
    assertEquals(revealSecret(basicAuth), `${user}:${password}`);
  }));
});

Deno.test("parseEndpointUrl() never throws, and every error quotes what is wrong", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const typed = parseEndpointUrl(text);
      if ("error" in typed) assert(/"[^\n]*"/.test(typed.error) && !typed.error.endsWith("."));
      else assertEquals(parse(typed.endpoint.key).endpoint.address, typed.endpoint.address);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("readPlace() and isLocal() read where an endpoint is reached", () => {
  const read = (url: string): unknown => {
    const { endpoint } = parse(url);
    const place = readPlace(endpoint);
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
