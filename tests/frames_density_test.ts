/** What the screen shows at once at three sizes. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { State } from "../lib/state.ts";
import type { TerminalSize } from "../lib/platform.ts";
import { renderFrame } from "../lib/view_scene.ts";
import { advance } from "./fixtures/expositions.ts";
import { sampleGpus } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";
import { createChosenUi, watchServers } from "./fixtures/screens.ts";

const LLAMA = { model: "meta-llama/Llama-3.1-8B-Instruct", maxModelLength: 131_072 };
const OPTIONS = { output: "auto", depth: null, ascii: false } as const;

function draw(state: State, columns: number, rows: number): readonly string[] {
  const size: TerminalSize = { columns, rows };
  return renderFrame({ ...state, ui: { ...createChosenUi(), ...state.ui } }, size, OPTIONS).lines;
}

function watchReplicas(count: number): State {
  return watchServers(Array.from({ length: count }, () => [LLAMA]), 64);
}

Deno.test("80 x 24 shows load, KV cache, output and latencies of 12 replicas", () => {
  const lines = draw(watchReplicas(12), 80, 24);
  const heading = lines.find((line) => line.startsWith(" REPLICA")) ?? "";
  assertMatch(
    heading,
    /^ REPLICA +STATE +RUN +WAIT +KV +OUT\/S +(?:IN\/S +)?TTFT@1m +ITL@1m$/,
  );
  const row = new RegExp(
    "^ :80\\d\\d +OK +\\d+ +\\d+ +[▓░]+ +\\d+ % +[\\d.]+k? +(?:[\\d.]+k? +)?" +
      "[\\d.]+ m?s +[\\d.]+ ms$",
  );
  const rows = lines.filter((line) => row.test(line));
  assertEquals(rows.map((line) => line.slice(1, 6)), [
    ...Array.from({ length: 12 }, (_, i) => `:${8000 + i}`),
  ]);
  // And the verdict, the pulse, the sum and what is wrong.
  for (const start of [" ● HEALTHY", " RUN ", " ALL ", "─ problems "]) {
    assert(lines.some((line) => line.startsWith(start)), start);
  }
});

/** What the details of a replica have, each with its figures. */
const DETAILS: readonly RegExp[] = [
  /^ :8000 {3}OK {3}meta-llama\/Llama-3.1-8B-Instruct {3}vLLM 0\.32\.0 {3}up \d.* {3}http:\S+/,
  /^ \d+ tok\/s \(peak \d+\) {3}running \d+ \(peak \d+\) {3}waiting \d+/,
  /^ KV cache ▓+░+ +\d+ % {2}[\d.]+k \/ [\d.]+k tok +peak/,
  /^ Limited by /,
  /^─ throughput ─+.*─ latency, last minute ─+$/,
  /^ Output tok\/s +\d+ +\d+ +\d+ /,
  /^ Prompt tok\/s +[\d.]+k? /,
  /^ Prefix cache hits +\d+ % /,
  /^─ requests ─+/,
  /^ Prompt tokens +\d+ +\d+ +\d+ /,
  /^ Output tokens +\d+ +\d+ +\d+ /,
  /^ Largest, tokens +≤\d+ of 131072 context/,
  /^ Finished @1m +stop \d+ %/,
  ...["TTFT", "ITL", "TPOT", "E2E", "Queue", "Prefill", "Decode"].map((title) =>
    new RegExp(`│ ${title}(?: +[<\\d.]+ m?s){4} +[\\d.]+k?$`)
  ),
  /^ Output tok\/s {2}last .* now \d+ │ Running {2}last .* now \d+ *$/,
];

Deno.test("120 x 40 hides nothing of the details of a replica", () => {
  const watched = watchReplicas(1);
  const models = [{ id: LLAMA.model, parent: null, maxModelLength: 131_072 }];
  const state = advance(watched, watched.now, [{
    ...{ kind: "launch_read", endpointKey: watched.endpoints[0].endpoint.key },
    server: { version: "0.32.0", models, launch: null },
  }]);
  const lines = draw(state, 120, 40);
  for (const detail of DETAILS) {
    assert(lines.some((line) => detail.test(line)), `${detail} in\n${lines.join("\n")}`);
  }
  assert(!lines.some((line) => line.includes(" more lines")), lines.join("\n"));
});

/** Shares of the cells of a part of the screen that are not blank. */
function measureUse(lines: readonly string[], from: number, to: number): number {
  const cells = lines.map((line) => line.padEnd(to).slice(from, to));
  const used = cells.map((part) => part.replaceAll(" ", "").length);
  return used.reduce((a, b) => a + b, 0) / (lines.length * (to - from));
}

Deno.test("200 x 50 has no empty half with 64 replicas, with GPUs or without", () => {
  const fleet = watchReplicas(64);
  const gpus = readGpus("h100x8.tsv");
  const owners = gpus.map(({ index }) => ({ port: 8000 + index, gpus: [index] }));
  for (const state of [fleet, sampleGpus(fleet, [gpus], owners)]) {
    const lines = draw(state, 200, 50);
    const picture = lines.join("\n");
    const halves = [lines.slice(0, 25), lines.slice(25)];
    for (const half of halves) {
      for (const [from, to] of [[0, 100], [100, 200]]) {
        const use = measureUse(half, from, to);
        assert(use > 0.15, `${use} from ${from}\n${picture}`);
        // No quarter has a hole of half its height.
        let [hole, run] = [0, 0];
        for (const line of half) {
          run = measureUse([line], from, to - 1) < 0.02 ? run + 1 : 0;
          hole = Math.max(hole, run);
        }
        assert(hole < half.length / 2, `${hole} lines from ${from}\n${picture}`);
      }
    }
    assert(lines.filter((line) => /^ :80\d\d /.test(line)).length >= 20, picture);
  }
});
