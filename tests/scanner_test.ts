import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { scanPorts } from "../lib/scanner.ts";
import { formatResponse, type RawServer, startRawServer, VLLM_BODY } from "./hostile_server.ts";

const platform = createDenoPlatform();

const vllm = () => startRawServer(async ({ send }) => void await send(formatResponse(VLLM_BODY)));
const sglang = () =>
  startRawServer(async ({ send }) => void await send(formatResponse("sglang:token_usage 0.5\n")));
const mute = () => startRawServer(({ wait }) => wait(60_000));

/** A platform on which the servers stand at ports 8000 and so on, and nothing at the others. */
function placeServers(servers: Readonly<Record<number, RawServer>>): Platform {
  const portOf = (port: number) => servers[port]?.port;
  return {
    ...platform,
    acceptsConnections: (host, port, timeout) =>
      portOf(port) === undefined
        ? Promise.resolve(false)
        : platform.acceptsConnections(host, portOf(port), timeout),
    createHttpClient: async (transport) => {
      assertEquals(transport, {});
      const client = await platform.createHttpClient(transport);
      return {
        ...client,
        get: (request) => {
          const url = new URL(request.url);
          url.port = String(portOf(Number(url.port)));
          return client.get({ ...request, url: url.href });
        },
      };
    },
  };
}

const scan = (on: Platform, options: Partial<Parameters<typeof scanPorts>[1]> = {}) =>
  scanPorts(on, {
    host: "localhost",
    portRange: { first: 8000, last: 8015 },
    metricPrefix: null,
    timeout: 4,
    ...options,
  });

async function closeAll(servers: Readonly<Record<number, RawServer>>): Promise<void> {
  await Promise.all(Object.values(servers).map((server) => server.close()));
}

Deno.test("scanPorts() finds vLLM servers in the order of their ports, and names others", async () => {
  const servers = {
    8001: vllm(),
    8003: sglang(),
    8007: startRawServer(async ({ send }) => void await send(formatResponse("", { status: 404 }))),
    8009: startRawServer(({ close }) => close()),
    8010: vllm(),
  };
  const result = await scan(placeServers(servers));
  assertEquals(result.found.map(({ key }) => key), [
    "http://localhost:8001",
    "http://localhost:8010",
  ]);
  assertEquals(result.others, [
    { port: 8003, name: "SGLang, not vLLM" },
    { port: 8007, name: "no metrics page" },
    { port: 8009, name: "closes the connection" },
  ]);
  assertEquals(result.openPortCount, 5);
  await closeAll(servers);
});

Deno.test("scanPorts() asks for /metrics once, by GET, without credentials", async () => {
  const servers = { 8000: vllm(), 8001: sglang() };
  await scan(placeServers(servers));
  for (const { requests } of Object.values(servers)) {
    assertEquals(requests.length, 1);
    assertMatch(requests[0], /^GET \/metrics HTTP\/1\.1\r\n/);
    assert(!/authorization|cookie|api-key/i.test(requests[0]));
  }
  await closeAll(servers);
});

Deno.test("scanPorts() waits for a port that never answers no longer than its limit", async () => {
  const servers = { 8000: mute(), 8001: vllm(), 8002: mute() };
  const start = platform.monotonicSeconds();
  const { found, others } = await scan(placeServers(servers), { timeout: 0.2 });
  const span = platform.monotonicSeconds() - start;
  assertEquals(found.length, 1);
  assertEquals(
    others.map(({ name }) => name),
    Array(2).fill("no answer in time: if it is a busy vLLM, name it with --url"),
  );
  assert(span >= 0.2 && span < 3, `${span}`);
  await closeAll(servers);
});

Deno.test("scanPorts() scans real ports", async () => {
  const server = vllm();
  const { port } = server;
  const host = "127.0.0.1";
  const { found } = await scan(platform, { host, portRange: { first: port, last: port } });
  assertEquals(found.map(({ metricsUrl }) => metricsUrl), [`${server.origin}/metrics`]);
  await server.close();
  const result = await scan(platform, { host, portRange: { first: port, last: port } });
  assertEquals(result, { found: [], others: [], openPortCount: 0 });
});

Deno.test("scanPorts() finds a server of localhost that listens on ::1 only", async () => {
  let server: RawServer;
  try {
    server = startRawServer(async ({ send }) => void await send(formatResponse(VLLM_BODY)), {
      hostname: "::1",
    });
  } catch {
    return; // This machine has no IPv6.
  }
  const { port } = server;
  for (const host of ["localhost", "[::1]"]) {
    const { found } = await scan(platform, { host, portRange: { first: port, last: port } });
    assertEquals(found.map(({ key }) => key), [`http://[::1]:${port}`]);
  }
  await server.close();
});
