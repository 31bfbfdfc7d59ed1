import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  addMigInstances,
  completeUnifiedMemory,
  listGpuQueryArguments,
  parseComputeApps,
  parseGpuTable,
  planGpuQuery,
} from "../lib/gpu_nvidia_smi.ts";
import { absent, present } from "../lib/reading.ts";
import { readGpuFixture, readGpus, renderGpuQuery } from "./fixtures/gpus.ts";

const GIB = 2 ** 30;
const MIB = 2 ** 20;

Deno.test("planGpuQuery() uses the newest names the driver lists, index first, name last", () => {
  const [query] = listGpuQueryArguments(planGpuQuery(readGpuFixture("help-590.txt")));
  const fields = query.replace("--query-gpu=", "").split(",");
  assertEquals([fields[0], fields.at(-1)], ["index", "name"]);
  assert(fields.includes("clocks_event_reasons.active"), query);
  assert(fields.includes("enforced.power.limit") && !fields.includes("power.limit"), query);
  assertEquals(fields.length, 24);
});

Deno.test("planGpuQuery() uses an old driver's names and skips fields it lacks", () => {
  const [query] = listGpuQueryArguments(planGpuQuery(readGpuFixture("help-418.txt")));
  const fields = query.replace("--query-gpu=", "").split(",");
  assert(fields.includes("clocks_throttle_reasons.active"), query);
  assert(!fields.some((field) => /event_reasons|mig|tlimit|gpucurrent/.test(field)), query);
});

Deno.test("planGpuQuery() falls back to the oldest fields without help", () => {
  for (const help of ["", "nvidia-smi: invalid option\n", 'about "index" and "name"\n']) {
    const names = planGpuQuery(help).map(([, name]) => name);
    assertEquals([names[0], names.at(-1)], ["index", "name"]);
    assert(names.includes("clocks.sm") && names.includes("power.limit"), String(names));
    assert(!names.some((name) => /reasons|mig|ecc|enforced/.test(name)), String(names));
  }
});

Deno.test("parseGpuTable() parses a recorded H100 into base units", () => {
  assertEquals(readGpus("h100.tsv"), [{
    index: 0,
    vendor: "nvidia",
    name: "NVIDIA H100 80GB HBM3",
    uuid: present("GPU-00000000-0000-0000-0000-000000000000"),
    utilizationRatio: present(1),
    memoryActivityRatio: absent("unsupported"),
    memoryUsedBytes: present(19_818 * MIB),
    memoryTotalBytes: present(81_559 * MIB),
    isMemoryUnified: false,
    powerWatts: present(631.95),
    powerLimitWatts: present(700),
    temperatureCelsius: present(59),
    temperatureMarginCelsius: present(26),
    smClockHertz: present(1.98e9),
    smClockMaxHertz: present(1.98e9),
    memoryClockHertz: present(2.619e9),
    fanRatio: absent("unsupported"),
    throttleReasons: present([]),
    eccErrorsCorrected: present(0),
    eccErrorsUncorrected: present(0),
    pcieGeneration: present(5),
    pcieGenerationMax: present(5),
    pcieWidth: present(16),
    pcieWidthMax: present(16),
    isPersistent: present(true),
    isMigEnabled: present(false),
    migInstances: [],
  }]);
});

Deno.test("parseGpuTable() parses every recorded machine completely", () => {
  const counts = { "h100x8": 8, "a100": 1, "l4": 1, "l40s": 1, "rtx4090": 1, "rtx4080super": 1 };
  for (const [name, count] of Object.entries(counts)) {
    const gpus = readGpus(`${name}.tsv`);
    assertEquals(gpus.map(({ index }) => index), Array.from({ length: count }, (_, i) => i), name);
    for (const gpu of gpus) {
      assert(gpu.utilizationRatio.value !== null && gpu.memoryTotalBytes.value !== null, name);
    }
  }
  assertEquals(readGpus("l4.tsv")[0].throttleReasons, present(["power_cap"]));
  assertEquals(readGpus("rtx4090.tsv")[0].fanRatio, present(0.62));
});

