/**
 * The fleet: rows, groups and totals of all that is watched.
 *
 * `update` derives it once per tick; screen, report and bill read it from the
 * state. One row for each engine of each endpoint; an endpoint that has never
 * answered has one row without figures. Only rows whose scrape is current count
 * in totals.
 * @module
 */

import { getHostAndPort, isLocal } from "./endpoint.ts";
import { type GpuEndpoint, listReplicaGpus } from "./gpu_attribution.ts";
import type { GpuSample } from "./gpu_model.ts";
import type { Endpoint, Figures, ReplicaStatus } from "./model.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";
import type { Alert, EventLine } from "./rules_alerts.ts";
import { type GroupChecks, NO_EVALUATION, type RuleEvaluation } from "./rules_evaluate.ts";
import { type FleetVerdict, isCounted } from "./rules_status.ts";
import { findRule } from "./rules_table.ts";
import {
  type CurrentEngine,
  type EndpointState,
  getServerTotals,
  listEngines,
} from "./state_endpoint.ts";
import {
  getHost,
  type Hosts,
  type HostState,
  listGpus,
  LOCAL_HOST,
  setServers,
} from "./state_gpus.ts";
import { computeFigures, computeLifetime } from "./stats_aggregate.ts";
import type { Series, TotalSeries } from "./stats_series.ts";
import {
  type Idleness,
  listTotals,
  NO_IDLENESS,
  NO_PEAKS,
  type Peaks,
  type ServerTotals,
  type SessionCounts,
  type SessionTotals,
  sumTotals,
} from "./stats_totals.ts";
import type { ReplicaSample } from "./stats_window.ts";
import { type EpochSeconds, type Seconds, SECONDS_PER_DAY } from "./units.ts";

/** What the fleet is derived from. */
export interface FleetSources {
  readonly endpoints: readonly EndpointState[];
  /** What models are called, by their full names. */
  readonly modelNames: ReadonlyMap<string, string>;
  /** What the rules say, as of the newest `clock`. */
  readonly evaluation: RuleEvaluation;
  /** What endpoints have counted that are watched no longer, on this machine and elsewhere. */
  readonly gone: { readonly here: ServerTotals; readonly elsewhere: ServerTotals };
  /** The peaks of all together. */
  readonly totalPeaks: Peaks;
  /** The last minutes of all together. */
  readonly totalTrend: TotalSeries;
  /** The hosts whose GPUs are watched: this machine at least. */
  readonly hosts: Hosts;
  /** Whether the fleet is simulated. */
  readonly isDemo: boolean;
  readonly now: Seconds;
}

/** The host that the endpoint is on. */
export function getHostName(endpoint: Endpoint): string {
  return isLocal(endpoint) ? LOCAL_HOST : getHostAndPort(endpoint)?.host ?? LOCAL_HOST;
}

/** The endpoints on that host; none if the fleet is simulated. */
export function listEndpointsOn(
  { isDemo, endpoints }: Pick<FleetSources, "isDemo" | "endpoints">,
  host: string,
): readonly EndpointState[] {
  return isDemo ? [] : endpoints.filter(({ endpoint }) => getHostName(endpoint) === host);
}

function describeServer(known: EndpointState): GpuEndpoint {
  const { endpoint } = known;
  const samples = listEngines(known).map(({ replica }) => replica.sample);
  return {
    endpointKey: endpoint.key,
    port: getHostAndPort(endpoint)?.port ?? null,
    engines: samples.map(({ engine }) => engine),
    modelNames: [...new Set(samples.map(({ modelName }) => modelName))],
    listenerPids: [],
  };
}

/** The hosts with the owners of their GPU processes. */
export function attributeGpus(
  sources: Pick<FleetSources, "hosts" | "isDemo" | "endpoints">,
): Hosts {
  return new Map(
    [...sources.hosts].map(([name, host]) => [
      name,
      setServers(host, listEndpointsOn(sources, name).map(describeServer)),
    ]),
  );
}

/** The hosts whose GPUs were sampled, failed since or not, and that have a server. */
export function listServingHosts(sources: FleetSources): Hosts {
  return new Map(
    [...sources.hosts].filter(([name, { report }]) =>
      report !== null && listEndpointsOn(sources, name).length > 0
    ),
  );
}

