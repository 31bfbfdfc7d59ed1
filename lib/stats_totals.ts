/**
 * Session totals, which never fall, and peaks. A total grows by the increase of its counter between
 * scrapes; after a restart, by the counter itself. A replica present at the start of the session
 * starts at 0; one whose counters began later counts in full. What a server counts between its last
 * scrape and its end is lost. The peak of a total is the highest sum at one moment.
 * @module
 */

import {
  createRecord,
  type EngineSample,
  type Figures,
  getAbsence,
  type KeptScrape,
  type LabelledKey,
  type Objective,
  sumCounts,
} from "./model.ts";
import { absent, isPresent, present, type Reading, sumReadings } from "./reading.ts";
import { PEAK_KEYS, type PeakKey } from "./stats_series.ts";
import { chooseObjectives, countSample, WITHIN_KEYS } from "./stats_slo.ts";
import { identifyEngine } from "./stats_window.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

export const SESSION_KEYS = [
  "requests",
  "promptTokens",
  "cachedPromptTokens",
  "generationTokens",
  "preemptions",
  "rejections",
] as const;
type SessionKey = typeof SESSION_KEYS[number];
/** Counters, or sums of them. */
export type SessionCounts = Readonly<Record<SessionKey, Reading>>;

/** The highest value, and when it was first reached. */
interface Peak {
  readonly value: number;
  readonly at: Seconds;
  readonly atEpoch: EpochSeconds;
}

/** `null`: no value yet. */
export type Peaks = Readonly<Record<PeakKey, Peak | null>>;

interface Tally<Key extends string> {
  /** Increases since it was first seen. */
  readonly counted: Readonly<Record<Key, Reading>>;
  /** Latest counters. */
  readonly counters: Readonly<Record<Key, Reading>>;
}

/** One replica, or the server as a whole. */
export interface SessionTotals extends Tally<SessionKey> {
  /** First seen at. */
  readonly since: Seconds;
  /** One for each objective of the replica's model. */
  readonly objectives: readonly Tally<typeof WITHIN_KEYS[number]>[];
}

/**
 * Shorter spans give no rate, as vLLM books a whole prompt at once. Slightly below the shortest
 * interval, as polls jitter.
 */
const MIN_PEAK_SPAN: Seconds = 0.45;
export const NO_PEAKS: Peaks = createRecord(PEAK_KEYS, () => null);

function getSum(sample: EngineSample, key: LabelledKey): Reading {
  const family = sample.labelled[key];
  return family === undefined ? getAbsence(sample, key) : present(sumCounts(family));
}

function getEngineCounters(sample: EngineSample): SessionCounts {
  const { counters } = sample;
  return {
    requests: getSum(sample, "finishedByReason"),
    promptTokens: counters.promptTokens,
    cachedPromptTokens: counters.cachedPromptTokens,
    generationTokens: counters.generationTokens,
    preemptions: counters.preemptions,
    rejections: absent("unsupported"),
  };
}

/** Counters without an engine. */
function getServerCounters(sample: EngineSample): SessionCounts {
  return {
    ...createRecord(SESSION_KEYS, () => absent("unsupported")),
    rejections: getSum(sample, "rejectedByReason"),
  };
}

function startTally<Key extends string>(
  keys: readonly Key[],
  counters: Tally<Key>["counters"],
  isNew: boolean,
): Tally<Key> {
  const counted = isNew
    ? counters
    : createRecord(keys, (key) => isPresent(counters[key]) ? present(0) : counters[key]);
  return { counted, counters };
}

/** What the server is, compared with the scrape before. */
export type Continuity = "same" | "restarted" | "other server";

function getIncrease(now: Reading, before: Reading, continuity: Continuity): number {
  // Counters of another server have not grown since the last scrape.
  if (!isPresent(now) || continuity === "other server") return 0;
  if (continuity === "restarted") return now.value;
  // Declared without samples: nothing was counted.
  if (!isPresent(before)) return before.reason === "initializing" ? now.value : 0;
  return now.value < before.value ? now.value : now.value - before.value;
}

