/**
 * Chooses the endpoints to watch (named, listed, demo or scanned) and opens them. Endpoints found by
 * a scan get no credentials.
 * @module
 */

import { EXIT_CONFIGURATION, EXIT_ENDPOINT_DOWN } from "./cli_exit.ts";
import { markInsecure } from "./cli_credentials.ts";
import type { Options } from "./cli_options.ts";
import type { Scanner } from "./discovery_scan.ts";
import { createServerPortLister } from "./discovery_ports.ts";
import {
  listScanNotices,
  NOTHING_WATCHED,
  type ScanResult,
  type Source,
  type SourceNotices,
} from "./discovery_source.ts";
import type { SshWatch } from "./discovery_ssh.ts";
import { DIALECTS, USUAL_PORTS } from "./dialect.ts";
import type { Launch } from "./dialect_model.ts";
import {
  DEFAULT_PORT,
  getHostAndPort,
  isLocal,
  isLoopbackHost,
  parseEndpointUrl,
  type TypedEndpoint,
} from "./endpoint.ts";
import { createHost, type Host, LOCAL_HOST } from "./host.ts";
import { findCommandLineOf, listInnerServersOf } from "./host_commands.ts";
import type { ProcessLister } from "./host_processes.ts";
import type { Endpoint } from "./model.ts";
import type { Platform } from "./platform.ts";
import type { Scraper } from "./scrape.ts";
import { createLateScraper } from "./scrape_late.ts";
import { createSaidLaunch, type ScrapePool } from "./scrape_pool.ts";
import { type EndpointAccess, openAccess } from "./scrape_credentials.ts";
import type { PageClient } from "./scrape_page.ts";
import type { Seconds } from "./units.ts";

export interface TargetSet {
  readonly platform: Platform;
  readonly endpoints: readonly TypedEndpoint[];
  readonly isDemo: boolean;
  /** Of endpoints that come and go, with their notices. */
  readonly sources: SourceNotices;
  /** This machine. */
  readonly here: Host;
  readonly sshWatches: readonly SshWatch[];
}

export interface DiscoveryError {
  readonly message: string;
  readonly exitCode: number;
}

export interface OpenedEndpoint {
  readonly endpoint: Endpoint;
  readonly access: EndpointAccess;
  readonly scraper: Scraper;
}

export const SCAN_INTERVAL: Seconds = 30;
const MIN_PAGE_TIMEOUT: Seconds = 30;
/** Print something within 100 ms (clig.dev). */
const SCAN_MESSAGE_DELAY: Seconds = 0.08;
/** Watched if a default scan finds nothing: its error tells the user what is wrong. */
const FALLBACK_URL = `http://localhost:${DEFAULT_PORT}`;

function includesFallbackPort({ first, last }: Options["portRange"]): boolean {
  return first <= DEFAULT_PORT && DEFAULT_PORT <= last;
}

async function chooseDemo(platform: Platform, options: Options): Promise<TargetSet> {
  // Loaded here: few want it, and it takes 5 ms.
  const { createDemo } = await import("./demo.ts");
  const demo = createDemo(platform, options.demoSeed, options.demoFleet);
  const { name: serverName } = DIALECTS[0];
  return {
    ...demo,
    endpoints: demo.endpoints.map((typed) => ({
      ...typed,
      endpoint: { serverName, ...typed.endpoint },
    })),
    isDemo: true,
    sources: new Map(),
    here: createHost(LOCAL_HOST, demo.platform),
    sshWatches: [],
  };
}

