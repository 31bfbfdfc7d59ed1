/**
 * All that is watched, judged: conditions, checks, alarms, verdict and events.
 *
 * `judge` is given the judgement before and what is known now,
 * and gives the next one. It runs when something was heard or a condition has
 * changed, and not for each frame: drawing reads what stands here. Large fleets
 * are compared at most every `COMPARE_INTERVAL`, as each of their many scrapes
 * would compare all of them again. What the words mean is decided in `rules`,
 * `imbalance` and `health`; how long they must last in `alarms`.
 *
 * @module
 */

import type { Endpoint, ReplicaStatus } from "./model.ts";
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
  type Check,
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
  isAwake,
  type ScrapeRecord,
} from "./rules_status.ts";
import { type Finding, HOLD, RECENT } from "./rules_table.ts";
import type { ServerTotals, SessionTotals } from "./stats_totals.ts";
import { identifyEngine, type ReplicaSample } from "./stats_window.ts";
import type { Seconds } from "./units.ts";

/** Fleets of more replicas are compared at most this often. */
const COMPARE_INTERVAL: Seconds = 0.5;
const LARGE_FLEET_SIZE = 16;

/** One engine of an endpoint that is to be judged. */
interface EngineSubject {
  /** Its identity: endpoint, model and engine. */
  readonly key: string;
  readonly name: string;
  readonly replica: ReplicaSample;
  readonly maxModelLength: number | null;
}

/** One endpoint that is to be judged. */
export interface EndpointSubject {
  readonly endpoint: Endpoint;
  readonly name: string;
  readonly record: ScrapeRecord;
  /** Whether its newest attempt succeeded. */
  readonly isHeard: boolean;
  /** When its newest good scrape was received; `null` before the first. */
  readonly heardAt: Seconds | null;
  readonly restartCount: number;
  /** What it has counted since it is watched. */
  readonly totals: ServerTotals;
  /** Those of the newest good scrape. */
  readonly engines: readonly EngineSubject[];
}

/** The checks of one group of replicas that can be compared. */
export interface GroupChecks extends GroupEvaluation {
  readonly modelName: string;
}

/** What is remembered of an endpoint from one judgement to the next. */
interface SeenEndpoint {
  readonly status: ReplicaStatus;
  /** Since when it fails; `null` while it does not. */
  readonly failingSince: Seconds | null;
  readonly restartCount: number;
  /** What has been told of. Engines that went are in it, and may be back. */
  readonly totals: ServerTotals;
  /** Whether engines that are new here are new to the fleet. */
  readonly announcesEngines: boolean;
}

/** All that is said of what is watched. */
export interface RuleEvaluation {
  /** The condition of each replica, and of each endpoint of which no engine is known. */
  readonly statuses: ReadonlyMap<string, ReplicaStatus>;
  readonly groups: readonly GroupChecks[];
  /** Raised or not. */
  readonly alerts: readonly Alert[];
  readonly verdict: FleetVerdict;
  readonly events: EventLog;
  readonly memory: {
    /** When the first judgement was made; `null` before it. */
    readonly beganAt: Seconds | null;
    /** When the newest of the scrapes that were judged was received; `null` before the first judgement. */
    readonly heardAt: Seconds | null;
    readonly comparedAt: Seconds;
    /** The engines that were there, by their identities. */
    readonly engines: ReadonlyMap<string, EventSubject>;
    readonly endpoints: ReadonlyMap<string, SeenEndpoint>;
  };
}

/** Nothing has been judged yet. */
export const NO_EVALUATION: RuleEvaluation = {
  statuses: new Map(),
  groups: [],
  alerts: [],
  verdict: { level: "PENDING", causes: [] },
  events: EMPTY_LOG,
  memory: {
    beganAt: null,
    heardAt: null,
    comparedAt: -Infinity,
    engines: new Map(),
    endpoints: new Map(),
  },
};

function describeEndpoint({ endpoint, name }: EndpointSubject): EventSubject {
  const { key, address } = endpoint;
  return { key, endpointKey: key, address, name, modelName: null, engine: null };
}

function describeEngine({ endpoint }: EndpointSubject, engine: EngineSubject): EventSubject {
  const { sample } = engine.replica;
  return {
    key: engine.key,
    endpointKey: endpoint.key,
    address: endpoint.address,
    name: engine.name,
    modelName: sample.modelName,
    engine: sample.engine === "" ? null : sample.engine,
  };
}

/** Conditions as scrapes tell them, without HOT and STALLED. */
function evaluateScrapes(subjects: readonly EndpointSubject[]): ReadonlyMap<string, ReplicaStatus> {
  const statuses = new Map<string, ReplicaStatus>();
  for (const { endpoint, record, isHeard, engines } of subjects) {
    // An endpoint that answers without an engine has yet to begin.
    if (engines.length === 0) {
      statuses.set(endpoint.key, isHeard ? "INIT" : computeEndpointStatus(record));
    }
    for (const { key, replica } of engines) {
      statuses.set(key, computeReplicaStatus(replica.sample, record));
    }
  }
  return statuses;
}

