/**
 * The JSON Schema of the document that `report` makes.
 *
 * Layer 4, pure. Stands beside `report` and follows it key by key; a test
 * checks real documents against it, and fails on a key that is not here. Keys
 * may be added to the document without a new schema number, so the schema lets
 * unknown keys pass. Source: JSON Schema 2020-12.
 *
 * @module
 */

import type { Schema } from "./config_schema.ts";
import { EVENT_KINDS } from "./events.ts";
import { GPU_DEFINITIONS } from "./gpu_report_schema.ts";
import {
  BOOLEAN,
  COUNT,
  FAMILY,
  NUMBER,
  object,
  orNull,
  type Properties,
  RATIO,
  readings,
  refer,
  TEXT,
  TEXTS,
} from "./json_schema.ts";
import { LATENCY_KEYS } from "./model.ts";
import { SCHEMA_VERSION } from "./report.ts";
import { RULES } from "./rules.ts";
import { PEAK_KEYS } from "./tally.ts";

const RATIOS: Properties = {
  prefixCacheHitRatio: RATIO,
  prefixCacheQueries: NUMBER,
  externalPrefixCacheHitRatio: RATIO,
  draftAcceptanceRatio: RATIO,
  meanAcceptanceLengthTokens: NUMBER,
};

const FIGURES: Properties = {
  running: NUMBER,
  waiting: NUMBER,
  kvCacheUsageRatioMax: RATIO,
  kvCacheUsageRatioMean: RATIO,
  kvCacheCapacityTokens: NUMBER,
};

const FIGURES_BESIDE: Properties = {
  kvCacheCapacityIsEstimate: BOOLEAN,
  waitingByReason: FAMILY,
  lastPoll: refer("window"),
  lastMinute: refer("window"),
  sinceStart: refer("lifetime"),
};

const EVIDENCE: Properties = {
  rule: { enum: RULES.map(({ id }) => id) },
  unit: { description: "of value and baseline", ...TEXT },
};

const EVIDENCE_READINGS: Properties = {
  value: NUMBER,
  baseline: NUMBER,
  ratio: NUMBER,
  samples: NUMBER,
  spanSeconds: NUMBER,
};

const EVIDENCE_OPTIONAL: Properties = {
  statistic: TEXT,
  probability: { description: "that chance alone would do it", ...RATIO },
  conditions: {
    description: "of HOT: what it meets",
    type: "array",
    items: object({ signal: TEXT, value: NUMBER, limit: NUMBER }),
  },
};

const COUNTED: Properties = {
  finishedRequests: NUMBER,
  promptTokens: NUMBER,
  cachedPromptTokens: NUMBER,
  generationTokens: NUMBER,
  preemptions: NUMBER,
  rejectedRequests: NUMBER,
};

const GROUP_BESIDE: Properties = {
  replicas: COUNT,
  kvCacheUsageRatioMaxReplica: orNull(TEXT),
  ...FIGURES_BESIDE,
};

