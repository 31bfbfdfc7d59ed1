/**
 * Command line and environment -> options, or one usage error.
 *
 * Layer 1, pure. The rows of `option_table` say which options there are; this
 * module checks each value and settles what may stand together. An option beats
 * its environment variable. Spans are in seconds. Credentials are only named
 * here: `credentials` reads them. A usage error is one sentence in lower case
 * without a full stop, the value in quotes, no secret in it; `main.ts` prints
 * it and adds where help is.
 *
 * @module
 */

import { parseEndpointUrl, quoteUrl, type TypedEndpoint } from "./endpoint_url.ts";
import {
  type GivenOptions,
  OPTION_ROWS,
  type OptionName,
  type OptionRow,
  walkArguments,
} from "./option_table.ts";
import { sanitizeText } from "./text.ts";
import type { Seconds } from "./units.ts";

export { ENVIRONMENT_VARIABLES, helpText } from "./option_table.ts";

/** What a credential is for. */
export type CredentialKind =
  | "token"
  | "basic_auth"
  | "headers"
  | "ca_certificates"
  | "client_certificate"
  | "client_key";

/** Where a credential is to be read from, and for which endpoint. */
export interface CredentialSource {
  /** What it is for. */
  readonly kind: CredentialKind;
  /** `null`: every endpoint that the user named, never one that a scan found. */
  readonly endpointKey: string | null;
  readonly from: { readonly file: string } | { readonly variable: string };
}

/** What the user asked for, checked. */
export interface Options {
  /** Each place once, in the order given. Empty: scan, or the demo. */
  readonly endpoints: readonly TypedEndpoint[];
  /** Scan, and fail where nothing is found. */
  readonly auto: boolean;
  /** A name or an address; an IPv6 address is in brackets. */
  readonly host: string;
  /** From 1 to 65535, both ends included, at most 1024 ports. */
  readonly portRange: { readonly first: number; readonly last: number };
  /** 0.5 to 3600; 0 only with `once`: a single scrape. */
  readonly interval: Seconds;
  /** 0.1 to 120. */
  readonly timeout: Seconds;
  readonly once: boolean;
  readonly output: OutputForm;
  /** What stands in place of `vllm:`, or `null` for the prefixes that are known. */
  readonly metricPrefix: string | null;
  readonly demo: boolean;
  /** Show the demo where a scan finds nothing. */
  readonly orDemo: boolean;
  /** From 0 to 2^32 − 1. */
  readonly demoSeed: number;
  /** At most one per kind and endpoint key; those for one endpoint come before those for all. */
  readonly credentialSources: readonly CredentialSource[];
  /** Endpoints whose certificates are not checked; their `warnings` say so. */
  readonly insecureEndpointKeys: readonly string[];
}

/** What to do, or what is wrong with what was typed. */
export type ParsedArguments =
  | { readonly kind: "run"; readonly options: Options }
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  | { readonly kind: "usage_error"; readonly message: string };

const OUTPUT_FORMS = ["auto", "table", "detail", "json"] as const;
type OutputForm = typeof OUTPUT_FORMS[number];

const MIN_INTERVAL: Seconds = 0.5;
const MAX_INTERVAL: Seconds = 3600;
const MIN_TIMEOUT: Seconds = 0.1;
const MAX_TIMEOUT: Seconds = 120;
/** Ports that one scan may try: a slip of the finger must not sweep a host. */
const MAX_SCANNED_PORTS = 1024;
const MAX_SEED = 2 ** 32 - 1;

/** Standing remark of an endpoint that `--insecure` names. */
const INSECURE_WARNING = "its certificate is not checked (--insecure)";

/**
 * Credentials by option. Those of one set are one matter: an option for one of
 * them switches off the variables of all, so that `--basic-auth-file` does not
 * meet a forgotten `VLLM_HTOP_TOKEN`.
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

/** A value and where it came from: `--interval` or `VLLM_HTOP_INTERVAL`. */
interface Setting {
  readonly origin: string;
  readonly text: string;
}

/** What the readers below read from, and where they put what is wrong. */
interface Input {
  readonly given: GivenOptions;
  /** The value of a variable that is set and not empty. */
  readonly variable: (name: string | undefined) => string | undefined;
  /** The first is the one that is reported. */
  readonly problems: string[];
}

function quote(text: string): string {
  return `"${sanitizeText(text)}"`;
}

