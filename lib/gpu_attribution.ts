/**
 * Attributes processes to endpoints and engines. The owner is the endpoint whose listening
 * process, or the server that started it, is an ancestor, or else is in the same process group. If
 * the listener is hidden (container, other user), the server's command line decides: `--port`,
 * docker's port forwarding, model, elimination. Ranks come from the titles of processes. Ray
 * workers descend from the raylet and stay unattributed.
 * @module
 */

import { findRoleByTitle, parseRanks } from "./dialect.ts";
import type { ProcessRanks, ProcessRole } from "./dialect_model.ts";
import type { GpuProcess, GpuSample } from "./gpu_model.ts";
import {
  identifyForwarder,
  listInnerServers,
  parseForwardedPort,
  parseServerOptions,
  showsOptions,
} from "./host_commands.ts";
import type { ServerProcess } from "./host_load.ts";
import { listAncestors, type ProcessInfo, type ProcessTable } from "./host_processes.ts";
import { absent, isPresent, type Reading, sumReadings } from "./reading.ts";

export interface GpuEndpoint {
  readonly endpointKey: string;
  readonly port: number | null;
  /** Engine labels. */
  readonly engines: readonly string[];
  /** Served model names. */
  readonly modelNames: readonly string[];
  /** Empty if hidden. */
  readonly listenerPids: readonly number[];
}

/** Most reliable first. */
type GpuEvidence = "listener" | "group" | "port" | "model" | "elimination";

interface GpuOwner {
  readonly endpointKey: string;
  /** `null` if one of several, and the process does not tell. */
  readonly engine: string | null;
  /** `null` if unknown. */
  readonly tensorRank: number | null;
  readonly pipelineRank: number | null;
  readonly evidence: GpuEvidence;
}

interface Attribution<Process> {
  readonly process: Process;
  /** Command line or title, else the given name. */
  readonly name: string;
  /** `null` if no watched endpoint owns it. */
  readonly owner: GpuOwner | null;
}

export type GpuShare = Attribution<GpuProcess>;

/** Returns the nearest ancestor that is a model server. */
function findServer(ancestry: readonly ProcessInfo[]): ProcessInfo | undefined {
  return ancestry.find(showsOptions);
}

/** Host port -> container ports, as docker forwards them. */
function collectForwardedPorts(processes: ProcessTable): ReadonlyMap<number, ReadonlySet<number>> {
  const forwarded = new Map<number, Set<number>>();
  for (const process of processes.values()) {
    const port = parseForwardedPort(process);
    if (port === null) continue;
    const inside = forwarded.get(port.hostPort) ?? new Set();
    forwarded.set(port.hostPort, inside.add(port.containerPort));
  }
  return forwarded;
}

/** Ancestor of all processes; it may listen for others. */
const INIT_PID = 1;

interface Claims {
  readonly byPid: ReadonlyMap<number, string>;
  /** `null` if several endpoints share the group. */
  readonly byGroup: ReadonlyMap<number, string | null>;
  /** Endpoints with a known listener. */
  readonly keysWithListener: ReadonlySet<string>;
}

function collectClaims(processes: ProcessTable, endpoints: readonly GpuEndpoint[]): Claims {
  const byPid = new Map<number, string>();
  const byGroup = new Map<number, string | null>();
  const keysWithListener = new Set<string>();
  for (const { endpointKey, listenerPids } of endpoints) {
    for (const pid of listenerPids) {
      const ancestry = listAncestors(processes, pid);
      if (ancestry.length === 0) continue;
      const server = findServer(ancestry);
      const destination = identifyForwarder(ancestry[0]);
      if (destination === "container" || (server === undefined && pid === INIT_PID)) continue;
      keysWithListener.add(endpointKey);
      // A tunnel: the server and its GPUs are elsewhere.
      if (destination === "elsewhere") continue;
      const { groupId } = ancestry[0];
      const other = byGroup.get(groupId);
      byPid.set(pid, endpointKey).set(server?.pid ?? pid, endpointKey);
      byGroup.set(groupId, other === undefined || other === endpointKey ? endpointKey : null);
    }
  }
  return { byPid, byGroup, keysWithListener };
}

