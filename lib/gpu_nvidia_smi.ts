/**
 * Queries nvidia-smi and parses its output. One unknown field fails a whole query, so only fields
 * in `--help-query-gpu` are asked for. Names may hold commas, unquoted, so they come last. XML
 * (`-q -x`) is ten times as long and as slow. Sources: `--help-query-gpu` of drivers 418 to 610,
 * nvml.h.
 * @module
 */

import type { GpuProcess, GpuSample, MigInstance, ThrottleReason } from "./gpu_model.ts";
import { createRecord } from "./model.ts";
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
import { BYTES_PER_MEBIBYTE, HERTZ_PER_MEGAHERTZ } from "./units.ts";

/** Parser and names, newest first, of each figure. `index` must be the first, `name` the last. */
const FIELDS = {
  index: [Number, "index"],
  uuid: [parseTextCell, "uuid", "gpu_uuid"],
  utilizationRatio: [parsePercentCell, "utilization.gpu"],
  memoryActivityRatio: [parsePercentCell, "utilization.memory"],
  memoryUsedBytes: [parseMebibyteCell, "memory.used"],
  memoryTotalBytes: [parseMebibyteCell, "memory.total"],
  powerWatts: [parseNumberCell, "power.draw"],
  powerLimitWatts: [parseNumberCell, "enforced.power.limit", "power.limit"],
  temperatureCelsius: [parseNumberCell, "temperature.gpu"],
  temperatureMarginCelsius: [parseNumberCell, "temperature.gpu.tlimit"],
  smClockHertz: [parseMegahertzCell, "clocks.current.sm", "clocks.sm"],
  smClockMaxHertz: [parseMegahertzCell, "clocks.max.sm"],
  memoryClockHertz: [parseMegahertzCell, "clocks.current.memory", "clocks.mem"],
  fanRatio: [parsePercentCell, "fan.speed"],
  throttleReasons: [
    parseThrottleCell,
    "clocks_event_reasons.active",
    "clocks_throttle_reasons.active",
  ],
  eccErrorsCorrected: [parseNumberCell, "ecc.errors.corrected.volatile.total"],
  eccErrorsUncorrected: [parseNumberCell, "ecc.errors.uncorrected.volatile.total"],
  pcieGeneration: [parseNumberCell, "pcie.link.gen.gpucurrent", "pcie.link.gen.current"],
  pcieGenerationMax: [parseNumberCell, "pcie.link.gen.max"],
  pcieWidth: [parseNumberCell, "pcie.link.width.current"],
  pcieWidthMax: [parseNumberCell, "pcie.link.width.max"],
  isPersistent: [parseBooleanCell, "persistence_mode"],
  isMigEnabled: [parseBooleanCell, "mig.mode.current"],
  name: [sanitizeText, "name", "gpu_name"],
} as const;
type Field = keyof typeof FIELDS;
const FIELD_KEYS = Object.keys(FIELDS) as readonly Field[];

/** In every driver since 340, for when the help cannot be parsed. */
const OLDEST_FIELDS: ReadonlySet<string> = new Set([
  ...["index", "uuid", "utilization.gpu", "utilization.memory", "memory.used", "memory.total"],
  ...["power.draw", "power.limit", "temperature.gpu", "clocks.sm", "clocks.mem", "fan.speed"],
  ...["persistence_mode", "name"],
]);

/** In order of the cells. */
export type GpuQuery = readonly (readonly [field: Field, name: string])[];

export const COMPUTE_APPS_ARGUMENTS: readonly string[] = [
  "--query-compute-apps=gpu_uuid,pid,used_memory,process_name",
  "--format=csv,noheader,nounits",
];

const COMPUTE_APP_CELLS = 3;