const ROWS_BY_NAME: ReadonlyMap<OptionName, OptionRow> = new Map(
  OPTION_ROWS.map((row) => [row.name, row]),
);

function variableOf(name: OptionName): string | undefined {
  return ROWS_BY_NAME.get(name)?.variable;
}

/** The option's value, else its variable's, else its default, else "". */
function findSetting({ given, variable }: Input, name: OptionName): Setting {
  const origin = `--${name}`;
  const row = ROWS_BY_NAME.get(name);
  const text = given.get(name)?.[0];
  if (text !== undefined) return { origin, text };
  const set = variable(row?.variable);
  if (row?.variable !== undefined && set !== undefined) return { origin: row.variable, text: set };
  return { origin, text: row?.default ?? "" };
}

function readNumber(
  input: Input,
  name: OptionName,
  limits: { readonly min: number; readonly max: number; readonly unit: string },
): number {
  const { origin, text } = findSetting(input, name);
  const { min, max, unit } = limits;
  const value = /^[+-]?(?:\d+\.?\d*|\.\d+)$/.test(text.trim()) ? Number(text) : NaN;
  if (Number.isNaN(value)) {
    input.problems.push(`${origin} ${quote(text)} is not a number${unit && ` of ${unit}`}`);
  } else if (value < min || value > max) {
    input.problems.push(
      `${origin} ${quote(text)} is out of range: from ${min} to ${max}${unit && ` ${unit}`}`,
    );
  }
  return value;
}

function readInterval(input: Input, once: boolean): Seconds {
  const setting = findSetting(input, "interval");
  const isZero = /^\+?0+(?:\.0*)?$/.test(setting.text.trim());
  if (isZero && !once) {
    input.problems.push(
      `${setting.origin} ${quote(setting.text)} is possible only with --once: give ` +
        `${MIN_INTERVAL} or more`,
    );
  }
  const limits = { min: MIN_INTERVAL, max: MAX_INTERVAL, unit: "seconds" };
  return isZero ? 0 : readNumber(input, "interval", limits);
}

function readSeed(input: Input): number {
  const seed = readNumber(input, "demo-seed", { min: 0, max: MAX_SEED, unit: "" });
  if (Number.isInteger(seed) || input.problems.length > 0) return seed;
  input.problems.push(`--demo-seed "${seed}" is not a whole number`);
  return seed;
}

/** A variable that switches something on; unset and empty are off. */
function readSwitch({ variable, problems }: Input, name: string | undefined): boolean {
  const text = variable(name);
  if (text === undefined || /^(?:0|false|no|off)$/i.test(text)) return false;
  if (!/^(?:1|true|yes|on)$/i.test(text)) {
    problems.push(`${name} ${quote(text)} is neither "1" nor "0"`);
  }
  return true;
}

function readOutput(input: Input): OutputForm {
  const { given, problems } = input;
  const wanted: { readonly origin: string; readonly form: OutputForm }[] = [];
  if (given.has("table")) wanted.push({ origin: "--table", form: "table" });
  if (given.has("detail")) wanted.push({ origin: "--detail", form: "detail" });
  const setting = findSetting(input, "output");
  if (given.has("output") || wanted.length === 0) {
    const form = OUTPUT_FORMS.find((form) => form === setting.text);
    if (form === undefined) {
      problems.push(
        `${setting.origin} ${quote(setting.text)} is not one of ${OUTPUT_FORMS.join(", ")}`,
      );
    } else {
      wanted.push({ origin: `${setting.origin} "${form}"`, form });
    }
  }
  const other = wanted.find(({ form }) => form !== wanted[0].form);
  if (other !== undefined) {
    problems.push(`${wanted[0].origin} and ${other.origin} contradict each other: give one`);
  }
  return wanted[0]?.form ?? "auto";
}

