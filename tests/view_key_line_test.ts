import { assertEquals, assertMatch } from "@std/assert";
import { type State, update } from "../lib/state.ts";
import type { Ui } from "../lib/state_ui.ts";
import { renderKeyLine } from "../lib/view_key_line.ts";
import { createPaint } from "../lib/view_theme.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";

function render(state: State, width = 300): string {
  const options = { state, output: "auto", width, paint: createPaint(null) } as const;
  return renderKeyLine(options).lines[0];
}

function choose(state: State, ui: Partial<Ui>): State {
  return { ...state, ui: { ...state.ui, ...ui } };
}

function listLabels(line: string): readonly string[] {
  return line.trim().split("  ").map((piece) => piece.split(" ").slice(1).join(" "));
}

Deno.test("renderKeyLine() shows no key that does nothing on the screen", () => {
  const ofTable = ["Sort", "Group", "Zoom", "Trouble"];
  const show = (state: State, labels: readonly string[]) =>
    labels.filter((label) => listLabels(render(state)).includes(label));
  const fleet = watchTroubledFleet();
  assertEquals(show(fleet, ofTable), ofTable);
  for (const page of ["latency", "gpus", "trends", "cost", "events"] as const) {
    assertEquals(show(choose(fleet, { page }), ofTable), [], page);
  }
  assertEquals(show(choose(fleet, { screen: "detail" }), ofTable), ["Trouble"]);
  assertEquals(show(watchFleet(2), ofTable), ["Sort", "Zoom", "Trouble"], "one model");
  const one = watchFleet(1);
  assertEquals(show(one, ofTable), [], "the only replica shows details");
  const moment = ["Moment"];
  assertEquals(show(choose(fleet, { page: "events" }), moment), moment);
  assertEquals(show(choose(one, { page: "events" }), moment), [], "no events");
  const next = ["Next"];
  assertEquals(show(choose(fleet, { screen: "detail" }), next), next);
  assertEquals(show(choose(one, { screen: "detail" }), next), []);
});

Deno.test("renderKeyLine() shows how to return to now", () => {
  const live = watchFleet(4);
  assertMatch(render(live), / Space Pause /);
  const context = {} as never;
  const paused = update(live, { kind: "command", command: "pause", context });
  assertMatch(render(paused), / Space Resume /);
  const past = update(live, { kind: "look", shown: live, step: 1 });
  assertMatch(render(past, 80), /^ \? Help {2}q Quit {2}\\ Now {2}\[ Earlier {2}\] Later {2}/);
  assertMatch(render(past), / Space Resume /);
});
