/**
 * Load and GPUs of each host, and how each sample changes them. An outlier becomes an event after two
 * samples: clocks drop between batches. The last report survives a failure, as it names the GPUs
 * and their cost.
 * @module
 */

import {
  attributeProcesses,
  type GpuEndpoint,
  type GpuShare,
  listServerProcesses,
} from "./gpu_attribution.ts";
import type { GpuFailure, GpuOutlier, GpuReport, GpuSample } from "./gpu_model.ts";
import { appendGpuReport, findGpuOutliers, type GpuSeries } from "./gpu_outliers.ts";
import { LOCAL_HOST } from "./host.ts";
import {
  appendHostSample,
  computeHostLoad,
  type HostLoad,
  type HostSample,
  type ServerProcess,
} from "./host_load.ts";
import type { ProcessInfo } from "./host_processes.ts";
import type { HostLink } from "./host_ssh_connection.ts";
import { isPresent } from "./reading.ts";
import {
  EMPTY_LOG,
  type EventLog,
  type EventSubject,
  type Occurrence,
  recordEvents,
} from "./rules_alerts.ts";

/** For finding the owners of GPU processes. */
export interface MachineProcesses {
  readonly processes: ReadonlyMap<number, ProcessInfo>;
  /** Listening process ids by port, as far as visible. */
  readonly listeners: ReadonlyMap<number, readonly number[]>;
}

export interface HostState {
  /** Of a host behind ssh; `null` for another. */
  readonly link: HostLink | null;
  /** Of the last half minute, oldest first. */
  readonly loadSamples: readonly HostSample[];
  /** `null` before the first sample. */
  readonly load: HostLoad | null;
  /** The last good one; `null` before it. */
  readonly report: GpuReport | null;
  /** Of the newest sample; `null` if it succeeded. */
  readonly failure: GpuFailure | null;
  /** By GPU index. */
  readonly series: ReadonlyMap<number, GpuSeries>;
  readonly machine: MachineProcesses;
  /** Of the newest sample. */
  readonly outliers: readonly GpuOutlier[];
  readonly events: EventLog;
  /** GPU processes with their owners, and the servers searched for them. */
  readonly shares: readonly GpuShare[];
  readonly servers: readonly GpuEndpoint[];
}

/** By host name. */
export type Hosts = ReadonlyMap<string, HostState>;

export const NO_HOST: HostState = {
  link: null,
  loadSamples: [],
  load: null,
  report: null,
  failure: null,
  series: new Map(),
  machine: { processes: new Map(), listeners: new Map() },
  outliers: [],
  events: EMPTY_LOG,
  shares: [],
  servers: [],
};

export function getHost(hosts: Hosts, name: string): HostState {
  return hosts.get(name) ?? NO_HOST;
}

/** Empty if the newest sample failed. */
export function listGpus({ report, failure }: HostState): readonly GpuSample[] {
  return failure === null ? report?.gpus ?? [] : [];
}

function createSubject(gpuIndex: number, host: string): EventSubject {
  const name = host === LOCAL_HOST ? `GPU ${gpuIndex}` : `${host} GPU ${gpuIndex}`;
  return { key: name, endpointKey: "", address: name, name, modelName: null, engine: null };
}

export function acceptHostSample(known: HostState, sample: HostSample): HostState {
  const loadSamples = appendHostSample(known.loadSamples, sample);
  return { ...known, loadSamples, load: computeHostLoad(loadSamples) };
}

export function acceptGpuReport(
  known: HostState,
  report: GpuReport,
  machine: MachineProcesses,
  host = LOCAL_HOST,
): HostState {
  const outliers = findGpuOutliers(report.gpus);
  const lasting = outliers.flatMap((outlier): Occurrence[] => {
    const { gpuIndex } = outlier;
    const isConfirmed = known.outliers.some((before) => before.gpuIndex === gpuIndex);
    return isConfirmed ? [{ kind: "GPU", subject: createSubject(gpuIndex, host), outlier }] : [];
  });
  const moment = { at: report.sampledAt, epoch: report.sampledAtEpoch };
  return {
    ...known,
    ...{ report, failure: null, machine, outliers },
    series: appendGpuReport(known.series, report),
    events: recordEvents(known.events, { ...moment, lasting, instants: [] }),
    shares: attribute(report, machine, known.servers),
  };
}

function addListeners(
  servers: readonly GpuEndpoint[],
  { listeners }: MachineProcesses,
): readonly GpuEndpoint[] {
  return servers.map((server) => ({
    ...server,
    listenerPids: server.port === null ? [] : listeners.get(server.port) ?? [],
  }));
}

function attribute(
  { processes }: GpuReport,
  machine: MachineProcesses,
  servers: readonly GpuEndpoint[],
): readonly GpuShare[] {
  if (!isPresent(processes)) return [];
  const endpoints = addListeners(servers, machine);
  return attributeProcesses(processes.value, { processes: machine.processes, endpoints });
}

/** Returns the processes of watched servers on this machine. */
export function findServerProcesses(
  machine: MachineProcesses,
  servers: readonly GpuEndpoint[],
): readonly ServerProcess[] {
  return listServerProcesses(machine.processes, addListeners(servers, machine));
}

function haveSameItems(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((item, i) => item === other[i]);
}

function isSameServer(one: GpuEndpoint, other: GpuEndpoint): boolean {
  return one.endpointKey === other.endpointKey && haveSameItems(one.engines, other.engines) &&
    haveSameItems(one.modelNames, other.modelNames);
}

export function areSameServers(
  some: readonly GpuEndpoint[],
  others: readonly GpuEndpoint[],
): boolean {
  return some.length === others.length &&
    some.every((server, i) => isSameServer(server, others[i]));
}

/** Repeats the attribution only if the servers' engines changed. */
export function setServers(host: HostState, servers: readonly GpuEndpoint[]): HostState {
  const { report, machine } = host;
  if (areSameServers(servers, host.servers)) return host;
  return { ...host, servers, shares: report === null ? [] : attribute(report, machine, servers) };
}

/** Open events stay open. */
export function acceptGpuFailure(known: HostState, failure: GpuFailure): HostState {
  return { ...known, failure, series: appendGpuReport(known.series, null), outliers: [] };
}

/** Without a connection, nothing is known of load and GPUs. */
export function acceptLink(known: HostState, link: HostLink): HostState {
  if (link.kind !== "down") return { ...known, link };
  const failure: GpuFailure = { kind: "unreachable", message: link.failure.message };
  return { ...acceptGpuFailure(known, failure), link, load: null, loadSamples: [] };
}
