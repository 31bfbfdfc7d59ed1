import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { findLatencyOutliers, type LatencyOutlier } from "../lib/rules_latency.ts";
import { ALPHA, DEFAULT_RULES } from "../lib/rules_table.ts";

const RULE = DEFAULT_RULES.slow_decode;
const MIN_SAMPLES = RULE.samples;
import { computeStudentTail } from "../lib/stats_significance.ts";
import {
  appendSample,
  computeReplicas,
  type EndpointHistory,
  type ReplicaSample,
  startHistory,
} from "../lib/stats_window.ts";
import { readPoint, writeEngine, writeHistogram } from "./fixtures/expositions.ts";

/** One bucket holds all latencies of tests of means. */
const WIDE_BOUNDS = [0.001, 10];

/** Latencies between two scrapes, in seconds. */
type Block = readonly number[];

/** A replica with these latencies between its scrapes. */
function createReplica(
  blocks: readonly Block[],
  options: {
    readonly interval?: number;
    readonly startAt?: number;
    readonly bounds?: readonly number[];
  } = {},
): ReplicaSample {
  const { interval = 5, startAt = 0, bounds = WIDE_BOUNDS } = options;
  const history = [[], ...blocks].reduce<EndpointHistory>((known, _, i) => {
    const seen = blocks.slice(0, i).flat();
    const counts = [...bounds, Infinity].map((bound) =>
      seen.filter((latency) => latency <= bound).length
    );
    const sum = seen.reduce((a, b) => a + b, 0);
    const text = writeEngine([
      ["num_requests_running", 1],
      ...writeHistogram("inter_token_latency_seconds", bounds, { counts, sum }),
    ]);
    return appendSample(known, readPoint(startAt + interval * i, text));
  }, startHistory());
  return computeReplicas(history)[0];
}

/** Blocks of `count` equal latencies each. */
function repeat(latencies: readonly number[], count = 10): readonly Block[] {
  return latencies.map((latency) => Array<number>(count).fill(latency));
}

/** A minute in blocks of 5 s. */
function fill(latency: number): number[] {
  return Array<number>(12).fill(latency);
}

function findSlow(...replicas: readonly ReplicaSample[]): readonly LatencyOutlier[] {
  return findLatencyOutliers(replicas, "itl", RULE).slow;
}

Deno.test("findLatencyOutliers() finds a mean well above the others' and counts the replicas compared", () => {
  const replicas = [fill(0.02), fill(0.05), fill(0.02)].map((each) => createReplica(repeat(each)));
  const { compared, slow } = findLatencyOutliers(replicas, "itl", RULE);
  assertEquals([compared, slow.length], [3, 1]);
  const [{ index, statistic, value, baseline, ratio, samples, span }] = slow;
  assertEquals([index, statistic, samples, span], [1, "mean", 120, 60]);
  assertAlmostEquals(value, 0.05);
  assertAlmostEquals(baseline, 0.02);
  assertAlmostEquals(ratio, 2.5);
  // The least spread: 0.05.
  const t = Math.log(2.5) * Math.sqrt(12) / 0.05;
  assertAlmostEquals(slow[0].probability / computeStudentTail(t, 11), 1, 1e-6);
  // Nothing has been observed of another latency.
  assertEquals(findLatencyOutliers(replicas, "ttft", RULE), { compared: 0, slow: [] });
});

Deno.test("findLatencyOutliers() finds nothing within 1.5 times the others' mean", () => {
  const find = (latency: number) =>
    findSlow(createReplica(repeat(fill(0.02))), createReplica(repeat(fill(latency))));
  assertEquals(find(0.0299), []);
  assertEquals(find(0.0301).length, 1);
});

Deno.test("findLatencyOutliers() reports the span in which the replica is slowest", () => {
  const usual = createReplica(repeat(fill(0.02)));
  const spanOf = (slowBlocks: number): number | undefined => {
    const blocks = fill(0.02).fill(0.06, 12 - slowBlocks);
    return findSlow(usual, createReplica(repeat(blocks))).at(0)?.span;
  };
  assertEquals(spanOf(12), 60);
  assertEquals(spanOf(9), 45);
  assertEquals(spanOf(6), 30);
  // Too few blocks of it in any span.
  assertEquals(spanOf(3), undefined);
});

Deno.test("findLatencyOutliers() attributes one slow block to chance, however high the mean", () => {
  const blocks = fill(0.02).with(7, 1);
  assertEquals(findSlow(createReplica(repeat(fill(0.02))), createReplica(repeat(blocks))), []);
});

