/**
 * Exposition bytes into one sample per engine: vLLM's dialect.
 *
 * Layer 1, pure. Reads with `prometheus`, names with `vllm_names`, and gives
 * each (model, engine) its gauges, counters and histograms in base units
 * (seconds, bytes, ratios, tokens). Of several names of one figure the newest
 * counts. Gauges that several processes export (label `pid`) count as their
 * largest: all but one are stale. What names no engine goes to `server`.
 * Text from labels is made safe here, once. Sources: vLLM's metrics loggers,
 * tags v0.2.3 to v0.32.0, and scrapes of real servers, 2026-08.
 *
 * @module
 */

import {
  absorbBuilder,
  buildEngine,
  createEngineBuilder,
  type EngineBuilder,
  isEngine,
  keepHistogram,
  keepLabelled,
  keepScalar,
  listAliases,
  type Target,
} from "./engine_builder.ts";
import type { Histogram } from "./histogram.ts";
import type { BadLine, EngineSample, HistogramKey, LoraSample } from "./model.ts";
import { parseExposition } from "./prometheus.ts";
import { absent, present, type Reading } from "./reading.ts";
import { sanitizeText } from "./text.ts";
import type { EpochSeconds } from "./units.ts";
import {
  CACHE_CONFIG_NAME,
  CREATED_NAME,
  KNOWN_PREFIXES,
  LORA_NAME,
  METRIC_ROWS,
  type MetricRow,
} from "./vllm_names.ts";

/** What an exposition says, in vLLM's terms. */
export interface VllmExposition {
  /** In the order of models, then of engine numbers. */
  readonly engines: readonly EngineSample[];
  /** What has no engine: figures without that label beside engines that have it. `null` when there is nothing. */
  readonly server: EngineSample | null;
  readonly lora: LoraSample | null;
  /** Figures found under an older name -> that name. */
  readonly aliases: ReadonlyMap<string, string>;
  /** The prefix found, or the first that was looked for. */
  readonly metricPrefix: string;
  readonly processStart: Reading<EpochSeconds>;
  /** The oldest `_created` stamp among the engines. */
  readonly countersCreated: Reading<EpochSeconds>;
  /** `http_requests_total` by its `status` label. */
  readonly httpResponsesByStatus: ReadonlyMap<string, number>;
  readonly sampleCount: number;
  readonly dialect: "prometheus" | "openmetrics";
  readonly badLineCount: number;
  readonly badLines: readonly BadLine[];
  readonly endsComplete: boolean;
  readonly lastLineIsBad: boolean;
  /** Families of vLLM's, declared or sampled. 0 for another server, or with statistics off. */
  readonly vllmFamilyCount: number;
  /** Whether there are figures of engines whose model is not named: an aggregate's, or a router's. */
  readonly hasUnnamedEngines: boolean;
  /** Names of families and samples of any kind, up to `MAX_FAMILY_NAMES`. */
  readonly familyNames: ReadonlySet<string>;
}

/** Names kept to recognise a server by; more are not looked at. */
const MAX_FAMILY_NAMES = 1000;

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

/** The labels of one sample that mean something here. */
interface SampleLabels {
  model: string;
  engine: string;
  le: string;
  split: string;
  worker: string;
  /** Whether there is a label that tells apart series of the same engine and figure. */
  hasOthers: boolean;
}

