/**
 * State -> one JSON document for scripts, logs and alerts. Keys end in their unit, in base units
 * (seconds, bytes, ratios from 0 to 1). Numbers are finite and texts free of control characters, so
 * the document is always valid.
 * @module
 */

import type { Quantile } from "./histogram.ts";
import type { Json, Schema } from "./json.ts";
import {
  type BadLine,
  type Figures,
  LATENCY_KEYS,
  LATENCY_NAMES,
  type LatencyFigures,
  type LifetimeFigures,
  listMetrics,
  type LoraSample,
  MODEL_STATES,
  NO_METRICS,
  type Scrape,
  type ServerInfo,
  type WindowFigures,
} from "./model.ts";
import { absent, mapReading, present } from "./reading.ts";
import {
  BOOLEAN,
  count,
  COUNTS,
  describeFields,
  EPOCH,
  extend,
  type Field,
  field,
  figure,
  from,
  LABELS,
  list,
  METRICS,
  number,
  object,
  oneOf,
  orNull,
  RATIO,
  REQUESTS,
  SECONDS,
  TEXT,
  TEXTS,
  TOKENS,
  type ValueType,
} from "./report_fields.ts";
import { COST, ENERGY, FAILURE, HOST, listHosts } from "./report_gpu_cost.ts";
import { LOG_FIELD } from "./report_log.ts";
import { POD } from "./report_pod.ts";
import {
  ADVICE,
  CHECKS,
  createNames,
  EVENT,
  listRules,
  type Named,
  NUMBERS,
  OBJECTIVE_FIELDS,
  RULE_CHECK,
  RULE_LIST,
  VERDICT,
} from "./report_rules.ts";
import { FLAG_OF_LIMIT, LIMIT_KINDS } from "./rules_limits.ts";
import { computeEndpointStatus, getScrapeInterval, getScrapeRecord } from "./rules_status.ts";
import type { State } from "./state.ts";
import { type EndpointState, getUptime } from "./state_endpoint.ts";
import { describeUrl, type Fleet, getHostName, type ModelGroup, type Row } from "./state_fleet.ts";
import { PEAK_KEYS } from "./stats_series.ts";
import type { Attainment, ObjectiveFigures } from "./stats_slo.ts";
import type { Peaks, SessionCounts } from "./stats_totals.ts";
import { formatTimestamp } from "./units.ts";

/** Rises when a key changes its meaning or goes. */
export const SCHEMA_VERSION = 1;
const BOUND = oneOf(["", "<", ">"]);

const QUANTILE = object<Quantile>([
  field("seconds", SECONDS, "the quantile, or a bound of it", "value"),
  field("bound", BOUND, '"<": below `seconds`; ">": above; "": both sides are known'),
], "quantile");

const LATENCY = object<LatencyFigures>([
  figure("p50", QUANTILE, "median"),
  figure("p95", QUANTILE, "95th percentile"),
  figure("p99", QUANTILE, "99th percentile"),
  figure("meanSeconds", SECONDS, "mean", "mean"),
  figure("samples", number(), "number of observations"),
], "latency");

const LATENCIES = object<WindowFigures["latency"]>(
  LATENCY_KEYS.map((key) =>
    field(key, LATENCY, LATENCY_NAMES[key].words, (latency) => latency[key])
  ),
  "latencies",
);

const RATIO_FIELDS: readonly Field<WindowFigures | LifetimeFigures>[] = [
  figure("prefixCacheHitRatio", RATIO, "hits of the prefix cache"),
  figure("prefixCacheQueries", TOKENS, "what it was asked for; blocks up to vLLM 0.8.5"),
  figure("externalPrefixCacheHitRatio", RATIO, "hits of an external prefix cache"),
  figure("draftAcceptanceRatio", RATIO, "draft tokens that were accepted"),
  figure("meanAcceptanceLengthTokens", TOKENS, "tokens per decode step", "meanAcceptanceLength"),
];

const REQUESTS_RATE = number("requests per second");
const TOKENS_RATE = number("tokens per second");