/** Lines are `"name"` or `"name" or "other name"`. */
function parseFieldNames(help: string): ReadonlySet<string> {
  const lines = help.match(/^"[\w.]+"(?: or "[\w.]+")*\s*$/gm) ?? [];
  return new Set(lines.flatMap((line) => line.match(/[\w.]+(?=")/g) ?? []));
}

/** Selects the fields that this driver knows, by their newest names. */
export function planGpuQuery(help: string): GpuQuery {
  const listed = parseFieldNames(help);
  const known = listed.has("index") && listed.has("name") ? listed : OLDEST_FIELDS;
  return FIELD_KEYS.flatMap((field): GpuQuery => {
    const [, ...names] = FIELDS[field];
    const name = names.find((name) => known.has(name));
    return name === undefined ? [] : [[field, name]];
  });
}

export function listGpuQueryArguments(query: GpuQuery): readonly string[] {
  return [
    `--query-gpu=${query.map(([, name]) => name).join(",")}`,
    "--format=csv,noheader,nounits",
  ];
}

/** Everything else is `unreadable`. */
const ABSENCE_PATTERNS: readonly (readonly [RegExp, AbsenceReason])[] = [
  [/^-?$|^\[?(?:N\/A|not supported)\]?$|deprecated/i, "unsupported"],
  [/insufficient permission/i, "forbidden"],
];

const NUMBER = /^(-?\d+(?:\.\d+)?)(?: ?(?:%|MiB|W|MHz|C))?$/;

function parseAbsence(cell: string): Reading<never> {
  return absent(ABSENCE_PATTERNS.find(([pattern]) => pattern.test(cell))?.[1] ?? "unreadable");
}

function parseNumberCell(cell: string): Reading {
  const match = NUMBER.exec(cell);
  return match === null ? parseAbsence(cell) : present(Number(match[1]));
}

function parseBooleanCell(cell: string): Reading<boolean> {
  if (/^enabled$/i.test(cell)) return present(true);
  return /^disabled$/i.test(cell) ? present(false) : parseAbsence(cell);
}

function parseTextCell(cell: string): Reading<string> {
  return /^\[|^$|^N\/A$/i.test(cell) ? parseAbsence(cell) : present(sanitizeText(cell));
}

/** `nvmlClocksEventReason…` in nvml.h, lowest bit first. */
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
  if (!/^0x[0-9a-f]{1,16}$/i.test(cell)) return parseAbsence(cell);
  const mask = BigInt(cell);
  const reasons = THROTTLE_BITS.filter((_, bit) => (mask >> BigInt(bit)) % 2n === 1n);
  return present(mask >> BigInt(THROTTLE_BITS.length) === 0n ? reasons : [...reasons, "other"]);
}

function parsePercentCell(cell: string): Reading {
  return mapReading(parseNumberCell(cell), (percent) => percent / 100);
}

function parseMebibyteCell(cell: string): Reading {
  return mapReading(parseNumberCell(cell), (mebibytes) => mebibytes * BYTES_PER_MEBIBYTE);
}

function parseMegahertzCell(cell: string): Reading {
  return mapReading(parseNumberCell(cell), (megahertz) => megahertz * HERTZ_PER_MEGAHERTZ);
}

/** Returns `null` if the line is not a row of this query. */
function parseCells(line: string, query: GpuQuery): ReadonlyMap<Field, string> | null {
  const cells = line.split(",");
  if (cells.length < query.length || !/^\s*\d+$/.test(cells[0])) return null;
  const last = query.length - 1;
  const values = [...cells.slice(0, last), cells.slice(last).join(",")];
  return new Map(query.map(([field], index) => [field, values[index].trim()]));
}

function parseGpuCells(cells: ReadonlyMap<Field, string>): GpuSample {
  const figures = createRecord(FIELD_KEYS, (field) => {
    const cell = cells.get(field);
    return cell === undefined ? absent("missing") : FIELDS[field][0](cell);
  }) as { readonly [F in Field]: ReturnType<typeof FIELDS[F][0]> };
  return { vendor: "nvidia", isMemoryUnified: false, migInstances: [], ...figures };
}

const MAX_WARNINGS = 5;

interface GpuTable {
  readonly gpus: readonly GpuSample[];
  /** Other lines, sanitized. */
  readonly warnings: readonly string[];
}

/** Parses GPUs, in order of the output. */
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

interface AppPlace {
  readonly gpu: GpuSample;
  /** Absent without MIG, and if only the GPU is named. */
  readonly gpuInstanceId: Reading;
}

/** Finds a GPU by its UUID, or by that of a MIG instance. */
function findPlace(gpus: readonly GpuSample[], uuid: string): AppPlace | null {
  for (const gpu of gpus) {
    if (gpu.uuid.value === uuid) return { gpu, gpuInstanceId: absent("missing") };
    const instance = gpu.migInstances.find((instance) => instance.uuid.value === uuid);
    if (instance !== undefined) return { gpu, gpuInstanceId: instance.gpuInstanceId };
  }
  const isOnly = gpus.length === 1 && !isPresent(gpus[0].uuid);
  return isOnly ? { gpu: gpus[0], gpuInstanceId: absent("missing") } : null;
}

/**
 * Parses processes; leaves out those on other GPUs.
 * @param gpus With their MIG instances: processes may be listed by an instance's UUID.
 * @param detail Output of `-q`, which tells the MIG instances of processes.
 */
export function parseComputeApps(
  text: string,
  gpus: readonly GpuSample[],
  detail = "",
): readonly GpuProcess[] {
  const details = parseDetails(detail);
  const processes: GpuProcess[] = [];
  for (const line of text.split(/\r?\n/)) {
    const cells = line.split(",");
    const [uuid, pid, memory] = cells.slice(0, COMPUTE_APP_CELLS).map((cell) => cell.trim());
    const place = findPlace(gpus, uuid);
    if (cells.length <= COMPUTE_APP_CELLS || !/^\d+$/.test(pid) || place === null) continue;
    const { gpu, gpuInstanceId } = place;
    const ofPid = details.get(gpu.uuid.value ?? "")?.instanceIds.get(Number(pid));
    processes.push({
      pid: Number(pid),
      name: sanitizeText(cells.slice(COMPUTE_APP_CELLS).join(",").trim()),
      gpuIndex: gpu.index,
      memoryBytes: parseMebibyteCell(memory),
      gpuInstanceId: isPresent(gpuInstanceId) ? gpuInstanceId : ofPid ?? gpuInstanceId,
    });
  }
  return processes;
}

/** Has no memory of its own. */
export function sharesMemory({ memoryTotalBytes: total, isMigEnabled }: GpuSample): boolean {
  return !isPresent(total) && total.reason === "unsupported" && !isMigEnabled.value;
}

/**
 * Fills in system memory for GPUs without their own (GB10, Jetson: total `[N/A]`); absent if
 * `memory` is `null`.
 */
export function completeUnifiedMemory(
  gpus: readonly GpuSample[],
  memory: SystemMemory | null,
): readonly GpuSample[] {
  return gpus.map((gpu) => {
    if (!sharesMemory(gpu)) return gpu;
    if (memory === null) return { ...gpu, isMemoryUnified: true };
    return {
      ...gpu,
      isMemoryUnified: true,
      memoryTotalBytes: present(memory.totalBytes),
      memoryUsedBytes: present(Math.max(0, memory.totalBytes - memory.availableBytes)),
    };
  });
}

/** The detail is everything, including memory of MIG instances. */
export const MIG_ARGUMENTS: Readonly<Record<"list" | "detail", readonly string[]>> = {
  list: ["-L"],
  detail: ["-q"],
};
type MigIdentity = Pick<MigInstance, "profile" | "uuid">;
type MigUsage = Pick<MigInstance, "gpuInstanceId" | "memoryUsedBytes" | "memoryTotalBytes">;
/** GPU UUID -> MIG device index -> device. */
type Devices<T> = ReadonlyMap<string, ReadonlyMap<number, T>>;
const LIST_GPU = /^GPU \d+: .*\(UUID: (\S+)\)\s*$/;
const LIST_DEVICE = /^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (\S+)\)\s*$/;

function parseMigList(text: string): Devices<MigIdentity> {
  const devices = new Map<string, Map<number, MigIdentity>>();
  let current = new Map<number, MigIdentity>();
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

/** A line `name : value` of `-q`. */
interface DetailLine {
  readonly indent: number;
  readonly name: string;
  readonly value: string;
}

function parseDetailLine(line: string): DetailLine {
  const [, blanks, name, value] = /^(\s*)(.*?)(?:\s*:\s(.*))?$/.exec(line) ?? ["", "", "", ""];
  return { indent: blanks.length, name, value: (value ?? "").trim() };
}

/** Returns the lines under a heading: those indented more. */
function collectBlock(lines: readonly DetailLine[], start: number): readonly DetailLine[] {
  const { indent } = lines[start];
  const end = lines.findIndex((line, index) =>
    index > start && line.name !== "" && line.indent <= indent
  );
  return lines.slice(start + 1, end < 0 ? undefined : end);
}

function findValue(lines: readonly DetailLine[], name: string): string {
  return lines.find((line) => line.name === name)?.value ?? "";
}

function parseMigUsage(block: readonly DetailLine[]): MigUsage {
  const start = block.findIndex(({ name }) => /FB Memory Usage$/.test(name));
  const memory = start < 0 ? [] : collectBlock(block, start);
  return {
    gpuInstanceId: parseNumberCell(findValue(block, "GPU Instance ID")),
    memoryUsedBytes: parseMebibyteCell(findValue(memory, "Used")),
    memoryTotalBytes: parseMebibyteCell(findValue(memory, "Total")),
  };
}

interface GpuDetails {
  readonly devices: ReadonlyMap<number, MigUsage>;
  /** By pid. */
  readonly instanceIds: ReadonlyMap<number, Reading>;
}

function parseGpuDetails(lines: readonly DetailLine[]): GpuDetails {
  const devices = new Map<number, MigUsage>();
  const instanceIds = new Map<number, Reading>();
  let instanceId: Reading = absent("missing");
  for (const [index, { name, value }] of lines.entries()) {
    if (name === "MIG Device") {
      const block = collectBlock(lines, index);
      devices.set(Number(findValue(block, "Index")), parseMigUsage(block));
    }
    if (name === "GPU instance ID") instanceId = parseNumberCell(value);
    if (name === "Process ID") instanceIds.set(Number(value), instanceId);
  }
  return { devices, instanceIds };
}

/** Keyed by GPU UUID. */
function parseDetails(text: string): ReadonlyMap<string, GpuDetails> {
  const details = new Map<string, GpuDetails>();
  for (const part of text.split(/^GPU (?=[\da-f]+:)/im).slice(1)) {
    const lines = part.split(/\r?\n/).map(parseDetailLine);
    details.set(sanitizeText(findValue(lines, "GPU UUID")), parseGpuDetails(lines));
  }
  return details;
}

const UNKNOWN_IDENTITY: MigIdentity = { profile: absent("missing"), uuid: absent("missing") };
const UNKNOWN_USAGE: MigUsage = {
  gpuInstanceId: absent("missing"),
  memoryUsedBytes: absent("missing"),
  memoryTotalBytes: absent("missing"),
};

/** Adds MIG instances to the GPUs that have some. */
export function addMigInstances(
  gpus: readonly GpuSample[],
  outputs: { readonly list: string; readonly detail: string },
): readonly GpuSample[] {
  const list = parseMigList(outputs.list);
  const details = parseDetails(outputs.detail);
  return gpus.map((gpu) => {
    if (gpu.isMigEnabled.value !== true) return gpu;
    const identities = list.get(gpu.uuid.value ?? "") ?? new Map<number, MigIdentity>();
    const usages = details.get(gpu.uuid.value ?? "")?.devices ?? new Map<number, MigUsage>();
    const indexes = [...new Set([...identities.keys(), ...usages.keys()])].sort((a, b) => a - b);
    const migInstances = indexes.map((index): MigInstance => ({
      index,
      ...identities.get(index) ?? UNKNOWN_IDENTITY,
      ...usages.get(index) ?? UNKNOWN_USAGE,
    }));
    return { ...gpu, migInstances };
  });
}
