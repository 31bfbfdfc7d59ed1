import { assert, assertEquals, assertMatch } from "@std/assert";
import { chooseProxy } from "../lib/scrape_proxy.ts";
import { formatResponse, startRawServer } from "./hostile_server.ts";
import { findFreePort, type Outcome, readDocument, runProgram } from "./program_runs.ts";

type Variables = Readonly<Record<string, string>>;

function choose(url: string, variables: Variables): string | null {
  const chosen = chooseProxy(url, (name) => variables[name]);
  if (chosen === null) return null;
  return "error" in chosen ? `error: ${chosen.error}` : `${chosen.url} ${chosen.variable}`;
}

const HTTP = { http_proxy: "http://p:3128" };

/** By the rules of curl 8; the entries with a port go beyond it. */
const EXCLUSIONS: readonly (readonly [noProxy: string, url: string, isDirect: boolean])[] = [
  ["*", "http://vm.example:8000", true],
  [" * ", "http://vm.example:8000", true],
  ["VM.example", "http://vm.example:8000", true],
  ["vm.example", "http://VM.EXAMPLE:8000", true],
  ["example", "http://vm.example:8000", true],
  [".example", "http://vm.example:8000", true],
  [".vm.example", "http://vm.example:8000", true],
  ["vm.example.", "http://vm.example:8000", true],
  ["m.example", "http://vm.example:8000", false],
  ["vm", "http://vm.example:8000", false],
  [".", "http://vm.example:8000", false],
  ["", "http://vm.example:8000", false],
  ["a.example, vm.example", "http://vm.example:8000", true],
  ["a.example vm.example", "http://vm.example:8000", true],
  ["vm.example:8000", "http://vm.example:8000", true],
  ["vm.example:8001", "http://vm.example:8000", false],
  ["vm.example:80", "http://vm.example", true],
  ["*.example", "http://vm.example:8000", false],
  ["192.0.2.7", "http://192.0.2.7:8000", true],
  ["2.7", "http://192.0.2.7:8000", false],
  ["192.0.2.0/24", "http://192.0.2.7:8000", true],
  ["192.0.3.0/24", "http://192.0.2.7:8000", false],
  ["192.0.2.0/24", "http://vm.example:8000", false],
  ["2001:db8::/32", "http://[2001:db8::7]:8000", true],
  ["2001:db9::/32", "http://[2001:db8::7]:8000", false],
  ["[2001:DB8::7]", "http://[2001:db8:0:0::7]:8000", true],
  ["[2001:db8::7]:8000", "http://[2001:db8::7]:8000", true],
];

for (const [noProxy, url, isDirect] of EXCLUSIONS) {
  Deno.test(`chooseProxy() with no_proxy=${JSON.stringify(noProxy)} for ${url}`, () => {
    for (const name of ["no_proxy", "NO_PROXY"]) {
      assertEquals(choose(url, { ...HTTP, [name]: noProxy }) === null, isDirect);
    }
  });
}

Deno.test("chooseProxy() takes the variables in curl's order", () => {
  const all = {
    HTTP_PROXY: "ignored:1",
    http_proxy: "a:1",
    https_proxy: "b:1",
    HTTPS_PROXY: "c:1",
    all_proxy: "d:1",
    ALL_PROXY: "e:1",
  };
  const order = (url: string): string[] => {
    const found: string[] = [];
    const left: Record<string, string> = { ...all };
    for (;;) {
      const name = choose(url, left)?.split(" ")[1];
      if (name === undefined) return found;
      found.push(name);
      left[name] = "";
    }
  };
  assertEquals(order("http://vm.example"), ["http_proxy", "all_proxy", "ALL_PROXY"]);
  assertEquals(order("https://vm.example"), [
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
  ]);
});

Deno.test("chooseProxy() reaches this machine directly", () => {
  for (const host of ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"]) {
    assertEquals(choose(`http://${host}:8000`, HTTP), null);
  }
});

for (
  const [text, url] of [
    ["p:3128", "http://p:3128"],
    ["http://p:3128/", "http://p:3128"],
    ["http://p", "http://p:1080"],
    ["https://p", "https://p:443"],
    ["HTTP://user:s3cr3t@p:3128", "http://p:3128"],
    ["user:s3%40@p:3128", "http://p:3128"],
    ["socks5://p:1", "socks5://p:1"],
    ["socks5h://[::1]:1", "socks5h://[::1]:1"],
    ["notaurl", null],
    ["http://", null],
    ["http://p:0", null],
    ["http://p:99999", null],
    ["socks4://p:1", null],
    ["http://a b:1", null],
    ["http://user:%zz@p:1", null],
  ] as const
) {
  Deno.test(`chooseProxy() parses ${text}`, () => {
    const chosen = choose("http://vm.example", { http_proxy: text });
    if (url === null) assertMatch(chosen ?? "", /^error: the proxy ".*" \(from http_proxy\)/);
    else assertEquals(chosen, `${url} http_proxy`);
    assert(!/s3|user|zz/.test(chosen ?? ""), `it shows credentials: ${chosen}`);
  });
}

