/**
 * What limits an engine now, from the samples of the last minute in which requests waited (or none
 * did) without a break, at least `MIN_SPAN` long. Whatever they do not show is unknown.
 * @module
 */

import type { GpuOutlier } from "./gpu_model.ts";
import { type EngineSample, type Figures, type FLAG_KEYS, sumCounts } from "./model.ts";
import { isPresent } from "./reading.ts";
import { MIN_SPAN } from "./rules_table.ts";
import { getGaugeNumber, getPackedCounter, type SamplePoint } from "./stats_samples.ts";
import { computeMedian } from "./stats_significance.ts";
import { getPeakValues, type Peaks, type PeakValues } from "./stats_totals.ts";
import type { ReplicaSample } from "./stats_window.ts";
import type { Ratio, Seconds } from "./units.ts";

/** KV cache in use, from which on it is what requests wait for. */
export const SCARCE_KV_RATIO: Ratio = 0.9;
/** KV cache in use, below which requests wait for something else. */
export const AMPLE_KV_RATIO: Ratio = 0.7;
/** A queue that has lasted for this long is one. */
const QUEUE_SPAN: Seconds = 4;
/** Share of samples at the plateau: requests that end together leave it until the next step ends. */
const PLATEAU_SHARE: Ratio = 0.5;
/** Share of samples at the peak, below which the number of requests is certainly no limit. */
const NO_PLATEAU_SHARE: Ratio = 0.25;
/** Share of samples with a queue, up to which it only comes and goes. */
const MAX_QUEUED_SHARE: Ratio = 0.25;
/** Median of running requests as a share of their peak, below which their number is no limit. */
export const BELOW_PEAK_RATIO: Ratio = 0.9;
/** Prompt tokens as a share of their best minute, from which on no more can be computed. */
export const NEAR_PEAK_RATIO: Ratio = 0.8;
/** Without progress for this long, figures show a fault, not a limit. */
const STUCK_SPAN: Seconds = 15;
/** Fewer samples show no plateau. */
const MIN_POINTS = 5;

/** `demand`: it serves all requests that come; `idle`: none came. */
export const LIMIT_KINDS = [
  "kv_cache",
  "concurrency",
  "prefill",
  "gpu",
  "demand",
  "idle",
  "unknown",
] as const;
export type LimitKind = typeof LIMIT_KINDS[number];

/** The flag that moves a limit. */
export const FLAG_OF_LIMIT: Readonly<Partial<Record<LimitKind, typeof FLAG_KEYS[number]>>> = {
  kv_cache: "kvCacheMemory",
  concurrency: "concurrentRequests",
  prefill: "tokenBudget",
};

/** Figures by name, in base units. */
export type Evidence<Key extends string = string> = Readonly<Partial<Record<Key, number>>>;

/**
 * `running`, `kvCacheUsageRatio`: medians of the span; `waiting`: now; `queuedRatio`: share of
 * samples in which requests waited.
 */
type LimitEvidence = Evidence<
  | ("running" | "runningPeak" | "waiting" | "kvCacheUsageRatio" | "kvCacheUsagePeakRatio")
  | ("promptTokensPerSecond" | "promptTokensPerSecondPeak" | "gpuIndex" | "queuedRatio")
>;

export interface Limit {
  readonly kind: LimitKind;
  /** For how long the evidence has held; for `unknown`, the time without a break. */
  readonly span: Seconds;
  readonly evidence: LimitEvidence;
  /** Only for `gpu`. */
  readonly outlier?: GpuOutlier;
}

export const NO_LIMIT: Limit = { kind: "unknown", span: 0, evidence: {} };

function getWaiting({ packed }: SamplePoint): number {
  return getGaugeNumber(packed, "waiting");
}

/** Returns the newest samples that agree with the newest on whether requests wait. */
function takeTail(trace: readonly SamplePoint[]): readonly SamplePoint[] {
  const newest = getWaiting(trace[trace.length - 1]);
  const differs = (point: SamplePoint): boolean => {
    const waiting = getWaiting(point);
    return point.isAsleep || !(newest > 0 ? waiting > 0 : waiting === 0);
  };
  return trace.slice(trace.findLastIndex(differs) + 1);
}

function getIncrease(tail: readonly SamplePoint[], key: "promptTokens" | "generationTokens") {
  const [first, last] = [tail[0], tail[tail.length - 1]]
    .map(({ packed }) => getPackedCounter(packed, key).value ?? NaN);
  return last - first;
}

/** Most requests wait for capacity, or the server does not say what for. */
function isShortOfCapacity({ labelled, server }: EngineSample): boolean {
  const reasons = labelled.waitingByReason;
  const capacity = reasons?.get(server.capacityReason);
  return capacity === undefined || 2 * capacity >= sumCounts(reasons);
}

function nameUnqueued(tail: readonly SamplePoint[], running: readonly number[]): LimitKind {
  const isUsed = running.some((count) => count > 0) ||
    (["promptTokens", "generationTokens"] as const).some((key) => getIncrease(tail, key) > 0);
  return isUsed ? "demand" : "idle";
}

