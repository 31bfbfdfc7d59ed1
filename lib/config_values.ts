/**
 * The file of settings -> what it says of each option.
 *
 * Layer 1, pure. Its keys are the long names of the options; `endpoints` names
 * servers, each with the options that may be for one server alone. What a value
 * means is `options`' affair: here values become texts as a person would type
 * them, so that all three sources of a setting are checked alike. A key that is
 * not known is a warning, since a file may be older or newer than the program;
 * a value of the wrong type is an error. A key for a secret itself is refused:
 * the file names the file that has it. Paths are relative to the folder of the
 * file.
 *
 * @module
 */

import { parseEndpointUrl } from "./endpoint_url.ts";
import { type JsonMember, type JsonNode, parseJsonText } from "./json_text.ts";
import {
  findSecretOption,
  OPTION_ROWS,
  type OptionName,
  type OptionRow,
  suggestOption,
} from "./option_table.ts";
import type { FileSetting, FileValues } from "./option_values.ts";
import { quote } from "./text.ts";

/** What a file of settings says. */
export interface Config {
  readonly values: FileValues;
  /** Sentences without a full stop. */
  readonly warnings: readonly string[];
  /** Whether there is a password in it: of a URL, as nothing else takes one. */
  readonly hasSecrets: boolean;
}

/** Options that print and end, or are short for another. */
const NOT_SETTABLE: ReadonlySet<string> = new Set(["table", "detail", "list-prices"]);

/** The rows that a file may set, by name. */
export const SETTABLE_ROWS: readonly OptionRow<OptionName>[] = OPTION_ROWS.filter((
  { name, group },
) => group !== "Help" && group !== "Settings" && !NOT_SETTABLE.has(name));

