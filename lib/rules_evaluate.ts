/**
 * Everything that is watched, evaluated: statuses, checks, alerts, verdict, events.
 *
 * `evaluateRules` takes the evaluation before and what is known now, and gives
 * the next one. Statuses are always of now. Replicas are compared when something
 * was heard; large fleets at most every `COMPARE_INTERVAL`, as each of their many
 * scrapes would compare all of them again.
 *
 * @module
 */

import type { Endpoint, ReplicaStatus, ScrapeFailure, ServerInfo } from "./model.ts";
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
  getScrapeRecord,
  isAwake,
  type ScrapeRecord,
} from "./rules_status.ts";
import { ALERT_FOR, type Finding, RECENT_ALERT_SPAN } from "./rules_table.ts";
import type { Schedule } from "./scrape_schedule.ts";
import type { SessionTotals } from "./stats_totals.ts";
import type { ReplicaSample } from "./stats_window.ts";
import type { Seconds } from "./units.ts";

/** Fleets of more replicas are compared at most this often. */
const COMPARE_INTERVAL: Seconds = 0.5;
const LARGE_FLEET_SIZE = 16;

/** What the rules read of an engine. */
interface EvaluatedEngine {
  /** Its identity: endpoint, model and engine. */
  readonly key: string;
  /** `null` before it has one. */
  readonly name: { readonly name: string } | null;
  /** `null` if the newest good scrape is without it. */
  readonly replica: ReplicaSample | null;
  readonly totals: SessionTotals;
}

/** What the rules read of an endpoint. */
export interface EvaluatedEndpoint {
  readonly endpoint: Endpoint;
  readonly displayName: string;
  readonly scrape: { readonly receivedAt: Seconds } | null;
  readonly askedAt: Seconds | null;
  readonly failure: Pick<ScrapeFailure, "kind"> | null;
  readonly schedule: Schedule;
  readonly history: { readonly restartCount: number };
  readonly engines: ReadonlyMap<string, EvaluatedEngine>;
  readonly serverTotals: SessionTotals | null;
  readonly server: Pick<ServerInfo, "models"> | null;
}

/** An engine of the newest good scrape. */
interface EngineSubject extends Member {
  readonly name: string;
  readonly totals: SessionTotals;
}

/** An endpoint at the moment of an evaluation. */
interface Subject {
  readonly known: EvaluatedEndpoint;
  readonly record: ScrapeRecord;
  readonly status: ReturnType<typeof computeEndpointStatus>;
  /** Whether its newest attempt succeeded. */
  readonly isHeard: boolean;
  readonly engines: readonly EngineSubject[];
}

/** The checks of one group of replicas that can be compared. */
export interface GroupChecks extends GroupEvaluation {
  readonly modelName: string;
}

/** What is remembered of an endpoint from one evaluation to the next. */
interface SeenEndpoint {
  readonly status: ReplicaStatus;
  /** Since when it fails; `null` while it does not. */
  readonly failingSince: Seconds | null;
  readonly restartCount: number;
  /** The totals that events have told of, by engine: those that went may be back. */
  readonly engineTotals: ReadonlyMap<string, SessionTotals>;
  readonly serverTotals: SessionTotals | null;
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
    /** Time of the first evaluation; `null` before it. */
    readonly beganAt: Seconds | null;
    /** Receipt of the newest scrape evaluated; `null` before the first evaluation. */
    readonly heardAt: Seconds | null;
    readonly comparedAt: Seconds;
    /** The engines that were there, by their identities. */
    readonly engines: ReadonlyMap<string, EventSubject>;
    readonly endpoints: ReadonlyMap<string, SeenEndpoint>;
  };
}

/** Before the first evaluation. */
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

/** The longest context of the model, as its server says. */
function findModelLength({ server }: EvaluatedEndpoint, modelName: string): number | null {
  return server?.models.find(({ id }) => id === modelName)?.maxModelLength ?? null;
}

function createSubject(
  known: EvaluatedEndpoint,
  moment: Parameters<typeof getScrapeRecord>[1],
): Subject {
  const record = getScrapeRecord(known, moment);
  const engines = [...known.engines.values()].flatMap(
    ({ key, name, replica, totals }): EngineSubject[] => {
      if (replica === null) return [];
      const maxModelLength = findModelLength(known, replica.sample.modelName);
      return [{ key, name: name?.name ?? known.displayName, replica, totals, maxModelLength }];
    },
  );
  const isHeard = known.scrape !== null && known.failure === null;
  return { known, record, status: computeEndpointStatus(record), isHeard, engines };
}

function describeEndpoint({ known: { endpoint, displayName } }: Subject): EventSubject {
  const { key, address } = endpoint;
  return { key, endpointKey: key, address, name: displayName, modelName: null, engine: null };
}

