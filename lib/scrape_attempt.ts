/**
 * One attempt to scrape an endpoint: its requests, under one time limit and one origin, and the
 * problems of their answers.
 * @module
 */

import type { Ask, Dialect, Launch, Round } from "./dialect_model.ts";
import { OPENAI } from "./dialect_openai.ts";
import { METRICS_PATH } from "./endpoint.ts";
import type { Endpoint } from "./model.ts";
import type { HttpClient, HttpResponse, Platform } from "./platform.ts";
import { inflateBody, readBody } from "./scrape_body.ts";
import { type EndpointAccess, joinHeaders } from "./scrape_credentials.ts";
import {
  describeDisabled,
  describeFault,
  describeProxyStatus,
  describeRedirect,
  describeStatus,
  describeTooLarge,
  parseRetryAfter,
  type Problem,
  type ScrapePhase,
} from "./scrape_errors.ts";
import { identifyKind } from "./scrape_identify.ts";
import type { ModelList } from "./scrape_server_info.ts";
import { quote, sanitizeText } from "./text.ts";
import { type Bytes, BYTES_PER_KIBIBYTE, BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

/** Inflated: six times the body of 64 engines, and VictoriaMetrics' limit. */
export const MAX_BODY_BYTES: Bytes = 16 * BYTES_PER_MEBIBYTE;
const MAX_REDIRECTS = 3;
/** Read from redirects and errors, to keep the connection. */
export const MAX_PARALLEL_BODY_BYTES: Bytes = 64 * BYTES_PER_KIBIBYTE;
/** Enough to tell what a body is. */
const HEAD_BYTES: Bytes = BYTES_PER_KIBIBYTE;
const ACCEPT = "text/plain;version=0.0.4;q=1,*/*;q=0.1";
const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Carries a problem out of a scrape. */
export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

/** What a scraper has found out, kept until the server seems to be another one. */
export interface KnownServer {
  /** False before it was asked. */
  isIdentified: boolean;
  dialect: Dialect | null;
  /** As it answered when it was asked who it is, until somebody takes it. */
  models: ModelList | null;
  round: Round | null;
}

export interface Attempt {
  readonly platform: Platform;
  readonly client: HttpClient;
  readonly endpoint: Endpoint;
  readonly access: EndpointAccess;
  readonly signal: AbortSignal;
  readonly startedAt: Seconds;
  /** Stops the time limit: everything has arrived. */
  readonly stopTimer: () => void;
  readonly server: KnownServer;
  readonly launch: Launch;
  /** Changes with redirects. */
  url: string;
  /** What we wait for; `null` when everything has arrived. */
  phase: ScrapePhase | null;
  bytes: Bytes;
}

/** Drops user, password, query and control characters. */
export function stripUrl(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return sanitizeText(`${protocol}//${host}${pathname}`);
}

/** In quotes; a socket by its path. */
export function showAddress({ endpoint, url }: Pick<Attempt, "endpoint" | "url">): string {
  return endpoint.unixSocketPath === undefined
    ? `"${stripUrl(url)}"`
    : quote(`unix:${endpoint.unixSocketPath}`);
}

/** With the proxy that may be to blame. */
export function showUrl(attempt: Attempt): string {
  const { proxy } = attempt.access.transport;
  const shown = showAddress(attempt);
  return proxy === undefined ? shown : `${shown} through ${proxy.name}`;
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
export async function requestMetrics(attempt: Attempt): Promise<HttpResponse> {
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

export function decodeHead(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, HEAD_BYTES)).trimStart();
}

export function describeRefusal(attempt: Attempt, refusal: {
  readonly status: number;
  readonly head: string;
  readonly serverHeader: string | null;
  readonly retryAfter?: string | null;
}): ProblemError {
  const { platform, access: { sendsCredentials, transport: { proxy } } } = attempt;
  const { status, head, serverHeader, retryAfter = null } = refusal;
  const { name = "", enablingOption: option, loadingAnswer } = attempt.server.dialect ?? {};
  if (status === 503 && loadingAnswer?.test(head)) {
    return new ProblemError({ kind: "loading", message: `${showUrl(attempt)} loads its model` });
  }
  if (option !== undefined && (status === 404 || status === 501)) {
    return new ProblemError(describeDisabled(status, showUrl(attempt), { name, option }));
  }
  const proxyProblem = proxy === undefined
    ? null
    : describeProxyStatus(status, proxy, { shown: showAddress(attempt), serverHeader });
  return new ProblemError(
    proxyProblem ?? describeStatus(status, {
      shown: showUrl(attempt),
      head,
      sendsCredentials,
      retryAfter: parseRetryAfter(retryAfter, platform.epochSeconds()),
    }),
  );
}

/** Whether the runtime notices that the body is cut. */
export function isFramed(response: HttpResponse): boolean {
  return response.header("content-length") !== null ||
    /chunked/i.test(response.header("transfer-encoding") ?? "");
}

/** Questions besides the metrics page, under the endpoint's own path. Other ports get no credentials. */
function createAsk(attempt: Attempt): Ask {
  const { endpoint, client, signal } = attempt;
  const base = endpoint.metricsUrl.slice(0, -METRICS_PATH.length);
  return async (path, port) => {
    attempt.url = port === undefined ? base + path : `http://localhost:${port}${path}`;
    const headers = port === undefined ? await collectHeaders(attempt) : { accept: ACCEPT };
    attempt.phase = "headers";
    const response = await client.get({ url: attempt.url, headers, signal });
    attempt.phase = "body";
    const { bytes, isWhole } = await inflateBody(
      await readBody(response.body, MAX_BODY_BYTES),
      MAX_BODY_BYTES,
    );
    if (!isWhole) throw new ProblemError(describeTooLarge(showUrl(attempt), MAX_BODY_BYTES));
    const text = new TextDecoder().decode(bytes);
    // Other answers are of JSON, which tells.
    const isCut = path.startsWith(METRICS_PATH) && !isFramed(response) && !/(?:^|\n)$/.test(text);
    if (isCut) throw new ProblemError(describeFault("cut", showUrl(attempt)));
    return { path, status: response.status, text, header: response.header };
  };
}

/** Whether other pages of the server can be told from the URL. */
export function isDefaultPage({ metricsUrl }: Endpoint): boolean {
  return metricsUrl.endsWith(METRICS_PATH);
}

/** Finds out once who answers; its metrics page may have another place. */
export async function meetServer(attempt: Attempt): Promise<void> {
  const { server, endpoint, url } = attempt;
  if (!server.isIdentified) {
    const identity = await identifyKind(createAsk(attempt)).finally(() => attempt.url = url);
    Object.assign(server, identity);
    server.isIdentified = true;
  }
  const page = server.dialect?.paths.find(({ when }) => when === "each_round")?.path;
  // A redirect of an earlier scrape stays.
  if (page !== undefined && url === endpoint.metricsUrl && isDefaultPage(endpoint)) {
    attempt.url = url.slice(0, -METRICS_PATH.length) + page;
  }
  startRound(attempt);
}

/** For servers that need more than their metrics page. */
function startRound({ server, endpoint, launch }: Attempt): void {
  if (!isDefaultPage(endpoint)) return;
  server.round ??= server.dialect?.createRound?.(launch) ?? null;
}

/** A server of unknown kind without a metrics page, but with models, is watched by those. */
export function meetModelsOnly(attempt: Attempt): void {
  const { server } = attempt;
  if (server.dialect !== null || server.models === null || server.models.models.length === 0) {
    return;
  }
  server.dialect = OPENAI;
  startRound(attempt);
}

export function takeModels(server: KnownServer): ModelList | null {
  const { models } = server;
  server.models = null;
  return models;
}

/** Refused answers become problems. */
export async function askRound(attempt: Attempt, round: Round): Promise<Uint8Array> {
  const answer = await round(createAsk(attempt), attempt.platform.epochSeconds());
  if (typeof answer !== "string") {
    const { path, status, text, header } = answer;
    const serverHeader = header("server");
    attempt.url = attempt.endpoint.metricsUrl.slice(0, -METRICS_PATH.length) + path;
    throw describeRefusal(attempt, { status, head: text.slice(0, HEAD_BYTES), serverHeader });
  }
  return new TextEncoder().encode(answer);
}
