/**
 * Computes the status of each replica, and the verdict on the fleet. A failing endpoint is STALE,
 * out of every total, and DOWN after `STALE_LIMIT` or `STALE_INTERVALS`, whichever is longer, or if
 * it never answered. INIT: the server answers, but its gauges have no sample. A rule that fires takes
 * the place of OK.
 * @module
 */

import type {
  Endpoint,
  EngineSample,
  FailureKind,
  ModelState,
  ReplicaStatus,
  Scrape,
  ScrapeFailure,
  ScrapeStatus,
} from "./model.ts";
import type { WatchedLog } from "./log.ts";
import { isPresent } from "./reading.ts";
import type { Alert } from "./rules_alerts.ts";
import type { Condition, Finding } from "./rules_finding.ts";
import { type Level, MIN_SPAN, RULE_IDS, type RuleId } from "./rules_table.ts";
import { getInterval, type Schedule } from "./scrape_schedule.ts";
import { type Seconds, SECONDS_PER_HOUR, SECONDS_PER_MINUTE } from "./units.ts";

/** Half the long window. */
export const STALE_LIMIT: Seconds = 30;
/** Tolerates one missed answer at long intervals. */
export const STALE_INTERVALS = 1.5;
/** An answer this much later than the interval is overdue, unless the last one took longer. */
export const MAX_RESPONSE_TIME: Seconds = 1;

/** The port is closed, or what forwards to it is open. */
const LOADING_FAILURES: ReadonlySet<FailureKind> = new Set(["refused", "reset", "timeout"]);

/** A sample that another program takes may be older by so many of its intervals. */
const MAX_SAMPLE_INTERVALS = 3;

export interface ScrapeRecord {
  /** The newest attempt failed or is overdue. */
  readonly hasFailed: boolean;
  /** Of the newest good scrape; `null` if there is none. */
  readonly age: Seconds | null;
  /** Its interval while it answers. */
  readonly interval?: Seconds;
  /** Its server has not opened its port yet. */
  readonly isLoading?: boolean;
  readonly hasEnded?: boolean;
}

export interface ScrapedEndpoint {
  readonly endpoint: Pick<Endpoint, "isGuess" | "pod">;
  readonly scrape: Pick<Scrape, "receivedAt" | "duration" | "interval"> | null;
  readonly askedAt: Seconds | null;
  readonly failure: Pick<ScrapeFailure, "kind" | "failedAt" | "failedAtEpoch"> | null;
  readonly schedule: Schedule;
  readonly log: Pick<WatchedLog, "readyAt" | "processStartedAt" | "log"> | null;
}

/** Without a log that says more, a server that does not answer after this time is not loading. */
const MAX_SILENT_LOAD: Seconds = SECONDS_PER_HOUR;
/** A pod without a node for longer will hardly get one: adding a node takes minutes. */
const MAX_UNSCHEDULED: Seconds = 15 * SECONDS_PER_MINUTE;
/** From its last line of a load to its first answer. */
const READY_GRACE: Seconds = 2;

/** When the process of a failing server started; `null` if none is seen. */
export function getStart({ endpoint: { pod }, failure, log }: ScrapedEndpoint): Seconds | null {
  const startedAt = log?.processStartedAt ?? null;
  const podStart = pod?.startedAt ?? null;
  if (startedAt !== null || failure === null || podStart === null) return startedAt;
  return failure.failedAt - Math.max(0, failure.failedAtEpoch - podStart);
}

/** It says so; or its process runs, and has not answered since it started; or its pod waits for its containers. */
export function isLoading(known: ScrapedEndpoint, now: Seconds): boolean {
  const { endpoint: { pod }, scrape, failure, log } = known;
  if (failure?.kind === "loading") return true;
  const startedAt = getStart(known);
  if (failure?.kind === "pod") {
    const limit = pod?.node === null ? MAX_UNSCHEDULED : MAX_SILENT_LOAD;
    return pod?.state === "pending" && now - (startedAt ?? now) < limit;
  }
  if (failure === null || !LOADING_FAILURES.has(failure.kind) || startedAt === null) return false;
  if (scrape !== null && startedAt < scrape.receivedAt) return false;
  const report = log?.log ?? null;
  if (report === null || report.load === null) {
    return failure.kind === "refused" && now - startedAt < MAX_SILENT_LOAD;
  }
  if (report.death?.isEnd === true) return false;
  // It has not been asked since it said so.
  return !report.isReady || failure.failedAt < (log?.readyAt ?? -Infinity) + READY_GRACE;
}

