import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { parseRanks } from "../lib/dialect.ts";
import { type EngineSample, listMetrics } from "../lib/model.ts";
import { absent, present } from "../lib/reading.ts";
import { computeFigures } from "../lib/stats_aggregate.ts";
import { addPoll, closeTally, startTally } from "../lib/stats_tally.ts";
import {
  appendSample,
  computeReplicas,
  type ReplicaSample,
  startHistory,
} from "../lib/stats_window.ts";
import { assertLatency, assertRates, watchComposed } from "./fixtures/engines.ts";
import { encode, readGzip } from "./fixtures/expositions.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

// Receipts as the recording's log has them.
const SCRAPES = [
  ["fixtures/sglang-0.5.23/007.prom.gz", 14.020458],
  ["fixtures/sglang-0.5.23/008.prom.gz", 16.012513],
  ["fixtures/sglang-0.5.23/020.prom.gz", 40.030083],
] as const;

async function follow(count: number): Promise<ReplicaSample> {
  let history = startHistory();
  for (const [path, at] of SCRAPES.slice(0, count)) {
    const { engines, processStart } = parseEngineMetrics(await readGzip(path));
    history = appendSample(history, { at, engines, processStart });
  }
  const [replica, ...others] = computeReplicas(history);
  assertEquals(others, []);
  return replica;
}

Deno.test("parseEngineMetrics() parses SGLang's gauges", async () => {
  const bodies = await Promise.all(SCRAPES.map(([path]) => readGzip(path)));
  assertEquals(
    bodies.map((body) => {
      const { engines: [{ modelName, engine, gauges, kvCacheCapacity, server }] } =
        parseEngineMetrics(body);
      const { running, waiting, kvCacheUsageRatio } = gauges;
      const figures = [running, waiting, kvCacheUsageRatio, kvCacheCapacity];
      return [server.name, modelName, engine, ...figures.map(({ value }) => value)];
    }),
    [
      ["SGLang", "small-llama", "", 6, 0, 0.08, 16_384],
      ["SGLang", "small-llama", "", 2, 0, 0.04, 16_384],
      ["SGLang", "small-llama", "", 2, 0, 0.04, 16_384],
    ],
  );
});

/** Quantiles by promtool (`histogram_quantile` of the difference), means and counts by arithmetic over the text. */
const EXPECTED = [
  {
    scrapes: 2,
    span: 1.992055,
    ttft: { samples: 2, mean: 0.10054970900000626, quantiles: ["<0.1", 0.19, 0.198] },
    itl: {
      samples: 198,
      mean: 0.05815215224749703,
      quantiles: [0.05607843137254902, 0.09849999999999999, 0.17800000000000013],
    },
  },
  {
    scrapes: 3,
    span: 26.009625,
    ttft: {
      samples: 25,
      mean: 0.11150146859996311,
      quantiles: [0.13421052631578947, 0.19342105263157897, 0.1986842105263158],
    },
    itl: {
      samples: 1293,
      mean: 0.04319372222428311,
      quantiles: [0.03832222222222222, 0.07819999999999998, 0.1668461538461537],
    },
  },
] as const;

for (const { scrapes, span, ...latencies } of EXPECTED) {
  Deno.test(`computeFigures() of SGLang equals Prometheus' TTFT and ITL for the minute after ${scrapes} scrapes`, async () => {
    const { lastMinute } = computeFigures([await follow(scrapes)]);
    assertAlmostEquals(lastMinute.span.value ?? 0, span, 1e-9);
    for (const key of ["ttft", "itl"] as const) {
      const { p50, p95, p99, mean, samples } = lastMinute.latency[key];
      const expected = latencies[key];
      assertEquals(samples, present(expected.samples));
      assertAlmostEquals(mean.value ?? 0, expected.mean, 1e-9);
      [p50, p95, p99].forEach(({ value }, i) => {
        const wanted = expected.quantiles[i];
        assert(value !== null);
        if (typeof wanted === "string") assertEquals(`${value.bound}${value.value}`, wanted);
        else assertAlmostEquals(value.value, wanted, 1e-9);
      });
    }
  });
}

