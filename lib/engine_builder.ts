/**
 * The figures of one engine while its samples arrive one by one.
 *
 * Layer 1, pure apart from the builders it is given. A builder collects scalars,
 * labelled families and histogram parts in any order and gives an EngineSample
 * at the end. Of several names of one figure the newest wins; two are never
 * added. Series that differ in labels of no meaning here are added up, or, for
 * gauges, the largest is taken: with several API servers all but one are stale.
 * A series given twice counts once, its first time (Prometheus' scrape rule).
 * Reading the text is `prometheus`' part, and what labels mean `vllm_metrics`'.
 *
 * @module
 */

import { createHistogram, haveSameBounds, type Histogram } from "./histogram.ts";
import {
  COUNTER_KEYS,
  type CounterKey,
  type EngineSample,
  GAUGE_KEYS,
  type GaugeKey,
  HISTOGRAM_KEYS,
  type HistogramKey,
  LABELLED_GAUGES,
  LABELLED_KEYS,
  type LabelledKey,
} from "./model.ts";
import { absent, present, type Reading } from "./reading.ts";
import { BLOCK_COUNTING_NAMES, type MetricRow } from "./vllm_names.ts";

/** Figures that only an engine has: what has none of them is not an engine. */
const ENGINE_GAUGES: readonly GaugeKey[] = ["running", "waiting", "kvCacheUsageRatio"];
const ENGINE_COUNTERS: readonly CounterKey[] = ["promptTokens", "generationTokens"];

export type Part = "value" | "bucket" | "sum" | "count";

/** What a sample's name means. `rank` 0 is the newest name. */
export interface Target {
  readonly row: MetricRow;
  readonly part: Part;
  readonly rank: number;
  readonly name: string;
}

/** The name that gave a figure, and its rank. */
interface Origin {
  readonly rank: number;
  readonly name: string;
}

interface Scalar extends Origin {
  value: number;
}

interface Family extends Origin {
  readonly values: Map<string, number>;
}

interface HistogramParts extends Origin {
  readonly buckets: [number, number][];
  /** The bounds as they were spelled: `0.1` and `1e-1` are two series of one bound, and add up. */
  readonly spellings: string[];
  sum: number;
  /** Whether several series add up to this one, so that their buckets do too. */
  merged: boolean;
}

/** The figures of one (model, engine) while the body is read. */
export interface EngineBuilder {
  readonly modelName: string;
  readonly engine: string;
  /** When its counters began, as epoch seconds; NaN where not exported. */
  created: number;
  readonly scalars: Map<GaugeKey | CounterKey, Scalar>;
  readonly labelled: Map<LabelledKey, Family>;
  readonly histograms: Map<HistogramKey, HistogramParts>;
}

/** What engines of one body share. */
export interface BuildContext {
  /** Keys of the families that the body declares. */
  readonly declaredKeys: ReadonlySet<string>;
  readonly cacheConfig: ReadonlyMap<string, string>;
  /** Histograms built so far: equal bounds are shared. */
  readonly known: Map<HistogramKey, Histogram>;
}

/** An empty builder. */
export function createEngineBuilder(modelName: string, engine: string): EngineBuilder {
  return {
    modelName,
    engine,
    created: NaN,
    scalars: new Map(),
    labelled: new Map(),
    histograms: new Map(),
  };
}

/** Keeps a scalar: the newest name wins; series that differ in other labels are added, or for a gauge the largest taken. */
export function keepScalar(
  builder: EngineBuilder,
  target: Target,
  sample: { value: number; hasOthers: boolean },
): void {
  const { row, rank, name } = target;
  if (row.kind !== "gauge" && row.kind !== "counter") return;
  const value = sample.value * (row.scale ?? 1);
  const known = builder.scalars.get(row.key);
  if (known === undefined || rank < known.rank) {
    builder.scalars.set(row.key, { value, rank, name });
  } else if (rank === known.rank && sample.hasOthers) {
    if (row.kind === "counter") known.value += value;
    else if (!(value <= known.value) && !Number.isNaN(value)) known.value = value;
  }
}

/** Keeps one value of a family that is split by a label. */
export function keepLabelled(
  builder: EngineBuilder,
  target: Target,
  sample: { readonly split: string; readonly value: number; readonly hasOthers: boolean },
): void {
  const { row, rank, name } = target;
  if (row.kind !== "labelled" || sample.split === "") return;
  let known = builder.labelled.get(row.key);
  if (known === undefined || rank < known.rank) {
    builder.labelled.set(row.key, known = { rank, name, values: new Map() });
  }
  if (rank > known.rank) return;
  const before = known.values.get(sample.split);
  if (before === undefined) known.values.set(sample.split, sample.value);
  else if (sample.hasOthers) {
    const isGauge = LABELLED_GAUGES.has(row.key);
    const value = isGauge ? Math.max(before, sample.value) : before + sample.value;
    known.values.set(sample.split, value);
  }
}

/** Whether the bucket was there before: bounds rise, so only one that does not can be a repetition. */
function isRepeated(
  parts: HistogramParts,
  sample: { readonly bound: number; readonly spelling: string },
): boolean {
  const last = parts.buckets[parts.buckets.length - 1];
  return last !== undefined && !(sample.bound > last[0]) &&
    parts.spellings.includes(sample.spelling);
}

