/**
 * A host and a range of ports -> the vLLM servers there, and what else answers.
 *
 * Layer 5, effects: TCP and HTTP through `Platform`. First every port is tried
 * for a connection, at once and with a short limit; then every open one is
 * asked for `/metrics`, at once, with a limit of its own, so that a port that
 * accepts and never answers costs that limit once. Nothing but GET of /metrics
 * is sent, and never a credential: nobody asked for these servers by name. What
 * counts as vLLM is `scraper`'s judgement. Durations in seconds.
 *
 * @module
 */

import { ANONYMOUS_ACCESS } from "./credentials.ts";
import { isLoopbackHost, parseEndpointUrl } from "./endpoint_url.ts";
import type { Endpoint, FailureKind } from "./model.ts";
import type { Platform } from "./platform.ts";
import { createScraper, isScrapeFailure, type ScraperFailure } from "./scraper.ts";
import type { Seconds } from "./units.ts";

/** What a scan found. */
export interface ScanResult {
  /** The vLLM servers, in the order of their ports. */
  readonly found: readonly Endpoint[];
  /** Open ports where something else answers, or nothing, in order; `name` says what, safe to print. */
  readonly others: readonly { readonly port: number; readonly name: string }[];
  /** Ports that accept connections. */
  readonly openPortCount: number;
}

/** What is scanned. */
export interface ScanOptions {
  /** A name or an address; an IPv6 address is in brackets. */
  readonly host: string;
  /** Both ends included. */
  readonly portRange: { readonly first: number; readonly last: number };
  /** What stands in place of `vllm:`, or `null` for the prefixes that are known. */
  readonly metricPrefix: string | null;
  /** Upper limit of what one port may take to answer. */
  readonly timeout: Seconds;
}

/** How long a port on this machine may take to accept. */
const LOOPBACK_CONNECT_LIMIT: Seconds = 0.1;

/** How long a port elsewhere may take to accept. */
const CONNECT_LIMIT: Seconds = 1;

/** How long an open port on this machine may take to answer: twice what 64 engines need. */
const LOOPBACK_ANSWER_LIMIT: Seconds = 1;

/** How long an open port elsewhere may take to answer. */
const ANSWER_LIMIT: Seconds = 3;

/** Ports that are tried at the same time. */
const PARALLEL_PORTS = 256;

/** The addresses that `localhost` may stand for: servers listen on either of them. */
const LOCALHOST_ADDRESSES: readonly string[] = ["127.0.0.1", "::1"];

/** What answers at an open port, in a few words. */
const FAILURE_NAMES: Readonly<Partial<Record<FailureKind, string>>> = {
  timeout: "no answer in time: if it is a busy vLLM, name it with --url",
  reset: "closes the connection",
  unauthorized: "wants credentials: if it is vLLM, name it with --url",
  not_found: "no metrics page",
  server_error: "a server error: if it is vLLM, name it with --url",
  http_status: "no metrics page",
  redirect: "redirects elsewhere",
  html: "a web page",
  empty: "an empty metrics page",
  not_exposition: "no metrics",
  stats_disabled: "perhaps vLLM with --disable-log-stats",
  truncated: "an answer that was cut off",
  too_large: "an answer that was too large",
};

/** Runs `work` on each item, up to `PARALLEL_PORTS` of them at once; results in the items' order. */
async function mapInParallel<T, R>(
  items: readonly T[],
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  for (let start = 0; start < items.length; start += PARALLEL_PORTS) {
    results.push(...await Promise.all(items.slice(start, start + PARALLEL_PORTS).map(work)));
  }
  return results;
}

/**
 * The host under which a port accepts connections, or `null`. A server that
 * listens only on `::1` goes by that address, as `localhost` may not lead there.
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

/** What is at an open port: an endpoint if it is vLLM, else the failure of asking it. */
async function askPort(
  platform: Platform,
  url: string,
  options: ScanOptions,
): Promise<Endpoint | ScraperFailure> {
  const typed = parseEndpointUrl(url);
  if ("error" in typed) throw new Error(`Cannot scan: ${typed.error}`);
  const { endpoint } = typed;
  const answerLimit = isLoopbackHost(options.host) ? LOOPBACK_ANSWER_LIMIT : ANSWER_LIMIT;
  const scraper = await createScraper(platform, endpoint, {
    access: ANONYMOUS_ACCESS,
    timeout: Math.min(options.timeout, answerLimit),
    metricPrefix: options.metricPrefix,
  });
  try {
    const outcome = await scraper.scrape();
    return isScrapeFailure(outcome) ? outcome : endpoint;
  } finally {
    scraper.close();
  }
}

/** What else answers: the server's own name where it is known. */
function nameOther({ kind, serverName }: ScraperFailure): string {
  if (serverName !== undefined) return `${serverName}, not vLLM`;
  return FAILURE_NAMES[kind] ?? "not an HTTP server";
}

/**
 * The vLLM servers of a host.
 *
 * @throws {Error} If `host` cannot stand in a URL.
 */
export async function scanPorts(platform: Platform, options: ScanOptions): Promise<ScanResult> {
  const { host, portRange: { first, last } } = options;
  const ports = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const hosts = await mapInParallel(ports, (port) => probePort(platform, host, port));
  const open = ports.flatMap((port, i) => {
    const reachedAs = hosts[i];
    return reachedAs === null ? [] : [{ port, url: `http://${reachedAs}:${port}` }];
  });
  const outcomes = await mapInParallel(open, ({ url }) => askPort(platform, url, options));
  const found: Endpoint[] = [];
  const others: { port: number; name: string }[] = [];
  for (const [i, outcome] of outcomes.entries()) {
    if ("kind" in outcome) others.push({ port: open[i].port, name: nameOther(outcome) });
    else found.push(outcome);
  }
  return { found, others, openPortCount: open.length };
}
