import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { countObservations } from "../lib/histogram.ts";
import {
  COUNTER_KEYS,
  type CounterKey,
  type Delta,
  LATENCY_KEYS,
  type Scrape,
} from "../lib/model.ts";
import { type AbsenceReason, isPresent, type Reading } from "../lib/reading.ts";
import {
  appendSample,
  computeReplicas,
  type EndpointHistory,
  hasClockJumped,
  type HistoryPoint,
  LONG_WINDOW,
  type ReplicaSample,
  startHistory,
} from "../lib/stats_window.ts";
import {
  createEndpoint,
  createScraped,
  encode,
  readPoint,
  type Series,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";

function follow(...points: HistoryPoint[]): EndpointHistory {
  return points.reduce(appendSample, startHistory());
}

/** A point with one engine that has counted so many output tokens. */
function countTokens(at: number, tokens: number, more: readonly Series[] = []): HistoryPoint {
  return readPoint(at, writeEngine([["generation_tokens_total", tokens], ...more]));
}

function readOne(history: EndpointHistory): ReplicaSample {
  const replicas = computeReplicas(history);
  assertEquals(replicas.length, 1);
  return replicas[0];
}

function valueOf<T>(reading: Reading<T>): T {
  assert(isPresent(reading), JSON.stringify(reading));
  return reading.value;
}

function reasonOf(reading: Reading<unknown>): AbsenceReason | null {
  return isPresent(reading) ? null : reading.reason;
}

/** The span and the increase of one counter. */
function readIncrease(
  delta: Reading<Delta>,
  key: CounterKey = "generationTokens",
): readonly [span: number, increase: number] {
  const { span, counters } = valueOf(delta);
  return [span, valueOf(counters[key])];
}

function assertRestarted(history: EndpointHistory): void {
  assert(history.hasJustRestarted);
  assertEquals(history.previous, null);
  for (const { lastPoll, lastMinute } of computeReplicas(history)) {
    assertEquals([reasonOf(lastPoll), reasonOf(lastMinute)], ["restarted", "restarted"]);
  }
}

// ---- Spans.

Deno.test("computeReplicas() is empty without samples", () => {
  assertEquals(computeReplicas(startHistory()), []);
});

Deno.test("computeReplicas() has no window after the first scrape", () => {
  const { sample, lastPoll, lastMinute } = readOne(follow(countTokens(5, 100)));
  assertEquals(sample.counters.generationTokens, { value: 100 });
  assertEquals([reasonOf(lastPoll), reasonOf(lastMinute)], ["first_scrape", "first_scrape"]);
});

Deno.test("computeReplicas() measures spans between receipts, not the interval", () => {
  const history = follow(
    countTokens(100, 0),
    countTokens(102.25, 9),
    countTokens(103, 12),
    countTokens(109.5, 40),
  );
  const { lastPoll, lastMinute } = readOne(history);
  assertEquals(readIncrease(lastPoll), [6.5, 28]);
  assertEquals(readIncrease(lastMinute), [9.5, 40]);
});

Deno.test("computeReplicas() measures across the gap of a failed scrape", () => {
  // The scrapes of 4 s and 6 s failed: there are no points of them.
  const history = follow(countTokens(0, 0), countTokens(2, 10), countTokens(8, 70));
  assertEquals(readIncrease(readOne(history).lastPoll), [6, 60]);
});

Deno.test("computeReplicas() looks back a minute, and a little for late polls", () => {
  const until = (at: number) => follow(countTokens(0, 0), countTokens(30, 10), countTokens(at, 50));
  assertEquals(LONG_WINDOW, 60);
  assertEquals(readIncrease(readOne(until(60)).lastMinute), [60, 50]);
  assertEquals(readIncrease(readOne(until(60.4)).lastMinute), [60.4, 50]);
  assertAlmostEquals(readIncrease(readOne(until(60.6)).lastMinute)[0], 30.6, 1e-9);
  assertEquals(readIncrease(readOne(until(60.6)).lastMinute)[1], 40);
});

Deno.test("computeReplicas() measures polls more than a minute apart", () => {
  const history = follow(countTokens(0, 0), countTokens(90, 9), countTokens(190, 29));
  const { lastPoll, lastMinute } = readOne(history);
  assertEquals(readIncrease(lastPoll), [100, 20]);
  assertEquals(readIncrease(lastMinute), [100, 20]);
});

Deno.test("appendSample() keeps no more than it needs", () => {
  let history = startHistory();
  for (let at = 0; at <= 600; at += 2) history = appendSample(history, countTokens(at, at));
  assertEquals(readOne(history).trace.length, 31);
  assertEquals(readIncrease(readOne(history).lastMinute), [60, 60]);
});

Deno.test("appendSample() refuses a sample that is not later", () => {
  const history = follow(countTokens(5, 1));
  for (const at of [5, 4.9, NaN]) {
    assertThrows(() => appendSample(history, countTokens(at, 2)), RangeError, `"${at}"`);
  }
});

Deno.test("appendSample() does not change the given history", () => {
  const history = follow(countTokens(0, 0));
  appendSample(history, countTokens(2, 5));
  assertEquals([history.newest?.at, history.previous, readOne(history).trace.length], [0, null, 1]);
});

// ---- Restarts.

const CALM: readonly Series[] = [
  ["prompt_tokens_total", 50],
  ['request_success_total{finished_reason="stop"}', 4],
  ['request_success_total{finished_reason="abort"}', 2],
  ...writeHistogram("time_to_first_token_seconds", [1, 2], { counts: [3, 5, 6], sum: 9 }),
];
const FALLS: readonly (readonly [what: string, Series[]])[] = [
  ["a counter", [["prompt_tokens_total", 49]]],
  ["a child of a family, though the sum rose", [
    ['request_success_total{finished_reason="stop"}', 40],
    ['request_success_total{finished_reason="abort"}', 1],
  ]],
  [
    "a bucket, though the count rose",
    writeHistogram("time_to_first_token_seconds", [1, 2], { counts: [2, 50, 60], sum: 99 }),
  ],
  [
    "a histogram that is not shown",
    writeHistogram("request_params_n", [1], { counts: [1, 3], sum: 1 }),
  ],
  ["a counter that is not shown", [["spec_decode_num_emitted_tokens_total", 1]]],
];

for (const [what, fallen] of FALLS) {
  Deno.test(`appendSample() detects a restart by a fall of ${what}`, () => {
    const before: Series[] = [
      ...CALM,
      ["spec_decode_num_emitted_tokens_total", 9],
      ...writeHistogram("request_params_n", [1], { counts: [2, 4], sum: 1 }),
    ];
    const names = new Set(fallen.map(([name]) => name));
    const after = [...before.filter(([name]) => !names.has(name)), ...fallen];
    const calm = follow(countTokens(0, 10, before), countTokens(2, 20, before));
    assertEquals(calm.restartCount, 0);
    const history = appendSample(calm, countTokens(4, 30, after));
    assertEquals(history.restartCount, 1);
    assertRestarted(history);
    // The next rate is over what came after.
    const next = appendSample(history, countTokens(6, 42, after));
    assert(!next.hasJustRestarted);
    assertEquals(readIncrease(readOne(next).lastPoll), [2, 12]);
    assertEquals(readIncrease(readOne(next).lastMinute), [2, 12]);
    assertEquals(next.restartCount, 1);
  });
}

Deno.test("appendSample() detects a restart by a counter that waits for its first use again", () => {
  const declared = "# TYPE vllm:generation_tokens_total counter\n" +
    writeEngine([["num_requests_running", 0]]);
  const counted = (tokens: number) => writeEngine([["generation_tokens_total", tokens]]);
  const restartsAfter = (...texts: readonly string[]): number =>
    texts.reduce(
      (history, text, i) => appendSample(history, readPoint(2 * i, text)),
      startHistory(),
    ).restartCount;
  assertEquals(restartsAfter(declared, counted(0), counted(9)), 0);
  assertEquals(restartsAfter(counted(9), declared), 1);
  // It has counted more since.
  assertEquals(restartsAfter(counted(9), declared, counted(12)), 1);
});

Deno.test("appendSample() sees no restart in a fall of a gauge", () => {
  const gauges = (value: number): Series[] => [
    ["num_requests_running", value],
    ["kv_cache_usage_perc", value / 10],
    [`num_requests_waiting_by_reason{reason="capacity"}`, value],
    [`engine_sleep_state{sleep_state="awake"}`, value],
  ];
  const history = follow(countTokens(0, 1, gauges(5)), countTokens(2, 1, gauges(0)));
  assertEquals(history.restartCount, 0);
  assertEquals(readIncrease(readOne(history).lastPoll), [2, 0]);
  // Nor is there an increase of a gauge.
  assertEquals(valueOf(readOne(history).lastPoll).labelled.waitingByReason, undefined);
});

Deno.test("appendSample() sees no restart in equal counters", () => {
  const history = follow(countTokens(0, 7, CALM), countTokens(2, 7, CALM));
  assertEquals(history.restartCount, 0);
  assertEquals(readIncrease(readOne(history).lastPoll), [2, 0]);
});

Deno.test("appendSample() sees no restart in other bounds", () => {
  const ttft = (bounds: number[]) =>
    writeHistogram("time_to_first_token_seconds", bounds, { counts: [1, 2, 2], sum: 1 });
  const history = follow(countTokens(0, 1, ttft([1, 2])), countTokens(2, 5, ttft([1, 3])));
  assertEquals(history.restartCount, 0);
  const { lastPoll } = readOne(history);
  assertEquals(readIncrease(lastPoll), [2, 4]);
  assertEquals(reasonOf(valueOf(lastPoll).latencies.ttft), "bounds_differ");
});

const STAMPS = [
  ["process_start_time_seconds", (at: number) => `process_start_time_seconds ${at}\n`],
  ["_created", (at: number) => writeEngine([["generation_tokens_created", at]])],
] as const;

for (const [name, write] of STAMPS) {
  Deno.test(`appendSample() detects a restart by another ${name}, except for rounding`, () => {
    const point = (at: number, tokens: number, stamp: number): HistoryPoint =>
      readPoint(at, writeEngine([["generation_tokens_total", tokens]]) + write(stamp));
    const first = point(0, 10, 1_795_300_000);
    // Though it has counted more than before: it is long since it was seen.
    for (const stamp of [1_795_300_000.6, 1_795_299_999.4, 1_795_300_100]) {
      assertRestarted(follow(first, point(2, 500, stamp)));
    }
    for (const stamp of [1_795_300_000.4, 1_795_299_999.6]) {
      const history = follow(first, point(2, 30, stamp));
      assertEquals(readIncrease(readOne(history).lastPoll), [2, 20]);
    }
    // One that is not there says nothing.
    const without = countTokens(2, 30);
    assertEquals(readIncrease(readOne(follow(first, without)).lastPoll), [2, 20]);
  });
}

Deno.test("appendSample() treats the restart of one engine as its server's", () => {
  const point = (at: number, first: number, second: number): HistoryPoint =>
    readPoint(
      at,
      writeEngine([["generation_tokens_total", first]], { engine: "0" }) +
        writeEngine([["generation_tokens_total", second]], { engine: "1" }),
    );
  const history = follow(point(0, 10, 10), point(2, 20, 3));
  assertEquals(history.restartCount, 1);
  assertRestarted(history);
});

Deno.test("appendSample() sees no restart in an engine that leaves or joins", () => {
  const write = (engine: string, tokens: number, created: number): string =>
    writeEngine(
      [["generation_tokens_total", tokens], ["generation_tokens_created", created]],
      { engine },
    );
  const both = (at: number, tokens: number): HistoryPoint =>
    readPoint(at, write("0", tokens, 1_795_300_000) + write("1", tokens, 1_795_300_100));
  const alone = (at: number, tokens: number): HistoryPoint =>
    readPoint(at, write("1", tokens, 1_795_300_100));
  const history = follow(both(0, 10), alone(2, 20), both(4, 30));
  assertEquals(history.restartCount, 0);
  // And one of two whose counters began anew, though they have passed their old values.
  const renewed = readPoint(2, write("0", 99, 1_795_300_000) + write("1", 99, 1_795_300_200));
  assertRestarted(follow(both(0, 10), renewed));
});

Deno.test("appendSample() counts successive restarts", () => {
  const history = follow(countTokens(0, 10), countTokens(2, 1), countTokens(4, 0));
  assertEquals(history.restartCount, 2);
  assertRestarted(history);
});

// ---- Engines and families that come and go.

function runEngines(at: number, tokens: Readonly<Record<string, number>>): HistoryPoint {
  return readPoint(
    at,
    Object.entries(tokens).map(([engine, count]) =>
      writeEngine([["generation_tokens_total", count]], { engine })
    ).join(""),
  );
}

Deno.test("computeReplicas() waits for the second scrape of an engine that joined", () => {
  const joined = follow(runEngines(0, { 0: 1 }), runEngines(2, { 0: 5, 1: 100 }));
  const [first, second] = computeReplicas(joined);
  assertEquals(readIncrease(first.lastPoll), [2, 4]);
  assertEquals([reasonOf(second.lastPoll), reasonOf(second.lastMinute)], [
    "first_scrape",
    "first_scrape",
  ]);
  const later = computeReplicas(appendSample(joined, runEngines(5, { 0: 6, 1: 103 })));
  assertEquals(readIncrease(later[0].lastMinute), [5, 5]);
  assertEquals(readIncrease(later[1].lastMinute), [3, 3]);
});

Deno.test("computeReplicas() drops an engine that left, and continues when it returns", () => {
  const left = follow(runEngines(0, { 0: 1, 1: 10 }), runEngines(2, { 0: 5 }));
  assertEquals(computeReplicas(left).map(({ sample }) => sample.engine), ["0"]);
  assertEquals(left.restartCount, 0);
  const back = appendSample(left, runEngines(4, { 0: 6, 1: 30 }));
  assertEquals(reasonOf(computeReplicas(back)[1].lastPoll), "first_scrape");
  const again = computeReplicas(appendSample(back, runEngines(6, { 0: 7, 1: 40 })));
  assertEquals(readIncrease(again[1].lastPoll), [2, 10]);
  assertEquals(readIncrease(again[1].lastMinute), [6, 30]);
});

Deno.test("computeReplicas() detects that a missing engine restarted", () => {
  // Found by the property below: the minute had lost 70 tokens.
  const away = follow(runEngines(0, { 0: 1, 1: 100 }), runEngines(2, { 0: 5 }));
  const back = appendSample(away, runEngines(4, { 0: 6, 1: 20 }));
  assertEquals(back.restartCount, 1);
  const again = computeReplicas(appendSample(back, runEngines(6, { 0: 7, 1: 30 })));
  assertEquals(readIncrease(again[1].lastMinute), [2, 10]);
});

Deno.test("computeReplicas() detects that a missing counter restarted", () => {
  const history = follow(
    countTokens(0, 1, [["num_preemptions_total", 100]]),
    countTokens(2, 2),
    countTokens(4, 3, [["num_preemptions_total", 5]]),
    countTokens(6, 4, [["num_preemptions_total", 7]]),
  );
  const { lastPoll, lastMinute } = readOne(history);
  assertEquals(readIncrease(lastPoll, "preemptions"), [2, 2]);
  assertEquals(readIncrease(lastMinute, "preemptions"), [2, 2]);
});

Deno.test("computeReplicas() distinguishes engines whose joined names are equal", () => {
  const point = (at: number, first: number, second: number): HistoryPoint =>
    readPoint(
      at,
      writeEngine([["generation_tokens_total", first]], { model: "a b", engine: "c" }) +
        writeEngine([["generation_tokens_total", second]], { model: "a", engine: "b c" }),
    );
  const replicas = computeReplicas(follow(point(0, 100, 1), point(2, 110, 5), point(4, 130, 6)));
  assertEquals(replicas.map(({ sample }) => sample.modelName), ["a b", "a"]);
  assertEquals(replicas.map(({ lastMinute }) => readIncrease(lastMinute)), [[4, 30], [4, 5]]);
  assertEquals(replicas.map(({ trace }) => trace.map(({ at }) => at)), [[0, 2, 4], [0, 2, 4]]);
});

Deno.test("computeReplicas() distinguishes engines of different models", () => {
  const point = (at: number, first: number, second: number): HistoryPoint =>
    readPoint(
      at,
      writeEngine([["generation_tokens_total", first]], { model: "a" }) +
        writeEngine([["generation_tokens_total", second]], { model: "b" }),
    );
  const replicas = computeReplicas(follow(point(0, 100, 1), point(2, 110, 5)));
  assertEquals(replicas.map(({ lastPoll }) => readIncrease(lastPoll)[1]), [10, 4]);
});

Deno.test("computeReplicas() has no increase of a new counter", () => {
  const drafts: Series[] = [["spec_decode_num_drafts_total", 500]];
  const history = follow(countTokens(0, 1), countTokens(2, 5, drafts));
  const { lastPoll } = readOne(history);
  assertEquals(reasonOf(valueOf(lastPoll).counters.drafts), "first_scrape");
  assertEquals(reasonOf(valueOf(lastPoll).counters.acceptedTokens), "missing");
  // From then on the minute begins where all can be compared.
  const next = appendSample(
    history,
    countTokens(5, 11, [["spec_decode_num_drafts_total", 530]]),
  );
  const { lastMinute } = readOne(next);
  assertEquals(readIncrease(lastMinute, "drafts"), [3, 30]);
  assertEquals(readIncrease(lastMinute), [3, 6]);
});

Deno.test("computeReplicas() counts from 0 what was declared without samples", () => {
  const cold = readPoint(
    0,
    "# TYPE vllm:num_preemptions_total counter\n" +
      "# TYPE vllm:request_success_total counter\n" +
      "# TYPE vllm:time_to_first_token_seconds histogram\n" +
      writeEngine([["generation_tokens_total", 0]]),
  );
  const warm = countTokens(2, 5, [["num_preemptions_total", 3], ...CALM]);
  const { lastPoll, lastMinute } = readOne(follow(cold, warm));
  for (const delta of [lastPoll, lastMinute]) {
    const { counters, labelled, latencies } = valueOf(delta);
    assertEquals(counters.preemptions, { value: 3 });
    // This one was not declared.
    assertEquals(reasonOf(counters.promptTokens), "first_scrape");
    assertEquals([...labelled.finishedByReason ?? []], [["stop", 4], ["abort", 2]]);
    assertEquals(countObservations(valueOf(latencies.ttft)), 6);
  }
});

Deno.test("computeReplicas() explains absent latencies", () => {
  const declared = "# TYPE vllm:time_to_first_token_seconds histogram\n";
  const point = (at: number, more: readonly Series[] = []): HistoryPoint =>
    readPoint(at, declared + writeEngine([["generation_tokens_total", at], ...more]));
  const { latencies } = valueOf(readOne(follow(point(0), point(2))).lastPoll);
  assertEquals(reasonOf(latencies.ttft), "initializing");
  assertEquals(reasonOf(latencies.itl), "missing");
  const itl = writeHistogram("inter_token_latency_seconds", [1], { counts: [1, 2], sum: 1 });
  const joined = valueOf(readOne(follow(point(0), point(2, itl))).lastPoll);
  assertEquals(reasonOf(joined.latencies.itl), "first_scrape");
});

Deno.test("computeReplicas() counts a new child from 0", () => {
  const stop = (count: number): Series => ['request_success_total{finished_reason="stop"}', count];
  const abort: Series = ['request_success_total{finished_reason="abort"}', 2];
  const history = follow(countTokens(0, 1, [stop(5)]), countTokens(2, 2, [stop(8), abort]));
  const { labelled } = valueOf(readOne(history).lastPoll);
  assertEquals([...labelled.finishedByReason ?? []], [["stop", 3], ["abort", 2]]);
});

Deno.test("computeReplicas() subtracts histograms bucket by bucket", () => {
  const ttft = (counts: number[], sum: number): Series[] =>
    writeHistogram("time_to_first_token_seconds", [1, 2], { counts, sum });
  const history = follow(
    countTokens(0, 1, ttft([1, 2, 4], 6)),
    countTokens(2, 2, ttft([3, 6, 8], 10.5)),
  );
  const delta = valueOf(valueOf(readOne(history).lastPoll).latencies.ttft);
  assertEquals([...delta.counts], [2, 4, 4]);
  assertEquals(delta.sum, 4.5);
});

Deno.test("computeReplicas() has the minute's increase of histograms and labelled counters", () => {
  const more = (count: number): Series[] => [
    ['request_success_total{finished_reason="stop"}', count],
    ...writeHistogram("time_to_first_token_seconds", [1], { counts: [count, count], sum: count }),
  ];
  const history = follow(...[0, 2, 4, 6].map((at) => countTokens(at, at, more(10 * at))));
  const { span, labelled, latencies } = valueOf(readOne(history).lastMinute);
  assertEquals(span, 6);
  assertEquals(labelled.finishedByReason, new Map([["stop", 60]]));
  assertEquals([...valueOf(latencies.ttft).counts], [60, 60]);
});

Deno.test("hasClockJumped() compares the wall clock with the monotonic one, within two seconds", () => {
  const createAt = (at: number, epoch: number): Scrape => {
    const message = createScraped(createEndpoint(8000), at, encode(writeEngine([])));
    if (message.kind !== "scraped") throw new Error("Not scraped");
    return { ...message.scrape, receivedAtEpoch: epoch };
  };
  const hasJumped = (wall: number) => hasClockJumped(createAt(15, 1000 + wall), createAt(5, 1000));
  assertEquals([8, 10, 12].map(hasJumped), [false, false, false]);
  assertEquals([7.9, 12.1, -1e6, 1e6].map(hasJumped), [true, true, true, true]);
  assertEquals(hasClockJumped(createAt(5, 1000), null), false);
});

// ---- Properties.

interface EngineStep {
  readonly tokens: number;
  readonly preemptions: number | null;
  readonly stopped: number | null;
  readonly aborted: number | null;
  readonly buckets: readonly [number, number, number];
}

interface Step {
  readonly wait: number;
  readonly engines: readonly (EngineStep | null)[];
}

/** Mostly small steps up, sometimes a fall to nearly nothing. */
const change = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 0, max: 20 }) },
  { weight: 1, arbitrary: fc.constant(-1) },
);
const maybe = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(of, { freq: 6 });
const engineStep: fc.Arbitrary<EngineStep> = fc.record({
  tokens: change,
  preemptions: maybe(change),
  stopped: maybe(change),
  aborted: maybe(change),
  buckets: fc.tuple(change, change, change),
});
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    wait: fc.constantFrom(0.5, 2, 2.25, 10, 29, 61, 100),
    engines: fc.array(maybe(engineStep), { minLength: 2, maxLength: 2 }),
  }),
  { minLength: 2, maxLength: 12 },
);

