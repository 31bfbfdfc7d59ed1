/**
 * Arguments, environment and configuration file -> the value of each option, with its source. The
 * first of these that sets an option wins; the default comes last.
 * @module
 */

import {
  findOption,
  findSecretOption,
  OPTION_ROWS,
  type OptionName,
  type OptionRow,
  type OptionValues,
  SECRET_FLAGS,
  type Value,
} from "./cli_option_table.ts";
import {
  findNearest,
  isProblem,
  LEVELS,
  parseChoice,
  parseSwitch,
  type Problem,
  type Setting,
} from "./cli_values.ts";
import { quote } from "./text.ts";

/** The option that an unknown flag probably means. */
export function suggestOption(flag: string): OptionName | null {
  const typed = flag.replace(/^-+/, "").toLowerCase();
  if (typed.length < 2) return null;
  const names = new Map([
    ...OPTION_ROWS.map((row) => [row.name, row.name] as const),
    ...[...SECRET_FLAGS].filter(([name]) => !name.startsWith(typed)),
  ]);
  return names.get(findNearest(typed, [...names.keys()]) ?? "") ?? null;
}

function describeUnknown(flag: string): string {
  const secret = findSecretOption(flag);
  if (secret !== null) {
    return `${quote(flag)} would show a secret to others on this machine: put it in a file and ` +
      `give --${secret.name} FILE, or set ${secret.contentVariable}`;
  }
  const meant = suggestOption(flag);
  // `-ume:secret` may hold a secret.
  const shown = /^--?[a-z_-]*$/i.test(flag) ? flag : `${flag.slice(0, 2)}…`;
  return `unknown option ${quote(shown)}${meant === null ? "" : `: did you mean --${meant}?`}`;
}

/** Option -> its values as typed; a switch has one empty value, bare words are under `url`. */
export type GivenOptions = ReadonlyMap<OptionName, readonly string[]>;

/** A flag is no value, `-1` is. */
function canBeValue(argument: string | undefined): argument is string {
  return argument !== undefined && !/^-(?![\d.])/.test(argument);
}

/**
 * Never shows the value of an unknown flag: it may be a secret. (`parseArgs` of `@std/cli` cannot
 * tell a missing value from an empty one, takes `--once=maybe` for false, keeps the last of two
 * values, and reads the -1 of `--interval -1` as a flag.)
 */
export function walkArguments(argv: readonly string[], problems: Problem[]): GivenOptions {
  const given = new Map<OptionName, readonly string[]>();
  const add = (name: OptionName, ...values: string[]): void => {
    given.set(name, [...given.get(name) ?? [], ...values]);
  };
  const complain = (problem: string): void => void problems.push({ problem, level: "option" });
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
      complain(describeUnknown(flag));
      break;
    }
    let value = equals < 0 ? undefined : argument.slice(equals + 1);
    const word = value ?? argv[i + 1] ?? "";
    if (row.value === null && row.words?.includes(word)) {
      if (value === undefined) i++;
      add(row.name, word);
      continue;
    }
    if (row.value === null) {
      const known = row.words === undefined
        ? "no value"
        : `no value or ${row.words.map((word) => quote(word)).join(", ")}`;
      const isWord = row.words !== undefined && canBeValue(argv[i + 1]);
      if (value === undefined && isWord) value = argv[++i];
      if (value !== undefined) complain(`${flag} takes ${known}, but got ${quote(value)}`);
      add(row.name, "");
      continue;
    }
    if (value === undefined && canBeValue(argv[i + 1])) value = argv[++i];
    if (value === undefined || (value === "" && row.canBeEmpty !== true)) {
      complain(`${flag} has no value: write ${flag} ${row.value}`);
    } else if (!row.repeatable && given.has(row.name)) {
      complain(`${flag} is given twice, the second time as ${quote(value)}`);
    } else {
      add(row.name, value);
    }
  }
  return given;
}

/** A value as typed; empty for a switch that is on. */
export interface FileText {
  readonly origin: string;
  readonly text: string;
}

export type FileValues = ReadonlyMap<OptionName, readonly FileText[]>;

export interface Sources {
  readonly given: GivenOptions;
  readonly environment: (name: string) => string | undefined;
  readonly file: FileValues;
}

function listSettings(
  { name, variable = "", contentVariable = "", default: byDefault = "" }: OptionRow<OptionName>,
  level: Setting["level"],
  { given, environment, file }: Sources,
): readonly Setting[] {
  const toSettings = (origin: string, texts: readonly string[]): readonly Setting[] =>
    texts.map((text) => ({ level, origin, text }));
  switch (level) {
    case "option":
      return toSettings(`--${name}`, given.get(name) ?? []);
    case "variable": {
      // Set but empty counts as unset.
      const text = variable === "" ? "" : environment(variable) ?? "";
      const hasContent = contentVariable !== "" && (environment(contentVariable) ?? "") !== "";
      return [
        ...toSettings(variable, text === "" ? [] : [text]),
        ...(hasContent
          ? [{ level, origin: contentVariable, text: "", isContent: true } as const]
          : []),
      ];
    }
    case "file":
      return (file.get(name) ?? []).map((setting) => ({ level, ...setting }));
    case "default":
      return toSettings(`--${name}`, [byDefault]);
  }
}

/**
 * The strongest level that sets any of the options. In a set, a variable that is off sets nothing.
 */
function chooseLevel(rows: readonly OptionRow<OptionName>[], sources: Sources): Setting["level"] {
  const level = LEVELS.find((level) =>
    rows.some((row) => {
      const settings = listSettings(row, level, sources);
      const isSwitch = row.set !== undefined && row.value === null && level === "variable";
      return isSwitch ? settings.some((one) => parseSwitch(one) !== false) : settings.length > 0;
    })
  );
  return level ?? "default";
}

function parseSetting(row: OptionRow, setting: Setting): unknown {
  const { level, text } = setting;
  if (row.value === null) {
    if (level !== "variable") return level !== "default";
    return row.words?.includes(text) === true || parseSwitch(setting, row.words);
  }
  const isUnset = text === "" && (level === "default" || row.canBeEmpty !== true);
  if (isUnset && row.default === undefined && !row.repeatable) return null;
  if (row.parse !== undefined) return row.parse(setting);
  return row.choices === undefined ? text : parseChoice(row.choices, setting);
}

/** Invalid values become the default; a repeatable option drops them. */
export function resolveValues(sources: Sources, problems: Problem[]): OptionValues {
  const values: Record<string, Value<unknown> | readonly Value<unknown>[]> = {};
  for (const rows of Map.groupBy(OPTION_ROWS, ({ set, name }) => set ?? name).values()) {
    const level = chooseLevel(rows, sources);
    for (const row of rows) {
      const [byDefault] = listSettings(row, "default", sources);
      const settings = row.merges
        ? LEVELS.toReversed().slice(1).flatMap((level) => listSettings(row, level, sources))
        : level === "default"
        ? []
        : listSettings(row, level, sources);
      const parsed = settings.map((source) => ({ value: parseSetting(row, source), source }));
      const wrong = parsed.map(({ value }) => value).filter(isProblem);
      problems.push(...wrong);
      const valid = parsed.filter(({ value }) => !isProblem(value));
      const [first = { value: parseSetting(row, byDefault), source: byDefault }] = valid;
      values[row.name] = row.repeatable ? valid : first;
    }
  }
  // `OptionValues` is derived from the same rows.
  return values as OptionValues;
}
