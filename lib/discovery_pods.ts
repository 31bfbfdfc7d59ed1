/**
 * Reads lists of Kubernetes pods: which of them serve inference, where their metrics are, which are
 * workers of another pod, what state they are in and how many GPUs they request. Conventions are
 * those of charts and operators, read 2026-11: vLLM's example chart, production-stack, llm-d,
 * KServe, KubeRay, AIBrix, Dynamo, LeaderWorkerSet.
 * @module
 */

import { DIALECTS, findDialect, identifyCommand, identifyImage } from "./dialect.ts";
import { METRICS_PATH } from "./endpoint.ts";
import { listOptions } from "./host_commands.ts";
import { isRecord, type JsonRecord } from "./json.ts";
import type { GpuRequest, PodFacts, PodRestarts } from "./pod.ts";
import { sanitizeName, sanitizeText } from "./text.ts";
import type { EpochSeconds } from "./units.ts";

/** Where a pod's metrics are expected. */
export interface PodPort {
  readonly number: number;
  readonly scheme: "http" | "https";
  readonly path: string;
}

/** A pod that serves inference, or works for one that does. All texts are sanitized. */
export interface Pod extends PodFacts {
  readonly uid: string;
  readonly ip: string | null;
  /** Empty: a worker that answers no requests. */
  readonly ports: readonly PodPort[];
  /** `null` if neither command nor image tells. */
  readonly serverName: string | null;
  /** `prefill`, `decode`, `both`; `null` if its labels do not say. */
  readonly role: string | null;
  /** Of pods of its namespace that serve one model together; `null` if it is alone. */
  readonly group: string | null;
  /** Belongs to the head of its group. With ports it may have engines of its own. */
  readonly isWorker: boolean;
}

type Devices = Pick<GpuRequest, "resource" | "count">;

interface Container {
  readonly name: string;
  /** Without registry, tag and digest. */
  readonly image: string;
  /** Whether the command is the image's own. */
  readonly keepsCommand: boolean;
  /** Of command and arguments, split at blanks, without quotes. */
  readonly words: readonly string[];
  readonly ports: readonly { readonly name: string; readonly number: number }[];
  /** Names or numbers of ports that probes ask over HTTPS. */
  readonly tlsPorts: readonly unknown[];
  readonly gpus: readonly Devices[];
  /** An init container that goes on running. */
  readonly isSidecar: boolean;
}

interface Manifest {
  readonly labels: JsonRecord;
  readonly annotations: JsonRecord;
  /** Those that run while the pod serves. */
  readonly containers: readonly Container[];
  /** Init containers that end before. */
  readonly starters: readonly Container[];
}

const NOTHING: JsonRecord = {};

function toRecord(value: unknown): JsonRecord {
  return isRecord(value) ? value : NOTHING;
}

function toRecords(value: unknown): readonly JsonRecord[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

/** Not empty. */
function toText(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? sanitizeName(value) : null;
}

function toTexts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}

function toPort(value: unknown): number | null {
  const port = Number(value);
  return Number.isInteger(port) && port >= 1 && port <= 65_535 ? port : null;
}

function toEpoch(value: unknown): EpochSeconds | null {
  const seconds = typeof value === "string" ? new Date(value).getTime() / 1000 : NaN;
  return Number.isFinite(seconds) ? seconds : null;
}

/** Devices of which a container gets whole ones. */
const GPU_RESOURCE =
  /^(?:nvidia\.com\/(?:p?gpu|mig-)|amd\.com\/gpu|gpu\.intel\.com\/|habana\.ai\/gaudi|google\.com\/tpu|aws\.amazon\.com\/neuron)/;

/** Requests and limits of a device are equal. */
function readGpus(resources: JsonRecord): readonly Devices[] {
  const counts = { ...toRecord(resources.limits), ...toRecord(resources.requests) };
  return Object.entries(counts)
    .map(([resource, count]) => ({ resource: sanitizeName(resource), count: Number(count) }))
    .filter(({ resource, count }) => GPU_RESOURCE.test(resource) && count > 0);
}

