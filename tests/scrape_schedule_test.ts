import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  computeBackOff,
  getInterval,
  isNotablySlower,
  isOfNewestPoll,
  MAX_BACK_OFF,
  MAX_SCRAPE_SHARE,
  notePoll,
  type Schedule,
  startSchedule,
} from "../lib/scrape_schedule.ts";

/** The starts of scrapes that take so long each, asked as early as they may be. */
function poll(
  durations: readonly number[],
  interval: number,
): { starts: number[]; schedule: Schedule } {
  let schedule = startSchedule();
  let at = 0;
  const starts: number[] = [];
  for (const duration of durations) {
    starts.push(at);
    schedule = notePoll(schedule, { endedAt: at + duration, duration, hasFailed: false });
    at += Math.max(getInterval(schedule, interval), duration);
  }
  return { starts, schedule };
}

function gaps(starts: readonly number[]): number[] {
  return starts.slice(1).map((start, i) => start - starts[i]);
}

Deno.test("readInterval() is the interval where scrapes are cheap", () => {
  for (const interval of [0.5, 2, 60]) {
    const cheap = Array(50).fill(interval * MAX_SCRAPE_SHARE * 0.99);
    const { starts } = poll(cheap, interval);
    for (const gap of gaps(starts)) assertAlmostEquals(gap, interval, 1e-9);
  }
});

Deno.test("readInterval() spreads the scrapes of a large server out", () => {
  const { starts, schedule } = poll(Array(6).fill(0.5), 2);
  // The second comes at the interval, so that there are rates; then half a second in ten.
  assertEquals(gaps(starts).map((gap) => Math.round(gap)), [2, 8, 10, 10, 10]);
  assertAlmostEquals(getInterval(schedule, 2), 10, 1e-9);
  assertEquals(getInterval(schedule, 60), 60);
});

Deno.test("readInterval() makes one pause after a hiccup, and is as before after it", () => {
  const { starts } = poll([0.01, 0.01, 1, 0.01, 0.01, 0.01], 2);
  const [, , pause, ...after] = gaps(starts);
  assert(pause > 5 && pause < 20, `${pause}`);
  for (const gap of after) assertAlmostEquals(gap, 2, 1e-9);
});

Deno.test("notePoll() holds scrapes to their share of all time, however long they take", () => {
  const durations = fc.array(fc.double({ min: 0, max: 5, noNaN: true }), { minLength: 1 });
  fc.assert(fc.property(durations, fc.constantFrom(0.5, 2, 30), (spans, interval) => {
    const { starts, schedule } = poll(spans, interval);
    const end = (starts.at(-1) ?? 0) + getInterval(schedule, interval);
    const used = spans.reduce((sum, span) => sum + span, 0);
    assert(used <= MAX_SCRAPE_SHARE * end + 0.5 + 1e-6, `${used} of ${end}`);
  }));
});

Deno.test("computeBackOff() doubles from the interval to half a minute, and begins anew", () => {
  let schedule = startSchedule();
  const fail = { endedAt: 1, duration: 0.1, hasFailed: true };
  const pauses = Array.from(
    { length: 7 },
    () => computeBackOff(schedule = notePoll(schedule, fail), 2),
  );
  assertEquals(pauses, [2, 4, 8, 16, MAX_BACK_OFF, MAX_BACK_OFF, MAX_BACK_OFF]);
  assertEquals(computeBackOff(schedule, 60), 60);
  const well = notePoll(schedule, { endedAt: 99, duration: 0.1, hasFailed: false });
  assertEquals([well.failures, computeBackOff(notePoll(well, fail), 2)], [0, 2]);
});

Deno.test("computeBackOff() is finite however often an endpoint fails", () => {
  assertEquals(computeBackOff({ ...startSchedule(), failures: 1e6 }, 0.5), MAX_BACK_OFF);
});

Deno.test("getInterval() is at least the pace of those that go the same way", () => {
  assertEquals(getInterval(startSchedule(), 2), 2);
  assertEquals(getInterval(startSchedule(3), 2), 3);
  assertEquals(getInterval(startSchedule(3), 5), 5);
  const kept = notePoll(startSchedule(3), { endedAt: 1, duration: 0.01, hasFailed: false });
  assertEquals(getInterval(kept, 2), 3);
  assertEquals([isNotablySlower(kept, 2), isNotablySlower(kept, 3)], [true, false]);
});

Deno.test("isNotablySlower() overlooks a fifth of the interval", () => {
  const paceOf = (seconds: number): Schedule => ({
    ...startSchedule(),
    credit: -seconds * MAX_SCRAPE_SHARE,
  });
  assertEquals(isNotablySlower(startSchedule(), 2), false);
  for (const [seconds, isSlower] of [[2, false], [2.3, false], [2.5, true], [10, true]] as const) {
    assertEquals(isNotablySlower(paceOf(seconds), 2), isSlower, `${seconds}`);
  }
});

Deno.test("isOfNewestPoll() leaves an answer its time", () => {
  assertEquals([0, 2, 3, 3.01, 60].map((age) => isOfNewestPoll(age, 2)), [
    ...[true, true, true],
    ...[false, false],
  ]);
});
