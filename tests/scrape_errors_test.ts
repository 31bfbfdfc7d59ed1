import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  describeBodyError,
  describeNetworkError,
  describeStatus,
  describeTimeout,
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

Deno.test("describeStatus() recognises servers by their refusals", () => {
  const base = { shown: SHOWN, sendsCredentials: false };
  const head = '{"error":{"code":501,"message":"Start it with `--metrics`"}}';
  assertEquals(describeStatus(501, { ...base, head }).serverName, "llama.cpp");
  const tls = describeStatus(400, { ...base, head: "plain HTTP request was sent to HTTPS port" });
  assertMatch(tls.message, /use https:/);
});
