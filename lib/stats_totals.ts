/**
 * What was counted and reached since watching began: sums that never fall, and
 * peaks with their time.
 *
 * A sum grows by the increase of its counter from one scrape to
 * the next. After a restart the counter itself is the increase: it began at 0,
 * and all that it has counted happened under our eyes. What a server counted
 * between its last scrape and its end is lost with it. A replica that is there
 * when watching begins starts at 0, whatever it has counted before; one whose
 * counters began later has all of them counted. What a server has counted in
 * its whole life is `aggregate`'s. Instants are monotonic seconds.
 *
 * The peak of a total is the highest sum there was at one moment, and not the
 * sum of peaks of different moments: `recordPeaks` is given the values of all,
 * joined.
 *
 * @module
 */

import {
  type CountsByLabel,
  type EngineSample,
  type Figures,
  type KeptScrape,
  sumCounts,
} from "./model.ts";
import { absent, isPresent, present, type Reading, sumReadings } from "./reading.ts";
import { identifyEngine } from "./stats_window.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** What is summed up. */
export const SESSION_KEYS = [
  "requests",
  "promptTokens",
  "cachedPromptTokens",
  "generationTokens",
  "preemptions",
  "rejections",
] as const;
type SessionKey = typeof SESSION_KEYS[number];

/** Readings of the counters, or of their sums. */
export type SessionCounts = Readonly<Record<SessionKey, Reading>>;

/** What has a peak, in the order in which it is shown. Requests, a ratio from 0 to 1, tokens per second. */
export const PEAK_KEYS = [
  "running",
  "waiting",
  "kvCacheUsageRatio",
  "promptTokensPerSecond",
  "generationTokensPerSecond",
] as const;
export type PeakKey = typeof PEAK_KEYS[number];

/** The highest value, and when it was reached first. */
interface Peak {
  readonly value: number;
  readonly at: Seconds;
  readonly atEpoch: EpochSeconds;
}

/** `null`: there was no value yet. */
export type Peaks = Readonly<Record<PeakKey, Peak | null>>;

/** One replica, or the server as a whole, since watching began. */
export interface SessionTotals {
  /** When it was first seen. */
  readonly since: Seconds;
  /** Sums of the increases since then. */
  readonly counted: SessionCounts;
  /** The counters as they were last. */
  readonly counters: SessionCounts;
}

/**
 * A rate over less time is no rate: vLLM books a whole prompt at one moment. Just
 * below the shortest interval, as polls come a little early and late.
 */
const MIN_PEAK_SPAN: Seconds = 0.45;

export const NO_PEAKS: Peaks = {
  running: null,
  waiting: null,
  kvCacheUsageRatio: null,
  promptTokensPerSecond: null,
  generationTokensPerSecond: null,
};

function mapSessionCounts(convert: (key: SessionKey) => Reading): SessionCounts {
  return {
    requests: convert("requests"),
    promptTokens: convert("promptTokens"),
    cachedPromptTokens: convert("cachedPromptTokens"),
    generationTokens: convert("generationTokens"),
    preemptions: convert("preemptions"),
    rejections: convert("rejections"),
  };
}

function getSum(family: CountsByLabel | undefined): Reading {
  return family === undefined ? absent("missing") : present(sumCounts(family));
}

/** The counters of an engine, as they are. Rejections are the server's. */
function getEngineCounters({ counters, labelled }: EngineSample): SessionCounts {
  return {
    requests: getSum(labelled.finishedByReason),
    promptTokens: counters.promptTokens,
    cachedPromptTokens: counters.cachedPromptTokens,
    generationTokens: counters.generationTokens,
    preemptions: counters.preemptions,
    rejections: absent("unsupported"),
  };
}

/** What a server counts beside its engines. */
function getServerCounters({ labelled }: EngineSample): SessionCounts {
  return {
    ...mapSessionCounts(() => absent("unsupported")),
    rejections: getSum(labelled.rejectedByReason),
  };
}

/** A first tally: nothing was counted yet, or, where its counters began under our eyes, all of it. */
function startTotals(
  counters: SessionCounts,
  options: { readonly at: Seconds; readonly isNew: boolean },
): SessionTotals {
  const counted = options.isNew
    ? counters
    : mapSessionCounts((key) => isPresent(counters[key]) ? present(0) : counters[key]);
  return { since: options.at, counted, counters };
}

/** How much a counter rose. It began anew when the server did, or when it is lower than before. */
function getIncrease(now: Reading, before: Reading, hasRestarted: boolean): number {
  if (!isPresent(now)) return 0;
  if (hasRestarted) return now.value;
  // One that is declared but has no sample yet had counted nothing.
  if (!isPresent(before)) return before.reason === "initializing" ? now.value : 0;
  return now.value < before.value ? now.value : now.value - before.value;
}

/** The tally after one more scrape. */
function continueTotals(
  total: SessionTotals,
  counters: SessionCounts,
  hasRestarted: boolean,
): SessionTotals {
  const counted = mapSessionCounts((key) => {
    const sum = total.counted[key];
    const now = counters[key];
    if (!isPresent(sum) && !isPresent(now)) return sum;
    return present((sum.value ?? 0) + getIncrease(now, total.counters[key], hasRestarted));
  });
  const last = mapSessionCounts((key) => {
    if (isPresent(counters[key])) return counters[key];
    // A metric that is away for a while goes on from where it was; after a restart from nothing.
    return hasRestarted ? absent("initializing") : total.counters[key];
  });
  return { ...total, counted, counters: last };
}

