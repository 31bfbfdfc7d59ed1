/**
 * The key line at the bottom: keys that do something on the screen that is shown, each of which can
 * be clicked.
 * @module
 */

import type { State } from "./state.ts";
import type { ClickTarget, Command } from "./state_ui.ts";
import { measureWidth } from "./text.ts";
import { choosesDetail, type ViewOptions } from "./view.ts";
import { BINDINGS } from "./view_bindings.ts";
import type { Paint } from "./view_theme.ts";

type KeyPiece = readonly [key: string, label: string, command: Command | null];

const KEYS: readonly KeyPiece[] = BINDINGS.flatMap(({ keys, label, command }): KeyPiece[] =>
  label === undefined ? [] : [[keys[0], label, command]]
);

const BACK: KeyPiece = ["Esc", "Back", "back"];
const NEXT: KeyPiece = ["Right", "Next", "unfold"];
const MOMENT: KeyPiece = ["Enter", "Moment", "open"];
const PAST_KEYS: readonly KeyPiece[] = [
  ["\\", "Now", "look_now"],
  ["[", "Earlier", "look_back"],
  ["]", "Later", "look_forward"],
];
const TYPING_KEYS: readonly KeyPiece[] = [
  ["Enter", "Keep filter", null],
  ["Esc", "Clear", null],
  ["Ctrl-W", "Delete word", null],
  ["Ctrl-U", "Delete all", null],
];
const MENU_KEYS: readonly KeyPiece[] = [
  ["Space", "Show or hide", "pause"],
  ["Left", "Move left", "fold"],
  ["Right", "Move right", "unfold"],
  ["p", "Preset", "preset"],
];

/** These change the table alone. */
const TABLE_COMMANDS: readonly Command[] = ["open", "sort_next", "group", "zoom"];

interface KeyLineOptions {
  readonly state: State;
  readonly output: ViewOptions["output"];
  /** In cells. */
  readonly width: number;
  readonly paint: Paint;
}

/** Inserts `more` after help and quit. */
function mixKeys(more: readonly KeyPiece[], without: readonly Command[]): readonly KeyPiece[] {
  const [help, quit, ...others] = KEYS.filter(([, , command]) =>
    command === null || !without.includes(command)
  );
  return [help, quit, ...more, ...others];
}

/** Keys of a picture of the replicas, most useful first. */
function listPictureKeys({ state, output }: KeyLineOptions): readonly KeyPiece[] {
  const { ui: { screen, page, filter }, fleet: { rows, events, sections } } = state;
  const past = state.pastStep === null ? [] : PAST_KEYS;
  if (screen === "detail") {
    const next = rows.length > 1 ? [NEXT] : [];
    return mixKeys([...past, BACK, ...next], [...TABLE_COMMANDS, "filter"]);
  }
  if (page !== "fleet") {
    const moment = page === "events" && events.length > 0 ? [MOMENT] : [];
    return mixKeys([...past, ...moment, BACK], [...TABLE_COMMANDS, "next_trouble"]);
  }
  if (choosesDetail(state, output)) {
    const table: KeyPiece = ["d", "Table", "toggle_detail"];
    return mixKeys([...past, table], [...TABLE_COMMANDS, "toggle_detail", "next_trouble"]);
  }
  const clear: readonly KeyPiece[] = filter === "" ? [] : [["Esc", "Clear filter", "back"]];
  return mixKeys([...past, ...clear], sections.length < 2 ? ["group"] : []);
}

function listKeys(options: KeyLineOptions): readonly KeyPiece[] {
  const { state: { held, replay, ui: { screen, isTyping } } } = options;
  if (isTyping) return TYPING_KEYS;
  const first = KEYS.slice(0, 2);
  if (screen === "columns") return [...first, BACK, ...MENU_KEYS];
  if (screen === "help") return [...first, BACK];
  if (screen === "log") return [...first, BACK, NEXT];
  const isHeld = held !== null || replay?.status === "paused";
  return listPictureKeys(options).map(([key, label, command]): KeyPiece =>
    command === "pause" && isHeld ? [key, "Resume", command] : [key, label, command]
  );
}

/** Draws the keys that fit, and where they can be clicked. */
export function renderKeyLine(
  options: KeyLineOptions,
): { readonly lines: readonly string[]; readonly targets: readonly ClickTarget[] } {
  const { width, paint } = options;
  let line = "";
  let used = 0;
  const targets: ClickTarget[] = [];
  for (const [key, label, command] of listKeys(options)) {
    const needed = 1 + measureWidth(key) + 1 + measureWidth(label) + 1;
    if (used + needed > width) continue;
    line += ` ${paint(key, "key")} ${label} `;
    if (command !== null) {
      const action = { kind: "command", command } as const;
      targets.push({ row: 0, fromColumn: used, toColumn: used + needed, action });
    }
    used += needed;
  }
  return { lines: [line], targets };
}
