/**
 * Verdicts, alarms and events into words.
 *
 * Layer 4, pure. Evidence comes as numbers (`rules`); here it is said in the
 * units that people read. What an event is about may have gone since: its name
 * is then made of what the event remembers. Text is without colours.
 *
 * @module
 */

import type { Alarm } from "./alarms.ts";
import type { EventLine } from "./events.ts";
import {
  formatClock,
  formatCount,
  formatDuration,
  formatLatency,
  formatPercent,
  formatQuantity,
} from "./format.ts";
import { describeOutlier } from "./gpu_view.ts";
import type { Overview } from "./overview.ts";
import { isOfNewestPoll } from "./pace.ts";
import type { HotCondition, RuleId, Verdict } from "./rules.ts";
import type { State } from "./state.ts";
import { padText } from "./text.ts";
import type { Seconds } from "./units.ts";

/** What is said of a replica of which the rule speaks: `is hot`, `are slow in prefill`. */
const ADJECTIVES: Readonly<Record<RuleId, string>> = {
  hot: "hot",
  stalled: "stalled",
  slow_prefill: "slow in prefill",
  slow_decode: "slow in decode",
  sticky_skew: "given too many requests",
  running_skew: "running more than the others",
  kv_skew: "fuller than the others",
  token_share: "generating more than its share",
  request_share: "given more requests now",
};

/** What is said of a replica of which the rule speaks. */
export function describeRule(rule: RuleId): string {
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
      return `TTFT ≥${formatTimes(value)} the others'`;
    case "itl":
      return `ITL ≥${formatTimes(value)} the others'`;
  }
}

function describeSlowness(latency: string, verdict: Verdict): string {
  const { value, baseline, ratio, samples, statistic } = verdict;
  const what = `${latency} ${statistic === "p95" ? "P95" : "mean"}`;
  const evidence = `${formatLatency(value)} against ${formatLatency(baseline)}`;
  // Of a P95 the bucket is known: the ratio of the bounds is the least that it can be.
  const least = statistic === "p95" ? "≥" : "";
  return `${what} ${evidence} (${least}${formatTimes(ratio)}, n ${formatCount(samples)})`;
}

function describeShare(what: string, { value, baseline, samples }: Verdict): string {
  const evidence = `${formatPercent(value)} of the ${what} against ${formatPercent(baseline)}`;
  return samples > 0 ? `${evidence} (n ${formatCount(samples)})` : evidence;
}

/** The evidence of a verdict. */
export function describeVerdict(verdict: Verdict): string {
  const { rule, value, baseline, conditions } = verdict;
  switch (rule) {
    case "hot":
      return conditions.map(describeCondition).join(", ");
    case "stalled":
      return `nothing counted for ${formatDuration(value)}`;
    case "slow_prefill":
      return describeSlowness("TTFT", verdict);
    case "slow_decode":
      return describeSlowness("ITL", verdict);
    case "running_skew":
      return `${formatQuantity(value)} running against ${formatQuantity(baseline)}`;
    case "kv_skew":
      return `KV cache ${formatPercent(value)} against ${formatPercent(baseline)}`;
    case "token_share":
      return describeShare("output tokens", verdict);
    case "sticky_skew":
    case "request_share":
      return describeShare("requests", verdict);
  }
}

/** The newest evidence of an alarm, and how old it is where the alarm is only waiting to be over. */
export function describeAlarm(
  { newest, lastAt }: Pick<Alarm, "newest" | "lastAt">,
  { now, interval }: Pick<State, "now" | "interval">,
): string {
  const age = now - lastAt;
  const said = describeVerdict(newest);
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
      return [outlier === undefined ? "" : describeOutlier(outlier), times]
        .filter((text) => text !== "").join(", ");
    default:
      return [worst === null ? "" : describeVerdict(worst), times]
        .filter((text) => text !== "").join(", ");
  }
}

/** How long it has lasted, or did; nothing for what happened at a moment. */
function describeSpan({ beganAt, endedAt }: EventLine, now: Seconds): string {
  if (endedAt === null) return `since ${formatDuration(now - beganAt)}`;
  return endedAt - beganAt >= 1 ? `for ${formatDuration(endedAt - beganAt)}` : "";
}

/** One line of the log in the pieces that stand below each other: time, kind, name, how long, what. */
export function describeEvent(
  line: EventLine,
  overview: Overview,
  { now, utcOffset }: Pick<State, "now" | "utcOffset">,
): readonly string[] {
  const { key } = line.subject;
  const row = overview.rows.find((one) => one.key === key);
  const ofEndpoint = overview.rows.find(({ state }) => state.endpoint.key === key);
  return [
    formatClock(line.beganAtEpoch, utcOffset),
    padText(line.kind, 7),
    row?.place ?? ofEndpoint?.address ?? line.subject.name,
    // Before what may be long and is cut.
    describeSpan(line, now),
    describeDetails(line),
  ];
}
