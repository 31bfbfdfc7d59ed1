/**
 * The series of an engine -> the list of all its metrics.
 *
 * @module
 */

import type { EngineBuilder, OtherSeries, Target } from "./dialect_sample.ts";
import type { MetricEntry } from "./model.ts";

/** What is looked at of a histogram. */
interface HistogramSeries {
  readonly bounds: readonly number[];
  readonly buckets: readonly number[];
}

/** The samples of a histogram's last bucket, which holds its count. */
function listCountSamples({ bounds, buckets }: HistogramSeries): number[] {
  const last = Math.max(...bounds);
  return buckets.filter((_, i) => bounds[i] === last);
}

function flatten<T extends { readonly absorbed: readonly T[] }>(part: T): readonly T[] {
  return [part, ...part.absorbed.flatMap(flatten)];
}

/** All that the engine exports, in the order of the body. */
export function listEntries(
  builder: EngineBuilder,
  { metricPrefix, infos }: {
    readonly metricPrefix: string;
    /** Series that belong to it without naming its model. */
    readonly infos: readonly OtherSeries[];
  },
): readonly MetricEntry[] {
  const describe = ({ row, name }: Target) => ({
    name: metricPrefix + name,
    info: row,
    kind: row.kind,
    scale: row.scale ?? 1,
  });
  const entries: MetricEntry[] = [];
  for (const part of [...builder.scalars.values()].flatMap(flatten)) {
    entries.push({ ...describe(part.target), labels: "", samples: part.samples, sums: [] });
  }
  for (const part of [...builder.labelled.values()].flatMap(flatten)) {
    for (const [labels, samples] of part.isFlooded ? [] : part.children) {
      entries.push({ ...describe(part.target), labels, samples, sums: [] });
    }
  }
  for (const part of builder.histograms.values()) {
    const samples = part.isFlooded ? [] : listCountSamples(part);
    if (samples.length === 0) continue;
    // What was absorbed has given its buckets, but not its sums.
    const sums = flatten(part).flatMap((one) => one.sums);
    entries.push({ ...describe(part.target), labels: "", samples, sums });
  }
  for (const { row, name, kind, labels, samples, sums } of [...builder.others.values(), ...infos]) {
    if (samples.length > 0) {
      entries.push({ name, info: row, kind, labels, samples, sums, scale: row?.scale ?? 1 });
    }
  }
  return entries.sort((a, b) => a.samples[0] - b.samples[0]);
}
