/**
 * What the doctor says of one endpoint: who answers, what a scrape costs, and which figures are n/a,
 * and why.
 * @module
 */

import { findDialect } from "./dialect.ts";
import type { MetricRow } from "./dialect_model.ts";
import {
  COUNTER_KEYS,
  type CounterKey,
  type EngineSample,
  GAUGE_KEYS,
  type GaugeKey,
  HISTOGRAM_KEYS,
  type HistogramKey,
  type Scrape,
} from "./model.ts";
import { type AbsenceReason, isPresent, type Reading } from "./reading.ts";
import { isLoading } from "./rules_status.ts";
import { getInterval, isNotablySlower, MAX_SCRAPE_SHARE } from "./scrape_schedule.ts";
import { type EndpointState, listEngines } from "./state_endpoint.ts";
import { getHistogram } from "./stats_aggregate.ts";
import type { Seconds } from "./units.ts";
import { formatBytes, formatInterval, formatLatency, formatPercent } from "./view_format.ts";

export const LEVELS = ["ok", "warn", "fail"] as const;

export interface Remark {
  readonly level: typeof LEVELS[number];
  /** What it is about, in a word or two, or a server's name. */
  readonly subject: string;
  /** One line without a full stop, with what to do if there is anything. */
  readonly text: string;
}

type FigureKey = GaugeKey | CounterKey | HistogramKey;

/** Replaced by other figures, or only of old servers. */
const RETIRED: ReadonlySet<FigureKey> = new Set(["swapped", "prefixCacheHitRatioReported"]);

/** Without these, little can be said of a server. */
const MAIN: ReadonlySet<FigureKey> = new Set<FigureKey>([
  ...["running", "waiting", "kvCacheUsageRatio"] as const,
  ...["promptTokens", "generationTokens", "ttft", "itl"] as const,
]);

/** `null` for a reason that is no news, such as the first scrape. */
const REASONS: Readonly<Partial<Record<AbsenceReason, string>>> = {
  missing: "not exported",
  unsupported: "not a figure of this kind of server",
  initializing: "no sample yet",
  not_finite: "not a number",
  invalid: "values that cannot be",
  bounds_differ: "buckets that differ",
};

const NEWER = "not in this version";
const OLDER = "no longer in this version";
/** No fault of the server. */
const EXPECTED: ReadonlySet<AbsenceReason> = new Set(["unsupported", "off", "initializing"]);

function readFigure(sample: EngineSample, key: FigureKey): Reading<unknown> {
  if (key in sample.gauges) return sample.gauges[key as GaugeKey];
  if (key in sample.counters) return sample.counters[key as CounterKey];
  return getHistogram(sample, key as HistogramKey);
}

/** Whether one version comes before the other. Later parts than the third do not count. */
function isBefore(version: string, other: string): boolean {
  const [a, b] = [version, other].map((text) => text.split(/[.+-]/).slice(0, 3).map(Number));
  const at = a.findIndex((part, i) => part !== (b[i] ?? 0));
  return at >= 0 && a[at] < (b[at] ?? 0);
}

/** Why a figure is not exported, as far as versions and settings tell. */
function explainMissing({ since, until, flag }: MetricRow, version: string | null): string {
  if (version !== null && since !== undefined && isBefore(version, since)) return NEWER;
  if (version !== null && until !== undefined && isBefore(until, version)) return OLDER;
  return flag === undefined ? "not exported" : `not exported without ${flag}`;
}

/** What is off, and the option that turns it on. */
function explainOff({ server }: EngineSample): string {
  const option = server.metricsAreOff ? findDialect(server.name)?.enablingOption : undefined;
  return option === undefined
    ? "switched off there"
    : `switched off there: start it with ${option}`;
}

interface AbsentFigure {
  readonly key: FigureKey;
  readonly title: string;
  /** Why it is absent. */
  readonly words: string;
  readonly reason: AbsenceReason;
}

function listAbsent(sample: EngineSample, version: string | null): readonly AbsentFigure[] {
  const { rows = [], derivedKeys = [] } = findDialect(sample.server.name) ?? {};
  const keys = [...GAUGE_KEYS, ...COUNTER_KEYS, ...HISTOGRAM_KEYS].filter((key) =>
    !RETIRED.has(key)
  );
  return keys.flatMap((key): AbsentFigure[] => {
    const reading = readFigure(sample, key);
    if (isPresent(reading)) return [];
    const row = rows.find((one) => one.key === key);
    const isKnown = row !== undefined || derivedKeys.some((one) => one === key);
    const reason = reading.reason === "missing" && !isKnown ? "unsupported" : reading.reason;
    const words = reason === "off"
      ? explainOff(sample)
      : reason === "missing" && row !== undefined
      ? explainMissing(row, version)
      : REASONS[reason];
    const spaced = key.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
    const title = (row?.title ?? spaced) + (words === NEWER ? ` (since ${row?.since})` : "");
    return words === undefined ? [] : [{ key, title, words, reason }];
  });
}

