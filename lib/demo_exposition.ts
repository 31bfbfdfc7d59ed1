/**
 * Fills the template with the figures of simulated engines, formatted like prometheus_client.
 * Several API servers use the multiprocess form: families by kind, `_sum` before buckets, no
 * `process_*`, `python_*` or `_created`.
 * @module
 */

import { ACCEPTED_KEYS, type SimulatedEngine, type Tallies, type Tally } from "./demo_engine.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/**
 * The body of a vLLM 0.32.0 server without its values, recorded 2026-11. One line per family, `type
 * name figure help`; the figure is a number or a key of `listFigures`. A family with other labels
 * than one series per engine has `-` there, and a line per series, `{labels} figure`: `*` is filled
 * in. A summary has count and sum. `_created` is derived. Some help texts end in a blank. Names are
 * not shared with `dialect_vllm_metrics`: a misspelling would agree with itself.
 */
const EXPOSITION_TEMPLATE = `counter python_gc_objects_collected_total - Objects collected during gc
{generation="0"} gcObjects
{generation="1"} 2552
{generation="2"} 1711
counter python_gc_objects_uncollectable_total - Uncollectable objects found during GC
{generation="0"} 0
{generation="1"} 0
{generation="2"} 0
counter python_gc_collections_total - Number of times this generation was collected
{generation="0"} gcCollections
{generation="1"} 167
{generation="2"} 11
gauge python_info - Python platform information
{implementation="CPython",major="3",minor="11",patchlevel="7",version="3.11.7"} 1
gauge process_virtual_memory_bytes - Virtual memory size in bytes.
4706758656
gauge process_resident_memory_bytes - Resident memory size in bytes.
969109504
gauge process_start_time_seconds - Start time of the process since unix epoch in seconds.
processStart
counter process_cpu_seconds_total - Total user and system CPU time spent in seconds.
cpuSeconds
gauge process_open_fds - Number of open file descriptors.
openFiles
gauge process_max_fds - Maximum number of open file descriptors.
65536
counter vllm:spec_decode_num_drafts_total drafts Number of spec decoding drafts.
counter vllm:spec_decode_num_draft_tokens_total draftTokens Number of draft tokens.
counter vllm:spec_decode_num_accepted_tokens_total acceptedTokens Number of accepted tokens.
counter vllm:spec_decode_num_accepted_tokens_per_pos_total - Accepted tokens per draft position.
{engine="*",model_name="*",position="0"} accepted0
{engine="*",model_name="*",position="1"} accepted1
{engine="*",model_name="*",position="2"} accepted2
counter vllm:estimated_flops_per_gpu_total 0 Estimated number of floating point operations per GPU (for Model Flops Utilization calculations).
counter vllm:estimated_read_bytes_per_gpu_total 0 Estimated number of bytes read from memory per GPU (for Model Flops Utilization calculations).
counter vllm:estimated_write_bytes_per_gpu_total 0 Estimated number of bytes written to memory per GPU (for Model Flops Utilization calculations).
gauge vllm:num_requests_running running Number of requests in model execution batches.
gauge vllm:num_requests_waiting waiting Number of requests waiting to be processed.
gauge vllm:num_requests_waiting_by_reason - Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons equals vllm:num_requests_waiting.
{engine="*",model_name="*",reason="capacity"} waiting
{engine="*",model_name="*",reason="deferred"} 0
gauge vllm:engine_sleep_state - Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.
{engine="*",model_name="*",sleep_state="awake"} 1
{engine="*",model_name="*",sleep_state="weights_offloaded"} 0
{engine="*",model_name="*",sleep_state="discard_all"} 0
gauge vllm:kv_cache_usage_perc kvCacheUsage KV-cache usage. 1 means 100 percent usage.
counter vllm:prefix_cache_queries_total prefixCacheQueries Prefix cache queries, in terms of number of queried tokens.
counter vllm:prefix_cache_hits_total prefixCacheHits Prefix cache hits, in terms of number of cached tokens.
counter vllm:external_prefix_cache_queries_total 0 External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried tokens.
counter vllm:external_prefix_cache_hits_total 0 External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached tokens.
counter vllm:mm_cache_queries_total 0 Multi-modal cache queries, in terms of number of queried items.
counter vllm:mm_cache_hits_total 0 Multi-modal cache hits, in terms of number of cached items.
counter vllm:num_preemptions_total preemptions Cumulative number of preemption from the engine.
counter vllm:prompt_tokens_total promptTokens Number of prefill tokens processed.
counter vllm:prompt_tokens_by_source_total - Number of prompt tokens by source.
{engine="*",model_name="*",source="local_compute"} computedPromptTokens
{engine="*",model_name="*",source="local_cache_hit"} cachedPromptTokens
{engine="*",model_name="*",source="external_kv_transfer"} 0
counter vllm:prompt_tokens_cached_total cachedPromptTokens Number of cached prompt tokens (local + external).
counter vllm:prompt_tokens_cached_by_source_total - Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded to DRAM), disk, p2p (transferred from another vLLM instance) or external_unspecified. Counted at admission; sums to vllm:prefix_cache_hits + vllm:external_prefix_cache_hits.
{engine="*",model_name="*",source="device"} prefixCacheHits
{engine="*",model_name="*",source="host"} 0
{engine="*",model_name="*",source="p2p"} 0
{engine="*",model_name="*",source="disk"} 0
{engine="*",model_name="*",source="external_unspecified"} 0
counter vllm:generation_tokens_total generationTokens Number of generation tokens processed.
counter vllm:request_success_total - Count of successfully processed requests.
{engine="*",finished_reason="stop",model_name="*"} stop
{engine="*",finished_reason="length",model_name="*"} length
{engine="*",finished_reason="abort",model_name="*"} abort
{engine="*",finished_reason="error",model_name="*"} error
{engine="*",finished_reason="repetition",model_name="*"} repetition
counter vllm:admission_rejections_total - Number of admission attempts rejected by a queue limit, by reason.
{model_name="*",reason="max_num_queued_reqs"} rejected
{model_name="*",reason="max_num_queued_tokens"} 0
histogram vllm:request_prompt_tokens requestPromptTokens Number of prefill tokens processed.
histogram vllm:request_generation_tokens requestGenerationTokens Number of generation tokens processed.
histogram vllm:iteration_tokens_total iterationTokens Histogram of number of tokens per engine_step.
histogram vllm:request_max_num_generation_tokens requestMaxGenerationTokens Histogram of maximum number of requested generation tokens.
histogram vllm:request_params_n requestParamN Histogram of the n request parameter.
histogram vllm:request_params_max_tokens requestParamMaxTokens Histogram of the max_tokens request parameter.
histogram vllm:time_to_first_token_seconds ttft Histogram of time to first token in seconds.
histogram vllm:inter_token_latency_seconds itl Histogram of inter-token latency in seconds.
histogram vllm:request_time_per_output_token_seconds tpot Histogram of time_per_output_token_seconds per request.
histogram vllm:e2e_request_latency_seconds e2e Histogram of e2e request latency in seconds.
histogram vllm:request_queue_time_seconds queue Histogram of time spent in WAITING phase for request.
histogram vllm:request_inference_time_seconds inference Histogram of time spent in RUNNING phase for request.
histogram vllm:request_prefill_time_seconds prefill Histogram of time spent in PREFILL phase for request.
histogram vllm:request_decode_time_seconds decode Histogram of time spent in DECODE phase for request.
histogram vllm:request_num_preemptions requestPreemptions Histogram of the number of times a request was preempted.
histogram vllm:request_prefill_kv_computed_tokens requestComputedTokens Histogram of new KV tokens computed during prefill (excluding cached tokens).
gauge vllm:cache_config_info - Information of the LLMEngine CacheConfig
{_block_size_resolved="True",block_size="*",cache_dtype="auto",cache_hit_alignment_tokens="None",effective_attention_block_size="*",enable_mamba_shared_prefix_checkpoint="False",enable_prefix_caching="True",engine="*",gpu_memory_utilization="0.92",hash_block_size="None",is_attention_free="False",kv_cache_dtype_skip_layers="[]",kv_cache_layout="None",kv_cache_max_concurrency="*",kv_cache_memory_bytes="None",kv_cache_size_tokens="*",kv_offloading_backend="native",kv_offloading_size="None",kv_sharing_fast_prefill="False",mamba_block_size="None",mamba_cache_dtype="auto",mamba_cache_mode="none",mamba_page_size_padded="None",mamba_ssm_cache_dtype="float32",num_cpu_blocks="None",num_gpu_blocks="*",num_gpu_blocks_override="None",prefix_cache_retention_interval="0",prefix_caching_hash_algo="sha256",prefix_match_unit="None",replayssm_buffer_len="16",skip_page_size_padded="None",sliding_window="None",swa_bounded_replay="True",use_kda_recoverssm="False",use_replayssm="False",user_specified_block_size="False"} 1
counter http_requests_total - Total number of requests by method, status and handler.
{handler="/v1/chat/completions",method="POST",status="2xx"} finished
{handler="/v1/chat/completions",method="POST",status="5xx"} rejected
summary http_request_size_bytes - Content length of incoming requests by handler. Only value of header is respected. Otherwise ignored. No percentile calculated. 
{handler="/v1/chat/completions"} httpRequests requestBytes
summary http_response_size_bytes - Content length of outgoing responses by handler. Only value of header is respected. Otherwise ignored. No percentile calculated. 
{handler="/v1/chat/completions"} httpRequests 0
histogram http_request_duration_highr_seconds - Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. 
{le="*"} httpFine
histogram http_request_duration_seconds - Latency with only few buckets by handler. Made to be only used if aggregation by handler is important. 
{handler="/v1/chat/completions",le="*",method="POST"} httpCoarse
`;

