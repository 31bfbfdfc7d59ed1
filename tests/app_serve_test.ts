import { assertEquals, assertMatch } from "@std/assert";
import { createResponder } from "../lib/app_serve.ts";
import type { Session } from "../lib/app_session.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { watchFleet } from "./fixtures/fleets.ts";
import { findFreePort, waitUntil } from "./program_runs.ts";

Deno.test("createResponder() answers GET of /metrics alone, with one text a second", () => {
  const state = watchFleet(1);
  const time = { now: state.now };
  const session = {
    ...{ state, record: null, replay: null, past: null },
    platform: { monotonicSeconds: () => time.now, epochSeconds: () => state.nowEpoch },
  } as unknown as Session;
  const answer = createResponder(session);
  const ask = (method: string, path: string) => answer({ method, path });
  assertEquals(["POST", "PUT", "DELETE"].map((method) => ask(method, "/metrics").status), [
    ...[405, 405, 405],
  ]);
  assertEquals([ask("GET", "/").status, ask("GET", "/other").status], [200, 404]);
  const first = ask("GET", "/metrics");
  assertEquals([first.status, first.contentType.split(";")[0]], [200, "text/plain"]);
  assertMatch(first.body, /vllm_htop_verdict\{verdict="HEALTHY"\} 1/);
  time.now += 0.9;
  assertEquals(ask("HEAD", "/metrics").body, first.body);
  // Without a scrape for long, it is stale.
  time.now += 60;
  assertMatch(ask("GET", "/metrics").body, /vllm_htop_replica_scrape_age_seconds\{[^}]*\} 6\d/);
});

/** Sends a request, and returns all that comes until the end. */
async function exchange(port: number, request: string): Promise<string> {
  const connection = await Deno.connect({ hostname: "localhost", port });
  await connection.write(new TextEncoder().encode(request));
  return await new Response(connection.readable).text().catch(() => "");
}

Deno.test("serveHttp() answers one request a connection, and what is none with 400", async () => {
  const port = findFreePort();
  const stop = new AbortController();
  const { serveHttp } = createDenoPlatform();
  serveHttp({ host: "localhost", port }, ({ method, path }) => (
    { status: 200, contentType: "text/plain", body: `${method} ${path} ☃` }
  ), stop.signal);
  try {
    const head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ";
    const rest = "\r\nconnection: close\r\n\r\n";
    assertEquals(
      await exchange(port, "GET /a?b HTTP/1.1\r\nhost: x\r\n\r\n"),
      `${head}10${rest}GET /a ☃`,
    );
    assertEquals(await exchange(port, "HEAD / HTTP/1.0\n\n"), `${head}10${rest}`);
    const long = "x".repeat(300_000);
    assertMatch(await exchange(port, `POST / HTTP/1.1\r\n\r\n${long}`), /POST \/ ☃$/);
    for (const wrong of ["hello\r\n\r\n", "GET http://[ HTTP/1.1\r\n\r\n", long]) {
      assertMatch(await exchange(port, wrong), /^HTTP\/1\.1 400 Bad Request\r\n/);
    }
  } finally {
    stop.abort();
  }
});

Deno.test("serveHttp() holds a bounded number of connections, and goes on", async () => {
  const port = findFreePort();
  const stop = new AbortController();
  createDenoPlatform().serveHttp({ host: "localhost", port }, () => (
    { status: 200, contentType: "text/plain", body: "here" }
  ), stop.signal);
  const idle: Deno.Conn[] = [];
  try {
    for (let i = 0; i < 40; i++) idle.push(await Deno.connect({ hostname: "localhost", port }));
    const ends = idle.map((one) => one.read(new Uint8Array(1)).catch(() => null));
    // Sixteen are held, the others are closed.
    await Promise.all(ends.slice(16));
    assertEquals(await exchange(port, "GET / HTTP/1.1\r\n\r\n"), "");
    for (const one of idle.splice(0, 16)) one.close();
    const answer = await waitUntil(async () => {
      const text = await exchange(port, "GET / HTTP/1.1\r\n\r\n");
      return text === "" ? null : text;
    }, () => "an answer");
    assertMatch(answer, /here$/);
  } finally {
    for (const one of idle) one.close();
    stop.abort();
  }
});
