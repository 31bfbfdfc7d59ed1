import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { createSimulatedServer } from "../lib/demo.ts";
import type { Endpoint, Scrape } from "../lib/model.ts";
import type { HttpRequest, HttpResponse, Platform, Transport } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { createScraper, type Scraper, type ScraperFailure } from "../lib/scrape.ts";
import { createScrapePool, isScrapeFailure, type ScrapePool } from "../lib/scrape_pool.ts";
import { MAX_BODY_BYTES } from "../lib/scrape_attempt.ts";
import { ANONYMOUS_ACCESS, type EndpointAccess } from "../lib/scrape_credentials.ts";
import { BYTES_PER_KIBIBYTE } from "../lib/units.ts";
import { START_EPOCH } from "./fixtures/expositions.ts";
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

/** A secret that is sent to servers; it must come back in no message. */
const SECRET = "s3cr3t-t0ken";

interface Setting {
  readonly access?: Partial<EndpointAccess>;
  readonly timeout?: number;
  readonly endpoint?: Partial<Endpoint>;
  readonly platform?: Partial<Platform>;
  readonly pool?: ScrapePool;
}

function openScraper(origin: string, setting: Setting = {}): Promise<Scraper> {
  const endpoint: Endpoint = {
    key: origin,
    metricsUrl: `${origin}/metrics`,
    address: origin.replace(/^https?:\/\//, ""),
    warnings: [],
    ...setting.endpoint,
  };
  return createScraper({ ...platform, ...setting.platform }, endpoint, {
    access: { ...ANONYMOUS_ACCESS, ...setting.access },
    timeout: setting.timeout ?? 5,
    metricPrefix: null,
    pool: setting.pool,
  });
}

Deno.test("scrape() waits longer for a server that was late, and answers on time as soon as it does", async () => {
  let delay = 500;
  const server = startRawServer(async ({ send, wait }) => {
    await wait(delay);
    await send(formatResponse(VLLM_BODY));
  });
  const scraper = await openScraper(server.origin, { timeout: 0.2 });
  const read = async (): Promise<string> => {
    const outcome = await scraper.scrape();
    return isScrapeFailure(outcome) ? outcome.message.replace(/^.*(within [\d.]+ s).*$/, "$1") : "";
  };
  assertEquals([await read(), await read(), await read()], ["within 0.2 s", "within 0.4 s", ""]);
  assertEquals(await read(), "");
  delay = 0;
  // On a busy machine one of them may be late.
  for (let i = 0; i < 5; i++) assertEquals(await read(), "");
  delay = 500;
  assertEquals(await read(), "within 0.2 s");
  scraper.close();
  await server.close();
});

async function scrapeOnce(
  origin: string,
  setting?: Setting,
): Promise<Scrape | ScraperFailure> {
  const scraper = await openScraper(origin, setting);
  try {
    return await scraper.scrape();
  } finally {
    scraper.close();
  }
}

async function scrapeScript(
  script: Script,
  setting: Setting & { readonly server?: RawServerOptions } = {},
): Promise<Scrape | ScraperFailure> {
  const server = startRawServer(script, setting.server);
  try {
    return await scrapeOnce(server.origin, setting);
  } finally {
    await server.close();
  }
}

function expectFailure(outcome: Scrape | ScraperFailure, kind: string, pattern: RegExp): void {
  assert(isScrapeFailure(outcome), "the scrape must fail");
  assertEquals(outcome.kind, kind, outcome.message);
  assertMatch(outcome.message, pattern);
  // One sentence, safe to print, without a secret.
  assertMatch(outcome.message, /^[\x20-\x7e…]+[^.]$/);
  assert(!outcome.message.includes(SECRET));
}

function expectScrape(outcome: Scrape | ScraperFailure): Scrape {
  assert(!isScrapeFailure(outcome), JSON.stringify(outcome));
  return outcome;
}

const answer =
  (body: string, options?: Parameters<typeof formatResponse>[1]): Script => async (connection) => {
    await connection.send(formatResponse(body, options));
  };

const withSecret: Partial<EndpointAccess> = {
  sendsCredentials: true,
  readHeaders: () => Promise.resolve({ authorization: `Bearer ${SECRET}`, "x-api-key": SECRET }),
};

Deno.test("scrape() reads an exposition and stamps it when the last byte has arrived", async () => {
  const before = platform.monotonicSeconds();
  const outcome = expectScrape(
    await scrapeScript(async ({ send, wait }) => {
      const response = formatResponse(VLLM_BODY);
      await send(response.slice(0, -10));
      await wait(120);
      await send(response.slice(-10));
    }),
  );
  const after = platform.monotonicSeconds();
  assertEquals(outcome.engines.map(({ modelName, engine }) => [modelName, engine]), [
    ["test/model", "0"],
  ]);
  assertEquals(outcome.bytes, VLLM_BODY.length);
  assertEquals(outcome.redirectedTo, null);
  assert(outcome.duration >= 0.12 && outcome.duration <= after - before);
  assert(outcome.receivedAt >= before + 0.12 && outcome.receivedAt <= after);
});

Deno.test("scrape() asks for plain text, uncompressed, by GET", async () => {
  const server = startRawServer(answer(VLLM_BODY));
  try {
    expectScrape(await scrapeOnce(server.origin, { access: withSecret }));
    const [head] = server.requests;
    assertMatch(head, /^GET \/metrics HTTP\/1\.1\r\n/);
    assertMatch(head, /\r\naccept-encoding: identity\r\n/i);
    assertMatch(head, /\r\naccept: text\/plain;version=0\.0\.4/i);
    assertMatch(head, /\r\nuser-agent: vllm-htop\//i);
    assertStringIncludes(head, `Bearer ${SECRET}`);
  } finally {
    await server.close();
  }
});

Deno.test("scrape() keeps one connection over many scrapes, failed ones among them", async () => {
  let count = 0;
  const server = startRawServer(async ({ send }) => {
    await send(
      ++count % 3 === 0 ? formatResponse("gone", { status: 503 }) : formatResponse(VLLM_BODY),
    );
  });
  const scraper = await openScraper(server.origin);
  try {
    for (let i = 0; i < 12; i++) await scraper.scrape();
    assertEquals(server.requests.length, 12);
    assertEquals(server.connectionCount(), 1);
  } finally {
    scraper.close();
    await server.close();
  }
});

Deno.test("scrape() comes back when the server has closed the idle connection", async () => {
  const server = startRawServer(async ({ send, close }) => {
    await send(formatResponse(VLLM_BODY));
    close();
  });
  const scraper = await openScraper(server.origin);
  try {
    for (let i = 0; i < 4; i++) {
      expectScrape(await scraper.scrape());
      await platform.sleep(0.02);
    }
  } finally {
    scraper.close();
    await server.close();
  }
});

Deno.test("scrape() refuses a second request while one is in flight", async () => {
  const server = startRawServer(async ({ send, wait }) => {
    await wait(100);
    await send(formatResponse(VLLM_BODY));
  });
  const scraper = await openScraper(server.origin);
  try {
    const first = scraper.scrape();
    await assertRejects(() => scraper.scrape(), Error, "under way");
    expectScrape(await first);
    assertEquals(server.requests.length, 1);
  } finally {
    scraper.close();
    await server.close();
  }
});

Deno.test("scrape() tells a refused connection", async () => {
  const server = startRawServer(() => {});
  await server.close();
  expectFailure(await scrapeOnce(server.origin), "refused", /refused .*port/);
});

Deno.test("scrape() tells an unknown host", async () => {
  expectFailure(await scrapeOnce("http://gpu1.invalid:8000"), "dns", /cannot be resolved/);
});

Deno.test("scrape() tells a connection that is closed without an answer", async () => {
  expectFailure(await scrapeScript(({ close }) => close()), "reset", /without an answer/);
});

Deno.test("scrape() tells what is no HTTP", async () => {
  const outcome = await scrapeScript(async ({ send, close }) => {
    await send("SSH-2.0-OpenSSH_9.2\r\n");
    close();
  });
  expectFailure(outcome, "network", /plain HTTP/);
});

/** Longer than any test takes, in milliseconds; such a wait ends with its server. */
const FOREVER = 600_000;

for (
  const [name, script, phase] of [
    ["never answers", ({ wait }: RawConnection) => wait(FOREVER), /did not answer within 0\.3 s/],
    ["drips a byte at a time", async ({ send, wait }: RawConnection) => {
      while (await send("HTTP")) await wait(20);
    }, /within 0\.3 s|still sending after 0\.3 s/],
  ] as const
) {
  Deno.test(`scrape() ends at its limit when a server ${name}`, async () => {
    const outcome = await scrapeScript(script, { timeout: 0.3 });
    expectFailure(outcome, "timeout", phase);
    assert(outcome.duration >= 0.29 && outcome.duration < 60, `${outcome.duration}`);
  });
}

Deno.test("scrape() ends at its limit when a server stops after the headers", async () => {
  const limit = new AbortController();
  const outcome = await scrapeScript(async ({ send, wait }) => {
    await send(formatResponse(VLLM_BODY).slice(0, -VLLM_BODY.length));
    await wait(FOREVER);
  }, {
    timeout: 0.3,
    platform: {
      deadline: () => ({
        signal: limit.signal,
        expired: () => limit.signal.aborted,
        cancel: () => {},
      }),
      createHttpClient: async (transport) => {
        const client = await platform.createHttpClient(transport);
        const get = async (request: HttpRequest): Promise<HttpResponse> => {
          const response = await client.get(request);
          // The headers are there: now the time is over.
          setTimeout(() => limit.abort());
          return response;
        };
        return { ...client, get };
      },
    },
  });
  expectFailure(outcome, "timeout", /still sending after 0\.3 s \(0 bytes/);
});

Deno.test("scrape() has one limit over all redirects", async () => {
  const outcome = await scrapeScript(async ({ send, wait }) => {
    await wait(200);
    await send(formatResponse("", { status: 307, headers: { location: "/metrics/" } }));
  }, { timeout: 0.5 });
  expectFailure(outcome, "timeout", /within 0\.5 s/);
});

Deno.test("scrape() has credentials read within its limit", async () => {
  const server = startRawServer(answer(VLLM_BODY));
  try {
    const access = { readHeaders: () => new Promise<Record<string, string>>(() => {}) };
    const outcome = await scrapeOnce(server.origin, { access, timeout: 0.1 });
    expectFailure(outcome, "timeout", /credentials/);
    assertEquals(server.connectionCount(), 0);
  } finally {
    await server.close();
  }
});

Deno.test("scrape() ends at once when it is given up", async () => {
  const controller = new AbortController();
  const server = startRawServer(({ wait }) => {
    controller.abort();
    return wait(FOREVER);
  });
  const scraper = await openScraper(server.origin, { timeout: 120 });
  try {
    const outcome = await scraper.scrape(controller.signal);
    expectFailure(outcome, "network", /was aborted/);
    assert(outcome.duration < 60);
  } finally {
    scraper.close();
    await server.close();
  }
});

Deno.test("scrape() has read what has arrived, though its turn comes late and it is given up", async () => {
  const controller = new AbortController();
  const timeout = 60;
  let late = 0;
  let expire = (): void => {};
  const nextTurn = (): Promise<void> => {
    controller.abort();
    // Longer than the scrape may take.
    late = 2 * timeout;
    expire();
    return Promise.resolve();
  };
  const deadline: Platform["deadline"] = (span, parent) => {
    const limit = platform.deadline(span, parent);
    const expired = new AbortController();
    const cancel = (): void => {
      limit.cancel();
      expire = () => {};
    };
    expire = () => expired.abort();
    return {
      signal: AbortSignal.any([limit.signal, expired.signal]),
      expired: () => limit.expired() || expired.signal.aborted,
      cancel,
    };
  };
  const server = startRawServer(answer(VLLM_BODY));
  const scraper = await openScraper(server.origin, {
    timeout,
    platform: {
      nextTurn,
      deadline,
      monotonicSeconds: () => platform.monotonicSeconds() + late,
    },
  });
  try {
    assert(expectScrape(await scraper.scrape(controller.signal)).duration < timeout);
  } finally {
    scraper.close();
    await server.close();
  }
});

Deno.test("scrape() reads one first body of a fleet in steps, and those that are alike by it", async () => {
  const simulated = createSimulatedServer({
    ...{ seed: 1, startEpoch: START_EPOCH, warmUp: 60 },
    engines: Array.from({ length: 12 }, () => ({ model: "fleet" })),
  });
  const bodies = [0, 2, 4].map((at) => new Uint8Array(simulated.expositionAt(at) ?? []));
  let turns = 0;
  const nextTurn = (): Promise<void> => {
    turns++;
    return platform.nextTurn();
  };
  const servers = bodies.map((body) => startRawServer(answer(new TextDecoder().decode(body))));
  const pool = createScrapePool();
  const scrapers = await Promise.all(
    servers.map(({ origin }) => openScraper(origin, { platform: { nextTurn }, pool })),
  );
  try {
    const outcomes = await Promise.all(scrapers.map((scraper) => scraper.scrape()));
    for (const outcome of outcomes) assertEquals(expectScrape(outcome).engines.length, 12);
    // A turn before each body, and one after each step of the first but its last.
    const steps = turns - bodies.length + 1;
    const mostSteps = Math.ceil(bodies[0].length / (128 * BYTES_PER_KIBIBYTE));
    assert(steps > 2 && steps <= mostSteps, `${steps} steps, ${bodies[0].length} bytes`);
  } finally {
    scrapers.forEach((scraper) => scraper.close());
    await Promise.all(servers.map((server) => server.close()));
  }
});

Deno.test("scrape() refuses bodies that are cut off", async (t) => {
  const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
  const chunkedHead = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
  const cases: [string, string][] = [
    ["before its content-length", formatResponse(VLLM_BODY).slice(0, -20)],
    ["inside a chunk", chunkedHead + chunk(VLLM_BODY).slice(0, -30)],
    ["before the last chunk", chunkedHead + chunk(VLLM_BODY)],
    ["unframed, in a line", `HTTP/1.0 200 OK\r\n\r\n${VLLM_BODY.slice(0, -3)}`],
    [
      "in a line that is then bad",
      formatResponse(`${VLLM_BODY}vllm:num_requests_waiting{engine="0`),
    ],
    [
      "before the # EOF that its type promises",
      formatResponse(VLLM_BODY, {
        headers: { "content-type": "application/openmetrics-text; version=1.0.0" },
      }),
    ],
  ];
  for (const [name, response] of cases) {
    await t.step(name, async () => {
      const outcome = await scrapeScript(async ({ send, close }) => {
        await send(response);
        close();
      });
      expectFailure(outcome, "truncated", /stopped after \d+ bytes|sent a truncated response/);
    });
  }
});

Deno.test("scrape() tells a connection that is reset in mid-body", async () => {
  const outcome = await scrapeScript(async ({ send, wait, close }) => {
    await send(formatResponse(VLLM_BODY).slice(0, -50));
    await wait(50);
    close();
  }, { server: { answersUnread: true } });
  expectFailure(outcome, "truncated", /stopped after \d+ bytes/);
});

Deno.test("scrape() reads a body to the end of the connection, and one without a last newline", async () => {
  expectScrape(
    await scrapeScript(async ({ send, close }) => {
      await send(`HTTP/1.0 200 OK\r\n\r\n${VLLM_BODY}`);
      close();
    }),
  );
  expectScrape(await scrapeScript(answer(VLLM_BODY.trimEnd())));
});

Deno.test("scrape() gives up on an endless body at the cap", async () => {
  let sent = 0;
  const outcome = await scrapeScript(async ({ send }) => {
    await send("HTTP/1.1 200 OK\r\n\r\n");
    const block = new TextEncoder().encode(VLLM_BODY.repeat(500));
    while (sent < 4 * MAX_BODY_BYTES && await send(block)) sent += block.length;
  });
  expectFailure(outcome, "too_large", /more than 16 MiB/);
  assert(sent < 2 * MAX_BODY_BYTES, `${sent} bytes were taken`);
});

Deno.test("scrape() counts inflated bytes of a body that was compressed unasked", async () => {
  const zeros = new Uint8Array(1024 * 1024).fill(10);
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: (() => {
      let blocks = 0;
      return (controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>) =>
        ++blocks > 64 ? controller.close() : controller.enqueue(zeros);
    })(),
  });
  const packed = new Uint8Array(
    await new Response(source.pipeThrough(new CompressionStream("gzip"))).arrayBuffer(),
  );
  assert(packed.length < 100_000);
  const outcome = await scrapeScript(async ({ send }) => {
    await send(
      `HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: ${packed.length}\r\n\r\n`,
    );
    await send(packed);
  });
  expectFailure(outcome, "too_large", /more than 16 MiB/);
});

Deno.test("scrape() tells a broken compressed body", async () => {
  const outcome = await scrapeScript(async ({ send, close }) => {
    await send("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 12\r\n\r\n");
    await send(Uint8Array.of(0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 5, 6, 0xff, 0xff));
    close();
  });
  expectFailure(outcome, "not_exposition", /cannot be decompressed/);
});

for (
  const [status, kind, pattern] of [
    [401, "unauthorized", /credentials required\): .*--token-file/],
    [403, "unauthorized", /credentials required/],
    [404, "not_found", /no such page\): check the path/],
    [500, "server_error", /PROMETHEUS_MULTIPROC_DIR/],
    [502, "server_error", /proxy/],
    [503, "server_error", /not ready/],
    [418, "http_status", /418 instead of 200/],
    [204, "http_status", /204 instead of 200/],
    [304, "http_status", /304 instead of 200/],
  ] as const
) {
  Deno.test(`scrape() tells status ${status} by kind ${kind}`, async () => {
    const body = status === 204 || status === 304 ? "" : VLLM_BODY;
    expectFailure(await scrapeScript(answer(body, { status })), kind, pattern);
  });
}

