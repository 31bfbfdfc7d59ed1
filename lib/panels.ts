/**
 * All panels, in the order of their importance.
 *
 * Layer 4, pure. What each shows is its own module's part.
 *
 * @module
 */

import { createBalancePanel } from "./balance_panel.ts";
import { createCostPanel } from "./cost_panel.ts";
import { createEventsPanel } from "./events_panel.ts";
import type { Paint } from "./frame.ts";
import { createGpuPanel } from "./gpu_panel.ts";
import { createLatencyPanel } from "./latency_panel.ts";
import type { Overview } from "./overview.ts";
import type { Panel } from "./panel.ts";
import type { State } from "./state.ts";
import { createTotalsPanel } from "./totals_panel.ts";
import { createTrendPanel } from "./trend_panel.ts";

/** All panels that have something to show, in the order of their importance. */
export function createPanels(overview: Overview, state: State, paint: Paint): readonly Panel[] {
  const panels = [
    createEventsPanel(overview, state, paint),
    createBalancePanel(overview, state, paint),
    createGpuPanel(overview, state, paint),
    createLatencyPanel(overview),
    createCostPanel(overview, state, paint),
    createTrendPanel(overview, paint),
    createTotalsPanel(overview, state),
  ];
  return panels.filter((panel) => panel !== null);
}
