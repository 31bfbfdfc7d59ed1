/**
 * Packs an engine's samples of the last minute into bare numbers: as objects, a fleet's samples
 * would be most of the program's memory. The numbers of all engines of a scrape share one array; a
 * form, which rarely changes, tells which is which.
 * @module
 */

import { countObservations, haveSameBounds, type Histogram } from "./histogram.ts";
import {
  COUNTER_KEYS,
  type CounterKey,
  createRecord,
  type EngineSample,
  LABELLED_GAUGES,
  LABELLED_KEYS,
  type LabelledKey,
  LATENCY_KEYS,
  type LatencyKey,
  MEAN_KEYS,
  type MeanKey,
  type PackedSlot,
  sumCounts,
} from "./model.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";
import type { Seconds } from "./units.ts";

/** The layout of a packed sample. Offsets count from the engine's first number. */
interface PackedForm {
  /** In the order of `SLOT_READERS`. */
  readonly slots: readonly PackedSlot[];
  readonly families: readonly {
    readonly key: LabelledKey;
    readonly children: readonly string[];
    readonly place: number;
  }[];
  /** The sum, followed by the counts. */
  readonly latencies: Readonly<
    Partial<Record<LatencyKey, { readonly bounds: Float64Array; readonly place: number }>>
  >;
  readonly initializing: EngineSample["initializing"];
  readonly length: number;
}

/** An engine's part of a scrape's numbers. */
export interface PackedSample {
  readonly form: PackedForm;
  readonly numbers: Float64Array;
  readonly from: number;
}

export interface SamplePoint {
  /** Monotonic. */
  readonly at: Seconds;
  readonly packed: PackedSample;
  /** When it was last idle, or active since the scrape before; `at` if unknown. */
  readonly movedAt: Seconds;
  readonly isAsleep: boolean;
}

/** What windows compare. */
export type CountedSample =
  & Pick<EngineSample, "counters" | "labelled" | "histograms" | "initializing" | "created">
  // Only the newest sample has metrics.
  & Partial<Pick<EngineSample, "metrics">>;

export const LABELLED_COUNTERS: readonly LabelledKey[] = LABELLED_KEYS
  .filter((key) => !LABELLED_GAUGES.has(key));

/** Readings to pack: gauges, counters, start. */
const SLOT_READERS: readonly ((sample: EngineSample) => Reading)[] = [
  ...MEAN_KEYS.map((key) => ({ gauges }: EngineSample) => gauges[key]),
  ...COUNTER_KEYS.map((key) => ({ counters }: EngineSample) => counters[key]),
  ({ created }) => created,
];
const FIRST_COUNTER = MEAN_KEYS.length;
const CREATED = SLOT_READERS.length - 1;

// ---- Packing.

function createForm(sample: EngineSample): PackedForm {
  let length = 0;
  const take = (count: number): number => {
    length += count;
    return length - count;
  };
  const slots = SLOT_READERS.map((read) => {
    const reading = read(sample);
    return isPresent(reading) ? take(1) : reading;
  });
  const families = LABELLED_COUNTERS.flatMap((key) => {
    const family = sample.labelled[key];
    if (family === undefined) return [];
    return [{ key, children: [...family.keys()], place: take(family.size) }];
  });
  const latencies: Partial<Record<LatencyKey, { bounds: Float64Array; place: number }>> = {};
  for (const key of LATENCY_KEYS) {
    const bounds = sample.histograms[key]?.bounds;
    if (bounds !== undefined) latencies[key] = { bounds, place: take(1 + bounds.length) };
  }
  return { slots, families, latencies, initializing: sample.initializing, length };
}

function haveSameChildren(
  children: readonly string[],
  family: ReadonlyMap<string, number> | undefined,
): boolean {
  if (family?.size !== children.length) return false;
  let place = 0;
  for (const child of family.keys()) if (child !== children[place++]) return false;
  return true;
}

