import { assertEquals } from "@std/assert";
import { countComputedTokens, readCachedTokens, sumFamily } from "../lib/model.ts";
import { absent, present } from "../lib/reading.ts";

const BY_SOURCE = new Map([
  ["local_compute", 70],
  ["local_cache_hit", 20],
  ["external_kv_transfer", 10],
]);

Deno.test("sumFamily() adds up all children, and none where there is no family", () => {
  assertEquals([BY_SOURCE, new Map(), undefined].map(sumFamily), [100, 0, 0]);
});

Deno.test("readCachedTokens() counts what was not computed, or else takes the counter", () => {
  assertEquals(readCachedTokens(BY_SOURCE, present(5)), present(30));
  assertEquals(readCachedTokens(new Map([["local_cache_hit", 7]]), absent("missing")), present(7));
  assertEquals(readCachedTokens(undefined, present(5)), present(5));
  assertEquals(readCachedTokens(undefined, absent("missing")), absent("missing"));
});

Deno.test("countComputedTokens() is 0 where all came from a cache", () => {
  assertEquals(countComputedTokens(BY_SOURCE), 70);
  assertEquals(countComputedTokens(new Map([["local_cache_hit", 7]])), 0);
});
