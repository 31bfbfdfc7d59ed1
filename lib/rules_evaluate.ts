/**
 * Evaluates all rules: statuses, checks, alerts, verdict, events. Replicas are compared when a new
 * scrape has arrived; in large fleets at most every `COMPARE_INTERVAL`.
 * @module
 */

import type { Endpoint, ReplicaStatus, ServerInfo } from "./model.ts";
import {
  type Alert,
  EMPTY_LOG,
  EVENT_KINDS,
  EVENT_OF_RULE,
  type EventLog,
  type EventSubject,
  type Moment,
  type Occurrence,
  recordEvents,
  updateAlerts,
} from "./rules_alerts.ts";
import {
  evaluateImbalance,
  formGroups,
  type GroupEvaluation,
  type Member,
} from "./rules_imbalance.ts";
import {
  computeEndpointStatus,
  computeFleetVerdict,
  computeLoadStatus,
  computeReplicaStatus,
  type FleetVerdict,
  getScrapeRecord,
  isAwake,
  type ScrapedEndpoint,
  type ScrapeRecord,
} from "./rules_status.ts";
import { ALERT_FOR, type Finding, RECENT_ALERT_SPAN } from "./rules_table.ts";

import type { SessionTotals } from "./stats_totals.ts";
import type { ReplicaSample } from "./stats_window.ts";
import type { Seconds } from "./units.ts";

/** Minimum time between comparisons, from this fleet size on. */
const COMPARE_INTERVAL: Seconds = 0.5;
const LARGE_FLEET_SIZE = 16;

interface EvaluatedEngine {
  /** Endpoint, model and engine. */
  readonly key: string;
  /** `null` until it is named. */
  readonly name: { readonly name: string } | null;
  /** `null` if the newest good scrape lacks it. */
  readonly replica: ReplicaSample | null;
  readonly totals: SessionTotals;
}

export interface EvaluatedEndpoint extends ScrapedEndpoint {
  readonly endpoint: Endpoint;
  readonly displayName: string;
  readonly history: { readonly restartCount: number };
  readonly engines: ReadonlyMap<string, EvaluatedEngine>;
  readonly serverTotals: SessionTotals | null;
  readonly server: Pick<ServerInfo, "models"> | null;
}

interface EngineSubject extends Member {
  readonly name: string;
  readonly totals: SessionTotals;
}

interface Subject {
  readonly known: EvaluatedEndpoint;
  readonly record: ScrapeRecord;
  readonly status: ReturnType<typeof computeEndpointStatus>;
  /** The newest attempt succeeded. */
  readonly responds: boolean;
  readonly engines: readonly EngineSubject[];
}

export interface GroupChecks extends GroupEvaluation {
  readonly modelName: string;
}

/** Of the previous evaluation. */
interface SeenEndpoint {
  readonly status: ReplicaStatus;
  /** `null` unless it is failing. */
  readonly failingSince: Seconds | null;
  readonly restartCount: number;
  /** By engine; includes engines that are gone, as they may return. */
  readonly engineTotals: ReadonlyMap<string, SessionTotals>;
  readonly serverTotals: SessionTotals | null;
  /** New engines are announced: the endpoint has had some before, or joined a running fleet. */
  readonly announcesEngines: boolean;
}

export interface RuleEvaluation {
  /** By replica key; by endpoint key if no engine is known. */
  readonly statuses: ReadonlyMap<string, ReplicaStatus>;
  readonly groups: readonly GroupChecks[];
  /** Pending and firing ones. */
  readonly alerts: readonly Alert[];
  readonly verdict: FleetVerdict;
  readonly events: EventLog;
  readonly memory: {
    /** First evaluation; `null` before it. */
    readonly beganAt: Seconds | null;
    /** Newest scrape evaluated; `null` before the first evaluation. */
    readonly scrapedAt: Seconds | null;
    readonly comparedAt: Seconds;
    /** Engines of the previous evaluation, by key. */
    readonly engines: ReadonlyMap<string, EventSubject>;
    readonly endpoints: ReadonlyMap<string, SeenEndpoint>;
  };
}