function continueTally<Key extends string>(
  keys: readonly Key[],
  total: Tally<Key>,
  { counters, continuity }: {
    readonly counters: Tally<Key>["counters"];
    readonly continuity: Continuity;
  },
): Tally<Key> {
  const counted = createRecord(keys, (key) => {
    const sum = total.counted[key];
    const now = counters[key];
    if (!isPresent(sum) && !isPresent(now)) return sum;
    return present((sum.value ?? 0) + getIncrease(now, total.counters[key], continuity));
  });
  const last = createRecord(keys, (key) => {
    if (isPresent(counters[key])) return counters[key];
    // A missing metric continues from its last value; after a restart, from nothing.
    return continuity === "same" ? total.counters[key] : absent("initializing");
  });
  return { counted, counters: last };
}

/** @param step.isNew Whether it counted nothing before the session, if it is not yet known. */
function follow(
  known: SessionTotals | null | undefined,
  counters: Pick<SessionTotals, "counters"> & {
    readonly objectives: readonly SessionTotals["objectives"][number]["counters"][];
  },
  step: { readonly at: Seconds; readonly isNew: boolean; readonly continuity: Continuity },
): SessionTotals {
  const followTally = <Key extends string>(
    keys: readonly Key[],
    before: Tally<Key> | undefined,
    now: Tally<Key>["counters"],
  ): Tally<Key> =>
    before === undefined
      ? startTally(keys, now, step.isNew)
      : continueTally(keys, before, { counters: now, continuity: step.continuity });
  return {
    since: known?.since ?? step.at,
    ...followTally(SESSION_KEYS, known ?? undefined, counters.counters),
    objectives: counters.objectives.map((now, i) =>
      followTally(WITHIN_KEYS, known?.objectives[i], now)
    ),
  };
}

export interface ServerTotals {
  /** By `identifyEngine`; engines that left stay. */
  readonly engines: ReadonlyMap<string, SessionTotals>;
  /** Sum of engines no longer kept singly. */
  readonly gone: SessionTotals | null;
  /** Counters without an engine. */
  readonly server: SessionTotals | null;
}

export const NO_TOTALS: ServerTotals = { engines: new Map(), gone: null, server: null };
/** Beyond it, engines that left are summed up. */
const MAX_ENGINES = 512;

/** Whether the engine's counters began after the server was first seen. */
function hasJoined(attachedAt: Seconds, sample: EngineSample, scrape: KeptScrape): boolean {
  if (attachedAt === Infinity || !isPresent(sample.created)) return false;
  const attachedEpoch = scrape.receivedAtEpoch - (scrape.receivedAt - attachedAt);
  return sample.created.value > attachedEpoch;
}

/** Sums totals since the earliest; `null` for none. */
function foldTotals(totals: readonly SessionTotals[]): SessionTotals | null {
  if (totals.length === 0) return null;
  const since = Math.min(...totals.map((total) => total.since));
  return { ...totals[0], since, counted: sumTotals(totals), objectives: [] };
}

function foldGone(
  { engines, gone }: Pick<ServerTotals, "engines" | "gone">,
  scrape: KeptScrape,
): Pick<ServerTotals, "engines" | "gone"> {
  if (engines.size <= MAX_ENGINES) return { engines, gone };
  const current = new Set(scrape.engines.map(identifyEngine));
  const leaving = [...engines].filter(([key]) => !current.has(key)).map(([, total]) => total);
  return {
    engines: new Map([...engines].filter(([key]) => current.has(key))),
    gone: foldTotals(gone === null ? leaving : [gone, ...leaving]),
  };
}

/** Adds a scrape. */
export function addScrape(
  totals: ServerTotals,
  scrape: KeptScrape,
  { continuity, objectives = [] }: {
    readonly continuity: Continuity;
    /** The same in each call. */
    readonly objectives?: readonly Objective[];
  },
): ServerTotals {
  const hasRestarted = continuity === "restarted";
  const { receivedAt: at, server } = scrape;
  const engines = new Map(totals.engines);
  const attachedAt = listEngineTotals(totals).reduce(
    (first, { since }) => Math.min(first, since),
    Infinity,
  );
  for (const sample of scrape.engines) {
    const key = identifyEngine(sample);
    const isNew = hasRestarted || hasJoined(attachedAt, sample, scrape);
    const counters = {
      counters: getEngineCounters(sample),
      objectives: chooseObjectives(objectives, sample.modelName)
        .map((objective) => countSample(sample, objective)),
    };
    engines.set(key, follow(totals.engines.get(key), counters, { at, isNew, continuity }));
  }
  // Some servers create these counters on first use.
  const isNew = hasRestarted || attachedAt < Infinity;
  return {
    ...foldGone({ engines, gone: totals.gone }, scrape),
    server: server === null
      ? totals.server
      : follow(totals.server, { counters: getServerCounters(server), objectives: [] }, {
        at,
        isNew,
        continuity,
      }),
  };
}

