/**
 * What is read of recorded pods. The expected outcome of each was written down from its manifest.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { type Pod, readPodPage, readPods } from "../lib/discovery_pods.ts";

function readFixture(name: string): unknown {
  const url = new URL(`fixtures/kubernetes/${name}`, import.meta.url);
  return JSON.parse(Deno.readTextFileSync(url));
}

const RECORDED = readPodPage(readFixture("pods.json"))?.items ?? [];

/** What a test compares of a pod: port, container, kind, what it is in its group, state, GPUs. */
function summarize(pod: Pod): string {
  const { ports, container, serverName, role, group, isWorker, state, reason, gpus } = pod;
  const shown = [
    ports.map(({ scheme, number, path }) => `${scheme}:${number}${path}`).join(" ") || "no port",
    `in ${container}`,
    serverName ?? "unknown",
    ...(role === null ? [] : [role]),
    ...(group === null ? [] : [`${isWorker ? "worker" : "head"} of ${group}`]),
    reason === null ? state : `${state} (${reason})`,
    gpus.map(({ resource, count }) => `${count} ${resource}`).join(" + ") || "no GPU",
  ];
  return shown.join(", ");
}

const SAME = "http:8000/metrics, in vllm, vLLM, ready, 1 nvidia.com/gpu";

/** Of the recorded pods; `null` where no engine runs. */
const EXPECTED: Readonly<Record<string, string | null>> = {
  // Port 8080, which Prometheus is sent to, is the sidecar's.
  "aibrix/deepseek-r1-8b-6c7f8d9b4-vb6tn":
    "http:8000/metrics, in vllm-openai, vLLM, ready, 1 nvidia.com/gpu",
  "chart/qwen-deployment-vllm-6d5f7c9b8-x2x7k": SAME,
  "dynamo/agg-0-frontend-4jq8z": null,
  "dynamo/agg-0-vllmworker-0-vllmworker-ldr-b7xmd":
    "http:9090/metrics, in main, vLLM, head of agg-0-vllmworker-0-vllmworker, ready, 8 nvidia.com/gpu",
  "dynamo/agg-0-vllmworker-0-vllmworker-wkr-n2p9c":
    "no port, in main, vLLM, worker of agg-0-vllmworker-0-vllmworker, ready, 8 nvidia.com/gpu",
  "kserve/llama-70b-kserve-6f8d9c7b5-zx4wp":
    "https:8000/metrics, in main, vLLM, both, ready, 4 nvidia.com/gpu",
  "kserve/qwen-predictor-5b9c7d8f6-h2jkm":
    "http:8080/metrics, in kserve-container, unknown, ready, 1 nvidia.com/gpu",
  // Port 8000 is the sidecar's.
  "llm-d/ms-pd-decode-59d8f7c6b-t8kvn":
    "http:8200/metrics, in vllm, vLLM, decode, ready, 1 nvidia.com/gpu",
  "llm-d/ms-pd-prefill-6b7c9d8f5-4q9xz":
    "http:8000/metrics, in vllm, vLLM, prefill, ready, 1 nvidia.com/gpu",
  "llm-d/wide-ep-decode-0":
    "http:8200/metrics, in vllm, vLLM, decode, head of wide-ep-decode-0, ready, 8 nvidia.com/gpu",
  "llm-d/wide-ep-decode-0-1":
    "no port, in vllm, vLLM, decode, worker of wide-ep-decode-0, ready, 8 nvidia.com/gpu",
  "prod-stack/vllm-deployment-router-5c8b7d9f6-qk4mz": null,
  "prod-stack/vllm-llama3-deployment-vllm-7f9c8d6b5-8w6vq": SAME,
  "prod-stack/vllm-llama3-deployment-vllm-7f9c8d6b5-m5kq2": SAME,
  "ray/raycluster-llm-gpu-worker-9s4qp":
    "http:8080/metrics, in ray-worker, unknown, ready, 4 nvidia.com/gpu",
  "ray/raycluster-llm-head-7xk2d": null,
  "states/crashing-7d9f8c6b5-bbbbb":
    "http:8000/metrics, in vllm, vLLM, crashing (CrashLoopBackOff), 1 nvidia.com/gpu",
  "states/loading-7d9f8c6b5-aaaaa": "http:8000/metrics, in vllm, vLLM, starting, 1 nvidia.com/gpu",
  "states/nothing-to-do-with-it-66c-eeeee": null,
  "states/pending-7d9f8c6b5-ccccc":
    "http:8000/metrics, in vllm, vLLM, pending (Unschedulable: 0/8 nodes are available: " +
    "8 Insufficient nvidia.com/gpu), 8 nvidia.com/gpu",
  "states/renamed-image-7d9f8c6b5-ddddd":
    "http:9000/metrics, in server, vLLM, ready, 2 nvidia.com/gpu",
};

