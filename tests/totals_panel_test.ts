import { assert, assertEquals, assertMatch } from "@std/assert";
import { createOverview } from "../lib/overview.ts";
import type { State } from "../lib/state.ts";
import { createTotalsPanel, describePeak } from "../lib/totals_panel.ts";
import { NO_PEAKS } from "../lib/tally.ts";
import { watchToTheEnd } from "./fixtures/described_fleet.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const SERVES = "serves 2 req/s, 100 tokens, ttft 0.2, itl 0.02, running 5, kv 0.3";

function draw(state: State): readonly string[] {
  const panel = createTotalsPanel(createOverview(state), state);
  return [panel.title, ...panel.draw({ width: 120, lines: panel.minLines })];
}

Deno.test("createTotalsPanel() has sums since the start and since watching began", () => {
  const [, heading, requests, prompt, output] = draw(watchToTheEnd(`0 a b ${SERVES}\nuntil 100`));
  assertMatch(heading, /since start +watched/);
  assertMatch(requests, /^Requests +\d+ +400 +Peak running +10 +\d\d:\d\d:\d\d$/);
  assertMatch(prompt, /^Prompt tokens +\S+ +120000 +Peak waiting +0/);
  assertMatch(output, /^Output tokens +\S+ +40000 +Peak KV +30 %/);
});

Deno.test("createTotalsPanel() tells how old the servers are, and why requests ended", () => {
  const lines = draw(watchFleet(2));
  assertMatch(lines[0], /^TOTALS of servers up for \d+m \d\ds$/);
  assertMatch(lines.at(-1) ?? "", /^Finished by: stop \d+ {2}length \d+/);
});

Deno.test("describePeak() has a dash where there was no value, and no time of 0", () => {
  assertEquals(describePeak("running", NO_PEAKS, 0), ["Peak running", "—", ""]);
  const peak = { value: 0.5, at: 3, atEpoch: 3661 };
  const peaks = { ...NO_PEAKS, kvCacheUsageRatio: peak };
  assertEquals(describePeak("kvCacheUsageRatio", peaks, 0), ["Peak KV", "50 %", "01:01:01"]);
  assert(describePeak("kvCacheUsageRatio", peaks, 3600)[2] === "02:01:01");
  const none = { ...NO_PEAKS, waiting: { ...peak, value: 0 } };
  assertEquals(describePeak("waiting", none, 0), ["Peak waiting", "0", ""]);
});
