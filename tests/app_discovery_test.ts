import { assert, assertEquals } from "@std/assert";
import { createServerInfoReader, GONE_AFTER, lookAgain } from "../lib/app_discovery.ts";
import {
  dispatch,
  pollEndpoint,
  type Session,
  startSession,
  takeInstant,
  watchEndpoint,
} from "../lib/app_session.ts";
import { parseArguments } from "./fixtures/arguments.ts";
import { createScanSource } from "../lib/discovery.ts";
import { createTargetSource } from "../lib/discovery_targets.ts";
import type { Scanner } from "../lib/discovery_scan.ts";
import type { ScanResult, Source } from "../lib/discovery_source.ts";
import { parseEndpointUrl, type TypedEndpoint } from "../lib/endpoint.ts";
import type { PodFacts } from "../lib/pod.ts";
import { createHost, LOCAL_HOST } from "../lib/host.ts";
import {
  parseProcessTable,
  type ProcessLister,
  type ProcessListing,
} from "../lib/host_processes.ts";
import type { Endpoint } from "../lib/model.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { createScraper } from "../lib/scrape.ts";
import { ANONYMOUS_ACCESS } from "../lib/scrape_credentials.ts";
import { listEngines } from "../lib/state_endpoint.ts";
import { createEndpoint, createFailed, startState } from "./fixtures/expositions.ts";
import { startVllmServer, type VllmServer } from "./vllm_server.ts";

/** A session over real servers, with an adjustable clock. */
interface Watch {
  readonly session: Session;
  readonly pass: (span: number) => void;
  readonly poll: (endpoint: Endpoint) => Promise<void>;
}

async function startWatch(
  endpoints: readonly Endpoint[],
  listProcesses: ProcessLister | null = null,
): Promise<Watch> {
  const real = createDenoPlatform();
  let passed = 0;
  const platform = { ...real, monotonicSeconds: () => real.monotonicSeconds() + passed };
  const parsed = parseArguments(["--auto"], () => undefined);
  if (parsed.kind !== "run") throw new Error("The arguments are refused");
  const session = startSession({
    platform,
    options: parsed.options,
    view: { output: "auto", depth: 256, ascii: false },
    state: startState(endpoints),
    hosts: new Map([[LOCAL_HOST, { ...createHost(LOCAL_HOST, platform), listProcesses }]]),
  });
  for (const endpoint of endpoints) {
    const settings = { access: ANONYMOUS_ACCESS, timeout: 4, metricPrefix: null };
    const scraper = await createScraper(platform, endpoint, settings);
    watchEndpoint(session, { endpoint, access: ANONYMOUS_ACCESS, scraper });
  }
  const poll = async ({ key }: Endpoint): Promise<void> => {
    await pollEndpoint(session, key);
    takeInstant(session);
  };
  return { session, pass: (span) => passed += span, poll };
}

function closeAll({ session }: Watch): void {
  for (const { scraper } of session.watched.values()) scraper.close();
}

function readEndpoint({ url }: VllmServer): Endpoint {
  const typed = parseEndpointUrl(url);
  if ("error" in typed) throw new Error(typed.error);
  return typed.endpoint;
}

/** A scan that finds `result`, and records the keys it was given. */
function createFinder(found: readonly Endpoint[], more: Partial<ScanResult> = {}) {
  const finder = {
    result: { found, others: [], problems: [], ...more } as ScanResult,
    watched: [] as string[][],
    find: (endpoints: readonly Endpoint[]): void => {
      finder.result = { found: endpoints, others: [], problems: [] };
    },
    scanner: {
      scan: (keys = new Set()) => {
        finder.watched.push([...keys]);
        return Promise.resolve(finder.result);
      },
    } as Scanner,
  };
  return finder;
}

const keysOf = ({ session }: Watch): string[] =>
  session.state.endpoints.map(({ endpoint }) => endpoint.key);

Deno.test("lookAgain() of a scan watches what it finds, and says what else is there", async () => {
  const servers = [await startVllmServer(), await startVllmServer({ seed: 2 })];
  const [first, second] = servers.map(readEndpoint);
  const watch = await startWatch([first]);
  const { session, poll } = watch;
  const others = [{ port: 8003, name: "SGLang, not vLLM" }];
  const finder = createFinder([second], { others, problems: ["ps is missing"] });
  const source = createScanSource(finder.scanner, [first], null);
  await lookAgain(session, source);
  assertEquals(finder.watched, [[first.key]]);
  assertEquals(keysOf(watch), [first.key, second.key]);
  assertEquals(session.state.notices, ["port 8003: SGLang, not vLLM", "ps is missing"]);
  await poll(second);
  assertEquals(listEngines(session.state.endpoints[1]).length, 1);
  const { endpoints } = session.state;
  finder.find([]);
  await lookAgain(session, source);
  assert(session.state.endpoints === endpoints, "nothing has changed");
  assertEquals(session.state.notices, []);
  closeAll(watch);
  await Promise.all(servers.map((server) => server.close()));
});