/** Adds up the changes: what a server says that sometimes begins anew. */
function play(all: readonly Step[]): HistoryPoint[] {
  const totals = new Map<string, number>();
  const count = (key: string, by: number): number => {
    const total = by < 0 ? 0 : (totals.get(key) ?? 0) + by;
    totals.set(key, total);
    return total;
  };
  let at = 0;
  return all.map(({ wait, engines }) => {
    const text = engines.map((engine, i) => {
      if (engine === null) return "";
      const { tokens, preemptions, stopped, aborted, buckets } = engine;
      const low = count(`${i} low`, buckets[0]);
      const middle = low + count(`${i} middle`, buckets[1]);
      const series: Series[] = [
        ["generation_tokens_total", count(`${i} tokens`, tokens)],
        ...writeHistogram("time_to_first_token_seconds", [1, 2], {
          counts: [low, middle, middle + count(`${i} high`, buckets[2])],
          sum: middle,
        }),
      ];
      if (preemptions !== null) {
        series.push(["num_preemptions_total", count(`${i} preemptions`, preemptions)]);
      }
      if (stopped !== null) {
        series.push([
          'request_success_total{finished_reason="stop"}',
          count(`${i} stop`, stopped),
        ]);
      }
      if (aborted !== null) {
        series.push([
          'request_success_total{finished_reason="abort"}',
          count(`${i} abort`, aborted),
        ]);
      }
      return writeEngine(series, { engine: String(i) });
    }).join("");
    return readPoint(at += wait, text);
  });
}

