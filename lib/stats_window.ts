/**
 * The samples of one endpoint over the last minute, and what its counters did
 * between them.
 *
 * Spans are measured on the monotonic clock, between the moments
 * at which responses were complete, never taken from the interval that was
 * asked for. A counter that fell, or a process or counters that began at
 * another time, mean that the server started anew: all that was known of the
 * endpoint's earlier counters is dropped, and the next rate is over what came
 * after. So a restart gives no rate for one window, and never a spike or a
 * negative one. Prometheus instead adds up across the fall (`increase`), which
 * is right for totals over hours and misleading for the last two seconds.
 * Gauges are points, taken at unequal distances: their means are those of the
 * straight lines between the points, each weighted by its time. Quantiles and
 * sums are `percentiles`' and `aggregate`'s part.
 *
 * @module
 */

import { type Histogram, isBelow, subtractHistogram } from "./histogram.ts";
import {
  COUNTER_KEYS,
  type CounterKey,
  type Delta,
  type EngineSample,
  getAbsence,
  hasAnyFallen,
  HISTOGRAM_KEYS,
  type HistogramKey,
  type LabelledKey,
  LATENCY_KEYS,
  type LatencyKey,
  MEAN_KEYS,
  type MeanKey,
  type Scrape,
} from "./model.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";
import {
  computeHistoryMean,
  type CountedSample,
  createSamplePoint,
  getMovement,
  LABELLED_COUNTERS,
  packSamples,
  type SamplePoint,
  unpackSample,
} from "./stats_samples.ts";
import { type EpochSeconds, isSameStart, type Seconds } from "./units.ts";

/** What one replica has at this moment: its newest sample, and its windows. */
export interface ReplicaSample {
  readonly sample: EngineSample;
  /** Its samples of the last 60 s and since its last restart, oldest first: the newest at least. */
  readonly trace: readonly SamplePoint[];
  /** Means over the trace, weighted by time. `first_scrape` when it is one sample. */
  readonly means: Readonly<Record<MeanKey, Reading>>;
  /**
   * When it was last seen to have nothing to do or to have done something: tokens, requests or steps
   * counted, or KV cache filled, since the sample before. At most as long ago as the trace is.
   */
  readonly movedAt: Seconds;
  /** The longest time within the trace in which it slept, or had work and did nothing. */
  readonly standstill: Seconds;
  /** Since the previous scrape. */
  readonly lastPoll: Reading<Delta>;
  /** Over the last 60 s, or as much of them as has been watched. */
  readonly lastMinute: Reading<Delta>;
}

/** Length of the long window: what `@1m` means. */
export const LONG_WINDOW: Seconds = 60;

/** Polls come a little late: a sample this much older than the window still begins it. */
const WINDOW_SLACK: Seconds = 0.5;

/** By how much two clocks may part between two scrapes before one of them cannot have measured the span. */
const CLOCK_TOLERANCE: Seconds = 2;

/** What one scrape said, at the moment of its receipt. */
export interface HistoryPoint {
  readonly at: Seconds;
  readonly engines: readonly EngineSample[];
  readonly processStart: Reading<EpochSeconds>;
}

/** The samples of one endpoint since its last restart. */
export interface EndpointHistory {
  /** The newest sample; `null` where there is none. */
  readonly newest: HistoryPoint | null;
  /** The one before; `null` where there is none. */
  readonly previous: HistoryPoint | null;
  /** By `identifyEngine`, at most a minute of each engine's samples, oldest first. Never empty. */
  readonly histories: ReadonlyMap<string, readonly SamplePoint[]>;
  /** Restarts seen since watching began. */
  readonly restartCount: number;
  /** Whether the newest sample is the first after a restart. */
  readonly hasJustRestarted: boolean;
}

/** The engine's identity within its endpoint. No safe text has a line break, so no two engines share one. */
export function identifyEngine({ modelName, engine }: EngineSample): string {
  return `${modelName}\n${engine}`;
}

/** A history without samples. */
export function startHistory(): EndpointHistory {
  return {
    newest: null,
    previous: null,
    histories: new Map(),
    restartCount: 0,
    hasJustRestarted: false,
  };
}

/** Whether the machine slept in between, or its clock was set: the monotonic clock may not have counted that. */
export function hasClockJumped(later: Scrape, earlier: Scrape | null): boolean {
  if (earlier === null) return false;
  const monotonic = later.receivedAt - earlier.receivedAt;
  const wall = later.receivedAtEpoch - earlier.receivedAtEpoch;
  return Math.abs(wall - monotonic) > CLOCK_TOLERANCE;
}

function isSameEngine(one: EngineSample, other: EngineSample | undefined): boolean {
  return other?.engine === one.engine && other.modelName === one.modelName;
}

