/**
 * Renders the state as plain text, for `--once` and pipes.
 * @module
 */

import type { State } from "./state.ts";
import { wrapText } from "./text.ts";
import { type DetailOptions, renderDetail } from "./view_detail.ts";
import { renderDiagnosis } from "./view_diagnosis.ts";
import { renderHeader, renderProblems } from "./view_header.ts";
import { zoomPanel } from "./view_layout.ts";
import { summarizeEvents } from "./view_panels.ts";
import { listLabelNames, listVisibleRows, parseFilter } from "./view_rows.ts";
import { createCostPanel } from "./view_panel_cost.ts";
import { createGpuPanel, shouldShowGpus } from "./view_panel_gpu.ts";
import { convertSigns, type SignSet } from "./view_signs.ts";
import { type Offer, renderTable } from "./view_table.ts";
import { type ColorDepth, createPaint } from "./view_theme.ts";

export interface ViewOptions extends SignSet {
  readonly output: "auto" | "table" | "detail";
  readonly depth: ColorDepth;
  /** Default true. */
  readonly hasKeyLine?: boolean;
}

/** In cells, of text that no terminal shows. */
const PLAIN_WIDTH = 120;
/** Room for every column. */
const UNLIMITED_WIDTH = 400;

/**
 * In cells, of text that no terminal shows: that of `COLUMNS`, else 120.
 * @param options.namesColumns The user chose the columns, so none may be missing for want of room.
 */
export function choosePlainWidth(
  environment: (name: string) => string | undefined,
  { namesColumns }: { readonly namesColumns: boolean },
): number {
  const columns = environment("COLUMNS")?.trim() ?? "";
  if (/^[1-9]\d{0,4}$/.test(columns)) return Number(columns);
  return namesColumns ? UNLIMITED_WIDTH : PLAIN_WIDTH;
}

/** Figures that the table can have at all, and whether the kinds of servers differ. */
export function getOffer(state: State): Offer {
  const kinds = state.fleet.rows.flatMap(({ replica }) => replica?.sample.server.name ?? []);
  return {
    objectives: state.objectives.length > 0,
    gpus: shouldShowGpus(state),
    kinds: new Set(kinds).size > 1,
  };
}

/** Whether to show details instead of the table. */
export function choosesDetail({ fleet, ui }: State, output: ViewOptions["output"]): boolean {
  if (ui.screen === "detail") return true;
  if (ui.prefersTable || ui.page !== "fleet") return false;
  return output === "detail" || (output === "auto" && fleet.rows.length < 2);
}

function renderAllDetails(state: State, options: DetailOptions): string[] {
  const { rows } = state.fleet;
  return rows.flatMap((row) => [
    ...(rows.length > 1 ? [options.paint(row.name, "title")] : []),
    ...renderDetail(row, state, options).flat().map((line) => " " + line),
  ]);
}

/**
 * Renders filter errors, all matching rows, GPUs and cost.
 * @param options.width In cells; 120 by default.
 */
export function renderText(
  state: State,
  options: ViewOptions & { readonly width?: number },
): readonly string[] {
  const { ui, fleet } = state;
  const paint = createPaint(options.depth, ui.theme);
  const width = options.width ?? PLAIN_WIDTH;
  const problems = renderProblems(state, { width, paint });
  const isDetail = choosesDetail(state, options.output);
  const listed = listVisibleRows(fleet, ui);
  const table = {
    ...{ width, paint, ui, maxLines: Infinity },
    ...{ offer: getOffer(state), isLive: false },
  };
  const remarks = parseFilter(ui.filter, listLabelNames(fleet)).remarks.flatMap((remark) =>
    wrapText(`Filter: ${remark}`, width - 2, "  ").map((line) => " " + paint(line, "warn"))
  );
  const body = isDetail ? [...renderAllDetails(state, { paint, width }), ...problems] : [
    ...remarks,
    ...renderTable(fleet, listed, table).lines,
    ...(problems.length > 0 ? ["", ...problems] : []),
  ];
  const panels = [createGpuPanel(state, paint), createCostPanel(state, paint)]
    .filter((panel) => panel !== null)
    .flatMap((panel) => ["", ...zoomPanel(panel, { width, paint })]);
  // Without a server that is up there is no summary.
  const header = renderHeader(state, { width, paint }).filter((line) => line !== "");
  const lines = [...header, "", ...body, ...panels];
  return lines.map((line) => convertSigns(line, options).trimEnd());
}

/** Renders what stays on the terminal after exit: events, and the diagnosis that was asked for. */
export function renderSummary(state: State, options: ViewOptions): readonly string[] {
  const events = summarizeEvents(state);
  const card = state.noted === null ? [] : renderDiagnosis(state.noted);
  const gap = events.length > 0 && card.length > 0 ? [""] : [];
  return [...events, ...gap, ...card].map((line) => convertSigns(line, options));
}
