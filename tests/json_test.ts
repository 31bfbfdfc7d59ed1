import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type JsonNode, parseJsonText } from "../lib/json.ts";

/** The value as `JSON.parse` gives it. */
function simplify(node: JsonNode): unknown {
  switch (node.kind) {
    case "null":
      return null;
    case "array":
      return node.items.map(simplify);
    case "object":
      return Object.fromEntries(node.members.map(({ name, value }) => [name, simplify(value)]));
    default:
      return node.value;
  }
}

function parse(text: string): unknown {
  const node = parseJsonText(text);
  assert(!("problem" in node), `${text}: ${JSON.stringify(node)}`);
  return simplify(node);
}

Deno.test("parseJsonText() reads what JSON.parse reads, to the same value", () => {
  fc.assert(fc.property(fc.json(), (text) => {
    assertEquals(parse(text), JSON.parse(text));
  }));
  for (const text of ['"\\u0041\\n\\"\\/"', "-0.5e+3", " [ ] ", "\ufeff{}", "true", "null"]) {
    assertEquals(parse(text), JSON.parse(text.replace("\ufeff", "")), text);
  }
});

Deno.test("parseJsonText() refuses what JSON.parse refuses, but for comments and last commas", () => {
  const pieces = fc.constantFrom(..."{}[]:,\"'\\ \n-+.eE019utfnlrsa/*\u0001\u2028é");
  const texts = fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(texts, (text) => {
      fc.pre(!/[/]|,\s*[}\]]/.test(text));
      let expected: unknown;
      let isWrong = false;
      try {
        expected = JSON.parse(text);
      } catch {
        isWrong = true;
      }
      const node = parseJsonText(text);
      assertEquals("problem" in node, isWrong, text);
      if (!("problem" in node)) assertEquals(simplify(node), expected);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("parseJsonText() passes over comments and takes a comma after the last item", () => {
  assertEquals(parse('// a\n{ /* b */ "c": [1, 2,], // d\n "e": "//", /* , */ }// f'), {
    c: [1, 2],
    e: "//",
  });
  for (const text of ["[,]", "{,}", "[1,,]", "/* ", "[1] // \n 2", "/", '{"a":1 /*}*/']) {
    assert("problem" in parseJsonText(text), text);
  }
});

Deno.test("parseJsonText() tells in which line a part begins, and where a problem is", () => {
  const node = parseJsonText('{\n"a": 1,\r\n/* x\ny */ "b":\n[2]\n}');
  assert(!("problem" in node) && node.kind === "object");
  assertEquals(node.members.map(({ name, line, value }) => [name, line, value.line]), [
    ["a", 2, 2],
    ["b", 4, 5],
  ]);
  assertEquals(parseJsonText('{\n"a": 1\n"b": 2}'), {
    problem: 'a "," or "}" is missing',
    line: 3,
  });
  assertEquals(parseJsonText("{\n\n"), { problem: 'a name in "" is missing', line: 3 });
});

Deno.test("parseJsonText() stands long and deep texts", () => {
  assertEquals(parse(`"${"a".repeat(1_000_000)}"`), "a".repeat(1_000_000));
  assertEquals(parse(`${" ".repeat(1_000_000)}1`), 1);
  assertEquals(parse(`/*${"*".repeat(1_000_000)}*/1`), 1);
  assertEquals(parse(`${"//\n".repeat(300_000)}1`), 1);
  assert("problem" in parseJsonText("[".repeat(100_000)));
  assert("problem" in parseJsonText('{"a":'.repeat(100_000)));
});