/** The same engine's sample at that point; `place` is where it is likely to stand. */
function findEngine(
  point: HistoryPoint,
  engine: EngineSample,
  place = 0,
): EngineSample | undefined {
  const { engines } = point;
  // Engines keep their order from scrape to scrape: with 64 of them a search each time is felt.
  if (isSameEngine(engine, engines[place])) return engines[place];
  return engines.find((other) => isSameEngine(engine, other));
}

function haveStartsMoved(later: Reading<EpochSeconds>, earlier: Reading<EpochSeconds>): boolean {
  return isPresent(later) && isPresent(earlier) && !isSameStart(later.value, earlier.value);
}

/** Whether any counter of the engine is lower than before. */
function hasFallen(later: EngineSample, earlier: CountedSample): boolean {
  for (const key of COUNTER_KEYS) {
    const now = later.counters[key];
    const before = earlier.counters[key];
    if (isPresent(now) && isPresent(before) && now.value < before.value) return true;
  }
  for (const key of LABELLED_COUNTERS) {
    for (const [child, before] of earlier.labelled[key] ?? []) {
      const now = later.labelled[key]?.get(child);
      if (now !== undefined && now < before) return true;
    }
  }
  if (earlier.metrics !== undefined && hasAnyFallen(later.metrics, earlier.metrics)) return true;
  return HISTOGRAM_KEYS.some((key) => {
    const now = later.histograms[key];
    const before = earlier.histograms[key];
    return now !== undefined && before !== undefined && isBelow(now, before);
  });
}

/** What the engine said last, if that was within the last minute. */
function findLastSample(
  { newest, histories }: EndpointHistory,
  engine: EngineSample,
  place: number,
): CountedSample | null {
  const sample = newest === null ? undefined : findEngine(newest, engine, place);
  if (sample !== undefined) return sample;
  const point = histories.get(identifyEngine(engine))?.at(-1);
  return point === undefined ? null : unpackSample(point.packed);
}

/** Whether the server began anew between the newest sample of the history and `later`. */
function hasRestarted(later: HistoryPoint, history: EndpointHistory): boolean {
  const { newest } = history;
  return newest !== null && haveStartsMoved(later.processStart, newest.processStart) ||
    later.engines.some((engine, place) => {
      // An engine that was away for a while is compared with what it said last.
      const before = findLastSample(history, engine, place);
      if (before === null) return false;
      return haveStartsMoved(engine.created, before.created) || hasFallen(engine, before);
    });
}

/** Whether a sample of that instant is not too old for the minute that ends at `at`. */
function isWithinMinute(instant: Seconds, at: Seconds): boolean {
  return instant >= at - LONG_WINDOW - WINDOW_SLACK;
}

/** The traces with the sample at their ends; what is too old for any window leaves them. */
function extendHistories(
  { histories, newest }: EndpointHistory,
  { at, engines }: HistoryPoint,
): EndpointHistory["histories"] {
  // With an interval beyond a minute, the one before is still what a rate is measured from.
  const isUseful = (point: SamplePoint): boolean =>
    isWithinMinute(point.at, at) || point.at === newest?.at;
  const extended = new Map<string, readonly SamplePoint[]>();
  for (const [key, trace] of histories) {
    const kept = trace.filter(isUseful);
    if (kept.length > 0) extended.set(key, kept);
  }
  const keys = engines.map(identifyEngine);
  const packed = packSamples(engines, keys.map((key) => histories.get(key)?.at(-1)?.packed.form));
  engines.forEach((sample, i) => {
    const before = newest === null ? undefined : findEngine(newest, sample, i);
    const point = createSamplePoint({ at, sample, packed: packed[i] }, before);
    extended.set(keys[i], [...extended.get(keys[i]) ?? [], point]);
  });
  return extended;
}

/**
 * The history with one more sample at its end; samples that are too old for any
 * window leave it.
 *
 * @throws {RangeError} If the sample is not later than the newest one.
 */
export function appendSample(history: EndpointHistory, point: HistoryPoint): EndpointHistory {
  const { newest, restartCount } = history;
  if (newest !== null && !(point.at > newest.at)) {
    throw new RangeError(
      `Cannot append a sample of "${point.at}" s: the newest is of "${newest.at}" s`,
    );
  }
  if (hasRestarted(point, history)) {
    const anew = appendSample(startHistory(), point);
    return { ...anew, restartCount: restartCount + 1, hasJustRestarted: true };
  }
  const histories = extendHistories(history, point);
  return { newest: point, previous: newest, histories, restartCount, hasJustRestarted: false };
}

