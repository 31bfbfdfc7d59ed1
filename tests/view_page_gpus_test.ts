import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { absent } from "../lib/reading.ts";
import { type State, update } from "../lib/state.ts";
import { LOCAL_HOST } from "../lib/host.ts";
import { measureWidth } from "../lib/text.ts";
import { renderGpusPage } from "../lib/view_page_gpus.ts";
import { createPaint } from "../lib/view_theme.ts";
import { startState } from "./fixtures/expositions.ts";
import { watchFleet } from "./fixtures/fleets.ts";
import {
  createHostSample,
  failGpus,
  heatGpu,
  loadHost,
  readMigGpus,
  sampleGpus,
} from "./fixtures/gpu_states.ts";
import { createGpuProcess, readGpus } from "./fixtures/gpus.ts";
import { assertGolden } from "./fixtures/goldens.ts";

const H100X8 = readGpus("h100x8.tsv");
const HOLDERS = [
  { port: 8000, gpus: [0, 1] },
  { port: 8001, gpus: [2, 3] },
  { port: 8002, gpus: [4, 5] },
];

function render(state: State, width: number): readonly string[] {
  return renderGpusPage(state, { width, lines: 30, paint: createPaint(null) });
}

function watchMachine(): State {
  const hot = heatGpu(H100X8, 5);
  const training = createGpuProcess(9, { gpuIndex: 7, name: "train.py" });
  return loadHost(sampleGpus(watchFleet(3), [hot, hot], HOLDERS, [training]), 1.25);
}

/** Two hosts behind ssh with eight GPUs each, and one that is down. */
function watchHosts(): State {
  const up = { kind: "up", latency: 0.0123, way: "forwarding" } as const;
  const failure = { kind: "key", message: "ssh gpu3: Permission denied" } as const;
  const down = { kind: "down", failure, failures: 2, retryAt: 90 } as const;
  const links = { gpu1: up, gpu2: up, gpu3: down };
  return Object.entries(links).reduce((state, [host, link]) => {
    const linked = update(state, { kind: "host_linked", host, link });
    if (link.kind === "down") return linked;
    const sampled = sampleGpus(linked, [H100X8.slice(0, 2)], [], [], host);
    const sample = { ...createHostSample(60, 1), processes: [] };
    return update(sampled, { kind: "host_sampled", host, sample });
  }, { ...watchFleet(1), now: 60 });
}

Deno.test("renderGpusPage() is as in goldens/view_page_gpus.txt", () => {
  const mig = sampleGpus(watchFleet(1), [readMigGpus()], [
    { port: 8000, gpus: [0], gpuInstanceId: 1 },
  ]);
  const silent = failGpus(watchMachine(), "timeout", "nvidia-smi did not answer within 2 s");
  const pages: readonly (readonly [string, State, number])[] = [
    ["eight GPUs", watchMachine(), 80],
    ["eight GPUs", watchMachine(), 120],
    ["eight GPUs", watchMachine(), 200],
    ["MIG", mig, 120],
    ["hosts behind ssh", watchHosts(), 120],
    ["hosts behind ssh", watchHosts(), 160],
    ["a driver that hangs", silent, 80],
    ["no GPU", loadHost(watchFleet(1), 0.5), 80],
    ["servers elsewhere", startState([]), 80],
  ];
  const text = pages.map(([name, state, width]) =>
    [`=== ${name}, ${width}`, ...render(state, width), ""].join("\n")
  ).join("\n");
  assertGolden("view_page_gpus.txt", text);
});

Deno.test("renderGpusPage() keeps to its width", () => {
  for (let width = 20; width <= 220; width += 5) {
    for (const line of [watchMachine(), watchHosts()].flatMap((state) => render(state, width))) {
      assert(measureWidth(line) <= Math.max(width, 44), `${width}: "${line}"`);
    }
  }
});

/** The headings, and where each line begins. */
function readShape(state: State, width: number): readonly string[] {
  return render(state, width).filter((line) => /^ (?:GPU|SERVER|─| +PID)/.test(line));
}

Deno.test("renderGpusPage() chooses columns by the width, whatever the figures are", () => {
  const bare = H100X8.map((gpu) => ({
    ...gpu,
    name: "x",
    utilizationRatio: absent("unsupported"),
    memoryActivityRatio: absent("unsupported"),
    powerWatts: absent("unsupported"),
    pcieGeneration: absent("unsupported"),
    pcieWidth: absent("unsupported"),
  }));
  const state = loadHost(sampleGpus(watchFleet(3), [bare], HOLDERS), 0.1);
  for (const width of [80, 120, 160, 200]) {
    assertEquals(readShape(state, width), readShape(watchMachine(), width), String(width));
  }
});

Deno.test("renderGpusPage() shows processes with masked commands, and no helpers without GPU memory", () => {
  const sample = createHostSample(60, 1);
  const helper = { ...sample.processes[0], pid: 102, name: "tracker", role: "other" } as const;
  const state = update(watchFleet(1), {
    kind: "host_sampled",
    host: LOCAL_HOST,
    sample: { ...sample, processes: [...sample.processes, helper] },
  });
  const text = render(state, 120).join("\n");
  assertMatch(text, /100 {2}root {6}:8000 {9}API server {5}n\/a {20}vllm serve m/);
  assertStringIncludes(text, "VLLM::EngineCore");
  assert(!text.includes("tracker"));
});
