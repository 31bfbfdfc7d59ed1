/**
 * What nvidia-smi is asked, and its answers -> GPUs and their processes.
 *
 * Every name of a field of nvidia-smi stands here. A driver
 * refuses the whole query for one field that it does not know, so its help is
 * read first and only what it lists is asked for. Names of GPUs and processes
 * may hold commas and nothing is quoted: each comes last in its line. A cell
 * without a figure is a reading with a reason and never costs the others.
 * Sources: `--help-query-gpu` of drivers 418 to 610, recorded outputs under
 * `tests/fixtures/gpu`, nvml.h for the bits of the clock event reasons. Base
 * units; MIG is `gpu_nvidia_smi`'s matter.
 * Rejected: the XML of `-q -x`, which is ten times as long and as slow.
 *
 * @module
 */

import type { GpuProcess, GpuSample, MigInstance, ThrottleReason } from "./gpu_model.ts";
import type { SystemMemory } from "./platform.ts";
import {
  type AbsenceReason,
  absent,
  isPresent,
  mapReading,
  present,
  type Reading,
} from "./reading.ts";
import { sanitizeText } from "./text.ts";
import { type Bytes, BYTES_PER_MEBIBYTE, HERTZ_PER_MEGAHERTZ } from "./units.ts";

/** Figure -> the names of its field, newest first. `index` first and `name` last: see the module. */
const FIELD_NAMES = {
  index: ["index"],
  uuid: ["uuid", "gpu_uuid"],
  utilization: ["utilization.gpu"],
  memoryUsed: ["memory.used"],
  memoryTotal: ["memory.total"],
  power: ["power.draw"],
  powerLimit: ["enforced.power.limit", "power.limit"],
  temperature: ["temperature.gpu"],
  temperatureMargin: ["temperature.gpu.tlimit"],
  smClock: ["clocks.current.sm", "clocks.sm"],
  smClockMax: ["clocks.max.sm"],
  memoryClock: ["clocks.current.memory", "clocks.mem"],
  fan: ["fan.speed"],
  throttle: ["clocks_event_reasons.active", "clocks_throttle_reasons.active"],
  eccCorrected: ["ecc.errors.corrected.volatile.total"],
  eccUncorrected: ["ecc.errors.uncorrected.volatile.total"],
  pcieGeneration: ["pcie.link.gen.gpucurrent", "pcie.link.gen.current"],
  pcieGenerationMax: ["pcie.link.gen.max"],
  pcieWidth: ["pcie.link.width.current"],
  pcieWidthMax: ["pcie.link.width.max"],
  persistence: ["persistence_mode"],
  mig: ["mig.mode.current"],
  name: ["name", "gpu_name"],
} as const;
type Field = keyof typeof FIELD_NAMES;

/** Fields that are asked for where the help cannot be read: every driver since 340 has them. */
const OLDEST_FIELDS: ReadonlySet<string> = new Set([
  ...["index", "uuid", "utilization.gpu", "memory.used", "memory.total", "power.draw"],
  ...["power.limit", "temperature.gpu", "clocks.sm", "clocks.mem", "fan.speed"],
  ...["persistence_mode", "name"],
]);

/** What one query asks for, in the order of the cells. */
export type GpuQuery = readonly (readonly [field: Field, name: string])[];

/** Prints what fields a query may have. */
export const QUERY_HELP_ARGUMENTS: readonly string[] = ["--help-query-gpu"];

/** Prints the processes that have a compute context. */
export const COMPUTE_APPS_ARGUMENTS: readonly string[] = [
  "--query-compute-apps=gpu_uuid,pid,used_memory,process_name",
  "--format=csv,noheader,nounits",
];

/** Cells before the name of a process. */
const COMPUTE_APP_CELLS = 3;