for (const folder of ["sglang-0.4.6", "sglang-0.5.23-dp-attention", "sglang-0.5.23-dp2-tp2"]) {
  Deno.test(`computeFigures() of ${folder} equals the figures of its requests`, async () => {
    const watched = await watchComposed(folder);
    const { figures, replicas, expected } = watched;
    assertEquals(figures.running.value, expected.running);
    assertEquals(figures.waiting.value, expected.waiting);
    const usage = expected.kvCacheUsageRatioMax ?? expected.kvCacheUsageRatio;
    assertEquals(figures.kvCache.maxRatio.value, usage);
    assertEquals(figures.kvCache.capacityTokens.value, expected.kvCapacityTokens);
    // The composed counter of steps has the 12 first tokens, which those of real servers lack.
    const more = replicas[0].sample.server.tokensAreBooked === "step" ? 1.2 : 0;
    const generationTokensPerSecond = expected.generationTokensPerSecond + more;
    assertRates({ ...watched, expected: { ...expected, generationTokensPerSecond } });
    for (const key of ["ttft", "itl", "e2e"] as const) assertLatency(watched, key, expected[key]);
    // Ranks lack what all count together: no gap.
    assertEquals("partial" in figures.lastPoll.generationTokensPerSecond, false);
    assertEquals("partial" in figures.lastPoll.requestsPerSecond, false);
  });
}

for (const folder of ["sglang-0.5.23-dp-attention", "sglang-0.5.23-dp2-tp2"]) {
  Deno.test(`${folder}: each data-parallel rank once, and what all count together once`, async () => {
    const watched = await watchComposed(folder);
    const { replicas, figures, expected } = watched;
    assertEquals(
      replicas.map(({ sample: { engine, isShared, gauges } }) => [
        engine,
        isShared,
        gauges.running.value,
        gauges.waiting.value,
        gauges.kvCacheUsageRatio.value,
      ]),
      [
        ["all ranks", true, null, null, null],
        ...Object.entries(expected.engines).map(([engine, gauges]) => [
          engine,
          undefined,
          ...Object.values(gauges as Record<string, number>),
        ]),
      ],
    );
    assertEquals(figures.replicaCount, 2);
    for (const key of ["tpot", "queue"] as const) assertLatency(watched, key, expected[key]);
    const aborted = replicas.map(({ lastPoll }) => lastPoll.value?.counters.failedRequests.value);
    assertEquals(aborted, [10 * expected.abortedPerSecond, null, null]);
    // Of first tokens, no rank has its own.
    const rates = replicas.map((one) =>
      computeFigures([one]).lastPoll.generationTokensPerSecond.value ?? NaN
    );
    assertEquals(rates[0], 1.2);
    assertAlmostEquals(rates[1] + rates[2], 116.8, 1e-9);
    assertEquals(
      computeFigures(replicas.slice(1)).lastPoll.latency.ttft.p50,
      absent("unsupported"),
    );
    assertEquals(replicas[0].sample.server.tokensAreBooked, "step");
  });
}

Deno.test("computeFigures() of SGLang 0.4.6: tokens of finished requests, over the last minute", async () => {
  const { figures, replicas } = await watchComposed("sglang-0.4.6");
  const { generationTokensPerSecond, promptTokensPerSecond } = figures.lastPoll;
  assertEquals(replicas[0].sample.server.tokensAreBooked, "finish");
  assertEquals(generationTokensPerSecond, { value: 110.8, isOverMinute: true });
  assertEquals(promptTokensPerSecond, { value: 894.4, isOverMinute: true });
  assertEquals(figures.lifetime.latency.queue.p50, absent("missing"));
  assertEquals(figures.lifetime.preemptions, absent("missing"));
});

