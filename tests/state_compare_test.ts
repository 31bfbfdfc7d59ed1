import { assert, assertEquals } from "@std/assert";
import type { Message } from "../lib/state.ts";
import {
  addRound,
  type ComparedModel,
  compareSpans,
  startWatchedSpan,
  type WatchedSpan,
} from "../lib/state_compare.ts";
import {
  advance,
  createEndpoint,
  createScraped,
  encode,
  MODEL,
  START_EPOCH,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";

const ENDPOINT = createEndpoint(8000);
const POLLS = 90;
const INTERVAL = 2;

interface Run {
  readonly models?: readonly string[];
  readonly version?: string;
  readonly command?: string;
  readonly memory?: string;
  /** Tokens a poll. */
  readonly tokens?: number;
  /** The server restarts before this poll. */
  readonly restart?: number;
}

/** Three minutes of one server, polled every 2 s. */
function watch(
  { models = [MODEL], version = "0.32.0", command, memory = "0.9", ...run }: Run,
): WatchedSpan {
  const { tokens = 100, restart = 0 } = run;
  const end = START_EPOCH + POLLS * INTERVAL;
  const span = startWatchedSpan({
    ...{ path: "r", from: START_EPOCH, to: end, utcOffset: 0, currency: "$" },
  });
  const launch = command === undefined
    ? null
    : { commandLine: command, parallelSizes: new Map<string, number>() };
  const launched: Message = {
    kind: "launch_read",
    endpointKey: ENDPOINT.key,
    server: { version, models: [], launch },
  };
  let state = startState([ENDPOINT]);
  for (let poll = 0; poll < POLLS; poll++) {
    const at = poll * INTERVAL;
    const count = poll - (poll < restart ? 0 : restart);
    const body = models.map((model) =>
      writeEngine([
        ["num_requests_running", 4],
        ["num_requests_waiting", 0],
        ["generation_tokens_total", 1000 + count * tokens + poll % 3],
        [`cache_config_info{gpu_memory_utilization="${memory}"}`, 1],
      ], { model })
    ).join("");
    state = advance(state, at, [createScraped(ENDPOINT, at, encode(body)), launched]);
    addRound(span, state);
    // Without a scrape since, nothing is counted again.
    addRound(span, state);
  }
  return span;
}

function compareOne(a: Run, b: Run): ComparedModel {
  const { models, unmatched } = compareSpans(watch(a), watch(b));
  assertEquals([models.length, unmatched], [1, { a: [], b: [] }]);
  return models[0];
}

function getRate({ figures }: ComparedModel, side: "a" | "b"): number {
  return figures.find(({ key }) => key === "output_tokens")?.[side].value?.value ?? NaN;
}

Deno.test("compareSpans() lists the settings that differ, of which the last of a flag counts", () => {
  const command = "vllm serve m --port 8000 --max-num-seqs 16";
  const { settings, settingCount } = compareOne(
    { command: `${command} --max-num-seqs 4`, memory: "0.8" },
    { command: `${command} --enforce-eager`, version: "0.33.0" },
  );
  assertEquals(settings, [
    { name: "gpu_memory_utilization", a: "0.8", b: "0.9" },
    { name: "version", a: "0.32.0", b: "0.33.0" },
    { name: "--max-num-seqs", a: "4", b: "16" },
    { name: "--enforce-eager", a: null, b: "on" },
  ]);
  assert(settingCount >= 5, `${settingCount}`);
  assertEquals(compareOne({ command }, { command }).settings, []);
});

Deno.test("compareSpans() counts each poll once, and nothing over a restart", () => {
  const model = compareOne({}, { restart: 40 });
  assert(Math.abs(getRate(model, "a") - 50) < 0.1, `${getRate(model, "a")}`);
  assert(Math.abs(getRate(model, "b") - 50) < 0.1, `${getRate(model, "b")}`);
  assertEquals(model.spans, { a: 178, b: 176 });
  assertEquals(model.figures.filter(({ outcome }) => outcome === "differs"), []);
});

Deno.test("compareSpans() says which figures differ, by probabilities of all together", () => {
  const { figures, isTested } = compareOne({}, { tokens: 130 });
  assert(isTested);
  const differing = figures.filter(({ outcome }) => outcome === "differs").map(({ key }) => key);
  assertEquals(differing, ["output_tokens"]);
  for (const { outcome, probability } of figures) {
    assertEquals(outcome === "untested", probability === null);
  }
});

Deno.test("compareSpans() matches models by name, or the only ones, and tells of the others", () => {
  const renamed = compareOne({ models: ["m"] }, { models: ["m-fp8"] });
  assertEquals(renamed.names, { a: "m", b: "m-fp8" });
  const model = renamed.settings.find(({ name }) => name === "model");
  assertEquals(model, { name: "model", a: "m", b: "m-fp8" });
  const { models, unmatched } = compareSpans(
    watch({ models: ["m", "n"] }),
    watch({ models: ["n", "o"] }),
  );
  assertEquals(models.map(({ names }) => names), [{ a: "n", b: "n" }]);
  assertEquals(unmatched, { a: ["m"], b: ["o"] });
  const apart = compareSpans(watch({ models: ["m", "n"] }), watch({ models: ["o"] }));
  assertEquals([apart.models, apart.unmatched.b], [[], ["o"]]);
});
