/**
 * What `ss` or `lsof` prints into the TCP ports that are listened on, and who
 * owns them.
 *
 * Layer 1, pure. `ss -Hltnp` (iproute2, Linux) has one line a socket, with the
 * owners that the caller may see at its end; `lsof -F` (macOS, and where there
 * is no `ss`) has one field a line, processes before their files, and only
 * processes that the caller may see. Nothing of a process but its id is taken
 * from either: names are cut short there, and come from `process_table`. Lines
 * that cannot be read are passed over. Sources: ss(8) and lsof(8), "OUTPUT FOR
 * OTHER PROGRAMS", and both tried.
 *
 * @module
 */

/** What `ss` is called with: no heading, listening, TCP, numbers, processes. */
export const SS_ARGUMENTS: readonly string[] = ["-Hltnp"];

/** What `lsof` is called with: numbers, listening TCP sockets, process and name fields. */
export const LSOF_ARGUMENTS: readonly string[] = ["-nP", "-iTCP", "-sTCP:LISTEN", "-Fpn"];

/** A port that is listened on. */
export interface ListeningPort {
  readonly port: number;
  /** Addresses that it is bound to; `*`, `0.0.0.0` and `::` stand for all of this machine. */
  readonly addresses: readonly string[];
  /** Processes that hold it, as far as they may be seen. */
  readonly ownerPids: readonly number[];
}

/** Ports that are kept: a machine with more is no host of a few model servers. */
const MAX_PORTS = 4096;

/** `0.0.0.0:80`, `*:80`, `[::1]:80`, `127.0.0.53%lo:53`. */
const SOCKET_ADDRESS = /^(?:\[([^\]]*)\]|([^\s]*)):(\d{1,5})$/;

/** Collects sockets of the same port. */
function createCollector(): {
  readonly add: (name: string, pids: readonly number[]) => void;
  readonly list: () => readonly ListeningPort[];
} {
  const ports = new Map<number, { addresses: Set<string>; ownerPids: Set<number> }>();
  const add = (name: string, pids: readonly number[]): void => {
    const match = SOCKET_ADDRESS.exec(name);
    const port = Number(match?.[3]);
    if (match === null || !(port >= 1 && port <= 65_535)) return;
    if (!ports.has(port) && ports.size >= MAX_PORTS) return;
    const known = ports.get(port) ?? { addresses: new Set(), ownerPids: new Set() };
    ports.set(port, known);
    known.addresses.add((match[1] ?? match[2]).replace(/%.*$/, ""));
    for (const pid of pids) known.ownerPids.add(pid);
  };
  const list = (): readonly ListeningPort[] =>
    [...ports].sort(([a], [b]) => a - b).map(([port, { addresses, ownerPids }]) => ({
      port,
      addresses: [...addresses],
      ownerPids: [...ownerPids],
    }));
  return { add, list };
}

/**
 * The ports in `ss`'s output, in rising order.
 *
 * @example
 * ```ts
 * import { readSsPorts } from "./listening_ports.ts";
 * readSsPorts('LISTEN 0 5 0.0.0.0:80 0.0.0.0:* users:(("vllm",pid=7,fd=3))')[0].ownerPids; // [7]
 * ```
 */
export function readSsPorts(text: string): readonly ListeningPort[] {
  const collector = createCollector();
  for (const line of text.split("\n")) {
    const [state, , , local] = line.trim().split(/\s+/);
    if (state !== "LISTEN" || local === undefined) continue;
    collector.add(local, [...line.matchAll(/\bpid=(\d+)/g)].map(([, pid]) => Number(pid)));
  }
  return collector.list();
}

/** The ports in `lsof`'s output, in rising order. */
export function readLsofPorts(text: string): readonly ListeningPort[] {
  const collector = createCollector();
  let pid: number | null = null;
  for (const line of text.split("\n")) {
    const value = line.slice(1).trimEnd();
    if (line[0] === "p") pid = Number(value);
    else if (line[0] === "n" && pid !== null && Number.isSafeInteger(pid)) {
      collector.add(value, [pid]);
    }
  }
  return collector.list();
}

/** Addresses that `localhost` leads to: those of this machine's loopback, and all of its own. */
const LOCALHOST_ADDRESSES: ReadonlySet<string> = new Set([
  "*",
  "0.0.0.0",
  "127.0.0.1",
  "::ffff:127.0.0.1",
  "::",
  "::1",
]);

/** The host by which a port of this machine is reached, as it stands in a URL. */
export function readLocalHost({ addresses }: ListeningPort): string {
  if (addresses.some((address) => LOCALHOST_ADDRESSES.has(address))) return "localhost";
  const [address] = addresses;
  return address.includes(":") ? `[${address}]` : address;
}
