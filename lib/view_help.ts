/**
 * The help screen and the column menu.
 * @module
 */

import { STALE_INTERVALS, STALE_LIMIT } from "./rules_status.ts";
import { describeRule, describeThreshold, RULE_IDS, type Rules } from "./rules_table.ts";
import type { Ui } from "./state_ui.ts";
import { LONG_WINDOW } from "./stats_window.ts";
import { padText, wrapText } from "./text.ts";
import { BINDINGS } from "./view_bindings.ts";
import { COLUMNS, KV_WARN_RATIO } from "./view_columns.ts";
import { formatDuration, formatPercent, OVER_MINUTE, SINCE_START } from "./view_format.ts";
import type { Paint } from "./view_theme.ts";
import { MARGIN_FAIR_RATIO, MARGIN_GOOD_RATIO } from "./view_words.ts";

const KEY_WIDTH = 16;
const TITLE_WIDTH = 20;
const RULE_WIDTH = 26;
/** Wraps rules at 80 columns. */
const THRESHOLD_WIDTH = 52;

function listThresholds(): readonly (readonly [string, string])[] {
  const [stale, minute] = [STALE_LIMIT, LONG_WINDOW].map(formatDuration);
  return [
    ["red", "what the verdict counts: a rule fires"],
    ["KV", `yellow above ${formatPercent(KV_WARN_RATIO)}`],
    ["WAIT", "yellow above 0"],
    ["Margin", `green from ${MARGIN_GOOD_RATIO}×, yellow below ${MARGIN_FAIR_RATIO}×`],
    ["≈", "based on a price hint, not on a price that you set"],
    [
      "STALE",
      `the last scrape failed; DOWN after the longer of ${stale} and ${STALE_INTERVALS} intervals`,
    ],
    ["@1m", `over the last ${minute}, or since watching began`],
    ["<10 ms, >80 s", "the quantile is below the first or above the last bucket bound"],
    ["—", "no value (never zero)"],
    ["▓▓░░", "gauge: now"],
    ["⣀⣤⣶⣿", "graph: until now, each step a poll, blank where there is no value"],
    ["123+", "lower bound: some replica has no value"],
    [`123${OVER_MINUTE}`, "mean of the last minute: the server counts tokens as requests finish"],
    [`123${SINCE_START}`, "mean or quantile since the server started, until there is a window"],
  ];
}

export function renderHelp(rules: Rules, paint: Paint): readonly string[] {
  const entry = (title: string, text: string, width = TITLE_WIDTH): string =>
    ` ${paint(padText(title, width), "name")} ${text}`;
  return [
    paint(" Keys", "heading"),
    ...BINDINGS.map(({ keys, help }) =>
      ` ${paint(padText(keys.join(" "), KEY_WIDTH), "key")} ${help}`
    ),
    "",
    paint(" Columns", "heading"),
    ...COLUMNS.map(({ title, id, help }) => entry(title === "" ? id : title, help)),
    "",
    paint(" Symbols and thresholds", "heading"),
    ...listThresholds().map(([title, text]) => entry(title, text)),
    "",
    paint(" Rules", "heading"),
    ...RULE_IDS.flatMap((id) => {
      const text = `${rules[id].level}: ${describeThreshold(rules[id])}`;
      const [first, ...rest] = wrapText(text, THRESHOLD_WIDTH);
      const indent = " ".repeat(RULE_WIDTH + 2);
      return [
        entry(describeRule(id).title, first, RULE_WIDTH),
        ...rest.map((line) => indent + line),
      ];
    }),
  ];
}

export function renderColumnMenu(ui: Ui, paint: Paint): readonly string[] {
  const lines = ui.columnIds.map((id, index) => {
    const column = COLUMNS.find((candidate) => candidate.id === id);
    const box = ui.hiddenColumnIds.has(id) ? "[ ]" : "[x]";
    const line = ` ${box} ${padText(id, TITLE_WIDTH)} ${column?.help ?? ""}`;
    return index === ui.columnCursor ? paint(line, "selected") : line;
  });
  return [
    paint(" Columns: Space shows or hides, Left and Right move, Esc goes back", "heading"),
    ...lines,
  ];
}
