/**
 * Arguments, environment and configuration file -> checked options, or the first usage error. The
 * rows of `cli_option_table` parse each value; this module checks combinations. A usage error is
 * one sentence in lower case without a full stop, with the value in quotes and no secret.
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
  OPTION_ROWS,
  type OptionName,
  type OptionValues,
  ROWS_BY_NAME,
  SCHEMA_NAMES,
  SHELLS,
  type Value,
} from "./cli_option_table.ts";
import { resolveEngines } from "./cli_engines.ts";
import {
  type CommandName,
  COMMANDS,
  expandCommand,
  resolveRecord,
  resolveReplay,
} from "./cli_recording.ts";
import { resolveExports, resolveOutput } from "./cli_output.ts";
import { resolveObjectives } from "./cli_slo.ts";
import {
  checkExclusion,
  isProblem,
  isTyped,
  type Label,
  parseChoice,
  type PortRange,
  type Problem,
  refuse,
  type Setting,
  type SshHostOption,
} from "./cli_values.ts";
import { quoteUrl, type TypedEndpoint } from "./endpoint.ts";
import { resolveRules } from "./rules_table.ts";
import { createUi, type Ui } from "./state_ui.ts";
import { padText } from "./text.ts";
import type { Seconds } from "./units.ts";
import { COLUMN_IDS, COLUMN_ROWS } from "./view_column_table.ts";

export type ProgramDocument =
  | { readonly kind: "completions"; readonly shell: typeof SHELLS[number] }
  | { readonly kind: "schema"; readonly name: typeof SCHEMA_NAMES[number] }
  | { readonly kind: "man" }
  | { readonly kind: "default_config" };

export type CommandLine =
  | { readonly kind: "document"; readonly document: ProgramDocument }
  | ({ readonly kind: "run" } & GivenLine);

interface GivenLine {
  /** `null`: watch. */
  readonly command: CommandName | null;
  readonly given: GivenOptions;
  readonly problems: readonly Problem[];
}

type ParsedOptions =
  | { readonly kind: "run"; readonly options: Options }
  | { readonly kind: "usage_error"; readonly message: string; readonly level: Setting["level"] };

/** A diagnosis, a check, the doctor's remarks and a comparison are printed once. */
function isOnce({ once, diagnose, check, doctor, compare }: OptionValues): boolean {
  return once.value || diagnose.value || check.value || doctor.value || compare.length > 0;
}

/** `null` without `--for`. */
function resolveSpan({ for: span, check }: OptionValues, problems: Problem[]): Seconds | null {
  if (span.value !== null && !check.value) {
    problems.push(refuse(span.source, "works only with --check"));
  }
  return span.value;
}

function resolveInterval(values: OptionValues, problems: Problem[]): Seconds {
  const { interval } = values;
  if (interval.value === 0 && (!isOnce(values) || values.for.value !== null)) {
    problems.push(refuse(interval.source, "works only with --once: give 0.5 or more"));
  }
  return interval.value;
}

/** A variable or the configuration file may set it for other calls. */
function resolveStateFile(values: OptionValues, problems: Problem[]): string | null {
  const { state, demo } = values;
  const words = !isOnce(values)
    ? "works only with --once"
    : demo.value
    ? "does not work with --demo, which starts over each time: leave one out"
    : values.for.value !== null
    ? "does not work with --for, which has rates of its own: leave one out"
    : null;
  if (words === null) return state.value;
  if (isTyped(state)) problems.push(refuse(state.source, words));
  return null;
}

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
    if ([...known.values()].includes(label)) complain("gives a name that is already in use");
    else if (known.has(endpointKey)) complain("names the same server twice");
    else if (isWatched) known.set(endpointKey, label);
    else if (setting.level === "option") complain("names a URL that is not watched");
  }
  return known;
}

/** Named servers, a scan and the demo exclude each other. */
function resolveEndpoints(
  { url, targets, prometheus, ssh, kube, auto, demo, host, "port-range": portRange }: OptionValues,
  problems: Problem[],
): readonly TypedEndpoint[] {
  const switches = [auto, demo].filter(({ value }) => value);
  const clusters = kube.value ? [kube] : [];
  const named = [...url, ...targets, ...prometheus, ...ssh, ...clusters].slice(0, 1);
  checkExclusion([...switches, ...named].map(({ source }) => source), problems);
  const endpoints = new Map<string, TypedEndpoint>();
  for (const typed of url.flatMap(({ value }) => value)) {
    const known = endpoints.get(typed.endpoint.key) ?? typed;
    endpoints.set(known.endpoint.key, { ...known, basicAuth: known.basicAuth ?? typed.basicAuth });
  }
  for (const one of [host, portRange].filter(isTyped)) {
    const isScanned = one === portRange && ssh.length > 0;
    if (demo.value || (named.length > 0 && !isScanned)) {
      problems.push(refuse(one.source, "is only for a scan: leave it out"));
    }
  }
  return [...endpoints.values()];
}

