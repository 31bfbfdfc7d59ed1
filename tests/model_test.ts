import { assertEquals } from "@std/assert";
import { countComputedTokens, getCachedTokens, sumCounts } from "../lib/model.ts";
import { absent, present } from "../lib/reading.ts";

const BY_SOURCE = new Map([
  ["local_compute", 70],
  ["local_cache_hit", 20],
  ["external_kv_transfer", 10],
]);

Deno.test("sumCounts() adds up all children, and none where there is no family", () => {
  assertEquals([BY_SOURCE, new Map(), undefined].map(sumCounts), [100, 0, 0]);
});

Deno.test("getCachedTokens() counts what was not computed, or else takes the counter", () => {
  assertEquals(getCachedTokens(BY_SOURCE, present(5)), present(30));
  assertEquals(getCachedTokens(new Map([["local_cache_hit", 7]]), absent("missing")), present(7));
  assertEquals(getCachedTokens(undefined, present(5)), present(5));
  assertEquals(getCachedTokens(undefined, absent("missing")), absent("missing"));
});

Deno.test("countComputedTokens() is 0 where all came from a cache", () => {
  assertEquals(countComputedTokens(BY_SOURCE), 70);
  assertEquals(countComputedTokens(new Map([["local_cache_hit", 7]])), 0);
});
