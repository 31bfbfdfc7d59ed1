import { assertEquals } from "@std/assert";
import { findDisabledServer, identifyCommand, identifyServer } from "../lib/dialect.ts";

/** First families of scrapes or of the servers' documentation, and the server. */
const EXAMPLES: readonly (readonly [string, string])[] = [
  ["sglang_num_running_reqs", "SGLang"],
  ["te_queue_size", "Text Embeddings Inference"],
  ["ray_node_cpu_utilization", "Ray"],
  ["inference_pool_ready_pods", "llm-d inference scheduler"],
  ["dynamo_component_uptime_seconds", "NVIDIA Dynamo"],
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

Deno.test("identifyServer() names the server, not the exporter whose metrics it passes on", () => {
  assertEquals(identifyServer(["node_load1", "te_queue_size"])?.role, "engine");
  assertEquals(identifyServer(["ray_gcs_actors", "kong_x"])?.role, "router");
});

Deno.test("identifyServer() does not guess", () => {
  for (const families of [[], ["app_total"], ["vllm:num_requests_running"], ["nodes_total"]]) {
    assertEquals(identifyServer(families), null);
  }
});

Deno.test("findDisabledServer() knows the HTTP side of vLLM's API server", () => {
  const families = [
    "python_gc_objects_collected_total",
    "process_start_time_seconds",
    "http_requests_total",
    "http_request_duration_highr_seconds",
  ];
  const find = (families: readonly string[]) => findDisabledServer(new Set(families));
  assertEquals(find(families), { name: "vLLM", option: "--disable-log-stats" });
  assertEquals(find([...families, "app_total"]), null);
  assertEquals(find(families.slice(0, 3)), null);
  assertEquals(find([]), null);
});

const COMMANDS: readonly (readonly [commandLine: string, name: string | null])[] = [
  ["/usr/bin/python3 /usr/local/bin/vllm serve Qwen/Qwen3-8B --port 31337", "vLLM"],
  ["vllm serve m", "vLLM"],
  ["python -u -m vllm.entrypoints.openai.api_server --model m", "vLLM"],
  ["python3 -m vllm.entrypoints.api_server --model m", "vLLM"],
  ["python3 /opt/vllm/entrypoints/openai/api_server.py --model m", "vLLM"],
  ["VLLM::APIServer", "vLLM"],
  ["VLLM::EngineCore_DP0", "vLLM"],
  ["python3 -m vllm_router.app --port 8001", "production-stack router"],
  ["/usr/bin/vllm-router --port 8001", "production-stack router"],
  ["vllm::router", "vLLM router"],
  ["sglang::router", "SGLang router"],
  ["python3 -m dynamo.frontend --http-port 8000", "Dynamo"],
  ["python3 -m sglang.launch_server --model-path m", "SGLang"],
  ["sglang::scheduler", "SGLang"],
  ["python3 -m sglang_router.launch_router --worker-urls http://a", "SGLang router"],
  ["text-generation-launcher --model-id m", "TGI"],
  ["/opt/tritonserver/bin/tritonserver --model-repository=/m", "Triton"],
  ["/opt/llama.cpp/llama-server -m m.gguf --port 8080", "llama.cpp"],
  ["/usr/local/bin/ollama serve", "Ollama"],
  ["/usr/local/bin/ollama runner --model /m --port 40001", "Ollama"],
  ["/usr/bin/python3 /usr/bin/litellm --config c.yaml", "LiteLLM"],
  ["python3 /usr/bin/trtllm-serve m --port 8001", "trtllm-serve"],
  ["python3 -m mlx_lm.server --model m", "mlx_lm"],
  ["python3 /usr/bin/mlx_lm.server --model m", "mlx_lm"],
  ["python koboldcpp.py --model m.gguf", "KoboldCpp"],
  ["./koboldcpp-linux-x64 m.gguf", "KoboldCpp"],
  ["/opt/LM Studio/lm-studio --no-sandbox", "LM Studio"],
  ["/tmp/LM-Studio-0.4.1-x64.AppImage", "LM Studio"],
  ["python /srv/tabbyAPI/main.py", "TabbyAPI"],
  ["/usr/bin/vllm-mlx serve m", "vllm-mlx"],
  ["./mistral-7b.llamafile --server", "llamafile"],
  ["/usr/bin/python3 -m fastdeploy.entrypoints.openai.api_server --model m", "FastDeploy"],
  ["vim vllm serve.md", null],
  ["grep vllm server.log", null],
  ["nginx: master process /usr/sbin/nginx", null],
  ["/usr/bin/vllm-htop --auto", null],
  ["", null],
];

for (const [commandLine, name] of COMMANDS) {
  Deno.test(`identifyCommand() takes "${commandLine}" for ${name}`, () => {
    assertEquals(identifyCommand(commandLine), name);
  });
}
