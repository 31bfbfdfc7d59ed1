/**
 * The pod of an endpoint in Kubernetes, in the report.
 * @module
 */

import type { GpuRequest, PodFacts, PodRestarts } from "./pod.ts";
import { count, EPOCH, field, list, number, object, oneOf, orNull, TEXT } from "./report_fields.ts";

const POD_STATES: readonly PodFacts["state"][] = [
  ...["pending", "starting", "ready", "crashing", "terminating", "failed"] as const,
];

const RESTARTS = object<PodRestarts>([
  field("container", TEXT, "that has been restarted"),
  field("count", count(), "how often"),
  field("lastReason", orNull(TEXT), "such as OOMKilled"),
  field("lastExitCode", orNull(number()), "of the run before"),
  field("lastFinishedEpochSeconds", orNull(EPOCH), "when it ended", "lastFinishedAt"),
]);

const GPU_REQUEST = object<GpuRequest>([
  field("resource", TEXT, "such as nvidia.com/gpu"),
  field("count", count(), "how many"),
  field("product", orNull(TEXT), "name of the GPU; null if no label tells"),
]);

export const POD = object<PodFacts>([
  field("namespace", TEXT, "namespace"),
  field("name", TEXT, "name"),
  field("node", orNull(TEXT), "where it runs; null until it is scheduled"),
  field("container", TEXT, "the one that serves"),
  field(
    "state",
    oneOf(POD_STATES),
    "pending: its containers have not started; starting: not ready",
  ),
  field("reason", orNull(TEXT), "why it is not ready"),
  field("restarts", list(RESTARTS), "of its containers"),
  field("gpus", list(GPU_REQUEST), "that it and its workers request"),
  field(
    "startedEpochSeconds",
    orNull(EPOCH),
    "when the container started; if it does not run, the pod",
    "startedAt",
  ),
], "pod");
