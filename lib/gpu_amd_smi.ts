/**
 * Parses the JSON of amd-smi, whose shape differs by version: the list of GPUs is the document, or
 * under `gpu_data` (amd-smi 26); a figure is a number, `"N/A"`, text with a unit, or
 * `{"value": …, "unit": …}`; Python warnings may come first, and some versions print twice. MB
 * means MiB. Sources: amd-smi of ROCm 6.3, changelog up to ROCm 7.1.
 * @module
 */

import type { GpuProcess, GpuSample, ThrottleReason } from "./gpu_model.ts";
import { isRecord, type JsonRecord, parseUntrustedJson } from "./json.ts";
import { absent, isPresent, mapReading, present, type Reading, sumWhole } from "./reading.ts";
import { sanitizeText } from "./text.ts";
import {
  BYTES_PER_GIBIBYTE,
  BYTES_PER_KIBIBYTE,
  BYTES_PER_MEBIBYTE,
  HERTZ_PER_MEGAHERTZ,
} from "./units.ts";

/** Everything: amd-smi fails on a selection it does not know. */
export const AMD_METRIC_ARGUMENTS: readonly string[] = ["metric", "--json"];
export const AMD_PROCESS_ARGUMENTS: readonly string[] = ["process", "--json"];

/** Returns the index past the matching bracket, or −1. */
function findClosing(text: string, start: number): number {
  let depth = 0;
  let isString = false;
  for (let index = start; index < text.length; index++) {
    const character = text[index];
    if (isString) {
      if (character === "\\") index++;
      else isString = character !== '"';
    } else if (character === '"') isString = true;
    else if (character === "{" || character === "[") depth++;
    else if ((character === "}" || character === "]") && --depth === 0) return index + 1;
  }
  return -1;
}

function listEntries(document: unknown): readonly JsonRecord[] {
  const list = isRecord(document) ? document.gpu_data : document;
  if (!Array.isArray(list)) return [];
  return list.filter((entry) => isRecord(entry) && Number.isInteger(entry.gpu));
}

/** Bounds the work on output full of brackets. */
const MAX_DOCUMENT_STARTS = 20;