interface ServerFigures {
  readonly processStart: EpochSeconds;
  /** When the first counter was created. */
  readonly created: EpochSeconds;
  /** Since `created`. */
  readonly uptime: Seconds;
  /** Several API servers. */
  readonly multiprocess: boolean;
  readonly speculative: boolean;
}

/** A family of the template and its series. */
interface Family {
  readonly type: string;
  readonly name: string;
  readonly help: string;
  readonly rows: { readonly labels: string; readonly figures: readonly string[] }[];
}

function parseTemplate(template: string): readonly Family[] {
  const families: Family[] = [];
  for (const line of template.split("\n").filter((line) => line !== "")) {
    const [, type, name, figure, help] =
      /^(counter|gauge|histogram|summary) (\S+) (\S+) (.*)$/.exec(line) ?? [];
    if (type !== undefined) {
      const labels = `{engine="*",${type === "histogram" ? 'le="*",' : ""}model_name="*"}`;
      const rows = figure === "-" ? [] : [{ labels, figures: [figure] }];
      families.push({ type, name, help, rows });
      continue;
    }
    const [, labels = "", figures] = /^(\{.*\})? ?([\w ]+)$/.exec(line) ?? [];
    families[families.length - 1].rows.push({ labels, figures: figures.split(" ") });
  }
  return families;
}

