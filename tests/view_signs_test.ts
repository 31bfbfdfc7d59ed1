import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { measureWidth, sanitizeText } from "../lib/text.ts";
import { drawStrip } from "../lib/view_graph.ts";
import { chooseBraille, convertSigns, convertToAscii } from "../lib/view_signs.ts";
import { createPaint } from "../lib/view_theme.ts";

Deno.test("convertToAscii() replaces everything that is drawn", () => {
  assertEquals(
    convertToAscii("● OK … KV ▓▓░ — a–b · ≈ 1 × 2 ÷ 3 −1 ‘x’ ▌"),
    "* OK ~ KV ##- - a-b | ~ 1 x 2 / 3 -1 'x' >",
  );
  assertEquals(convertToAscii("plain"), "plain");
});

Deno.test("convertToAscii() keeps styles and the width of foreign text", () => {
  const paint = createPaint(16);
  const line = paint("模型", "alert") + paint(" é 😀 … ", "dim");
  const expected = paint("????", "alert") + paint(" ? ?? ~ ", "dim");
  assertEquals(convertToAscii(line), expected);
});

Deno.test("convertToAscii() gives ASCII of the same width", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 30 }), (text) => {
      const safe = sanitizeText(text) + "▓░⣿—…";
      const ascii = convertToAscii(safe);
      assert(/^[\x20-\x7e]*$/.test(ascii), ascii);
      assertEquals(measureWidth(ascii), measureWidth(safe));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("convertToAscii() replaces every sign", () => {
  for (const sign of "▸▾▴↑↓→←⏎␣●▌▓░│┤├┬┼∙▒█") {
    assert(/^[\x21-\x3e\x40-\x7e]$/.test(convertToAscii(sign)), sign);
  }
});

Deno.test("convertSigns() keeps four heights in ASCII, two without braille, and gaps", () => {
  const strip = drawStrip([0, 0, null, null, 1, 1, 2, 2, 3, 3], 5);
  assertEquals(strip, "⣀ ⣤⣶⣿");
  assertEquals(convertSigns(strip, { ascii: true }), ". :!|");
  assertEquals(convertSigns(strip, { ascii: false, hasBraille: false }), "▄ ▄██");
  assertEquals(convertSigns(strip, { ascii: false }), strip);
});

Deno.test("convertSigns() draws lines high and low", () => {
  const lines = "⠁⠂⠄⡀⠉⠒⠤⣀⠃⡄";
  assertEquals(convertSigns(lines, { ascii: true }), "''..''..':");
  assertEquals(convertSigns(lines, { ascii: false, hasBraille: false }), "▀▀▄▄▀▀▄▄▀▄");
});

Deno.test("convertSigns() replaces every pattern", () => {
  for (let pattern = 0x2800; pattern <= 0x28ff; pattern++) {
    const cell = String.fromCharCode(pattern);
    const isBlank = pattern === 0x2800;
    const ascii = convertSigns(cell, { ascii: true });
    assert(isBlank ? ascii === " " : /^[.:!|']$/.test(ascii), ascii);
    const block = convertSigns(cell, { ascii: false, hasBraille: false });
    assert(isBlank ? block === " " : /^[▄▀█]$/.test(block), block);
  }
});

Deno.test("chooseBraille() refuses the Linux console only", () => {
  assertEquals(chooseBraille(() => "linux"), false);
  assertEquals(chooseBraille(() => "xterm-256color"), true);
  assertEquals(chooseBraille(() => undefined), true);
});
