/**
 * A stand-in for a Kubernetes API server, on a real socket. It plays recorded lists of pods, passes
 * requests on to real servers behind the pods, and refuses as the real one does: by the rules of a
 * role, or all requests of a kind. `e2e_kubernetes_test.ts` compares it with the recorded answers.
 *
 * @module
 */

import { isRecord, type JsonRecord } from "../lib/json.ts";

/** As in a `Role`: the core API group only. */
export interface RoleRule {
  readonly verbs: readonly string[];
  readonly resources: readonly string[];
}

export interface ApiUser {
  /** `null`: everything. */
  readonly rules: readonly RoleRule[] | null;
  /** Where the rules hold; `null`: everywhere. */
  readonly namespace: string | null;
}

/** A request, as its authorization sees it. */
export interface ApiRequest {
  readonly user: string;
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly verb: string;
  /** Such as `pods/proxy`; empty for other paths. */
  readonly resource: string;
  readonly namespace: string | null;
}

/** `cut` breaks off in the middle of a list; `html` is a gateway's page. */
export type ApiAnswer = "ok" | "unauthorized" | "busy" | "cut" | "html";

export interface KubernetesApi {
  /** By user; over TLS there is one, of the user "". */
  readonly urls: ReadonlyMap<string, string>;
  /** A file with a context for each user, in its namespace; the first is the current one. */
  readonly kubeconfig: string;
  readonly requests: ApiRequest[];
  /** Pods as `kubectl get pods -o json` lists them. */
  setPods: (items: readonly unknown[]) => void;
  /** `NAMESPACE/POD:PORT`, after `https:` if the server speaks TLS -> its base URL. */
  readonly servers: Map<string, string>;
  /** Labels by name. */
  readonly nodes: Map<string, Readonly<Record<string, string>>>;
  /** By `NAMESPACE/POD`. */
  readonly logs: Map<string, string>;
  /** Of lists, from now on. */
  answer: (answer: ApiAnswer) => void;
  readonly close: () => Promise<void>;
}

const VIEW: readonly RoleRule[] = [
  { verbs: ["get", "list", "watch"], resources: ["pods", "pods/log", "pods/status"] },
];

const USERS: Readonly<Record<string, ApiUser>> = {
  admin: { rules: null, namespace: null },
  // The built-in role `view`, bound in one namespace.
  viewer: { rules: VIEW, namespace: "chart" },
  nobody: { rules: [], namespace: null },
};

export function readRecordedPods(): readonly JsonRecord[] {
  const url = new URL("fixtures/kubernetes/pods.json", import.meta.url);
  return JSON.parse(Deno.readTextFileSync(url)).items;
}

function answerStatus(code: number, reason: string, message: string, details?: JsonRecord) {
  const body = {
    ...{ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason },
    ...(details === undefined ? {} : { details }),
    code,
  };
  // As Go writes JSON.
  const text = JSON.stringify(body).replaceAll(">", "\\u003e");
  return new Response(text, { status: code, headers: { "content-type": "application/json" } });
}

interface Target {
  readonly verb: string;
  readonly resource: string;
  readonly namespace: string | null;
  /** As in the path: with scheme and port. */
  readonly name: string;
  /** After `/proxy`. */
  readonly rest: string;
}

const PODS_PATH =
  /^\/api\/v1(?:\/namespaces\/([^/]+))?\/pods(?:\/([^/]+)(?:\/(log|proxy)(\/.*)?)?)?$/;
const NODES_PATH = /^\/api\/v1\/nodes(?:\/([^/]+))?$/;
const VERBS: Readonly<Record<string, string>> = {
  GET: "get",
  HEAD: "get",
  POST: "create",
  PUT: "update",
  PATCH: "patch",
  DELETE: "delete",
};

function findTarget(method: string, url: URL): Target | null {
  const verb = VERBS[method] ?? method;
  const ofName = (name: string | undefined): string =>
    name !== undefined || verb !== "get" ? verb : url.searchParams.has("watch") ? "watch" : "list";
  const nodes = NODES_PATH.exec(url.pathname);
  if (nodes !== null) {
    const [, name = ""] = nodes;
    return { verb: ofName(nodes[1]), resource: "nodes", namespace: null, name, rest: "" };
  }
  const pods = PODS_PATH.exec(url.pathname);
  if (pods === null) return null;
  const [, namespace = null, name, part, rest = ""] = pods;
  const resource = part === undefined ? "pods" : `pods/${part}`;
  return { verb: ofName(name), resource, namespace, name: name ?? "", rest };
}

function isAllowed({ rules, namespace }: ApiUser, target: Target): boolean {
  if (rules === null) return true;
  const isThere = namespace === null || namespace === target.namespace;
  return isThere &&
    rules.some(({ verbs, resources }) =>
      [target.verb, "*"].some((verb) => verbs.includes(verb)) &&
      [target.resource, "*"].some((resource) => resources.includes(resource))
    );
}

