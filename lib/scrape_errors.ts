/**
 * Scrape failures -> kind and one sentence with the next step. A message holds nothing of an
 * error's text, a header's value or a body: runtimes quote whole header values, tokens included.
 * `shown` is a safe URL in quotes. Sources: errors of Deno 2.6 and 2.9, rustls, Node and undici.
 * @module
 */

import { DIALECT_NAMES, findDisabledServer, identifyServer, type ServerRole } from "./dialect.ts";
import { MAX_ENGINES } from "./dialect_series.ts";
import type { FailureKind } from "./model.ts";
import type { ProxyServer } from "./platform.ts";
import {
  type Bytes,
  BYTES_PER_MEBIBYTE,
  type EpochSeconds,
  MILLISECONDS_PER_SECOND,
  type Seconds,
} from "./units.ts";

export interface Problem {
  readonly kind: FailureKind;
  readonly message: string;
  /** The server that answers, if recognised. */
  readonly serverName?: string;
  /** How long the server asks to wait, up to `MAX_RETRY_AFTER`. */
  readonly retryAfter?: Seconds;
}

export type ScrapePhase = "credentials" | "headers" | "body";
const MAX_CAUSES = 5;

/** An error and its causes, without the URLs and names that they quote. */
function collectErrorText(error: unknown): string {
  const parts: string[] = [];
  let current = error;
  for (let depth = 0; depth < MAX_CAUSES && current instanceof Error; depth++) {
    parts.push(current.name, "code" in current ? String(current.code) : "", current.message);
    if (current instanceof AggregateError) parts.push(...current.errors.map(String));
    current = current.cause;
  }
  return parts.join(" ").replace(/\bhttps?:\/\/[^\s)]*/gi, "").replace(/(?<=for name )".*/s, "");
}

type NetworkRow = readonly [pattern: RegExp, kind: FailureKind, message: string];

/** Errors of the way to a proxy. `%` stands for the proxy, `$` for its variable. */
const PROXY_ROWS: readonly (readonly [pattern: RegExp, message: string])[] = [
  [
    /connection refused|ECONNREFUSED|os error (111|61|10061)\b/i,
    "% refuses connections: check that it runs, or correct $",
  ],
  [
    /dns error|failed to lookup/i,
    "the host name of % cannot be resolved: correct $",
  ],
  [
    /proxy server unreachable|unreachable|no route|timed? ?out|os error (110|60|10060)\b/i,
    "% cannot be reached: check that it runs, or correct $",
  ],
  [
    /proxy auth/i,
    "% requires credentials: write $ as http://USER:PASSWORD@HOST:PORT",
  ],
  [
    /tunnel/i,
    "% refused the connection to &: allow its port there, or exclude its host with no_proxy",
  ],
];

/** `&` stands for the URL. */
function fillProxyMessage(message: string, shown: string, { name, variable }: ProxyServer): string {
  const values: Readonly<Record<string, string>> = { "%": name, "$": variable, "&": shown };
  return message.replace(/[%$&]/g, (sign) => values[sign]);
}

/** An error before the first byte, if it is the proxy's own. */
export function describeProxyError(
  error: unknown,
  shown: string,
  proxy: ProxyServer,
): Problem | null {
  const text = collectErrorText(error);
  const row = PROXY_ROWS.find(([pattern]) => pattern.test(text));
  return row === undefined
    ? null
    : { kind: "proxy", message: fillProxyMessage(row[1], shown, proxy) };
}

/** What proxies answer themselves. Squid answers 503 if it cannot connect. */
const PROXY_STATUSES: Readonly<Record<number, string>> = {
  403: "% answered 403 for &: allow it there, or exclude its host with no_proxy",
  407: "% answered 407 (credentials required): write $ as http://USER:PASSWORD@HOST:PORT",
  502: "% answered 502 for &: check that the server runs, and that the proxy can reach it",
  503: "% answered 503 for &: check that the server runs, and that the proxy can reach it",
  504: "% answered 504 for &: check that the server runs, and that the proxy can reach it",
};
/** Of the web servers in vLLM and SGLang: these statuses are their own. */
const MODEL_SERVER = /\b(?:uvicorn|hypercorn)\b/i;

/** A status that is the proxy's own, or `null`. `serverHeader` is the response's `Server`. */
export function describeProxyStatus(
  status: number,
  proxy: ProxyServer,
  { shown, serverHeader }: { readonly shown: string; readonly serverHeader: string | null },
): Problem | null {
  const message = PROXY_STATUSES[status];
  if (message === undefined || MODEL_SERVER.test(serverHeader ?? "")) return null;
  return { kind: "proxy", message: fillProxyMessage(message, shown, proxy) };
}

