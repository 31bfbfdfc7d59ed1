/**
 * The panel of money: what the GPUs cost, what the tokens are worth, and what
 * is left of it.
 *
 * Which GPUs and tokens are in it is `bill`'s matter. Each figure
 * that rests on a price hint is marked `≈`, and the hint stands below with its
 * tier and month. What is not known is a dash.
 *
 * @module
 */

import { type GpuCost, isHint, type RateCost, type SpanCost } from "./cost.ts";
import { isPresent, mapReading, type Reading } from "./reading.ts";
import type { State } from "./state.ts";
import type { Bill, GroupBill } from "./state_cost.ts";
import type { Ratio } from "./units.ts";
import { formatDuration, formatMoney, formatPercent, formatReading } from "./view_format.ts";
import { createFixedPanel, layOut, type Panel } from "./view_layout.ts";
import type { Paint } from "./view_theme.ts";
import { chooseMarginColor, formatBurnRate, markHint, shortenGpuName } from "./view_words.ts";

/** Models that have a line of their own. */
const MAX_GROUP_LINES = 6;

/** What the panel is made of. */
interface Subject {
  readonly bill: Bill;
  readonly state: State;
  readonly paint: Paint;
}

function formatWorth({ state: { pricing } }: Subject, reading: Reading): string {
  return formatReading(reading, (amount) => formatMoney(amount, pricing.currency));
}

/** An amount that rests on what GPUs cost. */
function formatCost(subject: Subject, reading: Reading): string {
  return markHint(subject.bill, reading) + formatWorth(subject, reading);
}

function formatMargin({ bill, paint }: Subject, margin: Reading<Ratio>): string {
  const text = formatReading(margin, (ratio) => `${ratio.toFixed(2)}×`);
  return paint(markHint(bill, margin) + text, chooseMarginColor(margin));
}

function describeSpan(title: string, { span }: SpanCost): string {
  return isPresent(span) ? `${title} ${formatDuration(span.value)}` : title;
}

/** Rows of rates and sums: GPUs, tokens, margin, idle time. */
function listRows(subject: Subject): string[][] {
  const { bill, paint } = subject;
  const { rate, session, lifetime, compute, idle } = bill;
  const { gpuCount } = compute;
  const heading = [
    "",
    "per hour",
    "per day",
    "30 days",
    describeSpan("session", session),
    describeSpan("since start", lifetime),
  ];
  const row = (
    title: string,
    rates: RateCost["tokens"],
    sums: readonly Reading[],
    format: (subject: Subject, reading: Reading) => string,
  ): string[] => [
    title,
    ...[rates.perHour, rates.perDay, rates.perMonth, ...sums].map((one) => format(subject, one)),
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
    const amount = formatCost(subject, idle.usd);
    rows.push(["  idle", "", "", "", isPresent(idle.usd) ? `${amount} (${share})` : amount]);
  }
  if (!bill.hasTokenPrices) return rows;
  const margins = [session.marginRatio, lifetime.marginRatio];
  return [
    ...rows,
    row("Tokens", rate.tokens, earned, formatWorth),
    [
      "Margin",
      ...[formatMargin(subject, rate.marginRatio), "", ""],
      ...margins.map((margin) => formatMargin(subject, margin)),
    ],
  ];
}

/** What a million tokens cost at the rate of the last minute. */
function describeMillion(subject: Subject, { usdPerMillionTokens, ...rate }: RateCost): string {
  const all = formatCost(subject, usdPerMillionTokens);
  const output = formatCost(subject, rate.usdPerMillionOutputTokens);
  return `per million tokens@1m ${all}, output only ${output}`;
}

function describeGroup(subject: Subject, group: GroupBill): string[] {
  return [
    subject.paint(group.label, "name"),
    `${formatCost(subject, group.usdPerHour)}/h`,
    describeMillion(subject, group.rate),
    ...subject.bill.hasTokenPrices ? [formatMargin(subject, group.rate.marginRatio)] : [],
  ];
}

/** What one kind of GPU costs, and who says so. */
function describeSource({ name, count, usdPerHour, price }: GpuCost, subject: Subject): string {
  const { state: { pricing }, paint } = subject;
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

/** Whose GPUs are in the bill. */
function describeBasis({ basis, isLocalOnly, compute }: Bill): string {
  const whose = basis === "machine"
    ? "bills all GPUs of this machine: it is unknown which of them serve"
    : basis === "none" && !isPresent(compute.usdPerHour)
    ? "no GPUs found: set --num-gpus and --gpu-cost-hour"
    : "";
  const servers = isLocalOnly ? "servers on other machines are not included" : "";
  return [whose, servers].filter((text) => text !== "").join("; ");
}

function listLines(subject: Subject): string[] {
  const { bill, paint } = subject;
  const { groups } = bill;
  const basis = describeBasis(bill);
  const hasGroups = groups.length > 1 && groups.some(({ usdPerHour }) => isPresent(usdPerHour));
  const unused = bill.unusedUsdPerHour;
  const isUnused = isPresent(unused) && unused.value > 0;
  return [
    ...layOut(listRows(subject), "right"),
    describeMillion(subject, bill.rate),
    ...hasGroups
      ? layOut(
        groups.slice(0, MAX_GROUP_LINES).map((group) => describeGroup(subject, group)),
        "left",
      )
      : [],
    ...isUnused ? [`${formatCost(subject, unused)}/h for unused GPUs`] : [],
    ...bill.compute.gpus.map((gpu) => describeSource(gpu, subject)),
    ...basis === "" ? [] : [paint(basis, "dim")],
  ];
}

/** What it all costs; `null` where there is nothing of money to say. */
export function createCostPanel(state: State, paint: Paint): Panel | null {
  const { bill } = state;
  if (!bill.isPriced) return null;
  const subject: Subject = { bill, state, paint };
  const { rate, session } = bill;
  const idle = mapReading(bill.idle.ratio, formatPercent);
  return createFixedPanel({
    id: "cost",
    title: "COST",
    lines: listLines(subject),
    summary: [
      formatBurnRate(bill, state.pricing.currency),
      describeMillion(subject, rate),
      isPresent(session.computeUsd) ? `session ${formatCost(subject, session.computeUsd)}` : "",
      bill.hasTokenPrices ? `margin ${formatMargin(subject, rate.marginRatio)}` : "",
      isPresent(idle) ? `idle ${idle.value}` : "",
    ].filter((text) => text !== "").join("  "),
  });
}