function compare(
  subjects: readonly EndpointSubject[],
  scraped: ReadonlyMap<string, ReplicaStatus>,
): readonly GroupChecks[] {
  const members = subjects.flatMap(({ engines }) =>
    engines.filter(({ key }) => isAwake(scraped.get(key) ?? "PENDING"))
  );
  return formGroups(members).map((group: readonly Member[]) => ({
    modelName: group[0].replica.sample.modelName,
    ...evaluateImbalance(group),
  }));
}

/** All that the rules say now. */
function collectFindings(
  subjects: readonly EndpointSubject[],
  scraped: ReadonlyMap<string, ReplicaStatus>,
  groups: readonly GroupChecks[],
): readonly Finding[] {
  const ratios = new Map(groups.flatMap(({ latencyRatios }) => [...latencyRatios]));
  const load = subjects.flatMap(({ engines }) =>
    engines.flatMap(({ key, replica }) =>
      isAwake(scraped.get(key) ?? "PENDING") ? computeLoadStatus(key, replica, ratios.get(key)) : []
    )
  );
  const imbalance = groups.flatMap(({ checks }) =>
    checks.flatMap((check: Check) => check.findings)
  );
  return [...load, ...imbalance];
}

/** Conditions with HOT and STALLED in them, where these have lasted. */
function addAlerts(
  scraped: ReadonlyMap<string, ReplicaStatus>,
  alerts: readonly Alert[],
): ReadonlyMap<string, ReplicaStatus> {
  const statuses = new Map(scraped);
  const set = (rule: Finding["rule"], status: ReplicaStatus): void => {
    for (const { isFiring, first } of alerts) {
      const isOpen = isFiring && first.rule === rule && isAwake(scraped.get(first.key) ?? "DOWN");
      if (isOpen) statuses.set(first.key, status);
    }
  };
  set("hot", "HOT");
  // The worse of the two has the last word.
  set("stalled", "STALLED");
  return statuses;
}