Deno.test("parseEngineMetrics() counts SGLang's tokens as its client did", async () => {
  const { engines: [engine] } = parseEngineMetrics(
    await readGzip("fixtures/sglang-0.5.23/033.prom.gz"),
  );
  const read = (engines: readonly EngineSample[]) =>
    [...["promptTokens", "generationTokens"] as const, "cachedPromptTokens" as const].map((key) =>
      engines.reduce((sum, { counters }) => sum + (counters[key].value ?? 0), 0)
    );
  // 40 requests of 300 and 50 tokens; of the server's log, 5,872 cached.
  assertEquals(read([engine]), [12_000, 2_000, 5_872]);
  assertEquals(engine.labelled.finishedByReason, new Map([["all", 40]]));
  // 24 requests of 400 and 80 tokens, to two data-parallel ranks.
  const { engines } = parseEngineMetrics(
    await readGzip("fixtures/sglang-0.5.23/dp2-025.prom.gz"),
  );
  assertEquals(engines.map(({ engine }) => engine), ["all ranks", "0", "1"]);
  assertEquals(read(engines), [9_600, 1_920, 5]);
});

Deno.test("parseEngineMetrics() of SGLang: a lower rank takes the place of one before it", () => {
  const write = (rank: number, tokens: number) =>
    `realtime_tokens_total{mode="decode",model_name="m",tp_rank="${rank}"} ${tokens}`;
  for (const order of [[2, 10, 0], [0, 2, 10], [10, 0, 2]]) {
    const first = 'time_to_first_token_seconds_count{model_name="m"} 0';
    const [{ counters }] = readText(first, ...order.map((rank) => write(rank, 100 + rank)));
    assertEquals(counters.generationTokens, present(100), order.join(" "));
  }
});

Deno.test("parseEngineMetrics() of SGLang: what it cannot tell has a reason, and is no figure", () => {
  const running = 'num_running_reqs{model_name="m"} 1';
  const read = (...lines: readonly string[]) => readText(running, ...lines)[0];
  // Without the mode, prompt and output are one.
  const unnamed = read('realtime_tokens_total{model_name="m"} 9');
  assertEquals(unnamed.counters.promptTokens, absent("initializing"));
  assertEquals(unnamed.counters.generationTokens, absent("initializing"));
  const lost = read('generation_tokens_total{model_name="m"} NaN', 'token_usage{model_name="m"} 7');
  assertEquals(lost.counters.generationTokens, absent("not_finite"));
  assertEquals(lost.gauges.kvCacheUsageRatio, absent("invalid"));
  const renamed = read('tokens_generated_total{model_name="m"} 9');
  assertEquals(renamed.counters.generationTokens, absent("missing"));
  assertEquals(renamed.counters.prefixCacheHits, absent("missing"));
  // Without its first tokens, a count of steps is too low.
  const cut = read('realtime_tokens_total{mode="decode",model_name="m"} 9');
  assertEquals(cut.counters.generationTokens, absent("missing"));
});

Deno.test("parseEngineMetrics() of SGLang: a cache without a hit so far, or without a miss", () => {
  const read = (mode: string) => {
    const { counters } = readText(
      'num_running_reqs{model_name="m"} 1',
      'time_to_first_token_seconds_count{model_name="m"} 1',
      'realtime_tokens_total{mode="prefill_compute",model_name="m"} 100',
      `prefill_effective_tokens_total{mode="${mode}",model_name="m"} 100`,
    )[0];
    return [counters.prefixCacheHits, counters.prefixCacheQueries];
  };
  assertEquals(read("input"), [present(0), present(100)]);
  assertEquals(read("device_hit"), [present(100), present(100)]);
});

Deno.test("parseEngineMetrics() lists all that SGLang exports, known or not", async () => {
  const { engines: [{ metrics }] } = parseEngineMetrics(await readGzip(SCRAPES[2][0]));
  const listed = listMetrics(metrics);
  const find = (name: string) => listed.filter((metric) => metric.name === `sglang:${name}`);
  assertEquals(find("num_requests_total").map(({ value }) => value), [34]);
  assertEquals(find("realtime_tokens_total").map(({ value }) => value), [5678, 5422, 1711]);
  assertEquals(find("inter_token_latency_seconds")[0].value, 1708);
});

