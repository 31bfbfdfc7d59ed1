/**
 * The keys and what they do, once, as data.
 *
 * What a key does, what the help screen says of it and what the
 * bottom line shows all come from this table, so that they cannot differ. Keys
 * follow htop, and where htop has none, btop, bottom and k9s.
 *
 * @module
 */

import type { Command } from "./state_ui.ts";
import type { KeyEvent } from "./terminal_keys.ts";

/** One line of the table. */
interface Binding {
  readonly command: Command;
  /** Keys as the help shows them: a character, or a name such as `F10`, `Enter`, `Ctrl-L`. */
  readonly keys: readonly string[];
  readonly help: string;
  /** Word for the bottom line; without one it stands in the help only. */
  readonly label?: string;
}

/** All bindings, in the order of the help screen. */
export const BINDINGS: readonly Binding[] = [
  { command: "help", keys: ["?", "h", "F1"], label: "Help", help: "this help" },
  { command: "quit", keys: ["q", "F10", "Ctrl-C"], label: "Quit", help: "quit" },
  {
    command: "open",
    keys: ["Enter", "e"],
    label: "Detail",
    help: "open the selected replica; a click does it too",
  },
  {
    command: "filter",
    keys: ["/", "\\", "F3", "F4"],
    label: "Filter",
    help: "filter by text or figure: kv>80%, waiting>0; | or, & and",
  },
  {
    command: "sort_next",
    keys: [">", ".", "F6"],
    label: "Sort",
    help: "sort by the next column; a click on a heading sorts by it",
  },
  { command: "sort_previous", keys: ["<", ","], help: "sort by the column before" },
  { command: "invert_sort", keys: ["I"], help: "turn the order round" },
  { command: "pause", keys: ["Space"], label: "Pause", help: "hold the picture; polling goes on" },
  { command: "group", keys: ["g"], label: "Group", help: "group replicas by model" },
  {
    command: "fold",
    keys: ["Left"],
    help: "fold the selected row's group; in details, the replica before",
  },
  { command: "unfold", keys: ["Right"], help: "unfold the selected group; in details, the next" },
  { command: "columns", keys: ["c", "F2"], label: "Columns", help: "choose and move columns" },
  { command: "next_theme", keys: ["t"], label: "Theme", help: "the next theme" },
  { command: "toggle_detail", keys: ["d"], label: "View", help: "table or detail" },
  {
    command: "zoom",
    keys: ["z"],
    label: "Zoom",
    help: "give the panel the whole screen, and back",
  },
  { command: "next_panel", keys: ["Tab"], label: "Panel", help: "the next panel" },
  { command: "slower", keys: ["+", "="], label: "Slower", help: "poll less often" },
  { command: "faster", keys: ["-", "_"], label: "Faster", help: "poll more often" },
  { command: "poll_now", keys: ["r"], label: "Poll", help: "poll now" },
  { command: "up", keys: ["Up", "k"], help: "select the row above" },
  { command: "down", keys: ["Down", "j"], help: "select the row below" },
  { command: "page_up", keys: ["PgUp"], help: "a page up" },
  { command: "page_down", keys: ["PgDn"], help: "a page down" },
  { command: "first", keys: ["Home"], help: "the first row" },
  { command: "last", keys: ["End", "G"], help: "the last row" },
  { command: "redraw", keys: ["Ctrl-L"], help: "draw the whole screen anew" },
  { command: "back", keys: ["Esc"], help: "back, and clear the filter" },
];

/** The keys that have names, as the table writes them. */
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

/** A key as the table writes it: `q`, `Space`, `F10`, `Ctrl-L`. */
export function nameKey(key: KeyEvent): string {
  if (key.name !== "character") return KEY_TITLES[key.name] ?? key.name.toUpperCase();
  const text = key.text === " " ? "Space" : key.text;
  return key.ctrl ? `Ctrl-${text.toUpperCase()}` : text;
}

const COMMANDS: ReadonlyMap<string, Command> = new Map(
  BINDINGS.flatMap(({ command, keys }) => keys.map((key) => [key, command] as const)),
);

/** What the key does; `null` where it does nothing. */
export function findCommand(key: KeyEvent): Command | null {
  return key.alt ? null : COMMANDS.get(nameKey(key)) ?? null;
}
