/**
 * Parses exposition bytes into one sample per engine, in base units. A reader keeps the layout of
 * the last body: if the next has the same series, only its numbers are read.
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
import { collectSeries, type DialectSeries, type LoraState } from "./dialect_series.ts";
import { createTextKeeper } from "./dialect_texts.ts";
import type { EngineSample, LoraSample, MetricEntry, Scrape, ServerSample } from "./model.ts";
import type { Steps } from "./platform.ts";
import type { ExpositionSummary } from "./prometheus.ts";
import { areSameBytes, type NumberScan, parseNumber, scanNumber } from "./prometheus_tokens.ts";
import { absent, present } from "./reading.ts";

const VOCABULARIES: readonly Vocabulary[] = DIALECTS.map(createVocabulary);

/** A body whose next version is expected to differ only in values. */
export interface ExpositionLayout {
  /** Aligned to four bytes. */
  readonly body: DataView;
  /** Where each value begins and ends. */
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  readonly values: Float64Array;
}

const TAB = 9, NEWLINE = 10, CARRIAGE_RETURN = 13, SPACE = 32;
/** Longer numbers fall back to the full parser. */
const MAX_NUMBER_LENGTH = 40;

function findValueEnd(bytes: Uint8Array, start: number): number {
  let end = start;
  for (; end < bytes.length; end++) {
    const code = bytes[end];
    if (code === SPACE || code === NEWLINE || code === TAB || code === CARRIAGE_RETURN) break;
  }
  return end;
}

/**
 * Returns `null` if the layout would be much larger than the body: very short lines are no
 * server's.
 * @param samples Values and their positions.
 */
export function createLayout(
  body: Uint8Array,
  { values, valueStarts }: { readonly values: Float64Array; readonly valueStarts: Int32Array },
): ExpositionLayout | null {
  const bytesPerSample = values.BYTES_PER_ELEMENT + 2 * valueStarts.BYTES_PER_ELEMENT;
  if (values.length * bytesPerSample > body.length) return null;
  const ends = valueStarts.map((start) => findValueEnd(body, start));
  return { body: new DataView(body.slice().buffer), starts: valueStarts, ends, values };
}

/** Returns false if the full parser is needed. */
function parseUncommonValue(
  bytes: Uint8Array,
  start: number,
  { scan, before }: { readonly scan: NumberScan; readonly before: number },
): boolean {
  const end = findValueEnd(bytes, start);
  if (end - start > MAX_NUMBER_LENGTH) return false;
  const value = parseNumber(String.fromCharCode(...bytes.subarray(start, end)));
  // A negative count makes a bad line, unless it was negative before.
  if (value === null || (value < 0 && !(before < 0))) return false;
  scan.value = value;
  scan.end = end;
  return true;
}

/** Returns the values if only they differ, else `null`. */
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

export interface EngineExposition extends ServerSample, ExpositionSummary {
  readonly body: Scrape["body"];
  /** The first dialect's if there are no metrics. */
  readonly serverName: string;
  /** Declared or sampled; 0 for another server, or with statistics off. */
  readonly engineFamilyCount: number;
  /** Whether engines lack a model name, as of a router. */
  readonly hasUnnamedEngines: boolean;
  /** More than `MAX_ENGINES`; `engines` is then incomplete. */
  readonly hasTooManyEngines: boolean;
  /** Up to `MAX_FAMILY_NAMES`. */
  readonly familyNames: ReadonlySet<string>;
}

/** The newest state of each engine; of equal times, the later in the body. */
function collectLora(
  { lora, engines }: DialectSeries,
  values: Float64Array,
): LoraSample | null {
  if (lora.length === 0) return null;
  const newest = [...Map.groupBy(lora, ({ engine }) => engine).values()].map((states) =>
    states.reduce((best, one) => values[one.sample] < values[best.sample] ? best : one)
  );
  const isShared = engines.length > 1 && newest.some(({ engine }) => engine === "");
  const join = (read: (state: LoraState) => readonly string[]) =>
    isShared ? absent("unsupported") : present(newest.flatMap(read));
  const max = Math.max(...newest.map((state) => state.max));
  return {
    runningAdapters: join(({ running }) => running),
    waitingAdapters: join(({ waiting }) => waiting),
    maxAdapters: Number.isFinite(max) ? present(max) : absent("missing"),
  };
}

