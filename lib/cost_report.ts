/**
 * What the fleet costs and earns, into JSON.
 *
 * Layer 4, pure. This module owns the keys. USD, whatever sign stands on the
 * screen; a figure without all of its inputs is `null` with the reason.
 *
 * @module
 */

import { type Bill, createBill, isHint } from "./bill.ts";
import type { GpuCost, RateCost, SpanCost, UsdRate } from "./cost.ts";
import { type JsonObject, reportReadings } from "./json.ts";
import type { TokenPrices } from "./model.ts";
import type { Overview } from "./overview.ts";
import { absent, present, type Reading } from "./reading.ts";
import type { State } from "./state.ts";

function reportFlow({ perHour, perDay, perMonth }: UsdRate): JsonObject {
  return reportReadings({ usdPerHour: perHour, usdPerDay: perDay, usdPer30Days: perMonth });
}

/** @param own Further figures of the same object. */
function reportRate(rate: RateCost, own: Readonly<Record<string, Reading>> = {}): JsonObject {
  return {
    tokens: reportFlow(rate.tokens),
    compute: reportFlow(rate.compute),
    ...reportReadings({
      ...own,
      marginRatio: rate.marginRatio,
      usdPerMillionTokens: rate.usdPerMillionTokens,
      usdPerMillionOutputTokens: rate.usdPerMillionOutputTokens,
    }),
  };
}

function reportSpan({ span, tokens, computeUsd, marginRatio }: SpanCost): JsonObject {
  return reportReadings({
    spanSeconds: span,
    inputTokensUsd: tokens.input,
    cachedInputTokensUsd: tokens.cachedInput,
    outputTokensUsd: tokens.output,
    tokensUsd: tokens.total,
    computeUsd,
    marginRatio,
  });
}

/** What one kind of GPU costs, and where that was read. */
function reportSource({ name, count, usdPerHour, price }: GpuCost): JsonObject {
  return {
    name,
    count,
    ...reportReadings({ usdPerGpuHour: usdPerHour }),
    isHint: isHint(price),
    hint: price === null ? null : {
      match: price.match,
      tier: price.tier,
      month: price.date,
      source: price.source,
      note: price.note,
    },
  };
}

/** What tokens are sold for; `unsupported` where nobody has said. */
function reportPrices({ input, cachedInput, output }: TokenPrices): JsonObject {
  const read = (price: number | null): Reading =>
    price === null ? absent("unsupported") : present(price);
  return reportReadings({
    usdPerMillionInputTokens: read(input),
    usdPerMillionCachedInputTokens: read(cachedInput),
    usdPerMillionOutputTokens: read(output),
  });
}

function reportGroups({ groups }: Bill): readonly JsonObject[] {
  return groups.map(({ modelName, usdPerHour, rate }) => ({
    model: modelName,
    ...reportReadings({ usdPerHour }),
    rate: reportRate(rate),
  }));
}

/** The bill of the fleet. */
export function reportCost(overview: Overview, state: State): JsonObject {
  const { pricing } = state;
  const bill = createBill(overview, state);
  const { rate, session, lifetime, idle } = bill;
  return {
    currency: pricing.currency,
    basis: bill.basis,
    isHint: bill.isAbout,
    isThisMachineOnly: bill.isLocalOnly,
    gpuCount: bill.compute.gpuCount,
    gpus: bill.compute.gpus.map(reportSource),
    tokenPrices: reportPrices(pricing.tokenPrices),
    rate: reportRate(rate, { spanSeconds: rate.span }),
    session: {
      ...reportSpan(session),
      idle: reportReadings({ usd: idle.usd, ratio: idle.ratio }),
    },
    sinceStart: reportSpan(lifetime),
    groups: reportGroups(bill),
    unused: reportReadings({ usdPerHour: bill.unusedUsdPerHour }),
  };
}
