/**
 * The panel of GPUs, host by host: one line per GPU, or one line of ranges per model if space is
 * short.
 * @module
 */

import type { GpuShare } from "./gpu_attribution.ts";
import type { GpuSample, MigInstance } from "./gpu_model.ts";
import { computeMemoryRatio, type GpuSummary, type Range, summarizeGpus } from "./gpu_outliers.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { State } from "./state.ts";
import type { Fleet } from "./state_fleet.ts";
import { type HostState, listGpus } from "./state_gpus.ts";
import { measureWidth } from "./text.ts";
import type { Seconds } from "./units.ts";
import {
  formatClockRate,
  formatGibibytes,
  formatPercent,
  formatPower,
  formatRange,
  formatTemperature,
} from "./view_format.ts";
import { drawRatio } from "./view_gauge.ts";
import { drawStrip } from "./view_graph.ts";
import {
  type ColumnLayout,
  createColumnLayout,
  fitColumnLayouts,
  GAP,
  layOut,
  type LayoutColumn,
  type Panel,
  type PanelSpace,
} from "./view_layout.ts";
import { listGpuRemarks, renderHostLine } from "./view_host.ts";
import type { Meaning, Paint } from "./view_theme.ts";
import {
  chooseMemoryColor,
  chooseTemperatureColor,
  formatGpuReading,
  formatMemory,
  formatOutlier,
  formatOwners,
  formatThrottleReasons,
  NOT_AVAILABLE,
  shortenGpuName,
} from "./view_words.ts";

interface GpuContext {
  readonly gpus: readonly GpuSample[];
  readonly host: HostState;
  readonly fleet: Fleet;
  readonly paint: Paint;
  /** In cells, for histories. */
  readonly trendWidth?: number;
}

type GpuCell = readonly [text: string, meaning: Meaning];

interface GpuColumn extends LayoutColumn {
  readonly read: (gpu: GpuSample, context: GpuContext) => GpuCell;
  /** Formats the cell of a MIG instance. */
  readonly formatInstance?: (instance: MigInstance, gpu: GpuSample, context: GpuContext) => string;
}

const GAUGE_WIDTH = 8;
const TREND_WIDTH = 12;
const SHORT_TREND_WIDTH = 8;
/** Narrower panels have short histories. */
const WIDE = 90;

function getUtilization(gpu: GpuSample): readonly [string, Meaning] {
  const { utilizationRatio: ratio } = gpu;
  if (isPresent(ratio)) return [formatPercent(ratio.value), "plain"];
  return [gpu.isMigEnabled.value === true ? `${NOT_AVAILABLE} (MIG)` : NOT_AVAILABLE, "dim"];
}

function getGpuSeries(
  { index }: GpuSample,
  { host: { series }, trendWidth = TREND_WIDTH }: GpuContext,
  key: "utilizationRatio" | "memoryRatio",
): string {
  const values = (series.get(index) ?? []).map((point) => point[key]);
  return values.every((value) => value === null) ? "" : drawStrip(values, trendWidth, 1);
}

export function formatPowerDraw({ powerWatts, powerLimitWatts }: GpuSample): string {
  if (!isPresent(powerLimitWatts)) return formatGpuReading(powerWatts, formatPower);
  const used = formatGpuReading(powerWatts, (watts) => watts.toFixed(0));
  return `${used}/${formatPower(powerLimitWatts.value)}`;
}

function listSharesOf(
  { host }: GpuContext,
  { index }: GpuSample,
  instance?: MigInstance,
): readonly GpuShare[] {
  return host.shares.filter(({ process }) =>
    process.gpuIndex === index && (instance === undefined ||
      (isPresent(instance.gpuInstanceId) &&
        process.gpuInstanceId.value === instance.gpuInstanceId.value))
  );
}