function parseEntries(text: string): readonly JsonRecord[] | null {
  const starts = /^\s*[[{]/gm;
  for (let attempt = 0; attempt < MAX_DOCUMENT_STARTS && starts.test(text); attempt++) {
    const start = starts.lastIndex - 1;
    const end = findClosing(text, start);
    if (end < 0) continue;
    const document = parseUntrustedJson(text.slice(start, end));
    const entries = listEntries(document);
    if (entries.length > 0) return entries;
    if (document !== undefined) starts.lastIndex = end;
  }
  return null;
}

/** Returns the value at a path, or an `"N/A"` on the way. */
function findValue(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((current, key) => {
    if (isRecord(current)) return current[key];
    return current === "N/A" ? current : undefined;
  }, value);
}

const UNITS: Readonly<Record<string, number>> = {
  "%": 0.01,
  B: 1,
  KB: BYTES_PER_KIBIBYTE,
  MB: BYTES_PER_MEBIBYTE,
  GB: BYTES_PER_GIBIBYTE,
  MHZ: HERTZ_PER_MEGAHERTZ,
};

/** `unit` applies to bare numbers. */
function parseFigure(value: unknown, unit = ""): Reading {
  if (typeof value === "number" && Number.isFinite(value)) {
    return present(value * (UNITS[unit.toUpperCase()] ?? 1));
  }
  if (value === undefined) return absent("missing");
  if (isRecord(value)) {
    return parseFigure(value.value, typeof value.unit === "string" ? value.unit : unit);
  }
  if (typeof value !== "string") return absent("unsupported");
  if (/^(?:N\/A)?$/i.test(value.trim())) return absent("unsupported");
  const match = /^\s*(-?\d+(?:\.\d+)?)\s*(\S*)\s*$/.exec(value);
  return match === null ? absent("unreadable") : parseFigure(Number(match[1]), match[2] || unit);
}

function firstPresent(...readings: readonly [Reading, ...Reading[]]): Reading {
  return readings.find((reading) => isPresent(reading)) ?? readings[0];
}

/** Skips limits of 0, which are none. */
function firstPositive(...readings: readonly [Reading, ...Reading[]]): Reading {
  return readings.find(({ value }) => value !== null && value > 0) ?? readings[0];
}

/** Returns the highest clock: a card has one per die. */
function parseClock(metric: JsonRecord, prefix: string, key: "clk" | "max_clk"): Reading {
  const clocks = findValue(metric, "clock");
  if (!isRecord(clocks)) return parseFigure(clocks);
  const readings = Object.keys(clocks).filter((name) => name.startsWith(prefix))
    .map((name) => parseFigure(findValue(clocks[name], key), "MHz"));
  const values = readings.flatMap((reading) => isPresent(reading) ? [reading.value] : []);
  return values.length > 0 ? present(Math.max(...values)) : readings[0] ?? absent("missing");
}

/** GT/s per lane of PCIe 1, 2, … */
const PCIE_SPEEDS: readonly number[] = [2.5, 5, 8, 16, 32, 64];

function parseGeneration(value: unknown): Reading {
  const speed = parseFigure(value);
  if (!isPresent(speed)) return speed;
  const index = PCIE_SPEEDS.indexOf(speed.value);
  return index < 0 ? absent("unreadable") : present(index + 1);
}

/** `throttle.<name>_violation_status`. */
const VIOLATIONS: Readonly<Record<string, ThrottleReason>> = {
  prochot: "thermal_hardware",
  ppt: "power_cap",
  socket_thermal: "thermal_hardware",
  vr_thermal: "thermal_hardware",
  hbm_thermal: "thermal_hardware",
};

function parseThrottle(metric: JsonRecord): Reading<readonly ThrottleReason[]> {
  const states = Object.keys(VIOLATIONS).map((name) => ({
    reason: VIOLATIONS[name],
    state: findValue(metric, "throttle", `${name}_violation_status`),
  })).filter(({ state }) => typeof state === "string" && /^(?:not )?active$/i.test(state));
  const status = findValue(metric, "power", "throttle_status");
  const active = states.filter(({ state }) => /^active$/i.test(String(state)));
  if (active.length > 0) return present([...new Set(active.map(({ reason }) => reason))]);
  if (status === "THROTTLED") return present(["other"]);
  if (status === "UNTHROTTLED" || states.length > 0) return present([]);
  return absent(status === undefined ? "missing" : "unsupported");
}

/** Prefers the hotspot, whose limit throttles the card. */
function parseTemperature(metric: JsonRecord, fixed: unknown) {
  for (const sensor of ["hotspot", "edge"]) {
    const temperature = parseFigure(findValue(metric, "temperature", sensor));
    if (!isPresent(temperature)) continue;
    const limit = parseFigure(findValue(fixed, "limit", `slowdown_${sensor}_temperature`));
    const margin = mapReading(limit, (limit) => limit - temperature.value);
    return { temperature, margin };
  }
  const temperature = firstPresent(
    parseFigure(findValue(metric, "temperature", "edge")),
    parseFigure(findValue(metric, "temperature", "apu_temperature_gfx")),
  );
  return { temperature, margin: absent("unsupported") };
}

function parseName(fixed: unknown): string {
  const names = [
    findValue(fixed, "asic", "market_name"),
    findValue(fixed, "board", "product_name"),
  ];
  const name = names.find((name) => typeof name === "string" && name !== "N/A" && name !== "");
  return typeof name === "string" ? sanitizeText(name) : "AMD GPU";
}

/**
 * An APU's GPU has little memory of its own (VRAM), and takes the rest from the system's (GTT). On
 * other GPUs, GTT is no memory of the GPU.
 */
function parseMemory(
  metric: JsonRecord,
  fixed: unknown,
): Pick<GpuSample, "memoryUsedBytes" | "memoryTotalBytes" | "isMemoryUnified"> {
  const get = (key: string) => parseFigure(findValue(metric, "mem_usage", key), "MB");
  const used = get("used_vram");
  const total = firstPositive(
    get("total_vram"),
    parseFigure(findValue(fixed, "vram", "size"), "MB"),
  );
  const isApu = isPresent(parseFigure(findValue(metric, "usage", "apu_average_gfx_activity"))) ||
    /^(?:LP)?DDR\d/i.test(String(findValue(fixed, "vram", "type")));
  const shared = get("total_gtt");
  if (!isApu || !isPresent(shared)) {
    return { memoryUsedBytes: used, memoryTotalBytes: total, isMemoryUnified: false };
  }
  return {
    memoryUsedBytes: sumWhole([used, get("used_gtt")]),
    memoryTotalBytes: sumWhole([total, shared]),
    isMemoryUnified: true,
  };
}

function parseGpu(metric: JsonRecord, fixed: unknown): GpuSample {
  const get = (...path: readonly string[]) => findValue(metric, ...path);
  const { temperature, margin } = parseTemperature(metric, fixed);
  return {
    index: Number(metric.gpu),
    vendor: "amd",
    name: parseName(fixed),
    uuid: absent("missing"),
    utilizationRatio: firstPresent(
      parseFigure(get("usage", "gfx_activity"), "%"),
      parseFigure(get("usage", "apu_average_gfx_activity"), "%"),
    ),
    memoryActivityRatio: parseFigure(get("usage", "umc_activity"), "%"),
    ...parseMemory(metric, fixed),
    powerWatts: firstPresent(
      parseFigure(get("power", "socket_power")),
      parseFigure(get("power", "average_socket_power")),
      parseFigure(get("power", "apu_average_socket_power")),
    ),
    powerLimitWatts: firstPositive(
      parseFigure(findValue(fixed, "limit", "ppt0", "socket_power_limit")),
      parseFigure(findValue(fixed, "limit", "socket_power")),
      parseFigure(findValue(fixed, "limit", "max_power")),
      parseFigure(get("power", "apu_current_stapm_power_limit")),
      parseFigure(get("power", "apu_stapm_power_limit")),
    ),
    temperatureCelsius: temperature,
    temperatureMarginCelsius: margin,
    smClockHertz: parseClock(metric, "gfx", "clk"),
    smClockMaxHertz: parseClock(metric, "gfx", "max_clk"),
    memoryClockHertz: parseClock(metric, "mem", "clk"),
    fanRatio: parseFigure(get("fan", "usage"), "%"),
    throttleReasons: parseThrottle(metric),
    eccErrorsCorrected: parseFigure(get("ecc", "total_correctable_count")),
    eccErrorsUncorrected: parseFigure(get("ecc", "total_uncorrectable_count")),
    pcieGeneration: parseGeneration(get("pcie", "speed")),
    pcieGenerationMax: parseGeneration(findValue(fixed, "bus", "max_pcie_speed")),
    pcieWidth: parseFigure(get("pcie", "width")),
    pcieWidthMax: parseFigure(findValue(fixed, "bus", "max_pcie_width")),
    isPersistent: absent("unsupported"),
    isMigEnabled: absent("unsupported"),
    migInstances: [],
  };
}

/** Joins `metric` with the names and limits of `static`; `null` without a GPU. */
export function parseAmdGpus(
  outputs: { readonly metric: string; readonly fixed: string },
): readonly GpuSample[] | null {
  const metrics = parseEntries(outputs.metric);
  if (metrics === null) return null;
  const fixed = parseEntries(outputs.fixed) ?? [];
  return metrics.map((metric) => parseGpu(metric, fixed.find(({ gpu }) => gpu === metric.gpu)));
}

function parseProcess(item: unknown, { index, isMemoryUnified }: GpuSample): GpuProcess | null {
  const info = findValue(item, "process_info");
  const pid = findValue(info, "pid");
  if (typeof pid !== "number") return null;
  const name = findValue(info, "name");
  const memory = (key: string) => parseFigure(findValue(info, "memory_usage", key), "B");
  const own = memory("vram_mem");
  return {
    pid,
    name: typeof name === "string" && name !== "N/A" ? sanitizeText(name) : "",
    gpuIndex: index,
    memoryBytes: firstPresent(
      isMemoryUnified ? sumWhole([own, memory("gtt_mem")]) : own,
      parseFigure(findValue(info, "mem_usage"), "B"),
    ),
    gpuInstanceId: absent("unsupported"),
  };
}

/**
 * Returns `null` without a GPU. A process may be listed on every GPU of the machine: those on which
 * it has no memory are left out.
 */
export function parseAmdProcesses(
  text: string,
  gpus: readonly GpuSample[],
): readonly GpuProcess[] | null {
  const entries = parseEntries(text);
  if (entries === null) return null;
  const listed = entries.flatMap((entry) => {
    const gpu = gpus.find(({ index }) => index === entry.gpu);
    const list = Array.isArray(entry.process_list) ? entry.process_list : [];
    return gpu === undefined ? [] : list.flatMap((item) => parseProcess(item, gpu) ?? []);
  });
  const byPid = Map.groupBy(listed, ({ pid }) => pid);
  return listed.filter(({ pid, memoryBytes }) =>
    memoryBytes.value !== 0 || byPid.get(pid)?.length === 1
  );
}
