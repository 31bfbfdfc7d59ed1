import { assertEquals, assertMatch } from "@std/assert";
import type { Cluster } from "../lib/discovery_cluster.ts";
import { createKubernetesWatch } from "../lib/discovery_kubernetes.ts";
import { NOTHING_WATCHED, type TargetChange } from "../lib/discovery_source.ts";
import type { JsonRecord } from "../lib/json.ts";
import type { HttpClient } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import type { Problem } from "../lib/scrape_errors.ts";
import { readRecordedPods } from "./kubernetes_api.ts";

type Answer = unknown | Problem;

const NO_NODES: Problem = { kind: "unauthorized", message: "may not read nodes" };

/** Answers each path from `answer`, and notes what it was asked. */
function startWatch(
  answer: (path: URL) => Answer,
  options: {
    readonly namespaces?: readonly string[];
    readonly selector?: string;
    /** Of each request for a list. */
    readonly duration?: number;
    readonly askPod?: HttpClient["get"];
  } = {},
) {
  const asked: string[] = [];
  const cluster: Cluster = {
    open: () => Promise.resolve({ name: "test", namespace: "chart" }),
    get: (path) => {
      if (path.startsWith("/api/v1/nodes/")) return Promise.resolve(NO_NODES);
      asked.push(path);
      const body = answer(new URL(path, "http://localhost"));
      now += options.duration ?? 0;
      const isProblem = typeof body === "object" && body !== null && "message" in body;
      return Promise.resolve(
        isProblem
          ? body as Problem
          : { status: 200, bytes: new TextEncoder().encode(JSON.stringify(body)) },
      );
    },
    createPodClient: () => {
      const { askPod } = options;
      if (askPod === undefined) throw new Error("no pod is asked");
      return { get: askPod, close: () => {} };
    },
    close: () => {},
  };
  const { namespaces = [], selector = "" } = options;
  let now = 0;
  const platform = { ...createDenoPlatform(), monotonicSeconds: () => now };
  const { source } = createKubernetesWatch(platform, cluster, { namespaces, selector });
  const look = (interval = 2): Promise<TargetChange> =>
    source.look({ ...NOTHING_WATCHED, interval });
  return { source, look, asked };
}

function list(items: readonly unknown[], token?: string): unknown {
  return { kind: "PodList", metadata: token === undefined ? {} : { continue: token }, items };
}

const ALL = readRecordedPods();

function pick(namespace: string): readonly JsonRecord[] {
  return ALL.filter(({ metadata }) => (metadata as JsonRecord).namespace === namespace);
}

function listKeys({ found }: TargetChange): readonly string[] {
  return found.map(({ endpoint: { key } }) => key);
}

Deno.test("createKubernetesWatch() makes an endpoint of each port of a pod that serves", async () => {
  const { look } = startWatch(() => list(pick("llm-d")), { namespaces: ["llm-d"] });
  const { found, goneKeys, notices } = await look();
  const [head, decode, prefill] = ["wide", "decode", "prefill"].map((word) =>
    found.map(({ endpoint }) => endpoint).find(({ key }) => key.includes(word))
  );
  assertEquals(listKeys({ found, goneKeys, notices }).length, 3, "a worker without a port is none");
  assertEquals([goneKeys, notices], [[], []]);
  assertEquals(head?.label, "wide-ep-decode-0");
  assertEquals(decode?.key, "kube:test/llm-d/ms-pd-decode-59d8f7c6b-t8kvn:8200");
  assertEquals(decode?.metricsUrl, "http://ms-pd-decode-59d8f7c6b-t8kvn.llm-d.pod:8200/metrics");
  assertEquals(decode?.address, "llm-d/ms-pd-decode-59d8f7c6b-t8kvn:8200");
  assertEquals([...decode?.targetLabels ?? []], [
    ["namespace", "llm-d"],
    ["pod", "ms-pd-decode-59d8f7c6b-t8kvn"],
    ["node", "gpu-node-1"],
    ["role", "decode"],
  ]);
  assertEquals([prefill?.targetLabels?.get("role"), prefill?.serverName], ["prefill", "vLLM"]);
  assertEquals(decode?.pod?.state, "ready");
});

Deno.test("createKubernetesWatch() asks over TLS where the pod has it", async () => {
  const { look } = startWatch(() => list(pick("kserve")), { namespaces: ["kserve"] });
  const change = await look();
  assertEquals(listKeys(change)[0], "kube:test/kserve/https:llama-70b-kserve-6f8d9c7b5-zx4wp:8000");
  assertEquals(change.found.map(({ endpoint }) => endpoint.metricsUrl), [
    "https://llama-70b-kserve-6f8d9c7b5-zx4wp.kserve.pod:8000/metrics",
    "http://qwen-predictor-5b9c7d8f6-h2jkm.kserve.pod:8080/metrics",
  ]);
});

