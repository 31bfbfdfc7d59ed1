/**
 * The figures of simulated vLLM engines -> the text of their `/metrics`.
 *
 * Writes what a vLLM 0.32 server writes: families in the same
 * order, alphabetical labels, floats as prometheus_client prints them,
 * `_created` stamps, and the shorter multiprocess form of several API servers.
 * Which families there are is `demo_exposition`' matter, what happens in the
 * engines `demo_engine`'s. Seconds and tokens, as in the exposition. Source of
 * truth: bodies of real vLLM 0.32.0 servers, recorded 2026-11.
 *
 * @module
 */

import {
  COUNTER_FAMILIES,
  type EngineFigures,
  ESTIMATE_FAMILIES,
  FINISH_REASONS,
  GAUGE_FAMILIES,
  HISTOGRAM_FAMILIES,
  listSpeculativeFamilies,
  type ReadFigure,
  type ScalarFamily,
  type Tallies,
  type TallyHistogram,
} from "./demo_families.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** What the API server in front of the engines says about itself. */
interface ServerFigures {
  readonly processStart: EpochSeconds;
  /** When the first counter was made. */
  readonly created: EpochSeconds;
  /** Since `created`. */
  readonly uptime: Seconds;
  /** Several API servers: no `process_*`, no `python_*`, no `_created`. */
  readonly multiprocess: boolean;
  /** Whether speculative decoding is configured; without it vLLM has no `spec_decode_*`. */
  readonly speculative: boolean;
}

/** prometheus_client's digits before the point at which it turns to an exponent. */
const MAX_WHOLE_DIGITS = 6;

/**
 * A number as prometheus_client prints it: the shortest decimal that reads back
 * the same, `2.0` for integers, and an exponent of two or three digits from a
 * million on (`8.128902e+06`, `3.5786276864e+010`).
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

function escapeLabelValue(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

/** Labels in alphabetical order, in braces; `""` where there are none. */
function formatLabels(labels: readonly (readonly [string, string])[]): string {
  if (labels.length === 0) return "";
  const pairs = labels.map(([name, value]) => `${name}="${escapeLabelValue(value)}"`);
  return `{${pairs.sort().join(",")}}`;
}

/** The text so far, and how stamps are given out. */
interface Page {
  text: string;
  readonly server: ServerFigures;
  stampCount: number;
}

/** Between two counters made one after the other when the server starts. */
const CREATED_SPACING: Seconds = 0.000_017;

function writeHead(page: Page, head: { name: string; help: string; type: string }): void {
  page.text += `# HELP ${head.name} ${head.help}\n# TYPE ${head.name} ${head.type}\n`;
}

/** The `_created` family of a counter or histogram, one stamp for each of its children. */
function writeCreated(
  page: Page,
  family: { name: string; help: string; children: readonly string[] },
): void {
  if (page.server.multiprocess) return;
  const name = `${family.name}_created`;
  writeHead(page, { name, help: family.help, type: "gauge" });
  for (const labels of family.children) {
    const stamp = page.server.created + page.stampCount++ * CREATED_SPACING;
    page.text += `${name}${labels} ${formatGoFloat(stamp)}\n`;
  }
}

function writeScalar(page: Page, family: ScalarFamily, engines: readonly EngineFigures[]): void {
  const name = family.type === "counter" ? `${family.name}_total` : family.name;
  writeHead(page, { name, help: family.help, type: family.type });
  const children: string[] = [];
  for (const [labelValue, read] of family.children) {
    for (const engine of engines) {
      const pairs: [string, string][] = [["engine", engine.engine], ["model_name", engine.model]];
      if (family.label !== undefined) pairs.push([family.label, labelValue]);
      const labels = formatLabels(pairs);
      children.push(labels);
      page.text += `${name}${labels} ${formatGoFloat(read(engine))}\n`;
    }
  }
  if (family.type === "counter") writeCreated(page, { ...family, children });
}

