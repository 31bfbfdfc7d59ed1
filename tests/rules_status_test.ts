import { assertEquals } from "@std/assert";
import type { ReplicaStatus } from "../lib/model.ts";
import {
  computeEndpointStatus,
  computeFleetVerdict,
  computeLoadStatus,
  computeReplicaStatus,
  getScrapeRecord,
  isAwake,
  isCounted,
  MAX_RESPONSE_TIME,
  STALE_LIMIT,
} from "../lib/rules_status.ts";
import type { Finding, RuleId } from "../lib/rules_table.ts";
import { startSchedule } from "../lib/scrape_schedule.ts";
import {
  appendSample,
  computeReplicas,
  type EndpointHistory,
  startHistory,
} from "../lib/stats_window.ts";
import {
  createEndpoint,
  encode,
  readEngine,
  readGzip,
  readPoint,
  type Series,
  writeEngine,
} from "./fixtures/expositions.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";

Deno.test("computeEndpointStatus() is STALE after the last good scrape, then DOWN", () => {
  const judge = (hasFailed: boolean, age: number | null) =>
    computeEndpointStatus({ hasFailed, age });
  assertEquals(judge(false, null), "PENDING");
  assertEquals(judge(false, 0), "OK");
  assertEquals(judge(false, 500), "OK");
  assertEquals(judge(true, null), "DOWN");
  assertEquals(judge(true, 2), "STALE");
  assertEquals(STALE_LIMIT, 30);
  assertEquals(judge(true, STALE_LIMIT), "STALE");
  assertEquals(judge(true, STALE_LIMIT + 0.1), "DOWN");
});

Deno.test("computeEndpointStatus() tolerates one missed answer at long intervals", () => {
  const judge = (age: number, interval: number) =>
    computeEndpointStatus({ hasFailed: true, age, interval });
  assertEquals([judge(29, 2), judge(31, 2)], ["STALE", "DOWN"]);
  assertEquals([judge(61, 60), judge(91, 60)], ["STALE", "DOWN"]);
});

const WELL = { hasFailed: false, age: 1 };
const judge = (...series: Series[]) => computeReplicaStatus(readEngine(writeEngine(series)), WELL);

Deno.test("computeReplicaStatus() is OK although a gauge is missing", () => {
  assertEquals(judge(["num_requests_running", 0]), "OK");
  assertEquals(judge(["prompt_tokens_total", 0]), "OK");
});

Deno.test("computeReplicaStatus() is INIT while gauges have no sample", async () => {
  const cold =
    parseEngineMetrics(await readGzip("scenarios/multiprocess-cold/cold.prom.gz")).engines;
  const warm =
    parseEngineMetrics(await readGzip("scenarios/multiprocess-cold/warm.prom.gz")).engines;
  assertEquals(cold.map((sample) => computeReplicaStatus(sample, WELL)), ["INIT", "INIT"]);
  assertEquals(warm.map((sample) => computeReplicaStatus(sample, WELL)), ["OK", "OK"]);
  // One gauge is enough to know that it runs.
  const declared =
    "# TYPE vllm:num_requests_waiting gauge\n# TYPE vllm:kv_cache_usage_perc gauge\n";
  const text = declared + writeEngine([["num_requests_running", 0]]);
  assertEquals(computeReplicaStatus(parseEngineMetrics(encode(text)).engines[0], WELL), "OK");
});

