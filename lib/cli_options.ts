/**
 * Command line and environment -> options, or one usage error.
 *
 * The rows of `cli_option_table` say which options there are; this
 * module checks each value and settles what may stand together. An option beats
 * its environment variable, which beats the file of settings. Spans are in
 * seconds. Credentials are only named here: `credentials` reads them. A usage
 * error is one sentence in lower case without a full stop, the value in quotes,
 * no secret in it; `app` prints it and adds where help is.
 *
 * @module
 */

import {
  chooseLevel,
  type FileValues,
  findSetting,
  findSwitch,
  type Input,
  isSwitchedOn,
  listSettings,
  parseChoiceSetting,
  parseNumberSetting,
  ROWS_BY_NAME,
  type Setting,
  splitUrls,
  variableOf,
  walkArguments,
} from "./cli_arguments.ts";
import {
  type CostOptions,
  type GpuOptions,
  parseCostOptions,
  parseGpuOptions,
} from "./cli_cost.ts";
import { markInsecure, parseCredentials, parseInsecureKeys } from "./cli_credentials.ts";
import { OUTPUT_FORMS, SCHEMA_NAMES, SHELLS } from "./cli_option_table.ts";
import { parseEndpointUrl, quoteUrl, type TypedEndpoint } from "./endpoint.ts";
import type { CredentialSource } from "./scrape_credentials.ts";
import { createUi, type Sort, THEME_NAMES, type ThemeName, type Ui } from "./state_ui.ts";
import { padText, quote, sanitizeText } from "./text.ts";
import type { Seconds } from "./units.ts";
import { COLUMN_IDS, COLUMNS, startSort } from "./view_columns.ts";

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
  /** Whether a scan of this machine looks beyond the range at the ports that processes own: unless a range is given. */
  readonly scansProcesses: boolean;
  /** What endpoints are called, by their keys. Safe texts, each once. */
  readonly labels: ReadonlyMap<string, string>;
  /** 0.5 to 3600; 0 only with `once`: a single scrape. */
  readonly interval: Seconds;
  /** 0.1 to 120. */
  readonly timeout: Seconds;
  readonly once: boolean;
  /** Path of the file that keeps scrapes from one run to the next; `null` where none is to. */
  readonly stateFile: string | null;
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
  /** `COLUMN`, `COLUMN:asc` or `COLUMN:desc` as typed, and where; empty for the order given. */
  readonly sort: Setting;
  /** Columns as typed, with commas between, and where; empty for all. */
  readonly columns: Setting;
  readonly gpuWatch: GpuOptions;
  readonly cost: CostOptions;
  /** Print the prices of GPUs, and end. */
  readonly listPrices: boolean;
}

/** A text about the program itself that it prints instead of running. */
export type ProgramDocument =
  | { readonly kind: "completions"; readonly shell: typeof SHELLS[number] }
  | { readonly kind: "schema"; readonly name: typeof SCHEMA_NAMES[number] }
  | { readonly kind: "man" }
  | { readonly kind: "default_config" };

/** What to do, or what is wrong with what was typed. */
type ParsedArguments =
  | { readonly kind: "run"; readonly options: Options }
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  | { readonly kind: "document"; readonly document: ProgramDocument }
  | { readonly kind: "usage_error"; readonly message: string };

type OutputForm = typeof OUTPUT_FORMS[number];

const MIN_INTERVAL: Seconds = 0.5;
const MAX_INTERVAL: Seconds = 3600;
const MIN_TIMEOUT: Seconds = 0.1;
const MAX_TIMEOUT: Seconds = 120;
/** Ports that one scan may try: a slip of the finger must not sweep a host. */
const MAX_SCANNED_PORTS = 1024;
/** Cells of a name that a user gives. */
const MAX_LABEL_WIDTH = 32;
const MAX_SEED = 2 ** 32 - 1;

