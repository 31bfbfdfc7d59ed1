/** The screen stands still through an hour of trouble. */

import { assert, assertEquals } from "@std/assert";
import { createSimulatedServer } from "../lib/demo.ts";
import type { Message, State } from "../lib/state.ts";
import { update } from "../lib/state.ts";
import type { Ui } from "../lib/state_ui.ts";
import { renderFrame } from "../lib/view_scene.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  START_EPOCH,
  startState,
} from "./fixtures/expositions.ts";
import { createGpuReport, createMachine, heatGpu } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";
import { createChosenUi } from "./fixtures/screens.ts";

const SIZES = [[80, 24], [120, 40], [160, 50], [200, 50]]
  .map(([columns, rows]) => ({ columns, rows }));
const LLAMA = { model: "meta-llama/Llama-3.1-8B-Instruct" };
const QWEN = { model: "Qwen/Qwen3-32B" };
const SERVERS = [[LLAMA], [LLAMA], [LLAMA], [QWEN], [QWEN, QWEN]];
const HOUR = 3600;
const STEP = 8;
const OPTIONS = { output: "auto", depth: null, ascii: false } as const;

/** Servers that are restarted, fail and come back; a GPU that throttles. */
function* watchAnHour(ui: Ui): Generator<State> {
  const endpoints = SERVERS.map((_, i) => createEndpoint(8000 + i));
  const start = (i: number, seed: number) =>
    createSimulatedServer({ seed, startEpoch: START_EPOCH, engines: SERVERS[i], warmUp: 30 });
  const servers = SERVERS.map((_, i) => start(i, i + 1));
  const startedAt = SERVERS.map(() => 0);
  const gpus = readGpus("h100x8.tsv");
  const { processes, machine } = createMachine(
    SERVERS.map((_, i) => ({ port: 8000 + i, gpus: [i] })),
  );
  let state = startState(endpoints, { ui });
  for (let at = 0; at < HOUR; at += STEP) {
    if (at % 900 === 0 && at > 0) {
      servers[0] = start(0, at);
      startedAt[0] = at;
    }
    const messages = endpoints.map((endpoint, i): Message => {
      // Each is away for a while: stale for 10 to 20 s, or down for longer.
      const isAway = (at + 400 * i) % 1500 < (i % 2 === 0 ? 20 : 90) && at > 60;
      const body = servers[i].expositionAt(at - startedAt[i]);
      return isAway || body === null
        ? createFailed(endpoint, at, "refused")
        : createScraped(endpoint, at, body);
    });
    const sampled = at % 1200 > 600 ? heatGpu(gpus, 2) : gpus;
    const report = createGpuReport(sampled, {
      sampledAt: at,
      processes: { value: processes },
    });
    state = update(state, { kind: "gpus_sampled", host: "", report, machine });
    state = advance(state, at + 0.1, messages);
    yield state;
  }
}

/** Rules and headings with their lines; of the headings what stands in which column. */
function listFixed(lines: readonly string[]): string {
  return lines.flatMap((line, row) => {
    const rules = [...line.matchAll(/─ ([A-Za-z][A-Za-z0-9 ,]*?)(?: \(\d+\))? ─/g)]
      .map(({ index, 1: title }) => `${index} ${title}`);
    const isHeading = line.startsWith(" REPLICA") || line.startsWith(" ALL ");
    if (line.startsWith(" REPLICA")) rules.push(line);
    return rules.length === 0 && !isHeading ? [] : [`${row} ${rules.join(" | ")}`];
  }).join("\n");
}

/** Which replica each line of the table shows. */
function listRows(lines: readonly string[]): string {
  return lines.flatMap((line, row) => {
    const name = /^[ ▌] +(:80\d\d(?:\.e\d)?) /.exec(line)?.[1];
    return name === undefined ? [] : `${row} ${name}`;
  }).join(" ");
}

Deno.test("renderFrame() moves no title, column or row in an hour of trouble", () => {
  const seen = SIZES.map(() => ({ fixed: "", rows: "" }));
  const kinds = new Set<string>();
  for (const state of watchAnHour(createChosenUi())) {
    for (const { kind } of state.fleet.events) kinds.add(kind);
    // All have answered once.
    if (state.now < 2 * STEP) continue;
    for (const [i, size] of SIZES.entries()) {
      const { lines } = renderFrame(state, size, OPTIONS);
      const now = { fixed: listFixed(lines), rows: listRows(lines) };
      const about = `${size.columns} x ${size.rows} at ${state.now}\n${lines.join("\n")}`;
      if (seen[i].fixed === "") seen[i] = now;
      assertEquals(now, seen[i], about);
      assert(now.fixed.split("\n").length >= 5 && now.rows.includes(":8004.e1"), about);
    }
  }
  // The hour has had what it is to have.
  for (const kind of ["STALE", "DOWN", "UP", "RESTART", "GPU"]) assert(kinds.has(kind), kind);
});
