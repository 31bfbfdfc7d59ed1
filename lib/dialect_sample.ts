/**
 * Builds the sample of one engine; which samples of a body belong to a figure is worked out once.
 * The newest of a figure's names wins. Series that differ only in other labels are added; of gauges
 * the largest counts, as all API servers but one are stale. A repeated series counts once.
 * @module
 */

import type {
  Dialect,
  EngineConclusions,
  EngineFacts,
  MetricRow,
  Part,
  Target,
} from "./dialect_model.ts";
import { markOff, markUnshared } from "./dialect_shared.ts";
import { type BucketOrder, hasNumbers, type Histogram, orderBuckets } from "./histogram.ts";
import {
  combineSamples,
  COUNTER_KEYS,
  createRecord,
  type EngineSample,
  GAUGE_KEYS,
  HISTOGRAM_KEYS,
  type HistogramKey,
  LABELLED_KEYS,
  type LabelledKey,
  type MetricEntry,
  type MetricKind,
  type ServerTraits,
} from "./model.ts";
import { absent, checkReading, isPresent, present, type Reading } from "./reading.ts";
import { compareNames } from "./text.ts";

/** The one child of a figure that a server does not split. */
const UNSPLIT = "all";

/** Without any of these, it is no engine. */
export const ENGINE_KEYS: ReadonlySet<MetricRow["key"]> = new Set<MetricRow["key"]>([
  ...["running", "waiting", "kvCacheUsageRatio", "promptTokens", "generationTokens"] as const,
]);

/** Unknown series kept per engine. */
const MAX_OTHERS = 500;

/**
 * Children of a family, or buckets of a histogram. vLLM has dozens, a hundred servers a hundred
 * times more. A family beyond it (a request ID in a label) is dropped whole: a part would be wrong.
 */
export const MAX_PARTS = 3000;

/** A sample and its labels besides the engine's. */
interface SortedSample {
  /** Index in the body. */
  readonly sample: number;
  /** The bound as spelled and as a number, NaN if invalid. */
  readonly le: string;
  readonly bound: number;
  /** Value of the splitting label. */
  readonly split: string;
  /** Whether other labels tell series apart. */
  readonly hasOthers: boolean;
}

interface Scalar {
  readonly target: Target;
  readonly samples: number[];
  readonly absorbed: Scalar[];
}

/** A series that is only listed: unknown, or an info. */
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
  /** Keyed by the splitting label. */
  readonly children: Map<string, number[]>;
  readonly absorbed: LabelledSeries[];
  /** More than `MAX_PARTS`. */
  isFlooded: boolean;
}

interface HistogramParts {
  readonly target: Target;
  /** Bounds, and the sample of each one's count. */
  readonly bounds: number[];
  readonly buckets: number[];
  /** `0.1` and `1e-1` are two series of one bound, and add up. */
  readonly spellings: string[];
  readonly sums: number[];
  /** Whether several series add up. */
  merged: boolean;
  /** More than `MAX_PARTS`. */
  isFlooded: boolean;
  readonly absorbed: HistogramParts[];
  /** Both are `null` until the first build. */
  order: BucketOrder | null;
  isInOrder: boolean | null;
}

/** The samples of one (model, engine). */
export interface EngineBuilder {
  readonly modelName: string;
  readonly engine: string;
  /** Sample of the counters' start; -1 if not exported. */
  created: number;
  readonly scalars: Map<MetricRow, Scalar>;
  readonly labelled: Map<MetricRow, LabelledSeries>;
  readonly histograms: Map<MetricRow, HistogramParts>;
  /** The lowest rank so far, where ranks repeat each other. */
  readonly ranks: Map<MetricRow, string>;
  /** By name and labels. */
  readonly others: Map<string, OtherSeries>;
  isEngine: boolean;
  /** Both are `null` until the first build. */
  initializing: EngineSample["initializing"] | null;
  entries: readonly MetricEntry[] | null;
}

/** Shared by the engines of a body. */
interface BuildContext {
  readonly declaredKeys: ReadonlySet<string | undefined>;
  readonly server: ServerTraits;
  readonly conclude: (facts: EngineFacts) => EngineConclusions;
  /** By name without prefix. */
  readonly findRow: (name: string) => MetricRow | undefined;
  /** By name without prefix. */
  readonly isDeclared: (name: string) => boolean;
  /** Of the engines, those of what all count together; empty for most servers. */
  readonly shared: ReadonlySet<EngineBuilder>;
  readonly listEntries: (builder: EngineBuilder) => readonly MetricEntry[];
  /** Scalars of an engine without samples. */
  readonly blank: Pick<EngineSample, "gauges" | "counters">;
  readonly configuration: ReadonlyMap<string, string>;
  /** All values of the body. */
  readonly values: Float64Array;
  /** Bounds and orders of histograms built before. */
  readonly known: Map<
    MetricRow,
    { readonly bounds: readonly number[]; readonly order: BucketOrder }
  >;
}

