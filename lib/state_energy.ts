/**
 * Output tokens per second and watt, and joules per output token: the last minute's tokens and the
 * mean power of the same minute, of servers that have their GPUs to themselves.
 * @module
 */

import { averagePower } from "./gpu_outliers.ts";
import type { Figures, ReplicaStatus } from "./model.ts";
import { absent, divideReadings, isPresent, present, type Reading, sumWhole } from "./reading.ts";
import { isCounted } from "./rules_status.ts";
import type { EndpointState } from "./state_endpoint.ts";
import { getHost, type Hosts, type HostState } from "./state_gpus.ts";
import { type Seconds, SECONDS_PER_MINUTE } from "./units.ts";

export interface Energy {
  readonly gpuCount: number;
  /** Of the GPUs' boards, mean of the last minute. */
  readonly powerWatts: Reading;
  readonly outputTokensPerSecond: Reading;
  readonly tokensPerSecondPerWatt: Reading;
  readonly joulesPerToken: Reading;
}

export interface ServerEnergy extends Energy {
  readonly endpointKey: string;
}

export interface FleetEnergy {
  /** Of the servers that have both figures. */
  readonly total: Energy;
  /** Of servers with known GPUs. */
  readonly servers: readonly ServerEnergy[];
}

interface EnergyRow {
  readonly state: EndpointState;
  readonly status: ReplicaStatus;
  readonly figures: Figures;
  readonly host: string;
}

function relate(gpuCount: number, powerWatts: Reading, outputTokensPerSecond: Reading): Energy {
  return {
    ...{ gpuCount, powerWatts, outputTokensPerSecond },
    tokensPerSecondPerWatt: divideReadings(outputTokensPerSecond, powerWatts),
    joulesPerToken: divideReadings(powerWatts, outputTokensPerSecond),
  };
}

function listGpuIndexes({ shares }: HostState, endpointKey: string): ReadonlySet<number> {
  return new Set(
    shares.flatMap(({ owner, process }) =>
      owner?.endpointKey === endpointKey ? process.gpuIndex : []
    ),
  );
}

/** The options that multiply GPUs. */
const GPU_OPTIONS = ["tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"];

/** GPUs that its command line asks for; fewer are found if the others are elsewhere. */
function countWantedGpus({ server }: EndpointState): number {
  const sizes = server?.launch?.parallelSizes;
  return GPU_OPTIONS.reduce((product, option) => product * (sizes?.get(option) ?? 1), 1);
}

function measurePower(host: HostState, indexes: ReadonlySet<number>, {
  known,
  now,
}: { readonly known: EndpointState; readonly now: Seconds }): Reading {
  if (host.failure !== null) return absent("stale");
  if (indexes.size < countWantedGpus(known)) return absent("missing");
  const isShared = host.shares.some(({ owner, process }) =>
    indexes.has(process.gpuIndex) && owner?.endpointKey !== known.endpoint.key
  );
  const gpus = host.report?.gpus.filter(({ index }) => indexes.has(index)) ?? [];
  if (isShared || gpus.some(({ isMigEnabled }) => isMigEnabled.value === true)) {
    return absent("unsupported");
  }
  const powers = [...indexes].map((index) =>
    averagePower(host.series.get(index) ?? [], now - SECONDS_PER_MINUTE)
  );
  return sumWhole(powers);
}

/** A sum that lacks an engine would make tokens look dear. */
function sumTokens(all: readonly EnergyRow[]): Reading {
  const rows = all.filter(({ status }) => status !== "UNLOADED");
  if (!rows.every(({ status }) => isCounted(status))) return absent("stale");
  return sumWhole(rows.map(({ figures }) => figures.lastMinute.generationTokensPerSecond));
}

export function computeEnergy(
  rows: readonly EnergyRow[],
  { hosts, now }: { readonly hosts: Hosts; readonly now: Seconds },
): FleetEnergy {
  const byEndpoint = Map.groupBy(rows, ({ state }) => state.endpoint.key);
  const servers = [...byEndpoint].flatMap(([endpointKey, own]): readonly ServerEnergy[] => {
    const [{ state: known, host: hostName }] = own;
    const host = getHost(hosts, hostName);
    const indexes = listGpuIndexes(host, endpointKey);
    if (indexes.size === 0) return [];
    const power = measurePower(host, indexes, { known, now });
    return [{ endpointKey, ...relate(indexes.size, power, sumTokens(own)) }];
  });
  const whole = servers.filter(({ powerWatts, outputTokensPerSecond }) =>
    isPresent(powerWatts) && isPresent(outputTokensPerSecond)
  );
  const sum = (read: (one: ServerEnergy) => Reading): Reading =>
    whole.length === 0
      ? servers.map(read).find((reading) => !isPresent(reading)) ?? absent("missing")
      : present(whole.reduce((total, one) => total + (read(one).value ?? 0), 0));
  const total = relate(
    whole.reduce((count, one) => count + one.gpuCount, 0),
    sum(({ powerWatts }) => powerWatts),
    sum(({ outputTokensPerSecond }) => outputTokensPerSecond),
  );
  return { total, servers };
}
