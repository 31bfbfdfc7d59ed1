import { assertEquals } from "@std/assert";
import {
  BYTES_PER_GIBIBYTE,
  BYTES_PER_KIBIBYTE,
  BYTES_PER_MEBIBYTE,
  HERTZ_PER_MEGAHERTZ,
  HOURS_PER_DAY,
  isSameStart,
  MILLISECONDS_PER_SECOND,
  SECONDS_PER_DAY,
  SECONDS_PER_HOUR,
  SECONDS_PER_MINUTE,
  TOKENS_PER_MILLION,
} from "../lib/units.ts";

Deno.test("conversion factors are exact", () => {
  assertEquals(MILLISECONDS_PER_SECOND, 10 ** 3);
  assertEquals([SECONDS_PER_MINUTE, SECONDS_PER_HOUR, SECONDS_PER_DAY], [
    60,
    60 ** 2,
    24 * 60 ** 2,
  ]);
  assertEquals([BYTES_PER_KIBIBYTE, BYTES_PER_MEBIBYTE, BYTES_PER_GIBIBYTE], [
    2 ** 10,
    2 ** 20,
    2 ** 30,
  ]);
  assertEquals([HERTZ_PER_MEGAHERTZ, TOKENS_PER_MILLION, HOURS_PER_DAY], [10 ** 6, 10 ** 6, 24]);
});

Deno.test("isSameStart() allows for rounding, and NaN is never another start", () => {
  const start = 1_795_300_000;
  assertEquals([0, 0.5, -0.5, 0.6, -0.6, 3600].map((by) => isSameStart(start, start + by)), [
    ...[true, true, true, false, false, false],
  ]);
  assertEquals(isSameStart(NaN, start), true);
});