export function createEngineBuilder(modelName: string, engine: string): EngineBuilder {
  return {
    modelName,
    engine,
    created: -1,
    scalars: new Map(),
    labelled: new Map(),
    histograms: new Map(),
    ranks: new Map(),
    others: new Map(),
    isEngine: false,
    initializing: null,
    entries: null,
  };
}

/** Whether a lower rank has the row. A lower one takes the place of those before. */
export function isRepetition(builder: EngineBuilder, row: MetricRow, rank: string): boolean {
  const { ranks, scalars, labelled, histograms } = builder;
  const lowest = ranks.get(row);
  if (rank === lowest) return false;
  if (lowest !== undefined && compareNames(rank, lowest) > 0) return true;
  ranks.set(row, rank);
  for (const parts of [scalars, labelled, histograms]) parts.delete(row);
  return false;
}

export function keepScalar(
  builder: EngineBuilder,
  target: Target,
  { sample, hasOthers }: SortedSample,
): void {
  const { row, rank } = target;
  const known = builder.scalars.get(row);
  builder.isEngine ||= ENGINE_KEYS.has(row.key) || row.role === "presence";
  if (known === undefined || rank < known.target.rank) {
    builder.scalars.set(row, { target, samples: [sample], absorbed: [] });
  } else if (rank === known.target.rank && hasOthers) known.samples.push(sample);
}

export function keepLabelled(
  builder: EngineBuilder,
  target: Target,
  { sample, split, hasOthers }: SortedSample,
): void {
  const { row, rank } = target;
  if (split === "") return;
  builder.isEngine ||= row.role === "presence";
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

/** The count is the last bucket's. */
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
    // Only a bound that does not rise can be a repetition.
    const rises = bounds.length === 0 || bound > bounds[bounds.length - 1];
    if (!known.merged && !rises && spellings.includes(le)) return;
    bounds.push(bound);
    buckets.push(sample);
    spellings.push(le);
  }
}

/** `labels` are those besides the engine's. */
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

/** Adds `other`: a server may report itself under several sets of labels. */
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

/** Returns figures found under older names. */
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

