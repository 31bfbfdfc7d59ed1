/**
 * Every option, once, as data; and the walk along the arguments and "did you
 * mean", which go by it.
 *
 * What `cli_help` says and what is accepted cannot differ. A row
 * holds the default as a person would type it; what values mean is `options`'
 * affair. An option comes here together with its feature: what is not in the
 * table is refused. `parseArgs` of `@std/cli` (and `minimist`, from which it
 * descends) would walk the arguments too, but gives "" both for a missing value
 * and for an empty one, takes `--once=maybe` for false, silently keeps the last
 * of two values, and reads the -1 of `--interval -1` as a flag.
 *
 * @module
 */

import { THEME_NAMES } from "./state_ui.ts";

/** In the order of the help. */
const GPU_OPTION_ROWS = [
  {
    name: "gpus",
    value: null,
    variable: "VLLM_HTOP_GPUS",
    group: "GPUs and cost",
    help: "show this machine's GPUs even where all servers are remote",
  },
  {
    name: "no-gpu",
    value: null,
    variable: "VLLM_HTOP_NO_GPU",
    group: "GPUs and cost",
    help: "start neither nvidia-smi nor amd-smi",
  },
  {
    name: "cost-in",
    value: "USD",
    variable: "VLLM_HTOP_COST_IN",
    group: "GPUs and cost",
    help: "worth of a million prompt tokens",
  },
  {
    name: "cost-cached-in",
    value: "USD",
    variable: "VLLM_HTOP_COST_CACHED_IN",
    group: "GPUs and cost",
    help: "worth of a million prompt tokens that came from a cache; unset: as --cost-in",
  },
  {
    name: "cost-out",
    value: "USD",
    variable: "VLLM_HTOP_COST_OUT",
    group: "GPUs and cost",
    help: "worth of a million output tokens",
  },
  {
    name: "gpu-cost-hour",
    value: "USD",
    variable: "VLLM_HTOP_GPU_COST_HOUR",
    group: "GPUs and cost",
    help: "cost of one GPU for an hour; unset: a hint by its name",
  },
  {
    name: "num-gpus",
    value: "N",
    variable: "VLLM_HTOP_NUM_GPUS",
    group: "GPUs and cost",
    help: "how many GPUs to pay for; unset: those of this machine that serve",
  },
  {
    name: "no-gpu-detect",
    value: null,
    variable: "VLLM_HTOP_NO_GPU_DETECT",
    group: "GPUs and cost",
    help: "pay for no GPU that is found here",
  },
  {
    name: "prices",
    value: "FILE",
    variable: "VLLM_HTOP_PRICES",
    group: "GPUs and cost",
    help: "prices of GPUs that go before the hints: lines of name, tab and USD per hour, or JSON",
  },
  {
    name: "currency",
    value: "SIGN",
    variable: "VLLM_HTOP_CURRENCY",
    default: "$",
    group: "GPUs and cost",
    help: "what stands before amounts; nothing is converted",
  },
  {
    name: "list-prices",
    value: null,
    group: "GPUs and cost",
    help: "print the hints, and end",
  },
] as const;

/** A heading of the help under which options stand. */
type OptionGroup =
  | "What to watch"
  | "When"
  | "Output"
  | "GPUs and cost"
  | "Credentials"
  | "Settings"
  | "Help";

/** One option. */
export interface OptionRow<Name extends string = string> {
  /** Without the dashes. */
  readonly name: Name;
  /** One letter, without the dash. */
  readonly short?: string;
  /** What stands for the value in the help; `null` for a switch, which takes none. */
  readonly value: string | null;
  /** May be given several times. */
  readonly repeatable?: true;
  /** The variable that is read where the option is not given. */
  readonly variable?: string;
  /** The variable that holds the content itself where no file is named. */
  readonly contentVariable?: string;
  /** As a person would type it. */
  readonly default?: string;
  /** The values that there are, where they can be listed here. */
  readonly choices?: readonly string[];
  readonly group: OptionGroup;
  readonly help: string;
}

/** The forms of `--output`. */
export const OUTPUT_FORMS = ["auto", "table", "detail", "json"] as const;

/** Shells that completions can be written for. */
export const SHELLS = ["bash", "zsh", "fish", "powershell"] as const;

/** Documents whose JSON Schema can be printed. */
export const SCHEMA_NAMES = ["config", "report"] as const;

