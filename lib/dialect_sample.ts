/**
 * Which samples of a body make which figures of one engine, and those figures.
 *
 * A builder is told of scalars, families with a label and histogram parts in any
 * order, each sample by its number in the body, and gives an EngineSample for the
 * values of all samples: what belongs together does not depend on values, so it is
 * found out once for all bodies of the same series. Of several names of one figure
 * the newest wins; two are never added. Series that differ in labels of no meaning
 * here are added up, or, for gauges, the largest is taken: with several API servers
 * all but one are stale. A series given twice counts once, its first time
 * (Prometheus' scrape rule).
 *
 * @module
 */

import type { EngineConclusions, EngineFacts, MetricRow, Part, Target } from "./dialect_model.ts";
import { type BucketOrder, type Histogram, orderBuckets } from "./histogram.ts";
import {
  combineSamples,
  COUNTER_KEYS,
  type CounterKey,
  type EngineSample,
  GAUGE_KEYS,
  type GaugeKey,
  HISTOGRAM_KEYS,
  type HistogramKey,
  LABELLED_KEYS,
  type LabelledKey,
  type MetricEntry,
  type MetricKind,
  type ServerTraits,
} from "./model.ts";
import { absent, present, type Reading } from "./reading.ts";

/** Figures that only an engine has: what has none of them is not an engine. */
const ENGINE_KEYS: ReadonlySet<MetricRow["key"]> = new Set<MetricRow["key"]>([
  ...["running", "waiting", "kvCacheUsageRatio", "promptTokens", "generationTokens"] as const,
]);

/** Series of one engine that no row of the table describes, at most. */
const MAX_OTHERS = 500;

/**
 * Children of one family, and buckets of one histogram, that are kept. vLLM has
 * a dozen and a few dozen, a hundred servers in one exposition as many times
 * more. What goes beyond is no figure but a flood, as when a label holds the
 * number of a request, and is left out whole: a part of it would be wrong.
 */
export const MAX_PARTS = 3000;

/** A sample, and what its labels say besides the engine. */
export interface SortedSample {
  /** Its number in the body, from 0. */
  readonly sample: number;
  /** The upper bound of a bucket as it is spelled, and as a number; NaN where it is none. */
  readonly le: string;
  readonly bound: number;
  /** The value of the label that splits its family. */
  readonly split: string;
  /** Whether there is a label that tells apart series of the same engine and figure. */
  readonly hasOthers: boolean;
}

/** The samples that make one gauge or counter, each by its number in the body. */
interface Scalar {
  readonly target: Target;
  readonly samples: number[];
  readonly absorbed: Scalar[];
}

/** A series that is listed as it is: of no row, or an info. */
export interface OtherSeries {
  readonly row: MetricRow | null;
  readonly name: string;
  readonly kind: MetricKind;
  readonly labels: string;
  readonly samples: number[];
  readonly sums: number[];
}

interface LabelledSeries {
  readonly target: Target;
  /** Value of the label that splits the family -> its samples. */
  readonly children: Map<string, number[]>;
  readonly absorbed: LabelledSeries[];
  /** Whether it has more than `MAX_PARTS` children. */
  isFlooded: boolean;
}

interface HistogramParts {
  readonly target: Target;
  /** Upper bounds as exported, and beside each the sample that is its count. */
  readonly bounds: number[];
  readonly buckets: number[];
  /** The bounds as they were spelled: `0.1` and `1e-1` are two series of one bound, and add up. */
  readonly spellings: string[];
  readonly sums: number[];
  /** Whether several series add up to this one, so that their buckets do too. */
  merged: boolean;
  /** Whether it has more than `MAX_PARTS` buckets. */
  isFlooded: boolean;
  readonly absorbed: HistogramParts[];
  /** These two are `null` until it is built for the first time. */
  order: BucketOrder | null;
  isInOrder: boolean | null;
}

/** Which samples make the figures of one (model, engine). */
export interface EngineBuilder {
  readonly modelName: string;
  readonly engine: string;
  /** The sample that says when its counters began, as epoch seconds; -1 where not exported. */
  created: number;
  readonly scalars: Map<MetricRow, Scalar>;
  readonly labelled: Map<MetricRow, LabelledSeries>;
  readonly histograms: Map<MetricRow, HistogramParts>;
  /** By name and labels. */
  readonly others: Map<string, OtherSeries>;
  /** Whether it has a figure that only an engine has. */
  isEngine: boolean;
  /** These two are `null` until it is built for the first time. */
  initializing: EngineSample["initializing"] | null;
  entries: readonly MetricEntry[] | null;
}

