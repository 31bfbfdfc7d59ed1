/**
 * State -> CSV (RFC 4180, lines end in LF): a line for each replica and poll. Columns are the scalars
 * of a replica in the JSON report, by their paths there; a figure that is n/a is an empty cell.
 * @module
 */

import { isRecord } from "./json.ts";
import { REPLICA } from "./report.ts";
import { listScalars } from "./report_fields.ts";
import type { State } from "./state.ts";
import { formatTimestamp } from "./units.ts";

/** Other lines tell as much. */
const LEFT_OUT: ReadonlySet<string> = new Set(["sinceStart", "peaks"]);

const PATHS = listScalars(REPLICA.fields ?? [])
  .filter((path) => !path.some((key) => LEFT_OUT.has(key)));

/** What spreadsheets take for a formula. */
const FORMULA = /^[=+\-@\t]/;

function writeCell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const text = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function findValue(document: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((part, key) => isRecord(part) ? part[key] : null, document);
}

function writeLine(values: readonly unknown[]): string {
  return values.map(writeCell).join(",") + "\n";
}

/** One line. */
export function writeCsvHeader(): string {
  return writeLine(["time", "timeEpochSeconds", ...PATHS.map((path) => path.join("."))]);
}

/** A line for each row of the table, in its order. */
export function writeCsvRows(state: State): string {
  const { nowEpoch, fleet: { rows } } = state;
  const time = formatTimestamp(nowEpoch);
  return rows.map((row) => {
    const document = REPLICA.write({ ...row, whole: state });
    return writeLine([time, nowEpoch, ...PATHS.map((path) => findValue(document, path))]);
  }).join("");
}
