/**
 * The rules of one server, without peers: is it well for its users? Gauges must hold for a time;
 * counters are judged over the last minute, by counts that are certain although the window may
 * still be shorter.
 * @module
 */

import { computeQuantileFloor, countObservations } from "./histogram.ts";
import { type Delta, type MeanKey, sumCounts } from "./model.ts";
import { isPresent } from "./reading.ts";
import type { LatencyRatios } from "./rules_imbalance.ts";
import { chooseLevel, type Condition, createFinding, type Finding } from "./rules_finding.ts";
import { MIN_SPAN, type Rule, type Rules } from "./rules_table.ts";
import { countPacked, countPackedUpTo, getPackedGauge } from "./stats_samples.ts";
import { type EndpointHistory, LONG_WINDOW, type ReplicaSample } from "./stats_window.ts";
import type { Seconds } from "./units.ts";

/** A replica that is watched, and what is known from before. */
interface Patient {
  readonly key: string;
  readonly replica: ReplicaSample;
  readonly ratios: LatencyRatios;
  /** Tokens per second of the minute before the last; `null` if unknown. */
  readonly earlierOutput: number | null;
  /** None follows: no hold can be waited for. */
  readonly isSingleEvaluation: boolean;
}

function getNewestTime({ trace }: ReplicaSample): Seconds {
  return trace[trace.length - 1].at;
}

function getSpan({ trace }: ReplicaSample): Seconds {
  return trace[trace.length - 1].at - trace[0].at;
}

/**
 * Returns since when a gauge has been above the limit, if it is, in most samples. It may dip in
 * between, but not to `floor`.
 */
function findStreak(
  { trace }: ReplicaSample,
  key: MeanKey,
  { limit, floor }: { readonly limit: number; readonly floor: number },
): { readonly value: number; readonly since: Seconds } | null {
  const newest = getPackedGauge(trace[trace.length - 1].packed, key);
  if (!isPresent(newest) || !(newest.value > limit)) return null;
  let since = Infinity;
  let above = 0;
  for (let i = trace.length - 1; i >= 0; i--) {
    const { value } = getPackedGauge(trace[i].packed, key);
    if (value === null || !(value > floor)) break;
    if (!(value > limit)) continue;
    above++;
    if (2 * above > trace.length - i) since = trace[i].at;
  }
  return { value: newest.value, since };
}

/**
 * Returns the least that the P95 of queue time can be, if that is above the limit: unless all slow
 * requests came at once, or the queue is gone.
 */
function findSlowQueue(
  { lastMinute, trace, sample }: ReplicaSample,
  { latency, samples, hold }: Pick<Rule<"queuing">, "latency" | "samples" | "hold">,
): { readonly value: Seconds; readonly since: Seconds } | null {
  const histogram = lastMinute.value?.latencies.queue.value ?? null;
  if (histogram === null || countObservations(histogram) < samples) return null;
  const value = computeQuantileFloor(histogram, 0.95);
  if (value === null || value < latency) return null;
  const bucket = histogram.bounds.findIndex((bound) => bound >= latency);
  const countSlow = (i: number): number =>
    countPacked(trace[i].packed, "queue") - countPackedUpTo(trace[i].packed, "queue", bucket);
  let since = Infinity;
  let until = -Infinity;
  for (let i = 1; i < trace.length; i++) {
    if (!(countSlow(i) > countSlow(i - 1))) continue;
    since = Math.min(since, trace[i].at);
    until = trace[i].at;
  }
  const newestAt = trace[trace.length - 1].at;
  const isGone = (sample.gauges.waiting.value ?? 0) === 0 && newestAt - until > hold;
  return until - since >= hold && !isGone ? { value, since } : null;
}

