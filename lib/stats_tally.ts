/**
 * Polls of a model's replicas -> sums over a span and over blocks of it. Increases between scrapes
 * are summed into bins, and bins into as many blocks as their time allows: how long the span has
 * figures is known only at its end.
 * @module
 */

import { addHistograms, countObservations, type Histogram } from "./histogram.ts";
import { type CounterKey, createRecord, getAbsence, OBJECTIVE_KEYS, sumCounts } from "./model.ts";
import { absent, isPresent, mapReading, present, type Reading, sumWhole } from "./reading.ts";
import { chooseBlockCount } from "./stats_blocks.ts";
import { getPackedGauge } from "./stats_samples.ts";
import type { ReplicaSample } from "./stats_window.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** What is summed. */
const SUM_KEYS = [
  ...["requests", "arrivals", "prompts", "promptTokens", "outputTokens"] as const,
  ...["cacheHits", "cacheQueries", "inFlightSeconds", "kvSeconds", "kvSpan"] as const,
] as const;
export type SumKey = typeof SUM_KEYS[number];
const MAX_BINS = 1000;
const MIN_BIN_SPAN: Seconds = 5;

/** Sums over a time. */
export interface Bin {
  /** Observed, by replica. */
  readonly spans: Map<string, Seconds>;
  readonly sums: Readonly<Record<SumKey, Reading>>;
  readonly latencies: Readonly<Record<typeof OBJECTIVE_KEYS[number], Reading<Histogram>>>;
}

/** What the replicas of one model counted in a span. */
export interface SpanTally {
  readonly from: EpochSeconds;
  readonly binSpan: Seconds;
  readonly bins: Map<number, Bin>;
}

/** The caller adds polls. */
export function startTally(from: EpochSeconds, to: EpochSeconds): SpanTally {
  return { from, binSpan: Math.max(MIN_BIN_SPAN, (to - from) / MAX_BINS), bins: new Map() };
}

/** Requests that run or wait, at the last scrape but `ago`; absent if only one of both is known. */
function countInFlight({ trace }: ReplicaSample, ago: number): Reading {
  const point = trace[trace.length - 1 - ago];
  if (point === undefined) return absent("first_scrape");
  const [running, waiting] = (["running", "waiting"] as const)
    .map((key) => getPackedGauge(point.packed, key));
  if (!isPresent(waiting) && (waiting.reason === "unsupported" || waiting.reason === "off")) {
    return running;
  }
  return sumWhole([running, waiting]);
}

function combine(
  one: Reading,
  other: Reading,
  compute: (one: number, other: number) => number,
): Reading {
  if (!isPresent(one)) return one;
  return isPresent(other) ? present(compute(one.value, other.value)) : other;
}

/** Mean of a gauge at both ends of a poll, times its span. */
function integrate(before: Reading, now: Reading, span: Seconds): Reading {
  return combine(before, now, (first, last) => span * (first + last) / 2);
}

function readSums(replica: ReplicaSample): Record<SumKey, Reading> | null {
  const { sample, lastPoll, trace } = replica;
  if (!isPresent(lastPoll)) return null;
  const { span, counters, labelled, latencies } = lastPoll.value;
  const { tokensAreBooked, ttftIsOfStreamed } = sample.server;
  const finished = labelled.finishedByReason;
  const requests = finished === undefined
    ? getAbsence(sample, "finishedByReason")
    : present(sumCounts(finished));
  const [before, now] = [countInFlight(replica, 1), countInFlight(replica, 0)];
  const [kvBefore, kvNow] = [trace[trace.length - 2], trace[trace.length - 1]].map((point) =>
    point === undefined ? absent("first_scrape") : getPackedGauge(point.packed, "kvCacheUsageRatio")
  );
  const kvSeconds = integrate(kvBefore, kvNow, span);
  const readCache = (key: CounterKey): Reading =>
    sample.prefixCacheIsOff ? absent("off") : combine(
      counters[key],
      combine(counters.prefixCacheHits, counters.prefixCacheQueries, () => 0),
      (count) => count,
    );
  return {
    requests,
    arrivals: combine(requests, combine(now, before, (a, b) => a - b), (a, b) => a + b),
    // Those of which the prompt tokens are counted.
    prompts: tokensAreBooked === "finish" || ttftIsOfStreamed
      ? requests
      : mapReading(latencies.ttft, countObservations),
    promptTokens: counters.promptTokens,
    outputTokens: counters.generationTokens,
    cacheHits: readCache("prefixCacheHits"),
    cacheQueries: readCache("prefixCacheQueries"),
    inFlightSeconds: integrate(before, now, span),
    kvSeconds,
    kvSpan: mapReading(kvSeconds, () => span),
  };
}

