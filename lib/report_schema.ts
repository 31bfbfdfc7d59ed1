/**
 * The JSON Schema of the document that `report` makes.
 *
 * Stands beside `report` and follows it key by key; a test
 * checks real documents against it, and fails on a key that is not here. Keys
 * may be added to the document without a new schema number, so the schema lets
 * unknown keys pass. Source: JSON Schema 2020-12.
 *
 * @module
 */

import {
  BOOLEAN,
  COUNT,
  FAMILY,
  NUMBER_SCHEMA,
  object,
  orNull,
  type Properties,
  RATIO,
  readings,
  refer,
  type Schema,
  TEXT,
  TEXTS,
} from "./json.ts";
import { LATENCY_KEYS } from "./model.ts";
import { EVENT_KINDS } from "./rules_alerts.ts";
import { RULES } from "./rules_table.ts";
import { PEAK_KEYS } from "./stats_totals.ts";

/** Number of the document's schema. It changes when a key changes its meaning or goes. */
export const SCHEMA_VERSION = 1;

const FLOW = readings({
  usdPerHour: NUMBER_SCHEMA,
  usdPerDay: NUMBER_SCHEMA,
  usdPer30Days: NUMBER_SCHEMA,
});

const RATES: Properties = {
  marginRatio: RATIO,
  usdPerMillionTokens: NUMBER_SCHEMA,
  usdPerMillionOutputTokens: NUMBER_SCHEMA,
};

const FLOWS: Properties = { tokens: FLOW, compute: FLOW };

const SPAN: Properties = {
  spanSeconds: NUMBER_SCHEMA,
  inputTokensUsd: NUMBER_SCHEMA,
  cachedInputTokensUsd: NUMBER_SCHEMA,
  outputTokensUsd: NUMBER_SCHEMA,
  tokensUsd: NUMBER_SCHEMA,
  computeUsd: NUMBER_SCHEMA,
  marginRatio: RATIO,
};

const MEMORY: Properties = { memoryUsedBytes: NUMBER_SCHEMA, memoryTotalBytes: NUMBER_SCHEMA };

const COST = object({
  currency: { description: "the sign on the screen; all amounts are USD", ...TEXT },
  basis: {
    description: "which GPUs are paid for",
    enum: ["told", "serving", "machine", "none"],
  },
  isHint: { description: "whether a built-in price or an estimate is in it", ...BOOLEAN },
  isThisMachineOnly: BOOLEAN,
  gpuCount: COUNT,
  gpus: {
    type: "array",
    items: readings({ usdPerGpuHour: NUMBER_SCHEMA }, {
      name: TEXT,
      count: COUNT,
      isHint: BOOLEAN,
      hint: orNull(object({ match: TEXT, tier: TEXT, month: TEXT, source: TEXT, note: TEXT })),
    }),
  },
  tokenPrices: readings({
    usdPerMillionInputTokens: NUMBER_SCHEMA,
    usdPerMillionCachedInputTokens: NUMBER_SCHEMA,
    usdPerMillionOutputTokens: NUMBER_SCHEMA,
  }),
  rate: readings({ spanSeconds: NUMBER_SCHEMA, ...RATES }, FLOWS),
  session: readings(SPAN, { idle: readings({ usd: NUMBER_SCHEMA, ratio: RATIO }) }),
  sinceStart: readings(SPAN),
  groups: {
    type: "array",
    items: readings({ usdPerHour: NUMBER_SCHEMA }, { model: TEXT, rate: readings(RATES, FLOWS) }),
  },
  unused: readings({ usdPerHour: NUMBER_SCHEMA }),
});

