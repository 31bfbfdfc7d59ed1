/**
 * Decodes terminal input, byte by byte, so reads may cut sequences anywhere. Only time tells
 * Escape from a sequence: the caller waits `ESCAPE_TIMEOUT` after a read, then calls `flushKeys`.
 * ESC ESC is never Alt with a key (rxvt): over a slow line, Escape and an arrow send the same
 * bytes. Sources: ECMA-48, xterm's "Control Sequences", kitty's keyboard protocol.
 * @module
 */

import type { Seconds } from "./units.ts";

export type KeyName =
  | ("enter" | "escape" | "tab" | "backtab" | "backspace" | "delete" | "insert")
  | ("up" | "down" | "left" | "right" | "home" | "end" | "page_up" | "page_down")
  | ("f1" | "f2" | "f3" | "f4" | "f5" | "f6" | "f7" | "f8" | "f9" | "f10" | "f11" | "f12")
  | "character";

/** Alt includes Meta. */
interface Modifiers {
  readonly ctrl: boolean;
  readonly alt: boolean;
  /** False if implied: `backtab`, and a `character` without Ctrl. */
  readonly shift: boolean;
}

export interface KeyEvent extends Modifiers {
  readonly kind: "key";
  readonly name: KeyName;
  /** One code point for `character` (lower case with Ctrl), or empty. */
  readonly text: string;
}

/** `drag` is any motion; its button may be `none`. */
export interface MouseActionEvent extends Modifiers {
  readonly kind: "mouse";
  readonly action: "press" | "release" | "drag" | "wheel_up" | "wheel_down";
  /** `none` for the wheel. */
  readonly button: "left" | "middle" | "right" | "none";
  /** From 0. */
  readonly column: number;
  /** From 0. */
  readonly row: number;
}

export type TerminalEvent =
  | KeyEvent
  | MouseActionEvent
  /** Never empty, no control characters, at most `MAX_PASTE_BYTES`. */
  | { readonly kind: "paste"; readonly text: string }
  | { readonly kind: "focus"; readonly isFocused: boolean }
  /** Answer to DECRQM: 0 unknown mode, 1 set, 2 reset, 3 always set, 4 always reset. */
  | { readonly kind: "reply"; readonly mode: number; readonly value: number };

/** `typed` is X while ESC X may still be Alt-X. */
type Mode =
  | { readonly kind: "ground" | "escape" | "string_escape" }
  | { readonly kind: "csi" | "ss3"; readonly typed: string; readonly parameters: string }
  | { readonly kind: "string"; readonly typed: string; readonly isEightBit: boolean }
  | { readonly kind: "skip"; readonly count: number }
  | CharacterMode
  | PasteMode;

/** Bytes to come, bits so far, limits of the next byte. */
interface CharacterMode {
  readonly kind: "character";
  readonly left: number;
  readonly bits: number;
  readonly low: number;
  readonly high: number;
  readonly modifiers: number;
}

/** Bytes so far as U+0000 to U+00FF; matched bytes of the end. */
interface PasteMode {
  readonly kind: "paste";
  readonly bytes: string;
  readonly matched: number;
}

/** Immutable; at most 64 KiB. */
export interface KeyDecoder {
  readonly mode: Mode;
  /** Since the last byte. */
  readonly flushCount: number;
}

export interface Decoded {
  readonly decoder: KeyDecoder;
  readonly events: readonly TerminalEvent[];
}

/** Longer than a gap within a sequence, too short to notice. */
export const ESCAPE_TIMEOUT: Seconds = 0.04;
export const MAX_PASTE_BYTES = 65_536;
/** After 1 s an incomplete reply or paste is dropped. */
export const MAX_FLUSHES = 25;
/** Real sequences have less than 20 bytes. */
const MAX_PARAMETERS = 64;
const MAX_CELLS = 65_535;
const ESC = 0x1b;
const DEL = 0x7f;
const PASTE_END = "\x1b[201~";
const GROUND: Mode = { kind: "ground" };
const ESCAPE: Mode = { kind: "escape" };

// xterm's modifier code less 1.
const SHIFT = 1;
const ALT = 2;
const CTRL = 4;
const SUPER_OR_HYPER = 8 | 16;
const META = 32;

const NAMES_BY_CODE_POINT: Readonly<Record<number, KeyName>> = {
  0x08: "backspace",
  0x09: "tab",
  0x0a: "enter",
  0x0d: "enter",
  0x1b: "escape",
  0x7f: "backspace",
};

// deno-fmt-ignore
const NAMES_BY_LETTER: ReadonlyMap<string, KeyName> = new Map([
  ["A", "up"], ["B", "down"], ["C", "right"], ["D", "left"], ["H", "home"], ["F", "end"],
  ["P", "f1"], ["Q", "f2"], ["R", "f3"], ["S", "f4"], ["Z", "backtab"],
]);

