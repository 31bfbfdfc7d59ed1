/**
 * The rows in the order and choice of the user: sorted, filtered, grouped.
 *
 * Rows keep the order in which their endpoints were given until
 * the user sorts: nothing jumps from poll to poll. Rows without a figure come
 * last however the order runs. Totals are not here: a filter hides rows and
 * changes no sum.
 * @module
 */

import type { Fleet, ModelGroup, Row } from "./state_fleet.ts";
import type { Ui } from "./state_ui.ts";
import { quote } from "./text.ts";
import { MILLISECONDS_PER_SECOND } from "./units.ts";
import {
  type Column,
  COLUMNS,
  createGroupLine,
  createRowLine,
  type TableLine,
} from "./view_columns.ts";

/** One line of the table that can be selected. */
export type VisibleRow =
  | { readonly kind: "row"; readonly key: string; readonly row: Row; readonly cells: TableLine }
  | {
    readonly kind: "group";
    readonly key: string;
    readonly group: ModelGroup;
    readonly isFolded: boolean;
    readonly cells: TableLine;
  };

/** What a filter looks at in a line. */
export interface FilterSubject {
  readonly texts: readonly string[];
  readonly cells: TableLine;
}

/** A term that compares: what stands before the first sign, the sign, and what stands after it. */
const COMPARISON = /^([^<>=]*)(>=|<=|>|<|=)(.*)$/s;

/** A figure that is compared with, and its unit. */
const BOUND = /^(\d*\.?\d+)\s*(%|ms|s|k|m|)$/;

/** A figure that is still being typed. */
const OPENED = /^\d*\.?$/;

/** What a column could be called. */
const COLUMN_WORDS = /^[a-z0-9_/@ ]+$/;

/** What a number is multiplied by to be in base units. */
const SUFFIX_FACTORS: Readonly<Record<string, number>> = {
  "": 1,
  "%": 0.01,
  ms: 1 / MILLISECONDS_PER_SECOND,
  s: 1,
  k: 1e3,
  m: 1e6,
};

const COMPARE: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  ">": (a, b) => a > b,
  "<": (a, b) => a < b,
  ">=": (a, b) => a >= b,
  "<=": (a, b) => a <= b,
  "=": (a, b) => a === b,
};

/** The column that is meant: by its name, by its heading, or by the first word of that. */
function findColumn(words: string, align: Column["align"]): Column | undefined {
  if (words === "") return undefined;
  const columns = COLUMNS.filter((column) => column.align === align);
  return columns.find(({ id }) => id === words) ??
    columns.find(({ title }) => title.toLowerCase() === words) ??
    columns.find(({ title }) => title.toLowerCase().split(" ")[0] === words);
}

/** Whether one term of a filter lets the line pass. Texts are in lower case. */
type Term = (texts: readonly string[], cells: TableLine) => boolean;

/** What `kv>80%` asks of a line. A ratio above 1 is meant in percent: none of ours is that large. */
function parseComparison(
  column: Column,
  operator: string,
  [, digits, suffix]: RegExpExecArray,
): Term {
  const isPercent = column.isRatio === true && suffix === "" && Number(digits) > 1;
  const bound = Number(digits) * SUFFIX_FACTORS[isPercent ? "%" : suffix];
  const compare = COMPARE[operator];
  return (_, cells) => {
    const value = column.getSortValue(cells);
    return typeof value === "number" && compare(value, bound);
  };
}

/** A filter that has been read, for any number of lines. */
export interface Filter {
  /** Whether it lets the line pass. */
  readonly matches: (subject: FilterSubject) => boolean;
  /** What is said of each comparison that is not understood, in its order, safe to print. It is looked for as text. */
  readonly remarks: readonly string[];
}