/** What the schema refers to by name. */
const GPU_DEFINITIONS: Properties = {
  gpu: readings({
    uuid: TEXT,
    utilizationRatio: RATIO,
    ...MEMORY,
    powerWatts: NUMBER_SCHEMA,
    powerLimitWatts: NUMBER_SCHEMA,
    temperatureCelsius: NUMBER_SCHEMA,
    temperatureMarginCelsius: NUMBER_SCHEMA,
    smClockHertz: NUMBER_SCHEMA,
    smClockMaxHertz: NUMBER_SCHEMA,
    memoryClockHertz: NUMBER_SCHEMA,
    fanRatio: RATIO,
    eccErrorsCorrected: NUMBER_SCHEMA,
    eccErrorsUncorrected: NUMBER_SCHEMA,
    pcieGeneration: NUMBER_SCHEMA,
    pcieGenerationMax: NUMBER_SCHEMA,
    pcieWidth: NUMBER_SCHEMA,
    pcieWidthMax: NUMBER_SCHEMA,
    isPersistent: BOOLEAN,
    isMigEnabled: BOOLEAN,
    slowedBy: TEXTS,
  }, {
    index: COUNT,
    vendor: { enum: ["nvidia", "amd"] },
    name: TEXT,
    isMemoryUnified: BOOLEAN,
    migInstances: {
      type: "array",
      items: readings({ profile: TEXT, uuid: TEXT, gpuInstanceId: NUMBER_SCHEMA, ...MEMORY }, {
        index: COUNT,
      }),
    },
    processes: { type: "array", items: refer("gpuProcess") },
    outlier: orNull(refer("gpuOutlier")),
  }),
  gpuProcess: readings({ memoryBytes: NUMBER_SCHEMA, gpuInstanceId: NUMBER_SCHEMA }, {
    pid: COUNT,
    name: TEXT,
    owner: orNull(object({
      endpoint: TEXT,
      replica: orNull(TEXT),
      engine: orNull(TEXT),
      tensorRank: orNull(COUNT),
      pipelineRank: orNull(COUNT),
      evidence: { enum: ["listener", "group", "port", "model", "elimination"] },
    })),
  }),
  gpuOutlier: readings({
    smClockHertz: NUMBER_SCHEMA,
    peersClockHertz: NUMBER_SCHEMA,
    temperatureCelsius: NUMBER_SCHEMA,
  }, {
    kind: { enum: ["throttled", "slow_clock"] },
    slowedBy: TEXTS,
    busyPeers: COUNT,
  }),
  gpuSample: object({
    program: { enum: ["nvidia-smi", "amd-smi"] },
    ageSeconds: NUMBER_SCHEMA,
    durationSeconds: NUMBER_SCHEMA,
    warnings: TEXTS,
    processesReason: orNull(TEXT),
  }),
  cost: COST,
};

const RATIOS: Properties = {
  prefixCacheHitRatio: RATIO,
  prefixCacheQueries: NUMBER_SCHEMA,
  externalPrefixCacheHitRatio: RATIO,
  draftAcceptanceRatio: RATIO,
  meanAcceptanceLengthTokens: NUMBER_SCHEMA,
};

const FIGURES: Properties = {
  running: NUMBER_SCHEMA,
  waiting: NUMBER_SCHEMA,
  kvCacheUsageRatioMax: RATIO,
  kvCacheUsageRatioMean: RATIO,
  kvCacheCapacityTokens: NUMBER_SCHEMA,
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
  value: NUMBER_SCHEMA,
  baseline: NUMBER_SCHEMA,
  ratio: NUMBER_SCHEMA,
  samples: NUMBER_SCHEMA,
  spanSeconds: NUMBER_SCHEMA,
};

const EVIDENCE_OPTIONAL: Properties = {
  statistic: TEXT,
  probability: { description: "that chance alone would do it", ...RATIO },
  conditions: {
    description: "of HOT: what it meets",
    type: "array",
    items: object({ signal: TEXT, value: NUMBER_SCHEMA, limit: NUMBER_SCHEMA }),
  },
};

const COUNTED: Properties = {
  finishedRequests: NUMBER_SCHEMA,
  promptTokens: NUMBER_SCHEMA,
  cachedPromptTokens: NUMBER_SCHEMA,
  generationTokens: NUMBER_SCHEMA,
  preemptions: NUMBER_SCHEMA,
  rejectedRequests: NUMBER_SCHEMA,
};

