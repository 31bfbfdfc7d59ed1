/**
 * What is to be watched: the servers named, those of the demo, or those that a
 * scan finds; and each of them opened.
 *
 * Where a
 * scan finds nothing it is said what was looked at, and the usual address is
 * watched, so that a person sees why it does not answer. A server that a scan
 * found gets no credentials: nobody named it.
 *
 * @module
 */

import { EXIT_CONFIGURATION, EXIT_ENDPOINT_DOWN } from "./cli_help.ts";
import type { Options } from "./cli_options.ts";
import { createDemo } from "./demo.ts";
import {
  createScanner,
  createServerPortLister,
  type Scanner,
  type ScanResult,
} from "./discovery_scan.ts";
import {
  DEFAULT_PORT,
  isLocal,
  isLoopbackHost,
  parseEndpointUrl,
  type TypedEndpoint,
} from "./endpoint.ts";
import { createProcessLister, type ProcessLister } from "./host_processes.ts";
import type { Endpoint } from "./model.ts";
import type { Platform } from "./platform.ts";
import { createScraper, type Scraper } from "./scrape.ts";
import { type EndpointAccess, openAccess } from "./scrape_credentials.ts";
import type { Seconds } from "./units.ts";

/** What is watched, and what there is to say about how it was found. */
export interface TargetSet {
  readonly platform: Platform;
  readonly endpoints: readonly TypedEndpoint[];
  readonly notices: readonly string[];
  readonly isDemo: boolean;
  /** What goes on looking for servers; `null` where they were named. */
  readonly scanner: Scanner | null;
  /** Key of the endpoint that is watched because nothing was found; `null` where it was. */
  readonly fallbackKey: string | null;
  /** Lists the processes of this machine; `null` where that is not possible or there is no use for it. */
  readonly listProcesses: ProcessLister | null;
}

/** A run that cannot start: what to say, and the code to end with. */
export interface DiscoveryError {
  readonly message: string;
  readonly exitCode: number;
}

/** An endpoint with what it takes to ask it. */
export interface OpenedEndpoint {
  readonly endpoint: Endpoint;
  readonly access: EndpointAccess;
  readonly scraper: Scraper;
}

/** How long nobody minds seeing nothing (clig.dev: print something within 100 ms). */
const SCAN_MESSAGE_DELAY: Seconds = 0.08;

/** Where an implicit scan found nothing, this is watched: the user sees why it does not answer. */
const FALLBACK_URL = `http://localhost:${DEFAULT_PORT}`;

function includesFallbackPort({ first, last }: Options["portRange"]): boolean {
  return first <= DEFAULT_PORT && DEFAULT_PORT <= last;
}

function chooseDemo(platform: Platform, options: Options): TargetSet {
  const demo = createDemo(platform, options.demoSeed);
  return {
    ...demo,
    notices: [],
    isDemo: true,
    scanner: null,
    fallbackKey: null,
    listProcesses: null,
  };
}

/** What a scan has to say of what it did not watch. */
export function describeScan({ others, problems }: ScanResult): readonly string[] {
  return [...others.map(({ port, name }) => `port ${port}: ${name}`), ...problems];
}

