/**
 * Computes USD from tokens, GPU hours and prices; absent unless all inputs are known.
 * @module
 */

import { findGpuPrice, GPU_PRICES, type GpuPrice } from "./cost_prices.ts";
import {
  absent,
  divideReadings,
  isPresent,
  mapReading,
  present,
  type Reading,
  sumReadings,
  sumWhole,
} from "./reading.ts";
import {
  HOURS_PER_DAY,
  type Ratio,
  type Seconds,
  SECONDS_PER_HOUR,
  TOKENS_PER_MILLION,
} from "./units.ts";

/** USD per million tokens; `null` if unset. */
export interface TokenPrices {
  readonly input: number | null;
  readonly output: number | null;
  /** `null`: priced as input. */
  readonly cachedInput: number | null;
}

/** Whether the price is built in, or an estimate. */
export function isHint(price: GpuPrice | null): boolean {
  return price !== null && (price.isEstimate || GPU_PRICES.includes(price));
}

const DAYS_PER_MONTH = 30;

/** Counts, or per second. Prompt tokens include cached ones. */
export interface TokenAmounts {
  readonly promptTokens: Reading;
  readonly cachedPromptTokens: Reading;
  readonly generationTokens: Reading;
}

/** USD, or USD per second. */
interface TokenValue {
  /** Prompt tokens not served from the cache. */
  readonly input: Reading;
  readonly cachedInput: Reading;
  readonly output: Reading;
  readonly total: Reading;
}

export function hasTokenPrices({ input, output, cachedInput }: TokenPrices): boolean {
  return input !== null || output !== null || cachedInput !== null;
}

const NO_VALUE = absent("unsupported");

function computeValue(tokens: Reading, usdPerMillion: number): Reading {
  if (usdPerMillion === 0) return present(0);
  return mapReading(tokens, (count) => Math.max(0, count) / TOKENS_PER_MILLION * usdPerMillion);
}

/** Values tokens; prices not given count as 0. `unsupported` if none is given. */
export function computeTokenValue(amounts: TokenAmounts, prices: TokenPrices): TokenValue {
  if (!hasTokenPrices(prices)) {
    return { input: NO_VALUE, cachedInput: NO_VALUE, output: NO_VALUE, total: NO_VALUE };
  }
  const { promptTokens, cachedPromptTokens, generationTokens } = amounts;
  const inputPrice = prices.input ?? 0;
  const output = computeValue(generationTokens, prices.output ?? 0);
  if (prices.cachedInput === null) {
    const input = computeValue(promptTokens, inputPrice);
    return { input, cachedInput: NO_VALUE, output, total: sumWhole([input, output]) };
  }
  const cached: Reading = isPresent(promptTokens) && isPresent(cachedPromptTokens)
    ? mapReading(cachedPromptTokens, (count) => Math.min(count, promptTokens.value))
    : cachedPromptTokens;
  const computed: Reading = isPresent(cached)
    ? mapReading(promptTokens, (count) => count - cached.value)
    : cached;
  const input = computeValue(computed, inputPrice);
  const cachedInput = computeValue(cached, prices.cachedInput);
  return { input, cachedInput, output, total: sumWhole([input, cachedInput, output]) };
}

/** GPUs of one name. */
export interface GpuCost {
  /** As the driver prints it; `GPU` if only the user's count is known. */
  readonly name: string;
  readonly count: number;
  /** Per GPU; absent if no price is known. */
  readonly usdPerHour: Reading;
  /** `null` if unknown, or if the user set one price for all. */
  readonly price: GpuPrice | null;
}

export interface ComputeCost {
  readonly gpus: readonly GpuCost[];
  readonly gpuCount: number;
  /** Of all; partial if some have no price, absent if none has. */
  readonly usdPerHour: Reading;
}

interface ComputePricing {
  /** For every GPU; `null` for the price table. */
  readonly usdPerGpuHour: number | null;
  /** `null` for the GPUs found. */
  readonly gpuCount: number | null;
  /** From the price file. */
  readonly ownPrices: readonly GpuPrice[];
}

function priceGpuKind(name: string, count: number, pricing: ComputePricing): GpuCost {
  if (pricing.usdPerGpuHour !== null) {
    return { name, count, usdPerHour: present(pricing.usdPerGpuHour), price: null };
  }
  const price = findGpuPrice(name, pricing.ownPrices);
  const usdPerHour = price === null ? absent("missing") : present(price.usdPerHour);
  return { name, count, usdPerHour, price };
}

function listGpuKinds(
  names: readonly string[],
  gpuCount: number | null,
): readonly (readonly [name: string, count: number])[] {
  const kinds = [...Map.groupBy(names, (name) => name)]
    .map(([name, members]) => [name, members.length] as const);
  if (gpuCount === null) return kinds;
  // A count could mean any of several kinds.
  return [[kinds.length === 1 ? kinds[0][0] : "GPU", gpuCount]];
}

/**
 * Prices GPUs by name. The user's price and count override what is found; a count alone takes the
 * price of the only kind found.
 * @param names One per GPU: of the watched engines, or all local ones if that is unknown; none for
 * remote hosts.
 */
export function priceCompute(names: readonly string[], pricing: ComputePricing): ComputeCost {
  const gpus = listGpuKinds(names, pricing.gpuCount)
    .map(([name, count]) => priceGpuKind(name, count, pricing));
  const costs = gpus.map(({ usdPerHour, count }) => mapReading(usdPerHour, (usd) => count * usd));
  return {
    gpus,
    gpuCount: gpus.reduce((sum, { count }) => sum + count, 0),
    usdPerHour: sumReadings(costs),
  };
}

export interface SpanCost {
  readonly span: Reading<Seconds>;
  readonly tokens: TokenValue;
  readonly computeUsd: Reading;
  /** Value ÷ cost. */
  readonly marginRatio: Reading<Ratio>;
}

