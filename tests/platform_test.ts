import { assertEquals } from "@std/assert";
import { finishSteps, finishStepsWithPauses, type Steps } from "../lib/platform.ts";

function* countTo(end: number, log: string[]): Steps<number> {
  for (let i = 1; i <= end; i++) {
    log.push(`${i}`);
    if (i < end) yield;
  }
  return end;
}

Deno.test("finishSteps() runs all steps at once", () => {
  const log: string[] = [];
  assertEquals(finishSteps(countTo(3, log)), 3);
  assertEquals(log, ["1", "2", "3"]);
});

Deno.test("finishStepsWithPauses() lets other work run between steps", async () => {
  const log: string[] = [];
  const result = finishStepsWithPauses(countTo(3, log), () => {
    log.push("pause");
    return Promise.resolve();
  });
  assertEquals(log, ["1", "pause"]);
  assertEquals(await result, 3);
  assertEquals(log, ["1", "pause", "2", "pause", "3"]);
});
