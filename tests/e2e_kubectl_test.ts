/**
 * `--kube` with the real `kubectl`, before a stand-in for an API server.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import type { JsonRecord } from "../lib/json.ts";
import { listProxies } from "./kubectl_runs.ts";
import { type KubernetesApi, readRecordedPods, startKubernetesApi } from "./kubernetes_api.ts";
import {
  type EndpointDocument,
  readDocument,
  readDocuments,
  type ReportDocument,
  runProgram,
  startProgram,
  waitFor,
} from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { startVllmServer } from "./vllm_server.ts";

interface PodDocument {
  readonly state: string;
  readonly reason: string | null;
}

type KubeEndpoint = Omit<EndpointDocument, "log"> & {
  readonly log:
    | NonNullable<EndpointDocument["log"]> & {
      readonly death: { readonly cause: string } | null;
    }
    | null;
  readonly displayName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly pod: PodDocument | null;
};

interface KubeDocument extends Omit<ReportDocument, "endpoints"> {
  readonly endpoints: readonly KubeEndpoint[];
}

const READY = "chart/qwen-deployment-vllm-6d5f7c9b8-x2x7k:8000";

/** A server of its own beside those of the cluster, which must go on whatever happens there. */
async function withCluster(
  work: (api: KubernetesApi, parts: {
    readonly environment: Record<string, string>;
    readonly ownUrl: string;
  }) => Promise<void>,
): Promise<void> {
  const [pod, own] = await Promise.all([startVllmServer(), startVllmServer()]);
  const api = await startKubernetesApi();
  api.servers.set(READY, `http://127.0.0.1:${pod.port}`);
  // With the loader's variables, Deno starts no program that inherits them.
  const environment = { KUBECONFIG: api.kubeconfig, LD_LIBRARY_PATH: "/nowhere" };
  try {
    await work(api, { environment, ownUrl: `localhost:${own.port}` });
    const listLeft = () => listProxies(api.kubeconfig);
    await waitFor(() => listLeft().length === 0, () => `the end of ${listLeft()}`);
  } finally {
    await api.close();
    await Promise.all([pod.close(), own.close()]);
  }
}

const START: readonly string[] = Deno.readTextFileSync(
  new URL("fixtures/log/vllm-0.32.0-start.log", import.meta.url),
).split("\n");

/** As the API server writes it: each line with its time, half a second after the one before. */
function stampLines(lines: readonly string[], startedAt: number): string {
  return lines.map((line, i) => `${new Date(startedAt + 500 * i).toISOString()} ${line}\n`).join(
    "",
  );
}

/** The recorded pods, of which one has started to load a minute ago, and one was made then. */
function createLoadingPods(startedAt: number): readonly unknown[] {
  const text = JSON.stringify(readRecordedPods());
  const pods: JsonRecord[] = JSON.parse(text);
  return pods.map((pod) => {
    const { metadata } = pod as { readonly metadata: { readonly name: string } };
    if (!/^(loading|pending)-/.test(metadata.name)) return pod;
    const started = new Date(startedAt).toISOString();
    const times = /("(?:startedAt|startTime)":")[^"]*/g;
    return JSON.parse(JSON.stringify(pod).replace(times, `$1${started}`));
  });
}

const LOADING = "states/loading-7d9f8c6b5-aaaaa";
const CRASHING = "states/crashing-7d9f8c6b5-bbbbb";

