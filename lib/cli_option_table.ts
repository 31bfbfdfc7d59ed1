/**
 * Every option as one row: source of parsing, help, man page, completions, configuration file, its
 * schema and docs/configuration.md.
 * @module
 */

import { parseObjectives } from "./cli_slo.ts";
import {
  parseColumns,
  parseCurrency,
  parseHost,
  parseInterval,
  parseLabels,
  parseListener,
  parseLogs,
  parseMatchers,
  parseMetricPrefix,
  parseMoment,
  parseNamespace,
  parseNumber,
  parsePortRange,
  parsePrometheusUrl,
  type Parser,
  parseRecordedSpan,
  parseSize,
  parseSortOption,
  parseSpan,
  parseSshHost,
  parseTargetPlace,
  parseUrls,
  type Setting,
} from "./cli_values.ts";
import { KIND_NAMES } from "./scrape_identify.ts";
import { listRuleWords, parseRuleChanges } from "./cli_rules.ts";
import { GROUPINGS, THEME_NAMES } from "./state_ui.ts";
import { COLUMN_IDS } from "./view_column_table.ts";

export interface OptionRow<Name extends string = string> {
  readonly name: Name;
  readonly short?: string;
  /** Placeholder in the help; `null` for a switch. */
  readonly value: string | null;
  readonly repeatable?: true;
  readonly canBeEmpty?: true;
  /** Values of all sources count, not only those of the strongest; the strongest come last. */
  readonly merges?: true;
  /** Derived from the name. */
  readonly variable?: string;
  /** Environment variable with the content of the file. */
  readonly contentVariable?: string;
  /** As typed. */
  readonly default?: string;
  readonly choices?: readonly string[];
  /** Words for completions, if there are no `choices`. A switch may be followed by one of them. */
  readonly words?: readonly string[];
  /** If absent, the value is one of `choices` or the text itself. */
  readonly parse?: Parser<unknown>;
  /** Options of one set come from one source: the strongest that sets any of them. */
  readonly set?: "targets" | "gpus" | "authorization" | "client certificate";
  readonly group: string;
  readonly help: string;
}

export const OUTPUT_FORMS = [
  "auto",
  "table",
  "detail",
  "json",
  "csv",
  "prometheus",
  "markdown",
] as const;
const SPEED_NAMES = ["1", "2", "10", "100", "max"] as const;
export const SHELLS = ["bash", "zsh", "fish", "powershell"] as const;
export const SCHEMA_NAMES = ["config", "report"] as const;
const COLUMN_WORDS = [...COLUMN_IDS, "help"];
const MAX_SEED = 2 ** 32 - 1;
const MAX_GPUS = 1_000_000;
/** The limits catch typing errors. */
const PRICE = {
  value: "USD",
  parse: parseNumber({ min: 0, max: 1_000_000, unit: "USD" }),
} as const;
const CREDENTIAL = { value: "[URL=]FILE", repeatable: true } as const;

