/**
 * The parts of README.md and docs/ that are made from tables in the code.
 *
 * A document marks such a part with `<!-- name -->` and `<!-- /name -->`; `BLOCKS`
 * says what stands between them. `docs.ts` writes the blocks into the files, and
 * `tests/docs_test.ts` fails when a file differs. Everything here is pure.
 *
 * @module
 */

import denoConfig from "../deno.json" with { type: "json" };
import { EXIT_CODES } from "../lib/cli_exit.ts";
import { COMMON_VARIABLES, OPTION_ROWS, type OptionRow } from "../lib/cli_option_table.ts";
import { DIALECTS } from "../lib/dialect.ts";
import { VLLM } from "../lib/dialect_vllm.ts";
import { VLLM_METRIC_ROWS } from "../lib/dialect_vllm_metrics.ts";
import { isRecord } from "../lib/json.ts";
import type { MetricRow } from "../lib/dialect_model.ts";
import { FLAG_KEYS, LATENCY_KEYS, LATENCY_NAMES } from "../lib/model.ts";
import { createReportSchema } from "../lib/report.ts";
import { ADVICE_ROWS, describeAdvice, FLAG_WORDS } from "../lib/rules_advice.ts";
import {
  DEFAULT_RULES,
  describeRule,
  describeThreshold,
  getRule,
  RULE_IDS,
  RULE_SETTINGS,
} from "../lib/rules_table.ts";
import { measureWidth, padText, wrapText } from "../lib/text.ts";
import { BINDINGS } from "../lib/view_bindings.ts";
import { COLUMNS } from "../lib/view_columns.ts";
import { PERMISSIONS } from "./permissions.ts";

/** No line of a table is wider. */
export const MAX_TABLE_WIDTH = 120;

/** Width at which the text of lists is wrapped. */
const TEXT_WIDTH = 100;

type Cells = readonly string[];

function formatTable(head: Cells, rows: readonly Cells[]): string {
  const escaped = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = head.map((_, i) => Math.max(3, ...escaped.map((row) => measureWidth(row[i]))));
  const lines = [escaped[0], widths.map((width) => "-".repeat(width)), ...escaped.slice(1)];
  return lines.map((row) => `| ${row.map((cell, i) => padText(cell, widths[i])).join(" | ")} |`)
    .join("\n");
}

function formatList(items: readonly string[]): string {
  return items.map((item) => `- ${wrapText(item, TEXT_WIDTH - 2).join("\n  ")}`).join("\n");
}

/** A table; a list where the table would be too wide. */
function formatRows(head: Cells, rows: readonly Cells[]): string {
  const table = formatTable(head, rows);
  const isNarrow = table.split("\n").every((line) => measureWidth(line) <= MAX_TABLE_WIDTH);
  return isNarrow
    ? table
    : formatList(rows.map(([first, ...rest]) => `${first}: ${rest.join("; ")}`));
}

function quoteCode(text: string): string {
  return `\`${text}\``;
}

