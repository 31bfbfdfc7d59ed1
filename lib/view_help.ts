/**
 * The help screen and the column menu.
 * @module
 */

import { STALE_INTERVALS, STALE_LIMIT } from "./rules_status.ts";
import { HOT_KV_RATIO, HOT_WAITING, RULES } from "./rules_table.ts";
import type { Ui } from "./state_ui.ts";
import { LONG_WINDOW } from "./stats_window.ts";
import { padText, wrapText } from "./text.ts";
import { BINDINGS } from "./view_bindings.ts";
import { COLUMNS, HIT_FAIR_RATIO, HIT_GOOD_RATIO, KV_WARN_RATIO } from "./view_columns.ts";
import { formatDuration, formatPercent } from "./view_format.ts";
import type { Paint } from "./view_theme.ts";
import { MARGIN_FAIR_RATIO, MARGIN_GOOD_RATIO } from "./view_words.ts";

const KEY_WIDTH = 16;
const TITLE_WIDTH = 20;
const RULE_WIDTH = 26;

/** Wraps rules at 80 columns. */
const THRESHOLD_WIDTH = 52;

function listThresholds(): readonly (readonly [string, string])[] {
  return [
    [
      "KV",
      `yellow above ${formatPercent(KV_WARN_RATIO)}, red above ${formatPercent(HOT_KV_RATIO)}`,
    ],
    [
      "CACHE",
      `green from ${formatPercent(HIT_GOOD_RATIO)}, yellow from ${
        formatPercent(HIT_FAIR_RATIO)
      }, else red`,
    ],
    ["WAIT", `yellow above 0, red above ${HOT_WAITING}`],
    ["Margin", `green from ${MARGIN_GOOD_RATIO}×, yellow from ${MARGIN_FAIR_RATIO}×, else red`],
    ["≈", "based on a price hint, not on a price that you set"],
    [
      "STALE",
      `the last scrape failed; DOWN after the longer of ${
        formatDuration(STALE_LIMIT)
      } and ${STALE_INTERVALS} intervals`,
    ],
    ["@1m", `over the last ${formatDuration(LONG_WINDOW)}, or since watching began`],
    ["<10 ms, >80 s", "the quantile is below the first or above the last bucket bound"],
    ["—", "no value (never zero)"],
    ["123+", "lower bound: some replica has no value"],
  ];
}

export function renderHelp(paint: Paint): readonly string[] {
  const keys = BINDINGS.map(({ keys, help }) =>
    ` ${paint(padText(keys.join(" "), KEY_WIDTH), "key")} ${help}`
  );
  const columns = COLUMNS.map(({ title, id, help }) =>
    ` ${paint(padText(title === "" ? id : title, TITLE_WIDTH), "name")} ${help}`
  );
  const thresholds = listThresholds().map(([title, text]) =>
    ` ${paint(padText(title, TITLE_WIDTH), "name")} ${text}`
  );
  return [
    paint(" Keys", "heading"),
    ...keys,
    "",
    paint(" Columns", "heading"),
    ...columns,
    "",
    paint(" Symbols and thresholds", "heading"),
    ...thresholds,
    "",
    paint(" Rules", "heading"),
    ...RULES.flatMap(({ title, threshold }) => {
      const [first, ...rest] = wrapText(threshold, THRESHOLD_WIDTH);
      return [
        ` ${paint(padText(title, RULE_WIDTH), "name")} ${first}`,
        ...rest.map((line) => " ".repeat(RULE_WIDTH + 2) + line),
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
