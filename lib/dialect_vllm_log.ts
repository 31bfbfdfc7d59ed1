/**
 * The log of vLLM 0.4 to 0.33, by its format strings. Text of users cannot pass for a message: only
 * the start of a line or message counts, and statistics only from the files that log them.
 * @module
 */

import {
  cutRewritten,
  type DeathCause,
  type LoadPhase,
  type LogEntry,
  type LogGrammar,
  type LogMessage,
  type LogValues,
  stripEscapes,
} from "./log.ts";

/** Parses an ISO time with zone to epoch seconds; `null` if it is none. */
function parseTime(text: string | undefined): number | null {
  const time = text === undefined ? NaN : new Date(text).getTime() / 1000;
  return Number.isFinite(time) ? time : null;
}

const MAX_MESSAGE_LENGTH = 1000;

/** What a container runtime, the journal, compose, kubectl, Ray or a logging prefix put before it. */
const WRAPPERS: readonly RegExp[] = [
  /^(?<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)) (?:[\w.-]+ [^\s:[\]]+(?:\[\d+\])?: )?/,
  /^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w.-]+ [^\s:[\]]+(?:\[\d+\])?: /,
  /^[\w.-]+ +\| /,
  /^\[[^\]\s]{1,200}\] /,
  /^\([^()\s]+ pid=\d+, ip=[^()\s]+\) /,
];
const PROCESS = /^\((?<process>[A-Za-z]\w*(?:-\d+)?) pid=(?<pid>\d+)\) ?/;
const LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL";
/** Another logging prefix, of few characters, may come first. */
const HEAD = new RegExp(
  `^(?:[^'"()]{0,40}? )?(?<level>${LEVELS}) (?<clock>\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d) ` +
    "(?:\\[(?<file>[\\w./-]+:\\d+)\\]|(?<bare>[\\w./-]+:\\d+)\\]) ?",
);
const UVICORN_HEAD = new RegExp(`^(?<level>${LEVELS}): {4,}`);

/** What is read stands in its beginning; patterns would take long on long text. */
function cutMessage(text: string): string {
  return text.slice(0, MAX_MESSAGE_LENGTH);
}

function parseJsonEntry(text: string): Omit<LogEntry, "epoch"> | null {
  if (!text.startsWith('{"')) return null;
  try {
    const { asctime, levelname, name, process, message } = JSON.parse(text);
    if (typeof message !== "string" || typeof levelname !== "string") return null;
    return {
      clock: /\d\d-\d\d \d\d:\d\d:\d\d/.exec(String(asctime))?.[0] ?? null,
      level: levelname,
      file: typeof name === "string" ? name : null,
      process: null,
      pid: typeof process === "number" ? process : null,
      text: cutMessage(message),
    };
  } catch {
    return null;
  }
}

function parseEntry(line: string): LogEntry {
  let rest = stripEscapes(line);
  let epoch: number | null = null;
  for (const wrapper of WRAPPERS) {
    const match = wrapper.exec(rest);
    if (match === null) continue;
    epoch ??= parseTime(match.groups?.time);
    rest = rest.slice(match[0].length);
  }
  const prefix = PROCESS.exec(rest);
  if (prefix !== null) rest = rest.slice(prefix[0].length);
  rest = cutRewritten(rest);
  const json = parseJsonEntry(rest);
  if (json !== null) return { epoch, ...json };
  // A coloured or bracketed prefix may stand on either side.
  const own = prefix ?? PROCESS.exec(rest);
  if (prefix === null && own !== null) rest = rest.slice(own[0].length);
  const head = HEAD.exec(rest) ?? UVICORN_HEAD.exec(rest);
  const { level = null, clock = null, file, bare } = head?.groups ?? {};
  return {
    epoch,
    clock,
    level,
    file: file ?? bare ?? null,
    process: own?.groups?.process ?? null,
    pid: own === null ? null : Number(own.groups?.pid),
    text: cutMessage(rest.slice(head?.[0].length ?? 0)),
  };
}

