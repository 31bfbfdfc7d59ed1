import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { VLLM_METRIC_ROWS } from "../lib/dialect_vllm_metrics.ts";
import { computeQuantile as computeBucketQuantile } from "../lib/histogram.ts";
import { COUNTER_KEYS, type EngineSample, type HistogramKey } from "../lib/model.ts";
import {
  computeMean,
  computeQuantile,
  computeRate,
  findMetrics,
  type Metric,
  readSnapshot,
  type Snapshot,
  subtractSnapshots,
  type Window,
} from "../lib/snapshot.ts";
import { encode, readGzip } from "./fixtures/expositions.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

const SMALL = `# HELP vllm:num_requests_running Requests.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="m"} 100.0
vllm:generation_tokens_total{engine="1",model_name="m"} 50.0
# TYPE vllm:generation_tokens_created gauge
vllm:generation_tokens_created{engine="0",model_name="m"} 1.7e9
# TYPE vllm:spec_decode_num_accepted_tokens_per_pos_total counter
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="0"} 9.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="2"} 4.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 2.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="1.0",model_name="m"} 6.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 6.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 6.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} 2.5
# TYPE vllm:some_summary summary
vllm:some_summary{quantile="0.5"} 1.0
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7e9
# TYPE python_info gauge
python_info 1.0
`;

function read(body: string | Uint8Array, at = 0): Snapshot {
  return readSnapshot(body, { at });
}

/** A metric without the class of its labels. */
function show(metric: Metric): unknown {
  const { labels, ...others } = metric;
  return { ...others, labels: Object.fromEntries(labels) };
}

function requireWindow(later: Snapshot, earlier: Snapshot): Window {
  const window = subtractSnapshots(later, earlier);
  assert(window.kind === "window");
  return window;
}

Deno.test("readSnapshot() types each series as vLLM's own reader does", () => {
  const snapshot = read(SMALL, 7);
  const labels = { engine: "0", model_name: "m" };
  assertEquals(snapshot.at, 7);
  assertEquals(snapshot.processStart, 1.7e9);
  assertEquals(snapshot.badLines, []);
  assertEquals(snapshot.metrics.map(show), [
    { kind: "gauge", name: "vllm:num_requests_running", labels, value: 3 },
    { kind: "counter", name: "vllm:generation_tokens", labels, value: 100 },
    {
      kind: "counter",
      name: "vllm:generation_tokens",
      labels: { ...labels, engine: "1" },
      value: 50,
    },
    {
      kind: "vector",
      name: "vllm:spec_decode_num_accepted_tokens_per_pos",
      labels,
      values: [9, 0, 4],
    },
    {
      kind: "histogram",
      name: "vllm:time_to_first_token_seconds",
      labels,
      count: 6,
      sum: 2.5,
      buckets: new Map([[0.1, 2], [1, 6], [Infinity, 6]]),
    },
  ]);
});

