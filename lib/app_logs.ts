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
import type { LogPlace, ServerLog, WatchedLog } from "./log.ts";
import { isLoading } from "./rules_status.ts";
import type { EndpointState } from "./state_endpoint.ts";
import { listEndpointsOn } from "./state_fleet.ts";
import type { Seconds } from "./units.ts";

/** While a model loads or a log is shown. Through ssh, a log may be much to send. */
const MIN_INTERVAL: Seconds = 2;
const MIN_SSH_INTERVAL: Seconds = 5;
/** While a server is away: a listing of processes is not free. */
const IDLE_INTERVAL: Seconds = 10;
/** How long the news of a failure may wait for its reason. */
const EXPLANATION_LIMIT: Seconds = 0.5;

/** What was found out of a server; a process that has ended is remembered for its last words. */
interface KnownServer {
  readonly pid: number;
  readonly startedAt: Seconds | null;
  readonly dialect: Dialect | null;
  readonly place: LogPlace | null;
}

interface LogWatch {
  readonly session: Session;
  readonly host: Host;
  /** By endpoint key. */
  readonly servers: Map<string, KnownServer>;
}

/** The log of the selected server is on screen. */
function isShown({ state: { ui } }: Session, { endpoint }: EndpointState): boolean {
  return ui.screen === "log" && ui.selectedKey?.split("\n", 1)[0] === endpoint.key;
}

async function findProcess({ host }: LogWatch, known: EndpointState): Promise<ProcessInfo | null> {
  const port = getHostAndPort(known.endpoint)?.port ?? null;
  if (host.listProcesses === null || port === null) return null;
  return findServerProcess(await host.listProcesses(), port);
}

/** Looks again at the process, and where a new one logs. */
async function findServer(
  { host, servers }: LogWatch,
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
function getReadyTime(known: EndpointState, { isReady }: ServerLog, host: Host): Seconds | null {
  if (!isReady) return null;
  const before = known.log?.log ?? null;
  return before === null || before.isReady ? known.log?.readyAt ?? null : host.monotonicSeconds();
}

async function readLog(
  watch: LogWatch,
  known: EndpointState,
): Promise<WatchedLog> {
  const { session: { platform, options }, host } = watch;
  const { key } = known.endpoint;
  const named = options.logs.get(key) ?? null;
  const process = await findProcess(watch, known);
  const server = await findServer(watch, { key, process, named });
  const place = named ?? server?.place ?? null;
  // Its grammar reads nothing into the log of another kind of server.
  const dialect = server?.dialect ?? findDialect(known.endpoint.serverName) ?? DIALECTS[0];
  const common = {
    readyAt: known.log?.readyAt ?? null,
    processStartedAt: process === null ? null : server?.startedAt ?? null,
    source: place === null ? null : nameLogPlace(place),
    flags: dialect.flags,
  };
  if (place === null) {
    return { ...common, problem: server === null ? UNKNOWN_PROCESS : UNKNOWN_PLACE, log: null };
  }
  const read = await readLogText(host, place);
  if ("problem" in read) return { ...common, problem: read.problem, log: known.log?.log ?? null };
  const log = parseServerLog(read.text, {
    grammar: dialect.log ?? null,
    nowEpoch: host.epochSeconds(),
    utcOffset: platform.utcOffset(),
  });
  return { ...common, problem: null, log, readyAt: getReadyTime(known, log, host) };
}

async function updateLog(watch: LogWatch, known: EndpointState): Promise<void> {
  const log = await readLog(watch, known);
  if (watch.session.stop.signal.aborted) return;
  const { key } = known.endpoint;
  dispatch(watch.session, { kind: "log_read", endpointKey: key, log });
  // It answers now, if ever.
  if (log.log?.isReady && known.log?.log?.isReady === false) pollSoon(watch.session, key);
}

/** Of a host's servers that do not answer or are shown. Never rejects. */
async function readLogs(watch: LogWatch): Promise<void> {
  const { session, host } = watch;
  const wanted = listEndpointsOn(session.state, host.name).filter((known) =>
    known.failure !== null || isShown(session, known)
  );
  await Promise.all(wanted.map((known) => updateLog(watch, known)));
}

function createLogWatches(session: Session): readonly LogWatch[] {
  if (session.state.isDemo) return [];
  return [...session.hosts.values()].map((host) => ({ session, host, servers: new Map() }));
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
    const { session, session: { platform, stop }, host } = watch;
    const known = listEndpointsOn(session.state, host.name)
      .find(({ endpoint }) => endpoint.key === key);
    if (known === undefined || known.failure !== null) continue;
    await Promise.race([updateLog(watch, known), platform.sleep(EXPLANATION_LIMIT, stop.signal)]);
    void platform.sleep(MIN_INTERVAL, stop.signal).then(wake);
  }
}

function getInterval({ session, host }: LogWatch): Seconds {
  const isNews = listEndpointsOn(session.state, host.name).some((known) =>
    isShown(session, known) || isLoading(known, session.platform.monotonicSeconds())
  );
  if (!isNews) return IDLE_INTERVAL;
  return host.name === LOCAL_HOST ? MIN_INTERVAL : MIN_SSH_INTERVAL;
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
