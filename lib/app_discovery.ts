/**
 * Servers that come and go. If none was named, the host is rescanned: new servers are watched,
 * long-gone ones dropped, and notices updated. A scan skips watched ports.
 * @module
 */

import {
  dispatch,
  leaveEndpoint,
  type Session,
  type Watched,
  watchEndpoint,
} from "./app_session.ts";
import { listScanNotices, openEndpoint } from "./discovery.ts";
import { findServerPorts, type Scanner } from "./discovery_scan.ts";
import { getHostAndPort } from "./endpoint.ts";
import type { Endpoint, LaunchInfo, ServerInfo } from "./model.ts";
import { computeEndpointStatus, getScrapeRecord } from "./rules_status.ts";
import { fetchServerIdentity } from "./scrape_server_info.ts";
import { type EndpointState, listEngines } from "./state_endpoint.ts";
import { getHostName } from "./state_fleet.ts";
import type { Seconds } from "./units.ts";

export const SCAN_INTERVAL: Seconds = 30;
export const GONE_AFTER: Seconds = 300;

async function watchFound(session: Session, endpoint: Endpoint): Promise<void> {
  const { platform } = session;
  const opened = await openEndpoint(platform, { endpoint, basicAuth: null }, session);
  // An endpoint without credentials cannot be refused.
  if ("exitCode" in opened) throw new Error(opened.message);
  if (session.stop.signal.aborted) return opened.scraper.close();
  dispatch(session, { kind: "endpoints_found", endpoints: [opened.endpoint] });
  watchEndpoint(session, opened);
}

/** Has refused connections for long. */
function isGone(session: Session, known: EndpointState): boolean {
  const { state, platform, watched } = session;
  const { endpoint, failure, scrape } = known;
  if (
    failure?.kind !== "refused" || computeEndpointStatus(getScrapeRecord(known, state)) !== "DOWN"
  ) {
    return false;
  }
  const seenAt = scrape?.receivedAt ?? watched.get(endpoint.key)?.since ?? -Infinity;
  return platform.monotonicSeconds() - seenAt >= GONE_AFTER;
}

export async function scanAgain(
  session: Session,
  scanner: Scanner,
  fallbackKey: string | null,
): Promise<void> {
  const isFallback = ({ endpoint, scrape }: EndpointState): boolean =>
    endpoint.key === fallbackKey && scrape === null;
  const result = await scanner.scan(new Set(session.watched.keys()));
  if (session.stop.signal.aborted) return;
  for (const endpoint of result.found) await watchFound(session, endpoint);
  const { endpoints } = session.state;
  const hasFound = endpoints.some((known) => !isFallback(known));
  for (const known of endpoints) {
    // The fallback goes as soon as anything is found.
    const isDone = isFallback(known) ? hasFound : isGone(session, known);
    if (isDone) leaveEndpoint(session, known.endpoint.key);
  }
  // Until then the notice of the start says more.
  const notices = listScanNotices(result);
  const hasChanged = notices.join("\n") !== session.state.notices.join("\n");
  if (hasFound && hasChanged) dispatch(session, { kind: "noticed", notices });
}

export async function scanForever(
  session: Session,
  scanner: Scanner,
  fallbackKey: string | null,
): Promise<void> {
  const { platform, stop } = session;
  while (!stop.signal.aborted) {
    await platform.sleep(SCAN_INTERVAL, stop.signal);
    if (!stop.signal.aborted) await scanAgain(session, scanner, fallbackKey);
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
): Promise<ServerInfo> {
  const { platform, options, stop } = session;
  const { endpoint, access, scraper } = watched;
  const models = scraper.takeModels();
  const asking = { access, timeout: options.timeout, signal: stop.signal, models };
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
    const known = session.state.endpoints.find(({ endpoint }) => endpoint.key === key);
    if (known === undefined || listEngines(known).length === 0) return;
    const life = getServerLife(known);
    if (lives.get(watched) === life) return;
    lives.set(watched, life);
    const server = await fetchServerInfo(session, watched);
    if (session.stop.signal.aborted) return;
    dispatch(session, { kind: "launch_read", endpointKey: key, server });
  };
}
