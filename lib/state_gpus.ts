/**
 * What is known of each host's GPUs, and how each sample changes it.
 *
 * An outlier becomes an event after two samples in a row: a clock may be low for
 * a moment between two batches. The report before a failure is kept, for what
 * does not change with a sample: which GPUs there are, and what they cost.
 *
 * @module
 */

import { attributeGpuProcesses, type GpuEndpoint, type GpuShare } from "./gpu_attribution.ts";
import type { GpuFailure, GpuOutlier, GpuReport, GpuSample } from "./gpu_model.ts";
import { appendGpuReport, findGpuOutliers, type GpuSeries } from "./gpu_outliers.ts";
import type { ProcessInfo } from "./host_processes.ts";
import { isPresent } from "./reading.ts";
import { EMPTY_LOG, type EventLog, type EventSubject, recordEvents } from "./rules_alerts.ts";

/** What is known of the machine's processes, for telling whose memory it is. */
export interface MachineProcesses {
  readonly processes: ReadonlyMap<number, ProcessInfo>;
  /** Port -> the processes that listen on it, as far as they may be seen. */
  readonly listeners: ReadonlyMap<number, readonly number[]>;
}

/** The name of this machine. */
export const LOCAL_HOST = "localhost";

/** What is known of a host's GPUs. */
export interface HostState {
  /** What was said last; `null` before the first sample that succeeded. */
  readonly report: GpuReport | null;
  /** Why the newest sample failed; `null` where it did not. */
  readonly failure: GpuFailure | null;
  /** By the indexes of the GPUs. */
  readonly series: ReadonlyMap<number, GpuSeries>;
  readonly machine: MachineProcesses;
  /** GPUs that fall behind by the newest sample. */
  readonly outliers: readonly GpuOutlier[];
  readonly events: EventLog;
  /** The processes on the GPUs, with their owners, and the servers for which these were found. */
  readonly shares: readonly GpuShare[];
  readonly servers: readonly GpuEndpoint[];
}

/** By the names of the hosts. */
export type Hosts = ReadonlyMap<string, HostState>;

/** Nobody has looked yet. */
export const NO_HOST: HostState = {
  report: null,
  failure: null,
  series: new Map(),
  machine: { processes: new Map(), listeners: new Map() },
  outliers: [],
  events: EMPTY_LOG,
  shares: [],
  servers: [],
};

/** What is known of that host. */
export function getHost(hosts: Hosts, name: string): HostState {
  return hosts.get(name) ?? NO_HOST;
}

/** The GPUs of the host as they are now; none if the newest sample failed. */
export function listGpus({ report, failure }: HostState): readonly GpuSample[] {
  return failure === null ? report?.gpus ?? [] : [];
}

function createSubject(gpuIndex: number, host: string): EventSubject {
  const name = host === LOCAL_HOST ? `GPU ${gpuIndex}` : `${host} GPU ${gpuIndex}`;
  return { key: name, endpointKey: "", address: name, name, modelName: null, engine: null };
}

/** What is known after one more report. */
export function acceptGpuReport(
  known: HostState,
  report: GpuReport,
  machine: MachineProcesses,
  host = LOCAL_HOST,
): HostState {
  const outliers = findGpuOutliers(report.gpus);
  const isConfirmed = ({ gpuIndex }: GpuOutlier): boolean =>
    known.outliers.some((before) => before.gpuIndex === gpuIndex);
  const lasting = outliers.filter(isConfirmed).map((outlier) => ({
    kind: "GPU" as const,
    subject: createSubject(outlier.gpuIndex, host),
    outlier,
  }));
  const moment = { at: report.sampledAt, epoch: report.sampledAtEpoch };
  return {
    report,
    failure: null,
    series: appendGpuReport(known.series, report),
    machine,
    outliers,
    events: recordEvents(known.events, { ...moment, lasting, instants: [] }),
    shares: attribute(report, machine, known.servers),
    servers: known.servers,
  };
}

/** Whose processes are on the GPUs. */
function attribute(
  { processes }: GpuReport,
  machine: MachineProcesses,
  servers: readonly GpuEndpoint[],
): readonly GpuShare[] {
  if (!isPresent(processes)) return [];
  const endpoints = servers.map((server) => ({
    ...server,
    listenerPids: server.port === null ? [] : machine.listeners.get(server.port) ?? [],
  }));
  return attributeGpuProcesses(processes.value, { processes: machine.processes, endpoints });
}

function haveSameItems(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((item, i) => item === other[i]);
}

function isSameServer(one: GpuEndpoint, other: GpuEndpoint): boolean {
  return one.endpointKey === other.endpointKey && haveSameItems(one.engines, other.engines) &&
    haveSameItems(one.modelNames, other.modelNames);
}

/** The host with the owners of its GPU processes among these servers. Scrapes come often, and seldom with another engine. */
export function setServers(host: HostState, servers: readonly GpuEndpoint[]): HostState {
  const { report, machine } = host;
  const isSame = servers.length === host.servers.length &&
    servers.every((server, i) => isSameServer(server, host.servers[i]));
  if (isSame) return host;
  return { ...host, servers, shares: report === null ? [] : attribute(report, machine, servers) };
}

/** What is known after a sample that failed. Open events stay open. */
export function acceptGpuFailure(known: HostState, failure: GpuFailure): HostState {
  return { ...known, failure, series: appendGpuReport(known.series, null), outliers: [] };
}