const TARGET = "http://vm.example:8000";

async function watch(variables: Variables, url = TARGET): Promise<Outcome> {
  return await runProgram(
    [url, "--once", "--interval", "0", "--output", "json", "--timeout", "30"],
    {
      environment: { no_proxy: "", NO_PROXY: "", ...variables },
    },
  );
}

async function readFailure(variables: Variables, url = TARGET) {
  const { stdout, stderr } = await watch(variables, url);
  assertEquals(stderr, "");
  const { failure } = readDocument(stdout).endpoints[0];
  assert(failure !== null);
  return failure;
}

Deno.test("a proxy's refusal is reported as the proxy's, with its variable", async () => {
  const asked: string[] = [];
  let status = 403;
  const proxy = startRawServer(async ({ send, close }, head) => {
    asked.push(head.split("\r\n")[0]);
    await send(formatResponse("", { status, headers: { connection: "close" } }));
    close();
  });
  const name = `the proxy localhost:${proxy.port} (from http_proxy)`;
  const http_proxy = `localhost:${proxy.port}`;
  try {
    for (status of [403, 407, 502, 503]) {
      const { kind, message } = await readFailure({ http_proxy });
      assertEquals(kind, "proxy", message);
      assert(message.startsWith(`${name} answered ${status}`), message);
      assert(!/token-file|vLLM/.test(message), message);
    }
    assertEquals(asked[0], `GET ${TARGET}/v1/models HTTP/1.1`);
    for (status of [403, 407]) {
      const all_proxy = `http://localhost:${proxy.port}`;
      const { kind, message } = await readFailure({ all_proxy }, "https://vm.example");
      assertEquals(kind, "proxy", message);
      assert(message.includes(`${proxy.port} (from all_proxy)`), message);
    }
    assert(asked.at(-1)?.startsWith("CONNECT vm.example:443"), asked.at(-1));
  } finally {
    await proxy.close();
  }
});

Deno.test("a status of the model server behind a proxy stays the server's", async () => {
  const proxy = startRawServer(async ({ send, close }) => {
    const headers = { server: "uvicorn", connection: "close" };
    await send(formatResponse("", { status: 503, headers }));
    close();
  });
  try {
    const { kind, message } = await readFailure({ http_proxy: proxy.origin });
    assertEquals(kind, "server_error");
    assertMatch(message, /through the proxy .* \(from http_proxy\) answered 503 \(not ready\)/);
  } finally {
    await proxy.close();
  }
});

Deno.test("a dead proxy is named, not the server", async () => {
  const port = findFreePort();
  for (const url of [TARGET, "https://vm.example"]) {
    const { kind, message } = await readFailure({ all_proxy: `http://localhost:${port}` }, url);
    assertEquals(kind, "proxy");
    assert(
      message.startsWith(`the proxy localhost:${port} (from all_proxy) refuses connections`),
      message,
    );
  }
  const { message } = await readFailure({ http_proxy: "http://nowhere.invalid:1" });
  assertMatch(message, /^the host name of the proxy nowhere\.invalid:1 \(from http_proxy\)/);
  const socks = await readFailure({ all_proxy: `socks5://localhost:${port}` });
  assertMatch(socks.message, /^the proxy localhost:\d+ \(from all_proxy\) cannot be reached/);
});

Deno.test("a proxy that is no URL is a configuration error of its variable", async () => {
  const { code, stdout, stderr } = await watch({ http_proxy: "notaurl" });
  assertEquals([code, stdout], [3, ""]);
  assertMatch(stderr, /^vllm-htop: the proxy "notaurl" \(from http_proxy\) cannot be used: /);
});

Deno.test("no_proxy and HTTP_PROXY are followed as by curl", async () => {
  const proxy = startRawServer(async ({ send, close }) => {
    await send(formatResponse("", { status: 403, headers: { connection: "close" } }));
    close();
  });
  const http_proxy = proxy.origin;
  // Direct, a name that does not exist cannot be resolved.
  const url = "http://vm.invalid:8000";
  const direct: readonly Variables[] = [
    { http_proxy, no_proxy: "*" },
    { http_proxy, NO_PROXY: "a.invalid,VM.Invalid" },
    { http_proxy, no_proxy: ".invalid:8000" },
    { HTTP_PROXY: http_proxy, https_proxy: http_proxy },
  ];
  try {
    for (const variables of direct) {
      const { kind, message } = await readFailure(variables, url);
      assertEquals(kind, "dns", message);
      assert(!message.includes("proxy"), message);
    }
    assertEquals(proxy.connectionCount(), 0);
    const { kind } = await readFailure({ http_proxy, no_proxy: "m.invalid" }, url);
    assertEquals(kind, "proxy");
  } finally {
    await proxy.close();
  }
});
