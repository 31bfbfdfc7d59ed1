/**
 * Parses the configuration file, and describes it.
 * @module
 */

import { type FileText, type FileValues, suggestOption } from "./cli_arguments.ts";
import { describeHooks, type Hook, parseHooks } from "./cli_hooks.ts";
import {
  findSecretOption,
  OPTION_ROWS,
  type OptionName,
  type OptionRow,
} from "./cli_option_table.ts";
import { parseEndpointUrl } from "./endpoint.ts";
import { isAbsolutePath } from "./files.ts";
import { type JsonMember, type JsonNode, parseJsonText, type Schema } from "./json.ts";
import { RULE_LEVELS, RULE_SETTINGS, type RuleId, type RuleSetting } from "./rules_table.ts";
import { quote } from "./text.ts";

export interface Config {
  readonly values: FileValues;
  readonly warnings: readonly string[];
  readonly hooks: readonly Hook[];
  /** A URL holds a password, or is a webhook: nothing else may. */
  readonly hasSecrets: boolean;
}

/** Options that print and exit, or that have another form in the file. */
const NOT_SETTABLE: ReadonlySet<string> = new Set([
  ...["table", "detail", "list-prices", "rule", "check", "for", "doctor", "json"],
]);

export const SETTABLE_ROWS: readonly OptionRow<OptionName>[] = OPTION_ROWS.filter((
  { name, group },
) => group !== "Help" && group !== "Configuration" && !NOT_SETTABLE.has(name));