Deno.test("readPods() finds port, container, group, state and GPUs of each recorded pod", () => {
  const found = new Map(
    readPods(RECORDED).map((pod) => [`${pod.namespace}/${pod.name}`, summarize(pod)]),
  );
  assertEquals(RECORDED.length, Object.keys(EXPECTED).length);
  for (const [name, expected] of Object.entries(EXPECTED)) {
    assertEquals(found.get(name) ?? null, expected, name);
  }
});

Deno.test("readPods() reads where a pod runs, since when, and its restarts", () => {
  const pods = readPods(RECORDED);
  const find = (name: string) => pods.find((pod) => pod.name.startsWith(name));
  const engine = find("qwen-deployment");
  assertEquals(
    [engine?.node, engine?.ip, engine?.uid, engine?.startedAt],
    ["gpu-node-1", "127.0.0.11", "8b79a2fb-e53e-4c10-94b6-761a29bd8959", 1_795_878_000],
  );
  assertEquals(engine?.restarts, []);
  assertEquals([find("pending")?.node, find("pending")?.ip], [null, null]);
  const unknown = { lastReason: null, lastExitCode: null, lastFinishedAt: null };
  assertEquals(find("crashing")?.restarts, [{ container: "vllm", count: 17, ...unknown }]);
});

Deno.test("readPodPage() reads the items and what asks for the next page", () => {
  const page = readPodPage(readFixture("podlist-raw-limit-2.json"));
  assertEquals(readPods(page?.items ?? []).map(({ name }) => name), [
    "deepseek-r1-8b-6c7f8d9b4-vb6tn",
    "qwen-deployment-vllm-6d5f7c9b8-x2x7k",
  ]);
  assertEquals(page?.continueToken?.slice(0, 8), "eyJ2Ijoi");
  assertEquals(readPodPage({ items: [], metadata: {} }), { items: [], continueToken: null });
  for (const other of [null, [], "x", { kind: "Status", code: 403 }]) {
    assertEquals(readPodPage(other), null);
  }
});

// Composed after the documentation of the kubelet, the charts and the operators.

type Part = Readonly<Record<string, unknown>>;

const GPU = { resources: { limits: { "nvidia.com/gpu": "1" } } };
const ENGINE = { name: "vllm", image: "vllm/vllm-openai:v0.32.0", ...GPU };
const RUNNING = {
  phase: "Running",
  conditions: [{ type: "Ready", status: "True" }],
};

function compose(
  { containers = [ENGINE], status = RUNNING, spec = {}, ...metadata }: {
    readonly containers?: readonly Part[];
    readonly status?: Part;
    readonly spec?: Part;
    readonly labels?: Part;
    readonly annotations?: Part;
    readonly deletionTimestamp?: string;
    readonly ownerReferences?: readonly Part[];
  },
): Part {
  const identity = { namespace: "n", name: "p", uid: "u" };
  return { metadata: { ...identity, ...metadata }, spec: { containers, ...spec }, status };
}

function read(options: Parameters<typeof compose>[0]): string | null {
  const [pod] = readPods([compose(options)]);
  return pod === undefined ? null : summarize(pod);
}

/** With one container, the engine. */
function readState(container: Part, more: Part = { phase: "Running" }): string {
  const containerStatuses = [{ name: "vllm", restartCount: 0, ...container }];
  const [{ state, reason }] = readPods([compose({ status: { containerStatuses, ...more } })]);
  return reason === null ? state : `${state}: ${reason}`;
}