/** Puts flags such as `--once` into code spans. */
function quoteFlags(text: string): string {
  return text.replace(/(?<![\w`-])--[a-z][a-z-]*/g, quoteCode);
}

/** Work as everywhere. */
const MOVES: ReadonlySet<string> = new Set([
  ...["up", "down", "page_up", "page_down", "first", "last"],
]);

/** Pages share a row. */
function formatKeys(): string {
  const listed = BINDINGS.filter(({ command, isToldElsewhere }) =>
    isToldElsewhere !== true && !MOVES.has(command)
  );
  const groups = Map.groupBy(listed, ({ command, help }) => {
    return command.startsWith("show_") ? "page" : help;
  });
  return formatRows(
    ["Keys", "What they do"],
    [...groups.values()].map((group) => [
      group.length === 1
        ? group[0].keys.map(quoteCode).join(" ")
        : [group[0], group[group.length - 1]].map(({ keys }) => quoteCode(keys[0])).join(" to "),
      group.map(({ help }, i) => i === 0 ? help : help.replace("page: ", "")).join(", "),
    ]),
  );
}

function formatColumns(): string {
  return formatRows(
    ["Heading", "Name", "What it shows"],
    COLUMNS.map(({ title, id, help }) => [title, id, help]),
  );
}

function formatExitCodes(): string {
  return formatRows(
    ["Code", "Meaning"],
    EXIT_CODES.map(([code, help]) => [code, quoteFlags(help)]),
  );
}

function formatOption(row: OptionRow): string {
  const short = row.short === undefined ? "" : `\`-${row.short}\`, `;
  const value = row.value === null ? "" : ` ${row.value}`;
  const facts = [
    row.variable === undefined ? [] : quoteCode(row.variable),
    row.contentVariable === undefined ? [] : `or its content in \`${row.contentVariable}\``,
    row.default === undefined ? [] : `default \`${row.default}\``,
    row.repeatable === true ? "repeatable" : [],
  ].flat().join(", ");
  const name = `${short}\`--${row.name}${value}\``;
  return `${name}${facts === "" ? "" : ` (${facts})`}: ${quoteFlags(row.help)}`;
}

function formatOptions(): string {
  return [...Map.groupBy(OPTION_ROWS, ({ group }) => group)]
    .map(([group, rows]) => `### ${group}\n\n${formatList(rows.map(formatOption))}`).join("\n\n");
}

function formatVariables(): string {
  return formatRows(
    ["Variable", "What it does"],
    COMMON_VARIABLES.map(([names, help]) => [names.split(", ").map(quoteCode).join(", "), help]),
  );
}

const LEVEL_WORDS = { critical: "CRITICAL", degraded: "DEGRADED", off: "off" };

function formatRules(): string {
  return formatList(RULE_IDS.map((id) => {
    const { title, source, exception } = describeRule(id);
    const rule = getRule(DEFAULT_RULES, id);
    const { level, hold, release } = rule;
    const after = (seconds: number): string => seconds === 0 ? "at once" : `after ${seconds} s`;
    const other = exception === undefined
      ? ""
      : `, ${LEVEL_WORDS[exception.level]} if ${exception.when}`;
    const timing = level === "off" ? "" : ` Counts ${after(hold)}, ends ${after(release)}.`;
    const origin = source === "vllm-htop" ? "" : ` Source: ${source}.`;
    return `**${title}** (\`${id}\`, ${LEVEL_WORDS[level]}${other}): ${describeThreshold(rule)}.` +
      timing + origin;
  }));
}

/** Every rule has these, and the list of rules tells them. */
const COMMON_SETTINGS: ReadonlySet<string> = new Set(["level", "hold", "release"]);

function formatRuleSettings(): string {
  const rows = [...RULE_SETTINGS].flatMap(([id, settings]) =>
    settings.filter(({ name }) => !COMMON_SETTINGS.has(name)).map(({ name, value, unit, help }) => [
      quoteCode(`${id}.${name}`),
      String(value),
      unit ?? "",
      help,
    ])
  );
  return formatRows(["Setting", "Default", "Unit", "What it is"], rows);
}

function formatAdvice(): string {
  return formatList(ADVICE_ROWS.map((row) => {
    const { text } = describeAdvice(row, VLLM.flags, {});
    const answers = row.rules.map((id) => describeRule(id).title).join(", ");
    return `**${quoteFlags(text)}**, if ${row.when}. Answers: ${answers}.`;
  }));
}

function formatFlags(): string {
  return formatList(FLAG_KEYS.map((key) => {
    const flags = DIALECTS.flatMap(({ name, flags }) =>
      flags[key] === undefined ? [] : `${name} ${quoteCode(flags[key])}`
    );
    return `${FLAG_WORDS[key]}: ${flags.join(", ")}`;
  }));
}

/** What users look for, and the figure that decides whether a server has it; a table for each list. */
const SERVER_FIGURES: readonly (readonly (readonly [title: string, key: MetricRow["key"]])[])[] = [
  [
    ["Running", "running"],
    ["Waiting", "waiting"],
    ["KV cache", "kvCacheUsageRatio"],
    ["Prompt", "promptTokens"],
    ["Output", "generationTokens"],
    ["Hits", "prefixCacheHits"],
    ["Finished", "finishedByReason"],
    ["Preempted", "preemptions"],
    ["Drafts", "drafts"],
  ],
  LATENCY_KEYS.map((key) => [LATENCY_NAMES[key].title, key] as const),
];

function formatServerFigures(): string {
  return SERVER_FIGURES.map((figures) =>
    formatTable(
      ["Server", ...figures.map(([title]) => title)],
      DIALECTS.flatMap(({ name, rows, derivedKeys = [], derivedGauges = [] }) => {
        const keys = [...rows.map((row) => row.key), ...derivedKeys, ...derivedGauges];
        const marks = figures.map(([, key]) => keys.includes(key) ? "✓" : "");
        return marks.includes("✓") ? [[name, ...marks]] : [];
      }),
    )
  ).join("\n\n");
}

function formatServers(): string {
  return formatRows(
    ["Server", "Port", "Asked at each poll", "Metrics need"],
    DIALECTS.map(({ name, defaultPort, paths, enablingOption }) => [
      name,
      String(defaultPort),
      paths.filter(({ when }) => when === "each_round" || when === "same_round")
        .map(({ path }) => quoteCode(path)).join(", "),
      enablingOption === undefined ? "" : quoteCode(enablingOption),
    ]),
  );
}

function formatMetrics(): string {
  return formatList(
    VLLM_METRIC_ROWS.map(({ title, kind, unit, names, help, since, until }) => {
      const versions = until === undefined ? `since ${since}` : `${since} to ${until}`;
      const traits = [kind, unit, versions].filter((text) => text !== "").join(", ");
      return `**${title}** (${traits}): ${names.map(quoteCode).join(", ")}. ${help}`.trim();
    }),
  );
}

function formatPermissions(): string {
  const quoted = PERMISSIONS.map((flag) => /[*,]/.test(flag) ? `"${flag}"` : flag);
  const command = ["deno run", ...quoted, `jsr:${denoConfig.name}`].join(" \\\n  ");
  return `\`\`\`sh\n${command}\n\`\`\``;
}

/** The type of a value in words, and the keys below it where it is an object of its own. */
interface Described {
  readonly type: string;
  /** What follows the key in the paths of the keys below: `.` or `[].`. */
  readonly step?: string;
  readonly properties?: Readonly<Record<string, unknown>>;
}

const TYPE_WORDS: Readonly<Record<string, string>> = { integer: "whole number", string: "text" };

function describeType(schema: unknown): Described {
  if (!isRecord(schema)) return { type: "any" };
  const { $ref, anyOf, enum: values, const: only, type, items, properties } = schema;
  if (typeof $ref === "string") {
    const name = $ref.replace(/^.*\//, "");
    return { type: `[${name}](#${name.toLowerCase()})` };
  }
  if (Array.isArray(anyOf)) {
    const inner = describeType(anyOf[0]);
    return { ...inner, type: `${inner.type} or null` };
  }
  if (Array.isArray(values)) {
    if (values.join() === RULE_IDS.join()) return { type: "name of a [rule](rules.md)" };
    return { type: values.map((value) => quoteCode(value || '""')).join(", ") };
  }
  if (only !== undefined) return { type: quoteCode(String(only)) };
  if (type === "array") {
    const inner = describeType(items);
    return { ...inner, type: `list of ${inner.type}`, step: `[]${inner.step ?? "."}` };
  }
  if (isRecord(properties)) return { type: "object", step: ".", properties };
  if (isRecord(schema.additionalProperties)) {
    const { type } = schema.additionalProperties;
    const words = Array.isArray(type) ? type.join(" or ") : describeType({ type }).type;
    return { type: `object of ${words} by name` };
  }
  return { type: TYPE_WORDS[String(type)] ?? String(type) };
}

/** Keys that describe their siblings; the document explains them once. */
const EXPLAINED_ONCE = new Set(["partial", "reasons"]);

function listKeys(properties: Readonly<Record<string, unknown>>, path = ""): readonly string[] {
  return Object.entries(properties).filter(([key]) => !EXPLAINED_ONCE.has(key))
    .flatMap(([key, schema]) => {
      const { type, step = ".", properties } = describeType(schema);
      const description = isRecord(schema) ? schema.description : undefined;
      const meaning = typeof description === "string" ? description : "";
      const row = `\`${path}${key}\` (${type})${meaning === "" ? "" : `: ${meaning}`}`;
      return [row, ...properties === undefined ? [] : listKeys(properties, path + key + step)];
    });
}

function formatReport(): string {
  const { properties, $defs } = createReportSchema();
  const sections = { "The document": { properties }, ...isRecord($defs) ? $defs : {} };
  return Object.entries(sections).map(([name, schema]) => {
    const keys = isRecord(schema) && isRecord(schema.properties) ? schema.properties : {};
    return `### ${name}\n\n${formatList(listKeys(keys))}`;
  }).join("\n\n");
}

/** Name of a block -> what stands between its marks. */
export const BLOCKS: Readonly<Record<string, () => string>> = {
  "keys": formatKeys,
  "columns": formatColumns,
  "exit codes": formatExitCodes,
  "options": formatOptions,
  "variables": formatVariables,
  "rules": formatRules,
  "advice": formatAdvice,
  "flags": formatFlags,
  "servers": formatServers,
  "server figures": formatServerFigures,
  "rule settings": formatRuleSettings,
  "metrics": formatMetrics,
  "permissions": formatPermissions,
  "report": formatReport,
};

/** The names of the blocks that a document marks. */
export function listBlockNames(text: string): readonly string[] {
  return [...text.matchAll(/^<!-- \/(.+) -->$/gm)].map(([, name]) => name);
}

/** The document with every known block as it should be. */
export function updateBlocks(text: string): string {
  return text.replace(/^<!-- ([a-z ]+) -->\n[^]*?^<!-- \/\1 -->$/gm, (whole, name: string) => {
    const format = BLOCKS[name];
    return format === undefined ? whole : `<!-- ${name} -->\n\n${format()}\n\n<!-- /${name} -->`;
  });
}

/** The documents that may have blocks, by their paths from the root of the repository. */
export function listDocuments(namesInDocs: Iterable<string>): readonly string[] {
  const pages = [...namesInDocs].filter((name) => name.endsWith(".md")).sort();
  return ["README.md", ...pages.map((name) => `docs/${name}`)];
}
