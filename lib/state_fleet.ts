/**
 * The state into rows, groups and totals: what the screen and JSON both show.
 *
 * One row for each engine of each endpoint; an endpoint that has
 * never answered has one row without figures. Names are `names`' matter. Only
 * rows whose scrape is current count in totals. Figures are `aggregate`'s.
 *
 * @module
 */

import { getHostAndPort, isLocal } from "./endpoint.ts";
import {
  attributeGpuProcesses,
  type GpuEndpoint,
  type GpuShare,
  listReplicaGpus,
} from "./gpu_attribution.ts";
import type { GpuSample } from "./gpu_model.ts";
import type { Endpoint, Figures, ReplicaStatus } from "./model.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";
import type { Alert, EventLine } from "./rules_alerts.ts";
import type { GroupChecks } from "./rules_evaluate.ts";
import {
  computeEndpointStatus,
  computeReplicaStatus,
  type FleetVerdict,
  getScrapeRecord,
  isCounted,
} from "./rules_status.ts";
import { findRule } from "./rules_table.ts";
import type { State } from "./state.ts";
import { type EndpointState, identifyReplica } from "./state_endpoint.ts";
import type { GpuState } from "./state_gpus.ts";
import { computeFigures, computeLifetime } from "./stats_aggregate.ts";
import type { Series } from "./stats_series.ts";
import {
  listTotals,
  NO_PEAKS,
  type Peaks,
  type SessionCounts,
  type SessionTotals,
  sumTotals,
} from "./stats_totals.ts";
import { identifyEngine, type ReplicaSample } from "./stats_window.ts";
import { type Seconds, SECONDS_PER_DAY } from "./units.ts";

/** The endpoints on this machine; none where the fleet is simulated. */
export function listLocal(state: State): readonly EndpointState[] {
  return state.isDemo ? [] : state.endpoints.filter(({ endpoint }) => isLocal(endpoint));
}

/** The GPUs as they are now; none where the newest sample failed. */
export function listGpus({ gpus }: State): readonly GpuSample[] {
  return gpus.failure === null ? gpus.report?.gpus ?? [] : [];
}

function describeEndpoint(known: EndpointState, { machine }: GpuState): GpuEndpoint {
  const { endpoint, replicas } = known;
  const port = getHostAndPort(endpoint)?.port ?? null;
  return {
    endpointKey: endpoint.key,
    port,
    engines: replicas.map(({ sample }) => sample.engine),
    modelNames: [...new Set(replicas.map(({ sample }) => sample.modelName))],
    listenerPids: port === null ? [] : machine.listeners.get(port) ?? [],
  };
}

/** Shares, and the endpoints for which they were found. */
interface Found {
  endpoints: State["endpoints"];
  readonly key: string;
  readonly shares: readonly GpuShare[];
}

/** By the GPUs that they were found for. */
const found = new WeakMap<GpuState, Found>();

/** The processes on the GPUs, with their owners. Those of the report before, where the newest sample failed. */
export function getGpuShares(state: State): readonly GpuShare[] {
  const { gpus } = state;
  const processes = gpus.report?.processes;
  if (processes === undefined || !isPresent(processes)) return [];
  const known = found.get(gpus);
  if (known?.endpoints === state.endpoints) return known.shares;
  const endpoints = listLocal(state).map((one) => describeEndpoint(one, gpus));
  // Scrapes come often, and seldom tell of another engine.
  const key = JSON.stringify(endpoints);
  if (known?.key === key) {
    known.endpoints = state.endpoints;
    return known.shares;
  }
  const { machine } = gpus;
  const shares = attributeGpuProcesses(processes.value, {
    processes: machine.processes,
    endpoints,
  });
  found.set(gpus, { endpoints: state.endpoints, key, shares });
  return shares;
}

/** Whether it is known which GPUs each of this machine's servers holds; those that do not answer may be gone. */
export function areOwnersKnown(state: State): boolean {
  const shares = getGpuShares(state);
  const answering = listLocal(state).filter(({ replicas, failure }) =>
    replicas.length > 0 && failure === null
  );
  return answering.length > 0 &&
    answering.every(({ endpoint }) =>
      shares.some(({ owner }) => owner?.endpointKey === endpoint.key)
    );
}

