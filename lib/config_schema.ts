/**
 * The option table into what helps to write a file of settings: its JSON
 * Schema, and a file of all defaults.
 *
 * Layer 1, pure. The schema is stricter than the program: it has no place for
 * unknown keys, of which the program only warns, so that an editor marks them.
 * Source: JSON Schema 2020-12.
 *
 * @module
 */

import { ENDPOINT_ROWS, isEndpointSwitch, SETTABLE_ROWS } from "./config_values.ts";
import type { OptionRow } from "./option_table.ts";

/** A JSON Schema, or a part of one. */
export type Schema = { readonly [key: string]: unknown };

const DIALECT = "https://json-schema.org/draft/2020-12/schema";

/** Placeholders whose values are numbers. */
const NUMBER = /^(?:SECONDS|N|USD)$/;

/** Options whose value is a list with commas between, which a file may have as a list. */
const LISTS = /^LIST$/;

function isNumber(row: OptionRow): boolean {
  return NUMBER.test(row.value ?? "");
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
  if (row.repeatable || LISTS.test(row.value)) {
    return { type: ["string", "array"], items: { type: "string" } };
  }
  return { type: "string" };
}

function describeRow(row: OptionRow): Schema {
  return { description: row.help, ...describeType(row), ...describeDefault(row) };
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

/** The JSON Schema of the file of settings. */
export function createConfigSchema(): Schema {
  return {
    $schema: DIALECT,
    title: "Settings of vllm-htop",
    type: "object",
    properties: {
      $schema: { description: "where this schema is", type: "string" },
      endpoints: {
        description: "servers to watch, each a URL or an object with one and what is for it alone",
        type: "array",
        items: describeEndpoint(),
      },
      ...Object.fromEntries(SETTABLE_ROWS.map((row) => [row.name, describeRow(row)])),
    },
    additionalProperties: false,
  };
}

/** The option as a line of the file, with its default or, where there is none, its placeholder. */
function writeSetting(row: OptionRow): string {
  const { default: value = row.repeatable ? [row.value] : row.value } = describeDefault(row);
  return `  // ${row.help}\n  // "${row.name}": ${JSON.stringify(value)},\n`;
}

/** A file of settings in which every setting stands with its default, each as a comment. */
export function writeDefaultConfig(): string {
  const groups = Map.groupBy(SETTABLE_ROWS, (row) => row.group);
  const settings = [...groups].map(([group, rows]) =>
    `\n  // ${group}\n${rows.map(writeSetting).join("")}`
  );
  return `// Settings of vllm-htop. An option beats its environment variable, which beats this file.
// Take the slashes from what you want to set. Paths are relative to the folder of this file.
{
  // Made by: vllm-htop --schema config > config.schema.json
  // "$schema": "./config.schema.json",

  // servers to watch; what stands beside a URL is for that server alone
  // "endpoints": ["gpu1:8000", { "url": "https://gpu2", "token-file": "gpu2.token" }],
${settings.join("")}}
`;
}