const NO_SAMPLES: readonly number[] = [];

/** The samples of the last bucket. */
function listCountSamples(
  { bounds, buckets }: Readonly<Record<"bounds" | "buckets", readonly number[]>>,
): readonly number[] {
  const { length } = buckets;
  const isLastAlone = length > 0 && bounds[length - 1] === Infinity &&
    bounds.indexOf(Infinity) === length - 1;
  if (isLastAlone) return [buckets[length - 1]];
  const last = Math.max(...bounds);
  return buckets.filter((_, i) => bounds[i] === last);
}

function collect<T extends { readonly absorbed: readonly T[] }>(
  part: T,
  read: (part: T) => readonly number[],
): readonly number[] {
  if (part.absorbed.length === 0) return read(part);
  return [...read(part), ...part.absorbed.flatMap((other) => collect(other, read))];
}

/** In the order of the body. */
function listEntries(
  builder: EngineBuilder,
  { metricPrefix, infos }: {
    readonly metricPrefix: string;
    /** Series without a model. */
    readonly infos: readonly OtherSeries[];
  },
): readonly MetricEntry[] {
  const entries: MetricEntry[] = [];
  const add = (
    { row, name }: Target,
    parts: Pick<MetricEntry, "samples" | "sums"> & { readonly child?: string },
  ): void => {
    const { child, samples, sums } = parts;
    const { kind, scale = 1, requires: [label, ...wanted] = [""] } = row;
    const labels = child ?? (label === "" ? "" : `${label}=${wanted.join("|")}`);
    entries.push({ name: metricPrefix + name, info: row, kind, labels, samples, sums, scale });
  };
  for (const part of builder.scalars.values()) {
    const samples = collect(part, (one) => one.samples);
    add(part.target, { samples, sums: NO_SAMPLES });
  }
  for (const part of builder.labelled.values()) {
    if (part.isFlooded) continue;
    const children = new Set([part, ...part.absorbed].flatMap((one) => [...one.children.keys()]));
    for (const child of children) {
      const samples = collect(part, (one) => one.children.get(child) ?? NO_SAMPLES);
      add(part.target, { child, samples, sums: NO_SAMPLES });
    }
  }
  for (const part of builder.histograms.values()) {
    const samples = part.isFlooded ? NO_SAMPLES : listCountSamples(part);
    // Absorbed series gave their buckets, but not their sums.
    if (samples.length > 0) {
      add(part.target, { samples, sums: collect(part, (one) => one.sums) });
    }
  }
  for (const { row, name, kind, labels, samples, sums } of [...builder.others.values(), ...infos]) {
    if (samples.length > 0) {
      entries.push({ name, info: row, kind, labels, samples, sums, scale: row?.scale ?? 1 });
    }
  }
  return entries.sort((a, b) => a.samples[0] - b.samples[0]);
}

function isDeclared(
  { families }: Vocabulary,
  declared: DialectSeries["declared"],
  name: string,
): boolean {
  const row = families.get(name);
  return row !== undefined && declared.has(row);
}

/** With those that appear with their first use. */
function listDeclared({ declared, vocabulary }: DialectSeries): DialectSeries["declared"] {
  const { familiesAppear, rows } = vocabulary.dialect;
  const areAbsent = familiesAppear?.((name) => isDeclared(vocabulary, declared, name)) === true;
  if (!areAbsent) return declared;
  const counted = rows.filter(({ kind }) => kind === "counter" || kind === "histogram");
  return new Set([...declared, ...counted]);
}

/** What is the same for all bodies of the same series. */
function createContext(series: DialectSeries) {
  const { engines, vocabulary, metricPrefix } = series;
  const declared = listDeclared(series);
  // Those derived from them appear with them.
  const derivedKeys = declared === series.declared ? [] : vocabulary.dialect.derivedKeys ?? [];
  const declaredKeys = new Set([...[...declared].map(({ key }) => key), ...derivedKeys]);
  return {
    declaredKeys,
    server: vocabulary.server,
    conclude: vocabulary.dialect.conclude,
    findRow: (name: string) => vocabulary.families.get(name),
    isDeclared: (name: string) => isDeclared(vocabulary, declared, name),
    shared: series.shared,
    listEntries: (builder: EngineBuilder) =>
      listEntries(builder, {
        metricPrefix,
        infos: series.infos.filter(({ engine }) => engine === "" || engine === builder.engine)
          .map(({ series }) => series),
      }),
    blank: createAbsentSample(declaredKeys, vocabulary.dialect),
    known: new Map(),
    aliases: new Map(engines.flatMap(listAliases)),
  };
}

