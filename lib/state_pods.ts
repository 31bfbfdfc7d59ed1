/**
 * GPUs that pods hold: those that they request, from when they have a node until they are over.
 * @module
 */

import type { Endpoint } from "./model.ts";
import type { GpuRequest } from "./pod.ts";

/** Whole devices: a share of one has no price. */
const GPU_RESOURCE =
  /^(?:nvidia\.com\/p?gpu|amd\.com\/gpu|gpu\.intel\.com\/(?:i915|xe)|habana\.ai\/gaudi)$/;
/** In names of products that several containers share. */
const SHARE = /\b(?:SHARED|MIG)\b/i;

function isWhole({ resource, product }: GpuRequest): boolean {
  return GPU_RESOURCE.test(resource) && !SHARE.test(product ?? "");
}

/** One name per GPU: the product's, or the resource's if that is unknown. Empty if it holds none. */
export function listPodGpus({ pod }: Pick<Endpoint, "pod">): readonly string[] {
  if (pod === undefined || pod.node === null || pod.state === "failed") return [];
  return pod.gpus.filter(isWhole).flatMap(({ resource, product, count }) =>
    Array<string>(Math.floor(count)).fill(product ?? resource)
  );
}