Deno.test("parseGpuTable() gives each missing cell a reason, never 0", () => {
  const [gpu] = readGpus("t4-old-driver.tsv", "help-418.txt");
  assertEquals(gpu.name, "Tesla T4");
  assertEquals(gpu.utilizationRatio, present(0.42));
  assertEquals(gpu.powerWatts, absent("unreadable"));
  assertEquals(gpu.smClockHertz, absent("unreadable"));
  assertEquals(gpu.fanRatio, absent("unsupported"));
  assertEquals(gpu.eccErrorsUncorrected, absent("unsupported"));
  assertEquals(gpu.pcieWidth, absent("unsupported"));
  assertEquals(gpu.isPersistent, present(false));
  assertEquals(gpu.throttleReasons, present(["thermal_software", "thermal_hardware"]));
  assertEquals(gpu.temperatureMarginCelsius, absent("missing"));
  assertEquals(gpu.isMigEnabled, absent("missing"));
});

Deno.test("parseGpuTable() distinguishes every spelling of absence", () => {
  const query = [["index", "index"], ["powerWatts", "power.draw"], ["name", "name"]] as const;
  const read = (cell: string) => parseGpuTable(`0, ${cell}, GPU\n`, query).gpus[0].powerWatts;
  for (const cell of ["[N/A]", "N/A", "[Not Supported]", "Not Supported", "-", ""]) {
    assertEquals(read(cell), absent("unsupported"), cell);
  }
  assertEquals(read("[Requested functionality has been deprecated]"), absent("unsupported"));
  assertEquals(read("[Insufficient Permissions]"), absent("forbidden"));
  for (const cell of ["[Unknown Error]", "ERR!", "[GPU is lost]", "Unknown", "1e3", "NaN"]) {
    assertEquals(read(cell), absent("unreadable"), cell);
  }
  for (const cell of ["71.98", "71.98 W"]) assertEquals(read(cell), present(71.98), cell);
  assertEquals(read("1204.5"), present(1204.5));
});

Deno.test("parseGpuTable() keeps commas and quotes in names, and sanitizes them", () => {
  assertEquals(readGpus("commas.tsv").map(({ name }) => name), [
    'NVIDIA H100, 80GB, "HBM3"',
    "GRID A100D-1-10C,vGPU",
  ]);
  const query = [["index", "index"], ["name", "name"]] as const;
  const [gpu] = parseGpuTable("0, \x1b[2JGPU\x07\n", query).gpus;
  assertEquals(gpu.name, "\\x1b[2JGPU\\x07");
});

Deno.test("parseGpuTable() reports warnings before and between rows", () => {
  const query = planGpuQuery(readGpuFixture("help-590.txt"));
  const rows = renderGpuQuery("h100x8.tsv", query);
  const lost = "Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost.  Reboot";
  const warning = "WARNING: infoROM is corrupted at gpu 0000:5E:00.0";
  const { gpus, warnings } = parseGpuTable(`${lost}\r\n\r\n${rows}${warning}\x1b[2J\n`, query);
  assertEquals(gpus.length, 8);
  assertEquals(warnings, [lost, `${warning}\\x1b[2J`]);
});

Deno.test("parseGpuTable() reports lines with too few cells or without an index as warnings", () => {
  const query = planGpuQuery("");
  const cells = query.map(() => "[N/A]");
  for (const line of ["0", "0, 1, 2", cells.join(", "), ["no", ...cells.slice(1)].join(", ")]) {
    const { gpus, warnings } = parseGpuTable(line, query);
    assertEquals([gpus, warnings], [[], [line]]);
  }
  assertEquals(parseGpuTable(["7", ...cells.slice(1)].join(", "), query).gpus[0].index, 7);
});

Deno.test("parseGpuTable() maps unknown throttle bits to other", () => {
  const query = [
    ["index", "index"],
    ["throttleReasons", "clocks_event_reasons.active"],
    ["name", "name"],
  ] as const;
  const read = (mask: string) => parseGpuTable(`0, ${mask}, GPU\n`, query).gpus[0];
  assertEquals(read("0x0000000000000201").throttleReasons, present(["idle", "other"]));
  assertEquals(read("0xffffffffffffffff").throttleReasons.value?.length, 10);
  assertEquals(read("Active").throttleReasons, absent("unreadable"));
});

Deno.test("parseGpuTable() never throws and returns at most one GPU per line", () => {
  const query = planGpuQuery(readGpuFixture("help-590.txt"));
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
    const { gpus } = parseGpuTable(text, query);
    assert(gpus.length <= text.split("\n").length);
  }));
  const cell = fc.constantFrom("0", "[N/A]", "ERR!", "", "-", "97", "x", "1 MiB");
  fc.assert(fc.property(fc.array(cell, { minLength: 23, maxLength: 27 }), (cells) => {
    const [gpu] = parseGpuTable(`0, ${cells.join(", ")}\n`, query).gpus;
    assertEquals(gpu.index, 0);
  }));
});