function parseInterval(input: Input, once: boolean): Seconds {
  const setting = findSetting(input, "interval");
  const isZero = /^\+?0+(?:\.0*)?$/.test(setting.text.trim());
  if (isZero && !once) {
    input.problems.push(
      `${setting.origin} ${quote(setting.text)} is possible only with --once: give ` +
        `${MIN_INTERVAL} or more`,
    );
  }
  const limits = { min: MIN_INTERVAL, max: MAX_INTERVAL, unit: "seconds" };
  return isZero ? 0 : parseNumberSetting(input, "interval", limits);
}

/** A variable, or the file of settings, may name it for other calls. */
function parseStateFile(
  input: Input,
  { once, demo }: { readonly once: boolean; readonly demo: boolean },
): string | null {
  const { origin, text } = findSetting(input, "state");
  const problem = !once
    ? "is possible only with --once"
    : demo
    ? "is not for --demo, which begins anew each time: leave one of them out"
    : null;
  if (problem === null) return text === "" ? null : text;
  if (input.given.has("state")) input.problems.push(`${origin} ${quote(text)} ${problem}`);
  return null;
}

function parseSeed(input: Input): number {
  const seed = parseNumberSetting(input, "demo-seed", { min: 0, max: MAX_SEED, unit: "" });
  if (Number.isInteger(seed) || input.problems.length > 0) return seed;
  const { origin, text } = findSetting(input, "demo-seed");
  input.problems.push(`${origin} ${quote(text)} is not a whole number`);
  return seed;
}

function parseOutput(input: Input): OutputForm {
  const { given, problems } = input;
  const wanted: { readonly origin: string; readonly form: OutputForm }[] = [];
  if (given.has("table")) wanted.push({ origin: "--table", form: "table" });
  if (given.has("detail")) wanted.push({ origin: "--detail", form: "detail" });
  if (given.has("output") || wanted.length === 0) {
    const form = parseChoiceSetting(input, "output", OUTPUT_FORMS);
    wanted.push({ origin: `${findSetting(input, "output").origin} "${form}"`, form });
  }
  const other = wanted.find(({ form }) => form !== wanted[0].form);
  if (other !== undefined) {
    problems.push(`${wanted[0].origin} and ${other.origin} contradict each other: give one`);
  }
  return wanted[0].form;
}