/** A scan repeated. Its fallback goes as soon as anything is found. */
export function createScanSource(
  scanner: Scanner,
  found: readonly Endpoint[],
  fallbackKey: string | null,
): Source {
  const own = new Set(found.map(({ key }) => key));
  return {
    getInterval: () => SCAN_INTERVAL,
    look: async ({ keys, hasAnswered, isGone }) => {
      const result = await scanner.scan(keys);
      for (const { key } of result.found) own.add(key);
      const isFallback = (key: string): boolean => key === fallbackKey && !hasAnswered(key);
      const hasFound = result.found.length > 0 || [...keys].some((key) => !isFallback(key));
      return {
        found: result.found.map((endpoint) => ({ endpoint, basicAuth: null })),
        goneKeys: [...keys].filter((key) =>
          isFallback(key) ? hasFound : (own.has(key) || key === fallbackKey) && isGone(key)
        ),
        // Until then the notice of the start says more.
        notices: hasFound ? listScanNotices(result) : null,
      };
    },
  };
}

/** The scan found nothing: say so once, show the demo, watch the default port, or fail. */
async function chooseFallback(
  platform: Platform,
  options: Options,
  { scanner, result, here }: {
    readonly scanner: Scanner;
    readonly result: ScanResult;
    readonly here: Host;
  },
): Promise<TargetSet | DiscoveryError> {
  const { host, portRange: { first, last }, scansProcesses } = options;
  const more = !scansProcesses
    ? ""
    : isLoopbackHost(host) && here.listProcesses !== null
    ? " and the ports of its processes"
    : " and the usual ports of model servers";
  const range = `${host}, ports ${first} to ${last}${more}`;
  const remarks = [`no model server answers on ${range}`, ...listScanNotices(result)];
  const message = remarks.join("; ");
  const advice = "give one with --url, or try --demo";
  const common = { platform, isDemo: false, here, sshWatches: [] };
  const nothing = {
    ...common,
    endpoints: [],
    sources: new Map([[null, [...remarks, advice]]]),
  };
  if (options.doctor) return nothing;
  if (options.auto) return { message, exitCode: EXIT_ENDPOINT_DOWN };
  const { stdinIsTerminal, stdoutIsTerminal, writeStderr } = platform.stdio;
  if (options.orDemo && stdinIsTerminal && stdoutIsTerminal) {
    writeStderr(`vllm-htop: ${message}; showing a demo\n`);
    return await chooseDemo(platform, options);
  }
  const hint = `${message}; ${advice}`;
  // The user asked for another place: do not fall back to this machine.
  const isElsewhere = host !== "localhost" || !includesFallbackPort(options.portRange);
  if (isElsewhere) return { message: hint, exitCode: EXIT_ENDPOINT_DOWN };
  // Nobody named the default port: it is not down.
  if (options.once) return nothing;
  const fallback = parseEndpointUrl(FALLBACK_URL);
  if ("error" in fallback) throw new Error(fallback.error);
  return {
    ...common,
    endpoints: [{ ...fallback, endpoint: { ...fallback.endpoint, isGuess: true } }],
    sources: new Map([[createScanSource(scanner, [], fallback.endpoint.key), [hint]]]),
  };
}

/** Tells users at a terminal about a slow scan. */
async function scanWithMessage(
  platform: Platform,
  { host, portRange }: Options,
  scanner: Scanner,
): Promise<ScanResult> {
  const scanning = scanner.scan();
  const delay = platform.sleep(SCAN_MESSAGE_DELAY).then(() => null);
  if (await Promise.race([scanning, delay]) === null && platform.stdio.stderrIsTerminal) {
    const range = `${host}, ports ${portRange.first} to ${portRange.last}`;
    platform.stdio.writeStderr(`vllm-htop: scanning ${range} …\n`);
  }
  return await scanning;
}

/** For lists and queries, which may take longer than a scrape. */
async function openClient(
  platform: Platform,
  typed: TypedEndpoint,
  options: Options,
): Promise<PageClient | DiscoveryError> {
  const access = await openAccess(platform, typed, options);
  if ("error" in access) return { message: access.error, exitCode: EXIT_CONFIGURATION };
  const timeout = Math.max(options.timeout, MIN_PAGE_TIMEOUT);
  // Loaded here, as the sources are: few want them.
  const { createPageClient } = await import("./scrape_page.ts");
  return await createPageClient(platform, { access, timeout });
}

