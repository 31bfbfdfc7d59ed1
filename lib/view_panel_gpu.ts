/**
 * The panel of this machine's GPUs: a line for each, or a line for all of a
 * kind where there is no room.
 *
 * A line of a GPU has as many pieces as fit the width, the less
 * important ones going first. Folded, figures are ranges, and a GPU that falls
 * behind is named. What the driver's program says besides, or why it says
 * nothing, is one line.
 *
 * @module
 */

import type { GpuShare } from "./gpu_attribution.ts";
import type { GpuSample, MigInstance } from "./gpu_model.ts";
import { computeMemoryRatio, type GpuSummary, type Range, summarizeGpus } from "./gpu_outliers.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { State } from "./state.ts";
import { type Fleet, listGpus } from "./state_fleet.ts";
import { measureWidth } from "./text.ts";
import {
  drawBar,
  drawRatioSparkline,
  formatClockRate,
  formatGibibytes,
  formatPercent,
  formatPower,
  formatRange,
  formatTemperature,
} from "./view_format.ts";
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
import type { Meaning, Paint } from "./view_theme.ts";
import {
  chooseMemoryColor,
  chooseTemperatureColor,
  describeNoUtilization,
  formatGpuReading,
  formatMemory,
  formatOutlier,
  formatOwners,
  formatThrottleReasons,
  NOT_AVAILABLE,
  shortenGpuName,
} from "./view_words.ts";

/** GPUs that are to be drawn, and what is known besides. */
interface Subject {
  readonly gpus: readonly GpuSample[];
  readonly fleet: Fleet;
  readonly state: State;
  readonly paint: Paint;
  /** Cells of a sparkline, where there are any. */
  readonly trendWidth?: number;
}

/** What a column shows of a GPU. */
type GpuCell = readonly [text: string, meaning: Meaning];

/** One column of the lines: its heading, and the text of each GPU. */
interface GpuColumn extends LayoutColumn {
  readonly read: (gpu: GpuSample, subject: Subject) => GpuCell;
  /** What it shows of a part of a GPU. */
  readonly readInstance?: (instance: MigInstance, gpu: GpuSample, subject: Subject) => string;
}

const BAR_WIDTH = 8;

/** Cells of a sparkline, and of one where there is little room. */
const TREND_WIDTH = 12;
const SHORT_TREND_WIDTH = 8;

/** Cells across below which sparklines are short. */
const WIDE = 90;

function getUtilization(gpu: GpuSample): readonly [string, Meaning] {
  const { utilizationRatio: ratio } = gpu;
  return isPresent(ratio)
    ? [formatPercent(ratio.value), "plain"]
    : [describeNoUtilization(gpu), "dim"];
}

function drawRatioBar(ratio: Reading): string {
  return isPresent(ratio) ? drawBar(ratio.value, BAR_WIDTH) : "";
}

function getGpuSeries(
  { index }: GpuSample,
  { state: { gpus: { trends } }, trendWidth = TREND_WIDTH }: Subject,
  key: "utilizationRatio" | "memoryRatio",
): string {
  const values = (trends.get(index) ?? []).map((point) => point[key]);
  return values.every((value) => value === null) ? "" : drawRatioSparkline(values, trendWidth);
}

function describePower({ powerWatts, powerLimitWatts }: GpuSample): string {
  if (!isPresent(powerLimitWatts)) return formatGpuReading(powerWatts, formatPower);
  const used = formatGpuReading(powerWatts, (watts) => watts.toFixed(0));
  return `${used}/${formatPower(powerLimitWatts.value)}`;
}

