/**
 * Parses URLs as typed, and names endpoints and replicas. Spellings of one place share a key.
 * Passwords become a `Secret`, which no key or message holds. `URL` alone is too lenient: it reads
 * `http:///metrics` as a host, `http://1` as 0.0.0.1, and what follows a slash in a password as a
 * path.
 * @module
 */

import type { Endpoint } from "./model.ts";
import { createSecret, measureWidth, quote, sanitizeText, type Secret } from "./text.ts";

/** Default port. */
export const DEFAULT_PORT = 8000;

export interface TypedEndpoint {
  readonly endpoint: Endpoint;
  /** `user:password`, percent-decoded, or `null`. */
  readonly basicAuth: Secret | null;
}

/** Prometheus' convention. */
export const METRICS_PATH = "/metrics";
/** In characters. */
const MAX_URL_LENGTH = 2048;
const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i;
/** As normalized by `URL`. */
const HOST_NAME = /^(?:[a-z0-9_][a-z0-9_.-]*|\[[0-9a-f:.]+\])$/;

/** Cut after the authority. */
interface UrlText {
  readonly scheme: "http" | "https";
  readonly hasScheme: boolean;
  readonly authority: string;
  /** Starts with a slash, or is empty. */
  readonly path: string;
  /** As quoted in messages. */
  readonly quoted: string;
}

type UrlError = { readonly error: string };

