/**
 * What each series of an exposition means in vLLM's dialect.
 *
 * Reads a body with `prometheus`, its names with `dialect_vllm_metrics`,
 * and sorts the samples, each by its number in the body, to the figures of
 * (model, engine) that they make: whatever a body of the same series says, in
 * other values, needs no more reading of names and labels. Gauges that several
 * processes export (label `pid`) count as their largest: all but one are stale.
 * What names no engine goes to `server`. Text from labels is made safe here,
 * once. Figures are `dialect_reader`' part. Sources: vLLM's metrics loggers, from
 * tag v0.2.3 on, read 2026-08, and scrapes of real servers up to 0.32.0.
 *
 * @module
 */

import {
  absorbBuilder,
  createEngineBuilder,
  type EngineBuilder,
  isEngine,
  keepHistogram,
  keepLabelled,
  keepScalar,
  type SortedSample,
  type Target,
} from "./dialect_sample.ts";
import {
  CACHE_CONFIG_NAME,
  CREATED_NAME,
  KNOWN_PREFIXES,
  LORA_NAME,
  METRIC_ROWS,
  type MetricRow,
} from "./dialect_vllm_metrics.ts";
import type { LoraSample } from "./model.ts";
import type { Steps } from "./platform.ts";
import { type ExpositionSummary, parseInSteps } from "./prometheus.ts";
import { parseBound } from "./prometheus_tokens.ts";
import { absent, present } from "./reading.ts";
import { sanitizeText } from "./text.ts";

/** The series of one body, in vLLM's terms, and the values that it gave them. */
export interface VllmSeries {
  readonly summary: ExpositionSummary;
  /** The value of each sample, in their order, and where in the body it begins. */
  readonly values: Float64Array;
  readonly valueStarts: Int32Array;
  /** In the order of models, then of engine numbers. */
  readonly engines: readonly EngineBuilder[];
  readonly server: EngineBuilder | null;
  /** Engine, or `""` for all -> the labels of its cache's configuration. */
  readonly configs: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** Each state of the adapters, and the sample whose value is its time. */
  readonly lora: readonly { readonly sample: number; readonly state: LoraSample }[];
  /** The sample that says when the process started; -1 where there is none. */
  readonly processStart: number;
  /** Status label -> samples of answers to HTTP requests. */
  readonly httpSamples: ReadonlyMap<string, readonly number[]>;
  readonly metricPrefix: string;
  /** Families that are declared or sampled. */
  readonly declared: ReadonlySet<MetricRow>;
  readonly hasUnnamedEngines: boolean;
  readonly hasTooManyEngines: boolean;
  readonly familyNames: ReadonlySet<string>;
}

/** Names kept to recognise a server by; more are not looked at. */
const MAX_FAMILY_NAMES = 1000;

/**
 * Engines of one exposition: sixteen times the largest deployments of one
 * server. Each has a row and a minute of samples, so that a server that names
 * models at random would fill the memory: what has more is refused whole.
 */
export const MAX_ENGINES = 1000;

/** Labels that Ray adds to tell its workers apart; the first that is there counts. */
const WORKER_LABELS = ["ReplicaId", "WorkerId"];
const WORKER_ID_LENGTH = 8;

/** Sample name without prefix -> its meaning. */
const TARGETS: ReadonlyMap<string, Target> = createTargets();
/** Family name without prefix, in either dialect -> its row. */
const FAMILIES: ReadonlyMap<string, MetricRow> = createFamilies();

function createTargets(): Map<string, Target> {
  const targets = new Map<string, Target>();
  for (const row of METRIC_ROWS) {
    row.names.forEach((name, rank) => {
      if (row.kind === "histogram") {
        for (const part of ["bucket", "sum", "count"] as const) {
          targets.set(`${name}_${part}`, { row, part, rank, name });
        }
        return;
      }
      targets.set(name, { row, part: "value", rank, name });
      // Ray exports counters as gauges without `_total`; some versions export both.
      if (name.endsWith("_total")) {
        const bare = name.slice(0, -"_total".length);
        targets.set(bare, { row, part: "value", rank: rank + row.names.length, name: bare });
      }
    });
  }
  return targets;
}