function buildExposition(
  series: DialectSeries,
  context: ReturnType<typeof createContext>,
  values: Float64Array,
): Omit<EngineExposition, "body"> {
  const { configs, summary, engines, server, vocabulary, metricPrefix } = series;
  const finish = (builder: EngineBuilder): EngineSample => {
    const configuration = configs.get(builder.engine) ?? configs.get("") ?? new Map();
    return buildEngine(builder, { ...context, values, configuration });
  };
  const samples = engines.map(finish);
  const created = samples.flatMap((engine) => engine.created.value ?? []);
  const sumOf = (numbers: readonly number[]) => numbers.reduce((sum, i) => sum + values[i], 0);
  return {
    serverName: vocabulary.server.name,
    engines: samples,
    server: server === null ? null : finish(server),
    lora: collectLora(series, values),
    aliases: context.aliases,
    metricPrefix,
    processStart: series.processStart < 0
      ? absent("missing")
      : present(values[series.processStart]),
    countersCreated: created.length > 0 ? present(Math.min(...created)) : absent("missing"),
    httpResponsesByStatus: new Map(
      [...series.httpSamples].map(([status, numbers]) => [status, sumOf(numbers)]),
    ),
    ...summary,
    engineFamilyCount: vocabulary.dialect.carriesOthers && engines.length === 0
      ? 0
      : series.declared.size,
    hasUnnamedEngines: series.hasUnnamedEngines,
    hasTooManyEngines: series.hasTooManyEngines,
    familyNames: series.familyNames,
  };
}

type ValueReader = (values: Float64Array) => EngineExposition;

function createValueReader(series: DialectSeries): ValueReader {
  const context = createContext(series);
  // Only the reader is kept, not a layout with its body.
  const read: ValueReader = (values) => ({
    ...buildExposition(series, context, values),
    body: { values, read },
  });
  return read;
}

/** The body must not change while it is read. */
export type EngineReader = (body: Uint8Array) => Steps<EngineExposition>;

/** A body whose series may recur. */
interface KnownBody {
  readonly metricPrefix: string | null;
  readonly readValues: ValueReader;
  readonly layout: ExpositionLayout;
}

/** Bodies shared by the readers of a fleet, most recently used first. */
interface SharedBodies {
  readonly find: (
    read: (known: KnownBody) => EngineExposition | null,
  ) => { readonly known: KnownBody; readonly exposition: EngineExposition } | null;
  readonly add: (known: KnownBody) => void;
}

/** Fleets of more kinds of servers are rare. */
const MAX_SHARED_BODIES = 8;

function createSharedBodies(): SharedBodies {
  // Kept only while a reader holds it.
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

function parseWithKnownLayout(
  { readValues, layout }: KnownBody,
  body: Uint8Array,
): EngineExposition | null {
  const values = rescanValues(layout, body);
  return values === null ? null : readValues(values);
}

type ReaderFactory = (options?: { readonly metricPrefix?: string | null }) => EngineReader;

/** Creates readers that share texts and layouts: servers of a fleet often differ only in values. */
export function createReaderFactory(): ReaderFactory {
  const keepText = createTextKeeper();
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
      const options = { vocabularies: VOCABULARIES, metricPrefix, keepText };
      const series = yield* collectSeries(body, options);
      const readValues = createValueReader(series);
      // Keep no layout for bodies without engines.
      const isUsual = series.engines.length > 0 && !series.hasTooManyEngines;
      const layout = isUsual ? createLayout(body, series) : null;
      known = layout === null ? null : { metricPrefix, readValues, layout };
      if (known !== null) shared.add(known);
      return readValues(series.values);
    };
  };
}
