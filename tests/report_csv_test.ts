import { assert, assertEquals } from "@std/assert";
import { isRecord } from "../lib/json.ts";
import { createReport } from "../lib/report.ts";
import { writeCsvHeader, writeCsvRows } from "../lib/report_csv.ts";
import type { State } from "../lib/state.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { watchFleet } from "./fixtures/fleets.ts";

/** Cells of RFC 4180. */
function parseCsv(text: string): string[][] {
  const lines: string[][] = [];
  const pattern = /(?:"((?:[^"]|"")*)"|([^",\n]*))([,\n])/y;
  let cells: string[] = [];
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex;
    const found = pattern.exec(text);
    assert(found !== null, `no cell at ${at}: ${text.slice(at, at + 50)}`);
    cells.push(found[1]?.replaceAll('""', '"') ?? found[2]);
    if (found[3] === "\n") {
      lines.push(cells);
      cells = [];
    }
  }
  assertEquals(cells, [], "it ends with a line");
  return lines;
}

function writeTable(state: State) {
  const [columns, ...rows] = parseCsv(writeCsvHeader() + writeCsvRows(state));
  return rows.map((row) => {
    assertEquals(row.length, columns.length);
    return new Map(columns.map((name, i) => [name, row[i]]));
  });
}

/** The value at a path of the JSON report; `""` for none. */
function readReport(document: unknown, path: string): string {
  const value = path.split(".").reduce<unknown>(
    (part, key) => isRecord(part) ? part[key] : null,
    document,
  );
  return value === null || value === undefined ? "" : String(value);
}

Deno.test("writeCsvRows() has the values of the JSON report, under their paths there", () => {
  const state = watchFleet(2);
  const { replicas, timeEpochSeconds } = createReport(state, "1") as unknown as {
    readonly replicas: readonly unknown[];
    readonly timeEpochSeconds: number;
  };
  const rows = writeTable(state);
  assertEquals(rows.length, replicas.length);
  let filled = 0;
  rows.forEach((row, i) => {
    for (const [column, cell] of row) {
      if (column === "time") assertEquals(Date.parse(cell) / 1000, timeEpochSeconds);
      else if (column === "timeEpochSeconds") assertEquals(Number(cell), timeEpochSeconds);
      else {
        assertEquals(cell, readReport(replicas[i], column), column);
        filled += Number(cell !== "");
      }
    }
  });
  assert(filled > 100 * rows.length, `${filled} cells are filled`);
  assert(rows[0].has("figures.lastMinute.latency.ttft.p95.seconds"));
});

Deno.test("writeCsvRows() leaves cells empty for what is n/a, and a line for a server that is down", () => {
  const endpoints = [createEndpoint(8000), createEndpoint(8001)];
  const state = advance(startState(endpoints), 40, [
    createScraped(endpoints[0], 39.9, encode(writeEngine([["num_requests_running", 3]]))),
    createFailed(endpoints[1], 1),
  ]);
  const [up, down] = writeTable(state);
  assertEquals(
    ["status", "figures.running", "figures.waiting"].map((column) => up.get(column)),
    ["OK", "3", ""],
  );
  assertEquals(
    ["status", "url", "figures.running"].map((column) => down.get(column)),
    ["DOWN", "http://localhost:8001/metrics", ""],
  );
});

Deno.test("writeCsvRows() quotes what CSV must, and gives spreadsheets no formula", () => {
  const write = (model: string) => {
    const endpoint = createEndpoint(8000);
    const body = encode(writeEngine([["num_requests_running", 1]], { model }));
    const state = advance(startState([endpoint]), 1, [createScraped(endpoint, 0.9, body)]);
    return writeTable(state)[0].get("model");
  };
  assertEquals(write('a,b\\"c'), 'a,b"c');
  for (const formula of ["=1+1", "+1", "-1", "@x"]) assertEquals(write(formula), `'${formula}`);
});