/** Adds what is present; the reason of the last is kept where nothing is. */
function addReading<T>(
  known: Reading<T> | undefined,
  next: Reading<T>,
  add: (a: T, b: T) => Reading<T>,
): Reading<T> {
  if (known === undefined || !isPresent(known)) {
    return known?.reason === "bounds_differ" ? known : next;
  }
  return isPresent(next) ? add(known.value, next.value) : known;
}

function addNumbers(one: number, other: number): Reading {
  return present(one + other);
}

function joinHistograms(one: Histogram, other: Histogram): Reading<Histogram> {
  const sum = addHistograms([one, other]);
  return sum === null ? absent("bounds_differ") : present(sum);
}

function joinBins(one: Bin | undefined, other: Bin): Bin {
  if (one === undefined) return other;
  const spans = new Map(one.spans);
  for (const [key, span] of other.spans) spans.set(key, (spans.get(key) ?? 0) + span);
  return {
    spans,
    sums: createRecord(
      SUM_KEYS,
      (key) => addReading(one.sums[key], other.sums[key], addNumbers),
    ),
    latencies: createRecord(
      OBJECTIVE_KEYS,
      (key) => addReading(one.latencies[key], other.latencies[key], joinHistograms),
    ),
  };
}

/** Adds the replica's last poll. The caller gives each poll once. */
export function addPoll(
  { from, binSpan, bins }: SpanTally,
  { key, epoch, replica }: {
    readonly key: string;
    readonly epoch: EpochSeconds;
    readonly replica: ReplicaSample;
  },
): void {
  const sums = readSums(replica);
  if (sums === null || !isPresent(replica.lastPoll)) return;
  const { span, latencies } = replica.lastPoll.value;
  const index = Math.floor((epoch - from) / binSpan);
  bins.set(index, joinBins(bins.get(index), { spans: new Map([[key, span]]), sums, latencies }));
}

/** Replicas are watched at the same time. */
export function getSpan({ spans }: Bin): Seconds {
  return Math.max(0, ...spans.values());
}

/** A span that is compared with another. */
export interface Side {
  readonly blocks: readonly Bin[];
  readonly whole: Bin;
  readonly span: Seconds;
  /** False if it is too short to tell chance from a difference. */
  readonly isTested: boolean;
  readonly usdPerHour: Reading;
}

/** `null` if nothing was counted. */
export function closeTally({ bins }: SpanTally, usdPerHour: Reading): Side | null {
  const ordered = [...bins].toSorted(([a], [b]) => a - b).map(([, bin]) => bin);
  if (ordered.length === 0) return null;
  const whole = ordered.reduce(joinBins);
  const span = getSpan(whole);
  const count = chooseBlockCount(span);
  const total = ordered.reduce((sum, bin) => sum + getSpan(bin), 0);
  const blocks: (Bin | undefined)[] = [];
  let passed = 0;
  for (const bin of ordered) {
    const own = getSpan(bin);
    const index = Math.floor((passed + own / 2) / total * Math.max(1, count));
    blocks[index] = joinBins(blocks[index], bin);
    passed += own;
  }
  return {
    ...{ whole, span, usdPerHour, isTested: count > 0 },
    blocks: blocks.filter((block) => block !== undefined),
  };
}