Deno.test("scrape() tells rejected credentials from absent ones", async () => {
  const outcome = await scrapeScript(answer("", { status: 401 }), { access: withSecret });
  expectFailure(outcome, "unauthorized", /credentials rejected/);
});

Deno.test("scrape() follows a redirect of the same origin, says so, and asks there next time", async () => {
  const server = startRawServer(async ({ send }, head) => {
    await send(
      head.startsWith("GET /metrics/ ")
        ? formatResponse(VLLM_BODY)
        : formatResponse("", { status: 307, headers: { location: "/metrics/" } }),
    );
  });
  const scraper = await openScraper(server.origin, { access: withSecret });
  try {
    for (let i = 0; i < 2; i++) {
      const outcome = expectScrape(await scraper.scrape());
      assertEquals(outcome.redirectedTo, `${server.origin}/metrics/`);
    }
    assertEquals(server.requests.map((head) => head.split(" ")[1]), [
      "/metrics",
      "/metrics/",
      "/metrics/",
    ]);
    assertEquals(server.connectionCount(), 1);
  } finally {
    scraper.close();
    await server.close();
  }
});

Deno.test("scrape() neither follows a redirect to another origin nor sends anything there", async () => {
  const other = startRawServer(answer(VLLM_BODY));
  try {
    const location = `http://user:${SECRET}@127.0.0.1:${other.port}/metrics?key=${SECRET}`;
    const outcome = await scrapeScript(answer("", { status: 302, headers: { location } }), {
      access: withSecret,
    });
    expectFailure(outcome, "redirect", new RegExp(`redirects to "${other.origin}/metrics"`));
    assertEquals(other.connectionCount(), 0);
  } finally {
    await other.close();
  }
});

