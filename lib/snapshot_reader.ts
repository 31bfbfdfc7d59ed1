/**
 * One exposition as typed metrics, each series on its own.
 *
 * Layer 2, pure. Counter, Gauge, Histogram and Vector by name and labels, as
 * vLLM's own reader gives them inside its process: counters without `_total`,
 * stamps (`_created`) left out. Values are as exported, in the metric's own
 * unit. What a sample is, its family's TYPE says; where a proxy has stripped
 * those lines, `vllm_names` does. Source: vllm/v1/metrics/reader.py, read
 * 2026-11.
 *
 * @module
 */

import { parseBound } from "./exposition_bytes.ts";
import { createHistogram } from "./histogram.ts";
import type { BadLine } from "./model.ts";
import { parseExposition } from "./prometheus.ts";
import { sanitizeText } from "./text.ts";
import { KNOWN_PREFIXES, METRIC_ROWS } from "./vllm_names.ts";

/** Label names and values, made safe to print. */
export type Labels = ReadonlyMap<string, string>;

/** What all metrics have. */
export interface Series {
  /** With its prefix, without `_total`: `vllm:generation_tokens`. */
  readonly name: string;
  /** Without the label that tells apart the parts of the metric: `le`, `position`. */
  readonly labels: Labels;
}

/** A count that only rises, since the server's start; in a window, its increase. */
export interface Counter extends Series {
  /** Tells the types of metrics apart. */
  readonly kind: "counter";
  /** Not negative. */
  readonly value: number;
}

/** A value that rises and falls; in a window, the later one. */
export interface Gauge extends Series {
  /** Tells the types of metrics apart. */
  readonly kind: "gauge";
  /** As exported: ratios from 0 to 1, also under names that end in `_perc`. May be NaN. */
  readonly value: number;
}

/** Observations in buckets, since the server's start; in a window, those of the window. */
export interface Histogram extends Series {
  /** Tells the types of metrics apart. */
  readonly kind: "histogram";
  /** Observations in all, the count of the bucket `Infinity`. */
  readonly count: number;
  /** The sum of all observations, in the metric's unit. NaN where not exported. */
  readonly sum: number;
  /** Upper bound -> observations at or below it. Ascending; the last is `Infinity`. */
  readonly buckets: ReadonlyMap<number, number>;
}

/** Counters of one meaning in a row: accepted draft tokens by their position from 0. */
export interface Vector extends Series {
  /** Tells the types of metrics apart. */
  readonly kind: "vector";
  /** By position, from 0. */
  readonly values: readonly number[];
}

/** A metric of a snapshot or window. */
export type Metric = Counter | Gauge | Histogram | Vector;

/** What a server said in one scrape. */
export interface Snapshot {
  /** When it was received, in seconds of the caller's monotonic clock. */
  readonly at: number;
  /** In the order of the exposition. */
  readonly metrics: readonly Metric[];
  /** When the server's process started, as epoch seconds; `null` where it does not say. */
  readonly processStart: number | null;
  /** The first few lines that could not be read. */
  readonly badLines: readonly BadLine[];
  /** The prefix that was looked for in place of the known ones; `null` where none was given. */
  readonly prefix: string | null;
}

/** The one family that vLLM splits by position. */
const VECTOR_NAME = "spec_decode_num_accepted_tokens_per_pos";

type Kind = "counter" | "gauge" | "histogram";
type Part = "value" | "bucket" | "sum" | "count";

interface Draft {
  readonly kind: Kind | "vector";
  readonly name: string;
  readonly labels: Labels;
  value: number;
  sum: number;
  /** By the bounds as they are spelled: `0.1` and `1e-1` are two series of one bound, and add up. */
  readonly buckets: Map<string, number>;
  readonly values: number[];
}

/** Name of a metric without prefix and `_total` -> its kind, for servers that declare none. */
const KNOWN_KINDS: ReadonlyMap<string, Kind> = new Map(
  METRIC_ROWS.flatMap((row) =>
    row.names.map((name): [string, Kind] => {
      const isCounter = name.endsWith("_total") && row.kind !== "histogram";
      return [
        isCounter ? name.slice(0, -"_total".length) : name,
        row.kind === "labelled" ? (isCounter ? "counter" : "gauge") : row.kind,
      ];
    })
  ),
);

/** The name of a counter as vLLM's reader has it. */
export function dropTotal(name: string): string {
  return name.replace(/_total$/, "");
}

/** The first of the prefixes that the name begins with. */
export function findPrefix(name: string, prefixes: readonly string[]): string | null {
  return prefixes.find((prefix) => name.startsWith(prefix)) ?? null;
}

/** What a sample's name means: the family, its kind, and the part of it; `null` for what is no metric. */
function resolveName(
  name: string,
  types: ReadonlyMap<string, string>,
  prefixLength: number,
): { readonly family: string; readonly kind: Kind; readonly part: Part } | null {
  const kindOf = (family: string): string | undefined =>
    types.get(family) ?? KNOWN_KINDS.get(family.slice(prefixLength));
  const [, stem, part] = /^(.*)_(bucket|sum|count)$/.exec(name) ?? [];
  if (stem !== undefined && kindOf(stem) === "histogram") {
    return { family: stem, kind: "histogram", part: part as Part };
  }
  const family = dropTotal(name);
  if (family !== name && (types.get(name) ?? kindOf(family)) === "counter") {
    return { family, kind: "counter", part: "value" };
  }
  if (name.endsWith("_created")) {
    const stamped = name.slice(0, -"_created".length);
    if (kindOf(stamped) !== undefined || types.has(`${stamped}_total`)) return null;
  }
  const kind = kindOf(name);
  return kind === "counter" || kind === "gauge" ? { family: name, kind, part: "value" } : null;
}

