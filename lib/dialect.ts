/**
 * The supported servers, and others that may answer. Recognised by metric names, `owned_by` of
 * models, command lines and process titles. Sources: the servers' documentation and code, read
 * 2026-11.
 * @module
 */

import { DYNAMO } from "./dialect_dynamo.ts";
import type { Dialect, ProcessRanks, ProcessRole } from "./dialect_model.ts";
import { LITELLM } from "./dialect_litellm.ts";
import { LLAMACPP } from "./dialect_llamacpp.ts";
import { LMDEPLOY } from "./dialect_lmdeploy.ts";
import { OLLAMA } from "./dialect_ollama.ts";
import { OPENAI } from "./dialect_openai.ts";
import { ROUTERS } from "./dialect_router.ts";
import { SGLANG } from "./dialect_sglang.ts";
import { TGI } from "./dialect_tgi.ts";
import { TRITON } from "./dialect_triton.ts";
import { TRTLLM } from "./dialect_trtllm.ts";
import { VLLM } from "./dialect_vllm.ts";

/** `--metric-prefix` and typed addresses refer to the first. */
export const DIALECTS: readonly Dialect[] = [
  VLLM,
  SGLANG,
  LLAMACPP,
  OLLAMA,
  TGI,
  LMDEPLOY,
  TRTLLM,
  TRITON,
  DYNAMO,
  LITELLM,
  ...ROUTERS,
  OPENAI,
];
export const DIALECT_NAMES: string = DIALECTS.map(({ name }) => name).join(", ");

export function findDialect(name: string | null | undefined): Dialect | null {
  return DIALECTS.find((dialect) => dialect.name === name) ?? null;
}

/** Decides what to advise. */
export type ServerRole = "engine" | "router" | "exporter";
/** The first match counts: exporters may pass on other metrics. */
type ServerRow = readonly [ServerRole, name: string, prefixes: readonly string[]];

const SERVER_ROWS: readonly ServerRow[] = [
  ["router", "llm-d inference scheduler", [
    "llm_d_",
    "inference_extension_",
    "inference_pool_",
    "inference_objective_",
    "inference_model_",
  ]],
  ["router", "NVIDIA Dynamo", ["dynamo_"]],
  ["router", "AIBrix gateway", ["aibrix_", "aibrix:"]],
  ["router", "kthena router", ["kthena_"]],
  ["router", "Envoy AI Gateway", ["gen_ai_"]],
  ["router", "Kong", ["kong_"]],
  ["router", "Envoy", ["envoy_", "istio_"]],
  ["router", "Traefik", ["traefik_"]],
  ["router", "HAProxy", ["haproxy_"]],
  ["router", "nginx", ["nginx_"]],
  ["router", "Caddy", ["caddy_"]],
  ["engine", "SGLang", ["sglang_"]],
  ["engine", "Text Embeddings Inference", ["te_request_", "te_queue_", "te_embed_"]],
  ["engine", "Aphrodite", ["aphrodite:", "aphrodite_"]],
  ["engine", "Xinference", ["xinference:", "xinference_"]],
  ["engine", "Triton Inference Server", ["nv_inference_", "nv_gpu_", "nv_cpu_"]],
  // vLLM's names without a prefix.
  ["engine", "NVIDIA NIM", ["num_requests_running", "gpu_cache_usage_perc", "nim_"]],
  ["router", "Ray", ["ray_"]],
  ["exporter", "NVIDIA DCGM exporter", ["DCGM_"]],
  ["exporter", "NVIDIA GPU exporter", ["nvidia_smi_", "nvidia_gpu_"]],
  ["exporter", "AMD device metrics exporter", ["amd_gpu_", "gpu_gfx_activity"]],
  ["exporter", "Prometheus node_exporter", ["node_"]],
  ["exporter", "Kubernetes kubelet or cAdvisor", ["container_", "kubelet_"]],
  ["exporter", "kube-state-metrics", ["kube_"]],
  ["exporter", "Prometheus", ["prometheus_"]],
  ["exporter", "VictoriaMetrics", ["vm_"]],
  ["exporter", "Grafana", ["grafana_"]],
  ["exporter", "OpenTelemetry Collector", ["otelcol_"]],
  ["exporter", "JupyterHub", ["jupyterhub_"]],
];

/** Identifies an unsupported server. */
export function identifyServer(
  familyNames: Iterable<string>,
): { readonly role: ServerRole; readonly name: string } | null {
  const names = [...familyNames];
  for (const [role, name, prefixes] of SERVER_ROWS) {
    if (names.some((family) => prefixes.some((prefix) => family.startsWith(prefix)))) {
      return { role, name };
    }
  }
  return null;
}

/** Servers without a dialect: named, and not watched. */
interface OtherServer {
  readonly name: string;
  readonly command?: RegExp;
  /** `owned_by` of its models. */
  readonly owner?: string;
  /** Its default port. */
  readonly port?: number;
}