function assertNothingFell({ span, counters, labelled, latencies }: Delta): void {
  assert(span > 0, `span ${span}`);
  for (const key of COUNTER_KEYS) assert((counters[key].value ?? 0) >= 0, key);
  for (const family of Object.values(labelled)) {
    for (const [child, value] of family) assert(value >= 0, child);
  }
  for (const key of LATENCY_KEYS) {
    assert([...latencies[key].value?.counts ?? []].every((value) => value >= 0), key);
    assert(reasonOf(latencies[key]) !== "restarted", key);
  }
}

Deno.test("computeReplicas() never counts backwards, whatever falls, leaves or joins", () => {
  fc.assert(
    fc.property(steps, (all) => {
      let history = startHistory();
      for (const point of play(all)) {
        history = appendSample(history, point);
        for (const { lastPoll, lastMinute } of computeReplicas(history)) {
          if (isPresent(lastPoll)) assertNothingFell(lastPoll.value);
          if (isPresent(lastMinute)) assertNothingFell(lastMinute.value);
        }
      }
    }),
    { numRuns: 1500 },
  );
});

Deno.test("computeReplicas() gives a minute that is the sum of its polls", () => {
  const increments = fc.array(
    fc.record({ wait: fc.integer({ min: 1, max: 5 }), tokens: fc.integer({ min: 0, max: 500 }) }),
    { minLength: 2, maxLength: 12 },
  );
  fc.assert(
    fc.property(increments, (all) => {
      let history = follow(countTokens(0, 0));
      let at = 0;
      let tokens = 0;
      let sum = 0;
      let spans = 0;
      for (const step of all) {
        at += step.wait;
        tokens += step.tokens;
        history = appendSample(history, countTokens(at, tokens));
        const [span, increase] = readIncrease(readOne(history).lastPoll);
        assertEquals([span, increase], [step.wait, step.tokens]);
        sum += increase;
        spans += span;
        assertEquals(readIncrease(readOne(history).lastMinute), [spans, sum]);
      }
    }),
    { numRuns: 200 },
  );
});

