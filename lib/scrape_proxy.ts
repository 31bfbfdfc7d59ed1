/**
 * Which proxy a URL goes through, by the environment, as in curl: `http_proxy` (only in lower case:
 * CGI programs get `HTTP_PROXY` from a request's header) or `https_proxy`, else `all_proxy`; not
 * for hosts in `no_proxy`. Beyond curl, `no_proxy` may name ports, and addresses of this machine
 * are always reached directly: a scan must not ask a proxy for them. Source: curl's manual and its
 * lib/noproxy.c.
 * @module
 */

import { isLoopbackHost, quoteUrl } from "./endpoint.ts";
import type { ProxyServer } from "./platform.ts";
import { sanitizeText } from "./text.ts";

/** The value of a variable, or `undefined`. */
type Environment = (name: string) => string | undefined;

const PROXY_VARIABLES: Readonly<Record<string, readonly string[]>> = {
  "http:": ["http_proxy", "all_proxy", "ALL_PROXY"],
  "https:": ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
};
/** Those that Deno speaks. */
const PROXY_SCHEMES: ReadonlySet<string> = new Set(["http", "https", "socks5", "socks5h"]);
/** curl's ports for proxies given without one. */
const HTTPS_PROXY_PORT = "443";
const PROXY_PORT = "1080";

const PROXY_TEXT =
  /^(?:([a-z][a-z0-9+.-]*):\/\/)?(?:([^/]*)@)?(\[[0-9a-f:.]+\]|[^:@/?#\s]+)(?::(\d+))?\/?$/i;

interface Address {
  readonly bits: bigint;
  readonly width: number;
}

/** Of an IP address without brackets; `null` for a name. */
function parseAddress(host: string): Address | null {
  const fold = (parts: readonly number[], size: bigint): bigint =>
    parts.reduce((bits, part) => (bits << size) + BigInt(part), 0n);
  if (/^\d+(?:\.\d+){3}$/.test(host)) {
    return { bits: fold(host.split(".").map(Number), 8n), width: 32 };
  }
  if (!host.includes(":") || !URL.canParse(`http://[${host}]`)) return null;
  // In hexadecimal, with its longest run of zeros left out.
  const [before, after] = new URL(`http://[${host}]`).hostname.slice(1, -1).split("::")
    .map((half) => half === "" ? [] : half.split(":"));
  const zeros = after === undefined ? 0 : 8 - before.length - after.length;
  const groups = [...before, ...Array<string>(zeros).fill("0"), ...after ?? []];
  return { bits: fold(groups.map((group) => parseInt(group, 16)), 16n), width: 128 };
}

/** Whether `host` is in a block such as `127.0.0.0/8`. */
function isInBlock(host: string, block: string): boolean {
  const [, base, size] = /^(.*)\/(\d+)$/.exec(block) ?? [];
  const [address, start] = [parseAddress(host), parseAddress(base ?? "")];
  if (address === null || start === null || address.width !== start.width) return false;
  const rest = BigInt(Math.max(0, address.width - Number(size)));
  return address.bits >> rest === start.bits >> rest;
}

/** `entry` is a host, a domain with or without leading dot, an address, a block, or `*`. */
function matchesEntry(url: URL, entry: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "");
  if (entry === "*") return true;
  if (entry.includes("/")) return isInBlock(host, entry);
  const [, named = entry, port] = /^(\[.*\]|[^:]*):(\d+)$/.exec(entry) ?? [];
  const ownPort = url.port === "" ? (url.protocol === "https:" ? "443" : "80") : url.port;
  if (port !== undefined && port !== ownPort) return false;
  const wanted = named.replace(/^\[|\]$/g, "").replace(/^\.|\.$/g, "");
  if (wanted === "") return false;
  const address = parseAddress(host);
  return address === null
    ? host === wanted || host.endsWith(`.${wanted}`)
    : address.bits === parseAddress(wanted)?.bits;
}

function isExcluded(url: URL, environment: Environment): boolean {
  const excluded = environment("no_proxy") || environment("NO_PROXY") || "";
  return excluded.toLowerCase().split(/[\s,]+/).some((entry) => matchesEntry(url, entry));
}

function parseProxy(text: string, variable: string): ProxyServer | null {
  const [, typedScheme, userinfo, host, typedPort] = PROXY_TEXT.exec(text) ?? [];
  const scheme = (typedScheme ?? "http").toLowerCase();
  // A lone word is a mistake rather than the name of a host.
  if (host === undefined || (typedScheme === undefined && typedPort === undefined)) return null;
  const port = typedPort ?? (scheme === "https" ? HTTPS_PROXY_PORT : PROXY_PORT);
  const url = `${scheme}://${host}:${port}`;
  if (!PROXY_SCHEMES.has(scheme) || Number(port) < 1 || !URL.canParse(url)) return null;
  const name = sanitizeText(`the proxy ${host}:${port} (from ${variable})`);
  if (userinfo === undefined) return { url, name, variable };
  try {
    const [username, ...password] = userinfo.split(":");
    const basicAuth = {
      username: decodeURIComponent(username),
      password: decodeURIComponent(password.join(":")),
    };
    return { url, name, variable, basicAuth };
  } catch {
    return null;
  }
}

/**
 * Returns `null` to go direct.
 * @returns The error is one sentence without credentials and full stop.
 */
export function chooseProxy(
  typedUrl: string,
  environment: Environment,
): ProxyServer | null | { readonly error: string } {
  const url = new URL(typedUrl);
  if (isLoopbackHost(url.hostname) || isExcluded(url, environment)) return null;
  for (const variable of PROXY_VARIABLES[url.protocol] ?? []) {
    const text = environment(variable)?.trim() ?? "";
    if (text === "") continue;
    return parseProxy(text, variable) ?? {
      error:
        `the proxy ${quoteUrl(text)} (from ${variable}) cannot be used: write ${variable} as ` +
        "http://HOST:PORT, or socks5://HOST:PORT",
    };
  }
  return null;
}
