/**
 * What the project relies on in its dependencies, and no more.
 *
 * The contract of both routes: the JSR packages that users get, and the
 * adapters of `.ci/npm` that stand in for them. A behaviour that a module
 * counts on stands here, traps included; a failure means that a package
 * changed, or that an adapter is wrong.
 *
 * @module
 */

import {
  cursorHide,
  cursorShow,
  cursorTo,
  eraseLineEnd,
  eraseScreen,
} from "@cliffy/ansi/ansi-escapes";
import { Table } from "@cliffy/table";
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { unicodeWidth } from "@std/cli/unicode-width";
import { stripAnsiCode } from "@std/fmt/colors";
import { levenshteinDistance } from "@std/text/levenshtein-distance";
import { parse } from "@std/yaml/parse";
import adapterMap from "../.ci/npm/import_map.json" with { type: "json" };
import denoConfig from "../deno.json" with { type: "json" };

Deno.test("import_map.json names the packages of deno.json, and no others", () => {
  const packages: Record<string, string> = denoConfig.imports;
  const adapted = new Set<string>();
  for (const [name, target] of Object.entries<string>(adapterMap.imports)) {
    if (!target.startsWith("./")) {
      assertEquals(target, packages[name], name);
      adapted.add(name);
      continue;
    }
    const base = name.split("/").slice(0, 2).join("/");
    assertMatch(packages[base] ?? "", /^jsr:/, name);
    adapted.add(base);
  }
  assertEquals([...adapted].sort(), Object.keys(packages).sort());
});

// @std/cli/unicode-width

Deno.test("unicodeWidth() counts ASCII, Latin, Cyrillic and box characters as one cell", () => {
  for (const text of ["", "a", " ~", "Qwen/Qwen3-0.6B", "äöüß", "Ωλ", "голубой", "─│█▁▇…—×·±"]) {
    assertEquals(unicodeWidth(text), [...text].length, text);
  }
});

Deno.test("unicodeWidth() counts CJK, Hangul, Kana and full-width forms as two cells", () => {
  for (const text of ["天地玄黃", "한국어", "カタカナ", "ｆｕｌｌ", "、。", "𠮷"]) {
    assertEquals(unicodeWidth(text), 2 * [...text].length, text);
  }
  assertEquals(unicodeWidth("ｶﾀ"), 2, "half-width Katakana");
});

Deno.test("unicodeWidth() counts combining marks as none, alone and in a text", () => {
  for (const mark of ["\u0301", "\u0338", "\u05b0", "\u064b", "\u0e31", "\u20dd", "\u3099"]) {
    assertEquals(unicodeWidth(mark), 0, JSON.stringify(mark));
    assertEquals(unicodeWidth(`a${mark}b`), 2, JSON.stringify(mark));
  }
  assertEquals(unicodeWidth("\u1112\u1161\u11ab"), 2, "Hangul of conjoining letters");
  assertEquals(
    unicodeWidth("\u200d\ufe0f\u200b"),
    0,
    "joiner, variation selector, zero-width space",
  );
});

Deno.test("unicodeWidth() counts emoji by code point, not by cluster", () => {
  for (const emoji of ["😀", "🚀", "🦕", "⌚", "✅", "👨"]) {
    assertEquals(unicodeWidth(emoji), 2, emoji);
  }
  for (const symbol of ["❤", "✓", "☀", "\u{1f1e9}"]) assertEquals(unicodeWidth(symbol), 1, symbol);
  assertEquals(unicodeWidth("❤\ufe0f"), 1);
  assertEquals(unicodeWidth("\u{1f1e9}\u{1f1ea}"), 2);
  assertEquals(unicodeWidth("👨\u200d👩\u200d👧"), 6);
});

Deno.test("unicodeWidth() counts an escape sequence but for its control characters", () => {
  assertEquals(unicodeWidth("\x00\x07\x1b\x7f\x9b\n\t"), 0);
  assertEquals(unicodeWidth("\x1b[31mx\x1b[39m"), 9);
  assertEquals(unicodeWidth(stripAnsiCode("\x1b[31mx\x1b[39m")), 1);
});

// @std/fmt/colors

Deno.test("stripAnsiCode() takes out SGR, cursor and link sequences, and nothing else", () => {
  assertEquals(stripAnsiCode("a\x1b[1;31mb\x1b[0mc\x1b[22;39m"), "abc");
  assertEquals(stripAnsiCode("\x1b[38;5;36ma\x1b[0m\x1b[1;38;2;213;94;0mb\x1b[0m"), "ab");
  assertEquals(stripAnsiCode("\x1b[2J\x1b[3;4Hx\x1b[0K\x1b[?25l"), "x");
  assertEquals(stripAnsiCode("\x1b]8;;http://a.example/\x07x\x1b]8;;\x07"), "x");
  assertEquals(stripAnsiCode("[31m 50% ~天"), "[31m 50% ~天");
});

