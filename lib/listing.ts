/**
 * The rows in the order and choice of the user: sorted, filtered, grouped.
 *
 * Layer 3, pure. Rows keep the order in which their endpoints were given until
 * the user sorts: nothing jumps from poll to poll. Rows without a figure come
 * last however the order runs. Totals are not here: a filter hides rows and
 * changes no sum.
 *
 * @module
 */

import { COLUMNS, describeGroup, describeRow, type TableLine } from "./columns.ts";
import { type ModelGroup, type Overview, type Row, shortenModelName } from "./overview.ts";
import type { Ui } from "./ui.ts";

/** One line of the table that can be selected. */
export type ListLine =
  | { readonly kind: "row"; readonly key: string; readonly row: Row; readonly cells: TableLine }
  | {
    readonly kind: "group";
    readonly key: string;
    readonly group: ModelGroup;
    readonly isFolded: boolean;
    readonly cells: TableLine;
  };

/** Whether a filter, a case-insensitive text with `|` for or, is in any of the texts. */
export function matchesFilter(filter: string, texts: readonly string[]): boolean {
  const wanted = filter.toLowerCase().split("|").map((part) => part.trim())
    .filter((part) => part !== "");
  if (wanted.length === 0) return true;
  const all = texts.map((text) => text.toLowerCase());
  return wanted.some((part) => all.some((text) => text.includes(part)));
}

function isWanted(row: Row, filter: string): boolean {
  const { endpoint } = row.state;
  const model = row.replica?.sample.modelName ?? "";
  return matchesFilter(filter, [row.name, model, endpoint.key, row.status]);
}

/** Negative where `a` comes before `b`. Texts by their numbers too: `e2` before `e10`. */
function compareValues(a: number | string, b: number | string): number {
  return typeof a === "number" && typeof b === "number"
    ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true });
}

function sortRows(rows: readonly Row[], sort: Ui["sort"]): readonly Row[] {
  const column = COLUMNS.find(({ id }) => id === sort?.columnId);
  if (sort === null || column === undefined) return rows;
  const keyed = rows.map((row) => ({ row, value: column.readSortValue(describeRow(row)) }));
  return keyed.sort((a, b) => {
    if (a.value === null || b.value === null) {
      return a.value === b.value ? 0 : a.value === null ? 1 : -1;
    }
    const order = compareValues(a.value, b.value);
    return sort.isDescending ? -order : order;
  }).map(({ row }) => row);
}

function listRow(row: Row): ListLine & { readonly kind: "row" } {
  return { kind: "row", key: row.key, row, cells: describeRow(row) };
}

/** A row below the line of its group, which names the model. */
function listGroupedRow(row: Row): ListLine {
  const line = listRow(row);
  return { ...line, cells: { ...line.cells, name: `  ${row.place}` } };
}

/** The identity of a group's line: no row has it, as theirs begin with a URL. */
function keyOfGroup(modelName: string): string {
  return `group ${modelName}`;
}

/** The lines of the table, without headings and totals. */
export function listLines(overview: Overview, ui: Ui): readonly ListLine[] {
  const wanted = overview.rows.filter((row) => isWanted(row, ui.filter));
  const rows = sortRows(wanted, ui.sort);
  if (!ui.isGrouped) return rows.map(listRow);
  const grouped = overview.groups.flatMap((group): ListLine[] => {
    const { modelName } = group;
    const own = rows.filter((row) => row.replica?.sample.modelName === modelName);
    if (own.length === 0) return [];
    const isFolded = ui.foldedModels.has(modelName);
    const cells = describeGroup(group, `${isFolded ? "▸" : "▾"} ${shortenModelName(modelName)}`);
    const line: ListLine = { kind: "group", key: keyOfGroup(modelName), group, isFolded, cells };
    return isFolded ? [line] : [line, ...own.map(listGroupedRow)];
  });
  const others = rows.filter((row) => row.replica === null);
  return [...grouped, ...others.map(listRow)];
}
