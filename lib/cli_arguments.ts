/**
 * Values of options and where they came from.
 *
 * An option beats its environment variable, which beats the file
 * of settings, which beats the default of `cli_option_table`. What is wrong with a
 * value goes to a list of problems, each one sentence with the value in quotes
 * and no secret in it.
 *
 * @module
 */

import {
  findOption,
  findSecretOption,
  type GivenOptions,
  OPTION_ROWS,
  type OptionName,
  type OptionRow,
  SECRET_FLAGS,
} from "./cli_option_table.ts";
import { quoteUrl } from "./endpoint.ts";
import { quote } from "./text.ts";

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

/** A value and where it came from: `--interval`, `VLLM_HTOP_INTERVAL` or `"interval" (line 3)`. */
export interface Setting {
  readonly origin: string;
  readonly text: string;
}

/** Where a value may come from, the strongest first. */
export type Level = "option" | "variable" | "file";

/** What the file of settings says of an option: its values as typed; a switch that is on has one empty value. */
export interface FileSetting {
  readonly origin: string;
  readonly texts: readonly string[];
}

/** Option -> what the file of settings says of it. */
export type FileValues = ReadonlyMap<OptionName, FileSetting>;

/** What the readers below read from, and where they put what is wrong. */
export interface Input {
  readonly given: GivenOptions;
  /** The value of a variable that is set and not empty. */
  readonly variable: (name: string | undefined) => string | undefined;
  readonly file: FileValues;
  /** The first is the one that is reported. */
  readonly problems: string[];
}

/** The rows of the option table by name. */
export const ROWS_BY_NAME: ReadonlyMap<OptionName, OptionRow> = new Map(
  OPTION_ROWS.map((row) => [row.name, row]),
);

/** The environment variable of an option. */
export function variableOf(name: OptionName): string | undefined {
  return ROWS_BY_NAME.get(name)?.variable;
}

/** The option's value, else its variable's, else the file's, else its default, else "". */
export function findSetting({ given, variable, file }: Input, name: OptionName): Setting {
  const origin = `--${name}`;
  const row = ROWS_BY_NAME.get(name);
  const text = given.get(name)?.[0];
  if (text !== undefined) return { origin, text };
  const set = variable(row?.variable);
  if (row?.variable !== undefined && set !== undefined) return { origin: row.variable, text: set };
  const setting = file.get(name);
  if (setting !== undefined) return { origin: setting.origin, text: setting.texts[0] ?? "" };
  return { origin, text: row?.default ?? "" };
}

/** A number within limits; what is none is a problem. */
export function parseNumberSetting(
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

/** A variable that switches something on; unset and empty are off. */
function parseSwitchSetting({ variable, problems }: Input, name: string | undefined): boolean {
  const text = variable(name);
  if (text === undefined || /^(?:0|false|no|off)$/i.test(text)) return false;
  if (!/^(?:1|true|yes|on)$/i.test(text)) {
    problems.push(`${name} ${quote(text)} is neither "1" nor "0"`);
  }
  return true;
}

/** Whether a switch is on: by its option, else its variable, else the file. */
export function isSwitchedOn(input: Input, name: OptionName): boolean {
  const variable = variableOf(name);
  if (input.given.has(name)) return true;
  if (input.variable(variable) !== undefined) return parseSwitchSetting(input, variable);
  return (input.file.get(name)?.texts.length ?? 0) > 0;
}

/**
 * Where several options that are one matter are taken from: the strongest level
 * that says anything of any of them. What weaker ones say is passed over.
 */
export function chooseLevel(input: Input, names: readonly OptionName[]): Level {
  if (names.some((name) => input.given.has(name))) return "option";
  const isSet = (name: string | undefined): boolean => input.variable(name) !== undefined;
  const isByVariable = names.some((name) => {
    const row = ROWS_BY_NAME.get(name);
    if (row?.value === null) return isSet(row.variable) && parseSwitchSetting(input, row.variable);
    return isSet(row?.variable) || isSet(row?.contentVariable);
  });
  return isByVariable ? "variable" : "file";
}

/** What switches an option on at a level: its name, its variable, or its place in the file; "" where nothing does. */
export function findSwitch(input: Input, name: OptionName, level: Level): string {
  const variable = variableOf(name);
  if (level === "option") return input.given.has(name) ? `--${name}` : "";
  if (level === "variable") return parseSwitchSetting(input, variable) ? variable ?? "" : "";
  return input.file.get(name)?.origin ?? "";
}

/** The values of an option at a level, as typed; the text of a variable is one of them. */
export function listSettings(input: Input, name: OptionName, level: Level): readonly Setting[] {
  if (level === "option") {
    return (input.given.get(name) ?? []).map((text) => ({ origin: `--${name}`, text }));
  }
  if (level === "variable") {
    const origin = variableOf(name) ?? "";
    const text = input.variable(origin);
    return text === undefined ? [] : [{ origin, text }];
  }
  const { origin, texts } = input.file.get(name) ?? { origin: "", texts: [] };
  return texts.map((text) => ({ origin, text }));
}

/** One of the choices of an option; what is none is a problem, and counts as the first. */
export function parseChoiceSetting<Choice extends string>(
  input: Input,
  name: OptionName,
  choices: readonly Choice[],
): Choice {
  const { origin, text } = findSetting(input, name);
  const choice = choices.find((choice) => choice === text);
  if (choice === undefined) {
    input.problems.push(`${origin} ${quote(text)} is not one of ${choices.join(", ")}`);
  }
  return choice ?? choices[0];
}

/** The URLs of a list with commas. A comma in a password would put half of it in the open. */
export function splitUrls({ origin, text }: Setting, problems: string[]): readonly string[] {
  // A shell would have split an option's value at blanks.
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
