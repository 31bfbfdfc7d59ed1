/**
 * The last half hour, poll by poll. Kept are the numbers of each scrape, as differences, and of
 * each poll what no scrape says: alerts, events, GPUs. A past state is computed again from them by
 * the same functions. Every minute begins with all endpoints, reduced to what a minute's scrapes do
 * not say, so that at most two minutes are computed for one moment.
 * @module
 */

import { createBill } from "./state_cost.ts";
import type { Scrape } from "./model.ts";
import { NO_EVALUATION } from "./rules_evaluate.ts";
import type { Steps } from "./platform.ts";
import { type Message, type State, update } from "./state.ts";
import { completeEndpoint, type EndpointState, reduceEndpoint } from "./state_endpoint.ts";
import {
  type Attempt,
  closeTrack,
  countScrapes,
  createTrack,
  listAttempts,
  measureTrack,
  noteFailure,
  noteScrape,
  thinTrack,
  type Track,
} from "./state_attempts.ts";
import { createFleet } from "./state_fleet.ts";
import { LONG_WINDOW } from "./stats_window.ts";
import { type Bytes, type Seconds, SECONDS_PER_MINUTE } from "./units.ts";

const MAX_PAST: Seconds = 30 * SECONDS_PER_MINUTE;
/** Beyond it, older polls are left out. */
const MAX_PAST_BYTES: Bytes = 64 * 2 ** 20;
const SPAN: Seconds = 60;
/** More than the longest window, as polls may be late. */
const REACH: Seconds = LONG_WINDOW + 2;
/** At most so many polls become one; then the oldest minutes are dropped. */
const MAX_STEP = 8;

type Statuses = State["evaluation"]["statuses"];
type Shell = Omit<State, "endpoints" | "fleet" | "bill" | "held" | "noted" | "ui">;

interface Moment {
  readonly shell: Shell;
  readonly askedAt: ReadonlyMap<string, Seconds>;
  /** Attempts until then. */
  readonly attempts: number;
}

interface Span {
  readonly startedAt: Seconds;
  readonly endpoints: readonly EndpointState[];
  /** Keys of those that were reduced. */
  readonly reduced: ReadonlySet<string>;
  readonly tracks: Map<string, Track>;
  moments: Moment[];
  /** One poll of so many is kept. */
  step: number;
}

/** A state of the past as it was then. */
export interface PastState {
  readonly state: State;
  /** One poll of so many is kept of that time. */
  readonly step: number;
}

/** A moment that can be shown. */
export interface PastMoment {
  readonly now: Seconds;
  /** Of a fleet it takes a second to compute, in steps of some milliseconds. */
  readonly compute: () => Steps<PastState>;
}

export interface Past {
  /** To be told of each message to the state. */
  readonly note: (message: Message) => void;
  /** Keeps the state, of which `note` was told all, as a moment. */
  readonly keep: (state: State) => void;
  /** The newest moment at or before that time, else the oldest; `null` if there is none. */
  readonly findBefore: (now: Seconds) => PastMoment | null;
  /** The oldest moment at or after that time; `null` if there is none. */
  readonly findAfter: (now: Seconds) => PastMoment | null;
  /** An estimate. */
  readonly measureBytes: () => Bytes;
}

// ---- Recording.

function createSpan(
  endpoints: readonly EndpointState[],
  startedAt: Seconds,
  reduced: ReadonlySet<string> = new Set(),
): Span {
  return { startedAt, endpoints, reduced, tracks: new Map(), moments: [], step: 1 };
}

/** The map before if nothing has changed. */
function shareStatuses(statuses: Statuses, before: Statuses | undefined): Statuses {
  const isSame = before?.size === statuses.size &&
    [...statuses].every(([key, status]) => before.get(key) === status);
  return isSame ? before : statuses;
}