Deno.test("computeReplicaStatus() is SLEEP at each sleep level", () => {
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

Deno.test("computeReplicaStatus() puts failed scrapes first", () => {
  const asleep = readEngine(writeEngine([
    ["num_requests_running", 0],
    ['engine_sleep_state{sleep_state="discard_all"}', 1],
  ]));
  assertEquals(computeReplicaStatus(asleep, { hasFailed: true, age: 3 }), "STALE");
  assertEquals(computeReplicaStatus(asleep, { hasFailed: true, age: 300 }), "DOWN");
});

Deno.test("isCounted() is false for PENDING, STALE and DOWN", () => {
  const all = ["PENDING", "OK", "HOT", "STALLED", "INIT", "SLEEP", "STALE", "DOWN"] as const;
  assertEquals(all.filter(isCounted), ["OK", "HOT", "STALLED", "INIT", "SLEEP"]);
});

Deno.test("isAwake() is false if rules cannot be evaluated", () => {
  const all = ["PENDING", "OK", "HOT", "STALLED", "INIT", "SLEEP", "STALE", "DOWN"] as const;
  assertEquals(all.filter(isAwake), ["OK", "HOT", "STALLED"]);
});

Deno.test("getScrapeRecord() treats an overdue answer as a failure", () => {
  const endpoint = createEndpoint(8000);
  const schedule = startSchedule();
  const known = { endpoint, scrape: { receivedAt: 10 }, askedAt: 12, failure: null, schedule };
  const read = (now: number) => getScrapeRecord(known, { now, interval: 2 });
  assertEquals(read(13), { interval: 2, hasFailed: false, age: 3 });
  assertEquals(read(12 + 2 + MAX_RESPONSE_TIME).hasFailed, false);
  assertEquals(read(12.1 + 2 + MAX_RESPONSE_TIME).hasFailed, true);
  const never = {
    endpoint,
    scrape: null,
    askedAt: null,
    failure: { kind: "dns" },
    schedule,
  } as const;
  const record = getScrapeRecord(never, { now: 1, interval: 2 });
  assertEquals(record, { interval: 2, hasFailed: true, age: null });
});

Deno.test("getScrapeRecord() waits for a server at a guessed address", () => {
  const guess = { ...createEndpoint(8000), isGuess: true } as const;
  const refused = {
    scrape: null,
    askedAt: null,
    failure: { kind: "refused" },
    schedule: startSchedule(),
  };
  const judge = (more: object) =>
    computeEndpointStatus(getScrapeRecord(
      { ...refused, endpoint: guess, ...more } as Parameters<typeof getScrapeRecord>[0],
      { now: 99, interval: 2 },
    ));
  assertEquals(judge({}), "PENDING");
  // Named by the user, there and unwell, or gone after it answered.
  assertEquals(judge({ endpoint: createEndpoint(8000) }), "DOWN");
  assertEquals(judge({ failure: { kind: "server_error" } }), "DOWN");
  assertEquals(judge({ scrape: { receivedAt: 1 } }), "DOWN");
});

/** What is said of the load after the series were said, 20 s apart. */
function load(steps: readonly (readonly Series[])[], ratios?: { ttft: number; itl: number }) {
  const history = steps.reduce<EndpointHistory>(
    (known, series, i) => appendSample(known, readPoint(20 * i, writeEngine(series))),
    startHistory(),
  );
  return computeLoadStatus("a", computeReplicas(history)[0], ratios);
}

Deno.test("computeLoadStatus() is hot if two conditions hold", () => {
  const say = (kv: number, waiting: number, preemptions: number, tokens: number): Series[] => [
    ["num_requests_running", 3],
    ["num_requests_waiting", waiting],
    ["kv_cache_usage_perc", kv],
    ["num_preemptions_total", preemptions],
    ["generation_tokens_total", tokens],
  ];
  const signals = (
    after: readonly [kv: number, waiting: number, preemptions: number],
    ratios?: { ttft: number; itl: number },
  ) => load([say(0, 0, 0, 1), say(...after, 2)], ratios)[0]?.conditions.map(({ signal }) => signal);
  assertEquals(signals([0.85, 5, 0]), undefined);
  assertEquals(signals([0.86, 5, 0]), undefined);
  assertEquals(signals([0.86, 6, 0]), ["kv_cache", "waiting"]);
  assertEquals(signals([0.5, 6, 1]), ["waiting", "preemptions"]);
  assertEquals(signals([0.5, 0, 0], { ttft: 2, itl: 2 }), undefined);
  assertEquals(signals([0.5, 0, 0], { ttft: 2.1, itl: 2.1 }), ["ttft", "itl"]);
  assertEquals(signals([0.9, 0, 0], { ttft: 1, itl: 2.1 }), ["kv_cache", "itl"]);
});

Deno.test("computeLoadStatus() is stalled after 15 s without progress", () => {
  const say = (tokens: number): Series[] => [
    ["num_requests_running", 3],
    ["generation_tokens_total", tokens],
  ];
  assertEquals(load([say(1), say(1)]).map(({ rule, value }) => [rule, value]), [["stalled", 20]]);
  assertEquals(load([say(1), say(2)]), []);
});

function fleet(
  statuses: readonly ReplicaStatus[],
  rules: readonly RuleId[] = [],
  recent: readonly string[] = [],
) {
  const standing = rules.map((rule): Finding => ({
    ...{ rule, key: "0", value: 2, baseline: 1, ratio: 2, samples: 9, span: 60 },
    ...{ statistic: null, probability: null, conditions: [] },
  }));
  const { level, causes } = computeFleetVerdict({
    statuses: new Map(statuses.map((status, i) => [String(i), status])),
    standing,
    recent: recent.map((key) => ({ key, verdict: null })),
  });
  return [level, ...causes.map(({ key, signal }) => `${key} ${signal}`)];
}

Deno.test("computeFleetVerdict() names the worst level, signal and replica", () => {
  assertEquals(fleet([]), ["NONE"]);
  assertEquals(fleet(["PENDING", "PENDING"]), ["PENDING"]);
  assertEquals(fleet(["OK", "INIT", "SLEEP"]), ["HEALTHY"]);
  // Who has not answered yet may be anything.
  assertEquals(fleet(["OK", "PENDING"]), ["PENDING"]);
  assertEquals(fleet(["OK", "STALE"]), ["DEGRADED", "1 stale"]);
  assertEquals(fleet(["OK", "STALE", "DOWN"]), ["CRITICAL", "2 down", "1 stale"]);
  assertEquals(fleet(["OK"], ["slow_decode"]), ["DEGRADED", "0 slow_decode"]);
  assertEquals(fleet(["OK"], ["slow_decode", "hot"]), ["CRITICAL", "0 hot", "0 slow_decode"]);
  assertEquals(fleet(["OK"], ["stalled"]), ["CRITICAL", "0 stalled"]);
  assertEquals(fleet(["OK"], ["request_share"]), ["HEALTHY"]);
  assertEquals(fleet(["OK"], [], ["0"]), ["DEGRADED", "0 recent"]);
});
