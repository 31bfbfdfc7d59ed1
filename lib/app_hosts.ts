/**
 * Samples each host that is named, or on which a server is watched: its GPUs, its load, and the CPU of the
 * servers' processes.
 * @module
 */

import { apply, dispatch, type Session } from "./app_session.ts";
import type { GpuEndpoint } from "./gpu_attribution.ts";
import type { GpuFailure, GpuReport } from "./gpu_model.ts";
import { createGpuSampler, type GpuSampler, isGpuFailure } from "./gpu_sampler.ts";
import type { Host } from "./host.ts";
import { sampleHost, type ServerProcess } from "./host_load.ts";
import type { Message } from "./state.ts";
import { listEndpointsOn, listServersOn } from "./state_fleet.ts";
import {
  areSameServers,
  findServerProcesses,
  getHost,
  type MachineProcesses,
  NO_HOST,
} from "./state_gpus.ts";
import type { Seconds } from "./units.ts";

const PROCESS_LISTING_INTERVAL: Seconds = 30;
/** About the driver's own period. */
const MIN_INTERVAL: Seconds = 1;
const MAX_DRAWING_DELAY: Seconds = 2;
/** How long `--once` waits for GPUs, from its start. */
const ONCE_LIMIT: Seconds = 2;

interface GpuWatch {
  readonly session: Session;
  readonly host: Host;
  readonly sampler: GpuSampler;
  /** The last process list, with its GPU processes and time. */
  listed: {
    readonly machine: MachineProcesses;
    readonly pids: string;
    readonly at: Seconds;
  } | null;
}

/** Starts nothing yet. */
export function createGpuWatch(session: Session, host: Host): GpuWatch {
  return { session, host, sampler: createGpuSampler(host), listed: null };
}

/** Behind ssh only while there is a session. */
function canAsk({ state }: Session, { name }: Host): boolean {
  const { link } = getHost(state.hosts, name);
  return link === null || link.kind === "up";
}

/** A machine that the user named, or one on which a server is watched. */
function isWanted({ state }: Session, { name }: Host): boolean {
  return getHost(state.hosts, name).link !== null || listEndpointsOn(state, name).length > 0;
}

function wantsGpus({ session, host }: GpuWatch): boolean {
  const { gpuWatch } = session.options;
  if (gpuWatch === "never" || !canAsk(session, host)) return false;
  return gpuWatch === "always" || isWanted(session, host);
}

/** Drawn with the next round if that is soon: an evaluation and a frame cost more than a sample. */
function tell(session: Session, message: Message, isFirst: boolean): void {
  const waits = !isFirst && session.state.interval <= MAX_DRAWING_DELAY;
  (waits ? apply : dispatch)(session, message);
}

async function listMachine({ listProcesses }: Host): Promise<MachineProcesses> {
  if (listProcesses === null) return NO_HOST.machine;
  const { processes, listening } = await listProcesses();
  return {
    processes,
    listeners: new Map(listening.map(({ port, ownerPids }) => [port, ownerPids])),
  };
}

/** Refreshed if too old for these GPU processes. */
async function listMachineProcesses(
  watch: GpuWatch,
  { processes }: GpuReport,
): Promise<MachineProcesses> {
  const { session, host, listed } = watch;
  const pids = [...new Set((processes.value ?? []).map(({ pid }) => pid))].sort().join(" ");
  const now = session.platform.monotonicSeconds();
  if (listed !== null && listed.pids === pids && now - listed.at < PROCESS_LISTING_INTERVAL) {
    return listed.machine;
  }
  if (pids === "" || listEndpointsOn(session.state, host.name).length === 0) {
    return NO_HOST.machine;
  }
  const machine = await listMachine(host);
  watch.listed = { machine, pids, at: now };
  return machine;
}

export async function sampleGpus(watch: GpuWatch, over?: AbortSignal): Promise<void> {
  const { session, sampler, host: { name: host } } = watch;
  const { stop } = session;
  if (!wantsGpus(watch)) return;
  const signal = over === undefined ? stop.signal : AbortSignal.any([stop.signal, over]);
  const outcome = await sampler.sample(signal);
  if (stop.signal.aborted || !canAsk(session, watch.host)) return;
  if (isGpuFailure(outcome)) {
    // Only `--once` aborts a sample and continues.
    const failure: GpuFailure = outcome.kind === "aborted"
      ? { ...outcome, kind: "timeout" }
      : outcome;
    // Nothing new: there is still no GPU.
    const known = getHost(session.state.hosts, host);
    const isKnown = known.report === null && known.failure === failure;
    if (!isKnown) dispatch(session, { kind: "gpus_failed", host, failure });
    return;
  }
  const machine = await listMachineProcesses(watch, outcome);
  if (!stop.signal.aborted) {
    const isFirst = getHost(session.state.hosts, host).report === null;
    tell(session, { kind: "gpus_sampled", host, report: outcome, machine }, isFirst);
  }
}