/** Errors before the first byte; the first match wins. `%` stands for the URL. */
const NETWORK_ROWS: readonly NetworkRow[] = [
  [
    /no ssh connection/,
    "ssh",
    "% cannot be reached: there is no ssh connection to its host, whose line says why",
  ],
  [
    /no curl there/,
    "ssh",
    "% cannot be reached through ssh: nothing listens there, or forwarding is forbidden there and curl is missing",
  ],
  [
    // hyper's "invalid HTTP header parsed" is about the response instead.
    /invalid header (name|value)|UND_ERR_INVALID_ARG.* header|ByteString/i,
    "credentials",
    "the headers for % cannot be sent: check the files of --token-file and --header-file",
  ],
  [
    /requires write access/i,
    "network",
    "% cannot be reached without permission: run Deno with --allow-write=PATH, or let the server use a port",
  ],
  [
    /requires net access/i,
    "network",
    "% cannot be reached without permission: run Deno with --allow-net",
  ],
  [
    /NotCapable|requires \w+ access/i,
    "network",
    "% cannot be reached with Deno's current permissions: use those in docs/security.md",
  ],
  [
    /no such file|ENOENT/i,
    "refused",
    "% does not exist: check the path, and that the server was started with --uds",
  ],
  [
    /connection refused|ECONNREFUSED|os error (111|61|10061)\b/i,
    "refused",
    "% refused the connection: check that the server has started, and that the port is right",
  ],
  [/permission denied|EACCES/i, "refused", "% cannot be opened: check its permissions"],
  [
    /dns error|ENOTFOUND|EAI_|failed to lookup|getaddrinfo/i,
    "dns",
    "the host name of % cannot be resolved: check its spelling, or use the address",
  ],
  [
    /InvalidContentType|corrupt message|WRONG_VERSION_NUMBER|packet length/i,
    "tls",
    "% does not speak TLS: use http:// instead of https://",
  ],
  [
    /CertificateRequired|certificate required/i,
    "tls",
    "% requires a client certificate: give one with --cert-file and --key-file",
  ],
  [
    /Expired|NotValidYet|not valid yet/i,
    "tls",
    "the certificate of % is out of date: renew it, or check this machine's clock",
  ],
  [
    /NotValidForName|not valid for name|ALTNAME_INVALID/i,
    "tls",
    "the certificate of % is for another host name: use the name in it",
  ],
  [
    /CaUsedAsEndEntity/i,
    "tls",
    "the certificate of % belongs to an authority, not a server: create one with CA:FALSE, or accept it with --insecure",
  ],
  [
    /UnknownIssuer|SELF_SIGNED|UNABLE_TO_VERIFY/i,
    "tls",
    "the certificate of % is from an unknown authority: name its CA with --ca-file, or accept it with --insecure",
  ],
  [
    /certificate|\btls\b|handshake|\bSSL\b|fatal alert/i,
    "tls",
    "the TLS handshake with % failed: check its certificate and TLS version, and --cert-file if it requires one",
  ],
  [
    /requests to port \d+ are blocked|bad port/i,
    "network",
    "% has a port that HTTP clients refuse for safety: let the server use another",
  ],
  [
    /message head is too large|HPE_HEADER_OVERFLOW|UND_ERR_HEADERS_OVERFLOW/i,
    "network",
    "% sends more headers than HTTP clients accept: check the proxy in front of it",
  ],
  [
    /invalid content-length|HPE_\w*CONTENT_LENGTH/i,
    "network",
    "% states its length twice or wrongly (Content-Length): check the proxy in front of it",
  ],
  [
    /invalid HTTP|HPE_|HTTPParserError/i,
    "network",
    "% does not speak plain HTTP: use https:// if it has TLS, or check the port",
  ],
  [
    /timed? ?out|ETIMEDOUT|os error (110|60|10060)\b/i,
    "timeout",
    "% did not accept the connection: check the host, the port and the firewall",
  ],
  [
    /unreachable|no route|EHOSTUNREACH|ENETUNREACH/i,
    "network",
    "% cannot be reached (no route): check the address and the network",
  ],
  [
    /connection (was )?(closed|reset|aborted)|ECONNRESET|EPIPE|broken pipe|UND_ERR_SOCKET|other side closed|unexpected e(nd|of)|incomplete|hang up/i,
    "reset",
    "% closed the connection without an answer: it may be restarting; see its log",
  ],
];

export function describeNetworkError(error: unknown, shown: string): Problem {
  const text = collectErrorText(error);
  for (const [pattern, kind, message] of NETWORK_ROWS) {
    if (pattern.test(text)) return { kind, message: message.replace("%", () => shown) };
  }
  return {
    kind: "network",
    message: `${shown} cannot be reached: check the address and the network`,
  };
}

