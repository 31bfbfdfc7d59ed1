import { assertEquals } from "@std/assert";
import { type Replay, update } from "../lib/state.ts";
import { createUi } from "../lib/state_ui.ts";
import { renderHelp } from "../lib/view_help.ts";
import { createPaint } from "../lib/view_theme.ts";
import { describeTape, listTapeRemarks } from "../lib/view_tape.ts";
import { startState } from "./fixtures/expositions.ts";

const STATE = startState([], { interval: 2 });

function replay(changes: Partial<Replay>): string {
  const known: Replay = { speed: 10, status: "playing", remarks: [], ...changes };
  const at = update(STATE, { kind: "clock", now: 5, nowEpoch: 1_795_300_000 });
  return describeTape(update(at, { kind: "tape", changes: { replay: known } })).text;
}

Deno.test("describeTape() tells how a recording is replayed, and its time", () => {
  assertEquals(replay({}), "▸ replay 10x, 22:26:40");
  assertEquals(replay({ speed: Infinity }), "▸ replay at full speed, 22:26:40");
  assertEquals(replay({ status: "paused" }), "replay paused, 22:26:40");
  assertEquals(replay({ status: "seeking" }), "▸▸ replay, 22:26:40");
  assertEquals(replay({ status: "over" }), "end of replay, 22:26:40");
});

Deno.test("describeTape() tells the size of a recording, and that it has stopped", () => {
  assertEquals(describeTape(STATE).text, "");
  const growing = update(STATE, {
    kind: "tape",
    changes: { tape: { bytes: 3_000_000, problem: null } },
  });
  assertEquals(describeTape(growing).text, "● 2.86 MiB recorded");
  const tape = { bytes: 9, problem: 'the recording "r" cannot be written' };
  const stopped = update(STATE, { kind: "tape", changes: { tape } });
  assertEquals(describeTape(stopped), { text: "recording stopped", meaning: "alert" });
  assertEquals(listTapeRemarks(stopped), [{ text: tape.problem, meaning: "alert" }]);
});

Deno.test("listTapeRemarks() tells what is missing of a recording", () => {
  const known: Replay = { speed: 1, status: "over", remarks: ["its beginning is missing"] };
  const state = update(STATE, { kind: "tape", changes: { replay: known } });
  assertEquals(listTapeRemarks(state).map(({ text }) => text), [
    "the recording: its beginning is missing",
  ]);
});

Deno.test("renderHelp() has the keys of a replay only in one", () => {
  const options = { width: 400, paint: createPaint(null) };
  const find = (isReplay: boolean): boolean =>
    renderHelp(createUi(), { ...options, isReplay }).some((line) => line.includes("next event"));
  assertEquals([find(true), find(false)], [true, false]);
});
