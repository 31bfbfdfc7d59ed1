import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Objective } from "../lib/model.ts";
import { isPresent } from "../lib/reading.ts";
import type { State } from "../lib/state.ts";
import {
  type Attainment,
  chooseObjectives,
  computeBurnRates,
  findWorstObjective,
  judgeAttainment,
} from "../lib/stats_slo.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  MODEL,
  type Series,
  startState,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";

/** Two sets of bounds, as those of vLLM before and after 0.8.4 differ. */
const BOUNDS = [[0.1, 0.25, 0.5, 1, 2.5], [0.2, 0.5, 1, 2, 5, 10]] as const;
const TTFT: Objective = { model: null, latency: "ttft", limit: 0.5, target: 0.95 };
const NAMES = {
  ttft: "time_to_first_token_seconds",
  queue: "request_queue_time_seconds",
} as const;

function observe(
  latency: keyof typeof NAMES,
  bounds: readonly number[],
  samples: readonly number[],
): Series[] {
  const counts = [...bounds, Infinity]
    .map((bound) => samples.filter((sample) => sample <= bound).length);
  const sum = samples.reduce((total, sample) => total + sample, 0);
  return writeHistogram(NAMES[latency], bounds, { counts, sum });
}

function countShare(samples: readonly number[], limit: number): number {
  return samples.filter((sample) => sample <= limit).length / samples.length;
}

function assertHolds({ ratio, samples }: Attainment, raw: readonly number[], limit: number): void {
  assertEquals(samples.value, raw.length);
  if (raw.length === 0) return assertEquals(ratio, { value: null, reason: "no_samples" });
  assert(isPresent(ratio));
  const truth = countShare(raw, limit);
  const slack = 1e-12;
  assert(ratio.value.min <= truth + slack && truth <= ratio.value.max + slack);
}

/** What replicas observed since their start, as of each of the scrapes two seconds apart. */
function watch(
  replicas: readonly {
    readonly bounds: readonly number[];
    readonly model?: string;
    /** In the order of the scrapes; `restart` loses what was observed before. */
    readonly scrapes: readonly { readonly samples: readonly number[]; readonly restart?: true }[];
  }[],
  objectives: readonly Objective[],
): State {
  const endpoints = replicas.map((_, i) => createEndpoint(8000 + i));
  const known = replicas.map((): number[] => []);
  let state = startState(endpoints, { objectives });
  for (let i = 0; i < replicas[0].scrapes.length; i++) {
    const messages = replicas.map(({ bounds, model = MODEL, scrapes }, r) => {
      const { samples, restart } = scrapes[i];
      if (restart) known[r] = [];
      known[r].push(...samples);
      const starts = scrapes.slice(0, i + 1).filter((scrape) => scrape.restart).length;
      const body = `process_start_time_seconds ${1000 + 100 * starts}\n` +
        writeEngine([
          ["num_requests_running", 1],
          ...observe("ttft", bounds, known[r]),
          ...observe("queue", bounds, known[r]),
        ], { model });
      return createScraped(endpoints[r], 2 * i, encode(body));
    });
    state = advance(state, 2 * i + 0.5, messages);
  }
  return state;
}

Deno.test("chooseObjectives() prefers a model's own objectives, latency by latency", () => {
  const own: Objective = { ...TTFT, model: "Chat", limit: 2 };
  const itl: Objective = { ...TTFT, latency: "itl" };
  const all = [TTFT, itl, own];
  assertEquals(chooseObjectives(all, "Chat"), [itl, own]);
  // By the last part of its name too, as it is shown.
  assertEquals(chooseObjectives(all, "org/Chat"), [itl, own]);
  assertEquals(chooseObjectives(all, "org/NotChat"), [TTFT, itl]);
  assertEquals(chooseObjectives(all, "null"), [TTFT, itl]);
  assertEquals(chooseObjectives(all, "org/null"), [TTFT, itl]);
});

Deno.test("computeObjectives() merges counts of replicas, not their shares", () => {
  const many = Array.from({ length: 90 }, () => 0.3);
  const state = watch([
    { bounds: BOUNDS[0], scrapes: [{ samples: [] }, { samples: many }] },
    { bounds: BOUNDS[0], scrapes: [{ samples: [] }, { samples: Array(10).fill(0.7) }] },
  ], [TTFT]);
  const { rows, total } = state.fleet;
  assertEquals(rows.map(({ serviceLevels: [one] }) => one.lastMinute.ratio.value), [
    { min: 1, max: 1 },
    { min: 0, max: 0 },
  ]);
  // The mean of the shares would be 0.5.
  assertEquals(total.serviceLevels[0].lastMinute, {
    ratio: { value: { min: 0.9, max: 0.9 } },
    samples: { value: 100 },
  });
});

