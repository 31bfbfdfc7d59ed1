/**
 * What happens to endpoints and engines from one evaluation to the next: occurrences for the log.
 * @module
 */

import type { Endpoint, ReplicaStatus, ServerInfo } from "./model.ts";
import { describeLastEnd, getRestarts } from "./pod.ts";
import { type Alert, type EventSubject, type Occurrence, STATUS_OF_RULE } from "./rules_alerts.ts";
import type { Member } from "./rules_imbalance.ts";
import {
  type computeEndpointStatus,
  isCounted,
  type ScrapedEndpoint,
  type ScrapeRecord,
} from "./rules_status.ts";
import type { SessionTotals } from "./stats_totals.ts";
import type { EndpointHistory, ReplicaSample } from "./stats_window.ts";
import type { Seconds } from "./units.ts";

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
  readonly history: Pick<EndpointHistory, "restartCount" | "counts" | "alternation" | "newest">;
  readonly engines: ReadonlyMap<string, EvaluatedEngine>;
  readonly serverTotals: SessionTotals | null;
  readonly server: Pick<ServerInfo, "models" | "launch"> | null;
}

export interface EngineSubject extends Member {
  readonly name: string;
  readonly totals: SessionTotals;
}

export interface Subject {
  readonly known: EvaluatedEndpoint;
  readonly record: ScrapeRecord;
  readonly status: ReturnType<typeof computeEndpointStatus>;
  /** The newest attempt succeeded. */
  readonly responds: boolean;
  readonly engines: readonly EngineSubject[];
}

/** Of the previous evaluation. */
interface SeenEndpoint {
  readonly status: ReplicaStatus;
  /** `null` unless it is failing. */
  readonly failingSince: Seconds | null;
  readonly restartCount: number;
  /** Of its container, as Kubernetes counts them. */
  readonly podRestartCount: number;
  /** Of those, how many its metrics have not shown; negative if the metrics were quicker. */
  readonly podRestartLead: number;
  /** By engine; includes engines that are gone, as they may return. */
  readonly engineTotals: ReadonlyMap<string, SessionTotals>;
  readonly serverTotals: SessionTotals | null;
  /** New engines are announced: the endpoint has had some before, or joined a running fleet. */
  readonly announcesEngines: boolean;
}

/** What is remembered from one evaluation to the next. */
export interface Memory {
  /** Newest scrape evaluated; `null` before the first evaluation. */
  readonly scrapedAt: Seconds | null;
  /** Engines of the previous evaluation, by key. */
  readonly engines: ReadonlyMap<string, EventSubject>;
  readonly endpoints: ReadonlyMap<string, SeenEndpoint>;
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

/** Lists conditions that last: alerts, failing endpoints, sleeping engines. */
export function listLasting(
  subjects: readonly Subject[],
  statuses: ReadonlyMap<string, ReplicaStatus>,
  alerts: readonly Alert[],
): readonly Occurrence[] {
  const subjectOf = new Map<string, EventSubject>();
  const lasting: Occurrence[] = [];
  for (const one of subjects) {
    const subject = describeEndpoint(one);
    const { status } = one;
    subjectOf.set(subject.key, subject);
    if (status === "DOWN" || status === "STALE" || status === "LOAD") {
      lasting.push({ kind: status, subject });
    }
    for (const engine of one.engines) {
      const replica = describeEngine(one, engine);
      subjectOf.set(engine.key, replica);
      const own = statuses.get(engine.key);
      // Of the endpoint, it is told once.
      const isOwn = own === "SLEEP" || (status === "OK" && (own === "DOWN" || own === "LOAD"));
      if (isOwn) lasting.push({ kind: own, subject: replica });
    }
  }
  for (const { isFiring, since, first, worst } of alerts) {
    const kind = STATUS_OF_RULE[first.rule];
    const subject = subjectOf.get(first.key);
    if (!isFiring || subject === undefined) continue;
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

export function countPodRestarts({ pod }: Endpoint): number {
  return pod === undefined ? 0 : getRestarts(pod)?.count ?? 0;
}

interface NewRestarts {
  /** Of its container. */
  readonly ofPod: number;
  /** Of its process, by its metrics. */
  readonly ofServer: number;
}

/** A pod that was replaced by another of its name counts from 0. */
function countNewRestarts(known: EvaluatedEndpoint, before: SeenEndpoint): NewRestarts {
  return {
    ofPod: Math.max(0, countPodRestarts(known.endpoint) - before.podRestartCount),
    ofServer: known.history.restartCount - before.restartCount,
  };
}

/** A restart is told once, by the pod or by the metrics, whichever is quicker. */
function findRestart(
  known: EvaluatedEndpoint,
  before: SeenEndpoint,
): Pick<Occurrence, "amount" | "message"> | null {
  const { ofPod, ofServer } = countNewRestarts(known, before);
  const { podRestartLead: lead } = before;
  const amount = Math.max(0, ofPod - Math.max(0, -lead)) +
    Math.max(0, ofServer - Math.max(0, lead + ofPod));
  const restarts = known.endpoint.pod && getRestarts(known.endpoint.pod);
  const message = ofPod === 0 || restarts === undefined ? "" : describeLastEnd(restarts);
  if (message !== "") return { amount, message };
  return amount === 0 ? null : { amount };
}

function computeLead(known: EvaluatedEndpoint, before: SeenEndpoint | undefined): number {
  if (before === undefined || known.endpoint.pod === undefined) return 0;
  const { ofPod, ofServer } = countNewRestarts(known, before);
  const lead = before.podRestartLead + ofPod;
  // The metrics show one restart, however many there were.
  return ofServer > 0 && lead > 0 ? 0 : lead - ofServer;
}

function listEndpointInstants(
  one: Subject,
  before: SeenEndpoint | undefined,
  at: Seconds,
): readonly Occurrence[] {
  if (before === undefined) return [];
  const subject = describeEndpoint(one);
  const instants: Occurrence[] = [];
  const hasComeBack = (before.status === "DOWN" || before.status === "LOAD") &&
    one.status === "OK";
  if (hasComeBack && before.failingSince !== null) {
    instants.push({ kind: "UP", subject, amount: at - before.failingSince });
  }
  const restart = findRestart(one.known, before);
  if (restart !== null) instants.push({ kind: "RESTART", subject, ...restart });
  const rejections = computeRise(one.known.serverTotals, before.serverTotals, "rejections");
  if (rejections > 0) instants.push({ kind: "REJECT", subject, amount: rejections });
  return instants;
}

export function listInstants(
  subjects: readonly Subject[],
  memory: Memory,
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

export function listGone(
  subjects: readonly Subject[],
  memory: Memory,
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

export function remember(
  subjects: readonly Subject[],
  memory: Memory,
  { gone, at }: { readonly gone: readonly EventSubject[]; readonly at: Seconds },
): Pick<Memory, "engines" | "endpoints"> {
  const endpoints = new Map(subjects.map((one) => {
    const before = memory.endpoints.get(one.known.endpoint.key);
    const { status, known } = one;
    const isLate = before?.announcesEngines ?? memory.scrapedAt !== null;
    return [known.endpoint.key, {
      status,
      failingSince: isCounted(status) || status === "PENDING"
        ? null
        // A first load is no failure; one after a failure prolongs it.
        : before?.failingSince ?? (status === "LOAD" ? null : at),
      restartCount: known.history.restartCount,
      podRestartCount: countPodRestarts(known.endpoint),
      podRestartLead: computeLead(known, before),
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
