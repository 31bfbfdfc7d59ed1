/**
 * Every option, once, as data; and the walk along the arguments and "did you
 * mean", which go by it.
 *
 * Layer 1, pure. What `help_text` says and what is accepted cannot differ. A row
 * holds the default as a person would type it; what values mean is `options`'
 * affair. An option comes here together with its feature: what is not in the
 * table is refused. `parseArgs` of `@std/cli` (and `minimist`, from which it
 * descends) would walk the arguments too, but gives "" both for a missing value
 * and for an empty one, takes `--once=maybe` for false, silently keeps the last
 * of two values, and reads the -1 of `--interval -1` as a flag.
 *
 * @module
 */

import { THEME_NAMES } from "./frame.ts";
import { GPU_OPTION_ROWS } from "./gpu_option_rows.ts";
import { quote } from "./text.ts";

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
const SECRET_FLAGS: ReadonlyMap<string, OptionName> = new Map([
  ["token", "token-file"],
  ["bearer-token", "token-file"],
  ["api-key", "token-file"],
  ["basic-auth", "basic-auth-file"],
  ["user", "basic-auth-file"],
  ["password", "basic-auth-file"],
  ["header", "header-file"],
]);

/** The option that a flag such as `--url` or `-h` stands for. */
function findOption(flag: string): OptionRow<OptionName> | null {
  const found = OPTION_ROWS.find((row) =>
    flag === `--${row.name}` || (row.short !== undefined && flag === `-${row.short}`)
  );
  return found ?? null;
}

/** Insertions, deletions, substitutions and swaps of neighbours that lead from `a` to `b`. */
function measureEditDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, change);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    [before, row] = [row, next];
  }
  return row[b.length];
}

/**
 * The known name that an unknown flag, or a name without dashes, is likely to mean, or `null`: the one it
 * begins if there is only one, else the nearest within a third of its letters.
 */
export function suggestOption(flag: string): OptionName | null {
  const typed = flag.replace(/^-+/, "").toLowerCase();
  if (typed.length < 2) return null;
  const begun = OPTION_ROWS.filter((row) => row.name.startsWith(typed));
  if (begun.length === 1) return begun[0].name;
  let nearest: OptionName | null = null;
  let least = Math.max(1, Math.floor(typed.length / 3)) + 1;
  const known = [...OPTION_ROWS.map((row) => [row.name, row.name] as const), ...SECRET_FLAGS];
  for (const [name, option] of known) {
    const distance = measureEditDistance(typed, name);
    if (distance < least) [least, nearest] = [distance, option];
  }
  return nearest;
}

/** The option that takes from a file what this flag would take from the command line, or `null`. */
export function findSecretOption(flag: string): OptionRow<OptionName> | null {
  const name = SECRET_FLAGS.get(flag.replace(/^-+/, "").toLowerCase());
  return OPTION_ROWS.find((row) => row.name === name) ?? null;
}

function describeUnknown(flag: string): string {
  const secret = findSecretOption(flag);
  if (secret !== null) {
    return `${quote(flag)} would show a secret to others on this machine: put it in a file and ` +
      `give --${secret.name} FILE, or set ${secret.contentVariable}`;
  }
  const meant = suggestOption(flag);
  // What follows a letter at once, as in -ume:secret, may be a secret.
  const shown = /^--?[a-z_-]*$/i.test(flag) ? flag : `${flag.slice(0, 2)}…`;
  return `unknown option ${quote(shown)}${meant === null ? "" : `: did you mean --${meant}?`}`;
}

/** Whether an argument can be the value of the option before it: a flag cannot, `-1` can. */
function canBeValue(argument: string | undefined): argument is string {
  return argument !== undefined && !/^-(?![\d.])/.test(argument);
}

/**
 * The options among the arguments. What is wrong is added to `problems`, as
 * sentences without the values of unknown flags, which may be secrets.
 */
export function walkArguments(argv: readonly string[], problems: string[]): GivenOptions {
  const given = new Map<OptionName, readonly string[]>();
  const add = (name: OptionName, ...values: string[]): void => {
    given.set(name, [...given.get(name) ?? [], ...values]);
  };
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i];
    if (argument === "--") {
      add("url", ...argv.slice(i + 1));
      break;
    }
    if (!argument.startsWith("-")) {
      add("url", argument);
      continue;
    }
    const equals = argument.indexOf("=");
    const flag = equals < 0 ? argument : argument.slice(0, equals);
    const row = findOption(flag);
    if (row === null) {
      problems.push(describeUnknown(flag));
      break;
    }
    let value = equals < 0 ? undefined : argument.slice(equals + 1);
    if (row.value === null) {
      if (value !== undefined) problems.push(`${flag} takes no value, but got ${quote(value)}`);
      add(row.name, "");
      continue;
    }
    if (value === undefined && canBeValue(argv[i + 1])) value = argv[++i];
    if (value === undefined || value === "") {
      problems.push(`${flag} has no value: write ${flag} ${row.value}`);
    } else if (!row.repeatable && given.has(row.name)) {
      problems.push(`${flag} is given twice, the second time as ${quote(value)}`);
    } else {
      add(row.name, value);
    }
  }
  return given;
}
