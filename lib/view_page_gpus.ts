/**
 * The page of GPUs: the machine, its GPUs, their processes, and what a token costs in energy. Which
 * columns stand depends on the width alone, so that nothing moves with the values.
 * @module
 */

import type { GpuSample } from "./gpu_model.ts";
import { computeMemoryRatio } from "./gpu_outliers.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { State } from "./state.ts";
import type { Fleet } from "./state_fleet.ts";
import { type HostState, listGpus } from "./state_gpus.ts";
import { cutText, padText } from "./text.ts";
import { drawRule } from "./view_areas.ts";
import {
  formatClockRate,
  formatPercent,
  formatPower,
  formatQuantity,
  formatTemperature,
} from "./view_format.ts";
import { drawRatio } from "./view_gauge.ts";
import { drawStrip } from "./view_graph.ts";
import {
  formatCpu,
  listGpuRemarks,
  nameEndpoint,
  renderHostLine,
  renderHostLines,
} from "./view_host.ts";
import { GAP, joinSideBySide, type PanelSpace } from "./view_layout.ts";
import { formatPowerDraw, listShownHosts } from "./view_panel_gpu.ts";
import type { Meaning, Paint } from "./view_theme.ts";
import {
  chooseMemoryColor,
  chooseTemperatureColor,
  formatGpuReading,
  formatMemory,
  formatOwners,
  formatThrottleReasons,
  NOT_AVAILABLE,
  shortenGpuName,
} from "./view_words.ts";

type PageSpace = PanelSpace & { readonly paint: Paint };

type Cell = readonly [text: string, meaning: Meaning];

interface Column<Item> {
  readonly title: string;
  /** In cells. A last column of text takes what is left, too. */
  readonly width: number;
  /** The highest number is dropped first. */
  readonly priority: number;
  readonly align?: "right";
  readonly read: (item: Item) => Cell;
}

function measureColumns(columns: readonly Column<never>[]): number {
  return columns.reduce((sum, { width }) => sum + width + GAP, -GAP);
}

function chooseColumns<Item>(
  columns: readonly Column<Item>[],
  width: number,
): readonly Column<Item>[] {
  if (columns.length < 2 || measureColumns(columns) <= width) return columns;
  const last = Math.max(...columns.map(({ priority }) => priority));
  return chooseColumns(columns.filter(({ priority }) => priority !== last), width);
}

/** Draws a heading and a line per item. */
function renderTable<Item>(
  items: readonly Item[],
  columns: readonly Column<Item>[],
  { width, paint }: Pick<PageSpace, "width" | "paint">,
): string[] {
  const chosen = chooseColumns(columns, width);
  const rest = Math.max(0, width - measureColumns(chosen));
  const last = chosen.length - 1;
  const widths = chosen.map(({ width, align }, i) =>
    width + (i === last && align === undefined ? rest : 0)
  );
  const join = (cells: readonly Cell[]): string =>
    cells.map(([text, meaning], i) =>
      paint(padText(cutText(text, widths[i]), widths[i], chosen[i].align), meaning)
    ).join(" ".repeat(GAP)).trimEnd();
  return [
    join(chosen.map(({ title }) => [title, "heading"])),
    ...items.map((item) => join(chosen.map(({ read }) => read(item)))),
  ];
}

interface HostContext {
  readonly host: HostState;
  readonly fleet: Fleet;
}

interface GpuItem extends HostContext {
  readonly gpu: GpuSample;
}

const GAUGE_WIDTH = 10;
const STRIP_WIDTH = 12;

function formatClock({ smClockHertz, smClockMaxHertz }: GpuSample): string {
  const toMegahertz = (hertz: number): string => (hertz / 1e6).toFixed(0);
  const max = isPresent(smClockMaxHertz) ? `/${toMegahertz(smClockMaxHertz.value)}` : "";
  return formatGpuReading(smClockHertz, (hertz) => `${toMegahertz(hertz)}${max} MHz`);
}

/** `5.0 ×16`; yellow with fewer lanes than the card has. A slower link when idle is normal. */
function formatPcie({ pcieGeneration, pcieWidth, pcieWidthMax }: GpuSample): Cell {
  if (!isPresent(pcieGeneration) && !isPresent(pcieWidth)) return [NOT_AVAILABLE, "dim"];
  const generation = formatGpuReading(pcieGeneration, (number) => `${number}.0`);
  const lanes = formatGpuReading(pcieWidth, (count) => `×${count}`);
  const isNarrow = isPresent(pcieWidth) && pcieWidth.value < (pcieWidthMax.value ?? 0);
  return [`${generation} ${lanes}`, isNarrow ? "warn" : "plain"];
}

