/**
 * What is known of one kind of server, as a `Dialect`, and its vocabulary.
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
  type MetricKind,
  type ServerTraits,
} from "./model.ts";
import type { LogGrammar } from "./log.ts";
import { absent } from "./reading.ts";
import type { EpochSeconds } from "./units.ts";

export interface MetricRow extends MetricInfo {
  /** Factor to the base unit. */
  readonly scale?: number;
  /** Only series with this label value count. */
  readonly only?: readonly [label: string, value: string];
  /** As `only`, but series without the label do not count. Rows of one name differ in it. */
  readonly requires?: readonly [label: string, ...values: readonly string[]];
  /** The figure it feeds; rows without are only listed. */
  readonly key?: GaugeKey | CounterKey | HistogramKey | LabelledKey;
  /** The setting without which it is not exported, as the server spells it. */
  readonly flag?: string;
  /** Infos whose labels are parsed; `presence`: its sample alone makes an engine. */
  readonly role?: "configuration" | "adapters" | "presence";
}

export type RowOptions = Omit<Partial<MetricRow>, "names" | "kind" | "unit" | "title" | "help">;

type RowFactory = (
  names: string | readonly string[],
  unit: string,
  title: string,
  help: string,
  options: RowOptions,
) => MetricRow;

/** Maximum of ratios; other gauges and counts are summed. */
function createRowFactory(kind: MetricKind): RowFactory {
  return (names, unit, title, help, options) => ({
    names: typeof names === "string" ? [names] : names,
    kind,
    unit,
    title,
    help,
    overEngines: kind === "info" ? "none" : kind === "gauge" && unit === "ratio" ? "max" : "sum",
    ...options,
  });
}

export const gauge = createRowFactory("gauge");
export const counter = createRowFactory("counter");
export const histogram = createRowFactory("histogram");
export const info = createRowFactory("info");

export interface ProcessRanks {
  readonly data?: number;
  readonly tensor?: number;
  readonly pipeline?: number;
}

/** An API server reads requests and writes answers; an engine core schedules them. */
const PROCESS_ROLES = ["api_server", "engine_core", "worker", "other"] as const;
export type ProcessRole = typeof PROCESS_ROLES[number];

const NEVER = /(?!)/;

interface ProcessTraits {
  /** Matches command lines. */
  readonly command: RegExp;
  /** Matches names of container images that start it, without registry and tag. */
  readonly image?: RegExp;
  /** Matches command lines of the servers that it starts for its models, and shows as its own. */
  readonly inner?: RegExp;
  /** Matches titles that processes set themselves. */
  readonly title: RegExp;
  /** Titles of processes that serve no HTTP. */
  readonly innerTitle: RegExp;
  /** Roles by title. */
  readonly roles: readonly (readonly [title: RegExp, role: ProcessRole])[];
  readonly parseRanks: (title: string) => ProcessRanks;
  /** Long names without dashes: options with model names, and those that enable TLS. */
  readonly modelOptions: readonly string[];
  readonly tlsOptions: readonly string[];
  /** The option of a node that serves no HTTP itself. */
  readonly headlessOption?: string;
  /** Short -> long option names. */
  readonly shortOptions: ReadonlyMap<string, string>;
  /** Options with a number. */
  readonly sizeOptions: ReadonlySet<string>;
}

/** Of servers whose processes set no titles, and of unknown command line. */
export const UNTITLED: ProcessTraits = {
  command: NEVER,
  title: NEVER,
  innerTitle: NEVER,
  roles: [],
  parseRanks: () => ({}),
  modelOptions: [],
  tlsOptions: [],
  shortOptions: new Map(),
  sizeOptions: new Set(),
};

/** As `owned_by` of models that name themselves there. */
export const OWNED_BY_ITSELF = "(itself)";

/** Facts from which a dialect derives more figures. */
export interface EngineFacts {
  readonly histograms: EngineSample["histograms"];
  readonly counters: EngineSample["counters"];
  readonly labelled: EngineSample["labelled"];
  readonly initializing: EngineSample["initializing"];
  readonly configuration: ReadonlyMap<string, string>;
  /** By name without prefix. */
  readonly getValue: (name: string) => number | null;
  /** By name without prefix. */
  readonly getFamily: (name: string) => ReadonlyMap<string, number>;
  /** Returns the name under which a row was found. */
  readonly getName: (name: string) => string | null;
  /** Whether any engine of the body has the row. */
  readonly isDeclared: (name: string) => boolean;
  /** Whether it is what all engines of the server count together. */
  readonly isShared: boolean;
  /** Whether there is such a one beside this engine. */
  readonly hasShared: boolean;
}

