/**
 * The samples of one endpoint over the last minute, and what its counters did
 * between them.
 *
 * Layer 2, pure. Spans are measured on the monotonic clock, between the moments
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

import { countObservations, type Histogram, subtractHistogram } from "./histogram.ts";
import {
  COUNTER_KEYS,
  type CounterKey,
  type Delta,
  type EngineSample,
  HISTOGRAM_KEYS,
  type HistogramKey,
  LABELLED_GAUGES,
  LABELLED_KEYS,
  type LabelledKey,
  LATENCY_KEYS,
  type LatencyKey,
  MEAN_KEYS,
  type MeanKey,
  type ReplicaSample,
  type Scrape,
  type TracePoint,
} from "./model.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** Length of the long window: what `@1m` means. */
export const LONG_WINDOW: Seconds = 60;

/** Polls come a little late: a sample this much older than the window still begins it. */
const WINDOW_SLACK: Seconds = 0.5;

/** Two start times that differ by less are the same start, rounded differently. */
const SAME_START_TOLERANCE: Seconds = 0.5;

/** By how much two clocks may part between two scrapes before one of them cannot have measured the span. */
const CLOCK_TOLERANCE: Seconds = 2;

const LABELLED_COUNTERS = LABELLED_KEYS.filter((key) => !LABELLED_GAUGES.has(key));

/** What one scrape said, at the moment of its receipt. */
export interface HistoryPoint {
  readonly at: Seconds;
  readonly engines: readonly EngineSample[];
  readonly processStart: Reading<EpochSeconds>;
}

/** The samples of one endpoint since its last restart, at most a minute of them, oldest first. */
export interface EndpointHistory {
  readonly points: readonly HistoryPoint[];
  /** Restarts seen since watching began. */
  readonly restartCount: number;
  /** Whether the newest point is the first after a restart. */
  readonly hasJustRestarted: boolean;
}

/** The engine's identity within its endpoint. */
export function identifyEngine({ modelName, engine }: EngineSample): string {
  return `${modelName} ${engine}`;
}

/** A history without samples. */
export function startHistory(): EndpointHistory {
  return { points: [], restartCount: 0, hasJustRestarted: false };
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
  return isPresent(later) && isPresent(earlier) &&
    Math.abs(later.value - earlier.value) > SAME_START_TOLERANCE;
}

/** Whether any counter of the engine is lower than before. */
function hasFallen(later: EngineSample, earlier: EngineSample): boolean {
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
  return HISTOGRAM_KEYS.some((key) => {
    const now = later.histograms[key];
    const before = earlier.histograms[key];
    return now !== undefined && before !== undefined &&
      subtractHistogram(now, before) === "restarted";
  });
}

/** Whether the server began anew between the newest of the points and `later`. */
function hasRestarted(later: HistoryPoint, points: readonly HistoryPoint[]): boolean {
  const newest = points[points.length - 1];
  return haveStartsMoved(later.processStart, newest.processStart) ||
    later.engines.some((engine) => {
      // An engine that was away for a while is compared with what it said last.
      const lastSeen = points.findLast((point) => findEngine(point, engine) !== undefined);
      const before = lastSeen && findEngine(lastSeen, engine);
      if (before === undefined) return false;
      return haveStartsMoved(engine.created, before.created) || hasFallen(engine, before);
    });
}

/**
 * The history with one more sample at its end; samples that are too old for any
 * window leave it.
 *
 * @throws {RangeError} If the sample is not later than the newest one.
 */
export function appendSample(history: EndpointHistory, point: HistoryPoint): EndpointHistory {
  const newest = history.points.at(-1);
  if (newest === undefined) return { ...history, points: [point] };
  if (!(point.at > newest.at)) {
    throw new RangeError(
      `Cannot append a sample of "${point.at}" s: the newest is of "${newest.at}" s`,
    );
  }
  if (hasRestarted(point, history.points)) {
    return { points: [point], restartCount: history.restartCount + 1, hasJustRestarted: true };
  }
  const oldestUseful = point.at - LONG_WINDOW - WINDOW_SLACK;
  const kept = history.points.filter((other) => other.at >= oldestUseful);
  // With an interval beyond a minute, the one before is still what a rate is measured from.
  const before = kept.length > 0 ? kept : [newest];
  return { ...history, points: [...before, point], hasJustRestarted: false };
}

function subtractCounters(
  later: EngineSample,
  earlier: EngineSample,
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
  earlier: EngineSample,
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
  earlier: EngineSample,
  key: LatencyKey,
): Reading<Histogram> {
  const now = later.histograms[key];
  const before = earlier.histograms[key];
  if (now === undefined) return absent(later.initializing.has(key) ? "initializing" : "missing");
  if (before === undefined) {
    return earlier.initializing.has(key) ? present(now) : absent("first_scrape");
  }
  const delta = subtractHistogram(now, before);
  return typeof delta === "string" ? absent(delta) : present(delta);
}