/** All that is collected over one body. */
interface Collector {
  /** Model -> engine -> what is known of it. */
  readonly engines: Map<string, Map<string, EngineBuilder>>;
  readonly declared: Set<MetricRow>;
  readonly configs: Map<string, Map<string, string>>;
  readonly familyNames: Set<string>;
  readonly httpResponsesByStatus: Map<string, number>;
  readonly labels: SampleLabels;
  readonly bounds: Map<string, number>;
  lora: { at: number; readonly sample: LoraSample } | null;
  processStart: Reading;
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
function nameEngine({ engine, worker }: SampleLabels): string {
  return keepText(worker === "" ? engine : `${engine}@${worker.slice(0, WORKER_ID_LENGTH)}`);
}

function openEngine(collector: Collector, labels: SampleLabels): EngineBuilder {
  const modelName = keepText(labels.model);
  const engine = nameEngine(labels);
  let ofModel = collector.engines.get(modelName);
  if (ofModel === undefined) collector.engines.set(modelName, ofModel = new Map());
  let builder = ofModel.get(engine);
  if (builder === undefined) ofModel.set(engine, builder = createEngineBuilder(modelName, engine));
  return builder;
}

/** Sorts the labels of a sample into what they mean. */
function readLabels(collector: Collector, labels: readonly string[], splitName: string): void {
  const found = collector.labels;
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

function readBound(collector: Collector, le: string): number {
  let bound = collector.bounds.get(le);
  if (bound === undefined) {
    bound = /^\+?inf$/i.test(le) ? Infinity : le === "" ? NaN : Number(le);
    collector.bounds.set(le, bound);
  }
  return bound;
}

function splitAdapters(list: string): string[] {
  return list.split(",").map((name) => name.trim()).filter((name) => name !== "")
    .map((name) => keepText(name));
}

/** The value of `lora_requests_info` is the time of the change: the newest series is the one that holds. */
function keepLora(collector: Collector, labels: readonly string[], value: number): void {
  if (collector.lora !== null && value < collector.lora.at) return;
  const byName = new Map<string, string>();
  for (let i = 0; i < labels.length; i += 2) byName.set(labels[i], labels[i + 1]);
  const maximum = Number(byName.get("max_lora") ?? NaN);
  collector.lora = {
    at: value,
    sample: {
      runningAdapters: splitAdapters(byName.get("running_lora_adapters") ?? ""),
      waitingAdapters: splitAdapters(byName.get("waiting_lora_adapters") ?? ""),
      maxAdapters: Number.isFinite(maximum) ? present(maximum) : absent("missing"),
    },
  };
}

function keepConfig(collector: Collector, labels: readonly string[]): void {
  const config = new Map<string, string>();
  readLabels(collector, labels, "");
  const engine = nameEngine(collector.labels);
  for (let i = 0; i < labels.length; i += 2) {
    if (labels[i] !== "engine") config.set(keepText(labels[i]), keepText(labels[i + 1]));
  }
  if (!collector.configs.has(engine)) collector.configs.set(engine, config);
}

/** Metrics of the process and of HTTP, which have no prefix. */
function keepProcessSample(
  collector: Collector,
  name: string,
  sample: { readonly labels: readonly string[]; readonly value: number },
): void {
  if (name === "process_start_time_seconds") collector.processStart = present(sample.value);
  if (name !== "http_requests_total") return;
  for (let i = 0; i < sample.labels.length; i += 2) {
    if (sample.labels[i] !== "status") continue;
    const status = keepText(sample.labels[i + 1]);
    const known = collector.httpResponsesByStatus.get(status) ?? 0;
    collector.httpResponsesByStatus.set(status, known + sample.value);
  }
}

/** Gives one sample with vLLM's prefix to its engine. */
function keepVllmSample(
  collector: Collector,
  target: Target,
  sample: { readonly labels: readonly string[]; readonly value: number },
): void {
  const { row, part } = target;
  const found = collector.labels;
  readLabels(collector, sample.labels, row.kind === "labelled" ? row.label : "");
  const builder = openEngine(collector, found);
  const { value } = sample;
  const { hasOthers } = found;
  if (row.kind === "histogram") {
    const bound = part === "bucket" ? readBound(collector, found.le) : NaN;
    keepHistogram(builder, target, { bound, spelling: found.le, value, hasOthers });
  } else if (row.kind === "labelled") {
    keepLabelled(builder, target, { split: keepText(found.split), value, hasOthers });
  } else {
    keepScalar(builder, target, { value, hasOthers });
  }
}

function createCollector(): Collector {
  return {
    engines: new Map(),
    declared: new Set(),
    configs: new Map(),
    familyNames: new Set(),
    httpResponsesByStatus: new Map(),
    labels: { model: "", engine: "", le: "", split: "", worker: "", hasOthers: false },
    bounds: new Map(),
    lora: null,
    processStart: absent("missing"),
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
  readonly strip: (name: string) => string | null;
  readonly found: () => string | null;
} {
  let found: string | null = null;
  const strip = (name: string): string | null => {
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
  return { strip, found: () => found };
}

/**
 * Reads an exposition as vLLM's.
 *
 * @param options.metricPrefix The prefix to look for in place of the known ones.
 */
export function readVllmMetrics(
  body: Uint8Array,
  options: { readonly metricPrefix?: string | null } = {},
): VllmExposition {
  const collector = createCollector();
  const { metricPrefix } = options;
  const prefixes = metricPrefix ? [metricPrefix] : KNOWN_PREFIXES;
  const prefix = createPrefixFinder(prefixes);
  let lastName = "";
  let bareName: string | null = null;
  let target: Target | undefined;

  const summary = parseExposition(body, {
    onType: (family) => {
      noteFamily(collector, family);
      const bare = prefix.strip(family);
      const row = bare === null ? undefined : FAMILIES.get(bare);
      if (row !== undefined) collector.declared.add(row);
    },
    onSample: (name, labels, value) => {
      if (name !== lastName) {
        lastName = name;
        noteFamily(collector, name);
        bareName = prefix.strip(name);
        target = bareName === null ? undefined : TARGETS.get(bareName);
        if (target !== undefined) collector.declared.add(target.row);
      }
      if (target !== undefined) keepVllmSample(collector, target, { labels, value });
      else if (bareName === null) keepProcessSample(collector, name, { labels, value });
      else if (bareName === CACHE_CONFIG_NAME) keepConfig(collector, labels);
      else if (bareName === LORA_NAME) keepLora(collector, labels, value);
      else if (bareName === CREATED_NAME) {
        readLabels(collector, labels, "");
        openEngine(collector, collector.labels).created = value;
      }
    },
  });

  const { engines, server } = sortBuilders(collector);
  const known = new Map<HistogramKey, Histogram>();
  const declaredKeys = new Set([...collector.declared].map((row) => row.key));
  const finish = (builder: EngineBuilder): EngineSample => {
    const { configs } = collector;
    const cacheConfig = configs.get(builder.engine) ?? configs.get("") ?? new Map();
    return buildEngine(builder, { declaredKeys, cacheConfig, known });
  };
  const created = engines.map((engine) => engine.created).filter((at) => Number.isFinite(at));
  return {
    engines: engines.map(finish),
    server: server === null ? null : finish(server),
    lora: collector.lora?.sample ?? null,
    aliases: new Map(engines.flatMap(listAliases)),
    metricPrefix: prefix.found() ?? prefixes[0],
    processStart: collector.processStart,
    countersCreated: created.length > 0 ? present(Math.min(...created)) : absent("missing"),
    httpResponsesByStatus: collector.httpResponsesByStatus,
    sampleCount: summary.sampleCount,
    dialect: summary.dialect,
    badLineCount: summary.badLineCount,
    badLines: summary.badLines,
    endsComplete: summary.endsComplete,
    lastLineIsBad: summary.lastLineIsBad,
    vllmFamilyCount: collector.declared.size,
    hasUnnamedEngines: [...collector.engines.get("")?.values() ?? []].some(isEngine),
    familyNames: collector.familyNames,
  };
}

function noteFamily(collector: Collector, name: string): void {
  const { familyNames } = collector;
  if (familyNames.size < MAX_FAMILY_NAMES && !familyNames.has(name)) {
    familyNames.add(keepText(name));
  }
}