const WINDOW = object<WindowFigures>([
  figure("spanSeconds", SECONDS, "measured span", "span"),
  figure("requestsPerSecond", REQUESTS_RATE, "finished requests"),
  figure("promptTokensPerSecond", TOKENS_RATE, "prompt tokens"),
  figure("computedPromptTokensPerSecond", TOKENS_RATE, "prompt tokens computed here"),
  figure("cachedPromptTokensPerSecond", TOKENS_RATE, "prompt tokens from a cache"),
  figure("generationTokensPerSecond", TOKENS_RATE, "output tokens"),
  figure("preemptionsPerSecond", REQUESTS_RATE, "preemptions"),
  ...RATIO_FIELDS,
  field("acceptanceRatioByPosition", COUNTS, "drafts accepted, by position from 0"),
  field("latency", LATENCIES, "latencies in this window"),
], "window");

const LIFETIME = object<LifetimeFigures>([
  figure("promptTokens", TOKENS, "prompt tokens"),
  figure("cachedPromptTokens", TOKENS, "prompt tokens from a cache"),
  figure("generationTokens", TOKENS, "output tokens"),
  figure("finishedRequests", REQUESTS, "finished requests"),
  figure("preemptions", number(), "preemptions"),
  ...RATIO_FIELDS,
  field("finishedByReason", COUNTS, "finished requests by reason"),
  field("promptTokensBySource", COUNTS, "prompt tokens by source"),
  field("latency", LATENCIES, "latencies since the start"),
], "lifetime");

const KV_CACHE_FIELDS: readonly Field<Figures["kvCache"]>[] = [
  figure("kvCacheUsageRatioMax", RATIO, "the fullest KV cache", "maxRatio"),
  figure("kvCacheUsageRatioMean", RATIO, "mean by capacity", "meanRatio"),
  figure("kvCacheCapacityTokens", TOKENS, "capacity of the KV caches", "capacityTokens"),
  field(
    "kvCacheCapacityIsEstimate",
    BOOLEAN,
    "may be wrong for hybrid models",
    "capacityIsEstimate",
  ),
];

const ATTAINMENT = object<Attainment>([
  figure("withinLimitRatioMin", RATIO, "share within the limit, at least", ({ ratio }) => {
    return mapReading(ratio, ({ min }) => min);
  }),
  figure("withinLimitRatioMax", RATIO, "the same, at most; equal if exact", ({ ratio }) => {
    return mapReading(ratio, ({ max }) => max);
  }),
  figure("samples", number(), "number of observations"),
], "attainment");

const SERVICE_LEVELS = list(object<ObjectiveFigures>([
  ...from(OBJECTIVE_FIELDS, ({ objective }: ObjectiveFigures) => objective),
  field("model", orNull(TEXT), "as given; null: all models without their own", ({ objective }) => {
    return objective.model;
  }),
  field("lastMinute", ATTAINMENT, "in the last minute"),
  field("session", ATTAINMENT, "since vllm-htop began to watch"),
  field("sinceStart", ATTAINMENT, "since the server started"),
], "serviceLevel"));

const FIGURE_FIELDS: readonly Field<Figures>[] = [
  figure("running", REQUESTS, "requests running now"),
  figure("waiting", REQUESTS, "requests waiting now"),
  ...from(KV_CACHE_FIELDS, ({ kvCache }: Figures) => kvCache),
  field("waitingByReason", COUNTS, "requests waiting by reason"),
  field("lastPoll", WINDOW, "between the last two scrapes"),
  field("lastMinute", WINDOW, "the last minute"),
  field("sinceStart", LIFETIME, "since the server started", "lifetime"),
];

type Within<T> = T & { readonly whole: State };

const LIMIT = object<Within<Row>>([
  field("kind", oneOf(LIMIT_KINDS), "what limits the engine", ({ limit }) => limit.kind),
  field("flag", orNull(TEXT), "flag of the server that moves it", ({ limit, replica }) => {
    const key = FLAG_OF_LIMIT[limit.kind];
    return key === undefined ? null : replica?.sample.server.flags[key] ?? null;
  }),
  field("spanSeconds", SECONDS, "for how long it has been so", ({ limit }) => limit.span),
  field("evidence", NUMBERS, "figures that show it, in base units", ({ limit }) => limit.evidence),
], "limit");

const COUNTED_FIELDS: readonly Field<SessionCounts>[] = [
  figure("finishedRequests", REQUESTS, "finished requests", "requests"),
  figure("promptTokens", TOKENS, "prompt tokens"),
  figure("cachedPromptTokens", TOKENS, "prompt tokens from a cache"),
  figure("generationTokens", TOKENS, "output tokens"),
  figure("preemptions", number(), "preemptions"),
  figure("rejectedRequests", REQUESTS, "requests refused", "rejections"),
];

