/**
 * Finds replicas that differ from the rest of their model group.
 *
 * Skews are tested as shares: how often would a balancer that picks replicas at random give one
 * that much? A balancer that sends less to a slow replica is right, so findings of the others are
 * suppressed.
 * @module
 */

import { haveSameBounds } from "./histogram.ts";
import { type Delta, LATENCY_KEYS, sumCounts } from "./model.ts";
import { isPresent } from "./reading.ts";
import { findLatencyOutliers, type LatencyCheck, type LatencyOutlier } from "./rules_latency.ts";
import { createFinding, type Finding } from "./rules_finding.ts";
import {
  ALPHA,
  KV_DISPERSION,
  LENGTH_DISPERSION,
  MIN_SPAN,
  type Rule,
  type RuleId,
  type Rules,
} from "./rules_table.ts";
import { computeBinomialTail, computeMedian } from "./stats_significance.ts";
import { LONG_WINDOW, type ReplicaSample } from "./stats_window.ts";
import type { Seconds } from "./units.ts";

export interface Member {
  /** Replica key. */
  readonly key: string;
  readonly replica: ReplicaSample;
  /** In tokens; `null` if unknown. */
  readonly maxModelLength: number | null;
}

/** Of peers, undecided if fewer than two replicas were compared. */
export interface Check {
  readonly rule: RuleId;
  readonly compared: number;
  readonly findings: readonly Finding[];
}

/** Replicas of equal model, kind of server, context length and, where known, bucket bounds. */
function areComparable(one: Member, other: Member): boolean {
  const sample = one.replica.sample;
  const peer = other.replica.sample;
  return sample.modelName === peer.modelName && sample.server.name === peer.server.name &&
    sample.isShared === peer.isShared &&
    one.maxModelLength === other.maxModelLength &&
    LATENCY_KEYS.every((key) => {
      const own = sample.histograms[key];
      const others = peer.histograms[key];
      return own === undefined || others === undefined || haveSameBounds(own, others);
    });
}

export function formGroups(members: readonly Member[]): readonly (readonly Member[])[] {
  const groups: Member[][] = [];
  for (const member of members) {
    const group = groups.find(([first]) => areComparable(first, member));
    if (group === undefined) groups.push([member]);
    else group.push(member);
  }
  return groups;
}

interface Contribution {
  readonly key: string;
  readonly value: number;
}

function countFinished(delta: Delta): number {
  return sumCounts(delta.labelled.finishedByReason);
}

/** Counts requests that finished in the window or run. */
function countRequests({ replica }: Member, delta: Delta): number {
  return countFinished(delta) + (replica.means.running.value ?? 0);
}

/** Leaves out new members, and those that slept: the others' figures then differ by nature. */
function collectMinutes(
  members: readonly Member[],
  { stalled }: Rules,
): readonly { readonly member: Member; readonly delta: Delta }[] {
  return members.flatMap((member) => {
    const { lastMinute, standstill } = member.replica;
    return isPresent(lastMinute) && lastMinute.value.span >= MIN_SPAN &&
        standstill < stalled.threshold
      ? [{ member, delta: lastMinute.value }]
      : [];
  });
}

/** Returns the p-value of the share under a balancer that picks at random. */
function computeShareProbability(
  share: number,
  options: { readonly replicas: number; readonly requests: number; readonly dispersion: number },
): number {
  const { replicas, requests, dispersion } = options;
  const trials = Math.floor(requests / dispersion);
  // 1e-9 undoes rounding of share × count.
  const successes = Math.floor(share * trials + 1e-9);
  return computeBinomialTail(successes, { trials, probability: 1 / replicas });
}

/** Returns shares above `threshold` × the median and an even share. */
function findLargeShares(
  contributions: readonly Contribution[],
  threshold: number,
): readonly { readonly key: string; readonly share: number; readonly even: number }[] {
  const total = contributions.reduce((sum, { value }) => sum + value, 0);
  if (!(total > 0)) return [];
  const even = 1 / contributions.length;
  const shares = contributions.map(({ value }) => value / total);
  const median = computeMedian(shares);
  return contributions.flatMap(({ key }, i) =>
    shares[i] > threshold * median && shares[i] > threshold * even
      ? [{ key, share: shares[i], even }]
      : []
  );
}

