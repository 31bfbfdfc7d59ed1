import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseAmdGpus, parseAmdProcesses } from "../lib/gpu_amd_smi.ts";
import { absent, present } from "../lib/reading.ts";
import { readGpuFixture } from "./fixtures/gpus.ts";

const MIB = 2 ** 20;

function parse(metric: string, fixed = "") {
  return parseAmdGpus({ metric, fixed });
}

Deno.test("parseAmdGpus() parses amd-smi 24", () => {
  const gpus = parse(readGpuFixture("amd-24-metric.txt"), readGpuFixture("amd-24-static.txt"));
  assertEquals(gpus, [{
    index: 0,
    vendor: "amd",
    name: "Navi 23 [Radeon RX 6600/6600 XT",
    uuid: absent("missing"),
    utilizationRatio: present(0.01),
    memoryActivityRatio: present(0),
    memoryUsedBytes: present(202 * MIB),
    memoryTotalBytes: present(8176 * MIB),
    isMemoryUnified: false,
    powerWatts: present(6),
    powerLimitWatts: present(100),
    temperatureCelsius: present(37),
    temperatureMarginCelsius: present(73),
    smClockHertz: present(8e8),
    smClockMaxHertz: present(2.75e9),
    memoryClockHertz: present(5.41e8),
    fanRatio: present(0),
    throttleReasons: present([]),
    eccErrorsCorrected: present(0),
    eccErrorsUncorrected: present(0),
    pcieGeneration: present(4),
    pcieGenerationMax: present(4),
    pcieWidth: present(8),
    pcieWidthMax: present(16),
    isPersistent: absent("unsupported"),
    isMigEnabled: absent("unsupported"),
    migInstances: [],
  }]);
});

Deno.test("parseAmdGpus() parses amd-smi 26: leading text, gpu_data, document printed twice", () => {
  const gpus = parse(readGpuFixture("amd-26-metric.txt"), readGpuFixture("amd-26-static.txt")) ??
    [];
  assertEquals(gpus.map(({ index, name }) => [index, name]), [
    [0, "AMD Instinct MI300X"],
    [1, "AMD Instinct MI300X"],
  ]);
  const [busy, idle] = gpus;
  assertEquals(busy.powerLimitWatts, present(750));
  assertEquals(busy.smClockHertz, present(2.094e9));
  assertEquals(busy.throttleReasons, present(["power_cap"]));
  assertEquals(idle.throttleReasons, present([]));
  assertEquals([busy.temperatureCelsius, busy.temperatureMarginCelsius], [
    present(71),
    present(29),
  ]);
  assertEquals(busy.fanRatio, absent("unsupported"));
  assertEquals(busy.pcieGeneration, present(5));
  assertEquals(busy.memoryUsedBytes, present(121_344 * MIB));
});

Deno.test("parseAmdGpus() accepts every form of figure and of absence", () => {
  const power = (value: unknown) =>
    parse(JSON.stringify([{ gpu: 0, power: { socket_power: value } }]))?.[0].powerWatts;
  for (const value of [42, "42", "42 W", { value: 42, unit: "W" }, { value: "42" }]) {
    assertEquals(power(value), present(42), JSON.stringify(value));
  }
  for (const value of ["N/A", "", null, { value: "N/A", unit: "W" }, { value: null }, []]) {
    assertEquals(power(value), absent("unsupported"), JSON.stringify(value));
  }
  assertEquals(power("hot"), absent("unreadable"));
  assertEquals(power(undefined), absent("missing"));
  const memory = (value: unknown) =>
    parse(JSON.stringify([{ gpu: 0, mem_usage: { used_vram: value } }]))?.[0].memoryUsedBytes;
  assertEquals(memory({ value: 192, unit: "GB" }), present(192 * 2 ** 30));
  assertEquals(memory(1024), present(2 ** 30));
  const usage = parse('[{"gpu": 0, "usage": "N/A", "clock": "N/A", "temperature": "N/A"}]')?.[0];
  assertEquals(usage?.utilizationRatio, absent("unsupported"));
  assertEquals(usage?.smClockHertz, absent("unsupported"));
  assertEquals(usage?.temperatureCelsius, absent("unsupported"));
  assertEquals(usage?.powerWatts, absent("missing"));
});

Deno.test("parseAmdGpus() detects throttling, by the old key as well", () => {
  const throttle = (power: unknown) =>
    parse(JSON.stringify([{ gpu: 0, power }]))?.[0].throttleReasons;
  assertEquals(throttle({ throttle_status: "THROTTLED" }), present(["other"]));
  assertEquals(throttle({ throttle_status: "UNTHROTTLED" }), present([]));
  assertEquals(throttle({ throttle_status: "N/A" }), absent("unsupported"));
  assertEquals(throttle({}), absent("missing"));
});

