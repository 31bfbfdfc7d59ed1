/**
 * A pod's view of its cluster: a stand-in for an API server over TLS that wants the account's token,
 * and pods that are servers on loopback.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { createKubernetesWatch } from "../lib/discovery_kubernetes.ts";
import {
  createServiceAccountCluster,
  findServiceAccount,
} from "../lib/discovery_service_account.ts";
import { NOTHING_WATCHED } from "../lib/discovery_source.ts";
import type { HttpResponse, Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { ProblemError } from "../lib/scrape_attempt.ts";
import { createTestCertificates, type TestCertificates } from "./hostile_server.ts";
import { type KubernetesApi, readRecordedPods, startKubernetesApi } from "./kubernetes_api.ts";
import { listCommand, readDocument, runProgram } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { startVllmServer } from "./vllm_server.ts";

/** What a role needs here: no `pods/proxy`, as pods are asked themselves. */
const LISTER = { rules: [{ verbs: ["list"], resources: ["pods"] }], namespace: "chart" };

interface Inside {
  readonly api: KubernetesApi;
  readonly folder: string;
  /** Sees the variables of a pod, and these. */
  readonly createPlatform: (more?: Readonly<Record<string, string>>) => Platform;
  readonly variables: Readonly<Record<string, string>>;
  readonly writeToken: (token: string) => Promise<void>;
  readonly certificates: TestCertificates;
}

async function inCluster(work: (inside: Inside) => Promise<void>): Promise<void> {
  const certificates = await createTestCertificates();
  const { server, ca } = certificates;
  const folder = await Deno.makeTempDir({ prefix: "vllm-htop-test-" });
  const users = { lister: LISTER, second: LISTER };
  const api = await startKubernetesApi({ users, tls: server });
  const { hostname, port } = new URL(api.urls.get("") ?? "");
  const variables = { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port };
  const writeToken = (token: string) => Deno.writeTextFile(`${folder}/token`, token);
  await writeToken("lister");
  await Deno.writeTextFile(`${folder}/ca.crt`, ca);
  await Deno.writeTextFile(`${folder}/namespace`, "chart");
  const createPlatform = (more: Readonly<Record<string, string>> = {}): Platform => {
    const given: Readonly<Record<string, string>> = { HOME: folder, ...variables, ...more };
    return { ...createDenoPlatform(), environment: (name) => given[name] };
  };
  try {
    await work({ api, folder, createPlatform, variables, writeToken, certificates });
  } finally {
    await api.close();
    await Deno.remove(folder, { recursive: true });
    await Deno.remove(certificates.folder, { recursive: true });
  }
}

/** The recorded pod of vLLM's chart, at a server of this machine. */
function placePod(port: number, address: string | null = "127.0.0.1"): Record<string, unknown> {
  const pod = structuredClone(
    readRecordedPods().find(({ metadata }) => Object(metadata).namespace === "chart"),
  );
  assert(pod !== undefined);
  const { spec, status } = Object(pod);
  spec.containers[0].ports = [{ name: "metrics", containerPort: port }];
  status.podIP = address ?? undefined;
  return pod;
}

async function open({ createPlatform, folder }: Inside) {
  const platform = createPlatform();
  const account = await findServiceAccount(platform, folder);
  assert(account !== null);
  const cluster = await createServiceAccountCluster(platform, account, { timeout: 30 });
  const watch = createKubernetesWatch(platform, cluster, { namespaces: [], selector: "" });
  const look = () => watch.source.look({ ...NOTHING_WATCHED, interval: 1 });
  const client = await watch.platform.createHttpClient({ isPod: true });
  const get = (url: string): Promise<HttpResponse> =>
    client.get({ url, headers: {}, signal: AbortSignal.timeout(30_000) });
  return { look, get, close: cluster.close };
}

Deno.test({
  name:
    "createServiceAccountCluster() lists pods by its token, read each time, and asks them themselves",
  ...needsProgram("openssl"),
  fn: () =>
    inCluster(async (inside) => {
      const { api, writeToken, certificates } = inside;
      const seen: (string | null)[] = [];
      const answer = (request: Request): Response => {
        seen.push(request.headers.get("authorization"));
        const { host, pathname, protocol } = new URL(request.url);
        return pathname === "/metrics"
          ? Response.redirect(`${protocol}//${host}/metrics/`, 307)
          : new Response("vllm:x 1\n");
      };
      const place = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
      const plain = Deno.serve(place, answer);
      const { selfSigned: { cert, key } } = certificates;
      const tls = Deno.serve({ ...place, cert, key }, answer);
      const { look, get, close } = await open(inside);
      try {
        api.setPods([placePod(plain.addr.port)]);
        const { found: [{ endpoint }], notices } = await look();
        assertEquals(notices, []);
        assertEquals(endpoint.key.slice(0, 22), "kube:in-cluster/chart/");
        const moved = await get(endpoint.metricsUrl);
        await moved.body?.cancel();
        // Not to an address that a scrape would take for another server.
        assertEquals([moved.status, moved.header("location")], [307, "/metrics/"]);
        const { body } = await get(`${endpoint.metricsUrl}/`);
        assertEquals(await new Response(body).text(), "vllm:x 1\n");
        // No certificate names a pod's address.
        const { pathname, host } = new URL(endpoint.metricsUrl);
        const secure = `https://${host.replace(/:.*/, "")}:${tls.addr.port}${pathname}/`;
        assertEquals(await new Response((await get(secure)).body).text(), "vllm:x 1\n");
        assertEquals(seen, [null, null, null]);
        await writeToken("second\n");
        // Through an API server, they would be too many.
        const many = Array.from({ length: 250 }, (_, i) => {
          const pod = placePod(8000);
          Object(pod.metadata).name = `p${i}`;
          return pod;
        });
        api.setPods(many);
        const { found, notices: none } = await look();
        assertEquals([found.length, found[0].endpoint.pace, none], [250, undefined, []]);
        const lists = api.requests.filter(({ resource }) => resource === "pods");
        assertEquals(lists.map(({ user, verb, resource }) => [user, verb, resource]), [
          ["lister", "list", "pods"],
          ["second", "list", "pods"],
        ]);
      } finally {
        close();
        await Promise.all([plain.shutdown(), tls.shutdown()]);
      }
    }),
});

