import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { GpuSample } from "../lib/gpu_model.ts";
import { type AbsenceReason, absent } from "../lib/reading.ts";
import type { State } from "../lib/state.ts";
import { LOCAL_HOST } from "../lib/host.ts";
import { getHost } from "../lib/state_gpus.ts";
import { measureWidth } from "../lib/text.ts";
import type { Panel } from "../lib/view_layout.ts";
import { createGpuPanel } from "../lib/view_panel_gpu.ts";
import { createPaint } from "../lib/view_theme.ts";
import { createEndpoint, startState } from "./fixtures/expositions.ts";
import { watchFleet } from "./fixtures/fleets.ts";
import { failGpus, readMigGpus, readUnifiedGpus, sampleGpus } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const plain = createPaint(null);

function create(state: State): Panel {
  const panel = createGpuPanel(state, plain);
  if (panel === null) throw new Error("There is no panel");
  return panel;
}

const draw = (panel: Panel, lines: number, width = 200) => panel.draw({ width, lines });

const MACHINES: readonly (readonly GpuSample[])[] = [
  readGpus("h100x8.tsv"),
  readGpus("t4-old-driver.tsv", "help-418.txt"),
  readMigGpus(),
  readUnifiedGpus(),
  [...readGpus("a100.tsv"), ...readGpus("l4.tsv")].map((gpu, index) => ({ ...gpu, index })),
];

Deno.test("createGpuPanel() is null without a sample or a program", () => {
  const silent = startState([createEndpoint(8000)]);
  for (const state of [silent, failGpus(silent, "absent", "neither is there")]) {
    assertEquals(createGpuPanel(state, plain), null);
  }
  const asked = failGpus({ ...silent, asksForGpus: true }, "absent", "neither is there");
  assertEquals(draw(create(asked), 1), ["neither is there"]);
});

Deno.test("createGpuPanel() summarizes GPUs if there is no room for one line each", () => {
  const panel = create(sampleGpus(watchFleet(1), [MACHINES[0]]));
  assertEquals([panel.minLines, panel.maxLines], [1, 9]);
  assertEquals([1, 8, 9, 20].map((lines) => draw(panel, lines).length), [1, 1, 9, 9]);
  assertEquals(draw(panel, 1)[0].startsWith("8× H100 80GB HBM3  util 92–98 %"), true);
});

Deno.test("createGpuPanel() fits its width, and drops whole pieces", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...MACHINES),
      fc.integer({ min: 24, max: 220 }),
      fc.integer({ min: 1, max: 12 }),
      (gpus, width, lines) => {
        const panel = create(sampleGpus(watchFleet(2), [gpus, gpus], [{ port: 8000, gpus: [0] }]));
        for (const line of panel.draw({ width, lines: Math.max(lines, panel.minLines) })) {
          assert(measureWidth(line) <= width, line);
          assert(!/[/–(]$/.test(line), line);
        }
      },
    ),
    { numRuns: 60 },
  );
});

function silence(gpu: GpuSample, reason: AbsenceReason): GpuSample {
  const entries = Object.entries(gpu).map(([key, value]) => [
    key,
    typeof value === "object" && value !== null && "value" in value ? absent(reason) : value,
  ]);
  return { ...gpu, ...Object.fromEntries(entries) };
}

Deno.test("createGpuPanel() shows no value that a GPU does not report", () => {
  for (const reason of ["unsupported", "unreadable", "forbidden", "missing"] as const) {
    const gpus = readGpus("rtx4090.tsv").map((gpu) => silence(gpu, reason));
    const panel = create(sampleGpus(watchFleet(1), [gpus]));
    for (const lines of [1, 9]) {
      for (const line of draw(panel, lines)) {
        assertEquals(line.replace(/(?:0|1×) RTX 4090/, "").match(/\d/), null, line);
      }
    }
  }
});

Deno.test("createGpuPanel() shows failures and driver warnings", () => {
  const state = sampleGpus(watchFleet(1), [MACHINES[0]]);
  const failed = create(failGpus(state, "timeout", "it hangs: look at it"));
  assertEquals(draw(failed, 9), ["it hangs: look at it"]);
  const host = getHost(state.hosts, LOCAL_HOST);
  const { report } = host;
  if (report === null) throw new Error("There is no report");
  const warned = {
    ...state,
    hosts: new Map([[LOCAL_HOST, { ...host, report: { ...report, warnings: ["slow"] } }]]),
  };
  assertEquals(draw(create(warned), 2).at(-1), "slow");
  assertEquals(draw(create(warned), 10).length, 10);
});