Deno.test("readSnapshot() gives the same metrics for OpenMetrics and bodies without TYPE lines", () => {
  const expected = read(SMALL).metrics.map(show);
  const openMetrics = SMALL.replaceAll(/(# TYPE .*)_total counter/g, "$1 counter") + "# EOF\n";
  assertEquals(read(openMetrics).metrics.map(show), expected);
  const bare = SMALL.replaceAll(/^#.*\n/gm, "");
  assertEquals(read(bare).metrics.map(show), expected);
});

Deno.test("readSnapshot() counts a repeated series once", () => {
  const twice =
    'vllm:num_requests_running{a="1",b="2"} 1\nvllm:num_requests_running{b="2",a="1"} 5\n';
  assertEquals(read(twice).metrics.map(show), [
    { kind: "gauge", name: "vllm:num_requests_running", labels: { a: "1", b: "2" }, value: 1 },
  ]);
  assertEquals(read(SMALL + SMALL).metrics.map(show), read(SMALL).metrics.map(show));
  const again = SMALL.replaceAll(/(_bucket.*) \S+$/gm, "$1 9");
  assertEquals(read(SMALL + again).metrics.map(show), read(SMALL).metrics.map(show));
  // Two spellings of one bound are two series.
  const [both] = findMetrics(
    read(SMALL + SMALL.replaceAll(/le="0\.1"/g, 'le="1e-1"')),
    "vllm:time_to_first_token_seconds",
  );
  assertEquals(both.kind === "histogram" ? [...both.buckets.values()] : [], [4, 6, 6]);
});

Deno.test("readSnapshot() accepts the same bounds as the program's reader", () => {
  const lines = ["0x10", "0.5", "-Inf", "", "+Inf"].map((le) =>
    `vllm:time_to_first_token_seconds_bucket{engine="0",model_name="m",le="${le}"} 3\n`
  ).join("");
  const running = 'vllm:num_requests_running{engine="0",model_name="m"} 1\n';
  const [metric] = findMetrics(read(lines), "vllm:time_to_first_token_seconds");
  assert(metric.kind === "histogram");
  const [engine] = parseEngineMetrics(encode(running + lines)).engines;
  assertEquals([...metric.buckets.keys()], [0.5, Infinity]);
  assertEquals([...engine.histograms.ttft?.bounds ?? []], [0.5, Infinity]);
});

Deno.test("readSnapshot() accepts a given prefix, and knows Ray's", () => {
  assertEquals(read("ray_vllm_num_requests_running 2\n").metrics.length, 1);
  assertEquals(read("my_num_requests_running 2\n").metrics.length, 0);
  assertEquals(
    readSnapshot("my_num_requests_running 2\n", { at: 0, prefix: "my_" }).metrics.length,
    1,
  );
});

Deno.test("readSnapshot() sanitizes labels, and reports bad lines", () => {
  const body = 'vllm:num_requests_running{model_name="\x1b[2J"} 1\nvllm:num_requests_running{ 1\n';
  const { metrics, badLines } = read(body);
  assertEquals(metrics.map(({ labels }) => labels.get("model_name")), ["\\x1b[2J"]);
  assertEquals(badLines.map(({ line }) => line), [2]);
});

Deno.test("readSnapshot() never throws, whatever the bytes", () => {
  const line = fc.constantFrom(
    ...SMALL.split("\n"),
    "vllm:x_bucket 1",
    "vllm:x_sum{} NaN",
    "{",
    "",
  );
  const mutated = fc.tuple(fc.array(line, { maxLength: 12 }), fc.nat(400), fc.string()).map(
    ([lines, at, text]) => {
      const body = lines.join("\n");
      return body.slice(0, at) + text + body.slice(at + 1);
    },
  );
  fc.assert(
    fc.property(fc.oneof(mutated.map(encode), fc.uint8Array({ maxLength: 200 })), (body) => {
      for (const metric of read(body).metrics) {
        if (metric.kind === "histogram") assertEquals([...metric.buckets.keys()].at(-1), Infinity);
      }
    }),
  );
});

/** Name and figure of every histogram and plain counter of an engine, in the program's own reading. */
function listOwn(engine: EngineSample): readonly (readonly [string, number])[] {
  const histograms = Object.entries(engine.histograms).map(([key, histogram]): [string, number] => {
    const row = VLLM_METRIC_ROWS.find((row) => row.key === key as HistogramKey);
    return [row?.names[0] ?? "", computeBucketQuantile(histogram, 0.95)?.value ?? -1];
  });
  const counters = VLLM_METRIC_ROWS.flatMap((row): [string, number][] => {
    const key = COUNTER_KEYS.find((key) => key === row.key);
    const value = key === undefined || row.kind !== "counter" ? null : engine.counters[key].value;
    return value === null ? [] : [[row.names[0], value]];
  });
  return [...histograms, ...counters];
}

Deno.test("readSnapshot() agrees with the program's reader on a real scrape", async () => {
  for (
    const file of [
      "fixtures/generated-v1-dp2-single-process.prom.gz",
      "scenarios/speculative/027.prom.gz",
    ]
  ) {
    const body = await readGzip(file);
    const snapshot = read(body);
    const { engines } = parseEngineMetrics(body);
    assert(engines.length > 0);
    for (const engine of engines) {
      const own = listOwn(engine);
      assert(own.length > 10);
      for (const [name, value] of own) {
        const found = findMetrics(snapshot, `vllm:${name}`, { engine: engine.engine });
        const [metric] = found;
        assertEquals(found.length, 1, name);
        if (metric.kind === "counter") assertEquals(metric.value, value, name);
        else assertEquals(computeQuantile([metric], 0.95)?.value ?? -1, value, name);
      }
    }
  }
});

Deno.test("subtractSnapshots() gives increases, and the later gauges", () => {
  const later = SMALL.replace(
    'running{engine="0",model_name="m"} 3.0',
    'running{engine="0",model_name="m"} 1.0',
  )
    .replace("} 100.0", "} 160.0").replace('"2"} 4.0', '"2"} 5.0')
    .replaceAll("} 6.0", "} 8.0").replace("} 2.5", "} 4.5") +
    'vllm:request_success_total{engine="0",finished_reason="abort"} 2.0\n';
  const window = requireWindow(read(later, 14), read(SMALL, 10));
  assertEquals(window.spanSeconds, 4);
  assertEquals(findMetrics(window, "vllm:num_requests_running").map(show), [
    {
      kind: "gauge",
      name: "vllm:num_requests_running",
      labels: { engine: "0", model_name: "m" },
      value: 1,
    },
  ]);
  assertEquals(computeRate(window, "vllm:generation_tokens"), 15);
  assertEquals(computeRate(window, "vllm:generation_tokens_total", { engine: "1" }), 0);
  assertEquals(computeRate(window, "vllm:time_to_first_token_seconds"), 0.5);
  assertEquals(computeRate(window, "vllm:request_success"), 0.5, "a new series counts from 0");
  assertEquals(computeRate(window, "vllm:no_such_metric"), null);
  assertEquals(computeRate(window, "vllm:num_requests_running"), null, "a gauge has no rate");
  const [vector] = findMetrics(window, "vllm:spec_decode_num_accepted_tokens_per_pos_total");
  assertEquals(vector.kind === "vector" ? vector.values : [], [0, 0, 1]);
  const ttft = findMetrics(window, "vllm:time_to_first_token_seconds");
  assertEquals(computeMean(ttft), 1);
  assertEquals(computeQuantile(ttft, 0.5)?.bound, "");
});

Deno.test("subtractSnapshots() detects a restart by any sign of it", () => {
  const signs = [
    SMALL.replace("} 50.0", "} 49.0"),
    SMALL.replace('le="0.1",model_name="m"} 2.0', 'le="0.1",model_name="m"} 1.0'),
    SMALL.replace('le="0.1"', 'le="0.2"'),
    SMALL.replace('"2"} 4.0', '"2"} 3.0'),
    SMALL.replace("process_start_time_seconds 1.7e9", "process_start_time_seconds 1700000100"),
  ];
  for (const later of signs) {
    assertEquals(subtractSnapshots(read(later, 2), read(SMALL, 1)), { kind: "restarted" }, later);
  }
});

Deno.test("subtractSnapshots() refuses snapshots in the wrong order", () => {
  assertThrows(
    () => subtractSnapshots(read(SMALL, 1), read(SMALL, 1)),
    RangeError,
    "1 is not after 1",
  );
  assertThrows(() => subtractSnapshots(read(SMALL, NaN), read(SMALL, 1)), RangeError);
});

Deno.test("subtractSnapshots() gives adjacent windows that add up to the whole", () => {
  const counts = fc.array(fc.nat(1000), { minLength: 3, maxLength: 3 });
  fc.assert(fc.property(counts, (steps) => {
    let tokens = 0;
    const snapshots = steps.map((step, i) => {
      tokens += step;
      return read(`vllm:generation_tokens_total ${tokens}\n`, i);
    });
    const rate = (later: number, earlier: number) =>
      computeRate(requireWindow(snapshots[later], snapshots[earlier]), "vllm:generation_tokens");
    assertAlmostEquals(2 * (rate(2, 0) ?? NaN), (rate(1, 0) ?? NaN) + (rate(2, 1) ?? NaN));
  }));
});

Deno.test("findMetrics() finds a figure under an older server's name", () => {
  const old = read("vllm:gpu_cache_usage_perc 0.5\nvllm:time_per_output_token_seconds_sum 1\n");
  assertEquals(findMetrics(old, "vllm:kv_cache_usage_perc").map(({ name }) => name), [
    "vllm:gpu_cache_usage_perc",
  ]);
  const both = read("vllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc 0.5\n");
  assertEquals(findMetrics(both, "vllm:kv_cache_usage_perc").map(({ name }) => name), [
    "vllm:kv_cache_usage_perc",
  ]);
  assertEquals(findMetrics(both, "vllm:kv_cache_usage_perc", { engine: "9" }), []);
});

Deno.test("findMetrics() finds a figure under the given prefix, also in windows", () => {
  const readOwn = (tokens: number, at: number) =>
    readSnapshot(
      "my_gpu_cache_usage_perc 0.5\n# TYPE my_gpu_prefix_cache_hits_total counter\n" +
        `my_gpu_prefix_cache_hits_total ${tokens}\n`,
      { at, prefix: "my_" },
    );
  assertEquals(findMetrics(readOwn(1, 0), "my_kv_cache_usage_perc").map(({ name }) => name), [
    "my_gpu_cache_usage_perc",
  ]);
  const window = requireWindow(readOwn(9, 2), readOwn(1, 0));
  assertEquals(computeRate(window, "my_prefix_cache_hits_total"), 4);
  // An empty prefix is one, too.
  const bare = readSnapshot("gpu_cache_usage_perc 0.5\n", { at: 0, prefix: "" });
  assertEquals(findMetrics(bare, "kv_cache_usage_perc").length, 1);
});

Deno.test("computeQuantile() merges buckets, and reports a bound where only that is known", () => {
  const engines = read(SMALL + SMALL.replaceAll('engine="0"', 'engine="2"'));
  const ttft = findMetrics(engines, "vllm:time_to_first_token_seconds");
  assertEquals(ttft.length, 2);
  const low = computeQuantile(ttft, 0.25);
  assertEquals([low?.value, low?.bound], [0.1, "<"]);
  assertEquals(computeQuantile(ttft, 0.5)?.bound, "");
  assertEquals(computeQuantile([], 0.5), null);
  const others = findMetrics(read(SMALL.replace('le="0.1"', 'le="0.2"')), ttft[0].name);
  assertEquals(computeQuantile([ttft[0], ...others], 0.5), null, "bounds differ");
  assertEquals(computeMean([ttft[0], ...others]), null);
});
