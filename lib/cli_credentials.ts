/**
 * Credential options -> where credentials are to be read from, and for whom.
 *
 * Credentials are only named here: `credentials` reads them. A
 * file may be for one endpoint (`URL=FILE`) or for every one that the user
 * names; none is ever for a server that a scan finds.
 *
 * @module
 */

import {
  chooseLevel,
  type Input,
  type Level,
  listSettings,
  ROWS_BY_NAME,
  splitUrls,
} from "./cli_arguments.ts";
import type { OptionName } from "./cli_option_table.ts";
import { parseEndpointUrl, quoteUrl, type TypedEndpoint } from "./endpoint.ts";
import type { CredentialKind, CredentialSource } from "./scrape_credentials.ts";
import { quote } from "./text.ts";

/** Standing remark of an endpoint that `--insecure` names. */
const INSECURE_WARNING = "its certificate is not checked (--insecure)";

/**
 * Credentials by option. Those of one set are one matter: an option for one of
 * them switches off the variables of all, and those the file, so that
 * `--basic-auth-file` does not meet a forgotten `VLLM_HTOP_TOKEN`.
 */
const CREDENTIAL_OPTIONS: readonly {
  readonly kind: CredentialKind;
  readonly option: OptionName;
  readonly set: "authorization" | "headers" | "authorities" | "client";
}[] = [
  { kind: "token", option: "token-file", set: "authorization" },
  { kind: "basic_auth", option: "basic-auth-file", set: "authorization" },
  { kind: "headers", option: "header-file", set: "headers" },
  { kind: "ca_certificates", option: "ca-file", set: "authorities" },
  { kind: "client_certificate", option: "cert-file", set: "client" },
  { kind: "client_key", option: "key-file", set: "client" },
];

type Scoped = { readonly endpointKey: string | null; readonly file: string };

/** What a value must look like to be meant as `URL=FILE` though its URL is not watched. */
const MEANT_AS_URL = /^(?:unix:|[a-z][a-z0-9+.-]*:\/\/|[^/=]*:\d+(?:\/[^=]*)?=)/i;

/** `[URL=]FILE`, cut at the last `=` after a watched URL; `null` where the URL is not watched. */
function splitScope(text: string, keys: ReadonlySet<string>): Scoped | null {
  for (let at = text.lastIndexOf("="); at > 0; at = text.lastIndexOf("=", at - 1)) {
    const typed = parseEndpointUrl(text.slice(0, at));
    if ("error" in typed || !keys.has(typed.endpoint.key)) continue;
    return { endpointKey: typed.endpoint.key, file: text.slice(at + 1) };
  }
  return MEANT_AS_URL.test(text) ? null : { endpointKey: null, file: text };
}

/**
 * The credentials of one option at a level. Variables and the file serve other
 * calls, too: there, what is for a URL that is not watched is passed over.
 */
function parseSources(
  input: Input,
  { kind, option }: typeof CREDENTIAL_OPTIONS[number],
  { keys, level }: { readonly keys: ReadonlySet<string>; readonly level: Level },
): readonly CredentialSource[] {
  const { variable, problems } = input;
  const row = ROWS_BY_NAME.get(option);
  const sources: CredentialSource[] = [];
  for (const { origin, text } of listSettings(input, option, level)) {
    const scoped = splitScope(text, keys);
    if (scoped === null && level !== "option") continue;
    if (scoped === null || keys.size === 0) {
      problems.push(
        keys.size === 0
          ? `${origin} ${quoteUrl(text)} needs a URL: no credentials go to servers of a scan`
          : `${origin} ${quoteUrl(text)} names a URL that is not watched`,
      );
    } else if (scoped.file === "") {
      problems.push(`${origin} ${quoteUrl(text)} has no FILE after the "="`);
    } else if (sources.some((source) => source.endpointKey === scoped.endpointKey)) {
      problems.push(`${origin} ${quoteUrl(text)} is the second for the same endpoints`);
    } else {
      sources.push({ kind, endpointKey: scoped.endpointKey, from: { file: scoped.file } });
    }
  }
  const content = row?.contentVariable;
  if (content !== undefined && level === "variable" && variable(content) !== undefined) {
    if (sources.some((source) => source.endpointKey === null)) {
      problems.push(`${row?.variable} and ${content} exclude each other: set one`);
    }
    sources.push({ kind, endpointKey: null, from: { variable: content } });
  }
  return sources;
}

/** All credential sources: at most one of a kind for each endpoint, those for one endpoint first. */
export function parseCredentials(
  input: Input,
  endpoints: readonly TypedEndpoint[],
): readonly CredentialSource[] {
  const keys = new Set(endpoints.map((typed) => typed.endpoint.key));
  const sources = CREDENTIAL_OPTIONS.flatMap((credential) => {
    const ofSet = CREDENTIAL_OPTIONS.filter(({ set }) => set === credential.set);
    const level = chooseLevel(input, ofSet.map(({ option }) => option));
    return level === "option" || keys.size > 0
      ? parseSources(input, credential, { keys, level })
      : [];
  });
  const listKeys = (kind: CredentialKind) =>
    sources.filter((source) => source.kind === kind).map((source) => source.endpointKey);
  const where = (key: string | null) => key === null ? "every URL" : quote(key);

  const basicAuthKeys = listKeys("basic_auth");
  const twice = listKeys("token").find((key) => basicAuthKeys.includes(key));
  if (twice !== undefined) {
    input.problems.push(`both a token and a user with password are given for ${where(twice)}`);
  }
  const certificates = listKeys("client_certificate");
  const clientKeys = listKeys("client_key");
  const withoutKey = certificates.find((key) => !clientKeys.includes(key));
  const withoutCertificate = clientKeys.find((key) => !certificates.includes(key));
  if (withoutKey !== undefined) {
    input.problems.push(`--cert-file for ${where(withoutKey)} needs --key-file beside it`);
  } else if (withoutCertificate !== undefined) {
    input.problems.push(`--key-file for ${where(withoutCertificate)} needs --cert-file beside it`);
  }
  return sources.toSorted((a, b) =>
    Number(a.endpointKey === null) - Number(b.endpointKey === null)
  );
}

/** The endpoints whose certificates are not to be checked. A variable or the file may name others beside them. */
export function parseInsecureKeys(
  input: Input,
  endpoints: readonly TypedEndpoint[],
): readonly string[] {
  const { problems } = input;
  const keys = new Set<string>();
  const level = chooseLevel(input, ["insecure"]);
  const settings = listSettings(input, "insecure", level);
  for (const url of settings.flatMap((setting) => splitUrls(setting, problems))) {
    const typed = parseEndpointUrl(url);
    if ("error" in typed) {
      problems.push(typed.error);
      continue;
    }
    const { key } = typed.endpoint;
    if (endpoints.some(({ endpoint }) => endpoint.key === key) && key.startsWith("https:")) {
      keys.add(key);
    } else if (level === "option") {
      problems.push(
        key.startsWith("https:")
          ? `--insecure ${quoteUrl(url)} is not one of the URLs that are watched`
          : `--insecure ${quoteUrl(url)} has no certificate to check: only https has`,
      );
    }
  }
  return [...keys];
}

/** Puts the standing remark on endpoints whose certificates are not checked. */
export function markInsecure(typed: TypedEndpoint, keys: readonly string[]): TypedEndpoint {
  if (!keys.includes(typed.endpoint.key)) return typed;
  return { ...typed, endpoint: { ...typed.endpoint, warnings: [INSECURE_WARNING] } };
}
