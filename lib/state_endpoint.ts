/**
 * One endpoint and its engines, and how each scrape changes them.
 * @module
 */

import { type DisplayName, nameEndpoints } from "./endpoint.ts";
import type { WatchedLog } from "./log.ts";
import {
  type Endpoint,
  type EngineSample,
  type FailureKind,
  type Figures,
  type KeptScrape,
  type Objective,
  type Scrape,
  type ScrapeFailure,
  type ServerInfo,
  sumCounts,
} from "./model.ts";
import { computeLimit, getLimitPeakValues, type Limit, NO_LIMIT } from "./rules_limits.ts";
import { getStart, isLoading } from "./rules_status.ts";
import { notePoll, type Schedule, startSchedule } from "./scrape_schedule.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";
import { computeFigures, NO_FIGURES } from "./stats_aggregate.ts";
import { continueMark, type Mark, measureMark, pauseMark, startMark } from "./stats_mark.ts";
import { appendFigures, appendGap, NO_SERIES, type Series } from "./stats_series.ts";
import {
  addScrape,
  continueIdleness,
  type Continuity,
  getPeakValues,
  type Idleness,
  NO_IDLENESS,
  NO_PEAKS,
  type Peaks,
  recordPeaks,
  type ServerTotals,
  type SessionTotals,
} from "./stats_totals.ts";
import {
  appendSample,
  computeReplicas,
  type EndpointHistory,
  hasClockJumped,
  identifyEngine,
  type ReplicaSample,
  type ServerCounts,
  startHistory,
} from "./stats_window.ts";
import { type EpochSeconds, type Seconds, SECONDS_PER_DAY } from "./units.ts";

interface EngineState {
  /** Endpoint, model and engine, on separate lines. */
  readonly key: string;
  /** `null` until the fleet has named it; kept while it is away. */
  readonly name: DisplayName | null;
  /** `null` if the newest good scrape lacks it. */
  readonly replica: ReplicaSample | null;
  readonly figures: Figures;
  readonly series: Series;
  readonly totals: SessionTotals;
  readonly peaks: Peaks;
  readonly idleness: Idleness;
  /** Since its last restart. */
  readonly limitPeaks: Peaks;
  /** GPUs aside. */
  readonly limit: Limit;
  /** `null` if the user set none, or it has not answered since. */
  readonly mark: Mark | null;
}

export interface CurrentEngine extends EngineState {
  readonly replica: ReplicaSample;
}

export interface EndpointState {
  readonly endpoint: Endpoint;
  readonly displayName: string;
  readonly history: EndpointHistory;
  /** Newest good one; `null` before the first. */
  readonly scrape: Scrape | null;
  /** `null` unless a request is under way. */
  readonly askedAt: Seconds | null;
  /** Of the newest attempt; `null` if it succeeded. */
  readonly failure: ScrapeFailure | null;
  /** By `identifyEngine`; current ones first, in the scrape's order. */
  readonly engines: ReadonlyMap<string, EngineState>;
  /** Counted per server, not per engine; `null` if there is none. */
  readonly serverTotals: SessionTotals | null;
  /** Sum of engines that are gone for long. */
  readonly goneTotals: SessionTotals | null;
  readonly schedule: Schedule;
  /** `null` until known. */
  readonly server: ServerInfo | null;
  /** `null` until it is read. */
  readonly log: WatchedLog | null;
  /** How long its last load took, as watched; `null` if none was. */
  readonly loadSpan: Seconds | null;
}

export function findEndpoint(
  endpoints: readonly EndpointState[],
  key: string,
): EndpointState | undefined {
  return endpoints.find(({ endpoint }) => endpoint.key === key);
}

export function listEngines({ engines }: EndpointState): readonly CurrentEngine[] {
  return [...engines.values()].filter((engine): engine is CurrentEngine => engine.replica !== null);
}

export interface Fault {
  readonly kind: FailureKind | "model_failed";
  readonly message: string;
}

export function findFault({ failure }: EndpointState, engine: CurrentEngine | null): Fault | null {
  const message = engine?.replica.sample.modelFault;
  return failure ?? (message === undefined ? null : { kind: "model_failed", message });
}

