import { assert, assertEquals } from "@std/assert";
import type { Command } from "../lib/state_ui.ts";
import { createKeyDecoder, decodeKeys, flushKeys, type KeyEvent } from "../lib/terminal_keys.ts";
import { BINDINGS, findCommand, nameKey } from "../lib/view_bindings.ts";

/** The type check fails if a command is missing here. */
const COMMANDS: Readonly<Record<Command, true>> = {
  look_back: true,
  look_forward: true,
  look_back_minute: true,
  look_forward_minute: true,
  look_now: true,
  mark: true,
  preset: true,
  unmark: true,
  quit: true,
  pause: true,
  slower: true,
  faster: true,
  poll_now: true,
  toggle_detail: true,
  up: true,
  down: true,
  page_up: true,
  page_down: true,
  first: true,
  last: true,
  open: true,
  back: true,
  sort_next: true,
  sort_previous: true,
  invert_sort: true,
  filter: true,
  group: true,
  fold: true,
  unfold: true,
  zoom: true,
  next_page: true,
  next_trouble: true,
  previous_trouble: true,
  sort_severity: true,
  next_theme: true,
  columns: true,
  help: true,
  log: true,
  redraw: true,
  suspend: true,
  diagnose: true,
  facts: true,
  show_fleet: true,
  show_latency: true,
  show_gpus: true,
  show_trends: true,
  show_cost: true,
  show_events: true,
};

/** As sent by xterm. */
const BYTES: Readonly<Record<string, readonly string[]>> = {
  "Enter": ["\r"],
  "Esc": ["\x1b", "\x1b[27u"],
  "Tab": ["\t"],
  "Space": [" "],
  "Up": ["\x1b[A", "\x1bOA"],
  "Down": ["\x1b[B", "\x1bOB"],
  "Right": ["\x1b[C", "\x1bOC"],
  "Left": ["\x1b[D", "\x1bOD"],
  "Home": ["\x1b[H", "\x1bOH", "\x1b[1~"],
  "End": ["\x1b[F", "\x1bOF", "\x1b[4~"],
  "PgUp": ["\x1b[5~"],
  "PgDn": ["\x1b[6~"],
  "F1": ["\x1bOP", "\x1b[11~"],
  "F2": ["\x1bOQ", "\x1b[12~"],
  "F3": ["\x1bOR", "\x1b[13~"],
  "F4": ["\x1bOS", "\x1b[14~"],
  "F6": ["\x1b[17~"],
  "F10": ["\x1b[21~"],
  "Ctrl-C": ["\x03"],
  "Ctrl-L": ["\x0c"],
  "Ctrl-Z": ["\x1a"],
};

function readKey(bytes: string): KeyEvent {
  const { decoder, events } = decodeKeys(createKeyDecoder(), new TextEncoder().encode(bytes));
  const all = [...events, ...flushKeys(decoder).events];
  const [event] = all;
  assert(all.length === 1 && event.kind === "key", `${JSON.stringify(bytes)}: ${all.length}`);
  return event;
}

Deno.test("BINDINGS contain each key once", () => {
  const keys = BINDINGS.flatMap(({ keys }) => keys);
  assertEquals([...new Set(keys)], keys);
});

Deno.test("BINDINGS contain each command once, with at least one key", () => {
  assertEquals(BINDINGS.map(({ command }) => command).toSorted(), Object.keys(COMMANDS).toSorted());
  for (const { command, keys, help } of BINDINGS) {
    assert(keys.length > 0 && help !== "", command);
  }
});

Deno.test("findCommand() finds every key by the bytes that a terminal sends", () => {
  for (const { command, keys } of BINDINGS) {
    for (const key of keys) {
      const spellings = [...key].length === 1 ? [key] : BYTES[key];
      assert(spellings !== undefined, `no bytes for ${key}`);
      for (const bytes of spellings) {
        const event = readKey(bytes);
        assertEquals(nameKey(event), key);
        assertEquals(findCommand(event), command, key);
      }
    }
  }
});

Deno.test("findCommand() follows htop and the manual", () => {
  const expected: readonly (readonly [string, Command])[] = [
    ...["q", "\x1b[21~", "\x03", "\x1c"].map((bytes) => [bytes, "quit"] as const),
    ...["+", "="].map((bytes) => [bytes, "faster"] as const),
    ...["-", "_"].map((bytes) => [bytes, "slower"] as const),
    ...["/", "\x1bOS"].map((bytes) => [bytes, "filter"] as const),
    ...["h", "?", "\x1bOP"].map((bytes) => [bytes, "help"] as const),
    ...["c", "\x1bOQ"].map((bytes) => [bytes, "columns"] as const),
    ...[">", "\x1b[17~"].map((bytes) => [bytes, "sort_next"] as const),
    ...[["<", "sort_previous"], ["I", "invert_sort"], [" ", "pause"]] as const,
    ...[["r", "poll_now"], ["d", "toggle_detail"], ["\r", "open"], ["\x1b", "back"]] as const,
    ...[["g", "group"], ["z", "zoom"], ["\t", "next_page"], ["t", "next_theme"]] as const,
    ...[["k", "up"], ["j", "down"], ["\x1b[D", "fold"], ["\x1b[C", "unfold"]] as const,
  ];
  for (const [bytes, command] of expected) {
    assertEquals(findCommand(readKey(bytes)), command, JSON.stringify(bytes));
  }
});

Deno.test("findCommand() ignores unbound keys", () => {
  for (const bytes of ["x", "Q", "é", "\x01", "\x1b[15~", "\x1b[3~", "\x1b[Z", "\x7f"]) {
    assertEquals(findCommand(readKey(bytes)), null, JSON.stringify(bytes));
  }
  assertEquals(findCommand(readKey("\x1bq")), null);
});