/** One labelled histogram: `before` and `after` are its labels on either side of `le`. */
function writeBuckets(
  page: Page,
  child: { name: string; before: string; after: string; labels: string; total: TallyHistogram },
): void {
  const { name, before, after, labels, total } = child;
  const sum = `${name}_sum${labels} ${formatGoFloat(total.sum)}\n`;
  let text = page.server.multiprocess ? sum : "";
  let cumulative = 0;
  for (let i = 0; i <= total.bounds.length; i++) {
    cumulative += total.counts[i];
    const bound = i < total.bounds.length ? formatGoFloat(total.bounds[i]) : "+Inf";
    text += `${name}_bucket{${before}le="${bound}"${after}} ${formatGoFloat(cumulative)}\n`;
  }
  text += `${name}_count${labels} ${formatGoFloat(cumulative)}\n`;
  page.text += page.server.multiprocess ? text : text + sum;
}

function writeHistograms(page: Page, engines: readonly EngineFigures[]): void {
  for (const { key, name, help } of HISTOGRAM_FAMILIES) {
    writeHead(page, { name, help, type: "histogram" });
    const children: string[] = [];
    for (const engine of engines) {
      const before = `engine="${escapeLabelValue(engine.engine)}",`;
      const after = `,model_name="${escapeLabelValue(engine.model)}"`;
      const labels = formatLabels([["engine", engine.engine], ["model_name", engine.model]]);
      children.push(labels);
      writeBuckets(page, { name, before, after, labels, total: engine.totals[key] });
    }
    writeCreated(page, { name, help, children });
  }
}

/** Rejections carry no `engine` label: one figure for the server. */
function writeRejections(page: Page, engines: readonly EngineFigures[]): void {
  const name = "vllm:admission_rejections";
  const help = "Number of admission attempts rejected by a queue limit, by reason.";
  writeHead(page, { name: `${name}_total`, help, type: "counter" });
  const children: string[] = [];
  for (const reason of ["max_num_queued_reqs", "max_num_queued_tokens"]) {
    for (const model of new Set(engines.map((engine) => engine.model))) {
      let count = 0;
      if (reason === "max_num_queued_reqs") {
        for (const engine of engines) if (engine.model === model) count += engine.rejected;
      }
      const labels = formatLabels([["model_name", model], ["reason", reason]]);
      children.push(labels);
      page.text += `${name}_total${labels} ${formatGoFloat(count)}\n`;
    }
  }
  writeCreated(page, { name, help, children });
}

/** The labels of `cache_config_info` that no option of the simulation changes. */
const CACHE_CONFIG_DEFAULTS: readonly (readonly [string, string])[] = [
  ["_block_size_resolved", "True"],
  ["cache_dtype", "auto"],
  ["cache_hit_alignment_tokens", "None"],
  ["enable_mamba_shared_prefix_checkpoint", "False"],
  ["enable_prefix_caching", "True"],
  ["gpu_memory_utilization", "0.92"],
  ["hash_block_size", "None"],
  ["is_attention_free", "False"],
  ["kv_cache_dtype_skip_layers", "[]"],
  ["kv_cache_layout", "None"],
  ["kv_cache_memory_bytes", "None"],
  ["kv_offloading_backend", "native"],
  ["kv_offloading_size", "None"],
  ["kv_sharing_fast_prefill", "False"],
  ["mamba_block_size", "None"],
  ["mamba_cache_dtype", "auto"],
  ["mamba_cache_mode", "none"],
  ["mamba_page_size_padded", "None"],
  ["mamba_ssm_cache_dtype", "float32"],
  ["num_cpu_blocks", "None"],
  ["num_gpu_blocks_override", "None"],
  ["prefix_cache_retention_interval", "0"],
  ["prefix_caching_hash_algo", "sha256"],
  ["prefix_match_unit", "None"],
  ["replayssm_buffer_len", "16"],
  ["skip_page_size_padded", "None"],
  ["sliding_window", "None"],
  ["swa_bounded_replay", "True"],
  ["use_kda_recoverssm", "False"],
  ["use_replayssm", "False"],
  ["user_specified_block_size", "False"],
];

