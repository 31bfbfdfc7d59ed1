/**
 * What is known of one endpoint and of each of its engines, and how each of its
 * scrapes changes it.
 *
 * What engines are called beside others, and what is said of all endpoints
 * together, is the state's. Instants are monotonic seconds.
 * @module
 */

import { type DisplayName, nameEndpoints } from "./endpoint.ts";
import type {
  Endpoint,
  EngineSample,
  Figures,
  KeptScrape,
  Scrape,
  ScrapeFailure,
  ServerInfo,
} from "./model.ts";
import { notePoll, type Schedule, startSchedule } from "./scrape_schedule.ts";
import { computeFigures } from "./stats_aggregate.ts";
import { appendFigures, appendGap, type Series } from "./stats_series.ts";
import {
  addScrape,
  continueIdleness,
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
  startHistory,
} from "./stats_window.ts";
import type { Seconds } from "./units.ts";

/** What is known of one engine. */
export interface EngineState {
  /** Its identity: endpoint, model and engine. Not to be shown: its parts stand on lines of their own. */
  readonly key: string;
  /** `null` until the fleet has named it. It keeps its name while it is away. */
  readonly name: DisplayName | null;
  /** Its newest sample and windows; `null` if the newest good scrape is without it. */
  readonly replica: ReplicaSample | null;
  readonly figures: Figures;
  /** The last polls. */
  readonly series: Series;
  /** What it has counted since it is watched. */
  readonly totals: SessionTotals;
  readonly peaks: Peaks;
  /** How much of its time it had nothing to do. */
  readonly idleness: Idleness;
}

/** An engine of the newest good scrape. */
export interface CurrentEngine extends EngineState {
  readonly replica: ReplicaSample;
}

/** What is known of one endpoint. */
export interface EndpointState {
  readonly endpoint: Endpoint;
  /** What it is called, for as long as it is watched. */
  readonly displayName: string;
  readonly history: EndpointHistory;
  /** The newest good scrape; `null` before the first. */
  readonly scrape: Scrape | null;
  /** When it was asked, while it has not answered; else `null`. */
  readonly askedAt: Seconds | null;
  /** Why the newest attempt failed; `null` when it did not. */
  readonly failure: ScrapeFailure | null;
  /** By `identifyEngine`: those of the newest good scrape in its order, then those that went. */
  readonly engines: ReadonlyMap<string, EngineState>;
  /** What it counts beside its engines; `null` where it does not. */
  readonly serverTotals: SessionTotals | null;
  /** Engines that went and are no longer kept one by one, added up. */
  readonly goneTotals: SessionTotals | null;
  /** How often it may be asked. */
  readonly schedule: Schedule;
  /** How it was started; `null` until that is known. */
  readonly server: ServerInfo | null;
}

const NO_FIGURES: Figures = computeFigures([]);

/** The engines of the newest good scrape, in its order. */
export function listEngines({ engines }: EndpointState): readonly CurrentEngine[] {
  const current: CurrentEngine[] = [];
  for (const engine of engines.values()) {
    if (engine.replica !== null) current.push(engine as CurrentEngine);
  }
  return current;
}

/** All that the server has counted since it is watched. */
export function getServerTotals(known: EndpointState): ServerTotals {
  return {
    engines: new Map([...known.engines].map(([key, { totals }]) => [key, totals])),
    gone: known.goneTotals,
    server: known.serverTotals,
  };
}

/** Endpoints of which nothing is known, with names that no other has. */
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
    schedule: startSchedule(),
    server: null,
  }));
}

function addGaps(engines: EndpointState["engines"]): EndpointState["engines"] {
  return new Map(
    [...engines].map(([key, engine]) => [key, { ...engine, series: appendGap(engine.series) }]),
  );
}

/** The endpoint without its samples: windows begin anew, and series have a gap. */
export function forgetSamples(known: EndpointState): EndpointState {
  const { restartCount } = known.history;
  const history = { ...startHistory(), restartCount };
  return { ...known, history, engines: addGaps(known.engines) };
}

