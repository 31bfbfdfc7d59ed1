/**
 * Generates the requests of a simulated engine.
 * @module
 */

import type { Seconds } from "./units.ts";

/** Why a request ends. */
type FinishReason = "stop" | "length" | "abort" | "error" | "repetition";

const DEFAULTS = {
  /** Mean; varies slowly by about a third. 0: idle. */
  requestsPerSecond: 3,
  requestLimit: Infinity,
  /** Typical. */
  promptTokens: 900,
  /** Typical. */
  outputTokens: 150,
  /** Mean share of a prompt found in a warm prefix cache. */
  cachedShare: 0.45,
  /** Share of requests aborted by the client. */
  abortShare: 0.015,
};

export type LoadOptions = Readonly<Partial<typeof DEFAULTS>>;

export interface ClientRequest {
  readonly arrivedAt: Seconds;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
  readonly maxTokens: number;
  readonly reason: FinishReason;
}

export interface RequestSource {
  /** `Infinity` if none will come. */
  readonly nextAt: () => Seconds;
  readonly take: () => ClientRequest;
}

/** In tokens. */
export const BLOCK_SIZE = 16;
/** Requests until the prefix cache is warm. */
const WARM_UP_REQUESTS = 40;
/** Two periods of the arrival rate. */
const SLOW_SWING_PERIOD: Seconds = 97;
const QUICK_SWING_PERIOD: Seconds = 23;
/** Values of `max_tokens`. */
const REQUEST_LIMITS = [128, 256, 512, 1024] as const;
/** Standard deviation of the logarithm. */
const LENGTH_SPREAD = 0.6;
/** Returns a number in [0, 1). */
export type Random = () => number;

/** Mulberry32. */
export function createRandom(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Log-normal around `typical`. */
export function drawLength(random: Random, typical: number, spread = LENGTH_SPREAD): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Math.max(1, Math.round(typical * Math.exp(spread * normal)));
}

/** A Poisson process. `maxTokens` bounds a prompt, and an output including one step's tokens. */
export function createRequestSource(
  options: LoadOptions,
  engine: { readonly seed: number; readonly maxTokens: number; readonly tokensPerStep: number },
): RequestSource {
  const load = { ...DEFAULTS, ...options };
  const random = createRandom(engine.seed);
  const phase = 2 * Math.PI * random();
  let count = 0;
  const drawNext = (after: Seconds): Seconds => {
    if (count >= load.requestLimit) return Infinity;
    const slow = Math.sin(2 * Math.PI * after / SLOW_SWING_PERIOD + phase);
    const quick = Math.sin(2 * Math.PI * after / QUICK_SWING_PERIOD + 3 * phase);
    const rate = load.requestsPerSecond * (1 + 0.25 * slow + 0.12 * quick);
    return rate > 0 ? after - Math.log(1 - random()) / rate : Infinity;
  };
  const draw = (arrivedAt: Seconds): ClientRequest => {
    const promptTokens = Math.min(drawLength(random, load.promptTokens), engine.maxTokens);
    const warmth = Math.min(1, count / WARM_UP_REQUESTS);
    const cachedShare = Math.min(1, 2 * load.cachedShare * random()) * warmth;
    const cachedTokens = Math.floor(cachedShare * (promptTokens - 1) / BLOCK_SIZE) * BLOCK_SIZE;
    const maxTokens = REQUEST_LIMITS[Math.floor(REQUEST_LIMITS.length * random())];
    const limit = Math.min(maxTokens, engine.maxTokens - engine.tokensPerStep - BLOCK_SIZE);
    const wanted = drawLength(random, load.outputTokens);
    const isAborted = random() < load.abortShare;
    const generated = isAborted ? Math.ceil(wanted * random()) : wanted;
    return {
      ...{ arrivedAt, promptTokens, cachedTokens, maxTokens },
      outputTokens: Math.max(1, Math.min(generated, limit)),
      reason: isAborted ? "abort" : wanted >= limit ? "length" : "stop",
    };
  };
  let next = drawNext(0);
  return {
    nextAt: () => next,
    take: () => {
      const request = draw(next);
      count++;
      next = drawNext(next);
      return request;
    },
  };
}