const PEAK = object<NonNullable<Peaks[typeof PEAK_KEYS[number]]>>([
  field("value", number(), "the highest"),
  field("timeEpochSeconds", EPOCH, "when", "atEpoch"),
], "peak");

const PEAKS = object<Peaks>(
  PEAK_KEYS.map((key) =>
    figure(key, PEAK, "highest in this session", (peaks) => {
      const peak = peaks[key];
      return peak === null ? absent("first_scrape") : present(peak);
    })
  ),
  "peaks",
);

const GROUP_FIELDS: readonly Field<ModelGroup>[] = [
  field("replicas", count("replicas"), "that are counted", ({ figures }) => figures.replicaCount),
  field("kvCacheUsageRatioMaxReplica", orNull(TEXT), "displayName of the fullest", (group) => {
    return group.kvCacheMaxOwner?.name ?? null;
  }),
  ...from(FIGURE_FIELDS, ({ figures }: ModelGroup) => figures),
  field("serviceLevels", SERVICE_LEVELS, "objectives set by --slo"),
];

const GROUP = object<Named<ModelGroup>>([
  field("model", TEXT, "name of the model", "modelName"),
  ...GROUP_FIELDS,
  field("checks", list(CHECKS), "for each set of replicas that can be compared", (group) => {
    return extend(group.checks, { names: group.names });
  }),
], "group");

const LORA = object<LoraSample>([
  figure("running", TEXTS, "adapters in use", "runningAdapters"),
  figure("waiting", TEXTS, "waiting adapters", "waitingAdapters"),
  figure("maxAdapters", number(), "most adapters"),
]);

const BAD_LINE = object<BadLine>([
  field("line", count(), "counted from 1"),
  field("message", TEXT, "what is wrong with it"),
]);

const NO_COUNTS: ReadonlyMap<string, number> = new Map();
type Scraped = Within<EndpointState> & { readonly scrape: Scrape };

const SCRAPE_FIELDS: readonly Field<Scrape>[] = [
  figure("processStartEpochSeconds", EPOCH, "when the server started", "processStart"),
  field("durationSeconds", SECONDS, "time that it took", "duration"),
  field("bodyBytes", count("bytes"), "size, inflated", "bytes"),
  field("samples", count(), "samples in it", "sampleCount"),
  field("dialect", oneOf(["prometheus", "openmetrics"]), "format"),
  field("metricPrefix", TEXT, "prefix of the metrics"),
  field("olderNames", LABELS, "figures found under an older name", "aliases"),
  field("badLines", count(), "lines that could not be parsed", "badLineCount"),
  field("badLineExamples", list(BAD_LINE), "the first of them", "badLines"),
  field("redirectedTo", orNull(TEXT), "where a redirect led"),
  field("httpResponsesByStatus", COUNTS, "HTTP responses by class"),
  field("rejectedRequestsByReason", COUNTS, "requests refused, by reason", ({ server }) => {
    return server?.labelled.rejectedByReason ?? NO_COUNTS;
  }),
  field("lora", orNull(LORA), "LoRA adapters"),
  field("metrics", METRICS, "metrics that name no engine", ({ server }) => {
    return listMetrics(server?.metrics ?? NO_METRICS);
  }),
];

const SCRAPE = object<Scraped>([
  ...from(SCRAPE_FIELDS, ({ scrape }: Scraped) => scrape),
  figure("uptimeSeconds", SECONDS, "since the server started", (all) => getUptime(all, all.whole)),
  field("ageSeconds", SECONDS, "since it was received", ({ scrape, whole }) => {
    return Math.max(0, whole.now - scrape.receivedAt);
  }),
  field("restartsSeen", count(), "restarts seen", ({ history }) => history.restartCount),
], "scrape");

type ServerFacts = ServerInfo & {
  readonly ownModels: ServerInfo["models"];
  readonly adapters: ServerInfo["models"];
};

