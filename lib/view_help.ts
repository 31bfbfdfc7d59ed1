/**
 * The help screen and the column menu.
 * @module
 */

import { STALE_INTERVALS, STALE_LIMIT } from "./rules_status.ts";
import { type Command, findPreset, type Ui } from "./state_ui.ts";
import { LONG_WINDOW } from "./stats_window.ts";
import { cutText, padText, wrapText } from "./text.ts";
import { TWO_COLUMN_WIDTH } from "./view_areas.ts";
import { BINDINGS } from "./view_bindings.ts";
import { COLUMNS, KV_WARN_RATIO, PRESETS, renderCell, type TableLine } from "./view_columns.ts";
import { formatDuration, formatPercent, OVER_MINUTE, SINCE_START } from "./view_format.ts";
import { joinSideBySide } from "./view_layout.ts";
import type { Offer } from "./view_table.ts";
import { measureStyledLine, type Paint } from "./view_theme.ts";
import { MARGIN_FAIR_RATIO, MARGIN_GOOD_RATIO } from "./view_words.ts";

const KEY_WIDTH = 16;

function listThresholds(): readonly (readonly [string, string])[] {
  const [stale, minute] = [STALE_LIMIT, LONG_WINDOW].map(formatDuration);
  return [
    ["red", "what the verdict counts: a rule fires (docs/rules.md)"],
    ["KV", `yellow above ${formatPercent(KV_WARN_RATIO)}`],
    ["WAIT", "yellow above 0"],
    ["Margin", `green from ${MARGIN_GOOD_RATIO}×, yellow below ${MARGIN_FAIR_RATIO}×`],
    [
      "≈",
      "based on a price hint, not on a price that you set; or averaged by the server, in its log",
    ],
    [
      "STALE",
      `the last scrape failed; DOWN after the longer of ${stale} and ${STALE_INTERVALS} intervals`,
    ],
    ["LOAD", "the process runs, its port is closed: its log tells how far it is"],
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

type Entry = readonly [title: string, text: string];

/** Bindings of no group are of the last one. */
const KEY_GROUPS: readonly (readonly [title: string, commands: readonly Command[]])[] = [
  ["Rows", [
    ...["up", "down", "page_up", "page_down", "first", "last", "next_trouble"] as const,
    ...["open", "facts", "fold", "unfold"] as const,
  ]],
  ["Table", [
    ...["filter", "sort_next", "sort_previous", "sort_severity", "invert_sort"] as const,
    ...["group", "columns", "zoom", "toggle_detail"] as const,
  ]],
];

function listEntries(listed: typeof BINDINGS): readonly Entry[] {
  return listed.map(({ keys, help }) => [keys.join(" "), help]);
}

/** What these keys do in a replay. */
const REPLAY_KEYS: readonly Entry[] = [
  ["Space", "pause, and go on"],
  ["+ -", "speed: 1, 2, 10, 100, or as fast as possible"],
  ["] }", "pause and play one poll; play on to a minute later"],
  ["[ {", "pause, and look back by a poll or a minute"],
  ["r", "play to the next event, and pause"],
  ["\\", "to the end; after looking back, to the newest moment"],
];

/** Pages share a line. */
function listKeyGroups(): readonly (readonly [title: string, entries: readonly Entry[]])[] {
  const pages = BINDINGS.filter(({ command }) => command.startsWith("show_"));
  const named = new Set(KEY_GROUPS.flatMap(([, commands]) => commands));
  const rest = BINDINGS.filter((one) =>
    !named.has(one.command) && !pages.includes(one) && one.isToldElsewhere !== true
  );
  const titles = pages.map(({ help }) => help.replace("page: ", "")).join(", ");
  return [
    ...KEY_GROUPS.map(([title, commands]) =>
      [
        title,
        listEntries(
          commands.flatMap((command) => BINDINGS.find((one) => one.command === command) ?? []),
        ),
      ] as const
    ),
    ["Screen and program", [
      [pages.map(({ keys }) => keys[0]).join(""), `page: ${titles}`],
      ...listEntries(rest),
    ]],
  ];
}

function renderEntries(
  entries: readonly Entry[],
  { width, paint, meaning }: {
    readonly width: number;
    readonly paint: Paint;
    readonly meaning: "key" | "name";
  },
): readonly string[] {
  return entries.flatMap(([title, text]) => {
    const [first, ...rest] = wrapText(text, width - KEY_WIDTH - 3);
    return [
      ` ${paint(padText(title, KEY_WIDTH), meaning)} ${first}`,
      ...rest.map((line) => " ".repeat(KEY_WIDTH + 2) + line),
    ];
  });
}

/** Keys and signs, in two columns if there is room; or the columns of the table. */
export function renderHelp(
  { showsColumnHelp }: Pick<Ui, "showsColumnHelp">,
  { width, paint, isReplay = false }: {
    readonly width: number;
    readonly paint: Paint;
    readonly isReplay?: boolean;
  },
): readonly string[] {
  if (showsColumnHelp) {
    const columns = COLUMNS.map(({ title, id, help }): Entry => [title === "" ? id : title, help]);
    return [
      paint(" Columns", "heading") + paint("   Left: keys and signs", "dim"),
      ...renderEntries(columns, { width, paint, meaning: "name" }),
    ];
  }
  const isWide = width >= TWO_COLUMN_WIDTH;
  const columnWidth = isWide ? Math.floor(width / 2) : width;
  const lines = [
    ...[
      ...(isReplay ? [["Replay", REPLAY_KEYS] as const] : []),
      ...listKeyGroups(),
    ].flatMap(([title, entries]) => [
      paint(` ${title}`, "heading"),
      ...renderEntries(entries, { width: columnWidth, paint, meaning: "key" }),
    ]),
    paint(" Signs and colors", "heading") + paint("   Right: columns", "dim"),
    ...renderEntries(listThresholds(), { width: columnWidth, paint, meaning: "name" }),
  ];
  if (!isWide) return lines;
  const half = Math.ceil(lines.length / 2);
  return joinSideBySide([lines.slice(0, half), lines.slice(half)], columnWidth);
}

const HEADING_WIDTH = 12;
/** In cells, of `no room`, and of a value. */
const PRESENCE_WIDTH = 8;
const VALUE_WIDTH = 16;

function nameColumn(column: typeof COLUMNS[number] | undefined, id: string): string {
  return column?.menuTitle ?? column?.title ?? id;
}

/** One line per column: heading, whether it is on, whether it is on screen, value of the selected row. */
export function renderColumnMenu(
  ui: Ui,
  { selected, shownIds, offer, paint }: {
    /** `null` without rows. */
    readonly selected: TableLine | null;
    /** Those on screen. */
    readonly shownIds: ReadonlySet<string>;
    readonly offer: Offer;
    readonly paint: Paint;
  },
): readonly string[] {
  const lines = ui.columnIds.map((id, index) => {
    const column = COLUMNS.find((candidate) => candidate.id === id);
    const isOn = !ui.hiddenColumnIds.has(id);
    const isOffered = column?.needs === undefined || offer[column.needs];
    const wanted = isOn ? "no room" : "";
    const presence = shownIds.has(id) ? "shown" : isOffered ? wanted : "no data";
    const isShown = selected !== null && column !== undefined;
    const value = isShown ? renderCell(column, selected).text : "";
    const title = nameColumn(column, id);
    const line = [
      ` ${isOn ? "[x]" : "[ ]"} ${padText(title, HEADING_WIDTH)}`,
      padText(presence, PRESENCE_WIDTH),
      padText(cutText(value, VALUE_WIDTH), VALUE_WIDTH),
      column?.help ?? "",
    ].join(" ");
    return index === ui.columnCursor ? paint(line, "selected") : line;
  });
  const preset = PRESETS[findPreset(ui, PRESETS.map(([, ids]) => ids))]?.[0] ?? "your choice";
  const keys = "Space on or off, Left and Right move, p presets, Esc back";
  return [
    paint(` Columns (${preset}): ${keys}`, "heading"),
    ...lines,
  ];
}

/**
 * The whole help of the column under the cursor, where the menu is cut; empty where nothing is. It
 * takes as many lines whichever column that is.
 */
export function renderColumnNote(
  menu: readonly string[],
  { columnIds, columnCursor }: Pick<Ui, "columnIds" | "columnCursor">,
  { width, paint }: { readonly width: number; readonly paint: Paint },
): readonly string[] {
  if (menu.every((line) => measureStyledLine(line) <= width)) return [];
  const notes = columnIds.map((id) => {
    const column = COLUMNS.find((candidate) => candidate.id === id);
    return wrapText(`${nameColumn(column, id)}: ${column?.help ?? ""}`, width - 2);
  });
  const lines = (notes[columnCursor] ?? []).map((line) => ` ${paint(line, "name")}`);
  const most = Math.max(...notes.map(({ length }) => length));
  return [...lines, ...Array.from({ length: most - lines.length }, () => "")];
}