function readContainer(container: JsonRecord, isInit: boolean): Container {
  const probes = ["startupProbe", "readinessProbe", "livenessProbe"]
    .map((name) => toRecord(toRecord(container[name]).httpGet));
  const command = toTexts(container.command);
  return {
    name: toText(container.name) ?? "",
    image: (toText(container.image) ?? "").replace(/@.*|:[^/]*$/g, "")
      .replace(/^[^/]*[.:][^/]*\//, ""),
    keepsCommand: command.length === 0,
    words: [...command, ...toTexts(container.args)].join(" ").split(/[\s"'\\;&|]+/)
      .filter((word) => word !== ""),
    ports: toRecords(container.ports).flatMap(({ name, containerPort }) => {
      const number = toPort(containerPort);
      return number === null ? [] : [{ name: toText(name) ?? "", number }];
    }),
    tlsPorts: probes.filter(({ scheme }) => scheme === "HTTPS").map(({ port }) => port),
    gpus: readGpus(toRecord(container.resources)),
    isSidecar: isInit && container.restartPolicy === "Always",
  };
}

function readManifest({ metadata, spec }: JsonRecord): Manifest {
  const { labels, annotations } = toRecord(metadata);
  const { containers, initContainers } = toRecord(spec);
  const inits = toRecords(initContainers).map((one) => readContainer(one, true));
  return {
    labels: toRecord(labels),
    annotations: toRecord(annotations),
    containers: [
      ...toRecords(containers).map((one) => readContainer(one, false)),
      ...inits.filter(({ isSidecar }) => isSidecar),
    ],
    starters: inits.filter(({ isSidecar }) => !isSidecar),
  };
}

/** Of nodes: the GPU feature discovery of NVIDIA and AMD, GKE, and Karpenter. */
const PRODUCT_LABELS = [
  ...["nvidia.com/gpu.product", "amd.com/gpu.product-name", "cloud.google.com/gke-accelerator"],
  "karpenter.k8s.aws/instance-gpu-name",
];

/** Of the labels of a node, or of those that a pod wants of its node. */
function findProduct(labels: JsonRecord): string | null {
  const product = PRODUCT_LABELS.map((name) => toText(labels[name])).find((text) => text !== null);
  return product?.replace(/[-_]/g, " ") ?? null;
}

export function readNodeProduct(node: unknown): string | null {
  return findProduct(toRecord(toRecord(toRecord(node).metadata).labels));
}

/** As the scheduler counts: init containers end before the others start. */
function sumGpus(
  { containers, starters }: Manifest,
  product: string | null,
): readonly GpuRequest[] {
  const sums = new Map<string, number>();
  for (const { resource, count } of containers.flatMap(({ gpus }) => gpus)) {
    sums.set(resource, (sums.get(resource) ?? 0) + count);
  }
  for (const { resource, count } of starters.flatMap(({ gpus }) => gpus)) {
    sums.set(resource, Math.max(sums.get(resource) ?? 0, count));
  }
  return [...sums].map(([resource, count]) => ({ resource, count, product }));
}

/** Images that carry an engine's name and are none. */
const HELPER_IMAGE = /router|proxy|gateway|sidecar|bench|exporter|operator|scheduler|autoscal/;

/** The kind of its server; `null` if it is none. */
function identifyContainer({ image, words, keepsCommand, ports }: Container): string | null {
  const ofCommand = findDialect(identifyCommand(words.join(" ")));
  if (ofCommand !== null) return ofCommand.isRouter ? null : ofCommand.name;
  // A shell or a job of the same image declares no port.
  const isServer = keepsCommand || ports.length > 0;
  return isServer && !HELPER_IMAGE.test(image) ? identifyImage(image) : null;
}

const COMPONENT = "app.kubernetes.io/component";
const DYNAMO_TYPE = "nvidia.com/dynamo-component-type";
const DYNAMO_ENGINES: readonly unknown[] = ["worker", "prefill", "decode"];
const WORKER_INDEX = "leaderworkerset.sigs.k8s.io/worker-index";
const RAY_NODE = "ray.io/node-type";
/** Images whose engines run within Ray: any of its pods with GPUs may have some. */
const RAY_IMAGE = /(?:^|\/)ray-llm[^/]*$/;

function passesRequestsOn({ labels }: Manifest): boolean {
  return labels[COMPONENT] === "router" ||
    (DYNAMO_TYPE in labels && !DYNAMO_ENGINES.includes(labels[DYNAMO_TYPE]));
}

/** Whether its labels alone say so; some of them stand at other models, too. */
function isLabelledEngine({ labels }: Manifest, hasGpus: boolean): boolean {
  return labels[COMPONENT] === "serving-engine" || labels["kserve.io/component"] === "workload" ||
    labels["llm-d.ai/inference-serving"] === "true" ||
    labels["llm-d.ai/inferenceServing"] === "true" || "model.aibrix.ai/name" in labels ||
    DYNAMO_TYPE in labels || (hasGpus && "serving.kserve.io/inferenceservice" in labels);
}

interface Serving {
  readonly container: Container;
  readonly serverName: string | null;
}

/** `null` if the pod serves no inference. */
function findServing(manifest: Manifest): Serving | null {
  if (passesRequestsOn(manifest)) return null;
  const main = manifest.containers.filter(({ isSidecar }) => !isSidecar);
  for (const container of main) {
    const serverName = identifyContainer(container);
    if (serverName !== null) return { container, serverName };
  }
  const ofGpus = main.find(({ gpus }) => gpus.length > 0);
  const isRay = ofGpus !== undefined && RAY_NODE in manifest.labels && RAY_IMAGE.test(ofGpus.image);
  if (!isRay && !isLabelledEngine(manifest, ofGpus !== undefined)) return null;
  const container = ofGpus ?? main[0];
  return container === undefined ? null : { container, serverName: null };
}

type Membership = Pick<Pod, "group" | "isWorker"> & {
  /** It works for the head alone. */
  readonly isSilent: boolean;
};

function findMembership(manifest: Manifest, { container, serverName }: Serving): Membership {
  const { labels } = manifest;
  const options = listOptions(container.words);
  const headless = (findDialect(serverName) ?? DIALECTS[0]).processes.headlessOption;
  const isHeadless = options.some(({ name }) => name === headless);
  const lws = labels["leaderworkerset.sigs.k8s.io/name"];
  if (typeof lws === "string") {
    const index = labels["leaderworkerset.sigs.k8s.io/group-index"] ?? 0;
    const isWorker = (labels[WORKER_INDEX] ?? "0") !== "0";
    return { group: sanitizeName(`${lws}-${index}`), isWorker, isSilent: isHeadless };
  }
  const [, clique, end] = /^(.*)-(ldr|wkr)$/.exec(String(labels["app.kubernetes.io/name"])) ?? [];
  if (DYNAMO_TYPE in labels && clique !== undefined) {
    return { group: sanitizeName(clique), isWorker: end === "wkr", isSilent: end === "wkr" };
  }
  const cluster = toText(labels["ray.io/cluster"]);
  // A server that Ray does not start itself runs at the head.
  if (cluster !== null && serverName !== null) {
    const isWorker = labels[RAY_NODE] === "worker";
    return { group: cluster, isWorker, isSilent: isWorker };
  }
  return { group: null, isWorker: isHeadless, isSilent: isHeadless };
}

/** Set by charts for Prometheus; of another container, it is that one's. */
function findAnnotatedPort(
  { annotations, labels, containers }: Manifest,
  container: Container,
): number | null {
  const values = [
    annotations["prometheus.kserve.io/port"],
    labels["model.aibrix.ai/metric-port"],
    annotations["prometheus.io/port"],
    labels["model.aibrix.ai/port"],
  ];
  const isForeign = (port: number): boolean =>
    containers.some((one) => one !== container && one.ports.some(({ number }) => number === port));
  return values.map(toPort).find((port) => port !== null && !isForeign(port)) ?? null;
}

const METRICS_PORT_NAME = /^(?:metrics|prometheus|system(?:-\d+)?)$/;

/** One for each server in the container. */
function findPortNumbers(manifest: Manifest, { container, serverName }: Serving): number[] {
  const annotated = findAnnotatedPort(manifest, container);
  if (annotated !== null) return [annotated];
  const { ports, words } = container;
  const named = ports.filter(({ name }) => METRICS_PORT_NAME.test(name));
  const systems = named.filter(({ name }) => name.startsWith("system"));
  if (named.length > 0) {
    return (systems.length > 0 ? systems : named.slice(0, 1)).map(({ number }) => number);
  }
  const { processes, defaultPort } = findDialect(serverName) ?? DIALECTS[0];
  const typed = listOptions(words, processes.shortOptions)
    .findLast(({ name }) => name === "port")?.values[0];
  return [toPort(typed) ?? ports[0]?.number ?? defaultPort];
}

function findPorts(manifest: Manifest, serving: Serving): readonly PodPort[] {
  const { annotations } = manifest;
  const { words, tlsPorts, ports } = serving.container;
  const { tlsOptions } = (findDialect(serving.serverName) ?? DIALECTS[0]).processes;
  const annotated = toPort(annotations["prometheus.io/port"]);
  return findPortNumbers(manifest, serving).map((number): PodPort => {
    const { name } = ports.find((one) => one.number === number) ?? {};
    // Of another port, the rest of the annotations does not hold.
    const isAnnotated = annotated === null || annotated === number;
    const scheme = isAnnotated ? annotations["prometheus.io/scheme"] : undefined;
    const path = annotations["prometheus.kserve.io/path"] ??
      (isAnnotated ? annotations["prometheus.io/path"] : undefined);
    const isTls = scheme === "https" || listOptions(words).some((one) =>
      tlsOptions.includes(one.name)
    ) ||
      tlsPorts.some((port) => port === number || port === name);
    return {
      number,
      scheme: isTls ? "https" : "http",
      path: typeof path === "string" && path.startsWith("/") ? sanitizeName(path) : METRICS_PATH,
    };
  });
}

function findRole({ labels }: Manifest): string | null {
  const role = toText(labels["llm-d.ai/role"]);
  if (role !== null) return role;
  const type = labels[DYNAMO_TYPE];
  if (type === "prefill" || type === "decode") return type;
  return /-prefill$/.test(String(labels[COMPONENT])) ? "prefill" : null;
}

interface ContainerStatus {
  readonly name: string;
  readonly restartCount: number;
  readonly waiting: JsonRecord;
  readonly terminated: JsonRecord;
  /** Of the run before. */
  readonly last: JsonRecord;
  readonly startedAt: EpochSeconds | null;
}

function readStatus(status: JsonRecord): ContainerStatus {
  const state = toRecord(status.state);
  const { restartCount } = status;
  return {
    name: toText(status.name) ?? "",
    restartCount: typeof restartCount === "number" ? restartCount : 0,
    waiting: toRecord(state.waiting),
    terminated: toRecord(state.terminated),
    last: toRecord(toRecord(status.lastState).terminated),
    startedAt: toEpoch(toRecord(state.running).startedAt),
  };
}

/** Such as `exit code 137 (OOMKilled)`; empty if the code is unknown. */
function describeEnd({ exitCode, reason }: JsonRecord): string {
  if (typeof exitCode !== "number") return "";
  // They say no more than the code.
  const isPlain = reason === "Error" || reason === "Completed";
  const word = isPlain ? null : toText(reason);
  return `exit code ${exitCode}${word === null ? "" : ` (${word})`}`;
}

function describeReason({ reason, message }: JsonRecord): string | null {
  const parts = [toText(reason), toText(message)].filter((part) => part !== null);
  return parts.length === 0 ? null : sanitizeText(parts.join(": ").replace(/\.$/, ""));
}

type Trouble = Pick<Pod, "state" | "reason">;

/** Reasons to wait that pass by themselves. */
const USUAL_WAITS: readonly unknown[] = ["ContainerCreating", "PodInitializing"];

function findTrouble(
  { name, waiting, terminated, last }: ContainerStatus,
  serving: string,
): Trouble | null {
  const place = name === serving ? "" : `container ${name}: `;
  if (waiting.reason === "CrashLoopBackOff") {
    const parts = ["CrashLoopBackOff", describeEnd(last)].filter((part) => part !== "");
    return { state: "crashing", reason: place + parts.join(", ") };
  }
  if (waiting.reason !== undefined && !USUAL_WAITS.includes(waiting.reason)) {
    return { state: "crashing", reason: place + describeReason(waiting) };
  }
  const end = describeEnd(terminated);
  return end === "" ? null : { state: "crashing", reason: place + end };
}

function findState(pod: JsonRecord, serving: string): Trouble {
  const status = toRecord(pod.status);
  if (toRecord(pod.metadata).deletionTimestamp !== undefined) {
    return { state: "terminating", reason: null };
  }
  const all = toRecords(status.containerStatuses).map(readStatus);
  if (status.phase === "Failed") {
    const end = all.map(({ terminated }) => describeEnd(terminated)).find((text) => text !== "");
    return { state: "failed", reason: describeReason(status) ?? end ?? null };
  }
  // An init container that has ended well is no trouble.
  const inits = toRecords(status.initContainerStatuses).map(readStatus)
    .filter(({ terminated }) => terminated.exitCode !== 0);
  const troubles = [...all.filter(({ name }) => name === serving), ...all, ...inits]
    .map((one) => findTrouble(one, serving)).filter((trouble) => trouble !== null);
  if (troubles.length > 0) return troubles[0];
  const conditions = toRecords(status.conditions).filter((one) => one.status === "False");
  const find = (wanted: string): JsonRecord | undefined =>
    conditions.find(({ type }) => type === wanted);
  if (status.phase !== "Running") {
    const waiting = all.map((one) => one.waiting).find(({ reason }) => reason !== undefined);
    const cause = find("PodScheduled") ?? waiting ?? NOTHING;
    return { state: "pending", reason: describeReason(cause) };
  }
  const isReady = toRecords(status.conditions)
    .some((one) => one.type === "Ready" && one.status === "True");
  if (isReady) return { state: "ready", reason: null };
  return { state: "starting", reason: describeReason({ message: find("Ready")?.message }) };
}

function listRestarts(status: JsonRecord): readonly PodRestarts[] {
  return [status.containerStatuses, status.initContainerStatuses].flatMap(toRecords)
    .map(readStatus).filter(({ restartCount }) => restartCount > 0)
    .map(({ name, restartCount, last }) => ({
      container: name,
      count: restartCount,
      lastReason: toText(last.reason),
      lastExitCode: typeof last.exitCode === "number" ? last.exitCode : null,
      lastFinishedAt: toEpoch(last.finishedAt),
    }));
}

/** It has ended and stays ended; its controller has put another in the place of a failed one. */
function isOver({ metadata, status }: JsonRecord): boolean {
  const { phase } = toRecord(status);
  const isReplaced = toRecords(toRecord(metadata).ownerReferences)
    .some(({ controller }) => controller === true);
  return phase === "Succeeded" || (phase === "Failed" && isReplaced);
}

/** `null` if it serves no inference, or is over. */
function readPod(pod: JsonRecord): Pod | null {
  const { metadata, spec, status: statusOrNone } = pod;
  const { namespace, name, uid, creationTimestamp } = toRecord(metadata);
  const status = toRecord(statusOrNone);
  const manifest = readManifest(pod);
  const serving = findServing(manifest);
  if (serving === null || isOver(pod)) return null;
  const { container, serverName } = serving;
  const { isSilent, ...membership } = findMembership(manifest, serving);
  const { startedAt } = toRecords(status.containerStatuses).map(readStatus)
    .find((one) => one.name === container.name) ?? { startedAt: null };
  return {
    namespace: toText(namespace) ?? "",
    name: toText(name) ?? "",
    uid: toText(uid) ?? "",
    node: toText(toRecord(spec).nodeName),
    ip: toText(status.podIP),
    ports: isSilent ? [] : findPorts(manifest, serving),
    container: container.name,
    serverName,
    role: findRole(manifest),
    ...membership,
    ...findState(pod, container.name),
    restarts: listRestarts(status),
    gpus: sumGpus(manifest, findProduct(toRecord(toRecord(spec).nodeSelector))),
    startedAt: startedAt ?? toEpoch(status.startTime) ?? toEpoch(creationTimestamp),
  };
}

/** Pods that serve inference, and their workers; without routers, other services and ended jobs. */
export function readPods(items: readonly unknown[]): readonly Pod[] {
  return items.filter(isRecord).flatMap((item) => readPod(item) ?? []);
}

/** A page of a list of pods; `null` if it is none. */
interface PodPage {
  readonly items: readonly unknown[];
  /** Asks for the next page; `null` at the last one. */
  readonly continueToken: string | null;
}

export function readPodPage(body: unknown): PodPage | null {
  if (!isRecord(body) || !Array.isArray(body.items)) return null;
  const token = toRecord(body.metadata).continue;
  return {
    items: body.items,
    continueToken: typeof token === "string" && token !== "" ? token : null,
  };
}
