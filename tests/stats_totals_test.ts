import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Scrape } from "../lib/model.ts";
import { computeFigures } from "../lib/stats_aggregate.ts";
import { PEAK_KEYS } from "../lib/stats_series.ts";
import {
  addScrape,
  continueIdleness,
  getPeakValues,
  joinPeakValues,
  joinTotals,
  listEngineTotals,
  listTotals,
  NO_IDLENESS,
  NO_PEAKS,
  NO_TOTALS,
  type PeakValues,
  recordPeaks,
  type ServerTotals,
  sumTotals,
} from "../lib/stats_totals.ts";
import {
  appendSample,
  computeReplicas,
  type EndpointHistory,
  startHistory,
} from "../lib/stats_window.ts";
import {
  encode,
  readEngine,
  readPoint,
  type Series,
  START_EPOCH,
  writeEngine,
} from "./fixtures/expositions.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

/** A scrape that says the text at that moment. */
function createScrape(at: number, text: string): Scrape {
  return {
    ...parseEngineMetrics(encode(text)),
    ...{ endpointKey: "http://a:1", receivedAt: at, receivedAtEpoch: START_EPOCH + at },
    ...{ duration: 0.01, bytes: 1, redirectedTo: null },
  };
}

function writeTokens(tokens: number, engine = "0", more: readonly Series[] = []): string {
  return writeEngine([["generation_tokens_total", tokens], ...more], { engine });
}

function follow(
  ...scrapes: readonly (readonly [text: string, hasRestarted?: boolean])[]
): ServerTotals {
  return scrapes.reduce<ServerTotals>(
    (totals, [text, hasRestarted = false], i) =>
      addScrape(totals, createScrape(2 * i, text), {
        continuity: hasRestarted ? "restarted" : "same",
      }),
    NO_TOTALS,
  );
}

function sumTokens(totals: ServerTotals): number | null {
  return sumTotals(listEngineTotals(totals)).generationTokens.value;
}

Deno.test("addScrape() counts from the start of the session", () => {
  assertEquals(sumTokens(follow([writeTokens(1000)])), 0);
  assertEquals(sumTokens(follow([writeTokens(1000)], [writeTokens(1030)])), 30);
});

Deno.test("addScrape() counts everything since a restart, seen or not", () => {
  const before = [[writeTokens(1000)], [writeTokens(1030)]] as const;
  assertEquals(sumTokens(follow(...before, [writeTokens(7), true])), 37);
  // It has counted more since than it had before: only the start time told.
  assertEquals(sumTokens(follow(...before, [writeTokens(2000), true])), 2030);
  // A counter that fell began anew, whatever else is known.
  assertEquals(sumTokens(follow(...before, [writeTokens(7)])), 37);
});

Deno.test("addScrape() continues after a metric was missing", () => {
  const without = writeEngine([["num_requests_running", 0]]);
  assertEquals(sumTokens(follow([writeTokens(10)], [without], [writeTokens(25)])), 15);
  // After a restart it had counted nothing when it was not there.
  assertEquals(
    sumTokens(follow([writeTokens(10)], [without, true], [writeTokens(25)])),
    25,
  );
});

Deno.test("addScrape() counts requests from 0 if the first one makes their metric", () => {
  const declared = "# TYPE vllm:request_success_total counter\n";
  const count = (first: string): number | null => {
    const finished = writeTokens(9, "0", [['request_success_total{finished_reason="stop"}', 3]]);
    const totals = follow([first + writeTokens(1)], [declared + finished]);
    return sumTotals(listEngineTotals(totals)).requests.value;
  };
  assertEquals(count(declared), 3);
  assertEquals(count(""), 0);
});

Deno.test("addScrape() counts a new engine from its current value, or from 0 if it started since", () => {
  const both = (created: number) =>
    writeTokens(10) +
    writeTokens(500, "1", [["generation_tokens_created", created]]);
  assertEquals(sumTokens(follow([writeTokens(10)], [both(START_EPOCH - 60)])), 0);
  assertEquals(sumTokens(follow([writeTokens(10)], [both(START_EPOCH + 1)])), 500);
});

Deno.test("addScrape() keeps the counts of engines that left", () => {
  const both = (a: number, b: number) => writeTokens(a) + writeTokens(b, "1");
  const gone = follow([both(0, 0)], [both(5, 7)], [writeTokens(6)]);
  assertEquals(sumTokens(gone), 13);
});

Deno.test("addScrape() stays bounded when engines come and go", () => {
  let totals = NO_TOTALS;
  let last = 0;
  for (let i = 0; i < 1500; i++) {
    const scrape = createScrape(2 * i, writeTokens(3, `x${i}`) + writeTokens(i));
    totals = addScrape(totals, scrape, { continuity: "same" });
    const sum = sumTokens(totals) ?? NaN;
    assert(sum >= last);
    last = sum;
  }
  assert(totals.engines.size <= 512, `${totals.engines.size}`);

  assertEquals(last, 1499);
});