const GROUPS = {
  "What to watch": [
    {
      name: "url",
      value: "URL",
      repeatable: true,
      parse: parseUrls,
      set: "targets",
      help:
        "a server, or several separated by commas; gpu1 means http://gpu1:8000; --url itself is " +
        "optional",
    },
    {
      name: "targets",
      value: "FILE",
      repeatable: true,
      parse: parseTargetPlace,
      set: "targets",
      help:
        "file of servers in the form of Prometheus' file_sd (JSON or YAML), or URL of an http_sd, " +
        "followed while it changes",
    },
    {
      name: "ssh",
      value: "[NAME=]HOST",
      repeatable: true,
      parse: parseSshHost,
      set: "targets",
      help: "a host to log in to with your own ssh: find its servers, and read them through that " +
        "session; an alias, user@host or ssh://user@host:port, then ,ports=FIRST-LAST to look only " +
        "there and ,log=PLACE if its servers' log is not found",
    },
    { name: "ssh-config", value: "FILE", help: "configuration file of ssh, as ssh -F" },
    {
      name: "ssh-accept-new",
      value: null,
      help: "accept the keys of hosts that ssh does not know yet; changed keys stay refused",
    },
    {
      name: "prometheus",
      value: "URL",
      repeatable: true,
      parse: parsePrometheusUrl,
      set: "targets",
      help:
        "watch the model servers that this Prometheus scrapes, by its samples; a URL that ends in " +
        "/federate is asked for that page only",
    },
    {
      name: "prometheus-matcher",
      value: "MATCHERS",
      parse: parseMatchers,
      help: 'only targets with these labels: namespace="prod",job=~"vllm.*"',
    },
    {
      name: "kube",
      value: null,
      set: "targets",
      help: "watch the pods of a Kubernetes cluster that serve models, through your own kubectl",
    },
    { name: "kube-context", value: "NAME", help: "context of kubectl, instead of the current one" },
    {
      name: "kube-namespace",
      value: "NAME",
      repeatable: true,
      parse: parseNamespace,
      help: 'namespace to look into, instead of that of the context, or "*" for all',
    },
    {
      name: "selector",
      value: "LABELS",
      help: "only pods with these labels, as in kubectl: app=vllm,tier!=test",
    },
    { name: "auto", value: null, set: "targets", help: "scan, and fail if no server is found" },
    { name: "host", value: "HOST", default: "localhost", parse: parseHost, help: "host to scan" },
    {
      name: "port-range",
      value: "FIRST-LAST",
      default: "8000-8015",
      parse: parsePortRange,
      help: "ports to scan, at most 1024; if unset, also those on which local processes listen, " +
        "or the usual ones of another host",
    },
    {
      name: "name",
      value: "URL=LABEL",
      repeatable: true,
      parse: parseLabels,
      help: "display name of a server, instead of its model and address",
    },
    {
      name: "engine",
      value: "[URL=]NAME",
      repeatable: true,
      words: KIND_NAMES,
      help: `kind of server, if it is not recognised: ${KIND_NAMES.join(", ")}`,
    },
    {
      name: "log",
      value: "URL=PLACE",
      repeatable: true,
      parse: parseLogs,
      help: "log of a server: docker:NAME, podman:NAME, journal:UNIT or a path",
    },
    {
      name: "metric-prefix",
      value: "PREFIX",
      canBeEmpty: true,
      parse: parseMetricPrefix,
      help: 'metric name prefix to use instead of "vllm:", or "" for none',
    },
    {
      name: "demo",
      value: null,
      words: ["vllm"],
      set: "targets",
      help:
        'show simulated servers of four kinds, or, with the word "vllm", five of vLLM in trouble',
    },
    { name: "or-demo", value: null, help: "show the demo if a scan finds no server" },
    {
      name: "demo-seed",
      value: "N",
      default: "1",
      parse: parseNumber({ min: 0, max: MAX_SEED, isWhole: true }),
      help: "seed of the simulation; the same seed gives the same fleet",
    },
  ],
  When: [
    {
      name: "interval",
      value: "SECONDS",
      default: "2",
      parse: parseInterval,
      help: "scrape interval, 0.5 to 3600; 0 with --once: one scrape, no rates",
    },
    {
      name: "timeout",
      value: "SECONDS",
      default: "4",
      parse: parseNumber({ min: 0.1, max: 120, unit: "seconds" }),
      help: "time limit of a scrape, 0.1 to 120",
    },
    { name: "once", value: null, help: "print once and exit: two scrapes, one interval apart" },
    {
      name: "diagnose",
      value: null,
      help: "as --once, but print a diagnosis to paste into a ticket: what, where, since when",
    },
    {
      name: "check",
      value: null,
      help: "as --once, but print one line for Nagios and exit with 0 (well), 1 (degraded), " +
        "2 (critical) or 3 (unknown)",
    },
    {
      name: "for",
      value: "TIME",
      parse: parseSpan,
      help: "with --check: watch that long, such as 60s, so that rules with a hold count",
    },
    {
      name: "doctor",
      value: null,
      help:
        "print what is found here, how, and what stands in the way; the same as vllm-htop doctor",
    },
    {
      name: "state",
      value: "FILE",
      help:
        "with --once: keep counters in FILE, and show rates since the previous run, from one scrape " +
        "without waiting",
    },
  ],
  Recording: [
    {
      name: "record",
      value: "FILE",
      help:
        "record what servers answer, besides showing it; vllm-htop record FILE shows nothing, " +
        "and FILE may be - for standard output",
    },
    {
      name: "record-limit",
      value: "SIZE",
      default: "1GB",
      parse: parseSize,
      help: "size limit of the recording: at half of it FILE becomes FILE.1, in place of the " +
        "previous one",
    },
    {
      name: "record-age",
      value: "HOURS",
      default: "168",
      parse: parseNumber({ min: 1, max: 100_000, unit: "hours" }),
      help: "age limit of the recording, kept in the same way",
    },
  ],
  Replay: [
    {
      name: "replay",
      value: "FILE",
      help: "show a recording as if it were now; the same as vllm-htop replay FILE",
    },
    {
      name: "speed",
      value: "N",
      choices: SPEED_NAMES,
      help: "1, 2, 10, 100 or max; unset: 1 on a live screen, else max",
    },
    {
      name: "from",
      value: "TIME",
      parse: parseMoment,
      help: "show from there on: 14:05, 14:05:30 or 2026-11-29T14:05, in the recording's time zone",
    },
    { name: "to", value: "TIME", parse: parseMoment, help: "end there" },
    { name: "at", value: "TIME", parse: parseMoment, help: "with --once: print that moment" },
    {
      name: "compare",
      value: "FILE[@FROM-TO]",
      repeatable: true,
      parse: parseRecordedSpan,
      help: "given twice: compare two recordings, or parts of one, as a@14:00-14:10; the same as " +
        "vllm-htop compare FILE FILE",
    },
  ],
  Rules: [
    {
      name: "rule",
      value: "RULE.SETTING=VALUE",
      repeatable: true,
      merges: true,
      parse: parseRuleChanges,
      words: listRuleWords(),
      help: "change a rule, such as queuing.threshold=20, or queuing=off",
    },
  ],
  Output: [
    {
      name: "output",
      value: "FORM",
      default: "auto",
      choices: OUTPUT_FORMS,
      help: "table, detail, json (one document per line), csv (one line per replica and poll), " +
        "prometheus (with --once, --output-file or --serve), markdown (with compare), or auto: " +
        "detail for one replica, table for several",
    },
    {
      name: "output-file",
      value: "FILE",
      help: "replace FILE at each poll, in place of printing; needs permission to write there",
    },
    {
      name: "serve",
      value: "[HOST:]PORT",
      parse: parseListener,
      help: "answer GET /metrics with Prometheus text; HOST is localhost unless given",
    },
    { name: "table", value: null, help: "the same as --output table" },
    { name: "detail", value: null, help: "the same as --output detail" },
    { name: "json", value: null, help: "the same as --output json" },
    {
      name: "sort",
      value: "COLUMN",
      parse: parseSortOption,
      words: COLUMN_WORDS,
      help: "sort by COLUMN, COLUMN:asc or COLUMN:desc; help lists the columns",
    },
    {
      name: "filter",
      value: "TEXT",
      help:
        "show rows with TEXT in name, model, URL, label or state, or a comparison: kv>80%, ns=prod; | is or, & and",
    },
    {
      name: "group",
      value: "BY",
      default: "model",
      choices: GROUPINGS,
      help:
        "group rows by model, host, or a label of their targets: pod, node, namespace, job, role",
    },
    {
      name: "columns",
      value: "LIST",
      parse: parseColumns,
      words: COLUMN_WORDS,
      help: "columns to show, comma-separated, in that order; help lists them",
    },
    {
      name: "theme",
      value: "NAME",
      default: "default",
      choices: THEME_NAMES,
      help: "default, light, mono, high-contrast or colorblind",
    },
    { name: "no-color", value: null, help: "bold and inverse only" },
    { name: "ascii", value: null, help: "draw with ASCII only" },
    { name: "no-key-line", value: null, help: "hide the key line" },
    {
      name: "no-mouse",
      value: null,
      help: "do not use the mouse, so that the terminal can select text",
    },
  ],
  "Service levels": [
    {
      name: "slo",
      value: "OBJECTIVES",
      repeatable: true,
      parse: parseObjectives,
      help: "limits of ttft, itl, tpot, e2e or queue for 95 % of the requests, or as many as @pN " +
        "says: ttft=1s,itl=50ms@p99; MODEL:ttft=2s is for one model",
    },
  ],
  "GPUs and cost": [
    {
      name: "gpus",
      value: null,
      set: "gpus",
      help: "show this machine's GPUs even if all servers are remote",
    },
    { name: "no-gpu", value: null, set: "gpus", help: "do not run nvidia-smi or amd-smi" },
    { name: "cost-in", ...PRICE, help: "price of a million prompt tokens" },
    {
      name: "cost-cached-in",
      ...PRICE,
      help: "price of a million cached prompt tokens; unset: as --cost-in",
    },
    { name: "cost-out", ...PRICE, help: "price of a million output tokens" },
    {
      name: "gpu-cost-hour",
      ...PRICE,
      help: "cost of one GPU per hour; unset: a hint by GPU name",
    },
    {
      name: "num-gpus",
      value: "N",
      parse: parseNumber({ min: 1, max: MAX_GPUS, isWhole: true }),
      help: "number of GPUs to bill; unset: those here that a watched server uses",
    },
    { name: "no-gpu-detect", value: null, help: "do not bill the GPUs found here" },
    {
      name: "prices",
      value: "FILE",
      help: "GPU prices that override the hints: lines of name, tab and USD per hour, or JSON",
    },
    {
      name: "currency",
      value: "SIGN",
      default: "$",
      parse: parseCurrency,
      help: "currency sign; no conversion",
    },
    { name: "list-prices", value: null, help: "print the price hints and exit" },
  ],
  Credentials: [
    {
      name: "token-file",
      ...CREDENTIAL,
      contentVariable: "VLLM_HTOP_TOKEN",
      set: "authorization",
      help: "bearer token, re-read for each scrape",
    },
    {
      name: "basic-auth-file",
      ...CREDENTIAL,
      contentVariable: "VLLM_HTOP_BASIC_AUTH",
      set: "authorization",
      help: "user:password",
    },
    {
      name: "header-file",
      ...CREDENTIAL,
      contentVariable: "VLLM_HTOP_HEADERS",
      help: 'lines of "Name: value"',
    },
    {
      name: "ca-file",
      ...CREDENTIAL,
      help: "PEM certificates to trust in addition to the system's",
    },
    {
      name: "cert-file",
      ...CREDENTIAL,
      set: "client certificate",
      help: "PEM client certificate; needs --key-file",
    },
    {
      name: "key-file",
      ...CREDENTIAL,
      set: "client certificate",
      help: "PEM key of the client certificate",
    },
    {
      name: "insecure",
      value: "URL",
      repeatable: true,
      parse: parseUrls,
      help: "skip the certificate check of this watched server",
    },
  ],
  Configuration: [
    {
      name: "config",
      value: "FILE",
      help:
        "configuration file to use instead of vllm-htop/config.json in the configuration folder; an " +
        "option or variable overrides it",
    },
    {
      name: "print-default-config",
      value: null,
      help: "print a configuration file with all defaults",
    },
    {
      name: "schema",
      value: "NAME",
      choices: SCHEMA_NAMES,
      help: "print the JSON Schema of the configuration file (config) or of --output json (report)",
    },
  ],
  Help: [
    {
      name: "completions",
      value: "SHELL",
      choices: SHELLS,
      help: "print completions for bash, zsh, fish or powershell",
    },
    { name: "man", value: null, help: "print the manual page" },
    { name: "help", short: "h", value: null, help: "print this text" },
    { name: "version", short: "V", value: null, help: "print the version" },
  ],
} as const satisfies Readonly<Record<string, readonly Omit<OptionRow, "group" | "variable">[]>>;

