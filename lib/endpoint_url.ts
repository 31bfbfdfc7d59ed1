/**
 * What people type for a server -> an endpoint, with its password taken out.
 *
 * Layer 1, pure. `gpu1`, `gpu1:8000`, `:8000`, `8000`, `http://gpu1:8000/`,
 * `https://host/prefix/metrics`, `[::1]:8000` and `unix:/run/vllm.sock` all
 * name one place each, and spellings of the same place get the same key. User
 * and password leave the URL here and live on as a `Secret`; no key, address
 * or error message has them. What is wrong is an error of one sentence, never
 * an exception. Whether somebody answers there is `scraper`'s to find out.
 * Source of truth: the URL standard (url.spec.whatwg.org), through `URL`. Its
 * leniency is narrowed first: it reads `http:///metrics` as a host, `http://1`
 * as 0.0.0.1, and what follows a slash in a password as a path.
 *
 * @module
 */

import type { Endpoint } from "./model.ts";
import { createSecret, type Secret } from "./secret.ts";
import { VLLM_PORT } from "./server_commands.ts";
import { quote, sanitizeText } from "./text.ts";

/** A URL as typed: the place, and the credentials that stood in it. */
export interface TypedEndpoint {
  readonly endpoint: Endpoint;
  /** `user:password`, percent-decoded, or `null` where the URL has none. */
  readonly basicAuth: Secret | null;
}

/** The path of the exposition under the base URL (vllm/entrypoints/serve/instrumentator/metrics.py). */
const METRICS_PATH = "/metrics";

/** Longer URLs are refused, in characters. */
const MAX_URL_LENGTH = 2048;

const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i;
/** A name, an IPv4 address, or an IPv6 address in brackets, after `URL` has normalised it. */
const HOST_NAME = /^(?:[a-z0-9_][a-z0-9_.-]*|\[[0-9a-f:.]+\])$/;

/** An http or https URL, cut where its authority ends. */
interface UrlText {
  readonly scheme: "http" | "https";
  readonly hasScheme: boolean;
  readonly authority: string;
  /** From the first slash on; empty where there is none. */
  readonly path: string;
  /** The URL as messages quote it. */
  readonly shown: string;
}

type UrlError = { readonly error: string };

/**
 * The URL in quotes, fit for a message: without what stands before its last
 * `@`, without query and fragment, and with nothing that drives a terminal.
 *
 * @example
 * ```ts
 * import { quoteUrl } from "./endpoint_url.ts";
 * quoteUrl("http://me:secret@gpu1:8000/?key=1"); // '"http://gpu1:8000/?…"'
 * ```
 */
