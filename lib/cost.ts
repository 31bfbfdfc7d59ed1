/**
 * Tokens, GPU time and prices -> USD.
 *
 * Tokens are worth what an API would charge for them; GPUs cost
 * what their hours cost. Amounts and spans are the caller's: of a lifetime, of
 * this session, or a rate. So nothing here can be counted twice over a restart,
 * and what the caller does not know stays absent: no figure without all of its
 * inputs. USD, seconds, ratios. Which price a GPU has is `cost_prices`' matter.
 *
 * @module
 */

import { findGpuPrice, GPU_PRICES, type GpuPrice } from "./cost_prices.ts";
import type { TokenPrices } from "./model.ts";
import { absent, divideReadings, isPresent, mapReading, present, type Reading } from "./reading.ts";
import {
  HOURS_PER_DAY,
  type Ratio,
  type Seconds,
  SECONDS_PER_HOUR,
  TOKENS_PER_MILLION,
} from "./units.ts";

/** Whether a price is no more than a hint. */
export function isHint(price: GpuPrice | null): boolean {
  return price !== null && (price.isEstimate || GPU_PRICES.includes(price));
}

/** Days in what is shown as a month. */
const DAYS_PER_MONTH = 30;

/** Tokens of a span, or per second. Cached prompt tokens are among the prompt tokens. */
export interface TokenAmounts {
  readonly promptTokens: Reading;
  readonly cachedPromptTokens: Reading;
  readonly generationTokens: Reading;
}

/** What tokens are worth, in USD or USD per second, as the amounts are. */
interface TokenValue {
  /** Prompt tokens that were computed. */
  readonly input: Reading;
  readonly cachedInput: Reading;
  readonly output: Reading;
  readonly total: Reading;
}

/** Whether any price of tokens is given. */
export function hasTokenPrices({ input, output, cachedInput }: TokenPrices): boolean {
  return input !== null || output !== null || cachedInput !== null;
}

const NO_TOKEN_VALUE: TokenValue = {
  input: absent("unsupported"),
  cachedInput: absent("unsupported"),
  output: absent("unsupported"),
  total: absent("unsupported"),
};

/** The sum of readings; absent, with the first reason, where one is: a part is no whole. */
function addAll(readings: readonly Reading[]): Reading {
  const missing = readings.find((reading) => !isPresent(reading));
  if (missing !== undefined) return missing;
  const isPartial = readings.some((reading) => isPresent(reading) && reading.partial === true);
  const value = readings.reduce((sum, reading) => sum + (reading.value ?? 0), 0);
  return isPartial ? { value, partial: true } : { value };
}

function priceOf(tokens: Reading, usdPerMillion: number): Reading {
  if (usdPerMillion === 0) return present(0);
  return mapReading(tokens, (count) => Math.max(0, count) / TOKENS_PER_MILLION * usdPerMillion);
}

/**
 * What tokens are worth. A price that is not given counts as 0 once another is;
 * without any there is no figure (`unsupported`). Cached tokens are needed only
 * where they have a price of their own.
 */
export function valueTokens(amounts: TokenAmounts, prices: TokenPrices): TokenValue {
  if (!hasTokenPrices(prices)) return NO_TOKEN_VALUE;
  const { promptTokens, cachedPromptTokens, generationTokens } = amounts;
  const inputPrice = prices.input ?? 0;
  const output = priceOf(generationTokens, prices.output ?? 0);
  if (prices.cachedInput === null) {
    const input = priceOf(promptTokens, inputPrice);
    return { input, cachedInput: absent("unsupported"), output, total: addAll([input, output]) };
  }
  const cached: Reading = isPresent(promptTokens) && isPresent(cachedPromptTokens)
    ? mapReading(cachedPromptTokens, (count) => Math.min(count, promptTokens.value))
    : cachedPromptTokens;
  const computed: Reading = isPresent(cached)
    ? mapReading(promptTokens, (count) => count - cached.value)
    : cached;
  const input = priceOf(computed, inputPrice);
  const cachedInput = priceOf(cached, prices.cachedInput);
  return { input, cachedInput, output, total: addAll([input, cachedInput, output]) };
}

/** GPUs of one kind and what they cost. */
export interface GpuCost {
  /** The name that the driver prints, or `GPU` where the user alone told. */
  readonly name: string;
  readonly count: number;
  /** Of each. Absent where no price is known. */
  readonly usdPerHour: Reading;
  /** The row of the user's file or of the hints that it rests on; `null` where there is none, or one price is given for all. */
  readonly price: GpuPrice | null;
}