function checkQueue(
  rule: Rule<"queuing" | "overloaded">,
  { key, replica, isSingleEvaluation }: Patient,
): readonly Finding[] {
  const streak = findStreak(replica, "waiting", { limit: rule.threshold, floor: 0 });
  const hold = isSingleEvaluation ? 0 : rule.hold;
  const slow = findSlowQueue(replica, { ...rule, hold });
  if (streak === null && slow === null) return [];
  const conditions: readonly Condition[] = [
    ...(streak === null
      ? []
      : [{ signal: "waiting", value: streak.value, limit: rule.threshold } as const]),
    ...(slow === null
      ? []
      : [{ signal: "queue_time", value: slow.value, limit: rule.latency } as const]),
  ];
  const [{ value, limit }] = conditions;
  return [createFinding(rule, {
    ...{ key, value, baseline: limit, samples: 0, span: getSpan(replica), conditions },
    unit: streak === null ? "seconds" : "requests",
    since: Math.min(streak?.since ?? Infinity, slow?.since ?? Infinity),
  })];
}

function countPreemptions({ lastMinute }: ReplicaSample): number {
  return lastMinute.value?.counters.preemptions.value ?? 0;
}

function checkFull(rule: Rule<"full">, { key, replica }: Patient): readonly Finding[] {
  const limit = rule.threshold;
  const streak = findStreak(replica, "kvCacheUsageRatio", { limit, floor: limit });
  if (streak === null) return [];
  const { value, since } = streak;
  const waiting = replica.sample.gauges.waiting.value ?? 0;
  const preemptions = countPreemptions(replica);
  const candidates: readonly Condition[] = [
    { signal: "kv_cache", value, limit },
    { signal: "waiting", value: waiting, limit: 0 },
    { signal: "preemptions", value: preemptions, limit: 0 },
  ];
  return [createFinding(rule, {
    ...{ key, value, baseline: limit, samples: 0, span: getSpan(replica), since },
    conditions: candidates.filter((one) => one.value > one.limit),
    level: chooseLevel(rule, waiting > 0 || preemptions > 0),
  })];
}

function checkHot(rule: Rule<"hot">, { key, replica, ratios }: Patient): readonly Finding[] {
  const { kvCacheUsageRatio, waiting } = replica.sample.gauges;
  const candidates: readonly Condition[] = [
    { signal: "kv_cache", value: kvCacheUsageRatio.value ?? 0, limit: rule.kv },
    { signal: "waiting", value: waiting.value ?? 0, limit: rule.waiting },
    { signal: "preemptions", value: countPreemptions(replica), limit: 0 },
    { signal: "ttft", value: ratios.ttft, limit: rule.latency },
    { signal: "itl", value: ratios.itl, limit: rule.latency },
  ];
  const conditions = candidates.filter(({ value, limit }) => value > limit);
  const { length: value } = conditions;
  if (value < rule.threshold) return [];
  const span = getSpan(replica);
  return [createFinding(rule, {
    ...{ key, value, baseline: rule.threshold, samples: 0, span, conditions },
  })];
}

/** A prompt that is long enough gives no sign for minutes. A batch of several would. */
function mayBePrefill({ sample: { gauges: { running, waiting } } }: ReplicaSample): boolean {
  return running.value === 1 && (waiting.value ?? 0) === 0;
}

function checkStalled(rule: Rule<"stalled">, { key, replica }: Patient): readonly Finding[] {
  const value = getNewestTime(replica) - replica.movedAt;
  const limit = rule.threshold;
  // One long answer counts nothing until it ends.
  const isLate = replica.sample.server.tokensAreBooked === "finish";
  if (value < limit || isLate) return [];
  const isPrefill = mayBePrefill(replica);
  return [createFinding(rule, {
    ...{ key, value, baseline: limit, samples: 0, span: getSpan(replica) },
    since: replica.movedAt,
    level: chooseLevel(rule, isPrefill),
    conditions: isPrefill ? [{ signal: "long_prefill", value, limit }] : [],
  })];
}