export function quoteUrl(text: string): string {
  const scheme = SCHEME.exec(text)?.[0] ?? "";
  const at = text.lastIndexOf("@");
  const bare = at < 0 ? text : scheme + text.slice(at + 1);
  return quote(bare.replace(/([?#]).*$/s, "$1…"));
}

function refuseShape(shown: string): UrlError {
  return {
    error: `${shown} is not the URL of a server: write HOST:PORT, http://HOST:PORT, ` +
      "https://HOST or unix:/PATH",
  };
}

/** `user:password` as the server is to get it, `null` where there is none. */
function readUserinfo(userinfo: string, shown: string): Secret | null | UrlError {
  if (userinfo === "" || userinfo === ":") return null;
  const colon = userinfo.indexOf(":");
  const user = colon < 0 ? userinfo : userinfo.slice(0, colon);
  const password = colon < 0 ? "" : userinfo.slice(colon + 1);
  try {
    return createSecret(`${decodeURIComponent(user)}:${decodeURIComponent(password)}`);
  } catch {
    return { error: `the user or password of ${shown} has a "%" that must be written as "%25"` };
  }
}

/** The authority without user and password, with the host and port that people leave out. */
function completePlace(place: string, hasScheme: boolean): string | null {
  if (/^\d+$/.test(place) && !hasScheme) return `localhost:${place}`;
  if (/^\d+(?::|$)/.test(place)) return null;
  if (place === "" || place.endsWith(":")) return null;
  const withHost = place.startsWith(":") ? `localhost${place}` : place;
  if (hasScheme || /:\d+$/.test(withHost)) return withHost;
  return withHost.startsWith("[") || !withHost.includes(":") ? `${withHost}:${VLLM_PORT}` : null;
}

function readHttpUrl(
  { scheme, hasScheme, authority, path, shown }: UrlText,
): TypedEndpoint | UrlError {
  if (path.includes("@")) {
    return { error: `${shown} follows an "@" in a path: write "/" in a password as "%2F"` };
  }
  if (/[?#]/.test(path)) {
    return { error: `${shown} has a query or fragment: leave out what follows the path` };
  }
  const at = authority.lastIndexOf("@");
  const basicAuth = readUserinfo(authority.slice(0, Math.max(at, 0)), shown);
  if (basicAuth !== null && "error" in basicAuth) return basicAuth;

  const bare = authority.slice(at + 1);
  if (/^[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*$/i.test(bare)) {
    return { error: `${shown} needs brackets round its IPv6 address, as in "[::1]:8000"` };
  }
  const place = completePlace(bare, hasScheme);
  if (place === null) return refuseShape(shown);
  const typedPort = /:(\d+)$/.exec(place)?.[1];
  if (typedPort !== undefined && !(Number(typedPort) >= 1 && Number(typedPort) <= 65_535)) {
    return { error: `${shown} has no valid port: ports are from 1 to 65535` };
  }
  const text = `${scheme}://${place}${path}`;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !HOST_NAME.test(url.hostname)) return refuseShape(shown);

  const trimmed = url.pathname.replace(/\/+$/, "");
  const base = trimmed.endsWith(METRICS_PATH)
    ? trimmed.slice(0, -METRICS_PATH.length).replace(/\/+$/, "")
    : trimmed;
  const key = `${scheme}://${url.host}${base}`;
  const port = url.port === "" ? (scheme === "https" ? "443" : "80") : url.port;
  const endpoint: Endpoint = {
    key,
    metricsUrl: key + METRICS_PATH,
    address: `${url.hostname}:${port}`,
    warnings: [],
  };
  return { endpoint, basicAuth };
}

/** Whether the host, as it stands in a URL, is this machine: what is sent there crosses no network. */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** Where an endpoint is reached by TCP. */
export interface Place {
  /** As it stands in a URL: an IPv6 address is in brackets. */
  readonly host: string;
  readonly port: number;
}

/** The host and port of an endpoint; `null` where it is reached by a socket. */
export function readPlace({ address, unixSocketPath }: Endpoint): Place | null {
  if (unixSocketPath !== undefined) return null;
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

/** Whether an endpoint is on this machine, by its address: a machine's own name does not say so. */
export function isLocal(endpoint: Endpoint): boolean {
  const place = readPlace(endpoint);
  return place === null || isLoopbackHost(place.host);
}

function readUnixUrl(typedPath: string, shown: string): TypedEndpoint | UrlError {
  const path = typedPath.replace(/^\/\/\//, "/");
  if (/[?#]/.test(path)) {
    return { error: `${shown} has a query or fragment: write unix:/PATH alone` };
  }
  if (!/^\/[^/]/.test(path)) {
    return { error: `${shown} needs an absolute path, as in "unix:/run/vllm.sock"` };
  }
  const unixSocketPath = path.replace(/\/+/g, "/").replace(/\/$/, "");
  const endpoint: Endpoint = {
    key: `unix:${unixSocketPath}`,
    metricsUrl: `http://localhost${METRICS_PATH}`,
    address: unixSocketPath,
    unixSocketPath,
    warnings: [],
  };
  return { endpoint, basicAuth: null };
}

/**
 * The endpoint that a person means by `text`. Without a scheme it is http, and
 * then the port is 8000 where none is given; with one, the scheme's own port.
 * A path is a prefix, to which `/metrics` is added unless it ends so already.
 *
 * The error is one sentence with the URL in quotes, without its credentials,
 * without a full stop.
 *
 * @example
 * ```ts
 * import { parseEndpointUrl } from "./endpoint_url.ts";
 * parseEndpointUrl("gpu1"); // endpoint.metricsUrl: "http://gpu1:8000/metrics"
 * parseEndpointUrl("ftp://gpu1"); // { error: … }
 * ```
 */
export function parseEndpointUrl(text: string): TypedEndpoint | { readonly error: string } {
  const typed = text.trim();
  if (typed === "") return { error: 'the URL "" is empty: write HOST:PORT' };
  const shown = quoteUrl(typed);
  if (typed.length > MAX_URL_LENGTH) {
    return { error: `the URL ${shown} is longer than ${MAX_URL_LENGTH} characters` };
  }
  if (sanitizeText(typed, 2 * MAX_URL_LENGTH) !== typed) {
    return { error: `the URL ${shown} has control or invisible characters: type it anew` };
  }
  if (/^unix:/i.test(typed)) return readUnixUrl(typed.slice("unix:".length), shown);

  const hasScheme = SCHEME.test(typed);
  const scheme = SCHEME.exec(typed)?.[1].toLowerCase() ?? "http";
  if (scheme !== "http" && scheme !== "https") {
    return { error: `${shown} cannot be watched: the scheme must be http, https or unix` };
  }
  const rest = typed.replace(SCHEME, "");
  if (!hasScheme && /^https?:/i.test(rest)) return refuseShape(shown);
  const end = rest.search(/[/\\?#]/);
  const authority = end < 0 ? rest : rest.slice(0, end);
  return readHttpUrl({
    scheme,
    hasScheme,
    authority,
    path: rest.slice(authority.length),
    shown,
  });
}
