/**
 * The last half hour, poll by poll. Kept are the numbers of each scrape, as differences, and of
 * each poll what no scrape says: alerts, events, GPUs. A past state is computed again from them by
 * the same functions. Every minute begins with all endpoints, reduced to what a minute's scrapes do
 * not say, so that at most two minutes are computed for one moment.
 * @module
 */

import { createBill } from "./state_cost.ts";
import type { Scrape, ScrapeFailure } from "./model.ts";
import { NO_EVALUATION } from "./rules_evaluate.ts";
import { type Message, type State, update } from "./state.ts";
import { completeEndpoint, type EndpointState, reduceEndpoint } from "./state_endpoint.ts";
import { createFleet } from "./state_fleet.ts";
import {
  appendVector,
  createVectorLog,
  readVectors,
  trimLog,
  type VectorLog,
} from "./stats_deltas.ts";
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

/** What bodies have in common that differ only in values. */
interface BodyForm extends Pick<Scrape, "endpointKey" | "redirectedTo"> {
  readonly read: Scrape["body"]["read"];
  /** Of the numbers that are kept. */
  readonly length: number;
}

type Form = BodyForm | { readonly failure: ScrapeFailure };

/** The attempts to scrape one endpoint within a span. */
interface Track {
  log: VectorLog;
  forms: Form[];
  /** Place among all attempts. */
  numbers: number[];
  /** When each ended. */
  times: Seconds[];
}

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

export interface Past {
  /** To be told of each message to the state. */
  readonly note: (message: Message) => void;
  /** Keeps the state, of which `note` was told all, as a moment. */
  readonly keep: (state: State) => void;
  /** The newest moment at or before that time, else the oldest; `null` if there is none. */
  readonly findBefore: (now: Seconds) => PastState | null;
  /** The oldest moment at or after that time; `null` if there is none. */
  readonly findAfter: (now: Seconds) => PastState | null;
  /** An estimate. */
  readonly measureBytes: () => Bytes;
}

// ---- Recording.

/** Numbers of a scrape before those of the body. */
const HEAD_LENGTH = 3;

function packScrape({ receivedAtEpoch, duration, bytes, body }: Scrape): Float64Array {
  const vector = new Float64Array(HEAD_LENGTH + body.values.length);
  vector.set([receivedAtEpoch, duration, bytes]);
  vector.set(body.values, HEAD_LENGTH);
  return vector;
}

function describeForm(scrape: Scrape, before: Form | undefined): Form {
  const { endpointKey, redirectedTo, body: { read, values } } = scrape;
  const isSame = before !== undefined && "read" in before && before.read === read &&
    before.redirectedTo === redirectedTo;
  return isSame ? before : { endpointKey, redirectedTo, read, length: HEAD_LENGTH + values.length };
}

function createSpan(
  endpoints: readonly EndpointState[],
  startedAt: Seconds,
  reduced: ReadonlySet<string> = new Set(),
): Span {
  return { startedAt, endpoints, reduced, tracks: new Map(), moments: [], step: 1 };
}

function createTrack(): Track {
  return { log: createVectorLog(), forms: [], numbers: [], times: [] };
}

function createMoment(state: State, attempts: number): Moment {
  const { endpoints, fleet: _, bill: __, held: ___, noted: ____, ui: _____, ...shell } = state;
  const { memory } = NO_EVALUATION;
  const asked = endpoints.flatMap(({ endpoint, askedAt }) =>
    askedAt === null ? [] : [[endpoint.key, askedAt] as const]
  );
  return {
    shell: { ...shell, evaluation: { ...shell.evaluation, checks: [], memory } },
    askedAt: new Map(asked),
    attempts,
  };
}

// ---- Computing again.

function unpackScrape(
  { endpointKey, redirectedTo, read }: BodyForm,
  vector: Float64Array,
  receivedAt: Seconds,
): Scrape {
  const [receivedAtEpoch, duration, bytes] = vector;
  const values = vector.subarray(HEAD_LENGTH);
  const body = { values, read };
  const common = { endpointKey, redirectedTo, receivedAt, receivedAtEpoch, duration, bytes, body };
  return { ...read(values), ...common };
}

