/**
 * Derives rows, groups and totals, once per tick. One row per engine; an endpoint that never
 * answered has a row without figures. Only rows with a current scrape count in totals.
 * @module
 */

import { getHostAndPort, isLocal } from "./endpoint.ts";
import { type GpuEndpoint, listReplicaProcesses, narrowToSlices } from "./gpu_attribution.ts";
import type { GpuOutlier, GpuSample } from "./gpu_model.ts";
import type { Endpoint, Figures, Objective, ReplicaStatus } from "./model.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";
import type { Advice } from "./rules_advice.ts";
import type { Alert, EventLine, EventLog } from "./rules_alerts.ts";
import type { GroupChecks, RuleEvaluation } from "./rules_evaluate.ts";
import { type Limit, NO_LIMIT } from "./rules_limits.ts";
import { isCounted } from "./rules_status.ts";
import { type AdvisedVerdict, adviseEngine, adviseVerdict } from "./state_advice.ts";
import {
  type CurrentEngine,
  type EndpointState,
  type Fault,
  findFault,
  getServerTotals,
  getUptime,
  listEngines,
} from "./state_endpoint.ts";
import { computeEnergy, type FleetEnergy } from "./state_energy.ts";
import { LOCAL_HOST } from "./host.ts";
import { getHost, type Hosts, type HostState, listGpus, setServers } from "./state_gpus.ts";
import { type LogFacts, readLogFacts } from "./state_log.ts";
import {
  computeFigures,
  computeLifetime,
  computeSinceStart,
  NO_FIGURES,
} from "./stats_aggregate.ts";
import type { Grouping, Ui } from "./state_ui.ts";
import { NO_SERIES, type Series, type TotalSeries } from "./stats_series.ts";
import { computeObjectives, type ObjectiveFigures } from "./stats_slo.ts";
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
import { identifyGroup, type ReplicaSample } from "./stats_window.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

export interface FleetSources {
  readonly ui: Pick<Ui, "grouping">;
  readonly endpoints: readonly EndpointState[];
  /** Display names by full name. */
  readonly modelNames: ReadonlyMap<string, string>;
  /** As of the newest `clock`. */
  readonly evaluation: RuleEvaluation;
  /** Session totals of endpoints that were removed, on this machine and elsewhere. */
  readonly gone: { readonly here: ServerTotals; readonly elsewhere: ServerTotals };
  readonly totalPeaks: Peaks;
  readonly totalTrend: TotalSeries;
  /** Hosts with a sample; always this machine. */
  readonly hosts: Hosts;
  /** Failures of hooks. */
  readonly hookLog: EventLog;
  /** Service levels to check; empty for none. */
  readonly objectives: readonly Objective[];
  readonly isDemo: boolean;
  readonly now: Seconds;
  readonly nowEpoch: EpochSeconds;
}

export function getHostName(endpoint: Endpoint): string {
  return isLocal(endpoint) ? LOCAL_HOST : getHostAndPort(endpoint)?.host ?? LOCAL_HOST;
}