/** Hosts behind ssh, each once. */
function resolveSshTargets(
  { ssh }: OptionValues,
  problems: Problem[],
): readonly SshHostOption[] {
  const known = new Map<string, SshHostOption>();
  for (const { value, source } of ssh) {
    const other = known.get(value.name);
    if (other === undefined) known.set(value.name, value);
    else if (other.destination !== value.destination) {
      problems.push(
        refuse(source, `has the name of another host: write NAME=${value.destination}`),
      );
    }
  }
  return [...known.values()];
}

function getSshOptions(values: OptionValues, sshTargets: readonly SshHostOption[]) {
  const { group } = values;
  const isUnset = group.source.level === "default";
  return {
    /** Machines whose servers are found and read through a session of ssh. */
    sshTargets,
    /** `null` for ssh's own. */
    sshConfig: values["ssh-config"].value,
    acceptsNewSshKeys: values["ssh-accept-new"].value,
    grouping: isUnset && sshTargets.length > 1 ? "host" as const : group.value,
  };
}

/** Whether the user limits the scan to a range. A configuration file with the default does not. */
function isRangeChosen({ source: { level, text } }: Value<PortRange>): boolean {
  return level === "option" || level === "variable" ||
    (level === "file" && text !== ROWS_BY_NAME.get("port-range")?.default);
}

function resolveGpuWatch(
  { gpus, "no-gpu": noGpu, doctor }: OptionValues,
  problems: Problem[],
): "auto" | "always" | "never" {
  const switches = [gpus, noGpu].filter(({ value }) => value);
  checkExclusion(switches.map(({ source }) => source), problems);
  return noGpu.value ? "never" : gpus.value || doctor.value ? "always" : "auto";
}

function getCostOptions(values: OptionValues) {
  return {
    tokenPrices: {
      input: values["cost-in"].value,
      cachedInput: values["cost-cached-in"].value,
      output: values["cost-out"].value,
    },
    /** Of every GPU; `null` for price hints by name. */
    usdPerGpuHour: values["gpu-cost-hour"].value,
    /** `null` for the detected ones. */
    gpuCount: values["num-gpus"].value,
    detectsGpus: !values["no-gpu-detect"].value,
    pricesFile: values.prices.value,
    currency: values.currency.value,
  };
}

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

/** Precedence: `--help`, `--version`, documents. Arguments after `--` are URLs. */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  const problems: Problem[] = [];
  const command = COMMANDS.find((name) => name === argv[0]) ?? null;
  const given = walkArguments(command === null ? argv : expandCommand(argv, problems), problems);
  const document = parseDocument(given, problems);
  if (document !== null && problems.length === 0) return { kind: "document", document };
  return { kind: "run", command, given, problems };
}

/** `null` for the usual one. */
export function getConfigPath(
  { given }: { readonly given: GivenOptions },
  environment: (name: string) => string | undefined,
): string | null {
  const variable = ROWS_BY_NAME.get("config")?.variable ?? "";
  return given.get("config")?.[0] ?? (environment(variable) || null);
}

/** `null` without `--kube`. */
function resolveKubernetes(values: OptionValues, problems: Problem[]) {
  const { kube, "kube-context": context, "kube-namespace": namespaces, selector } = values;
  if (!kube.value) {
    for (const { source } of [context, ...namespaces, selector].filter(isTyped)) {
      problems.push(refuse(source, "works only with --kube"));
    }
    return null;
  }
  return {
    /** `null` for the current one. */
    context: context.value,
    /** Empty for that of the context. */
    namespaces: namespaces.map(({ value }) => value),
    /** Empty for all. */
    selector: selector.value ?? "",
  };
}

function getSourceOptions(values: OptionValues, problems: Problem[]) {
  return {
    /** Lists of more endpoints. */
    targetLists: values.targets.map(({ value }) => value),
    prometheus: values.prometheus.map(({ value }) => value),
    /** Label matchers, joined by commas. */
    prometheusMatcher: values["prometheus-matcher"].value ?? "",
    kubernetes: resolveKubernetes(values, problems),
  };
}

function getDemoOptions(values: OptionValues) {
  return {
    demo: values.demo.value,
    /** The word after `--demo`. */
    demoFleet: values.demo.source.text,
    /** Show the demo if a scan finds nothing. */
    orDemo: values["or-demo"].value,
    demoSeed: values["demo-seed"].value,
  };
}

function getScreenOptions(values: OptionValues) {
  return {
    theme: values.theme.value,
    noColor: values["no-color"].value,
    /** Whatever the locale says. */
    ascii: values.ascii.value,
    noKeyLine: values["no-key-line"].value,
    noMouse: values["no-mouse"].value,
    filter: values.filter.value ?? "",
    /** `help` lists the columns. `null`: the order given. */
    sort: values.sort.value,
    /** Column ids, empty for all; `help` lists the columns. */
    columns: values.columns.value ?? [],
  };
}

