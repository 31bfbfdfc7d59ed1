import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Options } from "../lib/cli_options.ts";
import { parseArguments } from "./fixtures/arguments.ts";
import { parseEndpointUrl, type TypedEndpoint } from "../lib/endpoint.ts";
import type { Platform, Transport } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import {
  type CredentialSource,
  type EndpointAccess,
  openAccess,
} from "../lib/scrape_credentials.ts";
import { createTestCertificates } from "./hostile_server.ts";
import { needsProgram } from "./programs.ts";

const SECRET = "s3cr3t";

interface PlatformContents {
  readonly files?: Record<string, string>;
  readonly variables?: Record<string, string>;
}

/** A platform with only files, variables and a client that accepts any certificate. */
function createPlatform({ files = {}, variables = {} }: PlatformContents): Platform {
  return {
    ...createDenoPlatform(),
    environment: (name) => variables[name],
    readTextFile: (path) => {
      if (path in files) return Promise.resolve(files[path]);
      const error = new Error(`runtime text about ${path}`);
      error.name = path.startsWith("denied") ? "PermissionDenied" : "NotFound";
      return Promise.reject(error);
    },
    createHttpClient: () => Promise.resolve({ get: () => Promise.reject(), close: () => {} }),
  };
}

function parseUrl(text: string): TypedEndpoint {
  const typed = parseEndpointUrl(text);
  assert(!("error" in typed));
  return typed;
}

function createOptions(
  credentialSources: readonly CredentialSource[],
  insecureEndpointKeys: readonly string[] = [],
): Options {
  const parsed = parseArguments([], () => undefined);
  assert(parsed.kind === "run");
  return { ...parsed.options, credentialSources, insecureEndpointKeys };
}

const file = (kind: CredentialSource["kind"], path: string, endpointKey: string | null = null) =>
  ({ kind, endpointKey, from: { file: path } }) satisfies CredentialSource;

interface Case {
  readonly url?: string;
  readonly sources?: readonly CredentialSource[];
  readonly insecure?: readonly string[];
}

function open(contents: PlatformContents, { url = "gpu1", sources = [], insecure }: Case): Promise<
  EndpointAccess | { readonly error: string }
> {
  return openAccess(createPlatform(contents), parseUrl(url), createOptions(sources, insecure));
}

async function openValid(contents: PlatformContents, options: Case): Promise<EndpointAccess> {
  const access = await open(contents, options);
  assert(!("error" in access), JSON.stringify(access));
  return access;
}

async function expectError(
  contents: PlatformContents,
  options: Case,
  parts: readonly string[],
): Promise<void> {
  const access = await open(contents, options);
  assert("error" in access, "an error is expected");
  for (const part of parts) assertStringIncludes(access.error, part);
  assert(!access.error.includes(SECRET), access.error);
  assert(!/[\n.]$/.test(access.error), access.error);
}

Deno.test("openAccess() sends no credentials if none are given", async () => {
  const access = await openValid({}, {});
  assertEquals(access.transport, {});
  assertEquals(await access.readHeaders(), {});
  assertEquals(access.sendsCredentials, false);
});

Deno.test("openAccess() sends a bearer token from a file or variable, trimmed", async () => {
  const sources = [file("token", "token")];
  const access = await openValid({ files: { token: ` ${SECRET}\r\n` } }, { sources });
  assertEquals(await access.readHeaders(), { authorization: `Bearer ${SECRET}` });
  assertEquals(access.sendsCredentials, true);
  const fromVariable = await openValid({ variables: { TOKEN: SECRET } }, {
    sources: [{ kind: "token", endpointKey: null, from: { variable: "TOKEN" } }],
  });
  assertEquals(await fromVariable.readHeaders(), { authorization: `Bearer ${SECRET}` });
});

Deno.test("readHeaders() rereads the token file, and rejects if it is gone", async () => {
  const files: Record<string, string> = { token: "one" };
  const access = await openValid({ files }, { sources: [file("token", "token")] });
  files.token = "two";
  assertEquals(await access.readHeaders(), { authorization: "Bearer two" });
  delete files.token;
  await assertRejects(() => access.readHeaders(), Error, 'token file "token" does not exist');
});

Deno.test("openAccess() encodes user and password from URL, file or variable as UTF-8", async () => {
  const expected = { authorization: `Basic ${btoa("user:p\u00c3\u00a4ss:word")}` };
  const ofUrl = await openValid({}, { url: "http://user:p%C3%A4ss%3Aword@gpu1:8000" });
  assertEquals(await ofUrl.readHeaders(), expected);
  const ofFile = await openValid({ files: { basic: "user:p\u00e4ss:word\n" } }, {
    sources: [file("basic_auth", "basic")],
  });
  assertEquals(await ofFile.readHeaders(), expected);
});

Deno.test("openAccess() sends a source only to its endpoint, before those for all", async () => {
  const files = { all: "for-all", one: "for-one" };
  const sources = [file("token", "one", "http://gpu2:8000"), file("token", "all")];
  const gpu1 = await openValid({ files }, { url: "gpu1", sources });
  assertEquals(await gpu1.readHeaders(), { authorization: "Bearer for-all" });
  const gpu2 = await openValid({ files }, { url: "gpu2", sources });
  assertEquals(await gpu2.readHeaders(), { authorization: "Bearer for-one" });
  const gpu3 = await openValid({ files }, { url: "gpu3", sources: sources.slice(0, 1) });
  assertEquals(await gpu3.readHeaders(), {});
});