/** All that one server has counted since it is watched. */
export interface ServerTotals {
  /** By `identifyEngine`. Engines that went stay: sums never fall. */
  readonly engines: ReadonlyMap<string, SessionTotals>;
  /** Engines that are no longer kept one by one, added up. */
  readonly gone: SessionTotals | null;
  /** What it counts beside its engines; `null` where it does not. */
  readonly server: SessionTotals | null;
}

export const NO_TOTALS: ServerTotals = { engines: new Map(), gone: null, server: null };

/** Engines that are remembered one by one; beyond, those that went are added up. */
const MAX_ENGINES = 512;

/** Whether the engine joined a server that was watched already, and counts from a time after that. */
function hasJoined(attachedAt: Seconds, sample: EngineSample, scrape: KeptScrape): boolean {
  if (attachedAt === Infinity || !isPresent(sample.created)) return false;
  const attachedEpoch = scrape.receivedAtEpoch - (scrape.receivedAt - attachedAt);
  return sample.created.value > attachedEpoch;
}

/** Several tallies in one, since the earliest of them; `null` for none. */
function foldTotals(totals: readonly SessionTotals[]): SessionTotals | null {
  if (totals.length === 0) return null;
  const since = Math.min(...totals.map((total) => total.since));
  return { ...totals[0], since, counted: sumTotals(totals) };
}

/** No more than `MAX_ENGINES` one by one. */
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

/**
 * The tallies after one more scrape.
 *
 * @param hasRestarted Whether it is the first after a restart.
 */
export function addScrape(
  totals: ServerTotals,
  scrape: KeptScrape,
  hasRestarted: boolean,
): ServerTotals {
  const { receivedAt: at, server } = scrape;
  const follow = (
    known: SessionTotals | null | undefined,
    counters: SessionCounts,
    isNew: boolean,
  ): SessionTotals =>
    known === undefined || known === null
      ? startTotals(counters, { at, isNew })
      : continueTotals(known, counters, hasRestarted);
  const engines = new Map(totals.engines);
  const attachedAt = listEngineTotals(totals).reduce(
    (first, { since }) => Math.min(first, since),
    Infinity,
  );
  for (const sample of scrape.engines) {
    const key = identifyEngine(sample);
    const isNew = hasRestarted || hasJoined(attachedAt, sample, scrape);
    engines.set(key, follow(totals.engines.get(key), getEngineCounters(sample), isNew));
  }
  return {
    ...foldGone({ engines, gone: totals.gone }, scrape),
    server: server === null
      ? totals.server
      // Some servers make these counters at their first use.
      : follow(
        totals.server,
        getServerCounters(server),
        hasRestarted || attachedAt < Infinity,
      ),
  };
}

/**
 * What the servers of both have counted, in one tally for their engines and one
 * for what they count beside them.
 */
export function joinTotals(one: ServerTotals, other: ServerTotals): ServerTotals {
  return {
    engines: new Map(),
    gone: foldTotals([...listEngineTotals(one), ...listEngineTotals(other)]),
    server: foldTotals([one.server, other.server].filter((total) => total !== null)),
  };
}

/** The totals of the engines, those that went included. */
export function listEngineTotals({ engines, gone }: ServerTotals): readonly SessionTotals[] {
  return gone === null ? [...engines.values()] : [gone, ...engines.values()];
}

/** The totals of the engines, and what the server counts beside them. */
export function listTotals(totals: ServerTotals): readonly SessionTotals[] {
  const { server } = totals;
  return server === null ? listEngineTotals(totals) : [...listEngineTotals(totals), server];
}

/** The sums of all. */
export function sumTotals(totals: readonly SessionTotals[]): SessionCounts {
  return mapSessionCounts((key) => sumReadings(totals.map(({ counted }) => counted[key])));
}

/** What peaks are taken of; `null` where there is no value. */
export type PeakValues = Readonly<Record<PeakKey, number | null>>;

/** The values of one replica. Rates are those of the last poll. */
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

/** The values of all together: sums, and of KV-cache usage the highest. */
export function joinPeakValues(all: readonly PeakValues[]): PeakValues {
  const join = (key: PeakKey): number | null => {
    const known = all.flatMap((values) => values[key] ?? []);
    if (known.length === 0) return null;
    return key === "kvCacheUsageRatio"
      ? Math.max(...known)
      : known.reduce((sum, value) => sum + value, 0);
  };
  return mapPeaks(join);
}

function mapPeaks<T>(convert: (key: PeakKey) => T): Readonly<Record<PeakKey, T>> {
  return {
    running: convert("running"),
    waiting: convert("waiting"),
    kvCacheUsageRatio: convert("kvCacheUsageRatio"),
    promptTokensPerSecond: convert("promptTokensPerSecond"),
    generationTokensPerSecond: convert("generationTokensPerSecond"),
  };
}

/** The peaks after these values. The same object where none was reached. */
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
  return mapPeaks((key) =>
    isHigher(key) ? { value: values[key] ?? 0, at: moment.at, atEpoch: moment.epoch } : peaks[key]
  );
}

/** What is known of a replica's time. */
export interface Idleness {
  /** Of which it is known whether it was idle. */
  readonly watched: Seconds;
  readonly idle: Seconds;
}

export const NO_IDLENESS: Idleness = { watched: 0, idle: 0 };

function isZero(reading: Reading): boolean {
  return isPresent(reading) && reading.value === 0;
}

function isResting({ gauges }: EngineSample): boolean {
  // Servers without a queue of their own do not say how long it is.
  return isZero(gauges.running) && (isZero(gauges.waiting) || !isPresent(gauges.waiting));
}

/**
 * What is known after one more scrape.
 *
 * @param step.before The replica's sample of the scrape before; `undefined` for none that can be compared.
 * @param step.span Between the two.
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
  return { watched: known.watched + span, idle: known.idle + (isIdle ? span : 0) };
}
