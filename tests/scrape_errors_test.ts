import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  describeBodyError,
  describeForeignBody,
  describeNetworkError,
  describeStatus,
  describeTimeout,
  MAX_RETRY_AFTER,
  parseRetryAfter,
} from "../lib/scrape_errors.ts";

const SHOWN = '"http://gpu1:8000/metrics"';

/** Errors as the runtimes word them: outermost first, each the cause of the one before. */
const ERRORS: readonly (readonly [kind: string, ...messages: string[]])[] = [
  [
    "refused",
    "error sending request for url (http://gpu1:8000/metrics): client error (Connect): " +
    "tcp connect error: Connection refused (os error 111)",
  ],
  [
    "refused",
    "fetch failed",
    "error sending request for url (http://gpu1:8000/metrics): client error (Connect): " +
    "tcp connect error: Connection refused (os error 61)",
  ],
  ["refused", "connect ECONNREFUSED 127.0.0.1:1"],
  ["dns", "fetch failed", "client error (Connect): dns error: failed to lookup address"],
  ["dns", "getaddrinfo ENOTFOUND certificate.example"],
  ["tls", "fetch failed", "client error (Connect): invalid peer certificate: UnknownIssuer"],
  ["tls", "client error (Connect): invalid peer certificate: certificate expired: Expired"],
  ["tls", "invalid peer certificate: certificate not valid for name"],
  ["tls", "received corrupt message of type InvalidContentType"],
  ["tls", "received fatal alert: CertificateRequired"],
  ["tls", "received fatal alert: ProtocolVersion"],
  ["reset", "client error (SendRequest): connection closed before message completed"],
  ["reset", "read ECONNRESET"],
  [
    "reset",
    "client error (SendRequest): connection error: Connection reset by peer (os error 104)",
  ],
  ["network", "client error (SendRequest): invalid HTTP version parsed"],
  ["network", "client error (SendRequest): invalid HTTP header parsed"],
  ["network", "Fetch failed: Requests to port 6000 are blocked"],
  ["network", 'Requires net access to "gpu1:8000", run again with the --allow-net flag'],
  ["network", "Requires write access to the socket"],
  ["network", 'Requires env access to "X", run again with the --allow-env flag'],
  ["network", "tcp connect error: No route to host (os error 113)"],
  ["timeout", "tcp connect error: Connection timed out (os error 110)"],
  ["network", "something never seen"],
  ["credentials", 'Invalid header value: "Bearer a\nb"'],
];

for (const [kind, ...messages] of ERRORS) {
  Deno.test(`describeNetworkError() tells ${kind} from ${JSON.stringify(messages.at(-1))}`, () => {
    const error = messages.reduceRight<Error | undefined>(
      (cause, message) => new Error(message, { cause }),
      undefined,
    );
    const problem = describeNetworkError(error, SHOWN);
    assertEquals(problem.kind, kind, problem.message);
    assertStringIncludes(problem.message, SHOWN);
  });
}

Deno.test("describeNetworkError() is not misled by words in the URL", () => {
  const error = new Error(
    "error sending request for url (https://tls-certificate.example/dns error/x): " +
      "client error (Connect): tcp connect error: Connection refused (os error 111)",
  );
  assertEquals(describeNetworkError(error, SHOWN).kind, "refused");
});

Deno.test("describeNetworkError() passes on nothing of an error's own text", () => {
  const problem = describeNetworkError(new Error('Invalid header value: "Bearer s3cret"'), SHOWN);
  assert(!problem.message.includes("s3cret"));
  assertEquals(describeNetworkError("no error at all", SHOWN).kind, "network");
});

Deno.test("describeNetworkError() looks at errors that are several in one", () => {
  const error = new AggregateError([new Error("connect ECONNREFUSED ::1:8000")], "");
  assertEquals(describeNetworkError(error, SHOWN).kind, "refused");
});

Deno.test("describeBodyError() tells a broken body from a broken compression", () => {
  const cut = describeBodyError(new Error("error reading a body from connection"), SHOWN, 17);
  assertEquals(cut.kind, "truncated");
  assertMatch(cut.message, /after 17 bytes/);
  assertEquals(
    describeBodyError(new Error("Invalid gzip header"), SHOWN, 0).kind,
    "not_exposition",
  );
});

