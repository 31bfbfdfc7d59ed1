/**
 * Formats findings, alerts, events and GPU readings as text without colors.
 * @module
 */

import type { GpuShare } from "./gpu_attribution.ts";
import type { GpuOutlier, GpuSample, ThrottleReason } from "./gpu_model.ts";
import { computeMemoryRatio } from "./gpu_outliers.ts";
import { LATENCY_NAMES, type Objective, type ServerFlags, type WindowFigures } from "./model.ts";
import { type AbsenceReason, isPresent, type Reading } from "./reading.ts";
import type { Alert, EventLine } from "./rules_alerts.ts";
import type { Condition, Finding } from "./rules_finding.ts";
import type { Limit } from "./rules_limits.ts";
import type { Level } from "./rules_table.ts";
import { isOfNewestPoll } from "./scrape_schedule.ts";
import type { State } from "./state.ts";
import type { Bill } from "./state_cost.ts";
import type { Fleet } from "./state_fleet.ts";
import { padText } from "./text.ts";
import { formatClock, type Ratio } from "./units.ts";
import {
  DASH,
  formatAttainment,
  formatBoundary,
  formatClockRate,
  formatCount,
  formatDuration,
  formatElapsed,
  formatGibibytes,
  formatLatency,
  formatMoney,
  formatPercent,
  formatQuantity,
  formatReading,
  formatTemperature,
  SINCE_START,
} from "./view_format.ts";
import type { Meaning } from "./view_theme.ts";

export const NOT_AVAILABLE = "n/a";

/** `last 2.00 s`; `mean*` if it is since the server started. */
export function describeWindow({ span }: WindowFigures): string {
  if (!isPresent(span)) return DASH;
  return span.isSinceStart ? `mean${SINCE_START}` : `last ${formatQuantity(span.value)} s`;
}

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

/** In °C below the temperature at which the GPU throttles. */
const HOT_MARGIN = 5;
/** vLLM reserves memory at start, so only nearly full memory is colored. */
const FULL_MEMORY_RATIO: Ratio = 0.98;

/** Drops the vendor and brand: `H100 80GB HBM3`. */
export function shortenGpuName(name: string): string {
  return name.replace(/^(?:NVIDIA|AMD)\s+/, "").replace(/^(?:Tesla|GeForce|Instinct)\s+/, "");
}

export function formatGpuReading<T>(reading: Reading<T>, convert: (value: T) => string): string {
  return isPresent(reading)
    ? convert(reading.value) + (reading.partial === true ? "+" : "")
    : NOT_AVAILABLE;
}

/** `71.9/80.0 GiB`, `45.2/119 GiB unified`. */
export function formatMemory(
  { memoryUsedBytes, memoryTotalBytes, isMemoryUnified = false }:
    & Pick<GpuSample, "memoryUsedBytes" | "memoryTotalBytes">
    & { readonly isMemoryUnified?: boolean },
): string {
  const unified = isMemoryUnified ? " unified" : "";
  if (!isPresent(memoryUsedBytes) && !isPresent(memoryTotalBytes)) return NOT_AVAILABLE + unified;
  const used = formatGpuReading(memoryUsedBytes, formatGibibytes);
  return `${used}/${formatGpuReading(memoryTotalBytes, formatGibibytes)} GiB${unified}`;
}

/** Leaves out `idle`, which needs no explanation. */
export function formatThrottleReasons(reasons: Reading<readonly ThrottleReason[]>): string {
  if (!isPresent(reasons)) return "";
  return reasons.value.filter((reason) => reason !== "idle")
    .map((reason) => REASON_WORDS[reason]).join(", ");
}