interface Attempt {
  readonly number: number;
  readonly message: Extract<Message, { readonly kind: "scraped" | "scrape_failed" }>;
}

function listAttempts({ log, forms, numbers, times }: Track, from = -Infinity): Attempt[] {
  const lengths = forms.flatMap((form) => "read" in form ? form.length : []);
  const vectors = readVectors(log, lengths);
  let place = 0;
  return forms.flatMap((form, i): Attempt[] => {
    const number = numbers[i];
    if (!("read" in form)) return [{ number, message: { kind: "scrape_failed", ...form } }];
    const vector = vectors[place++];
    if (times[i] < from) return [];
    return [{ number, message: { kind: "scraped", scrape: unpackScrape(form, vector, times[i]) } }];
  });
}

function countScrapes(track: Track | undefined, from: Seconds): number {
  return track?.times.filter((at, i) => at >= from && "read" in track.forms[i]).length ?? 0;
}

/** Attempts to scrape each endpoint shortly before the span. */
function listEarlier(spans: readonly Span[], index: number): ReadonlyMap<string, Scrape[]> {
  const { startedAt } = spans[index];
  const from = startedAt - REACH;
  const scrapes = new Map<string, Scrape[]>();
  const first = spans.findLastIndex((span, i) => i < index && span.startedAt <= from);
  for (const { tracks } of spans.slice(Math.max(0, first), index)) {
    for (const [key, track] of tracks) {
      const known = scrapes.get(key) ?? [];
      for (const { message } of listAttempts(track, from)) {
        if (message.kind === "scraped") known.push(message.scrape);
      }
      scrapes.set(key, known);
    }
  }
  return scrapes;
}

function completeEndpoints(spans: readonly Span[], index: number): readonly EndpointState[] {
  const { endpoints, reduced } = spans[index];
  const scrapes = listEarlier(spans, index);
  return endpoints.map((known) => {
    const { key } = known.endpoint;
    return reduced.has(key) ? completeEndpoint(known, scrapes.get(key) ?? []) : known;
  });
}

/** The endpoints at each moment of a span up to one of them. */
function computeMoments(
  spans: readonly Span[],
  index: number,
  { live, last }: { readonly live: State; readonly last: number },
): readonly (readonly EndpointState[])[] {
  const { moments, tracks } = spans[index];
  const attempts = [...tracks.values()].flatMap((track) => listAttempts(track))
    .sort((a, b) => a.number - b.number);
  const endpoints = completeEndpoints(spans, index);
  let state: State = { ...live, ...moments[0].shell, endpoints };
  let next = 0;
  return moments.slice(0, last + 1).map((moment) => {
    for (; next < attempts.length && attempts[next].number <= moment.attempts; next++) {
      state = update(state, attempts[next].message);
    }
    return state.endpoints;
  });
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

/** Leaves out every other poll. */
function thinSpan(span: Span): void {
  span.step *= 2;
  span.moments = span.moments.filter((_, i) => i % 2 === 0);
  for (const track of span.tracks.values()) {
    const { log, forms, numbers, times } = track;
    const isScrape = (form: Form) => "read" in form;
    const vectors = readVectors(log, forms.flatMap((form) => "read" in form ? form.length : []));
    const thinned = createTrack();
    let place = 0;
    forms.forEach((form, i) => {
      const vector = isScrape(form) ? vectors[place++] : null;
      if (vector !== null && place % 2 === 0) return;
      if (vector !== null) appendVector(thinned.log, vector);
      thinned.forms.push(form);
      thinned.numbers.push(numbers[i]);
      thinned.times.push(times[i]);
    });
    trimLog(thinned.log);
    Object.assign(track, thinned);
  }
}

// ---- Estimates, from heap snapshots of simulated fleets.

const ATTEMPT_BYTES: Bytes = 24;
const ENGINE_BYTES: Bytes = 2600;
const MOMENT_BYTES: Bytes = 2000;
const STATUS_BYTES: Bytes = 60;

function measureSpan({ endpoints, tracks, moments }: Span): Bytes {
  let bytes = 0;
  for (const { engines } of endpoints) bytes += ENGINE_BYTES * Math.max(1, engines.size);
  for (const { log, forms } of tracks.values()) {
    bytes += log.bytes.byteLength + 8 * log.last.length + ATTEMPT_BYTES * forms.length;
  }
  for (const { shell: { evaluation } } of moments) {
    bytes += MOMENT_BYTES + STATUS_BYTES * evaluation.statuses.size;
  }
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
    /** Spans before it lack the minute before them. */
    horizon: -Infinity,
    /** The newest that was kept. */
    newest: state,
    cache: null as {
      readonly span: Span;
      readonly first: number;
      readonly endpoints: readonly (readonly EndpointState[])[];
    } | null,
    wasAsked: false,
  };
}

