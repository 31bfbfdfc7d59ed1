/**
 * The status of each replica, and the verdict on all of them.
 *
 * An endpoint that was scraped before and fails now is STALE: it is shown with
 * its age, and is out of every total. After `STALE_LIMIT`, or `STALE_INTERVALS`
 * if these are longer, it is DOWN, as is one that never answered. INIT: the
 * server answers, but its gauges have no sample yet. SLEEP: it sleeps. HOT and
 * STALLED are rules, and become a status once their alert fires. Spans are
 * monotonic seconds.
 *
 * @module
 */

import type { Endpoint, EngineSample, ReplicaStatus, ScrapeFailure } from "./model.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { LatencyRatios } from "./rules_imbalance.ts";
import {
  type Finding,
  findRule,
  HOT_CONDITIONS,
  HOT_KV_RATIO,
  HOT_LATENCY_RATIO,
  HOT_WAITING,
  type HotCondition,
  MIN_STALL,
  type RuleId,
} from "./rules_table.ts";
import { getInterval, type Schedule } from "./scrape_schedule.ts";
import type { ReplicaSample } from "./stats_window.ts";
import type { Seconds } from "./units.ts";

/** How long what was known is still worth showing: half the long window. */
export const STALE_LIMIT: Seconds = 30;

/** How many intervals may pass until then where they are long: one answer may be missed. */
export const STALE_INTERVALS = 1.5;

/** How much longer than the interval an answer may take before what is shown counts as stale. */
export const MAX_RESPONSE_TIME: Seconds = 1;

/** What is known of an endpoint's scrapes. */
export interface ScrapeRecord {
  /** Whether the newest attempt failed, or has been without an answer for too long. */
  readonly hasFailed: boolean;
  /** Age of the newest good scrape; `null` when there was none. */
  readonly age: Seconds | null;
  /** How often it is asked while it answers. */
  readonly interval?: Seconds;
}

/**
 * Whether the endpoint fails, and the age of its newest scrape. An overdue
 * answer is a failure. A refused connection at a guessed address is none, except
 * with `--once`: the server may come.
 */
export function getScrapeRecord(
  known: {
    readonly endpoint: Pick<Endpoint, "isGuess">;
    readonly scrape: { readonly receivedAt: Seconds } | null;
    readonly askedAt: Seconds | null;
    readonly failure: Pick<ScrapeFailure, "kind"> | null;
    readonly schedule: Schedule;
  },
  state: { readonly now: Seconds; readonly interval: Seconds; readonly isOnce?: boolean },
): ScrapeRecord {
  const { now } = state;
  const isAwaited = known.endpoint.isGuess === true && known.scrape === null &&
    known.failure?.kind === "refused" && state.isOnce !== true;
  const interval = getInterval(known.schedule, state.interval);
  const overdue = known.askedAt === null ? 0 : now - known.askedAt;
  return {
    interval,
    hasFailed: (known.failure !== null && !isAwaited) || overdue > interval + MAX_RESPONSE_TIME,
    age: known.scrape === null ? null : Math.max(0, now - known.scrape.receivedAt),
  };
}

/** Whether replicas of this condition count in totals. */
export function isCounted(status: ReplicaStatus): boolean {
  return status === "OK" || status === "HOT" || status === "STALLED" || status === "INIT" ||
    status === "SLEEP";
}

/** The condition of an endpoint, as far as its scrapes tell. */
export function computeEndpointStatus(record: ScrapeRecord): "PENDING" | "OK" | "STALE" | "DOWN" {
  if (!record.hasFailed) return record.age === null ? "PENDING" : "OK";
  const limit = Math.max(STALE_LIMIT, STALE_INTERVALS * (record.interval ?? 0));
  return record.age === null || record.age > limit ? "DOWN" : "STALE";
}

/** The condition of one engine of an endpoint. */
export function computeReplicaStatus(sample: EngineSample, record: ScrapeRecord): ReplicaStatus {
  const status = computeEndpointStatus(record);
  if (status !== "OK") return status;
  if (sample.isAsleep) return "SLEEP";
  const { running, waiting, kvCacheUsageRatio } = sample.gauges;
  const isInitializing = [running, waiting, kvCacheUsageRatio].every((gauge) =>
    !isPresent(gauge) && gauge.reason === "initializing"
  );
  return isInitializing ? "INIT" : "OK";
}

/** Whether a replica of this condition has anything to be judged by. */
export function isAwake(status: ReplicaStatus): boolean {
  return status === "OK" || status === "HOT" || status === "STALLED";
}