function checkCollapse(
  rule: Rule<"collapse">,
  { key, replica, earlierOutput }: Patient,
  delta: Delta,
): readonly Finding[] {
  const { trace, sample } = replica;
  const tokens = delta.counters.generationTokens;
  const { finishedByReason } = delta.labelled;
  const first = getPackedGauge(trace[0].packed, "waiting");
  const waiting = sample.gauges.waiting;
  if (
    !isPresent(tokens) || finishedByReason === undefined || earlierOutput === null ||
    !isPresent(first) || !isPresent(waiting) || delta.span < MIN_SPAN
  ) return [];
  const value = tokens.value / delta.span;
  const limit = rule.threshold * earlierOutput;
  const hasCollapsed = waiting.value > first.value && sumCounts(finishedByReason) === 0 &&
    value < limit;
  if (!hasCollapsed) return [];
  return [createFinding(rule, {
    ...{ key, value, baseline: earlierOutput, samples: 0, span: delta.span },
    ratio: earlierOutput / value,
    conditions: [
      { signal: "waiting", value: waiting.value, limit: first.value },
      { signal: "output", value, limit },
    ],
  })];
}

function checkFailing(
  rule: Rule<"failing">,
  { key, replica: { sample: { server } } }: Patient,
  delta: Delta,
): readonly Finding[] {
  const failed = delta.counters.failedRequests.value ?? 0;
  const corrupted = delta.counters.corruptedRequests.value ?? 0;
  const finished = sumCounts(delta.labelled.finishedByReason) +
    (server.failuresAreApart ? failed : 0);
  const share = finished > 0 ? failed / finished : 0;
  const isFailing = failed >= rule.samples && share >= rule.threshold;
  if (!isFailing && !(corrupted > 0)) return [];
  return [createFinding(rule, {
    ...{ key, value: share, baseline: rule.threshold, samples: finished, span: delta.span },
    level: chooseLevel(rule, isFailing && share >= rule.critical),
    conditions: [
      ...(isFailing
        ? [{ signal: "failed_share", value: share, limit: rule.threshold } as const]
        : []),
      ...(corrupted > 0 ? [{ signal: "corrupted", value: corrupted, limit: 0 } as const] : []),
    ],
  })];
}

function checkPreempting(
  rule: Rule<"preempting">,
  { key, replica }: Patient,
  delta: Delta,
): readonly Finding[] {
  const preemptions = delta.counters.preemptions.value ?? 0;
  // The least that the whole minute will have.
  const rate = preemptions / LONG_WINDOW;
  const requests = sumCounts(delta.labelled.finishedByReason) +
    (replica.sample.gauges.running.value ?? 0);
  const share = requests > 0 ? preemptions / requests : 0;
  const isOften = preemptions >= rule.samples && share >= rule.share;
  if (rate < rule.threshold && !isOften) return [];
  const evidence = isOften
    ? { value: share, baseline: rule.share, unit: "ratio" } as const
    : { value: rate, baseline: rule.threshold };
  return [createFinding(rule, {
    ...{ key, ...evidence, samples: requests, span: delta.span },
    conditions: [
      { signal: "preemptions", value: preemptions, limit: 0 },
      ...(isOften ? [{ signal: "preempted_share", value: share, limit: rule.share } as const] : []),
    ],
  })];
}

function checkTransfer(
  rule: Rule<"transfer">,
  { key }: Patient,
  delta: Delta,
): readonly Finding[] {
  const value = delta.counters.failedTransfers.value ?? 0;
  const limit = rule.threshold;
  if (value < limit) return [];
  const { span } = delta;
  const conditions = [{ signal: "failed_transfers", value, limit }] as const;
  return [createFinding(rule, { key, value, baseline: limit, samples: 0, span, conditions })];
}