const FAMILIES = parseTemplate(EXPOSITION_TEMPLATE);
const MULTIPROCESS_ORDER = ["summary", "histogram", "gauge", "counter"];
/** Larger numbers get an exponent. */
const MAX_WHOLE_DIGITS = 6;

/**
 * Formats like prometheus_client: shortest round-trip decimal, `2.0` for integers, exponent of two
 * or three digits from a million (`8.128902e+06`, `3.5786276864e+010`).
 */
export function formatGoFloat(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
  const magnitude = Math.abs(value);
  if (magnitude >= 1e16 || (magnitude < 1e-4 && value !== 0)) {
    return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  }
  const text = String(value);
  const point = text.indexOf(".");
  const wholeDigits = point < 0 ? text.length : point;
  if (value > 0 && wholeDigits > MAX_WHOLE_DIGITS) {
    const digits = text.replace(".", "");
    const mantissa = `${digits[0]}.${digits.slice(1)}`.replace(/[0.]+$/, "");
    return `${mantissa}e+0${wholeDigits - 1}`;
  }
  return point < 0 ? `${text}.0` : text;
}

const REQUEST_FRAME_BYTES = 210;
const REQUEST_BYTES_PER_TOKEN = 4;
type Figures = Readonly<Record<string, number>>;

/** Figures that the template may name. */
function listFigures({ figures }: SimulatedEngine): Figures {
  const { tallies, ...counts } = figures;
  const finished = counts.stop + counts.length + counts.abort + counts.error + counts.repetition;
  const httpRequests = finished + counts.rejected;
  return {
    ...counts,
    finished,
    httpRequests,
    computedPromptTokens: counts.promptTokens - counts.cachedPromptTokens,
    acceptedTokens: ACCEPTED_KEYS.reduce((sum, key) => sum + counts[key], 0),
    requestBytes: REQUEST_FRAME_BYTES * httpRequests +
      REQUEST_BYTES_PER_TOKEN * tallies.requestPromptTokens.sum,
  };
}