function listSharesOf(
  { state }: Subject,
  { index }: GpuSample,
  instance?: MigInstance,
): readonly GpuShare[] {
  return state.gpuShares.filter(({ process }) =>
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
    readInstance: ({ index, profile }) =>
      `  MIG ${index} ${formatGpuReading(profile, (text) => text)}`,
  },
  { title: "UTIL", priority: 1, read: getUtilization },
  {
    title: "",
    priority: 9,
    read: ({ utilizationRatio: ratio }) => [drawRatioBar(ratio), "ok"],
  },
  {
    title: "",
    priority: 7,
    read: (gpu, subject) => [getGpuSeries(gpu, subject, "utilizationRatio"), "ok"],
  },
  {
    title: "MEMORY",
    priority: 2,
    read: (gpu) => [formatMemory(gpu), chooseMemoryColor(gpu)],
    readInstance: formatMemory,
  },
  {
    title: "",
    priority: 10,
    read: (gpu) => [drawRatioBar(computeMemoryRatio(gpu)), chooseMemoryColor(gpu)],
    readInstance: (instance) => drawRatioBar(computeMemoryRatio(instance)),
  },
  {
    title: "",
    priority: 11,
    read: (gpu, subject) => [getGpuSeries(gpu, subject, "memoryRatio"), "ok"],
  },
  { title: "POWER", priority: 4, read: (gpu) => [describePower(gpu), "plain"] },
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
    read: ({ throttleReasons, index }, { state: { gpus: { outliers } } }) => [
      formatThrottleReasons(throttleReasons),
      outliers.some(({ gpuIndex }) => gpuIndex === index) ? "warn" : "dim",
    ],
  },
  {
    title: "USED BY",
    priority: 8,
    read: (gpu, subject) => [
      formatOwners(listSharesOf(subject, gpu), subject.fleet, { hasMemory: true }),
      "plain",
    ],
    readInstance: (instance, gpu, subject) =>
      formatOwners(listSharesOf(subject, gpu, instance), subject.fleet, { hasMemory: false }),
  },
];

/** A cell for each GPU and each of its instances. */
function listCells(column: GpuColumn, subject: Subject): readonly GpuCell[] {
  return subject.gpus.flatMap((gpu) => [
    column.read(gpu, subject),
    ...gpu.migInstances.map((instance): GpuCell => [
      column.readInstance?.(instance, gpu, subject) ?? "",
      "plain",
    ]),
  ]);
}

/** The columns that say something and fit. */
function chooseGpuColumns(
  subject: Subject,
  width: number,
): readonly ColumnLayout<GpuColumn, GpuCell>[] {
  const layouts = GPU_COLUMNS
    .map((column) => createColumnLayout(column, listCells(column, subject), ([text]) => text))
    .filter(({ cells }) => cells.some(([text]) => text !== "" && text !== NOT_AVAILABLE));
  return fitColumnLayouts(layouts, () => width);
}

/** A heading, and a line for each GPU and each of its instances; at least one GPU. */
export function drawGpus(subject: Subject, width: number): string[] {
  const { paint } = subject;
  const trendWidth = width < WIDE ? SHORT_TREND_WIDTH : TREND_WIDTH;
  const layouts = chooseGpuColumns({ ...subject, trendWidth }, width);
  const count = layouts[0].cells.length;
  const heading = layouts.map(({ column }) => paint(column.title, "heading"));
  const lines = Array.from({ length: count }, (_, row) =>
    layouts.map(({ cells }) => {
      const [text, meaning] = cells[row];
      return paint(text, meaning);
    }));
  return layOut([heading, ...lines], "left");
}

/** `92–98 %`, `640–690 W`, or that there is none. */
function describeRange(range: Reading<Range>, convert: (value: number) => string): string {
  return formatGpuReading(range, (known) => formatRange(known, convert));
}

/** Of many GPUs the tenths of their memory say nothing. */
function formatWholeGibibytes(bytes: number): string {
  const text = formatGibibytes(bytes);
  return `${Number(text) >= 10 ? Number(text).toFixed(0) : text} GiB`;
}