Deno.test("describeTimeout() says what was waited for", () => {
  for (
    const [phase, pattern] of [
      ["credentials", /credentials .* within 4 s/],
      ["headers", /did not answer within 4 s/],
      ["body", /still sending after 4 s \(3 bytes/],
    ] as const
  ) {
    assertMatch(describeTimeout(SHOWN, { phase, timeout: 4, bytes: 3 }).message, pattern);
  }
});

Deno.test("describeStatus() recognises TLS by its refusal", () => {
  const base = { shown: SHOWN, sendsCredentials: false };
  const tls = describeStatus(400, { ...base, head: "plain HTTP request was sent to HTTPS port" });
  assertMatch(tls.message, /use https:/);
});

Deno.test("describeStatus() speaks of metrics only where they were asked for", () => {
  const base = { shown: SHOWN, head: "", sendsCredentials: false };
  assertMatch(describeStatus(500, base).message, /PROMETHEUS_MULTIPROC_DIR/);
  const page = describeStatus(500, { ...base, isMetricsPage: false });
  assertEquals(page.kind, "server_error");
  assertMatch(page.message, /answered 500 \(the server or a proxy in front of it failed\)/);
  assertMatch(describeStatus(302, base).message, /302 \(moved\): use the URL/);
});

Deno.test("describeStatus() waits as long as the server asks, but not for ever", () => {
  const base = { shown: SHOWN, head: "", sendsCredentials: false };
  const busy = describeStatus(429, { ...base, retryAfter: 30 });
  assertEquals(busy.retryAfter, 30);
  assertMatch(busy.message, /429 \(too many requests\): next try after 30 s/);
  assertMatch(describeStatus(429, base).message, /too many requests\): raise --interval/);
  assertEquals(describeStatus(503, { ...base, retryAfter: 5 }).kind, "server_error");
  assertEquals(describeStatus(404, { ...base, retryAfter: 5 }).retryAfter, undefined);
  assertEquals(describeStatus(520, base).kind, "server_error");
});

Deno.test("parseRetryAfter() parses seconds and dates, up to five minutes", () => {
  const now = Date.parse("Fri, 27 Nov 2026 10:00:00 GMT") / 1000;
  const parse = (text: string | null) => parseRetryAfter(text, now);
  assertEquals(["30", "0", "86400", "-1", "soon", "", null].map(parse), [
    ...[30, null, MAX_RETRY_AFTER],
    ...[null, null, null, null],
  ]);
  assertEquals(parse("Fri, 27 Nov 2026 10:00:20 GMT"), 20);
  assertEquals(parse("Fri, 27 Nov 2026 09:00:00 GMT"), null);
});

Deno.test("describeForeignBody() names binary and compressed bodies", () => {
  const describe = (bytes: readonly number[], encoding: string | null, type = "text/plain") =>
    describeForeignBody(SHOWN, "x", { bytes: new Uint8Array(bytes), encoding, type }).message;
  assertMatch(describe([0x1f, 0x8b, 8, 0], "gzip, gzip"), /compressed twice with gzip/);
  assertMatch(describe([0x78, 0x9c, 1, 2], null), /compressed with deflate/);
  assertMatch(describe([0x4b, 0xcc, 1, 2], "deflate"), /compressed with deflate/);
  assertMatch(describe([0x28, 0xb5, 0x2f, 0xfd], null), /compressed with zstd/);
  assertMatch(describe([0x1b, 0x03, 1, 2], "br"), /compressed with brotli/);
  assertMatch(describe([0xff, 0xfe, 0x23, 0], null), /is UTF-16/);
  assertMatch(describe([0, 0x23, 0, 0x20], null), /is UTF-16/);
  assertMatch(describe([0x8d, 1, 0xa, 0x1b], null, "application/vnd.google.protobuf"), /protobuf/);
  assertMatch(describe([0x6e, 0x6f, 0x20, 0x31], null), /something other than metrics/);
});
