import { assert, assertEquals } from "@std/assert";
import { createSimulatedServer } from "../lib/demo.ts";
import type { Endpoint } from "../lib/model.ts";
import { finishSteps } from "../lib/platform.ts";
import { createReaderFactory } from "../lib/dialect_reader.ts";
import { getSceneState, type Message, type State, update } from "../lib/state.ts";
import { createPast, type Past, type PastMoment, type PastState } from "../lib/state_past.ts";
import type { PageId, Ui } from "../lib/state_ui.ts";
import { renderFrame } from "../lib/view_scene.ts";
import { createEndpoint, createFailed, START_EPOCH, startState } from "./fixtures/expositions.ts";
import { createChosenUi } from "./fixtures/screens.ts";

const LLAMA = { model: "meta-llama/Llama-3.1-8B-Instruct" };
const QWEN = { model: "Qwen/Qwen3-32B" };
const INTERVAL = 2;

interface Run {
  readonly past: Past;
  /** After each poll. */
  readonly states: readonly State[];
}

/** Polls simulated servers, of which the second restarts and the last fails for a while. */
function watch(
  { count, polls, options = {}, events = [], keepsStates = true }: {
    readonly count: number;
    readonly polls: number;
    readonly options?: Parameters<typeof createPast>[1];
    readonly events?: readonly { readonly poll: number; readonly message: Message }[];
    readonly keepsStates?: boolean;
  },
): Run {
  const create = createReaderFactory();
  const servers = Array.from({ length: count }, (_, seed) => {
    const engines = seed % 3 === 2 ? [QWEN, QWEN] : [LLAMA];
    const start = (startEpoch: number) =>
      createSimulatedServer({ seed, startEpoch, engines, warmUp: 60 });
    const restarted = seed === 1 ? start(START_EPOCH + 50) : null;
    return {
      endpoint: createEndpoint(8000 + seed),
      first: start(START_EPOCH),
      restarted,
      read: create(),
    };
  });
  const endpoints: readonly Endpoint[] = servers.map(({ endpoint }) => endpoint);
  let state = startState(endpoints, { ui: createChosenUi() });
  const past = createPast(state, options);
  const states: State[] = [];
  const send = (message: Message) => {
    state = update(state, message);
    past.note(message);
  };
  for (let poll = 0; poll < polls; poll++) {
    const at = poll * INTERVAL;
    servers.forEach(({ endpoint, first, restarted, read }, i) => {
      const receivedAt = at + 0.01 * (1 + i % 50);
      send({ kind: "asked", endpointKey: endpoint.key, at });
      if (i === count - 1 && poll > 20 && poll < 40) {
        return send(createFailed(endpoint, receivedAt));
      }
      const server = restarted !== null && poll > 30 ? restarted : first;
      const body = new Uint8Array(server.expositionAt(at) ?? []);
      const scrape = {
        ...finishSteps(read(body)),
        ...{ endpointKey: endpoint.key, receivedAt, receivedAtEpoch: START_EPOCH + receivedAt },
        ...{ duration: 0.008, bytes: body.length, redirectedTo: null },
      };
      send({ kind: "scraped", scrape });
    });
    for (const event of events) if (event.poll === poll) send(event.message);
    const now = at + 0.7;
    send({ kind: "clock", now, nowEpoch: START_EPOCH + now });
    past.keep(state);
    if (keepsStates) states.push(state);
  }
  return { past, states };
}

function compute(moment: PastMoment | null): PastState | null {
  return moment === null ? null : finishSteps(moment.compute());
}

const SIZE = { columns: 160, rows: 60 };
const VIEW = { output: "auto", depth: null, ascii: false } as const;
const PAGES: readonly PageId[] = ["fleet", "latency", "gpus", "trends", "cost", "events"];

function draw(state: State, ui: Partial<Ui> = {}): string {
  return renderFrame({ ...state, held: null, ui: { ...state.ui, ...ui } }, SIZE, VIEW).lines.join(
    "\n",
  );
}

