/**
 * Pods of a cluster of Kubernetes that serve inference, as a source. Pods that do not run are
 * endpoints, too: their state says why they do not answer.
 * @module
 */

import {
  type Cluster,
  type ClusterPlace,
  describeAbsence,
  getPodHost,
} from "./discovery_cluster.ts";
import { createNodeProducts, type NodeProducts } from "./discovery_nodes.ts";
import { type Pod, type PodPort, readPodPage, readPods } from "./discovery_pods.ts";
import type { Source, TargetChange } from "./discovery_source.ts";
import { describeLabels } from "./discovery_targets.ts";
import { METRICS_PATH, type TypedEndpoint } from "./endpoint.ts";
import { parseUntrustedJson } from "./json.ts";
import { type LogText, MAX_LOG_LINES } from "./log.ts";
import type { Endpoint } from "./model.ts";
import type { Platform } from "./platform.ts";
import type { GpuRequest, PodFacts } from "./pod.ts";
import type { Problem } from "./scrape_errors.ts";
import { MAX_SCRAPE_SHARE } from "./scrape_schedule.ts";
import { compareNames, quote } from "./text.ts";
import { type Bytes, BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

const LIST_INTERVAL: Seconds = 15;
/** Where lists take long, as of thousands of pods. */
const MAX_LIST_INTERVAL: Seconds = 300;
/** After a failure. */
const RETRY_INTERVAL: Seconds = 5;
const PAGE_SIZE = 500;
/** API servers may ignore the size of a page; a pod is 5 to 15 kB. */
const MAX_PAGE_BYTES: Bytes = 64 * BYTES_PER_MEBIBYTE;
const MAX_LOG_BYTES: Bytes = 4 * BYTES_PER_MEBIBYTE;
/** Requests a second that an API server passes on without harm (kubectl limits itself alike). */
const MAX_REQUEST_RATE = 20;
/** Beyond this, an API server is no way to scrape (prometheus PR #3661). */
const MANY_PODS = 200;

/** Of a worker. */
const PROBE_LIMIT: Seconds = 2;

const ALL_NAMESPACES = "*";

interface KubernetesOptions {
  /** Empty for that of the context; `ALL_NAMESPACES` for all. */
  readonly namespaces: readonly string[];
  /** As Kubernetes takes it; empty for all. */
  readonly selector: string;
}

/** One cluster, from look to look. */
interface Watch extends KubernetesOptions {
  readonly cluster: Cluster;
  /** By the host of their URLs. */
  readonly pods: Map<string, Pod>;
  /** As last told; those of pods in namespaces that cannot be read stay. */
  readonly endpoints: Map<string, Endpoint>;
  /** Of workers that have engines of their own, as with hybrid load balancing. */
  readonly engineUids: Set<string>;
  readonly products: NodeProducts;
  hasFailed: boolean;
  /** Of the newest lists that succeeded. */
  listDuration: Seconds;
}

interface PodList {
  readonly namespace: string;
  readonly pods: readonly Pod[];
}

function getListPath(namespace: string, selector: string, continueToken: string | null): string {
  const parameters = new URLSearchParams({
    limit: String(PAGE_SIZE),
    // From the cache of the API server; later pages are of the same moment.
    ...(continueToken === null ? { resourceVersion: "0" } : { continue: continueToken }),
    ...(selector === "" ? {} : { labelSelector: selector }),
  });
  const place = namespace === ALL_NAMESPACES ? "" : `namespaces/${namespace}/`;
  return `/api/v1/${place}pods?${parameters}`;
}

async function listPods(
  { cluster, selector }: Watch,
  place: ClusterPlace,
  namespace: string,
): Promise<PodList | Problem> {
  const items: unknown[] = [];
  let continueToken: string | null = null;
  do {
    const path: string = getListPath(namespace, selector, continueToken);
    const page = await cluster.get(path, MAX_PAGE_BYTES);
    if ("kind" in page) return page;
    const read = readPodPage(parseUntrustedJson(new TextDecoder().decode(page.bytes)));
    if (read === null) {
      const message = `${quote(place.name)} does not list pods as an API server of Kubernetes: ` +
        "its answer was cut off, or the context names another server";
      return { kind: "cluster", message };
    }
    items.push(...read.items);
    ({ continueToken } = read);
  } while (continueToken !== null);
  return { namespace, pods: readPods(items) };
}

/** A user of one namespace may not list all. */
async function listAll(
  watch: Watch,
  place: ClusterPlace,
): Promise<{ readonly lists: readonly PodList[]; readonly problems: readonly Problem[] }> {
  const wanted = watch.namespaces.length === 0 ? [place.namespace] : watch.namespaces;
  const namespaces = wanted.includes(ALL_NAMESPACES) ? [ALL_NAMESPACES] : wanted;
  const outcomes = await Promise.all(namespaces.map((one) => listPods(watch, place, one)));
  const lists = outcomes.filter((outcome) => "pods" in outcome);
  const problems = outcomes.filter((outcome) => "kind" in outcome);
  const [refusal] = problems;
  if (namespaces[0] !== ALL_NAMESPACES || refusal?.kind !== "unauthorized") {
    return { lists, problems };
  }
  const own = await listPods(watch, place, place.namespace);
  if ("kind" in own) return { lists, problems };
  const message = `${refusal.message}; only ${quote(place.namespace)} is watched`;
  return { lists: [own], problems: [{ ...refusal, message }] };
}

/** Time between two scrapes of one pod; `undefined` while they are few. */
function computePace({ isDirect }: Cluster, count: number): Seconds | undefined {
  if (isDirect) return undefined;
  const pace = Math.ceil(count / MAX_REQUEST_RATE);
  return pace > 1 ? pace : undefined;
}

/** Whether it is an endpoint: of workers, those that have answered. */
function isServing({ engineUids }: Watch, { isWorker, uid }: Pod): boolean {
  return !isWorker || engineUids.has(uid);
}

/** Of a head, with those that workers without an endpoint hold. */
function sumGpus(watch: Watch, pod: Pod): readonly GpuRequest[] {
  const { namespace, group, isWorker } = pod;
  const workers = group === null || isWorker
    ? []
    : [...watch.pods.values()].filter((one) =>
      one.namespace === namespace && one.group === group && !isServing(watch, one) &&
      one.node !== null && one.state !== "failed"
    );
  const all = [pod, ...workers].flatMap(({ node, gpus }) =>
    gpus.map((gpu) => ({ ...gpu, product: gpu.product ?? watch.products.get(node) }))
  );
  const kinds = Map.groupBy(all, ({ resource, product }) => `${resource} ${product}`);
  return [...kinds.values()].map((some) => ({
    ...some[0],
    count: some.reduce((sum, { count }) => sum + count, 0),
  }));
}

function selectFacts(watch: Watch, pod: Pod): PodFacts {
  const { namespace, name, node, container, state, reason, restarts, startedAt } = pod;
  const gpus = sumGpus(watch, pod);
  return { namespace, name, node, container, state, reason, restarts, gpus, startedAt };
}

function listLabels({ namespace, name, node, role, group }: Pod): [string, string][] {
  const labels = { namespace, pod: name, node, role, group };
  return Object.entries(labels).filter((entry): entry is [string, string] => entry[1] !== null);
}

function createEndpoint(
  watch: Watch,
  { place: { name }, pod, port: { number, scheme, path }, pace }: {
    readonly place: ClusterPlace;
    readonly pod: Pod;
    readonly port: PodPort;
    readonly pace: Seconds | undefined;
  },
): Endpoint {
  const { serverName } = pod;
  const page = path === METRICS_PATH ? "" : path;
  return {
    // Its TLS in the words of the API server.
    key: `kube:${name}/${pod.namespace}/${
      scheme === "https" ? "https:" : ""
    }${pod.name}:${number}${page}`,
    metricsUrl: `${scheme}://${getPodHost(pod)}:${number}${path}`,
    address: `${pod.namespace}/${pod.name}:${number}`,
    ...describeLabels(listLabels(pod)),
    ...(serverName === null ? {} : { serverName }),
    ...(pace === undefined ? {} : { pace }),
    pod: selectFacts(watch, pod),
    warnings: [],
  };
}

/** Plain data, in an order of its own. */
function haveSameFacts(one: Endpoint, other: Endpoint | undefined): boolean {
  const tell = ({ pod, pace, targetLabels }: Endpoint): string =>
    JSON.stringify([pod, pace, [...targetLabels ?? []]]);
  return other !== undefined && tell(one) === tell(other);
}

function listNotices(
  { cluster, endpoints, selector }: Watch,
  { place, lists, problems, interval }: {
    readonly place: ClusterPlace;
    readonly lists: readonly PodList[];
    readonly problems: readonly Problem[];
    readonly interval: Seconds;
  },
): readonly string[] {
  const notices = problems.map(({ message }) => message);
  const count = endpoints.size;
  if (count === 0 && lists.length > 0) {
    const [{ namespace }] = lists;
    const where = lists.length > 1
      ? "in these namespaces"
      : namespace === ALL_NAMESPACES
      ? "in any namespace"
      : `in the namespace ${quote(namespace)}`;
    const hint = selector === "" ? `--kube-namespace ("*" for all)` : "--selector";
    notices.push(`${quote(place.name)} has no pod of a model server ${where}: check ${hint}`);
  }
  const pace = computePace(cluster, count) ?? 0;
  if (count > MANY_PODS && !cluster.isDirect) {
    notices.push(
      `${count} pods are more than an API server should pass on: watch the cluster's Prometheus ` +
        "with --prometheus",
    );
  } else if (pace > interval) {
    notices.push(`${count} pods: each is asked every ${pace} s, to spare the API server`);
  }
  return notices;
}

/** Where a list fails, its pods stay. */
function updatePods({ pods }: Watch, lists: readonly PodList[]): void {
  const isListed = ({ namespace }: Pod): boolean =>
    lists.some((list) => list.namespace === ALL_NAMESPACES || list.namespace === namespace);
  for (const [host, pod] of pods) if (isListed(pod)) pods.delete(host);
  for (const pod of lists.flatMap((list) => list.pods)) pods.set(getPodHost(pod), pod);
}

/** Most workers answer nothing, which is no fault: only those that do are endpoints. */
async function findEngines(watch: Watch, { deadline: setDeadline }: Platform): Promise<void> {
  const { cluster, pods, engineUids } = watch;
  const asked = [...pods].filter(([, pod]) =>
    !isServing(watch, pod) && pod.ports.length > 0 && pod.state === "ready"
  );
  if (asked.length === 0) return;
  const client = cluster.createPodClient((host) => pods.get(host));
  await Promise.all(asked.map(async ([host, { uid, ports: [{ scheme, number, path }] }]) => {
    const deadline = setDeadline(PROBE_LIMIT);
    try {
      const url = `${scheme}://${host}:${number}${path}`;
      const { status, body } = await client.get({ url, headers: {}, signal: deadline.signal });
      await body?.cancel();
      if (status === 200) engineUids.add(uid);
    } catch {
      // Asked again with the next list.
    } finally {
      deadline.cancel();
    }
  }));
}

function listEndpoints(watch: Watch, place: ClusterPlace): readonly Endpoint[] {
  const { cluster, pods } = watch;
  const serving = [...pods.values()].filter((pod) => isServing(watch, pod));
  const getPlace = ({ namespace, name }: Pod): string => `${namespace}/${name}`;
  serving.sort((a, b) => compareNames(getPlace(a), getPlace(b)));
  const pace = computePace(cluster, serving.reduce((sum, { ports }) => sum + ports.length, 0));
  return serving.flatMap((pod) =>
    pod.ports.map((port) => createEndpoint(watch, { place, pod, port, pace }))
  )
    .filter(({ metricsUrl }) => URL.canParse(metricsUrl));
}

/** Of pods with GPUs of which they do not say more. */
function listUnknownNodes({ pods }: Watch): readonly string[] {
  return [...pods.values()].flatMap(({ node, gpus }) =>
    node !== null && gpus.some(({ product }) => product === null) ? [node] : []
  );
}

async function lookAt(
  watch: Watch,
  platform: Platform,
  interval: Seconds,
): Promise<TargetChange> {
  const { cluster, endpoints } = watch;
  const place = await cluster.open();
  if ("kind" in place) {
    watch.hasFailed = true;
    return { found: [], goneKeys: [], notices: [place.message] };
  }
  const startedAt = platform.monotonicSeconds();
  const { lists, problems } = await listAll(watch, place);
  const isBack = watch.hasFailed && lists.length > 0;
  watch.hasFailed = lists.length === 0;
  if (problems.length === 0) watch.listDuration = platform.monotonicSeconds() - startedAt;
  updatePods(watch, lists);
  await findEngines(watch, platform);
  await watch.products.learn(listUnknownNodes(watch));
  const before = new Map(endpoints);
  const now = listEndpoints(watch, place);
  endpoints.clear();
  for (const endpoint of now) endpoints.set(endpoint.key, endpoint);
  return {
    // After a failure all, so that they are asked soon.
    found: now.filter((endpoint) => isBack || !haveSameFacts(endpoint, before.get(endpoint.key)))
      .map((endpoint): TypedEndpoint => ({ endpoint, basicAuth: null })),
    goneKeys: [...before.keys()].filter((key) => !endpoints.has(key)),
    notices: listNotices(watch, { place, lists, problems, interval }),
  };
}

/** The API server names each line's time, with its zone. */
async function readLog(cluster: Cluster, pod: PodFacts): Promise<LogText> {
  // Nothing has run.
  if (pod.state === "pending") return { problem: describeAbsence(pod)?.message ?? "" };
  const { namespace, name, container } = pod;
  const parameters = new URLSearchParams({
    container,
    tailLines: String(MAX_LOG_LINES),
    timestamps: "true",
  });
  const path = `/api/v1/namespaces/${namespace}/pods/${name}/log?${parameters}`;
  const page = await cluster.get(path, MAX_LOG_BYTES);
  return "kind" in page
    ? { problem: page.message }
    : { text: new TextDecoder().decode(page.bytes) };
}

/** Lists take at most as much of the API server's time as scrapes of a server's. */
function getListInterval({ hasFailed, listDuration }: Watch): Seconds {
  if (hasFailed) return RETRY_INTERVAL;
  const spared = Math.min(listDuration / MAX_SCRAPE_SHARE, MAX_LIST_INTERVAL);
  return Math.max(LIST_INTERVAL, spared);
}

/** Asks nothing yet. The platform's HTTP clients reach the pods of the cluster, too. */
export function createKubernetesWatch(
  platform: Platform,
  cluster: Cluster,
  options: KubernetesOptions,
): { readonly platform: Platform; readonly source: Source } {
  const pods = new Map<string, Pod>();
  const watch: Watch = {
    ...{ ...options, cluster, pods, hasFailed: false, listDuration: 0 },
    ...{ endpoints: new Map(), engineUids: new Set() },
    products: createNodeProducts(cluster),
  };
  return {
    platform: {
      ...platform,
      createHttpClient: async (transport) =>
        transport.isPod
          ? cluster.createPodClient((host) => pods.get(host))
          : await platform.createHttpClient(transport),
    },
    source: {
      isSlow: true,
      getInterval: () => getListInterval(watch),
      look: ({ interval }) => lookAt(watch, platform, interval),
      readLog: (pod) => readLog(cluster, pod),
      close: cluster.close,
    },
  };
}
