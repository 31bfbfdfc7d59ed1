/**
 * What people type for a server -> an endpoint, with its password taken out.
 *
 * `gpu1`, `gpu1:8000`, `:8000`, `8000`, `http://gpu1:8000/`,
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
import { createSecret, measureWidth, quote, sanitizeText, type Secret } from "./text.ts";

/** The port of `vllm serve` where none is given. */
export const DEFAULT_PORT = 8000;

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
 */
export function quoteUrl(text: string): string {
  const scheme = SCHEME.exec(text)?.[0] ?? "";
  const at = text.lastIndexOf("@");
  const bare = at < 0 ? text : scheme + text.slice(at + 1);
  return quote(bare.replace(/([?#]).*$/s, "$1…"));
}

function rejectShape(shown: string): UrlError {
  return {
    error: `${shown} is not the URL of a server: write HOST:PORT, http://HOST:PORT, ` +
      "https://HOST or unix:/PATH",
  };
}

/** `user:password` as the server is to get it, `null` where there is none. */
function parseUserinfo(userinfo: string, shown: string): Secret | null | UrlError {
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
function completeAddress(place: string, hasScheme: boolean): string | null {
  if (/^\d+$/.test(place) && !hasScheme) return `localhost:${place}`;
  if (/^\d+(?::|$)/.test(place)) return null;
  if (place === "" || place.endsWith(":")) return null;
  const withHost = place.startsWith(":") ? `localhost${place}` : place;
  if (hasScheme || /:\d+$/.test(withHost)) return withHost;
  return withHost.startsWith("[") || !withHost.includes(":") ? `${withHost}:${DEFAULT_PORT}` : null;
}

function parseHttpUrl(
  { scheme, hasScheme, authority, path, shown }: UrlText,
): TypedEndpoint | UrlError {
  if (path.includes("@")) {
    return { error: `${shown} follows an "@" in a path: write "/" in a password as "%2F"` };
  }
  if (/[?#]/.test(path)) {
    return { error: `${shown} has a query or fragment: leave out what follows the path` };
  }
  const at = authority.lastIndexOf("@");
  const basicAuth = parseUserinfo(authority.slice(0, Math.max(at, 0)), shown);
  if (basicAuth !== null && "error" in basicAuth) return basicAuth;

  const bare = authority.slice(at + 1);
  if (/^[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*$/i.test(bare)) {
    return { error: `${shown} needs brackets round its IPv6 address, as in "[::1]:8000"` };
  }
  const place = completeAddress(bare, hasScheme);
  if (place === null) return rejectShape(shown);
  const typedPort = /:(\d+)$/.exec(place)?.[1];
  if (typedPort !== undefined && !(Number(typedPort) >= 1 && Number(typedPort) <= 65_535)) {
    return { error: `${shown} has no valid port: ports are from 1 to 65535` };
  }
  const text = `${scheme}://${place}${path}`;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !HOST_NAME.test(url.hostname)) return rejectShape(shown);

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
interface HostAndPort {
  /** As it stands in a URL: an IPv6 address is in brackets. */
  readonly host: string;
  readonly port: number;
}

/** The host and port of an endpoint; `null` where it is reached by a socket. */
export function getHostAndPort({ address, unixSocketPath }: Endpoint): HostAndPort | null {
  if (unixSocketPath !== undefined) return null;
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

/** Whether an endpoint is on this machine, by its address: a machine's own name does not say so. */
export function isLocal(endpoint: Endpoint): boolean {
  const place = getHostAndPort(endpoint);
  return place === null || isLoopbackHost(place.host);
}

function parseUnixUrl(typedPath: string, shown: string): TypedEndpoint | UrlError {
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
  if (/^unix:/i.test(typed)) return parseUnixUrl(typed.slice("unix:".length), shown);

  const hasScheme = SCHEME.test(typed);
  const scheme = SCHEME.exec(typed)?.[1].toLowerCase() ?? "http";
  if (scheme !== "http" && scheme !== "https") {
    return { error: `${shown} cannot be watched: the scheme must be http, https or unix` };
  }
  const rest = typed.replace(SCHEME, "");
  if (!hasScheme && /^https?:/i.test(rest)) return rejectShape(shown);
  const end = rest.search(/[/\\?#]/);
  const authority = end < 0 ? rest : rest.slice(0, end);
  return parseHttpUrl({
    scheme,
    hasScheme,
    authority,
    path: rest.slice(authority.length),
    shown,
  });
}

/** An endpoint and what it is called. */
interface EndpointNaming {
  readonly endpoint: Endpoint;
  readonly handle: string;
}

/** What a replica is called: by all that tells it apart, and without its model. */
export interface DisplayName {
  readonly name: string;
  /** Its endpoint, and its engine where that tells anything. */
  readonly place: string;
}

/** Cells that the address of an endpoint may take before a number stands for it. */
const MAX_NAME_WIDTH = 28;

/** The first of the forms that is not taken; where all are, the last one with a number behind it. */
function chooseName(forms: readonly string[], taken: ReadonlySet<string>): string {
  const free = forms.find((form) => !taken.has(form));
  if (free !== undefined) return free;
  for (let number = 2;; number++) {
    const form = `${forms[forms.length - 1]}#${number}`;
    if (!taken.has(form)) return form;
  }
}

/** The folder of a model in a cache of Hugging Face's hub, which names it. */
const HUB_FOLDER = /(?:^|\/)models--([^/]+)\/snapshots\/[^/]+\/*$/;

/** The last part of a model's name: what tells it apart from others of its maker. */
export function shortenModelName(modelName: string): string {
  const hubName = HUB_FOLDER.exec(modelName)?.[1].split("--").at(-1);
  const parts = modelName.split("/").filter((part) => part !== "");
  return hubName ?? parts.at(-1) ?? modelName;
}

/** What a model is called beside those that have names: its last part, or all of it. */
export function nameModel(modelName: string, taken: ReadonlySet<string>): string {
  return chooseName([shortenModelName(modelName), modelName], taken);
}

/** The parts of an endpoint's address, as they are shown. */
type Part = "host" | "port" | "path";

function getPart(endpoint: Endpoint, part: Part): string {
  const place = getHostAndPort(endpoint);
  if (place === null) return part === "host" ? endpoint.address : "";
  if (part === "host") return place.host;
  if (part === "port") return `:${place.port}`;
  // The port is not in the key where it is the scheme's own.
  return /^[a-z]+:\/\/[^/]*(\/.*)?$/.exec(endpoint.key)?.[1] ?? "";
}

/** What must be the same for all where it is left out: one machine has several names. */
function comparePart(endpoint: Endpoint, part: Part): string {
  const text = getPart(endpoint, part);
  return part === "host" && isLoopbackHost(text) ? "localhost" : text;
}

/** Ways of naming endpoints, the shortest first. */
const NAME_FORMS: readonly (readonly Part[])[] = [
  ["port"],
  ["host"],
  ["host", "port"],
  ["port", "path"],
  ["host", "port", "path"],
];

/** Handles of that form: `null` where it leaves out what differs, or names two alike. */
function formNames(
  newcomers: readonly Endpoint[],
  form: readonly Part[],
  known: readonly EndpointNaming[],
): readonly string[] | null {
  const all = [...known.map(({ endpoint }) => endpoint), ...newcomers];
  const isShared = (part: Part): boolean =>
    new Set(all.map((endpoint) => comparePart(endpoint, part))).size === 1;
  const omitted = (["host", "port"] as const).filter((part) => !form.includes(part));
  if (!omitted.every(isShared)) return null;
  const handles = newcomers.map((one) => form.map((part) => getPart(one, part)).join(""));
  const distinct = new Set([...handles, ...known.map(({ handle }) => handle)]);
  const isDistinct = distinct.size === handles.length + known.length;
  return isDistinct && !handles.includes("") ? handles : null;
}

/** What newcomers are called beside those that have handles, in their order. Labels come first. */
export function nameEndpoints(
  newcomers: readonly Endpoint[],
  known: readonly EndpointNaming[],
): readonly string[] {
  const taken = new Set(known.map(({ handle }) => handle));
  const handles = new Map<Endpoint, string>();
  const give = (endpoint: Endpoint, forms: readonly string[]): void => {
    const handle = chooseName(forms, taken);
    handles.set(endpoint, handle);
    taken.add(handle);
  };
  const others = newcomers.filter((endpoint) => endpoint.label === undefined);
  for (const one of newcomers) if (one.label !== undefined) give(one, [one.label]);
  const unlabelled = known.filter(({ endpoint }) => endpoint.label === undefined);
  const formed = NAME_FORMS.map((form) => formNames(others, form, unlabelled))
    .find((found) => found !== null && !found.some((handle) => taken.has(handle)));
  others.forEach((endpoint, index) => {
    const found = formed?.[index] ?? endpoint.key;
    const isLong = measureWidth(found) > MAX_NAME_WIDTH;
    const number = `#${known.length + newcomers.indexOf(endpoint) + 1}`;
    give(endpoint, [...(isLong ? [number] : []), found, endpoint.key]);
  });
  return newcomers.map((endpoint) => handles.get(endpoint) ?? endpoint.key);
}

/** The engine as part of a name. */
function nameEngine(engine: string, isOneOfSeveral: boolean): string {
  const tellsNothing = engine === "" || (engine === "0" && !isOneOfSeveral);
  return tellsNothing ? "" : `.e${engine}`;
}

/**
 * What a replica is called beside those that have names.
 *
 * @param options.model What its model is called.
 * @param options.isAlone Whether no other endpoint is watched.
 * @param options.isOneOfSeveral Whether its endpoint has more engines of that model.
 */
export function nameReplica(
  { endpoint, handle }: EndpointNaming,
  engine: string,
  options: {
    readonly model: string;
    readonly isAlone: boolean;
    readonly isOneOfSeveral: boolean;
    readonly taken: ReadonlySet<string>;
  },
): DisplayName {
  const { model, isAlone, isOneOfSeveral, taken } = options;
  const suffix = nameEngine(engine, isOneOfSeveral);
  const place = handle + suffix;
  const full = `${model} ${place}`;
  const forms = endpoint.label !== undefined
    ? [place, full]
    : isAlone
    ? [model + suffix, full]
    : [full];
  return { name: chooseName(forms, taken), place };
}