Deno.test("createKubernetesWatch() tells what has changed, and what is gone", async () => {
  let pods = pick("states");
  const { look } = startWatch(() => list(pods), { namespaces: ["states"] });
  const first = await look();
  assertEquals(first.found.map(({ endpoint: { label, pod } }) => [label, pod?.state]), [
    ["crashing-7d9f8c6b5-bbbbb", "crashing"],
    ["loading-7d9f8c6b5-aaaaa", "starting"],
    ["pending-7d9f8c6b5-ccccc", "pending"],
    ["renamed-image-7d9f8c6b5-ddddd", "ready"],
  ]);
  assertEquals(listKeys(await look()), [], "nothing has changed");
  pods = pods.flatMap((pod) => {
    const { name } = pod.metadata as JsonRecord;
    if (name === "pending-7d9f8c6b5-ccccc") return [];
    if (name !== "loading-7d9f8c6b5-aaaaa") return [pod];
    const status = pod.status as JsonRecord;
    return [{ ...pod, status: { ...status, conditions: [{ type: "Ready", status: "True" }] } }];
  });
  const second = await look();
  assertEquals(listKeys(second), ["kube:test/states/loading-7d9f8c6b5-aaaaa:8000"]);
  assertEquals(second.found[0].endpoint.pod?.state, "ready");
  assertEquals(second.goneKeys, ["kube:test/states/pending-7d9f8c6b5-ccccc:8000"]);
});

Deno.test("createKubernetesWatch() reads a list in pages, of the namespaces and labels wanted", async () => {
  const { look, asked } = startWatch((url) => {
    const namespace = /namespaces\/([^/]+)/.exec(url.pathname)?.[1] ?? "";
    const [first, ...rest] = pick(namespace);
    if (rest.length === 0) return list([first]);
    return url.searchParams.has("continue") ? list(rest) : list([first], "a&b");
  }, { namespaces: ["chart", "prod-stack"], selector: "app=vllm,tier!=test" });
  assertEquals((await look()).found.length, 3);
  const label = "labelSelector=app%3Dvllm%2Ctier%21%3Dtest";
  assertEquals(asked, [
    `/api/v1/namespaces/chart/pods?limit=500&resourceVersion=0&${label}`,
    `/api/v1/namespaces/prod-stack/pods?limit=500&resourceVersion=0&${label}`,
    `/api/v1/namespaces/prod-stack/pods?limit=500&continue=a%26b&${label}`,
  ]);
});

Deno.test("createKubernetesWatch() looks into the namespace of the context, or all", async () => {
  const own = startWatch(() => list([]));
  assertEquals((await own.look()).notices, [
    '"test" has no pod of a model server in the namespace "chart": check --kube-namespace ("*" for all)',
  ]);
  assertEquals(own.asked.length, 1);
  assertMatch(own.asked[0], /^\/api\/v1\/namespaces\/chart\/pods\?/);
  const all = startWatch(() => list(ALL), { namespaces: ["*", "chart"] });
  assertEquals((await all.look()).found.length, 15);
  assertMatch(all.asked.join(), /^\/api\/v1\/pods\?[^,]*$/);
});

const REFUSED: Problem = { kind: "unauthorized", message: "may not list pods" };

Deno.test("createKubernetesWatch() of all namespaces keeps to its own if it may see no other", async () => {
  const { look } = startWatch(
    ({ pathname }) => pathname === "/api/v1/pods" ? REFUSED : list(pick("chart")),
    { namespaces: ["*"] },
  );
  const { found, notices } = await look();
  assertEquals([found.length, notices], [1, ['may not list pods; only "chart" is watched']]);
});

Deno.test("createKubernetesWatch() keeps the pods of a list that fails, and asks again sooner", async () => {
  let answer: Answer = list(pick("chart"));
  const { look, source } = startWatch(() => answer);
  assertEquals((await look()).found.length, 1);
  assertEquals(source.getInterval(2), 15);
  for (const wrong of [REFUSED, "<html>", list([]) && { items: 3 }]) {
    answer = wrong;
    const { found, goneKeys, notices } = await look();
    assertEquals([found, goneKeys, notices?.length], [[], [], 1]);
    assertEquals(source.getInterval(2), 5);
  }
  answer = list(pick("chart"));
  assertEquals((await look()).found.length, 1, "it may be reached again");
  assertEquals(await look(), { found: [], goneKeys: [], notices: [] });
  answer = list([]);
  assertEquals((await look()).goneKeys, [
    "kube:test/chart/qwen-deployment-vllm-6d5f7c9b8-x2x7k:8000",
  ]);
});