/** Longer uptimes are wrong start times (several API servers export none). */
const MAX_UPTIME: Seconds = 10 * 365 * SECONDS_PER_DAY;

/**
 * Returns the uptime by the server's start time, up to its last answer; absent if the start time is
 * not exported or implausible.
 */
export function getUptime(
  known: EndpointState,
  state: { readonly nowEpoch: EpochSeconds },
): Reading<Seconds> {
  if (known.scrape === null) return absent("missing");
  const { processStart, countersCreated } = known.scrape;
  const start = isPresent(processStart) ? processStart : countersCreated;
  if (!isPresent(start)) return start;
  const until = known.failure === null ? state.nowEpoch : known.scrape.receivedAtEpoch;
  const uptime = until - start.value;
  return uptime > 0 && uptime < MAX_UPTIME ? present(uptime) : absent("unsupported");
}

/** @param countedElsewhere Keys of engines to leave out. */
export function getServerTotals(
  known: EndpointState,
  countedElsewhere: ReadonlySet<string> = new Set(),
): ServerTotals {
  // Of several servers in turn, nothing is counted; what was counted before must stay.
  const isInTurn = known.history.alternation !== null;
  const engines = [...known.engines]
    .filter(([, { key }]) => isInTurn || !countedElsewhere.has(key));
  return {
    engines: new Map(engines.map(([key, { totals }]) => [key, totals])),
    gone: known.goneTotals,
    server: known.serverTotals,
  };
}

/** Gives new endpoints names that no other has. */
export function startEndpoints(
  endpoints: readonly Endpoint[],
  known: readonly EndpointState[],
): readonly EndpointState[] {
  const displayNames = nameEndpoints(endpoints, known);
  return endpoints.map((endpoint, index) => ({
    endpoint,
    displayName: displayNames[index],
    history: startHistory(),
    scrape: null,
    askedAt: null,
    failure: null,
    engines: new Map(),
    serverTotals: null,
    goneTotals: null,
    schedule: startSchedule(endpoint.pace),
    server: null,
    ...{ log: null, loadSpan: null },
  }));
}

function addGaps(engines: EndpointState["engines"], at: Seconds): EndpointState["engines"] {
  return new Map(
    [...engines].map(([key, engine]) => [key, { ...engine, series: appendGap(engine.series, at) }]),
  );
}

/** Restarts windows and leaves a gap in series. */
export function forgetSamples(known: EndpointState, at: Seconds): EndpointState {
  const { restartCount } = known.history;
  const history = { ...startHistory(), restartCount };
  return { ...known, history, engines: addGaps(known.engines, at) };
}

/** Keeps name, totals and peaks. */
function leaveEngine(engine: EngineState): EngineState {
  const { replica, mark } = engine;
  if (replica === null) return engine;
  return {
    ...engine,
    mark: mark && pauseMark(mark, replica.sample),
    ...{
      replica: null,
      figures: NO_FIGURES,
      series: NO_SERIES,
      idleness: NO_IDLENESS,
      limit: NO_LIMIT,
    },
  };
}

/** Drops engines that are not in `totals`. */
function setEngines(
  known: EndpointState,
  totals: ServerTotals,
  current: ReadonlyMap<string, EngineState> = new Map(),
): EndpointState {
  const engines = new Map(current);
  for (const [key, ofEngine] of totals.engines) {
    if (engines.has(key)) continue;
    const before = known.engines.get(key) ?? createEngine(known, key, ofEngine);
    engines.set(key, { ...leaveEngine(before), totals: ofEngine });
  }
  return { ...known, engines, serverTotals: totals.server, goneTotals: totals.gone };
}

function createEngine(
  { endpoint }: EndpointState,
  engineKey: string,
  totals: SessionTotals,
): EngineState {
  return {
    key: `${endpoint.key}\n${engineKey}`,
    ...{ name: null, replica: null, figures: NO_FIGURES, series: NO_SERIES, totals },
    ...{ peaks: NO_PEAKS, limitPeaks: NO_PEAKS, idleness: NO_IDLENESS, limit: NO_LIMIT },
    mark: null,
  };
}

