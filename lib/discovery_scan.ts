/**
 * A host's ports and processes -> its model servers, and what else answers. Every port of the
 * range, and on this machine those that `host_processes` finds, is tried for a connection at once;
 * every open one is scraped at once, each with its own limit, so that a silent port costs that
 * limit once. What answers without metrics is asked who it is. Only GETs of three paths are sent,
 * and no credentials: the user did not name these servers. Later scans skip watched ports, and probe others
 * again only after a pause.
 * @module
 */

import { createBackOff } from "./back_off.ts";
import { findDialect, identifyOwner } from "./dialect.ts";
import { isLoopbackHost, parseEndpointUrl } from "./endpoint.ts";
import type { ServerPort, ServerPortLister, StartingPort } from "./discovery_ports.ts";
import type { ScanResult } from "./discovery_source.ts";
import { getLocalHost } from "./host_processes.ts";
import type { Endpoint, FailureKind } from "./model.ts";
import type { Platform } from "./platform.ts";
import { createScraper, type ScraperFailure } from "./scrape.ts";
import { isScrapeFailure } from "./scrape_pool.ts";
import { type EndpointAccess, openAccess } from "./scrape_credentials.ts";
import { fetchServerIdentity } from "./scrape_server_info.ts";
import type { Seconds } from "./units.ts";

export interface Scanner {
  /** @param watchedKeys Skips the ports of these endpoints. */
  readonly scan: (watchedKeys?: ReadonlySet<string>) => Promise<ScanResult>;
}

export interface ScanOptions {
  /** An IPv6 address is in brackets. */
  readonly host: string;
  /** Both ends included. */
  readonly portRange: { readonly first: number; readonly last: number };
  /** `null` for the first dialect's prefixes. */
  readonly metricPrefix: string | null;
  /** For one port's response. */
  readonly timeout: Seconds;
  /** A host behind ssh, whose name is `host`. */
  readonly sshHost?: string;
  /** Outside the range, where processes are unknown. */
  readonly usualPorts?: readonly number[];
  /** `null` scans no ports by their processes. */
  readonly listServerPorts?: ServerPortLister | null;
}

/** Closed ports refuse at once, but a busy machine is slow. */
const LOOPBACK_CONNECT_LIMIT: Seconds = 0.5;
const CONNECT_LIMIT: Seconds = 1;
/** Twice what 64 engines need. */
const LOOPBACK_ANSWER_LIMIT: Seconds = 1;
const ANSWER_LIMIT: Seconds = 3;
const MAX_PARALLEL_PORTS = 256;
/** Servers listen on either address of `localhost`. */
const LOCALHOST_ADDRESSES: readonly string[] = ["127.0.0.1", "::1"];
/** A server may replace another program between scans. */
const getProbePause = createBackOff({ initial: 60, max: 600 });

/** May be a model server. */
const FAILURE_NAMES: Readonly<Partial<Record<FailureKind, string>>> = {
  timeout: "no answer in time: if it is a busy model server, name it with --url",
  reset: "closes the connection",
  unauthorized: "requires credentials: if it is a model server, name it with --url",
  server_error: "a server error: if it is a model server, name it with --url",
  proxy: "not reached through the proxy",
};

/** What an HTTP server that is no model server answers to a scrape. */
const OTHER_ANSWERS: Readonly<Partial<Record<FailureKind, string>>> = {
  not_found: "no metrics page",
  http_status: "no metrics page",
  redirect: "redirects elsewhere",
  html: "a web page",
  empty: "an empty metrics page",
  not_exposition: "no metrics",
  other_server: "other metrics",
  truncated: "a truncated response",
  too_large: "a response that is too large",
};

function describeUnknown({ kind, serverName }: ScraperFailure, version: string | null): string {
  if (serverName !== undefined) return `perhaps ${serverName} with its metrics off`;
  const answer = OTHER_ANSWERS[kind];
  if (answer === undefined) return FAILURE_NAMES[kind] ?? "not an HTTP server";
  return `other server${version === null ? "" : `, version ${version}`}, not watched: ${answer}`;
}

/** Up to `MAX_PARALLEL_PORTS` at once; results in the order of the items. */
async function mapInParallel<T, R>(
  items: readonly T[],
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  for (let start = 0; start < items.length; start += MAX_PARALLEL_PORTS) {
    results.push(...await Promise.all(items.slice(start, start + MAX_PARALLEL_PORTS).map(work)));
  }
  return results;
}

/**
 * The host that accepts connections, or `null`. A server on `::1` only goes by that address:
 * `localhost` may not lead there.
 */
async function probePort(platform: Platform, host: string, port: number): Promise<string | null> {
  const limit = isLoopbackHost(host) ? LOOPBACK_CONNECT_LIMIT : CONNECT_LIMIT;
  if (host !== "localhost") {
    const address = host.replace(/^\[(.*)\]$/, "$1");
    return await platform.acceptsConnections(address, port, limit) ? host : null;
  }
  const [acceptsIpv4, acceptsIpv6] = await Promise.all(
    LOCALHOST_ADDRESSES.map((address) => platform.acceptsConnections(address, port, limit)),
  );
  return acceptsIpv4 ? host : acceptsIpv6 ? "[::1]" : null;
}