/** Its log or its pod says that it ended: it will not answer again soon. */
function hasEnded({ endpoint: { pod }, failure, log }: ScrapedEndpoint): boolean {
  if (failure?.kind === "pod") return pod?.state === "crashing" || pod?.state === "failed";
  return failure !== null && LOADING_FAILURES.has(failure.kind) && log?.log?.death?.isEnd === true;
}

/** Between two scrapes. */
export function getScrapeInterval(
  { scrape, schedule }: Pick<ScrapedEndpoint, "scrape" | "schedule">,
  interval: Seconds,
): Seconds {
  return scrape?.interval ?? getInterval(schedule, interval);
}

/** Whether a scan has left its address as a guess, and nothing has answered there. */
export function isGuessed(
  { endpoint, scrape }: Pick<ScrapedEndpoint, "endpoint" | "scrape">,
): boolean {
  return endpoint.isGuess === true && scrape === null;
}

/** A refused connection at a guessed address is no failure: the server may start. */
export function isAwaited(
  known: Pick<ScrapedEndpoint, "endpoint" | "scrape" | "failure">,
): boolean {
  return isGuessed(known) && known.failure?.kind === "refused";
}

export function getScrapeRecord(
  known: ScrapedEndpoint,
  state: { readonly now: Seconds; readonly interval: Seconds },
): ScrapeRecord {
  const { now } = state;
  const interval = getScrapeInterval(known, state.interval);
  const overdue = known.askedAt === null ? 0 : now - known.askedAt;
  // A busy server answers as late as the last time.
  const responseTime = Math.max(MAX_RESPONSE_TIME, known.scrape?.duration ?? 0);
  const age = known.scrape === null ? null : Math.max(0, now - known.scrape.receivedAt);
  // Scraped by others: a sample may be an interval old, is fetched up to one later, and takes time.
  const isOld = known.scrape?.interval !== undefined &&
    (age ?? 0) > MAX_SAMPLE_INTERVALS * interval + state.interval + MAX_RESPONSE_TIME;
  return {
    // Nobody knows whether it is down.
    interval: isOld && known.failure === null ? Infinity : interval,
    hasFailed: (known.failure !== null && !isAwaited(known)) || isOld ||
      overdue > interval + responseTime,
    age,
    isLoading: isLoading(known, now),
    hasEnded: hasEnded(known),
  };
}

const UNCOUNTED: ReadonlySet<ReplicaStatus> = new Set(["PENDING", "LOAD", "STALE", "DOWN"]);

export function isCounted(status: ReplicaStatus): boolean {
  return !UNCOUNTED.has(status);
}

export function computeEndpointStatus(
  record: ScrapeRecord,
): "PENDING" | "OK" | "LOAD" | "STALE" | "DOWN" {
  if (record.isLoading) return "LOAD";
  if (record.hasEnded) return "DOWN";
  if (!record.hasFailed) return record.age === null ? "PENDING" : "OK";
  const limit = Math.max(STALE_LIMIT, STALE_INTERVALS * (record.interval ?? 0));
  return record.age === null || record.age > limit ? "DOWN" : "STALE";
}

const STATUS_OF_MODEL: Readonly<Record<Exclude<ModelState, "loaded">, ScrapeStatus>> = {
  loading: "LOAD",
  asleep: "SLEEP",
  unloaded: "UNLOADED",
  failed: "DOWN",
};

export function computeReplicaStatus(sample: EngineSample, record: ScrapeRecord): ScrapeStatus {
  const status = computeEndpointStatus(record);
  if (status !== "OK") return status;
  if (sample.modelState !== "loaded") return STATUS_OF_MODEL[sample.modelState];
  const { running, waiting, kvCacheUsageRatio } = sample.gauges;
  const isInitializing = [running, waiting, kvCacheUsageRatio].every((gauge) =>
    !isPresent(gauge) && gauge.reason === "initializing"
  );
  return isInitializing ? "INIT" : "OK";
}

const NOT_COMPARED: ReadonlySet<ReplicaStatus> = new Set(["INIT", "SLEEP", "UNLOADED"]);

/** Only these replicas are compared. */
export function isAwake(status: ReplicaStatus): boolean {
  return isCounted(status) && !NOT_COMPARED.has(status);
}

/** Effect of a cause. */
export type CauseLevel = Exclude<Level, "off">;

