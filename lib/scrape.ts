/**
 * One endpoint -> scrape or failure. Holds the HTTP policy: plain text format 0.0.4, no compression
 * asked, one request at a time, one time limit over connection, headers, body and redirects, a cap
 * on inflated bytes, redirects only within the origin. A truncated body is refused whole: half a
 * histogram is a wrong one. Times are monotonic seconds, stamped when the last byte arrives.
 *
 * Rejected: redirects by `fetch`, which carry `x-api-key` to other hosts.
 * @module
 */

import { identifyServer } from "./dialect.ts";
import { createReaderFactory, type EngineExposition, type EngineReader } from "./dialect_reader.ts";
import type { Endpoint, Scrape, ScrapeFailure } from "./model.ts";
import {
  finishStepsWithPauses,
  type HttpClient,
  type HttpResponse,
  type Platform,
} from "./platform.ts";
import { createBufferPool, readBody } from "./scrape_body.ts";
import { type EndpointAccess, joinHeaders } from "./scrape_credentials.ts";
import {
  describeBodyError,
  describeFault,
  describeForeignBody,
  describeForeignMetrics,
  describeNetworkError,
  describeProxyError,
  describeProxyStatus,
  describeRedirect,
  describeStatus,
  describeTimeout,
  describeTooLarge,
  looksLikeMarkup,
  parseRetryAfter,
  type Problem,
  type ScrapePhase,
} from "./scrape_errors.ts";
import { quote, sanitizeText } from "./text.ts";
import { type Bytes, BYTES_PER_KIBIBYTE, BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

export interface ScraperFailure extends ScrapeFailure {
  readonly serverName?: string;
}

export interface Scraper {
  /**
   * Failures of server, network and credentials are values. Aborting `signal` ends the scrape with
   * a failure of kind `network`.
   * @throws {Error} If the previous scrape is under way.
   */
  readonly scrape: (signal?: AbortSignal) => Promise<Scrape | ScraperFailure>;
  readonly close: () => void;
}

/** What the scrapers of one session share. */
export interface ScrapePool {
  readonly buffers: ReturnType<typeof createBufferPool>;
  readonly createReader: ReturnType<typeof createReaderFactory>;
  /** Ends when the newest body is parsed. */
  lastReading: Promise<unknown>;
}

export function createScrapePool(): ScrapePool {
  return {
    buffers: createBufferPool(),
    createReader: createReaderFactory(),
    lastReading: Promise.resolve(),
  };
}

/** Inflated: six times the body of 64 engines, and VictoriaMetrics' limit. */
export const MAX_BODY_BYTES: Bytes = 16 * BYTES_PER_MEBIBYTE;
const MAX_REDIRECTS = 3;
/** Read from redirects and errors, to keep the connection. */
const MAX_PARALLEL_BODY_BYTES: Bytes = 64 * BYTES_PER_KIBIBYTE;
/** Enough to tell what a body is. */
const HEAD_BYTES: Bytes = BYTES_PER_KIBIBYTE;
const ACCEPT = "text/plain;version=0.0.4;q=1,*/*;q=0.1";
const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export function isScrapeFailure<F extends ScrapeFailure>(outcome: Scrape | F): outcome is F {
  return "kind" in outcome;
}

/** Carries a problem out of a scrape. */
class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

interface Attempt {
  readonly platform: Platform;
  readonly client: HttpClient;
  readonly endpoint: Endpoint;
  readonly access: EndpointAccess;
  readonly readMetrics: EngineReader;
  readonly pool: ScrapePool;
  readonly signal: AbortSignal;
  readonly startedAt: Seconds;
  /** Stops the time limit: everything has arrived. */
  readonly stopTimer: () => void;
  readonly expectedBytes: Bytes;
  /** Changes with redirects. */
  url: string;
  /** What we wait for; `null` when everything has arrived. */
  phase: ScrapePhase | null;
  bytes: Bytes;
}

/** Drops user, password, query and control characters. */
function stripUrl(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return sanitizeText(`${protocol}//${host}${pathname}`);
}

/** In quotes; a socket by its path. */
function showAddress({ endpoint, url }: Pick<Attempt, "endpoint" | "url">): string {
  return endpoint.unixSocketPath === undefined
    ? `"${stripUrl(url)}"`
    : quote(`unix:${endpoint.unixSocketPath}`);
}

/** With the proxy that may be to blame. */
function showUrl(attempt: Attempt): string {
  const { proxy } = attempt.access.transport;
  const shown = showAddress(attempt);
  return proxy === undefined ? shown : `${shown} through ${proxy.name}`;
}

/** Settles as `promise`, but rejects as soon as the signal aborts. */
function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(new Error("aborted"));
    if (signal.aborted) abort();
    // Never removed: the signal serves one scrape.
    signal.addEventListener("abort", abort);
    promise.then(resolve, reject);
  });
}

/** Some proxies compress unasked, and runtimes differ in what they inflate. */
function inflate(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  return new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
}

function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

