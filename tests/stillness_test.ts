/** The screen stands still through an hour of trouble: the demo's, and that of recorded servers. */

import { assert, assertEquals } from "@std/assert";
import { createDemoFleet, createSimulatedServer } from "../lib/demo.ts";
import { LOCAL_HOST } from "../lib/host.ts";
import type { Endpoint } from "../lib/model.ts";
import type { TerminalSize } from "../lib/platform.ts";
import type { Message, State } from "../lib/state.ts";
import { update } from "../lib/state.ts";
import type { Ui } from "../lib/state_ui.ts";
import { renderFrame } from "../lib/view_scene.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  START_EPOCH,
  startState,
} from "./fixtures/expositions.ts";
import { createGpuReport, createMachine, heatGpu } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";
import { readRecording } from "./fixtures/recordings.ts";
import { createChosenUi } from "./fixtures/screens.ts";

const SIZES = [[80, 24], [120, 40], [160, 50], [200, 50]]
  .map(([columns, rows]) => ({ columns, rows }));
const QWEN = { model: "Qwen/Qwen3-32B" };
const HOUR = 3600;
const STEP = 8;
const OPTIONS = { output: "auto", depth: null, ascii: false } as const;

/** A server: what it answers at each moment, `null` if it does not. */
type Answer = (at: number) => Uint8Array | null;

/** The demo's servers, and a server of two engines that restarts every quarter of an hour. */
function createDemoAnswers(): readonly Answer[] {
  const fleet = createDemoFleet(1, START_EPOCH).map(({ server }): Answer => server.expositionAt);
  const engines = [QWEN, QWEN];
  const start = (seed: number) =>
    createSimulatedServer({ seed, startEpoch: START_EPOCH, engines, warmUp: 30 });
  let [server, startedAt] = [start(1), 0];
  const restarted: Answer = (at) => {
    if (at % 900 < STEP && at >= 900) [server, startedAt] = [start(at), at];
    return server.expositionAt(at - startedAt);
  };
  return [...fleet, restarted];
}

/** No answer for longer than this was recorded as none. */
const MAX_RECORDED_GAP = 6;

/** Plays a recording at its pace, in a loop: its counters fall at each start. */
async function playRecording(name: string): Promise<Answer> {
  const recording = await readRecording(name);
  const first = recording[0].at;
  const span = recording[recording.length - 1].at - first + 2;
  return (now) => {
    const at = first + now % span;
    const newest = recording.findLast((scrape) => scrape.at <= at) ?? recording[0];
    return at - newest.at > MAX_RECORDED_GAP ? null : encode(newest.body);
  };
}

const isAlways = (): boolean => true;

/** Servers that fail and come back besides, while one of their GPUs throttles now and then. */
function* watchAnHour(
  answers: readonly Answer[],
  isReachable: (at: number, server: number) => boolean = isAlways,
): Generator<State> {
  const endpoints = answers.map((_, i): Endpoint => createEndpoint(8000 + i));
  const gpus = readGpus("h100x8.tsv");
  const { processes, machine } = createMachine(
    answers.map((_, i) => ({ port: 8000 + i, gpus: [i] })),
  );
  let state = startState(endpoints, { ui: createChosenUi() });
  for (let at = 0; at < HOUR; at += STEP) {
    const messages = endpoints.map((endpoint, i): Message => {
      const body = answers[i](at);
      return body === null || !isReachable(at, i)
        ? createFailed(endpoint, at, "refused")
        : createScraped(endpoint, at, body);
    });
    const sampled = at % 1200 > 600 ? heatGpu(gpus, 2) : gpus;
    const report = createGpuReport(sampled, { sampledAt: at, processes: { value: processes } });
    state = update(state, { kind: "gpus_sampled", host: LOCAL_HOST, report, machine });
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

/** Pages and the details, at a size at which they show all replicas. */
const SCREENS: readonly (readonly [TerminalSize, Partial<Ui>])[] = [
  ...(["latency", "gpus", "trends", "cost"] as const).map((page) => [SIZES[3], { page }] as const),
  [SIZES[3], { screen: "detail" }],
  [SIZES[1], { screen: "detail" }],
];

/** Rules, names of replicas and titles of graphs and rows, with their places. */
function listTitles(lines: readonly string[]): string {
  const title =
    /(?:^|[│┤ ])─ ([a-zA-Z][a-zA-Z ]*)|(?:^ |│ )((?::80\d\d|Running|Waiting|Output|Prompt|TTFT|ITL|Latency|GPU)[^ ]*)/g;
  return lines.flatMap((line, row) =>
    [...line.matchAll(title)].map(({ index, 1: rule, 2: name }) =>
      `${row} ${index} ${rule ?? name}`
    )
  ).join("\n");
}

/** Checks each picture of the hour, and that it has had what it is to have. */
function checkStillness(hour: Iterable<State>, last: string, kinds: readonly string[]): void {
  const seen = SIZES.map(() => ({ fixed: "", rows: "" }));
  const titles = new Set<string>();
  const found = new Set<string>();
  for (const state of hour) {
    for (const { kind } of state.fleet.events) found.add(kind);
    // All have answered once.
    if (state.now < 2 * STEP) continue;
    for (const [i, size] of SIZES.entries()) {
      const { lines } = renderFrame(state, size, OPTIONS);
      const now = { fixed: listFixed(lines), rows: listRows(lines) };
      if (seen[i].fixed === "") seen[i] = now;
      if (now.fixed === seen[i].fixed && now.rows === seen[i].rows) continue;
      assertEquals(
        now,
        seen[i],
        `${size.columns} x ${size.rows} at ${state.now}\n${lines.join("\n")}`,
      );
    }
    // Pages at every fourth moment, for the sake of time.
    if (Math.floor(state.now / STEP) % 4 !== 0) continue;
    const selectedKey = state.fleet.rows[2].key;
    titles.add(
      SCREENS.map(([size, more]) => {
        const { lines } = renderFrame(
          { ...state, ui: { ...state.ui, selectedKey, ...more } },
          size,
          OPTIONS,
        );
        return listTitles(lines);
      }).join("\n--\n"),
    );
    if (titles.size > 1) assertEquals([...titles][1], [...titles][0], `at ${state.now}`);
  }
  for (const { fixed, rows } of seen) {
    assert(fixed.split("\n").length >= 5 && rows.includes(last), `${fixed}\n${rows}`);
  }
  for (const kind of kinds) assert(found.has(kind), `${kind} of ${[...found]}`);
}

Deno.test("renderFrame() moves no title, column or row in an hour of the demo's trouble", () => {
  // Each is away for a while besides: stale for 10 to 20 s, or down for longer.
  const isReachable = (at: number, server: number): boolean =>
    at <= 60 || (at + 400 * server) % 1500 >= (server % 2 === 0 ? 20 : 90);
  const hour = watchAnHour(createDemoAnswers(), isReachable);
  checkStillness(hour, ":8005.e1", ["STALE", "DOWN", "UP", "RESTART", "GPU", "HOT"]);
});

Deno.test("renderFrame() moves no title, column or row in an hour of recorded trouble", async () => {
  const names = ["overload", "queue-low-kv", "restart", "speculative", "two-engines"];
  const hour = watchAnHour(await Promise.all(names.map(playRecording)));
  checkStillness(hour, ":8004.e1", ["STALE", "DOWN", "UP", "RESTART", "GPU", "QUEUING", "FULL"]);
});
