/**
 * Simulates one vLLM engine in steps, like its scheduler: a step gives each running request its
 * next token, computes a chunk of the pending prompts, and lasts as long as that work takes.
 * Requests wait for a slot and free KV blocks; the youngest is preempted when blocks run out.
 * Figures do not depend on how often they are read.
 * @module
 */

import {
  BLOCK_SIZE,
  type ClientRequest,
  createRandom,
  createRequestSource,
  type LoadOptions,
  type Random,
  type RequestSource,
} from "./demo_requests.ts";
import type { Ratio, Seconds } from "./units.ts";

/** By position in the draft. */
export const ACCEPTED_KEYS = ["accepted0", "accepted1", "accepted2"] as const;

export interface Tally {
  /** Ascending, without `+Inf`. */
  readonly bounds: readonly number[];
  /** Not cumulative; one longer than `bounds`. */
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

/** vLLM's buckets; `null` for tokens, up to the longest context. */
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

/** `http*` are those of the API server. */
export type Tallies = Readonly<Record<keyof typeof BOUNDS, Tally>>;

/** 1, 2, 5, 10, 20, 50 … up to the longest context. */
function listTokenBounds(maxModelLength: number): number[] {
  const bounds = [];
  for (let scale = 1; scale <= maxModelLength; scale *= 10) {
    for (const digit of [1, 2, 5]) if (digit * scale <= maxModelLength) bounds.push(digit * scale);
  }
  return bounds;
}

type EngineFigures = ReturnType<typeof createFigures>;

function createFigures(maxModelLength: number) {
  const tokenBounds = listTokenBounds(maxModelLength);
  const tallies = Object.entries(BOUNDS).map(([key, given]): [string, Tally] => {
    const bounds = given ?? tokenBounds;
    return [key, { bounds, counts: new Float64Array(bounds.length + 1), sum: 0 }];
  });
  return {
    tallies: Object.fromEntries(tallies) as Tallies,
    ...{ running: 0, waiting: 0, kvCacheUsage: 0 },
    ...{ promptTokens: 0, cachedPromptTokens: 0, generationTokens: 0 },
    ...{ prefixCacheQueries: 0, prefixCacheHits: 0, preemptions: 0, rejected: 0 },
    ...{ stop: 0, length: 0, abort: 0, error: 0, repetition: 0 },
    ...{ drafts: 0, draftTokens: 0, accepted0: 0, accepted1: 0, accepted2: 0 },
  };
}

function observe(tally: Tally, value: Seconds | number, times = 1): void {
  let bucket = 0;
  while (bucket < tally.bounds.length && value > tally.bounds[bucket]) bucket++;
  tally.counts[bucket] += times;
  tally.sum += value * times;
}

const DEFAULTS = {
  /** Data-parallel rank; a server numbers its engines. */
  engine: "0",
  /** Factor on the time of each step. */
  slowness: 1,
  /** Fixed cost of a step. */
  stepTime: 0.011,
  /** Per decoding request. */
  stepTimePerRequest: 0.000_12,
  /** Per prompt token. */
  prefillTimePerToken: 0.000_06,
  kvCacheTokens: 60_000,
  maxModelLength: 32_768,
  /** vLLM's `max_num_seqs`. */
  maxRunning: 128,
  /** vLLM's `max_num_queued_reqs`; beyond it arrivals are rejected. */
  maxWaiting: Infinity,
  /** Drafts `ACCEPTED_KEYS.length` tokens per step. */
  speculative: false,
};

export interface SimulatedEngineOptions extends LoadOptions, Readonly<Partial<typeof DEFAULTS>> {
  readonly model: string;
}

/** vLLM's `max_num_batched_tokens`. */
const STEP_TOKEN_BUDGET = 2048;
/** Chance of accepting the first draft token, and its fall per position. */
const FIRST_ACCEPTANCE: Ratio = 0.84;
const ACCEPTANCE_LOSS: Ratio = 0.12;
const REJECTION_TIME: Seconds = 0.003;

interface RunningRequest extends ClientRequest {
  /** NaN until it happens, like the next two. */
  scheduledAt: Seconds;
  firstTokenAt: Seconds;
  lastTokenAt: Seconds;
  generated: number;
  /** Prompt tokens left before the next output; 0 while decoding. */
  pendingTokens: number;
  /** Part of them in the current step. */
  chunkTokens: number;
  blocks: number;
  preemptions: number;
}

function countBlocks(tokens: number): number {
  return Math.ceil(tokens / BLOCK_SIZE);
}

/** Mutated only by `advanceEngine`. */
export interface SimulatedEngine {
  /** Always the same object. */
  readonly figures: EngineFigures;
  readonly settings: typeof DEFAULTS & SimulatedEngineOptions;
  readonly requests: RequestSource;
  /** Separate, so that steps do not affect arrivals. */
  readonly stepRandom: Random;
  /** May be changed between calls of `advanceEngine`. */
  slowness: number;
  /** In order of admission. */
  readonly running: RunningRequest[];
  readonly waiting: RunningRequest[];
  readonly blockSize: number;
  readonly blockCount: number;
  readonly usableBlocks: number;
  /** One, and the drafted ones. */
  readonly tokensPerStep: number;
  freeBlocks: number;
  /** End of the last step, or the arrival that ended idleness. */
  now: Seconds;
  /** `Infinity` when idle. */
  stepEnd: Seconds;
}

/** @throws {RangeError} If the KV cache is smaller than one step's work. */
export function createSimulatedEngine(
  options: SimulatedEngineOptions,
  seed: number,
  requests?: RequestSource,
): SimulatedEngine {
  const settings = { ...DEFAULTS, ...options };
  const { kvCacheTokens } = settings;
  if (!(kvCacheTokens >= STEP_TOKEN_BUDGET)) {
    throw new RangeError(
      `Cannot simulate a KV cache of "${kvCacheTokens}" tokens: at least ${STEP_TOKEN_BUDGET}`,
    );
  }
  // vLLM keeps one block for itself.
  const usableBlocks = countBlocks(kvCacheTokens) - 1;
  const tokensPerStep = settings.speculative ? 1 + ACCEPTED_KEYS.length : 1;
  return {
    figures: createFigures(settings.maxModelLength),
    settings,
    requests: requests ?? createRequestSource(options, {
      seed,
      maxTokens: Math.floor(Math.min(settings.maxModelLength, kvCacheTokens) / 2),
      tokensPerStep,
    }),
    stepRandom: createRandom(~seed),
    slowness: settings.slowness,
    running: [],
    waiting: [],
    blockSize: BLOCK_SIZE,
    blockCount: usableBlocks + 1,
    usableBlocks,
    tokensPerStep,
    freeBlocks: usableBlocks,
    now: 0,
    stepEnd: Infinity,
  };
}

function takeArrivals(engine: SimulatedEngine, until: Seconds): void {
  const { requests, waiting, settings, figures } = engine;
  while (requests.nextAt() <= until) {
    const request = requests.take();
    if (waiting.length < settings.maxWaiting) {
      waiting.push({
        ...request,
        ...{ scheduledAt: NaN, firstTokenAt: NaN, lastTokenAt: NaN, generated: 0 },
        ...{ pendingTokens: 0, chunkTokens: 0, blocks: 0, preemptions: 0 },
      });
    } else {
      figures.rejected++;
      observe(figures.tallies.httpFine, REJECTION_TIME);
      observe(figures.tallies.httpCoarse, REJECTION_TIME);
    }
  }
}

/** Returns it to the head of the queue, to be recomputed. */
function preemptYoungest(engine: SimulatedEngine): void {
  const request = engine.running.pop();
  if (request === undefined) return;
  engine.freeBlocks += request.blocks;
  request.blocks = 0;
  request.preemptions++;
  engine.figures.preemptions++;
  engine.waiting.unshift(request);
}

/** Returns whether any request was preempted. */
function reserveDecodeBlocks(engine: SimulatedEngine): boolean {
  const before = engine.figures.preemptions;
  for (let i = 0; i < engine.running.length; i++) {
    const request = engine.running[i];
    if (request.pendingTokens > 0) continue;
    const held = request.promptTokens + request.generated + engine.tokensPerStep;
    const missing = countBlocks(held) - request.blocks;
    while (missing > engine.freeBlocks && i < engine.running.length) preemptYoungest(engine);
    if (i >= engine.running.length) break;
    if (missing > 0) {
      request.blocks += missing;
      engine.freeBlocks -= missing;
    }
  }
  return engine.figures.preemptions > before;
}

/** Starts the first of the queue if there are a slot and blocks for it. */
function admitNext(engine: SimulatedEngine): RunningRequest | null {
  const { running, waiting, figures } = engine;
  if (waiting.length === 0 || running.length >= engine.settings.maxRunning) return null;
  const request = waiting[0];
  const held = request.promptTokens + request.generated;
  const needed = countBlocks(held + engine.tokensPerStep);
  if (needed > engine.freeBlocks) return null;
  waiting.shift();
  running.push(request);
  request.blocks = needed;
  engine.freeBlocks -= needed;
  request.pendingTokens = held - request.cachedTokens;
  if (Number.isNaN(request.scheduledAt)) {
    request.scheduledAt = engine.now;
    figures.prefixCacheQueries += request.promptTokens;
    figures.prefixCacheHits += request.cachedTokens;
  }
  return request;
}

function beginStep(engine: SimulatedEngine): void {
  const hasPreempted = reserveDecodeBlocks(engine);
  let decoding = 0;
  for (const request of engine.running) if (request.pendingTokens === 0) decoding++;
  let budget = Math.max(0, STEP_TOKEN_BUDGET - decoding * engine.tokensPerStep);
  let computed = 0;
  const giveChunk = (request: RunningRequest): void => {
    request.chunkTokens = Math.min(request.pendingTokens, budget);
    budget -= request.chunkTokens;
    computed += request.chunkTokens;
  };
  for (const request of engine.running) if (request.pendingTokens > 0) giveChunk(request);
  while (budget > 0 && !hasPreempted) {
    const request = admitNext(engine);
    if (request === null) break;
    giveChunk(request);
  }
  const { stepTime, stepTimePerRequest, prefillTimePerToken } = engine.settings;
  const work = stepTime + stepTimePerRequest * decoding * engine.tokensPerStep +
    prefillTimePerToken * computed;
  engine.stepEnd = engine.now + engine.slowness * work * (0.94 + 0.12 * engine.stepRandom());
}

function decodeTokens(engine: SimulatedEngine, request: RunningRequest): number {
  const { figures, settings } = engine;
  if (!settings.speculative) return 1;
  const draftLength = ACCEPTED_KEYS.length;
  figures.drafts++;
  figures.draftTokens += draftLength;
  const most = Math.min(draftLength, request.outputTokens - request.generated - 1);
  let accepted = 0;
  while (accepted < most && engine.stepRandom() < FIRST_ACCEPTANCE - ACCEPTANCE_LOSS * accepted) {
    figures[ACCEPTED_KEYS[accepted++]]++;
  }
  return 1 + accepted;
}

function finishRequest(engine: SimulatedEngine, request: RunningRequest): void {
  const { now, figures } = engine;
  const { tallies } = figures;
  const decodeTime = now - request.firstTokenAt;
  const latency = now - request.arrivedAt;
  engine.freeBlocks += request.blocks;
  figures[request.reason]++;
  observe(tallies.requestPromptTokens, request.promptTokens);
  observe(tallies.requestGenerationTokens, request.generated);
  observe(tallies.requestMaxGenerationTokens, request.generated);
  observe(tallies.requestParamN, 1);
  observe(tallies.requestParamMaxTokens, request.maxTokens);
  observe(tallies.requestPreemptions, request.preemptions);
  observe(tallies.requestComputedTokens, request.promptTokens - request.cachedTokens);
  observe(tallies.tpot, request.generated > 1 ? decodeTime / (request.generated - 1) : 0);
  observe(tallies.e2e, latency);
  observe(tallies.queue, request.scheduledAt - request.arrivedAt);
  observe(tallies.prefill, request.firstTokenAt - request.scheduledAt);
  observe(tallies.decode, decodeTime);
  observe(tallies.inference, now - request.scheduledAt);
  observe(tallies.httpFine, latency);
  observe(tallies.httpCoarse, latency);
}

function finishStep(engine: SimulatedEngine): void {
  engine.now = engine.stepEnd;
  engine.stepEnd = Infinity;
  let stepTokens = 0;
  let keptCount = 0;
  for (const request of engine.running) {
    request.pendingTokens -= request.chunkTokens;
    const hasPrefilled = request.chunkTokens > 0;
    request.chunkTokens = 0;
    if (request.pendingTokens === 0) {
      const tokens = hasPrefilled ? 1 : decodeTokens(engine, request);
      stepTokens += tokens;
      request.generated += tokens;
      engine.figures.generationTokens += tokens;
      if (Number.isNaN(request.firstTokenAt)) {
        request.firstTokenAt = engine.now;
        engine.figures.promptTokens += request.promptTokens;
        engine.figures.cachedPromptTokens += request.cachedTokens;
        stepTokens += request.promptTokens - request.cachedTokens;
        observe(engine.figures.tallies.ttft, engine.now - request.arrivedAt);
      } else {
        observe(engine.figures.tallies.itl, engine.now - request.lastTokenAt);
      }
      request.lastTokenAt = engine.now;
    }
    if (request.generated >= request.outputTokens) finishRequest(engine, request);
    else engine.running[keptCount++] = request;
  }
  engine.running.length = keptCount;
  if (stepTokens > 0) observe(engine.figures.tallies.iterationTokens, stepTokens);
}

/** Simulates up to `until`, in seconds since the start. Going back does nothing. */
export function advanceEngine(engine: SimulatedEngine, until: Seconds): void {
  while (Math.min(engine.stepEnd, engine.requests.nextAt()) <= until) {
    if (engine.stepEnd === Infinity) engine.now = Math.max(engine.now, engine.requests.nextAt());
    else if (engine.stepEnd <= until) finishStep(engine);
    else break;
    takeArrivals(engine, engine.now);
    if (engine.running.length + engine.waiting.length > 0) beginStep(engine);
  }
  takeArrivals(engine, until);
  engine.figures.running = engine.running.length;
  engine.figures.waiting = engine.waiting.length;
  engine.figures.kvCacheUsage = 1 - engine.freeBlocks / engine.usableBlocks;
}