/** The conditions of HOT that the replica meets. */
function findHotConditions(
  { sample, lastMinute }: ReplicaSample,
  ratios: LatencyRatios,
): readonly HotCondition[] {
  const { kvCacheUsageRatio, waiting } = sample.gauges;
  const preemptions: Reading = isPresent(lastMinute)
    ? lastMinute.value.counters.preemptions
    : lastMinute;
  const candidates: readonly HotCondition[] = [
    { signal: "kv_cache", value: kvCacheUsageRatio.value ?? 0, limit: HOT_KV_RATIO },
    { signal: "waiting", value: waiting.value ?? 0, limit: HOT_WAITING },
    { signal: "preemptions", value: preemptions.value ?? 0, limit: 0 },
    { signal: "ttft", value: ratios.ttft, limit: HOT_LATENCY_RATIO },
    { signal: "itl", value: ratios.itl, limit: HOT_LATENCY_RATIO },
  ];
  return candidates.filter(({ value, limit }) => value > limit);
}

/**
 * What HOT and STALLED say of a replica that is heard.
 *
 * @param ratios How its latencies compare with its peers'; 1 without any.
 */
export function computeLoadStatus(
  key: string,
  replica: ReplicaSample,
  ratios: LatencyRatios = { ttft: 1, itl: 1 },
): readonly Finding[] {
  const { trace, movedAt } = replica;
  const newestAt = trace[trace.length - 1].at;
  const common = { key, samples: 0, span: newestAt - trace[0].at, probability: null };
  const create = (
    rule: "hot" | "stalled",
    value: number,
    more: { readonly limit: number; readonly conditions: readonly HotCondition[] },
  ): Finding => ({
    ...common,
    ...{ rule, value, baseline: more.limit, ratio: value / more.limit, statistic: null },
    conditions: more.conditions,
  });
  const conditions = findHotConditions(replica, ratios);
  const stillness = newestAt - movedAt;
  return [
    ...(conditions.length >= HOT_CONDITIONS
      ? [create("hot", conditions.length, { limit: HOT_CONDITIONS, conditions })]
      : []),
    ...(stillness >= MIN_STALL
      ? [create("stalled", stillness, { limit: MIN_STALL, conditions: [] })]
      : []),
  ];
}

/** One reason for a verdict. */
export interface Cause {
  /** The replica; the endpoint where it is about that. */
  readonly key: string;
  readonly signal: RuleId | "down" | "stale" | "recent";
  /** The evidence; `null` where the signal is the condition itself. */
  readonly verdict: Finding | null;
}

/** The one word for everything that is watched, and why. PENDING: somebody has not been heard yet. */
export interface FleetVerdict {
  readonly level: "PENDING" | "HEALTHY" | "DEGRADED" | "CRITICAL";
  /** The worst first; all of the worst level, then those of the next. Empty when HEALTHY or PENDING. */
  readonly causes: readonly Cause[];
}

/** What the word is made from. */
interface FleetEvidence {
  readonly statuses: ReadonlyMap<string, ReplicaStatus>;
  /** Verdicts that have lasted. */
  readonly standing: readonly Finding[];
  /** Alarms that are over, but for less than `RECENT_ALERT_SPAN`. */
  readonly recent: readonly { readonly key: string; readonly verdict: Finding | null }[];
}

/** CRITICAL: a replica is down, hot or stalled. DEGRADED: one is stale, a check fails, or did in the last minute. */
export function computeFleetVerdict({ statuses, standing, recent }: FleetEvidence): FleetVerdict {
  const ofStatus = (status: ReplicaStatus, signal: "down" | "stale"): readonly Cause[] =>
    [...statuses].flatMap(([key, one]) => one === status ? [{ key, signal, verdict: null }] : []);
  const ofEffect = (effect: "critical" | "degraded"): readonly Cause[] =>
    standing.filter(({ rule }) => findRule(rule).effect === effect)
      .map((verdict) => ({ key: verdict.key, signal: verdict.rule, verdict }));
  const critical = [...ofStatus("DOWN", "down"), ...ofEffect("critical")];
  const degraded: readonly Cause[] = [
    ...ofStatus("STALE", "stale"),
    ...ofEffect("degraded"),
    ...recent.map(({ key, verdict }) => ({ key, signal: "recent" as const, verdict })),
  ];
  const causes = [...critical, ...degraded];
  if (critical.length > 0) return { level: "CRITICAL", causes };
  if (degraded.length > 0) return { level: "DEGRADED", causes };
  // Who has not answered yet may be anything.
  const isHeard = statuses.size > 0 &&
    [...statuses.values()].every((status) => status !== "PENDING");
  return { level: isHeard ? "HEALTHY" : "PENDING", causes };
}
