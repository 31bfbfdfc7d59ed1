import { assertEquals } from "@std/assert";
import { isCounted, judgeEndpoint, judgeReplica, STALE_LIMIT } from "../lib/health.ts";
import { encode, readEngine, readGzip, type Series, writeEngine } from "./fixtures/expositions.ts";
import { readVllmMetrics } from "../lib/vllm_metrics.ts";

Deno.test("judgeEndpoint() is stale for a while after the last good scrape, then down", () => {
  const judge = (hasFailed: boolean, age: number | null) => judgeEndpoint({ hasFailed, age });
  assertEquals(judge(false, null), "PENDING");
  assertEquals(judge(false, 0), "OK");
  assertEquals(judge(false, 500), "OK");
  assertEquals(judge(true, null), "DOWN");
  assertEquals(judge(true, 2), "STALE");
  assertEquals(STALE_LIMIT, 30);
  assertEquals(judge(true, STALE_LIMIT), "STALE");
  assertEquals(judge(true, STALE_LIMIT + 0.1), "DOWN");
});

const WELL = { hasFailed: false, age: 1 };
const judge = (...series: Series[]) => judgeReplica(readEngine(writeEngine(series)), WELL);

Deno.test("judgeReplica() knows an engine that works, though it lacks a gauge", () => {
  assertEquals(judge(["num_requests_running", 0]), "OK");
  assertEquals(judge(["prompt_tokens_total", 0]), "OK");
});

Deno.test("judgeReplica() knows an engine whose gauges have no sample yet", async () => {
  const cold = readVllmMetrics(await readGzip("scenarios/multiprocess-cold/cold.prom.gz")).engines;
  const warm = readVllmMetrics(await readGzip("scenarios/multiprocess-cold/warm.prom.gz")).engines;
  assertEquals(cold.map((sample) => judgeReplica(sample, WELL)), ["INIT", "INIT"]);
  assertEquals(warm.map((sample) => judgeReplica(sample, WELL)), ["OK", "OK"]);
  // One gauge is enough to know that it runs.
  const declared =
    "# TYPE vllm:num_requests_waiting gauge\n# TYPE vllm:kv_cache_usage_perc gauge\n";
  const text = declared + writeEngine([["num_requests_running", 0]]);
  assertEquals(judgeReplica(readVllmMetrics(encode(text)).engines[0], WELL), "OK");
});

Deno.test("judgeReplica() knows the depths of sleep", () => {
  const sleep = (awake: number, offloaded: number, discarded: number): Series[] => [
    ["num_requests_running", 0],
    ['engine_sleep_state{sleep_state="awake"}', awake],
    ['engine_sleep_state{sleep_state="weights_offloaded"}', offloaded],
    ['engine_sleep_state{sleep_state="discard_all"}', discarded],
  ];
  assertEquals(judge(...sleep(1, 0, 0)), "OK");
  assertEquals(judge(...sleep(0, 1, 0)), "SLEEP");
  assertEquals(judge(...sleep(0, 0, 1)), "SLEEP");
});

Deno.test("judgeReplica() puts failed scrapes before all else", () => {
  const asleep = readEngine(writeEngine([
    ["num_requests_running", 0],
    ['engine_sleep_state{sleep_state="discard_all"}', 1],
  ]));
  assertEquals(judgeReplica(asleep, { hasFailed: true, age: 3 }), "STALE");
  assertEquals(judgeReplica(asleep, { hasFailed: true, age: 300 }), "DOWN");
});

Deno.test("isCounted() leaves out what is not current", () => {
  const all = ["PENDING", "OK", "INIT", "SLEEP", "STALE", "DOWN"] as const;
  assertEquals(all.filter(isCounted), ["OK", "INIT", "SLEEP"]);
});
