/**
 * What `--help` prints, at most 80 columns wide; the man page shows the same texts.
 * @module
 */

import { EXIT_CODES } from "./cli_exit.ts";
import { COMMON_VARIABLES, OPTION_ROWS, type OptionRow } from "./cli_option_table.ts";
import { RULE_LEVELS, RULE_SETTINGS } from "./rules_table.ts";
import { wrapText } from "./text.ts";

export const EXAMPLES: readonly (readonly [command: string, help: string])[] = [
  ["vllm-htop", "find the servers of this machine"],
  ["vllm-htop gpu1 gpu2:8001", "compare two servers"],
  ["vllm-htop http://gpu1:{8000,8001}", "two ports (bash, zsh)"],
  ["vllm-htop --host gpu1", "scan another host"],
  ["vllm-htop --ssh gpu1", "log in to gpu1 and find its servers"],
  ["vllm-htop --kube", "the pods of a Kubernetes cluster"],
  ["vllm-htop --once --output json gpu1", "one JSON line for scripts"],
  ["vllm-htop --check gpu1", "one line and an exit code for Nagios"],
  ["vllm-htop --serve 9090 gpu1", "metrics for Prometheus"],
  ["vllm-htop https://ai.example.org --token-file key", "a bearer token"],
  ["vllm-htop record FILE gpu1", "record what gpu1 answers"],
  ["vllm-htop replay FILE --from 14:05", "look at it again"],
  ["vllm-htop compare A B", "what differs between two recordings, beyond chance"],
  ["vllm-htop --demo", "no server needed"],
  ["vllm-htop doctor", "what is found here, and what stands in the way"],
];

export const CREDENTIALS_REMARK =
  "FILE applies to every given URL, URL=FILE only to that one. Other users can see " +
  "arguments, so no option takes a secret itself. Secrets are never sent to a server " +
  "found by a scan.";

export const HOMEPAGE = "https://github.com/vllm-htop/vllm-htop";
const HELP_WIDTH = 80;
export const PURPOSE = "Shows what vLLM servers are doing, and which of them is in trouble.";

/** Wraps a text; all lines but the first are indented. */
function wrapColumn(text: string, indent: number): string {
  return wrapText(text, HELP_WIDTH - indent).join(`\n${" ".repeat(indent)}`);
}

/** Two columns; wraps the right one. */
function formatRows(rows: readonly (readonly [left: string, right: string])[]): string {
  const indent = 4 + Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(indent - 2)}${wrapColumn(right, indent)}\n`)
    .join("");
}

function formatOption(row: OptionRow): readonly [string, string] {
  const short = row.short === undefined ? "" : `-${row.short}, `;
  const left = `${short}--${row.name}${row.value === null ? "" : ` ${row.value}`}`;
  const facts = [
    row.default === undefined ? [] : `default ${row.default}`,
    row.variable ?? [],
    row.contentVariable === undefined ? [] : `content in ${row.contentVariable}`,
    row.repeatable === true ? "repeatable" : [],
  ].flat().join("; ");
  return [left, facts === "" ? row.help : `${row.help} (${facts})`];
}

/** Rule -> its settings with their defaults. */
export function listRuleDefaults(): readonly (readonly [rule: string, settings: string])[] {
  return [...RULE_SETTINGS].map(([id, settings]) => [
    id,
    settings.map(({ name, value }) => `${name}=${value}`).join(" "),
  ]);
}

export function helpText(): string {
  const groups = Map.groupBy(OPTION_ROWS, (row) => row.group);
  const options = [...groups].map(([group, rows]) => {
    const remark = group === "Credentials" ? `  ${wrapColumn(CREDENTIALS_REMARK, 2)}\n` : "";
    return `${group}:\n${remark}${formatRows(rows.map(formatOption))}`;
  });
  return [
    `Usage: vllm-htop [OPTION]... [URL]...\n\n${PURPOSE}\n`,
    `Examples:\n${formatRows(EXAMPLES)}`,
    ...options,
    `Rules and their settings (levels: ${RULE_LEVELS.join(", ")}):\n${
      formatRows(listRuleDefaults())
    }`,
    `Environment (an option overrides its variable):\n${formatRows(COMMON_VARIABLES)}`,
    `Exit codes:\n${formatRows(EXIT_CODES)}`,
    `Keys, signs and columns: press ? on the live screen\nHomepage: ${HOMEPAGE}\n`,
  ].join("\n");
}