function parseHost(input: Input): string {
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

function parsePortRange(input: Input): Options["portRange"] {
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

/** Whether no other ports were asked for than the usual ones: then those of processes are looked at, too. */
function choosesNoPorts(input: Input): boolean {
  const level = chooseLevel(input, ["port-range"]);
  const [setting] = listSettings(input, "port-range", level);
  // A file may say what is so anyway.
  return setting === undefined ||
    (level === "file" && setting.text === ROWS_BY_NAME.get("port-range")?.default);
}

/** Names of the user's own. A variable may name endpoints that are not watched. */
function parseLabels(
  input: Input,
  endpoints: readonly TypedEndpoint[],
): ReadonlyMap<string, string> {
  const { problems } = input;
  const labels = new Map<string, string>();
  const level = chooseLevel(input, ["name"]);
  const isGiven = level === "option";
  const settings = listSettings(input, "name", level).flatMap(({ origin, text }) =>
    (level === "variable" ? text.split(",") : [text]).map((one) => ({ origin, text: one }))
  );
  for (const { origin, text } of settings) {
    const refuse = (problem: string): void => {
      problems.push(`${origin} ${quoteUrl(text)} ${problem}`);
    };
    const equals = text.lastIndexOf("=");
    const label = text.slice(equals + 1).trim();
    const typed = parseEndpointUrl(text.slice(0, Math.max(equals, 0)));
    if (equals < 1 || label === "") refuse('is not URL=LABEL, such as "gpu1:8000=prod"');
    else if ("error" in typed) problems.push(typed.error);
    else if (sanitizeText(label, MAX_LABEL_WIDTH) !== label) {
      refuse(`has a name that is longer than ${MAX_LABEL_WIDTH} characters or cannot be shown`);
    } else if ([...labels.values()].includes(label)) refuse("gives a name that another has");
    else if (labels.has(typed.endpoint.key)) refuse("names the same server twice");
    else if (isWatched(typed, endpoints)) labels.set(typed.endpoint.key, label);
    else if (isGiven) refuse("names a URL that is not watched");
  }
  return labels;
}

/** Whether the endpoint is one of those named, or may be found by a scan. */
function isWatched({ endpoint }: TypedEndpoint, endpoints: readonly TypedEndpoint[]): boolean {
  return endpoints.length === 0 || endpoints.some((other) => other.endpoint.key === endpoint.key);
}

function parseMetricPrefix(input: Input): string | null {
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

interface TargetOptions {
  readonly endpoints: readonly TypedEndpoint[];
  readonly auto: boolean;
  readonly demo: boolean;
}

/** URLs, a scan or the demo: at most one of them, of the strongest level that names any. */
function parseTargets(input: Input): TargetOptions {
  const { given, problems } = input;
  const level = chooseLevel(input, ["url", "auto", "demo"]);
  const settings = listSettings(input, "url", level);
  const auto = findSwitch(input, "auto", level);
  const demo = findSwitch(input, "demo", level);
  const urls = settings.length === 0 ? "" : level === "option" ? "a URL" : settings[0].origin;
  const used = [auto, demo, urls].filter((name) => name !== "");
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
    if (given.has(name) && (demo !== "" || endpoints.size > 0)) {
      problems.push(
        `--${name} ${quote(given.get(name)?.[0] ?? "")} is only for a scan: leave it out`,
      );
    }
  }
  return { endpoints: [...endpoints.values()], auto: auto !== "", demo: demo !== "" };
}

/** The first text about the program that is asked for, or `null`. */
function parseDocument(input: Input): ProgramDocument | null {
  const { given } = input;
  if (given.has("completions")) {
    return { kind: "completions", shell: parseChoiceSetting(input, "completions", SHELLS) };
  }
  if (given.has("schema")) {
    return { kind: "schema", name: parseChoiceSetting(input, "schema", SCHEMA_NAMES) };
  }
  if (given.has("man")) return { kind: "man" };
  return given.has("print-default-config") ? { kind: "default_config" } : null;
}

/** The file of settings that is named, or `null` for the usual one. */
export function parseConfigPath(
  argv: readonly string[],
  environment: (name: string) => string | undefined,
): string | null {
  const named = walkArguments(argv, []).get("config")?.[0];
  return named ?? (environment(variableOf("config") ?? "") || null);
}

/**
 * What the arguments, the environment and the file of settings ask for. `--help`
 * beats all else, then `--version`, then the texts about the program; of several
 * errors the first is told. Arguments after `--` are
 * URLs. A variable that is set but empty counts as unset, and one that names an
 * endpoint that is not watched is passed over, since it may serve other calls.
 *
 * @param argv The arguments without the program's name.
 * @param environment The value of a variable, or `undefined`.
 * @param file What the file of settings says (`cli_config`).
 */
export function parseArguments(
  argv: readonly string[],
  environment: (name: string) => string | undefined,
  file: FileValues = new Map(),
): ParsedArguments {
  const end = argv.indexOf("--");
  const flags = end < 0 ? argv : argv.slice(0, end);
  if (flags.includes("-h") || flags.includes("--help")) return { kind: "help" };
  if (flags.includes("-V") || flags.includes("--version")) return { kind: "version" };

  const problems: string[] = [];
  const variable = (name: string | undefined) =>
    name === undefined ? undefined : environment(name) || undefined;
  const input: Input = { given: walkArguments(argv, problems), variable, file, problems };
  const document = parseDocument(input);
  if (document !== null && problems.length === 0) return { kind: "document", document };
  const once = isSwitchedOn(input, "once");
  const { endpoints, auto, demo } = parseTargets(input);
  const insecureEndpointKeys = parseInsecureKeys(input, endpoints);
  const options: Options = {
    endpoints: endpoints.map((typed) => markInsecure(typed, insecureEndpointKeys)),
    auto,
    host: parseHost(input),
    portRange: parsePortRange(input),
    scansProcesses: choosesNoPorts(input),
    labels: parseLabels(input, endpoints),
    interval: parseInterval(input, once),
    timeout: parseNumberSetting(input, "timeout", {
      min: MIN_TIMEOUT,
      max: MAX_TIMEOUT,
      unit: "seconds",
    }),
    once,
    stateFile: parseStateFile(input, { once, demo }),
    output: parseOutput(input),
    metricPrefix: parseMetricPrefix(input),
    demo,
    orDemo: isSwitchedOn(input, "or-demo"),
    demoSeed: parseSeed(input),
    credentialSources: parseCredentials(input, endpoints),
    insecureEndpointKeys,
    theme: parseChoiceSetting(input, "theme", THEME_NAMES),
    noColor: isSwitchedOn(input, "no-color"),
    ascii: isSwitchedOn(input, "ascii"),
    noKeyLine: isSwitchedOn(input, "no-key-line"),
    noMouse: isSwitchedOn(input, "no-mouse"),
    filter: findSetting(input, "filter").text,
    sort: findSetting(input, "sort"),
    columns: findSetting(input, "columns"),
    gpuWatch: parseGpuOptions(input),
    cost: parseCostOptions(input),
    listPrices: input.given.has("list-prices"),
  };
  return problems.length > 0
    ? { kind: "usage_error", message: problems[0] }
    : { kind: "run", options };
}

/** Why the options cannot be followed. */
export interface PreferenceError {
  readonly error: string;
  /** Where the value stands that is refused, as its setting has it. */
  readonly origin: string;
}

/** Cells that the name of a column takes in the list of all. */
const ID_WIDTH = 14;

/**
 * `COLUMN:asc`, `COLUMN:desc`, or `COLUMN` alone, which begins as a key or a
 * click does; `null` for anything else.
 */
export function parseSort(text: string): Sort | null {
  const [, columnId, direction] = /^([^:]+)(?::(asc|desc))?$/.exec(text) ?? [];
  const column = COLUMNS.find(({ id }) => id === columnId);
  if (column === undefined) return null;
  return direction === undefined
    ? startSort(column)
    : { columnId, isDescending: direction === "desc" };
}

function refuse(name: "sort" | "columns", { origin, text }: Setting): PreferenceError {
  return { error: `${origin} ${quote(text)} is not a column: see --${name} help`, origin };
}

/** What the user begins with. Where columns are named, the others are hidden. */
export function parsePreferences(
  options: Pick<Options, "sort" | "columns" | "filter" | "theme">,
): Ui | PreferenceError {
  const { theme, filter } = options;
  const sort = options.sort.text === "" ? null : parseSort(options.sort.text);
  if (options.sort.text !== "" && sort === null) return refuse("sort", options.sort);
  const wanted = options.columns.text.split(",").map((id) => id.trim()).filter((id) => id !== "");
  const unknown = wanted.find((id) => !COLUMN_IDS.includes(id));
  if (unknown !== undefined) return refuse("columns", { ...options.columns, text: unknown });
  const others = COLUMN_IDS.filter((id) => !wanted.includes(id));
  return createUi({
    sort,
    theme,
    filter,
    columnIds: [...wanted, ...others],
    hiddenColumnIds: new Set(wanted.length === 0 ? [] : others),
  });
}

/** The columns as `--sort help` and `--columns help` list them. */
export function listColumns(): readonly string[] {
  return COLUMNS.map(({ id, help }) => `${padText(id, ID_WIDTH)} ${help}`);
}