Deno.test("parseComputeApps() returns GPU and memory of each process, with commas in names", () => {
  const gpus = readGpus("h100x8.tsv");
  const text = [
    `${gpus[1].uuid.value}, 4711, 73664, VLLM::Worker_TP1`,
    `${gpus[0].uuid.value}, 4710, [N/A], /opt/a, b/python\x1b[2J`,
    "GPU-elsewhere, 1, 2, x",
    `${gpus[0].uuid.value}, no, 2, x`,
    "No running processes found",
    "",
  ].join("\n");
  assertEquals(parseComputeApps(text, gpus), [
    {
      pid: 4711,
      name: "VLLM::Worker_TP1",
      gpuIndex: 1,
      memoryBytes: present(73_664 * MIB),
      gpuInstanceId: absent("missing"),
    },
    {
      pid: 4710,
      name: "/opt/a, b/python\\x1b[2J",
      gpuIndex: 0,
      memoryBytes: absent("unsupported"),
      gpuInstanceId: absent("missing"),
    },
  ]);
});

Deno.test("parseComputeApps() assigns all processes to the only GPU if its UUID is unknown", () => {
  const [first, second] = readGpus("h100x8.tsv");
  const unknown = { uuid: absent("unsupported") } as const;
  const text = "[N/A], 4711, 100, python3\nGPU-elsewhere, 4712, 200, python3\n";
  const find = (...gpus: Parameters<typeof parseComputeApps>[1]) =>
    parseComputeApps(text, gpus).map(({ pid, gpuIndex }) => [pid, gpuIndex]);
  assertEquals(find({ ...second, ...unknown }), [[4711, 1], [4712, 1]]);
  assertEquals(find(second), []);
  assertEquals(find({ ...first, ...unknown }, { ...second, ...unknown }), []);
});

Deno.test("parseComputeApps() ignores lines without a process name", () => {
  const [gpu] = readGpus("h100.tsv");
  const lines = ["4711, 100", "4712, 100, ", "4713, 100, python3", "", "4714"];
  const text = lines.map((line) => `${gpu.uuid.value}, ${line}`).join("\n");
  assertEquals(parseComputeApps(text, [gpu]).map(({ pid, name }) => [pid, name]), [
    [4712, ""],
    [4713, "python3"],
  ]);
});

Deno.test("parseComputeApps() finds GPU and instance of a process listed by its MIG UUID", () => {
  const [first, second] = readGpus("h100x8.tsv");
  const { gpus: [mig] } = parseMig({ list: LIST, detail: DETAIL });
  const gpus = [first, { ...second, migInstances: mig.migInstances }];
  const text = `${mig.migInstances[1].uuid.value}, 4711, 100, python3\nMIG-elsewhere, 1, 2, x\n`;
  assertEquals(
    parseComputeApps(text, gpus).map(({ pid, gpuIndex, gpuInstanceId }) => [
      ...[pid, gpuIndex, gpuInstanceId.value],
    ]),
    [[4711, 1, 3]],
  );
});

Deno.test("completeUnifiedMemory() fills in system memory for a GB10 only", () => {
  const memory = { totalBytes: 128_501_256_192, availableBytes: 7_976_902_656 };
  const [gb10] = completeUnifiedMemory(readGpus("gb10.tsv"), memory);
  assertEquals(gb10.isMemoryUnified, true);
  assertEquals(gb10.memoryTotalBytes, present(128_501_256_192));
  assertEquals(gb10.memoryUsedBytes, present(120_524_353_536));
  assertEquals(gb10.utilizationRatio, present(0.96));
  assertEquals(gb10.powerLimitWatts, absent("unsupported"));
  const [unknown] = completeUnifiedMemory(readGpus("gb10.tsv"), null);
  assertEquals(unknown.isMemoryUnified, true);
  assertEquals(unknown.memoryTotalBytes, absent("unsupported"));
  const others = readGpus("h100x8.tsv");
  assertEquals(completeUnifiedMemory(others, memory), others);
  const failed = [{ ...others[0], memoryTotalBytes: absent("unreadable") }];
  assertEquals(completeUnifiedMemory(failed, memory), failed);
});