/** Whether it is known which GPUs each server of these hosts holds; those that do not answer may be gone. */
export function areOwnersKnown(sources: FleetSources): boolean {
  const hosts = [...listServingHosts(sources)];
  const answering = hosts.flatMap(([name]) => listEndpointsOn(sources, name))
    .filter((known) => listEngines(known).length > 0 && known.failure === null);
  const owners = new Set(
    hosts.flatMap(([, { shares }]) => shares.map(({ owner }) => owner?.endpointKey)),
  );
  return answering.length > 0 && answering.every(({ endpoint }) => owners.has(endpoint.key));
}

/** The GPUs of the host that a replica uses, as they are now; none where that is not known. */
export function listGpusOf(
  host: HostState,
  replica: { readonly endpointKey: string; readonly engine: string },
): readonly GpuSample[] {
  const gpus = listGpus(host);
  if (gpus.length === 0) return [];
  const indexes = new Set(listReplicaGpus(host.shares, replica));
  return gpus.filter(({ index }) => indexes.has(index));
}

/** One line of the table. */
export interface Row {
  /** Its identity: endpoint, model and engine. */
  readonly key: string;
  readonly name: string;
  /** The name without the model: what its endpoint is called, and its engine where that tells anything. */
  readonly place: string;
  /** What its endpoint is called. */
  readonly address: string;
  /** What the table shows: the place alone where one model is served, as the title names it. */
  readonly label: string;
  readonly state: EndpointState;
  readonly status: ReplicaStatus;
  /** `null` for an endpoint of which no engine is known. */
  readonly replica: ReplicaSample | null;
  /** All absent where `replica` is `null` or the row is DOWN. */
  readonly figures: Figures;
  /** Age of what is shown; `null` where nothing is. */
  readonly age: Seconds | null;
  readonly trend: Series;
  /** What it has counted since it is watched; `null` where `replica` is. */
  readonly total: SessionTotals | null;
  /** The peaks since it is watched. */
  readonly peaks: Peaks;
  /** How much of its time it had nothing to do. */
  readonly idleness: Idleness;
  /** What rules have found of it for long enough to count. */
  readonly alerts: readonly Alert[];
  /** Its share of the requests that its group finished in the last minute. */
  readonly requestShare: Reading;
  /** The host that it is on. */
  readonly host: string;
  /** The GPUs of the host that it uses, as they are now; empty where that is not known. */
  readonly gpus: readonly GpuSample[];
}

/** All replicas of one model whose scrape is current. */
export interface ModelGroup {
  readonly modelName: string;
  /** What the model is called. */
  readonly label: string;
  readonly figures: Figures;
  /** The row with the fullest KV cache. */
  readonly kvCacheMaxOwner: Row | null;
  /** What comparing its replicas found: one for each set of them that can be compared. Empty for all models together. */
  readonly checks: readonly GroupChecks[];
  /** The GPUs that its replicas use; without those of which that is not known. */
  readonly gpus: readonly GpuSample[];
}

/** How many rows are in which condition. */
interface RowCounts {
  readonly total: number;
  readonly up: number;
  readonly stale: number;
  readonly down: number;
  readonly pending: number;
}

/** Rows, groups and totals, as of the newest `clock`. */
export interface Fleet {
  readonly rows: readonly Row[];
  readonly groups: readonly ModelGroup[];
  readonly total: ModelGroup;
  readonly counts: RowCounts;
  /** The one word for all, and why. */
  readonly verdict: FleetVerdict;
  /** What has happened, oldest first. */
  readonly events: readonly EventLine[];
  /** What all have counted since they are watched, engines and endpoints that went included. */
  readonly counted: SessionCounts;
  /** The peaks of all together. */
  readonly totalPeaks: Peaks;
  /** The last minutes of all together. */
  readonly totalTrend: Series;
}

/** Uptimes beyond this are a start time that is not one (several API servers export none). */
const MAX_UPTIME: Seconds = 10 * 365 * SECONDS_PER_DAY;

/**
 * How long the server has been up, by its own start time, or had been when it
 * last answered; absent where that is not exported or not believable.
 */
export function getUptime(
  known: EndpointState,
  state: { readonly nowEpoch: EpochSeconds },
): Reading<Seconds> {
  if (known.scrape === null) return absent("missing");
  const { processStart, countersCreated } = known.scrape;
  const start = isPresent(processStart) ? processStart : countersCreated;
  if (!isPresent(start)) return start;
  const until = known.failure === null ? state.nowEpoch : known.scrape.receivedAtEpoch;
  const uptime = until - start.value;
  return uptime > 0 && uptime < MAX_UPTIME ? present(uptime) : absent("unsupported");
}

