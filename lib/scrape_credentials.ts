/**
 * Selects and loads credentials. Sources for one endpoint override those for all; endpoints found
 * by a scan get none. Tokens, passwords and headers expire, so they are reread on each scrape;
 * certificates are read once.
 * @module
 */

import type { TypedEndpoint } from "./endpoint.ts";
import { describeFileError } from "./files.ts";
import type { Endpoint } from "./model.ts";
import type { Platform, Transport } from "./platform.ts";
import { chooseProxy } from "./scrape_proxy.ts";
import { createSecret, quote, revealSecret, type Secret } from "./text.ts";
import { VERSION } from "./version.ts";

export type CredentialKind =
  | ("token" | "basic_auth" | "headers" | "ca_certificates" | "client_certificate")
  | "client_key";

export interface CredentialSource {
  readonly kind: CredentialKind;
  /** `null`: every endpoint the user named, none found by a scan. */
  readonly endpointKey: string | null;
  readonly from: { readonly file: string } | { readonly variable: string };
}

interface CredentialOptions {
  readonly credentialSources: readonly CredentialSource[];
  readonly insecureEndpointKeys: readonly string[];
}

export interface EndpointAccess {
  readonly transport: Transport;
  /** Rereads the sources; rejects with an error that is safe to show. */
  readonly readHeaders: () => Promise<Readonly<Record<string, string>>>;
  readonly sendsCredentials: boolean;
}

export const ANONYMOUS_ACCESS: EndpointAccess = {
  transport: {},
  readHeaders: () => Promise.resolve({}),
  sendsCredentials: false,
};

/** As written in messages. */
const SOURCE_NAMES: Readonly<Record<CredentialKind, string>> = {
  token: "token",
  basic_auth: "user and password",
  headers: "headers",
  ca_certificates: "CA certificates",
  client_certificate: "client certificate",
  client_key: "client key",
};

/** An error whose message is safe to show. */
class SourceError extends Error {}

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Visible ASCII. */
const TOKEN = /^[\x21-\x7e]+$/;

/** Set by the HTTP client only. */
const FRAMING_HEADERS: ReadonlySet<string> = new Set([
  "accept-encoding",
  "connection",
  "content-length",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Credentials may replace User-Agent, but not `identity`: bodies are limited by size as sent. */
export function joinHeaders(
  accept: string,
  secretHeaders: Readonly<Record<string, string>>,
): Record<string, string> {
  return {
    accept,
    "user-agent": `vllm-htop/${VERSION}`,
    ...secretHeaders,
    "accept-encoding": "identity",
  };
}

function nameSource({ kind, from }: CredentialSource): string {
  return "file" in from
    ? `the ${SOURCE_NAMES[kind]} file ${quote(from.file)}`
    : `the ${SOURCE_NAMES[kind]} variable ${quote(from.variable)}`;
}

async function loadSource(platform: Platform, source: CredentialSource): Promise<string> {
  const { from } = source;
  let text: string | undefined;
  if ("variable" in from) {
    text = platform.environment(from.variable);
  } else {
    try {
      text = await platform.readTextFile(from.file);
    } catch (error) {
      throw new SourceError(`${nameSource(source)} ${describeFileError(error)}`);
    }
  }
  const trimmed = (text ?? "").trim();
  if (trimmed === "") {
    throw new SourceError(`${nameSource(source)} is empty: put the value into it`);
  }
  return trimmed;
}

function formatBearer(token: string, source: CredentialSource): string {
  if (/^bearer\s/i.test(token)) {
    throw new SourceError(`${nameSource(source)} begins with "Bearer": leave only the token in it`);
  }
  if (!TOKEN.test(token)) {
    throw new SourceError(
      `${nameSource(source)} has blanks, line breaks or other characters not allowed in a token: ` +
        "leave only the token in it",
    );
  }
  return `Bearer ${token}`;
}

function formatBasic(userAndPassword: string, sourceName: string): string {
  // deno-lint-ignore no-control-regex
  if (!userAndPassword.includes(":") || /[\x00-\x1f\x7f]/.test(userAndPassword)) {
    throw new SourceError(`${sourceName} must be one line of the form USER:PASSWORD`);
  }
  const bytes = new TextEncoder().encode(userAndPassword);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

function parseHeaderLines(text: string, source: CredentialSource): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0)).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    const place = `line ${index + 1} of ${nameSource(source)}`;
    if (!HEADER_NAME.test(name)) {
      throw new SourceError(`${place} is not a header: write it as "Name: value"`);
    }
    if (!HEADER_VALUE.test(value)) {
      throw new SourceError(
        `${place} has characters not allowed in a header value: use visible ASCII`,
      );
    }
    if (FRAMING_HEADERS.has(name)) {
      throw new SourceError(
        `${place} sets "${name}", which only the HTTP client may set: remove the line`,
      );
    }
    headers[name] = value;
  }
  return headers;
}