function fits(form: PackedForm, sample: EngineSample): boolean {
  const { slots, families, latencies, initializing } = form;
  const familyCount = LABELLED_COUNTERS.filter((key) => sample.labelled[key] !== undefined).length;
  return slots.every((slot, i) => {
    const reading = SLOT_READERS[i](sample);
    return typeof slot === "number" ? isPresent(reading) : reading === slot;
  }) &&
    families.length === familyCount &&
    families.every(({ key, children }) => haveSameChildren(children, sample.labelled[key])) &&
    LATENCY_KEYS.every((key) => {
      const known = latencies[key];
      const histogram = sample.histograms[key];
      if (known === undefined || histogram === undefined) return known === histogram;
      return haveSameBounds(known, histogram);
    }) &&
    (initializing === sample.initializing ||
      initializing.size === sample.initializing.size &&
        initializing.isSubsetOf(sample.initializing));
}

function writeNumbers({ form, numbers, from }: PackedSample, sample: EngineSample): void {
  form.slots.forEach((slot, i) => {
    if (typeof slot === "number") numbers[from + slot] = SLOT_READERS[i](sample).value ?? NaN;
  });
  for (const { key, place } of form.families) {
    let next = from + place;
    for (const value of sample.labelled[key]?.values() ?? []) numbers[next++] = value;
  }
  for (const key of LATENCY_KEYS) {
    const place = form.latencies[key]?.place;
    const histogram = sample.histograms[key];
    if (place === undefined || histogram === undefined) continue;
    numbers[from + place] = histogram.sum;
    numbers.set(histogram.counts, from + place + 1);
  }
}

/**
 * Packs the samples of one scrape.
 * @param known The form of each engine's previous sample, if any.
 */
export function packSamples(
  samples: readonly EngineSample[],
  known: readonly (PackedForm | undefined)[],
): readonly PackedSample[] {
  let last: PackedForm | undefined;
  const forms = samples.map((sample, i) => {
    const own = known[i];
    if (own !== undefined && fits(own, sample)) return last = own;
    // Engines of one server are alike.
    if (last !== undefined && fits(last, sample)) return last;
    return last = createForm(sample);
  });
  const numbers = new Float64Array(forms.reduce((sum, { length }) => sum + length, 0));
  let from = 0;
  return samples.map((sample, i) => {
    const packed = { form: forms[i], numbers, from };
    writeNumbers(packed, sample);
    from += forms[i].length;
    return packed;
  });
}

// ---- Unpacking.

function getSlot({ form, numbers, from }: PackedSample, place: number): Reading {
  const slot = form.slots[place];
  return typeof slot === "number" ? present(numbers[from + slot]) : slot;
}

export function getPackedGauge(packed: PackedSample, key: MeanKey): Reading {
  return getSlot(packed, MEAN_KEYS.indexOf(key));
}

/** NaN if absent. */
export function getGaugeNumber(packed: PackedSample, key: MeanKey): number {
  const slot = packed.form.slots[MEAN_KEYS.indexOf(key)];
  return typeof slot === "number" ? packed.numbers[packed.from + slot] : NaN;
}

export function getPackedCounter(packed: PackedSample, key: CounterKey): Reading {
  return getSlot(packed, FIRST_COUNTER + COUNTER_KEYS.indexOf(key));
}

export function unpackSample(packed: PackedSample): CountedSample {
  const { form, numbers, from } = packed;
  const labelled: Partial<Record<LabelledKey, ReadonlyMap<string, number>>> = {};
  for (const { key, children, place } of form.families) {
    labelled[key] = new Map(children.map((child, i) => [child, numbers[from + place + i]]));
  }
  const histograms: Partial<Record<LatencyKey, Histogram>> = {};
  for (const key of LATENCY_KEYS) {
    const latency = form.latencies[key];
    if (latency === undefined) continue;
    const { bounds, place } = latency;
    const first = from + place + 1;
    histograms[key] = {
      bounds,
      counts: numbers.subarray(first, first + bounds.length),
      sum: numbers[from + place],
    };
  }
  return {
    counters: createRecord(COUNTER_KEYS, (key) => getPackedCounter(packed, key)),
    labelled,
    histograms,
    initializing: form.initializing,
    created: getSlot(packed, CREATED),
  };
}

