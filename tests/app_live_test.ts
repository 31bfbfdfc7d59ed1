import { assert, assertEquals } from "@std/assert";
import { type Course, runLive } from "../lib/app_live.ts";
import { pollForever, startSession, takeInstant, watchEndpoint } from "../lib/app_session.ts";
import { parseArguments } from "./fixtures/arguments.ts";
import type { HttpClient, Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { createScraper } from "../lib/scrape.ts";
import { ANONYMOUS_ACCESS } from "../lib/scrape_credentials.ts";
import { enterTerminal } from "../lib/terminal.ts";
import { layOutScene } from "../lib/view_scene.ts";
import { createClock } from "./fixtures/clock.ts";
import {
  createEndpoint,
  createScraped,
  encode,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { createChosenUi, watchServers } from "./fixtures/screens.ts";

const MODEL = [{ model: "meta-llama/Llama-3.1-8B-Instruct" }];
const WHEEL_DOWN = "\x1b[<65;1;9M";

interface Live {
  /** Types, waits for the frame, and gives what was written and how many scenes were laid out. */
  readonly type: (keys: string) => Promise<{ readonly text: string; readonly layouts: number }>;
  /** How often the state was evaluated. */
  readonly countEvaluations: () => number;
  readonly end: () => Promise<void>;
}

/** The live screen over 40 endpoints of which none answers any more, at an instant that lasts. */
async function startLive(course?: Course): Promise<Live> {
  const servers = Array.from({ length: 40 }, () => MODEL);
  const state = { ...watchServers(servers, 16), ui: createChosenUi(), interval: 300 };
  const real = createDenoPlatform();
  let giveKey = (_bytes: Uint8Array | null): void => {};
  let seeFrame = (_text: string): void => {};
  const platform: Platform = {
    ...real,
    monotonicSeconds: () => state.now,
    epochSeconds: () => state.nowEpoch,
    onSignal: () => () => {},
    runProgram: () => Promise.resolve({ kind: "missing" }),
    stdio: {
      ...real.stdio,
      terminalSize: () => ({ columns: 120, rows: 24 }),
      setRawInput: () => {},
      writeStdoutSync: () => {},
      closeStdin: () => giveKey(null),
      writeStdout: (bytes) => Promise.resolve(seeFrame(new TextDecoder().decode(bytes))),
      readStdin: () => new Promise((resolve) => giveKey = resolve),
    },
  };
  const parsed = parseArguments(["--demo", "vllm"], () => undefined);
  if (parsed.kind !== "run") throw new Error(parsed.kind);
  const options = { ...parsed.options, gpuWatch: "never" as const };
  const view = { output: "auto", depth: 256, ascii: false } as const;
  const session = startSession({ platform, options, view, state });
  let evaluations = 0;
  session.record = ({ kind }) => {
    if (kind === "clock") evaluations++;
  };
  let layouts = 0;
  const frame = (): Promise<string> => new Promise((resolve) => seeFrame = resolve);
  const isDrawn = frame();
  const layOut: typeof layOutScene = (...parts) => {
    layouts++;
    return layOutScene(...parts);
  };
  const terminal = enterTerminal(platform.stdio, { mouse: false });
  const running = runLive(session, terminal, { layOut, ...(course && { course }) });
  await isDrawn;
  // The first tick follows the first picture.
  await new Promise((resolve) => setTimeout(resolve, 20));
  return {
    type: async (keys) => {
      const before = layouts;
      const drawn = frame();
      giveKey(new TextEncoder().encode(keys));
      return { text: await drawn, layouts: layouts - before };
    },
    countEvaluations: () => evaluations,
    end: async () => {
      session.stop.abort();
      await running;
    },
  };
}

Deno.test("runLive() lays out one scene for a frame, and none for a key that moves in it", async () => {
  const { type, end } = await startLive();
  try {
    const moved = await type("j");
    assertEquals(moved.layouts, 0);
    assert(moved.text.includes("\x1b[7m"), moved.text);
    assertEquals((await type("k")).layouts, 0);
    assertEquals((await type("jjj")).layouts, 0, "several keys in one read");
    assertEquals((await type(WHEEL_DOWN)).layouts, 0, "a wheel notch in sight");
    assertEquals((await type("G")).layouts, 1, "the last row comes into sight");
    assertEquals((await type("z")).layouts, 1, "the table alone");
    assertEquals((await type("\r")).layouts, 1, "details");
    assertEquals((await type(WHEEL_DOWN)).layouts, 0, "a text scrolls");
    assertEquals((await type("\x1b[D")).layouts, 1, "the replica before");
    assertEquals((await type("?")).layouts, 1, "help");
    assertEquals((await type("j")).layouts, 0, "help scrolls");
  } finally {
    await end();
  }
});

Deno.test("runLive() says at once that the diagnosis of this moment will be printed", async () => {
  for (const keys of ["y", " y"]) {
    const { type, end } = await startLive();
    try {
      const { text } = await type(keys);
      assert(text.includes("diagnosis on exit"), text);
    } finally {
      await end();
    }
  }
});

Deno.test("runLive() draws the end of a round as it was evaluated, without doing it again", async () => {
  const over = Promise.withResolvers<void>();
  const { countEvaluations, end } = await startLive(async (session, show) => {
    for (let round = 0; round < 3; round++) {
      takeInstant(session, true);
      await show();
    }
    over.resolve();
  });
  try {
    await over.promise;
    assertEquals(countEvaluations(), 1 + 3, "the first picture, and each round");
  } finally {
    await end();
  }
});

Deno.test("runLive() asks servers before it starts programs that tell of this machine", async () => {
  const events: string[] = [];
  const real = createDenoPlatform();
  const programs = Promise.withResolvers<void>();
  const input = Promise.withResolvers<null>();
  const platform: Platform = {
    ...real,
    onSignal: () => () => {},
    runProgram: () => {
      events.push("program");
      programs.resolve();
      return Promise.resolve({ kind: "missing" });
    },
    stdio: {
      ...real.stdio,
      terminalSize: () => ({ columns: 120, rows: 24 }),
      setRawInput: () => {},
      writeStdoutSync: () => {},
      closeStdin: () => input.resolve(null),
      writeStdout: () => Promise.resolve(),
      readStdin: () => input.promise,
    },
  };
  const parsed = parseArguments(["--gpus"], () => undefined);
  if (parsed.kind !== "run") throw new Error(parsed.kind);
  const endpoint = createEndpoint(8000, "localhost");
  const session = startSession({
    platform,
    options: parsed.options,
    view: { output: "auto", depth: 256, ascii: false },
    state: startState([endpoint]),
  });
  const client: HttpClient = {
    get: () => {
      events.push("request");
      return Promise.reject(new TypeError("no answer"));
    },
    close: () => {},
  };
  const scraper = await createScraper(
    { ...platform, createHttpClient: () => Promise.resolve(client) },
    endpoint,
    { access: ANONYMOUS_ACCESS, timeout: 4, metricPrefix: null },
  );
  watchEndpoint(session, { endpoint, access: ANONYMOUS_ACCESS, scraper });
  const running = runLive(session, enterTerminal(platform.stdio, { mouse: false }));
  await programs.promise;
  session.stop.abort();
  await running;
  assertEquals(events[0], "request");
});

Deno.test("runLive() shows first figures of many endpoints soon, and those of late ones soon after them", async () => {
  const clock = createClock();
  const input = Promise.withResolvers<null>();
  // Of 38 servers with 7 running requests each, and of one more.
  const shownAt = new Map([["266", Infinity], ["273", Infinity]]);
  const platform: Platform = {
    ...clock.platform,
    onSignal: () => () => {},
    stdio: {
      ...clock.platform.stdio,
      terminalSize: () => ({ columns: 120, rows: 24 }),
      setRawInput: () => {},
      writeStdoutSync: () => {},
      closeStdin: () => input.resolve(null),
      writeStdout: (bytes) => {
        const text = new TextDecoder().decode(bytes);
        for (const [total, at] of shownAt) {
          if (!text.includes(total)) continue;
          shownAt.set(total, Math.min(at, clock.platform.monotonicSeconds()));
        }
        return Promise.resolve();
      },
      readStdin: () => input.promise,
    },
  };
  const parsed = parseArguments([], () => undefined);
  if (parsed.kind !== "run") throw new Error(parsed.kind);
  const endpoints = Array.from({ length: 40 }, (_, index) => createEndpoint(8000 + index));
  const session = startSession({
    platform,
    options: parsed.options,
    view: { output: "auto", depth: 256, ascii: false },
    state: startState(endpoints),
  });
  const body = encode(writeEngine([["num_requests_running", 7]]));
  endpoints.forEach((endpoint, index) => {
    const scrape = async () => {
      await platform.sleep([3, 1.1][index] ?? 0.1);
      const message = createScraped(endpoint, platform.monotonicSeconds(), body);
      if (message.kind !== "scraped") throw new Error(message.kind);
      return message.scrape;
    };
    const scraper = { scrape, takeModels: () => null, close: () => {} };
    watchEndpoint(session, { endpoint, access: ANONYMOUS_ACCESS, scraper });
  });
  const terminal = enterTerminal(platform.stdio, { mouse: false });
  const running = runLive(session, terminal, { course: pollForever });
  await clock.runUntil(3);
  session.stop.abort();
  await clock.runUntil(10);
  await running;
  const [first = NaN, second = NaN] = shownAt.values();
  assert(first < 0.8, `after ${first} s`);
  assert(second < 1.7, `after ${second} s`);
});
