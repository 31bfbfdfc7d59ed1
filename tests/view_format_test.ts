import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Bound } from "../lib/histogram.ts";
import { absent, present } from "../lib/reading.ts";
import { formatClock, formatTimestamp } from "../lib/units.ts";
import {
  DASH,
  formatBytes,
  formatClockRate,
  formatCount,
  formatDuration,
  formatElapsed,
  formatGibibytes,
  formatInterval,
  formatLatency,
  formatMoney,
  formatPercent,
  formatPower,
  formatQuantile,
  formatQuantity,
  formatRange,
  formatReading,
  formatTemperature,
} from "../lib/view_format.ts";

type Case = readonly [value: number, text: string];

function check(format: (value: number) => string, cases: readonly Case[]): void {
  for (const [value, text] of cases) assertEquals(format(value), text, String(value));
}

Deno.test("formatReading() shows an asterisk since the start, and a dash if absent and a plus if partial", () => {
  assertEquals(formatReading({ value: 7, isSinceStart: true }, String), "7*");
  assertEquals(formatReading({ value: 7, partial: true, isSinceStart: true }, String), "7+*");
  assertEquals(formatReading(present(3), String), "3");
  assertEquals(formatReading(present(0), String), "0");
  assertEquals(formatReading({ value: 3, partial: true }, String), "3+");
  assertEquals(formatReading(absent("stale"), String), DASH);
});

Deno.test("formatRange() shows a common unit once", () => {
  const range = (min: number, max: number, convert: (value: number) => string): string =>
    formatRange({ min, max }, convert);
  assertEquals(range(0.17, 0.32, formatPercent), "17–32 %");
  assertEquals(range(0.001, 0.999, formatPercent), "<1–>99 %");
  assertEquals(range(0.171, 0.172, formatPercent), "17 %");
  assertEquals(range(640, 690, formatPower), "640–690 W");
  assertEquals(range(61, 66, formatTemperature), "61–66 °C");
  assertEquals(range(3, 12, formatCount), "3–12");
  assertEquals(range(0.5, 2, formatLatency), "500 ms–2.00 s");
});

Deno.test("formatCount() writes whole numbers up to a million", () => {
  check(formatCount, [
    [0, "0"],
    [7, "7"],
    [999, "999"],
    [1000, "1000"],
    [12_345, "12345"],
    [999_999, "999999"],
    [999_999.4, "999999"],
    [999_999.7, "1.00M"],
    [1_000_000, "1.00M"],
    [1_234_567, "1.23M"],
    [9_994_999, "9.99M"],
    [9_995_000, "10.0M"],
    [123_456_789, "123M"],
    [999_499_999, "999M"],
    [999_500_000, "1.00G"],
    [2.5e12, "2.50T"],
    [2 ** 53, "9.01P"],
  ]);
});

Deno.test("formatQuantity() keeps three digits and carries into the next step", () => {
  check(formatQuantity, [
    [0, "0"],
    [0.25, "0.25"],
    [1, "1.00"],
    [9.994, "9.99"],
    [9.995, "10.0"],
    [29.71, "29.7"],
    [99.94, "99.9"],
    [99.95, "100"],
    [999.4, "999"],
    [999.5, "1.00k"],
    [999.95, "1.00k"],
    [1000, "1.00k"],
    [6240, "6.24k"],
    [99_949, "99.9k"],
    [99_950, "100k"],
    [999_499, "999k"],
    [999_500, "1.00M"],
    [1_500_000, "1.50M"],
  ]);
});

