import { assertEquals, assertMatch } from "@std/assert";
import { NO_PRICING } from "../lib/cost.ts";
import { describeGpuExit } from "../lib/gpu_sampler.ts";
import type { TerminalSize } from "../lib/platform.ts";
import { present } from "../lib/reading.ts";
import { type State, update } from "../lib/state.ts";
import type { Command } from "../lib/state_ui.ts";
import { renderText, type ViewOptions } from "../lib/view.ts";
import { getUiContext, layOutScene, renderFrame } from "../lib/view_scene.ts";
import { settle } from "./fixtures/expositions.ts";
import { watchFleet } from "./fixtures/fleets.ts";
import { assertGolden } from "./fixtures/goldens.ts";
import {
  failGpus,
  heatGpu,
  type Holder,
  readMigGpus,
  readUnifiedGpus,
  sampleGpus,
} from "./fixtures/gpu_states.ts";
import { createGpuProcess, readGpus } from "./fixtures/gpus.ts";
import { createChosenUi, showLines } from "./fixtures/screens.ts";

const OPTIONS: ViewOptions = { output: "auto", depth: 256, ascii: false };
const SMALL: TerminalSize = { columns: 80, rows: 24 };
const MIDDLE: TerminalSize = { columns: 120, rows: 40 };
const LARGE: TerminalSize = { columns: 200, rows: 50 };

const H100X8 = readGpus("h100x8.tsv");
/** Whose workers run where: a server of four GPUs, one of two, and somebody else's training. */
const HOLDERS: readonly Holder[] = [
  { port: 8000, gpus: [0, 1, 2, 3] },
  { port: 8001, gpus: [4, 5] },
];
const TRAINING = createGpuProcess(9, { gpuIndex: 7, memoryBytes: present(9 * 2 ** 30) });

function prepare(count: number, more: Partial<State> = {}): State {
  return settle({ ...watchFleet(count), ui: createChosenUi(), ...more });
}

/** The machine as the eight GPUs do their work, and their figures move. */
function watchEight(state: State): State {
  const samples = Array.from({ length: 20 }, (_, i) =>
    H100X8.map((gpu) => ({
      ...gpu,
      utilizationRatio: present((gpu.utilizationRatio.value ?? 0) * (0.5 + 0.5 * (i % 5) / 4)),
    })));
  return sampleGpus(state, [...samples, H100X8], HOLDERS, [TRAINING]);
}

function run(state: State, commands: readonly Command[], size: TerminalSize): State {
  return commands.reduce((known, command) => {
    const context = getUiContext(layOutScene(known, size, OPTIONS));
    return update(known, { kind: "command", command, context });
  }, state);
}

async function drawAll(
  pictures: readonly (readonly [string, State, TerminalSize?, Partial<ViewOptions>?])[],
): Promise<string> {
  const drawn: string[] = [];
  for (const [name, state, size = SMALL, more] of pictures) {
    const { lines } = renderFrame(state, size, { ...OPTIONS, ...more });
    const { rows } = await showLines(lines, size);
    drawn.push(`== ${name}, ${size.columns} x ${size.rows} `.padEnd(size.columns, "="));
    drawn.push(...rows.map((row) => row.trimEnd()));
  }
  return drawn.join("\n") + "\n";
}

function zoom(state: State, size = SMALL, page: "gpus" | "cost" = "gpus"): State {
  return run(state, [`show_${page}`], size);
}

Deno.test("renderFrame() draws GPUs as in goldens/frames_gpus.txt", async () => {
  const eight = watchEight(prepare(2));
  const hot = sampleGpus(prepare(2), [heatGpu(H100X8, 5), heatGpu(H100X8, 5)], HOLDERS, [TRAINING]);
  const size = { columns: 110, rows: 12 };
  const kinds = ["a100", "l4", "rtx4090", "rtx2080super-idle", "commas"];
  const mixed = kinds.flatMap((name) => readGpus(`${name}.tsv`))
    .map((gpu, index) => ({ ...gpu, index }));
  assertGolden(
    "frames_gpus.txt",
    await drawAll([
      ["eight H100", eight],
      ["eight H100", eight, MIDDLE],
      ["eight H100", eight, LARGE],
      ["eight H100 in ASCII", eight, { columns: 120, rows: 20 }, { ascii: true }],
      ["eight H100, the whole screen", zoom(eight), SMALL],
      ["eight H100, the whole screen", zoom(eight, LARGE), { columns: 200, rows: 14 }],
      ["eight H100, details of a replica", run(eight, ["down", "open"], MIDDLE), MIDDLE],
      ["one too hot", hot, { columns: 120, rows: 30 }],
      ["one too hot, the whole screen", zoom(hot, size), size],
      [
        "T4 with an old driver",
        zoom(sampleGpus(prepare(1), [readGpus("t4-old-driver.tsv", "help-418.txt")]), size),
        size,
      ],
      ["GB10, unified memory", zoom(sampleGpus(prepare(1), [readUnifiedGpus()]), size), size],
      ["MIG", zoom(sampleGpus(prepare(1), [readMigGpus()]), size), size],
      ["several kinds", zoom(sampleGpus(prepare(1), [mixed]), size), { ...size, rows: 16 }],
      ["several kinds", sampleGpus(prepare(2), [mixed]), MIDDLE],
    ]),
  );
});