type Row = typeof GROUPS[keyof typeof GROUPS][number];
export type OptionName = Row["name"];

export interface Value<T> {
  readonly value: T;
  readonly source: Setting;
}

type ParsedBy<One> = One extends { readonly parse: Parser<infer T> } ? T
  : One extends { readonly choices: readonly (infer Choice)[] } ? Choice
  : string;

type ValueOf<One> = One extends { readonly value: null } ? Value<boolean>
  : One extends { readonly repeatable: true } ? readonly Value<ParsedBy<One>>[]
  : One extends { readonly default: string } ? Value<ParsedBy<One>>
  : Value<ParsedBy<One> | null>;

/** `null` if unset without a default. */
export type OptionValues = { readonly [One in Row as One["name"]]: ValueOf<One> };

/** For one call, so they have no environment variable. */
const ARGUMENTS_ONLY: ReadonlySet<OptionName> = new Set([
  ...["or-demo", "demo-seed", "once", "diagnose", "check", "for", "doctor", "json"] as const,
  ...["replay", "speed", "from", "to", "at", "compare"] as const,
  ...[
    "table",
    "detail",
    "no-color",
    "ascii",
    "no-key-line",
    "no-mouse",
    "list-prices",
    "print-default-config",
    "schema",
  ] as const,
  ...["completions", "man", "help", "version"] as const,
]);

