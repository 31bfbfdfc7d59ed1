import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { parseRanks } from "../lib/dialect.ts";
import { type EngineSample, listMetrics } from "../lib/model.ts";
import { absent, present } from "../lib/reading.ts";
import { computeFigures } from "../lib/stats_aggregate.ts";
import {
  appendSample,
  computeReplicas,
  type ReplicaSample,
  startHistory,
} from "../lib/stats_window.ts";
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

Deno.test("computeFigures() of SGLang: missing figures are unsupported, and make no sum partial", async () => {
  const { lifetime, lastPoll } = computeFigures([await follow(2)]);
  assertEquals(lifetime.generationTokens, absent("unsupported"));
  assertEquals(lastPoll.requestsPerSecond, absent("unsupported"));
  assertEquals(lastPoll.latency.prefill.p50, absent("unsupported"));
});

Deno.test("parseEngineMetrics() lists all that SGLang exports, known or not", async () => {
  const { engines: [{ metrics }] } = parseEngineMetrics(await readGzip(SCRAPES[2][0]));
  const listed = listMetrics(metrics);
  const find = (name: string) => listed.filter((metric) => metric.name === `sglang:${name}`);
  assertEquals(find("num_requests_total").map(({ value }) => value), [34]);
  assertEquals(find("realtime_tokens_total").map(({ value }) => value), [5678, 5422, 1711]);
  assertEquals(find("inter_token_latency_seconds")[0].value, 1708);
});

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
