/**
 * The cost panel: GPU cost, token value and margin. `≈` marks amounts based on a price hint.
 * @module
 */

import { type GpuCost, isHint, type RateCost, type SpanCost } from "./cost.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { State } from "./state.ts";
import type { Bill } from "./state_cost.ts";
import { cutTextMiddle } from "./text.ts";
import type { Ratio } from "./units.ts";
import { formatElapsed, formatMoney, formatPercent, formatReading } from "./view_format.ts";
import { createFixedPanel, layOut, type Panel } from "./view_layout.ts";
import { cutStyledLine, type Paint } from "./view_theme.ts";
import { chooseMarginColor, markHint, shortenGpuName } from "./view_words.ts";

const MAX_GROUP_LINES = 6;
const PER_MILLION = "per 1M tokens@1m";

interface CostContext {
  readonly bill: Bill;
  readonly state: State;
  readonly paint: Paint;
}

function formatAmount({ state: { pricing } }: CostContext, reading: Reading): string {
  return formatReading(reading, (amount) => formatMoney(amount, pricing.currency));
}

/** Formats an amount that depends on GPU prices. */
function formatCost(context: CostContext, reading: Reading): string {
  return markHint(context.bill, reading) + formatAmount(context, reading);
}

function formatMargin({ bill, paint }: CostContext, margin: Reading<Ratio>): string {
  const text = formatReading(margin, (ratio) => `${ratio.toFixed(2)}×`);
  return paint(markHint(bill, margin) + text, chooseMarginColor(margin));
}

function formatSpan(title: string, { span }: SpanCost): string {
  return isPresent(span) ? title + formatElapsed(" ", span.value) : title;
}

function listRows(context: CostContext): string[][] {
  const { bill, paint } = context;
  const { rate, session, lifetime, compute, idle } = bill;
  const { gpuCount } = compute;
  const heading = [
    "",
    "per hour",
    "per day",
    "30 days",
    formatSpan("session", session),
    formatSpan("since start", lifetime),
  ];
  const row = (
    title: string,
    rates: RateCost["tokens"],
    sums: readonly Reading[],
    format: (context: CostContext, reading: Reading) => string,
  ): string[] => [
    title,
    ...[rates.perHour, rates.perDay, rates.perMonth, ...sums].map((one) => format(context, one)),
  ];
  const gpus = gpuCount === 0 ? "GPUs" : gpuCount === 1 ? "1 GPU" : `${gpuCount} GPUs`;
  const spent = [session.computeUsd, lifetime.computeUsd];
  const earned = [session.tokens.total, lifetime.tokens.total];
  const share = formatReading(idle.ratio, formatPercent);
  const rows = [
    heading.map((title) => paint(title, "heading")),
    row(gpus, rate.compute, spent, formatCost),
  ];
  if (isPresent(compute.usdPerHour)) {
    const amount = formatCost(context, idle.usd);
    rows.push(["  idle", "", "", "", isPresent(idle.usd) ? `${amount} (${share})` : amount]);
  }
  if (!bill.hasTokenPrices) return rows;
  const margins = [session.marginRatio, lifetime.marginRatio];
  return [
    ...rows,
    row("Tokens", rate.tokens, earned, formatAmount),
    [
      "Margin",
      ...[formatMargin(context, rate.marginRatio), "", ""],
      ...margins.map((margin) => formatMargin(context, margin)),
    ],
  ];
}

function formatCostPerMillion(
  context: CostContext,
  { usdPerMillionTokens, ...rate }: RateCost,
): string {
  const all = formatCost(context, usdPerMillionTokens);
  const output = formatCost(context, rate.usdPerMillionOutputTokens);
  return `${PER_MILLION} ${all}, output only ${output}`;
}

/** In cells, so that all amounts fit on a screen of 80 columns. */
const MAX_GROUP_WIDTH = 26;

/** A line for each model, below that of all. */
function listGroupRows(context: CostContext): string[][] {
  const { bill: { groups, hasTokenPrices, compute, rate }, paint } = context;
  const heading = ["", "per hour", PER_MILLION, "output only", ...hasTokenPrices ? ["margin"] : []];
  const row = (name: string, usdPerHour: Reading, rate: RateCost): string[] => [
    name,
    ...[usdPerHour, rate.usdPerMillionTokens, rate.usdPerMillionOutputTokens]
      .map((amount) => formatCost(context, amount)),
    ...hasTokenPrices ? [formatMargin(context, rate.marginRatio)] : [],
  ];
  return [
    heading.map((title) => paint(title, "heading")),
    row("all", compute.usdPerHour, rate),
    ...groups.slice(0, MAX_GROUP_LINES).map(({ label, usdPerHour, rate }) =>
      row(paint(cutTextMiddle(label, MAX_GROUP_WIDTH), "name"), usdPerHour, rate)
    ),
  ];
}

function formatSource({ name, count, usdPerHour, price }: GpuCost, context: CostContext): string {
  const { state: { pricing }, paint } = context;
  const kind = `${count}× ${shortenGpuName(name)}`;
  if (!isPresent(usdPerHour)) {
    return paint(`${kind}: price unknown; set --gpu-cost-hour or --prices`, "warn");
  }
  const amount = `${formatMoney(usdPerHour.value, pricing.currency)}/h each`;
  if (price === null) return paint(`${kind} at ${amount}, as configured`, "dim");
  const source = [price.tier, price.date].filter((text) => text !== "").join(", ");
  const word = isHint(price) ? "≈ hint" : "your price file";
  return paint(`${kind} at ${amount}: ${word} (${source})`, "dim");
}

/** Explains which GPUs are billed. */
function describeBasis({ basis, isLocalOnly, compute }: Bill): string {
  const whose = basis === "machine"
    ? "bills all GPUs of this machine: it is unknown which of them serve"
    : basis === "requested"
    ? "bills the GPUs that pods request"
    : basis === "none" && !isPresent(compute.usdPerHour)
    ? "no GPUs found: set --num-gpus and --gpu-cost-hour"
    : "";
  const servers = !isLocalOnly
    ? ""
    : basis === "requested"
    ? "servers that request no whole GPU are not included"
    : "servers on other machines are not included";
  return [whose, servers].filter((text) => text !== "").join("; ");
}

function listLines(context: CostContext): string[] {
  const { bill, paint } = context;
  const { groups } = bill;
  const basis = describeBasis(bill);
  const hasGroups = groups.length > 1 && groups.some(({ usdPerHour }) => isPresent(usdPerHour));
  const left = groups.length - MAX_GROUP_LINES;
  const more = left > 0 ? [paint(`… ${left} more models`, "dim")] : [];
  const unused = bill.unusedUsdPerHour;
  const isUnused = isPresent(unused) && unused.value > 0;
  return [
    ...layOut(listRows(context), "right"),
    ...hasGroups
      ? [...layOut(listGroupRows(context), "right"), ...more]
      : [formatCostPerMillion(context, bill.rate)],
    ...isUnused ? [`${formatCost(context, unused)}/h for GPUs without a known model`] : [],
    ...bill.compute.gpus.map((gpu) => formatSource(gpu, context)),
    ...basis === "" ? [] : [paint(basis, "dim")],
  ];
}

/** Returns `null` if nothing has a price. */
export function createCostPanel(state: State, paint: Paint): Panel | null {
  const { bill } = state;
  if (!bill.isPriced) return null;
  const context: CostContext = { bill, state, paint };
  const lines = listLines(context);
  return {
    ...createFixedPanel({ title: "COST", lines }),
    draw: ({ width }) => lines.map((line) => cutStyledLine(line, width)),
  };
}
