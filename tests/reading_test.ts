import { assert, assertEquals } from "@std/assert";
import {
  absent,
  divideReadings,
  isPresent,
  mapReading,
  present,
  type Reading,
  sumReadings,
} from "../lib/reading.ts";

const PARTIAL: Reading = { value: 5, partial: true };

Deno.test("isPresent() tells 0 from absence", () => {
  assert(isPresent(present(0)));
  assert(isPresent(PARTIAL));
  assert(!isPresent(absent("missing")));
});

Deno.test("mapReading() keeps absence and partiality", () => {
  const double = (value: number): number => 2 * value;
  assertEquals(mapReading(present(2), double), { value: 4 });
  assertEquals(mapReading(PARTIAL, double), { value: 10, partial: true });
  assertEquals(mapReading(absent("stale"), double), { value: null, reason: "stale" });
});

Deno.test("divideReadings() has no value of 0 by 0, and 0 of 0 by something", () => {
  assertEquals(divideReadings(present(3), present(4)), { value: 0.75 });
  assertEquals(divideReadings(present(0), present(4)), { value: 0 });
  assertEquals(divideReadings(present(0), present(0)), { value: null, reason: "no_samples" });
  assertEquals(divideReadings(present(3), present(0)), { value: null, reason: "no_samples" });
  assertEquals(divideReadings(absent("missing"), present(4)), absent("missing"));
  assertEquals(divideReadings(present(3), absent("restarted")), absent("restarted"));
});

Deno.test("sumReadings() marks what is a lower bound", () => {
  assertEquals(sumReadings([present(1), present(2)]), { value: 3 });
  assertEquals(sumReadings([present(1), absent("initializing")]), { value: 1, partial: true });
  assertEquals(sumReadings([present(1), PARTIAL]), { value: 6, partial: true });
  // By nature it has nothing to add.
  assertEquals(sumReadings([present(1), absent("unsupported")]), { value: 1 });
  assertEquals(sumReadings([present(0), present(0)]), { value: 0 });
});

Deno.test("sumReadings() has the first reason where nothing has a value", () => {
  assertEquals(sumReadings([absent("stale"), absent("missing")]), absent("stale"));
  assertEquals(sumReadings([]), absent("missing"));
});
