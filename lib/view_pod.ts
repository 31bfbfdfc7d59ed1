/**
 * The pod of an endpoint in Kubernetes, in words.
 * @module
 */

import type { Endpoint } from "./model.ts";
import { describeLastEnd, type PodFacts } from "./pod.ts";

/** `pod pending: Unschedulable: 0/8 nodes are available`; of one that runs only its state. */
export function describePod({ state, reason }: PodFacts): string {
  return `pod ${state}${reason === null ? "" : `: ${reason}`}`;
}

function describeRestarts({ restarts }: PodFacts): string {
  const parts = restarts.map((one) => {
    const { container, count } = one;
    const end = describeLastEnd(one);
    const times = `${count} ${count === 1 ? "restart" : "restarts"} of ${container}`;
    return end === "" ? times : `${times} (last: ${end})`;
  });
  return parts.join(", ");
}

/** For the opened details: labels, state, restarts and GPUs that it requests. */
export function listPlaceRows({ targetLabels, pod }: Endpoint): [string, string][] {
  const labels = [...targetLabels ?? []].map(([name, value]) => `${name}=${value}`);
  const gpus =
    pod?.gpus.map(({ resource, count, product }) =>
      `${count} ${resource}${product === null ? "" : ` (${product})`}`
    ) ?? [];
  const rows: [string, string][] = [
    ["Labels", labels.join("  ")],
    ["Pod", pod === undefined ? "" : describePod(pod).replace(/^pod /, "")],
    ["Restarts", pod === undefined ? "" : describeRestarts(pod)],
    ["Requests", gpus.join(", ")],
  ];
  return rows.filter(([, text]) => text !== "");
}
