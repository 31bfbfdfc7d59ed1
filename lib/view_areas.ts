/**
 * The areas of the fleet's page below its table: problems, latency, GPUs and trends. Their places
 * depend on the size of the terminal and the number of rows alone, so that nothing moves.
 * @module
 */

import type { GpuSample } from "./gpu_model.ts";
import { computeMemoryRatio } from "./gpu_outliers.ts";
import { LATENCY_NAMES, type LatencyKey } from "./model.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { State } from "./state.ts";
import { listGpus } from "./state_gpus.ts";
import type { SeriesKey } from "./stats_series.ts";
import { padText } from "./text.ts";
import {
  formatCount,
  formatPercent,
  formatPower,
  formatQuantile,
  formatReading,
} from "./view_format.ts";
import { drawGauge } from "./view_gauge.ts";
import { listGpuRemarks, renderHostLine } from "./view_host.ts";
import { fillWithTrends, MAX_GRAPH_LINES, MIN_GRAPH_LINES } from "./view_page_trends.ts";
import { shouldShowGpus } from "./view_panel_gpu.ts";
import { countProblems, renderProblemList } from "./view_problems.ts";
import { drawScale, drawSpread, fitSpread } from "./view_spread.ts";
import {
  cutStyledLine,
  type Meaning,
  measureStyledLine,
  padStyledLine,
  type Paint,
} from "./view_theme.ts";
import {
  chooseMemoryColor,
  chooseTemperatureColor,
  describeUnmerged,
  formatGpuReading,
  formatOwners,
} from "./view_words.ts";

/** Cells of a rule besides its title and its end. */
const RULE_MARGIN = 3;
/** From this width on there are two columns of areas. */
export const TWO_COLUMN_WIDTH = 110;

interface Space {
  readonly width: number;
  readonly lines: number;
  readonly paint: Paint;
}

interface Area {
  readonly title: (state: State) => string;
  /** Without its rule; fewer are of no use. */
  readonly minLines: number;
  /** More are of little use. */
  readonly maxLines: number;
  /** Returns at most `lines` lines. */
  readonly render: (state: State, space: Space) => readonly string[];
}

const LATENCY_ROWS: readonly LatencyKey[] = [
  "ttft",
  "itl",
  "e2e",
  "queue",
  "tpot",
  "prefill",
  "decode",
];

const SPREAD_GAP = "  ";

function renderLatencies({ fleet }: State, { width, lines, paint }: Space): readonly string[] {
  const { latency } = fleet.total.shown.lastMinute;
  const heading = ["", "P50", "P95", "P99", "n"];
  const widths = [8, 9, 9, 9, 8];
  const room = width - widths.reduce((sum, one) => sum + one, 1 + SPREAD_GAP.length);
  const spreadWidth = fitSpread(room);
  const align = (cells: readonly string[]): string[] =>
    cells.map((cell, i) => padText(cell, widths[i], i === 0 ? "left" : "right"));
  const rows = LATENCY_ROWS.slice(0, lines - 1).map((key) => {
    const { p50, p95, p99, samples, histogram } = latency[key];
    const unmerged = describeUnmerged(p95);
    if (unmerged !== null) {
      const title = padText(LATENCY_NAMES[key].title, widths[0]);
      // Fits in half of 120 columns.
      return paint(` ${title}  ${unmerged}: see their details`, "dim");
    }
    const [title, ...cells] = align([
      LATENCY_NAMES[key].title,
      ...[p50, p95, p99].map((quantile) => formatReading(quantile, formatQuantile)),
      formatReading(samples, formatCount),
    ]);
    const line = ` ${paint(title, "dim")}${cells.join("")}`;
    if (histogram === null || spreadWidth === 0) return line;
    return line + SPREAD_GAP + paint(drawSpread(histogram, spreadWidth), "series1");
  });
  const scale = spreadWidth === 0 ? "" : SPREAD_GAP + drawScale(spreadWidth);
  return [` ${paint(align(heading).join("") + scale, "dim")}`, ...rows];
}

/** Leaves room for an owner of 7 cells, such as `:11434`, in half of 120 columns. */
const GPU_GAUGE_WIDTH = 6;

function formatGauge(ratio: Reading, meaning: Meaning, paint: Paint): string {
  return isPresent(ratio)
    ? paint(drawGauge(ratio.value, GPU_GAUGE_WIDTH), meaning)
    : " ".repeat(GPU_GAUGE_WIDTH);
}

/** GPU, utilization, memory, power, temperature, whose it is. */
function drawGpu(gpu: GpuSample, owners: string, isSlow: boolean, paint: Paint): string {
  const { index, utilizationRatio, powerWatts, temperatureCelsius } = gpu;
  const percent = (ratio: Reading): string =>
    padText(formatGpuReading(ratio, formatPercent), 5, "right");
  const memory = computeMemoryRatio(gpu);
  const power = padText(
    formatGpuReading(powerWatts, formatPower),
    6,
    "right",
  );
  const heat = formatGpuReading(temperatureCelsius, (celsius) => `${celsius.toFixed(0)}°`);
  return [
    ` ${padText(String(index), 2)} ${formatGauge(utilizationRatio, "plain", paint)}`,
    percent(utilizationRatio),
    `${paint("mem", "dim")} ${formatGauge(memory, chooseMemoryColor(gpu), paint)}`,
    percent(memory),
    power,
    paint(padText(heat, 4, "right"), chooseTemperatureColor(gpu)),
    paint(isSlow ? "slow" : "    ", "warn"),
    owners,
  ].join(" ");
}