/** Number of observations; NaN if absent. */
export function countPacked(packed: PackedSample, key: LatencyKey): number {
  const latency = packed.form.latencies[key];
  return latency === undefined ? NaN : countPackedUpTo(packed, key, latency.bounds.length - 1);
}

/** Observations at or below the bound of `bucket`; NaN if absent. */
export function countPackedUpTo(
  { form, numbers, from }: PackedSample,
  key: LatencyKey,
  bucket: number,
): number {
  const latency = form.latencies[key];
  return latency === undefined ? NaN : numbers[from + latency.place + 1 + bucket];
}

/** NaN if absent. */
export function sumPacked({ form, numbers, from }: PackedSample, key: LatencyKey): Seconds {
  const latency = form.latencies[key];
  return latency === undefined ? NaN : numbers[from + latency.place];
}

// ---- What an engine did from sample to sample.

function isIdle({ gauges: { running, waiting } }: EngineSample): boolean {
  return (running.value ?? 0) === 0 && (waiting.value ?? 0) === 0;
}

/** Counts observations made while requests run. */
function countSteps({ histograms: { iterationTokens, itl } }: EngineSample): number {
  const count = (histogram: Histogram | undefined): number =>
    histogram === undefined ? 0 : countObservations(histogram);
  return count(iterationTokens) + count(itl);
}

/** A long prefill counts nothing yet, but fills the KV cache. */
function hasMoved(later: EngineSample, earlier: EngineSample): boolean {
  const differ = (now: Reading, before: Reading): boolean => now.value !== before.value;
  return differ(later.counters.generationTokens, earlier.counters.generationTokens) ||
    differ(later.counters.promptTokens, earlier.counters.promptTokens) ||
    sumCounts(later.labelled.finishedByReason) !== sumCounts(earlier.labelled.finishedByReason) ||
    countSteps(later) !== countSteps(earlier) ||
    differ(later.gauges.kvCacheUsageRatio, earlier.gauges.kvCacheUsageRatio);
}

/** @param before The scrape before, and when it had last moved. */
export function createSamplePoint(
  { at, sample, packed }: {
    readonly at: Seconds;
    readonly sample: EngineSample;
    readonly packed: PackedSample;
  },
  before: { readonly sample: EngineSample; readonly movedAt: Seconds } | undefined,
): SamplePoint {
  const hasProgressed = before === undefined || isIdle(sample) || hasMoved(sample, before.sample);
  return {
    at,
    packed,
    movedAt: hasProgressed ? at : before.movedAt,
    isAsleep: sample.modelState !== "loaded",
  };
}

/** Averages a gauge over time. Absent for the newest sample's reason if that has none. */
export function computeHistoryMean(trace: readonly SamplePoint[], key: MeanKey): Reading {
  const newest = getPackedGauge(trace[trace.length - 1].packed, key);
  if (!isPresent(newest)) return newest;
  let area = 0;
  let span = 0;
  let before = getGaugeNumber(trace[0].packed, key);
  for (let i = 1; i < trace.length; i++) {
    const after = getGaugeNumber(trace[i].packed, key);
    // It may have appeared later than other metrics.
    if (!Number.isNaN(before) && !Number.isNaN(after)) {
      const time = trace[i].at - trace[i - 1].at;
      area += time * (before + after) / 2;
      span += time;
    }
    before = after;
  }
  return span === 0 ? absent("first_scrape") : present(area / span);
}

/**
 * Returns when the engine last progressed or was idle, which may be before the trace, and the longest
 * span of the trace in which it did neither.
 */
export function getMovement(
  trace: readonly SamplePoint[],
): { readonly movedAt: Seconds; readonly standstill: Seconds } {
  const start = trace[0].at;
  let wokeAt = start;
  let standstill = 0;
  for (let i = 1; i < trace.length; i++) {
    const { at, movedAt, isAsleep } = trace[i];
    if (!isAsleep && !trace[i - 1].isAsleep) wokeAt = at;
    standstill = Math.max(standstill, at - Math.max(movedAt, start), at - wokeAt);
  }
  return { movedAt: trace[trace.length - 1].movedAt, standstill };
}