export function listEndpointsOn(
  { endpoints }: FleetSources,
  host: string,
): readonly EndpointState[] {
  return endpoints.filter(({ endpoint }) => getHostName(endpoint) === host);
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

/** Without their listeners. A server has the processes of those that it starts for its models. */
function describeServers(
  endpoints: readonly EndpointState[],
  { evaluation: { countedElsewhere } }: FleetSources,
): readonly GpuEndpoint[] {
  const isInner = ({ engines, server }: EndpointState): boolean =>
    server?.launch?.outerPorts !== undefined &&
    engines.values().some(({ key }) => countedElsewhere.has(key));
  return endpoints.filter((known) => !isInner(known)).map(describeServer);
}

export function listServersOn(sources: FleetSources, host: string): readonly GpuEndpoint[] {
  return describeServers(listEndpointsOn(sources, host), sources);
}

export function attributeGpus(sources: FleetSources): Hosts {
  const byHost = Map.groupBy(sources.endpoints, ({ endpoint }) => getHostName(endpoint));
  const attribute = (name: string, host: HostState): HostState =>
    setServers(host, describeServers(byHost.get(name) ?? [], sources));
  return new Map([...sources.hosts].map(([name, host]) => [name, attribute(name, host)]));
}

/** Returns hosts with a server and at least one good sample. */
export function listServingHosts({ hosts, endpoints }: FleetSources): Hosts {
  const names = new Set(endpoints.map(({ endpoint }) => getHostName(endpoint)));
  return new Map([...hosts].filter(([name, { report }]) => report !== null && names.has(name)));
}

/** Whether the GPUs of each answering server are known. */
export function areOwnersKnown(sources: FleetSources): boolean {
  const hosts = listServingHosts(sources);
  const answering = sources.endpoints.filter((known) => listEngines(known).length > 0)
    .filter(({ endpoint, failure }) => failure === null && hosts.has(getHostName(endpoint)));
  const shares = [...hosts.values()].flatMap((host) => host.shares);
  const owners = new Set(shares.map(({ owner }) => owner?.endpointKey));
  return answering.length > 0 && answering.every(({ endpoint }) => owners.has(endpoint.key));
}

/** Empty if unknown. Of a GPU in MIG mode, the replica's own slices, and their memory. */
export function listGpusOf(
  host: HostState,
  replica: { readonly endpointKey: string; readonly engine: string },
): readonly GpuSample[] {
  const gpus = listGpus(host);
  if (gpus.length === 0) return [];
  const own = listReplicaProcesses(host.shares, replica);
  return gpus.flatMap((gpu) => {
    const processes = own.filter(({ gpuIndex }) => gpuIndex === gpu.index);
    return processes.length === 0 ? [] : narrowToSlices(gpu, processes);
  });
}

/** One row of the table. */
export interface Row extends LogFacts {
  /** Endpoint, model and engine. */
  readonly key: string;
  readonly name: string;
  /** Endpoint, and engine if there are several; the name if it serves several models. */
  readonly place: string;

  /** As the table shows it: `place` if only one model is served. */
  readonly label: string;
  readonly state: EndpointState;
  readonly status: ReplicaStatus;
  /** Why it cannot be scraped, or its model failed; `null` if neither. */
  readonly fault: Fault | null;
  /** In no total and no group: other rows count the same requests. */
  readonly isCountedElsewhere: boolean;
  /** `null` if no engine is known. */
  readonly replica: ReplicaSample | null;
  /** All absent if there is no replica, or it is DOWN. */
  readonly figures: Figures;
  /** Those, with marked figures since the server started until there is a window. */
  readonly shown: Figures;
  /** Age of the figures; `null` if there are none. */
  readonly age: Seconds | null;
  readonly trend: Series;
  /** `null` without a replica. */
  readonly total: SessionTotals | null;
  readonly peaks: Peaks;
  readonly idleness: Idleness;
  /** One for each objective of its model. */
  readonly serviceLevels: readonly ObjectiveFigures[];
  /** Only firing ones. */
  readonly alerts: readonly Alert[];
  /** Share of its group's finished requests of the last minute. */
  readonly requestShare: Reading;
  readonly host: string;
  /** Empty if unknown. */
  readonly gpus: readonly GpuSample[];
  /** Of those, the ones that fall behind. */
  readonly slowGpus: readonly GpuOutlier[];
  readonly limit: Limit;
  /** Best first. */
  readonly advice: readonly Advice[];
}

/** Replicas of one model on one kind of server, or another section of the table. */
export interface ModelGroup {
  /** As `identifyGroup` or `getSectionKey` gives it; empty for all together. */
  readonly key: string;
  readonly modelName: string;
  readonly label: string;
  readonly figures: Figures;
  /** As of a row. */
  readonly shown: Figures;
  readonly kvCacheMaxOwner: Row | null;
  readonly serviceLevels: readonly ObjectiveFigures[];
  /** Firing ones of its replicas. */
  readonly alerts: readonly Alert[];
  /** By set of comparable replicas. Empty for all models together. */
  readonly checks: readonly GroupChecks[];
  /** Known ones only. */
  readonly gpus: readonly GpuSample[];
}

export interface Fleet {
  readonly rows: readonly Row[];
  readonly groups: readonly ModelGroup[];
  /** Groups of the table: those by model, unless the user wants others. */
  readonly sections: readonly ModelGroup[];
  readonly total: ModelGroup;
  readonly counts: Readonly<ReturnType<typeof countRows>>;
  readonly verdict: AdvisedVerdict;
  /** Oldest first. */
  readonly events: readonly EventLine[];
  /** Session totals, including engines and endpoints that are gone. */
  readonly counted: SessionCounts;
  readonly totalPeaks: Peaks;
  readonly totalTrend: Series;
  readonly energy: FleetEnergy;
}

/** Fills in what has no window yet. `rows` are those of the figures. */
function showSinceStart(
  figures: Figures,
  rows: readonly Pick<Row, "replica" | "state">[],
): Figures {
  const { lastPoll: { span }, lifetime } = figures;
  const awaitsWindow = !isPresent(span) &&
    (span.reason === "first_scrape" || span.reason === "restarted");
  if (!awaitsWindow) return figures;
  const replicas = rows.flatMap(({ replica }) => replica ?? []);
  // Up to the scrape that counted.
  const uptimes = rows.map(({ state }) =>
    getUptime(state, { nowEpoch: state.scrape?.receivedAtEpoch ?? NaN })
  );
  const window = computeSinceStart(replicas, { lifetime, uptimes });
  return { ...figures, lastPoll: window, lastMinute: window };
}

/** A socket has no URL. */
export function describeUrl({ key, metricsUrl, unixSocketPath }: Endpoint): string {
  return unixSocketPath === undefined ? metricsUrl : key;
}

function getGroupKey({ replica }: Row): string | null {
  return replica === null ? null : identifyGroup(replica.sample);
}

/** The key of the row's group in the table; `null` if it has none. */
export function getSectionKey(row: Row, grouping: Grouping): string | null {
  if (row.isCountedElsewhere) return null;
  if (grouping === "model") return getGroupKey(row);
  return grouping === "host" ? row.host : row.state.endpoint.targetLabels?.get(grouping) ?? null;
}

/** Has figures; a model that is not loaded has none. */
function isMerged(status: ReplicaStatus): boolean {
  return isCounted(status) && status !== "UNLOADED";
}

/** Lifetime counts include servers that are down. */
function mergeFigures(rows: readonly Row[]): Figures {
  const listReplicas = (some: readonly Row[]) => some.flatMap(({ replica }) => replica ?? []);
  const counted = rows.filter(({ status }) => isMerged(status));
  const lifetime = computeLifetime(listReplicas(rows));
  return { ...computeFigures(listReplicas(counted)), lifetime };
}

/** Session and lifetime include servers that are down. */
function computeServiceLevels(
  rows: readonly Pick<Row, "replica" | "total" | "status">[],
  { objectives }: FleetSources,
  isCurrent: (status: ReplicaStatus) => boolean,
): readonly ObjectiveFigures[] {
  if (objectives.length === 0) return [];
  const subjects = rows.flatMap(({ replica, total, status }) => {
    if (replica === null || total === null) return [];
    const counted = total.objectives.map((tally) => tally.counted);
    return [{ replica, counted, isCurrent: isCurrent(status) }];
  });
  return computeObjectives(subjects, objectives);
}

function haveSameFigures(rows: readonly Row[], before: readonly Row[]): boolean {
  return rows.length === before.length &&
    rows.every(({ replica, status }, i) =>
      replica === before[i].replica && isMerged(status) === isMerged(before[i].status)
    );
}

/** Most ticks bring no new sample, and merging hundreds of replicas is slow. */
function createGroup(
  key: string,
  rows: readonly Row[],
  { modelName, label, sources, before, rowsBefore }: Pick<ModelGroup, "modelName" | "label"> & {
    readonly sources: FleetSources;
    readonly before: ModelGroup | undefined;
    readonly rowsBefore: readonly Row[];
  },
): ModelGroup {
  const figures = before !== undefined && haveSameFigures(rows, rowsBefore)
    ? before.figures
    : mergeFigures(rows);
  const isSame = figures === before?.figures;
  const owners = rows.filter(({ replica, status }) => replica !== null && isMerged(status));
  return {
    ...{ key, modelName, label },
    figures,
    shown: isSame ? before.shown : showSinceStart(figures, owners),
    kvCacheMaxOwner: owners[figures.kvCache.maxOwner] ?? null,
    serviceLevels: computeServiceLevels(rows, sources, isCounted),
    alerts: rows.flatMap(({ alerts }) => alerts),
    checks: sources.evaluation.groups.filter(({ groupKey }) => groupKey === key),
    gpus: [...new Set(rows.flatMap(({ gpus }) => gpus))],
  };
}

function createGroups(
  all: readonly Row[],
  sources: FleetSources,
  before: Fleet | undefined,
): Pick<Fleet, "groups" | "total"> {
  const rowsBefore = before?.rows.filter((row) => !row.isCountedElsewhere) ?? [];
  const rows = all.filter((row) => !row.isCountedElsewhere);
  const samples = rows.flatMap(({ replica }) => replica?.sample ?? []);
  const first = new Map(samples.toReversed().map((sample) => [identifyGroup(sample), sample]));
  const keys = [...new Set(samples.map(identifyGroup))];
  const groups = keys.flatMap((key): readonly ModelGroup[] => {
    const sample = first.get(key);
    if (sample === undefined) return [];
    const { modelName, server } = sample;
    const pick = (some: readonly Row[]) => some.filter((row) => getGroupKey(row) === key);
    const isOfSeveralKinds = samples.some((other) =>
      other.modelName === modelName && other.server.name !== server.name
    );
    const name = sources.modelNames.get(modelName) ?? modelName;
    return [createGroup(key, pick(rows), {
      ...{ sources, modelName, rowsBefore: pick(rowsBefore) },
      label: isOfSeveralKinds ? `${name} (${server.name})` : name,
      before: before?.groups.find((group) => group.key === key),
    })];
  });
  if (groups.length === 1) return { groups, total: groups[0] };
  const context = { sources, modelName: "", label: "", before: before?.total, rowsBefore };
  return { groups, total: createGroup("", rows, context) };
}

/** In the order of their first rows. */
function createSections(
  rows: readonly Row[],
  sources: FleetSources,
  before: Fleet | undefined,
): readonly ModelGroup[] {
  const { grouping } = sources.ui;
  const pick = (some: readonly Row[], key: string) =>
    some.filter((row) => getSectionKey(row, grouping) === key);
  const keys = new Set(rows.flatMap((row) => getSectionKey(row, grouping) ?? []));
  return [...keys].map((key) =>
    createGroup(key, pick(rows, key), {
      ...{ sources, modelName: "", label: key },
      before: before?.sections.find((section) => section.key === key),
      rowsBefore: pick(before?.rows ?? [], key),
    })
  );
}

function computeShare(row: Row, groups: readonly ModelGroup[]): Reading {
  const group = groups.find(({ key }) => key === getGroupKey(row));
  if (row.status === "PENDING") return absent("first_scrape");
  if (group === undefined || !isCounted(row.status)) return absent("stale");
  const own = row.figures.lastMinute.requestsPerSecond;
  const all = group.figures.lastMinute.requestsPerSecond;
  if (!isPresent(own)) return own;
  if (!isPresent(all)) return all;
  // A share of a partial sum would be too large.
  if (all.partial) return absent("first_scrape");
  return all.value === 0 ? absent("no_samples") : present(own.value / all.value);
}

interface RowContext {
  readonly sources: FleetSources;
  readonly isOneModel: boolean;
}

/** `engine` is `null` if no engine of the endpoint is known. */
function createRow(
  known: EndpointState,
  engine: CurrentEngine | null,
  { sources, isOneModel }: RowContext,
): Row {
  const { endpoint, displayName, scrape } = known;
  const key = engine?.key ?? endpoint.key;
  const host = getHostName(endpoint);
  const { name, place: at } = engine?.name ?? { name: displayName, place: displayName };
  // Of several models at one place, the model tells.
  const models = new Set(listEngines(known).map(({ replica }) => replica.sample.modelName));
  const place = models.size > 1 ? name : at;
  const status = sources.evaluation.statuses.get(key) ?? "PENDING";
  const machine = getHost(sources.hosts, host);
  const gpus = engine === null
    ? []
    : listGpusOf(machine, { endpointKey: endpoint.key, engine: engine.replica.sample.engine });
  const firing = sources.evaluation.firing.get(key) ?? [];
  const replica = engine?.replica ?? null;
  // The last figures of a server that is DOWN are too old to show.
  const figures = engine === null || status === "DOWN" ? NO_FIGURES : engine.figures;
  return {
    ...{ key, name, place, label: isOneModel ? place : name, state: known, status, host },
    fault: findFault(known, engine),
    isCountedElsewhere: sources.evaluation.countedElsewhere.has(key),
    ...{ replica, figures, shown: showSinceStart(figures, [{ replica, state: known }]) },
    age: scrape === null ? null : Math.max(0, sources.now - scrape.receivedAt),
    ...{ trend: engine?.series ?? NO_SERIES, total: engine?.totals ?? null },
    ...{ peaks: engine?.peaks ?? NO_PEAKS, idleness: engine?.idleness ?? NO_IDLENESS },
    serviceLevels: engine === null ? [] : computeServiceLevels(
      [{ replica: engine.replica, total: engine.totals, status }],
      sources,
      () => status !== "DOWN",
    ),
    alerts: firing,
    requestShare: absent("missing"),
    gpus,
    ...readLogFacts(known, replica?.sample.engine ?? null, sources),
    slowGpus: machine.outliers.filter((one) => gpus.some(({ index }) => index === one.gpuIndex)),
    ...(engine === null || !isCounted(status)
      ? { limit: NO_LIMIT, advice: [] }
      : adviseEngine(engine, known, { gpus, host: machine, alerts: firing, now: sources.now })),
  };
}

/** Returns the events of replicas, GPUs and hooks, oldest first. */
function mergeEvents({ evaluation, hosts, hookLog }: FleetSources): readonly EventLine[] {
  const { lines } = evaluation.events;
  const others = [...[...hosts.values()].map(({ events }) => events), hookLog]
    .flatMap((log) => log.lines);
  if (others.length === 0) return lines;
  return [...lines, ...others].sort((a, b) => a.beganAt - b.beganAt);
}

/** A model that its server only could load is no replica. */
function countRows(all: readonly Row[]) {
  const listed = all.filter(({ replica, isCountedElsewhere }) =>
    !replica?.sample.isShared && !isCountedElsewhere
  );
  const rows = listed.filter(({ status }) => status !== "UNLOADED");
  const count = (status: ReplicaStatus): number =>
    rows.filter((row) => row.status === status).length;
  return {
    total: rows.length,
    up: rows.filter(({ status }) => isCounted(status)).length,
    stale: count("STALE"),
    down: count("DOWN"),
    loading: count("LOAD"),
    pending: count("PENDING"),
    unloaded: listed.length - rows.length,
    countedElsewhere: all.filter((row) => row.isCountedElsewhere).length,
  };
}

/** Groups without a new sample keep their figures from `before`. */
export function createFleet(sources: FleetSources, before?: Fleet): Fleet {
  const { evaluation, endpoints, gone, totalPeaks, totalTrend } = sources;
  const ofEndpoints = endpoints.map((known) => getServerTotals(known, evaluation.countedElsewhere));
  const servers = [...ofEndpoints, gone.here, gone.elsewhere];
  const modelNames = endpoints.flatMap(listEngines).map(({ replica }) => replica.sample.modelName);
  const context: RowContext = { sources, isOneModel: new Set(modelNames).size < 2 };
  const bare = endpoints.flatMap((known) => {
    const engines = listEngines(known);
    return (engines.length === 0 ? [null] : engines)
      .map((engine) => createRow(known, engine, context));
  });
  const { groups, total } = createGroups(bare, sources, before);
  const isByModel = sources.ui.grouping === "model";
  const sections = isByModel ? groups : createSections(bare, sources, before);
  const rows = bare.map((row) => ({ ...row, requestShare: computeShare(row, groups) }));
  return {
    ...{ rows, groups, sections, total },
    counts: countRows(rows),
    verdict: adviseVerdict(evaluation.verdict, rows),
    events: mergeEvents(sources),
    counted: sumTotals(servers.flatMap(listTotals)),
    totalPeaks,
    totalTrend: totalTrend.points,
    energy: computeEnergy(rows, sources),
  };
}