// deno-fmt-ignore
const NAMES_BY_NUMBER: ReadonlyMap<number, KeyName> = new Map([
  [1, "home"], [2, "insert"], [3, "delete"], [4, "end"], [5, "page_up"], [6, "page_down"],
  [7, "home"], [8, "end"],
  [11, "f1"], [12, "f2"], [13, "f3"], [14, "f4"], [15, "f5"], [17, "f6"], [18, "f7"],
  [19, "f8"], [20, "f9"], [21, "f10"], [23, "f11"], [24, "f12"],
]);

const LINUX_FUNCTIONS: readonly KeyName[] = ["f1", "f2", "f3", "f4", "f5"];
const MOUSE_BUTTONS = ["left", "middle", "right", "none"] as const;

export function createKeyDecoder(): KeyDecoder {
  return { mode: GROUND, flushCount: 0 };
}

/** An incomplete sequence stays in the decoder returned. */
export function decodeKeys(decoder: KeyDecoder, bytes: Uint8Array): Decoded {
  const events: TerminalEvent[] = [];
  let { mode } = decoder;
  for (const byte of bytes) mode = step(mode, byte, events);
  return { decoder: { mode, flushCount: 0 }, events };
}

/**
 * Handles `ESCAPE_TIMEOUT` of silence. A lone ESC is Escape; ESC with `[`, `O`, `P` … is Alt with
 * that key. Other incomplete sequences are dropped after `MAX_FLUSHES` flushes, so that a slow
 * reply is not taken for keys; an incomplete paste is delivered.
 */
export function flushKeys(decoder: KeyDecoder): Decoded {
  const { mode } = decoder;
  const events: TerminalEvent[] = [];
  const flushCount = decoder.flushCount + 1;
  const isTyped = mode.kind === "escape" || ("typed" in mode && mode.typed !== "");
  if (mode.kind !== "ground" && !isTyped && flushCount < MAX_FLUSHES) {
    return { decoder: { mode, flushCount }, events };
  }
  emitIncomplete(mode, events);
  return { decoder: createKeyDecoder(), events };
}

/** Whether to call `flushKeys` after `ESCAPE_TIMEOUT` of silence; ask again after each. */
export function isWaiting(decoder: KeyDecoder): boolean {
  return decoder.mode.kind !== "ground";
}

function step(mode: Mode, byte: number, events: TerminalEvent[]): Mode {
  switch (mode.kind) {
    case "ground":
      return startKey(byte, 0, events);
    case "escape":
      return stepEscape(byte, events);
    case "csi":
    case "ss3":
      return stepSequence(mode, byte, events);
    case "string":
      if (byte === ESC) return { kind: "string_escape" };
      if (byte === 0x07 || (byte === 0x9c && mode.isEightBit)) return GROUND;
      // Ctrl-C must always work; CAN and SUB cancel a string by ECMA-48.
      if (byte === 0x03 || byte === 0x18 || byte === 0x1a) return interrupt(mode, byte, events);
      return mode.typed === "" ? mode : { ...mode, typed: "" };
    case "string_escape":
      return byte === 0x5c ? GROUND : step(ESCAPE, byte, events);
    case "skip":
      return mode.count > 1 ? { ...mode, count: mode.count - 1 } : GROUND;
    case "character":
      return stepCharacter(mode, byte, events);
    case "paste":
      return stepPaste(mode, byte, events);
  }
}

function startKey(byte: number, modifiers: number, events: TerminalEvent[]): Mode {
  if (byte === ESC) return ESCAPE;
  if (byte < 0x80) {
    pushCodePoint(events, byte, modifiers);
    return GROUND;
  }
  if (byte < 0xc0) return openSequence(byte, "") ?? GROUND;
  // Unicode table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF.
  if (byte < 0xc2 || byte > 0xf4) return GROUND;
  const left = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
  const low = byte === 0xe0 ? 0xa0 : byte === 0xf0 ? 0x90 : 0x80;
  const high = byte === 0xed ? 0x9f : byte === 0xf4 ? 0x8f : 0xbf;
  return { kind: "character", left, bits: byte & (0x3f >> left), low, high, modifiers };
}

function stepCharacter(mode: CharacterMode, byte: number, events: TerminalEvent[]): Mode {
  if (byte < mode.low || byte > mode.high) return step(GROUND, byte, events);
  const bits = (mode.bits << 6) | (byte & 0x3f);
  if (mode.left > 1) return { ...mode, left: mode.left - 1, bits, low: 0x80, high: 0xbf };
  // xterm in UTF-8 mode encodes even its 8-bit controls.
  if (bits < 0xa0) return openSequence(bits, "") ?? GROUND;
  pushCodePoint(events, bits, mode.modifiers);
  return GROUND;
}

