/**
 * llama.cpp's `llama-server`. One round asks `/metrics`, then `/slots`, which says how full the
 * contexts are and what busy slots have generated, and writes both as one body. A server that may
 * sleep is only asked what does not wake it. Sources: llama.cpp b3600 to b11434, read 2026-11;
 * answers of b10434 and b11434.
 * @module
 */

import {
  type Answer,
  type Ask,
  counter,
  type Dialect,
  type EngineConclusions,
  type EngineFacts,
  gauge,
  info,
  type Launch,
  type MetricRow,
  type Round,
  UNTITLED,
  USUAL_CONCLUSIONS,
} from "./dialect_model.ts";
import { createSampleWriter, labelSeries, quoteLabel, writeInfo } from "./dialect_rounds.ts";
import { METRICS_PATH } from "./endpoint.ts";
import { isRecord, type JsonRecord, parseUntrustedJson } from "./json.ts";
import { MODEL_STATES, type ModelState } from "./model.ts";
import { absent, present, type Reading, sumWhole } from "./reading.ts";

export const PREFIX = "llamacpp:";
const ENABLING_OPTION = "--metrics";
/** With what busy slots have generated, and without. */
const STEP_NAME = "tokens_generated_total";
const FINISH_NAME = "tokens_predicted_total";
const STATE_NAME = "model_state";
/** Its first build in which `/metrics` wakes no sleeping server. */
const QUIET_METRICS_BUILD = 10_666;
/** Of `/metrics`; not a Unix time, but another one after a restart. */
const START_HEADER = "process-start-time-unix";

const COMMAND = /(?:^|[\s/])llama-server(?:\s|$)/;

// deno-fmt-ignore
const ROWS: readonly MetricRow[] = [
  gauge("model_state", "state", "Model state", "1 for the current one; from /props or the router's /models.", { label: "state", role: "presence" }),
  gauge("model_exit_code", "code", "Exit code", "Of the process of a model that failed; from the router's /models.", {}),
  gauge("metrics_off", "state", "Metrics off", "1 without --metrics.", {}),
  gauge("requests_processing", "requests", "Running", "Busy slots.", { key: "running" }),
  gauge("requests_deferred", "requests", "Waiting", "Requests without a slot.", { key: "waiting" }),
  gauge("slots_used_ratio", "ratio", "KV-cache usage", "Tokens of busy slots ÷ context of all slots; from /slots.", { key: "kvCacheUsageRatio" }),
  gauge("slots_context_tokens", "tokens", "KV-cache capacity", "Context of all slots; from /slots.", {}),
  gauge("slots", "slots", "Slots", "Requests that run at once; from /slots.", {}),
  counter("prompt_tokens_total", "tokens", "Computed prompt tokens", "Without cached ones; counted per batch.", { key: "computedPromptTokens" }),
  counter("prompt_tokens_cached_total", "tokens", "Cached prompt tokens", "Found in a slot's cache.", { key: "cachedPromptTokens", since: "b10434" }),
  counter("prompt_seconds_total", "seconds", "Prompt time", "Added up over slots.", {}),
  // The former is missing where /slots is off.
  counter([STEP_NAME, FINISH_NAME], "tokens", "Generated tokens", "Counted when a slot is released; with the tokens of busy slots from /slots.", { key: "generationTokens" }),
  counter("tokens_predicted_seconds_total", "seconds", "Generation time", "Added up over slots.", {}),
  counter("n_decode_total", "steps", "Decode steps", "Without speculative ones.", {}),
  gauge("n_tokens_max", "tokens", "Longest sequence", "Prompt and output; the server declares it a counter.", {}),
  gauge("n_busy_slots_per_decode", "slots", "Busy slots per step", "Mean since the start.", {}),
  gauge("kv_cache_usage_ratio", "ratio", "KV-cache usage of old builds", "Until May 2025.", {}),
  gauge("kv_cache_tokens", "tokens", "KV-cache tokens of old builds", "Until May 2025.", {}),
  gauge("prompt_tokens_seconds", "tokens/s", "Prompt speed of a slot", "Mean since anybody's last scrape, or since the start.", {}),
  gauge("predicted_tokens_seconds", "tokens/s", "Generation speed of a slot", "Mean since anybody's last scrape, or since the start.", {}),
  counter("spec_decode_num_drafts_total", "drafts", "Drafts", "Speculative steps.", { key: "drafts", since: "b10434" }),
  counter("spec_decode_num_draft_tokens_total", "tokens", "Draft tokens", "Proposed by speculation.", { key: "draftTokens", since: "b10434" }),
  counter("spec_decode_num_accepted_tokens_total", "tokens", "Accepted tokens", "Of the draft tokens.", { key: "acceptedTokens", since: "b10434" }),
  counter("spec_decode_num_accepted_tokens_per_pos_total", "tokens", "Accepted tokens by position", "Of the draft tokens.", { key: "acceptedTokensByPosition", label: "position", since: "b10434" }),
  info("server_info", "", "Server", "Slots, context and build; from /props.", { role: "configuration" }),
];

