/**
 * The pages as data: key, title, and what each draws below title and verdict. Those without
 * a drawing have a selection, and are drawn by `view_scene`: the table with its areas, and the events.
 * @module
 */

import type { State } from "./state.ts";
import type { ClickTarget, PageId } from "./state_ui.ts";
import { measureWidth } from "./text.ts";
import { type Panel, zoomPanel } from "./view_layout.ts";
import { renderGpusPage } from "./view_page_gpus.ts";
import { renderLatencyPage } from "./view_page_latency.ts";
import { renderTrendsPage } from "./view_page_trends.ts";
import { createCostPanel } from "./view_panel_cost.ts";
import { createTotalsPanel } from "./view_panels.ts";
import type { Paint } from "./view_theme.ts";

/** In cells. */
export interface PageSpace {
  readonly width: number;
  readonly lines: number;
  readonly paint: Paint;
}

export interface Page {
  readonly id: PageId;
  readonly key: string;
  readonly title: string;
  /**
   * Returns `lines` lines of at most `width` cells; more are scrolled. `null`: drawn with a
   * selection. The state may be of a past moment.
   */
  readonly render: ((state: State, space: PageSpace) => readonly string[]) | null;
}

function renderPanels(
  ...creators: readonly ((state: State, paint: Paint) => Panel | null)[]
): Page["render"] {
  return (state, { width, lines, paint }) => {
    const panels = creators.flatMap((create) => create(state, paint) ?? []);
    if (panels.length === 0) return [paint(" nothing to show", "dim")];
    const room = panels.length === 1 ? { width, lines, paint } : { width, paint };
    return panels.flatMap((panel) => [...zoomPanel(panel, room), ""]).slice(0, -1);
  };
}

export const PAGES: readonly Page[] = [
  { id: "fleet", key: "1", title: "Fleet", render: null },
  { id: "latency", key: "2", title: "Latency", render: renderLatencyPage },
  { id: "gpus", key: "3", title: "GPUs", render: renderGpusPage },
  { id: "trends", key: "4", title: "Trends", render: renderTrendsPage },
  { id: "cost", key: "5", title: "Cost", render: renderPanels(createCostPanel, createTotalsPanel) },
  { id: "events", key: "6", title: "Events", render: null },
];

/** Most titles first: all, that of the page on screen, none. */
function listTabTitles(page: PageId): readonly (readonly string[])[] {
  return [
    PAGES.map(({ key, title }) => `${key} ${title}`),
    PAGES.map(({ id, key, title }) => id === page ? `${key} ${title}` : key),
    PAGES.map(({ key }) => key),
  ];
}

const TAB_GAP = 2;

/** Tabs that fit `width`, with targets from its first cell; empty if none do. */
export function renderTabs(
  page: PageId,
  { width, paint }: { readonly width: number; readonly paint: Paint },
): { readonly text: string; readonly width: number; readonly targets: readonly ClickTarget[] } {
  const measure = (titles: readonly string[]): number =>
    titles.reduce((sum, title) => sum + measureWidth(title) + TAB_GAP, -TAB_GAP);
  const titles = listTabTitles(page).find((choice) => measure(choice) <= width);
  if (titles === undefined) return { text: "", width: 0, targets: [] };
  let fromColumn = 0;
  const targets = titles.map((title, i): ClickTarget => {
    const toColumn = fromColumn + measureWidth(title);
    const action = { kind: "command", command: `show_${PAGES[i].id}` } as const;
    const target = { row: 0, fromColumn, toColumn, action };
    fromColumn = toColumn + TAB_GAP;
    return target;
  });
  const text = titles.map((title, i) => paint(title, PAGES[i].id === page ? "selected" : "dim"))
    .join(" ".repeat(TAB_GAP));
  return { text, width: measure(titles), targets };
}
