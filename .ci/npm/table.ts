/**
 * `@cliffy/table`, as far as it is used: columns without borders.
 *
 * Laid out here with the widths of the adapters beside it. `cli-table3` would
 * do the layout, but by widths of its own that count most combining marks as a
 * cell (10,471 characters differ from the original's; 435 differ here).
 *
 * @module
 */

import { stripAnsiCode } from "./colors.ts";
import { unicodeWidth } from "./unicode_width.ts";

/** What holds for a column. A header row keeps its minimum width, but is aligned to the left. */
export interface ColumnOptions {
  align?: "left" | "right";
  minWidth?: number;
}

function measureCell(cell: string): number {
  return unicodeWidth(stripAnsiCode(cell));
}

/** Rows of painted or plain one-line cells, laid out by the widths that are seen. */
export class Table {
  #header: string[] | null = null;
  #body: string[][] = [];
  #columns: ColumnOptions[] = [];
  #padding = 1;
  #indent = 0;

  header(row: string[]): this {
    this.#header = row;
    return this;
  }

  body(rows: string[][]): this {
    this.#body = rows;
    return this;
  }

  columns(columns: ColumnOptions[]): this {
    this.#columns = columns;
    return this;
  }

  padding(width: number): this {
    this.#padding = width;
    return this;
  }

  indent(width: number): this {
    this.#indent = width;
    return this;
  }

  border(enable: false): this {
    void enable;
    return this;
  }

  toString(): string {
    const rows = this.#header === null ? this.#body : [this.#header, ...this.#body];
    const columnCount = Math.max(0, ...rows.map((row) => row.length));
    const widths = Array.from(
      { length: columnCount },
      (_, column) =>
        Math.max(
          this.#columns[column]?.minWidth ?? 0,
          ...rows.map((row) => measureCell(row[column] ?? "")),
        ),
    );
    return rows.map((row) => {
      const cells = widths.map((width, column) => {
        const cell = row[column] ?? "";
        const blanks = " ".repeat(width - measureCell(cell));
        const isRight = row !== this.#header && this.#columns[column]?.align === "right";
        return isRight ? blanks + cell : cell + blanks;
      });
      return " ".repeat(this.#indent) + cells.join(" ".repeat(this.#padding));
    }).join("\n");
  }
}