function createFamilies(): Map<string, MetricRow> {
  const families = new Map<string, MetricRow>();
  for (const row of METRIC_ROWS) {
    for (const name of row.names) {
      families.set(name, row);
      if (row.kind !== "histogram") families.set(name.replace(/_total$/, ""), row);
    }
  }
  return families;
}

/** Names without prefix that are read apart. */
const OTHER_NAMES: ReadonlySet<string> = new Set([CACHE_CONFIG_NAME, LORA_NAME, CREATED_NAME]);

/** Whose a sample is. */
interface EngineLabels {
  model: string;
  engine: string;
  worker: string;
}

/** The sample that is being sorted; one record for all, as there are tens of thousands. */
interface CurrentSample extends SortedSample, EngineLabels {
  sample: number;
  le: string;
  bound: number;
  split: string;
  hasOthers: boolean;
}

/** All that is collected over one body. */
interface Collector {
  readonly values: number[];
  readonly valueStarts: number[];
  /** Model -> engine -> what is known of it. */
  readonly engines: Map<string, Map<string, EngineBuilder>>;
  readonly declared: Set<MetricRow>;
  readonly configs: Map<string, Map<string, string>>;
  readonly familyNames: Set<string>;
  readonly httpSamples: Map<string, number[]>;
  readonly current: CurrentSample;
  engineCount: number;
  /** The engine of the sample before: most samples are of the same. */
  last: { readonly of: Readonly<EngineLabels>; readonly builder: EngineBuilder } | null;
  readonly bounds: Map<string, number>;
  readonly lora: { readonly sample: number; readonly state: LoraSample }[];
  processStart: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Raw text -> safe text, over all scrapes: names and labels are the same each time. */
const keptTexts = new Map<string, string>();

/** Texts that are remembered; beyond it all are forgotten, as when a server makes up new labels each time. */
const MAX_KEPT_TEXTS = 10_000;

/** Longer texts are not remembered: ten thousand of the longest bodies would fill the memory. */
const MAX_KEPT_LENGTH = 256;

/** Foreign text made safe, as a string of its own: a slice would keep the whole body in memory. */
function keepText(raw: string): string {
  let text = keptTexts.get(raw);
  if (text === undefined) {
    const own = decoder.decode(encoder.encode(raw));
    text = sanitizeText(own);
    if (own.length > MAX_KEPT_LENGTH) return text;
    if (keptTexts.size >= MAX_KEPT_TEXTS) keptTexts.clear();
    keptTexts.set(own, text);
  }
  return text;
}

/** The engine's number, with its worker where that tells it apart. */
function nameEngine({ engine, worker }: EngineLabels): string {
  return keepText(worker === "" ? engine : `${engine}@${worker.slice(0, WORKER_ID_LENGTH)}`);
}

/** The builder of the engine that the current sample is of. */
function openEngine(collector: Collector): EngineBuilder {
  const { last, current } = collector;
  const { model, engine: label, worker } = current;
  if (last !== null && last.of.engine === label && last.of.model === model) {
    if (last.of.worker === worker) return last.builder;
  }
  const modelName = keepText(model);
  const engine = nameEngine(current);
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

/** Sorts the labels of the current sample into what they mean. */
function collectLabels(found: CurrentSample, labels: readonly string[], splitName: string): void {
  found.model =
    found.engine =
    found.le =
    found.split =
    found.worker =
      "";
  found.hasOthers = false;
  for (let i = 0; i < labels.length; i += 2) {
    const name = labels[i];
    const value = labels[i + 1];
    if (name === "model_name") found.model = value;
    else if (name === "engine") found.engine = value;
    else if (name === "le") found.le = value;
    else if (name === splitName) found.split = value;
    else if (WORKER_LABELS.includes(name)) {
      if (found.worker === "" || name === WORKER_LABELS[0]) found.worker = value;
    } else found.hasOthers = true;
  }
}

function parseSeriesBound(collector: Collector, le: string): number {
  let bound = collector.bounds.get(le);
  if (bound === undefined) {
    bound = parseBound(le);
    collector.bounds.set(le, bound);
  }
  return bound;
}

function splitAdapters(list: string): string[] {
  return list.split(",").map((name) => name.trim()).filter((name) => name !== "")
    .map((name) => keepText(name));
}

/** One state of the adapters; the value of `lora_requests_info` is the time of the change. */
function keepLora(collector: Collector, labels: readonly string[]): void {
  const byName = new Map<string, string>();
  for (let i = 0; i < labels.length; i += 2) byName.set(labels[i], labels[i + 1]);
  const maximum = Number(byName.get("max_lora") ?? NaN);
  collector.lora.push({
    sample: collector.current.sample,
    state: {
      runningAdapters: splitAdapters(byName.get("running_lora_adapters") ?? ""),
      waitingAdapters: splitAdapters(byName.get("waiting_lora_adapters") ?? ""),
      maxAdapters: Number.isFinite(maximum) ? present(maximum) : absent("missing"),
    },
  });
}

function keepConfig(collector: Collector, labels: readonly string[]): void {
  const config = new Map<string, string>();
  collectLabels(collector.current, labels, "");
  const engine = nameEngine(collector.current);
  for (let i = 0; i < labels.length; i += 2) {
    if (labels[i] !== "engine") config.set(keepText(labels[i]), keepText(labels[i + 1]));
  }
  const isWanted = collector.configs.size < MAX_ENGINES && !collector.configs.has(engine);
  if (isWanted) collector.configs.set(engine, config);
}

/** Metrics of the process and of HTTP, which have no prefix. */
function keepProcessSample(collector: Collector, name: string, labels: readonly string[]): void {
  const { sample } = collector.current;
  if (name === "process_start_time_seconds") collector.processStart = sample;
  if (name !== "http_requests_total") return;
  for (let i = 0; i < labels.length; i += 2) {
    if (labels[i] !== "status") continue;
    const status = keepText(labels[i + 1]);
    const known = collector.httpSamples.get(status);
    if (known === undefined) collector.httpSamples.set(status, [sample]);
    else known.push(sample);
  }
}

/** Gives one sample with vLLM's prefix to its engine. */
function keepVllmSample(collector: Collector, target: Target, labels: readonly string[]): void {
  // All is refused then: what is still to come need not be looked at.
  if (collector.engineCount > MAX_ENGINES) return;
  const { row, part } = target;
  const { current } = collector;
  collectLabels(current, labels, row.kind === "labelled" ? row.label : "");
  const builder = openEngine(collector);
  if (row.kind === "histogram") {
    current.bound = part === "bucket" ? parseSeriesBound(collector, current.le) : NaN;
    keepHistogram(builder, target, current);
  } else if (row.kind === "labelled") {
    current.split = keepText(current.split);
    keepLabelled(builder, target, current);
  } else {
    keepScalar(builder, target, current);
  }
}

function createCollector(): Collector {
  return {
    values: [],
    valueStarts: [],
    engines: new Map(),
    declared: new Set(),
    configs: new Map(),
    familyNames: new Set(),
    httpSamples: new Map(),
    current: {
      sample: 0,
      model: "",
      engine: "",
      worker: "",
      le: "",
      bound: NaN,
      split: "",
      hasOthers: false,
    },
    engineCount: 0,
    last: null,
    bounds: new Map(),
    lora: [],
    processStart: -1,
  };
}

/** The builders that are engines, ordered; and the one that stands for the server, if any. */
function sortBuilders(
  collector: Collector,
): { engines: EngineBuilder[]; server: EngineBuilder | null } {
  const engines: EngineBuilder[] = [];
  let server: EngineBuilder | null = null;
  for (const [model, ofModel] of collector.engines) {
    const builders = [...ofModel.values()];
    const hasNumbered = builders.some((builder) => builder.engine !== "" && isEngine(builder));
    const own: EngineBuilder[] = [];
    for (const builder of builders) {
      const counts = model !== "" && isEngine(builder) && (builder.engine !== "" || !hasNumbered);
      if (counts) own.push(builder);
      else if (server === null) server = builder;
      else absorbBuilder(server, builder);
    }
    own.sort((a, b) => a.engine.localeCompare(b.engine, "en", { numeric: true }));
    engines.push(...own);
  }
  return { engines, server };
}

/** What `name` is without the prefix of vLLM's metrics, or `null` where it has none. */
function createPrefixFinder(prefixes: readonly string[]): {
  readonly layout: (name: string) => string | null;
  readonly found: () => string | null;
} {
  let found: string | null = null;
  const layout = (name: string): string | null => {
    if (found !== null) return name.startsWith(found) ? name.slice(found.length) : null;
    for (const prefix of prefixes) {
      if (!name.startsWith(prefix)) continue;
      const bare = name.slice(prefix.length);
      if (TARGETS.has(bare) || FAMILIES.has(bare) || OTHER_NAMES.has(bare)) {
        found = prefix;
        return bare;
      }
    }
    return null;
  };
  return { layout, found: () => found };
}

function noteFamily(collector: Collector, name: string): void {
  const { familyNames } = collector;
  if (familyNames.size < MAX_FAMILY_NAMES && !familyNames.has(name)) {
    familyNames.add(keepText(name));
  }
}

/**
 * Sorts the series of an exposition.
 *
 * @param metricPrefix The prefix to look for in place of the known ones.
 */
export function* collectSeries(
  body: Uint8Array,
  metricPrefix: string | null,
): Steps<VllmSeries> {
  const collector = createCollector();
  const prefixes = metricPrefix ? [metricPrefix] : KNOWN_PREFIXES;
  const prefix = createPrefixFinder(prefixes);
  let lastName = "";
  let bareName: string | null = null;
  let target: Target | undefined;

  const summary = yield* parseInSteps(body, {
    onType: (family) => {
      noteFamily(collector, family);
      const bare = prefix.layout(family);
      const row = bare === null ? undefined : FAMILIES.get(bare);
      if (row !== undefined) collector.declared.add(row);
    },
    onSample: (name, labels, value, valueStart) => {
      collector.current.sample = collector.values.push(value) - 1;
      collector.valueStarts.push(valueStart);
      if (name !== lastName) {
        lastName = name;
        noteFamily(collector, name);
        bareName = prefix.layout(name);
        target = bareName === null ? undefined : TARGETS.get(bareName);
        if (target !== undefined) collector.declared.add(target.row);
      }
      if (target !== undefined) keepVllmSample(collector, target, labels);
      else if (bareName === null) keepProcessSample(collector, name, labels);
      else if (bareName === CACHE_CONFIG_NAME) keepConfig(collector, labels);
      else if (bareName === LORA_NAME) keepLora(collector, labels);
      else if (bareName === CREATED_NAME) {
        collectLabels(collector.current, labels, "");
        openEngine(collector).created = collector.current.sample;
      }
    },
  });
  const hasUnnamedEngines = [...collector.engines.get("")?.values() ?? []].some(isEngine);
  const { values, valueStarts, configs, declared, familyNames, httpSamples, lora } = collector;
  return {
    summary,
    values: new Float64Array(values),
    valueStarts: new Int32Array(valueStarts),
    ...sortBuilders(collector),
    configs,
    lora,
    processStart: collector.processStart,
    httpSamples,
    metricPrefix: prefix.found() ?? prefixes[0],
    declared,
    hasUnnamedEngines,
    hasTooManyEngines: collector.engineCount > MAX_ENGINES,
    familyNames,
  };
}