Deno.test("computeReplicas() of SGLang takes a new series beside modes of one family for no restart", () => {
  const modes = (count: number) =>
    [["prefill_compute", 10], ["decode", 500]].map(([mode, base]) =>
      `realtime_tokens_total{mode="${mode}",model_name="m"} ${Number(base) + count}`
    );
  const first = 'time_to_first_token_seconds_count{model_name="m"} 9';
  const { lastPoll } = watch(
    [first, ...modes(0)],
    [first, ...modes(3), 'num_requests_total{model_name="m"} 1'],
  );
  assertEquals(lastPoll.value?.counters.generationTokens, present(3));
});

Deno.test("tallies of SGLang divide prompt tokens by all requests, streamed or not", () => {
  const write = (tokens: number, requests: number) => [
    'num_running_reqs{model_name="m"} 1',
    `realtime_tokens_total{mode="prefill_compute",model_name="m"} ${tokens}`,
    `num_requests_total{model_name="m"} ${requests}`,
    `time_to_first_token_seconds_count{is_streaming="true",model_name="m"} ${requests / 2}`,
  ];
  const tally = startTally(0, 600);
  addPoll(tally, { key: "r", epoch: 10, replica: watch(write(0, 0), write(400, 4)) });
  const side = closeTally(tally, absent("off"));
  assertEquals(side?.whole.sums.prompts, present(4));
  assertEquals(side?.whole.sums.promptTokens, present(400));
});

function watch(...bodies: readonly (readonly string[])[]): ReplicaSample {
  const history = bodies.reduce(
    (known, lines, i) =>
      appendSample(known, {
        at: 10 * i,
        engines: readText(...lines),
        processStart: absent("missing"),
      }),
    startHistory(),
  );
  return computeReplicas(history)[0];
}

function readText(...lines: readonly string[]): readonly EngineSample[] {
  return parseEngineMetrics(encode(lines.map((line) => `sglang:${line}\n`).join(""))).engines;
}

Deno.test("parseEngineMetrics() makes engines of SGLang's data-parallel ranks only", () => {
  const write = (labels: string, running: number) =>
    `num_running_reqs{model_name="m",${labels}} ${running}`;
  const engines = readText(
    write('dp_rank="0",tp_rank="0"', 3),
    write('dp_rank="0",tp_rank="1"', 3),
    write('dp_rank="1",tp_rank="2"', 5),
  );
  assertEquals(engines.map(({ engine, gauges }) => [engine, gauges.running.value]), [
    ["0", 3],
    ["1", 5],
  ]);
});

Deno.test("parseEngineMetrics() uses SGLang's TTFT of streamed requests, if exported apart", () => {
  const write = (labels: string, counts: readonly [number, number]): string[] => [
    `time_to_first_token_seconds_bucket{le="1",model_name="m"${labels}} ${counts[0]}`,
    `time_to_first_token_seconds_bucket{le="+Inf",model_name="m"${labels}} ${counts[1]}`,
  ];
  const read = (...lines: readonly string[]) => {
    const [{ histograms }] = readText('num_running_reqs{model_name="m"} 1', ...lines);
    return [...histograms.ttft?.counts ?? []];
  };
  const streamed = write(',is_streaming="true"', [2, 3]);
  assertEquals(read(...streamed, ...write(',is_streaming="false"', [0, 9])), [2, 3]);
  assertEquals(read(...write("", [4, 5])), [4, 5]);
});

Deno.test("parseRanks() finds ranks in the titles of SGLang's schedulers", () => {
  assertEquals(parseRanks("sglang::scheduler_DP1_TP3"), { data: 1, tensor: 3 });
  assertEquals(parseRanks("sglang::scheduler_TP0_PP1"), { tensor: 0, pipeline: 1 });
  assertEquals(parseRanks("sglang::detokenizer"), {});
});