Deno.test("readPods() tells why a pod does not serve", () => {
  const killed = {
    ...{ exitCode: 137, reason: "OOMKilled", startedAt: "2026-11-28T15:00:00Z" },
    finishedAt: "2026-11-28T15:10:00Z",
  };
  const backOff = { waiting: { reason: "CrashLoopBackOff", message: "back-off 5m0s" } };
  const crashed = { state: backOff, lastState: { terminated: killed }, restartCount: 3 };
  assertEquals(readState(crashed), "crashing: CrashLoopBackOff, exit code 137 (OOMKilled)");
  assertEquals(
    readState({ state: { terminated: { exitCode: 1, reason: "Error" } } }),
    "crashing: exit code 1",
  );
  assertEquals(
    readState({
      state: { waiting: { reason: "ImagePullBackOff", message: "Back-off pulling image x." } },
    }, { phase: "Pending" }),
    "crashing: ImagePullBackOff: Back-off pulling image x",
  );
  const creating = { state: { waiting: { reason: "ContainerCreating" } } };
  assertEquals(readState(creating, { phase: "Pending" }), "pending: ContainerCreating");
  assertEquals(readState({}, { phase: "Pending" }), "pending");
  const evicted = { phase: "Failed", reason: "Evicted", message: "The node was low on memory." };
  assertEquals(readState({}, evicted), "failed: Evicted: The node was low on memory");
  assertEquals(
    readState({ state: { terminated: killed } }, { phase: "Failed" }),
    "failed: exit code 137 (OOMKilled)",
  );
  const message = "containers with unready status: [vllm]";
  const conditions = [{ type: "Ready", status: "False", message }];
  assertEquals(readState({}, { phase: "Running", conditions }), `starting: ${message}`);
  const deletionTimestamp = "2026-11-28T15:00:00Z";
  assertEquals(readPods([compose({ deletionTimestamp })])[0].state, "terminating");
  const [{ restarts }] = readPods([
    compose({ status: { phase: "Running", containerStatuses: [{ name: "vllm", ...crashed }] } }),
  ]);
  assertEquals(restarts, [{
    ...{ container: "vllm", count: 3, lastReason: "OOMKilled", lastExitCode: 137 },
    lastFinishedAt: 1_795_878_600,
  }]);
});

Deno.test("readPods() names another container that fails, and passes over init containers that have ended", () => {
  const withOthers = (more: Part): string => {
    const ready = { name: "vllm", state: { running: {} } };
    const [{ state, reason }] = readPods([
      compose({ status: { phase: "Running", containerStatuses: [ready], ...more } }),
    ]);
    return reason === null ? state : `${state}: ${reason}`;
  };
  const backOff = { state: { waiting: { reason: "CrashLoopBackOff" } } };
  assertEquals(
    withOthers({ containerStatuses: [{ name: "agent", ...backOff }] }),
    "crashing: container agent: CrashLoopBackOff",
  );
  assertEquals(
    withOthers({ phase: "Pending", initContainerStatuses: [{ name: "download", ...backOff }] }),
    "crashing: container download: CrashLoopBackOff",
  );
  const ended = { state: { terminated: { exitCode: 0, reason: "Completed" } } };
  assertEquals(withOthers({ initContainerStatuses: [{ name: "download", ...ended }] }), "starting");
});

Deno.test("readPods() leaves out jobs, shells, routers and ended pods", () => {
  const job = { ...ENGINE, command: ["vllm", "bench", "serve"] };
  assertEquals(read({ containers: [job] }), null);
  assertEquals(read({ containers: [{ ...ENGINE, command: ["sleep", "infinity"] }] }), null);
  assertEquals(read({ containers: [{ name: "r", image: "vllm/vllm-router:1" }] }), null);
  assertEquals(read({ status: { phase: "Succeeded" } }), null);
  // A pod evicted from its node stays in the list; its controller has made another.
  const failed = { phase: "Failed", reason: "Evicted" };
  assertEquals(read({ status: failed, ownerReferences: [{ controller: true }] }), null);
  assertEquals(read({ status: failed })?.includes("failed (Evicted)"), true);
  // Another model of the same operator.
  const labels = { "serving.kserve.io/inferenceservice": "iris" };
  assertEquals(read({ labels, containers: [{ name: "k", image: "sklearn:1" }] }), null);
  const training = { name: "ray-worker", image: "rayproject/ray:2.52.0", ...GPU };
  const ray = { "ray.io/node-type": "worker", "ray.io/cluster": "c" };
  assertEquals(read({ labels: ray, containers: [training] }), null);
});

