import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { GpuOutlier } from "../lib/gpu_model.ts";
import {
  type Alert,
  EMPTY_LOG,
  EVENT_KINDS,
  type EventKind,
  type EventLog,
  type EventSubject,
  MAX_EVENTS,
  MERGE_WINDOW,
  type Occurrence,
  recordEvents,
  STATUS_OF_RULE,
  updateAlerts,
} from "../lib/rules_alerts.ts";
import { present } from "../lib/reading.ts";
import { createFinding as completeFinding, type Finding } from "../lib/rules_finding.ts";
import { DEFAULT_RULES, RULE_IDS, type RuleId } from "../lib/rules_table.ts";

const { hold: HOLD, release: RELEASE } = DEFAULT_RULES.slow_decode;

function createFinding(rule: RuleId, key: string, ratio = 2): Finding {
  const finding = { key, value: ratio, baseline: 1, samples: 100, span: 60 };
  return completeFinding(DEFAULT_RULES[rule], finding);
}

/** Alerts after evaluations with these findings at these times. */
function evaluate(
  evaluations: readonly (readonly [at: number, findings: readonly Finding[]])[],
  isEvaluated: (key: string) => boolean = () => true,
): readonly Alert[] {
  return evaluations.reduce<readonly Alert[]>(
    (alerts, [at, findings]) =>
      updateAlerts(alerts, { findings, at, isEvaluated, rules: DEFAULT_RULES }),
    [],
  );
}

const SLOW = createFinding("slow_decode", "a");

Deno.test("updateAlerts() fires when a finding has lasted, not before", () => {
  const isFiringAfter = (...at: number[]) =>
    evaluate(at.map((moment) => [moment, [SLOW]]))[0].isFiring;
  assert(!isFiringAfter(10));
  assert(!isFiringAfter(10, 10 + HOLD - 0.1));
  assert(isFiringAfter(10, 10 + HOLD));
  assertEquals(evaluate([[10, [SLOW]], [14, [SLOW]]])[0].since, 10);
});

Deno.test("updateAlerts() fires at once in a single evaluation", () => {
  const findings = [createFinding("hot", "a")];
  const evaluation = { findings, at: 0, isEvaluated: () => true, rules: DEFAULT_RULES };
  assertEquals(updateAlerts([], evaluation)[0].isFiring, false);
  assertEquals(updateAlerts([], { ...evaluation, isSingleEvaluation: true })[0].isFiring, true);
});

Deno.test("updateAlerts() counts time, not evaluations", () => {
  const often = Array.from({ length: 100 }, (_, i) => [10 + i / 100, [SLOW]] as const);
  assert(!evaluate(often)[0].isFiring);
});

Deno.test("updateAlerts() drops a pending alert as soon as its finding is gone", () => {
  assertEquals(evaluate([[10, [SLOW]], [12, []]]), []);
  // A new alert.
  assert(!evaluate([[10, [SLOW]], [12, []], [13, [SLOW]], [15, [SLOW]]])[0].isFiring);
});

Deno.test("updateAlerts() keeps a firing alert for its `release`", () => {
  const evaluations = [[10, [SLOW]], [14, [SLOW]]] as const;
  const [kept] = evaluate([...evaluations, [14 + RELEASE - 0.1, []]]);
  assert(kept.isFiring);
  assertEquals(evaluate([...evaluations, [14 + RELEASE, []]]), []);
  const [back] = evaluate([...evaluations, [30, []], [40, [SLOW]], [
    40 + RELEASE - 0.1,
    [],
  ]]);
  assertEquals([back.since, back.lastAt], [10, 40]);
});

Deno.test("updateAlerts() resolves alerts of a replica that is gone", () => {
  const evaluations = [[10, [SLOW]], [14, [SLOW]], [15, []]] as const;
  assertEquals(evaluate(evaluations, (key) => key !== "a"), []);
  assertEquals(evaluate(evaluations, (key) => key !== "b").length, 1);
});

