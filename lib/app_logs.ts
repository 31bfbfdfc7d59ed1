/**
 * Reads the logs of servers that do not answer, and of the one whose log is on screen. The log of a
 * server that is well is left alone.
 * @module
 */

import { dispatch, pollSoon, type Session } from "./app_session.ts";
import { DIALECTS, findDialect } from "./dialect.ts";
import { getHostAndPort } from "./endpoint.ts";
import { type Host, LOCAL_HOST } from "./host.ts";
import { parseServerLog } from "./host_log.ts";
import { findLogPlace, nameLogPlace, readLogText } from "./host_log_source.ts";
import type { ProcessInfo } from "./host_processes.ts";
import { findDialectOf, findServerProcess } from "./host_servers.ts";
import type { Dialect } from "./dialect_model.ts";
import type { Source } from "./discovery_source.ts";
import type { LogPlace, LogText, ServerLog, WatchedLog } from "./log.ts";
import type { Platform } from "./platform.ts";
import type { PodFacts } from "./pod.ts";
import { isLoading } from "./rules_status.ts";
import { type EndpointState, findEndpoint } from "./state_endpoint.ts";
import { listEndpointsOn } from "./state_fleet.ts";
import type { Seconds } from "./units.ts";

/** While a model loads or a log is shown. From elsewhere, a log may be much to send. */
const MIN_INTERVAL: Seconds = 2;
const MIN_FAR_INTERVAL: Seconds = 5;
/** While a server is away: a listing of processes is not free. */
const IDLE_INTERVAL: Seconds = 10;
/** How long the news of a failure may wait for its reason. */
const EXPLANATION_LIMIT: Seconds = 0.5;
/** Of one cluster in a round, to spare its API server. */
const MAX_POD_LOGS = 10;

/** What was found out of a server; a process that has ended is remembered for its last words. */
interface KnownServer {
  readonly pid: number;
  readonly startedAt: Seconds | null;
  readonly dialect: Dialect | null;
  readonly place: LogPlace | null;
}

interface LogWatch {
  readonly session: Session;
  /** Those whose logs it reads. */
  readonly listEndpoints: () => readonly EndpointState[];
  readonly read: (known: EndpointState) => Promise<WatchedLog>;
  /** Of logs in a round: those that were read longest ago. */
  readonly limit: number;
  /** By endpoint key. */
  readonly readAt: Map<string, Seconds>;
  /** While there is news. */
  readonly interval: Seconds;
}

/** The servers of a host. */
interface HostServers {
  readonly session: Session;
  readonly host: Host;
  /** By endpoint key. */
  readonly servers: Map<string, KnownServer>;
}

/** The log of the selected server is on screen. */
function isShown({ state: { ui } }: Session, { endpoint }: EndpointState): boolean {
  return ui.screen === "log" && ui.selectedKey?.split("\n", 1)[0] === endpoint.key;
}

async function findProcess(
  { host }: HostServers,
  known: EndpointState,
): Promise<ProcessInfo | null> {
  const port = getHostAndPort(known.endpoint)?.port ?? null;
  if (host.listProcesses === null || port === null) return null;
  return findServerProcess(await host.listProcesses(), port);
}

/** Looks again at the process, and where a new one logs. */
async function findServer(
  { host, servers }: HostServers,
  { key, process, named }: {
    readonly key: string;
    readonly process: ProcessInfo | null;
    readonly named: LogPlace | null;
  },
): Promise<KnownServer | null> {
  const known = servers.get(key) ?? null;
  if (process === null) return known;
  const { pid, startedSecondsAgo } = process;
  if (known?.pid === pid && known.place !== null) return known;
  const server: KnownServer = {
    pid,
    // Before the listing, by at most its age.
    startedAt: startedSecondsAgo === null ? null : host.monotonicSeconds() - startedSecondsAgo,
    dialect: findDialectOf(process),
    place: named ?? await findLogPlace(host, pid),
  };
  servers.set(key, server);
  return server;
}