Deno.test("createKubernetesWatch() of several namespaces loses only what a list no longer has", async () => {
  const isDown = new Set<string>();
  const { look } = startWatch(({ pathname }) => {
    const [, namespace] = /namespaces\/([^/]+)/.exec(pathname) ?? [];
    return isDown.has(namespace) ? REFUSED : list(namespace === "chart" ? pick("chart") : []);
  }, { namespaces: ["chart", "other"] });
  assertEquals((await look()).found.length, 1);
  isDown.add("chart");
  const { goneKeys, notices } = await look();
  assertEquals([goneKeys, notices], [[], ["may not list pods"]]);
});

Deno.test("createKubernetesWatch() slows down for many pods, and then names Prometheus", async () => {
  const [pod] = pick("chart");
  const clone = (_: unknown, i: number): JsonRecord => ({
    ...pod,
    metadata: { ...pod.metadata as JsonRecord, name: `llama-${i}` },
  });
  let count = 20;
  const { look } = startWatch(() => list(Array.from({ length: count }, clone)));
  const few = await look();
  assertEquals([few.found[0].endpoint.pace, few.notices], [undefined, []]);
  count = 60;
  const many = await look();
  assertEquals(many.found.length, 60, "those that are known have another pace now");
  assertEquals(new Set(many.found.map(({ endpoint: { pace } }) => pace)), new Set([3]));
  assertEquals(many.notices, ["60 pods: each is asked every 3 s, to spare the API server"]);
  assertEquals((await look(5)).notices, [], "the interval is as long");
  count = 201;
  assertEquals((await look()).notices, [
    "201 pods are more than an API server should pass on: watch the cluster's Prometheus with --prometheus",
  ]);
});

Deno.test("createKubernetesWatch() counts the GPUs of silent workers to their head", async () => {
  const { look } = startWatch(() => list([...pick("llm-d"), ...pick("dynamo")]), {
    namespaces: ["*"],
  });
  const counts = (await look()).found.map(({ endpoint: { label, pod } }) =>
    [label, pod?.gpus.map(({ count }) => count)] as const
  );
  assertEquals(
    new Map(counts),
    new Map([
      ["agg-0-vllmworker-0-vllmworker-ldr-b7xmd", [16]],
      ["ms-pd-decode-59d8f7c6b-t8kvn", [1]],
      ["ms-pd-prefill-6b7c9d8f5-4q9xz", [1]],
      ["wide-ep-decode-0", [16]],
    ]),
  );
});

Deno.test("createKubernetesWatch() shows a worker that answers, as with hybrid load balancing", async () => {
  const pods = structuredClone(pick("llm-d")).map((pod) => {
    const { metadata: { name }, spec } = Object(pod);
    if (name === "wide-ep-decode-0-1") {
      spec.containers[0].args = ["vllm", "serve", "m", "--port=8200"];
    }
    return pod;
  });
  let status = 503;
  const asked: string[] = [];
  const { look } = startWatch(() => list(pods), {
    namespaces: ["llm-d"],
    askPod: ({ url }) => {
      asked.push(url);
      return Promise.resolve({ status, header: () => null, body: null });
    },
  });
  const find = async () => {
    const { found, goneKeys } = await look();
    return [
      ...found.filter(({ endpoint: { pod } }) => pod?.name.startsWith("wide"))
        .map(({ endpoint: { label, pod } }) => `${label} ${pod?.gpus[0].count}`),
      ...goneKeys,
    ];
  };
  assertEquals(await find(), ["wide-ep-decode-0 16"]);
  status = 200;
  assertEquals(await find(), ["wide-ep-decode-0 8", "wide-ep-decode-0-1 8"]);
  assertEquals(await find(), []);
  assertEquals(asked, Array(2).fill("http://wide-ep-decode-0-1.llm-d.pod:8200/metrics"));
});

Deno.test("createKubernetesWatch() lists less often where a list takes long", async () => {
  for (const [duration, interval] of [[0.1, 15], [2, 40], [20, 300]]) {
    const { look, source } = startWatch(() => list(pick("chart")), { duration });
    await look();
    assertEquals(source.getInterval(2), interval);
  }
  const failing = startWatch(() => REFUSED, { duration: 20 });
  await failing.look();
  assertEquals(failing.source.getInterval(2), 5);
});