Deno.test("addScrape() counts rejections of the server, also if they appear later", () => {
  const reject = (count: number) =>
    writeEngine([['admission_rejections_total{reason="max_num_queued_reqs"}', count]], {
      engine: null,
    });
  const rejections = (totals: ServerTotals) => totals.server?.counted.rejections.value ?? null;
  assertEquals(rejections(follow([writeTokens(1)])), null);
  assertEquals(rejections(follow([writeTokens(1) + reject(4)])), 0);
  assertEquals(rejections(follow([writeTokens(1)], [writeTokens(2) + reject(4)])), 4);
  const later = follow([writeTokens(1) + reject(4)], [writeTokens(2) + reject(9)]);
  assertEquals(rejections(later), 5);
});

Deno.test("joinTotals() keeps only the sums of both", () => {
  const both = (a: number, b: number) => writeTokens(a) + writeTokens(b, "1");
  const one = follow([both(0, 0)], [both(5, 7)]);
  const other = addScrape(
    addScrape(NO_TOTALS, createScrape(-9, writeTokens(10)), { continuity: "same" }),
    createScrape(-7, writeTokens(13)),
    { continuity: "same" },
  );
  const joined = joinTotals(joinTotals(NO_TOTALS, one), other);
  assertEquals(listTotals(joined).map(({ since }) => since), [-9]);
  assertEquals(sumTokens(joined), 15);
  assertEquals(listTotals(joinTotals(NO_TOTALS, NO_TOTALS)), []);
});

Deno.test("addScrape() gives sums that never fall and equal their parts, over any restarts and gaps", () => {
  const arbitraryStep = fc.record({
    engines: fc.array(
      fc.record({ increase: fc.nat(50), isAway: fc.boolean(), restarts: fc.boolean() }),
      { minLength: 3, maxLength: 3 },
    ),
  });
  fc.assert(fc.property(fc.array(arbitraryStep, { minLength: 1, maxLength: 20 }), (steps) => {
    const counters = [100, 200, 300];
    const truth = [0, 0, 0];
    const known = [false, false, false];
    let totals = NO_TOTALS;
    let last = 0;
    steps.forEach(({ engines }, i) => {
      // All engines of a server restart together.
      const hasRestarted = i > 0 && engines[0].restarts;
      let text = writeEngine([["num_requests_running", 0]], { engine: "9" });
      engines.forEach(({ increase, isAway }, e) => {
        if (hasRestarted) counters[e] = 0;
        counters[e] += increase;
        if (known[e] || hasRestarted) truth[e] += increase;
        if (isAway && i > 0) return;
        known[e] = true;
        text += writeTokens(counters[e], `${e}`);
      });
      totals = addScrape(totals, createScrape(2 * i, text), {
        continuity: hasRestarted ? "restarted" : "same",
      });
      const parts = listEngineTotals(totals);
      const sum = sumTotals(parts).generationTokens.value ?? 0;
      assert(sum >= last, "it fell");
      last = sum;
      const added = parts.reduce(
        (total, { counted }) => total + (counted.generationTokens.value ?? 0),
        0,
      );
      assertEquals(sum, added);
      // What was counted while an engine was away is added when it is back.
      assert(sum <= truth.reduce((a, b) => a + b, 0));
    });
    const isHere = steps[steps.length - 1].engines.every(({ isAway }) => !isAway);
    const wereAway = steps.some(({ engines }, i) => i > 0 && engines.some(({ isAway }) => isAway));
    if (isHere && !wereAway) assertEquals(last, truth.reduce((a, b) => a + b, 0));
  }));
});

const NO_VALUES: PeakValues = {
  ...{ running: null, waiting: null, kvCacheUsageRatio: null },
  ...{ promptTokensPerSecond: null, generationTokensPerSecond: null },
};

Deno.test("recordPeaks() keeps the highest value and when it was first reached", () => {
  const peaks = [3, 7, 7, 5].reduce(
    (known, running, i) =>
      recordPeaks(known, { ...NO_VALUES, running }, { at: i, epoch: START_EPOCH + i }),
    NO_PEAKS,
  );
  assertEquals(peaks.running, { value: 7, at: 1, atEpoch: START_EPOCH + 1 });
  assertEquals(peaks.waiting, null);
  assert(recordPeaks(peaks, { ...NO_VALUES, running: 7 }, { at: 9, epoch: 9 }) === peaks);
});

