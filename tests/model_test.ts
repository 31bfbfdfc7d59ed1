import { assertEquals } from "@std/assert";
import { sumCounts } from "../lib/model.ts";

Deno.test("sumCounts() adds all children; 0 without a family", () => {
  const family = new Map([["a", 70], ["b", 30]]);
  assertEquals([family, new Map(), undefined].map(sumCounts), [100, 0, 0]);
});
