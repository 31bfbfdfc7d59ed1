/**
 * Recorded scrapes -> figures, held against figures obtained elsewhere:
 * `expected.json` from Prometheus, `by_hand.json` from arithmetic over the raw
 * text, `client.json` from what a client measured. tests/scenarios/README.md
 * says how each was obtained, and has the notation of the expectations.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { Quantile } from "../lib/histogram.ts";
import { type EngineSample, type Figures, listMetrics } from "../lib/model.ts";
import { computeFigures } from "../lib/stats_aggregate.ts";
import {
  appendSample,
  computeReplicas,
  type EndpointHistory,
  type ReplicaSample,
  startHistory,
} from "../lib/stats_window.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";
import { needsProgram } from "./programs.ts";
import {
  type Expected,
  type ExpectedTree,
  listScenarios,
  nameReplica,
  obtainExpected,
  readJson,
  readScrape,
  type Scenario,
} from "./scenarios/expect.ts";

/** Agreement that is asked of every figure. */
const RELATIVE_TOLERANCE = 1e-9;

/** The figures of one replica, with its sample, or those of all. */
type Actual = Figures & {
  readonly sample?: EngineSample;
  /** All that it exports, by name. */
  readonly metrics?: Readonly<Record<string, number>>;
};

/** For each step the figures by replica key, and `ALL`. */
type ActualStep = ReadonlyMap<string, Actual>;

/** What `vllm bench serve` said. */
interface Client {
  readonly completed: number;
  readonly totalInputTokens: number;
  readonly totalOutputTokens: number;
  readonly ttftSeconds: readonly number[];
  readonly e2eSeconds: readonly number[];
  readonly acceptancePercent?: number;
  readonly meanAcceptanceLength?: number;
  readonly acceptanceRatioByPosition?: readonly number[];
}