const UNKNOWN_PROCESS = "no process of this server is found: name its log with --log";
const UNKNOWN_PLACE = "where it logs is not known: name its log with --log";

/** A log that says so when it is first read may have said so for long. */
function getReadyTime(known: EndpointState, { isReady }: ServerLog, now: Seconds): Seconds | null {
  if (!isReady) return null;
  const before = known.log?.log ?? null;
  return before === null || before.isReady ? known.log?.readyAt ?? null : now;
}

async function createWatchedLog(
  { platform }: Session,
  known: EndpointState,
  { read, dialect, ...facts }: Pick<WatchedLog, "processStartedAt" | "source"> & {
    readonly read: LogText;
    /** Its grammar reads nothing into the log of another kind of server. */
    readonly dialect: Dialect;
  },
): Promise<WatchedLog> {
  const before = known.log;
  const common = { ...facts, readyAt: before?.readyAt ?? null, flags: dialect.flags };
  if ("problem" in read) return { ...common, problem: read.problem, log: before?.log ?? null };
  const log = parseServerLog(read.text, {
    grammar: await dialect.loadLogGrammar?.() ?? null,
    nowEpoch: platform.epochSeconds(),
    utcOffset: platform.utcOffset(),
  });
  const readyAt = getReadyTime(known, log, platform.monotonicSeconds());
  return { ...common, problem: null, log, readyAt };
}

function getNamedDialect({ endpoint }: EndpointState): Dialect {
  return findDialect(endpoint.serverName) ?? DIALECTS[0];
}

async function readHostLog(watch: HostServers, known: EndpointState): Promise<WatchedLog> {
  const { session, host } = watch;
  const { key } = known.endpoint;
  const { logs, sshTargets } = session.options;
  const named = logs.get(key) ?? sshTargets.find(({ name }) => name === host.name)?.log ?? null;
  const process = await findProcess(watch, known);
  const server = await findServer(watch, { key, process, named });
  const place = named ?? server?.place ?? null;
  const unknown = server === null ? UNKNOWN_PROCESS : UNKNOWN_PLACE;
  const watched = await createWatchedLog(session, known, {
    processStartedAt: process === null ? null : server?.startedAt ?? null,
    source: place === null ? null : nameLogPlace(place),
    dialect: server?.dialect ?? getNamedDialect(known),
    read: place === null ? { problem: unknown } : await readLogText(host, place),
  });
  return place === null ? { ...watched, log: null } : watched;
}

/** Of the container that runs; the clocks may differ. */
function getContainerStart({ state, startedAt }: PodFacts, platform: Platform): Seconds | null {
  const runs = state === "starting" || state === "ready" || state === "terminating";
  if (!runs || startedAt === null) return null;
  return platform.monotonicSeconds() - Math.max(0, platform.epochSeconds() - startedAt);
}

async function readPodLog(
  session: Session,
  pod: PodFacts,
  { known, readLog }: {
    readonly known: EndpointState;
    readonly readLog: NonNullable<Source["readLog"]>;
  },
): Promise<WatchedLog> {
  return await createWatchedLog(session, known, {
    processStartedAt: getContainerStart(pod, session.platform),
    source: `kubectl logs -n ${pod.namespace} ${pod.name} -c ${pod.container}`,
    dialect: getNamedDialect(known),
    read: await readLog(pod),
  });
}

async function updateLog(watch: LogWatch, known: EndpointState): Promise<void> {
  const log = await watch.read(known);
  if (watch.session.stop.signal.aborted) return;
  const { key } = known.endpoint;
  dispatch(watch.session, { kind: "log_read", endpointKey: key, log });
  // It answers now, if ever.
  if (log.log?.isReady && known.log?.log?.isReady === false) pollSoon(watch.session, key);
}

