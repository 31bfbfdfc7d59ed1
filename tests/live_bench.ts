/**
 * What the live screen costs: a frame, the difference of two, a key.
 *
 * Frames are of 64 replicas at 200×50 and 8 at 120×40, watched for a minute.
 * The last part, which needs `deno run -A`, runs the real live screen over 100 simulated endpoints that
 * answer within 20 ms, polled every second, and measures from the moment at
 * which a key is due to the frame that shows it. It prints bytes per tick and the
 * histogram.
 *
 * Two cores of an AMD EPYC VM, quiet, 2026-11, with the flags for V8's heap that the binary has
 * (`.ci/compile.ts`): a frame of 64 replicas takes 0.6 ms. A tick of 8 replicas is 1.7 kB, of 64
 * 3.7 kB; whole frames are 8.2 and 14.6. Key to frame: p50 0.8 ms, p90 1.8, p99 4 to 5, max 21; on
 * slower machines p99 was 11 to 13. What a key does itself takes 0.4 ms at p50 and 0.9 at p99; it may
 * have to wait for an evaluation (9 ms), a layout (3 ms), or a step of a full collection, of which
 * there is one in 2 s. Each takes several times as long where others want both cores: p99 was 15 to
 * 87 ms at loads of 2 to 12.
 *
 * The compiled program (Deno 2.6.8) beside vllm-htop 0.5.0 of PyPI, on the same machine:
 *
 * - Watching 8 endpoints of 1 engine every 2 s at 120×40, both at the same time, programs that they
 * start counted: 1.45 % of a core, with a script in place of `nvidia-smi` 1.65 %; PyPI's 2.17 %.
 * - `--once --interval 0 --output json` of 1 endpoint, least of 60 runs in turns: 90 ms of CPU, of
 * which an empty program takes 21, and `ss` and `ps` 12; PyPI's 64, 0.1.0's 88. `--version` 23.
 * - First picture in a terminal after 53 ms, with figures after 86; 0.1.0's after 57 and 83.
 *
 * The last half hour of 930 polls at 2 s, by `measureBytes` of `createPast` and by the heap with and
 * without it: 4.2 MiB (heap 5) for 8 engines, 19.8 (21) for 60, 68 (71) for 256 between two
 * thinnings to 64 MiB, when one poll of two is kept of the oldest minutes.
 *
 * @module
 */

import { runLive } from "../lib/app_live.ts";
import { startSession, watchEndpoint } from "../lib/app_session.ts";
import { parseArguments } from "./fixtures/arguments.ts";
import { createSimulatedServer } from "../lib/demo.ts";
import type { Endpoint } from "../lib/model.ts";
import type { HttpClient, Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { createScraper } from "../lib/scrape.ts";
import { ANONYMOUS_ACCESS } from "../lib/scrape_credentials.ts";
import type { State } from "../lib/state.ts";
import { encodeFrame, enterTerminal } from "../lib/terminal.ts";
import type { ViewOptions } from "../lib/view.ts";
import { getUiContext, layOutScene, renderFrame } from "../lib/view_scene.ts";
import { createEndpoint, START_EPOCH, startState } from "./fixtures/expositions.ts";
import { createChosenUi, watchServers } from "./fixtures/screens.ts";

const LARGE = { columns: 200, rows: 50 };
const MIDDLE = { columns: 120, rows: 40 };
const VIEW: ViewOptions = { output: "auto", depth: 256, ascii: false };
const ENGINES = [{ model: "meta-llama/Llama-3.1-8B-Instruct" }];

function measureBytes(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** The state of so many replicas, and that of a poll later. */
function watchTwice(replicas: number): readonly [State, State] {
  const servers = Array.from({ length: replicas }, () => ENGINES);
  return [watchServers(servers, 64), watchServers(servers, 66)];
}

const notes: string[] = [];

for (const [replicas, size] of [[8, MIDDLE], [64, LARGE]] as const) {
  const group = `${replicas} replicas at ${size.columns}x${size.rows}`;
  const [state, next] = watchTwice(replicas);
  const shown = renderFrame(state, size, VIEW).lines;
  const wanted = renderFrame(next, size, VIEW).lines;
  const whole = measureBytes(encodeFrame(null, wanted));
  const changed = measureBytes(encodeFrame(shown, wanted));
  notes.push(`${group}: ${whole} bytes a whole frame, ${changed} bytes a tick`);

  Deno.bench(`renderFrame, ${replicas}`, { group, baseline: true }, () => {
    renderFrame(state, size, VIEW);
  });

  Deno.bench(`layOutScene and getUiContext, ${replicas}`, { group }, () => {
    getUiContext(layOutScene(state, size, VIEW));
  });

  Deno.bench(`encodeFrame of two ticks, ${replicas}`, { group }, () => {
    encodeFrame(shown, wanted);
  });
}

const ENDPOINTS = 100;
const POLLS = 90;
const ANSWER_MILLISECONDS = 20;

/** Endpoints that answer like servers on a network: each after a while of its own. */
function createClients(endpoints: readonly Endpoint[]): Platform["createHttpClient"] {
  const recorded = [0, 1, 2, 3].map((seed) => {
    const server = createSimulatedServer({
      seed,
      startEpoch: START_EPOCH,
      engines: ENGINES,
      warmUp: 60,
    });
    return Array.from({ length: POLLS }, (_, i) => new Uint8Array(server.expositionAt(i) ?? []));
  });
  const polls = new Map<string, number>();
  const client: HttpClient = {
    get: async ({ url }) => {
      const index = endpoints.findIndex(({ metricsUrl }) => metricsUrl === url);
      const poll = polls.get(url) ?? 0;
      polls.set(url, poll + 1);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * ANSWER_MILLISECONDS));
      const body = new Response(recorded[index % recorded.length][poll % POLLS]).body;
      return { status: 200, header: () => null, body };
    },
    close: () => {},
  };
  return () => Promise.resolve(client);
}

