/**
 * One line and an exit code for Nagios and its heirs, from the verdict. Format: Monitoring Plugins
 * Development Guidelines, <https://www.monitoring-plugins.org/doc/guidelines.html>.
 * @module
 */

import type { Quantile } from "./histogram.ts";
import { absent, isPresent, mapReading, present, type Reading } from "./reading.ts";
import type { FleetVerdict } from "./rules_status.ts";
import type { State } from "./state.ts";
import type { AdvisedCause } from "./state_advice.ts";
import type { ObjectiveFigures } from "./stats_slo.ts";
import { cutText } from "./text.ts";
import { formatElapsed } from "./view_format.ts";
import { listEvidence, listRowsOf, nameCause } from "./view_diagnosis.ts";
import { describeLoads } from "./view_log.ts";

/** Exit code, and its word. */
type CheckStatus = readonly [code: 0 | 1 | 2 | 3, word: string];

const UNKNOWN: CheckStatus = [3, "UNKNOWN"];

/** WATCHING is well as far as is known. */
const STATUS_OF_LEVEL: Readonly<Record<FleetVerdict["level"], CheckStatus>> = {
  HEALTHY: [0, "OK"],
  WATCHING: [0, "OK"],
  DEGRADED: [1, "WARNING"],
  CRITICAL: [2, "CRITICAL"],
  PENDING: UNKNOWN,
  NONE: UNKNOWN,
};

interface CheckResult {
  readonly line: string;
  readonly code: number;
}

const MAX_NAME_WIDTH = 60;
/** Decimals of figures. */
const DECIMALS = 6;

/** `|` begins the figures. */
function formatCheck([code, word]: CheckStatus, text: string, figures = ""): CheckResult {
  return { code, line: `VLLM-HTOP ${word} - ${text.replaceAll("|", "/")}${figures}` };
}

/** The check could not be made: `message` says why. */
export function renderUnknown(message: string): CheckResult {
  return formatCheck(UNKNOWN, message);
}

/** The worst cause, and how many more there are. */
function describeCauses(causes: readonly AdvisedCause[], state: State): string {
  const [worst] = causes;
  const rows = listRowsOf(worst, state);
  const { signal, since } = worst;
  const name = rows.length === 0 ? "" : `${cutText(rows[0].place, MAX_NAME_WIDTH)}: `;
  const elapsed = since === null || signal === "recent"
    ? ""
    : formatElapsed(" for ", state.now - since);
  const evidence = listEvidence(worst, rows, state).slice(0, 1).map((text) => ` (${text})`);
  const more = causes.length > 1 ? `; ${causes.length - 1} more` : "";
  return `${name}${nameCause(worst)}${elapsed}${evidence.join("")}${more}`;
}

function describeVerdict(state: State): string {
  const { fleet: { verdict: { level, watched, causes }, counts }, notices } = state;
  const up = `${counts.up} of ${counts.total} up`;
  switch (level) {
    case "NONE":
      return notices.join("; ");
    case "PENDING":
      return `${up}, ${describeLoads(state) || "others have not answered yet"}`;
    case "WATCHING":
      return `${up}, nothing wrong${formatElapsed(" in ", watched) || " so far"}`;
    case "HEALTHY":
      return `${up}, healthy`;
    case "DEGRADED":
    case "CRITICAL":
      return `${up}, ${describeCauses(causes, state)}`;
  }
}

/** Label, value, unit and the end of the figure's range. */
type Figure = readonly [label: string, reading: Reading, unit?: "" | "s" | "%", max?: number];

/** `U` if the value is unknown, or only a bound is known. */
function formatFigure([label, reading, unit = "", max]: Figure): string {
  const isKnown = isPresent(reading) && reading.partial !== true;
  const text = isKnown ? reading.value.toFixed(DECIMALS).replace(/\.?0+$/, "") : "";
  // No exponent is allowed.
  const value = /^\d+(?:\.\d+)?$/.test(text) ? text + unit : "U";
  const quoted = /^\w+$/.test(label) ? label : `'${label.replace(/['=|]/g, "_")}'`;
  return `${quoted}=${value};;;0${max === undefined ? "" : `;${max}`}`;
}

function toPercent(reading: Reading): Reading {
  return mapReading(reading, (ratio) => ratio * 100);
}

/** Absent if only a bound is known. */
function keepExact(quantile: Reading<Quantile>): Reading {
  if (!isPresent(quantile)) return quantile;
  const { value, bound } = quantile.value;
  return bound === "" ? { ...quantile, value } : absent("unsupported");
}

/** The share that is certainly within the limit. */
function measureObjective({ objective, lastMinute: { ratio } }: ObjectiveFigures): Figure {
  const { model, latency, limit, target } = objective;
  const name = `slo_${latency}_${limit}s_p${Number((target * 100).toPrecision(5))}`;
  const share = toPercent(mapReading(ratio, ({ min }) => min));
  return [model === null ? name : `${name} ${model}`, share, "%", 100];
}

function listFigures({ fleet: { counts, total } }: State): readonly Figure[] {
  const { running, waiting, kvCache, lastMinute } = total.figures;
  const { requestsPerSecond, generationTokensPerSecond, latency } = lastMinute;
  return [
    ["replicas_up", present(counts.up), "", counts.total],
    ["running", running],
    ["waiting", waiting],
    ["kv_cache_max", toPercent(kvCache.maxRatio), "%", 100],
    ["requests_per_second", requestsPerSecond],
    ["output_tokens_per_second", generationTokensPerSecond],
    ["ttft_p95", keepExact(latency.ttft.p95), "s"],
    ["itl_p95", keepExact(latency.itl.p95), "s"],
    ...total.serviceLevels.map(measureObjective),
  ];
}

/** Hosts whose servers are not known. */
function listLostHosts({ hosts }: State): readonly string[] {
  return [...hosts].flatMap(([name, { link }]) => {
    if (link === null || link.kind === "up") return [];
    return `${name} is not reached${link.kind === "down" ? ` (${link.failure.message})` : ""}`;
  });
}

/**
 * The verdict as one line with its figures, those of the last minute. UNKNOWN if nothing is wrong
 * where it could look, and a host was not reached.
 */
export function renderCheck(state: State): CheckResult {
  const figures = listFigures(state).map(formatFigure).join(" ");
  const lost = listLostHosts(state);
  const status = STATUS_OF_LEVEL[state.fleet.verdict.level];
  return formatCheck(
    status[0] === 0 && lost.length > 0 ? UNKNOWN : status,
    [describeVerdict(state), ...lost].filter((text) => text !== "").join("; "),
    ` | ${figures}`,
  );
}
