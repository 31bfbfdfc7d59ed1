/**
 * All panels, in the order of their importance.
 *
 * Layer 4, pure. What each shows is its own module's part.
 *
 * @module
 */

import { createBalancePanel } from "./balance_panel.ts";
import { type Bill, hasBill } from "./bill.ts";
import { createCostPanel } from "./cost_panel.ts";
import { createEventsPanel } from "./events_panel.ts";
import type { Paint } from "./frame.ts";
import { createGpuPanel, hasGpuNews } from "./gpu_panel.ts";
import { createLatencyPanel } from "./latency_panel.ts";
import type { Overview } from "./overview.ts";
import type { Panel } from "./panel.ts";
import type { State } from "./state.ts";
import { createTotalsPanel } from "./totals_panel.ts";
import { createTrendPanel } from "./trend_panel.ts";
import { PANEL_IDS, type PanelId } from "./ui.ts";

/** The identities of the panels that `createPanels` gives. */
export function listPanelIds(state: State): readonly PanelId[] {
  return PANEL_IDS.filter((id) => {
    if (id === "gpus") return hasGpuNews(state);
    return id !== "cost" || hasBill(state);
  });
}

/** All panels that have something to show, in the order of their importance. Overview and bill are the state's. */
export function createPanels(
  overview: Overview,
  state: State,
  { bill, paint }: { readonly bill: Bill; readonly paint: Paint },
): readonly Panel[] {
  const panels = [
    createEventsPanel(overview, state, paint),
    createBalancePanel(overview, state, paint),
    createGpuPanel(overview, state, paint),
    createLatencyPanel(overview),
    createCostPanel(bill, state, paint),
    createTrendPanel(overview, paint),
    createTotalsPanel(overview, state),
  ];
  return panels.filter((panel) => panel !== null);
}
