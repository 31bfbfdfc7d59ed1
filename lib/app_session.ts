/**
 * One run of the program over its endpoints: the state, and the polling.
 *
 * Each endpoint has a
 * clock of its own: the next scrape is due an interval after the last, later
 * where `pace` says so, and one that is slow or fails holds up no other. All
 * are asked at once at first, so that the first picture comes soon; from then
 * on many are spread over the interval. Every outcome goes to `update`. The
 * interval is the state's, so that a key can change it.
 *
 * @module
 */

import type { Options } from "./cli_options.ts";
import type { GpuFailure, GpuReport } from "./gpu_model.ts";
import { createGpuSampler, type GpuSampler, isGpuFailure } from "./gpu_sampler.ts";
import type { ProcessLister } from "./host_processes.ts";
import type { Endpoint } from "./model.ts";
import type { Platform } from "./platform.ts";
import { isScrapeFailure, type Scraper } from "./scrape.ts";
import type { EndpointAccess } from "./scrape_credentials.ts";
import { computeBackOff, getInterval } from "./scrape_schedule.ts";
import { type Message, type State, update } from "./state.ts";
import type { EndpointState } from "./state_endpoint.ts";
import { listEndpointsOn } from "./state_fleet.ts";
import { getHost, LOCAL_HOST, type MachineProcesses, NO_HOST } from "./state_gpus.ts";
import type { Ratio, Seconds } from "./units.ts";
import type { ViewOptions } from "./view.ts";

/** An endpoint that is watched, and the means to ask it. */
export interface Watched {
  readonly endpoint: Endpoint;
  readonly access: EndpointAccess;
  readonly scraper: Scraper;
  /** Since when it is watched. */
  readonly since: Seconds;
  /** When its newest scrape was due, not when it began: small delays must not add up. */
  dueAt: Seconds;
  /** When it is to be asked out of turn; `null` where it is not. */
  calledFor: Seconds | null;
  /** Whether its newest scrape was one of all at once. */
  wasWithAll: boolean;
  /** How many were watched before it. */
  readonly index: number;
}

/** A loop that sleeps until something happens. */
interface Waiter {
  /** Whether to go on after a scrape has ended. */
  readonly isOver: () => boolean;
  readonly end: () => void;
}

/** One run of the program over its endpoints. */
export interface Session {
  readonly platform: Platform;
  readonly options: Options;
  /** By the keys of their endpoints. */
  readonly watched: Map<string, Watched>;
  /** Keys of the endpoints that are being asked, or wait for their turn to be. */
  readonly busy: Set<string>;
  readonly waiters: Set<Waiter>;
  /** When the next endpoint is due that is not being asked, as of the last `wake` or scrape. */
  nextDueAt: Seconds;
  /** Room for requests that have just begun. */
  readonly room: { free: number; readonly queue: (() => void)[] };
  readonly view: ViewOptions;
  /** Lists the processes of this machine; `null` where that is not possible or there is no use for it. */
  readonly listProcesses: ProcessLister | null;
  /** Aborted when the program is to end. */
  readonly stop: AbortController;
  state: State;
  /** Told of each change, for a live screen. */
  onChange: () => void;
  /** Told of each good scrape. */
  onScraped: (watched: Watched) => Promise<void>;
}

/** Up to so many endpoints are asked together at every poll, and shown as of one moment. */
export const MAX_SIMULTANEOUS_ENDPOINTS = 8;

/** The fractional part of the golden ratio: its multiples lie evenly in an interval, however many there are. */
const GOLDEN_RATIO: Ratio = 0.618033988749895;

/** Requests that may begin at the same time. */
export const MAX_PARALLEL_REQUESTS = 32;

/** A request that takes longer waits for a slow server and burdens nobody here: it makes room for another. */
const FRESH_SPAN: Seconds = 0.25;

/** Scrapes that a user asks for come no closer to those before. */
const MIN_DISTANCE: Seconds = 0.5;

/** A session over no endpoint. */
export function startSession(
  parts:
    & Pick<Session, "platform" | "options" | "view" | "state">
    & Partial<Pick<Session, "listProcesses">>,
): Session {
  const session: Session = {
    listProcesses: null,
    ...parts,
    watched: new Map(),
    busy: new Set(),
    waiters: new Set(),
    nextDueAt: -Infinity,
    room: { free: MAX_PARALLEL_REQUESTS, queue: [] },
    stop: new AbortController(),
    onChange: () => {},
    onScraped: () => Promise.resolve(),
  };
  session.stop.signal.addEventListener("abort", () => wake(session));
  return session;
}