/** What engines of one body share. */
interface BuildContext {
  /** Keys of the families that the body declares. */
  readonly declaredKeys: ReadonlySet<string | undefined>;
  readonly server: ServerTraits;
  readonly conclude: (facts: EngineFacts) => EngineConclusions;
  /** A row by one of its names without prefix. */
  readonly findRow: (name: string) => MetricRow | undefined;
  /** All that an engine exports. */
  readonly listEntries: (builder: EngineBuilder) => readonly MetricEntry[];
  /** The scalars of an engine that has none. */
  readonly blank: Pick<EngineSample, "gauges" | "counters">;
  readonly configuration: ReadonlyMap<string, string>;
  /** The values of all samples, by their numbers. */
  readonly values: Float64Array;
  /** Bounds of the histograms built so far, and their order. */
  readonly known: Map<
    MetricRow,
    { readonly bounds: readonly number[]; readonly order: BucketOrder }
  >;
}

/** An empty builder. */
export function createEngineBuilder(modelName: string, engine: string): EngineBuilder {
  return {
    modelName,
    engine,
    created: -1,
    scalars: new Map(),
    labelled: new Map(),
    histograms: new Map(),
    others: new Map(),
    isEngine: false,
    initializing: null,
    entries: null,
  };
}

/** Keeps a sample of a scalar: the newest name wins, series that differ in other labels count together. */
export function keepScalar(
  builder: EngineBuilder,
  target: Target,
  { sample, hasOthers }: SortedSample,
): void {
  const { row, rank } = target;
  const known = builder.scalars.get(row);
  builder.isEngine ||= ENGINE_KEYS.has(row.key);
  if (known === undefined || rank < known.target.rank) {
    builder.scalars.set(row, { target, samples: [sample], absorbed: [] });
  } else if (rank === known.target.rank && hasOthers) known.samples.push(sample);
}

/** Keeps a sample of a family that is split by a label. */
export function keepLabelled(
  builder: EngineBuilder,
  target: Target,
  { sample, split, hasOthers }: SortedSample,
): void {
  const { row, rank } = target;
  if (split === "") return;
  let known = builder.labelled.get(row);
  if (known === undefined || rank < known.target.rank) {
    known = { target, children: new Map(), absorbed: [], isFlooded: false };
    builder.labelled.set(row, known);
  }
  if (rank > known.target.rank) return;
  const samples = known.children.get(split);
  if (samples !== undefined) {
    if (hasOthers) samples.push(sample);
  } else if (known.children.size < MAX_PARTS) known.children.set(split, [sample]);
  else known.isFlooded = true;
}

function createParts(target: Target): HistogramParts {
  return {
    target,
    bounds: [],
    buckets: [],
    spellings: [],
    sums: [],
    merged: false,
    isFlooded: false,
    absorbed: [],
    order: null,
    isInOrder: null,
  };
}

/** Keeps a bucket, the sum or the count of a histogram; the count is that of the last bucket. */
export function keepHistogram(
  builder: EngineBuilder,
  target: Target,
  { sample, bound, le, hasOthers }: SortedSample,
): void {
  const { row, part, rank } = target;
  let known = builder.histograms.get(row);
  if (known === undefined || rank < known.target.rank) {
    builder.histograms.set(row, known = createParts(target));
  }
  if (rank > known.target.rank) return;
  known.merged ||= hasOthers;
  if (part === "sum") {
    if (known.sums.length === 0 || hasOthers) known.sums.push(sample);
  } else if (part === "bucket" && !Number.isNaN(bound)) {
    const { bounds, buckets, spellings } = known;
    if (buckets.length >= MAX_PARTS) known.isFlooded = true;
    if (known.isFlooded) return;
    // Bounds rise, so only one that does not can be a repetition.
    const rises = bounds.length === 0 || bound > bounds[bounds.length - 1];
    if (!known.merged && !rises && spellings.includes(le)) return;
    bounds.push(bound);
    buckets.push(sample);
    spellings.push(le);
  }
}

/** Keeps a series that is only listed. `labels` are those besides the engine's. */
export function keepOther(
  builder: EngineBuilder,
  { name, labels, kind, row }: Pick<OtherSeries, "name" | "labels" | "kind" | "row">,
  { sample, part }: { readonly sample: number; readonly part: Part },
): void {
  if (part === "bucket") return;
  const key = `${name}\n${labels}`;
  let known = builder.others.get(key);
  if (known === undefined) {
    if (builder.others.size >= MAX_OTHERS) return;
    builder.others.set(key, known = { row, name, kind, labels, samples: [], sums: [] });
  }
  const samples = part === "sum" ? known.sums : known.samples;
  if (samples.length === 0) samples.push(sample);
}

