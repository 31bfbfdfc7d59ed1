/**
 * Key bindings. Keys follow htop, else btop, bottom and k9s.
 *
 * The keyboard, the help screen, the key line and the README use this table.
 * @module
 */

import type { Command } from "./state_ui.ts";
import type { KeyEvent } from "./terminal_keys.ts";

interface Binding {
  readonly command: Command;
  /** A character, or a name such as `F10`, `Enter`, `Ctrl-L`. */
  readonly keys: readonly string[];
  readonly help: string;
  /** The help of another key has it too, so that the help screen leaves it out. */
  readonly isToldElsewhere?: true;
  /** For the key line; without it the key is listed only in the help. */
  readonly label?: string;
}

/** In the order of the help screen. */
export const BINDINGS: readonly Binding[] = [
  { command: "help", keys: ["?", "h", "F1"], label: "Help", help: "this help" },
  { command: "quit", keys: ["q", "F10", "Ctrl-C"], label: "Quit", help: "quit" },
  {
    command: "open",
    keys: ["Enter", "e"],
    label: "Detail",
    help: "open the selected replica (or click it twice) or event",
  },
  {
    command: "next_trouble",
    keys: ["n"],
    label: "Trouble",
    help: "next row in trouble (N: previous)",
  },
  {
    command: "previous_trouble",
    keys: ["N"],
    help: "previous row in trouble",
    isToldElsewhere: true,
  },
  {
    command: "filter",
    keys: ["/", "F3", "F4"],
    label: "Filter",
    help: "filter by text or value: kv>80%, waiting>0; | or, & and",
  },
  {
    command: "sort_next",
    keys: [">", ".", "F6"],
    label: "Sort",
    help: "sort by the next column (or click a heading)",
  },
  { command: "sort_previous", keys: ["<", ","], help: "sort by the previous column" },
  { command: "sort_severity", keys: ["!"], help: "sort by severity, and back" },
  { command: "invert_sort", keys: ["I"], help: "reverse the sort order" },
  {
    command: "pause",
    keys: ["Space"],
    label: "Pause",
    help: "pause the screen (polling continues)",
  },
  { command: "look_back", keys: ["["], help: "look back a poll (] forward; { } a minute; \\ now)" },
  { command: "look_forward", keys: ["]"], help: "look forward by one poll", isToldElsewhere: true },
  {
    command: "look_back_minute",
    keys: ["{"],
    help: "look back by a minute",
    isToldElsewhere: true,
  },
  {
    command: "look_forward_minute",
    keys: ["}"],
    help: "look forward by a minute",
    isToldElsewhere: true,
  },
  { command: "look_now", keys: ["\\"], help: "return to now", isToldElsewhere: true },
  {
    command: "mark",
    keys: ["m"],
    help: "mark this moment: figures since then (M removes it)",
  },
  { command: "unmark", keys: ["M"], help: "remove the mark", isToldElsewhere: true },
  { command: "group", keys: ["g"], label: "Group", help: "group replicas by model, or not" },
  {
    command: "fold",
    keys: ["Left"],
    help: "fold the row's group; in detail, the previous replica",
  },
  {
    command: "unfold",
    keys: ["Right"],
    help: "unfold the row's group; in detail, the next replica",
  },
  {
    command: "facts",
    keys: ["i"],
    label: "Info",
    help: "configuration, scrape and all metrics of the replica",
  },
  { command: "log", keys: ["l"], help: "the last lines of the replica's log" },
  {
    command: "columns",
    keys: ["c", "F2"],
    label: "Columns",
    help: "choose columns (p: serving, latency, cache, GPU, cost)",
  },
  {
    command: "preset",
    keys: ["p"],
    help: "next preset of columns",
    isToldElsewhere: true,
  },
  { command: "next_theme", keys: ["t"], label: "Theme", help: "next theme" },
  { command: "toggle_detail", keys: ["d"], label: "View", help: "switch between table and detail" },
  { command: "show_fleet", keys: ["1"], help: "page: fleet" },
  { command: "show_latency", keys: ["2"], help: "page: latency" },
  { command: "show_gpus", keys: ["3"], help: "page: GPUs" },
  { command: "show_trends", keys: ["4"], help: "page: trends" },
  { command: "show_cost", keys: ["5"], help: "page: cost" },
  { command: "show_events", keys: ["6"], help: "page: events" },
  { command: "next_page", keys: ["Tab"], label: "Page", help: "next page" },
  { command: "zoom", keys: ["z"], label: "Zoom", help: "the table alone, and back" },
  { command: "faster", keys: ["+", "="], label: "Faster", help: "poll more often" },
  { command: "slower", keys: ["-", "_"], label: "Slower", help: "poll less often" },
  { command: "poll_now", keys: ["r"], label: "Poll", help: "poll now" },
  { command: "up", keys: ["Up", "k"], help: "select the row above" },
  { command: "down", keys: ["Down", "j"], help: "select the row below" },
  { command: "page_up", keys: ["PgUp"], help: "page up" },
  { command: "page_down", keys: ["PgDn"], help: "page down" },
  { command: "first", keys: ["Home"], help: "first row" },
  { command: "last", keys: ["End", "G"], help: "last row" },
  {
    command: "diagnose",
    keys: ["y"],
    help: "diagnosis of this moment for a ticket, printed on leaving",
  },
  { command: "redraw", keys: ["Ctrl-L"], help: "redraw the screen" },
  { command: "suspend", keys: ["Ctrl-Z"], help: "suspend; fg resumes" },
  { command: "back", keys: ["Esc"], help: "go back; clear the filter" },
];

const KEY_TITLES: Readonly<Partial<Record<KeyEvent["name"], string>>> = {
  enter: "Enter",
  escape: "Esc",
  tab: "Tab",
  up: "Up",
  down: "Down",
  left: "Left",
  right: "Right",
  home: "Home",
  end: "End",
  page_up: "PgUp",
  page_down: "PgDn",
};

/** Formats a key as in `BINDINGS`: `q`, `Space`, `F10`, `Ctrl-L`. */
export function nameKey(key: KeyEvent): string {
  if (key.name !== "character") return KEY_TITLES[key.name] ?? key.name.toUpperCase();
  const text = key.text === " " ? "Space" : key.text;
  return key.ctrl ? `Ctrl-${text.toUpperCase()}` : text;
}

const COMMANDS: ReadonlyMap<string, Command> = new Map([
  ...BINDINGS.flatMap(({ command, keys }) => keys.map((key) => [key, command] as const)),
  // Outside raw mode, a terminal sends SIGQUIT for it.
  ["Ctrl-\\", "quit"] as const,
]);

export function findCommand(key: KeyEvent): Command | null {
  return key.alt ? null : COMMANDS.get(nameKey(key)) ?? null;
}
