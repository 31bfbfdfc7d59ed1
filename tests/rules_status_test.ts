import { assertEquals } from "@std/assert";
import { type FailureKind, MODEL_STATES, type ReplicaStatus } from "../lib/model.ts";
import type { PodFacts } from "../lib/pod.ts";
import {
  computeEndpointStatus,
  computeFleetVerdict,
  computeReplicaStatus,
  getScrapeRecord,
  isAwake,
  isCounted,
  MAX_RESPONSE_TIME,
  STALE_LIMIT,
} from "../lib/rules_status.ts";
import type { Alert } from "../lib/rules_alerts.ts";
import { createFinding } from "../lib/rules_finding.ts";
import { DEFAULT_RULES, MIN_SPAN, type RuleId } from "../lib/rules_table.ts";
import { getInterval, startSchedule } from "../lib/scrape_schedule.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  readEngine,
  readGzip,
  type Series,
  startState,
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

Deno.test("computeReplicaStatus() tells the states of a model apart", () => {
  const sample = readEngine(writeEngine([["num_requests_running", 0]]));
  assertEquals(
    MODEL_STATES.map((modelState) => computeReplicaStatus({ ...sample, modelState }, WELL)),
    ["OK", "LOAD", "SLEEP", "UNLOADED", "DOWN"],
  );
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
  const all = ["PENDING", "OK", "HOT", "STALLED", "INIT", "SLEEP", "UNLOADED", "DOWN"] as const;
  assertEquals(all.filter(isAwake), ["OK", "HOT", "STALLED"]);
});

Deno.test("getScrapeRecord() treats an overdue answer as a failure", () => {
  const endpoint = createEndpoint(8000);
  const schedule = startSchedule();
  const known = { endpoint, askedAt: 12, failure: null, schedule, log: null };
  const read = (now: number, duration = 0.01) =>
    getScrapeRecord({ ...known, scrape: { receivedAt: 10, duration } }, { now, interval: 2 });
  assertEquals(read(13), {
    interval: 2,
    hasFailed: false,
    age: 3,
    isLoading: false,
    hasEnded: false,
  });
  assertEquals(read(12 + 2 + MAX_RESPONSE_TIME).hasFailed, false);
  assertEquals(read(12.1 + 2 + MAX_RESPONSE_TIME).hasFailed, true);
  // One that answered as late before is busy.
  assertEquals(read(18.2, 4.3).hasFailed, false);
  assertEquals(read(18.4, 4.3).hasFailed, true);
  const never = {
    endpoint,
    scrape: null,
    askedAt: null,
    failure: { kind: "dns", failedAt: 0, failedAtEpoch: 0 },
    schedule,
    log: null,
  } as const;
  const record = getScrapeRecord(never, { now: 1, interval: 2 });
  assertEquals(record, {
    interval: 2,
    hasFailed: true,
    age: null,
    isLoading: false,
    hasEnded: false,
  });
});

Deno.test("a server that answers 4 s late is busy, and one that refuses is down", () => {
  const [late, gone] = [8000, 8001].map((port) => createEndpoint(port));
  const say = (tokens: number) =>
    encode(
      'llamacpp:requests_processing{model="m"} 4\n' +
        `llamacpp:tokens_generated_total{model="m"} ${tokens}\n`,
    );
  const statuses: (readonly string[])[] = [];
  let state = advance(startState([late, gone]), 0.1, [
    createScraped(late, 0.05, say(0)),
    createScraped(gone, 0.05, say(0)),
  ]);
  for (let at = 5; at <= 60; at += 5) {
    // Asked 4.3 s before each answer; looked at between.
    state = advance(state, at - 0.5, [{ kind: "asked", endpointKey: late.key, at: at - 4.3 }]);
    statuses.push(state.fleet.rows.map(({ status }) => status));
    const answer = createScraped(late, at, say(at));
    if (answer.kind !== "scraped") throw new Error(answer.kind);
    const scrape = { ...answer.scrape, duration: 4.3 };
    state = advance(state, at + 0.1, [{ kind: "scraped", scrape }, createFailed(gone, at)]);
    statuses.push(state.fleet.rows.map(({ status }) => status));
  }
  // Once, before it is known to be late.
  assertEquals(statuses.map(([status]) => status).filter((status) => status !== "OK"), ["STALE"]);
  assertEquals(new Set(statuses.map(([, status]) => status)), new Set(["OK", "STALE", "DOWN"]));
  assertEquals(statuses.at(-1), ["OK", "DOWN"]);
  // Its lateness is the batch's, and no reason to ask less often.
  assertEquals(getInterval(state.endpoints[0].schedule, 2), 2);
});

