/**
 * The ports of a machine that may be a model server's, by the processes that own them, and those
 * that a server will open when it has loaded its model.
 * @module
 */

import { findDialect } from "./dialect.ts";
import type { Dialect } from "./dialect_model.ts";
import {
  identifyForwarder,
  type InnerServer,
  listInnerServers,
  parseForwardedPort,
  parseLaunch,
  parseServerOptions,
  showsOptions,
} from "./host_commands.ts";
import {
  listAncestors,
  type ListeningPort,
  type ProcessInfo,
  type ProcessLister,
  type ProcessTable,
} from "./host_processes.ts";
import { findContained, findDialectOf, listStartingServers } from "./host_servers.ts";
import type { LaunchInfo } from "./model.ts";

export interface ServerPort extends ListeningPort {
  /** `null` if only a probe can tell. */
  readonly serverName: string | null;
  /** Its command line names this very port as the server's. */
  readonly isDeclared: boolean;
  /** `null` without dialect or known command line. */
  readonly launch: LaunchInfo | null;
  readonly isTls: boolean;
}

/** Services that would log an HTTP request as an attack or error. */
const NON_HTTP_PORTS: ReadonlySet<number> = new Set([
  ...[1433, 1521, 2049, 3306, 3389, 5432, 5672, 5900, 6379, 6380, 9042, 11_211, 27_017, 33_060],
]);

/** Below it only 80 is probed if the owner is unknown. */
const MIN_USER_PORT = 1024;
/** Limits the probes on a machine full of services. */
export const MAX_UNKNOWN_PORTS = 32;

type PortOwnership = Pick<ServerPort, "serverName" | "isDeclared" | "launch" | "isTls">;
const UNKNOWN: PortOwnership = { serverName: null, isDeclared: false, launch: null, isTls: false };

interface Context {
  readonly table: ProcessTable;
  readonly listening: readonly ListeningPort[];
  readonly ports: ReadonlySet<number>;
  readonly ownerPids: ReadonlySet<number>;
  readonly inner: readonly InnerServer[];
}

function describeLaunch(
  process: ProcessInfo,
  { inner, listening }: Context,
): Pick<ServerPort, "launch" | "isTls"> {
  const outer = inner.find((one) => one.process === process)?.outer;
  const outerPorts = listening.filter(({ ownerPids }) => outer && ownerPids.includes(outer.pid))
    .map(({ port }) => port);
  return {
    launch: { ...parseLaunch(process), ...(outer === undefined ? {} : { outerPorts }) },
    isTls: parseServerOptions(process)?.isTls === true,
  };
}

/** The API port, unless another port is declared as that. */
function classifyServerPort(
  port: number,
  { dialect, chain }: { readonly dialect: Dialect; readonly chain: readonly ProcessInfo[] },
  context: Context,
): PortOwnership | undefined {
  if (dialect.processes.innerTitle.test(chain[0].commandLine)) return undefined;
  const process = chain.find(showsOptions);
  const declared = process === undefined ? null : parseServerOptions(process)?.port ?? null;
  if (process === undefined || declared === null) return { ...UNKNOWN, serverName: dialect.name };
  if (declared !== port && context.ports.has(declared)) return undefined;
  const launch = describeLaunch(process, context);
  return { serverName: dialect.name, isDeclared: declared === port, ...launch };
}

/** Forwards to a container or another machine. */
function classifyForwarder(forwarder: ProcessInfo, context: Context): PortOwnership {
  const forwarded = parseForwardedPort(forwarder);
  const process = forwarded === null ? null : findContained(forwarded.containerPort, context);
  if (process === null) return UNKNOWN;
  const serverName = findDialectOf(process)?.name ?? null;
  return { serverName, isDeclared: true, ...describeLaunch(process, context) };
}

/** `undefined` if it is not worth a probe. */
function classifyPort(
  { port, ownerPids }: ListeningPort,
  context: Context,
): PortOwnership | undefined {
  for (const pid of ownerPids) {
    const chain = listAncestors(context.table, pid);
    if (chain.length === 0) continue;
    const [{ serverName }] = chain;
    const dialect = findDialect(serverName);
    if (dialect !== null) return classifyServerPort(port, { dialect, chain }, context);
    if (serverName !== null) return { ...UNKNOWN, serverName };
    if (identifyForwarder(chain[0]) !== null) return classifyForwarder(chain[0], context);
  }
  if (ownerPids.some((pid) => context.table.has(pid))) return undefined;
  // The sockets of other users are hidden, their processes are not.
  const inner = context.inner.find((one) => one.port === port);
  return inner === undefined ? UNKNOWN : { ...UNKNOWN, ...describeLaunch(inner.process, context) };
}

function mayBeHttp({ port }: ListeningPort): boolean {
  return (port >= MIN_USER_PORT || port === 80) && !NON_HTTP_PORTS.has(port);
}

/** In rising order. */
export function findServerPorts(
  ports: readonly ListeningPort[],
  table: ProcessTable,
): readonly ServerPort[] {
  const context: Context = {
    table,
    listening: ports,
    inner: listInnerServers(table),
    ports: new Set(ports.map(({ port }) => port)),
    ownerPids: new Set(ports.flatMap(({ ownerPids }) => ownerPids)),
  };
  let unknown = 0;
  return ports.flatMap((port): readonly ServerPort[] => {
    const ownership = classifyPort(port, context);
    if (ownership === undefined) return [];
    if (ownership.serverName === null) {
      if (!mayBeHttp(port) || ++unknown > MAX_UNKNOWN_PORTS) return [];
    }
    return [{ ...port, ...ownership }];
  });
}

export type StartingPort = Pick<ServerPort, "port" | "serverName" | "launch" | "isTls">;

export interface ServerPortListing {
  readonly ports: readonly ServerPort[];
  /** Of servers that run and do not listen yet. */
  readonly starting: readonly StartingPort[];
  /** Safe text with the next step, without a full stop. */
  readonly problems: readonly string[];
}

/** Never rejects. */
export type ServerPortLister = () => Promise<ServerPortListing>;

export function createServerPortLister(listProcesses: ProcessLister): ServerPortLister {
  return async () => {
    const { listening, processes, problems } = await listProcesses();
    return {
      ports: findServerPorts(listening, processes),
      starting: listStartingServers({ listening, processes }).map(([port, process]) => ({
        port,
        serverName: findDialectOf(process)?.name ?? null,
        launch: parseLaunch(process),
        isTls: parseServerOptions(process)?.isTls === true,
      })),
      problems,
    };
  };
}
