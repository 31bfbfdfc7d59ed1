import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { createHistogram, type Histogram } from "../lib/histogram.ts";
import { absent, present } from "../lib/reading.ts";
import { computeLatency } from "../lib/stats_percentiles.ts";

function build(counts: readonly number[], sum: number, bounds = [1, 2, 4]): Histogram {
  return createHistogram([...bounds, Infinity].map((bound, i) => [bound, counts[i]] as const), sum);
}

Deno.test("computeLatency() returns quantiles, mean and count", () => {
  const { p50, p95, p99, mean, samples } = computeLatency([present(build([10, 60, 99, 100], 180))]);
  assertEquals(p50, { value: { value: 1.8, bound: "", interpolated: 1.8 } });
  assertAlmostEquals(p95.value?.value ?? NaN, 2 + 2 * 35 / 39, 1e-12);
  assertEquals(p99, { value: { value: 4, bound: "", interpolated: 4 } });
  assertEquals(mean, { value: 1.8 });
  assertEquals(samples, { value: 100 });
});

Deno.test("computeLatency() merges buckets instead of averaging quantiles", () => {
  const fast = build([90, 100, 100, 100], 60);
  const slow = build([0, 0, 10, 10], 30);
  const { p95, samples, mean } = computeLatency([present(fast), present(slow)]);
  // 110 observations: 90, 100, 110. Rank 104.5 is 4.5 tenths into the third bucket.
  assertAlmostEquals(p95.value?.value ?? NaN, 2 + 2 * 0.45, 1e-12);
  const own = [fast, slow].map((one) => computeLatency([present(one)]).p95.value?.value ?? NaN);
  assert(Math.abs((own[0] + own[1]) / 2 - 2.9) > 0.1, "the mean of both is another figure");
  assertEquals(samples, { value: 110 });
  assertEquals(mean, { value: 90 / 110 });
});

Deno.test("computeLatency() refuses to merge different bounds", () => {
  const one = present(build([1, 2, 3, 4], 5));
  const other = present(build([1, 2, 3, 4], 5, [1, 2, 8]));
  const figures = computeLatency([one, other]);
  for (const reading of Object.values(figures)) assertEquals(reading, absent("bounds_differ"));
});

Deno.test("computeLatency() is no_samples without observations", () => {
  const figures = computeLatency([present(build([0, 0, 0, 0], 0))]);
  assertEquals(figures, {
    p50: absent("no_samples"),
    p95: absent("no_samples"),
    p99: absent("no_samples"),
    mean: absent("no_samples"),
    samples: { value: 0 },
  });
});

Deno.test("computeLatency() skips absent histograms, and is absent with their reason if all are", () => {
  const known = present(build([1, 2, 3, 4], 5));
  const whole = computeLatency([known]);
  // A lower bound: the observations that are present.
  assertEquals(computeLatency([absent("restarted"), known]), {
    ...whole,
    samples: { value: 4, partial: true },
  });
  assertEquals(computeLatency([absent("missing"), known]), whole);
  assertEquals(computeLatency([absent("restarted"), absent("missing")]).p95, absent("restarted"));
  assertEquals(computeLatency([]).p95, absent("missing"));
});

Deno.test("computeLatency() needs a sum for the mean and +Inf for quantiles", () => {
  const { p50, mean } = computeLatency([present(build([1, 2, 3, 4], NaN))]);
  assertEquals(mean, absent("missing"));
  assert(p50.value !== null);
  const open = createHistogram([[1, 4], [2, 9]], 12);
  assertEquals(computeLatency([present(open)]).p50, absent("unsupported"));
});

Deno.test("computeLatency() of several replicas equals that of their pooled observations", () => {
  const bounds = [0.01, 0.1, 1, 10];
  const observations = fc.array(
    fc.array(fc.double({ min: 0.001, max: 100, noNaN: true }), { minLength: 1, maxLength: 20 }),
    { minLength: 1, maxLength: 4 },
  );
  const observe = (all: readonly number[]): Histogram =>
    build(
      [...bounds, Infinity].map((bound) => all.filter((one) => one <= bound).length),
      0,
      bounds,
    );
  fc.assert(fc.property(observations, (parts) => {
    const merged = computeLatency(parts.map((part) => present(observe(part))));
    assertEquals(merged, computeLatency([present(observe(parts.flat()))]));
  }));
});