/** What is the case now: alarms, endpoints that do not answer, engines that sleep. */
function listLasting(
  subjects: readonly EndpointSubject[],
  statuses: ReadonlyMap<string, ReplicaStatus>,
  alerts: readonly Alert[],
): readonly Occurrence[] {
  const subjectOf = new Map<string, EventSubject>();
  const lasting: Occurrence[] = [];
  for (const one of subjects) {
    const subject = describeEndpoint(one);
    const status = computeEndpointStatus(one.record);
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

/** How much the tally's sum has risen since the one before; without one, all of it. */
function computeRise(
  now: SessionTotals | null | undefined,
  before: SessionTotals | null | undefined,
  key: "preemptions" | "rejections",
): number {
  return (now?.counted[key].value ?? 0) - (before?.counted[key].value ?? 0);
}

/** What has happened to an endpoint since the last judgement. */
function listEndpointInstants(
  one: EndpointSubject,
  before: SeenEndpoint | undefined,
  at: Seconds,
): readonly Occurrence[] {
  if (before === undefined) return [];
  const subject = describeEndpoint(one);
  const instants: Occurrence[] = [];
  const hasComeBack = before.status === "DOWN" && computeEndpointStatus(one.record) === "OK";
  if (hasComeBack && before.failingSince !== null) {
    instants.push({ kind: "UP", subject, amount: at - before.failingSince });
  }
  const restarts = one.restartCount - before.restartCount;
  if (restarts > 0) instants.push({ kind: "RESTART", subject, amount: restarts });
  const rejections = computeRise(one.totals.server, before.totals.server, "rejections");
  if (rejections > 0) instants.push({ kind: "REJECT", subject, amount: rejections });
  return instants;
}

/** What has happened since the last judgement. */
function listInstants(
  subjects: readonly EndpointSubject[],
  memory: RuleEvaluation["memory"],
  at: Seconds,
): readonly Occurrence[] {
  const instants: Occurrence[] = [];
  const present = new Set<string>();
  for (const one of subjects) {
    const before = memory.endpoints.get(one.endpoint.key);
    instants.push(...listEndpointInstants(one, before, at));
    const announces = before?.announcesEngines ?? memory.heardAt !== null;
    for (const engine of one.engines) {
      const subject = describeEngine(one, engine);
      const isNew = !memory.engines.has(engine.key);
      present.add(engine.key);
      if (isNew && announces) instants.push({ kind: "NEW", subject });
      const key = identifyEngine(engine.replica.sample);
      const [now, told] = [one.totals.engines.get(key), before?.totals.engines.get(key)];
      const preempted = computeRise(now, told, "preemptions");
      if (preempted > 0) instants.push({ kind: "PREEMPT", subject, amount: preempted });
    }
  }
  const heard = new Map(subjects.map((one) => [one.endpoint.key, one]));
  for (const subject of memory.engines.values()) {
    if (!present.has(subject.key) && isGone(subject, heard)) {
      instants.push({ kind: "GONE", subject });
    }
  }
  return instants;
}

/** Whether an engine that is not there has gone: a server that has not begun yet has none. */
function isGone(
  { endpointKey }: EventSubject,
  heard: ReadonlyMap<string, EndpointSubject>,
): boolean {
  const endpoint = heard.get(endpointKey);
  return endpoint === undefined || (endpoint.isHeard && endpoint.engines.length > 0);
}

function remember(
  subjects: readonly EndpointSubject[],
  memory: RuleEvaluation["memory"],
  at: Seconds,
): Pick<RuleEvaluation["memory"], "engines" | "endpoints"> {
  const endpoints = new Map(subjects.map((one) => {
    const before = memory.endpoints.get(one.endpoint.key);
    const status = computeEndpointStatus(one.record);
    const isLate = before?.announcesEngines ?? memory.heardAt !== null;
    return [one.endpoint.key, {
      status,
      failingSince: status === "DOWN" || status === "STALE" ? before?.failingSince ?? at : null,
      restartCount: one.restartCount,
      totals: one.totals,
      announcesEngines: isLate || one.engines.length > 0,
    }];
  }));
  const heard = new Map(subjects.map((one) => [one.endpoint.key, one]));
  const waiting = [...memory.engines].filter(([, subject]) => !isGone(subject, heard));
  const engines = new Map([
    ...waiting,
    ...subjects.flatMap((one) =>
      one.engines.map((engine) => [engine.key, describeEngine(one, engine)] as const)
    ),
  ]);
  return { engines, endpoints };
}

function findNewest(subjects: readonly EndpointSubject[]): Seconds {
  return Math.max(-Infinity, ...subjects.map(({ heardAt }) => heardAt ?? -Infinity));
}

/** Whether conditions have changed, and with them what there is to compare. */
function haveStatusesChanged(
  subjects: readonly EndpointSubject[],
  before: RuleEvaluation,
): boolean {
  return subjects.length !== before.memory.endpoints.size ||
    subjects.some(({ endpoint, record, engines }) =>
      before.memory.endpoints.get(endpoint.key)?.status !== computeEndpointStatus(record) ||
      (engines.length === 0) !== before.statuses.has(endpoint.key)
    );
}

function areSame(
  one: RuleEvaluation["statuses"],
  other: RuleEvaluation["statuses"],
): boolean {
  return one.size === other.size && [...one].every(([key, status]) => other.get(key) === status);
}

function conclude(
  statuses: ReadonlyMap<string, ReplicaStatus>,
  judged: { readonly alerts: readonly Alert[]; readonly events: EventLog; readonly at: Seconds },
): FleetVerdict {
  const { alerts, events, at } = judged;
  const standing = alerts.filter(({ isFiring }) => isFiring).map(({ newest }) => newest);
  const recent = events.lines.flatMap(({ kind, endedAt, subject, worst }) =>
    EVENT_KINDS[kind] === "alert" && endedAt !== null && at - endedAt < RECENT
      ? [{ key: subject.key, verdict: worst }]
      : []
  );
  return computeFleetVerdict({ statuses, standing, recent });
}

/** The judgement after what is known now. The same object where there is nothing new to say. */
export function evaluateRules(
  before: RuleEvaluation,
  subjects: readonly EndpointSubject[],
  moment: Moment & { readonly isSingleEvaluation?: boolean },
): RuleEvaluation {
  const { memory } = before;
  const { at } = moment;
  const beganAt = memory.beganAt ?? at;
  // What is there when watching begins needs no time to be there.
  const isSingleEvaluation = moment.isSingleEvaluation === true || at - beganAt < HOLD;
  const heardAt = findNewest(subjects);
  const pause = before.statuses.size > LARGE_FLEET_SIZE ? COMPARE_INTERVAL : 0;
  const isDue = heardAt !== memory.heardAt && at - memory.comparedAt >= pause;
  const scraped = evaluateScrapes(subjects);
  if (!isDue && !haveStatusesChanged(subjects, before)) {
    const statuses = addAlerts(scraped, before.alerts);
    const verdict = conclude(statuses, { ...before, at });
    // With the same statuses, causes can only have grown old and gone.
    const isSame = areSame(statuses, before.statuses) &&
      verdict.causes.length === before.verdict.causes.length;
    return isSame ? before : { ...before, statuses, verdict };
  }
  const groups = compare(subjects, scraped);
  const alerts = updateAlerts(before.alerts, {
    findings: collectFindings(subjects, scraped, groups),
    at,
    isSingleEvaluation,
    // What is stale for a moment may be back with the next scrape.
    isEvaluated: (key) => isAwake(scraped.get(key) ?? "DOWN") || scraped.get(key) === "STALE",
  });
  const statuses = addAlerts(scraped, alerts);
  const events = recordEvents(before.events, {
    ...moment,
    lasting: listLasting(subjects, statuses, alerts),
    instants: listInstants(subjects, memory, at),
  });
  return {
    statuses,
    groups,
    alerts,
    verdict: conclude(statuses, { alerts, events, at }),
    events,
    memory: { beganAt, heardAt, comparedAt: at, ...remember(subjects, memory, at) },
  };
}
