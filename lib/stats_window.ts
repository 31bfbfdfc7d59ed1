/**
 * The history of one endpoint: samples of the last minute, and counter increases between them.
 * Spans are monotonic, from receipt to receipt, never the configured interval. A counter that falls
 * or another start time means a restart: earlier samples are dropped, so there is no rate for one
 * window, never a spike. (Prometheus' `increase` adds across the fall, which suits hours, not
 * seconds.)
 * @module
 */

import { type Histogram, isBelow, subtractHistogram } from "./histogram.ts";
import {
  combineSamples,
  COUNTER_KEYS,
  type CounterKey,
  createRecord,
  type Delta,
  type EngineSample,
  getAbsence,
  HISTOGRAM_KEYS,
  type HistogramKey,
  type LabelledKey,
  LATENCY_KEYS,
  type LatencyKey,
  MEAN_KEYS,
  type MeanKey,
  type MetricEntry,
  type MetricTable,
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

/** A replica's newest sample and windows. */
export interface ReplicaSample {
  readonly sample: EngineSample;
  /** The last 60 s since the last restart, oldest first; never empty. */
  readonly trace: readonly SamplePoint[];
  /** Time-weighted. `first_scrape` for a single sample. */
  readonly means: Readonly<Record<MeanKey, Reading>>;
  /** When it was last idle or active: tokens, requests or steps counted, or KV cache filled. */
  readonly movedAt: Seconds;
  /** The longest time it slept, or had work and made no progress. */
  readonly standstill: Seconds;
  readonly lastPoll: Reading<Delta>;
  /** Over the last 60 s, or less if watched for less. */
  readonly lastMinute: Reading<Delta>;
  /** Since the mark of the user; left out without one. */
  readonly sinceMark?: Reading<Delta>;
}

/** `@1m`. */
export const LONG_WINDOW: Seconds = 60;
/** Tolerance for late polls. */
const WINDOW_SLACK: Seconds = 0.5;
/** If the two clocks diverge by more, a span is unreliable. */
const CLOCK_TOLERANCE: Seconds = 2;

/** What the whole server has counted. */
export interface ServerCounts {
  /** Requests refused on admission. */
  readonly rejected: number;
  /** HTTP responses, and those with a status of 5xx. */
  readonly responses: number;
  readonly serverErrors: number;
}

/** One scrape. */
export interface HistoryPoint {
  readonly at: Seconds;
  readonly engines: readonly EngineSample[];
  readonly processStart: Reading<EpochSeconds>;
  /** Absent if unknown. */
  readonly counts?: ServerCounts;
}

/** Where an endpoint seems to be several servers behind one address. */
interface Alternation {
  /** The last scrape before the newest change of server. */
  readonly other: HistoryPoint;
  /** Changes in a row, each but the first back to the server before. */
  readonly changes: number;
}

/** The samples of an endpoint since its last restart. */
export interface EndpointHistory {
  readonly newest: HistoryPoint | null;
  readonly previous: HistoryPoint | null;
  /** By `identifyEngine`; up to a minute, oldest first. */
  readonly histories: ReadonlyMap<string, readonly SamplePoint[]>;
  /** In this session. */
  readonly restartCount: number;
  /** Whether the newest sample is the first after a restart, or of another server. */
  readonly hasJustRestarted: boolean;
  /** Of the last minute, oldest first. */
  readonly counts: readonly (ServerCounts & { readonly at: Seconds })[];
  /** `null` if there was no change lately. */
  readonly alternation: Alternation | null;
}

/** Unique within the endpoint: sanitized text has no line break. */
export function identifyEngine({ modelName, engine }: EngineSample): string {
  return `${modelName}\n${engine}`;
}

/** Replicas of one model on one kind of server form a group. Unique: sanitized text has no line break. */
export function identifyGroup({ modelName, server }: EngineSample): string {
  return `${modelName}\n${server.name}`;
}

export function startHistory(): EndpointHistory {
  return {
    newest: null,
    previous: null,
    histories: new Map(),
    restartCount: 0,
    hasJustRestarted: false,
    counts: [],
    alternation: null,
  };
}

/** Whether the machine slept or its clock was set. */
export function hasClockJumped(later: Scrape, earlier: Scrape | null): boolean {
  if (earlier === null) return false;
  const monotonic = later.receivedAt - earlier.receivedAt;
  const wall = later.receivedAtEpoch - earlier.receivedAtEpoch;
  return Math.abs(wall - monotonic) > CLOCK_TOLERANCE;
}

function isSameEngine(one: EngineSample, other: EngineSample | undefined): boolean {
  return other?.engine === one.engine && other.modelName === one.modelName;
}

function findEngine(
  point: HistoryPoint,
  engine: EngineSample,
  place = 0,
): EngineSample | undefined {
  const { engines } = point;
  // Engines keep their order, which saves a search.
  if (isSameEngine(engine, engines[place])) return engines[place];
  return engines.find((other) => isSameEngine(engine, other));
}

function haveStartsMoved(later: Reading<EpochSeconds>, earlier: Reading<EpochSeconds>): boolean {
  return isPresent(later) && isPresent(earlier) && !isSameStart(later.value, earlier.value);
}

function indexEntries({ entries }: MetricTable): ReadonlyMap<string, MetricEntry> {
  return new Map(entries.map((entry) => [`${entry.name}\n${entry.labels}`, entry]));
}

/** Whether any counter or histogram count fell. */
function hasAnyFallen(later: MetricTable, earlier: MetricTable): boolean {
  const isSame = later.entries === earlier.entries;
  const before = isSame ? null : indexEntries(earlier);
  return later.entries.some(({ name, labels, kind, samples }) => {
    if (kind !== "counter" && kind !== "histogram") return false;
    const known = before === null ? samples : before.get(`${name}\n${labels}`)?.samples;
    if (known === undefined) return false;
    return combineSamples(samples, { values: later.values, isGauge: false }) <
      combineSamples(known, { values: earlier.values, isGauge: false });
  });
}

/** Whether any counter or bucket is lower than before. */
export function hasFallen(later: EngineSample, earlier: CountedSample): boolean {
  for (const key of COUNTER_KEYS) {
    const now = later.counters[key];
    const before = earlier.counters[key];
    // A metric that appears with its first use is away after a restart.
    const isLess = isPresent(now) ? now.value < (before.value ?? 0) : now.reason === "initializing";
    if (isPresent(before) && isLess) return true;
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

/** Returns the engine's last sample within the minute. */
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

function hasRestarted(later: HistoryPoint, history: EndpointHistory): boolean {
  const { newest } = history;
  return newest !== null && haveStartsMoved(later.processStart, newest.processStart) ||
    later.engines.some((engine, place) => {
      // Compare an engine that was missing with its last sample.
      const before = findLastSample(history, engine, place);
      if (before === null) return false;
      return haveStartsMoved(engine.created, before.created) || hasFallen(engine, before);
    });
}

function isWithinMinute(instant: Seconds, at: Seconds): boolean {
  return instant >= at - LONG_WINDOW - WINDOW_SLACK;
}

/** Appends samples and drops those too old for any window. */
function extendHistories(
  { histories, newest }: EndpointHistory,
  { at, engines }: HistoryPoint,
): EndpointHistory["histories"] {
  // With intervals beyond a minute, rates start at the previous sample.
  const isUseful = (point: SamplePoint): boolean =>
    isWithinMinute(point.at, at) || point.at === newest?.at;
  const extended = new Map<string, readonly SamplePoint[]>();
  for (const [key, trace] of histories) {
    const first = trace.findIndex(isUseful);
    if (first >= 0) extended.set(key, first === 0 ? trace : trace.slice(first));
  }
  const keys = engines.map(identifyEngine);
  const packed = packSamples(engines, keys.map((key) => histories.get(key)?.at(-1)?.packed.form));
  engines.forEach((sample, i) => {
    const earlier = newest === null ? undefined : findEngine(newest, sample, i);
    const movedAt = histories.get(keys[i])?.at(-1)?.movedAt ?? newest?.at ?? at;
    const before = earlier && { sample: earlier, movedAt };
    const point = createSamplePoint({ at, sample, packed: packed[i] }, before);
    extended.set(keys[i], [...extended.get(keys[i]) ?? [], point]);
  });
  return extended;
}

function extendCounts(
  { counts }: EndpointHistory,
  { at, counts: newest }: HistoryPoint,
): EndpointHistory["counts"] {
  if (newest === undefined) return [];
  const last = counts.at(-1);
  // API servers come and go, and take their counts with them.
  const hasFallen = last !== undefined &&
    (newest.responses < last.responses || newest.rejected < last.rejected ||
      newest.serverErrors < last.serverErrors);
  const kept = hasFallen ? [] : counts.filter((point) => isWithinMinute(point.at, at));
  return [...kept, { at, ...newest }];
}

/** Whether `later` may be of the server that answered before the newest change. */
function continuesOther(later: HistoryPoint, { alternation }: EndpointHistory): boolean {
  return alternation !== null &&
    !hasRestarted(later, { ...startHistory(), newest: alternation.other });
}

function changeServer(
  point: HistoryPoint,
  { newest, restartCount, alternation }: EndpointHistory & { readonly newest: HistoryPoint },
  hasReturned: boolean,
): EndpointHistory {
  return {
    ...appendSample(startHistory(), point),
    restartCount: restartCount + (hasReturned ? 0 : 1),
    hasJustRestarted: true,
    alternation: { other: newest, changes: hasReturned ? (alternation?.changes ?? 0) + 1 : 1 },
  };
}

/**
 * Appends a sample.
 * @throws {RangeError} If the sample is not later than the newest.
 */
export function appendSample(history: EndpointHistory, point: HistoryPoint): EndpointHistory {
  const { newest, restartCount, alternation } = history;
  if (newest !== null && !(point.at > newest.at)) {
    throw new RangeError(
      `Cannot append a sample of "${point.at}" s: the newest is of "${newest.at}" s`,
    );
  }
  if (newest !== null) {
    // No restart brings the counters of another server back.
    const hasReturned = continuesOther(point, history);
    // Without a start time, counters that rise may be another server's.
    const isOther = hasReturned && !isPresent(point.processStart) &&
      !continuesOther(newest, history);
    if (isOther || hasRestarted(point, history)) {
      return changeServer(point, { ...history, newest }, hasReturned);
    }
  }
  const isRecent = alternation !== null && isWithinMinute(alternation.other.at, point.at);
  return {
    ...{ newest: point, previous: newest, restartCount, hasJustRestarted: false },
    histories: extendHistories(history, point),
    counts: extendCounts(history, point),
    alternation: isRecent ? alternation : null,
  };
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
  return createRecord(COUNTER_KEYS, increase);
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
    // A new child counts from 0: vLLM creates some on first use.
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

export function subtractSamples(later: EngineSample, earlier: CountedSample, span: Seconds): Delta {
  return {
    span,
    counters: subtractCounters(later, earlier),
    labelled: subtractLabelled(later, earlier),
    latencies: createRecord(LATENCY_KEYS, (key) => subtractLatency(later, earlier, key)),
  };
}

/** Whether `earlier` has all that `later` has counted. */
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

/** Returns the increase over the last minute, or the part of it that has all metrics. */
function subtractMinute(
  { at }: HistoryPoint,
  sample: EngineSample,
  trace: readonly SamplePoint[],
): Delta | null {
  // Engines and metrics may appear later.
  for (const point of trace) {
    if (!isWithinMinute(point.at, at) || point.at === at) continue;
    const first = unpackSample(point.packed);
    // A counter may have fallen while missing.
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
  const means = createRecord(MEAN_KEYS, (key) => computeHistoryMean(trace, key));
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

/** One per engine of the newest sample, in order. */
export function computeReplicas(history: EndpointHistory): readonly ReplicaSample[] {
  const { newest } = history;
  if (newest === null) return [];
  return newest.engines.map((engine, place) =>
    computeReplica({ ...history, newest }, engine, place)
  );
}
