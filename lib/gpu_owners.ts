/**
 * Whose memory the GPUs of this machine hold, by what is known of its servers.
 *
 * Layer 3, pure. Only servers on this machine can hold it: those reached by a
 * loopback address or a socket. A server that is asked by the machine's own
 * name counts as remote, as nothing says that it is not. The simulated fleet is
 * nowhere.
 *
 * @module
 */

import type { EndpointState } from "./endpoint_state.ts";
import { isLocal, readPlace } from "./endpoint_url.ts";
import { attributeGpuProcesses, type GpuShare, listReplicaGpus } from "./gpu_attribution.ts";
import type { GpuEndpoint } from "./gpu_attribution.ts";
import type { GpuSample } from "./gpu_model.ts";
import type { GpuState } from "./gpu_state.ts";
import { isPresent } from "./reading.ts";
import type { State } from "./state.ts";

/** The endpoints on this machine; none where the fleet is simulated. */
export function listLocal(state: State): readonly EndpointState[] {
  return state.isDemo ? [] : state.endpoints.filter(({ endpoint }) => isLocal(endpoint));
}

/** The GPUs as they are now; none where the newest sample failed. */
export function listGpus({ gpus }: State): readonly GpuSample[] {
  return gpus.failure === null ? gpus.report?.gpus ?? [] : [];
}

function describeEndpoint(known: EndpointState, { machine }: GpuState): GpuEndpoint {
  const { endpoint, replicas } = known;
  const port = readPlace(endpoint)?.port ?? null;
  return {
    endpointKey: endpoint.key,
    port,
    engines: replicas.map(({ sample }) => sample.engine),
    modelNames: [...new Set(replicas.map(({ sample }) => sample.modelName))],
    listenerPids: port === null ? [] : machine.listeners.get(port) ?? [],
  };
}

/** Shares, and the endpoints for which they were found. */
interface Found {
  endpoints: State["endpoints"];
  readonly key: string;
  readonly shares: readonly GpuShare[];
}

/** By the GPUs that they were found for. */
const found = new WeakMap<GpuState, Found>();

/** The processes on the GPUs, with their owners. Those of the report before, where the newest sample failed. */
export function readGpuShares(state: State): readonly GpuShare[] {
  const { gpus } = state;
  const processes = gpus.report?.processes;
  if (processes === undefined || !isPresent(processes)) return [];
  const known = found.get(gpus);
  if (known?.endpoints === state.endpoints) return known.shares;
  const endpoints = listLocal(state).map((one) => describeEndpoint(one, gpus));
  // Scrapes come often, and seldom tell of another engine.
  const key = JSON.stringify(endpoints);
  if (known?.key === key) {
    known.endpoints = state.endpoints;
    return known.shares;
  }
  const { machine } = gpus;
  const shares = attributeGpuProcesses(processes.value, {
    processes: machine.processes,
    endpoints,
  });
  found.set(gpus, { endpoints: state.endpoints, key, shares });
  return shares;
}

/** Whether it is known which GPUs each of this machine's servers holds; those that do not answer may be gone. */
export function areOwnersKnown(state: State): boolean {
  const shares = readGpuShares(state);
  const answering = listLocal(state).filter(({ replicas, failure }) =>
    replicas.length > 0 && failure === null
  );
  return answering.length > 0 &&
    answering.every(({ endpoint }) =>
      shares.some(({ owner }) => owner?.endpointKey === endpoint.key)
    );
}

/** The GPUs that a replica uses, as they are now; none where that is not known. */
export function listGpusOf(
  state: State,
  replica: { readonly endpointKey: string; readonly engine: string },
): readonly GpuSample[] {
  const gpus = listGpus(state);
  if (gpus.length === 0) return [];
  const indexes = new Set(listReplicaGpus(readGpuShares(state), replica));
  return gpus.filter(({ index }) => indexes.has(index));
}
