/**
 * Which GPUs the nodes of a cluster have, by their labels. Reading nodes needs a right of its own,
 * which users of one namespace seldom have: without it, nothing is known.
 * @module
 */

import type { Cluster } from "./discovery_cluster.ts";
import { readNodeProduct } from "./discovery_pods.ts";
import { parseUntrustedJson } from "./json.ts";
import { type Bytes, BYTES_PER_MEBIBYTE } from "./units.ts";

/** A node lists its images: 10 to 50 kB. */
const MAX_NODE_BYTES: Bytes = BYTES_PER_MEBIBYTE;
/** At once. */
const MAX_ASKED = 8;

export interface NodeProducts {
  /** Asks for nodes that are not known yet, until it is refused. Never rejects. */
  readonly learn: (nodes: Iterable<string>) => Promise<void>;
  /** `null` if it is unknown. */
  readonly get: (node: string | null) => string | null;
}

export function createNodeProducts({ get }: Pick<Cluster, "get">): NodeProducts {
  const known = new Map<string, string | null>();
  let isRefused = false;
  const ask = async (node: string): Promise<void> => {
    const page = await get(`/api/v1/nodes/${encodeURIComponent(node)}`, MAX_NODE_BYTES);
    if ("kind" in page) {
      isRefused ||= page.kind === "unauthorized";
      return;
    }
    known.set(node, readNodeProduct(parseUntrustedJson(new TextDecoder().decode(page.bytes))));
  };
  return {
    learn: async (nodes) => {
      const unknown = [...new Set(nodes)].filter((node) => !known.has(node));
      // The first one tells whether it may.
      for (let first = 0, end = 1; first < unknown.length && !isRefused; end += MAX_ASKED) {
        await Promise.all(unknown.slice(first, end).map(ask));
        first = end;
      }
    },
    get: (node) => node === null ? null : known.get(node) ?? null,
  };
}
