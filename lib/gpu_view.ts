/**
 * GPUs in words: their names, what slows them, whose memory they hold.
 *
 * Layer 4, pure. A figure that a GPU does not give reads `n/a`, as its driver
 * says; under MIG utilisation reads `n/a (MIG)`. Text is without colours, but
 * for the meanings that stand beside it.
 *
 * @module
 */

import { formatClockRate, formatGibibytes, formatTemperature } from "./format.ts";
import type { Meaning } from "./frame.ts";
import type { GpuShare } from "./gpu_attribution.ts";
import type { GpuSample, ThrottleReason } from "./gpu_model.ts";
import type { GpuOutlier } from "./gpu_peers.ts";
import { readMemoryRatio } from "./gpu_trends.ts";
import type { Overview } from "./overview.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { Ratio } from "./units.ts";

/** What stands where a GPU has no such figure. */
export const NOT_AVAILABLE = "n/a";

/** What slows a GPU, in words. */
const REASON_WORDS: Readonly<Record<ThrottleReason, string>> = {
  power_cap: "power cap",
  hardware_slowdown: "hardware slowdown",
  thermal_software: "too hot (driver)",
  thermal_hardware: "too hot (hardware)",
  power_brake: "power brake",
  sync_boost: "sync boost",
  application_clocks: "clock setting",
  display_clocks: "display clocks",
  idle: "idle",
  other: "other",
};

/** Temperature margins from which a GPU is warm, and from which it is hot: degrees until it slows down. */
const WARM_MARGIN = 15;
const HOT_MARGIN = 5;

/** Memory is reserved by vLLM at its start: only what is nearly full is worth a colour. */
const FULL_MEMORY_RATIO: Ratio = 0.98;

/** The name without its maker: `H100 80GB HBM3`. */
export function shortenGpuName(name: string): string {
  return name.replace(/^(?:NVIDIA|AMD)\s+/, "").replace(/^(?:Tesla|GeForce|Instinct)\s+/, "");
}

/** The reading by `convert`, or `n/a`. */
export function formatGpuReading<T>(reading: Reading<T>, convert: (value: T) => string): string {
  return isPresent(reading)
    ? convert(reading.value) + (reading.partial === true ? "+" : "")
    : NOT_AVAILABLE;
}

/** Why it has no utilisation, where that is known. */
export function describeNoUtilization({ isMigEnabled }: Pick<GpuSample, "isMigEnabled">): string {
  return isMigEnabled.value === true ? `${NOT_AVAILABLE} (MIG)` : NOT_AVAILABLE;
}

/** `71.9/80.0 GiB`, `45.2/119 GiB unified`. */
export function describeMemory(
  { memoryUsedBytes, memoryTotalBytes, isMemoryUnified = false }:
    & Pick<GpuSample, "memoryUsedBytes" | "memoryTotalBytes">
    & { readonly isMemoryUnified?: boolean },
): string {
  const unified = isMemoryUnified ? " unified" : "";
  if (!isPresent(memoryUsedBytes) && !isPresent(memoryTotalBytes)) return NOT_AVAILABLE + unified;
  const used = formatGpuReading(memoryUsedBytes, formatGibibytes);
  return `${used}/${formatGpuReading(memoryTotalBytes, formatGibibytes)} GiB${unified}`;
}

/** Reasons in words; idleness goes without saying. */
export function describeReasons(reasons: Reading<readonly ThrottleReason[]>): string {
  if (!isPresent(reasons)) return "";
  return reasons.value.filter((reason) => reason !== "idle")
    .map((reason) => REASON_WORDS[reason]).join(", ");
}

/** By what a GPU falls behind. */
export function describeOutlier(outlier: GpuOutlier): string {
  const { kind, reasons, smClockHertz, peersClockHertz, peerCount, temperatureCelsius } = outlier;
  const words = reasons.filter((reason) => reason !== "idle").map((one) => REASON_WORDS[one]);
  const what = kind === "throttled" ? `throttled: ${words.join(", ")}` : "slower than its peers";
  const peers = isPresent(peersClockHertz)
    ? ` against ${formatClockRate(peersClockHertz.value)} of ${peerCount} busy ${
      peerCount === 1 ? "peer" : "peers"
    }`
    : "";
  return [
    what,
    isPresent(smClockHertz) ? formatClockRate(smClockHertz.value) + peers : "",
    isPresent(temperatureCelsius) ? formatTemperature(temperatureCelsius.value) : "",
    kind === "slow_clock" ? words.join(", ") : "",
  ].filter((text) => text !== "").join(", ");
}

/** How its temperature is coloured: by what is left until it slows down, where that is known. */
export function judgeTemperature(
  { temperatureCelsius, temperatureMarginCelsius }: Pick<
    GpuSample,
    "temperatureCelsius" | "temperatureMarginCelsius"
  >,
): Meaning {
  if (!isPresent(temperatureCelsius)) return "dim";
  if (!isPresent(temperatureMarginCelsius)) return "plain";
  const { value } = temperatureMarginCelsius;
  return value <= HOT_MARGIN ? "alert" : value <= WARM_MARGIN ? "warn" : "plain";
}

/** How its memory is coloured. */
export function judgeMemory(gpu: GpuSample): Meaning {
  const ratio = readMemoryRatio(gpu);
  return !isPresent(ratio) ? "dim" : ratio.value > FULL_MEMORY_RATIO ? "warn" : "ok";
}

/** Whose process it is: the replica's place, its endpoint's where the replica is not known, or `other`. */
function nameOwner({ owner }: GpuShare, overview: Overview): string {
  if (owner === null) return "other";
  const rows = overview.rows.filter(({ state }) => state.endpoint.key === owner.endpointKey);
  const row = rows.find(({ replica }) => replica?.sample.engine === owner.engine);
  return row?.place ?? rows[0]?.address ?? "other";
}

/** Owners that are named where there are many. */
const MAX_OWNERS = 3;

/** The owners of these processes, each once with its memory: `:8000 e1 70.1 GiB, other 2.00 GiB`. */
export function describeOwners(
  shares: readonly GpuShare[],
  overview: Overview,
  options: { readonly hasMemory: boolean },
): string {
  const byOwner = new Map<string, number>();
  for (const share of shares) {
    const name = nameOwner(share, overview);
    byOwner.set(name, (byOwner.get(name) ?? 0) + (share.process.memoryBytes.value ?? 0));
  }
  // Strangers come last.
  const owners = [...byOwner].sort(([a], [b]) => Number(a === "other") - Number(b === "other"));
  const shown = owners.slice(0, MAX_OWNERS).map(([name, bytes]) =>
    options.hasMemory && bytes > 0 ? `${name} ${formatGibibytes(bytes)} GiB` : name
  );
  const more = owners.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}
