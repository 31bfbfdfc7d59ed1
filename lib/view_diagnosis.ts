/**
 * The diagnosis card: plain text to paste into a ticket. Each section has a limit of lines, so that
 * the card stays short for fleets of any size; what is in trouble comes first.
 * @module
 */

import { FLAG_OF_LIMIT } from "./rules_limits.ts";
import { describeRule } from "./rules_table.ts";
import type { State } from "./state.ts";
import type { AdvisedCause } from "./state_advice.ts";
import { getUptime } from "./state_endpoint.ts";
import type { Row } from "./state_fleet.ts";
import { listGpus } from "./state_gpus.ts";
import { cutText, maskSecrets, wrapText } from "./text.ts";
import { formatClock, formatTimestamp } from "./units.ts";
import { VERSION } from "./version.ts";
import {
  formatCount,
  formatDuration,
  formatElapsed,
  formatPercent,
  formatPower,
  formatQuantile,
  formatQuantity,
  formatReading,
  formatTemperature,
} from "./view_format.ts";
import { layOut } from "./view_layout.ts";
import {
  formatAlert,
  formatEvent,
  formatFinding,
  formatGpuReading,
  formatLimit,
  formatMemory,
  formatOutlier,
  shortenGpuName,
} from "./view_words.ts";

/** In cells. */
const WIDTH = 100;
const INDENT = "  ";
const MAX_PLACES = 4;
const MAX_NAME_WIDTH = 30;
/** Different failures of one cause. */
const MAX_EVIDENCE = 2;

interface Section {
  readonly title: string;
  readonly lines: readonly string[];
  readonly maxLines: number;
}

/** Empty without lines; else preceded by a blank line. */
function writeSection({ title, lines, maxLines }: Section): readonly string[] {
  if (lines.length === 0) return [];
  const shown = lines.length > maxLines ? lines.slice(0, maxLines - 1) : lines;
  const more = lines.length - shown.length;
  return [
    ...["", title],
    ...[...shown, ...(more > 0 ? [`… ${more} more`] : [])].map((line) => INDENT + line),
  ];
}

function wrap(text: string): string[] {
  return wrapText(text, WIDTH - INDENT.length, INDENT);
}

/** Below a wrapped line. */
function wrapDetail(text: string): string[] {
  return wrapText(text, WIDTH - 2 * INDENT.length, INDENT).map((line) => INDENT + line);
}

/** The replica, or those of the endpoint. */
export function listRowsOf({ key }: AdvisedCause, { fleet }: State): readonly Row[] {
  return fleet.rows.filter((row) => row.key === key || row.state.endpoint.key === key);
}

/** `down`, `collapsed`, `hot, over`. */
export function nameCause({ signal, verdict }: AdvisedCause): string {
  if (signal === "down" || signal === "stale") return signal;
  const title = verdict === null ? "in trouble" : describeRule(verdict.rule).title;
  return signal === "recent" ? `${title}, over` : title;
}

/** Figures that show it, or messages of failures. */
export function listEvidence(
  { key, signal, verdict }: AdvisedCause,
  rows: readonly Row[],
  state: State,
): readonly string[] {
  if (signal === "down" || signal === "stale") {
    const said = rows.flatMap(({ fault, death }) =>
      death === null ? fault?.message ?? [] : `died: ${death.text}`
    );
    return [...new Set(said)];
  }
  if (verdict === null) return [];
  const alert = state.evaluation.alerts.find(({ first }) =>
    first.key === key && first.rule === signal
  );
  return [alert === undefined ? formatFinding(verdict) : formatAlert(alert, state)];
}

/** Causes of one kind together: what, where, since when, evidence, what to do. */
function describeCauses(causes: readonly AdvisedCause[], state: State): readonly string[] {
  const [worst] = causes;
  const rows = [...new Set(causes.flatMap((cause) => listRowsOf(cause, state)))];
  const places = rows.slice(0, MAX_PLACES).map(({ place }) => cutText(place, MAX_NAME_WIDTH));
  const more = rows.length - places.length;
  const began = causes.flatMap(({ since }) => since ?? []);
  const since = began.length === 0 ? null : Math.min(...began);
  const { now, nowEpoch } = state;
  const when = since === null
    ? ""
    : ` since ${formatClock(nowEpoch - (now - since), 0)}${formatElapsed(", for ", now - since)}`;
  const details = [
    ...listEvidence(worst, rows, state).slice(0, MAX_EVIDENCE),
    ...worst.advice === null ? [] : [`→ ${worst.advice.text}`],
  ];
  const where = places.join(", ") + (more > 0 ? ` and ${more} more` : "");
  return [
    ...wrap(`${worst.level.toUpperCase()} ${where}: ${nameCause(worst)}${when}`),
    ...details.flatMap(wrapDetail),
  ];
}

function listProblems(state: State): readonly string[] {
  const kinds = Map.groupBy(state.fleet.verdict.causes, nameCause);
  const lines = [...kinds.values()].flatMap((causes) => describeCauses(causes, state));
  return lines.length === 0 ? ["none"] : lines;
}

/** Those in trouble first. */
function sortRows(state: State): readonly Row[] {
  const { fleet: { rows, verdict } } = state;
  const keys = verdict.causes.map(({ key }) => key);
  const rank = ({ key, state: { endpoint } }: Row): number => {
    const place = keys.findIndex((one) => one === key || one === endpoint.key);
    return place < 0 ? keys.length : place;
  };
  return rows.toSorted((a, b) => rank(a) - rank(b));
}