for (
  const [name, location] of [
    ["in a circle", "/metrics"],
    ["to a file", "file:///etc/passwd"],
    ["to control characters", "http://a\u0085b/"],
    ["to nonsense", "http://[::"],
  ]
) {
  Deno.test(`scrape() does not follow redirects that lead ${name}`, async () => {
    const server = startRawServer(answer("", { status: 301, headers: { location } }));
    try {
      expectFailure(await scrapeOnce(server.origin), "redirect", /redirects/);
      assertEquals(server.requests.length, name === "in a circle" ? 4 : 1);
    } finally {
      await server.close();
    }
  });
}

for (
  const [name, body, kind, pattern] of [
    ["nothing", "", "empty", /empty body/],
    ["blank lines", "\n\n \n", "empty", /empty body/],
    ["a web page", "\n<!DOCTYPE html><html>\nup 1\n</html>", "html", /web page/],
    ["JSON", '{"object":"list","data":[]}', "not_exposition", /JSON/],
    ["garbage", "\x00\x01\u00ff\x1b[2J;;;{{", "not_exposition", /something other/],
    ["a JSON string", '"vllm:num_requests_running 1"', "not_exposition", /JSON/],
    ["only remarks", "# nothing here\n", "not_exposition", /something other/],
    [
      "metrics of a server without text generation",
      "# TYPE te_queue_size gauge\nte_queue_size 2\n",
      "other_server",
      /is Text Embeddings Inference: check the port \(only vLLM, /,
    ],
    [
      "the metrics of a router that is not watched",
      "kong_http_requests_total 3\n",
      "other_server",
      /is Kong: watch the servers behind it/,
    ],
    ["TGI's metrics on a port of their own", "tgi_queue_size 2\n", "other_server", /own port$/],
    ["unknown metrics", "app_jobs_total 3\n", "other_server", /--metric-prefix/],
    [
      "vLLM without statistics",
      'python_info{version="3.12"} 1.0\nprocess_open_fds 20.0\n' +
      "http_request_duration_highr_seconds_count 3.0\n",
      "stats_disabled",
      /--disable-log-stats/,
    ],
  ] as const
) {
  Deno.test(`scrape() does not take ${name} for a server that is watched`, async () => {
    expectFailure(await scrapeScript(answer(body)), kind, pattern);
  });
}

Deno.test("scrape() says what is odd about the HTTP of an answer", async () => {
  const ok = "HTTP/1.1 200 OK\r\n";
  const headers = Array.from({ length: 300 }, (_, i) => `x-${i}: v\r\n`).join("");
  for (
    const [text, kind, pattern] of [
      [`${ok}${headers}content-length: 0\r\n\r\n`, "network", /more headers/],
      [`${ok}content-length: 5\r\ncontent-length: 9\r\n\r\nhello`, "network", /Content-Length/],
      [
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
        "http_status",
        /too many requests\): next try after 7 s/,
      ],
    ] as const
  ) {
    const outcome = await scrapeScript(async ({ send, close }) => {
      await send(text);
      close();
    });
    expectFailure(outcome, kind, pattern);
    if (kind === "http_status") assertEquals("retryAfter" in outcome && outcome.retryAfter, 7);
  }
});