export type EngineConclusions =
  & Pick<
    EngineSample,
    | "modelState"
    | "modelFault"
    | "kvCacheCapacity"
    | "kvCacheCapacityIsEstimate"
    | "prefixCacheIsOff"
    | "prefixCacheUnit"
  >
  & {
    /** Derived figures. */
    readonly gauges?: Partial<EngineSample["gauges"]>;
    readonly counters?: Partial<EngineSample["counters"]>;
    readonly labelled?: EngineSample["labelled"];
    /** Where it differs from the dialect's. */
    readonly tokensAreBooked?: ServerTraits["tokensAreBooked"];
    /** Whether other answers of the server stand for its metrics. */
    readonly metricsAreOff?: boolean;
  };

/** Of servers whose options are not described. */
export const UNDESCRIBED: Pick<
  Dialect,
  "mainOptions" | "flags" | "capacityReason"
> = { mainOptions: [], flags: {}, capacityReason: "" };

/** Of servers that say nothing of sleep, nor of the size of their KV cache. */
export const USUAL_CONCLUSIONS: EngineConclusions = {
  modelState: "loaded",
  prefixCacheUnit: "tokens",
  prefixCacheIsOff: false,
  kvCacheCapacity: absent("unsupported"),
  kvCacheCapacityIsEstimate: false,
};

export interface Answer {
  readonly path: string;
  readonly status: number;
  readonly text: string;
  readonly header: (name: string) => string | null;
}

/**
 * GETs a path, also of another port of this machine; rejects with the runtime's error. One question
 * at a time.
 */
export type Ask = (path: string, port?: number) => Promise<Answer>;

/** Lists the servers that a server of this machine has started for its models. */
export type ListInner = () => Promise<
  readonly { readonly port: number; readonly commandLine: string }[]
>;

/** What can be found out about a server's process. */
export interface Launch {
  /** `null` if it is unknown, as of another machine. */
  readonly findCommandLine: () => Promise<string | null>;
  /** `undefined` for a remote server. */
  readonly listInner: ListInner | undefined;
}

/** Asks all questions of one round; returns metrics as text, or the answer that refused. */
export type Round = (ask: Ask, now: EpochSeconds) => Promise<string | Answer>;

export interface Dialect extends Omit<ServerTraits, "noSuchFigures" | "metricsAreOff"> {
  /** In order of trial. `""` only for bodies in which no dialect finds its prefix. */
  readonly prefixes: readonly string[];
  readonly rows: readonly MetricRow[];
  readonly defaultPort: number;
  readonly paths: readonly {
    readonly path: string;
    /** `never`: requests have effects, such as generating a token. */
    readonly when: "each_round" | "same_round" | "once" | "never";
  }[];
  /** Whether its page may have an engine's own families, which are then read alone. */
  readonly carriesOthers?: true;
  /** Names, without prefix, that tell it from another server with the same prefix. */
  readonly marks?: readonly string[];
  /**
   * Whether counted families are absent until their first use: they then count from 0.
   * @param isDeclared By name without prefix.
   */
  readonly familiesAppear?: (isDeclared: (name: string) => boolean) => boolean;
  /** Whether labels of unknown families name users, and are not kept. */
  readonly hidesUnknown?: true;
  /** `owned_by` of its models; empty if it lists none. */
  readonly modelOwner: string;
  /** Its header `Server`. */
  readonly serverHeader?: string;
  /** What it answers, with status 503, while it loads its model. */
  readonly loadingAnswer?: RegExp;
  /** Asked in turn where others use the same `owned_by`, or it lists no models. */
  readonly proofs?: readonly { readonly path: string; readonly pattern: RegExp }[];
  /** For servers that need more than their metrics page; a round remembers what it has learned. */
  readonly createRound?: (launch: Launch) => Round;
  /** Whether a bare `/version` identifies it. */
  readonly answersVersion: boolean;
  readonly processes: ProcessTraits;
  readonly labels: {
    readonly model: string;
    /** Of series without the label. */
    readonly defaultModel?: string;
    readonly engine: string;
    /** Worker labels, where workers are replicas; the first present counts. */
    readonly workers: readonly string[];
    /** Labels that split an engine's gauges, such as processes and tensor-parallel ranks. */
    readonly parts: readonly string[];
    /** Ranks whose series repeat each other's: the lowest counts. */
    readonly repeating?: readonly string[];
    /** Whether series without an engine are what all engines count together. */
    readonly areShared?: true;
    /** What some servers call a label -> its usual name. */
    readonly aliases: ReadonlyMap<string, string>;
  };
  /** Without prefix: when an engine's counters began. */
  readonly createdName?: string;
  readonly conclude: (facts: EngineFacts) => EngineConclusions;
  /** Figures that `conclude` derives without a row. */
  readonly derivedKeys?: readonly (CounterKey | LabelledKey)[];
  readonly derivedGauges?: readonly GaugeKey[];
  /** Without it, its log can only be shown. Logs of servers that answer are seldom read. */
  readonly loadLogGrammar?: () => Promise<LogGrammar>;
  /** The option that turns metrics on. */
  readonly enablingOption?: string;
  /** Returns the option that turned engine metrics off, if these families show that. */
  readonly findDisablingOption?: (familyNames: Iterable<string>) => string | null;
}

