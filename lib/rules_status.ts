/**
 * Computes the status of each replica, and the verdict on the fleet. A failing endpoint is STALE,
 * out of every total, and DOWN after `STALE_LIMIT` or `STALE_INTERVALS`, whichever is longer, or if
 * it never answered. INIT: the server answers, but its gauges have no sample. HOT and STALLED are
 * rules, and become a status once their alert fires.
 * @module
 */

import type { Endpoint, EngineSample, ReplicaStatus, ScrapeFailure } from "./model.ts";
import { isPresent } from "./reading.ts";
import type { LatencyRatios } from "./rules_imbalance.ts";
import {
  createFinding,
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

/** Half the long window. */
export const STALE_LIMIT: Seconds = 30;
/** Tolerates one missed answer at long intervals. */
export const STALE_INTERVALS = 1.5;
/** An answer this much later than the interval is overdue. */
export const MAX_RESPONSE_TIME: Seconds = 1;

export interface ScrapeRecord {
  /** The newest attempt failed or is overdue. */
  readonly hasFailed: boolean;
  /** Of the newest good scrape; `null` if there is none. */
  readonly age: Seconds | null;
  /** Its interval while it answers. */
  readonly interval?: Seconds;
}

export interface ScrapedEndpoint {
  readonly endpoint: Pick<Endpoint, "isGuess">;
  readonly scrape: { readonly receivedAt: Seconds } | null;
  readonly askedAt: Seconds | null;
  readonly failure: Pick<ScrapeFailure, "kind"> | null;
  readonly schedule: Schedule;
}

/** A refused connection at a guessed address is no failure: the server may start. */
export function getScrapeRecord(
  known: ScrapedEndpoint,
  state: { readonly now: Seconds; readonly interval: Seconds },
): ScrapeRecord {
  const { now } = state;
  const isAwaited = known.endpoint.isGuess === true && known.scrape === null &&
    known.failure?.kind === "refused";
  const interval = getInterval(known.schedule, state.interval);
  const overdue = known.askedAt === null ? 0 : now - known.askedAt;
  return {
    interval,
    hasFailed: (known.failure !== null && !isAwaited) || overdue > interval + MAX_RESPONSE_TIME,
    age: known.scrape === null ? null : Math.max(0, now - known.scrape.receivedAt),
  };
}

export function isCounted(status: ReplicaStatus): boolean {
  return status === "OK" || status === "HOT" || status === "STALLED" || status === "INIT" ||
    status === "SLEEP";
}

export function computeEndpointStatus(record: ScrapeRecord): "PENDING" | "OK" | "STALE" | "DOWN" {
  if (!record.hasFailed) return record.age === null ? "PENDING" : "OK";
  const limit = Math.max(STALE_LIMIT, STALE_INTERVALS * (record.interval ?? 0));
  return record.age === null || record.age > limit ? "DOWN" : "STALE";
}

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

/** Only these replicas are compared. */
export function isAwake(status: ReplicaStatus): boolean {
  return status === "OK" || status === "HOT" || status === "STALLED";
}

function findHotConditions(
  { sample, lastMinute }: ReplicaSample,
  ratios: LatencyRatios,
): readonly HotCondition[] {
  const { kvCacheUsageRatio, waiting } = sample.gauges;
  const preemptions = lastMinute.value?.counters.preemptions.value ?? 0;
  const candidates: readonly HotCondition[] = [
    { signal: "kv_cache", value: kvCacheUsageRatio.value ?? 0, limit: HOT_KV_RATIO },
    { signal: "waiting", value: waiting.value ?? 0, limit: HOT_WAITING },
    { signal: "preemptions", value: preemptions, limit: 0 },
    { signal: "ttft", value: ratios.ttft, limit: HOT_LATENCY_RATIO },
    { signal: "itl", value: ratios.itl, limit: HOT_LATENCY_RATIO },
  ];
  return candidates.filter(({ value, limit }) => value > limit);
}

/** Evaluates HOT and STALLED. */
export function computeLoadStatus(
  key: string,
  replica: ReplicaSample,
  ratios: LatencyRatios = { ttft: 1, itl: 1 },
): readonly Finding[] {
  const { trace, movedAt } = replica;
  const newestAt = trace[trace.length - 1].at;
  const span = newestAt - trace[0].at;
  const hotConditions = findHotConditions(replica, ratios);
  const candidates = [
    ["hot", hotConditions.length, HOT_CONDITIONS, hotConditions],
    ["stalled", newestAt - movedAt, MIN_STALL, []],
  ] as const;
  return candidates.flatMap(([rule, value, limit, conditions]): readonly Finding[] =>
    value < limit
      ? []
      : [createFinding({ rule, key, value, baseline: limit, samples: 0, span, conditions })]
  );
}

export interface Cause {
  /** Replica or endpoint key. */
  readonly key: string;
  readonly signal: RuleId | "down" | "stale" | "recent";
  /** `null` for a status. */
  readonly verdict: Finding | null;
}

/** NONE: no endpoint is watched. PENDING: one has not answered yet. */
export interface FleetVerdict {
  readonly level: "NONE" | "PENDING" | "HEALTHY" | "DEGRADED" | "CRITICAL";
  /** Worst first; empty if HEALTHY or PENDING. */
  readonly causes: readonly Cause[];
}

/**
 * CRITICAL: a replica is DOWN, HOT or STALLED. DEGRADED: one is STALE, or an imbalance alert fires
 * or ended recently.
 */
export function computeFleetVerdict({ statuses, standing, recent }: {
  readonly statuses: ReadonlyMap<string, ReplicaStatus>;
  /** Of firing alerts. */
  readonly standing: readonly Finding[];
  /** Alerts that ended within `RECENT_ALERT_SPAN`. */
  readonly recent: readonly { readonly key: string; readonly verdict: Finding | null }[];
}): FleetVerdict {
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
  if (statuses.size === 0) return { level: "NONE", causes };
  const isPending = [...statuses.values()].includes("PENDING");
  return { level: isPending ? "PENDING" : "HEALTHY", causes };
}
