/**
 * Filters, sorts and groups rows. Unsorted rows keep the order of their endpoints, so that they
 * stay in place between polls.
 * @module
 */

import { type Fleet, getSectionKey, type ModelGroup, type Row } from "./state_fleet.ts";
import type { Ui } from "./state_ui.ts";
import { compareNames, quote } from "./text.ts";
import { MILLISECONDS_PER_SECOND } from "./units.ts";
import {
  type Column,
  COLUMNS,
  createGroupLine,
  createRowLine,
  findTrouble,
  type TableLine,
} from "./view_columns.ts";

export type VisibleRow =
  | { readonly kind: "row"; readonly key: string; readonly row: Row; readonly cells: TableLine }
  | {
    readonly kind: "group";
    readonly key: string;
    readonly group: ModelGroup;
    readonly isFolded: boolean;
    readonly cells: TableLine;
  };

export interface FilterSubject {
  readonly texts: readonly string[];
  /** Of its target. */
  readonly labels?: ReadonlyMap<string, string>;
  readonly cells: TableLine;
}

/** Column, operator, value. */
const COMPARISON = /^([^<>=]*)(>=|<=|>|<|=)(.*)$/s;
/** Number and unit. */
const BOUND = /^(\d*\.?\d+)\s*(%|ms|s|k|m|)$/;
/** A number not yet typed in full. */
const INCOMPLETE_BOUND = /^\d*\.?$/;
const COLUMN_WORDS = /^[a-z0-9_/@ ]+$/;

/** To base units. */
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

/** Finds a column by id, heading or the heading's first word. */
function findColumn(words: string, align: Column["align"]): Column | undefined {
  if (words === "") return undefined;
  const columns = COLUMNS.filter((column) => column.align === align);
  return columns.find(({ id }) => id === words) ??
    columns.find(({ title }) => title.toLowerCase() === words) ??
    columns.find(({ title }) => title.toLowerCase().split(" ")[0] === words);
}

/** Whether a line matches; texts are in lower case. */
type Term = (texts: readonly string[], subject: FilterSubject) => boolean;

/** The short forms of kubectl. */
const LABEL_ALIASES: ReadonlyMap<string, string> = new Map([["ns", "namespace"], ["po", "pod"]]);

/** `namespace=prod`; matches all rows until the value is typed. `null` if it is no label. */
function createLabelTerm(
  [, before, operator, value]: RegExpExecArray,
  labelNames: ReadonlySet<string>,
): Term | null {
  const typed = before.trim();
  const known = LABEL_ALIASES.get(typed) ?? typed;
  const name = [...labelNames].find((one) => one.toLowerCase() === known);
  if (name === undefined || operator !== "=") return null;
  const wanted = value.trim();
  return (_, { labels }) => wanted === "" || labels?.get(name)?.toLowerCase() === wanted;
}

/** `kv>80` means percent, as no ratio is above 1. */
function createComparison(
  column: Column,
  operator: string,
  [, digits, suffix]: RegExpExecArray,
): Term {
  const isPercent = column.isRatio === true && suffix === "" && Number(digits) > 1;
  const bound = Number(digits) * SUFFIX_FACTORS[isPercent ? "%" : suffix];
  const compare = COMPARE[operator];
  return (_, { cells }) => {
    const value = column.getSortValue(cells);
    return typeof value === "number" && compare(value, bound);
  };
}

export interface Filter {
  readonly matches: (subject: FilterSubject) => boolean;
  /** One error per invalid comparison, safe to print. Such a term matches as text. */
  readonly remarks: readonly string[];
}

/** Returns a comparison, its error, or null for plain text. */
function parseComparison(term: string, labelNames: ReadonlySet<string>): Term | string | null {
  const match = COMPARISON.exec(term);
  if (match === null) return null;
  const labelTerm = createLabelTerm(match, labelNames);
  if (labelTerm !== null) return labelTerm;
  const [, before, operator, after] = match;
  const words = before.trim().replace(/\s+/g, " ");
  const value = after.trim();
  const bound = BOUND.exec(value);
  const isIncomplete = INCOMPLETE_BOUND.test(value);
  const column = findColumn(words, "right");
  if (column !== undefined && bound !== null) return createComparison(column, operator, bound);
  // Hide nothing while the number is typed.
  if (column !== undefined && isIncomplete) return () => true;
  if (column === undefined && findColumn(words, "left") !== undefined) {
    const hint = bound === null && !isIncomplete ? `: type only ${quote(value)}` : "";
    return `${quote(words)} is not a number${hint}`;
  }
  const isUnknown = column === undefined && COLUMN_WORDS.test(words) &&
    (bound !== null || isIncomplete);
  return isUnknown ? `no column ${quote(words)}` : `cannot parse ${quote(term)}`;
}