Deno.test("parseComputeApps() reports memory on a GPU with unknown total", () => {
  const apps = parseComputeApps(readGpuFixture("gb10-apps.csv"), readGpus("gb10.tsv"));
  assertEquals(apps.map(({ pid, memoryBytes }) => [pid, memoryBytes]), [
    [114_687, present(19_135 * MIB)],
    [6330, present(96_073 * MIB)],
  ]);
  assert(96_073 * MIB > 93 * GIB);
});

function parseMig(outputs: { readonly list: string; readonly detail: string }) {
  const gpus = addMigInstances(readGpus("h100-mig.tsv"), outputs);
  const apps = readGpuFixture("h100-mig-apps.csv");
  return { gpus, processes: parseComputeApps(apps, gpus, outputs.detail) };
}

const LIST = readGpuFixture("h100-mig-list.txt");
const DETAIL = readGpuFixture("h100-mig-detail.txt");

Deno.test("addMigInstances() lists the instances of a recorded GPU with their memory", () => {
  const [gpu] = parseMig({ list: LIST, detail: DETAIL }).gpus;
  assertEquals(gpu.isMigEnabled, present(true));
  assertEquals(gpu.utilizationRatio, absent("unsupported"));
  assertEquals(
    gpu.migInstances.map(({ index, profile, gpuInstanceId, memoryUsedBytes, memoryTotalBytes }) => [
      index,
      profile.value,
      gpuInstanceId.value,
      (memoryUsedBytes.value ?? NaN) / MIB,
      (memoryTotalBytes.value ?? NaN) / MIB,
    ]),
    [
      [0, "3g.40gb", 2, 11_091, 40_448],
      [1, "2g.20gb", 3, 17, 20_096],
      [2, "1g.10gb", 9, 9, 9984],
      [3, "1g.10gb", 10, 9, 9984],
    ],
  );
  assertEquals(gpu.migInstances[1].uuid, present("MIG-00000001-0000-0000-0000-000000000001"));
});

Deno.test("addMigInstances() takes no memory of the next instance for one that tells none", () => {
  const lines = DETAIL.split("\n");
  const start = lines.findIndex((line) => line.includes("Shared FB Memory Usage"));
  // With the heading alone, and without it.
  for (const [first, count] of [[start + 1, 4], [start, 5]]) {
    const [gpu] = parseMig({ list: LIST, detail: lines.toSpliced(first, count).join("\n") }).gpus;
    const [unknown, known] = gpu.migInstances;
    assertEquals(unknown.gpuInstanceId, present(2));
    assertEquals([unknown.memoryUsedBytes.value, unknown.memoryTotalBytes.value], [null, null]);
    assertEquals(known.memoryUsedBytes, present(17 * MIB));
  }
});

Deno.test("parseComputeApps() adds the instance of each process", () => {
  const { processes } = parseMig({ list: LIST, detail: DETAIL });
  assertEquals(processes.map(({ pid, gpuInstanceId }) => [pid, gpuInstanceId]), [
    [21_180, present(2)],
    [21_181, present(2)],
    [21_198, present(2)],
  ]);
});

Deno.test("addMigInstances() works with only one of its outputs", () => {
  const named = parseMig({ list: LIST, detail: "" });
  assertEquals(named.gpus[0].migInstances.map(({ profile }) => profile.value), [
    "3g.40gb",
    "2g.20gb",
    "1g.10gb",
    "1g.10gb",
  ]);
  assertEquals(named.gpus[0].migInstances[0].memoryTotalBytes, absent("missing"));
  assertEquals(named.processes[0].gpuInstanceId, absent("missing"));
  const detailed = parseMig({ list: "", detail: DETAIL });
  assertEquals(detailed.gpus[0].migInstances.length, 4);
  assertEquals(detailed.gpus[0].migInstances[3].uuid, absent("missing"));
  assertEquals(parseMig({ list: "", detail: "" }).gpus[0].migInstances, []);
});

Deno.test("addMigInstances() leaves GPUs without MIG unchanged", () => {
  const gpus = readGpus("h100x8.tsv");
  assertEquals(addMigInstances(gpus, { list: LIST, detail: DETAIL }), gpus);
});

Deno.test("addMigInstances() never throws on truncated output", () => {
  fc.assert(fc.property(fc.nat(DETAIL.length), fc.nat(LIST.length), (detailEnd, listEnd) => {
    const { gpus } = parseMig({ list: LIST.slice(0, listEnd), detail: DETAIL.slice(0, detailEnd) });
    assertEquals(gpus.length, 1);
  }));
});