Deno.test("findBefore() returns states that draw the frames of their time", () => {
  const { past, states } = watch({ count: 4, polls: 110 });
  for (const [i, state] of states.entries()) {
    const found = compute(past.findBefore(state.now));
    assertEquals([found?.state.now, found?.step], [state.now, 1]);
    if (found === null) continue;
    for (const page of PAGES) {
      assertEquals(draw(found.state, { page }), draw(state, { page }), `${page} ${i}`);
    }
    for (const { key } of state.fleet.rows) {
      const ui = { screen: "detail", selectedKey: key } as const;
      const size = { columns: 120, rows: 900 };
      const lines = (some: State) =>
        renderFrame({ ...some, ui: { ...some.ui, ...ui } }, size, VIEW).lines;
      assertEquals(lines(found.state), lines(state), `detail ${i}`);
    }
  }
});

Deno.test("compute() gives way every few scrapes, while polling goes on", () => {
  const { past, states } = watch({ count: 4, polls: 70 });
  const live = states[states.length - 1];
  const then = states[25];
  const steps = past.findBefore(then.now)?.compute();
  let count = 0;
  while (steps?.next().done === false) count++;
  // The polls since the minute began, and those of the minute before, of four servers.
  assert(count >= 4 * 25 / 16, `${count}`);
  // Another minute begins, and the oldest is left out, between two steps.
  const other = past.findBefore(states[40].now)?.compute();
  other?.next();
  for (let n = 1; n < 40; n++) past.keep({ ...live, now: live.now + 61 * n });
  const found = other === undefined ? null : finishSteps(other);
  assertEquals(found?.state.now, states[40].now);
  assertEquals(found?.state.fleet.counted, states[40].fleet.counted);
});

Deno.test("createPast() leaves out older polls beyond its budget, and says so", () => {
  const maxBytes = 2 ** 19;
  const { past, states } = watch({
    count: 3,
    polls: 400,
    options: { maxBytes },
    keepsStates: true,
  });
  assert(past.measureBytes() < 1.2 * maxBytes, `${past.measureBytes()}`);
  const newest = compute(past.findBefore(Infinity));
  assertEquals([newest?.state.now, newest?.step], [states.at(-1)?.now, 1]);
  const old = compute(past.findBefore(0));
  assert(old !== null && old.step > 1);
  // Sums stay true, though fewer polls tell of them.
  const then = states.find(({ now }) => now === old.state.now);
  assertEquals(old.state.fleet.total.figures.running, then?.fleet.total.figures.running);
  assertEquals(old.state.fleet.counted, then?.fleet.counted);
});

Deno.test("createPast() forgets what is older than half an hour", () => {
  const { past, states } = watch({ count: 1, polls: 1200, keepsStates: false });
  assertEquals(states, []);
  const oldest = past.findBefore(0)?.now ?? NaN;
  const newest = past.findBefore(Infinity)?.now ?? NaN;
  assert(newest - oldest <= 1800 && newest - oldest > 1800 - 2 * INTERVAL, `${newest - oldest}`);
  assertEquals(past.findAfter(newest + 1), null);
  assertEquals(past.findAfter(oldest + 1)?.now, oldest + INTERVAL);
});

Deno.test("update() shows the past below the user's choices, until the present is wanted", () => {
  const { past, states } = watch({ count: 2, polls: 4 });
  const live = states[3];
  const found = compute(past.findBefore(states[1].now));
  const seen = update(live, { kind: "look", shown: found?.state ?? null, step: 2 });
  assertEquals(getSceneState(seen).now, states[1].now);
  const later = update(seen, { kind: "clock", now: live.now + 60, nowEpoch: live.nowEpoch + 60 });
  assertEquals(getSceneState(later).seenAt, live.now + 60);
  const title = (state: State) => renderFrame(state, SIZE, VIEW).lines[0];
  assert(/\u25c0 \d\d:\d\d:\d\d \(4s ago, 1 of 2 polls kept\)/.test(title(seen)), title(seen));
  assert(title(later).includes("(1m 04s ago"), title(later));
  const back = update(later, { kind: "look", shown: null, step: 1 });
  assertEquals([back.held, back.pastStep], [null, null]);
});
