/**
 * Model servers on hosts behind ssh: found by their ports and processes as on this machine, and
 * reached through the session. Their URLs are those of the host's name.
 * @module
 */

import { createServerPortLister, type ServerPortLister } from "./discovery_ports.ts";
import { createScanner } from "./discovery_scan.ts";
import { listScanNotices, type Source } from "./discovery_source.ts";
import type { SshTarget } from "./endpoint.ts";
import type { ListeningPort } from "./host_processes.ts";
import { createSshHost, MAX_LOGINS, type SshHost } from "./host_ssh_connection.ts";
import type { SshSettings } from "./host_ssh.ts";
import { createSshHttpClient } from "./host_ssh_http.ts";
import { createGate, type Platform } from "./platform.ts";
import type { Seconds } from "./units.ts";

/** A host behind ssh, and its servers as they come and go. */
export interface SshWatch {
  readonly ssh: SshHost;
  readonly source: Source;
}

interface ScanLimits {
  readonly portRange: { readonly first: number; readonly last: number };
  readonly metricPrefix: string | null;
  readonly timeout: Seconds;
  /** Whether ports outside the range count, if a server may own them. */
  readonly scansProcesses: boolean;
  /** Time between two looks. */
  readonly interval: Seconds;
}

interface PortMemory {
  listening: readonly ListeningPort[];
}

/** In a range that is chosen, a server that loads is found by its process, too. */
function limitPorts(
  list: ServerPortLister,
  { scansProcesses, portRange: { first, last } }: ScanLimits,
): ServerPortLister {
  const isWanted = ({ port }: { readonly port: number }): boolean =>
    scansProcesses || (port >= first && port <= last);
  return async () => {
    const { ports, starting, ...rest } = await list();
    return { ...rest, ports: ports.filter(isWanted), starting: starting.filter(isWanted) };
  };
}

function createSshSource(
  platform: Platform,
  { ssh, ports, limits }: {
    readonly ssh: SshHost;
    readonly ports: PortMemory;
    readonly limits: ScanLimits;
  },
): Source {
  const { name, listProcesses } = ssh.host;
  const list = listProcesses === null ? null : async () => {
    const listing = await listProcesses();
    if (listing.listening.length > 0) ports.listening = listing.listening;
    return listing;
  };
  const scanner = createScanner({
    ...platform,
    // Its list of ports tells, without a connection to each.
    acceptsConnections: (_, port) =>
      Promise.resolve(ports.listening.some((one) => one.port === port)),
  }, {
    ...limits,
    host: name,
    sshHost: name,
    listServerPorts: list === null ? null : limitPorts(createServerPortLister(list), limits),
  });
  const own = new Set<string>();
  return {
    getInterval: () => limits.interval,
    look: async ({ keys, isGone }) => {
      if (ssh.getLink().kind !== "up") return { found: [], goneKeys: [], notices: null };
      await list?.();
      const result = await scanner.scan(keys);
      const { found } = result;
      for (const { key } of found) own.add(key);
      return {
        found: found.map((endpoint) => ({ endpoint, basicAuth: null })),
        goneKeys: [...keys].filter((key) => own.has(key) && isGone(key)),
        notices: listScanNotices(result).map((notice) => `${name}: ${notice}`),
      };
    },
  };
}

/** Connects to none yet. The platform's HTTP clients reach the servers of these hosts, too. */
export function createSshWatches(
  platform: Platform,
  targets: readonly (SshTarget & { readonly ports?: ScanLimits["portRange"] })[],
  { settings, limits }: { readonly settings: SshSettings; readonly limits: ScanLimits },
): { readonly platform: Platform; readonly sshWatches: readonly SshWatch[] } {
  const gate = createGate(MAX_LOGINS);
  const memories = new Map<string, { readonly ssh: SshHost; readonly ports: PortMemory }>();
  const reaching: Platform = {
    ...platform,
    createHttpClient: async (transport) => {
      const known = memories.get(transport.sshHost ?? "");
      if (known === undefined) return await platform.createHttpClient(transport);
      const getPorts = () => known.ports.listening;
      return await createSshHttpClient(platform, known.ssh, { transport, getPorts });
    },
  };
  const sshWatches = targets.map((target, index): SshWatch => {
    const ssh = createSshHost({ platform, target, settings, gate, index });
    const ports: PortMemory = { listening: [] };
    memories.set(target.name, { ssh, ports });
    const own = target.ports === undefined
      ? limits
      : { ...limits, portRange: target.ports, scansProcesses: false };
    return { ssh, source: createSshSource(reaching, { ssh, ports, limits: own }) };
  });
  return { platform: reaching, sshWatches };
}