const ROWS = [
  {
    name: "url",
    value: "URL",
    repeatable: true,
    variable: "VLLM_HTOP_URL",
    group: "What to watch",
    help: "a server, or several with commas between; may be repeated, and the word --url may be " +
      "left out",
  },
  {
    name: "auto",
    value: null,
    variable: "VLLM_HTOP_AUTO",
    group: "What to watch",
    help: "scan this machine, and fail if no vLLM is found",
  },
  {
    name: "host",
    value: "HOST",
    variable: "VLLM_HTOP_HOST",
    default: "localhost",
    group: "What to watch",
    help: "the host to scan",
  },
  {
    name: "port-range",
    value: "FIRST-LAST",
    variable: "VLLM_HTOP_PORT_RANGE",
    default: "8000-8015",
    group: "What to watch",
    help: "the ports to scan, at most 1024, and no others: without it, those that processes of " +
      "this machine own as well",
  },
  {
    name: "name",
    value: "URL=LABEL",
    repeatable: true,
    variable: "VLLM_HTOP_NAME",
    group: "What to watch",
    help: "what to call a server, in place of its model and address",
  },
  {
    name: "metric-prefix",
    value: "PREFIX",
    variable: "VLLM_HTOP_METRIC_PREFIX",
    group: "What to watch",
    help: 'what stands in place of "vllm:" in the names of the metrics',
  },
  {
    name: "demo",
    value: null,
    variable: "VLLM_HTOP_DEMO",
    group: "What to watch",
    help: "show a simulated fleet of two models and five replicas",
  },
  {
    name: "or-demo",
    value: null,
    group: "What to watch",
    help: "show the demo where a scan finds no server",
  },
  {
    name: "demo-seed",
    value: "N",
    default: "1",
    group: "What to watch",
    help: "the seed of the simulation: the same seed, the same fleet",
  },
  {
    name: "interval",
    value: "SECONDS",
    variable: "VLLM_HTOP_INTERVAL",
    default: "2",
    group: "When",
    help: "time between two scrapes, 0.5 to 3600; 0 with --once: one scrape, no rates",
  },
  {
    name: "timeout",
    value: "SECONDS",
    variable: "VLLM_HTOP_TIMEOUT",
    default: "4",
    group: "When",
    help: "time that a whole scrape may take, 0.1 to 120",
  },
  {
    name: "once",
    value: null,
    group: "When",
    help: "print once and end: two scrapes, one interval apart",
  },
  {
    name: "state",
    value: "FILE",
    variable: "VLLM_HTOP_STATE",
    group: "When",
    help:
      "with --once: keep counters in FILE, and show rates since the run before, by one scrape " +
      "without waiting",
  },
  {
    name: "output",
    value: "FORM",
    variable: "VLLM_HTOP_OUTPUT",
    default: "auto",
    choices: OUTPUT_FORMS,
    group: "Output",
    help: "table, detail, json (one document per line), or auto: detail of one replica, " +
      "table of several",
  },
  { name: "table", value: null, group: "Output", help: "the same as --output table" },
  { name: "detail", value: null, group: "Output", help: "the same as --output detail" },
  {
    name: "sort",
    value: "COLUMN",
    variable: "VLLM_HTOP_SORT",
    group: "Output",
    help: "sort by COLUMN, COLUMN:asc or COLUMN:desc; help lists the columns",
  },
  {
    name: "filter",
    value: "TEXT",
    variable: "VLLM_HTOP_FILTER",
    group: "Output",
    help: "show rows that have TEXT in name, model, URL or state; | means or",
  },
  {
    name: "columns",
    value: "LIST",
    variable: "VLLM_HTOP_COLUMNS",
    group: "Output",
    help: "columns to show, with commas between, in that order; help lists them",
  },
  {
    name: "theme",
    value: "NAME",
    variable: "VLLM_HTOP_THEME",
    default: "default",
    choices: THEME_NAMES,
    group: "Output",
    help: "default, light, mono, high-contrast or colorblind",
  },
  { name: "no-color", value: null, group: "Output", help: "bold and inverse alone" },
  { name: "ascii", value: null, group: "Output", help: "draw with ASCII alone" },
  {
    name: "no-key-line",
    value: null,
    group: "Output",
    help: "do not show the keys in the last line",
  },
  { name: "no-mouse", value: null, group: "Output", help: "leave the mouse to the terminal" },
  ...GPU_OPTION_ROWS,
  {
    name: "token-file",
    value: "[URL=]FILE",
    repeatable: true,
    variable: "VLLM_HTOP_TOKEN_FILE",
    contentVariable: "VLLM_HTOP_TOKEN",
    group: "Credentials",
    help: "bearer token, read anew for each scrape",
  },
  {
    name: "basic-auth-file",
    value: "[URL=]FILE",
    repeatable: true,
    variable: "VLLM_HTOP_BASIC_AUTH_FILE",
    contentVariable: "VLLM_HTOP_BASIC_AUTH",
    group: "Credentials",
    help: "user:password",
  },
  {
    name: "header-file",
    value: "[URL=]FILE",
    repeatable: true,
    variable: "VLLM_HTOP_HEADER_FILE",
    contentVariable: "VLLM_HTOP_HEADERS",
    group: "Credentials",
    help: 'lines of "Name: value"',
  },
  {
    name: "ca-file",
    value: "[URL=]FILE",
    repeatable: true,
    variable: "VLLM_HTOP_CA_FILE",
    group: "Credentials",
    help: "PEM certificates to trust beside the system's",
  },
  {
    name: "cert-file",
    value: "[URL=]FILE",
    repeatable: true,
    variable: "VLLM_HTOP_CERT_FILE",
    group: "Credentials",
    help: "PEM client certificate; needs --key-file",
  },
  {
    name: "key-file",
    value: "[URL=]FILE",
    repeatable: true,
    variable: "VLLM_HTOP_KEY_FILE",
    group: "Credentials",
    help: "PEM key of the client certificate",
  },
  {
    name: "insecure",
    value: "URL",
    repeatable: true,
    variable: "VLLM_HTOP_INSECURE",
    group: "Credentials",
    help: "accept any certificate of this server, which is one of those watched",
  },
  {
    name: "config",
    value: "FILE",
    variable: "VLLM_HTOP_CONFIG",
    group: "Settings",
    help: "settings to read in place of vllm-htop/config.json in the folder for settings; an " +
      "option or variable beats them",
  },
  {
    name: "print-default-config",
    value: null,
    group: "Settings",
    help: "print a file of all settings as they are without one",
  },
  {
    name: "schema",
    value: "NAME",
    choices: SCHEMA_NAMES,
    group: "Settings",
    help: "print the JSON Schema of that file (config) or of --output json (report)",
  },
  {
    name: "completions",
    value: "SHELL",
    choices: SHELLS,
    group: "Help",
    help: "print completions for bash, zsh, fish or powershell",
  },
  { name: "man", value: null, group: "Help", help: "print the manual page" },
  { name: "help", short: "h", value: null, group: "Help", help: "print this text" },
  { name: "version", short: "V", value: null, group: "Help", help: "print the version" },
] as const satisfies readonly OptionRow[];