Deno.test("computeObjectives() has no share without requests", () => {
  const state = watch([{ bounds: BOUNDS[0], scrapes: [{ samples: [] }, { samples: [] }] }], [TTFT]);
  const [{ lastMinute, session, sinceStart }] = state.fleet.rows[0].serviceLevels;
  for (const { ratio, samples } of [lastMinute, session, sinceStart]) {
    assertEquals(ratio, { value: null, reason: "no_samples" });
    assertEquals(samples, { value: 0 });
  }
});

Deno.test("computeObjectives() keeps apart the last minute, the session and the server's life", () => {
  const quiet = Array.from({ length: 40 }, () => ({ samples: [] }));
  const state = watch([{
    bounds: BOUNDS[0],
    scrapes: [{ samples: [2, 2] }, { samples: [0.3, 0.7] }, ...quiet, { samples: [0.3] }],
  }], [TTFT]);
  const [{ lastMinute, session, sinceStart }] = state.fleet.rows[0].serviceLevels;
  assertEquals([lastMinute.ratio.value?.max, lastMinute.samples.value], [1, 1]);
  assertAlmostEquals(session.ratio.value?.max ?? NaN, 2 / 3);
  assertEquals(session.samples.value, 3);
  assertEquals([sinceStart.ratio.value?.max, sinceStart.samples.value], [0.4, 5]);
});

Deno.test("computeObjectives() has the figures of each objective of the fleet's models", () => {
  const own: Objective = { model: "b/Chat", latency: "ttft", limit: 1, target: 0.9 };
  const scrapes = [{ samples: [] }, { samples: [0.3, 0.7] }];
  const state = watch([
    { bounds: BOUNDS[0], scrapes },
    { bounds: BOUNDS[0], scrapes, model: "b/Chat" },
  ], [TTFT, own]);
  const { groups, total } = state.fleet;
  assertEquals(groups.map(({ serviceLevels }) => serviceLevels.map((one) => one.objective)), [
    [TTFT],
    [own],
  ]);
  assertEquals(total.serviceLevels.map((one) => [one.objective, one.lastMinute.ratio.value?.max]), [
    [TTFT, 0.5],
    [own, 1],
  ]);
});

Deno.test("computeObjectives() marks a count that lacks a replica as a lower bound", () => {
  const endpoints = [createEndpoint(8000), createEndpoint(8001)];
  const write = (samples: readonly number[]) =>
    encode(writeEngine([["num_requests_running", 1], ...observe("ttft", BOUNDS[0], samples)]));
  const first = createScraped(endpoints[0], 0, write([]));
  const state = advance(startState(endpoints, { objectives: [TTFT] }), 2.5, [
    first,
    createScraped(endpoints[0], 2, write([0.3])),
    createScraped(endpoints[1], 2, write([9, 9, 9])),
  ]);
  const [{ lastMinute, session }] = state.fleet.total.serviceLevels;
  assertEquals(lastMinute.samples, { value: 1, partial: true });
  assertEquals(session.samples, { value: 1 });
});

Deno.test("computeObjectives() leaves servers that fail out of the fleet's minute, not of its session", () => {
  const state = watch([
    { bounds: BOUNDS[0], scrapes: [{ samples: [] }, { samples: [0.3] }] },
    { bounds: BOUNDS[0], scrapes: [{ samples: [] }, { samples: [2, 2, 2] }] },
  ], [TTFT]);
  const failed = createFailed(createEndpoint(8001), 4);
  const counts = (known: State) => {
    const [, { status, serviceLevels: [own] }] = known.fleet.rows;
    const [all] = known.fleet.total.serviceLevels;
    const ofAll = [all.lastMinute, all.session, all.sinceStart];
    return [status, own.lastMinute.samples, ...ofAll.map(({ samples }) => samples.value)];
  };
  // The row keeps its old figures, with their age.
  assertEquals(counts(advance(state, 5, [failed])), ["STALE", { value: 3 }, 1, 4, 4]);
  const reason = { value: null, reason: "stale" } as const;
  assertEquals(counts(advance(state, 50, [failed])), ["DOWN", reason, 1, 4, 4]);
});

const SAMPLE = fc.integer({ min: 1, max: 120 }).map((tenths) => tenths / 20);
const SCRAPE = fc.record({
  samples: fc.array(SAMPLE, { maxLength: 6 }),
  restart: fc.boolean(),
});

