/**
 * Every option, once, as data; and the walk along the arguments, "did you mean"
 * and the help text, which go by it.
 *
 * Layer 1, pure. What the help says and what is accepted cannot differ. A row
 * holds the default as a person would type it; what values mean is `options`'
 * affair. An option comes here together with its feature: what is not in the
 * table is refused. `parseArgs` of `@std/cli` (and `minimist`, from which it
 * descends) would walk the arguments too, but gives "" both for a missing value
 * and for an empty one, takes `--once=maybe` for false, silently keeps the last
 * of two values, and reads the -1 of `--interval -1` as a flag.
 *
 * @module
 */

import { GPU_OPTION_ROWS } from "./gpu_option_rows.ts";
import { sanitizeText } from "./text.ts";

/** A heading of the help under which options stand. */
type OptionGroup =
  | "What to watch"
  | "When"
  | "Output"
  | "GPUs and cost"
  | "Credentials"
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
  readonly group: OptionGroup;
  readonly help: string;
}

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
    help: "scan the ports, and fail if no vLLM is found",
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
    help: "the ports to scan, at most 1024",
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
    name: "output",
    value: "FORM",
    variable: "VLLM_HTOP_OUTPUT",
    default: "auto",
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
  { name: "help", short: "h", value: null, group: "Help", help: "print this text" },
  { name: "version", short: "V", value: null, group: "Help", help: "print the version" },
] as const satisfies readonly OptionRow[];

/** The long name of an option, without its dashes. */
export type OptionName = typeof ROWS[number]["name"];

/** The options, in the order of the help. */
export const OPTION_ROWS: readonly OptionRow<OptionName>[] = ROWS;

/** Variables that are not settings of this program but are heeded, and what for. */
const COMMON_VARIABLES: readonly (readonly [name: string, help: string])[] = [
  ["NO_COLOR", "when set and not empty: no colours"],
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

const EXAMPLES: readonly (readonly [command: string, help: string])[] = [
  ["vllm-htop", "scan localhost, 8000-8015"],
  ["vllm-htop gpu1 gpu2:8001", "compare two servers"],
  ["vllm-htop http://gpu1:{8000,8001}", "two ports (bash, zsh)"],
  ["vllm-htop --auto --host gpu1", "scan another host"],
  ["vllm-htop --once --output json gpu1", "one JSON line for scripts"],
  ["vllm-htop https://ai.example.org --token-file key", "a bearer token"],
  ["vllm-htop --demo", "no server needed"],
];

const CREDENTIALS_REMARK =
  "FILE alone is for every URL that is given, URL=FILE for that one only; each option may be " +
  "repeated. Others can read arguments: no option takes the secret itself. None goes to a " +
  "server found by a scan.";

const EXIT_CODES: readonly (readonly [code: string, help: string])[] = [
  ["0", "every endpoint answered"],
  ["1", "an endpoint is down or, with --auto, nothing was found"],
  ["2", "the command line or a variable is wrong"],
  ["3", "a file with credentials cannot be used"],
  ["70", "internal error"],
  ["128+n", "ended by signal n"],
];

const HOMEPAGE = "https://github.com/vllm-htop/vllm-htop";

/** Columns that the help may take. */
const HELP_WIDTH = 80;

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
 * The known name that an unknown flag is likely to mean, or `null`: the one it
 * begins if there is only one, else the nearest within a third of its letters.
 */
function suggestOption(flag: string): OptionName | null {
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
function findSecretOption(flag: string): OptionRow<OptionName> | null {
  const name = SECRET_FLAGS.get(flag.replace(/^-+/, "").toLowerCase());
  return OPTION_ROWS.find((row) => row.name === name) ?? null;
}

function quote(text: string): string {
  return `"${sanitizeText(text)}"`;
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

/** Words filled into lines, of which all but the first are indented. */
function wrapWords(text: string, indent: number): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent + line.length + 1 + word.length > HELP_WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join(`\n${" ".repeat(indent)}`);
}

/** Two columns, the right one wrapped. A left side that leaves no gap gets a line of its own. */
function formatRows(rows: readonly (readonly [left: string, right: string])[]): string {
  const indent = 4 + Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(indent - 2)}${wrapWords(right, indent)}\n`)
    .join("");
}

function formatOption(row: OptionRow): readonly [string, string] {
  const short = row.short === undefined ? "" : `-${row.short}, `;
  const left = `${short}--${row.name}${row.value === null ? "" : ` ${row.value}`}`;
  const facts = [
    row.default === undefined ? [] : `default ${row.default}`,
    row.variable ?? [],
    row.contentVariable === undefined ? [] : `content in ${row.contentVariable}`,
  ].flat().join("; ");
  return [left, facts === "" ? row.help : `${row.help} (${facts})`];
}

/** What `--help` prints: examples first, then the options, at most 80 columns wide. */
export function helpText(): string {
  const groups = Map.groupBy(OPTION_ROWS, (row) => row.group);
  const options = [...groups].map(([group, rows]) => {
    const remark = group === "Credentials" ? `  ${wrapWords(CREDENTIALS_REMARK, 2)}\n` : "";
    return `${group}:\n${remark}${formatRows(rows.map(formatOption))}`;
  });
  return [
    "Usage: vllm-htop [OPTION]... [URL]...\n\n" +
    "Shows what vLLM servers are doing, and which of them is in trouble.\n",
    `Examples:\n${formatRows(EXAMPLES)}`,
    ...options,
    `Environment (an option beats its variable):\n${formatRows(COMMON_VARIABLES)}`,
    `Exit codes:\n${formatRows(EXIT_CODES)}`,
    `Homepage: ${HOMEPAGE}\n`,
  ].join("\n");
}