/** Of servers that do not answer or are shown. Never rejects. */
async function readLogs(watch: LogWatch): Promise<void> {
  const { session, readAt, limit } = watch;
  const getTurn = (known: EndpointState): number =>
    isShown(session, known) ? -Infinity : readAt.get(known.endpoint.key) ?? -1;
  const wanted = watch.listEndpoints()
    .filter((known) => known.failure !== null || isShown(session, known))
    .toSorted((a, b) => getTurn(a) - getTurn(b)).slice(0, limit);
  for (const { endpoint } of wanted) readAt.set(endpoint.key, session.platform.monotonicSeconds());
  await Promise.all(wanted.map((known) => updateLog(watch, known)));
}

function createHostWatch(session: Session, host: Host): LogWatch {
  const watch: HostServers = { session, host, servers: new Map() };
  return {
    session,
    listEndpoints: () => listEndpointsOn(session.state, host.name),
    read: (known) => readHostLog(watch, known),
    ...{ limit: Infinity, readAt: new Map() },
    interval: host.name === LOCAL_HOST ? MIN_INTERVAL : MIN_FAR_INTERVAL,
  };
}

function createPodWatch(session: Session, readLog: NonNullable<Source["readLog"]>): LogWatch {
  return {
    session,
    listEndpoints: () => session.state.endpoints.filter(({ endpoint: { pod } }) => pod),
    read: (known) => {
      const { pod } = known.endpoint;
      if (pod === undefined) throw new Error(`"${known.endpoint.key}" is no pod`);
      return readPodLog(session, pod, { known, readLog });
    },
    ...{ limit: MAX_POD_LOGS, readAt: new Map() },
    interval: MIN_FAR_INTERVAL,
  };
}

function createLogWatches(session: Session): readonly LogWatch[] {
  if (session.state.isDemo) return [];
  const readers = [...session.notices.keys()].flatMap((source) => source?.readLog ?? []);
  return [
    ...[...session.hosts.values()].map((host) => createHostWatch(session, host)),
    ...readers.map((readLog) => createPodWatch(session, readLog)),
  ];
}

/** Once, of all servers that do not answer. */
export async function readLogsOnce(session: Session): Promise<void> {
  await Promise.all(createLogWatches(session).map(readLogs));
}

/** A server that begins to fail is judged with what its log says, unless that takes long. */
async function explainFailure(
  watches: readonly LogWatch[],
  key: string,
  wake: () => void,
): Promise<void> {
  for (const watch of watches) {
    const { platform, stop } = watch.session;
    const known = findEndpoint(watch.listEndpoints(), key);
    if (known === undefined || known.failure !== null) continue;
    await Promise.race([updateLog(watch, known), platform.sleep(EXPLANATION_LIMIT, stop.signal)]);
    void platform.sleep(MIN_INTERVAL, stop.signal).then(wake);
  }
}

function getInterval({ session, listEndpoints, interval }: LogWatch): Seconds {
  const isNews = listEndpoints().some((known) =>
    isShown(session, known) || isLoading(known, session.platform.monotonicSeconds())
  );
  return isNews ? interval : IDLE_INTERVAL;
}

async function watchLogsOf(watch: LogWatch, wakers: Set<() => void>): Promise<void> {
  const { session, session: { platform, stop } } = watch;
  while (!stop.signal.aborted) {
    await readLogs(watch);
    const wanted = new AbortController();
    const wake = (): void => wanted.abort();
    wakers.add(wake);
    const signal = AbortSignal.any([stop.signal, wanted.signal]);
    await platform.sleep(Math.max(getInterval(watch), session.state.interval), signal);
    wakers.delete(wake);
  }
}

/** Resolves when the session has ended; one slow host delays none. */
export async function watchLogs(session: Session): Promise<void> {
  const watches = createLogWatches(session);
  const wakers = new Set<() => void>();
  const wake = (): void => wakers.forEach((wakeOne) => wakeOne());
  session.onLogShown = wake;
  session.onFailing = (key) => explainFailure(watches, key, wake);
  await Promise.all(watches.map((watch) => watchLogsOf(watch, wakers)));
}
