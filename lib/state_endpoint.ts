/**
 * What is known of one endpoint, and how each of its scrapes changes it.
 *
 * Samples, windows, trends, sums and peaks of its engines, and
 * why it does not answer. What is said of all endpoints together, and what
 * engines are called beside others, is `state`'s matter. Instants are monotonic
 * seconds.
 *
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
  NO_TOTALS,
  type Peaks,
  recordPeaks,
  type ServerTotals,
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

/** What is known of one endpoint. */
export interface EndpointState {
  readonly endpoint: Endpoint;
  /** What it is called, for as long as it is watched. */
  readonly handle: string;
  readonly history: EndpointHistory;
  /** The newest good scrape; `null` before the first. */
  readonly scrape: Scrape | null;
  /** When it was asked, while it has not answered; else `null`. */
  readonly askedAt: Seconds | null;
  /** Why the newest attempt failed; `null` when it did not. */
  readonly failure: ScrapeFailure | null;
  /** One for each engine of the newest good scrape. */
  readonly replicas: readonly ReplicaSample[];
  /** The figures of each of them, computed once for all that is drawn of them. */
  readonly figures: readonly Figures[];
  /** The last polls of each engine, by `identifyEngine`. */
  readonly trends: ReadonlyMap<string, Series>;
  /** What its engines are called, by `identifyEngine`: names stay when an engine goes. */
  readonly names: ReadonlyMap<string, DisplayName>;
  /** How often it may be asked. */
  readonly schedule: Schedule;
  /** How it was started; `null` until that is known. */
  readonly server: ServerInfo | null;
  /** What it has counted since it is watched. */
  readonly totals: ServerTotals;
  /** The peaks of each engine, by `identifyEngine`. */
  readonly peaks: ReadonlyMap<string, Peaks>;
  /** How much of its time each engine had nothing to do, by `identifyEngine`. */
  readonly idleness: ReadonlyMap<string, Idleness>;
}

/** The identity of an engine's row. It is not to be shown: its parts stand on lines of their own. */
export function identifyReplica(known: EndpointState, sample: EngineSample): string {
  return `${known.endpoint.key}\n${identifyEngine(sample)}`;
}

/** Endpoints of which nothing is known, with names that no other has. */
export function startEndpoints(
  endpoints: readonly Endpoint[],
  known: readonly EndpointState[],
): readonly EndpointState[] {
  const handles = nameEndpoints(endpoints, known);
  return endpoints.map((endpoint, index) => ({
    endpoint,
    handle: handles[index],
    history: startHistory(),
    scrape: null,
    askedAt: null,
    failure: null,
    replicas: [],
    figures: [],
    trends: new Map(),
    names: new Map(),
    totals: NO_TOTALS,
    peaks: new Map(),
    idleness: new Map(),
    schedule: startSchedule(),
    server: null,
  }));
}

function addGaps(trends: EndpointState["trends"]): EndpointState["trends"] {
  return new Map([...trends].map(([key, trend]) => [key, appendGap(trend)]));
}

/** The endpoint without its samples: windows begin anew, and trends have a gap. */
export function forgetSamples(known: EndpointState): EndpointState {
  const { restartCount } = known.history;
  return { ...known, history: { ...startHistory(), restartCount }, trends: addGaps(known.trends) };
}

/** How idle each engine of the scrape was; only of engines that it has. */
function followIdleness(
  { history, idleness }: EndpointState,
  scrape: Scrape,
  canCompare: boolean,
): EndpointState["idleness"] {
  const before = history.newest;
  const samples = new Map(before?.engines.map((sample) => [identifyEngine(sample), sample]));
  return new Map(scrape.engines.map((now) => {
    const key = identifyEngine(now);
    const step = {
      before: canCompare ? samples.get(key) : undefined,
      now,
      span: scrape.receivedAt - (before?.at ?? Infinity),
    };
    return [key, continueIdleness(idleness.get(key) ?? NO_IDLENESS, step)];
  }));
}

/** The endpoint with a scrape that later ones are compared with, and that nothing else is made of. */
export function restoreScrape(known: EndpointState, scrape: KeptScrape): EndpointState {
  if (known.history.newest !== null) return known;
  const { receivedAt: at, engines, processStart } = scrape;
  const history = appendSample(known.history, { at, engines, processStart });
  return { ...known, history, totals: addScrape(known.totals, scrape, false) };
}

/** The endpoint after a good scrape. */
export function acceptScrape(before: EndpointState, scrape: Scrape): EndpointState {
  const hasJumped = hasClockJumped(scrape, before.scrape);
  const known = hasJumped ? forgetSamples(before) : before;
  const history = appendSample(known.history, {
    at: scrape.receivedAt,
    engines: scrape.engines,
    processStart: scrape.processStart,
  });
  const replicas = computeReplicas(history);
  const figures = replicas.map((replica) => computeFigures([replica]));
  const trends = new Map(replicas.map(({ sample }, index) => {
    const key = identifyEngine(sample);
    return [key, appendFigures(known.trends.get(key) ?? [], figures[index])];
  }));
  const totals = addScrape(known.totals, scrape, history.hasJustRestarted);
  const moment = { at: scrape.receivedAt, epoch: scrape.receivedAtEpoch };
  // Of engines that are remembered: a server may name its models anew each time.
  const peaks = new Map([...known.peaks].filter(([key]) => totals.engines.has(key)));
  replicas.forEach(({ sample }, index) => {
    const key = identifyEngine(sample);
    const values = getPeakValues(figures[index]);
    peaks.set(key, recordPeaks(known.peaks.get(key) ?? NO_PEAKS, values, moment));
  });
  const idleness = followIdleness(known, scrape, !hasJumped && !history.hasJustRestarted);
  const { receivedAt, duration } = scrape;
  const schedule = notePoll(known.schedule, { endedAt: receivedAt, duration, hasFailed: false });
  return {
    ...known,
    ...{ history, scrape, askedAt: null, failure: null },
    ...{ replicas, figures, trends, totals, peaks, idleness, schedule },
  };
}

/** The endpoint after an attempt that failed: what was known stays known. */
export function acceptFailure(known: EndpointState, failure: ScrapeFailure): EndpointState {
  const { failedAt, duration } = failure;
  const schedule = notePoll(known.schedule, { endedAt: failedAt, duration, hasFailed: true });
  return { ...known, askedAt: null, failure, trends: addGaps(known.trends), schedule };
}