function describeEngine({ known: { endpoint } }: Subject, engine: EngineSubject): EventSubject {
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
function evaluateScrapes(subjects: readonly Subject[]): ReadonlyMap<string, ReplicaStatus> {
  const statuses = new Map<string, ReplicaStatus>();
  for (const { known: { endpoint }, record, status, isHeard, engines } of subjects) {
    // An endpoint that answers without an engine has yet to begin.
    if (engines.length === 0) {
      statuses.set(endpoint.key, isHeard ? "INIT" : status);
    }
    for (const { key, replica } of engines) {
      statuses.set(key, computeReplicaStatus(replica.sample, record));
    }
  }
  return statuses;
}

function compare(
  subjects: readonly Subject[],
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
  subjects: readonly Subject[],
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

/** What lasts: alerts, endpoints that do not answer, engines that sleep. */
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

/** How much the tally's sum has risen since the one before; without one, all of it. */
function computeRise(
  now: SessionTotals | null | undefined,
  before: SessionTotals | null | undefined,
  key: "preemptions" | "rejections",
): number {
  return (now?.counted[key].value ?? 0) - (before?.counted[key].value ?? 0);
}

/** What has happened to an endpoint since the last evaluation. */
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

/** What has happened since the last evaluation. */
function listInstants(
  subjects: readonly Subject[],
  memory: RuleEvaluation["memory"],
  at: Seconds,
): readonly Occurrence[] {
  const instants: Occurrence[] = [];
  const present = new Set<string>();
  for (const one of subjects) {
    const before = memory.endpoints.get(one.known.endpoint.key);
    instants.push(...listEndpointInstants(one, before, at));
    const announces = before?.announcesEngines ?? memory.heardAt !== null;
    for (const engine of one.engines) {
      const subject = describeEngine(one, engine);
      const isNew = !memory.engines.has(engine.key);
      present.add(engine.key);
      if (isNew && announces) instants.push({ kind: "NEW", subject });
      const told = before?.engineTotals.get(engine.key);
      const preempted = computeRise(engine.totals, told, "preemptions");
      if (preempted > 0) instants.push({ kind: "PREEMPT", subject, amount: preempted });
    }
  }
  const heard = new Map(subjects.map((one) => [one.known.endpoint.key, one]));
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
  heard: ReadonlyMap<string, Subject>,
): boolean {
  const endpoint = heard.get(endpointKey);
  return endpoint === undefined || (endpoint.isHeard && endpoint.engines.length > 0);
}

function remember(
  subjects: readonly Subject[],
  memory: RuleEvaluation["memory"],
  at: Seconds,
): Pick<RuleEvaluation["memory"], "engines" | "endpoints"> {
  const endpoints = new Map(subjects.map((one) => {
    const before = memory.endpoints.get(one.known.endpoint.key);
    const { status, known } = one;
    const isLate = before?.announcesEngines ?? memory.heardAt !== null;
    return [known.endpoint.key, {
      status,
      failingSince: status === "DOWN" || status === "STALE" ? before?.failingSince ?? at : null,
      restartCount: known.history.restartCount,
      engineTotals: new Map([...known.engines.values()].map(({ key, totals }) => [key, totals])),
      serverTotals: known.serverTotals,
      announcesEngines: isLate || one.engines.length > 0,
    }];
  }));
  const heard = new Map(subjects.map((one) => [one.known.endpoint.key, one]));
  const waiting = [...memory.engines].filter(([, subject]) => !isGone(subject, heard));
  const engines = new Map([
    ...waiting,
    ...subjects.flatMap((one) =>
      one.engines.map((engine) => [engine.key, describeEngine(one, engine)] as const)
    ),
  ]);
  return { engines, endpoints };
}

function findNewest(subjects: readonly Subject[]): Seconds {
  return Math.max(-Infinity, ...subjects.map(({ known }) => known.scrape?.receivedAt ?? -Infinity));
}

/** Whether conditions have changed, and with them what there is to compare. */
function haveStatusesChanged(
  subjects: readonly Subject[],
  before: RuleEvaluation,
): boolean {
  return subjects.length !== before.memory.endpoints.size ||
    subjects.some(({ known: { endpoint }, status, engines }) =>
      before.memory.endpoints.get(endpoint.key)?.status !== status ||
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

/** The evaluation after what is known now. The same object where there is nothing new to say. */
export function evaluateRules(
  before: RuleEvaluation,
  endpoints: readonly EvaluatedEndpoint[],
  moment: Moment & { readonly interval: Seconds; readonly isSingleEvaluation?: boolean },
): RuleEvaluation {
  const { memory } = before;
  const { at, interval } = moment;
  const clock = { now: at, interval, isOnce: moment.isSingleEvaluation };
  const subjects = endpoints.map((known) => createSubject(known, clock));
  const beganAt = memory.beganAt ?? at;
  // What is there when watching begins needs no time to be there.
  const isSingleEvaluation = moment.isSingleEvaluation === true || at - beganAt < ALERT_FOR;
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