/** Those that may be for one endpoint: their values name its URL. */
export const ENDPOINT_ROWS: readonly OptionRow<OptionName>[] = SETTABLE_ROWS.filter((row) =>
  row.name !== "url" && /^\[?URL\b/.test(row.value ?? "")
);

/** Whether the option is on or off for one endpoint. */
function isEndpointSwitch(row: OptionRow): boolean {
  return row.value === "URL";
}

class ConfigError extends Error {}

interface Reader {
  readonly folder: string;
  readonly values: Map<OptionName, readonly FileText[]>;
  readonly warnings: string[];
  readonly hooks: Hook[];
  hasSecrets: boolean;
}

function nameMember({ name, line }: JsonMember): string {
  return `${quote(name)} (line ${line})`;
}

function add(
  { values }: Reader,
  name: OptionName,
  { origin, texts }: { readonly origin: string; readonly texts: readonly string[] },
): void {
  values.set(name, [...values.get(name) ?? [], ...texts.map((text) => ({ origin, text }))]);
}

/** Relative to the folder of the file. */
function resolvePath(folder: string, path: string): string {
  const isWhole = path === "" || isAbsolutePath(path) || /^https?:\/\//i.test(path);
  return isWhole ? path : `${folder}/${path}`;
}

/** As typed in an argument. */
function parseTexts(member: JsonMember, row: OptionRow): readonly string[] {
  const { value } = member;
  const nodes = value.kind === "array" ? value.items : [value];
  const texts = nodes.map((node: JsonNode): string => {
    if (node.kind === "string") return node.value;
    if (node.kind === "number") return node.text;
    throw new ConfigError(
      `${nameMember(member)} must be ${value.kind === "array" ? "a list of strings" : "a string"}`,
    );
  });
  return row.repeatable ? texts : [texts.join(",")];
}

function parseSwitch(member: JsonMember): boolean {
  if (member.value.kind !== "boolean") {
    throw new ConfigError(`${nameMember(member)} must be true or false`);
  }
  return member.value.value;
}

function warnOfKey(reader: Reader, member: JsonMember, known: readonly OptionRow[]): void {
  const secret = findSecretOption(member.name);
  if (secret !== null) {
    throw new ConfigError(
      `${nameMember(member)} would put a secret in this file: use a file of its own and ` +
        `write "${secret.name}": "FILE"`,
    );
  }
  const meant = suggestOption(member.name);
  const isKnown = known.some((row) => row.name === meant);
  reader.warnings.push(
    `unknown key ${nameMember(member)}${isKnown ? `: did you mean "${meant}"?` : ""}`,
  );
}

function addUrl(reader: Reader, origin: string, url: string): void {
  const typed = parseEndpointUrl(url);
  const isSecret = "error" in typed ? url.includes("@") : typed.basicAuth !== null;
  reader.hasSecrets ||= isSecret;
  add(reader, "url", { origin, texts: [url] });
}

function parseEndpointMember(reader: Reader, node: JsonNode, origin: string): void {
  if (node.kind === "string") return addUrl(reader, origin, node.value);
  const url = node.kind === "object" ? node.members.find(({ name }) => name === "url") : undefined;
  if (node.kind !== "object" || url === undefined || url.value.kind !== "string") {
    throw new ConfigError(`${origin} must be URLs, or objects with a "url" string`);
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
    // Invalid URLs are reported when all are parsed.
    const key = "error" in typed ? "" : typed.endpoint.key;
    const setting = nameMember(member);
    if (isEndpointSwitch(row)) {
      if (parseSwitch(member)) add(reader, row.name, { origin: setting, texts: [key] });
      continue;
    }
    const [text] = parseTexts(member, row);
    const value = row.value?.endsWith("FILE") ? resolvePath(reader.folder, text) : text;
    add(reader, row.name, { origin: setting, texts: [`${key}=${value}`] });
  }
}

const HOST_KEYS: Readonly<Record<string, string>> = {
  host: "as ssh takes it: an alias, user@host or ssh://user@host:port",
  name: "its name among the hosts and in the URLs of its servers",
  ports: "look only at these ports, such as 8000-8010",
  container: "Docker container in which its servers log",
  log: "where its servers log: docker:NAME, podman:NAME, journal:UNIT or /path",
};

/** A host behind ssh, as `--ssh` takes it. */
function parseHost(reader: Reader, node: JsonNode, origin: string): void {
  if (node.kind === "string") return add(reader, "ssh", { origin, texts: [node.value] });
  const refusal = new ConfigError(`${origin} must be hosts, or objects with a "host" string`);
  if (node.kind !== "object") throw refusal;
  const texts = new Map<string, string>();
  for (const member of node.members) {
    if (!Object.hasOwn(HOST_KEYS, member.name)) warnOfKey(reader, member, []);
    else if (member.value.kind === "string") texts.set(member.name, member.value.value);
    else throw new ConfigError(`${nameMember(member)} must be a string`);
  }
  const host = texts.get("host");
  if (host === undefined) throw refusal;
  const container = texts.get("container");
  const log = texts.get("log") ?? (container === undefined ? undefined : `docker:${container}`);
  if (texts.has("log") && container !== undefined) {
    reader.warnings.push(
      `${origin}: the "container" of ${quote(host)} is ignored, as it has a "log"`,
    );
  }
  const name = texts.has("name") ? `${texts.get("name")}=` : "";
  const settings = [["ports", texts.get("ports")], ["log", log]].flatMap(([key, value]) =>
    value === undefined ? [] : [`,${key}=${value}`]
  );
  add(reader, "ssh", { origin, texts: [`${name}${host}${settings.join("")}`] });
}

/** `{ "queuing": { "threshold": 20 }, "overloaded": "off" }`. */
function parseRules(reader: Reader, member: JsonMember): void {
  if (member.value.kind !== "object") {
    throw new ConfigError(`${nameMember(member)} must be an object of rules`);
  }
  for (const rule of member.value.members) {
    const settings = rule.value.kind === "object" ? rule.value.members : [rule];
    for (const setting of settings) {
      const { value } = setting;
      const text = value.kind === "number"
        ? value.text
        : value.kind === "string"
        ? value.value
        : null;
      if (text === null) {
        throw new ConfigError(`${nameMember(setting)} must be a number or a level`);
      }
      const name = setting === rule ? rule.name : `${rule.name}.${setting.name}`;
      add(reader, "rule", { origin: nameMember(setting), texts: [`${name}=${text}`] });
    }
  }
}

function parseMember(reader: Reader, member: JsonMember): void {
  const { name, value } = member;
  const origin = nameMember(member);
  if (name === "$schema") return;
  if (name === "rules") return parseRules(reader, member);
  if (name === "hooks") {
    const hooks = parseHooks(member, origin, reader.folder);
    if ("error" in hooks) throw new ConfigError(hooks.error);
    reader.hooks.push(...hooks);
    reader.hasSecrets ||= hooks.some(({ webhook }) => webhook !== null);
    return;
  }
  if (name === "endpoints") {
    if (value.kind !== "array") throw new ConfigError(`${origin} must be a list`);
    for (const item of value.items) parseEndpointMember(reader, item, origin);
    return;
  }
  if (name === "hosts") {
    if (value.kind !== "array") throw new ConfigError(`${origin} must be a list`);
    for (const item of value.items) parseHost(reader, item, origin);
    return;
  }
  const row = SETTABLE_ROWS.find((row) => row.name === name);
  if (row === undefined) return warnOfKey(reader, member, SETTABLE_ROWS);
  if (row.name === "url") {
    for (const text of parseTexts(member, row)) addUrl(reader, origin, text);
  } else if (row.value === null) {
    if (parseSwitch(member)) add(reader, row.name, { origin, texts: [""] });
  } else {
    const texts = parseTexts(member, row).map((text) =>
      // The path of URL=FILE stays as it is.
      row.value?.endsWith("FILE") && !text.includes("=") ? resolvePath(reader.folder, text) : text
    );
    add(reader, row.name, { origin, texts });
  }
}

/** An empty text sets nothing. An error is one sentence without a full stop or secret. */
export function parseConfig(text: string, folder: string): Config | { readonly error: string } {
  const reader: Reader = {
    ...{ folder, values: new Map(), warnings: [], hooks: [], hasSecrets: false },
  };
  if (text.trim() === "") return reader;
  const node = parseJsonText(text);
  if ("problem" in node) return { error: `line ${node.line}: ${node.problem}` };
  if (node.kind !== "object") return { error: `line ${node.line}: it must be one object in { }` };
  try {
    const seen = new Set<string>();
    for (const member of node.members) {
      if (seen.has(member.name)) throw new ConfigError(`${nameMember(member)} appears twice`);
      seen.add(member.name);
      parseMember(reader, member);
    }
  } catch (error) {
    if (error instanceof ConfigError) return { error: error.message };
    throw error;
  }
  return reader;
}

const NUMBER_PATTERN = /^(?:SECONDS|N|USD)$/;

function isNumber(row: OptionRow): boolean {
  return NUMBER_PATTERN.test(row.value ?? "");
}

function describeDefault(row: OptionRow): Schema {
  if (row.value === null) return { default: false };
  if (row.default === undefined) return {};
  return { default: isNumber(row) ? Number(row.default) : row.default };
}

function describeType(row: OptionRow): Schema {
  if (row.value === null) return { type: "boolean" };
  if (row.choices !== undefined) return { enum: row.choices };
  if (isNumber(row)) return { type: "number" };
  // Comma-separated values may be a list, too.
  if (row.repeatable || row.value === "LIST") {
    return { type: ["string", "array"], items: { type: "string" } };
  }
  return { type: "string" };
}

function describeEndpoint(): Schema {
  const rows = ENDPOINT_ROWS.map((row) => [
    row.name,
    { description: row.help, type: isEndpointSwitch(row) ? "boolean" : "string" },
  ]);
  return {
    type: ["string", "object"],
    properties: { url: { description: "its URL", type: "string" }, ...Object.fromEntries(rows) },
    required: ["url"],
    additionalProperties: false,
  };
}

function describeHost(): Schema {
  return {
    type: ["string", "object"],
    properties: Object.fromEntries(
      Object.entries(HOST_KEYS).map(([key, description]) => [key, { description, type: "string" }]),
    ),
    required: ["host"],
    additionalProperties: false,
  };
}

function describeRules(): Schema {
  const rules = [...RULE_SETTINGS].map(([id, settings]) => {
    const properties = Object.fromEntries(settings.map(({ name, value, unit, help, min, max }) => {
      const type = unit === null ? { enum: RULE_LEVELS } : { type: "number", minimum: min };
      const limit = Number.isFinite(max) && unit !== null ? { maximum: max } : {};
      return [name, { description: help, ...type, ...limit, default: value }];
    }));
    return [id, { type: ["object", "string"], properties, additionalProperties: false }];
  });
  return {
    description: "rules by name: an object of settings, or only a level",
    type: "object",
    properties: Object.fromEntries(rules),
    additionalProperties: false,
  };
}

function writeRule([id, settings]: readonly [RuleId, readonly RuleSetting[]]): string {
  const values = Object.fromEntries(settings.map(({ name, value }) => [name, value]));
  return `  //   "${id}": ${JSON.stringify(values).replaceAll(",", ", ").replaceAll(":", ": ")},\n`;
}

export function createConfigSchema(): Schema {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Configuration of vllm-htop",
    type: "object",
    properties: {
      $schema: { description: "location of this schema", type: "string" },
      endpoints: {
        description: "servers to watch, each a URL or an object with a URL and its own settings",
        type: "array",
        items: describeEndpoint(),
      },
      hosts: {
        description: "hosts behind ssh, each as ssh takes it or an object with its own settings",
        type: "array",
        items: describeHost(),
      },
      ...Object.fromEntries(SETTABLE_ROWS.map((row) => [
        row.name,
        { description: row.help, ...describeType(row), ...describeDefault(row) },
      ])),
      rules: describeRules(),
      hooks: describeHooks(),
    },
    additionalProperties: false,
  };
}