const GPU_COLUMNS: readonly GpuColumn[] = [
  {
    title: "GPU",
    priority: 0,
    read: ({ index, name }) => [`${index} ${shortenGpuName(name)}`, "name"],
    formatInstance: ({ index, profile }) =>
      `  MIG ${index} ${formatGpuReading(profile, (text) => text)}`,
  },
  { title: "UTIL", priority: 1, read: getUtilization },
  {
    title: "",
    priority: 9,
    read: ({ utilizationRatio: ratio }) => [drawRatio(ratio, GAUGE_WIDTH), "ok"],
  },
  {
    title: "",
    priority: 7,
    read: (gpu, context) => [getGpuSeries(gpu, context, "utilizationRatio"), "ok"],
  },
  {
    title: "MEMORY",
    priority: 2,
    read: (gpu) => [formatMemory(gpu), chooseMemoryColor(gpu)],
    formatInstance: formatMemory,
  },
  {
    title: "",
    priority: 10,
    read: (gpu) => [drawRatio(computeMemoryRatio(gpu), GAUGE_WIDTH), chooseMemoryColor(gpu)],
    formatInstance: (instance) => drawRatio(computeMemoryRatio(instance), GAUGE_WIDTH),
  },
  {
    title: "",
    priority: 11,
    read: (gpu, context) => [getGpuSeries(gpu, context, "memoryRatio"), "ok"],
  },
  { title: "POWER", priority: 4, read: (gpu) => [formatPowerDraw(gpu), "plain"] },
  {
    title: "TEMP",
    priority: 3,
    read: (gpu) => [
      formatGpuReading(gpu.temperatureCelsius, formatTemperature),
      chooseTemperatureColor(gpu),
    ],
  },
  {
    title: "CLOCK",
    priority: 6,
    read: ({ smClockHertz }) => [formatGpuReading(smClockHertz, formatClockRate), "plain"],
  },
  {
    title: "MEM CLOCK",
    priority: 13,
    read: ({ memoryClockHertz }) => [formatGpuReading(memoryClockHertz, formatClockRate), "dim"],
  },
  {
    title: "FAN",
    priority: 12,
    read: ({ fanRatio }) => [isPresent(fanRatio) ? formatPercent(fanRatio.value) : "", "dim"],
  },
  {
    title: "THROTTLE",
    priority: 5,
    read: ({ throttleReasons, index }, { host: { outliers } }) => [
      formatThrottleReasons(throttleReasons),
      outliers.some(({ gpuIndex }) => gpuIndex === index) ? "warn" : "dim",
    ],
  },
  {
    title: "USED BY",
    priority: 8,
    read: (gpu, context) => [
      formatOwners(listSharesOf(context, gpu), context.fleet, { hasMemory: true }),
      "plain",
    ],
    formatInstance: (instance, gpu, context) =>
      formatOwners(listSharesOf(context, gpu, instance), context.fleet, { hasMemory: false }),
  },
];

/** One cell per GPU and MIG instance. */
function listCells(column: GpuColumn, context: GpuContext): readonly GpuCell[] {
  return context.gpus.flatMap((gpu) => [
    column.read(gpu, context),
    ...gpu.migInstances.map((instance): GpuCell => [
      column.formatInstance?.(instance, gpu, context) ?? "",
      "plain",
    ]),
  ]);
}

/** Drops columns that are empty or do not fit. */
function chooseGpuColumns(
  context: GpuContext,
  width: number,
): readonly ColumnLayout<GpuColumn, GpuCell>[] {
  const layouts = GPU_COLUMNS
    .map((column) => createColumnLayout(column, listCells(column, context), ([text]) => text))
    .filter(({ cells }) => cells.some(([text]) => text !== "" && text !== NOT_AVAILABLE));
  return fitColumnLayouts(layouts, width);
}

/** Draws a heading, and one line per GPU and MIG instance. Needs at least one GPU. */
export function drawGpus(context: GpuContext, width: number): string[] {
  const { paint } = context;
  const trendWidth = width < WIDE ? SHORT_TREND_WIDTH : TREND_WIDTH;
  const layouts = chooseGpuColumns({ ...context, trendWidth }, width);
  const count = layouts[0].cells.length;
  const heading = layouts.map(({ column }) => paint(column.title, "heading"));
  const lines = Array.from({ length: count }, (_, row) =>
    layouts.map(({ cells }) => {
      const [text, meaning] = cells[row];
      return paint(text, meaning);
    }));
  return layOut([heading, ...lines], "left");
}

/** `92–98 %`, `n/a`. */
function formatReadingRange(range: Reading<Range>, convert: (value: number) => string): string {
  return formatGpuReading(range, (known) => formatRange(known, convert));
}

/** Whole numbers from 10 on. */
function formatWholeGibibytes(bytes: number): string {
  const text = formatGibibytes(bytes);
  return `${Number(text) >= 10 ? Number(text).toFixed(0) : text} GiB`;
}