interface OpenPort {
  readonly port: number;
  readonly endpoint: Endpoint;
  /** In the user's range: always reported. */
  readonly isInRange: boolean;
  /** What its owner reveals. */
  readonly process: ServerPort | null;
}

type ProbeResult =
  | { readonly kind: "server"; readonly serverName: string | null }
  | { readonly kind: "other"; readonly name: string; readonly isNamed: boolean };

interface KnownPort {
  readonly verdict: ProbeResult;
  readonly owners: string;
  readonly probeAgainAt: Seconds;
  /** Probes in a row that found no server to watch. */
  readonly failures: number;
}

/** HTTP servers that may reveal themselves on other paths. */
const HTTP_FAILURES: ReadonlySet<FailureKind> = new Set([
  "unauthorized",
  "not_found",
  "server_error",
  "http_status",
  "redirect",
  "html",
  "empty",
  "not_exposition",
  "other_server",
  "stats_disabled",
  "truncated",
  "too_large",
]);

/** Failures of a port that a command line declares as a server's API. */
const DECLARED_FAILURES: ReadonlySet<FailureKind> = new Set([
  ...HTTP_FAILURES,
  ...["timeout", "tls", "reset"] as const,
]);

function createEndpoint(scheme: "http" | "https", host: string, port: number): Endpoint {
  const typed = parseEndpointUrl(`${scheme}://${host}:${port}`);
  if ("error" in typed) throw new Error(`Cannot scan: ${typed.error}`);
  return typed.endpoint;
}

/**
 * Identifies what has no metrics. A 401 on every path proves nothing, and many servers answer
 * `/version`: vLLM also lists its models, or shows that its metrics are off.
 */
async function classifyFailure(
  platform: Platform,
  open: OpenPort,
  { failure, access, timeout }: {
    readonly failure: ScraperFailure;
    readonly access: EndpointAccess;
    readonly timeout: Seconds;
  },
): Promise<ProbeResult> {
  const server: ProbeResult = { kind: "server", serverName: open.endpoint.serverName ?? null };
  const { endpoint, process } = open;
  const name = (name: string): ProbeResult => ({ kind: "other", name, isNamed: true });
  let knownVersion: string | null = null;
  const nameOther = (serverName: string): ProbeResult => name(`${serverName}, not watched`);
  if (failure.serverName !== undefined && failure.kind !== "stats_disabled") {
    return nameOther(failure.serverName);
  }
  if (failure.kind === "loading") return server;
  if (process?.isDeclared && DECLARED_FAILURES.has(failure.kind)) return server;
  if (HTTP_FAILURES.has(failure.kind)) {
    if (findDialect(process?.serverName) !== null) return server;
    const { version, models } = await fetchServerIdentity(platform, endpoint, { access, timeout });
    const owner = identifyOwner(models?.owners ?? []) ?? process?.serverName ?? null;
    const dialect = findDialect(owner);
    if (owner !== null && dialect === null) return nameOther(owner);
    const isModelServer = models !== null || failure.kind === "stats_disabled";
    if (version !== null && isModelServer && dialect?.answersVersion !== false) return server;
    if (dialect !== null) {
      const { enablingOption: option } = dialect;
      const step = option === undefined
        ? "name its own port with --url"
        : `start it with ${option}`;
      return name(`${owner}'s models without its metrics: ${step}`);
    }
    knownVersion = version;
  }
  const label = describeUnknown(failure, knownVersion);
  return { kind: "other", name: label, isNamed: knownVersion !== null };
}

async function probeMetrics(
  platform: Platform,
  open: OpenPort,
  options: ScanOptions,
): Promise<ProbeResult> {
  const answerLimit = isLoopbackHost(options.host) ? LOOPBACK_ANSWER_LIMIT : ANSWER_LIMIT;
  const timeout = options.sshHost ? options.timeout : Math.min(options.timeout, answerLimit);
  const access = await openAccess(platform, { endpoint: open.endpoint, basicAuth: null }, {
    credentialSources: [],
    insecureEndpointKeys: [],
  });
  if ("error" in access) return { kind: "other", name: access.error, isNamed: true };
  const scraper = await createScraper(platform, open.endpoint, {
    access,
    timeout,
    metricPrefix: options.metricPrefix,
    identifies: true,
  });
  try {
    const outcome = await scraper.scrape();
    return isScrapeFailure(outcome)
      ? await classifyFailure(platform, open, { failure: outcome, access, timeout })
      : {
        kind: "server",
        serverName: scraper.getServerName() ?? outcome.engines[0]?.server.name ?? null,
      };
  } finally {
    scraper.close();
  }
}

/** By any name of this machine. */
function isWatched(host: string, port: number, watchedKeys: ReadonlySet<string>): boolean {
  const hosts = host === "localhost" ? ["localhost", "127.0.0.1", "[::1]"] : [host];
  return hosts.some((host) =>
    (["http", "https"] as const).some((scheme) =>
      watchedKeys.has(createEndpoint(scheme, host, port).key)
    )
  );
}

