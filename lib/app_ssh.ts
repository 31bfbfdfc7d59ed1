/**
 * Hosts behind ssh: keeps their sessions, tells the state how they stand, and looks for servers as
 * soon as a session is there.
 * @module
 */

import { lookAgain } from "./app_discovery.ts";
import { dispatch, type Session } from "./app_session.ts";
import type { SshWatch } from "./discovery_ssh.ts";
import type { HostLink } from "./host_ssh_connection.ts";

/** Resolves when the host is up and searched, or down for now. */
function keepHost(session: Session, { ssh, source }: SshWatch): Promise<void> {
  const { stop } = session;
  const { name } = ssh.host;
  return new Promise((resolve) => {
    let wasUp = false;
    const accept = (link: HostLink): void => {
      if (stop.signal.aborted) return resolve();
      dispatch(session, { kind: "host_linked", host: name, link });
      const isUp = link.kind === "up";
      if (isUp && !wasUp) {
        lookAgain(session, source).then(resolve, (error) => stop.abort(error));
      } else if (link.kind === "down") resolve();
      wasUp = isUp;
    };
    ssh.keep(stop.signal, accept).then(resolve, (error) => stop.abort(error));
  });
}

/** Begins to connect to all. Resolves when each is searched or down, or after the time limit. */
export async function startSshHosts(session: Session): Promise<void> {
  const { platform, options: { timeout }, sshWatches, stop } = session;
  const all = Promise.all(sshWatches.map((watch) => keepHost(session, watch)));
  await Promise.race([all, platform.sleep(timeout, stop.signal)]);
}