/** Those of them that may be for one server: their values name its URL. */
export const ENDPOINT_ROWS: readonly OptionRow<OptionName>[] = SETTABLE_ROWS.filter((row) =>
  row.name !== "url" && /^\[?URL\b/.test(row.value ?? "")
);

/** Whether the values of an option that may be for one server are only switched on for it. */
export function isEndpointSwitch(row: OptionRow): boolean {
  return row.value === "URL";
}

/** A problem of the file itself. */
class ConfigError extends Error {}

interface Reader {
  readonly folder: string;
  readonly settings: Map<OptionName, { readonly origin: string; readonly texts: string[] }>;
  readonly warnings: string[];
  hasSecrets: boolean;
}

function nameMember({ name, line }: JsonMember): string {
  return `${quote(name)} (line ${line})`;
}

function add(reader: Reader, name: OptionName, setting: FileSetting): void {
  const known = reader.settings.get(name);
  if (known === undefined) {
    reader.settings.set(name, { origin: setting.origin, texts: [...setting.texts] });
  } else {
    known.texts.push(...setting.texts);
  }
}

/** A path as seen from the folder of the file. */
function resolvePath(folder: string, path: string): string {
  return path === "" || /^(?:[/\\]|[a-z]:[/\\])/i.test(path) ? path : `${folder}/${path}`;
}

/** A text, number or list as the option's value would be typed. */
function readTexts(member: JsonMember, row: OptionRow): readonly string[] {
  const { value } = member;
  const nodes = value.kind === "array" ? value.items : [value];
  const texts = nodes.map((node: JsonNode): string => {
    if (node.kind === "string") return node.value;
    if (node.kind === "number") return node.text;
    throw new ConfigError(
      `${nameMember(member)} must be a text${value.kind === "array" ? " in each place" : ""}`,
    );
  });
  return row.repeatable ? texts : [texts.join(",")];
}

function readSwitch(member: JsonMember): boolean {
  if (member.value.kind !== "boolean") {
    throw new ConfigError(`${nameMember(member)} must be true or false`);
  }
  return member.value.value;
}

function warnOfKey(reader: Reader, member: JsonMember, known: readonly OptionRow[]): void {
  const secret = findSecretOption(member.name);
  if (secret !== null) {
    throw new ConfigError(
      `${nameMember(member)} would have a secret in this file: put it in a file of its own and ` +
        `write "${secret.name}": "FILE"`,
    );
  }
  const meant = suggestOption(member.name);
  const isKnown = known.some((row) => row.name === meant);
  reader.warnings.push(
    `unknown key ${nameMember(member)}${isKnown ? `: did you mean "${meant}"?` : ""}`,
  );
}

/** Notes a URL, and whether there is a password in it. */
function addUrl(reader: Reader, origin: string, url: string): void {
  const typed = parseEndpointUrl(url);
  const isSecret = "error" in typed ? url.includes("@") : typed.basicAuth !== null;
  reader.hasSecrets ||= isSecret;
  add(reader, "url", { origin, texts: [url] });
}

function readEndpoint(reader: Reader, node: JsonNode, origin: string): void {
  if (node.kind === "string") return addUrl(reader, origin, node.value);
  const url = node.kind === "object" ? node.members.find(({ name }) => name === "url") : undefined;
  if (node.kind !== "object" || url === undefined || url.value.kind !== "string") {
    throw new ConfigError(`${origin} must be URLs, or objects with a "url" that is a text`);
  }
  const typed = parseEndpointUrl(url.value.value);
  addUrl(reader, origin, url.value.value);
  for (const member of node.members) {
    const row = ENDPOINT_ROWS.find((row) => row.name === member.name);
    if (member.name === "url") continue;
    if (row === undefined) {
      warnOfKey(reader, member, ENDPOINT_ROWS);
      continue;
    }
    // A URL that cannot be read is told when all URLs are read.
    const key = "error" in typed ? "" : typed.endpoint.key;
    const setting = nameMember(member);
    if (isEndpointSwitch(row)) {
      if (readSwitch(member)) add(reader, row.name, { origin: setting, texts: [key] });
      continue;
    }
    const [text] = readTexts(member, row);
    const value = row.value?.endsWith("FILE") ? resolvePath(reader.folder, text) : text;
    add(reader, row.name, { origin: setting, texts: [`${key}=${value}`] });
  }
}

function readMember(reader: Reader, member: JsonMember): void {
  const { name, value } = member;
  const origin = nameMember(member);
  if (name === "$schema") return;
  if (name === "endpoints") {
    if (value.kind !== "array") throw new ConfigError(`${origin} must be a list`);
    for (const item of value.items) readEndpoint(reader, item, origin);
    return;
  }
  const row = SETTABLE_ROWS.find((row) => row.name === name);
  if (row === undefined) return warnOfKey(reader, member, SETTABLE_ROWS);
  if (row.name === "url") {
    for (const text of readTexts(member, row)) addUrl(reader, origin, text);
  } else if (row.value === null) {
    if (readSwitch(member)) add(reader, row.name, { origin, texts: [""] });
  } else {
    const texts = readTexts(member, row).map((text) =>
      // URL=FILE: its path stays as it is.
      row.value?.endsWith("FILE") && !text.includes("=") ? resolvePath(reader.folder, text) : text
    );
    add(reader, row.name, { origin, texts });
  }
}

/**
 * What the text of a file of settings says. An empty text says nothing.
 *
 * @param folder The folder of the file, to which paths in it are relative.
 * @returns `error`: one sentence without a full stop, with no value in it that may be a secret.
 *
 * @example
 * ```ts
 * import { readConfig } from "./config_values.ts";
 * readConfig('{ "interval": 5, "endpoints": ["gpu1:8000"] }', "/etc/vllm-htop");
 * ```
 */
export function readConfig(text: string, folder: string): Config | { readonly error: string } {
  const reader: Reader = { folder, settings: new Map(), warnings: [], hasSecrets: false };
  if (text.trim() === "") return { values: new Map(), warnings: [], hasSecrets: false };
  const node = parseJsonText(text);
  if ("problem" in node) return { error: `line ${node.line}: ${node.problem}` };
  if (node.kind !== "object") return { error: `line ${node.line}: it must be one object in { }` };
  try {
    const seen = new Set<string>();
    for (const member of node.members) {
      if (seen.has(member.name)) throw new ConfigError(`${nameMember(member)} is there twice`);
      seen.add(member.name);
      readMember(reader, member);
    }
  } catch (error) {
    if (error instanceof ConfigError) return { error: error.message };
    throw error;
  }
  const { settings, warnings, hasSecrets } = reader;
  return { values: settings, warnings, hasSecrets };
}
