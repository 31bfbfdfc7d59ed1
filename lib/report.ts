/**
 * The state into one JSON document: for scripts, logs and alerts.
 *
 * The schema is numbered; keys end in their unit, in base units
 * (seconds, bytes, ratios from 0 to 1). A figure without a value is `null`, and
 * the reason stands under its key in `reasons` of the same object; a sum that is
 * a lower bound is named in `partial`. Every number is finite and every text
 * free of control characters, so the document is valid on every path. This
 * module owns the keys.
 *
 * @module
 */

import type { Quantile } from "./histogram.ts";
import { formatReadings, type Json, type JsonObject } from "./json.ts";
import {
  type Figures,
  LATENCY_KEYS,
  type LatencyFigures,
  type LatencyKey,
  type LifetimeFigures,
  type WindowFigures,
} from "./model.ts";
import { absent, mapReading, present, type Reading } from "./reading.ts";
import { reportCost, reportGpus, reportOutlier, reportRowGpus } from "./report_gpu_cost.ts";
import { SCHEMA_VERSION } from "./report_schema.ts";
import type { EventLine } from "./rules_alerts.ts";
import { computeEndpointStatus, getScrapeRecord } from "./rules_status.ts";
import { type Finding, findRule } from "./rules_table.ts";
import { getInterval } from "./scrape_schedule.ts";
import type { State } from "./state.ts";
import type { EndpointState } from "./state_endpoint.ts";
import { describeUrl, type Fleet, getUptime, type ModelGroup, type Row } from "./state_fleet.ts";
import { PEAK_KEYS, type Peaks, type SessionCounts } from "./stats_totals.ts";
import { formatTimestamp } from "./units.ts";

/** A map of counts as an object. Keys are any text: the object has no prototype that they could meet. */
function formatCounts(family: ReadonlyMap<string, number>): JsonObject {
  const object: Record<string, Json> = Object.create(null);
  for (const [key, value] of family) object[key] = Number.isFinite(value) ? value : null;
  return object;
}

function formatQuantile({ value, bound }: Quantile): JsonObject {
  return { seconds: value, bound };
}

function reportLatency(latency: Readonly<Record<LatencyKey, LatencyFigures>>): JsonObject {
  return Object.fromEntries(LATENCY_KEYS.map((key) => {
    const { p50, p95, p99, mean, samples } = latency[key];
    return [
      key,
      formatReadings({
        p50: mapReading(p50, formatQuantile),
        p95: mapReading(p95, formatQuantile),
        p99: mapReading(p99, formatQuantile),
        meanSeconds: mean,
        samples,
      }),
    ];
  }));
}

/** Figures that windows and lifetimes have in common. */
function pickRatios(figures: WindowFigures | LifetimeFigures): Record<string, Reading> {
  return {
    prefixCacheHitRatio: figures.prefixCacheHitRatio,
    prefixCacheQueries: figures.prefixCacheQueries,
    externalPrefixCacheHitRatio: figures.externalPrefixCacheHitRatio,
    draftAcceptanceRatio: figures.draftAcceptanceRatio,
    meanAcceptanceLengthTokens: figures.meanAcceptanceLength,
  };
}

function reportWindow(window: WindowFigures): JsonObject {
  return {
    ...formatReadings({
      spanSeconds: window.span,
      requestsPerSecond: window.requestsPerSecond,
      promptTokensPerSecond: window.promptTokensPerSecond,
      computedPromptTokensPerSecond: window.computedPromptTokensPerSecond,
      cachedPromptTokensPerSecond: window.cachedPromptTokensPerSecond,
      generationTokensPerSecond: window.generationTokensPerSecond,
      preemptionsPerSecond: window.preemptionsPerSecond,
      ...pickRatios(window),
    }),
    acceptanceRatioByPosition: formatCounts(window.acceptanceRatioByPosition),
    latency: reportLatency(window.latency),
  };
}

function reportLifetime(lifetime: LifetimeFigures): JsonObject {
  return {
    ...formatReadings({
      promptTokens: lifetime.promptTokens,
      cachedPromptTokens: lifetime.cachedPromptTokens,
      generationTokens: lifetime.generationTokens,
      finishedRequests: lifetime.finishedRequests,
      preemptions: lifetime.preemptions,
      ...pickRatios(lifetime),
    }),
    finishedByReason: formatCounts(lifetime.finishedByReason),
    promptTokensBySource: formatCounts(lifetime.promptTokensBySource),
    latency: reportLatency(lifetime.latency),
  };
}

