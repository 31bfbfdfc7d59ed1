import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { appendVector, createVectorLog, readVectors, trimLog } from "../lib/stats_deltas.ts";

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

Deno.test("appendVector() writes a request in a histogram in a few bytes", () => {
  const buckets = Array.from({ length: 30 }, (_, i) => 100 * i);
  const later = buckets.map((count, i) => i < 12 ? count : count + 1);
  const bytes = (vectors: readonly (readonly number[])[]): number => pack(vectors).length;
  const first = bytes([buckets]);
  assertEquals(bytes([buckets, buckets]) - first, 1);
  // How many stay, the step, and how many follow it.
  assertEquals(bytes([buckets, later]) - first, 3);
});