function absorb<K, V extends { readonly absorbed: V[] }>(into: Map<K, V>, from: Map<K, V>): void {
  for (const [key, part] of from) {
    const known = into.get(key);
    if (known === undefined) into.set(key, part);
    else known.absorbed.push(part);
  }
}

/** Adds what `other` has counted: one server may speak of itself with several sets of labels. */
export function absorbBuilder(builder: EngineBuilder, other: EngineBuilder): void {
  absorb(builder.scalars, other.scalars);
  absorb(builder.labelled, other.labelled);
  for (const [key, { bounds, buckets }] of other.histograms) {
    const known = builder.histograms.get(key);
    known?.bounds.push(...bounds);
    known?.buckets.push(...buckets);
  }
  absorb(builder.histograms, other.histograms);
  for (const [key, series] of other.others) {
    if (!builder.others.has(key)) builder.others.set(key, series);
  }
}

/** The figures that were found under an older of their names, and that name. */
export function listAliases(builder: EngineBuilder): readonly (readonly [string, string])[] {
  const parts: readonly { readonly target: Target }[] = [
    ...builder.scalars.values(),
    ...builder.labelled.values(),
    ...builder.histograms.values(),
  ];
  return parts.filter(({ target }) => target.rank > 0)
    .map(({ target }) => [target.row.key ?? target.row.names[0], target.name]);
}

function combineScalar({ target, samples, absorbed }: Scalar, values: Float64Array): number {
  const { row } = target;
  const own = combineSamples(samples, { values, isGauge: row.kind === "gauge" }) * (row.scale ?? 1);
  return absorbed.reduce((sum, other) => sum + combineScalar(other, values), own);
}

function combineFamily(
  { target, children, absorbed }: LabelledSeries,
  values: Float64Array,
): Map<string, number> {
  const isGauge = target.row.kind === "gauge";
  const figures = new Map<string, number>();
  for (const [child, samples] of children) {
    figures.set(child, combineSamples(samples, { values, isGauge }));
  }
  for (const other of absorbed) {
    for (const [child, value] of combineFamily(other, values)) {
      figures.set(child, (figures.get(child) ?? 0) + value);
    }
  }
  return figures;
}

function combineSum({ target, sums, absorbed }: HistogramParts, values: Float64Array): number {
  const own = sums.length === 0
    ? NaN
    : combineSamples(sums, { values, isGauge: false }) * (target.row.scale ?? 1);
  return absorbed.reduce((sum, other) => sum + combineSum(other, values), own);
}

/** The order of the buckets, the same object for the same bounds: most engines have those of the first. */
function orderParts(parts: HistogramParts, known: BuildContext["known"]): BucketOrder {
  const { row } = parts.target;
  const { bounds } = parts;
  const twin = known.get(row);
  if (
    twin?.bounds.length === bounds.length && twin.bounds.every((bound, i) => bound === bounds[i])
  ) {
    return twin.order;
  }
  const scale = row.scale ?? 1;
  const order = orderBuckets(bounds.map((bound) => bound * scale));
  known.set(row, { bounds, order });
  return order;
}

/** Whether the buckets stand in the body one after the other, each bound once, as servers write them. */
function areInOrder({ slots }: BucketOrder, buckets: readonly number[]): boolean {
  return buckets.every((sample, i) => slots[i] === i && sample === buckets[0] + i);
}

/**
 * The counts of a histogram. Where they stand together in the values they stay
 * there: an array costs its owner several times what these few numbers do.
 */
function readCounts(parts: HistogramParts, order: BucketOrder, values: Float64Array): Float64Array {
  const { buckets } = parts;
  const { length } = order.bounds;
  parts.isInOrder ??= areInOrder(order, buckets);
  if (parts.isInOrder) return values.subarray(buckets[0], buckets[0] + length);
  const counts = new Float64Array(length);
  for (let i = 0; i < buckets.length; i++) counts[order.slots[i]] += values[buckets[i]];
  return counts;
}

function buildHistogram(parts: HistogramParts, { values, known }: BuildContext): Histogram {
  parts.order ??= orderParts(parts, known);
  const counts = readCounts(parts, parts.order, values);
  return { bounds: parts.order.bounds, counts, sum: combineSum(parts, values) };
}