/** `unsupported` figures under MIG are those of its instances. */
function formatUtilization({ utilizationRatio, isMigEnabled }: GpuSample): string {
  const text = formatGpuReading(utilizationRatio, formatPercent);
  return text === NOT_AVAILABLE && isMigEnabled.value === true ? "MIG" : text;
}

const GPU_COLUMNS: readonly Column<GpuItem>[] = [
  { title: "GPU", width: 3, priority: 0, read: ({ gpu }) => [String(gpu.index), "name"] },
  { title: "NAME", width: 16, priority: 9, read: ({ gpu }) => [shortenGpuName(gpu.name), "plain"] },
  {
    title: "",
    width: GAUGE_WIDTH,
    priority: 6,
    read: ({ gpu }) => [drawRatio(gpu.utilizationRatio, GAUGE_WIDTH), "ok"],
  },
  {
    title: "UTIL",
    width: 5,
    priority: 0,
    align: "right",
    read: ({ gpu }) => [formatUtilization(gpu), "plain"],
  },
  {
    title: "",
    width: GAUGE_WIDTH,
    priority: 5,
    read: ({ gpu }) => [drawRatio(computeMemoryRatio(gpu), GAUGE_WIDTH), chooseMemoryColor(gpu)],
  },
  { title: "MEMORY", width: 13, priority: 1, read: ({ gpu }) => [formatMemory(gpu), "plain"] },
  {
    title: "UTIL, PAST",
    width: STRIP_WIDTH,
    priority: 12,
    read: ({ gpu, host }) => {
      const past = (host.series.get(gpu.index) ?? []).map((point) => point.utilizationRatio);
      return [past.some((one) => one !== null) ? drawStrip(past, STRIP_WIDTH, 1) : "", "series1"];
    },
  },
  {
    title: "MEM BUSY",
    width: 8,
    priority: 10,
    align: "right",
    read: ({ gpu }) => [formatGpuReading(gpu.memoryActivityRatio, formatPercent), "plain"],
  },
  { title: "POWER", width: 9, priority: 3, read: ({ gpu }) => [formatPowerDraw(gpu), "plain"] },
  {
    title: "TEMP",
    width: 6,
    priority: 2,
    align: "right",
    read: ({ gpu }) => [
      formatGpuReading(gpu.temperatureCelsius, formatTemperature),
      chooseTemperatureColor(gpu),
    ],
  },
  { title: "CLOCK", width: 13, priority: 8, read: ({ gpu }) => [formatClock(gpu), "plain"] },
  {
    title: "MEM CLOCK",
    width: 9,
    priority: 13,
    read: ({ gpu }) => [formatGpuReading(gpu.memoryClockHertz, formatClockRate), "dim"],
  },
  {
    title: "FAN",
    width: 5,
    priority: 14,
    align: "right",
    read: ({ gpu }) => [formatGpuReading(gpu.fanRatio, formatPercent), "dim"],
  },
  { title: "PCIE", width: 7, priority: 11, read: ({ gpu }) => formatPcie(gpu) },
  {
    title: "THROTTLE",
    width: 18,
    priority: 7,
    read: ({ gpu, host }) => [
      formatThrottleReasons(gpu.throttleReasons),
      host.outliers.some(({ gpuIndex }) => gpuIndex === gpu.index) ? "warn" : "dim",
    ],
  },
  {
    title: "USED BY",
    width: 12,
    priority: 4,
    read: ({ gpu, host, fleet }) => {
      const shares = host.shares.filter(({ process }) => process.gpuIndex === gpu.index);
      return [formatOwners(shares, fleet, { hasMemory: false }), "name"];
    },
  },
];

type ServerProcess = NonNullable<HostState["load"]>["processes"][number];

interface ProcessItem {
  readonly pid: number;
  readonly command: string;
  readonly user: string;
  readonly server: string;
  /** `null` if it is of no watched server. */
  readonly load: ServerProcess | null;
  /** Where it holds memory. */
  readonly gpus: string;
  readonly memory: string;
}