/** `null` if children are too many, or one is no number: a sum of others would be wrong. */
function combineFamily(
  { target, children, absorbed, isFlooded }: LabelledSeries,
  values: Float64Array,
): Map<string, number> | null {
  if (isFlooded) return null;
  const isGauge = target.row.kind === "gauge";
  const figures = new Map<string, number>();
  for (const [child, samples] of children) {
    const figure = checkReading(combineSamples(samples, { values, isGauge }));
    if (!isPresent(figure)) return null;
    figures.set(child, figure.value);
  }
  for (const other of absorbed) {
    for (const [child, value] of combineFamily(other, values) ?? []) {
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

/** Shares the order among engines with equal bounds. */
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

/** Whether buckets are consecutive and each bound occurs once, as servers write them. */
function areInOrder({ slots }: BucketOrder, buckets: readonly number[]): boolean {
  return buckets.every((sample, i) => slots[i] === i && sample === buckets[0] + i);
}

/** Consecutive counts stay in the values: a copy costs several times as much memory. */
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

/** `initializing` if declared, `unsupported` without a row. */
export function createAbsentSample(
  declaredKeys: BuildContext["declaredKeys"],
  { rows, derivedKeys = [], derivedGauges = [] }: Pick<
    Dialect,
    "rows" | "derivedKeys" | "derivedGauges"
  >,
): BuildContext["blank"] {
  const known = new Set<string | undefined>([
    ...rows.map(({ key }) => key),
    ...derivedKeys,
    ...derivedGauges,
  ]);
  const explain = (key: string): Reading => {
    if (declaredKeys.has(key)) return absent("initializing");
    return absent(known.has(key) ? "missing" : "unsupported");
  };
  return {
    gauges: createRecord(GAUGE_KEYS, explain),
    counters: createRecord(COUNTER_KEYS, explain),
  };
}

function listInitializing(
  declaredKeys: BuildContext["declaredKeys"],
  found: Pick<EngineSample, "histograms" | "labelled">,
): EngineSample["initializing"] {
  return new Set([
    ...HISTOGRAM_KEYS.filter((key) => found.histograms[key] === undefined),
    ...LABELLED_KEYS.filter((key) => found.labelled[key] === undefined),
  ].filter((key) => declaredKeys.has(key)));
}

function isOneOf<Key extends string>(keys: readonly Key[], key: string | undefined): key is Key {
  return (keys as readonly unknown[]).includes(key);
}

function buildFigures(
  builder: EngineBuilder,
  context: BuildContext,
): Pick<EngineSample, "gauges" | "counters" | "labelled" | "histograms"> {
  const { blank, values } = context;
  const gauges = { ...blank.gauges };
  const counters = { ...blank.counters };
  const labelled: Partial<Record<LabelledKey, ReadonlyMap<string, number>>> = {};
  for (const [row, scalar] of builder.scalars) {
    const { key } = row;
    if (key === undefined) continue;
    const value = combineScalar(scalar, values);
    const reading = checkReading(value, { isRatio: row.unit === "ratio" });
    if (isOneOf(GAUGE_KEYS, key)) gauges[key] = reading;
    else if (isOneOf(COUNTER_KEYS, key)) counters[key] = reading;
    else if (isOneOf(LABELLED_KEYS, key) && isPresent(reading)) {
      labelled[key] = new Map([[UNSPLIT, reading.value]]);
    }
  }
  const histograms: Partial<Record<HistogramKey, Histogram>> = {};
  for (const [row, parts] of builder.histograms) {
    if (!isOneOf(HISTOGRAM_KEYS, row.key) || parts.buckets.length === 0 || parts.isFlooded) {
      continue;
    }
    const histogram = buildHistogram(parts, context);
    if (hasNumbers(histogram)) histograms[row.key] = histogram;
  }
  for (const [row, family] of builder.labelled) {
    const children = isOneOf(LABELLED_KEYS, row.key) ? combineFamily(family, values) : null;
    if (isOneOf(LABELLED_KEYS, row.key) && children !== null) labelled[row.key] = children;
  }
  return { gauges, counters, labelled, histograms };
}

export function buildEngine(builder: EngineBuilder, context: BuildContext): EngineSample {
  const { declaredKeys, configuration, values, findRow, isDeclared, shared } = context;
  const isShared = shared.has(builder);
  const figures = buildFigures(builder, context);
  builder.initializing ??= listInitializing(declaredKeys, figures);
  const created = builder.created < 0 ? NaN : values[builder.created];
  const { gauges, counters, labelled, tokensAreBooked, metricsAreOff, ...conclusions } = context
    .conclude({
      ...figures,
      initializing: builder.initializing,
      configuration,
      isDeclared,
      isShared,
      hasShared: !isShared && shared.size > 0,
      getValue: (name) => {
        const row = findRow(name);
        const scalar = row && builder.scalars.get(row);
        return scalar === undefined ? null : combineScalar(scalar, values);
      },
      getFamily: (name) => {
        const row = findRow(name);
        const family = row && builder.labelled.get(row);
        return (family && combineFamily(family, values)) ?? new Map();
      },
      getName: (name) => {
        const row = findRow(name);
        return (row && builder.scalars.get(row)?.target.name) ?? null;
      },
    });
  if (builder.entries === null) {
    builder.entries = context.listEntries(builder);
    // Only needed to find repetitions, and may keep the body in memory.
    for (const parts of builder.histograms.values()) parts.spellings.length = 0;
  }
  const { server } = context;
  const sample: EngineSample = {
    modelName: builder.modelName,
    engine: builder.engine,
    ...figures,
    gauges: gauges === undefined ? figures.gauges : { ...figures.gauges, ...gauges },
    counters: counters === undefined ? figures.counters : { ...figures.counters, ...counters },
    labelled: labelled === undefined ? figures.labelled : { ...figures.labelled, ...labelled },
    initializing: builder.initializing,
    created: Number.isFinite(created) ? present(created) : absent("missing"),
    ...conclusions,
    configuration,
    server: tokensAreBooked === undefined ? server : { ...server, tokensAreBooked },
    metrics: { entries: builder.entries, values },
  };
  if (metricsAreOff) return markOff(sample);
  return shared.size === 0 ? sample : markUnshared(sample, isShared);
}