Deno.test("parseAmdGpus() returns null without a GPU", () => {
  const texts = [
    "",
    "[]",
    '{"gpu_data": []}',
    "ERROR: no driver",
    '[{"gpu": 0',
    "{}",
    "[WARN] x\n",
  ];
  for (const text of texts) assertEquals(parse(text), null, text);
  assertEquals(parse('[WARN] x [{\n[{"gpu": 3}]')?.[0].index, 3);
  assertEquals(parse('[1]\n{"a": "}["}\n[{"gpu": 2}]\n')?.[0].index, 2);
});

Deno.test("parseAmdGpus() sanitizes names and never throws", () => {
  const fixed = JSON.stringify([{ gpu: 0, asic: { market_name: "\x1b[2JMI" } }]);
  assertEquals(parse('[{"gpu": 0}]', fixed)?.[0].name, "\\x1b[2JMI");
  assertEquals(parse('[{"gpu": 0}]')?.[0].name, "AMD GPU");
  fc.assert(fc.property(fc.json(), fc.string(), (metric, fixed) => {
    assert(parse(metric, fixed) === null || metric.includes("gpu"));
  }));
  const document = readGpuFixture("amd-26-metric.txt");
  fc.assert(fc.property(fc.nat(document.length), (end) => {
    const gpus = parse(document.slice(0, end));
    assert(gpus === null || gpus.length === 2);
  }));
});

Deno.test("parseAmdGpus() stays fast on unclosed brackets", () => {
  const text = "[\n".repeat(200_000);
  assertEquals(parse(text), null);
});

/** Fixtures of one machine; `change` edits the metrics. */
function readMachine(prefix: string, change = (text: string): string => text) {
  const gpus = parse(
    change(readGpuFixture(`${prefix}-metric.txt`)),
    readGpuFixture(`${prefix}-static.txt`),
  ) ?? [];
  const processes = parseAmdProcesses(readGpuFixture(`${prefix}-process.txt`), gpus);
  return { gpus, processes };
}

Deno.test("parseAmdProcesses() reports GPU memory, not host memory", () => {
  assertEquals(readMachine("amd-26").processes, [{
    pid: 4242,
    name: "VLLM::EngineCore",
    gpuIndex: 0,
    memoryBytes: present(127_031_836_672),
    gpuInstanceId: absent("unsupported"),
  }]);
  assertEquals(readMachine("amd-24").processes, []);
  assertEquals(parseAmdProcesses("ERROR", []), null);
});

Deno.test("parseAmdProcesses() leaves out GPUs on which a process has no memory", () => {
  const { gpus, processes } = readMachine("amd-26-eight");
  assertEquals(gpus.length, 8);
  assertEquals(processes?.map(({ pid, gpuIndex, memoryBytes }) => [pid, gpuIndex, memoryBytes]), [
    [4242, 0, present(184_700_000_000)],
  ]);
  // Listed once, it is there, whatever it holds.
  const one = readGpuFixture("amd-26-process.txt").replaceAll("127031836672", "0");
  assertEquals(
    parseAmdProcesses(one, readMachine("amd-26").gpus)?.map(({ memoryBytes }) => memoryBytes),
    [present(0)],
  );
});

Deno.test("parseAmdGpus() reads an APU by its own names, with GTT as its memory", () => {
  const { gpus: [gpu], processes } = readMachine("amd-apu");
  assertEquals(gpu.utilizationRatio, present(0.93));
  assertEquals([gpu.powerWatts, gpu.powerLimitWatts], [present(118), present(120)]);
  assertEquals(gpu.isMemoryUnified, true);
  assertEquals(gpu.memoryUsedBytes, present((412 + 71_240) * MIB));
  assertEquals(gpu.memoryTotalBytes, present(100 * 1024 * MIB));
  assertEquals(processes?.[0].memoryBytes, present(74_910_000_000));
  assertEquals(processes?.[0].name, "", "N/A is no name");
  // GTT of other GPUs is not their memory.
  const [discrete] = readMachine("amd-26-eight").gpus;
  assertEquals([discrete.isMemoryUnified, discrete.memoryTotalBytes], [
    false,
    present(196_592 * MIB),
  ]);
});

Deno.test("parseAmdGpus() takes the next limit for one of 0 W", () => {
  const limit = { ppt0: { socket_power_limit: 0 }, max_power: { value: 300, unit: "W" } };
  const [gpu] = parse('[{"gpu": 0}]', JSON.stringify([{ gpu: 0, limit }])) ?? [];
  assertEquals(gpu.powerLimitWatts, present(300));
});
