/**
 * Percentiles of one latency over several replicas, from merged buckets.
 *
 * @module
 */

import {
  addHistograms,
  computeQuantile,
  countObservations,
  type Histogram,
  type Quantile,
} from "./histogram.ts";
import type { LatencyFigures } from "./model.ts";
import { type AbsenceReason, absent, isPresent, present, type Reading } from "./reading.ts";

function createAbsentFigures(reason: AbsenceReason): LatencyFigures {
  const none = absent(reason);
  return { p50: none, p95: none, p99: none, mean: none, samples: none };
}

/**
 * Seconds. Absent with the first reason if no histogram is present, `bounds_differ` if they cannot
 * be merged (vLLM before and after 0.8.4), `no_samples` if empty.
 */
export function computeLatency(histograms: readonly Reading<Histogram>[]): LatencyFigures {
  const known = histograms.filter(isPresent);
  if (known.length === 0) {
    const [first] = histograms;
    return createAbsentFigures(
      first === undefined || isPresent(first) ? "missing" : first.reason,
    );
  }
  const merged = addHistograms(known.map((reading) => reading.value));
  if (merged === null) return createAbsentFigures("bounds_differ");
  const count = countObservations(merged);
  // Replicas without the metric do not make the count partial.
  const isPartial = histograms.some((reading) =>
    !isPresent(reading) && reading.reason !== "unsupported" && reading.reason !== "missing"
  );
  const samples: Reading = isPartial ? { value: count, partial: true } : present(count);
  if (count === 0) return { ...createAbsentFigures("no_samples"), samples };
  const quantile = (q: number): Reading<Quantile> => {
    const found = computeQuantile(merged, q);
    return found === null ? absent("unsupported") : present(found);
  };
  return {
    p50: quantile(0.5),
    p95: quantile(0.95),
    p99: quantile(0.99),
    mean: Number.isFinite(merged.sum) ? present(merged.sum / count) : absent("missing"),
    samples,
  };
}