const SERVER = object<ServerFacts>([
  field("version", orNull(TEXT), "version of the server"),
  field("maxModelLenTokens", orNull(count("tokens")), "prompt and answer", ({ ownModels }) => {
    return ownModels[0]?.maxModelLength ?? null;
  }),
  field("servedModels", TEXTS, "names of the models", (all) => all.ownModels.map(({ id }) => id)),
  field("loraAdapters", TEXTS, "names of LoRA adapters", (all) => all.adapters.map(({ id }) => id)),
  field("parallelism", orNull(COUNTS), "sizes", ({ launch }) => launch?.parallelSizes ?? null),
  field("commandLine", orNull(TEXT), "without secrets", ({ launch }) => {
    return launch?.commandLine ?? null;
  }),
], "server");

function listFacts({ server }: EndpointState): ServerFacts | null {
  if (server === null) return null;
  const { models } = server;
  return {
    ...server,
    ownModels: models.filter(({ parent }) => parent === null),
    adapters: models.filter(({ parent }) => parent !== null),
  };
}

const ENDPOINT = object<Within<EndpointState>>([
  field("url", TEXT, "URL of its metrics", ({ endpoint }) => describeUrl(endpoint)),
  field("address", TEXT, "host:port, or path of a socket", ({ endpoint }) => endpoint.address),
  field("displayName", TEXT, "name on the screen"),
  field("status", TEXT, "PENDING, OK, LOAD, STALE or DOWN", (known) => {
    return computeEndpointStatus(getScrapeRecord(known, known.whole));
  }),
  field("failure", orNull(FAILURE), "why the last scrape failed"),
  field("sshHost", orNull(TEXT), "host behind ssh through which it is reached", ({ endpoint }) => {
    return endpoint.sshHost ?? null;
  }),
  field("labels", LABELS, "those of its target or pod", ({ endpoint }) => {
    return endpoint.targetLabels ?? new Map();
  }),
  field("pod", orNull(POD), "in Kubernetes, as last listed", ({ endpoint }) => {
    return endpoint.pod ?? null;
  }),
  field("warnings", TEXTS, "how it is reached", ({ endpoint }) => endpoint.warnings),
  field("intervalSeconds", SECONDS, "interval in use", (known) => {
    return getScrapeInterval(known, known.whole.interval);
  }),
  field("server", orNull(SERVER), "how the server was started", listFacts),
  LOG_FIELD,
  field("scrape", orNull(SCRAPE), "the last that succeeded", (known) => {
    return known.scrape === null ? null : { ...known, scrape: known.scrape };
  }),
], "endpoint");

type Session = { readonly span: number; readonly counted: SessionCounts };

const SESSION = object<Session>([
  field("spanSeconds", SECONDS, "since it was first watched", "span"),
  ...from(COUNTED_FIELDS, ({ counted }: Session) => counted),
]);

export const REPLICA: ValueType<Within<Row>> = object<Within<Row>>([
  field("displayName", TEXT, "name on the screen", "name"),
  field("url", TEXT, "URL of its metrics", ({ state }) => describeUrl(state.endpoint)),
  field(
    "status",
    TEXT,
    "OK, PENDING, LOAD, INIT, SLEEP, UNLOADED, STALE, DOWN, or the word of a rule that fires",
  ),
  field("model", orNull(TEXT), "name of the model", (row) => row.replica?.sample.modelName ?? null),
  field("modelState", orNull(TEXT), MODEL_STATES.join(", "), (row) => {
    return row.replica?.sample.modelState ?? null;
  }),
  field("modelFault", orNull(TEXT), "why the model failed", (row) => {
    return row.replica?.sample.modelFault ?? null;
  }),
  field(
    "engine",
    orNull(TEXT),
    "data-parallel rank, or the labels that name it",
    (row) => row.replica?.sample.engine || null,
  ),
  field("isCountedElsewhere", BOOLEAN, "in no total, as others count the same requests"),
  field("ageSeconds", orNull(SECONDS), "age of the figures", "age"),
  figure("requestShareLastMinuteRatio", RATIO, "of the requests of its model", "requestShare"),
  figure("uptimeSeconds", SECONDS, "since the server started", ({ state, whole }) => {
    return getUptime(state, whole);
  }),
  field("figures", orNull(object(FIGURE_FIELDS, "figures")), "null if DOWN", (row) => {
    return row.replica === null || row.status === "DOWN" ? null : row.figures;
  }),
  field("serviceLevels", SERVICE_LEVELS, "objectives set by --slo"),
  field("session", orNull(SESSION), "since vllm-htop began to watch", ({ total, whole }) => {
    if (total === null) return null;
    return { span: Math.max(0, whole.now - total.since), counted: total.counted };
  }),
  field("peaks", PEAKS, "highest in this session"),
  field("limit", LIMIT, "what limits it now", (row) => row),
  field("advice", list(ADVICE), "what to do, best first"),
  field("host", TEXT, "name of the host it is on", ({ state }) => getHostName(state.endpoint)),
  field("gpuIndexes", orNull(list(count())), "its GPUs there; null if unknown", ({ gpus }) => {
    return gpus.length === 0 ? null : gpus.map(({ index }) => index);
  }),
  field("cacheConfig", orNull(LABELS), "cache configuration", ({ replica }) => {
    return replica?.sample.configuration ?? null;
  }),
  field("metrics", METRICS, "all metrics of the engine", ({ replica }) => {
    return listMetrics(replica?.sample.metrics ?? NO_METRICS);
  }),
], "replica");