const GROUP_BESIDE: Properties = {
  replicas: COUNT,
  kvCacheUsageRatioMaxReplica: orNull(TEXT),
  ...FIGURES_BESIDE,
};

const DEFINITIONS: Properties = {
  quantile: object({
    seconds: NUMBER_SCHEMA,
    bound: {
      description: '"<": below `seconds`; ">": above; "": both sides are known',
      enum: ["", "<", ">"],
    },
  }),
  latency: readings({
    p50: refer("quantile"),
    p95: refer("quantile"),
    p99: refer("quantile"),
    meanSeconds: NUMBER_SCHEMA,
    samples: NUMBER_SCHEMA,
  }),
  latencies: object(Object.fromEntries(LATENCY_KEYS.map((key) => [key, refer("latency")]))),
  window: readings({
    spanSeconds: NUMBER_SCHEMA,
    requestsPerSecond: NUMBER_SCHEMA,
    promptTokensPerSecond: NUMBER_SCHEMA,
    computedPromptTokensPerSecond: NUMBER_SCHEMA,
    cachedPromptTokensPerSecond: NUMBER_SCHEMA,
    generationTokensPerSecond: NUMBER_SCHEMA,
    preemptionsPerSecond: NUMBER_SCHEMA,
    ...RATIOS,
  }, { acceptanceRatioByPosition: FAMILY, latency: refer("latencies") }),
  lifetime: readings({
    promptTokens: NUMBER_SCHEMA,
    cachedPromptTokens: NUMBER_SCHEMA,
    generationTokens: NUMBER_SCHEMA,
    finishedRequests: NUMBER_SCHEMA,
    preemptions: NUMBER_SCHEMA,
    ...RATIOS,
  }, {
    finishedByReason: FAMILY,
    promptTokensBySource: FAMILY,
    latency: refer("latencies"),
  }),
  figures: readings(FIGURES, FIGURES_BESIDE),
  scrape: readings({ processStartEpochSeconds: NUMBER_SCHEMA, uptimeSeconds: NUMBER_SCHEMA }, {
    ageSeconds: NUMBER_SCHEMA,
    durationSeconds: NUMBER_SCHEMA,
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
    lora: orNull(readings({ maxAdapters: NUMBER_SCHEMA }, { running: TEXTS, waiting: TEXTS })),
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
    beganAtEpochSeconds: NUMBER_SCHEMA,
    isOver: BOOLEAN,
    durationSeconds: NUMBER_SCHEMA,
    occurrences: COUNT,
  }, {
    amount: NUMBER_SCHEMA,
    first: refer("evidence"),
    worst: refer("evidence"),
    gpu: refer("gpuOutlier"),
  }),
  peaks: readings(Object.fromEntries(
    PEAK_KEYS.map((
      key,
    ) => [key, object({ value: NUMBER_SCHEMA, timeEpochSeconds: NUMBER_SCHEMA })]),
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
    intervalSeconds: NUMBER_SCHEMA,
    server: orNull(refer("server")),
    failure: orNull(object({ kind: TEXT, message: TEXT })),
    warnings: TEXTS,
    scrape: orNull(refer("scrape")),
  }),
  replica: readings({ requestShareLastMinuteRatio: RATIO, uptimeSeconds: NUMBER_SCHEMA }, {
    name: TEXT,
    url: TEXT,
    status: TEXT,
    model: orNull(TEXT),
    engine: orNull(TEXT),
    ageSeconds: orNull(NUMBER_SCHEMA),
    figures: orNull(refer("figures")),
    cacheConfig: orNull({ type: "object", additionalProperties: TEXT }),
    sinceAttached: orNull(readings(COUNTED, { spanSeconds: NUMBER_SCHEMA })),
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
      timeEpochSeconds: NUMBER_SCHEMA,
      intervalSeconds: NUMBER_SCHEMA,
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
