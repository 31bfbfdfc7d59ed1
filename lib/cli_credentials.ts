/**
 * Which credential files and variables belong to which endpoint; `scrape_credentials` loads them. A
 * file serves one endpoint (`URL=FILE`) or all that the user names, never a server found by a scan.
 * Options of one set come from one source, so that `--basic-auth-file` does not clash with a
 * forgotten `VLLM_HTOP_TOKEN`.
 * @module
 */

import type { OptionValues, Value } from "./cli_option_table.ts";
import { type Problem, refuse } from "./cli_values.ts";
import { getHostAndPort, parseEndpointUrl, quoteUrl, type TypedEndpoint } from "./endpoint.ts";
import type { CredentialKind, CredentialSource } from "./scrape_credentials.ts";
import { quote } from "./text.ts";

const INSECURE_WARNING = "its certificate is not checked (--insecure)";

const CREDENTIAL_OPTIONS = [
  ["token", "token-file"],
  ["basic_auth", "basic-auth-file"],
  ["headers", "header-file"],
  ["ca_certificates", "ca-file"],
  ["client_certificate", "cert-file"],
  ["client_key", "key-file"],
] as const satisfies readonly (readonly [CredentialKind, keyof OptionValues])[];

/** `endpointKey` is `null` for all endpoints. */
type Scoped = { readonly endpointKey: string | null; readonly value: string };
/** Looks like `URL=VALUE`, even if the URL is not watched. */
const MEANT_AS_URL = /^(?:unix:|[a-z][a-z0-9+.-]*:\/\/|[^/=]*:\d+(?:\/[^=]*)?=)/i;

/** Splits at the last `=` after a watched URL; `null` if the URL is not watched. */
export function splitScope(
  text: string,
  isWatched: (typed: TypedEndpoint) => boolean,
): Scoped | null {
  for (let at = text.lastIndexOf("="); at > 0; at = text.lastIndexOf("=", at - 1)) {
    const typed = parseEndpointUrl(text.slice(0, at));
    if ("error" in typed || !isWatched(typed)) continue;
    return { endpointKey: typed.endpoint.key, value: text.slice(at + 1) };
  }
  return MEANT_AS_URL.test(text) ? null : { endpointKey: null, value: text };
}

/** Variables and the configuration file may name URLs of other calls: those are ignored. */
function resolveSources(
  kind: CredentialKind,
  values: readonly Value<string>[],
  { isWatched, hasTargets, hasSsh, problems }: {
    readonly isWatched: (typed: TypedEndpoint) => boolean;
    readonly hasTargets: boolean;
    readonly hasSsh: boolean;
    readonly problems: Problem[];
  },
): readonly CredentialSource[] {
  const sources: CredentialSource[] = [];
  for (const { value, source } of values) {
    const complain = (words: string): void => {
      problems.push(refuse(source, words, quoteUrl(value)));
    };
    if (source.isContent) {
      if (sources.some(({ endpointKey }) => endpointKey === null)) {
        const problem = `${
          values[0].source.origin
        } and ${source.origin} exclude each other: set one`;
        problems.push({ problem, level: source.level });
      }
      sources.push({ kind, endpointKey: null, from: { variable: source.origin } });
      continue;
    }
    const scoped = splitScope(value, isWatched);
    const isScan = !hasTargets && !hasSsh;
    const isForFound = isScan || (!hasTargets && scoped !== null && scoped.endpointKey === null);
    if ((scoped === null || isForFound) && source.level !== "option") continue;
    if (isForFound) complain("needs a URL: no credentials go to servers of a scan");
    else if (scoped === null) complain("names a URL that is not watched");
    else if (scoped.value === "") complain('has no FILE after the "="');
    else if (sources.some(({ endpointKey }) => endpointKey === scoped.endpointKey)) {
      complain("is the second file for the same endpoints");
    } else {
      sources.push({ kind, endpointKey: scoped.endpointKey, from: { file: scoped.value } });
    }
  }
  return sources;
}

/** At most one of a kind for each endpoint; those for one endpoint come first. */
export function resolveCredentials(
  values: OptionValues,
  endpoints: readonly TypedEndpoint[],
  problems: Problem[],
): readonly CredentialSource[] {
  const keys = new Set(endpoints.map((typed) => typed.endpoint.key));
  const sshNames = new Set(values.ssh.map(({ value }) => value.name));
  const hasSsh = sshNames.size > 0;
  const isWatched = ({ endpoint }: TypedEndpoint): boolean =>
    keys.has(endpoint.key) || sshNames.has(getHostAndPort(endpoint)?.host ?? "");
  const hasTargets = keys.size > 0 || values.targets.length > 0;
  const sources = CREDENTIAL_OPTIONS.flatMap(([kind, option]) => {
    // During a scan only arguments can be wrong.
    const some = values[option].filter(({ source }) =>
      source.level === "option" || hasTargets || hasSsh
    );
    return resolveSources(kind, some, { isWatched, hasTargets, hasSsh, problems });
  });
  const complain = (
    problem: string,
    option: keyof Pick<OptionValues, "token-file" | "cert-file" | "key-file">,
  ): void => {
    problems.push({ problem, level: values[option][0].source.level });
  };
  const listKeys = (kind: CredentialKind) =>
    sources.filter((source) => source.kind === kind).map((source) => source.endpointKey);
  const where = (key: string | null) => key === null ? "every URL" : quote(key);

  const basicAuthKeys = listKeys("basic_auth");
  const twice = listKeys("token").find((key) => basicAuthKeys.includes(key));
  if (twice !== undefined) {
    complain(`both a token and a user with password are given for ${where(twice)}`, "token-file");
  }
  const certificates = listKeys("client_certificate");
  const clientKeys = listKeys("client_key");
  const withoutKey = certificates.find((key) => !clientKeys.includes(key));
  const withoutCertificate = clientKeys.find((key) => !certificates.includes(key));
  if (withoutKey !== undefined) {
    complain(`--cert-file for ${where(withoutKey)} needs --key-file, too`, "cert-file");
  } else if (withoutCertificate !== undefined) {
    const shown = where(withoutCertificate);
    complain(`--key-file for ${shown} needs --cert-file, too`, "key-file");
  }
  return sources.toSorted((a, b) =>
    Number(a.endpointKey === null) - Number(b.endpointKey === null)
  );
}

/** The endpoints whose certificates are not checked. Only arguments must name watched ones. */
export function resolveInsecureKeys(
  { insecure, targets, ssh }: OptionValues,
  endpoints: readonly TypedEndpoint[],
  problems: Problem[],
): readonly string[] {
  const keys = new Set<string>();
  for (const { value, source } of insecure) {
    for (const { endpoint: { key } } of value) {
      const isSecure = key.startsWith("https:");
      const isKnown = endpoints.some(({ endpoint }) => endpoint.key === key);
      // A list or a host behind ssh may have it later.
      if (isSecure && (isKnown || targets.length + ssh.length > 0)) keys.add(key);
      else if (source.level === "option") {
        const words = isSecure
          ? "is not one of the watched URLs"
          : "has no certificate to check: only https has";
        problems.push(refuse(source, words, quoteUrl(source.text)));
      }
    }
  }
  return [...keys];
}

export function markInsecure(typed: TypedEndpoint, keys: readonly string[]): TypedEndpoint {
  if (!keys.includes(typed.endpoint.key)) return typed;
  return { ...typed, endpoint: { ...typed.endpoint, warnings: [INSECURE_WARNING] } };
}
