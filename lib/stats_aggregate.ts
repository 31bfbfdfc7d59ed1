/**
 * Merges replicas into figures. Counts and rates are added and histograms merged by bucket; ratios
 * are never added or averaged: hit and acceptance ratios are sums of hits over sums of queries,
 * KV-cache usage is a maximum and a capacity-weighted mean. A sum that lacks a replica is partial.
 * Rates use each replica's own span.
 * @module
 */

import {
  addHistograms,
  computeQuantile,
  countObservations,
  type Histogram,
  type Quantile,
} from "./histogram.ts";
import {
  type CounterKey,
  createRecord,
  type Delta,
  type EngineSample,
  type Figures,
  getAbsence,
  type HistogramKey,
  type KvCacheFigures,
  type LabelledKey,
  LATENCY_KEYS,
  type LatencyFigures,
  type LatencyKey,
  type LifetimeFigures,
  listMetrics,
  type MetricTable,
  type MetricValue,
  type RatioFigures,
  sumCounts,
  type WindowFigures,
} from "./model.ts";
import {
  type AbsenceReason,
  absent,
  averageReadings,
  checkReading,
  divideReadings,
  isPresent,
  mapReading,
  present,
  type Reading,
  sumReadings,
} from "./reading.ts";
import type { ReplicaSample } from "./stats_window.ts";
import type { Ratio, Seconds } from "./units.ts";

/** One replica's counters, over a window or its lifetime. */
interface Counts extends Pick<Delta, "counters" | "labelled"> {
  readonly sample: EngineSample;
}

function sumLabelled({ labelled, sample }: Counts, key: LabelledKey): Reading {
  const family = labelled[key];
  if (family !== undefined) return present(sumCounts(family));
  return sample.labelled[key] === undefined ? getAbsence(sample, key) : absent("first_scrape");
}

function mergeLabelled(
  all: readonly Pick<Counts, "labelled">[],
  key: LabelledKey,
): Map<string, number> {
  const merged = new Map<string, number>();
  for (const { labelled } of all) {
    for (const [child, value] of labelled[key] ?? []) {
      merged.set(child, (merged.get(child) ?? 0) + value);
    }
  }
  return merged;
}

function countComputed({ counters }: Counts): Reading {
  const { computedPromptTokens: computed, promptTokens: prompt } = counters;
  if (isPresent(computed)) return computed;
  if (!isPresent(prompt)) return prompt;
  // The body may be written between the two: cached tokens are then ahead.
  return mapReading(counters.cachedPromptTokens, (tokens) => Math.max(0, prompt.value - tokens));
}

/** A quotient weighted by its denominator. */
function divideSums(
  all: readonly Counts[],
  [numerator, denominator]: readonly [CounterKey, CounterKey],
  { isRatio = true }: { readonly isRatio?: boolean } = {},
): Reading {
  // Only replicas that have both.
  const whole = all.filter((counts) =>
    isPresent(counts.counters[numerator]) && isPresent(counts.counters[denominator])
  );
  const parts = whole.length > 0 ? whole : all;
  const ratio = divideReadings(
    sumReadings(parts.map((counts) => counts.counters[numerator])),
    sumReadings(parts.map((counts) => counts.counters[denominator])),
  );
  return isPresent(ratio) ? checkReading(ratio.value, { isRatio }) : ratio;
}

function computePrefixCacheHitRatio(all: readonly Counts[]): Reading<Ratio> {
  const ratio = divideSums(all, ["prefixCacheHits", "prefixCacheQueries"]);
  if (isPresent(ratio) || all.length === 0) return ratio;
  return all.every((counts) => counts.sample.prefixCacheIsOff) ? absent("off") : ratio;
}

function computeAcceptanceByPosition(all: readonly Counts[]): ReadonlyMap<string, Ratio> {
  const drafts = sumReadings(all.map((counts) => counts.counters.drafts));
  if (!isPresent(drafts) || drafts.value === 0) return new Map();
  const accepted = mergeLabelled(all, "acceptedTokensByPosition");
  return new Map([...accepted].map(([position, tokens]) => [position, tokens / drafts.value]));
}