function stepEscape(byte: number, events: TerminalEvent[]): Mode {
  if (byte === ESC || byte >= 0x80 && byte < 0xc0) return interrupt(ESCAPE, byte, events);
  const isIntroducer = byte >= 0x40 && byte < 0x60;
  const mode = isIntroducer ? openSequence(byte + 0x40, String.fromCharCode(byte)) : null;
  return mode ?? startKey(byte, ALT, events);
}

/** `typed` is the character of the control's 7-bit form. */
function openSequence(control: number, typed: string): Mode | null {
  switch (control) {
    case 0x9b:
      return { kind: "csi", typed, parameters: "" };
    case 0x8f:
      return { kind: "ss3", typed, parameters: "" };
    case 0x90:
    case 0x98:
    case 0x9d:
    case 0x9e:
    case 0x9f:
      // DCS, SOS, OSC, PM and APC.
      return { kind: "string", typed, isEightBit: typed === "" };
    default:
      return null;
  }
}

function stepSequence(
  mode: Mode & { readonly kind: "csi" | "ss3" },
  byte: number,
  events: TerminalEvent[],
): Mode {
  const { kind, parameters } = mode;
  const character = String.fromCharCode(byte);
  if (byte < 0x20 || byte >= DEL) return interrupt(mode, byte, events);
  // The Linux console's function keys have a second bracket.
  const isLinux = kind === "csi" && character === "[" && parameters === "";
  if (isLinux || byte < 0x40) {
    const kept = parameters.length > MAX_PARAMETERS ? parameters : parameters + character;
    return { kind, typed: "", parameters: kept };
  }
  if (kind === "csi" && parameters === "" && character === "M") return { kind: "skip", count: 3 };
  if (kind === "csi" && parameters === "200" && character === "~") {
    return { kind: "paste", bytes: "", matched: 0 };
  }
  if (parameters.length > MAX_PARAMETERS) return GROUND;
  if (kind === "csi") pushCsi(events, parameters, character);
  else pushLetter(events, parseFields(parameters) ?? [], character);
  return GROUND;
}

function stepPaste(mode: PasteMode, byte: number, events: TerminalEvent[]): Mode {
  const matched = byte === PASTE_END.charCodeAt(mode.matched) ? mode.matched + 1 : 0;
  if (matched === PASTE_END.length) {
    emitIncomplete(mode, events);
    return GROUND;
  }
  if (matched > 0) return { ...mode, matched };
  // Drop ESC, the only byte an end can start with.
  const seen = PASTE_END.slice(1, mode.matched);
  const added = byte === ESC ? seen : seen + String.fromCharCode(byte);
  const bytes = mode.bytes.length < MAX_PASTE_BYTES ? mode.bytes + added : mode.bytes;
  return { kind: "paste", bytes, matched: byte === ESC ? 1 : 0 };
}

function interrupt(mode: Mode, byte: number, events: TerminalEvent[]): Mode {
  emitIncomplete(mode, events);
  return step(GROUND, byte, events);
}

function emitIncomplete(mode: Mode, events: TerminalEvent[]): void {
  if (mode.kind === "escape") {
    pushKey(events, "escape", 0);
  } else if (mode.kind === "paste") {
    const bytes = Uint8Array.from(mode.bytes.slice(0, MAX_PASTE_BYTES), (c) => c.charCodeAt(0));
    // `stream` drops a character cut in half at the end.
    const text = new TextDecoder().decode(bytes, { stream: true }).replace(/\p{Cc}/gu, "");
    if (text !== "") events.push({ kind: "paste", text });
  } else if ("typed" in mode && mode.typed !== "") {
    pushKey(events, "character", ALT, mode.typed);
  }
}

function pushCsi(events: TerminalEvent[], parameters: string, final: string): void {
  const modeReply = /^\?(\d{1,9});(\d)\$$/.exec(parameters);
  if (modeReply !== null && final === "y") {
    events.push({ kind: "reply", mode: Number(modeReply[1]), value: Number(modeReply[2]) });
  }
  if (parameters === "[") return pushKey(events, LINUX_FUNCTIONS[final.charCodeAt(0) - 0x41], 0);
  const isMouse = parameters.startsWith("<");
  const fields = parseFields(isMouse ? parameters.slice(1) : parameters);
  if (fields === null) return;
  if (isMouse) return pushMouse(events, fields, final);
  if (parameters === "" && (final === "I" || final === "O")) {
    events.push({ kind: "focus", isFocused: final === "I" });
    return;
  }
  const [[first, shifted], second, third] = fields;
  // With two numbers, R is a cursor position: F3 with modifiers is also `CSI 13;2~`.
  const isPosition = final === "R" && second !== undefined;
  if (final !== "u" && final !== "~" && !isPosition) return pushLetter(events, fields, final);
  const modifiers = parseModifiers(second);
  if (modifiers === null) return;
  if (final === "u") {
    const codePoint = (modifiers & SHIFT) !== 0 && shifted > 0 ? shifted : first;
    // kitty encodes keys without a character in the private-use area.
    const isKey = codePoint > 0 && (codePoint < 0xe000 || codePoint > 0xf8ff);
    if (isKey) pushCodePoint(events, codePoint, modifiers);
  } else if (final === "~" && first === 27 && third !== undefined) {
    pushCodePoint(events, third[0], modifiers);
  } else if (final === "~") {
    pushKey(events, NAMES_BY_NUMBER.get(first), modifiers);
  }
}

