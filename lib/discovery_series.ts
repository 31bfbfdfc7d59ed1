/**
 * Series of Prometheus -> the scrapes of each target, as bodies of text. A scrape is what its series
 * have at one time. Labels of the target are told from those of the metric by the target's `up`.
 * @module
 */

import { isRecord, parseUntrustedJson } from "./json.ts";
import { quote, sanitizeText } from "./text.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

type Labels = Readonly<Record<string, string>>;

export interface Series {
  /** With `__name__`. */
  readonly metric: Labels;
  /** Oldest first; values as text. */
  readonly values: readonly (readonly [EpochSeconds, string])[];
}

interface SeriesAnswer {
  /** Parsed one by one: all at once would take many times their text. */
  readonly series: Iterable<Series>;
  /** The data is partial; safe text. */
  readonly warnings: readonly string[];
}

/** Of a matrix or vector; `null` if it is neither. */
function parseSeries(value: unknown): Series | null {
  if (!isRecord(value) || !isRecord(value.metric)) return null;
  const metric = value.metric as Labels;
  if (Array.isArray(value.values)) return { metric, values: value.values };
  return Array.isArray(value.value) ? { metric, values: [value.value as [number, string]] } : null;
}

function listTexts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map((text) => sanitizeText(String(text))) : [];
}

const RESULT_START = '"result":[{';
/** In no text: quotes in it are escaped. */
const BETWEEN = '},{"metric":';
const RESULT_END = /\d,"[-+.\w]*"\]\]?\}\]/;

/** Where the series are; `null` if there are none, or they are written otherwise. */
function findSeries(text: string): { readonly start: number; readonly end: number } | null {
  const found = text.indexOf(RESULT_START);
  if (found < 0) return null;
  const start = found + RESULT_START.length - 1;
  const from = Math.max(start, text.lastIndexOf(BETWEEN));
  const tail = RESULT_END.exec(text.slice(from));
  return tail === null ? null : { start, end: from + tail.index + tail[0].length - 1 };
}

function* listSeries(text: string, start: number, end: number): Iterable<Series> {
  for (let from = start; from < end;) {
    const found = text.indexOf(BETWEEN, from);
    const to = found < 0 || found >= end ? end : found + 1;
    const series = parseSeries(parseUntrustedJson(text.slice(from, to)));
    if (series !== null) yield series;
    // Skips the comma.
    from = to + 1;
  }
}

/** Parses the answer to a query. An error is one sentence without its beginning, the URL. */
export function parseAnswer(text: string): SeriesAnswer | { readonly error: string } {
  const place = findSeries(text);
  const frame = place === null ? text : text.slice(0, place.start) + text.slice(place.end);
  const answer = parseUntrustedJson(frame);
  if (isRecord(answer) && answer.status === "error" && typeof answer.error === "string") {
    return { error: `refused the query: ${quote(answer.error)}` };
  }
  if (!isRecord(answer) || answer.status !== "success" || !isRecord(answer.data)) {
    return { error: "does not answer as Prometheus: check the URL and its path" };
  }
  const warnings = listTexts(answer.warnings);
  const { resultType, result } = answer.data;
  const items: readonly unknown[] = Array.isArray(result) ? result : [];
  if (resultType === "scalar") {
    return { series: [{ metric: {}, values: [[Number(items[0]), String(items[1])]] }], warnings };
  }
  const series = place === null
    ? items.flatMap((item) => parseSeries(item) ?? [])
    : listSeries(text, place.start, place.end);
  return { series, warnings };
}

/** Pairs of Prometheus servers that scrape the same targets differ in these. */
const REPLICA_LABELS: ReadonlySet<string> = new Set([
  ...["prometheus_replica", "__replica__", "replica", "__name__"],
]);
/** Labels of a target whose `up` is unknown. */
const USUAL_TARGET_LABELS: ReadonlySet<string> = new Set([
  ...["job", "instance", "namespace", "pod", "pod_name", "kubernetes_pod_name", "container"],
  ...["endpoint", "service", "node", "cluster", "prometheus"],
]);
const EXPORTED = "exported_";

/** The labels before another Prometheus renamed them. */
function restoreLabels(metric: Labels): readonly (readonly [string, string])[] {
  const entries = Object.entries(metric).filter(([name]) => !REPLICA_LABELS.has(name));
  if (!entries.some(([name]) => name.startsWith(EXPORTED))) return entries;
  const isRenamed = (name: string): boolean =>
    name.startsWith(EXPORTED) && name.slice(EXPORTED.length) in metric;
  return entries.filter(([name]) => !isRenamed(name))
    .map(([name, value]) => [name, metric[EXPORTED + name] ?? value]);
}

/** Series of one time, as lines without their values. */
export interface Moment {
  readonly texts: string[];
  readonly values: string[];
}

export interface SeriesTarget {
  readonly key: string;
  readonly labels: ReadonlyMap<string, string>;
  /** Of `up`, oldest first. */
  readonly ups: (readonly [EpochSeconds, boolean])[];
  /** How long its scrapes took. */
  readonly durations: Map<EpochSeconds, Seconds>;
  readonly moments: Map<EpochSeconds, Moment>;
}