const writeSample = createSampleWriter(PREFIX);

function readNumber(record: JsonRecord, name: string): number {
  const value = record[name];
  return typeof value === "number" ? value : NaN;
}

interface Slots {
  readonly count: number;
  readonly busy: number;
  /** Tokens in the contexts of busy slots; NaN if unknown, as in builds before 2025-10. */
  readonly used: number;
  readonly context: number;
  /** Generated and not yet counted. */
  readonly decoded: number;
}

/** Reads numbers alone: some servers show prompts. `null` if it is no list of slots. */
function parseSlots({ status, text }: Answer): Slots | null {
  const value = status === 200 ? parseUntrustedJson(text) : undefined;
  if (!Array.isArray(value) || value.length === 0 || !value.every(isRecord)) return null;
  const slots: readonly JsonRecord[] = value;
  if (!slots.every(({ is_processing }) => typeof is_processing === "boolean")) return null;
  const busy = slots.filter(({ is_processing }) => is_processing === true);
  const sum = (list: readonly JsonRecord[], read: (slot: JsonRecord) => number): number =>
    list.reduce((total, slot) => total + read(slot), 0);
  return {
    count: slots.length,
    busy: busy.length,
    used: sum(busy, (slot) => readNumber(slot, "n_prompt_tokens")),
    context: sum(slots, (slot) => readNumber(slot, "n_ctx")),
    decoded: sum(busy, ({ next_token: next }) => {
      const token: unknown = Array.isArray(next) ? next[0] : next;
      return isRecord(token) ? readNumber(token, "n_decoded") : NaN;
    }),
  };
}

/** b7010 to b71xx answer with a JSON string. */
function parseMetrics({ text }: Answer): string {
  if (!text.startsWith('"')) return text;
  const decoded = parseUntrustedJson(text);
  return typeof decoded === "string" ? decoded : text;
}

/** Tokens counted at a release + those of busy slots, which never falls while the server lives. */
export function createTokenCounter(): (counted: number, decoded: number) => number {
  let lastCounted = 0;
  let total = 0;
  return (counted, decoded) => {
    if (counted < lastCounted) total = 0;
    lastCounted = counted;
    // A slot released between the two answers is in neither.
    total = Math.max(total, counted + decoded);
    return total;
  };
}

interface ModelRound {
  readonly model: string;
  /** Added to paths, for a router. */
  readonly query: string;
  readonly asksMetrics: boolean;
  readonly asksSlots: boolean;
  readonly isFirst: boolean;
  readonly countTokens: ReturnType<typeof createTokenCounter>;
}

function writeSlots(slots: Slots, model: string): string {
  const { count, context, used } = slots;
  return writeSample("slots", model, count) +
    writeSample("slots_context_tokens", model, context) +
    writeSample("slots_used_ratio", model, used / context);
}

/** Asks for the figures of a loaded model; returns a refusal that is not "switched off". */
export async function askModel(ask: Ask, round: ModelRound): Promise<string | Answer> {
  const { model, query, isFirst } = round;
  let text = "";
  const metrics = round.asksMetrics ? await ask(METRICS_PATH + query) : null;
  const isOff = metrics === null || metrics.status === 501;
  if (metrics !== null && !isOff && metrics.status !== 200) return metrics;
  const body = metrics === null || isOff ? null : parseMetrics(metrics);
  if (body !== null) text += labelSeries(body, model, { keepsComments: isFirst });
  else text += writeSample("metrics_off", model, 1);
  const slots = round.asksSlots ? parseSlots(await ask(`/slots${query}`)) : null;
  if (slots === null) return isOff && metrics !== null ? metrics : text;
  text += writeSlots(slots, model);
  if (body === null) return text + writeSample("requests_processing", model, slots.busy);
  const counted = Number(/^llamacpp:tokens_predicted_total (\S+)/m.exec(body)?.[1] ?? NaN);
  const total = counted >= 0 ? round.countTokens(counted, slots.decoded) : NaN;
  return text + writeSample(STEP_NAME, model, total);
}

function hasSleepOption(commandLine: string): boolean {
  return /\s--sleep-idle-seconds[ =]/.test(commandLine);
}

function mayAskMetrics(canSleep: boolean, build: number): boolean {
  return !canSleep || build >= QUIET_METRICS_BUILD;
}

/** What a router says -> the state. */
const ROUTER_STATES: Readonly<Record<string, ModelState>> = {
  loaded: "loaded",
  loading: "loading",
  downloading: "loading",
  sleeping: "asleep",
};