/** The pieces of the line of all GPUs of a kind, the most important first. */
function describeFold(fold: GpuSummary, subject: Subject): string[] {
  const members = subject.gpus.filter(({ name }) => name === fold.name);
  const isMig = members.some(({ isMigEnabled }) => isMigEnabled.value === true);
  const isUnified = members.some(({ isMemoryUnified }) => isMemoryUnified);
  const { memoryUsedBytes: used, memoryTotalBytes: total } = fold;
  const size = isPresent(total) ? ` of ${describeRange(total, formatWholeGibibytes)}` : "";
  const memory = [
    describeRange(used, formatWholeGibibytes).replace(isPresent(total) ? / GiB(\+?)$/ : /$^/, "$1"),
    `${size}${isUnified ? " unified" : ""}`,
  ].join("");
  const slowed = new Set(
    members.flatMap(({ throttleReasons }) => formatThrottleReasons(throttleReasons) || []),
  );
  const indexes = new Set(members.map(({ index }) => index));
  const shares = subject.state.gpuShares.filter(({ process }) => indexes.has(process.gpuIndex));
  const owners = formatOwners(shares, subject.fleet, { hasMemory: false });
  const utilization = describeRange(fold.utilizationRatio, formatPercent);
  return [
    `${fold.count}× ${shortenGpuName(fold.name)}`,
    `util ${isMig && utilization === NOT_AVAILABLE ? `${NOT_AVAILABLE} (MIG)` : utilization}`,
    `mem ${memory}`,
    describeRange(fold.powerWatts, formatPower),
    describeRange(fold.temperatureCelsius, formatTemperature),
    isPresent(fold.smClockHertz) ? describeRange(fold.smClockHertz, formatClockRate) : "",
    [...slowed].join(", "),
    owners === "" ? "" : `used by ${owners}`,
  ].filter((piece) => piece !== "" && piece !== NOT_AVAILABLE);
}

/** Pieces side by side, as many as fit. */
function joinPieces(pieces: readonly string[], width: number): string {
  let line = pieces[0];
  for (const piece of pieces.slice(1)) {
    const longer = line + " ".repeat(GAP) + piece;
    if (measureWidth(longer) <= width) line = longer;
  }
  return line;
}

/** A line for each kind, and one for each GPU that falls behind. */
function drawFolds(subject: Subject, width: number): string[] {
  const { state: { gpus }, paint } = subject;
  return [
    ...summarizeGpus(subject.gpus).map((fold) => joinPieces(describeFold(fold, subject), width)),
    ...gpus.outliers.map((outlier) =>
      paint(`GPU ${outlier.gpuIndex} ${formatOutlier(outlier)}`, "warn")
    ),
  ];
}

/** Whether there is anything of GPUs to say. That there is no program for them is said only where they were asked for. */
export function shouldShowGpus({ gpus: { report, failure }, asksForGpus = false }: State): boolean {
  return report !== null || (failure !== null && (failure.kind !== "absent" || asksForGpus));
}

/** This machine's GPUs; `null` where there is nothing to say of them. */
export function createGpuPanel(fleet: Fleet, state: State, paint: Paint): Panel | null {
  if (!shouldShowGpus(state)) return null;
  const gpus = listGpus(state);
  const { report, failure } = state.gpus;
  const remarks = [
    ...(failure === null ? [] : [paint(failure.message, "warn")]),
    ...(failure === null ? report?.warnings ?? [] : []).map((text) => paint(text, "warn")),
  ];
  const subject: Subject = { gpus, fleet, state, paint };
  const folds = (width: number): string[] => gpus.length === 0 ? [] : drawFolds(subject, width);
  const lineCount = gpus.reduce((sum, { migInstances }) => sum + 1 + migInstances.length, 1);
  const wholeLines = gpus.length === 0 ? 0 : lineCount;
  const minLines = folds(Infinity).length + remarks.length;
  const first = folds(Infinity)[0];
  return {
    id: "gpus",
    title: "GPUS",
    minLines,
    maxLines: Math.max(minLines, wholeLines + remarks.length),
    draw: ({ width, lines }: PanelSpace) => {
      const hasRoom = gpus.length > 0 && wholeLines + remarks.length <= lines;
      return [...hasRoom ? drawGpus(subject, width) : folds(width), ...remarks];
    },
    summary: failure === null
      ? [first ?? "", ...state.gpus.outliers.map(({ gpuIndex }) => `GPU ${gpuIndex} is slow`)]
        .filter((text) => text !== "").join("  ")
      : failure.message,
  };
}
