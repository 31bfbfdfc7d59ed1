import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  adjustProbabilities,
  chooseBlockCount,
  divideParts,
  MIN_COMPARED_SPAN,
  type Part,
  testQuotients,
  testShare,
} from "../lib/stats_blocks.ts";

function listParts(amounts: readonly number[], base = 1): readonly Part[] {
  return amounts.map((amount) => ({ amount: base * amount, base }));
}

/** High and low values in turns: neighbours are not alike. */
function alternate(values: readonly number[]): readonly number[] {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted.map((_, i) => i % 2 === 0 ? sorted[i >> 1] : sorted[sorted.length - 1 - (i >> 1)]);
}

// The first example of https://en.wikipedia.org/wiki/Welch%27s_t-test: p = 0.021.
const ONE = [
  ...[27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4],
];
const OTHER = [
  ...[27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4],
];

Deno.test("testQuotients() is Welch's test where blocks weigh the same and are not alike", () => {
  const p = testQuotients(listParts(alternate(ONE)), listParts(alternate(OTHER)));
  assertAlmostEquals(p ?? NaN, 0.021, 5e-4);
  // Whatever a block weighs.
  const heavy = testQuotients(listParts(alternate(ONE), 7), listParts(alternate(OTHER), 7));
  assertAlmostEquals(heavy ?? NaN, p ?? NaN, 1e-12);
});

Deno.test("testQuotients() finds less where neighbouring blocks are alike", () => {
  const sort = (values: readonly number[]) => listParts(values.toSorted((a, b) => a - b));
  const p = testQuotients(sort(ONE), sort(OTHER)) ?? 0;
  assert(p > 0.1, `${p}`);
});

Deno.test("testQuotients() compares quotients of sums, not means of quotients", () => {
  // One second a request, whatever the number of requests.
  const requests = [1, 900, 3, 800, 2, 900, 1, 800, 5, 900, 2, 800];
  const even = requests.map((base) => ({ amount: base, base }));
  assertEquals(divideParts(even), 1);
  // The slow requests of blocks with few of them do not weigh.
  const odd = requests.map((base) => ({ amount: base < 10 ? 5 * base : base, base }));
  assert((testQuotients(even, odd) ?? 0) > 0.05);
});

Deno.test("testQuotients() tells nothing of too few blocks, and of equal ones", () => {
  const long = listParts(alternate(ONE));
  assertEquals(testQuotients(long, listParts([1, 2, 3, 4])), null);
  // One block has nearly all.
  const lopsided = [{ amount: 1e6, base: 1e6 }, ...long.slice(0, 9)];
  assertEquals(testQuotients(long, lopsided), null);
  assertEquals(testQuotients(long, long.map(() => ({ amount: 0, base: 0 }))), null);
  assertEquals(testQuotients(long, long), 1);
  const flat = listParts(Array(10).fill(0.5));
  assertEquals(testQuotients(flat, flat.map(({ amount }) => ({ amount, base: 1 + 1e-12 }))), 1);
  assert((testQuotients(flat, listParts(Array(10).fill(0.6))) ?? 1) < 1e-99);
});

Deno.test("testShare() is no surer than so many independent observations", () => {
  const all = Array.from({ length: 10 }, () => ({ amount: 6, base: 6 }));
  // All of 60 are within what 95 % are.
  assertAlmostEquals(testShare(all, 0.95) ?? NaN, 2 * 0.95 ** 60, 1e-12);
  const none = all.map(({ base }) => ({ amount: 0, base }));
  assert((testShare(none, 0.95) ?? 1) < 1e-9);
  const half = all.map((_, i) => ({ amount: i % 2 === 0 ? 2 : 4, base: 6 }));
  assertEquals(testShare(half, 0.5), 1);
  assertEquals(testShare(all.slice(0, 4), 0.95), null);
});

Deno.test("adjustProbabilities() is Holm's procedure, and leaves out what was not tested", () => {
  // Wikipedia's example of the Holm-Bonferroni method.
  const adjusted = adjustProbabilities([0.01, null, 0.04, 0.03, 0.005]);
  assertEquals(adjusted.map((p) => p === null ? null : Number(p.toFixed(6))), [
    ...[0.03, null, 0.06, 0.06, 0.02],
  ]);
  assertEquals(adjustProbabilities([0.9, 0.8]), [1, 1]);
  assertEquals(adjustProbabilities([0.02, 0.02]), [0.04, 0.04]);
});

Deno.test("chooseBlockCount() makes 10 to 20 blocks, of a minute where the span is long enough", () => {
  assertEquals(
    [0, MIN_COMPARED_SPAN - 1, MIN_COMPARED_SPAN, 600, 899, 1800, 86_400].map(chooseBlockCount),
    [0, 0, 10, 10, 14, 20, 20],
  );
});