Deno.test("lookAgain() of a scan leaves what has refused connections for long, and finds it again", async () => {
  const server = await startVllmServer();
  const staying = await startVllmServer({ seed: 2 });
  const [going, other] = [server, staying].map(readEndpoint);
  const watch = await startWatch([going, other]);
  const { session, poll, pass } = watch;
  await Promise.all([poll(going), poll(other)]);
  await server.setState("refusing");
  // The kept connection may be reset first.
  for (let i = 0; i < 2; i++) await poll(going);
  const finder = createFinder([]);
  const source = createScanSource(finder.scanner, [going, other], null);
  for (const span of [0, 40, GONE_AFTER - 50]) {
    pass(span);
    await poll(other);
    await lookAgain(session, source);
    assertEquals(keysOf(watch), [going.key, other.key], `${span}`);
  }
  pass(20);
  await poll(other);
  await lookAgain(session, source);
  assertEquals(keysOf(watch), [other.key]);
  assert(!session.watched.has(going.key));
  await server.setState("up");
  finder.find([going]);
  await lookAgain(session, source);
  assertEquals(keysOf(watch), [other.key, going.key]);
  closeAll(watch);
  await Promise.all([server.close(), staying.close()]);
});

Deno.test("lookAgain() of a scan keeps what is down in another way", async () => {
  const server = await startVllmServer({ state: "failing" });
  const endpoint = readEndpoint(server);
  const watch = await startWatch([endpoint]);
  await watch.poll(endpoint);
  watch.pass(10 * GONE_AFTER);
  await watch.poll(endpoint);
  const source = createScanSource(createFinder([]).scanner, [endpoint], null);
  await lookAgain(watch.session, source);
  assertEquals(keysOf(watch), [endpoint.key]);
  closeAll(watch);
  await server.close();
});

Deno.test("lookAgain() of a scan gives up the usual address as soon as there is another", async () => {
  const server = await startVllmServer();
  const found = readEndpoint(server);
  const fallback = createEndpoint(9);
  const watch = await startWatch([fallback]);
  const { session, poll } = watch;
  await poll(fallback);
  const finder = createFinder([]);
  const source = createScanSource(finder.scanner, [], fallback.key);
  // As the start of the program does.
  session.notices.set(source, ["no vLLM server answers"]);
  dispatch(session, { kind: "noticed", notices: ["no vLLM server answers"] });
  await lookAgain(session, source);
  assertEquals(keysOf(watch), [fallback.key]);
  assertEquals(session.state.notices, ["no vLLM server answers"]);
  finder.find([found]);
  await lookAgain(session, source);
  assertEquals(keysOf(watch), [found.key]);
  assertEquals(session.state.notices, []);
  closeAll(watch);
  await server.close();
});

Deno.test("lookAgain() of a file watches its targets, takes over new labels, and leaves what is gone", async () => {
  const servers = [await startVllmServer(), await startVllmServer({ seed: 2 })];
  const [first, second] = servers.map(readEndpoint);
  const watch = await startWatch([first]);
  const { session, poll } = watch;
  const path = await Deno.makeTempFile({ suffix: ".json" });
  const source = createTargetSource(session.platform, { kind: "file", path }, null);
  const write = (...groups: unknown[]) => Deno.writeTextFile(path, JSON.stringify(groups));
  const targets = servers.map(({ url }) => url.slice("http://".length));
  await write({ targets, labels: { pod: "llama-0", role: "prefill" } });
  await lookAgain(session, source);
  assertEquals(keysOf(watch), [first.key, second.key]);
  await poll(second);
  const getLabels = () =>
    session.state.endpoints.map(({ endpoint }) => [...endpoint.targetLabels ?? []].join(" "));
  assertEquals(getLabels(), ["", "pod,llama-0 role,prefill"], "the first was named otherwise");
  const { history, displayName } = session.state.endpoints[1];
  assertEquals(displayName, "llama-0");
  await write({ targets, labels: { pod: "llama-0", role: "decode" } });
  await lookAgain(session, source);
  assertEquals(getLabels()[1], "pod,llama-0 role,decode");
  assert(session.state.endpoints[1].history === history, "its samples stay");
  await Deno.writeTextFile(path, "[");
  await lookAgain(session, source);
  assertEquals(session.state.notices, [
    `the targets file "${path}" is not JSON; its last good targets stay`,
  ]);
  assertEquals(keysOf(watch).length, 2);
  await write();
  await lookAgain(session, source);
  assertEquals(session.state.notices, []);
  assertEquals(keysOf(watch), [first.key]);
  closeAll(watch);
  await Deno.remove(path);
  await Promise.all(servers.map((server) => server.close()));
});