/** A number must end before the line does: a cut line could cut it. */
const STATISTICS: readonly (readonly [key: string, pattern: RegExp, divisor: number])[] = [
  ["promptTokensPerSecond", /\bAvg prompt (?:throughput|tput): (-?[\d.]+) tok/, 1],
  ["generationTokensPerSecond", /\bAvg generation (?:throughput|tput): (-?[\d.]+) tok/, 1],
  ["running", /\bRunning: (\d+)[ ,]/, 1],
  ["waiting", /\b(?:Waiting|Pending): (\d+)[ ,]/, 1],
  ["swapped", /\bSwapped: (\d+) /, 1],
  ["deferred", /\bDeferred: (\d+) /, 1],
  ["kvFetchWaitingToStart", /\bKV fetch: (\d+) waiting to start/, 1],
  ["kvFetchInProgress", /\bKV fetch: [^:]*?(\d+) in progress/, 1],
  ["kvFetchCompletedWaiting", /\bKV fetch: [^:]*?(\d+) completed waiting/, 1],
  ["preemptions", /\bPreemptions: (\d+),/, 1],
  ["corrupted", /\bCorrupted: (\d+) /, 1],
  ["kvCacheUsageRatio", /\bKV cache (?:usage|used): ([\d.]+)%/, 100],
  ["cpuKvCacheUsageRatio", /KV cache usage: .*\bCPU KV cache usage: ([\d.]+)%/, 100],
  ["prefixCacheHitRatio", /(?:, |^)Prefix cache hit rate: (?:GPU: )?([\d.]+)%/, 100],
  ["cpuPrefixCacheHitRatio", /^Prefix cache hit rate: .*CPU: ([\d.]+)%/, 100],
  ["externalPrefixCacheHitRatio", /\bExternal prefix cache hit rate: ([\d.]+)%/, 100],
  ["mmCacheHitRatio", /\bMM cache hit rate: ([\d.]+)%/, 100],
  ["draftAcceptanceRatio", /\bDraft acceptance rate: ([\d.]+)%/, 100],
  ["draftAcceptanceRatio", /\bDraft acceptance rate: ([\d.]+),/, 1],
  ["systemEfficiencyRatio", /\bSystem efficiency: ([\d.]+),/, 1],
  ["speculativeTokens", /\bNumber of speculative tokens: (\d+),/, 1],
  ["acceptedTokens", /\b(?:Accepted|Number of accepted tokens): (\d+)[ ,]/, 1],
  ["draftedTokens", /\b(?:Drafted|Number of draft tokens(?: tokens)?): (\d+)[ ,]/, 1],
  ["emittedTokens", /\bNumber of emitted tokens(?: tokens)?: (\d+)\./, 1],
  ["meanAcceptanceLength", /\bMean acceptance length: ([\d.]+),/, 1],
  ["acceptedTokensPerSecond", /\bAccepted throughput: ([\d.]+) tok/, 1],
  ["draftedTokensPerSecond", /\bDrafted throughput: ([\d.]+) tok/, 1],
  ["teraflopsPerDevice", /\bMFU: ([\d.]+) TF/, 1],
  ["gigabytesPerSecondPerDevice", /\bMFU: .* ([\d.]+) GB\/s/, 1],
  ["iteration", /\bIteration\((\d+)\)/, 1],
  ["contextRequests", /(\d+) context requests/, 1],
  ["contextTokens", /(\d+) context tokens/, 1],
  ["generationRequests", /(\d+) generation requests/, 1],
  ["generationTokens", /(\d+) generation tokens/, 1],
  ["elapsedSeconds", /\biteration elapsed time: ([\d.]+) ms/, 1000],
];

