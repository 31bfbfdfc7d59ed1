import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { changeLines, compareLines } from "../lib/record_delta.ts";

Deno.test("compareLines() gives whole numbers as differences, and other values as they are", () => {
  const before = ["# HELP a b", 'a{le="1"} 10.0', 'a{le="2"} 12.0', "b 0.5", "c 7", "d 1e+06"];
  const after = ["# HELP a b", 'a{le="1"} 13.0', 'a{le="2"} 15.0', "b 0.75", "c 5", "d 1e+06"];
  assertEquals(compareLines(before, after), [[1, 0, 0, 0], [3, 3, " 0.75", -2]]);
});

Deno.test("compareLines() replaces a line with another name, and gives up on other texts", () => {
  assertEquals(compareLines(["a 1", "b 1"], ["a 1", "c 1"]), [[1], ["=c 1"]]);
  assertEquals(compareLines(["a 1"], ["a 1", "b 1"]), null);
  const lines = Array.from({ length: 30 }, (_, i) => `name${i} 1`);
  assertEquals(compareLines(lines, lines.map((line) => `x${line}`)), null);
});

/** Values as servers write them, and what is near to them. */
const VALUE = fc.oneof(
  fc.constantFrom("0", "0.0", "-0", "NaN", "+Inf", "1e+06", "007", "-5", "5.00", ""),
  fc.integer().map(String),
  fc.integer().map((value) => `${value}.0`),
  fc.double().map(String),
  fc.constantFrom("999999999999999", "9999999999999999", "-999999999999999.0"),
);
const LINE = fc.tuple(fc.constantFrom("a", 'b{le="1 2"}', "=c", "", " "), VALUE)
  .map(([name, value]) => `${name} ${value}`);

Deno.test("changeLines() makes of the first text the second, exactly", () => {
  fc.assert(fc.property(fc.array(fc.tuple(LINE, LINE), { maxLength: 40 }), (pairs) => {
    const [before, after] = [pairs.map(([line]) => line), pairs.map(([, line]) => line)];
    const changes = compareLines(before, after);
    if (changes !== null) assertEquals(changeLines(before, changes), after);
  }));
});

Deno.test("changeLines() refuses changes of a longer text", () => {
  assertThrows(() => changeLines(["a 1"], [[1], [5]]), TypeError);
});