function computeRatios(all: readonly Counts[]): RatioFigures {
  return {
    prefixCacheHitRatio: computePrefixCacheHitRatio(all),
    prefixCacheQueries: sumReadings(all.map((counts) => counts.counters.prefixCacheQueries)),
    externalPrefixCacheHitRatio: divideSums(
      all,
      ["externalPrefixCacheHits", "externalPrefixCacheQueries"],
    ),
    draftAcceptanceRatio: divideSums(all, ["acceptedTokens", "draftTokens"]),
    meanAcceptanceLength: mapReading(
      divideSums(all, ["acceptedTokens", "drafts"], { isRatio: false }),
      (accepted) => 1 + accepted,
    ),
  };
}

function createAbsentFigures(reason: AbsenceReason): LatencyFigures {
  const none = absent(reason);
  return { p50: none, p95: none, p99: none, mean: none, samples: none, histogram: null };
}

/** Of a histogram with observations. Few of its quantiles are ever read: they are computed then. */
class MergedLatency implements LatencyFigures {
  constructor(
    readonly histogram: Histogram,
    readonly mean: Reading<Seconds>,
    readonly samples: Reading,
  ) {}

  get p50(): Reading<Quantile> {
    return this.#getQuantile(0.5);
  }

  get p95(): Reading<Quantile> {
    return this.#getQuantile(0.95);
  }

  get p99(): Reading<Quantile> {
    return this.#getQuantile(0.99);
  }

  #getQuantile(q: number): Reading<Quantile> {
    const found = computeQuantile(this.histogram, q);
    return found === null ? absent("unsupported") : present(found);
  }
}

/**
 * Seconds. Absent with the first reason if no histogram is present, `bounds_differ` if they cannot
 * be merged (vLLM before and after 0.8.4), `no_samples` if empty.
 */