type Authorization =
  | { readonly kind: "source"; readonly source: CredentialSource }
  | { readonly kind: "url"; readonly basicAuth: Secret };

/** Returns the endpoint's own sources, else those for all. */
function selectSources(
  sources: readonly CredentialSource[],
  kind: CredentialKind,
  key: string,
): readonly CredentialSource[] {
  const ofKind = sources.filter((source) => source.kind === kind);
  const own = ofKind.filter((source) => source.endpointKey === key);
  return own.length > 0 ? own : ofKind.filter((source) => source.endpointKey === null);
}

/** Returns the endpoint's own credentials, else those for all. */
function selectAuthorization(
  { endpoint, basicAuth }: TypedEndpoint,
  sources: readonly CredentialSource[],
): Authorization | null {
  const authorizing = sources.filter(({ kind }) => kind === "token" || kind === "basic_auth");
  const choose = (key: string | null): Authorization[] =>
    authorizing.filter((source) => source.endpointKey === key)
      .map((source) => ({ kind: "source", source }));
  const own = choose(endpoint.key);
  if (basicAuth !== null) own.push({ kind: "url", basicAuth });
  const candidates = own.length > 0 ? own : choose(null);
  if (candidates.length > 1) {
    const names = candidates.map((candidate) =>
      candidate.kind === "url" ? "the user and password of the URL" : nameSource(candidate.source)
    );
    throw new SourceError(
      `"${endpoint.key}" has several credentials (${names.join(", ")}): keep one`,
    );
  }
  return candidates[0] ?? null;
}

async function loadPem(
  platform: Platform,
  source: CredentialSource,
  label: RegExp,
): Promise<string> {
  const text = await loadSource(platform, source);
  if (!label.test(text)) {
    throw new SourceError(`${nameSource(source)} has no PEM block of that kind: check the file`);
  }
  return text;
}

const CERTIFICATE_LABEL = /-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/;
const KEY_LABEL = /-----BEGIN ([A-Z]+ )?PRIVATE KEY-----/;

/**
 * Loads the CA certificates that are for every URL.
 * @returns The error is one sentence that names the file.
 */
export async function loadAuthorities(
  platform: Platform,
  sources: readonly CredentialSource[],
): Promise<readonly string[] | { readonly error: string }> {
  const ofAll = sources.filter(({ kind, endpointKey }) =>
    kind === "ca_certificates" && endpointKey === null
  );
  try {
    return await Promise.all(ofAll.map((source) => loadPem(platform, source, CERTIFICATE_LABEL)));
  } catch (error) {
    if (error instanceof SourceError) return { error: error.message };
    throw error;
  }
}

