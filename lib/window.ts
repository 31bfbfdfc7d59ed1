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
 * Quantiles and sums are `percentiles`' and `aggregate`'s part.
 *
 * @module
 */

import { type Histogram, subtractHistogram } from "./histogram.ts";
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
  type ReplicaSample,
} from "./model.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** Length of the long window: what `@1m` means. */
export const LONG_WINDOW: Seconds = 60;

/** Polls come a little late: a sample this much older than the window still begins it. */
const WINDOW_SLACK: Seconds = 0.5;

/** Two start times that differ by less are the same start, rounded differently. */
const SAME_START_TOLERANCE: Seconds = 0.5;

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

/** A history without samples. */
export function startHistory(): EndpointHistory {
  return { points: [], restartCount: 0, hasJustRestarted: false };
}

function findEngine(point: HistoryPoint, engine: EngineSample): EngineSample | undefined {
  return point.engines.find((other) =>
    other.engine === engine.engine && other.modelName === engine.modelName
  );
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

function readReplica(history: EndpointHistory, sample: EngineSample): ReplicaSample {
  const { points } = history;
  const newest = points[points.length - 1];
  const none = absent(history.hasJustRestarted ? "restarted" : "first_scrape");
  const previousPoint = points.at(-2);
  const previous = previousPoint && findEngine(previousPoint, sample);
  if (previousPoint === undefined || previous === undefined) {
    return { sample, lastPoll: none, lastMinute: none };
  }
  const lastPoll = present(subtractSamples(sample, previous, newest.at - previousPoint.at));
  // The engine may have joined later, or its metrics may have come one by one.
  for (const point of points) {
    const first = findEngine(point, sample);
    const isOld = point.at < newest.at - LONG_WINDOW - WINDOW_SLACK;
    if (isOld || first === undefined || !covers(first, sample) || point === newest) continue;
    // A counter that was away for a while may have fallen unseen.
    if (hasFallen(sample, first)) continue;
    const span = newest.at - point.at;
    return { sample, lastPoll, lastMinute: present(subtractSamples(sample, first, span)) };
  }
  return { sample, lastPoll, lastMinute: lastPoll };
}

/** One replica for each engine of the newest sample, in its order. Empty without samples. */
export function readReplicas(history: EndpointHistory): readonly ReplicaSample[] {
  const newest = history.points.at(-1);
  return newest === undefined ? [] : newest.engines.map((engine) => readReplica(history, engine));
}
