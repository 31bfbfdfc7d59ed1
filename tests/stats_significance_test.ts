import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  computeBinomialTail,
  computeMedian,
  computeStudentTail,
} from "../lib/stats_significance.ts";

function isRelativelyClose(actual: number, expected: number): boolean {
  return Math.abs(actual - expected) <= 1e-9 * Math.abs(expected);
}

/** Term by term; exact enough for few trials. */
function addTerms(successes: number, trials: number, probability: number): number {
  let sum = 0;
  for (let k = successes; k <= trials; k++) {
    let term = 1;
    for (let i = 1; i <= k; i++) term *= (trials - k + i) / i * probability;
    sum += term * (1 - probability) ** (trials - k);
  }
  return sum;
}

Deno.test("computeMedian() is the middle value, NaN without values", () => {
  assertEquals(computeMedian([30, 1, 2]), 2);
  assertEquals(computeMedian([3, NaN, 1]), 2);
  assert(Number.isNaN(computeMedian([])));
  assert(Number.isNaN(computeMedian([NaN])));
});

Deno.test("computeBinomialTail() equals the sum of its terms", () => {
  for (const trials of [1, 2, 7, 20, 60]) {
    for (const probability of [1 / 8, 0.25, 0.5, 0.9]) {
      for (let successes = 1; successes <= trials; successes++) {
        const expected = addTerms(successes, trials, probability);
        const actual = computeBinomialTail(successes, { trials, probability });
        assert(isRelativelyClose(actual, expected), `${successes}/${trials} at ${probability}`);
      }
    }
  }
});

Deno.test("computeBinomialTail() is precise far out", () => {
  // Summed with Python's fractions.Fraction.
  const cases: readonly (readonly [number, number, number, number])[] = [
    [30, 60, 1 / 4, 2.6694272174083783e-5],
    [700, 3000, 1 / 8, 6.119265442658655e-60],
  ];
  for (const [successes, trials, probability, expected] of cases) {
    const actual = computeBinomialTail(successes, { trials, probability });
    assert(isRelativelyClose(actual, expected), `${actual}`);
  }
});

Deno.test("computeBinomialTail() handles edge cases", () => {
  assertEquals(computeBinomialTail(0, { trials: 0, probability: 0.5 }), 1);
  assertEquals(computeBinomialTail(0, { trials: 9, probability: 0.5 }), 1);
  assertEquals(computeBinomialTail(10, { trials: 9, probability: 0.5 }), 0);
  assertEquals(computeBinomialTail(1, { trials: 9, probability: 0 }), 0);
  assertEquals(computeBinomialTail(9, { trials: 9, probability: 1 }), 1);
  assertThrows(() => computeBinomialTail(1, { trials: 9, probability: 1.1 }), RangeError);
  assertThrows(() => computeBinomialTail(-1, { trials: 9, probability: 0.5 }), RangeError);
  assertThrows(() => computeBinomialTail(NaN, { trials: 9, probability: 0.5 }), RangeError);
});

Deno.test("computeBinomialTail() falls with the successes, and its complement adds up to 1", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 2000 }),
    fc.double({ min: 0.01, max: 0.99, noNaN: true }),
    fc.double({ min: 0, max: 1, noNaN: true }),
    (trials, probability, place) => {
      const successes = Math.max(1, Math.floor(place * trials));
      const tail = computeBinomialTail(successes, { trials, probability });
      assert(tail >= 0 && tail <= 1 + 1e-12);
      if (successes > 1) {
        assert(computeBinomialTail(successes - 1, { trials, probability }) >= tail - 1e-12);
      }
      // Failures are binomial, too.
      const rest = computeBinomialTail(trials - successes + 1, {
        trials,
        probability: 1 - probability,
      });
      assertAlmostEquals(tail + rest, 1, 1e-9);
    },
  ));
});

Deno.test("computeStudentTail() matches published tables", () => {
  // One-sided critical values of t.
  const cases: readonly (readonly [number, number, number])[] = [
    [6.314, 1, 0.05],
    [2.015, 5, 0.05],
    [4.144, 10, 0.001],
    [12.924, 3, 0.0005],
    [3.2905, 100_000, 0.0005],
  ];
  for (const [t, degrees, expected] of cases) {
    const actual = computeStudentTail(t, degrees);
    assert(Math.abs(actual / expected - 1) < 2e-3, `${t}, ${degrees}: ${actual}`);
  }
  // With one degree of freedom: Cauchy, 1/2 − arctan(t) / π.
  for (const t of [-50, -1, 0, 0.1, 3, 1000]) {
    assertAlmostEquals(computeStudentTail(t, 1), 0.5 - Math.atan(t) / Math.PI, 1e-12);
  }
});

Deno.test("computeStudentTail() handles edge cases", () => {
  assertEquals(computeStudentTail(Infinity, 5), 0);
  assertEquals(computeStudentTail(-Infinity, 5), 1);
  assertEquals(computeStudentTail(0, 5), 0.5);
  assertThrows(() => computeStudentTail(1, 0), RangeError);
});