Deno.test("getPeakValues() has no peak of a rate over less than the shortest interval", () => {
  const read = (span: number) => {
    const history = [0, 1].reduce<EndpointHistory>(
      (known, i) =>
        appendSample(
          known,
          readPoint(
            span * i,
            writeEngine([["num_requests_running", 3], ["generation_tokens_total", 9 * i]]),
          ),
        ),
      startHistory(),
    );
    const { running, generationTokensPerSecond } = getPeakValues(
      computeFigures(computeReplicas(history)),
    );
    return [running, generationTokensPerSecond];
  };
  assertEquals(read(0.45), [3, 20]);
  assertEquals(read(0.44), [3, null]);
});

Deno.test("joinPeakValues() gives the peak of the sum, not the sum of the peaks", () => {
  const moments = [[8, 1], [1, 8], [4, 4]];
  const peaks = moments.reduce(
    (known, values, at) =>
      recordPeaks(
        known,
        joinPeakValues(values.map((running) => ({ ...NO_VALUES, running }))),
        { at, epoch: START_EPOCH + at },
      ),
    NO_PEAKS,
  );
  assertEquals(peaks.running?.value, 9);
  const full = { ...NO_VALUES, kvCacheUsageRatio: 0.9 };
  const half = { ...NO_VALUES, kvCacheUsageRatio: 0.5 };
  assertEquals(joinPeakValues([half, full, NO_VALUES]).kvCacheUsageRatio, 0.9);
  assertEquals(PEAK_KEYS.map((key) => joinPeakValues([])[key]), PEAK_KEYS.map(() => null));
});

Deno.test("addScrape() counts cached prompt tokens by either of their metrics", () => {
  const count = (texts: readonly string[]): number | null => {
    const totals = texts.reduce<ServerTotals>(
      (known, text, i) => addScrape(known, createScrape(2 * i, text), { continuity: "same" }),
      NO_TOTALS,
    );
    return sumTotals(listEngineTotals(totals)).cachedPromptTokens.value;
  };
  const bySource = (computed: number, local: number, external: number) =>
    writeTokens(1, "0", [
      ['prompt_tokens_by_source_total{source="local_compute"}', computed],
      ['prompt_tokens_by_source_total{source="local_cache_hit"}', local],
      ['prompt_tokens_by_source_total{source="external_kv_transfer"}', external],
    ]);
  assertEquals(count([bySource(10, 1, 2), bySource(30, 5, 9)]), 11);
  const counter = (tokens: number) => writeTokens(1, "0", [["prompt_tokens_cached_total", tokens]]);
  assertEquals(count([counter(4), counter(9)]), 5);
  assertEquals(count([writeTokens(1), writeTokens(2)]), null);
});

const engine = (running: number | null, tokens: number, waiting = 0) => {
  const gauges: readonly Series[] = running === null
    ? []
    : [["num_requests_running", running], ["num_requests_waiting", waiting]];
  return readEngine(writeEngine([...gauges, ["generation_tokens_total", tokens]]));
};

Deno.test("continueIdleness() counts time in which nothing ran and nothing was counted", () => {
  const rests = engine(0, 7);
  const known = continueIdleness(NO_IDLENESS, { before: rests, now: rests, span: 2 });
  assertEquals(known, { span: 2, idle: 2 });
  assertEquals(continueIdleness(known, { before: rests, now: rests, span: 3 }), {
    span: 5,
    idle: 5,
  });
});

Deno.test("continueIdleness() is busy if anything ran, waited or was counted", () => {
  for (
    const [before, now] of [
      [engine(1, 7), engine(0, 7)],
      [engine(0, 7), engine(1, 7)],
      [engine(0, 7), engine(0, 7, 1)],
      [engine(0, 7), engine(0, 8)],
    ]
  ) {
    assertEquals(continueIdleness(NO_IDLENESS, { before, now, span: 2 }), { span: 2, idle: 0 });
  }
});

Deno.test("continueIdleness() omits unknown time", () => {
  const rests = engine(0, 7);
  const mute = engine(null, 7);
  for (
    const step of [
      { before: undefined, now: rests, span: 2 },
      { before: rests, now: mute, span: 2 },
      { before: rests, now: rests, span: 0 },
      { before: rests, now: rests, span: -1 },
      { before: rests, now: rests, span: -Infinity },
    ]
  ) {
    assertEquals(continueIdleness(NO_IDLENESS, step), NO_IDLENESS);
  }
});

Deno.test("continueIdleness() never has more idle than watched time", () => {
  const steps = fc.array(fc.tuple(fc.nat({ max: 1 }), fc.nat({ max: 1 }), fc.nat({ max: 9 })));
  fc.assert(fc.property(steps, (all) => {
    let known = NO_IDLENESS;
    let before = engine(0, 0);
    let tokens = 0;
    for (const [running, more, span] of all) {
      const now = engine(running, tokens += more);
      const next = continueIdleness(known, { before, now, span });
      assert(next.idle >= known.idle && next.span >= known.span);
      assert(next.idle <= next.span);
      [known, before] = [next, now];
    }
  }));
});
