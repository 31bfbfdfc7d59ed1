import { assert, assertEquals, assertMatch } from "@std/assert";
import { findFreePorts, readDocument, runProgram } from "./program_runs.ts";
import { startVllmServer } from "./vllm_server.ts";

const ONCE = ["--once", "--interval", "0", "--output", "json"];

/** Ports of the range that is scanned. */
const PORTS = 8;

const LLAMA_CPP = [
  "# TYPE llamacpp:prompt_tokens_total counter",
  "llamacpp:prompt_tokens_total 12",
  "# TYPE llamacpp:requests_processing gauge",
  "llamacpp:requests_processing 1",
  "",
].join("\n");

/** Something on loopback that answers every request so, and keeps what it was asked. */
function startOther(
  port: number,
  answer: () => Response,
): { readonly asked: readonly string[]; readonly close: () => Promise<void> } {
  const asked: string[] = [];
  const server = Deno.serve(
    { hostname: "127.0.0.1", port, onListen: () => {} },
    (request) => {
      asked.push(`${request.method} ${new URL(request.url).pathname}`);
      return answer();
    },
  );
  return { asked, close: () => server.shutdown() };
}

/** A port that accepts connections and says nothing, ever. */
function startSilent(port: number): { readonly close: () => Promise<void> } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port });
  const open: Deno.Conn[] = [];
  const accepting = (async () => {
    for await (const connection of listener) open.push(connection);
  })();
  return {
    close: async () => {
      listener.close();
      await accepting.catch(() => {});
      open.forEach((connection) => connection.close());
    },
  };
}

Deno.test("a scan finds the vLLM servers of a range and names what else is there", async () => {
  const first = findFreePorts(PORTS);
  const plain = { "content-type": "text/plain" };
  const servers = [
    await startVllmServer({ port: first + 1, warmUp: 60 }),
    await startVllmServer({ port: first + 4, warmUp: 60, seed: 2 }),
  ];
  const others = [
    startOther(first + 2, () => new Response(LLAMA_CPP, { headers: plain })),
    startOther(first + 5, () => new Response("{}", { status: 404 })),
  ];
  const silent = startSilent(first + 6);
  const range = ["--port-range", `${first}-${first + PORTS - 1}`];
  try {
    const outcomes = await Promise.all([
      runProgram([...range, ...ONCE]),
      runProgram([...range, ...ONCE, "--auto", "--host", "127.0.0.1"], {
        // A scanned server is not to be sent what was meant for one that is named.
        environment: { VLLM_HTOP_TOKEN: "never-to-be-sent" },
      }),
    ]);
    for (const [index, { code, stdout, stderr }] of outcomes.entries()) {
      assertEquals([code, stderr], [0, ""]);
      const { endpoints, notices, total } = readDocument(stdout);
      const host = index === 0 ? "localhost" : "127.0.0.1";
      assertEquals(
        endpoints.map(({ url }) => url),
        [first + 1, first + 4].map((port) => `http://${host}:${port}/metrics`),
      );
      assertEquals(total.replicas, 2);
      assertEquals(notices, [
        `port ${first + 2}: other server, not watched: other metrics`,
        `port ${first + 5}: other server, not watched: no metrics page`,
        `port ${first + 6}: no answer in time: if it is a busy model server, name it with --url`,
      ]);
    }
    for (const server of servers) {
      assertEquals(server.violations, []);
      // The scan, the one scrape, and how it was started, of two runs.
      assertEquals(server.requests.toSorted(), [
        ...Array(4).fill("GET /metrics"),
        ...Array(4).fill("GET /v1/models"),
        ...Array(2).fill("GET /version"),
      ]);
    }
    const [llamaCpp, unknown] = others.map(({ asked }) => asked.toSorted());
    assertEquals(new Set(llamaCpp), new Set(["GET /metrics", "GET /v1/models", "GET /version"]));
    assertEquals(new Set(unknown), new Set(["GET /metrics", "GET /v1/models", "GET /version"]));
    assertEquals(unknown.length, 8);
  } finally {
    await Promise.all([...servers, ...others, silent].map((server) => server.close()));
  }
});