function nameQueued(running: readonly number[], evidence: LimitEvidence): LimitKind {
  const { kvCacheUsageRatio: kv = NaN, kvCacheUsagePeakRatio: kvPeak = NaN } = evidence;
  const { runningPeak: peak = NaN, promptTokensPerSecondPeak: promptPeak = NaN } = evidence;
  if (kv >= SCARCE_KV_RATIO) return "kv_cache";
  if (!(kvPeak < AMPLE_KV_RATIO)) return "unknown";
  const atPeak = running.filter((count) => count === peak).length / running.length;
  if (peak > 0 && atPeak >= PLATEAU_SHARE) return "concurrency";
  const isBelow = (evidence.running ?? NaN) < BELOW_PEAK_RATIO * peak &&
    atPeak < NO_PLATEAU_SHARE;
  const isFast = (evidence.promptTokensPerSecond ?? NaN) >= NEAR_PEAK_RATIO * promptPeak;
  return isBelow && isFast && promptPeak > 0 ? "prefill" : "unknown";
}

function keepFinite(figures: Readonly<Record<string, number>>): LimitEvidence {
  return Object.fromEntries(Object.entries(figures).filter(([, value]) => Number.isFinite(value)));
}

/** The peaks that limits refer to: prompt tokens, counted a prompt at a time, over a minute. */
export function getLimitPeakValues(figures: Figures): PeakValues {
  const { span, promptTokensPerSecond } = figures.lastMinute;
  const isLong = (span.value ?? 0) >= MIN_SPAN;
  return {
    ...getPeakValues(figures),
    promptTokensPerSecond: isLong ? promptTokensPerSecond.value : null,
  };
}

/** Queues that come and go limit nothing. */
function findMostlyServed(trace: readonly SamplePoint[], tailSpan: Seconds): Limit {
  const waiting = trace.map(getWaiting);
  const newest = waiting[waiting.length - 1];
  const span = trace[trace.length - 1].at - trace[0].at;
  const queuedRatio = waiting.filter((count) => count > 0).length / waiting.length;
  const isServed = queuedRatio <= MAX_QUEUED_SHARE && !(newest > 0 && tailSpan >= QUEUE_SPAN) &&
    waiting.every(Number.isFinite) && !trace.some(({ isAsleep }) => isAsleep);
  return isServed && span >= MIN_SPAN && trace.length >= MIN_POINTS
    ? { kind: "demand", span, evidence: { waiting: newest, queuedRatio } }
    : { ...NO_LIMIT, span: tailSpan };
}

/**
 * Returns what limits the engine, GPUs aside.
 * @param peaks Of `getLimitPeakValues`, since its restart: a plateau below its peak is no limit.
 */
export function computeLimit(
  { sample, trace, movedAt }: Pick<ReplicaSample, "sample" | "trace" | "movedAt">,
  peaks: Peaks,
): Limit {
  const tail = takeTail(trace);
  const span = tail.length === 0 ? 0 : tail[tail.length - 1].at - tail[0].at;
  const isStuck = trace[trace.length - 1].at - movedAt >= STUCK_SPAN;
  if (isStuck) return { ...NO_LIMIT, span };
  if (span < MIN_SPAN || tail.length < MIN_POINTS) return findMostlyServed(trace, span);
  const running = tail.map(({ packed }) => getGaugeNumber(packed, "running"));
  const kv = tail.map(({ packed }) => getGaugeNumber(packed, "kvCacheUsageRatio"));
  const evidence = keepFinite({
    running: computeMedian(running),
    runningPeak: peaks.running?.value ?? NaN,
    waiting: getWaiting(tail[tail.length - 1]),
    kvCacheUsageRatio: computeMedian(kv),
    kvCacheUsagePeakRatio: Math.max(...kv),
    promptTokensPerSecond: getIncrease(tail, "promptTokens") / span,
    promptTokensPerSecondPeak: peaks.promptTokensPerSecond?.value ?? NaN,
  });
  if (evidence.waiting === 0) return { kind: nameUnqueued(tail, running), span, evidence };
  const isCapacity = isPresent(sample.gauges.waiting) && isShortOfCapacity(sample);
  return { kind: isCapacity ? nameQueued(running, evidence) : "unknown", span, evidence };
}

/** A GPU that has been throttled for `MIN_SPAN` limits an engine with work, whatever else does. */
export function limitByGpu(
  limit: Limit,
  { trace, means }: Pick<ReplicaSample, "trace" | "means">,
  { outlier, span }: { readonly outlier: GpuOutlier; readonly span: Seconds },
): Limit {
  const watched = trace[trace.length - 1].at - trace[0].at;
  const isBusy = (means.running.value ?? 0) > 0 && watched >= MIN_SPAN;
  if (outlier.kind !== "throttled" || span < MIN_SPAN || !isBusy) return limit;
  return {
    kind: "gpu",
    span,
    evidence: { ...limit.evidence, gpuIndex: outlier.gpuIndex },
    outlier,
  };
}