export interface Cause {
  /** Replica or endpoint key. */
  readonly key: string;
  readonly signal: RuleId | "down" | "stale" | "recent";
  readonly level: CauseLevel;
  /** When it began; of a recent one, when it ended. `null` if unknown. */
  readonly since: Seconds | null;
  /** `null` for a status. */
  readonly verdict: Finding | null;
}

/**
 * NONE: no endpoint is watched. PENDING: one has not answered yet, or all load. WATCHING: nothing
 * bad is known, but too little is known to say HEALTHY.
 */
export const VERDICT_LEVELS = [
  ...["NONE", "PENDING", "WATCHING", "HEALTHY", "DEGRADED", "CRITICAL"] as const,
] as const;

export interface FleetVerdict {
  readonly level: typeof VERDICT_LEVELS[number];
  /** For how long the replica known least has been watched, at most `MIN_SPAN`. */
  readonly watched: Seconds;
  /** Worst first; empty unless DEGRADED or CRITICAL. */
  readonly causes: readonly Cause[];
}

/**
 * The judgement on a figure, and so its colour: the worst level of the alerts to which it belongs;
 * `null` if it belongs to none. HEALTHY cannot stand above a figure that is judged.
 */
export function judgeSignal(
  alerts: readonly Alert[],
  signal: Condition["signal"],
): CauseLevel | null {
  let worst: CauseLevel | null = null;
  for (const { newest: { conditions, level } } of alerts) {
    if (level === "off" || !conditions.some((one) => one.signal === signal)) continue;
    if (worst !== "critical") worst = level;
  }
  return worst;
}

/** Firing alerts, worst first, without those whose main figure a worse one of the replica shows. */
export function sortAlerts(alerts: readonly Alert[]): readonly Alert[] {
  if (alerts.length < 2) return alerts;
  const rank = ({ newest: { level, rule } }: Alert): number =>
    RULE_IDS.indexOf(rule) + (level === "critical" ? 0 : RULE_IDS.length);
  const shown = new Set<string>();
  return alerts.toSorted((a, b) => rank(a) - rank(b)).filter(({ newest: { key, conditions } }) => {
    const isShown = conditions.length > 0 && shown.has(`${conditions[0].signal} ${key}`);
    for (const { signal } of conditions) shown.add(`${signal} ${key}`);
    return !isShown;
  });
}

/**
 * CRITICAL: a replica is DOWN, or a rule says so. DEGRADED: one is STALE, or a rule says so or did
 * until recently.
 */
export function computeFleetVerdict({ statuses, standing, recent, failingSince, watched }: {
  readonly statuses: ReadonlyMap<string, ReplicaStatus>;
  /** Firing alerts. */
  readonly standing: readonly Alert[];
  /** Alerts that ended within `RECENT_ALERT_SPAN`. */
  readonly recent: readonly Pick<Cause, "key" | "since" | "verdict">[];
  /** By replica or endpoint key; `null` if unknown. */
  readonly failingSince: (key: string) => Seconds | null;
  readonly watched: Seconds;
}): FleetVerdict {
  const ofStatus = (status: ReplicaStatus, signal: "down" | "stale"): readonly Cause[] =>
    [...statuses].flatMap(([key, one]): Cause[] => {
      const level = signal === "down" ? "critical" : "degraded";
      return one === status
        ? [{ key, signal, level, since: failingSince(key), verdict: null }]
        : [];
    });
  const ofAlerts = sortAlerts(standing).flatMap(({ newest, since }): Cause[] => {
    const { key, rule: signal, level } = newest;
    return level === "off" ? [] : [{ key, signal, level, since, verdict: newest }];
  });
  const all: readonly Cause[] = [
    ...ofStatus("DOWN", "down"),
    ...ofAlerts,
    ...ofStatus("STALE", "stale"),
    ...recent.map((one) => ({ ...one, signal: "recent", level: "degraded" }) as const),
  ];
  const critical = all.filter(({ level }) => level === "critical");
  const causes = [...critical, ...all.filter(({ level }) => level === "degraded")];
  if (critical.length > 0) return { level: "CRITICAL", watched, causes };
  if (causes.length > 0) return { level: "DEGRADED", watched, causes };
  if (statuses.size === 0) return { level: "NONE", watched, causes };
  // A replica that loads does not hide that the others are well.
  const seen = [...statuses.values()];
  const isPending = seen.includes("PENDING") || !seen.some(isCounted);
  if (isPending) return { level: "PENDING", watched, causes };
  return { level: watched < MIN_SPAN ? "WATCHING" : "HEALTHY", watched, causes };
}
