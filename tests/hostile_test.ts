import { assert, assertEquals, assertMatch } from "@std/assert";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { MAX_ENGINES } from "../lib/dialect_series.ts";
import type { Scrape } from "../lib/model.ts";
import type { Transport } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { createScraper, type Scraper, type ScraperFailure } from "../lib/scrape.ts";
import { isScrapeFailure } from "../lib/scrape_pool.ts";
import { MAX_BODY_BYTES } from "../lib/scrape_attempt.ts";
import { ANONYMOUS_ACCESS, type EndpointAccess } from "../lib/scrape_credentials.ts";
import {
  createTestCertificates,
  formatResponse,
  type RawConnection,
  type RawServerOptions,
  type Script,
  startRawServer,
  VLLM_BODY,
} from "./hostile_server.ts";
import { needsProgram } from "./programs.ts";

const platform = createDenoPlatform();
const encoder = new TextEncoder();

/** What the process may grow by over one scrape: the largest body a few times, and no flood. */
const MAX_GROWTH_BYTES = 400 * 1024 * 1024;

/** What a flood sends before it gives up: far more than may be kept. */
const FLOOD_BYTES = 2 * MAX_GROWTH_BYTES;

const SECRET = "s3cr3t-t0ken";
const WITH_SECRET: EndpointAccess = {
  ...ANONYMOUS_ACCESS,
  sendsCredentials: true,
  readHeaders: () => Promise.resolve({ authorization: `Bearer ${SECRET}`, "x-api-key": SECRET }),
};

type Outcome = Scrape | ScraperFailure;

function openScraper(
  origin: string,
  { transport, timeout }: { readonly transport: Transport; readonly timeout: number },
): Promise<Scraper> {
  const endpoint = { key: origin, metricsUrl: `${origin}/metrics`, address: origin, warnings: [] };
  const access = { ...WITH_SECRET, transport };
  return createScraper(platform, endpoint, { access, timeout, metricPrefix: null });
}

interface Trial {
  readonly outcome: Outcome;
  /** Requests that the hostile server saw. */
  readonly requestCount: number;
}

interface Setting {
  readonly transport?: Transport;
  readonly server?: RawServerOptions;
  /** Of the hostile server; the other one has longer. */
  readonly timeout?: number;
}

/** Scrapes the hostile server once, and for as long as that takes one that is well. */
async function tryServer(script: Script, setting: Setting = {}): Promise<Trial> {
  const { transport = {}, timeout = 20 } = setting;
  const hostile = startRawServer(script, setting.server);
  const well = startRawServer(({ send }) => send(formatResponse(VLLM_BODY)));
  const scraper = await openScraper(hostile.origin, { transport, timeout });
  const beside = await openScraper(well.origin, { transport: {}, timeout: 60 });
  const memoryBefore = Deno.memoryUsage().rss;
  let growth = 0;
  try {
    let outcome: Outcome | null = null;
    const running = scraper.scrape().then((ended) => outcome = ended);
    do {
      assert(!isScrapeFailure(await beside.scrape()), "the server beside it must be read");
      growth = Math.max(growth, Deno.memoryUsage().rss - memoryBefore);
      await platform.sleep(0.01);
    } while (outcome === null);
    assert(growth < MAX_GROWTH_BYTES, `${growth} bytes of memory`);
    return { outcome: await running, requestCount: hostile.requests.length };
  } finally {
    scraper.close();
    beside.close();
    await Promise.all([hostile.close(), well.close()]);
  }
}

/** Sends the block again and again until the other side has enough. */
async function flood({ send }: RawConnection, block: string | Uint8Array): Promise<void> {
  const bytes = typeof block === "string" ? encoder.encode(block) : block;
  for (let sent = 0; sent < FLOOD_BYTES && await send(bytes); sent += bytes.length);
}

/** A script that sends some text and then floods. */
function floodAfter(head: string, block: string): Script {
  return async (connection) => {
    await connection.send(head);
    await flood(connection, block);
  };
}

