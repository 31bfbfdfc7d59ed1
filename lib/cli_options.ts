/**
 * Arguments, environment and configuration file -> options, or one usage error.
 *
 * The rows of `cli_option_table` parse each value; this module checks what may be
 * given together. Spans are in seconds. Credentials are only named here:
 * `scrape_credentials` reads them. A usage error is one sentence in lower case without
 * a full stop, the value in quotes, no secret in it; `app` prints it and adds where help is.
 *
 * @module
 */

import {
  type FileValues,
  type GivenOptions,
  resolveValues,
  walkArguments,
} from "./cli_arguments.ts";
import { markInsecure, resolveCredentials, resolveInsecureKeys } from "./cli_credentials.ts";
import {
  type OptionValues,
  type OUTPUT_FORMS,
  ROWS_BY_NAME,
  SCHEMA_NAMES,
  SHELLS,
  type Value,
} from "./cli_option_table.ts";
import {
  isProblem,
  type Label,
  parseChoice,
  type PortRange,
  type Problem,
  refuse,
  type Setting,
} from "./cli_values.ts";
import { quoteUrl, type TypedEndpoint } from "./endpoint.ts";
import type { TokenPrices } from "./model.ts";
import type { CredentialSource } from "./scrape_credentials.ts";
import { createUi, type Sort, type ThemeName, type Ui } from "./state_ui.ts";
import { padText } from "./text.ts";
import type { Seconds } from "./units.ts";
import { COLUMN_IDS, COLUMNS } from "./view_columns.ts";

/** What the user says about cost. */
interface CostOptions {
  readonly tokenPrices: TokenPrices;
  /** USD per GPU and hour, for all alike; `null` for hints by their names. */
  readonly usdPerGpuHour: number | null;
  /** `null` for those that are found. */
  readonly gpuCount: number | null;
  /** Whether GPUs that are found cost something. */
  readonly detectsGpus: boolean;
  /** Path of a file with prices, or `null`. */
  readonly pricesFile: string | null;
  /** The sign before amounts; one to four cells. */
  readonly currency: string;
}