function collectOptions(
  values: OptionValues,
  command: GivenLine["command"],
  problems: Problem[],
) {
  const endpoints = resolveEndpoints(values, problems);
  const sources = getSourceOptions(values, problems);
  const ofLists = sources.targetLists.flatMap((one) => one.kind === "url" ? one.typed : []);
  const named = [...endpoints, ...ofLists, ...sources.prometheus];
  const insecureEndpointKeys = resolveInsecureKeys(values, named, problems);
  const labels = values.name.flatMap(({ value }) => value);
  const sshTargets = resolveSshTargets(values, problems);
  /** More endpoints may come. */
  const isOpen = sources.targetLists.length + values.ssh.length > 0 || sources.kubernetes !== null;
  return {
    /** Each endpoint once, in the order given. Empty: scan, or the demo. */
    endpoints: endpoints.map((typed) => markInsecure(typed, insecureEndpointKeys)),
    ...getSshOptions(values, sshTargets),
    ...sources,
    /** Neither a scan nor the demo. */
    namesTargets: named.length > 0 || isOpen,
    /** Scan, and fail if it finds nothing. */
    auto: values.auto.value,
    /** An IPv6 address is in brackets. */
    host: values.host.value,
    portRange: values["port-range"].value,
    /** Also scan the ports that local processes own: unless a range is set. */
    scansProcesses: !isRangeChosen(values["port-range"]),
    /** By endpoint key; safe texts, each once. */
    labels: resolveLabels(labels, isOpen ? [] : endpoints, problems),
    engines: resolveEngines(values, named, problems),
    /** By endpoint key. */
    logs: new Map(values.log.flatMap(({ value }) => value)),
    /** 0 only with `once`: a single scrape. */
    interval: resolveInterval(values, problems),
    timeout: values.timeout.value,
    once: isOnce(values),
    /** Watch so long before printing once; `null` for two scrapes. */
    watchSpan: resolveSpan(values, problems),
    /** Print what is found here, and what stands in the way. */
    doctor: values.doctor.value,
    /** Keeps scrapes from one run to the next. */
    stateFile: resolveStateFile(values, problems),
    ...resolveRecord(
      values,
      { isRecorder: command === "record", isOnce: isOnce(values) },
      problems,
    ),
    ...resolveReplay(values, isOnce(values), problems),
    output: resolveOutput(values, problems),
    /** Where to listen, and the file to replace at each poll; `null` for neither. */
    ...resolveExports(values, isOnce(values), problems),
    /** Replaces `vllm:`; `null` for the known prefixes. */
    metricPrefix: values["metric-prefix"].value,
    ...getDemoOptions(values),
    objectives: resolveObjectives(values.slo.flatMap(({ value }) => value), problems),
    /** Those for one endpoint come before those for all. */
    credentialSources: resolveCredentials(values, named, problems),
    insecureEndpointKeys,
    ...getScreenOptions(values),
    /** `auto`: if a local server is watched. */
    gpuWatch: resolveGpuWatch(values, problems),
    cost: getCostOptions(values),
    rules: resolveRules(values.rule.flatMap(({ value }) => value)),
    listPrices: values["list-prices"].value,
  };
}

export type Options = Readonly<ReturnType<typeof collectOptions>>;

/**
 * Checks all sources together, and reports the first problem. A variable that names an endpoint
 * that is not watched is ignored: it may be for other calls.
 */
export function resolveOptions(
  line: GivenLine,
  environment: (name: string) => string | undefined,
  file: FileValues,
): ParsedOptions {
  const problems = [...line.problems];
  const values = resolveValues({ given: line.given, environment, file }, problems);
  const options = collectOptions(values, line.command, problems);
  const [first] = problems;
  return first === undefined
    ? { kind: "run", options }
    : { kind: "usage_error", message: first.problem, level: first.level };
}

/** Each setting that is no default, by its name and what sets it. */
export function listSettings(
  line: { readonly given: GivenOptions },
  environment: (name: string) => string | undefined,
  file: FileValues,
): readonly { readonly name: OptionName; readonly origin: string }[] {
  const values: OptionValues = resolveValues({ given: line.given, environment, file }, []);
  return OPTION_ROWS.flatMap(({ name }) => {
    const sources = [values[name]].flat().map(({ source }) => source);
    const origins = new Set(
      sources.flatMap(({ level, origin }) => level === "default" ? [] : origin),
    );
    return [...origins].map((origin) => ({ name, origin }));
  });
}

const ID_WIDTH = 14;

/** The initial screen state. If columns are named, the others are hidden. */
export function createStartUi(
  { sort, columns, filter, theme, grouping }: Pick<
    Options,
    "sort" | "columns" | "filter" | "theme" | "grouping"
  >,
): Ui {
  const wanted = columns === "help" ? [] : columns;
  const others = COLUMN_IDS.filter((id) => !wanted.includes(id));
  return createUi({
    sort: sort === "help" ? null : sort,
    ...{ theme, filter, grouping },
    columnIds: [...wanted, ...others],
    hiddenColumnIds: new Set(wanted.length === 0 ? [] : others),
  });
}

export function listColumns(): readonly string[] {
  return COLUMN_ROWS.map(({ id, help }) => `${padText(id, ID_WIDTH)} ${help}`);
}