function createMoment(state: State, attempts: number, before: Moment | undefined): Moment {
  const { endpoints, fleet: _, bill: __, held: ___, noted: ____, ui: _____, ...shell } = state;
  const { memory } = NO_EVALUATION;
  const asked = endpoints.flatMap(({ endpoint, askedAt }) =>
    askedAt === null ? [] : [[endpoint.key, askedAt] as const]
  );
  const statuses = shareStatuses(
    shell.evaluation.statuses,
    before?.shell.evaluation.statuses,
  );
  return {
    // No screen shows the checks of rules.
    shell: {
      ...shell,
      evaluation: { ...shell.evaluation, statuses, groups: [], checks: [], memory },
    },
    askedAt: new Map(asked),
    attempts,
  };
}

// ---- Computing again.

/** Scrapes of the endpoint shortly before the span. */
function listEarlier(spans: readonly Span[], index: number, key: string): readonly Scrape[] {
  const from = spans[index].startedAt - REACH;
  const first = spans.findLastIndex((span, i) => i < index && span.startedAt <= from);
  return spans.slice(Math.max(0, first), index).flatMap(({ tracks }) => {
    const track = tracks.get(key);
    return track === undefined
      ? []
      : listAttempts(track, from).flatMap(({ message }) =>
        message.kind === "scraped" ? message.scrape : []
      );
  });
}

function* completeEndpoints(
  spans: readonly Span[],
  index: number,
): Steps<readonly EndpointState[]> {
  const { endpoints, reduced } = spans[index];
  const completed: EndpointState[] = [];
  for (const known of endpoints) {
    const { key } = known.endpoint;
    completed.push(
      reduced.has(key) ? completeEndpoint(known, listEarlier(spans, index, key)) : known,
    );
    yield;
  }
  return completed;
}

function* listAllAttempts({ tracks }: Span): Steps<readonly Attempt[]> {
  const attempts: Attempt[] = [];
  for (const track of tracks.values()) {
    attempts.push(...listAttempts(track));
    yield;
  }
  return attempts.sort((a, b) => a.number - b.number);
}

/** Scrapes of so many engines are computed in one step. */
const STEP_ENGINES = 16;

/** The endpoints at each moment of a span up to one of them. */
function* computeMoments(
  spans: readonly Span[],
  index: number,
  { live, last }: { readonly live: State; readonly last: number },
): Steps<readonly (readonly EndpointState[])[]> {
  const moments = spans[index].moments.slice(0, last + 1);
  const attempts = yield* listAllAttempts(spans[index]);
  const endpoints = yield* completeEndpoints(spans, index);
  let state: State = { ...live, ...moments[0].shell, endpoints };
  const computed: (readonly EndpointState[])[] = [];
  let next = 0;
  let engines = 0;
  for (const moment of moments) {
    for (; next < attempts.length && attempts[next].number <= moment.attempts; next++) {
      const { message } = attempts[next];
      state = update(state, message);
      engines += message.kind === "scraped" ? message.scrape.engines.length : 0;
      if (engines < STEP_ENGINES) continue;
      engines = 0;
      yield;
    }
    computed.push(state.endpoints);
  }
  return computed;
}

function createPicture(
  live: State,
  { shell, askedAt }: Moment,
  endpoints: readonly EndpointState[],
): State {
  const known = endpoints.map((one) => ({
    ...one,
    askedAt: askedAt.get(one.endpoint.key) ?? null,
  }));
  const sources = { ...live, ...shell, endpoints: known, held: null, noted: null };
  const fleet = createFleet(sources);
  return { ...sources, fleet, bill: createBill(fleet, sources) };
}

// ---- Thinning.

/** Leaves out every other poll: of the moments at once, of the tracks in the next polls. */
function thinSpan(past: Recorder, span: Span): void {
  span.step *= 2;
  span.moments = span.moments.filter((_, i) => i % 2 === 0);
  for (const track of span.tracks.values()) {
    track.due++;
    past.due.push(track);
  }
}

/** Within the time of this many polls, a few tracks each, as packing hundreds takes a second. */
const DUE_POLLS = 20;
const MIN_THINNED = 8;

