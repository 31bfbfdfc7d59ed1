/**
 * Exposition bytes into one sample per engine: vLLM's dialect.
 *
 * Layer 1, pure apart from what a reader remembers. Gives each (model, engine)
 * its gauges, counters and histograms in base units (seconds, bytes, ratios,
 * tokens); which samples make them is `vllm_series`' part. A reader that is
 * given the bodies of one server keeps the layout of the last, and reads only
 * the numbers of the next where all else is the same (`exposition_layout`);
 * figures are made of numbers in one way, so that both roads end in the same.
 *
 * @module
 */

import { buildEngine, createBlank, type EngineBuilder, listAliases } from "./engine_builder.ts";
import { createLayout, type ExpositionLayout, rereadValues } from "./exposition_layout.ts";
import type { BadLine, EngineSample, LoraSample } from "./model.ts";
import { absent, present, type Reading } from "./reading.ts";
import type { EpochSeconds } from "./units.ts";
import { collectSeries, type VllmSeries } from "./vllm_series.ts";

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
  /** Whether it names more than `MAX_ENGINES` engines: `engines` are then not all. */
  readonly hasTooManyEngines: boolean;
  /** Names of families and samples of any kind, up to `MAX_FAMILY_NAMES`. */
  readonly familyNames: ReadonlySet<string>;
}

/** The adapters as of the newest state; of two of the same time, the later in the body. */
function readLora({ lora }: VllmSeries, values: Float64Array): LoraSample | null {
  let newest: VllmSeries["lora"][number] | null = null;
  for (const entry of lora) {
    if (newest === null || !(values[entry.sample] < values[newest.sample])) newest = entry;
  }
  return newest?.state ?? null;
}

/** The figures of the series, for those values. */
function buildExposition(series: VllmSeries, values: Float64Array): VllmExposition {
  const { configs, declared, summary, engines, server } = series;
  const known = new Map();
  const declaredKeys = new Set([...declared].map((row) => row.key));
  const blank = createBlank(declaredKeys);
  const finish = (builder: EngineBuilder): EngineSample => {
    const cacheConfig = configs.get(builder.engine) ?? configs.get("") ?? new Map();
    return buildEngine(builder, { declaredKeys, blank, cacheConfig, values, known });
  };
  const samples = engines.map(finish);
  const created = samples.flatMap((engine) => engine.created.value ?? []);
  const sumOf = (numbers: readonly number[]) => numbers.reduce((sum, i) => sum + values[i], 0);
  return {
    engines: samples,
    server: server === null ? null : finish(server),
    lora: readLora(series, values),
    aliases: new Map(engines.flatMap(listAliases)),
    metricPrefix: series.metricPrefix,
    processStart: series.processStart < 0
      ? absent("missing")
      : present(values[series.processStart]),
    countersCreated: created.length > 0 ? present(Math.min(...created)) : absent("missing"),
    httpResponsesByStatus: new Map(
      [...series.httpSamples].map(([status, numbers]) => [status, sumOf(numbers)]),
    ),
    sampleCount: summary.sampleCount,
    dialect: summary.dialect,
    badLineCount: summary.badLineCount,
    badLines: summary.badLines,
    endsComplete: summary.endsComplete,
    lastLineIsBad: summary.lastLineIsBad,
    vllmFamilyCount: declared.size,
    hasUnnamedEngines: series.hasUnnamedEngines,
    hasTooManyEngines: series.hasTooManyEngines,
    familyNames: series.familyNames,
  };
}

/** Reads the bodies of one server, one after the other. */
export type VllmReader = (body: Uint8Array) => VllmExposition;

/** What a reader knows of the body before. */
interface KnownBody {
  readonly series: VllmSeries;
  readonly layout: ExpositionLayout;
}

/**
 * A reader of expositions as vLLM's. It remembers one body, about twice its
 * size: where the next has the same series, only its numbers are read.
 *
 * @param options.metricPrefix The prefix to look for in place of the known ones.
 */
export function createVllmReader(
  { metricPrefix = null }: { readonly metricPrefix?: string | null } = {},
): VllmReader {
  let known: KnownBody | null = null;
  return (body) => {
    const values = known === null ? null : rereadValues(known.layout, body);
    if (known !== null && values !== null) return buildExposition(known.series, values);
    const series = collectSeries(body, metricPrefix);
    // What is no vLLM server's need not be fast, and is not worth its memory.
    const isUsual = series.engines.length > 0 && !series.hasTooManyEngines;
    const layout = isUsual ? createLayout(body, series) : null;
    known = layout === null ? null : { series, layout };
    return buildExposition(series, series.values);
  };
}

/** Reads one exposition as vLLM's. */
export function readVllmMetrics(
  body: Uint8Array,
  { metricPrefix = null }: { readonly metricPrefix?: string | null } = {},
): VllmExposition {
  const series = collectSeries(body, metricPrefix);
  return buildExposition(series, series.values);
}
