import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  areSameBytes,
  type NumberScan,
  parseBound,
  parseNumber,
  scanNumber,
} from "../lib/prometheus_tokens.ts";
import { encode } from "./fixtures/expositions.ts";

/** The number at the beginning of the text and its length; `null` where it takes the long way. */
function scan(text: string): readonly [value: number, length: number] | null {
  const found: NumberScan = { value: NaN, end: -1 };
  return scanNumber(encode(`#${text}`), 1, found) ? [found.value, found.end - 1] : null;
}

Deno.test("scanNumber() parses what servers write, up to the first other byte", () => {
  for (
    const [text, value, length] of [
      ["0", 0, 1],
      ["123.0\n", 123, 5],
      ["0.1 ", 0.1, 3],
      [".5", 0.5, 2],
      ["7.", 7, 2],
      ["1.234567e+06\r", 1234567, 12],
      ["1.7953e9", 1795300000, 8],
      ["1E-05}", 1e-5, 5],
      ["007", 7, 3],
      ["9007199254740980", 9007199254740980, 16],
      ["12:", 12, 2],
      ["1e3e3", 1000, 3],
      ["1.2.3", 1.2, 3],
    ] as const
  ) assertEquals(scan(text), [value, length], text);
});

Deno.test("scanNumber() refuses text that is not a number, or that it cannot parse exactly", () => {
  const inexact = ["12345678901234567890", "0.12345678901234567", "1e23", "1e-23", "1e999999999"];
  const none = ["", " 1", "-1", "+1", "NaN", "Inf", ".", ".e1", "e1", "1e", "1e+", "1.e-", "x"];
  for (const text of [...inexact, ...none]) assertEquals(scan(text), null, text);
});

Deno.test("scanNumber() equals Number wherever it parses anything", () => {
  const digits = fc.stringMatching(/^\d{0,18}$/);
  const exponent = fc.oneof(
    fc.constant(""),
    fc.tuple(fc.constantFrom("e", "E"), fc.constantFrom("", "+", "-"), fc.nat(40))
      .map((parts) => parts.join("")),
  );
  const written = fc.oneof(
    fc.double({ noNaN: true, min: 0, noDefaultInfinity: true }).map(String),
    fc.nat().map((n) => `${n}.0`),
    fc.tuple(digits, fc.constantFrom("", "."), digits, exponent).map((parts) => parts.join("")),
  );
  let readCount = 0;
  fc.assert(
    fc.property(written, (text) => {
      const found = scan(`${text}\n`);
      if (found === null) return;
      readCount++;
      assertEquals(found[1], text.length);
      assert(Object.is(found[0], Number(text)), `${text}: ${found[0]}`);
      assert(Object.is(found[0], parseNumber(text)));
    }),
    { numRuns: 5000 },
  );
  assert(readCount > 1000, `${readCount}`);
});

Deno.test("parseBound() accepts numbers only", () => {
  const bounds = ["0.1", "1e-1", "+Inf", "inf", "Infinity", "-2"].map(parseBound);
  assertEquals(bounds, [0.1, 0.1, Infinity, Infinity, Infinity, -2]);
  for (const le of ["", " 1", "0x10", "0b1", "1_000", "-Inf", "NaN", "x"]) {
    assert(Number.isNaN(parseBound(le)), le);
  }
});

Deno.test("areSameBytes() compares only the given piece", () => {
  const bytes = fc.uint8Array({ max: 1, maxLength: 12 });
  const place = fc.nat(14);
  fc.assert(
    fc.property(bytes, bytes, place, place, place, (a, b, from, to, length) => {
      const whole = (piece: Uint8Array, at: number) =>
        at + length <= piece.length ? piece.subarray(at, at + length).join() : null;
      const expected = whole(a, from) !== null && whole(a, from) === whole(b, to);
      // A view of its own, at an odd place in a larger buffer.
      const view = new DataView(new Uint8Array([9, ...b, 9]).buffer, 1, b.length);
      const found = areSameBytes(
        { view: new DataView(a.buffer, a.byteOffset, a.byteLength), at: from },
        { view, at: to },
        length,
      );
      assertEquals(found, expected);
    }),
    { numRuns: 5000 },
  );
});
