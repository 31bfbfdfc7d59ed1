/**
 * What nvidia-smi says of MIG -> the instances of each GPU.
 *
 * Layer 1, pure. A GPU that MIG has divided has no utilisation, and the query
 * of `nvidia_smi` knows nothing of its parts. Two more outputs do, and are
 * asked for only where MIG is on: `-L` names the instances with their profiles
 * and UUIDs, and `-q` has their memory and the instance of each process. The
 * two are joined by the UUID of the GPU and the index of the device. Source:
 * recorded outputs of driver 590 under `tests/fixtures/gpu`, and those in
 * public threads of drivers 510 to 580.
 * Rejected: the sizes in the profiles' names; `3g.40gb` has 39.5 GiB.
 *
 * @module
 */

import type { GpuProcess, GpuSample, MigInstance } from "./gpu_model.ts";
import { readNumberCell } from "./nvidia_smi.ts";
import { absent, mapReading, present, type Reading } from "./reading.ts";
import { sanitizeText } from "./text.ts";
import { type Bytes, BYTES_PER_MEBIBYTE } from "./units.ts";

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

function readList(text: string): Devices<Named> {
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

function readEntry(line: string): Entry {
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

function readBytes(cell: string): Reading<Bytes> {
  return mapReading(readNumberCell(cell), (mebibytes) => mebibytes * BYTES_PER_MEBIBYTE);
}

function readDevice(block: readonly Entry[]): Detailed {
  const start = block.findIndex(({ name }) => /FB Memory Usage$/.test(name));
  const memory = start < 0 ? [] : collectBlock(block, start);
  return {
    gpuInstanceId: readNumberCell(findValue(block, "GPU Instance ID")),
    memoryUsedBytes: readBytes(findValue(memory, "Used")),
    memoryTotalBytes: readBytes(findValue(memory, "Total")),
  };
}

/** What `-q` says of one GPU. */
interface GpuDetails {
  readonly devices: ReadonlyMap<number, Detailed>;
  /** Process -> the instance that it runs in. */
  readonly instanceIds: ReadonlyMap<number, Reading>;
}

function readGpuDetails(lines: readonly Entry[]): GpuDetails {
  const devices = new Map<number, Detailed>();
  const instanceIds = new Map<number, Reading>();
  let instanceId: Reading = absent("missing");
  for (const [index, { name, value }] of lines.entries()) {
    if (name === "MIG Device") {
      const block = collectBlock(lines, index);
      devices.set(Number(findValue(block, "Index")), readDevice(block));
    }
    if (name === "GPU instance ID") instanceId = readNumberCell(value);
    if (name === "Process ID") instanceIds.set(Number(value), instanceId);
  }
  return { devices, instanceIds };
}

/** By the UUID of the GPU. */
function readDetails(text: string): ReadonlyMap<string, GpuDetails> {
  const details = new Map<string, GpuDetails>();
  for (const part of text.split(/^GPU (?=[\da-f]+:)/im).slice(1)) {
    const lines = part.split(/\r?\n/).map(readEntry);
    details.set(sanitizeText(findValue(lines, "GPU UUID")), readGpuDetails(lines));
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
  const list = readList(outputs.list);
  const details = readDetails(outputs.detail);
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
