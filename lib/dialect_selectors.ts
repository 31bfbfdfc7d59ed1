/**
 * The names of the servers' metrics, as regular expressions of PromQL.
 * @module
 */

import { DIALECTS } from "./dialect.ts";
import { createVocabulary, type MetricRow, type Target } from "./dialect_model.ts";
import { COUNTER_KEYS, GAUGE_KEYS, LABELLED_KEYS, type LatencyKey } from "./model.ts";

/** Those of a process, which have no prefix. */
export const PROCESS_SELECTOR = "process_start_time_seconds|http_requests_total";

const SCALAR_KEYS: ReadonlySet<unknown> = new Set([
  ...GAUGE_KEYS,
  ...COUNTER_KEYS,
  ...LABELLED_KEYS,
]);

/** Names with a prefix only: others are of any program. */
function listPrefixes({ prefixes }: typeof DIALECTS[number]): readonly string[] {
  return prefixes.filter((prefix) => prefix !== "");
}

function join(words: Iterable<string>): string {
  return `(?:${[...words].join("|")})`;
}

/** Of a name with several rows, any counts. */
function hasRow(target: Target, isWanted: (row: MetricRow) => boolean): boolean {
  return isWanted(target.row) || (target.next !== undefined && hasRow(target.next, isWanted));
}

function select(isWanted: (row: MetricRow) => boolean): string {
  const parts = DIALECTS.flatMap((dialect) => {
    const names = [...createVocabulary(dialect).targets]
      .filter(([, target]) => hasRow(target, isWanted)).map(([name]) => name);
    return names.length === 0 ? [] : [join(listPrefixes(dialect)) + join(names)];
  });
  return parts.join("|");
}

/** Every metric of a model server. */
export function selectAll(): string {
  return `${join(DIALECTS.flatMap(listPrefixes))}.+`;
}

/** One series for each engine. */
export function selectRunning(): string {
  return select(({ key }) => key === "running");
}

/** Gauges and counters that feed a figure. */
export function selectScalars(): string {
  return select(({ key }) => SCALAR_KEYS.has(key));
}

export function selectLatency(key: LatencyKey): string {
  return select((row) => row.key === key);
}
