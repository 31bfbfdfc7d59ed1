/**
 * One run over the endpoints: state and polling. Each endpoint is due an interval after its last
 * scrape, or later if `scrape_schedule` says so, and delays no other. All are polled at once at
 * first, for a fast first picture; then many are spread over the interval. Every outcome goes to
 * `update`.
 * @module
 */

import type { Options } from "./cli_options.ts";
import type { Source } from "./discovery_source.ts";
import type { SshWatch } from "./discovery_ssh.ts";
import { createHost, type Host, LOCAL_HOST } from "./host.ts";
import type { Endpoint } from "./model.ts";
import { createGate, type Gate, type Platform } from "./platform.ts";
import type { Scraper } from "./scrape.ts";
import { createScrapePool, isScrapeFailure, type ScrapePool } from "./scrape_pool.ts";
import type { EndpointAccess } from "./scrape_credentials.ts";
import { computeBackOff, getInterval } from "./scrape_schedule.ts";
import { type Message, type State, update } from "./state.ts";
import { type EndpointState, findEndpoint } from "./state_endpoint.ts";
import type { Past } from "./state_past.ts";
import type { Command } from "./state_ui.ts";
import type { Ratio, Seconds } from "./units.ts";
import type { ViewOptions } from "./view.ts";

export interface Watched {
  readonly endpoint: Endpoint;
  readonly access: EndpointAccess;
  readonly scraper: Scraper;
  readonly since: Seconds;
  /** When its newest scrape was due, not when it began: small delays must not add up. */
  dueAt: Seconds;
  /** When it is due out of turn. */
  requestedAt: Seconds | null;
  /** Its newest scrape was one of all at once. */
  wasSimultaneous: boolean;
  /** Number of endpoints watched before it. */
  readonly index: number;
  /** When it is due next, as of the last `wake` or its newest scrape. */
  nextAt: Seconds;
}

interface Waiter {
  /** Checked after each scrape. */
  readonly isOver: () => boolean;
  readonly end: () => void;
}

export interface Session {
  readonly platform: Platform;
  readonly options: Options;
  readonly pool: ScrapePool;
  /** By endpoint key. */
  readonly watched: Map<string, Watched>;
  /** Keys of endpoints with a scrape under way or queued. */
  readonly busy: Set<string>;
  readonly waiters: Set<Waiter>;
  /** When the next idle endpoint is due, as of the last `wake` or scrape. */
  nextDueAt: Seconds;
  readonly notices: Map<Source | null, readonly string[]>;
  /** Slots for requests that have just begun. */
  readonly slots: Gate;
  readonly view: ViewOptions;
  /** By name. */
  readonly hosts: ReadonlyMap<string, Host>;
  /** Those of the hosts that are behind ssh. */
  readonly sshWatches: readonly SshWatch[];
  readonly stop: AbortController;
  state: State;
  /** To be told of each message to the state; `isRound` if a document follows. */
  record: ((message: Message, isRound?: boolean) => void) | null;
  /** Time then passes as it was recorded. */
  replay: ReplayControls | null;
  /** For a live screen, which may look back. */
  past: Past | null;
  /** For a live screen. */
  onChange: () => void;
  /** After each evaluation while polling, in which rules may have begun to fire. */
  onEvaluated: () => void;
  /** A log is to be shown. */
  onLogShown: () => void;
  /** Before a failure is told: why it fails may be found out. */
  onFailing: (endpointKey: string) => Promise<void>;
  /** After each good scrape. */
  onScraped: (watched: Watched) => Promise<void>;
}

/** What keys do while a recording is replayed. */
export interface ReplayControls {
  /** False if the command means the same as always. */
  readonly run: (command: Command) => boolean;
}

/** Up to this many endpoints are polled together and shown as of one moment. */
export const MAX_SIMULTANEOUS_ENDPOINTS = 8;
/** Its multiples spread evenly over an interval, whatever their number. */
const GOLDEN_RATIO: Ratio = 0.618033988749895;
export const MAX_PARALLEL_REQUESTS = 32;
/** From the first scrape to the second: rates want two. */
const FIRST_INTERVAL: Seconds = 0.5;
/** A longer request waits for a slow server and frees its slot. */
const SLOT_TIMEOUT: Seconds = 0.25;
/** Minimum time from a scrape to one that the user asks for. */
const MIN_POLL_DISTANCE: Seconds = 0.5;