/** What one term asks of a line; or, where it compares and is not understood, what is said of it. */
function parseComparisonOrWord(term: string): Term | string | null {
  const match = COMPARISON.exec(term);
  if (match === null) return null;
  const [, before, operator, after] = match;
  const words = before.trim().replace(/\s+/g, " ");
  const value = after.trim();
  const bound = BOUND.exec(value);
  const isOpened = OPENED.test(value);
  const column = findColumn(words, "right");
  if (column !== undefined && bound !== null) return parseComparison(column, operator, bound);
  // What is not typed to its end lets everything pass.
  if (column !== undefined && isOpened) return () => true;
  if (column === undefined && findColumn(words, "left") !== undefined) {
    const hint = bound === null && !isOpened ? `: type only ${quote(value)}` : "";
    return `${quote(words)} is not a number${hint}`;
  }
  const isUnknown = column === undefined && COLUMN_WORDS.test(words) &&
    (bound !== null || isOpened);
  return isUnknown ? `no column ${quote(words)}` : `cannot parse ${quote(term)}`;
}

/**
 * Reads a filter: text that is to be in any of a line's texts, or a comparison
 * of a figure, such as `kv>80%`, `TTFT P95>500ms`, `waiting>0`. Without case;
 * `&` means and, `|` means or. No figure is neither above nor below.
 */
export function parseFilter(filter: string): Filter {
  const remarks: string[] = [];
  const parseTerm = (term: string): Term => {
    const read = parseComparisonOrWord(term);
    if (typeof read === "function") return read;
    if (read !== null) remarks.push(read);
    return (texts) => texts.some((text) => text.includes(term));
  };
  const split = (text: string, separator: string): string[] =>
    text.split(separator).map((part) => part.trim()).filter((part) => part !== "");
  const alternatives = split(filter.toLowerCase(), "|")
    .map((alternative) => split(alternative, "&").map(parseTerm));
  const matches = ({ texts, cells }: FilterSubject): boolean => {
    if (alternatives.length === 0) return true;
    const lowered = texts.map((text) => text.toLowerCase());
    return alternatives.some((terms) => terms.every((term) => term(lowered, cells)));
  };
  return { matches, remarks };
}

/** What a filter looks at in a row. */
function describeSubject(row: Row): FilterSubject {
  const { endpoint } = row.state;
  const model = row.replica?.sample.modelName ?? "";
  const cells = createRowLine(row);
  const texts = [row.name, model, endpoint.key, row.status, cells.complaint ?? ""];
  return { texts, cells };
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
  const keyed = rows.map((row) => ({ row, value: column.getSortValue(createRowLine(row)) }));
  return keyed.sort((a, b) => {
    if (a.value === null || b.value === null) {
      return a.value === b.value ? 0 : a.value === null ? 1 : -1;
    }
    const order = compareValues(a.value, b.value);
    return sort.isDescending ? -order : order;
  }).map(({ row }) => row);
}

function listRow(row: Row): VisibleRow & { readonly kind: "row" } {
  return { kind: "row", key: row.key, row, cells: createRowLine(row) };
}

/** A row below the line of its group, which names the model. */
function listGroupedRow(row: Row): VisibleRow {
  const line = listRow(row);
  return { ...line, cells: { ...line.cells, name: `  ${row.place}` } };
}

/** The identity of a group's line: no row has it, as theirs begin with a URL. */
function keyOfGroup(modelName: string): string {
  return `group ${modelName}`;
}

/** The lines of the table, without headings and totals. */
export function listVisibleRows(
  fleet: Fleet,
  ui: Ui,
  { matches }: Filter = parseFilter(ui.filter),
): readonly VisibleRow[] {
  const wanted = fleet.rows.filter((row) => matches(describeSubject(row)));
  const rows = sortRows(wanted, ui.sort);
  if (!ui.isGrouped) return rows.map(listRow);
  const grouped = fleet.groups.flatMap((group): VisibleRow[] => {
    const { modelName } = group;
    const own = rows.filter((row) => row.replica?.sample.modelName === modelName);
    if (own.length === 0) return [];
    const isFolded = ui.foldedModels.has(modelName);
    const cells = createGroupLine(group, `${isFolded ? "▸" : "▾"} ${group.label}`);
    const line: VisibleRow = { kind: "group", key: keyOfGroup(modelName), group, isFolded, cells };
    return isFolded ? [line] : [line, ...own.map(listGroupedRow)];
  });
  const others = rows.filter((row) => row.replica === null);
  return [...grouped, ...others.map(listRow)];
}
