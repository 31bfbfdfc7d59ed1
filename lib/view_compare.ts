/**
 * A comparison of two recorded spans -> lines of text, or a document in Markdown.
 * @module
 */

import { isPresent, type Reading } from "./reading.ts";
import type { ComparedFigure, ComparedModel, Comparison } from "./state_compare.ts";
import { MIN_COMPARED_SPAN } from "./stats_blocks.ts";
import {
  computeChange,
  type FigurePair,
  type FigureUnit,
  type FigureValue,
} from "./stats_compare.ts";
import { cutText, sanitizeText, wrapText } from "./text.ts";
import { formatLocalTime } from "./units.ts";
import {
  DASH,
  formatAttainment,
  formatBoundary,
  formatCount,
  formatDuration,
  formatLatency,
  formatMoney,
  formatQuantity,
  formatRange,
} from "./view_format.ts";
import { layOut } from "./view_layout.ts";

type SideName = "a" | "b";
type Cells = readonly string[];

const MAX_SETTING_WIDTH = 40;
/** Of remarks; tables are about as wide. */
const TEXT_WIDTH = 80;
/** Differences that are of no account. */
const ABOUT = 0.1;
const HEADINGS: Cells = ["", "A", "B", "change", "beyond chance"];
const ALIGNMENTS = ["left", "right", "right", "right", "left"] as const;
const PARTS = { load: "Load", service: "Service" } as const;

// ---- Figures.

function formatBounds({ least, most }: FigureValue): string {
  if (least === 0) return `<${formatBoundary(most)}`;
  if (most === Infinity) return `>${formatBoundary(least)}`;
  return formatRange({ min: least, max: most }, formatBoundary);
}

function formatValue(figure: FigureValue, unit: FigureUnit, currency: string): string {
  const { value, least: min, most: max } = figure;
  switch (unit) {
    case "seconds":
      return value === null ? formatBounds(figure) : formatLatency(value);
    case "ratio":
      return formatAttainment({ min, max });
    case "per_second":
      return formatRange({ min, max }, (rate) => `${formatQuantity(rate)}/s`);
    case "count":
      return formatQuantity(min);
    case "usd":
      return formatMoney(min, currency);
  }
}

function formatSigned(value: number, text: string): string {
  return `${value < 0 ? "-" : "+"}${text}`;
}

/** Of shares in percentage points; of all else as a part of A. */
function formatChange(figure: FigurePair): string {
  const { difference, ratio } = computeChange(figure);
  const isShare = figure.unit === "ratio";
  const change = isShare ? difference : ratio;
  if (change === null) return DASH;
  const percent = Math.abs(100 * change);
  if (isShare) return formatSigned(change, `${percent.toFixed(1)} pp`);
  return formatSigned(change, `${percent.toFixed(percent < 9.95 ? 1 : 0)} %`);
}

function isHigher({ a, b }: FigurePair): boolean {
  if (!isPresent(a) || !isPresent(b)) return false;
  return b.value.least > a.value.least || b.value.most > a.value.most;
}

function formatOutcome(figure: ComparedFigure): string {
  const { outcome, better, a } = figure;
  switch (outcome) {
    case "alike":
      return "no";
    case "one_bucket":
      return `no: both ${isPresent(a) ? formatBounds(a.value) : "in one bucket"}`;
    case "untested":
      return "n/a";
    case "differs":
      if (better === null) return "yes";
      return (better === "higher") === isHigher(figure) ? "yes, better" : "yes, worse";
  }
}

function writeFigure(figure: ComparedFigure, currency: string): Cells {
  const write = (reading: Reading<FigureValue>): string =>
    isPresent(reading) ? formatValue(reading.value, figure.unit, currency) : DASH;
  return [
    ...[figure.title, write(figure.a), write(figure.b)],
    ...[formatChange(figure), formatOutcome(figure)],
  ];
}

// ---- Remarks.

function listDifferent({ figures }: ComparedModel): readonly ComparedFigure[] {
  return figures.filter(({ outcome }) => outcome === "differs");
}

function describeResult(model: ComparedModel): string {
  const { figures } = model;
  const tested = figures.filter(({ outcome }) => outcome !== "untested").length;
  const different = listDifferent(model).length;
  const figureCount = `${tested} ${tested === 1 ? "figure" : "figures"}`;
  if (tested === 0) return "No figure could be tested.";
  if (different === 0) return `No difference beyond chance in ${figureCount}.`;
  return `${different} of ${figureCount} differ beyond chance.`;
}

function isAbout(figure: FigurePair): boolean {
  const { ratio } = computeChange(figure);
  return ratio !== null && Math.abs(ratio) < ABOUT;
}

/** What else may explain a difference. */
function describeLoad(model: ComparedModel): readonly string[] {
  const different = listDifferent(model);
  const loads = different.filter(({ part }) => part === "load");
  if (loads.length === 0) return [];
  const names = loads.map(({ title }) => title.toLowerCase()).join(", ");
  const isClosed = loads.some(({ key }) => key === "arrivals") &&
    model.figures.some((figure) => figure.key === "in_flight" && isAbout(figure));
  return [
    `The load differs (${names}): what else differs may come of that.`,
    ...isClosed
      ? [
        "About as many requests were under way: clients that wait for answers send more if those " +
        "come sooner.",
      ]
      : [],
  ];
}

function describeSpans(model: ComparedModel): readonly string[] {
  if (model.isTested) return [];
  const { a, b } = model.spans;
  return [
    `A has figures of ${formatDuration(a)}, B of ${formatDuration(b)}: at least ` +
    `${formatDuration(MIN_COMPARED_SPAN)} are needed to tell a difference from chance.`,
  ];
}