/** Hosts behind ssh come first, and their GPUs below if there is room; this machine's line is last. */
function renderHostLines(
  { hosts, fleet, now }: State,
  { width, paint }: Space,
): readonly (readonly [line: string, isBehindSsh: boolean])[] {
  return [...hosts].flatMap(([name, host]): (readonly [string, boolean])[] => {
    const space = { name: hosts.size > 1 ? name : "host", width: width - 1, fleet, paint, now };
    const isBehindSsh = host.link !== null;
    return host.load === null && !isBehindSsh
      ? []
      : [[` ${renderHostLine(host, space)}`, isBehindSsh]];
  });
}

function renderGpus(state: State, space: Space): readonly string[] {
  const { paint } = space;
  const hostLines = renderHostLines(state, space);
  const above = hostLines.filter(([, isBehindSsh]) => isBehindSsh).map(([line]) => line);
  const below = hostLines.filter(([, isBehindSsh]) => !isBehindSsh).map(([line]) => line);
  const lines = space.lines - above.length;
  if (lines < 1) {
    const left = above.length - space.lines + 1;
    return left < 2
      ? above
      : [...above.slice(0, space.lines - 1), paint(` … ${left} more: key 3`, "dim")];
  }
  return [...above, ...renderGpuLines(state, { ...space, lines }, below)];
}

function renderGpuLines(
  state: State,
  space: Space,
  hostLines: readonly string[],
): readonly string[] {
  const { lines, paint } = space;
  const remarks = [...state.hosts.values()].flatMap(listGpuRemarks);
  const drawn = [...state.hosts].flatMap(([name, host]) =>
    listGpus(host).map((gpu) => {
      const isSlow = host.outliers.some(({ gpuIndex }) => gpuIndex === gpu.index);
      const shares = host.shares.filter(({ process }) => process.gpuIndex === gpu.index);
      const owners = formatOwners(shares, state.fleet, { hasMemory: false });
      const at = state.hosts.size > 1 ? ` ${name}` : "";
      return { isSlow, line: drawGpu(gpu, owners + at, isSlow, paint) };
    })
  );
  const said = remarks.map((text) => paint(` ${text}`, "warn"));
  const room = lines - said.length;
  if (drawn.length <= room) {
    const all = [...said, ...drawn.map(({ line }) => line), ...hostLines];
    return all.slice(0, lines);
  }
  const first = [...drawn.filter(({ isSlow }) => isSlow), ...drawn.filter(({ isSlow }) => !isSlow)]
    .slice(0, Math.max(0, room - 1));
  return [
    ...said,
    ...drawn.filter((one) => first.includes(one)).map(({ line }) => line),
    paint(` … ${drawn.length - first.length} more: key 3`, "dim"),
  ];
}

/** As many graphs as there is room for, and at least one. */
function createTrends(title: string, keys: readonly SeriesKey[]): Area {
  return {
    title: () => title,
    ...{ minLines: 2, maxLines: keys.length * MAX_GRAPH_LINES },
    render: ({ fleet, interval }, { width, lines, paint }) => {
      const shown = keys.slice(0, Math.max(1, Math.floor(lines / MIN_GRAPH_LINES)));
      const options = { width: width - 2, lines, paint, interval, maxGraphLines: lines };
      return fillWithTrends(fleet.totalTrend, shown, options).map((line) => ` ${line}`);
    },
  };
}

const PROBLEMS: Area = {
  title: (state) => {
    const count = countProblems(state);
    return count === 0 ? "problems" : `problems (${count})`;
  },
  ...{ minLines: 3, maxLines: 12, render: renderProblemList },
};
const LATENCY: Area = {
  title: () => "latency, last minute",
  ...{ minLines: 3, maxLines: LATENCY_ROWS.length + 1, render: renderLatencies },
};
const GPUS: Area = {
  title: ({ hosts }) => hosts.values().some(({ link }) => link !== null) ? "hosts" : "GPUs",
  ...{ minLines: 2, maxLines: 16, render: renderGpus },
};
const TRENDS = createTrends("trends", [
  ...["running", "generationTokensPerSecond", "waiting", "promptTokensPerSecond"] as const,
]);
const FULLEST = createTrends("fullest KV cache", ["kvCacheUsageRatio"]);
const LOAD = createTrends("load", ["running", "waiting"]);
const TOKENS = createTrends("tokens", [
  ...["generationTokensPerSecond", "promptTokensPerSecond"] as const,
]);

