/**
 * Exposition bytes -> one sample per engine.
 *
 * Gives each (model, engine) its gauges, counters and histograms in base units
 * (seconds, bytes, ratios, tokens). A reader that is given the bodies of one server
 * keeps the layout of the last, and reads only the numbers of the next where all
 * else is the same; figures are made of numbers in one way, so that both ways end
 * in the same.
 *
 * @module
 */

import { DIALECTS } from "./dialect.ts";
import { createVocabulary, type Target, type Vocabulary } from "./dialect_model.ts";
import {
  buildEngine,
  createAbsentSample,
  type EngineBuilder,
  listAliases,
  type OtherSeries,
} from "./dialect_sample.ts";
import { collectSeries, type DialectSeries } from "./dialect_series.ts";
import type { BadLine, EngineSample, LoraSample, MetricEntry } from "./model.ts";
import { finishSteps, type Steps } from "./platform.ts";
import { areSameBytes, type NumberScan, parseNumber, scanNumber } from "./prometheus_tokens.ts";
import { absent, present, type Reading } from "./reading.ts";
import type { EpochSeconds } from "./units.ts";

const VOCABULARIES: readonly Vocabulary[] = DIALECTS.map(createVocabulary);

/** A body of which all but the values is to be found again in the next. */
export interface ExpositionLayout {
  /** The body, in memory of its own, where words of four bytes can be read. */
  readonly body: DataView;
  /** For each value, where it begins in the body, and where it ends. */
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  /** The values of the body. */
  readonly values: Float64Array;
}

const TAB = 9, NEWLINE = 10, CARRIAGE_RETURN = 13, SPACE = 32;

/** Longer numbers fall back to the full parser. */
const MAX_NUMBER_LENGTH = 40;

/** Where the value that begins at `start` ends. */
function findValueEnd(bytes: Uint8Array, start: number): number {
  let end = start;
  for (; end < bytes.length; end++) {
    const code = bytes[end];
    if (code === SPACE || code === NEWLINE || code === TAB || code === CARRIAGE_RETURN) break;
  }
  return end;
}

/**
 * The layout of a body, or `null` where it would be much larger than the body:
 * lines of a few bytes are no server's, and a flood of them is not remembered.
 *
 * @param samples The value of each sample, in order, and where it begins.
 */
export function createLayout(
  body: Uint8Array,
  { values, valueStarts }: {
    readonly values: Float64Array;
    readonly valueStarts: Int32Array;
  },
): ExpositionLayout | null {
  const bytesPerSample = values.BYTES_PER_ELEMENT + 2 * valueStarts.BYTES_PER_ELEMENT;
  if (values.length * bytesPerSample > body.length) return null;
  const ends = valueStarts.map((start) => findValueEnd(body, start));
  return { body: new DataView(body.slice().buffer), starts: valueStarts, ends, values };
}

/** Reads a number that is written in an uncommon way; false where it is a surprise. */
function parseUncommonValue(
  bytes: Uint8Array,
  start: number,
  { scan, before }: { readonly scan: NumberScan; readonly before: number },
): boolean {
  const end = findValueEnd(bytes, start);
  if (end - start > MAX_NUMBER_LENGTH) return false;
  const value = parseNumber(String.fromCharCode(...bytes.subarray(start, end)));
  // A count that turns negative makes its line a bad one; what was negative before may be so.
  if (value === null || (value < 0 && !(before < 0))) return false;
  scan.value = value;
  scan.end = end;
  return true;
}

/** The values of a body that is the layout's but for its values; `null` at the first surprise. */
export function rescanValues(layout: ExpositionLayout, body: Uint8Array): Float64Array | null {
  const { body: known, starts, ends } = layout;
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const values = new Float64Array(starts.length);
  const scan: NumberScan = { value: 0, end: 0 };
  let from = 0;
  let at = 0;
  for (let i = 0; i < values.length; i++) {
    const length = starts[i] - from;
    if (!areSameBytes({ view: known, at: from }, { view, at }, length)) return null;
    at += length;
    const isRead = scanNumber(body, at, scan) ||
      parseUncommonValue(body, at, { scan, before: layout.values[i] });
    if (!isRead) return null;
    values[i] = scan.value;
    at = scan.end;
    from = ends[i];
  }
  const length = known.byteLength - from;
  const endsAlike = at + length === view.byteLength &&
    areSameBytes({ view: known, at: from }, { view, at }, length);
  return endsAlike ? values : null;
}