// @std/text/levenshtein-distance

Deno.test("levenshteinDistance() counts insertions, deletions and substitutions, a swap as two", () => {
  for (
    const [a, b, distance] of [
      ["", "", 0],
      ["", "abc", 3],
      ["once", "once", 0],
      ["onse", "once", 1],
      ["intervl", "interval", 1],
      ["intervall", "interval", 1],
      ["oncE", "once", 1],
      ["ocne", "once", 2],
      ["kitten", "sitting", 3],
    ] as const
  ) {
    assertEquals([levenshteinDistance(a, b), levenshteinDistance(b, a)], [distance, distance], a);
  }
});

// @std/yaml/parse

Deno.test("parse() of YAML leaves scalars of the failsafe schema as text, and throws at errors", () => {
  const text = "- targets: [a:1, 'b']\n  labels: {x: 07, y: yes, z: 1e3, d: 2026-01-01}\n";
  const labels = { x: "07", y: "yes", z: "1e3", d: "2026-01-01" };
  assertEquals(parse(text, { schema: "failsafe" }), [{ targets: ["a:1", "b"], labels }]);
  assertEquals(parse("", { schema: "failsafe" }) ?? null, null);
  for (const wrong of ["- [a", "a: b: c", "{x: 1", "\t- a"]) {
    assertThrows(() => parse(wrong, { schema: "failsafe" }), Error);
  }
});

// @cliffy/ansi/ansi-escapes

Deno.test("cursorTo() counts column and line from 1 and takes the column first", () => {
  assertEquals(cursorTo(1, 1), "\x1b[1;1H");
  assertEquals(cursorTo(5, 12), "\x1b[12;5H");
  assertEquals(cursorTo(0, 0), "\x1b[0;0H");
});

Deno.test("ansi-escapes are single sequences; eraseScreen leaves the cursor where it is", () => {
  assertEquals(cursorHide, "\x1b[?25l");
  assertEquals(cursorShow, "\x1b[?25h");
  assertEquals(eraseLineEnd, "\x1b[0K");
  assertEquals(eraseScreen, "\x1b[2J");
});

// @cliffy/table

Deno.test("Table pads every cell, the last one too, and separates columns by the padding", () => {
  const rows = [["a", "bb", "c"], ["aaaa", "b", "ccc"]];
  assertEquals(new Table().body(rows).toString(), "a    bb c  \naaaa b  ccc");
  assertEquals(new Table().body(rows).padding(2).toString(), "a     bb  c  \naaaa  b   ccc");
  assertEquals(new Table().body(rows).padding(0).toString(), "a   bbc  \naaaab ccc");
});

Deno.test("Table has no border, no indent and no last newline", () => {
  const plain = new Table().body([["a", "b"]]);
  assertEquals(plain.toString(), "a b");
  assertEquals(new Table().body([["a", "b"]]).border(false).indent(0).toString(), "a b");
  assertEquals(new Table().body([["a", "b"], ["c", "d"]]).indent(2).toString(), "  a b\n  c d");
});

Deno.test("Table aligns a column and keeps its minimum width", () => {
  const table = new Table()
    .columns([{ align: "left", minWidth: 3 }, { align: "right", minWidth: 6 }, {}])
    .body([["a", "1.5", "x"], ["bbbb", "1234567", "y"]]);
  assertEquals(table.toString(), "a        1.5 x\nbbbb 1234567 y");
});

Deno.test("Table aligns the header to the left whatever its column does, unlike a first row", () => {
  const columns = [{ align: "right" as const, minWidth: 5 }];
  const header = new Table().columns(columns).header(["h"]).body([["1"]]);
  assertEquals(header.toString(), "h    \n    1");
  const firstRow = new Table().columns(columns).body([["h"], ["1"]]);
  assertEquals(firstRow.toString(), "    h\n    1");
});

Deno.test("Table measures painted cells by what is seen and passes sequences through", () => {
  const painted = "\x1b[1m\x1b[31mhot\x1b[39m\x1b[22m";
  const table = new Table()
    .columns([{ minWidth: 5 }, { align: "right", minWidth: 5 }])
    .body([[painted, painted], ["plain", "x"]]);
  assertEquals(table.toString(), `${painted}     ${painted}\nplain     x`);
  // Not only colours: what comes from elsewhere must be made safe before.
  assertEquals(new Table().body([["\x1b[2Jx", "y"]]).toString(), "\x1b[2Jx y");
});

Deno.test("Table keeps a painting that runs over blanks in one piece", () => {
  const painted = "\x1b[7ma  b \x1b[27m";
  assertEquals(
    new Table().body([[painted, "|"], ["12345", "|"]]).toString(),
    `${painted} |\n12345 |`,
  );
});

