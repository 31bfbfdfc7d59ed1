/**
 * Kubernetes: whether the stand-in for an API server answers as the real one did, and whether the roles
 * of `docs/kubernetes.md` are enough, and no more than that.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { parse } from "@std/yaml/parse";
import { readPodPage } from "../lib/discovery_pods.ts";
import { type ApiUser, readRecordedPods, startKubernetesApi } from "./kubernetes_api.ts";
import { readDocument, runProgram } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { startVllmServer } from "./vllm_server.ts";

interface RecordedRequest {
  readonly what: string;
  readonly user: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly body?: string;
  readonly bodyHead?: string;
}

const RECORDED: readonly RecordedRequest[] = JSON.parse(
  Deno.readTextFileSync(new URL("fixtures/kubernetes/kubectl-proxy-runs.json", import.meta.url)),
).requests;

/** Answers of `kubectl proxy` itself, and a list of which another pod's `uid` is shown. */
const NOT_COMPARED: ReadonlySet<string> = new Set([
  ...["a port by name", "method refused by kubectl proxy", "path refused by kubectl proxy", "list"],
]);

Deno.test("startKubernetesApi() answers as the recorded API server", async () => {
  const { bodyHead: metrics = "" } = RECORDED[0];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const isMetrics = new URL(request.url).pathname === "/metrics";
    return isMetrics
      ? new Response(metrics)
      : Response.json({ detail: "Not Found" }, { status: 404 });
  });
  const api = await startKubernetesApi();
  try {
    const base = `http://127.0.0.1:${server.addr.port}`;
    api.servers.set("chart/qwen-deployment-vllm-6d5f7c9b8-x2x7k:8000", base);
    api.servers.set("https:kserve/llama-70b-kserve-6f8d9c7b5-zx4wp:8000", base);
    const compared = RECORDED.filter(({ what }) => !NOT_COMPARED.has(what));
    for (const { what, user, method, path, status, body, bodyHead } of compared) {
      if (what.startsWith("log")) {
        api.logs.set("chart/qwen-deployment-vllm-6d5f7c9b8-x2x7k", `before\n${body}`);
      }
      const response = await fetch(`${api.urls.get(user)}${path}`, { method });
      assertEquals(response.status, status, what);
      const text = await response.text();
      // It names a port of the API server's own.
      const free = (one: string) => one.replace(/:35252/, ":N");
      assertEquals(free(text).trim(), free(body ?? bodyHead ?? "").trim(), what);
    }
    assertEquals(compared.length, 12);
  } finally {
    await api.close();
    await server.shutdown();
  }
});

Deno.test("startKubernetesApi() lists pods in pages, by namespace and label, and breaks off", async () => {
  const api = await startKubernetesApi();
  try {
    const list = async (path: string, user = "admin") => {
      const response = await fetch(`${api.urls.get(user)}/api/v1${path}`);
      const page = readPodPage(await response.json());
      return {
        status: response.status,
        names: page?.items.map((item) => Object(item).metadata.name) ?? [],
        next: page?.continueToken ?? null,
      };
    };
    const names = readRecordedPods().map(({ metadata }) => Object(metadata).name);
    const first = await list("/pods?limit=20");
    assertEquals(first.names, names.slice(0, 20));
    const last = await list(`/pods?limit=20&continue=${encodeURIComponent(first.next ?? "")}`);
    assertEquals([last.names, last.next], [names.slice(20), null]);
    const chosen = await list("/namespaces/prod-stack/pods?labelSelector=release%3Drouter");
    assertEquals(chosen.names, ["vllm-deployment-router-5c8b7d9f6-qk4mz"]);
    assertEquals((await list("/namespaces/chart/pods", "viewer")).names.length, 1);
    assertEquals((await list("/pods", "expired")).status, 401);
    api.answer("busy");
    const busy = await fetch(`${api.urls.get("admin")}/api/v1/pods`);
    await busy.body?.cancel();
    assertEquals([busy.status, busy.headers.get("retry-after")], [429, "1"]);
    api.answer("cut");
    const cut = await fetch(`${api.urls.get("admin")}/api/v1/pods`);
    assertEquals(await cut.text().catch(() => "broken off"), "broken off");
    assertEquals(api.requests.at(-1), {
      ...{ user: "admin", method: "GET", path: "/api/v1/pods" },
      ...{ verb: "list", resource: "pods", namespace: null },
    });
  } finally {
    await api.close();
  }
});

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly rules: (NonNullable<ApiUser["rules"]>[number] & {
    readonly apiGroups: readonly string[];
  })[];
}