Deno.test("openAccess() prefers the URL's password to a token for all", async () => {
  const sources = [file("token", "all")];
  const access = await openValid({ files: { all: "t" } }, { url: "http://u:p@gpu1", sources });
  assertEquals(await access.readHeaders(), { authorization: `Basic ${btoa("u:p")}` });
});

Deno.test("openAccess() parses header lines", async () => {
  const headers = `X-Api-Key: ${SECRET}\r\n\nX-Org : a:b \n`;
  const access = await openValid({ files: { headers } }, { sources: [file("headers", "headers")] });
  assertEquals(await access.readHeaders(), { "x-api-key": SECRET, "x-org": "a:b" });
  assertEquals(access.sendsCredentials, true);
});

Deno.test("openAccess() rejects sources in one sentence without their content", async (t) => {
  const key = "http://gpu1:8000";
  const cases: [string, PlatformContents, Case, string[]][] = [
    ["a missing file", {}, { sources: [file("token", "no\x1bfile")] }, [
      'token file "no\\x1bfile" does not exist',
    ]],
    ["a file without permission", {}, { sources: [file("headers", "denied")] }, [
      '"denied" may not be read',
    ]],
    ["an empty file", { files: { t: " \n" } }, { sources: [file("token", "t")] }, ['"t" is empty']],
    ["two lines", { files: { t: `${SECRET}\n${SECRET}` } }, { sources: [file("token", "t")] }, [
      '"t" has blanks',
    ]],
    ["a control character", { files: { t: `${SECRET}\x00` } }, { sources: [file("token", "t")] }, [
      '"t" has blanks',
    ]],
    ["a scheme", { files: { t: `Bearer ${SECRET}` } }, { sources: [file("token", "t")] }, [
      'begins with "Bearer"',
    ]],
    ["no colon", { files: { b: SECRET } }, { sources: [file("basic_auth", "b")] }, [
      '"b" must be one line of the form USER:PASSWORD',
    ]],
    ["no header", { files: { h: `A: b\n${SECRET}` } }, { sources: [file("headers", "h")] }, [
      'line 2 of the headers file "h" is not a header',
    ]],
    ["a control in a header", { files: { h: `a: ${SECRET}\x07b` } }, {
      sources: [file("headers", "h")],
    }, ['line 1 of the headers file "h" has characters']],
    ["a framing header", { files: { h: "Content-Length: 5" } }, {
      sources: [file("headers", "h")],
    }, ['sets "content-length"']],
    ["token and password", { files: { t: "t", b: "u:p" } }, {
      sources: [file("token", "t", key), file("basic_auth", "b", key)],
    }, ["several credentials", '"t"', '"b"']],
    ["token and the URL's password", { files: { t: "t" } }, {
      url: `http://user:${SECRET}@gpu1:8000`,
      sources: [file("token", "t", key)],
    }, ["several credentials", "of the URL"]],
    ["token and authorization header", { files: { t: "t", h: `Authorization: ${SECRET}` } }, {
      sources: [file("token", "t"), file("headers", "h")],
    }, ['remove "authorization"']],
    ["no PEM", { files: { ca: SECRET } }, { sources: [file("ca_certificates", "ca")] }, [
      'CA certificates file "ca" has no PEM block',
    ]],
  ];
  for (const [name, contents, options, parts] of cases) {
    await t.step(name, () => expectError(contents, options, parts));
  }
});

Deno.test("openAccess() marks only the named endpoints as insecure", async () => {
  const insecure = ["https://gpu1"];
  const named = await openValid({}, { url: "https://gpu1", insecure });
  assertEquals(named.transport.insecure, true);
  const other = await openValid({}, { url: "https://gpu2", insecure });
  assertEquals(other.transport.insecure, undefined);
});

Deno.test("openAccess() passes on the path of a socket", async () => {
  const access = await openValid({}, { url: "unix:/run/vllm.sock" });
  assertEquals(access.transport, { unixSocketPath: "/run/vllm.sock" });
});

Deno.test({
  name: "openAccess() loads certificates once and tests them",
  ...needsProgram("openssl"),
  fn: async () => {
    const { ca, client, server, folder } = await createTestCertificates();
    const broken = client.cert.replace(/^[\w+/=]+$/gm, "AAAA");
    const files = { ca, cert: client.cert, key: client.key, other: server.key, broken };
    const openReal = (sources: readonly CredentialSource[], insecure: readonly string[] = []) => {
      const { readTextFile } = createPlatform({ files });
      const platform = { ...createDenoPlatform(), readTextFile };
      return openAccess(platform, parseUrl("https://gpu1"), createOptions(sources, insecure));
    };
    const pair = [file("ca_certificates", "ca"), file("client_certificate", "cert")];
    const access = await openReal([...pair, file("client_key", "key")]);
    assert(!("error" in access));
    const trim = (text: string) => text.trim();
    const expected: Transport = {
      caCertificates: [trim(ca)],
      clientCertificate: trim(client.cert),
      clientKey: trim(client.key),
    };
    assertEquals(access.transport, expected);
    assertEquals(access.sendsCredentials, true);
    for (const insecure of [[], ["https://gpu1"]]) {
      const mismatched = await openReal([...pair, file("client_key", "other")], insecure);
      assert("error" in mismatched);
      assertStringIncludes(mismatched.error, "the key belongs to the certificate");
      const broken = [pair[0], file("client_certificate", "broken"), file("client_key", "key")];
      assert("error" in await openReal(broken, insecure));
    }
    await Deno.remove(folder, { recursive: true });
  },
});