Deno.test("a scan sends no credentials", async () => {
  const first = findFreePorts(1);
  const server = await startVllmServer({ port: first, authorization: "Bearer anything" });
  try {
    const { code, stdout, stderr } = await runProgram(
      ["--auto", "--port-range", `${first}`, ...ONCE],
      { environment: { VLLM_HTOP_TOKEN: "anything" } },
    );
    assertEquals([code, stdout], [1, ""], "with the token it would be found");
    assertMatch(stderr, new RegExp(`port ${first}: requires credentials`));
    assertEquals(server.requests, [
      "GET /v1/models",
      "GET /metrics",
      "GET /version",
      "GET /v1/models",
    ]);
  } finally {
    await server.close();
  }
});

Deno.test("--auto fails where nothing is found, and says where it looked", async () => {
  const first = findFreePorts(3);
  const range = `${first}-${first + 2}`;
  const { code, stdout, stderr } = await runProgram(["--auto", "--port-range", range]);
  assertEquals([code, stdout], [1, ""]);
  assertEquals(
    stderr,
    `vllm-htop: no model server answers on localhost, ports ${first} to ${first + 2}\n`,
  );
});

const PAGE = "<!DOCTYPE html><title>A web application</title>";

/** A web application: pages everywhere, and a version. */
function startWebApplication(port: number): { readonly close: () => Promise<void> } {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port, onListen: () => {} },
    (request) =>
      new URL(request.url).pathname === "/version"
        ? Response.json({ version: "1.0" })
        : new Response(PAGE, { headers: { "content-type": "text/html" } }),
  );
  return { close: () => server.shutdown() };
}

Deno.test("a web page beside a server changes neither verdict nor exit code", async () => {
  const first = findFreePorts(2);
  const range = ["--port-range", `${first}-${first + 1}`];
  const page = startWebApplication(first);
  const server = await startVllmServer({ port: first + 1, warmUp: 60 });
  const remark = `port ${first}: other server, version 1.0, not watched: a web page`;
  try {
    const found = await runProgram([...range, ...ONCE]);
    assertEquals([found.code, found.stderr], [0, ""]);
    const { endpoints, notices, verdict } = readDocument(found.stdout);
    assertEquals(endpoints.map(({ status }) => status), ["OK"]);
    // One scrape tells nothing bad, and too little for more.
    assertEquals([verdict.status, verdict.causes, notices], ["WATCHING", [], [remark]]);

    const named = await runProgram([`localhost:${first}`, ...ONCE]);
    assertEquals(named.code, 1);
    const { failure, status } = readDocument(named.stdout).endpoints[0];
    assertEquals(status, "DOWN");
    assertMatch(failure?.message ?? "", /answered with a web page, as no model server does/);
  } finally {
    await Promise.all([page, server].map((one) => one.close()));
  }
});

Deno.test("--once says plainly that no server was found, and blames none", async () => {
  const args = ["--port-range", "8000", "--once", "--interval", "0", "--no-gpu"];
  const { code, stdout, stderr } = await runProgram([...args, "--output", "json"]);
  const { endpoints, replicas, notices, verdict } = readDocument(stdout);
  // A vLLM on that port was found.
  if (endpoints.length > 0) return;
  assertEquals([code, stderr], [1, ""]);
  assertEquals([replicas, verdict.status, verdict.causes], [[], "NONE", []]);
  assertEquals(notices[0], "no model server answers on localhost, ports 8000 to 8000");
  assertEquals(notices.at(-1), "give one with --url, or try --demo");

  const text = await runProgram(args);
  assertEquals([text.code, text.stderr], [1, ""]);
  const lines = text.stdout.split("\n").map((line) => line.trim());
  assertEquals(lines[1], "● NO SERVER FOUND");
  assertEquals(lines.slice(2), ["", ...notices, ""]);
  assert(!/CRITICAL|DOWN|of 1 up/.test(text.stdout), text.stdout);
});