/** Where nothing was found: the demo, the usual address, or a refusal. */
function chooseFallback(
  platform: Platform,
  options: Options,
  scan: { readonly scanner: Scanner; readonly result: ScanResult },
): TargetSet | DiscoveryError {
  const { host, portRange: { first, last }, scansProcesses } = options;
  const beside = scansProcesses && isLoopbackHost(host) ? " and the ports of its processes" : "";
  const place = `${host}, ports ${first} to ${last}${beside}`;
  const message = [`no vLLM server answers on ${place}`, ...describeScan(scan.result)].join("; ");
  if (options.auto) return { message, exitCode: EXIT_ENDPOINT_DOWN };
  const { stdinIsTerminal, stdoutIsTerminal, writeStderr } = platform.stdio;
  if (options.orDemo && stdinIsTerminal && stdoutIsTerminal) {
    writeStderr(`vllm-htop: ${message}; showing a demo\n`);
    return chooseDemo(platform, options);
  }
  const hint = `${message}; give one with --url, or try --demo`;
  // Another place was asked for: this machine's server would be the wrong answer.
  const isElsewhere = host !== "localhost" || !includesFallbackPort(options.portRange);
  if (isElsewhere) return { message: hint, exitCode: EXIT_ENDPOINT_DOWN };
  const fallback = parseEndpointUrl(FALLBACK_URL);
  if ("error" in fallback) throw new Error(fallback.error);
  return {
    platform,
    endpoints: [{ ...fallback, endpoint: { ...fallback.endpoint, isGuess: true } }],
    notices: [hint],
    isDemo: false,
    scanner: scan.scanner,
    fallbackKey: fallback.endpoint.key,
    listProcesses: createProcessLister(platform),
  };
}

/** Scans, and says so where that takes so long that a person at a terminal would wonder. */
async function scanAloud(
  platform: Platform,
  { host, portRange }: Options,
  scanner: Scanner,
): Promise<ScanResult> {
  const scanning = scanner.scan();
  const patience = platform.sleep(SCAN_MESSAGE_DELAY).then(() => null);
  if (await Promise.race([scanning, patience]) === null && platform.stdio.stderrIsTerminal) {
    const place = `${host}, ports ${portRange.first} to ${portRange.last}`;
    platform.stdio.writeStderr(`vllm-htop: scanning ${place} …\n`);
  }
  return await scanning;
}

/** The servers to watch: those named, those of the demo, or those that a scan finds. */
export async function findTargets(
  platform: Platform,
  options: Options,
): Promise<TargetSet | DiscoveryError> {
  if (options.demo) return chooseDemo(platform, options);
  const listProcesses = createProcessLister(platform);
  const common = { platform, isDemo: false, fallbackKey: null, listProcesses };
  if (options.endpoints.length > 0) {
    return { ...common, endpoints: options.endpoints, notices: [], scanner: null };
  }
  const isHere = isLoopbackHost(options.host) && options.scansProcesses;
  const scanner = createScanner(platform, {
    ...options,
    listServerPorts: isHere && listProcesses !== null
      ? createServerPortLister(listProcesses)
      : null,
  });
  const result = await scanAloud(platform, options, scanner);
  if (result.found.length === 0) return chooseFallback(platform, options, { scanner, result });
  const endpoints = result.found.map((endpoint) => ({ endpoint, basicAuth: null }));
  return { ...common, endpoints, notices: describeScan(result), scanner };
}

/** The endpoint, with a remark when credentials travel to it unprotected. */
function warnOfPlainText(endpoint: Endpoint, access: EndpointAccess): Endpoint {
  const isProtected = endpoint.metricsUrl.startsWith("https:") || isLocal(endpoint);
  if (isProtected || !access.sendsCredentials) return endpoint;
  const warning = "credentials are sent unencrypted: use https";
  return { ...endpoint, warnings: [...endpoint.warnings, warning] };
}

/** An endpoint's label, credentials and scraper. */
export async function openEndpoint(
  platform: Platform,
  typed: TypedEndpoint,
  options: Options,
): Promise<OpenedEndpoint | DiscoveryError> {
  const isNamed = options.endpoints.length > 0;
  // A scanned port is nobody that the user trusts with credentials.
  const access = await openAccess(
    platform,
    typed,
    isNamed ? options : { ...options, credentialSources: [], insecureEndpointKeys: [] },
  );
  if ("error" in access) return { message: access.error, exitCode: EXIT_CONFIGURATION };
  const { timeout, metricPrefix, labels } = options;
  const label = labels.get(typed.endpoint.key);
  const endpoint = warnOfPlainText(typed.endpoint, access);
  const scraper = await createScraper(platform, endpoint, { access, timeout, metricPrefix });
  return { endpoint: label === undefined ? endpoint : { ...endpoint, label }, access, scraper };
}