function reportFigures(figures: Figures): JsonObject {
  const { kvCache } = figures;
  return {
    ...formatReadings({
      running: figures.running,
      waiting: figures.waiting,
      kvCacheUsageRatioMax: kvCache.maxRatio,
      kvCacheUsageRatioMean: kvCache.meanRatio,
      kvCacheCapacityTokens: kvCache.capacityTokens,
    }),
    kvCacheCapacityIsEstimate: kvCache.capacityIsEstimate,
    waitingByReason: formatCounts(figures.waitingByReason),
    lastPoll: reportWindow(figures.lastPoll),
    lastMinute: reportWindow(figures.lastMinute),
    sinceStart: reportLifetime(figures.lifetime),
  };
}

/** What a rule says of a replica. Units of value and baseline stand beside them. */
function reportFinding(verdict: Finding): JsonObject {
  const { rule, value, baseline, ratio, samples, span, statistic, probability } = verdict;
  return {
    rule,
    unit: findRule(rule).unit,
    ...formatReadings({
      value: present(value),
      baseline: present(baseline),
      ratio: present(ratio),
      samples: present(samples),
      spanSeconds: present(span),
    }),
    ...(statistic === null ? {} : { statistic }),
    ...(probability === null ? {} : { probability }),
    ...(rule === "hot"
      ? { conditions: verdict.conditions.map((condition) => ({ ...condition })) }
      : {}),
  };
}

/** How replicas and endpoints are called, by their keys. */
type Names = (key: string) => string;

function createNames({ rows }: Fleet, { evaluation: { events, memory } }: State): Names {
  // What has gone is called what it was.
  const subjects = [...events.lines.map(({ subject }) => subject), ...memory.engines.values()];
  const names = new Map([
    ...subjects.map(({ key, name }) => [key, name] as const),
    ...rows.toReversed().map(({ state, place }) => [state.endpoint.key, place] as const),
    ...rows.map(({ key, name }) => [key, name] as const),
  ]);
  return (key) => names.get(key) ?? key;
}

function reportChecks(group: ModelGroup, names: Names): Json {
  return group.checks.map(({ keys, checks }) => ({
    replicas: keys.map(names),
    rules: checks.map(({ rule, compared, findings }) => ({
      rule,
      compared,
      verdicts: findings.map((finding) => ({
        replica: names(finding.key),
        ...reportFinding(finding),
      })),
    })),
  }));
}

function reportFleetVerdict({ verdict }: Fleet, names: Names): JsonObject {
  return {
    level: verdict.level,
    causes: verdict.causes.map(({ key, signal, verdict: evidence }) => ({
      name: names(key),
      signal,
      ...(evidence === null ? {} : { evidence: reportFinding(evidence) }),
    })),
  };
}

function reportEvent(line: EventLine, now: number): JsonObject {
  const { kind, subject, beganAt, beganAtEpoch, endedAt, occurrences, amount } = line;
  const { first, worst, outlier } = line;
  return {
    kind,
    name: subject.name,
    endpoint: subject.endpointKey,
    beganAtEpochSeconds: beganAtEpoch,
    isOver: endedAt !== null,
    durationSeconds: (endedAt ?? now) - beganAt,
    occurrences,
    ...(amount === null ? {} : { amount }),
    ...(first === null ? {} : { first: reportFinding(first) }),
    ...(worst === null ? {} : { worst: reportFinding(worst) }),
    ...(outlier === undefined ? {} : { gpu: reportOutlier(outlier) }),
  };
}

function reportCounted(counted: SessionCounts): JsonObject {
  return formatReadings({
    finishedRequests: counted.requests,
    promptTokens: counted.promptTokens,
    cachedPromptTokens: counted.cachedPromptTokens,
    generationTokens: counted.generationTokens,
    preemptions: counted.preemptions,
    rejectedRequests: counted.rejections,
  });
}

function reportPeaks(peaks: Peaks): JsonObject {
  return formatReadings(Object.fromEntries(PEAK_KEYS.map((key) => {
    const peak = peaks[key];
    return [
      key,
      peak === null
        ? absent("first_scrape")
        : present({ value: peak.value, timeEpochSeconds: peak.atEpoch }),
    ];
  })));
}

function reportGroup(group: ModelGroup): JsonObject {
  return {
    replicas: group.figures.replicaCount,
    kvCacheUsageRatioMaxReplica: group.kvCacheMaxOwner?.name ?? null,
    ...reportFigures(group.figures),
  };
}

