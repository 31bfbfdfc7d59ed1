/**
 * Servers that come and go: each source is asked again and again, new servers are watched, those
 * that are gone are left, and notices updated. Also how a server was started.
 * @module
 */

import { findDialect } from "./dialect.ts";
import {
  dispatch,
  leaveEndpoint,
  pollSoon,
  type Session,
  type Watched,
  watchEndpoint,
} from "./app_session.ts";
import { openEndpoint } from "./discovery.ts";
import { findServerPorts } from "./discovery_ports.ts";
import { joinNotices, type Source } from "./discovery_source.ts";
import { getHostAndPort, type TypedEndpoint } from "./endpoint.ts";
import { LOCAL_HOST } from "./host.ts";
import type { LaunchInfo, ServerInfo } from "./model.ts";
import { computeEndpointStatus, getScrapeRecord } from "./rules_status.ts";
import { isScrapeFailure } from "./scrape_pool.ts";
import { fetchServerIdentity, VERSION_PATH } from "./scrape_server_info.ts";
import { type EndpointState, findEndpoint, listEngines } from "./state_endpoint.ts";
import { getHostName } from "./state_fleet.ts";
import type { Seconds } from "./units.ts";

export const GONE_AFTER: Seconds = 300;

/** Opens new servers, and takes what has changed of the others. */
async function watchFound(session: Session, found: readonly TypedEndpoint[]): Promise<void> {
  const { platform, watched, hosts, stop } = session;
  const listProcesses = hosts.get(LOCAL_HOST)?.listProcesses ?? null;
  const isWatched = ({ endpoint: { key } }: Pick<TypedEndpoint, "endpoint">) => watched.has(key);
  const opened = await Promise.all(
    found.filter((typed) => !isWatched(typed)).map(async (typed) => {
      const one = await openEndpoint(platform, typed, { ...session, listProcesses });
      if ("exitCode" in one) throw new Error(one.message);
      return one;
    }),
  );
  // Another look may have been quicker.
  const [late, fresh] = [true, false].map((isLate) =>
    opened.filter((one) => (stop.signal.aborted || isWatched(one)) === isLate)
  );
  for (const { scraper } of late) scraper.close();
  if (stop.signal.aborted) return;
  const changed = found.filter(isWatched).map(({ endpoint }) => endpoint);
  const before = new Map(session.state.endpoints.map((known) => [known.endpoint.key, known]));
  // At once: the state derives the fleet for each message.
  const endpoints = [...changed, ...fresh.map(({ endpoint }) => endpoint)];
  dispatch(session, { kind: "endpoints_found", endpoints });
  for (const one of fresh) watchEndpoint(session, one);
  for (const { key, pod } of changed) {
    const { endpoint, failure = null } = before.get(key) ?? {};
    // It may run now, or be reached again.
    if (pod?.state !== endpoint?.pod?.state || failure !== null) pollSoon(session, key);
  }
}

/** Has refused connections for long. */
function isGone(session: Session, key: string): boolean {
  const { state, platform, watched } = session;
  const known = findEndpoint(state.endpoints, key);
  if (
    known?.failure?.kind !== "refused" ||
    computeEndpointStatus(getScrapeRecord(known, state)) !== "DOWN"
  ) {
    return false;
  }
  const seenAt = known.scrape?.receivedAt ?? watched.get(key)?.since ?? -Infinity;
  return platform.monotonicSeconds() - seenAt >= GONE_AFTER;
}

function setNotices(session: Session, source: Source, notices: readonly string[]): void {
  if ((session.notices.get(source) ?? []).join("\n") === notices.join("\n")) return;
  session.notices.set(source, notices);
  dispatch(session, { kind: "noticed", notices: joinNotices(session.notices) });
}

