import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createLatencyPanel, LATENCY_TITLES } from "../lib/latency_panel.ts";
import { createOverview } from "../lib/overview.ts";
import { measureWidth } from "../lib/text.ts";
import { watchFleet } from "./fixtures/fleets.ts";

Deno.test("createLatencyPanel() shows the latency of all with the counts behind it", () => {
  const panel = createLatencyPanel(createOverview(watchFleet(2)));
  const latency = { ...panel, lines: panel.draw({ width: 84, lines: panel.minLines }) };
  assertMatch(latency.lines[0], /P50 +P95 +P99 +n +P95@1m +n@1m$/);
  assertEquals(latency.lines.length, 1 + Object.keys(LATENCY_TITLES).length);
  for (const [i, title] of Object.values(LATENCY_TITLES).entries()) {
    assert(latency.lines[i + 1].startsWith(title), latency.lines[i + 1]);
    assertStringIncludes(latency.summary, title);
  }
  // As wide as each other: figures stand below their headings.
  assertEquals(new Set(latency.lines.map(measureWidth)).size, 1);
});