function listProcess(server: VllmServer): Promise<ProcessListing> {
  return Promise.resolve({
    listening: [{ port: server.port, addresses: ["*"], ownerPids: [7] }],
    processes: parseProcessTable(
      `7 1 7 00:10 root python3 /usr/bin/vllm serve m -tp 2 --port ${server.port}\n`,
    ),
    problems: [],
  });
}

Deno.test("createServerInfoReader() asks once in the life of a server, and again after a restart", async () => {
  let server = await startVllmServer({ version: "0.10.2", warmUp: 60 });
  const endpoint = readEndpoint(server);
  const watch = await startWatch([endpoint], () => listProcess(server));
  const { session, poll } = watch;
  const readLaunch = createServerInfoReader(session);
  const watched = session.watched.get(endpoint.key);
  if (watched === undefined) throw new Error("It is not watched");
  const knowsServer = (): unknown => session.state.endpoints[0].server;

  await readLaunch(watched);
  assertEquals(knowsServer(), null, "nothing is asked of what has not answered");
  for (let i = 0; i < 3; i++) {
    await poll(endpoint);
    await readLaunch(watched);
  }
  const aside = (): number => server.requests.filter((one) => one !== "GET /metrics").length;
  assertEquals(aside(), 2);
  assertEquals(session.state.endpoints[0].server?.version, "0.10.2");
  assertEquals(session.state.endpoints[0].server?.models.length, 1);
  assertEquals(
    session.state.endpoints[0].server?.launch?.parallelSizes.get("tensor-parallel-size"),
    2,
  );

  const { port } = server;
  await server.close();
  await poll(endpoint);
  server = await startVllmServer({ version: "0.11.0", port, seed: 2, warmUp: 1 });
  for (let i = 0; i < 2; i++) {
    await poll(endpoint);
    await readLaunch(watched);
  }
  assertEquals(aside(), 2);
  assertEquals(session.state.endpoints[0].server?.version, "0.11.0");
  assertEquals(session.state.endpoints[0].history.restartCount, 1);
  closeAll(watch);
  await server.close();
});

Deno.test("lookAgain() takes what a source has found at once, and asks pods that have changed their state soon", async () => {
  const pod: PodFacts = {
    ...{ namespace: "prod", name: "llama", node: null, container: "vllm", state: "pending" },
    ...{ reason: null, restarts: [], gpus: [], startedAt: null },
  };
  const create = (port: number, more: Partial<Endpoint> = {}): TypedEndpoint => ({
    endpoint: { ...createEndpoint(port, "llama.prod.pod"), pod, ...more },
    basicAuth: null,
  });
  let found: readonly TypedEndpoint[] = [1, 2, 3].map((port) => create(port));
  const source: Source = {
    getInterval: () => 15,
    look: () => Promise.resolve({ found, goneKeys: [], notices: null }),
  };
  const { session } = await startWatch([]);
  const messages: string[] = [];
  session.record = ({ kind }) => messages.push(kind);
  await lookAgain(session, source);
  assertEquals(messages, ["endpoints_found"]);
  const listAsked = () =>
    [...session.watched.values()].filter(({ requestedAt }) => requestedAt !== null)
      .map(({ endpoint: { address } }) => address);
  assertEquals(listAsked().length, 3, "new ones at once");
  for (const one of session.watched.values()) one.requestedAt = null;
  found = [create(1, { pace: 3 }), create(2, { pod: { ...pod, state: "ready" } }), create(4)];
  await lookAgain(session, source);
  assertEquals(messages, ["endpoints_found", "endpoints_found"]);
  assertEquals(listAsked(), ["llama.prod.pod:2", "llama.prod.pod:4"]);
  for (const one of session.watched.values()) one.requestedAt = null;
  dispatch(session, createFailed(found[0].endpoint, 1, "cluster"));
  await lookAgain(session, source);
  assertEquals(listAsked(), ["llama.prod.pod:1"], "it may be reached again");
  const [paced, ready] = session.state.endpoints;
  assertEquals([paced.schedule.pace, ready.endpoint.pod?.state], [3, "ready"]);
  session.stop.abort();
  for (const { scraper } of session.watched.values()) scraper.close();
});