/** A line for each reason. */
function examineFigures(
  subject: string,
  sample: EngineSample,
  version: string | null,
): readonly Remark[] {
  const byWords = Map.groupBy(listAbsent(sample, version), ({ words }) => words);
  return [...byWords].map(([words, own]) => {
    const isTrouble = ({ key, reason }: AbsentFigure): boolean =>
      reason === "missing" ? MAIN.has(key) : !EXPECTED.has(reason);
    const level = own.some(isTrouble) ? "warn" : "ok";
    return { level, subject, text: `n/a, ${words}: ${own.map(({ title }) => title).join(", ")}` };
  });
}

function examineCost(
  subject: string,
  { schedule }: EndpointState,
  { scrape, interval }: { readonly scrape: Scrape; readonly interval: Seconds },
): Remark {
  const { duration, bytes, sampleCount } = scrape;
  const cost = `a scrape takes ${formatLatency(duration)}: ${formatBytes(bytes)}, ` +
    `${sampleCount} samples`;
  if (!isNotablySlower(schedule, interval)) {
    return { level: "ok", subject, text: `${cost}; polled every ${formatInterval(interval)}` };
  }
  const actual = formatInterval(getInterval(schedule, interval));
  const text =
    `${cost}: polled every ${actual} instead of ${formatInterval(interval)}, to take at ` +
    `most ${formatPercent(MAX_SCRAPE_SHARE)} of its time`;
  return { level: "warn", subject, text };
}

function examineBody(subject: string, scrape: Scrape): readonly Remark[] {
  const { aliases, badLineCount, badLines: [first], redirectedTo } = scrape;
  const remarks: Remark[] = [];
  if (aliases.size > 0) {
    const names = [...aliases].map(([figure, name]) => `${figure} as ${name}`).join(", ");
    remarks.push({ level: "ok", subject, text: `figures under older names: ${names}` });
  }
  if (badLineCount > 0) {
    const example = first === undefined ? "" : `, such as line ${first.line}: ${first.message}`;
    const text = badLineCount === 1
      ? `1 line of its metrics cannot be read, and is left out${example}`
      : `${badLineCount} lines of its metrics cannot be read, and are left out${example}`;
    remarks.push({ level: "warn", subject, text });
  }
  if (redirectedTo !== null) {
    remarks.push({ level: "ok", subject, text: `redirects to ${redirectedTo}` });
  }
  return remarks;
}

function describeServer({ server }: EndpointState, scrape: Scrape): string {
  const samples = scrape.engines;
  const name = samples[0]?.server.name || "a server of unknown kind";
  const version = server === null || server.version === null ? "" : ` ${server.version}`;
  const models = [...new Set(samples.map(({ modelName }) => modelName))].join(", ");
  const count = samples.length === 1 ? "1 engine" : `${samples.length} engines`;
  const prefix = scrape.metricPrefix === "" ? "" : `, metrics begin with ${scrape.metricPrefix}`;
  return `${name}${version}: ${count}${models === "" ? "" : ` of ${models}`}${prefix}`;
}

/** @param interval As requested; `null` of a server that another program scrapes. */
export function examineEndpoint(
  known: EndpointState,
  interval: Seconds | null,
): readonly Remark[] {
  const { displayName: subject, endpoint, failure, scrape, server } = known;
  const warnings = endpoint.warnings.map((text): Remark => ({ level: "warn", subject, text }));
  if (failure !== null) {
    const level = isLoading(known, failure.failedAt) ? "warn" : "fail";
    return [{ level, subject, text: failure.message }, ...warnings];
  }
  if (scrape === null) return [{ level: "fail", subject, text: "has not answered" }, ...warnings];
  const [first] = listEngines(known);
  const launch = server?.launch?.commandLine;
  return [
    { level: "ok", subject, text: describeServer(known, scrape) },
    ...launch === undefined
      ? []
      : [{ level: "ok", subject, text: `started as: ${launch}` } as const],
    ...warnings,
    ...interval === null ? [] : [examineCost(subject, known, { scrape, interval })],
    ...examineBody(subject, scrape),
    ...first === undefined
      ? [{ level: "warn", subject, text: "exports no figures yet: it may still start" } as const]
      : examineFigures(subject, first.replica.sample, server?.version ?? null),
  ];
}