function thinDue({ due }: Recorder): void {
  const count = Math.max(MIN_THINNED, Math.ceil(due.length / DUE_POLLS));
  for (const track of due.splice(0, count)) thinTrack(track);
}

// ---- Estimates, from heap snapshots of simulated fleets.

const ENGINE_BYTES: Bytes = 2600;
const MOMENT_BYTES: Bytes = 2000;
const STATUS_BYTES: Bytes = 60;
/** With its series. */
const GPU_BYTES: Bytes = 1450;

function measureSpan({ endpoints, tracks, moments }: Span): Bytes {
  let bytes = 0;
  for (const { engines } of endpoints) bytes += ENGINE_BYTES * Math.max(1, engines.size);
  for (const track of tracks.values()) bytes += measureTrack(track);
  moments.forEach(({ shell: { hosts, evaluation: { statuses } } }, i) => {
    const before = moments[i - 1]?.shell;
    bytes += MOMENT_BYTES;
    if (statuses !== before?.evaluation.statuses) bytes += STATUS_BYTES * statuses.size;
    for (const [name, { report }] of hosts) {
      if (report !== before?.hosts.get(name)?.report) {
        bytes += GPU_BYTES * (report?.gpus.length ?? 0);
      }
    }
  });
  return bytes;
}

/** States of engines that are kept while the user looks back. */
const MAX_CACHED_ENGINES = 2000;

function startPast(state: State, maxBytes: Bytes) {
  const { endpoints, now } = state;
  return {
    maxBytes,
    spans: [createSpan(endpoints, now)],
    attempts: 0,
    /** Of `resumed`: earlier scrapes belong to no window. */
    forgottenAt: -Infinity,
    needsSpan: false,
    /** Tracks to be thinned. */
    due: [] as Track[],
    /** Spans before it lack the minute before them. */
    horizon: -Infinity,
    /** The newest that was kept. */
    newest: state,
    cache: null as {
      /** Of the span; thinning replaces them. */
      readonly moments: readonly Moment[];
      readonly first: number;
      readonly endpoints: readonly (readonly EndpointState[])[];
    } | null,
    wasAsked: false,
  };
}

type Recorder = ReturnType<typeof startPast>;

function getTrack({ spans }: Recorder, key: string): Track {
  const { tracks } = spans[spans.length - 1];
  const track = tracks.get(key) ?? createTrack();
  tracks.set(key, track);
  return track;
}

function noteMessage(past: Recorder, message: Message): void {
  switch (message.kind) {
    case "scraped": {
      const { scrape } = message;
      return noteScrape(getTrack(past, scrape.endpointKey), scrape, ++past.attempts);
    }
    case "scrape_failed": {
      const { failure } = message;
      return noteFailure(getTrack(past, failure.endpointKey), failure, ++past.attempts);
    }
    case "resumed":
      past.forgottenAt = Math.max(
        past.forgottenAt,
        ...past.spans.flatMap(({ tracks }) =>
          [...tracks.values()].flatMap(({ times }) => times.at(-1) ?? [])
        ),
      );
      past.needsSpan = true;
      return;
    // They change endpoints, and no attempt says how.
    case "command":
      past.needsSpan ||= message.command === "mark" || message.command === "unmark";
      return;
    case "recalled":
    case "launch_read":
    case "endpoints_found":
    case "endpoint_gone":
      past.needsSpan = true;
  }
}

/** Whether kept scrapes of the last minute say the rest. */
function canComplete(past: Recorder, { endpoint: { key }, scrape }: EndpointState, now: Seconds) {
  const from = now - REACH;
  if (scrape === null || scrape.receivedAt < from || past.forgottenAt >= from) return false;
  const first = past.spans.findLastIndex(({ startedAt }) => startedAt <= from);
  const count = past.spans.slice(Math.max(0, first)).reduce(
    (sum, { tracks }) => sum + countScrapes(tracks.get(key), from),
    0,
  );
  return count >= 2;
}