/** The roles in the order of the document: from outside a cluster, and from inside. */
function readRoles(): readonly Manifest[] {
  const text = Deno.readTextFileSync(new URL("../docs/kubernetes.md", import.meta.url));
  return [...text.matchAll(/^```yaml\n([^]*?)^```$/gm)]
    .flatMap(([, block]) => block.split(/^---$/m))
    .map((one) => parse(one, { schema: "failsafe" }) as Manifest)
    .filter(({ kind }) => kind === "Role");
}

Deno.test("docs/kubernetes.md has roles of the core API group, which only read", () => {
  const rules = readRoles().map((role) =>
    role.rules.map(({ resources, verbs }) => ({ resources, verbs }))
  );
  const list = { resources: ["pods"], verbs: ["list"] };
  const proxy = { resources: ["pods/proxy"], verbs: ["get"] };
  const log = { resources: ["pods/log"], verbs: ["get"] };
  assertEquals(rules, [[list, proxy, log], [list, log]]);
  const groups = readRoles().flatMap((role) => role.rules.map(({ apiGroups }) => apiGroups));
  assertEquals(groups, [[""], [""], [""], [""], [""]]);
});

Deno.test(
  "--kube needs all of the role of docs/kubernetes.md, and no more",
  needsProgram("kubectl"),
  async () => {
    const [{ rules }] = readRoles();
    const namespace = "chart";
    const users = {
      least: { rules, namespace },
      ...Object.fromEntries(
        rules.map(({ resources: [left] }) => [
          `without-${left.replace("/", "-")}`,
          { rules: rules.filter(({ resources }) => !resources.includes(left)), namespace },
        ]),
      ),
    };
    const [server, api] = await Promise.all([startVllmServer(), startKubernetesApi({ users })]);
    try {
      api.servers.set(
        "chart/qwen-deployment-vllm-6d5f7c9b8-x2x7k:8000",
        `http://localhost:${server.port}`,
      );
      const environment = { KUBECONFIG: api.kubeconfig };
      const args = ["--kube", "--once", "--interval", "0", "--no-gpu", "--output", "json"];
      const run = async (user: string) => {
        const { stdout } = await runProgram([...args, "--kube-context", user], { environment });
        const { endpoints, notices } = readDocument(stdout);
        return [
          ...endpoints.map(({ status, failure }) => `${status} ${failure?.message ?? ""}`),
          ...notices,
          // Why it cannot be read.
          ...endpoints.flatMap(({ log }) => log?.problem ?? []),
        ].join();
      };
      assertEquals(await run("least"), "OK ");
      // Of nodes, one is asked: the role does not allow it.
      const nodes = api.requests.filter(({ resource }) => resource === "nodes");
      assertEquals(nodes.map(({ user, verb }) => `${user} ${verb}`), ["least get"]);
      const own = api.requests.filter(({ user, resource }) => user === "least" && resource !== "");
      assertEquals(new Set(own.map(({ method }) => method)), new Set(["GET"]));
      assertMatch(await run("without-pods"), /^the API server .* the verb list on pods$/);
      assertMatch(await run("without-pods-proxy"), /^DOWN .* the verb get on pods\/proxy$/);
      assertEquals(await run("without-pods-log"), "OK ");
      api.servers.clear();
      assertMatch(await run("without-pods-log"), /^DOWN .* the verb get on pods\/log$/);
      assertMatch(await run("least"), /^DOWN .* that the port is right$/);
    } finally {
      await Promise.all([api.close(), server.close()]);
    }
  },
);

Deno.test(
  "--kube prices GPUs by the labels of their nodes, where it may read them",
  needsProgram("kubectl"),
  async () => {
    const [server, api] = await Promise.all([startVllmServer(), startKubernetesApi()]);
    try {
      api.servers.set(
        "chart/qwen-deployment-vllm-6d5f7c9b8-x2x7k:8000",
        `http://localhost:${server.port}`,
      );
      api.nodes.set("gpu-node-1", { "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3" });
      const environment = { KUBECONFIG: api.kubeconfig };
      const where = ["--kube-namespace", "chart"];
      const args = [
        "--kube",
        ...where,
        "--once",
        "--interval",
        "0",
        "--no-gpu",
        "--output",
        "json",
      ];
      const { stdout } = await runProgram(args, { environment });
      const { cost: { basis, hosts } } = JSON.parse(stdout);
      assertEquals([basis, hosts.length, hosts[0].name], ["requested", 1, "gpu-node-1"]);
      const [{ name, count, usdPerGpuHour, isHint }] = hosts[0].gpus;
      assertEquals([name, count, usdPerGpuHour, isHint], ["NVIDIA H100 80GB HBM3", 1, 3.39, true]);
    } finally {
      await Promise.all([api.close(), server.close()]);
    }
  },
);