/** What an exposition says of the engines of a server. */
export interface EngineExposition {
  /** The kind of server. The first of the registry where there are no metrics of any. */
  readonly serverName: string;
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
  /** Families of a known kind of server, declared or sampled. 0 for another, or with statistics off. */
  readonly engineFamilyCount: number;
  /** Whether there are figures of engines whose model is not named: an aggregate's, or a router's. */
  readonly hasUnnamedEngines: boolean;
  /** Whether it names more than `MAX_ENGINES` engines: `engines` are then not all. */
  readonly hasTooManyEngines: boolean;
  /** Names of families and samples of any kind, up to `MAX_FAMILY_NAMES`. */
  readonly familyNames: ReadonlySet<string>;
}

/** The adapters as of the newest state; of two of the same time, the later in the body. */
function collectLora({ lora }: DialectSeries, values: Float64Array): LoraSample | null {
  let newest: DialectSeries["lora"][number] | null = null;
  for (const entry of lora) {
    if (newest === null || !(values[entry.sample] < values[newest.sample])) newest = entry;
  }
  return newest?.state ?? null;
}

const NO_SAMPLES: readonly number[] = [];

/** What is looked at of a histogram. */
interface HistogramSeries {
  readonly bounds: readonly number[];
  readonly buckets: readonly number[];
}

/** The samples of a histogram's last bucket, which holds its count. */
function listCountSamples({ bounds, buckets }: HistogramSeries): readonly number[] {
  const { length } = buckets;
  const isLastAlone = length > 0 && bounds[length - 1] === Infinity &&
    bounds.indexOf(Infinity) === length - 1;
  if (isLastAlone) return [buckets[length - 1]];
  const last = Math.max(...bounds);
  return buckets.filter((_, i) => bounds[i] === last);
}

/** What several sets of labels say of one figure. */
function collect<T extends { readonly absorbed: readonly T[] }>(
  part: T,
  read: (part: T) => readonly number[],
): readonly number[] {
  if (part.absorbed.length === 0) return read(part);
  return [...read(part), ...part.absorbed.flatMap((other) => collect(other, read))];
}

/** All that the engine exports, in the order of the body. */
function listEntries(
  builder: EngineBuilder,
  { metricPrefix, infos }: {
    readonly metricPrefix: string;
    /** Series that belong to it without naming its model. */
    readonly infos: readonly OtherSeries[];
  },
): readonly MetricEntry[] {
  const entries: MetricEntry[] = [];
  const add = (
    { row, name }: Target,
    parts: Pick<MetricEntry, "labels" | "samples" | "sums">,
  ): void => {
    const { labels, samples, sums } = parts;
    const { kind, scale = 1 } = row;
    entries.push({ name: metricPrefix + name, info: row, kind, labels, samples, sums, scale });
  };
  for (const part of builder.scalars.values()) {
    const samples = collect(part, (one) => one.samples);
    add(part.target, { labels: "", samples, sums: NO_SAMPLES });
  }
  for (const part of builder.labelled.values()) {
    if (part.isFlooded) continue;
    const children = new Set([part, ...part.absorbed].flatMap((one) => [...one.children.keys()]));
    for (const child of children) {
      const samples = collect(part, (one) => one.children.get(child) ?? NO_SAMPLES);
      add(part.target, { labels: child, samples, sums: NO_SAMPLES });
    }
  }
  for (const part of builder.histograms.values()) {
    const samples = part.isFlooded ? NO_SAMPLES : listCountSamples(part);
    // What was absorbed has given its buckets, but not its sums.
    if (samples.length > 0) {
      add(part.target, { labels: "", samples, sums: collect(part, (one) => one.sums) });
    }
  }
  for (const { row, name, kind, labels, samples, sums } of [...builder.others.values(), ...infos]) {
    if (samples.length > 0) {
      entries.push({ name, info: row, kind, labels, samples, sums, scale: row?.scale ?? 1 });
    }
  }
  return entries.sort((a, b) => a.samples[0] - b.samples[0]);
}

/** The figures of the series, for those values. */
function buildExposition(series: DialectSeries, values: Float64Array): EngineExposition {
  const { configs, declared, summary, engines, server, vocabulary, metricPrefix } = series;
  const declaredKeys = new Set([...declared].map(({ key }) => key));
  const { rows, conclude } = vocabulary.dialect;
  const common = {
    declaredKeys,
    server: vocabulary.server,
    conclude,
    findRow: (name: string) => vocabulary.families.get(name),
    listEntries: (builder: EngineBuilder) =>
      listEntries(builder, {
        metricPrefix,
        infos: series.infos.filter(({ engine }) => engine === "" || engine === builder.engine)
          .map(({ series }) => series),
      }),
    blank: createAbsentSample(declaredKeys, rows),
    values,
    known: new Map(),
  };
  const finish = (builder: EngineBuilder): EngineSample => {
    const configuration = configs.get(builder.engine) ?? configs.get("") ?? new Map();
    return buildEngine(builder, { ...common, configuration });
  };
  const samples = engines.map(finish);
  const created = samples.flatMap((engine) => engine.created.value ?? []);
  const sumOf = (numbers: readonly number[]) => numbers.reduce((sum, i) => sum + values[i], 0);
  return {
    serverName: vocabulary.server.name,
    engines: samples,
    server: server === null ? null : finish(server),
    lora: collectLora(series, values),
    aliases: new Map(engines.flatMap(listAliases)),
    metricPrefix,
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
    engineFamilyCount: declared.size,
    hasUnnamedEngines: series.hasUnnamedEngines,
    hasTooManyEngines: series.hasTooManyEngines,
    familyNames: series.familyNames,
  };
}