/** The names in the help: a line of `"name"` or of `"name" or "other name"` each. */
function parseFieldNames(help: string): ReadonlySet<string> {
  const lines = help.match(/^"[\w.]+"(?: or "[\w.]+")*\s*$/gm) ?? [];
  return new Set(lines.flatMap((line) => line.match(/[\w.]+(?=")/g) ?? []));
}

/**
 * The query of all figures that a driver with this help knows, each by its
 * newest name; of those that every driver knows where the help has no fields.
 */
export function planGpuQuery(help: string): GpuQuery {
  const listed = parseFieldNames(help);
  const known = listed.has("index") && listed.has("name") ? listed : OLDEST_FIELDS;
  const query: (readonly [Field, string])[] = [];
  for (const [field, names] of Object.entries(FIELD_NAMES) as [Field, readonly string[]][]) {
    const name = names.find((name) => known.has(name));
    if (name !== undefined) query.push([field, name]);
  }
  return query;
}

/** The arguments of a query. */
export function listGpuQueryArguments(query: GpuQuery): readonly string[] {
  return [
    `--query-gpu=${query.map(([, name]) => name).join(",")}`,
    "--format=csv,noheader,nounits",
  ];
}

/** Why a cell holds no figure; what no row fits is `unreadable`. */
const ABSENCE_ROWS: readonly (readonly [RegExp, AbsenceReason])[] = [
  [/^-?$|^\[?(?:N\/A|not supported)\]?$|deprecated/i, "unsupported"],
  [/insufficient permission/i, "forbidden"],
];

const NUMBER = /^(-?\d+(?:\.\d+)?)(?: ?(?:%|MiB|W|MHz|C))?$/;

function explainCell(cell: string): Reading<never> {
  return absent(ABSENCE_ROWS.find(([pattern]) => pattern.test(cell))?.[1] ?? "unreadable");
}

/** A cell with a number, whether or not its unit is printed. */
function parseNumberCell(cell: string): Reading {
  const match = NUMBER.exec(cell);
  return match === null ? explainCell(cell) : present(Number(match[1]));
}

function parseSwitchCell(cell: string): Reading<boolean> {
  if (/^enabled$/i.test(cell)) return present(true);
  return /^disabled$/i.test(cell) ? present(false) : explainCell(cell);
}

/** A cell with text, made safe. */
function parseTextCell(cell: string): Reading<string> {
  return /^\[|^$|^N\/A$/i.test(cell) ? explainCell(cell) : present(sanitizeText(cell));
}

/** The bits of nvml.h's `nvmlClocksEventReason…`, from the lowest. */
const THROTTLE_BITS: readonly ThrottleReason[] = [
  "idle",
  "application_clocks",
  "power_cap",
  "hardware_slowdown",
  "sync_boost",
  "thermal_software",
  "thermal_hardware",
  "power_brake",
  "display_clocks",
];

function parseThrottleCell(cell: string): Reading<readonly ThrottleReason[]> {
  if (!/^0x[0-9a-f]{1,16}$/i.test(cell)) return explainCell(cell);
  const mask = BigInt(cell);
  const reasons = THROTTLE_BITS.filter((_, bit) => (mask >> BigInt(bit)) % 2n === 1n);
  return present(mask >> BigInt(THROTTLE_BITS.length) === 0n ? reasons : [...reasons, "other"]);
}

const fromPercent = (reading: Reading): Reading => mapReading(reading, (percent) => percent / 100);
const fromMebibytes = (reading: Reading): Reading =>
  mapReading(reading, (mebibytes) => mebibytes * BYTES_PER_MEBIBYTE);
const fromMegahertz = (reading: Reading): Reading =>
  mapReading(reading, (megahertz) => megahertz * HERTZ_PER_MEGAHERTZ);

/** The cells of a line by field, or `null` where it is no line of this query. */
function parseCells(line: string, query: GpuQuery): ReadonlyMap<Field, string> | null {
  const cells = line.split(",");
  if (cells.length < query.length || !/^\s*\d+$/.test(cells[0])) return null;
  const last = query.length - 1;
  const values = [...cells.slice(0, last), cells.slice(last).join(",")];
  return new Map(query.map(([field], index) => [field, values[index].trim()]));
}

function parseGpuCells(cells: ReadonlyMap<Field, string>): GpuSample {
  const number = (field: Field): Reading => {
    const cell = cells.get(field);
    return cell === undefined ? absent("missing") : parseNumberCell(cell);
  };
  const flag = (field: Field): Reading<boolean> => {
    const cell = cells.get(field);
    return cell === undefined ? absent("missing") : parseSwitchCell(cell);
  };
  const total = number("memoryTotal");
  const throttle = cells.get("throttle");
  const uuid = cells.get("uuid");
  return {
    index: Number(cells.get("index")),
    vendor: "nvidia",
    name: sanitizeText(cells.get("name") ?? ""),
    uuid: uuid === undefined ? absent("missing") : parseTextCell(uuid),
    utilizationRatio: fromPercent(number("utilization")),
    memoryUsedBytes: fromMebibytes(number("memoryUsed")),
    // A GPU without memory is a driver that does not know.
    memoryTotalBytes: total.value === 0 ? absent("unreadable") : fromMebibytes(total),
    isMemoryUnified: false,
    powerWatts: number("power"),
    powerLimitWatts: number("powerLimit"),
    temperatureCelsius: number("temperature"),
    temperatureMarginCelsius: number("temperatureMargin"),
    smClockHertz: fromMegahertz(number("smClock")),
    smClockMaxHertz: fromMegahertz(number("smClockMax")),
    memoryClockHertz: fromMegahertz(number("memoryClock")),
    fanRatio: fromPercent(number("fan")),
    throttleReasons: throttle === undefined ? absent("missing") : parseThrottleCell(throttle),
    eccErrorsCorrected: number("eccCorrected"),
    eccErrorsUncorrected: number("eccUncorrected"),
    pcieGeneration: number("pcieGeneration"),
    pcieGenerationMax: number("pcieGenerationMax"),
    pcieWidth: number("pcieWidth"),
    pcieWidthMax: number("pcieWidthMax"),
    isPersistent: flag("persistence"),
    isMigEnabled: flag("mig"),
    migInstances: [],
  };
}

/** Lines besides the figures that are kept. */
const MAX_WARNINGS = 5;

/** What a query's output holds. */
interface GpuTable {
  readonly gpus: readonly GpuSample[];
  /** Lines that are no GPU's, made safe: warnings that come before or between. */
  readonly warnings: readonly string[];
}

/**
 * The GPUs of a query's output, in its order.
 */
export function parseGpuTable(text: string, query: GpuQuery): GpuTable {
  const gpus: GpuSample[] = [];
  const warnings: string[] = [];
  for (const line of text.split(/\r?\n/)) {
    const cells = parseCells(line, query);
    if (cells !== null) gpus.push(parseGpuCells(cells));
    else if (line.trim() !== "" && warnings.length < MAX_WARNINGS) {
      warnings.push(sanitizeText(line.trim()));
    }
  }
  return { gpus, warnings };
}

/** The GPU that a UUID names: its own, or that of one of its MIG instances. */
function findGpu(gpus: readonly GpuSample[], uuid: string): GpuSample | undefined {
  return gpus.find((gpu) =>
    gpu.uuid.value === uuid || gpu.migInstances.some((instance) => instance.uuid.value === uuid)
  ) ?? (gpus.length === 1 && !isPresent(gpus[0].uuid) ? gpus[0] : undefined);
}

/**
 * The processes of a `COMPUTE_APPS_ARGUMENTS` output that run on these GPUs.
 */
export function parseComputeApps(text: string, gpus: readonly GpuSample[]): readonly GpuProcess[] {
  const processes: GpuProcess[] = [];
  for (const line of text.split(/\r?\n/)) {
    const cells = line.split(",");
    const [uuid, pid, memory] = cells.slice(0, COMPUTE_APP_CELLS).map((cell) => cell.trim());
    const gpu = findGpu(gpus, uuid);
    if (cells.length <= COMPUTE_APP_CELLS || !/^\d+$/.test(pid) || gpu === undefined) continue;
    processes.push({
      pid: Number(pid),
      name: sanitizeText(cells.slice(COMPUTE_APP_CELLS).join(",").trim()),
      gpuIndex: gpu.index,
      memoryBytes: fromMebibytes(parseNumberCell(memory)),
      gpuInstanceId: absent("missing"),
    });
  }
  return processes;
}

/**
 * The GPUs, those without a memory of their own with the system's. Such a GPU
 * (GB10, Jetson) says `[N/A]` for its total; a driver that fails to read it
 * says something else. Where the system cannot be asked the figures stay absent.
 */
export function completeUnifiedMemory(
  gpus: readonly GpuSample[],
  memory: SystemMemory | null,
): readonly GpuSample[] {
  return gpus.map((gpu) => {
    const { memoryTotalBytes: total } = gpu;
    if (isPresent(total) || total.reason !== "unsupported" || gpu.isMigEnabled.value) return gpu;
    if (memory === null) return { ...gpu, isMemoryUnified: true };
    return {
      ...gpu,
      isMemoryUnified: true,
      memoryTotalBytes: present(memory.totalBytes),
      memoryUsedBytes: present(Math.max(0, memory.totalBytes - memory.availableBytes)),
    };
  });
}

/** Prints the GPUs and their MIG instances. */
export const MIG_LIST_ARGUMENTS: readonly string[] = ["-L"];

/** Prints everything, the memory of MIG instances among it. */
export const MIG_DETAIL_ARGUMENTS: readonly string[] = ["-q"];

/** What the outputs say of a device. */
type Named = Pick<MigInstance, "profile" | "uuid">;
type Detailed = Pick<MigInstance, "gpuInstanceId" | "memoryUsedBytes" | "memoryTotalBytes">;

/** By the UUID of the GPU, then by the index of the device. */
type Devices<T> = ReadonlyMap<string, ReadonlyMap<number, T>>;

const LIST_GPU = /^GPU \d+: .*\(UUID: (\S+)\)\s*$/;
const LIST_DEVICE = /^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (\S+)\)\s*$/;

function parseMigList(text: string): Devices<Named> {
  const devices = new Map<string, Map<number, Named>>();
  let current = new Map<number, Named>();
  for (const line of text.split(/\r?\n/)) {
    const gpu = LIST_GPU.exec(line);
    if (gpu !== null) devices.set(sanitizeText(gpu[1]), current = new Map());
    const device = LIST_DEVICE.exec(line);
    if (device !== null) {
      current.set(Number(device[2]), {
        profile: present(sanitizeText(device[1])),
        uuid: present(sanitizeText(device[3])),
      });
    }
  }
  return devices;
}

/** A line `name : value` of `-q`, and how far it is indented. */
interface Entry {
  readonly indent: number;
  readonly name: string;
  readonly value: string;
}

function parseEntry(line: string): Entry {
  const [, blanks, name, value] = /^(\s*)(.*?)(?:\s*:\s(.*))?$/.exec(line) ?? ["", "", "", ""];
  return { indent: blanks.length, name, value: (value ?? "").trim() };
}

/** Lines of `-q` below a heading, up to the next line that is indented as little. */
function collectBlock(lines: readonly Entry[], start: number): readonly Entry[] {
  const { indent } = lines[start];
  const end = lines.findIndex((line, index) =>
    index > start && line.name !== "" && line.indent <= indent
  );
  return lines.slice(start + 1, end < 0 ? undefined : end);
}

function findValue(lines: readonly Entry[], name: string): string {
  return lines.find((line) => line.name === name)?.value ?? "";
}

function parseBytes(cell: string): Reading<Bytes> {
  return mapReading(parseNumberCell(cell), (mebibytes) => mebibytes * BYTES_PER_MEBIBYTE);
}

function parseDevice(block: readonly Entry[]): Detailed {
  const start = block.findIndex(({ name }) => /FB Memory Usage$/.test(name));
  const memory = start < 0 ? [] : collectBlock(block, start);
  return {
    gpuInstanceId: parseNumberCell(findValue(block, "GPU Instance ID")),
    memoryUsedBytes: parseBytes(findValue(memory, "Used")),
    memoryTotalBytes: parseBytes(findValue(memory, "Total")),
  };
}

/** What `-q` says of one GPU. */
interface GpuDetails {
  readonly devices: ReadonlyMap<number, Detailed>;
  /** Process -> the instance that it runs in. */
  readonly instanceIds: ReadonlyMap<number, Reading>;
}

function parseGpuDetails(lines: readonly Entry[]): GpuDetails {
  const devices = new Map<number, Detailed>();
  const instanceIds = new Map<number, Reading>();
  let instanceId: Reading = absent("missing");
  for (const [index, { name, value }] of lines.entries()) {
    if (name === "MIG Device") {
      const block = collectBlock(lines, index);
      devices.set(Number(findValue(block, "Index")), parseDevice(block));
    }
    if (name === "GPU instance ID") instanceId = parseNumberCell(value);
    if (name === "Process ID") instanceIds.set(Number(value), instanceId);
  }
  return { devices, instanceIds };
}

/** By the UUID of the GPU. */
function parseDetails(text: string): ReadonlyMap<string, GpuDetails> {
  const details = new Map<string, GpuDetails>();
  for (const part of text.split(/^GPU (?=[\da-f]+:)/im).slice(1)) {
    const lines = part.split(/\r?\n/).map(parseEntry);
    details.set(sanitizeText(findValue(lines, "GPU UUID")), parseGpuDetails(lines));
  }
  return details;
}

const UNNAMED: Named = { profile: absent("missing"), uuid: absent("missing") };
const UNDETAILED: Detailed = {
  gpuInstanceId: absent("missing"),
  memoryUsedBytes: absent("missing"),
  memoryTotalBytes: absent("missing"),
};

/** GPUs and processes, with the MIG instances that the outputs of `-L` and `-q` name. */
export function addMigInstances(
  sample: { readonly gpus: readonly GpuSample[]; readonly processes: readonly GpuProcess[] },
  outputs: { readonly list: string; readonly detail: string },
): { readonly gpus: readonly GpuSample[]; readonly processes: readonly GpuProcess[] } {
  const list = parseMigList(outputs.list);
  const details = parseDetails(outputs.detail);
  const gpus = sample.gpus.map((gpu) => {
    if (gpu.isMigEnabled.value !== true) return gpu;
    const named = list.get(gpu.uuid.value ?? "") ?? new Map<number, Named>();
    const detailed = details.get(gpu.uuid.value ?? "")?.devices ?? new Map<number, Detailed>();
    const indexes = [...new Set([...named.keys(), ...detailed.keys()])].sort((a, b) => a - b);
    const migInstances = indexes.map((index): MigInstance => ({
      index,
      ...named.get(index) ?? UNNAMED,
      ...detailed.get(index) ?? UNDETAILED,
    }));
    return { ...gpu, migInstances };
  });
  const processes = sample.processes.map((process) => {
    const gpu = gpus.find(({ index }) => index === process.gpuIndex);
    const gpuInstanceId = details.get(gpu?.uuid.value ?? "")?.instanceIds.get(process.pid);
    return gpuInstanceId === undefined ? process : { ...process, gpuInstanceId };
  });
  return { gpus, processes };
}