/** What the user asked for, checked. */
export interface Options {
  /** Each place once, in the order given. Empty: scan, or the demo. */
  readonly endpoints: readonly TypedEndpoint[];
  /** Scan, and fail where nothing is found. */
  readonly auto: boolean;
  /** A name or an address; an IPv6 address is in brackets. */
  readonly host: string;
  /** From 1 to 65535, at most 1024 ports. */
  readonly portRange: PortRange;
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
  /** `help`: list the columns, and end. `null`: the order given. */
  readonly sort: Sort | "help" | null;
  /** Identifiers of columns; empty for all. `help`: list the columns, and end. */
  readonly columns: readonly string[] | "help";
  /** Whether to look at the GPUs of this machine: `auto` if a server on it is watched. */
  readonly gpuWatch: "auto" | "always" | "never";
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

/** What the arguments ask for before anything else is read. */
export type CommandLine =
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  | { readonly kind: "document"; readonly document: ProgramDocument }
  | { readonly kind: "run"; readonly given: GivenOptions; readonly problems: readonly Problem[] };

/** What to do, or what is wrong, and where. */
type ParsedOptions =
  | { readonly kind: "run"; readonly options: Options }
  | {
    readonly kind: "usage_error";
    readonly message: string;
    readonly level: Setting["level"];
  };

type OutputForm = typeof OUTPUT_FORMS[number];

function isTyped({ source }: Value<unknown>): boolean {
  return source.level === "option";
}

function resolveInterval(
  { interval, once }: OptionValues,
  problems: Problem[],
): Seconds {
  if (interval.value === 0 && !once.value) {
    problems.push(refuse(interval.source, "is possible only with --once: give 0.5 or more"));
  }
  return interval.value;
}

/** A variable, or the configuration file, may name it for other calls. */
function resolveStateFile(
  { state, once, demo }: OptionValues,
  problems: Problem[],
): string | null {
  const words = !once.value
    ? "is possible only with --once"
    : demo.value
    ? "is not for --demo, which begins anew each time: leave one of them out"
    : null;
  if (words === null) return state.value;
  if (isTyped(state)) problems.push(refuse(state.source, words));
  return null;
}

function resolveOutput({ table, detail, output }: OptionValues, problems: Problem[]): OutputForm {
  const wanted: { readonly origin: string; readonly form: OutputForm }[] = [];
  if (table.value) wanted.push({ origin: "--table", form: "table" });
  if (detail.value) wanted.push({ origin: "--detail", form: "detail" });
  if (isTyped(output) || wanted.length === 0) {
    wanted.push({ origin: `${output.source.origin} "${output.value}"`, form: output.value });
  }
  const [first] = wanted;
  const other = wanted.find(({ form }) => form !== first.form);
  if (other !== undefined) {
    const problem = `${first.origin} and ${other.origin} contradict each other: give one`;
    problems.push({ problem, level: "option" });
  }
  return first.form;
}

/** The user's names for endpoints that are watched, or may be found by a scan. */
function resolveLabels(
  labels: readonly Label[],
  endpoints: readonly TypedEndpoint[],
  problems: Problem[],
): ReadonlyMap<string, string> {
  const known = new Map<string, string>();
  for (const { endpointKey, label, setting } of labels) {
    const complain = (words: string): void => {
      problems.push(refuse(setting, words, quoteUrl(setting.text)));
    };
    const isWatched = endpoints.length === 0 ||
      endpoints.some(({ endpoint }) => endpoint.key === endpointKey);
    if ([...known.values()].includes(label)) complain("gives a name that another has");
    else if (known.has(endpointKey)) complain("names the same server twice");
    else if (isWatched) known.set(endpointKey, label);
    else if (setting.level === "option") complain("names a URL that is not watched");
  }
  return known;
}

/** The settings of one set that are given and exclude each other. */
function checkExclusion(settings: readonly Setting[], problems: Problem[]): void {
  if (settings.length < 2) return;
  const [first, second] = settings.map(({ origin }) => origin === "--url" ? "a URL" : origin);
  const problem = `${first} and ${second} exclude each other: give one`;
  problems.push({ problem, level: settings[0].level });
}

/** Each endpoint once. URLs, a scan and the demo exclude each other. */
function resolveEndpoints(
  { url, auto, demo, host, "port-range": portRange }: OptionValues,
  problems: Problem[],
): readonly TypedEndpoint[] {
  const switches = [auto, demo].filter(({ value }) => value);
  checkExclusion([...switches, ...url.slice(0, 1)].map(({ source }) => source), problems);
  const endpoints = new Map<string, TypedEndpoint>();
  for (const typed of url.flatMap(({ value }) => value)) {
    const known = endpoints.get(typed.endpoint.key) ?? typed;
    endpoints.set(known.endpoint.key, { ...known, basicAuth: known.basicAuth ?? typed.basicAuth });
  }
  for (const one of [host, portRange].filter(isTyped)) {
    if (demo.value || endpoints.size > 0) {
      problems.push(refuse(one.source, "is only for a scan: leave it out"));
    }
  }
  return [...endpoints.values()];
}

/** A range beyond which nothing is asked for. The configuration file may say what is so anyway. */
function isRangeChosen({ source: { level, text } }: Value<PortRange>): boolean {
  return level === "option" || level === "variable" ||
    (level === "file" && text !== ROWS_BY_NAME.get("port-range")?.default);
}

function resolveGpuWatch(
  { gpus, "no-gpu": noGpu }: OptionValues,
  problems: Problem[],
): Options["gpuWatch"] {
  const switches = [gpus, noGpu].filter(({ value }) => value);
  checkExclusion(switches.map(({ source }) => source), problems);
  return noGpu.value ? "never" : gpus.value ? "always" : "auto";
}

function getCostOptions(values: OptionValues): CostOptions {
  return {
    tokenPrices: {
      input: values["cost-in"].value,
      cachedInput: values["cost-cached-in"].value,
      output: values["cost-out"].value,
    },
    usdPerGpuHour: values["gpu-cost-hour"].value,
    gpuCount: values["num-gpus"].value,
    detectsGpus: !values["no-gpu-detect"].value,
    pricesFile: values.prices.value,
    currency: values.currency.value,
  };
}

/** The first document about the program that is asked for, or `null`. */
function parseDocument(given: GivenOptions, problems: Problem[]): ProgramDocument | null {
  const choose = <Choice extends string>(
    name: "completions" | "schema",
    choices: readonly Choice[],
  ): Choice | null => {
    const [text] = given.get(name) ?? [];
    if (text === undefined) return null;
    const choice = parseChoice(choices, { level: "option", origin: `--${name}`, text });
    if (!isProblem(choice)) return choice;
    problems.push(choice);
    return null;
  };
  const shell = choose("completions", SHELLS);
  if (shell !== null) return { kind: "completions", shell };
  const name = choose("schema", SCHEMA_NAMES);
  if (name !== null) return { kind: "schema", name };
  if (given.has("man")) return { kind: "man" };
  return given.has("print-default-config") ? { kind: "default_config" } : null;
}

/**
 * What the arguments ask for: `--help` before `--version` before documents about the program.
 * Arguments after `--` are URLs.
 *
 * @param argv The arguments without the program's name.
 */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  const end = argv.indexOf("--");
  const flags = end < 0 ? argv : argv.slice(0, end);
  if (flags.includes("-h") || flags.includes("--help")) return { kind: "help" };
  if (flags.includes("-V") || flags.includes("--version")) return { kind: "version" };
  const problems: Problem[] = [];
  const given = walkArguments(argv, problems);
  const document = parseDocument(given, problems);
  if (document !== null && problems.length === 0) return { kind: "document", document };
  return { kind: "run", given, problems };
}

