/**
 * Finds the prefix of names, and the labels that tell engines apart where the dialect's own do not:
 * a federation adds `pod` and `instance`, a pipeline `stage` and `replica`. Only gauges are asked:
 * other labels of counters split one engine's figure, and are summed.
 * @module
 */

import type { Dialect, MetricRow, Vocabulary } from "./dialect_model.ts";

export interface PrefixCandidate {
  readonly prefix: string;
  readonly vocabulary: Vocabulary;
}

/** Without a prefix only known names count. */
export function stripPrefix({ prefix, vocabulary }: PrefixCandidate, name: string): string | null {
  if (!name.startsWith(prefix)) return null;
  return prefix !== "" || vocabulary.targets.has(name) || vocabulary.families.has(name)
    ? name.slice(prefix.length)
    : null;
}

/** Whether the body has a dialect's main gauges without a prefix. */
function hasBareNames(
  { prefix, vocabulary }: PrefixCandidate,
  names: ReadonlySet<string>,
): boolean {
  if (prefix !== "") return false;
  const bare = [...names].flatMap((name) => vocabulary.families.get(name)?.key ?? []);
  return bare.includes("running") && bare.includes("kvCacheUsageRatio");
}

/** Returns better candidates, once all names of the body are known; empty if there are none. */
export function reconsiderPrefix(
  all: readonly PrefixCandidate[],
  found: { readonly prefix: string | null } & Pick<PrefixCandidate, "vocabulary">,
  names: ReadonlySet<string>,
): readonly PrefixCandidate[] {
  if (found.prefix === null) return all.filter((candidate) => hasBareNames(candidate, names));
  const marked = all.filter(({ prefix, vocabulary: { dialect } }) =>
    prefix === found.prefix && dialect.marks?.some((mark) => names.has(prefix + mark))
  );
  if (marked.length > 0) return marked;
  if (!found.vocabulary.dialect.carriesOthers) return [];
  return all.filter(({ prefix, vocabulary }) =>
    prefix !== "" && !vocabulary.dialect.carriesOthers &&
    names.values().some((name) => name.startsWith(prefix))
  );
}

/** A sample of a figure that every engine has once. */
export interface EngineSeries {
  /** Metric and model. */
  readonly family: string;
  readonly isGauge: boolean;
  /** Names and values in turn. */
  readonly labels: readonly string[];
}

/** Of several labels that tell the same apart, the first names the engine. */
const NAMING_LABELS: readonly string[] = ["stage", "replica", "pod", "instance"];

/** Empty without it. */
export function getLabel(labels: readonly string[], name: string): string {
  const at = labels.findIndex((label, i) => i % 2 === 0 && label === name);
  return at < 0 ? "" : labels[at + 1];
}

/** Whether a series of the row counts. */
export function hasCountedLabels(
  { only, requires }: MetricRow,
  labels: readonly string[],
): boolean {
  if (only !== undefined) {
    const value = getLabel(labels, only[0]);
    return value === "" || value === only[1];
  }
  if (requires === undefined) return true;
  const [name, ...values] = requires;
  return values.includes(getLabel(labels, name));
}

/** The row, and those of the same name for other values of a label. */
export function listNamesakes(
  { dialect: { rows } }: Vocabulary,
  row: MetricRow | undefined,
): readonly MetricRow[] {
  if (row?.requires === undefined) return row === undefined ? [] : [row];
  return rows.filter(({ names: [name] }) => name === row.names[0]);
}

function countDistinct(series: readonly EngineSeries[], names: readonly string[]): number {
  const values = (labels: readonly string[]) => names.map((name) => getLabel(labels, name));
  return new Set(series.map(({ labels }) => values(labels).join("\0"))).size;
}

/** Returns the fewest labels that tell all engines apart; none if the dialect's own suffice. */
export function chooseEngineLabels(
  all: readonly EngineSeries[],
  { isRouter, labels: { model, engine, workers, parts } }: Pick<Dialect, "isRouter" | "labels">,
): readonly string[] {
  // Its other labels name users and workers.
  if (isRouter) return [];
  const gauges = all.filter(({ isGauge }) => isGauge);
  const series = gauges.length > 0 ? gauges : all;
  const families = [...Map.groupBy(series, ({ family }) => family).values()];
  const known = [...NAMING_LABELS, engine, ...workers];
  const others = new Set(series.flatMap(({ labels }) => labels.filter((_, i) => i % 2 === 0)));
  for (const name of [model, ...parts, ...known]) others.delete(name);
  const names = [...known, ...[...others].sort()];
  const tellApart = (chosen: readonly string[]): boolean =>
    families.every((family) => countDistinct(family, chosen) === countDistinct(family, names));
  if (tellApart([engine, ...workers])) return [];
  return names.reduceRight<readonly string[]>((kept, name) => {
    const fewer = kept.filter((other) => other !== name);
    return tellApart(fewer) ? fewer : kept;
  }, names);
}

/** Formats an engine's labels: `stage 1 replica 0`. */
export function describeEngineLabels(
  names: readonly string[],
  labels: readonly string[],
): string {
  return names.flatMap((name) => {
    const value = getLabel(labels, name);
    return value === "" ? [] : [`${name} ${value}`];
  }).join(" ");
}