function describeSettings({ settings, settingCount }: ComparedModel): readonly string[] {
  return settings.length > 0
    ? []
    : [`None of the ${formatCount(settingCount)} settings that both tell differs.`];
}

/** What has to be told for figures that are n/a. */
function describeNeeds({ figures }: ComparedModel): readonly string[] {
  const needsPrice = figures.some(({ unit, a, b }) =>
    unit === "usd" && (!isPresent(a) || !isPresent(b))
  );
  return [
    ...figures.some(({ key }) => key === "goodput") ? ["Goodput needs limits: --slo ttft=1s"] : [],
    ...needsPrice ? ["Cost needs GPUs and a price: --num-gpus 1 --gpu-cost-hour 2"] : [],
  ];
}

function listRemarks(model: ComparedModel): readonly string[] {
  return [
    ...describeSpans(model),
    ...describeSettings(model),
    ...describeLoad(model),
    ...describeNeeds(model),
    describeResult(model),
  ];
}

function listUnmatched({ unmatched, models }: Comparison): readonly string[] {
  const describe = (side: SideName, other: string): readonly string[] =>
    unmatched[side].map((name) => `${name} is not in ${other}, and left out.`);
  const none = models.length === 0 ? ["There is no model with figures in both."] : [];
  return [...describe("a", "B"), ...describe("b", "A"), ...none];
}

// ---- Text.

function describeSpan({ spans }: Comparison, side: SideName): string {
  const { path, from, to, utcOffset } = spans[side];
  const [start, end] = [from, to].map((epoch) => formatLocalTime(Math.round(epoch), utcOffset));
  const isOneDay = start.slice(0, 10) === end.slice(0, 10);
  return `${sanitizeText(path)}, ${start} to ${isOneDay ? end.slice(11) : end}`;
}

function nameModel({ names: { a, b }, replicas }: ComparedModel): string {
  const count = replicas.a === replicas.b
    ? formatCount(replicas.a)
    : `${formatCount(replicas.a)} → ${formatCount(replicas.b)}`;
  const things = count === "1" ? "replica" : "replicas";
  return `${a === b ? a : `${a} → ${b}`}, ${count} ${things}`;
}

function listSettingCells({ settings }: ComparedModel): readonly Cells[] {
  const write = (text: string | null): string =>
    text === null ? DASH : cutText(text, MAX_SETTING_WIDTH);
  return settings.map(({ name, a, b }) => [name, write(a), write(b)]);
}

function writeModel(model: ComparedModel, currency: string): readonly string[] {
  const settings = listSettingCells(model);
  const parts = Map.groupBy(model.figures, ({ part }) => part);
  const figures = [...parts].flatMap(([part, some]) => [
    [PARTS[part]],
    ...some.map((figure) => writeFigure(figure, currency)).map(([title, ...rest]) => [
      `  ${title}`,
      ...rest,
    ]),
  ]);
  const changed = settings.length === 0
    ? []
    : [...layOut([["Settings that differ", "A", "B"], ...settings], ALIGNMENTS), ""];
  return [
    ...["", nameModel(model), ""],
    ...changed,
    ...layOut([HEADINGS, ...figures], ALIGNMENTS),
    "",
    ...listRemarks(model).flatMap((remark) => wrapText(remark, TEXT_WIDTH)),
  ];
}

export function renderComparison(comparison: Comparison, currency: string): readonly string[] {
  return [
    `A  ${describeSpan(comparison, "a")}`,
    `B  ${describeSpan(comparison, "b")}`,
    ...comparison.models.flatMap((model) => writeModel(model, currency)),
    ...listUnmatched(comparison),
  ];
}

// ---- Markdown.

/** Signs of Markdown in names are no marks. */
function escapeMarkdown(text: string): string {
  return text.replace(/[\\`*_{}[\]<>#|~]/g, "\\$&");
}

function writeTable([head, ...rows]: readonly Cells[]): readonly string[] {
  const write = (cells: Cells): string => `| ${cells.map(escapeMarkdown).join(" | ")} |`;
  const rule = head.map((_, i) => ALIGNMENTS[i] === "left" ? "---" : "--:");
  return [write(head), `| ${rule.join(" | ")} |`, ...rows.map(write)];
}

function writeMarkdownModel(model: ComparedModel, currency: string): readonly string[] {
  const settings = listSettingCells(model);
  const changed = settings.length === 0
    ? []
    : ["", ...writeTable([["Setting", "A", "B"], ...settings])];
  const figures = model.figures.map((figure) => writeFigure(figure, currency));
  return [
    ...["", `## ${escapeMarkdown(nameModel(model))}`],
    ...changed,
    ...["", ...writeTable([["Figure", ...HEADINGS.slice(1)], ...figures]), ""],
    ...listRemarks(model).map((remark) => `- ${escapeMarkdown(remark)}`),
  ];
}

export function renderMarkdown(comparison: Comparison, currency: string): readonly string[] {
  const others = listUnmatched(comparison).map((remark) => `- ${escapeMarkdown(remark)}`);
  return [
    `- A: ${escapeMarkdown(describeSpan(comparison, "a"))}`,
    `- B: ${escapeMarkdown(describeSpan(comparison, "b"))}`,
    ...comparison.models.flatMap((model) => writeMarkdownModel(model, currency)),
    ...others.length === 0 ? [] : ["", ...others],
  ];
}