const OTHER_SERVERS: readonly OtherServer[] = [
  {
    name: "Text Embeddings Inference",
    command: /(?:^|[\s/])text-embeddings-router(?:\s|$)/,
  },
  { name: "llama-cpp-python", command: /\bllama_cpp\.server\b/ },
  { name: "llamafile", command: /(?:^|[\s/])[\w.-]*llamafile(?:\s|$)/ },
  { name: "llama-swap", command: /(?:^|[\s/])llama-swap(?:\s|$)/ },
  {
    name: "LM Studio",
    command: /(?:^|\/)(?:lm[- ]studio|LM[- ]Studio[\w.-]*\.AppImage|llmster)(?:\s|$)/i,
    owner: "organization_owner",
    port: 1234,
  },
  { name: "mlx_lm", command: /\bmlx_(?:lm|vlm)[. ]server\b/ },
  { name: "vllm-mlx", command: /(?:^|[\s/])vllm-mlx(?:\s|$)/ },
  { name: "oMLX", command: /(?:^|[\s/])omlx serve(?:\s|$)/ },
  {
    name: "KoboldCpp",
    command: /(?:^|[\s/])koboldcpp[\w.-]*(?:\s|$)/,
    owner: "koboldcpp",
    port: 5001,
  },
  {
    name: "TabbyAPI",
    command: /(?:^|[\s/])tabbyAPI\/(?:main|start)\.py(?:\s|$)/i,
    owner: "tabbyAPI",
    port: 5000,
  },
  { name: "LocalAI", command: /(?:^|[\s/])local-ai(?:\s|$)/ },
  { name: "Lemonade", command: /(?:^|[\s/])lemonade-(?:server|router)[\w-]*(?:\s|$)/ },
  { name: "KTransformers", command: /(?:^|[\s/])ktransformers(?:\s|$)/ },
  { name: "FastDeploy", command: /\bfastdeploy\.entrypoints\.openai\.api_server\b/ },
  { name: "GPUStack", command: /(?:^|[\s/])gpustack start(?:\s|$)/ },
  {
    name: "Aphrodite",
    command: /(?:^|[\s/])aphrodite (?:run|serve)(?:\s|$)|\baphrodite\.endpoints\.openai\b/,
    owner: "aphrodite",
    port: 2242,
  },
  {
    name: "Xinference",
    command: /(?:^|[\s/])xinference(?:-local|-supervisor|-worker)(?:\s|$)/,
    port: 9997,
  },
];

/** Default ports, for hosts whose processes are unknown. */
export const USUAL_PORTS: readonly number[] = [
  ...new Set([
    ...DIALECTS.map(({ defaultPort }) => defaultPort),
    ...OTHER_SERVERS.flatMap(({ port }) => port ?? []),
  ]),
];

export function identifyOwner(owners: Iterable<string>): string | null {
  for (const owner of owners) {
    // Look-alikes share an owner that needs proofs.
    const dialect = DIALECTS.find((one) => one.modelOwner === owner && one.proofs === undefined);
    const name = dialect?.name ?? OTHER_SERVERS.find((one) => one.owner === owner)?.name;
    if (name !== undefined) return name;
  }
  return null;
}

/** Recognises a server without engine metrics, and the option that turned them off. */
export function findDisabledServer(
  familyNames: ReadonlySet<string>,
): { readonly name: string; readonly option: string } | null {
  for (const { name, findDisablingOption } of DIALECTS) {
    const option = findDisablingOption?.(familyNames) ?? null;
    if (option !== null) return { name, option };
  }
  return null;
}

const COMMANDS: readonly (readonly [name: string, pattern: RegExp])[] = [
  // Routers first: they carry the names of their engines.
  ...DIALECTS.toSorted((a, b) => Number(b.isRouter ?? false) - Number(a.isRouter ?? false))
    .map(({ name, processes }) => [name, processes.command] as const),
  ...OTHER_SERVERS.flatMap(({ name, command }) => command ? [[name, command] as const] : []),
];

/** Words of `commandLine` are separated by one blank. */
export function identifyCommand(commandLine: string): string | null {
  return COMMANDS.find(([, pattern]) => pattern.test(commandLine))?.[0] ?? null;
}

/** @param image Without registry and tag. */
export function identifyImage(image: string): string | null {
  return DIALECTS.find(({ processes }) => processes.image?.test(image))?.name ?? null;
}

export function parseRanks(title: string): ProcessRanks {
  return Object.assign({}, ...DIALECTS.map(({ processes }) => processes.parseRanks(title)));
}

/** `null` unless it is the title of a server's process. */
export function findRoleByTitle(title: string): ProcessRole | null {
  for (const { processes: { title: pattern, roles } } of DIALECTS) {
    if (pattern.test(title)) return roles.find(([role]) => role.test(title))?.[1] ?? "other";
  }
  return null;
}
