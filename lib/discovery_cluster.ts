/**
 * A cluster of Kubernetes, whichever way it is reached: what its API server's refusals mean, and why
 * a pod cannot be asked.
 * @module
 */

import type { Pod } from "./discovery_pods.ts";
import { isRecord, parseUntrustedJson } from "./json.ts";
import type { HttpClient, HttpResponse } from "./platform.ts";
import type { PodFacts, PodState } from "./pod.ts";
import { ProblemError } from "./scrape_attempt.ts";
import { parseRetryAfter, type Problem } from "./scrape_errors.ts";
import type { Page } from "./scrape_page.ts";
import { quote } from "./text.ts";
import { type Bytes, BYTES_PER_KIBIBYTE, type EpochSeconds } from "./units.ts";

export const MAX_REFUSAL_BYTES: Bytes = 64 * BYTES_PER_KIBIBYTE;

export interface ClusterPlace {
  /** In keys and messages; safe text. */
  readonly name: string;
  /** Looked into unless the user names others. */
  readonly namespace: string;
}

/** Finds a pod as last listed by the host of its URLs. */
export type PodFinder = (host: string) => Pod | undefined;

/** Failures are values; they may be over at the next call. */
export interface Cluster {
  /** Pods are asked at their own addresses, past the API server. */
  readonly isDirect?: true;
  readonly open: () => Promise<ClusterPlace | Problem>;
  /** GETs a path of the API server; other pages than 200 are problems. */
  readonly get: (path: string, limit: Bytes) => Promise<Page | Problem>;
  /** For URLs made by `getPodHost`. Its errors are a `ProblemError`, or the runtime's. */
  readonly createPodClient: (findPod: PodFinder) => HttpClient;
  readonly close: () => void;
}

/** The host of a pod's URLs, which no resolver knows. */
export function getPodHost({ namespace, name }: Pick<PodFacts, "namespace" | "name">): string {
  return `${name}.${namespace}.pod`;
}

/** The text of a `Status`, by which API servers refuse; `null` if the body is something else. */
export function parseStatusMessage(body: string): string | null {
  const value = parseUntrustedJson(body);
  if (!isRecord(value) || value.kind !== "Status" || value.apiVersion !== "v1") return null;
  return typeof value.message === "string" ? value.message : null;
}

const FORBIDDEN =
  /User "([^"]*)" cannot (\w+) resource "([^"]+)"(?:.*? in the namespace "([^"]+)")?/;
const MESSAGE_WIDTH = 160;

/** @param body Of the refusal, which names what is missing. */
export function describeRefusal(
  { name }: Pick<ClusterPlace, "name">,
  refusal: {
    readonly status: number;
    readonly body: string;
    readonly retryAfter?: string | null;
    readonly nowEpoch: EpochSeconds;
  },
): Problem {
  const { status, body, nowEpoch } = refusal;
  const message = parseStatusMessage(body) ?? body.split("\n", 1)[0];
  const said = message.trim() === "" ? "" : ` (${quote(message, MESSAGE_WIDTH)})`;
  const cluster = `the API server of ${quote(name)}`;
  switch (status) {
    case 401:
      return {
        kind: "unauthorized",
        message: `${cluster} refused the login, which may have expired: log in again, and check ` +
          "with kubectl get pods",
      };
    case 403: {
      const [, user, verb, resource, namespace] = FORBIDDEN.exec(message) ?? [];
      if (user === undefined) break;
      const where = namespace === undefined
        ? "in all namespaces"
        : `in the namespace ${quote(namespace)}`;
      return {
        kind: "unauthorized",
        message: `${cluster} does not let ${quote(user)} ${verb} ${resource} ${where}: ask for a ` +
          `role with the verb ${verb} on ${resource}`,
      };
    }
    case 429: {
      const retryAfter = parseRetryAfter(refusal.retryAfter ?? null, nowEpoch);
      return {
        kind: "http_status",
        message:
          `${cluster} wants fewer requests: raise --interval, or watch its Prometheus with ` +
          "--prometheus",
        ...(retryAfter === null ? {} : { retryAfter }),
      };
    }
  }
  return {
    kind: "cluster",
    message: `${cluster} answered ${status}${said}: check with kubectl get pods`,
  };
}

/** States in which nothing listens, and how to find out more. */
const ABSENT_STATES: Readonly<
  Partial<Record<PodState, readonly [words: string, command: string]>>
> = {
  pending: ["is pending", "describe pod"],
  crashing: ["keeps failing", "logs --previous"],
  failed: ["has failed", "describe pod"],
};

/** Until the list of pods says so, too. */
export const POD_GONE: Problem = { kind: "pod", message: "the pod is gone" };

/** Why it is of no use to ask the pod now; `null` if it may answer. */
export function describeAbsence(pod: PodFacts): Problem | null {
  const absent = ABSENT_STATES[pod.state];
  if (absent === undefined) return null;
  const { namespace, name, reason } = pod;
  const [words, command] = absent;
  const why = reason === null ? "" : ` (${reason})`;
  return {
    kind: "pod",
    message: `the pod ${words}${why}: see kubectl ${command} -n ${namespace} ${name}`,
  };
}

/** @throws {ProblemError} Where it is of no use to ask the pod now. */
export function getAskedPod(findPod: PodFinder, host: string): Pod {
  const pod = findPod(host);
  if (pod === undefined) throw new ProblemError(POD_GONE);
  const absence = describeAbsence(pod);
  if (absence !== null) throw new ProblemError(absence);
  return pod;
}

/** @param restore Gives the location that the pod meant. */
export function restoreLocation(
  { status, header, body }: HttpResponse,
  restore: (location: string) => string,
): HttpResponse {
  return {
    status,
    body,
    header: (name) => {
      const value = header(name);
      return name !== "location" || value === null ? value : restore(value);
    },
  };
}