function refuse(user: string, { verb, resource, namespace, name }: Target): Response {
  const [kind] = resource.split("/");
  const place = namespace === null ? "at the cluster scope" : `in the namespace "${namespace}"`;
  const message = `${kind} ${name === "" ? "" : `"${name}" `}is forbidden: User "${user}" cannot ` +
    `${verb} resource "${resource}" in API group "" ${place}`;
  return answerStatus(403, "Forbidden", message, { ...(name === "" ? {} : { name }), kind });
}

function getText(record: unknown, key: string): string | null {
  const value = isRecord(record) ? record[key] : undefined;
  return typeof value === "string" ? value : null;
}

interface StoredPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: JsonRecord;
  readonly ip: string | null;
  readonly item: unknown;
}

function storePod(item: unknown): StoredPod {
  const { metadata, status } = isRecord(item) ? item : {};
  const labels = isRecord(metadata) && isRecord(metadata.labels) ? metadata.labels : {};
  return {
    namespace: getText(metadata, "namespace") ?? "default",
    name: getText(metadata, "name") ?? "",
    ip: getText(status, "podIP"),
    ...{ labels, item },
  };
}

/** `a=b,c!=d,e`. */
function matchesSelector(labels: JsonRecord, selector: string): boolean {
  return selector.split(",").filter((term) => term !== "").every((term) => {
    const [, name, sign, value] = /^([^=!]+)(=|==|!=)?([^=]*)$/.exec(term) ?? [];
    if (sign === undefined) return name in labels;
    return (labels[name] === value) === (sign !== "!=");
  });
}

/** Breaks off in the middle; Deno prints the error. */
function cut(text: string, status = 200): Response {
  const bytes = new TextEncoder().encode(text.slice(0, text.length / 2));
  let hasSent = false;
  const body = new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      if (!hasSent) controller.enqueue(bytes);
      else {
        // Deno 2.6 would not have sent the first half.
        await new Promise((resolve) => setTimeout(resolve, 100));
        controller.error("the answer is cut off, as the test wants");
      }
      hasSent = true;
    },
  });
  return new Response(body, { status, headers: { "content-type": "application/json" } });
}

function listPods(pods: readonly StoredPod[], { namespace }: Target, url: URL, answer: ApiAnswer) {
  const get = (name: string): string => url.searchParams.get(name) ?? "";
  const chosen = pods.filter((pod) =>
    (namespace === null || pod.namespace === namespace) &&
    matchesSelector(pod.labels, get("labelSelector"))
  );
  const first = Number(atob(get("continue")) || 0);
  const end = get("limit") === "" ? chosen.length : first + Number(get("limit"));
  const more = end < chosen.length
    ? { continue: btoa(`${end}`), remainingItemCount: chosen.length - end }
    : {};
  const list = {
    ...{ kind: "PodList", apiVersion: "v1", metadata: { resourceVersion: "374", ...more } },
    items: chosen.slice(first, end).map(({ item }) => item),
  };
  return answer === "cut" ? cut(JSON.stringify(list)) : Response.json(list);
}

/** What a server answers, with redirects within it under the pod's path. */
async function passOn(request: Request, url: string, base: string): Promise<Response> {
  const { method, headers } = request;
  const sent = new Headers(headers);
  for (const name of ["host", "authorization"]) sent.delete(name);
  const response = await fetch(url, { method, headers: sent, redirect: "manual" });
  const received = new Headers(response.headers);
  const location = received.get("location");
  if (location?.startsWith("/")) received.set("location", `${base}${location}`);
  for (const name of ["content-encoding", "content-length"]) received.delete(name);
  received.set("audit-id", crypto.randomUUID());
  const hasBody = response.status !== 204 && response.status !== 304;
  return new Response(hasBody ? response.body : null, {
    status: response.status,
    headers: received,
  });
}

async function askPod(
  { servers, pods }: Pick<KubernetesApi, "servers"> & { readonly pods: readonly StoredPod[] },
  { namespace, name, rest }: Target,
  request: Request,
): Promise<Response> {
  const [, scheme = "", pod, port = ""] = /^(https?:)?([^:]+)(?::(.*))?$/.exec(name) ?? [];
  const { pathname, search } = new URL(request.url);
  const stored = pods.find((one) => one.namespace === namespace && one.name === pod);
  if (stored === undefined) {
    const details = { name: pod, kind: "pods" };
    return answerStatus(404, "NotFound", `pods "${pod}" not found`, details);
  }
  if (stored.ip === null) return answerStatus(400, "BadRequest", "address not allowed");
  // A port by name breaks off.
  if (!/^\d*$/.test(port)) return cut("no such port", 500);
  const fail = (reason: string): Response =>
    answerStatus(503, "ServiceUnavailable", `error trying to reach service: ${reason}`);
  const key = `${namespace}/${pod}:${port}`;
  const own = servers.get(scheme === "https:" ? `https:${key}` : key);
  const refused = `dial tcp ${stored.ip}:${port}: connect: connection refused`;
  if (own === undefined) {
    const other = servers.has(scheme === "https:" ? key : `https:${key}`);
    const reset =
      `read tcp ${stored.ip}:35252->${stored.ip}:${port}: read: connection reset by peer`;
    return fail(other ? reset : refused);
  }
  const base = pathname.slice(0, pathname.length - rest.length);
  return await passOn(request, own + rest + search, base).catch(() => fail(refused));
}