/** Applies the rules of one replica. */
export function evaluateReplica(patient: Patient, rules: Rules): readonly Finding[] {
  const delta = patient.replica.lastMinute.value;
  return [
    ...checkStalled(rules.stalled, patient),
    ...checkQueue(rules.overloaded, patient),
    ...checkHot(rules.hot, patient),
    ...checkFull(rules.full, patient),
    ...checkQueue(rules.queuing, patient),
    ...(delta === null ? [] : [
      ...checkCollapse(rules.collapse, patient, delta),
      ...checkFailing(rules.failing, patient, delta),
      ...checkPreempting(rules.preempting, patient, delta),
      ...checkTransfer(rules.transfer, patient, delta),
    ]),
  ];
}

function checkRefusing(
  rule: Rule<"refusing">,
  key: string,
  { counts, finished }: {
    readonly counts: EndpointHistory["counts"];
    readonly finished: number;
  },
): readonly Finding[] {
  const [first] = counts;
  const last = counts.at(-1);
  if (last === undefined || first === last) return [];
  // A rejection is also an HTTP response of 503.
  const refused = Math.max(
    last.rejected - first.rejected,
    last.serverErrors - first.serverErrors,
  );
  const responses = last.responses - first.responses;
  const requests = Math.max(refused, responses > 0 ? responses : finished + refused);
  const value = requests > 0 ? refused / requests : 0;
  const limit = rule.threshold;
  if (refused < rule.samples || value < limit) return [];
  return [createFinding(rule, {
    ...{ key, value, baseline: limit, samples: requests, span: last.at - first.at },
    conditions: [{ signal: "refused_share", value, limit }],
  })];
}

function checkTwoServers(
  rule: Rule<"two_servers">,
  key: string,
  { alternation, newest }: Pick<EndpointHistory, "alternation" | "newest">,
): readonly Finding[] {
  const value = alternation?.changes ?? 0;
  if (alternation === null || newest === null || value < rule.threshold) return [];
  const span = newest.at - alternation.other.at;
  return [createFinding(rule, { key, value, baseline: rule.threshold, samples: 0, span })];
}

/** Applies the rules of a whole server. */
export function evaluateServer(
  server: {
    /** Of the endpoint. */
    readonly key: string;
    readonly history: Pick<EndpointHistory, "counts" | "alternation" | "newest">;
    readonly replicas: readonly ReplicaSample[];
  },
  rules: Rules,
): readonly Finding[] {
  const { key, history, replicas } = server;
  const finished = replicas.reduce(
    (sum, { lastMinute }) => sum + sumCounts(lastMinute.value?.labelled.finishedByReason),
    0,
  );
  return [
    ...checkTwoServers(rules.two_servers, key, history),
    ...checkRefusing(rules.refusing, key, { counts: history.counts, finished }),
  ];
}

/** Output of minutes that have passed, oldest first: `at` is the end of each. */
export type OutputMinutes = readonly { readonly at: Seconds; readonly tokensPerSecond: number }[];

const MIN_DISTANCE: Seconds = 10;

/** Adds the last minute, and drops those too old to be the one before it. */
export function rememberOutput(known: OutputMinutes, replica: ReplicaSample): OutputMinutes {
  const delta = replica.lastMinute.value;
  const tokens = delta?.counters.generationTokens.value ?? null;
  const at = getNewestTime(replica);
  const last = known.at(-1);
  if (delta === null || tokens === null || delta.span < MIN_SPAN) return known;
  if (last !== undefined && at - last.at < MIN_DISTANCE) return known;
  const kept = known.filter((minute) => minute.at >= at - 2 * LONG_WINDOW);
  return [...kept, { at, tokensPerSecond: tokens / delta.span }];
}

/** The highest of the minutes that ended before the last began; `null` if there is none. */
export function findEarlierOutput(known: OutputMinutes, replica: ReplicaSample): number | null {
  const span = replica.lastMinute.value?.span ?? 0;
  const began = getNewestTime(replica) - span;
  const earlier = known.filter(({ at }) => at <= began);
  if (earlier.length === 0) return null;
  return Math.max(...earlier.map(({ tokensPerSecond }) => tokensPerSecond));
}