function writeCacheConfig(page: Page, engines: readonly EngineFigures[]): void {
  const name = "vllm:cache_config_info";
  const help = "Information of the LLMEngine CacheConfig";
  writeHead(page, { name, help, type: "gauge" });
  for (const engine of engines) {
    const tokens = engine.blockCount * engine.blockSize;
    const labels = formatLabels([
      ...CACHE_CONFIG_DEFAULTS,
      ["engine", engine.engine],
      ["block_size", String(engine.blockSize)],
      ["effective_attention_block_size", String(engine.blockSize)],
      ["num_gpu_blocks", String(engine.blockCount)],
      ["kv_cache_size_tokens", String(tokens)],
      ["kv_cache_max_concurrency", String(tokens / engine.maxModelLength)],
    ]);
    page.text += `${name}${labels} 1.0\n`;
  }
}

/** Sums of one thing over all engines. */
function sumOver(engines: readonly EngineFigures[], read: ReadFigure): number {
  return engines.reduce((sum, engine) => sum + read(engine), 0);
}

function countFinished(engine: EngineFigures): number {
  return FINISH_REASONS.reduce((sum, reason) => sum + engine.finished[reason], 0);
}

function writeProcess(page: Page, engines: readonly EngineFigures[]): void {
  const { processStart, uptime } = page.server;
  const generations = ["0", "1", "2"];
  const requests = sumOver(engines, countFinished);
  const gc: readonly [string, string, readonly number[]][] = [
    ["objects_collected", "Objects collected during gc", [14405 + 9 * requests, 2552, 1711]],
    ["objects_uncollectable", "Uncollectable objects found during GC", [0, 0, 0]],
    ["collections", "Number of times this generation was collected", [1837 + requests, 167, 11]],
  ];
  for (const [suffix, help, values] of gc) {
    const name = `python_gc_${suffix}_total`;
    writeHead(page, { name, help, type: "counter" });
    generations.forEach((generation, i) => {
      page.text += `${name}{generation="${generation}"} ${formatGoFloat(values[i])}\n`;
    });
  }
  writeHead(page, { name: "python_info", help: "Python platform information", type: "gauge" });
  page.text +=
    'python_info{implementation="CPython",major="3",minor="12",patchlevel="12",version="3.12.12"} 1.0\n';

  const cpuSeconds = 21 + 0.015 * uptime + 2e-5 * sumOver(engines, (e) => e.generationTokens);
  const rows: readonly [string, string, string, number][] = [
    ["virtual_memory_bytes", "Virtual memory size in bytes.", "gauge", 4_706_758_656],
    ["resident_memory_bytes", "Resident memory size in bytes.", "gauge", 969_109_504],
    [
      "start_time_seconds",
      "Start time of the process since unix epoch in seconds.",
      "gauge",
      Math.round(processStart * 100) / 100,
    ],
    [
      "cpu_seconds_total",
      "Total user and system CPU time spent in seconds.",
      "counter",
      Math.round(cpuSeconds * 100) / 100,
    ],
    [
      "open_fds",
      "Number of open file descriptors.",
      "gauge",
      55 + sumOver(engines, (e) => e.running),
    ],
    ["max_fds", "Maximum number of open file descriptors.", "gauge", 65_536],
  ];
  for (const [suffix, help, type, value] of rows) {
    const name = `process_${suffix}`;
    writeHead(page, { name, help, type });
    page.text += `${name} ${formatGoFloat(value)}\n`;
  }
}

/** The one route that the simulated clients use. */
const HANDLER = "/v1/chat/completions";

/** Bytes of a request: of its frame, and for each prompt token. */
const REQUEST_FRAME_BYTES = 210;
const REQUEST_BYTES_PER_TOKEN = 4;

function writeHttpCounts(page: Page, engines: readonly EngineFigures[]): void {
  const served = sumOver(engines, countFinished);
  const rejected = sumOver(engines, (engine) => engine.rejected);
  const name = "http_requests";
  const help = "Total number of requests by method, status and handler.";
  writeHead(page, { name: `${name}_total`, help, type: "counter" });
  const statuses: [string, number][] = [["2xx", served], ["5xx", rejected]];
  const children: string[] = [];
  for (const [status, count] of statuses) {
    if (count === 0) continue;
    const labels = formatLabels([["handler", HANDLER], ["method", "POST"], ["status", status]]);
    children.push(labels);
    page.text += `${name}_total${labels} ${formatGoFloat(count)}\n`;
  }
  writeCreated(page, { name, help, children });
}