function subtractCounters(
  later: EngineSample,
  earlier: CountedSample,
): Readonly<Record<CounterKey, Reading>> {
  const increase = (key: CounterKey): Reading => {
    const now = later.counters[key];
    const before = earlier.counters[key];
    if (!isPresent(now)) return now;
    if (isPresent(before)) return present(now.value - before.value);
    return before.reason === "initializing" ? now : absent("first_scrape");
  };
  return Object.fromEntries(COUNTER_KEYS.map((key) => [key, increase(key)])) as Record<
    CounterKey,
    Reading
  >;
}

function subtractLabelled(
  later: EngineSample,
  earlier: CountedSample,
): Partial<Record<LabelledKey, ReadonlyMap<string, number>>> {
  const deltas: Partial<Record<LabelledKey, ReadonlyMap<string, number>>> = {};
  for (const key of LABELLED_COUNTERS) {
    const now = later.labelled[key];
    const before = earlier.labelled[key];
    if (now === undefined || (before === undefined && !earlier.initializing.has(key))) continue;
    // A child that was not there had counted nothing: vLLM makes some at their first use.
    deltas[key] = new Map([...now].map(([child, value]) => [
      child,
      value - (before?.get(child) ?? 0),
    ]));
  }
  return deltas;
}

function subtractLatency(
  later: EngineSample,
  earlier: CountedSample,
  key: LatencyKey,
): Reading<Histogram> {
  const now = later.histograms[key];
  const before = earlier.histograms[key];
  if (now === undefined) return getAbsence(later, key);
  if (before === undefined) {
    return earlier.initializing.has(key) ? present(now) : absent("first_scrape");
  }
  const delta = subtractHistogram(now, before);
  return typeof delta === "string" ? absent(delta) : present(delta);
}

function subtractSamples(later: EngineSample, earlier: CountedSample, span: Seconds): Delta {
  return {
    span,
    counters: subtractCounters(later, earlier),
    labelled: subtractLabelled(later, earlier),
    latencies: Object.fromEntries(
      LATENCY_KEYS.map((key) => [key, subtractLatency(later, earlier, key)]),
    ) as Record<LatencyKey, Reading<Histogram>>,
  };
}

/** Whether everything that `later` has counted can be compared with `earlier`. */
function covers(earlier: CountedSample, later: EngineSample): boolean {
  const has = (key: HistogramKey | LabelledKey, there: unknown): boolean =>
    there !== undefined || earlier.initializing.has(key);
  return COUNTER_KEYS.every((key) => {
    const before = earlier.counters[key];
    return !isPresent(later.counters[key]) || isPresent(before) || before.reason === "initializing";
  }) &&
    LATENCY_KEYS.every((key) =>
      later.histograms[key] === undefined || has(key, earlier.histograms[key])
    ) &&
    LABELLED_COUNTERS.every((key) =>
      later.labelled[key] === undefined || has(key, earlier.labelled[key])
    );
}

/** The increase over as much of the last minute as everything is known of; `null` where that is nothing. */
function subtractMinute(
  { at }: HistoryPoint,
  sample: EngineSample,
  trace: readonly SamplePoint[],
): Delta | null {
  // The engine may have joined later, or its metrics may have come one by one.
  for (const point of trace) {
    if (!isWithinMinute(point.at, at) || point.at === at) continue;
    const first = unpackSample(point.packed);
    // A counter that was away for a while may have fallen unseen.
    if (!covers(first, sample) || hasFallen(sample, first)) continue;
    return subtractSamples(sample, first, at - point.at);
  }
  return null;
}

function computeReplica(
  history: EndpointHistory & { readonly newest: HistoryPoint },
  sample: EngineSample,
  place: number,
): ReplicaSample {
  const { newest, previous, histories, hasJustRestarted } = history;
  const trace = histories.get(identifyEngine(sample)) ?? [];
  const means = Object.fromEntries(
    MEAN_KEYS.map((key) => [key, computeHistoryMean(trace, key)]),
  ) as Record<MeanKey, Reading>;
  const common = { sample, trace, means, ...getMovement(trace) };
  const before = previous === null ? undefined : findEngine(previous, sample, place);
  if (previous === null || before === undefined) {
    const none = absent(hasJustRestarted ? "restarted" : "first_scrape");
    return { ...common, lastPoll: none, lastMinute: none };
  }
  const lastPoll = present(subtractSamples(sample, before, newest.at - previous.at));
  const minute = subtractMinute(newest, sample, trace);
  return { ...common, lastPoll, lastMinute: minute === null ? lastPoll : present(minute) };
}

/** One replica for each engine of the newest sample, in its order. Empty without samples. */
export function computeReplicas(history: EndpointHistory): readonly ReplicaSample[] {
  const { newest } = history;
  if (newest === null) return [];
  return newest.engines.map((engine, place) =>
    computeReplica({ ...history, newest }, engine, place)
  );
}
