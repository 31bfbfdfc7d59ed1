/**
 * The page of what seldom changes: configuration, scrape, and every metric that the server exports.
 * @module
 */

import { listMetrics, type MetricValue } from "./model.ts";
import type { State } from "./state.ts";
import type { Row } from "./state_fleet.ts";
import { joinMetrics } from "./stats_aggregate.ts";
import { cutText } from "./text.ts";
import {
  formatBytes,
  formatCount,
  formatLatency,
  formatPercent,
  formatQuantity,
} from "./view_format.ts";
import { joinSideBySide } from "./view_layout.ts";
import { cutStyledLine, type Paint } from "./view_theme.ts";
import { type DetailOptions, renderFacts, renderSection } from "./view_detail.ts";

/** In cells. */
const MAX_INFO_WIDTH = 40;

function formatInUnit(value: number, unit: string): string {
  if (!Number.isFinite(value)) return String(value);
  switch (unit) {
    case "seconds":
      return formatLatency(value);
    case "bytes":
      return formatBytes(value);
    case "ratio":
      return formatPercent(value);
    default:
      return `${Number.isInteger(value) ? formatCount(value) : formatQuantity(value)} ${unit}`;
  }
}

function formatMetric({ info, kind, labels, value, sum }: MetricValue): string {
  const unit = info?.unit ?? "";
  if (kind === "info") return cutText(labels, MAX_INFO_WIDTH);
  if (kind !== "histogram") return formatInUnit(value, unit).trimEnd();
  const mean = sum === null || sum < 0 || value === 0
    ? ""
    : `, mean ${formatInUnit(sum / value, unit)}`;
  return `${formatCount(value)} observed${mean}`.trimEnd();
}

/** Lists every metric the replicas export, merged over engines. */
export function renderMetrics(
  rows: readonly Row[],
  { paint, width }: { readonly paint: Paint; readonly width: number },
): readonly string[] {
  const tables = rows.flatMap(({ replica }) => replica === null ? [] : [replica.sample.metrics]);
  const metrics = tables.length === 1 ? listMetrics(tables[0]) : joinMetrics(tables);
  const cells = metrics.map((metric): string[] => {
    const { name, info, kind } = metric;
    const labels = kind === "info" ? "" : metric.labels;
    const title = info === null ? paint("unknown metric", "warn") : info.title;
    return [title, labels, formatMetric(metric), paint(name, "dim")];
  });
  const heading = tables.length > 1 ? `All metrics of ${tables.length} replicas` : "All metrics";
  return renderSection(heading, cells, { paint })
    .map((line) => ` ${cutStyledLine(line, width - 2)}`);
}

/** From this width on there are two columns. */
const TWO_COLUMN_WIDTH = 160;

/** Splits sections into two columns of least height if the screen is wide enough. */
function arrangeSections(sections: readonly (readonly string[])[], width: number): string[] {
  // Drop the last blank line.
  const join = (some: typeof sections): string[] => some.flat().slice(0, -1);
  if (width < TWO_COLUMN_WIDTH) return join(sections);
  const columnsAt = (split: number): readonly string[][] =>
    [sections.slice(0, split), sections.slice(split)].map(join);
  const heightAt = (split: number): number => Math.max(...columnsAt(split).map((c) => c.length));
  const splits = sections.map((_, index) => index + 1);
  const split = splits.reduce((a, b) => heightAt(b) < heightAt(a) ? b : a);
  return joinSideBySide(columnsAt(split), Math.floor(width / 2));
}

/** What the page of a replica has no room for, and every metric of the rows. */
export function renderFactsPage(
  rows: readonly Row[],
  state: State,
  { width, paint }: DetailOptions,
): readonly string[] {
  const columnWidth = width < TWO_COLUMN_WIDTH ? width : Math.floor(width / 2);
  return [
    ...rows.flatMap((row) => {
      // Margins and indent.
      const sections = renderFacts(row, state, { paint, width: columnWidth - 4 })
        .map((lines) => lines.map((line) => " " + line));
      return [` ${paint(row.name, "title")}`, ...arrangeSections(sections, width), ""];
    }),
    ...renderMetrics(rows, { paint, width }),
  ];
}