type LabelList = readonly (readonly [string, string])[];

function createTarget(labels: LabelList): SeriesTarget {
  const sorted = [...labels].sort(([a], [b]) => a < b ? -1 : 1);
  return {
    key: new URLSearchParams(sorted.map(([name, value]) => [name, value])).toString(),
    labels: new Map(sorted),
    ...{ ups: [], durations: new Map(), moments: new Map() },
  };
}

/** Without the request, whose URL may hold a secret. */
const REQUEST = /^(?:Get|error when scraping) "[^"]*": /;

/** Why targets that are down could not be scraped, by their keys; from `/api/v1/targets`. */
export function parseTargetErrors(text: string): ReadonlyMap<string, string> {
  const answer = parseUntrustedJson(text);
  const data = isRecord(answer) && isRecord(answer.data) ? answer.data : {};
  const active: readonly unknown[] = Array.isArray(data.activeTargets) ? data.activeTargets : [];
  return new Map(active.flatMap((one): readonly [string, string][] => {
    if (!isRecord(one) || !isRecord(one.labels) || one.health !== "down") return [];
    const labels = Object.entries(one.labels).map(([name, value]) => [name, String(value)]);
    const { key } = createTarget(restoreLabels(Object.fromEntries(labels)));
    const error = typeof one.lastError === "string" ? one.lastError.replace(REQUEST, "") : "";
    return error === "" ? [] : [[key, error]];
  }));
}

function escapeValue(value: string): string {
  return value.replace(/[\\"\n]/g, (sign) => sign === "\n" ? "\\n" : `\\${sign}`);
}

/** The targets of one round of queries, told apart by their labels. */
function createTargetIndex() {
  const targets = new Map<string, SeriesTarget>();
  /** By job and instance. */
  const places = new Map<string, SeriesTarget[]>();
  const findPlace = (labels: ReadonlyMap<string, string>): string =>
    `${labels.get("job")}\n${labels.get("instance")}`;
  const register = (labels: LabelList): SeriesTarget => {
    const created = createTarget(labels);
    const known = targets.get(created.key);
    if (known !== undefined) return known;
    targets.set(created.key, created);
    const place = findPlace(created.labels);
    places.set(place, [...places.get(place) ?? [], created]);
    return created;
  };
  const find = (labels: LabelList): SeriesTarget => {
    const all = new Map(labels);
    const isOwn = (target: SeriesTarget) =>
      [...target.labels].every(([name, value]) => all.get(name) === value);
    return places.get(findPlace(all))?.find(isOwn) ??
      register(labels.filter(([name]) => USUAL_TARGET_LABELS.has(name)));
  };
  return { targets, register, find };
}

interface SeriesCollector {
  /** Of engines. The first call tells the times of scrapes. */
  readonly add: (series: Iterable<Series>) => void;
  /** Those with series of engines, or whose `up` is known. */
  readonly finish: () => Iterable<SeriesTarget>;
}

/**
 * Collects the series of one round of queries.
 * @param scrapes `up`, `scrape_duration_seconds` and metrics of processes.
 * @param getKnownTime Up to which the scrapes of a target are known.
 */
export function createCollector(
  scrapes: readonly Series[],
  getKnownTime: (targetKey: string) => EpochSeconds,
): SeriesCollector {
  const { targets, register, find } = createTargetIndex();
  let hasTimes = false;

  const put = ({ metric, values }: Series): void => {
    const labels = restoreLabels(metric);
    const target = find(labels);
    const known = getKnownTime(target.key);
    // A scrape that ended after the first query is not whole.
    const last = target.ups.at(-1)?.[0] ?? Infinity;
    const own = labels.filter(([name]) => !target.labels.has(name))
      .map(([name, value]) => `${name}="${escapeValue(value)}"`);
    const text = `${metric.__name__}{${own.join(",")}}`;
    for (const [time, value] of values) {
      if (time <= known || time > last) continue;
      let moment = target.moments.get(time);
      if (moment === undefined) {
        if (hasTimes) continue;
        target.moments.set(time, moment = { texts: [], values: [] });
      }
      moment.texts.push(text);
      moment.values.push(value);
    }
  };

  const pick = (name: string) => scrapes.filter(({ metric }) => metric.__name__ === name);
  for (const { metric, values } of pick("up")) {
    const { ups } = register(restoreLabels(metric));
    // Those of a pair of Prometheus servers join.
    ups.push(...values.map(([time, value]) => [time, value === "1"] as const));
    ups.sort(([a], [b]) => a - b);
  }
  for (const { metric, values } of pick("scrape_duration_seconds")) {
    const { durations } = find(restoreLabels(metric));
    for (const [time, value] of values) durations.set(time, Number(value));
  }
  return {
    add: (series) => {
      for (const one of series) put(one);
      hasTimes = true;
    },
    finish: () => {
      const others = scrapes.filter(({ metric: { __name__: name } }) =>
        name !== "up" && name !== "scrape_duration_seconds"
      );
      others.forEach(put);
      return targets.values();
    },
  };
}
