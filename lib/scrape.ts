/**
 * One endpoint -> scrape or failure. Holds the HTTP policy: plain text format 0.0.4, no compression
 * asked, one request at a time, one time limit over connection, headers, body and redirects, a cap
 * on inflated bytes, redirects only within the origin. A truncated body is refused whole: half a
 * histogram is a wrong one. Times are monotonic seconds, stamped when the last byte arrives.
 *
 * Rejected: redirects by `fetch`, which carry `x-api-key` to other hosts.
 * @module
 */

import { findDialect } from "./dialect.ts";
import type { Launch, Round } from "./dialect_model.ts";
import { createReaderFactory, type EngineExposition, type EngineReader } from "./dialect_reader.ts";
import type { Endpoint, FailureKind, Scrape, ScrapeFailure } from "./model.ts";
import {
  finishStepsWithPauses,
  type HttpClient,
  type HttpResponse,
  type Platform,
} from "./platform.ts";
import {
  askRound,
  type Attempt,
  decodeHead,
  describeRefusal,
  isDefaultPage,
  isFramed,
  type KnownServer,
  MAX_BODY_BYTES,
  MAX_PARALLEL_BODY_BYTES,
  meetModelsOnly,
  meetServer,
  ProblemError,
  requestMetrics,
  showAddress,
  showUrl,
  stripUrl,
  takeModels,
} from "./scrape_attempt.ts";
import { inflateBody, readBody } from "./scrape_body.ts";
import type { EndpointAccess } from "./scrape_credentials.ts";
import {
  describeBodyError,
  describeFault,
  describeForeignBody,
  describeForeignMetrics,
  describeNetworkError,
  describeProxyError,
  describeTimeout,
  describeTooLarge,
  looksLikeMarkup,
  type Problem,
} from "./scrape_errors.ts";
import { createSaidLaunch, createScrapePool, type ScrapePool } from "./scrape_pool.ts";
import type { ModelList } from "./scrape_server_info.ts";
import type { Bytes, Seconds } from "./units.ts";

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
  /** The list of models that told who the server is: once, and `null` afterwards. */
  readonly takeModels: () => ModelList | null;
  readonly close: () => void;
}

interface IdentifyingScraper extends Scraper {
  /** The kind of server, if it is known before its metrics; else `null`. */
  readonly getServerName: () => string | null;
}

interface ScrapeAttempt extends Attempt {
  readonly readMetrics: EngineReader;
  readonly pool: ScrapePool;
  readonly expectedBytes: Bytes;
}

/** The longest time limit after timeouts, if the user's is not longer. */
const MAX_PATIENCE: Seconds = 30;

/** A server that is late may be busy. */
function createPatience(timeout: Seconds): {
  limit: Seconds;
  readonly noteAnswer: (duration: Seconds) => void;
  readonly noteTimeout: () => void;
} {
  const patience = {
    limit: timeout,
    noteAnswer: (duration: Seconds): void => {
      if (duration < patience.limit / 4) patience.limit = timeout;
    },
    noteTimeout: (): void => {
      patience.limit = Math.max(timeout, Math.min(2 * patience.limit, MAX_PATIENCE));
    },
  };
  return patience;
}

/** After these, another server may stand there. */
const ANOTHER_SERVER: ReadonlySet<FailureKind> = new Set([
  ...["refused", "reset", "not_found", "not_exposition", "other_server", "html"] as const,
]);

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

/** Detects truncation that HTTP does not notice. */
function isCut(response: HttpResponse, exposition: EngineExposition): boolean {
  const promisesEof = /^application\/openmetrics-text\b/i
    .test(response.header("content-type") ?? "");
  return (!exposition.endsComplete && (!isFramed(response) || exposition.lastLineIsBad)) ||
    (promisesEof && exposition.dialect !== "openmetrics");
}