function reportScrape(known: EndpointState, state: State): JsonObject | null {
  const { scrape, history } = known;
  if (scrape === null) return null;
  const { lora } = scrape;
  return {
    ...formatReadings({
      processStartEpochSeconds: scrape.processStart,
      uptimeSeconds: getUptime(known, state),
    }),
    ageSeconds: Math.max(0, state.now - scrape.receivedAt),
    durationSeconds: scrape.duration,
    bodyBytes: scrape.bytes,
    samples: scrape.sampleCount,
    dialect: scrape.dialect,
    metricPrefix: scrape.metricPrefix,
    olderNames: Object.fromEntries(scrape.aliases),
    badLines: scrape.badLineCount,
    badLineExamples: scrape.badLines.map(({ line, message }) => ({ line, message })),
    redirectedTo: scrape.redirectedTo,
    restartsSeen: history.restartCount,
    httpResponsesByStatus: formatCounts(scrape.httpResponsesByStatus),
    rejectedRequestsByReason: formatCounts(scrape.server?.labelled.rejectedByReason ?? new Map()),
    lora: lora === null ? null : {
      running: lora.runningAdapters,
      waiting: lora.waitingAdapters,
      ...formatReadings({ maxAdapters: lora.maxAdapters }),
    },
  };
}

/** How the server was started. What it does not say is `null` or empty. */
function reportServer({ server }: EndpointState): Json {
  if (server === null) return null;
  const { version, models, launch } = server;
  const own = models.filter(({ parent }) => parent === null);
  return {
    version,
    maxModelLenTokens: own[0]?.maxModelLength ?? null,
    servedModels: own.map(({ id }) => id),
    loraAdapters: models.filter(({ parent }) => parent !== null).map(({ id }) => id),
    parallelism: launch === null ? null : formatCounts(launch.parallelSizes),
    commandLine: launch?.commandLine ?? null,
  };
}

function reportEndpoint(known: EndpointState, state: State): JsonObject {
  const { endpoint, failure } = known;
  return {
    url: describeUrl(endpoint),
    address: endpoint.address,
    name: known.handle,
    status: computeEndpointStatus(getScrapeRecord(known, state)),
    failure: failure === null ? null : { kind: failure.kind, message: failure.message },
    warnings: endpoint.warnings,
    intervalSeconds: getInterval(known.schedule, state.interval),
    server: reportServer(known),
    scrape: reportScrape(known, state),
  };
}

function reportRow(row: Row, whole: State): JsonObject {
  const { name, status, replica, state, figures, total, peaks } = row;
  return {
    name,
    url: describeUrl(state.endpoint),
    status,
    model: replica?.sample.modelName ?? null,
    engine: replica === null || replica.sample.engine === "" ? null : replica.sample.engine,
    ageSeconds: row.age,
    ...formatReadings({
      requestShareLastMinuteRatio: row.requestShare,
      uptimeSeconds: getUptime(state, whole),
    }),
    figures: replica === null || status === "DOWN" ? null : reportFigures(figures),
    sinceAttached: total === null
      ? null
      : { spanSeconds: Math.max(0, whole.now - total.since), ...reportCounted(total.counted) },
    peaks: reportPeaks(peaks),
    ...reportRowGpus(row),
    cacheConfig: replica === null ? null : Object.fromEntries(replica.sample.cacheConfig),
  };
}

function reportTotals(fleet: Fleet): JsonObject {
  const { counts } = fleet;
  return {
    replicaCounts: {
      total: counts.total,
      up: counts.up,
      stale: counts.stale,
      down: counts.down,
      pending: counts.pending,
    },
    ...reportGroup(fleet.total),
    sinceAttached: reportCounted(fleet.counted),
    peaks: reportPeaks(fleet.totalPeaks),
  };
}

/** The document of the state, as a value. */
export function createReport(state: State, version: string): Json {
  const { fleet } = state;
  const names = createNames(fleet, state);
  return {
    schema: SCHEMA_VERSION,
    program: `vllm-htop ${version}`,
    time: formatTimestamp(state.nowEpoch),
    timeEpochSeconds: state.nowEpoch,
    intervalSeconds: state.interval,
    isDemo: state.isDemo,
    notices: state.notices,
    verdict: reportFleetVerdict(fleet, names),
    endpoints: state.endpoints.map((known) => reportEndpoint(known, state)),
    replicas: fleet.rows.map((row) => reportRow(row, state)),
    groups: fleet.groups.map((group) => ({
      model: group.modelName,
      ...reportGroup(group),
      checks: reportChecks(group, names),
    })),
    total: reportTotals(fleet),
    ...reportGpus(fleet, state),
    cost: reportCost(state),
    events: fleet.events.map((line) => reportEvent(line, state.now)),
  };
}

/** The document on one line. Characters that JSON leaves raw and terminals obey are escaped. */
export function serializeReport(report: Json): string {
  return JSON.stringify(report).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
