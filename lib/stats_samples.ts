/**
 * What one engine said over the last minute, sample after sample, as bare numbers.
 *
 * Windows need a minute of samples of each engine, and a fleet
 * has hundreds of engines: as objects those samples would be most of the
 * program's memory. So what windows are made of (the counters, the latencies, a
 * few gauges) is packed: the numbers of all engines of a scrape stand in one
 * array, and a form, which hardly ever changes, says which of them is which.
 * Nothing is rounded, and no sample is left out. Instants are monotonic seconds.
 * Rejected: samples at longer distances, which would be fewer still, and
 * windows that begin somewhere near their beginning.
 *
 * @module
 */

import { countObservations, haveSameBounds, type Histogram } from "./histogram.ts";
import {
  COUNTER_KEYS,
  type CounterKey,
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

/** Which number of a packed sample is which. All places are counted from the engine's first number. */
interface PackedForm {
  /** Of the readings, in the order in which `trace` packs them. */
  readonly slots: readonly PackedSlot[];
  /** The children of each family, in the order of their numbers. */
  readonly families: readonly {
    readonly key: LabelledKey;
    readonly children: readonly string[];
    readonly place: number;
  }[];
  /** Where the sum stands, with the counts behind it. */
  readonly latencies: Readonly<
    Partial<Record<LatencyKey, { readonly bounds: Float64Array; readonly place: number }>>
  >;
  readonly initializing: EngineSample["initializing"];
  /** How many numbers there are. */
  readonly length: number;
}

/** What an engine said at one moment, among the numbers of all engines of that scrape. */
export interface PackedSample {
  readonly form: PackedForm;
  readonly numbers: Float64Array;
  /** Where those of the engine begin. */
  readonly from: number;
}

/** What one engine said at one moment. `trace` makes and reads it. */
export interface SamplePoint {
  /** The monotonic instant of the receipt. */
  readonly at: Seconds;
  readonly packed: PackedSample;
  /** Whether it had nothing to do, or has done something since the scrape before; true where nobody knows. */
  readonly hasProgressed: boolean;
  readonly isAsleep: boolean;
}

/** What an engine has counted, as far as windows compare it. */
export type CountedSample =
  & Pick<EngineSample, "counters" | "labelled" | "histograms" | "initializing" | "created">
  // Only the newest sample has all metrics.
  & Partial<Pick<EngineSample, "metrics">>;

/** The families that count. */
export const LABELLED_COUNTERS: readonly LabelledKey[] = LABELLED_KEYS
  .filter((key) => !LABELLED_GAUGES.has(key));

/** The readings that are packed, in their order: gauges, counters, and when they began. */
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

/** Whether the sample has the numbers that the form says, and no other. */
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
 * The samples of one scrape as numbers, in their order.
 *
 * @param known For each the form of the same engine's sample before, where there is one.
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

/** What the sample has counted, as it was packed. */
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
    counters: Object.fromEntries(
      COUNTER_KEYS.map((key, i) => [key, getSlot(packed, FIRST_COUNTER + i)]),
    ) as Record<CounterKey, Reading>,
    labelled,
    histograms,
    initializing: form.initializing,
    created: getSlot(packed, CREATED),
  };
}

/** A gauge of the sample. */
function getPackedGauge(packed: PackedSample, key: MeanKey): Reading {
  return getSlot(packed, MEAN_KEYS.indexOf(key));
}

/** How often the latency was observed. NaN where the sample does not have it. */
export function countPacked(packed: PackedSample, key: LatencyKey): number {
  const latency = packed.form.latencies[key];
  return latency === undefined ? NaN : countPackedUpTo(packed, key, latency.bounds.length - 1);
}

/** How often at or below the bound number `bucket`. NaN where the sample does not have it. */
export function countPackedUpTo(
  { form, numbers, from }: PackedSample,
  key: LatencyKey,
  bucket: number,
): number {
  const latency = form.latencies[key];
  return latency === undefined ? NaN : numbers[from + latency.place + 1 + bucket];
}

/** The sum of the latency, in seconds. NaN where the sample does not have it. */
export function sumPacked({ form, numbers, from }: PackedSample, key: LatencyKey): Seconds {
  const latency = form.latencies[key];
  return latency === undefined ? NaN : numbers[from + latency.place];
}

// ---- What an engine did from sample to sample.

function isIdle({ gauges: { running, waiting } }: EngineSample): boolean {
  return (running.value ?? 0) === 0 && (waiting.value ?? 0) === 0;
}

/** Observations that are made while requests run. */
function countSteps({ histograms: { iterationTokens, itl } }: EngineSample): number {
  const count = (histogram: Histogram | undefined): number =>
    histogram === undefined ? 0 : countObservations(histogram);
  return count(iterationTokens) + count(itl);
}

/** Whether the engine did something between the two. A long prompt counts nothing yet, and fills the KV cache. */
function hasMoved(later: EngineSample, earlier: EngineSample): boolean {
  const differ = (now: Reading, before: Reading): boolean => now.value !== before.value;
  return differ(later.counters.generationTokens, earlier.counters.generationTokens) ||
    differ(later.counters.promptTokens, earlier.counters.promptTokens) ||
    sumCounts(later.labelled.finishedByReason) !== sumCounts(earlier.labelled.finishedByReason) ||
    countSteps(later) !== countSteps(earlier) ||
    differ(later.gauges.kvCacheUsageRatio, earlier.gauges.kvCacheUsageRatio);
}

/**
 * The point of a sample.
 *
 * @param before The engine's sample in the scrape before; without it, nobody knows what it did since.
 */
export function createSamplePoint(
  { at, sample, packed }: {
    readonly at: Seconds;
    readonly sample: EngineSample;
    readonly packed: PackedSample;
  },
  before: EngineSample | undefined,
): SamplePoint {
  return {
    at,
    packed,
    hasProgressed: before === undefined || isIdle(sample) || hasMoved(sample, before),
    isAsleep: sample.isAsleep,
  };
}

/** The mean of a gauge over the trace. Absent for the newest sample's reason where that has none. */
export function computeHistoryMean(trace: readonly SamplePoint[], key: MeanKey): Reading {
  const values = trace.map(({ packed }) => getPackedGauge(packed, key));
  const newest = values[values.length - 1];
  if (!isPresent(newest)) return newest;
  let area = 0;
  let span = 0;
  for (let i = 1; i < trace.length; i++) {
    const before = values[i - 1];
    const after = values[i];
    // It may have come later than the engine's other metrics.
    if (!isPresent(before) || !isPresent(after)) continue;
    const time = trace[i].at - trace[i - 1].at;
    area += time * (before.value + after.value) / 2;
    span += time;
  }
  return span === 0 ? absent("first_scrape") : present(area / span);
}

/** When the engine last made progress or had nothing to do, and how long at most it did neither. */
export function getMovement(
  trace: readonly SamplePoint[],
): { readonly movedAt: Seconds; readonly standstill: Seconds } {
  let movedAt = trace[0].at;
  let wokeAt = trace[0].at;
  let standstill = 0;
  for (let i = 1; i < trace.length; i++) {
    const { at, hasProgressed, isAsleep } = trace[i];
    if (hasProgressed) movedAt = at;
    if (!isAsleep && !trace[i - 1].isAsleep) wokeAt = at;
    standstill = Math.max(standstill, at - movedAt, at - wokeAt);
  }
  return { movedAt, standstill };
}