/** Yields now and then: parsing a large body for the first time must not block keys. */
async function parseExpositionBody(
  attempt: ScrapeAttempt,
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
  if (engineFamilyCount === 0) {
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

type Receipt = Pick<Scrape, "receivedAt" | "receivedAtEpoch" | "duration">;

function stampReceipt({ platform, startedAt }: Attempt): Receipt {
  const receivedAt = platform.monotonicSeconds();
  const receivedAtEpoch = platform.epochSeconds();
  return { receivedAt, receivedAtEpoch, duration: receivedAt - startedAt };
}

/** All of a scrape but what its body says. */
export type ScrapeFrame =
  & Receipt
  & Pick<Scrape, "endpointKey" | "bytes" | "interval" | "redirectedTo">;

export function composeScrape(frame: ScrapeFrame, exposition: EngineExposition): Scrape {
  return {
    ...frame,
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
  };
}

function createScrape(attempt: ScrapeAttempt, { exposition, receipt, body }: {
  readonly exposition: EngineExposition;
  readonly receipt: Receipt;
  readonly body: Uint8Array;
}): Scrape {
  const { endpoint: { key, metricsUrl }, url, server, pool } = attempt;
  pool.onBody?.(key, body);
  const redirectedTo = url === metricsUrl || server.round !== null ? null : stripUrl(url);
  return composeScrape(
    { endpointKey: key, ...receipt, bytes: body.length, redirectedTo },
    exposition,
  );
}

/** Several answers, read as one body. */
async function scrapeByRound(attempt: ScrapeAttempt, round: Round): Promise<Scrape> {
  const body = await askRound(attempt, round);
  const receipt = stampReceipt(attempt);
  attempt.phase = null;
  attempt.stopTimer();
  const exposition = await readInTurn(
    attempt.pool,
    () => finishStepsWithPauses(attempt.readMetrics(body), attempt.platform.nextTurn),
  );
  return createScrape(attempt, { exposition, receipt, body });
}

/** Throws a `ProblemError`, or what the runtime throws. */
async function fetchScrape(attempt: ScrapeAttempt): Promise<Scrape> {
  const { platform, pool } = attempt;
  await meetServer(attempt);
  if (attempt.server.round !== null) return await scrapeByRound(attempt, attempt.server.round);
  const response = await requestMetrics(attempt);
  attempt.phase = "body";
  if (response.status !== 200) {
    const { bytes } = await readBody(response.body, MAX_PARALLEL_BODY_BYTES);
    if (response.status === 404) meetModelsOnly(attempt);
    if (attempt.server.round !== null) return await scrapeByRound(attempt, attempt.server.round);
    throw describeRefusal(attempt, {
      status: response.status,
      head: decodeHead(bytes),
      serverHeader: response.header("server"),
      retryAfter: response.header("retry-after"),
    });
  }
  const received = await readBody(response.body, MAX_BODY_BYTES, {
    buffer: pool.buffers.take(attempt.expectedBytes),
    onBytes: (count) => attempt.bytes = count,
  });
  const receipt = stampReceipt(attempt);
  const { bytes, isWhole } = await inflateBody(received, MAX_BODY_BYTES);
  attempt.phase = null;
  attempt.stopTimer();
  if (!isWhole) throw new ProblemError(describeTooLarge(showUrl(attempt), MAX_BODY_BYTES));
  const scrape = await readInTurn(pool, async () => {
    // Parsing takes 1 to 10 ms: many bodies at once must not block keys.
    await platform.nextTurn();
    return await parseExpositionBody(attempt, response, bytes);
  }).then((exposition) => createScrape(attempt, { exposition, receipt, body: bytes }));
  // Not after an early end: the stream may still write to the buffer.
  pool.buffers.give(new Uint8Array(bytes.buffer));
  return scrape;
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

export interface ScraperOptions {
  readonly access: EndpointAccess;
  /** From request to last byte; doubled after each timeout, up to `MAX_PATIENCE`. */
  readonly timeout: Seconds;
  readonly metricPrefix: string | null;
  /** By default its own. */
  readonly pool?: ScrapePool;
  /** Asks a server of unknown kind who it is, before anything else. */
  readonly identifies?: boolean;
  /** What can be found out about its process; by default what the endpoint says. */
  readonly launch?: Launch;
}

/** Creates readers that share what they have read with those of the session. */
export function createReader(
  pool: ScrapePool,
  options: { readonly metricPrefix: string | null },
): EngineReader {
  return (pool.createReader ??= createReaderFactory())(options);
}

/** Keeps the connection, and starts at the URL that the last good scrape was redirected to. */
export async function createScraper(
  platform: Platform,
  endpoint: Endpoint,
  options: ScraperOptions,
): Promise<IdentifyingScraper> {
  const { access, timeout, metricPrefix, pool = createScrapePool(), identifies = false } = options;
  const client = await platform.createHttpClient(access.transport).catch(createBrokenClient);
  const readMetrics = createReader(pool, { metricPrefix });
  const dialect = findDialect(endpoint.serverName);
  const isIdentified = dialect !== null || !identifies || !isDefaultPage(endpoint);
  const { launch = createSaidLaunch(endpoint) } = options;
  const unmet: KnownServer = { isIdentified, dialect, models: null, round: null };
  const server = { ...unmet };
  let lastUrl = endpoint.metricsUrl;
  let lastBytes: Bytes = 0;
  const patience = createPatience(timeout);
  let isBusy = false;

  const scrape = async (signal?: AbortSignal): Promise<Scrape | ScraperFailure> => {
    if (isBusy) throw new Error(`Cannot scrape "${endpoint.key}": a scrape of it is under way`);
    isBusy = true;
    const limit = platform.deadline(patience.limit, signal);
    const attempt: ScrapeAttempt = {
      ...{ platform, client, endpoint, access, readMetrics, pool, server },
      expectedBytes: lastBytes,
      signal: limit.signal,
      startedAt: platform.monotonicSeconds(),
      stopTimer: limit.cancel,
      launch,
      url: lastUrl,
      phase: "credentials",
      bytes: 0,
    };
    try {
      const outcome = await orAbort(fetchScrape(attempt), limit.signal);
      lastUrl = server.round === null ? attempt.url : endpoint.metricsUrl;
      lastBytes = outcome.bytes;
      patience.noteAnswer(outcome.duration);
      return outcome;
    } catch (error) {
      const { receivedAt: failedAt, receivedAtEpoch, duration } = stampReceipt(attempt);
      lastUrl = endpoint.metricsUrl;
      const { expired } = limit;
      const problem = explainError(error, attempt, { expired, timeout: patience.limit });
      if (problem.kind === "timeout") patience.noteTimeout();
      if (ANOTHER_SERVER.has(problem.kind)) Object.assign(server, unmet);
      const failedAtEpoch = receivedAtEpoch;
      return { endpointKey: endpoint.key, failedAt, failedAtEpoch, duration, ...problem };
    } finally {
      limit.cancel();
      isBusy = false;
    }
  };
  return {
    scrape,
    getServerName: () => server.dialect?.name ?? null,
    takeModels: () => takeModels(server),
    close: () => client.close(),
  };
}