async function loadTransport(
  platform: Platform,
  endpoint: Endpoint,
  options: CredentialOptions,
): Promise<Transport> {
  const select = (kind: CredentialKind): readonly CredentialSource[] =>
    selectSources(options.credentialSources, kind, endpoint.key);
  const readAll = (kind: CredentialKind, label: RegExp): Promise<string[]> =>
    Promise.all(select(kind).map((source) => loadPem(platform, source, label)));
  const caCertificates = await readAll("ca_certificates", CERTIFICATE_LABEL);
  const [clientCertificate] = await readAll("client_certificate", CERTIFICATE_LABEL);
  const [clientKey] = await readAll("client_key", KEY_LABEL);
  const isInsecure = options.insecureEndpointKeys.includes(endpoint.key);
  const hasOwnWay = endpoint.unixSocketPath !== undefined || endpoint.sshHost !== undefined ||
    endpoint.pod !== undefined;
  const proxy = isInsecure || hasOwnWay
    ? null
    : chooseProxy(endpoint.metricsUrl, platform.environment);
  if (proxy !== null && "error" in proxy) throw new SourceError(proxy.error);
  return {
    ...(endpoint.unixSocketPath === undefined ? {} : { unixSocketPath: endpoint.unixSocketPath }),
    ...(endpoint.sshHost === undefined ? {} : { sshHost: endpoint.sshHost }),
    ...(endpoint.pod === undefined ? {} : { isPod: true }),
    ...(caCertificates.length === 0 ? {} : { caCertificates }),
    ...(clientCertificate === undefined || clientKey === undefined
      ? {}
      : { clientCertificate, clientKey }),
    ...(isInsecure ? { insecure: true } : {}),
    ...(proxy === null ? {} : { proxy }),
  };
}

/** Reports bad certificates at startup. */
async function checkTransport(
  platform: Platform,
  endpoint: Endpoint,
  transport: Transport,
): Promise<void> {
  if (transport.caCertificates === undefined && transport.clientCertificate === undefined) return;
  try {
    (await platform.createHttpClient(transport)).close();
  } catch {
    throw new SourceError(
      `the certificates or the key for "${endpoint.key}" cannot be used: ` +
        "check that the PEM files are whole and that the key belongs to the certificate",
    );
  }
}

/**
 * Opens the access to an endpoint; reads every source once, so that problems show at startup.
 * @returns The error is one sentence that names the file or variable, never its content.
 */
export async function openAccess(
  platform: Platform,
  typed: TypedEndpoint,
  options: CredentialOptions,
): Promise<EndpointAccess | { readonly error: string }> {
  const { endpoint } = typed;
  const sources = options.credentialSources;
  try {
    const authorization = selectAuthorization(typed, sources);
    const headerSources = [
      ...sources.filter(({ kind, endpointKey }) => kind === "headers" && endpointKey === null),
      ...sources.filter(({ kind, endpointKey }) =>
        kind === "headers" && endpointKey === endpoint.key
      ),
    ];
    const readHeaders = async (): Promise<Readonly<Record<string, string>>> => {
      const headers: Record<string, string> = {};
      for (const source of headerSources) {
        Object.assign(headers, parseHeaderLines(await loadSource(platform, source), source));
      }
      if (authorization !== null) {
        if ("authorization" in headers) {
          throw new SourceError(
            `"${endpoint.key}" already has credentials: remove "authorization" from the headers`,
          );
        }
        headers.authorization = revealSecret(await loadAuthorization(platform, authorization));
      }
      return headers;
    };
    await readHeaders();
    const transport = await loadTransport(platform, endpoint, options);
    await checkTransport(platform, endpoint, transport);
    const sendsCredentials = authorization !== null || headerSources.length > 0 ||
      transport.clientCertificate !== undefined;
    return { transport, readHeaders, sendsCredentials };
  } catch (error) {
    if (error instanceof SourceError) return { error: error.message };
    throw error;
  }
}

async function loadAuthorization(
  platform: Platform,
  authorization: Authorization,
): Promise<Secret> {
  if (authorization.kind === "url") {
    const text = revealSecret(authorization.basicAuth);
    return createSecret(formatBasic(text, "the user and password of the URL"));
  }
  const { source } = authorization;
  const text = await loadSource(platform, source);
  return createSecret(
    source.kind === "token" ? formatBearer(text, source) : formatBasic(text, nameSource(source)),
  );
}
