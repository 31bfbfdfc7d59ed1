import { assert, assertEquals } from "@std/assert";
import { USUAL_PORTS } from "../lib/dialect.ts";
import {
  findServerPorts,
  MAX_UNKNOWN_PORTS,
  type ServerPort,
  type ServerPortListing,
} from "../lib/discovery_ports.ts";
import { createScanner, type ScanOptions } from "../lib/discovery_scan.ts";
import { type ListeningPort, parseProcessTable, parseSsPorts } from "../lib/host_processes.ts";
import type { Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { formatResponse, type RawServer, startRawServer, VLLM_BODY } from "./hostile_server.ts";

const platform = createDenoPlatform();

const vllm = () => startRawServer(async ({ send }) => void await send(formatResponse(VLLM_BODY)));
const embeddings = () =>
  startRawServer(async ({ send }) => void await send(formatResponse("te_queue_size 1\n")));
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

const start = (on: Platform, options: Partial<ScanOptions> = {}) =>
  createScanner(on, {
    host: "localhost",
    portRange: { first: 8000, last: 8015 },
    metricPrefix: null,
    timeout: 4,
    ...options,
  });

const scan = (on: Platform, options: Partial<ScanOptions> = {}) => start(on, options).scan();

async function closeAll(servers: Readonly<Record<number, RawServer>>): Promise<void> {
  await Promise.all(Object.values(servers).map((server) => server.close()));
}

Deno.test("scan() finds vLLM servers in the order of their ports, and names others", async () => {
  const servers = {
    8001: vllm(),
    8003: embeddings(),
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
    { port: 8003, name: "Text Embeddings Inference, not watched" },
    { port: 8007, name: "other server, not watched: no metrics page" },
    { port: 8009, name: "closes the connection" },
  ]);
  await closeAll(servers);
});

/** A server that answers each path with its text, and others with that status. */
const answer = (texts: Readonly<Record<string, string>>, status = 404) =>
  startRawServer(async ({ send }, head) => {
    const text = texts[/^GET (\S+) /.exec(head)?.[1] ?? ""];
    await send(text === undefined ? formatResponse("", { status }) : formatResponse(text));
  });

Deno.test("scan() asks unknown ports for models first, then for metrics, and last what has none", async () => {
  const servers = { 8000: vllm(), 8001: embeddings(), 8002: answer({}), 8003: answer({}, 401) };
  await scan(placeServers(servers));
  const asked = Object.values(servers).map(({ requests }) =>
    requests.map((request) => request.slice(0, request.indexOf(" HTTP/1.1\r\n")))
  );
  const first = ["GET /v1/models", "GET /metrics"];
  const all = [...first, "GET /version", "GET /v1/models"];
  assertEquals(asked, [first, first, all, all]);
  for (const request of Object.values(servers).flatMap(({ requests }) => requests)) {
    assert(!/authorization|cookie|api-key/i.test(request));
  }
  await closeAll(servers);
});

const models = (owner: string): string =>
  JSON.stringify({ object: "list", data: [{ id: "m", object: "model", owned_by: owner }] });
const VERSION = '{"version":"0.32.0"}';
const PAGE = "<!DOCTYPE html><title>A web application</title>";
const WITHOUT_STATISTICS = "process_start_time_seconds 1\nhttp_request_duration_highr_seconds 1\n";

Deno.test("scan() takes what says that it is vLLM for vLLM, whatever its metrics are", async () => {
  const servers = {
    // --disable-log-stats, and an API key.
    8000: answer({ "/metrics": WITHOUT_STATISTICS, "/version": VERSION }, 401),
    8001: answer({ "/version": VERSION, "/v1/models": models("vllm") }),
    // A wall of 401 proves nothing, and neither does a version of who knows what.
    8002: answer({}, 401),
    8003: answer({ "/version": '{"version":"1.33.0","major":"1"}' }),
    8004: answer({ "/version": '{"version":"0.4.1"}', "/v1/models": models("sglang") }),
    8005: answer({ "/v1/models": models("library") }),
    8006: answer({ "/v1/models": models("vllm") }),
    8007: answer({ "/v1/models": "<html>", "/version": "0.32.0" }),
    // A version alone is that of any web application.
    8008: answer({ "/metrics": PAGE, "/v1/models": PAGE, "/version": '{"version":"1.0"}' }),
    8009: answer({ "/version": VERSION }, 401),
    8010: answer({ "/metrics": "up 1\n", "/version": "ok" }),
  };
  const { found, others } = await scan(placeServers(servers));
  assertEquals(found.map(({ address }) => address), [
    "localhost:8000",
    "localhost:8001",
    // No Ollama, but a server with models.
    "localhost:8005",
  ]);
  assertEquals(others.map(({ port, name }) => `${port} ${name}`), [
    "8002 requires credentials: if it is a model server, name it with --url",
    "8003 other server, not watched: no metrics page",
    "8004 SGLang's models without its metrics: start it with --enable-metrics",
    "8006 vLLM's models without its metrics: name its own port with --url",
    "8007 other server, not watched: no metrics page",
    "8008 other server, version 1.0, not watched: a web page",
    "8009 requires credentials: if it is a model server, name it with --url",
    "8010 other server, not watched: other metrics",
  ]);
  await closeAll(servers);
});

