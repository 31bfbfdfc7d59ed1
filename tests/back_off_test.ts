import { assertEquals } from "@std/assert";
import { createBackOff } from "../lib/back_off.ts";

Deno.test("createBackOff() doubles the pause from the initial to the maximal one", () => {
  const pause = createBackOff({ initial: 5, max: 60 });
  assertEquals([1, 2, 3, 4, 5, 6].map(pause), [5, 10, 20, 40, 60, 60]);
  assertEquals(pause(0), 5);
});

Deno.test("createBackOff() is finite after any number of failures, and never above the maximum", () => {
  assertEquals(createBackOff({ initial: 0.5, max: 30 })(1e6), 30);
  assertEquals(createBackOff({ initial: 60, max: 30 })(1), 30);
});
