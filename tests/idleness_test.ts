import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { continueIdleness, NO_IDLENESS } from "../lib/idleness.ts";
import { readEngine, type Series, writeEngine } from "./fixtures/expositions.ts";

const engine = (running: number | null, tokens: number, waiting = 0) => {
  const gauges: readonly Series[] = running === null
    ? []
    : [["num_requests_running", running], ["num_requests_waiting", waiting]];
  return readEngine(writeEngine([...gauges, ["generation_tokens_total", tokens]]));
};

Deno.test("continueIdleness() counts time in which nothing ran and nothing was counted", () => {
  const rests = engine(0, 7);
  const known = continueIdleness(NO_IDLENESS, { before: rests, now: rests, span: 2 });
  assertEquals(known, { watched: 2, idle: 2 });
  assertEquals(continueIdleness(known, { before: rests, now: rests, span: 3 }), {
    watched: 5,
    idle: 5,
  });
});

Deno.test("continueIdleness() takes for busy what ran, waited or was counted between", () => {
  for (
    const [before, now] of [
      [engine(1, 7), engine(0, 7)],
      [engine(0, 7), engine(1, 7)],
      [engine(0, 7), engine(0, 7, 1)],
      [engine(0, 7), engine(0, 8)],
    ]
  ) {
    assertEquals(continueIdleness(NO_IDLENESS, { before, now, span: 2 }), { watched: 2, idle: 0 });
  }
});

Deno.test("continueIdleness() does not count what nobody knows", () => {
  const rests = engine(0, 7);
  const mute = engine(null, 7);
  for (
    const step of [
      { before: undefined, now: rests, span: 2 },
      { before: rests, now: mute, span: 2 },
      { before: rests, now: rests, span: 0 },
      { before: rests, now: rests, span: -1 },
      { before: rests, now: rests, span: -Infinity },
    ]
  ) {
    assertEquals(continueIdleness(NO_IDLENESS, step), NO_IDLENESS);
  }
});

Deno.test("continueIdleness() never has more idle than watched time", () => {
  const steps = fc.array(fc.tuple(fc.nat({ max: 1 }), fc.nat({ max: 1 }), fc.nat({ max: 9 })));
  fc.assert(fc.property(steps, (all) => {
    let known = NO_IDLENESS;
    let before = engine(0, 0);
    let tokens = 0;
    for (const [running, more, span] of all) {
      const now = engine(running, tokens += more);
      const next = continueIdleness(known, { before, now, span });
      assert(next.idle >= known.idle && next.watched >= known.watched);
      assert(next.idle <= next.watched);
      [known, before] = [next, now];
    }
  }));
});