/** A listing with that port, of a process that says it is so. */
function list(more: Partial<ServerPort> & { readonly port: number }): ServerPortListing {
  const port: ServerPort = {
    addresses: ["0.0.0.0"],
    ownerPids: [7],
    serverName: null,
    isDeclared: false,
    launch: null,
    isTls: false,
    ...more,
  };
  return { ports: [port], starting: [], problems: [] };
}

Deno.test("scan() finds SGLang by its metrics", async () => {
  const body = 'sglang:num_running_reqs{model_name="m"} 1\n';
  const servers = {
    8000: startRawServer(async ({ send }) => void await send(formatResponse(body))),
  };
  const { found, others } = await scan(placeServers(servers));
  assertEquals([found.map(({ address }) => address), others], [["localhost:8000"], []]);
  await closeAll(servers);
});

Deno.test("scan() looks at the ports of processes beside the range", async () => {
  const servers = { 31337: vllm(), 1234: answer({}), 40000: answer({}) };
  const on = placeServers(servers);
  const withListing = (listing: ServerPortListing) =>
    scan(on, { listServerPorts: () => Promise.resolve(listing) });
  const found = await withListing(list({ port: 31337, serverName: "vLLM" }));
  assertEquals(found.found.map(({ key }) => key), ["http://localhost:31337"]);
  // A container's, or another user's.
  assertEquals((await withListing(list({ port: 31337 }))).found.length, 1);
  // What says nothing of itself is no matter of ours.
  const other = await withListing(list({ port: 1234, serverName: "LM Studio" }));
  assertEquals(other.others, [{ port: 1234, name: "LM Studio, not watched" }]);
  assertEquals((await withListing(list({ port: 40000 }))).others, []);
  const { problems } = await withListing({
    ports: [],
    starting: [],
    problems: ["ps is not installed"],
  });
  assertEquals(problems, ["ps is not installed"]);
  await closeAll(servers);
});

Deno.test("scan() looks at usual ports where processes are unknown", async () => {
  const servers = { 30000: vllm(), 5000: answer({}) };
  const { found, others } = await scan(placeServers(servers), { usualPorts: USUAL_PORTS });
  assertEquals(found.map(({ address }) => address), ["localhost:30000"]);
  // Anything may stand there.
  assertEquals(others, []);
  assertEquals((await scan(placeServers(servers))).found, []);
  await closeAll(servers);
});

Deno.test("scan() trusts the command line that a port is vLLM's, and only that much", async () => {
  const silent = { 31337: mute(), 8000: answer({}, 401), 8001: answer({}) };
  const on = placeServers(silent);
  const find = async (more: Partial<ServerPort> & { readonly port: number }) => {
    const listing = list(more);
    const { found } = await scan(on, {
      // Only what never answers is to be without an answer.
      timeout: more.port === 31337 ? 0.2 : 30,
      listServerPorts: () => Promise.resolve(listing),
    });
    return found.map(({ address }) => address);
  };
  // Too busy to answer, or something between vLLM's processes.
  const port = 31337;
  assertEquals(await find({ port, serverName: "vLLM", isDeclared: true }), ["localhost:31337"]);
  assertEquals(await find({ port, serverName: "vLLM" }), []);
  assertEquals(await find({ port }), []);
  assertEquals(await find({ port: 8000, serverName: "vLLM" }), ["localhost:8000"]);
  const { others } = await scan(on, {
    timeout: 30,
    listServerPorts: () => Promise.resolve(list({ port: 8001, serverName: "Xinference" })),
  });
  assertEquals(others.map(({ name }) => name)[1], "Xinference, not watched");
  await closeAll(silent);
});

