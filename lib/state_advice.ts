/**
 * What limits each row, and what to do about it and about the verdict, from its engine, its alerts
 * and its GPUs.
 * @module
 */

import type { GpuSample } from "./gpu_model.ts";
import { compareClocks } from "./gpu_outliers.ts";
import type { LogDeath } from "./log.ts";
import { isPresent } from "./reading.ts";
import {
  type Advice,
  type ApiServerLoad,
  describeDeathAdvice,
  listAdvice,
  pickAdvice,
} from "./rules_advice.ts";
import type { Alert } from "./rules_alerts.ts";
import { type Limit, limitByGpu } from "./rules_limits.ts";
import type { Cause, FleetVerdict } from "./rules_status.ts";
import type { CurrentEngine, EndpointState } from "./state_endpoint.ts";
import { type HostState, listGpus } from "./state_gpus.ts";
import type { Seconds } from "./units.ts";

export interface AdvisedCause extends Cause {
  /** `null` without its evidence. */
  readonly advice: Advice | null;
}

export interface AdvisedVerdict extends FleetVerdict {
  readonly causes: readonly AdvisedCause[];
}

interface Surroundings {
  /** Firing ones. */
  readonly alerts: readonly Alert[];
  readonly host: HostState;
  /** Of the engine. */
  readonly gpus: readonly GpuSample[];
  readonly now: Seconds;
}

/** The engine's own limit, or a throttled GPU. */
function findLimit({ replica, limit }: CurrentEngine, { host, gpus, now }: Surroundings): Limit {
  const indexes = new Set(gpus.map(({ index }) => index));
  const throttled = host.events.lines.flatMap(({ endedAt, beganAt, outlier }) =>
    endedAt === null && outlier !== undefined && indexes.has(outlier.gpuIndex)
      ? [{ outlier, span: now - beganAt }]
      : []
  );
  return throttled.reduce((worst, one) => limitByGpu(worst, replica, one), limit);
}

/** Its CPU tells of requests and answers only if the engine has a process of its own. */
function findApiServer({ load }: HostState, endpointKey: string): ApiServerLoad | null {
  const own = load?.processes.filter((one) => one.endpointKey === endpointKey) ?? [];
  if (!own.some(({ role }) => role === "engine_core")) return null;
  const loads = own.flatMap(({ role, cpuCores, span }) =>
    role === "api_server" && isPresent(cpuCores) ? [{ cpuCores: cpuCores.value, span }] : []
  );
  return loads.toSorted((a, b) => b.cpuCores - a.cpuCores)[0] ?? null;
}

export function adviseEngine(
  engine: CurrentEngine,
  { server, endpoint }: EndpointState,
  surroundings: Surroundings,
): { readonly limit: Limit; readonly advice: readonly Advice[] } {
  const { alerts, gpus, host } = surroundings;
  const { replica } = engine;
  const { modelName, server: { flags } } = replica.sample;
  const model = server?.models.find(({ id }) => id === modelName);
  const limit = findLimit(engine, surroundings);
  const advice = listAdvice({
    ...{ limit, flags, replica },
    findings: alerts.map(({ newest }) => newest),
    maxLength: model?.maxModelLength ?? null,
    apiServer: findApiServer(host, endpoint.key),
    clockRatio: alerts.length === 0 ? null : compareClocks(gpus, listGpus(host)),
  });
  return { limit, advice };
}

interface AdvisedRow {
  readonly key: string;
  readonly state: Pick<EndpointState, "endpoint" | "log">;
  readonly advice: readonly Advice[];
  readonly death: LogDeath | null;
}

/** What to do about what the server says it died of. */
function adviseDeath({ death, state: { log } }: AdvisedRow): readonly Advice[] {
  const advice = death === null ? null : describeDeathAdvice(death.cause, log?.flags ?? {});
  return advice === null ? [] : [advice];
}

/** A cause may concern a replica, or all of an endpoint. */
export function adviseVerdict(
  verdict: FleetVerdict,
  rows: readonly AdvisedRow[],
): AdvisedVerdict {
  const causes = verdict.causes.map((cause) => {
    const own = rows.filter(({ key, state }) =>
      key === cause.key || state.endpoint.key === cause.key
    );
    const advice = cause.signal === "down"
      ? own.flatMap(adviseDeath)[0] ?? null
      : pickAdvice(own.flatMap((row) => row.advice), cause.signal);
    return { ...cause, advice };
  });
  return { ...verdict, causes };
}