interface RouterModel {
  readonly id: string;
  readonly state: ModelState;
  /** NaN unless it failed. */
  readonly exitCode: number;
  readonly commandLine: string;
}

function writeState(model: string, state: ModelState): string {
  return `${PREFIX}${STATE_NAME}{model=${quoteLabel(model)},state="${state}"} 1\n`;
}

function parseRouterModels({ text }: Answer): readonly RouterModel[] | null {
  const value = parseUntrustedJson(text);
  if (!isRecord(value) || !Array.isArray(value.data)) return null;
  const listed: readonly unknown[] = value.data;
  return listed.flatMap((one) => {
    if (!isRecord(one) || typeof one.id !== "string" || !isRecord(one.status)) return [];
    const { value: said, failed, args } = one.status;
    const hasFailed = said === "unloaded" && failed === true;
    return [{
      id: one.id,
      state: hasFailed ? "failed" : ROUTER_STATES[String(said)] ?? "unloaded",
      exitCode: hasFailed ? readNumber(one.status, "exit_code") : NaN,
      commandLine: Array.isArray(args) ? args.join(" ") : "",
    }];
  });
}

interface RoutedModel {
  canSleep: boolean;
  readonly countTokens: ReturnType<typeof createTokenCounter>;
}

/** Asks for loaded models only, and never in a way that loads or wakes one. */
function createRouterRound(): (ask: Ask, build: number) => ReturnType<Round> {
  const known = new Map<string, RoutedModel>();
  const getKnown = ({ id, state, commandLine }: RouterModel): RoutedModel => {
    const model = known.get(id) ?? { canSleep: false, countTokens: createTokenCounter() };
    model.canSleep ||= hasSleepOption(commandLine) || state === "asleep";
    // Another process counts from 0.
    if (state === "loaded" || state === "asleep") known.set(id, model);
    else known.delete(id);
    return model;
  };
  return async (ask, build) => {
    const answer = await ask("/models");
    const models = answer.status === 200 ? parseRouterModels(answer) : null;
    if (models === null) return answer;
    let text = "";
    let isFirst = true;
    for (const one of models) {
      const { id, exitCode } = one;
      const { canSleep, countTokens } = getKnown(one);
      const isAsked = one.state === "loaded" && mayAskMetrics(canSleep, build);
      const query = `?model=${encodeURIComponent(id)}&autoload=false`;
      const asked: string | Answer = isAsked
        ? await askModel(ask, {
          ...{ model: id, query, isFirst, countTokens },
          asksMetrics: true,
          asksSlots: !canSleep,
        })
        : "";
      const isRefused = typeof asked !== "string" && asked.status !== 501;
      // It has been unloaded meanwhile, or its process has ended.
      const refused = typeof asked !== "string" && asked.status === 503 ? "loading" : "unloaded";
      text += writeState(id, isRefused ? refused : one.state) +
        writeSample("model_exit_code", id, exitCode);
      if (typeof asked === "string") text += asked;
      else if (!isRefused) text += writeSample("metrics_off", id, 1);
      isFirst &&= typeof asked !== "string" || asked === "";
    }
    return text;
  };
}

/** Its alias, else the name of its file. */
function getModelName({ model_alias: alias, model_path: path }: JsonRecord): string {
  if (typeof alias === "string" && alias !== "") return alias;
  const file = typeof path === "string" ? path.split(/[/\\]/).at(-1) ?? "" : "";
  return file.replace(/\.gguf$/i, "") || "model";
}

function writeServerInfo(props: JsonRecord): string {
  const { build_info: build, total_slots: slots, default_generation_settings: settings } = props;
  const context = isRecord(settings) ? settings.n_ctx : undefined;
  return writeInfo(`${PREFIX}server_info`, { build, slots, context_per_slot: context });
}

function parseBuild({ build_info: build }: JsonRecord): number {
  return Number(/^b(\d+)/.exec(String(build))?.[1] ?? 0);
}

/** Asks for what does not wake a server that can sleep. */
async function askServer(
  ask: Ask,
  props: JsonRecord,
  { canSleep, countTokens }: RoutedModel,
): ReturnType<Round> {
  const model = getModelName(props);
  const head = writeServerInfo(props) +
    writeState(model, props.is_sleeping === true ? "asleep" : "loaded");
  if (!mayAskMetrics(canSleep, parseBuild(props))) return head;
  const asked = await askModel(ask, {
    ...{ model, query: "", isFirst: true, countTokens },
    asksMetrics: true,
    asksSlots: !canSleep && props.endpoint_slots !== false,
  });
  return typeof asked === "string" ? head + asked : asked;
}