Deno.test({
  name: "createServiceAccountCluster() says in a sentence why pods cannot be listed or asked",
  ...needsProgram("openssl"),
  fn: () =>
    inCluster(async (inside) => {
      const { api, folder, writeToken, certificates } = inside;
      const { look, get, close } = await open(inside);
      const notice = async (): Promise<string> => (await look()).notices?.join() ?? "";
      api.setPods([placePod(1, null)]);
      const { found: [{ endpoint }] } = await look();
      const absent = await get(endpoint.metricsUrl).catch((error) => error);
      assert(absent instanceof ProblemError);
      assertEquals(absent.problem, { kind: "pod", message: "the pod has no address yet" });
      const gone = await get("http://other.chart.pod:8000/metrics").catch((error) => error);
      assertEquals(gone.problem.message, "the pod is gone");
      await writeToken("nobody");
      assertEquals(
        await notice(),
        'the API server of "in-cluster" does not let "nobody" list pods in the namespace ' +
          '"chart": ask for a role with the verb list on pods',
      );
      await writeToken("unknown");
      assertMatch(await notice(), /refused the token of the service account: check /);
      await Deno.remove(`${folder}/token`);
      assertMatch(await notice(), /^the token .* cannot be read: check automount/);
      await writeToken("lister");
      api.answer("cut");
      assertMatch(await notice(), /^the connection to the API server .* failed: check /);
      api.answer("ok");
      assertEquals(await notice(), "");
      close();
      await Deno.writeTextFile(`${folder}/ca.crt`, certificates.otherCa);
      const other = await open(inside);
      assertMatch((await other.look()).notices?.join() ?? "", /certificate of another authority/);
      other.close();
      await Deno.remove(`${folder}/ca.crt`);
      const broken = await open(inside);
      assertMatch((await broken.look()).notices?.join() ?? "", /^the certificate authority "/);
      broken.close();
    }),
});

Deno.test("findServiceAccount() finds one in a pod alone, where the user has no kubeconfig", async () => {
  const folder = await Deno.makeTempDir({ prefix: "vllm-htop-test-" });
  const find = (variables: Readonly<Record<string, string>>) =>
    findServiceAccount(
      { ...createDenoPlatform(), environment: (name) => variables[name] },
      folder,
    );
  const pod = { KUBERNETES_SERVICE_HOST: "::1", KUBERNETES_SERVICE_PORT: "443", HOME: folder };
  try {
    assertEquals(await find(pod), null, "no token is mounted");
    await Deno.writeTextFile(`${folder}/token`, "t");
    assertEquals(await find(pod), { url: "https://[::1]:443", folder });
    assertEquals(await find({ HOME: folder }), null);
    assertEquals(await find({ ...pod, KUBECONFIG: "/x" }), null);
    await Deno.mkdir(`${folder}/.kube`);
    await Deno.writeTextFile(`${folder}/.kube/config`, "kind: Config\n");
    assertEquals(await find(pod), null);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Runs the program where it sees these files in the place in which a pod has them. */
function listMountCommand(
  folder: string,
  args: readonly string[],
): readonly [string, ...string[]] {
  const script = `mount -t tmpfs none /run && mkdir -p ${ACCOUNT_FOLDER} && ` +
    `cp ${folder}/* ${ACCOUNT_FOLDER}/ && exec "$@"`;
  return ["unshare", "--mount", "sh", "-c", script, "sh", ...listCommand(...args)];
}

const MAY_MOUNT = await new Deno.Command("unshare", { args: ["--mount", "true"] }).output()
  .then(({ success }) => success, () => false);

Deno.test({
  name: "--kube in a pod needs no kubectl, and no more than the program's own permissions",
  ignore: !MAY_MOUNT || needsProgram("openssl").ignore,
  fn: () =>
    inCluster(async ({ api, folder, variables }) => {
      const server = await startVllmServer();
      api.setPods([placePod(server.port)]);
      const home = Deno.env.get("HOME") ?? "";
      const environment = {
        ...variables,
        DENO_DIR: Deno.env.get("DENO_DIR") ?? `${home}/.cache/deno`,
        HOME: folder,
        PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
      };
      try {
        const args = ["--kube", "--once", "--interval", "0", "--no-gpu", "--output", "json"];
        const command = listMountCommand(folder, args);
        const { code, stdout, stderr } = await runProgram([], { command, environment });
        assertEquals([code, stderr], [0, ""]);
        const { endpoints, notices } = readDocument(stdout);
        assertEquals([endpoints.map(({ status }) => status), notices], [["OK"], []]);
        assertEquals(
          new Set(api.requests.map(({ user, verb, resource }) => `${user} ${verb} ${resource}`)),
          // The latter is refused, which is no loss but for the price of the GPUs.
          new Set(["lister list pods", "lister get nodes"]),
        );
      } finally {
        await server.close();
      }
    }),
});