Deno.test("scan() leaves alone what is watched, and asks others again after a while", async () => {
  let now = 0;
  const servers = { 8000: vllm(), 8001: embeddings() };
  const scanner = start({ ...placeServers(servers), monotonicSeconds: () => now });
  const countConnections = (): number[] =>
    Object.values(servers).map(({ connectionCount }) => connectionCount());
  const { found } = await scanner.scan();
  const watched = new Set(found.map(({ key }) => key));
  const asked = countConnections();
  const again = await scanner.scan(watched);
  assertEquals(again.found, []);
  assertEquals(again.others, [{
    port: 8001,
    name: "Text Embeddings Inference, not watched",
  }]);
  assertEquals(servers[8000].requests.length, 2);
  assertEquals(countConnections()[0], asked[0], "not even a connection");
  // A minute later, then two, then four.
  for (const [at, count] of [[59, 1], [61, 2], [170, 2], [190, 3], [400, 3], [440, 4]]) {
    now = at;
    await scanner.scan(watched);
    assertEquals(servers[8001].requests.length, 2 * count, `${at} s`);
  }
  await closeAll(servers);
});

Deno.test("scan() asks a port anew that was closed meanwhile, or has another owner", async () => {
  const servers: Record<number, RawServer> = { 8001: embeddings() };
  let owner = 7;
  const scanner = start(placeServers(servers), {
    listServerPorts: () => Promise.resolve(list({ port: 8001, ownerPids: [owner] })),
  });
  await scanner.scan();
  const first = servers[8001];
  delete servers[8001];
  assertEquals((await scanner.scan()).others, []);
  servers[8001] = vllm();
  assertEquals((await scanner.scan()).found.length, 1);
  await servers[8001].close();
  servers[8001] = first;
  await scanner.scan();
  owner = 8;
  await scanner.scan();
  assertEquals(first.requests.length, 6);
  await first.close();
});

Deno.test("scan() waits for a port that never answers no longer than its limit", async () => {
  const servers = { 8000: mute(), 8001: vllm(), 8002: mute() };
  const startedAt = platform.monotonicSeconds();
  const { found, others } = await scan(placeServers(servers), { timeout: 1 });
  const span = platform.monotonicSeconds() - startedAt;
  assertEquals(found.length, 1);
  assertEquals(
    others.map(({ name }) => name),
    Array(2).fill("no answer in time: if it is a busy model server, name it with --url"),
  );
  assert(span >= 1 && span < 30, `${span}`);
  await closeAll(servers);
});

Deno.test("scan() scans real ports", async () => {
  const server = vllm();
  const { port } = server;
  const host = "127.0.0.1";
  const { found } = await scan(platform, { host, portRange: { first: port, last: port } });
  assertEquals(found.map(({ metricsUrl }) => metricsUrl), [`${server.origin}/metrics`]);
  await server.close();
  const result = await scan(platform, { host, portRange: { first: port, last: port } });
  assertEquals(result, { found: [], others: [], problems: [] });
});