function checkShares(
  rule: Rule<"sticky_skew" | "token_share" | "request_share">,
  contributions: readonly Contribution[],
  evidence: {
    readonly requests: number;
    readonly span: Seconds;
    readonly minTotal: number;
    /** `null` skips the significance test. */
    readonly dispersion: number | null;
  },
): Check {
  const { requests, span, minTotal, dispersion } = evidence;
  const compared = contributions.length;
  const total = contributions.reduce((sum, { value }) => sum + value, 0);
  const largeShares = compared < 2 || total < minTotal
    ? []
    : findLargeShares(contributions, rule.threshold);
  const findings = largeShares.flatMap(({ key, share, even }): Finding[] => {
    const probability = dispersion === null
      ? null
      : computeShareProbability(share, { replicas: compared, requests, dispersion });
    if (probability !== null && probability >= ALPHA) return [];
    const evidence = { value: share, baseline: even, samples: requests, span, probability };
    return [createFinding(rule, { key, ...evidence })];
  });
  return { rule: rule.id, compared, findings };
}

function checkGauges(
  rule: Rule<"running_skew" | "kv_skew">,
  contributions: readonly Contribution[],
  evidence: { readonly requests: number; readonly span: Seconds },
): Check {
  const compared = contributions.length;
  const none: Check = { rule: rule.id, compared, findings: [] };
  if (compared < 2) return none;
  const highest = contributions.reduce((a, b) => b.value > a.value ? b : a);
  const lowest = contributions.reduce((a, b) => b.value < a.value ? b : a);
  const difference = highest.value - lowest.value;
  if (!(difference > rule.threshold)) return none;
  if (rule.id === "running_skew") {
    const median = computeMedian(contributions.map(({ value }) => value));
    if (!(highest.value > rule.ratio * Math.max(1, median))) return none;
  }
  const total = contributions.reduce((sum, { value }) => sum + value, 0);
  const probability = computeShareProbability(highest.value / total, {
    replicas: compared,
    requests: evidence.requests,
    dispersion: rule.id === "running_skew" ? LENGTH_DISPERSION : KV_DISPERSION,
  });
  if (probability >= ALPHA) return none;
  const { requests: samples, span } = evidence;
  const { key, value } = highest;
  const found = { key, value, baseline: lowest.value, samples, span, probability };
  return { ...none, findings: [createFinding(rule, found)] };
}

/** Factors over the others' latency; 1 if not significant. */
export interface LatencyRatios {
  readonly ttft: number;
  readonly itl: number;
}

function checkLatency(
  members: readonly Member[],
  { slow_prefill: prefill, slow_decode: decode }: Rules,
  key: "ttft" | "itl",
): LatencyCheck {
  return members.length < 2 ? { compared: 0, slow: [] } : findLatencyOutliers(
    members.map(({ replica }) => replica),
    key,
    key === "ttft" ? prefill : decode,
  );
}

function createLatencyCheck(
  rule: Rule<"slow_prefill" | "slow_decode">,
  members: readonly Member[],
  { compared, slow }: LatencyCheck,
): Check {
  const findings = slow.flatMap(({ index, ...evidence }: LatencyOutlier): Finding[] => {
    const { key, replica } = members[index];
    // A long queue means load: other rules cover it.
    const { means, sample } = replica;
    const waiting = Math.max(means.waiting.value ?? 0, sample.gauges.waiting.value ?? 0);
    const isQueue = rule.id === "slow_prefill" && waiting > rule.waiting;
    return isQueue ? [] : [createFinding(rule, { ...evidence, key })];
  });
  return { rule: rule.id, compared, findings };
}

function collectRatios(
  members: readonly Member[],
  ttft: LatencyCheck,
  itl: LatencyCheck,
): ReadonlyMap<string, LatencyRatios> {
  const getRatio = (check: LatencyCheck, index: number): number =>
    check.slow.find((slow) => slow.index === index)?.ratio ?? 1;
  return new Map(members.map(({ key }, index) => [
    key,
    { ttft: getRatio(ttft, index), itl: getRatio(itl, index) },
  ]));
}