/** What a server starts for its models is its own, unless that is watched by its port. */
function createOwnerFinder(
  processes: ProcessTable,
  endpoints: readonly GpuEndpoint[],
): (ancestry: readonly ProcessInfo[]) => ProcessInfo | undefined {
  const watched = new Set(endpoints.map(({ port }) => port));
  const outers = new Map(
    listInnerServers(processes).filter(({ port }) => !watched.has(port))
      .map(({ process, outer }) => [process.pid, outer]),
  );
  return (ancestry) => {
    const server = findServer(ancestry);
    return server === undefined ? undefined : outers.get(server.pid) ?? server;
  };
}

type Match = Pick<GpuOwner, "endpointKey" | "evidence">;

function getOnly<T>(list: readonly T[]): T | undefined {
  return list.length === 1 ? list[0] : undefined;
}

/** Matches servers without an endpoint to endpoints without a listener. */
function matchServers(
  servers: readonly ProcessInfo[],
  endpoints: readonly GpuEndpoint[],
  forwarded: ReadonlyMap<number, ReadonlySet<number>>,
): ReadonlyMap<number, Match> {
  const matches = new Map<number, Match>();
  for (const server of servers) {
    const options = parseServerOptions(server);
    if (options === null) continue;
    const { port, modelNames } = options;
    const serves = (endpoint: GpuEndpoint) =>
      endpoint.modelNames.some((name) => modelNames.includes(name));
    const listens = (endpoint: GpuEndpoint) =>
      endpoint.port !== null &&
      (endpoint.port === port || forwarded.get(endpoint.port)?.has(port) === true);
    const candidates = endpoints.filter(listens);
    const byPort = getOnly(candidates.filter(serves)) ??
      getOnly(candidates.filter((endpoint) => endpoint.modelNames.length === 0));
    const byModel = getOnly(endpoints.filter(serves));
    const chosen = byPort ?? byModel;
    if (chosen === undefined) continue;
    const evidence = byPort === undefined ? "model" : "port";
    matches.set(server.pid, { endpointKey: chosen.endpointKey, evidence });
  }
  const taken = new Set([...matches.values()].map(({ endpointKey }) => endpointKey));
  const server = getOnly(servers.filter(({ pid }) => !matches.has(pid)));
  const endpoint = getOnly(endpoints.filter(({ endpointKey }) => !taken.has(endpointKey)));
  if (server !== undefined && endpoint !== undefined) {
    matches.set(server.pid, { endpointKey: endpoint.endpointKey, evidence: "elimination" });
  }
  return matches;
}

/** Ancestors fill in missing ranks. */
function collectRanks(titles: readonly string[]): ProcessRanks {
  return titles.map(parseRanks).reduceRight((above, own) => ({ ...above, ...own }), {});
}

/** Data-parallel ranks count from 0 on each machine. */
function chooseEngine(engines: readonly string[], data: number | undefined): string | null {
  if (engines.length === 1) return engines[0];
  if (data === undefined) return null;
  if (engines.includes(String(data))) return String(data);
  // Names by other labels are no ranks.
  if (engines.some((engine) => Number.isNaN(Number(engine)))) return null;
  return [...engines].sort((a, b) => Number(a) - Number(b))[data] ?? null;
}

/**
 * Attributes processes, in their order. Those missing in the table (other namespaces) have no
 * owner.
 * @param endpoints Only local ones: elimination matches the last server to the last endpoint.
 */