const ROLE_WORDS: Readonly<Record<ServerProcess["role"], string>> = {
  api_server: "API server",
  engine_core: "engine core",
  worker: "worker",
  other: "other",
};

const PROCESS_COLUMNS: readonly Column<ProcessItem>[] = [
  { title: "PID", width: 7, priority: 0, align: "right", read: ({ pid }) => [String(pid), "name"] },
  { title: "USER", width: 8, priority: 7, read: ({ user }) => [user, "dim"] },
  { title: "SERVER", width: 12, priority: 2, read: ({ server }) => [server, "plain"] },
  {
    title: "ROLE",
    width: 11,
    priority: 4,
    read: ({ load }) => [load === null ? "" : ROLE_WORDS[load.role], "plain"],
  },
  {
    title: "CPU",
    width: 5,
    priority: 1,
    align: "right",
    read: ({ load }) => load === null ? ["", "dim"] : formatCpu(load),
  },
  { title: "GPU", width: 5, priority: 5, align: "right", read: ({ gpus }) => [gpus, "plain"] },
  {
    title: "GPU MEM",
    width: 9,
    priority: 6,
    align: "right",
    read: ({ memory }) => [memory, "plain"],
  },
  { title: "COMMAND", width: 12, priority: 3, read: ({ command }) => [command, "dim"] },
];

/** GPU processes and those of servers, without helpers that hold no GPU memory. */
function listProcesses({ host, fleet }: HostContext): readonly ProcessItem[] {
  const loads = host.load?.processes ?? [];
  const pids = new Set([
    ...loads.filter(({ role }) => role !== "other").map(({ pid }) => pid),
    ...host.shares.map(({ process }) => process.pid),
  ]);
  return [...pids].map((pid) => {
    const shares = host.shares.filter(({ process }) => process.pid === pid);
    const load = loads.find((one) => one.pid === pid) ?? null;
    const endpointKey = load?.endpointKey ?? shares[0]?.owner?.endpointKey ?? null;
    const bytes = shares.map(({ process: { memoryBytes } }) => memoryBytes.value ?? NaN)
      .reduce((sum, one) => sum + one, 0);
    return {
      ...{ pid, load },
      command: load?.name ?? shares[0].name,
      user: load?.user ?? host.machine.processes.get(pid)?.user ?? "",
      server: endpointKey === null ? "other" : nameEndpoint(fleet, endpointKey),
      gpus: shares.map(({ process }) => process.gpuIndex).join(","),
      memory: shares.length === 0
        ? ""
        : Number.isNaN(bytes)
        ? NOT_AVAILABLE
        : `${(bytes / 2 ** 30).toFixed(1)} GiB`,
    };
  });
}

type Energy = Fleet["energy"]["total"] & { readonly name: string };

function formatFigure(reading: Reading, unit: string): string {
  return formatGpuReading(reading, (value) => `${formatQuantity(value)}${unit}`);
}

const ENERGY_COLUMNS: readonly Column<Energy>[] = [
  { title: "SERVER", width: 16, priority: 0, read: ({ name }) => [name, "name"] },
  {
    title: "GPUS",
    width: 4,
    priority: 5,
    align: "right",
    read: (one) => [`${one.gpuCount}`, "plain"],
  },
  {
    title: "POWER@1m",
    width: 9,
    priority: 3,
    align: "right",
    read: ({ powerWatts }) => [formatGpuReading(powerWatts, formatPower), "plain"],
  },
  {
    title: "OUT/S@1m",
    width: 8,
    priority: 4,
    align: "right",
    read: ({ outputTokensPerSecond }) => [formatFigure(outputTokensPerSecond, ""), "plain"],
  },
  {
    title: "tok/s per W",
    width: 11,
    priority: 1,
    align: "right",
    read: ({ tokensPerSecondPerWatt }) => [formatFigure(tokensPerSecondPerWatt, ""), "plain"],
  },
  {
    title: "J per token",
    width: 11,
    priority: 2,
    align: "right",
    read: ({ joulesPerToken }) => [formatFigure(joulesPerToken, ""), "plain"],
  },
];