/** The ports that accept connections and are not watched. */
async function probePorts(
  platform: Platform,
  places: readonly { readonly host: string; readonly port: number }[],
  watchedKeys: ReadonlySet<string>,
): Promise<readonly { readonly host: string; readonly port: number }[]> {
  const unwatched = places.filter(({ host, port }) => !isWatched(host, port, watchedKeys));
  const hosts = await mapInParallel(unwatched, ({ host, port }) => probePort(platform, host, port));
  return unwatched.flatMap(({ port }, i) => {
    const host = hosts[i];
    return host === null ? [] : [{ host, port }];
  });
}

function describeEndpoint(
  { host, sshHost }: Pick<ScanOptions, "host" | "sshHost">,
  port: number,
  process: StartingPort | null,
): Endpoint {
  const serverName = findDialect(process?.serverName)?.name;
  const commandLine = process?.launch?.commandLine;
  return {
    ...{ ...createEndpoint(process?.isTls ? "https" : "http", host, port), sshHost },
    ...(serverName === undefined ? {} : { serverName }),
    ...(commandLine === undefined ? {} : { commandLine }),
  };
}

/** Open ports of the range, and others that may be a server's. */
async function findOpenPorts(
  platform: Platform,
  options: ScanOptions,
  watchedKeys: ReadonlySet<string>,
): Promise<{
  readonly open: readonly OpenPort[];
  readonly starting: readonly Endpoint[];
  readonly problems: readonly string[];
}> {
  const { host, portRange: { first, last }, sshHost } = options;
  const isInRange = (port: number): boolean => port >= first && port <= last;
  const range = Array.from({ length: last - first + 1 }, (_, i) => ({ host, port: first + i }));
  const usual = options.usualPorts?.filter((port) => !isInRange(port)) ?? [];
  const places = [...range, ...usual.map((port) => ({ host, port }))];
  const [atHost, listing] = await Promise.all([
    probePorts(platform, places, watchedKeys),
    options.listServerPorts?.() ?? { ports: [], starting: [], problems: [] },
  ]);
  // Their models are watched with the servers that started them.
  const inner = new Set(
    listing.ports.filter(({ launch }) => launch?.outerPorts !== undefined).map(({ port }) => port),
  );
  const outsideRange = listing.ports.filter(({ port }) => !isInRange(port))
    .map((process) => ({ host: sshHost ?? getLocalHost(process), port: process.port }));
  const outside = await probePorts(platform, outsideRange, watchedKeys);
  const answering = [...atHost, ...outside].filter(({ port }) => !inner.has(port));
  const open = answering.map(({ host, port }): OpenPort => {
    const process = listing.ports.find((process) => process.port === port) ?? null;
    const endpoint = describeEndpoint({ host, sshHost }, port, process);
    return { port, endpoint, isInRange: isInRange(port), process };
  });
  const starting = listing.starting.filter(({ port }) =>
    !isWatched(host, port, watchedKeys) && !open.some((one) => one.port === port)
  );
  return {
    open: open.toSorted((a, b) => a.port - b.port),
    starting: starting.map((process) => describeEndpoint(options, process.port, process)),
    problems: listing.problems,
  };
}

/**
 * Remembers what it has probed.
 * @throws {Error} By its scans, if `host` cannot be part of a URL.
 */
export function createScanner(platform: Platform, options: ScanOptions): Scanner {
  let knownPorts: ReadonlyMap<string, KnownPort> = new Map();

  const probeOpenPort = async (open: OpenPort): Promise<KnownPort> => {
    const now = platform.monotonicSeconds();
    const owners = (open.process?.ownerPids ?? []).toSorted().join(" ");
    const known = knownPorts.get(open.endpoint.key);
    const isSame = known !== undefined && known.owners === owners && known.verdict.kind === "other";
    if (isSame && now < known.probeAgainAt) return known;
    const failures = isSame ? known.failures + 1 : 1;
    const verdict = await probeMetrics(platform, open, options);
    return { verdict, owners, probeAgainAt: now + getProbePause(failures), failures };
  };

  const scan = async (watchedKeys: ReadonlySet<string> = new Set()): Promise<ScanResult> => {
    const { open, starting, problems } = await findOpenPorts(platform, options, watchedKeys);
    const results = await mapInParallel(open, probeOpenPort);
    // Forget closed ports: whatever opens them next is probed.
    knownPorts = new Map(open.map(({ endpoint }, i) => [endpoint.key, results[i]]));
    const found: Endpoint[] = [];
    const others: { port: number; name: string }[] = [];
    for (const [i, { verdict }] of results.entries()) {
      const { port, endpoint, isInRange } = open[i];
      if (verdict.kind === "server") {
        const { serverName } = verdict;
        found.push(serverName === null ? endpoint : { ...endpoint, serverName });
      } else if (isInRange || verdict.isNamed) others.push({ port, name: verdict.name });
    }
    return { found: [...found, ...starting], others, problems };
  };
  return { scan };
}
