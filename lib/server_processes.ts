/**
 * Processes and their ports into the model servers among them.
 *
 * Layer 1, pure. A port is worth asking where its owner is vLLM's API server by
 * its command line or by the title that it gives itself; where the owner only
 * passes connections on, as Docker's proxy and `ssh` do; and where the owner may
 * not be seen, since containers and other users' servers look so. Engines and
 * workers listen, too, for each other: nobody is to send them HTTP. The command
 * line says how vLLM was started; it may be an ancestor's. Command lines are
 * masked and safe, as `process_table` gives them, and read by `server_commands`.
 * Source of vLLM's titles: vllm/utils/system_utils.py, 0.11 to 0.32.
 *
 * @module
 */

import type { ListeningPort } from "./listening_ports.ts";
import type { LaunchInfo } from "./model.ts";
import { listAncestors, type ProcessInfo, type ProcessTable } from "./process_table.ts";
import {
  identifyCommand,
  identifyForwarder,
  readForwardedPort,
  readLaunch,
  readServerOptions,
  showsOptions,
  VLLM,
} from "./server_commands.ts";

/** A port that is a model server's, or may be. */
export interface ServerPort extends ListeningPort {
  /** `vLLM` or another server's name; `null` where only asking can tell. */
  readonly serverName: string | null;
  /** Whether its command line names this very port, as the server's own. */
  readonly isDeclared: boolean;
  /** How vLLM was started; `null` where it is none, or its command line is not known. */
  readonly launch: LaunchInfo | null;
}

/** Titles of vLLM's processes that speak no HTTP. */
const ENGINE_TITLE = /^VLLM::(?!APIServer)/i;

/** Well-known ports of other things, which would log or count an HTTP request as an attack or an error. */
const NEVER_HTTP: ReadonlySet<number> = new Set([
  ...[1433, 1521, 2049, 3306, 3389, 5432, 5672, 5900, 6379, 6380, 9042, 11_211, 27_017, 33_060],
]);

/** Below it only 80 is worth asking where the owner is not known. */
const FIRST_USER_PORT = 1024;

/** Ports of unknown owners that are worth asking, at most: a machine full of services is not to be swept. */
export const MAX_UNKNOWN_PORTS = 32;

/** The vLLM in a container to which a proxy leads: the one that listens on that port there, if it is the only one. */
function findContained(
  containerPort: number,
  context: Pick<Context, "table" | "ownerPids">,
): ProcessInfo | null {
  const found = [...context.table.values()].filter((process) => {
    if (!showsOptions(process) || context.ownerPids.has(process.pid)) return false;
    // Of a server and its children that have kept its command line, the server.
    const parent = context.table.get(process.parentPid);
    if (parent !== undefined && showsOptions(parent)) return false;
    return readServerOptions(process).port === containerPort;
  });
  return found.length === 1 ? found[0] : null;
}

/** What is known of a port besides its number and owners. */
type Judgement = Pick<ServerPort, "serverName" | "isDeclared" | "launch">;

const UNKNOWN: Judgement = { serverName: null, isDeclared: false, launch: null };

/** What all ports are judged by. */
interface Context {
  readonly table: ProcessTable;
  readonly ports: ReadonlySet<number>;
  readonly ownerPids: ReadonlySet<number>;
}

/** A port of vLLM: its API, unless another one is declared as that. */
function judgeVllm(
  port: number,
  chain: readonly ProcessInfo[],
  { ports }: Context,
): Judgement | undefined {
  if (ENGINE_TITLE.test(chain[0].commandLine)) return undefined;
  const process = chain.find(showsOptions);
  if (process === undefined) return { serverName: VLLM, isDeclared: false, launch: null };
  const declared = readServerOptions(process).port;
  if (declared !== port && ports.has(declared)) return undefined;
  return { serverName: VLLM, isDeclared: declared === port, launch: readLaunch(process) };
}

/** A port whose connections are passed on, to a container or another machine. */
function judgeForwarder(forwarder: ProcessInfo, context: Context): Judgement {
  const forwarded = readForwardedPort(forwarder);
  const process = forwarded === null ? null : findContained(forwarded.containerPort, context);
  return { ...UNKNOWN, launch: process === null ? null : readLaunch(process) };
}

/** What a port is by its owners; `undefined` where it is nothing to ask. */
function judgePort({ port, ownerPids }: ListeningPort, context: Context): Judgement | undefined {
  for (const pid of ownerPids) {
    const chain = listAncestors(context.table, pid);
    if (chain.length === 0) continue;
    const serverName = identifyCommand(chain[0].commandLine);
    if (serverName === VLLM) return judgeVllm(port, chain, context);
    if (serverName !== null) return { ...UNKNOWN, serverName };
    if (identifyForwarder(chain[0]) !== null) return judgeForwarder(chain[0], context);
  }
  return ownerPids.every((pid) => !context.table.has(pid)) ? UNKNOWN : undefined;
}

function mayBeHttp({ port }: ListeningPort): boolean {
  return (port >= FIRST_USER_PORT || port === 80) && !NEVER_HTTP.has(port);
}

/** The ports that are model servers', or may be, in rising order. */
export function findServerPorts(
  ports: readonly ListeningPort[],
  table: ProcessTable,
): readonly ServerPort[] {
  const context: Context = {
    table,
    ports: new Set(ports.map(({ port }) => port)),
    ownerPids: new Set(ports.flatMap(({ ownerPids }) => ownerPids)),
  };
  let unknown = 0;
  return ports.flatMap((port): readonly ServerPort[] => {
    const judged = judgePort(port, context);
    if (judged === undefined) return [];
    if (judged.serverName === null) {
      if (!mayBeHttp(port) || ++unknown > MAX_UNKNOWN_PORTS) return [];
    }
    return [{ ...port, ...judged }];
  });
}
