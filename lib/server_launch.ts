/**
 * How each server was started, asked once in its life.
 *
 * Layer 6, effects: through the inspector and the process lister. After the
 * first good scrape of an endpoint, and after the first that shows that its
 * server has started anew, the server is asked for its version and models, and
 * on this machine its process is looked up. Nothing waits for that, and nothing
 * of it is a failure: what is not known is not shown.
 *
 * @module
 */

import type { EndpointState } from "./endpoint_state.ts";
import { isLocal, readPlace } from "./endpoint_url.ts";
import { askServer } from "./inspector.ts";
import type { LaunchInfo, ServerInfo } from "./model.ts";
import type { ProcessLister } from "./process_lister.ts";
import { dispatch, type Session, type Watched } from "./session.ts";

/** The life of a server: another one after a restart, or with other models. */
function describeLife({ history, replicas }: EndpointState): string {
  const models = new Set(replicas.map(({ sample }) => sample.modelName));
  return [history.restartCount, ...[...models].toSorted()].join("\n");
}

/** The launch of the process that owns the endpoint's port, where that is on this machine. */
async function findLaunch(
  { endpoint }: Watched,
  listProcesses: ProcessLister | null,
): Promise<LaunchInfo | null> {
  const place = readPlace(endpoint);
  if (place === null || !isLocal(endpoint) || listProcesses === null) return null;
  const { ports } = await listProcesses();
  return ports.find(({ port }) => port === place.port)?.launch ?? null;
}

async function readServer(
  session: Session,
  watched: Watched,
  listProcesses: ProcessLister | null,
): Promise<ServerInfo> {
  const { platform, options, stop } = session;
  const { endpoint, access } = watched;
  const asking = { access, timeout: options.timeout, signal: stop.signal };
  const [{ version, models }, launch] = await Promise.all([
    askServer(platform, endpoint, asking),
    findLaunch(watched, listProcesses),
  ]);
  return { version, models: models?.models ?? [], launch };
}

/**
 * A function that asks a server how it was started, unless this life of it is
 * known already. Resolves when the state knows.
 */
export function createLaunchReader(
  session: Session,
  listProcesses: ProcessLister | null,
): (watched: Watched) => Promise<void> {
  const lives = new WeakMap<Watched, string>();
  return async (watched) => {
    const { key } = watched.endpoint;
    const known = session.state.endpoints.find(({ endpoint }) => endpoint.key === key);
    if (known === undefined || known.replicas.length === 0) return;
    const life = describeLife(known);
    if (lives.get(watched) === life) return;
    lives.set(watched, life);
    const server = await readServer(session, watched, listProcesses);
    if (session.stop.signal.aborted) return;
    dispatch(session, { kind: "launch_read", endpointKey: key, server });
  };
}