/**
 * Parses a filter of texts and comparisons such as `kv>80%`, `TTFT P95>500ms` and `ns=prod`, joined
 * by `&` and `|`, ignoring case. A comparison never matches an absent value.
 * @param labelNames Labels that can be compared.
 */
export function parseFilter(
  filter: string,
  labelNames: ReadonlySet<string> = new Set(),
): Filter {
  const remarks: string[] = [];
  const parseTerm = (term: string): Term => {
    const comparison = parseComparison(term, labelNames);
    if (typeof comparison === "function") return comparison;
    if (comparison !== null) remarks.push(comparison);
    return (texts) => texts.some((text) => text.includes(term));
  };
  const split = (text: string, separator: string): string[] =>
    text.split(separator).map((part) => part.trim()).filter((part) => part !== "");
  const alternatives = split(filter.toLowerCase(), "|")
    .map((alternative) => split(alternative, "&").map(parseTerm));
  const matches = (subject: FilterSubject): boolean => {
    if (alternatives.length === 0) return true;
    const lowered = subject.texts.map((text) => text.toLowerCase());
    return alternatives.some((terms) => terms.every((term) => term(lowered, subject)));
  };
  return { matches, remarks };
}

function describeSubject(row: Row): FilterSubject {
  const { endpoint } = row.state;
  const model = row.replica?.sample.modelName ?? "";
  const cells = createRowLine(row);
  const labels = endpoint.targetLabels;
  const texts = [row.name, model, endpoint.key, row.status, ...labels?.values() ?? []];
  return { texts, labels, cells };
}

/** The labels of all targets. */
export function listLabelNames({ rows }: Fleet): ReadonlySet<string> {
  return new Set(rows.flatMap(({ state }) => [...state.endpoint.targetLabels?.keys() ?? []]));
}

function compareValues(a: number | string, b: number | string): number {
  return typeof a === "number" && typeof b === "number"
    ? a - b
    : compareNames(String(a), String(b));
}

/** Rows without a value come last in either direction. */
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

function listRow(row: Row): VisibleRow {
  return { kind: "row", key: row.key, row, cells: createRowLine(row) };
}

/** Lists the table's lines, without heading and totals. */
export function listVisibleRows(
  fleet: Fleet,
  ui: Ui,
  { matches }: Filter = parseFilter(ui.filter, listLabelNames(fleet)),
): readonly VisibleRow[] {
  const wanted = fleet.rows.filter((row) => matches(describeSubject(row)));
  const rows = sortRows(wanted, ui.sort);
  if (!ui.isGrouped || fleet.sections.length < 2) return rows.map(listRow);
  const grouped = fleet.sections.flatMap((group): VisibleRow[] => {
    const isOwn = (row: Row) => getSectionKey(row, ui.grouping) === group.key;
    const own = rows.filter(isOwn);
    if (own.length === 0) return [];
    const isAlone = !fleet.rows.some((row) => row !== own[0] && isOwn(row));
    if (isAlone) return own.map(listRow);
    const isFolded = ui.foldedGroups.has(group.key);
    const cells = {
      ...createGroupLine(group, `${isFolded ? "▸" : "▾"} ${group.label}`),
      foldedTrouble: isFolded ? findTrouble(own.map(({ status }) => status)) : null,
    };
    // Unlike row keys, it does not begin with a URL.
    const key = `group ${group.key}`;
    const lines = isFolded ? [] : own.map((row): VisibleRow => {
      const line = listRow(row);
      return { ...line, cells: { ...line.cells, name: `  ${row.place}` } };
    });
    return [{ kind: "group", key, group, isFolded, cells }, ...lines];
  });
  const others = rows.filter((row) => getSectionKey(row, ui.grouping) === null);
  return [...grouped, ...others.map(listRow)];
}
