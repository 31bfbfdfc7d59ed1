/**
 * What the options say of order, columns, filter and theme.
 *
 * Layer 3, pure. Options are text; here it becomes what the user has chosen as
 * the screen begins. The columns are those of `columns`: what is none of them
 * is refused with the next step.
 *
 * @module
 */

import { COLUMN_IDS, COLUMNS, startSort } from "./columns.ts";
import type { Setting } from "./option_values.ts";
import type { Options } from "./options.ts";
import { padText, quote } from "./text.ts";
import { createUi, type Sort, type Ui } from "./ui.ts";

/** Why the options cannot be followed. */
export interface PreferenceFault {
  readonly error: string;
  /** Where the value stands that is refused, as its setting has it. */
  readonly origin: string;
}

/** Cells that the name of a column takes in the list of all. */
const ID_WIDTH = 14;

/**
 * `COLUMN:asc`, `COLUMN:desc`, or `COLUMN` alone, which begins as a key or a
 * click does; `null` for anything else.
 *
 * @example
 * ```ts
 * import { parseSort } from "./preferences.ts";
 * parseSort("kv:asc"); // { columnId: "kv", isDescending: false }
 * parseSort("kv"); // { columnId: "kv", isDescending: true }
 * ```
 */
export function parseSort(text: string): Sort | null {
  const [, columnId, direction] = /^([^:]+)(?::(asc|desc))?$/.exec(text) ?? [];
  const column = COLUMNS.find(({ id }) => id === columnId);
  if (column === undefined) return null;
  return direction === undefined
    ? startSort(column)
    : { columnId, isDescending: direction === "desc" };
}

function refuse(name: "sort" | "columns", { origin, text }: Setting): PreferenceFault {
  return { error: `${origin} ${quote(text)} is not a column: see --${name} help`, origin };
}

/** What the user begins with. Where columns are named, the others are hidden. */
export function readPreferences(
  options: Pick<Options, "sort" | "columns" | "filter" | "theme">,
): Ui | PreferenceFault {
  const { theme, filter } = options;
  const sort = options.sort.text === "" ? null : parseSort(options.sort.text);
  if (options.sort.text !== "" && sort === null) return refuse("sort", options.sort);
  const wanted = options.columns.text.split(",").map((id) => id.trim()).filter((id) => id !== "");
  const unknown = wanted.find((id) => !COLUMN_IDS.includes(id));
  if (unknown !== undefined) return refuse("columns", { ...options.columns, text: unknown });
  const others = COLUMN_IDS.filter((id) => !wanted.includes(id));
  return createUi({
    sort,
    theme,
    filter,
    columnIds: [...wanted, ...others],
    hiddenColumnIds: new Set(wanted.length === 0 ? [] : others),
  });
}

/** The columns as `--sort help` and `--columns help` list them. */
export function listColumns(): readonly string[] {
  return COLUMNS.map(({ id, help }) => `${padText(id, ID_WIDTH)} ${help}`);
}