/** Watches what the source has found, and leaves what is gone. */
export async function lookAgain(session: Session, source: Source): Promise<void> {
  const { watched, stop } = session;
  const change = await source.look({
    interval: session.state.interval,
    keys: new Set(watched.keys()),
    hasAnswered: (key) =>
      session.state.endpoints.some(({ endpoint, scrape }) =>
        endpoint.key === key && scrape !== null
      ),
    isGone: (key) => isGone(session, key),
  });
  if (stop.signal.aborted) return;
  if (change.outcomes === undefined) {
    if (change.found.length > 0) await watchFound(session, change.found);
  } else {
    const endpoints = change.found.map(({ endpoint }) => endpoint);
    dispatch(session, { kind: "endpoints_found", endpoints });
    const { onBody } = session.pool;
    for (const outcome of change.outcomes) {
      if (isScrapeFailure(outcome)) dispatch(session, { kind: "scrape_failed", failure: outcome });
      else {
        if (onBody !== null && change.writeBody !== undefined) {
          onBody(outcome.endpointKey, change.writeBody(outcome));
        }
        dispatch(session, { kind: "scraped", scrape: outcome });
      }
    }
  }
  for (const key of change.goneKeys) leaveEndpoint(session, key);
  if (change.notices !== null) setNotices(session, source, change.notices);
}

async function lookAtAll(session: Session, wanted: "scrapes" | "isSlow"): Promise<void> {
  const sources = [...session.notices.keys()].flatMap((source) => source?.[wanted] ? source : []);
  await Promise.all(sources.map((source) => lookAgain(session, source)));
}

/** Of those that scrape their endpoints themselves. */
export function lookAtScrapes(session: Session): Promise<void> {
  return lookAtAll(session, "scrapes");
}

/** Of those that have not looked before the session. */
export function lookAtSlow(session: Session): Promise<void> {
  return lookAtAll(session, "isSlow");
}

export async function followSource(session: Session, source: Source): Promise<void> {
  const { platform, stop } = session;
  while (!stop.signal.aborted) {
    await platform.sleep(source.getInterval(session.state.interval), stop.signal);
    if (!stop.signal.aborted) await lookAgain(session, source);
  }
}

/** Changes after a restart, or with other models. */
function getServerLife(known: EndpointState): string {
  const { history } = known;
  const models = new Set(listEngines(known).map(({ replica }) => replica.sample.modelName));
  return [history.restartCount, ...[...models].toSorted()].join("\n");
}

/** Of the process on a known host that owns the endpoint's port. */
async function findLaunch(
  { hosts }: Session,
  { endpoint }: Watched,
): Promise<LaunchInfo | null> {
  const place = getHostAndPort(endpoint);
  const listProcesses = hosts.get(getHostName(endpoint))?.listProcesses ?? null;
  if (place === null || listProcesses === null) return null;
  const { listening, processes } = await listProcesses();
  const ports = findServerPorts(listening, processes);
  return ports.find(({ port }) => port === place.port)?.launch ?? null;
}

async function fetchServerInfo(
  session: Session,
  watched: Watched,
  serverName: string,
): Promise<ServerInfo> {
  const { platform, options, stop } = session;
  const { endpoint, access, scraper } = watched;
  const models = scraper.takeModels();
  const { paths = [] } = findDialect(serverName) ?? {};
  const asksVersion = paths.some(({ path }) => path === VERSION_PATH);
  const asking = { access, timeout: options.timeout, signal: stop.signal, models, asksVersion };
  const [identity, launch] = await Promise.all([
    fetchServerIdentity(platform, endpoint, asking),
    findLaunch(session, watched),
  ]);
  return { version: identity.version, models: identity.models?.models ?? [], launch };
}

/** Asks a server how it was started, once per life. Resolves when the state knows. */
export function createServerInfoReader(
  session: Session,
): (watched: Watched) => Promise<void> {
  const lives = new WeakMap<Watched, string>();
  return async (watched) => {
    const { key } = watched.endpoint;
    const known = findEndpoint(session.state.endpoints, key);
    const [engine] = known === undefined ? [] : listEngines(known);
    if (known === undefined || engine === undefined) return;
    const life = getServerLife(known);
    if (lives.get(watched) === life) return;
    lives.set(watched, life);
    const { name } = engine.replica.sample.server;
    const server = await fetchServerInfo(session, watched, name);
    if (session.stop.signal.aborted) return;
    dispatch(session, { kind: "launch_read", endpointKey: key, server });
  };
}
