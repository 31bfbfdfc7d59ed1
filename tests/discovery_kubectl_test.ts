/**
 * The real `kubectl`, between us and a stand-in for an API server.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { Cluster } from "../lib/discovery_cluster.ts";
import { createKubectlCluster } from "../lib/discovery_kubectl.ts";
import { type Pod, readPods } from "../lib/discovery_pods.ts";
import type { HttpResponse, Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { listProxies } from "./kubectl_runs.ts";
import { type KubernetesApi, readRecordedPods, startKubernetesApi } from "./kubernetes_api.ts";
import { waitFor } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";

const PLATFORM = createDenoPlatform();
/** Its end is seen by its process; its streams close soon after. */
const NEEDS_KUBECTL = {
  ...needsProgram("kubectl"),
  sanitizeOps: false,
  sanitizeResources: false,
};

/** The environment belongs to all tests. */
function useKubeconfig(path: string): Platform {
  const more = [`--kubeconfig=${path}`];
  return {
    ...PLATFORM,
    runProgram: (call) => PLATFORM.runProgram({ ...call, arguments: [...call.arguments, ...more] }),
    startProgram: (start) =>
      PLATFORM.startProgram({ ...start, arguments: [...start.arguments, ...more] }),
  };
}

async function withCluster(
  context: string | null,
  work: (cluster: Cluster, api: KubernetesApi) => Promise<void>,
  use: (platform: Platform) => Platform = (platform) => platform,
): Promise<void> {
  const api = await startKubernetesApi();
  const platform = use(useKubeconfig(api.kubeconfig));
  const cluster = await createKubectlCluster(platform, { context, timeout: 30 });
  try {
    await work(cluster, api);
  } finally {
    cluster.close();
    const listLeft = () => listProxies(api.kubeconfig);
    await waitFor(() => listLeft().length === 0, () => `the end of ${listLeft()}`);
    await api.close();
  }
}

/** User and path, without what kubectl itself asks for. */
function listAsked({ requests }: KubernetesApi): readonly (readonly string[])[] {
  return requests.filter(({ resource }) => resource !== "").map(({ user, path }) => [user, path]);
}

const LIST = "/api/v1/namespaces/chart/pods";
const MIB = 2 ** 20;

async function readProblem(cluster: Cluster, path = LIST): Promise<string> {
  const answer = await cluster.get(path, MIB);
  if (!("kind" in answer)) throw new Error(`${path} was answered with ${answer.status}`);
  return `${answer.kind}: ${answer.message}`;
}

Deno.test(
  "createKubectlCluster() opens the context wanted, in its namespace",
  NEEDS_KUBECTL,
  async () => {
    await withCluster(null, async (cluster) => {
      const place = await cluster.open();
      assert(!("kind" in place));
      assertEquals([place.name, place.namespace], ["admin", "default"]);
    });
    await withCluster("viewer", async (cluster, api) => {
      const place = await cluster.open();
      assert(!("kind" in place));
      assertEquals([place.name, place.namespace], ["viewer", "chart"]);
      assert(!("kind" in await cluster.get(LIST, MIB)));
      assertEquals(listAsked(api), [["viewer", LIST]]);
    });
  },
);

Deno.test(
  "createKubectlCluster() says what is wrong with kubectl or its configuration",
  NEEDS_KUBECTL,
  async () => {
    const explain = async (
      context: string | null,
      use?: (platform: Platform) => Platform,
    ): Promise<string> => {
      let message = "";
      await withCluster(context, async (cluster) => {
        const place = await cluster.open();
        message = "kind" in place ? `${place.kind}: ${place.message}` : "it opened";
      }, use);
      return message;
    };
    assertEquals(
      await explain("nosuch"),
      'cluster: kubectl: "cannot locate context nosuch": correct --kube-context: kubectl config ' +
        "get-contexts lists them",
    );
    assertEquals(
      await explain(null, () => useKubeconfig("/nowhere/config")),
      'cluster: kubectl: "current-context must exist in order to minify": choose a context with ' +
        "--kube-context, or set KUBECONFIG",
    );
    assertEquals(
      await explain(null, (platform) => ({
        ...platform,
        runProgram: (call) => PLATFORM.runProgram({ ...call, name: "no-such-kubectl" }),
      })),
      "cluster: kubectl is not on the PATH: install it, or watch the cluster's Prometheus with " +
        "--prometheus",
    );
  },
);