const SUBJECTS = [
  ["requests", /^Avg prompt /],
  ["prefix_cache", /^Prefix cache hit rate: /],
  ["drafts", /^(?:SpecDecoding|Speculative) metrics: /],
  ["kv_transfer", /^KV Transfer metrics: /],
  ["mfu", /^MFU: /],
  ["iteration", /^Iteration\(/],
] as const;

const STATISTICS_FILE =
  /(?:^|\/)(?:loggers|metrics|perf)\.py:\d+$|(?:^|\/)log_stats\.rs:\d+$|^vllm\.v1\.metrics\b/;
const ENGINE = /^(?:Engine (\d+)|(\d+) Engines Aggregated): /;

/** `name=value` pairs, whose names have blanks. */
function parsePairs(text: string): LogValues {
  const pairs = [...text.matchAll(/(?:^|, )([^=,]+)=(-?[\d.]+)(?=,|$)/g)];
  return Object.fromEntries(pairs.map(([, name, value]) => [name, Number(value)]));
}

function parseValues(text: string): LogValues {
  const values: Record<string, number | string | readonly number[]> = {};
  for (const [key, pattern, divisor] of STATISTICS) {
    const found = pattern.exec(text)?.[1];
    // 2.8 % is 0.028, not 0.027999999999999997.
    if (found !== undefined) values[key] = Number((Number(found) / divisor).toPrecision(12));
  }
  const device = /([A-Z]+) KV cache (?:usage|used): [\d.]+%/.exec(text)?.[1];
  if (device !== undefined && values.iteration === undefined) values.kvCacheDevice = device;
  const positions = /Per-position acceptance rate: ([\d., ]+\d)(?:,|$)/.exec(text)?.[1];
  if (positions !== undefined) values.acceptanceRatioByPosition = positions.split(", ").map(Number);
  return values;
}

function parseStatistics({ text, file }: LogEntry): LogMessage | null {
  if (file === null || !STATISTICS_FILE.test(file)) return null;
  const [head = "", engine, engines] = ENGINE.exec(text) ?? [];
  const body = text.slice(head.length);
  const subject = SUBJECTS.find(([, pattern]) => pattern.test(body))?.[0];
  if (subject === undefined) return null;
  return {
    kind: "statistics",
    subject,
    engine: engine === undefined ? null : Number(engine),
    engines: engines === undefined ? null : Number(engines),
    values: subject === "kv_transfer"
      ? parsePairs(body.slice(body.indexOf(": ") + 2))
      : parseValues(body),
  };
}

/** By the groups' names; `done` and `total` are progress. */
const LOADING: readonly (readonly [phase: LoadPhase, pattern: RegExp])[] = [
  ["starting", /^vLLM API server version (?<version>\S+)/],
  ["starting", /^[\s\u2580-\u259f]*version (?<version>\d\S*)$/],
  ["starting", /^Initializing an? (?:V\d )?LLM engine \(v(?<version>[^)]+)\)/],
  ["download", /^Time spent downloading weights for .*: (?<seconds>[\d.]+) seconds/],
  ["download", /^Downloading shards: +\d+%.*\| (?<done>\d+)\/(?<total>\d+) \[/],
  [
    "download",
    /^[\w.-]+\.(?:safetensors|bin|pt|gguf): +\d+%.*\| (?<done>[\d.]+[kMGT]?)\/(?<total>[\d.]+[kMGT]?) \[/,
  ],
  ["weights", /^Starting to load model /],
  [
    "weights",
    /^(?:Loading \w+ checkpoint|Multi-thread loading) shards: +\d+% Completed \| (?<done>\d+)\/(?<total>\d+) \[/,
  ],
  ["weights", /^Prefetching checkpoint files: \d+% \((?<done>\d+)\/(?<total>\d+)\)/],
  ["weights", /^Loading weights took (?<seconds>[\d.]+) seconds/],
  ["weights", /^Loading model weights took (?<gigabytes>[\d.]+) GB/],
  [
    "weights",
    /^Model loading took (?:(?<gigabytes>[\d.]+) GB|(?<gibibytes>[\d.]+) GiB)(?: memory)? and (?<seconds>[\d.]+) seconds/,
  ],
  ["compile", /^(?:Using cache directory: |Starting torch\.compile)/],
  ["compile", /^Dynamo bytecode transform time: (?<seconds>[\d.]+) s/],
  ["compile", /^Compiling a graph for .* takes (?<seconds>[\d.]+) s/],
  [
    "compile",
    /^Directly load (?:the compiled graph|AOT compilation)(?:.* took (?<seconds>[\d.]+) s)?/,
  ],
  ["compile", /^torch\.compile (?:takes|took) (?<seconds>[\d.]+) s/],
  ["memory", /^Initial profiling\/warmup run took (?<seconds>[\d.]+) s/],
  ["memory", /^Profiling CUDA graph memory/],
  ["memory", /^Estimated CUDA graph memory: (?<gibibytes>[\d.]+) GiB/],
  ["memory", /^Available KV cache memory: (?<gibibytes>[\d.]+) GiB/],
  [
    "memory",
    /^\w+ KV cache size: (?<kvCacheTokens>[\d,]+) tokens(?:, Maximum concurrency for (?<maxModelLength>[\d,]+) tokens per request: (?<maxConcurrency>[\d.]+)x)?/,
  ],
  [
    "memory",
    /^Maximum concurrency for (?<maxModelLength>[\d,]+) tokens per request: (?<maxConcurrency>[\d.]+)x/,
  ],
  ["memory", /^# (?:GPU|cuda) blocks: (?<gpuBlocks>\d+), # CPU blocks: (?<cpuBlocks>\d+)/],
  ["graphs", /^Capturing CUDA graph.*: +\d+%.*\| (?<done>\d+)\/(?<total>\d+) \[/],
  ["graphs", /^(?:JIT kernel warmup|DeepGEMM warmup)/],
  [
    "graphs",
    /^Graph capturing finished in (?<seconds>[\d.]+) secs(?:, took (?<gibibytes>[\d.]+) GiB)?/,
  ],
  [
    "server",
    /^init engine \(profile, create kv cache, warmup model\) took (?<seconds>[\d.]+) s(?:econds)?(?: \(compilation: (?<compilationSeconds>[\d.]+) s\))?/,
  ],
  ["server", /^Starting vLLM (?:API )?server(?: \d+)? on (?<url>\S+)/],
  ["server", /^(?:Available routes are:|Waiting for application startup\.)/],
];

const FACTORS: Readonly<Record<string, number>> = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };

/** `4.98G`, `427,712`. */
function parseAmount(text: string): number {
  const factor = FACTORS[text.at(-1) ?? ""];
  const digits = factor === undefined ? text : text.slice(0, -1);
  return Math.round(Number(digits.replaceAll(",", "")) * (factor ?? 1) * 1e6) / 1e6;
}

const TEXT_KEYS: ReadonlySet<string> = new Set(["version", "url"]);

function parseLoading({ text }: LogEntry): LogMessage | null {
  for (const [phase, pattern] of LOADING) {
    const match = pattern.exec(text);
    if (match === null) continue;
    const { done, total, ...rest } = match.groups ?? {};
    const values = Object.entries(rest).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, TEXT_KEYS.has(key) ? value : parseAmount(value)]]
    );
    return {
      kind: "loading",
      phase,
      progress: done === undefined ? null : { done: parseAmount(done), total: parseAmount(total) },
      values: Object.fromEntries(values),
      // Engines say theirs after it.
      isFirst: phase === "starting" && !text.startsWith("Initializing a V"),
    };
  }
  return null;
}

/** A name of a class before it, as in the last line of a traceback. */
const EXCEPTION = "^(?:[\\w.]+(?:Error|Exception|Exit)\\b:? *)?";

const DEATHS: readonly (readonly [cause: DeathCause, pattern: RegExp])[] = [
  [
    "out_of_memory",
    /^(?:[\w.]+\.)?OutOfMemoryError\b|^(?:\w+: )?(?:CUDA|HIP) (?:error: )?out of memory/,
  ],
  ["memory_taken", new RegExp(EXCEPTION + "Free memory on device .* on startup is less than")],
  [
    "no_memory_for_kv_cache",
    new RegExp(
      EXCEPTION +
        "(?:No available memory for the cache blocks|To serve at least one request with)",
    ),
  ],
  [
    "model_not_found",
    /^(?:[\w.]+\.)?(?:RepositoryNotFoundError|GatedRepoError|HFValidationError|LocalEntryNotFoundError)\b|^[\w.]*Error: .*(?:is not a valid model identifier|does not appear to have a file named|You are trying to access a gated repo|Can't load the configuration of)|^(?:\w+: )?Invalid repository ID or local directory specified/,
  ],
  ["port_taken", new RegExp(EXCEPTION + "\\[Errno (?:98|48)\\]")],
  [
    "failed_to_start",
    /^EngineCore failed to start|^RuntimeError: Engine core initialization failed/,
  ],
  ["worker_died", /^(?:Worker proc \S+ died unexpectedly|WorkerProc failed)/],
  [
    "engine_died",
    /^EngineCore encountered a fatal error|^Engine core proc\S* .*died unexpectedly|^(?:[\w.]+\.)?EngineDeadError\b|^engine core exited unexpectedly/i,
  ],
  ["exception", /^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception): \S/],
];

function parseDeath({ text, level }: LogEntry): LogMessage | null {
  if (level !== null && level !== "ERROR" && level !== "CRITICAL") return null;
  const cause = DEATHS.find(([, pattern]) => pattern.test(text))?.[0];
  return cause === undefined ? null : { kind: "fatal", cause };
}

const NOTICES = [
  [
    "statistics_off",
    /^AsyncLLM created with api_server_count more than 1; disabling stats logging/,
  ],
  [
    "preemption",
    /^Sequence group \S+ is preempted by .* total_num_cumulative_preemption=(?<preemptionsTotal>\d+)/,
  ],
  ["asleep", /^It took (?<seconds>[\d.]+) seconds to fall asleep/],
  ["awake", /^It took (?<seconds>[\d.]+) seconds to wake up/],
] as const;

function parseNotice({ text, level }: LogEntry): LogMessage | null {
  if (level === null) return null;
  for (const [notice, pattern] of NOTICES) {
    const match = pattern.exec(text);
    if (match === null) continue;
    const values = Object.entries(match.groups ?? {}).map(([key, value]) => [key, Number(value)]);
    return { kind: "notice", notice, values: Object.fromEntries(values) };
  }
  return null;
}

function parseMessage(entry: LogEntry): LogMessage | null {
  if (
    /^Application startup complete\.|^OpenAI server is ready to accept requests/.test(entry.text)
  ) {
    return { kind: "ready" };
  }
  return parseStatistics(entry) ?? parseLoading(entry) ?? parseDeath(entry) ?? parseNotice(entry);
}

export const VLLM_LOG: LogGrammar = { parseEntry, parseMessage };
