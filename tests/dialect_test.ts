import { assert, assertEquals } from "@std/assert";
import { identifyServer, isVllmWithoutStatistics } from "../lib/dialect.ts";

/** First families of scrapes or of the servers' documentation, and the server. */
const EXAMPLES: readonly (readonly [string, string])[] = [
  ["sglang:num_running_reqs", "SGLang"],
  ["sgl_router_requests_total", "SGLang router"],
  ["tgi_batch_current_size", "Text Generation Inference"],
  ["llamacpp:tokens_predicted_total", "llama.cpp"],
  ["ray_node_cpu_utilization", "Ray"],
  ["litellm_requests_metric_total", "LiteLLM"],
  ["vllm:healthy_pods_total", "vLLM production-stack router"],
  ["inference_pool_ready_pods", "llm-d inference scheduler"],
  ["dynamo_frontend_requests_total", "NVIDIA Dynamo"],
  ["nv_inference_request_success", "Triton Inference Server"],
  ["num_requests_running", "NVIDIA NIM"],
  ["DCGM_FI_DEV_GPU_UTIL", "NVIDIA DCGM exporter"],
  ["node_cpu_seconds_total", "Prometheus node_exporter"],
  ["prometheus_build_info", "Prometheus"],
];

for (const [family, name] of EXAMPLES) {
  Deno.test(`identifyServer() knows ${name} by ${family}`, () => {
    assertEquals(identifyServer(["python_info", family])?.name, name);
  });
}

Deno.test("identifyServer() names the server and not the exporter whose metrics it carries", () => {
  assertEquals(identifyServer(["node_load1", "sglang:token_usage"])?.name, "SGLang");
  assertEquals(identifyServer(["ray_gcs_actors", "litellm_x"])?.role, "router");
});

Deno.test("identifyServer() does not guess", () => {
  for (const families of [[], ["app_total"], ["vllm:num_requests_running"], ["nodes_total"]]) {
    assertEquals(identifyServer(families), null);
  }
});

Deno.test("isVllmWithoutStatistics() knows the HTTP side of vLLM's API server", () => {
  const families = [
    "python_gc_objects_collected_total",
    "process_start_time_seconds",
    "http_requests_total",
    "http_request_duration_highr_seconds",
  ];
  assert(isVllmWithoutStatistics(families));
  assert(!isVllmWithoutStatistics([...families, "app_total"]));
  assert(!isVllmWithoutStatistics(families.slice(0, 3)));
  assert(!isVllmWithoutStatistics([]));
});