Deno.test("computeObjectives() holds the true share of all requests, over replicas with different buckets and restarts", () => {
  const replica = fc.record({
    bounds: fc.constantFrom(...BOUNDS),
    scrapes: fc.array(SCRAPE, { minLength: 4, maxLength: 4 }),
  });
  const limit = fc.oneof(SAMPLE, fc.constantFrom(...BOUNDS.flat()));
  fc.assert(
    fc.property(fc.array(replica, { minLength: 1, maxLength: 3 }), limit, (given, at) => {
      const replicas = given.map(({ bounds, scrapes }) => ({
        bounds,
        scrapes: scrapes.map(({ samples, restart }, i) =>
          restart && i > 0 ? { samples, restart: true as const } : { samples }
        ),
      }));
      const { rows, total } = watch(replicas, [{ ...TTFT, limit: at }]).fleet;
      const raw = replicas.map(({ scrapes }) => {
        const lastStart = scrapes.findLastIndex(({ restart }) => restart);
        return {
          session: scrapes.slice(1).flatMap(({ samples }) => samples),
          sinceStart: scrapes.slice(Math.max(0, lastStart)).flatMap(({ samples }) => samples),
          // Nothing is known of the time across a restart.
          minute: lastStart === scrapes.length - 1
            ? null
            : scrapes.slice(Math.max(0, lastStart) + 1).flatMap(({ samples }) => samples),
        };
      });
      rows.forEach(({ serviceLevels: [one] }, i) => {
        assertHolds(one.session, raw[i].session, at);
        assertHolds(one.sinceStart, raw[i].sinceStart, at);
        const { minute } = raw[i];
        if (minute === null) assertEquals(one.lastMinute.ratio.value, null);
        else assertHolds(one.lastMinute, minute, at);
      });
      const [all] = total.serviceLevels;
      assertHolds(all.session, raw.flatMap(({ session }) => session), at);
      assertHolds(all.sinceStart, raw.flatMap(({ sinceStart }) => sinceStart), at);
      const known = raw.flatMap(({ minute }) => minute === null ? [] : [minute]);
      if (known.length > 0) assertHolds(all.lastMinute, known.flat(), at);
      // At a bound of all buckets, it is exact.
      const isBound = replicas.every(({ bounds }) => (bounds as readonly number[]).includes(at));
      const { ratio } = all.session;
      if (isBound && isPresent(ratio)) assertEquals(ratio.value.min, ratio.value.max);
    }),
    { numRuns: 200 },
  );
});

Deno.test("judgeAttainment() judges only what is certain", () => {
  const judge = (min: number, max: number) =>
    judgeAttainment({ ratio: { value: { min, max } }, samples: { value: 100 } }, TTFT);
  assertEquals(judge(0.95, 1), "met");
  assertEquals(judge(0.9, 0.94), "missed");
  assertEquals(judge(0.9, 0.95), "unknown");
  const none: Attainment = {
    ratio: { value: null, reason: "no_samples" },
    samples: { value: 0 },
  };
  assertEquals(judgeAttainment(none, TTFT), "unknown");
});

Deno.test("computeBurnRates() is the share over the limit over the share that may be", () => {
  const { least, most } = computeBurnRates({ min: 0.8, max: 0.9 }, TTFT);
  assertAlmostEquals(least, 2);
  assertAlmostEquals(most, 4);
  const strict = { ...TTFT, target: 1 };
  assertEquals(computeBurnRates({ min: 0.5, max: 1 }, strict), { least: 0, most: Infinity });
});

Deno.test("findWorstObjective() takes what certainly burns fastest, and no objective without requests", () => {
  const samples = { value: 100 };
  const create = (latency: Objective["latency"], min: number | null, max = min ?? 0) => {
    const ratio = min === null
      ? { value: null, reason: "no_samples" } as const
      : { value: { min, max } };
    const attainment: Attainment = { ratio, samples };
    const objective: Objective = { ...TTFT, latency };
    return { objective, lastMinute: attainment, session: attainment, sinceStart: attainment };
  };
  const find = (...all: readonly ReturnType<typeof create>[]) =>
    findWorstObjective(all)?.objective.latency;
  assertEquals(find(create("ttft", 0, 1), create("itl", 0.9)), "itl");
  assertEquals(find(create("ttft", 0, 1), create("itl", 1)), "ttft");
  assertEquals(find(create("ttft", null), create("itl", 1)), "itl");
  assertEquals(find(create("ttft", null)), "ttft");
  assertEquals(find(), undefined);
});
