/**
 * Vocabulary of pods of Kubernetes: what is known of the one behind an endpoint.
 * @module
 */

import type { EpochSeconds } from "./units.ts";

/**
 * `pending`: not all its containers have been started. `starting`: they run, and it is not ready.
 * `crashing`: its container ends again and again, or cannot start.
 */
export type PodState = "pending" | "starting" | "ready" | "crashing" | "terminating" | "failed";

/** Of a container that has been restarted. */
export interface PodRestarts {
  readonly container: string;
  readonly count: number;
  /** Such as `OOMKilled`; `null` if unknown. */
  readonly lastReason: string | null;
  readonly lastExitCode: number | null;
  readonly lastFinishedAt: EpochSeconds | null;
}

/** `OOMKilled, exit code 137`; empty if nothing is known of it. */
export function describeLastEnd({ lastReason, lastExitCode }: PodRestarts): string {
  const code = lastExitCode === null ? null : `exit code ${lastExitCode}`;
  return [lastReason, code].filter((part) => part !== null).join(", ");
}

/** Of the container that serves; `undefined` if it has never been restarted. */
export function getRestarts({ restarts, container }: PodFacts): PodRestarts | undefined {
  return restarts.find((one) => one.container === container);
}

export interface GpuRequest {
  /** Such as `nvidia.com/gpu`. */
  readonly resource: string;
  readonly count: number;
  /** As drivers print it, such as `NVIDIA H100 80GB HBM3`; `null` if unknown. */
  readonly product: string | null;
}

/** All text is sanitized. */
export interface PodFacts {
  readonly namespace: string;
  readonly name: string;
  /** `null` until it is scheduled. */
  readonly node: string | null;
  /** The one that serves. */
  readonly container: string;
  readonly state: PodState;
  /** Why it is not ready, in a few words, such as `CrashLoopBackOff, exit code 137 (OOMKilled)`. */
  readonly reason: string | null;
  readonly restarts: readonly PodRestarts[];
  /** With those of workers that have no endpoint of their own. */
  readonly gpus: readonly GpuRequest[];
  /** When the container that serves started; if it does not run, the pod; without a node, when it was created. */
  readonly startedAt: EpochSeconds | null;
}
