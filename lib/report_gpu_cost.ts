/**
 * Fields of the report for hosts, their GPUs, and cost.
 * @module
 */

import { type GpuCost, isHint, type RateCost, type SpanCost, type UsdRate } from "./cost.ts";
import type { GpuPrice } from "./cost_prices.ts";
import type { GpuShare } from "./gpu_attribution.ts";
import type { GpuOutlier, GpuReport, GpuSample, MigInstance } from "./gpu_model.ts";
import type { TokenPrices } from "./cost.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";
import {
  BOOLEAN,
  BYTES,
  count,
  type Field,
  field,
  figure,
  from,
  list,
  number,
  object,
  oneOf,
  orNull,
  RATIO,
  SECONDS,
  TEXT,
  TEXTS,
  USD,
  type ValueType,
} from "./report_fields.ts";
import type { State } from "./state.ts";
import type { Bill, GroupBill, HostCost } from "./state_cost.ts";
import type { Fleet } from "./state_fleet.ts";
import type { HostState } from "./state_gpus.ts";
import { cutText } from "./text.ts";

const MAX_NAME_WIDTH = 200;
const HERTZ = number("hertz");
const WATTS = number("watts");
const CELSIUS = number("degrees Celsius");

interface HostSource {
  readonly name: string;
  readonly known: HostState;
  readonly state: State;
}

type Memory = Pick<GpuSample, "memoryUsedBytes" | "memoryTotalBytes">;

const MEMORY: readonly Field<Memory>[] = [
  figure("memoryUsedBytes", BYTES, "memory in use"),
  figure("memoryTotalBytes", BYTES, "total memory"),
];

const MIG_INSTANCE = object<MigInstance>([
  field("index", count(), "counted from 0 on its GPU"),
  figure("profile", TEXT, "such as 3g.40gb"),
  figure("uuid", TEXT, "its UUID"),
  figure("gpuInstanceId", number(), "what ties processes to it"),
  ...MEMORY,
]);

type Owner = NonNullable<GpuShare["owner"]> & { readonly replica: string | null };
const EVIDENCE = oneOf(["listener", "group", "port", "model", "elimination"]);

const OWNER = object<Owner>([
  field("endpoint", TEXT, "key of the endpoint", "endpointKey"),
  field("replica", orNull(TEXT), "displayName of the replica"),
  field("engine", orNull(TEXT), "data-parallel rank", ({ engine }) => engine || null),
  field("tensorRank", orNull(count()), "tensor-parallel rank"),
  field("pipelineRank", orNull(count()), "pipeline rank"),
  field("evidence", EVIDENCE, "how the owner was found, the surest way first"),
]);

function findOwner({ owner }: GpuShare, { rows }: Fleet): Owner | null {
  if (owner === null) return null;
  const row = rows.find(({ state, replica }) =>
    state.endpoint.key === owner.endpointKey && replica?.sample.engine === owner.engine
  );
  return { ...owner, replica: row?.name ?? null };
}

const PROCESS = object<
  GpuShare["process"] & { readonly title: string; readonly owner: Owner | null }
>(
  [
    field("pid", count(), "process ID"),
    field("name", TEXT, "command line", "title"),
    figure("memoryBytes", BYTES, "GPU memory it holds"),
    figure("gpuInstanceId", number(), "MIG instance it runs in"),
    field("owner", orNull(OWNER), "replica it works for"),
  ],
  "gpuProcess",
);

export const OUTLIER: ValueType<GpuOutlier> = object<GpuOutlier>([
  field("kind", oneOf(["throttled", "slow_clock"]), "what is wrong"),
  field("slowedBy", TEXTS, "why it runs slower than it could", "reasons"),
  field("busyPeers", count("GPUs"), "busy GPUs it was compared with", "peerCount"),
  figure("smClockHertz", HERTZ, "its SM clock"),
  figure("peersClockHertz", HERTZ, "median SM clock of the busy peers"),
  figure("temperatureCelsius", CELSIUS, "its temperature"),
], "gpuOutlier");

