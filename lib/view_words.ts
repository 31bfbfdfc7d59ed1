/**
 * Verdicts, alarms and events into words.
 *
 * Evidence comes as numbers (`rules`); here it is said in the
 * units that people read. What an event is about may have gone since: its name
 * is then made of what the event remembers. Text is without colours.
 *
 * @module
 */

import type { GpuShare } from "./gpu_attribution.ts";
import type { GpuOutlier, GpuSample, ThrottleReason } from "./gpu_model.ts";
import { computeMemoryRatio } from "./gpu_outliers.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { Alert, EventLine } from "./rules_alerts.ts";
import type { Finding, HotCondition, RuleId } from "./rules_table.ts";
import { isOfNewestPoll } from "./scrape_schedule.ts";
import type { State } from "./state.ts";
import type { Bill } from "./state_cost.ts";
import type { Fleet } from "./state_fleet.ts";
import { padText } from "./text.ts";
import { formatClock, type Ratio, type Seconds } from "./units.ts";
import {
  formatClockRate,
  formatCount,
  formatDuration,
  formatGibibytes,
  formatLatency,
  formatMoney,
  formatPercent,
  formatQuantity,
  formatReading,
  formatTemperature,
} from "./view_format.ts";
import type { Meaning } from "./view_theme.ts";

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

/** Reasons in words; idleness goes without saying. */
export function formatThrottleReasons(reasons: Reading<readonly ThrottleReason[]>): string {
  if (!isPresent(reasons)) return "";
  return reasons.value.filter((reason) => reason !== "idle")
    .map((reason) => REASON_WORDS[reason]).join(", ");
}

/** By what a GPU falls behind. */
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

/** How its temperature is coloured: by what is left until it slows down, where that is known. */
export function chooseTemperatureColor(
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
export function chooseMemoryColor(gpu: GpuSample): Meaning {
  const ratio = computeMemoryRatio(gpu);
  return !isPresent(ratio) ? "dim" : ratio.value > FULL_MEMORY_RATIO ? "warn" : "ok";
}

/** Whose process it is: the replica's place, its endpoint's where the replica is not known, or `other`. */
function nameOwner({ owner }: GpuShare, fleet: Fleet): string {
  if (owner === null) return "other";
  const rows = fleet.rows.filter(({ state }) => state.endpoint.key === owner.endpointKey);
  const row = rows.find(({ replica }) => replica?.sample.engine === owner.engine);
  return row?.place ?? rows[0]?.address ?? "other";
}

/** Owners that are named where there are many. */
const MAX_OWNERS = 3;

/** The owners of these processes, each once with its memory: `:8000 e1 70.1 GiB, other 2.00 GiB`. */
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
  // Strangers come last.
  const owners = [...byOwner].sort(([a], [b]) => Number(a === "other") - Number(b === "other"));
  const shown = owners.slice(0, MAX_OWNERS).map(([name, bytes]) =>
    options.hasMemory && bytes > 0 ? `${name} ${formatGibibytes(bytes)} GiB` : name
  );
  const more = owners.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** What is said of a replica of which the rule speaks: `is hot`, `are slow in prefill`. */
const ADJECTIVES: Readonly<Record<RuleId, string>> = {
  hot: "hot",
  stalled: "stalled",
  slow_prefill: "slow in prefill",
  slow_decode: "slow in decode",
  sticky_skew: "taking too many requests",
  running_skew: "running more than peers",
  kv_skew: "fuller than peers",
  token_share: "generating more than peers",
  request_share: "taking more requests now",
};

/** What is said of a replica of which the rule speaks. */
export function formatRuleName(rule: RuleId): string {
  return ADJECTIVES[rule];
}

/** How many times: `3.8×`, `25×`. */
function formatTimes(ratio: number): string {
  return Number.isFinite(ratio) ? `${Number(ratio.toPrecision(2))}×` : "∞×";
}

function describeCondition({ signal, value }: HotCondition): string {
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
  }
}

function describeSlowness(latency: string, finding: Finding): string {
  const { value, baseline, ratio, samples, statistic } = finding;
  const what = `${latency} ${statistic === "p95" ? "P95" : "mean"}`;
  const evidence = `${formatLatency(value)} vs ${formatLatency(baseline)}`;
  // Of a P95 the bucket is known: the ratio of the bounds is the least that it can be.
  const least = statistic === "p95" ? "≥" : "";
  return `${what} ${evidence} (${least}${formatTimes(ratio)}, n ${formatCount(samples)})`;
}

