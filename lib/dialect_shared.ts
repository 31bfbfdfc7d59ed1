/**
 * Why an engine lacks figures: its server counts them for all engines together, or its metrics are
 * off.
 * @module
 */

import { type EngineSample, HISTOGRAM_KEYS, LABELLED_KEYS, type ServerTraits } from "./model.ts";
import { type AbsenceReason, absent, isPresent, type Reading } from "./reading.ts";

/** The row of what all engines count together. */
const SHARED_ENGINE = "all ranks";

const ALL_FAMILIES: ServerTraits["noSuchFigures"] = new Set([...HISTOGRAM_KEYS, ...LABELLED_KEYS]);

/** Other reasons, such as that a value is invalid, stay. */
function replaceReason<Key extends string>(
  readings: Readonly<Record<Key, Reading>>,
  from: readonly AbsenceReason[],
  to: AbsenceReason,
): Record<Key, Reading> {
  return Object.fromEntries(
    Object.entries<Reading>(readings).map(([key, reading]) => [
      key,
      !isPresent(reading) && from.includes(reading.reason) ? absent(to) : reading,
    ]),
  ) as Record<Key, Reading>;
}

/** What one engine lacks, the server counts for all, and the reverse: no gap in any sum. */
export function markUnshared(sample: EngineSample, isShared: boolean): EngineSample {
  const reasons = ["missing", "initializing"] as const;
  return {
    ...sample,
    ...(isShared ? { isShared, engine: SHARED_ENGINE } : {}),
    gauges: replaceReason(sample.gauges, reasons, "unsupported"),
    counters: replaceReason(sample.counters, reasons, "unsupported"),
    kvCacheCapacity: isShared ? absent("unsupported") : sample.kvCacheCapacity,
    initializing: new Set(),
    server: { ...sample.server, noSuchFigures: ALL_FAMILIES },
  };
}

/** What is missing would be there with the server's metrics. */
export function markOff(sample: EngineSample): EngineSample {
  return {
    ...sample,
    gauges: replaceReason(sample.gauges, ["missing"], "off"),
    counters: replaceReason(sample.counters, ["missing"], "off"),
    server: { ...sample.server, metricsAreOff: true },
  };
}