function writeSetting(row: OptionRow): string {
  const { default: value = row.repeatable ? [row.value] : row.value } = describeDefault(row);
  return `  // ${row.help}\n  // "${row.name}": ${JSON.stringify(value)},\n`;
}

/** Every setting with its default, as a comment. */
export function writeDefaultConfig(): string {
  const groups = Map.groupBy(SETTABLE_ROWS, (row) => row.group);
  const settings = [...groups].map(([group, rows]) =>
    `\n  // ${group}\n${rows.map(writeSetting).join("")}`
  );
  return `// Configuration of vllm-htop. An option overrides its environment variable, which overrides this file.
// Uncomment what you want to set. Paths are relative to the folder of this file.
{
  // Made by: vllm-htop --schema config > config.schema.json
  // "$schema": "./config.schema.json",

  // servers to watch; settings next to a URL apply to that server only
  // "endpoints": ["gpu1:8000", { "url": "https://gpu2", "token-file": "gpu2.token" }],

  // hosts to log in to with ssh; settings next to a host apply to its servers only
  // "hosts": ["gpu1", { "host": "me@gpu2", "name": "b200", "ports": "8000-8010", "container": "c1" }],
${settings.join("")}
  // Rules, with their defaults; "off" for a rule, or as its level, silences it
  // "rules": {
${[...RULE_SETTINGS].map(writeRule).join("")}  // },

  // What to run, post or ring when a rule fires, and when that is over
  // "hooks": [{ "rules": ["down", "overloaded"], "exec": ["/usr/local/bin/page", "on-call"], "repeat": "30m" }],
}
`;
}