type Recorder = ReturnType<typeof startPast>;

function noteAttempt(past: Recorder, key: string, at: Seconds, form: Form): Track {
  const span = past.spans[past.spans.length - 1];
  let track = span.tracks.get(key);
  if (track === undefined) span.tracks.set(key, track = createTrack());
  track.forms.push(form);
  track.numbers.push(++past.attempts);
  track.times.push(at);
  return track;
}

function noteMessage(past: Recorder, message: Message): void {
  switch (message.kind) {
    case "scraped": {
      const { scrape, scrape: { endpointKey: key, receivedAt } } = message;
      const before = past.spans.at(-1)?.tracks.get(key)?.forms.findLast((form) => "read" in form);
      const track = noteAttempt(past, key, receivedAt, describeForm(scrape, before));
      appendVector(track.log, packScrape(scrape));
      return;
    }
    case "scrape_failed": {
      const { failure } = message;
      noteAttempt(past, failure.endpointKey, failure.failedAt, { failure });
      return;
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
  const count = past.spans.reduce(
    (sum, { tracks }) => sum + countScrapes(tracks.get(key), from),
    0,
  );
  return count >= 2;
}

function startSpan(past: Recorder, { endpoints, now }: State): Span {
  for (const { log } of past.spans.at(-1)?.tracks.values() ?? []) trimLog(log);
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
    else thinSpan(spans[spans.findIndex((span) => span.step === step)]);
  }
}

function keepState(past: Recorder, state: State): void {
  const { now } = state;
  if (past.newest.now === now) return;
  past.newest = state;
  if (!past.wasAsked) past.cache = null;
  past.wasAsked = false;
  const span = past.spans[past.spans.length - 1];
  if (past.needsSpan || now - span.startedAt >= SPAN) {
    past.spans.push(startSpan(past, state));
    limitPast(past, now);
  }
  past.spans[past.spans.length - 1].moments.push(createMoment(state, past.attempts));
}

function computePicture(past: Recorder, index: number, place: number): PastState {
  const { spans, newest: live } = past;
  const span = spans[index];
  past.wasAsked = true;
  let { cache } = past;
  if (cache?.span !== span || cache.endpoints[place - cache.first] === undefined) {
    const all = computeMoments(spans, index, { live, last: place });
    const engines = span.endpoints.reduce((sum, one) => sum + Math.max(1, one.engines.size), 1);
    const endpoints = all.slice(-Math.max(1, Math.floor(MAX_CACHED_ENGINES / engines)));
    cache = past.cache = { span, first: all.length - endpoints.length, endpoints };
  }
  const endpoints = cache.endpoints[place - cache.first];
  return { state: createPicture(live, span.moments[place], endpoints), step: span.step };
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
  const show = (found: ReturnType<typeof list>[number] | undefined): PastState | null =>
    found === undefined ? null : computePicture(past, found.index, found.place);
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
