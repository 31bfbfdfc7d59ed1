/**
 * The supported servers, and others that may answer. Recognised by metric names, `owned_by` of
 * models, command lines and process titles. Sources: the servers' documentation and code, read
 * 2026-11.
 * @module
 */

import type { Dialect, ProcessRanks, ProcessRole } from "./dialect_model.ts";
import { LLAMACPP } from "./dialect_llamacpp.ts";
import { LMDEPLOY } from "./dialect_lmdeploy.ts";
import { OLLAMA } from "./dialect_ollama.ts";
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
  // In full, as it uses vLLM's prefix.
  ["router", "vLLM production-stack router", [
    "vllm:healthy_pods_total",
    "vllm:current_qps",
    "vllm:num_incoming_requests",
  ]],
  ["router", "vLLM router", ["vllm_router_"]],
  ["router", "LiteLLM", ["litellm_"]],
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
  ["router", "SGLang router", ["sgl_router_", "smg_"]],
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

/** By `owned_by` of models. */
const OWNERS: ReadonlyMap<string, string> = new Map([
  ["organization_owner", "LM Studio"],
  ["tabbyAPI", "TabbyAPI"],
  ["aphrodite", "Aphrodite"],
]);

export function identifyOwner(owners: Iterable<string>): string | null {
  for (const owner of owners) {
    // Look-alikes share an owner that needs proofs.
    const dialect = DIALECTS.find((one) => one.modelOwner === owner && one.proofs === undefined);
    const name = dialect?.name ?? OWNERS.get(owner);
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

/** Before dialects, as they carry their names. */
const ROUTER_COMMANDS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ["vLLM production-stack router", /(?:^|[\s/])vllm_router[./]|(?:^|[\s/])vllm-router(?:\s|$)/],
  ["SGLang router", /sglang_router\.launch_(?:router|server)|(?:^|[\s/])sglang-router(?:\s|$)/],
];
const OTHER_COMMANDS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ["Text Embeddings Inference", /(?:^|[\s/])text-embeddings-router(?:\s|$)/],
  ["llama-cpp-python", /\bllama_cpp\.server\b/],
  ["Ollama runner", /(?:^|[\s/])ollama runner(?:\s|$)/],
  ["TensorRT-LLM", /(?:^|[\s/])trtllm-serve(?:\s|$)/],
  ["LiteLLM", /(?:^|[\s/])litellm(?:\s|$)/],
  ["Aphrodite", /(?:^|[\s/])aphrodite (?:run|serve)(?:\s|$)|\baphrodite\.endpoints\.openai\b/],
  ["Xinference", /(?:^|[\s/])xinference(?:-local|-supervisor|-worker)(?:\s|$)/],
];

const COMMANDS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ...ROUTER_COMMANDS,
  ...DIALECTS.map(({ name, processes }) => [name, processes.command] as const),
  ...OTHER_COMMANDS,
];

/** Words of `commandLine` are separated by one blank. */
export function identifyCommand(commandLine: string): string | null {
  return COMMANDS.find(([, pattern]) => pattern.test(commandLine))?.[0] ?? null;
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
