/**
 * Which process is the server of a port, whether it listens already or still loads its model.
 * @module
 */

import { findDialect, identifyCommand } from "./dialect.ts";
import type { Dialect } from "./dialect_model.ts";
import {
  identifyForwarder,
  parseForwardedPort,
  parseServerOptions,
  showsOptions,
} from "./host_commands.ts";
import {
  listAncestors,
  type ListeningPort,
  type ProcessInfo,
  type ProcessListing,
  type ProcessTable,
} from "./host_processes.ts";

/** Skips children that kept the server's command line. */
function isRoot(process: ProcessInfo, table: ProcessTable): boolean {
  const parent = table.get(process.parentPid);
  return parent === undefined || !showsOptions(parent);
}

/** The only server in a container that listens on the proxy's target port, or `null`. */
export function findContained(
  containerPort: number,
  { table, ownerPids }: {
    readonly table: ProcessTable;
    /** That listen on this machine's own ports. */
    readonly ownerPids: ReadonlySet<number>;
  },
): ProcessInfo | null {
  const found = [...table.values()].filter((process) =>
    showsOptions(process) && !ownerPids.has(process.pid) && isRoot(process, table) &&
    parseServerOptions(process)?.port === containerPort
  );
  return found.length === 1 ? found[0] : null;
}

const INTERPRETER = /^(?:\S*\/)?python[\d.]*$/;

/** Whether the server itself runs, not a shell, client or editor that names its command. */
function isServer(process: ProcessInfo): boolean {
  const [program, ...rest] = process.arguments;
  return showsOptions(process) &&
    (INTERPRETER.test(program) || identifyCommand(`${program} ${rest[0] ?? ""}`) !== null);
}

/** Servers that were started, by the port that they open, unless several claim it. */
function listStartedServers(table: ProcessTable): ReadonlyMap<number, ProcessInfo> {
  const byPort = new Map<number, ProcessInfo | null>();
  for (const process of table.values()) {
    if (!isServer(process)) continue;
    const parent = table.get(process.parentPid);
    if (parent !== undefined && isServer(parent)) continue;
    const options = parseServerOptions(process);
    if (options === null || !options.servesHttp) continue;
    byPort.set(options.port, byPort.has(options.port) ? null : process);
  }
  return new Map([...byPort].flatMap(([port, one]) => one === null ? [] : [[port, one]]));
}

/** The server of this machine's port; `null` if there is none, or several may be. */
export function findServerProcess(
  { processes: table, listening }: Pick<ProcessListing, "processes" | "listening">,
  port: number,
): ProcessInfo | null {
  const owners = listening.find((one) => one.port === port)?.ownerPids ?? [];
  for (const pid of owners) {
    const [owner, ...ancestors] = listAncestors(table, pid);
    if (owner === undefined) continue;
    if (identifyForwarder(owner) !== null) {
      const forwarded = parseForwardedPort(owner);
      const ownerPids = new Set(listening.flatMap(({ ownerPids }) => ownerPids));
      return forwarded === null
        ? null
        : findContained(forwarded.containerPort, { table, ownerPids });
    }
    const server = [owner, ...ancestors].findLast(isServer);
    // A process may show only a title.
    return server ?? (findDialectOf(owner) === null ? null : owner);
  }
  return listStartedServers(table).get(port) ?? null;
}

export function findDialectOf({ serverName }: ProcessInfo): Dialect | null {
  return findDialect(serverName);
}

/** Servers that run and do not listen yet, with their ports; not those of containers. */
export function listStartingServers(
  { processes: table, listening }: Pick<ProcessListing, "processes" | "listening">,
): readonly (readonly [port: number, server: ProcessInfo])[] {
  // Without a list of ports, all would seem to start.
  if (listening.length === 0) return [];
  return [...listStartedServers(table)].filter(([port, server]) =>
    !listening.some((one) => one.port === port) && !isContained(table, server.pid) &&
    !listensElsewhere(server, listening)
  );
}

/** One that starts others for its models opens its port at once, which its environment may name. */
function listensElsewhere(
  server: ProcessInfo,
  listening: readonly ListeningPort[],
): boolean {
  return findDialectOf(server)?.processes.inner !== undefined &&
    listening.some(({ ownerPids }) => ownerPids.includes(server.pid));
}

const CONTAINER_PARENT = /^(?:\S*\/)?(?:containerd-shim\S*|conmon|crun|runc)(?:\s|$)/;

/** Whether it runs in a container, whose ports may not be this machine's. */
function isContained(table: ProcessTable, pid: number): boolean {
  return listAncestors(table, pid).some(({ commandLine }) => CONTAINER_PARENT.test(commandLine));
}
