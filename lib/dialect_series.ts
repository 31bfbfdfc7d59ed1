/**
 * Assigns each series of an exposition to a figure of a (model, engine), in the dialect whose
 * prefix comes first. Bodies of the same series need no further parsing of names and labels. Gauges
 * of several processes (label `pid`) count as their largest.
 * @module
 */

import {
  chooseEngineLabels,
  describeEngineLabels,
  type EngineSeries,
  getLabel,
  hasCountedLabels,
  listNamesakes,
  type PrefixCandidate,
  reconsiderPrefix,
  stripPrefix,
} from "./dialect_identity.ts";
import type { MetricRow, Target, Vocabulary } from "./dialect_model.ts";
import {
  absorbBuilder,
  createEngineBuilder,
  ENGINE_KEYS,
  type EngineBuilder,
  isRepetition,
  keepHistogram,
  keepLabelled,
  keepOther,
  keepScalar,
  type OtherSeries,
} from "./dialect_sample.ts";
import type { KeepText } from "./dialect_texts.ts";
import type { MetricKind } from "./model.ts";
import type { Steps } from "./platform.ts";
import { type ExpositionSummary, parseInSteps } from "./prometheus.ts";
import { parseBound } from "./prometheus_tokens.ts";
import { compareNames } from "./text.ts";

/** An info without a model, of an engine or of all (`""`). */
interface EngineInfo {
  readonly engine: string;
  readonly series: OtherSeries;
}

/** The sample's value is the time. */
export interface LoraState {
  readonly sample: number;
  /** `""` if the series is of no engine. */
  readonly engine: string;
  readonly running: readonly string[];
  readonly waiting: readonly string[];
  readonly max: number;
}

export interface DialectSeries {
  readonly summary: ExpositionSummary;
  readonly vocabulary: Vocabulary;
  /** The values, and their positions in the body. */
  readonly values: Float64Array;
  readonly valueStarts: Int32Array;
  /** By model, then engine. */
  readonly engines: readonly EngineBuilder[];
  readonly server: EngineBuilder | null;
  /** Of the engines, those of what all count together. */
  readonly shared: ReadonlySet<EngineBuilder>;
  /** Engine, or `""` for all -> cache configuration. */
  readonly configs: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly infos: readonly EngineInfo[];
  readonly lora: readonly LoraState[];
  /** Sample of the process start; -1 if none. */
  readonly processStart: number;
  /** Status -> samples of HTTP responses. */
  readonly httpSamples: ReadonlyMap<string, readonly number[]>;
  readonly metricPrefix: string;
  /** Declared or sampled. */
  readonly declared: ReadonlySet<MetricRow>;
  readonly hasUnnamedEngines: boolean;
  readonly hasTooManyEngines: boolean;
  readonly familyNames: ReadonlySet<string>;
}

/** Enough to recognise a server. */
const MAX_FAMILY_NAMES = 1000;

/**
 * Sixteen times the largest deployments of one server. A server that makes up model names would
 * fill the memory, so more are refused whole.
 */
export const MAX_ENGINES = 1000;
const WORKER_ID_LENGTH = 8;

type EngineLabels = Readonly<Record<"model" | "engine" | "worker", string>>;

type Collector = ReturnType<typeof createCollector>;

function nameEngine({ current: { engine, worker }, keepText }: Collector): string {
  return keepText(worker === "" ? engine : `${engine}@${worker.slice(0, WORKER_ID_LENGTH)}`);
}

function openEngine(collector: Collector): EngineBuilder {
  const { last, current } = collector;
  const { model, engine: label, worker } = current;
  if (last !== null && last.of.engine === label && last.of.model === model) {
    if (last.of.worker === worker) return last.builder;
  }
  const modelName = collector.keepText(model);
  const engine = nameEngine(collector);
  let ofModel = collector.engines.get(modelName);
  if (ofModel === undefined) collector.engines.set(modelName, ofModel = new Map());
  let builder = ofModel.get(engine);
  if (builder === undefined) {
    builder = createEngineBuilder(modelName, engine);
    if (collector.engineCount++ < MAX_ENGINES) ofModel.set(engine, builder);
  }
  collector.last = { of: { model, engine: label, worker }, builder };
  return builder;
}

function collectLabels(
  { current: found, vocabulary, engineLabels }: Collector,
  labels: readonly string[],
  splitName: string | undefined,
): void {
  const { model, defaultModel = "", engine, workers, aliases } = vocabulary.dialect.labels;
  found.model = defaultModel;
  found.engine =
    found.le =
    found.split =
    found.worker =
      "";
  found.hasOthers = false;
  for (let i = 0; i < labels.length; i += 2) {
    const name = labels[i];
    const value = labels[i + 1];
    if (name === model) found.model = value;
    else if (name === engine) found.engine = value;
    else if (name === "le") found.le = value;
    else if (name === splitName) found.split = value;
    else if (workers.includes(name)) {
      if (found.worker === "" || name === workers[0]) found.worker = value;
    } else {
      const usual = aliases.get(name);
      if (usual === model) found.model ||= value;
      else if (usual !== undefined && usual === splitName) found.split ||= value;
      else found.hasOthers = true;
    }
  }
  if (engineLabels.length > 0) {
    found.engine = describeEngineLabels(engineLabels, labels);
    found.worker = "";
  }
}