function isClose(actual: number, expected: number): boolean {
  return Math.abs(actual - expected) <=
    RELATIVE_TOLERANCE * Math.max(Math.abs(actual), Math.abs(expected));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isQuantile(value: unknown): value is Quantile {
  return isObject(value) && "interpolated" in value && "bound" in value;
}

/** Whether the value is a reading, present or absent. */
function isReading(
  value: unknown,
): value is { readonly value: unknown; readonly reason?: string; readonly partial?: boolean } {
  return isObject(value) && "value" in value && !isQuantile(value);
}

function describe(value: unknown): string {
  return value instanceof Map ? JSON.stringify([...value]) : JSON.stringify(value);
}

/** Whether the value of a present reading is what a leaf says. */
function matchesValue(actual: unknown, expected: ExpectedTree | number): boolean {
  if (isQuantile(actual)) {
    if (typeof expected === "number") {
      return actual.bound === "" && isClose(actual.value, expected) &&
        isClose(actual.interpolated, expected);
    }
    const { below, above, interpolated } = expected;
    const [bound, value] = below === undefined ? [">", above] : ["<", below];
    return actual.bound === bound && actual.value === value &&
      isClose(actual.interpolated, Number(interpolated ?? above));
  }
  return typeof actual === "number" && typeof expected === "number" && isClose(actual, expected);
}

/** Whether a reading is what a leaf says. */
function matchesReading(
  actual: { readonly value: unknown; readonly reason?: string; readonly partial?: boolean },
  expected: ExpectedTree[string],
): boolean {
  if (expected === null) return actual.value === null;
  if (typeof expected === "string") return actual.value === null && actual.reason === expected;
  if (actual.value === null || typeof expected === "boolean") return false;
  if (isObject(expected) && typeof expected.atLeast === "number") {
    return actual.partial === true && matchesValue(actual.value, expected.atLeast);
  }
  if (isObject(expected) && typeof expected.value === "number") {
    return matchesValue(actual.value, expected.value);
  }
  return actual.partial !== true && matchesValue(actual.value, expected);
}

/** Every place where the figures differ from the expectation, as text. */
function findDifferences(actual: unknown, expected: ExpectedTree[string], path = ""): string[] {
  const differ = [`${path}: got ${describe(actual)}, expected ${JSON.stringify(expected)}`];
  if (isReading(actual)) return matchesReading(actual, expected) ? [] : differ;
  if (actual instanceof Map) {
    // A word says of a whole window that it has no readings; then a map has nothing.
    const wanted = isObject(expected) ? expected : {};
    const hasSameKeys = actual.size === Object.keys(wanted).length &&
      Object.entries(wanted).every(([key, value]) =>
        typeof value === "number" && isClose(actual.get(key) ?? NaN, value)
      );
    return hasSameKeys ? [] : differ;
  }
  if (!isObject(actual)) {
    const isEqual = typeof actual === "number" && typeof expected === "number"
      ? isClose(actual, expected)
      : actual === expected;
    return isEqual ? [] : differ;
  }
  if (isObject(expected)) {
    return Object.entries(expected).flatMap(([key, value]) =>
      findDifferences(actual[key], value, `${path}.${key}`)
    );
  }
  // A word, or null, for a whole subtree: it is that of every reading below. A histogram is none.
  return Object.entries(actual).filter(([key]) => key !== "histogram").flatMap(([key, value]) =>
    findDifferences(value, expected, `${path}.${key}`)
  );
}

/** Runs the scrapes of a scenario through the program's own path. */
async function runScenario(scenario: Scenario): Promise<readonly ActualStep[]> {
  const histories: EndpointHistory[] = scenario.endpoints.map(() => startHistory());
  const steps: ActualStep[] = [];
  for (const step of scenario.endpoints[0].scrapes.keys()) {
    const figures = new Map<string, Actual>();
    const all: ReplicaSample[] = [];
    for (const [i, { name, scrapes }] of scenario.endpoints.entries()) {
      const { file, receivedSeconds } = scrapes[step];
      const { engines, processStart } = parseEngineMetrics(await readScrape(file));
      const sample = { at: receivedSeconds, engines, processStart };
      histories[i] = appendSample(histories[i], sample);
      for (const replica of computeReplicas(histories[i])) {
        const key = nameReplica(scenario, { endpoint: name, engine: replica.sample.engine });
        const { sample } = replica;
        const metrics = Object.fromEntries(
          listMetrics(sample.metrics).map(({ name, value }) => [name, value]),
        );
        figures.set(key, { ...computeFigures([replica]), sample, metrics });
        all.push(replica);
      }
    }
    figures.set("ALL", computeFigures(all));
    steps.push(figures);
  }
  return steps;
}

/** Fails if the figures of a scenario differ from one of its files of expectations. */
async function checkScenario(name: string, file: string): Promise<void> {
  const steps = await runScenario(await readJson<Scenario>(`${name}/scrapes.json`));
  const expected = await readJson<Expected>(`${name}/${file}`);
  assertEquals(expected.steps.length, steps.length, "expectations for every step");
  const differences = expected.steps.flatMap(({ after, figures }, step) => [
    ...Object.entries(figures).flatMap(([key, tree]) => {
      const actual = steps[step].get(key);
      return actual === undefined
        ? [`${after}, ${key}: no such replica`]
        : findDifferences(actual, tree, `${after}, ${key}`);
    }),
    // What is not expected is not there either: ALL alone goes unsaid, where there is one replica.
    ...[...steps[step].keys()].filter((key) => key !== "ALL" && !(key in figures))
      .map((key) => `${after}, ${key}: not expected`),
  ]);
  assert(
    differences.length === 0,
    `${differences.length} figures differ:\n${differences.slice(0, 30).join("\n")}`,
  );
}

const scenarioNames = await listScenarios();

for (const name of scenarioNames) {
  Deno.test(`computeFigures() gives Prometheus' figures for ${name}`, async () => {
    await checkScenario(name, "expected.json");
  });

  Deno.test(`computeFigures() gives the figures by hand for ${name}`, async () => {
    await checkScenario(name, "by_hand.json");
  });
}

const CLIENT_SCENARIOS = ["one-engine", "speculative", "two-engines-two-api-servers", "restart"];

/** The last step of a scenario: all of the load has been served. */
async function runToEnd(name: string): Promise<Actual> {
  const steps = await runScenario(await readJson<Scenario>(`${name}/scrapes.json`));
  const figures = steps[steps.length - 1].get("ALL");
  assert(figures !== undefined);
  return figures;
}

for (const name of CLIENT_SCENARIOS) {
  Deno.test(`computeFigures() counts what the client counted for ${name}`, async () => {
    const client = await readJson<Client>(`${name}/client.json`);
    const { lifetime } = await runToEnd(name);
    assertEquals(lifetime.finishedRequests, { value: client.completed });
    assertEquals(lifetime.promptTokens, { value: client.totalInputTokens });
    assertEquals(lifetime.generationTokens, { value: client.totalOutputTokens });
    assertEquals(lifetime.latency.ttft.samples, { value: client.completed });
    assertEquals(lifetime.latency.e2e.samples, { value: client.completed });
  });

  Deno.test(`computeFigures() has latencies that the client's bear out for ${name}`, async () => {
    const client = await readJson<Client>(`${name}/client.json`);
    const { lifetime } = await runToEnd(name);
    for (
      const [measured, figures] of [
        [client.ttftSeconds, lifetime.latency.ttft],
        [client.e2eSeconds, lifetime.latency.e2e],
      ] as const
    ) {
      const clientMean = measured.reduce((sum, seconds) => sum + seconds, 0) / measured.length;
      const overhead = clientMean - (figures.mean.value ?? NaN);
      // The client's clock starts before the server's and stops after it. It was never 100 ms.
      assert(overhead > 0 && overhead < 0.1, `overhead of ${overhead} s`);
      const sorted = [...measured].sort((a, b) => a - b);
      const clientP50 = sorted[Math.ceil(sorted.length / 2) - 1];
      const p50 = figures.p50.value;
      assert(p50 !== null);
      const { lower, upper } = await findBucket(
        name,
        p50.interpolated,
        figures === lifetime.latency.ttft,
      );
      // No request is faster for the client than for the server, so neither is the median; it is
      // above the bucket of ours only by what lies between the two.
      assert(
        clientP50 >= lower && clientP50 <= upper + overhead,
        `client's P50 ${clientP50} s, ours in (${lower}, ${upper}] s`,
      );
    }
  });
}

/** The bucket that a value falls in, from the bounds in the raw text. */
async function findBucket(
  name: string,
  value: number,
  isTtft: boolean,
): Promise<{ readonly lower: number; readonly upper: number }> {
  const { endpoints: [{ scrapes }] } = await readJson<Scenario>(`${name}/scrapes.json`);
  const text = new TextDecoder().decode(await readScrape(scrapes[0].file));
  const family = isTtft ? "time_to_first_token_seconds" : "e2e_request_latency_seconds";
  const pattern = new RegExp(`^vllm:${family}_bucket\\{.*?le="([0-9.]+)"`, "gm");
  const bounds = [...text.matchAll(pattern)].map(([, le]) => Number(le));
  return {
    lower: Math.max(0, ...bounds.filter((bound) => bound < value)),
    upper: Math.min(...bounds.filter((bound) => bound >= value)),
  };
}

Deno.test("computeFigures() has the client's acceptance of drafts", async () => {
  const client = await readJson<Client>("speculative/client.json");
  const { lifetime, lastMinute } = await runToEnd("speculative");
  const acceptance = (client.acceptancePercent ?? NaN) / 100;
  assert(isClose(lifetime.draftAcceptanceRatio.value ?? NaN, acceptance));
  assert(isClose(lifetime.meanAcceptanceLength.value ?? NaN, client.meanAcceptanceLength ?? NaN));
  // The minute holds the whole load.
  assert(isClose(lastMinute.draftAcceptanceRatio.value ?? NaN, acceptance));
  const byPosition = client.acceptanceRatioByPosition ?? [];
  assertEquals(lastMinute.acceptanceRatioByPosition.size, byPosition.length);
  for (const [position, ratio] of byPosition.entries()) {
    assert(isClose(lastMinute.acceptanceRatioByPosition.get(String(position)) ?? NaN, ratio));
  }
});

Deno.test("findDifferences() sees each kind of difference", () => {
  const quantile = (value: number, bound: string, interpolated: number): unknown => ({
    value: { value, bound, interpolated },
  });
  const cases: readonly (readonly [actual: unknown, expected: ExpectedTree[string]])[] = [
    [{ value: 1 }, 1 + 2e-9],
    [{ value: 0 }, null],
    [{ value: 0 }, "no_samples"],
    [{ value: null, reason: "missing" }, "no_samples"],
    [{ value: null, reason: "missing" }, 0],
    [{ value: 1, partial: true }, 1],
    [{ value: 1 }, { atLeast: 1 }],
    [quantile(1, "<", 0.5), 0.5],
    [quantile(1, "<", 0.5), 1],
    [quantile(1, "", 1), { below: 1, interpolated: 1 }],
    [quantile(80, "<", 80), { above: 80 }],
    [new Map([["stop", 1]]), {}],
    [new Map(), { stop: 0 }],
    [{ running: { value: 1 } }, { waiting: 1 }],
    [{ lastPoll: { span: { value: 1 } } }, { lastPoll: "restarted" }],
    [true, false],
  ];
  for (const [actual, expected] of cases) {
    assertEquals(findDifferences(actual, expected).length, 1, describe([actual, expected]));
  }
  assertEquals(findDifferences(quantile(80, ">", 80), { above: 80 }), []);
  assertEquals(findDifferences(quantile(1, "<", 0.5), { below: 1, interpolated: 0.5 }), []);
  assertEquals(findDifferences({ value: 1, partial: true }, { atLeast: 1 }), []);
});

/** Whether two trees are the same, numbers but for rounding: a later Prometheus may add in another order. */
function areSame(a: unknown, b: unknown): boolean {
  if (typeof a === "number" && typeof b === "number") return isClose(a, b);
  if (!isObject(a) || !isObject(b)) return a === b;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => areSame(a[key], b[key]));
}

const promtoolOptions = needsProgram("promtool");
for (const name of scenarioNames) {
  Deno.test(`obtainExpected() gives what is committed for ${name}`, promtoolOptions, async () => {
    const obtained = await obtainExpected(await readJson<Scenario>(`${name}/scrapes.json`));
    const committed = await readJson<Expected>(`${name}/expected.json`);
    if (!areSame(obtained.steps, committed.steps)) assertEquals(obtained.steps, committed.steps);
  });
}