/** Joins the totals of two endpoints. */
export function joinTotals(one: ServerTotals, other: ServerTotals): ServerTotals {
  return {
    engines: new Map(),
    gone: foldTotals([...listEngineTotals(one), ...listEngineTotals(other)]),
    server: foldTotals([one.server, other.server].filter((total) => total !== null)),
  };
}

/** Includes engines that left. */
export function listEngineTotals({ engines, gone }: ServerTotals): readonly SessionTotals[] {
  return gone === null ? [...engines.values()] : [gone, ...engines.values()];
}

/** The totals of engines and server. */
export function listTotals(totals: ServerTotals): readonly SessionTotals[] {
  const { server } = totals;
  return server === null ? listEngineTotals(totals) : [...listEngineTotals(totals), server];
}

export function sumTotals(totals: readonly SessionTotals[]): SessionCounts {
  return createRecord(
    SESSION_KEYS,
    (key) => sumReadings(totals.map(({ counted }) => counted[key])),
  );
}

/** `null`: no value. */
export type PeakValues = Readonly<Record<PeakKey, number | null>>;

/** Rates are those of the last poll. */
export function getPeakValues({ running, waiting, kvCache, lastPoll }: Figures): PeakValues {
  const isLong = (lastPoll.span.value ?? 0) >= MIN_PEAK_SPAN;
  const rate = (reading: Reading): number | null => isLong ? reading.value : null;
  return {
    running: running.value,
    waiting: waiting.value,
    kvCacheUsageRatio: kvCache.maxRatio.value,
    promptTokensPerSecond: rate(lastPoll.promptTokensPerSecond),
    generationTokensPerSecond: rate(lastPoll.generationTokensPerSecond),
  };
}

/** Sums; the maximum of KV-cache usage. */
export function joinPeakValues(all: readonly PeakValues[]): PeakValues {
  const join = (key: PeakKey): number | null => {
    const known = all.flatMap((values) => values[key] ?? []);
    if (known.length === 0) return null;
    return key === "kvCacheUsageRatio"
      ? Math.max(...known)
      : known.reduce((sum, value) => sum + value, 0);
  };
  return createRecord(PEAK_KEYS, join);
}

/** Returns the same object if no peak was exceeded. */
export function recordPeaks(
  peaks: Peaks,
  values: PeakValues,
  moment: { readonly at: Seconds; readonly epoch: EpochSeconds },
): Peaks {
  const isHigher = (key: PeakKey): boolean => {
    const value = values[key];
    return value !== null && Number.isFinite(value) && value > (peaks[key]?.value ?? -Infinity);
  };
  if (!PEAK_KEYS.some(isHigher)) return peaks;
  return createRecord(
    PEAK_KEYS,
    (key) =>
      isHigher(key)
        ? { value: values[key] ?? 0, at: moment.at, atEpoch: moment.epoch }
        : peaks[key],
  );
}

export interface Idleness {
  /** Time for which idleness is known. */
  readonly span: Seconds;
  readonly idle: Seconds;
}

export const NO_IDLENESS: Idleness = { span: 0, idle: 0 };

function isZero(reading: Reading): boolean {
  return isPresent(reading) && reading.value === 0;
}

function isResting({ gauges }: EngineSample): boolean {
  // Servers without a queue do not report it.
  return isZero(gauges.running) && (isZero(gauges.waiting) || !isPresent(gauges.waiting));
}

/**
 * Adds the time between two samples.
 * @param step.before `undefined` if none can be compared.
 */
export function continueIdleness(
  known: Idleness,
  step: {
    readonly before: EngineSample | undefined;
    readonly now: EngineSample;
    readonly span: Seconds;
  },
): Idleness {
  const { before, now, span } = step;
  if (before === undefined || span <= 0 || !isPresent(now.gauges.running)) return known;
  const [first, last] = [before, now].map(getEngineCounters);
  const isSame = (["requests", "promptTokens", "generationTokens"] as const).every((key) =>
    first[key].value === last[key].value
  );
  const isIdle = isSame && isResting(before) && isResting(now);
  return { span: known.span + span, idle: known.idle + (isIdle ? span : 0) };
}
