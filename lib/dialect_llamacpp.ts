/**
 * llama.cpp's `llama-server`. One round asks `/metrics`, then `/slots`, which says how full the
 * contexts are and what busy slots have generated, and writes both as one body. A server that can
 * sleep is asked what does not wake it. Sources: llama.cpp b3600 to b11434, read 2026-11; answers
 * of b10434 and b11434.
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
  type MetricRow,
  type Round,
  UNTITLED,
  USUAL_CONCLUSIONS,
} from "./dialect_model.ts";
import { createSampleWriter, labelSeries, writeInfo } from "./dialect_rounds.ts";
import { METRICS_PATH } from "./endpoint.ts";
import { isRecord, type JsonRecord, parseUntrustedJson } from "./json.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";

export const PREFIX = "llamacpp:";
const ENABLING_OPTION = "--metrics";
/** With what busy slots have generated, and without. */
const STEP_NAME = "tokens_generated_total";
const FINISH_NAME = "tokens_predicted_total";
/** Its first build in which `/metrics` wakes no sleeping server. */
const QUIET_METRICS_BUILD = 10_666;

const COMMAND = /(?:^|[\s/])llama-server(?:\s|$)/;

// deno-fmt-ignore
const ROWS: readonly MetricRow[] = [
  gauge("model_awake", "state", "Awake", "0 while the model is unloaded; from /props or the router's /models.", { role: "presence" }),
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

interface RouterModel {
  readonly id: string;
  readonly isLoaded: boolean;
}

function parseRouterModels({ text }: Answer): readonly RouterModel[] | null {
  const value = parseUntrustedJson(text);
  if (!isRecord(value) || !Array.isArray(value.data)) return null;
  const listed: readonly unknown[] = value.data;
  return listed.flatMap((one) => {
    if (!isRecord(one) || typeof one.id !== "string" || !isRecord(one.status)) return [];
    return [{ id: one.id, isLoaded: one.status.value === "loaded" }];
  });
}

/** Asks for loaded models only, and never in a way that loads one. */
function createRouterRound(): Round {
  const counters = new Map<string, ReturnType<typeof createTokenCounter>>();
  return async (ask) => {
    const answer = await ask("/models");
    const models = answer.status === 200 ? parseRouterModels(answer) : null;
    if (models === null) return answer;
    let text = "";
    let isFirst = true;
    for (const { id, isLoaded } of models) {
      if (!isLoaded) counters.delete(id);
      let known = counters.get(id);
      if (known === undefined) counters.set(id, known = createTokenCounter());
      const asked = isLoaded
        ? await askModel(ask, {
          model: id,
          query: `?model=${encodeURIComponent(id)}&autoload=false`,
          asksMetrics: true,
          asksSlots: true,
          isFirst,
          countTokens: known,
        })
        : "";
      // A model may have been unloaded meanwhile.
      const isAsked = typeof asked === "string" && asked !== "";
      text += writeSample("model_awake", id, isAsked ? 1 : 0) + (isAsked ? asked : "");
      if (isAsked) isFirst = false;
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

function createRound({ commandLine }: { readonly commandLine: string | null }): Round {
  const countTokens = createTokenCounter();
  const askRouter = createRouterRound();
  let canSleep = /\s--sleep-idle-seconds[ =]/.test(commandLine ?? "");
  let props: JsonRecord | null = null;
  return async (ask, now) => {
    // `/props` wakes no server; what it says changes at a restart, and when the server sleeps.
    const answer = await ask("/props");
    const value = answer.status === 200 ? parseUntrustedJson(answer.text) : undefined;
    if (!isRecord(value)) return answer;
    props = value;
    if (props.role === "router") return await askRouter(ask, now);
    canSleep ||= props.is_sleeping === true;
    const model = getModelName(props);
    const build = Number(/^b(\d+)/.exec(String(props.build_info))?.[1] ?? 0);
    const server = writeServerInfo(props);
    const awake = writeSample("model_awake", model, props.is_sleeping === true ? 0 : 1);
    const mayAskMetrics = !canSleep || build >= QUIET_METRICS_BUILD;
    const asked = mayAskMetrics || !canSleep
      ? await askModel(ask, {
        model,
        query: "",
        asksMetrics: true,
        asksSlots: !canSleep && props.endpoint_slots !== false,
        isFirst: true,
        countTokens,
      })
      : "";
    return typeof asked === "string" ? server + awake + asked : asked;
  };
}

/** Prompt tokens as clients count them are known only where cached ones are counted. */
function concludePrompt({ counters }: EngineFacts): Readonly<
  Record<"promptTokens" | "prefixCacheQueries" | "prefixCacheHits", Reading>
> {
  const { computedPromptTokens: computed, cachedPromptTokens: cached } = counters;
  const all = isPresent(computed) && isPresent(cached)
    ? present(computed.value + cached.value)
    : isPresent(computed)
    ? cached
    : computed;
  return { promptTokens: all, prefixCacheQueries: all, prefixCacheHits: cached };
}

function conclude(facts: EngineFacts): EngineConclusions {
  const capacity = facts.getValue("slots_context_tokens");
  return {
    ...USUAL_CONCLUSIONS,
    counters: concludePrompt(facts),
    metricsAreOff: facts.getValue("metrics_off") === 1,
    isAsleep: facts.getValue("model_awake") === 0,
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
    { path: "/props", when: "same_round" },
    { path: "/v1/models", when: "once" },
  ],
  modelOwner: "llamacpp",
  serverHeader: "llama.cpp",
  createRound,
  answersVersion: false,
  enablingOption: ENABLING_OPTION,
  labels: { model: "model", engine: "engine", workers: [], parts: [], aliases: new Map() },
  tokensAreBooked: "step",
  answersLate: true,
  latencyDefinitions: {},
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