export function startSession(
  parts:
    & Pick<Session, "platform" | "options" | "view" | "state">
    & Partial<Pick<Session, "hosts" | "sshWatches" | "pool" | "notices">>,
): Session {
  const session: Session = {
    hosts: new Map([[LOCAL_HOST, createHost(LOCAL_HOST, parts.platform)]]),
    sshWatches: [],
    pool: createScrapePool(),
    notices: new Map(),
    ...parts,
    watched: new Map(),
    busy: new Set(),
    waiters: new Set(),
    nextDueAt: -Infinity,
    slots: createGate(MAX_PARALLEL_REQUESTS),
    stop: new AbortController(),
    record: null,
    replay: null,
    past: null,
    onChange: () => {},
    onEvaluated: () => {},
    onLogShown: () => {},
    onFailing: () => Promise.resolve(),
    onScraped: () => Promise.resolve(),
  };
  session.stop.signal.addEventListener("abort", () => wake(session));
  return session;
}

/** The state must know it. */
export function watchEndpoint(
  session: Session,
  opened: Pick<Watched, "endpoint" | "access" | "scraper">,
): void {
  const { watched, platform } = session;
  watched.set(opened.endpoint.key, {
    ...opened,
    since: platform.monotonicSeconds(),
    dueAt: -Infinity,
    requestedAt: -Infinity,
    wasSimultaneous: true,
    index: watched.size,
    nextAt: Infinity,
  });
  wake(session);
}

export function leaveEndpoint(session: Session, key: string): void {
  session.watched.get(key)?.scraper.close();
  session.watched.delete(key);
  dispatch(session, { kind: "endpoint_gone", endpointKey: key });
  wake(session);
}

/** Without a redraw. */
export function apply(session: Session, message: Message, isRound = false): void {
  session.state = update(session.state, message);
  session.record?.(message, isRound);
  session.past?.note(message);
}

export function dispatch(session: Session, message: Message): void {
  apply(session, message);
  session.onChange();
}

/** @param isRound A round of polls has ended: its documents follow. */
export function takeInstant(session: Session, isRound = false): void {
  const { platform, replay } = session;
  if (replay !== null) return;
  const [now, nowEpoch] = [platform.monotonicSeconds(), platform.epochSeconds()];
  apply(session, { kind: "clock", now, nowEpoch }, isRound);
}

/** Wakes all loops: endpoints, interval or session have changed. */
export function wake(session: Session): void {
  session.nextDueAt = Infinity;
  for (const known of session.state.endpoints) {
    const { key } = known.endpoint;
    const one = session.watched.get(key);
    if (one === undefined) continue;
    one.nextAt = getDueTime(session, one, known);
    if (!session.busy.has(key)) session.nextDueAt = Math.min(session.nextDueAt, one.nextAt);
  }
  for (const { end } of session.waiters) end();
}

/** Wakes only the loops for which this scrape matters: few. */
function wakeAfterScrape(session: Session, key: string): void {
  const watched = session.watched.get(key);
  const known = findEndpoint(session.state.endpoints, key);
  if (watched !== undefined && known !== undefined) {
    watched.nextAt = getDueTime(session, watched, known);
    session.nextDueAt = Math.min(session.nextDueAt, watched.nextAt);
  }
  for (const { isOver, end } of session.waiters) if (isOver()) end();
}

/** Ends early by the session's end, `wake`, or a scrape after which `isOver`. */
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

/** Frees the slot when the response is there or slow. */
async function scrapeInSlot(
  session: Session,
  scraper: Scraper,
): Promise<Awaited<ReturnType<Scraper["scrape"]>>> {
  const { platform, slots, stop } = session;
  let isHeld = true;
  const release = (): void => {
    if (isHeld) slots.leave();
    isHeld = false;
  };
  const cancel = platform.startTimer(SLOT_TIMEOUT, release);
  try {
    return await scraper.scrape(stop.signal);
  } finally {
    cancel();
    release();
  }
}