function tabulateReplicas(rows: readonly Row[], state: State): readonly string[] {
  const cells = rows.map((row) => {
    const { running, waiting, kvCache, lastMinute } = row.shown;
    const { latency } = lastMinute;
    return [
      cutText(row.place, MAX_NAME_WIDTH),
      row.status,
      formatReading(running, formatCount),
      formatReading(waiting, formatCount),
      formatReading(kvCache.maxRatio, formatPercent),
      formatReading(lastMinute.generationTokensPerSecond, formatQuantity),
      formatReading(lastMinute.requestsPerSecond, formatQuantity),
      formatReading(latency.ttft.p95, formatQuantile),
      formatReading(latency.itl.p95, formatQuantile),
      formatReading(getUptime(row.state, state), formatDuration),
    ];
  });
  const heading = ["", "STATE", "RUN", "WAIT", "KV", "OUT/S", "REQ/S"];
  return layOut([[...heading, "TTFT@1m", "ITL@1m", "UP"], ...cells], "right");
}

function listLimits(rows: readonly Row[]): readonly string[] {
  return rows.flatMap(({ place, replica, limit }) =>
    replica !== null && (limit.kind in FLAG_OF_LIMIT || limit.kind === "gpu")
      ? wrap(
        `${cutText(place, MAX_NAME_WIDTH)}  ${formatLimit(limit, replica.sample.server.flags)}`,
      )
      : []
  );
}

/** Replicas with the same text share a line. */
function listServers(rows: readonly Row[]): readonly string[] {
  const described = Map.groupBy(rows.filter(({ replica }) => replica !== null), (row) => {
    const { replica, state: { server } } = row;
    if (replica === null) return "";
    const { modelName, server: { name, mainOptions }, configuration } = replica.sample;
    const options = mainOptions.flatMap((key) => {
      const value = configuration.get(key);
      return value === undefined || value === "None" ? [] : [`${key}=${value}`];
    });
    const version = server === null || server.version === null ? "" : ` ${server.version}`;
    const launch = server?.launch?.commandLine ?? "";
    return [`${name}${version}, ${modelName}`, launch === "" ? options.join(" ") : launch]
      .filter((text) => text !== "").join("\n");
  });
  return [...described].flatMap(([text, own]) => {
    const places = own.slice(0, MAX_PLACES).map(({ place }) => cutText(place, MAX_NAME_WIDTH));
    const more = own.length > MAX_PLACES ? ` and ${own.length - MAX_PLACES} more` : "";
    const [first, ...rest] = text.split("\n");
    return [
      ...wrap(`${places.join(", ")}${more}  ${first}`),
      ...rest.flatMap((line) => wrapDetail(maskSecrets(line))),
    ];
  });
}

function listGpuLines({ hosts }: State): readonly string[] {
  const cells = [...hosts.values()].flatMap((host) =>
    listGpus(host).map((gpu) => {
      const outlier = host.outliers.find(({ gpuIndex }) => gpuIndex === gpu.index);
      return [
        `${gpu.index} ${shortenGpuName(gpu.name)}`,
        formatGpuReading(gpu.utilizationRatio, formatPercent),
        formatMemory(gpu),
        formatGpuReading(gpu.powerWatts, formatPower),
        formatGpuReading(gpu.temperatureCelsius, formatTemperature),
        outlier === undefined ? "" : formatOutlier(outlier),
      ];
    })
  );
  const inTrouble = cells.toSorted((a, b) => Number(b[5] !== "") - Number(a[5] !== ""));
  return inTrouble.length === 0
    ? []
    : layOut(inTrouble, "left").map((line) => cutText(line, WIDTH - INDENT.length));
}

function listEvents(state: State): readonly string[] {
  const lines = state.fleet.events.toSorted((a, b) => b.beganAt - a.beganAt)
    .map((line) => [...formatEvent(line, { ...state, utcOffset: 0 })]);
  return lines.length === 0
    ? []
    : layOut(lines, "left").map((line) => cutText(line, WIDTH - INDENT.length));
}

/**
 * Returns at most 60 lines of at most 100 cells, without colors. Times are UTC. Secrets in command
 * lines are masked, and no address is in it but the names that the screen shows.
 */
export function renderDiagnosis(state: State): readonly string[] {
  const { fleet: { counts, verdict }, nowEpoch, isDemo } = state;
  const rows = sortRows(state);
  const time = formatTimestamp(nowEpoch).replace(/\.\d+Z$/, "Z");
  const span = rows.reduce(
    (sum, { total }) => Math.max(sum, state.now - (total?.since ?? state.now)),
    0,
  );
  return [
    `vllm-htop ${VERSION}  ${time}${isDemo ? "  demo: simulated fleet" : ""}${
      formatElapsed("  watched for ", span)
    }`,
    `${verdict.level}  ${counts.up} of ${counts.total} up`,
    ...writeSection({ title: "Problems", lines: listProblems(state), maxLines: 14 }),
    ...writeSection({
      title: "Replicas",
      lines: rows.length === 0 ? [] : tabulateReplicas(rows, state),
      maxLines: 9,
    }),
    ...writeSection({ title: "Limited by", lines: listLimits(rows), maxLines: 4 }),
    ...writeSection({ title: "Servers", lines: listServers(rows), maxLines: 7 }),
    ...writeSection({ title: "GPUs", lines: listGpuLines(state), maxLines: 5 }),
    ...writeSection({ title: "Events (UTC), newest first", lines: listEvents(state), maxLines: 7 }),
  ].map((line) => line.trimEnd());
}