/** The long name of an option, without its dashes. */
export type OptionName = typeof ROWS[number]["name"];

/** The options, in the order of the help. */
export const OPTION_ROWS: readonly OptionRow<OptionName>[] = ROWS;

/** Variables that are not settings of this program but are heeded, and what for. */
export const COMMON_VARIABLES: readonly (readonly [name: string, help: string])[] = [
  ["NO_COLOR", "when set and not empty: no colours"],
  ["FORCE_COLOR", "1, 2 or 3: 16, 256 or 16 million colours, into a pipe as well"],
  ["COLORTERM, TERM", "how many colours the terminal shows; TERM=dumb: none, and no live screen"],
  ["XDG_CONFIG_HOME, HOME, APPDATA", "where the folder for settings is"],
  ["LC_ALL, LC_CTYPE, LANG", "where the first one set does not name UTF-8: ASCII only"],
];

/** Option -> its values as typed; a switch has one empty value. Bare words are under `url`. */
export type GivenOptions = ReadonlyMap<OptionName, readonly string[]>;

/** Every environment variable that is read, for the list of permissions. */
export const ENVIRONMENT_VARIABLES: readonly string[] = [
  ...OPTION_ROWS.flatMap((row) => [row.variable ?? [], row.contentVariable ?? []].flat()),
  ...COMMON_VARIABLES.flatMap(([names]) => names.split(", ")),
];

/** Flags that people try for a secret, and the option that takes it from a file. */
export const SECRET_FLAGS: ReadonlyMap<string, OptionName> = new Map([
  ["token", "token-file"],
  ["bearer-token", "token-file"],
  ["api-key", "token-file"],
  ["basic-auth", "basic-auth-file"],
  ["user", "basic-auth-file"],
  ["password", "basic-auth-file"],
  ["header", "header-file"],
]);

/** The option that a flag such as `--url` or `-h` stands for. */
export function findOption(flag: string): OptionRow<OptionName> | null {
  const found = OPTION_ROWS.find((row) =>
    flag === `--${row.name}` || (row.short !== undefined && flag === `-${row.short}`)
  );
  return found ?? null;
}

/** The option that takes from a file what this flag would take from the command line, or `null`. */
export function findSecretOption(flag: string): OptionRow<OptionName> | null {
  const name = SECRET_FLAGS.get(flag.replace(/^-+/, "").toLowerCase());
  return OPTION_ROWS.find((row) => row.name === name) ?? null;
}