/** The configuration file that is named, or `null` for the usual one. */
export function getConfigPath(
  { given }: { readonly given: GivenOptions },
  environment: (name: string) => string | undefined,
): string | null {
  const variable = ROWS_BY_NAME.get("config")?.variable ?? "";
  return given.get("config")?.[0] ?? (environment(variable) || null);
}

/**
 * What arguments, environment and configuration file ask for together. Of several problems
 * the first is told. A variable that names an endpoint that is not watched is ignored, since
 * it may be for other calls.
 *
 * @param line From `parseCommandLine()`.
 * @param environment The value of a variable, or `undefined`.
 * @param file What the configuration file says (`cli_config`).
 */
export function resolveOptions(
  line: { readonly given: GivenOptions; readonly problems: readonly Problem[] },
  environment: (name: string) => string | undefined,
  file: FileValues,
): ParsedOptions {
  const problems = [...line.problems];
  const values = resolveValues({ given: line.given, environment, file }, problems);
  const endpoints = resolveEndpoints(values, problems);
  const insecureEndpointKeys = resolveInsecureKeys(values, endpoints, problems);
  const labels = values.name.flatMap(({ value }) => value);
  const options: Options = {
    endpoints: endpoints.map((typed) => markInsecure(typed, insecureEndpointKeys)),
    auto: values.auto.value,
    host: values.host.value,
    portRange: values["port-range"].value,
    scansProcesses: !isRangeChosen(values["port-range"]),
    labels: resolveLabels(labels, endpoints, problems),
    interval: resolveInterval(values, problems),
    timeout: values.timeout.value,
    once: values.once.value,
    stateFile: resolveStateFile(values, problems),
    output: resolveOutput(values, problems),
    metricPrefix: values["metric-prefix"].value,
    demo: values.demo.value,
    orDemo: values["or-demo"].value,
    demoSeed: values["demo-seed"].value,
    credentialSources: resolveCredentials(values, endpoints, problems),
    insecureEndpointKeys,
    theme: values.theme.value,
    noColor: values["no-color"].value,
    ascii: values.ascii.value,
    noKeyLine: values["no-key-line"].value,
    noMouse: values["no-mouse"].value,
    filter: values.filter.value ?? "",
    sort: values.sort.value,
    columns: values.columns.value ?? [],
    gpuWatch: resolveGpuWatch(values, problems),
    cost: getCostOptions(values),
    listPrices: values["list-prices"].value,
  };
  const [first] = problems;
  return first === undefined
    ? { kind: "run", options }
    : { kind: "usage_error", message: first.problem, level: first.level };
}

/** Cells that the name of a column takes in the list of all. */
const ID_WIDTH = 14;

/** What the user begins with. If columns are named, the others are hidden. */
export function createStartUi(
  { sort, columns, filter, theme }: Pick<Options, "sort" | "columns" | "filter" | "theme">,
): Ui {
  const wanted = columns === "help" ? [] : columns;
  const others = COLUMN_IDS.filter((id) => !wanted.includes(id));
  return createUi({
    sort: sort === "help" ? null : sort,
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