function nameVariable(name: OptionName): Pick<OptionRow, "variable"> {
  if (ARGUMENTS_ONLY.has(name)) return {};
  return { variable: `VLLM_HTOP_${name.toUpperCase().replaceAll("-", "_")}` };
}

/** In the order of the help. */
export const OPTION_ROWS: readonly OptionRow<OptionName>[] = Object.entries(GROUPS)
  .flatMap(([group, rows]) => rows.map((row) => ({ group, ...row, ...nameVariable(row.name) })));

export const ROWS_BY_NAME: ReadonlyMap<OptionName, OptionRow<OptionName>> = new Map(
  OPTION_ROWS.map((row) => [row.name, row]),
);

/** Variables of other programs that we honour. */
export const COMMON_VARIABLES: readonly (readonly [name: string, help: string])[] = [
  ["NO_COLOR", "when set and not empty: no colours"],
  ["FORCE_COLOR", "1, 2 or 3: 16, 256 or 16 million colours, also in a pipe"],
  ["COLORTERM, TERM", "how many colours; TERM=dumb: none, and no live screen; linux: no braille"],
  ["COLUMNS", "width of plain text in a pipe; 120 if not set"],
  ["XDG_CONFIG_HOME, HOME, APPDATA", "location of the configuration folder"],
  ["LC_ALL, LC_CTYPE, LANG", "ASCII only if the first one set does not name UTF-8"],
];

/** Flags that people try for a secret -> the option that takes a file. */
export const SECRET_FLAGS: ReadonlyMap<string, OptionName> = new Map([
  ["token", "token-file"],
  ["bearer-token", "token-file"],
  ["api-key", "token-file"],
  ["basic-auth", "basic-auth-file"],
  ["user", "basic-auth-file"],
  ["password", "basic-auth-file"],
  ["header", "header-file"],
]);

export function findOption(flag: string): OptionRow<OptionName> | null {
  const found = OPTION_ROWS.find((row) =>
    flag === `--${row.name}` || (row.short !== undefined && flag === `-${row.short}`)
  );
  return found ?? null;
}

/** The option that takes this flag's secret from a file. */
export function findSecretOption(flag: string): OptionRow<OptionName> | null {
  const name = SECRET_FLAGS.get(flag.replace(/^-+/, "").toLowerCase());
  return name === undefined ? null : ROWS_BY_NAME.get(name) ?? null;
}