function subtractSamples(later: EngineSample, earlier: EngineSample, span: Seconds): Delta {
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
function covers(earlier: EngineSample, later: EngineSample): boolean {
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

/** The mean of a gauge over the trace. Absent for the newest sample's reason where that has none. */
function computeMean(trace: readonly TracePoint[], key: MeanKey): Reading {
  const newest = trace[trace.length - 1].sample.gauges[key];
  if (!isPresent(newest)) return newest;
  let area = 0;
  let span = 0;
  for (let i = 1; i < trace.length; i++) {
    const before = trace[i - 1].sample.gauges[key];
    const after = trace[i].sample.gauges[key];
    // It may have come later than the engine's other metrics.
    if (!isPresent(before) || !isPresent(after)) continue;
    const time = trace[i].at - trace[i - 1].at;
    area += time * (before.value + after.value) / 2;
    span += time;
  }
  return span === 0 ? absent("first_scrape") : present(area / span);
}

function isIdle({ gauges: { running, waiting } }: EngineSample): boolean {
  return (running.value ?? 0) === 0 && (waiting.value ?? 0) === 0;
}

function sumFinished(sample: EngineSample): number {
  let sum = 0;
  for (const count of sample.labelled.finishedByReason?.values() ?? []) sum += count;
  return sum;
}

/** Whether the engine did something between the two. A long prompt counts nothing yet, and fills the KV cache. */
function hasMoved(later: EngineSample, earlier: EngineSample): boolean {
  const differ = (now: Reading, before: Reading): boolean => now.value !== before.value;
  return differ(later.counters.generationTokens, earlier.counters.generationTokens) ||
    differ(later.counters.promptTokens, earlier.counters.promptTokens) ||
    sumFinished(later) !== sumFinished(earlier) ||
    countSteps(later) !== countSteps(earlier) ||
    differ(later.gauges.kvCacheUsageRatio, earlier.gauges.kvCacheUsageRatio);
}

function countSteps({ histograms: { iterationTokens } }: EngineSample): number {
  return iterationTokens === undefined ? 0 : countObservations(iterationTokens);
}

/** Whether the engine sleeps (vLLM's sleep mode). */
export function isAsleep({ labelled: { sleepState } }: EngineSample): boolean {
  return (sleepState?.get("weights_offloaded") ?? 0) === 1 ||
    (sleepState?.get("discard_all") ?? 0) === 1;
}

/** When the engine last moved or had nothing to do, and how long at most it did neither. */
function readMovement(
  trace: readonly TracePoint[],
): Pick<ReplicaSample, "movedAt" | "standstill"> {
  let movedAt = trace[0].at;
  let wokeAt = trace[0].at;
  let standstill = 0;
  for (let i = 1; i < trace.length; i++) {
    const { at, sample } = trace[i];
    const before = trace[i - 1].sample;
    if (isIdle(sample) || hasMoved(sample, before)) movedAt = at;
    if (!isAsleep(sample) && !isAsleep(before)) wokeAt = at;
    standstill = Math.max(standstill, at - movedAt, at - wokeAt);
  }
  return { movedAt, standstill };
}

/** The engine's samples of the last minute. With an interval beyond that, the one before is among them. */
function readTrace(history: EndpointHistory, sample: EngineSample, place: number): TracePoint[] {
  const { points } = history;
  const newest = points[points.length - 1];
  const trace: TracePoint[] = [];
  for (const point of points) {
    const isOld = point.at < newest.at - LONG_WINDOW - WINDOW_SLACK;
    const found = point === newest ? sample : findEngine(point, sample, place);
    if (found !== undefined && (!isOld || point === points.at(-2))) {
      trace.push({ at: point.at, sample: found });
    }
  }
  return trace;
}

function readReplica(
  history: EndpointHistory,
  sample: EngineSample,
  place: number,
): ReplicaSample {
  const { points } = history;
  const newest = points[points.length - 1];
  const trace = readTrace(history, sample, place);
  const means = Object.fromEntries(
    MEAN_KEYS.map((key) => [key, computeMean(trace, key)]),
  ) as Record<MeanKey, Reading>;
  const common = { sample, trace, means, ...readMovement(trace) };
  const none = absent(history.hasJustRestarted ? "restarted" : "first_scrape");
  const previousPoint = points.at(-2);
  const previous = previousPoint && findEngine(previousPoint, sample, place);
  if (previousPoint === undefined || previous === undefined) {
    return { ...common, lastPoll: none, lastMinute: none };
  }
  const lastPoll = present(subtractSamples(sample, previous, newest.at - previousPoint.at));
  // The engine may have joined later, or its metrics may have come one by one.
  for (const { at, sample: first } of trace) {
    const isOld = at < newest.at - LONG_WINDOW - WINDOW_SLACK;
    if (isOld || at === newest.at || !covers(first, sample)) continue;
    // A counter that was away for a while may have fallen unseen.
    if (hasFallen(sample, first)) continue;
    const lastMinute = present(subtractSamples(sample, first, newest.at - at));
    return { ...common, lastPoll, lastMinute };
  }
  return { ...common, lastPoll, lastMinute: lastPoll };
}

/** One replica for each engine of the newest sample, in its order. Empty without samples. */
export function readReplicas(history: EndpointHistory): readonly ReplicaSample[] {
  const newest = history.points.at(-1);
  return newest === undefined
    ? []
    : newest.engines.map((engine, place) => readReplica(history, engine, place));
}