function readHost(input: Input): string {
  const { origin, text } = findSetting(input, "host");
  const host = text.trim();
  const bracketed = /^[0-9a-f.]*:[0-9a-f.]*:[0-9a-f:.]*$/i.test(host) ? `[${host}]` : host;
  const isBare = /^(?:[^/\\?#@:[\]]+|\[[0-9a-f:.]+\])$/i.test(bracketed);
  const parsed = isBare ? parseEndpointUrl(`http://${bracketed}:1`) : null;
  if (parsed !== null && !("error" in parsed)) return parsed.endpoint.address.replace(/:1$/, "");
  input.problems.push(
    `${origin} ${quoteUrl(text)} is not a host: write a name or an address alone`,
  );
  return host;
}

function readPortRange(input: Input): Options["portRange"] {
  const { origin, text } = findSetting(input, "port-range");
  const typed = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text.trim());
  const first = Number(typed?.[1]);
  const last = Number(typed?.[2] ?? typed?.[1]);
  if (typed === null) {
    input.problems.push(`${origin} ${quote(text)} is not FIRST-LAST, such as 8000-8015`);
  } else if (first < 1 || last > 65_535 || first > last) {
    input.problems.push(
      `${origin} ${quote(text)} is out of range: ports rise from 1 to 65535`,
    );
  } else if (last - first >= MAX_SCANNED_PORTS) {
    input.problems.push(`${origin} ${quote(text)} is more than ${MAX_SCANNED_PORTS} ports`);
  }
  return { first, last };
}

function readMetricPrefix(input: Input): string | null {
  const setting = findSetting(input, "metric-prefix");
  if (setting.text === "") return null;
  if (!/^[a-zA-Z_:][a-zA-Z0-9_:]{0,63}$/.test(setting.text)) {
    input.problems.push(
      `${setting.origin} ${quote(setting.text)} cannot begin the name of a metric: ` +
        'write it as in "my_vllm:"',
    );
  }
  return setting.text;
}

/** The URLs of a list with commas. A comma in a password would put half of it in the open. */
function splitUrls({ origin, text }: Setting, problems: string[]): readonly string[] {
  const urls = origin.startsWith("--") ? text.split(",") : text.trim().split(/[\s,]+/);
  const halved = urls.slice(1).some((url) =>
    url.includes("@") && !/^\s*(?:https?:\/\/|unix:)/i.test(url)
  );
  if (!halved) return urls;
  problems.push(
    `${quoteUrl(text)} follows an "@" after a comma: write "http://" in front of each URL, ` +
      'and "," in a password as "%2C"',
  );
  return [];
}

interface Targets {
  readonly endpoints: readonly TypedEndpoint[];
  readonly auto: boolean;
  readonly demo: boolean;
}

/** URLs, a scan or the demo: at most one of them, by options if any of them is given so. */
function readTargets(input: Input): Targets {
  const { given, variable, problems } = input;
  const byOption = given.has("url") || given.has("auto") || given.has("demo");
  const urlVariable = variableOf("url") ?? "";
  const list = byOption ? undefined : variable(urlVariable);
  const settings: readonly Setting[] = list === undefined
    ? (given.get("url") ?? []).map((text) => ({ origin: "--url", text }))
    : [{ origin: urlVariable, text: list }];
  const auto = byOption ? given.has("auto") : readSwitch(input, variableOf("auto"));
  const demo = byOption ? given.has("demo") : readSwitch(input, variableOf("demo"));

  const used = [
    auto ? byOption ? "--auto" : variableOf("auto") : [],
    demo ? byOption ? "--demo" : variableOf("demo") : [],
    settings.length > 0 ? byOption ? "a URL" : urlVariable : [],
  ].flat();
  if (used.length > 1) problems.push(`${used[0]} and ${used[1]} exclude each other: give one`);

  const endpoints = new Map<string, TypedEndpoint>();
  for (const url of settings.flatMap((setting) => splitUrls(setting, problems))) {
    const typed = parseEndpointUrl(url);
    if ("error" in typed) {
      problems.push(typed.error);
      continue;
    }
    const known = endpoints.get(typed.endpoint.key) ?? typed;
    endpoints.set(known.endpoint.key, { ...known, basicAuth: known.basicAuth ?? typed.basicAuth });
  }
  for (const name of ["host", "port-range"] as const) {
    if (given.has(name) && (demo || endpoints.size > 0)) {
      problems.push(
        `--${name} ${quote(given.get(name)?.[0] ?? "")} is only for a scan: leave it out`,
      );
    }
  }
  return { endpoints: [...endpoints.values()], auto, demo };
}

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

/** The credentials of one option, or of its variables where no option of its set is given. */
function readSources(
  { given, variable, problems }: Input,
  { kind, option }: typeof CREDENTIAL_OPTIONS[number],
  { keys, byOption }: { readonly keys: ReadonlySet<string>; readonly byOption: boolean },
): readonly CredentialSource[] {
  const row = ROWS_BY_NAME.get(option);
  const origin = byOption ? `--${option}` : row?.variable;
  const sources: CredentialSource[] = [];
  const file = byOption ? undefined : variable(row?.variable);
  const texts = byOption ? given.get(option) ?? [] : file ?? [];
  for (const text of [texts].flat()) {
    const scoped = splitScope(text, keys);
    if (scoped === null && !byOption) continue;
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
  if (content !== undefined && !byOption && variable(content) !== undefined) {
    if (sources.some((source) => source.endpointKey === null)) {
      problems.push(`${row?.variable} and ${content} exclude each other: set one`);
    }
    sources.push({ kind, endpointKey: null, from: { variable: content } });
  }
  return sources;
}

function readCredentials(
  input: Input,
  endpoints: readonly TypedEndpoint[],
): readonly CredentialSource[] {
  const keys = new Set(endpoints.map((typed) => typed.endpoint.key));
  const sources = CREDENTIAL_OPTIONS.flatMap((credential) => {
    const byOption = CREDENTIAL_OPTIONS.some(({ option, set }) =>
      set === credential.set && input.given.has(option)
    );
    return byOption || keys.size > 0 ? readSources(input, credential, { keys, byOption }) : [];
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

/** The endpoints whose certificates are not to be checked. A variable may name others beside them. */
function readInsecureKeys(
  { given, variable, problems }: Input,
  endpoints: readonly TypedEndpoint[],
): readonly string[] {
  const keys = new Set<string>();
  const origin = given.has("insecure") ? "--insecure" : variableOf("insecure") ?? "";
  const lists = given.get("insecure") ?? variable(origin) ?? [];
  for (const url of [lists].flat().flatMap((text) => splitUrls({ origin, text }, problems))) {
    const typed = parseEndpointUrl(url);
    if ("error" in typed) {
      problems.push(typed.error);
      continue;
    }
    const { key } = typed.endpoint;
    if (endpoints.some(({ endpoint }) => endpoint.key === key) && key.startsWith("https:")) {
      keys.add(key);
    } else if (given.has("insecure")) {
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
function markInsecure(typed: TypedEndpoint, keys: readonly string[]): TypedEndpoint {
  if (!keys.includes(typed.endpoint.key)) return typed;
  return { ...typed, endpoint: { ...typed.endpoint, warnings: [INSECURE_WARNING] } };
}

/**
 * What the arguments and the environment ask for. `--help` beats all else, then
 * `--version`; of several errors the first is told. Arguments after `--` are
 * URLs. A variable that is set but empty counts as unset, and one that names an
 * endpoint that is not watched is passed over, since it may serve other calls.
 *
 * @param argv The arguments without the program's name.
 * @param environment The value of a variable, or `undefined`.
 *
 * @example
 * ```ts
 * import { parseArguments } from "./options.ts";
 * parseArguments(["gpu1:8000", "--once"], () => undefined); // { kind: "run", options: … }
 * parseArguments(["--onse"], () => undefined); // { kind: "usage_error", message: … }
 * ```
 */
export function parseArguments(
  argv: readonly string[],
  environment: (name: string) => string | undefined,
): ParsedArguments {
  const end = argv.indexOf("--");
  const flags = end < 0 ? argv : argv.slice(0, end);
  if (flags.includes("-h") || flags.includes("--help")) return { kind: "help" };
  if (flags.includes("-V") || flags.includes("--version")) return { kind: "version" };

  const problems: string[] = [];
  const variable = (name: string | undefined) =>
    name === undefined ? undefined : environment(name) || undefined;
  const input: Input = { given: walkArguments(argv, problems), variable, problems };
  const once = input.given.has("once");
  const { endpoints, auto, demo } = readTargets(input);
  const insecureEndpointKeys = readInsecureKeys(input, endpoints);
  const options: Options = {
    endpoints: endpoints.map((typed) => markInsecure(typed, insecureEndpointKeys)),
    auto,
    host: readHost(input),
    portRange: readPortRange(input),
    interval: readInterval(input, once),
    timeout: readNumber(input, "timeout", { min: MIN_TIMEOUT, max: MAX_TIMEOUT, unit: "seconds" }),
    once,
    output: readOutput(input),
    metricPrefix: readMetricPrefix(input),
    demo,
    orDemo: input.given.has("or-demo"),
    demoSeed: readSeed(input),
    credentialSources: readCredentials(input, endpoints),
    insecureEndpointKeys,
  };
  return problems.length > 0
    ? { kind: "usage_error", message: problems[0] }
    : { kind: "run", options };
}