/** Notes labels that may tell engines apart. */
function noteEngineSeries(collector: Collector, target: Target, labels: readonly string[]): void {
  const { engineSeries, engineLabels, current } = collector;
  const { row, name } = target;
  if (!ENGINE_KEYS.has(row.key) || engineLabels.length > 0) return;
  if (engineSeries.length >= ENGINE_KEYS.size * MAX_ENGINES) return;
  const isGauge = row.kind === "gauge";
  engineSeries.push({ family: `${name}\n${current.model}`, isGauge, labels: [...labels] });
}

function parseSeriesBound(collector: Collector, le: string): number {
  let bound = collector.bounds.get(le);
  if (bound === undefined) {
    bound = parseBound(le);
    collector.bounds.set(le, bound);
  }
  return bound;
}

function splitAdapters({ keepText }: Collector, list = ""): string[] {
  return list.split(",").map((name) => name.trim()).filter((name) => name !== "").map(keepText);
}

function namesEngine({ vocabulary, engineLabels }: Collector, label: string): boolean {
  return label === vocabulary.dialect.labels.engine || engineLabels.includes(label);
}

/** Adds a LoRA state; the sample's value is its time. */
function keepLora(collector: Collector, labels: readonly string[]): void {
  const byName = new Map<string, string>();
  for (let i = 0; i < labels.length; i += 2) byName.set(labels[i], labels[i + 1]);
  collector.lora.push({
    sample: collector.current.sample,
    engine: nameEngine(collector),
    running: splitAdapters(collector, byName.get("running_lora_adapters")),
    waiting: splitAdapters(collector, byName.get("waiting_lora_adapters")),
    max: Number(byName.get("max_lora") ?? NaN),
  });
}

function keepConfiguration(collector: Collector, labels: readonly string[]): void {
  const config = new Map<string, string>();
  const engine = nameEngine(collector);
  const { keepText } = collector;
  for (let i = 0; i < labels.length; i += 2) {
    if (!namesEngine(collector, labels[i])) {
      config.set(keepText(labels[i]), keepText(labels[i + 1]));
    }
  }
  const isWanted = collector.configs.size < MAX_ENGINES && !collector.configs.has(engine);
  if (isWanted) collector.configs.set(engine, config);
}

const MAX_LABELS_LENGTH = 1000;

/** Formats the labels besides the engine's. */
function describeLabels(collector: Collector, labels: readonly string[]): string {
  const { keepText, vocabulary: { dialect: { labels: { model } } } } = collector;
  const parts: string[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    const name = labels[i];
    if (name !== model && name !== "le" && !namesEngine(collector, name)) {
      parts.push(`${keepText(name)}=${keepText(labels[i + 1])}`);
    }
  }
  return parts.join(", ").slice(0, MAX_LABELS_LENGTH);
}

function keepInfo(collector: Collector, { row, name }: Target, labels: readonly string[]): void {
  collectLabels(collector, labels, undefined);
  if (row.role === "configuration") keepConfiguration(collector, labels);
  else if (row.role === "adapters") keepLora(collector, labels);
  const text = describeLabels(collector, labels);
  const series = { row, name: collector.prefix + name, kind: row.kind, labels: text };
  const { sample, model } = collector.current;
  if (model !== "") keepOther(openEngine(collector), series, { sample, part: "value" });
  else if (collector.infos.length < MAX_ENGINES) {
    const engine = nameEngine(collector);
    collector.infos.push({ engine, series: { ...series, samples: [sample], sums: [] } });
  }
}

const OTHER_KINDS: ReadonlyMap<string, MetricKind> = new Map<string, MetricKind>([
  ["counter", "counter"],
  ["histogram", "histogram"],
  ["summary", "histogram"],
]);

/** Adds a series that no row describes. */
function keepUnknown(collector: Collector, name: string, labels: readonly string[]): void {
  const { types, current, vocabulary: { dialect } } = collector;
  if (collector.engineCount > MAX_ENGINES || name.endsWith("_created")) return;
  if (dialect.hidesUnknown) return;
  const [, stem = name, suffix] = /^(.*)_(bucket|sum|count|total)$/.exec(name) ?? [];
  const kind = OTHER_KINDS.get(types.get(name) ?? types.get(stem) ?? "") ?? "gauge";
  const isPart = kind === "histogram" && suffix !== "total";
  collectLabels(collector, labels, undefined);
  keepOther(openEngine(collector), {
    row: null,
    name: collector.keepText(isPart ? stem : name),
    kind,
    labels: describeLabels(collector, labels),
  }, {
    sample: current.sample,
    // Quantiles of summaries have no suffix.
    part: !isPart ? "value" : suffix === "sum" || suffix === "count" ? suffix : "bucket",
  });
}

