import { assert, assertEquals, assertMatch } from "@std/assert";
import { createPaint } from "../lib/frame.ts";
import { createBill } from "../lib/bill.ts";
import { createOverview } from "../lib/overview.ts";
import type { Panel } from "../lib/panel.ts";
import { createPanels, listPanelIds } from "../lib/panels.ts";
import { NO_PRICING } from "../lib/pricing.ts";
import type { State } from "../lib/state.ts";
import { PANEL_IDS } from "../lib/ui.ts";
import { createEndpoint, startState } from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import { failGpus, sampleGpus } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const plain = createPaint(null);

function create(state: State): readonly Panel[] {
  const overview = createOverview(state);
  return createPanels(overview, state, { bill: createBill(overview, state), paint: plain });
}

Deno.test("createPanels() has every panel, in the order of importance", () => {
  for (const state of [startState([]), watchFleet(1), watchTroubledFleet()]) {
    const ids = create(state).map(({ id }) => id);
    assertEquals(ids, PANEL_IDS.filter((id) => id !== "gpus" && id !== "cost"));
    const all = create(sampleGpus(state, [readGpus("l4.tsv")]));
    const isPriced = state.endpoints.length > 0;
    assertEquals(all.map(({ id }) => id), PANEL_IDS.filter((id) => id !== "cost" || isPriced));
  }
});

Deno.test("listPanelIds() names the panels that there are, without drawing them", () => {
  const silent = watchFleet(1);
  const priced = { ...silent, pricing: { ...NO_PRICING, usdPerGpuHour: 2 } };
  for (const bare of [startState([]), silent, priced, watchTroubledFleet()]) {
    const absent = failGpus(bare, "absent", "there is none");
    const failed = failGpus(bare, "timeout", "it does not end");
    const sampled = sampleGpus(bare, [readGpus("l4.tsv")]);
    for (const state of [bare, absent, { ...absent, asksForGpus: true }, failed, sampled]) {
      assertEquals(listPanelIds(state), create(state).map(({ id }) => id));
    }
  }
});

Deno.test("createPanels() draws no more than it is given, and no less than it asks for", () => {
  const eight = sampleGpus(watchFleet(4), [readGpus("h100x8.tsv")]);
  for (const state of [watchFleet(1), watchFleet(4), watchTroubledFleet(), eight]) {
    for (const panel of create(state)) {
      for (const lines of [panel.minLines, panel.minLines + 3, panel.maxLines, 60]) {
        const drawn = panel.draw({ width: 100, lines });
        assert(drawn.length <= panel.maxLines, panel.id);
        // One whose summary says all is drawn when it is asked for.
        assert(drawn.length <= Math.max(lines, panel.minLines, 1), panel.id);
      }
      assert(panel.summary !== "", panel.id);
    }
  }
});

Deno.test("createPanels() has dashes and no zero before the first answer", () => {
  const [events, balance, latency, trend, totals] = create(startState([createEndpoint(8000)]));
  assertEquals([events.summary, balance.summary], ["none", "no two replicas to compare"]);
  const draw = (panel: Panel) => panel.draw({ width: 100, lines: panel.minLines });
  for (const line of draw(latency).slice(1)) assertMatch(line, /^\S+( +—){6}$/);
  for (const line of draw(trend)) assertMatch(line, /—$/);
  for (const line of draw(totals)) assert(!/\d/.test(line), line);
  for (const { summary } of [latency, trend, totals]) assert(summary.endsWith("—"), summary);
});
