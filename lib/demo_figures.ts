/**
 * What a simulated engine counts. Requests, tokens, seconds.
 *
 * @module
 */

import type { Ratio, Seconds } from "./units.ts";

/** Why a request ended. */
export type FinishReason = "stop" | "length" | "abort" | "error" | "repetition";

/** Accepted tokens by their position in the draft. */
export const ACCEPTED_KEYS = ["accepted0", "accepted1", "accepted2"] as const;

/** A histogram that is being filled. */
export interface Tally {
  /** Upper bounds, ascending, without `+Inf`. */
  readonly bounds: readonly number[];
  /** Observations in each bucket alone, not cumulative; one longer than `bounds`. */
  readonly counts: Float64Array;
  sum: number;
}

const TOKEN_GAP_BOUNDS = [
  ...[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20],
  ...[40, 80],
];
const REQUEST_TIME_BOUNDS = [
  ...[0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920],
  7680,
];

/** vLLM's buckets; `null` for numbers of tokens, which go up to the longest context. */
const BOUNDS = {
  requestPromptTokens: null,
  requestGenerationTokens: null,
  iterationTokens: [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384],
  requestMaxGenerationTokens: null,
  requestParamN: [1, 2, 5, 10, 20],
  requestParamMaxTokens: null,
  ttft: [
    ...[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
    ...[20, 40, 80, 160, 640, 2560],
  ],
  itl: TOKEN_GAP_BOUNDS,
  tpot: TOKEN_GAP_BOUNDS,
  e2e: REQUEST_TIME_BOUNDS,
  queue: REQUEST_TIME_BOUNDS,
  inference: REQUEST_TIME_BOUNDS,
  prefill: REQUEST_TIME_BOUNDS,
  decode: REQUEST_TIME_BOUNDS,
  requestPreemptions: [1, 2, 3, 4, 5, 10, 20],
  requestComputedTokens: null,
  httpFine: [
    ...[0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5],
    ...[10, 30, 60],
  ],
  httpCoarse: [0.1, 0.5, 1],
} satisfies Readonly<Record<string, readonly number[] | null>>;

/** An engine's histograms; `http*` are those of its requests at the API server. */
export type Tallies = Readonly<Record<keyof typeof BOUNDS, Tally>>;

/** 1, 2, 5, 10, 20, 50 … up to the longest context. */
function listTokenBounds(maxModelLength: number): number[] {
  const bounds = [];
  for (let scale = 1; scale <= maxModelLength; scale *= 10) {
    for (const digit of [1, 2, 5]) if (digit * scale <= maxModelLength) bounds.push(digit * scale);
  }
  return bounds;
}

/** What an engine has counted since its server started. */
export interface EngineFigures extends Record<FinishReason | typeof ACCEPTED_KEYS[number], number> {
  readonly tallies: Tallies;
  running: number;
  waiting: number;
  kvCacheUsage: Ratio;
  promptTokens: number;
  cachedPromptTokens: number;
  generationTokens: number;
  prefixCacheQueries: number;
  prefixCacheHits: number;
  preemptions: number;
  rejected: number;
  drafts: number;
  draftTokens: number;
}

/** The figures of an engine that has seen no request. */
export function createFigures(maxModelLength: number): EngineFigures {
  const tokenBounds = listTokenBounds(maxModelLength);
  const tallies = Object.entries(BOUNDS).map(([key, given]): [string, Tally] => {
    const bounds = given ?? tokenBounds;
    return [key, { bounds, counts: new Float64Array(bounds.length + 1), sum: 0 }];
  });
  return {
    tallies: Object.fromEntries(tallies) as Record<keyof typeof BOUNDS, Tally>,
    ...{ running: 0, waiting: 0, kvCacheUsage: 0 },
    ...{ promptTokens: 0, cachedPromptTokens: 0, generationTokens: 0 },
    ...{ prefixCacheQueries: 0, prefixCacheHits: 0, preemptions: 0, rejected: 0 },
    ...{ stop: 0, length: 0, abort: 0, error: 0, repetition: 0 },
    ...{ drafts: 0, draftTokens: 0, accepted0: 0, accepted1: 0, accepted2: 0 },
  };
}

/** Counts a value so many times. */
export function observe(tally: Tally, value: Seconds | number, times = 1): void {
  let bucket = 0;
  while (bucket < tally.bounds.length && value > tally.bounds[bucket]) bucket++;
  tally.counts[bucket] += times;
  tally.sum += value * times;
}