const ROW_COUNTS = object<Fleet["counts"]>([
  field("total", count("replicas"), "all"),
  field("up", count("replicas"), "with a current scrape"),
  field("stale", count("replicas"), "STALE"),
  field("down", count("replicas"), "DOWN"),
  field("loading", count("replicas"), "LOAD"),
  field("pending", count("replicas"), "PENDING"),
  field("unloaded", count("models"), "UNLOADED: models that servers can load, in no other count"),
  field("countedElsewhere", count("rows"), "in no total, as others count the same requests"),
]);

const TOTAL = object<Fleet>([
  field("replicaCounts", ROW_COUNTS, "replicas by status", "counts"),
  ...from(GROUP_FIELDS, ({ total }: Fleet) => total),
  field("session", object(COUNTED_FIELDS), "since vllm-htop began to watch", "counted"),
  field("peaks", PEAKS, "of the sums", "totalPeaks"),
], "total");

type Document = Named<State> & { readonly program: string };
const SCHEMA = { ...number(), describe: () => ({ const: SCHEMA_VERSION }) };

const DOCUMENT: readonly Field<Document>[] = [
  field("schema", SCHEMA, "changes when a key changes its meaning or goes", () => SCHEMA_VERSION),
  field("program", TEXT, "name and version"),
  field("time", TEXT, "RFC 3339", ({ nowEpoch }) => formatTimestamp(nowEpoch)),
  field("timeEpochSeconds", EPOCH, "the same time", "nowEpoch"),
  field("intervalSeconds", SECONDS, "requested interval", "interval"),
  field("isDemo", BOOLEAN, "the fleet is simulated"),
  field("notices", TEXTS, "notices about the session"),
  field("verdict", VERDICT, "whether all is well", (state) => state),
  field("rules", RULE_LIST, "the settings in force", ({ rules }) => listRules(rules)),
  field("checks", list(RULE_CHECK), "findings of the rules of one server", (state) => {
    return extend(state.evaluation.checks, { names: state.names });
  }),
  field("endpoints", list(ENDPOINT), "servers", (whole) => extend(whole.endpoints, { whole })),
  field("replicas", list(REPLICA), "their engines", (whole) => extend(whole.fleet.rows, { whole })),
  field("groups", list(GROUP), "by model", ({ fleet, names }) => extend(fleet.groups, { names })),
  field("total", TOTAL, "the fleet", "fleet"),
  field("hosts", list(HOST), "machines whose load or GPUs are watched", listHosts),
  field("energy", ENERGY, "of servers that have their GPUs to themselves", ({ fleet }) => {
    return fleet.energy;
  }),
  field("cost", COST, "what the fleet costs and earns", (state) => state),
  field("events", list(EVENT), "oldest first", ({ fleet, now }) => {
    return fleet.events.map((line) => ({ ...line, now }));
  }),
];

export function createReport(state: State, version: string): Json {
  const names = createNames(state);
  return object(DOCUMENT).write({ ...state, names, program: `vllm-htop ${version}` });
}

export function createReportSchema(): Schema {
  const definitions = new Map<string, Schema>();
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Report of vllm-htop",
    ...describeFields(DOCUMENT, definitions),
    $defs: Object.fromEntries(definitions),
  };
}

/** Escapes characters that JSON leaves raw and terminals obey. */
export function serializeReport(report: Json): string {
  return JSON.stringify(report).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
