/**
 * A comparison of two recorded spans -> one JSON document. Values are in base units: seconds, ratios
 * from 0 to 1, USD, and those per second.
 * @module
 */

import type { Json } from "./json.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { ComparedFigure, ComparedModel, Comparison } from "./state_compare.ts";
import { COMPARE_ALPHA } from "./stats_blocks.ts";
import { computeChange, type FigureValue } from "./stats_compare.ts";

/** Raised when a key changes its meaning or is removed. */
const COMPARISON_SCHEMA = 1;

function finite(value: number | null): number | null {
  return value !== null && Number.isFinite(value) ? value : null;
}

function writeValue(reading: Reading<FigureValue>): Json {
  if (!isPresent(reading)) return { value: null, min: null, max: null, reason: reading.reason };
  const { value, least, most } = reading.value;
  return { value: finite(value), min: finite(least), max: finite(most), reason: null };
}

function writeFigure(figure: ComparedFigure): Json {
  const { key, title, unit, part, better, a, b, probability, outcome } = figure;
  const { difference, ratio } = computeChange(figure);
  return {
    ...{ key, title, unit, part, better, a: writeValue(a), b: writeValue(b) },
    difference: finite(difference),
    changeRatio: finite(ratio),
    ...{ probability, outcome },
  };
}

function writeModel(model: ComparedModel): Json {
  const { names, replicas, spans, isTested, settings, settingCount, figures } = model;
  return {
    a: { modelName: names.a, replicas: replicas.a, spanSeconds: spans.a },
    b: { modelName: names.b, replicas: replicas.b, spanSeconds: spans.b },
    isTested,
    comparedSettings: settingCount,
    differentSettings: settings.map(({ name, a, b }) => ({ name, a, b })),
    figures: figures.map(writeFigure),
  };
}

export function writeComparison({ spans, models, unmatched }: Comparison, version: string): Json {
  const describe = (side: "a" | "b"): Json => {
    const { path, from, to } = spans[side];
    return { path, fromEpochSeconds: from, toEpochSeconds: to, otherModels: [...unmatched[side]] };
  };
  return {
    comparisonSchema: COMPARISON_SCHEMA,
    ...{ version, alpha: COMPARE_ALPHA, a: describe("a"), b: describe("b") },
    models: models.map(writeModel),
  };
}