Deno.test("Table keeps blanks at the start, inside and at the end of a cell", () => {
  for (const cell of [" a", "   a", "a b", "a  b", "a ", "a   ", " a  b ", "   ", " "]) {
    assertEquals(new Table().body([[cell, "|"]]).toString(), `${cell} |`, JSON.stringify(cell));
    assertEquals(
      new Table().body([[cell, "|"], ["123456", "|"]]).toString(),
      `${cell.padEnd(6)} |\n123456 |`,
      JSON.stringify(cell),
    );
  }
});

Deno.test("Table fills empty cells, missing cells and empty columns", () => {
  const table = new Table().body([["a", "", "c"], ["", "", ""], ["aa"]]);
  assertEquals(table.toString(), "a   c\n     \naa   ");
  assertEquals(new Table().columns([{ minWidth: 2 }]).body([["", "x"]]).toString(), "   x");
});

Deno.test("Table without a row is empty, with a header alone it is the header", () => {
  assertEquals(new Table().body([]).toString(), "");
  assertEquals(new Table().header(["a", "b"]).body([]).toString(), "a b");
});

Deno.test("Table measures wide characters and marks by code point, not by cluster", () => {
  const rows = [["天地", "|"], ["e\u0301", "|"], ["🚀", "|"], ["\u0e01\u0e31", "|"], [
    "12345",
    "|",
  ]];
  assertEquals(
    new Table().body(rows).toString(),
    "天地  |\ne\u0301     |\n🚀    |\n\u0e01\u0e31     |\n12345 |",
  );
  // A cluster is narrower on the screen than its code points: pad such text before.
  assertEquals(new Table().body([["👨\u200d👩", "|"], ["12345", "|"]]).toString().split("\n"), [
    "👨\u200d👩  |",
    "12345 |",
  ]);
});

Deno.test("Table puts a long cell on one line however many words it has", () => {
  const long = "word ".repeat(60) + "end";
  assertEquals(new Table().body([[long, "x"]]).toString(), `${long} x`);
});

// @std/assert

Deno.test("assertEquals() compares by value, and 0 with -0, NaN with NaN", () => {
  assertEquals({ a: [1, { b: "c" }] }, { a: [1, { b: "c" }] });
  assertEquals(0, -0);
  assertEquals(NaN, NaN);
  assertEquals(new Map([["a", [1]]]), new Map([["a", [1]]]));
  assertEquals(new Set([1, 2]), new Set([2, 1]));
  assertEquals(Float64Array.of(1, Infinity), Float64Array.of(1, Infinity));
  assertEquals(Uint8Array.of(1), Uint8Array.of(1));
  for (
    const [a, b] of [
      [1, "1"],
      [null, undefined],
      [{ a: undefined }, {}],
      [[1], [1, 2]],
      [new Map([["a", 1]]), new Map([["a", 2]])],
      [Float64Array.of(1), [1]],
      [{ a: 1 }, { a: 1, b: 2 }],
    ]
  ) {
    assertThrows(() => assertEquals<unknown>(a, b), Error);
    assertNotEquals<unknown>(a, b);
  }
  assertThrows(() => assertNotEquals({ a: 1 }, { a: 1 }));
  assertThrows(() => assertEquals(1, 2, "why"), Error, "why");
});

Deno.test("assertions fail on what they forbid", () => {
  assert(1);
  assertThrows(() => assert(0), Error);
  assertStringIncludes("abc", "bc");
  assertThrows(() => assertStringIncludes("abc", "cb"), Error);
  assertMatch("abc", /b/);
  assertThrows(() => assertMatch("abc", /^b/), Error);
});

Deno.test("assertAlmostEquals() takes an absolute tolerance, or 1e-7 of the expected value", () => {
  assertAlmostEquals(0.1 + 0.2, 0.3);
  assertAlmostEquals(1000.00005, 1000);
  assertThrows(() => assertAlmostEquals(1000.0002, 1000), Error);
  assertAlmostEquals(1.4, 1, 0.5);
  assertThrows(() => assertAlmostEquals(1.6, 1, 0.5), Error);
  assertThrows(() => assertAlmostEquals(NaN, 1), Error);
});

Deno.test("assertThrows() and assertRejects() check class and message, and return the error", async () => {
  const error = assertThrows(
    () => {
      throw new RangeError("too far");
    },
    RangeError,
    "far",
  );
  assertEquals(error.message, "too far");
  assertThrows(() => assertThrows(() => {}), Error);
  assertThrows(() =>
    assertThrows(() => {
      throw new Error("x");
    }, RangeError), Error);
  const rejection = await assertRejects(() => Promise.reject(new TypeError("no")), TypeError, "no");
  assertEquals(rejection.message, "no");
  await assertRejects(() => assertRejects(() => Promise.resolve()), Error);
  await assertRejects(() => assertRejects(() => Promise.reject(new Error("x")), TypeError), Error);
});
