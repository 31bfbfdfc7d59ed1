/**
 * A cluster from within: a pod's service account has an address of the API server, a token and a
 * certificate authority. Pods are asked at their own addresses, so the account needs to list pods and
 * nothing else. Source: client-go's `rest.InClusterConfig`.
 * @module
 */

import {
  type Cluster,
  describeRefusal,
  getAskedPod,
  MAX_REFUSAL_BYTES,
  type PodFinder,
  restoreLocation,
} from "./discovery_cluster.ts";
import { describeFileError } from "./files.ts";
import type { HttpClient, HttpRequest, HttpResponse, Platform, Transport } from "./platform.ts";
import { ProblemError } from "./scrape_attempt.ts";
import type { EndpointAccess } from "./scrape_credentials.ts";
import type { Problem } from "./scrape_errors.ts";
import { createPageClient, type PageClient } from "./scrape_page.ts";
import { chooseProxy } from "./scrape_proxy.ts";
import { quote, sanitizeName } from "./text.ts";
import type { Seconds } from "./units.ts";

const ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";
const NAME = "in-cluster";

interface ServiceAccount {
  /** Of the API server. */
  readonly url: string;
  readonly folder: string;
}

/** As in a URL. */
function bracket(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** `null` outside of a cluster, and where kubectl would use a configuration of the user's. */
export async function findServiceAccount(
  { environment, readTextFile }: Platform,
  folder: string = ACCOUNT_FOLDER,
): Promise<ServiceAccount | null> {
  const host = environment("KUBERNETES_SERVICE_HOST") ?? "";
  const port = environment("KUBERNETES_SERVICE_PORT") ?? "";
  if (host === "" || port === "" || (environment("KUBECONFIG") ?? "") !== "") return null;
  const canRead = (path: string): Promise<boolean> =>
    readTextFile(path).then((text) => text.trim() !== "", () => false);
  if (await canRead(`${environment("HOME") ?? ""}/.kube/config`)) return null;
  if (!await canRead(`${folder}/token`)) return null;
  return { url: `https://${bracket(host)}:${port}`, folder };
}

async function openPages(
  platform: Platform,
  { url, folder }: ServiceAccount,
  timeout: Seconds,
): Promise<PageClient | Problem> {
  const proxy = chooseProxy(url, platform.environment);
  if (proxy !== null && "error" in proxy) return { kind: "cluster", message: proxy.error };
  const path = `${folder}/ca.crt`;
  // It is replaced every hour.
  const readHeaders = async (): Promise<Readonly<Record<string, string>>> => {
    const token = await platform.readTextFile(`${folder}/token`).catch(() => {
      throw new Error(`the token of the service account, in ${quote(folder)}, cannot be read`);
    });
    return { authorization: `Bearer ${token.trim()}` };
  };
  try {
    const caCertificates = [await platform.readTextFile(path)];
    const transport: Transport = { caCertificates, ...(proxy === null ? {} : { proxy }) };
    const access: EndpointAccess = { transport, readHeaders, sendsCredentials: true };
    return await createPageClient(platform, { access, timeout });
  } catch (error) {
    const why = describeFileError(error);
    return { kind: "cluster", message: `the certificate authority ${quote(path)} ${why}` };
  }
}

const SERVER = `the API server of "${NAME}"`;

function describeFailure({ kind, message }: Problem, url: string, timeout: Seconds): Problem {
  const words: Readonly<Partial<Record<Problem["kind"], string>>> = {
    credentials: `${message}: check automountServiceAccountToken of the pod`,
    timeout: `${SERVER} did not answer within ${timeout} s: check network policies of the pod`,
    too_large: `the answer of ${SERVER} is too large: choose pods with --selector`,
    tls: `${SERVER} has a certificate of another authority than ca.crt of the service account`,
  };
  // HTTP/2 does not tell an answer that is cut off from a lost connection.
  const other = `the connection to ${SERVER} at ${quote(url)} failed: check network policies of ` +
    "the pod, and that the server runs";
  return { kind: "cluster", message: words[kind] ?? other };
}

/** No certificate names a pod's address, so none is checked; pods get no credentials. */
async function createPodClients(platform: Platform) {
  const plain = await platform.createHttpClient({});
  let unchecked: Promise<HttpClient> | null = null;
  return {
    choose: (protocol: string): Promise<HttpClient> | HttpClient =>
      protocol === "http:" ? plain : unchecked ??= platform.createHttpClient({ insecure: true }),
    close: (): void => {
      plain.close();
      void unchecked?.then((client) => client.close());
    },
  };
}

export async function createServiceAccountCluster(
  platform: Platform,
  account: ServiceAccount,
  { timeout }: { readonly timeout: Seconds },
): Promise<Cluster> {
  const clients = await createPodClients(platform);
  let pages: PageClient | null = null;

  const open: Cluster["open"] = async () => {
    if (pages === null) {
      const opened = await openPages(platform, account, timeout);
      if ("kind" in opened) return opened;
      pages = opened;
    }
    const namespace = await platform.readTextFile(`${account.folder}/namespace`).catch(() => "");
    return { name: NAME, namespace: sanitizeName(namespace.trim()) || "default" };
  };

  const get: Cluster["get"] = async (path, limit) => {
    const page = await pages?.get(account.url + path, { limit });
    if (page === undefined) throw new Error("A cluster is opened first");
    if ("kind" in page) return describeFailure(page, account.url, timeout);
    if (page.status === 200) return page;
    if (page.status === 401) {
      const message = `${SERVER} refused the token of the service account: check that the ` +
        "account still exists";
      return { kind: "unauthorized", message };
    }
    const body = new TextDecoder().decode(page.bytes.subarray(0, MAX_REFUSAL_BYTES));
    const nowEpoch = platform.epochSeconds();
    return describeRefusal({ name: NAME }, { status: page.status, body, nowEpoch });
  };

  const askPod = async (findPod: PodFinder, request: HttpRequest): Promise<HttpResponse> => {
    const { protocol, hostname, port, pathname, search } = new URL(request.url);
    const { ip } = getAskedPod(findPod, hostname);
    if (ip === null) throw new ProblemError({ kind: "pod", message: "the pod has no address yet" });
    const origin = `${protocol}//${bracket(ip)}${port === "" ? "" : `:${port}`}`;
    const client = await clients.choose(protocol);
    const response = await client.get({ ...request, url: origin + pathname + search });
    // A redirect to the pod's own address stays with the pod.
    return restoreLocation(
      response,
      (location) => location.startsWith(`${origin}/`) ? location.slice(origin.length) : location,
    );
  };

  return {
    isDirect: true,
    open,
    get,
    createPodClient: (findPod) => ({
      get: (request) => askPod(findPod, request),
      // Shared by all pods.
      close: () => {},
    }),
    close: () => {
      clients.close();
      pages?.close();
    },
  };
}