Deno.test(
  "createKubectlCluster() passes refusals on, each with a next step",
  NEEDS_KUBECTL,
  async () => {
    await withCluster("nobody", async (cluster) => {
      await cluster.open();
      assertEquals(
        await readProblem(cluster),
        'unauthorized: the API server of "nobody" does not let "nobody" list pods in the namespace ' +
          '"chart": ask for a role with the verb list on pods',
      );
    });
    await withCluster(null, async (cluster, api) => {
      await cluster.open();
      api.answer("busy");
      assertMatch(await readProblem(cluster), /^http_status: .*wants fewer requests: raise --int/);
      api.answer("cut");
      assertMatch(
        await readProblem(cluster),
        /^cluster: an answer of .*"admin" was cut off/,
      );
      api.answer("html");
      assertMatch(
        await readProblem(cluster),
        /^cluster: kubectl: "<html>Bad gateway<\/html>": check/,
      );
      api.answer("ok");
      assertMatch(
        await readProblem(cluster, `${LIST}?limit=500&labelSelector=`).catch(String),
        /200/,
      );
    });
    await withCluster("expired", async (cluster, api) => {
      await cluster.open();
      assertMatch(await readProblem(cluster), /^unauthorized: .*refused the login.*log in again/);
      const count = api.requests.length;
      assertMatch(await readProblem(cluster), /^unauthorized: /);
      assertEquals(api.requests.length, count, "each login may start a program: not again at once");
    });
  },
);

Deno.test(
  "createKubectlCluster() reaches an API server that is down, and says so",
  NEEDS_KUBECTL,
  async () => {
    await withCluster(null, async (cluster, api) => {
      await cluster.open();
      const { default: config } = await import(`file://${api.kubeconfig}`, {
        with: { type: "json" },
      });
      const server = "http://127.0.0.1:1";
      const clusters = config.clusters.map(({ name }: { readonly name: string }) => ({
        ...{ name, cluster: { server } },
      }));
      await Deno.writeTextFile(api.kubeconfig, JSON.stringify({ ...config, clusters }));
      assertMatch(
        await readProblem(cluster),
        /^cluster: kubectl: ".*connection refused": check the VPN, and kubectl get pods$/,
      );
    });
  },
);

Deno.test(
  "createKubectlCluster() lets nothing through but reads of pods, logs and metrics",
  NEEDS_KUBECTL,
  async () => {
    await withCluster(null, async (cluster, api) => {
      const pod = `${LIST}/qwen-deployment-vllm-6d5f7c9b8-x2x7k`;
      for (
        const path of [
          ...["/api/v1/secrets", "/api/v1/namespaces/chart/secrets", "/api", "/version"],
          ...[
            pod,
            `${pod}/exec?command=sh`,
            `${pod}:8000/proxy/v1/completions`,
            `${pod}/proxy/health`,
          ],
          ...[`${pod}:8000/proxy/metrics/../v1/completions`, `${pod}/attach`, "/apis/apps/v1"],
        ]
      ) {
        assertMatch(await readProblem(cluster, path), /"Forbidden"/, path);
      }
      assertEquals(listAsked(api), []);
      for (const name of ["metrics", "metrics/", "v1/models", "version"]) {
        assertMatch(await readProblem(cluster, `${pod}:8000/proxy/${name}`), /refused/, name);
      }
      assertEquals(listAsked(api).length, 4);
      const [proxy] = listProxies(api.kubeconfig);
      const command = Deno.readTextFileSync(`/proc/${proxy}/cmdline`);
      assertMatch(command, /--reject-methods=\^\(POST\|PUT\|PATCH\|DELETE\|OPTIONS\|CONNECT\)\$/);
    });
  },
);

Deno.test(
  "createKubectlCluster() starts its proxy again when that has ended",
  NEEDS_KUBECTL,
  async () => {
    await withCluster(null, async (cluster, api) => {
      assert(!("kind" in await cluster.get(LIST, MIB)));
      const [before] = listProxies(api.kubeconfig);
      Deno.kill(before, "SIGKILL");
      const answers: string[] = [];
      await waitFor(async () => {
        const answer = await cluster.get(LIST, MIB);
        answers.push("kind" in answer ? answer.kind : "ok");
        return !("kind" in answer);
      }, () => `an answer after ${answers}`);
      assertEquals(answers[0], "cluster");
      const after = listProxies(api.kubeconfig);
      assertEquals([after.length, after.includes(before)], [1, false]);
    });
  },
);

