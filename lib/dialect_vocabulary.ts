/**
 * The names of a dialect's metrics -> their rows.
 *
 * @module
 */

import type { Dialect, MetricRow } from "./dialect_model.ts";
import type { Target } from "./dialect_sample.ts";
import { HISTOGRAM_KEYS, LABELLED_KEYS, type ServerTraits } from "./model.ts";

/** The names of a dialect, without prefix. */
export interface Vocabulary {
  readonly dialect: Dialect;
  readonly server: ServerTraits;
  /** Name of a sample -> its meaning. */
  readonly targets: ReadonlyMap<string, Target>;
  /** Name of a family, in either format -> its row. */
  readonly families: ReadonlyMap<string, MetricRow>;
}

function createTargets(rows: readonly MetricRow[]): Map<string, Target> {
  const targets = new Map<string, Target>();
  for (const row of rows) {
    row.names.forEach((name, rank) => {
      if (row.kind === "histogram") {
        for (const part of ["bucket", "sum", "count"] as const) {
          targets.set(`${name}_${part}`, { row, part, rank, name });
        }
        return;
      }
      targets.set(name, { row, part: "value", rank, name });
      // Ray exports counters as gauges without `_total`; some versions export both.
      if (name.endsWith("_total")) {
        const bare = name.slice(0, -"_total".length);
        targets.set(bare, { row, part: "value", rank: rank + row.names.length, name: bare });
      }
    });
  }
  return targets;
}

function createFamilies(rows: readonly MetricRow[]): Map<string, MetricRow> {
  const families = new Map<string, MetricRow>();
  for (const row of rows) {
    for (const name of row.names) {
      families.set(name, row);
      if (row.kind !== "histogram") families.set(name.replace(/_total$/, ""), row);
    }
  }
  return families;
}

export function createVocabulary(dialect: Dialect): Vocabulary {
  const { name, tokensAreBooked, latencyDefinitions, mainOptions, rows } = dialect;
  const keys = new Set(rows.map(({ key }) => key));
  const noSuchFigures = new Set(
    [...HISTOGRAM_KEYS, ...LABELLED_KEYS].filter((key) => !keys.has(key)),
  );
  return {
    dialect,
    server: { name, tokensAreBooked, latencyDefinitions, mainOptions, noSuchFigures },
    targets: createTargets(rows),
    families: createFamilies(rows),
  };
}