const SAMPLE_FIELDS: readonly Field<GpuSample>[] = [
  field("index", count(), "number of the GPU, as the driver counts"),
  field("vendor", oneOf(["nvidia", "amd"]), "who makes it"),
  field("name", TEXT, "product name"),
  figure("uuid", TEXT, "its UUID"),
  figure("utilizationRatio", RATIO, "share of time in which a kernel ran"),
  ...MEMORY,
  field("isMemoryUnified", BOOLEAN, "CPU and GPU share one memory"),
  figure("powerWatts", WATTS, "power drawn"),
  figure("powerLimitWatts", WATTS, "power limit in force"),
  figure("temperatureCelsius", CELSIUS, "temperature"),
  figure("temperatureMarginCelsius", CELSIUS, "left before it slows itself down"),
  figure("smClockHertz", HERTZ, "SM clock"),
  figure("smClockMaxHertz", HERTZ, "highest SM clock"),
  figure("memoryClockHertz", HERTZ, "memory clock"),
  figure("fanRatio", RATIO, "fan speed, of the highest"),
  figure("slowedBy", TEXTS, "why it runs slower than it could", "throttleReasons"),
  figure("eccErrorsCorrected", number(), "memory errors corrected since the driver was loaded"),
  figure("eccErrorsUncorrected", number(), "memory errors not corrected since then"),
  figure("pcieGeneration", number(), "PCIe generation in use"),
  figure("pcieGenerationMax", number(), "highest PCIe generation"),
  figure("pcieWidth", number("lanes"), "PCIe lanes in use"),
  figure("pcieWidthMax", number("lanes"), "most PCIe lanes"),
  figure("isPersistent", BOOLEAN, "persistence mode is on"),
  figure("isMigEnabled", BOOLEAN, "MIG is on"),
  field("migInstances", list(MIG_INSTANCE), "its MIG instances"),
];

type HostGpu = { readonly gpu: GpuSample; readonly host: HostSource };

const GPU = object<HostGpu>([
  ...from(SAMPLE_FIELDS, ({ gpu }: HostGpu) => gpu),
  field(
    "processes",
    list(PROCESS),
    "processes that hold its memory",
    ({ gpu, host: { known, state } }) => {
      const shares = known.shares.filter(({ process }) => process.gpuIndex === gpu.index);
      return shares.map((share) => ({
        ...share.process,
        title: cutText(share.name, MAX_NAME_WIDTH),
        owner: findOwner(share, state.fleet),
      }));
    },
  ),
  field("outlier", orNull(OUTLIER), "how it falls behind its peers", ({ gpu, host }) => {
    return host.known.outliers.find(({ gpuIndex }) => gpuIndex === gpu.index) ?? null;
  }),
], "gpu");

interface Failure {
  readonly kind: string;
  readonly message: string;
}

export const FAILURE: ValueType<Failure> = object<Failure>([
  field("kind", TEXT, "one word for what failed"),
  field("message", TEXT, "what failed, and the next step"),
]);

type AgedReport = GpuReport & { readonly age: number };

const GPU_SAMPLE = object<AgedReport>([
  field("program", oneOf(["nvidia-smi", "amd-smi"]), "what was run"),
  field("ageSeconds", SECONDS, "age of the sample", "age"),
  field("durationSeconds", SECONDS, "time that it took", "duration"),
  field("warnings", TEXTS, "what the program printed besides"),
  field("processesReason", orNull(TEXT), "why the processes are unknown", ({ processes }) => {
    return isPresent(processes) ? null : processes.reason;
  }),
], "gpuSample");

/** `null` if sampling failed or has not begun. */
function getReport({ known: { report, failure }, state }: HostSource): AgedReport | null {
  if (failure !== null || report === null) return null;
  return { ...report, age: Math.max(0, state.now - report.sampledAt) };
}

export function listHosts(state: State): readonly HostSource[] {
  return [...state.hosts].map(([name, known]) => ({ name, known, state }));
}

type HostLoad = NonNullable<HostState["load"]>;
type ServerProcess = HostLoad["processes"][number];
const ROLE = oneOf(["api_server", "engine_core", "worker", "other"]);

const SERVER_PROCESS = object<ServerProcess>([
  field("pid", count(), "process ID"),
  field("name", TEXT, "command line or title", ({ name }) => cutText(name, MAX_NAME_WIDTH)),
  field("user", TEXT, "who runs it"),
  field("role", ROLE, "what it does for the server"),
  field("endpoint", TEXT, "key of the endpoint", "endpointKey"),
  field("engine", orNull(TEXT), "data-parallel rank", ({ engine }) => engine || null),
  figure("cpuCores", number("cores"), "CPU time per second; 1 is a core"),
  field("spanSeconds", SECONDS, "time that it is the mean of", "span"),
], "serverProcess");

const LOAD = object<HostLoad>([
  figure("processorCount", number("processors"), "how many it has"),
  figure("cpuRatio", RATIO, "share of their time in use, of the last half minute"),
  ...MEMORY,
  figure("loadAverage", number("tasks"), "that run or wait to run, mean of the last minute"),
  field("processes", list(SERVER_PROCESS), "those of watched servers, if visible"),
], "hostLoad");