/** With the figures since the mark. */
function showMark(replica: ReplicaSample, mark: Mark | null, at: Seconds): ReplicaSample {
  if (mark === null) return replica;
  const isNew = at === mark.at;
  const sinceMark = isNew ? absent("first_scrape") : present(measureMark(mark, replica.sample, at));
  return { ...replica, sinceMark };
}

/** Sets or removes the mark. A server that does not answer is marked once it does. */
export function markEndpoint(known: EndpointState, isMarked: boolean): EndpointState {
  const at = known.scrape?.receivedAt ?? NaN;
  const engines = new Map(
    [...known.engines].map(([key, engine]): [string, EngineState] => {
      if (engine.replica === null) return [key, { ...engine, mark: null }];
      const { sinceMark: _, ...bare } = engine.replica;
      const isCounted = isMarked && known.failure === null;
      const mark = isCounted ? startMark(at, bare.sample) : null;
      const replica = showMark(bare, mark, at);
      return [key, { ...engine, mark, replica, figures: computeFigures([replica]) }];
    }),
  );
  return { ...known, engines };
}

/** Sets the scrape that the first one is compared with; it is not shown itself. */
export function restoreScrape(
  known: EndpointState,
  scrape: KeptScrape,
  objectives: readonly Objective[],
): EndpointState {
  if (known.history.newest !== null) return known;
  const { receivedAt: at, engines, processStart } = scrape;
  const history = appendSample(known.history, { at, engines, processStart });
  const totals = addScrape(getServerTotals(known), scrape, { continuity: "same", objectives });
  return setEngines({ ...known, history }, totals);
}

function followEngine(
  engine: EngineState,
  counted: ReplicaSample,
  { scrape, totals, before, elapsed, continuity, isMarked }: {
    readonly scrape: Scrape;
    readonly continuity: Continuity;
    readonly totals: SessionTotals;
    /** Its previous sample, if comparable. */
    readonly before: EngineSample | undefined;
    readonly elapsed: Seconds;
    readonly isMarked: boolean;
  },
): EngineState {
  const moment = { at: scrape.receivedAt, epoch: scrape.receivedAtEpoch };
  const { sample } = counted;
  const mark = !isMarked
    ? null
    : engine.mark === null
    ? startMark(moment.at, sample)
    : continueMark(engine.mark, sample, {
      ...{ last: engine.replica?.sample ?? null, continuity },
      isComparable: before !== undefined,
    });
  const replica = showMark(counted, mark, moment.at);
  const figures = computeFigures([replica]);
  const step = { before, now: sample, span: elapsed };
  const known = continuity === "same" ? engine.limitPeaks : NO_PEAKS;
  const limitPeaks = recordPeaks(known, getLimitPeakValues(figures), moment);
  return {
    ...engine,
    ...{ replica, figures, totals, mark },
    series: appendFigures(engine.replica === null ? NO_SERIES : engine.series, figures, moment.at),
    peaks: recordPeaks(engine.peaks, getPeakValues(figures), moment),
    limitPeaks,
    idleness: continueIdleness(engine.idleness, step),
    limit: computeLimit(replica, limitPeaks),
  };
}

function countResponses({ httpResponsesByStatus, server }: Scrape): ServerCounts {
  return {
    rejected: sumCounts(server?.labelled.rejectedByReason),
    responses: sumCounts(httpResponsesByStatus),
    serverErrors: httpResponsesByStatus.get("5xx") ?? 0,
  };
}

function getContinuity({ hasJustRestarted, alternation }: EndpointHistory): Continuity {
  if (!hasJustRestarted) return "same";
  return (alternation?.changes ?? 0) > 1 ? "other server" : "restarted";
}

function extendHistory(history: EndpointHistory, scrape: Scrape): EndpointHistory {
  const { receivedAt: at, engines, processStart } = scrape;
  return appendSample(history, { at, engines, processStart, counts: countResponses(scrape) });
}

/** Returns how long the load took that this scrape ends; `null` if it ends none. */
function measureLoad(known: EndpointState, at: Seconds): Seconds | null {
  const startedAt = isLoading(known, at) ? getStart(known) : null;
  return startedAt === null ? null : Math.max(0, at - startedAt);
}