/** Polls the endpoint from now on. The state must know it. */
export function watchEndpoint(
  session: Session,
  opened: Pick<Watched, "endpoint" | "access" | "scraper">,
): void {
  const { watched, platform } = session;
  watched.set(opened.endpoint.key, {
    ...opened,
    since: platform.monotonicSeconds(),
    dueAt: -Infinity,
    calledFor: -Infinity,
    wasWithAll: true,
    index: watched.size,
  });
  wake(session);
}

/** Ends the watching of an endpoint. */
export function leaveEndpoint(session: Session, key: string): void {
  session.watched.get(key)?.scraper.close();
  session.watched.delete(key);
  dispatch(session, { kind: "endpoint_gone", endpointKey: key });
  wake(session);
}

/** Lets the message change the state. */
export function dispatch(session: Session, message: Message): void {
  session.state = update(session.state, message);
  session.onChange();
}

/** Brings the state's time up to now. */
export function takeInstant(session: Session): void {
  const { platform } = session;
  session.state = update(session.state, {
    kind: "clock",
    now: platform.monotonicSeconds(),
    nowEpoch: platform.epochSeconds(),
  });
}

/** Lets all loops look anew at what is due: endpoints, interval or session have changed. */
export function wake(session: Session): void {
  session.nextDueAt = getNextDueTime(session);
  for (const { end } of session.waiters) end();
}

/** Wakes only the loops that have something to do now that a scrape has ended: most have not. */
function wakeAfterScrape(session: Session, key: string): void {
  const watched = session.watched.get(key);
  const known = session.state.endpoints.find(({ endpoint }) => endpoint.key === key);
  if (watched !== undefined && known !== undefined) {
    session.nextDueAt = Math.min(session.nextDueAt, getDueTime(session, watched, known));
  }
  for (const { isOver, end } of session.waiters) if (isOver()) end();
}

/** Sleeps until the instant, the end of the session, `wake`, or a scrape after which `isOver`. */
function waitUntil(
  { platform, stop, waiters }: Session,
  instant: Seconds,
  isOver: () => boolean,
): Promise<void> {
  return new Promise((resolve) => {
    if (stop.signal.aborted) return resolve();
    const end = (): void => {
      cancel();
      waiters.delete(waiter);
      resolve();
    };
    const waiter: Waiter = { isOver, end };
    const cancel = platform.startTimer(instant - platform.monotonicSeconds(), end);
    waiters.add(waiter);
  });
}

/** Waits for room among the requests that have just begun. */
async function acquireSlot({ room }: Session): Promise<void> {
  if (room.free > 0) room.free--;
  else await new Promise<void>((resolve) => room.queue.push(resolve));
}

/** Makes room for the next request. */
function releaseSlot({ room }: Session): void {
  const next = room.queue.shift();
  if (next === undefined) room.free++;
  else next();
}

/** Asks, and makes room for others when the answer is there or long in coming. */
async function scrapeInSlot(
  session: Session,
  scraper: Scraper,
): Promise<Awaited<ReturnType<Scraper["scrape"]>>> {
  const { platform, stop } = session;
  let isHeld = true;
  const release = (): void => {
    if (isHeld) releaseSlot(session);
    isHeld = false;
  };
  const cancel = platform.startTimer(FRESH_SPAN, release);
  try {
    return await scraper.scrape(stop.signal);
  } finally {
    cancel();
    release();
  }
}

/** Scrapes one endpoint, unless the scrape before is still under way. */
export async function pollEndpoint(session: Session, key: string): Promise<void> {
  const watched = session.watched.get(key);
  if (watched === undefined || session.busy.has(key)) return;
  session.busy.add(key);
  try {
    await acquireSlot(session);
    const at = session.platform.monotonicSeconds();
    session.state = update(session.state, { kind: "asked", endpointKey: key, at });
    const outcome = await scrapeInSlot(session, watched.scraper);
    if (session.stop.signal.aborted || session.watched.get(key) !== watched) return;
    // Whoever is told of the change sees whether more is to come.
    session.busy.delete(key);
    if (isScrapeFailure(outcome)) dispatch(session, { kind: "scrape_failed", failure: outcome });
    else {
      dispatch(session, { kind: "scraped", scrape: outcome });
      session.onScraped(watched).catch((error) => session.stop.abort(error));
    }
  } finally {
    session.busy.delete(key);
    wakeAfterScrape(session, key);
  }
}