type HostLink = NonNullable<HostState["link"]>;
type SshFailure = Extract<HostLink, { readonly kind: "down" }>["failure"];

interface LinkSource {
  readonly link: HostLink;
  readonly now: number;
}

const SSH_FAILURE = object<SshFailure>([
  field(
    "kind",
    oneOf([
      ...["unreachable", "name", "key", "host_key", "configuration", "no_shell"],
      "not_started",
    ]),
    "one word for what failed",
  ),
  field("message", TEXT, "what failed, and the next step"),
]);

const LINK = object<LinkSource>([
  field("state", oneOf(["connecting", "up", "down"]), "how it is", ({ link }) => link.kind),
  field("latencySeconds", orNull(SECONDS), "time of an empty command", ({ link }) => {
    return link.kind === "up" ? link.latency : null;
  }),
  field(
    "metricsBy",
    orNull(oneOf(["forwarding", "curl"])),
    "the way of /metrics; null unless it is up",
    ({ link }) => link.kind === "up" ? link.way : null,
  ),
  field("failure", orNull(SSH_FAILURE), "why it is down", ({ link }) => {
    return link.kind === "down" ? link.failure : null;
  }),
  field("failures", count("attempts"), "that failed in a row", ({ link }) => {
    return link.kind === "down" ? link.failures : 0;
  }),
  field("retryInSeconds", orNull(SECONDS), "time to the next attempt", ({ link, now }) => {
    return link.kind !== "down" || link.retryAt === null ? null : Math.max(0, link.retryAt - now);
  }),
], "hostLink");

export const HOST: ValueType<HostSource> = object<HostSource>([
  field("name", TEXT, "name of the host"),
  field(
    "ssh",
    orNull(LINK),
    "session to a host behind ssh; null for another",
    ({ known: { link }, state: { now } }) => link === null ? null : { link, now },
  ),
  field(
    "load",
    orNull(LOAD),
    "CPU and memory; null unless it is behind ssh or a server on it is watched",
    ({ known }) => {
      return known.load;
    },
  ),
  field("gpus", orNull(list(GPU)), "its GPUs; null if there is no sample", (host) => {
    return getReport(host)?.gpus.map((gpu) => ({ gpu, host })) ?? null;
  }),
  field(
    "gpuFailure",
    orNull(FAILURE),
    "why there is none; also null if GPUs are not watched",
    (host) => {
      return host.known.failure;
    },
  ),
  field("gpuSample", orNull(GPU_SAMPLE), "how the sample was taken", getReport),
], "host");

type FleetEnergy = Fleet["energy"];
type Energy = FleetEnergy["total"];
type ServerEnergy = FleetEnergy["servers"][number];

const ENERGY_FIELDS: readonly Field<Energy>[] = [
  field("gpuCount", count("GPUs"), "how many"),
  figure("powerWatts", WATTS, "mean power of their boards, last minute"),
  figure("outputTokensPerSecond", number("tokens per second"), "output, last minute"),
  figure("tokensPerSecondPerWatt", number("tokens per joule"), "output ÷ power"),
  figure("joulesPerToken", number("joules"), "power ÷ output"),
];

const SERVER_ENERGY = object<ServerEnergy>([
  field("endpoint", TEXT, "key of the endpoint", "endpointKey"),
  ...ENERGY_FIELDS,
], "serverEnergy");

export const ENERGY: ValueType<FleetEnergy> = object<FleetEnergy>([
  ...from(ENERGY_FIELDS, ({ total }: FleetEnergy) => total),
  field("servers", list(SERVER_ENERGY), "those whose GPUs are known"),
], "energy");

const FLOW = object<UsdRate>([
  figure("usdPerHour", USD, "per hour", "perHour"),
  figure("usdPerDay", USD, "per day", "perDay"),
  figure("usdPer30Days", USD, "per 30 days", "perMonth"),
], "flow");

const RATE_FIELDS: readonly Field<RateCost>[] = [
  field("tokens", FLOW, "worth of the tokens"),
  field("compute", FLOW, "cost of the GPUs"),
  figure("marginRatio", RATIO, "worth ÷ cost"),
  figure("usdPerMillionTokens", USD, "cost of a million tokens"),
  figure("usdPerMillionOutputTokens", USD, "cost of a million output tokens"),
];