export const NO_EVALUATION: RuleEvaluation = {
  statuses: new Map(),
  groups: [],
  alerts: [],
  verdict: { level: "PENDING", causes: [] },
  events: EMPTY_LOG,
  memory: {
    beganAt: null,
    scrapedAt: null,
    comparedAt: -Infinity,
    engines: new Map(),
    endpoints: new Map(),
  },
};

function createSubject(
  known: EvaluatedEndpoint,
  moment: Parameters<typeof getScrapeRecord>[1],
): Subject {
  const record = getScrapeRecord(known, moment);
  const engines = [...known.engines.values()].flatMap(
    ({ key, name, replica, totals }): EngineSubject[] => {
      if (replica === null) return [];
      const model = known.server?.models.find(({ id }) => id === replica.sample.modelName);
      return [{
        ...{ key, name: name?.name ?? known.displayName, replica, totals },
        maxModelLength: model?.maxModelLength ?? null,
      }];
    },
  );
  const responds = known.scrape !== null && known.failure === null;
  return { known, record, status: computeEndpointStatus(record), responds, engines };
}

function describeEndpoint({ known: { endpoint, displayName } }: Subject): EventSubject {
  const { key, address } = endpoint;
  return { key, endpointKey: key, address, name: displayName, modelName: null, engine: null };
}

function describeEngine({ known: { endpoint } }: Subject, engine: EngineSubject): EventSubject {
  const { sample } = engine.replica;
  return {
    ...{ key: engine.key, endpointKey: endpoint.key, address: endpoint.address },
    ...{ name: engine.name, modelName: sample.modelName, engine: sample.engine || null },
  };
}

/** Returns statuses without HOT and STALLED. */
function evaluateScrapes(subjects: readonly Subject[]): ReadonlyMap<string, ReplicaStatus> {
  const statuses = new Map<string, ReplicaStatus>();
  for (const { known: { endpoint }, record, status, responds, engines } of subjects) {
    // It answers, but has no engine yet.
    if (engines.length === 0) statuses.set(endpoint.key, responds ? "INIT" : status);
    for (const { key, replica } of engines) {
      statuses.set(key, computeReplicaStatus(replica.sample, record));
    }
  }
  return statuses;
}

function collectFindings(
  awake: readonly Member[],
  groups: readonly GroupChecks[],
): readonly Finding[] {
  const ratios = new Map(groups.flatMap(({ latencyRatios }) => [...latencyRatios]));
  return [
    ...awake.flatMap(({ key, replica }) => computeLoadStatus(key, replica, ratios.get(key))),
    ...groups.flatMap(({ checks }) => checks.flatMap(({ findings }) => findings)),
  ];
}

/** Adds HOT and STALLED if their alerts fire. */
function addAlerts(
  scraped: ReadonlyMap<string, ReplicaStatus>,
  alerts: readonly Alert[],
): ReadonlyMap<string, ReplicaStatus> {
  const statuses = new Map(scraped);
  // STALLED is worse, so it comes last.
  for (const [rule, status] of [["hot", "HOT"], ["stalled", "STALLED"]] as const) {
    for (const { isFiring, first } of alerts) {
      const isOpen = isFiring && first.rule === rule && isAwake(scraped.get(first.key) ?? "DOWN");
      if (isOpen) statuses.set(first.key, status);
    }
  }
  return statuses;
}

/** Lists conditions that last: alerts, failing endpoints, sleeping engines. */
function listLasting(
  subjects: readonly Subject[],
  statuses: ReadonlyMap<string, ReplicaStatus>,
  alerts: readonly Alert[],
): readonly Occurrence[] {
  const subjectOf = new Map<string, EventSubject>();
  const lasting: Occurrence[] = [];
  for (const one of subjects) {
    const subject = describeEndpoint(one);
    const { status } = one;
    if (status === "DOWN" || status === "STALE") lasting.push({ kind: status, subject });
    for (const engine of one.engines) {
      const replica = describeEngine(one, engine);
      subjectOf.set(engine.key, replica);
      if (statuses.get(engine.key) === "SLEEP") lasting.push({ kind: "SLEEP", subject: replica });
    }
  }
  for (const { isFiring, since, first, worst } of alerts) {
    const kind = EVENT_OF_RULE[first.rule];
    const subject = subjectOf.get(first.key);
    if (!isFiring || kind === null || subject === undefined) continue;
    lasting.push({ kind, subject, since, first, worst });
  }
  return lasting;
}