export function formatOutlier(outlier: GpuOutlier): string {
  const { kind, reasons, smClockHertz, peersClockHertz, peerCount, temperatureCelsius } = outlier;
  const words = reasons.filter((reason) => reason !== "idle").map((one) => REASON_WORDS[one]);
  const what = kind === "throttled" ? `throttled: ${words.join(", ")}` : "slower than its peers";
  const peers = isPresent(peersClockHertz)
    ? ` vs ${formatClockRate(peersClockHertz.value)} of ${peerCount} busy ${
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

export function chooseTemperatureColor(
  { temperatureCelsius, temperatureMarginCelsius }: Pick<
    GpuSample,
    "temperatureCelsius" | "temperatureMarginCelsius"
  >,
): Meaning {
  if (!isPresent(temperatureCelsius)) return "dim";
  if (!isPresent(temperatureMarginCelsius)) return "plain";
  return temperatureMarginCelsius.value <= HOT_MARGIN ? "warn" : "plain";
}

export function chooseMemoryColor(gpu: GpuSample): Meaning {
  const ratio = computeMemoryRatio(gpu);
  return !isPresent(ratio) ? "dim" : ratio.value > FULL_MEMORY_RATIO ? "warn" : "ok";
}

/** Returns the replica's place, its endpoint's if the replica is unknown, or `other`. */
function nameOwner({ owner }: GpuShare, fleet: Fleet): string {
  if (owner === null) return "other";
  const rows = fleet.rows.filter(({ state }) => state.endpoint.key === owner.endpointKey);
  const row = rows.find(({ replica }) => replica?.sample.engine === owner.engine);
  return row?.place ?? rows[0]?.state.displayName ?? "other";
}

const MAX_OWNERS = 3;

/** Lists owners with their memory: `:8000 70.1 GiB, other 2.00 GiB`. */
export function formatOwners(
  shares: readonly GpuShare[],
  fleet: Fleet,
  options: { readonly hasMemory: boolean },
): string {
  const byOwner = new Map<string, number>();
  for (const share of shares) {
    const name = nameOwner(share, fleet);
    byOwner.set(name, (byOwner.get(name) ?? 0) + (share.process.memoryBytes.value ?? 0));
  }
  const owners = [...byOwner].sort(([a], [b]) => Number(a === "other") - Number(b === "other"));
  const shown = owners.slice(0, MAX_OWNERS).map(([name, bytes]) =>
    options.hasMemory && bytes > 0 ? `${name} ${formatGibibytes(bytes)} GiB` : name
  );
  const more = owners.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** `3.8×`, `25×`. */
function formatTimes(ratio: number): string {
  return Number.isFinite(ratio) ? `${Number(ratio.toPrecision(2))}×` : "∞×";
}

/** Red is what makes the verdict CRITICAL. */
export function chooseLevelColor(level: Level): Meaning {
  return level === "critical" ? "alert" : "warn";
}

function formatCondition({ signal, value }: Condition): string {
  switch (signal) {
    case "kv_cache":
      return `KV cache ${formatPercent(value)}`;
    case "waiting":
      return `${formatCount(value)} waiting`;
    case "preemptions":
      return `preempted ${formatCount(value)}×@1m`;
    case "ttft":
      return `TTFT ≥${formatTimes(value)} its peers`;
    case "itl":
      return `ITL ≥${formatTimes(value)} its peers`;
    case "queue_time":
      return `queue P95 ≥${formatLatency(value)}`;
    case "output":
      return `output ${formatQuantity(value)} tok/s`;
    case "preempted_share":
      return `${formatPercent(value)} of the requests`;
    case "failed_share":
      return `${formatPercent(value)} failed`;
    case "corrupted":
      return `${formatCount(value)} corrupted`;
    case "refused_share":
      return `${formatPercent(value)} refused`;
    case "failed_transfers":
      return `${formatCount(value)} failed`;
    case "long_prefill":
      return "perhaps a long prefill";
  }
}

function formatSlowness(latency: string, finding: Finding): string {
  const { value, baseline, ratio, samples, statistic } = finding;
  const what = `${latency} ${statistic === "p95" ? "P95" : "mean"}`;
  const evidence = `${formatLatency(value)} vs ${formatLatency(baseline)}`;
  // P95 values are bucket bounds, so their ratio is a lower bound.
  const least = statistic === "p95" ? "≥" : "";
  return `${what} ${evidence} (${least}${formatTimes(ratio)} · ${formatQuantity(samples)} samples)`;
}

function formatShare(what: string, { value, baseline, samples }: Finding): string {
  const evidence = `${formatPercent(value)} of the ${what}, others ${formatPercent(baseline)}`;
  return samples > 0 ? `${evidence} (${formatQuantity(samples)} samples)` : evidence;
}

/** `TTFT ≤1 s`. */
export function formatObjective({ latency, limit }: Objective): string {
  return `${LATENCY_NAMES[latency].title} ≤${formatBoundary(limit)}`;
}

/** `95 %`, `99.9 %`. */
export function formatTarget({ target }: Objective): string {
  return `${Number((target * 100).toPrecision(5))} %`;
}

/** `TTFT ≤1 s for 62.0 % at most, target 95 % (n 134)`. */
function formatMiss({ objective, value, samples }: Finding): string {
  if (objective === null) throw new Error("A finding of slo has no objective");
  const share = formatAttainment({ min: value, max: value });
  const most = `${formatObjective(objective)} for ${share} at most`;
  return `${most}, target ${formatTarget(objective)} (${formatQuantity(samples)} samples)`;
}

export function formatFinding(finding: Finding): string {
  const { rule, value, baseline, conditions } = finding;
  const figures = conditions.map(formatCondition);
  switch (rule) {
    case "stalled":
      return [`no progress for ${formatDuration(value)}`, ...figures].join(", ");
    case "slo":
      return formatMiss(finding);
    case "two_servers":
      return "rates would mix them: watch each server by itself";
    case "slow_prefill":
      return formatSlowness("TTFT", finding);
    case "slow_decode":
      return formatSlowness("ITL", finding);
    case "running_skew":
      return `${formatQuantity(value)} running, others ${formatQuantity(baseline)}`;
    case "kv_skew":
      return `KV ${formatPercent(value)}, others ${formatPercent(baseline)}`;
    case "token_share":
      return formatShare("output tokens", finding);
    case "sticky_skew":
    case "request_share":
      return formatShare("requests", finding);
    default:
      return figures.join(", ");
  }
}

/** Returns the newest evidence, with its age if it is older than the last poll. */
export function formatAlert(
  { newest, lastAt }: Pick<Alert, "newest" | "lastAt">,
  { now, interval }: Pick<State, "now" | "interval">,
): string {
  const age = now - lastAt;
  const said = formatFinding(newest);
  return isOfNewestPoll(age, interval) ? said : `${formatDuration(age)} ago ${said}`;
}

/** `--max-num-seqs: running stands at 16 for 60 s while 31 wait, KV at most 22 %`. */
export function formatLimit({ kind, span, evidence, outlier }: Limit, flags: ServerFlags): string {
  const { running = NaN, runningPeak = NaN, waiting = NaN } = evidence;
  const { promptTokensPerSecond: rate = NaN, promptTokensPerSecondPeak: peak = NaN } = evidence;
  const lasting = `for ${formatDuration(span)} while ${formatCount(waiting)} wait`;
  const usage = `KV at most ${formatPercent(evidence.kvCacheUsagePeakRatio ?? NaN)}`;
  switch (kind) {
    case "kv_cache":
      return `KV cache: ${
        formatPercent(evidence.kvCacheUsageRatio ?? NaN)
      } used (median) ${lasting}`;
    case "concurrency": {
      const name = flags.concurrentRequests ?? "concurrent requests";
      return `${name}: running stands at ${formatCount(runningPeak)} ${lasting}, ${usage}`;
    }
    case "prefill": {
      const prompt = `prompt ${formatQuantity(rate)} of ${formatQuantity(peak)} tok/s at best`;
      const few = `running ${formatQuantity(running)} of ${formatCount(runningPeak)} at most`;
      return `prefill: ${prompt}, ${few} ${lasting}, ${usage}`;
    }
    case "gpu": {
      const what = outlier === undefined ? "throttled" : formatOutlier(outlier);
      return `GPU ${evidence.gpuIndex ?? "?"} for ${formatDuration(span)}: ${what}`;
    }
    case "demand":
      return evidence.queuedRatio === undefined
        ? `nothing: no request has waited for ${formatDuration(span)}`
        : `nothing: requests waited in ${formatPercent(evidence.queuedRatio)} of the polls of ${
          formatDuration(span)
        }`;
    case "idle":
      return `nothing: idle for ${formatDuration(span)}`;
    case "unknown":
      return "unknown";
  }
}

function formatDetails(
  { kind, worst, amount, occurrences, outlier, message = "" }: EventLine,
): string {
  const times = occurrences > 1 ? `${occurrences} times` : "";
  const count = formatCount(amount ?? 0);
  switch (kind) {
    case "UP":
      return (amount ?? 0) < 1 ? "" : `after ${formatDuration(amount ?? 0)} down`;
    case "RESTART":
      return [(amount ?? 1) > 1 ? `${count} times` : "", message]
        .filter((text) => text !== "").join(", ");
    case "REJECT":
      return `${count} ${amount === 1 ? "request" : "requests"} rejected`;
    case "PREEMPT":
      return `${count}×`;
    case "HOOK":
      return [message, times].filter((text) => text !== "").join(", ");
    case "GPU":
      return [outlier === undefined ? "" : formatOutlier(outlier), times]
        .filter((text) => text !== "").join(", ");
    default:
      return [worst === null ? "" : formatFinding(worst), times]
        .filter((text) => text !== "").join(", ");
  }
}

/**
 * Returns columns: time, kind, name, duration, details. An event remembers the name of a replica
 * that is gone.
 */
export function formatEvent(
  line: EventLine,
  { fleet, now, utcOffset }: Pick<State, "fleet" | "now" | "utcOffset">,
): readonly string[] {
  const { key } = line.subject;
  const row = fleet.rows.find((one) => one.key === key);
  const endpointRow = fleet.rows.find(({ state }) => state.endpoint.key === key);
  return [
    formatClock(line.beganAtEpoch, utcOffset),
    padText(line.kind, 7),
    row?.place ?? endpointRow?.state.displayName ?? line.subject.name,
    // Before the details, which may be cut.
    line.endedAt === null
      ? formatElapsed("for ", now - line.beganAt)
      : formatElapsed("lasted ", line.endedAt - line.beganAt),
    formatDetails(line),
  ];
}

/** As in vllm-htop 0.5.0 (PyPI). */
export const MARGIN_GOOD_RATIO: Ratio = 2;
export const MARGIN_FAIR_RATIO: Ratio = 1;

export function chooseMarginColor(margin: Reading<Ratio>): Meaning {
  if (!isPresent(margin)) return "dim";
  return margin.value >= MARGIN_GOOD_RATIO
    ? "ok"
    : margin.value >= MARGIN_FAIR_RATIO
    ? "plain"
    : "warn";
}

/** Marks an amount that is based on a price hint. */
export function markHint({ isAbout }: Pick<Bill, "isAbout">, reading: Reading): string {
  return isAbout && isPresent(reading) ? "≈ " : "";
}

/** `≈ $13.56/h`; empty if unknown. */
export function formatBurnRate(bill: Bill, currency: string): string {
  const { usdPerHour } = bill.compute;
  if (!isPresent(usdPerHour)) return "";
  const amount = formatReading(usdPerHour, (usd) => formatMoney(usd, currency));
  return `${markHint(bill, usdPerHour)}${amount}/h`;
}

const UNMERGED: Readonly<Partial<Record<AbsenceReason, string>>> = {
  definitions_differ: "servers define it differently",
  bounds_differ: "buckets of servers differ",
};

/** Says why a figure of several servers cannot be that of all; `null` if that is not why it is absent. */
export function describeUnmerged(reading: Reading<unknown>): string | null {
  return isPresent(reading) ? null : UNMERGED[reading.reason] ?? null;
}

/** Names why requests finished; a server that does not tell has one count of all of them. */
export function nameFinish(reason: string): string {
  return reason === "all" ? "unknown" : reason;
}