/** Named endpoints and those of files, as of now; servers that have lists are not asked yet. */
async function readLists(
  platform: Platform,
  options: Options,
): Promise<Pick<TargetSet, "endpoints" | "sources"> | DiscoveryError> {
  const endpoints = new Map(options.endpoints.map((typed) => [typed.endpoint.key, typed]));
  const sources = new Map<Source, readonly string[]>();
  for (const place of options.targetLists) {
    const client = place.kind === "file" ? null : await openClient(platform, place.typed, options);
    if (client !== null && "exitCode" in client) return client;
    const { createTargetSource } = await import("./discovery_targets.ts");
    const source = createTargetSource(platform, place, client);
    if (place.kind !== "file") {
      sources.set(source, [`asking "${place.typed.endpoint.key}"`]);
      continue;
    }
    const first = await source.look({ ...NOTHING_WATCHED, keys: new Set(endpoints.keys()) });
    const notices = first.notices ?? [];
    if (notices.length > 0) return { message: notices[0], exitCode: EXIT_CONFIGURATION };
    sources.set(source, notices);
    for (const typed of first.found) endpoints.set(typed.endpoint.key, typed);
  }
  for (const typed of options.prometheus) {
    const client = await openClient(platform, typed, options);
    if ("exitCode" in client) return client;
    const { prometheusMatcher: matcher, metricPrefix } = options;
    const { createPrometheusSource } = await import("./discovery_prometheus.ts");
    const source = createPrometheusSource(platform, typed, { client, matcher, metricPrefix });
    sources.set(source, [`asking "${typed.endpoint.key}"`]);
  }
  return { endpoints: [...endpoints.values()], sources };
}

/** Asks the cluster nothing yet. */
async function openCluster(
  platform: Platform,
  { kubernetes, timeout }: Options,
): Promise<Pick<TargetSet, "platform" | "sources">> {
  if (kubernetes === null) return { platform, sources: new Map() };
  // Loaded here: few want them.
  const { createKubectlCluster } = await import("./discovery_kubectl.ts");
  const { createKubernetesWatch } = await import("./discovery_kubernetes.ts");
  const { createServiceAccountCluster, findServiceAccount } = await import(
    "./discovery_service_account.ts"
  );
  const { context } = kubernetes;
  const limits = { timeout: Math.max(timeout, MIN_PAGE_TIMEOUT) };
  const account = context === null ? await findServiceAccount(platform) : null;
  const cluster = account === null
    ? await createKubectlCluster(platform, { context, ...limits })
    : await createServiceAccountCluster(platform, account, limits);
  const way = account === null ? "kubectl" : "the API server";
  const { platform: reaching, source } = createKubernetesWatch(platform, cluster, kubernetes);
  return { platform: reaching, sources: new Map([[source, [`asking ${way} for pods`]]]) };
}

async function openSshWatches(
  platform: Platform,
  options: Options,
): Promise<Pick<TargetSet, "platform" | "sshWatches">> {
  const { sshTargets, sshConfig: configFile, acceptsNewSshKeys: acceptsNewKeys } = options;
  if (sshTargets.length === 0) return { platform, sshWatches: [] };
  // Loaded here: few want it.
  const { createSshWatches } = await import("./discovery_ssh.ts");
  return createSshWatches(platform, sshTargets, {
    settings: { configFile, acceptsNewKeys },
    limits: { ...options, interval: SCAN_INTERVAL },
  });
}

/** A server of a scan is not trusted with credentials, unless they are for its very URL. */
function limitCredentials({ endpoint }: TypedEndpoint, options: Options): Options {
  // The API server would take them for its own.
  if (endpoint.pod !== undefined) {
    return { ...options, credentialSources: [], insecureEndpointKeys: [] };
  }
  if (endpoint.sshHost !== undefined) {
    const own = options.credentialSources.filter(({ endpointKey }) => endpointKey !== null);
    return { ...options, credentialSources: own };
  }
  return options.namesTargets
    ? options
    : { ...options, credentialSources: [], insecureEndpointKeys: [] };
}