/** The key of `CSI A` or `SS3 P`. Old xterm and Konsole omit the 1 of `CSI 1;5A`. */
function pushLetter(events: TerminalEvent[], fields: Fields, final: string): void {
  const modifiers = parseModifiers(fields[1] ?? fields[0]);
  if (modifiers !== null) pushKey(events, NAMES_BY_LETTER.get(final), modifiers);
}

function pushMouse(events: TerminalEvent[], fields: Fields, final: string): void {
  const [code, column, row] = fields.map(([number]) => number);
  const isReal = fields.length === 3 && code < 128 && column > 0 && column <= MAX_CELLS &&
    row > 0 && row <= MAX_CELLS;
  if (!isReal || (final !== "M" && final !== "m")) return;
  const isWheel = (code & 64) !== 0;
  const button = isWheel ? "none" : MOUSE_BUTTONS[code & 3];
  const isDrag = (code & 32) !== 0;
  let action: MouseActionEvent["action"] = isDrag ? "drag" : "press";
  if (isWheel) {
    // The horizontal wheel.
    if (final === "m" || (code & 2) !== 0) return;
    action = (code & 1) === 0 ? "wheel_up" : "wheel_down";
  } else if (final === "m") action = "release";
  else if (button === "none" && !isDrag) return;
  const ctrl = (code & 16) !== 0;
  const alt = (code & 8) !== 0;
  const shift = (code & 4) !== 0;
  const place = { column: column - 1, row: row - 1 };
  events.push({ kind: "mouse", action, button, ...place, ctrl, alt, shift });
}

/** `1;5:3` is [[1], [5, 3]]; omitted numbers are 0. */
type Fields = readonly (readonly number[])[];

function parseFields(parameters: string): Fields | null {
  if (!/^[\d;:]*$/.test(parameters)) return null;
  return parameters.split(";").map((field) => field.split(":").map(Number));
}

/** Returns null for releases and for keys to ignore. */
function parseModifiers(field: readonly number[] | undefined): number | null {
  const [value, event = 1] = field ?? [0];
  const bits = Math.max(value, 1) - 1;
  return event === 3 || bits > 255 || (bits & SUPER_OR_HYPER) !== 0 ? null : bits;
}

function pushCodePoint(events: TerminalEvent[], codePoint: number, modifiers: number): void {
  const name = NAMES_BY_CODE_POINT[codePoint];
  if (name === "tab" && (modifiers & SHIFT) !== 0) return pushKey(events, "backtab", modifiers);
  if (name !== undefined) return pushKey(events, name, modifiers);
  if (codePoint < 0x20) {
    const letter = codePoint === 0 ? " " : String.fromCharCode(codePoint + 0x40).toLowerCase();
    return pushKey(events, "character", modifiers | CTRL, letter);
  }
  const isControl = codePoint >= DEL && codePoint < 0xa0;
  const isSurrogate = codePoint >= 0xd800 && codePoint < 0xe000;
  if (isControl || isSurrogate || codePoint > 0x10ffff) return;
  const text = String.fromCodePoint(codePoint);
  const isCtrl = (modifiers & CTRL) !== 0;
  const cased = isCtrl ? text.toLowerCase() : modifiers & SHIFT ? text.toUpperCase() : text;
  const isOne = [...cased].length === 1;
  pushKey(events, "character", isCtrl ? modifiers : modifiers & ~SHIFT, isOne ? cased : text);
}

function pushKey(
  events: TerminalEvent[],
  name: KeyName | undefined,
  modifiers: number,
  text = "",
): void {
  if (name === undefined) return;
  const ctrl = (modifiers & CTRL) !== 0;
  const alt = (modifiers & (ALT | META)) !== 0;
  const shift = name !== "backtab" && (modifiers & SHIFT) !== 0;
  events.push({ kind: "key", name, text, ctrl, alt, shift });
}