Deno.test("renderFrame() draws GPU failures as in goldens/frames_gpu_failures.txt", async () => {
  const size = { columns: 110, rows: 24 };
  const mismatch = describeGpuExit("nvidia-smi", {
    code: 18,
    stdout: "Failed to initialize NVML: Driver/library version mismatch\n",
    stderr: "",
  });
  const hangs = "nvidia-smi did not answer within 2 s and was ended";
  assertGolden(
    "frames_gpu_failures.txt",
    await drawAll([
      ["driver mismatch", failGpus(prepare(2), mismatch.kind, mismatch.message), size],
      ["hangs, after it had answered", failGpus(watchEight(prepare(2)), "timeout", hangs), size],
      [
        "hangs, and then answers",
        watchEight(failGpus(watchEight(prepare(2)), "timeout", hangs)),
        size,
      ],
      ["no program", failGpus(prepare(2), "absent", "neither is on the PATH"), size],
      [
        "no program, and asked for",
        failGpus(prepare(2, { asksForGpus: true }), "absent", "neither is on the PATH"),
        size,
      ],
    ]),
  );
});

Deno.test("renderFrame() draws the cost panel as in goldens/frames_cost.txt", async () => {
  const size = { columns: 110, rows: 24 };
  const tokenPrices = { input: 0.5, cachedInput: 0.1, output: 1.5 };
  const priced = { pricing: { ...NO_PRICING, tokenPrices } };
  // Events, balance, GPUs, latency, cost.
  const zoomCost = (state: State): State => zoom(state, size, "cost");
  const told = { ...NO_PRICING, tokenPrices, usdPerGpuHour: 2.99, gpuCount: 8, currency: "€" };
  const own = { match: "H100", usdPerHour: 2.1, tier: "yours", date: "", note: "" };
  const ownPrices = [{ ...own, source: "your price file", isEstimate: false }];
  assertGolden(
    "frames_cost.txt",
    await drawAll([
      ["by hints", zoomCost(watchEight(prepare(2))), size],
      ["by hints, tokens sold", zoomCost(watchEight(prepare(2, priced))), size],
      ["two models", zoomCost(watchEight(prepare(3, priced))), size],
      [
        "two models, each its GPUs",
        zoomCost(
          sampleGpus(prepare(3, priced), [H100X8], [
            ...HOLDERS,
            { port: 8002, gpus: [6] },
          ]),
        ),
        size,
      ],
      ["as told, without GPUs here", zoomCost(prepare(4, { pricing: told })), size],
      [
        "tokens sold, no GPU known",
        zoomCost(prepare(2, { pricing: { ...NO_PRICING, tokenPrices } })),
        size,
      ],
      [
        "own prices",
        zoomCost(watchEight(prepare(2, { pricing: { ...NO_PRICING, ownPrices } }))),
        size,
      ],
      ["no price for a GB10", zoomCost(sampleGpus(prepare(1, priced), [readUnifiedGpus()])), size],
    ]),
  );
});

Deno.test("renderText() shows each GPU and its cost", () => {
  const lines = renderText(watchEight(prepare(2)), { ...OPTIONS, depth: null });
  const text = lines.join("\n");
  for (const { index } of H100X8) assertMatch(text, RegExp(`^  ${index} H100 80GB HBM3 `, "m"));
  assertMatch(text, /^ COST\n.*per hour.*\n {2}6 GPUs +≈ \$20\.34/m);
  const none = renderText(prepare(2), { ...OPTIONS, depth: null }).join("\n");
  assertEquals(/GPUS|COST/.test(none), false);
});