/** Adds process and HTTP metrics, which have no prefix. */
function keepProcessSample(collector: Collector, name: string, labels: readonly string[]): void {
  const { sample } = collector.current;
  if (name === "process_start_time_seconds") {
    // A federation has several, of which none is the server's.
    collector.processStart = collector.hasProcessStart ? -1 : sample;
    collector.hasProcessStart = true;
  }
  if (name !== "http_requests_total") return;
  for (let i = 0; i < labels.length; i += 2) {
    if (labels[i] !== "status") continue;
    const status = collector.keepText(labels[i + 1]);
    const known = collector.httpSamples.get(status);
    if (known === undefined) collector.httpSamples.set(status, [sample]);
    else known.push(sample);
  }
}

function keepKnown(collector: Collector, target: Target, labels: readonly string[]): void {
  // All will be refused.
  if (collector.engineCount > MAX_ENGINES) return;
  const { row, part } = target;
  const { current } = collector;
  if (row.kind === "info") return keepInfo(collector, target, labels);
  if (!hasCountedLabels(row, labels)) {
    if (target.next !== undefined) keepKnown(collector, target.next, labels);
    else if (row.requires !== undefined) {
      keepUnknown(collector, collector.prefix + target.name, labels);
    }
    return;
  }
  collectLabels(collector, labels, row.label);
  noteEngineSeries(collector, target, labels);
  const builder = openEngine(collector);
  const { repeating } = collector.vocabulary.dialect.labels;
  if (repeating !== undefined) {
    const rank = repeating.map((name) => getLabel(labels, name)).join(" ");
    if (isRepetition(builder, row, rank)) return;
  }
  if (row.kind === "histogram") {
    current.bound = part === "bucket" ? parseSeriesBound(collector, current.le) : NaN;
    keepHistogram(builder, target, current);
  } else if (row.label !== undefined) {
    current.split = collector.keepText(current.split);
    keepLabelled(builder, target, current);
  } else {
    keepScalar(builder, target, current);
  }
}

interface Pass {
  readonly candidates: readonly PrefixCandidate[];
  /** The labels that tell engines apart; none: the dialect's own. */
  readonly engineLabels: readonly string[];
  readonly keepText: KeepText;
}

function createCollector({ candidates: [{ vocabulary }], engineLabels, keepText }: Pass) {
  return {
    keepText,
    /** The first dialect's until a prefix is found. */
    vocabulary,
    engineLabels,
    engineSeries: [] as EngineSeries[],
    prefix: null as string | null,
    /** Types of unknown families. */
    types: new Map<string, string>(),
    values: [] as number[],
    valueStarts: [] as number[],
    /** Model -> engine. */
    engines: new Map<string, Map<string, EngineBuilder>>(),
    declared: new Set<MetricRow>(),
    configs: new Map<string, Map<string, string>>(),
    infos: [] as EngineInfo[],
    familyNames: new Set<string>(),
    httpSamples: new Map<string, number[]>(),
    /** Reused for all samples. */
    current: {
      ...{ sample: 0, model: "", engine: "", worker: "" },
      ...{ le: "", bound: NaN, split: "", hasOthers: false },
    },
    engineCount: 0,
    /** Most samples have the same engine as the previous one. */
    last: null as { readonly of: EngineLabels; readonly builder: EngineBuilder } | null,
    bounds: new Map<string, number>(),
    lora: [] as LoraState[],
    processStart: -1,
    hasProcessStart: false,
  };
}

/** Separates engines, in order, from the server's own figures. */
function sortBuilders(
  collector: Collector,
): Pick<DialectSeries, "engines" | "server" | "shared"> {
  const { areShared } = collector.vocabulary.dialect.labels;
  const shared = new Set<EngineBuilder>();
  const engines: EngineBuilder[] = [];
  let server: EngineBuilder | null = null;
  for (const [model, ofModel] of collector.engines) {
    const builders = [...ofModel.values()];
    const hasNumbered = builders.some(({ engine, isEngine }) => engine !== "" && isEngine);
    const own: EngineBuilder[] = [];
    for (const builder of builders) {
      const isShared = areShared === true && hasNumbered && builder.engine === "";
      const counts = model !== "" &&
        (isShared || builder.isEngine && (builder.engine !== "" || !hasNumbered));
      if (counts) own.push(builder);
      if (counts && isShared) shared.add(builder);
      if (counts) continue;
      if (server === null) server = builder;
      else absorbBuilder(server, builder);
    }
    own.sort((a, b) => compareNames(a.engine, b.engine));
    engines.push(...own);
  }
  return { engines, server, shared };
}