function resolveRedirect(attempt: Attempt, location: string): string {
  const { url } = attempt;
  const shown = showUrl(attempt);
  if (!URL.canParse(location, url)) throw new ProblemError(describeFault("redirect", shown));
  const target = new URL(location, url);
  if (target.origin !== new URL(url).origin) {
    const isHttp = target.protocol === "http:" || target.protocol === "https:";
    const place = isHttp ? stripUrl(target.href) : `${sanitizeText(target.protocol)}…`;
    throw new ProblemError(describeRedirect(shown, `"${place}"`));
  }
  target.username = "";
  target.password = "";
  target.hash = "";
  return target.href;
}

async function collectHeaders({ access }: Attempt): Promise<Record<string, string>> {
  let secretHeaders: Readonly<Record<string, string>>;
  try {
    secretHeaders = await access.readHeaders();
  } catch (error) {
    const message = error instanceof Error ? error.message : "the credentials cannot be read";
    throw new ProblemError({ kind: "credentials", message });
  }
  return joinHeaders(ACCEPT, secretHeaders);
}

/** Follows redirects within the origin; leaves the final URL in `attempt`. */
async function requestMetrics(attempt: Attempt): Promise<HttpResponse> {
  const headers = await collectHeaders(attempt);
  attempt.phase = "headers";
  for (let redirects = 0;; redirects++) {
    const { url, signal } = attempt;
    const response = await attempt.client.get({ url, headers, signal });
    const location = response.header("location");
    if (!REDIRECT_STATUSES.has(response.status) || location === null) return response;
    await readBody(response.body, MAX_PARALLEL_BODY_BYTES);
    const target = resolveRedirect(attempt, location);
    if (redirects === MAX_REDIRECTS) {
      throw new ProblemError(describeFault("redirect", showUrl(attempt)));
    }
    attempt.url = target;
  }
}

/** Detects truncation that HTTP does not notice. */
function isCut(response: HttpResponse, exposition: EngineExposition): boolean {
  const isFramed = response.header("content-length") !== null ||
    /chunked/i.test(response.header("transfer-encoding") ?? "");
  const promisesEof = /^application\/openmetrics-text\b/i
    .test(response.header("content-type") ?? "");
  return (!exposition.endsComplete && (!isFramed || exposition.lastLineIsBad)) ||
    (promisesEof && exposition.dialect !== "openmetrics");
}

function decodeHead(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, HEAD_BYTES)).trimStart();
}

/** Yields now and then: parsing a large body for the first time must not block keys. */
async function parseExpositionBody(
  attempt: Attempt,
  response: HttpResponse,
  bytes: Uint8Array,
): Promise<EngineExposition> {
  const shown = showUrl(attempt);
  const head = decodeHead(bytes);
  const refuse = () =>
    new ProblemError(describeForeignBody(shown, head, {
      bytes,
      encoding: response.header("content-encoding"),
      type: response.header("content-type"),
    }));
  if (looksLikeMarkup(head)) throw refuse();
  const steps = attempt.readMetrics(bytes);
  const exposition = await finishStepsWithPauses(steps, attempt.platform.nextTurn);
  const { familyNames, engineFamilyCount, engines, hasTooManyEngines } = exposition;
  if (familyNames.size === 0) throw refuse();
  if (isCut(response, exposition)) throw new ProblemError(describeFault("cut", shown));
  if (hasTooManyEngines) throw new ProblemError(describeFault("too_many_engines", shown));
  // A router may export an engine's families, but has no engine.
  const isRouter = engines.length === 0 && identifyServer(familyNames)?.role === "router";
  if (engineFamilyCount === 0 || isRouter) {
    throw new ProblemError(describeForeignMetrics(shown, familyNames));
  }
  if (engines.length === 0 && exposition.hasUnnamedEngines) {
    throw new ProblemError(describeFault("unnamed", shown));
  }
  return exposition;
}

/** Parses one body at a time: the first bodies of a fleet arrive together, and may share a layout. */
function readInTurn<T>(pool: ScrapePool, read: () => Promise<T>): Promise<T> {
  const reading = pool.lastReading.then(read);
  pool.lastReading = reading.catch(() => {}); // The caller handles its error.
  return reading;
}