export function acceptScrape(
  earlier: EndpointState,
  scrape: Scrape,
  { objectives, isMarked }: {
    readonly objectives: readonly Objective[];
    /** The user set a mark. */
    readonly isMarked: boolean;
  },
): EndpointState {
  const hasJumped = hasClockJumped(scrape, earlier.scrape);
  const known = hasJumped ? forgetSamples(earlier, scrape.receivedAt) : earlier;
  const { receivedAt, duration } = scrape;
  const history = extendHistory(known.history, scrape);
  const { hasJustRestarted: hasRestarted } = history;
  const continuity = getContinuity(history);
  const totals = addScrape(getServerTotals(known), scrape, { continuity, objectives });
  const { newest } = known.history;
  const isComparable = !hasJumped && !hasRestarted;
  const samples = new Map(
    isComparable ? newest?.engines.map((sample) => [identifyEngine(sample), sample]) : [],
  );
  const elapsed = receivedAt - (newest?.at ?? Infinity);
  const current = new Map<string, EngineState>();
  for (const replica of computeReplicas(history)) {
    const key = identifyEngine(replica.sample);
    const ofEngine = totals.engines.get(key);
    if (ofEngine === undefined) throw new Error(`No totals of engine "${key}"`);
    const engine = known.engines.get(key) ?? createEngine(known, key, ofEngine);
    const step = {
      ...{ scrape, totals: ofEngine, before: samples.get(key), elapsed },
      ...{ continuity, isMarked },
    };
    current.set(key, followEngine(engine, replica, step));
  }
  return {
    ...setEngines(known, totals, current),
    ...{ history, scrape, askedAt: null, failure: null },
    loadSpan: measureLoad(known, receivedAt) ?? known.loadSpan,
    // Not ours to slow down.
    schedule: scrape.interval !== undefined ? known.schedule : notePoll(known.schedule, {
      endedAt: receivedAt,
      duration: scrape.engines.some(({ server }) => server.answersLate) ? 0 : duration,
      hasFailed: false,
    }),
  };
}

export function acceptFailure(known: EndpointState, failure: ScrapeFailure): EndpointState {
  const { failedAt, duration } = failure;
  const schedule = notePoll(known.schedule, { endedAt: failedAt, duration, hasFailed: true });
  return { ...known, askedAt: null, failure, engines: addGaps(known.engines, failedAt), schedule };
}

/** Shared: its maps would be most of a reduced endpoint. */
const NO_HISTORY = startHistory();
/** Only the present shows its lines. */
function dropLines(watched: WatchedLog | null): WatchedLog | null {
  return watched === null || watched.log === null
    ? watched
    : { ...watched, log: { ...watched.log, lines: [] } };
}

/** Without what `completeEndpoint` computes from the last minute's scrapes: most of its memory. */
export function reduceEndpoint(known: EndpointState): EndpointState {
  const { restartCount, alternation } = known.history;
  const none = { replica: null, figures: NO_FIGURES, limit: NO_LIMIT };
  return {
    ...known,
    scrape: null,
    log: dropLines(known.log),
    history: { ...NO_HISTORY, restartCount, alternation },
    engines: new Map([...known.engines].map(([key, engine]) => [key, { ...engine, ...none }])),
  };
}

/** @param scrapes Of the last minute or longer, oldest first; at least two. */
export function completeEndpoint(
  reduced: EndpointState,
  scrapes: readonly Scrape[],
): EndpointState {
  const { restartCount, alternation } = reduced.history;
  const extended = scrapes.reduce(
    (history, scrape, i) =>
      extendHistory(
        hasClockJumped(scrape, scrapes[i - 1] ?? null) ? startHistory() : history,
        scrape,
      ),
    startHistory(),
  );
  const history = { ...extended, restartCount, alternation };
  const engines = new Map(reduced.engines);
  for (const counted of computeReplicas(history)) {
    const key = identifyEngine(counted.sample);
    const engine = engines.get(key);
    if (engine === undefined) continue;
    const replica = showMark(counted, engine.mark, scrapes[scrapes.length - 1].receivedAt);
    const figures = computeFigures([replica]);
    engines.set(key, {
      ...engine,
      replica,
      figures,
      limit: computeLimit(replica, engine.limitPeaks),
    });
  }
  return { ...reduced, history, scrape: scrapes[scrapes.length - 1], engines };
}