/** Strips the server's prefix; `null` if the name has none. */
function cutPrefix(
  collector: Collector,
  candidates: readonly PrefixCandidate[],
  name: string,
): string | null {
  const { prefix: found, vocabulary } = collector;
  if (found !== null) return stripPrefix({ prefix: found, vocabulary }, name);
  for (const candidate of candidates) {
    const bare = stripPrefix(candidate, name);
    if (bare === null) continue;
    collector.prefix = candidate.prefix;
    collector.vocabulary = candidate.vocabulary;
    return bare;
  }
  return null;
}

function noteFamily(collector: Collector, name: string): void {
  const { familyNames } = collector;
  if (familyNames.size < MAX_FAMILY_NAMES && !familyNames.has(name)) {
    familyNames.add(collector.keepText(name));
  }
}

function* collectBody(
  body: Uint8Array,
  pass: Pass,
): Steps<{ readonly collector: Collector; readonly summary: ExpositionSummary }> {
  const { candidates } = pass;
  const collector = createCollector(pass);
  let lastName = "";
  let bareName: string | null = null;
  let target: Target | undefined;

  const summary = yield* parseInSteps(body, {
    onType: (family, type) => {
      noteFamily(collector, family);
      const bare = cutPrefix(collector, candidates, family);
      if (bare === null) return;
      const row = collector.vocabulary.families.get(bare);
      for (const one of listNamesakes(collector.vocabulary, row)) collector.declared.add(one);
      if (row !== undefined) return;
      if (collector.types.size < MAX_FAMILY_NAMES) collector.types.set(family, type);
    },
    onSample: (name, labels, value, valueStart) => {
      collector.current.sample = collector.values.push(value) - 1;
      collector.valueStarts.push(valueStart);
      if (name !== lastName) {
        lastName = name;
        noteFamily(collector, name);
        bareName = cutPrefix(collector, candidates, name);
        target = bareName === null ? undefined : collector.vocabulary.targets.get(bareName);
        for (let one = target; one !== undefined; one = one.next) collector.declared.add(one.row);
      }
      if (target !== undefined) keepKnown(collector, target, labels);
      else if (bareName === null) keepProcessSample(collector, name, labels);
      else if (bareName === collector.vocabulary.dialect.createdName) {
        collectLabels(collector, labels, undefined);
        openEngine(collector).created = collector.current.sample;
      } else keepUnknown(collector, name, labels);
    },
  });
  return { collector, summary };
}

/**
 * Collects the series of an exposition; again if it turns out to have no prefix, or engines told
 * apart by other labels.
 * @param options.metricPrefix Replaces the dialects' prefixes.
 */
export function* collectSeries(
  body: Uint8Array,
  { vocabularies, metricPrefix, keepText }: {
    readonly vocabularies: readonly Vocabulary[];
    readonly keepText: KeepText;
    readonly metricPrefix: string | null;
  },
): Steps<DialectSeries> {
  const all = vocabularies.flatMap((vocabulary, i): readonly PrefixCandidate[] => {
    const prefixes = i === 0 && metricPrefix !== null
      ? [metricPrefix]
      : vocabulary.dialect.prefixes;
    return prefixes.map((prefix) => ({ prefix, vocabulary }));
  });
  const candidates = metricPrefix === "" ? all : all.filter(({ prefix }) => prefix !== "");
  let pass: Pass = { candidates, engineLabels: [], keepText };
  let read = yield* collectBody(body, pass);
  const others = reconsiderPrefix(all, read.collector, read.collector.familyNames);
  if (others.length > 0) {
    pass = { ...pass, candidates: others };
    read = yield* collectBody(body, pass);
  }
  const { engineSeries, vocabulary: { dialect } } = read.collector;
  const engineLabels = chooseEngineLabels(engineSeries, dialect);
  if (engineLabels.length > 0) read = yield* collectBody(body, { ...pass, engineLabels });
  const { collector, summary } = read;
  const hasUnnamedEngines = [...collector.engines.get("")?.values() ?? []]
    .some(({ isEngine }) => isEngine);
  const { values, valueStarts, configs, declared, familyNames, httpSamples, lora } = collector;
  return {
    summary,
    vocabulary: collector.vocabulary,
    values: new Float64Array(values),
    valueStarts: new Int32Array(valueStarts),
    ...sortBuilders(collector),
    configs,
    infos: collector.infos,
    lora,
    processStart: collector.processStart,
    httpSamples,
    metricPrefix: collector.prefix ?? candidates[0].prefix,
    declared,
    hasUnnamedEngines,
    hasTooManyEngines: collector.engineCount > MAX_ENGINES,
    familyNames,
  };
}
