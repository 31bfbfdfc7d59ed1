/**
 * What tokens are sold for and what GPUs cost, as the user has told.
 *
 * Layer 2, pure. Data of `cost_options` with the prices of the user's file read:
 * what every figure of money rests on. Which GPUs are priced is `bill`'s matter.
 *
 * @module
 */

import type { ComputePricing } from "./cost.ts";
import type { TokenPrices } from "./model.ts";

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