/** Divides; absent if either is partial. */
function divideWhole(worth: Reading, cost: Reading): Reading<Ratio> {
  const isPartial = [worth, cost].some((reading) => isPresent(reading) && reading.partial === true);
  return isPartial ? absent("missing") : divideReadings(worth, cost);
}

/** A negative span means that the clock was set back. */
function computeCost(usdPerHour: Reading, span: Reading<Seconds>): Reading {
  if (!isPresent(span)) return span;
  if (span.value < 0) return absent("restarted");
  return mapReading(usdPerHour, (usd) => usd * span.value / SECONDS_PER_HOUR);
}

export function computeSpanCost(
  { span, amounts, tokenPrices, computeUsdPerHour }: {
    readonly span: Reading<Seconds>;
    readonly amounts: TokenAmounts;
    readonly tokenPrices: TokenPrices;
    readonly computeUsdPerHour: Reading;
  },
): SpanCost {
  const tokens = computeTokenValue(amounts, tokenPrices);
  const computeUsd = computeCost(computeUsdPerHour, span);
  return { span, tokens, computeUsd, marginRatio: divideWhole(tokens.total, computeUsd) };
}

export interface UsdRate {
  readonly perHour: Reading;
  readonly perDay: Reading;
  /** 30 days. */
  readonly perMonth: Reading;
}

function projectRate(perHour: Reading): UsdRate {
  const perDay = mapReading(perHour, (usd) => usd * HOURS_PER_DAY);
  return { perHour, perDay, perMonth: mapReading(perDay, (usd) => usd * DAYS_PER_MONTH) };
}

export interface RateCost {
  readonly tokens: UsdRate;
  readonly compute: UsdRate;
  readonly marginRatio: Reading<Ratio>;
  /** Prompt and output tokens together. */
  readonly usdPerMillionTokens: Reading;
  readonly usdPerMillionOutputTokens: Reading;
}

function computeCostPerMillion(usdPerHour: Reading, tokensPerSecond: Reading): Reading {
  const millionsPerHour = mapReading(
    tokensPerSecond,
    (rate) => rate * SECONDS_PER_HOUR / TOKENS_PER_MILLION,
  );
  return divideWhole(usdPerHour, millionsPerHour);
}

/**
 * Computes value and cost at the current rate.
 * @param options.perSecond Tokens per second.
 */
export function computeRateCost(
  { perSecond, tokenPrices, computeUsdPerHour }: {
    readonly perSecond: TokenAmounts;
    readonly tokenPrices: TokenPrices;
    readonly computeUsdPerHour: Reading;
  },
): RateCost {
  const { total } = computeTokenValue(perSecond, tokenPrices);
  const tokens = projectRate(mapReading(total, (usd) => usd * SECONDS_PER_HOUR));
  const { promptTokens, generationTokens } = perSecond;
  return {
    tokens,
    compute: projectRate(computeUsdPerHour),
    marginRatio: divideWhole(tokens.perHour, computeUsdPerHour),
    usdPerMillionTokens: computeCostPerMillion(
      computeUsdPerHour,
      sumWhole([promptTokens, generationTokens]),
    ),
    usdPerMillionOutputTokens: computeCostPerMillion(computeUsdPerHour, generationTokens),
  };
}

/** Computes the cost of idle time, and its share of the cost of the span. */
export function computeIdleCost(
  { idle, span, computeUsdPerHour }: {
    readonly idle: Reading<Seconds>;
    readonly span: Reading<Seconds>;
    readonly computeUsdPerHour: Reading;
  },
): { readonly usd: Reading; readonly ratio: Reading<Ratio> } {
  const usd = computeCost(computeUsdPerHour, idle);
  return { usd, ratio: divideReadings(usd, computeCost(computeUsdPerHour, span)) };
}

export interface GpuUse {
  readonly groupKey: string;
  readonly gpuIndex: number;
  /** Bytes of GPU memory held. */
  readonly weight: number;
}

/**
 * Divides GPU cost among groups by weight, equally if all weights are 0. `unusedUsdPerHour` is for
 * GPUs that no group uses.
 * @param usdPerHourByGpu By GPU index.
 */
export function shareCost(
  usdPerHourByGpu: ReadonlyMap<number, number>,
  uses: readonly GpuUse[],
): {
  readonly usdPerHourByGroup: ReadonlyMap<string, number>;
  readonly unusedUsdPerHour: number;
} {
  const usdPerHourByGroup = new Map<string, number>();
  let unusedUsdPerHour = 0;
  for (const [gpuIndex, usd] of usdPerHourByGpu) {
    const users = uses.filter((use) => use.gpuIndex === gpuIndex);
    const sum = users.reduce((total, { weight }) => total + weight, 0);
    if (users.length === 0) unusedUsdPerHour += usd;
    for (const { groupKey, weight } of users) {
      const part = sum > 0 ? weight / sum : 1 / users.length;
      usdPerHourByGroup.set(groupKey, (usdPerHourByGroup.get(groupKey) ?? 0) + usd * part);
    }
  }
  return { usdPerHourByGroup, unusedUsdPerHour };
}

/** USD per million tokens and per GPU-hour. */
export interface Pricing extends ComputePricing {
  readonly tokenPrices: TokenPrices;
  /** Whether local GPUs are billed. */
  readonly detectsGpus: boolean;
  readonly currency: string;
}

/** Built-in GPU prices; tokens have no value. */
export const NO_PRICING: Pricing = {
  tokenPrices: { input: null, output: null, cachedInput: null },
  usdPerGpuHour: null,
  gpuCount: null,
  ownPrices: [],
  detectsGpus: true,
  currency: "$",
};
