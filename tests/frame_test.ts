import { assert, assertEquals } from "@std/assert";
import { chooseStyleMode, createPaint, hasUtf8Locale, type Meaning } from "../lib/frame.ts";

type Variables = Readonly<Record<string, string>>;
const environment = (variables: Variables) => (name: string): string | undefined =>
  Object.hasOwn(variables, name) ? variables[name] : undefined;

const MEANINGS: readonly Meaning[] = [
  ...["plain", "title", "heading", "ok", "warn", "alert", "dim", "name"] as const,
];

// deno-lint-ignore no-control-regex
const SGR = /\x1b\[([0-9;]*)m/g;

/** The numbers of all SGR sequences in the text. */
function listStyles(text: string): number[] {
  return [...text.matchAll(SGR)].flatMap(([, numbers]) => numbers.split(";").map(Number));
}

Deno.test("createPaint() styles nothing in plain mode", () => {
  const paint = createPaint("plain");
  for (const meaning of MEANINGS) assertEquals(paint("x", meaning), "x");
});

Deno.test("createPaint() uses no colour in monochrome mode", () => {
  const paint = createPaint("monochrome");
  for (const meaning of MEANINGS) {
    const styles = listStyles(paint("x", meaning));
    assert(styles.every((style) => style < 30), `${meaning}: ${styles}`);
  }
  // The library styles nothing at all where NO_COLOR is set.
  if (Deno.noColor) return;
  // What matters is still told apart.
  assert(paint("x", "alert") !== paint("x", "warn"));
  assert(paint("x", "warn") !== "x");
});

Deno.test("createPaint() leaves the text alone but for styles that it ends again", () => {
  for (const mode of ["color", "monochrome"] as const) {
    const paint = createPaint(mode);
    for (const meaning of MEANINGS) {
      const painted = paint("some text", meaning);
      assertEquals(painted.replace(SGR, ""), "some text");
      if (meaning === "plain") assertEquals(painted, "some text");
      // The last sequence switches something off: 22, 27 or 39.
      const last = listStyles(painted).at(-1);
      assert(last === undefined || [0, 22, 27, 39].includes(last), `${meaning}: ${last}`);
      assertEquals(paint("", meaning), "");
    }
  }
});

Deno.test("createPaint() colours what is right, doubtful and wrong", {
  ignore: Deno.noColor,
}, () => {
  const paint = createPaint("color");
  assert(listStyles(paint("x", "ok")).includes(32));
  assert(listStyles(paint("x", "warn")).includes(33));
  assert(listStyles(paint("x", "alert")).includes(31));
});

Deno.test("chooseStyleMode() styles terminals only", () => {
  assertEquals(chooseStyleMode(true, environment({})), "color");
  assertEquals(chooseStyleMode(false, environment({})), "plain");
  assertEquals(chooseStyleMode(true, environment({ TERM: "dumb" })), "plain");
  assertEquals(chooseStyleMode(true, environment({ TERM: "xterm-256color" })), "color");
});

Deno.test("chooseStyleMode() keeps to NO_COLOR where it is not empty", () => {
  assertEquals(chooseStyleMode(true, environment({ NO_COLOR: "1" })), "monochrome");
  assertEquals(chooseStyleMode(true, environment({ NO_COLOR: "0" })), "monochrome");
  assertEquals(chooseStyleMode(true, environment({ NO_COLOR: "" })), "color");
  assertEquals(chooseStyleMode(false, environment({ NO_COLOR: "1" })), "plain");
});

Deno.test("hasUtf8Locale() asks LC_ALL, then LC_CTYPE, then LANG", () => {
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

Deno.test("hasUtf8Locale() without a locale goes by the system", () => {
  for (
    const [system, expected] of [["linux", false], ["darwin", true], ["windows", true]] as const
  ) {
    assertEquals(hasUtf8Locale(environment({}), system), expected);
  }
});
