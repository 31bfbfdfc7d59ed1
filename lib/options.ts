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

import {
  type CredentialSource,
  markInsecure,
  readCredentials,
  readInsecureKeys,
} from "./credential_options.ts";
import { type CostOptions, type GpuWatch, readCostOptions, readGpuWatch } from "./cost_options.ts";
import { parseEndpointUrl, quoteUrl, type TypedEndpoint } from "./endpoint_url.ts";
import { THEME_NAMES, type ThemeName } from "./frame.ts";
import { walkArguments } from "./option_table.ts";
import {
  findSetting,
  type Input,
  quote,
  readNumber,
  readSwitch,
  type Setting,
  splitUrls,
  variableOf,
} from "./option_values.ts";
import type { Seconds } from "./units.ts";

export type { CostOptions, GpuWatch } from "./cost_options.ts";
export type { CredentialKind, CredentialSource } from "./credential_options.ts";
export { ENVIRONMENT_VARIABLES, helpText } from "./option_table.ts";

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
  readonly theme: ThemeName;
  readonly noColor: boolean;
  /** Draw with ASCII alone, whatever the locale says. */
  readonly ascii: boolean;
  readonly noKeyLine: boolean;
  readonly noMouse: boolean;
  readonly filter: string;
  /** `COLUMN`, `COLUMN:asc` or `COLUMN:desc` as typed; empty for the order given. */
  readonly sort: string;
  /** Columns as typed, with commas between; empty for all. */
  readonly columns: string;
  readonly gpuWatch: GpuWatch;
  readonly cost: CostOptions;
  /** Print the prices of GPUs, and end. */
  readonly listPrices: boolean;
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

function readTheme(input: Input): ThemeName {
  const { origin, text } = findSetting(input, "theme");
  const theme = THEME_NAMES.find((name) => name === text);
  if (theme === undefined) {
    input.problems.push(`${origin} ${quote(text)} is not one of ${THEME_NAMES.join(", ")}`);
  }
  return theme ?? "default";
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
    theme: readTheme(input),
    noColor: input.given.has("no-color"),
    ascii: input.given.has("ascii"),
    noKeyLine: input.given.has("no-key-line"),
    noMouse: input.given.has("no-mouse"),
    filter: findSetting(input, "filter").text,
    sort: findSetting(input, "sort").text,
    columns: findSetting(input, "columns").text,
    gpuWatch: readGpuWatch(input),
    cost: readCostOptions(input),
    listPrices: input.given.has("list-prices"),
  };
  return problems.length > 0
    ? { kind: "usage_error", message: problems[0] }
    : { kind: "run", options };
}
