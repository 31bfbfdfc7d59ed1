/**
 * Servers that count some figures for each engine, and others for all engines together.
 * @module
 */

import { type EngineSample, HISTOGRAM_KEYS, LABELLED_KEYS, type ServerTraits } from "./model.ts";
import { absent, isPresent, type Reading } from "./reading.ts";

/** The row of what all engines count together. */
const SHARED_ENGINE = "all ranks";

const ALL_FAMILIES: ServerTraits["noSuchFigures"] = new Set([...HISTOGRAM_KEYS, ...LABELLED_KEYS]);

/** What one engine lacks, the server counts for all, and the reverse: no gap in any sum. */
export function markUnshared(sample: EngineSample, isShared: boolean): EngineSample {
  const mark = <Key extends string>(readings: Readonly<Record<Key, Reading>>) =>
    Object.fromEntries(
      Object.entries<Reading>(readings).map(([key, reading]) => [
        key,
        isPresent(reading) || (reading.reason !== "missing" && reading.reason !== "initializing")
          ? reading
          : absent("unsupported"),
      ]),
    ) as Record<Key, Reading>;
  return {
    ...sample,
    ...(isShared ? { isShared, engine: SHARED_ENGINE } : {}),
    gauges: mark(sample.gauges),
    counters: mark(sample.counters),
    kvCacheCapacity: isShared ? absent("unsupported") : sample.kvCacheCapacity,
    initializing: new Set(),
    server: { ...sample.server, noSuchFigures: ALL_FAMILIES },
  };
}