/** When an endpoint is to be asked next, by what is known of it. */
function getDueTime(session: Session, watched: Watched, known: EndpointState): Seconds {
  const { dueAt, calledFor, wasWithAll, index } = watched;
  if (calledFor !== null) return calledFor;
  const { interval } = session.state;
  const { schedule, failure } = known;
  if (failure !== null) {
    const backOff = computeBackOff(schedule, interval);
    // The first time it keeps to the rhythm of the others.
    return (schedule.failures > 1 ? failure.failedAt : dueAt) + backOff;
  }
  const allowed = getInterval(schedule, interval);
  const isAmongMany = session.watched.size > MAX_SIMULTANEOUS_ENDPOINTS;
  const distance = wasWithAll && isAmongMany ? 0.5 + index * GOLDEN_RATIO % 1 : 1;
  return dueAt + Math.max(interval * distance, allowed);
}

/** The earliest time at which an endpoint is due that is not being asked. */
function getNextDueTime(session: Session): Seconds {
  const { state, watched, busy } = session;
  let next = Infinity;
  for (const known of state.endpoints) {
    const one = watched.get(known.endpoint.key);
    if (one === undefined || busy.has(known.endpoint.key)) continue;
    next = Math.min(next, getDueTime(session, one, known));
  }
  return next;
}

/** Begins the scrapes that are due. */
function pollDue(session: Session): void {
  const { platform, state, watched, busy } = session;
  const now = platform.monotonicSeconds();
  for (const known of state.endpoints) {
    const one = watched.get(known.endpoint.key);
    if (one === undefined || busy.has(known.endpoint.key)) continue;
    const dueAt = getDueTime(session, one, known);
    if (dueAt > now) continue;
    one.wasWithAll = one.calledFor !== null;
    one.calledFor = null;
    // One that is late keeps its place; one that is very late, as after the sleep of a machine, or
    // whose interval has become shorter, begins anew: two scrapes must not come close together.
    one.dueAt = now - dueAt > session.state.interval / 2 ? now : dueAt;
    pollEndpoint(session, one.endpoint.key).catch((error) => session.stop.abort(error));
  }
  session.nextDueAt = getNextDueTime(session);
}

/** Asks all endpoints now, or soon where they were asked just before. */
export function pollNow(session: Session): void {
  const now = session.platform.monotonicSeconds();
  for (const one of session.watched.values()) {
    const isBusy = session.busy.has(one.endpoint.key);
    if (!isBusy) one.calledFor = Math.max(now, one.dueAt + MIN_DISTANCE);
  }
  wake(session);
}

/** Polls each endpoint when it is due, until the session ends. */
async function pollEach(session: Session): Promise<void> {
  while (!session.stop.signal.aborted) {
    pollDue(session);
    const instant = session.nextDueAt;
    await waitUntil(session, instant, () => session.nextDueAt < instant);
  }
}

/** Whether all that is due in an interval that ends then has been answered. */
function isSettled(session: Session, end: Seconds): boolean {
  // What comes in its last moments belongs to the next.
  const last = end - session.state.interval / 10;
  return session.busy.size === 0 && session.nextDueAt >= last;
}

/**
 * Polls until the session ends, and throws what ended it if that was an error; calls `show` once in each interval, when all
 * that was asked in it has answered, or at its end, late answers or not.
 */
export async function pollForever(session: Session, show: () => Promise<void>): Promise<void> {
  const { platform, stop } = session;
  let startedAt = platform.monotonicSeconds();
  const polling = pollEach(session).catch((error) => stop.abort(error));
  const readEnd = (): Seconds => startedAt + session.state.interval;
  while (!stop.signal.aborted) {
    while (platform.monotonicSeconds() < readEnd() && !isSettled(session, readEnd())) {
      await waitUntil(session, readEnd(), () => isSettled(session, readEnd()));
      if (stop.signal.aborted) break;
    }
    if (stop.signal.aborted) break;
    takeInstant(session);
    await show();
    while (!stop.signal.aborted && platform.monotonicSeconds() < readEnd()) {
      await waitUntil(session, readEnd(), () => false);
    }
    const now = platform.monotonicSeconds();
    // Intervals keep their places, except after the sleep of a machine.
    startedAt = now > readEnd() + session.state.interval ? now : readEnd();
  }
  await polling;
  const { reason } = stop.signal;
  if (reason instanceof Error && reason.name !== "AbortError") throw reason;
}

/** How long what is known of the machine's processes is good for. */
const PROCESS_LISTING_INTERVAL: Seconds = 30;

/** Samples come no closer than this: the driver's own period is about as long. */
const MIN_INTERVAL: Seconds = 1;