function collectRates(
  minutes: ReturnType<typeof collectMinutes>,
  count: (delta: Delta) => number | null,
): readonly Contribution[] {
  return minutes.flatMap(({ member, delta }) => {
    const increase = count(delta);
    return increase === null ? [] : [{ key: member.key, value: increase / delta.span }];
  });
}

function collectMeans(
  minutes: ReturnType<typeof collectMinutes>,
  gauge: "running" | "kvCacheUsageRatio",
): readonly Contribution[] {
  return minutes.flatMap(({ member }) => {
    const mean = member.replica.means[gauge];
    return isPresent(mean) ? [{ key: member.key, value: mean.value }] : [];
  });
}

function checkLastPollShares(members: readonly Member[], rule: Rule<"request_share">): Check {
  let requests = 0;
  let span = 0;
  const rates = members.flatMap(({ key, replica: { lastPoll } }): Contribution[] => {
    if (!isPresent(lastPoll) || lastPoll.value.labelled.finishedByReason === undefined) return [];
    const finished = countFinished(lastPoll.value);
    requests += finished;
    span = Math.max(span, lastPoll.value.span);
    return [{ key, value: finished / lastPoll.value.span }];
  });
  const evidence = { requests, span, minTotal: rule.rate, dispersion: null };
  return checkShares(rule, rates, evidence);
}

export interface GroupEvaluation {
  readonly keys: readonly string[];
  /** In the order of `IMBALANCE_RULE_IDS`. */
  readonly checks: readonly Check[];
  readonly latencyRatios: ReadonlyMap<string, LatencyRatios>;
}

/** Applies all rules to a group without sleeping or silent replicas. */
export function evaluateImbalance(members: readonly Member[], rules: Rules): GroupEvaluation {
  const minutes = collectMinutes(members, rules);
  const comparable = minutes.map(({ member }) => member);
  const ttft = checkLatency(comparable, rules, "ttft");
  const itl = checkLatency(comparable, rules, "itl");
  const prefill = createLatencyCheck(rules.slow_prefill, comparable, ttft);
  const decode = createLatencyCheck(rules.slow_decode, comparable, itl);
  const slowKeys = new Set([...prefill.findings, ...decode.findings].map(({ key }) => key));
  const span = Math.max(0, ...minutes.map(({ delta }) => delta.span));
  const requests = minutes
    .reduce((sum, { member, delta }) => sum + countRequests(member, delta), 0);
  const finished = minutes.reduce((sum, { delta }) => sum + countFinished(delta), 0);
  const finishedRates = collectRates(
    minutes,
    (delta) => delta.labelled.finishedByReason === undefined ? null : countFinished(delta),
  );
  const tokenRates = collectRates(minutes, (delta) => delta.counters.generationTokens.value);
  const others = [
    checkShares(rules.sticky_skew, finishedRates, {
      requests: finished,
      span,
      minTotal: rules.sticky_skew.samples / LONG_WINDOW,
      dispersion: 1,
    }),
    checkGauges(rules.running_skew, collectMeans(minutes, "running"), { requests, span }),
    checkGauges(rules.kv_skew, collectMeans(minutes, "kvCacheUsageRatio"), { requests, span }),
    checkShares(rules.token_share, tokenRates, {
      requests,
      span,
      minTotal: rules.token_share.rate,
      dispersion: LENGTH_DISPERSION,
    }),
    checkLastPollShares(members, rules.request_share),
  ];
  // A slow replica explains the imbalance of the others.
  const isUnexplained = ({ key }: Finding): boolean => slowKeys.size === 0 || slowKeys.has(key);
  return {
    keys: members.map(({ key }) => key),
    checks: [
      ...[prefill, decode],
      ...others.map((check) => ({ ...check, findings: check.findings.filter(isUnexplained) })),
    ],
    latencyRatios: collectRatios(comparable, ttft, itl),
  };
}
