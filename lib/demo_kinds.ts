/**
 * What simulated servers of other kinds answer: the figures of a simulated engine under the names
 * of SGLang 0.5.23 and of llama.cpp b11434, and two models of Ollama 0.29, which tells no figures.
 * @module
 */

import type { SimulatedEngine, Tally } from "./demo_engine.ts";
import { formatHistogram } from "./demo_exposition.ts";
import { type EpochSeconds, formatTimestamp } from "./units.ts";

/** `null`: there is no such page. */
type AnswerWriter = (
  engine: SimulatedEngine,
  path: string,
  now: EpochSeconds,
) => string | null;

type Rows = Readonly<Record<string, number | Tally>>;

function writeRows(prefix: string, labels: string, rows: Rows): string {
  return Object.entries(rows).map(([bare, value]) => {
    const name = prefix + bare;
    if (typeof value !== "number") {
      const { buckets, sum } = formatHistogram(name, `{${labels},le="*"}`, value);
      return `# TYPE ${name} histogram\n${buckets}${sum}`;
    }
    const kind = name.endsWith("_total") ? "counter" : "gauge";
    const shown = labels === "" ? name : `${name}{${labels}}`;
    return `# TYPE ${name} ${kind}\n${shown} ${value}\n`;
  }).join("");
}

function countFirstTokens({ figures: { tallies } }: SimulatedEngine): number {
  return tallies.ttft.counts.reduce((sum, count) => sum + count, 0);
}

function writeSglangMetrics(engine: SimulatedEngine): string {
  const { figures, settings: { model, kvCacheTokens } } = engine;
  const { tallies, promptTokens, cachedPromptTokens } = figures;
  // At each step, without the first token of a request.
  const steps = {
    prefill_compute: promptTokens - cachedPromptTokens,
    prefill_cache: cachedPromptTokens,
    decode: figures.generationTokens - countFirstTokens(engine),
  };
  return "# TYPE sglang:realtime_tokens_total counter\n" +
    Object.entries(steps).map(([mode, tokens]) =>
      `sglang:realtime_tokens_total{mode="${mode}",model_name="${model}"} ${tokens}\n`
    ).join("") +
    writeRows("sglang:", `model_name="${model}"`, {
      num_running_reqs: figures.running,
      num_queue_reqs: figures.waiting,
      token_usage: figures.kvCacheUsage,
      max_total_num_tokens: kvCacheTokens,
      num_requests_total: figures.stop + figures.length + figures.repetition,
      num_aborted_requests_total: figures.abort + figures.error,
      num_retracted_requests_total: figures.preemptions,
      time_to_first_token_seconds: tallies.ttft,
      inter_token_latency_seconds: tallies.itl,
      e2e_request_latency_seconds: tallies.e2e,
      queue_time_seconds: tallies.queue,
    });
}

const answerLikeSglang: AnswerWriter = (engine, path) => {
  if (path === "/metrics") return writeSglangMetrics(engine);
  if (path !== "/v1/loads") return null;
  const { figures: { running, waiting, kvCacheUsage }, settings } = engine;
  const load = {
    dp_rank: 0,
    num_running_reqs: running,
    queues: { waiting },
    token_usage: kvCacheUsage,
    max_total_num_tokens: settings.kvCacheTokens,
    max_running_requests: settings.maxRunning,
  };
  return JSON.stringify({ version: "0.5.23", loads: [load] });
};

/** Tokens in all contexts lie evenly in the busy slots. */
function listSlots({ figures, settings }: SimulatedEngine): readonly object[] {
  const { running, kvCacheUsage } = figures;
  const tokens = Math.round(kvCacheUsage * settings.kvCacheTokens);
  return Array.from({ length: settings.maxRunning }, (_, id) => ({
    id,
    n_ctx: settings.kvCacheTokens / settings.maxRunning,
    is_processing: id < running,
    n_prompt_tokens: id < running ? tokens / running : 0,
    next_token: [{ n_decoded: 0 }],
  }));
}

const answerLikeLlamaCpp: AnswerWriter = (engine, path) => {
  const { figures, settings: { model, maxRunning, kvCacheTokens } } = engine;
  switch (path) {
    case "/metrics":
      return writeRows("llamacpp:", "", {
        requests_processing: figures.running,
        requests_deferred: figures.waiting,
        prompt_tokens_total: figures.promptTokens - figures.cachedPromptTokens,
        prompt_tokens_cached_total: figures.cachedPromptTokens,
        tokens_predicted_total: figures.generationTokens,
      });
    case "/slots":
      return JSON.stringify(listSlots(engine));
    case "/props":
      return JSON.stringify({
        model_path: `/models/${model}.gguf`,
        total_slots: maxRunning,
        build_info: "b11434-demo",
        default_generation_settings: { n_ctx: kvCacheTokens / maxRunning },
        is_sleeping: false,
      });
    default:
      return null;
  }
};

const OLLAMA_MODEL_BYTES = 15_177_384_640;
const OLLAMA_KEEP_ALIVE = 300;

const answerLikeOllama: AnswerWriter = ({ settings: { model, maxModelLength } }, path, now) => {
  const names = [model, "nomic-embed-text:latest"];
  if (path === "/api/tags") return JSON.stringify({ models: names.map((name) => ({ name })) });
  if (path !== "/api/ps") return null;
  const loaded = {
    name: model,
    size: OLLAMA_MODEL_BYTES,
    size_vram: OLLAMA_MODEL_BYTES,
    expires_at: formatTimestamp(now + OLLAMA_KEEP_ALIVE),
    context_length: maxModelLength,
  };
  return JSON.stringify({ models: [loaded] });
};

/** By the name of the kind. */
export const ANSWER_WRITERS: ReadonlyMap<string, AnswerWriter> = new Map([
  ["SGLang", answerLikeSglang],
  ["llama.cpp", answerLikeLlamaCpp],
  ["Ollama", answerLikeOllama],
]);
