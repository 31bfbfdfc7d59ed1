/**
 * What a dialect is: all that this program knows of one kind of server.
 *
 * @module
 */

import type {
  CounterKey,
  EngineSample,
  GaugeKey,
  HistogramKey,
  LabelledKey,
  MetricInfo,
  ServerTraits,
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
