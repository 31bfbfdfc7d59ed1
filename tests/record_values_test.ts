import { assertEquals, assertThrows } from "@std/assert";
import { decodeValue, encodeValue } from "../lib/record_values.ts";

Deno.test("decodeValue() returns maps, sets and numbers that JSON lacks", () => {
  const value = {
    map: new Map<unknown, unknown>([[1, new Set(["a"])], ["b", [null, true, NaN]]]),
    numbers: [Infinity, -Infinity, 0.1, -3],
    nested: { text: "x", list: [[]] },
  };
  const json: unknown = JSON.parse(JSON.stringify(encodeValue(value)));
  assertEquals(decodeValue(json), value);
});

Deno.test("encodeValue() drops what is undefined, and refuses functions and classes", () => {
  assertEquals(encodeValue({ a: undefined, b: 1 }), { b: 1 });
  assertThrows(() => encodeValue(() => {}), TypeError);
  assertThrows(() => encodeValue(new Date(0)), TypeError);
});

Deno.test("decodeValue() makes control characters of a stranger's file visible", () => {
  assertEquals(decodeValue({ "\x1b[2J": ["\x1b]0;x\x07"] }), {
    "\\x1b[2J": ["\\x1b]0;x\\x07"],
  });
});