/** Keeps a bucket, the sum or the count of a histogram; the count is that of the last bucket. */
export function keepHistogram(
  builder: EngineBuilder,
  target: Target,
  sample: {
    readonly bound: number;
    readonly spelling: string;
    readonly value: number;
    readonly hasOthers: boolean;
  },
): void {
  const { row, part, rank, name } = target;
  if (row.kind !== "histogram") return;
  const scale = row.scale ?? 1;
  let known = builder.histograms.get(row.key);
  if (known === undefined || rank < known.rank) {
    known = { rank, name, buckets: [], spellings: [], sum: NaN, merged: false };
    builder.histograms.set(row.key, known);
  }
  if (rank > known.rank) return;
  known.merged ||= sample.hasOthers;
  if (part === "bucket") {
    const { bound, spelling, value } = sample;
    if (Number.isNaN(bound) || (!known.merged && isRepeated(known, sample))) return;
    known.buckets.push([bound * scale, value]);
    known.spellings.push(spelling);
  } else if (part === "sum") {
    if (Number.isNaN(known.sum)) known.sum = sample.value * scale;
    else if (sample.hasOthers) known.sum += sample.value * scale;
  }
}

/** Adds what `other` has counted: one server may speak of itself with several sets of labels. */
export function absorbBuilder(builder: EngineBuilder, other: EngineBuilder): void {
  for (const [key, scalar] of other.scalars) {
    const known = builder.scalars.get(key);
    if (known === undefined) builder.scalars.set(key, scalar);
    else known.value += scalar.value;
  }
  for (const [key, family] of other.labelled) {
    const known = builder.labelled.get(key);
    if (known === undefined) builder.labelled.set(key, family);
    else {
      for (const [child, value] of family.values) {
        known.values.set(child, (known.values.get(child) ?? 0) + value);
      }
    }
  }
  for (const [key, parts] of other.histograms) {
    const known = builder.histograms.get(key);
    if (known === undefined) builder.histograms.set(key, parts);
    else {
      known.buckets.push(...parts.buckets);
      known.sum += parts.sum;
    }
  }
}

/** The figures that were found under an older of their names, and that name. */
export function listAliases(builder: EngineBuilder): readonly (readonly [string, string])[] {
  const origins: (readonly [string, Origin])[] = [
    ...builder.scalars,
    ...builder.labelled,
    ...builder.histograms,
  ];
  return origins.filter(([, { rank }]) => rank > 0).map(([key, { name }]) => [key, name]);
}

/** The histogram of the parts, sharing its bounds with an equal one that was built before. */
function buildHistogram(
  parts: HistogramParts,
  known: Map<HistogramKey, Histogram>,
  key: HistogramKey,
): Histogram {
  const built = createHistogram(parts.buckets, parts.sum);
  const twin = known.get(key);
  if (twin !== undefined && haveSameBounds(twin, built)) return { ...built, bounds: twin.bounds };
  known.set(key, built);
  return built;
}

/** The finished sample. Scalars that are declared but not sampled are `initializing`, others `missing`. */
export function buildEngine(builder: EngineBuilder, context: BuildContext): EngineSample {
  const { declaredKeys, cacheConfig, known } = context;
  const readScalar = (key: GaugeKey | CounterKey): Reading => {
    const scalar = builder.scalars.get(key);
    if (scalar === undefined) return absent(declaredKeys.has(key) ? "initializing" : "missing");
    return Number.isFinite(scalar.value) ? present(scalar.value) : absent("not_finite");
  };
  const histograms: Partial<Record<HistogramKey, Histogram>> = {};
  for (const [key, parts] of builder.histograms) {
    if (parts.buckets.length > 0) histograms[key] = buildHistogram(parts, known, key);
  }
  const labelled: Partial<Record<LabelledKey, ReadonlyMap<string, number>>> = {};
  for (const [key, { values }] of builder.labelled) labelled[key] = values;
  const initializing = new Set<HistogramKey | LabelledKey>();
  for (const key of HISTOGRAM_KEYS) {
    if (declaredKeys.has(key) && histograms[key] === undefined) initializing.add(key);
  }
  for (const key of LABELLED_KEYS) {
    if (declaredKeys.has(key) && labelled[key] === undefined) initializing.add(key);
  }
  const queries = builder.scalars.get("prefixCacheQueries");
  const countsBlocks = queries !== undefined && BLOCK_COUNTING_NAMES.has(queries.name);
  return {
    modelName: builder.modelName,
    engine: builder.engine,
    gauges: Object.fromEntries(GAUGE_KEYS.map((key) => [key, readScalar(key)])) as Record<
      GaugeKey,
      Reading
    >,
    counters: Object.fromEntries(COUNTER_KEYS.map((key) => [key, readScalar(key)])) as Record<
      CounterKey,
      Reading
    >,
    labelled,
    histograms,
    initializing,
    created: Number.isFinite(builder.created) ? present(builder.created) : absent("missing"),
    prefixCacheUnit: countsBlocks ? "blocks or tokens" : "tokens",
    cacheConfig,
  };
}

/** Whether what was collected is an engine's, and not only its server's. */
export function isEngine(builder: EngineBuilder): boolean {
  return ENGINE_GAUGES.some((key) => builder.scalars.has(key)) ||
    ENGINE_COUNTERS.some((key) => builder.scalars.has(key));
}