/** What series are about: an engine, a model, or the server. */
interface Subject {
  /** Values for the template's `*`. */
  readonly labels: Readonly<Record<string, string>>;
  readonly figures: Figures;
  readonly engines: readonly SimulatedEngine[];
}

function createSubject(
  engines: readonly SimulatedEngine[],
  labels: Readonly<Record<string, string>>,
): Subject {
  const figures: Record<string, number> = {};
  for (const engine of engines) {
    for (const [key, value] of Object.entries(listFigures(engine))) {
      figures[key] = (figures[key] ?? 0) + value;
    }
  }
  return { labels, figures, engines };
}

function createEngineSubject(engine: SimulatedEngine): Subject {
  const { settings, blockCount, blockSize } = engine;
  const tokens = blockCount * blockSize;
  return createSubject([engine], {
    engine: settings.engine,
    model_name: settings.model,
    block_size: String(blockSize),
    effective_attention_block_size: String(blockSize),
    num_gpu_blocks: String(blockCount),
    kv_cache_size_tokens: String(tokens),
    kv_cache_max_concurrency: String(tokens / settings.maxModelLength),
  });
}

function createServerSubject(server: ServerFigures, engines: readonly SimulatedEngine[]): Subject {
  const whole = createSubject(engines, {});
  const { running, finished, generationTokens } = whole.figures;
  const roundToHundredth = (value: number): number => Math.round(value * 100) / 100;
  const process = {
    processStart: roundToHundredth(server.processStart),
    cpuSeconds: roundToHundredth(21 + 0.015 * server.uptime + 2e-5 * generationTokens),
    openFiles: 55 + running,
    gcObjects: 14_405 + 9 * finished,
    gcCollections: 1837 + finished,
  };
  return { ...whole, figures: { ...whole.figures, ...process } };
}

/** By the label that tells them apart. */
function listSubjects(server: ServerFigures, engines: readonly SimulatedEngine[]) {
  const byModel = Map.groupBy(engines, ({ settings }) => settings.model);
  return {
    engines: engines.map(createEngineSubject),
    models: [...byModel].map(([model, some]) => createSubject(some, { model_name: model })),
    servers: [createServerSubject(server, engines)],
  };
}

interface Page {
  text: string;
  readonly server: ServerFigures;
  readonly subjects: ReturnType<typeof listSubjects>;
  stampCount: number;
}

/** Time between the creation of two counters. */
const CREATED_SPACING: Seconds = 0.000_017;

function writeHead(page: Page, { name, help, type }: Omit<Family, "rows">): void {
  page.text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}

function writeCreated(page: Page, { name, help, type }: Family, series: readonly string[]): void {
  const created = `${type === "counter" ? name.replace(/_total$/, "") : name}_created`;
  writeHead(page, { name: created, help, type: "gauge" });
  for (const labels of series) {
    const stamp = page.server.created + page.stampCount++ * CREATED_SPACING;
    page.text += `${created}${labels} ${formatGoFloat(stamp)}\n`;
  }
}