/** At most half of the time, to spare a slow driver. */
export async function watchGpus(session: Session, host: Host): Promise<void> {
  if (session.options.gpuWatch === "never") return;
  const { platform, stop } = session;
  const watch = createGpuWatch(session, host);
  while (!stop.signal.aborted) {
    const startedAt = platform.monotonicSeconds();
    await sampleGpus(watch);
    const elapsed = platform.monotonicSeconds() - startedAt;
    const interval = Math.max(MIN_INTERVAL, session.state.interval);
    await platform.sleep(Math.max(interval - elapsed, elapsed), stop.signal);
  }
  watch.sampler.close();
}

/** Ends with the scrapes, or after `ONCE_LIMIT` if that is later. */
export async function sampleGpusOnce(
  session: Session,
  host: Host,
  scrapes: Promise<unknown>,
): Promise<void> {
  const { platform, stop } = session;
  const watch = createGpuWatch(session, host);
  const over = new AbortController();
  const sample = sampleGpus(watch, over.signal);
  const limit = platform.sleep(ONCE_LIMIT, AbortSignal.any([stop.signal, over.signal]));
  await Promise.all([scrapes, Promise.race([sample, limit])]);
  over.abort();
  await sample;
  watch.sampler.close();
}

/** As `ps` and a listing of processors take milliseconds. */
const LOAD_INTERVAL: Seconds = 5;

interface LoadWatch {
  readonly session: Session;
  readonly host: Host;
  /** The servers' processes as last listed, and for which servers. */
  listed: {
    readonly processes: readonly ServerProcess[];
    readonly servers: readonly GpuEndpoint[];
    readonly at: Seconds;
  } | null;
}

async function listProcessesOf(
  watch: LoadWatch,
  servers: readonly GpuEndpoint[],
): Promise<readonly ServerProcess[]> {
  const { session, host, listed } = watch;
  const now = session.platform.monotonicSeconds();
  if (
    listed !== null && areSameServers(listed.servers, servers) &&
    now - listed.at < PROCESS_LISTING_INTERVAL
  ) {
    return listed.processes;
  }
  const processes = findServerProcesses(await listMachine(host), servers);
  watch.listed = { processes, servers, at: now };
  return processes;
}

async function sampleLoad(watch: LoadWatch, { readsTimes = true } = {}): Promise<void> {
  const { session, host } = watch;
  const servers = listServersOn(session.state, host.name);
  if (!isWanted(session, host) || !canAsk(session, host)) return;
  const processes = await listProcessesOf(watch, servers);
  const sample = await sampleHost(host, processes, { readsTimes });
  if (session.stop.signal.aborted || !canAsk(session, host)) return;
  // Means come with the second.
  const isFirst = getHost(session.state.hosts, host.name).loadSamples.length < 2;
  tell(session, { kind: "host_sampled", host: host.name, sample }, isFirst);
}

/** The second sample follows soon: a mean needs two. */
async function watchLoad(session: Session, host: Host): Promise<void> {
  const { platform, stop } = session;
  const watch: LoadWatch = { session, host, listed: null };
  await sampleLoad(watch);
  await platform.sleep(MIN_INTERVAL, stop.signal);
  while (!stop.signal.aborted) {
    await sampleLoad(watch);
    await platform.sleep(Math.max(LOAD_INTERVAL, session.state.interval), stop.signal);
  }
}

/** Resolves when the session has ended. */
export async function watchHosts(session: Session): Promise<void> {
  const hosts = [...session.hosts.values()];
  await Promise.all([
    import("./app_logs.ts").then(({ watchLogs }) => watchLogs(session)),
    ...hosts.flatMap((host) => [watchGpus(session, host), watchLoad(session, host)]),
  ]);
}

async function sampleHostOnce(
  session: Session,
  host: Host,
  { scrapes, hasInterval }: {
    readonly scrapes: Promise<unknown>;
    readonly hasInterval: boolean;
  },
): Promise<void> {
  const watch: LoadWatch = { session, host, listed: null };
  const first = hasInterval ? sampleLoad(watch) : null;
  await Promise.all([first, sampleGpusOnce(session, host, scrapes)]);
  await sampleLoad(watch, { readsTimes: hasInterval });
}

/** Ends with the scrapes, or with the samples of the GPUs. Without an interval there is no mean. */
export async function sampleHostsOnce(
  session: Session,
  scrapes: Promise<unknown>,
  { hasInterval }: { readonly hasInterval: boolean },
): Promise<void> {
  const hosts = [...session.hosts.values()];
  const parts = { scrapes, hasInterval };
  await Promise.all(hosts.map((host) => sampleHostOnce(session, host, parts)));
  if (session.state.endpoints.every(({ failure }) => failure === null)) return;
  // Loaded here: it is not needed for servers that answer.
  const { readLogsOnce } = await import("./app_logs.ts");
  await readLogsOnce(session);
}