Deno.test("scan() finds a server of localhost that listens on ::1 only", async () => {
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

const TABLE = parseProcessTable(`
    1     0     1  1-00:00:00 root /sbin/init
  100     1   100    10:00 root /bin/sh -c vllm serve Qwen/Qwen3-8B --port 31337
  101   100   100    10:00 root /usr/bin/python3 /usr/local/bin/vllm serve Qwen/Qwen3-8B --port 31337 -tp 2 --data_parallel_size=4 --api-key s3cr3t
  102   101   100    09:00 root VLLM::APIServer_0
  103   101   100    09:00 root VLLM::EngineCore_DP0
  104   101   100    09:00 root /usr/bin/ray/core/gcs_server --port 6380
  200     1   200    10:00 root VLLM::APIServer
  300     1   300    10:00 root /usr/sbin/sshd -D
  301     1   301    10:00 root ssh -N -L 9000:localhost:8000 gpu7
  400     1   400    10:00 root /usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 8000 -use-listen-fd
  401     1   401    10:00 root /usr/bin/containerd-shim-runc-v2 -namespace moby
  402   401   402    10:00 root python3 -m vllm.entrypoints.openai.api_server --model /m --pipeline-parallel-size 2
  500     1   500    10:00 root /usr/sbin/mysqld
  600     1   600    10:00 root /usr/local/bin/ollama serve
`);

function listen(port: number, ...ownerPids: readonly number[]): ListeningPort {
  return { port, addresses: ["0.0.0.0"], ownerPids };
}

// Recorded from a real vLLM 0.32.0 on a CPU (procps-ng 4.0.2, iproute2 6.1.0), shortened; its worker
// listens at thirteen ports.
const REAL_PROCESSES = parseProcessTable(`
20109     1 20109       43:45 root /opt/venv/bin/python /opt/venv/bin/vllm serve /models/small --served-model-name small-llama --host 127.0.0.1 --port 8000 --enforce-eager --max-model-len 2048
20892 20109 20109       43:14 root /opt/venv/bin/python -B -c from multiprocessing.resource_tracker import main;main(32)
20893 20109 20109       43:14 root VLLM::EngineCore
21166 20893 20109       43:02 root VLLM::Worker
`);
const REAL_PORTS = parseSsPorts(`
LISTEN 0      4096   127.0.0.1:36269 0.0.0.0:* users:(("VLLM::Worker",pid=21166,fd=48))
LISTEN 0      4096   127.0.0.1:34511 0.0.0.0:* users:(("VLLM::Worker",pid=21166,fd=31))
LISTEN 0      4096   127.0.0.1:33901 0.0.0.0:* users:(("VLLM::Worker",pid=21166,fd=20))
LISTEN 0      2048   127.0.0.1:8000  0.0.0.0:* users:(("vllm",pid=20109,fd=13))
`);

Deno.test("findServerPorts() finds the one port of a real vLLM that is its API", () => {
  const [found, ...others] = findServerPorts(REAL_PORTS, REAL_PROCESSES);
  assertEquals(others, []);
  assertEquals([found.port, found.serverName, found.isDeclared], [8000, "vLLM", true]);
});

/** The ports that are worth asking, with what is known of them. */
function find(...ports: readonly ListeningPort[]): unknown {
  return findServerPorts(ports, TABLE).map(({ port, serverName, isDeclared, launch }) => [
    port,
    isDeclared ? `${serverName}!` : serverName,
    launch === null ? null : Object.fromEntries(launch.parallelSizes),
  ]);
}

Deno.test("findServerPorts() finds vLLM by its process, its children and its title", () => {
  const sizes = { "tensor-parallel-size": 2, "data-parallel-size": 4 };
  assertEquals(find(listen(31337, 101)), [[31337, "vLLM!", sizes]]);
  // Its API servers have only a title; their parent still says how it was started.
  assertEquals(find(listen(31337, 102)), [[31337, "vLLM!", sizes]]);
  assertEquals(find(listen(31337, 200)), [[31337, "vLLM", null]]);
});

Deno.test("findServerPorts() leaves alone where vLLM's processes speak to each other", () => {
  assertEquals(find(listen(29_550, 103), listen(5557, 103)), []);
  const sizes = { "tensor-parallel-size": 2, "data-parallel-size": 4 };
  assertEquals(find(listen(31337, 101, 102), listen(40_001, 101)), [[31337, "vLLM!", sizes]]);
  // Its own port may be said elsewhere, as in a configuration file.
  assertEquals(find(listen(40_001, 101)), [[40_001, "vLLM", sizes]]);
  // A child of its own kind, such as one of Ray's.
  assertEquals(find(listen(6380, 104)), []);
});

Deno.test("findServerPorts() knows the servers that others have started for their models", () => {
  const table = parseProcessTable([
    "10 1 10 00:09 ollama /usr/local/bin/ollama serve",
    "11 10 10 00:05 ollama /usr/lib/ollama/llama-server --model /m/sha256-a --port 36071",
    "30 1 30 00:09 me /opt/llama-server -m m.gguf --port 8081",
  ].join("\n"));
  const read = (...ports: readonly ListeningPort[]) =>
    findServerPorts(ports, table).map(({ port, launch }) => [port, launch?.outerPorts]);
  const ports = [listen(11434, 10), listen(36071, 11), listen(8081, 30)];
  assertEquals(read(...ports), [[11434, undefined], [36071, [11434]], [8081, undefined]]);
  // Another user's.
  assertEquals(read(listen(11434), listen(36071), listen(8082)), [
    [11434, undefined],
    [36071, []],
    [8082, undefined],
  ]);
});
Deno.test("findServerPorts() follows forwarders, into a container where it is the only one", () => {
  assertEquals(find(listen(9000, 301)), [[9000, null, null]]);
  assertEquals(find(listen(8080, 400)), [[8080, "vLLM!", { "pipeline-parallel-size": 2 }]]);
});

Deno.test("findServerPorts() names other servers, and leaves what is none", () => {
  assertEquals(find(listen(11434, 600)), [[11434, "Ollama!", {}]]);
  assertEquals(find(listen(22, 300), listen(3306, 500), listen(8443, 500), listen(80, 1)), []);
});

Deno.test("findServerPorts() asks unknown owners, a few of them, at ports that may be HTTP's", () => {
  assertEquals(find(listen(31337), listen(22), listen(5432), listen(80)), [
    [31337, null, null],
    [80, null, null],
  ]);
  // A process that has ended since.
  assertEquals(find(listen(31337, 99_999)), [[31337, null, null]]);
  const many = Array.from({ length: 500 }, (_, i) => listen(20_000 + i));
  const known = listen(31337, 101);
  const found = findServerPorts([...many, known], TABLE);
  assertEquals(found.length, MAX_UNKNOWN_PORTS + 1);
  assertEquals(found.at(-1)?.serverName, "vLLM");
});
