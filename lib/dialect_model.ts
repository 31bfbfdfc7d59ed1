/**
 * What a dialect is: all that this program knows of one kind of server, and its vocabulary.
 *
 * @module
 */

import {
  type CounterKey,
  type EngineSample,
  type GaugeKey,
  HISTOGRAM_KEYS,
  type HistogramKey,
  LABELLED_KEYS,
  type LabelledKey,
  type MetricInfo,
  type ServerTraits,
} from "./model.ts";

/** A metric that a kind of server exports. */
export interface MetricRow extends MetricInfo {
  /** What the exported value is multiplied by to get the base unit. */
  readonly scale?: number;
  /** Series that have this label count only with this value. */
  readonly only?: readonly [label: string, value: string];
  /** The figure that it feeds: of a family with `label` a `LabelledKey`. Others are only listed. */
  readonly key?: GaugeKey | CounterKey | HistogramKey | LabelledKey;
  /** Labels that are read apart: the engine's configuration, or its LoRA adapters. */
  readonly role?: "configuration" | "adapters";
}

/** A path of a server, and when it is asked. */
interface DialectPath {
  readonly path: string;
  /** `never`: asking it does something, such as to generate a token. */
  readonly when: "each_round" | "same_round" | "once" | "never";
}

/** Labels that say whose a series is. */
interface EngineLabelNames {
  readonly model: string;
  readonly engine: string;
  /** Those of processes of one engine, where they are replicas of their own; the first that is there counts. */
  readonly workers: readonly string[];
}

/** Ranks of a process within its server. */
export interface ProcessRanks {
  readonly data?: number;
  readonly tensor?: number;
  readonly pipeline?: number;
}

/** How the processes of a server are recognised and read. */
interface ProcessTraits {
  /** Command lines, words with a blank between them. */
  readonly command: RegExp;
  /** Titles that its processes give themselves in place of their command lines. */
  readonly title: RegExp;
  /** Those of them that listen for no HTTP request. */
  readonly innerTitle: RegExp;
  readonly parseRanks: (title: string) => ProcessRanks;
  /** Long names of options, without dashes: those with the names of its model, and without which it speaks no TLS. */
  readonly modelOptions: readonly string[];
  readonly tlsOptions: readonly string[];
  /** Short names of options -> the long ones. */
  readonly shortOptions: ReadonlyMap<string, string>;
  /** Options that say how many of something there are. */
  readonly sizeOptions: ReadonlySet<string>;
}

/** What a body says of an engine beyond the figures of the table. */
export interface EngineFacts {
  readonly counters: EngineSample["counters"];
  readonly labelled: EngineSample["labelled"];
  readonly initializing: EngineSample["initializing"];
  readonly configuration: ReadonlyMap<string, string>;
  /** A scalar by its name without prefix; `null` where there is none. */
  readonly getValue: (name: string) => number | null;
  /** The children of a family by its name without prefix; empty where there is none. */
  readonly getFamily: (name: string) => ReadonlyMap<string, number>;
  /** The one of the names of a scalar's row under which it was found. */
  readonly getName: (name: string) => string | null;
}

/** What a dialect concludes from the facts. */
export type EngineConclusions =
  & Pick<
    EngineSample,
    | "isAsleep"
    | "kvCacheCapacity"
    | "kvCacheCapacityIsEstimate"
    | "prefixCacheIsOff"
    | "prefixCacheUnit"
  >
  & {
    /** Counters that no single metric gives. */
    readonly counters?: Partial<EngineSample["counters"]>;
  };

/** One kind of server. */
export interface Dialect extends Omit<ServerTraits, "noSuchFigures"> {
  /** Of its metrics, in the order in which they are tried. */
  readonly prefixes: readonly string[];
  readonly rows: readonly MetricRow[];
  readonly defaultPort: number;
  readonly paths: readonly DialectPath[];
  /** `owned_by` of the models that it lists. */
  readonly modelOwner: string;
  /** Whether `/version` with nothing but a version is its answer. */
  readonly answersVersion: boolean;
  readonly processes: ProcessTraits;
  readonly labels: EngineLabelNames;
  /** Without prefix, the stamp that tells when an engine's counters began. */
  readonly createdName?: string;
  readonly conclude: (facts: EngineFacts) => EngineConclusions;
  /** The option without which it exports no metrics. */
  readonly enablingOption?: string;
  /** The option that turned the engine's metrics off, where a page with these families alone shows that. */
  readonly findDisablingOption?: (familyNames: Iterable<string>) => string | null;
}

export type Part = "value" | "bucket" | "sum" | "count";

/** What a sample's name means. `rank` 0 is the newest name. */
export interface Target {
  readonly row: MetricRow;
  readonly part: Part;
  readonly rank: number;
  readonly name: string;
}

/** The names of a dialect, without prefix. */
export interface Vocabulary {
  readonly dialect: Dialect;
  readonly server: ServerTraits;
  /** Name of a sample -> its meaning. */
  readonly targets: ReadonlyMap<string, Target>;
  /** Name of a family, in either format -> its row. */
  readonly families: ReadonlyMap<string, MetricRow>;
}

function createTargets(rows: readonly MetricRow[]): Map<string, Target> {
  const targets = new Map<string, Target>();
  for (const row of rows) {
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

function createFamilies(rows: readonly MetricRow[]): Map<string, MetricRow> {
  const families = new Map<string, MetricRow>();
  for (const row of rows) {
    for (const name of row.names) {
      families.set(name, row);
      if (row.kind !== "histogram") families.set(name.replace(/_total$/, ""), row);
    }
  }
  return families;
}

export function createVocabulary(dialect: Dialect): Vocabulary {
  const { name, tokensAreBooked, latencyDefinitions, mainOptions, rows } = dialect;
  const keys = new Set(rows.map(({ key }) => key));
  const noSuchFigures = new Set(
    [...HISTOGRAM_KEYS, ...LABELLED_KEYS].filter((key) => !keys.has(key)),
  );
  return {
    dialect,
    server: { name, tokensAreBooked, latencyDefinitions, mainOptions, noSuchFigures },
    targets: createTargets(rows),
    families: createFamilies(rows),
  };
}