Deno.test("updateAlerts() keeps the first, the newest and the worst evidence", () => {
  const [alert] = evaluate([2, 5, 3].map((ratio, i) => [i, [createFinding("hot", "a", ratio)]]));
  assertEquals([alert.first.ratio, alert.worst.ratio, alert.newest.ratio], [2, 5, 3]);
});

Deno.test("updateAlerts() tracks each rule and replica separately", () => {
  const findings = [SLOW, createFinding("slow_decode", "b"), createFinding("kv_skew", "a")];
  const alerts = evaluate([[10, findings], [14, [SLOW]]]);
  assertEquals(alerts.map(({ first }) => `${first.rule} ${first.key}`), ["slow_decode a"]);
});

Deno.test("updateAlerts() dates a stall back to the last progress", () => {
  const stalled = { ...createFinding("stalled", "a"), value: 16, since: 84 };
  const [alert] = evaluate([[100, [stalled]]]);
  assertEquals([alert.since, alert.isFiring], [84, true]);
  assertEquals(evaluate([[100, [stalled]], [102, []]]), []);
});

Deno.test("updateAlerts() fires and resolves a share of the last poll with its finding", () => {
  const finding = createFinding("request_share", "a");
  assertEquals(evaluate([[100, [finding]]]).map(({ isFiring }) => isFiring), [true]);
  assertEquals(evaluate([[100, [finding]], [100.5, []]]), []);
});

const EPOCH = 1_795_300_000;

function createSubject(key: string): EventSubject {
  return { key, endpointKey: key, address: key, name: key, modelName: null, engine: null };
}

function createOccurrence(kind: EventKind, key = "a", more: Partial<Occurrence> = {}): Occurrence {
  return { kind, subject: createSubject(key), ...more };
}

function createSlowFinding(ratio: number): Finding {
  const finding = { key: "a", value: ratio, baseline: 1, samples: 9, span: 60 };
  return completeFinding(DEFAULT_RULES.slow_decode, {
    ...finding,
    statistic: "mean",
    probability: 0,
  });
}

/** The log after these evaluations. */
function record(
  ...evaluations: readonly (readonly [
    at: number,
    lasting: readonly Occurrence[],
    instants?: readonly Occurrence[],
  ])[]
): EventLog {
  return evaluations.reduce<EventLog>(
    (log, [at, lasting, instants = []]) =>
      recordEvents(log, { at, epoch: EPOCH + at, lasting, instants }),
    EMPTY_LOG,
  );
}

function describe({ lines }: EventLog): string[] {
  return lines.map(({ kind, subject, beganAt, endedAt, occurrences }) =>
    `${kind} ${subject.key} ${beganAt}-${endedAt ?? ""} ×${occurrences}`
  );
}

Deno.test("recordEvents() keeps the newest outlier of a GPU, and none of other events", () => {
  const createOutlier = (clock: number): GpuOutlier => ({
    ...{ gpuIndex: 3, kind: "slow_clock", reasons: [], peerCount: 7 },
    smClockHertz: present(clock),
    peersClockHertz: present(2e9),
    temperatureCelsius: present(60),
  });
  const see = (clock: number): Occurrence =>
    createOccurrence("GPU", "a", {
      outlier: createOutlier(clock),
    });
  const looks = [[10, [see(1e9)]], [12, [see(9e8)]], [14, [createOccurrence("GPU")]]] as const;
  const outliers = [1, 2, 3].map((count) => record(...looks.slice(0, count)).lines[0].outlier);
  assertEquals(outliers, [createOutlier(1e9), createOutlier(9e8), createOutlier(9e8)]);
  const [down] = record([10, [createOccurrence("DOWN")]], [12, [createOccurrence("DOWN")]]).lines;
  assert(!("outlier" in down));
});