/** Problems that need no more than the URL, which `%` stands for. */
const FAULT_ROWS = {
  compressed: [
    "not_exposition",
    "% sent a compressed body that cannot be decompressed: turn compression off there",
  ],
  cut: [
    "truncated",
    "% sent a truncated response: see its log and that of any proxy in front of it",
  ],
  empty: [
    "empty",
    "% answered with an empty body: see the server's log, and check that PROMETHEUS_MULTIPROC_DIR is writable and was empty at the start",
  ],
  markup: [
    "html",
    "% answered with a web page, as no model server does: check the URL, and whether a login page or web interface is in front of the server",
  ],
  json: ["not_exposition", "% answered with JSON: check the port and the path"],
  text: [
    "not_exposition",
    "% answered with something other than metrics: check the port and the path",
  ],
  foreign: [
    "other_server",
    "% has metrics but none of a model server: check the port, or name their prefix with --metric-prefix",
  ],
  unnamed: [
    "other_server",
    "% names no model in its metrics, like a router: watch the server's own port",
  ],
  too_many_engines: [
    "too_large",
    `% names more than ${MAX_ENGINES} models and engines: check that the labels with their names do not change from one request to the next`,
  ],
  redirect: [
    "redirect",
    "% redirects endlessly or to an invalid address: check the proxy in front of it",
  ],
} as const satisfies Readonly<Record<string, readonly [kind: FailureKind, message: string]>>;

export function describeFault(fault: keyof typeof FAULT_ROWS, shown: string): Problem {
  const [kind, message] = FAULT_ROWS[fault];
  return { kind, message: message.replace("%", () => shown) };
}

/** `target` is a safe URL in quotes. */
export function describeRedirect(shown: string, target: string): Problem {
  const message =
    `${shown} redirects to ${target}, which is not followed: watch that URL if it is the right one`;
  return { kind: "redirect", message };
}

/** HTML or XML: its text may hold lines that look like samples. */
export function looksLikeMarkup(head: string): boolean {
  return /^<[!?a-z]/i.test(head);
}

/** First four bytes in hexadecimal, content encoding and type -> what the body is. */
const BODY_FORMATS: readonly (readonly [pattern: RegExp, format: string])[] = [
  [/^1f8b/, "compressed twice with gzip"],
  [/^28b52ffd|^\S* zstd\b/, "compressed with zstd"],
  [/^78(?:01|9c|da)|^\S* deflate\b/, "compressed with deflate"],
  [/^\S* br\b/, "compressed with brotli"],
  [/protobuf/, "protobuf"],
  [/^(?:fffe|feff|00..00|..00..00)/, "UTF-16"],
];

/** Where a body is no text that can be read, what it is. */
interface BodyHead {
  readonly bytes: Uint8Array;
  readonly encoding: string | null;
  readonly type: string | null;
}

