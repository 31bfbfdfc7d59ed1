/**
 * Values of options and where they came from.
 *
 * Layer 1, pure. An option beats its environment variable, which beats the file
 * of settings, which beats the default of `option_table`. What is wrong with a
 * value goes to a list of problems, each one sentence with the value in quotes
 * and no secret in it.
 *
 * @module
 */

import { quoteUrl } from "./endpoint_url.ts";
import { type GivenOptions, OPTION_ROWS, type OptionName, type OptionRow } from "./option_table.ts";
import { quote } from "./text.ts";

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
export function readNumber(
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
export function readSwitch({ variable, problems }: Input, name: string | undefined): boolean {
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
  if (input.variable(variable) !== undefined) return readSwitch(input, variable);
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
    if (row?.value === null) return isSet(row.variable) && readSwitch(input, row.variable);
    return isSet(row?.variable) || isSet(row?.contentVariable);
  });
  return isByVariable ? "variable" : "file";
}

/** What switches an option on at a level: its name, its variable, or its place in the file; "" where nothing does. */
export function findSwitch(input: Input, name: OptionName, level: Level): string {
  const variable = variableOf(name);
  if (level === "option") return input.given.has(name) ? `--${name}` : "";
  if (level === "variable") return readSwitch(input, variable) ? variable ?? "" : "";
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
export function readChoice<Choice extends string>(
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
