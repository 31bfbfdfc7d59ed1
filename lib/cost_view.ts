/**
 * Figures of money as people read them.
 *
 * Layer 4, pure. What rests on a price hint is marked `≈`. A margin is what the
 * tokens are worth, divided by what the GPUs cost.
 *
 * @module
 */

import type { Bill } from "./bill.ts";
import { formatMoney, formatReading } from "./format.ts";
import type { Meaning } from "./frame.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { Ratio } from "./units.ts";

/** Margins from which serving pays well, and from which it pays (vllm-htop 0.5.0). */
export const MARGIN_GOOD_RATIO: Ratio = 2;
export const MARGIN_FAIR_RATIO: Ratio = 1;

/** How a margin is coloured. */
export function judgeMargin(margin: Reading<Ratio>): Meaning {
  if (!isPresent(margin)) return "dim";
  return margin.value >= MARGIN_GOOD_RATIO
    ? "ok"
    : margin.value >= MARGIN_FAIR_RATIO
    ? "warn"
    : "alert";
}

/** What stands before a figure that rests on what GPUs cost. */
export function markHint({ isAbout }: Pick<Bill, "isAbout">, reading: Reading): string {
  return isAbout && isPresent(reading) ? "≈ " : "";
}

/** What all GPUs in the bill cost per hour: `≈ $13.56/h`; empty where it is not known. */
export function describeBurn(bill: Bill, currency: string): string {
  const { usdPerHour } = bill.compute;
  if (!isPresent(usdPerHour)) return "";
  const amount = formatReading(usdPerHour, (usd) => formatMoney(usd, currency));
  return `${markHint(bill, usdPerHour)}${amount}/h`;
}