function startSpan(past: Recorder, { endpoints, now }: State): Span {
  for (const track of past.spans.at(-1)?.tracks.values() ?? []) closeTrack(track);
  const reduced = new Set<string>();
  const kept = endpoints.map((known) => {
    if (!canComplete(past, known, now)) return known;
    reduced.add(known.endpoint.key);
    return reduceEndpoint(known);
  });
  past.needsSpan = false;
  return createSpan(kept, now, reduced);
}

function measurePast({ spans }: Recorder): Bytes {
  return spans.reduce((sum, span) => sum + measureSpan(span), 0);
}

function dropOldest(past: Recorder): void {
  past.spans.shift();
  past.horizon = past.spans[0].startedAt + REACH;
}

/** Once a minute. */
function limitPast(past: Recorder, now: Seconds): void {
  const { spans, maxBytes } = past;
  while (spans.length > 2 && spans[1].startedAt < now - MAX_PAST - SPAN - REACH) dropOldest(past);
  while (spans.length > 2 && measurePast(past) > maxBytes) {
    const step = Math.min(...spans.slice(0, -1).map((span) => span.step));
    if (step >= MAX_STEP) dropOldest(past);
    else thinSpan(past, spans[spans.findIndex((span) => span.step === step)]);
  }
}

function keepState(past: Recorder, state: State): void {
  const { now } = state;
  if (past.newest.now === now) return;
  past.newest = state;
  thinDue(past);
  if (!past.wasAsked) past.cache = null;
  past.wasAsked = false;
  const span = past.spans[past.spans.length - 1];
  if (past.needsSpan || now - span.startedAt >= SPAN) {
    past.spans.push(startSpan(past, state));
    limitPast(past, now);
  }
  const { moments } = past.spans[past.spans.length - 1];
  const before = moments.at(-1) ?? past.spans.at(-2)?.moments.at(-1);
  moments.push(createMoment(state, past.attempts, before));
}

function* computePicture(past: Recorder, index: number, place: number): Steps<PastState> {
  const { newest: live } = past;
  // Polling goes on between the steps.
  const spans = [...past.spans];
  const { moments, step, endpoints: known } = spans[index];
  past.wasAsked = true;
  let { cache } = past;
  if (cache?.moments !== moments || cache.endpoints[place - cache.first] === undefined) {
    const all = yield* computeMoments(spans, index, { live, last: place });
    const engines = known.reduce((sum, one) => sum + Math.max(1, one.engines.size), 1);
    const endpoints = all.slice(-Math.max(1, Math.floor(MAX_CACHED_ENGINES / engines)));
    cache = past.cache = { moments, first: all.length - endpoints.length, endpoints };
  }
  const endpoints = cache.endpoints[place - cache.first];
  return { state: createPicture(live, moments[place], endpoints), step };
}

/** @param options.maxBytes Beyond it, older polls are left out. */
export function createPast(state: State, { maxBytes = MAX_PAST_BYTES } = {}): Past {
  const past = startPast(state, maxBytes);
  const list = () => {
    const oldest = past.newest.now - MAX_PAST;
    return past.spans.flatMap((span, index) =>
      span.startedAt < past.horizon
        ? []
        : span.moments.flatMap(({ shell: { now } }, place) =>
          now < oldest ? [] : [{ index, place, now }]
        )
    );
  };
  const show = (found: ReturnType<typeof list>[number] | undefined): PastMoment | null =>
    found === undefined
      ? null
      : { now: found.now, compute: () => computePicture(past, found.index, found.place) };
  return {
    note: (message) => noteMessage(past, message),
    keep: (state) => keepState(past, state),
    findBefore: (at) => {
      const moments = list();
      return show(moments.findLast(({ now }) => now <= at) ?? moments[0]);
    },
    findAfter: (at) => show(list().find(({ now }) => now >= at)),
    measureBytes: () => measurePast(past),
  };
}