/** Reads the bodies of one server, one after the other. A body must stay as it is until it is read. */
export type EngineReader = (body: Uint8Array) => Steps<EngineExposition>;

/** A body that was read, to read others of the same series by. */
interface KnownBody {
  readonly metricPrefix: string | null;
  readonly series: DialectSeries;
  readonly layout: ExpositionLayout;
}

/** The bodies that the readers of a fleet remember, the one that was found useful last first. */
interface SharedBodies {
  /** The exposition of a body that is as one of them but for its values; `null` where there is none. */
  readonly find: (
    read: (known: KnownBody) => EngineExposition | null,
  ) => { readonly known: KnownBody; readonly exposition: EngineExposition } | null;
  readonly add: (known: KnownBody) => void;
}

/** So many are compared with a body that is new: fleets of more kinds of servers are rare. */
const MAX_SHARED_BODIES = 8;

function createSharedBodies(): SharedBodies {
  // Each is kept only for as long as a reader has it.
  let shared: readonly WeakRef<KnownBody>[] = [];
  return {
    find: (read) => {
      for (const one of shared) {
        const known = one.deref();
        const exposition = known === undefined ? null : read(known);
        if (known === undefined || exposition === null) continue;
        shared = [one, ...shared.filter((other) => other !== one)];
        return { known, exposition };
      }
      return null;
    },
    add: (known) => {
      shared = [new WeakRef(known), ...shared].slice(0, MAX_SHARED_BODIES);
    },
  };
}

/** The figures of a body that is the known one but for its values; `null` where it is not. */
function parseWithKnownLayout(
  { series, layout }: KnownBody,
  body: Uint8Array,
): EngineExposition | null {
  const values = rescanValues(layout, body);
  return values === null ? null : buildExposition(series, values);
}

/** Makes readers for the servers of one fleet. Options as of `createEngineReader`. */
type ReaderFactory = (
  options?: { readonly metricPrefix?: string | null },
) => EngineReader;

/**
 * A factory of readers that share what they remember: servers of one fleet
 * often say the same but for their values, and one layout does for all of them.
 */
export function createReaderFactory(): ReaderFactory {
  const shared = createSharedBodies();
  return ({ metricPrefix = null } = {}) => {
    let known: KnownBody | null = null;

    const readByOthers = (body: Uint8Array): EngineExposition | null => {
      const found = shared.find((other) =>
        other === known || other.metricPrefix !== metricPrefix
          ? null
          : parseWithKnownLayout(other, body)
      );
      if (found !== null) known = found.known;
      return found?.exposition ?? null;
    };

    return function* (body) {
      const same = (known && parseWithKnownLayout(known, body)) ?? readByOthers(body);
      if (same !== null) return same;
      const series = yield* collectSeries(body, { vocabularies: VOCABULARIES, metricPrefix });
      // Keep no layout for bodies without engines.
      const isUsual = series.engines.length > 0 && !series.hasTooManyEngines;
      const layout = isUsual ? createLayout(body, series) : null;
      known = layout === null ? null : { metricPrefix, series, layout };
      if (known !== null) shared.add(known);
      return buildExposition(series, series.values);
    };
  };
}

/**
 * A reader of expositions, each at once. It remembers one body, about
 * twice its size: where the next has the same series, only its numbers are read.
 *
 * @param options.metricPrefix The prefix to look for in place of the known ones.
 */
export function createEngineReader(
  options: { readonly metricPrefix?: string | null } = {},
): (body: Uint8Array) => EngineExposition {
  const read = createReaderFactory()(options);
  return (body) => finishSteps(read(body));
}

/** Reads one exposition. */
export function parseEngineMetrics(
  body: Uint8Array,
  { metricPrefix = null }: { readonly metricPrefix?: string | null } = {},
): EngineExposition {
  return createEngineReader({ metricPrefix })(body);
}
