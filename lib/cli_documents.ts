/**
 * Man page, completions, schemas and default configuration file. Loaded on demand, to keep the
 * start fast.
 * @module
 */

import { writeCompletions } from "./cli_completions.ts";
import { createConfigSchema, writeDefaultConfig } from "./cli_config.ts";
import { EXIT_CODES } from "./cli_exit.ts";
import { CREDENTIALS_REMARK, EXAMPLES, HOMEPAGE, listRuleDefaults, PURPOSE } from "./cli_help.ts";
import { COMMON_VARIABLES, OPTION_ROWS, type OptionRow } from "./cli_option_table.ts";
import type { ProgramDocument } from "./cli_options.ts";
import { createReportSchema } from "./report.ts";
import { VERSION } from "./version.ts";
import { BINDINGS } from "./view_bindings.ts";
import { COLUMN_ROWS } from "./view_column_table.ts";

/** A sign that is not ASCII, such as `↓`, as roff writes it: `\[u2193]`. */
function nameSign(sign: string): string {
  const code = (sign.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
  return `\\[u${code}]`;
}

/** Escapes roff's own signs and what is not ASCII, and makes hyphens that can be copied. */
function escapeRoff(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^[.']/gm, "\\&$&")
    .replace(/\P{ASCII}/gu, nameSign);
}

function writeItem(term: string, text: string): string {
  return `.TP\n${term}\n${escapeRoff(text)}\n`;
}

function writeBold(text: string): string {
  return `\\fB${escapeRoff(text)}\\fR`;
}

function writeOption(row: OptionRow): string {
  const short = row.short === undefined ? "" : `${writeBold(`-${row.short}`)}, `;
  const value = row.value === null ? "" : ` \\fI${escapeRoff(row.value)}\\fR`;
  const facts = [
    row.default === undefined ? [] : `Default: ${row.default}.`,
    row.variable === undefined ? [] : `Environment: ${row.variable}.`,
    row.contentVariable === undefined ? [] : `Its content: ${row.contentVariable}.`,
    row.repeatable === true ? "May be repeated." : [],
  ].flat();
  return writeItem(
    `${short}${writeBold(`--${row.name}`)}${value}`,
    [`${row.help.replace(/^./, (letter) => letter.toUpperCase())}.`, ...facts].join("\n"),
  );
}

function writeOptions(): string {
  const groups = Map.groupBy(OPTION_ROWS, (row) => row.group);
  return [...groups].map(([group, rows]) => {
    const remark = group === "Credentials" ? `${escapeRoff(CREDENTIALS_REMARK)}\n` : "";
    return `.SS ${escapeRoff(group)}\n${remark}${rows.map(writeOption).join("")}`;
  }).join("");
}

/** What follows the name of the program. */
const CALLS = [
  "[\\fIOPTION\\fR]... [\\fIURL\\fR]...",
  "record \\fIFILE\\fR [\\fIOPTION\\fR]... [\\fIURL\\fR]...",
  "replay \\fIFILE\\fR [\\fIOPTION\\fR]...",
  "compare \\fIFILE\\fR \\fIFILE\\fR [\\fIOPTION\\fR]...",
  "doctor [\\fIOPTION\\fR]... [\\fIURL\\fR]...",
];

const FILES: readonly (readonly [path: string, text: string])[] = [
  [
    "$XDG_CONFIG_HOME/vllm-htop/config.json",
    "Configuration file, if the variable is an absolute path.",
  ],
  ["~/.config/vllm-htop/config.json", "Configuration file on Linux, if it is not set."],
  ["~/Library/Application Support/vllm-htop/config.json", "Configuration file on macOS."],
  ["%APPDATA%\\vllm-htop\\config.json", "Configuration file on Windows."],
];

export function writeManPage(version: string): string {
  return [
    `.TH VLLM\\-HTOP 1 "" "vllm\\-htop ${escapeRoff(version)}" "User Commands"\n`,
    ".SH NAME\nvllm\\-htop \\- htop for vLLM inference servers\n",
    ".SH SYNOPSIS\n",
    CALLS.map((words) => `.B vllm\\-htop\n${words}\n`).join(".br\n"),
    `.SH DESCRIPTION\n${escapeRoff(PURPOSE)}\n`,
    "It only reads: none of its requests makes a server generate a token.\n",
    ".SH OPTIONS\n",
    "An option overrides its environment variable, which overrides the configuration file.\n",
    writeOptions(),
    ".SH KEYS\n",
    ...BINDINGS.map(({ keys, help }) => writeItem(keys.map(writeBold).join(" "), help)),
    ".SH COLUMNS\nBy their names, with their headings:\n",
    ...COLUMN_ROWS.map(({ id, title, help }) =>
      writeItem(writeBold(id), title === "" ? help : `${title}: ${help}`)
    ),
    ".SH RULES\nWith their settings and defaults:\n",
    ...listRuleDefaults().map(([rule, text]) => writeItem(writeBold(rule), text)),
    ".SH EXAMPLES\n",
    ...EXAMPLES.map(([command, text]) => writeItem(writeBold(command), text)),
    ".SH ENVIRONMENT\nBesides the variables of the options:\n",
    ...COMMON_VARIABLES.map(([names, text]) => writeItem(writeBold(names), text)),
    ".SH FILES\n",
    ...FILES.map(([path, text]) => writeItem(`\\fI${escapeRoff(path)}\\fR`, text)),
    ".SH EXIT STATUS\n",
    ...EXIT_CODES.map(([code, text]) => writeItem(writeBold(code), text)),
    `.SH SEE ALSO\n${escapeRoff(HOMEPAGE)}\n`,
  ].join("");
}

/** Ends with a newline. */
export function writeDocument(document: ProgramDocument): string {
  switch (document.kind) {
    case "completions":
      return writeCompletions(document.shell);
    case "man":
      return writeManPage(VERSION);
    case "default_config":
      return writeDefaultConfig();
    case "schema": {
      const schema = document.name === "config" ? createConfigSchema() : createReportSchema();
      return JSON.stringify(schema, null, 2) + "\n";
    }
  }
}