/** Throws a `ProblemError`, or what the runtime throws. */
async function fetchScrape(attempt: Attempt): Promise<Scrape> {
  const { endpoint, platform, pool } = attempt;
  const response = await requestMetrics(attempt);
  attempt.phase = "body";
  if (response.status !== 200) {
    const { bytes } = await readBody(response.body, MAX_PARALLEL_BODY_BYTES);
    const { sendsCredentials, transport: { proxy } } = attempt.access;
    const proxyProblem = proxy === undefined ? null : describeProxyStatus(response.status, proxy, {
      shown: showAddress(attempt),
      serverHeader: response.header("server"),
    });
    const problem = proxyProblem ?? describeStatus(response.status, {
      shown: showUrl(attempt),
      head: decodeHead(bytes),
      sendsCredentials,
      retryAfter: parseRetryAfter(response.header("retry-after"), platform.epochSeconds()),
    });
    throw new ProblemError(problem);
  }
  const received = await readBody(response.body, MAX_BODY_BYTES, {
    buffer: pool.buffers.take(attempt.expectedBytes),
    onBytes: (count) => attempt.bytes = count,
  });
  const receivedAt = platform.monotonicSeconds();
  const receivedAtEpoch = platform.epochSeconds();
  const { bytes, isWhole } = isGzip(received.bytes) && received.isWhole
    ? await readBody(inflate(received.bytes), MAX_BODY_BYTES)
    : received;
  attempt.phase = null;
  attempt.stopTimer();
  if (!isWhole) throw new ProblemError(describeTooLarge(showUrl(attempt), MAX_BODY_BYTES));
  const exposition = await readInTurn(pool, async () => {
    // Parsing takes 1 to 10 ms: many bodies at once must not block keys.
    await platform.nextTurn();
    return await parseExpositionBody(attempt, response, bytes);
  });
  // Not after an early end: the stream may still write to the buffer.
  pool.buffers.give(new Uint8Array(bytes.buffer));
  return {
    endpointKey: endpoint.key,
    receivedAt,
    receivedAtEpoch,
    duration: receivedAt - attempt.startedAt,
    bytes: bytes.length,
    sampleCount: exposition.sampleCount,
    dialect: exposition.dialect,
    badLineCount: exposition.badLineCount,
    badLines: exposition.badLines,
    body: exposition.body,
    engines: exposition.engines,
    server: exposition.server,
    lora: exposition.lora,
    aliases: exposition.aliases,
    metricPrefix: exposition.metricPrefix,
    processStart: exposition.processStart,
    countersCreated: exposition.countersCreated,
    httpResponsesByStatus: exposition.httpResponsesByStatus,
    redirectedTo: attempt.url === endpoint.metricsUrl ? null : stripUrl(attempt.url),
  };
}

function explainError(
  error: unknown,
  attempt: Attempt,
  limit: { readonly expired: () => boolean; readonly timeout: Seconds },
): Problem {
  if (error instanceof ProblemError) return error.problem;
  const shown = showUrl(attempt);
  const { phase, bytes } = attempt;
  // We were not waiting for the server: our own bug.
  if (phase === null) throw error;
  if (limit.expired()) return describeTimeout(shown, { phase, bytes, timeout: limit.timeout });
  if (attempt.signal.aborted) {
    return { kind: "network", message: `the scrape of ${shown} was aborted` };
  }
  if (phase === "body") return describeBodyError(error, shown, bytes);
  const { proxy } = attempt.access.transport;
  const proxyProblem = proxy === undefined
    ? null
    : describeProxyError(error, showAddress(attempt), proxy);
  return proxyProblem ?? describeNetworkError(error, shown);
}

/** For certificates that turn out to be unusable. */
function createBrokenClient(error: unknown): HttpClient {
  return { get: () => Promise.reject(error), close: () => {} };
}

/**
 * Keeps the connection, and starts at the URL that the last good scrape was redirected to.
 * @param options.timeout From request to last byte.
 */
export async function createScraper(
  platform: Platform,
  endpoint: Endpoint,
  options: {
    readonly access: EndpointAccess;
    readonly timeout: Seconds;
    readonly metricPrefix: string | null;
    /** By default its own. */
    readonly pool?: ScrapePool;
  },
): Promise<Scraper> {
  const { access, timeout, metricPrefix, pool = createScrapePool() } = options;
  const client = await platform.createHttpClient(access.transport).catch(createBrokenClient);
  const readMetrics = pool.createReader({ metricPrefix });
  let lastUrl = endpoint.metricsUrl;
  let lastBytes: Bytes = 0;
  let isBusy = false;

  const scrape = async (signal?: AbortSignal): Promise<Scrape | ScraperFailure> => {
    if (isBusy) throw new Error(`Cannot scrape "${endpoint.key}": a scrape of it is under way`);
    isBusy = true;
    const limit = platform.deadline(timeout, signal);
    const attempt: Attempt = {
      platform,
      client,
      endpoint,
      access,
      readMetrics,
      pool,
      expectedBytes: lastBytes,
      signal: limit.signal,
      startedAt: platform.monotonicSeconds(),
      stopTimer: limit.cancel,
      url: lastUrl,
      phase: "credentials",
      bytes: 0,
    };
    try {
      const outcome = await orAbort(fetchScrape(attempt), limit.signal);
      lastUrl = attempt.url;
      lastBytes = outcome.bytes;
      return outcome;
    } catch (error) {
      const failedAt = platform.monotonicSeconds();
      lastUrl = endpoint.metricsUrl;
      return {
        endpointKey: endpoint.key,
        failedAt,
        failedAtEpoch: platform.epochSeconds(),
        duration: failedAt - attempt.startedAt,
        ...explainError(error, attempt, { expired: limit.expired, timeout }),
      };
    } finally {
      limit.cancel();
      isBusy = false;
    }
  };
  return { scrape, close: () => client.close() };
}
