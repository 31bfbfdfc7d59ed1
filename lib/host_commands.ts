/**
 * Parses command lines of model servers, and recognises port forwarders. Options have dashes or
 * underscores, and values after a blank or `=`; the last counts. Source: Docker's proxy,
 * cmd/docker-proxy of moby.
 * @module
 */

import { DIALECTS, findDialect } from "./dialect.ts";
import type { Dialect } from "./dialect_model.ts";
import {
  listAncestors,
  type ProcessInfo,
  type ProcessListing,
  type ProcessTable,
} from "./host_processes.ts";
import type { LaunchInfo } from "./model.ts";

/** The dialect of a server's command line; `null` for a mere process title. */
function findServerDialect({ commandLine, serverName }: ProcessInfo): Dialect | null {
  const dialect = findDialect(serverName);
  return dialect === null || dialect.processes.title.test(commandLine) ? null : dialect;
}

export function showsOptions(process: ProcessInfo): boolean {
  return findServerDialect(process) !== null;
}

/** A container of this machine, or another machine. */
type Destination = "container" | "elsewhere";

const FORWARDERS: readonly (readonly [destination: Destination, pattern: RegExp])[] = [
  [
    "container",
    /^(?:\S*\/)?(?:docker-proxy|rootlessport|rootlesskit|slirp4netns|pasta|gvproxy|com\.docker\.backend)(?:\s|:|$)/,
  ],
  ["elsewhere", /^(?:\S*\/)?(?:ssh|kubectl|socat)(?:\s|:|$)/],
];

export function identifyForwarder({ commandLine }: ProcessInfo): Destination | null {
  return FORWARDERS.find(([, pattern]) => pattern.test(commandLine))?.[0] ?? null;
}

/** A long name with dashes, and the words up to the next option. */
interface CommandOption {
  readonly name: string;
  readonly values: readonly string[];
}

const OPTION = /^--?([A-Za-z][\w.-]*)(?:=(.*))?$/s;

/** Accepts `--a 1 2`, `--a=1`, `-tp 1`, `-tp=1`. */
export function listOptions(
  words: readonly string[],
  shortNames?: ReadonlyMap<string, string>,
): readonly CommandOption[] {
  return words.flatMap((word, index): readonly CommandOption[] => {
    const match = OPTION.exec(word);
    if (match === null) return [];
    const [, typed, own] = match;
    const dashed = typed.replaceAll("_", "-");
    const rest = words.slice(index + 1);
    const end = rest.findIndex((next) => OPTION.test(next));
    return [{
      name: shortNames?.get(dashed) ?? dashed,
      values: own === undefined ? rest.slice(0, end < 0 ? rest.length : end) : [own],
    }];
  });
}

function parseNumbers(options: readonly CommandOption[]): ReadonlyMap<string, number> {
  return new Map(
    options.filter(({ values: [value = ""] }) => /^\d{1,6}$/.test(value))
      .map(({ name, values: [value] }) => [name, Number(value)]),
  );
}

interface ServerOptions {
  readonly port: number;
  /** Names it may serve its model under. */
  readonly modelNames: readonly string[];
  readonly isTls: boolean;
  /** It answers requests itself: a node that only works for another opens no port. */
  readonly servesHttp: boolean;
}

/** Applies defaults; `null` if the process is no server. */
export function parseServerOptions(process: ProcessInfo): ServerOptions | null {
  const dialect = findServerDialect(process);
  if (dialect === null) return null;
  const { shortOptions, modelOptions, tlsOptions, headlessOption } = dialect.processes;
  const words = process.arguments;
  const options = listOptions(words, shortOptions);
  const [servedName, ...pathOptions] = modelOptions;
  const valuesOf = (wanted: string): readonly string[] =>
    options.findLast(({ name }) => name === wanted)?.values ?? [];
  const serve = words.indexOf("serve");
  const positional = serve < 0 ? [] : words.slice(serve + 1, serve + 2);
  return {
    port: parseNumbers(options).get("port") ?? dialect.defaultPort,
    modelNames: [
      ...valuesOf(servedName),
      ...pathOptions.flatMap((option) => valuesOf(option).slice(0, 1)),
      ...positional.filter((word) => !OPTION.test(word)),
    ],
    isTls: options.some(({ name }) => tlsOptions.includes(name)),
    servesHttp: !options.some(({ name }) => name === headlessOption),
  };
}

export function parseLaunch(process: ProcessInfo): LaunchInfo {
  const traits = findServerDialect(process)?.processes;
  const numbers = parseNumbers(listOptions(process.arguments, traits?.shortOptions));
  const parallelSizes = new Map([...numbers].filter(([name]) => traits?.sizeOptions.has(name)));
  return { commandLine: process.commandLine, parallelSizes };
}

/** A server that another one has started for one of its models. */
export interface InnerServer {
  readonly process: ProcessInfo;
  readonly outer: ProcessInfo;
  readonly port: number;
}

export function listInnerServers(table: ProcessTable): readonly InnerServer[] {
  return [...table.values()].flatMap((process): readonly InnerServer[] => {
    const { pid, commandLine } = process;
    const kinds = DIALECTS.filter(({ processes }) => processes.inner?.test(commandLine));
    const outer = kinds.length === 0 ? undefined : listAncestors(table, pid).slice(1)
      .find((ancestor) => kinds.some((kind) => kind.processes.command.test(ancestor.commandLine)));
    const port = parseServerOptions(process)?.port;
    return outer === undefined || port === undefined ? [] : [{ process, outer, port }];
  });
}

/** Those of the server that listens on a port. If that is hidden, there must be only one. */
export function listInnerServersOf(
  port: number,
  { listening, processes }: Pick<ProcessListing, "listening" | "processes">,
): readonly InnerServer[] {
  const inner = listInnerServers(processes);
  const owners = listening.find((one) => one.port === port)?.ownerPids ?? [];
  const isOnly = new Set(inner.map(({ outer }) => outer.pid)).size === 1;
  return inner.filter(({ outer }) => owners.length === 0 ? isOnly : owners.includes(outer.pid));
}

/** Of the server that listens on a port; `null` if that is hidden, or only forwards. */
export function findCommandLineOf(
  port: number,
  { listening, processes }: Pick<ProcessListing, "listening" | "processes">,
): string | null {
  const pids = listening.find((one) => one.port === port)?.ownerPids ?? [];
  const owners = pids.flatMap((pid) => processes.get(pid) ?? []);
  return owners.find(({ serverName }) => serverName !== null)?.commandLine ?? null;
}

interface ForwardedPort {
  readonly hostPort: number;
  readonly containerPort: number;
}

/** Docker's proxy states both ports; others give `null`. */
export function parseForwardedPort(process: ProcessInfo): ForwardedPort | null {
  if (identifyForwarder(process) !== "container") return null;
  const numbers = parseNumbers(listOptions(process.arguments));
  const hostPort = numbers.get("host-port");
  const containerPort = numbers.get("container-port");
  return hostPort === undefined || containerPort === undefined ? null : { hostPort, containerPort };
}