/** Returns the increase of the session total. */
function computeRise(
  now: SessionTotals | null | undefined,
  before: SessionTotals | null | undefined,
  key: "preemptions" | "rejections",
): number {
  return (now?.counted[key].value ?? 0) - (before?.counted[key].value ?? 0);
}

function listEndpointInstants(
  one: Subject,
  before: SeenEndpoint | undefined,
  at: Seconds,
): readonly Occurrence[] {
  if (before === undefined) return [];
  const subject = describeEndpoint(one);
  const instants: Occurrence[] = [];
  const hasComeBack = before.status === "DOWN" && one.status === "OK";
  if (hasComeBack && before.failingSince !== null) {
    instants.push({ kind: "UP", subject, amount: at - before.failingSince });
  }
  const restarts = one.known.history.restartCount - before.restartCount;
  if (restarts > 0) instants.push({ kind: "RESTART", subject, amount: restarts });
  const rejections = computeRise(one.known.serverTotals, before.serverTotals, "rejections");
  if (rejections > 0) instants.push({ kind: "REJECT", subject, amount: rejections });
  return instants;
}

function listInstants(
  subjects: readonly Subject[],
  memory: RuleEvaluation["memory"],
  { gone, at }: { readonly gone: readonly EventSubject[]; readonly at: Seconds },
): readonly Occurrence[] {
  const instants: Occurrence[] = [];
  for (const one of subjects) {
    const before = memory.endpoints.get(one.known.endpoint.key);
    instants.push(...listEndpointInstants(one, before, at));
    const announces = before?.announcesEngines ?? memory.scrapedAt !== null;
    for (const engine of one.engines) {
      const subject = describeEngine(one, engine);
      const isNew = !memory.engines.has(engine.key);
      if (isNew && announces) instants.push({ kind: "NEW", subject });
      const told = before?.engineTotals.get(engine.key);
      const preempted = computeRise(engine.totals, told, "preemptions");
      if (preempted > 0) instants.push({ kind: "PREEMPT", subject, amount: preempted });
    }
  }
  for (const subject of gone) instants.push({ kind: "GONE", subject });
  return instants;
}

function listGone(
  subjects: readonly Subject[],
  memory: RuleEvaluation["memory"],
): readonly EventSubject[] {
  const present = new Set(subjects.flatMap(({ engines }) => engines.map(({ key }) => key)));
  const byKey = new Map(subjects.map((one) => [one.known.endpoint.key, one]));
  return [...memory.engines.values()].filter(({ key, endpointKey }) => {
    const endpoint = byKey.get(endpointKey);
    // A server that is starting has no engines yet: they are not gone.
    const isStarting = endpoint !== undefined &&
      (!endpoint.responds || endpoint.engines.length === 0);
    return !present.has(key) && !isStarting;
  });
}

function remember(
  subjects: readonly Subject[],
  memory: RuleEvaluation["memory"],
  { gone, at }: { readonly gone: readonly EventSubject[]; readonly at: Seconds },
): Pick<RuleEvaluation["memory"], "engines" | "endpoints"> {
  const endpoints = new Map(subjects.map((one) => {
    const before = memory.endpoints.get(one.known.endpoint.key);
    const { status, known } = one;
    const isLate = before?.announcesEngines ?? memory.scrapedAt !== null;
    return [known.endpoint.key, {
      status,
      failingSince: status === "DOWN" || status === "STALE" ? before?.failingSince ?? at : null,
      restartCount: known.history.restartCount,
      engineTotals: new Map([...known.engines.values()].map(({ key, totals }) => [key, totals])),
      serverTotals: known.serverTotals,
      announcesEngines: isLate || one.engines.length > 0,
    }];
  }));
  const leaving = new Set(gone);
  const engines = new Map([
    ...[...memory.engines].filter(([, subject]) => !leaving.has(subject)),
    ...subjects.flatMap((one) =>
      one.engines.map((engine) => [engine.key, describeEngine(one, engine)] as const)
    ),
  ]);
  return { engines, endpoints };
}