Deno.test("findLatencyOutliers() needs enough observations, of the replica and of the others", () => {
  /** Spreads this many observations evenly over a minute. */
  const spread = (count: number, latency: number): readonly Block[] =>
    fill(latency).map((each, i) =>
      Array<number>(Math.floor(count / 12) + (i < count % 12 ? 1 : 0)).fill(each)
    );
  const find = (own: number, others: number) =>
    findLatencyOutliers(
      [createReplica(spread(others, 0.02)), createReplica(spread(own, 0.08))],
      "itl",
      RULE,
    );
  const enough = find(MIN_SAMPLES, MIN_SAMPLES);
  assertEquals(enough.compared, 2);
  assertEquals(enough.slow.map(({ index, samples }) => [index, samples]), [[1, MIN_SAMPLES]]);
  for (const counts of [[MIN_SAMPLES - 1, MIN_SAMPLES], [MIN_SAMPLES, MIN_SAMPLES - 1]]) {
    assertEquals(find(counts[0], counts[1]), { compared: 1, slow: [] });
  }
});

Deno.test("findLatencyOutliers() shares the significance level among its tests of a replica", () => {
  // Scrapes 15 s apart give four blocks in the longest span, and too few in the others.
  const replicaOf = (latency: number): ReplicaSample =>
    createReplica(repeat(Array<number>(4).fill(latency)), { interval: 15 });
  const chanceOf = (ratio: number): number => computeStudentTail(Math.log(ratio) * 2 / 0.05, 3);
  const findLimit = (chance: number): number => {
    let [low, high] = [1, 1e6];
    while (high / low > 1.001) {
      const middle = Math.sqrt(low * high);
      if (chanceOf(middle) > chance) low = middle;
      else high = middle;
    }
    return high;
  };
  // Three spans of means, and the P95.
  const limit = findLimit(ALPHA / 4);
  const find = (ratio: number) => findSlow(replicaOf(0.0015), replicaOf(0.0015 * ratio));
  assertEquals(find(limit / 1.01), []);
  assertEquals(find(limit * 1.01).length, 1);
  assert(limit / 1.01 > findLimit(ALPHA / 3), "fewer tests would find it");
});

Deno.test("findLatencyOutliers() makes blocks as long as the longest scrape interval", () => {
  // No shorter block has a scrape of both.
  const usual = createReplica(repeat([0.02, 0.02, 0.02, 0.02, 0.02]), { interval: 12 });
  const slow = createReplica(repeat([0.5, 0.5, 0.5, 0.5, 0.5]), { interval: 12, startAt: 6 });
  assertEquals(findSlow(usual, slow).map(({ index, span }) => [index, span]), [[1, 60]]);
  // With a replica that is scraped every 5 s the other one still says how long they are.
  const often = createReplica(repeat(Array<number>(13).fill(0.5)), { interval: 5, startAt: 1 });
  assertEquals(findSlow(usual, often).map(({ index, span }) => [index, span]), [[1, 60]]);
});

Deno.test("findLatencyOutliers() finds a slow tail, with the least ratio its buckets allow", () => {
  const bounds = [0.05, 0.1, 0.2, 0.5];
  const tailed = (tail: number): readonly Block[] =>
    fill(0).map(() => [...Array<number>(18).fill(0.04), tail, tail]);
  const replicaOf = (tail: number) => createReplica(tailed(tail), { bounds });
  const find = (tail: number) => findSlow(replicaOf(0.04), replicaOf(0.04), replicaOf(tail));
  // Its P95 is above 0.2, the others' is below 0.05; its mean is not half as much again.
  const [{ index, statistic, baseline, ratio, samples, span }] = find(0.21);
  assertEquals([index, statistic, samples, span], [2, "p95", 240, 60]);
  assertAlmostEquals(baseline, 0.05);
  assertAlmostEquals(ratio, 4);
  // The next bucket may be only a little higher.
  assertEquals(find(0.09), []);
  assertEquals(find(0.04), []);
});

Deno.test("findLatencyOutliers() attributes a tail in one block to chance", () => {
  const bounds = [0.05, 0.1, 0.2, 0.5];
  const usual = createReplica(repeat(fill(0.04), 20), { bounds });
  const burst = createReplica(
    fill(0.04).map((latency, i) => Array<number>(20).fill(i === 3 ? 0.21 : latency)),
    { bounds },
  );
  assertEquals(findSlow(usual, burst), []);
});
