import { assert, assertEquals } from "@std/assert";
import {
  absent,
  checkReading,
  divideReadings,
  isPresent,
  mapReading,
  present,
  type Reading,
  sumReadings,
} from "../lib/reading.ts";

const PARTIAL: Reading = { value: 5, partial: true };

Deno.test("isPresent() distinguishes 0 from absence", () => {
  assert(isPresent(present(0)));
  assert(isPresent(PARTIAL));
  assert(!isPresent(absent("missing")));
});

Deno.test("checkReading() refuses what no figure can be", () => {
  const invalid = absent("invalid");
  for (const value of [0, 1, 2 ** 53, 9e18]) assertEquals(checkReading(value), { value });
  // -1 without its sign.
  for (const value of [-1, 18446744073709551615, 1e308]) {
    assertEquals(checkReading(value), invalid, `${value}`);
  }
  for (const value of [NaN, Infinity]) assertEquals(checkReading(value), absent("not_finite"));
  assertEquals(checkReading(1.005, { isRatio: true }), { value: 1 });
  assertEquals(checkReading(1.5, { isRatio: true }), invalid);
});

Deno.test("mapReading() keeps absence and partial", () => {
  const double = (value: number): number => 2 * value;
  assertEquals(mapReading(present(2), double), { value: 4 });
  assertEquals(mapReading(PARTIAL, double), { value: 10, partial: true });
  assertEquals(mapReading(absent("stale"), double), { value: null, reason: "stale" });
});

Deno.test("divideReadings() is no_samples for 0 ÷ 0, and 0 for 0 ÷ n", () => {
  assertEquals(divideReadings(present(3), present(4)), { value: 0.75 });
  assertEquals(divideReadings(present(0), present(4)), { value: 0 });
  assertEquals(divideReadings(present(0), present(0)), { value: null, reason: "no_samples" });
  assertEquals(divideReadings(present(3), present(0)), { value: null, reason: "no_samples" });
  assertEquals(divideReadings(absent("missing"), present(4)), absent("missing"));
  assertEquals(divideReadings(present(3), absent("restarted")), absent("restarted"));
});

Deno.test("sumReadings() marks a lower bound as partial", () => {
  assertEquals(sumReadings([present(1), present(2)]), { value: 3 });
  assertEquals(sumReadings([present(1), absent("initializing")]), { value: 1, partial: true });
  assertEquals(sumReadings([present(1), PARTIAL]), { value: 6, partial: true });
  // An unsupported part does not make the sum partial.
  assertEquals(sumReadings([present(1), absent("unsupported")]), { value: 1 });
  assertEquals(sumReadings([present(0), present(0)]), { value: 0 });
});

Deno.test("sumReadings() takes the first reason if all are absent", () => {
  assertEquals(sumReadings([absent("stale"), absent("missing")]), absent("stale"));
  assertEquals(sumReadings([]), absent("missing"));
});