function describeShare(what: string, { value, baseline, samples }: Finding): string {
  const evidence = `${formatPercent(value)} of the ${what} vs ${formatPercent(baseline)}`;
  return samples > 0 ? `${evidence} (n ${formatCount(samples)})` : evidence;
}

/** The evidence of a verdict. */
export function formatFinding(finding: Finding): string {
  const { rule, value, baseline, conditions } = finding;
  switch (rule) {
    case "hot":
      return conditions.map(describeCondition).join(", ");
    case "stalled":
      return `no progress for ${formatDuration(value)}`;
    case "slow_prefill":
      return describeSlowness("TTFT", finding);
    case "slow_decode":
      return describeSlowness("ITL", finding);
    case "running_skew":
      return `${formatQuantity(value)} running vs ${formatQuantity(baseline)}`;
    case "kv_skew":
      return `KV cache ${formatPercent(value)} vs ${formatPercent(baseline)}`;
    case "token_share":
      return describeShare("output tokens", finding);
    case "sticky_skew":
    case "request_share":
      return describeShare("requests", finding);
  }
}

/** The newest evidence of an alarm, and how old it is where the alarm is only waiting to be over. */
export function formatAlert(
  { newest, lastAt }: Pick<Alert, "newest" | "lastAt">,
  { now, interval }: Pick<State, "now" | "interval">,
): string {
  const age = now - lastAt;
  const said = formatFinding(newest);
  return isOfNewestPoll(age, interval) ? said : `${formatDuration(age)} ago ${said}`;
}

/** What an event tells beside its kind and its subject. */
function describeDetails({ kind, worst, amount, occurrences, outlier }: EventLine): string {
  const times = occurrences > 1 ? `${occurrences} times` : "";
  const count = formatCount(amount ?? 0);
  switch (kind) {
    case "UP":
      return `after ${formatDuration(amount ?? 0)}`;
    case "RESTART":
      return (amount ?? 1) > 1 ? `${count} times` : "";
    case "REJECT":
      return `${count} requests rejected`;
    case "PREEMPT":
      return `${count}×`;
    case "GPU":
      return [outlier === undefined ? "" : formatOutlier(outlier), times]
        .filter((text) => text !== "").join(", ");
    default:
      return [worst === null ? "" : formatFinding(worst), times]
        .filter((text) => text !== "").join(", ");
  }
}

/** How long it has lasted, or did; nothing for what happened at a moment. */
function describeSpan({ beganAt, endedAt }: EventLine, now: Seconds): string {
  if (endedAt === null) return `since ${formatDuration(now - beganAt)}`;
  return endedAt - beganAt >= 1 ? `for ${formatDuration(endedAt - beganAt)}` : "";
}

/** One line of the log in the pieces that stand below each other: time, kind, name, how long, what. */
export function formatEvent(
  line: EventLine,
  fleet: Fleet,
  { now, utcOffset }: Pick<State, "now" | "utcOffset">,
): readonly string[] {
  const { key } = line.subject;
  const row = fleet.rows.find((one) => one.key === key);
  const ofEndpoint = fleet.rows.find(({ state }) => state.endpoint.key === key);
  return [
    formatClock(line.beganAtEpoch, utcOffset),
    padText(line.kind, 7),
    row?.place ?? ofEndpoint?.address ?? line.subject.name,
    // Before what may be long and is cut.
    describeSpan(line, now),
    describeDetails(line),
  ];
}

/** Margins from which serving pays well, and from which it pays (vllm-htop 0.5.0). */
export const MARGIN_GOOD_RATIO: Ratio = 2;
export const MARGIN_FAIR_RATIO: Ratio = 1;

/** How a margin is coloured. */
export function chooseMarginColor(margin: Reading<Ratio>): Meaning {
  if (!isPresent(margin)) return "dim";
  return margin.value >= MARGIN_GOOD_RATIO
    ? "ok"
    : margin.value >= MARGIN_FAIR_RATIO
    ? "warn"
    : "alert";
}

/** What stands before a figure that rests on what GPUs cost. */
export function markHint({ isAbout }: Pick<Bill, "isAbout">, reading: Reading): string {
  return isAbout && isPresent(reading) ? "≈ " : "";
}

/** What all GPUs in the bill cost per hour: `≈ $13.56/h`; empty where it is not known. */
export function formatBurnRate(bill: Bill, currency: string): string {
  const { usdPerHour } = bill.compute;
  if (!isPresent(usdPerHour)) return "";
  const amount = formatReading(usdPerHour, (usd) => formatMoney(usd, currency));
  return `${markHint(bill, usdPerHour)}${amount}/h`;
}