// ---- Gauges and movement.

function sayGauges(at: number, running: number, more: readonly Series[] = []): HistoryPoint {
  return readPoint(at, writeEngine([["num_requests_running", running], ...more]));
}

Deno.test("computeReplicas() weights the means of gauges by time", () => {
  const { means } = readOne(follow(sayGauges(0, 0), sayGauges(2, 4), sayGauges(12, 4)));
  // A straight line from 0 to 4 over 2 s, then 4 for 10 s.
  assertEquals(means.running, { value: (2 * 2 + 10 * 4) / 12 });
  assertEquals(means.waiting, { value: null, reason: "missing" });
  assertEquals(readOne(follow(sayGauges(0, 3))).means.running, {
    ...{ value: null, reason: "first_scrape" },
  });
});

Deno.test("computeReplicas() gives the mean of a constant at any intervals, and means within the extremes", () => {
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.double({ min: 0.1, max: 25, noNaN: true }), fc.nat(20)), {
      ...{ minLength: 2, maxLength: 20 },
    }),
    fc.nat(20),
    (steps, constant) => {
      let at = 0;
      const moments = steps.map(([wait, running]) => ({ at: at += wait, running }));
      const varied = readOne(follow(...moments.map((one) => sayGauges(one.at, one.running))));
      const values = moments.map(({ running }) => running);
      const mean = valueOf(varied.means.running);
      assert(mean >= Math.min(...values) - 1e-9 && mean <= Math.max(...values) + 1e-9);
      const flat = readOne(follow(...moments.map((one) => sayGauges(one.at, constant))));
      assertAlmostEquals(valueOf(flat.means.running), constant, 1e-9);
    },
  ));
});

