/**
 * Evaluates all rules: statuses, checks, alerts, verdict, events. Replicas are compared when a new
 * scrape has arrived; in large fleets at most every `COMPARE_INTERVAL`.
 * @module
 */

import type { Objective, ReplicaStatus, ScrapeStatus } from "./model.ts";
import { isPresent } from "./reading.ts";
import {
  type Alert,
  EMPTY_LOG,
  EVENT_KINDS,
  type EventLine,
  type EventLog,
  type Moment,
  recordEvents,
  STATUS_OF_RULE,
  updateAlerts,
} from "./rules_alerts.ts";
import { findCountedElsewhere } from "./rules_fronts.ts";
import {
  type Check,
  evaluateImbalance,
  formGroups,
  type GroupEvaluation,
  type Member,
} from "./rules_imbalance.ts";
import {
  countPodRestarts,
  type EngineSubject,
  type EvaluatedEndpoint,
  listGone,
  listInstants,
  listLasting,
  type Memory,
  remember,
  type Subject,
} from "./rules_occurrences.ts";
import {
  evaluateReplica,
  evaluateServer,
  findEarlierOutput,
  type OutputMinutes,
  rememberOutput,
} from "./rules_server.ts";
import { evaluateObjectives } from "./rules_slo.ts";
import {
  type Cause,
  computeEndpointStatus,
  computeFleetVerdict,
  computeReplicaStatus,
  type FleetVerdict,
  getScrapeRecord,
  isAwake,
  isCounted,
  sortAlerts,
} from "./rules_status.ts";
import type { Finding } from "./rules_finding.ts";
import {
  FLAP_COUNT,
  MIN_SPAN,
  RECENT_ALERT_SPAN,
  RECENT_FLAP_SPAN,
  type Rules,
  SERVER_RULE_IDS,
} from "./rules_table.ts";
import type { Seconds } from "./units.ts";
import { identifyGroup } from "./stats_window.ts";

/** Minimum time between comparisons, from this fleet size on. */
const COMPARE_INTERVAL: Seconds = 0.5;
const LARGE_FLEET_SIZE = 16;

export interface GroupChecks extends GroupEvaluation {
  /** As `identifyGroup` gives it. */
  readonly groupKey: string;
}

export interface RuleEvaluation {
  /** By replica key; by endpoint key if no engine is known. */
  readonly statuses: ReadonlyMap<string, ReplicaStatus>;
  /** Keys of replicas that are in no total: others count the same requests. */
  readonly countedElsewhere: ReadonlySet<string>;
  readonly groups: readonly GroupChecks[];
  /** Of the rules of one server. */
  readonly checks: readonly Check[];
  /** Pending and firing ones. */
  readonly alerts: readonly Alert[];
  /** By replica key, worst first; those of an endpoint are of each of its replicas. */
  readonly firing: ReadonlyMap<string, readonly Alert[]>;
  readonly verdict: FleetVerdict;
  readonly events: EventLog;
  readonly memory: Memory & {
    readonly comparedAt: Seconds;
    /** By replica key. */
    readonly outputs: ReadonlyMap<string, OutputMinutes>;
  };
}

