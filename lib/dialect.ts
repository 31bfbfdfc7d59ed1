/**
 * Family names of an exposition, or owners of models, into the server that they
 * belong to.
 *
 * When an endpoint has metrics but none of vLLM's, a person is
 * best helped by the name of what answers there: another engine, a router that
 * stands before vLLM, or an exporter on the wrong port. Servers are known by
 * the prefixes of their metrics, and the first row that fits counts: engines
 * and routers stand before the exporters whose metrics they may carry along.
 * A server without metrics may still say who it is by the models that it lists.
 * Sources: the servers' own documentation and code, read 2026-11. What to say
 * about it is `scrape_errors`' matter.
 *
 * @module
 */

/** What a server is there for, which decides what a person should do about it. */
export type ServerRole = "engine" | "router" | "exporter";

/** A server that is not vLLM. */
interface ServerKind {
  /** The name that people know it by. */
  readonly name: string;
  /** What it is there for. */
  readonly role: ServerRole;
}

/** A row of the table: a server and what its metrics begin with. */
type ServerRow = readonly [ServerRole, name: string, prefixes: readonly string[]];

const SERVER_ROWS: readonly ServerRow[] = [
  // These two take vLLM's prefix for names of their own, so their names stand here in full.
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
  ["engine", "SGLang", ["sglang:", "sglang_"]],
  ["engine", "Text Generation Inference", ["tgi_"]],
  ["engine", "Text Embeddings Inference", ["te_request_", "te_queue_", "te_embed_"]],
  ["engine", "llama.cpp", ["llamacpp:"]],
  ["engine", "LMDeploy", ["lmdeploy:", "lmdeploy_"]],
  ["engine", "Aphrodite", ["aphrodite:", "aphrodite_"]],
  ["engine", "Xinference", ["xinference:", "xinference_"]],
  ["engine", "Ollama", ["ollama_"]],
  ["engine", "TensorRT-LLM", ["trtllm_", "nv_trt_llm_"]],
  ["engine", "Triton Inference Server", ["nv_inference_", "nv_gpu_", "nv_cpu_"]],
  // NIM serves vLLM's names without a prefix.
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

/**
 * The server that exports these families, or `null` where none of the known
 * ones does.
 */
export function identifyServer(familyNames: Iterable<string>): ServerKind | null {
  const names = [...familyNames];
  for (const [role, name, prefixes] of SERVER_ROWS) {
    if (names.some((family) => prefixes.some((prefix) => family.startsWith(prefix)))) {
      return { role, name };
    }
  }
  return null;
}

/** Servers by the `owned_by` of the models that they list. */
const OWNERS: ReadonlyMap<string, string> = new Map([
  ["sglang", "SGLang"],
  ["llamacpp", "llama.cpp"],
  ["library", "Ollama"],
  ["lmdeploy", "LMDeploy"],
  ["organization_owner", "LM Studio"],
  ["tabbyAPI", "TabbyAPI"],
  ["aphrodite", "Aphrodite"],
]);

/** The server whose models belong to one of these, or `null`. */
export function identifyOwner(owners: Iterable<string>): string | null {
  for (const owner of owners) {
    const name = OWNERS.get(owner);
    if (name !== undefined) return name;
  }
  return null;
}

/** What vLLM's API server exports on its own account: its HTTP side and its process. */
const API_SERVER_FAMILY = /^(http|python|process)_/;

/** The one family of that HTTP side that always has a sample (prometheus-fastapi-instrumentator). */
const API_SERVER_MARK = "http_request_duration_highr_seconds";

/**
 * Whether an exposition without vLLM's families looks like vLLM's API server
 * with the engine's statistics turned off (`--disable-log-stats`): it has the
 * families of its HTTP side and its process, and no other.
 */
export function isVllmWithoutStatistics(familyNames: Iterable<string>): boolean {
  let marked = false;
  for (const family of familyNames) {
    if (!API_SERVER_FAMILY.test(family)) return false;
    marked ||= family.startsWith(API_SERVER_MARK);
  }
  return marked;
}