function renderEnergy(fleet: Fleet, space: PageSpace): string[] {
  const { width, paint } = space;
  const { total, servers } = fleet.energy;
  if (servers.length === 0) return [];
  const named = servers.map((one) => ({ ...one, name: nameEndpoint(fleet, one.endpointKey) }));
  const items = servers.length === 1 ? named : [...named, { ...total, name: "all" }];
  return [
    drawRule(paint("energy", "heading"), width, paint),
    ...renderTable(items, ENERGY_COLUMNS, space),
  ];
}

/** One per MIG instance: its memory, and whose it is. */
function renderInstances({ gpu, host, fleet }: GpuItem, { width, paint }: PageSpace): string[] {
  return gpu.migInstances.map((instance) => {
    const { index, profile, gpuInstanceId: id } = instance;
    const shares = host.shares.filter(({ process }) =>
      process.gpuIndex === gpu.index && isPresent(id) && process.gpuInstanceId.value === id.value
    );
    const owners = formatOwners(shares, fleet, { hasMemory: false });
    const name = formatGpuReading(profile, (text) => text);
    const ratio = computeMemoryRatio(instance);
    const text = `     MIG ${index} ${padText(name, 10)}  ${drawRatio(ratio, GAUGE_WIDTH)}  ` +
      `${formatMemory(instance)}  ${owners}`;
    return paint(cutText(text.trimEnd(), width), "plain");
  });
}

function renderGpuTable(items: readonly GpuItem[], space: PageSpace): string[] {
  const [heading, ...lines] = renderTable(items, GPU_COLUMNS, space);
  return [heading, ...items.flatMap((item, i) => [lines[i], ...renderInstances(item, space)])];
}

/** The host's line or lines, its GPUs, and what their programs said. */
function renderGpus(
  name: string,
  host: HostState,
  { fleet, now }: Pick<State, "fleet" | "now">,
  space: PageSpace & { readonly isPanel: boolean },
): string[] {
  const { paint, width, isPanel } = space;
  const gpus = listGpus(host).map((gpu): GpuItem => ({ host, fleet, gpu }));
  const lineSpace = { name, fleet, width, paint, now };
  return [
    ...isPanel ? renderHostLines(host, lineSpace) : [renderHostLine(host, lineSpace)],
    ...gpus.length === 0 ? [] : renderGpuTable(gpus, space),
    ...listGpuRemarks(host).map((text) => paint(cutText(text, width), "warn")),
  ];
}

/** Narrower panels would lose figures of the host. */
const MIN_PANEL_WIDTH = 78;

/** Beside each other where there is room. */
function renderHosts(
  hosts: readonly (readonly [name: string, host: HostState])[],
  state: State,
  space: PageSpace,
): string[] {
  const fitting = Math.max(1, Math.floor((space.width + GAP) / (MIN_PANEL_WIDTH + GAP)));
  const count = Math.min(fitting, hosts.length);
  const width = Math.floor((space.width + GAP) / count) - GAP;
  const blocks = hosts.map(([name, host]) => {
    const shownName = hosts.length === 1 && host.link === null ? "host" : name;
    return renderGpus(shownName, host, state, { ...space, width, isPanel: count > 1 });
  });
  return Array.from(
    { length: Math.ceil(hosts.length / count) },
    (_, row) => joinSideBySide(blocks.slice(row * count, (row + 1) * count), width + GAP),
  ).flat();
}

function renderProcesses(
  title: string,
  host: HostState,
  fleet: Fleet,
  space: PageSpace,
): string[] {
  const { width, paint } = space;
  const processes = listProcesses({ host, fleet });
  return processes.length === 0 ? [] : [
    drawRule(paint(title, "heading"), width, paint),
    ...renderTable(processes, PROCESS_COLUMNS, space),
  ];
}

/** More lines than there is room for are scrolled. */
export function renderGpusPage(state: State, space: PageSpace): readonly string[] {
  const { fleet } = state;
  const shown = new Map([
    ...listShownHosts(state),
    ...[...state.hosts].filter(([, { load }]) => load !== null),
  ]);
  if (shown.size === 0) {
    return [space.paint("nothing to show: no server on this machine is watched", "dim")];
  }
  const inner = { ...space, width: space.width - 1 };
  return [
    ...renderHosts([...shown], state, inner),
    ...renderEnergy(fleet, inner),
    ...[...shown].flatMap(([name, host]) =>
      renderProcesses(shown.size === 1 ? "processes" : `processes on ${name}`, host, fleet, inner)
    ),
  ].map((line) => ` ${line}`);
}