function sendPacked(coding: string, packed: Uint8Array): Script {
  return async ({ send }) => {
    await send(
      `HTTP/1.1 200 OK\r\ncontent-encoding: ${coding}\r\ncontent-length: ${packed.length}\r\n\r\n`,
    );
    await send(packed);
  };
}

function repeatLine(count: number, write: (index: number) => string): string {
  return Array.from({ length: count }, (_, i) => write(i) + "\n").join("");
}

const OK = "HTTP/1.1 200 OK\r\n";
const BLOCK = "x: " + "y".repeat(60) + "\r\n";
const BLANKS = new Uint8Array(64 * 1024 * 1024).fill(10);

/** How a hostile server is to be told, by either client. */
interface Case {
  readonly name: string;
  readonly script: Script;
  readonly kinds: readonly string[];
  readonly pattern?: RegExp;
  readonly setting?: Setting;
  readonly requestCount?: number;
}

const CASES: readonly Case[] = [
  {
    name: "a body without an end",
    script: floodAfter(`${OK}\r\n`, VLLM_BODY.repeat(1000)),
    kinds: ["too_large"],
    pattern: /more than 16 MiB/,
  },
  {
    name: "a body of chunks of one byte without an end",
    script: floodAfter(`${OK}transfer-encoding: chunked\r\n\r\n`, "1\r\na\r\n".repeat(10_000)),
    kinds: ["too_large", "timeout"],
    setting: { timeout: 1 },
  },
  {
    name: "a chunk whose extension has no end",
    script: floodAfter(`${OK}transfer-encoding: chunked\r\n\r\n1;`, "x".repeat(100_000)),
    kinds: ["truncated", "timeout"],
    setting: { timeout: 1 },
  },
  {
    name: "trailers without an end",
    script: floodAfter(`${OK}transfer-encoding: chunked\r\n\r\n0\r\n`, BLOCK.repeat(1000)),
    kinds: ["truncated", "timeout"],
    setting: { timeout: 1 },
  },
  {
    name: "a length that no body has",
    script: async ({ send, close }) => {
      await send(`${OK}content-length: 999999999999999\r\n\r\n${VLLM_BODY}`);
      close();
    },
    kinds: ["truncated"],
  },
  {
    name: "one byte at a time",
    script: async ({ send, wait }) => {
      for (const byte of formatResponse(VLLM_BODY)) if (await send(byte)) await wait(100);
    },
    kinds: ["timeout"],
    setting: { timeout: 0.5 },
  },
  {
    name: "headers one byte at a time",
    script: async ({ send, wait }) => {
      await send(`${OK}x: `);
      while (await send("y")) await wait(50);
    },
    kinds: ["timeout"],
    setting: { timeout: 0.5 },
  },
  {
    name: "headers without an end",
    script: floodAfter(OK, BLOCK.repeat(1000)),
    kinds: ["network"],
  },
  {
    name: "one header without an end",
    script: floodAfter(`${OK}x: `, "y".repeat(100_000)),
    kinds: ["network"],
  },
  {
    name: "a reason without an end",
    script: floodAfter("HTTP/1.1 200 ", "y".repeat(100_000)),
    kinds: ["network", "timeout"],
    setting: { timeout: 1 },
  },
  {
    name: "informational answers without an end",
    script: floodAfter("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(1000)),
    kinds: ["timeout", "network"],
    setting: { timeout: 1 },
  },
  {
    name: "a brotli bomb",
    script: sendPacked("br", brotliCompressSync(BLANKS)),
    // Where the client does not inflate, packed bytes are no exposition.
    kinds: ["too_large", "not_exposition"],
  },
  { name: "a gzip bomb", script: sendPacked("gzip", gzipSync(BLANKS)), kinds: ["too_large"] },
  {
    name: "a gzip bomb in gzip",
    script: sendPacked("gzip", gzipSync(gzipSync(BLANKS))),
    // One layer is inflated, or two.
    kinds: ["too_large", "not_exposition"],
  },
  {
    name: "a redirect whose body has no end",
    script: floodAfter(
      "HTTP/1.1 307 Moved\r\nlocation: /metrics\r\n\r\n",
      VLLM_BODY.repeat(1000),
    ),
    kinds: ["redirect"],
    requestCount: 4,
  },
  {
    name: "a redirect in a circle",
    script: ({ send }) =>
      send(formatResponse("", { status: 308, headers: { location: "/metrics?again" } })),
    kinds: ["redirect"],
    requestCount: 4,
  },
  {
    name: "a reset in mid-body",
    script: async ({ send, wait, close }) => {
      await send(formatResponse(VLLM_BODY).slice(0, -50));
      await wait(50);
      close();
    },
    kinds: ["truncated"],
    setting: { server: { answersUnread: true } },
  },
  {
    name: "a connection that it closes to itself without a word",
    script: async ({ endWriting, wait }) => {
      await endWriting();
      await wait(5000);
    },
    kinds: ["reset", "network"],
  },
  {
    name: "a connection that it closes to itself in mid-body",
    script: async ({ send, endWriting, wait }) => {
      await send(formatResponse(VLLM_BODY).slice(0, -50));
      await endWriting();
      await wait(5000);
    },
    kinds: ["truncated"],
  },
  {
    name: "HTTP/2 where nobody asked for it",
    // A SETTINGS frame, and a GOAWAY.
    script: async ({ send, close }) => {
      await send(Uint8Array.of(0, 0, 0, 4, 0, 0, 0, 0, 0));
      await send(Uint8Array.of(0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1));
      close();
    },
    kinds: ["network", "reset"],
  },
  {
    name: "200,000 series of as many models",
    script: ({ send }) =>
      send(formatResponse(repeatLine(
        200_000,
        (i) => `vllm:num_requests_running{model_name="model-${i}",engine="0"} 1.0`,
      ))),
    kinds: ["too_large"],
    pattern: new RegExp(`more than ${MAX_ENGINES} models and engines`),
  },
  {
    name: "200,000 series of no server",
    script: ({ send }) =>
      send(formatResponse(repeatLine(200_000, (i) => `a_family_${i % 5000}{label="${i}"} 1.0`))),
    kinds: ["other_server"],
  },
];

const CLIENTS: readonly (readonly [name: string, transport: Transport])[] = [
  ["fetch", {}],
  ["undici", { insecure: true }],
];

for (const { name, script, kinds, pattern = /./, setting, requestCount } of CASES) {
  Deno.test(`scrape() survives ${name}, and so does another server`, async () => {
    for (const [client, transport] of CLIENTS) {
      const trial = await tryServer(script, { transport, ...setting });
      const { outcome } = trial;
      assert(isScrapeFailure(outcome), `${client}: the scrape must fail`);
      assert(kinds.includes(outcome.kind), `${client}: ${outcome.kind}, ${outcome.message}`);
      assertMatch(outcome.message, pattern);
      assertMatch(outcome.message, /^[\x20-\x7e…]{1,400}$/);
      assert(!outcome.message.includes(SECRET));
      if (requestCount !== undefined) assertEquals(trial.requestCount, requestCount, client);
    }
  });
}

/** What the server says, where it can be read all the same. */
async function readServer(body: string): Promise<Scrape> {
  const { outcome } = await tryServer(({ send }) => send(formatResponse(body)));
  assert(!isScrapeFailure(outcome), JSON.stringify(outcome));
  return outcome;
}

Deno.test("scrape() parses a server with 150,000 values of one label", async () => {
  const scrape = await readServer(
    VLLM_BODY +
      repeatLine(
        150_000,
        (i) =>
          `vllm:request_success_total{engine="0",model_name="test/model",finished_reason="${i}"} 1`,
      ),
  );
  assertEquals(scrape.sampleCount, 150_002);
  const [{ counters, labelled }] = scrape.engines;
  assertEquals(counters.promptTokens, { value: 1234 });
  assertEquals(labelled.finishedByReason, undefined);
});

Deno.test("scrape() parses a server whose model name has a million characters", async () => {
  const scrape = await readServer(VLLM_BODY.replaceAll("test/model", "m".repeat(1_000_000)));
  const [{ modelName, gauges }] = scrape.engines;
  assertMatch(modelName, /^m{100,4096}…$/);
  assertEquals(gauges.running, { value: 3 });
});

Deno.test("scrape() requests no other host, whatever a server answers", async () => {
  const other = startRawServer(({ send }) => send(formatResponse(VLLM_BODY)));
  const { port } = new URL(other.origin);
  try {
    for (const [client, transport] of CLIENTS) {
      for (
        const location of [`${other.origin}/metrics`, `//localhost:${port}/`, `//127.1:${port}`]
      ) {
        const { outcome, requestCount } = await tryServer(
          ({ send }) =>
            send(formatResponse("", {
              status: 302,
              headers: { location, refresh: `0; url=${other.origin}`, "alt-svc": `h2=":${port}"` },
            })),
          { transport },
        );
        assert(isScrapeFailure(outcome) && outcome.kind === "redirect", client);
        assertEquals(requestCount, 1);
      }
    }
    assertEquals(other.connectionCount(), 0);
  } finally {
    await other.close();
  }
});

Deno.test({
  name: "scrape() bears broken TLS, and reads HTTP/2 where it is agreed on",
  ...needsProgram("openssl"),
  fn: async (t) => {
    const { ca, expired, server: tls, folder } = await createTestCertificates();
    const transport: Transport = { caCertificates: [ca] };
    const answer: Script = ({ send }) => send(formatResponse(VLLM_BODY));
    try {
      await t.step("a certificate that has expired", async () => {
        const { outcome } = await tryServer(answer, { transport, server: { tls: expired } });
        assert(isScrapeFailure(outcome));
        assertEquals(outcome.kind, "tls");
        assertMatch(outcome.message, /out of date/);
      });
      await t.step("a certificate of a foreign authority", async () => {
        const { outcome } = await tryServer(answer, { transport: {}, server: { tls } });
        assert(isScrapeFailure(outcome));
        assertEquals(outcome.kind, "tls");
      });
      await t.step("a handshake that never comes", async () => {
        const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
        const accepted = listener.accept();
        const origin = `https://127.0.0.1:${listener.addr.port}`;
        const scraper = await openScraper(origin, { transport, timeout: 0.5 });
        const outcome = await scraper.scrape();
        assert(isScrapeFailure(outcome));
        assertEquals(outcome.kind, "timeout");
        scraper.close();
        listener.close();
        (await accepted).close();
      });
      await t.step("HTTP/2", async () => {
        const server = Deno.serve(
          { hostname: "127.0.0.1", port: 0, onListen: () => {}, ...tls },
          () => new Response(VLLM_BODY),
        );
        const origin = `https://127.0.0.1:${server.addr.port}`;
        for (const own of [transport, { insecure: true }]) {
          const scraper = await openScraper(origin, { transport: own, timeout: 10 });
          assert(!isScrapeFailure(await scraper.scrape()));
          assert(!isScrapeFailure(await scraper.scrape()));
          scraper.close();
        }
        await server.shutdown();
      });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("scrape() reads no more of a flood than its limit", async () => {
  for (const [client, transport] of CLIENTS) {
    let sent = 0;
    const { outcome } = await tryServer(async ({ send }) => {
      await send(`${OK}\r\n`);
      const block = encoder.encode(VLLM_BODY.repeat(500));
      while (sent < FLOOD_BYTES && await send(block)) sent += block.length;
    }, { transport });
    assert(isScrapeFailure(outcome), client);
    assert(sent < 2 * MAX_BODY_BYTES, `${client}: ${sent} bytes were taken`);
  }
});
