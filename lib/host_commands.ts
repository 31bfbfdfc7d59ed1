/**
 * Command lines into the model servers that they start, and what those are told.
 *
 * The one place that knows servers by their command lines, and
 * how vLLM's are read: names of options with dashes or underscores, values after
 * a blank or an equals sign, the last of several. Programs that only pass
 * connections on are told apart from servers here, too. Which ports and which
 * GPUs follow from it is the matter of `discovery_scan` and `gpu_attribution`.
 * Sources: the servers' documentation and code, read 2026-11; Docker's proxy:
 * cmd/docker-proxy of moby.
 *
 * @module
 */

import { DEFAULT_PORT } from "./endpoint.ts";
import type { ProcessInfo } from "./host_processes.ts";
import type { LaunchInfo } from "./model.ts";

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

/** The model server that a command line starts, or `null`. */
export function identifyCommand(commandLine: string): string | null {
  return SERVER_ROWS.find(([, pattern]) => pattern.test(commandLine))?.[0] ?? null;
}

/** Whether a process shows vLLM's options, and not only the title that it has given itself. */
export function showsOptions({ commandLine }: ProcessInfo): boolean {
  return identifyCommand(commandLine) === VLLM && !commandLine.startsWith("VLLM::");
}

/** Where connections are passed on to: into a container of this machine, or to another one. */
type Destination = "container" | "elsewhere";

/** Programs that pass connections on, and where to. */
const FORWARDERS: readonly (readonly [destination: Destination, pattern: RegExp])[] = [
  [
    "container",
    /^(?:\S*\/)?(?:docker-proxy|rootlessport|rootlesskit|slirp4netns|pasta|gvproxy|com\.docker\.backend)(?:\s|:|$)/,
  ],
  ["elsewhere", /^(?:\S*\/)?(?:ssh|kubectl|socat)(?:\s|:|$)/],
];

/** Where a program passes connections on to; `null` where it is none of that kind. */
export function identifyForwarder({ commandLine }: ProcessInfo): Destination | null {
  return FORWARDERS.find(([, pattern]) => pattern.test(commandLine))?.[0] ?? null;
}

/** An option by its long name with dashes, and the words up to the next one. */
interface CommandOption {
  readonly name: string;
  readonly values: readonly string[];
}

/** Short names of vLLM's options, and the long ones. */
const SHORT_NAMES: ReadonlyMap<string, string> = new Map([
  ["tp", "tensor-parallel-size"],
  ["pp", "pipeline-parallel-size"],
  ["dp", "data-parallel-size"],
  ["dpl", "data-parallel-size-local"],
  ["dcp", "decode-context-parallel-size"],
  ["pcp", "prefill-context-parallel-size"],
]);

const OPTION = /^--?([A-Za-z][\w.-]*)(?:=(.*))?$/s;

/** The options as words have them: `--a 1 2`, `--a=1`, `-tp 1`, `-tp=1`. */
function listOptions(words: readonly string[]): readonly CommandOption[] {
  return words.flatMap((word, index): readonly CommandOption[] => {
    const match = OPTION.exec(word);
    if (match === null) return [];
    const [, typed, own] = match;
    const dashed = typed.replaceAll("_", "-");
    const rest = words.slice(index + 1);
    const end = rest.findIndex((next) => OPTION.test(next));
    return [{
      name: SHORT_NAMES.get(dashed) ?? dashed,
      values: own === undefined ? rest.slice(0, end < 0 ? rest.length : end) : [own],
    }];
  });
}

/** Options whose value is a whole number. */
function parseNumbers(options: readonly CommandOption[]): ReadonlyMap<string, number> {
  return new Map(
    options.filter(({ values: [value = ""] }) => /^\d{1,6}$/.test(value))
      .map(({ name, values: [value] }) => [name, Number(value)]),
  );
}

/** What vLLM's command line says of where it listens and what it serves. */
interface ServerOptions {
  readonly port: number;
  /** The names under which it may serve its model. */
  readonly modelNames: readonly string[];
}

/**
 * What vLLM is told, or does where it is told nothing.
 */
export function parseServerOptions({ arguments: words }: ProcessInfo): ServerOptions {
  const options = listOptions(words);
  const valuesOf = (wanted: string): readonly string[] =>
    options.findLast(({ name }) => name === wanted)?.values ?? [];
  const serve = words.indexOf("serve");
  const positional = serve < 0 ? [] : words.slice(serve + 1, serve + 2);
  return {
    port: parseNumbers(options).get("port") ?? DEFAULT_PORT,
    modelNames: [
      ...valuesOf("served-model-name"),
      ...valuesOf("model").slice(0, 1),
      ...positional.filter((word) => !OPTION.test(word)),
    ],
  };
}

/** Options of vLLM that say how many of something there are. */
const PARALLEL_NAMES: ReadonlySet<string> = new Set([
  ...SHORT_NAMES.values(),
  "api-server-count",
  "nnodes",
]);

/**
 * What vLLM's command line says of its launch.
 */
export function parseLaunch(process: ProcessInfo): LaunchInfo {
  const numbers = parseNumbers(listOptions(process.arguments));
  const parallelSizes = new Map([...numbers].filter(([name]) => PARALLEL_NAMES.has(name)));
  return { commandLine: process.commandLine, parallelSizes };
}

/** A port of this machine that leads to one inside of a container. */
interface ForwardedPort {
  readonly hostPort: number;
  readonly containerPort: number;
}

/** Which port a forwarder passes on; `null` where its command line does not say. Docker's proxy does. */
export function parseForwardedPort(process: ProcessInfo): ForwardedPort | null {
  if (identifyForwarder(process) !== "container") return null;
  const numbers = parseNumbers(listOptions(process.arguments));
  const hostPort = numbers.get("host-port");
  const containerPort = numbers.get("container-port");
  return hostPort === undefined || containerPort === undefined ? null : { hostPort, containerPort };
}