/** `─ title ─────`, of `width` cells. The title may be painted. */
export function drawRule(title: string, width: number, paint: Paint): string {
  const rest = Math.max(0, width - measureStyledLine(title) - RULE_MARGIN);
  return cutStyledLine(`${paint("─", "dim")} ${title} ${paint("─".repeat(rest), "dim")}`, width);
}

/** Of a line that may be shorter or empty. */
export function isRule(line: string, paint: Paint): boolean {
  return line.startsWith(`${paint("─", "dim")} `);
}

function fillArea(area: Area, state: State, space: Space): string[] {
  const { width, lines, paint } = space;
  const content = area.render(state, { width, lines: lines - 1, paint }).slice(0, lines - 1)
    .map((line) => cutStyledLine(line, width));
  const blank = Array.from({ length: lines - 1 - content.length }, () => "");
  return [drawRule(area.title(state), width, paint), ...content, ...blank];
}

/** Lines of each area with its rule; those without room get none. The last may take the rest. */
function shareLines(areas: readonly Area[], lines: number): readonly number[] {
  let left = lines;
  const shares = areas.map(({ minLines }) => {
    const share = left > minLines ? minLines + 1 : 0;
    left -= share;
    return share;
  });
  const canGrow = (i: number): boolean => shares[i] > 0 && shares[i] <= areas[i].maxLines;
  for (let i = 0; left > 0 && areas.some((_, at) => canGrow(at)); i = (i + 1) % areas.length) {
    if (!canGrow(i)) continue;
    shares[i]++;
    left--;
  }
  if (left === lines) return shares.map((_, i) => i === 0 ? lines : 0);
  const last = shares.findLastIndex((share) => share > 0);
  return shares.map((share, i) => i === last ? share + left : share);
}

/** Areas over each other. */
function stack(
  areas: readonly Area[],
  state: State,
  space: Space,
  shares = shareLines(areas, space.lines),
): string[] {
  return areas.flatMap((area, i) =>
    shares[i] === 0 ? [] : fillArea(area, state, { ...space, lines: shares[i] })
  );
}

/** Draws the areas of `left` below one another, and `right` in a second column. */
function pair(left: readonly Area[], right: Area, state: State, space: Space): string[] {
  const { width, lines, paint } = space;
  const leftWidth = Math.floor(width / 2);
  const shares = shareLines(left, lines);
  const drawn = [
    stack(left, state, { ...space, width: leftWidth }, shares),
    fillArea(right, state, { ...space, width: width - leftWidth - 1 }),
  ];
  const rules = shares.map((_, i) => shares.slice(0, i).reduce((sum, share) => sum + share, 0));
  return Array.from({ length: lines }, (_, row) => {
    const border = paint(row === 0 ? "┬" : rules.includes(row) ? "┤" : "│", "dim");
    return padStyledLine(drawn[0][row], leftWidth) + border + drawn[1][row];
  });
}

/** The lower row of two needs as much. */
const MIN_LOWER_LINES = 4;

/** Lines for eight GPUs and the host. */
const EIGHT_GPU_LINES = 9;
/** More are of little use for the graph below them. */
const FULLEST_LINES = 11;
/** From so many on there is room for a graph below the GPUs, those of several hosts included. */
const MIN_TALL_LINES = { oneHost: 1 + EIGHT_GPU_LINES + 1 + MIN_GRAPH_LINES, hosts: 20 } as const;

function chooseGpuAreas({ hosts }: State, lines: number): readonly Area[] {
  if (lines < MIN_TALL_LINES[hosts.size > 1 ? "hosts" : "oneHost"]) return [GPUS];
  const gpuLines = Math.max(EIGHT_GPU_LINES, lines - FULLEST_LINES - 1);
  return [{ ...GPUS, minLines: gpuLines, maxLines: gpuLines }, FULLEST];
}

/** Draws the areas in exactly `lines` lines. */
export function renderAreas(state: State, space: Space): string[] {
  const { width, lines } = space;
  const hasGpus = shouldShowGpus(state);
  if (width < TWO_COLUMN_WIDTH) {
    const areas = hasGpus ? [PROBLEMS, LATENCY, GPUS, TRENDS] : [PROBLEMS, LATENCY, TRENDS];
    return stack(areas, state, space);
  }
  if (lines < 2) return stack([PROBLEMS], state, space);
  const upper = lines < 2 * MIN_LOWER_LINES
    ? lines
    : Math.min(LATENCY.maxLines + 1, Math.ceil(lines / 2));
  const lower = { ...space, lines: lines - upper };
  const upperLines = pair([PROBLEMS], LATENCY, state, { ...space, lines: upper });
  if (lower.lines === 0) return upperLines;
  if (!hasGpus) return [...upperLines, ...pair([LOAD], TOKENS, state, lower)];
  return [...upperLines, ...pair(chooseGpuAreas(state, lower.lines), TRENDS, state, lower)];
}

/** Lines that the areas want besides the table's, at least. */
export function reserveLines(room: number, width: number): number {
  if (room < 12) return 0;
  return Math.min(18, Math.round(room * (width < TWO_COLUMN_WIDTH ? 0.22 : 0.36)));
}