Deno.test("readPods() recognises engines by image and by command", () => {
  const kinds: readonly (readonly [container: Part, expected: string])[] = [
    [{ image: "registry.example.com:5000/nvidia/vllm:25.09-py3" }, "http:8000/metrics vLLM"],
    [{ image: "lmsysorg/sglang:v0.5.9" }, "http:30000/metrics SGLang"],
    [{ image: "ghcr.io/ggml-org/llama.cpp:server-cuda" }, "http:8080/metrics llama.cpp"],
    [{ image: "ollama/ollama" }, "http:11434/metrics Ollama"],
    [
      { image: "ghcr.io/huggingface/text-generation-inference:3", args: ["-p", "81"] },
      "http:81/metrics TGI",
    ],
    [
      { image: "nvcr.io/nvidia/tensorrt-llm/release:1.1", ports: [{ containerPort: 8355 }] },
      "http:8355/metrics trtllm-serve",
    ],
    [
      {
        image: "nvcr.io/nvidia/tritonserver:25.10-py3",
        args: ["--metrics-port=9", "--http-port", "8"],
      },
      "http:9/metrics Triton",
    ],
    [
      { image: "own:1", command: ["sh", "-c", "exec python3 -m sglang.launch_server --port=31"] },
      "http:31/metrics SGLang",
    ],
  ];
  for (const [container, expected] of kinds) {
    const [pod] = readPods([compose({ containers: [{ name: "c", ...container }] })]);
    const [{ scheme, number, path }] = pod.ports;
    assertEquals(`${scheme}:${number}${path} ${pod.serverName}`, expected);
  }
});

Deno.test("readPods() chooses the port by annotation, name, option, declaration and default", () => {
  const ports = (...some: readonly (readonly [name: string, containerPort: number])[]) => ({
    ports: some.map(([name, containerPort]) => ({ name, containerPort })),
  });
  const readPort = (container: Part, more: Part = {}): string => {
    const [pod] = readPods([compose({ containers: [{ ...ENGINE, ...container }], ...more })]);
    return pod.ports.map(({ scheme, number, path }) => `${scheme}:${number}${path}`).join(" ");
  };
  const annotations = {
    "prometheus.io/port": "9400",
    "prometheus.io/path": "/m",
    "prometheus.io/scheme": "https",
  };
  const all = { ...ports(["http", 8000], ["metrics", 9000]), args: ["--port", "8200"] };
  assertEquals(readPort(all, { annotations }), "https:9400/m");
  // Of a sidecar, neither path nor scheme hold.
  const sidecar = { name: "agent", image: "agent", ...ports(["x", 9400]) };
  const both = [{ ...ENGINE, ...all }, sidecar];
  assertEquals(
    read({ annotations, containers: both }),
    "http:9000/metrics, in vllm, vLLM, ready, 1 nvidia.com/gpu",
  );
  assertEquals(readPort(all), "http:9000/metrics");
  assertEquals(
    readPort(ports(["http", 8000], ["system-0", 9090], ["system-1", 9091])),
    "http:9090/metrics http:9091/metrics",
  );
  assertEquals(
    readPort({ ...ports(["zmq", 5555]), args: ["--port", "8200"] }),
    "http:8200/metrics",
  );
  assertEquals(
    readPort({ ...ports(["x", 8123]), args: ["--port", "$(PORT)"] }),
    "http:8123/metrics",
  );
  assertEquals(readPort({}), "http:8000/metrics");
  assertEquals(readPort({ args: ["--ssl-certfile", "a"] }), "https:8000/metrics");
  const readinessProbe = { httpGet: { port: "x", scheme: "HTTPS" } };
  assertEquals(readPort({ ...ports(["x", 8123]), readinessProbe }), "https:8123/metrics");
  const elsewhere = { httpGet: { port: 15_021, scheme: "HTTPS" } };
  assertEquals(
    readPort({ ...ports(["x", 8123]), readinessProbe: elsewhere }),
    "http:8123/metrics",
  );
});