/** Most important piece first. */
function formatSummary(summary: GpuSummary, context: GpuContext): string[] {
  const members = context.gpus.filter(({ name }) => name === summary.name);
  const isMig = members.some(({ isMigEnabled }) => isMigEnabled.value === true);
  const isUnified = members.some(({ isMemoryUnified }) => isMemoryUnified);
  const { memoryUsedBytes: used, memoryTotalBytes: total } = summary;
  const size = isPresent(total) ? ` of ${formatReadingRange(total, formatWholeGibibytes)}` : "";
  const memory = [
    formatReadingRange(used, formatWholeGibibytes).replace(
      isPresent(total) ? / GiB(\+?)$/ : /$^/,
      "$1",
    ),
    `${size}${isUnified ? " unified" : ""}`,
  ].join("");
  const slowed = new Set(
    members.flatMap(({ throttleReasons }) => formatThrottleReasons(throttleReasons) || []),
  );
  const indexes = new Set(members.map(({ index }) => index));
  const shares = context.host.shares.filter(({ process }) => indexes.has(process.gpuIndex));
  const owners = formatOwners(shares, context.fleet, { hasMemory: false });
  const utilization = formatReadingRange(summary.utilizationRatio, formatPercent);
  return [
    `${summary.count}× ${shortenGpuName(summary.name)}`,
    `util ${isMig && utilization === NOT_AVAILABLE ? `${NOT_AVAILABLE} (MIG)` : utilization}`,
    `mem ${memory}`,
    formatReadingRange(summary.powerWatts, formatPower),
    formatReadingRange(summary.temperatureCelsius, formatTemperature),
    isPresent(summary.smClockHertz)
      ? formatReadingRange(summary.smClockHertz, formatClockRate)
      : "",
    [...slowed].join(", "),
    owners === "" ? "" : `used by ${owners}`,
  ].filter((piece) => piece !== "" && piece !== NOT_AVAILABLE);
}

/** Skips pieces that do not fit. */
function joinPieces(pieces: readonly string[], width: number): string {
  let line = pieces[0];
  for (const piece of pieces.slice(1)) {
    const longer = line + " ".repeat(GAP) + piece;
    if (measureWidth(longer) <= width) line = longer;
  }
  return line;
}

/** One line per GPU model, and one per GPU outlier. */
function drawSummaries(context: GpuContext, width: number): string[] {
  const { host: { outliers }, paint } = context;
  return [
    ...summarizeGpus(context.gpus).map((summary) =>
      joinPieces(formatSummary(summary, context), width)
    ),
    ...outliers.map((outlier) =>
      paint(`GPU ${outlier.gpuIndex} ${formatOutlier(outlier)}`, "warn")
    ),
  ];
}

/** A missing nvidia-smi is reported only with `--gpus`. */
export function listShownHosts(
  { hosts, asksForGpus = false }: State,
): readonly [string, HostState][] {
  return [...hosts].filter(([, { link, report, failure }]) =>
    link !== null || report !== null ||
    (failure !== null && (failure.kind !== "absent" || asksForGpus))
  );
}

export function shouldShowGpus(state: State): boolean {
  return listShownHosts(state).length > 0;
}

interface HostLines {
  /** Its load, or its name if there are several hosts. */
  readonly drawTitle: (width: number) => readonly string[];
  readonly fullLines: number;
  readonly drawFull: (width: number) => string[];
  readonly drawShort: (width: number) => string[];
  readonly remarks: readonly string[];
}

function createHostLines(
  host: HostState,
  { fleet, paint, name, now }: Pick<GpuContext, "fleet" | "paint"> & {
    readonly name: string | null;
    readonly now: Seconds;
  },
): HostLines {
  const gpus = listGpus(host);
  const context: GpuContext = { gpus, host, fleet, paint };
  const drawShort = (width: number): string[] =>
    gpus.length === 0 ? [] : drawSummaries(context, width);
  const lineCount = gpus.reduce((sum, { migInstances }) => sum + 1 + migInstances.length, 1);
  return {
    drawTitle: (width) =>
      host.load !== null || host.link !== null
        ? [renderHostLine(host, { name: name ?? "host", width, fleet, paint, now })]
        : name === null
        ? []
        : [paint(name, "heading")],
    fullLines: gpus.length === 0 ? 0 : lineCount,
    drawFull: (width) => gpus.length === 0 ? [] : drawGpus(context, width),
    drawShort,
    remarks: listGpuRemarks(host).map((text) => paint(text, "warn")),
  };
}

/** Returns `null` if there is nothing to show. */
export function createGpuPanel(state: State, paint: Paint): Panel | null {
  const shown = listShownHosts(state);
  if (shown.length === 0) return null;
  const hosts = shown.map(([name, host]) => {
    const { fleet, now } = state;
    const isNamed = shown.length > 1 || host.link !== null;
    return createHostLines(host, { fleet, paint, now, name: isNamed ? name : null });
  });
  const measure = (count: (host: HostLines) => number): number =>
    hosts.reduce(
      (sum, host) => sum + host.drawTitle(Infinity).length + count(host) + host.remarks.length,
      0,
    );
  const minLines = measure(({ drawShort }) => drawShort(Infinity).length);
  const maxLines = measure(({ fullLines }) => fullLines);
  return {
    title: shown.some(([, { link }]) => link !== null) ? "HOSTS" : "GPUS",
    minLines,
    maxLines: Math.max(minLines, maxLines),
    draw: ({ width, lines }: PanelSpace) => {
      const hasRoom = maxLines <= lines;
      return hosts.flatMap(({ drawTitle, drawFull, drawShort, remarks }) => [
        ...drawTitle(width),
        ...hasRoom ? drawFull(width) : drawShort(width),
        ...remarks,
      ]);
    },
  };
}