export function computeLatency(histograms: readonly Reading<Histogram>[]): LatencyFigures {
  const known = histograms.filter(isPresent);
  if (known.length === 0) {
    const [first] = histograms;
    return createAbsentFigures(first === undefined || isPresent(first) ? "missing" : first.reason);
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
  // A clock that jumps makes durations below 0 (vLLM #49135).
  const mean = Number.isFinite(merged.sum) ? checkReading(merged.sum / count) : absent("missing");
  return new MergedLatency(merged, mean, samples);
}

/** Absent over kinds of servers, as each measures something else by that name. */
export function keepDefinition(
  replicas: readonly ReplicaSample[],
  histograms: readonly Reading<Histogram>[],
): readonly Reading<Histogram>[] {
  const getName = ({ sample: { server } }: ReplicaSample): string => server.name;
  if (replicas.every((replica) => getName(replica) === getName(replicas[0]))) return histograms;
  const names = new Set(replicas.filter((_, i) => isPresent(histograms[i])).map(getName));
  return names.size > 1 ? [absent("definitions_differ")] : histograms;
}

function computeWindow(
  replicas: readonly ReplicaSample[],
  choose: (replica: ReplicaSample, index: number) => Reading<Delta>,
): WindowFigures {
  const windows = replicas.map((replica, i) => {
    const delta = choose(replica, i);
    return { delta, counts: isPresent(delta) ? { ...delta.value, sample: replica.sample } : null };
  });
  const all = windows.flatMap(({ counts }) => counts === null ? [] : [counts]);
  const sumOver = (read: (counts: Counts, span: Seconds) => Reading): Reading =>
    sumReadings(windows.map(({ delta, counts }) => {
      if (!isPresent(delta) || counts === null) return isPresent(delta) ? absent("missing") : delta;
      return read(counts, delta.value.span);
    }));
  const sumRates = (count: (counts: Counts) => Reading): Reading =>
    sumOver((counts, span) => mapReading(count(counts), (increase) => increase / span));
  /** Over a poll, tokens booked at the end of requests would be none or a lump. */
  const sumTokenRates = (count: (counts: Counts) => Reading): Reading =>
    sumReadings(windows.map(({ delta, counts }, i) => {
      const { sample, lastMinute } = replicas[i];
      const isLong = isPresent(delta) && isPresent(lastMinute) &&
        delta.value.span > lastMinute.value.span;
      if (sample.server.tokensAreBooked === "finish" && isPresent(lastMinute) && !isLong) {
        const { span } = lastMinute.value;
        const rate = mapReading(count({ ...lastMinute.value, sample }), (tokens) => tokens / span);
        return isPresent(rate) ? { ...rate, isOverMinute: true } : rate;
      }
      if (!isPresent(delta)) return delta;
      if (counts === null) return absent("missing");
      return mapReading(count(counts), (tokens) => tokens / delta.value.span);
    }));
  const absence = windows.map(({ delta }) => delta).find((delta) => !isPresent(delta));
  const none = absence !== undefined && !isPresent(absence) ? absence : absent("missing");
  const orNone = (reading: Reading): Reading => all.length === 0 ? none : reading;
  const spans = windows.flatMap(({ delta }) => isPresent(delta) ? [delta.value.span] : []);
  const ratios = computeRatios(all);
  const latencies = (key: LatencyKey): Reading<Histogram>[] =>
    windows.map(({ delta }) => isPresent(delta) ? delta.value.latencies[key] : delta);
  return {
    span: spans.length === 0 ? none : present(Math.max(...spans)),
    requestsPerSecond: sumRates((counts) => sumLabelled(counts, "finishedByReason")),
    promptTokensPerSecond: sumTokenRates(({ counters }) => counters.promptTokens),
    computedPromptTokensPerSecond: sumTokenRates(countComputed),
    cachedPromptTokensPerSecond: sumTokenRates(({ counters }) => counters.cachedPromptTokens),
    generationTokensPerSecond: sumTokenRates(({ counters }) => counters.generationTokens),
    preemptionsPerSecond: sumRates((counts) => counts.counters.preemptions),
    prefixCacheHitRatio: orNone(ratios.prefixCacheHitRatio),
    prefixCacheQueries: sumOver((counts) => counts.counters.prefixCacheQueries),
    externalPrefixCacheHitRatio: orNone(ratios.externalPrefixCacheHitRatio),
    draftAcceptanceRatio: orNone(ratios.draftAcceptanceRatio),
    meanAcceptanceLength: orNone(ratios.meanAcceptanceLength),
    acceptanceRatioByPosition: computeAcceptanceByPosition(all),
    latency: createRecord(
      LATENCY_KEYS,
      (key) => computeLatency(keepDefinition(replicas, latencies(key))),
    ),
  };
}

/** Some servers export the ratio itself; several cannot be merged. */
function getReportedHitRatio(all: readonly Counts[]): Reading<Ratio> {
  const [only] = all;
  if (all.length !== 1) return absent("missing");
  const { gauges, prefixCacheIsOff } = only.sample;
  return prefixCacheIsOff ? absent("off") : gauges.prefixCacheHitRatioReported;
}

export function getHistogram(sample: EngineSample, key: HistogramKey): Reading<Histogram> {
  const histogram = sample.histograms[key];
  return histogram === undefined ? getAbsence(sample, key) : present(histogram);
}

/** Merges counts since the servers started. */
export function computeLifetime(replicas: readonly ReplicaSample[]): LifetimeFigures {
  const all = replicas.map(({ sample }): Counts => ({
    counters: sample.counters,
    labelled: sample.labelled,
    sample,
  }));
  const sum = (key: CounterKey): Reading => sumReadings(all.map((counts) => counts.counters[key]));
  const ratios = computeRatios(all);
  const hitRatio = ratios.prefixCacheHitRatio;
  const isReported = !isPresent(hitRatio) && hitRatio.reason === "missing";
  const latencies = (key: LatencyKey): Reading<Histogram>[] =>
    replicas.map(({ sample }) => getHistogram(sample, key));
  return {
    ...ratios,
    prefixCacheHitRatio: isReported ? getReportedHitRatio(all) : hitRatio,
    promptTokens: sum("promptTokens"),
    cachedPromptTokens: sum("cachedPromptTokens"),
    generationTokens: sum("generationTokens"),
    finishedRequests: sumReadings(all.map((counts) => sumLabelled(counts, "finishedByReason"))),
    preemptions: sum("preemptions"),
    finishedByReason: mergeLabelled(all, "finishedByReason"),
    promptTokensBySource: mergeLabelled(all, "promptTokensBySource"),
    latency: createRecord(
      LATENCY_KEYS,
      (key): LatencyFigures => computeLatency(keepDefinition(replicas, latencies(key))),
    ),
  };
}

/** Marks all readings of a record. */
function markSinceStart<T extends object>(record: T): T {
  const marked = Object.entries(record).map(([key, reading]: [string, Reading<unknown>]) => [
    key,
    isPresent(reading) ? { ...reading, isSinceStart: true } : reading,
  ]);
  return Object.fromEntries(marked) as T;
}

/**
 * What stands for a window until there is one: quantiles and ratios since the servers started, and
 * rates over their uptimes, each marked. Replicas of unknown uptime have no rates.
 */
export function computeSinceStart(
  replicas: readonly ReplicaSample[],
  { lifetime, uptimes }: {
    readonly lifetime: LifetimeFigures;
    /** In the order of the replicas. */
    readonly uptimes: readonly Reading<Seconds>[];
  },
): WindowFigures {
  const rates = computeWindow(
    replicas,
    (replica, i) =>
      mapReading(uptimes[i], (span): Delta => ({
        span,
        counters: replica.sample.counters,
        labelled: replica.sample.labelled,
        latencies: createRecord(LATENCY_KEYS, () => absent("missing")),
      })),
  );
  const { latency: _, acceptanceRatioByPosition: __, ...readings } = rates;
  const { prefixCacheHitRatio, prefixCacheQueries, externalPrefixCacheHitRatio } = lifetime;
  const { draftAcceptanceRatio, meanAcceptanceLength, latency } = lifetime;
  const ratios = { prefixCacheHitRatio, prefixCacheQueries, externalPrefixCacheHitRatio };
  return {
    ...markSinceStart({ ...readings, ...ratios, draftAcceptanceRatio, meanAcceptanceLength }),
    acceptanceRatioByPosition: new Map(),
    latency: createRecord(LATENCY_KEYS, (key) => {
      const { p50, p95, p99, mean, samples, histogram } = latency[key];
      return { ...markSinceStart({ p50, p95, p99, mean, samples }), histogram };
    }),
  };
}

/** Merges the metrics of engines; omits those that cannot be merged. */
export function joinMetrics(tables: readonly MetricTable[]): readonly MetricValue[] {
  const joined = new Map<string, MetricValue>();
  for (const metric of tables.flatMap(listMetrics)) {
    const { name, labels, info, kind, value, sum } = metric;
    const isCount = kind === "counter" || kind === "histogram";
    const way = info?.overEngines ?? (isCount ? "sum" : "none");
    if (way === "none") continue;
    const key = `${name}\n${labels}`;
    const known = joined.get(key);
    if (known === undefined) joined.set(key, metric);
    else {
      joined.set(key, {
        ...known,
        value: way === "sum" ? known.value + value : Math.max(known.value, value),
        sum: known.sum === null || sum === null ? null : known.sum + sum,
      });
    }
  }
  return [...joined.values()];
}

function computeKvCache(replicas: readonly ReplicaSample[]): KvCacheFigures {
  const usages = replicas.map(({ sample }) => sample.gauges.kvCacheUsageRatio);
  const capacities = replicas.map(({ sample }) => sample.kvCacheCapacity);
  const maxOwner = usages.reduce(
    (owner, { value }, i) => (value ?? -1) > (usages[owner]?.value ?? -1) ? i : owner,
    -1,
  );
  const byCapacity = averageReadings(usages, (i) => capacities[i].value ?? 0);
  const haveAllCapacities = capacities.every(isPresent) && isPresent(byCapacity);
  return {
    maxRatio: usages[maxOwner] ?? usages[0] ?? absent("missing"),
    maxOwner,
    meanRatio: haveAllCapacities ? byCapacity : averageReadings(usages, () => 1),
    capacityTokens: sumReadings(capacities),
    capacityIsEstimate: replicas.some(({ sample }) => sample.kvCacheCapacityIsEstimate),
  };
}

/** Replicas whose mark has yet to begin count nothing. */
function computeSinceMark(replicas: readonly ReplicaSample[]): WindowFigures | null {
  if (replicas.every(({ sinceMark }) => sinceMark === undefined)) return null;
  return computeWindow(replicas, ({ sinceMark }) => sinceMark ?? absent("first_scrape"));
}

/** Merges all figures; all are `missing` for an empty list. */
export function computeFigures(replicas: readonly ReplicaSample[]): Figures {
  return {
    replicaCount: replicas.filter(({ sample }) => !sample.isShared).length,
    running: sumReadings(replicas.map(({ sample }) => sample.gauges.running)),
    waiting: sumReadings(replicas.map(({ sample }) => sample.gauges.waiting)),
    waitingByReason: mergeLabelled(replicas.map(({ sample }) => sample), "waitingByReason"),
    kvCache: computeKvCache(replicas),
    lastPoll: computeWindow(replicas, (replica) => replica.lastPoll),
    lastMinute: computeWindow(replicas, (replica) => replica.lastMinute),
    sinceMark: computeSinceMark(replicas),
    lifetime: computeLifetime(replicas),
  };
}

export const NO_FIGURES: Figures = computeFigures([]);
