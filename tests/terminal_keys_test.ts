import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  createKeyDecoder,
  type Decoded,
  decodeKeys,
  ESCAPE_TIMEOUT,
  flushKeys,
  isWaiting,
  type KeyDecoder,
  type KeyName,
  MAX_FLUSHES,
  MAX_PASTE_BYTES,
  type TerminalEvent,
} from "../lib/terminal_keys.ts";

/** Bytes as characters U+0000 to U+00FF. */
function toBytes(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** UTF-8 bytes as characters U+0000 to U+00FF. */
function encodeUtf8(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

function decode(input: string, decoder: KeyDecoder = createKeyDecoder()): Decoded {
  return decodeKeys(decoder, toBytes(input));
}

/**
 * Events as short words: `ctrl+up`, `"a"`, `press left 3,4`, `paste "a"`, `focus true` or
 * `mode 2026=1`.
 */
function describe(event: TerminalEvent): string {
  if (event.kind === "paste") return `paste ${JSON.stringify(event.text)}`;
  if (event.kind === "focus") return `focus ${event.isFocused}`;
  if (event.kind === "reply") return `mode ${event.mode}=${event.value}`;
  const held = (event.ctrl ? "ctrl+" : "") + (event.alt ? "alt+" : "") +
    (event.shift ? "shift+" : "");
  if (event.kind === "mouse") {
    return `${held}${event.action} ${event.button} ${event.column},${event.row}`;
  }
  assertEquals(event.name === "character", event.text !== "", JSON.stringify(event));
  return held + (event.name === "character" ? JSON.stringify(event.text) : event.name);
}

function describeEvents(decoded: Decoded): string {
  return decoded.events.map(describe).join(" ");
}

function decodeAndFlush(input: string): Decoded {
  const decoded = decode(input);
  const flushed = flushKeys(decoded.decoder);
  return { decoder: flushed.decoder, events: [...decoded.events, ...flushed.events] };
}

/** Flushes while the decoder is waiting. */
function flushOut(decoder: KeyDecoder): Decoded & { readonly flushCount: number } {
  const events: TerminalEvent[] = [];
  let flushCount = 0;
  while (isWaiting(decoder)) {
    const flushed = flushKeys(decoder);
    events.push(...flushed.events);
    decoder = flushed.decoder;
    flushCount++;
    assert(flushCount <= MAX_FLUSHES, "flushes end every wait");
  }
  return { decoder, events, flushCount };
}

/** Complete sequences and their events. */
const WHOLE: Readonly<Record<string, readonly (readonly [input: string, words: string])[]>> = {
  "characters": [
    ["a", '"a"'],
    ["Q", '"Q"'],
    [" ", '" "'],
    ["[O~", '"[" "O" "~"'],
    [encodeUtf8("\u00a0\ud7ff\ue000\u{10ffff}"), '"\u00a0" "\ud7ff" "\ue000" "\u{10ffff}"'],
    [encodeUtf8("é"), '"é"'],
    [encodeUtf8("€"), '"€"'],
    [encodeUtf8("😀"), '"😀"'],
    [encodeUtf8("e\u0301"), '"e" "\u0301"'],
  ],
  "control characters": [
    ["\r", "enter"],
    ["\n", "enter"],
    ["\t", "tab"],
    ["\x7f", "backspace"],
    ["\b", "backspace"],
    ["\0", 'ctrl+" "'],
    ["\x01", 'ctrl+"a"'],
    ["\x03", 'ctrl+"c"'],
    ["\x1a", 'ctrl+"z"'],
    ["\x1c\x1d\x1e\x1f", 'ctrl+"\\\\" ctrl+"]" ctrl+"^" ctrl+"_"'],
  ],
  "Alt": [
    ["\x1ba", 'alt+"a"'],
    ["\x1bA", 'alt+"A"'],
    ["\x1b ", 'alt+" "'],
    ["\x1b\\", 'alt+"\\\\"'],
    ["\x1b`\x1b?\x1b@", 'alt+"`" alt+"?" alt+"@"'],
    ["\x1b\r", "alt+enter"],
    ["\x1b\x7f", "alt+backspace"],
    ["\x1b\x01", 'ctrl+alt+"a"'],
    ["\x1b" + encodeUtf8("é"), 'alt+"é"'],
    ["\x1b\x1ba", 'escape alt+"a"'],
    ["\x1b\x1b\x1b[A", "escape escape up"],
  ],
  "arrows, Home and End": [
    ["\x1b[A\x1b[B\x1b[C\x1b[D", "up down right left"],
    ["\x1bOA\x1bOB\x1bOC\x1bOD", "up down right left"],
    ["\x1b[H\x1b[F\x1bOH\x1bOF", "home end home end"],
    ["\x1b[1~\x1b[4~", "home end"],
    ["\x1b[7~\x1b[8~", "home end"],
    ["\x1b[2~\x1b[3~\x1b[5~\x1b[6~", "insert delete page_up page_down"],
    ["\x1b[Z", "backtab"],
  ],
  "function keys": [
    ["\x1bOP\x1bOQ\x1bOR\x1bOS", "f1 f2 f3 f4"],
    ["\x1b[P\x1b[Q\x1b[R\x1b[S", "f1 f2 f3 f4"],
    ["\x1b[[A\x1b[[B\x1b[[C\x1b[[D\x1b[[E", "f1 f2 f3 f4 f5"],
    ["\x1b[11~\x1b[12~\x1b[13~\x1b[14~\x1b[15~", "f1 f2 f3 f4 f5"],
    ["\x1b[17~\x1b[18~\x1b[19~\x1b[20~\x1b[21~", "f6 f7 f8 f9 f10"],
    ["\x1b[23~\x1b[24~", "f11 f12"],
  ],
  "modifiers": [
    ["\x1b[1;2A", "shift+up"],
    ["\x1b[1;3B", "alt+down"],
    ["\x1b[1;5C", "ctrl+right"],
    ["\x1b[1;8D", "ctrl+alt+shift+left"],
    ["\x1b[1;9A", ""], // Super
    ["\x1b[1;33A", "alt+up"], // Meta
    ["\x1b[1;65A\x1b[1;129A", "up up"], // Caps Lock, Num Lock
    ["\x1b[5A", "ctrl+up"],
    ["\x1bO5A\x1bO1;5P", "ctrl+up ctrl+f1"],
    ["\x1b[3;2~", "shift+delete"],
    ["\x1b[15;6~", "ctrl+shift+f5"],
    ["\x1b[1;2P", "shift+f1"],
    ["\x1b[1;2Z", "backtab"],
    ["\x1b[1;1:1A\x1b[1;1:2A\x1b[1;1:3A", "up up"], // kitty: press, repeat, release
  ],
  "CSI u and modifyOtherKeys": [
    ["\x1b[97u", '"a"'],
    ["\x1b[97;5u", 'ctrl+"a"'],
    ["\x1b[105;5u", 'ctrl+"i"'],
    ["\x1b[97;3u", 'alt+"a"'],
    ["\x1b[97;2u", '"A"'],
    ["\x1b[49:33;2u", '"!"'],
    ["\x1b[223;2u", '"ß"'], // whose upper case is two letters
    ["\x1b[97;6u", 'ctrl+shift+"a"'],
    ["\x1b[13u\x1b[27u\x1b[127u\x1b[9u", "enter escape backspace tab"],
    ["\x1b[9;2u", "backtab"],
    ["\x1b[13;5u", "ctrl+enter"],
    ["\x1b[97;1:3u", ""],
    [
      "\x1b[57344u\x1b[57414u\x1b[63743u\x1b[u\x1b[0u\x1b[55296u\x1b[128u\x1b[1114112u\x1b[99999999999999999999u",
      "",
    ],
    ["\x1b[27;5;105~", 'ctrl+"i"'],
    ["\x1b[27;6;65~", 'ctrl+shift+"a"'],
    ["\x1b[27;2;33~", '"!"'],
    ["\x1b[27;5;9~", "ctrl+tab"],
    ["\x1b[27~", ""],
  ],
  "the mouse": [
    ["\x1b[<0;1;1M", "press left 0,0"],
    ["\x1b[<0;1;1m", "release left 0,0"],
    ["\x1b[<1;10;20M\x1b[<2;10;20m", "press middle 9,19 release right 9,19"],
    ["\x1b[<0;65535;65535M", "press left 65534,65534"],
    ["\x1b[<32;5;6M", "drag left 4,5"],
    ["\x1b[<35;5;6M", "drag none 4,5"],
    ["\x1b[<64;300;200M", "wheel_up none 299,199"],
    ["\x1b[<65;1;1M", "wheel_down none 0,0"],
    ["\x1b[<68;1;1M", "shift+wheel_up none 0,0"],
    ["\x1b[<28;1;1M", "ctrl+alt+shift+press left 0,0"],
    ["\x1b[<66;1;1M\x1b[<67;1;1M\x1b[<64;1;1m", ""], // horizontal wheel; the wheel has no release
    ["\x1b[<128;1;1M\x1b[<3;1;1M", ""], // unknown button; none
    ["\x1b[<0;0;1M\x1b[<0;1;0M\x1b[<0;1M\x1b[<0;;M\x1b[<M\x1b[<0;1;65536M\x1b[<0;1;1;1M", ""],
    ["\x1b[<0;-1;1M\x1b[<0;1;1A", ""],
    ["\x1b[M !!", ""], // X10: three more bytes
    ["\x1b[M\xff\x1b[a", '"a"'],
    ["\x1b[32;5;6M", ""], // urxvt
  ],
  "focus": [["\x1b[I\x1b[O", "focus true focus false"]],
  "pastes": [
    ["\x1b[200~abc\x1b[201~d", 'paste "abc" "d"'],
    ["\x1b[200~" + encodeUtf8("é😀") + "\x1b[201~", 'paste "é😀"'],
    ["\x1b[200~a\r\n\t\x03\x7f" + encodeUtf8("\x9b") + "b\x1b[201~", 'paste "ab"'],
    ["\x1b[200~q\x1b[A\x1b[20\x1b[200~\x1b[201~", 'paste "q[A[20[200~"'],
    ["\x1b[200~\x1b\x1b[201~", ""],
    ["\x1b[200~\xff\x1b[201~", 'paste "\ufffd"'],
    ["\x1b[201~a", '"a"'],
  ],
  "replies": [
    ["\x1b[?2026;2$y", "mode 2026=2"],
    ["\x1b[?2026;0$y", "mode 2026=0"],
    ["\x1b[4;1$y", ""],
    ["\x1b[24;80R\x1b[1;2R\x1b[?24;80R", ""],
    ["\x1b[?62;22c\x1b[>1;4000;19c\x1b[=0c", ""],
    ["\x1b[0n\x1b[?997;1n\x1b[8;24;80t\x1b[?1u\x1b[?2;0;100;100S", ""],
    ["\x1b]11;rgb:0000/0000/0000\x1b\\q", '"q"'],
    ["\x1b]11;rgb:0000/0000/0000\x07q", '"q"'],
    ["\x1bP>|xterm(388)\x1b\\q", '"q"'],
    ["\x1b_Gi=1;OK\x1b\\\x1b^a\x1b\\\x1bXa\x1b\\q", '"q"'],
    ["\x1b]0;" + encodeUtf8("ÜÜ\n") + "\x1b\\q", '"q"'],
  ],
  "8-bit controls": [
    ["\x9bA\x8fP\x9b1;5A", "up f1 ctrl+up"],
    ["\x9d0;title\x9cq\x90a\x9cq", '"q" "q"'],
    [encodeUtf8("\x9bA\x8fP"), "up f1"],
    ["\x85\x84a", '"a"'],
    ["\x1b\x9bA", "escape up"],
    ["\x1b\x80a", 'escape "a"'],
    [encodeUtf8("ț"), '"ț"'], // its second byte is 9b
  ],
  "sequences that are not known": [
    ["\x1b[E\x1b[99~\x1b[1;2;3;4w\x1b[!p\x1b[ q\x1b[?A\x1b[A:;;q", 'up ":" ";" ";" "q"'],
    ["\x1b[[Z\x1bOz\x1bOI\x1bO?A", "up"],
    [`\x1b[${"1".repeat(1000)}Aq`, '"q"'],
    ["\x1b[1;300Aq", '"q"'],
  ],
  "sequences that break off": [
    ["\x1b[1\x03", 'ctrl+"c"'],
    ["\x1b[\x03", 'alt+"[" ctrl+"c"'],
    ["\x1bO\x1b[A", 'alt+"O" up'],
    ["\x1b[1;5\x1b[A", "up"],
    ["\x1b]0;abc\x03q", 'ctrl+"c" "q"'],
    ["\x1b]0;abc\x18q", 'ctrl+"x" "q"'],
    ["\x1b]0;abc\x1aq", 'ctrl+"z" "q"'],
    ["\x1b[1\x7fq", 'backspace "q"'],
    ["\x1b]0;abc\x1b[A", "up"],
    ["\x1b[1" + encodeUtf8("é"), '"é"'],
  ],
  "bytes that are not UTF-8": [
    ["\xc3a", '"a"'],
    ["\xff\xfe\xc0\xc1\xf5a", '"a"'],
    ["\xe0\xa0a\xf0\x9f\x98\x1b[A", '"a" up'],
    ["\xed\xa0a", '"a"'], // a surrogate
    ["\xf4\xa0a", '"a"'], // above U+10FFFF
    ["\xe2\x9bA", '"A"'], // 9b continues here: not a CSI
    ["\xe2\x9b\x9bA", '"⛛" "A"'],
    ["\xe0\x9bA", "up"], // 9b cannot continue here
  ],
};

for (const [name, rows] of Object.entries(WHOLE)) {
  Deno.test(`decodeKeys() decodes ${name}`, () => {
    for (const [input, words] of rows) {
      const decoded = decode(input);
      assertEquals(describeEvents(decoded), words, JSON.stringify(input));
      assertEquals(isWaiting(decoded.decoder), false, JSON.stringify(input));
    }
  });
}

Deno.test("decodeKeys() returns events of the declared shape", () => {
  assertEquals(decode("\x1b[1;5A\x1b[<0;3;4Ma").events, [
    { kind: "key", name: "up", text: "", ctrl: true, alt: false, shift: false },
    {
      kind: "mouse",
      action: "press",
      button: "left",
      column: 2,
      row: 3,
      ctrl: false,
      alt: false,
      shift: false,
    },
    { kind: "key", name: "character", text: "a", ctrl: false, alt: false, shift: false },
  ]);
});

Deno.test("decodeKeys() does not change the given decoder", () => {
  const start = decode("\x1b[1;").decoder;
  assertEquals(describeEvents(decode("5A", start)), "ctrl+up");
  assertEquals(describeEvents(decode("2B", start)), "shift+down");
});

Deno.test("decodeKeys() cuts a paste at its limit between characters", () => {
  const long = "é".repeat(MAX_PASTE_BYTES / 2);
  const paste = (text: string) => decode(`\x1b[200~${text}\x1b[201~q`).events;
  const whole = paste(toBinary(`${long}`));
  assertEquals(whole.length, 2);
  assertEquals(whole[0], { kind: "paste", text: long });
  assertEquals(paste(toBinary(`${long}éé`)), whole);
  assertEquals(paste(toBinary(`a${long}`))[0], { kind: "paste", text: "a" + long.slice(1) });
});

/** As `encodeUtf8`, for long texts. */
function toBinary(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}

Deno.test("flushKeys() delivers typed keys at once", () => {
  const rows: readonly (readonly [string, string])[] = [
    ["", ""],
    ["a", '"a"'],
    ["\x1b", "escape"],
    ["\x1b\x1b", "escape escape"],
    ["\x1b[", 'alt+"["'],
    ["\x1bO", 'alt+"O"'],
    ["\x1b]", 'alt+"]"'],
    ["\x1bP", 'alt+"P"'],
    ["\x1b_", 'alt+"_"'],
  ];
  for (const [input, words] of rows) {
    const flushed = decodeAndFlush(input);
    assertEquals(describeEvents(flushed), words, JSON.stringify(input));
    assertEquals(isWaiting(flushed.decoder), false, JSON.stringify(input));
    assertEquals(describeEvents(decode("[A", flushed.decoder)), '"[" "A"', "starts over");
  }
});

Deno.test("isWaiting() is true within any sequence", () => {
  for (
    const sequence of [
      "\x1b[1;5A",
      "\x1bOP",
      "\x1b[[A",
      "\x1b]0;x\x1b\\",
      "\x1bPx\x07",
      "\x1b[M !!",
      "\x1b[200~abc\x1b[201~",
      "\x1b[?2026;2$y",
      encodeUtf8("😀"),
    ]
  ) {
    for (let length = 1; length < sequence.length; length++) {
      const { decoder, events } = decode(sequence.slice(0, length));
      assert(isWaiting(decoder), JSON.stringify(sequence.slice(0, length)));
      assertEquals(events, []);
    }
    assertEquals(isWaiting(decode(sequence).decoder), false);
  }
});

Deno.test("flushKeys() waits for the rest of sequences nobody types", () => {
  const rows: readonly (readonly [head: string, tail: string, words: string])[] = [
    ["\x1b[?2026;", "2$y", "mode 2026=2"],
    ["\x1b[200~a", "b\x1b[201~", 'paste "ab"'],
    ["\x1b[200~a\x1b", "[201~", 'paste "a"'],
    ["\x1b]11;rgb:00", "00/0000\x1b\\", ""],
    ["\x1b]11;rgb:00\x1b", "\\", ""],
    ["\xc3", "\xa9", '"é"'],
    ["\x1b[M", "   ", ""],
  ];
  for (const [head, tail, words] of rows) {
    let { decoder, events } = decode(head);
    for (let i = 1; i < MAX_FLUSHES; i++) {
      ({ decoder, events } = flushKeys(decoder));
      assertEquals(events, []);
    }
    assertEquals(describeEvents(decode(tail, decoder)), words, JSON.stringify(head));
  }
});

Deno.test("flushKeys() gives up after MAX_FLUSHES, and delivers an incomplete paste", () => {
  const rows: readonly (readonly [string, string])[] = [
    ["\x1b[1;", ""],
    ["\x1b]0;abc", ""],
    ["\x1b]0;abc\x1b", ""],
    ["\xf0\x9f", ""],
    ["\x1b[M ", ""],
    ["\x1b[200~ab\x1b[20", 'paste "ab"'],
    ["\x1b[200~", ""],
  ];
  for (const [input, words] of rows) {
    const first = flushKeys(decode(input).decoder).decoder;
    assertEquals(first.flushCount, 1, JSON.stringify(input));
    assertEquals(decode("\x80", first).decoder.flushCount, 0, "a byte restarts the count");
    const flushed = flushOut(decode(input).decoder);
    assertEquals(describeEvents(flushed), words, JSON.stringify(input));
    assertEquals(flushed.flushCount, MAX_FLUSHES);
    assertEquals(describeEvents(decode("q", flushed.decoder)), '"q"');
  }
});

Deno.test("ESCAPE_TIMEOUT is between 25 and 50 ms", () => {
  assert(ESCAPE_TIMEOUT >= 0.025 && ESCAPE_TIMEOUT <= 0.05);
});

// Properties

const FRAGMENTS = Object.values(WHOLE).flat().map(([input]) => input);

/** Fragments of real sequences, pieces of them, and noise. */
const inputArb: fc.Arbitrary<string> = fc.array(
  fc.oneof(
    fc.constantFrom(...FRAGMENTS),
    fc.constantFrom(...FRAGMENTS).chain((text) =>
      fc.nat(text.length).map((length) => text.slice(0, length))
    ),
    fc.constantFrom("\x1b", "[", "O", "\x1b[200~", "\x1b[201~", "\x1b]", "\x1b\\", "\x9b", "M"),
    fc.uint8Array({ maxLength: 6 }).map((bytes) => String.fromCharCode(...bytes)),
  ),
  { maxLength: 12 },
).map((parts) => parts.join(""));

function getText(event: TerminalEvent): string {
  return event.kind === "key" || event.kind === "paste" ? event.text : "";
}

Deno.test("decodeKeys() returns the same events however the bytes are cut", () => {
  fc.assert(
    fc.property(inputArb, fc.array(fc.nat(40), { maxLength: 20 }), (input, lengths) => {
      const whole = decode(input);
      const events: TerminalEvent[] = [];
      let decoder = createKeyDecoder();
      let start = 0;
      for (const length of [...lengths, input.length]) {
        const decoded = decode(input.slice(start, start + length), decoder);
        events.push(...decoded.events);
        decoder = decoded.decoder;
        start += length;
      }
      assertEquals(events, whole.events);
      assertEquals(decoder, whole.decoder);
      let byByte: Decoded = { decoder: createKeyDecoder(), events: [] };
      for (const byte of input) {
        const next = decode(byte, byByte.decoder);
        byByte = { decoder: next.decoder, events: [...byByte.events, ...next.events] };
      }
      assertEquals(byByte, whole);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("decodeKeys() and flushKeys() accept any bytes and return no control characters", () => {
  fc.assert(
    fc.property(fc.oneof(inputArb, fc.string({ unit: "binary" }).map(encodeUtf8)), (input) => {
      const decoded = decode(input);
      const flushed = flushOut(decoded.decoder);
      for (const event of [...decoded.events, ...flushed.events]) {
        describe(event);
        assertEquals(/\p{Cc}|\p{Cs}/u.test(getText(event)), false, JSON.stringify(event));
        if (event.kind === "key" && event.name === "character") {
          assertEquals([...event.text].length, 1, JSON.stringify(event));
        }
        if (event.kind === "mouse") {
          assert(Number.isSafeInteger(event.column) && event.column >= 0);
          assert(Number.isSafeInteger(event.row) && event.row >= 0);
        }
      }
      assertEquals(flushed.decoder, createKeyDecoder());
    }),
    { numRuns: 2000 },
  );
});

Deno.test("decodeKeys() bounds its memory on endless sequences", () => {
  const filler = "0123456789;".repeat(20_000);
  for (const start of ["\x1b[", "\x1bO", "\x1b]0;", "\x1bP", "\x1b_", "\x1b[<", "\x1b[M"]) {
    let { decoder } = decode(start);
    ({ decoder } = decode(filler, decoder));
    assert(JSON.stringify(decoder).length < 250, start);
  }
  let { decoder } = decode("\x1b[200~");
  for (const text of [filler, "\x1b[20".repeat(50_000), filler]) {
    ({ decoder } = decode(text, decoder));
  }
  assert(JSON.stringify(decoder).length < MAX_PASTE_BYTES + 250);
});

/** Keys with their bytes, from independent lists: xterm's, with modifiers 1 to 8. */
const keyArb: fc.Arbitrary<{ readonly bytes: string; readonly words: string }> = fc.oneof(
  fc.record({
    key: fc.constantFrom<readonly [KeyName, string, string]>(
      ["up", "1", "A"],
      ["left", "1", "D"],
      ["home", "1", "H"],
      ["f4", "1", "S"],
      ["delete", "3", "~"],
      ["page_down", "6", "~"],
      ["f12", "24", "~"],
    ),
    modifiers: fc.nat(7),
  }).map(({ key: [name, number, final], modifiers }) => ({
    bytes: `\x1b[${number};${modifiers + 1}${final}`,
    words: (modifiers & 4 ? "ctrl+" : "") + (modifiers & 2 ? "alt+" : "") +
      (modifiers & 1 ? "shift+" : "") + name,
  })),
  fc.record({
    character: fc.string({ unit: "binary", minLength: 1, maxLength: 1 })
      .filter((text) => !/\p{Cc}/u.test(text)),
    isAlt: fc.boolean(),
  }).filter(({ character, isAlt }) => !isAlt || !/[[\]OPX^_]/.test(character))
    .map(({ character, isAlt }) => ({
      bytes: (isAlt ? "\x1b" : "") + encodeUtf8(character),
      words: (isAlt ? "alt+" : "") + JSON.stringify(character),
    })),
  fc.integer({ min: 1, max: 26 }).filter((code) => ![8, 9, 10, 13].includes(code)).map((code) => ({
    bytes: String.fromCharCode(code),
    words: `ctrl+"${"abcdefghijklmnopqrstuvwxyz"[code - 1]}"`,
  })),
  fc.tuple(fc.nat(500), fc.nat(500)).map(([column, row]) => ({
    bytes: `\x1b[<2;${column + 1};${row + 1}M`,
    words: `press right ${column},${row}`,
  })),
);

Deno.test("decodeKeys() decodes any sequence of encoded keys", () => {
  fc.assert(
    fc.property(fc.array(keyArb, { maxLength: 20 }), (keys) => {
      const decoded = decode(keys.map(({ bytes }) => bytes).join(""));
      assertEquals(describeEvents(decoded), keys.map(({ words }) => words).join(" "));
      assertEquals(isWaiting(decoded.decoder), false);
    }),
    { numRuns: 1000 },
  );
});