/** The GPUs that a replica uses, as they are now; none where that is not known. */
export function listGpusOf(
  state: State,
  replica: { readonly endpointKey: string; readonly engine: string },
): readonly GpuSample[] {
  const gpus = listGpus(state);
  if (gpus.length === 0) return [];
  const indexes = new Set(listReplicaGpus(getGpuShares(state), replica));
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
  /** What rules have found of it for long enough to count. */
  readonly alerts: readonly Alert[];
  /** Its share of the requests that its group finished in the last minute. */
  readonly requestShare: Reading;
  /** The GPUs that it uses, as they are now; empty where that is not known. */
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

/** Everything that is shown, computed once per state. */
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
export function getUptime(known: EndpointState, state: State): Reading<Seconds> {
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

function createGroup(state: State, modelName: string, rows: readonly Row[]): ModelGroup {
  const counted = rows.filter((row) => isCounted(row.status));
  const listReplicas = (some: readonly Row[]) =>
    some.flatMap(({ replica }) => replica === null ? [] : [replica]);
  // What was counted was counted: a server that does not answer takes nothing back.
  const lifetime = computeLifetime(listReplicas(rows));
  const figures = { ...computeFigures(listReplicas(counted)), lifetime };
  const owners = counted.filter(({ replica }) => replica !== null);
  return {
    modelName,
    label: state.modelNames.get(modelName) ?? modelName,
    figures,
    kvCacheMaxOwner: owners[figures.kvCache.maxOwner] ?? null,
    checks: [],
    gpus: [],
  };
}

function computeShare(row: Row, groups: readonly ModelGroup[]): Reading {
  const group = groups.find(({ modelName }) => modelName === row.replica?.sample.modelName);
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

/** A row without age, condition, share and GPUs, which change without it. */
type RowDraft = Omit<Row, "status" | "age" | "alerts" | "requestShare" | "gpus">;

/** What does not change until an endpoint is heard of again. */
interface Draft {
  readonly rows: readonly RowDraft[];
  /** The conditions for which the rest was computed, one per row. */
  statuses: readonly ReplicaStatus[];
  groups: readonly ModelGroup[];
  total: ModelGroup | null;
}

const NO_FIGURES: Figures = computeFigures([]);

/** Drafts of the endpoints that are shown: a key press or a tick of the clock changes none of them. */
const drafts = new WeakMap<readonly EndpointState[], Draft>();

function countModels({ endpoints }: State): number {
  return new Set(
    endpoints.flatMap(({ replicas }) => replicas.map(({ sample }) => sample.modelName)),
  ).size;
}

function createDraft(state: State): Draft {
  const isOneModel = countModels(state) < 2;
  const rows = state.endpoints.flatMap((known): RowDraft[] => {
    if (known.replicas.length === 0) {
      const { handle, endpoint: { key } } = known;
      const none = { replica: null, total: null, peaks: NO_PEAKS };
      const common = { state: known, ...none, figures: NO_FIGURES, trend: [] };
      return [{ ...common, key, name: handle, place: handle, address: handle, label: handle }];
    }
    return known.replicas.map((replica, index) => {
      const engineKey = identifyEngine(replica.sample);
      const key = identifyReplica(known, replica.sample);
      const trend = known.trends.get(engineKey) ?? [];
      const figures = known.figures[index];
      const total = known.totals.engines.get(engineKey) ?? null;
      const peaks = known.peaks.get(engineKey) ?? NO_PEAKS;
      const { handle } = known;
      const { name, place } = known.names.get(engineKey) ?? { name: handle, place: handle };
      const label = isOneModel ? place : name;
      const naming = { name, place, address: handle, label };
      return { state: known, replica, figures, trend, total, peaks, ...naming, key };
    });
  });
  return { rows, statuses: [], groups: [], total: null };
}

/** The condition of a row. An endpoint that answers without an engine has yet to begin. */
function judgeRow({ replica, state: known }: RowDraft, state: State): ReplicaStatus {
  const record = getScrapeRecord(known, state);
  if (replica !== null) {
    const scraped = computeReplicaStatus(replica.sample, record);
    const judged = state.evaluation.statuses.get(identifyReplica(known, replica.sample));
    return scraped === "OK" && (judged === "HOT" || judged === "STALLED") ? judged : scraped;
  }
  return known.scrape === null || known.failure !== null ? computeEndpointStatus(record) : "INIT";
}

/** The GPUs of a row. */
function listRowGpus({ replica, state: known }: RowDraft, state: State): readonly GpuSample[] {
  if (replica === null) return [];
  const { engine } = replica.sample;
  return listGpusOf(state, { endpointKey: known.endpoint.key, engine });
}

/** The GPUs of several rows, each once. */
function joinGpus(rows: readonly Row[]): readonly GpuSample[] {
  return [...new Set(rows.flatMap(({ gpus }) => gpus))];
}

/** The events of replicas and GPUs, oldest first. */
function mergeEvents({ evaluation, gpus }: State): readonly EventLine[] {
  const { lines } = evaluation.events;
  if (gpus.events.lines.length === 0) return lines;
  return [...lines, ...gpus.events.lines].sort((a, b) => a.beganAt - b.beganAt);
}

/** Brings groups and totals in line with the conditions of the rows. */
function completeDraft(draft: Draft, rows: readonly Row[], state: State): void {
  const models = [...new Set(rows.flatMap(({ replica }) => replica?.sample.modelName ?? []))];
  draft.groups = models.map((model) =>
    createGroup(state, model, rows.filter(({ replica }) => replica?.sample.modelName === model))
  );
  draft.total = draft.groups.length === 1 ? draft.groups[0] : createGroup(state, "", rows);
}

/** What all have counted, with those that are watched no longer: sums never fall. */
function sumCounted({ endpoints, gone }: State): SessionCounts {
  const servers = [...endpoints.map(({ totals }) => totals), gone.here, gone.elsewhere];
  return sumTotals(servers.flatMap(listTotals));
}

/** Rows, groups and totals of the state. */
export function createFleet(state: State): Fleet {
  let draft = drafts.get(state.endpoints);
  if (draft === undefined) drafts.set(state.endpoints, draft = createDraft(state));
  // What is shown for information alone is no complaint.
  const raised = Map.groupBy(
    state.evaluation.alerts.filter(({ isFiring, first }) =>
      isFiring && findRule(first.rule).effect !== "none"
    ),
    ({ first }) => first.key,
  );
  const bare = draft.rows.map((row): Row => {
    const status = judgeRow(row, state);
    // What a server said long before it went is no figure any more.
    const figures = status === "DOWN" ? NO_FIGURES : row.figures;
    const { age } = getScrapeRecord(row.state, state);
    const alerts = raised.get(row.key) ?? [];
    const gpus = listRowGpus(row, state);
    return { ...row, status, figures, age, alerts, requestShare: absent("missing"), gpus };
  });
  const statuses = bare.map(({ status }) => status);
  const { evaluation } = state;
  if (draft.total === null || statuses.some((status, i) => status !== draft.statuses[i])) {
    completeDraft(draft, bare, state);
    draft.statuses = statuses;
  }
  const groups = draft.groups.map((group) => ({
    ...group,
    checks: evaluation.groups.filter(({ modelName }) => modelName === group.modelName),
    gpus: joinGpus(
      bare.filter(({ replica }) => replica?.sample.modelName === group.modelName),
    ),
  }));
  const total = groups.length === 1
    ? groups[0]
    : { ...draft.total ?? createGroup(state, "", bare), gpus: joinGpus(bare) };
  const rows = bare.map((row) => ({ ...row, requestShare: computeShare(row, groups) }));
  const count = (status: ReplicaStatus): number => statuses.filter((one) => one === status).length;
  return {
    rows,
    groups,
    total,
    counts: {
      total: rows.length,
      up: statuses.filter(isCounted).length,
      stale: count("STALE"),
      down: count("DOWN"),
      pending: count("PENDING"),
    },
    verdict: evaluation.verdict,
    events: mergeEvents(state),
    counted: sumCounted(state),
    totalPeaks: state.totalPeaks,
    totalTrend: state.totalTrend.points,
  };
}
