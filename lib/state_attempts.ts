/**
 * The attempts to scrape one endpoint, packed: the numbers of each answer as differences from those
 * before, and once what answers have in common.
 * @module
 */

import type { Scrape, ScrapeFailure } from "./model.ts";
import type { Message } from "./state.ts";
import {
  appendVector,
  createVectorLog,
  measureLog,
  readVectors,
  trimLog,
  type VectorLog,
} from "./stats_deltas.ts";
import type { Bytes, Seconds } from "./units.ts";

/** What bodies have in common that differ only in values. */
interface BodyForm extends Pick<Scrape, "endpointKey" | "redirectedTo"> {
  readonly read: Scrape["body"]["read"];
  /** Of the numbers that are kept. */
  readonly length: number;
}

type Form = BodyForm | { readonly failure: ScrapeFailure };

/** Grows by `noteScrape` and `noteFailure`. */
export interface Track {
  log: VectorLog;
  forms: Form[];
  /** Place among the attempts to scrape any endpoint. */
  numbers: number[];
  /** When each ended. */
  times: Seconds[];
  /** How often every other scrape is yet to be left out. */
  due: number;
}

/** Numbers of a scrape before those of the body. */
const HEAD_LENGTH = 3;

export function createTrack(): Track {
  return { log: createVectorLog(), forms: [], numbers: [], times: [], due: 0 };
}

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

export function noteScrape(track: Track, scrape: Scrape, number: number): void {
  track.forms.push(describeForm(scrape, track.forms.findLast((form) => "read" in form)));
  track.numbers.push(number);
  track.times.push(scrape.receivedAt);
  appendVector(track.log, packScrape(scrape));
}

export function noteFailure(track: Track, failure: ScrapeFailure, number: number): void {
  track.forms.push({ failure });
  track.numbers.push(number);
  track.times.push(failure.failedAt);
}

function readTrack({ log, forms }: Track): Float64Array[] {
  return readVectors(log, forms.flatMap((form) => "read" in form ? form.length : []));
}

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

export interface Attempt {
  readonly number: number;
  readonly message: Extract<Message, { readonly kind: "scraped" | "scrape_failed" }>;
}

/** All failures, and the scrapes from that time on. */
export function listAttempts(track: Track, from = -Infinity): Attempt[] {
  const { forms, numbers, times } = track;
  const vectors = readTrack(track);
  let place = 0;
  return forms.flatMap((form, i): Attempt[] => {
    const number = numbers[i];
    if (!("read" in form)) return [{ number, message: { kind: "scrape_failed", ...form } }];
    const vector = vectors[place++];
    if (times[i] < from) return [];
    return [{ number, message: { kind: "scraped", scrape: unpackScrape(form, vector, times[i]) } }];
  });
}

export function countScrapes(track: Track | undefined, from: Seconds): number {
  return track?.times.filter((at, i) => at >= from && "read" in track.forms[i]).length ?? 0;
}

/** Nothing more is noted in it: without the room that lists keep to grow. */
export function closeTrack(track: Track): void {
  const { log, forms, numbers, times } = track;
  trimLog(log);
  Object.assign(track, { forms: forms.slice(), numbers: numbers.slice(), times: times.slice() });
}

/** Leaves out every other scrape of a closed track. */
export function thinTrack(track: Track): void {
  const { forms, numbers, times } = track;
  const vectors = readTrack(track);
  const thinned = createTrack();
  let place = 0;
  forms.forEach((form, i) => {
    const vector = "read" in form ? vectors[place++] : null;
    if (vector !== null && place % 2 === 0) return;
    if (vector !== null) appendVector(thinned.log, vector);
    thinned.forms.push(form);
    thinned.numbers.push(numbers[i]);
    thinned.times.push(times[i]);
  });
  closeTrack(thinned);
  Object.assign(track, thinned, { due: track.due - 1 });
}

/** From heap snapshots of simulated fleets. */
const TRACK_BYTES: Bytes = 600;
const ATTEMPT_BYTES: Bytes = 24;

/** An estimate, as if nothing were due. */
export function measureTrack({ log, forms, due }: Track): Bytes {
  return TRACK_BYTES + (measureLog(log) + ATTEMPT_BYTES * forms.length) / 2 ** due;
}