Deno.test("formatQuantity() and formatCount() are never longer than their columns", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 9e17, noNaN: true }), (value) => {
      assert(formatQuantity(value).length <= 5, formatQuantity(value));
      assert(formatCount(value).length <= 6 || value < 1e6, formatCount(value));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("formatQuantity() rises with the quantity", () => {
  const scale: Readonly<Record<string, number>> = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
  const parse = (text: string): number => parseFloat(text) * (scale[text.slice(-1)] ?? 1);
  const quantity = fc.double({ min: 0, max: 1e17, noNaN: true });
  fc.assert(
    fc.property(quantity, quantity, (a, b) => {
      const [low, high] = [Math.min(a, b), Math.max(a, b)];
      assert(parse(formatQuantity(low)) <= parse(formatQuantity(high)));
      // And it is right to three digits, or to a hundredth.
      assert(Math.abs(parse(formatQuantity(low)) - low) <= Math.max(0.0051 * low, 0.0051));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("formatPercent() shows 0 and 100 only if exact", () => {
  check(formatPercent, [
    [0, "0 %"],
    [0.0001, "<1 %"],
    [0.004_99, "<1 %"],
    [0.005, "1 %"],
    [0.014, "1 %"],
    [0.474, "47 %"],
    [0.994, "99 %"],
    [0.9949, "99 %"],
    [0.995, ">99 %"],
    [0.999_999, ">99 %"],
    [1, "100 %"],
    [1.5, "150 %"],
  ]);
});

Deno.test("formatLatency() changes from milliseconds to seconds without a gap", () => {
  check(formatLatency, [
    [0, "0.00 ms"],
    [0.000_45, "0.45 ms"],
    [0.009_994, "9.99 ms"],
    [0.0462, "46.2 ms"],
    [0.099_94, "99.9 ms"],
    [0.438, "438 ms"],
    [0.9994, "999 ms"],
    [0.9995, "1.00 s"],
    [1, "1.00 s"],
    [1.684, "1.68 s"],
    [9.994, "9.99 s"],
    [9.995, "10.0 s"],
    [95, "95.0 s"],
    [99.95, "100 s"],
    [7680, "7680 s"],
  ]);
});

Deno.test("formatQuantile() shows the bound a figure lies beyond", () => {
  const format = (value: number, bound: Bound): string =>
    formatQuantile({ value, bound, interpolated: value });
  assertEquals(format(0.438, ""), "438 ms");
  assertEquals(format(0.01, "<"), "<10 ms");
  assertEquals(format(0.001, "<"), "<1 ms");
  assertEquals(format(0.025, "<"), "<25 ms");
  assertEquals(format(0.3, "<"), "<300 ms");
  assertEquals(format(2.5, ">"), ">2.5 s");
  assertEquals(format(80, ">"), ">80 s");
  assertEquals(format(7680, ">"), ">7680 s");
});

Deno.test("formatElapsed() says no duration of 0 s", () => {
  assertEquals(formatElapsed("for ", 65), "for 1m 05s");
  for (const span of [0, 0.99, -3]) assertEquals(formatElapsed("for ", span), "");
});

Deno.test("formatDuration() has the two largest units", () => {
  check(formatDuration, [
    [0, "0s"],
    [-5, "0s"],
    [58.9, "58s"],
    [59.999, "59s"],
    [60, "1m 00s"],
    [65, "1m 05s"],
    [3599.9, "59m 59s"],
    [3600, "1h 00m"],
    [11_220, "3h 07m"],
    [86_399, "23h 59m"],
    [86_400, "1d 00h"],
    [3 * 86_400 + 4 * 3600 + 59 * 60, "3d 04h"],
  ]);
});

Deno.test("formatBytes() counts in steps of 1024", () => {
  check(formatBytes, [
    [0, "0 B"],
    [512, "512 B"],
    [1023, "1023 B"],
    [1023.7, "1.00 KiB"],
    [1024, "1.00 KiB"],
    [62_669, "61.2 KiB"],
    [1_048_063, "1023 KiB"],
    [1_048_064, "1.00 MiB"],
    [1_048_575, "1.00 MiB"],
    [1_048_576, "1.00 MiB"],
    [2_736_783, "2.61 MiB"],
  ]);
});

Deno.test("formatInterval() shows the configured value", () => {
  check(formatInterval, [[2, "2 s"], [0.5, "0.5 s"], [0.1 + 0.2, "0.3 s"], [60, "60 s"]]);
});

const anyMillisecond = fc.integer({ min: 0, max: 4_102_444_800_000 });

Deno.test("formatTimestamp() agrees with the runtime's calendar", () => {
  const examples = [
    "1970-01-01T00:00:00.000Z",
    "2000-02-29T23:59:59.999Z",
    "2024-02-29T12:00:00.001Z",
    "2024-12-31T23:59:59.999Z",
    "2026-11-22T14:02:11.250Z",
    "2100-02-28T23:59:59.999Z",
    "2100-03-01T00:00:00.000Z",
  ];
  for (const text of examples) assertEquals(formatTimestamp(Date.parse(text) / 1000), text);
  fc.assert(
    fc.property(anyMillisecond, (milliseconds) => {
      assertEquals(formatTimestamp(milliseconds / 1000), new Date(milliseconds).toISOString());
    }),
    { numRuns: 1000 },
  );
});

Deno.test("formatClock() uses the UTC offset, across midnight", () => {
  const time = Date.parse("2026-11-22T23:30:05.9Z") / 1000;
  assertEquals(formatClock(time, 0), "23:30:05");
  assertEquals(formatClock(time, 3600), "00:30:05");
  assertEquals(formatClock(time, -5 * 3600), "18:30:05");
  assertEquals(formatClock(time, 5.75 * 3600), "05:15:05");
  assertEquals(formatClock(1800, -3600), "23:30:00");
  fc.assert(fc.property(anyMillisecond, (milliseconds) => {
    const expected = new Date(milliseconds).toISOString().slice(11, 19);
    assertEquals(formatClock(milliseconds / 1000, 0), expected);
  }));
});

Deno.test("formatMoney() shows cents below 100, and fewer digits above", () => {
  check((amount) => formatMoney(amount, "$"), [
    [0, "$0.00"],
    [0.000041234, "$0.000041"],
    [0.0412, "$0.041"],
    [0.0994, "$0.099"],
    [0.0999, "$0.10"],
    [0.1, "$0.10"],
    [0.104, "$0.10"],
    [13.562, "$13.56"],
    [99.994, "$99.99"],
    [99.995, "$100"],
    [573.6, "$574"],
    [999.994, "$1000"],
    [999.995, "$1.00k"],
    [17_222.4, "$17.2k"],
    [-13.562, "-$13.56"],
  ]);
  assertEquals(formatMoney(2.5, "USD"), "USD 2.50");
  assertEquals(formatMoney(2.5, "€"), "€2.50");
});

Deno.test("formatPower(), formatTemperature(), formatClockRate() and formatGibibytes() show their units", () => {
  check(formatPower, [[0, "0 W"], [689.6, "690 W"], [1200, "1200 W"]]);
  check(formatTemperature, [[-3, "-3 °C"], [65.5, "66 °C"]]);
  check(formatClockRate, [[0, "0 MHz"], [1_980_000_000, "1980 MHz"]]);
  check(formatGibibytes, [[0, "0.00"], [2 ** 33, "8.00"], [72.04 * 2 ** 30, "72.0"]]);
});
