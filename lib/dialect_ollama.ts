/**
 * Ollama: which models are loaded, how much of them is in GPU memory and when they unload. Figures
 * of requests come from the servers that it starts for its models, if those are of this machine.
 * Sources: Ollama 0.17 to 0.32, read 2026-11; answers of 0.20.0 and 0.32.0.
 * @module
 */

import { LLAMACPP } from "./dialect_llamacpp.ts";
import {
  type Dialect,
  type EngineConclusions,
  type EngineFacts,
  gauge,
  type Launch,
  type MetricRow,
  type Round,
  UNTITLED,
} from "./dialect_model.ts";
import { createInnerRound } from "./dialect_ollama_inner.ts";
import { createSampleWriter } from "./dialect_rounds.ts";
import { isRecord, type JsonRecord, parseUntrustedJson } from "./json.ts";
import { COUNTER_KEYS, createRecord } from "./model.ts";
import { absent } from "./reading.ts";
import { type EpochSeconds, MILLISECONDS_PER_SECOND } from "./units.ts";

const PREFIX = "ollama:";
const LOADED_PATH = "/api/ps";
const DISK_PATH = "/api/tags";
/** A model with `keep_alive: -1` says the year 2318. */
const MAX_KEEP_ALIVE = 10 * 365 * 24 * 3600;
/** Models shown. */
const MAX_MODELS = 256;

const RUNNER = /(?:^|[\s/])ollama runner(?:\s|$)/;

/** Ollama itself holds the queue, and does not show it. */
const QUEUE_NAME = "requests_deferred";

// deno-fmt-ignore
const ROWS: readonly MetricRow[] = [
  gauge("model_loaded", "state", "Loaded", "0 if the model is only on disk, or still loading.", { role: "presence" }),
  gauge("model_bytes", "bytes", "Model size", "An estimate: weights, context and buffers.", {}),
  gauge("model_gpu_bytes", "bytes", "GPU memory", "Part of the model size.", {}),
  gauge("model_gpu_ratio", "ratio", "GPU share", "GPU memory ÷ model size.", {}),
  gauge("model_context_tokens", "tokens", "Context", "Of one request.", {}),
  gauge("model_unload_seconds", "seconds", "Unloads in", "While idle; 0 while a request runs longer than the keep-alive; absent if it stays.", {}),
  ...LLAMACPP.rows.filter(({ role, names }) => role === undefined && !names.includes(QUEUE_NAME)),
];

const writeSample = createSampleWriter(PREFIX);

/** `null` if the text is no list of models. */
function parseModels(text: string): readonly JsonRecord[] | null {
  const value = parseUntrustedJson(text);
  if (!isRecord(value) || !("models" in value)) return null;
  const listed: readonly unknown[] = Array.isArray(value.models) ? value.models : [];
  return listed.filter(isRecord).filter(({ name }) => typeof name === "string" && name !== "")
    .slice(0, MAX_MODELS);
}

function writeLoaded(model: JsonRecord, now: EpochSeconds): string {
  const name = String(model.name);
  const [size, gpu] = [Number(model.size ?? NaN), Number(model.size_vram ?? NaN)];
  const expires = new Date(String(model.expires_at)).getTime() / MILLISECONDS_PER_SECOND - now;
  return writeSample("model_loaded", name, 1) +
    writeSample("model_bytes", name, size) +
    writeSample("model_gpu_bytes", name, gpu) +
    writeSample("model_gpu_ratio", name, gpu / size) +
    writeSample("model_context_tokens", name, Number(model.context_length ?? NaN)) +
    (expires < MAX_KEEP_ALIVE
      ? writeSample("model_unload_seconds", name, Math.max(0, expires))
      : "");
}

function createRound({ listInner }: Pick<Launch, "listInner">): Round {
  const askInner = createInnerRound(listInner, PREFIX);
  let onDisk: readonly JsonRecord[] | null = null;
  let listedFor = "";
  return async (ask, now) => {
    const ps = await ask(LOADED_PATH);
    const loaded = ps.status === 200 ? parseModels(ps.text) : null;
    if (loaded === null) {
      onDisk = null;
      return ps;
    }
    const names = new Set(loaded.map(({ name }) => name));
    // A model that is pulled or deleted shows when another loads or unloads.
    const wanted = [...names].sort().join("\n");
    if (onDisk === null || wanted !== listedFor) {
      const tags = await ask(DISK_PATH);
      onDisk = tags.status === 200 ? parseModels(tags.text) : null;
      listedFor = wanted;
    }
    const unloaded = (onDisk ?? []).filter(({ name }) => !names.has(name));
    return `# TYPE ${PREFIX}model_loaded gauge\n` +
      loaded.map((model) => writeLoaded(model, now)).join("") +
      unloaded.map(({ name }) => writeSample("model_loaded", String(name), 0)).join("") +
      await askInner(ask, loaded, now);
  };
}

function conclude(facts: EngineFacts): EngineConclusions {
  const modelState = facts.getValue("model_loaded") === 0 ? "unloaded" : "loaded";
  const ofInner = LLAMACPP.conclude(facts);
  const unsupported = absent("unsupported");
  if (facts.getValue("requests_processing") !== null) {
    return { ...ofInner, modelState, gauges: { ...ofInner.gauges, waiting: unsupported } };
  }
  return {
    ...ofInner,
    modelState,
    kvCacheCapacity: unsupported,
    gauges: { running: unsupported, kvCacheUsageRatio: unsupported },
    counters: createRecord(COUNTER_KEYS, () => unsupported),
  };
}

export const OLLAMA: Dialect = {
  name: "Ollama",
  prefixes: [PREFIX],
  rows: ROWS,
  defaultPort: 11_434,
  paths: [
    { path: LOADED_PATH, when: "each_round" },
    { path: DISK_PATH, when: "once" },
    { path: "/v1/models", when: "once" },
  ],
  modelOwner: "library",
  // Other servers answer Ollama's paths, but not both as it does.
  proofs: [
    { path: "/", pattern: /^Ollama is running\s*$/ },
    { path: "/api/version", pattern: /^\s*\{\s*"version"\s*:\s*"[^"]+"\s*\}\s*$/ },
  ],
  createRound,
  answersVersion: false,
  labels: { model: "model", engine: "engine", workers: [], parts: [], aliases: new Map() },
  tokensAreBooked: "step",
  answersLate: true,
  mainOptions: [],
  flags: {
    kvCacheMemory: "num_ctx",
    kvCacheType: "OLLAMA_KV_CACHE_TYPE=q8_0",
    maxLength: "num_ctx",
    concurrentRequests: "OLLAMA_NUM_PARALLEL",
  },
  capacityReason: "",
  processes: {
    ...UNTITLED,
    command: /(?:^|[\s/])ollama (?:serve|runner)(?:\s|$)/,
    image: /(?:^|\/)ollama$/,
    inner: LLAMACPP.processes.command,
    // Before 0.30, each model's: it has nothing to ask for.
    title: RUNNER,
    innerTitle: RUNNER,
    modelOptions: ["model"],
  },
  conclude,
  derivedKeys: LLAMACPP.derivedKeys,
};