/** What the GPUs cost while they run, used or not. */
export interface ComputeCost {
  readonly gpus: readonly GpuCost[];
  readonly gpuCount: number;
  /** Of all of them. Partial where some have no price; absent where none has. */
  readonly usdPerHour: Reading;
}

/** What the user says of the GPUs. */
interface ComputePricing {
  /** USD per GPU and hour, for all alike; `null` for the hints. */
  readonly usdPerGpuHour: number | null;
  /** How many; `null` for those that are found. */
  readonly gpuCount: number | null;
  /** Prices of the user's file. */
  readonly ownPrices: readonly GpuPrice[];
}

function priceKind(name: string, count: number, pricing: ComputePricing): GpuCost {
  if (pricing.usdPerGpuHour !== null) {
    return { name, count, usdPerHour: present(pricing.usdPerGpuHour), price: null };
  }
  const price = findGpuPrice(name, pricing.ownPrices);
  const usdPerHour = price === null ? absent("missing") : present(price.usdPerHour);
  return { name, count, usdPerHour, price };
}

/** The kinds of GPUs to price: those found, or as many as the user says. */
function listKinds(
  names: readonly string[],
  gpuCount: number | null,
): readonly (readonly [name: string, count: number])[] {
  const kinds = [...Map.groupBy(names, (name) => name)]
    .map(([name, members]) => [name, members.length] as const);
  if (gpuCount === null) return kinds;
  // Of a mixed box nobody can say which of the cards the user counts.
  return [[kinds.length === 1 ? kinds[0][0] : "GPU", gpuCount]];
}

/**
 * What GPUs cost per hour. The user's price and count go before what is found;
 * a count alone takes the price of the one kind that is found.
 *
 * @param names The names of the GPUs to price, one for each: those that serve a
 * watched engine, or all of this machine where that is not known; none for
 * remote hosts.
 */
export function priceCompute(names: readonly string[], pricing: ComputePricing): ComputeCost {
  const gpus = listKinds(names, pricing.gpuCount)
    .map(([name, count]) => priceKind(name, count, pricing));
  const priced = gpus.filter(({ usdPerHour }) => isPresent(usdPerHour));
  const value = priced.reduce((sum, gpu) => sum + gpu.count * (gpu.usdPerHour.value ?? 0), 0);
  const whole = priced.length === gpus.length ? present(value) : { value, partial: true as const };
  return {
    gpus,
    gpuCount: gpus.reduce((sum, { count }) => sum + count, 0),
    usdPerHour: priced.length === 0 ? absent("missing") : whole,
  };
}

/** Tokens' worth against GPUs' cost, over a span. */
export interface SpanCost {
  readonly span: Reading<Seconds>;
  readonly tokens: TokenValue;
  readonly computeUsd: Reading;
  /** Tokens' worth ÷ GPUs' cost: from 1 on the GPUs pay for themselves. */
  readonly marginRatio: Reading<Ratio>;
}

/** Worth ÷ cost; absent where either is only a part of the whole. */
function divideWhole(worth: Reading, cost: Reading): Reading<Ratio> {
  const isPartial = [worth, cost].some((reading) => isPresent(reading) && reading.partial === true);
  return isPartial ? absent("missing") : divideReadings(worth, cost);
}

/** USD of a rate per hour over a span; a span below 0 is a clock that was set, and no figure. */
function spend(usdPerHour: Reading, span: Reading<Seconds>): Reading {
  if (!isPresent(span)) return span;
  if (span.value < 0) return absent("restarted");
  return mapReading(usdPerHour, (usd) => usd * span.value / SECONDS_PER_HOUR);
}

/**
 * What was earned and spent over a span: of this session, or since the servers
 * started, where the start is known.
 */
export function costOfSpan(
  { span, amounts, tokenPrices, computeUsdPerHour }: {
    readonly span: Reading<Seconds>;
    readonly amounts: TokenAmounts;
    readonly tokenPrices: TokenPrices;
    readonly computeUsdPerHour: Reading;
  },
): SpanCost {
  const tokens = valueTokens(amounts, tokenPrices);
  const computeUsd = spend(computeUsdPerHour, span);
  return { span, tokens, computeUsd, marginRatio: divideWhole(tokens.total, computeUsd) };
}

/** A flow of USD. */
export interface UsdRate {
  readonly perHour: Reading;
  readonly perDay: Reading;
  /** 30 days. */
  readonly perMonth: Reading;
}

function spread(perHour: Reading): UsdRate {
  const perDay = mapReading(perHour, (usd) => usd * HOURS_PER_DAY);
  return { perHour, perDay, perMonth: mapReading(perDay, (usd) => usd * DAYS_PER_MONTH) };
}