export async function findTargets(
  platform: Platform,
  options: Options,
): Promise<TargetSet | DiscoveryError> {
  if (options.demo) return await chooseDemo(platform, options);
  const here = createHost(LOCAL_HOST, platform);
  const common = { platform, isDemo: false, here, sshWatches: [] };
  if (options.namesTargets) {
    const named = await readLists(platform, options);
    if ("exitCode" in named) return named;
    const { platform: reaching, sshWatches } = await openSshWatches(platform, options);
    const cluster = await openCluster(reaching, options);
    const sources = new Map([...named.sources, ...cluster.sources]);
    return { ...common, ...named, sshWatches, platform: cluster.platform, sources };
  }
  const listProcesses = isLoopbackHost(options.host) ? here.listProcesses : null;
  const ports = !options.scansProcesses
    ? {}
    : listProcesses === null
    ? { usualPorts: USUAL_PORTS }
    : { listServerPorts: createServerPortLister(listProcesses) };
  // Loaded here: named servers need none.
  const { createScanner } = await import("./discovery_scan.ts");
  const scanner = createScanner(platform, { ...options, ...ports });
  const result = await scanWithMessage(platform, options, scanner);
  if (result.found.length === 0) {
    return await chooseFallback(platform, options, { scanner, result, here });
  }
  const endpoints = result.found.map((endpoint) => ({ endpoint, basicAuth: null }));
  const source = createScanSource(scanner, result.found, null);
  return { ...common, endpoints, sources: new Map([[source, listScanNotices(result)]]) };
}

function warnOfPlainText(endpoint: Endpoint, access: EndpointAccess): Endpoint {
  const isProtected = endpoint.metricsUrl.startsWith("https:") || isLocal(endpoint) ||
    endpoint.sshHost !== undefined;
  if (isProtected || !access.sendsCredentials) return endpoint;
  const warning = "credentials are sent unencrypted: use https";
  return { ...endpoint, warnings: [...endpoint.warnings, warning] };
}

/** Of a server whose process is one of this machine; of others, what the endpoint says. */
function createLaunch(
  endpoint: Endpoint,
  { transport: { proxy } }: EndpointAccess,
  listProcesses: ProcessLister | null,
): Launch {
  const place = getHostAndPort(endpoint);
  const isHere = place !== null && isLoopbackHost(place.host) && proxy === undefined;
  const said = createSaidLaunch(endpoint);
  if (!isHere || listProcesses === null) return said;
  return {
    findCommandLine: async () =>
      findCommandLineOf(place.port, await listProcesses()) ?? await said.findCommandLine(),
    listInner: async () =>
      listInnerServersOf(place.port, await listProcesses())
        .map(({ port, process: { commandLine } }) => ({ port, commandLine })),
  };
}

export async function openEndpoint(
  platform: Platform,
  typed: TypedEndpoint,
  { options, pool, listProcesses }: {
    readonly options: Options;
    readonly pool: ScrapePool;
    /** Of this machine. */
    readonly listProcesses: ProcessLister | null;
  },
): Promise<OpenedEndpoint | DiscoveryError> {
  const allowed = limitCredentials(typed, options);
  const access = await openAccess(platform, typed, allowed);
  if ("error" in access) return { message: access.error, exitCode: EXIT_CONFIGURATION };
  const { timeout, metricPrefix, labels, engines } = options;
  const label = labels.get(typed.endpoint.key);
  const marked = markInsecure(typed, allowed.insecureEndpointKeys);
  const serverName = engines.get(typed.endpoint.key) ?? engines.get(null);
  const known = serverName === undefined ? marked.endpoint : { ...marked.endpoint, serverName };
  const endpoint = warnOfPlainText(known, access);
  const scraper = createLateScraper(platform, endpoint, {
    access,
    timeout,
    metricPrefix,
    pool,
    identifies: true,
    launch: createLaunch(endpoint, access, listProcesses),
  });
  return { endpoint: label === undefined ? endpoint : { ...endpoint, label }, access, scraper };
}
