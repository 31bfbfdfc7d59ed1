import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  appendVector,
  createVectorLog,
  measureLog,
  readVectors,
  trimLog,
} from "../lib/stats_deltas.ts";

function pack(vectors: readonly (readonly number[])[]) {
  const log = createVectorLog();
  for (const vector of vectors) appendVector(log, Float64Array.from(vector));
  trimLog(log);
  return log;
}

function check(vectors: readonly (readonly number[])[]): void {
  const read = readVectors(pack(vectors), vectors.map(({ length }) => length));
  read.forEach((vector, i) => {
    assert(vectors[i].every((value, j) => Object.is(value, vector[j])), `${vectors[i]} ${vector}`);
  });
}

Deno.test("readVectors() returns every vector to the bit", () => {
  const number = fc.oneof(
    fc.integer({ min: -3, max: 300 }),
    fc.double(),
    fc.constantFrom(2 ** 40, 2 ** 53, 2 ** 53 + 2, -0, 1e300, Infinity, -Infinity, NaN, 0.1),
  );
  const vectors = fc.array(fc.array(number, { minLength: 5, maxLength: 5 }), { maxLength: 8 });
  fc.assert(fc.property(vectors, check));
  fc.assert(fc.property(fc.array(fc.array(number, { maxLength: 600 }), { maxLength: 4 }), check));
});

Deno.test("appendVector() writes what is often so in less than a bit a number", () => {
  const measure = (vectors: readonly (readonly number[])[]): number => {
    const { codes, digits } = pack(vectors);
    return codes.length + digits.length;
  };
  // A request raises the 18 buckets from its own on, which is one of three.
  const buckets = Array.from({ length: 30 }, (_, i) => 100 * i);
  const grown = Array.from(
    { length: 31 },
    (_, n) =>
      buckets.map((count, i) =>
        count +
        [10, 11, 12].reduce((sum, own, k) => sum + (i < own ? 0 : Math.ceil((n - k) / 3)), 0)
      ),
  );
  check(grown);
  const first = measure(grown.slice(0, 1));
  assert((measure(grown) - first) / 30 < 4, `${(measure(grown) - first) / 30}`);
  const same = Array.from({ length: 31 }, () => buckets);
  assert((measure(same) - first) / 30 < 2, `${(measure(same) - first) / 30}`);
});

Deno.test("measureLog() counts what an open log has besides, until it is trimmed", () => {
  const log = createVectorLog();
  appendVector(log, new Float64Array(1000).fill(0.1));
  assert(measureLog(log) > 8 * 1000);
  trimLog(log);
  assertEquals(measureLog(log), log.codes.length + log.digits.length);
  assertEquals(readVectors(log, [1000])[0].every((value) => value === 0.1), true);
});