function writeHttpSizes(page: Page, engines: readonly EngineFigures[]): void {
  const requests = sumOver(engines, (engine) => countFinished(engine) + engine.rejected);
  const tokens = sumOver(engines, (engine) => engine.totals.requestPromptTokens.sum);
  const sizes: readonly [string, string, number][] = [
    [
      "request",
      "incoming requests",
      REQUEST_FRAME_BYTES * requests + REQUEST_BYTES_PER_TOKEN * tokens,
    ],
    ["response", "outgoing responses", 0],
  ];
  for (const [side, what, sum] of sizes) {
    const name = `http_${side}_size_bytes`;
    const help = `Content length of ${what} by handler. Only value of header is respected. ` +
      "Otherwise ignored. No percentile calculated. ";
    const labels = formatLabels([["handler", HANDLER]]);
    writeHead(page, { name, help, type: "summary" });
    if (requests === 0) continue;
    page.text += `${name}_count${labels} ${formatGoFloat(requests)}\n`;
    page.text += `${name}_sum${labels} ${formatGoFloat(sum)}\n`;
    writeCreated(page, { name, help, children: [labels] });
  }
}

function mergeTallies(engines: readonly EngineFigures[], key: keyof Tallies): TallyHistogram {
  const { bounds } = engines[0].totals[key];
  const merged: TallyHistogram = { bounds, counts: new Float64Array(bounds.length + 1), sum: 0 };
  for (const { totals } of engines) {
    totals[key].counts.forEach((count, i) => merged.counts[i] += count);
    merged.sum += totals[key].sum;
  }
  return merged;
}

function writeHttpTimes(page: Page, engines: readonly EngineFigures[]): void {
  const fine = {
    name: "http_request_duration_highr_seconds",
    help: "Latency with many buckets but no API specific labels. Made for more accurate " +
      "percentile calculations. ",
  };
  writeHead(page, { ...fine, type: "histogram" });
  const total = mergeTallies(engines, "httpFine");
  writeBuckets(page, { name: fine.name, before: "", after: "", labels: "", total });
  writeCreated(page, { ...fine, children: [""] });

  const coarse = {
    name: "http_request_duration_seconds",
    help: "Latency with only few buckets by handler. Made to be only used if aggregation by " +
      "handler is important. ",
  };
  const labels = formatLabels([["handler", HANDLER], ["method", "POST"]]);
  writeHead(page, { ...coarse, type: "histogram" });
  writeBuckets(page, {
    name: coarse.name,
    before: `handler="${HANDLER}",`,
    after: ',method="POST"',
    labels,
    total: mergeTallies(engines, "httpCoarse"),
  });
  writeCreated(page, { ...coarse, children: [labels] });
}

/**
 * The body of `/metrics` for a server with these engines, at least one.
 *
 * In multiprocess form the families come by kind (histograms, gauges, counters)
 * with each `_sum` before its buckets, as prometheus_client collects them from
 * its files.
 */
export function writeExposition(
  server: ServerFigures,
  engines: readonly EngineFigures[],
): Uint8Array {
  const page: Page = { text: "", server, stampCount: 0 };
  const positionCount = Math.max(...engines.map((engine) => engine.acceptedByPosition.length));
  const speculative = server.speculative ? listSpeculativeFamilies(positionCount) : [];
  const writeScalars = (families: readonly ScalarFamily[]): void => {
    for (const family of families) writeScalar(page, family, engines);
  };
  if (server.multiprocess) {
    writeHttpSizes(page, engines);
    writeHistograms(page, engines);
    writeHttpTimes(page, engines);
    writeScalars(GAUGE_FAMILIES);
    writeCacheConfig(page, engines);
    writeScalars([...speculative, ...ESTIMATE_FAMILIES, ...COUNTER_FAMILIES]);
    writeRejections(page, engines);
    writeHttpCounts(page, engines);
  } else {
    writeProcess(page, engines);
    writeScalars([...speculative, ...ESTIMATE_FAMILIES, ...GAUGE_FAMILIES, ...COUNTER_FAMILIES]);
    writeRejections(page, engines);
    writeHistograms(page, engines);
    writeCacheConfig(page, engines);
    writeHttpCounts(page, engines);
    writeHttpSizes(page, engines);
    writeHttpTimes(page, engines);
  }
  return new TextEncoder().encode(page.text);
}