/** Quotes a URL without credentials, query and fragment. */
export function quoteUrl(text: string): string {
  const scheme = SCHEME.exec(text)?.[0] ?? "";
  const at = text.lastIndexOf("@");
  const bare = at < 0 ? text : scheme + text.slice(at + 1);
  return quote(bare.replace(/([?#]).*$/s, "$1…"));
}

function createFormatError(quoted: string): UrlError {
  return {
    error: `${quoted} is not the URL of a server: write HOST:PORT, http://HOST:PORT, ` +
      "https://HOST or unix:/PATH",
  };
}

function parseUserinfo(userinfo: string, quoted: string): Secret | null | UrlError {
  if (userinfo === "" || userinfo === ":") return null;
  const colon = userinfo.indexOf(":");
  const user = colon < 0 ? userinfo : userinfo.slice(0, colon);
  const password = colon < 0 ? "" : userinfo.slice(colon + 1);
  try {
    return createSecret(`${decodeURIComponent(user)}:${decodeURIComponent(password)}`);
  } catch {
    return { error: `the user or password of ${quoted} has a "%" that must be written as "%25"` };
  }
}

/** Adds the default host and port; `null` if the text is not an address. */
function completeAddress(place: string, hasScheme: boolean): string | null {
  if (/^\d+$/.test(place) && !hasScheme) return `localhost:${place}`;
  if (/^\d+(?::|$)/.test(place)) return null;
  if (place === "" || place.endsWith(":")) return null;
  const withHost = place.startsWith(":") ? `localhost${place}` : place;
  if (hasScheme || /:\d+$/.test(withHost)) return withHost;
  return withHost.startsWith("[") || !withHost.includes(":") ? `${withHost}:${DEFAULT_PORT}` : null;
}

function parseHttpUrl(
  { scheme, hasScheme, authority, path, quoted }: UrlText,
): TypedEndpoint | UrlError {
  if (path.includes("@")) {
    return { error: `${quoted} has an "@" in its path: write "/" in a password as "%2F"` };
  }
  if (/[?#]/.test(path)) {
    return { error: `${quoted} has a query or fragment: leave out what follows the path` };
  }
  const at = authority.lastIndexOf("@");
  const basicAuth = parseUserinfo(authority.slice(0, Math.max(at, 0)), quoted);
  if (basicAuth !== null && "error" in basicAuth) return basicAuth;

  const bare = authority.slice(at + 1);
  if (/^[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*$/i.test(bare)) {
    return { error: `${quoted} needs brackets around its IPv6 address, as in "[::1]:8000"` };
  }
  const place = completeAddress(bare, hasScheme);
  if (place === null) return createFormatError(quoted);
  const typedPort = /:(\d+)$/.exec(place)?.[1];
  if (typedPort !== undefined && !(Number(typedPort) >= 1 && Number(typedPort) <= 65_535)) {
    return { error: `${quoted} has an invalid port: use 1 to 65535` };
  }
  const text = `${scheme}://${place}${path}`;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !HOST_NAME.test(url.hostname)) return createFormatError(quoted);

  const trimmed = url.pathname.replace(/\/+$/, "");
  const base = trimmed.endsWith(METRICS_PATH)
    ? trimmed.slice(0, -METRICS_PATH.length).replace(/\/+$/, "")
    : trimmed;
  const key = `${scheme}://${url.host}${base}`;
  // Such as SkyPilot's /endpoints-metrics.
  const isMetricsPage = /[_-]metrics$/.test(trimmed);
  const port = url.port === "" ? (scheme === "https" ? "443" : "80") : url.port;
  const endpoint: Endpoint = {
    key,
    metricsUrl: isMetricsPage ? key : key + METRICS_PATH,
    address: `${url.hostname}:${port}`,
    warnings: [],
  };
  return { endpoint, basicAuth };
}

/** Takes the host as written in a URL, with IPv6 in brackets. */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** Returns `null` for a Unix socket. IPv6 is in brackets. */
export function getHostAndPort(
  { address, unixSocketPath }: Endpoint,
): { readonly host: string; readonly port: number } | null {
  if (unixSocketPath !== undefined) return null;
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

/** Judges by address; this machine's own host name does not count. */
export function isLocal(endpoint: Endpoint): boolean {
  const place = getHostAndPort(endpoint);
  return place === null || isLoopbackHost(place.host);
}

function parseUnixUrl(typedPath: string, quoted: string): TypedEndpoint | UrlError {
  const path = typedPath.replace(/^\/\/\//, "/");
  if (/[?#]/.test(path)) {
    return { error: `${quoted} has a query or fragment: write only unix:/PATH` };
  }
  if (!/^\/[^/]/.test(path)) {
    return { error: `${quoted} needs an absolute path, as in "unix:/run/vllm.sock"` };
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
 * Parses a URL as typed; http and port 8000 are the defaults without a scheme. A path is a prefix
 * to `/metrics`, unless it names a page of metrics.
 * @returns The error is one sentence without credentials and full stop.
 */
export function parseEndpointUrl(text: string): TypedEndpoint | { readonly error: string } {
  const typed = text.trim();
  if (typed === "") return { error: 'the URL "" is empty: write HOST:PORT' };
  const quoted = quoteUrl(typed);
  if (typed.length > MAX_URL_LENGTH) {
    return { error: `the URL ${quoted} is longer than ${MAX_URL_LENGTH} characters` };
  }
  if (sanitizeText(typed, 2 * MAX_URL_LENGTH) !== typed) {
    return { error: `the URL ${quoted} has control or invisible characters: retype it` };
  }
  if (/^unix:/i.test(typed)) return parseUnixUrl(typed.slice("unix:".length), quoted);

  const hasScheme = SCHEME.test(typed);
  const scheme = SCHEME.exec(typed)?.[1].toLowerCase() ?? "http";
  if (scheme !== "http" && scheme !== "https") {
    return { error: `${quoted} has an unsupported scheme: use http, https or unix` };
  }
  const rest = typed.replace(SCHEME, "");
  if (!hasScheme && /^https?:/i.test(rest)) return createFormatError(quoted);
  const end = rest.search(/[/\\?#]/);
  const authority = end < 0 ? rest : rest.slice(0, end);
  return parseHttpUrl({ scheme, hasScheme, authority, path: rest.slice(authority.length), quoted });
}

interface EndpointNaming {
  readonly endpoint: Endpoint;
  readonly displayName: string;
}

export interface DisplayName {
  readonly name: string;
  /** Endpoint, and engine where it matters. */
  readonly place: string;
}

/** In cells; a number replaces longer addresses. */
const MAX_NAME_WIDTH = 28;

/** Returns the first free form, else the last one with a number. */
function chooseName(forms: readonly string[], taken: ReadonlySet<string>): string {
  const free = forms.find((form) => !taken.has(form));
  if (free !== undefined) return free;
  for (let number = 2;; number++) {
    const form = `${forms[forms.length - 1]}#${number}`;
    if (!taken.has(form)) return form;
  }
}

/** In the Hugging Face hub cache. */
const HUB_FOLDER = /(?:^|\/)models--([^/]+)\/snapshots\/[^/]+\/*$/;

/** Drops the organization or folder. */
export function shortenModelName(modelName: string): string {
  const hubName = HUB_FOLDER.exec(modelName)?.[1].split("--").at(-1);
  const parts = modelName.split("/").filter((part) => part !== "");
  return hubName ?? parts.at(-1) ?? modelName;
}

/** Returns the short name, or the full one if that is taken. */
export function nameModel(modelName: string, taken: ReadonlySet<string>): string {
  return chooseName([shortenModelName(modelName), modelName], taken);
}

type Part = "host" | "port" | "path";

function getPart(endpoint: Endpoint, part: Part): string {
  const place = getHostAndPort(endpoint);
  if (place === null) return part === "host" ? endpoint.address : "";
  if (part === "host") return place.host;
  if (part === "port") return `:${place.port}`;
  // The key omits the scheme's default port.
  return /^[a-z]+:\/\/[^/]*(\/.*)?$/.exec(endpoint.key)?.[1] ?? "";
}

/** All loopback hosts count as one. */
function getComparablePart(endpoint: Endpoint, part: Part): string {
  const text = getPart(endpoint, part);
  return part === "host" && isLoopbackHost(text) ? "localhost" : text;
}

/** Shortest first. */
const NAME_FORMS: readonly (readonly Part[])[] = [
  ["port"],
  ["host"],
  ["host", "port"],
  ["port", "path"],
  ["host", "port", "path"],
];

/** Returns `null` if the form omits what differs, or two names are equal. */
function formNames(
  newcomers: readonly Endpoint[],
  form: readonly Part[],
  known: readonly EndpointNaming[],
): readonly string[] | null {
  const all = [...known.map(({ endpoint }) => endpoint), ...newcomers];
  const isShared = (part: Part): boolean =>
    new Set(all.map((endpoint) => getComparablePart(endpoint, part))).size === 1;
  const omitted = (["host", "port"] as const).filter((part) => !form.includes(part));
  // More hosts, and more servers there, come later.
  if (omitted.length > 0 && newcomers.some(({ sshHost }) => sshHost !== undefined)) return null;
  if (!omitted.every(isShared)) return null;
  const displayNames = newcomers.map((endpoint) =>
    form.map((part) => getPart(endpoint, part)).join("")
  );
  const distinct = new Set([...displayNames, ...known.map(({ displayName }) => displayName)]);
  const isDistinct = distinct.size === displayNames.length + known.length;
  return isDistinct && !displayNames.includes("") ? displayNames : null;
}

/** A pod may be in several namespaces, and have several ports. */
function listLabelForms(endpoint: Endpoint, label: string): readonly string[] {
  const namespace = endpoint.targetLabels?.get("namespace");
  return [
    label,
    ...(namespace === undefined ? [] : [`${namespace}/${label}`]),
    ...(endpoint.targetLabels === undefined ? [] : [label + getPart(endpoint, "port")]),
  ];
}

/** Names new endpoints, distinct from known ones; labels come first. */
export function nameEndpoints(
  newcomers: readonly Endpoint[],
  known: readonly EndpointNaming[],
): readonly string[] {
  const taken = new Set(known.map(({ displayName }) => displayName));
  const displayNames = new Map<Endpoint, string>();
  const assignName = (endpoint: Endpoint, forms: readonly string[]): void => {
    const displayName = chooseName(forms, taken);
    displayNames.set(endpoint, displayName);
    taken.add(displayName);
  };
  const others = newcomers.filter((endpoint) => endpoint.label === undefined);
  for (const endpoint of newcomers) {
    if (endpoint.label !== undefined) {
      assignName(endpoint, listLabelForms(endpoint, endpoint.label));
    }
  }
  const unlabelled = known.filter(({ endpoint }) => endpoint.label === undefined);
  const formed = NAME_FORMS.map((form) => formNames(others, form, unlabelled))
    .find((found) => found !== null && !found.some((displayName) => taken.has(displayName)));
  others.forEach((endpoint, index) => {
    const found = formed?.[index] ?? endpoint.key;
    const isLong = measureWidth(found) > MAX_NAME_WIDTH;
    const number = `#${known.length + newcomers.indexOf(endpoint) + 1}`;
    assignName(endpoint, [...(isLong ? [number] : []), found, endpoint.key]);
  });
  return newcomers.map((endpoint) => displayNames.get(endpoint) ?? endpoint.key);
}

function nameEngine(engine: string, isOneOfSeveral: boolean): string {
  const tellsNothing = engine === "" || (engine === "0" && !isOneOfSeveral);
  // An engine told apart by other labels names them.
  return tellsNothing ? "" : engine.includes(" ") ? ` ${engine}` : `.e${engine}`;
}

/**
 * Names a replica by model, endpoint and engine, as far as needed.
 * @param options.isAlone No other endpoint is watched.
 * @param options.isOneOfSeveral The endpoint has more engines of that model.
 */
export function nameReplica(
  { endpoint, displayName }: EndpointNaming,
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
  const place = displayName + suffix;
  const full = `${model} ${place}`;
  const forms = endpoint.label !== undefined
    ? [place, full]
    : isAlone
    ? [model + suffix, full]
    : [full];
  return { name: chooseName(forms, taken), place };
}

/** A machine behind ssh. */
export interface SshTarget {
  /** Among the hosts, and in the URLs of its servers. */
  readonly name: string;
  /** As ssh takes it: an alias, `user@host` or `ssh://user@host:port`. */
  readonly destination: string;
}

/** No shell character, and no dash that ssh would take for an option (CVE-2023-51385). */
const SSH_DESTINATION = /^(?:ssh:\/\/)?(?!-)[A-Za-z0-9_.:%@[\]-]+$/;
const MAX_DESTINATION_LENGTH = 255;

/**
 * Parses `[NAME=]HOST`. By default the name is the host's, without user, and with a port that is not
 * ssh's own. `null` if it is none.
 */
export function parseSshTarget(text: string): SshTarget | null {
  const equals = text.indexOf("=");
  const destination = text.slice(equals + 1);
  if (!SSH_DESTINATION.test(destination) || text.length > MAX_DESTINATION_LENGTH) return null;
  const place = destination.replace(/^ssh:\/\//, "").replace(/^.*@/, "");
  if (place === "" || place.startsWith("-")) return null;
  if (equals >= 0) {
    const name = text.slice(0, equals).toLowerCase();
    return HOST_NAME.test(name) && !isLoopbackHost(name) ? { name, destination } : null;
  }
  const name = place.toLowerCase().replace(/[^a-z0-9_.]+/g, "-").replace(/^[-.]+|-+$/g, "");
  if (name === "") return null;
  // This machine has that name already.
  return { name: isLoopbackHost(name) ? `ssh-${name}` : name, destination };
}
