/**
 * Processes and their ports into the model servers among them.
 *
 * Layer 1, pure. A port is worth asking where its owner is vLLM's API server by
 * its command line or by the title that it gives itself; where the owner only
 * passes connections on, as Docker's proxy and `ssh` do; and where the owner may
 * not be seen, since containers and other users' servers look so. Engines and
 * workers listen, too, for each other: nobody is to send them HTTP. The command
 * line says how vLLM was started; it may be an ancestor's. Command lines are
 * masked and safe, as `process_table` gives them. Sources: the servers'
 * documentation and code, read 2026-11; vLLM's titles:
 * vllm/utils/system_utils.py, 0.11 to 0.32.
 *
 * @module
 */

import type { ListeningPort } from "./listening_ports.ts";
import type { LaunchInfo } from "./model.ts";
import type { ProcessInfo } from "./process_table.ts";

/** Processes by their ids. */
export type ProcessTable = ReadonlyMap<number, ProcessInfo>;

/** A port that is a model server's, or may be. */
export interface ServerPort extends ListeningPort {
  /** `vLLM` or another server's name; `null` where only asking can tell. */
  readonly serverName: string | null;
  /** Whether its command line names this very port, as the server's own. */
  readonly isDeclared: boolean;
  /** How vLLM was started; `null` where it is none, or its command line is not known. */
  readonly launch: LaunchInfo | null;
}

/** The name by which vLLM goes here. */
export const VLLM = "vLLM";

/** Servers by what stands in their command lines, words with a blank between them; the first that fits counts. */
const SERVER_ROWS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ["vLLM production-stack router", /(?:^|[\s/])vllm_router[./]|(?:^|[\s/])vllm-router(?:\s|$)/],
  ["SGLang router", /sglang_router\.launch_(?:router|server)|(?:^|[\s/])sglang-router(?:\s|$)/],
  [VLLM, /^VLLM::|(?:^|[\s/])vllm serve(?:\s|$)|\bvllm\.entrypoints\.(?:openai\.)?api_server\b/],
  [VLLM, /(?:^|[\s/])vllm\/entrypoints\/(?:openai\/)?api_server\.py(?:\s|$)/],
  ["SGLang", /^sglang::|\bsglang\.launch_server\b|(?:^|[\s/])sglang serve(?:\s|$)/],
  ["Text Generation Inference", /(?:^|[\s/])text-generation-(?:launcher|router|server)(?:\s|$)/],
  ["Text Embeddings Inference", /(?:^|[\s/])text-embeddings-router(?:\s|$)/],
  ["llama.cpp", /(?:^|[\s/])llama-server(?:\s|$)|\bllama_cpp\.server\b/],
  ["Ollama", /(?:^|[\s/])ollama (?:serve|runner)(?:\s|$)/],
  ["LMDeploy", /(?:^|[\s/])lmdeploy serve\b|\blmdeploy\.serve\.openai\.api_server\b/],
  ["TensorRT-LLM", /(?:^|[\s/])trtllm-serve(?:\s|$)/],
  ["Triton Inference Server", /(?:^|[\s/])tritonserver(?:\s|$)/],
  ["LiteLLM", /(?:^|[\s/])litellm(?:\s|$)/],
  ["Aphrodite", /(?:^|[\s/])aphrodite (?:run|serve)(?:\s|$)|\baphrodite\.endpoints\.openai\b/],
  ["Xinference", /(?:^|[\s/])xinference(?:-local|-supervisor|-worker)(?:\s|$)/],
];

/** Titles of vLLM's processes that speak no HTTP. */
const ENGINE_TITLE = /^VLLM::(?!APIServer)/i;

/** Programs that pass connections on to a server elsewhere: containers' ports, tunnels. */
const FORWARDER =
  /^(?:\S*\/)?(?:docker-proxy|rootlessport|rootlesskit|slirp4netns|pasta|gvproxy|com\.docker\.backend|ssh|kubectl|socat)(?:\s|:|$)/;

/** How Docker's proxy says where it leads. */
const CONTAINER_PORT = /\s-container-port\s+(\d+)(?:\s|$)/;

/** Processes above an owner that are looked at: workers, their server, its shell. */
const MAX_ANCESTORS = 8;

/** The port of `vllm serve` where none is given. */
const VLLM_PORT = 8000;

/** Well-known ports of other things, which would log or count an HTTP request as an attack or an error. */
const NEVER_HTTP: ReadonlySet<number> = new Set([
  ...[1433, 1521, 2049, 3306, 3389, 5432, 5672, 5900, 6379, 6380, 9042, 11_211, 27_017, 33_060],
]);