interface Asked {
  readonly response: HttpResponse;
  readonly text: string;
}

Deno.test(
  "createPodClient() tells what a pod answers from what the API server says of it",
  NEEDS_KUBECTL,
  async () => {
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      const { pathname, search } = new URL(request.url);
      if (pathname === "/metrics/") return new Response(`up 1\n`);
      if (pathname === "/version") return new Response("oauth2: i/o timeout", { status: 500 });
      if (pathname === "/metrics") {
        const location = `/metrics/${search}`;
        return new Response(null, { status: 307, headers: { location } });
      }
      return new Response('{"detail":"Not Found"}', {
        status: 404,
        headers: { server: "uvicorn" },
      });
    });
    const pods = new Map<string, Pod>(
      readPods(readRecordedPods()).map((pod) => [`${pod.name}.${pod.namespace}.pod`, pod]),
    );
    await withCluster(null, async (cluster, api) => {
      await cluster.open();
      const client = cluster.createPodClient((host) => pods.get(host));
      const ask = async (url: string): Promise<Asked> => {
        const { signal } = new AbortController();
        const response = await client.get({ url, headers: { accept: "*/*" }, signal });
        return { response, text: await new Response(response.body).text() };
      };
      const refuse = async (url: string): Promise<string> =>
        (await assertRejects(() => ask(url), Error)).message;
      const base = `http://127.0.0.1:${server.addr.port}`;
      api.servers.set("chart/qwen-deployment-vllm-6d5f7c9b8-x2x7k:8000", base);
      api.servers.set("https:kserve/llama-70b-kserve-6f8d9c7b5-zx4wp:8000", base);
      const url = "http://qwen-deployment-vllm-6d5f7c9b8-x2x7k.chart.pod:8000";
      const redirect = (await ask(`${url}/metrics`)).response;
      assertEquals([redirect.status, redirect.header("location")], [307, "/metrics/"]);
      assertEquals((await ask(`${url}/metrics/`)).text, "up 1\n");
      const missing = await ask(`${url}/v1/models`);
      assertEquals([missing.response.status, missing.text], [404, '{"detail":"Not Found"}']);
      assertEquals(missing.response.header("server"), "uvicorn");
      // These words are not kubectl's: neither an error of the cluster, nor a pause for all pods.
      const broken = await ask(`${url}/version`);
      assertEquals([broken.response.status, broken.text], [500, "oauth2: i/o timeout"]);
      const secure = "llama-70b-kserve-6f8d9c7b5-zx4wp.kserve.pod:8000/metrics/";
      assertEquals((await ask(`https://${secure}`)).text, "up 1\n");
      // These are classified by their words, as those of a direct connection.
      assertMatch(await refuse(`http://${secure}`), /connection reset by peer/);
      assertMatch(
        await refuse("http://loading-7d9f8c6b5-aaaaa.states.pod:8000/metrics"),
        /connection refused/,
      );
      const count = api.requests.length;
      assertMatch(
        await refuse("http://pending-7d9f8c6b5-ccccc.states.pod:8000/metrics"),
        /^the pod is pending \(Unschedulable/,
      );
      assertEquals(await refuse("http://other.states.pod:8000/metrics"), "the pod is gone");
      assertEquals(api.requests.length, count, "these need no request");
      api.setPods([]);
      assertEquals(await refuse(`${url}/metrics`), "the pod is gone");
    });
    await withCluster("viewer", async (cluster) => {
      await cluster.open();
      const { get } = cluster.createPodClient((host) => pods.get(host));
      const { signal } = new AbortController();
      const url = "http://qwen-deployment-vllm-6d5f7c9b8-x2x7k.chart.pod:8000/metrics";
      const error = await assertRejects(() => get({ url, headers: {}, signal }), Error);
      assertMatch(error.message, /does not let "viewer" get pods\/proxy in the namespace "chart"/);
    });
    await server.shutdown();
  },
);