Deno.test("recordEvents() keeps the earlier of equally bad evidence", () => {
  const see = (value: number): Occurrence =>
    createOccurrence("SLOW", "a", { worst: { ...createSlowFinding(3), value } });
  const [line] = record([10, [see(1)]], [12, [see(2)]]).lines;
  assertEquals(line.worst?.value, 1);
});

Deno.test("recordEvents() opens a line for a condition, and ends it", () => {
  const down = createOccurrence("DOWN");
  assertEquals(describe(record([1, [down]])), ["DOWN a 1- ×1"]);
  assertEquals(describe(record([1, [down]], [3, [down]], [5, []])), ["DOWN a 1-5 ×1"]);
  assertEquals(record([1, [down]]).lines[0].beganAtEpoch, EPOCH + 1);
});

Deno.test("recordEvents() dates a line back to its start", () => {
  const [line] = record([20, [createOccurrence("SLOW", "a", { since: 14 })]]).lines;
  assertEquals([line.beganAt, line.beganAtEpoch], [14, EPOCH + 14]);
});

Deno.test("recordEvents() ends an incident as it starts", () => {
  assertEquals(describe(record([1, [], [createOccurrence("RESTART")]], [3, []])), [
    "RESTART a 1-1 ×1",
  ]);
});

Deno.test("recordEvents() continues the line of an event that recurs within a minute", () => {
  const stale = createOccurrence("STALE");
  const flapping = record([1, [stale]], [3, []], [5, [stale]], [7, []], [9, [stale]]);
  assertEquals(describe(flapping), ["STALE a 1- ×3"]);
  assertEquals(describe(record([1, [stale]], [3, []], [3 + MERGE_WINDOW, [stale]])), [
    "STALE a 1- ×2",
  ]);
  assertEquals(describe(record([1, [stale]], [3, []], [3.1 + MERGE_WINDOW, [stale]])), [
    "STALE a 1-3 ×1",
    "STALE a 63.1- ×1",
  ]);
  const preempt = createOccurrence("PREEMPT", "a", { amount: 2 });
  const often = record([1, [], [preempt]], [40, [], [preempt]], [80, [], [preempt]]);
  assertEquals(describe(often), ["PREEMPT a 1-80 ×3"]);
  assertEquals(often.lines[0].amount, 6);
});

Deno.test("recordEvents() separates kinds and replicas", () => {
  const log = record([1, [
    createOccurrence("STALE"),
    createOccurrence("STALE", "b"),
    createOccurrence("SLEEP"),
  ]]);
  assertEquals(describe(log), ["STALE a 1- ×1", "STALE b 1- ×1", "SLEEP a 1- ×1"]);
});

Deno.test("recordEvents() keeps the first and the worst evidence, over several rules as well", () => {
  const slow = (first: number, worst: number) =>
    createOccurrence("SLOW", "a", {
      first: createSlowFinding(first),
      worst: createSlowFinding(worst),
    });
  const { lines } = record([1, [slow(2, 2), slow(2.5, 3)]], [3, [slow(2, 2.2)]]);
  assertEquals(lines.map(({ first, worst }) => [first?.ratio, worst?.ratio]), [[2, 3]]);
});

Deno.test("recordEvents() returns the same log if nothing happens", () => {
  const log = record([1, [createOccurrence("DOWN")]], [3, []]);
  assert(recordEvents(log, { at: 5, epoch: EPOCH, lasting: [], instants: [] }) === log);
});

Deno.test("recordEvents() drops the oldest ended lines and never an open one", () => {
  const open = createOccurrence("DOWN", "open");
  let log = record([0, [open]]);
  for (let i = 0; i < MAX_EVENTS + 10; i++) {
    const instants = [createOccurrence("RESTART", `s${i}`)];
    log = recordEvents(log, { at: i + 1, epoch: EPOCH + i, lasting: [open], instants });
  }
  assertEquals(log.lines.length, 1 + MAX_EVENTS);
  assertEquals(log.lines[0].subject.key, "open");
  assertEquals(log.lines[1].subject.key, "s10");
});