const TOKEN_WORTH: readonly Field<SpanCost["tokens"]>[] = [
  figure("inputTokensUsd", USD, "worth of prompt tokens that were computed", "input"),
  figure("cachedInputTokensUsd", USD, "worth of prompt tokens from a cache", "cachedInput"),
  figure("outputTokensUsd", USD, "worth of output tokens", "output"),
  figure("tokensUsd", USD, "worth of all tokens", "total"),
];

const SPAN_FIELDS: readonly Field<SpanCost>[] = [
  figure("spanSeconds", SECONDS, "time that is billed", "span"),
  ...from(TOKEN_WORTH, ({ tokens }: SpanCost) => tokens),
  figure("computeUsd", USD, "cost of the GPUs"),
  figure("marginRatio", RATIO, "worth ÷ cost"),
];

const HINT = object<GpuPrice>([
  field("match", TEXT, "what the name of the GPU must contain"),
  field("tier", TEXT, "kind of offer"),
  field("month", TEXT, "when the price was read", "date"),
  field("source", TEXT, "where it was read"),
  field("note", TEXT, "what else there is to know"),
]);

const GPU_PRICE = object<GpuCost>([
  field("name", TEXT, "product name"),
  field("count", count("GPUs"), "how many"),
  figure("usdPerGpuHour", USD, "one of them for an hour", "usdPerHour"),
  field(
    "isHint",
    BOOLEAN,
    "the price is a built-in one, or an estimate",
    ({ price }) => isHint(price),
  ),
  field("hint", orNull(HINT), "row of the price list", "price"),
]);

function toReading(price: number | null): Reading {
  return price === null ? absent("unsupported") : present(price);
}

const TOKEN_PRICES = object<TokenPrices>([
  figure("usdPerMillionInputTokens", USD, "prompt tokens", ({ input }) => toReading(input)),
  figure("usdPerMillionCachedInputTokens", USD, "prompt tokens from a cache", (prices) => {
    return toReading(prices.cachedInput);
  }),
  figure("usdPerMillionOutputTokens", USD, "output tokens", ({ output }) => toReading(output)),
]);

const RATE = object<Bill["rate"]>([
  ...RATE_FIELDS,
  figure("spanSeconds", SECONDS, "time that the rate is measured over", "span"),
]);

const IDLE = object<Bill["idle"]>([
  figure("usd", USD, "cost of that time"),
  figure("ratio", RATIO, "its share of the session"),
]);

const SESSION = object<Bill>([
  ...from(SPAN_FIELDS, ({ session }: Bill) => session),
  field("idle", IDLE, "time in which the replicas were idle"),
]);

const GROUP = object<GroupBill>([
  field("model", TEXT, "name of the model", "modelName"),
  figure("usdPerHour", USD, "cost of its GPUs"),
  field("rate", object(RATE_FIELDS, "costRate"), "as of the last minute"),
]);

const UNUSED = object<Bill>([figure("usdPerHour", USD, "cost of them", "unusedUsdPerHour")]);

const HOST_COST = object<HostCost>([
  field("name", orNull(TEXT), "name of the host", "host"),
  field("gpuCount", count("GPUs"), "GPUs that are billed"),
  field("gpus", list(GPU_PRICE), "their kinds"),
  figure("usdPerHour", USD, "cost of them"),
]);

const BASIS = oneOf(["told", "serving", "machine", "requested", "none"]);

const BILL_FIELDS: readonly Field<Bill>[] = [
  field("basis", BASIS, "which GPUs are billed"),
  field("isHint", BOOLEAN, "includes a built-in or estimated price", "isAbout"),
  field("isThisMachineOnly", BOOLEAN, "servers on other machines are not included", "isLocalOnly"),
  field("gpuCount", count("GPUs"), "GPUs that are billed", ({ compute }) => compute.gpuCount),
  field("hosts", list(HOST_COST), "GPUs that are billed, by host"),
  field("rate", RATE, "as of the last minute"),
  field("session", SESSION, "since vllm-htop began to watch", (bill) => bill),
  field("sinceStart", object(SPAN_FIELDS), "since the servers started", "lifetime"),
  field("groups", list(GROUP), "by model"),
  field("unused", UNUSED, "GPUs that are billed, of which no model is known", (bill) => bill),
];

const PRICING_FIELDS: readonly Field<State["pricing"]>[] = [
  field("currency", TEXT, "sign on the screen; all amounts are USD"),
  field("tokenPrices", TOKEN_PRICES, "price of a million tokens"),
];

export const COST: ValueType<State> = object<State>([
  ...from(PRICING_FIELDS, ({ pricing }: State) => pricing),
  ...from(BILL_FIELDS, ({ bill }: State) => bill),
], "cost");