Deno.test("scrape() reads SGLang's metrics", async () => {
  const body = '# TYPE sglang:token_usage gauge\nsglang:token_usage{model_name="m"} 0.28\n';
  const { engines, metricPrefix } = expectScrape(await scrapeScript(answer(body)));
  assertEquals(metricPrefix, "sglang:");
  assertEquals(engines.map(({ server, gauges }) => [server.name, gauges.kvCacheUsageRatio.value]), [
    ["SGLang", 0.28],
  ]);
});

Deno.test("scrape() takes declared metrics without samples for a server that starts", async () => {
  const outcome = expectScrape(
    await scrapeScript(answer("# TYPE vllm:num_requests_running gauge\n")),
  );
  assertEquals(outcome.engines, []);
});

Deno.test("scrape() reports credentials that cannot be read or sent", async () => {
  const server = startRawServer(answer(VLLM_BODY));
  try {
    const gone = { readHeaders: () => Promise.reject(new Error('the token file "t" is gone')) };
    expectFailure(await scrapeOnce(server.origin, { access: gone }), "credentials", /"t" is gone/);
    const bad = { readHeaders: () => Promise.resolve({ authorization: `Bearer ${SECRET}\nx: y` }) };
    expectFailure(await scrapeOnce(server.origin, { access: bad }), "credentials", /--token-file/);
    assertEquals(server.requests, []);
  } finally {
    await server.close();
  }
});

