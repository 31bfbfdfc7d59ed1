import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { createSimulatedServer } from "../lib/demo.ts";
import type { EngineSample, KeptScrape, Scrape } from "../lib/model.ts";
import { update } from "../lib/state.ts";
import { type EndpointState, listEngines } from "../lib/state_endpoint.ts";
import {
  loadScrapes,
  type RestoredScrapes,
  restoreScrapes,
  saveScrapes,
  writeScrapes,
} from "../lib/state_file.ts";
import { unpackSample } from "../lib/stats_samples.ts";
import {
  createEndpoint,
  createScraped,
  encode,
  START_EPOCH,
  startState,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";
import { listScenarios, readJson, readScrape, type Scenario } from "./scenarios/expect.ts";

const ENDPOINT = createEndpoint(8000);
const DAY = 86_400;

function scrape(at: number, body: Uint8Array): Scrape {
  const message = createScraped(ENDPOINT, at, body);
  if (message.kind !== "scraped") throw new Error(message.kind);
  return message.scrape;
}

function say(at: number, tokens: number): Scrape {
  return scrape(at, encode(writeEngine([["generation_tokens_total", tokens]])));
}

/** What a run recalls of the text that begins when its own clock says `now`, `age` after START_EPOCH. */
function recall(
  text: string,
  age: number,
  endpointKeys = [ENDPOINT.key],
  now = 3,
): RestoredScrapes {
  return restoreScrapes(text, { now, nowEpoch: START_EPOCH + age, endpointKeys });
}

/** The one endpoint after both scrapes: in one run, or in two with a file between them. */
function follow(first: Scrape, second: Scrape, hasFile: boolean): EndpointState {
  const start = startState([ENDPOINT]);
  if (!hasFile) {
    return [first, second].reduce(
      (state, one) => update(state, { kind: "scraped", scrape: one }),
      start,
    )
      .endpoints[0];
  }
  // The second run begins half a second before its scrape, and its clock where it likes.
  const age = second.receivedAtEpoch - 0.5 - START_EPOCH;
  const text = writeScrapes([first]);
  const { scrapes, remarks } = recall(text, age, [ENDPOINT.key], second.receivedAt - 0.5);
  assertEquals(remarks, []);
  const recalled = scrapes.reduce(
    (state, one) => update(state, { kind: "recalled", scrape: one }),
    start,
  );
  return update(recalled, { kind: "scraped", scrape: second }).endpoints[0];
}

/** Without what is not kept as it is not compared. */
function simplify(sample: EngineSample): unknown {
  return { ...sample, configuration: null };
}

/** Whether all figures are the same, whether the first scrape went through a file or not. */
function checkSame(first: Scrape, second: Scrape): void {
  const [direct, kept] = [false, true].map((hasFile) => follow(first, second, hasFile));
  const simplifyAll = (known: EndpointState): unknown =>
    listEngines(known).map(({ replica }) => ({
      ...replica,
      sample: simplify(replica.sample),
      trace: replica.trace.map(({ at, packed }) => [at, unpackSample(packed)]),
    }));
  assertEquals(simplifyAll(kept), simplifyAll(direct));
  for (const key of ["figures", "totals", "idleness"] as const) {
    const read = ({ engines }: EndpointState): unknown =>
      [...engines].map(([engine, one]) => [engine, one[key]]);
    assertEquals(read(kept), read(direct), key);
  }
  assertEquals(kept.serverTotals, direct.serverTotals);
  assertEquals(kept.history.restartCount, direct.history.restartCount);
}

// Times are sums of powers of two: no rounding comes between the two ways.

Deno.test("writeScrapes() and restoreScrapes() keep everything figures are computed from", () => {
  const server = fc.record({
    seed: fc.nat(1000),
    engines: fc.integer({ min: 1, max: 2 }),
    multiprocess: fc.boolean(),
    speculative: fc.boolean(),
    warmUp: fc.constantFrom(0, 1, 30),
    wait: fc.constantFrom(1, 2.25, 40, 64, 300),
    /** Whether another server answers the second time. */
    isAnother: fc.boolean(),
  });
  fc.assert(
    fc.property(server, ({ engines, wait, isAnother, ...options }) => {
      const create = (more: { readonly warmUp?: number } = {}) =>
        createSimulatedServer({
          ...options,
          ...more,
          startEpoch: START_EPOCH,
          engines: Array.from({ length: engines }, () => ({ model: "org/model" })),
        });
      const one = create();
      const bodies = [
        one.expositionAt(0),
        (isAnother ? create({ warmUp: 7 }) : one).expositionAt(wait),
      ];
      const [first, second] = bodies.map((body) => body ?? encode(""));
      checkSame(scrape(1, first), scrape(1 + wait, second));
    }),
    { numRuns: 25 },
  );
});

Deno.test("writeScrapes() and restoreScrapes() keep scrapes of real servers", async () => {
  let pairs = 0;
  for (const name of await listScenarios()) {
    const { endpoints } = await readJson<Scenario>(`${name}/scrapes.json`);
    for (const { scrapes } of endpoints) {
      const bodies = await Promise.all(scrapes.map(({ file }) => readScrape(file)));
      for (let i = 1; i < bodies.length; i++) {
        checkSame(scrape(2, bodies[i - 1]), scrape(66, bodies[i]));
        pairs++;
      }
    }
  }
  assert(pairs > 20, `only ${pairs} pairs`);
});

Deno.test("restoreScrapes() restores each part", () => {
  const series = [
    ["generation_tokens_total", 12],
    ['request_success_total{finished_reason="stop"}', 3],
    ...writeHistogram("time_to_first_token_seconds", [0.1, 2], { counts: [1, 2, 4], sum: 1.5 }),
  ] as const;
  const declared = "# TYPE vllm:num_preemptions_total counter\n";
  const start = "process_start_time_seconds 1795299000.25\n";
  const said = scrape(0, encode(declared + writeEngine(series) + start));
  const [kept] = recall(writeScrapes([said]), 60).scrapes;
  const [engine] = kept.engines;
  assertEquals(engine.counters.generationTokens, { value: 12 });
  assertEquals(engine.counters.preemptions, { value: null, reason: "initializing" });
  assertEquals(engine.counters.promptTokens, { value: null, reason: "missing" });
  assertEquals([...engine.labelled.finishedByReason ?? []], [["stop", 3]]);
  assertEquals(engine.histograms.ttft, {
    bounds: new Float64Array([0.1, 2, Infinity]),
    counts: new Float64Array([1, 2, 4]),
    sum: 1.5,
  });
  assertEquals(kept.processStart, { value: 1795299000.25 });
  assertEquals(kept.server, said.server);
});

Deno.test("restoreScrapes() dates a scrape by the wall clock", () => {
  const text = writeScrapes([say(0, 5)]);
  assertEquals(recall(text, 300).scrapes.map(({ receivedAt }) => receivedAt), [-297]);
  assertEquals(recall(text, 0.001).scrapes.length, 1);
  assertEquals(recall(text, 7 * DAY).scrapes.length, 1);
});

const REFUSED: readonly (readonly [name: string, age: number, remark: string])[] = [
  ["from the future", -1, "is from the future: the clock was set back"],
  ["of this moment", 0, "is from the future: the clock was set back"],
  ["too old", 7 * DAY + 1, "is more than 7 days old"],
];

for (const [name, age, remark] of REFUSED) {
  Deno.test(`restoreScrapes() drops a scrape ${name}`, () => {
    assertEquals(recall(writeScrapes([say(0, 5)]), age), {
      scrapes: [],
      remarks: [`its scrape of http://localhost:8000 ${remark}`],
    });
  });
}

Deno.test("restoreScrapes() takes known endpoints and reports missing ones", () => {
  const keep = (port: number): KeptScrape => ({
    ...say(0, 5),
    endpointKey: createEndpoint(port).key,
  });
  const keys = [8000, 8001, 8002].map((port) => createEndpoint(port).key);
  const { scrapes, remarks } = recall(writeScrapes([keep(8009), keep(8001)]), 60, keys);
  assertEquals(scrapes.map(({ endpointKey }) => endpointKey), [keys[1]]);
  assertEquals(remarks, ["its scrape of http://localhost:8000 and 1 more is not there"]);
  assertEquals(recall(writeScrapes([]), 60, []), { scrapes: [], remarks: [] });
});

Deno.test("restoreScrapes() rejects another version", () => {
  const text = writeScrapes([say(0, 5)]).replace('"version":1', '"version":2');
  assertEquals(recall(text, 60), {
    scrapes: [],
    remarks: ['it is of version "2", and this program knows 1'],
  });
});

const BROKEN = { scrapes: [], remarks: ["it is broken, or no file of scrapes"] };

Deno.test("restoreScrapes() rejects a text truncated anywhere", () => {
  const text = writeScrapes([say(0, 5)]).trimEnd();
  for (let end = 0; end < text.length; end += 7) {
    assertEquals(recall(text.slice(0, end), 60), BROKEN, `cut at ${end}`);
  }
});

Deno.test("restoreScrapes() rejects a text with an invalid part", () => {
  const text = writeScrapes([{
    ...scrape(
      0,
      encode(writeEngine([
        ["generation_tokens_total", 5],
        ['request_success_total{finished_reason="stop"}', 3],
        ...writeHistogram("time_to_first_token_seconds", [1], { counts: [1, 2], sum: 1 }),
      ])),
    ),
  }]);
  const changes: readonly (readonly [string | RegExp, string])[] = [
    ['"generationTokens":5', '"generationTokens":"many"'],
    ['"generationTokens":5', '"generationTokens":null'],
    ['"generationTokens":5', '"generationTokens":[5]'],
    [/"endpoint":"[^"]*"/, '"endpoint":8000'],
    [/"receivedAtEpochSeconds":[\d.]+/, '"receivedAtEpochSeconds":"NaN"'],
    [/"receivedAtEpochSeconds":[\d.]+,/, ""],
    ['["stop",3]', '["stop"]'],
    ['["stop",3]', '["stop",{}]'],
    ['[["stop",3]]', '{"stop":3}'],
    ['["Infinity",2]', '["Inf",2]'],
    ['["Infinity",2]', "2"],
    ['"prefixCacheUnit":"tokens"', '"prefixCacheUnit":"pages"'],
    ['"engine":"0"', '"engine":0'],
    ['"initializing":[', '"initializing":['.replace("[", '7,"x":[')],
    ['"engines":[', '"engines":{},"x":['],
    ['"version":1,', ""],
    ['"scrapes":[', '"scrapes":0,"x":['],
    [/^\{/, "[{"],
  ];
  for (const [from, to] of changes) {
    const changed = text.replace(from, to);
    assert(changed !== text, `${from} is not in ${text}`);
    assertEquals(recall(changed, 60), BROKEN, `${from} -> ${to}`);
  }
  for (const other of ["", "null", "[]", "{}", '{"version":1}', "7", "# HELP"]) {
    assertEquals(recall(other, 60), BROKEN, other);
  }
});

Deno.test("restoreScrapes() sanitizes names and ignores unknown keys", () => {
  const text = writeScrapes([say(0, 5)])
    .replace(/"modelName":"[^"]*"/, '"modelName":"a\\u001b[2J"')
    .replace('"counters":{', '"counters":{"ofANewerProgram":1,"__proto__":2,');
  const [{ engines: [engine] }] = recall(text, 60).scrapes;
  assertEquals(engine.modelName, "a\\x1b[2J");
  assertEquals(engine.counters.generationTokens, { value: 5 });
  assertEquals(Object.keys(engine.counters).includes("ofANewerProgram"), false);
});
const MESSAGE = createScraped(ENDPOINT, 0, encode(writeEngine([["generation_tokens_total", 5]])));
const SCRAPES = MESSAGE.kind === "scraped" ? [MESSAGE.scrape] : [];

function load(readTextFile: () => Promise<string>, path = "s.json") {
  const platform = {
    readTextFile,
    monotonicSeconds: () => 4,
    epochSeconds: () => START_EPOCH + 60,
  };
  return loadScrapes(platform, path, [ENDPOINT.key]);
}

function fail(name: string, message = "reason"): () => Promise<never> {
  return () => Promise.reject(Object.assign(new Error(message), { name }));
}

Deno.test("loadScrapes() loads the scrapes of the previous run", async () => {
  const { scrapes, remarks } = await load(() => Promise.resolve(writeScrapes(SCRAPES)));
  assertEquals(scrapes.map(({ endpointKey, receivedAt }) => [endpointKey, receivedAt]), [
    [ENDPOINT.key, -56],
  ]);
  assertEquals(remarks, []);
});

Deno.test("loadScrapes() returns safe remarks if there is nothing to compare with", async () => {
  const cases = [
    [fail("NotFound"), ": it is not there yet: "],
    [fail("PermissionDenied"), " may not be read: check its permissions; "],
    [fail("IsADirectory"), " is a directory: name a file in it; "],
    [() => Promise.resolve("{"), ": it is broken, or no file of scrapes: "],
  ] as const;
  for (const [read, problem] of cases) {
    assertEquals(await load(read, "a\x1b[31m"), {
      scrapes: [],
      remarks: [`the state file "a\\x1b[31m"${problem}rates come with the next run`],
    });
  }
});

Deno.test("saveScrapes() writes what loadScrapes() loads", async () => {
  const written = new Map<string, string>();
  const platform = {
    readTextFile: fail("NotFound"),
    writeTextFile: (path: string, text: string) => Promise.resolve(void written.set(path, text)),
  };
  assertEquals(await saveScrapes(platform, "s.json", SCRAPES), null);
  const { scrapes } = await load(() => Promise.resolve(written.get("s.json") ?? ""));
  assertEquals(scrapes.length, 1);
});

Deno.test("saveScrapes() keeps foreign files and repairs its own", async () => {
  const save = async (there: string) => {
    let written = "";
    const problem = await saveScrapes(
      {
        readTextFile: () => Promise.resolve(there),
        writeTextFile: (_path, text) => Promise.resolve(void (written = text)),
      },
      "notes.txt",
      SCRAPES,
    );
    return [problem, written === ""];
  };
  const refusal = 'the state file "notes.txt" is none, and is left as it is: ' +
    "name another, or remove it";
  for (const foreign of ["my notes", "{}", '{"version":1}', "\n"]) {
    assertEquals(await save(foreign), [refusal, true]);
  }
  const own = writeScrapes(SCRAPES);
  for (const kept of ["", own, own.slice(0, 40)]) assertEquals(await save(kept), [null, false]);
});

Deno.test("saveScrapes() explains write errors and the next step", async () => {
  const cases = [
    ["NotCapable", /: this program may not write there: run it by Deno.* --allow-write=FOLDER/],
    ["PermissionDenied", /: its folder may not be written to: check its permissions$/],
    ["NotFound", /: its folder does not exist: make it$/],
    ["Error", /: reason$/],
  ] as const;
  for (const [name, expected] of cases) {
    const problem = await saveScrapes(
      { readTextFile: fail("NotFound"), writeTextFile: fail(name) },
      "a\x1bb",
      SCRAPES,
    ) ?? "";
    assertEquals(problem.startsWith('the state file "a\\x1bb" cannot be written: '), true, problem);
    assertEquals(expected.test(problem), true, problem);
  }
});