export type Part = "value" | "bucket" | "sum" | "count";

/** `rank` 0 is the newest name. */
export interface Target {
  readonly row: MetricRow;
  readonly part: Part;
  readonly rank: number;
  readonly name: string;
  /** Of the same name, for other values of a label. */
  readonly next?: Target;
}

/** Names without prefix. */
export interface Vocabulary {
  readonly dialect: Dialect;
  readonly server: ServerTraits;
  readonly targets: ReadonlyMap<string, Target>;
  /** In either format. */
  readonly families: ReadonlyMap<string, MetricRow>;
}

function createTargets(rows: readonly MetricRow[]): Map<string, Target> {
  const targets = new Map<string, Target>();
  for (const row of rows) {
    const getNext = (name: string): Target | undefined =>
      row.requires === undefined ? undefined : targets.get(name);
    row.names.forEach((name, rank) => {
      if (row.kind === "histogram") {
        for (const part of ["bucket", "sum", "count"] as const) {
          const full = `${name}_${part}`;
          targets.set(full, { row, part, rank, name, next: getNext(full) });
        }
        return;
      }
      targets.set(name, { row, part: "value", rank, name, next: getNext(name) });
      // Ray exports counters as gauges without `_total`; some versions export both.
      if (name.endsWith("_total")) {
        const bare = name.slice(0, -"_total".length);
        targets.set(bare, { row, part: "value", rank: rank + row.names.length, name: bare });
      }
    });
  }
  return targets;
}

/** Of rows of one name, the one for other values of the label. */
function createFamilies(rows: readonly MetricRow[]): Map<string, MetricRow> {
  const families = new Map<string, MetricRow>();
  for (const row of rows.toSorted((a, b) => Number(!a.requires) - Number(!b.requires))) {
    for (const name of row.names) {
      families.set(name, row);
      if (row.kind !== "histogram") families.set(name.replace(/_total$/, ""), row);
    }
  }
  return families;
}

export function createVocabulary(dialect: Dialect): Vocabulary {
  const { name, isRouter, answersLate, tokensAreBooked, mainOptions, rows } = dialect;
  const { flags, capacityReason, ttftIsOfStreamed, failuresAreApart } = dialect;
  const keys = new Set([...rows.map(({ key }) => key), ...dialect.derivedKeys ?? []]);
  const noSuchFigures = new Set(
    [...HISTOGRAM_KEYS, ...LABELLED_KEYS].filter((key) => !keys.has(key)),
  );
  let targets: Vocabulary["targets"] | null = null;
  let families: Vocabulary["families"] | null = null;
  return {
    dialect,
    server: {
      ...{ name, isRouter, answersLate, tokensAreBooked, mainOptions },
      ...{ flags, capacityReason, ttftIsOfStreamed, failuresAreApart, noSuchFigures },
    },
    // Created when first asked for: most dialects never are.
    get targets() {
      return targets ??= createTargets(rows);
    },
    get families() {
      return families ??= createFamilies(rows);
    },
  };
}
