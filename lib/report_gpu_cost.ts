/**
 * The GPUs of this machine into JSON.
 *
 * This module owns the keys. Base units: bytes, watts, hertz,
 * degrees Celsius, ratios from 0 to 1.
 *
 * @module
 */

import { type GpuCost, isHint, type RateCost, type SpanCost, type UsdRate } from "./cost.ts";
import type { GpuShare } from "./gpu_attribution.ts";
import type { GpuOutlier, GpuSample, MigInstance } from "./gpu_model.ts";
import { formatReadings, type Json, type JsonObject } from "./json.ts";
import type { TokenPrices } from "./model.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";
import type { State } from "./state.ts";
import type { Bill } from "./state_cost.ts";
import type { Fleet, Row } from "./state_fleet.ts";
import { cutText } from "./text.ts";

/** Cells of a process' command line that are told. */
const MAX_NAME_WIDTH = 200;

function reportInstance(instance: MigInstance): JsonObject {
  const { index, profile, uuid, gpuInstanceId, memoryUsedBytes, memoryTotalBytes } = instance;
  return {
    index,
    ...formatReadings({ profile, uuid, gpuInstanceId, memoryUsedBytes, memoryTotalBytes }),
  };
}

function reportShare({ process, name, owner }: GpuShare, fleet: Fleet): JsonObject {
  const { pid, memoryBytes, gpuInstanceId } = process;
  const row = owner === null
    ? undefined
    : fleet.rows.find(({ state, replica }) =>
      state.endpoint.key === owner.endpointKey && replica?.sample.engine === owner.engine
    );
  return {
    pid,
    name: cutText(name, MAX_NAME_WIDTH),
    ...formatReadings({ memoryBytes, gpuInstanceId }),
    owner: owner === null ? null : {
      endpoint: owner.endpointKey,
      replica: row?.name ?? null,
      engine: owner.engine === "" ? null : owner.engine,
      tensorRank: owner.tensorRank,
      pipelineRank: owner.pipelineRank,
      evidence: owner.evidence,
    },
  };
}

/** By what a GPU falls behind. */
export function reportOutlier(outlier: GpuOutlier): JsonObject {
  const { kind, reasons, smClockHertz, peersClockHertz, peerCount, temperatureCelsius } = outlier;
  return {
    kind,
    slowedBy: reasons,
    busyPeers: peerCount,
    ...formatReadings({ smClockHertz, peersClockHertz, temperatureCelsius }),
  };
}

function reportGpu(gpu: GpuSample, fleet: Fleet, state: State): JsonObject {
  const { index, vendor, name, isMemoryUnified, migInstances, throttleReasons, ...rest } = gpu;
  const outlier = state.gpus.outliers.find(({ gpuIndex }) => gpuIndex === index);
  const shares = state.gpuShares.filter(({ process }) => process.gpuIndex === index);
  const readings: Readonly<Record<string, Reading<Json>>> = { ...rest, slowedBy: throttleReasons };
  return {
    index,
    vendor,
    name,
    isMemoryUnified,
    ...formatReadings(readings),
    migInstances: migInstances.map(reportInstance),
    processes: shares.map((share) => reportShare(share, fleet)),
    outlier: outlier === undefined ? null : reportOutlier(outlier),
  };
}

/**
 * `gpus`: those of the newest sample, `null` where there is none. `gpuFailure`:
 * why there is none; `null` too where nobody has looked. `gpuSample`: how it was taken.
 */
export function reportGpus(fleet: Fleet, state: State): JsonObject {
  const { report, failure } = state.gpus;
  if (failure !== null) {
    const { kind, message } = failure;
    return { gpus: null, gpuFailure: { kind, message }, gpuSample: null };
  }
  if (report === null) return { gpus: null, gpuFailure: null, gpuSample: null };
  const { processes } = report;
  return {
    gpus: report.gpus.map((gpu) => reportGpu(gpu, fleet, state)),
    gpuFailure: null,
    gpuSample: {
      program: report.program,
      ageSeconds: Math.max(0, state.now - report.sampledAt),
      durationSeconds: report.duration,
      warnings: report.warnings,
      processesReason: isPresent(processes) ? null : processes.reason,
    },
  };
}

/** The GPUs of a replica, by their index; `null` where it is not known which they are. */
export function reportRowGpus({ gpus }: Row): JsonObject {
  return { gpuIndexes: gpus.length === 0 ? null : gpus.map(({ index }) => index) };
}

function reportFlow({ perHour, perDay, perMonth }: UsdRate): JsonObject {
  return formatReadings({ usdPerHour: perHour, usdPerDay: perDay, usdPer30Days: perMonth });
}

/** @param own Further figures of the same object. */
function reportRate(rate: RateCost, own: Readonly<Record<string, Reading>> = {}): JsonObject {
  return {
    tokens: reportFlow(rate.tokens),
    compute: reportFlow(rate.compute),
    ...formatReadings({
      ...own,
      marginRatio: rate.marginRatio,
      usdPerMillionTokens: rate.usdPerMillionTokens,
      usdPerMillionOutputTokens: rate.usdPerMillionOutputTokens,
    }),
  };
}

function reportSpan({ span, tokens, computeUsd, marginRatio }: SpanCost): JsonObject {
  return formatReadings({
    spanSeconds: span,
    inputTokensUsd: tokens.input,
    cachedInputTokensUsd: tokens.cachedInput,
    outputTokensUsd: tokens.output,
    tokensUsd: tokens.total,
    computeUsd,
    marginRatio,
  });
}

/** What one kind of GPU costs, and where that was read. */
function reportSource({ name, count, usdPerHour, price }: GpuCost): JsonObject {
  return {
    name,
    count,
    ...formatReadings({ usdPerGpuHour: usdPerHour }),
    isHint: isHint(price),
    hint: price === null ? null : {
      match: price.match,
      tier: price.tier,
      month: price.date,
      source: price.source,
      note: price.note,
    },
  };
}

/** What tokens are sold for; `unsupported` where nobody has said. */
function reportPrices({ input, cachedInput, output }: TokenPrices): JsonObject {
  const read = (price: number | null): Reading =>
    price === null ? absent("unsupported") : present(price);
  return formatReadings({
    usdPerMillionInputTokens: read(input),
    usdPerMillionCachedInputTokens: read(cachedInput),
    usdPerMillionOutputTokens: read(output),
  });
}

function reportGroups({ groups }: Bill): readonly JsonObject[] {
  return groups.map(({ modelName, usdPerHour, rate }) => ({
    model: modelName,
    ...formatReadings({ usdPerHour }),
    rate: reportRate(rate),
  }));
}

/** The bill of the fleet. */
export function reportCost(state: State): JsonObject {
  const { pricing, bill } = state;
  const { rate, session, lifetime, idle } = bill;
  return {
    currency: pricing.currency,
    basis: bill.basis,
    isHint: bill.isAbout,
    isThisMachineOnly: bill.isLocalOnly,
    gpuCount: bill.compute.gpuCount,
    gpus: bill.compute.gpus.map(reportSource),
    tokenPrices: reportPrices(pricing.tokenPrices),
    rate: reportRate(rate, { spanSeconds: rate.span }),
    session: {
      ...reportSpan(session),
      idle: formatReadings({ usd: idle.usd, ratio: idle.ratio }),
    },
    sinceStart: reportSpan(lifetime),
    groups: reportGroups(bill),
    unused: formatReadings({ usdPerHour: bill.unusedUsdPerHour }),
  };
}