function escapeLabelValue(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

function fillLabels(labels: string, { labels: values }: Subject): string {
  return labels.replace(
    /(\w+)="\*"/g,
    (whole, name) => name === "le" ? whole : `${name}="${escapeLabelValue(values[name])}"`,
  );
}

function getFigure({ figures }: Subject, key: string): number {
  const value = figures[key] ?? Number(key);
  if (Number.isNaN(value)) throw new Error(`Cannot simulate "${key}": no such figure`);
  return value;
}

function mergeTallies({ engines }: Subject, key: keyof Tallies): Tally {
  const [first, ...others] = engines.map(({ figures }) => figures.tallies[key]);
  if (others.length === 0) return first;
  const counts = first.counts.map((count, i) =>
    others.reduce((sum, other) => sum + other.counts[i], count)
  );
  return { ...first, counts, sum: others.reduce((sum, other) => sum + other.sum, first.sum) };
}

/** `labels` contain `le="*"`. */
export function formatHistogram(name: string, labels: string, tally: Tally): {
  readonly buckets: string;
  readonly sum: string;
  /** Labels of the sum. */
  readonly own: string;
} {
  const [before, after] = labels.split('"*"');
  const own = labels.replace(/le="\*",?/, "").replace(",}", "}").replace("{}", "");
  let buckets = "";
  let cumulative = 0;
  for (let i = 0; i <= tally.bounds.length; i++) {
    cumulative += tally.counts[i];
    const bound = i < tally.bounds.length ? formatGoFloat(tally.bounds[i]) : "+Inf";
    buckets += `${name}_bucket${before}"${bound}"${after} ${formatGoFloat(cumulative)}\n`;
  }
  buckets += `${name}_count${own} ${formatGoFloat(cumulative)}\n`;
  return { buckets, sum: `${name}_sum${own} ${formatGoFloat(tally.sum)}\n`, own };
}

/** `labels` contain `le="*"`. Returns the labels of the count. */
function writeHistogram(page: Page, name: string, labels: string, tally: Tally): string {
  const { buckets, sum, own } = formatHistogram(name, labels, tally);
  page.text += page.server.multiprocess ? sum + buckets : buckets + sum;
  return own;
}

/** Returns the labels; `null` if not exported. */
function writeSeries(
  page: Page,
  { type, name }: Family,
  row: { readonly labels: string; readonly figures: readonly string[]; readonly subject: Subject },
): string | null {
  const { figures: [key, sumKey], subject } = row;
  const labels = fillLabels(row.labels, subject);
  if (type === "histogram") {
    return writeHistogram(page, name, labels, mergeTallies(subject, key as keyof Tallies));
  }
  const value = getFigure(subject, key);
  // Routes are exported from their first request.
  if (value === 0 && labels.includes("handler=")) return null;
  if (sumKey === undefined) page.text += `${name}${labels} ${formatGoFloat(value)}\n`;
  else {
    page.text += `${name}_count${labels} ${formatGoFloat(value)}\n` +
      `${name}_sum${labels} ${formatGoFloat(getFigure(subject, sumKey))}\n`;
  }
  return labels;
}

function writeFamily(page: Page, family: Family): void {
  const { engines, models, servers } = page.subjects;
  writeHead(page, family);
  const series: string[] = [];
  for (const { labels, figures } of family.rows) {
    const hasLabel = (name: string): boolean => labels.includes(`${name}="*"`);
    const subjects = hasLabel("engine") ? engines : hasLabel("model_name") ? models : servers;
    for (const subject of subjects) {
      const own = writeSeries(page, family, { labels, figures, subject });
      if (own !== null) series.push(own);
    }
  }
  const hasCreated = family.type !== "gauge" && !isOfProcess(family) && !page.server.multiprocess;
  if (hasCreated && series.length > 0) writeCreated(page, family, series);
}

function isOfProcess({ name }: Family): boolean {
  return /^(process|python)_/.test(name);
}

/** Needs at least one engine. */
export function writeExposition(
  server: ServerFigures,
  engines: readonly SimulatedEngine[],
): Uint8Array {
  const { multiprocess, speculative } = server;
  const families = FAMILIES.filter((family) =>
    (speculative || !family.name.startsWith("vllm:spec_decode_")) &&
    !(multiprocess && isOfProcess(family))
  );
  const rank = ({ type }: Family): number => MULTIPROCESS_ORDER.indexOf(type);
  const page = { text: "", server, subjects: listSubjects(server, engines), stampCount: 0 };
  const ordered = multiprocess ? families.toSorted((a, b) => rank(a) - rank(b)) : families;
  for (const family of ordered) writeFamily(page, family);
  return new TextEncoder().encode(page.text);
}