/** A body without metrics. `head` is its beginning without leading white space. */
export function describeForeignBody(shown: string, head: string, body: BodyHead): Problem {
  if (head === "") return describeFault("empty", shown);
  if (looksLikeMarkup(head)) return describeFault("markup", shown);
  const start = [...body.bytes.subarray(0, 4)]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const traits = `${start} ${body.encoding ?? ""} ${body.type ?? ""}`.toLowerCase();
  const format = BODY_FORMATS.find(([pattern]) => pattern.test(traits))?.[1];
  if (format === undefined) return describeFault(/^[{["]/.test(head) ? "json" : "text", shown);
  return {
    kind: "not_exposition",
    message:
      `${shown} answered with a body that is ${format}, but plain text was asked for: check ` +
      "the server and any proxy in front of it",
  };
}

/** After `bytes` bytes of the body. */
export function describeBodyError(error: unknown, shown: string, bytes: Bytes): Problem {
  if (/gzip|deflate|brotli|zlib|inflate|decompress/i.test(collectErrorText(error))) {
    return describeFault("compressed", shown);
  }
  return {
    kind: "truncated",
    message: `${shown} stopped after ${bytes} bytes of its response: see its log and that of any ` +
      "proxy in front of it",
  };
}

export function describeTimeout(
  shown: string,
  { phase, timeout, bytes }: {
    readonly phase: ScrapePhase;
    readonly timeout: Seconds;
    readonly bytes: Bytes;
  },
): Problem {
  const what = {
    credentials: `the credentials for ${shown} could not be read within ${timeout} s`,
    headers: `${shown} did not answer within ${timeout} s`,
    body: `${shown} was still sending after ${timeout} s (${bytes} bytes so far)`,
  }[phase];
  return {
    kind: "timeout",
    message: `${what}: check the server and the network, or raise --timeout if it is only slow`,
  };
}

type StatusRow = readonly [kind: FailureKind, meaning: string];

const MOVED: StatusRow = ["http_status", " (moved): use the URL that it redirects to"];

const STATUS_ROWS: Readonly<Record<number, StatusRow>> = {
  ...{ 301: MOVED, 302: MOVED, 303: MOVED, 307: MOVED, 308: MOVED },
  404: ["not_found", " (no such page): check the path, and that this is the server's own port"],
  405: ["http_status", " (method not allowed): check the path, as metrics are read by GET"],
  407: ["unauthorized", " (a proxy in front of it requires credentials): watch the server itself"],
  408: ["http_status", " (it waited too long for the request): check the network"],
  410: ["not_found", " (gone): check the path"],
  421: ["http_status", " (not for this host): use the host name that the server expects"],
  426: ["http_status", " (another protocol required): use https://, or check the port"],
  500: [
    "server_error",
    " (its metrics failed): see the server's log, and check that PROMETHEUS_MULTIPROC_DIR is on a " +
    "local disk",
  ],
  429: ["http_status", " (too many requests): raise --interval, or the limit"],
  502: ["server_error", " (a proxy cannot reach the server): check that it runs"],
  503: [
    "server_error",
    " (not ready): wait while it loads or scales, and see its log if this persists",
  ],
  504: ["server_error", " (the server does not answer its proxy): check that it runs"],
};

/** Longer waits are a mistake, or would hide that the server is back. */
export const MAX_RETRY_AFTER: Seconds = 300;

/** Parses the header `Retry-After`: seconds, or a date. */
export function parseRetryAfter(text: string | null, nowEpoch: EpochSeconds): Seconds | null {
  if (text === null) return null;
  const wait = /^\d+$/.test(text)
    ? Number(text)
    : new Date(text).getTime() / MILLISECONDS_PER_SECOND - nowEpoch;
  return wait > 0 ? Math.min(Math.ceil(wait), MAX_RETRY_AFTER) : null;
}

/** A server of that kind has metrics only with an option. */
export function describeDisabled(
  status: number,
  shown: string,
  { name, option }: { readonly name: string; readonly option: string },
): Problem {
  return {
    kind: "stats_disabled",
    message: `${shown} answered ${status} (metrics are off): start ${name} with ${option}`,
    serverName: name,
  };
}

/** `head` is the beginning of the body. */
export function describeStatus(
  status: number,
  { shown, head, sendsCredentials, isMetricsPage = true, retryAfter = null }: {
    readonly shown: string;
    readonly head: string;
    readonly sendsCredentials: boolean;
    /** Of a model server. */
    readonly isMetricsPage?: boolean;
    /** From the header. */
    readonly retryAfter?: Seconds | null;
  },
): Problem {
  const answer = `${shown} answered ${status}`;
  if (retryAfter !== null && (status === 429 || status === 503)) {
    const meaning = status === 429 ? "too many requests" : "not ready";
    return {
      kind: status === 429 ? "http_status" : "server_error",
      message: `${answer} (${meaning}): next try after ${retryAfter} s, as it asks`,
      retryAfter,
    };
  }
  const row = STATUS_ROWS[status];
  // The advice on 500 is for a model server.
  const fits = isMetricsPage || status !== 500;
  if (row !== undefined && fits) return { kind: row[0], message: answer + row[1] };
  if (status === 401 || status === 403) {
    return {
      kind: "unauthorized",
      message: sendsCredentials
        ? `${answer} (credentials rejected): check them and what they allow`
        : `${answer} (credentials required): give them with --token-file or --basic-auth-file`,
    };
  }
  if (status === 400 && /https|\btls\b|\bssl\b/i.test(head)) {
    return {
      kind: "http_status",
      message: `${answer} (TLS required): use https:// instead of http://`,
    };
  }
  if (status >= 500) {
    return {
      kind: "server_error",
      message:
        `${answer} (the server or a proxy in front of it failed): check that the server runs`,
    };
  }
  return {
    kind: "http_status",
    message: `${answer} instead of 200: check the URL and the server's log`,
  };
}

const ROLE_HINTS: Readonly<Record<ServerRole, string>> = {
  engine: `check the port (only ${DIALECT_NAMES} can be watched)`,
  router: "watch the servers behind it, each by its own URL",
  exporter: "check the port",
};

export function describeForeignMetrics(shown: string, familyNames: ReadonlySet<string>): Problem {
  const server = identifyServer(familyNames);
  if (server !== null) {
    const message = `${shown} is ${server.name}: ${ROLE_HINTS[server.role]}`;
    return { kind: "other_server", message, serverName: server.name };
  }
  const disabled = findDisabledServer(familyNames);
  if (disabled !== null) {
    const { name, option } = disabled;
    const message = `${shown} exports no engine metrics: start ${name} without ${option}`;
    return { kind: "stats_disabled", message, serverName: name };
  }
  return describeFault("foreign", shown);
}

export function describeTooLarge(shown: string, limit: Bytes): Problem {
  return {
    kind: "too_large",
    message: `${shown} sent more than ${limit / BYTES_PER_MEBIBYTE} MiB: check that this is the ` +
      "metrics page of a model server",
  };
}