Deno.test("scrape() works through a Unix socket", async () => {
  const folder = await Deno.makeTempDir();
  const unixSocketPath = `${folder}/vllm.sock`;
  const setting: Setting = {
    access: { transport: { unixSocketPath } },
    endpoint: {
      key: `unix:${unixSocketPath}`,
      metricsUrl: "http://localhost/metrics",
      address: unixSocketPath,
      unixSocketPath,
    },
  };
  try {
    expectFailure(await scrapeOnce("", setting), "refused", /"unix:.*vllm\.sock" does not exist/);
    const server = startRawServer(answer(VLLM_BODY), { unixPath: unixSocketPath });
    expectScrape(await scrapeOnce("", setting));
    assertMatch(server.requests[0], /^GET \/metrics /);
    await server.close();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test({
  name: "scrape() checks certificates as it is told",
  ...needsProgram("openssl"),
  fn: async (t) => {
    const certificates = await createTestCertificates();
    const scrape = (
      transport: Transport,
      tls: RawServerOptions["tls"] = certificates.server,
    ): Promise<Scrape | ScraperFailure> =>
      scrapeScript(answer(VLLM_BODY), { server: { tls }, access: { transport } });
    const { ca, otherCa, otherName, selfSigned } = certificates;

    await t.step("an unknown authority", async () => {
      expectFailure(await scrape({}), "tls", /unknown authority: .*--ca-file/);
    });
    await t.step("the wrong authority", async () => {
      expectFailure(await scrape({ caCertificates: [otherCa] }), "tls", /unknown authority/);
    });
    await t.step("its own authority", async () => {
      expectScrape(await scrape({ caCertificates: [ca] }));
      expectScrape(await scrape({ caCertificates: [otherCa, ca] }));
    });
    await t.step("another name", async () => {
      expectFailure(await scrape({ caCertificates: [ca] }, otherName), "tls", /another host name/);
    });
    await t.step("an authority as a server", async () => {
      const outcome = await scrape({ caCertificates: [otherCa] }, selfSigned);
      expectFailure(outcome, "tls", /CA:FALSE|another host name|unknown authority/);
    });
    await t.step("any certificate, where insecure", async () => {
      for (const tls of [certificates.server, otherName, selfSigned]) {
        expectScrape(await scrape({ insecure: true }, tls));
      }
    });
    await t.step("redirects and limits, where insecure", async () => {
      const setting = {
        server: { tls: certificates.server },
        access: { ...withSecret, transport: { insecure: true } },
      };
      const location = "https://127.0.0.1:9/metrics";
      const redirected = answer("", { status: 302, headers: { location } });
      expectFailure(await scrapeScript(redirected, setting), "redirect", /127\.0\.0\.1:9/);
      const cut: Script = async ({ send, close }) => {
        await send(formatResponse(VLLM_BODY).slice(0, -9));
        close();
      };
      expectFailure(await scrapeScript(cut, setting), "truncated", /stopped after/);
      expectFailure(
        await scrapeScript(({ wait }) => wait(FOREVER), { ...setting, timeout: 0.5 }),
        "timeout",
        /0\.5 s/,
      );
    });
    await t.step("TLS where there is none, and none where there is", async () => {
      const plain = startRawServer(async ({ send, close }) => {
        await send(formatResponse("", { status: 400 }));
        close();
      }, { answersUnread: true });
      expectFailure(
        await scrapeOnce(`https://127.0.0.1:${plain.port}`),
        "tls",
        /use http:\/\/ instead/,
      );
      await plain.close();
      const secure = startRawServer(answer(VLLM_BODY), { tls: certificates.server });
      expectFailure(await scrapeOnce(`http://127.0.0.1:${secure.port}`), "network", /https:\/\//);
      await secure.close();
    });
    await Deno.remove(certificates.folder, { recursive: true });
  },
});

Deno.test({
  name: "scrape() shows a client certificate",
  ...needsProgram("openssl"),
  fn: async () => {
    const { folder, ca, client } = await createTestCertificates();
    await Deno.writeTextFile(`${folder}/metrics`, formatResponse(VLLM_BODY));
    const server = new Deno.Command("openssl", {
      args: [
        ...["s_server", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-key", "server.key"],
        ...["-CAfile", "ca.pem", "-Verify", "1", "-verify_return_error", "-HTTP"],
      ],
      cwd: folder,
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
    try {
      let output = "";
      while (!/ACCEPT .*:(\d+)\s/.test(output)) output += (await reader.read()).value ?? "";
      const origin = `https://127.0.0.1:${/ACCEPT .*:(\d+)/.exec(output)?.[1]}`;
      const transport: Transport = { caCertificates: [ca] };
      const refused = await scrapeOnce(origin, { access: { transport } });
      expectFailure(refused, "tls", /client certificate: give one with --cert-file/);
      const own = { clientCertificate: client.cert, clientKey: client.key };
      expectScrape(await scrapeOnce(origin, { access: { transport: { ...transport, ...own } } }));
      expectScrape(await scrapeOnce(origin, { access: { transport: { insecure: true, ...own } } }));
    } finally {
      await reader.cancel();
      server.kill();
      await server.status;
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("scrape() tells figures of engines that name no model", async () => {
  const body = 'vllm:num_requests_running{server="http://a"} 3\n';
  expectFailure(await scrapeScript(answer(body)), "other_server", /names no model/);
});
