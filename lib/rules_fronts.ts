/**
 * Finds engines whose requests other watched engines count as well. A router counts the requests of
 * the engines behind it, an address with several servers behind it shows the figures of each in
 * turn, and a server that runs each model in a server of its own shows that one's figures.
 * @module
 */

import { getHostAndPort, isLocal } from "./endpoint.ts";
import { ALL_MODELS } from "./model.ts";
import type { EvaluatedEndpoint } from "./rules_occurrences.ts";
import type { Rules } from "./rules_table.ts";
import type { ReplicaSample } from "./stats_window.ts";

/** Passes requests on to engines that may be watched, too. */
function isFront(
  { engines, history: { alternation } }: EvaluatedEndpoint,
  { two_servers: { threshold } }: Rules,
): boolean {
  return (alternation?.changes ?? 0) >= threshold ||
    [...engines.values()].some(({ replica }) => replica?.sample.server.isRouter === true);
}

/** Whether a watched server has started it, and shows its figures. */
function isInner(
  { endpoint, server }: EvaluatedEndpoint,
  endpoints: readonly EvaluatedEndpoint[],
): boolean {
  const outerPorts = server?.launch?.outerPorts ?? [];
  if (outerPorts.length === 0 || !isLocal(endpoint)) return false;
  return endpoints.some((other) => {
    const port = getHostAndPort(other.endpoint)?.port;
    return port !== undefined && outerPorts.includes(port) && isLocal(other.endpoint);
  });
}

/** @param options.before Of the last evaluation: engines that are away stay as they were. */
export function findCountedElsewhere(
  endpoints: readonly EvaluatedEndpoint[],
  { before, rules }: { readonly before: ReadonlySet<string>; readonly rules: Rules },
): ReadonlySet<string> {
  const kinds = endpoints.map((known) => {
    return { known, isFront: isFront(known, rules), isInner: isInner(known, endpoints) };
  });
  const served = new Set(
    kinds.filter((one) => !one.isFront && !one.isInner).flatMap(({ known }) =>
      [...known.engines.values()].flatMap(({ replica }) => replica?.sample.modelName ?? [])
    ),
  );
  const isServed = ({ sample: { modelName } }: ReplicaSample): boolean =>
    served.has(modelName) || (modelName === ALL_MODELS && served.size > 0);
  return new Set(
    kinds.flatMap((one) =>
      [...one.known.engines.values()].flatMap(({ key, replica }) => {
        const isElsewhere = replica === null
          ? before.has(key)
          : one.isInner || (one.isFront && isServed(replica));
        return isElsewhere ? [key] : [];
      })
    ),
  );
}