function describeLabels(labels: Labels): string {
  return JSON.stringify([...labels].toSorted(([a], [b]) => a < b ? -1 : 1));
}

/** What tells a metric apart from all others of its server. */
export function identify({ kind, name, labels }: Metric | Draft): string {
  return `${kind} ${name} ${describeLabels(labels)}`;
}

function finishDraft(draft: Draft): Metric | null {
  const { kind, name, labels, value, values } = draft;
  switch (kind) {
    case "vector":
      return { kind, name, labels, values: Array.from(values, (count) => count ?? 0) };
    case "histogram": {
      const buckets = [...draft.buckets].map(([le, count]) => [parseBound(le), count] as const);
      const { bounds, counts } = createHistogram(
        buckets.filter(([bound]) => !Number.isNaN(bound)),
        draft.sum,
      );
      if (bounds.at(-1) !== Infinity) return null;
      const counted = new Map(Array.from(bounds, (bound, i) => [bound, counts[i]]));
      const count = counts[counts.length - 1];
      return { kind, name, labels, count, sum: draft.sum, buckets: counted };
    }
    default:
      return { kind, name, labels, value };
  }
}

/** The labels of a sample, without the one that says which part of the series it is. */
function readLabels(pairs: readonly string[], without: string): { labels: Labels; own: string } {
  const labels = new Map<string, string>();
  let own = "";
  for (let i = 0; i < pairs.length; i += 2) {
    if (pairs[i] === without) own = pairs[i + 1];
    else labels.set(sanitizeText(pairs[i]), sanitizeText(pairs[i + 1]));
  }
  return { labels, own };
}

/** Positions beyond it are no draft's. */
const MAX_POSITION = 1000;

function createCollector(): {
  readonly add: (
    resolved: { readonly family: string; readonly kind: Kind; readonly part: Part },
    isVector: boolean,
    sample: { readonly pairs: readonly string[]; readonly value: number },
  ) => void;
  readonly finish: () => readonly Metric[];
} {
  const known = new Map<string, Draft>();
  return {
    add: ({ family, kind, part }, isVector, { pairs, value }) => {
      const { labels, own } = readLabels(
        pairs,
        kind === "histogram" ? "le" : isVector ? "position" : "",
      );
      const fresh: Draft = {
        kind: isVector ? "vector" : kind,
        name: sanitizeText(family),
        labels,
        value,
        sum: NaN,
        buckets: new Map(),
        values: [],
      };
      const key = identify(fresh);
      const draft = known.get(key) ?? fresh;
      // Of a series that is given twice the first counts (Prometheus' rule for scrapes).
      if (draft === fresh) known.set(key, fresh);
      if (part === "bucket") draft.buckets.set(own, draft.buckets.get(own) ?? value);
      else if (part === "sum" && Number.isNaN(draft.sum)) draft.sum = value;
      else if (isVector && /^\d+$/.test(own) && Number(own) <= MAX_POSITION) {
        draft.values[Number(own)] ??= value;
      }
    },
    finish: () =>
      [...known.values()].map(finishDraft).filter((metric): metric is Metric => metric !== null),
  };
}

/**
 * The metrics of one exposition, in Prometheus' text format or OpenMetrics.
 *
 * Keeps metrics whose names begin with `vllm:` or one of the prefixes that
 * vLLM's metrics have under Ray and KServe; summaries and metrics of unknown
 * type are left out, as vLLM's reader leaves them out. Lines that cannot be read
 * are skipped and stand in `badLines`. Never throws for what the body says.
 *
 * @param options.at When the response was complete, in seconds of a monotonic clock.
 * @param options.prefix The prefix to look for in place of the known ones.
 *
 * @example
 * ```ts
 * import { findMetrics, readSnapshot } from "@vllm-htop/vllm-htop/snapshot";
 * const body = '# TYPE vllm:num_requests_running gauge\n' +
 *   'vllm:num_requests_running{engine="0",model_name="m"} 3.0\n';
 * const snapshot = readSnapshot(body, { at: 0 });
 * findMetrics(snapshot, "vllm:num_requests_running", { engine: "0" }); // [{ kind: "gauge", value: 3, … }]
 * ```
 */
export function readSnapshot(
  body: string | Uint8Array,
  options: { readonly at: number; readonly prefix?: string },
): Snapshot {
  const { at, prefix = null } = options;
  const prefixes = prefix === null ? KNOWN_PREFIXES : [prefix];
  const types = new Map<string, string>();
  const collector = createCollector();
  let processStart: number | null = null;
  let lastName = "";
  let resolved: ReturnType<typeof resolveName> = null;
  let isVector = false;
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const { badLines } = parseExposition(bytes, {
    onType: (family, type) => types.set(family, type),
    onSample: (name, pairs, value) => {
      if (name === "process_start_time_seconds") processStart ??= value;
      if (name !== lastName) {
        lastName = name;
        const own = findPrefix(name, prefixes);
        resolved = own === null ? null : resolveName(name, types, own.length);
        isVector = resolved?.kind === "counter" &&
          resolved.family.slice(own?.length) === VECTOR_NAME;
      }
      if (resolved !== null) collector.add(resolved, isVector, { pairs, value });
    },
  });
  return { at, metrics: collector.finish(), processStart, badLines, prefix };
}