/** Where an endpoint's metrics are, for a person: a socket has no URL of its own. */
export function describeUrl({ key, metricsUrl, unixSocketPath }: Endpoint): string {
  return unixSocketPath === undefined ? metricsUrl : key;
}

const NO_FIGURES: Figures = computeFigures([]);

/** Nothing is watched yet. */
export const NO_FLEET: Fleet = {
  rows: [],
  groups: [],
  total: {
    modelName: "",
    label: "",
    figures: NO_FIGURES,
    kvCacheMaxOwner: null,
    checks: [],
    gpus: [],
  },
  counts: { total: 0, up: 0, stale: 0, down: 0, pending: 0 },
  verdict: NO_EVALUATION.verdict,
  events: [],
  counted: sumTotals([]),
  totalPeaks: NO_PEAKS,
  totalTrend: [],
};

function isOfModel({ replica }: Row, modelName: string): boolean {
  return replica?.sample.modelName === modelName;
}

/** The figures of all rows together. What was counted was counted: a server that is down takes nothing back. */
function mergeFigures(rows: readonly Row[]): Figures {
  const listReplicas = (some: readonly Row[]) => some.flatMap(({ replica }) => replica ?? []);
  const counted = rows.filter(({ status }) => isCounted(status));
  const lifetime = computeLifetime(listReplicas(rows));
  return { ...computeFigures(listReplicas(counted)), lifetime };
}

/** Whether the rows have the same samples, and the same of them count. */
function haveSameFigures(rows: readonly Row[], before: readonly Row[]): boolean {
  return rows.length === before.length &&
    rows.every(({ replica, status }, i) =>
      replica === before[i].replica && isCounted(status) === isCounted(before[i].status)
    );
}

/** A group before and now: most ticks bring no new sample, and merging hundreds of replicas is slow. */
interface GroupBefore {
  readonly group: ModelGroup | undefined;
  readonly rows: readonly Row[];
}

function createGroup(
  modelName: string,
  rows: readonly Row[],
  { sources, before }: { readonly sources: FleetSources; readonly before: GroupBefore },
): ModelGroup {
  const figures = before.group !== undefined && haveSameFigures(rows, before.rows)
    ? before.group.figures
    : mergeFigures(rows);
  const owners = rows.filter(({ replica, status }) => replica !== null && isCounted(status));
  return {
    modelName,
    label: sources.modelNames.get(modelName) ?? modelName,
    figures,
    kvCacheMaxOwner: owners[figures.kvCache.maxOwner] ?? null,
    checks: sources.evaluation.groups.filter((group) => group.modelName === modelName),
    gpus: [...new Set(rows.flatMap(({ gpus }) => gpus))],
  };
}

function createGroups(
  rows: readonly Row[],
  sources: FleetSources,
  before: Fleet,
): Pick<Fleet, "groups" | "total"> {
  const models = [...new Set(rows.flatMap(({ replica }) => replica?.sample.modelName ?? []))];
  const groups = models.map((model) => {
    const pick = (some: readonly Row[]) => some.filter((row) => isOfModel(row, model));
    const group = before.groups.find(({ modelName }) => modelName === model);
    return createGroup(model, pick(rows), { sources, before: { group, rows: pick(before.rows) } });
  });
  if (groups.length === 1) return { groups, total: groups[0] };
  return {
    groups,
    total: createGroup("", rows, { sources, before: { group: before.total, rows: before.rows } }),
  };
}

function computeShare(row: Row, groups: readonly ModelGroup[]): Reading {
  const group = groups.find(({ modelName }) => isOfModel(row, modelName));
  if (row.status === "PENDING") return absent("first_scrape");
  if (group === undefined || !isCounted(row.status)) return absent("stale");
  const own = row.figures.lastMinute.requestsPerSecond;
  const all = group.figures.lastMinute.requestsPerSecond;
  if (!isPresent(own)) return own;
  if (!isPresent(all)) return all;
  // The whole must be known: of a part of it, a share would be too large.
  if (all.partial) return absent("first_scrape");
  return all.value === 0 ? absent("no_samples") : present(own.value / all.value);
}

function countModels(endpoints: readonly EndpointState[]): number {
  return new Set(
    endpoints.flatMap(listEngines).map(({ replica }) => replica.sample.modelName),
  ).size;
}