export const NO_EVALUATION: RuleEvaluation = {
  statuses: new Map(),
  countedElsewhere: new Set(),
  groups: [],
  checks: [],
  alerts: [],
  firing: new Map(),
  verdict: { level: "PENDING", watched: 0, causes: [] },
  events: EMPTY_LOG,
  memory: {
    scrapedAt: null,
    comparedAt: -Infinity,
    engines: new Map(),
    endpoints: new Map(),
    outputs: new Map(),
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

/** Returns statuses without rules. */
function evaluateScrapes(subjects: readonly Subject[]): ReadonlyMap<string, ScrapeStatus> {
  const statuses = new Map<string, ScrapeStatus>();
  for (const { known: { endpoint }, record, status, responds, engines } of subjects) {
    // It answers, but has no engine yet.
    if (engines.length === 0) statuses.set(endpoint.key, responds ? "INIT" : status);
    for (const { key, replica } of engines) {
      statuses.set(key, computeReplicaStatus(replica.sample, record));
    }
  }
  return statuses;
}

interface Evaluator {
  readonly objectives: readonly Objective[];
  readonly rules: Rules;
  readonly before: RuleEvaluation;
  readonly isSingleEvaluation: boolean;
}

/** Applies the rules of one server to each. */
function evaluateServers(
  subjects: readonly Subject[],
  awake: readonly Member[],
  { rules, objectives, before, isSingleEvaluation, groups }: Evaluator & {
    readonly groups: readonly GroupChecks[];
  },
): { readonly findings: readonly Finding[]; readonly outputs: ReadonlyMap<string, OutputMinutes> } {
  const ratios = new Map(groups.flatMap(({ latencyRatios }) => [...latencyRatios]));
  const collapsed = new Map(
    before.alerts.flatMap(({ first }) => first.rule === "collapse" ? [[first.key, first]] : []),
  );
  const outputs = new Map<string, OutputMinutes>();
  const ofReplicas = awake.flatMap(({ key, replica }) => {
    const known = before.memory.outputs.get(key) ?? [];
    outputs.set(key, rememberOutput(known, replica));
    return evaluateReplica({
      ...{ key, replica, isSingleEvaluation },
      ratios: ratios.get(key) ?? { ttft: 1, itl: 1 },
      // Soon the minute before is as bad as the last.
      earlierOutput: collapsed.get(key)?.baseline ?? findEarlierOutput(known, replica),
    }, rules);
  });
  const ofServers = subjects.filter(({ status }) => status === "OK").flatMap((one) =>
    evaluateServer({
      key: one.known.endpoint.key,
      history: one.known.history,
      replicas: one.engines.map(({ replica }) => replica),
    }, rules)
  );
  const ofObjectives = evaluateObjectives(awake, objectives, rules.slo);
  return { findings: [...ofServers, ...ofReplicas, ...ofObjectives], outputs };
}

function listChecks(findings: readonly Finding[], awake: readonly Member[]): readonly Check[] {
  const byRule = Map.groupBy(findings, ({ rule }) => rule);
  return SERVER_RULE_IDS.map((rule) => {
    return { rule, compared: awake.length, findings: byRule.get(rule) ?? [] };
  });
}

/** Firing alerts of each replica; those of an endpoint are of all its replicas. */
function assignAlerts(
  subjects: readonly Subject[],
  alerts: readonly Alert[],
): ReadonlyMap<string, readonly Alert[]> {
  const byKey = Map.groupBy(alerts.filter(({ isFiring }) => isFiring), ({ first }) => first.key);
  if (byKey.size === 0) return byKey;
  const assigned = new Map<string, readonly Alert[]>();
  for (const { known: { endpoint }, engines } of subjects) {
    const ofEndpoint = byKey.get(endpoint.key) ?? [];
    const keys = engines.length === 0 ? [endpoint.key] : engines.map(({ key }) => key);
    for (const key of keys) {
      const own = key === endpoint.key ? [] : byKey.get(key) ?? [];
      const all = sortAlerts([...ofEndpoint, ...own]);
      if (all.length > 0) assigned.set(key, all);
    }
  }
  return assigned;
}

/** Puts the worst firing rule in the place of OK. */
function addAlerts(
  scraped: ReadonlyMap<string, ScrapeStatus>,
  firing: RuleEvaluation["firing"],
): ReadonlyMap<string, ReplicaStatus> {
  if (firing.size === 0) return scraped;
  const statuses = new Map<string, ReplicaStatus>(scraped);
  for (const [key, [{ newest }]] of firing) {
    if (scraped.get(key) === "OK") statuses.set(key, STATUS_OF_RULE[newest.rule]);
  }
  return statuses;
}

function haveStatusesChanged(subjects: readonly Subject[], before: RuleEvaluation): boolean {
  return subjects.length !== before.memory.endpoints.size ||
    subjects.some(({ known: { endpoint }, status, engines }) => {
      const seen = before.memory.endpoints.get(endpoint.key);
      return seen?.status !== status || seen.podRestartCount !== countPodRestarts(endpoint) ||
        (engines.length === 0) !== before.statuses.has(endpoint.key);
    });
}

function compareReplicas(replicas: readonly Member[], rules: Rules): readonly GroupChecks[] {
  return formGroups(replicas).map((group) => ({
    groupKey: identifyGroup(group[0].replica.sample),
    ...evaluateImbalance(group, rules),
  }));
}

/** Whether its load is no number, by which nothing can be judged. */
function hidesLoad({ sample: { gauges } }: EngineSubject["replica"]): boolean {
  return [gauges.running, gauges.waiting].every((reading) =>
    !isPresent(reading) && (reading.reason === "not_finite" || reading.reason === "invalid")
  );
}

/** For how long the replica known least has been watched. */
function computeWatched(
  subjects: readonly Subject[],
  scraped: ReadonlyMap<string, ScrapeStatus>,
): Seconds {
  let least = Infinity;
  for (const { engines } of subjects) {
    for (const { key, replica } of engines) {
      if (!isCounted(scraped.get(key) ?? "DOWN")) continue;
      if (hidesLoad(replica)) return 0;
      const { trace } = replica;
      least = Math.min(least, trace[trace.length - 1].at - trace[0].at);
    }
  }
  return least === Infinity ? 0 : Math.min(MIN_SPAN, least);
}

/** For how long after its end the event keeps the fleet DEGRADED. */
function getRecentSpan({ kind, occurrences }: EventLine): Seconds {
  if (EVENT_KINDS[kind] === "alert") return RECENT_ALERT_SPAN;
  return kind === "STALE" && occurrences >= FLAP_COUNT ? RECENT_FLAP_SPAN : 0;
}

function conclude(
  statuses: ReadonlyMap<string, ReplicaStatus>,
  evaluated: Pick<RuleEvaluation, "alerts" | "events"> & {
    readonly at: Seconds;
    readonly watched: Seconds;
    readonly memory: RuleEvaluation["memory"];
  },
): FleetVerdict {
  const { alerts, events, at, watched, memory } = evaluated;
  const standing = alerts.filter(({ isFiring }) => isFiring);
  const recent = events.lines.flatMap((line): Pick<Cause, "key" | "since" | "verdict">[] => {
    const { subject: { key }, endedAt: since, worst: verdict } = line;
    return since !== null && at - since < getRecentSpan(line) ? [{ key, since, verdict }] : [];
  });
  const findDown = (key: string) =>
    events.lines.find(({ kind, subject, endedAt }) =>
      kind === "DOWN" && subject.key === key && endedAt === null
    );
  const failingSince = (key: string): Seconds | null =>
    memory.endpoints.get(key.split("\n", 1)[0])?.failingSince ?? findDown(key)?.beganAt ?? null;
  return computeFleetVerdict({ statuses, standing, recent, failingSince, watched });
}

/** Returns `before` itself if nothing has changed. */
export function evaluateRules(
  before: RuleEvaluation,
  endpoints: readonly EvaluatedEndpoint[],
  moment: Moment & {
    readonly rules: Rules;
    readonly objectives: readonly Objective[];
    readonly interval: Seconds;
    readonly isSingleEvaluation?: boolean;
  },
): RuleEvaluation {
  const { memory } = before;
  const { at, interval, rules, objectives, isSingleEvaluation = false } = moment;
  const clock = { now: at, interval };
  const subjects = endpoints.map((known) => createSubject(known, clock));
  const scrapedAt = Math.max(
    -Infinity,
    ...endpoints.map(({ scrape }) => scrape?.receivedAt ?? -Infinity),
  );
  const pause = before.statuses.size > LARGE_FLEET_SIZE ? COMPARE_INTERVAL : 0;
  const isDue = scrapedAt !== memory.scrapedAt && at - memory.comparedAt >= pause;
  const scraped = evaluateScrapes(subjects);
  const watched = computeWatched(subjects, scraped);
  if (!isDue && !haveStatusesChanged(subjects, before)) {
    const statuses = addAlerts(scraped, before.firing);
    const verdict = conclude(statuses, { ...before, at, watched });
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
  const countedElsewhere = findCountedElsewhere(endpoints, {
    before: before.countedElsewhere,
    rules,
  });
  const groups = compareReplicas(awake.filter(({ key }) => !countedElsewhere.has(key)), rules);
  const evaluator = { rules, objectives, before, isSingleEvaluation, groups };
  const { findings, outputs } = evaluateServers(subjects, awake, evaluator);
  const ofGroups = groups.flatMap(({ checks }) => checks.flatMap((check) => check.findings));
  const answering = new Map(subjects.map(({ known, status }) => [known.endpoint.key, status]));
  const getStatus = (key: string) => scraped.get(key) ?? answering.get(key) ?? "DOWN";
  const alerts = updateAlerts(before.alerts, {
    findings: [...findings, ...ofGroups].filter(({ level }) => level !== "off"),
    ...{ rules, at, isSingleEvaluation },
    // A STALE replica may return with the next scrape.
    isEvaluated: (key) => isAwake(getStatus(key)) || getStatus(key) === "STALE",
  });
  const firing = assignAlerts(subjects, alerts);
  const statuses = addAlerts(scraped, firing);
  const gone = listGone(subjects, memory);
  const events = recordEvents(before.events, {
    ...moment,
    lasting: listLasting(subjects, statuses, alerts),
    instants: listInstants(subjects, memory, { gone, at }),
  });
  const seen = { scrapedAt, comparedAt: at, outputs };
  const remembered = { ...seen, ...remember(subjects, memory, { gone, at }) };
  return {
    ...{ statuses, countedElsewhere, groups, alerts, firing, events },
    checks: listChecks(findings, awake),
    verdict: conclude(statuses, { alerts, events, at, watched, memory: remembered }),
    memory: remembered,
  };
}
