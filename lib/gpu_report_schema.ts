/**
 * The part of the report's JSON Schema that is about GPUs and money.
 *
 * Layer 4, pure. Follows `gpu_report` and `cost_report` key by key.
 *
 * @module
 */

import {
  BOOLEAN,
  COUNT,
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

const FLOW = readings({ usdPerHour: NUMBER, usdPerDay: NUMBER, usdPer30Days: NUMBER });

const RATES: Properties = {
  marginRatio: RATIO,
  usdPerMillionTokens: NUMBER,
  usdPerMillionOutputTokens: NUMBER,
};

const FLOWS: Properties = { tokens: FLOW, compute: FLOW };

const SPAN: Properties = {
  spanSeconds: NUMBER,
  inputTokensUsd: NUMBER,
  cachedInputTokensUsd: NUMBER,
  outputTokensUsd: NUMBER,
  tokensUsd: NUMBER,
  computeUsd: NUMBER,
  marginRatio: RATIO,
};

const MEMORY: Properties = { memoryUsedBytes: NUMBER, memoryTotalBytes: NUMBER };

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
    items: readings({ usdPerGpuHour: NUMBER }, {
      name: TEXT,
      count: COUNT,
      isHint: BOOLEAN,
      hint: orNull(object({ match: TEXT, tier: TEXT, month: TEXT, source: TEXT, note: TEXT })),
    }),
  },
  tokenPrices: readings({
    usdPerMillionInputTokens: NUMBER,
    usdPerMillionCachedInputTokens: NUMBER,
    usdPerMillionOutputTokens: NUMBER,
  }),
  rate: readings({ spanSeconds: NUMBER, ...RATES }, FLOWS),
  session: readings(SPAN, { idle: readings({ usd: NUMBER, ratio: RATIO }) }),
  sinceStart: readings(SPAN),
  groups: {
    type: "array",
    items: readings({ usdPerHour: NUMBER }, { model: TEXT, rate: readings(RATES, FLOWS) }),
  },
  unused: readings({ usdPerHour: NUMBER }),
});

/** What the schema refers to by name. */
export const GPU_DEFINITIONS: Properties = {
  gpu: readings({
    uuid: TEXT,
    utilizationRatio: RATIO,
    ...MEMORY,
    powerWatts: NUMBER,
    powerLimitWatts: NUMBER,
    temperatureCelsius: NUMBER,
    temperatureMarginCelsius: NUMBER,
    smClockHertz: NUMBER,
    smClockMaxHertz: NUMBER,
    memoryClockHertz: NUMBER,
    fanRatio: RATIO,
    eccErrorsCorrected: NUMBER,
    eccErrorsUncorrected: NUMBER,
    pcieGeneration: NUMBER,
    pcieGenerationMax: NUMBER,
    pcieWidth: NUMBER,
    pcieWidthMax: NUMBER,
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
      items: readings({ profile: TEXT, uuid: TEXT, gpuInstanceId: NUMBER, ...MEMORY }, {
        index: COUNT,
      }),
    },
    processes: { type: "array", items: refer("gpuProcess") },
    outlier: orNull(refer("gpuOutlier")),
  }),
  gpuProcess: readings({ memoryBytes: NUMBER, gpuInstanceId: NUMBER }, {
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
    smClockHertz: NUMBER,
    peersClockHertz: NUMBER,
    temperatureCelsius: NUMBER,
  }, {
    kind: { enum: ["throttled", "slow_clock"] },
    slowedBy: TEXTS,
    busyPeers: COUNT,
  }),
  gpuSample: object({
    program: { enum: ["nvidia-smi", "amd-smi"] },
    ageSeconds: NUMBER,
    durationSeconds: NUMBER,
    warnings: TEXTS,
    processesReason: orNull(TEXT),
  }),
  cost: COST,
};