const DEFINITIONS: Properties = {
  quantile: object({
    seconds: NUMBER,
    bound: {
      description: '"<": below `seconds`; ">": above; "": both sides are known',
      enum: ["", "<", ">"],
    },
  }),
  latency: readings({
    p50: refer("quantile"),
    p95: refer("quantile"),
    p99: refer("quantile"),
    meanSeconds: NUMBER,
    samples: NUMBER,
  }),
  latencies: object(Object.fromEntries(LATENCY_KEYS.map((key) => [key, refer("latency")]))),
  window: readings({
    spanSeconds: NUMBER,
    requestsPerSecond: NUMBER,
    promptTokensPerSecond: NUMBER,
    computedPromptTokensPerSecond: NUMBER,
    cachedPromptTokensPerSecond: NUMBER,
    generationTokensPerSecond: NUMBER,
    preemptionsPerSecond: NUMBER,
    ...RATIOS,
  }, { acceptanceRatioByPosition: FAMILY, latency: refer("latencies") }),
  lifetime: readings({
    promptTokens: NUMBER,
    cachedPromptTokens: NUMBER,
    generationTokens: NUMBER,
    finishedRequests: NUMBER,
    preemptions: NUMBER,
    ...RATIOS,
  }, {
    finishedByReason: FAMILY,
    promptTokensBySource: FAMILY,
    latency: refer("latencies"),
  }),
  figures: readings(FIGURES, FIGURES_BESIDE),
  scrape: readings({ processStartEpochSeconds: NUMBER, uptimeSeconds: NUMBER }, {
    ageSeconds: NUMBER,
    durationSeconds: NUMBER,
    bodyBytes: COUNT,
    samples: COUNT,
    dialect: { enum: ["prometheus", "openmetrics"] },
    metricPrefix: TEXT,
    olderNames: { type: "object", additionalProperties: TEXT },
    badLines: COUNT,
    badLineExamples: { type: "array", items: object({ line: COUNT, message: TEXT }) },
    redirectedTo: orNull(TEXT),
    restartsSeen: COUNT,
    httpResponsesByStatus: FAMILY,
    rejectedRequestsByReason: FAMILY,
    lora: orNull(readings({ maxAdapters: NUMBER }, { running: TEXTS, waiting: TEXTS })),
  }),
  evidence: readings(EVIDENCE_READINGS, EVIDENCE, EVIDENCE_OPTIONAL),
  verdict: object({
    level: { enum: ["PENDING", "HEALTHY", "DEGRADED", "CRITICAL"] },
    causes: {
      type: "array",
      items: object({ name: TEXT, signal: TEXT }, { evidence: refer("evidence") }),
    },
  }),
  checks: object({
    replicas: TEXTS,
    rules: {
      type: "array",
      items: object({
        rule: EVIDENCE.rule,
        compared: COUNT,
        verdicts: {
          type: "array",
          items: readings(EVIDENCE_READINGS, { replica: TEXT, ...EVIDENCE }, EVIDENCE_OPTIONAL),
        },
      }),
    },
  }),
  event: object({
    kind: { enum: Object.keys(EVENT_KINDS) },
    name: TEXT,
    endpoint: TEXT,
    beganAtEpochSeconds: NUMBER,
    isOver: BOOLEAN,
    durationSeconds: NUMBER,
    occurrences: COUNT,
  }, {
    amount: NUMBER,
    first: refer("evidence"),
    worst: refer("evidence"),
    gpu: refer("gpuOutlier"),
  }),
  peaks: readings(Object.fromEntries(
    PEAK_KEYS.map((key) => [key, object({ value: NUMBER, timeEpochSeconds: NUMBER })]),
  )),
  server: object({
    version: orNull(TEXT),
    maxModelLenTokens: orNull(COUNT),
    servedModels: TEXTS,
    loraAdapters: TEXTS,
    parallelism: orNull(FAMILY),
    commandLine: orNull(TEXT),
  }),
  endpoint: object({
    url: TEXT,
    address: TEXT,
    name: TEXT,
    status: TEXT,
    intervalSeconds: NUMBER,
    server: orNull(refer("server")),
    failure: orNull(object({ kind: TEXT, message: TEXT })),
    warnings: TEXTS,
    scrape: orNull(refer("scrape")),
  }),
  replica: readings({ requestShareLastMinuteRatio: RATIO, uptimeSeconds: NUMBER }, {
    name: TEXT,
    url: TEXT,
    status: TEXT,
    model: orNull(TEXT),
    engine: orNull(TEXT),
    ageSeconds: orNull(NUMBER),
    figures: orNull(refer("figures")),
    cacheConfig: orNull({ type: "object", additionalProperties: TEXT }),
    sinceAttached: orNull(readings(COUNTED, { spanSeconds: NUMBER })),
    peaks: refer("peaks"),
    gpuIndexes: orNull({ type: "array", items: COUNT }),
  }),
  group: readings(FIGURES, {
    model: TEXT,
    ...GROUP_BESIDE,
    checks: { type: "array", items: refer("checks") },
  }),
  total: readings(FIGURES, {
    replicaCounts: object({ total: COUNT, up: COUNT, stale: COUNT, down: COUNT, pending: COUNT }),
    ...GROUP_BESIDE,
    sinceAttached: readings(COUNTED),
    peaks: refer("peaks"),
  }),
};

/** The JSON Schema of one document of `--output json`. */
export function createReportSchema(): Schema {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Report of vllm-htop",
    ...object({
      schema: {
        description: "changes when a key changes its meaning or goes",
        const: SCHEMA_VERSION,
      },
      program: TEXT,
      time: { description: "RFC 3339", ...TEXT },
      timeEpochSeconds: NUMBER,
      intervalSeconds: NUMBER,
      isDemo: BOOLEAN,
      notices: TEXTS,
      verdict: refer("verdict"),
      endpoints: { type: "array", items: refer("endpoint") },
      replicas: { type: "array", items: refer("replica") },
      groups: { type: "array", items: refer("group") },
      events: { type: "array", items: refer("event") },
      total: refer("total"),
      gpus: orNull({ type: "array", items: refer("gpu") }),
      gpuFailure: orNull(object({ kind: TEXT, message: TEXT })),
      gpuSample: orNull(refer("gpuSample")),
      cost: refer("cost"),
    }),
    $defs: { ...DEFINITIONS, ...GPU_DEFINITIONS },
  };
}
