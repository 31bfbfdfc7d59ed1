import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { THEME_NAMES } from "../lib/state_ui.ts";
import { measureWidth } from "../lib/text.ts";
import {
  chooseColorDepth,
  type ColorDepth,
  createPaint,
  cutStyledLine,
  hasUtf8Locale,
  type Meaning,
  padStyledLine,
  repaintLine,
} from "../lib/view_theme.ts";

type Variables = Readonly<Record<string, string>>;
const environment = (variables: Variables) => (name: string): string | undefined =>
  Object.hasOwn(variables, name) ? variables[name] : undefined;

const MEANINGS: readonly Meaning[] = [
  ...["plain", "title", "heading", "ok", "warn", "alert", "dim", "name", "selected"] as const,
  "key",
];
const STYLED_DEPTHS = [0, 16, 256, "truecolor"] as const;

// deno-lint-ignore no-control-regex
const SGR = /\x1b\[([0-9;]*)m/g;

/** The numbers of all SGR sequences in the text. */
function listStyles(text: string): number[] {
  return [...text.matchAll(SGR)].flatMap(([, numbers]) => numbers.split(";").map(Number));
}

/** Whether one of the numbers sets a colour: 30 to 49 and 90 to 107, ECMA-48 and xterm. */
function hasColor(styles: readonly number[]): boolean {
  return styles.some((style) => style >= 30 && style < 108);
}

Deno.test("createPaint() does not style plain text", () => {
  for (const theme of THEME_NAMES) {
    const paint = createPaint(null, theme);
    for (const meaning of MEANINGS) assertEquals(paint("x", meaning), "x");
  }
});

Deno.test("createPaint() uses no colour at depth 0 and in the mono theme", () => {
  const paints = [
    ...THEME_NAMES.map((theme) => createPaint(0, theme)),
    ...STYLED_DEPTHS.map((depth) => createPaint(depth, "mono")),
  ];
  for (const paint of paints) {
    for (const meaning of MEANINGS) {
      const styles = listStyles(paint("x", meaning));
      assert(!hasColor(styles), `${meaning}: ${styles}`);
    }
  }
});

Deno.test("createPaint() only adds styles, and ends them", () => {
  for (const theme of THEME_NAMES) {
    for (const depth of STYLED_DEPTHS) {
      const paint = createPaint(depth, theme);
      for (const meaning of MEANINGS) {
        const painted = paint("some text", meaning);
        assertEquals(painted.replace(SGR, ""), "some text");
        const last = listStyles(painted).at(-1);
        assert(last === undefined || last === 0, `${meaning}: ${last}`);
        assertEquals(paint("", meaning), "");
      }
    }
  }
});

Deno.test("createPaint() colours ok, warn and alert", () => {
  const paint = createPaint(16);
  assert(listStyles(paint("x", "ok")).includes(32));
  assert(listStyles(paint("x", "warn")).includes(33));
  assert(listStyles(paint("x", "alert")).includes(31));
});

Deno.test("createPaint() distinguishes meanings in every theme at every depth", () => {
  for (const theme of THEME_NAMES) {
    for (const depth of STYLED_DEPTHS) {
      const paint = createPaint(depth, theme);
      const about = `${theme} at ${depth}`;
      for (const meaning of ["title", "heading", "warn", "alert", "selected", "key"] as const) {
        const styles = listStyles(paint("x", meaning));
        assertNotEquals(styles, [], `${about}: ${meaning}`);
      }
      const judged = ["warn", "alert", "selected"].map((meaning) => paint("x", meaning as Meaning));
      assertEquals(new Set([paint("x", "plain"), ...judged]).size, 4, about);
      // What is right differs from what is not; without colour it may look as plain text does.
      assertEquals(new Set([paint("x", "ok"), ...judged]).size, 4, about);
      if (depth === 0 || theme === "mono") continue;
      assertNotEquals(paint("x", "ok"), paint("x", "plain"), about);
      assert(hasColor(listStyles(paint("x", "ok"))), about);
    }
  }
});

Deno.test("createPaint() in the light theme uses no yellow and no cyan", () => {
  for (const depth of [16, 256, "truecolor"] as const) {
    const paint = createPaint(depth, "light");
    for (const meaning of MEANINGS) {
      const styles = listStyles(paint("x", meaning));
      for (const pale of [33, 36, 37, 93, 96, 97]) {
        assert(!styles.includes(pale), `${meaning}: ${styles}`);
      }
    }
  }
});

Deno.test("createPaint() in the colorblind theme uses the colours of Okabe and Ito", () => {
  assertEquals(createPaint("truecolor", "colorblind")("x", "ok"), "\x1b[38;2;0;158;115mx\x1b[0m");
  const warn = createPaint("truecolor", "colorblind")("x", "warn");
  assertEquals(warn, "\x1b[38;2;230;159;0mx\x1b[0m");
  const alert = createPaint("truecolor", "colorblind")("x", "alert");
  assertEquals(alert, "\x1b[1;38;2;213;94;0mx\x1b[0m");
  // The nearest of the 6 × 6 × 6 cube, no more than what the terminal has.
  assertEquals(createPaint(256, "colorblind")("x", "ok"), "\x1b[38;5;36mx\x1b[0m");
  for (const meaning of MEANINGS) {
    const styles = listStyles(createPaint(16, "colorblind")("x", meaning));
    assert(!styles.includes(38) && !styles.includes(32), `${meaning}: ${styles}`);
  }
});

const depthOf = (isTerminal: boolean, variables: Variables = {}, noColor = false): ColorDepth =>
  chooseColorDepth(isTerminal, environment(variables), { noColor });

Deno.test("chooseColorDepth() styles terminals only", () => {
  assertEquals(depthOf(true), 16);
  assertEquals(depthOf(false), null);
  assertEquals(depthOf(true, { TERM: "dumb" }), null);
  assertEquals(depthOf(true, { TERM: "xterm-256color" }), 256);
  assertEquals(depthOf(false, { TERM: "xterm-256color", COLORTERM: "truecolor" }), null);
});

Deno.test("chooseColorDepth() reads COLORTERM, then TERM", () => {
  const cases: readonly (readonly [Variables, ColorDepth])[] = [
    [{ COLORTERM: "truecolor", TERM: "xterm" }, "truecolor"],
    [{ COLORTERM: "24bit", TERM: "xterm" }, "truecolor"],
    [{ COLORTERM: "yes", TERM: "xterm" }, 16],
    [{ TERM: "screen-256color" }, 256],
    [{ TERM: "tmux-256color", COLORTERM: "" }, 256],
    [{ TERM: "linux" }, 16],
    [{ TERM: "vt100" }, 16],
    [{ TERM: "dumb", COLORTERM: "truecolor" }, null],
  ];
  for (const [variables, expected] of cases) {
    assertEquals(depthOf(true, variables), expected, JSON.stringify(variables));
  }
});

Deno.test("chooseColorDepth() obeys NO_COLOR unless empty", () => {
  const rich = { COLORTERM: "truecolor" };
  assertEquals(depthOf(true, { ...rich, NO_COLOR: "1" }), 0);
  assertEquals(depthOf(true, { ...rich, NO_COLOR: "0" }), 0);
  assertEquals(depthOf(true, { ...rich, NO_COLOR: "" }), "truecolor");
  assertEquals(depthOf(true, { NO_COLOR: "" }), 16);
  assertEquals(depthOf(false, { NO_COLOR: "1" }), null);
});

Deno.test("chooseColorDepth() reads FORCE_COLOR as Node does", () => {
  const cases: readonly (readonly [string, ColorDepth])[] = [
    ["", 16],
    ["1", 16],
    ["true", 16],
    ["2", 256],
    ["3", "truecolor"],
    ["0", 0],
    ["false", 0],
    ["4", 0],
  ];
  for (const [value, expected] of cases) {
    assertEquals(depthOf(true, { FORCE_COLOR: value, COLORTERM: "24bit" }), expected, value);
    // Into a pipe, too; there "no colour" is no style either.
    const piped = expected === 0 ? null : expected;
    assertEquals(depthOf(false, { FORCE_COLOR: value }), piped, value);
  }
});

Deno.test("chooseColorDepth() prefers the flag to FORCE_COLOR, NO_COLOR and the terminal, in that order", () => {
  const forced = { FORCE_COLOR: "3", NO_COLOR: "1", TERM: "xterm-256color" };
  assertEquals(depthOf(true, forced, true), 0);
  assertEquals(depthOf(false, forced, true), null);
  assertEquals(depthOf(true, forced), "truecolor");
  assertEquals(depthOf(false, forced), "truecolor");
  assertEquals(depthOf(true, { NO_COLOR: "1", TERM: "xterm-256color" }), 0);
  assertEquals(depthOf(true, { TERM: "xterm-256color" }), 256);
});

Deno.test("cutStyledLine() cuts the text and keeps the styles", () => {
  const line = "\x1b[1mabc\x1b[0m def \x1b[31m模型\x1b[0m";
  assertEquals(cutStyledLine(line, 12), line);
  assertEquals(cutStyledLine(line, 6), "\x1b[1mabc\x1b[0m d…\x1b[31m\x1b[0m");
  // Half of a wide character is none.
  assertEquals(cutStyledLine(line, 10), "\x1b[1mabc\x1b[0m def \x1b[31m…\x1b[0m");
});

Deno.test("padStyledLine() gives the wanted width", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "é", "模", "😀", " "), maxLength: 12 });
  const style = fc.constantFrom("\x1b[1m", "\x1b[0m", "\x1b[38;2;1;2;3m");
  fc.assert(
    fc.property(
      fc.array(fc.oneof(word, style), { maxLength: 8 }),
      fc.integer({ min: 1, max: 40 }),
      (parts, width) => {
        const padded = padStyledLine(parts.join(""), width);
        assertEquals(measureWidth(padded.replace(SGR, "")), width, JSON.stringify(padded));
        assertEquals(
          [...padded.matchAll(SGR)].map(([style]) => style),
          parts.filter((part) => part.startsWith("\x1b")),
        );
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("repaintLine() paints the whole width once", () => {
  const line = "\x1b[1mabc\x1b[0m \x1b[31mdef\x1b[0m";
  assertEquals(repaintLine(line, 10, (text) => `<${text}>`), "<abc def   >");
});

Deno.test("hasUtf8Locale() reads LC_ALL, then LC_CTYPE, then LANG", () => {
  const cases: readonly (readonly [Variables, boolean])[] = [
    [{ LANG: "en_US.UTF-8" }, true],
    [{ LANG: "de_DE.utf8" }, true],
    [{ LANG: "C.UTF-8" }, true],
    [{ LANG: "C" }, false],
    [{ LANG: "POSIX" }, false],
    [{ LANG: "en_US.ISO-8859-1" }, false],
    [{ LC_CTYPE: "C", LANG: "en_US.UTF-8" }, false],
    [{ LC_CTYPE: "en_US.UTF-8", LANG: "C" }, true],
    [{ LC_ALL: "C", LC_CTYPE: "en_US.UTF-8", LANG: "en_US.UTF-8" }, false],
    [{ LC_ALL: "en_US.UTF-8", LC_CTYPE: "C" }, true],
    // An empty one is as good as none.
    [{ LC_ALL: "", LC_CTYPE: "", LANG: "en_US.UTF-8" }, true],
  ];
  for (const [variables, expected] of cases) {
    assertEquals(
      hasUtf8Locale(environment(variables), "linux"),
      expected,
      JSON.stringify(variables),
    );
  }
});

Deno.test("hasUtf8Locale() depends on the system without a locale", () => {
  for (
    const [system, expected] of [["linux", false], ["darwin", true], ["windows", true]] as const
  ) {
    assertEquals(hasUtf8Locale(environment({}), system), expected);
  }
});