/** Scalars without samples: those that are declared are `initializing`, those without a row `unsupported`. */
export function createAbsentSample(
  declaredKeys: BuildContext["declaredKeys"],
  rows: readonly MetricRow[],
): BuildContext["blank"] {
  const known = new Set<string | undefined>(rows.map(({ key }) => key));
  const explain = (key: string): Reading => {
    if (declaredKeys.has(key)) return absent("initializing");
    return absent(known.has(key) ? "missing" : "unsupported");
  };
  const list = <Key extends string>(keys: readonly Key[]) =>
    Object.fromEntries(keys.map((key) => [key, explain(key)])) as Record<Key, Reading>;
  return { gauges: list(GAUGE_KEYS), counters: list(COUNTER_KEYS) };
}

/** Histograms and split families that are declared and have no sample. */
function listInitializing(
  declaredKeys: BuildContext["declaredKeys"],
  found: Pick<EngineSample, "histograms" | "labelled">,
): EngineSample["initializing"] {
  return new Set([
    ...HISTOGRAM_KEYS.filter((key) => found.histograms[key] === undefined),
    ...LABELLED_KEYS.filter((key) => found.labelled[key] === undefined),
  ].filter((key) => declaredKeys.has(key)));
}

const GAUGES: ReadonlySet<unknown> = new Set(GAUGE_KEYS);
const COUNTERS: ReadonlySet<unknown> = new Set(COUNTER_KEYS);
const FAMILIES: ReadonlySet<unknown> = new Set(LABELLED_KEYS);
const HISTOGRAMS: ReadonlySet<unknown> = new Set(HISTOGRAM_KEYS);

function isGaugeKey(key: MetricRow["key"]): key is GaugeKey {
  return GAUGES.has(key);
}
function isCounterKey(key: MetricRow["key"]): key is CounterKey {
  return COUNTERS.has(key);
}
function isLabelledKey(key: MetricRow["key"]): key is LabelledKey {
  return FAMILIES.has(key);
}
function isHistogramKey(key: MetricRow["key"]): key is HistogramKey {
  return HISTOGRAMS.has(key);
}

/** The figures of the table that the body has. */
function buildFigures(
  builder: EngineBuilder,
  context: BuildContext,
): Pick<EngineSample, "gauges" | "counters" | "labelled" | "histograms"> {
  const { blank, values } = context;
  const gauges = { ...blank.gauges };
  const counters = { ...blank.counters };
  for (const [row, scalar] of builder.scalars) {
    const { key } = row;
    if (key === undefined) continue;
    const value = combineScalar(scalar, values);
    const reading = Number.isFinite(value) ? present(value) : absent("not_finite");
    if (isGaugeKey(key)) gauges[key] = reading;
    else if (isCounterKey(key)) counters[key] = reading;
  }
  const histograms: Partial<Record<HistogramKey, Histogram>> = {};
  for (const [row, parts] of builder.histograms) {
    if (isHistogramKey(row.key) && parts.buckets.length > 0 && !parts.isFlooded) {
      histograms[row.key] = buildHistogram(parts, context);
    }
  }
  const labelled: Partial<Record<LabelledKey, ReadonlyMap<string, number>>> = {};
  for (const [row, family] of builder.labelled) {
    if (isLabelledKey(row.key) && !family.isFlooded) {
      labelled[row.key] = combineFamily(family, values);
    }
  }
  return { gauges, counters, labelled, histograms };
}

/** The finished sample. */
export function buildEngine(builder: EngineBuilder, context: BuildContext): EngineSample {
  const { declaredKeys, configuration, values, server, findRow } = context;
  const figures = buildFigures(builder, context);
  builder.initializing ??= listInitializing(declaredKeys, figures);
  const created = builder.created < 0 ? NaN : values[builder.created];
  const { counters, ...conclusions } = context.conclude({
    ...figures,
    initializing: builder.initializing,
    configuration,
    getValue: (name) => {
      const row = findRow(name);
      const scalar = row && builder.scalars.get(row);
      return scalar === undefined ? null : combineScalar(scalar, values);
    },
    getFamily: (name) => {
      const row = findRow(name);
      const family = row && builder.labelled.get(row);
      return family === undefined ? new Map() : combineFamily(family, values);
    },
    getName: (name) => {
      const row = findRow(name);
      return (row && builder.scalars.get(row)?.target.name) ?? null;
    },
  });
  if (builder.entries === null) {
    builder.entries = context.listEntries(builder);
    // Only to find repetitions; they may be pieces of a text as large as the body.
    for (const parts of builder.histograms.values()) parts.spellings.length = 0;
  }
  return {
    modelName: builder.modelName,
    engine: builder.engine,
    ...figures,
    counters: counters === undefined ? figures.counters : { ...figures.counters, ...counters },
    initializing: builder.initializing,
    created: Number.isFinite(created) ? present(created) : absent("missing"),
    ...conclusions,
    configuration,
    server,
    metrics: { entries: builder.entries, values },
  };
}