Deno.test("computeReplicas() keeps a minute of samples, starting over at a restart", () => {
  let history = startHistory();
  for (let at = 0; at <= 200; at += 2) history = appendSample(history, countTokens(at, at));
  const { trace } = readOne(history);
  assertEquals([trace[0].at, trace[trace.length - 1].at, trace.length], [140, 200, 31]);
  const restarted = readOne(appendSample(history, countTokens(202, 1)));
  assertEquals(restarted.trace.map(({ at }) => at), [202]);
});

Deno.test("computeReplicas() reports since when an engine with work made no progress", () => {
  const say = (at: number, running: number, tokens: number, kv = 0.5) =>
    sayGauges(at, running, [["generation_tokens_total", tokens], ["kv_cache_usage_perc", kv]]);
  const read = (...points: HistoryPoint[]) => {
    const { movedAt, standstill } = readOne(follow(...points));
    return [movedAt, standstill];
  };
  assertEquals(read(say(0, 1, 5)), [0, 0]);
  assertEquals(read(say(0, 1, 5), say(20, 1, 5)), [0, 20]);
  assertEquals(read(say(0, 1, 5), say(10, 1, 6), say(20, 1, 6)), [10, 10]);
  // What counts is the whole time, not the last minute alone.
  const stuck = Array.from({ length: 10 }, (_, i) => say(i * 20, 1, 5));
  assertEquals(read(...stuck), [0, 60]);
  // Nothing to do is no standstill, and a request that has just come none yet.
  assertEquals(read(say(0, 0, 5), say(40, 0, 5), say(42, 1, 5)), [40, 2]);
  // A long prompt fills the KV cache before anything is counted.
  assertEquals(read(say(0, 1, 5), say(10, 1, 5, 0.6), say(20, 1, 5, 0.7)), [20, 0]);
  // It stood still once, and goes on.
  assertEquals(read(say(0, 1, 5), say(30, 1, 5), say(32, 1, 9)), [32, 30]);
});

Deno.test("computeReplicas() counts sleep as a standstill", () => {
  const say = (at: number, isAsleep: number) =>
    sayGauges(at, 0, [['engine_sleep_state{sleep_state="weights_offloaded"}', isAsleep]]);
  assertEquals(readOne(follow(say(0, 0), say(10, 1), say(30, 1), say(32, 0))).standstill, 32);
});