Deno.test("recordEvents() keeps more open lines than the limit, and restarts none", () => {
  const down = Array.from(
    { length: 2 * MAX_EVENTS + 100 },
    (_, i) => createOccurrence("DOWN", `${i}`),
  );
  const evaluations = [1, 3, 5, 7].map((at) => [at, down] as const);
  const log = record(...evaluations);
  assertEquals(log.count, down.length);
  assertEquals(describe(log), down.map(({ subject: { key } }) => `DOWN ${key} 1- ×1`));
  // Incidents still get their lines.
  const restarted = record(...evaluations, [9, down, [createOccurrence("RESTART", "a")]], [
    11,
    down,
  ]);
  assertEquals(describe(restarted).at(-1), "RESTART a 9-9 ×1");
  // Once ended, they are trimmed like any other.
  const over = record(...evaluations, [9, []]);
  assertEquals(over.lines.length, MAX_EVENTS);
  assertEquals(over.count, down.length);
});

const arbitraryOccurrence = fc.record({
  kind: fc.constantFrom(...Object.keys(EVENT_KINDS) as EventKind[]),
  key: fc.constantFrom("a", "b", "c"),
}).map(({ kind, key }) => createOccurrence(kind, key));

/** Each event once: a condition is not an incident at the same time. */
function removeDuplicates(occurrences: readonly Occurrence[]): readonly Occurrence[] {
  return [...new Map(occurrences.map((one) => [one.kind + one.subject.key, one])).values()];
}

Deno.test("recordEvents() is bounded, and every line starts before it ends", () => {
  fc.assert(fc.property(
    fc.array(
      fc.record({
        wait: fc.oneof(
          fc.constantFrom(2, MERGE_WINDOW - 1, MERGE_WINDOW, MERGE_WINDOW + 1),
          fc.double({
            ...{ min: 0.1, max: 200, noNaN: true },
          }),
        ),
        lasting: fc.array(arbitraryOccurrence, { maxLength: 6 }),
        instants: fc.array(arbitraryOccurrence, { maxLength: 3 }),
      }),
      { maxLength: 60 },
    ),
    (evaluations) => {
      let log = EMPTY_LOG;
      let at = 0;
      for (const evaluation of evaluations) {
        at += evaluation.wait;
        const lasting = removeDuplicates(evaluation.lasting);
        const instants = removeDuplicates(evaluation.instants).filter((one) =>
          !lasting.some(({ kind, subject }) => kind === one.kind && subject.key === one.subject.key)
        );
        log = recordEvents(log, { at, epoch: EPOCH + at, lasting, instants });
        const open = log.lines.filter(({ endedAt }) => endedAt === null)
          .map(({ kind, subject }) => kind + subject.key);
        assertEquals(
          [...open].sort(),
          lasting.map(({ kind, subject }) => kind + subject.key).sort(),
          "open is what lasts, once each",
        );
        assert(log.lines.length - open.length <= MAX_EVENTS);
        for (const { beganAt, endedAt, occurrences } of log.lines) {
          assert(beganAt <= (endedAt ?? at) && (endedAt ?? at) <= at && occurrences >= 1);
        }
        assertEquals(new Set(log.lines.map(({ id }) => id)).size, log.lines.length);
      }
      for (const one of log.lines) {
        const next = log.lines.find(({ id, kind, subject }) =>
          id > one.id && kind === one.kind && subject.key === one.subject.key
        );
        if (next !== undefined) assert(next.beganAt - (one.endedAt ?? Infinity) > MERGE_WINDOW);
      }
    },
  ));
});

Deno.test("STATUS_OF_RULE has an alert for each rule", () => {
  for (const id of RULE_IDS) assertEquals(EVENT_KINDS[STATUS_OF_RULE[id]], "alert", id);
});