/** Below it only 80 is worth asking where the owner is not known. */
const FIRST_USER_PORT = 1024;

/** Ports of unknown owners that are worth asking, at most: a machine full of services is not to be swept. */
export const MAX_UNKNOWN_PORTS = 32;

/** A process and those above it, itself first. */
function listAncestors(pid: number, table: ProcessTable): readonly ProcessInfo[] {
  const chain: ProcessInfo[] = [];
  for (
    let process = table.get(pid);
    process !== undefined && chain.length < MAX_ANCESTORS && !chain.includes(process);
    process = table.get(process.parentPid)
  ) {
    chain.push(process);
  }
  return chain;
}

/** The model server that a command line starts, or `null`. */
export function identifyCommand(commandLine: string): string | null {
  return SERVER_ROWS.find(([, pattern]) => pattern.test(commandLine))?.[0] ?? null;
}

/** Options of vLLM that say how many of something there are, and their short names. */
const PARALLEL_OPTIONS: ReadonlyMap<string, string> = new Map([
  ["tp", "tensor-parallel-size"],
  ["pp", "pipeline-parallel-size"],
  ["dp", "data-parallel-size"],
  ["dpl", "data-parallel-size-local"],
  ["dcp", "decode-context-parallel-size"],
  ["pcp", "prefill-context-parallel-size"],
]);
const PARALLEL_NAMES: ReadonlySet<string> = new Set([
  ...PARALLEL_OPTIONS.values(),
  "api-server-count",
  "nnodes",
]);

/** Options as words have them: `--a 1`, `--a=1`, `-tp 1`, `-tp=1`; later ones win. */
function readNumbers(words: readonly string[]): ReadonlyMap<string, number> {
  const numbers = new Map<string, number>();
  words.forEach((word, index) => {
    const match = /^--?([A-Za-z][\w-]*)(?:=(.*))?$/.exec(word);
    if (match === null) return;
    const [, typed, own = words[index + 1]] = match;
    if (!/^\d{1,6}$/.test(own ?? "")) return;
    const name = typed.replaceAll("_", "-");
    numbers.set(PARALLEL_OPTIONS.get(name) ?? name, Number(own));
  });
  return numbers;
}

/**
 * What vLLM's command line says of its launch.
 *
 * @example
 * ```ts
 * import { readProcessTable } from "./process_table.ts";
 * import { readLaunch } from "./server_processes.ts";
 * const process = readProcessTable("7 1 7 01:05 vllm serve m -tp 2").get(7);
 * if (process) readLaunch(process).parallelSizes; // tensor-parallel-size: 2
 * ```
 */
export function readLaunch(process: ProcessInfo): LaunchInfo {
  const numbers = readNumbers(process.arguments);
  const parallelSizes = new Map([...numbers].filter(([name]) => PARALLEL_NAMES.has(name)));
  return { commandLine: process.commandLine, parallelSizes };
}

/** Whether a process shows vLLM's options, and not only the title that it has given itself. */
function showsOptions({ commandLine }: ProcessInfo): boolean {
  return identifyCommand(commandLine) === VLLM && !commandLine.startsWith("VLLM::");
}

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
    return (readNumbers(process.arguments).get("port") ?? VLLM_PORT) === containerPort;
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
  const declared = readNumbers(process.arguments).get("port") ?? VLLM_PORT;
  if (declared !== port && ports.has(declared)) return undefined;
  return { serverName: VLLM, isDeclared: declared === port, launch: readLaunch(process) };
}

/** A port whose connections are passed on, to a container or another machine. */
function judgeForwarder({ commandLine }: ProcessInfo, context: Context): Judgement {
  const containerPort = Number(CONTAINER_PORT.exec(commandLine)?.[1]);
  const process = containerPort > 0 ? findContained(containerPort, context) : null;
  return { ...UNKNOWN, launch: process === null ? null : readLaunch(process) };
}

/** What a port is by its owners; `undefined` where it is nothing to ask. */
function judgePort({ port, ownerPids }: ListeningPort, context: Context): Judgement | undefined {
  for (const pid of ownerPids) {
    const chain = listAncestors(pid, context.table);
    if (chain.length === 0) continue;
    const serverName = identifyCommand(chain[0].commandLine);
    if (serverName === VLLM) return judgeVllm(port, chain, context);
    if (serverName !== null) return { ...UNKNOWN, serverName };
    if (FORWARDER.test(chain[0].commandLine)) return judgeForwarder(chain[0], context);
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