function readLog(logs: ReadonlyMap<string, string>, { namespace, name }: Target, url: URL) {
  const lines = (logs.get(`${namespace}/${name}`) ?? "").split(/(?<=\n)/);
  const count = url.searchParams.get("tailLines");
  return new Response((count === null ? lines : lines.slice(-Number(count))).join(""));
}

async function writeKubeconfig(
  servers: ReadonlyMap<string, string>,
  users: ReadonlyMap<string, ApiUser>,
): Promise<string> {
  const names = [...servers.keys()];
  const config = {
    ...{ apiVersion: "v1", kind: "Config", "current-context": names[0] },
    clusters: [...servers].map(([name, server]) => ({ name, cluster: { server } })),
    contexts: names.map((name) => {
      const { namespace = null } = users.get(name) ?? {};
      const own = namespace === null ? {} : { namespace };
      return { name, context: { cluster: name, user: name, ...own } };
    }),
    users: names.map((name) => ({ name, user: {} })),
  };
  const path = await Deno.makeTempFile({ prefix: "vllm-htop-test-", suffix: ".json" });
  await Deno.writeTextFile(path, JSON.stringify(config));
  return path;
}

export interface KubernetesApiOptions {
  /** More of them, by name. */
  readonly users?: Readonly<Record<string, ApiUser>>;
  readonly tls?: { readonly cert: string; readonly key: string };
}

/**
 * Over TLS, the token of a request is its user's name. `kubectl` sends no token over plain HTTP, so
 * there each user has a port. A user that is unknown, such as `expired`, is refused.
 */
export async function startKubernetesApi(
  { users: more, tls }: KubernetesApiOptions = {},
): Promise<KubernetesApi> {
  let pods = readRecordedPods().map(storePod);
  let answer: ApiAnswer = "ok";
  const requests: ApiRequest[] = [];
  const servers = new Map<string, string>();
  const logs = new Map<string, string>();
  const nodes: KubernetesApi["nodes"] = new Map();
  const users = new Map(Object.entries({ ...USERS, ...more }));
  const respond = async (user: string, request: Request): Promise<Response> => {
    const url = new URL(request.url);
    const { method } = request;
    const target = findTarget(method, url);
    const { verb, resource, namespace } = target ?? { verb: method, resource: "", namespace: null };
    const path = url.pathname + url.search;
    requests.push({ user, method, path, verb, resource, namespace });
    const known = users.get(user);
    const isList = target !== null && target.resource === "pods" && target.name === "";
    if (url.pathname === "/version") {
      return Response.json({ major: "1", minor: "33", gitVersion: "v1.33.13" });
    }
    if (known === undefined || (isList && answer === "unauthorized")) {
      return answerStatus(401, "Unauthorized", "Unauthorized");
    }
    if (url.pathname === "/readyz") return new Response("ok");
    if (target === null) return new Response("404 page not found\n", { status: 404 });
    if (!isAllowed(known, target)) return refuse(user, target);
    if (resource === "pods/proxy") return await askPod({ servers, pods }, target, request);
    if (resource === "pods/log") return readLog(logs, target, url);
    const labels = resource === "nodes" ? nodes.get(target.name) : undefined;
    if (labels !== undefined) {
      return Response.json({ kind: "Node", apiVersion: "v1", metadata: { labels } });
    }
    if (!isList) return answerStatus(404, "NotFound", "not found");
    if (answer === "busy") {
      const headers = { "retry-after": "1" };
      const text = "Too many requests, please try again later.\n";
      return new Response(text, { status: 429, headers });
    }
    if (answer === "html") return new Response("<html>Bad gateway</html>", { status: 502 });
    return listPods(pods, target, url, answer);
  };
  const place = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const listeners = tls === undefined
    ? [...users.keys(), "expired"].map((user) => ({
      user,
      server: Deno.serve(place, (request) => respond(user, request)),
    }))
    : [{
      user: "",
      server: Deno.serve({ ...place, ...tls }, (request) => {
        const [, token = ""] = /^Bearer (.*)$/.exec(request.headers.get("authorization") ?? "") ??
          [];
        return respond(token, request);
      }),
    }];
  const scheme = tls === undefined ? "http" : "https";
  const urls = new Map(
    listeners.map(({ user, server }) => [user, `${scheme}://localhost:${server.addr.port}`]),
  );
  const kubeconfig = await writeKubeconfig(urls, users);
  return {
    ...{ urls, kubeconfig, requests, servers, nodes, logs },
    setPods: (items) => pods = items.map(storePod),
    answer: (next) => answer = next,
    close: async () => {
      await Promise.all(listeners.map(({ server }) => server.shutdown()));
      await Deno.remove(kubeconfig);
    },
  };
}