/** An engine that the newest scrape is without: names, sums and peaks stay. */
function leaveEngine(engine: EngineState): EngineState {
  if (engine.replica === null) return engine;
  return { ...engine, replica: null, figures: NO_FIGURES, series: [], idleness: NO_IDLENESS };
}

/**
 * The endpoint with those sums, and with no engine that is not among them.
 *
 * @param current The engines of the scrape, in its order.
 */
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
    ...{ name: null, replica: null, figures: NO_FIGURES, series: [], totals },
    ...{ peaks: NO_PEAKS, idleness: NO_IDLENESS },
  };
}

/** The endpoint with a scrape that later ones are compared with, and that nothing else is made of. */
export function restoreScrape(known: EndpointState, scrape: KeptScrape): EndpointState {
  if (known.history.newest !== null) return known;
  const { receivedAt: at, engines, processStart } = scrape;
  const history = appendSample(known.history, { at, engines, processStart });
  const totals = addScrape(getServerTotals(known), scrape, false);
  return setEngines({ ...known, history }, totals);
}

/** The engine after one more sample. */
function followEngine(
  engine: EngineState,
  replica: ReplicaSample,
  { scrape, totals, before, elapsed }: {
    readonly scrape: Scrape;
    readonly totals: SessionTotals;
    /** Its sample of the scrape before; `undefined` for none that can be compared. */
    readonly before: EngineSample | undefined;
    readonly elapsed: Seconds;
  },
): EngineState {
  const figures = computeFigures([replica]);
  const moment = { at: scrape.receivedAt, epoch: scrape.receivedAtEpoch };
  const step = { before, now: replica.sample, span: elapsed };
  return {
    ...engine,
    ...{ replica, figures, totals },
    series: appendFigures(engine.replica === null ? [] : engine.series, figures),
    peaks: recordPeaks(engine.peaks, getPeakValues(figures), moment),
    idleness: continueIdleness(engine.idleness, step),
  };
}

/** The endpoint after a good scrape. */
export function acceptScrape(earlier: EndpointState, scrape: Scrape): EndpointState {
  const hasJumped = hasClockJumped(scrape, earlier.scrape);
  const known = hasJumped ? forgetSamples(earlier) : earlier;
  const { receivedAt, duration } = scrape;
  const history = appendSample(known.history, {
    at: receivedAt,
    engines: scrape.engines,
    processStart: scrape.processStart,
  });
  const totals = addScrape(getServerTotals(known), scrape, history.hasJustRestarted);
  const { newest } = known.history;
  const isComparable = !hasJumped && !history.hasJustRestarted;
  const samples = new Map(
    isComparable ? newest?.engines.map((sample) => [identifyEngine(sample), sample]) : [],
  );
  const current = new Map<string, EngineState>();
  for (const replica of computeReplicas(history)) {
    const key = identifyEngine(replica.sample);
    const ofEngine = totals.engines.get(key);
    // Every engine of the scrape has been counted.
    if (ofEngine === undefined) throw new Error(`No totals of engine "${key}"`);
    const engine = known.engines.get(key) ?? createEngine(known, key, ofEngine);
    current.set(
      key,
      followEngine(engine, replica, {
        scrape,
        totals: ofEngine,
        before: samples.get(key),
        elapsed: receivedAt - (newest?.at ?? Infinity),
      }),
    );
  }
  return {
    ...setEngines(known, totals, current),
    ...{ history, scrape, askedAt: null, failure: null },
    schedule: notePoll(known.schedule, { endedAt: receivedAt, duration, hasFailed: false }),
  };
}

/** The endpoint after an attempt that failed: what was known stays known. */
export function acceptFailure(known: EndpointState, failure: ScrapeFailure): EndpointState {
  const { failedAt, duration } = failure;
  const schedule = notePoll(known.schedule, { endedAt: failedAt, duration, hasFailed: true });
  return { ...known, askedAt: null, failure, engines: addGaps(known.engines), schedule };
}