/** What is earned and spent at the present rate. */
export interface RateCost {
  readonly tokens: UsdRate;
  readonly compute: UsdRate;
  readonly marginRatio: Reading<Ratio>;
  /** What the GPUs cost for a million tokens, prompts and outputs together. */
  readonly usdPerMillionTokens: Reading;
  /** The same for output tokens alone. */
  readonly usdPerMillionOutputTokens: Reading;
}

function costPerMillion(usdPerHour: Reading, tokensPerSecond: Reading): Reading {
  const millionsPerHour = mapReading(
    tokensPerSecond,
    (rate) => rate * SECONDS_PER_HOUR / TOKENS_PER_MILLION,
  );
  return divideWhole(usdPerHour, millionsPerHour);
}

/**
 * What is earned and spent at the present rate; `perSecond` are tokens per second.
 */
export function costOfRate(
  { perSecond, tokenPrices, computeUsdPerHour }: {
    readonly perSecond: TokenAmounts;
    readonly tokenPrices: TokenPrices;
    readonly computeUsdPerHour: Reading;
  },
): RateCost {
  const { total } = valueTokens(perSecond, tokenPrices);
  const tokens = spread(mapReading(total, (usd) => usd * SECONDS_PER_HOUR));
  const { promptTokens, generationTokens } = perSecond;
  return {
    tokens,
    compute: spread(computeUsdPerHour),
    marginRatio: divideWhole(tokens.perHour, computeUsdPerHour),
    usdPerMillionTokens: costPerMillion(
      computeUsdPerHour,
      addAll([promptTokens, generationTokens]),
    ),
    usdPerMillionOutputTokens: costPerMillion(computeUsdPerHour, generationTokens),
  };
}

/**
 * What was spent while nothing ran, and its share of all that was spent.
 */
export function costOfIdleness(
  { idle, span, computeUsdPerHour }: {
    readonly idle: Reading<Seconds>;
    readonly span: Reading<Seconds>;
    readonly computeUsdPerHour: Reading;
  },
): { readonly usd: Reading; readonly ratio: Reading<Ratio> } {
  const usd = spend(computeUsdPerHour, idle);
  return { usd, ratio: divideReadings(usd, spend(computeUsdPerHour, span)) };
}

/** A part of a GPU that a group of replicas uses. */
export interface GpuUse {
  readonly groupKey: string;
  readonly gpuIndex: number;
  /** By which a GPU of several groups is divided: the memory they hold. 0 or more. */
  readonly weight: number;
}

/** The cost per hour of all GPUs, by group. */
interface SharedCost {
  readonly usdPerHourByGroup: ReadonlyMap<string, number>;
  /** Of GPUs that no group uses. */
  readonly unusedUsdPerHour: number;
}

/**
 * The cost of GPUs, divided among the groups that use them: a GPU of several
 * groups by weight, equally where no weight is known. The parts and what is
 * unused add up to the whole.
 *
 * @param usdPerHourByGpu The price of each GPU by its index.
 */
export function shareCost(
  usdPerHourByGpu: ReadonlyMap<number, number>,
  uses: readonly GpuUse[],
): SharedCost {
  const usdPerHourByGroup = new Map<string, number>();
  let unusedUsdPerHour = 0;
  for (const [gpuIndex, usd] of usdPerHourByGpu) {
    const mine = uses.filter((use) => use.gpuIndex === gpuIndex);
    const sum = mine.reduce((total, { weight }) => total + weight, 0);
    if (mine.length === 0) unusedUsdPerHour += usd;
    for (const { groupKey, weight } of mine) {
      const part = sum > 0 ? weight / sum : 1 / mine.length;
      usdPerHourByGroup.set(groupKey, (usdPerHourByGroup.get(groupKey) ?? 0) + usd * part);
    }
  }
  return { usdPerHourByGroup, unusedUsdPerHour };
}

/** Prices, and the sign that stands before amounts. USD per million tokens, per GPU and hour. */
export interface Pricing extends ComputePricing {
  readonly tokenPrices: TokenPrices;
  /** Whether GPUs that are found here cost something. */
  readonly detectsGpus: boolean;
  readonly currency: string;
}

/** Nothing was told: hints for GPUs that are found, and no worth of tokens. */
export const NO_PRICING: Pricing = {
  tokenPrices: { input: null, output: null, cachedInput: null },
  usdPerGpuHour: null,
  gpuCount: null,
  ownPrices: [],
  detectsGpus: true,
  currency: "$",
};