function createRound({ findCommandLine }: Pick<Launch, "findCommandLine">): Round {
  const askRouter = createRouterRound();
  const server: RoutedModel = { canSleep: false, countTokens: createTokenCounter() };
  let commandLine: string | null = null;
  /** `null` after a round that failed: it may be another server. */
  let known: JsonRecord | null = null;
  let start: string | null = null;
  /** Without a sign of restarts, or where it may sleep unasked. `/props` wakes no server. */
  const isUncertain = ({ role }: JsonRecord): boolean =>
    role !== "router" && (start === null || server.canSleep || commandLine === null);

  const round: Round = async (askAny, now) => {
    let newStart: string | null = null;
    const ask: Ask = async (path, port) => {
      const answer = await askAny(path, port);
      if (path === METRICS_PATH) newStart = answer.header(START_HEADER);
      return answer;
    };
    const before = known;
    let props = before;
    known = null;
    if (props === null || isUncertain(props)) {
      const answer = await ask("/props");
      const value = answer.status === 200 ? parseUntrustedJson(answer.text) : undefined;
      if (!isRecord(value)) return answer;
      props = value;
    }
    // A restart may bring other options.
    if (before === null) commandLine = await findCommandLine();
    server.canSleep ||= hasSleepOption(commandLine ?? "");
    server.canSleep ||= props.is_sleeping === true;
    const asked = props.role === "router"
      ? await askRouter(ask, parseBuild(props))
      : await askServer(ask, props, server);
    if (typeof asked !== "string" || asked === "") return asked;
    const hasRestarted = props === before && newStart !== start;
    start = newStart;
    if (hasRestarted) return await round(askAny, now);
    known = props;
    return asked;
  };
  return round;
}

/** Prompt tokens as clients count them are known only where cached ones are counted. */
function concludePrompt({ counters }: EngineFacts): Readonly<
  Record<"promptTokens" | "prefixCacheQueries" | "prefixCacheHits", Reading>
> {
  const { computedPromptTokens: computed, cachedPromptTokens: cached } = counters;
  const all = sumWhole([computed, cached]);
  return { promptTokens: all, prefixCacheQueries: all, prefixCacheHits: cached };
}

function concludeState(
  facts: EngineFacts,
): Pick<EngineConclusions, "modelState" | "modelFault"> {
  const state = facts.getFamily(STATE_NAME).keys().next().value;
  const modelState = MODEL_STATES.find((one) => one === state) ?? "loaded";
  if (modelState !== "failed") return { modelState };
  const code = facts.getValue("model_exit_code");
  const how = code === null ? "ended" : `ended with exit code ${code}`;
  return { modelState, modelFault: `its process ${how}: see the log of the router` };
}

function conclude(facts: EngineFacts): EngineConclusions {
  const capacity = facts.getValue("slots_context_tokens");
  return {
    ...USUAL_CONCLUSIONS,
    counters: concludePrompt(facts),
    metricsAreOff: facts.getValue("metrics_off") === 1,
    ...concludeState(facts),
    tokensAreBooked: facts.getName(STEP_NAME) === FINISH_NAME ? "finish" : "step",
    kvCacheCapacity: capacity === null ? absent("missing") : present(capacity),
    // With `--kv-unified` each slot says the whole pool.
    kvCacheCapacityIsEstimate: capacity !== null,
  };
}

export const LLAMACPP: Dialect = {
  name: "llama.cpp",
  prefixes: [PREFIX],
  rows: ROWS,
  defaultPort: 8080,
  paths: [
    { path: METRICS_PATH, when: "each_round" },
    { path: "/slots", when: "same_round" },
    { path: "/props", when: "once" },
    { path: "/v1/models", when: "once" },
  ],
  modelOwner: "llamacpp",
  serverHeader: "llama.cpp",
  loadingAnswer: /"message"\s*:\s*"Loading model"/,
  createRound,
  answersVersion: false,
  enablingOption: ENABLING_OPTION,
  labels: { model: "model", engine: "engine", workers: [], parts: [], aliases: new Map() },
  tokensAreBooked: "step",
  answersLate: true,
  mainOptions: ["slots", "context_per_slot", "build"],
  flags: {
    kvCacheMemory: "-c",
    kvCacheType: "-ctk q8_0 -ctv q8_0",
    maxLength: "-c",
    concurrentRequests: "-np",
    tokenBudget: "-b",
    speculativeTokens: "--draft-max",
  },
  capacityReason: "",
  processes: {
    ...UNTITLED,
    command: COMMAND,
    image: /(?:llama\.cpp|llama-server)[^/]*$/,
    // A router's.
    inner: COMMAND,
    modelOptions: ["alias", "model", "hf-repo"],
    tlsOptions: ["ssl-cert-file", "ssl-key-file"],
    shortOptions: new Map([["a", "alias"], ["m", "model"], ["hf", "hf-repo"]]),
  },
  conclude,
  derivedKeys: ["promptTokens", "prefixCacheQueries", "prefixCacheHits"],
};
