import { assertEquals } from "@std/assert";
import {
  BYTES_PER_KIBIBYTE,
  BYTES_PER_MEBIBYTE,
  MILLISECONDS_PER_SECOND,
  SECONDS_PER_DAY,
  SECONDS_PER_HOUR,
  SECONDS_PER_MINUTE,
} from "../lib/units.ts";

Deno.test("conversion factors are exact", () => {
  assertEquals(MILLISECONDS_PER_SECOND, 10 ** 3);
  assertEquals([SECONDS_PER_MINUTE, SECONDS_PER_HOUR, SECONDS_PER_DAY], [
    60,
    60 ** 2,
    24 * 60 ** 2,
  ]);
  assertEquals([BYTES_PER_KIBIBYTE, BYTES_PER_MEBIBYTE], [2 ** 10, 2 ** 20]);
});