Deno.test("getScrapeRecord() judges samples that another program takes by their age and its interval", () => {
  const judgeAt = (now: number, interval: number | undefined) =>
    computeEndpointStatus(getScrapeRecord({
      ...{ endpoint: createEndpoint(8000), askedAt: null, failure: null, log: null },
      ...{ schedule: startSchedule(), scrape: { receivedAt: 0, duration: 0, interval } },
    }, { now, interval: 2 }));
  assertEquals([judgeAt(1000, undefined)], ["OK"], "our own scrapes fail otherwise");
  assertEquals([judgeAt(47, 15), judgeAt(49, 15)], ["OK", "STALE"]);
  assertEquals([judgeAt(182, 60), judgeAt(184, 60)], ["OK", "STALE"]);
  assertEquals(judgeAt(1000, 15), "STALE", "nobody knows whether it is down");
});

Deno.test("getScrapeRecord() waits for a server at a guessed address", () => {
  const guess = { ...createEndpoint(8000), isGuess: true } as const;
  const refused = {
    scrape: null,
    askedAt: null,
    failure: { kind: "refused", failedAt: 0, failedAtEpoch: 0 },
    schedule: startSchedule(),
    log: null,
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

Deno.test("computeEndpointStatus() follows the state of a pod", () => {
  const startedAt = 1_700_000_000;
  const pod: PodFacts = {
    ...{ namespace: "prod", name: "llama-0", node: "gpu1", container: "vllm", startedAt },
    ...{ state: "starting", reason: null, restarts: [], gpus: [] },
  };
  /** As of so long after the start of its container. */
  const judge = (
    state: PodFacts["state"],
    kind: FailureKind,
    age: number,
    scrape = -1,
    { node }: Pick<PodFacts, "node"> = pod,
  ) => {
    const failure = { kind, failedAt: 5000 + age, failedAtEpoch: startedAt + age };
    return computeEndpointStatus(getScrapeRecord({
      endpoint: { pod: { ...pod, state, node } },
      scrape: scrape < 0 ? null : { receivedAt: 5000 + scrape, duration: 0 },
      ...{ askedAt: null, failure, schedule: startSchedule(), log: null },
    }, { now: 5000 + age, interval: 2 }));
  };
  assertEquals(judge("starting", "refused", 600), "LOAD");
  assertEquals(judge("ready", "refused", 600), "LOAD", "it may have no probe of its own");
  assertEquals(judge("starting", "refused", 3601), "DOWN");
  assertEquals(judge("ready", "refused", 600, 590), "STALE", "it has answered before");
  assertEquals(judge("ready", "refused", 600, 500), "DOWN");
  assertEquals(judge("starting", "cluster", 600), "DOWN", "nobody knows");
  assertEquals(judge("pending", "pod", 3599), "LOAD", "images are large");
  assertEquals(judge("pending", "pod", 3601), "DOWN");
  assertEquals(judge("pending", "pod", 899, -1, { node: null }), "LOAD", "a node is added");
  assertEquals(judge("pending", "pod", 901, -1, { node: null }), "DOWN", "none is");
  assertEquals(judge("crashing", "pod", 10, 9), "DOWN");
  assertEquals(judge("failed", "pod", 10, 9), "DOWN");
  assertEquals(judge("terminating", "pod", 10, 9), "STALE");
});

function fleet(
  statuses: readonly ReplicaStatus[],
  rules: readonly RuleId[] = [],
  recent: readonly string[] = [],
  watched: number = MIN_SPAN,
) {
  const standing = rules.map((rule): Alert => {
    const finding = { key: "0", value: 2, baseline: 1, samples: 9, span: 60 };
    const isQueue = rule === "queuing" || rule === "overloaded";
    const waiting = { signal: "waiting", value: 60, limit: 50 } as const;
    const conditions = isQueue ? [waiting] : [];
    const newest = createFinding(DEFAULT_RULES[rule], { ...finding, conditions });
    return { ...{ since: 0, lastAt: 0, isFiring: true }, first: newest, newest, worst: newest };
  });
  const { level, causes } = computeFleetVerdict({
    statuses: new Map(statuses.map((status, i) => [String(i), status])),
    standing,
    recent: recent.map((key) => ({ key, since: 0, verdict: null })),
    failingSince: () => null,
    watched,
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
  assertEquals(fleet(["OK"], ["queuing"]), ["DEGRADED", "0 queuing"]);
  // The larger queue includes the smaller.
  assertEquals(fleet(["OK"], ["queuing", "overloaded"]), ["CRITICAL", "0 overloaded"]);
  assertEquals(fleet(["OK"], [], [], MIN_SPAN - 1), ["WATCHING"]);
  assertEquals(fleet(["OK"], ["queuing"], [], 2), ["DEGRADED", "0 queuing"]);
  assertEquals(fleet(["OK"], [], ["0"]), ["DEGRADED", "0 recent"]);
});