/** What the rows of an endpoint are made with. */
interface RowContext {
  readonly sources: FleetSources;
  readonly isOneModel: boolean;
  /** The alerts that count, by the keys of their replicas. */
  readonly alerts: ReadonlyMap<string, readonly Alert[]>;
}

/** The row of an endpoint of which no engine is known. */
function createBareRow(known: EndpointState, { sources }: RowContext): Row {
  const { displayName, endpoint: { key }, scrape } = known;
  return {
    ...{
      key,
      name: displayName,
      place: displayName,
      address: displayName,
      label: displayName,
      state: known,
    },
    status: sources.evaluation.statuses.get(key) ?? "PENDING",
    age: scrape === null ? null : Math.max(0, sources.now - scrape.receivedAt),
    ...{ replica: null, figures: NO_FIGURES, trend: [], total: null, peaks: NO_PEAKS },
    idleness: NO_IDLENESS,
    ...{ alerts: [], requestShare: absent("missing"), gpus: [] },
    host: getHostName(known.endpoint),
  };
}

function createRow(known: EndpointState, engine: CurrentEngine, context: RowContext): Row {
  const { sources, isOneModel, alerts } = context;
  const { endpoint, displayName, scrape } = known;
  const { key, replica, series: trend, totals: total, peaks, idleness } = engine;
  const host = getHostName(endpoint);
  const { name, place } = engine.name ?? { name: displayName, place: displayName };
  const status = sources.evaluation.statuses.get(key) ?? "PENDING";
  return {
    ...{ key, name, place, address: displayName, label: isOneModel ? place : name, state: known },
    ...{ status, replica },
    // What a server said long before it went is no figure any more.
    figures: status === "DOWN" ? NO_FIGURES : engine.figures,
    age: scrape === null ? null : Math.max(0, sources.now - scrape.receivedAt),
    ...{ trend, total, peaks, idleness },
    alerts: alerts.get(key) ?? [],
    requestShare: absent("missing"),
    host,
    gpus: listGpusOf(getHost(sources.hosts, host), {
      endpointKey: endpoint.key,
      engine: replica.sample.engine,
    }),
  };
}

/** The events of replicas and GPUs, oldest first. */
function mergeEvents({ evaluation, hosts }: FleetSources): readonly EventLine[] {
  const { lines } = evaluation.events;
  const ofGpus = [...hosts.values()].flatMap(({ events }) => events.lines);
  if (ofGpus.length === 0) return lines;
  return [...lines, ...ofGpus].sort((a, b) => a.beganAt - b.beganAt);
}

/** What all have counted, with those that are watched no longer: sums never fall. */
function sumCounted({ endpoints, gone }: FleetSources): SessionCounts {
  const servers = [...endpoints.map(getServerTotals), gone.here, gone.elsewhere];
  return sumTotals(servers.flatMap(listTotals));
}

function countRows(rows: readonly Row[]): RowCounts {
  const count = (status: ReplicaStatus): number =>
    rows.filter((row) => row.status === status).length;
  return {
    total: rows.length,
    up: rows.filter(({ status }) => isCounted(status)).length,
    stale: count("STALE"),
    down: count("DOWN"),
    pending: count("PENDING"),
  };
}

/**
 * Rows, groups and totals.
 *
 * @param before The fleet of the tick before: groups without a new sample keep their figures.
 */
export function createFleet(sources: FleetSources, before: Fleet = NO_FLEET): Fleet {
  const { evaluation, endpoints, totalPeaks, totalTrend } = sources;
  // What is shown for information alone is no complaint.
  const alerts = Map.groupBy(
    evaluation.alerts.filter(({ isFiring, first }) =>
      isFiring && findRule(first.rule).effect !== "none"
    ),
    ({ first }) => first.key,
  );
  const context: RowContext = { sources, isOneModel: countModels(endpoints) < 2, alerts };
  const bare = endpoints.flatMap((known) => {
    const rows = listEngines(known).map((engine) => createRow(known, engine, context));
    return rows.length === 0 ? [createBareRow(known, context)] : rows;
  });
  const { groups, total } = createGroups(bare, sources, before);
  const rows = bare.map((row) => ({ ...row, requestShare: computeShare(row, groups) }));
  return {
    ...{ rows, groups, total },
    counts: countRows(rows),
    verdict: evaluation.verdict,
    events: mergeEvents(sources),
    counted: sumCounted(sources),
    totalPeaks,
    totalTrend: totalTrend.points,
  };
}