/** Skips an endpoint whose scrape is under way. */
export async function pollEndpoint(session: Session, key: string): Promise<void> {
  const watched = session.watched.get(key);
  if (watched === undefined || session.busy.has(key)) return;
  session.busy.add(key);
  try {
    await session.slots.enter();
    const at = session.platform.monotonicSeconds();
    apply(session, { kind: "asked", endpointKey: key, at });
    const outcome = await scrapeInSlot(session, watched.scraper);
    if (isScrapeFailure(outcome)) await session.onFailing(key);
    if (session.stop.signal.aborted || session.watched.get(key) !== watched) return;
    // Listeners check whether more scrapes are under way.
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

/** Has answered once since it was found. A restart keeps the rhythm of the others. */
function startsWindow({ history, failure }: EndpointState): boolean {
  return failure === null && history.newest !== null && history.previous === null &&
    history.restartCount === 0;
}

function getDueTime(session: Session, watched: Watched, known: EndpointState): Seconds {
  const { dueAt, requestedAt, wasSimultaneous, index } = watched;
  if (requestedAt !== null) return requestedAt;
  const { schedule, failure } = known;
  const interval = Math.max(session.state.interval, schedule.pace);
  if (failure !== null) {
    const backOff = computeBackOff(schedule, interval);
    // The first retry keeps the rhythm of the others.
    const retryAt = (schedule.failures > 1 ? failure.failedAt : dueAt) + backOff;
    return Math.max(retryAt, failure.failedAt + (failure.retryAfter ?? 0));
  }
  if (startsWindow(known)) {
    // Counted from the response if that is slow: rates of a short window jump.
    const wanted = Math.min(interval, FIRST_INTERVAL);
    const distance = Math.max(wanted, (known.scrape?.duration ?? 0) + 0.9 * wanted);
    return dueAt + getInterval(schedule, distance);
  }
  const isAmongMany = session.watched.size > MAX_SIMULTANEOUS_ENDPOINTS;
  const distance = wasSimultaneous && isAmongMany ? 0.5 + index * GOLDEN_RATIO % 1 : 1;
  return dueAt + getInterval(schedule, interval * distance);
}

function pollDue(session: Session): void {
  const { platform, state, watched, busy } = session;
  const now = platform.monotonicSeconds();
  let next = Infinity;
  watched.forEach((one, key) => {
    const { nextAt: dueAt } = one;
    if (busy.has(key)) return;
    if (dueAt > now) {
      if (dueAt < next) next = dueAt;
      return;
    }
    const known = findEndpoint(state.endpoints, key);
    one.wasSimultaneous = one.requestedAt !== null || (known !== undefined && startsWindow(known));
    one.requestedAt = null;
    // A late endpoint keeps its place. A very late one (the machine slept, or the interval shrank)
    // starts over: two scrapes must not come close together.
    one.dueAt = now - dueAt > session.state.interval / 2 ? now : dueAt;
    pollEndpoint(session, key).catch((error) => session.stop.abort(error));
  });
  session.nextDueAt = next;
}

/** Of one endpoint, which is about to answer. */
export function pollSoon(session: Session, key: string): void {
  const one = session.watched.get(key);
  if (one === undefined || session.busy.has(key)) return;
  one.requestedAt = session.platform.monotonicSeconds() + MIN_POLL_DISTANCE;
  wake(session);
}

/**
 * Also connects to hosts that are down. Endpoints scraped just before wait for `MIN_POLL_DISTANCE`.
 * A scrape under way may end with an older answer, so that another follows it.
 */
export function pollNow(session: Session): void {
  for (const { ssh } of session.sshWatches) ssh.retry();
  const now = session.platform.monotonicSeconds();
  for (const one of session.watched.values()) {
    one.requestedAt = Math.max(now, one.dueAt + MIN_POLL_DISTANCE);
  }
  wake(session);
}

async function pollEach(session: Session): Promise<void> {
  while (!session.stop.signal.aborted) {
    pollDue(session);
    const instant = session.nextDueAt;
    await waitUntil(session, instant, () => session.nextDueAt < instant);
  }
}

/** Whether all polls of the interval that ends then have ended. */
function isSettled(session: Session, end: Seconds): boolean {
  // Polls in its last moments belong to the next.
  const last = end - session.state.interval / 10;
  return session.busy.size === 0 && session.nextDueAt >= last;
}

/**
 * Polls until the session ends, and throws the error that ended it. Calls `show` once an interval:
 * when all its polls have ended, or at its end.
 */
export async function pollForever(session: Session, show: () => Promise<void>): Promise<void> {
  const { platform, stop } = session;
  let startedAt = platform.monotonicSeconds();
  const polling = pollEach(session).catch((error) => stop.abort(error));
  const getEnd = (): Seconds => startedAt + session.state.interval;
  while (!stop.signal.aborted) {
    while (platform.monotonicSeconds() < getEnd() && !isSettled(session, getEnd())) {
      await waitUntil(session, getEnd(), () => isSettled(session, getEnd()));
      if (stop.signal.aborted) break;
    }
    if (stop.signal.aborted) break;
    takeInstant(session, true);
    session.onEvaluated();
    await show();
    while (!stop.signal.aborted && platform.monotonicSeconds() < getEnd()) {
      await waitUntil(session, getEnd(), () => false);
    }
    const now = platform.monotonicSeconds();
    // Intervals keep their rhythm, except after the machine slept.
    startedAt = now > getEnd() + session.state.interval ? now : getEnd();
  }
  await polling;
  const { reason } = stop.signal;
  if (reason instanceof Error && reason.name !== "AbortError") throw reason;
}
