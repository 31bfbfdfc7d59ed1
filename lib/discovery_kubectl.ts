/**
 * A cluster by the user's own `kubectl`: contexts, logins and certificates are its matter.
 * @module
 */

import {
  type Cluster,
  type ClusterPlace,
  describeRefusal,
  getAskedPod,
  MAX_REFUSAL_BYTES,
  parseStatusMessage,
  POD_GONE,
  type PodFinder,
  restoreLocation,
} from "./discovery_cluster.ts";
import {
  createKubectlProxy,
  describeNotStarted,
  describeWords,
  type KubectlProxy,
  tellsOfFailure,
  tellsOfLogin,
} from "./discovery_kubectl_proxy.ts";
import type { Pod } from "./discovery_pods.ts";
import { isRecord, type JsonRecord, parseUntrustedJson } from "./json.ts";
import {
  createGate,
  type Gate,
  type HttpClient,
  type HttpRequest,
  type HttpResponse,
  type Platform,
} from "./platform.ts";
import { ProblemError } from "./scrape_attempt.ts";
import { readBody } from "./scrape_body.ts";
import { ANONYMOUS_ACCESS } from "./scrape_credentials.ts";
import type { Problem } from "./scrape_errors.ts";
import { createPageClient, type Page, type PageClient } from "./scrape_page.ts";
import { quote, sanitizeName } from "./text.ts";
import { type Bytes, BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

const CALL_LIMITS = { timeout: 15, maxOutputBytes: BYTES_PER_MEBIBYTE };
/** API servers put it on all answers, also of pods. */
const AUDIT_HEADER = "audit-id";
/** At once, to spare the API server. */
const MAX_PARALLEL_REQUESTS = 10;

interface ContextFacts extends ClusterPlace {
  /** The server's URL has a path, as those of Rancher. */
  readonly hasPath: boolean;
}

function getFirst(value: unknown, key: string): JsonRecord {
  const [first]: readonly unknown[] = Array.isArray(value) ? value : [];
  const inner = isRecord(first) ? first[key] : null;
  return isRecord(inner) ? inner : {};
}

function parseContext(text: string): ContextFacts | null {
  const config = parseUntrustedJson(text);
  if (!isRecord(config)) return null;
  const { namespace } = getFirst(config.contexts, "context");
  const { server } = getFirst(config.clusters, "cluster");
  const url = typeof server === "string" && URL.canParse(server) ? new URL(server) : null;
  return {
    name: sanitizeName(String(config["current-context"] ?? "")),
    namespace: typeof namespace === "string" && namespace !== "" ? namespace : "default",
    hasPath: (url?.pathname ?? "/") !== "/",
  };
}

async function readContext(
  { runProgram }: Platform,
  chosen: readonly string[],
): Promise<ContextFacts | Problem> {
  const outcome = await runProgram({
    name: "kubectl",
    arguments: ["config", "view", "--minify", "--output=json", ...chosen],
    variables: "all",
    ...CALL_LIMITS,
  });
  if (outcome.kind === "missing" || outcome.kind === "refused") return describeNotStarted(outcome);
  if (outcome.kind !== "exited") return describeWords("", "config view did not end in time");
  const { code, stdout, stderr } = outcome;
  return (code === 0 ? parseContext(stdout) : null) ??
    describeWords(stderr, "config view tells nothing");
}

/** The API server tries to reach the pod, and tells what it meets. */
const UNREACHED = /^error trying to reach service: (.*)/s;
/** What `scrape_errors` recognises, in its words. */
const TLS_MISMATCH: readonly (readonly [pattern: RegExp, words: string])[] = [
  [/does not look like a TLS handshake|HTTP response to HTTPS client/, "WRONG_VERSION_NUMBER"],
  [/malformed HTTP/, "invalid HTTP"],
];

interface Refusal {
  readonly status: number;
  readonly body: string;
  readonly retryAfter: string | null;
}

interface Kubectl {
  readonly platform: Platform;
  readonly proxy: KubectlProxy;
  readonly client: HttpClient;
  readonly pages: PageClient;
  readonly timeout: Seconds;
  /** For requests to pods. */
  readonly gate: Gate;
  /** `null` until they are known. */
  facts: ContextFacts | null;
}

/** Of the API server, or of kubectl itself. */
function describeAnswer(
  { platform, proxy, facts }: Kubectl,
  { status, body, retryAfter }: Refusal,
): Problem {
  const isOfServer = parseStatusMessage(body) !== null || status === 401 || status === 429;
  const problem = isOfServer
    ? describeRefusal({ name: facts?.name ?? "" }, {
      ...{ status, body, retryAfter },
      nowEpoch: platform.epochSeconds(),
    })
    : describeWords(body, `answered ${status}`);
  if (status === 401 || tellsOfLogin(body)) proxy.pause(problem);
  return problem;
}

/**
 * The error of a refusal by the API server or kubectl; `null` if it is the pod's own.
 * @param isPassedOn By the API server, not said by kubectl itself.
 */
function explainPodRefusal(
  kubectl: Kubectl,
  refusal: Refusal,
  isPassedOn: boolean,
): Error | null {
  const { status, body } = refusal;
  const message = parseStatusMessage(body);
  if (message === null) {
    return !isPassedOn && status >= 500 && tellsOfFailure(body)
      ? new ProblemError(describeAnswer(kubectl, refusal))
      : null;
  }
  const [, reason] = UNREACHED.exec(message) ?? [];
  if (reason !== undefined) {
    const words = TLS_MISMATCH.find(([pattern]) => pattern.test(reason))?.[1] ?? reason;
    return new Error(words);
  }
  if (status === 404) return new ProblemError(POD_GONE);
  if (status === 400) {
    return new ProblemError({ kind: "pod", message: "the pod has no address yet" });
  }
  return new ProblemError(describeAnswer(kubectl, refusal));
}

function getProxyPath({ namespace, name }: Pod, { protocol, port }: URL): string {
  const number = port === "" ? (protocol === "https:" ? 443 : 80) : port;
  const scheme = protocol === "https:" ? "https:" : "";
  return `/api/v1/namespaces/${namespace}/pods/${scheme}${name}:${number}/proxy`;
}

/** The API server writes its own path before that of a redirect. */
function removePath(location: string, path: string): string {
  const at = location.indexOf(path);
  return at < 0 ? location : location.slice(at + path.length) || "/";
}

async function getPage(kubectl: Kubectl, path: string, limit: Bytes): Promise<Page | Problem> {
  const { proxy, pages, timeout, facts } = kubectl;
  const base = await proxy.reach();
  if (typeof base !== "string") return base;
  const page = await pages.get(base + path, { limit });
  if (!("kind" in page)) {
    if (page.status === 200) return page;
    const body = new TextDecoder().decode(page.bytes.subarray(0, MAX_REFUSAL_BYTES));
    return describeAnswer(kubectl, { status: page.status, body, retryAfter: null });
  }
  const server = `the API server of ${quote(facts?.name ?? "")}`;
  const words: Partial<Record<Problem["kind"], string>> = {
    timeout: `${server} did not answer within ${timeout} s: check the VPN, and kubectl get pods`,
    truncated:
      `an answer of ${server} was cut off: check proxies and the VPN on the way; it is asked again`,
    too_large: `an answer of ${server} is too large: choose pods with --selector`,
  };
  const message = words[page.kind] ??
    "kubectl: the connection to its proxy broke off: it is started again if it has ended";
  return { kind: "cluster", message };
}

/** Its own refusals are answers, others are errors. */
async function askPod(
  kubectl: Kubectl,
  findPod: PodFinder,
  request: HttpRequest,
): Promise<HttpResponse> {
  const { proxy, client, gate } = kubectl;
  const url = new URL(request.url);
  const pod = getAskedPod(findPod, url.hostname);
  const base = await proxy.reach();
  if (typeof base !== "string") throw new ProblemError(base);
  const path = getProxyPath(pod, url);
  await gate.enter();
  try {
    const target = base + path + url.pathname + url.search;
    const response = await client.get({ ...request, url: target }).catch((error) => {
      if (request.signal.aborted) throw error;
      const message = "kubectl: its proxy does not answer: it is started again if it has ended";
      throw new ProblemError({ kind: "cluster", message });
    });
    const { status, header } = response;
    if (status < 400) return restoreLocation(response, (location) => removePath(location, path));
    const { bytes } = await readBody(response.body, MAX_REFUSAL_BYTES);
    const body = new TextDecoder().decode(bytes);
    const refusal = { status, body, retryAfter: header("retry-after") };
    const error = explainPodRefusal(kubectl, refusal, header(AUDIT_HEADER) !== null);
    if (error !== null) throw error;
    return { status, header, body: new Blob([bytes]).stream() };
  } finally {
    gate.leave();
  }
}

/** @param context `null` for the current one. */
export async function createKubectlCluster(
  platform: Platform,
  { context, timeout }: { readonly context: string | null; readonly timeout: Seconds },
): Promise<Cluster> {
  const chosen = context === null ? [] : [`--context=${context}`];
  const kubectl: Kubectl = {
    ...{ platform, timeout, facts: null },
    proxy: createKubectlProxy(platform, () => [
      ...chosen,
      ...(kubectl.facts?.hasPath ? ["--append-server-path=true"] : []),
    ]),
    client: await platform.createHttpClient({}),
    pages: await createPageClient(platform, { access: ANONYMOUS_ACCESS, timeout }),
    gate: createGate(MAX_PARALLEL_REQUESTS),
  };
  return {
    open: async () => {
      if (kubectl.facts !== null) return kubectl.facts;
      const found = await readContext(platform, chosen);
      if (!("kind" in found)) kubectl.facts = found;
      return found;
    },
    get: (path, limit) => getPage(kubectl, path, limit),
    createPodClient: (findPod) => ({
      get: (request) => askPod(kubectl, findPod, request),
      // Shared by all pods.
      close: () => {},
    }),
    close: () => {
      kubectl.proxy.close();
      kubectl.pages.close();
      kubectl.client.close();
    },
  };
}