Deno.test("readPods() tells heads from workers", () => {
  const lws = (index: string): Part => ({
    "leaderworkerset.sigs.k8s.io/name": "w",
    "leaderworkerset.sigs.k8s.io/group-index": "3",
    "leaderworkerset.sigs.k8s.io/worker-index": index,
  });
  const rest = "ready, 1 nvidia.com/gpu";
  assertEquals(
    read({ labels: lws("0") }),
    `http:8000/metrics, in vllm, vLLM, head of w-3, ${rest}`,
  );
  // With hybrid load balancing, it has engines of its own.
  assertEquals(
    read({ labels: lws("1") }),
    `http:8000/metrics, in vllm, vLLM, worker of w-3, ${rest}`,
  );
  const headless = { ...ENGINE, args: ["--model", "m", "--headless"] };
  assertEquals(
    read({ labels: lws("1"), containers: [headless] }),
    `no port, in vllm, vLLM, worker of w-3, ${rest}`,
  );
  // Of production-stack: the server is started at the head.
  const ray = (type: string): Part => ({ "ray.io/cluster": "c", "ray.io/node-type": type });
  const command = (text: string): Part => ({
    ...ENGINE,
    command: ["/bin/bash", "-c", text],
    ports: [{ containerPort: 8000 }],
  });
  assertEquals(
    read({
      labels: ray("head"),
      containers: [command('ray start --head; vllm serve "m" --port 8000')],
    }),
    `http:8000/metrics, in vllm, vLLM, head of c, ${rest}`,
  );
  assertEquals(
    read({ labels: ray("worker"), containers: [command("ray start --address=head:6379 --block")] }),
    `no port, in vllm, vLLM, worker of c, ${rest}`,
  );
});

Deno.test("readPods() counts GPUs as the scheduler does", () => {
  const limits = (count: string, resource = "nvidia.com/gpu"): Part => ({
    resources: { limits: { [resource]: count, cpu: "4", memory: "16Gi" } },
  });
  const readGpus = (containers: readonly Part[], initContainers: readonly Part[] = []): string => {
    const [{ gpus }] = readPods([compose({ containers, spec: { initContainers } })]);
    return gpus.map(({ resource, count }) => `${count} ${resource}`).join(" + ");
  };
  assertEquals(
    readGpus([{ ...ENGINE, ...limits("2") }, { name: "b", ...limits("1") }]),
    "3 nvidia.com/gpu",
  );
  // An init container gives its GPUs back, unless it goes on running.
  assertEquals(readGpus([{ ...ENGINE, ...limits("2") }], [limits("1")]), "2 nvidia.com/gpu");
  assertEquals(readGpus([{ ...ENGINE, ...limits("2") }], [limits("4")]), "4 nvidia.com/gpu");
  assertEquals(
    readGpus([{ ...ENGINE, ...limits("2") }], [{ ...limits("1"), restartPolicy: "Always" }]),
    "3 nvidia.com/gpu",
  );
  const mig = "nvidia.com/mig-1g.10gb";
  assertEquals(readGpus([{ ...ENGINE, ...limits("1", mig) }]), `1 ${mig}`);
  assertEquals(readGpus([{ ...ENGINE, ...limits("8", "amd.com/gpu") }]), "8 amd.com/gpu");
  assertEquals(readGpus([{ ...ENGINE, resources: { limits: { cpu: "4" } } }]), "");
  const readProduct = (nodeSelector: Part): string | null =>
    readPods([compose({ spec: { nodeSelector } })])[0].gpus[0].product;
  assertEquals(
    readProduct({ "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3" }),
    "NVIDIA H100 80GB HBM3",
  );
  assertEquals(readProduct({ "cloud.google.com/gke-accelerator": "nvidia-l4" }), "nvidia l4");
  assertEquals(readProduct({ "kubernetes.io/arch": "amd64" }), null);
});

Deno.test("readPods() survives pods of any shape, and makes texts safe", () => {
  const shapes = [null, 1, "x", [], {}, { spec: 1 }, { spec: { containers: [null, 7, {}] } }];
  assertEquals(readPods(shapes), []);
  const spoiled = JSON.stringify(RECORDED);
  for (const [from, to] of [[/"\w+":\{/g, '"x":{'], [/:"[^"]*"/g, ":[]"], [/:\d+/g, ":{}"]]) {
    readPods(JSON.parse(spoiled.replace(from as RegExp, to as string)));
  }
  const message = "\x1b[2Jgone";
  const status = {
    phase: "Pending",
    conditions: [{ type: "PodScheduled", status: "False", message }],
  };
  assertEquals(readPods([compose({ status })])[0].reason, "\\x1b[2Jgone");
});