function haveStatusesChanged(subjects: readonly Subject[], before: RuleEvaluation): boolean {
  return subjects.length !== before.memory.endpoints.size ||
    subjects.some(({ known: { endpoint }, status, engines }) =>
      before.memory.endpoints.get(endpoint.key)?.status !== status ||
      (engines.length === 0) !== before.statuses.has(endpoint.key)
    );
}

function conclude(
  statuses: ReadonlyMap<string, ReplicaStatus>,
  evaluated: { readonly alerts: readonly Alert[]; readonly events: EventLog; readonly at: Seconds },
): FleetVerdict {
  const { alerts, events, at } = evaluated;
  const standing = alerts.filter(({ isFiring }) => isFiring).map(({ newest }) => newest);
  const recent = events.lines.flatMap(({ kind, endedAt, subject, worst }) =>
    EVENT_KINDS[kind] === "alert" && endedAt !== null && at - endedAt < RECENT_ALERT_SPAN
      ? [{ key: subject.key, verdict: worst }]
      : []
  );
  return computeFleetVerdict({ statuses, standing, recent });
}

/** Returns `before` itself if nothing has changed. */
export function evaluateRules(
  before: RuleEvaluation,
  endpoints: readonly EvaluatedEndpoint[],
  moment: Moment & { readonly interval: Seconds; readonly isSingleEvaluation?: boolean },
): RuleEvaluation {
  const { memory } = before;
  const { at, interval } = moment;
  const clock = { now: at, interval };
  const subjects = endpoints.map((known) => createSubject(known, clock));
  const beganAt = memory.beganAt ?? at;
  // Findings of the first seconds fire at once.
  const isSingleEvaluation = moment.isSingleEvaluation === true || at - beganAt < ALERT_FOR;
  const scrapedAt = Math.max(
    -Infinity,
    ...endpoints.map(({ scrape }) => scrape?.receivedAt ?? -Infinity),
  );
  const pause = before.statuses.size > LARGE_FLEET_SIZE ? COMPARE_INTERVAL : 0;
  const isDue = scrapedAt !== memory.scrapedAt && at - memory.comparedAt >= pause;
  const scraped = evaluateScrapes(subjects);
  if (!isDue && !haveStatusesChanged(subjects, before)) {
    const statuses = addAlerts(scraped, before.alerts);
    const verdict = conclude(statuses, { ...before, at });
    // With the same statuses, causes can only expire.
    const isSame = statuses.size === before.statuses.size &&
      verdict.level === before.verdict.level &&
      verdict.causes.length === before.verdict.causes.length &&
      [...statuses].every(([key, status]) => before.statuses.get(key) === status);
    return isSame ? before : { ...before, statuses, verdict };
  }
  const awake = subjects.flatMap(({ engines }) =>
    engines.filter(({ key }) => isAwake(scraped.get(key) ?? "PENDING"))
  );
  const groups = formGroups(awake).map((group) => ({
    modelName: group[0].replica.sample.modelName,
    ...evaluateImbalance(group),
  }));
  const alerts = updateAlerts(before.alerts, {
    findings: collectFindings(awake, groups),
    at,
    isSingleEvaluation,
    // A STALE replica may return with the next scrape.
    isEvaluated: (key) => isAwake(scraped.get(key) ?? "DOWN") || scraped.get(key) === "STALE",
  });
  const statuses = addAlerts(scraped, alerts);
  const gone = listGone(subjects, memory);
  const events = recordEvents(before.events, {
    ...moment,
    lasting: listLasting(subjects, statuses, alerts),
    instants: listInstants(subjects, memory, { gone, at }),
  });
  return {
    statuses,
    groups,
    alerts,
    verdict: conclude(statuses, { alerts, events, at }),
    events,
    memory: { beganAt, scrapedAt, comparedAt: at, ...remember(subjects, memory, { gone, at }) },
  };
}
