import { assertEquals } from "@std/assert";
import { sumCounts } from "../lib/model.ts";

Deno.test("sumCounts() adds up all children, and none where there is no family", () => {
  const family = new Map([["a", 70], ["b", 30]]);
  assertEquals([family, new Map(), undefined].map(sumCounts), [100, 0, 0]);
});