/** The live screen over many endpoints, and how to press a key and wait for its frame. */
async function startScreen(): Promise<{ readonly pressKey: (due: number) => Promise<number> }> {
  const endpoints = Array.from({ length: ENDPOINTS }, (_, i) => createEndpoint(8000 + i));
  const real = createDenoPlatform();
  let giveKey = (_bytes: Uint8Array): void => {};
  let seeFrame = (_text: string): void => {};
  const platform: Platform = {
    ...real,
    createHttpClient: createClients(endpoints),
    onSignal: () => () => {},
    stdio: {
      ...real.stdio,
      terminalSize: () => LARGE,
      setRawInput: () => {},
      writeStdoutSync: () => {},
      closeStdin: () => {},
      writeStdout: (bytes) => Promise.resolve(seeFrame(new TextDecoder().decode(bytes))),
      readStdin: () => new Promise((resolve) => giveKey = resolve),
    },
  };
  const parsed = parseArguments(["--demo", "vllm", "--interval", "1"], () => undefined);
  if (parsed.kind !== "run") throw new Error("Cannot bench: the arguments are refused");
  const session = startSession({
    platform,
    options: parsed.options,
    view: VIEW,
    state: { ...startState(endpoints, { ui: createChosenUi() }), interval: 1 },
  });
  const access = ANONYMOUS_ACCESS;
  for (const endpoint of endpoints) {
    const settings = { access, timeout: 4, metricPrefix: null, pool: session.pool };
    const scraper = await createScraper(platform, endpoint, settings);
    watchEndpoint(session, { endpoint, access, scraper });
  }
  void runLive(session, enterTerminal(platform.stdio, { mouse: false }));
  let line = 0;
  return {
    pressKey: async (due) => {
      line = 1 - line;
      const isShown = new RegExp(`\\x1b\\[7m [^\\x1b]*:800${line} `);
      await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
      await new Promise<void>((resolve) => {
        seeFrame = (text) => isShown.test(text) ? resolve() : undefined;
        giveKey(new TextEncoder().encode(line === 1 ? "j" : "k"));
      });
      return performance.now() - due;
    },
  };
}

const KEYS = 2000;

/** Keys at random moments of a minute: how long each took, in milliseconds, in order. */
async function measureKeys(): Promise<readonly number[]> {
  const { pressKey } = await startScreen();
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const spans: number[] = [];
  for (let i = 0; i < KEYS; i++) {
    spans.push(await pressKey(performance.now() + 5 + Math.random() * 40));
  }
  return spans.sort((a, b) => a - b);
}

if (import.meta.main) {
  const spans = await measureKeys();
  const at = (share: number): string => spans[Math.floor(share * (spans.length - 1))].toFixed(1);
  notes.push(
    `key to frame, ${ENDPOINTS} endpoints polled every second, ${KEYS} keys: ` +
      `p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, max ${at(1)} ms`,
  );
  for (let bound = 1; bound <= 1024; bound *= 2) {
    const count = spans.filter((span) => span <= bound && span > bound / 2).length;
    const below = bound === 1 ? spans.filter((span) => span <= 1).length : count;
    if (below > 0) notes.push(`  <= ${String(bound).padStart(4)} ms  ${below}`);
  }
  console.log(notes.join("\n"));
  Deno.exit(0);
}