/** How much longer than the scrapes a single picture waits for the GPUs, from its start. */
const ONCE_LIMIT: Seconds = 2;

/** Watches the GPUs of a session. */
interface GpuWatch {
  readonly session: Session;
  readonly sampler: GpuSampler;
  /** The processes as they were listed last, for which GPU processes and when; `null` before. */
  listed: {
    readonly machine: MachineProcesses;
    readonly pids: string;
    readonly at: Seconds;
  } | null;
}

/** Starts nothing until it is asked. `close` ends what runs. */
export function createGpuWatch(session: Session): GpuWatch {
  return { session, sampler: createGpuSampler(session.platform), listed: null };
}

/** Whether GPUs are to be looked at: those of a machine on which a server is watched. */
function wantsGpus({ options, state }: Session): boolean {
  if (options.gpuWatch !== "auto") return options.gpuWatch === "always";
  return listEndpointsOn(state, LOCAL_HOST).length > 0;
}

async function listMachine({ listProcesses }: Session): Promise<MachineProcesses> {
  if (listProcesses === null) return NO_HOST.machine;
  const { processes, listening } = await listProcesses();
  return {
    processes,
    listeners: new Map(listening.map(({ port, ownerPids }) => [port, ownerPids])),
  };
}

/** What is known of the processes, anew where it is too old for these. */
async function listMachineProcesses(
  watch: GpuWatch,
  { processes }: GpuReport,
): Promise<MachineProcesses> {
  const { session, listed } = watch;
  const pids = [...new Set((processes.value ?? []).map(({ pid }) => pid))].sort().join(" ");
  const now = session.platform.monotonicSeconds();
  if (listed !== null && listed.pids === pids && now - listed.at < PROCESS_LISTING_INTERVAL) {
    return listed.machine;
  }
  if (pids === "" || listEndpointsOn(session.state, LOCAL_HOST).length === 0) {
    return NO_HOST.machine;
  }
  const machine = await listMachine(session);
  watch.listed = { machine, pids, at: now };
  return machine;
}

/** One sample, and what follows from it. */
export async function sampleGpus(watch: GpuWatch, over?: AbortSignal): Promise<void> {
  const { session, sampler } = watch;
  const { stop } = session;
  if (!wantsGpus(session)) return;
  const signal = over === undefined ? stop.signal : AbortSignal.any([stop.signal, over]);
  const outcome = await sampler.sample(signal);
  if (stop.signal.aborted) return;
  if (isGpuFailure(outcome)) {
    // Nobody but a picture that cannot wait any longer gives a sample up and goes on.
    const failure: GpuFailure = outcome.kind === "aborted"
      ? { ...outcome, kind: "timeout" }
      : outcome;
    // That there is still no GPU here is nothing new.
    const known = getHost(session.state.hosts, LOCAL_HOST);
    const isKnown = known.report === null && known.failure === failure;
    if (!isKnown) dispatch(session, { kind: "gpus_failed", host: LOCAL_HOST, failure });
    return;
  }
  const machine = await listMachineProcesses(watch, outcome);
  if (!stop.signal.aborted) {
    dispatch(session, { kind: "gpus_sampled", host: LOCAL_HOST, report: outcome, machine });
  }
}

/** Samples at the interval until the session ends, and for no more than half of the time: a slow driver is to have a rest. */
export async function watchGpus(session: Session): Promise<void> {
  if (session.options.gpuWatch === "never") return;
  const { platform, stop } = session;
  const watch = createGpuWatch(session);
  while (!stop.signal.aborted) {
    const startedAt = platform.monotonicSeconds();
    await sampleGpus(watch);
    const elapsed = platform.monotonicSeconds() - startedAt;
    const interval = Math.max(MIN_INTERVAL, session.state.interval);
    await platform.sleep(Math.max(interval - elapsed, elapsed), stop.signal);
  }
  watch.sampler.close();
}

/** One sample beside the scrapes of a single picture: it ends with them, or `ONCE_LIMIT` after its start where that is later. */
export async function sampleGpusOnce(session: Session, scrapes: Promise<unknown>): Promise<void> {
  const { platform, stop } = session;
  const watch = createGpuWatch(session);
  const over = new AbortController();
  const sample = sampleGpus(watch, over.signal);
  const limit = platform.sleep(ONCE_LIMIT, AbortSignal.any([stop.signal, over.signal]));
  await Promise.all([scrapes, Promise.race([sample, limit])]);
  over.abort();
  await sample;
  watch.sampler.close();
}