Deno.test("--kube reads the logs of pods that load or crash", needsProgram("kubectl"), async () => {
  await withCluster(async (api, { environment }) => {
    const startedAt = Date.now() - 60_000;
    api.setPods(createLoadingPods(startedAt));
    api.logs.set(LOADING, stampLines(START.slice(0, 41), startedAt));
    const death = "(EngineCore pid=7) ERROR 11-22 00:21:00 [core.py:1000] " +
      "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB";
    api.logs.set(CRASHING, stampLines([...START.slice(0, 30), death], startedAt));
    const args = ["--kube", "--kube-namespace", "states", ...ONCE];
    const { stdout } = await runProgram(args, { environment });
    const { endpoints: [crashing, loading, pending] } = readDocument(stdout) as KubeDocument;
    assertEquals([loading.status, loading.log?.load?.phase], ["LOAD", "weights"]);
    assertEquals(
      loading.log?.source,
      "kubectl logs -n states loading-7d9f8c6b5-aaaaa -c vllm",
    );
    assertEquals([crashing.status, crashing.log?.death?.cause], ["DOWN", "out_of_memory"]);
    assertEquals(pending.status, "LOAD");
    assertMatch(pending.log?.problem ?? "", /^the pod is pending \(Unschedulable/);
    const asked = api.requests.filter(({ resource }) => resource === "pods/log");
    assertEquals(
      asked.map(({ path }) => path.replace(/^.*\/pods\//, "")).toSorted().slice(0, 1),
      ["crashing-7d9f8c6b5-bbbbb/log?container=vllm&tailLines=1000&timestamps=true"],
    );
    assertEquals(asked.length, 3, "one of each that fails and has run");
  });
});

const ONCE = ["--once", "--interval", "0", "--no-gpu", "--output", "json"];

Deno.test(
  "--kube shows pods that serve, and says why others do not",
  needsProgram("kubectl"),
  async () => {
    await withCluster(async (api, { environment }) => {
      const args = ["--kube", "--kube-namespace", "chart", "--kube-namespace", "states", ...ONCE];
      const { code, stdout, stderr } = await runProgram(args, { environment });
      assertEquals([code, stderr], [1, ""]);
      const { endpoints, replicas, notices } = readDocument(stdout) as KubeDocument;
      assertEquals(notices, []);
      const [ready, crashing, loading, pending, silent] = endpoints;
      assertEquals(
        endpoints.map(({ status, pod, failure }) => [status, pod?.state, failure?.kind]),
        [
          ["OK", "ready", undefined],
          ["DOWN", "crashing", "pod"],
          // Both for more than an hour.
          ["DOWN", "starting", "refused"],
          ["DOWN", "pending", "pod"],
          ["DOWN", "ready", "refused"],
        ],
      );
      assertEquals(ready.displayName, "qwen-deployment-vllm-6d5f7c9b8-x2x7k");
      assertEquals([ready.labels.namespace, ready.labels.node], ["chart", "gpu-node-1"]);
      assertEquals(typeof replicas[0].figures?.running, "number");
      assertEquals(crashing.pod?.reason, "CrashLoopBackOff");
      assertMatch(
        loading.failure?.message ?? "",
        /"http:.*states.pod:8000\/metrics" refused the co/,
      );
      assertMatch(pending.pod?.reason ?? "", /^Unschedulable: 0\/8 nodes/);
      assertEquals(silent.displayName, "renamed-image-7d9f8c6b5-ddddd");
      assertEquals(new Set(api.requests.map(({ method }) => method)), new Set(["GET"]));
    });
  },
);

Deno.test(
  "--kube tells in one sentence what is wrong, and other servers go on",
  needsProgram("kubectl"),
  async () => {
    await withCluster(async (api, { environment, ownUrl }) => {
      const explain = async (
        context: string,
        more: Readonly<Record<string, string>> = {},
      ): Promise<readonly string[]> => {
        const args = ["--kube", "--kube-context", context, "--url", ownUrl, ...ONCE];
        const { stdout } = await runProgram(args, { environment: { ...environment, ...more } });
        const { endpoints, notices } = readDocument(stdout);
        assertEquals(endpoints[0]?.status, "OK", `the other source beside ${context}`);
        return notices;
      };
      assertMatch(
        (await explain("nosuch"))[0],
        /^kubectl: "cannot locate context nosuch": correct/,
      );
      assertMatch(
        (await explain("nobody"))[0],
        /list pods in the namespace "default": ask for a role/,
      );
      assertMatch((await explain("expired"))[0], /refused the login.*: log in again/);
      assertMatch(
        (await explain("admin", { PATH: "/nowhere" }))[0],
        /^kubectl is not on the PATH: in/,
      );
      api.answer("cut");
      assertMatch((await explain("admin"))[0], /was cut off/);
      api.answer("ok");
      assertMatch(
        (await explain("admin"))[0],
        /has no pod of a model server in the namespace "defau/,
      );
    });
  },
);

Deno.test(
  "--kube holds up no other server while its API server is silent",
  needsProgram("kubectl"),
  async () => {
    await withCluster(async (api, { environment, ownUrl }) => {
      const silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const server = `http://127.0.0.1:${silent.addr.port}`;
      const config = JSON.parse(await Deno.readTextFile(api.kubeconfig));
      const clusters = [{ name: "admin", cluster: { server } }];
      await Deno.writeTextFile(api.kubeconfig, JSON.stringify({ ...config, clusters }));
      const args = ["--kube", "--url", ownUrl, "--interval", "0.5", "--timeout", "1"];
      const run = startProgram([...args, "--no-gpu", "--output", "json"], { environment });
      await run.waitFor(() => run.stdout().includes("\n"));
      const [{ endpoints, notices }] = readDocuments(
        run.stdout().slice(0, run.stdout().indexOf("\n") + 1),
      );
      assertEquals([endpoints[0].status, notices], ["OK", ["asking kubectl for pods"]]);
      run.signal("SIGTERM");
      assertEquals((await run.ended).code, 143);
      silent.close();
    });
  },
);

Deno.test(
  "--kube goes on when its proxy ends, and leaves none behind, however it ends",
  needsProgram("kubectl"),
  async () => {
    await withCluster(async (api, { environment }) => {
      const args = ["--kube", "--kube-namespace", "chart", "--interval", "0.5", "--output", "json"];
      const isUp = (text: string): boolean =>
        readDocuments(text.slice(0, text.lastIndexOf("\n") + 1))
          .some(({ endpoints: [endpoint] }) => endpoint?.status === "OK");
      const run = startProgram([...args, "--no-gpu"], { environment });
      await run.waitFor(() => isUp(run.stdout()));
      const [before] = listProxies(api.kubeconfig);
      Deno.kill(before, "SIGKILL");
      await waitFor(() => !listProxies(api.kubeconfig).includes(before));
      await waitFor(() => listProxies(api.kubeconfig).length > 0);
      const seen = run.stdout().length;
      await run.waitFor(() => isUp(run.stdout().slice(run.stdout().indexOf("\n", seen) + 1)));
      run.signal("SIGTERM");
      assertEquals((await run.ended).code, 143);
      for (const signal of ["SIGINT", "SIGHUP", "SIGQUIT"] as const) {
        const next = startProgram([...args, "--no-gpu"], { environment });
        await next.waitFor(() => isUp(next.stdout()));
        assertEquals(listProxies(api.kubeconfig).length, 1);
        next.signal(signal);
        await next.ended;
        await waitFor(() => listProxies(api.kubeconfig).length === 0, () => `none after ${signal}`);
      }
    });
  },
);