export function attributeProcesses<Process extends Pick<GpuProcess, "pid" | "name">>(
  some: readonly Process[],
  { processes, endpoints }: {
    readonly processes: ProcessTable;
    readonly endpoints: readonly GpuEndpoint[];
  },
): readonly Attribution<Process>[] {
  const claims = collectClaims(processes, endpoints);
  const findClaim = (ancestry: readonly ProcessInfo[]): Match | null => {
    const claimed = ancestry.find(({ pid }) => claims.byPid.has(pid));
    const endpointKey = claims.byPid.get(claimed?.pid ?? -1);
    if (endpointKey !== undefined) return { endpointKey, evidence: "listener" };
    const byGroup = claims.byGroup.get(ancestry[0]?.groupId ?? -1) ?? null;
    const hasServer = findServer(ancestry) !== undefined;
    return byGroup === null || hasServer ? null : { endpointKey: byGroup, evidence: "group" };
  };
  const ancestries = some.map(({ pid }) => listAncestors(processes, pid));
  const findOwner = createOwnerFinder(processes, endpoints);
  const unclaimed = new Map<number, ProcessInfo>();
  for (const ancestry of ancestries) {
    const server = findOwner(ancestry);
    if (server !== undefined && findClaim(ancestry) === null) unclaimed.set(server.pid, server);
  }
  const withoutListener = endpoints.filter(({ endpointKey }) =>
    !claims.keysWithListener.has(endpointKey)
  );
  const forwarded = collectForwardedPorts(processes);
  const matches = matchServers([...unclaimed.values()], withoutListener, forwarded);
  return some.map((process, index): Attribution<Process> => {
    const ancestry = ancestries[index];
    const name = ancestry[0]?.commandLine || process.name;
    const match = findClaim(ancestry) ?? matches.get(findOwner(ancestry)?.pid ?? -1);
    const endpoint = endpoints.find(({ endpointKey }) => endpointKey === match?.endpointKey);
    if (match === undefined || endpoint === undefined) return { process, name, owner: null };
    const titles = [process.name, ...ancestry.map(({ commandLine }) => commandLine)];
    const { data, tensor, pipeline } = collectRanks(titles);
    const owner: GpuOwner = {
      ...match,
      engine: chooseEngine(endpoint.engines, data),
      tensorRank: tensor ?? null,
      pipelineRank: pipeline ?? null,
    };
    return { process, name, owner };
  });
}

/**
 * By title; else the process that listens, not one that it forked, is the API server, or if that is
 * hidden, the server that started an engine.
 */
function findRole(
  info: ProcessInfo,
  processes: ProcessTable,
  listenerPids: readonly number[],
): ProcessRole {
  const titled = findRoleByTitle(info.commandLine);
  if (titled !== null) return titled;
  const listeners = listAncestors(processes, info.pid)
    .filter(({ pid }) => listenerPids.includes(pid));
  if (listeners.length > 0) return listeners.at(-1)?.pid === info.pid ? "api_server" : "other";
  const startsEngine = ({ parentPid, commandLine }: ProcessInfo): boolean =>
    parentPid === info.pid && findRoleByTitle(commandLine) === "engine_core";
  return showsOptions(info) && processes.values().some(startsEngine) ? "api_server" : "other";
}

/** Returns the processes of watched servers, in the order of the table. */
export function listServerProcesses(
  processes: ProcessTable,
  endpoints: readonly GpuEndpoint[],
): readonly ServerProcess[] {
  const named = [...processes.values()].map((info) => ({ ...info, name: info.commandLine }));
  return attributeProcesses(named, { processes, endpoints }).flatMap(({ process, owner }) => {
    // A process group may hold programs besides the server.
    if (owner === null || owner.evidence === "group") return [];
    const { endpointKey, engine } = owner;
    const endpoint = endpoints.find((one) => one.endpointKey === endpointKey);
    const role = findRole(process, processes, endpoint?.listenerPids ?? []);
    const { pid, user, name } = process;
    return { pid, user, name, role, endpointKey, engine };
  });
}

/** Returns the GPU processes of a replica. */
export function listReplicaProcesses(
  shares: readonly GpuShare[],
  replica: { readonly endpointKey: string; readonly engine: string },
): readonly GpuProcess[] {
  return shares.flatMap(({ owner, process }) =>
    owner?.endpointKey === replica.endpointKey && owner.engine === replica.engine ? process : []
  );
}

/**
 * Reduces a GPU in MIG mode to the instances of these processes: what other instances hold is not
 * theirs. The memory is unknown if an instance is.
 */
export function narrowToSlices(gpu: GpuSample, processes: readonly GpuProcess[]): GpuSample {
  if (gpu.isMigEnabled.value !== true) return gpu;
  const ids = new Set(processes.map(({ gpuInstanceId }) => gpuInstanceId.value));
  const migInstances = gpu.migInstances.filter(({ gpuInstanceId: id }) =>
    isPresent(id) && ids.has(id.value)
  );
  const isWhole = migInstances.length === ids.size;
  const sum = (key: "memoryUsedBytes" | "memoryTotalBytes"): Reading =>
    isWhole ? sumReadings(migInstances.map((one) => one[key])) : absent("missing");
  return {
    ...gpu,
    migInstances,
    memoryUsedBytes: sum("memoryUsedBytes"),
    memoryTotalBytes: sum("memoryTotalBytes"),
  };
}
